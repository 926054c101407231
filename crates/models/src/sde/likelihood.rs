//! The density of the events that an ordinary differential equation makes from noise.

use candle_core::{DType, Tensor, Var};
use halocast_core::Rng;
use serde::{Deserialize, Serialize};

use super::Rk45;
use crate::batches::normals;
use crate::{Error, Result};

/// The velocity dx/dt of each event of `x` `[n, ...]` at its time.
pub type Velocity<'a> = dyn Fn(&Tensor, &[f64]) -> Result<Tensor> + 'a;

/// How the divergence of a velocity, the trace of its Jacobian J, is found. Every direction e costs one backward pass,
/// whose vector-Jacobian product $e^T J$ is contracted with e again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Divergence {
    /// The mean of $e^T J e$ over directions of independent signs (Hutchinson 1990): exact for a diagonal J.
    Rademacher {
        /// The number of directions.
        probes: usize,
    },
    /// The mean of $e^T J e$ over standard normal directions (Grathwohl et al. 2019).
    Gaussian {
        /// The number of directions.
        probes: usize,
    },
    /// The sum over all directions of the axes: exact, for as many backward passes as an event has numbers.
    Exact,
}

impl Default for Divergence {
    fn default() -> Self {
        Self::Rademacher { probes: 1 }
    }
}

impl Divergence {
    /// The directions for events like `x` `[n, ...]` and the weight of each: the same at every time of an integration.
    /// Each event draws its own from a stream of `rng`.
    ///
    /// # Errors
    /// [`Error::Config`] when there are no directions.
    pub fn directions(&self, x: &Tensor, rng: &mut Rng) -> Result<(Vec<Tensor>, f64)> {
        let (n, event) = (x.dims()[0], &x.dims()[1..]);
        let size: usize = event.iter().product();
        let (probes, signs) = match *self {
            Self::Exact => {
                let axis = |k: usize| -> Result<Tensor> {
                    let values: Vec<f32> =
                        (0..n * size).map(|i| f32::from(u8::from(i % size == k))).collect();
                    Ok(Tensor::from_vec(values, x.dims(), x.device())?.to_dtype(x.dtype())?)
                };
                return Ok(((0..size).map(axis).collect::<Result<_>>()?, 1.0));
            }
            Self::Rademacher { probes } => (probes, true),
            Self::Gaussian { probes } => (probes, false),
        };
        if probes == 0 {
            return Err(Error::Config {
                model: "likelihood",
                field: "probes".into(),
                expected: "at least 1".into(),
                got: "0".into(),
            });
        }
        let key = Rng::new(rng.next_u64());
        let mut streams: Vec<Rng> = (0..n).map(|i| key.split(i as u64)).collect();
        let draw = |_| -> Result<Tensor> {
            let e = normals(&mut streams, event, x.dtype(), x.device())?;
            Ok(if signs { (e.ge(0.0)?.to_dtype(x.dtype())? * 2.0)?.affine(1.0, -1.0)? } else { e })
        };
        Ok(((0..probes).map(draw).collect::<Result<_>>()?, 1.0 / probes as f64))
    }
}

/// How a likelihood is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Likelihood {
    /// How the divergence is found.
    pub divergence: Divergence,
    /// The solver and its tolerances.
    pub solver: Rk45,
    /// The time nearest to the data, below which a score is not trusted: the density is that of the events at this time.
    pub t_min: f64,
}

impl Default for Likelihood {
    fn default() -> Self {
        Self { divergence: Divergence::default(), solver: Rk45::default(), t_min: 1e-5 }
    }
}

/// Where events went along a velocity.
#[derive(Clone, Debug)]
pub struct Transported {
    /// The events at the end, in double precision.
    pub x: Tensor,
    /// The integral of the divergence over time for each event, where directions were given.
    pub divergence: Vec<f64>,
    /// How often the velocity was evaluated.
    pub evaluations: usize,
}

