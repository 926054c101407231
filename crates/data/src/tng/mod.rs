//! IllustrisTNG and CAMELS snapshots.

mod chunks;
mod describe;
mod header;
mod snapshot;
mod units;
mod writer;

pub use describe::{FieldDescription, SnapshotDescription, SpeciesDescription, describe_snapshot};
pub use snapshot::{ReadOptions, read_snapshot};
pub use writer::{WriteOptions, write_snapshot};
