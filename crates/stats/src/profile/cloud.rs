//! Radial profiles of clouds: mass and density in shells, radii that hold a fraction of the mass, dispersions.

use std::f64::consts::PI;

use halocast_core::PeriodicBox;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image::{density, running};
use super::lookup::Lookup;
use crate::{Bins, Error, Result};

/// Mass about a centre, in shells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudProfile {
    /// Shells, in the unit of the positions; the last one is closed.
    pub bins: Bins,
    /// The number of points in each shell.
    pub count: Vec<u64>,
    /// Their mass.
    pub mass: Vec<f64>,
}

impl CloudProfile {
    /// Mass over the volume of each shell.
    pub fn density(&self) -> Vec<f64> {
        let volume = |e: &[f64]| 4.0 / 3.0 * PI * (e[1].powi(3) - e[0].powi(3));
        self.mass.iter().zip(self.bins.edges().windows(2)).map(|(m, e)| m / volume(e)).collect()
    }

    /// Mass up to the outer edge of each shell, from the first edge on.
    pub fn cumulative(&self) -> Vec<f64> {
        running(&self.mass)
    }

    /// The share of the mass of all shells per unit of radius.
    pub fn pdf(&self) -> Vec<f64> {
        density(&self.bins, &self.mass)
    }

    /// The Poisson error of [`CloudProfile::density`] for points of equal mass: density / sqrt(count); NaN where a shell is
    /// empty.
    pub fn poisson_error(&self) -> Vec<f64> {
        self.density().iter().zip(&self.count).map(|(d, &n)| d / (n as f64).sqrt()).collect()
    }
}

/// Points that are summed together: fixed, so that sums do not depend on the number of threads.
const SHARE: usize = 1 << 15;

/// The profile of a cloud about `centre`, minimum images in a periodic box. `masses` is one number a point. O(N).
///
/// ```
/// use halocast_stats::{Bins, cloud_profile};
/// let points = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 9.0]];
/// let found = cloud_profile(&points, &[1.0, 2.0, 4.0], [0.0; 3], None, &Bins::linear(0.5, 2.5, 2)?)?;
/// assert_eq!((found.count, found.mass), (vec![1, 1], vec![1.0, 2.0]));
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] when there are not as many masses as points; [`Error::Value`] for a negative radius or a number that
/// is not finite.
pub fn cloud_profile(
    points: &[[f64; 3]],
    masses: &[f64],
    centre: [f64; 3],
    periodic: Option<PeriodicBox>,
    bins: &Bins,
) -> Result<CloudProfile> {
    let operation = "cloud profile";
    check(operation, points, masses, centre)?;
    if bins.edges()[0] < 0.0 {
        let (what, expected) = ("the first radius".into(), "not negative".into());
        return Err(Error::Value { operation, what, expected, got: bins.edges()[0].to_string() });
    }
    let lookup = Lookup::new(bins.edges().iter().map(|e| e * e).collect());
    let share = |(points, masses): (&[[f64; 3]], &[f64])| {
        let mut sums = vec![(0u64, 0.0); bins.count()];
        for (p, m) in points.iter().zip(masses) {
            if let Some(bin) = lookup.bin(squared(*p, centre, periodic)) {
                sums[bin].0 += 1;
                sums[bin].1 += m;
            }
        }
        sums
    };
    let shares: Vec<_> = points.par_chunks(SHARE).zip(masses.par_chunks(SHARE)).map(share).collect();
    let mut sums = vec![(0u64, 0.0); bins.count()];
    for share in shares {
        sums.iter_mut().zip(share).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1));
    }
    let (count, mass) = sums.into_iter().unzip();
    Ok(CloudProfile { bins: bins.clone(), count, mass })
}

