//! Splits that can be written down, checked and made again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use halocast_core::{Error as CoreError, Rng, write_whole};
use serde::{Deserialize, Serialize};

use crate::split::split_by_group;
use crate::{Error, Result};

/// The sets of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitSet {
    /// To fit models to.
    Train,
    /// To choose among models by.
    Validation,
    /// To judge the chosen one by.
    Test,
}

/// Which independent object belongs to which set: all that a split is, whatever its examples are.
///
/// An object is named by a key: the galaxy with all its views and snapshots, or the simulation. Examples of one key are
/// never in two sets. Written as JSON, it makes the same split of the same keys again, and refuses others.
///
/// ```
/// use halocast_data::SplitManifest;
/// # fn main() -> halocast_data::Result<()> {
/// // Four views of each of ten galaxies.
/// let keys: Vec<String> = (0..40).map(|i| format!("TNG50-1/galaxy-{}", i / 4)).collect();
/// let manifest = SplitManifest::draw(&keys, [0.8, 0.1, 0.1], 7)?;
/// let [train, validation, test] = manifest.indices(&keys)?;
/// assert_eq!([train.len(), validation.len(), test.len()], [32, 4, 4]);
/// assert!(train.iter().all(|&i| !test.iter().any(|&j| keys[i] == keys[j])));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitManifest {
    /// The seed that it was drawn by.
    pub seed: u64,
    /// The fractions that were asked for.
    pub fractions: [f64; 3],
    /// The set of every key.
    pub sets: BTreeMap<String, SplitSet>,
}

impl SplitManifest {
    /// Deals the keys to the sets; each may come many times. Depends on the seed and on which keys there are, not on their
    /// order or number.
    ///
    /// # Errors
    /// As [`split_by_group`].
    pub fn draw<K: AsRef<str>>(keys: &[K], fractions: [f64; 3], seed: u64) -> Result<Self> {
        let distinct: BTreeSet<&str> = keys.iter().map(AsRef::as_ref).collect();
        let distinct: Vec<&str> = distinct.into_iter().collect();
        let groups: Vec<usize> = (0..distinct.len()).collect();
        let split = split_by_group(&groups, fractions, &mut Rng::new(seed).split_named("split"))?;
        let mut sets = BTreeMap::new();
        for (set, members) in [SplitSet::Train, SplitSet::Validation, SplitSet::Test].into_iter().zip(split) {
            sets.extend(members.into_iter().map(|i| (distinct[i].to_owned(), set)));
        }
        Ok(Self { seed, fractions, sets })
    }

    /// The examples of each set, ascending: training, validation, test.
    ///
    /// # Errors
    /// [`Error::Core`] for a key that the manifest does not name: an example that belongs nowhere must not be lost.
    pub fn indices<K: AsRef<str>>(&self, keys: &[K]) -> Result<[Vec<usize>; 3]> {
        let mut indices = [Vec::new(), Vec::new(), Vec::new()];
        for (i, key) in keys.iter().map(AsRef::as_ref).enumerate() {
            let set = self.sets.get(key).ok_or_else(|| {
                Error::Core(CoreError::Value {
                    operation: "split by a manifest",
                    what: format!("key of example {i}"),
                    expected: format!("one of the {} in the manifest", self.sets.len()),
                    got: format!("{key:?}"),
                })
            })?;
            indices[*set as usize].push(i);
        }
        Ok(indices)
    }

    /// Writes it as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Core`] when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(write_whole(path, |out| serde_json::to_writer_pretty(out, self).map_err(std::io::Error::other))?)
    }

    /// Reads what [`SplitManifest::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Invalid`] for other content.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(Error::read(path))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::invalid(path, "content", "a manifest of a split (JSON)", e.to_string()))
    }
}

/// Numbers the connected components of `count` examples: those that links join, directly or not, get one number, by which
/// [`split_by_group`] keeps them together.
///
/// A link is a pair of examples that show the same galaxy: two rotations of it, or it and its descendant in a later
/// snapshot, as a merger tree tells. Numbers ascend with the first example of each component. Cost: O(count + links).
///
/// # Errors
/// [`CoreError::Value`] when a link names an example that is not there.
pub fn lineages(
    count: usize,
    links: impl IntoIterator<Item = (usize, usize)>,
) -> halocast_core::Result<Vec<usize>> {
    let mut parent: Vec<usize> = (0..count).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for (a, b) in links {
        if a >= count || b >= count {
            return Err(CoreError::Value {
                operation: "lineages",
                what: "a link".into(),
                expected: format!("of examples below {count}"),
                got: format!("({a}, {b})"),
            });
        }
        let (a, b) = (root(&mut parent, a), root(&mut parent, b));
        // The smaller is the root, so that numbers ascend.
        parent[a.max(b)] = a.min(b);
    }
    let (mut numbers, mut next) = (vec![0; count], 0);
    for i in 0..count {
        let top = root(&mut parent, i);
        numbers[i] = if top == i { next } else { numbers[top] };
        next += usize::from(top == i);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(galaxies: usize, views: usize) -> Vec<String> {
        (0..galaxies * views).map(|i| format!("galaxy {}", i % galaxies)).collect()
    }

    #[test]
    fn a_manifest_makes_the_same_split_again() {
        let keys = keys(50, 4);
        let manifest = SplitManifest::draw(&keys, [0.7, 0.2, 0.1], 3).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.json");
        manifest.write(&path).unwrap();
        let back = SplitManifest::read(&path).unwrap();
        assert_eq!(back, manifest);
        assert_eq!(back.indices(&keys).unwrap(), manifest.indices(&keys).unwrap());
        // Order and number of the examples do not matter.
        let mut other = keys[..50].to_vec();
        other.reverse();
        assert_eq!(SplitManifest::draw(&other, [0.7, 0.2, 0.1], 3).unwrap(), manifest);
        assert_ne!(SplitManifest::draw(&keys, [0.7, 0.2, 0.1], 4).unwrap(), manifest);
        let message = manifest.indices(&["galaxy 99"]).unwrap_err().to_string();
        assert!(message.contains("galaxy 99"), "{message}");
        std::fs::write(&path, "{\"seed\": 1}").unwrap();
        assert!(SplitManifest::read(&path).unwrap_err().to_string().contains("split.json"));
    }

    #[test]
    fn no_galaxy_is_in_two_sets() {
        let keys = keys(40, 7);
        let sets = SplitManifest::draw(&keys, [0.5, 0.25, 0.25], 1).unwrap().indices(&keys).unwrap();
        assert_eq!(sets.iter().map(Vec::len).sum::<usize>(), keys.len());
        let names = |set: &Vec<usize>| set.iter().map(|&i| keys[i].clone()).collect::<BTreeSet<_>>();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(names(&sets[a]).is_disjoint(&names(&sets[b])));
        }
        assert_eq!([sets[0].len(), sets[1].len(), sets[2].len()], [140, 70, 70]);
    }

    #[test]
    fn lineages_are_connected_components() {
        assert_eq!(lineages(6, [(4, 1), (1, 5), (2, 3)]).unwrap(), [0, 1, 2, 2, 1, 1]);
        assert_eq!(lineages(3, []).unwrap(), [0, 1, 2]);
        assert!(lineages(3, [(0, 3)]).is_err());
        // A chain of a thousand snapshots is one lineage.
        let chain = lineages(1000, (0..999).rev().map(|i| (i, i + 1))).unwrap();
        assert!(chain.iter().all(|&n| n == 0));
    }
}
