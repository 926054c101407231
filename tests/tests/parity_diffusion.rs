//! lucidrains' denoising diffusion against its reference: network, schedules, objectives, steps.

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use halocast::models::diffusion::{
    Clip, Clipped, Ddpm, DdpmConfig, LossKind, Objective, Sampler, Schedule, Weighting, ancestral_step,
    sigma_of,
};
use halocast::models::network::{Context, Network, NetworkConfig, NetworkShape};
use halocast::models::unet::{Lucidrains, LucidrainsConfig, TimeFeatures};
use halocast::models::{Configured, Denoiser, Parameters, Trainable};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};
use serde_json::Value;

/// One value for all levels, or one each.
fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Vec<T>> {
    Ok(match value {
        Value::Array(_) => serde_json::from_value(value.clone())?,
        one => vec![serde_json::from_value(one.clone())?],
    })
}

/// The network of a constructor, and its number of outputs.
fn network(arguments: &Value) -> Result<(LucidrainsConfig, usize)> {
    // PyTorch's default where the constructor is not told.
    let mut config = LucidrainsConfig { channels: 3, ..Default::default() };
    let (mut outputs, mut learned_variance) = (None, false);
    let (mut learned, mut random, mut features, mut theta) = (false, false, 16, 10_000.0);
    for (key, value) in arguments.as_object().context("constructor")? {
        let number = || value.as_u64().map(|n| n as usize).with_context(|| format!("argument {key:?}"));
        let flag = || value.as_bool().with_context(|| format!("argument {key:?}"));
        match key.as_str() {
            "dim" => config.dim = number()?,
            "init_dim" if value.is_null() => {}
            "init_dim" => config.init_dim = Some(number()?),
            "out_dim" if value.is_null() => {}
            "out_dim" => outputs = Some(number()?),
            "dim_mults" => config.dim_mults = list(value)?,
            "channels" => config.channels = number()?,
            "self_condition" => config.self_condition = flag()?,
            "learned_variance" => learned_variance = flag()?,
            "learned_sinusoidal_cond" => learned = flag()?,
            "random_fourier_features" => random = flag()?,
            "learned_sinusoidal_dim" => features = number()?,
            "sinusoidal_pos_emb_theta" => theta = value.as_f64().context("theta")?,
            "dropout" => config.dropout = value.as_f64().context("dropout")?,
            "attn_dim_head" => config.attn_dim_head = list(value)?,
            "attn_heads" => config.attn_heads = list(value)?,
            "full_attn" if value.is_null() || value == &Value::Bool(false) => {}
            "full_attn" => config.full_attn = list(value)?,
            "flash_attn" => {}
            _ => bail!("the constructor's argument {key:?} is not known"),
        }
    }
    config.time = match (random, learned) {
        (true, _) => TimeFeatures::Random { dim: features },
        (false, true) => TimeFeatures::Learned { dim: features },
        (false, false) => TimeFeatures::Sinusoidal { theta },
    };
    let outputs = outputs.unwrap_or(config.channels * (1 + usize::from(learned_variance)));
    Ok((config, outputs))
}

