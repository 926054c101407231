//! The bispectrum of maps and cubes, all triangles of a set of bins, by Fourier transforms.

use halocast_core::fft::{Complex, RealFft, wavenumber};
use halocast_core::{Cube, Map};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Bins, Error, Result, ensemble};

/// The bispectrum of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bispectrum {
    /// Bins of wavenumber, in 1 / length unit: bin i holds `edge_i <= k < edge_(i+1)`.
    pub bins: Bins,
    /// The three bins of each kind of triangle, in rising order.
    pub triangles: Vec<[usize; 3]>,
    /// B of each, in the field's unit cubed times length^(2 d).
    pub bispectrum: Vec<f64>,
    /// The number of triples of modes k_1 + k_2 + k_3 = 0, ordered.
    pub count: Vec<f64>,
    /// The power of each bin, in the field's unit squared times length^d; NaN without modes.
    pub power: Vec<f64>,
}

impl Bispectrum {
    /// The reduced bispectrum Q = B / (P_1 P_2 + P_2 P_3 + P_3 P_1).
    pub fn reduced(&self) -> Vec<f64> {
        let q = |(t, b): (&[usize; 3], &f64)| {
            let [p, q, r] = t.map(|i| self.power[i]);
            b / (p * q + q * r + r * p)
        };
        self.triangles.iter().zip(&self.bispectrum).map(q).collect()
    }

    /// The bispectrum of triangles of equal sides, by bin.
    pub fn equilateral(&self) -> Vec<(usize, f64)> {
        let each = self.triangles.iter().zip(&self.bispectrum);
        each.filter(|(t, _)| t[0] == t[2]).map(|(t, b)| (t[0], *b)).collect()
    }

    /// The bispectrum of triangles with one side in bin `short` and two equal longer ones, by the bin of these.
    pub fn squeezed(&self, short: usize) -> Vec<(usize, f64)> {
        let each = self.triangles.iter().zip(&self.bispectrum);
        each.filter(|(t, _)| t[0] == short && t[1] == t[2] && t[1] > short).map(|(t, b)| (t[2], *b)).collect()
    }
}

/// The bispectrum of a map: B = <F_1 F_2 F_3> A^2 / N^3 over the triples of modes of each three bins that close, A the area and N
/// the number of pixels.
///
/// The sum over triples is the sum over pixels of D_1 D_2 D_3, D_i the field of the modes of bin i alone; their number is the same
/// with one for every mode. O(bins N log N + triangles N) and two fields a bin of memory. The field is used as it is.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{Bins, bispectrum};
/// use ndarray::Array2;
///
/// // Three waves that close a triangle, k = (2, 0), (0, 3), (-2, -3): B times the number of triples is A^2 a^3 / 4.
/// let turn = |m: f32| (std::f32::consts::TAU * m / 16.0).cos();
/// let field = |(y, x): (usize, usize)| {
///     let (y, x) = (y as f32, x as f32);
///     turn(2.0 * x) + turn(3.0 * y) + turn(-2.0 * x - 3.0 * y)
/// };
/// let map = Map::square("waves", Array2::from_shape_fn((16, 16), field), std::f64::consts::TAU);
/// let found = bispectrum(&map, &Bins::new(vec![1.5, 2.5, 3.2, 4.0])?)?;
/// let at = found.triangles.iter().position(|t| *t == [0, 1, 2]).unwrap_or_default();
/// let area = std::f64::consts::TAU.powi(2);
/// assert!((found.bispectrum[at] * found.count[at] / (area * area / 4.0) - 1.0).abs() < 1e-5);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Scoccimarro 2000; Sefusatti et al. 2016, eq. 38-40.
///
/// # Errors
/// [`Error::Map`] for a pixel that is not finite; [`Error::Value`] for bins that begin below zero or reach beyond 2/3 of the smallest
/// Nyquist wavenumber, where triples close only by aliasing, and for bins without a closed triple.
pub fn bispectrum(map: &Map, bins: &Bins) -> Result<Bispectrum> {
    ensemble::check(OPERATION, "map", std::slice::from_ref(map), 1)?;
    let [ny, nx] = map.shape();
    of_field(
        &map.values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(),
        [1, ny, nx],
        [1.0, map.extent[0], map.extent[1]],
        bins,
    )
}

