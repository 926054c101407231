//! Clouds of particles: what a point carries, and the changes that keep a cloud what it is.

use halocast_core::{Cloud, PeriodicBox, Rng, Snapshot, Species, Unit};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Error, Octahedral, Particles, Result, Rotation, particles, unwrap_positions};

/// What a point carries beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointFeature {
    /// Three columns `vx`, `vy`, `vz`: the peculiar velocity in km/s. With the place it makes six-dimensional phase space.
    Velocity,
    /// `mass` in Msun/h.
    Mass,
    /// `potential` in (km/s)^2.
    Potential,
}

/// The columns of a velocity, which turn with the cloud.
const VELOCITY: [&str; 3] = ["vx", "vy", "vz"];

/// The cloud of a species: positions in comoving Mpc/h and the features asked for, in the order of the particles.
///
/// With `about`, a centre and a radius in Mpc/h, only the particles within that sphere, unwrapped and relative to the centre; the
/// cloud is then open. Without, the whole periodic box.
///
/// # Errors
/// [`Error::Core`] for an absent species or field; [`Error::Value`] for a radius that is not positive.
pub fn particle_cloud(
    snapshot: &Snapshot,
    species: Species,
    features: &[PointFeature],
    about: Option<([f64; 3], f64)>,
) -> Result<Cloud> {
    let set = snapshot.set(species)?;
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let side = snapshot.periodic_box()?.side() * Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h);
    let Particles { mut positions, masses, .. } = particles(snapshot, species)?;
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for feature in features {
        match feature {
            PointFeature::Velocity => {
                let factor = set.field("Velocities")?.unit.cgs_factor(a, h) / 1e5;
                let velocities = set.vectors("Velocities")?;
                for (axis, name) in VELOCITY.into_iter().enumerate() {
                    names.push(name.into());
                    columns.push(velocities.iter().map(|v| v[axis] * factor).collect());
                }
            }
            PointFeature::Mass => {
                names.push("mass".into());
                columns.push(masses.clone());
            }
            PointFeature::Potential => {
                let factor = set.field("Potential")?.unit.cgs_factor(a, h) / 1e10;
                names.push("potential".into());
                columns.push(set.scalars("Potential")?.into_iter().map(|p| p * factor).collect());
            }
        }
    }
    let mut kept: Vec<usize> = (0..positions.len()).collect();
    if let Some((centre, radius)) = about {
        if !(radius > 0.0 && radius.is_finite()) {
            let what = "the radius about the centre".to_owned();
            let (expected, got) = ("finite and positive", radius.to_string());
            return Err(Error::Value { operation: "cloud", what, expected, got });
        }
        unwrap_positions(&mut positions, centre, PeriodicBox::new(side)?);
        for p in &mut positions {
            (0..3).for_each(|a| p[a] -= centre[a]);
        }
        kept.retain(|&i| positions[i].iter().map(|x| x * x).sum::<f64>() <= radius * radius);
    }
    let places = Array2::from_shape_fn((kept.len(), 3), |(i, a)| positions[kept[i]][a] as f32);
    let mut cloud = Cloud::new(places, Unit::mpc_h(), about.is_none().then_some(side))?;
    cloud.features = Array2::from_shape_fn((kept.len(), columns.len()), |(i, c)| columns[c][kept[i]] as f32);
    cloud.feature_names = names;
    Ok(cloud)
}

/// A cloud turned about a point: places and velocities. An open cloud; a periodic one keeps its box only under
/// [`turn_box`].
pub fn rotate_cloud(cloud: &Cloud, rotation: &Rotation, centre: [f64; 3]) -> Cloud {
    let mut turned = moved(cloud, rotation, centre);
    turned.box_side = None;
    turned
}

/// A symmetry of the cube, applied to a cloud about the middle of its box, or about the origin where it has none: places and
/// velocities.
pub fn turn_box(cloud: &Cloud, element: Octahedral) -> Cloud {
    moved(cloud, &element.matrix(), [0.5 * cloud.box_side.unwrap_or(0.0); 3])
}

