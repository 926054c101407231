//! The maps that a model is to learn: of the embedded universe, or from files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use halocast::core::{Map, Progress, Rng, Unit};
use halocast::data::{
    CmdMaps, Step, Transform, WriteOptions, read_fits_map, read_params, sky_patches, split_by_group,
    write_cmd_maps, write_params, write_snapshot,
};
use halocast::maps::{Masses, Method, project_slabs, smoothing_lengths};
use halocast::mock::{Universe, UniverseConfig};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// Maps, and which of them are not independent of one another.
pub struct Truth {
    /// The maps, in the unit of the field.
    pub maps: Vec<Map>,
    /// The simulation, or the region of the sky, of each map.
    pub groups: Vec<usize>,
    /// What they are, for the report.
    pub description: String,
}

/// Training, validation and test maps.
pub struct Split {
    /// To train on.
    pub train: Vec<Map>,
    /// To choose the checkpoint by.
    pub validation: Vec<Map>,
    /// To judge by.
    pub test: Vec<Map>,
    /// The simulation, or the region of the sky, of each validation map.
    pub validation_groups: Vec<usize>,
    /// The simulation, or the region of the sky, of each test map.
    pub test_groups: Vec<usize>,
}

impl Truth {
    /// Splits by simulation or sky region, so that none is on two sides, and takes log10 of fields without negative
    /// values: zeros are raised to the smallest positive value of the training maps.
    ///
    /// # Errors
    /// When there are too few groups or validation maps, or a pixel is not finite.
    pub fn split(self, fractions: [f64; 3], seed: u64) -> Result<Split> {
        let mut rng = Rng::new(seed).split_named("split");
        let sets = split_by_group(&self.groups, fractions, &mut rng)?;
        let [_, validation_groups, test_groups] =
            [0, 1, 2].map(|s: usize| sets[s].iter().map(|&i| self.groups[i]).collect::<Vec<_>>());
        for (name, groups) in [("validation", &validation_groups), ("test", &test_groups)] {
            let distinct: BTreeSet<_> = groups.iter().collect();
            if distinct.len() < 2 {
                bail!(
                    "{} maps of {} independent regions or simulations leave {} for {name}, expected at least 2",
                    self.maps.len(),
                    self.groups.iter().collect::<BTreeSet<_>>().len(),
                    distinct.len()
                );
            }
        }
        let transform = self.logarithm(&sets[0])?;
        let [train, validation, test] = sets.map(|set| {
            set.into_iter()
                .map(|i| match &transform {
                    None => self.maps[i].clone(),
                    Some(log) => {
                        let unit = Unit::new(format!("log10 {}", self.maps[i].unit.label), 1.0, 0.0, 0.0);
                        log.forward_map(&self.maps[i]).with_unit(unit)
                    }
                })
                .collect::<Vec<_>>()
        });
        Ok(Split { train, validation, test, validation_groups, test_groups })
    }

    fn logarithm(&self, train: &[usize]) -> Result<Option<Transform>> {
        if self.maps.iter().any(|m| m.values.iter().any(|&v| v < 0.0)) {
            return Ok(None);
        }
        Ok(Some(Transform::fit(&[Step::Log10], train.iter().map(|&i| &self.maps[i]))?))
    }
}

/// The embedded universes: how many, and what each is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MockConfig {
    /// Number of universes, each with its own seed.
    pub universes: usize,
    /// One of them; its seed is replaced.
    pub universe: UniverseConfig,
    /// Pixels a side.
    pub grid: usize,
    /// Slabs along each axis: 3 x `slabs` maps of each universe.
    pub slabs: usize,
}

impl Default for MockConfig {
    fn default() -> Self {
        let universe = UniverseConfig { gas: false, ..Default::default() };
        Self { universes: 40, universe, grid: 64, slabs: 5 }
    }
}

/// The file that says what made the maps beside it.
const RECIPE: &str = "universes.json";

