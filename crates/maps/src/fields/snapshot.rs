//! A quantity of a snapshot's particles as a map.

use halocast_core::{Map, Snapshot, Species, Unit};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::brightness::brightness_map;
use super::gas::{Gas, IRON, speeds};
use super::thermal::electron_density;
use super::{MagneticConvention, Molecular, Neutral, Quantity};
use crate::region::{Layer, place};
use crate::{Error, Masses, Particles, ProjectOptions, Result, particles, project};

/// The conventions and models that fields choose between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldOptions {
    /// Whose Gauss.
    pub magnetic: MagneticConvention,
    /// Where the neutral fraction comes from.
    pub neutral: Neutral,
    /// What of it is molecular.
    pub molecular: Molecular,
    /// The hydrogen mass fraction; none takes it from `GFM_Metals` where that is stored, else 0.76.
    pub hydrogen_fraction: Option<f64>,
    /// The value of a mean where there is no mass.
    pub empty: f32,
}

impl Default for FieldOptions {
    /// Gauss, shielded hydrogen with molecules by Krumholz, McKee & Tumlinson, stored metals, 0 where there is no mass.
    fn default() -> Self {
        Self {
            magnetic: MagneticConvention::default(),
            neutral: Neutral::default(),
            molecular: Molecular::default(),
            hydrogen_fraction: None,
            empty: 0.0,
        }
    }
}

