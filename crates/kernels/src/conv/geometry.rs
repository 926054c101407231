//! The sizes of a convolution, and which input pixel a tap reads.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What lies beyond the edge of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The opposite edge: the map is a torus, as a slice of a periodic box is.
    Circular,
}

/// How a convolution moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2dSpec {
    /// Pixels between neighbouring outputs.
    pub stride: usize,
    /// Pixels added at each edge.
    pub padding: usize,
    /// What those pixels hold.
    pub pad_mode: PadMode,
}

impl Default for Conv2dSpec {
    fn default() -> Self {
        Self { stride: 1, padding: 0, pad_mode: PadMode::Zeros }
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
    /// Of a convolution of `x [n, ci, h, w]` with `w [co, ci, kh, kw]`.
    pub(crate) fn conv(x: &[usize], w: &[usize], spec: Conv2dSpec) -> Result<Self> {
        const OP: &str = "conv2d";
        let &[n, ci, h, width] = x else { return Err(Error::shape(OP, "x", "[n, ci, h, w]", x)) };
        let &[co, wci, kh, kw] = w else { return Err(Error::shape(OP, "weight", "[co, ci, kh, kw]", w)) };
        if wci != ci || kh == 0 || kw == 0 {
            return Err(Error::shape(OP, "weight", format!("[co, {ci}, kh, kw]"), w));
        }
        check_stride(OP, spec)?;
        let (ph, pw) = (h + 2 * spec.padding, width + 2 * spec.padding);
        if h == 0 || width == 0 || ph < kh || pw < kw {
            return Err(Error::shape(OP, "x", format!("no smaller than the kernel {kh} x {kw}"), x));
        }
        let (oh, ow) = ((ph - kh) / spec.stride + 1, (pw - kw) / spec.stride + 1);
        Ok(Self { n, ci, h, w: width, co, kh, kw, oh, ow, spec })
    }

    /// Of the convolution whose adjoint takes `x [n, ci, h, w]` with `w [ci, co, kh, kw]` to the output: its `h`,
    /// `w` and `ci` are those of the transposed convolution's output, its `co`, `oh`, `ow` those of `x`.
    pub(crate) fn transposed(x: &[usize], w: &[usize], spec: Conv2dSpec) -> Result<Self> {
        const OP: &str = "conv_transpose2d";
        let &[n, ci, h, width] = x else { return Err(Error::shape(OP, "x", "[n, ci, h, w]", x)) };
        let &[wci, co, kh, kw] = w else { return Err(Error::shape(OP, "weight", "[ci, co, kh, kw]", w)) };
        if wci != ci || kh == 0 || kw == 0 {
            return Err(Error::shape(OP, "weight", format!("[{ci}, co, kh, kw]"), w));
        }
        check_stride(OP, spec)?;
        if h == 0 || width == 0 {
            return Err(Error::shape(OP, "x", "[n, ci, h, w] with h, w > 0", x));
        }
        let Conv2dSpec { stride, padding, pad_mode } = spec;
        let size = |size: usize, kernel: usize| match pad_mode {
            PadMode::Zeros => ((size - 1) * stride + kernel).checked_sub(2 * padding).filter(|&s| s > 0),
            PadMode::Circular => {
                let shrink = kernel.checked_sub(2 * padding)?;
                (1..=stride).contains(&shrink).then_some(size * stride)
            }
        };
        let (Some(oh), Some(ow)) = (size(h, kh), size(width, kw)) else {
            let expected = match pad_mode {
                PadMode::Zeros => "less than half of the unpadded output".to_string(),
                PadMode::Circular => format!("such that 1 <= kernel - 2 padding <= stride = {stride}"),
            };
            return Err(Error::argument(OP, "padding", expected, padding));
        };
        Ok(Self { n, ci: co, h: oh, w: ow, co: ci, kh, kw, oh: h, ow: width, spec })
    }

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
        self.source(oy * self.spec.stride + ky, self.h)
    }

    /// The input column that tap `kx` of output column `ox` reads; none beyond a zero edge.
    #[inline]
    pub(crate) fn column(&self, ox: usize, kx: usize) -> Option<usize> {
        self.source(ox * self.spec.stride + kx, self.w)
    }

    #[inline]
    fn source(&self, padded: usize, size: usize) -> Option<usize> {
        let padding = self.spec.padding;
        match self.spec.pad_mode {
            PadMode::Zeros => padded.checked_sub(padding).filter(|&i| i < size),
            PadMode::Circular => Some((padded + size * padding.div_ceil(size) - padding) % size),
        }
    }
}

fn check_stride(op: &'static str, spec: Conv2dSpec) -> Result<()> {
    if spec.stride == 0 { Err(Error::argument(op, "stride", "at least 1", 0)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_sources() {
        let spec = Conv2dSpec { stride: 2, padding: 1, pad_mode: PadMode::Circular };
        let g = Geometry::conv(&[1, 2, 6, 8], &[3, 2, 4, 4], spec).unwrap();
        assert_eq!((g.oh, g.ow), (3, 4));
        assert_eq!((g.row(0, 0), g.row(2, 3), g.column(3, 3)), (Some(5), Some(0), Some(0)));
        let zeros = Geometry { spec: Conv2dSpec { pad_mode: PadMode::Zeros, ..spec }, ..g };
        assert_eq!((zeros.row(0, 0), zeros.row(0, 1), zeros.row(2, 3)), (None, Some(0), None));
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let spec = Conv2dSpec::default();
        assert!(Geometry::conv(&[1, 2, 6], &[3, 2, 4, 4], spec).is_err());
        assert!(Geometry::conv(&[1, 1, 6, 6], &[3, 2, 4, 4], spec).is_err());
        assert!(Geometry::conv(&[1, 2, 3, 3], &[3, 2, 4, 4], spec).is_err());
        assert!(Geometry::conv(&[1, 2, 6, 6], &[3, 2, 4, 4], Conv2dSpec { stride: 0, ..spec }).is_err());
        let circular = Conv2dSpec { stride: 2, padding: 0, pad_mode: PadMode::Circular };
        assert!(Geometry::transposed(&[1, 2, 6, 6], &[2, 3, 4, 4], circular).is_err());
    }
}
