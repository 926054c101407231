//! The likelihood of a conditional model as a function of its parameters.

use candle_core::{DType, Tensor, Var};
use halocast_core::{Rng, RngState};

use crate::{Cond, Error, LogProb, Result};

/// $\ln p(\theta) + \sum_i \ln p(x_i | \theta)$ of events `x` `[n, ..]` under a conditional model, and its gradient, as
/// [`super::hmc`] takes it. `prior` gives ln p(theta) and its gradient; where the first is not finite, the model is not
/// asked.
///
/// The state of `rng` is the same at each call: where a density is found by random directions, they are common to all
/// parameters.
pub fn likelihood<'a>(
    model: &'a dyn LogProb,
    x: &'a Tensor,
    prior: impl Fn(&[f64]) -> (f64, Vec<f64>) + 'a,
    rng: RngState,
) -> impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)> + 'a {
    move |theta| {
        let (value, gradient) = prior(theta);
        if !value.is_finite() {
            return Ok((f64::NEG_INFINITY, vec![0.0; theta.len()]));
        }
        let row = Tensor::from_slice(theta, (1, theta.len()), x.device())?.to_dtype(x.dtype())?;
        let row = Var::from_tensor(&row)?;
        let n = x.dims().first().copied().unwrap_or(0);
        let cond = Cond::Vector(row.as_tensor().broadcast_as((n, theta.len()))?.contiguous()?);
        let total = model.log_prob(x, Some(&cond), &mut Rng::from_state(rng))?.sum_all()?;
        let store = total.backward()?;
        let slope = store.get(&row).ok_or_else(|| Error::Config {
            model: "likelihood",
            field: "model".into(),
            expected: "a density that depends on its condition".into(),
            got: "no gradient".into(),
        })?;
        let slope = slope.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let total = total.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok((value + total, gradient.iter().zip(slope).map(|(a, b)| a + b).collect()))
    }
}
