//! Adversarial models learn something small, and a run that is broken off goes on to the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use halocast::core::{Batch, Dataset, Rng};
use halocast::kernels::PadMode;
use halocast::models::gan::{
    CycleGanConfig, DiscriminatorConfig, GanConfig, GanLoss, GeneratorConfig, Initial, Norm, PatchConfig,
    Pix2PixConfig, PixelConfig, ResnetGeneratorConfig, UnetGeneratorConfig,
};
use halocast::models::{Cond, Model, ModelConfig, SampleOptions};
use halocast::train::{AdamConfig, OptimizerConfig, Rule, TrainConfig, Trainer};
use ndarray::{Array2, ArrayD, Axis};

/// Maps, what they are made from, and parameters, where there are any.
struct Maps {
    fields: ArrayD<f32>,
    condition: Option<ArrayD<f32>>,
    parameters: Option<Array2<f32>>,
}

impl Dataset for Maps {
    fn len(&self) -> usize {
        self.fields.shape()[0]
    }

    fn event_shape(&self) -> Vec<usize> {
        self.fields.shape()[1..].to_vec()
    }

    fn batch(&self, indices: &[usize], _: &mut Rng) -> halocast::core::Result<Batch> {
        let parameters = self.parameters.as_ref().map(|p| p.select(Axis(0), indices));
        let condition = self.condition.as_ref().map(|c| c.select(Axis(0), indices));
        Ok(Batch { condition, ..Batch::new(self.fields.select(Axis(0), indices), parameters) })
    }
}

fn adam(learning_rate: f64, beta1: f64, beta2: f64, repeat: usize) -> OptimizerConfig {
    let adam = AdamConfig { beta1, beta2, ..Default::default() };
    OptimizerConfig { rule: Rule::Adam(adam), learning_rate, repeat, ..Default::default() }
}

fn train(
    config: &ModelConfig,
    data: &Maps,
    phases: &[(&str, OptimizerConfig)],
    batch: usize,
    iterations: u64,
    folder: &Path,
) -> Result<Model> {
    let model = config.build(5, &Device::Cpu)?;
    let phases: BTreeMap<String, OptimizerConfig> =
        phases.iter().map(|(name, optimizer)| ((*name).to_owned(), *optimizer)).collect();
    let training = TrainConfig { batch, iterations, phases, ema: vec![], seed: 3, ..Default::default() };
    let tags = serde_json::Value::Null;
    Trainer::new(model.trainable(), config, data, &training, folder, tags)?.run(&mut |_| {})?;
    Ok(model)
}

fn noise(shape: &[usize], seed: u64) -> Result<ArrayD<f32>> {
    Ok(ArrayD::from_shape_vec(shape.to_vec(), Rng::new(seed).normals(shape.iter().product()))?)
}

/// Three times the mean over 3x3 pixels of a torus: of variance one where pixels are independent.
fn smoothed(x: &ArrayD<f32>) -> ArrayD<f32> {
    let (h, w) = (x.shape()[2], x.shape()[3]);
    ArrayD::from_shape_fn(x.shape().to_vec(), |at| {
        let near = |i: usize| x[[at[0], at[1], (at[2] + h + i / 3 - 1) % h, (at[3] + w + i % 3 - 1) % w]];
        (0..9).map(near).sum::<f32>() / 3.0
    })
}

fn tensor(x: &ArrayD<f32>) -> Result<Tensor> {
    Ok(Tensor::from_iter(x.iter().copied(), &Device::Cpu)?.reshape(x.shape())?)
}

fn sample(model: &Model, n: usize, cond: Option<&Cond>) -> Result<Tensor> {
    let generative = model.generative().context("generative")?;
    Ok(generative.sample(n, cond, &SampleOptions::default(), &mut Rng::new(9))?)
}

