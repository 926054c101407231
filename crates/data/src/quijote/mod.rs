//! The Quijote simulations (Villaescusa-Navarro et al. 2020): haloes and their cosmologies.

mod fof;
mod halos;

pub use fof::{FofOptions, read_fof, read_fof_ids};
pub use halos::{QuijoteHalos, read_cosmologies, read_quijote_halos};
