//! Reading a snapshot: all its files, the species and fields asked for, and a count of what should be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use halocast_core::{FieldValues, ParticleSet, Snapshot, Species, Unit};
use ndarray::{ArrayD, Axis, concatenate};

use super::chunks::Chunks;
use super::header::RawHeader;
use super::units;
use crate::error::Incomplete;
use crate::hdf5::{Hdf5Read, open_hdf5};
use crate::{Error, Result};

/// What to read of a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// The species to read; `None` for all.
    pub species: Option<Vec<Species>>,
    /// The fields to read, of each species that has them; `None` for all.
    pub fields: Option<Vec<String>>,
    /// Whether missing files and particles are warnings of the snapshot, not an error.
    pub allow_missing: bool,
    /// The number of the snapshot, where a folder holds several.
    pub snapshot: Option<u64>,
    /// The side of the box in ckpc/h, in place of the header's.
    pub box_size: Option<f64>,
}

impl ReadOptions {
    /// Everything, and what is missing is a warning.
    pub fn allow_missing() -> Self {
        Self { allow_missing: true, ..Self::default() }
    }

    /// Only this species.
    pub fn only(mut self, species: Species) -> Self {
        self.species.get_or_insert_default().push(species);
        self
    }

    /// Only these fields.
    pub fn with_fields(mut self, fields: &[&str]) -> Self {
        self.fields = Some(fields.iter().map(|&f| f.to_owned()).collect());
        self
    }

    fn wants_species(&self, species: Species) -> bool {
        self.species.as_ref().is_none_or(|s| s.contains(&species))
    }

    fn wants_field(&self, name: &str) -> bool {
        self.fields.as_ref().is_none_or(|f| f.iter().any(|field| field == name))
    }
}

/// The group of a species in a file.
pub(super) fn group_name(species: Species) -> String {
    format!("PartType{}", species.number())
}

/// The rows of the datasets of a species in one file; all agree. `None` when the file has no such group.
pub(super) fn stored_rows(file: &dyn Hdf5Read, groups: &[String], species: Species) -> Result<Option<u64>> {
    let group = group_name(species);
    if !groups.contains(&group) {
        return Ok(None);
    }
    let mut rows: Option<(String, usize)> = None;
    for name in file.datasets(&group)? {
        let dataset = format!("{group}/{name}");
        let here = file.info(&dataset)?.rows();
        match &rows {
            Some((first, count)) if *count != here => {
                let expected = format!("{count} rows as in {first}");
                return Err(Error::invalid(file.path(), dataset, expected, here.to_string()));
            }
            Some(_) => {}
            None => rows = Some((dataset, here)),
        }
    }
    Ok(rows.map(|(_, count)| count as u64))
}

/// A snapshot whose files have been found, opened and counted.
pub(super) struct Survey {
    pub chunks: Chunks,
    pub first: RawHeader,
    pub files: Vec<OpenChunk>,
    pub stored: [u64; 6],
    pub incomplete: Incomplete,
}

pub(super) struct OpenChunk {
    pub file: Box<dyn Hdf5Read>,
    pub rows: [u64; 6],
}

impl Survey {
    pub(super) fn new(path: &Path, options: &ReadOptions) -> Result<Self> {
        let chunks = Chunks::find(path, options.snapshot)?;
        let mut first: Option<RawHeader> = None;
        let mut files = Vec::with_capacity(chunks.files.len());
        let mut stored = [0u64; 6];
        let mut announced: Option<[u64; 6]> = Some([0; 6]);
        for (_, path) in &chunks.files {
            let file = open_hdf5(path)?;
            let header = RawHeader::read(&*file, options.box_size)?;
            let groups = file.groups("")?;
            let mut rows = [0; 6];
            for species in Species::ALL {
                rows[species.number()] = stored_rows(&*file, &groups, species)?.unwrap_or(0);
                stored[species.number()] += rows[species.number()];
            }
            announced = announced.zip(header.this_file).map(|(mut sum, here)| {
                sum.iter_mut().zip(here).for_each(|(s, h)| *s = s.saturating_add(h));
                sum
            });
            files.push(OpenChunk { file, rows });
            match &first {
                Some(first) => first.agree(&header, path)?,
                None => first = Some(header),
            }
        }
        let Some(mut first) = first else {
            let expected = "snapshot file".to_owned();
            return Err(Error::NotFound { path: path.to_path_buf(), expected });
        };
        // A file without a chunk number is whole by itself, whatever the run that it was cut from.
        let expected = if chunks.numbered { first.files.unwrap_or(chunks.files.len() as u64) } else { 1 };
        // Cutouts count only what they hold.
        let promised = first.total.or(announced).unwrap_or(stored);
        first.header.promised = promised;
        let counts = Species::ALL
            .into_iter()
            .map(|s| (s, promised[s.number()], stored[s.number()]))
            .filter(|(_, promised, stored)| promised != stored)
            .collect();
        let incomplete = Incomplete {
            path: chunks.path.clone(),
            missing: chunks.missing(expected),
            chunks_expected: expected,
            chunks_found: chunks.files.len() as u64,
            counts,
        };
        Ok(Self { chunks, first, files, stored, incomplete })
    }
}

