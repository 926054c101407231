//! Galaxies as a snapshot in the fields and units of IllustrisTNG.

use std::collections::BTreeMap;
use std::num::NonZero;

use halocast_core::{FieldValues, GroupCatalogue, Header, ParticleSet, Snapshot, Species, Unit};
use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::{Array1, Array2};
use rayon::prelude::*;

use super::catalogue::catalogue;
use super::chemistry::elements;
use super::gas::{BOLTZMANN_PER_PROTON, NUCLEI};
use super::ionisation::neutral_fraction;
use super::{Galaxy, GalaxyConfig, Point};
use crate::error::{Error, Result, require};

/// Hydrogen mass fraction that abundances refer to.
const HYDROGEN: f64 = 0.76;
/// Electrons per hydrogen nucleus of a fully ionised plasma.
const ELECTRONS: f64 = 1.0 + (1.0 - HYDROGEN) / (2.0 * HYDROGEN);
/// Neighbours of dark matter within `SubfindHsml`.
const NEIGHBOURS: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(63);
/// Gauss in one unit of `MagneticField` at a = h = 1.
const GAUSS: f64 = 2.602_146e-6;
/// Identifiers of gas and stars start here, above those of dark matter.
const FIRST_BARYON: u64 = 100_000_000_000;

/// Several galaxies of one box as a snapshot and its group catalogue, the heaviest halo first, in the units and with the
/// field names of IllustrisTNG.
///
/// All types: `Coordinates` (ckpc/h, wrapped into the box), `Velocities` (km sqrt(a)/s), `ParticleIDs`, `Potential`
/// ((km/s)^2/a), `SubfindHsml` (ckpc/h; the sphere of the 64 nearest dark-matter particles of the galaxy) and
/// `SubfindDMDensity`. Gas: `Masses`, `Density`, `InternalEnergy`, `ElectronAbundance`, `NeutralHydrogenAbundance`,
/// `GFM_Metallicity`, `GFM_Metals`, `MagneticField`, `StarFormationRate`. Stars: `Masses`, `GFM_InitialMass`,
/// `GFM_StellarFormationTime` (the scale factor at birth), `GFM_Metallicity`, `GFM_Metals`. The mass of dark matter is in the
/// mass table for one galaxy, and in `Masses` for several, whose resolutions differ.
///
/// The particles of a galaxy lie together; those of its central subhalo come first.
///
/// # Errors
/// [`Error::Config`] when there is no galaxy, or they differ in cosmology, redshift or box; [`Error::Snapshot`] when core
/// refuses a field.
pub fn assemble(galaxies: &[Galaxy]) -> Result<(Snapshot, GroupCatalogue)> {
    let mut order: Vec<&Galaxy> = galaxies.iter().collect();
    let operation = "assembly of galaxies";
    let Some(first) = order.first().map(|g| g.config) else {
        require(false, operation, "galaxies", "at least one", 0)?;
        return Err(Error::Config {
            operation,
            field: "galaxies",
            expected: "at least one".into(),
            got: "0".into(),
        });
    };
    for config in order.iter().map(|g| &g.config) {
        let same = config.cosmology == first.cosmology
            && config.redshift == first.redshift
            && config.box_side == first.box_side;
        let say =
            |c: &GalaxyConfig| format!("{:?} at z = {} in a box of {}", c.cosmology, c.redshift, c.box_side);
        require(same, operation, "cosmology, redshift and box_side", say(&first), say(config))?;
    }
    order.sort_by(|a, b| b.config.halo_mass.total_cmp(&a.config.halo_mass));

    let scale = Scale::new(&first);
    let mut header = header(&first);
    let mut sets = BTreeMap::new();
    let catalogue = catalogue(&order)?;
    let parts: Vec<Columns> = order.iter().map(|g| Columns::new(g, &scale)).collect();
    for (kind, species) in [(0, Species::DarkMatter), (1, Species::Gas), (2, Species::Stars)] {
        let count: usize = parts.iter().map(|p| p.common[kind].len()).sum();
        header.promised[species.number()] = count as u64;
        if count == 0 {
            continue;
        }
        let mut set = ParticleSet::new(species, count);
        common_fields(&mut set, &parts, kind)?;
        match species {
            Species::DarkMatter if order.len() == 1 => {
                header.mass_table[species.number()] = first.cosmology.h * order[0].masses[0];
            }
            Species::DarkMatter => {}
            Species::Gas => gas_fields(&mut set, &order, &scale)?,
            _ => star_fields(&mut set, &order, &scale)?,
        }
        if species != Species::DarkMatter || order.len() > 1 {
            let masses = order
                .iter()
                .zip(&parts)
                .flat_map(|(g, p)| std::iter::repeat_n(scale.mass(g.masses[kind]), p.common[kind].len()));
            insert(&mut set, "Masses", scalars(masses), Unit::msun_h_1e10())?;
        }
        sets.insert(species, set);
    }
    Ok((Snapshot { header, sets, warnings: Vec::new() }, catalogue))
}

