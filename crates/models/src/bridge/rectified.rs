//! A rectified flow from one field to another.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::FlowSolver;
use super::flow::check_solver;
use super::pair::{PairNetwork, of_pair, single, steps_asked, uniforms};
use crate::batches::{check_condition, column, in_batches, normals};
use crate::unet::UNetConfig;
use crate::{
    Cond, CondSpec, Configured, Error, Generative, Loss, Parameters, Result, SampleOptions, Trainable,
};

const MODEL: &str = "rectified flow";

/// A flow between pairs of 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RectifiedFlowConfig {
    /// The network. With `condition_channels` it sees y beside x_t.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// The standard deviation of noise on the field that the flow starts from: without any, one y gives one x.
    pub noise: f64,
    /// How events are drawn.
    pub solver: FlowSolver,
}

impl Default for RectifiedFlowConfig {
    fn default() -> Self {
        Self { unet: UNetConfig::default(), size: [64, 64], noise: 0.0, solver: FlowSolver::default() }
    }
}

/// A rectified flow between two data distributions: a network learns the velocity $x - z$ of the straight lines
/// $x_t = (1 - t)\,z + t\,x$ by mean squares, where $z = y + \sigma n$ and y is what x is made from.
///
/// # Source
/// Liu, Gong & Liu 2023, "Flow straight and fast: learning to generate and transfer data with rectified flow", eq. 1.
///
/// # Differences
/// Pairs are those of the data, not independent draws; the start may be perturbed; the network may see y beside x_t.
pub struct RectifiedFlow {
    config: RectifiedFlowConfig,
    pair: PairNetwork,
}

impl RectifiedFlow {
    /// The configuration.
    pub fn config(&self) -> &RectifiedFlowConfig {
        &self.config
    }
}

impl Configured for RectifiedFlow {
    type Config = RectifiedFlowConfig;

    fn build(config: &RectifiedFlowConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        check_solver(MODEL, config.solver)?;
        if !(config.noise >= 0.0 && config.noise.is_finite()) {
            let (field, expected) = ("noise".into(), "0 or more".into());
            return Err(Error::Config { model: MODEL, field, expected, got: config.noise.to_string() });
        }
        let pair = PairNetwork::build(MODEL, &config.unet, config.size, vb, parameters)?;
        Ok(Self { config: config.clone(), pair })
    }
}

impl Generative for RectifiedFlow {
    fn event_shape(&self) -> Vec<usize> {
        self.pair.event()
    }

    fn condition(&self) -> CondSpec {
        self.pair.condition()
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let event = self.pair.event();
        check_condition(MODEL, self.pair.condition(), cond, n, &event)?;
        let solver = self.config.solver.with_steps(steps_asked(options.sampler));
        let dtype = self.pair.parameters.dtype();
        in_batches(n, cond, solver.steps(), options, rng, |mut draw| {
            let y = self.pair.field(draw.cond.as_ref())?;
            let mut start = y.clone();
            if self.config.noise > 0.0 {
                let noise = normals(&mut draw.streams, &event, dtype, self.pair.device())?;
                start = (start + (noise * self.config.noise)?)?;
            }
            let velocity = |x: &Tensor, t: &[f64]| Ok(self.pair.predict(x, t, &y)?.detach());
            Ok(solver.carry(&velocity, &start, draw.tick)?.to_dtype(DType::F32)?)
        })
    }
}

impl Trainable for RectifiedFlow {
    of_pair!();

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("rectified flow loss", batch)?;
        let (x, y) = self.pair.of_batch(batch)?;
        let t = uniforms(batch, rng);
        let start = (&y + (self.pair.noise(batch, rng)? * self.config.noise)?)?;
        let target = (&x - &start)?;
        let x_t = (&start + target.broadcast_mul(&column(&t, &x)?)?)?;
        single(halocast_kernels::mse_loss(&self.pair.predict(&x_t, &t, &y)?, &target)?)
    }
}
