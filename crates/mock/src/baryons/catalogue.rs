//! The group catalogue: every group's and subhalo's sums over its particles, by the names of IllustrisTNG.

use halocast_core::{FieldValues, GroupCatalogue, Table, Unit};
use ndarray::{Array1, Array2};
use rayon::prelude::*;

use super::snapshot::{ACCRETION, Layout, abundances};
use crate::error::{Error, Result};

/// What IllustrisTNG writes where there is no photometry: here always, as stars are not populations.
const NO_PHOTOMETRY: f32 = 1e37;

/// A particle as a catalogue counts it.
#[derive(Clone, Copy, Default)]
struct Body {
    kind: usize,
    mass: f64,
    /// Comoving offset from the centre in Mpc/h.
    x: [f64; 3],
    v: [f64; 3],
    metallicity: f64,
    ratio: f64,
    star_formation: f64,
    accretion: f64,
    field: f64,
    volume: f64,
}

impl Body {
    fn radius(&self) -> f64 {
        self.x.iter().map(|x| x * x).sum::<f64>().sqrt()
    }
}

/// Columns by name: values of each row, all of one width.
type Columns = Vec<(&'static str, Vec<f32>, usize, Unit)>;

impl Layout<'_> {
    pub(super) fn catalogue(&self) -> Result<GroupCatalogue> {
        let halos = &self.of.halos;
        let rows: Vec<Columns> = (0..halos.len()).into_par_iter().map(|g| self.group(g)).collect();
        let mut groups = table("Group", rows)?;
        let count = |rows: Vec<[usize; 6]>| {
            let all = Array2::from_shape_fn((rows.len(), 6), |(i, k)| rows[i][k] as i64);
            let sum = rows.iter().map(|r| r.iter().sum::<usize>() as i64).collect::<Array1<i64>>();
            (FieldValues::I64(sum.into_dyn()), FieldValues::I64(all.into_dyn()))
        };
        let integers = |values: Vec<i64>| FieldValues::I64(Array1::from(values).into_dyn());
        let put = |table: &mut Table, name: &str, values: FieldValues| {
            table.insert(name, values, Unit::dimensionless()).map_err(|source| Error::Snapshot { source })
        };
        let starts = &self.groups;
        let lengths =
            (0..halos.len()).map(|g| std::array::from_fn(|k| starts[g + 1][k] - starts[g][k])).collect();
        let (sum, by_type) = count(lengths);
        put(&mut groups, "GroupLen", sum)?;
        put(&mut groups, "GroupLenType", by_type)?;
        put(
            &mut groups,
            "GroupNsubs",
            integers(halos.halos.iter().map(|h| h.subhalos.len() as i64).collect()),
        )?;
        let first = |h: &crate::halos::Halo| if h.subhalos.is_empty() { -1 } else { h.subhalos.start as i64 };
        put(&mut groups, "GroupFirstSub", integers(halos.halos.iter().map(first).collect()))?;

        let rows: Vec<Columns> = (0..halos.subhalos.len()).into_par_iter().map(|s| self.subhalo(s)).collect();
        let mut subhalos = table("Subhalo", rows)?;
        let (sum, by_type) = count(self.subhalos.iter().map(|s| s.map(|(start, end)| end - start)).collect());
        put(&mut subhalos, "SubhaloLen", sum)?;
        put(&mut subhalos, "SubhaloLenType", by_type)?;
        let group = halos.subhalos.iter().map(|s| s.group as i64).collect();
        put(&mut subhalos, "SubhaloGrNr", integers(group))?;
        put(&mut subhalos, "SubhaloParent", integers(vec![0; halos.subhalos.len()]))?;
        // 1: of cosmological origin.
        put(&mut subhalos, "SubhaloFlag", integers(vec![1; halos.subhalos.len()]))?;
        let deepest = (0..halos.subhalos.len()).map(|s| self.deepest(s)).collect::<Array1<u64>>();
        put(&mut subhalos, "SubhaloIDMostbound", FieldValues::U64(deepest.into_dyn()))?;
        Ok(GroupCatalogue { header: self.header(), groups, subhalos, warnings: Vec::new() })
    }

    /// The identifier of the dark-matter particle nearest to the centre of a subhalo.
    fn deepest(&self, s: usize) -> u64 {
        let (start, end) = self.subhalos[s][1];
        let bodies = self.bodies(1, start..end, self.of.halos.subhalos[s].centre);
        let nearest = (0..bodies.len()).min_by(|&i, &j| bodies[i].radius().total_cmp(&bodies[j].radius()));
        nearest.map_or(0, |i| 1 + u64::from(self.order[1][start + i]))
    }

    fn bodies(&self, kind: usize, range: std::ops::Range<usize>, centre: [f64; 3]) -> Vec<Body> {
        let of = self.of;
        let space = of.universe.tracers().space;
        let (positions, velocities) = self.motion(kind);
        self.order[kind][range]
            .iter()
            .map(|&i| {
                let i = i as usize;
                let x = [0, 1, 2].map(|k| space.separation(f64::from(positions[i][k]) - centre[k]));
                let mut body = Body { kind, x, v: velocities[i].map(f64::from), ..Default::default() };
                match kind {
                    0 => {
                        body.mass = f64::from(of.gas.masses[i]);
                        body.metallicity = f64::from(of.gas.metallicity[i]);
                        body.ratio = f64::from(of.gas.magnesium_to_iron[i]);
                        body.star_formation = f64::from(of.gas.star_formation[i]);
                        let [x, y, z] = of.gas.magnetic_field[i].map(f64::from);
                        body.field = (x * x + y * y + z * z).sqrt();
                        body.volume = body.mass / f64::from(of.gas.density[i]).max(1e-30);
                    }
                    4 => {
                        body.mass = f64::from(of.stars.masses[i]);
                        body.metallicity = f64::from(of.stars.metallicity[i]);
                        body.ratio = 0.8;
                    }
                    5 => {
                        body.mass = f64::from(of.black_holes.masses[i]);
                        body.accretion = f64::from(of.black_holes.accretion[i]);
                    }
                    _ => body.mass = of.universe.particle_mass(),
                }
                body
            })
            .collect()
    }

    fn group(&self, g: usize) -> Columns {
        let halo = &self.of.halos.halos[g];
        let a = self.of.universe.scale_factor();
        let all: Vec<Body> = (0..6)
            .flat_map(|kind| self.bodies(kind, self.groups[g][kind]..self.groups[g + 1][kind], halo.centre))
            .collect();
        let sums = Sums::new(&all, halo.centre, self.of.universe.config().box_side);
        let (mass, length, one) = (Unit::msun_h_1e10, Unit::kpc_h, Unit::dimensionless);
        let mut columns: Columns = Vec::new();
        let mut scalar = |name, value: f64, unit: Unit| columns.push((name, vec![value as f32], 1, unit));
        scalar("GroupMass", sums.mass / 1e10, mass());
        scalar("GroupSFR", sums.star_formation, rate());
        scalar("GroupBHMass", sums.by_type[5] / 1e10, mass());
        scalar("GroupBHMdot", sums.accretion / ACCRETION, accretion());
        scalar("GroupWindMass", 0.0, mass());
        scalar("GroupGasMetallicity", sums.metallicity[0], one());
        scalar("GroupStarMetallicity", sums.metallicity[1], one());
        for (m, r, sphere) in [
            ("Group_M_Crit200", "Group_R_Crit200", halo.critical_200),
            ("Group_M_Crit500", "Group_R_Crit500", halo.critical_500),
            ("Group_M_Mean200", "Group_R_Mean200", halo.mean_200),
            ("Group_M_TopHat200", "Group_R_TopHat200", halo.top_hat),
        ] {
            scalar(m, sphere.mass / 1e10, mass());
            scalar(r, 1e3 * sphere.radius, length());
        }
        let mut row = |name, values: Vec<f32>, unit: Unit| {
            let width = values.len();
            columns.push((name, values, width, unit));
        };
        row("GroupPos", kpc(halo.centre), length());
        row("GroupCM", kpc(sums.centre), length());
        // IllustrisTNG divides the peculiar velocity of groups by a, that is, stores a v.
        row("GroupVel", sums.velocity.map(|v| (a * v) as f32).to_vec(), Unit::new("km/s/a", 1e5, -1.0, 0.0));
        row("GroupMassType", sums.by_type.map(|m| (m / 1e10) as f32).to_vec(), mass());
        row("GroupGasMetalFractions", sums.elements[0].to_vec(), one());
        row("GroupStarMetalFractions", sums.elements[1].to_vec(), one());
        columns
    }

    fn subhalo(&self, s: usize) -> Columns {
        let subhalo = &self.of.halos.subhalos[s];
        let mut all: Vec<Body> = (0..6)
            .flat_map(|kind| {
                let (start, end) = self.subhalos[s][kind];
                self.bodies(kind, start..end, subhalo.centre)
            })
            .collect();
        all.sort_by(|a, b| a.radius().total_cmp(&b.radius()));
        let (side, a) = (self.of.universe.config().box_side, self.of.universe.scale_factor());
        let (mass, length, one) = (Unit::msun_h_1e10, Unit::kpc_h, Unit::dimensionless);
        let half = |of: &dyn Fn(&Body) -> bool| {
            let total: f64 = all.iter().filter(|b| of(b)).map(|b| b.mass).sum();
            let mut sum = 0.0;
            let reached = all.iter().filter(|b| of(b)).find(|b| {
                sum += b.mass;
                sum >= 0.5 * total
            });
            reached.map_or(0.0, Body::radius)
        };
        let stellar = half(&|b| b.kind == 4);
        let within =
            |r: f64| Sums::new(&all[..all.partition_point(|b| b.radius() <= r)], subhalo.centre, side);
        let (whole, in_half) = (Sums::new(&all, subhalo.centre, side), within(stellar));
        let (in_rad, in_max) = (within(2.0 * stellar), within(subhalo.max_velocity_radius));
        let mut columns: Columns = Vec::new();
        let mut scalar = |name, value: f64, unit: Unit| columns.push((name, vec![value as f32], 1, unit));
        scalar("SubhaloMass", whole.mass / 1e10, mass());
        scalar("SubhaloSFR", whole.star_formation, rate());
        scalar("SubhaloSFRinHalfRad", in_half.star_formation, rate());
        scalar("SubhaloSFRinMaxRad", in_max.star_formation, rate());
        scalar("SubhaloSFRinRad", in_rad.star_formation, rate());
        scalar("SubhaloBHMass", whole.by_type[5] / 1e10, mass());
        scalar("SubhaloBHMdot", whole.accretion / ACCRETION, accretion());
        scalar("SubhaloWindMass", 0.0, mass());
        // Root mean square over volume, in the unit of the snapshot.
        let to_unit = a * a / (self.of.universe.config().cosmology.h * field_unit());
        scalar("SubhaloBfldHalo", whole.field * to_unit, field());
        scalar("SubhaloBfldDisk", in_rad.field * to_unit, field());
        scalar("SubhaloHalfmassRad", 1e3 * half(&|_| true), length());
        scalar("SubhaloMassInHalfRad", in_half.mass / 1e10, mass());
        scalar("SubhaloMassInMaxRad", in_max.mass / 1e10, mass());
        scalar("SubhaloMassInRad", in_rad.mass / 1e10, mass());
        scalar("SubhaloVelDisp", subhalo.dispersion, Unit::new("km/s", 1e5, 0.0, 0.0));
        scalar("SubhaloVmax", subhalo.max_velocity, Unit::new("km/s", 1e5, 0.0, 0.0));
        scalar("SubhaloVmaxRad", 1e3 * subhalo.max_velocity_radius, length());
        scalar("SubhaloGasMetallicity", whole.metallicity[0], one());
        scalar("SubhaloGasMetallicityHalfRad", in_half.metallicity[0], one());
        scalar("SubhaloGasMetallicityMaxRad", in_max.metallicity[0], one());
        scalar("SubhaloGasMetallicitySfr", whole.forming, one());
        scalar("SubhaloGasMetallicitySfrWeighted", whole.forming, one());
        scalar("SubhaloStarMetallicity", in_rad.metallicity[1], one());
        scalar("SubhaloStarMetallicityHalfRad", in_half.metallicity[1], one());
        scalar("SubhaloStarMetallicityMaxRad", in_max.metallicity[1], one());
        scalar("SubhaloStellarPhotometricsMassInRad", 0.0, mass());
        scalar("SubhaloStellarPhotometricsRad", 0.0, length());
        let mut row = |name, values: Vec<f32>, unit: Unit| {
            let width = values.len();
            columns.push((name, values, width, unit));
        };
        let types = |sums: &Sums| sums.by_type.map(|m| (m / 1e10) as f32).to_vec();
        row("SubhaloPos", kpc(subhalo.centre), length());
        row("SubhaloCM", kpc(whole.centre), length());
        row("SubhaloVel", whole.velocity.map(|v| v as f32).to_vec(), Unit::new("km/s", 1e5, 0.0, 0.0));
        let spin = Unit::new("(kpc/h) km/s", Unit::kpc_h().to_cgs * 1e5, 0.0, -1.0);
        row("SubhaloSpin", subhalo.angular_momentum.map(|j| j as f32).to_vec(), spin);
        row("SubhaloMassType", types(&whole), mass());
        row("SubhaloMassInHalfRadType", types(&in_half), mass());
        row("SubhaloMassInMaxRadType", types(&in_max), mass());
        row("SubhaloMassInRadType", types(&in_rad), mass());
        let radii = (0..6).map(|kind| (1e3 * half(&|b| b.kind == kind)) as f32).collect();
        row("SubhaloHalfmassRadType", radii, length());
        row("SubhaloGasMetalFractions", whole.elements[0].to_vec(), one());
        row("SubhaloGasMetalFractionsHalfRad", in_half.elements[0].to_vec(), one());
        row("SubhaloGasMetalFractionsMaxRad", in_max.elements[0].to_vec(), one());
        row("SubhaloGasMetalFractionsSfr", whole.elements[2].to_vec(), one());
        row("SubhaloGasMetalFractionsSfrWeighted", whole.elements[2].to_vec(), one());
        row("SubhaloStarMetalFractions", in_rad.elements[1].to_vec(), one());
        row("SubhaloStarMetalFractionsHalfRad", in_half.elements[1].to_vec(), one());
        row("SubhaloStarMetalFractionsMaxRad", in_max.elements[1].to_vec(), one());
        row("SubhaloStellarPhotometrics", vec![NO_PHOTOMETRY; 8], Unit::new("mag", 1.0, 0.0, 0.0));
        columns
    }
}

