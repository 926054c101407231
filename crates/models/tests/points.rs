//! Laws of the models of clouds: order, padding, the box, rotations, and the bound of a density that is known.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use candle_core::{DType, Device, Tensor};
use halocast_core::{Batch, Rng, Shard};
use halocast_models::vdm::{
    Draws, EgnnConfig, GraphConfig, NoiseSchedule, PointVdm, PointVdmConfig, ScheduleKind, ScoreConfig,
    Terms, TransformerConfig,
};
use halocast_models::{Bound, Configured, Parameters, Trainable};
use ndarray::{ArrayD, Axis};

const POINTS: usize = 12;

fn networks() -> Vec<(&'static str, ScoreConfig)> {
    let graph = GraphConfig {
        k: 4,
        num_mlp_layers: 1,
        latent_size: 8,
        hidden_size: 8,
        message_passing_steps: 2,
        ..Default::default()
    };
    let transformer = TransformerConfig {
        d_model: 8,
        d_mlp: 8,
        n_layers: 1,
        n_heads: 2,
        d_conditioning: 8,
        ..Default::default()
    };
    vec![
        ("graph", ScoreConfig::Graph(graph)),
        ("transformer", ScoreConfig::Transformer(transformer)),
        (
            "egnn",
            ScoreConfig::Egnn(EgnnConfig { k: 4, hidden_size: 8, message_passing_steps: 2, vectors: 1 }),
        ),
    ]
}

/// In double precision; what begins as zeros is drawn, so that nothing hides behind it.
fn model(score: ScoreConfig, change: impl Fn(&mut PointVdmConfig)) -> PointVdm {
    let mut config =
        PointVdmConfig { points: POINTS, context: 0, d_t_embedding: 4, score, ..Default::default() };
    change(&mut config);
    let parameters = Parameters::with_dtype(1, DType::F64, &Device::Cpu);
    let model = PointVdm::with_parameters(&config, parameters.clone()).unwrap();
    for (name, var) in parameters.named() {
        let zero: f64 = var.abs().unwrap().sum_all().unwrap().to_scalar().unwrap();
        if zero == 0.0 {
            let drawn = normals(name.len() as u64, var.dims());
            var.set(&(drawn * 0.3).unwrap()).unwrap();
        }
    }
    model
}

