//! Coupling layers: some features change by a function whose parameters the others give.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::sigmoid;

use super::layer::{check_features, no_volume, select};
use super::residual::{ResidualNet, ResidualShape};
use super::spline::{SplineShape, spline, spline_inverse};
use super::{Layer, Permutation};
use crate::sampling::{check_config, sum_event};
use crate::{Bijection, Result};

/// What a coupling does to a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Coupler {
    /// $y = x + t$: no change of volume.
    Additive,
    /// $y = s x + t$ with $s = \sigma(u + 2) + 10^{-3}$.
    Affine,
    /// A monotonic rational-quadratic spline between $\pm B$, the identity beyond.
    Spline(SplineShape),
}

/// The least scale of an affine map.
pub(super) const LEAST_SCALE: f64 = 1e-3;

/// A coupling layer:
///
/// $$ y_I = x_I, \qquad y_T = g(x_T; \theta(x_I, c)), \qquad
///    \ln |\det| = \sum_{i \in T} \ln |\partial g_i / \partial x_i|. $$
///
/// Along the second axis the features $I$ stay and the features $T$ change; of maps these are channels.
///
/// # Source
/// Dinh et al. 2017, arXiv:1605.08803, equations 4 and 5 (affine); Durkan et al. 2019, arXiv:1906.04032, section 3
/// (spline); in the form of nflows.
///
/// # Differences
/// From Dinh et al.: the scale is $\sigma(u + 2) + 10^{-3}$ instead of $e^{\tanh}$, as in nflows.
pub struct Coupling {
    stay: Vec<u32>,
    change: Vec<u32>,
    /// Joins the two parts again.
    order: Permutation,
    net: ResidualNet,
    coupler: Coupler,
    hidden: usize,
}

impl Coupling {
    /// A coupling of `features` features, or channels of maps, of which those of `change` change.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when no feature stays or changes, or a spline is to act on maps.
    pub fn new(
        features: usize,
        change: &[usize],
        coupler: Coupler,
        shape: &ResidualShape,
        map: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let stay: Vec<usize> = (0..features).filter(|i| !change.contains(i)).collect();
        let some = !stay.is_empty() && !change.is_empty();
        let spline = matches!(coupler, Coupler::Spline(_));
        check_config(
            "coupling",
            [
                ("features", some, "at least one that stays and one that changes", features.to_string()),
                ("coupler", !(map && spline), "no spline on maps", format!("{coupler:?}")),
            ],
        )?;
        let joined = [&stay[..], change].concat();
        let mut order = vec![0; joined.len()];
        for (i, &feature) in joined.iter().enumerate() {
            if let Some(slot) = order.get_mut(feature) {
                *slot = i;
            }
        }
        let each = match coupler {
            Coupler::Additive => 1,
            Coupler::Affine => 2,
            Coupler::Spline(spline) => spline.parameters(),
        };
        let vb = vb.pp("transform_net");
        let net = ResidualNet::new(stay.len(), change.len() * each, shape, map, vb)?;
        let narrow = |indices: &[usize]| indices.iter().map(|&i| i as u32).collect();
        Ok(Self {
            stay: narrow(&stay),
            change: narrow(change),
            order: Permutation::new(&order)?,
            net,
            coupler,
            hidden: shape.hidden,
        })
    }

    /// The features that change.
    pub fn changed(&self) -> &[u32] {
        &self.change
    }

    fn apply(&self, x: &Tensor, cond: Option<&Tensor>, inverse: bool) -> Result<(Tensor, Tensor)> {
        check_features(x, self.stay.len() + self.change.len())?;
        let (stay, change) = (select(x, &self.stay)?, select(x, &self.change)?);
        let theta = self.net.forward(&stay, cond)?;
        let count = self.change.len();
        let (changed, volume) = match self.coupler {
            Coupler::Additive if inverse => ((change - theta)?, no_volume(x)?),
            Coupler::Additive => ((change + theta)?, no_volume(x)?),
            Coupler::Affine => {
                let shift = theta.narrow(1, 0, count)?;
                let scale = (sigmoid(&(theta.narrow(1, count, count)? + 2.0)?)? + LEAST_SCALE)?;
                let volume = sum_event(&scale.log()?)?;
                if inverse {
                    (((change - shift)? / scale)?, volume.neg()?)
                } else {
                    (((change * scale)? + shift)?, volume)
                }
            }
            Coupler::Spline(shape) => {
                let theta = theta.reshape((x.dims()[0], count, shape.parameters()))?;
                let pieces = shape.pieces(&theta, (self.hidden as f64).sqrt())?;
                let (y, volume) = if inverse {
                    spline_inverse(&change, &pieces, shape)?
                } else {
                    spline(&change, &pieces, shape)?
                };
                (y, sum_event(&volume)?)
            }
        };
        let joined = Tensor::cat(&[&stay, &changed], 1)?;
        Ok((self.order.forward(&joined, None)?.0, volume))
    }
}

impl Bijection for Coupling {
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        self.apply(x, cond, false)
    }

    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        self.apply(z, cond, true)
    }
}

impl Layer for Coupling {}
