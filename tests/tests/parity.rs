//! The models against their reference implementations: weights, inputs, outputs and gradients.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use halocast::models::diffusion::{
    Ddpm, DdpmConfig, LossKind, Schedule, TimeSampling, ancestral_step, sigma_of,
};
use halocast::models::unet::UNetConfig;
use halocast::models::{Configured, Denoiser, Trainable, network};
use halocast_tests::{compare, reference_folder, tensors};

struct Case {
    io: HashMap<String, Tensor>,
    meta: serde_json::Value,
    model: Ddpm,
    tolerance: [f64; 4],
}

impl Case {
    /// The U-Net of Mudur & Finkbeiner with the weights of the case.
    fn mudur(folder: &std::path::Path) -> Result<Self> {
        let meta: serde_json::Value =
            serde_json::from_reader(std::fs::File::open(folder.join("meta.json"))?)?;
        let constructor = &meta["constructor"];
        let number = |key: &str| constructor[key].as_u64().map(|n| n as usize).context(key.to_owned());
        let unet = UNetConfig {
            dim: number("dim")?,
            channels: number("channels")?,
            dim_mults: serde_json::from_value(constructor["dim_mults"].clone())?,
            ..Default::default()
        };
        let io = tensors(&folder.join("io.safetensors"))?;
        let sides = &io["x"].dims()[2..];
        let config = DdpmConfig {
            unet,
            size: sides.to_vec(),
            timesteps: meta["timesteps"].as_u64().context("timesteps")? as usize,
            ..Default::default()
        };
        let model = Ddpm::new(&config, 0, &Device::Cpu)?;
        model.parameters().load(&tensors(&folder.join("weights.safetensors"))?)?;
        let value = |kind: &str, key: &str| meta["tolerance"][kind][key].as_f64().context("tolerance");
        let tolerance =
            [value("fwd", "atol")?, value("fwd", "rtol")?, value("grad", "atol")?, value("grad", "rtol")?];
        Ok(Self { io, meta, model, tolerance })
    }

    fn forward(&self, name: &str, got: &Tensor) -> Result<()> {
        compare(name, got, &self.io[name], self.tolerance[0], self.tolerance[1])
    }

    fn gradients(&self, prefix: &str, store: &candle_core::backprop::GradStore) -> Result<usize> {
        let variables: HashMap<_, _> = self.model.parameters().named().into_iter().collect();
        let mut compared = 0;
        for (key, expected) in &self.io {
            let Some(variable) = key.strip_prefix(prefix).and_then(|name| variables.get(name)) else {
                continue;
            };
            let got = store.get(variable).with_context(|| format!("{key}: no gradient"))?;
            compare(key, got, expected, self.tolerance[2], self.tolerance[3])?;
            compared += 1;
        }
        Ok(compared)
    }

    fn times(&self) -> Result<Vec<usize>> {
        Ok(self.io["t"].to_vec1::<i64>()?.into_iter().map(|t| t as usize).collect())
    }
}

#[test]
fn mudur_unet_forward_and_gradients() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let case = Case::mudur(&folder.join("mudur_unet"))?;
    let times: Vec<f64> = case.times()?.into_iter().map(|t| t as f64).collect();
    let x = candle_core::Var::from_tensor(&case.io["x"])?;
    let out = case.model.network().forward(x.as_tensor(), &times, &network::Context::default())?;
    case.forward("out", &out)?;
    // loss = mean(out * w) + mean(out^2) / 2
    let loss = ((&out * &case.io["loss_weight"])?.mean_all()? + (out.sqr()?.mean_all()? * 0.5)?)?;
    case.forward("loss", &loss)?;
    let store = loss.backward()?;
    compare(
        "grad.x",
        store.get(&x).context("grad.x")?,
        &case.io["grad.x"],
        case.tolerance[2],
        case.tolerance[3],
    )?;
    ensure!(case.gradients("grad.", &store)? > 5, "few gradients were compared");
    Ok(())
}

#[test]
fn mudur_diffusion_losses_and_step() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let case = Case::mudur(&folder.join("mudur_unet"))?;
    let (x0, noise, t) = (&case.io["x_start"], &case.io["noise"], case.times()?);
    for (kind, name) in [(LossKind::L1, "l1"), (LossKind::L2, "l2"), (LossKind::Huber, "huber")] {
        let config = DdpmConfig { loss: kind, times: TimeSampling::Uniform, ..case.model.config().clone() };
        let model = Ddpm::new(&config, 0, &Device::Cpu)?;
        model.parameters().load(&tensors(&folder.join("mudur_unet/weights.safetensors"))?)?;
        let loss = model.loss_at(x0, noise, &t, None)?;
        case.forward(&format!("p_losses.{name}"), &loss)?;
        if kind == LossKind::Huber {
            let case = Case { model, ..Case::mudur(&folder.join("mudur_unet"))? };
            ensure!(case.gradients("huber.grad.", &loss.backward()?)? > 0, "no gradient was compared");
        }
    }

    // One ancestral step, in the variables x = x_t / sqrt(alpha_bar) of the samplers.
    let index = case.io["p_sample.t_index"].to_vec0::<i64>()? as usize;
    let bars = Schedule::default().alphas_bar(case.meta["timesteps"].as_u64().context("timesteps")? as usize);
    let sigmas: Vec<f64> = bars.iter().copied().map(sigma_of).collect();
    let x = (&case.io["p_sample.x"] / bars[index].sqrt())?;
    let denoised = case.model.denoise(&x, sigmas[index], None)?;
    let noise = &case.io["p_sample.noise"];
    let next = ancestral_step(&x, &denoised, sigmas[index], sigmas[index - 1], 1.0, || Ok(noise.clone()))?;
    case.forward("p_sample.out", &(next * bars[index - 1].sqrt())?)
}

#[test]
fn linear_schedule_of_the_paper() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let io = tensors(&folder.join("mudur_unet/io.safetensors"))?;
    let expected = &io["betas.linear"];
    let n = expected.dims()[0];
    let betas = Tensor::from_vec(Schedule::default().betas(n), n, &Device::Cpu)?;
    compare("betas.linear", &betas, expected, 1e-9, 2e-6)?;
    let bars = Tensor::from_vec(Schedule::default().alphas_bar(n), n, &Device::Cpu)?;
    // The reference multiplies two thousand factors in f32.
    compare("linear.alphas_cumprod", &bars, &io["linear.alphas_cumprod"], 1e-6, 2e-4)?;
    Ok(())
}

#[test]
fn schedules_in_double_precision() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(()) };
    let io = tensors(&folder.join("ddpm_schedules/io.safetensors"))?;
    for (schedule, name) in [(Schedule::default(), "linear"), (Schedule::Cosine, "cosine")] {
        let expected = &io[&format!("betas_f64.{name}")];
        let n = expected.dims()[0];
        let betas = Tensor::from_vec(schedule.betas(n), n, &Device::Cpu)?;
        compare(&format!("betas_f64.{name}"), &betas, expected, 1e-15, 1e-11)?;
        let bars = Tensor::from_vec(schedule.alphas_bar(n), n, &Device::Cpu)?;
        compare(
            &format!("{name}.alphas_cumprod"),
            &bars,
            &io[&format!("{name}.alphas_cumprod")],
            1e-9,
            2e-6,
        )?;
    }
    Ok(())
}

#[test]
fn the_paper_configuration_has_the_published_number_of_parameters() -> Result<()> {
    let model = Ddpm::new(&DdpmConfig::default(), 0, &Device::Cpu)?;
    assert_eq!(model.parameters().count(), 31_234_497);
    Ok(())
}