/// Reads a snapshot.
///
/// `path` is a file, any one chunk of many (it stands for all), or a folder: of chunks, or with `snapdir_NNN/`,
/// `snapshots/NNN/` or `output/snapdir_NNN/` below it. Names are `snap_NNN` or `snapshot_NNN`, with or without a chunk
/// number: IllustrisTNG's and CAMELS' layouts, old and new.
///
/// Values keep the type they are stored with, up to widening integers to 64 bits and halves to 32. Units come from the
/// attributes `to_cgs`, `a_scaling` and `h_scaling`, else from a table of IllustrisTNG's fields. What a header does
/// not say is taken from IllustrisTNG's cosmology, and the box of CAMELS (25 Mpc/h), with a line in
/// [`Snapshot::warnings`].
///
/// # Errors
/// [`Error::Incomplete`] when files or particles are missing, unless [`ReadOptions::allow_missing`];
/// [`Error::NotFound`]; [`Error::Read`]; [`Error::Hdf5`]; [`Error::Invalid`] for a header or shapes that cannot be;
/// [`Error::Absent`] for a species or field that is asked for and not there.
pub fn read_snapshot(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Snapshot> {
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
    let mut sets = BTreeMap::new();
    for species in Species::ALL.into_iter().filter(|&s| options.wants_species(s)) {
        if survey.stored[species.number()] > 0 {
            sets.insert(species, read_species(&survey, species, options)?);
        }
    }
    let snapshot = Snapshot { header: survey.first.header.clone(), sets, warnings };
    check_request(path, &survey, &snapshot, options)?;
    Ok(snapshot)
}

/// A species or field that was asked for by name has to be somewhere.
fn check_request(path: &Path, survey: &Survey, snapshot: &Snapshot, options: &ReadOptions) -> Result<()> {
    let absent = |field: String, available: Vec<String>| Error::Absent {
        path: path.to_path_buf(),
        field,
        available: available.join(", "),
    };
    for species in options.species.iter().flatten() {
        // None promised and none stored: an empty set, asked for or not, is what there is.
        if !snapshot.sets.contains_key(species) && survey.first.header.promised[species.number()] == 0 {
            let present = Species::ALL.iter().filter(|s| survey.stored[s.number()] > 0);
            return Err(absent(
                format!("particles of type {species}"),
                present.map(Species::to_string).collect(),
            ));
        }
    }
    for field in options.fields.iter().flatten() {
        if !snapshot.sets.is_empty() && snapshot.sets.values().all(|set| set.field(field).is_err()) {
            let mut available = BTreeSet::new();
            for species in snapshot.sets.keys() {
                for chunk in survey.files.iter().filter(|c| c.rows[species.number()] > 0) {
                    available.extend(chunk.file.datasets(&group_name(*species))?);
                }
            }
            return Err(absent(format!("field {field:?}"), available.into_iter().collect()));
        }
    }
    Ok(())
}

fn read_species(survey: &Survey, species: Species, options: &ReadOptions) -> Result<ParticleSet> {
    let group = group_name(species);
    let files: Vec<_> = survey.files.iter().filter(|c| c.rows[species.number()] > 0).collect();
    let mut names = BTreeSet::new();
    let mut lists = Vec::with_capacity(files.len());
    for chunk in &files {
        let list = chunk.file.datasets(&group)?;
        names.extend(list.iter().cloned());
        lists.push(list);
    }
    let total = survey.stored[species.number()] as usize;
    let mut set = ParticleSet::new(species, total);
    for name in names.into_iter().filter(|n| options.wants_field(n)) {
        let dataset = format!("{group}/{name}");
        let mut parts = Vec::with_capacity(files.len());
        let mut unit: Option<Unit> = None;
        for (chunk, list) in files.iter().zip(&lists) {
            if !list.contains(&name) {
                let available = list.join(", ");
                let path = chunk.file.path().to_path_buf();
                return Err(Error::Absent { path, field: format!("dataset {dataset}"), available });
            }
            parts.push(chunk.file.read(&dataset)?);
            let here = units::read(&name, &chunk.file.attributes(&dataset)?);
            match &unit {
                Some(first) if *first != here => {
                    let (expected, got) = (format!("{first:?} as in other files"), format!("{here:?}"));
                    return Err(Error::invalid(
                        chunk.file.path(),
                        format!("unit of {dataset}"),
                        expected,
                        got,
                    ));
                }
                Some(_) => {}
                None => unit = Some(here),
            }
        }
        let values = join(&survey.chunks.path, &dataset, parts)?;
        set.insert(name, values, unit.unwrap_or_else(Unit::dimensionless))?;
    }
    Ok(set)
}

/// One array of the parts of many files.
fn join(path: &Path, dataset: &str, parts: Vec<FieldValues>) -> Result<FieldValues> {
    let other = || {
        Error::invalid(
            path,
            dataset,
            "the same type and shape in every file",
            "another type or shape in some",
        )
    };
    macro_rules! join_as {
        ($variant:ident) => {{
            let mut arrays = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    FieldValues::$variant(array) => arrays.push(array),
                    _ => return Err(other()),
                }
            }
            FieldValues::$variant(stack(arrays).ok_or_else(other)?)
        }};
    }
    Ok(match parts.first() {
        Some(FieldValues::F32(_)) => join_as!(F32),
        Some(FieldValues::F64(_)) => join_as!(F64),
        Some(FieldValues::I64(_)) => join_as!(I64),
        Some(FieldValues::U64(_)) => join_as!(U64),
        _ => return Err(other()),
    })
}

fn stack<T: Clone>(mut arrays: Vec<ArrayD<T>>) -> Option<ArrayD<T>> {
    if arrays.len() == 1 {
        return arrays.pop();
    }
    let views: Vec<_> = arrays.iter().map(|a| a.view()).collect();
    if views.iter().any(|v| v.ndim() == 0) {
        return None;
    }
    concatenate(Axis(0), &views).ok()
}
