//! One halo: what becomes of its gas, and its stars and black hole.

use std::f64::consts::{PI, TAU};

use halocast_core::{Cosmology, PeriodicBox, Rng};

use super::config::BaryonConfig;
use super::hydrostatic::Hydrostatic;
use super::recipes::Recipes;
use super::state::Owner;
use super::thermal::{HYDROGEN, HYDROGEN_PER_CM3, magnetic_field, pressure};
use crate::halos::{Halo, Subhalo, concentration};
use crate::initial::wrap;

/// Mass of metals that a stellar generation gives back, per mass of stars, and the share of it that is in gas.
/// (Vincenzo et al. 2016, MNRAS 455, 4183: yields of 0.02 to 0.06 by initial mass function.)
const YIELD: f64 = 0.04;
const IN_GAS: f64 = 0.6;
/// Mass of magnesium over iron in the sun (Asplund et al. 2009, ARA&A 47, 481).
const SOLAR_MAGNESIUM_TO_IRON: f64 = 0.55;
/// Thermal over magnetic pressure in haloes (Marinacci et al. 2018, MNRAS 480, 5113: of order 10 to 100).
const BETA: f64 = 60.0;

/// What is known of every halo of a universe.
pub(super) struct Context<'a> {
    pub(super) recipes: Recipes,
    pub(super) config: &'a BaryonConfig,
    pub(super) cosmology: Cosmology,
    pub(super) space: PeriodicBox,
    pub(super) a: f64,
    /// Mass of a gas particle in Msun/h.
    pub(super) cell: f64,
}

/// A gas particle of a halo: index, position, velocity.
pub(super) type Member = (u32, [f32; 3], [f32; 3]);

/// What a parcel of gas has become. Density and temperature of 0 are those of the mesh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    pub(super) position: [f32; 3],
    pub(super) velocity: [f32; 3],
    pub(super) mass: f64,
    pub(super) density: f64,
    pub(super) temperature: f64,
    pub(super) neutral: Option<f64>,
    pub(super) metallicity: f64,
    pub(super) magnesium_to_iron: f64,
    /// |B| in Gauss at `reference` density; scales as density^(2/3).
    pub(super) field: f64,
    pub(super) reference: f64,
    pub(super) star_formation: f64,
    pub(super) owner: Owner,
}

/// A star particle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Star {
    pub(super) position: [f32; 3],
    pub(super) velocity: [f32; 3],
    pub(super) mass: f64,
    pub(super) metallicity: f64,
    pub(super) formation: f64,
    pub(super) owner: Owner,
}

/// A black hole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) position: [f32; 3],
    pub(super) velocity: [f32; 3],
    pub(super) mass: f64,
    pub(super) accretion: f64,
    pub(super) owner: Owner,
}

/// A halo's baryons.
#[derive(Debug, Default)]
pub(super) struct Painted {
    pub(super) gas: Vec<(u32, Parcel)>,
    pub(super) stars: Vec<Star>,
    pub(super) hole: Option<Hole>,
}

