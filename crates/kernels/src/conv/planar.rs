//! Two-dimensional convolution by the fastest algorithm for its sizes.

use super::geometry::Geometry;
use super::{direct, direct_weight, outer, pointwise, winograd};

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::forward(x, w, b, g)
    } else if g.pointwise() {
        pointwise::forward(x, w, b, g)
    } else {
        direct::forward(x, w, b, g)
    }
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::backward_input(dy, w, b, g)
    } else if g.pointwise() {
        pointwise::backward_input(dy, w, b, g)
    } else {
        direct::backward_input(dy, w, b, g)
    }
}

/// `dW` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::backward_weight(x, dy, g)
    } else if g.pointwise() {
        pointwise::backward_weight(x, dy, g)
    } else if outer::fits(g) {
        outer::backward_weight(x, dy, g)
    } else {
        direct_weight::backward_weight(x, dy, g)
    }
}
