//! Penalties on the slope of a critic.

use candle_core::{DType, Tensor, Var};
use halocast_kernels::{concat_channels, record};
use serde::{Deserialize, Serialize};

use super::Critic;
use crate::{Error, Result};

/// Added to each element of a gradient before its length is taken, as in the reference code: the length is never zero.
const TINY: f64 = 1e-16;

/// A penalty on $g = \nabla_x D(x)$, a mean over examples.
///
/// # How it is differentiated
/// The penalty P(|g|) depends on the parameters $\theta$ through a gradient, and the operations of this house are
/// differentiable once. But with the direction v of g held fixed,
///
/// $$ \nabla_\theta P(|g|) = P'(|g|)\, \nabla_\theta (v \cdot \nabla_x D) = P'(|g|)\, \nabla_\theta \left.\frac{d}{ds} D(x + s v)\right|_{s=0}, \quad v = g / |g|, $$
///
/// since the change of $|g|$ is that of g along its own direction. So one backward pass gives g, and the derivative along
/// v, which [`Critic::tangent`] computes forwards by differentiable operations, stands in for $|g|$ where the parameters'
/// gradient is taken. The result is exact, at the cost of about three more passes of the critic.
///
/// # Source
/// Gulrajani et al. 2017, arXiv:1704.00028, equation 3; Mescheder et al. 2018, arXiv:1801.04406, equation 9.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// None.
    None,
    /// Weight times $(|g| - 1)^2$, between data and fakes: keeps a Wasserstein critic near Lipschitz.
    Gradient(f64),
    /// Half the weight times $|g|^2$, at the data: makes the plain game converge.
    Zero(f64),
}

impl Penalty {
    pub(super) fn weight(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Gradient(weight) | Self::Zero(weight) => weight,
        }
    }

    /// The penalty of `critic` at `x` `[batch, channel, y, x]`, a scalar, and g, `[batch, channel, y, x]`. The channels of
    /// `condition` follow those of `x`; g is not taken by them. Where the critic gives a map, D is its sum.
    ///
    /// # Errors
    /// [`Error::Config`] when the critic mixes examples; [`Error::Shape`] when `x` does not fit.
    pub fn of(
        self,
        critic: &Critic,
        x: &Tensor,
        condition: Option<&Tensor>,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        let w = self.weight();
        match self {
            Self::Gradient(_) => gradient_penalty(critic, x, condition, train, (w, 1.0)),
            Self::None | Self::Zero(_) => penalise(critic, x, condition, train, &|length| {
                Ok(((length.sqr()? * (0.5 * w))?, (length.ones_like()? * w)?))
            }),
        }
    }
}

/// The weight times $(|g| - t)^2$ for any target t, as [`Penalty::of`] gives it for 1; the last argument is weight and
/// target.
///
/// # Errors
/// As there.
pub fn gradient_penalty(
    critic: &Critic,
    x: &Tensor,
    condition: Option<&Tensor>,
    train: bool,
    (weight, target): (f64, f64),
) -> Result<(Tensor, Tensor)> {
    penalise(critic, x, condition, train, &|length| {
        let excess = (length - target)?;
        Ok(((excess.sqr()? * weight)?, ((excess / length)? * (2.0 * weight))?))
    })
}

/// P(|g|), and its derivative divided by |g|, by which g is that times v.
type Rule<'a> = &'a dyn Fn(&Tensor) -> Result<(Tensor, Tensor)>;

fn penalise(
    critic: &Critic,
    x: &Tensor,
    condition: Option<&Tensor>,
    train: bool,
    rule: Rule<'_>,
) -> Result<(Tensor, Tensor)> {
    let frozen = critic.detached()?;
    let join = |x: &Tensor, c: Option<&Tensor>| -> Result<Tensor> {
        c.map_or_else(|| Ok(x.clone()), |c| Ok(concat_channels(x, &c.detach())?))
    };
    let n = x.dims().first().copied().unwrap_or(0).max(1);
    let at = Var::from_tensor(&x.detach().contiguous()?)?;
    // A batch normalisation that trains is refused below; any other gives the same value either way.
    let (y, tape) = record(|| frozen.forward(&join(&at, condition)?, false))?;
    let g = tape.backward(&y)?.remove(&at).ok_or_else(|| Error::Shape {
        operation: "gradient penalty",
        what: "x".into(),
        expected: "what the critic depends on".into(),
        got: x.dims().to_vec(),
    })?;
    let g = (g.detach() + TINY)?;
    let length = g.sqr()?.flatten_from(1)?.sum(1)?.sqrt()?;
    let (value, slope) = rule(&length)?;
    let v = g.broadcast_mul(&slope.reshape((length.elem_count(), 1, 1, 1))?)?;
    let still = condition.map(Tensor::zeros_like).transpose()?;
    let (_, along) =
        critic.tangent(&join(&at.as_detached_tensor(), condition)?, &join(&v, still.as_ref())?, train)?;
    let along = (along.sum_all()? / n as f64)?;
    let value = value.mean_all()?;
    Ok(((value + (&along - along.detach())?)?, g))
}

/// Between each example of two batches, at the fraction `of` of the first: `a` t + `b` (1 - t), `[batch, channel, y, x]`.
///
/// # Errors
/// When shapes do not fit.
pub fn between(a: &Tensor, b: &Tensor, of: &[f64]) -> Result<Tensor> {
    let mut shape = vec![1; a.rank().max(1)];
    shape[0] = of.len();
    let t = Tensor::from_slice(of, shape, a.device())?.to_dtype(DType::F64)?.to_dtype(a.dtype())?;
    Ok((b + (a - b)?.broadcast_mul(&t)?)?)
}
