//! Parameter inference on real simulations: Omega_m from the galaxy power spectra of CAMELS.
//!
//! The inputs are ln(1 + P) of 79 wavenumbers at five redshifts, standardised; 800 simulations train, 200 test. A
//! conditional flow's posterior mean is compared with ridge regression whose strength is chosen by cross-validation on the
//! same training set.

#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use halocast::core::{Batch, Dataset, Rng};
use halocast::data::read_npy_f64;
use halocast::kernels::Activation;
use halocast::models::Configured;
use halocast::models::embedding::{EmbeddingConfig, MlpConfig};
use halocast::models::flow::{FlowConfig, FlowKind};
use halocast::models::inference::{Posterior, PosteriorConfig};
use halocast::train::{AdamConfig, LearningRate, OptimizerConfig, Rule, TrainConfig, Trainer};
use halocast_tests::{reference_folder, ridge, rmse};
use ndarray::{Array2, ArrayD};

const SIMULATIONS: usize = 1000;
const TRAIN: usize = 800;

/// Inputs `[simulation][feature]`.
type Inputs = Vec<Vec<f64>>;

/// Inputs and Omega_m.
fn load() -> Result<Option<(Inputs, Vec<f64>)>> {
    let Some(folder) = reference_folder("HALOCAST_DATA", "data") else { return Ok(None) };
    let mut inputs = vec![vec![]; SIMULATIONS];
    for snapshot in [10, 14, 18, 24, 33] {
        let name = format!("camels_galaxy_pk/Pk_galaxies_IllustrisTNG_LH_{snapshot}_kmax=20.0.npy");
        let table = read_npy_f64(folder.join(name))?;
        ensure!(table.shape()[0] == SIMULATIONS, "{:?}", table.shape());
        for (row, values) in inputs.iter_mut().zip(table.outer_iter()) {
            row.extend(values.iter().map(|p| (1.0 + p.max(0.0)).ln()));
        }
    }
    let text = std::fs::read_to_string(folder.join("camels_params/cmd/params_LH_IllustrisTNG.txt"))?;
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let omega = rows
        .map(|line| Ok(line.split_whitespace().next().context("Omega_m")?.parse()?))
        .collect::<Result<Vec<f64>>>()?;
    ensure!(omega.len() == SIMULATIONS, "{} parameters", omega.len());
    Ok(Some((inputs, omega)))
}

