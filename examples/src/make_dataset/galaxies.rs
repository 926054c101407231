//! Making a set of galaxies: one part a galaxy, then the files of skais-mapper from the parts.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast::core::{GroupCatalogue, Map, Progress, Rng, Snapshot, Species, Unit, write_whole};
use halocast::data::{
    Attribute, NpyFile, ReadOptions, SkaisImage, SnapshotReader, read_groups, split_by_group, write_npy,
    write_skais,
};
use halocast::maps::fields::project_field;
use halocast::maps::{ProjectOptions, Region, Rotation, select_subhalos, skais_views};
use halocast::mock::Galaxy;
use ndarray::{Array4, ArrayD};
use serde::{Deserialize, Serialize};

use super::Report;
use super::galaxy_config::{Domain, GalaxySetConfig, Views};
use super::parts::{claim, make_missing};
use super::share::Share;

/// What a part knows of its galaxy beside the images.
#[derive(Serialize, Deserialize)]
struct Facts {
    /// Number of the subhalo, or of the mock galaxy.
    gid: u64,
    /// The particles of each species in the snapshot or the region that was read.
    particles: [u64; 6],
    /// The half-mass radius that the aperture is counted in, in comoving kpc/h.
    half_mass_radius: f64,
    /// Side of the images in physical kpc.
    side: f64,
    /// The pair of angles of each view in degrees, where it is by angles.
    angles: Vec<Option<[f64; 2]>>,
    rotations: Vec<Rotation>,
}

/// Where the galaxies come from.
enum Galaxies {
    Mock,
    Simulation { reader: Box<SnapshotReader>, catalogue: Box<GroupCatalogue>, chosen: Vec<usize> },
}

/// Makes a set of galaxies, one a thread at a time, and writes:
///
/// * `{suite}.{snapshot}.2D.{domain}.{first}.{last}.hdf5`: in the group of the domain `images`, `[galaxy x views, y, x]`, and
///   `metadata` with the angles, extent and units of each; lengths in physical kpc, masses in Msun;
/// * `galaxies.csv`: snapshot, number and particles of each galaxy;
/// * `splits.json`: the galaxies to train on, to validate and to test;
/// * `dataset.json`: the whole configuration and the version.
///
/// The view of a galaxy is the same in all its domains. Every galaxy is a part file first, written whole or not at all. A run that
/// was killed goes on from its parts and ends with the same bytes; a folder of another configuration is refused.
///
/// # Errors
/// When the configuration is absurd, the folder is another set's, a simulation has too few galaxies, or the disk refuses.
pub fn make_galaxies(config: &GalaxySetConfig, share: Share, progress: &Progress<'_>) -> Result<Report> {
    config.validate()?;
    let (kind, what) = match config.source {
        None => ("mock galaxies", "a stand-in for development, not a simulation to publish with"),
        Some(_) => ("galaxies", "galaxies of a simulation"),
    };
    let out = &config.out;
    let (files, n) = (expected(config), config.galaxies);
    let finished = files.iter().all(|f| f.exists());
    // What cannot be made leaves nothing behind.
    let galaxies = if finished { None } else { Some(open(config)?) };
    claim(out, kind, what, config, share)?;
    let Some(galaxies) = galaxies else {
        return Ok(Report { files, simulations: n, resumed: n });
    };
    let parts: Vec<PathBuf> = (0..n).map(|i| out.join(format!("parts/{i:06}"))).collect();
    // The images are written after the facts.
    let whole = |i: usize| parts[i].with_extension("npy").exists();
    let resumed = (0..n).filter(|i| whole(*i)).count();
    let is_there = |i: usize| whole(i) || (!share.is_first() && files.iter().all(|f| f.exists()));
    make_missing(n, "galaxy", share, is_there, |i| one(config, &galaxies, i, &parts[i]), progress)?;
    if !share.is_first() {
        return Ok(Report { files, simulations: n, resumed });
    }
    assemble(config, &parts)?;
    std::fs::remove_dir_all(out.join("parts")).context("cannot remove the parts")?;
    Ok(Report { files, simulations: n, resumed })
}

fn shards(config: &GalaxySetConfig) -> impl Iterator<Item = Range<usize>> + '_ {
    let ends = move |first: usize| first..(first + config.shard).min(config.galaxies);
    (0..config.galaxies).step_by(config.shard).map(ends)
}

fn shard_file(config: &GalaxySetConfig, domain: Domain, shard: &Range<usize>) -> PathBuf {
    let (suite, snapshot, group) = (&config.suite, config.snapshot, domain.group().replace('/', "-"));
    config.out.join(format!("{suite}.{snapshot:02}.2D.{group}.{:04}.{:04}.hdf5", shard.start, shard.end))
}

/// The files of a finished set; the last is written last.
fn expected(config: &GalaxySetConfig) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for domain in &config.domains {
        files.extend(shards(config).map(|shard| shard_file(config, *domain, &shard)));
    }
    files.extend(["galaxies.csv", "splits.json"].map(|name| config.out.join(name)));
    files
}

