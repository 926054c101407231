//! Making a set: one part a simulation, then the files of CMD from the parts.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use halocast::core::{Progress, Rng, write_whole};
use halocast::data::{CmdName, NpyFile, split_by_group, write_npy, write_params};
use halocast::mock::{Populated, Universe};
use ndarray::{Array2, ArrayD, Axis, IxDyn};

use super::config::{DatasetConfig, Simulation};
use super::fields::{Radii, field_cube, field_maps};
use super::parts::{claim, make_missing};

/// What was made.
#[derive(Clone, Debug)]
pub struct Report {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Simulations in the set.
    pub simulations: usize,
    /// Simulations that were found finished.
    pub resumed: usize,
}

/// Makes a set, one simulation a thread at a time, and writes:
///
/// * `Maps_{field}_{suite}_{set}_z={z}.npy`, `[simulation x 3 slabs, y, x]`, and `Grids_{field}_{suite}_{set}_{n}_z={z}.npy`,
///   `[simulation, x, y, z]`;
/// * `params_{set}_{suite}.txt`, a row a simulation;
/// * `splits.json`, the simulations to train on, to validate and to test;
/// * `dataset.json`, the whole configuration and the version: *mock* is its first word.
///
/// Every simulation is a part file first, written whole or not at all. A run that was killed goes on from its parts and ends
/// with the same bytes; a folder of another configuration is refused.
///
/// # Errors
/// When the configuration is absurd, the folder is another set's, or the disk refuses.
pub fn make(config: &DatasetConfig, progress: &Progress<'_>) -> Result<Report> {
    config.validate()?;
    let out = &config.out;
    claim(out, "mock", "a stand-in for development, not a simulation to publish with", config)?;
    let simulations = config.list();
    let parts: Vec<PathBuf> = (0..simulations.len()).map(|i| out.join(format!("parts/{i:06}"))).collect();
    let files = expected(config);
    if files.iter().all(|f| f.exists()) {
        let n = simulations.len();
        return Ok(Report { files, simulations: n, resumed: n });
    }
    let resumed = parts.iter().filter(|p| whole(config, p)).count();
    simulate(config, &simulations, &parts, progress)?;
    assemble(config, &simulations, &parts)?;
    // The parts are all in the files now.
    std::fs::remove_dir_all(out.join("parts")).context("cannot remove the parts")?;
    Ok(Report { files, simulations: simulations.len(), resumed })
}

/// The files of a finished set.
fn expected(config: &DatasetConfig) -> Vec<PathBuf> {
    let name = |field: &String| CmdName {
        prefix: field.clone(),
        suite: config.suite.clone(),
        set: config.set.name().into(),
        redshift: config.universe.redshift,
    };
    let mut files = Vec::new();
    if config.grid > 0 {
        files.extend(config.fields.iter().map(|f| config.out.join(name(f).file_name())));
    }
    if config.cube > 0 {
        files.extend(config.fields.iter().map(|f| config.out.join(grid_name(config, f))));
    }
    let parameters = CmdName { prefix: String::new(), ..name(&String::new()) }.params_file_name();
    files.push(config.out.join("splits.json"));
    files.push(config.out.join(parameters));
    files
}

fn grid_name(config: &DatasetConfig, field: &str) -> String {
    let (suite, set) = (&config.suite, config.set.name());
    format!("Grids_{field}_{suite}_{set}_{}_z={:.2}.npy", config.cube, config.universe.redshift)
}

/// Whether a part is there with every file it should have; each is whole where it exists.
fn whole(config: &DatasetConfig, part: &Path) -> bool {
    (config.grid == 0 || part.with_extension("maps.npy").exists())
        && (config.cube == 0 || part.with_extension("cubes.npy").exists())
}

/// Makes the parts that are missing, one thread a simulation.
fn simulate(
    config: &DatasetConfig,
    list: &[Simulation],
    parts: &[PathBuf],
    progress: &Progress<'_>,
) -> Result<()> {
    let is_there = |i: usize| whole(config, &parts[i]);
    make_missing(list.len(), "simulation", is_there, |i| one(config, &list[i], &parts[i]), progress)
}

/// One simulation: `[field, map, y, x]` and `[field, x, y, z]`.
fn one(config: &DatasetConfig, simulation: &Simulation, part: &Path) -> Result<()> {
    let universe = Universe::simulate(&config.universe_of(simulation), &|_, _| {})?;
    let universe = Populated::new(universe, &config.halos, &config.baryons_of(simulation))?;
    if config.grid > 0 {
        let radii = Radii::new(&universe, &config.fields)?;
        let (maps, grid) = (3 * config.slabs, config.grid);
        let mut all = ArrayD::<f32>::zeros(IxDyn(&[config.fields.len(), maps, grid, grid]));
        for (field, mut out) in config.fields.iter().zip(all.outer_iter_mut()) {
            for (map, mut out) in
                field_maps(&universe, &radii, field, config.slabs, grid)?.iter().zip(out.outer_iter_mut())
            {
                map.require_finite()?;
                out.assign(&map.values);
            }
        }
        write_npy(part.with_extension("maps.npy"), &all)?;
    }
    if config.cube > 0 {
        let cubes = config
            .fields
            .iter()
            .map(|f| field_cube(&universe, f, config.cube))
            .collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = cubes.iter().map(|c| c.view()).collect();
        write_npy(part.with_extension("cubes.npy"), &ndarray::stack(Axis(0), &views)?)?;
    }
    Ok(())
}

