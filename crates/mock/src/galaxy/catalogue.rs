//! The group catalogue of galaxies: one group a galaxy, its subhalos below it.

use halocast_core::{FieldValues, GroupCatalogue, Table, Unit};
use ndarray::{Array1, Array2};

use super::profile::GRAVITY;
use super::snapshot::{Scale, header, place};
use super::{Galaxy, Point};
use crate::error::{Error, Result};

/// The particle types of the three kinds: dark matter, gas, stars.
const TYPES: [usize; 3] = [1, 0, 4];

/// One particle of a group.
struct Member {
    kind: usize,
    point: Point,
    mass: f64,
    star_formation: f64,
    metals: f64,
}

/// What a group or subhalo sums up, in physical units around the galaxy's centre.
struct Row {
    count: [i64; 6],
    mass: [f64; 6],
    centre: [f64; 3],
    centre_of_mass: [f64; 3],
    velocity: [f64; 3],
    dispersion: f64,
    spin: [f64; 3],
    half_mass_radius: f64,
    half_mass_radii: [f64; 6],
    vmax: [f64; 2],
    star_formation: f64,
    gas_metals: f64,
    star_metals: f64,
}

/// The catalogue of galaxies in this order. Fields have the names and units of IllustrisTNG; `SubhaloSpin` is in
/// (kpc/h)(km/s), physical.
pub(crate) fn catalogue(galaxies: &[&Galaxy]) -> Result<GroupCatalogue> {
    let Some(first) = galaxies.first() else {
        return Err(Error::Config {
            operation: "catalogue of galaxies",
            field: "galaxies",
            expected: "at least one".into(),
            got: "0".into(),
        });
    };
    let config = first.config;
    let scale = Scale::new(&config);
    let mut groups: Vec<(usize, Row)> = Vec::new();
    let mut subhalos: Vec<(usize, Row)> = Vec::new();
    let mut first_subhalos: Vec<i64> = Vec::new();
    for (g, galaxy) in galaxies.iter().enumerate() {
        first_subhalos.push(subhalos.len() as i64);
        let smooth = galaxy.dark.subhalos.first().map_or(galaxy.dark.points.len(), |s| s.start);
        let central = members(galaxy, 0..smooth, true);
        subhalos.push((g, Row::new(&central, [0.0; 3])));
        for range in &galaxy.dark.subhalos {
            let satellite = members(galaxy, range.clone(), false);
            subhalos.push((g, Row::new(&satellite, densest(&satellite))));
        }
        let all = members(galaxy, 0..galaxy.dark.points.len(), true);
        groups.push((g, Row::new(&all, [0.0; 3])));
    }

    let mut table = Table::new("Group", groups.len());
    let rows: Vec<(&Galaxy, &Row)> = groups.iter().map(|(g, row)| (galaxies[*g], row)).collect();
    shared(&mut table, "Group", &rows, &scale)?;
    let velocity =
        vectors(&rows, |g, r| std::array::from_fn(|i| scale.a * (r.velocity[i] + g.config.velocity[i])));
    put(&mut table, "GroupVel", velocity, Unit::new("km/s/a", 1e5, -1.0, 0.0))?;
    put(&mut table, "GroupFirstSub", whole(first_subhalos.iter().copied()), Unit::dimensionless())?;
    let ends = first_subhalos.iter().skip(1).copied().chain([subhalos.len() as i64]);
    let counts = whole(first_subhalos.iter().zip(ends).map(|(first, end)| end - first));
    put(&mut table, "GroupNsubs", counts, Unit::dimensionless())?;
    let masses = numbers(&rows, |g, _| g.config.halo_mass * 1e-10);
    put(&mut table, "Group_M_Crit200", masses, Unit::msun_h_1e10())?;
    put(&mut table, "Group_R_Crit200", numbers(&rows, |g, _| scale.length(g.config.r200())), Unit::kpc_h())?;
    let groups = table;

    let mut table = Table::new("Subhalo", subhalos.len());
    let rows: Vec<(&Galaxy, &Row)> = subhalos.iter().map(|(g, row)| (galaxies[*g], row)).collect();
    shared(&mut table, "Subhalo", &rows, &scale)?;
    let velocity = vectors(&rows, |g, r| std::array::from_fn(|i| r.velocity[i] + g.config.velocity[i]));
    put(&mut table, "SubhaloVel", velocity, speed())?;
    put(&mut table, "SubhaloVelDisp", numbers(&rows, |_, r| r.dispersion), speed())?;
    put(&mut table, "SubhaloVmax", numbers(&rows, |_, r| r.vmax[0]), speed())?;
    put(&mut table, "SubhaloVmaxRad", numbers(&rows, |_, r| scale.length(r.vmax[1])), Unit::kpc_h())?;
    let spin = Unit::new("(kpc/h)(km/s)", 1e5 * Unit::kpc_h().to_cgs, 0.0, -1.0);
    put(&mut table, "SubhaloSpin", vectors(&rows, |_, r| r.spin.map(|l| l * scale.h)), spin)?;
    let radii = numbers(&rows, |_, r| scale.length(r.half_mass_radius));
    put(&mut table, "SubhaloHalfmassRad", radii, Unit::kpc_h())?;
    let radii = sixes(&rows, |r| r.half_mass_radii.map(|x| scale.length(x)));
    put(&mut table, "SubhaloHalfmassRadType", radii, Unit::kpc_h())?;
    put(&mut table, "SubhaloGrNr", whole(subhalos.iter().map(|s| s.0 as i64)), Unit::dimensionless())?;
    put(&mut table, "SubhaloParent", whole(subhalos.iter().map(|_| 0)), Unit::dimensionless())?;
    put(&mut table, "SubhaloFlag", whole(subhalos.iter().map(|_| 1)), Unit::dimensionless())?;
    Ok(GroupCatalogue { header: header(&config), groups, subhalos: table, warnings: Vec::new() })
}

