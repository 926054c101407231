//! How many thresholds each pixel of a map reaches.

use halocast_core::Map;

/// The rank of each pixel: how many of the sorted thresholds it reaches. Bytes serve for fewer than 256 thresholds.
pub(super) struct Ranks<R> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) thresholds: usize,
    ranks: Vec<R>,
}

/// A number that holds a rank.
pub(super) trait Rank: Copy + Ord {
    /// The number of a rank that fits.
    fn of(rank: u32) -> Self;
    /// The rank as an index.
    fn index(self) -> usize;
}

impl Rank for u8 {
    fn of(rank: u32) -> Self {
        rank as u8
    }

    fn index(self) -> usize {
        usize::from(self)
    }
}

impl Rank for u32 {
    fn of(rank: u32) -> Self {
        rank
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl<R: Rank> Ranks<R> {
    /// Of a map; `order` sorts the thresholds.
    pub(super) fn new(map: &Map, thresholds: &[f64], order: &[usize]) -> Self {
        let sorted: Vec<f64> = order.iter().map(|&t| thresholds[t]).collect();
        let [rows, columns] = map.shape();
        let ranks = match Cells::new(&sorted) {
            Some(cells) => map.values.iter().map(|v| R::of(cells.rank(f64::from(*v)))).collect(),
            None => {
                let rank = |v: &f32| R::of(sorted.partition_point(|&nu| nu <= f64::from(*v)) as u32);
                map.values.iter().map(rank).collect()
            }
        };
        Self { rows, columns, thresholds: sorted.len(), ranks }
    }

    pub(super) fn row(&self, y: usize) -> &[R] {
        &self.ranks[y * self.columns..(y + 1) * self.columns]
    }
}

/// The line cut into equal cells so small that each holds one threshold at most: a rank is that of the cell's lower end, and
/// one comparison.
struct Cells {
    least: f64,
    scale: f64,
    /// The rank below the threshold of each cell, and that threshold; infinite where there is none.
    cells: Vec<(u32, f64)>,
}

/// The most cells: they stay in the nearest memory.
const MOST: usize = 1 << 10;

impl Cells {
    /// None for thresholds, in ascending order, that lie too close to one another.
    fn new(sorted: &[f64]) -> Option<Self> {
        let (least, greatest) = (sorted[0], sorted[sorted.len() - 1]);
        let gap = sorted.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        // A little more than one a gap, so that rounding cannot put two into one.
        let count = if sorted.len() == 1 { 1.0 } else { ((greatest - least) / gap * 1.5).ceil() + 1.0 };
        if !(1.0..=MOST as f64).contains(&count) {
            return None;
        }
        let scale = if sorted.len() == 1 { 1.0 } else { (count - 1.0) / (greatest - least) };
        let mut cells = Self { least, scale, cells: vec![(0, f64::INFINITY); count as usize] };
        for (rank, &nu) in sorted.iter().enumerate() {
            let at = cells.at(nu);
            if cells.cells[at].1.is_finite() {
                return None;
            }
            cells.cells[at] = (rank as u32, nu);
        }
        let mut below = 0;
        for (rank, nu) in &mut cells.cells {
            *rank = below;
            below += u32::from(nu.is_finite());
        }
        Some(cells)
    }

    /// The cell of a number. It never falls as the number grows, so that thresholds of other cells need no comparison.
    #[inline]
    fn at(&self, v: f64) -> usize {
        (((v - self.least) * self.scale) as usize).min(self.cells.len() - 1)
    }

    #[inline]
    fn rank(&self, v: f64) -> u32 {
        let (below, nu) = self.cells[self.at(v)];
        below + u32::from(nu <= v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_find_what_a_search_finds() {
        let uniform: Vec<f64> = (0..50).map(|i| -2.5 + 5.0 * f64::from(i) / 49.0).collect();
        let uneven: Vec<f64> = (0..20).map(|i| 1e9 * (0.2 * f64::from(i)).exp()).collect();
        for sorted in [vec![0.3], uniform, uneven, vec![-1.0, -0.99, 0.0], vec![f64::MIN_POSITIVE, 1.0]] {
            let cells = Cells::new(&sorted).unwrap();
            let (least, greatest) = (sorted[0], sorted[sorted.len() - 1]);
            let reach = greatest - least + 1.0;
            let mut values: Vec<f64> =
                (-100..2100).map(|i| least - 0.05 * reach + reach * f64::from(i) / 1900.0).collect();
            values.extend(sorted.iter().flat_map(|nu| [*nu, nu.next_up(), nu.next_down()]));
            values.extend([f64::from(f32::MAX), f64::from(f32::MIN), 0.0, -0.0]);
            for v in values {
                assert_eq!(
                    cells.rank(v) as usize,
                    sorted.partition_point(|&nu| nu <= v),
                    "{v} in {sorted:?}"
                );
            }
        }
        for close in [vec![0.0, 0.0], vec![0.0, 1e-9, 1.0], vec![f64::MIN, f64::MAX, 0.0]] {
            assert!(Cells::new(&close).is_none(), "{close:?}");
        }
    }
}
