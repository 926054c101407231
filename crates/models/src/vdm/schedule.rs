//! Noise schedules: the logarithm of the signal-to-noise ratio in time, fixed or learned.

use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use super::flax::{Scope, wide};
use crate::{Error, Result};

/// The form of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// A line between two given values.
    Linear,
    /// A line that begins there and is learned.
    #[default]
    LearnedLinear,
    /// A monotone network, learned.
    LearnedNet,
}

/// A noise schedule, $\gamma(t) = \ln (\alpha_t^2 / \sigma_t^2)$, falling from $\gamma(0)$ to $\gamma(1)$:
///
/// * linear: $\gamma_\mathrm{max} + (\gamma_\mathrm{min} - \gamma_\mathrm{max}) t$,
/// * learned: $b - |w| t$, and with a network of m features
///   $b - |w| t + \frac1m \sum_j |c_j| \big( 2 \sigma(b_j - 2 |a_j| (t - \tfrac12)) - 1 \big)$.
///
/// The derivative, which the bound in continuous time needs, is that of these formulae.
///
/// # Source
/// Kingma et al. 2021, arXiv:2107.00630, appendix H; Cuesta-Lazaro & Mishra-Sharma 2023, arXiv:2311.17141, whose release
/// gives the names. There, as here, $\gamma$ is the logarithm of the ratio itself, of the opposite sign to Kingma's.
pub struct NoiseSchedule {
    form: Form,
}

enum Form {
    Linear { min: f64, max: f64 },
    LearnedLinear { w: Tensor, b: Tensor },
    LearnedNet(Box<Net>),
}

struct Net {
    slope: Tensor,
    offset: Tensor,
    features: (Tensor, Tensor),
    out: Tensor,
}

impl NoiseSchedule {
    /// A schedule that begins as a line from `max` to `min`; its parameters are under `path`, the network has `features`
    /// of them.
    ///
    /// # Errors
    /// [`Error::Config`] when the ends are not in order; others when the builder has no such parameters.
    pub fn new(
        kind: ScheduleKind,
        min: f64,
        max: f64,
        features: usize,
        path: &str,
        vb: VarBuilder,
    ) -> Result<Self> {
        if !(min.is_finite() && max.is_finite() && min < max && features > 0) {
            return Err(Error::Config {
                model: "noise schedule",
                field: "gamma_min, gamma_max and features".into(),
                expected: "finite and ascending, and at least 1".into(),
                got: format!("{min}, {max} and {features}"),
            });
        }
        let scope = Scope::new(vb, path);
        let form = match kind {
            ScheduleKind::Linear => Form::Linear { min, max },
            ScheduleKind::LearnedLinear => Form::LearnedLinear {
                w: scope.get(1, "w", Init::Const(min - max))?,
                b: scope.get(1, "b", Init::Const(max))?,
            },
            ScheduleKind::LearnedNet => {
                let normal = Init::Randn { mean: 0.0, stdev: 0.01 };
                let (l1, l2, l3) = (scope.at("l1"), scope.at("l2"), scope.at("l3"));
                Form::LearnedNet(Box::new(Net {
                    slope: l1.get((1, 1), "kernel", Init::Const(min - max))?,
                    offset: l1.get(1, "bias", Init::Const(max))?,
                    features: (
                        l2.get((1, features), "kernel", normal)?,
                        l2.get(features, "bias", Init::Const(0.0))?,
                    ),
                    out: l3.get((features, 1), "kernel", normal)?,
                }))
            }
        };
        Ok(Self { form })
    }

    /// $\gamma(t)$ and $\gamma'(t)$ of times `[n]`, in double precision where the device has it.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn gamma(&self, t: &Tensor) -> Result<(Tensor, Tensor)> {
        let t = t.to_dtype(wide(t))?;
        let same = |x: &Tensor| -> Result<Tensor> { Ok(x.to_dtype(t.dtype())?.flatten_all()?) };
        let line = |w: &Tensor, b: &Tensor| -> Result<(Tensor, Tensor)> {
            let fall = same(w)?.abs()?.neg()?.broadcast_as(t.shape())?;
            Ok((((&t * &fall)? + same(b)?.broadcast_as(t.shape())?)?, fall))
        };
        match &self.form {
            Form::Linear { min, max } => Ok((
                t.affine(min - max, *max)?,
                Tensor::full(min - max, t.shape(), t.device())?.to_dtype(t.dtype())?,
            )),
            Form::LearnedLinear { w, b } => line(w, b),
            Form::LearnedNet(net) => {
                let (gamma, slope) = line(&net.slope, &net.offset)?;
                let fall = (same(&net.features.0)?.abs()? * -2.0)?.unsqueeze(0)?;
                let height = same(&net.out)?.abs()?.unsqueeze(0)?;
                let m = height.elem_count() as f64;
                let u = (&t - 0.5)?.unsqueeze(1)?.broadcast_mul(&fall)?;
                let s = logistic(&u.broadcast_add(&same(&net.features.1)?.unsqueeze(0)?)?)?;
                let bend = s.affine(2.0, -1.0)?.broadcast_mul(&height)?.sum(D::Minus1)?;
                let change = (&s - s.sqr()?)?.broadcast_mul(&(&height * &fall)?)?.sum(D::Minus1)?;
                Ok(((gamma + (bend / m)?)?, (slope + (change * (2.0 / m))?)?))
            }
        }
    }
}

/// $1 / (1 + e^{-x})$ of small tensors of any type.
pub(super) fn logistic(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// $\sqrt{\sigma(\gamma)}\, x + \sqrt{\sigma(-\gamma)}\, \epsilon$: data `[n, ..]` with noise at log-SNR `gamma [n]`.
///
/// # Errors
/// When shapes differ.
pub fn variance_preserving(x: &Tensor, gamma: &Tensor, noise: &Tensor) -> Result<Tensor> {
    let column = |g: Tensor| -> Result<Tensor> {
        let mut shape = vec![1; x.rank()];
        shape[0] = g.elem_count();
        Ok(logistic(&g)?.sqrt()?.reshape(shape)?.to_dtype(x.dtype())?)
    };
    let (alpha, sigma) = (column(gamma.clone())?, column(gamma.neg()?)?);
    Ok((x.broadcast_mul(&alpha)? + noise.broadcast_mul(&sigma)?)?)
}

/// The sinusoids of a time `[n]`: $\sin$ and $\cos$ of $1000\, t\, 10^{-4 j / (h - 1)}$ for $j < h = \lfloor d / 2 \rfloor$, and a
/// zero behind where d is odd: `[n, d]`, in double precision where the device has it.
///
/// # Errors
/// [`Error::Config`] when `dim` is below 4; others when a tensor operation fails.
pub fn time_embedding(t: &Tensor, dim: usize) -> Result<Tensor> {
    if dim < 4 {
        return Err(Error::Config {
            model: "time embedding",
            field: "d_t_embedding".into(),
            expected: "at least 4".into(),
            got: dim.to_string(),
        });
    }
    let t = t.to_dtype(wide(t))?;
    let half = dim / 2;
    let rate = |j: usize| 1e3 * (-(1e4f64.ln()) * j as f64 / (half - 1) as f64).exp();
    let rates =
        Tensor::from_vec((0..half).map(rate).collect(), (1, half), t.device())?.to_dtype(t.dtype())?;
    let angle = t.unsqueeze(1)?.broadcast_mul(&rates)?;
    let both = Tensor::cat(&[angle.sin()?, angle.cos()?], 1)?;
    Ok(if dim % 2 == 1 { both.pad_with_zeros(1, 0, 1)? } else { both })
}