/// Carries events `x` `[n, ...]` along `velocity` over `span` of time, and integrates the divergence over the given
/// directions (none: it is not found, and costs nothing).
///
/// `together` takes all events as one system with one step, as `scipy.integrate` does with a flat state; otherwise each
/// has its own, and does not depend on the others.
///
/// # Errors
/// Those of the velocity and of [`Rk45::solve`].
pub fn flow_transport(
    velocity: &Velocity<'_>,
    x: &Tensor,
    span: (f64, f64),
    directions: &(Vec<Tensor>, f64),
    solver: &Rk45,
    together: bool,
) -> Result<Transported> {
    let (n, size) = (x.dims()[0], x.dims()[1..].iter().product::<usize>());
    // The state of an event is its numbers, and the integral behind them.
    let extra = usize::from(!directions.0.is_empty());
    let each = size + extra;
    let values: Vec<f64> = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let state: Vec<f64> = values
        .chunks(size.max(1))
        .flat_map(|e| e.iter().copied().chain(std::iter::repeat_n(0.0, extra)))
        .collect();
    let events = |y: &[f64]| -> Result<Tensor> {
        let flat: Vec<f64> = y.chunks(each).flat_map(|e| e[..size].iter().copied()).collect();
        Ok(Tensor::from_vec(flat, x.dims(), x.device())?)
    };
    let mut slopes = |t: &[f64], y: &[f64]| -> Result<Vec<f64>> {
        let times = if together { vec![t[0]; n] } else { t.to_vec() };
        let at = events(y)?.to_dtype(x.dtype())?;
        let (v, divergence) = if extra == 0 {
            (velocity(&at, &times)?, vec![])
        } else {
            with_divergence(velocity, &at, &times, directions)?
        };
        let v: Vec<f64> = v.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let tail = |i: usize| divergence.get(i).copied();
        Ok(v.chunks(size.max(1)).enumerate().flat_map(|(i, e)| e.iter().copied().chain(tail(i))).collect())
    };
    let systems = if together { 1 } else { n };
    let end = solver.solve(span, state, systems, &mut slopes)?;
    let divergence = if extra == 0 { vec![] } else { end.y.chunks(each).map(|e| e[size]).collect() };
    Ok(Transported { x: events(&end.y)?, divergence, evaluations: end.evaluations })
}

/// The velocity and its divergence for each event.
fn with_divergence(
    velocity: &Velocity<'_>,
    x: &Tensor,
    t: &[f64],
    (directions, weight): &(Vec<Tensor>, f64),
) -> Result<(Tensor, Vec<f64>)> {
    let x = Var::from_tensor(x)?;
    let v = velocity(&x, t)?;
    let mut divergence = vec![0.0; t.len()];
    for e in directions {
        // One pass serves all events: the velocity of one does not depend on another.
        let gradients = (&v * e)?.sum_all()?.backward()?;
        let Some(product) = gradients.get(&x) else { continue };
        let contracted = (product * e)?.to_dtype(DType::F64)?.flatten_from(1)?.sum(1)?.to_vec1::<f64>()?;
        divergence.iter_mut().zip(contracted).for_each(|(d, c)| *d += weight * c);
    }
    Ok((v.detach(), divergence))
}

/// ln p of events `x` `[n, ...]` at time `span.0` under the flow of `velocity` from the prior at time `span.1`, in nats,
/// `[n]`:
///
/// $$\ln p_0(x_0) = \ln p_1(x_1) + \int_0^1 \nabla \cdot v(x_t, t)\,\mathrm{d}t.$$
///
/// # Source
/// Chen et al. 2018; Grathwohl et al. 2019; Song et al. 2021, eq. 39.
///
/// # Errors
/// Those of the velocity and of [`Rk45::solve`].
pub fn flow_log_prob(
    velocity: &Velocity<'_>,
    prior_log_prob: &dyn Fn(&Tensor) -> Result<Tensor>,
    x: &Tensor,
    span: (f64, f64),
    divergence: Divergence,
    solver: &Rk45,
    rng: &mut Rng,
) -> Result<Tensor> {
    let directions = divergence.directions(x, rng)?;
    let end = flow_transport(velocity, x, span, &directions, solver, false)?;
    let prior = prior_log_prob(&end.x)?;
    let change = Tensor::from_vec(end.divergence, prior.dims(), prior.device())?;
    Ok((prior.to_dtype(DType::F64)? + change)?)
}
