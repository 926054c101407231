//! The laws that every model of the zoo keeps: one table from a name to a configuration, each model through each law.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use candle_core::{Device, Tensor};
use halocast_core::{Batch, Rng, Shard};
use halocast_kernels::PadMode;
use halocast_models::autoencoder::{AutoencoderConfig, CoderConfig, Observation, VaeConfig, VqVaeConfig};
use halocast_models::autoregressive::{PixelCnnConfig, PixelDistribution};
use halocast_models::diffusion::{Ddpm, DdpmConfig, LossKind, Objective, Sampler, Schedule, TimeSampling};
use halocast_models::embedding::{ConvConfig, EmbeddingConfig, MlpConfig};
use halocast_models::flow::{FlowConfig, FlowKind};
use halocast_models::inference::PosteriorConfig;
use halocast_models::unet::{Attention, UNetConfig};
use halocast_models::{
    CheckpointHeader, Cond, CondSpec, Configured, Model, ModelConfig, SampleOptions, load_checkpoint,
    save_checkpoint,
};
use ndarray::{ArrayD, Axis};

fn zoo() -> Vec<(&'static str, ModelConfig)> {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let paper = DdpmConfig { unet, size: [8, 8], timesteps: 20, ..Default::default() };
    let quick = DdpmConfig {
        unet: UNetConfig {
            attention: Attention::Middle,
            padding: PadMode::Circular,
            channels: 2,
            ..paper.unet.clone()
        },
        schedule: Schedule::Cosine,
        objective: Objective::Velocity,
        loss: LossKind::L2,
        times: TimeSampling::Stratified,
        ..paper.clone()
    };
    let data = DdpmConfig {
        unet: UNetConfig { attention: Attention::Nowhere, ..paper.unet.clone() },
        objective: Objective::Data,
        loss: LossKind::L2,
        ..paper.clone()
    };
    vec![
        ("ddpm, noise, linear attention", ModelConfig::Ddpm(paper)),
        ("ddpm, velocity, circular, two channels", ModelConfig::Ddpm(quick)),
        ("ddpm, data, no attention", ModelConfig::Ddpm(data)),
        ("flow, affine couplings", flow(FlowKind::RealNvp, 0)),
        ("flow, masked autoregressive, parameters", flow(FlowKind::Maf, 2)),
        ("flow, masked networks", flow(FlowKind::MafMlp, 0)),
        ("flow, splines, parameters", flow(FlowKind::Spline, 2)),
        ("flow, Glow", flow(FlowKind::Glow, 0)),
        (
            "autoencoder",
            ModelConfig::Autoencoder(AutoencoderConfig {
                event: vec![6],
                latent: 2,
                coder: CoderConfig::Mlp { hidden: 8 },
            }),
        ),
        (
            "vae, Bernoulli",
            ModelConfig::Vae(VaeConfig {
                event: vec![6],
                latent: 2,
                coder: CoderConfig::Mlp { hidden: 8 },
                ..Default::default()
            }),
        ),
        (
            "vae, convolutions, parameters, noise in samples",
            ModelConfig::Vae(VaeConfig {
                event: vec![1, 8],
                latent: 2,
                coder: CoderConfig::Conv(ConvConfig { channels: vec![4], features: 5, ..Default::default() }),
                observation: Observation::LearnedGaussian,
                noisy_samples: true,
                parameters: 2,
                ..Default::default()
            }),
        ),
        (
            "vq-vae",
            ModelConfig::VqVae(VqVaeConfig {
                event: vec![1, 8],
                conv: ConvConfig { channels: vec![4], ..Default::default() },
                codes: 6,
                dim: 3,
                ..Default::default()
            }),
        ),
        ("pixelcnn, levels", pixelcnn(PixelDistribution::Categorical)),
        ("pixelcnn, mixture", pixelcnn(PixelDistribution::LogisticMixture(2))),
        (
            "posterior",
            ModelConfig::Posterior(PosteriorConfig {
                parameters: 2,
                data: vec![5],
                embedding: EmbeddingConfig::Mlp(MlpConfig {
                    hidden: vec![7],
                    features: 4,
                    ..Default::default()
                }),
                flow: FlowConfig { layers: 2, hidden: 8, blocks: 1, ..Default::default() },
            }),
        ),
    ]
}

