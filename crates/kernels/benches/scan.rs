//! Times of the selective scan, random numbers and Fourier transforms; as the benchmark `ops`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Bench;

fn main() {
    let _ = Bench::from_environment();
}
