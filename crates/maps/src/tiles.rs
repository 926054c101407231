//! Kernels of moderate size laid once each: on tiles of rows with a margin that holds what a kernel of the tile may reach.
//!
//! A particle belongs to the tile that holds its centre, and is laid there whole by one thread, in the order of the particles;
//! then the tiles are summed in theirs. No row is clipped and none goes around while kernels are laid.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use crate::kernel::{Place, Quadrant};
use crate::smooth::{LANES, Profile, Stamp};

/// The radius in pixels below which kernels are laid on tiles.
pub(crate) const REACH: f64 = 32.0;
/// Particles that one thread sorts at a time.
pub(crate) const BLOCK: usize = 1 << 16;

/// A particle in units of pixels, `[y, x]`.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) at: [f64; 2],
    /// In rows.
    pub(crate) radius: f64,
    pub(crate) mass: f64,
}

/// The particles of one block, by tile.
#[derive(Default)]
pub(crate) struct Sorted {
    /// Where those of each tile begin, and the end.
    start: Vec<usize>,
    placed: Vec<Placed>,
}

impl Sorted {
    /// Sorts particles to their tiles, in their order.
    pub(crate) fn new(tiles: usize, found: &[(u32, Placed)]) -> Self {
        let mut start = vec![0; tiles + 1];
        found.iter().for_each(|(tile, _)| start[*tile as usize + 1] += 1);
        (0..tiles).for_each(|t| start[t + 1] += start[t]);
        let mut next = start.clone();
        let mut placed = vec![Placed { at: [0.0; 2], radius: 0.0, mass: 0.0 }; found.len()];
        for (tile, particle) in found {
            placed[next[*tile as usize]] = *particle;
            next[*tile as usize] += 1;
        }
        Self { start, placed }
    }

    fn of(&self, tile: usize) -> &[Placed] {
        &self.placed[self.start[tile]..self.start[tile + 1]]
    }
}

/// How an image is cut into tiles.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    /// Pixels of the image, `[y, x]`.
    shape: [usize; 2],
    periodic: bool,
    /// Rows of a tile; the last may have fewer.
    height: usize,
    number: usize,
}

impl Cut {
    pub(crate) fn new(shape: [usize; 2], periodic: bool) -> Self {
        // Enough tiles for many threads, and not all of them margin.
        let height = shape[0].div_ceil(16).max(32).min(shape[0]);
        Self { shape, periodic, height, number: shape[0].div_ceil(height) }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The tile of a particle, which is moved to the image's own period; none when it reaches no pixel of an open image.
    pub(crate) fn tile_of(&self, placed: &mut Placed, radius: [f64; 2]) -> Option<usize> {
        for axis in 0..2 {
            let n = self.shape[axis] as f64;
            let (at, r) = (placed.at[axis], radius[axis]);
            if self.periodic {
                let inside = if (0.0..n).contains(&at) { at } else { at - (at / n).floor() * n };
                placed.at[axis] = if inside < n { inside } else { 0.0 };
            } else if at + r < 0.0 || at - r > n {
                return None;
            }
        }
        Some((placed.at[0].max(0.0) as usize / self.height).min(self.number - 1))
    }

    /// Mass per pixel of the particles of each tile, in the blocks' order.
    pub(crate) fn lay(&self, blocks: &[Sorted], brush: &Brush) -> Array2<f64> {
        let [ny, nx] = self.shape;
        let longest = brush.across.max(1.0);
        let most = blocks
            .par_iter()
            .map(|block| block.placed.iter().map(|p| p.radius * longest).fold(0.0, f64::max))
            .reduce(|| 0.0, f64::max);
        // Open images have particles outside, by no more than their reach.
        let margin = if self.periodic { most.floor() as usize + 2 } else { 2 * (most.floor() as usize + 2) };
        let width = nx + 2 * margin + LANES;
        let tiles: Vec<Vec<f64>> = (0..self.number)
            .into_par_iter()
            .map(|tile| {
                let rows = (self.height * (tile + 1)).min(ny) - self.height * tile + 2 * margin;
                let origin = [(tile * self.height) as f64 - margin as f64, -(margin as f64)];
                let mut sheet = Sheet { sums: vec![0.0; rows * width], width, scratch: Scratch::default() };
                for block in blocks {
                    brush.arch.dispatch(Lay { brush, sheet: &mut sheet, placed: block.of(tile), origin });
                }
                sheet.sums
            })
            .collect();
        let mut image = Array2::<f64>::zeros((ny, nx));
        let rows: Vec<_> = image.outer_iter_mut().collect();
        rows.into_par_iter().enumerate().for_each(|(y, mut row)| {
            let Some(row) = row.as_slice_mut() else { return };
            for (tile, sums) in tiles.iter().enumerate() {
                for r in self.rows_at(y, tile, sums.len() / width, margin) {
                    self.fold(row, &sums[r * width..(r + 1) * width], margin);
                }
            }
        });
        image
    }

    /// The rows of a tile that belong to row `y` of the image.
    fn rows_at(&self, y: usize, tile: usize, rows: usize, margin: usize) -> impl Iterator<Item = usize> {
        let ny = self.shape[0];
        // Row r of the tile is row tile * height - margin + r of the image.
        let first = y as i64 - (tile * self.height) as i64 + margin as i64;
        let (first, step) = match self.periodic {
            true => (first.rem_euclid(ny as i64) as usize, ny),
            false => (usize::try_from(first).unwrap_or(rows), rows.max(1)),
        };
        (first..rows).step_by(step)
    }

    /// Adds a row of a tile, its margins around a periodic image.
    fn fold(&self, row: &mut [f64], sums: &[f64], margin: usize) {
        let nx = row.len();
        row.iter_mut().zip(&sums[margin..]).for_each(|(pixel, v)| *pixel += v);
        if self.periodic {
            let beyond = sums[margin + nx..].iter().enumerate().map(|(i, v)| (i % nx, v));
            let before = sums[..margin].iter().rev().enumerate().map(|(i, v)| (nx - 1 - i % nx, v));
            beyond.chain(before).for_each(|(x, v)| row[x] += v);
        }
    }
}

/// One tile with its margins.
struct Sheet {
    sums: Vec<f64>,
    width: usize,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    places: Vec<Place>,
    lines: [Vec<f64>; 2],
    weights: Vec<[f32; LANES]>,
}

/// Particles of one tile.
struct Lay<'a> {
    brush: &'a Brush,
    sheet: &'a mut Sheet,
    placed: &'a [Placed],
    /// The corner of the sheet in the image.
    origin: [f64; 2],
}

