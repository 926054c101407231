//! Minkowski functionals from the derivatives of smooth periodic fields.

use halocast_core::fft::{Complex, RealFft, wavenumber};
use halocast_core::{Cube, Map};
use ndarray::Array2;
use rayon::prelude::*;

use super::{MinkowskiFunctionals, MinkowskiFunctionals3d, sorting};
use crate::{Error, Result, ensemble};

/// The Minkowski functionals of periodic maps as integrals over the field: in pixel units M0 = area,
/// M1 = sum delta(f - nu) |grad f| / (2 pi) and
/// M2 = sum delta(f - nu) (2 f_x f_y f_xy - f_x^2 f_yy - f_y^2 f_xx) / |grad f|^2 / (2 pi^2), with delta one over `width` within
/// width / 2 of nu. Derivatives are exact for the band-limited field, so that, unlike counts of pixels, the result has no factor
/// of the lattice: for a smooth Gaussian field it meets [`gaussian_minkowski`](crate::gaussian_minkowski) but for terms of second
/// order in the width. The field must be smooth: four pixels of Gaussian smoothing or more. O(N log N) a map.
///
/// # Source
/// Schmalzing & Gorski 1998, eq. 10-13.
///
/// # Errors
/// As [`minkowski_functionals`](crate::minkowski_functionals); [`Error::Value`] for a map that is not periodic or a width that is not
/// positive.
pub fn derivative_minkowski(maps: &[Map], thresholds: &[f64], width: f64) -> Result<MinkowskiFunctionals> {
    ensemble::check(OPERATION, "map", maps, 1)?;
    sorting(thresholds)?;
    check_width(width)?;
    if let Some(i) = maps.iter().position(|m| !m.periodic) {
        return refuse(format!("map {i}"), "periodic", "open".into());
    }
    let [ny, nx] = maps[0].shape();
    let of = |map: &Map| {
        let field = Derivatives::new(map.values.iter().copied(), [1, ny, nx]);
        let [f, y, x, yy, xx, yx] =
            [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 2, 0], [0, 0, 2], [0, 1, 1]].map(|n| field.take(n));
        integrate(&f, thresholds, width, |i| {
            let slope2 = x[i] * x[i] + y[i] * y[i];
            let bend = 2.0 * x[i] * y[i] * yx[i] - x[i] * x[i] * yy[i] - y[i] * y[i] * xx[i];
            let pi = std::f64::consts::PI;
            [slope2.sqrt() / (2.0 * pi), if slope2 > 0.0 { bend / slope2 / (2.0 * pi * pi) } else { 0.0 }]
        })
    };
    let found: Vec<[Vec<f64>; 3]> = maps.par_iter().map(of).collect();
    let values = std::array::from_fn(|f| {
        Array2::from_shape_fn((maps.len(), thresholds.len()), |(map, t)| found[map][f][t])
    });
    Ok(MinkowskiFunctionals { thresholds: thresholds.to_vec(), values, unit: maps[0].unit.label.clone() })
}

/// The Minkowski functionals of a periodic cube as integrals over the field, in the normalisation of
/// [`minkowski_functionals_3d`](crate::minkowski_functionals_3d): the surface, and its mean and Gaussian curvature from the gradient g and
/// the Hessian H, (kappa_1 + kappa_2) = (g H g - g^2 tr H) / g^3 and kappa_1 kappa_2 = g adj(H) g / g^4. See
/// [`derivative_minkowski`].
///
/// # Source
/// Schmalzing & Buchert 1997, eq. 8-10.
///
/// # Errors
/// As [`derivative_minkowski`].
pub fn derivative_minkowski_3d(
    cube: &Cube,
    thresholds: &[f64],
    width: f64,
) -> Result<MinkowskiFunctionals3d> {
    let shape = ensemble::check_cube(OPERATION, "the cube", cube)?;
    sorting(thresholds)?;
    check_width(width)?;
    if !cube.periodic {
        return refuse("the cube".into(), "periodic", "open".into());
    }
    let field = Derivatives::new(cube.values.iter().copied(), shape);
    let f = field.take([0; 3]);
    let gradient = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(|n| field.take(n));
    let [xx, yy, zz] = [[2, 0, 0], [0, 2, 0], [0, 0, 2]].map(|n| field.take(n));
    let [xy, xz, yz] = [[1, 1, 0], [1, 0, 1], [0, 1, 1]].map(|n| field.take(n));
    let [volume, surface, mean, gauss] = integrate(&f, thresholds, width, |i| {
        let [x, y, z] = [0, 1, 2].map(|a: usize| gradient[a][i]);
        let g2 = x * x + y * y + z * z;
        if g2 <= 0.0 {
            return [0.0; 3];
        }
        let (xx, yy, zz, xy, xz, yz) = (xx[i], yy[i], zz[i], xy[i], xz[i], yz[i]);
        let inner = x * x * xx + y * y * yy + z * z * zz + 2.0 * (x * y * xy + x * z * xz + y * z * yz);
        let adjugate = x * x * (yy * zz - yz * yz)
            + y * y * (xx * zz - xz * xz)
            + z * z * (xx * yy - xy * xy)
            + 2.0 * (x * y * (xz * yz - xy * zz) + x * z * (xy * yz - xz * yy) + y * z * (xy * xz - yz * xx));
        // Each times |g|: the area of the surface in a cell.
        let pi = std::f64::consts::PI;
        let curvature = 0.5 * (inner - g2 * (xx + yy + zz)) / g2;
        [
            g2.sqrt() / 8.0,
            curvature / (2.0 * pi * pi),
            adjugate / g2.powf(1.5) / (4.0 * pi) * 3.0 / (4.0 * pi),
        ]
    });
    Ok(MinkowskiFunctionals3d {
        thresholds: thresholds.to_vec(),
        values: [volume, surface, mean, gauss],
        unit: cube.unit.label.clone(),
    })
}

