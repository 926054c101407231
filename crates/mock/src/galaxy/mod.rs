//! Single galaxies: a halo filled with particles of dark matter, gas and stars.

mod catalogue;
mod chemistry;
mod config;
mod disc;
mod eddington;
mod gas;
mod halo;
mod ionisation;
mod magnetic;
mod model;
mod population;
mod profile;
mod relations;
mod snapshot;
mod stars;

pub use config::GalaxyConfig;
use halocast_core::{GroupCatalogue, Rng, Snapshot};
pub use population::Population;
pub use profile::RadialProfile;
pub use snapshot::assemble;

use self::disc::Arms;
use self::eddington::Eddington;
use self::gas::{Cell, GasDisc};
use self::halo::{DarkMatter, Halo};
use self::magnetic::MagneticField;
use self::model::Model;
use self::stars::{Clock, Star, StellarDisc};
use crate::error::Result;

/// Amplitude of the spiral pattern in gas and newborn stars.
const SPIRAL: f64 = 0.7;

/// Position in kpc from the centre and velocity in km/s, physical.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: [f64; 3],
    pub(crate) v: [f64; 3],
}

/// A galaxy and its halo, made of particles in approximate equilibrium.
///
/// * **Dark matter**: an NFW sphere, cut off beyond R200 (Springel & White 1999), made triaxial at unchanged spherical mean, with
///   subhalos; speeds by Eddington's inversion in the potential of all matter (Kazantzidis et al. 2004).
/// * **Gas**: an exponential disc with spiral arms, giant complexes and an effective equation of state above the density of
///   star formation (Springel & Hernquist 2003); a hydrostatic corona of beta-model density (Cavaliere & Fusco-Femiano 1976)
///   with cold clouds in pressure equilibrium; neutral hydrogen by self-shielding (Rahmati et al. 2013).
/// * **Stars**: an exponential disc of sech^2 height with epicyclic motions and asymmetric drift (Hernquist 1993; Springel,
///   Di Matteo & Hernquist 2005), and a bulge (Hernquist 1990); ages, and elements that follow them.
/// * **Magnetic field**: spiral in the disc, tangled elsewhere, growing as the root of the density.
///
/// Discs are axisymmetric but for their arms, satellites hold dark matter alone, and the potential that particles carry is that
/// of the spherically averaged model. Nothing has been evolved: it is a stand-in for a simulated galaxy.
///
/// Cost: O(N log N) for N particles, for the neighbours of the snapshot.
///
/// ```
/// use halocast_core::Species;
/// use halocast_mock::{Galaxy, GalaxyConfig};
/// let config = GalaxyConfig { dark_matter: 1000, gas: 800, stars: 500, ..Default::default() };
/// let galaxy = Galaxy::sample(&config)?;
/// let snapshot = galaxy.snapshot()?;
/// assert_eq!(snapshot.header.promised, [800, 1000, 0, 0, 500, 0]);
/// assert_eq!(snapshot.set(Species::Gas)?.field("MagneticField")?.values.shape(), [800, 3]);
/// let catalogue = galaxy.catalogue()?;
/// // R200 of 10^12 Msun/h today is 163 kpc/h.
/// assert!((catalogue.groups.scalars("Group_R_Crit200")?[0] - 163.0).abs() < 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Galaxy {
    config: GalaxyConfig,
    model: Model,
    dark: DarkMatter,
    cells: Vec<GasCell>,
    stars: Vec<Star>,
    /// Masses of a particle of dark matter, gas and stars in 10^10 Msun.
    masses: [f64; 3],
}

/// A gas cell with what depends on the whole galaxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GasCell {
    pub(crate) cell: Cell,
    /// In microgauss.
    pub(crate) field: [f64; 3],
}

