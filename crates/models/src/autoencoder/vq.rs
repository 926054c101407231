//! The autoencoder with a codebook.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_core::{Batch, Rng};
use halocast_kernels::nn::Linear;
use halocast_kernels::{index_select, mse_loss};
use serde::{Deserialize, Serialize};

use crate::embedding::{ConvConfig, ConvDown, ConvUp};
use crate::sampling::{check_config, check_event, fields};
use crate::{CondSpec, Configured, Error, ExampleSpec, Loss, Parameters, Result, Trainable};

/// An autoencoder with a codebook; the default has the codebook of van den Oord et al. 2017.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqVaeConfig {
    /// The shape of an event: `[channel, length]` or `[channel, y, x]`.
    pub event: Vec<usize>,
    /// The convolutions; its `features` is not used.
    pub conv: ConvConfig,
    /// Number of code words.
    pub codes: usize,
    /// Numbers of a code word.
    pub dim: usize,
    /// Weight of the distance that draws the encoder to its code words.
    pub commitment: f64,
}

impl Default for VqVaeConfig {
    fn default() -> Self {
        let conv = ConvConfig { channels: vec![64, 128], ..Default::default() };
        Self { event: vec![1, 64, 64], conv, codes: 512, dim: 64, commitment: 0.25 }
    }
}

/// An autoencoder whose latent is a grid of code words: $z_q = e_k$ with $k = \arg\min_j |z_e - e_j|^2$; training
/// minimises
///
/// $$ |x - D(z_q)|^2 + |\mathrm{sg}(z_e) - z_q|^2 + \beta |z_e - \mathrm{sg}(z_q)|^2 $$
///
/// as means over numbers, where sg stops the gradient, and the gradient of the first term passes from $z_q$ to $z_e$ as if
/// they were one (straight through): for the encoder it is an estimate, no derivative.
///
/// # Source
/// van den Oord et al. 2017, arXiv:1711.00937, equations 1 to 3.
///
/// # Differences
/// Strided convolutions of [`ConvConfig`] instead of the paper's residual network. The codebook moves by its loss alone,
/// not by moving averages.
pub struct VqVae {
    config: VqVaeConfig,
    encoder: ConvDown,
    to_codes: Linear,
    codebook: Tensor,
    from_codes: Linear,
    decoder: ConvUp,
    /// The sides of the grid of code words.
    grid: Vec<usize>,
    parameters: Parameters,
}

impl VqVae {
    /// The sides of the grid of code words.
    pub fn grid(&self) -> &[usize] {
        &self.grid
    }

