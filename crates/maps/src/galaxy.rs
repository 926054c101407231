//! A galaxy as it is shown: centred, unwrapped, cut to an aperture, turned to a chosen view.

use halocast_core::{GroupCatalogue, PeriodicBox, Rng, Species};
use serde::{Deserialize, Serialize};

use crate::rotation::{cross, dot, unit};
use crate::{Error, Result, Rotation};

/// Which subhalos of a catalogue become galaxies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// The fewest particles of `counted` species together: 10,000 in the sets of the talks.
    pub particles: u64,
    /// The species whose particles count; all when empty.
    pub counted: Vec<Species>,
    /// The range of `SubhaloMass`, in the catalogue's unit.
    pub mass: std::ops::Range<f64>,
    /// Whether only the first subhalo of each group is taken.
    pub centrals_only: bool,
}

impl Default for Selection {
    /// At least 10,000 particles of any kind, of any mass.
    fn default() -> Self {
        Self { particles: 10_000, counted: Vec::new(), mass: 0.0..f64::INFINITY, centrals_only: false }
    }
}

/// The numbers of the subhalos that fit, in the order of the catalogue, from `SubhaloLenType`, `SubhaloMass`, and
/// `GroupFirstSub`. Subhalos that `SubhaloFlag` marks as not of cosmological origin are left out.
///
/// # Errors
/// [`Error::Core`] for an absent field; [`Error::Value`] when `SubhaloLenType` is not `[subhalo, 6]`.
pub fn select_subhalos(catalogue: &GroupCatalogue, selection: &Selection) -> Result<Vec<usize>> {
    let subhalos = &catalogue.subhalos;
    if subhalos.is_empty() {
        return Ok(Vec::new());
    }
    let lengths = subhalos.field("SubhaloLenType")?.values.to_f64();
    if lengths.shape() != [subhalos.len(), 6] {
        return Err(Error::Value {
            operation: "selection of subhalos",
            what: "the shape of SubhaloLenType".into(),
            expected: "[subhalo, 6]",
            got: format!("{:?}", lengths.shape()),
        });
    }
    let masses = subhalos.scalars("SubhaloMass")?;
    let flags = subhalos.scalars("SubhaloFlag").ok();
    let counted = |s: &Species| selection.counted.is_empty() || selection.counted.contains(s);
    let particles = |i: usize| -> f64 {
        Species::ALL.iter().filter(|s| counted(s)).map(|s| lengths[[i, s.number()]]).sum()
    };
    let mut central = vec![!selection.centrals_only; subhalos.len()];
    if selection.centrals_only {
        for first in catalogue.groups.scalars("GroupFirstSub")? {
            // Groups without subhalos have -1.
            if first >= 0.0 && (first as usize) < central.len() {
                central[first as usize] = true;
            }
        }
    }
    let fits = |&i: &usize| {
        central[i]
            && flags.as_ref().is_none_or(|f| f[i] != 0.0)
            && particles(i) >= selection.particles as f64
            && selection.mass.contains(&masses[i])
    };
    Ok((0..subhalos.len()).filter(fits).collect())
}

/// Positions at their periodic image nearest to `centre`, so that an object across the faces of the box is whole.
///
/// ```
/// use halocast_core::PeriodicBox;
/// use halocast_maps::unwrap_positions;
/// let mut positions = [[0.2, 5.0, 9.9]];
/// unwrap_positions(&mut positions, [9.9, 5.0, 0.1], PeriodicBox::new(10.0)?);
/// assert!((positions[0][0] - 10.2).abs() < 1e-12 && (positions[0][2] + 0.1).abs() < 1e-12);
/// # Ok::<(), halocast_core::Error>(())
/// ```
pub fn unwrap_positions(positions: &mut [[f64; 3]], centre: [f64; 3], cube: PeriodicBox) {
    for p in positions {
        *p = std::array::from_fn(|a| centre[a] + cube.separation(p[a] - centre[a]));
    }
}

