//! Mock galaxy spectra as files to train on, and real ones on the same pixels.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast::core::{Dataset, Rng, write_whole};
use halocast::data::{read_sdss_spectrum, write_npy};
use halocast::mock::{LogGrid, SpectralLibrary, SpectrumPopulation};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::by_rows;
use crate::train::{ArraysConfig, DataConfig, Examples, Scales};

/// Pixels of a spectrum, each the mean of [`BIN`] of the survey's.
pub(super) const PIXELS: usize = 240;
/// Pixels of the survey in one.
const BIN: usize = 16;
/// The labels of a spectrum: redshift, log10 of the time scale of star formation in Gyr, whether it is red.
const LABELS: usize = 3;

/// A set of spectra: its files, and what is in them on the model's scale.
pub(super) struct Spectra {
    folder: PathBuf,
    pub train: Array2<f32>,
    pub test: Array2<f32>,
    /// Whether each of the unseen is of the red sequence.
    pub red: Vec<bool>,
    pub scales: Scales,
}

impl Spectra {
    /// Makes `count` spectra of a mock population under `folder`, where they are not yet.
    pub(super) fn make(count: usize, seed: u64, folder: &Path) -> Result<Self> {
        let population = SpectrumPopulation { seed, ..Default::default() };
        let recipe = serde_json::to_string_pretty(&(env!("CARGO_PKG_VERSION"), population, count, PIXELS))?;
        let recorded = folder.join("spectra.json");
        if !std::fs::read_to_string(&recorded).is_ok_and(|old| old == recipe) {
            let library = SpectralLibrary::new();
            let one = |i: usize| -> Result<(Vec<f32>, [f32; LABELS])> {
                let config = population.spectrum(i as u64)?;
                let labels = [config.redshift, config.timescale.log10(), f64::from(config.timescale <= 1.0)];
                Ok((binned(&library.spectrum(&config)?.flux)?, labels.map(|v| v as f32)))
            };
            let made = (0..count).into_par_iter().map(one).collect::<Result<Vec<_>>>()?;
            let spectra = Array2::from_shape_fn((count, PIXELS), |(i, p)| made[i].0[p]);
            let labels = Array2::from_shape_fn((count, LABELS), |(i, l)| made[i].1[l]);
            write_npy(folder.join("labels.npy"), &labels.into_dyn())?;
            write_npy(folder.join("spectra.npy"), &spectra.clone().into_dyn())?;
            write_npy(folder.join("spectra-channel.npy"), &spectra.insert_axis(Axis(1)).into_dyn())?;
            write_whole(&recorded, |w| std::io::Write::write_all(w, recipe.as_bytes()))?;
        }
        let empty = Array2::zeros((0, 0));
        let scales =
            Scales { fields: vec![], condition: vec![], parameters: vec![], last: true, box_side: None };
        let set = Self { folder: folder.into(), train: empty.clone(), test: empty, red: vec![], scales };
        let examples = Examples::new(&DataConfig::Arrays(set.labelled()), seed)?;
        let whole = |set: &dyn Dataset| {
            let indices: Vec<usize> = (0..set.len()).collect();
            set.batch(&indices, &mut Rng::new(0))
        };
        let (train, test) = (whole(examples.train.as_ref())?, whole(examples.test.as_ref())?);
        let labels = test.parameters.context("a set without labels")?;
        Ok(Self {
            train: by_rows(&train.fields)?,
            test: by_rows(&test.fields)?,
            // Standardised, the red are above the mean.
            red: labels.column(LABELS - 1).iter().map(|v| *v > 0.0).collect(),
            scales: examples.scales,
            ..set
        })
    }

    /// The set as data to train on, each spectrum a vector or one channel.
    pub(super) fn config(&self, channel: bool) -> ArraysConfig {
        let name = if channel { "spectra-channel.npy" } else { "spectra.npy" };
        ArraysConfig { fields: self.folder.join(name), ..Default::default() }
    }

    /// The same with labels.
    pub(super) fn labelled(&self) -> ArraysConfig {
        ArraysConfig { parameters: Some(self.folder.join("labels.npy")), ..self.config(false) }
    }

    /// A spectrum of the Sloan Digital Sky Survey on the model's scale, with its redshift; `None` where it does not cover the
    /// wavelengths.
    pub(super) fn real(&self, path: &Path) -> Result<Option<(Vec<f32>, f64)>> {
        let grid = LogGrid::default();
        let spectrum = read_sdss_spectrum(path)?;
        let first = spectrum.wavelength.iter().position(|w| (w.log10() - grid.start).abs() < 0.5 * grid.step);
        let Some(flux) = first.and_then(|i| spectrum.flux.get(i..i + grid.len)) else { return Ok(None) };
        let mut row = binned(flux).with_context(|| path.display().to_string())?;
        row.iter_mut().zip(&self.scales.fields).for_each(|(v, axis)| *v = axis.transform.forward(*v));
        Ok(Some((row, spectrum.redshift)))
    }
}

/// Flux in wide pixels over its median.
fn binned(flux: &[f32]) -> Result<Vec<f32>> {
    let mut wide: Vec<f32> = flux.chunks(BIN).map(|c| c.iter().sum::<f32>() / c.len() as f32).collect();
    let mut sorted = wide.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let median = sorted[sorted.len() / 2];
    ensure!(
        median > 0.0 && wide.len() == PIXELS,
        "a spectrum of {} pixels and the median {median}",
        wide.len()
    );
    wide.iter_mut().for_each(|v| *v /= median);
    Ok(wide)
}
