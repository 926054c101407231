//! QuantImPy's estimator: a sum over all 2 x 2 windows of pixels, every threshold in one pass.

use super::M;
use super::ranks::{Rank, Ranks};

/// Bits of a window's code: top left 1, top right 2, bottom left 4, bottom right 8.
#[cfg(any(test, feature = "candle"))]
pub(super) const AREA: [i64; 16] = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
/// Boundary length in units of (sqrt 2 - 1) pi / 4.
#[cfg(any(test, feature = "candle"))]
pub(super) const LENGTH: [i64; 16] = [0, 3, 2, 3, 2, 3, 2, 1, 1, 2, 3, 2, 3, 2, 3, 0];
/// Four times the Euler characteristic.
#[cfg(any(test, feature = "candle"))]
pub(super) const EULER: [i64; 16] = [0, 1, 1, 0, 1, 0, 2, -1, 1, 2, 0, -1, 0, -1, -1, 0];

/// What one unit of each table adds to M0, M1, M2.
pub(super) fn units() -> [f64; 3] {
    let length = (2f64.sqrt() - 1.0) * std::f64::consts::FRAC_PI_4 / std::f64::consts::TAU;
    [1.0, length, 1.0 / (4.0 * std::f64::consts::PI)]
}

/// M0, M1, M2 at every threshold, in ascending order of thresholds.
///
/// Each table is a sum over subsets of a window's pixels that lie in the set as a whole: of single pixels, of pairs and of all
/// four; those of three do not occur. A subset is in the excursion sets below its least rank. So a histogram of least ranks of
/// each kind of subset, and running sums of it, give all thresholds; every pixel and pair is counted once, and what the
/// windows at the edges of the map lack is taken off. All sums are of integers, hence exact.
pub(super) fn functionals<R: Rank>(ranks: &Ranks<R>) -> M {
    let (n, rows, columns) = (ranks.thresholds, ranks.rows, ranks.columns);
    let mut out: M = std::array::from_fn(|_| Vec::with_capacity(n));
    if rows < 2 || columns < 2 {
        out.iter_mut().for_each(|f| f.resize(n, 0.0));
        return out;
    }
    let mut singles = Histogram::new(n);
    let mut neighbours = Histogram::new(n);
    let mut diagonals = Histogram::new(n);
    let mut fours = Histogram::new(n);
    let mut across = vec![R::of(0); columns - 1];
    let mut next = across.clone();
    let mut least = across.clone();
    pairs(ranks.row(0), &mut across);
    for y in 0..rows {
        let top = ranks.row(y);
        singles.add(top);
        neighbours.add(&across);
        if y + 1 == rows {
            break;
        }
        let bottom = ranks.row(y + 1);
        pairs(bottom, &mut next);
        neighbours.add_least(top, bottom, &mut least);
        diagonals.add_least(&top[..columns - 1], &bottom[1..], &mut least);
        diagonals.add_least(&top[1..], &bottom[..columns - 1], &mut least);
        fours.add_least(&across, &next, &mut least);
        std::mem::swap(&mut across, &mut next);
    }
    let (singles, neighbours, diagonals, fours) =
        (singles.sum(), neighbours.sum(), diagonals.sum(), fours.sum());
    // Of the interior: four windows share a pixel, two a pair of neighbours.
    let mut counts: Vec<[i64; 3]> = (0..=n)
        .map(|r| {
            let (one, two, across, all) = (singles[r], neighbours[r], diagonals[r], fours[r]);
            [one, 8 * one - 2 * two - 2 * across, 4 * one - 4 * two + 4 * all]
        })
        .collect();
    edges(ranks, &mut counts);
    let [_, unit, quarter] = units();
    let mut above = [0i64; 3];
    let running = counts.iter().rev().map(|count| {
        (0..3).for_each(|i| above[i] += count[i]);
        above
    });
    let running: Vec<[i64; 3]> = running.take(n).collect();
    for sums in running.iter().rev() {
        out[0].push(sums[0] as f64);
        out[1].push(sums[1] as f64 * unit);
        out[2].push(sums[2] as f64 * quarter);
    }
    out
}

