//! The entry for users: from a configuration to particles and a snapshot.

use std::collections::BTreeMap;

use halocast_core::{
    Cosmology, FieldValues, Header, ParticleSet, PeriodicBox, Progress, Snapshot, Species, Unit,
};
use ndarray::{Array1, Array2, ArrayD};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, require};
use crate::gas::{ELECTRONS, GasModel, internal_energy, overdensity, smoothing_length};
use crate::gravity::{Mesh, PressuredGas, Schedule, evolve};
use crate::halos::Tracers;
use crate::initial::{FieldOptions, InitialConditions, Particles, check_lattice};
use crate::power::{LinearPower, Transfer};

/// What universe to make. Fields that a file leaves out take their defaults.
///
/// ```
/// use halocast_mock::UniverseConfig;
/// let config = UniverseConfig { particles: 32, seed: 5, ..Default::default() };
/// config.validate()?;
/// let absurd = UniverseConfig { box_side: f64::NAN, ..config };
/// assert!(absurd.validate().unwrap_err().to_string().contains("box_side"));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniverseConfig {
    /// Cosmology.
    pub cosmology: Cosmology,
    /// Side of the periodic box in comoving Mpc/h.
    pub box_side: f64,
    /// Particles a side.
    pub particles: usize,
    /// Time steps, even in the scale factor.
    pub steps: usize,
    /// Cells of the force mesh per particle, a side.
    pub force_mesh: usize,
    /// Whether the force is compensated for the cloud-in-cell windows.
    pub compensate: bool,
    /// Redshift of the initial conditions.
    pub redshift_start: f64,
    /// Redshift of the result.
    pub redshift: f64,
    /// Initial modes of fixed amplitude (Angulo & Pontzen 2016).
    pub fixed_amplitude: bool,
    /// Initial phases turned by pi (Angulo & Pontzen 2016).
    pub phase_flip: bool,
    /// Whether there is gas.
    pub gas: bool,
    /// What the gas is like.
    pub gas_model: GasModel,
    /// The seed: the same seed gives the same bytes at any number of threads.
    pub seed: u64,
}

impl Default for UniverseConfig {
    /// 64^3 particles of dark matter and of gas in 75 Mpc/h, to redshift 0 in ten steps.
    fn default() -> Self {
        Self {
            cosmology: Cosmology::camels(),
            box_side: 75.0,
            particles: 64,
            steps: 10,
            force_mesh: 2,
            compensate: false,
            redshift_start: 9.0,
            redshift: 0.0,
            fixed_amplitude: false,
            phase_flip: false,
            gas: true,
            gas_model: GasModel::default(),
            seed: 0,
        }
    }
}

impl UniverseConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Cosmology`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        let operation = "universe";
        self.cosmology.validate().map_err(|source| Error::Cosmology { operation, source })?;
        check_lattice(operation, self.particles, self.box_side)?;
        require((1..=10_000).contains(&self.steps), operation, "steps", "1 to 10000", self.steps)?;
        let mesh = (1..=8).contains(&self.force_mesh) && self.force_mesh * self.particles <= 2048;
        require(mesh, operation, "force_mesh", "1 to 8, and at most 2048 cells a side", self.force_mesh)?;
        let end = self.redshift;
        require((0.0..=1e3).contains(&end), operation, "redshift", "0 to 1000", end)?;
        let start = self.redshift_start;
        let early = start > end && start <= 1e3;
        let expected = format!("above redshift {end} and at most 1000");
        require(early, operation, "redshift_start", expected, start)?;
        if self.gas {
            let baryons = self.cosmology.omega_b;
            require(baryons > 0.0, operation, "cosmology.omega_b", "above 0 where there is gas", baryons)?;
            self.gas_model.validate()?;
        }
        Ok(())
    }
}

/// A simulated universe.
///
/// Dark matter moves by [particle-mesh gravity](crate::Mesh) from [second-order initial
/// conditions](crate::InitialConditions); gas is a [simple model](crate::GasModel) painted on.
///
/// ```
/// use halocast_mock::{Universe, UniverseConfig};
/// let config = UniverseConfig { particles: 16, box_side: 40.0, steps: 3, ..Default::default() };
/// let universe = Universe::simulate(&config, &|_, _| {})?;
/// assert_eq!(universe.positions().len(), 16 * 16 * 16);
/// assert!(universe.positions().iter().flatten().all(|&x| (0.0..40.0).contains(&x)));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Universe {
    config: UniverseConfig,
    space: PeriodicBox,
    matter: Component,
    potential: Vec<f32>,
    gas: Option<Gas>,
}

