//! Rows picked by index, and rows added by index.

use candle_core::Tensor;

use crate::Result;

/// [`crate::index_select`].
///
/// # Errors
/// As there.
pub fn index_select(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.index_select(indices, axis)?)
}

/// [`crate::gather_rows`].
///
/// # Errors
/// As there.
pub fn gather_rows(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let c = x.dim(2)?;
    let dims: Vec<usize> = indices.dims().iter().copied().chain([c]).collect();
    let examples = (0..x.dim(0)?)
        .map(|b| index_select(&x.get(b)?, &indices.get(b)?.flatten_all()?, 0))
        .collect::<Result<Vec<_>>>()?;
    if examples.is_empty() {
        return Ok(x.reshape(dims)?);
    }
    Ok(Tensor::cat(&examples, 0)?.reshape(dims)?)
}

/// [`crate::scatter_add`].
///
/// # Errors
/// As there.
pub fn scatter_add(x: &Tensor, indices: &Tensor, source: &Tensor, axis: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.index_add(indices, &source.contiguous()?, axis)?)
}
