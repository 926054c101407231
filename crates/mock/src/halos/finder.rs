//! From particles to haloes and their subhaloes.

use std::ops::Range;

use halocast_core::{Cosmology, PeriodicBox};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fof::{Groups, friends_of_friends};
use super::grid::Grid;
use super::profile::virial_overdensity;
use super::properties::{
    Relative, circular_velocity, dispersion, mean, shape, shrinking_sphere, specific_angular_momentum,
    sphere, spin,
};
use super::subhalos::{Lump, lumps};
use super::{OPERATION, concentration, nfw_mass};
use crate::error::{Result, require};

/// How haloes are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HaloConfig {
    /// Linking length in mean particle separations.
    pub linking: f64,
    /// The fewest particles of a group.
    pub least: usize,
    /// The fewest bound particles of a subhalo.
    pub least_bound: usize,
}

impl Default for HaloConfig {
    /// b = 0.2, groups of 32 and subhaloes of 20 particles, as IllustrisTNG.
    fn default() -> Self {
        Self { linking: 0.2, least: 32, least_bound: 20 }
    }
}

impl HaloConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        let Self { linking, least, least_bound } = *self;
        require((0.01..=1.0).contains(&linking), OPERATION, "linking", "0.01 to 1", linking)?;
        require((10..=1_000_000).contains(&least), OPERATION, "least", "10 to 1e6", least)?;
        let bound = (10..=1_000_000).contains(&least_bound);
        require(bound, OPERATION, "least_bound", "10 to 1e6", least_bound)
    }
}

/// The particles in which haloes are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Tracers<'a> {
    /// Comoving positions in Mpc/h, in `[0, side]`.
    pub positions: &'a [[f32; 3]],
    /// Peculiar velocities in km/s.
    pub velocities: &'a [[f32; 3]],
    /// The potential at each particle in any unit, where it is known: the centre is looked for about its minimum.
    pub potential: Option<&'a [f32]>,
    /// Matter that each stands for in Msun/h.
    pub mass: f64,
    /// The periodic box in Mpc/h.
    pub space: PeriodicBox,
    /// Scale factor.
    pub a: f64,
    /// Cosmology.
    pub cosmology: Cosmology,
}

impl Tracers<'_> {
    fn validate(&self) -> Result<()> {
        let n = self.positions.len();
        let alike = self.velocities.len() == n && self.potential.is_none_or(|p| p.len() == n);
        require(
            alike,
            OPERATION,
            "velocities and potential",
            format!("of {n} particles"),
            self.velocities.len(),
        )?;
        require(self.mass > 0.0 && self.mass.is_finite(), OPERATION, "mass", "above 0", self.mass)?;
        require(self.a > 0.0 && self.a <= 1.0, OPERATION, "a", "in (0, 1]", self.a)
    }

    /// A particle relative to a centre that moves at `velocity`, with the Hubble flow.
    pub(super) fn relative(&self, i: u32, centre: [f64; 3], velocity: [f64; 3]) -> Relative {
        let space = self.space;
        let (x, v) = (self.positions[i as usize], self.velocities[i as usize]);
        let x = [0, 1, 2].map(|k| space.separation(f64::from(x[k]) - centre[k]));
        let flow = self.a * 100.0 * self.cosmology.e(self.a);
        Relative { x, v: [0, 1, 2].map(|k| f64::from(v[k]) - velocity[k] + flow * x[k]) }
    }
}

/// A sphere about a halo's centre: mass in Msun/h, comoving radius in Mpc/h. Both 0 where no sphere is dense enough.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sphere {
    /// Mass of all matter within.
    pub mass: f64,
    /// Comoving radius.
    pub radius: f64,
}