fn normals(seed: u64, shape: &[usize]) -> Tensor {
    let values = Rng::new(seed).normals(shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

fn noise(model: &PointVdm, z: &Tensor, counts: Option<&[usize]>) -> Tensor {
    let gamma = Tensor::full(0.4f64, z.dims()[0], &Device::Cpu).unwrap();
    model.noise(z, &gamma, None, counts).unwrap()
}

fn near(name: &str, a: &Tensor, b: &Tensor) {
    let largest: f64 = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
    assert!(largest < 1e-6, "{name}: {largest}");
}

#[test]
fn the_noise_is_permuted_with_the_points() {
    for (name, score) in networks() {
        let model = model(score, |_| {});
        let z = normals(2, &[2, POINTS, 7]);
        let order: Vec<u32> = (0..POINTS as u32).map(|i| (i * 5 + 3) % POINTS as u32).collect();
        let order = Tensor::new(order, &Device::Cpu).unwrap();
        let permuted = |t: &Tensor| t.index_select(&order, 1).unwrap();
        near(name, &permuted(&noise(&model, &z, None)), &noise(&model, &permuted(&z), None));
    }
}

#[test]
fn a_point_of_padding_changes_nothing() {
    for (name, score) in networks() {
        let model = model(score, |_| {});
        let z = normals(3, &[2, POINTS, 7]);
        let real = z.narrow(1, 0, 8).unwrap();
        let padded = noise(&model, &z, Some(&[8, 8])).narrow(1, 0, 8).unwrap();
        near(name, &padded, &noise(&model, &real.contiguous().unwrap(), None));
    }
}

#[test]
fn on_the_torus_the_noise_does_not_see_a_translation() {
    for (name, score) in networks().into_iter().filter(|(name, _)| *name != "transformer") {
        let model = model(score, |c| c.torus = true);
        let z = normals(4, &[1, POINTS, 7]);
        let shift = Tensor::new(&[0.7f64, -2.9, 5.1, 0.0, 0.0, 0.0, 0.0], &Device::Cpu).unwrap();
        let moved = z.broadcast_add(&shift).unwrap();
        near(name, &noise(&model, &z, None), &noise(&model, &moved, None));
    }
}

#[test]
fn the_equivariant_noise_turns_with_the_cloud() {
    let (_, score) = networks().pop().unwrap();
    let model = model(score, |c| c.box_size = None);
    let (a, b) = (0.8f64, -0.3f64);
    let about_z = [[a.cos(), -a.sin(), 0.0], [a.sin(), a.cos(), 0.0], [0.0, 0.0, 1.0]];
    let about_x = [[1.0, 0.0, 0.0], [0.0, b.cos(), -b.sin()], [0.0, b.sin(), b.cos()]];
    let tensor = |m: [[f64; 3]; 3]| Tensor::new(&m, &Device::Cpu).unwrap();
    let rotation = tensor(about_z).matmul(&tensor(about_x)).unwrap();
    let turned = |x: &Tensor| {
        let vector = |from: usize| {
            x.narrow(2, from, 3).unwrap().contiguous().unwrap().broadcast_matmul(&rotation).unwrap()
        };
        Tensor::cat(&[vector(0), vector(3), x.narrow(2, 6, 1).unwrap()], 2).unwrap()
    };
    let z = normals(5, &[2, POINTS, 7]);
    near("egnn", &turned(&noise(&model, &z, None)), &noise(&model, &turned(&z), None));
}

#[test]
fn the_loss_of_a_batch_is_that_of_its_parts() {
    for (name, score) in networks() {
        let model = model(score, |c| c.dropout = 0.5);
        let shape = vec![6, POINTS, 7];
        let values = Rng::new(6).normals(6 * POINTS * 7);
        let fields = ArrayD::from_shape_vec(shape, values).unwrap();
        let counts = vec![12, 5, 7, 12, 4, 9];
        let value = |batch: &Batch| -> f64 {
            model.loss(0, batch, &mut Rng::new(7)).unwrap().total.to_scalar().unwrap()
        };
        let whole = value(&Batch::new(fields.clone(), None).with_counts(counts.clone()));
        let mean: f64 = (0..4)
            .map(|rank| {
                let shard = Shard::of_rank(rank, 4, 6);
                let own = fields.slice_axis(Axis(0), shard.range().into()).to_owned();
                let part = Batch::new(own, None).with_counts(counts[shard.range()].to_vec());
                shard.weight() * value(&Batch { shard, ..part })
            })
            .sum();
        assert!((mean - whole).abs() < 1e-9 * whole.abs(), "{name}: {mean} {whole}");
    }
}

/// KL(N(m, v) || N(0, w)).
fn divergence(m: f64, v: f64, w: f64) -> f64 {
    0.5 * ((v + m * m) / w - 1.0 - (v / w).ln())
}

#[test]
fn the_bound_of_gaussian_points_is_their_density_and_the_gaps() {
    // Points of variance s^2: the exact score gives eps_hat = sigma z / (alpha^2 s^2 + sigma^2). With it the diffusion
    // term is KL(q(z_0 | x) || p_0) - KL(q(z_1 | x) || p_1), p_t the density of z_t.
    let (s2, scale) = (0.5f64, 0.05f64);
    let (low, high) = (-3.0, 6.0);
    let parameters = Parameters::with_dtype(0, DType::F64, &Device::Cpu);
    let schedule =
        NoiseSchedule::new(ScheduleKind::Linear, low, high, 1, "gamma", parameters.builder()).unwrap();
    let x = [[0.3f64, -0.9, 0.1], [1.1, 0.2, -0.4]];
    let b = 4000;
    let cloud =
        Tensor::new(&[x], &Device::Cpu).unwrap().broadcast_as((b, 2, 3)).unwrap().contiguous().unwrap();
    let times: Vec<f64> = (0..b).map(|i| (i as f64 + 0.37) / b as f64).collect();
    let draws = Draws {
        times: Tensor::from_vec(times, b, &Device::Cpu).unwrap(),
        reconstruction: normals(8, &[b, 2, 3]),
        diffusion: normals(9, &[b, 2, 3]),
    };
    let exact = |z: &Tensor, gamma: &Tensor| {
        let alpha2 = ((gamma.neg()?.exp()? + 1.0)?).recip()?;
        let sigma2 = (1.0 - &alpha2)?;
        let factor = (sigma2.sqrt()? / ((alpha2 * s2)? + &sigma2)?)?.reshape((b, 1, 1))?;
        Ok(z.broadcast_mul(&factor)?)
    };
    let terms = Terms::new(&schedule, &cloud, &draws, 0, scale, exact).unwrap();
    let ones = Tensor::ones((b, 2), DType::F64, &Device::Cpu).unwrap();
    let [diffusion, prior, reconstruction] = terms.sums(&ones).unwrap();
    let total: Vec<f64> = ((diffusion + prior).unwrap() + reconstruction).unwrap().to_vec1().unwrap();
    let mean = total.iter().sum::<f64>() / b as f64;
    let variance = total.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (b - 1) as f64;
    let error = (variance / b as f64).sqrt();

    let split = |gamma: f64| (1.0 / (1.0 + (-gamma).exp()), 1.0 / (1.0 + gamma.exp()));
    let ((a0, v0), (a1, v1)) = (split(high), split(low));
    let mut expected = 0.0;
    for x in x.iter().flatten() {
        let density = 0.5 * (x * x / s2 + (std::f64::consts::TAU * s2).ln());
        let of_prior = divergence(a1.sqrt() * x, v1, 1.0) - divergence(a1.sqrt() * x, v1, a1 * s2 + v1);
        let of_data = 0.5 * v0 / a0 / (scale * scale) + 0.5 * (std::f64::consts::TAU * scale * scale).ln();
        let of_reconstruction = of_data + divergence(a0.sqrt() * x, v0, a0 * s2 + v0) - density;
        expected += density + of_prior + of_reconstruction;
    }
    assert!((mean - expected).abs() < 4.0 * error, "{mean} +- {error}, expected {expected}");
    assert!(error < 0.05 * expected.abs().max(1.0), "{error}");
}

#[test]
fn a_bound_is_finite_and_seeded() {
    for (_, score) in networks() {
        let model = model(score, |_| {});
        let x = normals(10, &[2, POINTS, 7]);
        let bound = |seed: u64| -> Vec<f64> {
            model.bound(&x, None, 3, &mut Rng::new(seed)).unwrap().to_vec1().unwrap()
        };
        assert!(bound(1).iter().all(|v| v.is_finite()));
        assert_eq!(bound(1), bound(1));
        assert_ne!(bound(1), bound(2));
        assert!(model.bound(&normals(1, &[2, 3]), None, 1, &mut Rng::new(1)).is_err());
    }
}
