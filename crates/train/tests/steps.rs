//! Steps against closed forms: optimisers, phases, parts of a batch, and what stops a run.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

mod common;

use std::collections::BTreeMap;
use std::fs;

use candle_core::{Device, Tensor, Var};
use candle_nn::Init;
use common::folder;
use halocast_core::{Batch, Dataset, Rng};
use halocast_models::{ExampleSpec, Loss, Parameters, Trainable};
use halocast_train::{
    AdamConfig, BadBatch, Error, Optimizer, OptimizerConfig, Rule, SgdConfig, TrainConfig, Trainer,
};
use ndarray::{Array2, ArrayD, Axis};

/// Pairs (x, y) with y = 2 x - 1 and some noise; example 7 may be broken.
struct Pairs {
    pairs: ArrayD<f32>,
}

impl Pairs {
    fn new(broken: bool) -> Self {
        let mut rng = Rng::new(5);
        let mut pairs = ArrayD::zeros(vec![16, 2]);
        for mut pair in pairs.axis_iter_mut(Axis(0)) {
            pair[0] = rng.normal() as f32;
            pair[1] = 2.0 * pair[0] - 1.0 + 0.1 * rng.normal() as f32;
        }
        if broken {
            pairs[[7, 1]] = f32::NAN;
        }
        Self { pairs }
    }
}

impl Dataset for Pairs {
    fn len(&self) -> usize {
        self.pairs.shape()[0]
    }

    fn event_shape(&self) -> Vec<usize> {
        vec![2]
    }

    fn batch(&self, indices: &[usize], _: &mut Rng) -> halocast_core::Result<Batch> {
        let parameters = Array2::from_shape_fn((indices.len(), 1), |(i, _)| indices[i] as f32);
        Ok(Batch::new(self.pairs.select(Axis(0), indices), Some(parameters)))
    }
}

fn number(parameters: &Parameters, name: &str) -> halocast_models::Result<Tensor> {
    Ok(parameters.builder().get_with_hints((), name, Init::Const(0.5))?)
}

fn value(parameters: &Parameters, name: &str) -> f64 {
    f64::from(number(parameters, name).unwrap().to_scalar::<f32>().unwrap())
}

/// y = a x + b by least squares.
struct Line(Parameters);

impl Line {
    fn new() -> Self {
        let parameters = Parameters::new(1, &Device::Cpu);
        number(&parameters, "a").unwrap();
        number(&parameters, "b").unwrap();
        Self(parameters)
    }
}

impl Trainable for Line {
    fn example(&self) -> ExampleSpec {
        ExampleSpec { fields: vec![2], ..Default::default() }
    }

    fn parameters(&self) -> &Parameters {
        &self.0
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn loss(&self, _: usize, batch: &Batch, _: &mut Rng) -> halocast_models::Result<Loss> {
        let column = |i| Tensor::from_iter(batch.fields.index_axis(Axis(1), i).iter().copied(), &Device::Cpu);
        let fit = column(0)?.broadcast_mul(&number(&self.0, "a")?)?.broadcast_add(&number(&self.0, "b")?)?;
        let total = (fit - column(1)?)?.sqr()?.mean_all()?;
        Ok(Loss { parts: vec![("square", total.to_scalar()?)], total })
    }
}

/// min over x, max over w of L = (x - 3) w - w^2 / 2, whose saddle is x = 3, w = 0.
struct Saddle(Parameters);

impl Saddle {
    fn new() -> Self {
        let parameters = Parameters::new(1, &Device::Cpu);
        number(&parameters, "critic.w").unwrap();
        number(&parameters, "generator.x").unwrap();
        Self(parameters)
    }
}

impl Trainable for Saddle {
    fn example(&self) -> ExampleSpec {
        ExampleSpec { fields: vec![2], ..Default::default() }
    }

    fn parameters(&self) -> &Parameters {
        &self.0
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn phases(&self) -> usize {
        2
    }

    fn phase_name(&self, phase: usize) -> &'static str {
        ["critic", "generator"][phase]
    }

    fn trains(&self, phase: usize, parameter: &str) -> bool {
        parameter.starts_with(self.phase_name(phase))
    }

