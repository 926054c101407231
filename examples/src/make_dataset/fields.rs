//! The thirteen fields of the CAMELS Multifield Dataset, from the particles of a mock universe.

use anyhow::{Result, bail};
use halocast::core::{Map, Unit};
use halocast::data::CmdName;
use halocast::maps::{Centring, Masses, Method, Scheme, assign_3d, project_slabs, smoothing_lengths};
use halocast::mock::Populated;
use ndarray::Array3;

/// The names of the fields.
pub const FIELDS: [&str; 13] =
    ["Mgas", "Vgas", "T", "P", "Z", "HI", "ne", "B", "MgFe", "Mcdm", "Vcdm", "Mstar", "Mtot"];

/// The neighbour whose distance is a particle's radius, as in CMD.
const NEIGHBOUR: usize = 32;
/// No star particle is wider than this, in Mpc/h: small galaxies have few.
const STAR_RADIUS: f64 = 0.15;

/// Radii of the particles of one universe, found once for all fields.
pub struct Radii {
    gas: Vec<f64>,
    matter: Vec<f64>,
    stars: Vec<f64>,
}

impl Radii {
    /// Distances to the 32nd neighbour, of the species that the fields need.
    ///
    /// # Errors
    /// When there are too few particles.
    pub fn new(universe: &Populated, fields: &[String]) -> Result<Self> {
        let side = Some(universe.universe.config().box_side);
        let need = |names: &[&str]| fields.iter().any(|f| names.contains(&f.as_str()));
        let gas = need(&["Mgas", "Vgas", "T", "P", "Z", "HI", "ne", "B", "MgFe", "Mtot"]);
        let gas = if gas { smoothing_lengths(&universe.gas.positions, NEIGHBOUR, side)? } else { Vec::new() };
        let matter = need(&["Mcdm", "Vcdm", "Mtot"]);
        let matter = if matter {
            smoothing_lengths(universe.universe.positions(), NEIGHBOUR, side)?
        } else {
            Vec::new()
        };
        let n = universe.stars.positions.len();
        let stars = match need(&["Mstar", "Mtot"]) {
            false => Vec::new(),
            true if n <= NEIGHBOUR => vec![STAR_RADIUS; n],
            true => smoothing_lengths(&universe.stars.positions, NEIGHBOUR, side)?
                .into_iter()
                .map(|r| r.min(STAR_RADIUS))
                .collect(),
        };
        Ok(Self { gas, matter, stars })
    }
}

/// What a field is of: particles, their radii, and one or two weights; of two, the field is the ratio of their maps.
struct Source<'a> {
    positions: &'a [[f32; 3]],
    radii: &'a [f64],
    weight: Vec<f64>,
    over: Option<Vec<f64>>,
}

/// A field is the sum of the maps of one or more sources.
fn sources<'a>(universe: &'a Populated, radii: &'a Radii, field: &str) -> Result<Vec<Source<'a>>> {
    let (gas, matter, stars) = (&universe.gas, &universe.universe, &universe.stars);
    let speed = |v: &[f32; 3]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let mass = || gas.masses.iter().map(|&m| f64::from(m)).collect::<Vec<f64>>();
    let of_gas = |weight: Vec<f64>, over: Option<Vec<f64>>| {
        vec![Source { positions: &gas.positions, radii: &radii.gas, weight, over }]
    };
    let mean = |of: &dyn Fn(usize) -> f64| {
        let mass = mass();
        of_gas(mass.iter().enumerate().map(|(i, m)| m * of(i)).collect(), Some(mass))
    };
    let dark = |over: bool| {
        let each = matter.particle_mass();
        let mass = vec![each; matter.positions().len()];
        let weight =
            if over { matter.velocities().iter().map(|v| each * speed(v)).collect() } else { mass.clone() };
        Source { positions: matter.positions(), radii: &radii.matter, weight, over: over.then_some(mass) }
    };
    let star = || Source {
        positions: &stars.positions,
        radii: &radii.stars,
        weight: stars.masses.iter().map(|&m| f64::from(m)).collect(),
        over: None,
    };
    let holes = || Source {
        positions: &universe.black_holes.positions,
        radii: &[],
        weight: universe.black_holes.masses.iter().map(|&m| f64::from(m)).collect(),
        over: None,
    };
    Ok(match field {
        "Mgas" => of_gas(mass(), None),
        "Vgas" => mean(&|i| speed(&gas.velocities[i])),
        "T" => mean(&|i| f64::from(gas.temperature[i])),
        "P" => mean(&|i| f64::from(gas.pressure[i])),
        "Z" => mean(&|i| f64::from(gas.metallicity[i])),
        "B" => mean(&|i| speed(&gas.magnetic_field[i])),
        "HI" => {
            let weight = (0..gas.len()).map(|i| 0.76 * f64::from(gas.neutral[i]) * f64::from(gas.masses[i]));
            of_gas(weight.collect(), None)
        }
        // Electrons: their density times the volume of the particle, (kpc/h)^3 to (Mpc/h)^3, over the physical area.
        "ne" => {
            let a = universe.universe.scale_factor();
            let weight = (0..gas.len()).map(|i| {
                let volume = f64::from(gas.masses[i]) / f64::from(gas.density[i]);
                f64::from(gas.electrons[i]) * volume * 1e-9 / (a * a)
            });
            of_gas(weight.collect(), None)
        }
        // Magnesium over iron: both in proportion to the metals.
        "MgFe" => {
            let metals: Vec<f64> =
                (0..gas.len()).map(|i| f64::from(gas.masses[i]) * f64::from(gas.metallicity[i])).collect();
            let iron = metals.iter().zip(&gas.magnesium_to_iron).map(|(z, &r)| z / f64::from(r)).collect();
            of_gas(metals, Some(iron))
        }
        "Mcdm" => vec![dark(false)],
        "Vcdm" => vec![dark(true)],
        "Mstar" => vec![star()],
        "Mtot" => {
            let mut all = of_gas(mass(), None);
            all.extend([dark(false), star(), holes()]);
            all
        }
        other => bail!("field {other:?} is unknown, expected one of {}", FIELDS.join(" ")),
    })
}

