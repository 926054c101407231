//! The laws of the models that make one field from another, and of continuous time.

#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

use candle_core::{DType, Device, Tensor};
use halocast_core::{Batch, Rng, Shard};
use halocast_models::bridge::{
    BbdmConfig, FlowMatchingConfig, IndiConfig, IndiNoise, RectifiedFlowConfig, RegressionConfig,
};
use halocast_models::diffusion::Sampler;
use halocast_models::sde::{ScoreSdeConfig, Sde};
use halocast_models::unet::UNetConfig;
use halocast_models::{Cond, CondSpec, Model, ModelConfig, SampleOptions};
use ndarray::{ArrayD, Axis};

const SIZE: [usize; 2] = [8, 8];

fn zoo() -> Vec<(&'static str, ModelConfig)> {
    let unet = |channels, condition_channels| UNetConfig {
        dim: 8,
        dim_mults: vec![1, 2],
        groups: 4,
        heads: 2,
        dim_head: 4,
        channels,
        condition_channels,
        ..Default::default()
    };
    let brownian = IndiNoise::Brownian { epsilon: 0.1 };
    let ve = Sde::Ve { sigma_min: 0.01, sigma_max: 50.0 };
    vec![
        ("InDI", ModelConfig::Indi(IndiConfig { unet: unet(1, 0), size: SIZE, ..Default::default() })),
        (
            "InDI, noise, beside",
            ModelConfig::Indi(IndiConfig {
                unet: unet(2, 2),
                size: SIZE,
                noise: brownian,
                end_weight: 1.0,
                ..Default::default()
            }),
        ),
        ("BBDM", ModelConfig::Bbdm(BbdmConfig { unet: unet(1, 1), size: SIZE, ..Default::default() })),
        (
            "rectified flow",
            ModelConfig::RectifiedFlow(RectifiedFlowConfig {
                unet: unet(1, 0),
                size: SIZE,
                ..Default::default()
            }),
        ),
        (
            "regression",
            ModelConfig::Regression(RegressionConfig { unet: unet(1, 3), size: SIZE, ..Default::default() }),
        ),
        (
            "score SDE on a field",
            ModelConfig::ScoreSde(ScoreSdeConfig {
                unet: unet(1, 2),
                size: SIZE,
                sde: ve,
                ..Default::default()
            }),
        ),
        (
            "flow matching on a field",
            ModelConfig::FlowMatching(FlowMatchingConfig {
                unet: unet(1, 1),
                size: SIZE,
                ..Default::default()
            }),
        ),
    ]
}

fn condition_shape(model: &Model, n: usize) -> Vec<usize> {
    match model.generative().unwrap().condition() {
        CondSpec::Field(channels) => vec![n, channels, SIZE[0], SIZE[1]],
        other => unreachable!("{other:?}"),
    }
}

fn cond(model: &Model, n: usize) -> Cond {
    let shape = condition_shape(model, n);
    let values = Rng::new(21).normals(shape.iter().product());
    Cond::Field(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
}

fn draw(model: &Model, n: usize, batch: usize, seed: u64) -> Vec<f32> {
    let sampler = Sampler::Ancestral { steps: Some(3) };
    let options = SampleOptions { sampler, batch, ..Default::default() };
    let cond = cond(model, n);
    let x = model.generative().unwrap().sample(n, Some(&cond), &options, &mut Rng::new(seed)).unwrap();
    assert_eq!(x.dtype(), DType::F32);
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn batch(model: &Model, n: usize) -> Batch {
    let mut rng = Rng::new(6);
    let mut array = |shape: Vec<usize>| {
        let values = rng.normals(shape.iter().product());
        ArrayD::from_shape_vec(shape, values).unwrap()
    };
    let shape = std::iter::once(n).chain(model.generative().unwrap().event_shape()).collect();
    Batch::new(array(shape), None).with_condition(array(condition_shape(model, n)))
}

fn loss(model: &Model, batch: &Batch, seed: u64) -> f64 {
    let loss = model.trainable().loss(0, batch, &mut Rng::new(seed)).unwrap().total;
    f64::from(loss.to_scalar::<f32>().unwrap())
}

#[test]
fn samples_depend_on_seed_and_condition_and_not_on_their_batch() {
    for (name, config) in zoo() {
        let model = config.build(3, &Device::Cpu).unwrap();
        let event: usize = model.generative().unwrap().event_shape().iter().product();
        let together = draw(&model, 3, 3, 1);
        assert_eq!(together.len(), 3 * event, "{name}");
        assert_eq!(together, draw(&config.build(3, &Device::Cpu).unwrap(), 3, 3, 1), "{name}");
        let apart = draw(&model, 3, 1, 1);
        assert!(together.iter().zip(&apart).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())), "{name}");
        assert_ne!(together[..event], together[event..2 * event], "{name}");
    }
}

