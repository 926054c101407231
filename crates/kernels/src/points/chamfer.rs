//! Chamfer distance: how far each point of one cloud is from the nearest of the other, and back.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::cloud::{self, lift, pair};
use super::reference;
use super::search::{Key, index_of, nearest_ordered, squared_of};
use super::space::{Boundary, Space};
use super::tree::Tree;
use crate::autograd::{self, Gradient, Op};
use crate::memory::on_cpu;
use crate::{Error, Result, device};

/// Which power of the distance is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChamferNorm {
    /// The distance. Its gradient is zero where two points coincide.
    #[default]
    L1,
    /// The squared distance.
    L2,
}

/// How two clouds are compared by [`chamfer_loss`].
#[derive(Clone, Debug, Default)]
pub struct ChamferCfg {
    /// Distance or squared distance.
    pub norm: ChamferNorm,
    /// Open space or a periodic box.
    pub boundary: Boundary,
    /// Weights of the points of both clouds, such as masses: `[batch, n]` and `[batch, m]`, not negative, of positive
    /// sum. They count as constants.
    pub weights: Option<[Tensor; 2]>,
    /// How many of the first points of each example count, for both clouds; the rest is padding, which neither finds
    /// nor is found and has no gradient.
    pub counts: Option<[Vec<usize>; 2]>,
}

impl ChamferCfg {
    /// What multiplies the sum of both directions in the loss.
    pub(crate) fn factor(&self) -> f64 {
        match self.norm {
            ChamferNorm::L1 => 0.5,
            ChamferNorm::L2 => 1.0,
        }
    }

    /// The numbers of points of both clouds, example by example.
    pub(super) fn counts_of(&self, op: &'static str, clouds: [&Tensor; 2]) -> Result<[Vec<usize>; 2]> {
        let mut all = [vec![], vec![]];
        for side in 0..2 {
            let (batch, n) = (clouds[side].dim(0)?, clouds[side].dim(1)?);
            all[side] = match &self.counts {
                None => vec![n; batch],
                Some(counts) => counts[side].clone(),
            };
            let good = all[side].len() == batch && all[side].iter().all(|count| (1..=n).contains(count));
            if !good || batch == 0 {
                let expected = format!("{batch} (at least one) numbers between 1 and {n}");
                return Err(Error::argument(op, "counts", expected, format!("{:?}", all[side])));
            }
        }
        Ok(all)
    }

    /// The share of each point in the mean of its example, for both clouds; padding has none.
    fn shares(
        &self,
        op: &'static str,
        clouds: [&Tensor; 2],
        counts: &[Vec<usize>; 2],
    ) -> Result<[Vec<f32>; 2]> {
        let mut all = [vec![], vec![]];
        for side in 0..2 {
            let (batch, n) = (clouds[side].dim(0)?, clouds[side].dim(1)?);
            let weights = match &self.weights {
                None => vec![1.0; batch * n],
                Some(weights) if weights[side].dims() == [batch, n] => {
                    weights[side].flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?
                }
                Some(weights) => {
                    return Err(Error::shape(op, "weights", format!("[{batch}, {n}]"), weights[side].dims()));
                }
            };
            if let Some(bad) = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
                return Err(Error::argument(op, "weights", "finite and not negative", bad));
            }
            for (weights, &count) in weights.chunks_exact(n).zip(&counts[side]) {
                let sum: f64 = weights[..count].iter().map(|&w| f64::from(w)).sum();
                if sum <= 0.0 {
                    return Err(Error::argument(op, "weights", "of positive sum in each example", sum));
                }
                all[side].extend(weights[..count].iter().map(|&w| (f64::from(w) / sum) as f32));
                all[side].resize(all[side].len() + n - count, 0.0);
            }
        }
        Ok(all)
    }
}

