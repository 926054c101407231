//! Can a diffusion model of interstellar dust take the noise out of a map it has not seen?

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use halocast::core::{Map, Rng, write_whole};
use halocast::data::{read_fits_map, write_npy};
use halocast::maps::Dihedral;
use halocast::mock::DustConfig;
use halocast::models::diffusion::{Entry, denoise_from};
use halocast::models::{Denoiser, Model, ModelConfig};
use ndarray::{ArrayD, Axis, IxDyn, s};
use serde::{Deserialize, Serialize};

use super::smoothing::smoothed;
use super::study::{mean_error, to_array, to_maps, to_tensor, trained};
use crate::console::{bar, peak_rss_mb, say};
use crate::picture::{Picture, Scale};
use crate::train::{DataConfig, Examples, RunConfig};

/// Noise over the mean of a patch.
const NOISE: f64 = 0.2;
/// Maps drawn for each noisy one.
const DRAWS: usize = 8;
/// Steps of the chain below the level of the noise.
const STEPS: usize = 100;
/// Width in pixels of the filter that tells filaments, and faint from bright, in the truth.
const BACKGROUND: f64 = 4.0;

/// What is run, and where.
pub struct DustOptions {
    /// Images of one kind, in FITS; mock dust when there are none.
    pub images: Vec<PathBuf>,
    /// Images that are not learned from at all.
    pub unseen: Vec<PathBuf>,
    /// The configuration of the model.
    pub config: PathBuf,
    /// Changes to it.
    pub changes: Vec<String>,
    /// Where everything lies.
    pub out: PathBuf,
    /// The device.
    pub device: Device,
}

/// What one way of taking out noise does, averaged over patches, with standard errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Denoised {
    /// The way.
    pub name: String,
    /// The root mean square error of the noisy patch over that of the result, in the faintest quarter of the pixels.
    pub faint: (f64, f64),
    /// The same over all pixels.
    pub all: (f64, f64),
    /// The correlation of the residual, result - truth, with the filaments: the truth less itself smoothed by four pixels.
    pub correlation: (f64, f64),
}

/// The outcome on one set of patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DustTest {
    /// What they are cut from.
    pub name: String,
    /// Their number.
    pub patches: usize,
    /// The ways.
    pub ways: Vec<Denoised>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DustFound {
    /// Patches to learn from, each in eight orientations.
    pub training: usize,
    /// On parts of the same images, and on images of another kind.
    pub tests: Vec<DustTest>,
    /// Seconds of training.
    pub train_s: f64,
    /// Largest resident memory in MB.
    pub peak_mb: Option<f64>,
}

impl DustFound {
    /// The outcome as tables in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for test in &self.tests {
            text += &format!(
                "{} patches of {}\n\n| result | RMSE falls, faint quarter | RMSE falls, all | residual with filaments |\n\
                 |---|---|---|---|\n",
                test.patches, test.name
            );
            for way in &test.ways {
                let number = |(mean, error): (f64, f64)| format!("{mean:.2} +- {error:.2}");
                text += &format!(
                    "| {} | {} | {} | {} |\n",
                    way.name,
                    number(way.faint),
                    number(way.all),
                    number(way.correlation)
                );
            }
            text.push('\n');
        }
        text
    }
}

