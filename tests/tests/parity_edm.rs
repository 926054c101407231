//! Elucidated diffusion against its reference: networks, preconditioning, losses, samplers.

use anyhow::{Context as _, Result, bail};
use candle_core::{DType, Device, Tensor, Var};
use halocast::models::diffusion::{Discretization, Heun, Levels, Scaling, Solver, TimeOf};
use halocast::models::edm::{
    Decoder, DhariwalConfig, Edm, EdmConfig, Encoder, NoiseEmbedding, NoiseLoss, Precondition, SongConfig,
};
use halocast::models::network::NetworkConfig;
use halocast::models::{Cond, Configured, Denoiser, Trainable};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};
use serde_json::Value;

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    Ok(serde_json::from_value(value.clone())?)
}

/// The network of the constructor `model`, for events of `channels` and `labels` parameters.
fn network(class: &str, arguments: &Value, channels: usize, parameters: usize) -> Result<NetworkConfig> {
    let mut song = SongConfig { channels, parameters, ..Default::default() };
    let mut adm = DhariwalConfig { channels, parameters, ..Default::default() };
    let is_song = class.contains("SongUNet");
    for (key, value) in arguments.as_object().context("model")? {
        match key.as_str() {
            "model_channels" => (song.dim, adm.dim) = (parse(value)?, parse(value)?),
            "channel_mult" => (song.dim_mults, adm.dim_mults) = (parse(value)?, parse(value)?),
            "channel_mult_emb" => (song.embedding_mult, adm.embedding_mult) = (parse(value)?, parse(value)?),
            "num_blocks" => (song.blocks, adm.blocks) = (parse(value)?, parse(value)?),
            "attn_resolutions" => (song.attention, adm.attention) = (parse(value)?, parse(value)?),
            "dropout" => (song.dropout, adm.dropout) = (parse(value)?, parse(value)?),
            "label_dropout" => {}
            "augment_dim" if value == &Value::from(0) => {}
            "embedding_type" if is_song => song.noise = parse::<NoiseEmbedding>(value)?,
            "channel_mult_noise" if is_song => song.noise_mult = parse(value)?,
            "encoder_type" if is_song => song.encoder = parse::<Encoder>(value)?,
            "decoder_type" if is_song => song.decoder = parse::<Decoder>(value)?,
            "resample_filter" if is_song => song.filter = parse(value)?,
            _ => bail!("the network's argument {key:?} = {value} is not supported"),
        }
    }
    Ok(if is_song { NetworkConfig::Song(song) } else { NetworkConfig::Dhariwal(adm) })
}

fn precondition(class: &str, arguments: &Value) -> Result<Precondition> {
    let value = |key: &str, default: f64| arguments[key].as_f64().unwrap_or(default);
    let name = class.split('(').next().unwrap_or_default();
    Ok(match name {
        "EDMPrecond" => Precondition::Edm { sigma_data: value("sigma_data", 0.5) },
        "VPPrecond" => Precondition::Vp {
            beta_d: value("beta_d", 19.9),
            beta_min: value("beta_min", 0.1),
            timesteps: value("M", 1000.0) as usize,
            epsilon_t: value("epsilon_t", 1e-5),
        },
        "VEPrecond" => {
            Precondition::Ve { sigma_min: value("sigma_min", 0.02), sigma_max: value("sigma_max", 100.0) }
        }
        "iDDPMPrecond" => Precondition::Iddpm {
            c_1: value("C_1", 1e-3),
            c_2: value("C_2", 8e-3),
            timesteps: value("M", 1000.0) as usize,
        },
        other => bail!("the preconditioning {other:?} is not known"),
    })
}

#[test]
fn preconditioned_networks() -> Result<()> {
    for case in cases(|class, _| class.contains("(SongUNet)") || class.contains("(DhariwalUNet)"))? {
        let class = case.meta["cls"].as_str().unwrap_or_default();
        let arguments = &case.meta["constructor"];
        for key in arguments.as_object().context("constructor")?.keys() {
            let known = [
                "img_resolution",
                "img_channels",
                "label_dim",
                "model",
                "use_fp16",
                "sigma_min",
                "sigma_max",
                "sigma_data",
                "beta_d",
                "beta_min",
                "M",
                "epsilon_t",
                "C_1",
                "C_2",
                "model_type",
            ];
            anyhow::ensure!(known.contains(&key.as_str()), "the argument {key:?} is not known");
        }
        let labels = arguments["label_dim"].as_u64().unwrap_or(0) as usize;
        let side: usize = case.argument("img_resolution")?;
        let config = EdmConfig {
            network: network(class, &arguments["model"], case.argument("img_channels")?, labels)?,
            size: vec![side, side],
            precondition: precondition(class, arguments)?,
            ..Default::default()
        };
        let model = Edm::new(&config, 0, &Device::Cpu)?;
        // The filters of a change of resolution are part of the configuration here.
        let weights = case.weights.iter().filter(|(name, _)| !name.ends_with("resample_filter"));
        model.parameters().load(&weights.map(|(name, t)| (name.clone(), t.clone())).collect())?;
        let x = Var::from_tensor(case.tensor("x")?)?;
        let sigmas: Vec<f64> = case.tensor("sigma")?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let given = case.io.get("class_labels").or(case.io.get("labels"));
        let cond = match (labels, given) {
            (0, _) => None,
            (_, Some(labels)) => Some(Cond::Vector(labels.clone())),
            (n, None) => Some(Cond::Vector(Tensor::zeros((sigmas.len(), n), DType::F32, &Device::Cpu)?)),
        };
        let out = model.denoise_each(&x, &sigmas, cond.as_ref())?;
        case.forward("out", &out)?;
        let loss = ((&out * case.tensor("w")?)?.mean_all()? + (out.sqr()?.mean_all()? * 0.5)?)?;
        case.forward("loss", &loss)?;
        let store = loss.backward()?;
        case.gradient("grad.x", store.get(&x).context("grad.x")?)?;
        case.gradients("grad.", model.parameters(), &store)?;
    }
    Ok(())
}

