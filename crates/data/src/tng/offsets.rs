//! Which particles belong to which group and subhalo.
//!
//! The particles of a snapshot lie in the order of the catalogue: group by group; within a group subhalo by subhalo, then
//! those that are bound to none; behind the last group what is in no group. So places are sums of lengths. The data
//! release also has them in files of their own, `postprocessing/offsets/offsets_NNN.hdf5`.
//!
//! # Source
//! The documentation of the TNG data release, "Offsets files" (Nelson et al. 2019).

use std::ops::Range;
use std::path::Path;

use halocast_core::{FieldValues, GroupCatalogue, Species, Table};

use crate::hdf5::open_hdf5;
use crate::{Error, Result};

/// The particles of one group or subhalo, as rows of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The first row of each type.
    pub first: [u64; 6],
    /// The number of rows of each type.
    pub len: [u64; 6],
}

impl Members {
    /// The rows of a species.
    pub fn rows(&self, species: Species) -> Range<u64> {
        let n = species.number();
        self.first[n]..self.first[n].saturating_add(self.len[n])
    }
}

/// The particles of all groups and subhalos of a catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Offsets {
    groups: Vec<Members>,
    subhalos: Vec<Members>,
}

impl Offsets {
    /// From the lengths of a catalogue that begins with the first group and has no gap: the exclusive cumulative sum of
    /// `GroupLenType`, and within each group that of `SubhaloLenType`. A catalogue of subhalos alone counts as one group.
    ///
    /// # Errors
    /// [`Error::Core`] for a field that is not there; [`Error::Core`] when `GroupFirstSub` does not continue
    /// `GroupNsubs` (files are missing between), or there are more subhalos than the groups say.
    pub fn of(catalogue: &GroupCatalogue) -> Result<Self> {
        let subhalo_len = lengths(&catalogue.subhalos, "SubhaloLenType")?;
        if catalogue.groups.is_empty() {
            let subhalos = cumulate([0; 6], &subhalo_len)?;
            return Ok(Self { groups: Vec::new(), subhalos });
        }
        let groups = cumulate([0; 6], &lengths(&catalogue.groups, "GroupLenType")?)?;
        let mut subhalos = Vec::with_capacity(subhalo_len.len());
        if !catalogue.subhalos.is_empty() {
            let counts = integers(&catalogue.groups, "GroupNsubs")?;
            let first = catalogue.groups.field("GroupFirstSub").is_ok();
            let first = if first { Some(integers(&catalogue.groups, "GroupFirstSub")?) } else { None };
            for (i, (group, &count)) in groups.iter().zip(&counts).enumerate() {
                let at = subhalos.len();
                if let Some(first) = first.as_ref().map(|f| f[i]).filter(|_| count > 0)
                    && first != at as i64
                {
                    return Err(fault("GroupFirstSub", i, at.to_string(), first.to_string()));
                }
                let end = usize::try_from(count).ok().and_then(|n| at.checked_add(n));
                // The last groups of an incomplete catalogue may lack subhalos.
                let end =
                    end.ok_or_else(|| fault("GroupNsubs", i, "at least 0".into(), count.to_string()))?;
                let end = end.min(subhalo_len.len());
                subhalos.extend(cumulate(group.first, &subhalo_len[at..end])?);
            }
            if subhalos.len() < subhalo_len.len() {
                let (expected, got) = (subhalos.len().to_string(), subhalo_len.len().to_string());
                return Err(fault("number of subhalos, by GroupNsubs,", groups.len(), expected, got));
            }
        }
        Ok(Self { groups, subhalos })
    }

    /// From a file of offsets, with the lengths of the catalogue: `Group/SnapByType` and `Subhalo/SnapByType`.
    ///
    /// # Errors
    /// The errors of reading; [`Error::Invalid`] when the file is of fewer groups or subhalos than the catalogue.
    pub fn read(path: impl AsRef<Path>, catalogue: &GroupCatalogue) -> Result<Self> {
        let path = path.as_ref();
        let file = open_hdf5(path)?;
        let places = |dataset: &str, len: Vec<[u64; 6]>| -> Result<Vec<Members>> {
            if len.is_empty() {
                return Ok(Vec::new());
            }
            let values = file.read_u64(dataset)?;
            let shape = values.shape().to_vec();
            if values.ndim() != 2 || shape[1] != 6 || shape[0] < len.len() {
                let expected = format!("[{} or more, 6]", len.len());
                return Err(Error::invalid(path, dataset, expected, format!("{shape:?}")));
            }
            let first = values.outer_iter().map(|row| std::array::from_fn(|i| row[i]));
            Ok(first.zip(len).map(|(first, len)| Members { first, len }).collect())
        };
        let groups = places("Group/SnapByType", lengths(&catalogue.groups, "GroupLenType")?)?;
        let subhalos = places("Subhalo/SnapByType", lengths(&catalogue.subhalos, "SubhaloLenType")?)?;
        Ok(Self { groups, subhalos })
    }

    /// The particles of group `i`.
    ///
    /// # Errors
    /// [`Error::Core`] when there is no such group.
    pub fn group(&self, i: usize) -> Result<Members> {
        Self::pick(&self.groups, "group", i)
    }

    /// The particles of subhalo `i`.
    ///
    /// # Errors
    /// [`Error::Core`] when there is no such subhalo.
    pub fn subhalo(&self, i: usize) -> Result<Members> {
        Self::pick(&self.subhalos, "subhalo", i)
    }

    /// All groups, in order.
    pub fn groups(&self) -> &[Members] {
        &self.groups
    }

