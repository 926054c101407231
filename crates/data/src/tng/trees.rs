//! Merger trees: a subhalo, what it was, and what fell into it.
//!
//! # Source
//! SubLink (Rodriguez-Gomez et al. 2015) and LHaloTree (Springel et al. 2005), as the TNG data release stores them
//! (Nelson et al. 2019, "Merger Trees"): `trees/SubLink/tree_extended.N.hdf5` with depth-first identifiers,
//! `trees/treedata/trees_sf1_NNN.N.hdf5` with one group a tree, and the same fields as flat files from the web interface.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, Table};

use super::chunks::entries;
use super::rows::select;
use super::units::{self, UnitSystem};
use crate::hdf5::{Hdf5Read, Hdf5Type, open_hdf5};
use crate::{Error, Result};

/// Which progenitors to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Branch {
    /// The subhalo and all that merged into it.
    #[default]
    Whole,
    /// The main progenitors alone.
    Main,
}

/// A merger that a tree tells of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merger {
    /// The row of the descendant, on the main branch.
    pub descendant: usize,
    /// The row of the main progenitor.
    pub main: usize,
    /// The row of the progenitor that merges with it.
    pub other: usize,
    /// The ratio of their masses, other / main, each at its largest so far.
    pub ratio: f64,
}

/// A merger tree: one row a subhalo and snapshot, the root first.
#[derive(Clone, Debug, PartialEq)]
pub struct MergerTree {
    /// The rows, with the fields of the file.
    pub rows: Table,
    first: Vec<Option<usize>>,
    next: Vec<Option<usize>>,
}

