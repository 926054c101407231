//! What galaxy to make.

use halocast_core::Cosmology;
use serde::{Deserialize, Serialize};

use super::relations;
use crate::error::{Error, Result, require};

const OPERATION: &str = "galaxy";

/// One galaxy and its halo. Fields that a file leaves out take the values of a galaxy like the Milky Way.
///
/// Masses are in Msun/h, as halo catalogues have them; lengths of the box in comoving kpc/h, as snapshots have them.
///
/// ```
/// use halocast_mock::GalaxyConfig;
/// let config = GalaxyConfig { bulge_fraction: 0.5, seed: 3, ..Default::default() };
/// config.validate()?;
/// let absurd = GalaxyConfig { stellar_mass: -1.0, ..config };
/// assert!(absurd.validate().unwrap_err().to_string().contains("stellar_mass"));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GalaxyConfig {
    /// Cosmology.
    pub cosmology: Cosmology,
    /// Redshift.
    pub redshift: f64,
    /// M200c of all matter, in Msun/h.
    pub halo_mass: f64,
    /// c200 of the dark matter.
    pub concentration: f64,
    /// Axis ratios b/a and c/a of the dark matter; the shortest axis is the galaxy's.
    pub axis_ratios: [f64; 2],
    /// The share of the dark matter that lies in subhalos.
    pub substructure: f64,
    /// The spin parameter of Bullock et al. (2001), which sets the size of the discs and the rotation of the corona.
    pub spin: f64,
    /// Stellar mass in Msun/h.
    pub stellar_mass: f64,
    /// The share of the stars that lie in the bulge.
    pub bulge_fraction: f64,
    /// Gas of the disc in Msun/h.
    pub cold_gas_mass: f64,
    /// Gas of the corona within R200 in Msun/h.
    pub hot_gas_mass: f64,
    /// The share of the corona's gas that lies in cold clouds.
    pub cloud_fraction: f64,
    /// The share of the disc's gas that lies in giant complexes.
    pub clump_fraction: f64,
    /// Metal mass fraction of the gas disc at two scale lengths.
    pub metallicity: f64,
    /// Field strength in microgauss at one hydrogen nucleus per cm^3.
    pub magnetic_field: f64,
    /// Particles of dark matter.
    pub dark_matter: usize,
    /// Gas cells.
    pub gas: usize,
    /// Star particles.
    pub stars: usize,
    /// The axis of the disc; its length does not matter.
    pub spin_axis: [f64; 3],
    /// Side of the periodic box in comoving kpc/h.
    pub box_side: f64,
    /// Centre of the galaxy in comoving kpc/h.
    pub position: [f64; 3],
    /// Peculiar velocity of the galaxy in km/s.
    pub velocity: [f64; 3],
    /// The seed: the same seed gives the same bytes at any number of threads.
    pub seed: u64,
}

impl Default for GalaxyConfig {
    /// 60,000 particles in a halo of 10^12 Msun/h today, in the box of TNG100.
    fn default() -> Self {
        Self::of_halo(1e12, 0.0, Cosmology::illustris_tng())
    }
}

