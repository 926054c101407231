//! Group catalogues: friends-of-friends groups and the subhalos in them.
//!
//! # Source
//! The documentation of the TNG data release, "Group Catalogs" (Nelson et al. 2019); CAMELS' documentation (files
//! `fof_subhalo_tab_NNN.hdf5`, since 2024 `groups_NNN.hdf5`); GADGET-4's manual (Springel et al. 2021), whose
//! `SubhaloGroupNr` is given the name `SubhaloGrNr` here.

use std::collections::BTreeSet;
use std::path::Path;

use halocast_core::{FieldValues, GroupCatalogue, Table};

use super::chunks::{Chunks, Kind};
use super::header::RawHeader;
use super::snapshot::{Precision, ReadOptions, stored_rows};
use super::units;
use crate::error::Incomplete;
use crate::hdf5::{Hdf5Read, Hdf5Type, numbers_mut, open_hdf5, split, zeros};
use crate::{Error, Result};

/// -1 as the catalogues of Illustris-1 store it.
const NONE_U32: u64 = u32::MAX as u64;

/// The names of the counts of a table in a header, in this file and in all.
struct Counts {
    group: &'static str,
    this_file: &'static [&'static str],
    total: &'static [&'static str],
}

const TABLES: [Counts; 2] = [
    Counts { group: "Group", this_file: &["Ngroups_ThisFile"], total: &["Ngroups_Total"] },
    Counts {
        group: "Subhalo",
        this_file: &["Nsubgroups_ThisFile", "Nsubhalos_ThisFile"],
        total: &["Nsubgroups_Total", "Nsubhalos_Total"],
    },
];

/// One file with its rows of groups and subhalos.
struct File {
    file: Box<dyn Hdf5Read>,
    rows: [u64; 2],
}

/// Reads a group catalogue.
///
/// `path` is as for [`SnapshotReader::open`](crate::SnapshotReader::open), with `fof_subhalo_tab_NNN` or `groups_NNN` in
/// `groups_NNN/` or `groupcats/NNN/`. Files without groups add nothing. Of the options, species, stride and wind say
/// nothing here. Units come from the published tables; values of 10^37 (photometry of subhalos without stars) stay.
/// `GroupFirstSub` is -1 for a group without subhalos, however it was stored.
///
/// # Errors
/// [`Error::Incomplete`] when files or rows are missing, unless [`ReadOptions::allow_missing`];
/// [`Error::NotFound`]; [`Error::Read`]; [`Error::Hdf5`]; [`Error::Invalid`] for a header, counts or shapes that cannot
/// be; [`Error::Absent`] for a field that is asked for and not there.
pub fn read_groups(path: impl AsRef<Path>, options: &ReadOptions) -> Result<GroupCatalogue> {
    let path = path.as_ref();
    let survey = GroupSurvey::new(path, options)?;
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
    let groups = survey.table(0, options)?;
    let subhalos = survey.table(1, options)?;
    for field in options.fields.iter().flatten() {
        let nowhere = [&groups, &subhalos].iter().all(|table| table.field(field).is_err());
        if nowhere && groups.len() + subhalos.len() > 0 {
            let available =
                [0, 1].map(|t| survey.names(t).map(|n| n.into_iter().collect::<Vec<_>>().join(", ")));
            let [a, b] = available;
            return Err(Error::Absent {
                path: path.to_path_buf(),
                field: format!("field {field:?}"),
                available: [a?, b?].join(", "),
            });
        }
    }
    let header = survey.first.header;
    Ok(GroupCatalogue { header, groups, subhalos, warnings })
}

/// A catalogue whose files have been found, opened and counted.
pub(super) struct GroupSurvey {
    pub first: RawHeader,
    pub incomplete: Incomplete,
    /// Rows of groups and of subhalos in the files.
    pub stored: [u64; 2],
    /// Rows that the header promises.
    pub promised: [u64; 2],
    files: Vec<File>,
}