impl MergerTree {
    /// Reads a flat file, such as the web interface gives: of SubLink (it has `SubhaloID`) or of LHaloTree.
    ///
    /// Links to rows that the file does not have end there. The fields of LHaloTree are numbers of rows of the tree that a
    /// branch was cut from: of such a branch, each row's progenitor is the row behind it.
    ///
    /// # Errors
    /// The errors of reading; [`Error::Absent`] for a file of another kind; [`Error::Invalid`] for links in a circle.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open_hdf5(path)?;
        let names = file.datasets("")?;
        let rows = table(&*file, "", None)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        if has("SubhaloID") && has("FirstProgenitorID") {
            return Self::sublink(path, rows);
        }
        if has("FirstProgenitor") && has("SnapNum") {
            return Self::branch(path, rows);
        }
        let field =
            "fields SubhaloID and FirstProgenitorID (SubLink), or FirstProgenitor and SnapNum (LHaloTree)";
        Err(Error::Absent { path: path.to_path_buf(), field: field.into(), available: names.join(", ") })
    }

    /// Reads the progenitors of a subhalo from a simulation's SubLink trees.
    ///
    /// `folder` holds `tree_extended.N.hdf5` (or `tree.N.hdf5`); `offsets` is `offsets_NNN.hdf5` of the snapshot.
    /// `None` where the subhalo is in no tree.
    ///
    /// # Errors
    /// The errors of reading; [`Error::Invalid`] when the rows are not in the files.
    pub fn read_sublink(
        folder: impl AsRef<Path>,
        offsets: impl AsRef<Path>,
        subhalo: usize,
        branch: Branch,
    ) -> Result<Option<Self>> {
        let (folder, offsets) = (folder.as_ref(), offsets.as_ref());
        let file = open_hdf5(offsets)?;
        let at = |name: &str| -> Result<i64> {
            let dataset = format!("Subhalo/SubLink/{name}");
            let value = file.read_rows(&dataset, subhalo..subhalo + 1)?;
            first_integer(&value)
                .ok_or_else(|| Error::invalid(offsets, dataset, "an integer", "another type"))
        };
        let row = at("RowNum")?;
        if row < 0 {
            return Ok(None);
        }
        let id = at("SubhaloID")?;
        let files = numbered(folder, &["tree_extended.", "tree."])?;
        // The main branch comes first, then all others: identifiers go depth first.
        let last = match branch {
            Branch::Whole => at("LastProgenitorID")?,
            Branch::Main => {
                let one = rows_of(folder, &files, row as u64..row as u64 + 1)?;
                let leaf = one.field("MainLeafProgenitorID")?;
                first_integer(&leaf.values).ok_or_else(|| {
                    Error::invalid(folder, "MainLeafProgenitorID", "an integer", "another type")
                })?
            }
        };
        let count = last.checked_sub(id).filter(|n| *n >= 0).ok_or_else(|| {
            let expected = format!("at least the identifier of the root, {id}");
            Error::invalid(offsets, "last progenitor", expected, last.to_string())
        })? as u64;
        let rows = rows_of(folder, &files, row as u64..(row as u64).saturating_add(count + 1))?;
        Self::sublink(folder, rows).map(Some)
    }

    /// Reads the tree of a subhalo from a simulation's LHaloTree files: the group `Tree{tree}` of a file, from the row of the
    /// subhalo on.
    ///
    /// `offsets` is `offsets_NNN.hdf5` of the snapshot; `folder` holds `trees_sf1_NNN.N.hdf5`. `None` where the subhalo is
    /// in no tree.
    ///
    /// # Errors
    /// The errors of reading; [`Error::Invalid`] for links that lead nowhere.
    pub fn read_lhalotree(
        folder: impl AsRef<Path>,
        offsets: impl AsRef<Path>,
        subhalo: usize,
    ) -> Result<Option<Self>> {
        let (folder, offsets) = (folder.as_ref(), offsets.as_ref());
        let file = open_hdf5(offsets)?;
        let available = file.datasets("Subhalo/LHaloTree")?;
        let at = |names: [&str; 2]| -> Result<i64> {
            let name = names.into_iter().find(|n| available.iter().any(|a| a == n)).unwrap_or(names[0]);
            let dataset = format!("Subhalo/LHaloTree/{name}");
            let value = file.read_rows(&dataset, subhalo..subhalo + 1)?;
            first_integer(&value)
                .ok_or_else(|| Error::invalid(offsets, dataset, "an integer", "another type"))
        };
        let (number, tree, root) =
            (at(["FileNum", "File"])?, at(["TreeNum", "Num"])?, at(["TreeIndex", "Index"])?);
        if number < 0 {
            return Ok(None);
        }
        let files = entries(folder)?;
        let suffix = format!(".{number}.hdf5");
        let path = files.iter().find(|f| f.to_string_lossy().ends_with(&suffix)).ok_or_else(|| {
            Error::NotFound { path: folder.to_path_buf(), expected: format!("trees_sf1_NNN{suffix}") }
        })?;
        let file = open_hdf5(path)?;
        let rows = table(&*file, &format!("Tree{tree}"), None)?;
        Self::lhalotree(path, rows, usize::try_from(root).unwrap_or(usize::MAX)).map(Some)
    }

    fn sublink(path: &Path, rows: Table) -> Result<Self> {
        let ids = integers(path, &rows, "SubhaloID")?;
        let row_of: HashMap<i64, usize> = ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        if row_of.len() != ids.len() {
            return Err(Error::invalid(path, "SubhaloID", "each once", "some twice"));
        }
        let links = |name: &str| -> Result<Vec<Option<usize>>> {
            Ok(integers(path, &rows, name)?.iter().map(|id| row_of.get(id).copied()).collect())
        };
        let (first, next) = (links("FirstProgenitorID")?, links("NextProgenitorID")?);
        Self { rows, first, next }.checked(path)
    }

    /// Of a whole tree of LHaloTree, what is below `root`, which becomes row 0.
    fn lhalotree(path: &Path, rows: Table, root: usize) -> Result<Self> {
        let len = rows.len();
        let links = |name: &str| -> Result<Vec<Option<usize>>> {
            let row = |&i: &i64| match usize::try_from(i) {
                Ok(i) if i < len => Ok(Some(i)),
                Err(_) if i == -1 => Ok(None),
                _ => Err(Error::invalid(path, name, format!("-1 or below {len}"), i.to_string())),
            };
            integers(path, &rows, name)?.iter().map(row).collect()
        };
        let (first, next) = (links("FirstProgenitor")?, links("NextProgenitor")?);
        if root >= len {
            return Err(Error::invalid(path, "row of the root", format!("below {len}"), root.to_string()));
        }
        // Depth first, as SubLink's identifiers go.
        let (mut order, mut new, mut pending) = (Vec::new(), HashMap::new(), vec![root]);
        while let Some(row) = pending.pop() {
            if new.insert(row, order.len()).is_some() {
                return Err(Error::invalid(path, "links", "a tree", format!("two ways to row {row}")));
            }
            order.push(row);
            if let Some(sibling) = next[row].filter(|_| row != root) {
                pending.push(sibling);
            }
            pending.extend(first[row]);
        }
        let renumber = |links: &[Option<usize>]| -> Vec<Option<usize>> {
            order.iter().map(|&row| links[row].and_then(|to| new.get(&to).copied())).collect()
        };
        let (first, next) = (renumber(&first), renumber(&next));
        Self { rows: take(&rows, &order)?, first, next }.checked(path)
    }

    /// A main branch of LHaloTree: rows one after the other, back in time.
    fn branch(path: &Path, rows: Table) -> Result<Self> {
        let snapshots = integers(path, &rows, "SnapNum")?;
        if let Some(i) = snapshots.windows(2).position(|pair| pair[1] >= pair[0]) {
            let expected = format!("below {}, as a branch goes back in time", snapshots[i]);
            return Err(Error::invalid(
                path,
                format!("SnapNum of row {}", i + 1),
                expected,
                snapshots[i + 1].to_string(),
            ));
        }
        let len = rows.len();
        let first = (0..len).map(|i| (i + 1 < len).then_some(i + 1)).collect();
        Self { rows, first, next: vec![None; len] }.checked(path)
    }

    /// Links must make a tree.
    fn checked(self, path: &Path) -> Result<Self> {
        let mut reached = vec![false; self.rows.len()];
        for to in self.first.iter().chain(&self.next).flatten() {
            if std::mem::replace(&mut reached[*to], true) {
                return Err(Error::invalid(path, "links", "a tree", format!("two ways to row {to}")));
            }
        }
        if reached.first() == Some(&true) {
            return Err(Error::invalid(path, "links", "the root in row 0", "a way to row 0"));
        }
        Ok(self)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows of the main branch: the root and, again and again, the first progenitor.
    pub fn main_branch(&self) -> Vec<usize> {
        let root = (!self.is_empty()).then_some(0);
        std::iter::successors(root, |&row| self.first[row]).collect()
    }

    /// The progenitors of a row, the main one first.
    pub fn progenitors(&self, row: usize) -> Vec<usize> {
        let first = self.first.get(row).copied().flatten();
        std::iter::successors(first, |&row| self.next[row]).collect()
    }

    /// The mergers of the main branch whose mass ratio is at least `min_ratio` and at most its inverse.
    ///
    /// The mass of a progenitor is the largest that it had on its own main branch, of `particle_type` (4 for stars) in
    /// `SubhaloMassType`: that which illustris_python's `numMergers` takes.
    ///
    /// # Errors
    /// [`Error::Core`] when the tree has no `SubhaloMassType`, or no such type.
    pub fn mergers(&self, min_ratio: f64, particle_type: usize) -> Result<Vec<Merger>> {
        let masses = self.rows.field("SubhaloMassType")?.values.to_f64();
        if masses.ndim() != 2 || particle_type >= masses.shape()[1] || !(min_ratio > 0.0 && min_ratio <= 1.0)
        {
            return Err(Error::Core(halocast_core::Error::Value {
                operation: "mergers",
                what: format!("particle type, with ratio {min_ratio}"),
                expected: format!("a type of SubhaloMassType {:?}, a ratio in (0, 1]", masses.shape()),
                got: particle_type.to_string(),
            }));
        }
        let largest = |row: usize| {
            let branch = std::iter::successors(Some(row), |&row| self.first[row]);
            branch.map(|row| masses[[row, particle_type]]).fold(0f64, f64::max)
        };
        let mut mergers = Vec::new();
        for descendant in self.main_branch() {
            let progenitors = self.progenitors(descendant);
            let Some((&main, others)) = progenitors.split_first() else { continue };
            let main_mass = largest(main);
            for &other in others {
                let ratio = largest(other) / main_mass;
                if ratio >= min_ratio && ratio <= 1.0 / min_ratio {
                    mergers.push(Merger { descendant, main, other, ratio });
                }
            }
        }
        Ok(mergers)
    }
}

