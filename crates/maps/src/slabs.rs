//! Surface-density maps of a box: one projection, or the slabs along all three axes.

use halocast_core::{Map, Unit};
use ndarray::{Array2, Array3, Axis as ArrayAxis};
use serde::{Deserialize, Serialize};

use crate::image::{Dot, Frame, deposit};
use crate::{Error, Masses, Method, Result};

/// A line of sight. The image's horizontal and vertical axes follow it in cyclic order, so that the three images are of
/// the same handedness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Along x: the image's x axis is y, its y axis is z.
    X,
    /// Along y: the image's x axis is z, its y axis is x.
    Y,
    /// Along z: the image's x axis is x, its y axis is y.
    #[default]
    Z,
}

impl Axis {
    /// X, Y, Z.
    pub const ALL: [Axis; 3] = [Axis::X, Axis::Y, Axis::Z];

    /// The number of the axis along the line of sight.
    pub fn depth(self) -> usize {
        self as usize
    }

    /// The axes of the box that the image's `[y, x]` are.
    pub fn image_axes(self) -> [usize; 2] {
        let depth = self.depth();
        [(depth + 2) % 3, (depth + 1) % 3]
    }
}

/// Which part of space is projected along which axis, on how many pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// The line of sight.
    pub axis: Axis,
    /// Pixels along `[y, x]`.
    pub shape: [usize; 2],
    /// The lower corner of the region, `[x, y, z]`, in Mpc/h.
    pub origin: [f64; 3],
    /// The sides of the region, `[x, y, z]`, in Mpc/h.
    pub sides: [f64; 3],
    /// Whether opposite sides of the image meet; the region is then the whole box. In an open region, particles outside it
    /// along the line of sight are left out, and of each kernel only the part inside the image is laid down.
    pub periodic: bool,
}

impl Projection {
    /// A whole periodic box of side `side` Mpc/h on `grid` x `grid` pixels.
    pub fn periodic_box(axis: Axis, grid: usize, side: f64) -> Self {
        Self { axis, shape: [grid; 2], origin: [0.0; 3], sides: [side; 3], periodic: true }
    }
}

/// The surface density of particles in (Msun/h) / (Mpc/h)^2, from positions `[x, y, z]` in Mpc/h and masses in Msun/h.
///
/// Every method conserves mass at any ratio of radius to pixel: the kernel's mass in a pixel is a difference of its
/// tabulated integral, so the pixels of a particle sum to its mass without renormalisation. Kernels of 64 pixels or more
/// in radius (spheres: 256) are sampled at pixel centres and normalised. `radii` are radii of support; methods without a
/// kernel ignore them. O(pixels in kernels).
///
/// # Differences
/// From the CAMELS maps: their uniform sphere is sampled at pixel corners and loses spheres that hold none; here it is
/// integrated over pixels.
///
/// ```
/// use halocast_maps::{Axis, Masses, Method, Projection, project};
/// let frame = Projection::periodic_box(Axis::Z, 16, 8.0);
/// let map = project("Mcdm", &[[0.1, 4.0, 4.0]], Masses::Equal(3.0), Some(&[1.3]), &frame, Method::Sph)?;
/// let mass = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() * map.pixel_area();
/// assert!((mass - 3.0).abs() < 1e-6);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for masses or radii of another number; [`Error::Value`] for an absurd grid or region, radii that a
/// method needs and are not given, or a number that is not finite, naming the particle.
pub fn project<T: Copy + Into<f64> + Sync>(
    field: &str,
    positions: &[[T; 3]],
    masses: Masses<'_>,
    radii: Option<&[f64]>,
    projection: &Projection,
    method: Method,
) -> Result<Map> {
    let mut images = layers(positions, masses, radii, projection, 1, method)?;
    images.truncate(1);
    let values = images.pop().unwrap_or_default();
    Ok(surface_density(field, values, projection))
}

