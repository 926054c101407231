//! Convolution with a 3x3 kernel and stride 1 (and with one of 3 to 6 pixels and stride 2, see [`strided`]) by Winograd's
//! algorithm F(4x4, 3x3): 2.25 multiplications an output and channel instead of 9, at about a digit of precision.
//!
//! The map is cut into tiles of 4x4 outputs. Each tile's 6x6 inputs become 36 values ("points"), each point is a
//! product of matrices over channels, and 36 points become 16 outputs. Vectors hold channels, so that tiles of any
//! number and maps of any size are alike; pixels change from planes to vectors of channels by transposing small squares
//! on the way in and out.
//!
//! The gradient with respect to the input is the same algorithm with reversed filters. That with respect to the
//! filters sums products over tiles at each point ([`weight_gradient`]).
//!
//! Source: Lavin & Gray 2016, arXiv:1509.09308.

mod forward;
mod plan;
mod product;
mod strided;
mod tiles;
mod transform;
mod weight_gradient;
mod weights;
mod zeros;

use forward::Problem;
use weights::Use;
use zeros::Zeros;

use super::PadMode;
use super::geometry::Geometry;

/// Points of a tile.
const POINTS: usize = transform::SIDE * transform::SIDE;
/// Numbers between the points of different index beyond their size, so that they do not share cache sets.
const SKEW: usize = 16;

/// Fewer tiles do not pay for the transform of filters that no cache holds.
const FEW: usize = 12;
/// The same of stride two, where the products save less.
const FEW_STRIDED: usize = 24;
/// Numbers of transformed filters that stay in the cache.
const SMALL: usize = 256 * 1024;

/// Whether the algorithm applies and pays: with few channels, the transforms of pixels cost more than the products save;
/// with few pixels, those of the filters.
pub(super) fn fits(g: &Geometry) -> bool {
    plain(g) && pays(g, g.ci, FEW) || strided::fits(g) && pays(g, 4 * g.ci, FEW_STRIDED)
}

fn pays(g: &Geometry, inputs: usize, few: usize) -> bool {
    let tiles = g.n * g.oh.div_ceil(4) * g.ow.div_ceil(4);
    g.ci.min(g.co) >= 8 && (tiles >= few || POINTS * inputs * g.co <= SMALL)
}

fn plain(g: &Geometry) -> bool {
    let padding = match g.spec.pad_mode {
        PadMode::Zeros => g.spec.padding <= 2,
        PadMode::Circular => g.spec.padding == 1,
        PadMode::Reflect => false,
    };
    (g.kh, g.kw, g.spec.stride) == (3, 3, 1) && padding && g.oh.min(g.ow) >= 2
}

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if !plain(g) {
        return strided::forward(x, w, b, g);
    }
    forward::convolve(x, w, b, &problem(g), Use::Forward)
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if !plain(g) {
        return strided::backward_input(dy, w, b, g);
    }
    let p = problem(g);
    let adjoint = Problem {
        inputs: p.outputs,
        outputs: p.inputs,
        h: p.oh,
        w: p.ow,
        oh: p.h,
        ow: p.w,
        padding: 2 - p.padding,
        ..p
    };
    forward::convolve(dy, w, b, &adjoint, Use::Adjoint)
}

/// `dW` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    if !plain(g) {
        return strided::backward_weight(x, dy, g);
    }
    weight_gradient::weight_gradient(x, dy, &problem(g))
}

fn problem(g: &Geometry) -> Problem {
    Problem {
        n: g.n,
        inputs: g.ci,
        outputs: g.co,
        h: g.h,
        w: g.w,
        oh: g.oh,
        ow: g.ow,
        padding: g.spec.padding,
        mode: g.spec.pad_mode,
        zeros: Zeros::None,
    }
}
