//! The batch normalisation layer.

use candle_core::{DType, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::activation::Activation;
use crate::{BatchMoments, Result, activate, batch_norm};

/// [`batch_norm`] with a weight `[channels]` of ones, a bias `[channels]` of zeros, and running averages of mean and
/// variance by which it normalises when it does not train.
///
/// Its names are PyTorch's: `weight`, `bias`, and the buffers `running_mean`, `running_var` (of the unbiased variance) and
/// `num_batches_tracked`, which have no gradient: a model that trains says that it moves none of them ([`is_buffer`]). A
/// pass in training changes them, if they are variables:
///
/// $$ \hat\mu \leftarrow (1 - m) \hat\mu + m \mu, \quad \hat\sigma^2 \leftarrow (1 - m) \hat\sigma^2 + m \frac{N}{N - 1} \sigma^2. $$
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::nn;
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = nn::BatchNorm::new(1, 1e-5, 0.1, vb.clone())?;
/// let x = Tensor::new(&[[1.0f32], [3.0]], &Device::Cpu)?;
/// let y = layer.forward(&x, true)?.to_vec2::<f32>()?;
/// assert!((y[0][0] + 1.0).abs() < 1e-4 && (y[1][0] - 1.0).abs() < 1e-4);
/// // 0.9 * 1 + 0.1 * 2, and no longer the batch's own.
/// let running = vb.get(1, "running_var")?.to_vec1::<f32>()?;
/// assert!((running[0] - 1.1).abs() < 1e-6);
/// assert!(layer.forward(&x, false)?.to_vec2::<f32>()?[1][0] > 2.0);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
///
/// [`is_buffer`]: BatchNorm::is_buffer
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    eps: f64,
    momentum: f64,
    activation: Activation,
}

impl BatchNorm {
    /// A layer without activation; PyTorch's `eps` is `1e-5` and its `momentum`, the weight of a new batch, `0.1`.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(channels: usize, eps: f64, momentum: f64, vb: VarBuilder) -> Result<Self> {
        let get = |name: &str, value: f64| vb.get_with_hints(channels, name, Init::Const(value));
        let batches = match vb.get_with_hints((), "num_batches_tracked", Init::Const(0.0)) {
            Ok(batches) => batches,
            // A state dict may lack it, or hold it as an integer.
            Err(_) => Tensor::zeros((), DType::F32, vb.device())?,
        };
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: get("running_mean", 0.0)?,
            running_var: get("running_var", 1.0)?,
            batches,
            eps,
            momentum,
            activation: Activation::None,
        })
    }

    /// The layer followed by an activation, in the same pass.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Whether a parameter of this name is one of the averages that such a layer keeps: no gradient moves it.
    pub fn is_buffer(name: &str) -> bool {
        ["running_mean", "running_var", "num_batches_tracked"].iter().any(|buffer| {
            name.strip_suffix(buffer).is_some_and(|path| path.is_empty() || path.ends_with('.'))
        })
    }

    /// Applies the layer to `x [n, channels, ..]`: by the moments of the batch, which then move the running averages, or by
    /// these averages.
    ///
    /// # Errors
    /// As [`batch_norm`].
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if train {
            let (y, moments) = batch_norm(x, &self.weight, &self.bias, self.eps, self.activation)?;
            self.track(&moments)?;
            return Ok(y);
        }
        let (mean, variance) = (self.running_mean.detach(), self.running_var.detach());
        let scale = (&self.weight / (variance + self.eps)?.sqrt()?)?;
        let offset = (&self.bias - (mean * &scale)?)?;
        let mut channel = vec![1; x.rank().max(2)];
        channel[1] = self.weight.elem_count();
        let y =
            x.broadcast_mul(&scale.reshape(channel.as_slice())?)?.broadcast_add(&offset.reshape(channel)?)?;
        if self.activation == Activation::None { Ok(y) } else { activate(&y, self.activation) }
    }

    fn track(&self, moments: &BatchMoments) -> Result<()> {
        if !self.running_mean.is_variable() {
            return Ok(());
        }
        let unbiased = moments.count as f64 / (moments.count as f64 - 1.0).max(1.0);
        let averages = [
            (&self.running_mean, &moments.mean, self.momentum),
            (&self.running_var, &moments.variance, self.momentum * unbiased),
        ];
        for (average, new, weight) in averages {
            let new = Tensor::from_slice(new, new.len(), average.device())?.to_dtype(average.dtype())?;
            let kept = (average.detach() * (1.0 - self.momentum))?;
            Var::from_tensor(average)?.set(&(kept + (new * weight)?)?)?;
        }
        if self.batches.is_variable() {
            Var::from_tensor(&self.batches)?.set(&(self.batches.detach() + 1.0)?)?;
        }
        Ok(())
    }
}
