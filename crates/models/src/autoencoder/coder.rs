//! The two networks of an autoencoder.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::Linear;
use halocast_kernels::{Activation, activate, relu};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::embedding::{ConvConfig, ConvDecoder, ConvEncoder, SpectrumConfig, SpectrumNet};
use crate::sampling::check_config;

/// The networks of an autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum CoderConfig {
    /// Linear maps: a variational autoencoder of these is probabilistic principal component analysis.
    Linear {},
    /// One hidden layer each, with ReLU, named as in pytorch/examples.
    Mlp {
        /// Its width.
        hidden: usize,
    },
    /// Convolutions of spectra or maps; `features` is the width of the layer before the latent.
    Conv(ConvConfig),
    /// A residual network of spectra, and one hidden layer back; `features` is the width of both.
    Spectrum(SpectrumConfig),
}

impl Default for CoderConfig {
    fn default() -> Self {
        Self::Mlp { hidden: 400 }
    }
}

enum Encoder {
    Linear,
    Mlp(Linear),
    Conv(ConvEncoder, Activation),
    Spectrum(SpectrumNet),
}

enum Decoder {
    Linear(Linear),
    Mlp(Linear, Linear),
    Conv(ConvDecoder),
}

/// The networks of an autoencoder between events and latent vectors; a vector of conditioning parameters joins the inputs
/// of both.
pub struct Coder {
    encoder: Encoder,
    heads: Vec<Linear>,
    decoder: Decoder,
    event: Vec<usize>,
}

impl Coder {
    /// The networks for events of shape `event`: the encoder has a linear map to `latent` numbers for each name in `heads`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration does not fit the shape.
    pub fn new(
        config: &CoderConfig,
        event: &[usize],
        latent: usize,
        parameters: usize,
        heads: &[&str],
        vb: VarBuilder,
    ) -> Result<Self> {
        let size: usize = event.iter().product();
        let from = latent + parameters;
        let known = (1..=3).contains(&event.len()) && size > 0;
        check_config(
            "autoencoder",
            [
                ("event", known, "one to three sides", format!("{event:?}")),
                ("latent", latent > 0, "at least 1", latent.to_string()),
            ],
        )?;
        let mlp = |hidden: usize| -> Result<Decoder> {
            Ok(Decoder::Mlp(
                Linear::new(from, hidden, vb.pp("fc3"))?,
                Linear::new(hidden, size, vb.pp("fc4"))?,
            ))
        };
        let (encoder, width, decoder) = match config {
            CoderConfig::Linear {} => {
                let decoder = Decoder::Linear(Linear::new(from, size, vb.pp("fc4"))?);
                (Encoder::Linear, size + parameters, decoder)
            }
            CoderConfig::Mlp { hidden } => {
                check_config("autoencoder", [("hidden", *hidden > 0, "at least 1", hidden.to_string())])?;
                let first = Linear::new(size + parameters, *hidden, vb.pp("fc1"))?;
                (Encoder::Mlp(first), *hidden, mlp(*hidden)?)
            }
            CoderConfig::Conv(conv) => {
                let encoder = ConvEncoder::new(conv, event, vb.pp("encoder"))?;
                let back = ConvConfig { features: from, ..conv.clone() };
                let decoder = Decoder::Conv(ConvDecoder::new(&back, event, vb.pp("decoder"))?);
                (Encoder::Conv(encoder, conv.activation), conv.features + parameters, decoder)
            }
            CoderConfig::Spectrum(spectrum) => {
                let encoder = SpectrumNet::new(spectrum, event, vb.pp("encoder"))?;
                (Encoder::Spectrum(encoder), spectrum.features + parameters, mlp(spectrum.features)?)
            }
        };
        let head = |name: &&str| Linear::new(width, latent, vb.pp(*name));
        let heads = heads.iter().map(head).collect::<halocast_kernels::Result<_>>()?;
        Ok(Self { encoder, heads, decoder, event: event.to_vec() })
    }

    /// What each head says of events `[n, ..]`, `[n, latent]` each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Vec<Tensor>> {
        let h = match &self.encoder {
            Encoder::Linear => join(&x.flatten_from(1)?, cond)?,
            Encoder::Mlp(first) => relu(&first.forward(&join(&x.flatten_from(1)?, cond)?)?)?,
            Encoder::Conv(network, activation) => join(&activate(&network.forward(x)?, *activation)?, cond)?,
            Encoder::Spectrum(network) => join(&activate(&network.forward(x)?, Activation::Silu)?, cond)?,
        };
        Ok(self.heads.iter().map(|head| head.forward(&h)).collect::<halocast_kernels::Result<_>>()?)
    }

    /// What the decoder says of latents `[n, latent]`, `[n, ..]` in the shape of events.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let z = join(z, cond)?;
        let x = match &self.decoder {
            Decoder::Linear(layer) => layer.forward(&z)?,
            Decoder::Mlp(first, second) => second.forward(&relu(&first.forward(&z)?)?)?,
            Decoder::Conv(network) => network.forward(&z)?,
        };
        Ok(x.reshape([&[z.dims()[0]], &self.event[..]].concat())?)
    }
}

fn join(x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
    Ok(match cond {
        Some(cond) => Tensor::cat(&[x, cond], 1)?,
        None => x.clone(),
    })
}
