//! Two emission lines confused in one intensity cube.

mod field;
mod schechter;

use std::f64::consts::PI;

use halocast_core::{Cosmology, Cube, Rng, Unit};
use ndarray::Array3;
use rayon::prelude::*;
pub use schechter::Schechter;
use serde::{Deserialize, Serialize};

use self::field::{lognormal, poisson};
use self::schechter::luminosity;
use crate::error::{Error, Result, require};
use crate::power::{LinearPower, Transfer};

const OPERATION: &str = "line intensity cubes";
/// Vacuum wavelengths in micron of H-alpha and \[OIII\] 5008.
const REST: [f64; 2] = [0.656_461, 0.500_824];
/// cm in a Mpc.
const MEGAPARSEC: f64 = 3.085_677_6e24;

/// Intensity cubes of H-alpha and \[OIII\] that reach the same channels from two redshifts, and their sum with noise: what
/// an intensity-mapping telescope sees, and what a network is to take apart (Moriwaki et al. 2020).
///
/// Each line comes from Poisson sources of a lognormal field. With the linear spectrum P(k) at the line's redshift and the
/// bias b, the overdensity of sources is 1 + delta = exp(g - sigma_g^2 / 2), with g Gaussian of correlation function
/// ln(1 + b^2 xi): the spectrum of delta is b^2 P(k) on the lattice (Coles & Jones 1991). Each cell holds a Poisson number of
/// sources, of mean n V (1 + delta), with luminosities from the line's Schechter function above `faintest` L*, and shines with
///
/// $$I = \frac{1}{\Omega_{\rm pix}} \sum_i \frac{L_i}{4\pi d_L^2}$$
///
/// in erg / (s cm^2 sr) per channel. The two fields are independent.
///
/// # Source
/// Moriwaki et al. 2020, MNRAS 496, L54; 2021, ApJ 906, L1. H-alpha: Sobral et al. 2013, MNRAS 428, 1128,
/// log L* = 41.87 + 0.45 z, log phi* = -3.18 + z - 0.38 z^2, alpha = -1.6. \[OIII\] (with H-beta): Khostovan et al. 2015, MNRAS 452,
/// 3948, table 3, alpha = -1.6, between z = 0.84, 1.42, 2.23 and 3.24.
///
/// # Differences
/// Sources have no redshift-space distortions and no size; the light cone does not evolve within the cube; its comoving
/// cross-section is that of the middle.
///
/// ```
/// use halocast_mock::LineConfig;
/// let cubes = LineConfig { pixels: 16, channels: 16, ..Default::default() }.cubes()?;
/// assert!((cubes.redshifts[0] - 1.285).abs() < 0.001 && (cubes.redshifts[1] - 1.995).abs() < 0.001);
/// assert_eq!(cubes.observed.values.dim(), (16, 16, 16));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LineConfig {
    /// Cosmology.
    pub cosmology: Cosmology,
    /// Pixels a side of the sky.
    pub pixels: usize,
    /// Spectral channels.
    pub channels: usize,
    /// Side of the field in degrees.
    pub side: f64,
    /// Observed wavelength of the middle in micron.
    pub wavelength: f64,
    /// Width of all channels together in micron.
    pub bandwidth: f64,
    /// Bias of the sources of H-alpha and of \[OIII\].
    pub bias: [f64; 2],
    /// The faintest luminosity in units of L*.
    pub faintest: f64,
    /// Standard deviation of the noise of a cell in erg / (s cm^2 sr).
    pub noise: f64,
    /// The seed.
    pub seed: u64,
}

impl Default for LineConfig {
    /// 64^3 cells of 0.85 degrees at 1.5 micron.
    fn default() -> Self {
        Self {
            cosmology: Cosmology::illustris_tng(),
            pixels: 64,
            channels: 64,
            side: 0.85,
            wavelength: 1.5,
            bandwidth: 0.1,
            bias: [1.6, 2.2],
            faintest: 0.01,
            noise: 0.0,
            seed: 0,
        }
    }
}

/// The cubes `[x, y, channel]`, channels by wavelength, and their redshifts.
#[derive(Clone, Debug, PartialEq)]
pub struct LineCubes {
    /// H-alpha alone, in its comoving Mpc/h.
    pub halpha: Cube,
    /// \[OIII\] alone, in its comoving Mpc/h.
    pub oiii: Cube,
    /// Both and noise, in the comoving Mpc/h of H-alpha.
    pub observed: Cube,
    /// Redshifts of H-alpha and of \[OIII\] in the middle.
    pub redshifts: [f64; 2],
    /// Sources of each line.
    pub sources: [u64; 2],
}