/// The fields that groups and subhalos share, with `prefix` before their names.
fn shared(table: &mut Table, prefix: &str, rows: &[(&Galaxy, &Row)], scale: &Scale) -> Result<()> {
    let mut add =
        |name: &str, values: FieldValues, unit: Unit| put(table, &format!("{prefix}{name}"), values, unit);
    add("Pos", vectors(rows, |g, r| place(&g.config, scale, r.centre)), Unit::kpc_h())?;
    add("CM", vectors(rows, |g, r| place(&g.config, scale, r.centre_of_mass)), Unit::kpc_h())?;
    add("Mass", numbers(rows, |_, r| scale.mass(r.mass.iter().sum())), Unit::msun_h_1e10())?;
    add("MassType", sixes(rows, |r| r.mass.map(|m| scale.mass(m))), Unit::msun_h_1e10())?;
    add("Len", whole(rows.iter().map(|(_, r)| r.count.iter().sum())), Unit::dimensionless())?;
    let counts = Array2::from_shape_fn((rows.len(), 6), |(i, t)| rows[i].1.count[t]);
    add("LenType", FieldValues::I64(counts.into_dyn()), Unit::dimensionless())?;
    add("SFR", numbers(rows, |_, r| r.star_formation), Unit::new("Msun/yr", 6.302_76e25, 0.0, 0.0))?;
    add("GasMetallicity", numbers(rows, |_, r| r.gas_metals), Unit::dimensionless())?;
    add("StarMetallicity", numbers(rows, |_, r| r.star_metals), Unit::dimensionless())
}

fn members(galaxy: &Galaxy, dark: std::ops::Range<usize>, baryons: bool) -> Vec<Member> {
    let [dark_mass, gas_mass, star_mass] = galaxy.masses;
    let mut members: Vec<Member> = galaxy.dark.points[dark]
        .iter()
        .map(|&point| Member { kind: 0, point, mass: dark_mass, star_formation: 0.0, metals: 0.0 })
        .collect();
    if baryons {
        members.extend(galaxy.cells.iter().map(|c| Member {
            kind: 1,
            point: c.cell.point,
            mass: gas_mass,
            star_formation: c.cell.star_formation(gas_mass),
            metals: c.cell.metallicity,
        }));
        members.extend(galaxy.stars.iter().map(|s| Member {
            kind: 2,
            point: s.point,
            mass: star_mass,
            star_formation: 0.0,
            metals: s.metallicity,
        }));
    }
    members
}

/// The centre of a satellite: the mean of the half of its particles that lies nearest to the mean, again and again.
fn densest(members: &[Member]) -> [f64; 3] {
    let mut points: Vec<[f64; 3]> = members.iter().map(|m| m.point.x).collect();
    loop {
        let n = points.len() as f64;
        let centre: [f64; 3] = std::array::from_fn(|i| points.iter().map(|p| p[i]).sum::<f64>() / n);
        if points.len() < 16 {
            return centre;
        }
        points.sort_by(|a, b| squared(*a, centre).total_cmp(&squared(*b, centre)));
        points.truncate(points.len() / 2);
    }
}