    /// All subhalos, in order.
    pub fn subhalos(&self) -> &[Members] {
        &self.subhalos
    }

    /// The number of groups and of subhalos.
    pub fn len(&self) -> [usize; 2] {
        [self.groups.len(), self.subhalos.len()]
    }

    /// Whether there is neither.
    pub fn is_empty(&self) -> bool {
        self.len() == [0, 0]
    }

    fn pick(all: &[Members], what: &str, i: usize) -> Result<Members> {
        all.get(i).cloned().ok_or_else(|| {
            Error::Core(halocast_core::Error::Value {
                operation: "members",
                what: format!("number of the {what}"),
                expected: format!("below {}", all.len()),
                got: i.to_string(),
            })
        })
    }
}

fn fault(what: &str, row: usize, expected: String, got: String) -> Error {
    let what = format!("{what} at row {row}");
    Error::Core(halocast_core::Error::Value { operation: "offsets of a catalogue", what, expected, got })
}

/// A field `[row, type]` of lengths, for up to six types.
fn lengths(table: &Table, name: &str) -> Result<Vec<[u64; 6]>> {
    if table.is_empty() {
        return Ok(Vec::new());
    }
    let values = &table.field(name)?.values;
    let shape = values.shape().to_vec();
    let types = match shape[..] {
        [_, types @ 1..=6] => types,
        _ => {
            return Err(Error::Core(halocast_core::Error::Shape {
                operation: "offsets of a catalogue",
                what: format!("{name} of {}", table.name()),
                expected: "[row, up to 6 types]".into(),
                got: shape,
            }));
        }
    };
    let flat = whole(values, name)?;
    flat.chunks_exact(types)
        .enumerate()
        .map(|(i, row)| {
            let mut six = [0; 6];
            for (slot, &n) in six.iter_mut().zip(row) {
                *slot = u64::try_from(n).map_err(|_| fault(name, i, "at least 0".into(), n.to_string()))?;
            }
            Ok(six)
        })
        .collect()
}

fn integers(table: &Table, name: &str) -> Result<Vec<i64>> {
    whole(&table.field(name)?.values, name)
}

fn whole(values: &FieldValues, name: &str) -> Result<Vec<i64>> {
    let refused = |got: String| fault(name, 0, "integers below 2^63".into(), got);
    match values {
        FieldValues::I64(v) => Ok(v.iter().copied().collect()),
        FieldValues::U64(v) => {
            v.iter().map(|&x| i64::try_from(x).map_err(|_| refused(x.to_string()))).collect()
        }
        _ => Err(refused("floating-point numbers".into())),
    }
}

/// Members one after another from `first` on.
fn cumulate(first: [u64; 6], lengths: &[[u64; 6]]) -> Result<Vec<Members>> {
    let mut at = first;
    let mut members = Vec::with_capacity(lengths.len());
    for (i, &len) in lengths.iter().enumerate() {
        members.push(Members { first: at, len });
        for (sum, n) in at.iter_mut().zip(len) {
            *sum = sum
                .checked_add(n)
                .ok_or_else(|| fault("sum of lengths", i, "below 2^64".into(), "more".into()))?;
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use halocast_core::{Cosmology, Header, Unit};
    use ndarray::{Array1, arr2};

    use super::*;

    fn catalogue(first: &[i64]) -> GroupCatalogue {
        let insert = |table: &mut Table, name: &str, values: FieldValues| {
            table.insert(name, values, Unit::dimensionless()).unwrap();
        };
        let mut groups = Table::new("Group", 3);
        let lengths = arr2(&[[10i64, 4], [0, 7], [5, 5]]).into_dyn();
        insert(&mut groups, "GroupLenType", FieldValues::I64(lengths));
        insert(&mut groups, "GroupNsubs", FieldValues::I64(Array1::from(vec![2, 0, 1]).into_dyn()));
        insert(&mut groups, "GroupFirstSub", FieldValues::I64(Array1::from(first.to_vec()).into_dyn()));
        let mut subhalos = Table::new("Subhalo", 3);
        let lengths = arr2(&[[6i64, 1], [2, 2], [5, 4]]).into_dyn();
        insert(&mut subhalos, "SubhaloLenType", FieldValues::I64(lengths));
        let header = Header {
            box_size: 1.0,
            time: 1.0,
            redshift: 0.0,
            cosmology: Cosmology::camels(),
            mass_table: [0.0; 6],
            promised: [0; 6],
            mock: false,
        };
        GroupCatalogue { header, groups, subhalos, warnings: Vec::new() }
    }

    #[test]
    fn places_are_sums_of_lengths() {
        let offsets = Offsets::of(&catalogue(&[0, -1, 2])).unwrap();
        assert_eq!(offsets.len(), [3, 3]);
        assert_eq!(offsets.group(2).unwrap().rows(Species::Gas), 10..15);
        assert_eq!(offsets.group(2).unwrap().rows(Species::DarkMatter), 11..16);
        assert_eq!(offsets.subhalo(1).unwrap().rows(Species::Gas), 6..8);
        assert_eq!(offsets.subhalo(2).unwrap().rows(Species::DarkMatter), 11..15);
        assert_eq!(offsets.subhalo(2).unwrap().rows(Species::Stars), 0..0);
        assert!(offsets.subhalo(3).unwrap_err().to_string().contains("below 3"));
    }

    #[test]
    fn a_gap_is_noticed() {
        let message = Offsets::of(&catalogue(&[0, -1, 40])).unwrap_err().to_string();
        assert!(message.contains("GroupFirstSub at row 2") && message.contains("40"), "{message}");
    }
}
