//! What nearest neighbours of random places say of a cloud: void probabilities and kNN distributions.

use halocast_core::{PeriodicBox, Rng};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::neighbours::Neighbours;
use crate::pairs::checked;
use crate::{Error, Result};

/// The probability that a sphere about a random place holds at least k points.
#[derive(Clone, Debug, PartialEq)]
pub struct KnnCdf {
    /// Radii, in the unit of the positions.
    pub radii: Vec<f64>,
    /// The numbers k.
    pub k: Vec<usize>,
    /// P(at least k points within r), `[k, radius]`: the distribution of the distance to the k-th neighbour.
    pub cdf: Array2<f64>,
    /// The number of random places: the error of a probability p is sqrt(p (1 - p) / places) and the cloud's own.
    pub places: usize,
}

/// The kNN distributions of a cloud in a periodic box, from `places` random places. O((N + places k) log N).
///
/// ```
/// use halocast_core::{PeriodicBox, Rng};
/// use halocast_stats::knn_cdf;
///
/// // A Poisson cloud: P(>= 1 within r) = 1 - exp(-n V).
/// let mut rng = Rng::new(1);
/// let points: Vec<[f64; 3]> = (0..4000).map(|_| [0; 3].map(|_| 20.0 * rng.uniform())).collect();
/// let found = knn_cdf(&points, PeriodicBox::new(20.0)?, &[1, 2], &[0.8, 1.2], 5000, &mut rng)?;
/// let volume = 4.0 / 3.0 * std::f64::consts::PI * 0.8f64.powi(3) * 0.5;
/// assert!((found.cdf[[0, 0]] - (1.0 - (-volume).exp())).abs() < 0.03);
/// assert!(found.cdf[[1, 0]] < found.cdf[[0, 0]] && found.cdf[[0, 1]] > found.cdf[[0, 0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Banerjee & Abel 2021.
///
/// # Errors
/// [`Error::TooFew`] for fewer points than the largest k, no radii, no k or no places; [`Error::Value`] for k = 0, or a position
/// or radius that is not finite.
pub fn knn_cdf(
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    k: &[usize],
    radii: &[f64],
    places: usize,
    rng: &mut Rng,
) -> Result<KnnCdf> {
    let operation = "kNN distribution";
    let points = checked(operation, "the points", points, Some(periodic))?;
    let most = k.iter().copied().max().unwrap_or(0);
    for (what, expected, got) in [
        ("the points", most.max(1), points.len()),
        ("the radii", 1, radii.len()),
        ("the numbers k", 1, k.len()),
        ("the places", 1, places),
    ] {
        if got < expected {
            return Err(Error::TooFew { operation, what: what.into(), expected, got });
        }
    }
    let value = |what: &str, expected: &str, got: String| {
        Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
    };
    if k.contains(&0) {
        return value("k", "at least 1", "0".into());
    }
    if let Some(r) = radii.iter().find(|r| !r.is_finite()) {
        return value("a radius", "finite", r.to_string());
    }
    let tree = Neighbours::new(operation, &points, Some(periodic))?;
    let at: Vec<[f64; 3]> =
        (0..places).map(|_| [0; 3].map(|_| periodic.wrap(periodic.side() * rng.uniform()))).collect();
    let found: Vec<Vec<f64>> = at.par_iter().map(|p| tree.distances(p, most)).collect();
    let mut cdf = Array2::zeros((k.len(), radii.len()));
    for (i, &k) in k.iter().enumerate() {
        let mut distances: Vec<f64> = found.iter().map(|d| d[k - 1]).collect();
        distances.sort_unstable_by(f64::total_cmp);
        for (j, &r) in radii.iter().enumerate() {
            cdf[[i, j]] = distances.partition_point(|&d| d <= r) as f64 / places as f64;
        }
    }
    Ok(KnnCdf { radii: radii.to_vec(), k: k.to_vec(), cdf, places })
}

/// The probability that a sphere about a random place is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoidProbability {
    /// Radii, in the unit of the positions.
    pub radii: Vec<f64>,
    /// P_0(r), one less the first kNN distribution.
    pub probability: Vec<f64>,
    /// exp(-n V): what a Poisson cloud of the same density has.
    pub poisson: Vec<f64>,
}

/// The void probability function of a cloud in a periodic box.
///
/// # Source
/// White 1979.
///
/// # Errors
/// As [`knn_cdf`].
pub fn void_probability(
    points: &[[f64; 3]],
    periodic: PeriodicBox,
    radii: &[f64],
    places: usize,
    rng: &mut Rng,
) -> Result<VoidProbability> {
    let found = knn_cdf(points, periodic, &[1], radii, places, rng)?;
    let density = points.len() as f64 / periodic.volume();
    let poisson = |r: &f64| (-density * 4.0 / 3.0 * std::f64::consts::PI * r.max(0.0).powi(3)).exp();
    Ok(VoidProbability {
        radii: radii.to_vec(),
        probability: found.cdf.row(0).iter().map(|p| 1.0 - p).collect(),
        poisson: radii.iter().map(poisson).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_clouds_are_poisson_and_clumps_leave_voids() {
        let b = PeriodicBox::new(10.0).unwrap();
        let mut rng = Rng::new(2);
        let even: Vec<[f64; 3]> = (0..3000).map(|_| [0; 3].map(|_| 10.0 * rng.uniform())).collect();
        let radii = [0.2, 0.4, 0.6, 0.8];
        let found = void_probability(&even, b, &radii, 20_000, &mut rng).unwrap();
        for (p, q) in found.probability.iter().zip(&found.poisson) {
            assert!((p - q).abs() < 0.02, "{p} {q}");
        }
        let clumped: Vec<[f64; 3]> = even.iter().map(|p| p.map(|x| x.floor() + 0.2 * x.fract())).collect();
        let clumped = void_probability(&clumped, b, &radii, 5000, &mut rng).unwrap();
        assert!(clumped.probability[2] > 1.5 * clumped.poisson[2]);
        // Erlang: P(>= 3) of a Poisson count.
        let third = knn_cdf(&even, b, &[3], &[0.6], 20_000, &mut rng).unwrap().cdf[[0, 0]];
        let mean = 3.0 * 4.0 / 3.0 * std::f64::consts::PI * 0.216;
        assert!((third - (1.0 - (-mean).exp() * (1.0 + mean + mean * mean / 2.0))).abs() < 0.02);
    }

    #[test]
    fn absurd_requests_are_refused() {
        let b = PeriodicBox::new(1.0).unwrap();
        let mut rng = Rng::new(1);
        assert!(knn_cdf(&[[0.5; 3]], b, &[2], &[0.1], 10, &mut rng).is_err());
        assert!(knn_cdf(&[[0.5; 3]], b, &[0], &[0.1], 10, &mut rng).is_err());
        assert!(knn_cdf(&[[0.5; 3]], b, &[1], &[], 10, &mut rng).is_err());
        assert!(knn_cdf(&[[0.5; 3]], b, &[1], &[f64::NAN], 10, &mut rng).is_err());
        assert!(knn_cdf(&[[0.5; 3]], b, &[1], &[0.1], 0, &mut rng).is_err());
        assert!(void_probability(&[], b, &[0.1], 5, &mut rng).is_err());
    }
}