/// The radius about `centre` that holds `fraction` of the mass of a cloud: that of the point with which the sum, by
/// increasing radius, reaches it. 0.5 for the half-mass radius. O(N log N).
///
/// # Errors
/// As [`cloud_profile`]; [`Error::TooFew`] for no points; [`Error::Value`] for a fraction outside (0, 1], a negative mass or
/// a mass of zero in all.
pub fn mass_radius(
    points: &[[f64; 3]],
    masses: &[f64],
    centre: [f64; 3],
    periodic: Option<PeriodicBox>,
    fraction: f64,
) -> Result<f64> {
    let operation = "mass radius";
    check(operation, points, masses, centre)?;
    let total = positive_total(operation, masses)?;
    if !(fraction > 0.0 && fraction <= 1.0) {
        let (what, expected) = ("the fraction".into(), "above 0, at most 1".into());
        return Err(Error::Value { operation, what, expected, got: fraction.to_string() });
    }
    let mut by_radius: Vec<(f64, f64)> =
        points.iter().zip(masses).map(|(p, m)| (squared(*p, centre, periodic), *m)).collect();
    by_radius.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut sum = 0.0;
    for (r2, m) in &by_radius {
        sum += m;
        if sum >= fraction * total * (1.0 - 1e-12) {
            return Ok(r2.sqrt());
        }
    }
    Ok(by_radius[by_radius.len() - 1].0.sqrt())
}

/// The velocity dispersion of a cloud about its mean velocity, weighted by mass: along x, y, z, each
/// the root of the mean of (v - mean v)^2. The one-dimensional dispersion of the whole is the root mean square of the three.
///
/// # Errors
/// As [`mass_radius`].
pub fn velocity_dispersion(velocities: &[[f64; 3]], masses: &[f64]) -> Result<[f64; 3]> {
    let operation = "velocity dispersion";
    check(operation, velocities, masses, [0.0; 3])?;
    let total = positive_total(operation, masses)?;
    let mean = |f: &dyn Fn(&[f64; 3]) -> f64| {
        velocities.iter().zip(masses).map(|(v, m)| m * f(v)).sum::<f64>() / total
    };
    Ok(std::array::from_fn(|a| {
        let centre = mean(&|v| v[a]);
        mean(&|v| (v[a] - centre).powi(2)).sqrt()
    }))
}

pub(super) fn separation(p: [f64; 3], centre: [f64; 3], periodic: Option<PeriodicBox>) -> [f64; 3] {
    std::array::from_fn(|a| periodic.map_or(p[a] - centre[a], |b| b.separation(p[a] - centre[a])))
}

fn squared(p: [f64; 3], centre: [f64; 3], periodic: Option<PeriodicBox>) -> f64 {
    separation(p, centre, periodic).iter().map(|d| d * d).sum()
}

pub(super) fn check(
    operation: &'static str,
    points: &[[f64; 3]],
    masses: &[f64],
    centre: [f64; 3],
) -> Result<()> {
    let refuse =
        |what: String, got: String| Err(Error::Value { operation, what, expected: "finite".into(), got });
    if points.len() != masses.len() {
        let (what, expected) = ("the number of masses".into(), points.len().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: masses.len().to_string() });
    }
    if centre.iter().any(|x| !x.is_finite()) {
        return refuse("the centre".into(), format!("{centre:?}"));
    }
    if let Some(i) = points.iter().position(|p| p.iter().any(|x| !x.is_finite())) {
        return refuse(format!("point {i}"), format!("{:?}", points[i]));
    }
    match masses.iter().position(|m| !m.is_finite()) {
        Some(i) => refuse(format!("mass {i}"), masses[i].to_string()),
        None => Ok(()),
    }
}

