//! Operations on points against those of PoinTr: neighbours, samples, Chamfer distances and their gradients.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor, Var};
use halocast::kernels::{
    Boundary, ChamferCfg, ChamferNorm, SampleCfg, chamfer_directions, chamfer_loss, farthest_points,
    gather_points, knn, nearest_distance,
};
use halocast_tests::{compare, reference_folder, tensors};

/// The tensors of a case and its tolerances: forward and gradient, absolute and relative.
type Case = (HashMap<String, Tensor>, [f64; 4]);

fn case(name: &str) -> Result<Option<Case>> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(None) };
    let folder = folder.join(name);
    if !folder.is_dir() {
        println!("{} is absent: nothing to compare with", folder.display());
        return Ok(None);
    }
    let meta: serde_json::Value = serde_json::from_reader(std::fs::File::open(folder.join("meta.json"))?)?;
    let value = |kind: &str, key: &str| meta["tolerance"][kind][key].as_f64().context("tolerance");
    let tolerance =
        [value("fwd", "atol")?, value("fwd", "rtol")?, value("grad", "atol")?, value("grad", "rtol")?];
    Ok(Some((tensors(&folder.join("io.safetensors"))?, tolerance)))
}

/// Indices must be equal.
fn same(name: &str, got: &Tensor, expected: &Tensor) -> Result<()> {
    compare(name, &got.to_dtype(DType::F64)?, &expected.to_dtype(DType::F64)?, 1e-3, 0.0)
}

#[test]
fn neighbors_and_samples() -> Result<()> {
    let Some((io, t)) = case("point_ops")? else { return Ok(()) };
    let (a, b) = (&io["a"], &io["b"]);
    let near = knn(a, b, io["knn.dist2"].dims()[2], &Boundary::Open)?;
    same("knn.idx_sorted_by_distance", &near.indices, &io["knn.idx_sorted_by_distance"])?;
    compare("knn.dist2", &near.squared_distances, &io["knn.dist2"], t[0], t[1])?;
    let m = io["fps.idx"].dims()[1];
    same("fps.idx", &farthest_points(a, m, &SampleCfg::default())?, &io["fps.idx"])?;
    let xyz = &io["fps_near_origin.xyz"];
    let skip = SampleCfg { skip_within: Some(1e-3), ..Default::default() };
    let name = "fps_near_origin.idx_pointnet2_skip";
    same(name, &farthest_points(xyz, m, &skip)?, &io[name])?;
    let name = "fps_near_origin.idx_plain_no_skip";
    let n = xyz.dims()[1];
    let first = xyz.narrow(1, 0, n - n / 4 - 1)?;
    same(name, &farthest_points(&first, m, &SampleCfg::default())?, &io[name])
}

#[test]
fn chamfer_distances_and_gradients() -> Result<()> {
    let Some((io, t)) = case("point_ops")? else { return Ok(()) };
    let near = |from: &Tensor, to: &Tensor| nearest_distance(from, to, ChamferNorm::L2, &Boundary::Open);
    for (from, to, distance, index) in [("a", "b", "dist1", "idx1"), ("b", "a", "dist2", "idx2")] {
        compare(distance, &near(&io[from], &io[to])?, &io[distance], t[0], t[1])?;
        let indices = knn(&io[to], &io[from], 1, &Boundary::Open)?.indices.squeeze(2)?;
        same(index, &indices, &io[index])?;
    }
    let (a, b) = (Var::from_tensor(&io["a"])?, Var::from_tensor(&io["b"])?);
    for (name, norm) in [("chamferL1", ChamferNorm::L1), ("chamferL2", ChamferNorm::L2)] {
        let loss = chamfer_loss(&a, &b, &ChamferCfg { norm, ..Default::default() })?;
        compared(&io, name, &loss, [&a, &b], t)?;
    }
    // From a to b alone.
    let loss = nearest_distance(&a, &b, ChamferNorm::L1, &Boundary::Open)?.mean_all()?;
    compared(&io, "chamferL1_PM", &loss, [&a, &b], t)?;
    let squares = ChamferCfg { norm: ChamferNorm::L2, ..Default::default() };
    let both = chamfer_directions(&a, &b, &squares)?.mean(0)?;
    compare("chamferL2_split.1", &both.get(0)?, &io["chamferL2_split.1"], t[0], t[1])?;
    compare("chamferL2_split.2", &both.get(1)?, &io["chamferL2_split.2"], t[0], t[1])
}

fn compared(
    io: &HashMap<String, Tensor>,
    name: &str,
    loss: &Tensor,
    clouds: [&Var; 2],
    t: [f64; 4],
) -> Result<()> {
    compare(name, loss, &io[name], t[0], t[1])?;
    let store = loss.backward()?;
    for (side, cloud) in ["a", "b"].into_iter().zip(clouds) {
        let key = format!("{name}.grad.{side}");
        compare(&key, store.get(cloud).context("no gradient")?, &io[&key], t[2], t[3])?;
    }
    Ok(())
}

#[test]
fn samples_of_the_grouper() -> Result<()> {
    let Some((io, t)) = case("dgcnn_grouper")? else { return Ok(()) };
    let mut cloud = io["xyz"].clone();
    for (index, level) in [("fps_idx_level1", "coor_level1"), ("fps_idx_level2_into_level1", "coor")] {
        let chosen = farthest_points(&cloud, io[index].dims()[1], &SampleCfg::default())?;
        same(index, &chosen, &io[index])?;
        cloud = gather_points(&cloud, &chosen)?;
        compare(level, &cloud, &io[level], t[0], t[1])?;
    }
    ensure!(cloud.dims() == io["coor"].dims());
    Ok(())
}