fn open(config: &GalaxySetConfig) -> Result<Galaxies> {
    let Some(source) = &config.source else { return Ok(Galaxies::Mock) };
    let options = ReadOptions { allow_missing: source.allow_missing, ..Default::default() };
    let catalogue = read_groups(&source.groups, &options)?;
    let chosen = select_subhalos(&catalogue, &source.selection)?;
    ensure!(
        chosen.len() >= config.galaxies,
        "{}: the selection leaves {} subhalos, expected at least {}",
        source.groups.display(),
        chosen.len(),
        config.galaxies
    );
    let reader = Box::new(SnapshotReader::open(&source.snapshot, &options)?);
    Ok(Galaxies::Simulation { reader, catalogue: Box::new(catalogue), chosen })
}

/// One galaxy: its images `[domain, view, y, x]`, and its facts.
fn one(config: &GalaxySetConfig, galaxies: &Galaxies, i: usize, part: &Path) -> Result<()> {
    let Found { snapshot, gid, centre, half_mass_radius } = find(config, galaxies, i)?;
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let (angles, rotations) = views(config, gid);
    let side = 2.0 * config.aperture * half_mass_radius;
    let mut images = Array4::<f32>::zeros((config.domains.len(), config.views, config.grid, config.grid));
    for (domain, mut images) in config.domains.iter().zip(images.outer_iter_mut()) {
        let there = snapshot.sets.get(&domain.species()).is_some_and(|set| !set.is_empty());
        for (rotation, mut image) in rotations.iter().zip(images.outer_iter_mut()) {
            if !there {
                continue;
            }
            let options = ProjectOptions {
                grid: config.grid,
                method: config.method,
                region: Region::Cube { centre: centre.map(|c| c / 1e3), side: side / 1e3 },
                neighbours: config.neighbours,
                rotation: (*rotation != Rotation::IDENTITY).then_some(*rotation),
                ..Default::default()
            };
            let map = project_field(&snapshot, domain.quantity(), &options, &config.fields)?;
            map.require_finite()?;
            let factor = physical(*domain, &map, a, h) as f32;
            image.assign(&(&map.values * factor));
        }
    }
    let count = |s: &Species| snapshot.sets.get(s).map_or(0, |set| set.len() as u64);
    let facts = Facts {
        gid,
        particles: std::array::from_fn(|t| Species::ALL.iter().filter(|s| s.number() == t).map(count).sum()),
        half_mass_radius,
        side: side * a / h,
        angles,
        rotations,
    };
    let text = serde_json::to_string(&facts)?;
    write_whole(part.with_extension("json"), |w| w.write_all(text.as_bytes()))?;
    Ok(write_npy(part.with_extension("npy"), &images)?)
}

struct Found {
    snapshot: Snapshot,
    gid: u64,
    /// Comoving kpc/h.
    centre: [f64; 3],
    half_mass_radius: f64,
}

fn find(config: &GalaxySetConfig, galaxies: &Galaxies, i: usize) -> Result<Found> {
    let species = config.aperture_species.number();
    let row = |catalogue: &GroupCatalogue, row: usize| -> Result<([f64; 3], f64)> {
        let radii = catalogue.subhalos.field("SubhaloHalfmassRadType")?.values.to_f64();
        let radius = radii.get([row, species]).copied().unwrap_or(0.0);
        ensure!(radius > 0.0, "subhalo {row} has no half-mass radius of {}", config.aperture_species);
        Ok((catalogue.subhalos.vectors("SubhaloPos")?[row], radius))
    };
    match galaxies {
        Galaxies::Mock => {
            let galaxy = Galaxy::sample(&config.population().galaxy(i as u64)?)?;
            let (centre, half_mass_radius) = row(&galaxy.catalogue()?, 0)?;
            Ok(Found { snapshot: galaxy.snapshot()?, gid: i as u64, centre, half_mass_radius })
        }
        Galaxies::Simulation { reader, catalogue, chosen } => {
            let (centre, half_mass_radius) = row(catalogue, chosen[i])?;
            // Whatever may turn into the cube, and a little more for the radii of neighbours.
            let reach = 1.1 * 3f64.sqrt() * config.aperture * half_mass_radius;
            let snapshot = reader.read_region(centre, [reach; 3])?;
            Ok(Found { snapshot, gid: chosen[i] as u64, centre, half_mass_radius })
        }
    }
}

/// The views of a galaxy, the first as it lies: they depend on the seed and its number alone.
fn views(config: &GalaxySetConfig, gid: u64) -> (Vec<Option<[f64; 2]>>, Vec<Rotation>) {
    let mut rng = Rng::new(config.seed).split_named("views").split(gid);
    let mut angles = vec![Some([0.0; 2])];
    let mut rotations = vec![Rotation::IDENTITY];
    match config.rotations {
        Views::Skais => {
            for [theta, phi] in skais_views(&mut rng) {
                angles.push(Some([theta, phi]));
                rotations.push(Rotation::euler(theta, phi, 0.0));
            }
        }
        Views::Uniform => {
            for _ in 1..config.views {
                angles.push(None);
                rotations.push(Rotation::random(&mut rng));
            }
        }
    }
    angles.truncate(config.views);
    rotations.truncate(config.views);
    (angles, rotations)
}

