//! The gas: a disc with giant complexes, and a hydrostatic corona with cold clouds.

use std::f64::consts::TAU;

use halocast_core::Rng;
use rayon::prelude::*;

use super::disc::{Arms, Disc, RotationCurve};
use super::profile::{GRAVITY, Potential, RadialProfile};
use super::{Point, isotropic, polar};

/// Boltzmann's constant over the proton mass, in (km/s)^2 / K.
pub(crate) const BOLTZMANN_PER_PROTON: f64 = 8.254_4e-3;
/// Mean molecular weight of an ionised primordial plasma.
const IONISED_WEIGHT: f64 = 0.588;
/// Hydrogen nuclei per cm^3 in 10^10 Msun / kpc^3 of gas with 0.76 hydrogen.
pub(crate) const NUCLEI: f64 = 404.75 * 0.76;
/// Density of hydrogen above which gas forms stars, per cm^3 (Springel & Hernquist 2003).
const THRESHOLD: f64 = 0.13;
/// Gas consumption time at the threshold in yr (Springel & Hernquist 2003, their t_0*; IllustrisTNG: 2.2 Gyr).
const CONSUMPTION: f64 = 2.2e9;
/// Temperature of clouds, discs and the threshold in K.
const WARM: f64 = 1e4;
/// Central surface density of complexes in 10^10 Msun / kpc^2: 170 Msun / pc^2 (Larson 1981; Solomon et al. 1987).
const COMPLEX_SURFACE: f64 = 0.017;
/// Cells of the smallest and the largest complex of the disc, and of a cloud of the corona.
const COMPLEX_CELLS: [f64; 2] = [8.0, 250.0];
const CLOUD_CELLS: [f64; 2] = [4.0, 60.0];
/// Length over width of a cloud, drawn out by the corona it moves through.
const CLOUD_LENGTH: f64 = 3.0;
/// Sound and turbulence of the gas disc in km/s (Tamburro et al. 2009).
pub(crate) const DISC_DISPERSION: f64 = 11.0;

/// One gas cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) point: Point,
    /// In 10^10 Msun / kpc^3.
    pub(crate) density: f64,
    /// In K.
    pub(crate) temperature: f64,
    /// Mass fraction of metals.
    pub(crate) metallicity: f64,
    /// The share of the magnetic field that is ordered.
    pub(crate) order: f64,
}

impl Cell {
    /// Star formation rate in Msun/yr of a cell of `mass` (10^10 Msun): m / t_0 (n / n_th)^(1/2) above the threshold.
    ///
    /// # Source
    /// Springel & Hernquist 2003, MNRAS 339, 289, equations 21 and 23, with all of the dense gas in clouds.
    pub(crate) fn star_formation(&self, mass: f64) -> f64 {
        let n = self.density * NUCLEI;
        if n < THRESHOLD || self.temperature > 1e5 {
            0.0
        } else {
            mass * 1e10 / CONSUMPTION * (n / THRESHOLD).sqrt()
        }
    }
}

/// Temperature of disc gas of `n` nuclei per cm^3: warm below the threshold; above it the pressure of the unresolved
/// phases, P proportional to rho^(4/3), up to 10^5 K (a power law in place of the table of Springel & Hernquist 2003).
fn disc_temperature(n: f64) -> f64 {
    WARM * (n / THRESHOLD).max(1.0).cbrt().min(10.0)
}

/// Hot gas in hydrostatic equilibrium: dP/dr = -rho G M(r) / r^2, and P = 0 at the edge of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Corona {
    pub(crate) profile: RadialProfile,
    temperature: Vec<f64>,
    potential: Potential,
    /// Mean rotation in km/s at the equator.
    rotation: f64,
    r200: f64,
}