pub(super) fn positive_total(operation: &'static str, masses: &[f64]) -> Result<f64> {
    if masses.is_empty() {
        return Err(Error::TooFew { operation, what: "the points".into(), expected: 1, got: 0 });
    }
    let total: f64 = masses.iter().sum();
    if let Some(m) = masses.iter().copied().find(|m| *m < 0.0).or((total <= 0.0).then_some(total)) {
        let (what, expected) = ("a mass, or the sum of all".into(), "positive".into());
        return Err(Error::Value { operation, what, expected, got: m.to_string() });
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    /// Points of an NFW halo of scale radius 1 and concentration 10, by the inverse of its mass.
    fn nfw(count: usize) -> Vec<[f64; 3]> {
        let mass = |x: f64| (1.0 + x).ln() - x / (1.0 + x);
        let mut rng = Rng::new(11);
        let mut point = |_| {
            let target = rng.uniform() * mass(10.0);
            let (mut low, mut high) = (0.0, 10.0);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if mass(middle) < target { low = middle } else { high = middle }
            }
            let v: [f64; 3] = std::array::from_fn(|_| rng.normal());
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.map(|x| 5.0 + low * x / length)
        };
        (0..count).map(&mut point).collect()
    }

    #[test]
    fn an_nfw_cloud_returns_its_profile() {
        let count = 200_000;
        let points = nfw(count);
        let masses = vec![1.0; count];
        let bins = Bins::logarithmic(0.05, 10.0, 20).unwrap();
        let found = cloud_profile(&points, &masses, [5.0; 3], None, &bins).unwrap();
        let enclosed = |x: f64| ((1.0 + x).ln() - x / (1.0 + x)) / (11f64.ln() - 10.0 / 11.0);
        for (i, e) in bins.edges().windows(2).enumerate() {
            let expected = count as f64 * (enclosed(e[1]) - enclosed(e[0]));
            assert!(
                (found.mass[i] - expected).abs() < 5.0 * expected.sqrt(),
                "shell {i}: {} {expected}",
                found.mass[i]
            );
            // And the density at the middle of the shell, to the curvature of the profile.
            let x = (e[0] * e[1]).sqrt();
            let rho = count as f64 / (4.0 * PI * (11f64.ln() - 10.0 / 11.0)) / (x * (1.0 + x).powi(2));
            assert!((found.density()[i] / rho - 1.0).abs() < 0.03 + 5.0 / expected.sqrt());
        }
        let half = mass_radius(&points, &masses, [5.0; 3], None, 0.5).unwrap();
        assert!((enclosed(half) - 0.5).abs() < 5.0 * 0.5 / (count as f64).sqrt());
        // A periodic box that cuts the halo open is no hindrance.
        let b = PeriodicBox::new(40.0).unwrap();
        let moved: Vec<[f64; 3]> = points.iter().map(|p| p.map(|x| b.wrap(x - 5.0))).collect();
        let cut = cloud_profile(&moved, &masses, [0.0; 3], Some(b), &bins).unwrap();
        let differ: u64 = cut.count.iter().zip(&found.count).map(|(a, b)| a.abs_diff(*b)).sum();
        assert!(differ < 5, "{differ} points changed shells by rounding");
    }

    #[test]
    fn dispersions_are_about_the_mean() {
        let v = [[100.0, 1.0, 0.0], [102.0, 1.0, 3.0]];
        assert_eq!(velocity_dispersion(&v, &[1.0, 1.0]).unwrap(), [1.0, 0.0, 1.5]);
        assert!(velocity_dispersion(&v, &[1.0, -1.0]).is_err());
        assert!(velocity_dispersion(&v, &[1.0]).is_err());
        assert!(velocity_dispersion(&[], &[]).is_err());
    }

    #[test]
    fn bad_masses_and_fractions_are_named() {
        let p = [[0.0; 3]];
        let told = |r: Result<f64>| r.unwrap_err().to_string();
        assert!(told(mass_radius(&p, &[f64::NAN], [0.0; 3], None, 0.5)).contains("mass 0"));
        assert!(told(mass_radius(&p, &[1.0], [0.0; 3], None, 0.0)).contains("fraction"));
        assert_eq!(mass_radius(&p, &[1.0], [3.0, 4.0, 0.0], None, 0.5).unwrap(), 5.0);
    }
}