/// Learns patches of the left three quarters of images, and denoises patches of the right quarter.
///
/// # Errors
/// When an image cannot be read or is too small, the configuration is of another model, or the disk refuses.
pub fn dust(options: &DustOptions) -> Result<DustFound> {
    let mut config = RunConfig::read(&options.config, &options.changes)?;
    let (ModelConfig::Ddpm(network), DataConfig::Arrays(data)) = (&config.model, &mut config.data) else {
        bail!("{}: expected a ddpm on arrays", options.config.display());
    };
    let [ny, nx] = network.size[..] else { bail!("model.size is {:?}, expected two sides", network.size) };
    ensure!(nx == ny, "model.size is [{ny}, {nx}], expected a square");
    let images = match options.images.is_empty() {
        true => mock_images()?,
        false => read(&options.images)?,
    };
    let (mut learn, mut test) = (Vec::new(), Vec::new());
    for (name, image) in &images {
        let border = image.shape()[1] * 3 / 4;
        learn.extend(patches(name, image, 0..border, nx, nx * 3 / 8)?);
        test.extend(patches(name, image, border..image.shape()[1], nx, nx)?);
    }
    data.fields = options.out.join("patches.npy");
    if !data.fields.exists() {
        write_npy(&data.fields, &in_all_orientations(&learn))?;
    }
    say(format!("{} patches to learn, {} to denoise", learn.len(), test.len()));
    let examples = Examples::new(&config.data, config.train.seed)?;
    let found = trained("dust", &config, &examples, &options.out.join("run"), &options.device)?;
    let Model::Ddpm(model) = &found.model else {
        bail!("the run in {} is of another model", options.out.display())
    };

    let kind = if options.images.is_empty() { "mock dust" } else { "the same images" };
    let mut tests = vec![denoise_all(kind, &test, model.as_ref(), config.train.seed, &options.out)?];
    if !options.unseen.is_empty() {
        let mut unseen = Vec::new();
        for (name, image) in &read(&options.unseen)? {
            unseen.extend(patches(name, image, 0..image.shape()[1], nx, nx)?);
        }
        tests.push(denoise_all("other images", &unseen, model.as_ref(), config.train.seed, &options.out)?);
    }
    Ok(DustFound { training: learn.len(), tests, train_s: found.seconds, peak_mb: peak_rss_mb() })
}

/// Sixteen mock maps.
fn mock_images() -> Result<Vec<(String, Map)>> {
    let map =
        |seed| Ok((format!("mock dust {seed}"), DustConfig { size: 256, seed, ..Default::default() }.map()?));
    (0..16).map(map).collect()
}

fn read(paths: &[PathBuf]) -> Result<Vec<(String, Map)>> {
    paths.iter().map(|path| Ok((path.display().to_string(), read_fits_map(path)?))).collect()
}

/// Square patches of `size` pixels from some columns of an image; those with a pixel that is no number are left out.
fn patches(
    name: &str,
    image: &Map,
    columns: std::ops::Range<usize>,
    size: usize,
    stride: usize,
) -> Result<Vec<Map>> {
    let rows = image.shape()[0];
    ensure!(
        rows >= size && columns.len() >= size,
        "{name}: {rows} rows and {} columns, expected at least {size}",
        columns.len()
    );
    let mut cut = Vec::new();
    for y in (0..=rows - size).step_by(stride) {
        for x in (columns.start..=columns.end - size).step_by(stride) {
            let values = image.values.slice(s![y..y + size, x..x + size]).to_owned();
            if values.iter().all(|v| v.is_finite()) {
                cut.push(Map { periodic: false, ..Map::square("dust", values, size as f64) });
            }
        }
    }
    Ok(cut)
}

/// Every patch in its eight orientations, from -1 at its smallest to 1 at its largest value: `[patch, 1, y, x]`.
fn in_all_orientations(maps: &[Map]) -> ArrayD<f32> {
    let size = maps.first().map_or([0, 0], Map::shape);
    let mut all = ArrayD::zeros(IxDyn(&[8 * maps.len(), 1, size[0], size[1]]));
    let turned = maps.iter().flat_map(|map| Dihedral::all().map(|d| d.apply(map)));
    for (map, mut out) in turned.zip(all.axis_iter_mut(Axis(0))) {
        let (scale, shift) = to_range(&map);
        out.index_axis_mut(Axis(0), 0).assign(&map.values.mapv(|v| v * scale - shift));
    }
    all
}

/// The factor and the shift that bring a map to -1 to 1.
fn to_range(map: &Map) -> (f32, f32) {
    let (low, high) =
        map.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    let scale = 2.0 / (high - low).max(f32::MIN_POSITIVE);
    (scale, low * scale + 1.0)
}