/// The header of a snapshot without particles.
pub(crate) fn header(config: &GalaxyConfig) -> Header {
    Header {
        box_size: config.box_side,
        time: config.scale_factor(),
        redshift: config.redshift,
        cosmology: config.cosmology,
        mass_table: [0.0; 6],
        promised: [0; 6],
        mock: true,
    }
}

/// Factors from physical numbers to those of the files.
pub(crate) struct Scale {
    pub(crate) a: f64,
    pub(crate) h: f64,
    z: f64,
}

impl Scale {
    pub(crate) fn new(config: &GalaxyConfig) -> Self {
        Self { a: config.scale_factor(), h: config.cosmology.h, z: config.redshift }
    }

    /// Comoving kpc/h from kpc.
    pub(crate) fn length(&self, x: f64) -> f64 {
        x * self.h / self.a
    }

    /// 10^10 Msun/h from 10^10 Msun.
    pub(crate) fn mass(&self, m: f64) -> f64 {
        m * self.h
    }

    /// (10^10 Msun/h) / (ckpc/h)^3 from 10^10 Msun / kpc^3.
    fn density(&self, rho: f64) -> f64 {
        rho * self.a.powi(3) / self.h.powi(2)
    }

    /// (h/a^2) units from microgauss.
    fn field(&self, b: f64) -> f64 {
        b * 1e-6 / GAUSS * self.a.powi(2) / self.h
    }
}

/// A comoving position in the box.
pub(crate) fn place(config: &GalaxyConfig, scale: &Scale, x: [f64; 3]) -> [f64; 3] {
    let side = config.box_side;
    std::array::from_fn(|i| {
        let x = config.position[i] + scale.length(x[i]);
        let wrapped = x - side * (x / side).floor();
        if wrapped >= side { 0.0 } else { wrapped }
    })
}

/// What every particle of a galaxy has: the columns of dark matter, gas and stars.
struct Columns {
    common: [Vec<Common>; 3],
}

struct Common {
    x: [f64; 3],
    v: [f32; 3],
    potential: f32,
    smoothing: f32,
    dark_density: f32,
}

impl Columns {
    fn new(galaxy: &Galaxy, scale: &Scale) -> Self {
        let config = &galaxy.config;
        let points: [Vec<Point>; 3] = [
            galaxy.dark.points.clone(),
            galaxy.cells.iter().map(|c| c.cell.point).collect(),
            galaxy.stars.iter().map(|s| s.point).collect(),
        ];
        let positions: Vec<[f64; 3]> = points[0].iter().map(|p| p.x).collect();
        let tree = ImmutableKdTree::<f64, 3>::new_from_slice(&positions).ok();
        let root = scale.a.sqrt();
        let common = points.map(|points| {
            points
                .par_iter()
                .map(|p| {
                    let r = p.x.iter().map(|x| x * x).sum::<f64>().sqrt();
                    // The tree of at least a hundred finite points is always there.
                    let radius = tree.as_ref().map_or(0.0, |tree| {
                        let near = tree.query(&p.x).nearest_n::<SquaredEuclidean<f64>>(NEIGHBOURS).execute();
                        near.last().map_or(0.0, |n| n.distance.sqrt())
                    });
                    let volume = 4.0 / 3.0 * std::f64::consts::PI * radius.powi(3);
                    let density = NEIGHBOURS.get() as f64 * galaxy.masses[0] / volume.max(f64::MIN_POSITIVE);
                    Common {
                        x: place(config, scale, p.x),
                        v: std::array::from_fn(|i| ((p.v[i] + config.velocity[i]) / root) as f32),
                        potential: (galaxy.model.potential.at(r) * scale.a) as f32,
                        smoothing: scale.length(radius) as f32,
                        dark_density: scale.density(density) as f32,
                    }
                })
                .collect()
        });
        Self { common }
    }
}

fn common_fields(set: &mut ParticleSet, parts: &[Columns], kind: usize) -> Result<()> {
    let n = set.len();
    let all: Vec<&Common> = parts.iter().flat_map(|p| &p.common[kind]).collect();
    let x = Array2::from_shape_fn((n, 3), |(i, axis)| all[i].x[axis]);
    insert(set, "Coordinates", FieldValues::F64(x.into_dyn()), Unit::kpc_h())?;
    let v = Array2::from_shape_fn((n, 3), |(i, axis)| all[i].v[axis]);
    insert(set, "Velocities", FieldValues::F32(v.into_dyn()), Unit::km_s_sqrt_a())?;
    let first = match kind {
        0 => 1,
        kind => FIRST_BARYON * kind as u64,
    };
    let ids = Array1::from_iter((0..n as u64).map(|i| first + i));
    insert(set, "ParticleIDs", FieldValues::U64(ids.into_dyn()), Unit::dimensionless())?;
    let column = |f: fn(&Common) -> f32| scalars(all.iter().map(|&c| f64::from(f(c))));
    insert(set, "Potential", column(|c| c.potential), Unit::new("(km/s)^2/a", 1e10, -1.0, 0.0))?;
    insert(set, "SubfindHsml", column(|c| c.smoothing), Unit::kpc_h())?;
    insert(set, "SubfindDMDensity", column(|c| c.dark_density), density_unit())
}