/// A group of friends of friends.
#[derive(Clone, Debug, PartialEq)]
pub struct Halo {
    /// Its particles in [`Halos::order`], those of its subhaloes first.
    pub particles: Range<usize>,
    /// Its subhaloes in [`Halos::subhalos`], the central one first.
    pub subhalos: Range<usize>,
    /// Mass of the group in Msun/h.
    pub mass: f64,
    /// Comoving centre in Mpc/h: the densest part, by a shrinking sphere.
    pub centre: [f64; 3],
    /// Centre of mass in Mpc/h.
    pub mass_centre: [f64; 3],
    /// Mean peculiar velocity in km/s.
    pub velocity: [f64; 3],
    /// The sphere of 200 times the critical density.
    pub critical_200: Sphere,
    /// The sphere of 500 times the critical density.
    pub critical_500: Sphere,
    /// The sphere of 200 times the mean matter density.
    pub mean_200: Sphere,
    /// The sphere of the virial overdensity of Bryan & Norman (1998).
    pub top_hat: Sphere,
    /// The mass M_200c in Msun/h that a group of this mass has when its profile is that of Navarro, Frenk & White: for
    /// recipes, which a force softened on the mesh should not move.
    pub nfw_mass: f64,
    /// Spin parameter lambda' within the 200 critical sphere (Bullock et al. 2001).
    pub spin: f64,
    /// Specific angular momentum in (physical kpc/h) km/s, within the same.
    pub angular_momentum: [f64; 3],
    /// Axis ratios b/a and c/a within the same.
    pub axis_ratios: [f64; 2],
    /// Direction of the long axis.
    pub long_axis: [f64; 3],
    /// One-dimensional velocity dispersion in km/s, within the same.
    pub dispersion: f64,
}

impl Halo {
    /// The comoving radius of the sphere of 200 critical densities that holds [`Halo::nfw_mass`].
    pub fn nfw_radius(&self, cosmology: &Cosmology, a: f64) -> f64 {
        let density = 200.0 * comoving_critical(cosmology, a);
        (3.0 * self.nfw_mass / (4.0 * std::f64::consts::PI * density)).cbrt()
    }
}

/// A self-bound lump of a group, or what is bound to its centre.
#[derive(Clone, Debug, PartialEq)]
pub struct Subhalo {
    /// The group.
    pub group: usize,
    /// Its bound particles in [`Halos::order`].
    pub particles: Range<usize>,
    /// Bound mass in Msun/h.
    pub mass: f64,
    /// Comoving centre in Mpc/h.
    pub centre: [f64; 3],
    /// Centre of mass in Mpc/h.
    pub mass_centre: [f64; 3],
    /// Mean peculiar velocity in km/s.
    pub velocity: [f64; 3],
    /// The comoving radius in Mpc/h within which particles were looked for: tidal, or that of the group.
    pub radius: f64,
    /// Comoving radius in Mpc/h of half the bound mass.
    pub half_mass_radius: f64,
    /// Largest circular velocity in km/s.
    pub max_velocity: f64,
    /// The comoving radius in Mpc/h of that velocity.
    pub max_velocity_radius: f64,
    /// One-dimensional velocity dispersion in km/s.
    pub dispersion: f64,
    /// Specific angular momentum in (physical kpc/h) km/s.
    pub angular_momentum: [f64; 3],
}

/// The haloes of a box.
///
/// 1. Groups of [`friends_of_friends`], the largest first.
/// 2. A centre: the member of lowest potential, refined by a shrinking sphere.
/// 3. Masses in spheres about it, from all particles, members or not.
/// 4. Subhaloes: lumps about peaks of the density, out to their tidal radius, of particles that the lump binds.
///
/// ```
/// use halocast_mock::{HaloConfig, Halos, Universe, UniverseConfig};
/// let config = UniverseConfig { particles: 24, box_side: 20.0, gas: false, ..Default::default() };
/// let universe = Universe::simulate(&config, &|_, _| {})?;
/// let halos = Halos::find(&universe.tracers(), &HaloConfig::default())?;
/// assert!(halos.halos.windows(2).all(|pair| pair[0].mass >= pair[1].mass));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Halos {
    /// How they were found.
    pub config: HaloConfig,
    /// The groups, the largest first.
    pub halos: Vec<Halo>,
    /// The subhaloes, group by group, the central one first and then by mass.
    pub subhalos: Vec<Subhalo>,
    /// The particles of the groups: by group, by subhalo, and those that none binds last.
    pub order: Vec<u32>,
    /// The groups as they were linked.
    pub groups: Groups,
}

