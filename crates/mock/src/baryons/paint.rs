//! A universe with its haloes and baryons.

use halocast_core::{GroupCatalogue, Rng, Snapshot};
use rayon::prelude::*;

use super::config::BaryonConfig;
use super::halo::{Context, Member, Painted, Parcel, paint};
use super::recipes::Recipes;
use super::snapshot::Layout;
use super::state::{BlackHoles, GasCells, Owner, Stars};
use super::stir::stir;
use super::thermal::{HYDROGEN_PER_CM3, neutral_fraction, pressure};
use crate::error::{Result, require};
use crate::gas::{ELECTRONS, overdensity};
use crate::gravity::Mesh;
use crate::halos::{HaloConfig, Halos, nearest_group};
use crate::universe::Universe;

/// Field of gas at the mean density in comoving Gauss: the seed of IllustrisTNG (Pillepich et al. 2018).
const SEED_FIELD: f64 = 1e-14;
/// Mass fraction of metals of gas that no galaxy has reached.
const PRIMORDIAL: f64 = 1e-8;
/// Mass of magnesium over iron of the first stars, 0.4 dex above the sun.
const FIRST_MAGNESIUM_TO_IRON: f64 = 0.55 * 2.51;

/// A universe with haloes, gas, stars and black holes.
///
/// The gas is that of the universe, which lags the dark matter below its filtering scale; within haloes it is rearranged,
/// heated, enriched, turned into stars and thrown out, with scatter from halo to halo ([`Recipes`]): it is no local function
/// of the dark matter. What is thrown out lands where it lands and is counted there: density, temperature, metals and field
/// between haloes come of it.
///
/// The draws of a halo depend on the seed and on which dark-matter particle is its first: with other strengths of feedback
/// a halo keeps its luck, so that sets that vary one parameter compare halo by halo.
///
/// ```
/// use halocast_mock::{BaryonConfig, HaloConfig, Populated, Universe, UniverseConfig};
/// let config = UniverseConfig { particles: 32, box_side: 12.5, seed: 3, ..Default::default() };
/// let universe = Universe::simulate(&config, &|_, _| {})?;
/// let populated = Populated::new(universe, &HaloConfig::default(), &BaryonConfig::default())?;
/// let gas: f64 = populated.gas.masses.iter().map(|&m| f64::from(m)).sum();
/// let stars: f64 = populated.stars.masses.iter().map(|&m| f64::from(m)).sum();
/// assert!(stars > 0.0 && stars < 0.3 * gas);
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Populated {
    /// The dark matter and the gas as gravity left them.
    pub universe: Universe,
    /// The haloes of the dark matter.
    pub halos: Halos,
    /// What was asked for.
    pub config: BaryonConfig,
    /// Gas.
    pub gas: GasCells,
    /// Stars.
    pub stars: Stars,
    /// Black holes.
    pub black_holes: BlackHoles,
}

impl Populated {
    /// Finds haloes and paints baryons. Mass is conserved: what becomes stars and black holes was gas.
    ///
    /// Cost: that of [`Halos::find`], O(N log N) for the gas, and one transform of the gas mesh.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the universe has no gas or a number is outside its domain.
    pub fn new(universe: Universe, halos: &HaloConfig, config: &BaryonConfig) -> Result<Self> {
        config.validate()?;
        let has_gas = universe.config().gas;
        require(has_gas, "baryons", "gas of the universe", "true", has_gas)?;
        let halos = Halos::find(&universe.tracers(), halos)?;
        let tracers = universe.tracers();
        let (cosmology, a, space) = (tracers.cosmology, tracers.a, tracers.space);
        let cell = universe.gas_particle_mass();
        let spacing = universe.config().box_side / universe.config().particles as f64;
        // The gas is smoother than the matter: it may lie a little further from it.
        let length = (2.0 * halos.config.linking * spacing).min(0.5 * space.side());
        let (x, v) = (universe.gas_positions(), universe.gas_velocities());
        let group = nearest_group(&halos.groups, tracers.positions, x, space.side(), length)?;
        let mut members: Vec<Vec<Member>> = vec![Vec::new(); halos.len()];
        for (i, group) in group.iter().enumerate() {
            if let Some(g) = group {
                members[*g as usize].push((i as u32, x[i], v[i]));
            }
        }
        let recipes = Recipes::new(cosmology, a, config.feedback);
        let context = Context { recipes, config, cosmology, space, a, cell };
        let root = Rng::new(config.seed).split_named("baryons");
        let painted: Vec<Painted> = halos
            .halos
            .par_iter()
            .zip(&members)
            .enumerate()
            .map(|(index, (halo, gas))| {
                let rng = root.split(u64::from(halos.groups.members(index)[0]));
                paint(&context, halo, &halos.subhalos[halo.subhalos.clone()], index, gas, rng)
            })
            .collect();
        drop(members);
        let (mut parcels, mut stars, mut black_holes) =
            (vec![None; x.len()], Stars::default(), BlackHoles::default());
        for halo in painted {
            for (i, parcel) in halo.gas {
                parcels[i as usize] = Some(parcel);
            }
            for star in halo.stars {
                stars.positions.push(star.position);
                stars.velocities.push(star.velocity);
                stars.masses.push(star.mass as f32);
                stars.metallicity.push(star.metallicity as f32);
                stars.formation.push(star.formation as f32);
                stars.owner.push(star.owner);
            }
            if let Some(hole) = halo.hole {
                black_holes.positions.push(hole.position);
                black_holes.velocities.push(hole.velocity);
                black_holes.masses.push(hole.mass as f32);
                black_holes.accretion.push(hole.accretion as f32);
                black_holes.owner.push(hole.owner);
            }
        }
        let gas = settle(&universe, &context, parcels, root.split_named("fields"));
        Ok(Self { universe, halos, config: *config, gas, stars, black_holes })
    }