fn gas_fields(set: &mut ParticleSet, galaxies: &[&Galaxy], scale: &Scale) -> Result<()> {
    let cells = || galaxies.iter().flat_map(|g| g.cells.iter().map(move |c| (g, c)));
    // The unresolved cold phase holds the hydrogen of star-forming gas.
    let neutral = |g: &Galaxy, c: &super::GasCell| {
        let cold = if c.cell.star_formation(g.masses[1]) > 0.0 { 1e4 } else { c.cell.temperature };
        neutral_fraction(c.cell.density * NUCLEI, cold, scale.z)
    };
    let neutrals: Vec<f64> = cells().map(|(g, c)| neutral(g, c)).collect();
    let electrons = || neutrals.iter().map(|x| (1.0 - x) * ELECTRONS);
    insert(set, "Density", scalars(cells().map(|(_, c)| scale.density(c.cell.density))), density_unit())?;
    let energy = cells().zip(electrons()).map(|((_, c), electrons)| {
        let weight = 4.0 / (1.0 + 3.0 * HYDROGEN + 4.0 * HYDROGEN * electrons);
        1.5 * BOLTZMANN_PER_PROTON * c.cell.temperature / weight
    });
    insert(set, "InternalEnergy", scalars(energy), Unit::new("(km/s)^2", 1e10, 0.0, 0.0))?;
    insert(set, "ElectronAbundance", scalars(electrons()), Unit::dimensionless())?;
    insert(set, "NeutralHydrogenAbundance", scalars(neutrals.iter().copied()), Unit::dimensionless())?;
    let rates = cells().map(|(g, c)| c.cell.star_formation(g.masses[1]));
    insert(set, "StarFormationRate", scalars(rates), Unit::new("Msun/yr", 6.302_76e25, 0.0, 0.0))?;
    let fields: Vec<[f64; 3]> = cells().map(|(_, c)| c.field).collect();
    let fields = Array2::from_shape_fn((fields.len(), 3), |(i, axis)| scale.field(fields[i][axis]) as f32);
    let unit = Unit::new("(h/a^2) sqrt(unit pressure)", GAUSS, -2.0, 1.0);
    insert(set, "MagneticField", FieldValues::F32(fields.into_dyn()), unit)?;
    // Young gas carries the pattern of the Sun; the corona was enriched early.
    metals(set, cells().map(|(_, c)| (c.cell.metallicity, if c.cell.temperature > 2e5 { 0.15 } else { 0.0 })))
}

fn star_fields(set: &mut ParticleSet, galaxies: &[&Galaxy], scale: &Scale) -> Result<()> {
    let stars = || galaxies.iter().flat_map(|g| g.stars.iter().map(move |s| (g, s)));
    let initial = stars().map(|(g, s)| scale.mass(g.masses[2]) / s.remaining);
    insert(set, "GFM_InitialMass", scalars(initial), Unit::msun_h_1e10())?;
    let births = scalars(stars().map(|(_, s)| s.birth));
    insert(set, "GFM_StellarFormationTime", births, Unit::dimensionless())?;
    metals(set, stars().map(|(_, s)| (s.metallicity, s.alpha)))
}

fn metals(set: &mut ParticleSet, z_alpha: impl Iterator<Item = (f64, f64)>) -> Result<()> {
    let z_alpha: Vec<(f64, f64)> = z_alpha.collect();
    let rows: Vec<[f32; 10]> = z_alpha.iter().map(|&(z, alpha)| elements(z, alpha)).collect();
    let table = Array2::from_shape_fn((rows.len(), 10), |(i, j)| rows[i][j]);
    insert(set, "GFM_Metals", FieldValues::F32(table.into_dyn()), Unit::dimensionless())?;
    insert(set, "GFM_Metallicity", scalars(z_alpha.iter().map(|p| p.0)), Unit::dimensionless())
}

fn density_unit() -> Unit {
    let to_cgs = Unit::msun_h_1e10().to_cgs / Unit::kpc_h().to_cgs.powi(3);
    Unit::new("(1e10 Msun/h)/(ckpc/h)^3", to_cgs, -3.0, 2.0)
}

fn scalars(values: impl Iterator<Item = f64>) -> FieldValues {
    FieldValues::F32(values.map(|v| v as f32).collect::<Array1<f32>>().into_dyn())
}

fn insert(set: &mut ParticleSet, name: &str, values: FieldValues, unit: Unit) -> Result<()> {
    set.insert(name, values, unit).map_err(|source| Error::Snapshot { source })
}
