//! Friends-of-friends catalogues in P-Gadget's binary form: `groups_NNN/group_tab_NNN.C` and `group_ids_NNN.C`.
//!
//! # Source
//! Pylians' `readfof` (Villaescusa-Navarro 2018), which Quijote's documentation refers to. A file is a header of the
//! numbers of groups (here, in all), of identifiers (here; in all, 64 bits) and of files, then one block for each field:
//! `GroupLen`, `GroupOffset` (32-bit integers), `GroupMass` (10^10 Msun/h), `GroupPos` (kpc/h), `GroupVel` (km/s, times
//! 1 + z for the peculiar velocity), `GroupLenType`, `GroupMassType` (six a group) and, on request, `GroupSFR`. Without
//! separators: what does not end with the file is of another form.

use std::fs;
use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, Table, Unit};
use ndarray::{Array1, Array2};

use crate::binary::Binary;
use crate::error::Incomplete;
use crate::{Error, Result};

/// The form of a catalogue, which its files do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FofOptions {
    /// Whether identifiers have 64 bits.
    pub long_ids: bool,
    /// Whether the files are big-endian.
    pub big_endian: bool,
    /// Whether there is a block of star-formation rates.
    pub with_sfr: bool,
    /// Whether missing files are a shorter catalogue, not an error.
    pub allow_missing: bool,
}

/// More files than any run has.
const FILES_LIMIT: u32 = 1 << 20;

struct Header {
    groups: u64,
    total_groups: u64,
    ids: u64,
    total_ids: u64,
    files: u32,
}

impl Header {
    fn read(file: &mut Binary) -> Result<Self> {
        let mut count = |name: &str| -> Result<u64> {
            let value = file.i32(name)?;
            u64::try_from(value)
                .map_err(|_| Error::invalid(file.path(), name, "at least 0", value.to_string()))
        };
        let (groups, total_groups, ids) = (count("Ngroups")?, count("TotNgroups")?, count("Nids")?);
        let (total_ids, files) = (file.u64("TotNids")?, file.u32("Nfiles")?);
        if files == 0 || files > FILES_LIMIT {
            let got = files.to_string();
            return Err(Error::invalid(file.path(), "Nfiles", "1 to 2^20 (is it big-endian?)", got));
        }
        for (name, here, total) in [("Ngroups", groups, total_groups), ("Nids", ids, total_ids)] {
            if here > total {
                return Err(Error::invalid(
                    file.path(),
                    name,
                    format!("at most {total}, as of all"),
                    here.to_string(),
                ));
            }
        }
        Ok(Self { groups, total_groups, ids, total_ids, files })
    }
}

