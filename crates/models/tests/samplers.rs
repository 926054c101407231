//! Samplers and bounds against closed forms: with the exact denoiser of a known density nothing is left but their own
//! error, whose order is measured.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use halocast_core::Rng;
use halocast_models::diffusion::{
    Clip, Ddpm, DdpmConfig, Discretization, Guided, Heun, Levels, Sampler, Scaling, Schedule, Solver, TimeOf,
    sample, sigma_of, variational_bound,
};
use halocast_models::edm::{Edm, EdmConfig, SongConfig};
use halocast_models::network::NetworkConfig;
use halocast_models::unet::{LucidrainsConfig, UNetConfig};
use halocast_models::{Bound, Cond, Configured, Denoiser, Generative, Result, SampleOptions, Trainable};

/// The exact denoiser of pixels from a mixture of Gaussians of one standard deviation:
/// D = sum_k r_k (mu_k + s^2 / (s^2 + sigma^2) (x - mu_k)) with the responsibilities r_k.
struct Mixture {
    means: Vec<f64>,
    std: f64,
    levels: Levels,
    event: Vec<usize>,
}

impl Mixture {
    fn new(means: &[f64], std: f64) -> Self {
        let levels = Levels::Continuous { min: 0.002, max: 80.0 };
        Self { means: means.to_vec(), std, levels, event: vec![1, 4, 4] }
    }

    fn at(&self, x: f64, sigma: f64) -> f64 {
        let variance = self.std.powi(2) + sigma * sigma;
        let exponents: Vec<f64> = self.means.iter().map(|m| -0.5 * (x - m).powi(2) / variance).collect();
        let top = exponents.iter().fold(f64::MIN, |a, &b| a.max(b));
        let weights: Vec<f64> = exponents.iter().map(|e| (e - top).exp()).collect();
        let gain = self.std.powi(2) / variance;
        let sum: f64 = self.means.iter().zip(&weights).map(|(m, w)| w * (m + gain * (x - m))).sum();
        sum / weights.iter().sum::<f64>()
    }
}