/// Paints one halo on the gas particles `gas` that lie in it, and conserves their mass.
///
/// 1. Stars: of the central and of every satellite, by [`Recipes::stellar_mass`] with 0.2 dex of scatter, in Hernquist spheres
///    of half-mass radius 0.015 R_200 (Kravtsov 2013, ApJ 764, L31). Their mass comes from all the halo's gas alike.
/// 2. The gas of the inner M_200c / M_group is the halo's; the rest stays where it is.
/// 3. Winds and black holes throw out shares of it, with 0.2 and 0.4 dex of scatter. Winds go in all directions, black holes
///    blow along a cone of 35 degrees about an axis of their own; both reach out with 0.15 dex of scatter.
/// 4. What stays keeps its direction and order in radius, and takes the radii of [`Hydrostatic`], with 0.11 dex of scatter
///    of the concentration.
/// 5. The innermost is cold, in a disc, and holds the neutral hydrogen of [`Recipes::hydrogen_mass`], with 0.25 dex.
/// 6. Metals in gas are 0.024 of the stars' mass, in proportion to the shares in and out of the halo.
pub(super) fn paint(
    context: &Context<'_>,
    halo: &Halo,
    subhalos: &[Subhalo],
    index: usize,
    gas: &[Member],
    mut rng: Rng,
) -> Painted {
    let Context { recipes, cosmology, a, cell, .. } = *context;
    let scatter = context.config.scatter.0;
    let mut painted = Painted::default();
    // All that scatters is drawn at once, so that a change of feedback moves no other draw.
    let draws: [f64; 10] = std::array::from_fn(|_| scatter * rng.normal());
    let axis = direction(&mut rng);
    let centre_owner = Owner { group: index as u32, subhalo: if subhalos.is_empty() { u32::MAX } else { 0 } };

    let total = cell * gas.len() as f64;
    let mass = halo.nfw_mass;
    let radius = halo.nfw_radius(&cosmology, a);
    let dex = |draw: f64, size: f64| 10f64.powf(size * draw);

    // Stars, at most 0.4 of the gas that there is.
    let mut stars = Vec::new();
    let central = recipes.stellar_mass(mass) * dex(draws[0], 0.2);
    stars.push((central, halo.centre, halo.velocity, radius, halo.dispersion, centre_owner));
    for (i, satellite) in subhalos.iter().enumerate().skip(1) {
        let owner = Owner { group: index as u32, subhalo: i as u32 };
        let own = recipes.stellar_mass(satellite.mass) * dex(scatter * rng.normal(), 0.2);
        let size = recipes.radius(satellite.mass) / a;
        stars.push((own, satellite.centre, satellite.velocity, size, satellite.dispersion, owner));
    }
    let wanted: f64 = stars.iter().map(|s| s.0).sum();
    let limited = (0.4 * total / wanted.max(1e-300)).min(1.0);
    let formed = wanted * limited;
    for (number, (own, centre, velocity, size, dispersion, owner)) in stars.into_iter().enumerate() {
        let own = own * limited;
        let mut rng = rng.split(number as u64);
        form(context, &mut painted.stars, own, centre, velocity, size, dispersion, owner, &mut rng);
    }
    let mut rng = rng.split_named("gas");
    let hole = recipes.black_hole_mass(central * limited) * dex(draws[1], 0.3);
    let seeded = mass > 7e10 && hole < 0.1 * (total - formed);
    let hole = if seeded { hole.max(8e5) } else { 0.0 };
    if seeded {
        // A tenth of a per cent of Eddington in massive haloes, a tenth in small ones; e-folding in 45 Myr.
        let eddington = if mass > 2e12 { 1e-3 } else { 0.1 };
        painted.hole = Some(Hole {
            position: at(context, halo.centre, [0.0; 3]),
            velocity: halo.velocity.map(|v| v as f32),
            mass: hole,
            accretion: hole / cosmology.h / 4.5e7 * eddington * dex(draws[2], 0.3),
            owner: centre_owner,
        });
    }
    if gas.is_empty() {
        return painted;
    }
    let left = ((total - formed - hole) / total).max(0.0);
    let each = cell * left;

    // The halo's own gas, the innermost first.
    let offset = |x: [f32; 3]| [0, 1, 2].map(|k| context.space.separation(f64::from(x[k]) - halo.centre[k]));
    let mut order: Vec<(f64, usize)> =
        gas.iter().enumerate().map(|(i, g)| (length(offset(g.1)), i)).collect();
    order.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    let inner = ((gas.len() as f64 * mass / halo.mass).round() as usize).min(gas.len());

    let loading = recipes.wind_loading(mass) * dex(draws[3], 0.2);
    let blown = 1.0 - (-loading * formed / (total * left).max(1e-300)).exp();
    let bound = recipes.bound_fraction(mass);
    let thrown = 1.0 - 1.0 / (1.0 + (1.0 / bound - 1.0) * dex(draws[4], 0.4));
    let reach = [
        recipes.wind_radius(mass) * dex(draws[5], 0.15),
        recipes.ejection_radius(mass) * dex(draws[5], 0.15),
    ];
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    for &(_, i) in &order[..inner] {
        let u = rng.uniform();
        if u < blown {
            out.push((i, 0));
        } else if u < blown + (1.0 - blown) * thrown {
            out.push((i, 1));
        } else {
            kept.push(i);
        }
    }

    let profile = Hydrostatic::new(mass, a * radius, concentration(mass, a) * dex(draws[6], 0.11));
    let volume = 4.0 / 3.0 * PI * (1e3 * a * radius).powi(3);
    let per_particle = each / volume / profile.mean_density();
    let central_density = per_particle * kept.len() as f64;
    let beta = BETA * dex(draws[7], 0.2);
    // What is thrown out was magnetised before: the field is that of all the halo's gas.
    let edge_density = per_particle * inner.max(1) as f64 * profile.density(1.0);
    let edge_field = magnetic_field(pressure(edge_density, profile.temperature(1.0)), beta, cosmology.h);
    let metals = YIELD * IN_GAS * formed;
    let polluted = (metals / (each * (kept.len() + out.len()).max(1) as f64)).min(0.04);
    let old = mass > 2e12;

    let hydrogen = recipes.hydrogen_mass(mass) * dex(draws[8], 0.25);
    let cold = ((hydrogen / (0.8 * HYDROGEN * each)).ceil() as usize).min(kept.len() / 2);
    let neutral = (hydrogen / (HYDROGEN * each * cold.max(1) as f64)).min(0.95);
    let forming = formed * 1e-10 / cosmology.h * if old { 0.1 } else { 1.0 } / cold.max(1) as f64;
    let spin = unit(halo.angular_momentum);
    let circular = recipes.circular_velocity(mass);
    for (rank, &i) in kept.iter().enumerate() {
        let (id, x, _) = gas[i];
        let parcel = if rank < cold {
            let (around, tangent) = in_plane(spin, &mut rng);
            // An exponential disc: the sum of two exponential variates.
            let r = 0.02 * radius * -((1.0 - rng.uniform()) * (1.0 - rng.uniform())).ln();
            let height = 0.1 * r * rng.normal();
            let shift = [0, 1, 2].map(|k| r * around[k] + height * spin[k]);
            let nuclei = 1.0 * (-r / (0.04 * radius)).exp().max(0.05);
            let density = nuclei / (cosmology.h * cosmology.h) / HYDROGEN_PER_CM3;
            Parcel {
                position: at(context, halo.centre, shift),
                velocity: [0, 1, 2].map(|k| (halo.velocity[k] + circular * tangent[k]) as f32),
                mass: each,
                density,
                temperature: 1e4,
                neutral: Some(neutral),
                metallicity: (3.0 * polluted).min(0.04),
                magnesium_to_iron: SOLAR_MAGNESIUM_TO_IRON * dex(draws[9], 0.05),
                field: magnetic_field(pressure(density, 1e4), 1.0, cosmology.h),
                reference: density,
                star_formation: forming,
                owner: centre_owner,
            }
        } else {
            let r = profile.radius((rank as f64 + 0.5) / kept.len() as f64);
            let direction = unit_or(offset(x), &mut rng);
            let density = central_density * profile.density(r);
            let temperature = profile.temperature(r) * dex(rng.normal(), 0.05 * scatter);
            Parcel {
                position: at(context, halo.centre, direction.map(|d| r * radius * d)),
                velocity: [0, 1, 2].map(|k| (halo.velocity[k] + 0.3 * halo.dispersion * rng.normal()) as f32),
                mass: each,
                density,
                temperature,
                neutral: None,
                metallicity: (polluted * 0.7 * (r + 0.1).powf(-0.5)).min(0.04),
                magnesium_to_iron: SOLAR_MAGNESIUM_TO_IRON
                    * 10f64.powf(if old { 0.05 } else { 0.15 })
                    * dex(draws[9], 0.05),
                field: magnetic_field(pressure(density, temperature), beta, cosmology.h),
                reference: density,
                star_formation: 0.0,
                owner: centre_owner,
            }
        };
        painted.gas.push((id, parcel));
    }
    for (i, how) in out {
        let (id, ..) = gas[i];
        let away = if how == 0 { direction(&mut rng) } else { cone(axis, &mut rng) };
        let far = length([0; 3].map(|_| rng.normal())).min(3.0) * reach[how];
        let speed = circular
            * if how == 0 {
                0.5 * context.config.feedback.a_sn2
            } else {
                0.7 * context.config.feedback.a_agn2
            };
        let heated =
            profile.temperature(1.0) * (radius / far.max(radius)) * speed.powi(2) / (0.5 * circular).powi(2);
        painted.gas.push((
            id,
            Parcel {
                position: at(context, halo.centre, away.map(|d| far * d)),
                velocity: [0, 1, 2].map(|k| (halo.velocity[k] + speed * away[k]) as f32),
                mass: each,
                density: 0.0,
                temperature: heated,
                neutral: None,
                metallicity: polluted,
                magnesium_to_iron: SOLAR_MAGNESIUM_TO_IRON * 10f64.powf(if how == 0 { 0.3 } else { 0.1 }),
                field: edge_field,
                reference: edge_density,
                star_formation: 0.0,
                owner: Owner::NONE,
            },
        ));
    }
    for &(_, i) in &order[inner..] {
        let (id, position, velocity) = gas[i];
        painted.gas.push((id, Parcel { position, velocity, mass: each, ..Parcel::intergalactic(index) }));
    }
    painted
}

