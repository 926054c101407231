//! Tests across the crates of halocast.