/// A cloud moved by a vector; in a periodic box what leaves one face enters at the other. Velocities stay.
///
/// # Errors
/// [`Error::Core`] for an absurd box; [`Error::Value`] for a vector that is not finite.
pub fn translate_cloud(cloud: &Cloud, by: [f64; 3]) -> Result<Cloud> {
    if by.iter().any(|x| !x.is_finite()) {
        let (what, got) = ("the translation".into(), format!("{by:?}"));
        return Err(Error::Value { operation: "cloud", what, expected: "finite", got });
    }
    let cube = cloud.box_side.map(PeriodicBox::new).transpose()?;
    let mut out = cloud.clone();
    for mut row in out.positions.rows_mut() {
        for a in 0..3 {
            let x = f64::from(row[a]) + by[a];
            // Rounding to f32 may bring the side itself back.
            let wrapped = cube.map_or(x, |b| b.wrap(x)) as f32;
            row[a] = if cube.is_some_and(|b| f64::from(wrapped) >= b.side()) { 0.0 } else { wrapped };
        }
    }
    Ok(out)
}

/// Random changes of a cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudAugmentation {
    /// A rotation uniform on SO(3) about the origin; for open clouds.
    pub rotation: bool,
    /// One of the 48 symmetries of the cube, reflections among them.
    pub octahedral: bool,
    /// A uniform translation; for periodic clouds.
    pub translation: bool,
}

impl CloudAugmentation {
    /// One changed cloud; the same generator gives the same.
    ///
    /// # Errors
    /// [`Error::Value`] for a rotation of a periodic cloud or a translation of an open one.
    pub fn apply(self, cloud: &Cloud, rng: &mut Rng) -> Result<Cloud> {
        let refuse = |what: &str, expected, got: &str| {
            Err(Error::Value { operation: "cloud", what: what.into(), expected, got: got.into() })
        };
        let mut out = cloud.clone();
        if self.octahedral {
            out = turn_box(&out, Octahedral::random(rng));
        }
        match (self.rotation, cloud.box_side) {
            (true, Some(_)) => return refuse("a rotated cloud", "open", "periodic"),
            (true, None) => out = rotate_cloud(&out, &Rotation::random(rng), [0.0; 3]),
            (false, _) => {}
        }
        match (self.translation, cloud.box_side) {
            (true, None) => return refuse("a translated cloud", "periodic", "open"),
            (true, Some(side)) => out = translate_cloud(&out, [0; 3].map(|_| side * rng.uniform()))?,
            (false, _) => {}
        }
        Ok(out)
    }
}

