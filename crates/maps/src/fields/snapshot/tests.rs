use std::collections::BTreeMap;

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, RHO_CRITICAL, Rng};
use ndarray::{Array1, Array2};

use super::*;
use crate::{Axis, Method, Region, Rotation};

const COUNT: usize = 4096;
/// 10 Mpc/h.
const SIDE: f64 = 10_000.0;
/// Cell mass in 10^10 Msun/h, and the density that fills the box.
const MASS: f64 = 0.3;

fn ones(value: f64) -> FieldValues {
    FieldValues::F64(Array1::from_elem(COUNT, value).into_dyn())
}

/// A uniform box: a lattice of 16^3 cells, every one the same.
fn uniform(a: f64) -> Snapshot {
    let mut gas = ParticleSet::new(Species::Gas, COUNT);
    let at = |i: usize, axis: usize| ([i / 256, i / 16 % 16, i % 16][axis] as f64 + 0.5) / 16.0 * SIDE;
    let coordinates = Array2::from_shape_fn((COUNT, 3), |(i, axis)| at(i, axis));
    let density = MASS * COUNT as f64 / SIDE.powi(3);
    let density_unit = Unit::new(
        "(1e10 Msun/h)/(ckpc/h)^3",
        Unit::msun_h_1e10().to_cgs / Unit::kpc_h().to_cgs.powi(3),
        -3.0,
        2.0,
    );
    let plain = Unit::dimensionless();
    let mut put = |name: &str, values, unit: &Unit| gas.insert(name, values, unit.clone()).unwrap();
    put("Coordinates", FieldValues::F64(coordinates.into_dyn()), &Unit::kpc_h());
    put("Masses", ones(MASS), &Unit::msun_h_1e10());
    put("Density", ones(density), &density_unit);
    put("InternalEnergy", ones(1000.0), &Unit::new("(km/s)^2", 1e10, 0.0, 0.0));
    put("ElectronAbundance", ones(1.157), &plain);
    put("NeutralHydrogenAbundance", ones(0.25), &plain);
    put("StarFormationRate", ones(0.0), &Unit::new("Msun/yr", MSUN_PER_YEAR, 0.0, 0.0));
    put("GFM_Metallicity", ones(0.0127), &plain);
    let unit = Unit::new("(km/s)^2/a", 1e10, -1.0, 0.0);
    put("Potential", ones(-500.0), &unit);
    let vectors =
        |v: [f64; 3]| FieldValues::F64(Array2::from_shape_fn((COUNT, 3), |(_, axis)| v[axis]).into_dyn());
    put("Velocities", vectors([3.0, 0.0, 4.0]), &Unit::km_s_sqrt_a());
    let (mass, length): (f64, f64) = (1.989e43, 3.085678e21);
    let magnetic = (mass / length).sqrt() * 1e5 / length;
    put("MagneticField", vectors([0.0, 3.0, 4.0]), &Unit::new("", magnetic, -2.0, 1.0));
    let metals = [0.76, 0.23, 0.0, 0.0, 5e-3, 0.0, 1e-3, 0.0, 2e-3, 2e-3];
    let metals = Array2::from_shape_fn((COUNT, 10), |(_, m)| metals[m]);
    put("GFM_Metals", FieldValues::F64(metals.into_dyn()), &plain);
    let header = Header {
        box_size: SIDE,
        time: a,
        redshift: 1.0 / a - 1.0,
        cosmology: Cosmology::illustris_tng(),
        mass_table: [0.0; 6],
        promised: [COUNT as u64, 0, 0, 0, 0, 0],
        mock: false,
    };
    Snapshot { header, sets: BTreeMap::from([(Species::Gas, gas)]), warnings: vec![] }
}

fn options() -> ProjectOptions {
    ProjectOptions { grid: 16, method: Method::Ngp, ..Default::default() }
}

/// The value of a map that is the same everywhere.
fn level(snapshot: &Snapshot, quantity: Quantity, fields: &FieldOptions) -> f64 {
    let map = project_field(snapshot, quantity, &options(), fields).unwrap();
    let first = map.values[[0, 0]];
    assert!(map.values.iter().all(|v| (v / first - 1.0).abs() < 1e-5), "{quantity} is not uniform");
    f64::from(first)
}

fn close(a: f64, b: f64) {
    assert!((a / b - 1.0).abs() < 2e-5, "{a} and {b}");
}

