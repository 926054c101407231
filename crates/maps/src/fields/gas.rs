//! The gas of a snapshot: its stored fields in cgs, and what follows from them cell by cell.

use halocast_core::{ParticleSet, Snapshot, Species, Unit};

use super::hydrogen::{Cell, fractions};
use super::thermal::{HYDROGEN_FRACTION, pressure, temperature};
use super::{FieldOptions, Molecular, Neutral, Quantity};
use crate::region::Layer;
use crate::rotation::dot;
use crate::{Axis, Error, Particles, ProjectOptions, Result, Rotation, particles};

/// Columns of `GFM_Metals`: H, He, C, N, O, Ne, Mg, Si, Fe, others.
const MAGNESIUM: usize = 6;
pub(super) const IRON: usize = 8;

/// The gas of a snapshot, in cgs where nothing else is said.
pub(super) struct Gas<'a> {
    pub(super) set: &'a ParticleSet,
    pub(super) a: f64,
    pub(super) h: f64,
    redshift: f64,
    positions: Vec<[f64; 3]>,
    /// Msun/h.
    pub(super) masses: Vec<f64>,
    radii: Option<Vec<f64>>,
    pub(super) hydrogen: Vec<f64>,
    pub(super) mass_cgs: f64,
    pub(super) length_cgs: f64,
}

impl<'a> Gas<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, fields: &FieldOptions) -> Result<Self> {
        let set = snapshot.set(Species::Gas)?;
        let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
        let Particles { positions, masses, radii } = particles(snapshot, Species::Gas)?;
        let hydrogen = match (fields.hydrogen_fraction, set.field("GFM_Metals")) {
            (Some(fraction), _) => vec![fraction; set.len()],
            (None, Ok(_)) => metal(set, 0)?,
            (None, Err(_)) => vec![HYDROGEN_FRACTION; set.len()],
        };
        Ok(Self {
            set,
            a,
            h,
            redshift: snapshot.header.redshift,
            positions,
            masses,
            radii,
            hydrogen,
            mass_cgs: Unit::msun_h().cgs_factor(a, h),
            length_cgs: Unit::mpc_h().cgs_factor(a, h),
        })
    }

    pub(super) fn layer(self, amounts: Vec<Vec<f64>>) -> Layer {
        Layer { positions: self.positions, radii: self.radii, amounts }
    }

    pub(super) fn metal(&self, column: usize) -> Result<Vec<f64>> {
        metal(self.set, column)
    }

    fn in_cgs(&self, name: &str) -> Result<Vec<f64>> {
        let factor = self.set.field(name)?.unit.cgs_factor(self.a, self.h);
        Ok(self.set.scalars(name)?.into_iter().map(|v| v * factor).collect())
    }

    /// g/cm^3; positive, or [`particles`] had refused it.
    pub(super) fn density(&self) -> Result<Vec<f64>> {
        self.in_cgs("Density")
    }

    /// (km/s)^2.
    fn internal_energy(&self) -> Result<Vec<f64>> {
        Ok(self.in_cgs("InternalEnergy")?.into_iter().map(|u| u * 1e-10).collect())
    }

    pub(super) fn electrons(&self) -> Result<Vec<f64>> {
        Ok(self.set.scalars("ElectronAbundance")?)
    }

    pub(super) fn star_formation(&self) -> Option<Vec<f64>> {
        self.set.scalars("StarFormationRate").ok()
    }

    fn temperatures(&self) -> Result<Vec<f64>> {
        let (u, electrons) = (self.internal_energy()?, self.electrons()?);
        Ok((0..u.len()).map(|i| temperature(u[i], self.hydrogen[i], electrons[i])).collect())
    }

    /// The masses of atomic and molecular hydrogen in Msun/h.
    pub(super) fn hydrogen_masses(&self, fields: &FieldOptions) -> Result<Vec<[f64; 2]>> {
        let stored = self.set.scalars("NeutralHydrogenAbundance").ok();
        if fields.neutral == Neutral::Stored {
            // Asked for by name, it must be there.
            self.set.field("NeutralHydrogenAbundance")?;
            if fields.molecular == Molecular::None {
                let all = stored.unwrap_or_default();
                return Ok((0..all.len())
                    .map(|i| [all[i] * self.hydrogen[i] * self.masses[i], 0.0])
                    .collect());
            }
        }
        let (density, t, u) = (self.density()?, self.temperatures()?, self.internal_energy()?);
        let sfr = self.star_formation();
        let metallicity = self.set.scalars("GFM_Metallicity").ok();
        let radius =
            |i: usize| (0.75 / std::f64::consts::PI * self.masses[i] * self.mass_cgs / density[i]).cbrt();
        Ok((0..density.len())
            .map(|i| {
                let cell = Cell {
                    density: density[i],
                    temperature: t[i],
                    pressure: pressure(1e10 * u[i], density[i]),
                    radius: radius(i),
                    hydrogen: self.hydrogen[i],
                    metallicity: metallicity.as_ref().map_or(0.0, |z| z[i]),
                    forms_stars: sfr.as_ref().is_some_and(|s| s[i] > 0.0),
                    stored: stored.as_ref().map(|s| s[i]),
                };
                let mass = self.hydrogen[i] * self.masses[i];
                fractions(&cell, fields.neutral, fields.molecular, self.redshift).map(|f| f * mass)
            })
            .collect())
    }

    /// The values of a quantity that is averaged by mass, and their unit.
    pub(super) fn mean_of(
        &self,
        snapshot: &Snapshot,
        quantity: Quantity,
        options: &ProjectOptions,
        fields: &FieldOptions,
    ) -> Result<(Vec<f64>, Unit)> {
        let plain = |label: &str, to_cgs: f64| Unit::new(label, to_cgs, 0.0, 0.0);
        Ok(match quantity {
            Quantity::Temperature => (self.temperatures()?, plain("K", 1.0)),
            Quantity::Pressure => {
                // Msun/h and kpc/h, comoving.
                let unit = Unit::msun_h().to_cgs / Unit::kpc_h().to_cgs.powi(3);
                let unit = Unit::new("h^2 Msun (km/s)^2/kpc^3", 1e10 * unit, -3.0, 2.0);
                let (rho, u) = (self.density()?, self.internal_energy()?);
                let factor = 1e10 / unit.cgs_factor(self.a, self.h);
                ((0..u.len()).map(|i| pressure(u[i], rho[i]) * factor).collect(), unit)
            }
            Quantity::Metallicity => (self.set.scalars("GFM_Metallicity")?, Unit::dimensionless()),
            Quantity::MagnesiumOverIron => (self.metal(MAGNESIUM)?, Unit::dimensionless()),
            Quantity::GasSpeed => (speeds(snapshot, Species::Gas)?, plain("km/s", 1e5)),
            Quantity::LineOfSightVelocity => {
                let turned = camera(velocities(snapshot, Species::Gas)?, options.rotation, options.axis, 2);
                (turned, plain("km/s", 1e5))
            }
            Quantity::Potential => {
                (self.in_cgs("Potential")?.into_iter().map(|p| p * 1e-10).collect(), plain("(km/s)^2", 1e10))
            }
            _ => {
                let factor = self.set.field("MagneticField")?.unit.cgs_factor(self.a, self.h)
                    * fields.magnetic.factor(self.h);
                let field = self.set.vectors("MagneticField")?.into_iter().map(|b| b.map(|x| x * factor));
                let component = match quantity {
                    Quantity::MagneticX => Some(0),
                    Quantity::MagneticY => Some(1),
                    Quantity::MagneticZ => Some(2),
                    _ => None,
                };
                let values = match component {
                    None => field.map(|b| dot(b, b).sqrt()).collect(),
                    Some(c) => camera(field.collect(), options.rotation, options.axis, c),
                };
                (values, plain("G", 1.0))
            }
        })
    }
}

