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
mod tests {
    use halocast_core::Rng;

    use super::*;
    use crate::reference::{Sampling, project_reference};

    const ALL: [Method; 7] =
        [Method::Ngp, Method::Cic, Method::Tsc, Method::Pcs, Method::Sphere, Method::Sph, Method::Wendland];
    const SIDE: f64 = 5.0;

    struct Particles {
        positions: Vec<[f64; 3]>,
        masses: Vec<f64>,
        radii: Vec<f64>,
    }

    /// Radii from a hundredth of a pixel to beyond the box.
    fn particles(count: usize) -> Particles {
        let mut rng = Rng::new(1);
        let mut uniform = move || rng.uniform();
        Particles {
            positions: (0..count).map(|_| std::array::from_fn(|_| SIDE * uniform())).collect(),
            masses: (0..count).map(|i| 1.0 + (i % 5) as f64).collect(),
            radii: (0..count).map(|i| 0.005 * 1.5f64.powi((i % 18) as i32)).collect(),
        }
    }

    fn run(p: &Particles, projection: &Projection, method: Method) -> Array2<f64> {
        let map =
            project("m", &p.positions, Masses::Each(&p.masses), Some(&p.radii), projection, method).unwrap();
        map.values.mapv(|v| f64::from(v) * map.pixel_area())
    }