fn flow(kind: FlowKind, parameters: usize) -> ModelConfig {
    let event = if kind == FlowKind::Glow { vec![1, 4, 4] } else { vec![4] };
    let config = FlowConfig {
        event,
        kind,
        parameters,
        layers: 2,
        levels: 1,
        hidden: 8,
        blocks: 1,
        widths: vec![8],
        bins: 4,
        ..Default::default()
    };
    ModelConfig::Flow(config)
}

fn pixelcnn(distribution: PixelDistribution) -> ModelConfig {
    ModelConfig::PixelCnn(PixelCnnConfig {
        size: [3, 4],
        levels: 8,
        range: [-2.0, 2.0],
        distribution,
        hidden: 6,
        first_kernel: 3,
        kernel: 3,
        layers: 1,
        ..Default::default()
    })
}

/// Whether the gradient of a parameter is an estimate by design (straight through a choice of code words).
fn estimated(config: &ModelConfig, parameter: &str) -> bool {
    let through = ["encoder", "to_codes", "codebook"];
    matches!(config, ModelConfig::VqVae(_)) && through.iter().any(|part| parameter.starts_with(part))
}

fn normals(shape: &[usize], rng: &mut Rng) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape, rng.normals(shape.iter().product())).unwrap()
}

fn batch(model: &Model, n: usize, seed: u64) -> Batch {
    let (spec, mut rng) = (model.trainable().example(), Rng::new(seed));
    let mut draw = |shape: &[usize]| normals(&[&[n], shape].concat(), &mut rng);
    let fields = draw(&spec.fields);
    let parameters = spec.parameters.map(|count| draw(&[count]).into_dimensionality().unwrap());
    let condition = spec.condition.map(|shape| draw(&shape));
    Batch { condition, ..Batch::new(fields, parameters) }
}

/// The examples of a batch that a shard holds.
fn part(whole: &Batch, shard: Shard) -> Batch {
    let range = || ndarray::Slice::from(shard.range());
    let fields = whole.fields.slice_axis(Axis(0), range()).to_owned();
    let parameters = whole.parameters.as_ref().map(|p| p.slice_axis(Axis(0), range()).to_owned());
    let condition = whole.condition.as_ref().map(|c| c.slice_axis(Axis(0), range()).to_owned());
    Batch { shard, condition, ..Batch::new(fields, parameters) }
}

/// A condition for `n` events of a model.
fn condition(model: &Model, spec: CondSpec, n: usize, seed: u64) -> Option<Cond> {
    let tensor = |shape: &[usize]| {
        let shape = [&[n], shape].concat();
        Tensor::from_vec(Rng::new(seed).normals(shape.iter().product()), shape, &Device::Cpu).unwrap()
    };
    let example = model.trainable().example();
    let like = example.condition.unwrap_or(example.fields);
    match spec {
        CondSpec::Vector(count) => Some(Cond::Vector(tensor(&[count]))),
        CondSpec::Field(_) => Some(Cond::Field(tensor(&like))),
        CondSpec::Set(_) => Some(Cond::Set(tensor(&like))),
        _ => None,
    }
}

fn loss(model: &Model, batch: &Batch, seed: u64) -> Tensor {
    model.trainable().loss(0, batch, &mut Rng::new(seed)).unwrap().total
}

