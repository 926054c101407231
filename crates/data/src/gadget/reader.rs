//! One file of a binary snapshot: its header and its blocks.

use std::collections::BTreeMap;
use std::path::Path;

use halocast_core::{FieldValues, Species};
use ndarray::{ArrayD, IxDyn};

use super::HEADER;
use crate::binary::Binary;
use crate::{Error, Result};

/// More files than any run has.
const FILES_LIMIT: i32 = 1 << 20;

/// The blocks that are read: name in form 2, field, width, whether of gas alone.
const BLOCKS: [(&str, &str, u64, bool); 7] = [
    ("POS", "Coordinates", 3, false),
    ("VEL", "Velocities", 3, false),
    ("ID", "ParticleIDs", 1, false),
    ("MASS", "Masses", 1, false),
    ("U", "InternalEnergy", 1, true),
    ("RHO", "Density", 1, true),
    ("HSML", "SmoothingLength", 1, true),
];

/// The header of a file, as it stands.
pub(super) struct FileHeader {
    pub(super) here: [u64; 6],
    pub(super) mass: [f64; 6],
    pub(super) time: f64,
    pub(super) redshift: f64,
    pub(super) total: [u64; 6],
    pub(super) files: i32,
    pub(super) box_size: f64,
    pub(super) omega_m: f64,
    pub(super) omega_lambda: f64,
    pub(super) h: f64,
}

