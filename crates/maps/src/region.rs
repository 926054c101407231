//! Projecting the particles of a snapshot: units, regions, radii.

use halocast_core::{Map, ParticleSet, PeriodicBox, Snapshot, Species, Unit};
use serde::{Deserialize, Serialize};

use crate::{
    Axis, Error, Masses, Method, Projection, Result, Rotation, project, smoothing_lengths, unwrap_positions,
};

/// The part of a snapshot that is projected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The whole box, periodic.
    #[default]
    Box,
    /// The smallest cube about all particles of the species, open: for cutouts, sub-boxes and part of a snapshot's files.
    Bounding,
    /// A cube of this centre and side in Mpc/h, open. Particles are taken at their nearest periodic image.
    Cube {
        /// The centre `[x, y, z]` in Mpc/h.
        centre: [f64; 3],
        /// The side in Mpc/h.
        side: f64,
    },
}

/// How [`project_snapshot`] and [`project_field`](crate::fields::project_field) project.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectOptions {
    /// Pixels along each side.
    pub grid: usize,
    /// The line of sight.
    pub axis: Axis,
    /// How mass is laid on pixels.
    pub method: Method,
    /// What is projected.
    pub region: Region,
    /// The neighbour whose distance is the radius of particles that have no density.
    pub neighbours: usize,
    /// A rotation of the particles about the region's centre, after which the region is cut out along the axes; a turned box
    /// is open.
    pub rotation: Option<Rotation>,
    /// The part of the region along the line of sight that is projected: from and to, in Mpc/h, from its near face. A
    /// particle belongs to it with its whole kernel.
    pub slab: Option<[f64; 2]>,
}

impl Default for ProjectOptions {
    /// 256 pixels along z, uniform spheres to the 32nd neighbour, the whole box: as the CAMELS maps.
    fn default() -> Self {
        Self {
            grid: 256,
            axis: Axis::Z,
            method: Method::Sphere,
            region: Region::Box,
            neighbours: 32,
            rotation: None,
            slab: None,
        }
    }
}

/// Positions in Mpc/h, masses in Msun/h and, where they follow from a density, radii in Mpc/h.
#[derive(Clone, Debug, PartialEq)]
pub struct Particles {
    /// Positions `[x, y, z]` in comoving Mpc/h.
    pub positions: Vec<[f64; 3]>,
    /// Masses in Msun/h.
    pub masses: Vec<f64>,
    /// Radii of the spheres that have each cell's volume, (3 V / 4 pi)^(1/3), V = mass / density, in comoving Mpc/h;
    /// none when the species has no field `Density`.
    pub radii: Option<Vec<f64>>,
}

/// The particles of a species in Mpc/h and Msun/h, whatever units the snapshot has: `Coordinates`, `Masses` or the mass
/// table, and the radius of gas cells from `Masses` / `Density`.
///
/// # Errors
/// [`Error::Core`] for an absent species or field; [`Error::Value`] for a density that is not positive, naming the particle.
pub fn particles(snapshot: &Snapshot, species: Species) -> Result<Particles> {
    let set = snapshot.set(species)?;
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let to = |set: &ParticleSet, name: &str, target: &Unit| -> Result<f64> {
        Ok(set.field(name)?.unit.factor_to(target, a, h))
    };
    let length = to(set, "Coordinates", &Unit::mpc_h())?;
    let positions = set.vectors("Coordinates")?.into_iter().map(|p| p.map(|x| x * length)).collect();
    let mass = match set.field("Masses") {
        Ok(field) => field.unit.factor_to(&Unit::msun_h(), a, h),
        Err(_) => Unit::msun_h_1e10().factor_to(&Unit::msun_h(), a, h),
    };
    let masses: Vec<f64> = snapshot.masses(species)?.into_iter().map(|m| m * mass).collect();
    let radii = match set.field("Density") {
        Err(_) => None,
        Ok(field) => {
            // Density in (Msun/h) / (Mpc/h)^3.
            let (mass, length) = (Unit::msun_h().cgs_factor(a, h), Unit::mpc_h().cgs_factor(a, h));
            let factor = field.unit.cgs_factor(a, h) / (mass / length.powi(3));
            let density = set.scalars("Density")?;
            if let Some((i, rho)) = density.iter().enumerate().find(|(_, d)| !(d.is_finite() && **d > 0.0)) {
                let (operation, what) = ("particles", format!("Density of particle {i} of {species}"));
                let (expected, got) = ("finite and positive", rho.to_string());
                return Err(Error::Value { operation, what, expected, got });
            }
            let radius = |(m, rho): (&f64, f64)| (0.75 * m / (rho * factor) / std::f64::consts::PI).cbrt();
            Some(masses.iter().zip(density).map(radius).collect())
        }
    };
    Ok(Particles { positions, masses, radii })
}