/// The datasets of a group as a table, all rows or some.
fn table(file: &dyn Hdf5Read, group: &str, rows: Option<std::ops::Range<usize>>) -> Result<Table> {
    let mut out: Option<Table> = None;
    for name in file.datasets(group)? {
        let dataset = if group.is_empty() { name.clone() } else { format!("{group}/{name}") };
        let info = file.info(&dataset)?;
        if matches!(info.dtype, Hdf5Type::Text | Hdf5Type::Other(_)) || info.shape.is_empty() {
            continue;
        }
        let rows = rows.clone().unwrap_or(0..info.rows());
        let table = out.get_or_insert_with(|| Table::new("merger tree", rows.len()));
        if rows.len() != table.len() {
            let expected = format!("{} rows as in other fields", table.len());
            return Err(Error::invalid(file.path(), dataset, expected, rows.len().to_string()));
        }
        let unit = units::read_in(&name, &file.attributes(&dataset)?, UnitSystem::default());
        let values = file.read_rows(&dataset, rows)?;
        table.insert(name, values, unit)?;
    }
    out.ok_or_else(|| Error::invalid(file.path(), "merger tree", "datasets of numbers", "none"))
}

/// Files `PREFIX0.hdf5`, `PREFIX1.hdf5`, ... of the first prefix that there is.
fn numbered(folder: &Path, prefixes: &[&str]) -> Result<Vec<PathBuf>> {
    let all = entries(folder)?;
    for prefix in prefixes {
        let number = |path: &PathBuf| -> Option<u64> {
            path.file_name()?.to_str()?.strip_prefix(prefix)?.strip_suffix(".hdf5")?.parse().ok()
        };
        let mut found: Vec<(u64, PathBuf)> =
            all.iter().filter_map(|p| Some((number(p)?, p.clone()))).collect();
        found.sort();
        if let Some(gap) = found.iter().enumerate().find(|(i, (n, _))| *i as u64 != *n).map(|(i, _)| i) {
            let expected = format!("{prefix}{gap}.hdf5 before {prefix}{}.hdf5", found[gap].0);
            return Err(Error::NotFound { path: folder.to_path_buf(), expected });
        }
        if !found.is_empty() {
            return Ok(found.into_iter().map(|(_, path)| path).collect());
        }
    }
    Err(Error::NotFound {
        path: folder.to_path_buf(),
        expected: format!("{}N.hdf5", prefixes.join("N.hdf5 or ")),
    })
}