/// Takes off what the pixels and pairs at the edges lack of the windows that share one in the interior.
fn edges<R: Rank>(ranks: &Ranks<R>, counts: &mut [[i64; 3]]) {
    let (last_y, last_x) = (ranks.rows - 1, ranks.columns - 1);
    let mut take = |rank: R, lacks: [i64; 3]| {
        let count = &mut counts[rank.index()];
        (0..3).for_each(|i| count[i] -= lacks[i]);
    };
    let mut pixel = |y: usize, x: usize| {
        // The windows of which it is the top left, top right, bottom left and bottom right pixel.
        let windows = [y < last_y && x < last_x, y < last_y && x > 0, y > 0 && x < last_x, y > 0 && x > 0];
        let [a, b, c, d] = windows.map(i64::from);
        take(ranks.row(y)[x], [1 - a, 8 - (3 * a + 2 * b + 2 * c + d), 4 - (a + b + c + d)]);
    };
    (0..=last_x).for_each(|x| [0, last_y].into_iter().for_each(|y| pixel(y, x)));
    (1..last_y).for_each(|y| [0, last_x].into_iter().for_each(|x| pixel(y, x)));
    // A pair has its length from the window of which it is the top or the left side.
    for x in 0..last_x {
        let side = |y: usize| ranks.row(y)[x].min(ranks.row(y)[x + 1]);
        take(side(0), [0, 0, -2]);
        take(side(last_y), [0, -2, -2]);
    }
    for y in 0..last_y {
        let side = |x: usize| ranks.row(y)[x].min(ranks.row(y + 1)[x]);
        take(side(0), [0, 0, -2]);
        take(side(last_x), [0, -2, -2]);
    }
}

/// The lesser rank of each pixel of a row and the next.
fn pairs<R: Rank>(row: &[R], out: &mut [R]) {
    out.iter_mut().zip(row).zip(&row[1..]).for_each(|((out, a), b)| *out = (*a).min(*b));
}

/// How often each rank occurs. Neighbours, which often have the same, go to different tables, so that none waits for the other.
struct Histogram {
    ranks: usize,
    tables: [Vec<u32>; 4],
}

impl Histogram {
    fn new(thresholds: usize) -> Self {
        Self { ranks: thresholds + 1, tables: std::array::from_fn(|_| vec![0; thresholds + 1]) }
    }

    fn add<R: Rank>(&mut self, ranks: &[R]) {
        let [a, b, c, d] = &mut self.tables;
        let (fours, rest) = ranks.as_chunks::<4>();
        for four in fours {
            a[four[0].index()] += 1;
            b[four[1].index()] += 1;
            c[four[2].index()] += 1;
            d[four[3].index()] += 1;
        }
        rest.iter().for_each(|rank| a[rank.index()] += 1);
    }

    /// The lesser ranks of two rows.
    fn add_least<R: Rank>(&mut self, first: &[R], second: &[R], least: &mut Vec<R>) {
        least.clear();
        least.extend(first.iter().zip(second).map(|(a, b)| (*a).min(*b)));
        self.add(least);
    }

    fn sum(&self) -> Vec<i64> {
        (0..self.ranks).map(|rank| self.tables.iter().map(|t| i64::from(t[rank])).sum()).collect()
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::{Map, Rng};
    use ndarray::Array2;

    use super::*;

    #[test]
    fn histograms_are_the_sum_over_windows() {
        let mut rng = Rng::new(8);
        for (rows, columns) in [(1, 5), (5, 1), (2, 2), (2, 7), (9, 3), (13, 18)] {
            let values = Array2::from_shape_fn((rows, columns), |_| rng.below(6) as f32);
            let map = Map::square("steps", values.clone(), 1.0);
            let thresholds: Vec<f64> = (0..8).map(|t| f64::from(t) - 0.5).collect();
            let order: Vec<usize> = (0..8).collect();
            let bytes = functionals(&Ranks::<u8>::new(&map, &thresholds, &order));
            assert_eq!(bytes, functionals(&Ranks::<u32>::new(&map, &thresholds, &order)));
            for (t, nu) in thresholds.iter().enumerate() {
                let mut sums = [0; 3];
                for y in 1..rows {
                    for x in 1..columns {
                        let corners = [[y - 1, x - 1], [y - 1, x], [y, x - 1], [y, x]];
                        let bit = |i: usize| usize::from(f64::from(values[corners[i]]) >= *nu) << i;
                        let code = (0..4).map(bit).sum::<usize>();
                        sums = [sums[0] + AREA[code], sums[1] + LENGTH[code], sums[2] + EULER[code]];
                    }
                }
                let expected: [f64; 3] = std::array::from_fn(|i| sums[i] as f64 * units()[i]);
                assert_eq!([bytes[0][t], bytes[1][t], bytes[2][t]], expected, "{rows} x {columns} at {nu}");
            }
        }
    }
}