impl Denoiser for Mixture {
    fn event_shape(&self) -> Vec<usize> {
        self.event.clone()
    }
    fn device(&self) -> &Device {
        &Device::Cpu
    }
    fn levels(&self) -> &Levels {
        &self.levels
    }
    fn denoise(&self, x: &Tensor, sigma: f64, _: Option<&Cond>) -> Result<Tensor> {
        let values = values(x).into_iter().map(|x| self.at(x, sigma));
        Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape(x.shape())?.to_dtype(x.dtype())?)
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn latents() -> Tensor {
    let values: Vec<f64> = Rng::new(3).normals(64).into_iter().map(f64::from).collect();
    Tensor::from_vec(values, (4, 1, 4, 4), &Device::Cpu).unwrap()
}

/// Down from the latents in double precision, without any noise.
fn walk(denoiser: &Mixture, sampler: Sampler) -> Vec<f64> {
    let out = match sampler {
        Sampler::Heun(heun) => {
            heun.walk(denoiser, &latents(), None, &mut |_| panic!("noise"), &mut || {}).unwrap()
        }
        other => {
            let sigmas = other.sigmas(&denoiser.levels).unwrap();
            let x = (latents() * sigmas[0]).unwrap();
            other.walk(denoiser, &sigmas, &x, None, &mut || panic!("noise"), &mut || {}).unwrap()
        }
    };
    values(&out)
}

/// The order p of errors that go as N^-p, from N and 2 N steps.
fn order(denoiser: &Mixture, sampler: impl Fn(usize) -> Sampler, truth: &[f64], steps: usize) -> f64 {
    let error = |steps: usize| {
        let got = walk(denoiser, sampler(steps));
        (got.iter().zip(truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / truth.len() as f64).sqrt()
    };
    (error(steps) / error(2 * steps)).log2()
}

/// A sampler of so many steps.
type OfSteps = Box<dyn Fn(usize) -> Sampler>;

/// Deterministic samplers and their orders.
fn solvers() -> Vec<(&'static str, OfSteps, f64)> {
    let heun =
        |solver: Solver| move |steps: usize| Sampler::Heun(Heun { steps, solver, ..Default::default() });
    vec![
        ("Euler", Box::new(heun(Solver::Euler)), 1.0),
        ("Heun", Box::new(heun(Solver::Heun { alpha: 1.0 })), 2.0),
        ("midpoint", Box::new(heun(Solver::Heun { alpha: 0.5 })), 2.0),
        (
            "Heun, variance preserving",
            Box::new(|steps| {
                Sampler::Heun(Heun {
                    steps,
                    schedule: TimeOf::Vp,
                    scaling: Scaling::Vp,
                    sigma_min: Some(0.01),
                    ..Default::default()
                })
            }),
            2.0,
        ),
        ("DDIM", Box::new(|steps| Sampler::Ddim { steps, eta: 0.0 }), 1.0),
        ("DPM-Solver++(2M)", Box::new(|steps| Sampler::DpmSolver { steps }), 2.0),
    ]
}

#[test]
fn deterministic_samplers_have_their_order_on_a_gaussian() {
    let (mean, std) = (0.3, 0.5);
    let gaussian = Mixture::new(&[mean], std);
    for (name, sampler, expected) in solvers() {
        // The flow is linear: the distance from the mean shrinks as sqrt(s^2 + sigma^2). The last step is the denoiser.
        let sigmas = sampler(2).sigmas(&gaussian.levels).unwrap();
        let (high, low) = (sigmas[0], sigmas[sigmas.len() - 1]);
        let width = |sigma: f64| (std * std + sigma * sigma).sqrt();
        let truth: Vec<f64> = values(&latents())
            .into_iter()
            .map(|n| gaussian.at(mean + (high * n - mean) * width(low) / width(high), low))
            .collect();
        // The last step of one is no evaluation of the denoiser, and one gains an order on this linear flow.
        if ["Heun, variance preserving", "midpoint"].contains(&name) {
            continue;
        }
        let measured = order(&gaussian, sampler, &truth, 128);
        assert!((measured - expected).abs() < 0.2, "{name}: order {measured}, expected {expected}");
    }
}

#[test]
fn deterministic_samplers_have_their_order_on_a_mixture() {
    let mixture = Mixture::new(&[-1.0, 0.8], 0.4);
    for (name, sampler, expected) in solvers() {
        let truth = walk(&mixture, sampler(if expected > 1.5 { 4096 } else { 16384 }));
        let measured = order(&mixture, sampler, &truth, 128);
        assert!((measured - expected).abs() < 0.3, "{name}: order {measured}, expected {expected}");
    }
}

#[test]
fn heun_with_and_without_churn_gives_the_mixture() {
    let mixture = Mixture { event: vec![1, 32, 32], ..Mixture::new(&[-1.0, 1.0], 0.3) };
    for churn in [0.0, 10.0] {
        let heun = Heun { steps: 80, churn, ..Default::default() };
        let options = SampleOptions { sampler: Sampler::Heun(heun), batch: 3, ..Default::default() };
        let x = values(&sample(&mixture, 16, None, &options, &mut Rng::new(5)).unwrap());
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let square = x.iter().map(|x| x * x).sum::<f64>() / n;
        let near = x.iter().filter(|x| (x.abs() - 1.0).abs() < 0.3).count() as f64 / n;
        // 16,384 values of variance 1.09: standard errors 0.008, 0.007 and 0.004.
        assert!(mean.abs() < 0.035, "churn {churn}: mean {mean}");
        assert!((square - 1.09).abs() < 0.03, "churn {churn}: mean square {square}");
        assert!((near - 0.6827).abs() < 0.017, "churn {churn}: {near} within one deviation");
    }
}

#[test]
fn every_evaluation_of_the_network_is_told() {
    struct Counted<'a>(&'a Mixture, Mutex<u64>);
    impl Denoiser for Counted<'_> {
        fn event_shape(&self) -> Vec<usize> {
            self.0.event_shape()
        }
        fn device(&self) -> &Device {
            self.0.device()
        }
        fn levels(&self) -> &Levels {
            self.0.levels()
        }
        fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
            *self.1.lock().unwrap() += 1;
            self.0.denoise(x, sigma, cond)
        }
    }
    let mixture = Mixture::new(&[0.0], 1.0);
    let cond = Cond::Vector(Tensor::zeros((5, 2), DType::F32, &Device::Cpu).unwrap());
    let samplers = [
        (Sampler::Ancestral { steps: Some(7) }, 7),
        (Sampler::Ddim { steps: 7, eta: 0.5 }, 7),
        (Sampler::DpmSolver { steps: 7 }, 7),
        (Sampler::Heun(Heun { steps: 7, ..Default::default() }), 13),
        (Sampler::Heun(Heun { steps: 7, solver: Solver::Euler, churn: 3.0, ..Default::default() }), 7),
    ];
    for (sampler, each) in samplers {
        for (guidance, cond, times) in [(1.0, None, 1), (1.0, Some(&cond), 1), (3.0, Some(&cond), 2)] {
            let counted = Counted(&mixture, Mutex::new(0));
            let told = Mutex::new(Vec::new());
            let progress = |done: u64, total: u64| {
                let evaluations = *counted.1.lock().unwrap();
                told.lock().unwrap().push((done, total, evaluations));
            };
            let options =
                SampleOptions { sampler, guidance, batch: 2, progress: &progress, ..Default::default() };
            sample(&counted, 5, cond, &options, &mut Rng::new(1)).unwrap();
            let told = told.into_inner().unwrap();
            // Five events in batches of two.
            assert!(told.iter().all(|&(done, total, so_far)| done == so_far && total == 3 * each * times));
            assert_eq!(told.last().map(|last| last.0), Some(3 * each * times), "{sampler:?}");
        }
    }
}

