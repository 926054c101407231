//! A light cone from snapshots of a periodic box.

use halocast_core::{Cosmology, PeriodicBox, SPEED_OF_LIGHT};
use rayon::prelude::*;

use super::{dot, length, refuse, same_length};
use crate::{Error, Result};

const OPERATION: &str = "light cone";

/// One moment of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct LightConeSnapshot<'a> {
    /// The scale factor a.
    pub scale_factor: f64,
    /// Comoving positions in Mpc/h.
    pub points: &'a [[f64; 3]],
    /// Peculiar velocities in km/s.
    pub velocities: &'a [[f64; 3]],
}

/// What an observer sees of a universe that is a periodic box.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LightCone {
    /// Comoving positions relative to the observer, in Mpc/h.
    pub points: Vec<[f64; 3]>,
    /// The redshift of the expansion alone, at the comoving distance of the point.
    pub redshift: Vec<f64>,
    /// The redshift that is observed, with the peculiar velocity: 1 + z_obs = (1 + z)(1 + v_los / c).
    pub observed_redshift: Vec<f64>,
    /// The snapshot each point is from, by its place in the list, and its place there.
    pub source: Vec<(usize, usize)>,
}

impl LightCone {
    /// Positions as their observed redshifts show them: at the comoving distance of these.
    pub fn redshift_space(&self, cosmology: &Cosmology) -> Vec<[f64; 3]> {
        let each = self.points.par_iter().zip(&self.observed_redshift);
        each.map(|(p, z)| {
            let by = cosmology.comoving_distance(z.max(0.0)) / length(*p);
            p.map(|x| x * by)
        })
        .collect()
    }
}

