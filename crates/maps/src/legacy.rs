//! The numbers of other programs, their faults included: for comparing with published maps, not for making new ones.

use std::f64::consts::PI;

use halocast_core::{Map, Unit};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Error, Method, Projection, Result, Sampling, project_reference};

/// A projector of another program, as that program computes it.
///
/// # Source
/// The published sources of Pylians 0.12, skais-mapper 0.1.16 and swiftsimio 12.4, whose own answers the tests compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Legacy {
    /// `voronoi_RT_2D` of Pylians and of skais-mapper, the method of the CAMELS maps: the column of a uniform sphere at the
    /// pixel's lower corner. The image is shifted by half a pixel, and a sphere that holds no corner is lost.
    VoronoiRt,
    /// `fast` of swiftsimio: the planar Wendland C2 kernel at pixel centres, not normalised; all of the mass in one pixel where
    /// the radius is below a pixel.
    SwiftsimioFast,
    /// `renormalised` of swiftsimio: the same, the samples of each kernel divided by their sum.
    SwiftsimioRenormalised,
    /// `subsampled` of swiftsimio: the mean over sub-pixels, at least 32 x 32 samples a kernel. A kernel below a quarter of
    /// a pixel that sticks out to the right or to the top alone is not divided.
    SwiftsimioSubsampled,
    /// `subsampled_extreme` of swiftsimio: the same with 64 x 64 samples.
    SwiftsimioSubsampledExtreme,
    /// `nested` of swiftsimio: large kernels on coarser images, bilinearly refined; the edges of periodic images are not
    /// refined across.
    SwiftsimioNested,
}

/// The surface density in (Msun/h) / (Mpc/h)^2 by another program's rules; positions in Mpc/h, masses in Msun/h, radii of
/// compact support in Mpc/h (swiftsimio: 1.897367 times its `h`). One thread, float64 where the programs have float32.
///
/// ```
/// use halocast_maps::{Axis, Legacy, Projection, project_legacy};
/// let frame = Projection::periodic_box(Axis::Z, 8, 8.0);
/// // A sphere that holds no pixel corner leaves nothing.
/// let map = project_legacy("Mgas", &[[0.5, 0.5, 1.0]], &[1.0], &[0.4], &frame, Legacy::VoronoiRt)?;
/// assert_eq!(map.values.sum(), 0.0);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`]; [`Error::Value`] for numbers that are not finite, an image that is not square, or, for
/// [`Legacy::SwiftsimioNested`], whose sides are no multiple of 16 pixels.
pub fn project_legacy(
    field: &str,
    positions: &[[f64; 3]],
    masses: &[f64],
    radii: &[f64],
    projection: &Projection,
    legacy: Legacy,
) -> Result<Map> {
    let operation = "projection by another program's rules";
    for (what, got) in [("the masses", masses.len()), ("the radii", radii.len())] {
        if got != positions.len() {
            return Err(Error::Length { operation, what, expected: positions.len(), got });
        }
    }
    let value = |what: String, expected, got: String| Err(Error::Value { operation, what, expected, got });
    let good = |i: &usize| {
        positions[*i].iter().all(|x| x.is_finite())
            && masses[*i].is_finite()
            && radii[*i] >= 0.0
            && radii[*i].is_finite()
    };
    if let Some(i) = (0..positions.len()).find(|i| !good(i)) {
        let got = format!("{:?}, {}, {}", positions[i], masses[i], radii[i]);
        return value(format!("position, mass and radius of particle {i}"), "finite", got);
    }
    let [vertical, horizontal] = projection.axis.image_axes();
    let side = projection.sides[horizontal];
    let res = projection.shape[0];
    if projection.shape[1] != res
        || projection.sides[vertical] != side
        || side.is_nan()
        || side <= 0.0
        || res == 0
    {
        return value("the image".into(), "square, with pixels", format!("{:?}", projection.shape));
    }
    let depth = projection.axis.depth();
    let values = if legacy == Legacy::VoronoiRt {
        project_reference(positions, masses, radii, projection, Method::Sphere, Sampling::corner())?
    } else {
        if legacy == Legacy::SwiftsimioNested && !res.is_multiple_of(16) {
            return value("the number of pixels".into(), "a multiple of 16 a side", res.to_string());
        }
        let near = |p: &[f64; 3]| {
            let z = p[depth] - projection.origin[depth];
            projection.periodic || (0.0..projection.sides[depth]).contains(&z)
        };
        let scaled = |p: &[f64; 3], axis: usize| (p[axis] - projection.origin[axis]) / side;
        let dots: Vec<Dot> = (0..positions.len())
            .filter(|&i| near(&positions[i]))
            .map(|i| Dot {
                at: [scaled(&positions[i], vertical), scaled(&positions[i], horizontal)],
                mass: masses[i],
                radius: radii[i] / side,
            })
            .collect();
        swiftsimio(&dots, res, projection.periodic, legacy) / (side * side)
    };
    Ok(Map {
        values: values.mapv(|v| v as f32),
        extent: [side; 2],
        length_unit: Unit::mpc_h(),
        unit: Unit::msun_h_per_mpc_h2(),
        field: field.to_owned(),
        periodic: projection.periodic,
    })
}

