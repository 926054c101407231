//! The order of particles in a snapshot, and the snapshot.

use std::collections::BTreeMap;

use halocast_core::{FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
use ndarray::{Array1, Array2};

use super::paint::Populated;
use super::state::Owner;
use super::thermal::{BOLTZMANN_PER_PROTON, HYDROGEN, HYDROGEN_PER_CM3};
use crate::error::{Error, Result};

/// Where each particle lies: by group, by subhalo, what no subhalo binds after those, what is in no group last.
pub(super) struct Layout<'a> {
    pub(super) of: &'a Populated,
    /// For each type, the particles in the order of the snapshot.
    pub(super) order: [Vec<u32>; 6],
    /// For each group, where its particles of each type begin, and the end of the last.
    pub(super) groups: Vec<[usize; 6]>,
    /// For each subhalo, where its particles of each type begin and end.
    pub(super) subhalos: Vec<[(usize, usize); 6]>,
}

/// Mass fractions of H, He, C, N, O, Ne, Mg, Si, Fe and the rest of gas or stars of metallicity `z` and magnesium over iron
/// `ratio`: metals in solar proportion (Asplund et al. 2009), but for iron; hydrogen and helium as they were made.
pub(super) fn abundances(z: f64, ratio: f64) -> [f32; 10] {
    // C, N, O, Ne, Mg, Si, Fe in the sun as shares of all metals, 0.0134.
    const SOLAR: [f64; 7] = [0.1766, 0.0517, 0.4276, 0.0938, 0.0528, 0.0496, 0.0964];
    let mut shares = SOLAR;
    shares[6] = shares[4] / ratio.max(0.1);
    let scale = 1.0 / (1.0 - SOLAR[6] + shares[6]);
    let mut all = [0.0f32; 10];
    (all[0], all[1]) = ((HYDROGEN * (1.0 - z)) as f32, ((1.0 - HYDROGEN) * (1.0 - z)) as f32);
    for (out, share) in all[2..9].iter_mut().zip(shares) {
        *out = (z * scale * share) as f32;
    }
    all[9] = (1.0 - all[..9].iter().map(|&f| f64::from(f)).sum::<f64>()).max(0.0) as f32;
    all
}

impl<'a> Layout<'a> {
    pub(super) fn new(of: &'a Populated) -> Result<Self> {
        let halos = &of.halos;
        let mut matter = vec![Owner::NONE; of.universe.positions().len()];
        for (g, halo) in halos.halos.iter().enumerate() {
            for &i in &halos.order[halo.particles.clone()] {
                matter[i as usize] = Owner { group: g as u32, subhalo: u32::MAX };
            }
            for (s, subhalo) in halos.subhalos[halo.subhalos.clone()].iter().enumerate() {
                for &i in &halos.order[subhalo.particles.clone()] {
                    matter[i as usize].subhalo = s as u32;
                }
            }
        }
        let owners = [&of.gas.owner[..], &matter, &[], &[], &of.stars.owner, &of.black_holes.owner];
        let mut this = Self {
            of,
            order: Default::default(),
            groups: vec![[0; 6]; halos.len() + 1],
            subhalos: vec![[(0, 0); 6]; halos.subhalos.len()],
        };
        for (kind, owners) in owners.iter().enumerate() {
            let mut order: Vec<u32> = (0..owners.len() as u32).collect();
            order.sort_by_key(|&i| owners[i as usize]);
            let first = |owner: Owner| order.partition_point(|&i| owners[i as usize] < owner);
            for (g, start) in this.groups.iter_mut().enumerate() {
                let group = if g == halos.len() { u32::MAX } else { g as u32 };
                start[kind] = first(Owner { group, subhalo: 0 });
            }
            for (g, halo) in halos.halos.iter().enumerate() {
                for s in halo.subhalos.clone() {
                    let own = (s - halo.subhalos.start) as u32;
                    let at = |subhalo| first(Owner { group: g as u32, subhalo });
                    this.subhalos[s][kind] = (at(own), at(own + 1));
                }
            }
            this.order[kind] = order;
        }
        Ok(this)
    }