impl Corona {
    pub(crate) fn new(profile: RadialProfile, potential: &Potential, rotation: f64, r200: f64) -> Self {
        let grid = potential.grid;
        let n = grid.len();
        let weight = |i: usize| profile.densities()[i] * GRAVITY * potential.mass[i] / grid.radius(i);
        let mut pressure = vec![0.0; n];
        for i in (0..n - 1).rev() {
            // dr / r^2 is dln r / r.
            let step = (grid.radius(i + 1) / grid.radius(i)).ln();
            pressure[i] = pressure[i + 1] + 0.5 * step * (weight(i) + weight(i + 1));
        }
        let temperature = (0..n)
            .map(|i| {
                let square = pressure[i] / profile.densities()[i].max(f64::MIN_POSITIVE);
                (square * IONISED_WEIGHT / BOLTZMANN_PER_PROTON).max(WARM)
            })
            .collect();
        Self { profile, temperature, potential: potential.clone(), rotation, r200 }
    }

    /// Temperature in K at `r` kpc.
    pub(crate) fn temperature(&self, r: f64) -> f64 {
        self.potential.grid.at(&self.temperature, r)
    }

    /// Isothermal sound speed in km/s at `r` kpc.
    fn sound(&self, r: f64) -> f64 {
        (self.temperature(r) * BOLTZMANN_PER_PROTON / IONISED_WEIGHT).sqrt()
    }

    /// Metals: 0.4 of the disc's, falling outward as the inner 0.1 R200 do not (Prochaska et al. 2017 see a third of the
    /// solar value around galaxies like the Milky Way).
    fn metallicity(&self, r: f64, disc: f64) -> f64 {
        0.4 * disc * (1.0 + r / (0.1 * self.r200)).powf(-0.6)
    }

    fn place(&self, rng: &mut Rng) -> [f64; 3] {
        let r = self.profile.radius_holding(rng.uniform());
        isotropic(rng).map(|d| r * d)
    }

    /// Rotation at `x`, and random motions of `dispersion` km/s an axis.
    fn velocity(&self, x: [f64; 3], dispersion: f64, rng: &mut Rng) -> [f64; 3] {
        let (radius, r) = (x[0].hypot(x[1]), norm(x).max(1e-9));
        let rotation = self.rotation.min(super::halo::circular(self.potential.enclosed(r), r));
        let swirl = polar([0.0, rotation * radius / r, 0.0], x[1].atan2(x[0]));
        swirl.map(|v| v + dispersion * rng.normal())
    }

    /// Cells of the hot phase; turbulence has a Mach number of 0.3 (Pakmor et al. 2020).
    pub(crate) fn hot(&self, n: usize, metals: f64, rng: &Rng) -> Vec<Cell> {
        (0..n)
            .into_par_iter()
            .map(|i| {
                let mut rng = rng.split(i as u64);
                let x = self.place(&mut rng);
                let r = norm(x);
                let v = self.velocity(x, 0.3 / 3f64.sqrt() * self.sound(r), &mut rng);
                let scatter = 10f64.powf(0.15 * rng.normal());
                Cell {
                    point: Point { x, v },
                    density: self.profile.density(r).max(1e-14),
                    temperature: self.temperature(r),
                    metallicity: (self.metallicity(r, metals) * scatter).min(0.2),
                    order: 0.2,
                }
            })
            .collect()
    }

