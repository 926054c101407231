//! Points in columns along the last axis, sorted within: the neighbours of a point are runs of memory.

use halocast_core::PeriodicBox;
use rayon::prelude::*;

use crate::{Error, Result};

/// Points of one cloud, sorted by column of the first two axes and along the third within each.
pub(super) struct Columns {
    cells: [usize; 2],
    origin: [f64; 2],
    width: [f64; 2],
    side: Option<f64>,
    starts: Vec<usize>,
    at: [Vec<f64>; 3],
}

/// How far two points of a pair may lie apart.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// Within a sphere of this radius.
    Sphere(f64),
    /// Within this distance across the last axis and this along it.
    Cylinder(f64, f64),
}

impl Reach {
    fn across(self) -> f64 {
        match self {
            Self::Sphere(r) | Self::Cylinder(r, _) => r,
        }
    }

    /// How far along the last axis, at this squared distance across.
    #[inline(always)]
    fn along(self, across2: f64) -> f64 {
        match self {
            // A little more than the sphere: the tally has the last word.
            Self::Sphere(r) => (r * r * (1.0 + 1e-12) - across2).max(0.0).sqrt(),
            Self::Cylinder(_, z) => z,
        }
    }
}

/// What is done with the points near another.
pub(super) trait Tally: Send {
    /// Takes in the pairs of `p` with each of the points `(x, y, z)`.
    fn near(&mut self, p: [f64; 3], x: &[f64], y: &[f64], z: &[f64]);
}

/// Columns are this much narrower than the reach: less volume is searched in vain, at more and shorter runs.
const REFINEMENT: f64 = 3.0;
/// Columns whose pairs go into one tally: fixed, so that sums do not depend on the number of threads.
const COLUMNS_A_TALLY: usize = 4;

/// Checks the positions of a cloud; periodic ones come back inside the box.
pub(crate) fn checked(
    operation: &'static str,
    what: &str,
    points: &[[f64; 3]],
    periodic: Option<PeriodicBox>,
) -> Result<Vec<[f64; 3]>> {
    if points.is_empty() {
        return Err(Error::TooFew { operation, what: what.into(), expected: 1, got: 0 });
    }
    if let Some((i, p)) = points.iter().enumerate().find(|(_, p)| p.iter().any(|x| !x.is_finite())) {
        let (what, expected) = (format!("point {i} of {what}"), "finite".into());
        return Err(Error::Value { operation, what, expected, got: format!("{p:?}") });
    }
    Ok(match periodic {
        Some(b) => points.iter().map(|p| p.map(|x| b.wrap(x))).collect(),
        None => points.to_vec(),
    })
}

impl Columns {
    /// Columns of checked points for pairs within `reach`; `frame` holds further points of the same search, if any.
    pub(super) fn new(
        points: &[[f64; 3]],
        frame: &[[f64; 3]],
        periodic: Option<PeriodicBox>,
        reach: Reach,
    ) -> Self {
        let side = periodic.map(|b| b.side());
        let all = || points.iter().chain(frame);
        let ends = |axis: usize| {
            all().fold((f64::INFINITY, f64::NEG_INFINITY), |e, p| (e.0.min(p[axis]), e.1.max(p[axis])))
        };
        let mut columns = Self {
            cells: [1; 2],
            origin: [0.0; 2],
            width: [1.0; 2],
            side,
            starts: Vec::new(),
            at: Default::default(),
        };
        // Hardly more columns than points.
        let most = (points.len() as f64).sqrt().ceil().max(1.0);
        for axis in 0..2 {
            let (low, length) = match side {
                Some(side) => (0.0, side),
                None => {
                    let (low, high) = ends(axis);
                    (low, (high - low).max(f64::MIN_POSITIVE))
                }
            };
            let cells = (length / reach.across() * REFINEMENT).floor().clamp(1.0, most);
            (columns.cells[axis], columns.origin[axis]) = (cells as usize, low);
            columns.width[axis] = length / cells;
        }
        let mut keyed: Vec<(u32, [f64; 3])> = points.iter().map(|p| (columns.of(p), *p)).collect();
        keyed.par_sort_by(|a, b| a.0.cmp(&b.0).then(a.1[2].total_cmp(&b.1[2])));
        columns.at = std::array::from_fn(|axis| keyed.iter().map(|(_, p)| p[axis]).collect());
        let count = columns.cells[0] * columns.cells[1];
        columns.starts =
            (0..=count).map(|c| keyed.partition_point(|(cell, _)| (*cell as usize) < c)).collect();
        columns
    }

    fn of(&self, p: &[f64; 3]) -> u32 {
        let cell = |axis: usize| {
            let along = (p[axis] - self.origin[axis]) / self.width[axis];
            (along as usize).min(self.cells[axis] - 1)
        };
        (cell(0) * self.cells[1] + cell(1)) as u32
    }

    fn column(&self, c: usize) -> std::ops::Range<usize> {
        self.starts[c]..self.starts[c + 1]
    }

    /// Every pair of this cloud once, in tallies of fixed shares.
    pub(super) fn pairs<T: Tally>(&self, reach: Reach, tally: impl Fn() -> T + Sync) -> Vec<T> {
        self.visit(self, reach, true, tally)
    }

    /// Every pair of a point of this cloud and one of `other`.
    pub(super) fn pairs_with<T: Tally>(
        &self,
        other: &Self,
        reach: Reach,
        tally: impl Fn() -> T + Sync,
    ) -> Vec<T> {
        self.visit(other, reach, false, tally)
    }

