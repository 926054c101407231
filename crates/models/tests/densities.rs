//! Laws of densities: bijections against their Jacobians, integrals and sums of one, bounds below likelihoods, samples of
//! known distributions.

#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

use candle_core::{DType, Device, Tensor};
use halocast_core::{Batch, Rng};
use halocast_models::autoencoder::{CoderConfig, Observation, Vae, VaeConfig};
use halocast_models::autoregressive::{PixelCnn, PixelCnnConfig, PixelDistribution};
use halocast_models::embedding::{ConvConfig, EmbeddingConfig};
use halocast_models::flow::{Flow, FlowConfig, FlowKind, Order};
use halocast_models::inference::{
    Axis, GridPosterior, HmcConfig, Posterior, PosteriorConfig, Trajectory, hmc, likelihood,
};
use halocast_models::{
    Bijection, Bound, Cond, Configured, Generative, LogProb, Parameters, SampleOptions, Trainable,
};
use ndarray::ArrayD;

/// Moves every parameter by normal numbers, so that nothing that begins at zero hides an error.
fn shake(parameters: &Parameters, size: f64) {
    let mut rng = Rng::new(99);
    for (_, var) in parameters.named() {
        let noise = Tensor::from_vec(rng.normals(var.elem_count()), var.shape(), &Device::Cpu).unwrap();
        let noise = (noise.to_dtype(var.dtype()).unwrap() * size).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
    }
}

fn tensor(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    let values = Rng::new(seed).normals(shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn flows() -> Vec<(&'static str, FlowConfig)> {
    let small = |kind, event: &[usize]| FlowConfig {
        event: event.to_vec(),
        kind,
        layers: 3,
        levels: 1,
        hidden: 8,
        blocks: 1,
        widths: vec![8, 8],
        bins: 5,
        bound: 3.0,
        ..Default::default()
    };
    let conv = ConvConfig { channels: vec![4], features: 3, ..Default::default() };
    vec![
        ("RealNVP", FlowConfig { parameters: 2, ..small(FlowKind::RealNvp, &[3]) }),
        ("NICE", small(FlowKind::Nice, &[4])),
        ("MAF", FlowConfig { order: Order::Random(1), ..small(FlowKind::Maf, &[4]) }),
        ("MAF of one feature", FlowConfig { parameters: 2, ..small(FlowKind::Maf, &[1]) }),
        ("MAF of masked networks", FlowConfig { parameters: 2, ..small(FlowKind::MafMlp, &[3]) }),
        ("splines", FlowConfig { parameters: 2, ..small(FlowKind::Spline, &[3]) }),
        ("splines of a spectrum", small(FlowKind::Spline, &[1, 4])),
        ("Glow", FlowConfig { lu: true, layers: 2, ..small(FlowKind::Glow, &[1, 4, 4]) }),
        (
            "Glow of two levels, plain, a field",
            FlowConfig {
                lu: false,
                layers: 1,
                levels: 2,
                field: 1,
                embedding: Some(EmbeddingConfig::Conv(conv)),
                ..small(FlowKind::Glow, &[1, 4, 4])
            },
        ),
    ]
}

fn condition(flow: &Flow, n: usize) -> Option<Cond> {
    let config = flow.config();
    match (config.parameters, config.field) {
        (0, 0) => None,
        (0, channels) => {
            Some(Cond::Field(tensor(&[&[n, channels], &config.event[1..]].concat(), DType::F64, 5)))
        }
        (count, _) => Some(Cond::Vector(tensor(&[n, count], DType::F64, 5))),
    }
}

/// ln |det| by elimination.
fn log_det(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut sum = 0.0;
    for i in 0..n {
        let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs())).unwrap();
        a.swap(i, pivot);
        sum += a[i][i].abs().ln();
        for j in i + 1..n {
            let factor = a[j][i] / a[i][i];
            for k in i..n {
                a[j][k] -= factor * a[i][k];
            }
        }
    }
    sum
}