impl Halos {
    /// Finds the haloes of particles.
    ///
    /// Cost: O(N log N) to link, and for each group its particles times a few tens.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when a number is outside its domain.
    pub fn find(tracers: &Tracers<'_>, config: &HaloConfig) -> Result<Self> {
        config.validate()?;
        tracers.validate()?;
        let spacing = tracers.space.side() / (tracers.positions.len().max(1) as f64).cbrt();
        let length = config.linking * spacing;
        if tracers.positions.len() < config.least {
            let (halos, subhalos, order) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Self { config: *config, halos, subhalos, order, groups: Groups::default() });
        }
        let groups = friends_of_friends(tracers.positions, tracers.space.side(), length, config.least)?;
        let grid = Grid::new(tracers.positions, tracers.space);
        let found: Vec<(Halo, Vec<Lump>)> = (0..groups.len())
            .into_par_iter()
            .map(|g| {
                let members = groups.members(g);
                let halo = measure(tracers, &grid, members);
                let lumps = lumps(tracers, members, &halo, length, config.least_bound)?;
                Ok((halo, lumps))
            })
            .collect::<Result<_>>()?;
        let (mut halos, mut subhalos, mut order) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken = vec![false; tracers.positions.len()];
        for (group, (mut halo, lumps)) in found.into_iter().enumerate() {
            let first = (order.len(), subhalos.len());
            for lump in lumps {
                let start = order.len();
                lump.particles.iter().for_each(|&i| taken[i as usize] = true);
                order.extend(&lump.particles);
                subhalos.push(subhalo(tracers, &lump, group, start..order.len()));
            }
            order.extend(groups.members(group).iter().filter(|&&i| !taken[i as usize]));
            halo.particles = first.0..order.len();
            halo.subhalos = first.1..subhalos.len();
            halos.push(halo);
        }
        Ok(Self { config: *config, halos, subhalos, order, groups })
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.halos.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.halos.is_empty()
    }
}

/// The critical density in comoving (Msun/h) / (Mpc/h)^3.
pub(super) fn comoving_critical(cosmology: &Cosmology, a: f64) -> f64 {
    cosmology.critical_density(a) * a.powi(3)
}

fn measure(tracers: &Tracers<'_>, grid: &Grid<'_>, members: &[u32]) -> Halo {
    let Tracers { cosmology, a, mass: each, .. } = *tracers;
    let space = tracers.space;
    let mass = each * members.len() as f64;
    let background = cosmology.mean_matter_density();
    let critical = comoving_critical(&cosmology, a);
    let size = (3.0 * mass / (4.0 * std::f64::consts::PI * 200.0 * background)).cbrt();

    let deepest = match tracers.potential {
        Some(phi) => members
            .iter()
            .copied()
            .min_by(|&i, &j| phi[i as usize].total_cmp(&phi[j as usize]).then(i.cmp(&j))),
        None => None,
    };
    let origin = tracers.positions[deepest.unwrap_or(members[0]) as usize].map(f64::from);
    let still: Vec<Relative> = members.iter().map(|&i| tracers.relative(i, origin, [0.0; 3])).collect();
    let offsets: Vec<[f64; 3]> = still.iter().map(|p| p.x).collect();
    let offset = mean(offsets.iter());
    let mass_centre = [0, 1, 2].map(|k| space.wrap(origin[k] + offset[k]));
    // About the deepest particle half the group is enough; without a potential all of it is needed.
    let reach = still.iter().map(Relative::radius).fold(0.0, f64::max);
    let (start, radius) = if deepest.is_some() { (origin, 0.5 * size) } else { (mass_centre, reach) };
    let least = (members.len() / 100).clamp(8, 200);
    let centre = shrinking_sphere(tracers, members, start, radius, least);
    let velocities: Vec<[f64; 3]> =
        members.iter().map(|&i| tracers.velocities[i as usize].map(f64::from)).collect();
    let velocity = mean(velocities.iter());

    // Until the mean density has fallen below the lowest threshold.
    let densities = [
        200.0 * critical,
        500.0 * critical,
        200.0 * background,
        virial_overdensity(&cosmology, a) * critical,
    ];
    let mut radius = (1.4 * size).min(0.49 * tracers.space.side());
    let (near, spheres) = loop {
        let near = grid.sphere(centre, radius);
        let spheres = densities.map(|density| sphere(&near, each, density));
        let enough = spheres.iter().all(Option::is_some);
        if enough || radius >= 0.49 * tracers.space.side() {
            break (near, spheres.map(Option::unwrap_or_default));
        }
        radius = (1.5 * radius).min(0.49 * tracers.space.side());
    };
    let [critical_200, critical_500, mean_200, top_hat] = spheres;
    let within = if critical_200.radius > 0.0 { critical_200.radius } else { size };
    let inside: Vec<u32> = near.iter().take_while(|(d, _)| *d <= within * within).map(|(_, i)| *i).collect();
    let bulk: Vec<[f64; 3]> = inside.iter().map(|&i| tracers.velocities[i as usize].map(f64::from)).collect();
    let bulk = mean(bulk.iter());
    let inside: Vec<Relative> = inside.iter().map(|&i| tracers.relative(i, centre, bulk)).collect();
    let angular_momentum = specific_angular_momentum(&inside, a);
    let (axis_ratios, long_axis) = shape(&inside, within);
    Halo {
        particles: 0..0,
        subhalos: 0..0,
        mass,
        centre,
        mass_centre,
        velocity,
        critical_200,
        critical_500,
        mean_200,
        top_hat,
        nfw_mass: critical_mass(mass, &cosmology, a),
        spin: spin(angular_momentum, critical_200, a),
        angular_momentum,
        axis_ratios,
        long_axis,
        dispersion: dispersion(&inside),
    }
}