/// The Chamfer distance of two batches of clouds, a scalar, the mean over the batch of
///
/// $$ L_1 = \tfrac12 \Big( \sum_i u_i \min_j |a_i - b_j| + \sum_j v_j \min_i |a_i - b_j| \Big), \qquad
///    L_2 = \sum_i u_i \min_j |a_i - b_j|^2 + \sum_j v_j \min_i |a_i - b_j|^2, $$
///
/// with weights that sum to one: $u_i = 1/n$, $v_j = 1/m$ unless [`ChamferCfg::weights`] says otherwise.
/// `a [batch, n, axes]`, `b [batch, m, axes]`, one to three axes. Differentiable in both clouds; the nearest points are
/// kept for the gradient, which passes to the one of smallest index where several are equally near.
///
/// O((n + m) log (n + m)), linear memory.
///
/// # Source
/// Fan, Su & Guibas 2017, arXiv:1612.00603; the factor and the square root as in AdaPoinTr (Yu et al. 2023,
/// arXiv:2301.04545).
///
/// # Differences
/// Where two points coincide $L_1$ has gradient zero, where automatic differentiation of the square root gives NaN.
///
/// # Errors
/// Where the shapes do not fit, a cloud is empty, a coordinate is not finite, weights or counts do not fit, or Candle
/// fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use halocast_kernels::{ChamferCfg, ChamferNorm, chamfer_loss};
/// let a = Var::new(&[[[0.0f32, 0.0, 0.0]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[[3.0f32, 4.0, 0.0]]], &Device::Cpu)?;
/// assert_eq!(chamfer_loss(&a, &b, &ChamferCfg::default())?.to_scalar::<f32>()?, 5.0);
/// let squares = ChamferCfg { norm: ChamferNorm::L2, ..Default::default() };
/// let loss = chamfer_loss(&a, &b, &squares)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 50.0);
/// assert_eq!(loss.backward()?.get(&a).unwrap().flatten_all()?.to_vec1::<f32>()?, [-12.0, -16.0, 0.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn chamfer_loss(a: &Tensor, b: &Tensor, cfg: &ChamferCfg) -> Result<Tensor> {
    means("chamfer_loss", a, b, cfg, true)
}

/// The two means of [`chamfer_loss`] without its factor, `[batch, 2]`: from `a` to `b`, and from `b` to `a`.
///
/// # Errors
/// As there.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{ChamferCfg, chamfer_directions};
/// let a = Tensor::new(&[[[0.0f32]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[[1.0f32], [3.0]]], &Device::Cpu)?;
/// assert_eq!(chamfer_directions(&a, &b, &ChamferCfg::default())?.to_vec2::<f32>()?, [[1.0, 2.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn chamfer_directions(a: &Tensor, b: &Tensor, cfg: &ChamferCfg) -> Result<Tensor> {
    means("chamfer_directions", a, b, cfg, false)
}

fn means(op: &'static str, a: &Tensor, b: &Tensor, cfg: &ChamferCfg, reduce: bool) -> Result<Tensor> {
    let axes = checked(op, a, b)?;
    let counts = cfg.counts_of(op, [a, b])?;
    let shares = cfg.shares(op, [a, b], &counts)?;
    if device::takes(&[a, b]) {
        let pairs = on_device(op, [a, b], cfg.norm, &cfg.boundary, counts)?;
        let scale = reduce.then_some((cfg.factor() / a.dim(0)? as f64) as f32);
        return Ok(device::chamfer([a, b], pairs, &shares, scale)?);
    }
    if !on_cpu(&[a, b]) {
        let both = reference::chamfer_directions(a, b, cfg)?;
        return if reduce { Ok((both.sum(1)?.mean_all()? * cfg.factor())?) } else { Ok(both) };
    }
    let batch = a.dim(0)?;
    let pairs = Pairs {
        points: [a.dim(1)?, b.dim(1)?],
        axes,
        norm: cfg.norm,
        space: Space::new(op, &cfg.boundary, axes)?,
        counts,
        op,
    };
    let scale = reduce.then(|| (cfg.factor() / batch as f64) as f32);
    Ok(autograd::apply(Chamfer { pairs, shares, scale, nearest: OnceLock::new() }, &[a, b])?)
}

/// For each point of `a [batch, n, axes]` the distance to the nearest point of `b [batch, m, axes]`, or its square:
/// `[batch, n]`. Differentiable in both; see [`chamfer_loss`].
///
/// # Errors
/// Where the shapes do not fit, a cloud is empty, a coordinate is not finite, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Boundary, ChamferNorm, nearest_distance};
/// let a = Tensor::new(&[[[0.5f32], [9.0]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[[0.0f32]]], &Device::Cpu)?;
/// let d = nearest_distance(&a, &b, ChamferNorm::L1, &Boundary::cube(10.0))?;
/// assert_eq!(d.to_vec2::<f32>()?, [[0.5, 1.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn nearest_distance(a: &Tensor, b: &Tensor, norm: ChamferNorm, boundary: &Boundary) -> Result<Tensor> {
    const OP: &str = "nearest_distance";
    let axes = checked(OP, a, b)?;
    let cfg = ChamferCfg { norm, boundary: *boundary, ..Default::default() };
    if !on_cpu(&[a, b]) {
        if device::takes(&[a, b]) {
            let pairs = on_device(OP, [a, b], norm, boundary, cfg.counts_of(OP, [a, b])?)?;
            return Ok(device::nearest_distance([a, b], pairs)?);
        }
        return reference::nearest_distance(a, b, norm, boundary);
    }
    let pairs = Pairs {
        points: [a.dim(1)?, b.dim(1)?],
        axes,
        norm,
        space: Space::new(OP, boundary, axes)?,
        counts: cfg.counts_of(OP, [a, b])?,
        op: OP,
    };
    Ok(autograd::apply(Distance { pairs, nearest: OnceLock::new() }, &[a, b])?)
}

