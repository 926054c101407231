//! The flow as a model.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};

use super::{FlowConfig, FlowKind, Layer};
use crate::embedding::Embedding;
use crate::sampling::{check_event, fields, in_batches, log_normal, normals};
use crate::{
    Bijection, Cond, CondSpec, Configured, ExampleSpec, Generative, LogProb, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

/// A normalizing flow; training minimises $-\ln p(x | c)$.
///
/// As a [`Bijection`] its condition is what reaches the layers: the embedded one, where it has an embedding.
///
/// # Source
/// Papamakarios et al. 2021, arXiv:1912.02762, for all; each kind of layer names its own.
pub struct Flow {
    config: FlowConfig,
    layers: Box<dyn Layer>,
    embedding: Option<Embedding>,
    parameters: Parameters,
}

impl Flow {
    /// The configuration.
    pub fn config(&self) -> &FlowConfig {
        &self.config
    }

    /// Sets the parameters that begin at values that the data give (activation normalisation), from a first batch. It is
    /// to be called before training; without it the flow is as valid, and slower to learn.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    pub fn initialise(&self, batch: &Batch) -> Result<()> {
        self.example().check("flow initialisation", batch)?;
        let x = fields(batch, &self.parameters)?;
        let cond = self.condition().of_batch("flow", batch, &self.parameters)?;
        let cond = self.embed(cond.as_ref())?;
        self.layers.initialise(&self.flat(&x)?, cond.as_ref(), &self.parameters)
    }

    /// What of a condition reaches the layers, `[n, feature]`.
    ///
    /// # Errors
    /// [`crate::Error::Condition`] when it is not what the flow takes.
    pub fn embed(&self, cond: Option<&Cond>) -> Result<Option<Tensor>> {
        let cond = self.condition().tensor("flow", cond)?;
        let cond = cond.map(|c| c.to_dtype(self.parameters.dtype())).transpose()?;
        match (&self.embedding, cond) {
            (Some(embedding), Some(cond)) => embedding.forward(&cond).map(Some),
            (_, cond) => Ok(cond),
        }
    }

    /// Events as the layers take them.
    fn flat(&self, x: &Tensor) -> Result<Tensor> {
        Ok(if self.config.kind == FlowKind::Glow { x.clone() } else { x.flatten_from(1)? })
    }

    fn density(&self, x: &Tensor, cond: Option<&Cond>) -> Result<Tensor> {
        let (z, volume) = self.forward(x, self.embed(cond)?.as_ref())?;
        Ok((log_normal(&z)? + volume)?)
    }
}

impl Configured for Flow {
    type Config = FlowConfig;

    fn build(config: &FlowConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.validate()?;
        let shape = match (config.field, config.parameters) {
            (0, n) => vec![n],
            (n, _) => [&[n], &config.event[1..]].concat(),
        };
        let embedding = match &config.embedding {
            Some(embedding) if config.parameters + config.field > 0 => {
                Some(Embedding::new(embedding, &shape, vb.pp("embedding"))?)
            }
            _ => None,
        };
        let layers = config.layers(config.context(), vb, &parameters)?;
        Ok(Self { config: config.clone(), layers, embedding, parameters })
    }
}

impl Bijection for Flow {
    /// Noise is `[n, feature]`.
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_event("flow", x, &self.config.event)?;
        self.layers.forward(&self.flat(&x.to_dtype(self.parameters.dtype())?)?, cond)
    }

    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_event("flow", z, &[self.config.event.iter().product()])?;
        let (x, volume) = self.layers.inverse(&z.to_dtype(self.parameters.dtype())?, cond)?;
        let shape = [&[z.dims()[0]], &self.config.event[..]].concat();
        Ok((x.reshape(shape)?, volume))
    }
}

impl LogProb for Flow {
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, _: &mut Rng) -> Result<Tensor> {
        self.density(x, cond)
    }
}

impl Generative for Flow {
    fn event_shape(&self) -> Vec<usize> {
        self.config.event.clone()
    }

    fn condition(&self) -> CondSpec {
        match (self.config.parameters, self.config.field) {
            (0, 0) => CondSpec::None,
            (0, channels) => CondSpec::Field(channels),
            (n, _) => CondSpec::Vector(n),
        }
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        self.condition().tensor("flow", cond)?;
        let size = self.config.event.iter().product();
        in_batches(n, cond, options, rng, |streams, cond| {
            let z = normals(streams, size, self.parameters.dtype(), self.parameters.device())?;
            Ok(self.inverse(&z, self.embed(cond)?.as_ref())?.0)
        })
    }
}

impl Trainable for Flow {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.config.event, self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("flow loss", batch)?;
        let x = fields(batch, &self.parameters)?;
        let cond = self.condition().of_batch("flow", batch, &self.parameters)?;
        let total = self.density(&x, cond.as_ref())?.mean_all()?.neg()?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("nats", value)] })
    }
}
