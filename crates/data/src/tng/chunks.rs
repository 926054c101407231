//! Finding the files of a snapshot or of a group catalogue.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `snap_NNN`, `snapshot_NNN`, in `snapdir_NNN/` or `snapshots/NNN/`; of a subbox, `snap_subboxS_NNN`.
    Snapshot,
    /// `fof_subhalo_tab_NNN`, `groups_NNN`, in `groups_NNN/` or `groupcats/NNN/`.
    Groups,
}

impl Kind {
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Snapshot => &["snapshot_", "snap_"],
            Self::Groups => &["fof_subhalo_tab_", "fof_tab_", "groups_"],
        }
    }

    /// Folders of one snapshot, and folders of such folders.
    fn folders(self) -> (&'static str, &'static str) {
        match self {
            Self::Snapshot => ("snapdir_", "snapshots"),
            Self::Groups => ("groups_", "groupcats"),
        }
    }

    fn what(self, wanted: Option<u64>) -> String {
        match (self, wanted) {
            (Self::Snapshot, Some(n)) => {
                format!("snapshot {n} (snap_{n:03}.hdf5, snap_{n:03}.0.hdf5, snapdir_{n:03}/, ...)")
            }
            (Self::Snapshot, None) => {
                "snapshot (snap_NNN.hdf5, snap_NNN.C.hdf5, snapshot_NNN..., snapdir_NNN/)".to_owned()
            }
            (Self::Groups, Some(n)) => {
                format!(
                    "group catalogue {n} (fof_subhalo_tab_{n:03}.0.hdf5, groups_{n:03}.hdf5, groups_{n:03}/, ...)"
                )
            }
            (Self::Groups, None) => {
                "group catalogue (fof_subhalo_tab_NNN.C.hdf5, groups_NNN.hdf5, groups_NNN/)".to_owned()
            }
        }
    }
}

/// The files of one snapshot or catalogue.
#[derive(Debug)]
pub(super) struct Chunks {
    /// What the user named.
    pub path: PathBuf,
    /// The files by chunk number; one file without a number is chunk 0.
    pub files: Vec<(u64, PathBuf)>,
    /// Whether the names carry chunk numbers.
    pub numbered: bool,
}

/// A file name taken apart: `snap_099.7.hdf5` is stem `snap_099`, snapshot 99, chunk 7.
struct Name {
    stem: String,
    snapshot: Option<u64>,
    chunk: Option<u64>,
}

fn parse(path: &Path, kind: Kind) -> Option<Name> {
    let name = path.file_name()?.to_str()?;
    let base = name.strip_suffix(".hdf5").or_else(|| name.strip_suffix(".h5"))?;
    let (stem, chunk) = match base.rsplit_once('.') {
        Some((stem, chunk)) if !chunk.is_empty() && chunk.bytes().all(|b| b.is_ascii_digit()) => {
            (stem, Some(chunk.parse().ok()?))
        }
        _ => (base, None),
    };
    let number = |rest: &str| {
        // The snapshots of a subbox carry its number first.
        let rest = match rest.strip_prefix("subbox").and_then(|r| r.split_once('_')) {
            Some((subbox, number)) if subbox.parse::<u64>().is_ok() => number,
            _ => rest,
        };
        rest.parse().ok()
    };
    let snapshot = kind.prefixes().iter().find_map(|p| stem.strip_prefix(p)).and_then(number);
    Some(Name { stem: stem.to_owned(), snapshot, chunk })
}