    fn close(a: &Array2<f64>, b: &Array2<f64>, tolerance: f64) {
        let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance * scale, "{worst} of {scale}");
    }

    #[test]
    fn mass_is_conserved_by_every_method_on_every_grid() {
        let p = particles(900);
        let total: f64 = p.masses.iter().sum();
        for method in ALL {
            for shape in [[7, 7], [32, 20], [128, 128]] {
                let projection = Projection { shape, ..Projection::periodic_box(Axis::Y, 1, SIDE) };
                let mass = run(&p, &projection, method).sum();
                assert!((mass / total - 1.0).abs() < 1e-6, "{method:?} {shape:?} {mass} {total}");
            }
        }
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_the_image() {
        let mut p = particles(300);
        let projection = Projection::periodic_box(Axis::Z, 20, SIDE);
        let before: Vec<_> = ALL.iter().map(|&m| run(&p, &projection, m)).collect();
        for position in &mut p.positions {
            position[0] += 3.0 * SIDE / 20.0;
            position[1] -= 7.0 * SIDE / 20.0;
        }
        for (method, before) in ALL.iter().zip(before) {
            let after = run(&p, &projection, *method);
            let moved = Array2::from_shape_fn((20, 20), |(y, x)| before[[(y + 7) % 20, (x + 17) % 20]]);
            close(&after, &moved, 1e-5);
        }
    }

    #[test]
    fn a_quarter_turn_turns_the_image() {
        let p = particles(300);
        let turned = Particles {
            positions: p.positions.iter().map(|q| [SIDE - q[1], q[0], q[2]]).collect(),
            masses: p.masses.clone(),
            radii: p.radii.clone(),
        };
        let projection = Projection::periodic_box(Axis::Z, 16, SIDE);
        for method in ALL {
            let (a, b) = (run(&p, &projection, method), run(&turned, &projection, method));
            // (x, y) -> (-y, x): the pixel [y, x] goes to [x, -y].
            close(&b, &Array2::from_shape_fn((16, 16), |(y, x)| a[[15 - x, y]]), 1e-5);
        }
    }

    #[test]
    fn the_lines_of_sight_are_cyclic() {
        let p = particles(200);
        let cycled = Particles {
            positions: p.positions.iter().map(|q| [q[1], q[2], q[0]]).collect(),
            masses: p.masses.clone(),
            radii: p.radii.clone(),
        };
        for (a, b) in [(Axis::X, Axis::Z), (Axis::Y, Axis::X), (Axis::Z, Axis::Y)] {
            let frame = |axis| Projection::periodic_box(axis, 12, SIDE);
            close(&run(&p, &frame(a), Method::Sph), &run(&cycled, &frame(b), Method::Sph), 1e-6);
        }
    }

    #[test]
    fn a_uniform_lattice_gives_a_uniform_image() {
        let positions: Vec<[f64; 3]> = (0..32 * 32)
            .map(|i| [((i / 32) as f64 + 0.5) / 32.0, ((i % 32) as f64 + 0.5) / 32.0, 0.5])
            .collect();
        let radii = vec![0.2; positions.len()];
        for method in ALL {
            let frame = Projection::periodic_box(Axis::Z, 16, 1.0);
            let map = project("m", &positions, Masses::Equal(1.0), Some(&radii), &frame, method).unwrap();
            assert!(map.values.iter().all(|v| (v / 1024.0 - 1.0).abs() < 2e-3), "{method:?}");
        }
    }

    #[test]
    fn tiny_radii_are_the_nearest_grid_point() {
        let mut p = particles(400);
        let projection = Projection::periodic_box(Axis::X, 24, SIDE);
        let expected = run(&p, &projection, Method::Ngp);
        for radius in [0.0, 1e-300, 1e-9] {
            p.radii.fill(radius);
            for method in [Method::Sphere, Method::Sph, Method::Wendland] {
                close(&run(&p, &projection, method), &expected, 1e-6);
            }
        }
    }

    #[test]
    fn agrees_with_the_reference() {
        // Radii of 0.1 to 60 pixels, with single kernels in view: the hardest case.
        for (method, tolerance) in [(Method::Sph, 2e-3), (Method::Wendland, 2e-3), (Method::Sphere, 1e-2)] {
            for (i, radius) in [0.005, 0.04, 0.13, 0.5, 1.1, 2.0, 3.1].into_iter().enumerate() {
                let p = Particles {
                    positions: vec![[1.234 + 0.01 * i as f64, 4.87, 1.0], [3.21, 2.345, 4.0]],
                    masses: vec![1.0, 2.0],
                    radii: vec![radius; 2],
                };
                for periodic in [true, false] {
                    let frame = Projection { periodic, ..Projection::periodic_box(Axis::Z, 100, SIDE) };
                    let sampling = Sampling::centred(if radius < 0.1 { 64 } else { 8 });
                    let slow = project_reference(&p.positions, &p.masses, &p.radii, &frame, method, sampling);
                    let slow = slow.unwrap().mapv(|v| v * SIDE * SIDE / 1e4);
                    close(&run(&p, &frame, method), &slow, tolerance);
                }
            }
        }
    }

    #[test]
    fn an_open_image_holds_only_what_falls_inside() {
        let half = |method| {
            let frame = Projection { periodic: false, ..Projection::periodic_box(Axis::Z, 10, 1.0) };
            let edge = [[0.0, 0.5, 0.5], [0.5, 0.5, 2.0]];
            let map = project("m", &edge, Masses::Equal(1.0), Some(&[0.3, 0.3]), &frame, method).unwrap();
            map.values.sum() * map.pixel_area() as f32
        };
        for method in [Method::Cic, Method::Sphere, Method::Sph, Method::Wendland] {
            assert!((half(method) - 0.5).abs() < 1e-5, "{method:?} {}", half(method));
        }
        let wide = |method| {
            let frame = Projection { periodic: false, ..Projection::periodic_box(Axis::Z, 200, 1.0) };
            let edge = [[0.0, 0.5, 0.5]];
            let map = project("m", &edge, Masses::Equal(1.0), Some(&[0.4]), &frame, method).unwrap();
            map.values.sum() * map.pixel_area() as f32
        };
        assert!((wide(Method::Sph) - 0.5).abs() < 1e-4);
    }

    #[test]
    fn slabs_sum_to_the_whole_box_at_any_number_of_threads() {
        let p = particles(20_000);
        let run = || {
            let masses = Masses::Each(&p.masses);
            project_slabs("Mcdm", &p.positions, masses, Some(&p.radii), SIDE, 5, 16, Method::Sphere).unwrap()
        };
        let maps = run();
        assert_eq!(maps.len(), 15);
        for (axis, maps) in Axis::ALL.iter().zip(maps.chunks(5)) {
            let whole = Projection::periodic_box(*axis, 16, SIDE);
            let masses = Masses::Each(&p.masses);
            let whole =
                project("Mcdm", &p.positions, masses, Some(&p.radii), &whole, Method::Sphere).unwrap();
            let sum = maps.iter().fold(Array2::<f32>::zeros((16, 16)), |sum, m| sum + &m.values);
            assert!(sum.iter().zip(&whole.values).all(|(a, b)| (a / b - 1.0).abs() < 1e-5));
        }
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(maps, single.install(run));
        assert_eq!(maps[0].unit, Unit::msun_h_per_mpc_h2());
    }

    #[test]
    fn bad_input_is_named() {
        let frame = Projection::periodic_box(Axis::Z, 8, 1.0);
        let project = |p: [f64; 3], r: Option<&[f64]>, frame: &Projection| {
            project("m", &[[0.5; 3], p], Masses::Equal(1.0), r, frame, Method::Sph)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert!(project([0.0, 0.0, f64::NAN], Some(&[0.1; 2]), &frame).unwrap_err().contains("particle 1"));
        assert!(project([0.0; 3], Some(&[0.1, -1.0]), &frame).unwrap_err().contains("radius of particle 1"));
        assert!(project([0.0; 3], Some(&[0.1, 9.0]), &frame).unwrap_err().contains("radius of particle 1"));
        assert!(project([0.0; 3], Some(&[0.1]), &frame).unwrap_err().contains("radii has 1"));
        assert!(project([0.0; 3], None, &frame).unwrap_err().contains("radii"));
        let empty = Projection { shape: [0, 8], ..frame };
        assert!(project([0.0; 3], Some(&[0.1; 2]), &empty).unwrap_err().contains("pixels"));
    }
}
