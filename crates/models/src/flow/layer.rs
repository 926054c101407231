//! A layer of a flow, and layers in a row.

use candle_core::{DType, Tensor};
use halocast_kernels::index_select;

use crate::{Bijection, Error, Parameters, Result};

/// A bijection that is part of a flow.
pub trait Layer: Bijection + Send + Sync {
    /// Sets parameters that are to begin at values that the data give; most layers have none. `x` is the first batch.
    ///
    /// # Errors
    /// When shapes do not fit or a tensor operation fails.
    fn initialise(&self, x: &Tensor, cond: Option<&Tensor>, parameters: &Parameters) -> Result<()> {
        let _ = (x, cond, parameters);
        Ok(())
    }
}

/// Layers one after another: $f = f_L \circ \dots \circ f_1$, whose logarithms of volume add up.
pub struct Composite {
    layers: Vec<Box<dyn Layer>>,
}

impl Composite {
    /// The layers in the order from data to noise.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        Self { layers }
    }
}

impl Bijection for Composite {
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let start = (x.clone(), no_volume(x)?);
        self.layers.iter().try_fold(start, |(x, volume), layer| {
            let (z, more) = layer.forward(&x, cond)?;
            Ok((z, (volume + more)?))
        })
    }

    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let start = (z.clone(), no_volume(z)?);
        self.layers.iter().rev().try_fold(start, |(z, volume), layer| {
            let (x, more) = layer.inverse(&z, cond)?;
            Ok((x, (volume + more)?))
        })
    }
}

impl Layer for Composite {
    fn initialise(&self, x: &Tensor, cond: Option<&Tensor>, parameters: &Parameters) -> Result<()> {
        let mut x = x.clone();
        for layer in &self.layers {
            layer.initialise(&x, cond, parameters)?;
            x = layer.forward(&x, cond)?.0.detach();
        }
        Ok(())
    }
}

/// The logarithm of no change of volume, `[n]` zeros.
pub(super) fn no_volume(x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::zeros(x.dims().first().copied().unwrap_or(0), x.dtype(), x.device())?)
}

/// Features, or channels of maps, in another order: $z_i = x_{p_i}$ along the second axis.
pub struct Permutation {
    order: Vec<u32>,
    back: Vec<u32>,
}

impl Permutation {
    /// The permutation with $p$ = `order`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is none.
    pub fn new(order: &[usize]) -> Result<Self> {
        let mut back = vec![u32::MAX; order.len()];
        for (i, &from) in order.iter().enumerate() {
            match back.get_mut(from) {
                Some(slot) if *slot == u32::MAX => *slot = i as u32,
                _ => {
                    return Err(Error::Config {
                        model: "flow",
                        field: "permutation".into(),
                        expected: format!("each of 0 to {} once", order.len().saturating_sub(1)),
                        got: format!("{order:?}"),
                    });
                }
            }
        }
        Ok(Self { order: order.iter().map(|&i| i as u32).collect(), back })
    }

    /// The reversal of `features` features.
    pub fn reverse(features: usize) -> Self {
        let order: Vec<u32> = (0..features as u32).rev().collect();
        Self { back: order.clone(), order }
    }
}

impl Bijection for Permutation {
    fn forward(&self, x: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_features(x, self.order.len())?;
        Ok((select(x, &self.order)?, no_volume(x)?))
    }

    fn inverse(&self, z: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_features(z, self.order.len())?;
        Ok((select(z, &self.back)?, no_volume(z)?))
    }
}

impl Layer for Permutation {}

/// The entries of the second axis that `indices` name.
pub(super) fn select(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    Ok(index_select(x, &Tensor::from_slice(indices, indices.len(), x.device())?, 1)?)
}

/// A constant of a type and on a device.
pub(super) fn constant(values: Vec<f64>, shape: &[usize], like: &Tensor) -> Result<Tensor> {
    let tensor = Tensor::from_vec(values, shape, like.device())?;
    Ok(if like.dtype() == DType::F64 { tensor } else { tensor.to_dtype(like.dtype())? })
}

/// Checks that the second axis holds so many features or channels.
///
/// # Errors
/// [`Error::Shape`] otherwise.
pub(super) fn check_features(x: &Tensor, features: usize) -> Result<()> {
    if x.rank() >= 2 && x.dims()[1] == features {
        return Ok(());
    }
    Err(Error::Shape {
        operation: "flow",
        what: "input of a layer".into(),
        expected: format!("[n, {features}, ..]"),
        got: x.dims().to_vec(),
    })
}
