//! Minkowski functionals of the excursion sets of maps and cubes, all thresholds in one pass over each.

mod cubes;
mod derivative;
mod gaussian;
mod octets;
mod pixels;
#[cfg(feature = "candle")]
mod polynomial;
mod ranks;
mod windows;

use halocast_core::{Curve, Map};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};
pub use cubes::{MinkowskiFunctionals3d, minkowski_functionals_3d};
pub use derivative::{derivative_minkowski, derivative_minkowski_3d};
pub(crate) use gaussian::erfc;
pub use gaussian::{gaussian_minkowski, gaussian_minkowski_3d};
pub use pixels::PixelCounts;
#[cfg(feature = "candle")]
pub(crate) use polynomial::{Frame, Polynomial};
use ranks::Ranks;

/// Three functionals, each a number per threshold.
type M = [Vec<f64>; 3];

/// Which estimator of the three functionals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinkowskiConvention {
    /// QuantImPy's: a table over the (ny - 1)(nx - 1) windows of 2 x 2 pixels, not periodic. The length is Crofton's
    /// in four directions (right for smooth boundaries), the Euler characteristic 8-connected background and
    /// 4-connected set. The last row and column do not count as area; the edge of the image is no boundary.
    #[default]
    Quantimpy,
    /// Exact counts of pixels: the area, the number of pixel edges on the boundary (4/pi times the length of a smooth
    /// boundary of random direction), the Euler characteristic.
    Pixels {
        /// Whether pixels that touch only at a corner are joined (8-connected) or apart (4-connected).
        diagonal: bool,
        /// Whether opposite sides of the map meet.
        periodic: bool,
    },
}

/// The functionals of an ensemble of maps, in pixel units: M0 = area, M1 = boundary length / (2 pi), M2 = Euler
/// characteristic / pi.
#[derive(Clone, Debug, PartialEq)]
pub struct MinkowskiFunctionals {
    /// The thresholds nu; the excursion set is f >= nu.
    pub thresholds: Vec<f64>,
    /// M0, M1, M2, each `[map, threshold]`.
    pub values: [Array2<f64>; 3],
    /// The unit of the thresholds, as it stands on an axis.
    pub unit: String,
}

impl MinkowskiFunctionals {
    /// The mean over maps of each functional.
    pub fn mean(&self) -> [Vec<f64>; 3] {
        std::array::from_fn(|i| ensemble::mean(self.values[i].view()))
    }

    /// The standard deviation of one map, with n - 1.
    pub fn std(&self) -> [Vec<f64>; 3] {
        std::array::from_fn(|i| ensemble::std(self.values[i].view()))
    }

    /// Mean and scatter of functional `index`, 0 to 2, as a curve; of the last one for a greater `index`.
    pub fn curve(&self, index: usize) -> Curve {
        let index = index.min(2);
        let label = threshold_label(&self.unit);
        let y = ["M0 = area", "M1 = length / 2 pi", "M2 = Euler characteristic / pi"][index];
        ensemble::curve(&self.thresholds, self.values[index].view(), label, format!("{y} [pixels]"))
    }
}

fn threshold_label(unit: &str) -> String {
    match unit {
        "" => "threshold".into(),
        unit => format!("threshold [{unit}]"),
    }
}

/// The Minkowski functionals of every map at every threshold, in one pass over each map and in parallel over maps:
/// O(pixels), for thresholds close to one another O(pixels log thresholds), never O(pixels x thresholds).
///
/// A pixel is compared in float64 with the threshold. Thresholds may come in any order and are kept in it.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{MinkowskiConvention, minkowski_functionals};
/// use ndarray::Array2;
///
/// // One bright pixel: area 1, four edges, one component without hole.
/// let mut values = Array2::zeros((5, 5));
/// values[[2, 2]] = 1.0;
/// let pixels = MinkowskiConvention::Pixels { diagonal: true, periodic: false };
/// let m = minkowski_functionals(&[Map::square("dot", values, 1.0)], &[0.5], pixels)?;
/// assert_eq!(m.values[0][[0, 0]], 1.0);
/// assert!((m.values[1][[0, 0]] * std::f64::consts::TAU - 4.0).abs() < 1e-12);
/// assert!((m.values[2][[0, 0]] * std::f64::consts::PI - 1.0).abs() < 1e-12);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// QuantImPy 0.2.6 (Boelens & Tchelepi 2021), whose 2-D functionals are a sum of a fixed table over windows; the table was
/// read off its results. Counts of pixels: Legland et al. 2007.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`crate::power_spectra`]; [`Error::Value`] for no
/// thresholds or one that is not finite.
pub fn minkowski_functionals(
    maps: &[Map],
    thresholds: &[f64],
    convention: MinkowskiConvention,
) -> Result<MinkowskiFunctionals> {
    let order = check(maps, thresholds)?;
    let of = |map: &Map| -> M {
        match convention {
            MinkowskiConvention::Quantimpy if thresholds.len() <= usize::from(u8::MAX) => {
                windows::functionals(&Ranks::<u8>::new(map, thresholds, &order))
            }
            MinkowskiConvention::Quantimpy => {
                windows::functionals(&Ranks::<u32>::new(map, thresholds, &order))
            }
            MinkowskiConvention::Pixels { diagonal, periodic } => {
                let counts = pixels::counts(&Ranks::new(map, thresholds, &order), periodic);
                let euler = if diagonal { counts.euler_8 } else { counts.euler_4 };
                let scaled = |v: Vec<i64>, by: f64| v.into_iter().map(|c| c as f64 / by).collect();
                [
                    scaled(counts.area, 1.0),
                    scaled(counts.boundary, std::f64::consts::TAU),
                    scaled(euler, std::f64::consts::PI),
                ]
            }
        }
    };
    let each: Vec<M> = maps.par_iter().map(of).collect();
    let shape = (maps.len(), thresholds.len());
    let values = std::array::from_fn(|f| {
        let mut values = Array2::zeros(shape);
        for (map, m) in each.iter().enumerate() {
            order.iter().zip(&m[f]).for_each(|(&t, &v)| values[[map, t]] = v);
        }
        values
    });
    Ok(MinkowskiFunctionals { thresholds: thresholds.to_vec(), values, unit: maps[0].unit.label.clone() })
}