/// swiftsimio's constant in place of 7 / pi.
const CONSTANT: f64 = 2.228_171_09;

/// A particle in units of the image's side.
struct Dot {
    at: [f64; 2],
    mass: f64,
    radius: f64,
}

fn kernel(r: f64, radius: f64) -> f64 {
    let q = r / radius;
    if q < 1.0 { CONSTANT * (1.0 - q).powi(4) * (1.0 + 4.0 * q) / (radius * radius) } else { 0.0 }
}

fn swiftsimio(dots: &[Dot], res: usize, periodic: bool, legacy: Legacy) -> Array2<f64> {
    let shifts: &[f64] = if periodic { &[-1.0, 0.0, 1.0] } else { &[0.0] };
    // The others have no coarser images.
    let number = if legacy == Legacy::SwiftsimioNested { 5 } else { 1 };
    let mut levels: Vec<Array2<f64>> = (0..number).map(|l| Array2::zeros((res >> l, res >> l))).collect();
    let tables = [32, 64].map(dithered);
    for dot in dots {
        for sy in shifts {
            for sx in shifts {
                let moved = Dot { at: [dot.at[0] + sy, dot.at[1] + sx], ..*dot };
                match legacy {
                    Legacy::SwiftsimioSubsampled => subsampled(&mut levels[0], &moved, &tables[0]),
                    Legacy::SwiftsimioSubsampledExtreme => subsampled(&mut levels[0], &moved, &tables[1]),
                    Legacy::SwiftsimioNested => {
                        let pixels = dot.radius * res as f64;
                        // Six pixels at most, up to a sixteenth of the resolution.
                        let level = (0..4).find(|l| pixels <= 6.0 * f64::from(1 << l)).unwrap_or(4);
                        nested(&mut levels[level], &moved);
                    }
                    other => sampled(&mut levels[0], &moved, other == Legacy::SwiftsimioRenormalised),
                }
            }
        }
    }
    for level in (1..levels.len()).rev() {
        let (fine, coarse) = levels.split_at_mut(level);
        refine(&mut fine[level - 1], &coarse[0]);
    }
    levels.swap_remove(0)
}

/// The pixels `first ..= last` that lie in the image.
fn inside(first: i64, last: i64, res: usize) -> std::ops::Range<usize> {
    first.max(0) as usize..(last + 1).clamp(0, res as i64) as usize
}

fn cell(at: f64, res: f64) -> i64 {
    (res * at).floor() as i64
}

fn sampled(image: &mut Array2<f64>, dot: &Dot, renormalised: bool) {
    let (res, n) = (image.nrows() as f64, image.nrows());
    let [y, x] = dot.at.map(|p| cell(p, res));
    let span = (1.0 + dot.radius * res) as i64;
    if span <= 1 {
        for y in inside(y, y, n) {
            inside(x, x, n).for_each(|x| image[[y, x]] += dot.mass * res * res);
        }
        return;
    }
    let at = |i: i64, axis: usize| (i as f64 + 0.5) / res - dot.at[axis];
    let mut scale = dot.mass;
    if renormalised {
        let mut sum = 0.0;
        for j in y - span + 1..y + span {
            for i in x - span + 1..x + span {
                sum += kernel(at(j, 0).hypot(at(i, 1)), dot.radius);
            }
        }
        scale *= res * res / sum;
    }
    for j in inside(y - span, y + span, n) {
        for i in inside(x - span, x + span, n) {
            image[[j, i]] += scale * kernel(at(j as i64, 0).hypot(at(i as i64, 1)), dot.radius);
        }
    }
}

/// A kernel of unit mass at 2n x 2n points.
fn dithered(n: usize) -> Array2<f64> {
    let at = |i: usize| i as f64 + 0.5 - n as f64;
    let table = Array2::from_shape_fn((2 * n, 2 * n), |(y, x)| kernel(at(y).hypot(at(x)), n as f64));
    &table / table.sum()
}

