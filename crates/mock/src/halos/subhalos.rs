//! Lumps within a group, and which particles they bind.

use halocast_core::GRAVITATIONAL_CONSTANT;

use super::cells::Cells;
use super::finder::{Halo, Tracers};
use super::properties::{Relative, dot, mean};
use crate::error::Result;

/// Bound particles about a centre.
#[derive(Clone, Debug)]
pub(super) struct Lump {
    pub(super) centre: [f64; 3],
    pub(super) radius: f64,
    pub(super) particles: Vec<u32>,
}

/// The lumps of a group: the satellites and, first, what the group's centre binds of the rest. A group without enough bound
/// particles has none.
///
/// Every particle counts its neighbours within `length`. From the densest on, a particle without a denser neighbour is a
/// peak, and any other belongs to the peak of its densest neighbour. A peak that gathers enough is a candidate; its radius is
/// the tidal one,
///
/// $$r_t = D \left(\frac{m(<r_t)}{3\\,M(<D)}\right)^{1/3},$$
///
/// with D the distance from the group's centre and M the mass of the group within it. Within r_t particles are dropped whose
/// kinetic energy, about the mean motion of the half that lies deepest, exceeds the depth of the spherical potential of those
/// that stay, until none is dropped.
///
/// # Source
/// Binney & Tremaine 2008, equation 8.91 (tidal radius). The steps are those of Springel et al. 2001, MNRAS 328, 726, in a
/// simpler form: peaks by neighbour counts, spherical potentials.
pub(super) fn lumps(
    tracers: &Tracers<'_>,
    members: &[u32],
    halo: &Halo,
    length: f64,
    least: usize,
) -> Result<Vec<Lump>> {
    let space = tracers.space;
    let still: Vec<Relative> = members.iter().map(|&i| tracers.relative(i, halo.centre, [0.0; 3])).collect();
    let mut distances: Vec<f64> = still.iter().map(Relative::radius).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let mut free = vec![true; members.len()];
    let mut lumps = Vec::new();
    for peak in peaks(tracers, members, length, least)? {
        let centre = tracers.positions[members[peak] as usize].map(f64::from);
        let away = space.distance(centre, halo.centre);
        let host = distances.partition_point(|&d| d < away);
        let near: Vec<(f64, usize)> = sorted(
            (0..members.len())
                .filter(|&i| free[i])
                .map(|i| (space.distance(tracers.positions[members[i] as usize].map(f64::from), centre), i)),
            away,
        );
        // The largest r that holds a mean density of three times the host's within D.
        let tidal = |count: usize| away * (count as f64 / (3.0 * host.max(1) as f64)).cbrt();
        let inside = (0..near.len()).take_while(|&i| near[i].0 <= tidal(i + 1)).count();
        // A peak within its own lump of the centre is the centre.
        if inside < least || away <= 2.0 * length {
            continue;
        }
        let radius = near[inside - 1].0;
        let candidates: Vec<u32> = near[..inside].iter().map(|n| members[n.1]).collect();
        let bound = bound(tracers, centre, candidates, least);
        if bound.len() >= least {
            for &(_, i) in &near[..inside] {
                free[i] = free[i] && bound.binary_search(&members[i]).is_err();
            }
            lumps.push(Lump { centre, radius, particles: bound });
        }
    }
    let rest: Vec<u32> = (0..members.len()).filter(|&i| free[i]).map(|i| members[i]).collect();
    let radius = distances.last().copied().unwrap_or_default();
    let main = bound(tracers, halo.centre, rest, least);
    lumps.sort_by(|a, b| b.particles.len().cmp(&a.particles.len()).then(a.particles[0].cmp(&b.particles[0])));
    if main.len() >= least {
        lumps.insert(0, Lump { centre: halo.centre, radius, particles: main });
    }
    Ok(lumps)
}

fn sorted(of: impl Iterator<Item = (f64, usize)>, limit: f64) -> Vec<(f64, usize)> {
    let mut all: Vec<(f64, usize)> = of.filter(|n| n.0 < limit).collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all
}

/// The members that are peaks of the neighbour count with at least `least` members under them, the densest first.
fn peaks(tracers: &Tracers<'_>, members: &[u32], length: f64, least: usize) -> Result<Vec<usize>> {
    // One lump and one other have this many.
    if members.len() < 2 * least {
        return Ok(Vec::new());
    }
    let positions: Vec<[f32; 3]> = members.iter().map(|&i| tracers.positions[i as usize]).collect();
    let cells = Cells::new(&positions, tracers.space.side(), length)?;
    let mut counts = vec![0u32; members.len()];
    for (x, count) in positions.iter().zip(&mut counts) {
        cells.visit(*x, |_, _| *count += 1);
    }
    let denser = |i: usize, j: usize| (counts[i], std::cmp::Reverse(i)) > (counts[j], std::cmp::Reverse(j));
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_unstable_by_key(|&i| (std::cmp::Reverse(counts[i]), i));
    let mut peak: Vec<usize> = (0..members.len()).collect();
    let mut under = vec![0usize; members.len()];
    for &i in &order {
        let mut above = i;
        cells.visit(positions[i], |j, _| {
            if denser(j as usize, above) {
                above = j as usize;
            }
        });
        // The densest neighbour came earlier, so that its peak is known.
        peak[i] = if above == i { i } else { peak[above] };
        under[peak[i]] += 1;
    }
    Ok(order.into_iter().filter(|&i| peak[i] == i && under[i] >= least).collect())
}

