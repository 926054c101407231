//! Exact counts of the pixel complex: faces, edges and vertices, every threshold in one pass.

use super::ranks::Ranks;

/// Exact integers of the excursion sets of one map, one number a threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PixelCounts {
    /// Pixels in the set.
    pub area: Vec<i64>,
    /// Pixel edges between the set and its complement; in an open map the outer edge of the image is boundary too.
    pub boundary: Vec<i64>,
    /// Euler characteristic with pixels that touch at a corner apart: F - E + V of the open pixel complex.
    pub euler_4: Vec<i64>,
    /// Euler characteristic with pixels that touch at a corner joined: F - E + V of the closed pixel complex.
    pub euler_8: Vec<i64>,
}

/// A pixel is in set t when its rank exceeds t; an edge or vertex of the closed complex when the largest rank of its
/// pixels does, and of the open complex when the smallest does. Outside an open map all ranks are zero.
pub(super) fn counts(ranks: &Ranks<u32>, periodic: bool) -> PixelCounts {
    let n = ranks.thresholds;
    let zero = || vec![0i64; n + 1];
    let (mut faces, mut any_edge, mut all_edges, mut vertices_8, mut vertices_4) =
        (zero(), zero(), zero(), zero(), zero());
    let (rows, columns) = (ranks.rows, ranks.columns);
    let outside = vec![0u32; columns];
    // Every pixel brings the edges to its left and above and the vertex at its top left corner; an open map has one
    // more row and column of these.
    let extra = usize::from(!periodic);
    for y in 0..rows + extra {
        let here = if y < rows { ranks.row(y) } else { &outside };
        let above = match (y, periodic) {
            (0, true) => ranks.row(rows - 1),
            (0, false) => &outside,
            _ => ranks.row(y - 1),
        };
        for x in 0..columns + extra {
            let left = match (x, periodic) {
                (0, true) => Some(columns - 1),
                (0, false) => None,
                _ => Some(x - 1),
            };
            let at = |row: &[u32], x: Option<usize>| x.and_then(|x| row.get(x)).copied().unwrap_or(0);
            let (p, l, a, al) = (at(here, Some(x)), at(here, left), at(above, Some(x)), at(above, left));
            faces[p as usize] += 1;
            for other in [l, a] {
                any_edge[p.max(other) as usize] += 1;
                all_edges[p.min(other) as usize] += 1;
            }
            vertices_8[p.max(l).max(a).max(al) as usize] += 1;
            vertices_4[p.min(l).min(a).min(al) as usize] += 1;
        }
    }
    for histogram in [&mut faces, &mut any_edge, &mut all_edges, &mut vertices_8, &mut vertices_4] {
        // From the number with a rank to the number with a greater one.
        let mut above = 0;
        for slot in histogram.iter_mut().rev() {
            (above, *slot) = (above + *slot, above);
        }
        histogram.truncate(n);
    }
    let each = |f: &dyn Fn(usize) -> i64| (0..n).map(f).collect();
    PixelCounts {
        boundary: each(&|t| any_edge[t] - all_edges[t]),
        euler_4: each(&|t| faces[t] - all_edges[t] + vertices_4[t]),
        euler_8: each(&|t| faces[t] - any_edge[t] + vertices_8[t]),
        area: faces,
    }
}
