//! The header of a snapshot: what it says, and what stands in for what it does not.

use std::collections::BTreeMap;
use std::path::Path;

use halocast_core::{Cosmology, Header};

use super::units::UnitSystem;
use crate::hdf5::{Attribute, Hdf5Read};
use crate::{Error, Result};

/// The box of the first generation of CAMELS, 25 Mpc/h, stands in for a header that gives none.
const DEFAULT_BOX: f64 = 25_000.0;
/// Where files state their units.
const UNITS: [&str; 3] = ["UnitLength_in_cm", "UnitMass_in_g", "UnitVelocity_in_cm_per_s"];
/// More files than any simulation has.
const FILES_LIMIT: u64 = 1 << 20;

/// A header with what only the reader needs.
pub(super) struct RawHeader {
    pub header: Header,
    /// The number of files; `None` when not given.
    pub files: Option<u64>,
    /// Particles in this file; `None` when not given.
    pub this_file: Option<[u64; 6]>,
    /// Particles in all files; `None` when not given.
    pub total: Option<[u64; 6]>,
    /// One line for each value that a default stands in for.
    pub defaults: Vec<String>,
    /// The units of the file's numbers, as far as it states them.
    pub system: UnitSystem,
    /// The attributes themselves.
    values: BTreeMap<String, Attribute>,
}

impl RawHeader {
    pub(super) fn read(file: &dyn Hdf5Read, box_size: Option<f64>) -> Result<Self> {
        let path = file.path();
        let groups = file.groups("")?;
        if !groups.iter().any(|g| g == "Header") {
            let available = groups.join(", ");
            return Err(Error::Absent { path: path.to_path_buf(), field: "group /Header".into(), available });
        }
        let mut values = file.attributes("Header")?;
        if groups.iter().any(|g| g == "Parameters") {
            // GADGET-4 keeps the cosmology and the units there.
            let parameters = file.attributes("Parameters")?;
            for name in
                ["BoxSize", "HubbleParam", "Omega0", "OmegaBaryon", "OmegaLambda"].iter().chain(&UNITS)
            {
                if let (None, Some(value)) = (values.get(*name), parameters.get(*name)) {
                    values.insert((*name).to_owned(), value.clone());
                }
            }
        }
        Self::of(path, values, box_size)
    }

    /// The header of a file that has none: all defaults.
    pub(super) fn absent(path: &Path, box_size: Option<f64>) -> Result<Self> {
        Self::of(path, BTreeMap::new(), box_size)
    }

    fn of(path: &Path, values: BTreeMap<String, Attribute>, box_size: Option<f64>) -> Result<Self> {
        let attributes = Attributes { path, values };
        let system = UnitSystem::of(&attributes.values).unwrap_or_default();
        let mut defaults = Vec::new();
        let tng = Cosmology::illustris_tng();

        let time = attributes.number("Time", 1e-6..=1e3)?;
        let redshift = attributes.number("Redshift", -0.999..=1e6)?;
        let (time, redshift) = match (time, redshift) {
            (Some(a), Some(z)) => (a, z),
            (Some(a), None) => (a, 1.0 / a - 1.0),
            (None, Some(z)) => (1.0 / (1.0 + z), z),
            (None, None) => {
                defaults.push("header gives neither Time nor Redshift: a = 1 is assumed".into());
                (1.0, 0.0)
            }
        };
        let mut or_default = |name: &str, value: Option<f64>, default: f64, unit: &str| {
            value.unwrap_or_else(|| {
                defaults.push(format!("header gives no {name}: {default}{unit} is assumed"));
                default
            })
        };
        let box_size = match box_size {
            Some(given) => given,
            None => {
                let stated = attributes.number("BoxSize", 1e-6..=1e12)?.map(|side| side * system.to_kpc());
                or_default("BoxSize", stated, DEFAULT_BOX, " ckpc/h")
            }
        };
        let omega_m = or_default("Omega0", attributes.number("Omega0", 1e-6..=1.0)?, tng.omega_m, "");
        let h = or_default("HubbleParam", attributes.number("HubbleParam", 1e-3..=2.0)?, tng.h, "");
        let omega_b =
            attributes.number("OmegaBaryon", 0.0..=1.0)?.filter(|&b| b > 0.0).unwrap_or(tng.omega_b);
        if let Some(lambda) = attributes.number("OmegaLambda", -10.0..=10.0)?
            && (omega_m + lambda - 1.0).abs() > 1e-3
        {
            let sum = omega_m + lambda;
            defaults.push(format!("Omega0 + OmegaLambda = {sum}: a flat cosmology is assumed"));
        }
        let cosmology = Cosmology { omega_m, omega_b: omega_b.min(0.999 * omega_m), h, ..tng };
        cosmology.validate()?;

        let low = attributes.counts("NumPart_Total")?;
        let high = attributes.counts("NumPart_Total_HighWord")?.unwrap_or_default();
        let total = match low {
            None => None,
            Some(mut low) => {
                for (low, high) in low.iter_mut().zip(high) {
                    let whole =
                        high.checked_shl(32).filter(|_| high < 1 << 16).and_then(|h| h.checked_add(*low));
                    *low = whole.ok_or_else(|| {
                        Error::invalid(path, "/Header NumPart_Total_HighWord", "below 2^16", high.to_string())
                    })?;
                }
                Some(low)
            }
        };
        let files = attributes.get("NumFilesPerSnapshot").or(attributes.get("NumFiles"));
        let files = files.and_then(Attribute::to_u64).and_then(|f| f.first().copied());
        if files.is_some_and(|n| n == 0 || n > FILES_LIMIT) {
            let got = files.unwrap_or_default().to_string();
            return Err(Error::invalid(path, "/Header NumFilesPerSnapshot", "1 to 2^20", got));
        }
        let mass_table = match attributes.get("MassTable") {
            None => [0.0; 6],
            Some(value) => six(value.to_f64(), 0.0)
                .filter(|m| m.iter().all(|m| m.is_finite() && *m >= 0.0))
                .ok_or_else(|| {
                    Error::invalid(path, "/Header MassTable", "6 masses of at least 0", value.to_string())
                })?
                .map(|mass| mass * system.to_1e10_msun()),
        };
        let promised = total.unwrap_or_default();
        let mock = matches!(attributes.get("Git_commit"), Some(Attribute::Text(made)) if made.iter().any(|m| m.ends_with(MOCK)));
        let header = Header { box_size, time, redshift, cosmology, mass_table, promised, mock };
        let this_file = attributes.counts("NumPart_ThisFile")?;
        Ok(Self { header, files, this_file, total, defaults, system, values: attributes.values })
    }