/// Each patch with noise, denoised in four ways.
fn denoise_all(name: &str, patches: &[Map], model: &dyn Denoiser, seed: u64, out: &Path) -> Result<DustTest> {
    ensure!(!patches.is_empty(), "{name}: no patch without missing pixels");
    let rng = Rng::new(seed).split_named("dust");
    let progress = bar("denoising", patches.len() as u64);
    let ways = [
        "diffusion, one draw",
        "diffusion, mean of eight draws",
        "Gaussian filter, same factor",
        "Gaussian filter, best",
    ];
    let mut numbers: Vec<Vec<[f64; 3]>> = vec![Vec::new(); ways.len()];
    let mut shown: Option<(f64, Vec<Map>)> = None;
    for (i, truth) in patches.iter().enumerate() {
        let mut rng = rng.split(i as u64);
        let mean = truth.values.iter().map(|&v| f64::from(v)).sum::<f64>() / truth.values.len() as f64;
        ensure!(mean > 0.0, "{name}: patch {i} has the mean {mean}, expected intensities above zero");
        let sigma = NOISE * mean;
        let mut noisy = truth.clone();
        noisy.values.iter_mut().for_each(|v| *v += (sigma * rng.normal()) as f32);
        let (scale, shift) = to_range(&noisy);
        let scaled = noisy.map_values(|v| v * scale - shift);
        let entered = to_tensor(std::iter::repeat_n(&scaled, DRAWS), model.device())?;
        let level = f64::from(scale) * sigma;
        let drawn = denoise_from(model, &entered, level, Entry::Consistent, STEPS, 1.0, None, &mut rng)?;
        let drawn = to_maps(&to_array(&drawn)?, "dust", truth.extent[0], |v| (v + shift) / scale)?;
        let mut averaged = drawn[0].clone();
        for (p, value) in averaged.values.iter_mut().enumerate() {
            let at = (p / truth.shape()[1], p % truth.shape()[1]);
            *value = drawn.iter().map(|m| m.values[at]).sum::<f32>() / DRAWS as f32;
        }
        let judge = Judge::new(truth, &noisy);
        let factor = judge.factors(&drawn[0])[0];
        // The widest filter whose gain in the faint part does not pass the model's, and the one of the least error.
        let widths: Vec<f64> = (1..=60).map(|w| 0.1 * f64::from(w)).collect();
        let filtered: Vec<Map> = widths.iter().map(|&w| smoothed(&noisy, w)).collect();
        let gains: Vec<[f64; 3]> = filtered.iter().map(|m| judge.factors(m)).collect();
        let same = gains.iter().position(|g| g[0] >= factor).unwrap_or(gains.len() - 1);
        let best = (0..gains.len()).max_by(|&a, &b| gains[a][1].total_cmp(&gains[b][1])).unwrap_or(0);
        let results = [&drawn[0], &averaged, &filtered[same], &filtered[best]];
        for (row, result) in numbers.iter_mut().zip(results) {
            row.push(judge.factors(result));
        }
        // The picture is of the patch with the strongest filaments.
        let contrast = judge.contrast / mean;
        if shown.as_ref().is_none_or(|(c, _)| contrast > *c) {
            let mut maps = vec![truth.clone(), noisy.clone()];
            maps.extend(results.map(Clone::clone));
            shown = Some((contrast, maps));
        }
        progress.set_position(i as u64 + 1);
    }
    progress.finish();
    let (_, maps) = shown.context("no patch")?;
    picture(&maps, &out.join(format!("{}.png", name.replace(' ', "-"))))?;
    let ways = ways.iter().zip(&numbers).map(|(name, rows)| {
        let [faint, all, correlation] = [0, 1, 2].map(|k| mean_error(rows.iter().map(|r| r[k])));
        Denoised { name: (*name).into(), faint, all, correlation }
    });
    Ok(DustTest { name: name.into(), patches: patches.len(), ways: ways.collect() })
}

/// What results are held against.
struct Judge<'a> {
    truth: &'a Map,
    filaments: Map,
    faint: Vec<bool>,
    noise: [f64; 2],
    contrast: f64,
}

impl<'a> Judge<'a> {
    fn new(truth: &'a Map, noisy: &Map) -> Self {
        let background = smoothed(truth, BACKGROUND);
        let mut levels: Vec<f32> = background.values.iter().copied().collect();
        levels.sort_by(f32::total_cmp);
        let border = levels[levels.len() / 4];
        let faint = background.values.iter().map(|v| *v <= border).collect();
        let filaments = Map { values: &truth.values - &background.values, ..truth.clone() };
        let contrast = (filaments.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
            / filaments.values.len() as f64)
            .sqrt();
        let mut judge = Self { truth, filaments, faint, noise: [1.0; 2], contrast };
        judge.noise = judge.errors(noisy);
        judge
    }

