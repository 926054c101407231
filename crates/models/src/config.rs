//! The registry of the zoo: one tagged configuration builds any model.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::adapointr::{AdaPoinTr, AdaPoinTrConfig};
use crate::autoencoder::{Autoencoder, AutoencoderConfig, Vae, VaeConfig, VqVae, VqVaeConfig};
use crate::autoregressive::{PixelCnn, PixelCnnConfig};
use crate::bridge::{
    Bbdm, BbdmConfig, FlowMatching, FlowMatchingConfig, Indi, IndiConfig, RectifiedFlow, RectifiedFlowConfig,
    Regression, RegressionConfig,
};
use crate::diffusion::{Ddpm, DdpmConfig};
use crate::dim::{DimDdpm, DimDdpmConfig};
use crate::edm::{Edm, EdmConfig};
use crate::flow::{Flow, FlowConfig};
use crate::gan::{CycleGan, CycleGanConfig, Gan, GanConfig, Pix2Pix, Pix2PixConfig};
use crate::inference::{Posterior, PosteriorConfig};
use crate::latent::{LatentDiffusion, LatentDiffusionConfig};
use crate::pointnet::{PointNet, PointNetConfig};
use crate::sde::{ScoreSde, ScoreSdeConfig};
use crate::vdm::{PointVdm, PointVdmConfig};
use crate::{Bound, Configured, Generative, LogProb, Parameters, Result, Trainable};

/// One line a model: its documentation, its name, its configuration, its type, and in brackets what it can do beside
/// training, as the names of the methods of [`Model`] that give it so.
macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident($config:ty => $model:ty): [$($can:ident),*];)*) => {
        /// The configuration of any model, tagged by its name.
        ///
        /// ```
        /// use halocast_models::ModelConfig;
        /// let config: ModelConfig = serde_json::from_str(r#"{"model": "ddpm", "timesteps": 1000}"#)?;
        /// let ModelConfig::Ddpm(ddpm) = config else { unreachable!() };
        /// assert_eq!((ddpm.timesteps, ddpm.unet.dim), (1000, 64));
        /// # Ok::<(), serde_json::Error>(())
        /// ```
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "model", rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum ModelConfig {
            $($(#[$doc])* $name($config),)*
        }

        /// Any model of the zoo.
        #[non_exhaustive]
        pub enum Model {
            $($(#[$doc])* $name(Box<$model>),)*
        }

        impl ModelConfig {
            /// The configuration of every model with its defaults, those of its paper.
            pub fn defaults() -> Vec<Self> {
                vec![$(Self::$name(<$config>::default()),)*]
            }

            /// The model with fresh parameters drawn from `seed`.
            ///
            /// # Errors
            /// When the configuration is not usable.
            pub fn build(&self, seed: u64, device: &Device) -> Result<Model> {
                self.build_with(Parameters::new(seed, device))
            }

            /// The model on its own set of fresh parameters, of their float type and device.
            ///
            /// # Errors
            /// When the configuration is not usable.
            pub fn build_with(&self, parameters: Parameters) -> Result<Model> {
                Ok(match self {
                    $(Self::$name(config) => {
                        Model::$name(Box::new(<$model>::with_parameters(config, parameters)?))
                    })*
                })
            }

            /// The model on given parameters, to sample from.
            ///
            /// # Errors
            /// When the configuration is not usable or a parameter is absent or of another shape.
            pub fn build_frozen(&self, tensors: HashMap<String, Tensor>, device: &Device) -> Result<Model> {
                Ok(match self {
                    $(Self::$name(config) => {
                        Model::$name(Box::new(<$model>::frozen(config, tensors, device)?))
                    })*
                })
            }
        }

        impl Model {
            /// The model as something to train.
            pub fn trainable(&self) -> &dyn Trainable {
                match self {
                    $(Self::$name(model) => model.as_ref(),)*
                }
            }

            /// The model as something to sample from, if it is one.
            pub fn generative(&self) -> Option<&dyn Generative> {
                match self {
                    $(Self::$name(model) => capability!(generative, model, [$($can),*]),)*
                }
            }

            /// The model as a density, if it is an exact one.
            pub fn log_prob(&self) -> Option<&dyn LogProb> {
                match self {
                    $(Self::$name(model) => capability!(log_prob, model, [$($can),*]),)*
                }
            }

            /// The model as a bound of a density, if it is one.
            pub fn bound(&self) -> Option<&dyn Bound> {
                match self {
                    $(Self::$name(model) => capability!(bound, model, [$($can),*]),)*
                }
            }
        }
    };
}

/// `Some(model)` where the capability is among those of the list.
macro_rules! capability {
    (generative, $model:ident, [generative $($rest:tt)*]) => { Some($model.as_ref()) };
    (log_prob, $model:ident, [log_prob $($rest:tt)*]) => { Some($model.as_ref()) };
    (bound, $model:ident, [bound $($rest:tt)*]) => { Some($model.as_ref()) };
    ($asked:ident, $model:ident, []) => {{
        let _ = $model;
        None
    }};
    ($asked:ident, $model:ident, [$other:ident $(, $more:ident)*]) => {
        capability!($asked, $model, [$($more),*])
    };
}

registry! {
    /// Denoising diffusion probabilistic model.
    Ddpm(DdpmConfig => Ddpm): [generative, bound];
    /// Elucidated diffusion.
    Edm(EdmConfig => Edm): [generative];
    /// Diffusion Mamba.
    Dim(DimDdpmConfig => DimDdpm): [generative];
    /// Score-based model of a stochastic differential equation.
    ScoreSde(ScoreSdeConfig => ScoreSde): [generative, log_prob];
    /// Flow matching from noise.
    FlowMatching(FlowMatchingConfig => FlowMatching): [generative, log_prob];
    /// Rectified flow between pairs.
    RectifiedFlow(RectifiedFlowConfig => RectifiedFlow): [generative];
    /// Inversion by direct iteration.
    Indi(IndiConfig => Indi): [generative];
    /// Brownian bridge diffusion model.
    Bbdm(BbdmConfig => Bbdm): [generative];
    /// Plain regression of a field on another.
    Regression(RegressionConfig => Regression): [generative];
    /// Conditional adversarial network from map to map.
    Pix2pix(Pix2PixConfig => Pix2Pix): [generative];
    /// Adversarial networks between two sets of maps without pairs.
    Cyclegan(CycleGanConfig => CycleGan): [generative];
    /// Adversarial network from noise to maps.
    Gan(GanConfig => Gan): [generative];
    /// Normalizing flow.
    Flow(FlowConfig => Flow): [generative, log_prob];
    /// Plain autoencoder.
    Autoencoder(AutoencoderConfig => Autoencoder): [];
    /// Variational autoencoder.
    Vae(VaeConfig => Vae): [generative, bound];
    /// Autoencoder with a codebook.
    VqVae(VqVaeConfig => VqVae): [];
    /// Diffusion in the latent space of an autoencoder.
    LatentDiffusion(LatentDiffusionConfig => LatentDiffusion): [generative];
    /// Autoregressive model of maps.
    PixelCnn(PixelCnnConfig => PixelCnn): [generative, log_prob];
    /// Posterior of parameters given data.
    Posterior(PosteriorConfig => Posterior): [generative, log_prob];
    /// Transformer from a partial cloud, or one species, to a whole cloud.
    Adapointr(AdaPoinTrConfig => AdaPoinTr): [generative];
    /// Variational diffusion of clouds of points.
    PointVdm(PointVdmConfig => PointVdm): [generative, bound];
    /// Parameters from clouds of points.
    Pointnet(PointNetConfig => PointNet): [];
}
