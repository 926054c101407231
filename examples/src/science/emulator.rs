//! Does a conditional diffusion model emulate maps at parameters it has not seen?

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use halocast::core::{Batch, Dataset, Map, Rng, write_whole};
use halocast::data::{read_npy_f32, write_npy};
use halocast::models::{CondSpec, ModelConfig, SampleOptions};
use halocast::stats::{PowerConvention, power_spectrum};
use ndarray::{ArrayD, Axis};
use plotters::style::RGBColor;
use serde::{Deserialize, Serialize};

use super::study::{mean_error, sampler, to_array, to_maps, trained};
use crate::chart::{Axes, Line, SAMPLES, TRUTH, chart};
use crate::console::{bar, peak_rss_mb};
use crate::picture::{Picture, Scale};
use crate::train::{DataConfig, Examples, RunConfig};

/// Samples drawn together.
const BATCH: usize = 30;

/// What is run, and where.
pub struct EmulatorOptions {
    /// The configuration of the conditional model.
    pub config: PathBuf,
    /// Changes to it.
    pub changes: Vec<String>,
    /// Where everything lies.
    pub out: PathBuf,
    /// The device.
    pub device: Device,
}

/// How far the mean P(k) that one predictor gives for a vector of parameters is from that of its simulation: the mean over
/// k of |ln P / P_truth|, averaged over the vectors of the test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerError {
    /// The predictor.
    pub name: String,
    /// Its error for P(k) of the overdensity.
    pub density: f64,
    /// Its standard error over vectors.
    pub density_error: f64,
    /// Its error for P(k) of the logarithm, which weighs voids and haloes alike.
    pub logarithm: f64,
    /// Its standard error over vectors.
    pub logarithm_error: f64,
    /// The fraction of vectors for which the emulator's P(k) of the overdensity is the closer one.
    pub beaten: Option<f64>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emulated {
    /// Vectors of the test set, and of the training set.
    pub vectors: [usize; 2],
    /// Maps drawn for each.
    pub maps: usize,
    /// The emulator first.
    pub errors: Vec<PowerError>,
    /// Seconds of training of the conditional and of the unconditional model.
    pub train_s: [f64; 2],
    /// Largest resident memory in MB.
    pub peak_mb: Option<f64>,
}

impl Emulated {
    /// The outcome as a table in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} unseen vectors of parameters ({} to learn from), {} maps of each\n\n\
             | P(k) from | error, overdensity | error, logarithm | emulator closer |\n|---|---|---|---|\n",
            self.vectors[0], self.vectors[1], self.maps
        );
        for e in &self.errors {
            let beaten = e.beaten.map_or(String::new(), |b| format!("{:.0} %", 100.0 * b));
            text += &format!(
                "| {} | {:.3} +- {:.3} | {:.3} +- {:.3} | {beaten} |\n",
                e.name, e.density, e.density_error, e.logarithm, e.logarithm_error
            );
        }
        text
    }
}

/// Trains the model with and without parameters, draws both, and compares.
///
/// # Errors
/// When the configuration is of another kind, a run fails, or the disk refuses.
pub fn emulator(options: &EmulatorOptions) -> Result<Emulated> {
    let mut config = RunConfig::read(&options.config, &options.changes)?;
    let (ModelConfig::Ddpm(model), DataConfig::Maps(data)) = (&mut config.model, &mut config.data) else {
        anyhow::bail!("{}: expected a ddpm on maps", options.config.display());
    };
    ensure!(!data.parameters.is_empty(), "{}: data.parameters is empty", options.config.display());
    data.folder = options.out.join("maps");
    model.unet.parameters = data.parameters.len();
    let mut blind = config.clone();
    if let (ModelConfig::Ddpm(model), DataConfig::Maps(data)) = (&mut blind.model, &mut blind.data) {
        model.unet.parameters = 0;
        data.parameters.clear();
    }
    let examples = Examples::new(&config.data, config.train.seed)?;
    let unconditional = Examples::new(&blind.data, blind.train.seed)?;

    let [train_set, test_set] = [&examples.train, &examples.test].map(|set| by_vector(set.as_ref()));
    let (training, testing) = (train_set?, test_set?);
    let each = testing.first().map_or(0, |v| v.maps.len());
    let rows = testing.iter().flat_map(|v| std::iter::repeat_n(v.parameters.clone(), each)).collect();
    let (samples, conditional_s) = draw("conditional", &config, &examples, Some(rows), options)?;
    let (pool, unconditional_s) = draw("unconditional", &blind, &unconditional, None, options)?;

    let scales = |values: &ArrayD<f32>| spectra(values, &examples);
    let truth = testing.iter().map(|v| scales(&v.stack()?)).collect::<Result<Vec<_>>>()?;
    let emulated = testing
        .iter()
        .enumerate()
        .map(|(i, _)| {
            let rows: Vec<usize> = (i * each..(i + 1) * each).collect();
            scales(&samples.select(Axis(0), &rows))
        })
        .collect::<Result<Vec<_>>>()?;
    let mean = scales(&pool)?;
    let nearest = testing
        .iter()
        .map(|v| {
            let distance = |u: &Vector| -> f32 {
                u.parameters.iter().zip(&v.parameters).map(|(a, b)| (a - b).powi(2)).sum()
            };
            let best = training.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            scales(&best.context("no training vector")?.stack()?)
        })
        .collect::<Result<Vec<_>>>()?;
    let blind_mean = vec![mean; testing.len()];
    let ours = distances(&emulated, &truth);
    let named = [
        ("the emulator", &emulated),
        ("an unconditional model", &blind_mean),
        ("the nearest training vector", &nearest),
    ];
    let errors = named.iter().enumerate().map(|(i, (name, predicted))| {
        let theirs = distances(predicted, &truth);
        let closer = ours.iter().zip(&theirs).filter(|(a, b)| a[0] < b[0]).count();
        let [(density, density_error), (logarithm, logarithm_error)] =
            [0, 1].map(|k| mean_error(theirs.iter().map(|d| d[k])));
        let beaten = (i > 0).then(|| closer as f64 / ours.len() as f64);
        PowerError { name: (*name).into(), density, density_error, logarithm, logarithm_error, beaten }
    });
    let errors = errors.collect();
    picture(&testing, &samples, &truth, &examples, options)?;
    let one = maps(&testing.first().context("no test vector")?.stack()?, &examples)?;
    let k = power_spectrum(&one[0], PowerConvention::default())?.k;
    chart_of_ratios(&k, &named, &truth, options)?;
    Ok(Emulated {
        vectors: [testing.len(), training.len()],
        maps: each,
        errors,
        train_s: [conditional_s, unconditional_s],
        peak_mb: peak_rss_mb(),
    })
}