#[test]
fn the_bound_of_the_exact_denoiser_is_its_closed_form_and_below_the_density() {
    let std = 0.5f64;
    for schedule in [Schedule::default(), Schedule::Cosine, Schedule::sigmoid()] {
        let sigmas: Vec<f64> = schedule.alphas_bar(200).into_iter().map(sigma_of).collect();
        let levels = Levels::Discrete(sigmas.clone());
        let gaussian = Mixture { levels, event: vec![1, 8, 8], ..Mixture::new(&[0.0], std) };
        // Per pixel, averaged over the data: the denoiser's mean square error is s^2 sigma^2 / (s^2 + sigma^2).
        let error = |sigma: f64| (std * sigma).powi(2) / (std * std + sigma * sigma);
        let (low, high) = (sigmas[0], sigmas[199]);
        let bar = 1.0 / (1.0 + high * high);
        let prior = 0.5 * (-bar - (-bar).ln_1p() + bar * std * std);
        let steps: f64 = sigmas.windows(2).map(|s| 0.5 * (s[0].powi(-2) - s[1].powi(-2)) * error(s[1])).sum();
        let last = 0.5 * error(low) / (low * low) + 0.5 * (std::f64::consts::TAU * low * low).ln();
        let expected = -(prior + steps + last);
        let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E * std * std).ln();

        let n = 64;
        let x: Vec<f32> = Rng::new(1).normals(n * 64).into_iter().map(|v| v * std as f32).collect();
        let x = Tensor::from_vec(x, (n, 1, 8, 8), &Device::Cpu).unwrap();
        let bound = values(&variational_bound(&gaussian, &x, None, 64, &mut Rng::new(2)).unwrap());
        let got = bound.iter().sum::<f64>() / (n * 64) as f64;
        assert!((got - expected).abs() < 0.05, "{schedule:?}: {got} nats a pixel, expected {expected}");
        assert!(expected < -entropy, "{schedule:?}: {expected} is above {}", -entropy);
    }
    let continuum = variational_bound(&Mixture::new(&[0.0], 1.0), &latents(), None, 1, &mut Rng::new(1));
    assert!(continuum.unwrap_err().to_string().contains("discrete"));
}