    /// The encoder's vectors `[n, dim, ..]` of the grid, before they become code words.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn vectors(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.rows(x)?.reshape((x.dims()[0], (), self.config.dim))?;
        let shape = [&[x.dims()[0], self.config.dim], &self.grid[..]].concat();
        Ok(rows.transpose(1, 2)?.contiguous()?.reshape(shape)?)
    }

    /// The events of vectors `[n, dim, ..]` of the grid, each of which first becomes its nearest code word.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode_vectors(&self, z: &Tensor) -> Result<Tensor> {
        check_event("VQ-VAE", z, &[&[self.config.dim], &self.grid[..]].concat())?;
        let rows = z.flatten_from(2)?.transpose(1, 2)?.contiguous()?.reshape(((), self.config.dim))?;
        let words = index_select(&self.codebook, &self.nearest(&rows)?, 0)?;
        self.draw(&words, z.dims()[0])
    }

    /// The encoder's vectors `[n pixel, dim]` before they become code words.
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        check_event("VQ-VAE", x, &self.config.event)?;
        let h = self.encoder.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        Ok(self.to_codes.forward(&h)?.reshape(((), self.config.dim))?)
    }

    /// The number of the nearest code word of each row.
    fn nearest(&self, rows: &Tensor) -> Result<Tensor> {
        let (rows, codes) = (rows.detach(), self.codebook.detach());
        let cross = rows.matmul(&codes.t()?.contiguous()?)?;
        let distance = (cross * -2.0)?.broadcast_add(&codes.sqr()?.sum(1)?.unsqueeze(0)?)?;
        Ok(distance.argmin(1)?)
    }

    /// The numbers of the code words of events, `[n, ..]` of the grid.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        let codes = self.nearest(&self.rows(x)?)?;
        Ok(codes.reshape([&[x.dims()[0]], &self.grid[..]].concat())?)
    }

    /// The events of the numbers of code words, `[n, ..]` of the grid.
    ///
    /// # Errors
    /// When shapes do not fit, or there is no such code word.
    pub fn decode(&self, codes: &Tensor) -> Result<Tensor> {
        if codes.rank() != self.grid.len() + 1 || codes.dims()[1..] != self.grid[..] {
            return Err(Error::Shape {
                operation: "VQ-VAE",
                what: "codes".into(),
                expected: format!("[n, {:?}]", self.grid),
                got: codes.dims().to_vec(),
            });
        }
        let rows = index_select(&self.codebook, &codes.to_dtype(DType::U32)?.flatten_all()?, 0)?;
        self.draw(&rows, codes.dims()[0])
    }

    /// The events of `n` grids of vectors `[n pixel, dim]`.
    fn draw(&self, rows: &Tensor, n: usize) -> Result<Tensor> {
        let h = self.from_codes.forward(&rows.reshape((n, (), self.config.dim))?)?;
        let h = h.transpose(1, 2)?.contiguous()?;
        let shape = [&[n, h.dims()[1]], &self.grid[..]].concat();
        self.decoder.forward(&h.reshape(shape)?)
    }
}

impl Configured for VqVae {
    type Config = VqVaeConfig;

    fn build(config: &VqVaeConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let (codes, dim, weight) = (config.codes, config.dim, config.commitment);
        check_config(
            "VQ-VAE",
            [
                ("codes and dim", codes > 1 && dim > 0, "at least 2 and 1", format!("{codes} and {dim}")),
                ("commitment", weight >= 0.0 && weight.is_finite(), "finite, at least 0", weight.to_string()),
            ],
        )?;
        let coarsest = config.conv.coarsest(&config.event)?;
        let bound = 1.0 / codes as f64;
        let init = Init::Uniform { lo: -bound, up: bound };
        Ok(Self {
            encoder: ConvDown::new(&config.conv, &config.event, vb.pp("encoder"))?,
            to_codes: Linear::new(coarsest[0], dim, vb.pp("to_codes"))?,
            codebook: vb.get_with_hints((codes, dim), "codebook.weight", init)?,
            from_codes: Linear::new(dim, coarsest[0], vb.pp("from_codes"))?,
            decoder: ConvUp::new(&config.conv, &config.event, vb.pp("decoder"))?,
            grid: coarsest[1..].to_vec(),
            config: config.clone(),
            parameters,
        })
    }
}

impl Trainable for VqVae {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.config.event, CondSpec::None)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("VQ-VAE loss", batch)?;
        let x = fields(batch, &self.parameters)?;
        let rows = self.rows(&x)?;
        let words = index_select(&self.codebook, &self.nearest(&rows)?, 0)?;
        let straight = (&rows + (&words - &rows)?.detach())?;
        let error = mse_loss(&self.draw(&straight, x.dims()[0])?, &x)?;
        let codebook = mse_loss(&words, &rows.detach())?;
        let commitment = mse_loss(&rows, &words.detach())?;
        let value = |t: &Tensor| -> Result<f32> { Ok(t.to_dtype(DType::F32)?.to_scalar()?) };
        let parts = vec![("error", value(&error)?), ("codebook", value(&codebook)?)];
        Ok(Loss { total: ((error + codebook)? + (commitment * self.config.commitment)?)?, parts })
    }
}
