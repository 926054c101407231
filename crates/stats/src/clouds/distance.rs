//! Chamfer and Hausdorff distances of two clouds.

use halocast_core::PeriodicBox;
use serde::{Deserialize, Serialize};

use super::neighbours::Neighbours;
use crate::Result;
use crate::pairs::checked;

/// How far two clouds are, by the distances of each point to the nearest one of the other cloud.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudDistance {
    /// The mean distance from a to b plus that from b to a, in the unit of the positions ("CD-L1" is half of it).
    pub chamfer: f64,
    /// The same of squared distances ("CD-L2").
    pub chamfer_squared: f64,
    /// The largest of all these distances.
    pub hausdorff: f64,
}

/// Chamfer and Hausdorff distances of two clouds of any sizes, minimum images in a periodic box. O((n + m) log).
///
/// ```
/// use halocast_stats::cloud_distance;
/// let (a, b) = ([[0.0; 3], [4.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]);
/// let found = cloud_distance(&a, &b, None)?;
/// assert_eq!(found.chamfer_squared, (1.0 + 17.0) / 2.0 + 1.0);
/// assert_eq!(found.hausdorff, 17f64.sqrt());
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Fan, Su & Guibas 2017; Yu et al. 2021 for the two Chamfer conventions.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew) for an empty cloud; [`Error::Value`](crate::Error::Value) for a position that is
/// not finite.
pub fn cloud_distance(
    a: &[[f64; 3]],
    b: &[[f64; 3]],
    periodic: Option<PeriodicBox>,
) -> Result<CloudDistance> {
    let operation = "distance of clouds";
    let (a, b) = (checked(operation, "cloud a", a, periodic)?, checked(operation, "cloud b", b, periodic)?);
    let there = Neighbours::new(operation, &b, periodic)?.nearest(&a);
    let back = Neighbours::new(operation, &a, periodic)?.nearest(&b);
    let mean = |f: fn(f64) -> f64| {
        let one = |d: &[f64]| d.iter().map(|&d| f(d)).sum::<f64>() / d.len() as f64;
        one(&there) + one(&back)
    };
    Ok(CloudDistance {
        chamfer: mean(|d| d),
        chamfer_squared: mean(|d| d * d),
        hausdorff: there.iter().chain(&back).fold(0.0, |m, d| d.max(m)),
    })
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn the_tree_finds_what_all_pairs_say() {
        let mut rng = Rng::new(1);
        let mut cloud =
            |n: usize| -> Vec<[f64; 3]> { (0..n).map(|_| [0; 3].map(|_| 4.0 * rng.uniform())).collect() };
        let (a, b) = (cloud(70), cloud(90));
        for periodic in [None, Some(PeriodicBox::new(4.0).unwrap())] {
            let distance = |p: &[f64; 3], q: &[f64; 3]| match periodic {
                Some(b) => b.distance(*p, *q),
                None => (0..3).map(|i| (p[i] - q[i]).powi(2)).sum::<f64>().sqrt(),
            };
            let nearest = |p: &[f64; 3], all: &[[f64; 3]]| {
                all.iter().map(|q| distance(p, q)).fold(f64::INFINITY, f64::min)
            };
            let there: Vec<f64> = a.iter().map(|p| nearest(p, &b)).collect();
            let back: Vec<f64> = b.iter().map(|p| nearest(p, &a)).collect();
            let found = cloud_distance(&a, &b, periodic).unwrap();
            let expected = there.iter().sum::<f64>() / 70.0 + back.iter().sum::<f64>() / 90.0;
            assert!((found.chamfer - expected).abs() < 1e-12);
            let worst = there.iter().chain(&back).fold(0.0f64, |m, d| m.max(*d));
            assert!((found.hausdorff - worst).abs() < 1e-12);
        }
        assert_eq!(cloud_distance(&a, &a, None).unwrap().chamfer, 0.0);
        assert!(cloud_distance(&a, &[], None).is_err());
        assert!(cloud_distance(&[[f64::NAN; 3]], &a, None).unwrap_err().to_string().contains("cloud a"));
    }
}
