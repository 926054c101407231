//! The suites and sets of CAMELS, and what each of them lacks.
//!
//! # Source
//! CAMELS' documentation, "Suites and sets" and "Snapshots" (Villaescusa-Navarro et al. 2021, 2022; Ni et al. 2023); table 1
//! of the Multifield Dataset.

use std::fmt;
use std::path::Path;

use halocast_core::Species;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The codes that CAMELS was run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Code {
    /// AREPO with the IllustrisTNG model.
    IllustrisTng,
    /// GIZMO with the SIMBA model.
    Simba,
    /// MP-Gadget with the ASTRID model.
    Astrid,
}

/// A code, or the N-body twin of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suite {
    /// The code.
    pub code: Code,
    /// Whether the runs are those with gravity alone.
    pub nbody: bool,
}

/// The sets of runs of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RunSet {
    /// Latin hypercube: 1000 runs, all six parameters varied.
    Lh,
    /// Cosmic variance: 27 runs, the fiducial parameters, other seeds.
    Cv,
    /// One parameter at a time.
    OneP,
    /// Extreme feedback, and none: 4 runs.
    Ex,
    /// Butterfly effect: 27 runs that differ by rounding.
    Be,
    /// Sobol sequence: 28 and more parameters.
    Sb,
}

impl Suite {
    /// The suite of a folder's or file's name: `IllustrisTNG`, `SIMBA_DM`, `Nbody_Astrid`, ...
    pub fn parse(name: &str) -> Option<Self> {
        let (nbody, name) = match name.strip_suffix("_DM").or_else(|| name.strip_prefix("Nbody_")) {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let code = match name.to_ascii_lowercase().as_str() {
            "illustristng" => Code::IllustrisTng,
            "simba" => Code::Simba,
            "astrid" => Code::Astrid,
            _ => return None,
        };
        Some(Self { code, nbody })
    }

    /// The name of its folder of snapshots.
    pub fn folder(&self) -> String {
        format!("{}{}", self.code, if self.nbody { "_DM" } else { "" })
    }

    /// Whether the particles of an object lie together in the snapshots.
    pub fn is_sorted_by_group(&self) -> bool {
        self.code == Code::IllustrisTng
    }

    /// Checks that its snapshots have a species.
    ///
    /// # Errors
    /// [`Error::Lacks`] naming the suite, the species and the reason.
    pub fn require_species(&self, path: &Path, species: Species) -> Result<()> {
        let why = match (self.nbody, species) {
            (_, Species::DarkMatter) => return Ok(()),
            (true, _) => "it is run with gravity alone",
            (false, Species::Tracers) if self.code != Code::IllustrisTng => "its code has no tracers",
            (false, Species::LowResolutionDarkMatter) => "it is no zoom",
            (false, _) => return Ok(()),
        };
        Err(self.lacks(path, species.to_string(), why))
    }

    /// Checks that its snapshots have a field: by the names of the fields that some suites have and others not.
    ///
    /// # Errors
    /// [`Error::Lacks`].
    pub fn require_field(&self, path: &Path, field: &str) -> Result<()> {
        let tng_only = field == "MagneticField"
            || field == "MagneticFieldDivergence"
            || field.starts_with("GFM_")
            || field == "EnergyDissipation"
            || field == "Machnumber";
        let gas_only =
            ["InternalEnergy", "ElectronAbundance", "NeutralHydrogenAbundance", "StarFormationRate"];
        let why = if self.nbody && (tng_only || gas_only.contains(&field)) {
            "it is run with gravity alone"
        } else if tng_only && self.code != Code::IllustrisTng {
            match field {
                "GFM_Metals" | "GFM_Metallicity" => "its metals are in Metallicity",
                "GFM_StellarFormationTime" => "its times are in StellarFormationTime",
                "MagneticField" => "its code has no magnetic fields",
                _ => "the field is IllustrisTNG's own",
            }
        } else {
            return Ok(());
        };
        Err(self.lacks(path, format!("field {field}"), why))
    }

    /// Checks that there are maps and grids of a field, by the prefix of their names.
    ///
    /// # Errors
    /// [`Error::Lacks`].
    pub fn require_map(&self, path: &Path, prefix: &str) -> Result<()> {
        let why = match (self.nbody, prefix) {
            (true, "Mtot") => return Ok(()),
            (true, _) => "it is run with gravity alone: its maps are of Mtot",
            (false, "B") if self.code != Code::IllustrisTng => "its code has no magnetic fields",
            (false, _) => return Ok(()),
        };
        Err(self.lacks(path, format!("maps of {prefix}"), why))
    }

    /// Checks that the members of an object can be read as rows.
    ///
    /// # Errors
    /// [`Error::Lacks`].
    pub fn require_sorted(&self, path: &Path) -> Result<()> {
        if self.is_sorted_by_group() {
            return Ok(());
        }
        let why = "its particles are not sorted by group; the catalogue's /IDs name them";
        Err(self.lacks(path, "rows of a group".into(), why))
    }

    fn lacks(&self, path: &Path, what: String, why: &'static str) -> Error {
        Error::Lacks { path: path.to_path_buf(), suite: self.to_string(), what, why }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IllustrisTng => "IllustrisTNG",
            Self::Simba => "SIMBA",
            Self::Astrid => "Astrid",
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.nbody { "Nbody_" } else { "" }, self.code)
    }
}