    /// The particles as a snapshot in the units, types and field names of IllustrisTNG, ordered by group and subhalo, with
    /// what belongs to no group last.
    ///
    /// # Errors
    /// [`crate::Error::Snapshot`] when core refuses a field.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Layout::new(self)?.snapshot()
    }

    /// The group catalogue that goes with [`Populated::snapshot`].
    ///
    /// # Errors
    /// [`crate::Error::Snapshot`] when core refuses a field.
    pub fn catalogue(&self) -> Result<GroupCatalogue> {
        Layout::new(self)?.catalogue()
    }
}

/// The gas once all haloes have acted: what the mesh says of density, and all that follows from it.
fn settle(universe: &Universe, context: &Context<'_>, parcels: Vec<Option<Parcel>>, rng: Rng) -> GasCells {
    let (h, a) = (context.cosmology.h, context.a);
    let config = universe.config();
    let (x, v) = (universe.gas_positions(), universe.gas_velocities());
    let or = |i: usize, own: [f32; 3], of: fn(&Parcel) -> [f32; 3]| parcels[i].as_ref().map_or(own, of);
    let mut positions: Vec<[f32; 3]> = (0..x.len()).map(|i| or(i, x[i], |p| p.position)).collect();
    let free = |i: usize| parcels[i].is_none();
    stir(&mut positions, free, config.box_side, context.recipes.stirring(), &rng.split_named("stirring"));
    let velocities: Vec<[f32; 3]> = (0..v.len()).map(|i| or(i, v[i], |p| p.velocity)).collect();
    let mut mesh = Mesh::new(config.particles, config.box_side, false);
    let delta = overdensity(
        &positions,
        &mut mesh,
        config.gas_model.filter(config.box_side / config.particles as f64),
    );
    // Physical, in h^2 Msun / kpc^3.
    let mean = context.cosmology.omega_b * halocast_core::RHO_CRITICAL / 1e9 / a.powi(3);
    let intergalactic = |delta: f64| config.gas_model.temperature(delta);
    let cells: Vec<Cell> = (0..x.len())
        .into_par_iter()
        .map(|i| {
            let delta = f64::from(delta[i]);
            let parcel = parcels[i].as_ref();
            // Within haloes the profile says; elsewhere the mesh does, and what was thrown out keeps its heat.
            let (density, temperature) = match parcel {
                Some(p) if p.density > 0.0 => (p.density, p.temperature),
                _ => {
                    let heated = parcel.map_or(0.0, |p| p.temperature);
                    (mean * delta, heated.max(intergalactic(delta.min(1e3))))
                }
            };
            let nuclei = density * HYDROGEN_PER_CM3 * h * h;
            let equilibrium = || neutral_fraction(nuclei, temperature, 1.0 / a - 1.0);
            let neutral = parcel.and_then(|p| p.neutral).unwrap_or_else(equilibrium);
            let seed = SEED_FIELD * (density / mean).powf(2.0 / 3.0) / (a * a);
            let field = parcel
                .filter(|p| p.reference > 0.0)
                .map_or(seed, |p| seed.max(p.field * (density / p.reference).powf(2.0 / 3.0)));
            let mut rng = rng.split(i as u64);
            let z = 2.0 * rng.uniform() - 1.0;
            let (s, c) = (std::f64::consts::TAU * rng.uniform()).sin_cos();
            let r = (1.0 - z * z).sqrt();
            Cell {
                mass: parcel.map_or(context.cell, |p| p.mass),
                density,
                temperature,
                neutral,
                electrons: density * HYDROGEN_PER_CM3 * (ELECTRONS - neutral).max(0.0),
                metallicity: parcel.map_or(PRIMORDIAL, |p| p.metallicity.max(PRIMORDIAL)),
                ratio: parcel
                    .map(|p| p.magnesium_to_iron)
                    .filter(|r| *r > 0.0)
                    .unwrap_or(FIRST_MAGNESIUM_TO_IRON),
                field: [field * r * c, field * r * s, field * z],
                star_formation: parcel.map_or(0.0, |p| p.star_formation),
                owner: parcel.map_or(Owner::NONE, |p| p.owner),
            }
        })
        .collect();
    let floats = |of: fn(&Cell) -> f64| cells.iter().map(|c| of(c) as f32).collect::<Vec<f32>>();
    GasCells {
        positions,
        velocities,
        masses: floats(|c| c.mass),
        density: floats(|c| c.density),
        temperature: floats(|c| c.temperature),
        pressure: floats(|c| pressure(c.density, c.temperature)),
        electrons: floats(|c| c.electrons),
        neutral: floats(|c| c.neutral),
        metallicity: floats(|c| c.metallicity),
        magnesium_to_iron: floats(|c| c.ratio),
        magnetic_field: cells.iter().map(|c| c.field.map(|b| b as f32)).collect(),
        star_formation: floats(|c| c.star_formation),
        owner: cells.iter().map(|c| c.owner).collect(),
    }
}

/// One gas particle's state.
struct Cell {
    mass: f64,
    density: f64,
    temperature: f64,
    neutral: f64,
    electrons: f64,
    metallicity: f64,
    ratio: f64,
    field: [f64; 3],
    star_formation: f64,
    owner: Owner,
}