/// Dark-matter maps of embedded universes, in the layout of the CAMELS Multifield Dataset under `folder`, where they are
/// found again by a run of the same configuration.
///
/// # Errors
/// When the configuration is absurd or the folder cannot be written.
pub fn embedded(config: &MockConfig, seed: u64, folder: &Path, progress: &Progress<'_>) -> Result<Truth> {
    let recipe = serde_json::to_string_pretty(&(env!("CARGO_PKG_VERSION"), config, seed))?;
    let path = folder.join("Maps_Mcdm_HalocastMock_CV_z=0.00.npy");
    if !std::fs::read_to_string(folder.join(RECIPE)).is_ok_and(|old| old == recipe) || !path.exists() {
        make_universes(config, seed, folder, progress)?;
        halocast::core::write_whole(folder.join(RECIPE), |w| {
            std::io::Write::write_all(w, recipe.as_bytes())
        })?;
    }
    let parameters = read_params(folder.join("params_CV_HalocastMock.txt"))?;
    let side = config.universe.box_side;
    let file = CmdMaps::open(&path)?.with_box_side(side).with_params(&parameters)?;
    let groups = file.groups();
    let description = format!(
        "{} maps of log10 dark-matter surface density from {} embedded universes: {} slabs of {:.0} Mpc/h along each \
         axis of a box of {side} Mpc/h with {}^3 particles. A stand-in for a simulation, to develop with.",
        groups.len(),
        config.universes,
        config.slabs,
        side / config.slabs as f64,
        config.universe.particles,
    );
    Ok(Truth { maps: file.maps(0..file.len())?, groups, description })
}

/// Simulates and projects on all cores, one universe a core at a time.
fn make_universes(config: &MockConfig, seed: u64, folder: &Path, progress: &Progress<'_>) -> Result<()> {
    let next = AtomicUsize::new(0);
    let made: Mutex<Vec<Option<Vec<Map>>>> = Mutex::new(vec![None; config.universes]);
    let work = || -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= config.universes {
                return Ok(());
            }
            let maps = pool.install(|| one_universe(config, seed, i, folder))?;
            let mut made = made.lock().map_err(|_| anyhow!("another universe failed"))?;
            made[i] = Some(maps);
            progress(made.iter().flatten().count() as u64, config.universes as u64);
        }
    };
    let threads = rayon::current_num_threads().min(config.universes);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| anyhow!("a universe panicked"))?)
    })?;
    let made = made.into_inner().map_err(|_| anyhow!("a universe panicked"))?;
    let maps: Vec<Map> = made.into_iter().flatten().flatten().collect();
    write_cmd_maps(folder, "Mcdm", "HalocastMock", "CV", config.universe.redshift, &maps)?;
    let c = config.universe.cosmology;
    // The four feedback strengths of CAMELS mean nothing here and stand at their fiducial value.
    let row = ndarray::arr1(&[c.omega_m, c.sigma_8, 1.0, 1.0, 1.0, 1.0]);
    let table: Array2<f64> = ndarray::stack(Axis(0), &vec![row.view(); config.universes])?;
    write_params(folder, "HalocastMock", "CV", &table)?;
    Ok(())
}

fn one_universe(config: &MockConfig, seed: u64, index: usize, folder: &Path) -> Result<Vec<Map>> {
    let seed = Rng::new(seed).split_named("universes").split(index as u64).next_u64();
    let universe = Universe::simulate(&UniverseConfig { seed, ..config.universe }, &|_, _| {})?;
    if index == 0 {
        // The first, with gas, is kept as a snapshot of four chunks, for `inspect` and `--snapshot`.
        let with_gas = UniverseConfig { seed, gas: true, ..config.universe };
        let snapshot = Universe::simulate(&with_gas, &|_, _| {})?.snapshot()?;
        write_snapshot(folder, &snapshot, &WriteOptions { chunks: 4, ..Default::default() })?;
    }
    let radii = smoothing_lengths(universe.positions(), 32, Some(config.universe.box_side))?;
    let mass = Masses::Equal(universe.particle_mass());
    let side = config.universe.box_side;
    Ok(project_slabs(
        "Mcdm",
        universe.positions(),
        mass,
        Some(&radii),
        side,
        config.slabs,
        config.grid,
        Method::Sph,
    )?)
}

