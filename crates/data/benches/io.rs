//! Times of reading, on the files that the peers' script `b7_io.py` makes, by its job names; one JSON line a job.
//!
//! ```text
//! cargo bench -p halocast-data --bench io -- FOLDER [JOB...]
//! ```
//!
//! The folder holds `snap_contig.hdf5`, `snap_chunked.hdf5`, `snap_gzip.hdf5` and `cmd_3000x256x256_f32.npy`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use halocast_core::Rng;
use halocast_data::*;

const ROWS: usize = 5_000_000;
const RUNS: usize = 5;

fn dataset(name: &str) -> String {
    format!("PartType0/{name}")
}

/// The places of `count` ranges of `len` rows.
fn starts(count: usize, len: usize) -> Vec<usize> {
    let mut rng = Rng::new(1);
    (0..count).map(|_| rng.below(ROWS - len)).collect()
}

fn fields(path: &Path, names: &[&str]) {
    let file = open_hdf5(path).unwrap();
    let all: Vec<_> = names.iter().map(|name| file.read(&dataset(name)).unwrap()).collect();
    black_box(all);
}

fn single(path: &Path) {
    let file = open_hdf5(path).unwrap();
    let mut out = vec![0f32; 3 * ROWS];
    file.read_into(&dataset("Coordinates"), 0..ROWS, NumbersMut::F32(&mut out)).unwrap();
    black_box(out);
}

fn ranges(path: &Path, count: usize, len: usize) {
    let file = open_hdf5(path).unwrap();
    for start in starts(count, len) {
        black_box(file.read_rows(&dataset("Coordinates"), start..start + len).unwrap());
        black_box(file.read_rows(&dataset("Masses"), start..start + len).unwrap());
    }
}

fn batches(path: &Path) {
    let file = CmdMaps::open(path).unwrap();
    let transform = Transform::Chain {
        steps: vec![Transform::Log10 { floor: 1e-30 }, Transform::MinMax { min: 4.0, max: 8.0 }],
    };
    let mut order: Vec<usize> = (0..3000).collect();
    Rng::new(2).shuffle(&mut order);
    for indices in order.chunks_exact(64) {
        black_box(file.batch(indices, &transform).unwrap());
    }
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        println!("usage: cargo bench -p halocast-data --bench io -- FOLDER [JOB...]");
        return;
    };
    let mut jobs: Vec<(String, Box<dyn Fn()>)> = Vec::new();
    let five = ["Coordinates", "Velocities", "Masses", "Density", "ParticleIDs"];
    for kind in ["contig", "chunked", "gzip"] {
        let path = folder.join(format!("snap_{kind}.hdf5"));
        let file = path.clone();
        jobs.push((format!("h5_full5fields_5e6_{kind}"), Box::new(move || fields(&file, &five))));
        let file = path.clone();
        jobs.push((format!("h5_coords_5e6_{kind}"), Box::new(move || fields(&file, &["Coordinates"]))));
        let file = path.clone();
        jobs.push((format!("h5_coords_to_f32_{kind}"), Box::new(move || single(&file))));
        let file = path.clone();
        jobs.push((format!("h5_100slabs_2e4_{kind}"), Box::new(move || ranges(&file, 100, 20_000))));
        jobs.push((format!("h5_1000ranges_1e3_{kind}"), Box::new(move || ranges(&path, 1000, 1000))));
    }
    let path = folder.join("cmd_3000x256x256_f32.npy");
    let file = path.clone();
    jobs.push(("npy_46batches64_256_log10_norm".into(), Box::new(move || batches(&file))));
    jobs.push((
        "npy_full_read_750MB".into(),
        Box::new(move || drop(black_box(read_npy_f32(&path).unwrap()))),
    ));
    for (name, job) in jobs {
        if arguments.len() > 1 && !arguments[1..].iter().any(|a| name.contains(a.as_str())) {
            continue;
        }
        job();
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                job();
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (median, min, peak) = (times[RUNS / 2], times[0], peak_mb());
        println!(
            "{{\"job\": \"{name}\", \"median_s\": {median:.4}, \"min_s\": {min:.4}, \"peak_rss_mb\": {peak:.0}}}"
        );
    }
}
