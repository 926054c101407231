//! Snapshots in the binary form of Gadget-1 and Gadget-2.
//!
//! # Source
//! The user's guide of GADGET-2 (Springel 2005), section 6: a header of 256 bytes, then blocks `POS`, `VEL`, `ID`, `MASS`,
//! and of gas `U`, `RHO`, `HSML`, each between two counts of its bytes (form 1), perhaps with its name in a block of
//! eight bytes before it (form 2). Identifiers have 32 or 64 bits, the others 32 or 64 bits of floating point; `MASS` holds
//! the types without a mass in the header. Either byte order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
use ndarray::{ArrayD, Axis, IxDyn, concatenate};

use crate::binary::Binary;
use crate::error::Incomplete;
use crate::{Error, Result};

/// Bytes of the header.
const HEADER: u32 = 256;
/// More files than any run has.
const FILES_LIMIT: i32 = 1 << 20;

/// The units of a binary snapshot, which it does not tell, and what may be missing.
#[derive(Clone, Debug, PartialEq)]
pub struct GadgetOptions {
    /// The unit of lengths; ckpc/h by default, as in Quijote. Many other runs have Mpc/h.
    pub length: Unit,
    /// The unit of masses; 10^10 Msun/h by default.
    pub mass: Unit,
    /// Whether missing files are warnings, not an error.
    pub allow_missing: bool,
}

impl Default for GadgetOptions {
    fn default() -> Self {
        Self { length: Unit::kpc_h(), mass: Unit::msun_h_1e10(), allow_missing: false }
    }
}

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

struct FileHeader {
    here: [u64; 6],
    mass: [f64; 6],
    time: f64,
    redshift: f64,
    total: [u64; 6],
    files: i32,
    box_size: f64,
    omega_m: f64,
    omega_lambda: f64,
    h: f64,
}

/// Whether a file begins as a binary snapshot does.
pub(crate) fn is_gadget(start: &[u8]) -> bool {
    let word = |at: usize| start.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let marks = |value: u32| value == HEADER || value.swap_bytes() == HEADER;
    match (word(0), word(16)) {
        (Some(first), _) if marks(first) => word(260).is_none_or(marks),
        (Some(first), Some(second)) if first == 8 || first.swap_bytes() == 8 => {
            start.get(4..8) == Some(b"HEAD") && marks(second)
        }
        _ => false,
    }
}