const OPERATION: &str = "Minkowski functionals";

fn check_width(width: f64) -> Result<()> {
    if width.is_finite() && width > 0.0 {
        return Ok(());
    }
    refuse("the width".into(), "finite and positive", width.to_string())
}

fn refuse<T>(what: String, expected: &str, got: String) -> Result<T> {
    Err(Error::Value { operation: OPERATION, what, expected: expected.into(), got })
}

/// The spectrum of a field, to be differentiated.
struct Derivatives {
    fft: RealFft<f64>,
    spectrum: Vec<Complex<f64>>,
}

impl Derivatives {
    fn new(values: impl Iterator<Item = f32>, shape: [usize; 3]) -> Self {
        let fft = RealFft::new(shape);
        let mut spectrum = fft.spectrum();
        fft.forward(&values.map(f64::from).collect::<Vec<f64>>(), &mut spectrum);
        Self { fft, spectrum }
    }

    /// The derivative of these orders along the axes, per cell.
    fn take(&self, orders: [u32; 3]) -> Vec<f64> {
        let shape = self.fft.shape();
        let half = shape[2] / 2 + 1;
        let factor = |axis: usize, i: usize| {
            let k = std::f64::consts::TAU * wavenumber(i, shape[axis]) as f64 / shape[axis] as f64;
            // The Nyquist wave has no odd derivative on the grid.
            let lost = orders[axis] % 2 == 1 && 2 * i == shape[axis];
            if lost { Complex::new(0.0, 0.0) } else { Complex::new(0.0, k).powu(orders[axis]) }
        };
        let mut spectrum: Vec<Complex<f64>> = self
            .spectrum
            .iter()
            .enumerate()
            .map(|(i, f)| {
                f * factor(0, i / half / shape[1]) * factor(1, i / half % shape[1]) * factor(2, i % half)
            })
            .collect();
        let mut out = vec![0.0; shape.iter().product()];
        self.fft.inverse(&mut spectrum, &mut out);
        out
    }
}