/// The light cone of an observer in a periodic box: the box repeated in all directions, at each distance the snapshot whose
/// comoving distance is nearest, between two redshifts.
///
/// ```
/// use halocast_core::{Cosmology, PeriodicBox};
/// use halocast_stats::{LightConeSnapshot, light_cone};
///
/// let points = [[1.0, 2.0, 3.0]];
/// let snapshot = LightConeSnapshot { scale_factor: 1.0, points: &points, velocities: &[[0.0; 3]] };
/// let cosmology = Cosmology::camels();
/// let side = PeriodicBox::new(50.0)?;
/// let cone = light_cone(&[snapshot], side, [0.0; 3], &cosmology, [0.0, 0.1])?;
/// // One point a box: as many as boxes in a sphere of this radius.
/// let boxes = 4.0 / 3.0 * std::f64::consts::PI * (cosmology.comoving_distance(0.1) / 50.0).powi(3);
/// assert!((cone.points.len() as f64 / boxes - 1.0).abs() < 0.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Blaizot et al. 2005; Kitzbichler & White 2007.
///
/// # Differences
/// Boxes are repeated as they are, neither turned nor shifted: structures are whole across their faces, and are seen
/// again where the cone is deeper than the box. Points are not moved between snapshots.
///
/// # Errors
/// [`Error::TooFew`] without snapshots; [`Error::Mismatch`] when there are not as many velocities as points;
/// [`Error::Value`] for scale factors that do not differ or lie outside (0, 1], redshifts that do not rise from at least
/// zero, a cone of more than a million boxes, or a number that is not finite.
pub fn light_cone(
    snapshots: &[LightConeSnapshot<'_>],
    periodic: PeriodicBox,
    observer: [f64; 3],
    cosmology: &Cosmology,
    redshifts: [f64; 2],
) -> Result<LightCone> {
    cosmology.validate().map_err(|source| Error::Map { operation: OPERATION, index: 0, source })?;
    let shells = shells(snapshots, cosmology, redshifts)?;
    if observer.iter().any(|x| !x.is_finite()) {
        return refuse(OPERATION, "the observer".into(), "finite", format!("{observer:?}"));
    }
    let far = shells.iter().map(|s| s.1[1]).fold(0.0, f64::max);
    let reach = (far / periodic.side()).ceil() as i64 + 1;
    if reach > 50 {
        let (what, expected) = ("the depth of the cone".into(), "at most 49 boxes");
        return refuse(OPERATION, what, expected, format!("{:.1} boxes", far / periodic.side()));
    }
    let distances = Distances::new(cosmology, redshifts[1]);
    let images: Vec<[i64; 3]> = (-reach..=reach)
        .flat_map(|a| (-reach..=reach).flat_map(move |b| (-reach..=reach).map(move |c| [a, b, c])))
        .collect();
    let parts: Vec<LightCone> = shells
        .par_iter()
        .flat_map_iter(|shell| images.iter().map(move |image| (shell, image)))
        .map(|((which, radii), image)| {
            let mut cone = LightCone::default();
            let snapshot = &snapshots[*which];
            let corner: [f64; 3] = std::array::from_fn(|i| image[i] as f64 * periodic.side() - observer[i]);
            if misses(corner, periodic.side(), *radii) {
                return cone;
            }
            for (i, p) in snapshot.points.iter().enumerate() {
                let d: [f64; 3] = std::array::from_fn(|a| periodic.wrap(p[a]) + corner[a]);
                let r = length(d);
                if !(radii[0]..radii[1]).contains(&r) || r == 0.0 {
                    continue;
                }
                let z = distances.redshift(cosmology, r);
                let along = dot(snapshot.velocities[i], d) / r;
                cone.points.push(d);
                cone.redshift.push(z);
                cone.observed_redshift.push((1.0 + z) * (1.0 + along / SPEED_OF_LIGHT) - 1.0);
                cone.source.push((*which, i));
            }
            cone
        })
        .collect();
    let mut cone = LightCone::default();
    for part in parts {
        cone.points.extend(part.points);
        cone.redshift.extend(part.redshift);
        cone.observed_redshift.extend(part.observed_redshift);
        cone.source.extend(part.source);
    }
    Ok(cone)
}

/// The snapshots and the comoving distances between which each is seen, nearest first.
fn shells(
    snapshots: &[LightConeSnapshot<'_>],
    cosmology: &Cosmology,
    redshifts: [f64; 2],
) -> Result<Vec<(usize, [f64; 2])>> {
    if snapshots.is_empty() {
        let what = "the snapshots".into();
        return Err(Error::TooFew { operation: OPERATION, what, expected: 1, got: 0 });
    }
    if !(redshifts[0] >= 0.0 && redshifts[0] < redshifts[1] && redshifts[1].is_finite()) {
        return refuse(OPERATION, "the redshifts".into(), "rising from zero", format!("{redshifts:?}"));
    }
    for (s, snapshot) in snapshots.iter().enumerate() {
        let a = snapshot.scale_factor;
        if !(a > 0.0 && a <= 1.0) {
            return refuse(
                OPERATION,
                format!("the scale factor of snapshot {s}"),
                "in (0, 1]",
                a.to_string(),
            );
        }
        same_length(OPERATION, "velocities", snapshot.points.len(), snapshot.velocities.len())?;
        let finite = |v: &[f64; 3]| v.iter().all(|x| x.is_finite());
        let bad = |(p, v): (&[f64; 3], &[f64; 3])| !(finite(p) && finite(v));
        if let Some(i) = snapshot.points.iter().zip(snapshot.velocities).position(bad) {
            let got = format!("{:?}, {:?}", snapshot.points[i], snapshot.velocities[i]);
            return refuse(OPERATION, format!("point {i} of snapshot {s}"), "finite", got);
        }
    }
    let distance = |s: usize| cosmology.comoving_distance(1.0 / snapshots[s].scale_factor - 1.0);
    let mut order: Vec<usize> = (0..snapshots.len()).collect();
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    if let Some(same) = order.windows(2).find(|w| distance(w[0]) == distance(w[1])) {
        let got = snapshots[same[0]].scale_factor.to_string();
        return refuse(OPERATION, "the scale factors".into(), "all different", format!("{got} twice"));
    }
    let ends = redshifts.map(|z| cosmology.comoving_distance(z));
    let middle = |w: &[usize]| 0.5 * (distance(w[0]) + distance(w[1]));
    let inner: Vec<f64> = order.windows(2).map(middle).collect();
    let edge = |i: usize| match i {
        0 => ends[0],
        i if i > inner.len() => ends[1],
        i => inner[i - 1].clamp(ends[0], ends[1]),
    };
    let each = order.iter().enumerate().map(|(i, &s)| (s, [edge(i), edge(i + 1)]));
    Ok(each.filter(|(_, r)| r[0] < r[1]).collect())
}

/// Whether a box from `corner` has no point between two distances from the origin.
fn misses(corner: [f64; 3], side: f64, [near, far]: [f64; 2]) -> bool {
    let least = corner.map(|x| x.max(-x - side).max(0.0));
    let most = corner.map(|x| x.abs().max((x + side).abs()));
    // Rounding must not lose a point at the rim.
    length(least) > far * (1.0 + 1e-9) || length(most) < near * (1.0 - 1e-9)
}

/// Redshifts by comoving distance: a table, then Newton's steps.
struct Distances {
    table: Vec<(f64, f64)>,
}

impl Distances {
    fn new(cosmology: &Cosmology, last: f64) -> Self {
        const STEPS: u32 = 512;
        let z = |i: u32| last * f64::from(i) / f64::from(STEPS);
        Self { table: (0..=STEPS).map(|i| (cosmology.comoving_distance(z(i)), z(i))).collect() }
    }

    fn redshift(&self, cosmology: &Cosmology, r: f64) -> f64 {
        let above = self.table.partition_point(|t| t.0 <= r).clamp(1, self.table.len() - 1);
        let ((r0, z0), (r1, z1)) = (self.table[above - 1], self.table[above]);
        let mut z = z0 + (z1 - z0) * (r - r0) / (r1 - r0);
        for _ in 0..2 {
            let slope = SPEED_OF_LIGHT / 100.0 / cosmology.e(1.0 / (1.0 + z));
            z -= (cosmology.comoving_distance(z) - r) / slope;
        }
        z
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    fn uniform(count: usize, side: f64, seed: u64) -> Vec<[f64; 3]> {
        let mut rng = Rng::new(seed);
        (0..count).map(|_| [0; 3].map(|_| side * rng.uniform())).collect()
    }

    #[test]
    fn every_point_is_where_and_when_it_is_seen() {
        let (side, cosmology) = (100.0, Cosmology::camels());
        let (now, then) = (uniform(300, side, 1), uniform(200, side, 2));
        let (v_now, v_then) = (vec![[300.0, 0.0, -50.0]; 300], vec![[0.0; 3]; 200]);
        let snapshots = [
            LightConeSnapshot { scale_factor: 0.93, points: &then, velocities: &v_then },
            LightConeSnapshot { scale_factor: 1.0, points: &now, velocities: &v_now },
        ];
        let observer = [20.0, 90.0, 50.0];
        let periodic = PeriodicBox::new(side).unwrap();
        let cone = light_cone(&snapshots, periodic, observer, &cosmology, [0.01, 0.07]).unwrap();
        let border = 0.5 * cosmology.comoving_distance(1.0 / 0.93 - 1.0);
        let shell =
            |a: f64, b: f64| 4.0 / 3.0 * std::f64::consts::PI * (b.powi(3) - a.powi(3)) / side.powi(3);
        let ends = [0.01, 0.07].map(|z| cosmology.comoving_distance(z));
        let expected = 300.0 * shell(ends[0], border) + 200.0 * shell(border, ends[1]);
        assert!((cone.points.len() as f64 / expected - 1.0).abs() < 0.05, "{} {expected}", cone.points.len());
        for (i, p) in cone.points.iter().enumerate() {
            let (which, from) = cone.source[i];
            let (r, snapshot) = (length(*p), &snapshots[which]);
            assert_eq!(which == 1, r < border);
            assert!((cosmology.comoving_distance(cone.redshift[i]) / r - 1.0).abs() < 1e-10);
            for a in 0..3 {
                let off = periodic.separation(p[a] + observer[a] - snapshot.points[from][a]);
                assert!(off.abs() < 1e-9);
            }
            let v = dot(snapshot.velocities[from], *p) / r;
            let expected = (1.0 + cone.redshift[i]) * (1.0 + v / SPEED_OF_LIGHT) - 1.0;
            assert!((cone.observed_redshift[i] - expected).abs() < 1e-14);
        }
        // No point twice at one place.
        let mut places: Vec<[i64; 3]> = cone.points.iter().map(|p| p.map(|x| (x * 1e6) as i64)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), cone.points.len());
    }

    #[test]
    fn redshift_space_moves_by_v_over_a_h() {
        let cosmology = Cosmology::camels();
        let points = [[60.0, 0.0, 0.0]];
        let snapshot =
            LightConeSnapshot { scale_factor: 1.0, points: &points, velocities: &[[200.0, 0.0, 0.0]] };
        let periodic = PeriodicBox::new(130.0).unwrap();
        let cone = light_cone(&[snapshot], periodic, [0.0; 3], &cosmology, [0.0, 0.0205]).unwrap();
        assert_eq!(cone.points, [[60.0, 0.0, 0.0]]);
        let a = 1.0 / (1.0 + cone.redshift[0]);
        let expected = 60.0 + 200.0 / (100.0 * a * cosmology.e(a));
        assert!((cone.redshift_space(&cosmology)[0][0] - expected).abs() < 1e-3);
    }

    #[test]
    fn absurd_cones_are_refused() {
        let points = [[1.0; 3]];
        let good = LightConeSnapshot { scale_factor: 1.0, points: &points, velocities: &[[0.0; 3]] };
        let cosmology = Cosmology::camels();
        let told = |snapshots: &[LightConeSnapshot<'_>], redshifts, side: f64| {
            let periodic = PeriodicBox::new(side).unwrap();
            light_cone(snapshots, periodic, [0.0; 3], &cosmology, redshifts).unwrap_err().to_string()
        };
        assert!(told(&[], [0.0, 0.1], 100.0).contains("snapshots"));
        assert!(told(&[good], [0.1, 0.0], 100.0).contains("redshifts"));
        assert!(told(&[good, good], [0.0, 0.1], 100.0).contains("twice"));
        assert!(told(&[good], [0.0, 1.0], 10.0).contains("boxes"));
        let bad = LightConeSnapshot { velocities: &[[f64::NAN; 3]], ..good };
        assert!(told(&[bad], [0.0, 0.1], 100.0).contains("point 0 of snapshot 0"));
        let short = LightConeSnapshot { velocities: &[], ..good };
        assert!(told(&[short], [0.0, 0.1], 100.0).contains("velocities"));
        let absurd = LightConeSnapshot { scale_factor: 0.0, ..good };
        assert!(told(&[absurd], [0.0, 0.1], 100.0).contains("scale factor"));
    }
}
