//! Figures of spectra: samples beside true ones, and what a latent changes.

use std::path::Path;

use anyhow::Result;
use halocast::core::write_whole;
use halocast::mock::LogGrid;
use ndarray::ArrayView2;
use plotters::style::RGBColor;

use super::data::{PIXELS, Spectra};
use crate::chart::{Axes, Line, SAMPLES, TRUTH, stacked};
use crate::train::Scales;

/// Spectra shown of each kind.
const SHOWN: usize = 2;

/// Panels, each a name and curves of flux.
pub(super) struct Figures<'a> {
    scales: &'a Scales,
    samples: Vec<(String, Vec<Vec<f64>>)>,
    traversals: Vec<(String, Vec<Vec<f64>>)>,
}

impl<'a> Figures<'a> {
    pub(super) fn new(set: &'a Spectra) -> Self {
        let mut figures = Self { scales: &set.scales, samples: vec![], traversals: vec![] };
        figures.samples("unseen", &set.test);
        figures
    }

    pub(super) fn samples(&mut self, name: &str, rows: &ndarray::Array2<f32>) {
        let shown = rows.nrows().min(SHOWN);
        let curves = self.flux(rows.slice(ndarray::s![..shown, ..]));
        self.samples.push((name.into(), curves));
    }

    pub(super) fn traversal(&mut self, name: &str, rows: &ndarray::Array2<f32>) {
        let curves = self.flux(rows.view());
        self.traversals.push((name.into(), curves));
    }

    /// Writes `samples.svg` and `traversals.svg`.
    pub(super) fn save(&self, out: &Path) -> Result<()> {
        let grid = LogGrid::default();
        let bin = grid.len as f64 / PIXELS as f64;
        let wavelength: Vec<f64> = (0..PIXELS)
            .map(|i| 10f64.powf(grid.start + grid.step * (bin * (i as f64 + 0.5) - 0.5)))
            .collect();
        for (file, panels) in [("samples.svg", &self.samples), ("traversals.svg", &self.traversals)] {
            let lines: Vec<Vec<Line<'_>>> = panels
                .iter()
                .map(|(name, curves)| {
                    let last = (curves.len() - 1).max(1) as f64;
                    let line = |i: usize| Line {
                        name: if i == 0 { name } else { "" },
                        x: &wavelength,
                        y: &curves[i],
                        scatter: None,
                        colour: between(i as f64 / last),
                    };
                    (0..curves.len()).map(line).collect()
                })
                .collect();
            let axes = Axes { x_label: "wavelength [Angstrom]", y_label: "flux / median", ..Axes::default() };
            let panels: Vec<(f64, Axes<'_>, &[Line<'_>])> =
                lines.iter().map(|lines| (1.0, axes, lines.as_slice())).collect();
            let svg = stacked((860, 190 * panels.len() as u32), &panels)?;
            write_whole(out.join(file), |w| std::io::Write::write_all(w, svg.as_bytes()))?;
        }
        Ok(())
    }

    fn flux(&self, rows: ArrayView2<'_, f32>) -> Vec<Vec<f64>> {
        let back = |row: ndarray::ArrayView1<'_, f32>| {
            row.iter()
                .zip(&self.scales.fields)
                .map(|(&v, axis)| f64::from(axis.transform.inverse(v)))
                .collect()
        };
        rows.rows().into_iter().map(back).collect()
    }
}

/// A colour from that of truth to that of samples.
fn between(t: f64) -> RGBColor {
    let mix = |a: u8, b: u8| (f64::from(a) + t * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(TRUTH.0, SAMPLES.0), mix(TRUTH.1, SAMPLES.1), mix(TRUTH.2, SAMPLES.2))
}
