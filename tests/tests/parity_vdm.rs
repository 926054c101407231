//! Point-cloud diffusion against its release: schedules, graphs, score networks, the terms of the bound, gradients, steps
//! of the sampler.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use halocast::models::vdm::{
    Draws, GraphConfig, GraphNorm, NoiseSchedule, PointVdm, PointVdmConfig, ScheduleKind, ScoreConfig, Terms,
    TransformerConfig, fourier_features, minimum_image, nearest_neighbors, pair_norm, time_embedding,
    variance_preserving,
};
use halocast::models::{Configured, Parameters, Trainable};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};
use serde_json::{Map, Value};

/// Takes arguments from a constructor, and tells of those that nobody took.
struct Arguments<'a> {
    case: &'a Case,
    given: Map<String, Value>,
}

impl<'a> Arguments<'a> {
    fn new(case: &'a Case, given: &Value) -> Result<Self> {
        Ok(Self { case, given: given.as_object().context("arguments")?.clone() })
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        match self.given.remove(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                serde_json::from_value(value).with_context(|| format!("{}: argument {key}", self.case.name))
            }
        }
    }

    fn only<T>(&mut self, key: &str, value: T) -> Result<()>
    where
        T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug + Clone,
    {
        let got = self.take(key, value.clone())?;
        ensure!(got == value, "{}: {key} = {got:?} is not supported, only {value:?}", self.case.name);
        Ok(())
    }

    fn done(self) -> Result<()> {
        ensure!(self.given.is_empty(), "{}: arguments {:?} are not known", self.case.name, self.given);
        Ok(())
    }
}

fn schedule(name: &str) -> Result<ScheduleKind> {
    Ok(serde_json::from_value(Value::String(name.into()))?)
}

