//! Rows picked and added by index.

use super::*;

#[test]
fn index_select_and_scatter_add() {
    let indices = Tensor::new(&[4u32, 0, 4, 4, 2, 1, 0], &Device::Cpu).unwrap();
    let inputs = [random(1, &[3, 5, 70]), random(2, &[3, 7, 70])];
    compare("index_select", 1e-6, &inputs[..1], |x| crate::index_select(&x[0], &indices, 1));
    compare("scatter_add", 1e-6, &inputs, |x| crate::scatter_add(&x[0], &indices, &x[1], 1));
}

#[test]
fn rows_of_each_example() {
    let picks = [3u32, 3, 0, 1, 2, 2, 2, 0, 1, 3, 1, 0];
    let indices = Tensor::from_slice(&picks, (2, 2, 3), &Device::Cpu).unwrap();
    let inputs = [random(1, &[2, 4, 9])];
    compare("gather_rows", 1e-6, &inputs, |x| crate::gather_rows(&x[0], &indices));
    compare("gather_points", 1e-6, &inputs, |x| crate::gather_points(&x[0], &indices));
}