impl RunSet {
    /// All of them.
    pub const ALL: [RunSet; 6] = [RunSet::Lh, RunSet::Cv, RunSet::OneP, RunSet::Ex, RunSet::Be, RunSet::Sb];

    /// The set of a name: `LH`, `CV`, `1P`, `EX`, `BE`, `SB` (with the number of its parameters, `SB28`).
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "LH" => Self::Lh,
            "CV" => Self::Cv,
            "1P" => Self::OneP,
            "EX" => Self::Ex,
            "BE" => Self::Be,
            _ if name.starts_with("SB") && name[2..].bytes().all(|b| b.is_ascii_digit()) => Self::Sb,
            _ => return None,
        })
    }

    /// Its number of runs in the first generation, where that is fixed.
    pub fn runs(&self) -> Option<usize> {
        match self {
            Self::Lh => Some(1000),
            Self::Cv | Self::Be => Some(27),
            Self::Ex => Some(4),
            Self::OneP | Self::Sb => None,
        }
    }
}

impl fmt::Display for RunSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lh => "LH",
            Self::Cv => "CV",
            Self::OneP => "1P",
            Self::Ex => "EX",
            Self::Be => "BE",
            Self::Sb => "SB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart() {
        for (name, nbody) in [("SIMBA", false), ("SIMBA_DM", true), ("Nbody_SIMBA", true)] {
            assert_eq!(Suite::parse(name), Some(Suite { code: Code::Simba, nbody }));
        }
        assert_eq!(Suite::parse("Nbody_IllustrisTNG").unwrap().folder(), "IllustrisTNG_DM");
        assert!(Suite::parse("EAGLE").is_none());
        for set in RunSet::ALL {
            assert_eq!(RunSet::parse(&set.to_string()), Some(set));
        }
        assert_eq!(RunSet::parse("SB28"), Some(RunSet::Sb));
        assert!(RunSet::parse("SBx").is_none());
    }

    #[test]
    fn what_a_suite_lacks_is_said() {
        let path = Path::new("x.hdf5");
        let suite = |name| Suite::parse(name).unwrap();
        for (result, parts) in [
            (
                suite("IllustrisTNG_DM").require_species(path, Species::Gas),
                ["Nbody_IllustrisTNG", "gravity alone"],
            ),
            (suite("SIMBA").require_field(path, "MagneticField"), ["SIMBA", "no magnetic fields"]),
            (suite("Astrid").require_field(path, "GFM_Metals"), ["Astrid", "Metallicity"]),
            (suite("Nbody_Astrid").require_map(path, "Mgas"), ["maps of Mgas", "Mtot"]),
            (suite("Astrid").require_map(path, "B"), ["maps of B", "Astrid"]),
            (suite("SIMBA").require_sorted(path), ["SIMBA", "/IDs"]),
            (suite("Astrid").require_species(path, Species::Tracers), ["Astrid", "tracers"]),
        ] {
            let message = result.unwrap_err().to_string();
            assert!(parts.iter().all(|p| message.contains(p)) && message.contains("x.hdf5"), "{message}");
        }
        suite("IllustrisTNG").require_map(path, "B").unwrap();
        suite("SIMBA").require_species(path, Species::Stars).unwrap();
        suite("SIMBA_DM").require_map(path, "Mtot").unwrap();
    }
}