/// The files of the set, a field at a time, with one simulation's part of it in memory.
fn assemble(config: &DatasetConfig, list: &[Simulation], parts: &[PathBuf]) -> Result<()> {
    for (f, field) in config.fields.iter().enumerate() {
        if config.grid > 0 {
            let name = CmdName {
                prefix: field.clone(),
                suite: config.suite.clone(),
                set: config.set.name().into(),
                redshift: config.universe.redshift,
            };
            let shape = [list.len() * 3 * config.slabs, config.grid, config.grid];
            join(&config.out.join(name.file_name()), &shape, parts, "maps.npy", f)?;
        }
        if config.cube > 0 {
            let shape = [list.len(), config.cube, config.cube, config.cube];
            join(&config.out.join(grid_name(config, field)), &shape, parts, "cubes.npy", f)?;
        }
    }
    let groups: Vec<usize> = (0..list.len()).collect();
    let mut rng = Rng::new(config.seed).split_named("split");
    let [train, validation, test] = match split_by_group(&groups, config.split, &mut rng) {
        Ok(sets) => sets,
        // A few simulations make no three sets: all are to train on.
        Err(_) if list.len() < 3 => [groups, Vec::new(), Vec::new()],
        Err(error) => return Err(error.into()),
    };
    let splits = serde_json::json!({ "train": train, "validation": validation, "test": test });
    let splits = serde_json::to_string_pretty(&splits)?;
    write_whole(config.out.join("splits.json"), |w| w.write_all(splits.as_bytes()))?;
    // The last file: where it is, the set is finished.
    let table = Array2::from_shape_fn((list.len(), 6), |(i, p)| list[i].parameters[p]);
    write_params(&config.out, &config.suite, config.set.name(), &table)?;
    Ok(())
}

/// Writes the `field`-th item of every part, one after the other, as an npy array of `shape`.
fn join(path: &Path, shape: &[usize], parts: &[PathBuf], kind: &str, field: usize) -> Result<()> {
    let list: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", list.join(", "));
    // Magic, version and length are 10 bytes; the data begin at a multiple of 64.
    let padding = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut failed = None;
    let mut written = 0usize;
    write_whole(path, |w| {
        w.write_all(b"\x93NUMPY\x01\x00")?;
        w.write_all(&(header.len() as u16).to_le_bytes())?;
        w.write_all(header.as_bytes())?;
        for part in parts {
            match NpyFile::open(part.with_extension(kind)).and_then(|file| file.item(field)) {
                Ok(item) => {
                    written += item.len();
                    item.iter().try_for_each(|v| w.write_all(&v.to_le_bytes()))?;
                }
                Err(error) => {
                    let line = error.to_string();
                    failed = Some(error);
                    return Err(std::io::Error::other(line));
                }
            }
        }
        if written != shape.iter().product::<usize>() {
            return Err(std::io::Error::other(format!("parts hold {written} numbers, expected {shape:?}")));
        }
        Ok(())
    })
    .map_err(|error| failed.map_or_else(|| error.into(), anyhow::Error::from))
}

#[cfg(test)]
mod tests {
    use halocast::data::{CmdMaps, read_params};
    use halocast::mock::UniverseConfig;

    use super::*;
    use crate::make_dataset::{FIELDS, SetKind};

    fn small(out: &Path) -> DatasetConfig {
        let universe =
            UniverseConfig { particles: 24, box_side: 12.0, steps: 6, ..DatasetConfig::default().universe };
        DatasetConfig {
            simulations: 3,
            fields: FIELDS.map(String::from).to_vec(),
            grid: 16,
            cube: 8,
            split: [0.34, 0.33, 0.33],
            out: out.into(),
            universe,
            ..Default::default()
        }
    }

    #[test]
    fn a_set_that_was_stopped_ends_with_the_same_bytes() {
        let dir = std::env::temp_dir().join(format!("halocast-dataset-{}", std::process::id()));
        let [whole_run, stopped] = ["whole", "stopped"].map(|name| small(&dir.join(name)));
        let report = make(&whole_run, &|_, _| {}).unwrap();
        assert_eq!((report.files.len(), report.resumed), (28, 0));
        // One part there, one half written under its temporary name, as a kill leaves it.
        let list = stopped.list();
        one(&stopped, &list[1], &stopped.out.join("parts/000001")).unwrap();
        std::fs::write(stopped.out.join("parts/000002.maps.npy.partial"), b"half").unwrap();
        let again = make(&stopped, &|_, _| {}).unwrap();
        assert_eq!(again.resumed, 1);
        for (a, b) in report.files.iter().zip(&again.files) {
            assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{}", a.display());
        }
        // A finished set is left alone; another configuration is refused.
        assert_eq!(make(&stopped, &|_, _| {}).unwrap().resumed, 3);
        let other = DatasetConfig { seed: 2, ..stopped.clone() };
        assert!(make(&other, &|_, _| {}).unwrap_err().to_string().contains("another set"));

        let params = read_params(report.files.last().unwrap()).unwrap();
        assert_eq!(params.len(), 3);
        for field in FIELDS {
            let file = whole_run.out.join(format!("Maps_{field}_HalocastMock_LH_z=0.00.npy"));
            let maps = CmdMaps::open(file).unwrap().with_params(&params).unwrap();
            assert_eq!((maps.len(), maps.shape()), (45, [16, 16]));
            // Not every simulation has stars.
            let values: Vec<f32> = (0..45).flat_map(|i| maps.map(i).unwrap().values.into_iter()).collect();
            assert!(values.iter().all(|&v| v >= 0.0) && values.iter().any(|&v| v > 0.0), "{field}");
        }
        assert_eq!(SetKind::LH.name(), "LH");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
