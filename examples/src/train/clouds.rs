//! Clouds of points to learn from where no simulation is at hand: mock galaxies.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use halocast::core::{Species, write_whole};
use halocast::data::write_npy;
use halocast::mock::{Galaxy, GalaxyConfig, Population};
use ndarray::{Array2, Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::console::bar;

/// Mock galaxies (docs/mock-galaxies.md) as arrays: `dark_matter.npy`, `gas.npy` and `stars.npy` `[galaxy, point, 3]`, positions
/// about the centre in units of R200, and `parameters.npy` `[galaxy, 2]`, log10 of M200c in Msun/h and the concentration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudsConfig {
    /// Galaxies.
    pub galaxies: usize,
    /// Points of each species.
    pub points: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for CloudsConfig {
    fn default() -> Self {
        Self { galaxies: 400, points: 256, seed: 1 }
    }
}

/// The file that says what the arrays beside it were made from.
const RECIPE: &str = "clouds.json";

const SPECIES: [(Species, &str); 3] =
    [(Species::DarkMatter, "dark_matter"), (Species::Gas, "gas"), (Species::Stars, "stars")];

/// Makes the arrays in a folder, unless they are there.
///
/// # Errors
/// When the folder holds arrays of another configuration, a galaxy cannot be made, or the disk refuses.
pub(super) fn make(config: &CloudsConfig, folder: &Path) -> Result<()> {
    let recipe = folder.join(RECIPE);
    if let Ok(text) = std::fs::read_to_string(&recipe) {
        let found: CloudsConfig =
            serde_json::from_str(&text).with_context(|| recipe.display().to_string())?;
        ensure!(found == *config, "{}: made from {found:?}, expected {config:?}", recipe.display());
        return Ok(());
    }
    let (galaxies, points) = (config.galaxies, config.points);
    ensure!(galaxies > 0 && points > 0, "[data.make]: {galaxies} galaxies of {points} points, expected some");
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let population = Population {
        dark_matter: points,
        gas: points,
        stars: points,
        seed: config.seed,
        ..Population::default()
    };
    let mut clouds = SPECIES.map(|_| Array3::<f32>::zeros((galaxies, points, 3)));
    let mut parameters = Array2::<f32>::zeros((galaxies, 2));
    let progress = bar("mock galaxies", galaxies as u64);
    for index in 0..galaxies {
        let galaxy = population.galaxy(index as u64)?;
        for (cloud, points) in clouds.iter_mut().zip(positions(&galaxy)?) {
            ensure!(points.dim() == (config.points, 3), "galaxy {index} has {} points", points.nrows());
            cloud.index_axis_mut(Axis(0), index).assign(&points);
        }
        parameters[[index, 0]] = galaxy.halo_mass.log10() as f32;
        parameters[[index, 1]] = galaxy.concentration as f32;
        progress.set_position(index as u64 + 1);
    }
    progress.finish();
    for ((_, name), cloud) in SPECIES.iter().zip(&clouds) {
        write_npy(folder.join(format!("{name}.npy")), cloud)?;
    }
    write_npy(folder.join("parameters.npy"), &parameters)?;
    write_whole(&recipe, |w| Ok(serde_json::to_writer_pretty(w, config)?))?;
    Ok(())
}

/// The points of each of [`SPECIES`] about the centre, in units of R200, by their nearest images.
fn positions(config: &GalaxyConfig) -> Result<Vec<Array2<f32>>> {
    let galaxy = Galaxy::sample(config)?;
    let (snapshot, catalogue) = (galaxy.snapshot()?, galaxy.catalogue()?);
    let radii = catalogue.groups.scalars("Group_R_Crit200")?;
    let r200 = radii.first().copied().context("a galaxy without its halo")?;
    let mut all = Vec::new();
    for (species, _) in SPECIES {
        let points = snapshot.set(species)?.vectors("Coordinates")?;
        let side = config.box_side;
        all.push(Array2::from_shape_fn((points.len(), 3), |(i, axis)| {
            let apart = points[i][axis] - config.position[axis];
            ((apart - side * (apart / side).round()) / r200) as f32
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use halocast::data::read_npy_f32;

    #[test]
    fn clouds_are_about_their_centres_and_made_once() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("halocast-clouds-{}", std::process::id()));
        let config = CloudsConfig { galaxies: 3, points: 200, ..CloudsConfig::default() };
        make(&config, &folder)?;
        let read = |name: &str| read_npy_f32(folder.join(name));
        let dark = read("dark_matter.npy")?;
        ensure!(dark.shape() == [3, 200, 3]);
        // Half of an NFW halo's mass lies within about 0.4 R200, and its end is not far beyond R200.
        let mut radii: Vec<f32> =
            dark.lanes(Axis(2)).into_iter().map(|p| p.iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
        radii.sort_by(f32::total_cmp);
        ensure!((0.2..0.8).contains(&radii[300]) && radii[599] < 6.0, "{} {}", radii[300], radii[599]);
        ensure!(read("parameters.npy")?.shape() == [3, 2]);
        let before = std::fs::metadata(folder.join("gas.npy"))?.modified()?;
        make(&config, &folder)?;
        ensure!(std::fs::metadata(folder.join("gas.npy"))?.modified()? == before);
        let other = make(&CloudsConfig { points: 100, ..config }, &folder).unwrap_err().to_string();
        ensure!(other.contains("clouds.json") && other.contains("100"), "{other}");
        Ok(std::fs::remove_dir_all(folder)?)
    }
}