/// An open file.
pub(super) struct Reader {
    file: Binary,
    /// Whether blocks are named.
    named: bool,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = Binary::open(path)?;
        let first = file.u32("first count")?;
        file.seek(0);
        file.big_endian = [HEADER, 8].contains(&first.swap_bytes());
        let first = if file.big_endian { first.swap_bytes() } else { first };
        match first {
            HEADER => Ok(Self { file, named: false }),
            8 => Ok(Self { file, named: true }),
            _ => {
                let expected = "a Gadget snapshot: 256 or 8";
                Err(Error::invalid(path, "first count", expected, first.to_string()))
            }
        }
    }

    /// The name of the next block in form 2.
    fn name(&mut self) -> Result<Option<String>> {
        if !self.named {
            return Ok(None);
        }
        let path = self.file.path().to_path_buf();
        let odd = |got: String| Error::invalid(&path, "block name", "eight bytes between two counts", got);
        if self.file.u32("block name")? != 8 {
            return Err(odd("another count".into()));
        }
        let bytes = self.file.bytes(8, "block name")?;
        if self.file.u32("block name")? != 8 {
            return Err(odd("another count behind it".into()));
        }
        Ok(Some(String::from_utf8_lossy(&bytes[..4]).trim().to_owned()))
    }

    /// The length of the block at the position, checked by the count behind it. `expected` tells what a count of 32 bits
    /// cannot.
    fn length(&mut self, field: &str, expected: Option<u64>) -> Result<u64> {
        let stated = self.file.u32(field)?;
        let length = match expected {
            Some(bytes) if bytes as u32 == stated => bytes,
            _ => u64::from(stated),
        };
        let start = self.file.position();
        if length.saturating_add(4) > self.file.remaining() {
            return Err(Error::Truncated {
                path: self.file.path().to_path_buf(),
                field: format!("block {field}"),
                expected: start.saturating_add(length).saturating_add(4),
                got: start + self.file.remaining(),
            });
        }
        self.file.seek(start + length);
        let behind = self.file.u32(field)?;
        self.file.seek(start);
        if behind != stated {
            let field = format!("count behind block {field}");
            return Err(Error::invalid(self.file.path(), field, stated.to_string(), behind.to_string()));
        }
        Ok(length)
    }

    pub(super) fn header(&mut self) -> Result<FileHeader> {
        if let Some(name) = self.name()?.filter(|n| n != "HEAD") {
            return Err(Error::invalid(self.file.path(), "first block", "HEAD", name));
        }
        if self.length("header", None)? != u64::from(HEADER) {
            return Err(Error::invalid(self.file.path(), "header", "256 bytes", "another length"));
        }
        let start = self.file.position();
        let six =
            |v: Vec<u32>| -> [u64; 6] { std::array::from_fn(|i| v.get(i).copied().map_or(0, u64::from)) };
        let six_f64 = |v: Vec<f64>| -> [f64; 6] { std::array::from_fn(|i| v.get(i).copied().unwrap_or(0.0)) };
        let here = six(self.file.numbers(6, "npart", u32::from_le_bytes)?);
        let mass = six_f64(self.file.numbers(6, "mass table", f64::from_le_bytes)?);
        let times = self.file.numbers(2, "time", f64::from_le_bytes)?;
        self.file.seek(start + 96);
        let low = six(self.file.numbers(6, "npartTotal", u32::from_le_bytes)?);
        self.file.seek(start + 124);
        let files = self.file.i32("num_files")?;
        let numbers = self.file.numbers(4, "BoxSize", f64::from_le_bytes)?;
        self.file.seek(start + 168);
        let high = six(self.file.numbers(6, "npartTotalHighWord", u32::from_le_bytes)?);
        self.file.seek(start + u64::from(HEADER) + 4);
        let (&[time, redshift], &[box_size, omega_m, omega_lambda, h]) = (&times[..], &numbers[..]) else {
            return Err(Error::invalid(self.file.path(), "header", "256 bytes", "fewer"));
        };
        let total: [u64; 6] = std::array::from_fn(|i| {
            // Single files of old codes count nothing here.
            let total = low[i] | high[i] << 32;
            if files <= 1 && total == 0 { here[i] } else { total }
        });
        let checks = [
            ("num_files", f64::from(files), (0..=FILES_LIMIT).contains(&files), "0 to 2^20"),
            ("time", time, time > 0.0 && time < 1e3, "in (0, 1000)"),
            ("redshift", redshift, redshift > -1.0 && redshift < 1e6, "above -1"),
            ("BoxSize", box_size, (0.0..1e12).contains(&box_size), "at least 0"),
            ("Omega0", omega_m, omega_m > 0.0 && omega_m <= 1.0, "in (0, 1]"),
            ("HubbleParam", h, h > 0.0 && h < 2.0, "in (0, 2)"),
        ];
        let bad_mass = mass.iter().find(|m| !(m.is_finite() && **m >= 0.0)).copied();
        let bad_high = high.iter().find(|h| **h >= 1 << 16).map(|h| *h as f64);
        let more = [
            ("mass table", bad_mass.unwrap_or(0.0), bad_mass.is_none(), "at least 0"),
            ("npartTotalHighWord", bad_high.unwrap_or(0.0), bad_high.is_none(), "below 2^16"),
        ];
        for (name, value, good, expected) in checks.into_iter().chain(more) {
            if !good {
                return Err(Error::invalid(
                    self.file.path(),
                    format!("header, {name}"),
                    expected,
                    value.to_string(),
                ));
            }
        }
        Ok(FileHeader { here, mass, time, redshift, total, files, box_size, omega_m, omega_lambda, h })
    }

    pub(super) fn blocks(
        &mut self,
        header: &FileHeader,
        parts: &mut BTreeMap<(Species, &'static str), Vec<FieldValues>>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let mut order = BLOCKS.iter();
        let count_of = |field: &str, gas: bool| -> Vec<(Species, u64)> {
            let with = |s: &Species| match (field, gas) {
                ("Masses", _) => header.mass[s.number()] == 0.0,
                (_, true) => *s == Species::Gas,
                _ => true,
            };
            let species = Species::ALL.into_iter().filter(|s| header.here[s.number()] > 0 && with(s));
            species.map(|s| (s, header.here[s.number()])).collect()
        };
        while self.file.remaining() > 0 {
            let name = self.name()?;
            let block = match &name {
                Some(name) => BLOCKS.iter().find(|b| b.0 == name),
                // Blocks that no particle needs are not there.
                None => order.find(|b| !count_of(b.1, b.3).is_empty()),
            };
            let Some(&(_, field, width, gas)) = block else {
                let length = self.length(name.as_deref().unwrap_or("after the last known"), None)?;
                let warning = match name {
                    Some(name) => format!("block {name} is not read"),
                    None => "blocks behind the known ones are not read".to_owned(),
                };
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
                self.file.seek(self.file.position() + length + 4);
                continue;
            };
            let species = count_of(field, gas);
            let count: u64 = species.iter().map(|(_, n)| n).sum();
            let numbers = count.checked_mul(width).and_then(|n| n.checked_mul(8));
            let Some(double) = numbers else {
                let got = format!("{count} particles");
                return Err(Error::invalid(self.file.path(), field, "fewer particles", got));
            };
            let fits = |bytes: u64| bytes.saturating_add(4) <= self.file.remaining();
            let expected = if fits(double) && double > u64::from(u32::MAX) { double } else { double / 2 };
            let length = self.length(field, Some(expected))?;
            let wide = match length {
                _ if length == double / 2 => false,
                _ if length == double => true,
                _ => {
                    let expected = format!("{} or {double} bytes for {count} particles", double / 2);
                    return Err(Error::invalid(
                        self.file.path(),
                        format!("block {field}"),
                        expected,
                        length.to_string(),
                    ));
                }
            };
            for (species, n) in species {
                let values = self.values(field, n, width, wide)?;
                parts.entry((species, field)).or_default().push(values);
            }
            self.file.seek(self.file.position() + 4);
        }
        Ok(())
    }

    fn values(&mut self, field: &'static str, rows: u64, width: u64, wide: bool) -> Result<FieldValues> {
        let count = rows * width;
        let shape = if width == 1 { vec![rows as usize] } else { vec![rows as usize, width as usize] };
        let path = self.file.path().to_path_buf();
        fn shaped<T>(path: &Path, field: &str, shape: Vec<usize>, values: Vec<T>) -> Result<ArrayD<T>> {
            ArrayD::from_shape_vec(IxDyn(&shape), values)
                .map_err(|e| Error::invalid(path, field, "one row a particle", e.to_string()))
        }
        Ok(match (field, wide) {
            ("ParticleIDs", false) => {
                let ids = self.file.numbers(count, field, |b| u64::from(u32::from_le_bytes(b)))?;
                FieldValues::U64(shaped(&path, field, shape, ids)?)
            }
            ("ParticleIDs", true) => FieldValues::U64(shaped(
                &path,
                field,
                shape,
                self.file.numbers(count, field, u64::from_le_bytes)?,
            )?),
            (_, false) => FieldValues::F32(shaped(
                &path,
                field,
                shape,
                self.file.numbers(count, field, f32::from_le_bytes)?,
            )?),
            (_, true) => FieldValues::F64(shaped(
                &path,
                field,
                shape,
                self.file.numbers(count, field, f64::from_le_bytes)?,
            )?),
        })
    }
}
