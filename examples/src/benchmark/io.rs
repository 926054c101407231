//! Jobs of reading: particles from HDF5, maps from npy.
//!
//! The files are those that the peer's script leaves in its folder, which `HALOCAST_BENCH` names: `snap_contig.hdf5`,
//! `snap_chunked.hdf5`, `snap_gzip.hdf5` (five million particles) and `cmd_3000x256x256_f32.npy`. What is not there is
//! written first, with other numbers and chunks of whole rows; by default into the folder of temporary files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use halocast::core::{FieldValues, Map, Rng};
use halocast::data::{
    CmdMaps, NumbersMut, Step, Storage, Transform, create_hdf5, open_hdf5, read_npy_f32, write_cmd_maps,
};
use ndarray::{Array1, Array2};
use rayon::prelude::*;

use super::{Job, Work, done, inputs};

const GROUP: &str = "b7_io";
const ROWS: usize = 5_000_000;
const MAPS: usize = 3000;
const NPY: &str = "cmd_3000x256x256_f32.npy";
const FIVE: [&str; 5] = ["Coordinates", "Velocities", "Masses", "Density", "ParticleIDs"];

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for kind in ["contig", "chunked", "gzip"] {
        let mut add = |name: &str, what, run: fn(&Path) -> Result<()>| {
            jobs.push(Job::new(GROUP, format!("{name}_{kind}"), what, move |seed| {
                let path = particles(kind, seed)?;
                Ok(Box::new(move || run(&path)))
            }));
        };
        add("h5_full5fields_5e6", "five fields of 5e6 particles", |path| fields(path, &FIVE));
        add("h5_coords_5e6", "positions of 5e6 particles", |path| fields(path, &["Coordinates"]));
        add("h5_coords_to_f32", "the same, read as f32", single);
        add("h5_100slabs_2e4", "100 ranges of 20,000 rows, two fields", |path| ranges(path, 100, 20_000));
        add("h5_1000ranges_1e3", "1000 ranges of 1000 rows, two fields", |path| ranges(path, 1000, 1000));
    }
    jobs.push(Job::new(GROUP, "h5_coords_5e6_contig_cold", "positions, from the disk", |seed| {
        let path = particles("contig", seed)?;
        Ok(Box::new(move || {
            forget(&path)?;
            fields(&path, &["Coordinates"])
        }))
    }));
    jobs.push(Job::new(
        GROUP,
        "npy_46batches64_256_log10_norm",
        "46 batches of 64 maps, log10 and range",
        |seed| {
            let file = CmdMaps::open(maps(seed)?)?;
            Ok(Box::new(move || batches(&file, &log_and_range())))
        },
    ));
    jobs.push(Job::new(GROUP, "npy_46batches64_256_gather_only", "46 batches of 64 maps", |seed| {
        let file = CmdMaps::open(maps(seed)?)?;
        Ok(Box::new(move || batches(&file, &Transform::Identity)))
    }));
    jobs.push(maps_job(
        "npy_46batches64_256_log10_norm_cold_v2",
        "as above, opened anew, from the disk",
        |path| {
            forget(path)?;
            batches(&CmdMaps::open(path)?, &log_and_range())
        },
    ));
    jobs.push(maps_job("npy_stats_3000x256_log10_minmax", "log10, range and moments of 3000 maps", |path| {
        let file = CmdMaps::open(path)?;
        let all: Vec<usize> = (0..file.len()).collect();
        done(file.fit(&[Step::Log10Above(1e-30), Step::Standardise], &all)?)
    }));
    jobs.push(maps_job("npy_full_read_750MB", "all of 3000 maps", |path| done(read_npy_f32(path)?)));
    jobs
}

fn maps_job(name: &str, what: &'static str, run: fn(&Path) -> Result<()>) -> Job {
    Job::new(GROUP, name, what, move |seed| -> Result<Work> {
        let path = maps(seed)?;
        Ok(Box::new(move || run(&path)))
    })
}

fn fields(path: &Path, names: &[&str]) -> Result<()> {
    let file = open_hdf5(path)?;
    let all = names.iter().map(|name| file.read(&dataset(name))).collect::<Result<Vec<_>, _>>()?;
    done(all)
}

fn single(path: &Path) -> Result<()> {
    let file = open_hdf5(path)?;
    let mut out = vec![0f32; 3 * ROWS];
    file.read_into(&dataset("Coordinates"), 0..ROWS, NumbersMut::F32(&mut out))?;
    done(out)
}

