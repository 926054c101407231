//! What set to make: a file in TOML.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use halocast::core::Rng;
use halocast::mock::{BaryonConfig, Feedback, HaloConfig, UniverseConfig};
use serde::{Deserialize, Serialize};

use super::fields::FIELDS;
use crate::toml_file::read_toml;

/// Which parameters vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetKind {
    /// All six in a latin hypercube, and the seed.
    LH,
    /// The seed alone, about the fiducial model.
    CV,
    /// One parameter at a time, all of one seed.
    #[serde(rename = "1P")]
    OneAtATime,
}

impl SetKind {
    /// The name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::LH => "LH",
            Self::CV => "CV",
            Self::OneAtATime => "1P",
        }
    }
}

/// The files that a set is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `.npy`, as CAMELS publishes them.
    #[default]
    Npy,
    /// HDF5, compressed: maps in skais-mapper's layout (`/{field}/images`, `/{field}/metadata/{0000}`), cubes in
    /// `/{field}/grids`.
    Hdf5,
}

/// A set of simulations. What a file leaves out takes its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetConfig {
    /// Which parameters vary.
    pub set: SetKind,
    /// Simulations of LH and CV; values of each parameter of 1P.
    pub simulations: usize,
    /// Name of the suite in file names.
    pub suite: String,
    /// Fields, by the names of CMD.
    pub fields: Vec<String>,
    /// Pixels a side of the maps; 0 for none.
    pub grid: usize,
    /// Slabs along each axis.
    pub slabs: usize,
    /// Cells a side of cubes of the same fields; 0 for none.
    pub cube: usize,
    /// Shares of the simulations to train on, to validate and to test.
    pub split: [f64; 3],
    /// Simulations in a shard; 0 for all in one. Shards are folders `000000-000099` of the layout of the whole.
    pub shard: usize,
    /// The format of maps and cubes.
    pub format: Format,
    /// Seed of everything random.
    pub seed: u64,
    /// Where to write; beside the configuration when relative.
    pub out: PathBuf,
    /// What each universe is like; the six parameters and the seed are replaced.
    pub universe: UniverseConfig,
    /// How haloes are found.
    pub halos: HaloConfig,
    /// How baryons are painted; feedback and seed are replaced.
    pub baryons: BaryonConfig,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        let universe = UniverseConfig {
            box_side: 25.0,
            particles: 64,
            steps: 20,
            redshift_start: 19.0,
            ..Default::default()
        };
        Self {
            set: SetKind::LH,
            simulations: 100,
            suite: "HalocastMock".into(),
            fields: ["Mgas", "Mcdm", "T"].map(String::from).to_vec(),
            grid: 64,
            slabs: 5,
            cube: 0,
            split: [0.8, 0.1, 0.1],
            shard: 0,
            format: Format::Npy,
            seed: 1,
            out: "dataset".into(),
            universe,
            halos: HaloConfig::default(),
            baryons: BaryonConfig::default(),
        }
    }
}

/// Ranges of Omega_m, sigma_8, A_SN1, A_AGN1, A_SN2, A_AGN2 in CAMELS, and whether they are even in the logarithm.
const RANGES: [(f64, f64, bool); 6] = [
    (0.1, 0.5, false),
    (0.6, 1.0, false),
    (0.25, 4.0, true),
    (0.25, 4.0, true),
    (0.5, 2.0, true),
    (0.5, 2.0, true),
];
/// The fiducial model.
const FIDUCIAL: [f64; 6] = [0.3, 0.8, 1.0, 1.0, 1.0, 1.0];

/// One simulation of a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulation {
    /// Omega_m, sigma_8, A_SN1, A_AGN1, A_SN2, A_AGN2.
    pub parameters: [f64; 6],
    /// Seed of its initial conditions.
    pub seed: u64,
}