/// Two events; of a model that draws none, its loss.
fn draw(model: &Model, seed: u64) -> Vec<f32> {
    let Some(generative) = model.generative() else {
        return vec![loss(model, &batch(model, 2, seed), seed).to_scalar().unwrap()];
    };
    let options = SampleOptions { sampler: Sampler::Ancestral { steps: Some(4) }, ..Default::default() };
    let cond = condition(model, generative.condition(), 2, 17);
    let x = generative.sample(2, cond.as_ref(), &options, &mut Rng::new(seed)).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn samples_have_the_event_shape_and_depend_on_the_seed_alone() {
    for (name, config) in zoo() {
        let model = config.build(3, &Device::Cpu).unwrap();
        if let Some(generative) = model.generative() {
            let event: usize = generative.event_shape().iter().product();
            assert_eq!(draw(&model, 1).len(), 2 * event, "{name}");
        }
        assert_eq!(draw(&model, 1), draw(&config.build(3, &Device::Cpu).unwrap(), 1), "{name}");
        assert_ne!(draw(&model, 1), draw(&model, 2), "{name}");
        assert_ne!(draw(&model, 1), draw(&config.build(4, &Device::Cpu).unwrap(), 1), "{name}");
    }
}

#[test]
fn every_parameter_has_the_gradient_of_finite_differences() {
    for (name, config) in zoo() {
        let model = config.build(5, &Device::Cpu).unwrap();
        let batch = batch(&model, 3, 6);
        let gradients = loss(&model, &batch, 7).backward().unwrap();
        let value = || f64::from(loss(&model, &batch, 7).to_scalar::<f32>().unwrap());
        for (parameter, var) in model.trainable().parameters().named() {
            if estimated(&config, &parameter) {
                continue;
            }
            let gradient =
                gradients.get(&var).unwrap_or_else(|| panic!("{name}: {parameter} has no gradient"));
            // Along the gradient itself the derivative is its norm.
            let norm =
                f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
            if norm < 1e-3 {
                continue; // below the rounding of the loss over the step
            }
            let kept = var.as_tensor().copy().unwrap();
            let slope = |step: f64| {
                let at = |sign: f64| {
                    let moved = (&kept + (gradient * (sign * step / norm)).unwrap()).unwrap();
                    var.set(&moved).unwrap();
                    value()
                };
                (at(1.0) - at(-1.0)) / (2.0 * step)
            };
            // f32 losses differ by 1e-7 over steps of 1e-2; curvature adds its own.
            let tolerance = 0.05 * norm + 2e-4;
            let mut found = slope(2e-2 / norm.max(1.0));
            if (found - norm).abs() >= tolerance {
                // A kink, of a rectifier for one, within reach of the step: seldom within that of a shorter one.
                found = slope(2e-3 / norm.max(1.0));
            }
            var.set(&kept).unwrap();
            assert!((found - norm).abs() < tolerance, "{name}: {parameter}: slope {found}, gradient {norm}");
        }
    }
}

#[test]
fn a_file_rebuilds_its_own_model() {
    let folder = std::env::temp_dir().join(format!("halocast-laws-{}", std::process::id()));
    for (name, config) in zoo() {
        let model = config.build(8, &Device::Cpu).unwrap();
        let path = folder.join("model.safetensors");
        let header = CheckpointHeader::new(config.clone(), 8, 12);
        let named: Vec<(String, Tensor)> = model
            .trainable()
            .parameters()
            .named()
            .into_iter()
            .map(|(name, var)| (name, var.as_detached_tensor()))
            .collect();
        save_checkpoint(&path, &header, &named).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        save_checkpoint(&path, &header, &named).unwrap();
        assert_eq!(bytes, std::fs::read(&path).unwrap(), "{name}: the same content, other bytes");

        let (read, back) = Model::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read, header, "{name}");
        assert_eq!(draw(&model, 9), draw(&back, 9), "{name}");

        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let message = load_checkpoint::<CheckpointHeader>(&path, &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn circular_padding_commutes_with_periodic_shifts() {
    let Some((_, ModelConfig::Ddpm(config))) = zoo().into_iter().nth(1) else { unreachable!() };
    let config = DdpmConfig {
        unet: UNetConfig { attention: Attention::Nowhere, ..config.unet },
        size: [16, 16],
        ..config
    };
    let model = Ddpm::new(&config, 1, &Device::Cpu).unwrap();
    let x = Tensor::from_vec(Rng::new(2).normals(2 * 16 * 16), (1, 2, 16, 16), &Device::Cpu).unwrap();
    // A shift by a multiple of the coarsest pixel, 2.
    let shift = |t: &Tensor| t.roll(6, 2).unwrap().roll(-4, 3).unwrap();
    let forward = |x: &Tensor| model.network().forward(x, &[3.0], None).unwrap();
    let difference = (shift(&forward(&x)) - forward(&shift(&x))).unwrap().abs().unwrap();
    let largest: f32 = difference.max_all().unwrap().to_scalar().unwrap();
    assert!(largest < 1e-4, "{largest}");
}

#[test]
fn the_loss_of_a_batch_is_that_of_its_parts() {
    for (name, config) in zoo() {
        let model = config.build(1, &Device::Cpu).unwrap();
        let whole = batch(&model, 8, 2);
        let at_once = f64::from(loss(&model, &whole, 3).to_scalar::<f32>().unwrap());
        for ranks in [2, 3, 4] {
            let mean: f64 = (0..ranks)
                .map(|rank| {
                    let shard = Shard::of_rank(rank, ranks, 8);
                    let part = part(&whole, shard);
                    shard.weight() * f64::from(loss(&model, &part, 3).to_scalar::<f32>().unwrap())
                })
                .sum();
            assert!((mean - at_once).abs() < 1e-5 * at_once.abs(), "{name}, {ranks} parts: {mean} {at_once}");
        }
    }
}

#[test]
fn a_wrong_shape_and_a_wrong_condition_are_named() {
    for (name, config) in zoo() {
        let model = config.build(1, &Device::Cpu).unwrap();
        let odd = Batch::new(ArrayD::zeros(vec![1, 1, 7, 7]), None);
        let message = model.trainable().loss(0, &odd, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(message.contains("[1, 1, 7, 7]"), "{name}: {message}");
        let vector = Tensor::zeros((2, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
        let cond = Cond::Vector(vector);
        let Some(generative) = model.generative() else { continue };
        let sampled = generative.sample(2, Some(&cond), &SampleOptions::default(), &mut Rng::new(1));
        assert!(sampled.unwrap_err().to_string().contains("condition"), "{name}");
    }
    let absurd = DdpmConfig { size: [30, 30], ..DdpmConfig::default() };
    let message = Ddpm::new(&absurd, 1, &Device::Cpu).err().map(|e| e.to_string()).unwrap();
    assert!(message.contains("size") && message.contains("[30, 30]"), "{message}");
}

#[test]
fn the_loss_falls_along_its_gradient() {
    for (name, config) in zoo() {
        let model = config.build(2, &Device::Cpu).unwrap();
        let batch = batch(&model, 6, 3);
        let value = || f64::from(loss(&model, &batch, 4).to_scalar::<f32>().unwrap());
        let before = value();
        for _ in 0..12 {
            let gradients = loss(&model, &batch, 4).backward().unwrap();
            let parameters = model.trainable().parameters().named();
            let found: Vec<_> = parameters.iter().filter_map(|(_, v)| Some((v, gradients.get(v)?))).collect();
            let square = |g: &Tensor| g.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let norm = f64::from(found.iter().map(|(_, g)| square(g)).sum::<f32>()).sqrt();
            for (var, gradient) in found {
                var.set(&(var.as_tensor() - (gradient * (0.05 / norm)).unwrap()).unwrap()).unwrap();
            }
        }
        assert!(value() < before, "{name}: {before} {}", value());
    }
}