/// The radius about `centre` that holds half the mass, midway between the last particle within half and the next. O(N log N).
///
/// # Errors
/// [`Error::Length`]; [`Error::Value`] without mass.
pub fn half_mass_radius(positions: &[[f64; 3]], masses: &[f64], centre: [f64; 3]) -> Result<f64> {
    let operation = "half-mass radius";
    if masses.len() != positions.len() {
        let (what, expected, got) = ("the masses", positions.len(), masses.len());
        return Err(Error::Length { operation, what, expected, got });
    }
    let total: f64 = masses.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        let what = "the total mass".into();
        return Err(Error::Value {
            operation,
            what,
            expected: "finite and positive",
            got: total.to_string(),
        });
    }
    let mut shells: Vec<(f64, f64)> = positions
        .iter()
        .zip(masses)
        .map(|(p, &m)| {
            let d: [f64; 3] = std::array::from_fn(|a| p[a] - centre[a]);
            (dot(d, d).sqrt(), m)
        })
        .collect();
    shells.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let mut last = 0.0;
    for (r, m) in shells {
        if sum + m > 0.5 * total {
            return Ok(if sum > 0.0 { 0.5 * (last + r) } else { r });
        }
        (sum, last) = (sum + m, r);
    }
    Ok(last)
}

/// How a galaxy's own axes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// The third axis is along the angular momentum L = sum m (r x v) about the centre of mass and its velocity.
    #[default]
    AngularMomentum,
    /// The axes of the tensor sum m r r^T, the longest first.
    Inertia,
}

/// From where a galaxy is seen along z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// The disc lies in the image.
    #[default]
    FaceOn,
    /// The disc's axis is the image's y axis.
    EdgeOn,
}

/// The rotation that shows particles face-on or edge-on along z. Turn every species of one galaxy by the same.
///
/// # Errors
/// [`Error::Length`]; [`Error::Value`] where the particles have no mass, or no angular momentum when it is asked for.
pub fn orient(
    positions: &[[f64; 3]],
    velocities: &[[f64; 3]],
    masses: &[f64],
    principal: Principal,
    aspect: Aspect,
) -> Result<Rotation> {
    let operation = "orientation";
    let needed = [("the masses", masses.len()), ("the velocities", velocities.len())];
    for (what, got) in needed.into_iter().take(if principal == Principal::Inertia { 1 } else { 2 }) {
        if got != positions.len() {
            return Err(Error::Length { operation, what, expected: positions.len(), got });
        }
    }
    let value = |what: &str, got: String| {
        Err(Error::Value { operation, what: what.into(), expected: "finite and not zero", got })
    };
    let total: f64 = masses.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return value("the total mass", total.to_string());
    }
    let mean = |vectors: &[[f64; 3]]| -> [f64; 3] {
        std::array::from_fn(|a| vectors.iter().zip(masses).map(|(v, m)| m * v[a]).sum::<f64>() / total)
    };
    let centre = mean(positions);
    let from_centre = |p: &[f64; 3]| -> [f64; 3] { std::array::from_fn(|a| p[a] - centre[a]) };
    let face_on = match principal {
        Principal::AngularMomentum => {
            let bulk = mean(velocities);
            let mut l = [0.0; 3];
            for ((p, v), m) in positions.iter().zip(velocities).zip(masses) {
                let part = cross(from_centre(p), std::array::from_fn(|a| v[a] - bulk[a]));
                (0..3).for_each(|a| l[a] += m * part[a]);
            }
            if unit(l).is_none() {
                return value("the angular momentum", format!("{l:?}"));
            }
            Rotation::between(l, [0.0, 0.0, 1.0])
        }
        Principal::Inertia => {
            let mut tensor = [[0.0; 3]; 3];
            for (p, m) in positions.iter().zip(masses) {
                let d = from_centre(p);
                (0..9).for_each(|i| tensor[i / 3][i % 3] += m * d[i / 3] * d[i % 3]);
            }
            let (_, axes) = symmetric_eigen(tensor);
            Rotation::from_axes(axes[0], axes[1])
        }
    };
    Ok(match aspect {
        Aspect::FaceOn => face_on,
        // z, the disc's axis, to y.
        Aspect::EdgeOn => face_on.then(&Rotation::euler(-90.0, 0.0, 0.0)),
    })
}

