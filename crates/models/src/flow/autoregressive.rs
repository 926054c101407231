//! Autoregressive layers: each feature is moved and scaled by what the features before it say.

use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use halocast_kernels::{Activation, softplus};

use super::Layer;
use super::coupling::LEAST_SCALE;
use super::layer::{check_features, no_volume};
use super::made::{Made, MaskedMlp};
use super::residual::ResidualShape;
use crate::sampling::sum_event;
use crate::{Bijection, Result};

enum Net {
    Made(Made),
    Masked(MaskedMlp),
}

/// A masked autoregressive layer:
///
/// $$ z_i = s_i x_i + t_i, \qquad (s_i, t_i) = \text{net}_i(x_{<i}, c), \qquad \ln |\det| = \sum_i \ln s_i. $$
///
/// The forward pass is one evaluation of the network, the inverse one for each feature.
///
/// # Source
/// Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057, equations 3 to 5.
///
/// # Differences
/// The scale is that of the code whose names the parameters have: $\ln(1 + e^u) + 10^{-3}$ in nflows,
/// $\ln s = u / (1 + |u / \ln 10^{-3}|)$ in zuko.
pub struct MaskedAffine {
    net: Net,
    features: usize,
}

impl MaskedAffine {
    /// The layer of nflows, in the order of the features; parameters below `autoregressive_net`.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn made(features: usize, shape: &ResidualShape, residual: bool, vb: VarBuilder) -> Result<Self> {
        let made = Made::new(features, 2, shape, residual, vb.pp("autoregressive_net"))?;
        Ok(Self { net: Net::Made(made), features })
    }

    /// The layer of zuko: feature i is in place `order[i]`; parameters below `hyper`.
    ///
    /// # Errors
    /// As [`MaskedMlp::new`].
    pub fn masked_mlp(
        order: &[usize],
        context: usize,
        widths: &[usize],
        activation: Activation,
        vb: VarBuilder,
    ) -> Result<Self> {
        let net = MaskedMlp::new(order, context, 2, widths, activation, vb.pp("hyper"))?;
        Ok(Self { net: Net::Masked(net), features: order.len() })
    }

    /// The network of the layer of zuko.
    pub fn network(&self) -> Option<&MaskedMlp> {
        match &self.net {
            Net::Made(_) => None,
            Net::Masked(net) => Some(net),
        }
    }

    /// Scale, its logarithm, and shift, each `[n, feature]`.
    fn maps(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor, Tensor)> {
        check_features(x, self.features)?;
        let part = |theta: &Tensor, i: usize| -> Result<Tensor> {
            let theta = theta.reshape((x.dims()[0], self.features, 2))?;
            Ok(theta.narrow(D::Minus1, i, 1)?.squeeze(D::Minus1)?.contiguous()?)
        };
        match &self.net {
            Net::Made(net) => {
                let theta = net.forward(x, cond)?;
                let scale = (softplus(&part(&theta, 0)?)? + LEAST_SCALE)?;
                Ok((scale.clone(), scale.log()?, part(&theta, 1)?))
            }
            Net::Masked(net) => {
                let theta = net.forward(x, cond)?;
                let u = part(&theta, 1)?;
                let bend = u.abs()?.affine(1.0 / LEAST_SCALE.ln().abs(), 1.0)?;
                let log_scale = (u / bend)?;
                Ok((log_scale.exp()?, log_scale, part(&theta, 0)?))
            }
        }
    }
}

impl Bijection for MaskedAffine {
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (scale, log_scale, shift) = self.maps(x, cond)?;
        Ok((((x * scale)? + shift)?, sum_event(&log_scale)?))
    }

    /// Feature after feature: each pass makes one more of them right.
    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let mut x = z.zeros_like()?;
        let mut volume = no_volume(z)?;
        for _ in 0..self.features {
            let (scale, log_scale, shift) = self.maps(&x, cond)?;
            x = ((z - shift)? / scale)?;
            volume = sum_event(&log_scale)?.neg()?;
        }
        Ok((x, volume))
    }
}

impl Layer for MaskedAffine {}
