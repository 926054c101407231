//! Event files of TensorBoard: scalars and images, without TensorFlow.
//!
//! A file is a sequence of TFRecords: the length of the data in 8 bytes, its masked CRC-32C in 4, the data, their masked
//! CRC-32C in 4, all little-endian. The data are one `Event` message in the encoding of Protocol Buffers.
//!
//! # Source
//! `tensorflow/core/lib/io/record_writer.h`, `tensorflow/core/util/event.proto` and `framework/summary.proto`: the layout
//! and the numbers of the fields.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::crc32c::masked;
use crate::{Error, Result};

/// An event file of a run; TensorBoard reads it with `--logdir` on its folder.
///
/// ```
/// use halocast_train::EventFile;
/// let path = std::env::temp_dir().join(format!("events.out.tfevents.{}", std::process::id()));
/// let mut file = EventFile::open(&path, 0)?;
/// file.scalars(1, &[("loss", 0.5)])?;
/// file.flush()?;
/// # std::fs::remove_file(path).ok();
/// # Ok::<(), halocast_train::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl EventFile {
    /// Opens the file of a run that stands at `step`: later events, and an event cut by a crash, are dropped. The name
    /// must contain `tfevents`, or TensorBoard does not see the file.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let fail = |source| Error::File { path: path.to_path_buf(), source };
        let old = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(fail)?,
        };
        halocast_core::write_whole(path, |w| {
            let mut kept = Records(&old).filter(|data| step_of(data).is_some_and(|s| s <= step)).peekable();
            if kept.peek().is_none() {
                let mut event = event(0);
                text(&mut event, 3, b"brain.Event:2");
                write_record(w, &event)?;
            }
            kept.try_for_each(|data| write_record(w, data))
        })?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Self { path: path.to_path_buf(), writer: BufWriter::new(file) })
    }

    /// Adds numbers, by tag, at a step.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            text(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, 5);
            entry.extend(value.to_le_bytes());
            text(&mut summary, 1, &entry);
        }
        self.push(step, &summary)
    }

    /// Adds an image, given as the bytes of a PNG file, at a step.
    ///
    /// # Errors
    /// [`Error::Config`] when `png` is no PNG file; [`Error::File`] when the disk refuses.
    pub fn image(&mut self, step: u64, tag: &str, png: &[u8]) -> Result<()> {
        let header = PngHeader::of(png).ok_or_else(|| Error::Config {
            field: "image",
            expected: "the bytes of a PNG file".into(),
            got: format!("{} bytes that are none", png.len()),
        })?;
        let mut image = Vec::new();
        for (field, value) in [(1, header.height), (2, header.width), (3, header.channels)] {
            key(&mut image, field, 0);
            varint(&mut image, u64::from(value));
        }
        text(&mut image, 4, png);
        let mut entry = Vec::new();
        text(&mut entry, 1, tag.as_bytes());
        text(&mut entry, 4, &image);
        let mut summary = Vec::new();
        text(&mut summary, 1, &entry);
        self.push(step, &summary)
    }

    /// Brings all events to the file.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(|e| self.fail(e))
    }

    fn push(&mut self, step: u64, summary: &[u8]) -> Result<()> {
        let mut event = event(step);
        text(&mut event, 5, summary);
        write_record(&mut self.writer, &event).map_err(|e| self.fail(e))
    }

    fn fail(&self, source: std::io::Error) -> Error {
        Error::File { path: self.path.clone(), source }
    }
}

/// Size and channels of a PNG file, from its first chunk.
struct PngHeader {
    width: u32,
    height: u32,
    channels: u32,
}

impl PngHeader {
    fn of(png: &[u8]) -> Option<Self> {
        let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
        let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let channels = match header.get(9)? {
            0 => 1,
            4 => 2,
            6 => 4,
            // True colour, or a palette of it.
            _ => 3,
        };
        Some(Self { width: number(0)?, height: number(4)?, channels })
    }
}

/// The beginning of an event: its time and its step.
fn event(step: u64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
    let mut out = Vec::new();
    key(&mut out, 1, 1);
    out.extend(now.to_le_bytes());
    key(&mut out, 2, 0);
    varint(&mut out, step);
    out
}

/// The step of an event that [`event`] began.
fn step_of(event: &[u8]) -> Option<u64> {
    let mut bytes = event.get(10..)?.iter();
    let (mut step, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.next()?;
        step |= u64::from(byte & 127).checked_shl(shift)?;
        if byte < 128 {
            return Some(step);
        }
        shift += 7;
    }
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes: a string or a message.
fn text(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn write_record(w: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    w.write_all(&length)?;
    w.write_all(&masked(&length).to_le_bytes())?;
    w.write_all(data)?;
    w.write_all(&masked(data).to_le_bytes())
}

/// The data of the records of a file, up to the first that is not whole.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<8>()?;
        let (check, rest) = rest.split_first_chunk::<4>()?;
        if masked(length) != u32::from_le_bytes(*check) {
            return None;
        }
        let (data, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let (check, rest) = rest.split_first_chunk::<4>()?;
        self.0 = rest;
        (masked(data) == u32::from_le_bytes(*check)).then_some(data)
    }
}