fn small(change: impl Fn(&mut DdpmConfig)) -> DdpmConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let mut config = DdpmConfig { unet, size: vec![8, 8], timesteps: 20, ..Default::default() };
    change(&mut config);
    config
}

fn normals(shape: &[usize], seed: u64) -> Tensor {
    let values = Rng::new(seed).normals(shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn guidance_is_the_line_through_the_two_denoisers() {
    let field = small(|c| (c.field, c.unconditional) = (2, 0.1));
    let vector = small(|c| (c.unet.parameters, c.unconditional) = (3, 0.1));
    let conds = [Cond::Field(normals(&[2, 2, 8, 8], 1)), Cond::Vector(normals(&[2, 3], 1))];
    for (config, cond) in [field, vector].into_iter().zip(conds) {
        let model = Ddpm::new(&config, 1, &Device::Cpu).unwrap();
        let x = normals(&[2, 1, 8, 8], 2);
        let at = |cond: Option<&Cond>| values(&model.denoise(&x, 1.0, cond).unwrap());
        let (with, without) = (at(Some(&cond)), at(None));
        assert_ne!(with, without);
        for weight in [0.0, 1.0, 2.5] {
            let guided = Guided { denoiser: &model, weight };
            let got = values(&guided.denoise(&x, 1.0, Some(&cond)).unwrap());
            for ((a, b), g) in with.iter().zip(&without).zip(got) {
                assert!((b + weight * (a - b) - g).abs() < 1e-4, "weight {weight}");
            }
        }
        let bound = model.bound(&x, Some(&cond), 2, &mut Rng::new(1)).unwrap();
        assert_eq!(bound.dims(), [2]);
        let options = SampleOptions {
            sampler: Sampler::Ddim { steps: 3, eta: 0.0 },
            clip: Clip::Dynamic { quantile: 0.9, limit: 1.0 },
            guidance: 2.0,
            ..Default::default()
        };
        let drawn = model.sample(2, Some(&cond), &options, &mut Rng::new(1)).unwrap();
        assert!(values(&drawn).iter().all(|v| v.abs() <= 1.0 + 1e-6));
    }
    // A model that always had its condition wants it.
    let model = Ddpm::new(&small(|c| c.field = 2), 1, &Device::Cpu).unwrap();
    let message = model.denoise(&normals(&[2, 1, 8, 8], 2), 1.0, None).unwrap_err().to_string();
    assert!(message.contains("condition"), "{message}");
    let wrong = Cond::Field(normals(&[2, 2, 4, 4], 1));
    assert!(model.denoise(&normals(&[2, 1, 8, 8], 2), 1.0, Some(&wrong)).is_err());
}

#[test]
fn a_network_of_its_own_estimate_gets_that_of_the_step_before() {
    let network = NetworkConfig::Lucidrains(LucidrainsConfig {
        dim: 8,
        dim_mults: vec![1, 2],
        self_condition: true,
        ..Default::default()
    });
    let model = Ddpm::new(&small(|c| c.network = Some(network.clone())), 1, &Device::Cpu).unwrap();
    let (x, estimate) = (normals(&[2, 1, 8, 8], 2), normals(&[2, 1, 8, 8], 3));
    let at = |previous: Option<&Tensor>| values(&model.refine(&x, 1.0, None, previous).unwrap());
    assert_ne!(at(Some(&estimate)), at(None));
    assert_eq!(at(Some(&estimate.zeros_like().unwrap())), at(None));
    let sampler = Sampler::Ddim { steps: 3, eta: 0.0 };
    let options = SampleOptions { sampler, ..Default::default() };
    assert!(model.sample(2, None, &options, &mut Rng::new(1)).is_ok());
    // A batch in parts has the loss of the whole, though each example draws whether it sees its estimate.
    let batch = halocast_core::Batch::new(ndarray::ArrayD::zeros(vec![3, 1, 8, 8]), None);
    let loss = model.loss(0, &batch, &mut Rng::new(4)).unwrap().total;
    assert!(loss.to_scalar::<f32>().unwrap().is_finite() && loss.backward().is_ok());
}

#[test]
fn learned_variances_are_trained_by_the_variational_term_and_used_by_the_chain() {
    let fixed = Ddpm::new(&small(|_| {}), 1, &Device::Cpu).unwrap();
    let model = Ddpm::new(&small(|c| c.learned_variance = Some(1e-3)), 1, &Device::Cpu).unwrap();
    let x = normals(&[2, 1, 8, 8], 2);
    let (_, spread) = model.refine_with_spread(&x, 1.0, None, None).unwrap();
    assert_eq!(spread.unwrap().dims(), [2, 1, 8, 8]);
    assert!(fixed.refine_with_spread(&x, 1.0, None, None).unwrap().1.is_none());
    // The channel of the variance has a gradient from that term alone: in proportion to its weight.
    let slope = |weight: f64| {
        let model = Ddpm::new(&small(|c| c.learned_variance = Some(weight)), 1, &Device::Cpu).unwrap();
        let loss = model.loss_at(&x, &normals(&[2, 1, 8, 8], 3), &[0, 12], None).unwrap();
        let store = loss.backward().unwrap();
        let named = model.parameters().named();
        let last = &named.iter().find(|(name, _)| name == "final_conv.1.bias").unwrap().1;
        store.get(last).unwrap().to_vec1::<f32>().unwrap()
    };
    let (one, two) = (slope(1e-3), slope(2e-3));
    assert!((one[0] - two[0]).abs() < 1e-6 && one[1].abs() > 1e-7, "{one:?} {two:?}");
    assert!((two[1] / one[1] - 2.0).abs() < 1e-3, "{one:?} {two:?}");
    let options = SampleOptions { sampler: Sampler::Ancestral { steps: None }, ..Default::default() };
    let drawn = values(&model.sample(2, None, &options, &mut Rng::new(1)).unwrap());
    assert!(drawn.iter().all(|v| v.is_finite()));
    let bound = values(&model.bound(&x, None, 3, &mut Rng::new(1)).unwrap());
    assert!(bound.iter().all(|b| b.is_finite()));
}

#[test]
fn absurd_configurations_are_refused_by_name() {
    let message = |config: EdmConfig| Edm::new(&config, 1, &Device::Cpu).err().unwrap().to_string();
    let song = |change: fn(&mut SongConfig)| {
        let mut config = SongConfig::default();
        change(&mut config);
        message(EdmConfig { network: NetworkConfig::Song(config), ..Default::default() })
    };
    assert!(song(|c| c.dim = 0).contains("dim"));
    assert!(song(|c| c.filter = vec![1.0]).contains("filter"));
    assert!(song(|c| c.dropout = 1.0).contains("dropout"));
    assert!(message(EdmConfig { size: vec![64], ..Default::default() }).contains("axes"));
    assert!(message(EdmConfig { size: vec![60, 60], ..Default::default() }).contains("size"));
    assert!(message(EdmConfig { sigma_min: 0.0, ..Default::default() }).contains("sigma_min"));
    assert!(message(EdmConfig { unconditional: 0.1, ..Default::default() }).contains("unconditional"));
    let levels = Levels::Continuous { min: 0.002, max: 80.0 };
    for (heun, field) in [
        (Heun { steps: 0, ..Default::default() }, "steps"),
        (Heun { rho: 0.0, ..Default::default() }, "rho"),
        (Heun { solver: Solver::Heun { alpha: 0.0 }, ..Default::default() }, "alpha"),
        (
            Heun {
                discretization: Discretization::Iddpm,
                levels: 1,
                sigma_min: Some(40.0),
                ..Default::default()
            },
            "levels",
        ),
    ] {
        let message = heun.sigmas(&levels).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}
