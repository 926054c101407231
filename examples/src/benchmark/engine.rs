//! Jobs of the engine: the U-Net of denoising diffusion (dim 64, 64x64 maps), its training step and its sampling step.
//!
//! The network is that of Mudur & Finkbeiner 2022, 31,234,497 parameters. The peer's has a 7x7 convolution of 1 to 64
//! channels before it, and so 64 channels into its first block where ours has one: (49 x 64 + 63 x 64 x 9) x 4096 = 0.16e9
//! multiplications more an image.

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use halocast::core::Rng;
use halocast::kernels::{AdamCfg, AdamState, Conv2dSpec, conv2d, linear, mse_loss, no_grad, record};
use halocast::models::diffusion::{Ddpm, DdpmConfig, Sampler, ancestral_step};
use halocast::models::{Configured, Denoiser, Trainable, network};

use super::{Job, Work, done};

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for batch in [8, 1] {
        let name = |what: &str| format!("unet_b{batch}_{what}");
        jobs.push(Job::new("unet", name("train"), "loss, gradients and Adam of a U-Net", move |seed| {
            let step = UNetStep::new(batch, seed)?;
            let mut adam = Adam::new(&step.model);
            Ok(Box::new(move || adam.step(&step.gradients()?)))
        }));
        jobs.push(Job::new("unet", name("fwdbwd"), "loss and gradients of a U-Net", move |seed| {
            let step = UNetStep::new(batch, seed)?;
            Ok(Box::new(move || done(step.gradients()?)))
        }));
        jobs.push(Job::new("unet", name("fwd"), "the U-Net without gradients", move |seed| {
            let step = UNetStep::new(batch, seed)?;
            Ok(Box::new(move || done(no_grad(|| step.forward())?)))
        }));
        jobs.push(Job::new("unet", name("sample"), "one step of ancestral sampling", move |seed| {
            sampling_step(batch, seed)
        }));
    }
    jobs.push(Job::new("unet", "unet_b8_adam", "Adam of a U-Net", |seed| {
        let step = UNetStep::new(1, seed)?;
        let mut adam = Adam::new(&step.model);
        let gradients = step.gradients()?;
        Ok(Box::new(move || adam.step(&gradients)))
    }));
    jobs.extend(operations());
    jobs
}

/// Noisy maps at fixed times, and the noise to be told from them.
struct UNetStep {
    model: Ddpm,
    x: Tensor,
    noise: Tensor,
    times: Vec<f64>,
}

impl UNetStep {
    fn new(batch: usize, seed: u64) -> Result<Self> {
        let model = Ddpm::new(&DdpmConfig::default(), seed, &Device::Cpu)?;
        let mut rng = Rng::new(seed);
        let (x0, noise) = (maps(batch, &mut rng)?, maps(batch, &mut rng)?);
        let x = ((x0 * 0.8)? + (&noise * 0.6)?)?;
        let times = (0..batch).map(|i| 37.0 * i as f64 + 3.0).collect();
        Ok(Self { model, x, noise, times })
    }

    fn forward(&self) -> Result<Tensor> {
        Ok(self.model.network().forward(&self.x, &self.times, &network::Context::default())?)
    }

    fn gradients(&self) -> Result<GradStore> {
        let (loss, tape) = record(|| anyhow::Ok(mse_loss(&self.forward()?, &self.noise)?))?;
        Ok(tape.backward(&loss)?)
    }
}

fn maps(batch: usize, rng: &mut Rng) -> Result<Tensor> {
    Ok(Tensor::from_vec(rng.normals(batch * 64 * 64), (batch, 1, 64, 64), &Device::Cpu)?)
}

/// Adam of rate 2e-4 on every parameter.
struct Adam {
    slots: Vec<(Var, AdamState)>,
    config: AdamCfg,
}

impl Adam {
    fn new(model: &Ddpm) -> Self {
        let slot = |(_, var): (String, Var)| {
            let state = AdamState::new(var.elem_count());
            (var, state)
        };
        let slots = model.parameters().named().into_iter().map(slot).collect();
        Self { slots, config: AdamCfg { lr: 2e-4, step: 0, ..AdamCfg::default() } }
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        self.config.step += 1;
        for (var, state) in &mut self.slots {
            state.step(var, gradients.get(var).context("a parameter without gradient")?, &self.config)?;
        }
        Ok(())
    }
}

/// From one noise level to the next: the denoised maps and fresh noise.
fn sampling_step(batch: usize, seed: u64) -> Result<Work> {
    let model = Ddpm::new(&DdpmConfig::default(), seed, &Device::Cpu)?;
    let sigmas = Sampler::default().sigmas(model.levels())?;
    let (sigma, next) = (sigmas[sigmas.len() / 2], sigmas[sigmas.len() / 2 + 1]);
    let mut rng = Rng::new(seed);
    let x = (maps(batch, &mut rng)? * sigma)?;
    Ok(Box::new(move || {
        let denoised = no_grad(|| model.denoise(&x, sigma, None))?;
        let drawn = rng.normals(batch * 64 * 64);
        let noise = || Ok(Tensor::from_vec(drawn, (batch, 1, 64, 64), &Device::Cpu)?);
        done(ancestral_step(&x, &denoised, sigma, next, 1.0, noise)?)
    }))
}

/// Single operations of the peers' scripts; more are in the benchmark of `halocast-kernels`.
fn operations() -> Vec<Job> {
    const GROUP: &str = "b8_augment";
    let random = |shape: &[usize], rng: &mut Rng| -> Result<Tensor> {
        Ok(Tensor::from_vec(rng.normals(shape.iter().product()), shape, &Device::Cpu)?)
    };
    vec![
        Job::new(GROUP, "conv3x3_b8_64c_64x64_fwd", "a convolution of 64 channels", move |seed| {
            let mut rng = Rng::new(seed);
            let (x, w) = (random(&[8, 64, 64, 64], &mut rng)?, random(&[64, 64, 3, 3], &mut rng)?);
            let spec = Conv2dSpec { padding: 1, ..Default::default() };
            Ok(Box::new(move || done(conv2d(&x, &w, None, spec)?)))
        }),
        Job::new(GROUP, "sgemm_1024", "a product of two matrices of 1024x1024", move |seed| {
            let mut rng = Rng::new(seed);
            let (x, w) = (random(&[1024, 1024], &mut rng)?, random(&[1024, 1024], &mut rng)?);
            Ok(Box::new(move || done(linear(&x, &w, None)?)))
        }),
    ]
}