/// M_200c of a profile of Navarro, Frenk & White whose mass within 200 times the mean density is `mass`, which is close to
/// that of friends of friends of b = 0.2.
fn critical_mass(mass: f64, cosmology: &Cosmology, a: f64) -> f64 {
    let ratio = cosmology.omega_m_at(a);
    let mut critical = 0.8 * mass;
    for _ in 0..20 {
        let c = concentration(critical, a);
        // x = r_200m / r_s: m(x) / x^3 = Omega_m(a) m(c) / c^3, by bisection.
        let wanted = ratio * nfw_mass(c) / c.powi(3);
        let (mut low, mut high) = (c, 4.0 * c / ratio.cbrt());
        for _ in 0..50 {
            let x = 0.5 * (low + high);
            if nfw_mass(x) / x.powi(3) > wanted { low = x } else { high = x }
        }
        critical = mass * nfw_mass(c) / nfw_mass(low);
    }
    critical
}

fn subhalo(tracers: &Tracers<'_>, lump: &Lump, group: usize, particles: Range<usize>) -> Subhalo {
    let space = tracers.space;
    let velocities: Vec<[f64; 3]> =
        lump.particles.iter().map(|&i| tracers.velocities[i as usize].map(f64::from)).collect();
    let velocity = mean(velocities.iter());
    let members: Vec<Relative> =
        lump.particles.iter().map(|&i| tracers.relative(i, lump.centre, velocity)).collect();
    let mut radii: Vec<f64> = members.iter().map(Relative::radius).collect();
    radii.sort_unstable_by(f64::total_cmp);
    let (max_velocity, max_velocity_radius) = circular_velocity(&radii, tracers.mass, tracers.a);
    let offsets: Vec<[f64; 3]> = members.iter().map(|p| p.x).collect();
    let offset = mean(offsets.iter());
    Subhalo {
        group,
        particles,
        mass: tracers.mass * members.len() as f64,
        centre: lump.centre,
        mass_centre: [0, 1, 2].map(|k| space.wrap(lump.centre[k] + offset[k])),
        velocity,
        radius: lump.radius,
        half_mass_radius: radii.get(radii.len() / 2).copied().unwrap_or_default(),
        max_velocity,
        max_velocity_radius,
        dispersion: dispersion(&members),
        angular_momentum: specific_angular_momentum(&members, tracers.a),
    }
}