/// What takes an image to its unit in [`unit`].
fn physical(domain: Domain, map: &Map, a: f64, h: f64) -> f64 {
    let surface =
        Unit::msun_h().cgs_factor(a, h) * h / Unit::kpc_h().cgs_factor(a, h).powi(2) * (a / h).powi(2);
    match domain {
        Domain::DarkMatter | Domain::Stars | Domain::Gas | Domain::Hydrogen => {
            map.unit.cgs_factor(a, h) / surface
        }
        Domain::Brightness | Domain::Temperature | Domain::MagneticField => 1.0,
    }
}

fn unit(domain: Domain) -> &'static str {
    match domain {
        Domain::DarkMatter | Domain::Stars | Domain::Gas | Domain::Hydrogen => "Msun/kpc2",
        Domain::Brightness => "mK",
        Domain::Temperature => "K",
        Domain::MagneticField => "G",
    }
}

/// The files of the set from its parts, one file in memory at a time.
fn assemble(config: &GalaxySetConfig, parts: &[PathBuf]) -> Result<()> {
    let facts: Vec<Facts> = parts
        .iter()
        .map(|part| {
            let path = part.with_extension("json");
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| path.display().to_string())
        })
        .collect::<Result<_>>()?;
    for (d, domain) in config.domains.iter().enumerate() {
        for shard in shards(config) {
            let path = shard_file(config, *domain, &shard);
            if path.exists() {
                continue;
            }
            let mut images = Vec::with_capacity(shard.len() * config.views);
            for i in shard.clone() {
                let file = NpyFile::open(parts[i].with_extension("npy"))?;
                let stack: ArrayD<f32> = file.item(d)?;
                let stack = stack.into_dimensionality::<ndarray::Ix3>()?;
                for (v, values) in stack.outer_iter().enumerate() {
                    images.push(image(config, *domain, &facts[i], v, values.to_owned()));
                }
            }
            write_skais(&path, &[(domain.group(), &images)])?;
        }
    }
    let mut table =
        "snapshot,gid,N_particles_gas,N_particles_dm,N_particles_stars,N_particles_bh\n".to_owned();
    for Facts { gid, particles: p, .. } in &facts {
        table.push_str(&format!("{},{gid},{},{},{},{}\n", config.snapshot, p[0], p[1], p[4], p[5]));
    }
    write_whole(config.out.join("galaxies.csv"), |w| w.write_all(table.as_bytes()))?;
    let numbers: Vec<usize> = (0..config.galaxies).collect();
    let mut rng = Rng::new(config.seed).split_named("split");
    let [train, validation, test] = match split_by_group(&numbers, config.split, &mut rng) {
        Ok(sets) => sets,
        // A few galaxies make no three sets: all are to train on.
        Err(_) if config.galaxies < 3 => [numbers, Vec::new(), Vec::new()],
        Err(error) => return Err(error.into()),
    };
    let splits = serde_json::json!({ "train": train, "validation": validation, "test": test });
    let splits = serde_json::to_string_pretty(&splits)?;
    // The last file: where it is, the set is finished.
    Ok(write_whole(config.out.join("splits.json"), |w| w.write_all(splits.as_bytes()))?)
}

fn image(
    config: &GalaxySetConfig,
    domain: Domain,
    facts: &Facts,
    view: usize,
    values: ndarray::Array2<f32>,
) -> SkaisImage {
    let mut name = format!(
        "{}_{}.{:02}.gid.{:07}",
        domain.group().replace('/', "-"),
        config.suite,
        config.snapshot,
        facts.gid
    );
    let angles = facts.angles[view];
    if let Some([theta, phi]) = angles.filter(|_| view > 0) {
        name.push_str(&format!("_rotxy.{theta}.{phi}"));
    } else if view > 0 {
        name.push_str(&format!("_view.{view}"));
    }
    let particles = facts.particles[domain.species().number()];
    let rows = facts.rotations[view].rows.concat();
    let mut metadata = BTreeMap::from([
        ("gid".to_owned(), Attribute::I64(vec![facts.gid as i64])),
        ("snapshot".to_owned(), Attribute::I64(vec![config.snapshot as i64])),
        ("name".to_owned(), Attribute::text(name)),
        ("num_particles".to_owned(), Attribute::I64(vec![particles as i64])),
        ("rng_seed".to_owned(), Attribute::I64(vec![config.seed as i64])),
        ("rotation".to_owned(), Attribute::F64(rows)),
        ("half_mass_radius".to_owned(), Attribute::F64(vec![facts.half_mass_radius])),
    ]);
    if let Some(angles) = angles {
        metadata.insert("rotxy".to_owned(), Attribute::F64(angles.to_vec()));
    }
    let map = Map {
        values,
        extent: [facts.side; 2],
        length_unit: Unit::new("kpc", Unit::kpc_h().to_cgs, 0.0, 0.0),
        unit: Unit::new(unit(domain), 1.0, 0.0, 0.0),
        field: domain.group().to_owned(),
        periodic: false,
    };
    SkaisImage { map, metadata }
}
