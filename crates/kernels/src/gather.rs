//! Rows picked by index, and rows added by index.

use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, device, reference};

/// The slices of `x` along `axis` that `indices` name, in their order:
/// $y_{.., i, ..} = x_{.., \mathrm{indices}_i, ..}$.
///
/// `indices` is a `u32` tensor of one axis; an index may come several times. Its gradient sums those in the order of the
/// indices, at any number of threads.
///
/// # Errors
/// Where `axis` is none of `x`, the indices are not `u32` of one axis or lie outside `x`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let indices = Tensor::new(&[1u32, 1, 0], &Device::Cpu)?;
/// let y = halocast_kernels::index_select(&x, &indices, 0)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn index_select(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Tensor> {
    const OP: &str = "index_select";
    let sizes = Sizes::new(OP, x.dims(), axis)?;
    let picks = read_indices(OP, indices, 1, sizes.rows)?;
    let mut dims = x.dims().to_vec();
    dims[axis] = picks.len();
    if !on_cpu(&[x]) {
        if device::takes(&[x]) && !picks.is_empty() {
            return Ok(device::gather(x, sizes.on_device(OP, picks, false), dims)?);
        }
        return reference::index_select(x, indices, axis);
    }
    let op = Gather { name: OP, map: Map::new(sizes, picks, false), shape: dims.into() };
    Ok(autograd::apply(op, &[x])?)
}

/// The rows that `indices` name in each example: `x [b, n, c]`, `indices [b, ..]` of `u32` give `y [b, .., c]` with
/// $y_{b .. c} = x_{b, \mathrm{indices}_{b ..}, c}$: the features of neighbours, from the indices of neighbours.
///
/// The gradient sums repeated rows in the order of the indices, at any number of threads.
///
/// # Errors
/// Where a shape does not fit, an index lies outside `x`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32], [2.0], [3.0]]], &Device::Cpu)?;
/// let indices = Tensor::new(&[[[2u32, 0], [1, 1]]], &Device::Cpu)?;
/// let y = halocast_kernels::gather_rows(&x, &indices)?;
/// assert_eq!(y.dims(), [1, 2, 2, 1]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn gather_rows(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "gather_rows";
    let &[b, n, c] = x.dims() else { return Err(Error::shape(OP, "x", "[b, n, c]", x.dims())) };
    if indices.rank() == 0 || indices.dims()[0] != b {
        return Err(Error::shape(OP, "indices", format!("[{b}, ..]"), indices.dims()));
    }
    let picks = read_indices(OP, indices, indices.rank(), n)?;
    let dims: Vec<usize> = indices.dims().iter().copied().chain([c]).collect();
    let sizes = Sizes { outer: b, rows: n, inner: c };
    if !on_cpu(&[x]) {
        if device::takes(&[x]) && !picks.is_empty() {
            return Ok(device::gather(x, sizes.on_device(OP, picks, true), dims)?);
        }
        return reference::gather_rows(x, indices);
    }
    let op = Gather { name: OP, map: Map::new(sizes, picks, true), shape: dims.into() };
    Ok(autograd::apply(op, &[x])?)
}

/// Adds the slices of `source` along `axis` to those of `x` that `indices` name:
/// $y_j = x_j + \sum_{i: \, \mathrm{indices}_i = j} \mathrm{source}_i$, in the order of the indices, at any number of threads.
///
/// `source` has the shape of `x` but for `axis`, where it has one slice for each of the `u32` indices.
///
/// # Errors
/// As [`index_select`], and where the shape of `source` does not fit.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?;
/// let source = Tensor::new(&[10.0f32, 20.0, 30.0], &Device::Cpu)?;
/// let indices = Tensor::new(&[1u32, 0, 1], &Device::Cpu)?;
/// let y = halocast_kernels::scatter_add(&x, &indices, &source, 0)?;
/// assert_eq!(y.to_vec1::<f32>()?, [21.0, 42.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn scatter_add(x: &Tensor, indices: &Tensor, source: &Tensor, axis: usize) -> Result<Tensor> {
    const OP: &str = "scatter_add";
    let sizes = Sizes::new(OP, x.dims(), axis)?;
    let picks = read_indices(OP, indices, 1, sizes.rows)?;
    let mut expected = x.dims().to_vec();
    expected[axis] = picks.len();
    if source.dims() != expected {
        return Err(Error::shape(OP, "source", format!("{expected:?}"), source.dims()));
    }
    if device::takes(&[x, source]) {
        return Ok(device::scatter_add(x, source, sizes.on_device(OP, picks, false))?);
    }
    if !on_cpu(&[x, source]) {
        return reference::scatter_add(x, indices, source, axis);
    }
    let op = Scatter { map: Map::new(sizes, picks, false), shape: x.shape().clone() };
    Ok(autograd::apply(op, &[x, source])?)
}

/// A tensor as `[outer, rows, inner]`: the rows are picked.
#[derive(Clone, Copy)]
struct Sizes {
    outer: usize,
    rows: usize,
    inner: usize,
}

impl Sizes {
    fn new(op: &'static str, dims: &[usize], axis: usize) -> Result<Self> {
        let Some(&rows) = dims.get(axis) else {
            return Err(Error::argument(op, "axis", format!("below {}", dims.len()), axis));
        };
        let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
        Ok(Self { outer, rows, inner })
    }

