//! The stochastic differential equations, their steps, samplers and likelihood against the reference code, on scores known
//! in closed form.

// Each case tells its largest errors.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use halocast::models::sde::{
    Corrector, NormOver, Predictor, Rk45, ScoreLoss, Sde, SdeSampler, flow_transport, flow_velocity,
};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};

/// Offset of the reference's bits per dimension: its data of [-1, 1] are bytes.
const BITS: f64 = 7.0;

fn flat(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn row(values: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(values, &Device::Cpu)?)
}

/// One equation of a case.
struct Part<'a> {
    case: &'a Case,
    prefix: &'a str,
    sde: Sde,
    steps: usize,
}

impl Part<'_> {
    fn tensor(&self, key: &str) -> Result<&Tensor> {
        self.case.tensor(&format!("{}.{key}", self.prefix))
    }

    fn has(&self, key: &str) -> bool {
        self.case.io.contains_key(&format!("{}.{key}", self.prefix))
    }

    fn check(&self, key: &str, got: &Tensor, kind: &str) -> Result<()> {
        let defaults = match kind {
            "closed forms" => (1e-5, 2e-5),
            "steps" => (2e-5, 1e-4),
            "pc" => (2e-4, 1e-3),
            _ => (5e-3, 1e-3),
        };
        let given = &self.case.meta["tolerance"][kind];
        let atol = given["atol"].as_f64().unwrap_or(defaults.0);
        let rtol = given["rtol"].as_f64().unwrap_or(defaults.1);
        let name = format!("{}: {}.{key}", self.case.name, self.prefix);
        compare(&name, got, self.tensor(key)?, atol, rtol)
    }

    /// The exact score of data N(mu, s^2) under the marginal at t.
    fn score(&self, x: &Tensor, t: &[f64]) -> halocast::models::Result<Tensor> {
        let of = |f: &dyn Fn(f64) -> f64| -> candle_core::Result<Tensor> {
            let values: Vec<f64> = t.iter().map(|&t| f(t)).collect();
            Tensor::from_vec(values, (t.len(), 1, 1, 1), &Device::Cpu)
        };
        let wide = |key: &str| self.case.io[key].to_dtype(DType::F64);
        let m = of(&|t| self.sde.mean_factor(t))?;
        let noise = of(&|t| self.sde.std(t).powi(2))?;
        let mean = wide("mu")?.broadcast_mul(&m)?;
        let variance = wide("s")?.broadcast_mul(&m)?.sqr()?.broadcast_add(&noise)?;
        let away = x.to_dtype(DType::F64)?.broadcast_sub(&mean)?;
        Ok((away.neg()? / variance)?.to_dtype(x.dtype())?)
    }

    fn times(&self) -> Result<Vec<f64>> {
        flat(self.case.tensor("t")?)
    }

    fn closed_forms(&self) -> Result<()> {
        let (x, t, sde) = (self.case.tensor("x")?, self.times()?, self.sde);
        let each = |f: &dyn Fn(f64) -> f64| -> Vec<f64> { t.iter().map(|&t| f(t)).collect() };
        let scaled = |f: &dyn Fn(f64) -> f64| -> Result<Tensor> {
            let factor = Tensor::from_vec(each(f), (t.len(), 1, 1, 1), &Device::Cpu)?.to_dtype(x.dtype())?;
            Ok(x.broadcast_mul(&factor)?)
        };
        let kind = "closed forms";
        self.check("mean", &scaled(&|t| sde.mean_factor(t))?, kind)?;
        self.check("std", &row(&each(&|t| sde.std(t)))?, kind)?;
        self.check("drift", &scaled(&|t| sde.drift(t))?, kind)?;
        self.check("diffusion", &row(&each(&|t| sde.diffusion(t)))?, kind)?;
        self.check("prior_logp", &sde.prior_log_prob(x)?, kind)?;
        self.check("disc_f", &scaled(&|t| sde.discretize(t, self.steps).0)?, kind)?;
        self.check("disc_G", &row(&each(&|t| sde.discretize(t, self.steps).1))?, kind)?;
        if let Sde::Ve { .. } = sde {
            let last = (self.steps - 1).max(1) as f64;
            let sigmas: Vec<f64> = (0..self.steps).map(|i| sde.std(i as f64 / last)).collect();
            self.check("discrete_sigmas", &row(&sigmas)?, kind)?;
        }
        Ok(())
    }

    fn reversed(&self) -> Result<()> {
        let (x, t) = (self.tensor("x_step")?, self.times()?);
        let score = self.score(x, &t)?;
        self.check("score", &score, "steps")?;
        for (flow, name) in [(false, "pf0"), (true, "pf1")] {
            let (drift, g) = self.sde.reverse(x, &score, &t, flow)?;
            self.check(&format!("reverse.{name}.drift"), &drift, "steps")?;
            let key = format!("reverse.{name}.diffusion");
            let scalar = self.tensor(&key)?.rank() == 0;
            let g = if scalar { Tensor::new(g[0], &Device::Cpu)? } else { row(&g)? };
            self.check(&key, &g, "steps")?;
            let (f, g) = self.sde.reverse_discretized(x, &score, &t, self.steps, flow)?;
            self.check(&format!("reverse_disc.{name}.f"), &f, "steps")?;
            self.check(&format!("reverse_disc.{name}.G"), &row(&g)?, "steps")?;
        }
        Ok(())
    }

    fn steps(&self) -> Result<()> {
        let (x, t) = (self.tensor("x_step")?, self.times()?);
        let score = |x: &Tensor, t: &[f64]| self.score(x, t);
        let predictors = [
            ("euler_maruyama", Predictor::EulerMaruyama),
            ("reverse_diffusion", Predictor::ReverseDiffusion),
            ("ancestral_sampling", Predictor::Ancestral),
        ];
        for (name, predictor) in predictors {
            if !self.has(&format!("{name}.noise")) {
                continue;
            }
            let noise = self.tensor(&format!("{name}.noise"))?.clone();
            let mut draw = || Ok(noise.clone());
            let (next, mean) = predictor.step(&self.sde, self.steps, false, &score, x, &t, &mut draw)?;
            self.check(&format!("{name}.x"), &next, "steps")?;
            self.check(&format!("{name}.x_mean"), &mean, "steps")?;
        }
        let stated = self.case.meta["forward"].as_str().unwrap_or_default();
        let (snr, steps) = corrector_of(stated);
        let correctors = [
            ("langevin", Corrector::Langevin { snr, steps, over: NormOver::Batch }),
            ("ald", Corrector::Annealed { snr, steps }),
        ];
        for (name, corrector) in correctors {
            if !self.has(&format!("{name}.noises")) {
                continue;
            }
            let mut draw = in_order(self.tensor(&format!("{name}.noises"))?);
            let (next, mean) = corrector.step(&self.sde, self.steps, &score, x, &t, &mut draw)?;
            self.check(&format!("{name}.x"), &next, "steps")?;
            self.check(&format!("{name}.x_mean"), &mean, "steps")?;
        }
        Ok(())
    }

    fn losses(&self) -> Result<()> {
        let x = self.case.tensor("x")?;
        let t: Vec<f64> =
            flat(self.tensor("loss.rand_u")?)?.iter().map(|u| u * (1.0 - 1e-5) + 1e-5).collect();
        let score = |x: &Tensor, t: &[f64]| self.score(x, t);
        for (mean, likelihood) in [(true, true), (true, false), (false, true), (false, false)] {
            let loss = ScoreLoss { likelihood, mean };
            let got = loss.of(&self.sde, &score, x, self.tensor("loss.z")?, &t)?;
            let key = format!("loss.reduce_mean{}.lw{}", u8::from(mean), u8::from(likelihood));
            self.check(&key, &got, "steps")?;
        }
        Ok(())
    }

    fn predictor_corrector(&self) -> Result<()> {
        let times = flat(self.tensor("pc.timesteps")?)?;
        let t_min = *times.last().context("no times")?;
        let noises = self.tensor("pc.noises")?;
        let (snr, _) = corrector_of(self.case.meta["forward"].as_str().unwrap_or_default());
        let langevin = Corrector::Langevin { snr, steps: 1, over: NormOver::Batch };
        let (predictor, corrector) = match noises.dims()[0] / times.len() {
            1 => (Predictor::EulerMaruyama, Corrector::None),
            2 => (Predictor::ReverseDiffusion, langevin),
            n => bail!("{} noises a step: no such sampler", n),
        };
        let sampler = SdeSampler::PredictorCorrector {
            predictor,
            corrector,
            steps: times.len(),
            t_min,
            flow: false,
            denoise: true,
        };
        let start = (self.tensor("pc.prior")? * self.sde.prior_std())?;
        let score = |x: &Tensor, t: &[f64]| self.score(x, t);
        let got = sampler.walk(&self.sde, &score, &start, &mut in_order(noises), &|_| {})?;
        self.check("pc.out", &got, "pc")
    }

    fn ode(&self) -> Result<()> {
        let score = |x: &Tensor, t: &[f64]| self.score(x, t);
        let velocity = flow_velocity(&self.sde, &score);
        let kind = "ode/likelihood";
        let t_min = flat(self.tensor("pc.timesteps")?)?.last().copied().context("no times")?;
        let solver = Rk45::default();

        // The sample of the reference's solver, all events as one system; and each for itself.
        let start = self.tensor("ode.z")?;
        let spread = flat(start)?.iter().map(|v| v * v).sum::<f64>() / start.elem_count() as f64;
        let raw = spread < 0.1 * self.sde.prior_std().powi(2) && self.sde.prior_std() > 1.0;
        let start = if raw { (start * self.sde.prior_std())? } else { start.clone() };
        for together in [true, false] {
            let none = (vec![], 1.0);
            let end = flow_transport(&velocity, &start, (1.0, t_min), &none, &solver, together)?;
            let end_x = end.x.to_dtype(DType::F32)?;
            self.check("ode.out", &end_x, kind)?;
            let theirs = flat(self.tensor("ode.nfe")?)?[0];
            println!("{}.ode: {} evaluations, the reference {theirs}", self.prefix, end.evaluations);
        }

        let data = self.tensor("lik.data")?;
        // Signs may be stored as the bits that they were drawn as.
        let stored = self.tensor("lik.hutch_eps")?;
        let bits = flat(stored)?.iter().all(|b| *b == 0.0 || *b == 1.0);
        let signs = if bits { stored.affine(2.0, -1.0)? } else { stored.clone() };
        let size = data.dims()[1..].iter().product::<usize>() as f64;
        let solution = |x: &Tensor, solver: &Rk45, together| -> Result<(Tensor, Tensor, usize)> {
            let directions = (vec![signs.to_dtype(x.dtype())?], 1.0);
            let end = flow_transport(&velocity, x, (1e-5, 1.0), &directions, solver, together)?;
            let logp = (self.sde.prior_log_prob(&end.x)? + row(&end.divergence)?)?;
            Ok((end.x, logp, end.evaluations))
        };
        for together in [true, false] {
            let (z, logp, evaluations) = solution(data, &solver, together)?;
            let bpd = logp.affine(-1.0 / (size * std::f64::consts::LN_2), BITS)?;
            self.check("lik.z", &z, kind)?;
            self.check("lik.bpd", &bpd, kind)?;
            self.check("lik.logp_from_bpd_f64", &logp, kind)?;
            let theirs = flat(self.tensor("lik.nfe")?)?[0];
            println!("{}.lik: {evaluations} evaluations, the reference {theirs}", self.prefix);
        }
        // In double precision and with a narrow tolerance the exact solution of the same equation, to 1e-4 nats a number.
        let solver = Rk45 { rtol: 1e-8, atol: 1e-8, ..solver };
        let (_, logp, _) = solution(&data.to_dtype(DType::F64)?, &solver, false)?;
        let name = format!("{}: {}.lik.logp_exact_ode_f64", self.case.name, self.prefix);
        compare(&name, &logp, self.tensor("lik.logp_exact_ode_f64")?, 1e-4 * size, 0.0)
    }
}

