//! CAMELS: the runs of its suites, their parameters, and the Multifield Dataset (Villaescusa-Navarro et al. 2021, 2022).

mod batches;
mod grids;
mod maps;
mod params;
mod seeds;
mod simulation;
mod suite;

pub use batches::CmdDataset;
pub use grids::{CmdGrids, GridName};
pub use maps::{CmdMaps, CmdName, write_cmd_maps};
pub use params::{CMD_PARAMETERS, CmdParams, read_params, read_params_by_position, write_params};
pub use seeds::{CosmoAstroSeed, read_cosmo_astro_seed};
pub use simulation::CamelsRun;
pub use suite::{Code, RunSet, Suite};