/// Rows of trees that lie in the files one after another; a tree is in one file.
fn rows_of(folder: &Path, files: &[PathBuf], rows: std::ops::Range<u64>) -> Result<Table> {
    let mut at = 0u64;
    for path in files {
        let file = open_hdf5(path)?;
        let here = file.info("SubhaloID")?.rows() as u64;
        if rows.start < at + here {
            let own = (rows.start - at) as usize..(rows.end - at).min(usize::MAX as u64) as usize;
            return table(&*file, "", Some(own));
        }
        at += here;
    }
    Err(Error::invalid(folder, "row of the tree", format!("below {at}"), rows.start.to_string()))
}

fn take(rows: &Table, order: &[usize]) -> Result<Table> {
    let mut out = Table::new(rows.name(), order.len());
    for (name, field) in rows.fields() {
        out.insert(name, select(&field.values, order), field.unit.clone())?;
    }
    Ok(out)
}

fn integers(path: &Path, rows: &Table, name: &str) -> Result<Vec<i64>> {
    let refused = |got: &str| Error::invalid(path, name, "integers, one a row", got);
    let values = &rows.field(name)?.values;
    match values {
        _ if values.shape().len() != 1 => Err(refused("another shape")),
        FieldValues::I64(v) => Ok(v.iter().copied().collect()),
        FieldValues::U64(v) => {
            v.iter().map(|&x| i64::try_from(x).map_err(|_| refused("one above 2^63"))).collect()
        }
        _ => Err(refused("floating-point numbers")),
    }
}

fn first_integer(values: &FieldValues) -> Option<i64> {
    match values {
        FieldValues::I64(v) => v.first().copied(),
        FieldValues::U64(v) => v.first().and_then(|&x| i64::try_from(x).ok()),
        _ => None,
    }
}
