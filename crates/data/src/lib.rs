//! # halocast-data
//!
//! Files of simulations and surveys as the types of [`halocast_core`], and back.
//!
//! | what | read | written |
//! |---|---|---|
//! | IllustrisTNG and CAMELS snapshots (HDF5, any number of files) | [`read_snapshot`] | [`write_snapshot`] |
//! | CAMELS Multifield Dataset: maps and parameters | [`CmdMaps`], [`read_params`] | [`write_cmd_maps`], [`write_params`] |
//! | FITS images | [`read_fits`], [`read_fits_map`] | |
//! | npy arrays, whole or one item at a time | [`read_npy`], [`NpyFile`] | [`write_npy`] |
//! | any HDF5 | [`open_hdf5`] | [`create_hdf5`] |
//!
//! [`describe`] says what is in a file or folder without reading it through.
//!
//! Three rules hold for all of them. **Nothing is short in silence**: a snapshot with a missing file is an error that
//! names the file and both counts, unless [`ReadOptions::allow_missing`] turns it into a warning that travels with the
//! data. **A damaged file is an error, not a panic**, of one line with path, field, expected and got; no header makes the
//! reader allocate what the file cannot hold. **A file is written whole or not at all.**
//!
//! From files to training: [`Transform`] makes pixel values fit for a network and can be undone, [`split_by_group`] keeps
//! maps of one simulation in one split, [`sky_patches`] does the same for patches of one sky, and [`MapDataset`] is the
//! [`Dataset`](halocast_core::Dataset) that a trainer draws its batches from.
//!
//! ```
//! use halocast_core::{Dataset, Map, Rng};
//! use halocast_data::{CmdMaps, MapDataset, Step, Transform, split_by_group, write_cmd_maps};
//! use ndarray::Array2;
//!
//! # fn main() -> halocast_data::Result<()> {
//! // 45 maps of 3 simulations, in the layout of the CAMELS Multifield Dataset.
//! let mut rng = Rng::new(1);
//! let maps: Vec<Map> = (0..45)
//!     .map(|_| Map::square("Mcdm", Array2::from_shape_fn((16, 16), |_| rng.normal().exp() as f32), 25.0))
//!     .collect();
//! let dir = tempfile::tempdir().unwrap();
//! let path = write_cmd_maps(dir.path(), "Mcdm", "Mock", "LH", 0.0, &maps)?;
//!
//! let file = CmdMaps::open(&path)?;
//! let [train, _, test] = split_by_group(&file.groups(), [0.34, 0.33, 0.33], &mut rng)?;
//! assert_eq!((train.len(), test.len()), (15, 15));
//!
//! let train = file.maps(train)?;
//! let transform = Transform::fit(&[Step::Log10, Step::Standardise], &train)?;
//! let dataset = MapDataset::new(&train, transform)?.with_augmentation(true);
//! let batch = dataset.batch(&[0, 1, 2, 3], &mut rng)?;
//! assert_eq!(batch.fields.shape(), [4, 1, 16, 16]);
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! * `libhdf5`: the C library as a second HDF5 backend. What the pure one does not support (some layouts of files of the
//!   HDF5 1.6 era) is then read by it.

#![deny(unsafe_code)]

mod camels;
mod dataset;
mod describe;
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
pub use describe::{Description, Hdf5Description, Hdf5Object, NpyDescription, describe};
pub use error::{Error, Incomplete, Result};
pub use fits::{FitsCard, FitsHeader, FitsImage, read_fits, read_fits_headers, read_fits_map};
pub use hdf5::{
    Attribute, Backend, DatasetInfo, Hdf5Read, Hdf5Type, Hdf5Write, Narrow, Storage, create_hdf5,
    create_hdf5_with, open_hdf5, open_hdf5_with,
};
pub use npy::{NpyElement, NpyFile, NpyType, read_npy, read_npy_f32, read_npy_f64, write_npy};
pub use split::{SkyPatches, sky_patches, split_by_group};
pub use tng::{
    FieldDescription, ReadOptions, SnapshotDescription, SpeciesDescription, WriteOptions, describe_snapshot,
    read_snapshot, write_catalogue, write_snapshot,
};
pub use transform::{Step, Transform};
