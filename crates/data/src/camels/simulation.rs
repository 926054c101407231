//! One run of CAMELS as a folder.

use std::path::{Path, PathBuf};

use halocast_core::{GroupCatalogue, Snapshot, Species};

use super::suite::Suite;
use crate::tng::{Offsets, ReadOptions, SnapshotReader, read_groups};
use crate::{Error, Result};

/// The folder of one run: `IllustrisTNG/LH_0`, or `IllustrisTNG/L25n256/LH/LH_0` since 2024.
///
/// Snapshots are `snap_033.hdf5` (0 to 33), since 2024 `snapshot_090.hdf5` (0 to 90); catalogues are
/// `fof_subhalo_tab_033.hdf5`, since 2024 `groups_090.hdf5`. Both are found by their number. What a suite lacks is
/// an error that says so, before a file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CamelsRun {
    folder: PathBuf,
    suite: Suite,
}

impl CamelsRun {
    /// The run in a folder, whose suite is told by a part of the path.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no part of the path is the name of a suite.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let suite = folder.iter().rev().find_map(|part| Suite::parse(part.to_str()?));
        let Some(suite) = suite else {
            let expected =
                "the name of a suite in the path (IllustrisTNG, SIMBA, Astrid, with _DM or without)";
            let got = folder.display().to_string();
            return Err(Error::invalid(&folder, "folder of a run", expected, got));
        };
        Ok(Self { folder, suite })
    }

    /// The run in a folder, of a suite.
    pub fn of(folder: impl Into<PathBuf>, suite: Suite) -> Self {
        Self { folder: folder.into(), suite }
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// A snapshot by its number, old or new.
    ///
    /// # Errors
    /// [`Error::Lacks`] for species and fields that the suite has not; as [`SnapshotReader::open`].
    pub fn snapshot(&self, number: u64, options: &ReadOptions) -> Result<SnapshotReader> {
        for species in options.species.iter().flatten() {
            self.suite.require_species(&self.folder, *species)?;
        }
        for field in options.fields.iter().flatten() {
            self.suite.require_field(&self.folder, field)?;
        }
        if options.without_wind && options.species.as_ref().is_none_or(|s| s.contains(&Species::Stars)) {
            // Only this model has wind among its stars.
            self.suite.require_field(&self.folder, "GFM_StellarFormationTime")?;
        }
        let path = self.file(number, &["snapshot_", "snap_"])?;
        SnapshotReader::open(path, options)
    }

    /// A group catalogue by its number, old or new.
    ///
    /// # Errors
    /// As [`read_groups`].
    pub fn groups(&self, number: u64, options: &ReadOptions) -> Result<GroupCatalogue> {
        read_groups(self.file(number, &["groups_", "fof_subhalo_tab_"])?, options)
    }

    /// The particles of a group.
    ///
    /// # Errors
    /// [`Error::Lacks`] for suites whose particles are not sorted; as [`CamelsRun::snapshot`] and [`Offsets::of`].
    pub fn halo(&self, number: u64, group: usize, options: &ReadOptions) -> Result<Snapshot> {
        let members = self.offsets(number)?.group(group)?;
        self.snapshot(number, options)?.read_members(&members)
    }

    /// The particles of a subhalo.
    ///
    /// # Errors
    /// As [`CamelsRun::halo`].
    pub fn subhalo(&self, number: u64, subhalo: usize, options: &ReadOptions) -> Result<Snapshot> {
        let members = self.offsets(number)?.subhalo(subhalo)?;
        self.snapshot(number, options)?.read_members(&members)
    }

    /// The places of members, where they lie together.
    fn offsets(&self, number: u64) -> Result<Offsets> {
        self.suite.require_sorted(&self.folder)?;
        let lengths = ["GroupLenType", "GroupNsubs", "GroupFirstSub", "SubhaloLenType"];
        Offsets::of(&self.groups(number, &ReadOptions::default().with_fields(&lengths))?)
    }

    fn file(&self, number: u64, prefixes: &[&str]) -> Result<PathBuf> {
        let names: Vec<String> = prefixes.iter().map(|p| format!("{p}{number:03}.hdf5")).collect();
        let found = names.iter().map(|name| self.folder.join(Path::new(name))).find(|p| p.is_file());
        found.ok_or_else(|| Error::NotFound { path: self.folder.clone(), expected: names.join(" or ") })
    }
}