/// Two batches of clouds of a device.
fn on_device(
    op: &'static str,
    clouds: [&Tensor; 2],
    norm: ChamferNorm,
    boundary: &Boundary,
    counts: [Vec<usize>; 2],
) -> Result<device::Pairs> {
    let axes = clouds[0].dim(2)?;
    let space = Space::new(op, boundary, axes)?;
    let cloud = |side: usize, name| {
        let counts = device::counts(&counts[side], clouds[side].device())?;
        cloud::on_device(op, name, clouds[side], Some(&counts), &space)
    };
    let clouds = [cloud(0, "a")?, cloud(1, "b")?];
    Ok(device::Pairs {
        name: op,
        clouds,
        axes,
        sides: space.on_device(),
        root: norm == ChamferNorm::L1,
        counts,
    })
}

fn checked(op: &'static str, a: &Tensor, b: &Tensor) -> Result<usize> {
    let (p, _) = pair(op, ("a", a), ("b", b))?;
    if p.axes > 3 {
        return Err(Error::shape(op, "a", "[batch, points, 1 to 3]", a.dims()));
    }
    Ok(p.axes)
}

/// Two batches of clouds and how they are compared.
struct Pairs {
    points: [usize; 2],
    axes: usize,
    norm: ChamferNorm,
    space: Space,
    counts: [Vec<usize>; 2],
    op: &'static str,
}

impl Pairs {
    /// Both clouds of an example, without padding.
    fn clouds(&self, inputs: &[&[f32]], example: usize) -> Result<[Vec<[f32; 3]>; 2]> {
        let cloud = |side: usize, name| {
            let size = self.points[side] * self.axes;
            let values = &inputs[side][example * size..][..self.counts[side][example] * self.axes];
            lift(self.op, name, values, self.axes, &self.space)
        };
        Ok([cloud(0, "a")?, cloud(1, "b")?])
    }

    /// The distance of a neighbour in the chosen norm.
    fn distance(&self, key: Key) -> f32 {
        match self.norm {
            ChamferNorm::L1 => squared_of(key).sqrt(),
            ChamferNorm::L2 => squared_of(key),
        }
    }

    /// Adds the gradient of the distances of one direction, `from` a side to the other, each with its `weight`.
    fn pull_back(
        &self,
        clouds: &[Vec<[f32; 3]>; 2],
        from: usize,
        nearest: &[Key],
        weight: impl Fn(usize) -> f32,
        gradients: [&mut [f32]; 2],
    ) {
        let [own, other] = gradients;
        for (i, &key) in nearest.iter().enumerate() {
            let j = index_of(key) as usize;
            let d = self.space.difference(clouds[from][i], clouds[1 - from][j]);
            let slope = match self.norm {
                ChamferNorm::L2 => 2.0 * weight(i),
                ChamferNorm::L1 if squared_of(key) > 0.0 => weight(i) / squared_of(key).sqrt(),
                ChamferNorm::L1 => 0.0,
            };
            for axis in 0..self.axes {
                own[i * self.axes + axis] += slope * d[axis];
                other[j * self.axes + axis] -= slope * d[axis];
            }
        }
    }

    /// The gradient of both clouds: `pull_back` for each example, its two parts given.
    fn gradients(
        &self,
        pull_back: impl Fn(usize, [&mut [f32]; 2]) -> Result<()> + Sync,
    ) -> Result<Vec<Gradient>> {
        let batch = self.counts[0].len();
        let sizes = self.points.map(|n| n * self.axes);
        let [mut da, mut db] = sizes.map(|size| vec![0.0; batch * size]);
        da.par_chunks_mut(sizes[0])
            .zip(db.par_chunks_mut(sizes[1]))
            .enumerate()
            .try_for_each(|(example, (da, db))| pull_back(example, [da, db]))?;
        Ok(vec![Gradient::Values(da), Gradient::Values(db)])
    }
}

