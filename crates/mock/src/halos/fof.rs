//! Friends of friends: particles closer than a linking length belong together.

use rayon::prelude::*;

use super::cells::Cells;
use crate::error::Result;

/// Groups of particles, the largest first; of equal ones, that with the lowest particle index first.
///
/// ```
/// use halocast_mock::friends_of_friends;
/// // Two pairs, one of them across the edge of the box, and one particle alone.
/// let x = [[0.1, 5.0, 5.0], [4.0, 4.0, 4.0], [9.9, 5.0, 5.0], [7.0, 1.0, 1.0], [4.1, 4.0, 4.0]];
/// let groups = friends_of_friends(&x, 10.0, 0.3, 2)?;
/// assert_eq!(groups.len(), 2);
/// assert_eq!((groups.members(0), groups.members(1)), (&[0, 2][..], &[1, 4][..]));
/// assert_eq!(groups.group_of(5), [Some(0), Some(1), Some(0), None, Some(1)]);
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    starts: Vec<usize>,
    members: Vec<u32>,
}

impl Groups {
    /// The number of groups.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The particles of a group, in increasing order.
    pub fn members(&self, group: usize) -> &[u32] {
        &self.members[self.starts[group]..self.starts[group + 1]]
    }

    /// The group of each of `count` particles.
    pub fn group_of(&self, count: usize) -> Vec<Option<u32>> {
        let mut of = vec![None; count];
        for group in 0..self.len() {
            for &i in self.members(group) {
                of[i as usize] = Some(group as u32);
            }
        }
        of
    }
}

/// The friends-of-friends groups of at least `least` particles in a periodic box of side `side`: the connected components
/// of the graph that joins particles at most `length` apart (minimum image).
///
/// Particles are sorted into cells whose diagonal is below `length`, so that all of a cell are friends; what is left is to
/// find, for pairs of cells in reach of one another, whether one pair of particles is close enough. The components do not
/// depend on the order in which that is found out: the result is the same at any number of threads.
///
/// Cost: O(N log N) for the sort, and linear beyond it, as dense cells find a close pair at once.
///
/// # Source
/// Davis, Efstathiou, Frenk & White 1985, ApJ 292, 371, where `length` is 0.2 mean separations.
///
/// # Errors
/// [`crate::Error::Config`] when `length` is not in (0, side / 2], a position lies outside `[0, side]` or there are more than
/// 2^32 particles.
pub fn friends_of_friends(positions: &[[f32; 3]], side: f64, length: f64, least: usize) -> Result<Groups> {
    let cells = Cells::new(positions, side, length)?;
    let mut forest = Forest::new(cells.len());
    for (a, b) in cells.links() {
        forest.join(a, b);
    }
    let roots: Vec<u32> = (0..cells.len() as u32).map(|c| forest.root(c)).collect();
    let mut sizes = vec![0usize; cells.len()];
    let mut first = vec![u32::MAX; cells.len()];
    for (cell, &root) in roots.iter().enumerate() {
        let particles = cells.particles(cell);
        sizes[root as usize] += particles.len();
        // Within a cell the particles are in order.
        first[root as usize] = first[root as usize].min(particles[0]);
    }
    let mut order: Vec<u32> =
        (0..cells.len() as u32).filter(|&c| sizes[c as usize] >= least.max(1)).collect();
    order.par_sort_unstable_by_key(|&c| (std::cmp::Reverse(sizes[c as usize]), first[c as usize]));
    let mut rank = vec![u32::MAX; cells.len()];
    let mut starts = vec![0usize];
    for (r, &root) in order.iter().enumerate() {
        rank[root as usize] = r as u32;
        starts.push(starts[r] + sizes[root as usize]);
    }
    let mut next = starts.clone();
    let mut members = vec![0u32; starts.last().copied().unwrap_or(0)];
    for (cell, &root) in roots.iter().enumerate() {
        let r = rank[root as usize];
        if r != u32::MAX {
            let particles = cells.particles(cell);
            let at = next[r as usize];
            members[at..at + particles.len()].copy_from_slice(particles);
            next[r as usize] += particles.len();
        }
    }
    let mut rest = &mut members[..];
    let mut groups = Vec::with_capacity(order.len());
    for window in starts.windows(2) {
        let (group, others) = rest.split_at_mut(window[1] - window[0]);
        groups.push(group);
        rest = others;
    }
    groups.into_par_iter().for_each(|group| group.sort_unstable());
    Ok(Groups { starts, members })
}

/// For each of `others`, the group of the nearest particle of a group within `length`: how gas, stars and black holes
/// join the groups of the dark matter.
///
/// # Errors
/// As [`friends_of_friends`].
pub(crate) fn nearest_group(
    groups: &Groups,
    positions: &[[f32; 3]],
    others: &[[f32; 3]],
    side: f64,
    length: f64,
) -> Result<Vec<Option<u32>>> {
    let in_groups: Vec<[f32; 3]> = groups.members.iter().map(|&i| positions[i as usize]).collect();
    if in_groups.is_empty() {
        return Ok(vec![None; others.len()]);
    }
    let mut group = vec![0u32; in_groups.len()];
    for g in 0..groups.len() {
        group[groups.starts[g]..groups.starts[g + 1]].fill(g as u32);
    }
    let cells = Cells::new(&in_groups, side, length)?;
    let nearest = |x: &[f32; 3]| cells.nearest(*x).map(|i| group[i as usize]);
    Ok(others.par_iter().map(nearest).collect())
}

/// Trees of cells; the root of a tree is its lowest cell.
struct Forest(Vec<u32>);

