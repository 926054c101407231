//! A population of galaxies with the scatter of real ones.

use halocast_core::{Cosmology, Rng};
use serde::{Deserialize, Serialize};

use super::config::GalaxyConfig;
use super::relations;
use crate::error::{Error, Result, require};

/// Which galaxies to make, and with how many particles.
///
/// The galaxy of number i is a function of the configuration and i alone: a population can be made in any order, in
/// parallel, and from where it was cut off.
///
/// | quantity | drawn from | source |
/// |---|---|---|
/// | halo mass | dN/dlnM proportional to M^-0.9 between the limits | Tinker et al. 2008, below the knee |
/// | concentration | median of its mass and redshift, 0.11 dex | Dutton & Maccio 2014 |
/// | axis ratios | b/a 0.88 +- 0.06, c/a 0.70 +- 0.08 | Chua et al. 2019 |
/// | spin | lognormal, median 0.035, 0.5 in ln | Bullock et al. 2001 |
/// | stellar mass | median of the halo, 0.15 dex | Moster et al. 2013; Behroozi et al. 2013 |
/// | quenched or not | by stellar mass and redshift | Peng et al. 2010 |
/// | cold gas | median of the stars, 0.3 dex; a tenth of it when quenched | Catinella et al. 2018; Tacconi et al. 2018 |
/// | hot gas | median of the halo, 0.15 dex | Davies et al. 2020 |
/// | bulge | 0.5 to 0.95 of the stars when quenched, else its mean with mass, 0.12 | Bluck et al. 2014 |
/// | metals | median of the stars, 0.1 dex | Zahid et al. 2014 |
///
/// ```
/// use halocast_mock::{Galaxy, Population};
/// let population = Population { dark_matter: 500, gas: 300, stars: 300, redshift: 1.0, ..Default::default() };
/// let config = population.galaxy(7)?;
/// assert_eq!(config, population.galaxy(7)?);
/// assert!(config.halo_mass >= population.halo_mass[0] && config.halo_mass <= population.halo_mass[1]);
/// let galaxy = Galaxy::sample(&config)?;
/// assert!(galaxy.circular_velocity(10.0) > 50.0);
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Population {
    /// Cosmology.
    pub cosmology: Cosmology,
    /// Redshift.
    pub redshift: f64,
    /// Lowest and highest M200c in Msun/h.
    pub halo_mass: [f64; 2],
    /// Particles of dark matter in each galaxy.
    pub dark_matter: usize,
    /// Gas cells in each galaxy.
    pub gas: usize,
    /// Star particles in each galaxy.
    pub stars: usize,
    /// Side of the periodic box in comoving kpc/h; centres are uniform in it.
    pub box_side: f64,
    /// The seed.
    pub seed: u64,
}

impl Default for Population {
    /// Galaxies of 30,000 particles in halos of 3 10^11 to 10^13 Msun/h today.
    fn default() -> Self {
        Self {
            cosmology: Cosmology::illustris_tng(),
            redshift: 0.0,
            halo_mass: [3e11, 1e13],
            dark_matter: 12_000,
            gas: 12_000,
            stars: 6_000,
            box_side: 75_000.0,
            seed: 0,
        }
    }
}

impl Population {
    /// Checks what is not checked with each galaxy.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Cosmology`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        let operation = "population of galaxies";
        self.cosmology.validate().map_err(|source| Error::Cosmology { operation, source })?;
        let [low, high] = self.halo_mass;
        let ok = (1e9..=1e15).contains(&low) && (low..=1e15).contains(&high);
        let got = format!("{:?}", self.halo_mass);
        require(ok, operation, "halo_mass", "two rising masses of 1e9 to 1e15 Msun/h", got)?;
        let z = self.redshift;
        require((0.0..=10.0).contains(&z), operation, "redshift", "0 to 10", z)
    }

    /// The configuration of galaxy number `index`.
    ///
    /// # Errors
    /// As [`Population::validate`] and [`GalaxyConfig::validate`].
    pub fn galaxy(&self, index: u64) -> Result<GalaxyConfig> {
        self.validate()?;
        let mut rng = Rng::new(self.seed).split_named("population").split(index);
        let [low, high] = self.halo_mass.map(|m| m.powf(-0.9));
        let halo_mass = (low + rng.uniform() * (high - low)).powf(-1.0 / 0.9);
        let halo_mass = halo_mass.clamp(self.halo_mass[0], self.halo_mass[1]);
        let mut config = GalaxyConfig::of_halo(halo_mass, self.redshift, self.cosmology);
        let mut dex = |scatter: f64| 10f64.powf(scatter * rng.normal().clamp(-3.0, 3.0));
        let h = self.cosmology.h;
        let halo = halo_mass / h;
        let baryons = halo * self.cosmology.omega_b / self.cosmology.omega_m;

        config.concentration = (config.concentration * dex(0.11)).clamp(1.5, 50.0);
        let stars = (relations::stellar_mass(halo, self.redshift) * dex(0.15)).min(0.6 * baryons);
        let (cold, hot, metals) = (dex(0.3), dex(0.15), dex(0.1));
        let quenched = rng.uniform() < relations::quenched_fraction(stars, self.redshift);
        let cold = relations::cold_gas_mass(stars, self.redshift) * cold * if quenched { 0.1 } else { 1.0 };
        let cold = cold.min((0.8 * baryons - stars).max(0.05 * stars));
        let hot =
            (relations::hot_fraction(halo) * baryons * hot).min((baryons - stars - cold).max(0.05 * baryons));
        config.stellar_mass = stars * h;
        config.cold_gas_mass = cold * h;
        config.hot_gas_mass = hot * h;
        config.metallicity = (relations::metallicity(stars, self.redshift) * metals).min(0.1);

        config.bulge_fraction = if quenched {
            0.5 + 0.45 * rng.uniform()
        } else {
            (relations::bulge_fraction(stars) + 0.12 * rng.normal()).clamp(0.0, 0.6)
        };
        let b = (relations::AXIS_RATIOS[0] + 0.06 * rng.normal()).clamp(0.6, 1.0);
        let c = (relations::AXIS_RATIOS[1] + 0.08 * rng.normal()).clamp(0.45, b);
        config.axis_ratios = [b, c];
        config.spin =
            relations::MEDIAN_SPIN * (relations::SPIN_SCATTER * rng.normal()).clamp(-1.5, 1.5).exp();
        config.spin_axis = super::isotropic(&mut rng);
        config.position = [0; 3].map(|_| self.box_side * rng.uniform());
        config.velocity = [0; 3].map(|_| 250.0 * rng.normal());
        config.box_side = self.box_side;
        (config.dark_matter, config.gas, config.stars) = (self.dark_matter, self.gas, self.stars);
        config.seed = rng.next_u64();
        config.validate()?;
        Ok(config)
    }
}