/// Particles with their velocities.
#[derive(Clone, Debug)]
struct Component {
    positions: Vec<[f32; 3]>,
    velocities: Vec<[f32; 3]>,
}

#[derive(Clone, Debug)]
struct Gas {
    component: Component,
    overdensity: Vec<f32>,
}

impl Universe {
    /// Makes the universe of a configuration, in the current rayon pool. `progress` counts the potentials that are
    /// computed, `steps` + 1 of them.
    ///
    /// Cost: per step two real transforms of the force mesh and two passes over the particles; memory is 8 bytes per cell of
    /// the force mesh and about 30 per particle.
    ///
    /// # Errors
    /// As [`UniverseConfig::validate`].
    pub fn simulate(config: &UniverseConfig, progress: &Progress<'_>) -> Result<Self> {
        config.validate()?;
        let space = PeriodicBox::new(config.box_side).map_err(|source| Error::Snapshot { source })?;
        let UniverseConfig { cosmology, box_side, particles: n, .. } = *config;
        let (start, end) = (1.0 / (1.0 + config.redshift_start), 1.0 / (1.0 + config.redshift));
        let power = LinearPower::new(&cosmology, Transfer::Wiggles)?;
        let UniverseConfig { seed, fixed_amplitude, phase_flip, .. } = *config;
        let field = FieldOptions { seed, fixed_amplitude, phase_flip };
        let initial = InitialConditions::new(&power, n, box_side, field)?;
        let mut matter = initial.particles(&cosmology, start, 0.0);
        let mut gas = config.gas.then(|| initial.particles(&cosmology, start, 0.5));
        drop(initial);

        let mut mesh = Mesh::new(n * config.force_mesh, box_side, config.compensate);
        let mut gas_mesh = config.gas.then(|| Mesh::new(n, box_side, false));
        let length = config.gas_model.filter(box_side / n as f64);
        let total = config.steps as u64 + 1;
        evolve(
            &mut matter,
            gas.as_mut().zip(gas_mesh.as_mut()).map(|(particles, mesh)| PressuredGas {
                particles,
                mesh,
                length,
            }),
            &mut mesh,
            &cosmology,
            Schedule { start, end, steps: config.steps },
            &|step| progress(step as u64 + 1, total),
        );

        // The last step has no drift: the mesh holds the potential of the final positions.
        let potential = mesh.gather(&matter.positions);
        let gas = gas.zip(gas_mesh).map(|(particles, mut mesh)| {
            let overdensity = overdensity(&particles.positions, &mut mesh, length);
            Gas { component: Component::new(particles, box_side, end), overdensity }
        });
        Ok(Self { config: *config, space, matter: Component::new(matter, box_side, end), potential, gas })
    }

    /// What it was made from.
    pub fn config(&self) -> &UniverseConfig {
        &self.config
    }

    /// The scale factor of the result.
    pub fn scale_factor(&self) -> f64 {
        1.0 / (1.0 + self.config.redshift)
    }

    /// Comoving positions of the dark matter in Mpc/h, in `[0, L)`, in the order of the initial lattice.
    pub fn positions(&self) -> &[[f32; 3]] {
        &self.matter.positions
    }