/// The eigenvalues, the largest first, and unit eigenvectors of a symmetric matrix, by Jacobi's rotations.
fn symmetric_eigen(mut a: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut v = Rotation::IDENTITY.rows;
    for _ in 0..60 {
        let (p, q) = [(0, 1), (0, 2), (1, 2)]
            .into_iter()
            .max_by(|&(i, j), &(k, l)| a[i][j].abs().total_cmp(&a[k][l].abs()))
            .unwrap_or((0, 1));
        if a[p][q].abs() <= 1e-15 * (a[0][0].abs() + a[1][1].abs() + a[2][2].abs()) {
            break;
        }
        let (s, c) = (0.5 * (2.0 * a[p][q]).atan2(a[p][p] - a[q][q])).sin_cos();
        for k in 0..3 {
            (a[k][p], a[k][q]) = (c * a[k][p] + s * a[k][q], c * a[k][q] - s * a[k][p]);
            (v[k][p], v[k][q]) = (c * v[k][p] + s * v[k][q], c * v[k][q] - s * v[k][p]);
        }
        for k in 0..3 {
            (a[p][k], a[q][k]) = (c * a[p][k] + s * a[q][k], c * a[q][k] - s * a[p][k]);
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    (order.map(|i| a[i][i]), order.map(|i| [v[0][i], v[1][i], v[2][i]]))
}

/// The three views (theta, phi) in degrees that skais-mapper takes of a galaxy beside the unturned one, drawn from our own
/// generator: of a in [25, 180), b in [25, 90), c in [90, 270), and a + [20, 40), b + [70, 110), c + [40, 90), in whole
/// degrees, in pairs in this order. Not uniform on the sphere: for that take [`Rotation::random`].
pub fn skais_views(rng: &mut Rng) -> [[f64; 2]; 3] {
    let mut between = |low: usize, high: usize| (low + rng.below(high - low)) as f64;
    let [a, b, c] = [between(25, 180), between(25, 90), between(90, 270)];
    let [d, e, f] = [a + between(20, 40), b + between(70, 110), c + between(40, 90)];
    [[a, b], [c, d], [e, f]]
}

#[cfg(test)]
mod tests {
    use halocast_core::{Cosmology, FieldValues, Header, Table, Unit};
    use ndarray::{Array1, Array2};

    use super::*;

    /// A thin disc of radius 2 that turns about `axis`.
    fn disc(axis: [f64; 3], count: usize) -> (Vec<[f64; 3]>, Vec<[f64; 3]>, Vec<f64>) {
        let mut rng = Rng::new(5);
        let tilt = Rotation::between([0.0, 0.0, 1.0], axis);
        let mut out = (Vec::new(), Vec::new(), vec![1.0; count]);
        for _ in 0..count {
            let (r, angle) = (2.0 * rng.uniform().sqrt(), std::f64::consts::TAU * rng.uniform());
            // Longer along x, so that the axes of inertia are three.
            let flat = [1.5 * r * angle.cos(), r * angle.sin(), 0.05 * rng.normal()];
            let spin = [-r * angle.sin(), 1.5 * r * angle.cos(), 0.0];
            let at = tilt.apply(flat);
            out.0.push(std::array::from_fn(|a| 30.0 + at[a]));
            out.1.push(std::array::from_fn(|a| 100.0 + tilt.apply(spin)[a]));
        }
        out
    }

    #[test]
    fn discs_are_seen_face_on_and_edge_on() {
        let (positions, velocities, masses) = disc([0.3, -0.8, 0.5], 3000);
        let spread = |rotation: &Rotation, axis: usize| {
            let turned: Vec<f64> = positions.iter().map(|p| rotation.apply(*p)[axis]).collect();
            let mean = turned.iter().sum::<f64>() / turned.len() as f64;
            (turned.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / turned.len() as f64).sqrt()
        };
        for principal in [Principal::AngularMomentum, Principal::Inertia] {
            let view = |aspect| orient(&positions, &velocities, &masses, principal, aspect).unwrap();
            let thin = |aspect, axis| spread(&view(aspect), axis) < 0.1;
            assert!(thin(Aspect::FaceOn, 2) && !thin(Aspect::FaceOn, 0) && !thin(Aspect::FaceOn, 1));
            assert!(thin(Aspect::EdgeOn, 1) && !thin(Aspect::EdgeOn, 0) && !thin(Aspect::EdgeOn, 2));
        }
        let face = orient(&positions, &velocities, &masses, Principal::Inertia, Aspect::FaceOn).unwrap();
        assert!(spread(&face, 0) > spread(&face, 1));
        let l = orient(&positions, &velocities, &masses, Principal::AngularMomentum, Aspect::FaceOn).unwrap();
        assert!(l.apply([0.3, -0.8, 0.5])[2] > 0.98);
    }

    #[test]
    fn eigenvectors_are_those_of_the_matrix() {
        let a = [[2.0, -1.0, 0.5], [-1.0, 3.0, 0.2], [0.5, 0.2, -1.0]];
        let (values, vectors) = symmetric_eigen(a);
        assert!(values[0] >= values[1] && values[1] >= values[2]);
        for (value, v) in values.into_iter().zip(vectors) {
            for i in 0..3 {
                assert!((dot(a[i], v) - value * v[i]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn half_the_mass_lies_within() {
        // A uniform sphere: r_1/2 = R / 2^(1/3).
        let mut rng = Rng::new(7);
        let mut positions = Vec::new();
        while positions.len() < 20_000 {
            let p: [f64; 3] = [0; 3].map(|_| 2.0 * rng.uniform() - 1.0);
            if dot(p, p) < 1.0 {
                positions.push(p);
            }
        }
        let found = half_mass_radius(&positions, &vec![1.0; positions.len()], [0.0; 3]).unwrap();
        assert!((found / 0.5f64.cbrt() - 1.0).abs() < 0.01);
        assert!(half_mass_radius(&positions, &[1.0], [0.0; 3]).is_err());
        assert!(half_mass_radius(&[], &[], [0.0; 3]).is_err());
    }

    #[test]
    fn views_are_in_their_ranges() {
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let [[a, b], [c, d], [e, f]] = skais_views(&mut rng);
            assert!((25.0..180.0).contains(&a) && (25.0..90.0).contains(&b) && (90.0..270.0).contains(&c));
            assert!((20.0..40.0).contains(&(d - a)) && (70.0..110.0).contains(&(e - b)));
            assert!((40.0..90.0).contains(&(f - c)));
        }
    }

    #[test]
    fn subhalos_are_chosen_by_number_mass_and_place() {
        let mut subhalos = Table::new("Subhalo", 4);
        let lengths =
            Array2::from_shape_fn((4, 6), |(i, t)| [9000, 20_000, 20_000, 50][i] * u64::from(t == 1));
        subhalos
            .insert("SubhaloLenType", FieldValues::U64(lengths.into_dyn()), Unit::dimensionless())
            .unwrap();
        let masses = Array1::from(vec![1.0f32, 2.0, 3.0, 4.0]).into_dyn();
        subhalos.insert("SubhaloMass", FieldValues::F32(masses), Unit::msun_h_1e10()).unwrap();
        let mut groups = Table::new("Group", 2);
        let first = Array1::from(vec![1i64, -1]).into_dyn();
        groups.insert("GroupFirstSub", FieldValues::I64(first), Unit::dimensionless()).unwrap();
        let header = Header {
            box_size: 1.0,
            time: 1.0,
            redshift: 0.0,
            cosmology: Cosmology::camels(),
            mass_table: [0.0; 6],
            promised: [0; 6],
            mock: false,
        };
        let catalogue = GroupCatalogue { header, groups, subhalos, warnings: vec![] };
        let chosen = |selection: Selection| select_subhalos(&catalogue, &selection).unwrap();
        assert_eq!(chosen(Selection::default()), [1, 2]);
        assert_eq!(chosen(Selection { mass: 2.5..9.0, ..Default::default() }), [2]);
        assert_eq!(chosen(Selection { centrals_only: true, ..Default::default() }), [1]);
        assert_eq!(chosen(Selection { counted: vec![Species::Gas], ..Default::default() }), [0usize; 0]);
    }
}