impl Galaxy {
    /// Draws the particles of a galaxy, in the current rayon pool.
    ///
    /// # Errors
    /// As [`GalaxyConfig::validate`].
    pub fn sample(config: &GalaxyConfig) -> Result<Self> {
        config.validate()?;
        let rng = Rng::new(config.seed).split_named("galaxy");
        let model = Model::new(config);
        let turn = Rotation::to(config.spin_axis, &mut rng.split_named("orientation"));
        let arms =
            Arms { amplitude: SPIRAL, phase: std::f64::consts::TAU * rng.split_named("arms").uniform() };

        let speeds = Eddington::new(&model.dark, &model.potential);
        let halo = Halo {
            profile: &model.dark,
            potential: &model.potential,
            speeds: &speeds,
            r200: config.r200(),
            axis_ratios: config.axis_ratios,
            substructure: config.substructure,
        };
        let mut dark = halo.sample(config.dark_matter, &rng.split_named("dark matter"));
        dark.points.iter_mut().for_each(|p| *p = turn.point(*p));

        let mut cells = gas_cells(config, &model, arms, &rng);
        cells.iter_mut().for_each(|c| {
            c.cell.point = turn.point(c.cell.point);
            c.field = turn.vector(c.field);
        });
        let mut stars = star_particles(config, &model, arms, &rng);
        stars.iter_mut().for_each(|s| s.point = turn.point(s.point));

        let share = |mass: f64, n: usize| if n == 0 { 0.0 } else { mass / n as f64 };
        let masses = [
            share(model.dark.total(), dark.points.len()),
            share(model.gas_mass(), cells.len()),
            share(config.physical(config.stellar_mass), stars.len()),
        ];
        Ok(Self { config: *config, model, dark, cells, stars, masses })
    }

    /// What it was made from.
    pub fn config(&self) -> &GalaxyConfig {
        &self.config
    }

    /// The profile that the dark matter was drawn from, in physical kpc and 10^10 Msun: the spherical mean of the halo with
    /// its subhalos.
    pub fn dark_matter_profile(&self) -> &RadialProfile {
        &self.model.dark
    }

    /// The profile of the corona, clouds included, in physical kpc and 10^10 Msun.
    pub fn corona_profile(&self) -> &RadialProfile {
        &self.model.corona.profile
    }

    /// Circular velocity in the plane of the disc in km/s at `radius` physical kpc.
    pub fn circular_velocity(&self, radius: f64) -> f64 {
        self.model.curve.squared(radius).sqrt()
    }

    /// Star formation rate in Msun/yr.
    pub fn star_formation_rate(&self) -> f64 {
        self.cells.iter().map(|c| c.cell.star_formation(self.masses[1])).sum()
    }

    /// The galaxy as a snapshot (a cutout) in the units and with the field names of IllustrisTNG; see [`assemble`].
    ///
    /// # Errors
    /// [`crate::Error::Snapshot`] when core refuses a field.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(assemble(std::slice::from_ref(self))?.0)
    }

    /// The galaxy's row of a group catalogue, and those of its satellites; see [`assemble`].
    ///
    /// # Errors
    /// [`crate::Error::Snapshot`] when core refuses a field.
    pub fn catalogue(&self) -> Result<GroupCatalogue> {
        catalogue::catalogue(&[self])
    }
}

fn gas_cells(config: &GalaxyConfig, model: &Model, arms: Arms, rng: &Rng) -> Vec<GasCell> {
    if config.gas == 0 {
        return Vec::new();
    }
    let mass = model.gas_mass();
    let cell = mass / config.gas as f64;
    let share = |part: f64, of: usize| ((part * of as f64).round() as usize).min(of);
    let in_disc = share(model.gas.mass / mass, config.gas);
    let in_complexes = share(config.clump_fraction, in_disc);
    let in_corona = config.gas - in_disc;
    let in_clouds = share(config.cloud_fraction, in_corona);
    let disc = GasDisc {
        disc: model.gas,
        arms,
        curve: &model.curve,
        metallicity: config.metallicity,
        stellar_scale: config.disc_scale(),
    };
    let metals = config.metallicity;
    let cells = [
        disc.complexes(in_complexes, cell, &rng.split_named("complexes")),
        disc.smooth(in_disc - in_complexes, &rng.split_named("gas disc")),
        model.corona.hot(in_corona - in_clouds, metals, &rng.split_named("corona")),
        model.corona.clouds(in_clouds, cell, metals, &rng.split_named("clouds")),
    ];
    let mut waves = rng.split_named("magnetic field");
    let field = MagneticField::new(config.magnetic_field, config.disc_scale(), &mut waves);
    let with_field =
        |cell: Cell| GasCell { field: field.at(cell.point.x, cell.density * gas::NUCLEI, cell.order), cell };
    cells.into_iter().flatten().map(with_field).collect()
}