/// The maps of one simulation, in the model's space.
struct Vector {
    parameters: Vec<f32>,
    maps: Vec<ArrayD<f32>>,
}

impl Vector {
    fn stack(&self) -> Result<ArrayD<f32>> {
        let views: Vec<_> = self.maps.iter().map(|m| m.view()).collect();
        Ok(ndarray::stack(Axis(0), &views)?)
    }
}

/// A data set by its vectors of parameters.
fn by_vector(set: &dyn Dataset) -> Result<Vec<Vector>> {
    let indices: Vec<usize> = (0..set.len()).collect();
    let Batch { fields, parameters, .. } = set.batch(&indices, &mut Rng::new(0))?;
    let parameters = parameters.context("a data set without parameters")?;
    let mut vectors: Vec<Vector> = Vec::new();
    for (map, row) in fields.axis_iter(Axis(0)).zip(parameters.rows()) {
        match vectors.last_mut().filter(|v| v.parameters.iter().eq(row.iter())) {
            Some(vector) => vector.maps.push(map.to_owned()),
            None => vectors.push(Vector { parameters: row.to_vec(), maps: vec![map.to_owned()] }),
        }
    }
    Ok(vectors)
}

/// Trains, and draws maps in the model's space: one for each row of parameters, or 300 without.
fn draw(
    name: &str,
    config: &RunConfig,
    examples: &Examples,
    rows: Option<Vec<Vec<f32>>>,
    options: &EmulatorOptions,
) -> Result<(ArrayD<f32>, f64)> {
    let folder = options.out.join(name);
    let found = trained(name, config, examples, &folder, &options.device)?;
    let path = folder.join(format!("samples-{:08}.npy", found.step));
    if !path.exists() {
        let model = found.model.generative().context("a model that draws no samples")?;
        let sampler = sampler(config)?;
        let n = rows.as_ref().map_or(300, Vec::len);
        let progress = bar("sampling", 0);
        let tick = |done: u64, total: u64| {
            progress.set_length(total);
            progress.set_position(done);
        };
        let sampling = SampleOptions { sampler, batch: BATCH, progress: &tick, ..Default::default() };
        let cond = match (model.condition(), rows) {
            (CondSpec::Vector(width), Some(rows)) => {
                let flat: Vec<f32> = rows.into_iter().flatten().collect();
                let rows = candle_core::Tensor::from_vec(flat, (n, width), &options.device)?;
                Some(halocast::models::Cond::Vector(rows))
            }
            _ => None,
        };
        let mut rng = Rng::new(config.train.seed).split_named("emulator");
        let drawn = model.sample(n, cond.as_ref(), &sampling, &mut rng)?;
        write_npy(&path, &to_array(&drawn)?)?;
        progress.finish();
    }
    Ok((read_npy_f32(&path)?, found.seconds))
}

/// P(k) of the overdensity, and of the natural logarithm.
type Spectra = [Vec<f64>; 2];

