//! The files of a set: maps and cubes of a range of simulations.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use halocast::core::{FieldValues, Map, write_whole};
use halocast::data::{Attribute, CmdName, GridName, NpyFile, SkaisImage, Storage, create_hdf5, write_skais};
use ndarray::{ArrayD, Axis, Ix2};

use super::config::{DatasetConfig, Format};

/// Some simulations of a set, with files of their own.
pub(super) struct Shard {
    folder: PathBuf,
    range: Range<usize>,
}

/// The shards of a set: one in its own folder, or many below it.
pub(super) fn shards(config: &DatasetConfig) -> Vec<Shard> {
    let all = config.list().len();
    if config.shard == 0 {
        return vec![Shard { folder: config.out.clone(), range: 0..all }];
    }
    let from = |first: usize| {
        let range = first..(first + config.shard).min(all);
        let folder = config.out.join(format!("{first:06}-{:06}", range.end - 1));
        Shard { folder, range }
    };
    (0..all).step_by(config.shard).map(from).collect()
}

impl Shard {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Its files of maps and cubes.
    pub(super) fn files(&self, config: &DatasetConfig) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if config.grid > 0 {
            files.extend(config.fields.iter().map(|f| self.maps_path(config, f)));
        }
        if config.cube > 0 {
            files.extend(config.fields.iter().map(|f| self.cubes_path(config, f)));
        }
        files
    }

    fn maps_path(&self, config: &DatasetConfig, field: &str) -> PathBuf {
        self.path(config, &name(config, field).file_name())
    }

    fn cubes_path(&self, config: &DatasetConfig, field: &str) -> PathBuf {
        let CmdName { prefix, suite, set, redshift } = name(config, field);
        self.path(config, &format!("Grids_{prefix}_{suite}_{set}_{}_z={redshift:.2}.npy", config.cube))
    }

    fn path(&self, config: &DatasetConfig, npy: &str) -> PathBuf {
        match config.format {
            Format::Npy => self.folder.join(npy),
            Format::Hdf5 => self.folder.join(npy.replace(".npy", ".hdf5")),
        }
    }

    /// Writes its files from the parts of all simulations, each whole or not at all.
    ///
    /// # Errors
    /// When a part cannot be read or the disk refuses.
    pub(super) fn write(&self, config: &DatasetConfig, parts: &[PathBuf]) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let parts = &parts[self.range()];
        for (f, field) in config.fields.iter().enumerate() {
            if config.grid > 0 {
                let path = self.maps_path(config, field);
                let shape = [parts.len() * 3 * config.slabs, config.grid, config.grid];
                match config.format {
                    Format::Npy => join(&path, &shape, parts, "maps.npy", f)?,
                    Format::Hdf5 => self.write_images(&path, config, field, parts, f)?,
                }
            }
            if config.cube > 0 {
                let path = self.cubes_path(config, field);
                let shape = [parts.len(), config.cube, config.cube, config.cube];
                match config.format {
                    Format::Npy => join(&path, &shape, parts, "cubes.npy", f)?,
                    Format::Hdf5 => write_grids(&path, config, field, parts, f)?,
                }
            }
        }
        Ok(())
    }

    /// The maps of a field in skais-mapper's layout; `gid` is the number of the simulation.
    fn write_images(
        &self,
        path: &Path,
        config: &DatasetConfig,
        field: &str,
        parts: &[PathBuf],
        f: usize,
    ) -> Result<()> {
        let unit = name(config, field).unit();
        let mut images = Vec::new();
        for (simulation, part) in self.range().zip(parts) {
            let maps = NpyFile::open(part.with_extension("maps.npy"))?.item(f)?;
            for (i, values) in maps.outer_iter().enumerate() {
                let values = values.into_dimensionality::<Ix2>()?.to_owned();
                let map = Map::square(field, values, config.universe.box_side).with_unit(unit.clone());
                let metadata = BTreeMap::from([
                    ("gid".to_owned(), Attribute::I64(vec![simulation as i64])),
                    ("map".to_owned(), Attribute::I64(vec![i as i64])),
                ]);
                images.push(SkaisImage { map, metadata });
            }
        }
        Ok(write_skais(path, &[(field, &images)])?)
    }
}

fn name(config: &DatasetConfig, field: &str) -> CmdName {
    CmdName {
        prefix: field.into(),
        suite: config.suite.clone(),
        set: config.set.name().into(),
        redshift: config.universe.redshift,
    }
}

/// The cubes of a field as one data set, a chunk each.
fn write_grids(path: &Path, config: &DatasetConfig, field: &str, parts: &[PathBuf], f: usize) -> Result<()> {
    let cubes = parts
        .iter()
        .map(|part| NpyFile::open(part.with_extension("cubes.npy"))?.item(f))
        .collect::<Result<Vec<ArrayD<f32>>, _>>()?;
    let views: Vec<_> = cubes.iter().map(|c| c.view()).collect();
    let all = ndarray::stack(Axis(0), &views)?;
    let unit = GridName { of: name(config, field), side: config.cube }.unit();
    let mut file = create_hdf5(path)?;
    file.create_group(field)?;
    let dataset = format!("{field}/grids");
    file.write_dataset(&dataset, &FieldValues::F32(all), Storage::Gzip { rows: 1, level: 4 })?;
    file.set_attribute(&dataset, "units", &Attribute::text(&unit.label))?;
    file.set_attribute(&dataset, "box_side", &Attribute::number(config.universe.box_side))?;
    Ok(file.finish()?)
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