fn subsampled(image: &mut Array2<f64>, dot: &Dot, table: &Array2<f64>) {
    let (res, n) = (image.nrows() as f64, image.nrows());
    let [y, x] = dot.at.map(|p| cell(p, res));
    let evaluations = table.nrows() as f64 / 4.0;
    let spanned = 1.0 + dot.radius * res;
    let span = spanned as i64;
    if dot.radius * res <= 0.25 {
        // The distance to the right edge is meant; it is that to the far side of the whole image.
        let out = |p: f64, cell: i64| {
            let left = p - cell as f64 / res;
            left < dot.radius || 1.0 - left < dot.radius
        };
        let divided = out(dot.at[0], y) || out(dot.at[1], x);
        if !divided && !inside(y, y, n).is_empty() && !inside(x, x, n).is_empty() {
            image[[y as usize, x as usize]] += dot.mass * res * res;
            return;
        }
        let half = table.nrows() as f64 / 2.0;
        let place = |i: usize, axis: usize| cell(dot.at[axis] + (i as f64 / half - 1.0) * dot.radius, res);
        for ((j, i), weight) in table.indexed_iter() {
            for y in inside(place(j, 0), place(j, 0), n) {
                for x in inside(place(i, 1), place(i, 1), n) {
                    image[[y, x]] += dot.mass * weight * res * res;
                }
            }
        }
        return;
    }
    let factor = (2.0 * (evaluations / spanned).ceil()).max(1.0) as usize;
    let at =
        |i: usize, s: usize, axis: usize| (i as f64 + (s as f64 + 0.5) / factor as f64) / res - dot.at[axis];
    for j in inside(y - span, y + span, n) {
        for i in inside(x - span, x + span, n) {
            let mut sum = 0.0;
            for sy in 0..factor {
                for sx in 0..factor {
                    sum += kernel(at(j, sy, 0).hypot(at(i, sx, 1)), dot.radius);
                }
            }
            image[[j, i]] += dot.mass * sum / (factor * factor) as f64;
        }
    }
}

fn nested(image: &mut Array2<f64>, dot: &Dot) {
    let (res, n) = (image.nrows() as f64, image.nrows());
    let radius = dot.radius * res;
    if radius < 0.5 {
        let [y, x] = dot.at.map(|p| cell(p, res));
        for y in inside(y, y, n) {
            inside(x, x, n).for_each(|x| image[[y, x]] += dot.mass * res * res);
        }
        return;
    }
    let [y, x] = dot.at.map(|p| p * res);
    let range =
        |p: f64| inside((p - radius - 0.5).floor() as i64 + 1, (p + radius - 0.5).ceil() as i64 - 1, n);
    let exact = 7.0 / PI / CONSTANT;
    for j in range(y) {
        for i in range(x) {
            let r = (j as f64 + 0.5 - y).hypot(i as f64 + 0.5 - x);
            image[[j, i]] += exact * dot.mass * res * res * kernel(r, radius);
        }
    }
}

/// Adds a coarse image to one of twice its resolution: three quarters of the nearer and one of the farther pixel an axis.
fn refine(fine: &mut Array2<f64>, coarse: &Array2<f64>) {
    let last = coarse.nrows() - 1;
    let weights = |i: usize| {
        let near = i / 2;
        let far = if i.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) };
        [(near, 0.75), (far, 0.25)]
    };
    for ((y, x), value) in fine.indexed_iter_mut() {
        for (j, a) in weights(y) {
            for (i, b) in weights(x) {
                *value += a * b * coarse[[j, i]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Axis;

    #[test]
    fn bad_input_is_named() {
        let frame = Projection::periodic_box(Axis::Z, 20, 1.0);
        let run = |p: f64, frame: &Projection, legacy| {
            project_legacy("m", &[[p, 0.0, 0.0]], &[1.0], &[0.1], frame, legacy).map_err(|e| e.to_string())
        };
        assert!(run(f64::NAN, &frame, Legacy::SwiftsimioFast).unwrap_err().contains("particle 0"));
        assert!(run(0.0, &frame, Legacy::SwiftsimioNested).unwrap_err().contains("16"));
        let wide = Projection { shape: [20, 10], ..frame };
        assert!(run(0.0, &wide, Legacy::SwiftsimioFast).unwrap_err().contains("square"));
        assert!(run(0.5, &frame, Legacy::SwiftsimioRenormalised).is_ok());
    }
}
