//! The dark matter: a triaxial halo with subhalos.

use std::ops::Range;

use halocast_core::Rng;
use rayon::prelude::*;

use super::eddington::Eddington;
use super::profile::{GRAVITY, Grid, Potential, RadialProfile, truncated_nfw};
use super::{Point, isotropic};

/// Particles of the smallest subhalo.
const FEWEST: usize = 20;
/// Mass of the largest subhalo over that of the halo.
const LARGEST: f64 = 0.02;
/// Slope of the subhalo mass function dN/dm (Springel et al. 2008, MNRAS 391, 1685).
const MASS_SLOPE: f64 = -1.9;
/// Truncation radius over scale radius of a subhalo.
const SUBHALO_CONCENTRATION: f64 = 10.0;

/// Particles of the halo, the smooth ones first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DarkMatter {
    pub(crate) points: Vec<Point>,
    /// The particles of each subhalo, the most massive first.
    pub(crate) subhalos: Vec<Range<usize>>,
}

/// A halo to draw particles from.
///
/// At every radius r the angles follow the density of the ellipsoid m^2 = (x/a)^2 + (y/b)^2 + (z/c)^2 with the local slope
/// gamma, p proportional to m^-gamma, so that isodensity surfaces are nearly ellipsoids while the spherical mean is the
/// profile itself. Speeds come from [`Eddington`]; their components are stretched in the ratios of the tensor virial
/// theorem of such ellipsoids, W_ii proportional to A_i a_i^2, with the mean square unchanged.
///
/// Subhalos, dN/dm proportional to m^-1.9 from 20 particles to 0.02 of the mass, take the places of smooth particles of the same
/// radius: the profile of all particles is the one asked for. Their centres are drawn from r rho(r) (Springel et al. 2008; Han
/// et al. 2016), their sizes are tidal radii r (m / 2 M(r))^(1/3) (Tormen, Diaferio & Syer 1998), their insides are truncated
/// NFW spheres in equilibrium, and they move as the halo's particles do.
///
/// # Source
/// Binney & Tremaine 2008, section 2.5.3 and equation 4.249 for the tensor virial theorem.
pub(crate) struct Halo<'a> {
    pub(crate) profile: &'a RadialProfile,
    pub(crate) potential: &'a Potential,
    pub(crate) speeds: &'a Eddington,
    pub(crate) r200: f64,
    pub(crate) axis_ratios: [f64; 2],
    pub(crate) substructure: f64,
}

