//! Aperture synthesis: which spatial frequencies an array measures while the Earth turns, and the image they make.

use std::f64::consts::TAU;

use halocast_core::fft::RealFft;
use halocast_core::{Map, SPEED_OF_LIGHT, Unit};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::sky::degrees;
use super::{ArrayLayout, positive, refuse};
use crate::Result;

const OPERATION: &str = "aperture synthesis";

/// How the measured spatial frequencies are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// By the number of measurements: the least noise.
    #[default]
    Natural,
    /// All the same: the narrowest beam.
    Uniform,
}

/// A track of a source over the sky.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The declination of the map's middle, in degrees.
    pub declination: f64,
    /// The hour angles at the beginning and the end, in hours.
    pub hours: [f64; 2],
    /// The number of snapshots between them.
    pub snapshots: usize,
    /// The frequency in Hz.
    pub frequency: f64,
    /// The weighting.
    pub weighting: Weighting,
}

/// What an array makes of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Dirty {
    /// The dirty image. Of a map in Jy/pixel it is in Jy/beam; of any other it keeps the unit.
    pub image: Map,
    /// The dirty beam, its peak one in the middle.
    pub beam: Map,
    /// The weight of each spatial frequency, `[v, u]`, zero frequency first as in the transform; u and v in steps of one over the map's side.
    pub coverage: Array2<f32>,
}

impl Observation {
    /// Observes a map in degrees. Measurements beyond the map's highest spatial frequency are left out; the w term and the sphere are
    /// neglected, as is right for maps of a few degrees or less.
    ///
    /// Spatial frequencies (u, v) of a baseline (X, Y, Z) at hour angle H and declination d, in wavelengths:
    /// u = X sin H + Y cos H, v = -X sin d cos H + Y sin d sin H + Z cos d. The image is the inverse transform of the weighted
    /// visibilities over the sum of weights.
    ///
    /// # Source
    /// Thompson, Moran & Swenson 2017, equations 4.1 and 10.2.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a map that is not in degrees, numbers outside their domain, or an array that measures
    /// none of the map's frequencies.
    pub fn image(&self, map: &Map, array: &ArrayLayout) -> Result<Dirty> {
        degrees(OPERATION, map)?;
        map.require_finite()?;
        let coverage = self.coverage(map, array)?;
        let [ny, nx] = map.shape();
        let fft = RealFft::<f64>::new([1, ny, nx]);
        let half = nx / 2 + 1;
        let sum: f64 = coverage.iter().map(|&w| f64::from(w)).sum();
        let weight = |i: usize| f64::from(coverage[[i / half, i % half]]) / sum;
        let back = |mut spectrum: Vec<halocast_core::fft::Complex<f64>>| {
            let mut field = vec![0.0; ny * nx];
            spectrum.iter_mut().enumerate().for_each(|(i, s)| *s *= weight(i));
            fft.inverse(&mut spectrum, &mut field);
            // The sum over frequencies, where the inverse gives their mean.
            field.iter_mut().for_each(|v| *v *= (ny * nx) as f64);
            field
        };
        let mut spectrum = fft.spectrum();
        let field: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        fft.forward(&field, &mut spectrum);
        let image = back(spectrum);
        let mut flat = fft.spectrum();
        flat.iter_mut().for_each(|s| s.re = 1.0);
        let beam = back(flat);
        let jansky = map.unit.label == "Jy/pixel";
        let unit = if jansky { Unit::new("Jy/beam", 1e-23, 0.0, 0.0) } else { map.unit.clone() };
        let (cy, cx) = (ny / 2, nx / 2);
        let rolled = |(y, x): (usize, usize)| beam[(y + ny - cy) % ny * nx + (x + nx - cx) % nx] as f32;
        let beam = Map { values: Array2::from_shape_fn((ny, nx), rolled), ..map.clone() };
        // A temperature is kept by a beam of unit sum, a flux by one of unit peak.
        let scale = if jansky { 1.0 } else { 1.0 / beam_sum(&beam) };
        let values = Array2::from_shape_fn((ny, nx), |(y, x)| (image[y * nx + x] * scale) as f32);
        Ok(Dirty {
            image: Map { values, unit, ..map.clone() },
            beam: Map { unit: Unit::dimensionless(), field: "beam".into(), ..beam },
            coverage,
        })
    }

    /// The weights `[v, u]` of the spatial frequencies of a map, of both halves of the plane.
    fn coverage(&self, map: &Map, array: &ArrayLayout) -> Result<Array2<f32>> {
        let [ny, nx] = map.shape();
        if !(-90.0..=90.0).contains(&self.declination) {
            return Err(refuse(OPERATION, "the declination", "from -90 to 90", self.declination));
        }
        if !self.hours.iter().all(|h| h.is_finite()) || self.snapshots == 0 || !positive(self.frequency) {
            let got = format!("{:?} h, {} snapshots, {} Hz", self.hours, self.snapshots, self.frequency);
            return Err(refuse(
                OPERATION,
                "the track",
                "finite hours, a snapshot, a positive frequency",
                got,
            ));
        }
        let wavelength = SPEED_OF_LIGHT * 1e3 / self.frequency;
        let side = map.extent.map(f64::to_radians);
        let (sd, cd) = self.declination.to_radians().sin_cos();
        let baselines = array.baselines();
        let mut weights = Array2::<f32>::zeros((ny, nx));
        let mut seen = false;
        for snapshot in 0..self.snapshots {
            let along = (snapshot as f64 + 0.5) / self.snapshots as f64;
            let hour = self.hours[0] + along * (self.hours[1] - self.hours[0]);
            let (sh, ch) = (TAU * hour / 24.0).sin_cos();
            for [x, y, z] in &baselines {
                let u = (sh * x + ch * y) / wavelength;
                let v = (-sd * ch * x + sd * sh * y + cd * z) / wavelength;
                // The image's x axis points west: east is left.
                let (i, j) = ((v * side[0]).round(), (-u * side[1]).round());
                if i.abs() >= ny as f64 / 2.0 || j.abs() >= nx as f64 / 2.0 {
                    continue;
                }
                seen = true;
                for sign in [1.0, -1.0] {
                    let cell = |k: f64, n: usize| ((sign * k) as i64).rem_euclid(n as i64) as usize;
                    let weight = &mut weights[[cell(i, ny), cell(j, nx)]];
                    *weight = if self.weighting == Weighting::Uniform { 1.0 } else { *weight + 1.0 };
                }
            }
        }
        if !seen {
            return Err(refuse(OPERATION, "the array", "baselines that the map's pixels resolve", "none"));
        }
        Ok(weights)
    }
}

