//! Particles by fine cells of a periodic box: those closer than one length are found without looking at all.

use std::ops::Range;

use halocast_core::PeriodicBox;
use rayon::prelude::*;

use super::OPERATION;
use crate::error::{Result, require};

/// Particles sorted by cells, the cells by columns along z.
pub(super) struct Cells<'a> {
    positions: &'a [[f32; 3]],
    space: PeriodicBox,
    squared: f64,
    /// Cells a side.
    count: i64,
    /// Cells within which a friend can lie, along an axis.
    reach: i64,
    /// The occupied cells `[x, y, z]`, sorted, and where their particles begin.
    keys: Vec<[u32; 3]>,
    starts: Vec<u32>,
    order: Vec<u32>,
    /// Where the cells of each occupied column begin.
    columns: Vec<u32>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(positions: &'a [[f32; 3]], side: f64, length: f64) -> Result<Self> {
        let expected = format!("above 0 and at most half the side, {}", side / 2.0);
        require(length > 0.0 && length <= side / 2.0, OPERATION, "linking length", expected, length)?;
        let few = positions.len() < u32::MAX as usize;
        require(few, OPERATION, "particles", "fewer than 2^32", positions.len())?;
        let space = PeriodicBox::new(side).map_err(|source| crate::Error::Snapshot { source })?;
        let outside = |x: &f32| !(f64::from(*x) >= 0.0 && f64::from(*x) <= side * (1.0 + 1e-6));
        if let Some(x) = positions.par_iter().flatten().find_first(|x| outside(x)) {
            require(false, OPERATION, "positions", format!("in [0, {side}]"), x)?;
        }
        // The diagonal of a cell is a little less than the length.
        let count = (1.0001 * 3f64.sqrt() * side / length) as i64 + 1;
        let reach = (length * count as f64 / side) as i64 + 1;
        let cell = |x: f32| ((f64::from(x) * count as f64 / side) as u32).min(count as u32 - 1);
        let mut sorted: Vec<([u32; 3], u32)> =
            positions.par_iter().enumerate().map(|(i, x)| (x.map(cell), i as u32)).collect();
        sorted.par_sort_unstable();
        let (mut keys, mut starts, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (key, _)) in sorted.iter().enumerate() {
            if keys.last() != Some(key) {
                if keys.last().is_none_or(|last: &[u32; 3]| last[..2] != key[..2]) {
                    columns.push(keys.len() as u32);
                }
                keys.push(*key);
                starts.push(i as u32);
            }
        }
        starts.push(sorted.len() as u32);
        columns.push(keys.len() as u32);
        let order = sorted.into_iter().map(|(_, i)| i).collect();
        let squared = length * length;
        Ok(Self { positions, space, squared, count, reach, keys, starts, order, columns })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn particles(&self, cell: usize) -> &[u32] {
        &self.order[self.starts[cell] as usize..self.starts[cell + 1] as usize]
    }

    /// The cells of the column at `[x, y]`.
    fn column(&self, at: [u32; 2]) -> Range<usize> {
        let key = |c: u32| {
            let [x, y, _] = self.keys[c as usize];
            [x, y]
        };
        let occupied = &self.columns[..self.columns.len() - 1];
        match occupied.binary_search_by(|&c| key(c).cmp(&at)) {
            Ok(i) => self.columns[i] as usize..self.columns[i + 1] as usize,
            Err(_) => 0..0,
        }
    }

    /// The distinct values of `x + d` on the periodic axis, for d within reach.
    fn around(&self, x: u32) -> Vec<u32> {
        let mut all: Vec<u32> =
            (-self.reach..=self.reach).map(|d| (i64::from(x) + d).rem_euclid(self.count) as u32).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// All pairs of cells that hold a pair of friends.
    pub(super) fn links(&self) -> Vec<(u32, u32)> {
        let columns = self.columns.len().saturating_sub(1);
        let of_column = |c: usize| {
            let own = self.columns[c] as usize..self.columns[c + 1] as usize;
            let [x, y, _] = self.keys[own.start];
            let mut links = Vec::new();
            for nx in self.around(x) {
                for ny in self.around(y) {
                    // Each pair of columns once; pairs within a column once, below.
                    if [nx, ny] < [x, y] {
                        continue;
                    }
                    let other = if [nx, ny] == [x, y] { own.clone() } else { self.column([nx, ny]) };
                    self.links_of(own.clone(), other, &mut links);
                }
            }
            links
        };
        (0..columns).into_par_iter().flat_map_iter(of_column).collect()
    }

    fn links_of(&self, own: Range<usize>, other: Range<usize>, links: &mut Vec<(u32, u32)>) {
        if other.is_empty() {
            return;
        }
        let same = own == other;
        let z = |cell: usize| i64::from(self.keys[cell][2]);
        let mut low = other.start;
        for a in own {
            while low < other.end && z(low) < z(a) - self.reach {
                low += 1;
            }
            let direct = (low..other.end).take_while(|&b| z(b) <= z(a) + self.reach);
            // Across the edges of the box; short boxes may meet a cell twice, which does no harm.
            let below =
                (other.start..other.end).rev().take_while(|&b| z(b) >= z(a) - self.reach + self.count);
            let above = (other.start..other.end).take_while(|&b| z(b) <= z(a) + self.reach - self.count);
            for b in direct.chain(below).chain(above) {
                if !(same && b <= a) && self.meet(a, b) {
                    links.push((a as u32, b as u32));
                }
            }
        }
    }

    /// Whether two cells hold a pair of friends.
    fn meet(&self, a: usize, b: usize) -> bool {
        self.particles(a).iter().any(|&i| {
            let x = self.positions[i as usize];
            self.particles(b).iter().any(|&j| self.apart(x, self.positions[j as usize]) <= self.squared)
        })
    }

    fn apart(&self, x: [f32; 3], y: [f32; 3]) -> f64 {
        (0..3).map(|i| self.space.separation(f64::from(x[i]) - f64::from(y[i])).powi(2)).sum()
    }

    /// The nearest particle within the length; of equally near ones the first.
    pub(super) fn nearest(&self, x: [f32; 3]) -> Option<u32> {
        let mut best: Option<(f64, u32)> = None;
        self.visit(x, |j, d| {
            if best.is_none_or(|b| (d, j) < b) {
                best = Some((d, j));
            }
        });
        best.map(|(_, j)| j)
    }

    /// Calls `f(particle, squared distance)` for each particle within the length of `x`, in an order of its own.
    pub(super) fn visit(&self, x: [f32; 3], mut f: impl FnMut(u32, f64)) {
        let side = self.space.side();
        let at = x.map(|x| ((f64::from(x) * self.count as f64 / side) as i64).min(self.count - 1));
        let z = |cell: usize| i64::from(self.keys[cell][2]);
        // The reach along z, cut at the edges of the box; in a short box it is the whole axis.
        let (low, high) = (at[2] - self.reach, at[2] + self.reach);
        let whole = high - low + 1 >= self.count;
        let spans = if whole {
            [(0, self.count - 1), (1, 0), (1, 0)]
        } else {
            [(low, high), (low + self.count, self.count - 1), (0, high - self.count)]
        };
        for nx in self.around(at[0] as u32) {
            for ny in self.around(at[1] as u32) {
                let column = self.column([nx, ny]);
                for (low, high) in spans {
                    let skipped = self.keys[column.clone()].partition_point(|k| i64::from(k[2]) < low);
                    for cell in (column.start + skipped..column.end).take_while(|&c| z(c) <= high) {
                        for &j in self.particles(cell) {
                            let d = self.apart(x, self.positions[j as usize]);
                            if d <= self.squared {
                                f(j, d);
                            }
                        }
                    }
                }
            }
        }
    }
}
