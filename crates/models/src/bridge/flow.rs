//! Flow matching: a velocity from noise to data.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::pair::{check_size, fields, noise_like, single, steps_asked, uniforms};
use crate::batches::{check_condition, column, in_batches, normals};
use crate::sde::{Likelihood, Rk45, Velocity, flow_log_prob, flow_transport};
use crate::unet::{UNet, UNetConfig};
use crate::{
    Cond, CondSpec, Configured, Error, ExampleSpec, Generative, LogProb, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

const MODEL: &str = "flow matching";

/// How dx/dt = v(x, t) is followed from t = 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FlowSolver {
    /// Equal steps of Euler, of first order, one evaluation each.
    Euler {
        /// Their number.
        steps: usize,
    },
    /// Equal steps of the midpoint rule, of second order, two evaluations each.
    Midpoint {
        /// Their number.
        steps: usize,
    },
    /// Steps that adapt, of fifth order.
    Adaptive(Rk45),
}

impl Default for FlowSolver {
    fn default() -> Self {
        Self::Midpoint { steps: 50 }
    }
}

impl FlowSolver {
    /// The same with another number of steps, where it has one.
    pub(super) fn with_steps(self, steps: Option<usize>) -> Self {
        match (self, steps) {
            (Self::Euler { .. }, Some(steps)) => Self::Euler { steps },
            (Self::Midpoint { .. }, Some(steps)) => Self::Midpoint { steps },
            (other, _) => other,
        }
    }

    /// The number of steps it is known to take.
    pub(super) fn steps(self) -> usize {
        match self {
            Self::Euler { steps } | Self::Midpoint { steps } => steps,
            Self::Adaptive(_) => 1,
        }
    }

    /// Carries `x` `[n, ...]` from t = 0 to 1; `tick` is called after each step.
    ///
    /// # Errors
    /// Those of the velocity and of [`Rk45::solve`].
    pub fn carry(self, velocity: &Velocity<'_>, x: &Tensor, tick: &dyn Fn(usize)) -> Result<Tensor> {
        let n = x.dims().first().copied().unwrap_or(0);
        let (steps, midpoint) = match self {
            Self::Euler { steps } => (steps, false),
            Self::Midpoint { steps } => (steps, true),
            Self::Adaptive(solver) => {
                let end = flow_transport(velocity, x, (0.0, 1.0), &(vec![], 1.0), &solver, false)?;
                tick(0);
                return Ok(end.x.to_dtype(x.dtype())?);
            }
        };
        let h = 1.0 / steps as f64;
        let mut x = x.clone();
        for i in 0..steps {
            let t = i as f64 * h;
            let mut v = velocity(&x, &vec![t; n])?;
            if midpoint {
                v = velocity(&(&x + (v * (0.5 * h))?)?, &vec![t + 0.5 * h; n])?;
            }
            x = (x + (v * h)?)?;
            tick(i);
        }
        Ok(x)
    }
}

/// A flow from noise; the default is the optimal-transport path of Lipman et al. 2023 for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowMatchingConfig {
    /// The network, with parameters or a field as condition if it has them.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// The standard deviation around the data where the path ends; 0 is a rectified flow.
    pub sigma_min: f64,
    /// How events are drawn.
    pub solver: FlowSolver,
    /// How densities are measured; `t_min` is not used: the flow ends at t = 1 exactly.
    pub likelihood: Likelihood,
}

impl Default for FlowMatchingConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            size: [64, 64],
            sigma_min: 1e-4,
            solver: FlowSolver::default(),
            likelihood: Likelihood::default(),
        }
    }
}

/// Flow matching: a network learns the velocity $x_1 - (1 - \sigma_{\min})\,x_0$ of the straight lines
/// $x_t = (1 - (1 - \sigma_{\min}) t)\,x_0 + t\,x_1$ from noise $x_0$ to data $x_1$ by mean squares; its flow carries the
/// one distribution to the other, and has a density.
///
/// # Source
/// Lipman et al. 2023, "Flow matching for generative modeling", eqs. 20 to 23; Liu, Gong & Liu 2023, "Flow straight and
/// fast", for `sigma_min` = 0.
///
/// # Differences
/// The network is the U-Net of this crate with the time label 1000 t.
pub struct FlowMatching {
    config: FlowMatchingConfig,
    network: UNet,
    parameters: Parameters,
    condition: CondSpec,
}

