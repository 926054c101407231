//! Finding the files of a snapshot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The files of one snapshot.
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

fn parse(path: &Path) -> Option<Name> {
    let name = path.file_name()?.to_str()?;
    let base = name.strip_suffix(".hdf5").or_else(|| name.strip_suffix(".h5"))?;
    let (stem, chunk) = match base.rsplit_once('.') {
        Some((stem, chunk)) if !chunk.is_empty() && chunk.bytes().all(|b| b.is_ascii_digit()) => {
            (stem, Some(chunk.parse().ok()?))
        }
        _ => (base, None),
    };
    let prefixes = ["snapshot_", "snap_"];
    let snapshot = prefixes.iter().find_map(|p| stem.strip_prefix(p)).and_then(|n| n.parse().ok());
    Some(Name { stem: stem.to_owned(), snapshot, chunk })
}

impl Chunks {
    /// The files of the snapshot at `path`: a file, one chunk of many (which stands for all), the folder that holds
    /// them, or a folder with `snapdir_NNN` or `snapshots/NNN` below it. `wanted` picks one of several snapshots.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::NotFound`]; [`Error::Invalid`] when there are several snapshots and none was picked.
    pub(super) fn find(path: &Path, wanted: Option<u64>) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::read(path))?;
        if metadata.is_file() {
            return Self::of_file(path);
        }
        let mut found: BTreeMap<(PathBuf, String), (Option<u64>, Vec<PathBuf>)> = BTreeMap::new();
        for folder in candidate_folders(path)? {
            for file in entries(&folder)? {
                if let Some(Name { stem, snapshot: Some(snapshot), .. }) = parse(&file)
                    && wanted.is_none_or(|w| w == snapshot)
                {
                    let of_stem = found.entry((folder.clone(), stem)).or_insert((Some(snapshot), Vec::new()));
                    of_stem.1.push(file);
                }
            }
        }
        let mut found = found.into_iter();
        let what = || match wanted {
            Some(n) => format!("snapshot {n} (snap_{n:03}.hdf5, snap_{n:03}.0.hdf5, snapdir_{n:03}/, ...)"),
            None => "snapshot (snap_NNN.hdf5, snap_NNN.C.hdf5, snapshot_NNN..., snapdir_NNN/)".to_owned(),
        };
        let Some((_, (_, files))) = found.next() else {
            return Err(Error::NotFound { path: path.to_path_buf(), expected: what() });
        };
        if let Some(((folder, stem), _)) = found.next() {
            let got = format!("several: for example {} too", folder.join(stem).display());
            return Err(Error::invalid(path, "folder", "one snapshot (name it, or its number)", got));
        }
        Self::of_files(path, files)
    }

    /// The snapshot that a file belongs to.
    fn of_file(path: &Path) -> Result<Self> {
        let Some(Name { stem, chunk: Some(_), .. }) = parse(path) else {
            let files = vec![(0, path.to_path_buf())];
            return Ok(Self { path: path.to_path_buf(), files, numbered: false });
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let siblings =
            entries(folder)?.into_iter().filter(|file| parse(file).is_some_and(|n| n.stem == stem)).collect();
        Self::of_files(folder, siblings)
    }

    fn of_files(path: &Path, files: Vec<PathBuf>) -> Result<Self> {
        let mut chunks = Vec::new();
        let mut whole = None;
        for file in files {
            match parse(&file).and_then(|n| n.chunk) {
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

fn candidate_folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![path.to_path_buf()];
    for entry in entries(path)? {
        if !entry.is_dir() {
            continue;
        }
        match entry.file_name().and_then(|n| n.to_str()).unwrap_or_default() {
            "snapshots" => {
                folders.extend(entries(&entry)?.into_iter().filter(|e| e.is_dir()));
                folders.push(entry);
            }
            "output" => folders
                .extend(entries(&entry)?.into_iter().filter(|e| e.is_dir() && name_starts(e, "snapdir_"))),
            _ if name_starts(&entry, "snapdir_") => folders.push(entry),
            _ => {}
        }
    }
    Ok(folders)
}

fn name_starts(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
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
        for names in [
            &["snap_099.0.hdf5", "snap_099.1.hdf5", "snap_099.10.hdf5"][..],
            &["snapdir_099/snap_099.0.hdf5", "snapdir_099/snap_099.1.hdf5", "snapdir_099/snap_099.10.hdf5"],
            &[
                "output/snapdir_099/snap_099.0.hdf5",
                "output/snapdir_099/snap_099.1.hdf5",
                "output/snapdir_099/snap_099.10.hdf5",
            ],
            &[
                "snapshots/099/snapshot_099.0.hdf5",
                "snapshots/099/snapshot_099.1.hdf5",
                "snapshots/099/snapshot_099.10.hdf5",
            ],
        ] {
            let dir = tempfile::tempdir().unwrap();
            touch(dir.path(), names);
            touch(dir.path(), &["readme.txt", "fof_subhalo_tab_099.0.hdf5"]);
            let chunks = Chunks::find(dir.path(), None).unwrap();
            assert_eq!(chunks.files.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1, 10]);
            assert_eq!(chunks.missing(11), [2, 3, 4, 5, 6, 7, 8, 9]);
            // Any chunk stands for all.
            assert_eq!(Chunks::find(&dir.path().join(names[1]), None).unwrap().files.len(), 3);
        }
    }

    #[test]
    fn single_files_and_several_snapshots() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["snap_033.hdf5", "odd name.hdf5"]);
        assert_eq!(Chunks::find(dir.path(), None).unwrap().files.len(), 1);
        assert!(!Chunks::find(&dir.path().join("odd name.hdf5"), None).unwrap().numbered);
        touch(dir.path(), &["snapshot_090.hdf5"]);
        let message = Chunks::find(dir.path(), None).unwrap_err().to_string();
        assert!(message.contains("snapshot_090"), "{message}");
        let picked = Chunks::find(dir.path(), Some(90)).unwrap();
        assert!(picked.files[0].1.ends_with("snapshot_090.hdf5"));
        let message = Chunks::find(dir.path(), Some(7)).unwrap_err().to_string();
        assert!(message.contains("snap_007"), "{message}");
    }
}