/// Reads the groups of a catalogue: `folder` is `groups_NNN`, or holds it where there is one such folder.
///
/// Fields are `GroupLen`, `GroupOffset`, `GroupMass`, `GroupPos`, `GroupVel`, `GroupLenType`, `GroupMassType`, and
/// `GroupSFR` where asked for. Positions are in kpc/h, as in the files.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Read`]; [`Error::Truncated`]; [`Error::Invalid`] for counts that cannot be, bytes behind
/// the last block, or a file of another catalogue; [`Error::Incomplete`] for missing files.
pub fn read_fof(folder: impl AsRef<Path>, options: &FofOptions) -> Result<Table> {
    let (folder, files) = find(folder.as_ref(), "group_tab_")?;
    let (mut len, mut offset, mut mass) = (Vec::new(), Vec::new(), Vec::new());
    let (mut position, mut velocity, mut sfr) = (Vec::new(), Vec::new(), Vec::new());
    let (mut len_type, mut mass_type) = (Vec::new(), Vec::new());
    let integer = |b| i64::from(i32::from_le_bytes(b));
    let header = each_file(&folder, &files, options, "groups", |file, header| {
        let n = header.groups;
        len.extend(file.numbers(n, "GroupLen", integer)?);
        offset.extend(file.numbers(n, "GroupOffset", |b| i64::from(u32::from_le_bytes(b)))?);
        mass.extend(file.numbers(n, "GroupMass", f32::from_le_bytes)?);
        position.extend(file.numbers(3 * n, "GroupPos", f32::from_le_bytes)?);
        velocity.extend(file.numbers(3 * n, "GroupVel", f32::from_le_bytes)?);
        len_type.extend(file.numbers(6 * n, "GroupLenType", integer)?);
        mass_type.extend(file.numbers(6 * n, "GroupMassType", f32::from_le_bytes)?);
        if options.with_sfr {
            sfr.extend(file.numbers(n, "GroupSFR", f32::from_le_bytes)?);
        }
        Ok(n)
    })?;
    if let Some((i, negative)) = len.iter().chain(&len_type).enumerate().find(|(_, n)| **n < 0) {
        let field = format!("GroupLen or GroupLenType, number {i}");
        return Err(Error::invalid(&folder, field, "at least 0 (is it big-endian?)", negative.to_string()));
    }
    let rows = header as usize;
    let mut table = Table::new("Group", rows);
    let shape = |e: ndarray::ShapeError| Error::invalid(&folder, "blocks", "one row a group", e.to_string());
    let none = Unit::dimensionless;
    let (mass_unit, speed) = (Unit::msun_h_1e10(), Unit::new("km/s/a", 1e5, -1.0, 0.0));
    let many = |width: usize, v: Vec<f32>| Array2::from_shape_vec((rows, width), v).map_err(shape);
    table.insert("GroupLen", FieldValues::I64(Array1::from(len).into_dyn()), none())?;
    table.insert("GroupOffset", FieldValues::I64(Array1::from(offset).into_dyn()), none())?;
    table.insert("GroupMass", FieldValues::F32(Array1::from(mass).into_dyn()), mass_unit.clone())?;
    table.insert("GroupPos", FieldValues::F32(many(3, position)?.into_dyn()), Unit::kpc_h())?;
    table.insert("GroupVel", FieldValues::F32(many(3, velocity)?.into_dyn()), speed)?;
    let len_type = Array2::from_shape_vec((rows, 6), len_type).map_err(shape)?;
    table.insert("GroupLenType", FieldValues::I64(len_type.into_dyn()), none())?;
    table.insert("GroupMassType", FieldValues::F32(many(6, mass_type)?.into_dyn()), mass_unit)?;
    if options.with_sfr {
        let unit = Unit::new("Msun/yr", 6.302_76e25, 0.0, 0.0);
        table.insert("GroupSFR", FieldValues::F32(Array1::from(sfr).into_dyn()), unit)?;
    }
    Ok(table)
}

/// Reads the identifiers of the particles in groups, group by group in the order of `GroupLen`.
///
/// # Errors
/// As [`read_fof`].
pub fn read_fof_ids(folder: impl AsRef<Path>, options: &FofOptions) -> Result<Vec<u64>> {
    let (folder, files) = find(folder.as_ref(), "group_ids_")?;
    let mut ids = Vec::new();
    each_file(&folder, &files, options, "identifiers", |file, header| {
        file.u32("Send_offset")?;
        match options.long_ids {
            true => ids.extend(file.numbers(header.ids, "GroupIDs", u64::from_le_bytes)?),
            false => ids.extend(file.numbers(header.ids, "GroupIDs", |b| u64::from(u32::from_le_bytes(b)))?),
        }
        Ok(header.ids)
    })?;
    Ok(ids)
}

