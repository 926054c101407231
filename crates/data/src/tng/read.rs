//! Reading particles: all, a range of rows, the members of an object, or those of a region.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
use rayon::prelude::*;

use super::offsets::Members;
use super::rows::{BLOCK, Rows, Wanted, keep, read_these, thin};
use super::snapshot::{Precision, ReadOptions, Survey, group_name};
use super::units;
use crate::hdf5::{Hdf5Type, numbers_mut, split, zeros};
use crate::{Error, Result};

/// The field that tells stars from wind.
const FORMATION_TIME: &str = "GFM_StellarFormationTime";

/// A snapshot whose files have been found and checked, for reading parts of it.
///
/// `path` is a file, any one chunk of many (it stands for all), or a folder: of chunks, or with `snapdir_NNN/`,
/// `snapshots/NNN/` or `output/snapdir_NNN/` below it. Names are `snap_NNN`, `snapshot_NNN` or `snap_subboxS_NNN`, with or
/// without a chunk number: the layouts of IllustrisTNG, of skais-mapper and of CAMELS, old and new.
///
/// ```no_run
/// use halocast_core::Species;
/// use halocast_data::{Offsets, ReadOptions, SnapshotReader, read_groups};
/// # fn main() -> halocast_data::Result<()> {
/// let options = ReadOptions::default().only(Species::Gas).with_fields(&["Coordinates", "Masses"]);
/// let snapshot = SnapshotReader::open("TNG50-4/output/snapdir_099", &options)?;
/// let groups = read_groups("TNG50-4/output/groups_099", &ReadOptions::default())?;
/// let galaxy = snapshot.read_members(&Offsets::of(&groups)?.subhalo(7)?)?;
/// let corner = snapshot.read_region([1000.0; 3], [500.0; 3])?;
/// # let _ = (galaxy, corner); Ok(()) }
/// ```
pub struct SnapshotReader {
    path: PathBuf,
    survey: Survey,
    options: ReadOptions,
    warnings: Vec<String>,
}

