//! Nearest neighbours of places in a cloud, by a tree.

use std::num::NonZero;

use halocast_core::PeriodicBox;
use kiddo::{ImmutableKdTree, SquaredEuclidean};
use rayon::prelude::*;

use crate::{Error, Result};

pub(super) struct Neighbours {
    tree: ImmutableKdTree<f64, 3>,
    count: usize,
    periodic: Option<PeriodicBox>,
}

impl Neighbours {
    /// A tree of points that were checked, and are inside the box.
    pub(super) fn new(
        operation: &'static str,
        points: &[[f64; 3]],
        periodic: Option<PeriodicBox>,
    ) -> Result<Self> {
        let tree = ImmutableKdTree::new_from_slice(points).map_err(|e| Error::Value {
            operation,
            what: "the tree of points".into(),
            expected: "points that can be divided".into(),
            got: format!("{e:?}"),
        })?;
        Ok(Self { tree, count: points.len(), periodic })
    }

    /// Sorted distances from `place`, inside the box, to its `k` nearest points, at most all of them.
    pub(super) fn distances(&self, place: &[f64; 3], k: usize) -> Vec<f64> {
        let count = NonZero::new(k.min(self.count)).unwrap_or(NonZero::<usize>::MIN);
        let open = self.tree.query(place).nearest_n::<SquaredEuclidean<f64>>(count).execute();
        let farthest = open.last().map_or(f64::INFINITY, |n| n.distance.sqrt());
        let found = match self.periodic.map(|b| b.side()) {
            // Images matter only where the search reaches a face of the box.
            Some(side) if place.iter().any(|&x| x < farthest || side - x < farthest) => self
                .tree
                .query(place)
                .periodic_boundary_condition(&[side; 3])
                .nearest_n::<SquaredEuclidean<f64>>(count)
                .execute(),
            _ => open,
        };
        let mut distances: Vec<f64> = found.iter().map(|n| n.distance.sqrt()).collect();
        distances.sort_unstable_by(f64::total_cmp);
        distances
    }

    /// The distance from each place to its nearest point.
    pub(super) fn nearest(&self, places: &[[f64; 3]]) -> Vec<f64> {
        places.par_iter().map(|p| self.distances(p, 1).first().copied().unwrap_or(f64::INFINITY)).collect()
    }
}