/// Mean and standard deviation of each column.
fn moments(rows: &[&Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let n = rows.len() as f64;
    let mean: Vec<f64> = (0..rows[0].len()).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
    let std = (0..mean.len())
        .map(|j| (rows.iter().map(|r| (r[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt().max(1e-9))
        .collect();
    (mean, std)
}

/// Pairs of data and parameters; training data get a little noise, so that the network does not know them by heart.
struct Pairs {
    data: Vec<Vec<f64>>,
    theta: Vec<f64>,
    noise: f32,
}

impl Dataset for Pairs {
    fn len(&self) -> usize {
        self.theta.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        vec![self.data[0].len()]
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> halocast::core::Result<Batch> {
        let width = self.data[0].len();
        let noise = rng.normals(indices.len() * width);
        let values = indices.iter().flat_map(|&i| &self.data[i]).zip(noise);
        let values = values.map(|(&v, n)| v as f32 + self.noise * n).collect();
        let fields = ArrayD::from_shape_vec(vec![indices.len(), width], values).unwrap();
        let theta = Array2::from_shape_fn((indices.len(), 1), |(i, _)| self.theta[indices[i]] as f32);
        Ok(Batch::new(fields, Some(theta)))
    }
}

/// The errors of the flow and of ridge regression on a random split, and the fraction of truths within the flow's central
/// 68 %.
fn split(inputs: &[Vec<f64>], omega: &[f64], seed: u64, iterations: u64) -> Result<(f64, f64, f64)> {
    let mut order: Vec<usize> = (0..SIMULATIONS).collect();
    Rng::new(seed).shuffle(&mut order);
    let (train, test) = order.split_at(TRAIN);
    let (mean, std) = moments(&train.iter().map(|&i| &inputs[i]).collect::<Vec<_>>());
    let standard = |i: &usize| -> Vec<f64> {
        inputs[*i].iter().zip(&mean).zip(&std).map(|((v, m), s)| ((v - m) / s).clamp(-6.0, 6.0)).collect()
    };
    let (x, tests): (Vec<_>, Vec<_>) =
        (train.iter().map(standard).collect(), test.iter().map(standard).collect());
    let (y, truth): (Vec<f64>, Vec<f64>) =
        (train.iter().map(|&i| omega[i]).collect(), test.iter().map(|&i| omega[i]).collect());
    let (rows, targets) = ([&x[..], &tests].concat(), [&y[..], &truth].concat());
    let (training, testing): (Vec<usize>, Vec<usize>) =
        ((0..TRAIN).collect(), (TRAIN..SIMULATIONS).collect());
    let strengths = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0];
    let by_ridge = rmse(&ridge(&rows, &targets, &training, &testing, &strengths), &truth);

    // The prior is uniform on [0.1, 0.5].
    let scaled = |v: f64| (v - 0.3) / 0.115;
    let config = PosteriorConfig {
        parameters: 1,
        data: vec![x[0].len()],
        embedding: EmbeddingConfig::Mlp(MlpConfig {
            hidden: vec![128, 64],
            features: 8,
            activation: Activation::Silu,
            residual: false,
        }),
        flow: FlowConfig { kind: FlowKind::Maf, layers: 2, hidden: 16, blocks: 1, ..Default::default() },
    };
    let model = Posterior::new(&config, seed, &Device::Cpu)?;
    let pairs = Pairs { data: x, theta: y.iter().map(|&v| scaled(v)).collect(), noise: 0.2 };
    let rule = Rule::AdamW(AdamConfig { weight_decay: 1e-2, ..Default::default() });
    let optimizer = OptimizerConfig {
        rule,
        learning_rate: 1e-3,
        schedule: LearningRate::Cosine,
        warmup: 20,
        clip: Some(5.0),
        ..Default::default()
    };
    let settings = TrainConfig {
        batch: 64,
        iterations,
        optimizer,
        ema: vec![],
        sample_from: None,
        checkpoint_every: iterations,
        tensorboard: false,
        seed,
        ..Default::default()
    };
    let folder = tempfile::tempdir()?;
    Trainer::new(&model, &config, &pairs, &settings, folder.path(), serde_json::Value::Null)?
        .run(&mut |_| {})?;

    let (draws, width) = (256, tests[0].len());
    let data: Vec<f32> = tests.iter().flatten().map(|&v| v as f32).collect();
    let data = Tensor::from_vec(data, (tests.len(), width), &Device::Cpu)?;
    let theta = model.draws(&data, draws, &mut Rng::new(seed))?.squeeze(2)?.to_vec2::<f32>()?;
    let (mut means, mut inside) = (vec![], 0);
    for (row, truth) in theta.iter().zip(&truth) {
        // Within the prior.
        let mut row: Vec<f64> = row.iter().map(|&v| (0.3 + 0.115 * f64::from(v)).clamp(0.1, 0.5)).collect();
        row.sort_by(f64::total_cmp);
        means.push(row.iter().sum::<f64>() / draws as f64);
        let (low, high) = (row[draws * 16 / 100], row[draws * 84 / 100]);
        inside += usize::from((low..high).contains(truth));
    }
    Ok((rmse(&means, &truth), by_ridge, inside as f64 / truth.len() as f64))
}

/// Over five splits. Other noise (0.1 to 0.3) and lengths (400 to 800 steps) were tried on the same splits: the flow's error
/// was the lesser on each of them with each of these.
#[test]
fn a_flow_reads_omega_m_better_than_ridge_regression() -> Result<()> {
    let Some((inputs, omega)) = load()? else { return Ok(()) };
    let start = std::time::Instant::now();
    let (mut inside, splits) = (0.0, 5u32);
    for seed in 1..=splits {
        let (flow, ridge, coverage) = split(&inputs, &omega, u64::from(seed), 600)?;
        println!(
            "split {seed}: RMSE of Omega_m: flow {flow:.4}, ridge {ridge:.4}; {coverage:.3} of truths in the central 68 %"
        );
        ensure!(flow < ridge, "the flow's error {flow} is not below ridge regression's {ridge}");
        inside += coverage / f64::from(splits);
    }
    // The binomial deviation of as many independent simulations; those of several splits overlap.
    let deviation = (0.68 * 0.32 / (f64::from(splits) * 200.0)).sqrt();
    println!(
        "{inside:.3} of all truths, nominal 0.680, binomial deviation {deviation:.3}; {:.1} s",
        start.elapsed().as_secs_f64()
    );
    ensure!((inside - 0.68).abs() < 3.0 * deviation, "coverage {inside}");
    Ok(())
}