/// Sums over particles.
struct Sums {
    mass: f64,
    by_type: [f64; 6],
    centre: [f64; 3],
    velocity: [f64; 3],
    star_formation: f64,
    accretion: f64,
    /// Mass-weighted metallicity of gas and stars.
    metallicity: [f64; 2],
    /// Metallicity of gas weighted by star formation.
    forming: f64,
    /// Mass-weighted abundances of gas and stars, and of gas weighted by star formation.
    elements: [[f32; 10]; 3],
    /// Root mean square magnetic field over volume in Gauss.
    field: f64,
}

impl Sums {
    fn new(bodies: &[Body], centre: [f64; 3], side: f64) -> Self {
        let sum = |of: &dyn Fn(&Body) -> f64| bodies.iter().map(of).sum::<f64>();
        let mass = sum(&|b| b.mass);
        let over = |total: f64, weight: f64| if weight > 0.0 { total / weight } else { 0.0 };
        let wrap = |x: f64| x - side * (x / side).floor();
        let weights: [&dyn Fn(&Body) -> f64; 3] = [
            &|b| if b.kind == 0 { b.mass } else { 0.0 },
            &|b| if b.kind == 4 { b.mass } else { 0.0 },
            &|b| b.star_formation,
        ];
        let mut elements = [[0.0f32; 10]; 3];
        for (elements, weight) in elements.iter_mut().zip(weights) {
            let total = sum(weight);
            let mut sums = [0.0f64; 10];
            for body in bodies.iter().filter(|b| weight(b) > 0.0) {
                let own = abundances(body.metallicity, body.ratio);
                (0..10).for_each(|k| sums[k] += weight(body) * f64::from(own[k]));
            }
            *elements = sums.map(|s| over(s, total) as f32);
        }
        let metals = |w: &dyn Fn(&Body) -> f64| over(sum(&|b| w(b) * b.metallicity), sum(w));
        Self {
            mass,
            by_type: std::array::from_fn(|kind| sum(&|b| if b.kind == kind { b.mass } else { 0.0 })),
            centre: [0, 1, 2].map(|k| wrap(centre[k] + over(sum(&|b| b.mass * b.x[k]), mass))),
            velocity: [0, 1, 2].map(|k| over(sum(&|b| b.mass * b.v[k]), mass)),
            star_formation: sum(&|b| b.star_formation),
            accretion: sum(&|b| b.accretion),
            metallicity: [metals(weights[0]), metals(weights[1])],
            forming: metals(weights[2]),
            elements,
            field: over(sum(&|b| b.field * b.field * b.volume), sum(&|b| b.volume)).sqrt(),
        }
    }
}

