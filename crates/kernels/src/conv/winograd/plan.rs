//! How the tiles of a batch of maps are divided into strips and blocks. It depends on shapes alone, so that sums over
//! tiles are the same at any number of threads and with any vector length.

use std::ops::Range;

use super::tiles::MAX_COLUMNS;

/// Tiles of a block: its points stay in the second-level cache, and a product has rows enough.
pub(super) const BLOCK: usize = 32;

/// A rectangle of tiles of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) image: usize,
    /// First row and column of tiles.
    pub(super) y: usize,
    pub(super) x: usize,
    /// Numbers of rows and columns of tiles.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Tiles before this strip.
    pub(super) start: usize,
}

impl Strip {
    pub(super) fn tiles(&self) -> usize {
        self.rows * self.columns
    }
}

/// The division of `n` images of `h x w` outputs.
pub(super) struct Plan {
    pub(super) strips: Vec<Strip>,
    /// Runs of strips with at most [`BLOCK`] tiles.
    pub(super) blocks: Vec<Range<usize>>,
}

impl Plan {
    pub(super) fn new(n: usize, h: usize, w: usize) -> Self {
        let (th, tw) = (h.div_ceil(4), w.div_ceil(4));
        let columns = tw.div_ceil(tw.div_ceil(MAX_COLUMNS));
        let rows = (BLOCK / columns).clamp(1, th);
        let rows = th.div_ceil(th.div_ceil(rows));
        let mut strips = Vec::new();
        let mut start = 0;
        for image in 0..n {
            for y in (0..th).step_by(rows) {
                for x in (0..tw).step_by(columns) {
                    let strip =
                        Strip { image, y, x, rows: rows.min(th - y), columns: columns.min(tw - x), start };
                    start += strip.tiles();
                    strips.push(strip);
                }
            }
        }
        let all = 0..strips.len();
        let mut plan = Self { strips, blocks: Vec::new() };
        plan.blocks = plan.runs(all, BLOCK);
        plan
    }

    /// Cuts a range of strips into runs of at most `most` tiles (or a single strip).
    pub(super) fn runs(&self, range: Range<usize>, most: usize) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut first = range.start;
        for i in range.clone() {
            if i > first && self.tiles(first..i + 1) > most {
                runs.push(first..i);
                first = i;
            }
        }
        if first < range.end {
            runs.push(first..range.end);
        }
        runs
    }

    /// Tiles of a range of strips.
    pub(super) fn tiles(&self, range: Range<usize>) -> usize {
        match (self.strips.get(range.start), range.end.checked_sub(1).and_then(|i| self.strips.get(i))) {
            (Some(first), Some(last)) => last.start + last.tiles() - first.start,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_once() {
        for (n, h, w) in
            [(1, 1, 1), (2, 64, 64), (3, 16, 16), (7, 8, 8), (2, 30, 34), (1, 5, 260), (2, 20, 20)]
        {
            let plan = Plan::new(n, h, w);
            let (th, tw) = (h.div_ceil(4), w.div_ceil(4));
            let mut seen = vec![0; n * th * tw];
            for (i, block) in plan.blocks.iter().enumerate() {
                assert_eq!(block.start, if i == 0 { 0 } else { plan.blocks[i - 1].end });
                assert!((1..=BLOCK).contains(&plan.tiles(block.clone())));
                for s in &plan.strips[block.clone()] {
                    assert!(s.columns <= MAX_COLUMNS);
                    for y in s.y..s.y + s.rows {
                        for x in s.x..s.x + s.columns {
                            seen[(s.image * th + y) * tw + x] += 1;
                        }
                    }
                }
            }
            assert!(seen.iter().all(|&c| c == 1), "{n} {h} {w}");
        }
    }
}
