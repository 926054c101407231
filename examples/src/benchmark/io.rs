//! Jobs of reading: on files of the form that the peer's script makes, written once beside the system's temporary files.

use std::path::PathBuf;

use anyhow::{Context, Result};
use halocast::core::{FieldValues, Rng};
use halocast::data::{
    Attribute, CmdMaps, NumbersMut, Storage, Transform, create_hdf5, open_hdf5, read_npy_f32, write_npy,
};
use ndarray::{Array1, Array2, Array3};
use rayon::prelude::*;

use super::{Job, Work, done};

const ROWS: usize = 5_000_000;
const MAPS: usize = 3000;
const SIDE: usize = 256;
/// Rows of a chunk, about as h5py chooses them.
const CHUNK_ROWS: usize = 39_063;

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (kind, storage) in
        [("contig", Storage::Contiguous), ("gzip", Storage::Gzip { rows: CHUNK_ROWS, level: 4 })]
    {
        let five = ["Coordinates", "Velocities", "Masses", "Density", "ParticleIDs"];
        let what = "five fields of 5e6 particles from HDF5";
        jobs.push(Job::new("b7_io", format!("h5_full5fields_5e6_{kind}"), what, move |seed| {
            fields(kind, storage, seed, &five)
        }));
        let what = "the coordinates of 5e6 particles from HDF5";
        jobs.push(Job::new("b7_io", format!("h5_coords_5e6_{kind}"), what, move |seed| {
            fields(kind, storage, seed, &five[..1])
        }));
        let what = "100 ranges of 20,000 rows of two fields from HDF5";
        jobs.push(Job::new("b7_io", format!("h5_100slabs_2e4_{kind}"), what, move |seed| {
            slabs(kind, storage, seed)
        }));
    }
    let what = "the coordinates of 5e6 particles from HDF5, as f32";
    jobs.push(Job::new("b7_io", "h5_coords_to_f32_contig", what, single));
    let what = "46 random batches of 64 maps of 256^2, log10 and min-max";
    jobs.push(Job::new("b7_io", "npy_46batches64_256_log10_norm", what, batches));
    jobs.push(Job::new("b7_io", "npy_full_read_750MB", "an array of 750 MB from npy", |seed| {
        let path = maps_file(seed)?;
        Ok(Box::new(move || done(read_npy_f32(&path)?)))
    }));
    jobs
}

/// The folder of the files. They stay for the next run: they take a minute to make.
fn folder() -> PathBuf {
    std::env::temp_dir().join("halocast-benchmark")
}

fn particles_file(kind: &str, storage: Storage, seed: u64) -> Result<PathBuf> {
    let path = folder().join(format!("snap_{kind}_{seed}.hdf5"));
    if path.exists() {
        return Ok(path);
    }
    let mut rng = Rng::new(seed).split_named("particles");
    let mut file = create_hdf5(&path)?;
    file.create_group("Header")?;
    file.set_attribute("Header", "BoxSize", &Attribute::number(75_000.0))?;
    file.create_group("PartType0")?;
    let positions = Array2::from_shape_simple_fn((ROWS, 3), || 75_000.0 * rng.uniform());
    let velocities = Array2::from_shape_vec((ROWS, 3), rng.normals(3 * ROWS))?.mapv(|v| 100.0 * v);
    file.write_dataset("PartType0/Coordinates", &FieldValues::F64(positions.into_dyn()), storage)?;
    file.write_dataset("PartType0/Velocities", &FieldValues::F32(velocities.into_dyn()), storage)?;
    for name in ["Masses", "Density"] {
        let values = Array1::from_shape_simple_fn(ROWS, || rng.uniform() as f32);
        file.write_dataset(&format!("PartType0/{name}"), &FieldValues::F32(values.into_dyn()), storage)?;
    }
    let mut ids: Vec<usize> = (0..ROWS).collect();
    rng.shuffle(&mut ids);
    let ids = Array1::from_iter(ids.into_iter().map(|id| id as u64));
    file.write_dataset("PartType0/ParticleIDs", &FieldValues::U64(ids.into_dyn()), storage)?;
    file.finish()?;
    Ok(path)
}

fn maps_file(seed: u64) -> Result<PathBuf> {
    let path = folder().join(format!("maps_{seed}.npy"));
    if !path.exists() {
        let key = Rng::new(seed).split_named("maps");
        let mut values = vec![0f32; MAPS * SIDE * SIDE];
        values.par_chunks_mut(SIDE * SIDE).enumerate().for_each(|(i, map)| {
            key.split(i as u64).fill_normal(map);
            map.iter_mut().for_each(|v| *v = 1e5 * (1.5 * *v).exp());
        });
        let values = Array3::from_shape_vec((MAPS, SIDE, SIDE), values).context("maps")?;
        write_npy(&path, &values)?;
    }
    Ok(path)
}

fn fields(kind: &str, storage: Storage, seed: u64, names: &[&'static str]) -> Result<Work> {
    let path = particles_file(kind, storage, seed)?;
    let names = names.to_vec();
    Ok(Box::new(move || {
        let file = open_hdf5(&path)?;
        let read = |name: &&str| file.read(&format!("PartType0/{name}"));
        done(names.iter().map(read).collect::<std::result::Result<Vec<_>, _>>()?)
    }))
}

fn single(seed: u64) -> Result<Work> {
    let path = particles_file("contig", Storage::Contiguous, seed)?;
    Ok(Box::new(move || {
        let mut out = vec![0f32; 3 * ROWS];
        open_hdf5(&path)?.read_into("PartType0/Coordinates", 0..ROWS, NumbersMut::F32(&mut out))?;
        done(out)
    }))
}

fn slabs(kind: &str, storage: Storage, seed: u64) -> Result<Work> {
    const LEN: usize = 20_000;
    let path = particles_file(kind, storage, seed)?;
    Ok(Box::new(move || {
        let file = open_hdf5(&path)?;
        let mut rng = Rng::new(seed).split_named("slabs");
        for _ in 0..100 {
            let start = rng.below(ROWS - LEN);
            for name in ["Coordinates", "Masses"] {
                done(file.read_rows(&format!("PartType0/{name}"), start..start + LEN)?)?;
            }
        }
        Ok(())
    }))
}

fn batches(seed: u64) -> Result<Work> {
    let file = CmdMaps::open(maps_file(seed)?)?;
    let transform = Transform::Chain {
        steps: vec![Transform::Log10 { floor: 1e-30 }, Transform::MinMax { min: 4.0, max: 8.0 }],
    };
    let mut order: Vec<usize> = (0..MAPS).collect();
    Rng::new(seed).split_named("order").shuffle(&mut order);
    Ok(Box::new(move || {
        order.chunks_exact(64).try_for_each(|indices| done(file.batch(indices, &transform)?))
    }))
}