/// The spectra of maps in the model's space, averaged over them.
fn spectra(values: &ArrayD<f32>, examples: &Examples) -> Result<Spectra> {
    let mut sums: Spectra = [vec![], vec![]];
    let n = values.shape()[0] as f64;
    for map in maps(values, examples)? {
        let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / map.values.len() as f64;
        let density = map.map_values(|v| (f64::from(v) / mean - 1.0) as f32);
        let logarithm = map.map_values(|v| (f64::from(v) / mean).max(1e-12).ln() as f32);
        for (sum, map) in sums.iter_mut().zip([density, logarithm]) {
            let power = power_spectrum(&map, PowerConvention::default())?.power;
            sum.resize(power.len(), 0.0);
            sum.iter_mut().zip(power).for_each(|(s, p)| *s += p / n);
        }
    }
    Ok(sums)
}

/// Maps in their unit.
fn maps(values: &ArrayD<f32>, examples: &Examples) -> Result<Vec<Map>> {
    let axis = examples.scales.fields.first().context("no field")?;
    let side = examples.scales.box_side.unwrap_or(1.0);
    to_maps(values, &axis.name, side, |v| axis.transform.inverse(v))
}

/// The mean over k of |ln P / P_truth|, of both spectra of each vector.
fn distances(predicted: &[Spectra], truth: &[Spectra]) -> Vec<[f64; 2]> {
    let distance = |a: &[f64], b: &[f64]| {
        let pairs: Vec<f64> =
            a.iter().zip(b).map(|(a, b)| (a / b).ln().abs()).filter(|d| d.is_finite()).collect();
        pairs.iter().sum::<f64>() / pairs.len().max(1) as f64
    };
    predicted.iter().zip(truth).map(|(a, b)| [0, 1].map(|k| distance(&a[k], &b[k]))).collect()
}

/// Truth above two samples for six vectors, from the least power to the most.
fn picture(
    testing: &[Vector],
    samples: &ArrayD<f32>,
    truth: &[Spectra],
    examples: &Examples,
    options: &EmulatorOptions,
) -> Result<()> {
    let mut order: Vec<usize> = (0..testing.len()).collect();
    let level = |i: usize| truth[i][0].iter().map(|p| p.ln()).sum::<f64>();
    order.sort_by(|&a, &b| level(a).total_cmp(&level(b)));
    let count = testing.first().map_or(0, |v| v.maps.len());
    let picked =
        |n: usize| -> Vec<usize> { (0..n).map(|i| order[(2 * i + 1) * order.len() / (2 * n)]).collect() };
    let columns = picked(6.min(testing.len()));
    let of_truth = columns.iter().map(|&i| testing[i].maps[0].clone().insert_axis(Axis(0)));
    let of_truth = of_truth.collect::<Vec<_>>();
    let of_samples: Vec<_> = (0..2)
        .flat_map(|row| columns.iter().map(move |&i| i * count + row.min(count - 1)))
        .map(|i| samples.index_axis(Axis(0), i).to_owned().insert_axis(Axis(0)))
        .collect();
    let mut shown = Vec::new();
    for one in of_truth.iter().chain(&of_samples) {
        shown.extend(maps(one, examples)?);
    }
    let scale = Scale::logarithmic(&shown);
    Picture::grid(&shown.iter().collect::<Vec<_>>(), columns.len(), 4, scale)
        .save(&options.out.join("maps.png"))?;

    Ok(())
}

/// ln(P / P_truth) of each predictor, mean and scatter over the vectors of the test set.
fn chart_of_ratios(
    k: &[f64],
    named: &[(&str, &Vec<Spectra>)],
    truth: &[Spectra],
    options: &EmulatorOptions,
) -> Result<()> {
    let colours = [SAMPLES, TRUTH, RGBColor(90, 90, 90)];
    let curves: Vec<(Vec<f64>, Vec<f64>)> = named
        .iter()
        .map(|(_, predicted)| {
            let at = |j: usize| {
                let ratios = predicted.iter().zip(truth).map(move |(a, b)| (a[0][j] / b[0][j]).ln());
                let (mean, error) = mean_error(ratios);
                (mean, error * (truth.len() as f64).sqrt())
            };
            (0..k.len()).map(at).unzip()
        })
        .collect();
    let lines: Vec<Line<'_>> = named
        .iter()
        .zip(&curves)
        .zip(colours)
        .map(|(((name, _), (mean, scatter)), colour)| Line {
            name,
            x: k,
            y: mean,
            scatter: Some(scatter),
            colour,
        })
        .collect();
    let axes =
        Axes { x_label: "k [h/Mpc]", y_label: "ln P / P of the simulation", log_x: true, ..Axes::default() };
    let svg = chart((820, 480), axes, &lines)?;
    write_whole(options.out.join("power.svg"), |w| std::io::Write::write_all(w, svg.as_bytes()))?;
    Ok(())
}
