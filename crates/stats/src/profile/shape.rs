//! Shapes and abundances of haloes: axis ratios of the inertia tensor, the mass function.

use halocast_core::PeriodicBox;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::cloud::{check, positive_total, separation};
use crate::{Bins, Error, Result, eigen};

/// The shape of a cloud by its second moments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AxisRatios {
    /// Root-mean-square extents along the three axes, a >= b >= c, in the unit of the positions.
    pub extents: [f64; 3],
    /// b / a.
    pub intermediate: f64,
    /// c / a.
    pub minor: f64,
    /// (a^2 - b^2) / (a^2 - c^2): 0 oblate, 1 prolate; NaN for a sphere.
    pub triaxiality: f64,
    /// Unit vectors along the axes a, b, c.
    pub axes: [[f64; 3]; 3],
}

/// The axis ratios of a cloud: square roots of the eigenvalues of sum m x_i x_j / sum m about `centre`. Those of a
/// homogeneous ellipsoid are its own; within a sphere, of a steeper cloud, they are rounder than its isodensity surfaces.
///
/// # Source
/// Zemp et al. 2011, the shape tensor without weights.
///
/// # Errors
/// As [`mass_radius`](super::mass_radius); NaN ratios where all mass is at the centre.
pub fn axis_ratios(
    points: &[[f64; 3]],
    masses: &[f64],
    centre: [f64; 3],
    periodic: Option<PeriodicBox>,
) -> Result<AxisRatios> {
    let operation = "axis ratios";
    check(operation, points, masses, centre)?;
    let total = positive_total(operation, masses)?;
    let mut tensor = Array2::zeros((3, 3));
    for (p, m) in points.iter().zip(masses) {
        let d = separation(*p, centre, periodic);
        for i in 0..3 {
            for j in 0..3 {
                tensor[[i, j]] += m * d[i] * d[j] / total;
            }
        }
    }
    let (values, vectors) = eigen::symmetric(&tensor);
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    let squared = order.map(|i| values[i].max(0.0));
    let [a, b, c] = squared.map(f64::sqrt);
    Ok(AxisRatios {
        extents: [a, b, c],
        intermediate: b / a,
        minor: c / a,
        triaxiality: (squared[0] - squared[1]) / (squared[0] - squared[2]),
        axes: order.map(|i| [vectors[[0, i]], vectors[[1, i]], vectors[[2, i]]]),
    })
}

/// The abundance of haloes by mass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MassFunction {
    /// Bins of mass.
    pub bins: Bins,
    /// Haloes in each bin.
    pub count: Vec<u64>,
    /// dn / dlog10 M, per volume and decade.
    pub density: Vec<f64>,
    /// Its Poisson error, density / sqrt(count); that of one halo where there is none.
    pub error: Vec<f64>,
    /// Haloes above the last edge.
    pub above: u64,
}

impl MassFunction {
    /// The number of haloes above the lower edge of each bin, n(> M) times the volume.
    pub fn cumulative(&self) -> Vec<u64> {
        let mut sum = self.above;
        let mut out: Vec<u64> = self
            .count
            .iter()
            .rev()
            .map(|n| {
                sum += n;
                sum
            })
            .collect();
        out.reverse();
        out
    }
}

/// The halo mass function of a catalogue in a volume: counts / (V dlog10 M).
///
/// ```
/// use halocast_stats::{Bins, halo_mass_function};
/// let found = halo_mass_function(&[2e12, 3e12, 5e13, 2e15], 1000.0, &Bins::new(vec![1e12, 1e13, 1e14])?)?;
/// assert_eq!((found.count.clone(), found.above), (vec![2, 1], 1));
/// assert!((found.density[0] - 2e-3).abs() < 1e-15);
/// assert_eq!(found.cumulative(), [4, 2]);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFew`] for no haloes; [`Error::Value`] for a mass that is not finite and positive, an absurd volume or bins that do
/// not begin above zero.
pub fn halo_mass_function(masses: &[f64], volume: f64, bins: &Bins) -> Result<MassFunction> {
    let operation = "halo mass function";
    let positive = |what: String, value: f64| match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => {
            let expected = "finite and positive".into();
            Err(Error::Value { operation, what, expected, got: value.to_string() })
        }
    };
    if masses.is_empty() {
        return Err(Error::TooFew { operation, what: "the haloes".into(), expected: 1, got: 0 });
    }
    positive("the volume".into(), volume)?;
    positive("the first mass".into(), bins.edges()[0])?;
    masses.iter().enumerate().try_for_each(|(i, &m)| positive(format!("mass {i}"), m))?;
    let (mut count, mut above) = (vec![0u64; bins.count()], 0);
    for m in masses {
        match bins.edges().partition_point(|e| e <= m) {
            0 => {}
            i if i > bins.count() => above += 1,
            i => count[i - 1] += 1,
        }
    }
    let per_halo = bins.edges().windows(2).map(|e| 1.0 / (volume * (e[1] / e[0]).log10()));
    let (density, error) =
        per_halo.zip(&count).map(|(one, &n)| (one * n as f64, one * (n.max(1) as f64).sqrt())).unzip();
    Ok(MassFunction { bins: bins.clone(), count, density, error, above })
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn an_ellipsoid_has_its_own_ratios() {
        let mut rng = Rng::new(3);
        let mut points = Vec::new();
        while points.len() < 100_000 {
            let p: [f64; 3] = std::array::from_fn(|_| 2.0 * rng.uniform() - 1.0);
            if p.iter().map(|x| x * x).sum::<f64>() < 1.0 {
                // Half-axes 3, 2, 1 along (x + y), (y - x), z.
                let [a, b, c] = [3.0 * p[0], 2.0 * p[1], p[2]];
                points.push([(a - b) / 2f64.sqrt(), (a + b) / 2f64.sqrt(), c]);
            }
        }
        let found = axis_ratios(&points, &vec![2.0; points.len()], [0.0; 3], None).unwrap();
        assert!((found.intermediate - 2.0 / 3.0).abs() < 0.01 && (found.minor - 1.0 / 3.0).abs() < 0.01);
        assert!((found.triaxiality - 5.0 / 8.0).abs() < 0.01);
        assert!((found.extents[0] - 3.0 / 5f64.sqrt()).abs() < 0.02);
        assert!((found.axes[0][0].abs() - 0.5f64.sqrt()).abs() < 0.02 && found.axes[2][2].abs() > 0.999);
    }

    #[test]
    fn absurd_haloes_are_refused() {
        let bins = Bins::new(vec![1.0, 2.0]).unwrap();
        assert!(halo_mass_function(&[], 1.0, &bins).is_err());
        assert!(halo_mass_function(&[1.0, -1.0], 1.0, &bins).unwrap_err().to_string().contains("mass 1"));
        assert!(halo_mass_function(&[1.0], 0.0, &bins).is_err());
        assert!(halo_mass_function(&[1.0], 1.0, &Bins::linear(0.0, 1.0, 2).unwrap()).is_err());
        assert!(axis_ratios(&[[1.0; 3]], &[1.0], [1.0; 3], None).unwrap().minor.is_nan());
    }
}