    /// Cells of cold clouds in pressure equilibrium with the corona around them: uniform spheroids of density
    /// rho_hot T_hot / 10^4 K, that move at random with half the circular velocity. `cell` is the mass of one cell.
    pub(crate) fn clouds(&self, n: usize, cell: f64, metals: f64, rng: &Rng) -> Vec<Cell> {
        let mut sizes = rng.split_named("sizes");
        let counts = cloud_counts(n, CLOUD_CELLS, &mut sizes);
        let clouds: Vec<Vec<Cell>> = counts
            .par_iter()
            .enumerate()
            .map(|(i, &count)| {
                let mut rng = rng.split(i as u64);
                // Clouds condense where the corona is dense: twice as often, by radius, as its mass.
                let centre = loop {
                    let x = self.place(&mut rng);
                    if rng.uniform() < (1.0 + norm(x) / (0.15 * self.r200)).powf(-1.5) {
                        break x;
                    }
                };
                let r = norm(centre).max(1e-3);
                let circular = super::halo::circular(self.potential.enclosed(r), r);
                let bulk = self.velocity(centre, 0.5 * circular / 3f64.sqrt(), &mut rng);
                let hot = self.profile.density(r).max(1e-14);
                let peak = hot * (self.temperature(r) / WARM).max(1.0);
                let size = (3.0 * cell * count as f64 / (2.0 * TAU * peak)).cbrt();
                let axis = isotropic(&mut rng);
                let (long, short) = (CLOUD_LENGTH.powf(2.0 / 3.0), CLOUD_LENGTH.powf(-1.0 / 3.0));
                (0..count)
                    .map(|_| {
                        let r = size * rng.uniform().cbrt();
                        let d = isotropic(&mut rng).map(|d| r * d);
                        let along: f64 = (0..3).map(|a| d[a] * axis[a]).sum();
                        Cell {
                            point: Point {
                                x: std::array::from_fn(|a| {
                                    centre[a] + short * d[a] + (long - short) * along * axis[a]
                                }),
                                v: bulk.map(|v| v + 10.0 * rng.normal()),
                            },
                            density: peak,
                            temperature: WARM,
                            metallicity: self.metallicity(r, metals).min(0.2),
                            order: 0.3,
                        }
                    })
                    .collect()
            })
            .collect();
        clouds.into_iter().flatten().collect()
    }
}

/// The gas disc.
pub(crate) struct GasDisc<'a> {
    pub(crate) disc: Disc,
    pub(crate) arms: Arms,
    pub(crate) curve: &'a RotationCurve,
    /// Mass fraction of metals at two scale lengths of the stars.
    pub(crate) metallicity: f64,
    /// Scale length of the stars, the unit of the metallicity gradient.
    pub(crate) stellar_scale: f64,
}

impl GasDisc<'_> {
    /// Metals: a gradient of -0.06 dex a scale length (Sanchez et al. 2014, A&A 563, A49: -0.1 dex an effective radius).
    pub(crate) fn metals(&self, radius: f64) -> f64 {
        let lengths = (radius / self.stellar_scale).min(15.0) - 2.0;
        self.metallicity * 10f64.powf(-0.06 * lengths)
    }

    /// Cells of the disc between its complexes.
    pub(crate) fn smooth(&self, n: usize, rng: &Rng) -> Vec<Cell> {
        (0..n)
            .into_par_iter()
            .map(|i| {
                let mut rng = rng.split(i as u64);
                let (radius, phi) = self.disc.place(self.arms, &mut rng);
                let z = self.disc.elevation(radius, &mut rng);
                let density = self.disc.density(radius, z) * self.arms.factor(radius / self.disc.scale, phi);
                let point = self.curve.gas(&self.disc, DISC_DISPERSION, [radius, phi, z], &mut rng);
                self.cell(point, density, radius, &mut rng)
            })
            .collect()
    }

    /// Cells of giant complexes: Gaussian spheres of one surface density (Larson 1981), in the arms and the plane.
    /// `cell` is the mass of one cell.
    pub(crate) fn complexes(&self, n: usize, cell: f64, rng: &Rng) -> Vec<Cell> {
        let mut sizes = rng.split_named("sizes");
        let complexes: Vec<Vec<Cell>> = cloud_counts(n, COMPLEX_CELLS, &mut sizes)
            .par_iter()
            .enumerate()
            .map(|(i, &count)| {
                let mut rng = rng.split(i as u64);
                let arms = Arms { amplitude: (2.0 * self.arms.amplitude).min(0.9), ..self.arms };
                let (radius, phi) = self.disc.place(arms, &mut rng);
                let centre = self.curve.gas(&self.disc, DISC_DISPERSION, [radius, phi, 0.0], &mut rng);
                let mass = cell * count as f64;
                let size = (mass / (TAU * COMPLEX_SURFACE)).sqrt();
                let peak = mass / (TAU.powf(1.5) * size.powi(3));
                (0..count)
                    .map(|_| {
                        let d = [0; 3].map(|_| rng.normal());
                        let point = Point {
                            x: std::array::from_fn(|a| centre.x[a] + size * d[a]),
                            v: centre.v.map(|v| v + 0.5 * DISC_DISPERSION * rng.normal()),
                        };
                        let shape = (-0.5 * d.iter().map(|d| d * d).sum::<f64>()).exp();
                        let density = self.disc.density(radius, point.x[2]) + peak * shape;
                        self.cell(point, density, radius, &mut rng)
                    })
                    .collect()
            })
            .collect();
        complexes.into_iter().flatten().collect()
    }

    fn cell(&self, point: Point, density: f64, radius: f64, rng: &mut Rng) -> Cell {
        let density = density.max(1e-14);
        Cell {
            point,
            density,
            temperature: disc_temperature(density * NUCLEI),
            // Scatter at one radius: 0.05 dex.
            metallicity: (self.metals(radius) * 10f64.powf(0.05 * rng.normal())).min(0.2),
            order: 0.7,
        }
    }
}

