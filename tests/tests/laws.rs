//! The laws that every model of the zoo keeps: one table from a name to a configuration, each model through each law. That
//! gradients are right is another such law, in `gradients.rs`.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use candle_core::{DType, Device, Tensor};
use halocast::core::{Batch, Rng, Shard};
use halocast::kernels::nn::BatchNorm;
use halocast::kernels::{PadMode, record};
use halocast::models::diffusion::{Ddpm, DdpmConfig, Sampler};
use halocast::models::network::Context;
use halocast::models::unet::{Attention, UNetConfig};
use halocast::models::{
    CheckpointHeader, Cond, CondSpec, Configured, Model, ModelConfig, SampleOptions, load_checkpoint,
    save_checkpoint,
};
use halocast_tests::zoo::{batch, begins_with_zeros, draws_no_noise, zoo};
use ndarray::{ArrayD, Axis};

fn build(config: &ModelConfig, seed: u64) -> Model {
    config.build(seed, &Device::Cpu).unwrap()
}

/// The examples of a batch that a shard holds.
fn part(whole: &Batch, shard: Shard) -> Batch {
    let range = || ndarray::Slice::from(shard.range());
    let fields = whole.fields.slice_axis(Axis(0), range()).to_owned();
    let parameters = whole.parameters.as_ref().map(|p| p.slice_axis(Axis(0), range()).to_owned());
    let condition = whole.condition.as_ref().map(|c| c.slice_axis(Axis(0), range()).to_owned());
    let counts = whole.counts.as_ref().map(|c| c[shard.range()].to_vec());
    Batch { shard, condition, counts, ..Batch::new(fields, parameters) }
}