impl GroupSurvey {
    pub(super) fn new(path: &Path, options: &ReadOptions) -> Result<Self> {
        let chunks = Chunks::find(path, options.snapshot, Kind::Groups)?;
        let mut first: Option<RawHeader> = None;
        let mut files = Vec::with_capacity(chunks.files.len());
        let mut stored = [0u64; 2];
        let mut total = [None; 2];
        for (_, path) in &chunks.files {
            let file = open_hdf5(path)?;
            let names = file.groups("")?;
            if !names.iter().any(|n| TABLES.iter().any(|t| t.group == n)) {
                let field = "group /Group or /Subhalo".to_owned();
                return Err(Error::Absent { path: path.clone(), field, available: names.join(", ") });
            }
            let header = match names.iter().any(|n| n == "Header") {
                true => RawHeader::read(&*file, options.box_size)?,
                // Pieces that people pass on may have none.
                false => RawHeader::absent(path, options.box_size)?,
            };
            let mut rows = [0; 2];
            for (t, counts) in TABLES.iter().enumerate() {
                rows[t] = stored_rows(&*file, &names, counts.group)?.unwrap_or(0);
                let sum = stored[t].checked_add(rows[t]);
                stored[t] = sum.ok_or_else(|| {
                    Error::invalid(path, format!("rows of {}", counts.group), "a sum below 2^64", "more")
                })?;
                if let Some(promised) = header.count(path, counts.this_file)?
                    && promised != rows[t]
                {
                    let expected = format!("{promised} rows, as {} says", counts.this_file[0]);
                    return Err(Error::invalid(path, counts.group, expected, rows[t].to_string()));
                }
                total[t] = header.count(path, counts.total)?;
            }
            match &first {
                Some(first) => first.agree(&header, path)?,
                None => first = Some(header),
            }
            files.push(File { file, rows });
        }
        let Some(first) = first else {
            let expected = "group catalogue".to_owned();
            return Err(Error::NotFound { path: path.to_path_buf(), expected });
        };
        let expected = if chunks.numbered { first.files.unwrap_or(chunks.files.len() as u64) } else { 1 };
        let promised = [0, 1].map(|t| total[t].unwrap_or(stored[t]));
        let tables = TABLES.iter().zip(promised).zip(stored).map(|((t, p), s)| (t.group.to_owned(), p, s));
        let incomplete = Incomplete {
            path: chunks.path.clone(),
            missing: chunks.missing(expected),
            chunks_expected: expected,
            chunks_found: chunks.files.len() as u64,
            counts: Vec::new(),
            tables: tables.filter(|(_, promised, stored)| promised != stored).collect(),
        };
        Ok(Self { first, incomplete, stored, promised, files })
    }

    /// The fields of a table in the files that have rows of it.
    pub(super) fn names(&self, table: usize) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for file in self.files.iter().filter(|f| f.rows[table] > 0) {
            names.extend(file.file.datasets(TABLES[table].group)?);
        }
        Ok(names)
    }

    /// Shape over all files, type and unit of a field.
    pub(super) fn describe(
        &self,
        table: usize,
        name: &str,
    ) -> Result<(Vec<usize>, Hdf5Type, halocast_core::Unit)> {
        let dataset = format!("{}/{name}", TABLES[table].group);
        let mut like: Option<(Vec<usize>, Hdf5Type, halocast_core::Unit)> = None;
        for file in self.files.iter().filter(|f| f.rows[table] > 0) {
            let file = &file.file;
            let available = file.datasets(TABLES[table].group)?;
            if !available.iter().any(|n| n == name) {
                let (path, available) = (file.path().to_path_buf(), available.join(", "));
                return Err(Error::Absent { path, field: format!("dataset {dataset}"), available });
            }
            let info = file.info(&dataset)?;
            let unit = units::read_in(name, &file.attributes(&dataset)?, self.first.system);
            let mut shape = info.shape;
            if let Some(rows) = shape.first_mut() {
                *rows = self.stored[table] as usize;
            }
            match &like {
                None => like = Some((shape, info.dtype, unit)),
                Some(first) if *first == (shape.clone(), info.dtype.clone(), unit) => {}
                Some((first, dtype, _)) => {
                    let expected = format!("{first:?} of {dtype} as in other files");
                    let got = format!("{shape:?} of {}", info.dtype);
                    return Err(Error::invalid(file.path(), dataset, expected, got));
                }
            }
        }
        like.ok_or_else(|| Error::invalid(&self.incomplete.path, dataset, "rows to read", "none"))
    }

    fn table(&self, table: usize, options: &ReadOptions) -> Result<Table> {
        let group = TABLES[table].group;
        let mut out = Table::new(group, self.stored[table] as usize);
        for name in self.names(table)? {
            let known_as = if name == "SubhaloGroupNr" { "SubhaloGrNr" } else { &name };
            if !options.wants_field(&name) && !options.wants_field(known_as) {
                continue;
            }
            let (shape, dtype, unit) = self.describe(table, &name)?;
            let target = match (&dtype, options.precision) {
                (Hdf5Type::Float(_), Precision::Single) => Hdf5Type::Float(4),
                (Hdf5Type::Float(_), Precision::Double) => Hdf5Type::Float(8),
                _ => dtype.clone(),
            };
            let dataset = format!("{group}/{name}");
            let per_row: usize = shape[1..].iter().product();
            let not_numbers =
                || Error::invalid(&self.incomplete.path, &dataset, "numbers", dtype.to_string());
            let mut values = zeros(&target, &shape).ok_or_else(not_numbers)?;
            let mut rest = numbers_mut(&mut values).ok_or_else(not_numbers)?;
            for file in self.files.iter().filter(|f| f.rows[table] > 0) {
                let rows = file.rows[table] as usize;
                let (own, others) = split(rest, rows * per_row);
                file.file.read_into(&dataset, 0..rows, own)?;
                rest = others;
            }
            if name == "GroupFirstSub" {
                values = signed(values);
            }
            out.insert(known_as, values, unit)?;
        }
        Ok(out)
    }
}

/// `GroupFirstSub` as signed numbers: Illustris-1 stored it unsigned, and -1 as 2^32 - 1.
fn signed(values: FieldValues) -> FieldValues {
    match values {
        FieldValues::U64(v) => {
            FieldValues::I64(v.mapv(|x| if x == NONE_U32 || x > i64::MAX as u64 { -1 } else { x as i64 }))
        }
        other => other,
    }
}
