//! Diffusion of latents: with no autoencoder it is the plain model, with one it lives between its encoder and decoder, and its file
//! needs no other.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use halocast::core::{Batch, Rng};
use halocast::models::autoencoder::{VqVae, VqVaeConfig};
use halocast::models::diffusion::{Ddpm, DdpmConfig, Sampler};
use halocast::models::embedding::ConvConfig;
use halocast::models::latent::{FirstStageConfig, LatentDiffusion, LatentDiffusionConfig};
use halocast::models::unet::UNetConfig;
use halocast::models::{
    CheckpointHeader, Configured, Generative, Model, ModelConfig, Parameters, SampleOptions, Trainable,
    save_checkpoint,
};
use ndarray::ArrayD;

const CPU: &Device = &Device::Cpu;

fn ddpm(channels: usize) -> DdpmConfig {
    let unet = UNetConfig { channels, dim: 8, dim_mults: vec![1, 2], groups: 4, ..Default::default() };
    DdpmConfig { unet, size: vec![8, 8], timesteps: 20, ..Default::default() }
}

fn vq_vae() -> VqVaeConfig {
    let conv = ConvConfig { channels: vec![4], ..Default::default() };
    VqVaeConfig { event: vec![1, 16, 16], conv, codes: 6, dim: 3, ..Default::default() }
}

fn of_vq_vae(checkpoint: Option<&Path>) -> LatentDiffusionConfig {
    LatentDiffusionConfig {
        autoencoder: FirstStageConfig::VqVae(vq_vae()),
        checkpoint: checkpoint.map(Path::to_owned),
        scale: None,
        diffusion: ddpm(3),
    }
}

fn batch(shape: &[usize], seed: u64) -> Result<Batch> {
    let values = Rng::new(seed).normals(shape.iter().product());
    Ok(Batch::new(ArrayD::from_shape_vec(shape.to_vec(), values)?, None))
}

fn tensor(batch: &Batch) -> Result<Tensor> {
    let values: Vec<f32> = batch.fields.iter().copied().collect();
    Ok(Tensor::from_vec(values, batch.fields.shape(), CPU)?)
}

fn values(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

fn save(path: &Path, config: ModelConfig, parameters: &Parameters) -> Result<()> {
    let named: Vec<(String, Tensor)> =
        parameters.named().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    Ok(save_checkpoint(path, &CheckpointHeader::new(config, 1, 0), &named)?)
}

fn options<'a>() -> SampleOptions<'a> {
    SampleOptions { sampler: Sampler::Ancestral { steps: Some(5) }, ..Default::default() }
}

#[test]
fn without_an_autoencoder_it_is_the_plain_model() -> Result<()> {
    let plain = Ddpm::new(&ddpm(2), 3, CPU)?;
    let config = LatentDiffusionConfig {
        autoencoder: FirstStageConfig::Identity { event: vec![2, 8, 8] },
        checkpoint: None,
        scale: None,
        diffusion: ddpm(2),
    };
    let latent = LatentDiffusion::new(&config, 4, CPU)?;
    let renamed: HashMap<String, Tensor> = plain
        .parameters()
        .named()
        .into_iter()
        .map(|(name, var)| (format!("model.{name}"), var.as_detached_tensor()))
        .collect();
    latent.parameters().load(&renamed)?;
    let batch = batch(&[4, 2, 8, 8], 1)?;
    let loss = |model: &dyn Trainable| -> Result<f32> {
        Ok(model.loss(0, &batch, &mut Rng::new(5))?.total.to_scalar::<f32>()?)
    };
    let (a, b) = (loss(&plain)?, loss(&latent)?);
    ensure!(a == b, "losses {a} and {b}");
    let draw = |model: &dyn Generative| values(&model.sample(3, None, &options(), &mut Rng::new(6))?);
    ensure!(draw(&plain)? == draw(&latent)?, "other samples");
    Ok(())
}

#[test]
fn latents_are_those_of_the_checkpoint_and_scaled() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vq_vae.safetensors");
    let autoencoder = VqVae::new(&vq_vae(), 7, CPU)?;
    save(&path, ModelConfig::VqVae(vq_vae()), autoencoder.parameters())?;
    let batch = batch(&[5, 1, 16, 16], 2)?;
    let x = tensor(&batch)?;
    let config = of_vq_vae(Some(&path));
    let unscaled = LatentDiffusion::new(&config, 1, CPU)?;
    let scale = unscaled.scale_of(&batch)?;
    let model = LatentDiffusion::new(&LatentDiffusionConfig { scale: Some(scale), ..config }, 1, CPU)?;

    let z = values(&model.encode(&x)?)?;
    let mean = z.iter().sum::<f32>() / z.len() as f32;
    let variance = z.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / z.len() as f32;
    ensure!((variance - 1.0).abs() < 1e-3, "latents of variance {variance}");
    let own = values(&(autoencoder.vectors(&x)? * scale)?)?;
    let apart = own.iter().zip(&z).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    ensure!(apart < 1e-5, "latents {apart} from those of the checkpoint");

    // There and back is what the autoencoder does to its events.
    let back = values(&model.decode(&model.encode(&x)?)?)?;
    let expected = values(&autoencoder.decode(&autoencoder.encode(&x)?)?)?;
    let apart = back.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    ensure!(apart < 1e-5, "there and back is {apart} from the autoencoder's");
    let seed = values(&LatentDiffusion::new(&of_vq_vae(None), 1, CPU)?.encode(&x)?)?;
    ensure!(seed != values(&unscaled.encode(&x)?)?, "the checkpoint changed nothing");
    Ok(())
}