impl FlowMatching {
    /// The configuration.
    pub fn config(&self) -> &FlowMatchingConfig {
        &self.config
    }

    /// v(x, t) of `x` `[n, channel, y, x]` at the time of each event.
    ///
    /// # Errors
    /// When the condition or the shapes do not fit.
    pub fn velocity(&self, x: &Tensor, t: &[f64], cond: Option<&Cond>) -> Result<Tensor> {
        let labels: Vec<f64> = t.iter().map(|t| 1000.0 * t).collect();
        self.network.forward_on(x, &labels, cond)
    }
}

/// Checks the steps of a solver.
pub(super) fn check_solver(model: &'static str, solver: FlowSolver) -> Result<()> {
    if solver.steps() > 0 {
        return Ok(());
    }
    let (field, expected) = ("solver.steps".into(), "at least 1".into());
    Err(Error::Config { model, field, expected, got: "0".into() })
}

impl Configured for FlowMatching {
    type Config = FlowMatchingConfig;

    fn build(config: &FlowMatchingConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        check_size(MODEL, &config.unet, config.size)?;
        check_solver(MODEL, config.solver)?;
        if !(0.0..1.0).contains(&config.sigma_min) || config.unet.channels_out() != config.unet.channels {
            return Err(Error::Config {
                model: MODEL,
                field: "sigma_min and unet.out_channels".into(),
                expected: "in [0, 1), and 0".into(),
                got: format!("{} and {}", config.sigma_min, config.unet.out_channels),
            });
        }
        let condition = config.unet.condition()?;
        let network = UNet::new(&config.unet, vb)?;
        Ok(Self { config: config.clone(), network, parameters, condition })
    }
}

impl Generative for FlowMatching {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.unet.channels, self.config.size[0], self.config.size[1]]
    }

    fn condition(&self) -> CondSpec {
        self.condition
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let event = self.event_shape();
        check_condition(MODEL, self.condition, cond, n, &event)?;
        let solver = self.config.solver.with_steps(steps_asked(options.sampler));
        let dtype = self.parameters.dtype();
        in_batches(n, cond, solver.steps(), options, rng, |mut draw| {
            let start = normals(&mut draw.streams, &event, dtype, self.parameters.device())?;
            let cond = draw.cond.as_ref();
            let velocity = |x: &Tensor, t: &[f64]| Ok(self.velocity(x, t, cond)?.detach());
            Ok(solver.carry(&velocity, &start, draw.tick)?.to_dtype(DType::F32)?)
        })
    }
}

impl LogProb for FlowMatching {
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, rng: &mut Rng) -> Result<Tensor> {
        let event = self.event_shape();
        let n = x.dims().first().copied().unwrap_or(0);
        if x.rank() != 4 || x.dims()[1..] != event[..] || n == 0 {
            return Err(Error::Shape {
                operation: "density of a flow",
                what: "x".into(),
                expected: format!("[n, {}, {}, {}]", event[0], event[1], event[2]),
                got: x.dims().to_vec(),
            });
        }
        check_condition(MODEL, self.condition, cond, n, &event)?;
        let Likelihood { divergence, solver, .. } = self.config.likelihood;
        let x = x.to_dtype(self.parameters.dtype())?;
        let velocity = |x: &Tensor, t: &[f64]| self.velocity(x, t, cond);
        let prior = |z: &Tensor| -> Result<Tensor> {
            let z = z.to_dtype(DType::F64)?.flatten_from(1)?;
            let norm = 0.5 * z.dims()[1] as f64 * (2.0 * std::f64::consts::PI).ln();
            Ok(z.sqr()?.sum(1)?.affine(-0.5, -norm)?)
        };
        flow_log_prob(&velocity, &prior, &x, (1.0, 0.0), divergence, &solver, rng)
    }
}

