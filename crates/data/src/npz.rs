//! NumPy's `.npz`: a ZIP archive of `.npy` arrays, stored or deflated.
//!
//! # Source
//! ZIP's APPNOTE 6.3 (PKWARE), with the 64-bit extensions that `numpy.savez` writes. Encrypted and split archives, and
//! other compression, are refused; so are arrays of objects, as in every reader here.

use std::path::{Path, PathBuf};

use flate2::{Decompress, FlushDecompress};
use ndarray::ArrayD;

use crate::binary::Binary;
use crate::npy::{NpyElement, NpyType, decode_npy, decode_npy_f64, inspect_npy};
use crate::{Error, Result};

const END: u32 = 0x0605_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
/// The longest comment that may stand behind the end record.
const COMMENT: u64 = 0xffff;
/// The most that deflate shrinks anything.
const DEFLATE_LIMIT: u64 = 1032;

struct Entry {
    name: String,
    method: u16,
    stored: u64,
    size: u64,
    crc: u32,
    at: u64,
}

/// An open archive of arrays.
pub struct NpzFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl NpzFile {
    /// Opens an archive and reads its table of contents.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Truncated`]; [`Error::Invalid`] for another format or a table that cannot be.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = Binary::open(path)?;
        let length = file.remaining();
        let not_zip = || Error::invalid(path, "end of the file", "a ZIP archive (npz)", "other bytes");
        // The end record is the last thing but for a comment.
        let tail_at = length.saturating_sub(22 + COMMENT);
        file.seek(tail_at);
        let tail = file.bytes(length - tail_at, "end record")?;
        let at = (0..tail.len().saturating_sub(21)).rev().find(|&i| tail[i..i + 4] == END.to_le_bytes());
        let at = at.ok_or_else(not_zip)?;
        let half = |i: usize| u64::from(u16::from_le_bytes([tail[at + i], tail[at + i + 1]]));
        let word = |i: usize| half(i) | half(i + 2) << 16;
        let (mut count, mut directory, mut size) = (half(10), word(16), word(12));
        if count == 0xffff || directory == 0xffff_ffff || size == 0xffff_ffff {
            // The locator of the 64-bit record stands before the end record.
            let locator = (tail_at + at as u64).checked_sub(20).ok_or_else(not_zip)?;
            file.seek(locator + 8);
            let record = file.u64("64-bit end record")?;
            file.seek(record.checked_add(32).ok_or_else(not_zip)?);
            count = file.u64("64-bit count")?;
            size = file.u64("64-bit size")?;
            directory = file.u64("64-bit offset")?;
        }
        if directory.checked_add(size).is_none_or(|end| end > length) || count > size / 46 {
            let got = format!("{count} entries in {size} bytes at {directory}");
            return Err(Error::invalid(path, "table of contents", format!("one within {length} bytes"), got));
        }
        file.seek(directory);
        let mut entries = Vec::new();
        for i in 0..count {
            let field = format!("entry {i} of the table of contents");
            if file.u32(&field)? != ENTRY {
                return Err(Error::invalid(path, field, "the mark of an entry", "other bytes"));
            }
            entries.push(Self::entry(&mut file, &field)?);
        }
        Ok(Self { path: path.to_path_buf(), entries })
    }

    fn entry(file: &mut Binary, field: &str) -> Result<Entry> {
        let fixed = file.bytes(42, field)?;
        let half = |i: usize| u16::from_le_bytes([fixed[i], fixed[i + 1]]);
        let word = |i: usize| u32::from_le_bytes([fixed[i], fixed[i + 1], fixed[i + 2], fixed[i + 3]]);
        let name = file.bytes(u64::from(half(24)), field)?;
        let extra = file.bytes(u64::from(half(26)), field)?;
        file.bytes(u64::from(half(28)), field)?;
        if half(4) & 1 != 0 {
            return Err(Error::invalid(file.path(), field, "no encryption", "an encrypted entry"));
        }
        let mut wide = extra64(&extra).into_iter();
        let mut full = |short: u32| match short {
            u32::MAX => wide.next().unwrap_or(u64::MAX),
            short => u64::from(short),
        };
        let (size, stored, at) = (full(word(20)), full(word(16)), full(word(38)));
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok(Entry { name, method: half(6), stored, size, crc: word(12), at })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the arrays, in the order of the archive.
    pub fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|e| e.name.strip_suffix(".npy").unwrap_or(&e.name)).collect()
    }

    /// Type and shape of an array.
    ///
    /// # Errors
    /// As [`NpzFile::read`].
    pub fn info(&self, name: &str) -> Result<(NpyType, Vec<usize>)> {
        inspect_npy(&self.member(name), &self.bytes(name)?)
    }

    /// An array in its own type.
    ///
    /// # Errors
    /// [`Error::Absent`]; [`Error::Truncated`]; [`Error::Invalid`] for a damaged entry, or an array of another type or
    /// of objects.
    pub fn read<T: NpyElement>(&self, name: &str) -> Result<ArrayD<T>> {
        decode_npy(&self.member(name), &self.bytes(name)?)
    }

    /// An array of any number type as f64. Integers above 2^53 lose digits.
    ///
    /// # Errors
    /// As [`NpzFile::read`].
    pub fn read_f64(&self, name: &str) -> Result<ArrayD<f64>> {
        decode_npy_f64(&self.member(name), &self.bytes(name)?)
    }

    /// What errors call an array: the archive and the name.
    fn member(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let own = |e: &&Entry| e.name == name || e.name.strip_suffix(".npy") == Some(name);
        let Some(entry) = self.entries.iter().find(own) else {
            let (field, available) = (format!("array {name:?}"), self.names().join(", "));
            return Err(Error::Absent { path: self.path.clone(), field, available });
        };
        let field = format!("array {name:?}");
        let invalid = |expected: &str, got: String| Error::invalid(&self.path, field.clone(), expected, got);
        let mut file = Binary::open(&self.path)?;
        file.seek(entry.at);
        if file.u32(&field)? != LOCAL {
            return Err(invalid("the mark of an entry", "other bytes".into()));
        }
        let fixed = file.bytes(26, &field)?;
        let skip = u64::from(u16::from_le_bytes([fixed[22], fixed[23]]))
            + u64::from(u16::from_le_bytes([fixed[24], fixed[25]]));
        file.bytes(skip, &field)?;
        let stored = file.bytes(entry.stored, &field)?;
        let bytes = match entry.method {
            0 if entry.size == entry.stored => stored,
            8 if entry.size <= entry.stored.saturating_mul(DEFLATE_LIMIT) => {
                let mut out = vec![0; entry.size as usize];
                let mut inflater = Decompress::new(false);
                let done = inflater.decompress(&stored, &mut out, FlushDecompress::Finish);
                if done.is_err() || inflater.total_out() != entry.size {
                    let got = format!("{} bytes, or damaged ones", inflater.total_out());
                    return Err(invalid(&format!("{} bytes", entry.size), got));
                }
                out
            }
            0 | 8 => return Err(invalid("a size that its bytes can hold", entry.size.to_string())),
            method => {
                return Err(invalid("stored or deflated bytes", format!("compression method {method}")));
            }
        };
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        if crc.sum() != entry.crc {
            return Err(invalid(&format!("CRC-32 {:08x}", entry.crc), format!("{:08x}", crc.sum())));
        }
        Ok(bytes)
    }
}

