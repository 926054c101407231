//! Which Fourier mode belongs to which bin, with exact counts of independent modes.

use halocast_core::fft::wavenumber;

use super::{Binning, Window};

/// No bin: the mode is not used.
const NONE: u32 = u32::MAX;

/// The bins of all modes of a grid. A two-dimensional grid has one plane: `shape[0] = 1`.
///
/// A real field has F(-k) = F(k)*, so that of each pair +-k one mode is independent, and the modes that are their own
/// conjugates (zero and Nyquist combinations) count once. In the planes kz = 0 and kz = Nyquist of the half spectrum
/// both members of a pair are stored: each gets the weight 1/2.
pub(crate) struct Modes {
    shape: [usize; 3],
    radius: Radius,
    window: [Vec<f64>; 3],
    /// Wavenumber of each bin.
    pub(crate) k: Vec<f64>,
    /// Lower and upper edge of each bin.
    pub(crate) edges: Vec<[f64; 2]>,
    /// The number of independent modes in each bin.
    pub(crate) count: Vec<u64>,
    /// The smallest Nyquist wavenumber of the axes.
    pub(crate) nyquist: f64,
}

/// How |k| of a mode gives its bin.
enum Radius {
    /// All axes have one fundamental wavenumber: the bin is a function of the integer |k|^2 / k_F^2.
    Integer(Vec<u32>),
    /// Fundamental wavenumbers in units of the smallest, and the bins by floor or by rule.
    Real { ratio: [f64; 3], bin: Vec<u32>, binning: Binning },
}

impl Modes {
    pub(crate) fn new(shape: [usize; 3], extent: [f64; 3], binning: Binning, window: Window) -> Self {
        let used: Vec<usize> = (0..3).filter(|&i| i > 0 || shape[0] > 1).collect();
        let fundamental = extent.map(|side| std::f64::consts::TAU / side);
        let k_f = used.iter().map(|&i| fundamental[i]).fold(f64::INFINITY, f64::min);
        let nyquist =
            used.iter().map(|&i| fundamental[i] * shape[i] as f64 / 2.0).fold(f64::INFINITY, f64::min);
        let ratio = std::array::from_fn(|i| if used.contains(&i) { fundamental[i] / k_f } else { 0.0 });
        let equal = used.iter().all(|&i| (ratio[i] - 1.0).abs() < 1e-12);
        let largest: f64 = (0..3).map(|i| (ratio[i] * (shape[i] / 2) as f64).powi(2)).sum();
        let smallest_axis = used.iter().map(|&i| shape[i]).min().unwrap_or(1);

        let raw_bins = match binning {
            Binning::Pylians => largest.sqrt() as usize + 2,
            Binning::Mudur => smallest_axis / 2,
        };
        let identity: Vec<u32> = (0..raw_bins as u32).collect();
        let radius = if equal {
            let squares = (0..3).map(|i| (shape[i] / 2).pow(2)).sum::<usize>();
            Radius::Integer((0..=squares as u64).map(|r2| integer_bin(r2, binning, raw_bins)).collect())
        } else {
            Radius::Real { ratio, bin: identity.clone(), binning }
        };
        let power = window.order();
        let window = shape.map(|n| (0..n).map(|i| deconvolution(wavenumber(i, n), n, power)).collect());
        let mut modes =
            Self { shape, radius, window, k: Vec::new(), edges: Vec::new(), count: Vec::new(), nyquist };

        // Twice the count is an integer, so the sums are exact. Rows at +-x, +-y have the same modes.
        let (mut twice, mut sum_k) = (vec![0u64; raw_bins], vec![0.0; raw_bins]);
        for x in 0..=shape[0] / 2 {
            for y in 0..=shape[1] / 2 {
                let rows = (mirrored(x, shape[0]).count() * mirrored(y, shape[1]).count()) as f64;
                modes.visit_row(x, y, |bin, weight, z| {
                    twice[bin] += (2.0 * weight * rows) as u64;
                    let m = [(x, 0), (y, 1), (z, 2)].map(|(i, axis)| wavenumber(i, shape[axis]) as f64);
                    let r2: f64 = (0..3).map(|i| (ratio[i] * m[i]).powi(2)).sum();
                    sum_k[bin] += weight * rows * r2.sqrt();
                });
            }
        }
        let kept: Vec<usize> = (0..raw_bins).filter(|&j| twice[j] > 0).collect();
        let mut place = vec![NONE; raw_bins];
        for (i, &j) in kept.iter().enumerate() {
            place[j] = i as u32;
            modes.count.push(twice[j] / 2);
            let j_f = j as f64;
            match binning {
                Binning::Pylians => {
                    modes.k.push(k_f * sum_k[j] / (twice[j] as f64 / 2.0));
                    modes.edges.push([k_f * j_f, k_f * (j_f + 1.0)]);
                }
                Binning::Mudur => {
                    modes.k.push(k_f * j_f);
                    modes.edges.push([k_f * (j_f - 0.25).max(0.0), k_f * (j_f + 0.25)]);
                }
            }
        }
        match &mut modes.radius {
            Radius::Integer(table) => {
                table.iter_mut().filter(|b| **b != NONE).for_each(|b| *b = place[*b as usize]);
            }
            Radius::Real { bin, .. } => *bin = place,
        }
        modes
    }

