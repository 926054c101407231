//! Numbers of binary files in order: every length is checked against the file before memory is asked for.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::npy::read_at;
use crate::{Error, Result};

/// A file read from front to back.
pub(crate) struct Binary {
    path: PathBuf,
    file: File,
    length: u64,
    at: u64,
    /// Whether numbers are in the byte order that is not little-endian.
    pub big_endian: bool,
}

impl Binary {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::read(path))?;
        let metadata = file.metadata().map_err(Error::read(path))?;
        if metadata.is_dir() {
            return Err(Error::read(path)(std::io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self { path: path.to_path_buf(), file, length: metadata.len(), at: 0, big_endian: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    pub(crate) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Bytes behind the position.
    pub(crate) fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    pub(crate) fn bytes(&mut self, count: u64, field: &str) -> Result<Vec<u8>> {
        if count > self.remaining() {
            return Err(Error::Truncated {
                path: self.path.clone(),
                field: field.to_owned(),
                expected: self.at.saturating_add(count),
                got: self.length,
            });
        }
        let mut bytes = vec![0; count as usize];
        read_at(&self.file, &mut bytes, self.at).map_err(Error::read(&self.path))?;
        self.at += count;
        Ok(bytes)
    }

    /// Numbers of N bytes, turned into little-endian order.
    pub(crate) fn numbers<const N: usize, T>(
        &mut self,
        count: u64,
        field: &str,
        convert: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let bytes = self.bytes(count.saturating_mul(N as u64), field)?;
        let one = |b: &[u8]| {
            let mut number = [0; N];
            number.copy_from_slice(b);
            if self.big_endian {
                number.reverse();
            }
            convert(number)
        };
        Ok(bytes.chunks_exact(N).map(one).collect())
    }

    pub(crate) fn u32(&mut self, field: &str) -> Result<u32> {
        let values = self.numbers(1, field, u32::from_le_bytes)?;
        values.first().copied().ok_or_else(|| self.nothing(field))
    }

    pub(crate) fn i32(&mut self, field: &str) -> Result<i32> {
        self.u32(field).map(|x| x as i32)
    }

    pub(crate) fn u64(&mut self, field: &str) -> Result<u64> {
        let values = self.numbers(1, field, u64::from_le_bytes)?;
        values.first().copied().ok_or_else(|| self.nothing(field))
    }

    fn nothing(&self, field: &str) -> Error {
        Error::invalid(&self.path, field, "a number", "nothing")
    }
}
