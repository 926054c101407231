//! Simulation and survey files (IllustrisTNG, CAMELS, npy, FITS) as halocast core types

#![deny(unsafe_code)]

mod camels;
mod dataset;
mod error;
mod fits;
mod hdf5;
mod npy;
mod split;
mod tng;
mod transform;

pub use camels::{
    CMD_PARAMETERS, CmdMaps, CmdName, CmdParams, read_params, read_params_by_position, write_cmd_maps,
    write_params,
};
pub use dataset::MapDataset;
pub use error::{Error, Incomplete, Result};
pub use fits::{FitsCard, FitsHeader, FitsImage, read_fits, read_fits_headers, read_fits_map};
pub use hdf5::{
    Attribute, Backend, DatasetInfo, Hdf5Read, Hdf5Type, Hdf5Write, Storage, create_hdf5, create_hdf5_with,
    open_hdf5, open_hdf5_with,
};
pub use npy::{NpyElement, NpyFile, NpyType, read_npy, read_npy_f32, read_npy_f64, write_npy};
pub use split::{SkyPatches, sky_patches, split_by_group};
pub use tng::{
    FieldDescription, ReadOptions, SnapshotDescription, SpeciesDescription, WriteOptions, describe_snapshot,
    read_snapshot, write_snapshot,
};
pub use transform::{Step, Transform};
