//! The CAMELS Multifield Dataset (Villaescusa-Navarro et al. 2022): 2-D maps and the parameters of their simulations.

mod maps;
mod params;

pub use maps::{CmdMaps, CmdName, write_cmd_maps};
pub use params::{CMD_PARAMETERS, CmdParams, read_params, read_params_by_position, write_params};