/// The map of a quantity.
///
/// Densities are the sum of what the particles hold over the area; means are the projection of mass times value over that of
/// mass, with the same kernels. Gas cells have the radius of their volume, other particles that of their 32nd neighbour
/// ([`ProjectOptions::neighbours`]). Vectors turn with the camera.
///
/// ```
/// use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
/// use halocast_maps::fields::{FieldOptions, Quantity, project_field};
/// use halocast_maps::{Method, ProjectOptions};
/// use ndarray::array;
///
/// let mut gas = ParticleSet::new(Species::Gas, 2);
/// let at = array![[500.0, 500.0, 0.0], [500.0, 500.0, 300.0]].into_dyn();
/// gas.insert("Coordinates", FieldValues::F64(at), Unit::kpc_h())?;
/// gas.insert("Masses", FieldValues::F32(array![1.0, 3.0].into_dyn()), Unit::msun_h_1e10())?;
/// gas.insert("Velocities", FieldValues::F32(array![[0.0, 8.0, 0.0], [4.0, 0.0, 0.0]].into_dyn()), Unit::km_s_sqrt_a())?;
/// let header = Header {
///     box_size: 1000.0, time: 1.0, redshift: 0.0, cosmology: Cosmology::camels(),
///     mass_table: [0.0; 6], promised: [2, 0, 0, 0, 0, 0], mock: false,
/// };
/// let snapshot = Snapshot { header, sets: [(Species::Gas, gas)].into(), warnings: vec![] };
///
/// let options = ProjectOptions { grid: 1, method: Method::Ngp, ..Default::default() };
/// let map = project_field(&snapshot, Quantity::GasSpeed, &options, &FieldOptions::default())?;
/// assert_eq!(map.values[[0, 0]], 5.0); // (1 x 8 + 3 x 4) / 4 km/s
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Core`] for an absent species or field, naming what there is; [`Error::Value`] for numbers outside their domain;
/// as [`project_snapshot`](crate::project_snapshot).
pub fn project_field(
    snapshot: &Snapshot,
    quantity: Quantity,
    options: &ProjectOptions,
    fields: &FieldOptions,
) -> Result<Map> {
    let Drawn { mut layers, unit, mean } = draw(snapshot, quantity, options, fields)?;
    few_neighbours(&mut layers, options.neighbours);
    let projection = place(snapshot, &mut layers, options)?;
    let one = |layer: &Layer, amount: usize| -> Result<Map> {
        let masses = Masses::Each(&layer.amounts[amount]);
        let radii = layer.radii.as_deref();
        project(quantity.names()[1], &layer.positions, masses, radii, &projection, options.method)
    };
    let mut sum: Option<Map> = None;
    for layer in &layers {
        let map = one(layer, 0)?;
        sum = Some(match sum {
            None => map,
            Some(before) => Map { values: before.values + map.values, ..map },
        });
    }
    let Some(mut map) = sum else {
        // Only a total of no species at all comes here.
        snapshot.set(Species::Gas)?;
        return Err(empty_snapshot());
    };
    if let (true, Some(layer)) = (mean, layers.first()) {
        let mass = one(layer, 1)?;
        let ratio = |(v, m): (&f32, &f32)| if *m > 0.0 { v / m } else { fields.empty };
        let values: Vec<f32> = map.values.iter().zip(&mass.values).map(ratio).collect();
        map.values = Array2::from_shape_vec(mass.values.raw_dim(), values).map_err(|_| empty_snapshot())?;
    }
    if quantity == Quantity::Brightness21cm {
        let depth = options.slab.map_or(projection.sides[0], |[from, to]| to - from);
        return brightness_map(&map, depth, &snapshot.header.cosmology, snapshot.header.time);
    }
    map.unit = unit;
    Ok(map)
}

fn empty_snapshot() -> Error {
    Error::Value {
        operation: "projection",
        what: "the number of species".into(),
        expected: "at least 1",
        got: "0".into(),
    }
}

/// What of which particles is projected: sums per area in `unit`, or with `mean` the first amount over the second.
struct Drawn {
    layers: Vec<Layer>,
    unit: Unit,
    mean: bool,
}

fn draw(
    snapshot: &Snapshot,
    quantity: Quantity,
    options: &ProjectOptions,
    fields: &FieldOptions,
) -> Result<Drawn> {
    let sums = |layers| Ok(Drawn { layers, unit: Unit::msun_h_per_mpc_h2(), mean: false });
    let species = |species| -> Result<Layer> {
        let Particles { positions, masses, radii } = particles(snapshot, species)?;
        Ok(Layer { positions, radii, amounts: vec![masses] })
    };
    let plain = |label: &str, to_cgs: f64| Unit::new(label, to_cgs, 0.0, 0.0);
    match quantity {
        Quantity::Gas => sums(vec![species(Species::Gas)?]),
        Quantity::DarkMatter => sums(vec![species(Species::DarkMatter)?]),
        Quantity::Stars => {
            let mut layer = species(Species::Stars)?;
            if let Ok(born) = snapshot.set(Species::Stars)?.scalars("GFM_StellarFormationTime") {
                // Wind particles have a time of birth that is not positive.
                layer.retain(&born.iter().map(|t| *t > 0.0).collect::<Vec<_>>());
            }
            sums(vec![layer])
        }
        Quantity::Total => {
            let matter =
                [Species::Gas, Species::DarkMatter, Species::LowResolutionDarkMatter, Species::Stars];
            let there = matter
                .into_iter()
                .chain([Species::BlackHoles])
                .filter(|s| snapshot.sets.get(s).is_some_and(|set| !set.is_empty()));
            sums(there.map(species).collect::<Result<_>>()?)
        }
        Quantity::Hi | Quantity::H2 | Quantity::Brightness21cm => {
            let gas = Gas::new(snapshot, fields)?;
            let which = usize::from(quantity == Quantity::H2);
            let amount = gas.hydrogen_masses(fields)?.into_iter().map(|m| m[which]).collect();
            sums(vec![gas.layer(vec![amount])])
        }
        Quantity::Electrons => {
            let gas = Gas::new(snapshot, fields)?;
            // Comoving: the physical density is h^2 a^-3 times it.
            let comoving = gas.a.powi(3) / gas.h.powi(2);
            let (density, electrons, sfr) = (gas.density()?, gas.electrons()?, gas.star_formation());
            let volume = |i: usize, rho: f64| gas.masses[i] * gas.mass_cgs / rho / gas.length_cgs.powi(3);
            let amount = density.iter().enumerate().map(|(i, &rho)| {
                let n =
                    electron_density(rho, gas.hydrogen[i], electrons[i], sfr.as_ref().map_or(0.0, |s| s[i]));
                n * comoving * volume(i, rho)
            });
            let amount = amount.collect();
            let layers = vec![gas.layer(vec![amount])];
            let mpc = Unit::mpc_h().to_cgs;
            Ok(Drawn { layers, unit: Unit::new("h^2 cm^-3 (Mpc/h)", mpc, -2.0, 1.0), mean: false })
        }
        Quantity::StarFormationRate => {
            let gas = Gas::new(snapshot, fields)?;
            let field = gas.set.field("StarFormationRate")?;
            let rate = MSUN_PER_YEAR;
            let factor = field.unit.cgs_factor(gas.a, gas.h) / rate;
            let amount = gas.set.scalars("StarFormationRate")?.into_iter().map(|s| s * factor).collect();
            let unit = Unit::new("Msun/yr/(Mpc/h)^2", rate / Unit::mpc_h().to_cgs.powi(2), -2.0, 2.0);
            Ok(Drawn { layers: vec![gas.layer(vec![amount])], unit, mean: false })
        }
        Quantity::DarkMatterSpeed => {
            let mut layer = species(Species::DarkMatter)?;
            let speeds = speeds(snapshot, Species::DarkMatter)?;
            let weighted = layer.amounts[0].iter().zip(speeds).map(|(m, v)| m * v).collect();
            layer.amounts.insert(0, weighted);
            Ok(Drawn { layers: vec![layer], unit: plain("km/s", 1e5), mean: true })
        }
        _ => {
            let gas = Gas::new(snapshot, fields)?;
            let (values, unit) = gas.mean_of(snapshot, quantity, options, fields)?;
            let weighted = values.iter().zip(&gas.masses).map(|(v, m)| v * m).collect();
            // The ratio of two metals is weighted by the mass of the second.
            let weight = match quantity {
                Quantity::MagnesiumOverIron => {
                    gas.metal(IRON)?.iter().zip(&gas.masses).map(|(z, m)| z * m).collect()
                }
                _ => gas.masses.clone(),
            };
            Ok(Drawn { layers: vec![gas.layer(vec![weighted, weight])], unit, mean: true })
        }
    }
}

/// Species with fewer particles than neighbours are points.
fn few_neighbours(layers: &mut [Layer], neighbours: usize) {
    for layer in layers.iter_mut().filter(|l| l.radii.is_none() && l.positions.len() <= neighbours) {
        layer.radii = Some(vec![0.0; layer.positions.len()]);
    }
}

/// One solar mass a year in g/s, as IllustrisTNG files have it.
const MSUN_PER_YEAR: f64 = 6.302_76e25;
#[cfg(test)]
mod tests;