/// Cells of each cloud, dN/dm proportional to m^-1.7 between two sizes (Rosolowsky 2005), `n` together.
fn cloud_counts(n: usize, [low, high]: [f64; 2], rng: &mut Rng) -> Vec<usize> {
    let mut left = n;
    let mut counts = Vec::new();
    while left > 0 {
        let s = -0.7;
        let m = (f64::powf(low, s) + rng.uniform() * (f64::powf(high, s) - f64::powf(low, s))).powf(1.0 / s);
        let count = (m.round() as usize).min(left);
        counts.push(count);
        left -= count;
    }
    counts
}

fn norm(x: [f64; 3]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::super::profile::{Grid, beta_model};
    use super::*;

    #[test]
    fn an_isothermal_sphere_has_its_temperature() {
        // M = 2 s^2 r / G and rho proportional to r^-2: P / rho = s^2 far from the edge.
        let grid = Grid::new(1e-3, 1e5, 600);
        let square = 100.0f64.powi(2);
        let potential = Potential::new(grid, grid.radii().map(|r| 2.0 * square * r / GRAVITY).collect());
        let profile = RadialProfile::new(grid, |r| r.powi(-2));
        let corona = Corona::new(profile, &potential, 0.0, 200.0);
        for r in [0.1, 1.0, 30.0, 500.0] {
            let expected = square * IONISED_WEIGHT / BOLTZMANN_PER_PROTON;
            assert_relative_eq!(corona.temperature(r), expected, max_relative = 2e-3);
        }
    }

    #[test]
    fn clouds_are_cold_dense_and_in_pressure_equilibrium() {
        let grid = Grid::new(1e-2, 600.0, 400);
        let profile = RadialProfile::new(grid, |r| beta_model(r, 20.0, 0.6, 200.0, 40.0));
        let profile = profile.clone().scaled(6.0 / profile.total());
        let potential = Potential::new(grid, grid.radii().map(|r| 0.6 * r).collect());
        let corona = Corona::new(profile, &potential, 20.0, 200.0);
        let cells = corona.clouds(2000, 1e-4, 0.01, &Rng::new(4));
        assert_eq!(cells.len(), 2000);
        // Deep in the corona the density hardly changes across a cloud.
        let mut ratios: Vec<f64> = cells
            .iter()
            .map(|c| {
                assert_eq!(c.temperature, WARM);
                let r = norm(c.point.x);
                c.density * c.temperature / (corona.profile.density(r) * corona.temperature(r))
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        assert_relative_eq!(ratios[1000], 1.0, max_relative = 0.1);
        assert!(ratios[100] > 0.5 && ratios[1900] < 2.0, "{} {}", ratios[100], ratios[1900]);
    }

    #[test]
    fn star_formation_has_a_threshold_and_a_consumption_time() {
        let cell = |n: f64| Cell {
            point: Point::default(),
            density: n / NUCLEI,
            temperature: disc_temperature(n),
            metallicity: 0.01,
            order: 0.5,
        };
        assert_eq!(cell(0.1).star_formation(1.0), 0.0);
        assert_relative_eq!(cell(0.52).star_formation(0.22), 2.0, max_relative = 1e-3);
    }
}
