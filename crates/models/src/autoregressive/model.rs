//! The PixelCNN as a model.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};

use super::mixture::{choose, mixture_log_prob, mixture_sample};
use super::{NetShape, PixelCnnConfig, PixelCnnNet, PixelDistribution};
use crate::sampling::{check_event, fields, in_batches, sum_event};
use crate::{
    Cond, CondSpec, Configured, ExampleSpec, Generative, LogProb, Loss, Parameters, Result, SampleOptions,
    Trainable,
};

/// Bits per dimension of an event of `dims` numbers from its log-probability in nats: $-\ln p / (D \ln 2)$.
///
/// ```
/// let nats = -2.0 * 3.0 * std::f64::consts::LN_2;
/// assert!((halocast_models::autoregressive::bits_per_dim(nats, 3) - 2.0).abs() < 1e-12);
/// ```
pub fn bits_per_dim(nats: f64, dims: usize) -> f64 {
    -nats / (dims.max(1) as f64 * std::f64::consts::LN_2)
}

/// An autoregressive model of maps; training minimises the mean of $-\ln P(x)$ of an event's levels.
///
/// Values are levels of a range; the density that [`LogProb`] gives is even within a level,
/// $p(x) = P(\text{levels of } x) / \Delta^D$ with the width $\Delta$ of a level and D numbers in an event. One evaluation
/// of the network gives a density; sampling takes one a pixel.
///
/// # Source
/// van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv:1601.06759; mixture: Salimans et al. 2017, arXiv:1701.05517.
pub struct PixelCnn {
    config: PixelCnnConfig,
    network: PixelCnnNet,
    parameters: Parameters,
}

impl PixelCnn {
    /// The configuration.
    pub fn config(&self) -> &PixelCnnConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &PixelCnnNet {
        &self.network
    }

    /// The levels of values `[..]`, whole numbers from 0.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn levels(&self, x: &Tensor) -> Result<Tensor> {
        let scale = 1.0 / self.config.width();
        let levels = x.affine(scale, -self.config.range[0] * scale)?.floor()?;
        Ok(levels.clamp(0.0, (self.config.levels - 1) as f64)?)
    }

    /// The values at the centres of levels.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn centres(&self, levels: &Tensor) -> Result<Tensor> {
        let width = self.config.width();
        Ok(levels.affine(width, self.config.range[0] + 0.5 * width)?)
    }

    /// What the network says of each number, `[n, channel, y, x, output]`, of maps of the centres of levels.
    fn theta(&self, centres: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let (n, channels, y, x) = centres.dims4()?;
        let out = self.network.forward(centres, cond)?;
        let out = out.reshape((n, channels, self.config.outputs(), y * x))?.transpose(2, 3)?.contiguous()?;
        Ok(out.reshape((n, channels, y, x, self.config.outputs()))?)
    }

    /// ln P of the level of each number, `[n, channel, y, x]`, in nats.
    ///
    /// # Errors
    /// When shapes or the condition do not fit.
    pub fn log_probabilities(&self, x: &Tensor, cond: Option<&Cond>) -> Result<Tensor> {
        check_event("PixelCNN", x, &Generative::event_shape(self))?;
        let cond = self.condition().tensor("PixelCNN", cond)?;
        let levels = self.levels(&x.to_dtype(self.parameters.dtype())?)?;
        let centres = self.centres(&levels)?;
        let theta = self.theta(&centres, cond)?;
        match self.config.distribution {
            PixelDistribution::Categorical => {
                let chosen = levels.to_dtype(DType::U32)?.unsqueeze(D::Minus1)?;
                let logits = theta.gather(&chosen.contiguous()?, D::Minus1)?.squeeze(D::Minus1)?;
                Ok((logits - theta.log_sum_exp(D::Minus1)?)?)
            }
            PixelDistribution::LogisticMixture(_) => {
                let half = 0.5 * self.config.width();
                let [low, high] = self.config.range;
                mixture_log_prob(&centres, half, low + half, high - half, &theta)
            }
        }
    }

    /// The logarithm of the volume of the cell of levels, D ln Delta.
    fn log_cell(&self) -> f64 {
        Generative::event_shape(self).iter().product::<usize>() as f64 * self.config.width().ln()
    }
}

impl Configured for PixelCnn {
    type Config = PixelCnnConfig;

    fn build(config: &PixelCnnConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.validate()?;
        let shape = NetShape {
            inputs: config.channels,
            hidden: config.hidden,
            outputs: config.channels * config.outputs(),
            first_kernel: config.first_kernel,
            kernel: config.kernel,
            layers: config.layers,
            parameters: config.parameters,
        };
        Ok(Self { config: config.clone(), network: PixelCnnNet::new(&shape, vb)?, parameters })
    }
}

impl LogProb for PixelCnn {
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, _: &mut Rng) -> Result<Tensor> {
        Ok((sum_event(&self.log_probabilities(x, cond)?)? - self.log_cell())?)
    }
}

impl Generative for PixelCnn {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.channels, self.config.size[0], self.config.size[1]]
    }

    fn condition(&self) -> CondSpec {
        match self.config.parameters {
            0 => CondSpec::None,
            n => CondSpec::Vector(n),
        }
    }

    /// Events of the centres of levels.
    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        self.condition().tensor("PixelCNN", cond)?;
        let [rows, columns] = self.config.size;
        let (channels, pixels) = (self.config.channels, rows * columns);
        let (dtype, device) = (self.parameters.dtype(), self.parameters.device());
        let (width, low) = (self.config.width(), self.config.range[0]);
        let top = (self.config.levels - 1) as f64;
        in_batches(n, cond, options, rng, |streams, cond| {
            let cond = self.condition().tensor("PixelCNN", cond)?;
            let mut values = vec![low + 0.5 * width; streams.len() * channels * pixels];
            let shape = (streams.len(), channels, rows, columns);
            let tensor = |values: &[f64]| Tensor::from_slice(values, shape, device)?.to_dtype(dtype);
            for pixel in 0..pixels {
                let out = self.network.forward(&tensor(&values)?, cond)?.flatten_from(2)?;
                let out = out.narrow(2, pixel, 1)?.squeeze(2)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
                for ((event, rng), out) in streams.iter_mut().enumerate().zip(&out) {
                    for (channel, theta) in out.chunks(self.config.outputs()).enumerate() {
                        let level = match self.config.distribution {
                            PixelDistribution::Categorical => choose(theta, rng) as f64,
                            PixelDistribution::LogisticMixture(_) => {
                                ((mixture_sample(theta, rng) - low) / width).floor().clamp(0.0, top)
                            }
                        };
                        values[(event * channels + channel) * pixels + pixel] = low + (level + 0.5) * width;
                    }
                }
            }
            Ok(tensor(&values)?)
        })
    }
}

impl Trainable for PixelCnn {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&Generative::event_shape(self), self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("PixelCNN loss", batch)?;
        let x = fields(batch, &self.parameters)?;
        let cond = self.condition().of_batch("PixelCNN", batch, &self.parameters)?;
        let each = sum_event(&self.log_probabilities(&x, cond.as_ref())?)?;
        let total = each.mean_all()?.neg()?;
        let nats = f64::from(total.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        let bits = bits_per_dim(-nats, x.elem_count() / x.dims()[0]);
        Ok(Loss { total, parts: vec![("nats", nats as f32), ("bits_per_dim", bits as f32)] })
    }
}