    /// The number of modes in a row of the half spectrum.
    pub(super) fn half(&self) -> usize {
        self.shape[2] / 2 + 1
    }

    /// The bin of every mode of the row `(x, y)`, the number of bins for one without; and its weight, times the window's
    /// correction. Both are the same for the rows at -x and -y.
    pub(super) fn row(&self, x: usize, y: usize, bins: &mut [u32], weights: &mut [f64]) {
        let (none, row) = (self.k.len(), self.row_window(x, y));
        self.visit_whole_row(x, y, |bin, weight, z| {
            bins[z] = bin.unwrap_or(none) as u32;
            weights[z] = weight * row * self.window[2][z];
        });
    }

    /// Calls `visit(bin, weight, z)` for every mode of the half spectrum's row `(x, y)` that has a bin.
    pub(crate) fn visit_row(&self, x: usize, y: usize, mut visit: impl FnMut(usize, f64, usize)) {
        self.visit_whole_row(x, y, |bin, weight, z| {
            if let Some(bin) = bin {
                visit(bin, weight, z);
            }
        });
    }

    /// The same for every mode of the row, whether it has a bin or not.
    pub(super) fn visit_whole_row(
        &self,
        x: usize,
        y: usize,
        mut visit: impl FnMut(Option<usize>, f64, usize),
    ) {
        let [nx, ny, nz] = self.shape;
        let (kx, ky) = (wavenumber(x, nx), wavenumber(y, ny));
        let own_conjugate = (nx - x) % nx == x && (ny - y) % ny == y;
        for z in 0..=nz / 2 {
            let bin = self.bin([kx, ky, z as i64]);
            let in_plane = z == 0 || 2 * z == nz;
            let weight = if in_plane && !own_conjugate { 0.5 } else { 1.0 };
            visit((bin != NONE).then_some(bin as usize), weight, z);
        }
    }

    /// The factor on |F|^2 that undoes the mass-assignment window along the first two axes.
    pub(crate) fn row_window(&self, x: usize, y: usize) -> f64 {
        self.window[0][x] * self.window[1][y]
    }

    /// The factors along the last axis.
    pub(crate) fn last_window(&self) -> &[f64] {
        &self.window[2]
    }

    fn bin(&self, m: [i64; 3]) -> u32 {
        match &self.radius {
            Radius::Integer(table) => table[m.iter().map(|m| m * m).sum::<i64>() as usize],
            Radius::Real { ratio, bin, binning } => {
                let r = (0..3).map(|i| (ratio[i] * m[i] as f64).powi(2)).sum::<f64>().sqrt();
                let r = snapped(r);
                let j = match binning {
                    Binning::Pylians => {
                        if r < 1.0 {
                            return NONE;
                        }
                        r as usize
                    }
                    Binning::Mudur => {
                        let j = r.round();
                        if r < j - 0.25 || r >= j + 0.25 {
                            return NONE;
                        }
                        j as usize
                    }
                };
                bin.get(j).copied().unwrap_or(NONE)
            }
        }
    }
}

/// The places of a wavenumber and its negative on an axis of `n`: two, or one that is its own.
pub(super) fn mirrored(i: usize, n: usize) -> impl Iterator<Item = usize> + Clone {
    let other = (n - i) % n;
    std::iter::once(i).chain((other != i).then_some(other))
}

/// Rounding must not move a mode of exactly integer |k| / k_F into the bin below.
pub(super) fn snapped(r: f64) -> f64 {
    if (r - r.round()).abs() < 1e-9 * r { r.round() } else { r }
}