impl GalaxyConfig {
    /// The mean galaxy of a halo of `halo_mass` Msun/h (M200c) at `redshift`.
    ///
    /// # Source
    /// Concentration: Dutton & Maccio 2014. Stars: Moster, Naab & White 2013. Cold gas: Catinella et al. 2018 and Tacconi et al.
    /// 2018. Hot gas: Davies et al. 2020. Bulge: Bluck et al. 2014. Metals: Zahid et al. 2014. Shape: Chua et al. 2019.
    /// Substructure: 8 % (Springel et al. 2008).
    pub fn of_halo(halo_mass: f64, redshift: f64, cosmology: Cosmology) -> Self {
        let halo = halo_mass / cosmology.h;
        let stars = relations::stellar_mass(halo, redshift);
        let baryons = halo * cosmology.omega_b / cosmology.omega_m;
        // Stars and cold gas together stay within the cosmic share.
        let cold = relations::cold_gas_mass(stars, redshift).min((0.8 * baryons - stars).max(0.0));
        let hot = (relations::hot_fraction(halo) * baryons).min((baryons - stars - cold).max(0.0));
        let box_side = 75_000.0;
        Self {
            cosmology,
            redshift,
            halo_mass,
            concentration: relations::concentration(halo_mass, redshift),
            axis_ratios: relations::AXIS_RATIOS,
            substructure: 0.08,
            spin: relations::MEDIAN_SPIN,
            stellar_mass: stars * cosmology.h,
            bulge_fraction: relations::bulge_fraction(stars),
            cold_gas_mass: cold * cosmology.h,
            hot_gas_mass: hot * cosmology.h,
            cloud_fraction: 0.1,
            clump_fraction: 0.25,
            metallicity: relations::metallicity(stars, redshift),
            magnetic_field: 8.0,
            dark_matter: 24_000,
            gas: 24_000,
            stars: 12_000,
            spin_axis: [0.0, 0.0, 1.0],
            box_side,
            position: [0.5 * box_side; 3],
            velocity: [0.0; 3],
            seed: 0,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Cosmology`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        self.cosmology.validate().map_err(|source| Error::Cosmology { operation: OPERATION, source })?;
        let within = |field, value: f64, low: f64, high: f64, unit: &str| {
            let ok = (low..=high).contains(&value);
            require(ok, OPERATION, field, format!("{low} to {high}{unit}"), value)
        };
        within("redshift", self.redshift, 0.0, 20.0, "")?;
        within("halo_mass", self.halo_mass, 1e8, 1e16, " Msun/h")?;
        within("concentration", self.concentration, 1.0, 100.0, "")?;
        let [b, c] = self.axis_ratios;
        within("axis_ratios[0]", b, 0.3, 1.0, "")?;
        within("axis_ratios[1]", c, 0.3, b, ", at most b/a")?;
        within("substructure", self.substructure, 0.0, 0.5, "")?;
        within("spin", self.spin, 1e-4, 0.5, "")?;
        for (field, mass) in [
            ("stellar_mass", self.stellar_mass),
            ("cold_gas_mass", self.cold_gas_mass),
            ("hot_gas_mass", self.hot_gas_mass),
        ] {
            within(field, mass, 0.0, self.halo_mass, " Msun/h, the mass of the halo")?;
        }
        let baryons = self.stellar_mass + self.cold_gas_mass + self.hot_gas_mass;
        let light = baryons <= 0.5 * self.halo_mass;
        let expected = format!("at most half of halo_mass, {}", 0.5 * self.halo_mass);
        require(light, OPERATION, "sum of stellar_mass, cold_gas_mass, hot_gas_mass", expected, baryons)?;
        within("bulge_fraction", self.bulge_fraction, 0.0, 1.0, "")?;
        within("cloud_fraction", self.cloud_fraction, 0.0, 1.0, "")?;
        within("clump_fraction", self.clump_fraction, 0.0, 1.0, "")?;
        within("metallicity", self.metallicity, 0.0, 0.2, "")?;
        within("magnetic_field", self.magnetic_field, 0.0, 1e6, " microgauss")?;
        for (field, count, mass) in [
            ("dark_matter", self.dark_matter, self.halo_mass),
            ("gas", self.gas, self.cold_gas_mass + self.hot_gas_mass),
            ("stars", self.stars, self.stellar_mass),
        ] {
            let ok = count <= 10_000_000 && (count >= 100 || count == 0 && field != "dark_matter");
            require(ok, OPERATION, field, "100 to 10000000 particles (gas and stars also 0)", count)?;
            require(count == 0 || mass > 0.0, OPERATION, field, "0 particles where there is no mass", count)?;
            require(count > 0 || mass == 0.0, OPERATION, field, "particles where there is mass", count)?;
        }
        let length = self.spin_axis.iter().map(|x| x * x).sum::<f64>().sqrt();
        let axis = length.is_finite() && length > 1e-100;
        require(
            axis,
            OPERATION,
            "spin_axis",
            "a finite vector that is not zero",
            format!("{:?}", self.spin_axis),
        )?;
        within("box_side", self.box_side, 1.0, 1e8, " ckpc/h")?;
        for x in self.position {
            require(x.is_finite(), OPERATION, "position", "finite", x)?;
        }
        for v in self.velocity {
            within("velocity", v, -1e5, 1e5, " km/s")?;
        }
        Ok(())
    }

    /// The scale factor.
    pub fn scale_factor(&self) -> f64 {
        1.0 / (1.0 + self.redshift)
    }

    /// A mass in 10^10 Msun from one in Msun/h.
    pub(crate) fn physical(&self, mass: f64) -> f64 {
        mass / self.cosmology.h * 1e-10
    }

    /// R200c in physical kpc.
    pub fn r200(&self) -> f64 {
        relations::r200(&self.cosmology, self.scale_factor(), self.halo_mass / self.cosmology.h)
    }

    /// Scale length of the stellar disc in physical kpc (Kravtsov 2013; Mo, Mao & White 1998).
    pub fn disc_scale(&self) -> f64 {
        relations::disc_scale(self.r200(), self.spin)
    }
}