/// Weighted means of both directions: `[batch, 2]`, or with a `scale` their sum times it.
struct Chamfer {
    pairs: Pairs,
    shares: [Vec<f32>; 2],
    scale: Option<f32>,
    /// The nearest points of each example in both directions, from the forward pass.
    nearest: OnceLock<Vec<[Vec<Key>; 2]>>,
}

impl Chamfer {
    fn nearest(&self, inputs: &[&[f32]]) -> Result<Vec<[Vec<Key>; 2]>> {
        let pairs = &self.pairs;
        let example = |example: usize| {
            let [a, b] = pairs.clouds(inputs, example)?;
            let (tree_a, tree_b) = rayon::join(|| Tree::new(&a), || Tree::new(&b));
            let (forth, back) = rayon::join(
                || nearest_ordered(&tree_b, &a, &tree_a, 1, &pairs.space),
                || nearest_ordered(&tree_a, &b, &tree_b, 1, &pairs.space),
            );
            Ok([forth, back])
        };
        (0..pairs.counts[0].len()).into_par_iter().map(example).collect()
    }

    fn share(&self, side: usize, example: usize) -> &[f32] {
        &self.shares[side][example * self.pairs.points[side]..]
    }
}

impl Op for Chamfer {
    fn name(&self) -> &'static str {
        self.pairs.op
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let nearest = self.nearest(inputs)?;
        let mean = |example: usize, side: usize, nearest: &[Key]| -> f64 {
            let shares = self.share(side, example);
            nearest.iter().zip(shares).map(|(&k, &w)| f64::from(w) * f64::from(self.pairs.distance(k))).sum()
        };
        let means: Vec<f64> = nearest
            .iter()
            .enumerate()
            .flat_map(|(example, near)| [mean(example, 0, &near[0]), mean(example, 1, &near[1])])
            .collect();
        let _ = self.nearest.set(nearest);
        Ok(match self.scale {
            Some(scale) => (vec![(means.iter().sum::<f64>() * f64::from(scale)) as f32], Shape::from(())),
            None => (means.iter().map(|&m| m as f32).collect(), (means.len() / 2, 2).into()),
        })
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let fresh;
        let nearest = match self.nearest.get() {
            Some(nearest) => nearest,
            None => {
                fresh = self.nearest(inputs)?;
                &fresh
            }
        };
        Ok(self.pairs.gradients(|example, [da, db]| {
            let clouds = self.pairs.clouds(inputs, example)?;
            let factor = |side: usize| match self.scale {
                Some(scale) => dy[0] * scale,
                None => dy[2 * example + side],
            };
            let weight = |side: usize| move |i: usize| factor(side) * self.share(side, example)[i];
            let [forth, back] = &nearest[example];
            self.pairs.pull_back(&clouds, 0, forth, weight(0), [&mut *da, &mut *db]);
            self.pairs.pull_back(&clouds, 1, back, weight(1), [db, da]);
            Ok(())
        })?)
    }
}

/// Distances from the first cloud to the second.
struct Distance {
    pairs: Pairs,
    nearest: OnceLock<Vec<Vec<Key>>>,
}

impl Distance {
    fn nearest(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<Key>>> {
        let example = |example: usize| {
            let [a, b] = self.pairs.clouds(inputs, example)?;
            let (tree_a, tree_b) = rayon::join(|| Tree::new(&a), || Tree::new(&b));
            Ok(nearest_ordered(&tree_b, &a, &tree_a, 1, &self.pairs.space))
        };
        (0..self.pairs.counts[0].len()).into_par_iter().map(example).collect()
    }
}

impl Op for Distance {
    fn name(&self) -> &'static str {
        self.pairs.op
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let nearest = self.nearest(inputs)?;
        let distances = nearest.iter().flatten().map(|&key| self.pairs.distance(key)).collect();
        let shape = (nearest.len(), self.pairs.points[0]).into();
        let _ = self.nearest.set(nearest);
        Ok((distances, shape))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let fresh;
        let nearest = match self.nearest.get() {
            Some(nearest) => nearest,
            None => {
                fresh = self.nearest(inputs)?;
                &fresh
            }
        };
        Ok(self.pairs.gradients(|example, parts| {
            let clouds = self.pairs.clouds(inputs, example)?;
            let dy = &dy[example * self.pairs.points[0]..];
            self.pairs.pull_back(&clouds, 0, &nearest[example], |i| dy[i], parts);
            Ok(())
        })?)
    }
}
