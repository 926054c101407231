//! What the tests across crates share: where reference data lie, and how numbers are compared.

// A test tells the largest error of each case, and what it could not find.
#![allow(clippy::print_stdout)]

pub mod parity;
mod program;
mod ridge;
pub mod zoo;

pub use program::{program, requires_one_clear_line, run};
pub use ridge::{ridge, rmse};

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The folder of reference data `name`: from the environment variable, else beside the repository. `None`, after one
/// line that says so, where it is absent.
pub fn reference_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("{} is absent: these tests have nothing to compare with and pass", folder.display());
    None
}

/// The tensors of a safetensors file.
///
/// # Errors
/// When it cannot be read.
pub fn tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load(path, &Device::Cpu)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// Compares by |a - b| <= atol + rtol |b| and prints one line.
///
/// # Errors
/// When the shapes differ or an element is outside the tolerance.
pub fn compare(name: &str, got: &Tensor, expected: &Tensor, atol: f64, rtol: f64) -> Result<()> {
    ensure!(got.dims() == expected.dims(), "{name}: shape {:?}, expected {:?}", got.dims(), expected.dims());
    let flat = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?) };
    let (got, expected) = (flat(got)?, flat(expected)?);
    let mut largest = 0.0f64;
    let mut worst = 0.0f64;
    for (a, b) in got.iter().zip(&expected) {
        let error = (a - b).abs();
        largest = largest.max(error);
        // A NaN is worse than any number.
        let excess = error / (atol + rtol * b.abs());
        worst = if excess.is_nan() { f64::INFINITY } else { worst.max(excess) };
    }
    println!("{name}: largest error {largest:.2e}, {worst:.3} of the tolerance {atol:e} + {rtol:e} |b|");
    ensure!(worst <= 1.0, "{name}: largest error {largest:e} is {worst} times the tolerance");
    Ok(())
}

/// Every block of Rust in the documentation is compiled, and run but for those that need files of a user.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($name:ident: $file:literal,)*) => {
            $(#[doc = include_str!(concat!("../../docs/", $file))] mod $name {})*
        };
    }

    pages! {
        data: "data.md",
        distributed: "distributed.md",
        from_pytorch: "from-pytorch.md",
        guide: "guide.md",
        mock: "mock.md",
        mock_galaxies: "mock-galaxies.md",
    }
}
