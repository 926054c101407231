//! A simulation as a folder: its snapshots, catalogues, offsets and trees by number.

use std::path::{Path, PathBuf};

use halocast_core::{GroupCatalogue, Snapshot};

use super::groups::read_groups;
use super::offsets::Offsets;
use super::read::SnapshotReader;
use super::snapshot::ReadOptions;
use super::trees::{Branch, MergerTree};
use crate::{Error, Result};

/// The fields that places of particles are sums of.
const LENGTHS: [&str; 4] = ["GroupLenType", "GroupNsubs", "GroupFirstSub", "SubhaloLenType"];

/// The output of one simulation.
///
/// The folder is what the data release calls the base path: it holds `snapdir_NNN/` and `groups_NNN/`, with
/// `postprocessing/offsets/` beside it and `trees/` beside or below. The layout `snapshots/NNN/`, `groupcats/NNN/` and
/// CAMELS' single files are found, too.
///
/// ```no_run
/// use halocast_core::Species;
/// use halocast_data::{Branch, ReadOptions, Simulation};
/// # fn main() -> halocast_data::Result<()> {
/// let tng = Simulation::new("TNG50-4/output");
/// let gas = ReadOptions::default().only(Species::Gas).with_fields(&["Coordinates", "Masses"]);
/// let halo = tng.halo(99, 0, &gas)?;
/// let galaxy = tng.subhalo(99, 17, &ReadOptions::stars())?;
/// let tree = tng.sublink(99, 17, Branch::Main)?;
/// # let _ = (halo, galaxy, tree); Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    base: PathBuf,
}

impl Simulation {
    /// The simulation in a folder. Nothing is read yet.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// A snapshot, for reading parts of it.
    ///
    /// # Errors
    /// As [`SnapshotReader::open`].
    pub fn snapshot(&self, number: u64, options: &ReadOptions) -> Result<SnapshotReader> {
        SnapshotReader::open(&self.base, &ReadOptions { snapshot: Some(number), ..options.clone() })
    }

    /// A group catalogue.
    ///
    /// # Errors
    /// As [`read_groups`].
    pub fn groups(&self, number: u64, options: &ReadOptions) -> Result<GroupCatalogue> {
        read_groups(&self.base, &ReadOptions { snapshot: Some(number), ..options.clone() })
    }

    /// The places of all groups' and subhalos' particles: from the file of offsets where there is one, else from the
    /// lengths in the catalogue.
    ///
    /// # Errors
    /// As [`read_groups`], [`Offsets::read`] and [`Offsets::of`].
    pub fn offsets(&self, number: u64) -> Result<Offsets> {
        let lengths = self.groups(number, &ReadOptions::default().with_fields(&LENGTHS))?;
        match self.offsets_file(number) {
            Some(path) => Offsets::read(path, &lengths),
            None => Offsets::of(&lengths),
        }
    }

    /// The particles of a group.
    ///
    /// # Errors
    /// As [`Simulation::offsets`] and [`SnapshotReader::read_members`].
    pub fn halo(&self, number: u64, group: usize, options: &ReadOptions) -> Result<Snapshot> {
        self.snapshot(number, options)?.read_members(&self.offsets(number)?.group(group)?)
    }

    /// The particles of a subhalo.
    ///
    /// # Errors
    /// As [`Simulation::halo`].
    pub fn subhalo(&self, number: u64, subhalo: usize, options: &ReadOptions) -> Result<Snapshot> {
        self.snapshot(number, options)?.read_members(&self.offsets(number)?.subhalo(subhalo)?)
    }

    /// The SubLink tree of a subhalo; `None` where it is in none.
    ///
    /// # Errors
    /// As [`MergerTree::read_sublink`]; [`Error::NotFound`] when there are no trees or offsets.
    pub fn sublink(&self, number: u64, subhalo: usize, branch: Branch) -> Result<Option<MergerTree>> {
        let folder =
            self.folder(&["trees/SubLink", "../trees/SubLink", "../postprocessing/trees/SubLink"])?;
        MergerTree::read_sublink(folder, self.require_offsets(number)?, subhalo, branch)
    }

    /// The LHaloTree tree of a subhalo; `None` where it is in none.
    ///
    /// # Errors
    /// As [`MergerTree::read_lhalotree`]; [`Error::NotFound`] when there are no trees or offsets.
    pub fn lhalotree(&self, number: u64, subhalo: usize) -> Result<Option<MergerTree>> {
        let folder =
            self.folder(&["trees/treedata", "../trees/treedata", "../postprocessing/trees/LHaloTree"])?;
        MergerTree::read_lhalotree(folder, self.require_offsets(number)?, subhalo)
    }

    fn offsets_file(&self, number: u64) -> Option<PathBuf> {
        let name = format!("postprocessing/offsets/offsets_{number:03}.hdf5");
        [self.base.join("..").join(&name), self.base.join(name)].into_iter().find(|p| p.is_file())
    }

    fn require_offsets(&self, number: u64) -> Result<PathBuf> {
        self.offsets_file(number).ok_or_else(|| Error::NotFound {
            path: self.base.clone(),
            expected: format!("postprocessing/offsets/offsets_{number:03}.hdf5 in it or beside it"),
        })
    }

    fn folder(&self, names: &[&str]) -> Result<PathBuf> {
        let found = names.iter().map(|name| self.base.join(Path::new(name))).find(|p| p.is_dir());
        found.ok_or_else(|| Error::NotFound { path: self.base.clone(), expected: names.join(" or ") })
    }
}