/// The area above each threshold, and the integrals of `terms` over the cells within half a width of it, over the width.
fn integrate<const N: usize, const M: usize>(
    f: &[f64],
    thresholds: &[f64],
    width: f64,
    terms: impl Fn(usize) -> [f64; N],
) -> [Vec<f64>; M] {
    let mut order: Vec<usize> = (0..f.len()).collect();
    order.sort_unstable_by(|&a, &b| f[a].total_cmp(&f[b]).then(a.cmp(&b)));
    let below = |nu: f64| order.partition_point(|&i| f[i] < nu);
    let mut out: [Vec<f64>; M] = std::array::from_fn(|_| vec![0.0; thresholds.len()]);
    for (t, &nu) in thresholds.iter().enumerate() {
        out[0][t] = (f.len() - below(nu)) as f64;
        for &i in &order[below(nu - 0.5 * width)..below(nu + 0.5 * width)] {
            for (sum, term) in out[1..].iter_mut().zip(terms(i)) {
                sum[t] += term / width;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use halocast_core::{Rng, Unit};
    use ndarray::Array3;

    use super::*;
    use crate::{gaussian_minkowski, gaussian_minkowski_3d};

    /// A standardised Gaussian field smoothed over `s` cells, and the variance of one component of its gradient.
    fn smooth(shape: [usize; 3], s: f64, seed: u64) -> (Vec<f32>, f64) {
        let fft = RealFft::<f64>::new(shape);
        let mut spectrum = fft.spectrum();
        let white: Vec<f64> =
            Rng::new(seed).normals(shape.iter().product()).into_iter().map(f64::from).collect();
        fft.forward(&white, &mut spectrum);
        let half = shape[2] / 2 + 1;
        let axes = if shape[0] > 1 { 3.0 } else { 2.0 };
        let (mut variance, mut gradient) = (0.0, 0.0);
        for (i, f) in spectrum.iter_mut().enumerate() {
            let at = [i / half / shape[1], i / half % shape[1], i % half];
            let k2: f64 = (0..3)
                .map(|a| {
                    (std::f64::consts::TAU * wavenumber(at[a], shape[a]) as f64 / shape[a] as f64).powi(2)
                })
                .sum();
            *f *= if k2 > 0.0 { (-0.5 * k2 * s * s).exp() } else { 0.0 };
            let weight = if at[2] == 0 || 2 * at[2] == shape[2] { 1.0 } else { 2.0 };
            variance += weight * f.norm_sqr();
            gradient += weight * k2 / axes * f.norm_sqr();
        }
        let mut real = vec![0.0; white.len()];
        fft.inverse(&mut spectrum, &mut real);
        let cells = white.len() as f64;
        let sigma = variance.sqrt() / cells;
        (real.iter().map(|v| (v / sigma) as f32).collect(), gradient / variance)
    }

    #[test]
    fn gaussian_maps_meet_their_closed_forms() {
        let n = 256;
        let fields: Vec<(Vec<f32>, f64)> = (0..16).map(|seed| smooth([1, n, n], 4.0, seed)).collect();
        let tau = fields.iter().map(|f| f.1).sum::<f64>() / 16.0;
        let maps: Vec<Map> = fields
            .into_iter()
            .map(|(v, _)| Map::square("grf", Array2::from_shape_vec((n, n), v).unwrap(), 1.0))
            .collect();
        let thresholds: Vec<f64> = (-4..=4).map(|i| 0.5 * f64::from(i)).collect();
        let found = derivative_minkowski(&maps, &thresholds, 0.1).unwrap();
        let (mean, std, pixels) = (found.mean(), found.std(), (n * n) as f64);
        for (i, &nu) in thresholds.iter().enumerate() {
            let theory = gaussian_minkowski(nu, tau);
            for f in 0..3 {
                // Five standard errors of sixteen maps: nothing for the lattice.
                let error = std[f][i] / 4.0 / pixels;
                assert!(
                    (mean[f][i] / pixels - theory[f]).abs() < 5.0 * error + 1e-4 * theory[f].abs(),
                    "M{f} at {nu}"
                );
            }
        }
    }

    #[test]
    fn gaussian_cubes_meet_their_closed_forms() {
        let (n, seeds) = (64, 8);
        let thresholds = [-1.5, -0.5, 0.5, 1.0, 2.0];
        let mut found = Vec::new();
        let mut tau = 0.0;
        for seed in 0..seeds {
            let (values, own) = smooth([n; 3], 4.0, 100 + seed);
            tau += own / seeds as f64;
            let cube = Cube {
                values: Array3::from_shape_vec((n, n, n), values).unwrap(),
                extent: [1.0; 3],
                length_unit: Unit::mpc_h(),
                unit: Unit::dimensionless(),
                field: "grf".into(),
                periodic: true,
            };
            found.push(derivative_minkowski_3d(&cube, &thresholds, 0.1).unwrap().values);
        }
        let cells = (n * n * n) as f64;
        for (i, &nu) in thresholds.iter().enumerate() {
            let theory = gaussian_minkowski_3d(nu, tau);
            for f in 0..4 {
                let each: Vec<f64> = found.iter().map(|v| v[f][i] / cells).collect();
                let mean = each.iter().sum::<f64>() / seeds as f64;
                let variance = each.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64;
                let error = (variance / seeds as f64).sqrt();
                assert!(
                    (mean - theory[f]).abs() < 6.0 * error + 1e-3 * theory[f].abs(),
                    "M{f} at {nu}: {mean} {} {error}",
                    theory[f]
                );
            }
        }
    }

    #[test]
    fn open_fields_and_absurd_widths_are_refused() {
        let mut map = Map::square("a", Array2::zeros((4, 4)), 1.0);
        assert!(derivative_minkowski(std::slice::from_ref(&map), &[0.0], 0.0).is_err());
        assert!(derivative_minkowski(std::slice::from_ref(&map), &[], 0.1).is_err());
        // A constant map has no boundary.
        let flat = derivative_minkowski(std::slice::from_ref(&map), &[0.0], 0.1).unwrap();
        assert_eq!((flat.values[0][[0, 0]], flat.values[1][[0, 0]]), (16.0, 0.0));
        map.periodic = false;
        assert!(derivative_minkowski(&[map], &[0.0], 0.1).unwrap_err().to_string().contains("periodic"));
    }
}
