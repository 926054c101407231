//! Making a set: one part a simulation, then the files of CMD from the parts.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use halocast::core::{Progress, Rng, write_whole};
use halocast::data::{CmdName, split_by_group, write_npy, write_params};
use halocast::mock::{Populated, Universe};
use ndarray::{Array2, ArrayD, Axis, IxDyn};

use super::config::{DatasetConfig, Simulation};
use super::fields::{Radii, field_cube, field_maps};
use super::parts::{claim, make_missing};
use super::shards::shards;
use super::share::Share;

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
/// * where shards are asked for, the same three in a folder for each shard, and the table of all;
/// * `splits.json`, the simulations to train on, to validate and to test;
/// * `dataset.json`, the whole configuration and the version: *mock* is its first word.
///
/// Every simulation is a part file first, written whole or not at all. A run that was killed goes on from its parts and ends
/// with the same bytes; a folder of another configuration is refused. Several processes, each with its `share`, make a set
/// together.
///
/// # Errors
/// When the configuration is absurd, the folder is another set's, or the disk refuses.
pub fn make(config: &DatasetConfig, share: Share, progress: &Progress<'_>) -> Result<Report> {
    config.validate()?;
    let out = &config.out;
    claim(out, "mock", "a stand-in for development, not a simulation to publish with", config, share)?;
    let simulations = config.list();
    let parts: Vec<PathBuf> = (0..simulations.len()).map(|i| out.join(format!("parts/{i:06}"))).collect();
    let files = expected(config);
    if files.iter().all(|f| f.exists()) {
        let n = simulations.len();
        return Ok(Report { files, simulations: n, resumed: n });
    }
    let resumed = parts.iter().filter(|p| whole(config, p)).count();
    let finished = || files.iter().all(|f| f.exists());
    let is_there = |i: usize| whole(config, &parts[i]) || (!share.is_first() && finished());
    let one = |i: usize| one(config, &simulations[i], &parts[i]);
    make_missing(simulations.len(), "simulation", share, is_there, one, progress)?;
    if !share.is_first() {
        return Ok(Report { files, simulations: simulations.len(), resumed });
    }
    assemble(config, &simulations, &parts)?;
    // The parts are all in the files now.
    std::fs::remove_dir_all(out.join("parts")).context("cannot remove the parts")?;
    Ok(Report { files, simulations: simulations.len(), resumed })
}

/// The files of a finished set.
fn expected(config: &DatasetConfig) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = shards(config).iter().flat_map(|shard| shard.files(config)).collect();
    files.push(config.out.join("splits.json"));
    let name = CmdName {
        prefix: String::new(),
        suite: config.suite.clone(),
        set: config.set.name().into(),
        redshift: config.universe.redshift,
    };
    files.push(config.out.join(name.params_file_name()));
    files
}

/// Whether a part is there with every file it should have; each is whole where it exists.
fn whole(config: &DatasetConfig, part: &Path) -> bool {
    (config.grid == 0 || part.with_extension("maps.npy").exists())
        && (config.cube == 0 || part.with_extension("cubes.npy").exists())
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

/// The files of the set, a shard and a field at a time.
fn assemble(config: &DatasetConfig, list: &[Simulation], parts: &[PathBuf]) -> Result<()> {
    for shard in shards(config) {
        shard.write(config, parts)?;
        if config.shard > 0 {
            write_params(shard.folder(), &config.suite, config.set.name(), &table(&list[shard.range()]))?;
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
    write_params(&config.out, &config.suite, config.set.name(), &table(list))?;
    Ok(())
}

/// The parameters of simulations, a row each.
fn table(list: &[Simulation]) -> Array2<f64> {
    Array2::from_shape_fn((list.len(), 6), |(i, p)| list[i].parameters[p])
}

#[cfg(test)]
mod tests {
    use halocast::data::{CmdMaps, SkaisFile, open_hdf5, read_npy_f32, read_params};
    use halocast::mock::UniverseConfig;

    use super::*;
    use crate::make_dataset::{FIELDS, Format, SetKind};

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
        let report = make(&whole_run, Share::ALONE, &|_, _| {}).unwrap();
        assert_eq!((report.files.len(), report.resumed), (28, 0));
        // One part there, one half written under its temporary name, as a kill leaves it.
        let list = stopped.list();
        one(&stopped, &list[1], &stopped.out.join("parts/000001")).unwrap();
        std::fs::write(stopped.out.join("parts/000002.maps.npy.partial"), b"half").unwrap();
        let again = make(&stopped, Share::ALONE, &|_, _| {}).unwrap();
        assert_eq!(again.resumed, 1);
        for (a, b) in report.files.iter().zip(&again.files) {
            assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{}", a.display());
        }
        // A finished set is left alone; another configuration is refused.
        assert_eq!(make(&stopped, Share::ALONE, &|_, _| {}).unwrap().resumed, 3);
        let other = DatasetConfig { seed: 2, ..stopped.clone() };
        assert!(make(&other, Share::ALONE, &|_, _| {}).unwrap_err().to_string().contains("another set"));

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

        // The same maps and cubes in shards of two simulations, as npy and as HDF5.
        let [npy, hdf5] = [Format::Npy, Format::Hdf5].map(|format| {
            let out = dir.join(format!("{format:?}"));
            let fields = vec!["Mcdm".into(), "T".into()];
            let config = DatasetConfig { shard: 2, format, fields, ..small(&out) };
            assert_eq!(make(&config, Share::ALONE, &|_, _| {}).unwrap().files.len(), 10);
            out
        });
        for field in ["Mcdm", "T"] {
            let whole = read_npy_f32(whole_run.out.join(format!("Maps_{field}_HalocastMock_LH_z=0.00.npy")));
            let whole = whole.unwrap();
            let grids = whole_run.out.join(format!("Grids_{field}_HalocastMock_LH_8_z=0.00.npy"));
            let grids = read_npy_f32(grids).unwrap();
            for (shard, first, count) in [("000000-000001", 0, 2), ("000002-000002", 2, 1)] {
                assert_eq!(
                    read_params(npy.join(shard).join("params_LH_HalocastMock.txt")).unwrap().len(),
                    count
                );
                let maps = npy.join(shard).join(format!("Maps_{field}_HalocastMock_LH_z=0.00.npy"));
                let maps = CmdMaps::open(maps).unwrap();
                assert_eq!(maps.len(), 15 * count);
                let file = hdf5.join(shard).join(format!("Maps_{field}_HalocastMock_LH_z=0.00.hdf5"));
                let images = SkaisFile::open(file).unwrap();
                assert_eq!(images.shape(field).unwrap(), [15 * count, 16, 16]);
                for i in 0..15 * count {
                    let expected = whole.index_axis(Axis(0), 15 * first + i);
                    assert_eq!(maps.map(i).unwrap().values.view().into_dyn(), expected);
                    let image = images.image(field, i).unwrap();
                    assert_eq!(image.map.values.view().into_dyn(), expected);
                    assert_eq!((image.gid(), image.map.extent), (Some((first + i / 15) as u64), [12.0; 2]));
                }
                let file = hdf5.join(shard).join(format!("Grids_{field}_HalocastMock_LH_8_z=0.00.hdf5"));
                let cubes = open_hdf5(file).unwrap().read_f32(&format!("{field}/grids")).unwrap();
                assert_eq!(cubes, grids.slice_axis(Axis(0), (first..first + count).into()));
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