#[test]
fn a_file_holds_its_autoencoder_which_no_phase_moves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, whole) = (folder.path().join("first.safetensors"), folder.path().join("whole.safetensors"));
    save(&first, ModelConfig::VqVae(vq_vae()), VqVae::new(&vq_vae(), 7, CPU)?.parameters())?;
    let config = of_vq_vae(Some(&first));
    let model = LatentDiffusion::new(&config, 1, CPU)?;
    let (still, moved): (Vec<_>, Vec<_>) =
        model.parameters().named().into_iter().map(|(name, _)| name).partition(|name| !model.trains(0, name));
    ensure!(still.iter().all(|name| name.starts_with("first_stage_model.")), "{still:?}");
    ensure!(moved.iter().all(|name| name.starts_with("model.")) && moved.len() > still.len(), "{moved:?}");

    save(&whole, ModelConfig::LatentDiffusion(config), model.parameters())?;
    std::fs::remove_file(&first)?;
    let (_, loaded) = Model::load(&whole, CPU)?;
    let loaded = loaded.generative().context("not generative")?;
    let draw = |model: &dyn Generative| values(&model.sample(3, None, &options(), &mut Rng::new(6))?);
    ensure!(draw(&model)? == draw(loaded)?, "other samples");
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let message = |config: &LatentDiffusionConfig| -> Result<String> {
        Ok(LatentDiffusion::new(config, 1, CPU).err().context("it was built")?.to_string())
    };
    let absent = folder.path().join("absent.safetensors");
    ensure!(message(&of_vq_vae(Some(&absent)))?.contains("absent.safetensors"));
    let other = folder.path().join("other.safetensors");
    let config = VqVaeConfig { codes: 7, ..vq_vae() };
    save(&other, ModelConfig::VqVae(config.clone()), VqVae::new(&config, 1, CPU)?.parameters())?;
    let said = message(&of_vq_vae(Some(&other)))?;
    ensure!(said.contains("other.safetensors") && said.contains("\"codes\":7"), "{said}");
    let said = message(&LatentDiffusionConfig { diffusion: ddpm(2), ..of_vq_vae(None) })?;
    ensure!(said.contains("[2, 8, 8]") && said.contains("[3, 8, 8]"), "{said}");
    let field = DdpmConfig { field: 1, ..ddpm(3) };
    let said = message(&LatentDiffusionConfig { diffusion: field, ..of_vq_vae(None) })?;
    ensure!(said.contains("field"), "{said}");
    ensure!(message(&LatentDiffusionConfig { scale: Some(0.0), ..of_vq_vae(None) })?.contains("scale"));
    let same = Batch::new(ArrayD::zeros(vec![2, 1, 16, 16]), None);
    let constant = LatentDiffusionConfig {
        autoencoder: FirstStageConfig::Identity { event: vec![1, 8, 8] },
        diffusion: ddpm(1),
        ..of_vq_vae(None)
    };
    let model = LatentDiffusion::new(&constant, 1, CPU)?;
    ensure!(model.scale_of(&same).is_err(), "a batch of another shape has a scale");
    let same = Batch::new(ArrayD::zeros(vec![2, 1, 8, 8]), None);
    ensure!(model.scale_of(&same).is_err(), "latents that are all the same have a scale");
    Ok(())
}