impl Row {
    fn new(members: &[Member], centre: [f64; 3]) -> Self {
        let total: f64 = members.iter().map(|m| m.mass).sum();
        let mean = |f: &dyn Fn(&Member, usize) -> f64| -> [f64; 3] {
            std::array::from_fn(|i| members.iter().map(|m| m.mass * f(m, i)).sum::<f64>() / total)
        };
        let centre_of_mass = mean(&|m, i| m.point.x[i]);
        let velocity = mean(&|m, i| m.point.v[i]);
        let square = mean(&|m, i| (m.point.v[i] - velocity[i]).powi(2));
        let spin = mean(&|m, i| {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            let x = |i: usize| m.point.x[i] - centre[i];
            let v = |i: usize| m.point.v[i] - velocity[i];
            x(j) * v(k) - x(k) * v(j)
        });
        let (mut count, mut mass) = ([0; 6], [0.0; 6]);
        let mut metals = [0.0; 6];
        for m in members {
            let t = TYPES[m.kind];
            count[t] += 1;
            mass[t] += m.mass;
            metals[t] += m.mass * m.metals;
        }
        let ratio = |t: usize| if mass[t] > 0.0 { metals[t] / mass[t] } else { 0.0 };
        let mut radii: Vec<(f64, f64, usize)> =
            members.iter().map(|m| (squared(m.point.x, centre).sqrt(), m.mass, TYPES[m.kind])).collect();
        radii.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = |of: Option<usize>, total: f64| {
            let mut sum = 0.0;
            let mut those = radii.iter().filter(|r| of.is_none_or(|t| t == r.2));
            those
                .find(|r| {
                    sum += r.1;
                    sum >= 0.5 * total
                })
                .map_or(0.0, |r| r.0)
        };
        let mut inside = 0.0;
        let mut vmax = [0.0; 2];
        for (i, &(r, m, _)) in radii.iter().enumerate() {
            inside += m;
            let v = (GRAVITY * inside / r.max(1e-9)).sqrt();
            // The innermost particles say little of the mass within them.
            if i >= 10.min(radii.len() - 1) && v > vmax[0] {
                vmax = [v, r];
            }
        }
        Self {
            count,
            mass,
            centre,
            centre_of_mass,
            velocity,
            dispersion: (square.iter().sum::<f64>() / 3.0).sqrt(),
            spin,
            half_mass_radius: half(None, total),
            half_mass_radii: std::array::from_fn(|t| half(Some(t), mass[t])),
            vmax,
            star_formation: members.iter().map(|m| m.star_formation).sum(),
            gas_metals: ratio(0),
            star_metals: ratio(4),
        }
    }
}

fn squared(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum()
}

fn speed() -> Unit {
    Unit::new("km/s", 1e5, 0.0, 0.0)
}

fn numbers(rows: &[(&Galaxy, &Row)], f: impl Fn(&Galaxy, &Row) -> f64) -> FieldValues {
    FieldValues::F32(rows.iter().map(|(g, r)| f(g, r) as f32).collect::<Array1<f32>>().into_dyn())
}

fn vectors(rows: &[(&Galaxy, &Row)], f: impl Fn(&Galaxy, &Row) -> [f64; 3]) -> FieldValues {
    let values: Vec<[f64; 3]> = rows.iter().map(|(g, r)| f(g, r)).collect();
    FieldValues::F32(Array2::from_shape_fn((values.len(), 3), |(i, j)| values[i][j] as f32).into_dyn())
}

fn sixes(rows: &[(&Galaxy, &Row)], f: impl Fn(&Row) -> [f64; 6]) -> FieldValues {
    let values: Vec<[f64; 6]> = rows.iter().map(|(_, r)| f(r)).collect();
    FieldValues::F32(Array2::from_shape_fn((values.len(), 6), |(i, j)| values[i][j] as f32).into_dyn())
}

fn whole(values: impl Iterator<Item = i64>) -> FieldValues {
    FieldValues::I64(values.collect::<Array1<i64>>().into_dyn())
}

fn put(table: &mut Table, name: &str, values: FieldValues, unit: Unit) -> Result<()> {
    table.insert(name, values, unit).map_err(|source| Error::Snapshot { source })
}
