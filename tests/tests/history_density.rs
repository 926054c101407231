//! A density of real histories: the star-formation rates of CAMELS given the parameters of their simulations.
//!
//! The inputs are the logarithms of 100 rates; 800 simulations train, 200 test. A conditional flow of the whitened
//! logarithms is compared, in nats of the held-out histories, with the normal distribution of the training set's full
//! covariance, which is near what the flow begins as, and with the normal distribution given the parameters. Five sizes of the
//! flow were tried on this split: each was above the first.

#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use halocast::core::{Batch, Dataset, Rng};
use halocast::data::read_npy_f64;
use halocast::models::embedding::{EmbeddingConfig, MlpConfig};
use halocast::models::flow::{Flow, FlowConfig, FlowKind};
use halocast::models::{Cond, Configured, LogProb};
use halocast::train::{AdamConfig, LearningRate, OptimizerConfig, Rule, TrainConfig, Trainer};
use halocast_tests::reference_folder;
use ndarray::{Array2, ArrayD};

const SIMULATIONS: usize = 1000;
const TRAIN: usize = 800;
const BINS: usize = 100;
const PARAMETERS: usize = 6;

/// Whitened histories and scaled parameters.
struct Histories {
    x: Vec<Vec<f64>>,
    theta: Vec<Vec<f64>>,
    noise: f32,
}

impl Dataset for Histories {
    fn len(&self) -> usize {
        self.x.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        vec![BINS]
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> halocast::core::Result<Batch> {
        let noise = rng.normals(indices.len() * BINS);
        let values = indices.iter().flat_map(|&i| &self.x[i]).zip(noise);
        let values = values.map(|(&v, n)| v as f32 + self.noise * n).collect();
        let fields = ArrayD::from_shape_vec(vec![indices.len(), BINS], values).unwrap();
        let theta =
            Array2::from_shape_fn((indices.len(), PARAMETERS), |(i, j)| self.theta[indices[i]][j] as f32);
        Ok(Batch::new(fields, Some(theta)))
    }
}

/// The mean of rows and the lower factor of Cholesky of their covariance.
fn factor(rows: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let (n, dim) = (rows.len() as f64, rows[0].len());
    let mean: Vec<f64> = (0..dim).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
    let mut a = vec![vec![0.0; dim]; dim];
    for i in 0..dim {
        for j in 0..=i {
            a[i][j] = rows.iter().map(|r| (r[i] - mean[i]) * (r[j] - mean[j])).sum::<f64>() / (n - 1.0);
        }
    }
    for i in 0..dim {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            a[i][j] = if i == j { (a[i][i] - sum).sqrt() } else { (a[i][j] - sum) / a[j][j] };
        }
    }
    (mean, a)
}

/// Rows of standard normal numbers, where the rows are normal of that mean and factor.
fn whiten(rows: &[Vec<f64>], mean: &[f64], lower: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let one = |row: &Vec<f64>| {
        let mut z = vec![0.0; row.len()];
        for i in 0..row.len() {
            let sum: f64 = (0..i).map(|k| lower[i][k] * z[k]).sum();
            z[i] = (row[i] - mean[i] - sum) / lower[i][i];
        }
        z
    };
    rows.iter().map(one).collect()
}

/// The mean of ln N(z; 0, I) over rows.
fn log_normal(rows: &[Vec<f64>]) -> f64 {
    let half = 0.5 * std::f64::consts::TAU.ln();
    rows.iter().flatten().map(|z| -0.5 * z * z - half).sum::<f64>() / rows.len() as f64
}

/// ln of the product of the last `count` diagonal numbers.
fn log_volume(lower: &[Vec<f64>], count: usize) -> f64 {
    (lower.len() - count..lower.len()).map(|i| lower[i][i].ln()).sum()
}