    pub(super) fn header(&self) -> Header {
        let universe = &self.of.universe;
        let mut mass_table = [0.0; 6];
        mass_table[1] = universe.particle_mass() / 1e10;
        Header {
            box_size: 1e3 * universe.config().box_side,
            time: universe.scale_factor(),
            redshift: universe.config().redshift,
            cosmology: universe.config().cosmology,
            mass_table,
            promised: std::array::from_fn(|kind| self.order[kind].len() as u64),
            mock: true,
        }
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let mut sets = BTreeMap::new();
        for species in [Species::Gas, Species::DarkMatter, Species::Stars, Species::BlackHoles] {
            if !self.order[species.number()].is_empty() {
                sets.insert(species, self.set(species)?);
            }
        }
        Ok(Snapshot { header: self.header(), sets, warnings: Vec::new() })
    }

    fn set(&self, species: Species) -> Result<ParticleSet> {
        let kind = species.number();
        let order = &self.order[kind];
        let (of, a, h) = (self.of, self.of.universe.scale_factor(), self.of.universe.config().cosmology.h);
        let n = order.len();
        let mut set = ParticleSet::new(species, n);
        let mut put = |name: &str, values: FieldValues, unit: Unit| {
            set.insert(name, values, unit).map_err(|source| Error::Snapshot { source })
        };
        let scalars = |of: &dyn Fn(usize) -> f64| {
            FieldValues::F32(order.iter().map(|&i| of(i as usize) as f32).collect::<Array1<f32>>().into_dyn())
        };
        let rows = |width: usize, of: &dyn Fn(usize, usize) -> f32| {
            FieldValues::F32(Array2::from_shape_fn((n, width), |(i, k)| of(order[i] as usize, k)).into_dyn())
        };
        let (positions, velocities) = self.motion(kind);
        let coordinates =
            Array2::from_shape_fn((n, 3), |(i, k)| 1e3 * f64::from(positions[order[i] as usize][k]));
        put("Coordinates", FieldValues::F64(coordinates.into_dyn()), Unit::kpc_h())?;
        let to_gadget = (1.0 / a.sqrt()) as f32;
        put("Velocities", rows(3, &|i, k| velocities[i][k] * to_gadget), Unit::km_s_sqrt_a())?;
        // Dark matter from 1 on, then gas, stars and black holes.
        let counts = [1, 0, 2, 3, 4, 5].map(|kind: usize| self.order[kind].len() as u64);
        let before: u64 = match species {
            Species::DarkMatter => 0,
            Species::Gas => counts[0],
            Species::Stars => counts[0] + counts[1],
            _ => counts[0] + counts[1] + self.order[4].len() as u64,
        };
        let ids = order.iter().map(|&i| 1 + before + u64::from(i)).collect::<Array1<u64>>().into_dyn();
        put("ParticleIDs", FieldValues::U64(ids), Unit::dimensionless())?;
        let none = Unit::dimensionless;
        match species {
            Species::Gas => {
                let gas = &of.gas;
                let mass = |i: usize| f64::from(gas.masses[i]) / 1e10;
                put("Masses", scalars(&mass), Unit::msun_h_1e10())?;
                let density = Unit::new(
                    "(1e10 Msun/h)/(ckpc/h)^3",
                    Unit::msun_h_1e10().to_cgs / Unit::kpc_h().to_cgs.powi(3),
                    -3.0,
                    2.0,
                );
                put("Density", scalars(&|i| f64::from(gas.density[i]) * a.powi(3) / 1e10), density)?;
                let nuclei = |i: usize| f64::from(gas.density[i]) * HYDROGEN_PER_CM3;
                let electrons = |i: usize| f64::from(gas.electrons[i]) / nuclei(i);
                let energy = |i: usize| {
                    let mu = 4.0 / (1.0 + 3.0 * HYDROGEN + 4.0 * HYDROGEN * electrons(i));
                    1.5 * BOLTZMANN_PER_PROTON * f64::from(gas.temperature[i]) / mu
                };
                put("InternalEnergy", scalars(&energy), Unit::new("(km/s)^2", 1e10, 0.0, 0.0))?;
                put("ElectronAbundance", scalars(&electrons), none())?;
                put("NeutralHydrogenAbundance", scalars(&|i| f64::from(gas.neutral[i])), none())?;
                put("GFM_Metallicity", scalars(&|i| f64::from(gas.metallicity[i])), none())?;
                let metals: Vec<[f32; 10]> = (0..gas.len())
                    .map(|i| abundances(f64::from(gas.metallicity[i]), f64::from(gas.magnesium_to_iron[i])))
                    .collect();
                put("GFM_Metals", rows(10, &|i, k| metals[i][k]), none())?;
                put(
                    "StarFormationRate",
                    scalars(&|i| f64::from(gas.star_formation[i])),
                    Unit::new("Msun/yr", 6.302_76e25, 0.0, 0.0),
                )?;
                // Square root of the unit of pressure, in Gauss.
                let unit = (1.989e43f64 / 3.085_678e21f64.powi(3)).sqrt() * 1e5;
                let to_unit = a * a / (h * unit);
                let field = |i: usize, k: usize| (f64::from(gas.magnetic_field[i][k]) * to_unit) as f32;
                put(
                    "MagneticField",
                    rows(3, &field),
                    Unit::new("(h/a^2) sqrt(unit pressure)", unit, -2.0, 1.0),
                )?;
            }
            Species::Stars => {
                let stars = &of.stars;
                let mass = |i: usize| f64::from(stars.masses[i]) / 1e10;
                put("Masses", scalars(&mass), Unit::msun_h_1e10())?;
                // A generation gives four tenths of its mass back (Chabrier 2003).
                put("GFM_InitialMass", scalars(&|i| mass(i) / 0.6), Unit::msun_h_1e10())?;
                put("GFM_Metallicity", scalars(&|i| f64::from(stars.metallicity[i])), none())?;
                let metals: Vec<[f32; 10]> =
                    stars.metallicity.iter().map(|&z| abundances(f64::from(z), 0.8)).collect();
                put("GFM_Metals", rows(10, &|i, k| metals[i][k]), none())?;
                put("GFM_StellarFormationTime", scalars(&|i| f64::from(stars.formation[i])), none())?;
            }
            Species::BlackHoles => {
                let holes = &of.black_holes;
                let mass = |i: usize| f64::from(holes.masses[i]) / 1e10;
                put("Masses", scalars(&mass), Unit::msun_h_1e10())?;
                put("BH_Mass", scalars(&mass), Unit::msun_h_1e10())?;
                let rate = Unit::new("(1e10 Msun/h)/(0.978 Gyr/h)", 1.989e43 * 1e5 / 3.085_678e21, 0.0, 0.0);
                put("BH_Mdot", scalars(&|i| f64::from(holes.accretion[i]) / ACCRETION), rate)?;
            }
            _ => {
                let potential = of.universe.potential();
                let unit = Unit::new("(km/s)^2/a", 1e10, -1.0, 0.0);
                put("Potential", scalars(&|i| potential[i]), unit)?;
            }
        }
        Ok(set)
    }

