//! What follows exactly when the data are Gaussian and the score is known.

use candle_core::{Device, Tensor};
use halocast_core::Rng;

use super::*;
use crate::Result;
use crate::batches::{column, normals};

const MEAN: f64 = 0.3;
const STD: f64 = 0.5;

fn equations() -> [Sde; 3] {
    [
        Sde::default(),
        Sde::SubVp { beta_min: 0.1, beta_max: 20.0 },
        Sde::Ve { sigma_min: 0.01, sigma_max: 50.0 },
    ]
}

/// The variance of x_t.
fn variance(sde: &Sde, t: f64) -> f64 {
    (sde.mean_factor(t) * STD).powi(2) + sde.std(t).powi(2)
}

fn score(sde: Sde) -> impl Fn(&Tensor, &[f64]) -> Result<Tensor> {
    move |x, t| {
        let of = |f: &dyn Fn(f64) -> f64| column(&t.iter().map(|&t| f(t)).collect::<Vec<_>>(), x);
        let away = x.broadcast_sub(&of(&|t| sde.mean_factor(t) * MEAN)?)?;
        Ok(away.broadcast_mul(&of(&|t| -variance(&sde, t).recip())?)?)
    }
}

fn moments(x: &Tensor) -> (f64, f64) {
    let values: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn every_sampler_gives_the_gaussian() {
    let chain = |predictor, corrector| SdeSampler::PredictorCorrector {
        predictor,
        corrector,
        steps: 500,
        t_min: 1e-3,
        flow: false,
        denoise: true,
    };
    let langevin = Corrector::Langevin { snr: 0.16, steps: 1, over: NormOver::Event };
    let annealed = Corrector::Annealed { snr: 0.1, steps: 1 };
    let flow = SdeSampler::Flow { solver: Rk45::default(), t_min: 1e-4, denoise: false };
    for sde in equations() {
        let mut samplers = vec![
            chain(Predictor::ReverseDiffusion, Corrector::None),
            chain(Predictor::ReverseDiffusion, langevin),
            chain(Predictor::ReverseDiffusion, annealed),
            flow,
        ];
        match sde {
            Sde::Vp { .. } => samplers.push(chain(Predictor::Ancestral, Corrector::None)),
            Sde::SubVp { .. } => {}
            Sde::Ve { .. } => samplers.push(chain(Predictor::Ancestral, Corrector::None)),
        }
        if !matches!(sde, Sde::Ve { .. }) {
            samplers.push(chain(Predictor::EulerMaruyama, Corrector::None));
        }
        for sampler in samplers {
            let mut streams: Vec<Rng> = (0..16).map(|i| Rng::new(5).split(i)).collect();
            let mut noise = || normals(&mut streams, &[1, 32, 32], candle_core::DType::F32, &Device::Cpu);
            let start = (noise().unwrap() * sde.prior_std()).unwrap();
            let x = sampler.walk(&sde, &score(sde), &start, &mut noise, &|_| {}).unwrap();
            // 16,384 values: standard errors 0.004 and 0.003, and the bias of 500 steps.
            let (mean, std) = moments(&x);
            assert!((mean - MEAN).abs() < 0.02, "{sde:?}, {sampler:?}: mean {mean}");
            assert!((std - STD).abs() < 0.02, "{sde:?}, {sampler:?}: std {std}");
        }
    }
}

#[test]
fn the_mean_of_euler_and_maruyama_converges_at_first_order() {
    let sde = Sde::Vp { beta_min: 0.1, beta_max: 5.0 };
    let mean = |steps: usize| {
        let sampler = SdeSampler::PredictorCorrector {
            predictor: Predictor::EulerMaruyama,
            corrector: Corrector::None,
            steps,
            t_min: 1e-3,
            flow: false,
            denoise: true,
        };
        // The equation is linear: without noise it gives the mean of its samples.
        let start = Tensor::new(&[1.7f64], &Device::Cpu).unwrap();
        let mut noise = || Ok(start.zeros_like()?);
        let end = sampler.walk(&sde, &score(sde), &start, &mut noise, &|_| {}).unwrap();
        end.to_vec1::<f64>().unwrap()[0]
    };
    let [a, b, c] = [400, 800, 1600].map(mean);
    let order = ((a - b) / (b - c)).log2();
    assert!((order - 1.0).abs() < 0.1, "order {order}");
}

#[test]
fn the_likelihood_is_that_of_the_density_the_flow_defines() {
    let x = Tensor::from_vec(vec![-0.4f64, 0.1, 0.3, 0.8, 1.4, -1.0], (2, 3), &Device::Cpu).unwrap();
    let (t_min, solver) = (1e-3, Rk45 { rtol: 1e-8, atol: 1e-8, ..Default::default() });
    for sde in equations() {
        // The flow is linear: (x - m mu) / sqrt(variance) is kept from t_min to 1.
        let shrink = (variance(&sde, 1.0) / variance(&sde, t_min)).sqrt();
        let expected = |row: &[f64]| -> f64 {
            let one = |&x: &f64| {
                let z = sde.mean_factor(1.0) * MEAN + shrink * (x - sde.mean_factor(t_min) * MEAN);
                let prior = sde.prior_std();
                -0.5 * (z / prior).powi(2) - (prior * (2.0 * std::f64::consts::PI).sqrt()).ln() + shrink.ln()
            };
            row.iter().map(one).sum()
        };
        let score = score(sde);
        let velocity = flow_velocity(&sde, &score);
        let prior = |z: &Tensor| sde.prior_log_prob(z);
        for divergence in [Divergence::Exact, Divergence::Rademacher { probes: 2 }] {
            let span = (t_min, 1.0);
            let got =
                flow_log_prob(&velocity, &prior, &x, span, divergence, &solver, &mut Rng::new(1)).unwrap();
            for (row, got) in x.to_vec2::<f64>().unwrap().iter().zip(got.to_vec1::<f64>().unwrap()) {
                let expected = expected(row);
                assert!((got - expected).abs() < 3.0 * 1e-5, "{sde:?}, {divergence:?}: {got}, {expected}");
            }
        }
    }
}
