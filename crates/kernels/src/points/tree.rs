//! A balanced k-d tree whose leaves hold a fixed number of points, side by side for vector instructions.
//!
//! All leaves but the last are full, so the tree is its list of boxes in preorder: the left child of a node follows it,
//! the right child follows the left one's nodes. A node is split along the longest side of its tight box. Points that
//! compare equal go by index, so the tree is a function of the points alone.

use rayon::prelude::*;

/// Points of a leaf.
pub(super) const LEAF: usize = 32;
/// Numbers of a leaf's block: the first coordinates of all its points, the second, the third.
pub(super) const BLOCK: usize = 3 * LEAF;
/// Nodes of at least this many leaves are built by two tasks.
const TASK: usize = 64;

/// A box and the leaves in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    pub(super) low: [f32; 3],
    pub(super) high: [f32; 3],
    pub(super) first: u32,
    pub(super) leaves: u32,
}

impl Node {
    /// The distance from this node to its right child; the left one is next.
    #[inline(always)]
    pub(super) fn right(&self) -> usize {
        2 * left_leaves(self.leaves as usize)
    }
}

/// The tree of one cloud.
pub(super) struct Tree {
    /// In preorder; empty for no points.
    pub(super) nodes: Vec<Node>,
    /// A block for each leaf. Places without a point are infinitely far on the first axis.
    pub(super) blocks: Vec<f32>,
    /// The index of the point at each place, ascending within a leaf; `u32::MAX` where there is none.
    pub(super) order: Vec<u32>,
    points: usize,
}

#[derive(Clone, Copy)]
struct Item {
    x: [f32; 3],
    index: u32,
}

impl Tree {
    /// The tree of finite points. O(n log n).
    pub(super) fn new(points: &[[f32; 3]]) -> Self {
        let leaves = points.len().div_ceil(LEAF);
        let mut items: Vec<Item> =
            points.iter().enumerate().map(|(i, &x)| Item { x, index: i as u32 }).collect();
        let mut nodes = vec![Node::default(); (2 * leaves).saturating_sub(1)];
        if leaves > 0 {
            build(&mut items, &mut nodes, 0, leaves);
        }
        let mut blocks = vec![0.0; leaves * BLOCK];
        let mut order = vec![u32::MAX; leaves * LEAF];
        for ((items, block), order) in
            items.chunks(LEAF).zip(blocks.chunks_exact_mut(BLOCK)).zip(order.chunks_exact_mut(LEAF))
        {
            block[..LEAF].fill(f32::INFINITY);
            for (i, item) in items.iter().enumerate() {
                order[i] = item.index;
                for axis in 0..3 {
                    block[axis * LEAF + i] = item.x[axis];
                }
            }
        }
        Self { nodes, blocks, order, points: points.len() }
    }

    /// The point at a place.
    #[inline(always)]
    pub(super) fn point(&self, place: usize) -> [f32; 3] {
        let start = place / LEAF * BLOCK + place % LEAF;
        std::array::from_fn(|axis| self.blocks[start + axis * LEAF])
    }

    /// The indices of the points in the order of the tree: neighbours mostly stand together.
    pub(super) fn sequence(&self) -> &[u32] {
        // Only the last leaf has free places, at its end.
        &self.order[..self.points]
    }

    /// The place of each point: the inverse of [`Tree::sequence`].
    pub(super) fn places(&self) -> Vec<u32> {
        let mut places = vec![0; self.points];
        for (place, &index) in self.sequence().iter().enumerate() {
            places[index as usize] = place as u32;
        }
        places
    }
}

/// The trees of a batch of clouds of `points` points each.
pub(super) fn trees(clouds: &[[f32; 3]], points: usize) -> Vec<Tree> {
    clouds.par_chunks(points.max(1)).map(Tree::new).collect()
}

fn left_leaves(leaves: usize) -> usize {
    leaves.div_ceil(2)
}

fn build(items: &mut [Item], nodes: &mut [Node], first: usize, leaves: usize) {
    let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
    for item in items.iter() {
        for axis in 0..3 {
            low[axis] = if item.x[axis] < low[axis] { item.x[axis] } else { low[axis] };
            high[axis] = if item.x[axis] > high[axis] { item.x[axis] } else { high[axis] };
        }
    }
    let Some((node, children)) = nodes.split_first_mut() else { return };
    *node = Node { low, high, first: first as u32, leaves: leaves as u32 };
    if leaves == 1 {
        items.sort_unstable_by_key(|item| item.index);
        return;
    }
    let mut axis = 0;
    for other in 1..3 {
        if high[other] - low[other] > high[axis] - low[axis] {
            axis = other;
        }
    }
    let left = left_leaves(leaves);
    items.select_nth_unstable_by(left * LEAF, |a, b| {
        a.x[axis].total_cmp(&b.x[axis]).then(a.index.cmp(&b.index))
    });
    let (near, far) = items.split_at_mut(left * LEAF);
    let (a, b) = children.split_at_mut(2 * left - 1);
    if leaves < TASK {
        build(near, a, first, left);
        build(far, b, first + left, leaves - left);
    } else {
        rayon::join(|| build(near, a, first, left), || build(far, b, first + left, leaves - left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_in_its_boxes_once() {
        for n in [1, 31, 32, 33, 64, 65, 1000, 5000] {
            let points: Vec<[f32; 3]> =
                (0..n).map(|i| [(i * 7 % 13) as f32, (i * 5 % 11) as f32, (i % 3) as f32]).collect();
            let tree = Tree::new(&points);
            let mut seen = tree.sequence().to_vec();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..n as u32));
            for node in &tree.nodes {
                let places = node.first as usize * LEAF..(node.first + node.leaves) as usize * LEAF;
                for place in places.filter(|&place| place < n) {
                    let p = tree.point(place);
                    assert_eq!(p, points[tree.order[place] as usize]);
                    assert!((0..3).all(|axis| node.low[axis] <= p[axis] && p[axis] <= node.high[axis]));
                }
            }
        }
    }
}