fn mean_and_deviation(x: &Tensor) -> Result<(f64, f64)> {
    let x: Vec<f64> = x.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?;
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    Ok((mean, (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()))
}

#[test]
fn pix2pix_learns_to_smooth() -> Result<()> {
    let condition = noise(&[64, 1, 16, 16], 1)?;
    let data = Maps { fields: smoothed(&condition), condition: Some(condition), parameters: None };
    let config = ModelConfig::Pix2pix(Pix2PixConfig {
        generator: GeneratorConfig::Unet(UnetGeneratorConfig {
            downs: 2,
            width: 16,
            norm: Norm::Batch,
            dropout: 0.0,
            padding: PadMode::Circular,
            tanh: false,
            initial: Initial::FanIn,
        }),
        discriminator: DiscriminatorConfig::Patch(PatchConfig { layers: 1, width: 8, ..Default::default() }),
        loss: GanLoss::LeastSquares,
        size: [16, 16],
        ..Default::default()
    });
    let folder = tempfile::tempdir()?;
    let optimizer = adam(3e-3, 0.5, 0.999, 1);
    let phases = [("discriminator", adam(2e-4, 0.5, 0.999, 1)), ("generator", optimizer)];
    let model = train(&config, &data, &phases, 8, 200, folder.path())?;
    let unseen = noise(&[16, 1, 16, 16], 2)?;
    let truth = tensor(&smoothed(&unseen))?;
    let made = sample(&model, 16, Some(&Cond::Field(tensor(&unseen)?)))?;
    let (_, error) = mean_and_deviation(&(made - &truth)?)?;
    let (_, identity) = mean_and_deviation(&(tensor(&unseen)? - &truth)?)?;
    println!("pix2pix: error {error:.3}, of the identity {identity:.3}");
    ensure!(error < 0.5 * identity, "error {error}, of the identity {identity}");
    Ok(())
}

/// Maps of 4 pixels a side: a level that the parameter gives and that varies, and noise.
fn levels(n: usize) -> Result<Maps> {
    let mut rng = Rng::new(4);
    let parameters = Array2::from_shape_fn((n, 1), |(i, _)| if i % 2 == 0 { -1.0 } else { 1.0 });
    let level: Vec<f32> = (0..n).map(|i| 0.5 * parameters[[i, 0]] + 0.2 * rng.normal() as f32).collect();
    let fields = noise(&[n, 1, 4, 4], 6)?;
    let fields = ArrayD::from_shape_fn(fields.shape().to_vec(), |at| 0.3 + level[at[0]] + 0.1 * fields[&at]);
    Ok(Maps { fields, condition: None, parameters: Some(parameters) })
}

#[test]
fn a_wasserstein_network_learns_level_spread_and_parameter() -> Result<()> {
    let config = ModelConfig::Gan(GanConfig {
        size: [4, 4],
        levels: 1,
        width: 16,
        latent: 4,
        parameters: 1,
        generator_norm: Norm::None,
        tanh: false,
        ..Default::default()
    });
    let folder = tempfile::tempdir()?;
    let phases = [("discriminator", adam(5e-3, 0.0, 0.9, 5)), ("generator", adam(2e-3, 0.0, 0.9, 1))];
    let model = train(&config, &levels(512)?, &phases, 32, 400, folder.path())?;
    for parameter in [-1.0f32, 1.0] {
        let cond = Cond::Vector(Tensor::full(parameter, (512, 1), &Device::Cpu)?);
        let maps = sample(&model, 512, Some(&cond))?.flatten_from(1)?.mean(1)?;
        let (mean, deviation) = mean_and_deviation(&maps)?;
        println!("gan: parameter {parameter}: level {mean:.3}, deviation {deviation:.3}");
        ensure!((mean - 0.3 - 0.5 * f64::from(parameter)).abs() < 0.1, "level {mean} at {parameter}");
        ensure!((deviation - 0.2).abs() < 0.08, "deviation {deviation} at {parameter}");
    }
    Ok(())
}

#[test]
fn cyclegan_goes_on_with_its_pool_to_the_same_bits() -> Result<()> {
    let fields = noise(&[12, 1, 8, 8], 1)?;
    let data = Maps { condition: Some(noise(&[12, 1, 8, 8], 2)?), fields, parameters: None };
    let config = ModelConfig::Cyclegan(CycleGanConfig {
        generator: GeneratorConfig::Resnet(ResnetGeneratorConfig {
            blocks: 1,
            width: 2,
            ..Default::default()
        }),
        discriminator: DiscriminatorConfig::Pixel(PixelConfig {
            width: 3,
            norm: Norm::Batch,
            ..Default::default()
        }),
        size: [8, 8],
        pool: 4,
        ..Default::default()
    });
    let (whole, broken) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let phases = [("generator", adam(2e-4, 0.5, 0.999, 1)), ("discriminator", adam(2e-4, 0.5, 0.999, 1))];
    let at_once = train(&config, &data, &phases, 2, 12, whole.path())?;
    train(&config, &data, &phases, 2, 7, broken.path())?;
    let resumed = train(&config, &data, &phases, 2, 12, broken.path())?;
    let mut kept = 0.0;
    for ((name, a), (_, b)) in
        at_once.trainable().parameters().named().into_iter().zip(resumed.trainable().parameters().named())
    {
        let values = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        ensure!(values(&a)? == values(&b)?, "{name} differs");
        if name.ends_with("pool.kept") {
            kept += values(&a)?.iter().sum::<f32>();
        }
    }
    ensure!(kept > 2.0, "the pools hold {kept}");
    Ok(())
}

#[test]
fn the_training_configurations_of_the_cards_are_read() -> Result<()> {
    for name in ["pix2pix", "cyclegan", "gan"] {
        let card = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/models/{name}.md"));
        let text = std::fs::read_to_string(&card).with_context(|| card.display().to_string())?;
        let (_, rest) = text.split_once("```json").context("no configuration")?;
        let (json, _) = rest.split_once("```").context("no end")?;
        let training: TrainConfig = serde_json::from_str(json).with_context(|| name.to_owned())?;
        training.validate()?;
        let rates = ["discriminator", "generator"].map(|phase| training.optimizer_of(phase).learning_rate);
        ensure!(rates.iter().all(|rate| (1e-4..=2e-4).contains(rate)), "{name}: {rates:?}");
    }
    Ok(())
}