impl LineConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Cosmology`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        self.cosmology.validate().map_err(|source| Error::Cosmology { operation: OPERATION, source })?;
        for (field, count) in [("pixels", self.pixels), ("channels", self.channels)] {
            require((4..=1024).contains(&count), OPERATION, field, "4 to 1024", count)?;
        }
        let reach = REST[0] * 1.05;
        let [halpha, oiii] = self.bias;
        for (field, value, low, high) in [
            ("side", self.side, 0.01, 20.0),
            ("wavelength", self.wavelength, reach + 0.5 * self.bandwidth.abs(), 4.0),
            ("bandwidth", self.bandwidth, 1e-4, 2.0),
            ("bias[0]", halpha, 0.0, 10.0),
            ("bias[1]", oiii, 0.0, 10.0),
            ("faintest", self.faintest, 1e-4, 1.0),
            ("noise", self.noise, 0.0, 1e6),
        ] {
            require((low..=high).contains(&value), OPERATION, field, format!("{low} to {high}"), value)?;
        }
        Ok(())
    }

    /// The redshifts of H-alpha and \[OIII\] in the middle.
    pub fn redshifts(&self) -> [f64; 2] {
        REST.map(|rest| self.wavelength / rest - 1.0)
    }

    /// Side, side and depth of a line's volume in comoving Mpc/h; `line` is 0 for H-alpha and 1 for \[OIII\].
    pub fn volume(&self, line: usize) -> [f64; 3] {
        let rest = REST[line.min(1)];
        let distance = |wavelength: f64| self.cosmology.comoving_distance(wavelength / rest - 1.0);
        let half = 0.5 * self.bandwidth;
        let side = distance(self.wavelength) * self.side.to_radians();
        [side, side, distance(self.wavelength + half) - distance(self.wavelength - half)]
    }

    /// The intensity of a channel in erg / (s cm^2 sr) that a line has on average.
    pub fn mean_intensity(&self, line: usize) -> f64 {
        let z = self.redshifts()[line.min(1)];
        let function = if line == 0 { Schechter::halpha(z) } else { Schechter::oiii(z) };
        let h = self.cosmology.h;
        let cell = self.volume(line).iter().product::<f64>()
            / h.powi(3)
            / (self.pixels * self.pixels * self.channels) as f64;
        function.moment(1, self.faintest) * cell * self.brightness(line, function.luminosity)
    }

    /// The intensity in erg / (s cm^2 sr) that one source of `luminosity` erg/s gives its cell.
    fn brightness(&self, line: usize, luminosity: f64) -> f64 {
        let z = self.redshifts()[line.min(1)];
        let distance = self.cosmology.comoving_distance(z) / self.cosmology.h * (1.0 + z) * MEGAPARSEC;
        let pixel = (self.side.to_radians() / self.pixels as f64).powi(2);
        luminosity / (4.0 * PI * distance * distance * pixel)
    }

    /// Makes the cubes, in the current rayon pool. Cost: four transforms of the cells a line, and a pass over sources.
    ///
    /// # Errors
    /// As [`LineConfig::validate`].
    pub fn cubes(&self) -> Result<LineCubes> {
        self.validate()?;
        let power = LinearPower::new(&self.cosmology, Transfer::Wiggles)?;
        let rng = Rng::new(self.seed).split_named("lines");
        let (halpha, first) = self.line(0, &power, &rng.split_named("Halpha"));
        let (oiii, second) = self.line(1, &power, &rng.split_named("[OIII]"));
        let mut noise = vec![0.0f32; halpha.values.len()];
        if self.noise > 0.0 {
            rng.split_named("noise").fill_normal(&mut noise);
        }
        let mut observed = Cube { field: "observed".into(), ..halpha.clone() };
        let sigma = self.noise as f32;
        observed
            .values
            .iter_mut()
            .zip(&oiii.values)
            .zip(&noise)
            .for_each(|((sum, &other), &n)| *sum += other + sigma * n);
        Ok(LineCubes { halpha, oiii, observed, redshifts: self.redshifts(), sources: [first, second] })
    }

    fn line(&self, line: usize, power: &LinearPower, rng: &Rng) -> (Cube, u64) {
        let z = self.redshifts()[line];
        let function = if line == 0 { Schechter::halpha(z) } else { Schechter::oiii(z) };
        let shape = [self.pixels, self.pixels, self.channels];
        let extent = self.volume(line);
        let growth = self.cosmology.growth(1.0 / (1.0 + z));
        let scale = (self.bias[line] * growth).powi(2);
        let field = lognormal(shape, extent, |k| scale * power.at(k), &mut rng.split_named("field"));

        let h = self.cosmology.h;
        let cells: usize = shape.iter().product();
        let cell = extent.iter().product::<f64>() / h.powi(3) / cells as f64;
        let mean = function.moment(0, self.faintest) * cell;
        let quantiles = function.quantiles(self.faintest);
        let unit = self.brightness(line, function.luminosity);
        let row = self.channels;
        let sources = rng.split_named("sources");
        let rows: Vec<(Vec<f32>, u64)> = field
            .par_chunks(row)
            .enumerate()
            .map(|(i, densities)| {
                let mut rng = sources.split(i as u64);
                let mut count = 0;
                let values = densities
                    .iter()
                    .map(|&density| {
                        let n = poisson(mean * density, &mut rng);
                        count += n;
                        let sum: f64 = (0..n).map(|_| luminosity(&quantiles, rng.uniform())).sum();
                        (unit * sum) as f32
                    })
                    .collect();
                (values, count)
            })
            .collect();
        let count = rows.iter().map(|r| r.1).sum();
        let values: Vec<f32> = rows.into_iter().flat_map(|r| r.0).collect();
        let dim = (shape[0], shape[1], shape[2]);
        let cube = Cube {
            values: Array3::from_shape_vec(dim, values).unwrap_or_else(|_| Array3::zeros(dim)),
            extent,
            length_unit: Unit::mpc_h(),
            unit: Unit::new("erg/(s cm^2 sr)", 1.0, 0.0, 0.0),
            field: if line == 0 { "Halpha" } else { "[OIII]" }.into(),
            periodic: true,
        };
        (cube, count)
    }
}