impl Forest {
    fn new(n: usize) -> Self {
        Self((0..n as u32).collect())
    }

    fn root(&mut self, mut i: u32) -> u32 {
        while self.0[i as usize] != i {
            // Halve the path on the way.
            self.0[i as usize] = self.0[self.0[i as usize] as usize];
            i = self.0[i as usize];
        }
        i
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high as usize] = low;
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::{PeriodicBox, Rng};

    use super::*;

    /// The definition: every pair, by flooding.
    fn brute(positions: &[[f32; 3]], side: f64, length: f64, least: usize) -> Vec<Vec<u32>> {
        let space = PeriodicBox::new(side).unwrap();
        let x: Vec<[f64; 3]> = positions.iter().map(|x| x.map(f64::from)).collect();
        let mut seen = vec![false; x.len()];
        let mut groups = Vec::new();
        for start in 0..x.len() {
            if seen[start] {
                continue;
            }
            seen[start] = true;
            let (mut group, mut front) = (vec![start as u32], vec![start]);
            while let Some(i) = front.pop() {
                for j in 0..x.len() {
                    let d: f64 = (0..3).map(|a| space.separation(x[i][a] - x[j][a]).powi(2)).sum();
                    if !seen[j] && d <= length * length {
                        seen[j] = true;
                        group.push(j as u32);
                        front.push(j);
                    }
                }
            }
            group.sort_unstable();
            groups.push(group);
        }
        groups.retain(|g| g.len() >= least);
        groups.sort_by_key(|g| (std::cmp::Reverse(g.len()), g[0]));
        groups
    }

    fn compare(positions: &[[f32; 3]], side: f64, length: f64, least: usize) -> usize {
        let groups = friends_of_friends(positions, side, length, least).unwrap();
        let expected = brute(positions, side, length, least);
        assert_eq!(groups.len(), expected.len(), "side {side}, length {length}");
        for (g, members) in expected.iter().enumerate() {
            assert_eq!(groups.members(g), members, "side {side}, length {length}, group {g}");
        }
        groups.len()
    }

    #[test]
    fn groups_are_those_of_brute_force_on_5000_points() {
        let (side, n) = (10.0, 5000);
        let mut rng = Rng::new(6);
        // A third uniform, a third clustered about a corner (across all edges), a third duplicates.
        let mut positions: Vec<[f32; 3]> =
            (0..n / 3).map(|_| [0; 3].map(|_| (side * rng.uniform()) as f32)).collect();
        let space = PeriodicBox::new(side).unwrap();
        for _ in 0..n / 3 {
            positions.push([0; 3].map(|_| crate::initial::wrap(space.wrap(0.5 * rng.normal()), side)));
        }
        while positions.len() < n {
            let again = positions[rng.below(positions.len())];
            positions.push(again);
        }
        let spacing = side / (n as f64).cbrt();
        // From pairs to percolation, with cells across the whole box in the last.
        let mut counts = Vec::new();
        for b in [0.05, 0.2, 0.5, 0.9, 4.0] {
            counts.push(compare(&positions, side, b * spacing, 2));
        }
        assert!(counts[1] > 100 && counts[4] == 1, "{counts:?}");
    }

    #[test]
    fn a_lattice_at_exactly_the_linking_length_is_one_group() {
        // Distances of exactly 1 and of the side itself; every comparison is at the edge.
        let lattice: Vec<[f32; 3]> = (0..512).map(|i| [i / 64, i / 8 % 8, i % 8].map(|i| i as f32)).collect();
        assert_eq!(compare(&lattice, 8.0, 1.0, 1), 1);
        assert_eq!(compare(&lattice, 8.0, 0.999_999, 1), 512);
        assert_eq!(compare(&lattice, 8.0, 4.0, 1), 1);
        assert_eq!(compare(&[[0.0; 3]; 40], 8.0, 0.5, 1), 1);
        // A position on the upper edge, as rounding makes one.
        assert_eq!(compare(&[[8.0, 0.0, 0.0], [0.1, 0.0, 0.0]], 8.0, 0.5, 1), 1);
        assert!(friends_of_friends(&[], 8.0, 0.5, 1).unwrap().is_empty());
    }

    #[test]
    fn others_join_the_nearest_group() {
        let positions = [[1.0, 1.0, 1.0], [1.1, 1.0, 1.0], [1.6, 1.0, 1.0], [1.7, 1.0, 1.0], [9.0, 1.0, 1.0]];
        let groups = friends_of_friends(&positions, 10.0, 0.2, 2).unwrap();
        let others = [[1.3, 1.0, 1.0], [1.5, 1.05, 1.0], [1.35, 1.0, 1.0], [9.0, 1.0, 1.0], [0.85, 1.0, 1.0]];
        let joined = nearest_group(&groups, &positions, &others, 10.0, 0.2).unwrap();
        assert_eq!(joined[..2], [Some(0), Some(1)]);
        assert_eq!(joined[3..], [None, Some(0)]);
    }

    #[test]
    fn absurd_lengths_and_positions_are_refused() {
        for length in [0.0, -1.0, f64::NAN, 6.0] {
            assert!(friends_of_friends(&[[1.0; 3]], 10.0, length, 1).is_err(), "{length}");
        }
        for x in [-0.1, 10.1, f32::NAN] {
            let error = friends_of_friends(&[[1.0; 3], [x, 1.0, 1.0]], 10.0, 0.5, 1).unwrap_err();
            assert!(error.to_string().contains("positions"), "{error}");
        }
    }
}
