//! What a model must beat: the mean of a pixel's target given its condition, and a lognormal field.

use anyhow::Result;
use halocast::core::fft::{RealFft, wavenumber};
use halocast::core::{Batch, Dataset, Map, Rng};
use ndarray::{Array2, ArrayD};

use super::ZooOptions;
use super::row::{Row, compare, maps, task, test_batch};
use crate::train::{DataConfig, Examples, RunConfig};

/// The baselines of a task on maps.
pub(super) fn rows(config: &RunConfig, options: &ZooOptions) -> Result<Vec<Row>> {
    let DataConfig::Maps(data) = &config.data else { return Ok(vec![]) };
    if !data.parameters.is_empty() {
        return Ok(vec![]);
    }
    let task = task(&config.data);
    let examples = Examples::new(&config.data, config.train.seed)?;
    let truth = test_batch(&examples, options.maps)?;
    let indices: Vec<usize> = (0..examples.train.len()).collect();
    let training = examples.train.batch(&indices, &mut Rng::new(0))?;
    let (name, samples) = match (&training.condition, &truth.condition) {
        (Some(from), Some(given)) => {
            let made = PixelMean::fit(from, &training.fields).apply(given, truth.fields.shape())?;
            (format!("per-pixel regression, {task}"), maps(&made, &examples)?)
        }
        _ => {
            let learned = maps(&training.fields, &examples)?;
            let n = truth.fields.shape()[0];
            let mut rng = Rng::new(config.train.seed).split_named("lognormal");
            (format!("lognormal field, {task}"), lognormal(&learned, n, &mut rng))
        }
    };
    let mut row = Row { name, task, ..Row::default() };
    compare(&samples, &truth as &Batch, &examples, &mut row)?;
    Ok(vec![row])
}

/// The mean of the target in equal shares of the condition's pixels, linear between their centres.
struct PixelMean {
    centres: Vec<f32>,
    means: Vec<f32>,
}

impl PixelMean {
    const SHARES: usize = 100;

    fn fit(from: &ArrayD<f32>, to: &ArrayD<f32>) -> Self {
        let mut pairs: Vec<(f32, f32)> = from.iter().copied().zip(to.iter().copied()).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let size = pairs.len().div_ceil(Self::SHARES).max(1);
        let mean = |part: &[(f32, f32)], of: fn(&(f32, f32)) -> f32| {
            (part.iter().map(|p| f64::from(of(p))).sum::<f64>() / part.len() as f64) as f32
        };
        let centres = pairs.chunks(size).map(|part| mean(part, |p| p.0)).collect();
        let means = pairs.chunks(size).map(|part| mean(part, |p| p.1)).collect();
        Self { centres, means }
    }

    fn at(&self, x: f32) -> f32 {
        let above = self.centres.partition_point(|c| *c < x);
        if above == 0 || above == self.centres.len() {
            return self.means[above.min(self.centres.len() - 1)];
        }
        let (a, b) = (self.centres[above - 1], self.centres[above]);
        let along = if b > a { (x - a) / (b - a) } else { 0.0 };
        self.means[above - 1] * (1.0 - along) + self.means[above] * along
    }

    fn apply(&self, from: &ArrayD<f32>, shape: &[usize]) -> Result<ArrayD<f32>> {
        let first = from.index_axis(ndarray::Axis(1), 0);
        let made: Vec<f32> = first.iter().map(|&x| self.at(x)).collect();
        let [n, _, ny, nx] = shape[..] else { anyhow::bail!("fields of shape {shape:?}, expected maps") };
        Ok(ArrayD::from_shape_vec(ndarray::IxDyn(&[n, 1, ny, nx]), made)?)
    }
}

/// Fields with random phases, the mean power of `maps` and the distribution of their pixels: Gaussian fields of that power
/// whose pixels are put at the ranks of the training pixels, and whose power is then put right again, in turn. Of maps of a
/// logarithm this is a lognormal field of the same P(k) and PDF.
///
/// # Source
/// Coles & Jones 1991 for lognormal fields; Schreiber & Schmitz 1996 for the alternation.
fn lognormal(maps: &[Map], n: usize, rng: &mut Rng) -> Vec<Map> {
    let [ny, nx] = maps[0].shape();
    let fft = RealFft::<f64>::new([1, ny, nx]);
    let half = nx / 2 + 1;
    let ring = |i: usize| {
        let (y, x) = (wavenumber(i / half, ny) as f64, (i % half) as f64);
        y.hypot(x).round() as usize
    };
    let rings = ny + nx;
    let mut power = vec![0.0f64; rings];
    let mut modes = vec![0.0f64; rings];
    let mut pixels: Vec<f32> = Vec::with_capacity(maps.len() * ny * nx);
    let mut spectrum = fft.spectrum();
    for map in maps {
        let real: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        fft.forward(&real, &mut spectrum);
        for (i, mode) in spectrum.iter().enumerate() {
            power[ring(i)] += mode.norm_sqr();
            modes[ring(i)] += 1.0;
        }
        pixels.extend(map.values.iter());
    }
    let target: Vec<f64> =
        power.iter().zip(&modes).map(|(p, m)| if *m > 0.0 { p / m } else { 0.0 }).collect();
    pixels.sort_by(f32::total_cmp);
    let at_rank = |rank: usize| f64::from(pixels[(2 * rank + 1) * pixels.len() / (2 * ny * nx)]);
    let field = |rng: &mut Rng| {
        let mut values: Vec<f64> = rng.normals(ny * nx).into_iter().map(f64::from).collect();
        let mut spectrum = fft.spectrum();
        for _ in 0..12 {
            // To the power, ring by ring: what the field's own modes scatter about it stays.
            fft.forward(&values, &mut spectrum);
            let (mut own, mut count) = (vec![0.0f64; rings], vec![0.0f64; rings]);
            for (i, mode) in spectrum.iter().enumerate() {
                own[ring(i)] += mode.norm_sqr();
                count[ring(i)] += 1.0;
            }
            for (i, mode) in spectrum.iter_mut().enumerate() {
                let mean = own[ring(i)] / count[ring(i)].max(1.0);
                *mode *= if mean > 0.0 { (target[ring(i)] / mean).sqrt() } else { 0.0 };
            }
            fft.inverse(&mut spectrum, &mut values);
            // To the distribution, rank by rank.
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
            order.into_iter().enumerate().for_each(|(rank, i)| values[i] = at_rank(rank));
        }
        let plane = Array2::from_shape_fn((ny, nx), |(y, x)| values[y * nx + x] as f32);
        Map { values: plane, ..maps[0].clone() }
    };
    (0..n).map(|_| field(rng)).collect()
}
