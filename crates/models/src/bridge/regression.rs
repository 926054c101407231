//! Plain regression of one field on another.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::pair::{check_size, fields, single};
use crate::batches::{check_condition, in_batches};
use crate::diffusion::LossKind;
use crate::unet::{UNet, UNetConfig};
use crate::{
    Cond, CondSpec, Configured, Error, ExampleSpec, Generative, Loss, Parameters, Result, SampleOptions,
    Trainable,
};

const MODEL: &str = "regression";

/// A regression of maps; by default of one 64x64 map on one other, by absolute values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionConfig {
    /// The network: `channels` of the maps, `condition_channels` of those they are made from, 0 for as many.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// The error: squares give the mean of all maps that fit, absolute values the median of each pixel.
    pub loss: LossKind,
}

impl Default for RegressionConfig {
    fn default() -> Self {
        Self { unet: UNetConfig::default(), size: [64, 64], loss: LossKind::L1 }
    }
}

/// The regression $F_\theta(y)$ of a field on another, the baseline of generative models of pairs: its one "sample" is its
/// prediction, whatever the seed.
///
/// # Source
/// Ronneberger, Fischer & Brox 2015, with the U-Net of this crate, whose time is always 0, so that a comparison with
/// diffusion and bridges has the same network on both sides.
pub struct Regression {
    config: RegressionConfig,
    network: UNet,
    parameters: Parameters,
    condition: CondSpec,
}

impl Regression {
    /// The configuration.
    pub fn config(&self) -> &RegressionConfig {
        &self.config
    }

    /// The prediction from `y` `[n, channel, y, x]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn predict(&self, y: &Tensor) -> Result<Tensor> {
        let n = y.dims().first().copied().unwrap_or(0);
        self.network.forward(&y.to_dtype(self.parameters.dtype())?, &vec![0.0; n], None)
    }

    fn field<'a>(&self, cond: Option<&'a Cond>) -> Result<&'a Tensor> {
        self.condition.tensor(MODEL, cond)?.ok_or_else(|| Error::Condition {
            model: MODEL,
            expected: format!("{:?}", self.condition),
            got: "none".into(),
        })
    }
}

impl Configured for Regression {
    type Config = RegressionConfig;

    fn build(config: &RegressionConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        check_size(MODEL, &config.unet, config.size)?;
        let unet = &config.unet;
        if unet.parameters > 0 || unet.channels_out() != unet.channels {
            return Err(Error::Config {
                model: MODEL,
                field: "unet.parameters and unet.out_channels".into(),
                expected: format!("0 and 0 or {}", unet.channels),
                got: format!("{} and {}", unet.parameters, unet.out_channels),
            });
        }
        let from = if unet.condition_channels == 0 { unet.channels } else { unet.condition_channels };
        let own =
            UNetConfig { channels: from, out_channels: unet.channels, condition_channels: 0, ..unet.clone() };
        let network = UNet::new(&own, vb)?;
        Ok(Self { config: config.clone(), network, parameters, condition: CondSpec::Field(from) })
    }
}

impl Generative for Regression {
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
        check_condition(MODEL, self.condition, cond, n, &self.event_shape())?;
        in_batches(n, cond, 1, options, rng, |draw| {
            let prediction = self.predict(self.field(draw.cond.as_ref())?)?;
            (draw.tick)(0);
            Ok(prediction.detach().to_dtype(DType::F32)?)
        })
    }
}

impl Trainable for Regression {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.event_shape(), self.condition)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &candle_core::Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("regression loss", batch)?;
        let cond = self.condition.of_batch(MODEL, batch, &self.parameters)?;
        let prediction = self.predict(self.field(cond.as_ref())?)?;
        single(self.config.loss.of(&prediction, &fields(batch, &self.parameters)?)?)
    }
}