impl Parcel {
    /// Gas that no halo has changed, in the group `index`.
    fn intergalactic(index: usize) -> Self {
        Self {
            position: [0.0; 3],
            velocity: [0.0; 3],
            mass: 0.0,
            density: 0.0,
            temperature: 0.0,
            neutral: None,
            metallicity: 0.0,
            magnesium_to_iron: 0.0,
            field: 0.0,
            reference: 0.0,
            star_formation: 0.0,
            owner: Owner { group: index as u32, subhalo: u32::MAX },
        }
    }
}

/// The star particles of one galaxy, of half a gas particle's mass each.
fn form(
    context: &Context<'_>,
    stars: &mut Vec<Star>,
    mass: f64,
    centre: [f64; 3],
    velocity: [f64; 3],
    halo_radius: f64,
    dispersion: f64,
    owner: Owner,
    rng: &mut Rng,
) {
    if mass <= 0.0 {
        return;
    }
    let count = (mass / (0.5 * context.cell)).round().max(1.0) as usize;
    let metallicity = context.recipes.stellar_metallicity(mass);
    // A Hernquist sphere: M(<r) = r^2 / (r + s)^2, half of it within (1 + sqrt 2) s.
    let scale = 0.015 * halo_radius / (1.0 + 2f64.sqrt());
    // Massive galaxies formed earlier; two gigayears of spread.
    let age = (0.3 + 0.15 * (mass.max(1e7) / 1e10).log10()).clamp(0.1, 0.8);
    for _ in 0..count {
        let root = (0.95 * rng.uniform()).sqrt();
        let r = scale * root / (1.0 - root);
        let direction = direction(rng);
        stars.push(Star {
            position: at(context, centre, direction.map(|d| r * d)),
            velocity: [0, 1, 2].map(|k| (velocity[k] + dispersion * rng.normal()) as f32),
            mass: mass / count as f64,
            metallicity: metallicity * 10f64.powf(0.2 * rng.normal()).min(4.0),
            formation: context.a * (1.0 - age * (0.2 + 0.8 * rng.uniform())),
            owner,
        });
    }
}