/// Reads the files in order; `blocks` returns how many rows it took. Returns their sum.
fn each_file(
    folder: &Path,
    files: &[(u32, PathBuf)],
    options: &FofOptions,
    what: &str,
    mut blocks: impl FnMut(&mut Binary, &Header) -> Result<u64>,
) -> Result<u64> {
    let mut first: Option<Header> = None;
    let mut stored = 0;
    for (_, path) in files {
        let mut file = Binary::open(path)?;
        file.big_endian = options.big_endian;
        let header = Header::read(&mut file)?;
        if let Some(first) = &first {
            let same = (first.total_groups, first.total_ids, first.files)
                == (header.total_groups, header.total_ids, header.files);
            if !same {
                let expected =
                    format!("{} groups in {} files, as the first file says", first.total_groups, first.files);
                let got = format!("{} groups in {} files", header.total_groups, header.files);
                return Err(Error::invalid(path, "header", expected, got));
            }
        }
        stored += blocks(&mut file, &header)?;
        if file.remaining() > 0 {
            let got = format!("{} more bytes", file.remaining());
            return Err(Error::invalid(path, "end of the file", "nothing behind the last block", got));
        }
        first.get_or_insert(header);
    }
    let Some(first) = first else {
        return Err(Error::NotFound {
            path: folder.to_path_buf(),
            expected: "group_tab or group_ids file".into(),
        });
    };
    let expected = u64::from(first.files);
    let have = |n: u64| files.binary_search_by_key(&n, |(number, _)| u64::from(*number)).is_ok();
    let promised = if what == "groups" { first.total_groups } else { first.total_ids };
    let mut tables = Vec::new();
    if promised != stored {
        tables.push((what.to_owned(), promised, stored));
    }
    let incomplete = Incomplete {
        path: folder.to_path_buf(),
        missing: (0..expected).filter(|&n| !have(n)).collect(),
        chunks_expected: expected,
        chunks_found: files.len() as u64,
        counts: Vec::new(),
        tables,
    };
    if incomplete.is_something() && !options.allow_missing {
        return Err(Error::Incomplete(incomplete));
    }
    Ok(stored)
}