#[test]
fn a_uniform_box_gives_the_closed_forms() {
    for a in [1.0, 0.5] {
        let snapshot = uniform(a);
        let h = snapshot.header.cosmology.h;
        let of = |quantity| level(&snapshot, quantity, &FieldOptions::default());
        // Msun/h and Mpc/h.
        let rho = MASS * 1e10 * COUNT as f64 / 1000.0;
        let sigma = rho * 10.0;
        close(of(Quantity::Gas), sigma);
        close(of(Quantity::Total), sigma);
        close(of(Quantity::Hi), 0.76 * 0.25 * sigma);
        let t21 = 189.0 * h / (a * a * snapshot.header.cosmology.e(a)) * 0.76 * 0.25 * rho / RHO_CRITICAL;
        close(of(Quantity::Brightness21cm), t21);
        close(of(Quantity::Temperature), 4.75279e4);
        // 2/3 x 1000 (km/s)^2 x the density in Msun/h and kpc/h.
        close(of(Quantity::Pressure), 2.0 / 3.0 * 1000.0 * rho * 1e-9);
        close(of(Quantity::Metallicity), 0.0127);
        close(of(Quantity::GasSpeed), 5.0 * a.sqrt());
        close(of(Quantity::LineOfSightVelocity), 4.0 * a.sqrt());
        close(of(Quantity::Potential), -500.0 / a);
        close(
            of(Quantity::MagneticField),
            5.0 * 2.6019e-6 * h / (a * a) * (4.0 * std::f64::consts::PI).sqrt(),
        );
        // Electrons: n a^3 / h^2 along 10 Mpc/h, with the mass in g of the documentation of units.
        let grams = rho * Unit::msun_h().to_cgs / Unit::mpc_h().to_cgs.powi(3);
        close(of(Quantity::Electrons), 1.157 * 0.76 * grams / crate::fields::PROTON_MASS * 10.0);
    }
}

#[test]
fn slabs_of_a_uniform_box_are_as_bright_as_it() {
    let snapshot = uniform(1.0);
    let bright = |slab| {
        let options = ProjectOptions { slab, ..options() };
        let map = project_field(&snapshot, Quantity::Brightness21cm, &options, &FieldOptions::default());
        f64::from(map.unwrap().values[[3, 3]])
    };
    close(bright(Some([0.0, 5.0])), bright(None));
    close(bright(Some([5.0, 7.5])), bright(None));
}

#[test]
fn conventions_can_be_chosen() {
    let snapshot = uniform(1.0);
    let b = |magnetic| {
        level(&snapshot, Quantity::MagneticField, &FieldOptions { magnetic, ..Default::default() })
    };
    close(b(MagneticConvention::WithoutH), 5.0 * 2.6019e-6);
    close(b(MagneticConvention::SkaisMapper), 5.0 * 2.2149e-5);
    let hi = |fields| level(&snapshot, Quantity::Hi, &fields);
    let plain = FieldOptions { neutral: Neutral::Stored, molecular: Molecular::None, ..Default::default() };
    close(hi(plain), hi(FieldOptions::default()));
    close(hi(FieldOptions { hydrogen_fraction: Some(0.38), ..plain }), 0.5 * hi(plain));
    assert!(hi(FieldOptions { neutral: Neutral::Rahmati, ..plain }) < 0.1 * hi(plain));
}

#[test]
fn vectors_turn_with_the_camera() {
    let snapshot = uniform(1.0);
    let seen = |quantity, axis, rotation| {
        let region = Region::Cube { centre: [5.0; 3], side: 6.0 };
        // Wide kernels, so that a turned lattice leaves no hole.
        let options =
            ProjectOptions { grid: 4, method: Method::Sph, region, axis, rotation, ..Default::default() };
        let map = project_field(&snapshot, quantity, &options, &FieldOptions::default()).unwrap();
        f64::from(map.values[[1, 1]])
    };
    let unit = seen(Quantity::MagneticField, Axis::Z, None) / 5.0;
    // B = (0, 3, 4), v = (3, 0, 4).
    close(seen(Quantity::MagneticY, Axis::Z, None) / unit, 3.0);
    close(seen(Quantity::MagneticZ, Axis::Z, None) / unit, 4.0);
    close(seen(Quantity::MagneticX, Axis::X, None) / unit, 3.0);
    close(seen(Quantity::MagneticY, Axis::X, None) / unit, 4.0);
    close(seen(Quantity::LineOfSightVelocity, Axis::X, None), 3.0);
    let turn = Some(Rotation::euler(90.0, 0.0, 0.0));
    // y becomes z, z becomes -y.
    close(seen(Quantity::MagneticZ, Axis::Z, turn) / unit, 3.0);
    close(seen(Quantity::MagneticY, Axis::Z, turn) / unit, -4.0);
    close(seen(Quantity::MagneticField, Axis::Z, Some(Rotation::random(&mut Rng::new(1)))) / unit, 5.0);
}

#[test]
fn wind_is_no_star_and_few_stars_are_points() {
    let mut snapshot = uniform(1.0);
    let mut stars = ParticleSet::new(Species::Stars, 3);
    let at = Array2::from_elem((3, 3), 5000.0).into_dyn();
    stars.insert("Coordinates", FieldValues::F64(at), Unit::kpc_h()).unwrap();
    let values = |v: Vec<f64>| FieldValues::F64(Array1::from(v).into_dyn());
    stars.insert("Masses", values(vec![1.0, 2.0, 4.0]), Unit::msun_h_1e10()).unwrap();
    stars.insert("GFM_StellarFormationTime", values(vec![0.5, -1.0, 0.9]), Unit::dimensionless()).unwrap();
    snapshot.sets.insert(Species::Stars, stars);
    let mass = |quantity, method| {
        let options = ProjectOptions { method, ..options() };
        let map = project_field(&snapshot, quantity, &options, &FieldOptions::default()).unwrap();
        map.values.iter().map(|&v| f64::from(v)).sum::<f64>() * map.pixel_area() / 1e10
    };
    close(mass(Quantity::Stars, Method::Ngp), 5.0);
    close(mass(Quantity::Total, Method::Sphere), 7.0 + MASS * COUNT as f64);
}