/// Reads a binary snapshot: a file, or one of `NAME.0`, `NAME.1`, ..., which stands for all.
///
/// Field names are those of IllustrisTNG files. Blocks behind those that are known are left out, with a warning.
///
/// # Errors
/// [`Error::Read`]; [`Error::Truncated`]; [`Error::Invalid`] for a header that cannot be, counts around a block that
/// differ, or a block of another size than its particles need; [`Error::Incomplete`] for missing files.
pub fn read_gadget(path: impl AsRef<Path>, options: &GadgetOptions) -> Result<Snapshot> {
    let path = path.as_ref();
    let files = siblings(path)?;
    let mut first: Option<FileHeader> = None;
    let mut parts: BTreeMap<(Species, &'static str), Vec<FieldValues>> = BTreeMap::new();
    let mut stored = [0u64; 6];
    let mut warnings: Vec<String> = Vec::new();
    for (_, path) in &files {
        let mut file = Reader::open(path)?;
        let header = file.header()?;
        if let Some(first) = &first
            && (first.total, first.files, first.time) != (header.total, header.files, header.time)
        {
            let expected = format!("totals {:?} at time {} as in the first file", first.total, first.time);
            let got = format!("{:?} at {}", header.total, header.time);
            return Err(Error::invalid(path, "header", expected, got));
        }
        file.blocks(&header, &mut parts, &mut warnings)?;
        stored.iter_mut().zip(header.here).for_each(|(s, n)| *s += n);
        first.get_or_insert(header);
    }
    let Some(first) = first else {
        return Err(Error::NotFound { path: path.to_path_buf(), expected: "binary snapshot".into() });
    };
    let expected = first.files.max(1) as u64;
    let have = |n: u64| files.iter().any(|(number, _)| *number == n);
    let incomplete = Incomplete {
        path: path.to_path_buf(),
        missing: (0..expected).filter(|&n| !have(n)).collect(),
        chunks_expected: expected,
        chunks_found: files.len() as u64,
        counts: Species::ALL
            .into_iter()
            .map(|s| (s, first.total[s.number()], stored[s.number()]))
            .filter(|(_, promised, stored)| promised != stored)
            .collect(),
        tables: Vec::new(),
    };
    if incomplete.is_something() {
        if !options.allow_missing {
            return Err(Error::Incomplete(incomplete));
        }
        warnings.extend(incomplete.lines());
    }
    assemble(path, first, stored, parts, warnings, options)
}

fn assemble(
    path: &Path,
    first: FileHeader,
    stored: [u64; 6],
    parts: BTreeMap<(Species, &'static str), Vec<FieldValues>>,
    warnings: Vec<String>,
    options: &GadgetOptions,
) -> Result<Snapshot> {
    // Headers of core are in ckpc/h and 10^10 Msun/h.
    let tng = Cosmology::illustris_tng();
    let cosmology = Cosmology {
        omega_m: first.omega_m,
        h: first.h,
        omega_b: tng.omega_b.min(0.999 * first.omega_m),
        ..tng
    };
    cosmology.validate()?;
    let to_kpc = options.length.factor_to(&Unit::kpc_h(), first.time, first.h);
    let to_mass = options.mass.factor_to(&Unit::msun_h_1e10(), first.time, first.h);
    let mut warnings = warnings;
    if (first.omega_m + first.omega_lambda - 1.0).abs() > 1e-3 {
        let sum = first.omega_m + first.omega_lambda;
        warnings.push(format!("Omega0 + OmegaLambda = {sum}: a flat cosmology is assumed"));
    }
    let header = Header {
        box_size: first.box_size * to_kpc,
        time: first.time,
        redshift: first.redshift,
        cosmology,
        mass_table: first.mass.map(|m| m * to_mass),
        promised: first.total,
    };
    let mut sets = BTreeMap::new();
    for species in Species::ALL.into_iter().filter(|s| stored[s.number()] > 0) {
        sets.insert(species, ParticleSet::new(species, stored[species.number()] as usize));
    }
    let density = {
        let (m, l) = (&options.mass, &options.length);
        let label = format!("({})/({})^3", m.label, l.label);
        Unit::new(label, m.to_cgs / l.to_cgs.powi(3), m.a - 3.0 * l.a, m.h - 3.0 * l.h)
    };
    for ((species, field), parts) in parts {
        let unit = match field {
            "Coordinates" | "SmoothingLength" => options.length.clone(),
            "Velocities" => Unit::km_s_sqrt_a(),
            "Masses" => options.mass.clone(),
            "InternalEnergy" => Unit::new("(km/s)^2", 1e10, 0.0, 0.0),
            "Density" => density.clone(),
            _ => Unit::dimensionless(),
        };
        if let Some(set) = sets.get_mut(&species) {
            set.insert(field, join(path, field, parts)?, unit)?;
        }
    }
    Ok(Snapshot { header, sets, warnings })
}

struct Reader {
    file: Binary,
    /// Whether blocks are named.
    named: bool,
}

impl Reader {
    fn open(path: &Path) -> Result<Self> {
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

    fn header(&mut self) -> Result<FileHeader> {
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

    fn blocks(
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

/// The files of the snapshot that a file belongs to, with their numbers.
fn siblings(path: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some((stem, _)) = name.rsplit_once('.').filter(|(_, c)| c.parse::<u64>().is_ok()) else {
        return Ok(vec![(0, path.to_path_buf())]);
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::read(folder))? {
        let entry = entry.map_err(Error::read(folder))?.path();
        let number = entry
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix(stem))
            .and_then(|n| n.strip_prefix('.')?.parse::<u64>().ok());
        if let Some(number) = number {
            found.push((number, entry));
        }
    }
    found.sort();
    if found.is_empty() {
        // Lets the error of opening it speak.
        found.push((0, path.to_path_buf()));
    }
    Ok(found)
}

fn join(path: &Path, field: &str, parts: Vec<FieldValues>) -> Result<FieldValues> {
    let other = || Error::invalid(path, field, "one type in every file", "two types");
    macro_rules! as_one {
        ($variant:ident) => {{
            let mut arrays = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    FieldValues::$variant(array) => arrays.push(array),
                    _ => return Err(other()),
                }
            }
            let views: Vec<_> = arrays.iter().map(|a| a.view()).collect();
            FieldValues::$variant(concatenate(Axis(0), &views).map_err(|_| other())?)
        }};
    }
    Ok(match parts.first() {
        Some(FieldValues::F32(_)) => as_one!(F32),
        Some(FieldValues::F64(_)) => as_one!(F64),
        Some(FieldValues::U64(_)) => as_one!(U64),
        _ => return Err(other()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two gas particles with masses, three of dark matter with one; form 1 or 2, either order, files of equal content.
    fn file(named: bool, big: bool, files: i32, double_ids: bool) -> Vec<u8> {
        let order = |b: &[u8]| {
            let mut b = b.to_vec();
            if big {
                b.reverse();
            }
            b
        };
        let mut header = Vec::new();
        for n in [2u32, 3, 0, 0, 0, 0] {
            header.extend(order(&n.to_le_bytes()));
        }
        for m in [0.0f64, 0.5, 0.0, 0.0, 0.0, 0.0] {
            header.extend(order(&m.to_le_bytes()));
        }
        header.extend(order(&0.5f64.to_le_bytes()));
        header.extend(order(&1.0f64.to_le_bytes()));
        header.extend([0; 8]);
        for n in [2u32, 3, 0, 0, 0, 0] {
            header.extend(order(&(n * files.max(1) as u32).to_le_bytes()));
        }
        header.extend([0; 4]);
        header.extend(order(&files.to_le_bytes()));
        for x in [1000.0f64, 0.3, 0.7, 0.7] {
            header.extend(order(&x.to_le_bytes()));
        }
        header.resize(256, 0);
        let floats = |n: usize| (0..n).flat_map(|i| order(&(i as f32).to_le_bytes())).collect::<Vec<u8>>();
        let ids: Vec<u8> = (0..5u64)
            .flat_map(|i| {
                if double_ids { order(&(i << 40).to_le_bytes()) } else { order(&(i as u32).to_le_bytes()) }
            })
            .collect();
        let mut bytes = Vec::new();
        for (name, block) in [
            ("HEAD", header),
            ("POS ", floats(15)),
            ("VEL ", floats(15)),
            ("ID  ", ids),
            ("MASS", floats(2)),
            ("U   ", floats(2)),
        ] {
            if named {
                bytes.extend(order(&8u32.to_le_bytes()));
                bytes.extend(name.as_bytes());
                bytes.extend(order(&(block.len() as u32 + 8).to_le_bytes()));
                bytes.extend(order(&8u32.to_le_bytes()));
            }
            let count = order(&(block.len() as u32).to_le_bytes());
            bytes.extend(&count);
            bytes.extend(block);
            bytes.extend(count);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Snapshot> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snap_004");
        std::fs::write(&path, bytes).unwrap();
        assert!(!bytes.is_empty());
        read_gadget(&path, &GadgetOptions::default())
    }

    #[test]
    fn both_forms_and_orders_are_read() {
        for (named, big, double_ids) in
            [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
        {
            let bytes = file(named, big, 1, double_ids);
            assert!(is_gadget(&bytes[..300]), "{named} {big}");
            let snapshot = read(&bytes).unwrap();
            let gas = snapshot.set(Species::Gas).unwrap();
            assert_eq!(gas.vectors("Coordinates").unwrap()[1], [3.0, 4.0, 5.0]);
            assert_eq!(gas.scalars("InternalEnergy").unwrap(), [0.0, 1.0]);
            assert_eq!(snapshot.masses(Species::Gas).unwrap(), [0.0, 1.0]);
            assert_eq!(snapshot.masses(Species::DarkMatter).unwrap(), [0.5; 3]);
            let dm = snapshot.set(Species::DarkMatter).unwrap();
            assert_eq!(dm.vectors("Velocities").unwrap()[2], [12.0, 13.0, 14.0]);
            let FieldValues::U64(ids) = &dm.field("ParticleIDs").unwrap().values else { panic!() };
            assert_eq!(ids[[2]], if double_ids { 4 << 40 } else { 4 });
            assert_eq!((snapshot.header.box_size, snapshot.header.time), (1000.0, 0.5));
            assert!(snapshot.warnings.is_empty());
        }
    }

    #[test]
    fn many_files_are_one_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..3 {
            std::fs::write(dir.path().join(format!("snap_004.{i}")), file(false, false, 3, false)).unwrap();
        }
        let options = GadgetOptions { length: Unit::mpc_h(), ..Default::default() };
        let snapshot = read_gadget(dir.path().join("snap_004.1"), &options).unwrap();
        assert_eq!(snapshot.set(Species::Gas).unwrap().len(), 6);
        assert!((snapshot.header.box_size / 1e6 - 1.0).abs() < 1e-12);
        assert_eq!(snapshot.set(Species::Gas).unwrap().field("Coordinates").unwrap().unit.label, "Mpc/h");
        std::fs::remove_file(dir.path().join("snap_004.2")).unwrap();
        let message = read_gadget(dir.path().join("snap_004.1"), &options).unwrap_err().to_string();
        assert!(message.contains("chunk 2 of 3 missing") && message.contains("promises 6"), "{message}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let good = file(false, false, 1, false);
        let change = |at: usize, bytes: &[u8]| {
            let mut changed = good.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            read(&changed).unwrap_err().to_string()
        };
        for (message, part) in [
            (change(0, &[9]), "first count"),
            (change(260, &[9]), "count behind block header"),
            (change(4, &i32::MAX.to_le_bytes()), "Coordinates"),
            (change(4 + 72, &f64::NAN.to_le_bytes()), "time"),
            (change(4 + 24, &(-1f64).to_le_bytes()), "mass table"),
            (change(4 + 124, &(-1i32).to_le_bytes()), "num_files"),
            (change(264, &[200]), "block Coordinates"),
            (read(&good[..good.len() - 3]).unwrap_err().to_string(), "truncated"),
            (read(&good[..100]).unwrap_err().to_string(), "truncated"),
        ] {
            assert!(message.contains(part) && message.contains("snap_004"), "{part}: {message}");
        }
    }
}