/// The folder and the numbered files of a kind, sorted.
fn find(folder: &Path, prefix: &str) -> Result<(PathBuf, Vec<(u32, PathBuf)>)> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::read(folder))? {
            paths.push(entry.map_err(Error::read(folder))?.path());
        }
        paths.sort();
        Ok(paths)
    };
    let here = |folder: &Path| -> Result<Vec<(u32, PathBuf)>> {
        let number = |path: &PathBuf| -> Option<u32> {
            path.file_name()?.to_str()?.strip_prefix(prefix)?.split_once('.')?.1.parse().ok()
        };
        let mut found: Vec<_> = list(folder)?.into_iter().filter_map(|p| Some((number(&p)?, p))).collect();
        found.sort();
        Ok(found)
    };
    let files = here(folder)?;
    if !files.is_empty() {
        return Ok((folder.to_path_buf(), files));
    }
    let is_groups = |p: &PathBuf| {
        p.is_dir() && p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("groups_"))
    };
    let inner: Vec<PathBuf> = list(folder)?.into_iter().filter(is_groups).collect();
    let expected = format!("{prefix}NNN.C, in it or in one folder groups_NNN");
    match &inner[..] {
        [one] => match here(one)? {
            files if !files.is_empty() => Ok((one.clone(), files)),
            _ => Err(Error::NotFound { path: one.clone(), expected }),
        },
        _ => Err(Error::NotFound { path: folder.to_path_buf(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tab(groups: &[(i32, f32)], total: i32, files: u32, big: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |b: &[u8]| {
            let mut b = b.to_vec();
            if big {
                b.reverse();
            }
            bytes.extend(b);
        };
        put(&(groups.len() as i32).to_le_bytes());
        put(&total.to_le_bytes());
        put(&0i32.to_le_bytes());
        put(&0u64.to_le_bytes());
        put(&files.to_le_bytes());
        groups.iter().for_each(|g| put(&g.0.to_le_bytes()));
        groups.iter().for_each(|_| put(&0u32.to_le_bytes()));
        groups.iter().for_each(|g| put(&g.1.to_le_bytes()));
        for factor in [1.0f32, 10.0] {
            groups.iter().for_each(|g| (0..3).for_each(|i| put(&(factor * (g.1 + i as f32)).to_le_bytes())));
        }
        groups.iter().for_each(|g| (0..6).for_each(|i| put(&(if i == 1 { g.0 } else { 0 }).to_le_bytes())));
        groups.iter().for_each(|g| (0..6).for_each(|i| put(&(if i == 1 { g.1 } else { 0.0 }).to_le_bytes())));
        bytes
    }

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join("groups_004").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn groups_of_many_files_are_joined() {
        for big_endian in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), "group_tab_004.0", &tab(&[(40, 4.0), (30, 3.0)], 3, 3, big_endian));
            write(dir.path(), "group_tab_004.1", &tab(&[], 3, 3, big_endian));
            let last = write(dir.path(), "group_tab_004.2", &tab(&[(20, 2.0)], 3, 3, big_endian));
            let options = FofOptions { big_endian, ..Default::default() };
            let groups = read_fof(dir.path(), &options).unwrap();
            assert_eq!(groups.scalars("GroupLen").unwrap(), [40.0, 30.0, 20.0]);
            assert_eq!(groups.vectors("GroupPos").unwrap()[2], [2.0, 3.0, 4.0]);
            assert_eq!(groups.vectors("GroupVel").unwrap()[0], [40.0, 50.0, 60.0]);
            assert_eq!(groups.field("GroupLenType").unwrap().values.to_f64()[[1, 1]], 30.0);
            assert!(read_fof(dir.path(), &FofOptions { big_endian: !big_endian, ..options }).is_err());
            let with_sfr = FofOptions { with_sfr: true, ..options };
            assert!(read_fof(dir.path(), &with_sfr).unwrap_err().to_string().contains("GroupSFR"));
            fs::remove_file(last).unwrap();
            let message = read_fof(dir.path(), &options).unwrap_err().to_string();
            assert!(
                message.contains("chunk 2 of 3 missing") && message.contains("groups: header promises 3"),
                "{message}"
            );
            let short = FofOptions { allow_missing: true, ..options };
            assert_eq!(read_fof(dir.path(), &short).unwrap().len(), 2);
        }
    }

    #[test]
    fn absurd_headers_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let good = tab(&[(40, 4.0)], 1, 1, false);
        for (at, value, part) in [
            (0, -3, "Ngroups"),
            (0, i32::MAX, "Ngroups"),
            (4, -1, "TotNgroups"),
            (20, 0, "Nfiles"),
            (24, -40, "at least 0"),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            write(dir.path(), "group_tab_004.0", &bytes);
            let message = read_fof(dir.path(), &FofOptions::default()).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        // Both counts absurd: the file is too short.
        let mut bytes = good.clone();
        bytes[0..4].copy_from_slice(&i32::MAX.to_le_bytes());
        bytes[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
        write(dir.path(), "group_tab_004.0", &bytes);
        let message = read_fof(dir.path(), &FofOptions::default()).unwrap_err().to_string();
        assert!(message.contains("truncated") && message.contains("GroupLen"), "{message}");
        write(dir.path(), "group_tab_004.0", &[good, vec![0; 4]].concat());
        let message = read_fof(dir.path(), &FofOptions::default()).unwrap_err().to_string();
        assert!(message.contains("4 more bytes"), "{message}");
    }

    #[test]
    fn identifiers_have_either_width() {
        for long_ids in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = Vec::new();
            [1i32, 1, 2].iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            bytes.extend(2u64.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            for id in [7u64, 1 << 31] {
                bytes.extend(&id.to_le_bytes()[..if long_ids { 8 } else { 4 }]);
            }
            write(dir.path(), "group_ids_004.0", &bytes);
            let options = FofOptions { long_ids, ..Default::default() };
            assert_eq!(read_fof_ids(dir.path(), &options).unwrap(), [7, 1 << 31]);
            assert!(read_fof_ids(dir.path(), &FofOptions { long_ids: !long_ids, ..options }).is_err());
        }
    }
}
