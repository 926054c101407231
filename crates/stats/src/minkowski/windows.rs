//! QuantImPy's estimator: a sum over all 2 x 2 windows of pixels, every threshold in one pass.

use super::{M, Ranks};

/// Bits of a window's code: top left 1, top right 2, bottom left 4, bottom right 8.
pub(super) const AREA: [i64; 16] = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
/// Boundary length in units of (sqrt 2 - 1) pi / 4.
pub(super) const LENGTH: [i64; 16] = [0, 3, 2, 3, 2, 3, 2, 1, 1, 2, 3, 2, 3, 2, 3, 0];
/// Four times the Euler characteristic.
pub(super) const EULER: [i64; 16] = [0, 1, 1, 0, 1, 0, 2, -1, 1, 2, 0, -1, 0, -1, -1, 0];

/// What one unit of each table adds to M0, M1, M2.
pub(super) fn units() -> [f64; 3] {
    let length = (2f64.sqrt() - 1.0) * std::f64::consts::FRAC_PI_4 / std::f64::consts::TAU;
    [1.0, length, 1.0 / (4.0 * std::f64::consts::PI)]
}

/// M0, M1, M2 at every threshold, in ascending order of thresholds.
///
/// A pixel of rank r is in the excursion sets 0 .. r. As the threshold rises, a window's code changes at most four
/// times; each change is noted once, and running sums give all thresholds. All sums are of integers, hence exact.
pub(super) fn functionals(ranks: &Ranks) -> [Vec<f64>; 3] {
    let n = ranks.thresholds;
    let mut changes = vec![[0i64; 3]; n + 1];
    let mut start = [0i64; 3];
    for y in 0..ranks.rows.saturating_sub(1) {
        let (top, bottom) = (ranks.row(y), ranks.row(y + 1));
        for (t, b) in top.windows(2).zip(bottom.windows(2)) {
            // The rank above the bit: sorting by rank keeps the bit.
            let mut corners = [t[0] << 4 | 1, t[1] << 4 | 2, b[0] << 4 | 4, b[1] << 4 | 8];
            for (i, j) in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)] {
                if corners[i] > corners[j] {
                    corners.swap(i, j);
                }
            }
            let mut code = 15usize;
            start[0] += AREA[15];
            for corner in corners {
                let (rank, next) = ((corner >> 4) as usize, code & !(corner as usize & 15));
                let change = &mut changes[rank];
                change[0] += AREA[next] - AREA[code];
                change[1] += LENGTH[next] - LENGTH[code];
                change[2] += EULER[next] - EULER[code];
                code = next;
            }
        }
    }
    let [_, unit, quarter] = units();
    let mut out: M = std::array::from_fn(|_| Vec::with_capacity(n));
    for change in changes.iter().take(n) {
        (0..3).for_each(|i| start[i] += change[i]);
        out[0].push(start[0] as f64);
        out[1].push(start[1] as f64 * unit);
        out[2].push(start[2] as f64 * quarter);
    }
    out
}
