//! The posterior as a conditional flow.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use crate::embedding::{Embedding, EmbeddingConfig};
use crate::flow::{FlowConfig, FlowKind, Layer};
use crate::sampling::{check_config, check_event, fields, in_batches, log_normal, normals};
use crate::{
    Cond, CondSpec, Configured, ExampleSpec, Generative, LogProb, Loss, Parameters, Result, SampleOptions,
    Trainable,
};

/// A posterior by a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PosteriorConfig {
    /// Number of parameters to infer.
    pub parameters: usize,
    /// The shape of the data: `[feature]`, `[channel, length]` or `[channel, y, x]`.
    pub data: Vec<usize>,
    /// The network from data to features.
    pub embedding: EmbeddingConfig,
    /// The layers of the flow; its event and condition are given by the fields above.
    pub flow: FlowConfig,
}

impl Default for PosteriorConfig {
    fn default() -> Self {
        Self {
            parameters: 2,
            data: vec![16],
            embedding: EmbeddingConfig::default(),
            flow: FlowConfig::default(),
        }
    }
}

impl PosteriorConfig {
    fn flow(&self) -> FlowConfig {
        FlowConfig {
            event: vec![self.parameters],
            parameters: 0,
            field: 0,
            embedding: None,
            ..self.flow.clone()
        }
    }
}

/// A posterior $p(\theta | x)$ as a conditional flow of features that a network finds in the data; training minimises
/// $-\ln p(\theta | x)$ over pairs.
///
/// The parameters of a batch are what is modelled, its fields what they are conditioned on. With pairs drawn from the
/// prior and the simulator, the minimum is the posterior of that prior.
///
/// # Source
/// Papamakarios & Murray 2016, arXiv:1605.06376; Greenberg et al. 2019, arXiv:1905.07488, in one round.
pub struct Posterior {
    config: PosteriorConfig,
    embedding: Embedding,
    layers: Box<dyn Layer>,
    parameters: Parameters,
}

impl Posterior {
    /// The configuration.
    pub fn config(&self) -> &PosteriorConfig {
        &self.config
    }

    /// The features `[n, feature]` of data `[n, ..]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn embed(&self, data: &Tensor) -> Result<Tensor> {
        self.embedding.forward(&data.to_dtype(self.parameters.dtype())?)
    }

    fn density(&self, theta: &Tensor, data: &Tensor) -> Result<Tensor> {
        check_event("posterior", theta, &[self.config.parameters])?;
        let theta = theta.to_dtype(self.parameters.dtype())?;
        let (z, volume) = self.layers.forward(&theta, Some(&self.embed(data)?))?;
        Ok((log_normal(&z)? + volume)?)
    }

    fn data<'a>(&self, cond: Option<&'a Cond>) -> Result<Option<&'a Tensor>> {
        self.condition().tensor("posterior", cond)
    }

    /// `draws` parameters for each of the data `[n, ..]`: `[n, draws, parameter]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn draws(&self, data: &Tensor, draws: usize, rng: &mut Rng) -> Result<Tensor> {
        let n = data.dims().first().copied().unwrap_or(0);
        let rows: Vec<u32> = (0..n as u32).flat_map(|row| vec![row; draws]).collect();
        let rows = Tensor::from_vec(rows, n * draws, data.device())?;
        let repeated = data.contiguous()?.index_select(&rows, 0)?;
        let cond = match self.condition() {
            CondSpec::Vector(_) => Cond::Vector(repeated),
            _ => Cond::Field(repeated),
        };
        let options = SampleOptions { batch: 4096, ..Default::default() };
        let theta = self.sample(n * draws, Some(&cond), &options, rng)?;
        Ok(theta.reshape((n, draws, self.config.parameters))?)
    }
}

impl Configured for Posterior {
    type Config = PosteriorConfig;

    fn build(config: &PosteriorConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let glow = config.flow.kind == FlowKind::Glow;
        let kind = format!("{:?}", config.flow.kind);
        let (data, got) = (&config.data, format!("{:?}", config.data));
        let known = (1..=3).contains(&data.len()) && !data.contains(&0);
        check_config(
            "posterior",
            [
                ("parameters", config.parameters > 0, "at least 1", config.parameters.to_string()),
                ("data", known, "one to three sides", got),
                ("flow.kind", !glow, "a flow of vectors", kind),
            ],
        )?;
        let embedding = Embedding::new(&config.embedding, data, vb.pp("embedding"))?;
        let layers = config.flow().layers(config.embedding.features(), vb, &parameters)?;
        Ok(Self { config: config.clone(), embedding, layers, parameters })
    }
}

impl LogProb for Posterior {
    /// ln p(theta | x) of `theta` `[n, parameter]`; the condition is the data.
    fn log_prob(&self, theta: &Tensor, cond: Option<&Cond>, _: &mut Rng) -> Result<Tensor> {
        match self.data(cond)? {
            Some(data) => self.density(theta, data),
            None => log_normal(theta),
        }
    }
}

impl Generative for Posterior {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.parameters]
    }

    fn condition(&self) -> CondSpec {
        match self.config.data[..] {
            [features] => CondSpec::Vector(features),
            _ => CondSpec::Field(self.config.data.first().copied().unwrap_or(0)),
        }
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        self.data(cond)?;
        in_batches(n, cond, options, rng, |streams, cond| {
            let (dtype, device) = (self.parameters.dtype(), self.parameters.device());
            let z = normals(streams, self.config.parameters, dtype, device)?;
            let features = self.data(cond)?.map(|data| self.embed(data)).transpose()?;
            Ok(self.layers.inverse(&z, features.as_ref())?.0)
        })
    }
}

impl Trainable for Posterior {
    fn example(&self) -> ExampleSpec {
        ExampleSpec {
            fields: self.config.data.clone(),
            parameters: Some(self.config.parameters),
            condition: None,
        }
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("posterior loss", batch)?;
        let data = fields(batch, &self.parameters)?;
        let theta: Vec<f32> = batch.parameters.iter().flatten().copied().collect();
        let shape = (batch.shard.len, self.config.parameters);
        let theta = Tensor::from_vec(theta, shape, data.device())?;
        let total = self.density(&theta, &data)?.mean_all()?.neg()?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("nats", value)] })
    }
}