/// The surface density of a species in (Msun/h) / (Mpc/h)^2.
///
/// Radii, where the method needs them, follow from the density of gas cells; other particles, and gas without density,
/// get the distance to their 32nd neighbour (see [`ProjectOptions::neighbours`]) among all particles of the species, so
/// that a region's map does not depend on its edge.
///
/// ```
/// use std::collections::BTreeMap;
/// use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
/// use halocast_maps::{Method, ProjectOptions, project_snapshot};
/// use ndarray::array;
///
/// // Two dark-matter particles of 3e10 Msun/h in a box of 10 Mpc/h.
/// let mut set = ParticleSet::new(Species::DarkMatter, 2);
/// let coordinates = array![[1000.0, 2000.0, 3000.0], [9000.0, 5000.0, 1.0]].into_dyn();
/// set.insert("Coordinates", FieldValues::F64(coordinates), Unit::kpc_h())?;
/// let header = Header {
///     box_size: 10_000.0,
///     time: 1.0,
///     redshift: 0.0,
///     cosmology: Cosmology::camels(),
///     mass_table: [0.0, 3.0, 0.0, 0.0, 0.0, 0.0],
///     promised: [0, 2, 0, 0, 0, 0], mock: false,
/// };
/// let sets = BTreeMap::from([(Species::DarkMatter, set)]);
/// let snapshot = Snapshot { header, sets, warnings: vec![] };
///
/// let options = ProjectOptions { grid: 10, method: Method::Ngp, ..Default::default() };
/// let map = project_snapshot(&snapshot, Species::DarkMatter, &options)?;
/// assert_eq!(map.values[[2, 1]], 3e10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`particles`], [`project`] and [`smoothing_lengths`]; [`Error::Value`] for a region without extent.
pub fn project_snapshot(snapshot: &Snapshot, species: Species, options: &ProjectOptions) -> Result<Map> {
    let Particles { positions, masses, radii } = particles(snapshot, species)?;
    let mut layer = Layer { positions, radii, amounts: vec![masses] };
    let projection = place(snapshot, std::slice::from_mut(&mut layer), options)?;
    let field = match species {
        Species::Gas => "Mgas",
        Species::DarkMatter => "Mcdm",
        Species::Stars => "Mstar",
        _ => "M",
    };
    let masses = Masses::Each(&layer.amounts[0]);
    project(field, &layer.positions, masses, layer.radii.as_deref(), &projection, options.method)
}

/// Particles of one species, and what of them is projected: one or several amounts of each.
#[derive(Clone)]
pub(crate) struct Layer {
    /// Mpc/h.
    pub(crate) positions: Vec<[f64; 3]>,
    /// Mpc/h.
    pub(crate) radii: Option<Vec<f64>>,
    pub(crate) amounts: Vec<Vec<f64>>,
}

impl Layer {
    /// Keeps the particles for which `keep` is true.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        fn only<T: Copy>(values: &mut Vec<T>, keep: &[bool]) {
            let mut kept = keep.iter();
            values.retain(|_| kept.next().copied().unwrap_or(false));
        }
        only(&mut self.positions, keep);
        self.radii.iter_mut().chain(self.amounts.iter_mut()).for_each(|values| only(values, keep));
    }
}

