//! The sizes of a convolution, and which input pixel a tap reads.

use serde::{Deserialize, Serialize};

/// What lies beyond the edge of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The opposite edge: the map is a torus, as a slice of a periodic box is.
    Circular,
    /// The map mirrored at its outermost pixels, which are not repeated. Not for transposed convolutions.
    Reflect,
}

/// How a convolution moves over its input, along every axis alike.
///
/// # Example
/// ```
/// use halocast_kernels::{ConvSpec, PadMode};
/// let spec = ConvSpec { padding: 1, pad_mode: PadMode::Circular, ..Default::default() };
/// assert_eq!((spec.stride, spec.groups), (1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConvSpec {
    /// Pixels between neighbouring outputs.
    pub stride: usize,
    /// Pixels added at each edge.
    pub padding: usize,
    /// What those pixels hold.
    pub pad_mode: PadMode,
    /// Parts of the channels that are convolved apart; as many as channels is a depthwise convolution.
    pub groups: usize,
    /// Pixels that a transposed convolution adds at the end of each axis: less than the stride, and zero on a torus. Of
    /// the sizes that a convolution takes to one, it chooses which the transposed convolution returns to.
    pub output_padding: usize,
}

/// The same for maps.
pub type Conv2dSpec = ConvSpec;

impl Default for ConvSpec {
    fn default() -> Self {
        Self { stride: 1, padding: 0, pad_mode: PadMode::Zeros, groups: 1, output_padding: 0 }
    }
}

/// Where the position `padded` lies on an axis of `size` pixels with `padding` more in front; nowhere beyond a zero edge,
/// nor further beyond a mirror than the axis is long.
#[inline(always)]
pub(crate) fn source(padded: usize, padding: usize, size: usize, mode: PadMode) -> Option<usize> {
    match mode {
        PadMode::Zeros => padded.checked_sub(padding).filter(|&i| i < size),
        PadMode::Circular => Some((padded + size * padding.div_ceil(size) - padding) % size),
        PadMode::Reflect => {
            let i = padded.abs_diff(padding);
            if i < size { Some(i) } else { (2 * (size - 1)).checked_sub(i) }
        }
    }
}

/// The sizes of one convolution, `[n, ci, h, w] -> [n, co, oh, ow]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) ci: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) co: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) spec: Conv2dSpec,
}

impl Geometry {
    /// Taps of one output: `ci * kh * kw`.
    pub(crate) fn taps(&self) -> usize {
        self.ci * self.kh * self.kw
    }

    /// Pixels of an output plane.
    pub(crate) fn out_plane(&self) -> usize {
        self.oh * self.ow
    }

    /// Pixels of an input plane.
    pub(crate) fn in_plane(&self) -> usize {
        self.h * self.w
    }

    /// Whether the input itself is the matrix of taps.
    pub(crate) fn pointwise(&self) -> bool {
        self.kh == 1 && self.kw == 1 && self.spec.stride == 1 && self.spec.padding == 0
    }

    /// The input row that tap `ky` of output row `oy` reads; none beyond a zero edge.
    #[inline]
    pub(crate) fn row(&self, oy: usize, ky: usize) -> Option<usize> {
        source(oy * self.spec.stride + ky, self.spec.padding, self.h, self.spec.pad_mode)
    }

    /// The input column that tap `kx` of output column `ox` reads; none beyond a zero edge.
    #[inline]
    pub(crate) fn column(&self, ox: usize, kx: usize) -> Option<usize> {
        source(ox * self.spec.stride + kx, self.spec.padding, self.w, self.spec.pad_mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let of = |mode| [0, 1, 2, 3, 4, 5, 6].map(|at| source(at, 2, 3, mode));
        assert_eq!(of(PadMode::Zeros), [None, None, Some(0), Some(1), Some(2), None, None]);
        assert_eq!(of(PadMode::Circular), [1, 2, 0, 1, 2, 0, 1].map(Some));
        assert_eq!(of(PadMode::Reflect), [2, 1, 0, 1, 2, 1, 0].map(Some));
        assert_eq!(source(0, 7, 3, PadMode::Circular), Some(2));
    }
}
