//! Rows picked and added by index.

use super::*;
use crate::device::{self, Rows};

fn rows(outer: usize, rows: usize, inner: usize, picks: &[u32], own: bool) -> Rows {
    Rows { name: "rows", outer, rows, inner, picks: picks.to_vec(), own }
}

#[test]
fn index_select_and_scatter_add() {
    let picks = [4u32, 0, 4, 4, 2, 1, 0];
    let indices = Tensor::new(&picks, &Device::Cpu).unwrap();
    let inputs = [random(1, &[3, 5, 70]), random(2, &[3, 7, 70])];
    compare(
        "index_select",
        1e-6,
        &inputs[..1],
        |x| device::gather(&x[0], rows(3, 5, 70, &picks, false), (3, 7, 70)),
        |x| crate::index_select(&x[0], &indices, 1),
    );
    compare(
        "scatter_add",
        1e-6,
        &inputs,
        |x| device::scatter_add(&x[0], &x[1], rows(3, 5, 70, &picks, false)),
        |x| crate::scatter_add(&x[0], &indices, &x[1], 1),
    );
}

#[test]
fn rows_of_each_example() {
    let picks = [3u32, 3, 0, 1, 2, 2, 2, 0, 1, 3, 1, 0];
    let indices = Tensor::from_slice(&picks, (2, 2, 3), &Device::Cpu).unwrap();
    compare(
        "gather_rows",
        1e-6,
        &[random(1, &[2, 4, 9])],
        |x| device::gather(&x[0], rows(2, 4, 9, &picks, true), (2, 2, 3, 9)),
        |x| crate::gather_rows(&x[0], &indices),
    );
}