/// A condition for `n` events of a model.
fn condition(model: &Model, spec: CondSpec, n: usize) -> Option<Cond> {
    let tensor = |shape: &[usize]| {
        let shape = [&[n], shape].concat();
        Tensor::from_vec(Rng::new(17).normals(shape.iter().product()), shape, &Device::Cpu).unwrap()
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

fn loss(model: &Model, phase: usize, batch: &Batch, seed: u64) -> f64 {
    let total = model.trainable().loss(phase, batch, &mut Rng::new(seed)).unwrap().total;
    f64::from(total.to_scalar::<f32>().unwrap())
}

/// A sampler of four steps for models that have one.
fn few_steps<'a>() -> SampleOptions<'a> {
    SampleOptions { sampler: Sampler::Ancestral { steps: Some(4) }, ..Default::default() }
}

/// Two events; of a model that draws none, its loss.
fn draw(model: &Model, seed: u64) -> Vec<f32> {
    let Some(generative) = model.generative() else {
        return vec![loss(model, 0, &batch(model, 2, &mut Rng::new(seed)).unwrap(), seed) as f32];
    };
    let cond = condition(model, generative.condition(), 2);
    let x = generative.sample(2, cond.as_ref(), &few_steps(), &mut Rng::new(seed)).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn samples_have_the_event_shape_and_depend_on_the_seed_alone() {
    for (name, config) in zoo() {
        let model = build(&config, 3);
        let first = draw(&model, 1);
        if let Some(generative) = model.generative() {
            let event: usize = generative.event_shape().iter().product();
            assert_eq!(first.len(), 2 * event, "{name}");
        }
        assert!(first.iter().all(|v| v.is_finite()), "{name}: {first:?}");
        assert_eq!(first, draw(&build(&config, 3), 1), "{name}");
        let same = first == draw(&build(&config, 4), 1);
        assert!(!same || begins_with_zeros(&config), "{name}: the same events of other parameters");
    }
}

#[test]
fn other_draws_are_other_events() {
    for (name, config) in zoo() {
        if draws_no_noise(&config) {
            continue;
        }
        let model = build(&config, 3);
        assert_ne!(draw(&model, 1), draw(&model, 2), "{name}");
    }
}

#[test]
fn the_size_of_batches_does_not_change_what_is_drawn() {
    for (name, config) in zoo() {
        let model = build(&config, 3);
        let Some(generative) = model.generative() else { continue };
        let cond = condition(&model, generative.condition(), 5);
        let drawn = |batch: usize| -> Vec<f32> {
            let options = SampleOptions { batch, ..few_steps() };
            let x = generative.sample(5, cond.as_ref(), &options, &mut Rng::new(6)).unwrap();
            x.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (whole, parts) = (drawn(5), drawn(2));
        let scale = whole.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let apart = whole.iter().zip(&parts).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(apart <= 2e-4 * scale, "{name}: {apart:e} of {scale}");
    }
}

#[test]
fn a_file_rebuilds_its_own_model() {
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in zoo() {
        let model = build(&config, 8);
        let path = folder.path().join("model.safetensors");
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
}

#[test]
fn the_loss_of_a_batch_is_that_of_its_parts() {
    for (name, config) in zoo() {
        let model = build(&config, 1);
        let names = model.trainable().parameters().named();
        if names.iter().any(|(parameter, _)| BatchNorm::is_buffer(parameter)) {
            continue; // statistics of the batch are part of the loss: ranks share them, parts do not
        }
        let whole = batch(&model, 8, &mut Rng::new(2)).unwrap();
        for phase in 0..model.trainable().phases() {
            let at_once = loss(&build(&config, 1), phase, &whole, 3);
            for ranks in [2, 3, 4] {
                let model = build(&config, 1);
                let mean: f64 = (0..ranks)
                    .map(|rank| {
                        let shard = Shard::of_rank(rank, ranks, 8);
                        shard.weight() * loss(&model, phase, &part(&whole, shard), 3)
                    })
                    .sum();
                let apart = (mean - at_once).abs();
                assert!(apart < 1e-5 * at_once.abs() + 1e-6, "{name}, {ranks} parts: {mean} {at_once}");
            }
        }
    }
}

#[test]
fn a_wrong_shape_and_a_wrong_condition_are_named() {
    for (name, config) in zoo() {
        let model = build(&config, 1);
        let odd = Batch::new(ArrayD::zeros(vec![1, 1, 7, 7]), None);
        let message = model.trainable().loss(0, &odd, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(message.contains("[1, 1, 7, 7]"), "{name}: {message}");
        let Some(generative) = model.generative() else { continue };
        let cond = Cond::Vector(Tensor::zeros((2, 77), DType::F32, &Device::Cpu).unwrap());
        let sampled = generative.sample(2, Some(&cond), &few_steps(), &mut Rng::new(1));
        assert!(sampled.unwrap_err().to_string().contains("condition"), "{name}");
    }
    let absurd = DdpmConfig { size: vec![30, 30], ..DdpmConfig::default() };
    let message = Ddpm::new(&absurd, 1, &Device::Cpu).err().map(|e| e.to_string()).unwrap();
    assert!(message.contains("size") && message.contains("[30, 30]"), "{message}");
}

#[test]
fn the_loss_of_a_phase_falls_along_its_gradient() {
    for (name, config) in zoo() {
        let model = build(&config, 2);
        let batch = batch(&model, 6, &mut Rng::new(3)).unwrap();
        let trainable = model.trainable();
        for phase in 0..trainable.phases() {
            let named = trainable.parameters().named();
            let own: Vec<_> = named.iter().filter(|(name, _)| trainable.trains(phase, name)).collect();
            let before = loss(&model, phase, &batch, 4);
            for _ in 0..8 {
                let (total, tape) =
                    record(|| trainable.loss(phase, &batch, &mut Rng::new(4)).map(|l| l.total)).unwrap();
                let store = tape.backward(&total).unwrap();
                let found: Vec<_> =
                    own.iter().filter_map(|(_, v)| Some((v, store.get(v)?.clone()))).collect();
                let square = |g: &Tensor| g.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                let norm = f64::from(found.iter().map(|(_, g)| square(g)).sum::<f32>()).sqrt();
                for (var, gradient) in found {
                    let step = (gradient * (0.01 / norm)).unwrap();
                    var.set(&(var.as_tensor() - step).unwrap()).unwrap();
                }
            }
            let after = loss(&model, phase, &batch, 4);
            assert!(after < before, "{name}, phase {phase}: {before} {after}");
        }
    }
}

#[test]
fn circular_padding_commutes_with_periodic_shifts() {
    let unet = UNetConfig {
        dim: 8,
        dim_mults: vec![1, 2],
        groups: 4,
        channels: 2,
        attention: Attention::Nowhere,
        padding: PadMode::Circular,
        ..Default::default()
    };
    let config = DdpmConfig { unet, size: vec![16, 16], timesteps: 20, ..Default::default() };
    let model = Ddpm::new(&config, 1, &Device::Cpu).unwrap();
    let x = Tensor::from_vec(Rng::new(2).normals(2 * 16 * 16), (1, 2, 16, 16), &Device::Cpu).unwrap();
    // A shift by a multiple of the coarsest pixel, 2.
    let shift = |t: &Tensor| t.roll(6, 2).unwrap().roll(-4, 3).unwrap();
    let forward = |x: &Tensor| model.network().forward(x, &[3.0], &Context::default()).unwrap();
    let difference = (shift(&forward(&x)) - forward(&shift(&x))).unwrap().abs().unwrap();
    let largest: f32 = difference.max_all().unwrap().to_scalar().unwrap();
    assert!(largest < 1e-4, "{largest}");
}