impl Chunks {
    /// The files of the snapshot at `path`: a file, one chunk of many (which stands for all), the folder that holds
    /// them, or a folder with `snapdir_NNN` or `snapshots/NNN` below it; the same of catalogues. `wanted` picks one of
    /// several snapshots.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::NotFound`]; [`Error::Invalid`] when there are several snapshots and none was picked.
    pub(super) fn find(path: &Path, wanted: Option<u64>, kind: Kind) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::read(path))?;
        if metadata.is_file() {
            return Self::of_file(path, kind);
        }
        let mut found: BTreeMap<(PathBuf, String), Vec<PathBuf>> = BTreeMap::new();
        for folder in candidate_folders(path, kind)? {
            for file in entries(&folder)? {
                if let Some(Name { stem, snapshot: Some(snapshot), .. }) = parse(&file, kind)
                    && wanted.is_none_or(|w| w == snapshot)
                    && file.is_file()
                {
                    found.entry((folder.clone(), stem)).or_default().push(file);
                }
            }
        }
        let mut found = found.into_iter();
        let Some((_, files)) = found.next() else {
            return Err(Error::NotFound { path: path.to_path_buf(), expected: kind.what(wanted) });
        };
        if let Some(((folder, stem), _)) = found.next() {
            let got = format!("several: for example {} too", folder.join(stem).display());
            return Err(Error::invalid(path, "folder", "one snapshot (name it, or its number)", got));
        }
        Self::of_files(path, files, kind)
    }

    /// The snapshot that a file belongs to.
    fn of_file(path: &Path, kind: Kind) -> Result<Self> {
        let Some(Name { stem, chunk: Some(_), .. }) = parse(path, kind) else {
            let files = vec![(0, path.to_path_buf())];
            return Ok(Self { path: path.to_path_buf(), files, numbered: false });
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let siblings = entries(folder)?
            .into_iter()
            .filter(|file| parse(file, kind).is_some_and(|n| n.stem == stem))
            .collect();
        Self::of_files(folder, siblings, kind)
    }

    fn of_files(path: &Path, files: Vec<PathBuf>, kind: Kind) -> Result<Self> {
        let mut chunks = Vec::new();
        let mut whole = None;
        for file in files {
            match parse(&file, kind).and_then(|n| n.chunk) {
                Some(number) => chunks.push((number, file)),
                None => whole = Some(file),
            }
        }
        chunks.sort();
        if let Some(pair) = chunks.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let got = format!("{} and {}", pair[0].1.display(), pair[1].1.display());
            return Err(Error::invalid(path, "chunk number", "one file for each", got));
        }
        let numbered = !chunks.is_empty();
        if let (false, Some(file)) = (numbered, whole) {
            chunks.push((0, file));
        }
        Ok(Self { path: path.to_path_buf(), files: chunks, numbered })
    }

    /// The numbers below `expected` for which there is no file.
    pub(super) fn missing(&self, expected: u64) -> Vec<u64> {
        (0..expected).filter(|n| self.files.binary_search_by_key(n, |(number, _)| *number).is_err()).collect()
    }
}

fn candidate_folders(path: &Path, kind: Kind) -> Result<Vec<PathBuf>> {
    let (one, many) = kind.folders();
    let mut folders = vec![path.to_path_buf()];
    for entry in entries(path)? {
        if !entry.is_dir() {
            continue;
        }
        match entry.file_name().and_then(|n| n.to_str()).unwrap_or_default() {
            name if name == many => {
                folders.extend(entries(&entry)?.into_iter().filter(|e| e.is_dir()));
                folders.push(entry);
            }
            "output" => {
                folders.extend(entries(&entry)?.into_iter().filter(|e| e.is_dir() && name_starts(e, one)));
            }
            _ if name_starts(&entry, one) => folders.push(entry),
            _ => {}
        }
    }
    Ok(folders)
}

fn name_starts(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix))
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::read(folder))? {
        paths.push(entry.map_err(Error::read(folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, names: &[&str]) {
        for name in names {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn the_layouts_in_use_are_found() {
        for (pattern, kind) in [
            ("snap_099.C", Kind::Snapshot),
            ("snapdir_099/snap_099.C", Kind::Snapshot),
            ("output/snapdir_099/snap_099.C", Kind::Snapshot),
            ("snapshots/099/snapshot_099.C", Kind::Snapshot),
            ("snapdir_subbox0_099/snap_subbox0_099.C", Kind::Snapshot),
            ("fof_subhalo_tab_099.C", Kind::Groups),
            ("groups_099/fof_subhalo_tab_099.C", Kind::Groups),
            ("output/groups_099/groups_099.C", Kind::Groups),
            ("groupcats/099/groups_099.C", Kind::Groups),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let names: Vec<String> =
                ["0", "1", "10"].iter().map(|c| pattern.replace('C', c) + ".hdf5").collect();
            touch(dir.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
            let other = if kind == Kind::Groups { "snap_099.0.hdf5" } else { "fof_subhalo_tab_099.0.hdf5" };
            touch(dir.path(), &["readme.txt", other]);
            let chunks = Chunks::find(dir.path(), Some(99), kind).unwrap();
            assert_eq!(chunks.files.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1, 10], "{pattern}");
            assert_eq!(chunks.missing(11), [2, 3, 4, 5, 6, 7, 8, 9]);
            // Any chunk stands for all.
            assert_eq!(Chunks::find(&dir.path().join(&names[1]), None, kind).unwrap().files.len(), 3);
        }
    }

    #[test]
    fn single_files_and_several_snapshots() {
        let dir = tempfile::tempdir().unwrap();
        let find = |wanted| Chunks::find(dir.path(), wanted, Kind::Snapshot);
        touch(dir.path(), &["snap_033.hdf5", "odd name.hdf5"]);
        assert_eq!(find(None).unwrap().files.len(), 1);
        assert!(!Chunks::find(&dir.path().join("odd name.hdf5"), None, Kind::Snapshot).unwrap().numbered);
        touch(dir.path(), &["snapshot_090.hdf5"]);
        let message = find(None).unwrap_err().to_string();
        assert!(message.contains("snapshot_090"), "{message}");
        let picked = find(Some(90)).unwrap();
        assert!(picked.files[0].1.ends_with("snapshot_090.hdf5"));
        let message = find(Some(7)).unwrap_err().to_string();
        assert!(message.contains("snap_007"), "{message}");
    }
}