impl Trainable for FlowMatching {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.event_shape(), self.condition)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &candle_core::Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("flow matching loss", batch)?;
        let data = fields(batch, &self.parameters)?;
        let t = uniforms(batch, rng);
        let noise = noise_like(batch, &self.parameters, rng)?;
        let lost = 1.0 - self.config.sigma_min;
        let of_noise: Vec<f64> = t.iter().map(|t| 1.0 - lost * t).collect();
        let x_t =
            (noise.broadcast_mul(&column(&of_noise, &data)?)? + data.broadcast_mul(&column(&t, &data)?)?)?;
        let target = (data - (noise * lost)?)?;
        let cond = self.condition.of_batch(MODEL, batch, &self.parameters)?;
        let v = self.velocity(&x_t, &t, cond.as_ref())?;
        single(halocast_kernels::mse_loss(&v, &target)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::sde::Divergence;

    /// Data N(mu, s^2) on a path with sigma_min = 0: x_t ~ N(t mu, (1-t)^2 + t^2 s^2), whose velocity is linear in x.
    fn gaussian(mu: f64, s: f64) -> impl Fn(&Tensor, &[f64]) -> Result<Tensor> {
        move |x, t| {
            let variance = |t: f64| (1.0 - t).powi(2) + (t * s).powi(2);
            let rate: Vec<f64> = t.iter().map(|&t| (t * s * s - (1.0 - t)) / variance(t)).collect();
            let mean: Vec<f64> = t.iter().map(|&t| t * mu).collect();
            let away = x.broadcast_sub(&column(&mean, x)?)?;
            Ok((away.broadcast_mul(&column(&rate, x)?)? + mu)?)
        }
    }

    fn start() -> Tensor {
        Tensor::from_vec(vec![-1.0f64, -0.2, 0.5, 2.0], (2, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_exact_velocity_carries_noise_to_the_data() {
        // The exact flow is x_1 = mu + s x_0.
        for solver in [FlowSolver::Midpoint { steps: 200 }, FlowSolver::Adaptive(Rk45::default())] {
            let end = solver.carry(&gaussian(0.7, 0.4), &start(), &|_| {}).unwrap();
            let off = (end - start().affine(0.4, 0.7).unwrap()).unwrap().abs().unwrap();
            let off = off.max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(off < 1e-3, "{solver:?}: {off}");
        }
    }

    #[test]
    fn each_solver_has_its_order() {
        // dx/dt = -(1 + t) x ends at exp(-3/2) x_0. The straight path of a Gaussian cancels an order by its symmetry.
        let velocity = |x: &Tensor, t: &[f64]| -> Result<Tensor> {
            let rate: Vec<f64> = t.iter().map(|t| -(1.0 + t)).collect();
            Ok(x.broadcast_mul(&column(&rate, x)?)?)
        };
        let error = |solver: FlowSolver| {
            let end = solver.carry(&velocity, &start(), &|_| {}).unwrap();
            let off = (end - (start() * (-1.5f64).exp()).unwrap()).unwrap().abs().unwrap();
            off.max_all().unwrap().to_scalar::<f64>().unwrap()
        };
        for (solver, order) in [
            (&(|steps| FlowSolver::Euler { steps }) as &dyn Fn(usize) -> FlowSolver, 1.0),
            (&|steps| FlowSolver::Midpoint { steps }, 2.0),
        ] {
            let measured = (error(solver(100)) / error(solver(200))).log2();
            assert!((measured - order).abs() < 0.15, "order {measured}, expected {order}");
        }
        assert!(error(FlowSolver::Adaptive(Rk45::default())) < 1e-4);
    }

    #[test]
    fn the_density_of_the_flow_is_that_of_the_gaussian() {
        let (mu, s, x) = (0.7, 0.4, start());
        let prior = |z: &Tensor| Ok(z.sqr()?.sum(1)?.affine(-0.5, -(2.0 * std::f64::consts::PI).ln())?);
        let solver = Rk45 { rtol: 1e-8, atol: 1e-8, ..Default::default() };
        let velocity = gaussian(mu, s);
        for divergence in [Divergence::Exact, Divergence::Rademacher { probes: 1 }] {
            let got = flow_log_prob(&velocity, &prior, &x, (1.0, 0.0), divergence, &solver, &mut Rng::new(1))
                .unwrap();
            for (row, got) in x.to_vec2::<f64>().unwrap().iter().zip(got.to_vec1::<f64>().unwrap()) {
                let one =
                    |x: &f64| -0.5 * ((x - mu) / s).powi(2) - (s * (2.0 * std::f64::consts::PI).sqrt()).ln();
                let expected: f64 = row.iter().map(one).sum();
                assert!((got - expected).abs() < 1e-5, "{divergence:?}: {got}, expected {expected}");
            }
        }
    }
}
