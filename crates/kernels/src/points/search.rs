//! The nearest points of a tree, and those within a radius.

use rayon::prelude::*;

use super::space::Space;
use super::tree::{BLOCK, LEAF, Tree};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Queries of one task.
const CHUNK: usize = 64;
/// The tree halves its leaves at each step, of which there are fewer than 2^32.
const DEPTH: usize = 40;

/// A neighbour: the bits of its squared distance above its index, so that neighbours compare as they should.
pub(super) type Key = u64;
/// No neighbour: behind all of them.
pub(super) const NONE: Key = Key::MAX;

#[inline(always)]
pub(super) fn key(squared: f32, index: u32) -> Key {
    // The bits of numbers that are not negative are in their order.
    u64::from(squared.to_bits()) << 32 | u64::from(index)
}

pub(super) fn squared_of(key: Key) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

pub(super) fn index_of(key: Key) -> u32 {
    key as u32
}

/// The squared distance beyond which a point cannot enter a list of the best.
#[inline(always)]
pub(super) fn reach(best: &[Key]) -> f32 {
    match best.last() {
        // Finite, so that places without a point stay out.
        Some(&NONE) | None => f32::MAX,
        Some(&worst) => squared_of(worst),
    }
}

/// Puts a neighbour into a sorted list, whose last one drops out.
#[inline(always)]
pub(super) fn insert(best: &mut [Key], new: Key) {
    let last = best.len() - 1;
    if new >= best[last] {
        return;
    }
    if best.len() > 48 {
        let at = best.partition_point(|&old| old < new);
        best.copy_within(at..last, at + 1);
        best[at] = new;
        return;
    }
    let mut at = last;
    while at > 0 && best[at - 1] > new {
        best[at] = best[at - 1];
        at -= 1;
    }
    best[at] = new;
}

/// The `k` nearest points of `tree` to each query, sorted, in the order of the queries. `tree` holds at least `k >= 1`.
pub(super) fn nearest(tree: &Tree, queries: &[[f32; 3]], k: usize, space: &Space) -> Vec<Key> {
    let order = Tree::new(queries);
    nearest_ordered(tree, queries, &order, k, space)
}

/// As [`nearest`], with the tree of the queries at hand.
pub(super) fn nearest_ordered(
    tree: &Tree,
    queries: &[[f32; 3]],
    order: &Tree,
    k: usize,
    space: &Space,
) -> Vec<Key> {
    let level = Level::current();
    let mut found = vec![NONE; queries.len() * k];
    found.par_chunks_mut(CHUNK * k).zip(order.sequence().par_chunks(CHUNK)).for_each(|(found, sequence)| {
        let work = Nearest { tree, queries, sequence, k, space, found };
        dispatch(level, work);
    });
    // From the order of the tree to that of the queries.
    let places = order.places();
    let mut sorted = vec![NONE; found.len()];
    sorted.par_chunks_mut(CHUNK * k).zip(places.par_chunks(CHUNK)).for_each(|(sorted, places)| {
        for (sorted, &place) in sorted.chunks_exact_mut(k).zip(places) {
            sorted.copy_from_slice(&found[place as usize * k..][..k]);
        }
    });
    sorted
}

struct Nearest<'a> {
    tree: &'a Tree,
    queries: &'a [[f32; 3]],
    /// The queries to answer, neighbours one after another.
    sequence: &'a [u32],
    k: usize,
    space: &'a Space,
    found: &'a mut [Key],
}

impl Kernel for Nearest<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { if self.space.periodic { self.all::<S, true>() } else { self.all::<S, false>() } }
    }
}

impl Nearest<'_> {
    /// # Safety
    /// The machine has the instructions of `S`.
    #[inline(always)]
    unsafe fn all<S: Simd, const PERIODIC: bool>(self) {
        let Self { tree, space, .. } = self;
        let mut closest: Option<usize> = None;
        for (best, &query) in self.found.chunks_exact_mut(self.k).zip(self.sequence) {
            let q = self.queries[query as usize];
            if let (1, Some(place)) = (self.k, closest) {
                // The answer to the query before is near, and rules out most of the tree at once.
                best[0] = key(space.squared(tree.point(place), q), tree.order[place]);
            }
            let start = reach(best);
            walk::<PERIODIC>(tree, q, space, start, |place, limit| {
                // SAFETY: the caller vouches for the instructions.
                unsafe {
                    scan::<S, PERIODIC>(tree, place, q, space, limit, |place, squared| {
                        let new = key(squared, tree.order[place]);
                        if new < best[0] {
                            closest = Some(place);
                        }
                        insert(best, new);
                    });
                }
                reach(best)
            });
        }
    }
}

