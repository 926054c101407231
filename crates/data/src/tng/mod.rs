//! IllustrisTNG and CAMELS snapshots.

mod catalogue_writer;
mod chunks;
mod describe;
mod header;
mod snapshot;
mod units;
mod writer;

pub use catalogue_writer::write_catalogue;
pub use describe::{FieldDescription, SnapshotDescription, SpeciesDescription, describe_snapshot};
pub use snapshot::{ReadOptions, read_snapshot};
pub use writer::{WriteOptions, write_snapshot};