    /// Peculiar velocities of the dark matter in km/s.
    pub fn velocities(&self) -> &[[f32; 3]] {
        &self.matter.velocities
    }

    /// Comoving positions of the gas in Mpc/h, in `[0, L)`; empty without gas.
    pub fn gas_positions(&self) -> &[[f32; 3]] {
        self.gas.as_ref().map_or(&[], |gas| &gas.component.positions)
    }

    /// Peculiar velocities of the gas in km/s; empty without gas.
    pub fn gas_velocities(&self) -> &[[f32; 3]] {
        self.gas.as_ref().map_or(&[], |gas| &gas.component.velocities)
    }

    /// Density of the gas over its mean, at each particle; empty without gas.
    pub fn gas_overdensity(&self) -> &[f32] {
        self.gas.as_ref().map_or(&[], |gas| &gas.overdensity)
    }

    /// Temperature of the gas in K; empty without gas.
    pub fn gas_temperature(&self) -> Vec<f32> {
        let model = self.config.gas_model;
        self.gas_overdensity().iter().map(|&d| model.temperature(f64::from(d)) as f32).collect()
    }

    /// Mass of a dark-matter particle in Msun/h: all matter, less the gas where there is gas.
    pub fn particle_mass(&self) -> f64 {
        let c = &self.config.cosmology;
        self.mass_of(if self.config.gas { c.omega_m - c.omega_b } else { c.omega_m })
    }

    /// Mass of a gas particle in Msun/h; 0 without gas.
    pub fn gas_particle_mass(&self) -> f64 {
        if self.config.gas { self.mass_of(self.config.cosmology.omega_b) } else { 0.0 }
    }

    /// The dark matter as what haloes are looked for in; each particle stands for its share of all matter.
    pub fn tracers(&self) -> Tracers<'_> {
        let config = &self.config;
        Tracers {
            positions: &self.matter.positions,
            velocities: &self.matter.velocities,
            potential: Some(&self.potential),
            mass: self.mass_of(config.cosmology.omega_m),
            space: self.space,
            a: self.scale_factor(),
            cosmology: config.cosmology,
        }
    }

    /// The peculiar potential at each dark-matter particle in (km/s)^2 / a.
    pub fn potential(&self) -> Vec<f64> {
        let to_potential = 1.5 * self.config.cosmology.omega_m * 1e4;
        self.potential.iter().map(|&phi| to_potential * f64::from(phi)).collect()
    }

    /// The universe as a snapshot in the units and with the field names of IllustrisTNG.
    ///
    /// Dark matter: `Coordinates` (ckpc/h), `Velocities` (km sqrt(a)/s), `ParticleIDs`, `Potential` ((km/s)^2/a), its mass
    /// in the mass table. Gas: `Coordinates`, `Velocities`, `ParticleIDs`, `Masses` (10^10 Msun/h), `Density`
    /// (10^10 Msun/h / (ckpc/h)^3), `InternalEnergy` ((km/s)^2), `ElectronAbundance`, and `SmoothingLength` (ckpc/h), the
    /// radius of compact support that holds 32 particles, which IllustrisTNG does not have.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when core refuses a field.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let config = &self.config;
        let a = self.scale_factor();
        let count = self.positions().len() as u64;
        let mut promised = [0; 6];
        let mut mass_table = [0.0; 6];
        promised[Species::DarkMatter.number()] = count;
        mass_table[Species::DarkMatter.number()] = self.particle_mass() / 1e10;

        let mut matter = self.matter.set(Species::DarkMatter, a, 1)?;
        let potential = scalars(self.potential().into_iter());
        let unit = Unit::new("(km/s)^2/a", 1e10, -1.0, 0.0);
        insert(&mut matter, "Potential", potential, unit)?;
        let mut sets = BTreeMap::from([(Species::DarkMatter, matter)]);
        if let Some(gas) = &self.gas {
            promised[Species::Gas.number()] = count;
            sets.insert(Species::Gas, self.gas_set(gas, a, count + 1)?);
        }
        let header = Header {
            box_size: 1e3 * config.box_side,
            time: a,
            redshift: config.redshift,
            cosmology: config.cosmology,
            mass_table,
            promised,
            mock: true,
        };
        Ok(Snapshot { header, sets, warnings: Vec::new() })
    }

    fn gas_set(&self, gas: &Gas, a: f64, first_id: u64) -> Result<ParticleSet> {
        let config = &self.config;
        let mut set = gas.component.set(Species::Gas, a, first_id)?;
        let mass = self.gas_particle_mass() / 1e10;
        let spacing = 1e3 * config.box_side / config.particles as f64;
        let delta = || gas.overdensity.iter().map(|&d| f64::from(d));
        insert(&mut set, "Masses", scalars(delta().map(|_| mass)), Unit::msun_h_1e10())?;
        let length = Unit::kpc_h();
        let volume = length.to_cgs.powi(3);
        let density = Unit::new("1e10 Msun/h / (ckpc/h)^3", Unit::msun_h_1e10().to_cgs / volume, -3.0, 2.0);
        insert(&mut set, "Density", scalars(delta().map(|d| d * mass / spacing.powi(3))), density)?;
        let energy = delta().map(|d| internal_energy(config.gas_model.temperature(d)));
        insert(&mut set, "InternalEnergy", scalars(energy), Unit::new("(km/s)^2", 1e10, 0.0, 0.0))?;
        insert(&mut set, "ElectronAbundance", scalars(delta().map(|_| ELECTRONS)), Unit::dimensionless())?;
        insert(&mut set, "SmoothingLength", scalars(delta().map(|d| smoothing_length(d, spacing))), length)?;
        Ok(set)
    }

    fn mass_of(&self, omega: f64) -> f64 {
        let config = &self.config;
        let volume = (config.box_side / config.particles as f64).powi(3);
        omega * halocast_core::RHO_CRITICAL * volume
    }
}