/// The maps of a field: `slabs` along each of x, y, z, in the units of CMD.
///
/// Surface densities of matter (`Mgas`, `HI`, `Mcdm`, `Mstar`, `Mtot`) in (Msun/h)/(Mpc/h)^2 and columns of electrons (`ne`)
/// in h^2 cm^-3 Mpc/h; means over mass of the modulus of the velocity, temperature, pressure, metallicity and modulus of the
/// magnetic field; `MgFe` is the ratio of the masses of magnesium and iron. Every particle is a uniform sphere that reaches
/// to its 32nd neighbour; a pixel that no sphere touches is 0.
///
/// # Errors
/// When the field is unknown.
pub fn field_maps(
    universe: &Populated,
    radii: &Radii,
    field: &str,
    slabs: usize,
    grid: usize,
) -> Result<Vec<Map>> {
    let side = universe.universe.config().box_side;
    let unit = unit(field);
    let mut total: Vec<Map> = Vec::new();
    for source in sources(universe, radii, field)? {
        let method = if source.radii.is_empty() { Method::Ngp } else { Method::Sphere };
        let lay = |weight: &[f64]| {
            let radii = (!source.radii.is_empty()).then_some(source.radii);
            project_slabs(field, source.positions, Masses::Each(weight), radii, side, slabs, grid, method)
        };
        let mut maps = lay(&source.weight)?;
        if let Some(over) = &source.over {
            for (map, below) in maps.iter_mut().zip(lay(over)?) {
                map.values.zip_mut_with(&below.values, |m, &b| *m = if b > 0.0 { *m / b } else { 0.0 });
            }
        }
        if total.is_empty() {
            total = maps;
        } else {
            total.iter_mut().zip(&maps).for_each(|(t, m)| t.values += &m.values);
        }
    }
    // A pixel at the rim of a kernel is a difference of tabulated integrals, and may be a rounding below zero.
    Ok(total.into_iter().map(|map| map.map_values(|v| v.max(0.0)).with_unit(unit.clone())).collect())
}

/// The cube `[x, y, z]` of a field by cloud in cell: densities of matter in (Msun/h)/(Mpc/h)^3, of electrons in h^2 cm^-3,
/// the others as [`field_maps`].
///
/// # Errors
/// When the field is unknown.
pub fn field_cube(universe: &Populated, field: &str, cells: usize) -> Result<Array3<f32>> {
    let side = universe.universe.config().box_side;
    let none = Radii { gas: Vec::new(), matter: Vec::new(), stars: Vec::new() };
    let volume = (side / cells as f64).powi(3) as f32;
    let mut total: Option<Array3<f32>> = None;
    for source in sources(universe, &none, field)? {
        let lay = |weight: &[f64]| {
            let shape = [cells; 3];
            assign_3d(source.positions, Masses::Each(weight), shape, side, Scheme::Cic, Centring::Cell)
        };
        let mut cube = lay(&source.weight)?;
        match &source.over {
            Some(over) => cube.zip_mut_with(&lay(over)?, |m, &b| *m = if b > 0.0 { *m / b } else { 0.0 }),
            None => cube /= volume,
        }
        match &mut total {
            Some(total) => *total += &cube,
            none => *none = Some(cube),
        }
    }
    Ok(total.unwrap_or_default())
}

fn unit(field: &str) -> Unit {
    CmdName { prefix: field.into(), suite: String::new(), set: String::new(), redshift: 0.0 }.unit()
}