/// Puts particles before the camera: radii where the method needs them and none are known, the region, unwrapped and turned,
/// and the slab. All layers share one region.
pub(crate) fn place(
    snapshot: &Snapshot,
    layers: &mut [Layer],
    options: &ProjectOptions,
) -> Result<Projection> {
    let operation = "projection";
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let cube =
        PeriodicBox::new(snapshot.periodic_box()?.side() * Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h))?;
    let periodic = options.region == Region::Box && options.rotation.is_none();
    for layer in layers.iter_mut() {
        if layer.radii.is_none() && options.method.needs_radii() && !layer.positions.is_empty() {
            // A part of a box has no neighbours beyond its own particles.
            let wrap = (options.region != Region::Bounding).then_some(cube.side());
            layer.radii = Some(smoothing_lengths(&layer.positions, options.neighbours, wrap)?);
        }
        if layer.positions.is_empty() {
            layer.radii = Some(Vec::new());
        }
    }
    let (origin, side) = match options.region {
        Region::Box => ([0.0; 3], cube.side()),
        Region::Bounding => bounding_cube(layers.iter().flat_map(|layer| &layer.positions))?,
        Region::Cube { centre, side } => (centre.map(|c| c - 0.5 * side), side),
    };
    let centre = origin.map(|o| o + 0.5 * side);
    if let Region::Cube { .. } = options.region {
        layers.iter_mut().for_each(|layer| unwrap_positions(&mut layer.positions, centre, cube));
    }
    if let Some(rotation) = options.rotation {
        layers.iter_mut().for_each(|layer| rotation.apply_about(&mut layer.positions, centre));
    }
    if let Some([from, to]) = options.slab {
        if !(0.0 <= from && from < to && to <= side * (1.0 + 1e-12)) {
            let (what, got) = ("the slab".into(), format!("{from} to {to} of {side} Mpc/h"));
            return Err(Error::Value { operation, what, expected: "a part of the region", got });
        }
        let depth = options.axis.depth();
        for layer in layers.iter_mut() {
            let inside = |p: &[f64; 3]| {
                let z = p[depth] - origin[depth];
                let z = if periodic { cube.wrap(z) } else { z };
                (from..to).contains(&z)
            };
            let keep: Vec<bool> = layer.positions.iter().map(inside).collect();
            layer.retain(&keep);
        }
    }
    Ok(Projection { axis: options.axis, shape: [options.grid; 2], origin, sides: [side; 3], periodic })
}