impl Halo<'_> {
    /// `n` particles.
    pub(crate) fn sample(&self, n: usize, rng: &Rng) -> DarkMatter {
        let stretch = stretch([1.0, self.axis_ratios[0], self.axis_ratios[1]]);
        let mut satellites = rng.split_named("subhalos");
        let counts = subhalo_counts(n, self.substructure, &mut satellites);
        let groups: Vec<Vec<Point>> = match counts.is_empty() {
            true => Vec::new(),
            false => {
                let inside = Inside::new();
                counts
                    .par_iter()
                    .enumerate()
                    .map(|(i, &count)| self.subhalo(&inside, n, count, stretch, satellites.split(i as u64)))
                    .collect()
            }
        };
        let taken: Vec<f64> =
            groups.iter().flatten().map(|p| self.profile.mass(norm(p.x)) / self.profile.total()).collect();
        let smooth = rng.split_named("smooth");
        let mut points: Vec<Point> = carve(n, &taken)
            .into_par_iter()
            .enumerate()
            .map(|(i, stratum)| {
                let mut rng = smooth.split(i as u64);
                let u = stratum.start + (stratum.end - stratum.start) * rng.uniform();
                self.particle(self.profile.radius_holding(u), stretch, &mut rng)
            })
            .collect();
        let mut subhalos = Vec::new();
        for group in groups {
            subhalos.push(points.len()..points.len() + group.len());
            points.extend(group);
        }
        DarkMatter { points, subhalos }
    }

    /// A particle at radius `r`.
    fn particle(&self, r: f64, stretch: [f64; 3], rng: &mut Rng) -> Point {
        let slope = (-self.profile.slope(r)).clamp(0.0, 4.0);
        let axes = [1.0, self.axis_ratios[0], self.axis_ratios[1]];
        let x = loop {
            let d = isotropic(rng);
            let m2: f64 = (0..3).map(|i| (d[i] / axes[i]).powi(2)).sum();
            // m^2 is least, 1, on the long axis.
            if rng.uniform() <= m2.powf(-0.5 * slope) {
                break d.map(|d| r * d);
            }
        };
        let speed = self.speeds.speed(r, rng.uniform());
        let d = isotropic(rng);
        Point { x, v: std::array::from_fn(|i| speed * stretch[i] * d[i]) }
    }

    fn subhalo(
        &self,
        inside: &Inside,
        n: usize,
        count: usize,
        stretch: [f64; 3],
        mut rng: Rng,
    ) -> Vec<Point> {
        let r = loop {
            let r = self.profile.radius_holding(rng.uniform());
            if rng.uniform() * self.r200 <= r.min(self.r200) {
                break r;
            }
        };
        let centre = self.particle(r, stretch, &mut rng);
        let mass = self.profile.total() * count as f64 / n as f64;
        let tidal = r * (0.5 * mass / self.potential.enclosed(r)).cbrt();
        let speed = (mass / tidal).sqrt();
        (0..count)
            .map(|_| {
                let p = inside.particle(&mut rng);
                Point {
                    x: std::array::from_fn(|i| centre.x[i] + tidal * p.x[i]),
                    v: std::array::from_fn(|i| centre.v[i] + speed * p.v[i]),
                }
            })
            .collect()
    }
}

/// The inside of every subhalo, in units of its truncation radius and of sqrt(m / r_t).
struct Inside {
    profile: RadialProfile,
    speeds: Eddington,
}

impl Inside {
    fn new() -> Self {
        let grid = Grid::new(1e-3, 2.0, 256);
        let profile = RadialProfile::new(grid, |r| truncated_nfw(r, 1.0, SUBHALO_CONCENTRATION, 0.1));
        let profile = profile.clone().scaled(1.0 / profile.total());
        let potential = Potential::new(grid, grid.radii().map(|r| profile.mass(r)).collect());
        Self { speeds: Eddington::new(&profile, &potential), profile }
    }

    fn particle(&self, rng: &mut Rng) -> Point {
        let r = self.profile.radius_holding(rng.uniform());
        let speed = self.speeds.speed(r, rng.uniform());
        Point { x: isotropic(rng).map(|d| r * d), v: isotropic(rng).map(|d| speed * d) }
    }
}