    /// A count that goes by one of several names.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not one whole number of at least 0.
    pub(super) fn count(&self, path: &Path, names: &[&str]) -> Result<Option<u64>> {
        let Some((name, value)) = names.iter().find_map(|n| self.values.get(*n).map(|v| (n, v))) else {
            return Ok(None);
        };
        match value.to_u64().as_deref() {
            Some([one]) => Ok(Some(*one)),
            _ => {
                let field = format!("/Header {name}");
                Err(Error::invalid(path, field, "a count of at least 0", value.to_string()))
            }
        }
    }

    /// Checks that a later file of the snapshot is of the same simulation at the same time as this, the first.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the later file and the first attribute that differs.
    pub(super) fn agree(&self, later: &Self, path: &Path) -> Result<()> {
        let (first, here) = (&self.header, &later.header);
        let pairs = [
            ("BoxSize", first.box_size, here.box_size),
            ("Time", first.time, here.time),
            ("Redshift", first.redshift, here.redshift),
            ("Omega0", first.cosmology.omega_m, here.cosmology.omega_m),
            ("HubbleParam", first.cosmology.h, here.cosmology.h),
        ];
        let masses = first.mass_table.iter().zip(here.mass_table).map(|(&a, b)| ("MassTable", a, b));
        for (name, expected, got) in pairs.into_iter().chain(masses) {
            // Numbers are written by one program, but some files hold them in single precision.
            if (expected - got).abs() > 1e-6 * expected.abs() {
                let expected = format!("{expected} as in the first file");
                return Err(Error::invalid(path, format!("/Header {name}"), expected, got.to_string()));
            }
        }
        if self.total != later.total {
            let expected = format!("{:?} as in the first file", self.total.unwrap_or_default());
            let got = format!("{:?}", later.total.unwrap_or_default());
            return Err(Error::invalid(path, "/Header NumPart_Total", expected, got));
        }
        Ok(())
    }
}

struct Attributes<'a> {
    path: &'a Path,
    values: BTreeMap<String, Attribute>,
}

impl Attributes<'_> {
    fn get(&self, name: &str) -> Option<&Attribute> {
        self.values.get(name)
    }

    fn number(&self, name: &str, domain: std::ops::RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.to_f64().as_deref() {
            Some([one]) if domain.contains(one) => Ok(Some(*one)),
            _ => {
                let expected = format!("a number in [{}, {}]", domain.start(), domain.end());
                Err(Error::invalid(self.path, format!("/Header {name}"), expected, value.to_string()))
            }
        }
    }

    fn counts(&self, name: &str) -> Result<Option<[u64; 6]>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        six(value.to_u64(), 0).map(Some).ok_or_else(|| {
            Error::invalid(self.path, format!("/Header {name}"), "6 counts of at least 0", value.to_string())
        })
    }
}

/// Six values of up to six; more are refused.
fn six<T: Copy>(values: Option<Vec<T>>, fill: T) -> Option<[T; 6]> {
    let values = values.filter(|v| (1..=6).contains(&v.len()))?;
    let mut six = [fill; 6];
    six[..values.len()].copy_from_slice(&values);
    Some(six)
}
/// What ends the name of the code that made a mock.
const MOCK: &str = " mock";

/// The attribute `Git_commit` of what is written: this library and its version, and the mark of a mock.
pub(super) fn maker(header: &Header) -> Attribute {
    let mark = if header.mock { MOCK } else { "" };
    Attribute::text(format!("halocast {}{mark}", env!("CARGO_PKG_VERSION")))
}