#[test]
fn a_bijection_returns_and_its_volume_is_the_determinant_of_its_jacobian() {
    for (name, config) in flows() {
        let flow =
            Flow::with_parameters(&config, Parameters::with_dtype(1, DType::F64, &Device::Cpu)).unwrap();
        shake(flow.parameters(), 0.3);
        let n = 4;
        let size: usize = config.event.iter().product();
        let cond = flow.embed(condition(&flow, n).as_ref()).unwrap();
        let x = tensor(&[&[n], &config.event[..]].concat(), DType::F64, 2);
        let (z, volume) = flow.forward(&x, cond.as_ref()).unwrap();
        let (back, inverse) = flow.inverse(&z, cond.as_ref()).unwrap();
        let worst = |a: &Tensor, b: &Tensor| {
            values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert!(worst(&x, &back) < 1e-8, "{name}: returns to {}", worst(&x, &back));
        assert!(worst(&volume, &inverse.neg().unwrap()) < 1e-8, "{name}: volumes");
        // Column by column, by central differences.
        let step = 1e-5;
        let columns: Vec<Vec<f64>> = (0..size)
            .map(|i| {
                let at = |sign: f64| {
                    let mut moved = values(&x);
                    (0..n).for_each(|event| moved[event * size + i] += sign * step);
                    let moved = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
                    values(&flow.forward(&moved, cond.as_ref()).unwrap().0)
                };
                at(1.0).iter().zip(at(-1.0)).map(|(a, b)| (a - b) / (2.0 * step)).collect()
            })
            .collect();
        for (event, told) in values(&volume).iter().enumerate() {
            let jacobian = (0..size).map(|i| (0..size).map(|j| columns[i][event * size + j]).collect());
            let found = log_det(jacobian.collect());
            assert!((found - told).abs() < 1e-6 * size as f64, "{name}: {told}, Jacobian {found}");
        }
    }
}

#[test]
fn a_flow_of_two_features_integrates_to_one() {
    let kinds = [FlowKind::RealNvp, FlowKind::Nice, FlowKind::Maf, FlowKind::MafMlp, FlowKind::Spline];
    for kind in kinds {
        let config = FlowConfig {
            kind,
            layers: 3,
            hidden: 8,
            blocks: 1,
            widths: vec![8, 8],
            bins: 5,
            bound: 3.0,
            ..Default::default()
        };
        let flow = Flow::new(&config, 3, &Device::Cpu).unwrap();
        shake(flow.parameters(), 0.1);
        // An autoregressive flow has long tails: equal steps of u with x = sinh u.
        let (side, step) = (561, 0.025);
        let at = |i: usize| (i as f64 - (side / 2) as f64) * step;
        let points: Vec<f32> =
            (0..side * side).flat_map(|i| [at(i / side).sinh() as f32, at(i % side).sinh() as f32]).collect();
        let points = Tensor::from_vec(points, (side * side, 2), &Device::Cpu).unwrap();
        let density = flow.log_prob(&points, None, &mut Rng::new(1)).unwrap().exp().unwrap();
        let stretch = |i: usize| at(i / side).cosh() * at(i % side).cosh();
        let total: f64 =
            values(&density).iter().enumerate().map(|(i, p)| p * stretch(i)).sum::<f64>() * step * step;
        println!("{kind:?}: {total}");
        // Where a spline or a rectifier has its kinks the rule of rectangles is of second order.
        assert!((total - 1.0).abs() < 3e-3, "{kind:?}: {total}");
    }
}

#[test]
fn activation_normalisation_begins_with_the_data() {
    let config = FlowConfig {
        event: vec![1, 4, 4],
        kind: FlowKind::Glow,
        layers: 1,
        levels: 1,
        hidden: 8,
        blocks: 1,
        ..Default::default()
    };
    let flow = Flow::new(&config, 1, &Device::Cpu).unwrap();
    let x = (tensor(&[64, 1, 4, 4], DType::F32, 3) * 5.0).unwrap();
    let fields: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    let batch = Batch::new(ArrayD::from_shape_vec(vec![64, 1, 4, 4], fields).unwrap(), None);
    let before = flow.loss(0, &batch, &mut Rng::new(1)).unwrap().total.to_scalar::<f32>().unwrap();
    flow.initialise(&batch).unwrap();
    let after = flow.loss(0, &batch, &mut Rng::new(1)).unwrap().total.to_scalar::<f32>().unwrap();
    assert!(after < before - 10.0, "{before} {after}");
}

/// A linear-Gaussian model x = W z + b + sigma n whose columns are orthogonal, so that its posterior is a product.
#[test]
fn the_bound_of_a_linear_gaussian_model_is_below_its_likelihood_and_reaches_it() {
    let (size, latent, sigma) = (4usize, 2usize, 0.7f64);
    let config = VaeConfig {
        event: vec![size],
        latent,
        coder: CoderConfig::Linear {},
        observation: Observation::Gaussian(sigma),
        ..Default::default()
    };
    let model = Vae::with_parameters(&config, Parameters::with_dtype(1, DType::F64, &Device::Cpu)).unwrap();
    let columns = [[1.2, -0.4, 0.8, 0.3], [0.3, 0.9, 0.0, 0.0]];
    let b = [0.5, -1.0, 0.2, 0.0];
    let norms: Vec<f64> = columns.iter().map(|c| c.iter().map(|v| v * v).sum::<f64>()).collect();
    let across: f64 = columns[0].iter().zip(&columns[1]).map(|(a, b)| a * b).sum();
    assert!(across.abs() < 1e-12);
    // Variance of z_j given x: sigma^2 / (|w_j|^2 + sigma^2); its mean is linear in x.
    let mut encoder = vec![0.0; latent * size];
    let mut offset = vec![0.0; latent];
    for j in 0..latent {
        for i in 0..size {
            encoder[j * size + i] = columns[j][i] / (norms[j] + sigma * sigma);
            offset[j] -= encoder[j * size + i] * b[i];
        }
    }
    let spread: Vec<f64> = norms.iter().map(|n| (sigma * sigma / (n + sigma * sigma)).ln()).collect();
    let decoder: Vec<f64> = (0..size * latent).map(|at| columns[at % latent][at / latent]).collect();
    let optimum = |name: &str| match name {
        "fc21.weight" => encoder.clone(),
        "fc21.bias" => offset.clone(),
        "fc22.weight" => vec![0.0; latent * size],
        "fc22.bias" => spread.clone(),
        "fc4.weight" => decoder.clone(),
        _ => b.to_vec(),
    };
    let set = |move_encoder: f64| {
        for (name, var) in model.parameters().named() {
            let mut new = optimum(&name);
            if name.starts_with("fc2") {
                new.iter_mut().enumerate().for_each(|(i, v)| *v += move_encoder * ((i + 1) as f64).sin());
            }
            var.set(&Tensor::from_vec(new, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    };
    let x = (tensor(&[5, size], DType::F64, 4) * 1.5).unwrap();
    // The exact likelihood: x - b has variance |w_j|^2 + sigma^2 along w_j, sigma^2 elsewhere.
    let exact: Vec<f64> = values(&x)
        .chunks(size)
        .map(|x| {
            let off: Vec<f64> = x.iter().zip(&b).map(|(x, b)| x - b).collect();
            let mut square = off.iter().map(|v| v * v).sum::<f64>() / (sigma * sigma);
            let mut log = (size - latent) as f64 * (sigma * sigma).ln();
            for (column, norm) in columns.iter().zip(&norms) {
                let along = column.iter().zip(&off).map(|(a, b)| a * b).sum::<f64>().powi(2) / norm;
                square += along * (1.0 / (norm + sigma * sigma) - 1.0 / (sigma * sigma));
                log += (norm + sigma * sigma).ln();
            }
            -0.5 * (square + log + size as f64 * std::f64::consts::TAU.ln())
        })
        .collect();

    set(0.0);
    // Every weight equals the likelihood when q is the posterior.
    let one = values(&model.importance_bound(&x, None, 1, &mut Rng::new(1)).unwrap());
    let bound = values(&model.bound(&x, None, 4000, &mut Rng::new(2)).unwrap());
    for ((one, bound), exact) in one.iter().zip(&bound).zip(&exact) {
        assert!((one - exact).abs() < 1e-9, "{one} {exact}");
        assert!((bound - exact).abs() < 0.1, "{bound} {exact}");
    }
    set(0.3);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let loose = values(&model.bound(&x, None, 4000, &mut Rng::new(2)).unwrap());
    let tight = values(&model.importance_bound(&x, None, 4000, &mut Rng::new(3)).unwrap());
    println!("likelihood {}, bound {}, of 4000 weights {}", mean(&exact), mean(&loose), mean(&tight));
    assert!(mean(&loose) < mean(&exact) - 0.1);
    assert!(mean(&tight) > mean(&loose) && mean(&tight) < mean(&exact) + 0.05);
}

fn pixelcnn(distribution: PixelDistribution, size: [usize; 2], levels: usize, channels: usize) -> PixelCnn {
    let config = PixelCnnConfig {
        channels,
        size,
        levels,
        range: [-1.5, 1.5],
        distribution,
        hidden: 6,
        first_kernel: 3,
        kernel: 3,
        layers: 1,
        ..Default::default()
    };
    let model = PixelCnn::new(&config, 1, &Device::Cpu).unwrap();
    shake(model.parameters(), 0.5);
    model
}

#[test]
fn autoregressive_probabilities_sum_to_one_and_samples_have_them() {
    for distribution in [PixelDistribution::Categorical, PixelDistribution::LogisticMixture(2)] {
        let (levels, pixels) = (3usize, 4u32);
        let model = pixelcnn(distribution, [2, 2], levels, 1);
        let count = levels.pow(pixels);
        let states: Vec<f32> = (0..count)
            .flat_map(|state| (0..pixels).map(move |p| (state / levels.pow(p) % levels) as f32))
            .collect();
        let states = Tensor::from_vec(states, (count, 1, 2, 2), &Device::Cpu).unwrap();
        let x = model.centres(&states).unwrap();
        let each = values(&model.log_probabilities(&x, None).unwrap());
        let mass: Vec<f64> = each.chunks(4).map(|p| p.iter().sum::<f64>().exp()).collect();
        assert!(
            (mass.iter().sum::<f64>() - 1.0).abs() < 1e-5,
            "{distribution:?}: {}",
            mass.iter().sum::<f64>()
        );
        // The density is that over the volume of a cell.
        let density = values(&model.log_prob(&x, None, &mut Rng::new(1)).unwrap());
        let cell = model.config().width().powi(pixels as i32);
        let total: f64 = density.iter().map(|d| d.exp() * cell).sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");

        let n = 4000;
        let options = SampleOptions { batch: n, ..Default::default() };
        let drawn = model.sample(n, None, &options, &mut Rng::new(7)).unwrap();
        let mut counts = vec![0.0; count];
        for event in values(&model.levels(&drawn).unwrap()).chunks(4) {
            let state: usize =
                event.iter().enumerate().map(|(p, l)| *l as usize * levels.pow(p as u32)).sum();
            counts[state] += 1.0;
        }
        let square: f64 =
            counts.iter().zip(&mass).map(|(c, m)| (c - n as f64 * m).powi(2) / (n as f64 * m)).sum();
        // Chi-squared with 80 degrees of freedom: 124.8 is the 99.9 % point.
        assert!(square < 124.8, "{distribution:?}: {square}");
    }
}

#[test]
fn a_pixel_does_not_depend_on_later_ones() {
    for (distribution, channels) in
        [(PixelDistribution::Categorical, 1), (PixelDistribution::LogisticMixture(2), 2)]
    {
        let model = pixelcnn(distribution, [5, 6], 7, channels);
        let x = tensor(&[1, channels, 5, 6], DType::F32, 3);
        let before = values(&model.network().forward(&x, None).unwrap());
        for pixel in [0usize, 8, 15, 29] {
            let mut moved = values(&x);
            (0..channels).for_each(|c| moved[c * 30 + pixel] += 3.0);
            let moved =
                Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
            let after = values(&model.network().forward(&moved, None).unwrap());
            for (i, (a, b)) in before.iter().zip(&after).enumerate() {
                // Its own output too does not see it.
                assert!(i % 30 > pixel || (a - b).abs() < 1e-5, "output {} sees {pixel}", i % 30);
            }
            let seen = before
                .iter()
                .zip(&after)
                .enumerate()
                .any(|(i, (a, b))| i % 30 > pixel && (a - b).abs() > 1e-3);
            assert!(seen || pixel == 29, "nothing sees {pixel}");
        }
    }
}

#[test]
fn chains_find_the_moments_of_a_correlated_normal() {
    let (variance, correlation) = ([4.0, 0.25], 0.8);
    let mean = [1.0, -2.0];
    let cross = correlation * f64::sqrt(variance[0] * variance[1]);
    let det = variance[0] * variance[1] - cross * cross;
    let inverse = [[variance[1] / det, -cross / det], [-cross / det, variance[0] / det]];
    let mut density = |x: &[f64]| {
        let off = [x[0] - mean[0], x[1] - mean[1]];
        let slope: Vec<f64> = inverse.iter().map(|row| -(row[0] * off[0] + row[1] * off[1])).collect();
        Ok((0.5 * (slope[0] * off[0] + slope[1] * off[1]), slope))
    };
    for trajectory in [Trajectory::NoUTurn(10), Trajectory::Steps(12)] {
        let config = HmcConfig { warmup: 1000, draws: 60_000, trajectory, ..Default::default() };
        let chain = hmc(&mut density, &[0.0, 0.0], &config, &mut Rng::new(4)).unwrap();
        let (found, covariance) = (chain.mean(), chain.covariance());
        println!(
            "{trajectory:?}: {found:?} {covariance:?}, acceptance {}, step {}",
            chain.acceptance, chain.step
        );
        // A fixed length has an acceptance that rises and falls with the step.
        assert!(chain.divergences == 0 && chain.acceptance > 0.7, "{}", chain.acceptance);
        for i in 0..2 {
            assert!((found[i] - mean[i]).abs() < 0.04 * variance[i].sqrt(), "{found:?}");
            assert!((covariance[i][i] / variance[i] - 1.0).abs() < 0.06, "{covariance:?}");
        }
        assert!((covariance[0][1] / cross - 1.0).abs() < 0.06, "{covariance:?}");
    }
}

/// x ~ N(0, 2^2), y | x ~ N(x^2 / 4, 1): E x = 0, E y = 1, Var y = Var(x^2) / 16 + 1 = 3.
#[test]
fn the_no_u_turn_sampler_and_a_grid_agree_on_a_banana() {
    let log = |x: f64, y: f64| -0.125 * x * x - 0.5 * (y - 0.25 * x * x).powi(2);
    let mut density = |t: &[f64]| {
        let (x, y) = (t[0], t[1]);
        let off = y - 0.25 * x * x;
        Ok((log(x, y), vec![-0.25 * x + 0.5 * x * off, -off]))
    };
    let config = HmcConfig { warmup: 1000, draws: 12_000, target: 0.9, ..Default::default() };
    let chain = hmc(&mut density, &[1.0, 1.0], &config, &mut Rng::new(5)).unwrap();
    let (mean, covariance) = (chain.mean(), chain.covariance());
    println!("{mean:?} {covariance:?}, {} evaluations", chain.evaluations);
    assert!(mean[0].abs() < 0.25 && (mean[1] - 1.0).abs() < 0.2, "{mean:?}");
    assert!((covariance[0][0] - 4.0).abs() < 0.6 && (covariance[1][1] - 3.0).abs() < 0.8, "{covariance:?}");

    let axes = [Axis { from: -12.0, to: 12.0, points: 241 }, Axis { from: -5.0, to: 30.0, points: 351 }];
    let grid = GridPosterior::new(&axes, |t| Ok(log(t[0], t[1]))).unwrap();
    assert!(grid.mean()[0].abs() < 1e-6 && (grid.mean()[1] - 1.0).abs() < 1e-4, "{:?}", grid.mean());
    assert!((grid.covariance()[1][1] - 3.0).abs() < 1e-3, "{:?}", grid.covariance());
    // 2 sqrt(2 pi) times sqrt(2 pi).
    assert!((grid.log_evidence() - (2.0 * std::f64::consts::TAU).ln()).abs() < 1e-4);
}

#[test]
fn the_likelihood_of_a_conditional_model_has_its_gradient() {
    let config = FlowConfig { parameters: 2, layers: 2, hidden: 8, blocks: 1, ..Default::default() };
    let flow = Flow::with_parameters(&config, Parameters::with_dtype(1, DType::F64, &Device::Cpu)).unwrap();
    shake(flow.parameters(), 0.3);
    let x = tensor(&[6, 2], DType::F64, 2);
    let prior = |t: &[f64]| (-0.5 * (t[0] * t[0] + t[1] * t[1]), vec![-t[0], -t[1]]);
    let mut target = likelihood(&flow, &x, prior, Rng::new(3).state());
    let at = [0.3, -0.7];
    let (_, slope) = target(&at).unwrap();
    for i in 0..2 {
        let mut value = |step: f64| {
            let mut moved = at;
            moved[i] += step;
            target(&moved).unwrap().0
        };
        let found = (value(1e-5) - value(-1e-5)) / 2e-5;
        assert!((found - slope[i]).abs() < 1e-5 * (1.0 + found.abs()), "{found} {}", slope[i]);
    }
}

#[test]
fn an_event_does_not_depend_on_the_batch_it_is_drawn_in() {
    let flow = Flow::new(&FlowConfig { parameters: 2, ..Default::default() }, 1, &Device::Cpu).unwrap();
    shake(flow.parameters(), 0.1);
    let config = VaeConfig { event: vec![6], latent: 2, noisy_samples: true, ..Default::default() };
    let vae = Vae::new(&config, 1, &Device::Cpu).unwrap();
    let pixels = pixelcnn(PixelDistribution::LogisticMixture(2), [3, 4], 8, 1);
    let cond = Cond::Vector(tensor(&[7, 2], DType::F32, 3));
    let models: [(&dyn Generative, Option<&Cond>); 3] = [(&flow, Some(&cond)), (&vae, None), (&pixels, None)];
    for (model, cond) in models {
        let draw = |batch: usize| {
            let options = SampleOptions { batch, ..Default::default() };
            values(&model.sample(7, cond, &options, &mut Rng::new(4)).unwrap())
        };
        let (one, three) = (draw(1), draw(3));
        for (a, b) in one.iter().zip(&three) {
            assert!((a - b).abs() < 1e-5, "{:?}: {a} {b}", model.event_shape());
        }
    }
}

#[test]
fn layers_and_configurations_that_do_not_fit_are_refused() {
    let told = |config: FlowConfig| Flow::new(&config, 1, &Device::Cpu).err().map(|e| e.to_string()).unwrap();
    let base = FlowConfig::default();
    for (config, word) in [
        (FlowConfig { event: vec![1], kind: FlowKind::RealNvp, ..base.clone() }, "couplings"),
        (FlowConfig { event: vec![1, 6, 6], kind: FlowKind::Glow, ..base.clone() }, "halve"),
        (FlowConfig { kind: FlowKind::Spline, bins: 1, ..base.clone() }, "bins"),
        (FlowConfig { order: Order::Given(vec![vec![0, 0]; 5]), ..base.clone() }, "permutation"),
        (FlowConfig { field: 1, ..base.clone() }, "embedding"),
        (FlowConfig { hidden: 0, ..base }, "hidden"),
    ] {
        let message = told(config);
        assert!(message.contains(word), "{message}");
    }
    let flow = Flow::new(&FlowConfig::default(), 1, &Device::Cpu).unwrap();
    let three = tensor(&[2, 3], DType::F32, 1);
    for x in [&three, &three.get(0).unwrap()] {
        assert!(flow.log_prob(x, None, &mut Rng::new(1)).is_err());
    }
    let config = PixelCnnConfig { range: [1.0, 0.0], ..Default::default() };
    assert!(PixelCnn::new(&config, 1, &Device::Cpu).err().unwrap().to_string().contains("range"));
    let mut wall = |_: &[f64]| Ok((f64::NEG_INFINITY, vec![0.0]));
    assert!(hmc(&mut wall, &[0.0], &HmcConfig::default(), &mut Rng::new(1)).is_err());
}

/// x | theta ~ N(theta, I).
struct Shifted;

impl LogProb for Shifted {
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, _: &mut Rng) -> halocast_models::Result<Tensor> {
        let Some(Cond::Vector(theta)) = cond else { unreachable!() };
        let constant = 0.5 * x.dims()[1] as f64 * std::f64::consts::TAU.ln();
        Ok((x - theta)?.sqr()?.sum(1)?.affine(-0.5, -constant)?)
    }
}

#[test]
fn a_chain_through_a_conditional_model_finds_the_posterior() {
    let n = 8;
    let x = (tensor(&[n, 2], DType::F64, 2) + 1.5).unwrap();
    // With theta ~ N(0, I): N(sum x / (n + 1), 1 / (n + 1)).
    let mean: Vec<f64> = values(&x.sum(0).unwrap()).iter().map(|s| s / (n as f64 + 1.0)).collect();
    let prior = |t: &[f64]| (-0.5 * (t[0] * t[0] + t[1] * t[1]), vec![-t[0], -t[1]]);
    let mut target = likelihood(&Shifted, &x, prior, Rng::new(3).state());
    let config = HmcConfig { warmup: 300, draws: 4000, ..Default::default() };
    let chain = hmc(&mut target, &[0.0, 0.0], &config, &mut Rng::new(4)).unwrap();
    let (found, covariance) = (chain.mean(), chain.covariance());
    for i in 0..2 {
        assert!((found[i] - mean[i]).abs() < 0.03, "{found:?} {mean:?}");
        assert!((covariance[i][i] * (n as f64 + 1.0) - 1.0).abs() < 0.15, "{covariance:?}");
    }
}

#[test]
fn draws_of_a_posterior_belong_to_their_data() {
    let config = PosteriorConfig {
        parameters: 2,
        data: vec![1, 8],
        embedding: EmbeddingConfig::Conv(ConvConfig { channels: vec![4], features: 3, ..Default::default() }),
        ..Default::default()
    };
    let model = Posterior::new(&config, 1, &Device::Cpu).unwrap();
    shake(model.parameters(), 0.1);
    let data = tensor(&[3, 1, 8], DType::F32, 2);
    let theta = model.draws(&data, 5, &mut Rng::new(3)).unwrap();
    assert_eq!(theta.dims(), [3, 5, 2]);
    let cond = Cond::Field(data);
    let one =
        model.log_prob(&theta.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), Some(&cond), &mut Rng::new(1));
    assert_eq!(one.unwrap().dims(), [3]);
    // The condition is needed, and of the right kind.
    assert!(model.sample(1, None, &SampleOptions::default(), &mut Rng::new(1)).is_err());
}
