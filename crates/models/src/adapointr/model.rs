//! AdaPoinTr as a model: trained on pairs of clouds, and drawn from.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use halocast_kernels::nn::BatchNorm;

use super::{AdaPoinTrConfig, Network, completion_loss};
use crate::{
    Cond, CondSpec, Configured, Error, ExampleSpec, Generative, Loss, Parameters, Result, SampleOptions,
    Trainable,
};

const MODEL: &str = "AdaPoinTr";
/// Deviation of the noise on the centres of queries to denoise, and its largest value.
const JITTER: (f32, f32) = (0.01, 0.05);

/// AdaPoinTr: from a partial cloud, or from the points of one species, to a whole cloud.
///
/// Training lowers [`completion_loss`] on pairs `(condition, fields)` of clouds `[batch, point, feature]` whose first three
/// features are the position. A sample is the fine cloud; it depends on the generator through the order of the input
/// points, where the sampling of centres begins, and through the choice of points where there are more than
/// `input_points`.
///
/// # Source
/// Yu et al. 2023, arXiv:2301.04545; its parameters load by the names of the release.
///
/// # Differences
/// [`Network`], [`completion_loss`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_core::Rng;
/// use halocast_models::adapointr::{AdaPoinTr, AdaPoinTrConfig, Block, DecoderConfig, EncoderConfig};
/// use halocast_models::{Cond, Configured, Generative, SampleOptions};
///
/// let config = AdaPoinTrConfig {
///     input_points: 64,
///     num_points: 64,
///     num_query: 16,
///     center_num: [32, 16],
///     global_feature_dim: 32,
///     hidden_dim: 32,
///     encoder_config: EncoderConfig {
///         embed_dim: 24,
///         block_style_list: vec![Block::AttnGraph],
///         ..Default::default()
///     },
///     decoder_config: DecoderConfig {
///         embed_dim: 24,
///         self_attn_block_style_list: vec![Block::AttnGraph],
///         cross_attn_block_style_list: vec![Block::AttnGraph],
///         ..Default::default()
///     },
///     ..Default::default()
/// };
/// let model = AdaPoinTr::new(&config, 1, &Device::Cpu)?;
/// let dark_matter = Tensor::from_vec(Rng::new(2).normals(64 * 3), (1, 64, 3), &Device::Cpu)?;
/// let gas = model.sample(1, Some(&Cond::Set(dark_matter)), &SampleOptions::default(), &mut Rng::new(3))?;
/// assert_eq!(gas.dims(), [1, 64, 3]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct AdaPoinTr {
    network: Network,
    parameters: Parameters,
}

impl AdaPoinTr {
    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The configuration.
    pub fn config(&self) -> &AdaPoinTrConfig {
        self.network.config()
    }

    /// A random choice of at most `input_points` points of a cloud `[1, n, c]`, in random order.
    fn thin(&self, cloud: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let points = cloud.dims()[1];
        let mut order: Vec<u32> = (0..points as u32).collect();
        rng.shuffle(&mut order);
        order.truncate(self.config().input_points);
        let order = Tensor::new(order, cloud.device())?;
        Ok(cloud.index_select(&order, 1)?)
    }
}

impl Configured for AdaPoinTr {
    type Config = AdaPoinTrConfig;

    fn build(config: &AdaPoinTrConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        Ok(Self { network: Network::new(config, vb)?, parameters })
    }
}

impl Generative for AdaPoinTr {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config().num_points, 3 + self.config().features_out]
    }

    fn condition(&self) -> CondSpec {
        CondSpec::Set(3 + self.config().features_in)
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let set = self.condition().tensor(MODEL, cond)?;
        let Some(set) = set.filter(|set| n > 0 && set.dims()[0] == n && options.batch > 0) else {
            return Err(Error::Shape {
                operation: "AdaPoinTr sample",
                what: "condition".into(),
                expected: format!("one cloud for each of {n} samples (at least 1), in batches of at least 1"),
                got: set.map(|set| set.dims().to_vec()).unwrap_or_default(),
            });
        };
        let set = set.to_dtype(self.parameters.dtype())?;
        let key = Rng::new(rng.next_u64());
        let mut clouds = Vec::new();
        for start in (0..n).step_by(options.batch) {
            let size = options.batch.min(n - start);
            let part: Vec<Tensor> = (start..start + size)
                .map(|i| self.thin(&set.narrow(0, i, 1)?, &mut key.split(i as u64)))
                .collect::<Result<_>>()?;
            let fine = self.network.forward(&Tensor::cat(&part, 0)?.contiguous()?, None)?.fine;
            clouds.push(fine.detach());
            (options.progress)((start + size) as u64, n as u64);
        }
        Ok(Tensor::cat(&clouds, 0)?)
    }
}

impl Trainable for AdaPoinTr {
    fn example(&self) -> ExampleSpec {
        let config = self.config();
        ExampleSpec {
            fields: self.event_shape(),
            parameters: None,
            condition: Some(vec![config.input_points, 3 + config.features_in]),
        }
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// All but the running statistics, the encoder's last normalisation, which is not in the network, and, as published,
    /// the ranking.
    fn trains(&self, _phase: usize, parameter: &str) -> bool {
        let ranking = !self.config().ranking_gradient && parameter.starts_with("base_model.query_ranking.");
        !(ranking || parameter.starts_with("base_model.encoder.norm.") || BatchNorm::is_buffer(parameter))
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("AdaPoinTr loss", batch)?;
        let dtype = self.parameters.dtype();
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape, self.parameters.device())?.to_dtype(dtype)
        };
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        let Some(cloud) = self.condition().tensor(MODEL, cond.as_ref())? else {
            let expected = format!("{:?}", self.condition());
            return Err(Error::Condition { model: MODEL, expected, got: "none".into() });
        };
        let truth = tensor(batch.fields.iter().copied().collect(), batch.fields.shape())?;
        let denoise = self.config().denoise;
        let mut jitter = batch.shard.normals(rng, 3 * denoise);
        jitter.iter_mut().for_each(|v| *v = (*v * JITTER.0).clamp(-JITTER.1, JITTER.1));
        let jitter = tensor(jitter, &[batch.shard.len, denoise, 3])?;
        let completion = self.network.forward(cloud, Some(&jitter))?;
        let parts = completion_loss(&completion, &truth, batch.counts.as_deref())?;
        let features = parts.features.map(|part| part * self.config().feature_weight).transpose()?;
        let named = [
            ("coarse", Some(parts.coarse)),
            ("fine", Some(parts.fine)),
            ("denoised", parts.denoised),
            ("features", features),
        ];
        let mut total = Tensor::zeros((), dtype, self.parameters.device())?;
        let mut logged = Vec::new();
        for (name, part) in named {
            let Some(part) = part else { continue };
            logged.push((name, part.to_dtype(DType::F32)?.to_scalar::<f32>()?));
            total = (total + part)?;
        }
        Ok(Loss { total, parts: logged })
    }
}