/// Maps from files: `.npy` in the CAMELS layout of a box of `box_size` Mpc/h or of CAMELS' own (averaged down to `size` pixels a side, one group a simulation), `.fits`
/// of one sky (cut into patches of `size` pixels, one group a region).
///
/// # Errors
/// When a file cannot be read, holds a value that is not finite, or is too small.
pub fn files(paths: &[PathBuf], size: usize, box_size: Option<f64>) -> Result<Truth> {
    if let Some(side) = box_size.filter(|side| !(side.is_finite() && *side > 0.0)) {
        bail!("--box-size is {side}, expected a positive number of Mpc/h");
    }
    let is_fits = |p: &PathBuf| p.extension().is_some_and(|e| e == "fits" || e == "fit");
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    let (maps, groups, what) = if paths.iter().all(is_fits) {
        if box_size.is_some() {
            bail!("--box-size is for CAMELS files; a FITS image gives its own scale");
        }
        let skies = paths
            .iter()
            .map(|path| {
                let map = read_fits_map(path)?;
                map.require_finite().with_context(|| path.display().to_string())?;
                Ok(map)
            })
            .collect::<Result<Vec<Map>>>()?;
        require_alike(&skies, paths, |m| (m.extent.map(f64::to_bits), m.length_unit.label.clone()), "sides")?;
        let patches = sky_patches(&skies, size, size)?;
        (
            patches.maps,
            patches.groups,
            "patches; the same region of the sky is on one side of the split in all files",
        )
    } else if !paths.iter().any(is_fits) {
        let (mut maps, mut groups) = (Vec::new(), Vec::new());
        for path in paths {
            let mut file = with_parameters(CmdMaps::open(path)?)?;
            if let Some(side) = box_size {
                file = file.with_box_side(side);
            }
            // The same simulation in several files is one group.
            groups.extend(file.groups());
            for i in 0..file.len() {
                maps.push(coarsen(&file.map(i)?, size).with_context(|| path.display().to_string())?);
            }
        }
        let fields: BTreeSet<_> = maps.iter().map(|m| (m.field.as_str(), m.unit.label.as_str())).collect();
        if fields.len() > 1 {
            bail!("--maps takes files of one field, got {fields:?}");
        }
        (maps, groups, "maps; a simulation is on one side of the split in all files")
    } else {
        bail!("--maps takes FITS files or npy files, not both: {}", names.join(", "));
    };
    let description = format!("{} {size}x{size} {what}. From {}.", maps.len(), names.join(", "));
    Ok(Truth { maps, groups, description })
}

/// The maps with the number of maps a simulation from the parameters beside them; without those, 15 as CAMELS has.
fn with_parameters(file: CmdMaps) -> Result<CmdMaps> {
    let parameters = file.name().map(|name| file.path().with_file_name(name.params_file_name()));
    match parameters.filter(|path| path.exists()) {
        Some(path) => Ok(file.with_params(&read_params(path)?)?),
        None if file.len().is_multiple_of(15) => Ok(file),
        None => bail!(
            "{}: {} maps, expected a multiple of 15 (the maps of a simulation in CAMELS) or a file of parameters beside them",
            file.path().display(),
            file.len()
        ),
    }
}

fn require_alike<T: PartialEq>(
    maps: &[Map],
    paths: &[PathBuf],
    of: impl Fn(&Map) -> T,
    what: &str,
) -> Result<()> {
    match maps.iter().position(|map| of(map) != of(&maps[0])) {
        None => Ok(()),
        Some(i) => bail!("{}: other {what} than {}", paths[i].display(), paths[0].display()),
    }
}

/// Means of square blocks, so that `size` pixels a side remain; the mean surface density stays.
pub(crate) fn coarsen(map: &Map, size: usize) -> Result<Map> {
    let [ny, nx] = map.shape();
    if ny != nx || ny < size || !ny.is_multiple_of(size) {
        bail!("maps are {ny}x{nx}, expected square with a side that is a multiple of {size}");
    }
    let block = ny / size;
    let values = Array2::from_shape_fn((size, size), |(y, x)| {
        let cells = ndarray::s![y * block..(y + 1) * block, x * block..(x + 1) * block];
        (map.values.slice(cells).iter().map(|&v| f64::from(v)).sum::<f64>() / (block * block) as f64) as f32
    });
    Ok(Map { values, ..map.clone() })
}
