//! The radial selection of a survey: n(z).

use halocast_core::{Cosmology, Rng};
use serde::{Deserialize, Serialize};

use super::{refuse, same_length};
use crate::{Error, Result};

const OPERATION: &str = "radial selection";

/// The number density of a survey by redshift, linear between the redshifts of a table and zero outside it.
///
/// ```
/// use halocast_core::Rng;
/// use halocast_stats::SelectionFunction;
///
/// let n = SelectionFunction::new(vec![0.1, 0.2, 0.4], vec![2e-3, 1e-3, 0.0])?;
/// assert!((n.density(0.3) - 5e-4).abs() < 1e-12 && n.density(0.5) == 0.0);
/// // Of galaxies ten times denser than the survey's, one in ten is kept.
/// let kept = n.select(&[0.2; 10_000], 1e-2, &mut Rng::new(1))?;
/// assert!((kept.len() as f64 - 1000.0).abs() < 150.0);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectionFunction {
    redshifts: Vec<f64>,
    density: Vec<f64>,
}

impl SelectionFunction {
    /// From redshifts and the comoving number density at each, in one over volume.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for tables of different lengths; [`Error::TooFew`] for fewer than two redshifts;
    /// [`Error::Value`] for redshifts that do not rise from at least zero and densities that are not finite or negative.
    pub fn new(redshifts: Vec<f64>, density: Vec<f64>) -> Result<Self> {
        same_length(OPERATION, "densities", redshifts.len(), density.len())?;
        if redshifts.len() < 2 {
            let (what, got) = ("the table of redshifts".into(), redshifts.len());
            return Err(Error::TooFew { operation: OPERATION, what, expected: 2, got });
        }
        let rising = redshifts[0] >= 0.0 && redshifts.windows(2).all(|z| z[0] < z[1] && z[1].is_finite());
        if !rising {
            return refuse(OPERATION, "the redshifts".into(), "rising from zero", format!("{redshifts:?}"));
        }
        if let Some(i) = density.iter().position(|n| !(n.is_finite() && *n >= 0.0)) {
            let got = density[i].to_string();
            return refuse(OPERATION, format!("density {i}"), "finite, not negative", got);
        }
        Ok(Self { redshifts, density })
    }

    /// The density at a redshift.
    pub fn density(&self, z: f64) -> f64 {
        let (first, last) = (self.redshifts[0], self.redshifts[self.redshifts.len() - 1]);
        if !(first..=last).contains(&z) {
            return 0.0;
        }
        let above = self.redshifts.partition_point(|x| *x <= z).clamp(1, self.redshifts.len() - 1);
        let (a, b) = (self.redshifts[above - 1], self.redshifts[above]);
        let t = (z - a) / (b - a);
        (1.0 - t) * self.density[above - 1] + t * self.density[above]
    }

    /// The places of the objects that are kept, in rising order, so that a cloud of uniform `parent_density` has this
    /// density: each with the probability n(z) / parent. Every object takes one random number.
    ///
    /// # Errors
    /// [`Error::Value`] for a parent density below the largest of the table, from which it cannot be drawn, or a redshift
    /// that is not finite.
    pub fn select(&self, redshifts: &[f64], parent_density: f64, rng: &mut Rng) -> Result<Vec<usize>> {
        let largest = self.density.iter().fold(0.0f64, |m, n| m.max(*n));
        if !(parent_density.is_finite() && parent_density > 0.0 && parent_density >= largest) {
            let expected = format!("positive, at least {largest}");
            return refuse(OPERATION, "the parent's density".into(), expected, parent_density.to_string());
        }
        if let Some(i) = redshifts.iter().position(|z| !z.is_finite()) {
            return refuse(OPERATION, format!("redshift {i}"), "finite", redshifts[i].to_string());
        }
        let kept = redshifts.iter().enumerate();
        Ok(kept.filter(|(_, z)| rng.uniform() * parent_density < self.density(**z)).map(|(i, _)| i).collect())
    }

    /// The expected number of objects in a solid angle, in steradians: the integral of n(z) r^2 dr, distances in Mpc/h.
    pub fn expected_count(&self, cosmology: &Cosmology, solid_angle: f64) -> f64 {
        const STEPS: usize = 64;
        let shells = self.redshifts.windows(2).map(|z| {
            let at = |i: usize| z[0] + (z[1] - z[0]) * i as f64 / STEPS as f64;
            let radius: Vec<f64> = (0..=STEPS).map(|i| cosmology.comoving_distance(at(i))).collect();
            (0..STEPS)
                .map(|i| {
                    let volume = (radius[i + 1].powi(3) - radius[i].powi(3)) / 3.0;
                    self.density(0.5 * (at(i) + at(i + 1))) * volume
                })
                .sum::<f64>()
        });
        solid_angle * shells.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_cloud_gets_the_density_of_the_table() {
        let cosmology = Cosmology::camels();
        let n = SelectionFunction::new(vec![0.0, 0.05, 0.1], vec![1e-3, 1e-3, 0.0]).unwrap();
        // Uniform in a sphere out to z = 0.1.
        let (far, count) = (cosmology.comoving_distance(0.1), 200_000);
        let parent = f64::from(count) / (4.0 / 3.0 * std::f64::consts::PI * far.powi(3));
        let mut rng = Rng::new(1);
        let table: Vec<(f64, f64)> =
            (0..=1000).map(|i| 1e-4 * f64::from(i)).map(|z| (cosmology.comoving_distance(z), z)).collect();
        let redshifts: Vec<f64> = (0..count)
            .map(|_| {
                let r = far * rng.uniform().cbrt();
                let i = table.partition_point(|t| t.0 <= r).clamp(1, 1000);
                let (a, b) = (table[i - 1], table[i]);
                a.1 + (b.1 - a.1) * (r - a.0) / (b.0 - a.0)
            })
            .collect();
        let kept = n.select(&redshifts, parent, &mut rng).unwrap();
        let expected = n.expected_count(&cosmology, 4.0 * std::f64::consts::PI);
        assert!((kept.len() as f64 - expected).abs() < 5.0 * expected.sqrt(), "{} {expected}", kept.len());
        let near = kept.iter().filter(|&&i| redshifts[i] < 0.05).count() as f64;
        let inner = 4.0 / 3.0 * std::f64::consts::PI * cosmology.comoving_distance(0.05).powi(3) * 1e-3;
        assert!((near - inner).abs() < 5.0 * inner.sqrt(), "{near} {inner}");
    }

    #[test]
    fn absurd_tables_are_refused() {
        let told = |z: &[f64], n: &[f64]| SelectionFunction::new(z.to_vec(), n.to_vec()).is_err();
        assert!(told(&[0.1], &[1.0]) && told(&[0.1, 0.2], &[1.0]) && told(&[0.2, 0.1], &[1.0, 1.0]));
        assert!(told(&[0.1, 0.2], &[1.0, -1.0]) && told(&[0.1, f64::NAN], &[1.0, 1.0]));
        let n = SelectionFunction::new(vec![0.1, 0.2], vec![1.0, 2.0]).unwrap();
        assert!(n.select(&[0.1], 1.5, &mut Rng::new(1)).unwrap_err().to_string().contains("at least 2"));
        assert!(n.select(&[f64::NAN], 3.0, &mut Rng::new(1)).is_err());
    }
}
