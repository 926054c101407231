//! # halocast-data
//!
//! Files of simulations and surveys as the types of [`halocast_core`], and back.
//!
//! | what | read | written |
//! |---|---|---|
//! | IllustrisTNG, CAMELS and GADGET-4 snapshots (HDF5, any number of files), whole or in parts | [`read_snapshot`], [`SnapshotReader`] | [`write_snapshot`] |
//! | group catalogues, offsets, merger trees | [`read_groups`], [`Offsets`], [`MergerTree`], [`Simulation`] | [`write_catalogue`], [`write_offsets`] |
//! | CAMELS: runs, parameters, seeds | [`CamelsRun`], [`read_params`], [`read_cosmo_astro_seed`] | [`write_params`] |
//! | CAMELS Multifield Dataset: maps and grids | [`CmdMaps`], [`CmdGrids`] | [`write_cmd_maps`] |
//! | Gadget-1 and Gadget-2 snapshots, friends-of-friends groups (binary) | [`read_gadget`], [`read_fof`] | |
//! | Quijote haloes | [`read_quijote_halos`] | |
//! | SDSS spectra | [`read_sdss_spectrum`], [`read_sdss_set`] | |
//! | map files of skais-mapper | [`SkaisFile`] | [`write_skais`] |
//! | FITS images, cubes and binary tables | [`read_fits`], [`read_fits_map`], [`read_fits_table`] | [`write_fits_map`] |
//! | npy and npz arrays, whole, one item at a time, or mapped | [`read_npy`], [`NpyFile`], [`NpyMap`], [`NpzFile`] | [`write_npy`] |
//! | tables as text | [`read_text_table`] | |
//! | any HDF5 | [`open_hdf5`] | [`create_hdf5`] |
//!
//! [`describe`] says what is in a file or folder without reading it through.
//!
//! Three rules hold for all of them. **Nothing is short in silence**: a snapshot with a missing file is an error that
//! names the file and both counts, unless [`ReadOptions::allow_missing`] turns it into a warning that travels with the
//! data. **A damaged file is an error, not a panic**, of one line with path, field, expected and got; no header makes the
//! reader allocate what the file cannot hold. **A file is written whole or not at all.**
//!
//! Every field carries its unit; [`ToUnit`] converts it, comoving or physical. [`formats`] says what each field of each format
//! is, its unit, and where it is documented.
//!
//! From files to training: [`Transform`] makes pixel values fit for a network and can be undone, [`split_by_group`] keeps
//! maps of one simulation in one split, [`sky_patches`] does the same for patches of one sky, [`SplitManifest`] writes a split
//! down, and [`MapDataset`] is the [`Dataset`](halocast_core::Dataset) that a trainer draws its batches from. [`DatasetExt`]
//! maps, zips, chooses and shuffles data sets; [`Loader`] makes batches ahead of their use.
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
//! * `candle`: batches as tensors on any device, moved ahead of their use.
//! * `libhdf5`: the C library as a second HDF5 backend. What the pure one does not support (some layouts of files of the
//!   HDF5 1.6 era) is then read by it.

#![deny(unsafe_code)]

mod arrays;
mod binary;
mod camels;
#[cfg(feature = "candle")]
mod candle;
mod combine;
mod dataset;
mod describe;
mod error;
mod fits;
mod fits_table;
mod fits_writer;
pub mod formats;
mod gadget;
mod hdf5;
mod loader;
mod logarithm;
mod manifest;
mod npy;
mod npz;
mod per_image;
mod quijote;
mod sdss;
mod skais;
mod split;
mod step;
mod text;
mod tng;
mod transform;
mod units;

pub use arrays::ArrayDataset;
pub use camels::{
    CMD_PARAMETERS, CamelsRun, CmdDataset, CmdGrids, CmdMaps, CmdName, CmdParams, Code, CosmoAstroSeed,
    GridName, RunSet, Suite, read_cosmo_astro_seed, read_params, read_params_by_position, write_cmd_maps,
    write_params,
};
#[cfg(feature = "candle")]
pub use candle::{TensorBatch, TensorLoader, to_tensors};
pub use combine::{DatasetExt, Given, Mapped, Selected, Zipped};
pub use dataset::MapDataset;
pub use describe::{
    ColumnDescription, Description, FitsUnitDescription, Hdf5Description, Hdf5Object, NpyDescription,
    describe,
};
pub use error::{Error, Incomplete, Result};
pub use fits::{
    FitsCard, FitsHeader, FitsImage, read_fits, read_fits_headers, read_fits_map, read_fits_unit,
};
pub use fits_table::{FitsColumn, FitsTable, FitsValues, read_fits_table};
pub use fits_writer::{FitsAxes, write_fits_map};
pub use gadget::{GadgetOptions, read_gadget};
pub use hdf5::{
    Attribute, Backend, DatasetInfo, Hdf5Read, Hdf5Type, Hdf5Write, Narrow, NumbersMut, Storage, create_hdf5,
    create_hdf5_with, open_hdf5, open_hdf5_with,
};
pub use loader::{Loader, LoaderOptions};
pub use manifest::{SplitManifest, SplitSet, lineages};
pub use npy::{
    MappedNumber, NpyElement, NpyFile, NpyMap, NpyType, read_npy, read_npy_f32, read_npy_f64, write_npy,
};
pub use npz::NpzFile;
pub use per_image::PerImageMinMax;
pub use quijote::{FofOptions, QuijoteHalos, read_cosmologies, read_fof, read_fof_ids, read_quijote_halos};
pub use sdss::{Spectrum, SpectrumSet, read_sdss_set, read_sdss_spectrum};
pub use skais::{SkaisFile, SkaisImage, write_skais};
pub use split::{SkyPatches, sky_patches, split_by_group};
pub use step::Step;
pub use text::{TextTable, read_text_table};
pub use tng::{
    Branch, FieldDescription, GroupsDescription, Members, Merger, MergerTree, Offsets, Precision,
    ReadOptions, Simulation, SnapshotDescription, SnapshotReader, SpeciesDescription, TableDescription,
    WriteOptions, describe_groups, describe_snapshot, read_groups, read_snapshot, write_catalogue,
    write_offsets, write_snapshot,
};
pub use transform::Transform;
pub use units::ToUnit;