/// Signal to noise and number of steps of the correctors, as the case states them.
fn corrector_of(stated: &str) -> (f64, usize) {
    let after = |mark: &str| -> Option<f64> {
        let (_, rest) = stated.split_once(mark)?;
        let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        number.trim_end_matches('.').parse().ok()
    };
    (after("corrector snr ").unwrap_or(0.16), after("n_steps ").map_or(2, |n| n as usize))
}

/// Draws the stored noises one after the other.
fn in_order(noises: &Tensor) -> impl FnMut() -> halocast::models::Result<Tensor> {
    let mut next = 0;
    move || {
        next += 1;
        Ok(noises.get(next - 1)?)
    }
}

#[test]
fn equations_steps_samplers_and_likelihoods_are_those_of_the_reference() -> Result<()> {
    for case in cases(|cls, _| cls.starts_with("sde_lib."))? {
        let steps: usize = case.argument("N")?;
        let pair = |key: &str| case.argument::<[f64; 2]>(key);
        let (vp, subvp, ve) = (pair("vp")?, pair("subvp")?, pair("ve")?);
        let equations = [
            ("vp", Sde::Vp { beta_min: vp[0], beta_max: vp[1] }),
            ("subvp", Sde::SubVp { beta_min: subvp[0], beta_max: subvp[1] }),
            ("ve", Sde::Ve { sigma_min: ve[0], sigma_max: ve[1] }),
        ];
        let mut failures = Vec::new();
        for (prefix, sde) in equations {
            let part = Part { case: &case, prefix, sde, steps };
            let results = [
                part.closed_forms(),
                part.reversed(),
                part.steps(),
                part.losses(),
                part.predictor_corrector(),
                part.ode(),
            ];
            failures.extend(results.into_iter().filter_map(|r| r.err().map(|e| format!("{e:#}"))));
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
    }
    Ok(())
}