    /// Positions and velocities of a type, in the order they were made.
    pub(super) fn motion(&self, kind: usize) -> (&'a [[f32; 3]], &'a [[f32; 3]]) {
        let of = self.of;
        match kind {
            0 => (&of.gas.positions, &of.gas.velocities),
            1 => (of.universe.positions(), of.universe.velocities()),
            4 => (&of.stars.positions, &of.stars.velocities),
            5 => (&of.black_holes.positions, &of.black_holes.velocities),
            _ => (&[], &[]),
        }
    }
}

/// One unit of accretion of IllustrisTNG, 10^10 Msun/h in 0.978 Gyr/h, in Msun/yr.
pub(super) const ACCRETION: f64 = 10.22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abundances_are_fractions_with_the_ratio_asked_for() {
        for (z, ratio) in [(0.0, 1.0), (0.0134, 0.5477), (0.04, 1.4)] {
            let x = abundances(z, ratio);
            let sum: f32 = x.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6);
            assert!(z == 0.0 || (f64::from(x[6] / x[8]) / ratio - 1.0).abs() < 1e-5);
            assert!((f64::from(x[2..].iter().sum::<f32>()) - z).abs() < 1e-6);
        }
        // Solar oxygen: 5.73e-3 (Asplund et al. 2009).
        assert!((abundances(0.0134, 0.5477)[4] / 5.73e-3 - 1.0).abs() < 0.01);
    }
}
