//! `CosmoAstroSeed_{suite}_{volume}_{set}.txt`: the name, parameters and seed of every run of a set.

use std::path::Path;

use super::params::{CmdParams, read_params, rows_of_words};
use crate::{Error, Result};

/// The runs of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct CosmoAstroSeed {
    /// Their names, such as `LH_0`.
    pub names: Vec<String>,
    /// Their parameters.
    pub parameters: CmdParams,
    /// The seeds of their initial conditions.
    pub seeds: Vec<u64>,
}

impl CosmoAstroSeed {
    /// The row of a run.
    pub fn row(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }
}

/// Reads a table of names, parameters and seeds.
///
/// # Errors
/// As [`read_params`]; [`Error::Invalid`] for a table without names, a name that comes twice, or a seed that is no
/// integer of at least 0.
pub fn read_cosmo_astro_seed(path: impl AsRef<Path>) -> Result<CosmoAstroSeed> {
    let path = path.as_ref();
    let parameters = read_params(path)?;
    let (mut names, mut seeds) = (Vec::new(), Vec::new());
    for (line, words) in rows_of_words(path)? {
        let [name, _, _, _, _, _, _, seed] = &words[..] else {
            let got = format!("{} columns", words.len());
            return Err(Error::invalid(
                path,
                format!("line {line}"),
                "8 columns: name, parameters, seed",
                got,
            ));
        };
        let seed = seed.parse().map_err(|_| {
            let expected = "an integer of at least 0";
            Error::invalid(path, format!("line {line}, seed"), expected, format!("{seed:?}"))
        })?;
        if names.contains(name) {
            return Err(Error::invalid(path, format!("line {line}, name"), "each name once", name.clone()));
        }
        names.push(name.clone());
        seeds.push(seed);
    }
    if names.len() != parameters.len() {
        let (expected, got) = (parameters.len().to_string(), names.len().to_string());
        return Err(Error::invalid(path, "number of names", expected, got));
    }
    Ok(CosmoAstroSeed { names, parameters, seeds })
}