impl Lay<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for placed in self.placed {
            let at = [placed.at[0] - self.origin[0], placed.at[1] - self.origin[1]];
            self.brush.lay::<FUSED>(self.sheet, Placed { at, ..*placed });
        }
    }
}

impl pulp::WithSimd for Lay<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        if S::IS_SCALAR { self.run::<false>() } else { self.run::<true>() }
    }
}

/// Lays kernels.
pub(crate) struct Brush {
    pub(crate) arch: pulp::Arch,
    pub(crate) table: &'static Quadrant,
    pub(crate) profile: &'static Profile,
    /// The radius from which the profile is taken.
    pub(crate) wide: f64,
    /// The radius in columns over that in rows.
    pub(crate) across: f64,
}

impl Brush {
    #[inline(always)]
    fn lay<const FUSED: bool>(&self, sheet: &mut Sheet, placed: Placed) {
        let Placed { at, radius, mass } = placed;
        let radius = [radius, radius * self.across];
        let range = |axis: usize| {
            (at[axis] - radius[axis]).floor() as usize..(at[axis] + radius[axis]).floor() as usize
        };
        let (ys, xs) = (range(0), range(1));
        if ys.is_empty() && xs.is_empty() {
            sheet.sums[ys.start * sheet.width + xs.start] += mass;
        } else if radius[0].min(radius[1]) >= self.wide {
            self.smooth::<FUSED>(sheet, at, radius, mass);
        } else {
            self.tabulated(sheet, [ys, xs], at, radius, mass);
        }
    }

    /// The mass in each pixel as a difference of the table's; `ranges` are the first and last pixels.
    #[inline(always)]
    fn tabulated(
        &self,
        sheet: &mut Sheet,
        [ys, xs]: [Range<usize>; 2],
        at: [f64; 2],
        radius: [f64; 2],
        mass: f64,
    ) {
        let per_radius = radius.map(|r| 1.0 / r);
        let edge = |i: usize, axis: usize| Quadrant::place((i as f64 - at[axis]) * per_radius[axis]);
        let Sheet { sums, width, scratch: Scratch { places, lines, .. } } = sheet;
        places.clear();
        places.extend((xs.start..=xs.end + 1).map(|i| edge(i, 1)));
        let nodes = places.len();
        lines.iter_mut().for_each(|line| line.resize(nodes.max(line.len()), 0.0));
        let [above, below] = lines;
        self.table.line(edge(ys.start, 0), places, above);
        for y in ys.start..=ys.end {
            self.table.line(edge(y + 1, 0), places, below);
            let start = y * *width + xs.start;
            let pixels = &mut sums[start..start + nodes - 1];
            for ((pixel, b), a) in
                pixels.iter_mut().zip(below[..nodes].windows(2)).zip(above[..nodes].windows(2))
            {
                // Rounding must leave no pixel below zero.
                *pixel += mass * ((b[1] - a[1]) - (b[0] - a[0])).max(0.0);
            }
            std::mem::swap(above, below);
        }
    }

    /// The profile at pixel centres, normalised.
    #[inline(always)]
    fn smooth<const FUSED: bool>(&self, sheet: &mut Sheet, at: [f64; 2], radius: [f64; 2], mass: f64) {
        let Sheet { sums, width, scratch: Scratch { weights, .. } } = sheet;
        let Stamp { corner, rows, groups, total } = self.profile.stamp::<FUSED>(at, radius, weights);
        let scale = mass / total;
        for (row, weights) in weights.chunks_exact(groups).take(rows).enumerate() {
            let start = (corner[0] + row) * *width + corner[1];
            let pixels = &mut sums[start..start + groups * LANES];
            pixels
                .iter_mut()
                .zip(weights.as_flattened())
                .for_each(|(pixel, w)| *pixel += scale * f64::from(*w));
        }
    }
}