    fn visit<T: Tally>(
        &self,
        other: &Self,
        reach: Reach,
        once: bool,
        tally: impl Fn() -> T + Sync,
    ) -> Vec<T> {
        let columns = self.cells[0] * self.cells[1];
        let task = |share: usize| {
            let mut tally = tally();
            let columns = share * COLUMNS_A_TALLY..((share + 1) * COLUMNS_A_TALLY).min(columns);
            let share = Share { of: self, other, columns, reach, once, tally: &mut tally };
            pulp::Arch::new().dispatch(share);
            tally
        };
        (0..columns.div_ceil(COLUMNS_A_TALLY)).into_par_iter().map(task).collect()
    }

    /// All pairs of the points in column `c`. Of the offsets +-o to other columns and images one is enough for pairs that
    /// count once; both clouds share origin, width and number of columns only in that case, so places are looked up.
    #[inline(always)]
    fn visit_column<T: Tally>(&self, c: usize, other: &Self, reach: Reach, once: bool, tally: &mut T) {
        let home = [c / self.cells[1], c % self.cells[1]];
        let low: [f64; 2] = std::array::from_fn(|a| self.origin[a] + home[a] as f64 * self.width[a]);
        let range: [[i64; 2]; 2] = std::array::from_fn(|a| {
            let place = |x: f64| ((x - other.origin[a]) / other.width[a]).floor() as i64;
            // Rounding must not lose a column at the rim.
            let margin = reach.across() * (1.0 + 1e-9);
            let (first, last) = (place(low[a] - margin), place(low[a] + self.width[a] + margin));
            match self.side {
                Some(_) => [first, last],
                None => [first.clamp(0, other.cells[a] as i64 - 1), last.clamp(0, other.cells[a] as i64 - 1)],
            }
        });
        for cx in range[0][0]..=range[0][1] {
            for cy in range[1][0]..=range[1][1] {
                let offset = [cx - home[0] as i64, cy - home[1] as i64];
                if once && offset < [0, 0] {
                    continue;
                }
                let wrapped: [i64; 2] =
                    std::array::from_fn(|a| [cx, cy][a].rem_euclid(other.cells[a] as i64));
                let image: [f64; 2] = std::array::from_fn(|a| {
                    let turns = [cx, cy][a].div_euclid(other.cells[a] as i64);
                    turns as f64 * self.side.unwrap_or(0.0)
                });
                let near = other.column(wrapped[0] as usize * other.cells[1] + wrapped[1] as usize);
                if near.is_empty() {
                    continue;
                }
                let box_low: [f64; 2] =
                    std::array::from_fn(|a| other.origin[a] + [cx, cy][a] as f64 * other.width[a]);
                let own = once && offset == [0, 0];
                self.visit_pair_of_columns(c, other, near, (box_low, image, own), reach, tally);
            }
        }
    }

    #[inline(always)]
    fn visit_pair_of_columns<T: Tally>(
        &self,
        c: usize,
        other: &Self,
        near: std::ops::Range<usize>,
        (box_low, image, own): ([f64; 2], [f64; 2], bool),
        reach: Reach,
        tally: &mut T,
    ) {
        let [x, y, z] = [&other.at[0][near.clone()], &other.at[1][near.clone()], &other.at[2][near]];
        let across = reach.across();
        for (place, i) in self.column(c).enumerate() {
            let p: [f64; 3] = std::array::from_fn(|a| self.at[a][i]);
            let gap = |a: usize| (box_low[a] - p[a]).max(p[a] - box_low[a] - other.width[a]).max(0.0);
            let gap2 = gap(0) * gap(0) + gap(1) * gap(1);
            if gap2 > across * across * (1.0 + 1e-9) {
                continue;
            }
            // The gap is rounded: a hair more along the column.
            let along = reach.along(gap2 * (1.0 - 1e-9)) * (1.0 + 1e-9);
            let images: &[f64] = match (self.side.is_some(), own) {
                (false, _) => &[0.0],
                (true, true) => &[0.0, 1.0],
                (true, false) => &[-1.0, 0.0, 1.0],
            };
            for &turns in images {
                let pz = p[2] - turns * self.side.unwrap_or(0.0);
                let (first, last) = if own && turns == 0.0 {
                    (place + 1, z.partition_point(|&z| z <= pz + along))
                } else if z[z.len() - 1] < pz - along || z[0] > pz + along {
                    continue;
                } else {
                    (z.partition_point(|&z| z < pz - along), z.partition_point(|&z| z <= pz + along))
                };
                if first < last {
                    let from = [p[0] - image[0], p[1] - image[1], pz];
                    tally.near(from, &x[first..last], &y[first..last], &z[first..last]);
                }
            }
        }
    }
}

/// The pairs of some columns. Wide registers where the processor has them; the same numbers everywhere, for none are
/// contracted.
struct Share<'a, T> {
    of: &'a Columns,
    other: &'a Columns,
    columns: std::ops::Range<usize>,
    reach: Reach,
    once: bool,
    tally: &'a mut T,
}

impl<T: Tally> pulp::WithSimd for Share<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for c in self.columns {
            if !self.of.column(c).is_empty() {
                self.of.visit_column(c, self.other, self.reach, self.once, self.tally);
            }
        }
    }
}
