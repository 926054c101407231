//! Files of IllustrisTNG, and of codes that write as it does.

mod catalogue_writer;
mod chunks;
mod describe;
mod groups;
mod header;
mod offsets;
mod offsets_writer;
mod read;
mod rows;
mod simulation;
mod snapshot;
mod trees;
mod units;
mod writer;

pub use catalogue_writer::write_catalogue;
pub use describe::{
    FieldDescription, GroupsDescription, SnapshotDescription, SpeciesDescription, TableDescription,
    describe_groups, describe_snapshot,
};
pub use groups::read_groups;
pub use offsets::{Members, Offsets};
pub use offsets_writer::write_offsets;
pub use read::{SnapshotReader, read_snapshot};
pub use simulation::Simulation;
pub use snapshot::{Precision, ReadOptions};
pub use trees::{Branch, Merger, MergerTree};
pub use writer::{WriteOptions, write_snapshot};