    /// Root mean square errors, of the faint pixels and of all.
    fn errors(&self, result: &Map) -> [f64; 2] {
        let squares = result.values.iter().zip(&self.truth.values).map(|(a, b)| f64::from(a - b).powi(2));
        let (mut faint, mut count, mut all) = (0.0, 0.0, 0.0);
        for (square, &is_faint) in squares.zip(&self.faint) {
            all += square;
            if is_faint {
                faint += square;
                count += 1.0;
            }
        }
        [(faint / f64::max(count, 1.0)).sqrt(), (all / self.faint.len() as f64).sqrt()]
    }

    /// By what the errors fell, and the correlation of the residual with the filaments.
    fn factors(&self, result: &Map) -> [f64; 3] {
        let [faint, all] = self.errors(result);
        let residual = result.values.iter().zip(&self.truth.values).map(|(a, b)| f64::from(a - b));
        let filaments = self.filaments.values.iter().map(|&v| f64::from(v));
        [self.noise[0] / faint, self.noise[1] / all, correlation(residual.zip(filaments))]
    }
}

/// Pearson's coefficient.
fn correlation(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = pairs.clone().count() as f64;
    let (a, b) = pairs.clone().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let sums = pairs.fold([0.0; 3], |[xx, yy, xy], (x, y)| {
        [xx + (x - a).powi(2), yy + (y - b).powi(2), xy + (x - a) * (y - b)]
    });
    sums[2] / (sums[0] * sums[1]).sqrt()
}

/// Truth, noise and the four results above their residuals.
fn picture(maps: &[Map], path: &Path) -> Result<()> {
    let zoom = (192 / maps[0].shape()[0]).max(1);
    let scale = Scale::covering(&maps[..1]);
    let above = Picture::grid(&maps.iter().collect::<Vec<_>>(), maps.len(), zoom, scale);
    let residual = |map: &Map| Map { values: &map.values - &maps[0].values, ..map.clone() };
    let residuals: Vec<Map> = maps[1..].iter().map(residual).collect();
    let scale =
        Scale::covering(&residuals[..1]).about_zero().with_colours(crate::picture::Colours::DIVERGING);
    let below = Picture::grid(&residuals.iter().collect::<Vec<_>>(), residuals.len(), zoom, scale);
    above.save(path)?;
    below.save(&path.with_extension("residuals.png"))?;
    Ok(write_whole(path.with_extension("txt"), |w| {
        std::io::Write::write_all(
            w,
            b"truth, with noise, one draw, mean of eight draws, Gaussian filter of the same factor, best Gaussian filter; \
              residuals of all but the truth\n",
        )
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_do_not_cross_the_border() {
        let values = ndarray::Array2::from_shape_fn((40, 64), |(_, x)| x as f32);
        let image = Map::square("dust", values, 1.0);
        let left = patches("a", &image, 0..48, 16, 8).unwrap();
        assert_eq!(left.len(), 4 * 5);
        assert!(left.iter().all(|p| p.values.iter().all(|v| *v < 48.0)));
        let right = patches("a", &image, 48..64, 16, 16).unwrap();
        assert!(right.len() == 2 && right.iter().all(|p| p.values.iter().all(|v| *v >= 48.0)));
        assert!(patches("a", &image, 60..64, 16, 16).unwrap_err().to_string().contains("4 columns"));
    }

    #[test]
    fn the_judge_knows_the_truth() {
        let truth = DustConfig { size: 64, ..Default::default() }.map().unwrap();
        let mut rng = Rng::new(1);
        let mut noisy = truth.clone();
        noisy.values.iter_mut().for_each(|v| *v += 0.2 * rng.normal() as f32);
        let judge = Judge::new(&truth, &noisy);
        // Half the noise is half the error; white noise knows nothing of filaments.
        let half = Map { values: (&noisy.values + &truth.values) / 2.0, ..truth.clone() };
        let [faint, all, correlation] = judge.factors(&half);
        assert!((faint - 2.0).abs() < 1e-3 && (all - 2.0).abs() < 1e-3, "{faint} {all}");
        assert!(correlation.abs() < 4.0 / 64.0, "{correlation}");
        // What is smoothed has lost its filaments: the residual is their negative.
        let [.., correlation] = judge.factors(&smoothed(&truth, BACKGROUND));
        assert!(correlation < -0.999, "{correlation}");
        assert_eq!(judge.faint.iter().filter(|f| **f).count(), 64 * 64 / 4 + 1);
    }
}
