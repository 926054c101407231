//! What a snapshot consists of: its files, found, checked against one another and counted.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use halocast_core::Species;

use super::chunks::{Chunks, Kind};
use super::header::RawHeader;
use crate::error::Incomplete;
use crate::hdf5::{Hdf5Read, open_hdf5};
use crate::{Error, Result};

/// What to read of a snapshot or group catalogue.
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
    /// Of how many particles, in the order of the files, one is read: 10 reads the first, the eleventh, ... Masses are
    /// not scaled. 0 is as 1.
    pub stride: usize,
    /// The type that floating-point fields are given.
    pub precision: Precision,
    /// Whether wind is left out of the stars: the particles of type 4 whose `GFM_StellarFormationTime` is not positive
    /// are gas on its way, not stars.
    pub without_wind: bool,
}

/// The type of floating-point numbers; integers keep theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are stored.
    #[default]
    Stored,
    /// 32 bits; a number beyond their range is an error.
    Single,
    /// 64 bits.
    Double,
}

impl ReadOptions {
    /// Everything, and what is missing is a warning.
    pub fn allow_missing() -> Self {
        Self { allow_missing: true, ..Self::default() }
    }

    /// Stars alone, without wind: what a map of stars is made of.
    pub fn stars() -> Self {
        Self { without_wind: true, ..Self::default() }.only(Species::Stars)
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

    /// One of `stride` particles.
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Floating-point fields in this type.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    pub(super) fn wants_species(&self, species: Species) -> bool {
        self.species.as_ref().is_none_or(|s| s.contains(&species))
    }

    pub(super) fn wants_field(&self, name: &str) -> bool {
        self.fields.as_ref().is_none_or(|f| f.iter().any(|field| field == name))
    }
}

/// The group of a species in a file.
pub(super) fn group_name(species: Species) -> String {
    format!("PartType{}", species.number())
}

/// The rows of the datasets of a group in one file; all agree. `None` when the file has no such group.
pub(super) fn stored_rows(file: &dyn Hdf5Read, groups: &[String], group: &str) -> Result<Option<u64>> {
    if !groups.iter().any(|g| g == group) {
        return Ok(None);
    }
    let mut rows: Option<(String, usize)> = None;
    for name in file.datasets(group)? {
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
    pub files: Vec<Chunk>,
    pub stored: [u64; 6],
    pub incomplete: Incomplete,
}

/// One file of a snapshot.
pub(super) struct Chunk {
    pub number: u64,
    pub path: PathBuf,
    pub rows: [u64; 6],
    open: OnceLock<Box<dyn Hdf5Read>>,
}

/// Files that are kept open between reads; systems limit them.
const OPEN_LIMIT: usize = 256;

/// A file that is kept open, or one that is closed after use.
pub(super) enum Opened<'a> {
    Kept(&'a (dyn Hdf5Read + 'static)),
    Once(Box<dyn Hdf5Read>),
}

impl std::ops::Deref for Opened<'_> {
    type Target = dyn Hdf5Read;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Kept(file) => *file,
            Self::Once(file) => &**file,
        }
    }
}

impl Chunk {
    /// The file, open.
    pub(super) fn file(&self) -> Result<Opened<'_>> {
        if let Some(file) = self.open.get() {
            return Ok(Opened::Kept(&**file));
        }
        open_hdf5(&self.path).map(Opened::Once)
    }
}

impl Survey {
    pub(super) fn new(path: &Path, options: &ReadOptions) -> Result<Self> {
        let chunks = Chunks::find(path, options.snapshot, Kind::Snapshot)?;
        let mut first: Option<RawHeader> = None;
        let mut files = Vec::with_capacity(chunks.files.len());
        let mut stored = [0u64; 6];
        let mut announced: Option<[u64; 6]> = Some([0; 6]);
        for (number, path) in &chunks.files {
            let file = open_hdf5(path)?;
            let header = RawHeader::read(&*file, options.box_size)?;
            let groups = file.groups("")?;
            let mut rows = [0; 6];
            for species in Species::ALL {
                let here = stored_rows(&*file, &groups, &group_name(species))?.unwrap_or(0);
                rows[species.number()] = here;
                let sum = stored[species.number()].checked_add(here);
                stored[species.number()] = sum.ok_or_else(|| {
                    Error::invalid(
                        path,
                        format!("rows of {}", group_name(species)),
                        "a sum below 2^64",
                        "more",
                    )
                })?;
            }
            announced = announced.zip(header.this_file).map(|(mut sum, here)| {
                sum.iter_mut().zip(here).for_each(|(s, h)| *s = s.saturating_add(h));
                sum
            });
            let open = OnceLock::new();
            if files.len() < OPEN_LIMIT {
                let _ = open.set(file);
            }
            files.push(Chunk { number: *number, path: path.clone(), rows, open });
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
            tables: Vec::new(),
        };
        Ok(Self { chunks, first, files, stored, incomplete })
    }

    /// Where rows of a species lie: the chunk and the rows in it. Rows are counted over the whole snapshot, so those
    /// behind a missing file cannot be found.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are no such rows; [`Error::Incomplete`] when a missing file comes before them.
    pub(super) fn locate(&self, species: Species, rows: Range<u64>) -> Result<Vec<(usize, Range<usize>)>> {
        let n = species.number();
        let promised = self.first.header.promised[n].max(self.stored[n]);
        if rows.start > rows.end || rows.end > promised {
            let field = format!("rows of {}", group_name(species));
            let got = format!("{}..{}", rows.start, rows.end);
            return Err(Error::invalid(&self.chunks.path, field, format!("within 0..{promised}"), got));
        }
        let missing = self.incomplete.missing.first().copied().unwrap_or(u64::MAX);
        let (mut at, mut parts) = (0, Vec::new());
        for (i, chunk) in self.files.iter().enumerate().take_while(|(_, c)| c.number < missing) {
            let here = at..at + chunk.rows[n];
            let (start, end) = (rows.start.max(here.start), rows.end.min(here.end));
            if start < end {
                parts.push((i, (start - at) as usize..(end - at) as usize));
            }
            at = here.end;
        }
        if rows.end > at && !rows.is_empty() {
            return Err(Error::Incomplete(self.incomplete.clone()));
        }
        Ok(parts)
    }
}
