//! What all statistics of an ensemble share: its checks, its mean and its scatter.

use halocast_core::{Cube, Curve, Map, all_finite};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::{Error, Result};

/// Checks that there are at least `least` maps, all finite and of one shape and size.
pub(crate) fn check(operation: &'static str, what: &str, maps: &[Map], least: usize) -> Result<()> {
    if maps.len() < least.max(1) {
        let (what, expected, got) = (what.to_owned(), least.max(1), maps.len());
        return Err(Error::TooFew { operation, what, expected, got });
    }
    let first = &maps[0];
    if first.values.is_empty() {
        let got = format!("{:?}", first.shape());
        return Err(Error::Value { operation, what: format!("{what} 0"), expected: "not empty".into(), got });
    }
    for (axis, side) in ["y", "x"].iter().zip(first.extent) {
        if !(side.is_finite() && side > 0.0) {
            let what = format!("side length along {axis} of {what} 0");
            let (expected, got) = ("finite and positive".into(), side.to_string());
            return Err(Error::Value { operation, what, expected, got });
        }
    }
    for (index, map) in maps.iter().enumerate().skip(1) {
        same_grid(operation, &format!("{what} {index}"), first, map)?;
    }
    // The first in the ensemble's order, not the first to be found.
    let faults: Vec<_> =
        maps.par_iter().enumerate().filter_map(|(i, m)| m.require_finite().err().map(|e| (i, e))).collect();
    match faults.into_iter().next() {
        Some((index, source)) => Err(Error::Map { operation, index, source }),
        None => Ok(()),
    }
}

/// Checks that `map` has the pixels and the size of `reference`.
pub(crate) fn same_grid(operation: &'static str, what: &str, reference: &Map, map: &Map) -> Result<()> {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
    let same_size = (0..2).all(|i| close(reference.extent[i], map.extent[i]));
    if reference.shape() == map.shape() && same_size {
        return Ok(());
    }
    let describe = |m: &Map| format!("{:?} pixels on {:?} {}", m.shape(), m.extent, m.length_unit.label);
    Err(Error::Mismatch {
        operation,
        what: what.to_owned(),
        expected: describe(reference),
        got: describe(map),
    })
}

/// Checks that a cube has cells, sides and finite values; returns its shape.
pub(crate) fn check_cube(operation: &'static str, what: &str, cube: &Cube) -> Result<[usize; 3]> {
    let shape = [cube.values.shape()[0], cube.values.shape()[1], cube.values.shape()[2]];
    let value = |what: String, expected: &str, got: String| {
        Err(Error::Value { operation, what, expected: expected.to_owned(), got })
    };
    if shape.contains(&0) {
        return value(format!("shape of {what}"), "not empty", format!("{shape:?}"));
    }
    if let Some(side) = cube.extent.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return value(format!("side of {what}"), "finite and positive", side.to_string());
    }
    let good = cube.values.as_slice_memory_order().is_some_and(|v| v.par_chunks(1 << 16).all(all_finite));
    if good {
        return Ok(shape);
    }
    if let Some(((x, y, z), v)) = cube.values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return value(format!("cell [x = {x}, y = {y}, z = {z}] of {what}"), "finite", v.to_string());
    }
    Ok(shape)
}

/// Checks two ensembles, each by itself and against one another.
pub(crate) fn check_pair(
    operation: &'static str,
    (first, truth): (&str, &[Map]),
    (second, samples): (&str, &[Map]),
) -> Result<()> {
    check(operation, first, truth, 1)?;
    check(operation, second, samples, 1)?;
    same_grid(operation, second, &truth[0], &samples[0])
}

/// Mean over the members of an array `[member, bin]`.
pub(crate) fn mean(values: ArrayView2<'_, f64>) -> Vec<f64> {
    let n = values.nrows().max(1) as f64;
    values.columns().into_iter().map(|column| column.sum() / n).collect()
}

/// Standard deviation of one member, with n - 1; zero for a single member.
pub(crate) fn std(values: ArrayView2<'_, f64>) -> Vec<f64> {
    let means = mean(values);
    let freedom = values.nrows().saturating_sub(1).max(1) as f64;
    let sum = |(column, mean): (ndarray::ArrayView1<'_, f64>, f64)| {
        (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / freedom).sqrt()
    };
    values.columns().into_iter().zip(means).map(sum).collect()
}

/// Mean and scatter of an array `[member, bin]` as a curve.
pub(crate) fn curve(x: &[f64], values: ArrayView2<'_, f64>, x_label: String, y_label: String) -> Curve {
    Curve { x: x.to_vec(), mean: mean(values), std: std(values), x_label, y_label }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn mean_and_std_are_those_of_the_columns() {
        let values = array![[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]];
        assert_eq!(mean(values.view()), [3.0, 5.0]);
        assert_eq!(std(values.view()), [7f64.sqrt(), 0.0]);
    }

    #[test]
    fn faults_are_named() {
        let good = Map::square("a", Array2::zeros((4, 4)), 1.0);
        let other = Map::square("a", Array2::zeros((4, 5)), 1.0);
        let mut nan = good.clone();
        nan.values[[1, 2]] = f32::NAN;
        let message = |maps: &[Map]| check("test", "map", maps, 1).unwrap_err().to_string();
        assert!(message(&[]).contains("at least 1"));
        assert!(message(&[good.clone(), other]).contains("map 1"));
        let text = message(&[good.clone(), good.clone(), nan]);
        assert!(text.contains("map 2") && text.contains("y = 1, x = 2"), "{text}");
        let absurd = Map { extent: [1.0, f64::NAN], ..good };
        assert!(message(&[absurd]).contains("along x"));
    }
}
