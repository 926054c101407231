//! Changing the resolution of lines, maps and cubes.

use candle_core::{DType, Tensor};

use crate::Result;

/// [`crate::upsample_nearest2x`].
///
/// # Errors
/// As there.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let x = x.reshape((n, c, h, 1, w, 1))?.broadcast_as((n, c, h, 2, w, 2))?;
    Ok(x.reshape((n, c, 2 * h, 2 * w))?)
}

/// [`crate::upsample_nearest`].
///
/// # Errors
/// As there.
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    along_axes(x, |x, outer, len, inner| {
        let x = x.reshape((outer, len, 1, inner))?.broadcast_as((outer, len, factor, inner))?;
        Ok(x.reshape((outer, len * factor, inner))?)
    })
}

/// [`crate::average_pool`].
///
/// # Errors
/// As there.
pub fn average_pool(x: &Tensor, size: usize) -> Result<Tensor> {
    along_axes(x, |x, outer, len, inner| {
        let x = x.narrow(1, 0, len / size * size)?.contiguous()?.reshape((outer, len / size, size, inner))?;
        Ok(x.mean(2)?)
    })
}

/// [`crate::upsample_linear`].
///
/// # Errors
/// As there.
pub fn upsample_linear(x: &Tensor, factor: usize) -> Result<Tensor> {
    along_axes(x, |x, _, len, _| {
        let position = |i: usize| ((i as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let rows = len * factor;
        let below: Vec<u32> = (0..rows).map(|i| position(i) as u32).collect();
        let above: Vec<u32> = below.iter().map(|&i| (i + 1).min(len as u32 - 1)).collect();
        let weights: Vec<f64> = (0..rows).map(|i| position(i).fract()).collect();
        let weights = Tensor::from_vec(weights, (1, rows, 1), x.device())?.to_dtype(x.dtype())?;
        let take = |index: Vec<u32>| x.index_select(&Tensor::from_vec(index, rows, x.device())?, 1);
        let (below, above) = (take(below)?, take(above)?);
        Ok((&below + (above - &below)?.broadcast_mul(&weights)?)?)
    })
}

/// [`crate::pixel_shuffle`].
///
/// # Errors
/// As there.
pub fn pixel_shuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let c = c / (factor * factor);
    let x = x.reshape(vec![n, c, factor, factor, h, w])?.permute(vec![0, 1, 4, 2, 5, 3])?.contiguous()?;
    Ok(x.reshape((n, c, h * factor, w * factor))?)
}

/// [`crate::pixel_unshuffle`].
///
/// # Errors
/// As there.
pub fn pixel_unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / factor, w / factor);
    let x = x.reshape(vec![n, c, h, factor, w, factor])?.permute(vec![0, 1, 3, 5, 2, 4])?.contiguous()?;
    Ok(x.reshape((n, c * factor * factor, h, w))?)
}

/// [`crate::max_pool2d`].
///
/// # Errors
/// As there.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    // One index a window and tap, found outside the graph; the numbers are gathered within it.
    let (oh, ow) = ((h + 2 * padding - kernel) / stride + 1, (w + 2 * padding - kernel) / stride + 1);
    let values = x.detach().to_dtype(DType::F64)?.to_device(&candle_core::Device::Cpu)?;
    let values = values.reshape((n * c, h * w))?.to_vec2::<f64>()?;
    let mut index = Vec::with_capacity(n * c * oh * ow);
    for plane in &values {
        for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
            let rows = (i * stride).saturating_sub(padding)..(i * stride + kernel - padding).min(h);
            let columns = (j * stride).saturating_sub(padding)..(j * stride + kernel - padding).min(w);
            let taps = rows.flat_map(|y| columns.clone().map(move |x| y * w + x));
            let best = taps.reduce(|a, b| if plane[b] > plane[a] { b } else { a });
            index.push(best.unwrap_or(0) as u32);
        }
    }
    let index = Tensor::from_vec(index, (n * c, oh * ow), x.device())?;
    Ok(x.reshape((n * c, h * w))?.gather(&index, 1)?.reshape((n, c, oh, ow))?)
}

/// Applies a map of `[outer, axis, inner]` along every axis after the first two.
fn along_axes(x: &Tensor, map: impl Fn(&Tensor, usize, usize, usize) -> Result<Tensor>) -> Result<Tensor> {
    let mut x = x.clone();
    for axis in 2..x.rank() {
        let mut dims = x.dims().to_vec();
        let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
        let y = map(&x.contiguous()?.reshape((outer, dims[axis], inner))?, outer, dims[axis], inner)?;
        dims[axis] = y.dim(1)?;
        x = y.reshape(dims)?;
    }
    Ok(x)
}