fn table(name: &str, rows: Vec<Columns>) -> Result<Table> {
    let mut table = Table::new(name, rows.len());
    let Some(first) = rows.first() else { return Ok(table) };
    for (c, (name, _, width, unit)) in first.iter().enumerate() {
        let values: Vec<f32> = rows.iter().flat_map(|row| row[c].1.iter().copied()).collect();
        let values = match width {
            1 => Array1::from(values).into_dyn(),
            // The length is rows times width by construction.
            w => Array2::from_shape_fn((rows.len(), *w), |(i, k)| values[i * w + k]).into_dyn(),
        };
        table
            .insert(*name, FieldValues::F32(values), unit.clone())
            .map_err(|source| Error::Snapshot { source })?;
    }
    Ok(table)
}

fn kpc(x: [f64; 3]) -> Vec<f32> {
    x.map(|x| (1e3 * x) as f32).to_vec()
}

fn rate() -> Unit {
    Unit::new("Msun/yr", 6.302_76e25, 0.0, 0.0)
}

fn accretion() -> Unit {
    Unit::new("(1e10 Msun/h)/(0.978 Gyr/h)", 1.989e43 * 1e5 / 3.085_678e21, 0.0, 0.0)
}

fn field() -> Unit {
    Unit::new("(h/a^2) sqrt(unit pressure)", field_unit(), -2.0, 1.0)
}

fn field_unit() -> f64 {
    (1.989e43f64 / 3.085_678e21f64.powi(3)).sqrt() * 1e5
}