fn tolerance(case: &Case, kind: &str, default: (f64, f64)) -> (f64, f64) {
    let value = |key: &str, default| case.meta["tolerance"][kind][key].as_f64().unwrap_or(default);
    (value("atol", default.0), value("rtol", default.1))
}

fn numbers(case: &Case, key: &str) -> Result<Vec<f64>> {
    Ok(case.tensor(key)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn column(values: Vec<f64>) -> Result<Tensor> {
    let n = values.len();
    Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
}

#[test]
fn preconditioning() -> Result<()> {
    for case in cases(|class, _| class.starts_with("training/networks.py preconds"))? {
        let (atol, rtol) = tolerance(&case, "c_*", (1e-7, 5e-6));
        let near = |key: &str, got: Vec<f64>| -> Result<()> {
            compare(&format!("{}: {key}", case.name), &column(got)?, case.tensor(key)?, atol, rtol)
        };
        // The reference adds 1 to sigma^2, or subtracts it from the exponential, in single precision: what that leaves open.
        let open = f64::from(f32::EPSILON);
        let within = |key: &str, got: &[f64], slack: &[f64]| -> Result<()> {
            let expected = numbers(&case, key)?;
            let pairs = got.iter().zip(slack).zip(expected);
            near(key, pairs.map(|((got, slack), b)| b.clamp(got - slack, got + slack)).collect())
        };
        let sigmas = numbers(&case, "sigma")?;
        for name in ["VPPrecond", "VEPrecond", "EDMPrecond", "iDDPMPrecond"] {
            let precondition = precondition(name, &case.meta["constructor"][name])?;
            let c: Vec<_> = sigmas.iter().map(|&sigma| precondition.coefficients(sigma)).collect();
            near(&format!("{name}.c_skip"), c.iter().map(|c| c.skip).collect())?;
            near(&format!("{name}.c_out"), c.iter().map(|c| c.output).collect())?;
            near(&format!("{name}.c_in"), c.iter().map(|c| c.input).collect())?;
            let noise: Vec<f64> = c.iter().map(|c| c.noise).collect();
            let moved = |sigma: f64| precondition.coefficients((sigma * sigma + open).sqrt()).noise;
            let slack: Vec<f64> = match precondition {
                Precondition::Vp { .. } => {
                    sigmas.iter().zip(&noise).map(|(&sigma, noise)| moved(sigma) - noise).collect()
                }
                _ => vec![0.0; noise.len()],
            };
            within(&format!("{name}.c_noise"), &noise, &slack)?;
            let levels = precondition.levels(0.0, f64::INFINITY);
            if name == "EDMPrecond" {
                continue; // all levels
            } else {
                let range = [levels.min(), levels.max()];
                let slack = range.map(|sigma| if name == "VPPrecond" { open / sigma } else { 0.0 });
                within(&format!("{name}.sigma_min_max"), &range, &slack)?;
            }
            if name == "iDDPMPrecond" {
                let rounded: Vec<_> = sigmas.iter().map(|&sigma| precondition.round(sigma)).collect();
                near("iDDPM.round_sigma", rounded.iter().map(|r| r.0).collect())?;
                near("iDDPM.round_index", rounded.iter().map(|r| r.1 as f64).collect())?;
            }
        }
        let vp = NoiseLoss::Vp { beta_d: 19.9, beta_min: 0.1, epsilon_t: 0.0 };
        let times = numbers(&case, "VP.t")?;
        let got: Vec<f64> = times.iter().map(|t| vp.sigma(1.0 - t)).collect();
        let slack: Vec<f64> = got.iter().map(|sigma| open * (1.0 + sigma * sigma) / sigma).collect();
        within("VP.sigma_of_t", &got, &slack)?;

        let (atol, rtol) = tolerance(&case, "losses", (1e-6, 1e-4));
        let y = case.tensor("loss.images")?;
        for (loss, precondition, name) in [
            (NoiseLoss::default(), Precondition::default(), "EDMLoss"),
            (NoiseLoss::vp(), Precondition::vp(), "VPLoss"),
            (NoiseLoss::ve(), Precondition::ve(), "VELoss"),
        ] {
            let noise = case.tensor(&format!("{name}.noise"))?;
            let parts = numbers(&case, &format!("{name}.rnd"))?.into_iter().enumerate().map(|(i, draw)| {
                let sigma = loss.sigma(draw);
                let c = precondition.coefficients(sigma);
                let y = y.narrow(0, i, 1)?;
                let x = (&y + (noise.narrow(0, i, 1)? * sigma)?)?;
                let network = (&x * c.input)?.tanh()?;
                let denoised = ((x * c.skip)? + (network * c.output)?)?;
                Ok(((denoised - y)?.sqr()? * loss.weight(sigma))?)
            });
            let got = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?;
            let key = format!("{name}.loss");
            compare(&format!("{}: {key}", case.name), &got, case.tensor(&key)?, atol, rtol)?;
        }
    }
    Ok(())
}

/// The exact denoiser of pixels N(mu, s^2).
struct Gaussian {
    mu: Tensor,
    variance: Tensor,
    levels: Levels,
}

impl Denoiser for Gaussian {
    fn event_shape(&self) -> Vec<usize> {
        self.mu.dims()[1..].to_vec()
    }
    fn device(&self) -> &Device {
        &Device::Cpu
    }
    fn levels(&self) -> &Levels {
        &self.levels
    }
    fn denoise(&self, x: &Tensor, sigma: f64, _: Option<&Cond>) -> halocast::models::Result<Tensor> {
        let square = sigma * sigma;
        let above = x.broadcast_mul(&self.variance)?.broadcast_add(&(&self.mu * square)?)?;
        Ok(above.broadcast_div(&(&self.variance + square)?)?)
    }
}

#[test]
fn samplers_in_double_precision() -> Result<()> {
    for case in cases(|class, _| class.starts_with("training/networks.py preconds"))? {
        let (atol, rtol) = tolerance(&case, "samplers f64", (1e-10, 1e-8));
        let denoiser = Gaussian {
            mu: case.tensor("gauss.mu")?.clone(),
            variance: case.tensor("gauss.s")?.sqr()?,
            levels: Levels::Continuous { min: 0.0, max: f64::INFINITY },
        };
        let latents = case.tensor("latents")?.to_dtype(DType::F64)?;
        let walk = |key: &str, sampler: Heun, noises: Option<&Tensor>| -> Result<()> {
            let mut noise = |i: usize| match noises {
                Some(noises) => Ok(noises.get(i)?),
                None => Ok(latents.zeros_like()?),
            };
            let mut evaluations = 0;
            let out = sampler.walk(&denoiser, &latents, None, &mut noise, &mut || evaluations += 1)?;
            anyhow::ensure!(evaluations == sampler.evaluations(), "{key}: {evaluations} evaluations");
            // The reference computes alpha_bar of these levels in single precision, in which sines differ by their last bit
            // between libraries.
            let open = if sampler.discretization == Discretization::Iddpm { 1e-6 } else { 0.0 };
            let (atol, rtol) = (atol.max(open), rtol.max(open));
            compare(&format!("{}: {key}", case.name), &out, case.tensor(key)?, atol, rtol)
        };
        for steps in [5, 18] {
            let sampler = Heun { steps, ..Default::default() };
            let mut sigmas = sampler.sigmas(&denoiser.levels)?;
            sigmas.push(0.0);
            let key = format!("edm.sigmas_{steps}");
            if let Some(expected) = case.io.get(&key) {
                compare(&format!("{}: {key}", case.name), &column(sigmas)?, expected, atol, rtol)?;
            }
            let key = format!("edm_sampler.heun{steps}.out");
            if case.io.contains_key(&key) {
                walk(&key, sampler, None)?;
            }
        }
        if let Some(noises) = case.io.get("edm_sampler.churn.noises") {
            // The settings of the paper for ImageNet.
            let sampler = Heun {
                steps: noises.dim(0)?,
                churn: 40.0,
                churn_min: 0.05,
                churn_max: Some(50.0),
                churn_noise: 1.003,
                ..Default::default()
            };
            walk("edm_sampler.churn.out", sampler, Some(noises))?;
        }
        let mut keys: Vec<&String> = case.io.keys().filter(|key| key.starts_with("ablation.")).collect();
        keys.sort();
        for key in keys {
            let parts: Vec<&str> = key.split('.').collect();
            let [_, solver, discretization, schedule, scaling] = parts[..] else { bail!("{key}") };
            let named = |name: &str| Value::from(name);
            walk(
                key,
                Heun {
                    steps: 8,
                    solver: if solver == "euler" { Solver::Euler } else { Solver::Heun { alpha: 1.0 } },
                    discretization: parse::<Discretization>(&named(discretization))?,
                    schedule: parse::<TimeOf>(&named(schedule))?,
                    scaling: parse::<Scaling>(&named(scaling))?,
                    ..Default::default()
                },
                None,
            )?;
        }
    }
    Ok(())
}