/// The numbers of the 64-bit extension, in their order.
fn extra64(extra: &[u8]) -> Vec<u64> {
    let mut rest = extra;
    while let [a, b, c, d, body @ ..] = rest {
        let (tag, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let Some(own) = body.get(..length) else { return Vec::new() };
        if tag == 1 {
            let number = |b: &[u8]| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            return own.chunks_exact(8).map(number).collect();
        }
        rest = &body[length..];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ndarray::arr1;

    use super::*;

    /// An archive of one array under two names, stored and deflated, as numpy writes it.
    fn archive() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        crate::write_npy(&path, &arr1(&[1.5f64; 100])).unwrap();
        let plain = std::fs::read(&path).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&plain);
        let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflater.write_all(&plain).unwrap();
        let packed = deflater.finish().unwrap();
        let (mut bytes, mut table) = (Vec::new(), Vec::new());
        for (name, method, data) in [("plain.npy", 0u16, &plain), ("packed.npy", 8, &packed)] {
            let at = bytes.len() as u32;
            let mut common = Vec::new();
            common.extend([20, 0, 0, 0]);
            common.extend(method.to_le_bytes());
            common.extend([0; 4]);
            common.extend(crc.sum().to_le_bytes());
            common.extend((data.len() as u32).to_le_bytes());
            common.extend((plain.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0, 0]);
            bytes.extend(LOCAL.to_le_bytes());
            bytes.extend(&common);
            bytes.extend(name.as_bytes());
            bytes.extend(data);
            table.extend(ENTRY.to_le_bytes());
            table.extend([20, 0]);
            table.extend(&common);
            table.extend([0; 10]);
            table.extend(at.to_le_bytes());
            table.extend(name.as_bytes());
        }
        let at = bytes.len() as u32;
        bytes.extend(&table);
        bytes.extend(END.to_le_bytes());
        bytes.extend([0, 0, 0, 0, 2, 0, 2, 0]);
        bytes.extend((table.len() as u32).to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Vec<ArrayD<f64>>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        std::fs::write(&path, bytes).unwrap();
        let file = NpzFile::open(&path)?;
        assert!(file.read::<f64>("absent").unwrap_err().to_string().contains("a.npz"));
        file.names().into_iter().map(|name| file.read(name)).collect()
    }

    #[test]
    fn stored_and_deflated_arrays_are_read() {
        let arrays = open(&archive()).unwrap();
        assert_eq!(arrays, [arr1(&[1.5f64; 100]).into_dyn(), arr1(&[1.5f64; 100]).into_dyn()]);
    }

    #[test]
    fn damaged_archives_are_errors() {
        let good = archive();
        for at in [70, 200, 960, good.len() - 10, good.len() - 4] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let message = open(&bad).unwrap_err().to_string();
            assert!(message.contains("a.npz"), "{at}: {message}");
        }
        assert!(open(&good[..good.len() - 30]).is_err());
        assert!(open(b"not a ZIP archive").unwrap_err().to_string().contains("ZIP"));
    }
}