fn moved(cloud: &Cloud, rotation: &Rotation, centre: [f64; 3]) -> Cloud {
    let mut out = cloud.clone();
    for mut row in out.positions.rows_mut() {
        let from = std::array::from_fn(|a| f64::from(row[a]) - centre[a]);
        let turned = rotation.apply(from);
        (0..3).for_each(|a| row[a] = (turned[a] + centre[a]) as f32);
    }
    let column = |name: &str| cloud.feature_names.iter().position(|n| n == name);
    if let [Some(x), Some(y), Some(z)] = VELOCITY.map(column) {
        for mut row in out.features.rows_mut() {
            let turned = rotation.apply([x, y, z].map(|c| f64::from(row[c])));
            [x, y, z].into_iter().zip(turned).for_each(|(c, v)| row[c] = v as f32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use halocast_core::{Cosmology, FieldValues, Header, ParticleSet};
    use ndarray::Array1;

    use super::*;

    fn snapshot(count: usize) -> Snapshot {
        let mut rng = Rng::new(1);
        let mut set = ParticleSet::new(Species::DarkMatter, count);
        let mut vectors = |scale: f64| {
            FieldValues::F64(Array2::from_shape_fn((count, 3), |_| scale * rng.uniform()).into_dyn())
        };
        set.insert("Coordinates", vectors(10_000.0), Unit::kpc_h()).unwrap();
        set.insert("Velocities", vectors(100.0), Unit::km_s_sqrt_a()).unwrap();
        let potential = FieldValues::F32(Array1::from_elem(count, -3.0).into_dyn());
        set.insert("Potential", potential, Unit::new("(km/s)^2/a", 1e10, -1.0, 0.0)).unwrap();
        let header = Header {
            box_size: 10_000.0,
            time: 0.25,
            redshift: 3.0,
            cosmology: Cosmology::camels(),
            mass_table: [0.0, 2.0, 0.0, 0.0, 0.0, 0.0],
            promised: [0, count as u64, 0, 0, 0, 0],
            mock: false,
        };
        Snapshot { header, sets: BTreeMap::from([(Species::DarkMatter, set)]), warnings: vec![] }
    }

    const ALL: [PointFeature; 3] = [PointFeature::Velocity, PointFeature::Mass, PointFeature::Potential];

    fn energy(cloud: &Cloud) -> f32 {
        cloud.features.columns().into_iter().take(3).map(|c| c.mapv(|v| v * v).sum()).sum()
    }

    #[test]
    fn points_carry_what_was_asked() {
        let snapshot = snapshot(100);
        let cloud = particle_cloud(&snapshot, Species::DarkMatter, &ALL, None).unwrap();
        assert_eq!(cloud.feature_names, ["vx", "vy", "vz", "mass", "potential"]);
        assert_eq!((cloud.features[[7, 3]], cloud.features[[7, 4]]), (2e10, -12.0));
        assert_eq!(cloud.box_side, Some(10.0));
        let velocities = snapshot.set(Species::DarkMatter).unwrap().vectors("Velocities").unwrap();
        assert!((f64::from(cloud.features[[7, 1]]) - 0.5 * velocities[7][1]).abs() < 1e-4);
        let plain = particle_cloud(&snapshot, Species::DarkMatter, &[], None).unwrap();
        assert_eq!(plain.features.shape(), [100, 0]);
    }

    #[test]
    fn a_sphere_across_the_box_is_whole() {
        let snapshot = snapshot(2000);
        let sphere =
            |centre| particle_cloud(&snapshot, Species::DarkMatter, &ALL, Some((centre, 2.0))).unwrap();
        let corner = sphere([0.1, 9.9, 5.0]);
        // 4/3 pi 2^3 of 1000 Mpc^3: 67 of 2000, give or take five sigma.
        assert!((corner.len() as f64 - 67.0).abs() < 41.0);
        assert!(corner.positions.rows().into_iter().all(|r| r.mapv(|x| x * x).sum() <= 4.0001));
        assert_eq!(corner.box_side, None);
        assert!(particle_cloud(&snapshot, Species::DarkMatter, &ALL, Some(([0.0; 3], -1.0))).is_err());
    }

    #[test]
    fn distances_and_energies_are_kept() {
        let cloud = particle_cloud(&snapshot(50), Species::DarkMatter, &ALL, Some(([5.0; 3], 4.0))).unwrap();
        let distance = |c: &Cloud| (&c.positions.row(0) - &c.positions.row(1)).mapv(|x| x * x).sum();
        let augmentation = CloudAugmentation { rotation: true, octahedral: true, translation: false };
        for seed in 0..20 {
            let turned = augmentation.apply(&cloud, &mut Rng::new(seed)).unwrap();
            assert!((distance(&turned) / distance(&cloud) - 1.0).abs() < 1e-4);
            assert!((energy(&turned) / energy(&cloud) - 1.0).abs() < 1e-4);
            // r . v is kept when both turn.
            let product = |c: &Cloud| (0..3).map(|a| c.positions[[2, a]] * c.features[[2, a]]).sum::<f32>();
            assert!((product(&turned) - product(&cloud)).abs() < 1e-2 * energy(&cloud).sqrt());
            assert_eq!(turned.features.column(3), cloud.features.column(3));
        }
    }

    #[test]
    fn a_periodic_cloud_stays_in_its_box() {
        let cloud = particle_cloud(&snapshot(300), Species::DarkMatter, &ALL, None).unwrap();
        let augmentation = CloudAugmentation { rotation: false, octahedral: true, translation: true };
        let moved = augmentation.apply(&cloud, &mut Rng::new(3)).unwrap();
        assert!(moved.positions.iter().all(|x| (0.0..=10.0).contains(x)));
        let cube = PeriodicBox::new(10.0).unwrap();
        let point = |c: &Cloud, i: usize| std::array::from_fn(|a| f64::from(c.positions[[i, a]]));
        for i in 1..50 {
            let before = cube.distance(point(&cloud, 0), point(&cloud, i));
            assert!((cube.distance(point(&moved, 0), point(&moved, i)) - before).abs() < 1e-4);
        }
        let refused = CloudAugmentation { rotation: true, ..Default::default() };
        assert!(refused.apply(&cloud, &mut Rng::new(1)).unwrap_err().to_string().contains("periodic"));
        assert!(translate_cloud(&cloud, [f64::NAN, 0.0, 0.0]).is_err());
    }
}