/// The bispectrum of a cube: as [`bispectrum`] with B = <F_1 F_2 F_3> V^2 / N^3.
///
/// # Errors
/// As [`bispectrum`].
pub fn bispectrum_3d(cube: &Cube, bins: &Bins) -> Result<Bispectrum> {
    let shape = ensemble::check_cube(OPERATION, "the cube", cube)?;
    of_field(&cube.values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), shape, cube.extent, bins)
}

const OPERATION: &str = "bispectrum";

fn of_field(values: &[f64], shape: [usize; 3], extent: [f64; 3], bins: &Bins) -> Result<Bispectrum> {
    let used: Vec<usize> = (0..3).filter(|&a| a > 0 || shape[0] > 1).collect();
    let fundamental = extent.map(|side| std::f64::consts::TAU / side);
    let nyquist = used.iter().map(|&a| fundamental[a] * shape[a] as f64 / 2.0).fold(f64::INFINITY, f64::min);
    let (first, last) = (bins.edges()[0], bins.edges()[bins.count()]);
    if first < 0.0 || last > nyquist * 2.0 / 3.0 * (1.0 + 1e-9) {
        let (what, expected) =
            ("the bins of wavenumber".into(), format!("between 0 and {}", nyquist * 2.0 / 3.0));
        return Err(Error::Value { operation: OPERATION, what, expected, got: format!("{first} to {last}") });
    }
    let fft = RealFft::<f64>::new(shape);
    let mut spectrum = fft.spectrum();
    fft.forward(values, &mut spectrum);
    let half = shape[2] / 2 + 1;
    let bin_of = |i: usize| {
        let at = [i / half / shape[1], i / half % shape[1], i % half];
        let k2: f64 =
            used.iter().map(|&a| (fundamental[a] * wavenumber(at[a], shape[a]) as f64).powi(2)).sum();
        // Rounding must not move a mode across an edge that it lies on.
        bins.edges().partition_point(|&e| e <= k2.sqrt() * (1.0 + 1e-12))
    };
    let place: Vec<usize> = (0..spectrum.len()).map(bin_of).collect();
    // D and I of each bin, and its power.
    let mut fields = Vec::with_capacity(bins.count());
    let mut power = Vec::with_capacity(bins.count());
    let cells = values.len() as f64;
    let volume: f64 = used.iter().map(|&a| extent[a]).product();
    for bin in 1..=bins.count() {
        let zero = Complex::new(0.0, 0.0);
        let mut kept: Vec<Complex<f64>> =
            spectrum.iter().zip(&place).map(|(f, p)| if *p == bin { *f } else { zero }).collect();
        let mut ones: Vec<Complex<f64>> =
            place.iter().map(|p| Complex::new(f64::from(u8::from(*p == bin)), 0.0)).collect();
        let (mut sum, mut modes) = (0.0, 0.0);
        for (i, f) in kept.iter().enumerate().filter(|(i, _)| place[*i] == bin) {
            let weight = if i % half == 0 || 2 * (i % half) == shape[2] { 1.0 } else { 2.0 };
            sum += weight * f.norm_sqr();
            modes += weight;
        }
        power.push(sum / modes * volume / (cells * cells));
        let (mut d, mut one) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        fft.inverse(&mut kept, &mut d);
        fft.inverse(&mut ones, &mut one);
        fields.push((d, one));
    }
    let all = (0..bins.count())
        .flat_map(|i| (i..bins.count()).flat_map(move |j| (j..bins.count()).map(move |l| [i, j, l])));
    let edges = bins.edges();
    let candidates: Vec<[usize; 3]> =
        all.filter(|t| edges[t[2]] < edges[t[0] + 1] + edges[t[1] + 1]).collect();
    let sums: Vec<(f64, f64)> = candidates
        .par_iter()
        .map(|t| {
            let [a, b, c] = t.map(|i| &fields[i]);
            (0..values.len()).fold((0.0, 0.0), |sum, x| {
                (sum.0 + a.0[x] * b.0[x] * c.0[x], sum.1 + a.1[x] * b.1[x] * c.1[x])
            })
        })
        .collect();
    let mut found = Bispectrum {
        bins: bins.clone(),
        triangles: Vec::new(),
        bispectrum: Vec::new(),
        count: Vec::new(),
        power,
    };
    for (triangle, (field, ones)) in candidates.into_iter().zip(sums) {
        // The number of triples is whole.
        let count = (ones * cells * cells).round();
        if count > 0.0 {
            found.triangles.push(triangle);
            found.bispectrum.push(field * cells * cells / count * volume * volume / cells.powi(3));
            found.count.push(count);
        }
    }
    if found.triangles.is_empty() {
        let (what, expected) = ("the bins of wavenumber".into(), "modes that close a triangle".into());
        return Err(Error::Value { operation: OPERATION, what, expected, got: "none".into() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    /// Every ordered triple of modes of a square map, one by one.
    fn brute(map: &Map, bins: &Bins) -> Vec<([usize; 3], f64, f64)> {
        let n = map.shape()[0] as i64;
        let k_f = std::f64::consts::TAU / map.extent[0];
        let modes: Vec<(i64, i64, usize, Complex<f64>)> = (-n / 2 + 1..n / 2)
            .flat_map(|ky| (-n / 2 + 1..n / 2).map(move |kx| (ky, kx)))
            .filter_map(|(ky, kx)| {
                let k = k_f * ((ky * ky + kx * kx) as f64).sqrt();
                let bin = bins.edges().partition_point(|&e| e <= k);
                ((1..=bins.count()).contains(&bin)).then(|| {
                    let term = |((y, x), v): ((usize, usize), &f32)| {
                        let turns = (ky * y as i64 + kx * x as i64) as f64 / n as f64;
                        Complex::from_polar(f64::from(*v), -std::f64::consts::TAU * turns)
                    };
                    (ky, kx, bin - 1, map.values.indexed_iter().map(term).sum())
                })
            })
            .collect();
        let mut sums = std::collections::BTreeMap::new();
        for a in &modes {
            for b in &modes {
                for c in modes.iter().filter(|c| a.0 + b.0 + c.0 == 0 && a.1 + b.1 + c.1 == 0) {
                    if a.2 <= b.2 && b.2 <= c.2 {
                        let entry = sums.entry([a.2, b.2, c.2]).or_insert((0.0, 0.0));
                        entry.0 += (a.3 * b.3 * c.3).re;
                        entry.1 += 1.0;
                    }
                }
            }
        }
        let norm = map.extent[0].powi(4) / (n as f64).powi(6);
        sums.into_iter().map(|(t, (sum, count))| (t, norm * sum / count, count)).collect()
    }

    #[test]
    fn transforms_give_what_all_triples_do() {
        let values = Array2::from_shape_vec((12, 12), Rng::new(1).normals(144)).unwrap();
        let map = Map::square("noise", values.mapv(|v| v + 0.3 * v * v), 7.0);
        let k_f = std::f64::consts::TAU / 7.0;
        let bins = Bins::new([0.9, 1.9, 2.7, 3.9].iter().map(|k| k * k_f).collect()).unwrap();
        let found = bispectrum(&map, &bins).unwrap();
        let expected = brute(&map, &bins);
        assert_eq!(found.triangles.len(), expected.len());
        for (i, (triangle, b, count)) in expected.into_iter().enumerate() {
            assert_eq!((found.triangles[i], found.count[i]), (triangle, count));
            assert!((found.bispectrum[i] - b).abs() < 1e-10 * (1.0 + b.abs()), "{triangle:?}");
        }
    }

    fn cube(values: Vec<f32>, shape: [usize; 3], extent: [f64; 3]) -> Cube {
        Cube {
            values: ndarray::Array3::from_shape_vec(shape, values).unwrap(),
            extent,
            length_unit: halocast_core::Unit::mpc_h(),
            unit: halocast_core::Unit::dimensionless(),
            field: "field".into(),
            periodic: true,
        }
    }

    /// The modes of a box inside the bins, and the bin of each.
    fn modes(shape: [usize; 3], extent: [f64; 3], bins: &Bins) -> Vec<([i64; 3], usize)> {
        let range = |n: usize| -(n as i64 - 1) / 2..=(n as i64 - 1) / 2;
        let all = range(shape[0])
            .flat_map(|x| range(shape[1]).flat_map(move |y| range(shape[2]).map(move |z| [x, y, z])));
        all.filter_map(|m| {
            let k = (0..3).map(|a| (std::f64::consts::TAU / extent[a] * m[a] as f64).powi(2)).sum::<f64>();
            let bin = bins.edges().partition_point(|&e| e <= k.sqrt());
            (1..=bins.count()).contains(&bin).then(|| (m, bin - 1))
        })
        .collect()
    }

    /// Sums of `term` over the ordered triples of modes that close, and their number, by their bins in rising order.
    fn triples(
        modes: &[([i64; 3], usize)],
        term: impl Fn(usize, usize, usize) -> f64,
    ) -> std::collections::BTreeMap<[usize; 3], (f64, f64)> {
        let place: std::collections::HashMap<[i64; 3], usize> =
            modes.iter().enumerate().map(|(i, m)| (m.0, i)).collect();
        let mut sums = std::collections::BTreeMap::new();
        for (i, a) in modes.iter().enumerate() {
            for (j, b) in modes.iter().enumerate().filter(|(_, b)| a.1 <= b.1) {
                let third: [i64; 3] = std::array::from_fn(|n| -a.0[n] - b.0[n]);
                if let Some(&l) = place.get(&third).filter(|&&l| b.1 <= modes[l].1) {
                    let entry = sums.entry([a.1, b.1, modes[l].1]).or_insert((0.0, 0.0));
                    entry.0 += term(i, j, l);
                    entry.1 += 1.0;
                }
            }
        }
        sums
    }

    #[test]
    fn triples_of_a_stretched_cube_are_those_one_by_one() {
        let (shape, extent) = ([6, 8, 9], [3.0, 4.4, 4.0]);
        let values: Vec<f32> = Rng::new(2).normals(432).iter().map(|v| v + 0.3 * v * v).collect();
        let bins = Bins::new(vec![1.3, 2.2, 3.0, 3.7]).unwrap();
        let found = bispectrum_3d(&cube(values.clone(), shape, extent), &bins).unwrap();
        let modes = modes(shape, extent, &bins);
        let transform = |m: &[i64; 3]| -> Complex<f64> {
            let term = |(i, v): (usize, &f32)| {
                let at = [i / 72, i / 9 % 8, i % 9];
                let turns: f64 = (0..3).map(|a| m[a] as f64 * at[a] as f64 / shape[a] as f64).sum();
                Complex::from_polar(f64::from(*v), -std::f64::consts::TAU * turns)
            };
            values.iter().enumerate().map(term).sum()
        };
        let f: Vec<Complex<f64>> = modes.iter().map(|m| transform(&m.0)).collect();
        let expected = triples(&modes, |i, j, l| (f[i] * f[j] * f[l]).re);
        let volume: f64 = extent.iter().product();
        assert_eq!(found.triangles.len(), expected.len());
        for (i, (triangle, (sum, count))) in expected.into_iter().enumerate() {
            assert_eq!((found.triangles[i], found.count[i]), (triangle, count));
            let b = sum / count * volume * volume / 432f64.powi(3);
            assert!((found.bispectrum[i] - b).abs() < 1e-10 * (1.0 + b.abs()), "{triangle:?}");
        }
    }

    /// f = g + f_NL (g^2 - <g^2>) has B = 2 f_NL (P_1 P_2 + P_2 P_3 + P_3 P_1) + O(f_NL^3). The mean over g and -g has no
    /// terms of odd order in g, which are noise alone, and P_1 P_2 is averaged over triples, not over bins: with wide bins
    /// of a steep spectrum the product of mean powers is off by tens of per cent.
    #[test]
    fn a_local_field_has_its_bispectrum() {
        let (n, side, f_nl, draws) = (16usize, std::f64::consts::TAU, 0.05, 200);
        let fft = RealFft::<f64>::new([n; 3]);
        let power = |m: [i64; 3]| {
            let k2 = m.iter().map(|m| m * m).sum::<i64>();
            // Band-limited: squares of g alias to no wavenumber of the bins.
            if (1..=25).contains(&k2) { 1e-3 / k2 as f64 } else { 0.0 }
        };
        let bins = Bins::new(vec![0.9, 2.2, 3.6, 5.1]).unwrap();
        let modes = modes([n; 3], [side; 3], &bins);
        let p: Vec<f64> = modes.iter().map(|m| power(m.0)).collect();
        let theory = triples(&modes, |i, j, l| p[i] * p[j] + p[j] * p[l] + p[l] * p[i]);
        // Fourier amplitudes of volume one: <|F|^2> = N^2 P.
        let scale = side.powi(6);
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); theory.len()];
        for seed in 0..draws {
            let white: Vec<f64> = Rng::new(seed).normals(n.pow(3)).iter().map(|&v| f64::from(v)).collect();
            let mut spectrum = fft.spectrum();
            fft.forward(&white, &mut spectrum);
            for (i, f) in spectrum.iter_mut().enumerate() {
                let half = n / 2 + 1;
                let m = [i / half / n, i / half % n, i % half].map(|i| wavenumber(i, n));
                *f *= power(m).sqrt() * (n as f64).powf(1.5);
            }
            let mut g = vec![0.0; n.pow(3)];
            fft.inverse(&mut spectrum, &mut g);
            let both = [1.0, -1.0].map(|sign| {
                let values = g.iter().map(|g| (sign * g + f_nl * g * g) as f32).collect();
                bispectrum_3d(&cube(values, [n; 3], [side; 3]), &bins).unwrap()
            });
            let mean = both[0].bispectrum.iter().zip(&both[1].bispectrum).map(|(a, b)| 0.5 * (a + b) / scale);
            mean.enumerate().for_each(|(i, b)| found[i].push(b));
        }
        let mut told = 0;
        for ((triangle, (sum, count)), each) in theory.iter().zip(&found) {
            let expected = 2.0 * f_nl * sum / count;
            let mean = each.iter().sum::<f64>() / draws as f64;
            let variance = each.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (draws - 1) as f64;
            let error = (variance / draws as f64).sqrt();
            assert!((mean - expected).abs() < 4.5 * error, "{triangle:?}: {mean} {expected} {error}");
            told += usize::from(error < 0.1 * expected);
        }
        // Folded triangles have few triples; what the others say is worth saying.
        assert!(2 * told > theory.len(), "{told} of {} triangles are known to a tenth", theory.len());
    }

    #[test]
    fn bins_that_cannot_close_are_refused() {
        let map = Map::square("a", Array2::zeros((12, 12)), std::f64::consts::TAU);
        let told =
            |edges: &[f64]| bispectrum(&map, &Bins::new(edges.to_vec()).unwrap()).unwrap_err().to_string();
        assert!(told(&[1.0, 5.0]).contains("between 0 and 4"), "{}", told(&[1.0, 5.0]));
        assert!(told(&[3.7, 3.8]).contains("close"));
        assert!(told(&[-1.0, 2.0]).contains("between"));
    }
}