impl SnapshotReader {
    /// Finds the files, reads their headers and counts what they hold.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when files or particles are missing, unless [`ReadOptions::allow_missing`];
    /// [`Error::NotFound`]; [`Error::Read`]; [`Error::Hdf5`]; [`Error::Invalid`] for a header or shapes that cannot be;
    /// [`Error::Absent`] for a species that is asked for and not there.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let survey = Survey::new(path, options)?;
        let mut warnings = survey.first.defaults.clone();
        if survey.incomplete.is_something() {
            if !options.allow_missing {
                return Err(Error::Incomplete(survey.incomplete));
            }
            warnings.extend(survey.incomplete.lines());
        }
        for warning in &warnings {
            tracing::warn!(path = %path.display(), "{warning}");
        }
        let reader = Self { path: path.to_path_buf(), survey, options: options.clone(), warnings };
        reader.check_species()?;
        Ok(reader)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.survey.first.header
    }

    /// What is missing or assumed, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The particles of a species in the files.
    pub fn stored(&self, species: Species) -> u64 {
        self.survey.stored[species.number()]
    }

    /// All that the options ask for.
    ///
    /// # Errors
    /// [`Error::Absent`] for a field that no species has; the errors of reading.
    pub fn read(&self) -> Result<Snapshot> {
        self.collect(|species| {
            let n = species.number();
            let chunks = self.survey.files.iter().enumerate().filter(|(_, c)| c.rows[n] > 0);
            Ok(chunks.map(|(i, c)| (i, Rows::Range(0..c.rows[n] as usize))).collect())
        })
    }

    /// Rows of one species, counted over the whole snapshot.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are no such rows; [`Error::Incomplete`] when they lie behind a missing file: their
    /// place is then unknown.
    pub fn read_rows(&self, species: Species, rows: Range<u64>) -> Result<ParticleSet> {
        let wanted = self.survey.locate(species, rows)?;
        self.read_set(species, wanted.into_iter().map(|(i, r)| (i, Rows::Range(r))).collect())
    }

    /// The members of a group or subhalo: of each species that the options ask for, and that it has.
    ///
    /// # Errors
    /// As [`SnapshotReader::read_rows`].
    pub fn read_members(&self, members: &Members) -> Result<Snapshot> {
        self.collect(|species| {
            let rows = members.rows(species);
            let located = self.survey.locate(species, rows)?;
            Ok(located.into_iter().map(|(i, r)| (i, Rows::Range(r))).collect())
        })
    }

    /// The particles within `half` (ckpc/h, per axis) of a centre, across the sides of the periodic box.
    ///
    /// Positions stay as they are stored. Cost: the coordinates are read once, the other fields where needed.
    ///
    /// # Errors
    /// The errors of reading; [`Error::Invalid`] for coordinates that are no rows of three, or an absurd region.
    pub fn read_region(&self, centre: [f64; 3], half: [f64; 3]) -> Result<Snapshot> {
        if centre.iter().chain(&half).any(|x| !x.is_finite()) || half.iter().any(|h| *h < 0.0) {
            let got = format!("centre {centre:?}, half widths {half:?}");
            return Err(Error::invalid(&self.path, "region", "finite numbers, widths of at least 0", got));
        }
        let side = self.header().box_size;
        let to_kpc = self.survey.first.system.to_kpc();
        let inside = |x: [f64; 3]| {
            (0..3).all(|i| {
                let distance = (x[i] * to_kpc - centre[i]).rem_euclid(side);
                distance.min(side - distance) <= half[i]
            })
        };
        self.collect(|species| {
            let dataset = format!("{}/Coordinates", group_name(species));
            let mut wanted = Vec::new();
            for (i, chunk) in self.survey.files.iter().enumerate() {
                let rows = chunk.rows[species.number()] as usize;
                let mut these = Vec::new();
                for start in (0..rows).step_by(BLOCK) {
                    let block = start..(start + BLOCK).min(rows);
                    let values = chunk.file()?.read_rows(&dataset, block)?.to_f64();
                    if values.ndim() != 2 || values.shape()[1] != 3 {
                        let got = format!("{:?}", values.shape());
                        return Err(Error::invalid(&chunk.path, dataset, "rows of three", got));
                    }
                    let found = values.outer_iter().enumerate().filter(|(_, x)| inside([x[0], x[1], x[2]]));
                    these.extend(found.map(|(j, _)| start + j));
                }
                if !these.is_empty() {
                    wanted.push((i, Rows::These(these)));
                }
            }
            Ok(wanted)
        })
    }

    /// A snapshot of the rows that `of` picks for each species.
    fn collect(&self, of: impl Fn(Species) -> Result<Wanted>) -> Result<Snapshot> {
        let mut sets = BTreeMap::new();
        for species in Species::ALL.into_iter().filter(|&s| self.options.wants_species(s)) {
            if self.stored(species) > 0 {
                let wanted = of(species)?;
                if !wanted.is_empty() {
                    sets.insert(species, self.read_set(species, wanted)?);
                }
            }
        }
        let snapshot = Snapshot { header: self.header().clone(), sets, warnings: self.warnings.clone() };
        self.check_fields(&snapshot)?;
        Ok(snapshot)
    }

    fn read_set(&self, species: Species, wanted: Wanted) -> Result<ParticleSet> {
        let mut wanted = thin(wanted, self.options.stride.max(1));
        let without_wind = self.options.without_wind && species == Species::Stars;
        let names = self.names(species, &wanted)?;
        if without_wind && names.contains(FORMATION_TIME) {
            let (times, _) = self.read_field(species, FORMATION_TIME, &wanted)?;
            let stars: Vec<bool> = times.to_f64().iter().map(|time| *time > 0.0).collect();
            wanted = keep(wanted, &stars);
        } else if without_wind && !names.is_empty() {
            return Err(Error::Absent {
                path: self.path.clone(),
                field: format!("{}/{FORMATION_TIME}, which tells wind from stars", group_name(species)),
                available: names.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
        let total = wanted.iter().map(|(_, rows)| rows.len()).sum();
        let mut set = ParticleSet::new(species, total);
        for name in names.into_iter().filter(|n| self.options.wants_field(n)) {
            let (values, unit) = self.read_field(species, &name, &wanted)?;
            set.insert(name, values, unit)?;
        }
        Ok(set)
    }

    /// The fields of a species in the files that are read.
    fn names(&self, species: Species, wanted: &Wanted) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for (i, _) in wanted {
            names.extend(self.survey.files[*i].file()?.datasets(&group_name(species))?);
        }
        Ok(names)
    }

    fn read_field(&self, species: Species, name: &str, wanted: &Wanted) -> Result<(FieldValues, Unit)> {
        let dataset = format!("{}/{name}", group_name(species));
        let parts: Vec<Part> = wanted.iter().map(|(i, rows)| Part { chunk: *i, rows }).collect();
        let mut like: Option<(Vec<usize>, Hdf5Type, Unit)> = None;
        for part in &parts {
            let chunk = &self.survey.files[part.chunk];
            let file = chunk.file()?;
            let available = file.datasets(&group_name(species))?;
            if !available.iter().any(|n| n == name) {
                let (path, available) = (chunk.path.clone(), available.join(", "));
                return Err(Error::Absent { path, field: format!("dataset {dataset}"), available });
            }
            let info = file.info(&dataset)?;
            let unit = units::read_in(name, &file.attributes(&dataset)?, self.survey.first.system);
            let tail = info.shape.get(1..).unwrap_or(&[]).to_vec();
            match &like {
                None => like = Some((tail, info.dtype, unit)),
                Some((first_tail, first_type, first_unit)) => {
                    if (&tail, &info.dtype) != (first_tail, first_type) {
                        let expected = format!("[.., {first_tail:?}] of {first_type} as in other files");
                        let got = format!("[.., {tail:?}] of {}", info.dtype);
                        return Err(Error::invalid(&chunk.path, &dataset, expected, got));
                    }
                    if unit != *first_unit {
                        let (expected, got) =
                            (format!("{first_unit:?} as in other files"), format!("{unit:?}"));
                        return Err(Error::invalid(&chunk.path, format!("unit of {dataset}"), expected, got));
                    }
                }
            }
        }
        let Some((tail, dtype, unit)) = like else {
            return Err(Error::invalid(&self.path, dataset, "rows to read", "none"));
        };
        let target = match (&dtype, self.options.precision) {
            (Hdf5Type::Float(_), Precision::Single) => Hdf5Type::Float(4),
            (Hdf5Type::Float(_), Precision::Double) => Hdf5Type::Float(8),
            _ => dtype.clone(),
        };
        let total: usize = parts.iter().map(|p| p.rows.len()).sum();
        let shape: Vec<usize> = std::iter::once(total).chain(tail.iter().copied()).collect();
        let per_row: usize = tail.iter().product();
        let not_numbers = || Error::invalid(&self.path, &dataset, "numbers", dtype.to_string());
        let mut values = zeros(&target, &shape).ok_or_else(not_numbers)?;
        let mut rest = numbers_mut(&mut values).ok_or_else(not_numbers)?;
        let mut jobs = Vec::with_capacity(parts.len());
        for part in parts {
            let (own, others) = split(rest, part.rows.len() * per_row);
            jobs.push((part, own));
            rest = others;
        }
        jobs.into_par_iter().try_for_each(|(part, out)| {
            let file = self.survey.files[part.chunk].file()?;
            match part.rows {
                Rows::Range(rows) => file.read_into(&dataset, rows.clone(), out),
                Rows::These(rows) => read_these(&*file, &dataset, rows, &target, &tail, out),
            }
        })?;
        Ok((values, unit))
    }

    /// A species that was asked for by name has to be somewhere.
    fn check_species(&self) -> Result<()> {
        for species in self.options.species.iter().flatten() {
            // None promised and none stored: an empty set, asked for or not, is what there is.
            if self.stored(*species) == 0 && self.header().promised[species.number()] == 0 {
                let present = Species::ALL.iter().filter(|s| self.stored(**s) > 0).map(Species::to_string);
                return Err(Error::Absent {
                    path: self.path.clone(),
                    field: format!("particles of type {species}"),
                    available: present.collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(())
    }

    /// A field that was asked for by name has to be somewhere.
    fn check_fields(&self, snapshot: &Snapshot) -> Result<()> {
        for field in self.options.fields.iter().flatten() {
            if !snapshot.sets.is_empty() && snapshot.sets.values().all(|set| set.field(field).is_err()) {
                let mut available = BTreeSet::new();
                for species in snapshot.sets.keys() {
                    for chunk in self.survey.files.iter().filter(|c| c.rows[species.number()] > 0) {
                        available.extend(chunk.file()?.datasets(&group_name(*species))?);
                    }
                }
                return Err(Error::Absent {
                    path: self.path.clone(),
                    field: format!("field {field:?}"),
                    available: available.into_iter().collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(())
    }
}

struct Part<'a> {
    chunk: usize,
    rows: &'a Rows,
}

/// Reads a snapshot: as [`SnapshotReader::open`] and [`SnapshotReader::read`].
///
/// Values keep the type they are stored with, up to widening integers to 64 bits and halves to 32, unless
/// [`ReadOptions::precision`] says otherwise. Units come from the attributes `to_cgs`, `a_scaling` and `h_scaling`, else
/// from a table of IllustrisTNG's fields. What a header does not say is taken from IllustrisTNG's cosmology, and the box
/// of CAMELS (25 Mpc/h), with a line in [`Snapshot::warnings`].
///
/// # Errors
/// As [`SnapshotReader::open`]; [`Error::Absent`] for a field that is asked for and not there.
pub fn read_snapshot(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Snapshot> {
    SnapshotReader::open(path, options)?.read()
}