    /// The picked rows for a kernel of a device.
    fn on_device(&self, name: &'static str, picks: Vec<u32>, own: bool) -> device::Rows {
        device::Rows { name, outer: self.outer, rows: self.rows, inner: self.inner, picks, own }
    }
}

/// The indices, checked against the number of rows.
fn read_indices(op: &'static str, indices: &Tensor, rank: usize, rows: usize) -> Result<Vec<u32>> {
    if indices.rank() != rank {
        return Err(Error::shape(op, "indices", "of one axis", indices.dims()));
    }
    if indices.dtype() != DType::U32 {
        return Err(Error::argument(op, "indices", "of type u32", indices.dtype().as_str()));
    }
    let indices = indices.flatten_all()?.to_vec1::<u32>()?;
    match indices.iter().find(|&&i| i as usize >= rows) {
        Some(i) => Err(Error::argument(op, "an index", format!("below {rows}"), i)),
        None => Ok(indices),
    }
}

/// Which row of `[outer, rows, inner]` each picked row is.
struct Map {
    sizes: Sizes,
    picks: Arc<Vec<u32>>,
    /// Rows that are picked from each outer slice.
    count: usize,
    /// Whether each outer slice has indices of its own.
    own: bool,
}

impl Map {
    fn new(sizes: Sizes, picks: Vec<u32>, own: bool) -> Self {
        let count = if own { picks.len() / sizes.outer.max(1) } else { picks.len() };
        Self { sizes, picks: Arc::new(picks), count, own }
    }

    fn picks(&self, outer: usize) -> &[u32] {
        if self.own { &self.picks[outer * self.count..][..self.count] } else { &self.picks }
    }

    /// The picked rows.
    fn gather(&self, x: &[f32]) -> Vec<f32> {
        let Sizes { outer, rows, inner } = self.sizes;
        let mut y = Output::new(outer * self.count * inner);
        let out = y.shared();
        let total = outer * self.count;
        let part = (16 * 1024 / inner.max(1)).max(1);
        (0..total.div_ceil(part)).into_par_iter().for_each(|p| {
            for i in p * part..total.min((p + 1) * part) {
                let (o, k) = (i / self.count, i % self.count);
                let row = o * rows + self.picks(o)[k] as usize;
                // SAFETY: each task writes its own rows.
                unsafe { out.slice(i * inner, inner) }.copy_from_slice(&x[row * inner..][..inner]);
            }
        });
        // SAFETY: the rows cover the output.
        unsafe { y.finish() }
    }

    /// `base` (or zeros) with the rows of `source` added where they were picked, in their order.
    fn add_rows(&self, base: Option<&[f32]>, source: &[f32]) -> Vec<f32> {
        let Sizes { outer, rows, inner } = self.sizes;
        let size = rows * inner;
        let mut y = Output::new(outer * size);
        let out = y.shared();
        let shared = (!self.own && outer > 0).then(|| order(self.picks(0), rows));
        // A task sums whole rows: nothing depends on who does which.
        let per_slice = rows.div_ceil((8 * 1024 / inner.max(1)).max(1)).max(1);
        let part = rows.div_ceil(per_slice).max(1);
        let orders: Vec<_> = (0..if self.own { outer } else { 0 })
            .into_par_iter()
            .map(|o| order(self.picks(o), rows))
            .collect();
        (0..outer * per_slice).into_par_iter().for_each(|task| {
            let (o, first) = (task / per_slice, task % per_slice * part);
            let Some((starts, sources)) = shared.as_ref().or_else(|| orders.get(o)) else { return };
            for row in first.min(rows)..rows.min(first + part) {
                // SAFETY: each task writes its own rows.
                let y = unsafe { out.slice(o * size + row * inner, inner) };
                match base {
                    Some(base) => y.copy_from_slice(&base[o * size + row * inner..][..inner]),
                    None => y.fill(0.0),
                }
                for &k in &sources[starts[row] as usize..starts[row + 1] as usize] {
                    let from = &source[(o * self.count + k as usize) * inner..][..inner];
                    y.iter_mut().zip(from).for_each(|(y, x)| *y += x);
                }
            }
        });
        // SAFETY: the rows of all slices cover the output.
        unsafe { y.finish() }
    }
}

/// For each row where its entries start, and the entries: who picked it, in order (a counting sort).
pub(crate) fn order(picks: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; rows + 1];
    for &row in picks {
        starts[row as usize + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    let mut next = starts.clone();
    let mut entries = vec![0u32; picks.len()];
    for (k, &row) in picks.iter().enumerate() {
        let next = &mut next[row as usize];
        entries[*next as usize] = k as u32;
        *next += 1;
    }
    (starts, entries)
}

struct Gather {
    name: &'static str,
    map: Map,
    shape: Shape,
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.map.gather(inputs[0]), self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Values(self.map.add_rows(None, dy))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

struct Scatter {
    map: Map,
    shape: Shape,
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.map.add_rows(Some(inputs[0]), inputs[1]), self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Output, Gradient::when(wanted[1], || self.map.gather(dy))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}