#[test]
fn schedules() -> Result<()> {
    for case in cases(|class, _| class.contains("NoiseScheduleFixedLinear"))? {
        let (min, max) = (case.argument("gamma_min")?, case.argument("gamma_max")?);
        let features = case.argument("n_features")?;
        let t = case.tensor("t")?;
        for name in ["linear", "learned_linear", "learned_net"] {
            let parameters = Parameters::new(0, &Device::Cpu);
            let path = format!("{name}/params");
            let kind = schedule(name)?;
            let schedule = NoiseSchedule::new(kind, min, max, features, &path, parameters.builder())?;
            let own = case.weights.iter().filter(|(key, _)| key.starts_with(&format!("{path}/")));
            parameters.load(&own.map(|(key, value)| (key.clone(), value.clone())).collect())?;
            let (gamma, slope) = schedule.gamma(t)?;
            case.forward(&format!("{name}.gamma"), &gamma)?;
            case.forward(&format!("{name}.dgamma_dt"), &slope)?;
            let sigma2 = ((gamma.exp()? + 1.0)?).recip()?;
            case.forward(&format!("{name}.sigma2"), &sigma2)?;
            case.forward(&format!("{name}.alpha"), &(1.0 - sigma2)?.sqrt()?)?;
        }
        let gamma = case.tensor("vp_gamma")?.to_dtype(DType::F64)?;
        case.forward("vp_out", &variance_preserving(case.tensor("vp_x")?, &gamma, case.tensor("vp_eps")?)?)?;
        for (key, dim) in [("emb16", 16), ("emb7", 7)] {
            // Arguments of thousands of radians, in single precision there and in double here.
            compare(key, &time_embedding(case.tensor("emb_t")?, dim)?, case.tensor(key)?, 2e-3, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn graphs() -> Result<()> {
    for case in cases(|class, _| class.contains("nearest_neighbors") && class.contains("PairNorm"))? {
        let (n, k): (usize, usize) = (case.argument("N")?, case.argument("k")?);
        let side: f64 = case.argument("box")?;
        let x = case.tensor("x")?.unsqueeze(0)?;
        let mask: Vec<f32> = case.tensor("mask")?.to_vec1()?;
        let real = mask.iter().take_while(|m| **m != 0.0).count();
        ensure!(mask.iter().skip(real).all(|m| *m == 0.0), "{}: padding is not at the end", case.name);
        let (atol, rtol) = case.tolerance("dr");
        for (name, counts, side) in
            [("pbc0", None, None), ("pbc1", None, Some(side)), ("masked_pbc", Some([real]), Some(side))]
        {
            let edges = nearest_neighbors(&x, k, counts.as_ref().map(|c| &c[..]), side)?;
            let rows = counts.map_or(n, |c| c[0]);
            let expected = case.tensor(&format!("{name}.receivers"))?.reshape((n, k))?.narrow(0, 0, rows)?;
            let got = edges.receivers.squeeze(0)?.narrow(0, 0, rows)?;
            let exact = |t: &Tensor| t.to_dtype(DType::F64);
            compare(&format!("{name}.receivers"), &exact(&got)?, &exact(&expected)?, 0.0, 0.0).or_else(
                |_| compare(&format!("{name}.receivers"), &exact(&got)?, &exact(&expected)?, 1e-9, 0.0),
            )?;
            let dr = case.tensor(&format!("{name}.dr"))?.reshape((n, k, 3))?.narrow(0, 0, rows)?;
            let got = edges.displacements.squeeze(0)?.narrow(0, 0, rows)?;
            compare(&format!("{name}.dr"), &got, &dr, atol.max(2.1e-4), rtol)?;
        }
        let image = minimum_image(case.tensor("disp")?, side)?;
        compare("disp_pbc", &image, case.tensor("disp_pbc")?, 2.1e-4, 1e-4)?;
        let ff = case.tensor("ff_out")?;
        compare("ff_out", &fourier_features(case.tensor("ff_x")?, (ff.dims()[1] - 1) / 2)?, ff, 1e-5, 1e-4)?;
        compare(
            "pairnorm_out",
            &pair_norm(case.tensor("pairnorm_x")?)?,
            case.tensor("pairnorm_out")?,
            1e-5,
            1e-4,
        )?;
    }
    Ok(())
}

fn graph_config(case: &Case, given: &Value, axes: usize) -> Result<GraphConfig> {
    let default = GraphConfig::default();
    let mut a = Arguments::new(case, given)?;
    a.only("n_pos_features", axes)?;
    a.only("shared_weights", false)?;
    a.only("graph_construction", "pairwise_dist".to_owned())?;
    let norm = match a.take("norm", "layer".to_owned())?.as_str() {
        "layer" => GraphNorm::Layer,
        "pair" => GraphNorm::Pair,
        _ => GraphNorm::None,
    };
    let config = GraphConfig {
        k: a.take("k", default.k)?,
        num_mlp_layers: a.take("num_mlp_layers", 4)?,
        latent_size: a.take("latent_size", default.latent_size)?,
        hidden_size: a.take("hidden_size", default.hidden_size)?,
        message_passing_steps: a.take("message_passing_steps", 4)?,
        skip_connections: a.take("skip_connections", true)?,
        edge_skip_connections: a.take("edge_skip_connections", true)?,
        attention: a.take("attention", false)?,
        use_edges: a.take("use_edges", false)?,
        use_pbc: a.take("use_pbc", false)?,
        use_absolute_distances: a.take("use_absolute_distances", false)?,
        use_fourier_features: a.take("use_fourier_features", false)?,
        n_fourier_features: a.take("n_fourier_features", 16)?,
        relative_updates: a.take("relative_updates", false)?,
        norm,
        as_released: true,
    };
    a.done()?;
    Ok(config)
}

fn transformer_config(case: &Case, given: &Value, adanorm: bool) -> Result<TransformerConfig> {
    let mut a = Arguments::new(case, given)?;
    a.only("adanorm", false)?;
    let induced = a.take("induced_attention", false)?;
    let few = a.take("n_inducing_points", 32)?;
    let config = TransformerConfig {
        d_model: a.take("d_model", 128)?,
        d_mlp: a.take("d_mlp", 512)?,
        n_layers: a.take("n_layers", 4)?,
        n_heads: a.take("n_heads", 4)?,
        n_inducing_points: if induced { few } else { 0 },
        d_conditioning: a.take("d_conditioning", 128)?,
        concat_conditioning: a.take("concat_conditioning", false)?,
        adanorm,
    };
    a.done()?;
    Ok(config)
}

fn config(case: &Case) -> Result<PointVdmConfig> {
    let mut a = Arguments::new(case, &case.meta["constructor"])?;
    let axes = a.take("n_pos_features", 3)?;
    a.only("n_classes", 0)?;
    a.only("use_encdec", false)?;
    let dict = a.take("score_dict", Value::Null)?;
    let score = match a.take("score", "transformer".to_owned())?.as_str() {
        "graph" => ScoreConfig::Graph(graph_config(case, &dict, axes)?),
        "transformer" => ScoreConfig::Transformer(transformer_config(case, &dict, false)?),
        "transformer_adanorm" => ScoreConfig::Transformer(transformer_config(case, &dict, true)?),
        other => bail!("{}: score network {other} is not supported", case.name),
    };
    let norm = a.take("norm_dict", Value::Null)?;
    let first = |key: &str| -> Result<Vec<f64>> {
        let all: Vec<f64> = serde_json::from_value(norm[key].clone()).context(key.to_owned())?;
        Ok(all[..axes].to_vec())
    };
    let embedded = a.take("embed_context", false)?;
    let wide = a.take("d_context_embedding", 32)?;
    let default = PointVdmConfig::default();
    let shape = case.tensor("x")?.dims();
    let config = PointVdmConfig {
        points: shape[1],
        features: a.take("d_feature", shape[2])?,
        mean: first("x_mean")?,
        std: first("x_std")?,
        box_size: norm["box_size"].as_f64(),
        timesteps: a.take("timesteps", 0)?,
        gamma_min: a.take("gamma_min", -8.0)?,
        gamma_max: a.take("gamma_max", 14.0)?,
        noise_schedule: schedule(&a.take("noise_schedule", "learned_linear".to_owned())?)?,
        antithetic_time_sampling: a.take("antithetic_time_sampling", true)?,
        noise_scale: a.take("noise_scale", 1e-3)?,
        d_t_embedding: a.take("d_t_embedding", 32)?,
        context: case.io.get("conditioning").map_or(0, |c| c.dims()[1]),
        d_context_embedding: if embedded { wide } else { 0 },
        score,
        ..default
    };
    a.done()?;
    Ok(config)
}

#[test]
fn models() -> Result<()> {
    for case in cases(|class, _| class.ends_with("VariationalDiffusionModel"))? {
        let config = config(&case)?;
        let model = PointVdm::new(&config, 0, &Device::Cpu)?;
        model.parameters().load(&case.weights)?;
        let x = case.tensor("x")?;
        let mask = case.io.get("mask").cloned().unwrap_or(Tensor::ones(
            (x.dims()[0], x.dims()[1]),
            DType::F32,
            &Device::Cpu,
        )?);
        let counts: Vec<usize> = mask
            .to_vec2::<f32>()?
            .iter()
            .map(|row| {
                let real = row.iter().take_while(|m| **m != 0.0).count();
                ensure!(row[real..].iter().all(|m| *m == 0.0), "{}: padding is not at the end", case.name);
                Ok(real)
            })
            .collect::<Result<_>>()?;
        let counts = Some(&counts[..]);
        // What is predicted at a point of padding is arbitrary.
        let masked = |t: &Tensor| t.broadcast_mul(&mask.unsqueeze(2)?);
        let forward = |key: &str, got: &Tensor| -> Result<()> {
            let (atol, rtol) = case.tolerance("fwd");
            compare(&format!("{}: {key}", case.name), &masked(got)?, &masked(case.tensor(key)?)?, atol, rtol)
        };

        let embedded = case.io.get("conditioning").map(|c| model.embed(c)).transpose()?;
        if let (Some(embedded), Some(expected)) = (&embedded, case.io.get("cond")) {
            compare(&format!("{}: cond", case.name), embedded, expected, 1e-5, 1e-4)?;
        }
        let t = case.tensor("t")?;
        let (gamma, _) = model.schedule().gamma(t)?;
        case.forward("gamma_t", &gamma)?;
        // Sinusoids of up to 14,000 radians: those of the case are in single precision.
        let t_embedding = time_embedding(&gamma, config.d_t_embedding)?;
        compare("inter.t_embedding", &t_embedding, case.tensor("inter.t_embedding")?, 4e-3, 1e-3)?;
        let context = model.context(&gamma, embedded.as_ref())?;
        compare("inter.cond_after_mlp", &context, case.tensor("inter.cond_after_mlp")?, 4e-3, 1e-3)?;
        let z = case.tensor("z_t")?;
        let given = case.tensor("inter.cond_after_mlp")?;
        forward("eps_hat", &model.noise_in(z, &gamma, given, counts)?)?;

        let draws = Draws {
            times: t.to_dtype(DType::F64)?,
            reconstruction: case.tensor("recon_eps")?.clone(),
            diffusion: case.tensor("diff_eps")?.clone(),
        };
        let terms = model.terms(x, embedded.as_ref(), counts, &draws)?;
        let predict = |z: &Tensor, gamma: &Tensor| model.noise_in(z, gamma, given, counts);
        let exact = Terms::new(model.schedule(), x, &draws, config.timesteps, config.noise_scale, predict)?;
        forward("loss_diff", &exact.diffusion)?;
        case.forward("loss_klz", &terms.prior)?;
        case.forward("loss_recon", &terms.reconstruction)?;
        let per_point = mask.sum(1)?.recip()?;
        let mut sums = Vec::new();
        for sum in terms.sums(&mask)? {
            sums.push((sum * &per_point)?.mean_all()?);
        }
        let loss = ((&sums[0] + &sums[1])? + &sums[2])?;
        case.forward("loss", &loss)?;
        case.forward("loss_beta2_nomask", &(((&sums[0] + &sums[1])? / 2.0)? + &sums[2])?)?;
        case.gradients("grad.", model.parameters(), &loss.backward()?)?;

        steps(&case, &model, embedded.as_ref(), counts, &mask.unsqueeze(2)?)?;
    }
    Ok(())
}

/// Steps of the release's sampler, ten in all: in the variables u = z / alpha they are the ancestral ones.
fn steps(
    case: &Case,
    model: &PointVdm,
    embedded: Option<&Tensor>,
    counts: Option<&[usize]>,
    mask: &Tensor,
) -> Result<()> {
    let z = case.tensor("z_t")?;
    let b = z.dims()[0];
    let mut found: HashMap<usize, &Tensor> = HashMap::new();
    for (key, noise) in &case.io {
        let step = key.strip_prefix("sample_step.").and_then(|rest| rest.strip_suffix(".noise"));
        if let Some(step) = step {
            found.insert(step.parse()?, noise);
        }
    }
    let total = 10.0;
    for (i, noise) in found {
        let ends = Tensor::new(&[1.0 - i as f64 / total, 1.0 - (i as f64 + 1.0) / total], &Device::Cpu)?;
        let gamma: Vec<f64> = model.schedule().gamma(&ends)?.0.to_vec1()?;
        let sigma = gamma.iter().map(|g| (-0.5 * g).exp()).collect::<Vec<f64>>();
        let alpha = gamma.iter().map(|g| 1.0 / (1.0 + (-g).exp()).sqrt()).collect::<Vec<f64>>();
        let at = Tensor::full(gamma[0], b, &Device::Cpu)?;
        let predicted = model.noise(z, &at, embedded, counts)?;
        let u = (z / alpha[0])?;
        let denoised = (&u - (predicted * sigma[0])?)?;
        let next =
            halocast::models::diffusion::ancestral_step(&u, &denoised, sigma[0], sigma[1], 1.0, || {
                Ok(noise.clone())
            })?;
        let ours = (next * alpha[1])?;
        let expected = case.tensor(&format!("sample_step.{i}.z_s"))?;
        let real = |t: &Tensor| t.broadcast_mul(mask);
        let (atol, rtol) = case.tolerance("fwd");
        let name = format!("{}: sample_step.{i}.z_s", case.name);
        compare(&name, &real(&ours)?, &real(expected)?, 10.0 * atol, 3.0 * rtol)?;
    }
    Ok(())
}