fn beam_sum(beam: &Map) -> f64 {
    let sum: f64 = beam.values.iter().map(|&v| f64::from(v)).sum();
    // Without the shortest baselines the sum of the beam is zero, and there is no temperature to keep: the peak is one.
    if sum > 1.0 { sum } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sky(n: usize, unit: &str) -> Map {
        let mut map = Map::square("s", Array2::zeros((n, n)), 1.0).with_unit(Unit::new(unit, 1.0, 0.0, 0.0));
        map.length_unit = Unit::degree();
        map
    }

    fn track(weighting: Weighting) -> Observation {
        Observation { declination: -45.0, hours: [-4.0, 4.0], snapshots: 60, frequency: 1e9, weighting }
    }

    fn array() -> ArrayLayout {
        ArrayLayout::spiral(30, 100.0, 8, 500.0, -30.7).unwrap()
    }

    #[test]
    fn a_point_becomes_the_beam() {
        let mut map = sky(64, "Jy/pixel");
        map.values[[40, 20]] = 2.0;
        for weighting in [Weighting::Natural, Weighting::Uniform] {
            let Dirty { image, beam, coverage } = track(weighting).image(&map, &array()).unwrap();
            assert!((beam.values[[32, 32]] - 1.0).abs() < 1e-5);
            assert!(beam.values.iter().all(|v| *v <= 1.0 + 1e-5));
            assert!((image.values[[40, 20]] - 2.0).abs() < 1e-4);
            assert_eq!(image.unit.label, "Jy/beam");
            for ((y, x), v) in image.values.indexed_iter() {
                let shifted = beam.values[[(y + 64 + 32 - 40) % 64, (x + 64 + 32 - 20) % 64]];
                assert!((v - 2.0 * shifted).abs() < 1e-4);
            }
            // Both halves of the plane, and never the zero frequency of a pair of antennas apart by a wavelength or more.
            for ((v, u), w) in coverage.indexed_iter() {
                assert_eq!(*w, coverage[[(64 - v) % 64, (64 - u) % 64]]);
            }
        }
    }

    #[test]
    fn an_array_that_measures_all_sees_all() {
        // Antennas on a line are seen as u alone at transit; a grid of them fills the plane.
        let text: String =
            (0..40).flat_map(|i| (0..40).map(move |j| format!("{} {}\n", 17 * i, 17 * j))).collect();
        let array = ArrayLayout::from_table(&text, 0.0).unwrap();
        let observation = Observation {
            declination: 0.0,
            hours: [0.0, 0.0],
            snapshots: 1,
            frequency: 1e9,
            weighting: Weighting::Uniform,
        };
        let mut map = sky(32, "K");
        map.values[[10, 11]] = 1.0;
        map.values[[10, 12]] = 2.0;
        let Dirty { image, coverage, .. } = observation.image(&map, &array).unwrap();
        let missing = coverage.iter().filter(|w| **w == 0.0).count();
        // Only the zero frequency and the Nyquist lines, which no cell belongs to, are missing.
        assert!(missing <= 64, "{missing}");
        assert!(image.values[[10, 12]] > image.values[[10, 11]] && image.values[[20, 20]].abs() < 0.2);
    }

    #[test]
    fn a_wave_that_is_not_measured_is_not_seen() {
        // One east-west baseline of 300 m at transit: u = 300 / 0.2998 = 1000.7 waves, 17.5 cycles over a degree.
        let array = ArrayLayout::from_table("0 0\n300 0", 0.0).unwrap();
        let observation = Observation { hours: [0.0, 0.0], snapshots: 1, ..track(Weighting::Natural) };
        let wave = |cycles: f64| {
            let mut map = sky(64, "Jy/pixel");
            for ((_, x), v) in map.values.indexed_iter_mut() {
                *v = (TAU * cycles * x as f64 / 64.0).cos() as f32;
            }
            let image = observation.image(&map, &array).unwrap().image;
            image.values.mapv(|v| v * v).sum()
        };
        let cycles = (300.0 / 0.299_792_458 * 1f64.to_radians()).round();
        assert!(wave(cycles) > 1.0 && wave(cycles + 3.0) < 1e-3);
    }

    #[test]
    fn bad_input_is_named() {
        let map = sky(16, "K");
        let run = |o: Observation, m: &Map| o.image(m, &array()).unwrap_err().to_string();
        let good = track(Weighting::Natural);
        assert!(run(Observation { declination: 120.0, ..good }, &map).contains("declination"));
        assert!(run(Observation { snapshots: 0, ..good }, &map).contains("track"));
        assert!(run(Observation { frequency: 1e14, ..good }, &map).contains("baselines"));
        assert!(run(good, &Map { length_unit: Unit::mpc_h(), ..map.clone() }).contains("deg"));
    }
}
