//! The slow, plain projector that checks the fast one: every pixel of every particle, in float64, one thread.

use ndarray::Array2;

use crate::{Error, Kernel, Method, Projection, Result};

/// Where a pixel is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Sample points along each axis of a pixel.
    pub points: usize,
    /// Whether the single point is the pixel's lower corner, as in the ray tracing of the CAMELS maps, or the points are
    /// spread about its centre.
    pub corner: bool,
}

impl Sampling {
    /// `points` x `points` points in the middles of equal parts of a pixel.
    pub fn centred(points: usize) -> Self {
        Self { points: points.max(1), corner: false }
    }

    /// The pixel's lower corner.
    pub fn corner() -> Self {
        Self { points: 1, corner: true }
    }
}

/// The surface density `[y, x]` by brute force: the mean over sample points of sum_i m_i W(r_i / H_i) / H_i^2 over all
/// particles and, in a periodic image, all their images, of radii H_i greater than zero. O(pixels in kernels x points^2).
///
/// # Errors
/// [`Error::Value`] for a method without a kernel; [`Error::Length`].
pub fn project_reference(
    positions: &[[f64; 3]],
    masses: &[f64],
    radii: &[f64],
    projection: &Projection,
    method: Method,
    sampling: Sampling,
) -> Result<Array2<f64>> {
    let operation = "reference projection";
    let kernel: Kernel = method.kernel().ok_or_else(|| Error::Value {
        operation,
        what: "the method".into(),
        expected: "one with a kernel",
        got: format!("{method:?}"),
    })?;
    for (what, got) in [("the masses", masses.len()), ("the radii", radii.len())] {
        if got != positions.len() {
            return Err(Error::Length { operation, what, expected: positions.len(), got });
        }
    }
    let axes = projection.axis.image_axes();
    let depth = projection.axis.depth();
    let [ny, nx] = projection.shape;
    let side = axes.map(|a| projection.sides[a]);
    let pixel = [side[0] / ny as f64, side[1] / nx as f64];
    let points = sampling.points;
    let offset = |s: usize| if sampling.corner { 0.0 } else { (s as f64 + 0.5) / points as f64 };
    let mut image = Array2::zeros((ny, nx));
    for ((position, &mass), &radius) in positions.iter().zip(masses).zip(radii) {
        let z = position[depth] - projection.origin[depth];
        if !projection.periodic && !(0.0..projection.sides[depth]).contains(&z) {
            continue;
        }
        let at = axes.map(|a| position[a] - projection.origin[a]);
        // Images of the particle whose kernel may reach the frame, and the pixels within its reach.
        let copies = |axis: usize| -> Vec<f64> {
            if !projection.periodic {
                return vec![at[axis]];
            }
            let (first, n) = (at[axis].rem_euclid(side[axis]), (radius / side[axis]).ceil() as i64);
            (-n..=n).map(|c| first + c as f64 * side[axis]).collect()
        };
        let reach = |axis: usize, at: f64, n: usize| {
            let last = ((at + radius) / pixel[axis]).floor();
            let first = ((at - radius) / pixel[axis]).floor() - 1.0;
            first.max(0.0) as usize..(last + 1.0).clamp(0.0, n as f64) as usize
        };
        let scale = mass / (points * points) as f64 / (radius * radius);
        for (at_y, at_x) in copies(0).into_iter().flat_map(|y| copies(1).into_iter().map(move |x| (y, x))) {
            for y in reach(0, at_y, ny) {
                for x in reach(1, at_x, nx) {
                    let mut sum = 0.0;
                    for sy in 0..points {
                        let dy = (y as f64 + offset(sy)) * pixel[0] - at_y;
                        for sx in 0..points {
                            let dx = (x as f64 + offset(sx)) * pixel[1] - at_x;
                            sum += kernel.column(dy.hypot(dx) / radius);
                        }
                    }
                    image[[y, x]] += scale * sum;
                }
            }
        }
    }
    Ok(image)
}