/// The particles that are bound to one another about a centre, in increasing order.
pub(super) fn bound(tracers: &Tracers<'_>, centre: [f64; 3], candidates: Vec<u32>, least: usize) -> Vec<u32> {
    let mut particles = candidates;
    for _ in 0..20 {
        if particles.len() < least {
            return Vec::new();
        }
        let still: Vec<Relative> = particles.iter().map(|&i| tracers.relative(i, centre, [0.0; 3])).collect();
        let mut order: Vec<usize> = (0..particles.len()).collect();
        order.sort_unstable_by(|&i, &j| still[i].radius().total_cmp(&still[j].radius()).then(i.cmp(&j)));
        // The inner half tells the motion: those to be dropped lie outside.
        let inner: Vec<[f64; 3]> = order[..order.len().div_ceil(2)].iter().map(|&i| still[i].v).collect();
        let bulk = mean(inner.iter());
        let radii: Vec<f64> = order.iter().map(|&i| still[i].radius()).collect();
        let depth = potential(&radii, tracers.mass, tracers.a);
        let mut keep: Vec<u32> = Vec::with_capacity(particles.len());
        for (&i, depth) in order.iter().zip(&depth) {
            let v = [0, 1, 2].map(|k| still[i].v[k] - bulk[k]);
            if 0.5 * dot(v, v) <= *depth {
                keep.push(particles[i]);
            }
        }
        let done = keep.len() == particles.len();
        particles = keep;
        if done {
            break;
        }
    }
    particles.sort_unstable();
    if particles.len() < least { Vec::new() } else { particles }
}

/// The depth of the potential of equal masses at increasing radii, G [M(<r)/r + sum beyond of m/r'], in (km/s)^2.
fn potential(radii: &[f64], mass: f64, a: f64) -> Vec<f64> {
    let unit = GRAVITATIONAL_CONSTANT * mass / a;
    let mut depth = vec![0.0; radii.len()];
    let mut beyond = 0.0;
    for (i, &r) in radii.iter().enumerate().rev() {
        let r = r.max(1e-6);
        depth[i] = unit * (i as f64 / r + beyond);
        beyond += 1.0 / r;
    }
    depth
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use halocast_core::{Cosmology, Rng};

    use super::*;
    use crate::halos::{HaloConfig, Halos};

    #[test]
    fn the_potential_of_a_shell_is_flat_inside() {
        let radii = [0.1, 0.2, 1.0, 1.0, 1.0, 1.0];
        let depth = potential(&radii, 1e10, 1.0);
        let unit = GRAVITATIONAL_CONSTANT * 1e10;
        // Four masses at 1, one at 0.2: 4 + 5 at the innermost.
        assert_relative_eq!(depth[0], 9.0 * unit, max_relative = 1e-12);
        assert_relative_eq!(depth[5], 5.0 * unit, max_relative = 1e-12);
    }

    /// A sphere of density r^-2 and the velocities of a singular isothermal sphere, `n` particles within `radius`.
    fn ball(
        n: usize,
        centre: [f64; 3],
        radius: f64,
        bulk: [f64; 3],
        mass: f64,
        rng: &mut Rng,
    ) -> Vec<([f32; 3], [f32; 3])> {
        let sigma = (GRAVITATIONAL_CONSTANT * mass * n as f64 / radius / 2.0).sqrt();
        (0..n)
            .map(|_| {
                let d = [0; 3].map(|_| rng.normal());
                let r = radius * rng.uniform() / dot(d, d).sqrt();
                let x = [0, 1, 2].map(|k| (centre[k] + r * d[k]) as f32);
                let v = [0, 1, 2].map(|k| (bulk[k] + 0.8 * sigma * rng.normal()) as f32);
                (x, v)
            })
            .collect()
    }

    #[test]
    fn a_satellite_is_found_bound_and_an_intruder_is_not() {
        let mut rng = Rng::new(4);
        let mass = 1e9;
        let mut all = ball(8000, [10.0; 3], 0.4, [100.0, 0.0, 0.0], mass, &mut rng);
        all.extend(ball(600, [10.25, 10.0, 10.0], 0.04, [100.0, 300.0, 0.0], mass, &mut rng));
        // Fifty particles that pass through the satellite.
        let fast = ball(50, [10.25, 10.0, 10.0], 0.04, [100.0, 2500.0, 0.0], mass, &mut rng);
        all.extend(&fast);
        let (positions, velocities): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let tracers = Tracers {
            positions: &positions,
            velocities: &velocities,
            potential: None,
            mass,
            space: halocast_core::PeriodicBox::new(20.0).unwrap(),
            a: 1.0,
            cosmology: Cosmology::camels(),
        };
        // The linking length counts mean separations of this near-empty box.
        let linking = 0.04 / (20.0 / (positions.len() as f64).cbrt());
        let config = HaloConfig { linking, ..Default::default() };
        let halos = Halos::find(&tracers, &config).unwrap();
        let halo = &halos.halos[0];
        let space = tracers.space;
        assert!(space.distance(halo.centre, [10.0; 3]) < 0.01, "{:?}", halo.centre);
        let subhalos = &halos.subhalos[halo.subhalos.clone()];
        let satellite =
            subhalos[1..].iter().find(|s| space.distance(s.centre, [10.25, 10.0, 10.0]) < 0.02).unwrap();
        let count = |range: std::ops::Range<u32>| {
            let mut particles = halos.order[satellite.particles.clone()].iter();
            particles.by_ref().filter(|&&i| range.contains(&i)).count()
        };
        assert!(count(8000..8600) > 450, "{}", count(8000..8600));
        assert_eq!(count(8600..8650), 0);
        assert!((satellite.velocity[1] - 300.0).abs() < 40.0, "{:?}", satellite.velocity);
        assert!(subhalos[0].mass > 10.0 * satellite.mass);
        // Every particle of the group is in one place.
        let mut seen = halos.order[halo.particles.clone()].to_vec();
        seen.sort_unstable();
        assert_eq!(seen, halos.groups.members(0));
    }
}