/// The bin of the integer `r2` = |k|^2 / k_F^2, without rounding anywhere.
fn integer_bin(r2: u64, binning: Binning, bins: usize) -> u32 {
    let floor = r2.isqrt();
    let j = match binning {
        Binning::Pylians if r2 == 0 => return NONE,
        Binning::Pylians => floor,
        // j - 1/4 <= |k| < j + 1/4, squared and times 16.
        Binning::Mudur => {
            let inside = |j: u64| (j == 0 || 16 * r2 >= (4 * j - 1).pow(2)) && 16 * r2 < (4 * j + 1).pow(2);
            match [floor, floor + 1].into_iter().find(|&j| inside(j)) {
                Some(j) => j,
                None => return NONE,
            }
        }
    };
    if (j as usize) < bins { j as u32 } else { NONE }
}

/// (x / sin x)^(2p), x = pi k / n.
fn deconvolution(k: i64, n: usize, order: i32) -> f64 {
    if k == 0 || order == 0 {
        return 1.0;
    }
    let x = std::f64::consts::PI * k as f64 / n as f64;
    (x / x.sin()).powi(2 * order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mode of the full plane, pairs found by hand.
    fn brute(shape: [usize; 3], bins: usize) -> Vec<(u64, f64)> {
        let mut out = vec![(0, 0.0); bins];
        let mut seen = std::collections::HashSet::new();
        for x in 0..shape[0] {
            for y in 0..shape[1] {
                for z in 0..shape[2] {
                    let conjugate = [(x, 0), (y, 1), (z, 2)].map(|(i, a)| (shape[a] - i) % shape[a]);
                    if seen.contains(&conjugate) || !seen.insert([x, y, z]) {
                        continue;
                    }
                    let r2: i64 =
                        [(x, 0), (y, 1), (z, 2)].iter().map(|&(i, a)| wavenumber(i, shape[a]).pow(2)).sum();
                    let j = (r2 as f64).sqrt() as usize;
                    if j > 0 {
                        out[j - 1].0 += 1;
                        out[j - 1].1 += (r2 as f64).sqrt();
                    }
                }
            }
        }
        out
    }

    #[test]
    fn counts_are_those_of_independent_modes() {
        for shape in [[1, 8, 8], [1, 9, 9], [1, 6, 9], [1, 12, 5], [6, 6, 6], [5, 4, 7], [1, 96, 96]] {
            let modes = Modes::new(shape, [std::f64::consts::TAU; 3], Binning::Pylians, Window::None);
            let expected = brute(shape, modes.k.len());
            for (j, (count, sum)) in expected.into_iter().enumerate() {
                assert_eq!(modes.count[j], count, "{shape:?} bin {j}");
                assert!((modes.k[j] - sum / count as f64).abs() < 1e-12);
            }
            // All but the zero mode are somewhere.
            let cells: usize = shape.iter().product();
            let own: usize = shape.iter().map(|n| 2 - n % 2).product();
            assert_eq!(modes.count.iter().sum::<u64>() as usize, (cells + own) / 2 - 1);
        }
    }

    #[test]
    fn a_stretched_box_has_the_bins_of_its_longest_side() {
        // Twice as long in x at the same pixel: every second mode along x lies on an integer of the short axis.
        let modes = Modes::new([1, 8, 16], [1.0, 5.0, 10.0], Binning::Pylians, Window::None);
        assert!((modes.edges[0][0] - std::f64::consts::TAU / 10.0).abs() < 1e-12);
        assert!((modes.nyquist - std::f64::consts::PI * 8.0 / 5.0).abs() < 1e-12);
        assert_eq!(modes.count[0], 1); // (0, 1) alone: (1, 0) has |k| = 2
        assert_eq!(modes.count.iter().sum::<u64>(), (8 * 16 + 4) / 2 - 1);
    }

    #[test]
    fn mudur_rings_are_half_a_mode_wide() {
        let modes = Modes::new([1, 8, 8], [std::f64::consts::TAU; 3], Binning::Mudur, Window::None);
        assert_eq!(modes.k, [0.0, 1.0, 2.0, 3.0]);
        // DC; (0,1); (0,2) and (1,2)=2.236 at four orientations / 2; (0,3), (1,3) = 3.16, (2,2) = 2.83.
        assert_eq!(modes.count, [1, 2, 6, 8]);
    }
}