fn star_particles(config: &GalaxyConfig, model: &Model, arms: Arms, rng: &Rng) -> Vec<Star> {
    if config.stars == 0 {
        return Vec::new();
    }
    let a = config.scale_factor();
    let clock = Clock::new(config.cosmology, a, config.cold_gas_mass / config.stellar_mass);
    let in_bulge = ((config.bulge_fraction * config.stars as f64).round() as usize).min(config.stars);
    let gas = GasDisc {
        disc: model.gas,
        arms,
        curve: &model.curve,
        metallicity: config.metallicity,
        stellar_scale: config.disc_scale(),
    };
    let disc = StellarDisc { disc: model.stars, arms, curve: &model.curve, gas: model.gas };
    let metals = |radius: f64| gas.metals(radius);
    let mut stars = disc.sample(config.stars - in_bulge, &clock, metals, &rng.split_named("stellar disc"));
    if in_bulge > 0 {
        let speeds = Eddington::new(&model.bulge, &model.potential);
        // Bulges are as rich as the centre of the disc.
        stars.extend(stars::bulge(
            in_bulge,
            &model.bulge,
            &speeds,
            &clock,
            gas.metals(0.0),
            &rng.split_named("bulge"),
        ));
    }
    stars
}

/// A turn of the galaxy's frame, whose z is the axis of the disc.
struct Rotation([[f64; 3]; 3]);

impl Rotation {
    /// Takes z to `axis`, after a random turn about z.
    fn to(axis: [f64; 3], rng: &mut Rng) -> Self {
        let unit = |v: [f64; 3]| {
            let largest = v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let v = v.map(|x| x / largest);
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.map(|x| x / length)
        };
        let cross = |a: [f64; 3], b: [f64; 3]| {
            [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
        };
        let z = unit(axis);
        let other = if z[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        let y = unit(cross(z, other));
        let x = cross(y, z);
        let (sine, cosine) = (std::f64::consts::TAU * rng.uniform()).sin_cos();
        let turned = |s: f64, c: f64| std::array::from_fn(|i| c * x[i] + s * y[i]);
        Self([turned(sine, cosine), turned(cosine, -sine), z])
    }

    fn vector(&self, v: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|i| (0..3).map(|j| self.0[j][i] * v[j]).sum())
    }

    fn point(&self, p: Point) -> Point {
        Point { x: self.vector(p.x), v: self.vector(p.v) }
    }
}

/// A random unit vector.
fn isotropic(rng: &mut Rng) -> [f64; 3] {
    let z = 2.0 * rng.uniform() - 1.0;
    let phi = std::f64::consts::TAU * rng.uniform();
    let s = (1.0 - z * z).sqrt();
    [s * phi.cos(), s * phi.sin(), z]
}

/// A vector from its components along (R, phi, z) at azimuth `phi`.
fn polar(v: [f64; 3], phi: f64) -> [f64; 3] {
    let (sine, cosine) = phi.sin_cos();
    [v[0] * cosine - v[1] * sine, v[0] * sine + v[1] * cosine, v[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_a_rotation_that_takes_z_to_its_axis() {
        for axis in [[0.0, 0.0, 1.0], [3.0, 0.0, 0.0], [-1e-200, 2e-200, 0.3e-200], [1.0, -2.0, 0.5]] {
            let turn = Rotation::to(axis, &mut Rng::new(3));
            let [x, y, z] = turn.0;
            let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|i| a[i] * b[i]).sum::<f64>();
            for (a, b, expected) in
                [(x, x, 1.0), (y, y, 1.0), (z, z, 1.0), (x, y, 0.0), (y, z, 0.0), (x, z, 0.0)]
            {
                assert!((dot(a, b) - expected).abs() < 1e-12, "{axis:?}");
            }
            let handed = x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0])
                + x[2] * (y[0] * z[1] - y[1] * z[0]);
            assert!((handed - 1.0).abs() < 1e-12);
            let along = turn.vector([0.0, 0.0, 1.0]);
            assert!((0..3).all(|i| (along[i] - z[i]).abs() < 1e-12));
        }
    }
}