/// The points of `tree` at a squared distance of less than `limit` of each query: the `most` of smallest index, in
/// ascending order, in rows of `most` that end with `u32::MAX` where there are fewer.
pub(super) fn within(tree: &Tree, queries: &[[f32; 3]], limit: f32, most: usize, space: &Space) -> Vec<u32> {
    let level = Level::current();
    let mut found = vec![u32::MAX; queries.len() * most];
    found.par_chunks_mut(CHUNK * most).zip(queries.par_chunks(CHUNK)).for_each(|(found, queries)| {
        dispatch(level, Within { tree, queries, limit, most, space, found });
    });
    found
}

struct Within<'a> {
    tree: &'a Tree,
    queries: &'a [[f32; 3]],
    limit: f32,
    most: usize,
    space: &'a Space,
    found: &'a mut [u32],
}

impl Kernel for Within<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { if self.space.periodic { self.all::<S, true>() } else { self.all::<S, false>() } }
    }
}

impl Within<'_> {
    /// # Safety
    /// The machine has the instructions of `S`.
    #[inline(always)]
    unsafe fn all<S: Simd, const PERIODIC: bool>(self) {
        let Self { tree, space, limit, .. } = self;
        let mut inside: Vec<u32> = vec![];
        for (found, &q) in self.found.chunks_exact_mut(self.most).zip(self.queries) {
            inside.clear();
            walk::<PERIODIC>(tree, q, space, limit, |place, limit| {
                // SAFETY: the caller vouches for the instructions.
                unsafe {
                    scan::<S, PERIODIC>(tree, place, q, space, limit, |place, squared| {
                        if squared < limit {
                            inside.push(tree.order[place]);
                        }
                    });
                }
                limit
            });
            if inside.len() > self.most {
                inside.select_nth_unstable(self.most - 1);
                inside.truncate(self.most);
            }
            inside.sort_unstable();
            found[..inside.len()].copy_from_slice(&inside);
        }
    }
}

/// Visits the leaves that come within the limit of `q`, near ones first. `visit` takes the first place of a leaf and
/// the squared limit, and returns the limit from then on.
#[inline(always)]
fn walk<const PERIODIC: bool>(
    tree: &Tree,
    q: [f32; 3],
    space: &Space,
    mut limit: f32,
    mut visit: impl FnMut(usize, f32) -> f32,
) {
    let mut waiting = [(0usize, 0f32); DEPTH];
    let mut count = usize::from(!tree.nodes.is_empty());
    while count > 0 {
        count -= 1;
        let (mut at, bound) = waiting[count];
        // At the limit itself a smaller index may still win.
        if bound > limit {
            continue;
        }
        loop {
            let node = &tree.nodes[at];
            if node.leaves == 1 {
                limit = visit(node.first as usize * LEAF, limit);
                break;
            }
            let (left, right) = (at + 1, at + node.right());
            let bound = |child: usize| {
                space.squared_to_box::<PERIODIC>(q, tree.nodes[child].low, tree.nodes[child].high)
            };
            let (bound_left, bound_right) = (bound(left), bound(right));
            let (near, far) = if bound_right < bound_left {
                ((right, bound_right), (left, bound_left))
            } else {
                ((left, bound_left), (right, bound_right))
            };
            if far.1 <= limit {
                waiting[count] = far;
                count += 1;
            }
            if near.1 > limit {
                break;
            }
            at = near.0;
        }
    }
}

/// Calls `take` with the place and the squared distance of every point of a leaf that is no farther than the limit.
///
/// # Safety
/// The machine has the instructions of `S`; a leaf begins at `place`.
#[inline(always)]
unsafe fn scan<S: Simd, const PERIODIC: bool>(
    tree: &Tree,
    place: usize,
    q: [f32; 3],
    space: &Space,
    limit: f32,
    mut take: impl FnMut(usize, f32),
) {
    let block = &tree.blocks[place / LEAF * BLOCK..][..BLOCK];
    let mut squared = [0f32; LEAF];
    // SAFETY: the caller vouches for the instructions; a block holds three rows of LEAF numbers, and LANES divides LEAF.
    unsafe {
        let limits = S::splat(limit);
        let mut bits = 0u32;
        for lane in (0..LEAF).step_by(S::LANES) {
            let part = |axis: usize| {
                let x = S::load(block.as_ptr().add(axis * LEAF + lane));
                let mut d = S::sub(x, S::splat(q[axis]));
                if PERIODIC {
                    d = S::abs(d);
                    d = S::min(d, S::sub(S::splat(space.sides[axis]), d));
                }
                S::mul(d, d)
            };
            let d = S::add(S::add(part(0), part(1)), part(2));
            S::store(squared.as_mut_ptr().add(lane), d);
            bits |= S::at_most(d, limits) << lane;
        }
        while bits != 0 {
            let i = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            take(place + i, squared[i]);
        }
    }
}