    fn loss(&self, phase: usize, _: &Batch, _: &mut Rng) -> halocast_models::Result<Loss> {
        let (w, x) = (number(&self.0, "critic.w")?, number(&self.0, "generator.x")?);
        let value = (((x - 3.0)? * &w)? - (w.sqr()? * 0.5)?)?;
        Ok(Loss { total: if phase == 0 { value.neg()? } else { value }, parts: vec![] })
    }
}

fn sgd(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig { rule: Rule::Sgd(SgdConfig::default()), learning_rate, ..Default::default() }
}

fn run(model: &dyn Trainable, data: &Pairs, config: &TrainConfig, name: &str) -> halocast_train::Result<()> {
    let folder = folder(name);
    let mut trainer = Trainer::new(model, &name, data, config, &folder, serde_json::Value::Null)?;
    trainer.run(&mut |_| {})?;
    fs::remove_dir_all(folder).unwrap();
    Ok(())
}

/// The rules in f64, from their papers, for one parameter and a sequence of gradients.
fn reference(rule: Rule, mut x: f64, gradients: &[f64], rate: f64) -> f64 {
    let (mut m, mut v) = (0.0, 0.0);
    for (t, g) in gradients.iter().enumerate() {
        let t = t as i32 + 1;
        match rule {
            Rule::Sgd(c) => {
                let g = g + c.weight_decay * x;
                m = c.momentum * m + g;
                x -= rate * if c.nesterov { g + c.momentum * m } else { m };
            }
            Rule::Adam(c) | Rule::AdamW(c) => {
                let coupled = matches!(rule, Rule::Adam(_));
                let g = if coupled { g + c.weight_decay * x } else { *g };
                if !coupled {
                    x -= rate * c.weight_decay * x;
                }
                m = c.beta1 * m + (1.0 - c.beta1) * g;
                v = c.beta2 * v + (1.0 - c.beta2) * g * g;
                let (m, v) = (m / (1.0 - c.beta1.powi(t)), v / (1.0 - c.beta2.powi(t)));
                x -= rate * m / (v.sqrt() + c.epsilon);
            }
            _ => panic!("an unknown rule"),
        }
    }
    x
}

#[test]
fn optimisers_follow_their_papers_and_resume() {
    let adam = AdamConfig { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weight_decay: 0.1 };
    let sgd = SgdConfig { momentum: 0.9, nesterov: false, weight_decay: 0.05 };
    let mut rng = Rng::new(2);
    let gradients: Vec<f64> = (0..30).map(|_| f64::from(rng.normal() as f32)).collect();
    for rule in [
        Rule::Adam(adam),
        Rule::AdamW(adam),
        Rule::Adam(AdamConfig::default()),
        Rule::Sgd(sgd),
        Rule::Sgd(SgdConfig { nesterov: true, ..sgd }),
        Rule::Sgd(SgdConfig::default()),
    ] {
        let x = Var::new(&[1.5f32], &Device::Cpu).unwrap();
        let config = OptimizerConfig { rule, ..Default::default() };
        let new = || Optimizer::new("all", [("x".to_owned(), x.clone())], &config).unwrap();
        let mut optimizer = new();
        for (i, &g) in gradients.iter().enumerate() {
            if i == 11 {
                let state = optimizer.state().unwrap().into_iter().collect();
                optimizer = new();
                optimizer.restore(&state).unwrap();
            }
            let store = (&*x * g).unwrap().sum_all().unwrap().backward().unwrap();
            let found = optimizer.gradients(&store).unwrap();
            optimizer.step(found, g.abs(), 0.01, i as u64 + 1).unwrap();
        }
        let (got, expected) =
            (f64::from(x.to_vec1::<f32>().unwrap()[0]), reference(rule, 1.5, &gradients, 0.01));
        assert!((got - expected).abs() < 3e-6, "{rule:?}: {got} {expected}");
    }
}

#[test]
fn phases_move_their_own_parameters_at_their_own_rate() {
    let (eta_w, eta_x, repeat) = (0.2, 0.1, 3);
    let model = Saddle::new();
    let critic = OptimizerConfig { repeat, ..sgd(eta_w) };
    let phases = BTreeMap::from([("critic".to_owned(), critic)]);
    let config = TrainConfig {
        batch: 2,
        iterations: 20,
        optimizer: sgd(eta_x),
        phases,
        tensorboard: false,
        ..Default::default()
    };
    let data = Pairs::new(false);
    let folder = folder("saddle");
    let mut trainer =
        Trainer::new(&model, &"saddle", &data, &config, &folder, serde_json::Value::Null).unwrap();
    trainer.run(&mut |_| {}).unwrap();
    let (mut w, mut x) = (0.5, 0.5);
    for _ in 0..20 {
        (0..repeat).for_each(|_| w += eta_w * (x - 3.0 - w));
        x -= eta_x * w;
    }
    let (got_w, got_x) = (value(&model.0, "critic.w"), value(&model.0, "generator.x"));
    assert!((got_w - w).abs() < 1e-5 && (got_x - x).abs() < 1e-5, "{got_w} {w}, {got_x} {x}");
    let record = &trainer.losses().unwrap()[0];
    assert_eq!(record.parts["critic/learning_rate"], eta_w);
    assert_eq!(record.parts["generator/learning_rate"], eta_x);
    fs::remove_dir_all(folder).unwrap();

    // Longer, it comes to the saddle.
    let model = Saddle::new();
    run(&model, &data, &TrainConfig { iterations: 400, ..config.clone() }, "saddle-long").unwrap();
    assert!((value(&model.0, "generator.x") - 3.0).abs() < 1e-4);
    assert!(value(&model.0, "critic.w").abs() < 1e-4);

    // A phase that the model has not is named.
    let phases = BTreeMap::from([("discriminator".to_owned(), critic)]);
    let error = run(&model, &data, &TrainConfig { phases, ..config }, "saddle-odd").unwrap_err().to_string();
    assert!(error.contains("discriminator") && error.contains("critic"), "{error}");
}

#[test]
fn parts_of_a_batch_give_the_gradient_of_the_whole() {
    let data = Pairs::new(false);
    let fit = |accumulate: usize| {
        let model = Line::new();
        let config = TrainConfig {
            batch: 12,
            accumulate,
            iterations: 10,
            optimizer: sgd(0.05),
            tensorboard: false,
            ..Default::default()
        };
        run(&model, &data, &config, &format!("parts-{accumulate}")).unwrap();
        (value(&model.0, "a"), value(&model.0, "b"))
    };
    let (a, b) = fit(1);
    for accumulate in [2, 3, 4, 12] {
        let (part_a, part_b) = fit(accumulate);
        assert!((a - part_a).abs() < 1e-6 && (b - part_b).abs() < 1e-6, "{accumulate}");
    }
}

#[test]
fn a_batch_that_is_no_number_is_kept() {
    let (model, data, folder) = (Line::new(), Pairs::new(true), folder("bad"));
    let config = TrainConfig { batch: 4, optimizer: sgd(0.05), seed: 11, ..Default::default() };
    let mut trainer =
        Trainer::new(&model, &"line", &data, &config, &folder, serde_json::Value::Null).unwrap();
    let error = trainer.run(&mut |_| {}).unwrap_err();
    let Error::Diverged { step, ref batch, .. } = error else { panic!("{error}") };
    assert!(error.to_string().contains("bad-batch.safetensors"), "{error}");
    let bad = BadBatch::load(batch).unwrap();
    assert_eq!((bad.place.step, bad.place.seed, bad.place.phase.as_str()), (step, 11, "all"));
    assert!(bad.indices.contains(&7) && bad.indices.len() == 4);
    let again = data.batch(&bad.indices, &mut Rng::new(0)).unwrap();
    let bits = |batch: &Batch| batch.fields.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&bad.batch), bits(&again));
    assert_eq!((bad.batch.fields.shape(), &bad.batch.parameters), (again.fields.shape(), &again.parameters));
    // The parameters are those before the step.
    assert!(value(&model.0, "a").is_finite());
    fs::remove_dir_all(folder).unwrap();
}