/// Particles of each subhalo, falling, that hold a fraction `share` of `n` together.
fn subhalo_counts(n: usize, share: f64, rng: &mut Rng) -> Vec<usize> {
    let budget = (share * n as f64).round() as usize;
    let (low, high) = (FEWEST as f64, LARGEST * n as f64);
    let mut counts = Vec::new();
    let mut left = budget;
    if high <= low {
        return counts;
    }
    while left >= FEWEST {
        // The inverse of the cumulative power law.
        let s = MASS_SLOPE + 1.0;
        let u = rng.uniform();
        let m = (low.powf(s) + u * (high.powf(s) - low.powf(s))).powf(1.0 / s);
        let count = (m.round() as usize).min(left);
        counts.push(count);
        left -= count;
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// Strata of the mass quantile for the smooth particles, one each: all of `n` equal ones but those that lie nearest to the
/// quantiles `taken`.
fn carve(n: usize, taken: &[f64]) -> Vec<Range<f64>> {
    let mut free = vec![true; n];
    // The nearest free stratum, by a union of runs: `next[i]` leads to the first free one at or above i.
    let mut up: Vec<usize> = (0..=n).collect();
    let mut down: Vec<usize> = (0..=n).collect();
    let find = |links: &mut Vec<usize>, mut i: usize| {
        while links[i] != i {
            links[i] = links[links[i]];
            i = links[i];
        }
        i
    };
    for &u in taken {
        let i = ((u * n as f64) as usize).min(n - 1);
        let above = find(&mut up, i);
        // `down` counts from one: zero is below the first.
        let below = find(&mut down, i + 1);
        let pick = match (below, above) {
            (0, a) => a,
            (b, a) if a == n => b - 1,
            (b, a) if a - i <= i + 1 - b => a,
            (b, _) => b - 1,
        };
        if pick == n {
            break;
        }
        free[pick] = false;
        up[pick] = pick + 1;
        down[pick + 1] = pick;
    }
    let at = |i: usize| i as f64 / n as f64;
    (0..n).filter(|&i| free[i]).map(|i| at(i)..at(i + 1)).collect()
}

/// Factors on the velocity components of an ellipsoid of semi-axes `axes`, of mean square one.
fn stretch(axes: [f64; 3]) -> [f64; 3] {
    let w = virial_tensor(axes);
    let mean = w.iter().sum::<f64>() / 3.0;
    w.map(|w| (w / mean).sqrt())
}

/// W_ii of an ellipsoid up to a common factor: A_i a_i^2 with
/// A_i = a b c int_0^inf du / ((a_i^2 + u) sqrt((a^2 + u)(b^2 + u)(c^2 + u))).
fn virial_tensor(axes: [f64; 3]) -> [f64; 3] {
    const NODES: usize = 2000;
    std::array::from_fn(|i| {
        // u = s^2 / (1 - s)^2 makes the integrand smooth on [0, 1).
        let sum: f64 = (0..NODES)
            .map(|k| {
                let s = (k as f64 + 0.5) / NODES as f64;
                let root = s / (1.0 - s);
                let u = root * root;
                let delta: f64 = axes.iter().map(|a| (a * a + u).sqrt()).product();
                2.0 * root / (1.0 - s).powi(2) / ((axes[i] * axes[i] + u) * delta)
            })
            .sum();
        sum / NODES as f64 * axes.iter().product::<f64>() * axes[i] * axes[i]
    })
}

fn norm(x: [f64; 3]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The circular velocity sqrt(G M / r) in km/s.
pub(crate) fn circular(mass: f64, r: f64) -> f64 {
    (GRAVITY * mass / r).sqrt()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn the_virial_tensor_of_a_spheroid_is_the_closed_form() {
        // Oblate, e^2 = 1 - c^2: A_1 = sqrt(1-e^2)/e^2 (asin(e)/e - sqrt(1-e^2)), sum A = 2.
        let c: f64 = 0.6;
        let e = (1.0 - c * c).sqrt();
        let a1 = c / (e * e) * (e.asin() / e - c);
        let w = virial_tensor([1.0, 1.0, c]);
        assert_relative_eq!(w[0], a1, max_relative = 1e-4);
        assert_relative_eq!(w[2], (2.0 - 2.0 * a1) * c * c, max_relative = 1e-4);
        let sphere = stretch([1.0; 3]);
        assert!(sphere.iter().all(|s| (s - 1.0).abs() < 1e-12));
    }

    #[test]
    fn carving_takes_as_many_strata_as_there_are_quantiles() {
        let taken = [0.05, 0.051, 0.052, 0.5, 0.999, 1.0, 0.0];
        let strata = carve(100, &taken);
        assert_eq!(strata.len(), 93);
        for u in [0.055, 0.505, 0.995, 0.005] {
            assert!(!strata.iter().any(|s| s.contains(&u)), "{u}");
        }
        assert!(carve(3, &[0.5; 5]).is_empty());
        assert_eq!(carve(10, &[]).len(), 10);
    }

    #[test]
    fn subhalos_hold_their_share() {
        let mut rng = Rng::new(1);
        let counts = subhalo_counts(50_000, 0.08, &mut rng);
        let total: usize = counts.iter().sum();
        assert!((total as f64 - 4000.0).abs() <= FEWEST as f64, "{total}");
        assert!(counts.windows(2).all(|w| w[0] >= w[1]) && counts[0] <= 1000);
        assert!(subhalo_counts(500, 0.08, &mut rng).is_empty());
    }
}