fn numbers(case: &Case, key: &str) -> Result<Vec<f64>> {
    Ok(case.tensor(key)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[test]
fn unet_forward_and_gradients() -> Result<()> {
    for case in cases(|class, _| class.ends_with("denoising_diffusion_pytorch.Unet"))? {
        let (config, outputs) = network(&case.meta["constructor"])?;
        // The fast operations, then the plain ones in double precision.
        for dtype in [DType::F32, DType::F64] {
            let parameters = Parameters::with_dtype(0, dtype, &Device::Cpu);
            let shape = NetworkShape {
                axes: case.tensor("x")?.rank() - 2,
                side: 0,
                channels: config.channels,
                field: 0,
                vector: 0,
                outputs,
            };
            let network = Lucidrains::new(&config, &shape, parameters.builder())?;
            parameters.load(&case.weights)?;
            let given = |key: &str| case.io.get(key).map(|t| t.to_dtype(dtype)).transpose();
            let times = numbers(&case, "t")?;
            let x = Var::from_tensor(&case.tensor("x")?.to_dtype(dtype)?)?;
            if case.io.contains_key("time_emb") {
                case.forward("time_emb", &network.embed(&times, None, &x)?)?;
            }
            if case.io.contains_key("out_no_self_cond") {
                case.forward("out_no_self_cond", &network.forward(&x, &times, &Context::default())?)?;
            }
            let previous = given("x_self_cond")?;
            let context = Context { previous: previous.as_ref(), ..Default::default() };
            let out = network.forward(&x, &times, &context)?;
            case.forward("out", &out)?;
            let weight = given("loss_weight")?.context("loss_weight")?;
            let loss = ((&out * weight)?.mean_all()? + (out.sqr()?.mean_all()? * 0.5)?)?;
            case.forward("loss", &loss)?;
            let store = loss.backward()?;
            if dtype == DType::F64 {
                case.gradient("grad.x", store.get(&x).context("grad.x")?)?;
                case.gradients("grad.", &parameters, &store)?;
                continue;
            }
            // Embeddings of several hundred, as cases with learned features have, enlarge the rounding of single
            // precision: relative to the largest element of a tensor.
            for (name, var) in parameters.named() {
                let key = format!("grad.{name}");
                let Some(expected) = case.io.get(&key) else { continue };
                let largest = expected.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                let (atol, rtol) = case.tolerance("grad");
                let got = store.get(&var).with_context(|| format!("{key}: no gradient"))?;
                compare(&format!("{}: {key}", case.name), got, expected, atol + rtol * largest, rtol)?;
            }
        }
    }
    Ok(())
}

fn schedule(name: &str, timesteps: usize) -> Result<Schedule> {
    let scale = 1000.0 / timesteps as f64;
    Ok(match name {
        "linear" => Schedule::Linear { start: 1e-4 * scale, end: 0.02 * scale },
        "cosine" => Schedule::Cosine,
        "sigmoid" => Schedule::sigmoid(),
        other => bail!("the schedule {other:?} is not known"),
    })
}

#[test]
fn schedules_and_weights() -> Result<()> {
    for case in cases(|class, _| class.starts_with("GaussianDiffusion buffers"))? {
        let timesteps: usize = case.argument("timesteps")?;
        let tensor = |values: Vec<f64>| Tensor::from_vec(values, timesteps, &Device::Cpu);
        for name in ["linear", "cosine", "sigmoid"] {
            let Some(expected) = case.io.get(&format!("betas_f64.{name}")) else { continue };
            let schedule = schedule(name, timesteps)?;
            let (betas, bars) = (schedule.betas(timesteps), schedule.alphas_bar(timesteps));
            compare(
                &format!("{}: betas_f64.{name}", case.name),
                &tensor(betas.clone())?,
                expected,
                1e-15,
                1e-10,
            )?;
            let before = |t: usize| if t == 0 { 1.0 } else { bars[t - 1] };
            let all = |f: &dyn Fn(usize) -> f64| (0..timesteps).map(f).collect::<Vec<f64>>();
            let variance = |t: usize| betas[t] * (1.0 - before(t)) / (1.0 - bars[t]);
            let buffers: [(&str, Vec<f64>); 11] = [
                ("betas", betas.clone()),
                ("alphas_cumprod", bars.clone()),
                ("alphas_cumprod_prev", all(&before)),
                ("sqrt_alphas_cumprod", all(&|t| bars[t].sqrt())),
                ("sqrt_one_minus_alphas_cumprod", all(&|t| (1.0 - bars[t]).sqrt())),
                ("log_one_minus_alphas_cumprod", all(&|t| (1.0 - bars[t]).ln())),
                ("sqrt_recip_alphas_cumprod", all(&|t| bars[t].sqrt().recip())),
                ("sqrt_recipm1_alphas_cumprod", all(&|t| sigma_of(bars[t]))),
                ("posterior_variance", all(&variance)),
                ("posterior_mean_coef1", all(&|t| betas[t] * before(t).sqrt() / (1.0 - bars[t]))),
                (
                    "posterior_mean_coef2",
                    all(&|t| (1.0 - before(t)) * (1.0 - betas[t]).sqrt() / (1.0 - bars[t])),
                ),
            ];
            for (buffer, values) in buffers {
                case.forward(&format!("{name}.{buffer}"), &tensor(values)?)?;
            }
            for (objective, tag) in OBJECTIVES {
                for (gamma, tail) in [(None, ""), (Some(5.0), ".min_snr5")] {
                    let weighting = Weighting::MinSnr { gamma };
                    let weights = bars.iter().map(|&bar| weighting.weight(objective, bar)).collect();
                    case.forward(&format!("{name}.loss_weight.{tag}{tail}"), &tensor(weights)?)?;
                }
            }
        }
    }
    Ok(())
}

const OBJECTIVES: [(Objective, &str); 3] =
    [(Objective::Noise, "pred_noise"), (Objective::Data, "pred_x0"), (Objective::Velocity, "pred_v")];

/// The model of a case with one objective.
fn diffusion(case: &Case, objective: Objective) -> Result<Ddpm> {
    let arguments = &case.meta["constructor"];
    for key in arguments.as_object().context("constructor")?.keys() {
        ensure!(
            [
                "unet",
                "image_size",
                "timesteps",
                "sampling_timesteps",
                "beta_schedule",
                "ddim_sampling_eta",
                "min_snr_loss_weight",
                "min_snr_gamma",
                "auto_normalize",
                "objective",
            ]
            .contains(&key.as_str()),
            "the constructor's argument {key:?} is not known"
        );
    }
    let timesteps: usize = case.argument("timesteps")?;
    let size = list(&arguments["image_size"])?;
    let clipped = arguments["min_snr_loss_weight"].as_bool().unwrap_or(false);
    let gamma = clipped.then(|| arguments["min_snr_gamma"].as_f64().unwrap_or(5.0));
    let config = DdpmConfig {
        network: Some(NetworkConfig::Lucidrains(network(&arguments["unet"])?.0)),
        size: if let [side] = size[..] { vec![side, side] } else { size },
        timesteps,
        schedule: schedule(arguments["beta_schedule"].as_str().unwrap_or("sigmoid"), timesteps)?,
        objective,
        loss: LossKind::L2,
        weighting: Weighting::MinSnr { gamma },
        ..Default::default()
    };
    let model = Ddpm::new(&config, 0, &Device::Cpu)?;
    model.parameters().load(&case.weights)?;
    Ok(model)
}

#[test]
fn gaussian_diffusion() -> Result<()> {
    for case in cases(|class, _| class == "GaussianDiffusion(Unet)")? {
        for (objective, tag) in OBJECTIVES {
            if case.io.contains_key(&format!("{tag}.loss")) {
                let model = diffusion(&case, objective)?;
                losses(&case, &model, tag)?;
                predictions(&case, &model, tag)?;
                chains(&case, &model, tag)?;
            }
        }
    }
    Ok(())
}

fn losses(case: &Case, model: &Ddpm, tag: &str) -> Result<()> {
    let (x0, noise) = (case.tensor("x_start")?, case.tensor("noise")?);
    let t: Vec<usize> = numbers(case, "t")?.into_iter().map(|t| t as usize).collect();
    let each = model.losses_at(x0, noise, &t, None)?;
    case.forward(&format!("{tag}.loss_per_sample"), &each)?;
    let loss = model.loss_at(x0, noise, &t, None)?;
    case.forward(&format!("{tag}.loss"), &loss)?;
    case.forward(&format!("{tag}.forward_loss"), &loss)?;
    case.gradients(&format!("{tag}.grad."), model.parameters(), &loss.backward()?)
}

/// The estimates of the data and of the noise at times that differ between examples.
fn predictions(case: &Case, model: &Ddpm, tag: &str) -> Result<()> {
    let bars = model.config().schedule.alphas_bar(model.config().timesteps);
    let (x_t, times) = (case.tensor("x_t")?, numbers(case, "t")?);
    let mut found: [Vec<Tensor>; 5] = Default::default();
    for (i, &t) in times.iter().enumerate() {
        let bar = bars[t as usize];
        let (x_t, sigma) = (x_t.narrow(0, i, 1)?, sigma_of(bar));
        let x = (&x_t / bar.sqrt())?;
        let data = model.denoise(&x, sigma, None)?;
        let clipped = data.clamp(-1.0, 1.0)?;
        let noise = |data: &Tensor| -> Result<Tensor> { Ok(((&x - data)? / sigma)?) };
        let before = if t == 0.0 { 0.0 } else { sigma_of(bars[t as usize - 1]) };
        let before_bar = if t == 0.0 { 1.0 } else { bars[t as usize - 1] };
        let ratio = (before / sigma).powi(2);
        let mean = ((&clipped + ((&x - &clipped)? * ratio)?)? * before_bar.sqrt())?;
        let parts = [noise(&data)?, data.clone(), noise(&clipped)?, clipped.clone(), mean];
        found.iter_mut().zip(parts).for_each(|(all, part)| all.push(part));
    }
    let names = ["pred_noise", "pred_x_start", "clip.pred_noise", "clip.pred_x_start", "p_mean"];
    for (name, parts) in names.into_iter().zip(found) {
        let key = format!("{tag}.{name}");
        // At the last time the data are divided by a small number.
        let (atol, rtol) = (case.tolerance("fwd").0, case.tolerance("fwd").1.max(1e-3));
        compare(&format!("{}: {key}", case.name), &Tensor::cat(&parts, 0)?, case.tensor(&key)?, atol, rtol)?;
    }
    Ok(())
}

/// Steps and loops of the samplers, in the variables x = x_t / sqrt(alpha_bar) of ours.
fn chains(case: &Case, model: &Ddpm, tag: &str) -> Result<()> {
    let bars = model.config().schedule.alphas_bar(model.config().timesteps);
    let sigmas: Vec<f64> = bars.iter().copied().map(sigma_of).collect();
    let clipped = Clipped { denoiser: model, clip: Clip::Static { limit: 1.0 } };

    let index = numbers(case, &format!("{tag}.ancestral.t_index"))?[0] as usize;
    let x_t = case.tensor("x_t")?;
    let x = (x_t / bars[index].sqrt())?;
    let data = clipped.denoise(&x, sigmas[index], None)?;
    case.forward(&format!("{tag}.ancestral.x_start"), &data)?;
    let noise = case.tensor(&format!("{tag}.ancestral.noise"))?;
    let out = ancestral_step(&x, &data, sigmas[index], sigmas[index - 1], 1.0, || Ok(noise.clone()))?;
    case.forward(&format!("{tag}.ancestral.out"), &(out * bars[index - 1].sqrt())?)?;
    let first = clipped.denoise(&(x_t / bars[0].sqrt())?, sigmas[0], None)?;
    case.forward(&format!("{tag}.ancestral_t0.out"), &first)?;

    let loops = |key: &str, got: &Tensor, expected: &Tensor| {
        compare(&format!("{}: {tag}.{key}", case.name), got, expected, 2e-4, 1e-3)
    };
    let unnormalised = |x: &Tensor| -> Result<Tensor> { Ok(((x + 1.0)? * 0.5)?) };
    let steps: usize = case.argument("sampling_timesteps")?;
    let levels = model.levels().trailing(steps);
    let expected: Vec<f64> = numbers(case, "ddim_times")?;
    for (sigma, t) in levels.iter().zip(expected.iter().filter(|t| **t >= 0.0)) {
        ensure!(*sigma == sigmas[*t as usize], "{}: DDIM visits {sigma}, not time {t}", case.name);
    }
    let eta: f64 = case.argument("ddim_sampling_eta")?;
    let all = case.tensor(&format!("{tag}.ddim.all_unnormalized"))?;
    let noises = case.tensor(&format!("{tag}.ddim.noises"))?;
    let init = case.tensor(&format!("{tag}.ddim.init"))?;
    let start = (init / bars[bars.len() - 1].sqrt())?;
    // The state after each number of steps: the chain broken off there.
    let mut x = start.clone();
    for (i, pair) in levels.windows(2).enumerate() {
        let data = clipped.denoise(&x, pair[0], None)?;
        x = ancestral_step(&x, &data, pair[0], pair[1], eta, || Ok(noises.get(i)?))?;
        let bar = 1.0 / (1.0 + pair[1] * pair[1]);
        let got = unnormalised(&(&x * bar.sqrt())?)?;
        loops(&format!("ddim.all_unnormalized[{}]", i + 1), &got, &all.narrow(1, i + 1, 1)?.squeeze(1)?)?;
    }
    let mut drawn = 0;
    let mut noise = || {
        drawn += 1;
        Ok(noises.get(drawn - 1)?)
    };
    let sampler = Sampler::Ddim { steps, eta };
    let out = sampler.walk(&clipped, &levels, &start, None, &mut noise, &mut || {})?;
    loops("ddim.all_unnormalized, last", &unnormalised(&out)?, &all.narrow(1, steps, 1)?.squeeze(1)?)?;

    let Some(init) = case.io.get(&format!("{tag}.loop.init")) else { return Ok(()) };
    let noises = case.tensor(&format!("{tag}.loop.noises"))?;
    let start = (init / bars[bars.len() - 1].sqrt())?;
    let descending: Vec<f64> = sigmas.iter().rev().copied().collect();
    let mut drawn = 0;
    let mut noise = || {
        drawn += 1;
        Ok(noises.get(drawn - 1)?)
    };
    let sampler = Sampler::Ancestral { steps: None };
    let out = sampler.walk(&clipped, &descending, &start, None, &mut noise, &mut || {})?;
    loops(
        "loop.out_unnormalized",
        &unnormalised(&out)?,
        case.tensor(&format!("{tag}.loop.out_unnormalized"))?,
    )
}