impl Component {
    fn new(particles: Particles, box_side: f64, a: f64) -> Self {
        let Particles { mut positions, momenta: mut velocities } = particles;
        for x in positions.iter_mut().flatten() {
            // The side itself need not be a 32-bit number.
            if f64::from(*x) >= box_side {
                *x = 0.0;
            }
        }
        let to_velocity = (100.0 / a) as f32;
        velocities.iter_mut().flatten().for_each(|v| *v *= to_velocity);
        Self { positions, velocities }
    }

    fn set(&self, species: Species, a: f64, first_id: u64) -> Result<ParticleSet> {
        let n = self.positions.len();
        let mut set = ParticleSet::new(species, n);
        let coordinates = Array2::from_shape_fn((n, 3), |(i, axis)| 1e3 * f64::from(self.positions[i][axis]));
        insert(&mut set, "Coordinates", FieldValues::F64(coordinates.into_dyn()), Unit::kpc_h())?;
        let to_gadget = (1.0 / a.sqrt()) as f32;
        let velocities = Array2::from_shape_fn((n, 3), |(i, axis)| self.velocities[i][axis] * to_gadget);
        insert(&mut set, "Velocities", FieldValues::F32(velocities.into_dyn()), Unit::km_s_sqrt_a())?;
        let ids = Array1::from_iter((0..n as u64).map(|i| first_id + i));
        insert(&mut set, "ParticleIDs", FieldValues::U64(ids.into_dyn()), Unit::dimensionless())?;
        Ok(set)
    }
}

fn scalars(values: impl Iterator<Item = f64>) -> FieldValues {
    let values: ArrayD<f32> = values.map(|v| v as f32).collect::<Array1<f32>>().into_dyn();
    FieldValues::F32(values)
}

fn insert(set: &mut ParticleSet, name: &str, values: FieldValues, unit: Unit) -> Result<()> {
    set.insert(name, values, unit).map_err(|source| Error::Snapshot { source })
}