/// The exact integers of the pixel complex of one map, both connectivities at once.
///
/// # Errors
/// As [`minkowski_functionals`].
pub fn pixel_counts(map: &Map, thresholds: &[f64], periodic: bool) -> Result<PixelCounts> {
    let order = check(std::slice::from_ref(map), thresholds)?;
    let sorted = pixels::counts(&Ranks::new(map, thresholds, &order), periodic);
    let unsort = |values: Vec<i64>| {
        let mut out = vec![0; values.len()];
        order.iter().zip(values).for_each(|(&t, v)| out[t] = v);
        out
    };
    Ok(PixelCounts {
        area: unsort(sorted.area),
        boundary: unsort(sorted.boundary),
        euler_4: unsort(sorted.euler_4),
        euler_8: unsort(sorted.euler_8),
    })
}

const OPERATION: &str = "Minkowski functionals";

/// The order that sorts the thresholds.
fn check(maps: &[Map], thresholds: &[f64]) -> Result<Vec<usize>> {
    ensemble::check(OPERATION, "map", maps, 1)?;
    sorting(thresholds)
}

pub(crate) fn sorting(thresholds: &[f64]) -> Result<Vec<usize>> {
    let operation = OPERATION;
    if thresholds.is_empty() {
        return Err(Error::TooFew { operation, what: "the thresholds".into(), expected: 1, got: 0 });
    }
    if let Some((i, nu)) = thresholds.iter().enumerate().find(|(_, nu)| !nu.is_finite()) {
        let (what, expected) = (format!("threshold {i}"), "finite".into());
        return Err(Error::Value { operation, what, expected, got: nu.to_string() });
    }
    // A rank shares 32 bits with the four bits of a window's code or corner.
    if thresholds.len() >= 1 << 28 {
        let (what, expected) = ("the number of thresholds".into(), "below 2^28".into());
        return Err(Error::Value { operation, what, expected, got: thresholds.len().to_string() });
    }
    let mut order: Vec<usize> = (0..thresholds.len()).collect();
    order.sort_by(|&a, &b| thresholds[a].total_cmp(&thresholds[b]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use halocast_core::fft::{RealFft, wavenumber};

    use super::*;

    fn noise(shape: (usize, usize), seed: u64) -> Map {
        let values = Array2::from_shape_vec(shape, Rng::new(seed).normals(shape.0 * shape.1)).unwrap();
        Map::square("noise", values, 1.0)
    }

    /// A periodic Gaussian field with power exp(-(k s)^2), standardised; its tau measured in Fourier space.
    fn smooth(n: usize, s: f64, seed: u64) -> (Map, f64) {
        let fft = RealFft::<f64>::new([1, n, n]);
        let mut f = fft.spectrum();
        let white: Vec<f64> = noise((n, n), seed).values.iter().map(|&v| f64::from(v)).collect();
        fft.forward(&white, &mut f);
        let (mut variance, mut gradient) = (0.0, 0.0);
        for y in 0..n {
            for x in 0..=n / 2 {
                let k = std::f64::consts::TAU / n as f64;
                let k2 = k * k * (wavenumber(y, n).pow(2) + (x * x) as i64) as f64;
                let amplitude = &mut f[y * (n / 2 + 1) + x];
                *amplitude *= if k2 > 0.0 { (-0.5 * k2 * s * s).exp() } else { 0.0 };
                let weight = if x == 0 || 2 * x == n { 1.0 } else { 2.0 };
                variance += weight * amplitude.norm_sqr();
                gradient += weight * 0.5 * k2 * amplitude.norm_sqr();
            }
        }
        let mut real = vec![0.0; n * n];
        fft.inverse(&mut f, &mut real);
        let sigma = (variance / (n * n) as f64 / (n * n) as f64).sqrt();
        let values = Array2::from_shape_vec((n, n), real.iter().map(|v| (v / sigma) as f32).collect());
        (Map::square("grf", values.unwrap(), n as f64), gradient / variance)
    }

    #[test]
    fn one_pass_equals_one_threshold_at_a_time() {
        let map = [noise((13, 9), 1)];
        let thresholds = [0.5, -2.0, 0.0, 0.5, 7.0, 1.1, -9.0];
        for convention in [
            MinkowskiConvention::Quantimpy,
            MinkowskiConvention::Pixels { diagonal: true, periodic: true },
            MinkowskiConvention::Pixels { diagonal: false, periodic: false },
        ] {
            let all = minkowski_functionals(&map, &thresholds, convention).unwrap();
            for (i, &nu) in thresholds.iter().enumerate() {
                let one = minkowski_functionals(&map, &[nu], convention).unwrap();
                for f in 0..3 {
                    assert!((all.values[f][[0, i]] - one.values[f][[0, 0]]).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn simple_shapes_have_their_known_counts() {
        // A ring of eight pixels and, touching its corner, one more pixel.
        let mut values = Array2::<f32>::zeros((7, 7));
        values.slice_mut(ndarray::s![1..4, 1..4]).fill(1.0);
        values[[2, 2]] = 0.0;
        values[[4, 4]] = 1.0;
        let map = Map::square("ring", values, 1.0);
        for periodic in [false, true] {
            let c = pixel_counts(&map, &[1.0], periodic).unwrap();
            assert_eq!((c.area[0], c.boundary[0]), (9, 12 + 4 + 4));
            assert_eq!(c.euler_4[0], 1); // a ring (0) and a dot (1)
            assert_eq!(c.euler_8[0], 0); // one component, one hole
        }
        let full = Map::square("full", Array2::from_elem((5, 8), 1.0), 1.0);
        let open = pixel_counts(&full, &[0.0], false).unwrap();
        assert_eq!((open.area[0], open.boundary[0], open.euler_4[0], open.euler_8[0]), (40, 26, 1, 1));
        let torus = pixel_counts(&full, &[0.0], true).unwrap();
        assert_eq!((torus.boundary[0], torus.euler_4[0], torus.euler_8[0]), (0, 0, 0));
    }

    #[test]
    fn euler_characteristics_of_set_and_complement_cancel_on_the_torus() {
        let map = noise((10, 14), 6);
        let (set, rest) = (
            pixel_counts(&map, &[0.3], true).unwrap(),
            pixel_counts(&map.map_values(|v| -v), &[(-0.3f64).next_up()], true).unwrap(),
        );
        assert_eq!(set.euler_8[0], -rest.euler_4[0]);
        assert_eq!(set.boundary[0], rest.boundary[0]);
        assert_eq!(set.area[0] + rest.area[0], 140);
    }

    #[test]
    fn a_smooth_gaussian_field_follows_its_closed_forms() {
        let n = 512;
        let maps: Vec<(Map, f64)> = (0..8).map(|seed| smooth(n, 4.0, seed)).collect();
        let tau = maps.iter().map(|m| m.1).sum::<f64>() / 8.0;
        let maps: Vec<Map> = maps.into_iter().map(|m| m.0).collect();
        let thresholds: Vec<f64> = (-4..=4).map(|i| 0.5 * f64::from(i)).collect();
        let m = minkowski_functionals(&maps, &thresholds, MinkowskiConvention::default()).unwrap();
        let (windows, mean, std) = (((n - 1) * (n - 1)) as f64, m.mean(), m.std());
        // The grid itself costs up to 3 % of the largest value; beyond it five standard errors of eight maps.
        let scale = [1.0, tau.sqrt() / (4.0 * std::f64::consts::PI), gaussian_minkowski(1.0, tau)[2]];
        for (i, &nu) in thresholds.iter().enumerate() {
            let theory = gaussian_minkowski(nu, tau);
            for f in 0..3 {
                let (found, noise) = (mean[f][i] / windows, std[f][i] / windows / 8f64.sqrt());
                let limit = 0.03 * scale[f] + 5.0 * noise;
                assert!((found - theory[f]).abs() < limit, "M{f} at {nu}: {found} {theory:?} {limit}");
                assert!(noise < 0.03 * scale[f]);
            }
        }
    }

    #[test]
    fn absurd_thresholds_are_refused() {
        let map = [noise((4, 4), 1)];
        assert!(minkowski_functionals(&map, &[], MinkowskiConvention::default()).is_err());
        let error =
            minkowski_functionals(&map, &[0.0, f64::NAN], MinkowskiConvention::default()).unwrap_err();
        assert!(error.to_string().contains("threshold 1"), "{error}");
    }
}