fn at(context: &Context<'_>, centre: [f64; 3], shift: [f64; 3]) -> [f32; 3] {
    [0, 1, 2].map(|k| wrap(centre[k] + shift[k], context.space.side()))
}

fn length(x: [f64; 3]) -> f64 {
    (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]).sqrt()
}

/// A direction, the z axis where there is none.
fn unit(x: [f64; 3]) -> [f64; 3] {
    let l = length(x);
    if l > 0.0 { x.map(|x| x / l) } else { [0.0, 0.0, 1.0] }
}

fn unit_or(x: [f64; 3], rng: &mut Rng) -> [f64; 3] {
    let other = direction(rng);
    if length(x) > 0.0 { unit(x) } else { other }
}

/// A direction without preference.
fn direction(rng: &mut Rng) -> [f64; 3] {
    let z = 2.0 * rng.uniform() - 1.0;
    let (s, c) = (TAU * rng.uniform()).sin_cos();
    let r = (1.0 - z * z).sqrt();
    [r * c, r * s, z]
}

/// Two directions at right angles to `axis` and to one another, turned at random.
fn in_plane(axis: [f64; 3], rng: &mut Rng) -> ([f64; 3], [f64; 3]) {
    let least = (0..3).min_by(|&i, &j| axis[i].abs().total_cmp(&axis[j].abs())).unwrap_or(0);
    let mut other = [0.0; 3];
    other[least] = 1.0;
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let u = unit(cross(axis, other));
    let v = cross(axis, u);
    let (s, c) = (TAU * rng.uniform()).sin_cos();
    ([0, 1, 2].map(|k| c * u[k] + s * v[k]), [0, 1, 2].map(|k| c * v[k] - s * u[k]))
}

/// A direction within 35 degrees of an axis, at either end.
fn cone(axis: [f64; 3], rng: &mut Rng) -> [f64; 3] {
    let least = 35f64.to_radians().cos();
    let cos = least + (1.0 - least) * rng.uniform();
    let sin = (1.0 - cos * cos).sqrt();
    let side = if rng.uniform() < 0.5 { 1.0 } else { -1.0 };
    let (across, _) = in_plane(axis, rng);
    [0, 1, 2].map(|k| side * cos * axis[k] + sin * across[k])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_units_and_cones_are_narrow() {
        let mut rng = Rng::new(1);
        let axis = direction(&mut rng);
        let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|k| a[k] * b[k]).sum::<f64>();
        let mut sum = 0.0;
        for _ in 0..2000 {
            let c = cone(axis, &mut rng);
            assert!(
                (length(c) - 1.0).abs() < 1e-12 && dot(c, axis).abs() >= 35f64.to_radians().cos() - 1e-12
            );
            let (u, v) = in_plane(axis, &mut rng);
            assert!(dot(u, axis).abs() < 1e-12 && dot(v, axis).abs() < 1e-12 && dot(u, v).abs() < 1e-12);
            sum += direction(&mut rng)[2];
        }
        assert!((sum / 2000.0).abs() < 0.07);
    }
}