#[test]
fn a_conditional_flow_describes_histories_better_than_a_normal_distribution() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_DATA", "data") else { return Ok(()) };
    let table = read_npy_f64(folder.join("camels_sfrh/SFRH_IllustrisTNG.npy"))?;
    ensure!(table.shape() == [SIMULATIONS, BINS], "{:?}", table.shape());
    let rates: Vec<Vec<f64>> = table.outer_iter().map(|row| row.iter().map(|v| v.ln()).collect()).collect();
    let text = std::fs::read_to_string(folder.join("camels_sfrh/params_IllustrisTNG.txt"))?;
    let number = |word: &str| word.parse::<f64>().with_context(|| word.to_owned());
    let rows = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    let mut theta = rows
        .map(|line| line.split_whitespace().take(PARAMETERS).map(number).collect::<Result<Vec<f64>>>())
        .collect::<Result<Vec<_>>>()?;
    ensure!(theta.len() == SIMULATIONS, "{} parameters", theta.len());
    // Feedback is uniform in the logarithm.
    theta.iter_mut().for_each(|t| t[2..].iter_mut().for_each(|v| *v = v.ln()));

    let mut order: Vec<usize> = (0..SIMULATIONS).collect();
    Rng::new(1).shuffle(&mut order);
    let pick = |rows: &[Vec<f64>], part: &[usize]| part.iter().map(|&i| rows[i].clone()).collect::<Vec<_>>();
    let (train, test) = order.split_at(TRAIN);
    let (mean, lower) = factor(&pick(&rates, train));
    let (x, held) = (whiten(&pick(&rates, train), &mean, &lower), whiten(&pick(&rates, test), &mean, &lower));
    let (at, scale) = factor(&pick(&theta, train));
    let scaled = |part: &[usize]| -> Vec<Vec<f64>> {
        let one = |t: Vec<f64>| (0..PARAMETERS).map(|j| (t[j] - at[j]) / scale[j][j]).collect();
        pick(&theta, part).into_iter().map(one).collect()
    };
    // The volume of the whitening is common to the flow and the normal distribution.
    let volume = log_volume(&lower, BINS);
    let normal = log_normal(&held) - volume;
    // Normal given the parameters: the histories behind the parameters in one joint normal distribution.
    let joint = |part: &[usize]| -> Vec<Vec<f64>> {
        part.iter().map(|&i| [&theta[i][..], &rates[i]].concat()).collect()
    };
    let (joint_mean, joint_lower) = factor(&joint(train));
    let mut given = whiten(&joint(test), &joint_mean, &joint_lower);
    given.iter_mut().for_each(|row| drop(row.drain(..PARAMETERS)));
    let linear = log_normal(&given) - log_volume(&joint_lower, BINS);

    let config = FlowConfig {
        event: vec![BINS],
        kind: FlowKind::RealNvp,
        layers: 4,
        hidden: 64,
        blocks: 1,
        parameters: PARAMETERS,
        embedding: Some(EmbeddingConfig::Mlp(MlpConfig {
            hidden: vec![32],
            features: 16,
            ..Default::default()
        })),
        ..Default::default()
    };
    let model = Flow::new(&config, 1, &Device::Cpu)?;
    let data = Histories { x, theta: scaled(train), noise: 0.3 };
    let iterations = 600;
    let rule = Rule::AdamW(AdamConfig { weight_decay: 0.3, ..Default::default() });
    let optimizer = OptimizerConfig {
        rule,
        learning_rate: 1e-3,
        schedule: LearningRate::Cosine,
        warmup: 20,
        clip: Some(10.0),
        ..Default::default()
    };
    let settings = TrainConfig {
        batch: 64,
        iterations,
        optimizer,
        checkpoint_every: iterations,
        tensorboard: false,
        ..Default::default()
    };
    let folder = tempfile::tempdir()?;
    let start = std::time::Instant::now();
    Trainer::new(&model, &config, &data, &settings, folder.path(), serde_json::Value::Null)?
        .run(&mut |_| {})?;
    let tensor = |rows: &[Vec<f64>]| -> Result<Tensor> {
        let values: Vec<f32> = rows.iter().flatten().map(|&v| v as f32).collect();
        Ok(Tensor::from_vec(values, (rows.len(), rows[0].len()), &Device::Cpu)?)
    };
    let nats = |x: &[Vec<f64>], theta: &[Vec<f64>]| -> Result<f64> {
        let cond = Cond::Vector(tensor(theta)?);
        let log_prob = model.log_prob(&tensor(x)?, Some(&cond), &mut Rng::new(1))?;
        Ok(f64::from(log_prob.mean_all()?.to_scalar::<f32>()?) - volume)
    };
    let (seen, flow) = (nats(&data.x, &data.theta)?, nats(&held, &scaled(test))?);
    println!(
        "nats a held-out history: flow {flow:.2} (training set {seen:.2}), normal of full covariance {normal:.2}, normal given \
         the parameters {linear:.2}; {:.1} s",
        start.elapsed().as_secs_f64()
    );
    ensure!(flow > normal.max(linear), "the flow's {flow} nats are not above {normal} and {linear}");
    Ok(())
}