fn ranges(path: &Path, count: usize, len: usize) -> Result<()> {
    let file = open_hdf5(path)?;
    let mut rng = Rng::new(1);
    for _ in 0..count {
        let start = rng.below(ROWS - len);
        done(file.read_rows(&dataset("Coordinates"), start..start + len)?)?;
        done(file.read_rows(&dataset("Masses"), start..start + len)?)?;
    }
    Ok(())
}

fn log_and_range() -> Transform {
    let steps = vec![Transform::Log10 { floor: 1e-30 }, Transform::MinMax { min: 4.0, max: 8.0 }];
    Transform::Chain { steps }
}

fn batches(file: &CmdMaps, transform: &Transform) -> Result<()> {
    let mut order: Vec<usize> = (0..MAPS).collect();
    Rng::new(2).shuffle(&mut order);
    order.chunks_exact(64).try_for_each(|indices| done(file.batch(indices, transform)?))
}

fn dataset(name: &str) -> String {
    format!("PartType0/{name}")
}

/// Has the system forget what it holds of a file in memory.
fn forget(path: &Path) -> Result<()> {
    let status = Command::new("dd")
        .arg(format!("if={}", path.display()))
        .args(["iflag=nocache", "count=0"])
        .stderr(Stdio::null())
        .status()
        .context("dd, which has the system forget a file")?;
    ensure!(status.success(), "dd iflag=nocache failed: {status}");
    Ok(())
}

fn folder() -> PathBuf {
    std::env::var_os("HALOCAST_BENCH")
        .map_or_else(|| std::env::temp_dir().join("halocast-bench"), PathBuf::from)
}

/// The file of particles of a kind, written where it is not there.
fn particles(kind: &str, seed: u64) -> Result<PathBuf> {
    let path = folder().join(format!("snap_{kind}.hdf5"));
    if path.is_file() {
        return Ok(path);
    }
    let storage = match kind {
        "contig" => Storage::Contiguous,
        "chunked" => Storage::Chunked { rows: 1 << 15 },
        _ => Storage::Gzip { rows: 1 << 15, level: 4 },
    };
    let key = Rng::new(seed).split_named("particles");
    let uniform = |name: &str, count: usize| -> Vec<f64> {
        let mut values = vec![0.0; count];
        let key = key.split_named(name);
        values.par_chunks_mut(1 << 16).enumerate().for_each(|(i, part)| {
            let mut rng = key.split(i as u64);
            part.iter_mut().for_each(|v| *v = rng.uniform());
        });
        values
    };
    let mut file = create_hdf5(&path)?;
    file.create_group("PartType0")?;
    let positions = Array2::from_shape_vec((ROWS, 3), uniform("Coordinates", 3 * ROWS))? * 75_000.0;
    file.write_dataset(&dataset("Coordinates"), &FieldValues::F64(positions.into_dyn()), storage)?;
    let narrow = |name: &str, count| uniform(name, count).into_iter().map(|v| v as f32).collect::<Vec<_>>();
    let velocities = Array2::from_shape_vec((ROWS, 3), narrow("Velocities", 3 * ROWS))?;
    file.write_dataset(&dataset("Velocities"), &FieldValues::F32(velocities.into_dyn()), storage)?;
    for name in ["Masses", "Density"] {
        let values = FieldValues::F32(Array1::from(narrow(name, ROWS)).into_dyn());
        file.write_dataset(&dataset(name), &values, storage)?;
    }
    let mut ids: Vec<u64> = (0..ROWS as u64).collect();
    key.split_named("ParticleIDs").shuffle(&mut ids);
    let ids = FieldValues::U64(Array1::from(ids).into_dyn());
    file.write_dataset(&dataset("ParticleIDs"), &ids, storage)?;
    file.finish()?;
    Ok(path)
}

/// The file of maps, written where it is not there: lognormal, 100 of them shifted and scaled.
fn maps(seed: u64) -> Result<PathBuf> {
    let path = folder().join(NPY);
    if path.is_file() {
        return Ok(path);
    }
    let few = inputs::maps(100, 256, seed);
    let one = |i: usize| {
        let amplitude = 1e5 * (1.0 + (i / 100) as f32 / 10.0);
        Map { values: few[i % 100].values.mapv(|v| amplitude * (1.5 * v).exp()), ..few[0].clone() }
    };
    let all: Vec<Map> = (0..MAPS).map(one).collect();
    let written = write_cmd_maps(folder(), "Mcdm", "Mock", "LH", 0.0, &all)?;
    std::fs::rename(&written, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