/// The maps of a box in the layout of the CAMELS Multifield Dataset: for each of the lines of sight x, y, z, `slabs`
/// slabs of equal thickness in order of depth, each on `grid` x `grid` pixels; `3 slabs` maps. Units as in [`project`].
///
/// A particle belongs, with its whole kernel, to the slab that holds its centre.
///
/// # Source
/// Villaescusa-Navarro et al. 2022, "The CAMELS Multifield Dataset": slabs of 25 x 25 x 5 (Mpc/h)^3, five an axis.
///
/// # Errors
/// As [`project`]; [`Error::Value`] for no slabs.
pub fn project_slabs<T: Copy + Into<f64> + Sync>(
    field: &str,
    positions: &[[T; 3]],
    masses: Masses<'_>,
    radii: Option<&[f64]>,
    box_side: f64,
    slabs: usize,
    grid: usize,
    method: Method,
) -> Result<Vec<Map>> {
    let mut maps = Vec::with_capacity(3 * slabs);
    for axis in Axis::ALL {
        let projection = Projection::periodic_box(axis, grid, box_side);
        let images = layers(positions, masses, radii, &projection, slabs, method)?;
        maps.extend(images.into_iter().map(|values| surface_density(field, values, &projection)));
    }
    Ok(maps)
}

/// Mass per pixel in layers of equal thickness along the line of sight.
fn layers<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 3]],
    masses: Masses<'_>,
    radii: Option<&[f64]>,
    projection: &Projection,
    slabs: usize,
    method: Method,
) -> Result<Vec<Array2<f64>>> {
    let operation = "projection";
    masses.check(operation, positions.len())?;
    let value = |what: &str, expected, got: String| {
        Err(Error::Value { operation, what: what.to_owned(), expected, got })
    };
    let radii = if method.needs_radii() { radii } else { None };
    match radii {
        None if method.needs_radii() => {
            return value("the particles' radii", "given, for a method with a kernel", "none".into());
        }
        Some(radii) if radii.len() != positions.len() => {
            let (what, expected, got) = ("the radii", positions.len(), radii.len());
            return Err(Error::Length { operation, what, expected, got });
        }
        _ => {}
    }
    if slabs == 0 {
        return value("the number of slabs", "at least 1", "0".into());
    }
    if let Some(side) = projection.sides.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return value("side of the region", "finite and positive", side.to_string());
    }
    let Projection { axis, shape, origin, sides, periodic } = *projection;
    let [vertical, horizontal] = axis.image_axes();
    let depth = axis.depth();
    let frame = Frame {
        shape,
        origin: [origin[vertical], origin[horizontal]],
        extent: [sides[vertical], sides[horizontal]],
        periodic,
    };
    let dot = |i: usize| {
        let p: [f64; 3] = positions[i].map(Into::into);
        let layer = ((p[depth] - origin[depth]) / sides[depth] * slabs as f64).floor();
        let image = if periodic {
            Some((layer as i64).rem_euclid(slabs as i64) as usize)
        } else {
            (layer >= 0.0 && layer < slabs as f64).then_some(layer as usize)
        };
        // A position that is not finite must be found, whichever axis it is on.
        let at = if p[depth].is_finite() { [p[vertical], p[horizontal]] } else { [p[depth]; 2] };
        Dot { image, at, mass: masses.of(i), radius: radii.map_or(0.0, |r| r[i]) }
    };
    let stack: Array3<f64> = deposit(operation, &frame, slabs, method, positions.len(), dot)?;
    Ok(stack.axis_iter(ArrayAxis(0)).map(|image| image.to_owned()).collect())
}

fn surface_density(field: &str, mass: Array2<f64>, projection: &Projection) -> Map {
    let [vertical, horizontal] = projection.axis.image_axes();
    let extent = [projection.sides[vertical], projection.sides[horizontal]];
    let pixels = (projection.shape[0] * projection.shape[1]) as f64;
    let per_area = pixels / (extent[0] * extent[1]);
    Map {
        values: mass.mapv(|m| (m * per_area) as f32),
        extent,
        length_unit: Unit::mpc_h(),
        unit: Unit::msun_h_per_mpc_h2(),
        field: field.to_owned(),
        periodic: projection.periodic,
    }
}

#[cfg(test)]
mod tests;