#[test]
fn the_loss_of_a_batch_is_that_of_its_parts() {
    for (name, config) in zoo() {
        let model = config.build(1, &Device::Cpu).unwrap();
        let whole = batch(&model, 8);
        let at_once = loss(&model, &whole, 3);
        for ranks in [2, 3] {
            let part = |rank| {
                let shard = Shard::of_rank(rank, ranks, 8);
                let cut = |a: &ArrayD<f32>| a.slice_axis(Axis(0), shard.range().into()).to_owned();
                let condition = whole.condition.as_ref().map(cut);
                let part = Batch { shard, condition, ..Batch::new(cut(&whole.fields), None) };
                shard.weight() * loss(&model, &part, 3)
            };
            let mean: f64 = (0..ranks).map(part).sum();
            assert!((mean - at_once).abs() < 1e-5 * at_once.abs(), "{name}, {ranks} parts: {mean} {at_once}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    for (name, config) in zoo() {
        let model = config.build(1, &Device::Cpu).unwrap();
        let generative = model.generative().unwrap();
        let options = SampleOptions::default();
        let none = generative.sample(2, None, &options, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(none.contains("condition"), "{name}: {none}");
        // A condition of another number of events, and on another grid.
        for shape in [[5, 0, 8, 8], [2, 0, 4, 4]] {
            let channels = condition_shape(&model, 1)[1];
            let field = Tensor::zeros((shape[0], channels, shape[2], shape[3]), DType::F32, &Device::Cpu);
            let cond = Cond::Field(field.unwrap());
            let message =
                generative.sample(2, Some(&cond), &options, &mut Rng::new(1)).unwrap_err().to_string();
            assert!(message.contains("condition has shape"), "{name}: {message}");
        }
        let without = Batch { condition: None, ..batch(&model, 2) };
        let message = model.trainable().loss(0, &without, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(message.contains("condition"), "{name}: {message}");
    }
    let absurd = IndiConfig { size: [30, 30], ..Default::default() };
    let message = ModelConfig::Indi(absurd).build(1, &Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("size") && message.contains("[30, 30]"), "{message}");
}

#[test]
fn densities_are_finite_and_do_not_depend_on_their_batch() {
    for (name, config) in zoo() {
        let mut config = config;
        let loose = |likelihood: &mut halocast_models::sde::Likelihood| {
            (likelihood.solver.rtol, likelihood.solver.atol, likelihood.t_min) = (1e-2, 1e-2, 1e-2);
        };
        match &mut config {
            ModelConfig::ScoreSde(c) => loose(&mut c.likelihood),
            ModelConfig::FlowMatching(c) => loose(&mut c.likelihood),
            _ => continue,
        }
        let model = config.build(1, &Device::Cpu).unwrap();
        let density = model.log_prob().unwrap();
        let event: Vec<usize> = model.generative().unwrap().event_shape();
        let shape: Vec<usize> = std::iter::once(2).chain(event.iter().copied()).collect();
        let values = Rng::new(2).normals(shape.iter().product());
        let x = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let Cond::Field(field) = cond(&model, 2) else { unreachable!() };
        let of = |n: usize| {
            let cond = Cond::Field(field.narrow(0, 0, n).unwrap());
            let x = x.narrow(0, 0, n).unwrap();
            density.log_prob(&x, Some(&cond), &mut Rng::new(3)).unwrap().to_vec1::<f64>().unwrap()
        };
        let (both, first) = (of(2), of(1));
        assert!(both.iter().all(|v| v.is_finite()), "{name}: {both:?}");
        assert!((both[0] - first[0]).abs() < 1e-2 * first[0].abs(), "{name}: {both:?}, {first:?}");
    }
}
