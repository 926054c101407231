//! The smooth model of a galaxy: profiles, discs, potential, rotation curve.

use super::config::GalaxyConfig;
use super::disc::{Disc, RotationCurve};
use super::gas::Corona;
use super::profile::{Grid, Potential, RadialProfile, beta_model, hernquist, truncated_nfw};

/// Decay length of dark matter and corona beyond R200, over R200 (Kazantzidis et al. 2004: 0.1 to 0.3).
const DECAY: f64 = 0.15;
/// The edge of the tables over R200.
const EDGE: f64 = 2.5;
/// Radii of the tables.
const RADII: usize = 400;
/// Core radius over R200, and beta, of the corona (beta of the Milky Way 0.5: Miller & Bregman 2015; of clusters 2/3).
const CORONA: [f64; 2] = [0.08, 0.55];
/// Scale length of gas over that of stars (Kravtsov 2013: 2.6 for half-mass radii of atoms; less with molecules).
const GAS_EXTENT: f64 = 2.0;
/// Scale height over scale length of the stellar disc, and of the gas disc in units of the stellar length (Kregel et al. 2002).
const HEIGHTS: [f64; 2] = [0.18, 0.1];
/// Scale of the bulge over that of the disc: half-mass radii of 2.41 a and 1.68 R_d.
const BULGE_SCALE: f64 = 0.2;

/// What particles are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) dark: RadialProfile,
    pub(crate) corona: Corona,
    pub(crate) bulge: RadialProfile,
    pub(crate) stars: Disc,
    pub(crate) gas: Disc,
    /// Of all matter, spherically averaged.
    pub(crate) potential: Potential,
    pub(crate) curve: RotationCurve,
}

impl Model {
    /// The model of a validated configuration.
    pub(crate) fn new(config: &GalaxyConfig) -> Self {
        let r200 = config.r200();
        let grid = Grid::new(1e-4 * r200, EDGE * r200, RADII);
        let decay = DECAY * r200;
        let [stellar, cold, hot] =
            [config.stellar_mass, config.cold_gas_mass, config.hot_gas_mass].map(|m| config.physical(m));
        let dark = config.physical(config.halo_mass) - stellar - cold - hot;
        let c = config.concentration;
        let dark = RadialProfile::new(grid, |r| dark * truncated_nfw(r, r200, c, decay));

        let [core, beta] = CORONA;
        let corona = RadialProfile::new(grid, |r| beta_model(r, core * r200, beta, r200, decay));
        let corona = corona.clone().scaled(hot / corona.mass(r200));

        let scale = config.disc_scale();
        let bulge_mass = stellar * config.bulge_fraction;
        // A galaxy that is mostly bulge is a spheroid of the disc's half-mass radius.
        let bulge_scale = scale * (BULGE_SCALE + 0.5 * config.bulge_fraction.powi(2));
        let bulge = RadialProfile::new(grid, |r| bulge_mass * hernquist(r, bulge_scale));
        let stars = Disc { mass: stellar - bulge_mass, scale, height: HEIGHTS[0] * scale, flares: false };
        let gas = Disc { mass: cold, scale: GAS_EXTENT * scale, height: HEIGHTS[1] * scale, flares: true };

        let spherical: Vec<f64> =
            grid.radii().map(|r| dark.mass(r) + corona.mass(r) + bulge.mass(r)).collect();
        let all = grid
            .radii()
            .zip(&spherical)
            .map(|(r, m)| m + stars.mass_within(r) + gas.mass_within(r))
            .collect();
        let curve = RotationCurve::new(&Potential::new(grid, spherical), &[stars, gas]);
        let potential = Potential::new(grid, all);
        // A constant rotation has the specific angular momentum sqrt(2) lambda V200 R200 at a mean radius of 0.43 R200.
        let rotation = 3.3 * config.spin * super::halo::circular(potential.enclosed(r200), r200);
        let corona = Corona::new(corona, &potential, rotation, r200);
        Self { dark, corona, bulge, stars, gas, potential, curve }
    }

    /// All gas in 10^10 Msun.
    pub(crate) fn gas_mass(&self) -> f64 {
        self.gas.mass + self.corona.profile.total()
    }
}