/// A loss of zero whose gradient is none: the root of zero.
struct Root(Parameters);

impl Trainable for Root {
    fn example(&self) -> ExampleSpec {
        ExampleSpec { fields: vec![2], ..Default::default() }
    }

    fn parameters(&self) -> &Parameters {
        &self.0
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn loss(&self, _: usize, _: &Batch, _: &mut Rng) -> halocast_models::Result<Loss> {
        Ok(Loss { total: (number(&self.0, "root.w")? - 0.5)?.sqrt()?, parts: vec![] })
    }
}

#[test]
fn a_gradient_that_is_no_number_is_named() {
    let (model, data, folder) = (Root(Parameters::new(1, &Device::Cpu)), Pairs::new(false), folder("root"));
    number(&model.0, "root.w").unwrap();
    let config = TrainConfig { batch: 4, ..Default::default() };
    let mut trainer =
        Trainer::new(&model, &"root", &data, &config, &folder, serde_json::Value::Null).unwrap();
    let error = trainer.run(&mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, Error::GradientNotFinite { step: 1, parameter, .. } if parameter == "root.w"),
        "{error}"
    );
    assert_eq!(value(&model.0, "root.w"), 0.5);
    assert!(BadBatch::load(&folder.join("bad-batch.safetensors")).unwrap().place.reason.contains("root.w"));
    fs::remove_dir_all(folder).unwrap();
}
