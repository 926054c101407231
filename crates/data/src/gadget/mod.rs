//! Snapshots in the binary form of Gadget-1 and Gadget-2.
//!
//! # Source
//! The user's guide of GADGET-2 (Springel 2005), section 6: a header of 256 bytes, then blocks `POS`, `VEL`, `ID`, `MASS`,
//! and of gas `U`, `RHO`, `HSML`, each between two counts of its bytes (form 1), perhaps with its name in a block of
//! eight bytes before it (form 2). Identifiers have 32 or 64 bits, the others 32 or 64 bits of floating point; `MASS` holds
//! the types without a mass in the header. Either byte order.

mod reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
use ndarray::{Axis, concatenate};

use reader::{FileHeader, Reader};

use crate::error::Incomplete;
use crate::{Error, Result};

/// Bytes of the header.
const HEADER: u32 = 256;
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
        mock: false,
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
mod tests;