/// Corner and side of the smallest cube that holds all positions; a little larger, so that none lies on its upper faces.
fn bounding_cube<'a>(positions: impl Iterator<Item = &'a [f64; 3]>) -> Result<([f64; 3], f64)> {
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for p in positions {
        for a in 0..3 {
            (low[a], high[a]) = (low[a].min(p[a]), high[a].max(p[a]));
        }
    }
    let side = (0..3).map(|a| high[a] - low[a]).fold(0.0, f64::max) * (1.0 + 1e-9);
    if !(side.is_finite() && side > 0.0) {
        let (operation, what) = ("projection", "side of the particles' bounding cube".into());
        return Err(Error::Value { operation, what, expected: "finite and positive", got: side.to_string() });
    }
    Ok((std::array::from_fn(|a| 0.5 * (low[a] + high[a] - side)), side))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use halocast_core::{Cosmology, FieldValues, Header, Rng};
    use ndarray::{Array1, Array2};

    use super::*;

    fn snapshot(count: usize) -> Snapshot {
        let mut rng = Rng::new(4);
        let mut set = ParticleSet::new(Species::Gas, count);
        let coordinates = Array2::from_shape_fn((count, 3), |_| 10_000.0 * rng.uniform());
        set.insert("Coordinates", FieldValues::F64(coordinates.into_dyn()), Unit::kpc_h()).unwrap();
        let ones = FieldValues::F32(Array1::ones(count).into_dyn());
        set.insert("Masses", ones, Unit::msun_h_1e10()).unwrap();
        let header = Header {
            box_size: 10_000.0,
            time: 0.5,
            redshift: 1.0,
            cosmology: Cosmology::camels(),
            mass_table: [0.0; 6],
            promised: [count as u64, 0, 0, 0, 0, 0],
            mock: false,
        };
        Snapshot { header, sets: BTreeMap::from([(Species::Gas, set)]), warnings: vec![] }
    }

    fn mass(map: &Map) -> f64 {
        map.values.iter().map(|&v| f64::from(v)).sum::<f64>() * map.pixel_area()
    }

    #[test]
    fn every_region_that_holds_all_particles_holds_their_mass() {
        let snapshot = snapshot(200);
        for region in [
            Region::Box,
            Region::Bounding,
            Region::Cube { centre: [5.0; 3], side: 10.0 },
            Region::Cube { centre: [0.0, 9.0, 3.0], side: 10.0 },
        ] {
            for axis in Axis::ALL {
                let options =
                    ProjectOptions { grid: 32, axis, method: Method::Ngp, region, ..Default::default() };
                let map = project_snapshot(&snapshot, Species::Gas, &options).unwrap();
                assert!((mass(&map) / 200e10 - 1.0).abs() < 1e-6, "{region:?} {}", mass(&map));
                assert_eq!(map.periodic, region == Region::Box);
            }
        }
    }

    #[test]
    fn a_corner_of_the_box_is_the_shifted_box() {
        let snapshot = snapshot(300);
        let options = ProjectOptions { grid: 20, ..Default::default() };
        let whole = project_snapshot(&snapshot, Species::Gas, &options).unwrap();
        let cube = Region::Cube { centre: [0.0; 3], side: 10.0 };
        let corner =
            project_snapshot(&snapshot, Species::Gas, &ProjectOptions { region: cube, ..options }).unwrap();
        // Far from the image's open edges nothing tells the two apart.
        for y in 8..12 {
            for x in 8..12 {
                let a = whole.values[[(y + 10) % 20, (x + 10) % 20]];
                assert!((corner.values[[y, x]] / a - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_turned_cube_holds_the_mass_of_its_sphere() {
        let snapshot = snapshot(4000);
        let total = |rotation| {
            let region = Region::Cube { centre: [9.0, 1.0, 5.0], side: 8.0 };
            let options =
                ProjectOptions { grid: 64, method: Method::Ngp, region, rotation, ..Default::default() };
            let map = project_snapshot(&snapshot, Species::Gas, &options).unwrap();
            // Within the inscribed circle, over the whole depth: the same particles only for turns about z.
            let pixels = map
                .values
                .indexed_iter()
                .filter(|((y, x), _)| (*y as f64 - 31.5).hypot(*x as f64 - 31.5) < 30.0);
            pixels.map(|(_, v)| f64::from(*v)).sum::<f64>() * map.pixel_area()
        };
        let (straight, about_z) = (total(None), total(Some(Rotation::euler(0.0, 0.0, 90.0))));
        assert!((straight / about_z - 1.0).abs() < 1e-6);
        assert!(total(Some(Rotation::euler(40.0, 0.0, 0.0))) != straight);
    }

    #[test]
    fn slabs_of_a_region_sum_to_it() {
        let snapshot = snapshot(500);
        for region in [Region::Box, Region::Cube { centre: [5.0, 0.0, 5.0], side: 6.0 }] {
            let map = |slab| {
                let options = ProjectOptions { grid: 16, region, slab, axis: Axis::Y, ..Default::default() };
                project_snapshot(&snapshot, Species::Gas, &options)
            };
            let (a, b, whole) = (
                map(Some([0.0, 2.5])).unwrap(),
                map(Some([2.5, if region == Region::Box { 10.0 } else { 6.0 }])).unwrap(),
                map(None).unwrap(),
            );
            assert!((mass(&a) + mass(&b)) / mass(&whole) - 1.0 < 1e-5);
            assert!(mass(&a) > 0.0 && mass(&b) > mass(&a));
            assert!(map(Some([3.0, 2.0])).unwrap_err().to_string().contains("slab"));
        }
    }

    #[test]
    fn radii_of_gas_follow_from_its_density() {
        let mut snapshot = snapshot(50);
        let unit = Unit::msun_h_1e10();
        let length = Unit::kpc_h();
        let density = Unit::new("1e10 Msun/h/(ckpc/h)^3", unit.to_cgs / length.to_cgs.powi(3), -3.0, 2.0);
        let set = snapshot.sets.get_mut(&Species::Gas).unwrap();
        let values = FieldValues::F32(Array1::from_elem(50, 1e-9).into_dyn());
        set.insert("Density", values, density).unwrap();
        let found = particles(&snapshot, Species::Gas).unwrap().radii.unwrap();
        // V = 1 / 1e-9 (ckpc/h)^3 = 1 (Mpc/h)^3.
        let expected = (0.75 / std::f64::consts::PI).cbrt();
        assert!(found.iter().all(|r| (r / expected - 1.0).abs() < 1e-6));
    }

    #[test]
    fn absent_things_are_named() {
        let snapshot = snapshot(40);
        let options = ProjectOptions::default();
        let message = project_snapshot(&snapshot, Species::Stars, &options).unwrap_err().to_string();
        assert!(message.contains("stars") && message.contains("gas"), "{message}");
        let message = project_snapshot(
            &snapshot,
            Species::Gas,
            &ProjectOptions { region: Region::Cube { centre: [0.0; 3], side: -1.0 }, ..options },
        );
        assert!(message.unwrap_err().to_string().contains("side"));
    }
}