pub(super) fn speeds(snapshot: &Snapshot, species: Species) -> Result<Vec<f64>> {
    Ok(velocities(snapshot, species)?.into_iter().map(|v| dot(v, v).sqrt()).collect())
}

/// Peculiar velocities in km/s.
pub(super) fn velocities(snapshot: &Snapshot, species: Species) -> Result<Vec<[f64; 3]>> {
    let set = snapshot.set(species)?;
    let factor =
        set.field("Velocities")?.unit.cgs_factor(snapshot.header.time, snapshot.header.cosmology.h) / 1e5;
    Ok(set.vectors("Velocities")?.into_iter().map(|v| v.map(|x| x * factor)).collect())
}

/// One component of vectors as the camera sees them: 0 along the image's x axis, 1 along its y axis, 2 along the line of sight.
pub(super) fn camera(
    vectors: Vec<[f64; 3]>,
    rotation: Option<Rotation>,
    axis: Axis,
    component: usize,
) -> Vec<f64> {
    let [vertical, horizontal] = axis.image_axes();
    let along = [horizontal, vertical, axis.depth()][component];
    vectors.into_iter().map(|v| rotation.map_or(v, |r| r.apply(v))[along]).collect()
}

fn metal(set: &ParticleSet, column: usize) -> Result<Vec<f64>> {
    let field = set.field("GFM_Metals")?;
    let values = field.values.to_f64();
    if values.ndim() != 2 || values.shape()[1] <= column {
        return Err(Error::Value {
            operation: "projection",
            what: "the shape of GFM_Metals".into(),
            expected: "[particle, element] with iron at 8",
            got: format!("{:?}", values.shape()),
        });
    }
    Ok(values.outer_iter().map(|row| row[column]).collect())
}