#[test]
fn the_ratio_of_metals_is_that_of_their_masses() {
    let mut snapshot = uniform(1.0);
    let gas = snapshot.sets.get_mut(&Species::Gas).unwrap();
    let metal = |i: usize, m: usize| match (m, i % 2) {
        (6, _) => 1e-3,
        (8, 0) => 0.0,
        (8, _) => 4e-3,
        _ => 0.1,
    };
    let metals = Array2::from_shape_fn((COUNT, 10), |(i, m)| metal(i, m));
    gas.insert("GFM_Metals", FieldValues::F64(metals.into_dyn()), Unit::dimensionless()).unwrap();
    // Cells without iron spoil nothing.
    close(level(&snapshot, Quantity::MagnesiumOverIron, &FieldOptions::default()), 0.5);
}

#[test]
fn every_field_of_the_camels_maps_says_what_it_lacks() {
    let snapshot = uniform(1.0);
    for quantity in Quantity::CMD {
        match project_field(&snapshot, quantity, &options(), &FieldOptions::default()) {
            Ok(map) => assert!(map.require_finite().is_ok() && map.field == quantity.names()[1]),
            Err(error) => assert!(error.to_string().contains("the snapshot has no particles"), "{error}"),
        }
    }
    let mut bare = uniform(1.0);
    let mut gas = ParticleSet::new(Species::Gas, COUNT);
    for name in ["Coordinates", "Masses"] {
        let field = bare.set(Species::Gas).unwrap().field(name).unwrap().clone();
        gas.insert(name, field.values, field.unit).unwrap();
    }
    bare.sets.insert(Species::Gas, gas);
    let lacks = |quantity| {
        project_field(&bare, quantity, &options(), &FieldOptions::default()).unwrap_err().to_string()
    };
    assert!(lacks(Quantity::Temperature).contains("InternalEnergy"));
    assert!(lacks(Quantity::MagneticField).contains("MagneticField"));
    assert!(lacks(Quantity::Hi).contains("Density"));
    assert!(project_field(&bare, Quantity::Gas, &options(), &FieldOptions::default()).is_ok());
}

#[test]
fn channels_follow_the_velocity() {
    use crate::fields::channel_maps;
    let snapshot = uniform(1.0);
    let options = ProjectOptions { grid: 16, method: Method::Ngp, ..Default::default() };
    let fields = FieldOptions::default();
    let whole = level(&snapshot, Quantity::Brightness21cm, &fields);
    let channels = channel_maps(&snapshot, 4, &options, &fields).unwrap();
    // A lattice that moves as one is as bright in every channel, and moves by 4 km/s / (100 km/s/Mpc).
    for channel in &channels {
        close(f64::from(channel.map.values[[5, 5]]), whole);
    }
    // The nearest channel is the least redshifted: 10 Mpc/h are 1000 km/s.
    let band = channels[0].frequency - channels[3].frequency;
    close(band / 3.0, channels[0].width);
    close(4.0 * channels[0].width / crate::telescope::line_frequency(0.0), 1000.0 / 299_792.458);
    // Cells at 2.1 Mpc/h that recede by 500 km/s are received from 7.1 Mpc/h.
    let mut moving = uniform(1.0);
    let gas = moving.sets.get_mut(&Species::Gas).unwrap();
    let vector = |v: [f64; 3]| FieldValues::F64(Array2::from_shape_fn((COUNT, 3), |(_, a)| v[a]).into_dyn());
    gas.insert("Coordinates", vector([5000.0, 5000.0, 2100.0]), Unit::kpc_h()).unwrap();
    gas.insert("Velocities", vector([0.0, 0.0, 500.0]), Unit::km_s_sqrt_a()).unwrap();
    let lit = |options: &ProjectOptions| -> Vec<usize> {
        let channels = channel_maps(&moving, 10, options, &fields).unwrap();
        (0..10).filter(|&c| channels[c].map.values.sum() > 0.0).collect()
    };
    assert_eq!(lit(&options), [7]);
    let region = Region::Cube { centre: [5.0, 5.0, 2.0], side: 4.0 };
    assert!(lit(&ProjectOptions { region, ..options }).is_empty());
    assert!(channel_maps(&moving, 0, &options, &fields).is_err());
    assert!(
        channel_maps(&moving, 2, &ProjectOptions { slab: Some([0.0, 1.0]), ..options }, &fields).is_err()
    );
}