impl DatasetConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not of this form, or asks for something absurd.
    pub fn read(path: &Path) -> Result<Self> {
        let mut config: Self = read_toml(path)?;
        if config.out.is_relative() {
            config.out = path.parent().unwrap_or(Path::new("")).join(&config.out);
        }
        config.validate().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Naming the first that is outside its domain.
    pub fn validate(&self) -> Result<()> {
        for (name, value, limit) in
            [("simulations", self.simulations, 1_000_000), ("slabs", self.slabs, 1000)]
        {
            if !(1..=limit).contains(&value) {
                bail!("{name} is {value}, expected 1 to {limit}");
            }
        }
        if self.grid > 8192 || self.cube > 1024 || self.grid + self.cube == 0 {
            bail!("grid is {} and cube {}, expected up to 8192 and 1024, one above 0", self.grid, self.cube);
        }
        if let Some(field) = self.fields.iter().find(|f| !FIELDS.contains(&f.as_str())) {
            bail!("field {field:?} is unknown, expected some of {}", FIELDS.join(" "));
        }
        if self.fields.is_empty() {
            bail!("fields is empty, expected some of {}", FIELDS.join(" "));
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        if self.suite.is_empty() || self.suite.contains(odd) {
            bail!("suite is {:?}, expected letters, digits and -", self.suite);
        }
        for simulation in self.list() {
            self.universe_of(&simulation).validate()?;
            self.baryons_of(&simulation).validate()?;
        }
        self.halos.validate()?;
        Ok(())
    }

    /// The simulations, in order.
    ///
    /// LH: in each parameter every one of n equal intervals holds one simulation, at a random place. 1P: each parameter in
    /// turn over its range, the others fiducial.
    pub fn list(&self) -> Vec<Simulation> {
        let rng = Rng::new(self.seed);
        let seed = |i: usize| rng.split_named("simulations").split(i as u64).next_u64();
        let n = self.simulations;
        let value = |p: usize, t: f64| {
            let (low, high, log) = RANGES[p];
            // Five decimals, as the published tables.
            let v = if log { low * (high / low).powf(t) } else { low + (high - low) * t };
            (v * 1e5).round() / 1e5
        };
        match self.set {
            SetKind::CV => (0..n).map(|i| Simulation { parameters: FIDUCIAL, seed: seed(i) }).collect(),
            SetKind::OneAtATime => (0..6 * n)
                .map(|i| {
                    let t = if n == 1 { 0.5 } else { (i % n) as f64 / (n - 1) as f64 };
                    let mut parameters = FIDUCIAL;
                    parameters[i / n] = value(i / n, t);
                    Simulation { parameters, seed: seed(0) }
                })
                .collect(),
            SetKind::LH => {
                let columns: Vec<Vec<f64>> = (0..6)
                    .map(|p| {
                        let mut rng = rng.split_named("hypercube").split(p as u64);
                        let mut order: Vec<usize> = (0..n).collect();
                        rng.shuffle(&mut order);
                        order.iter().map(|&i| value(p, (i as f64 + rng.uniform()) / n as f64)).collect()
                    })
                    .collect();
                let row = |i: usize| std::array::from_fn(|p| columns[p][i]);
                (0..n).map(|i| Simulation { parameters: row(i), seed: seed(i) }).collect()
            }
        }
    }

    /// The universe of a simulation.
    pub fn universe_of(&self, simulation: &Simulation) -> UniverseConfig {
        let mut universe = self.universe;
        [universe.cosmology.omega_m, universe.cosmology.sigma_8] = [0, 1].map(|p| simulation.parameters[p]);
        universe.seed = simulation.seed;
        universe.gas = true;
        universe
    }

    /// The baryons of a simulation.
    pub fn baryons_of(&self, simulation: &Simulation) -> BaryonConfig {
        let [a_sn1, a_agn1, a_sn2, a_agn2] = [2, 3, 4, 5].map(|p| simulation.parameters[p]);
        let feedback = Feedback { a_sn1, a_agn1, a_sn2, a_agn2 };
        BaryonConfig { feedback, seed: simulation.seed, ..self.baryons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypercube_fills_every_interval_once() {
        let config = DatasetConfig { simulations: 40, ..Default::default() };
        let list = config.list();
        for (p, (low, high, log)) in RANGES.into_iter().enumerate() {
            let mut bins: Vec<usize> = list
                .iter()
                .map(|s| {
                    let v = s.parameters[p];
                    let t = if log { (v / low).ln() / (high / low).ln() } else { (v - low) / (high - low) };
                    ((t * 40.0) as usize).min(39)
                })
                .collect();
            bins.sort_unstable();
            bins.dedup();
            assert!(bins.len() >= 39, "{p}: {}", bins.len());
        }
        let one = DatasetConfig { set: SetKind::OneAtATime, simulations: 5, ..Default::default() }.list();
        assert_eq!(one.len(), 30);
        assert_eq!(one[2].parameters, FIDUCIAL);
        assert!(one.iter().all(|s| s.seed == one[0].seed));
    }

    #[test]
    fn a_file_is_read_and_its_faults_are_named() {
        let config: DatasetConfig =
            toml::from_str("set = \"1P\"\nsimulations = 3\n[universe]\nparticles = 32\nbox_side = 12.5")
                .unwrap();
        assert_eq!((config.set, config.universe.particles), (SetKind::OneAtATime, 32));
        for (change, word) in [
            (DatasetConfig { fields: vec!["Mdust".into()], ..config.clone() }, "Mdust"),
            (DatasetConfig { simulations: 0, ..config.clone() }, "simulations"),
            (DatasetConfig { suite: "a/b".into(), ..config.clone() }, "suite"),
            (DatasetConfig { grid: 0, ..config.clone() }, "grid"),
        ] {
            let error = change.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(toml::from_str::<DatasetConfig>("simulation = 3").is_err());
    }
}
