//! Parameters from clouds of points.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use halocast_kernels::mse_loss;
use halocast_kernels::nn::BatchNorm;

use super::{Head, PointFeatures, PointNetConfig};
use crate::network::{Context, Dropout};
use crate::{Configured, ExampleSpec, Loss, Parameters, Result, Trainable};

/// A PointNet that infers the parameters $\theta$ of a cloud (Omega_m and sigma_8 of the positions of haloes, for one) by
/// least squares,
///
/// $$ L = \langle |f(X) - \theta|^2 \rangle + \lambda \langle \lVert A A^T - 1 \rVert_F \rangle, \quad
/// f(X) = \gamma\big(\max_{x \in X} h(x)\big), $$
///
/// so that f is the posterior mean of the parameters; [`PointNet::features`] is a space in which ensembles of clouds are
/// compared (a Frechet distance). The order of the points does not matter, nor does a point that is there twice.
///
/// # Source
/// Qi et al. 2017, arXiv:1612.00593.
///
/// # Differences
/// Regression in place of classification. Padding is replaced by copies of the cloud's first point: no maximum changes,
/// but the moments of batch normalisation count that point more often.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_models::Configured;
/// use halocast_models::pointnet::{PointNet, PointNetConfig};
///
/// let config = PointNetConfig { points: 8, widths: [4, 6, 10], head: [8, 6], ..Default::default() };
/// let model = PointNet::new(&config, 1, &Device::Cpu)?;
/// let clouds = Tensor::ones((2, 8, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.predict(&clouds, None)?.dims(), [2, 2]);
/// assert_eq!(model.features(&clouds, None)?.dims(), [2, 10]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct PointNet {
    config: PointNetConfig,
    body: PointFeatures,
    head: Head,
    parameters: Parameters,
}

impl PointNet {
    /// The configuration.
    pub fn config(&self) -> &PointNetConfig {
        &self.config
    }

    /// The part that looks at points.
    pub fn body(&self) -> &PointFeatures {
        &self.body
    }

    /// The part behind the maximum.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The features `[batch, c]` of clouds `[batch, point, feature]`, of which only the first `counts[i]` points are real.
    ///
    /// # Errors
    /// When shapes or counts do not fit.
    pub fn features(&self, clouds: &Tensor, counts: Option<&[usize]>) -> Result<Tensor> {
        Ok(self.body.forward(&self.channels_first(clouds, counts)?, false)?.0)
    }

    /// The parameters `[batch, outputs]` of clouds `[batch, point, feature]`, in the model's own normalised space.
    ///
    /// # Errors
    /// When shapes or counts do not fit.
    pub fn predict(&self, clouds: &Tensor, counts: Option<&[usize]>) -> Result<Tensor> {
        self.head.forward(&self.features(clouds, counts)?, false, &Context::default())
    }

    /// `[batch, feature, point]`, padding replaced by copies of the first point.
    fn channels_first(&self, clouds: &Tensor, counts: Option<&[usize]>) -> Result<Tensor> {
        let (batch, points, features) = match clouds.dims() {
            &[batch, points, features] if features == self.config.features && points > 0 => {
                (batch, points, features)
            }
            got => {
                let expected = format!("[batch, point, {}]", self.config.features);
                let what = "clouds".to_owned();
                return Err(crate::Error::Shape { operation: "PointNet", what, expected, got: got.to_vec() });
            }
        };
        let Some(counts) = counts else { return Ok(clouds.transpose(1, 2)?.contiguous()?) };
        if counts.len() != batch || counts.iter().any(|count| *count == 0 || *count > points) {
            return Err(crate::Error::Config {
                model: "PointNet",
                field: "counts".into(),
                expected: format!("{batch} numbers from 1 to {points}"),
                got: format!("{counts:?}"),
            });
        }
        let real = counts.iter().flat_map(|&count| (0..points).map(move |i| f32::from(i < count)));
        let real = Tensor::from_iter(real, clouds.device())?.reshape((batch, points, 1))?;
        let real = real.to_dtype(clouds.dtype())?.broadcast_as((batch, points, features))?;
        let first = clouds.narrow(1, 0, 1)?.broadcast_as((batch, points, features))?;
        let filled = ((clouds - &first)? * real)?.add(&first)?;
        Ok(filled.transpose(1, 2)?.contiguous()?)
    }
}

impl Configured for PointNet {
    type Config = PointNetConfig;

    fn build(config: &PointNetConfig, builder: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.validate()?;
        let body = PointFeatures::new(config, builder.pp("feat"))?;
        Ok(Self { config: config.clone(), body, head: Head::new(config, builder)?, parameters })
    }
}

impl Trainable for PointNet {
    fn example(&self) -> ExampleSpec {
        ExampleSpec {
            fields: vec![self.config.points, self.config.features],
            parameters: Some(self.config.outputs),
            condition: None,
        }
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn trains(&self, _phase: usize, parameter: &str) -> bool {
        !BatchNorm::is_buffer(parameter)
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("PointNet loss", batch)?;
        let tensor = |values: Vec<f32>, shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape, self.device())?.to_dtype(self.parameters.dtype())?)
        };
        let clouds = tensor(batch.fields.iter().copied().collect(), batch.fields.shape())?;
        let target = match &batch.parameters {
            Some(p) => tensor(p.iter().copied().collect(), p.shape())?,
            None => tensor(vec![], &[0, self.config.outputs])?,
        };
        let dropout = Dropout::new(batch.shard.generators(rng));
        let context = Context { dropout: Some(&dropout), ..Default::default() };
        let x = self.channels_first(&clouds, batch.counts.as_deref())?;
        let (features, _, turn) = self.body.forward(&x, true)?;
        let error = mse_loss(&self.head.forward(&features, true, &context)?, &target)?;
        let value = |t: &Tensor| -> Result<f32> { Ok(t.to_dtype(DType::F32)?.to_scalar()?) };
        let mut parts = vec![("error", value(&error)?)];
        let total = match turn {
            Some(matrix) => {
                let far = distance_from_orthogonal(&matrix)?;
                parts.push(("orthogonality", value(&far)?));
                (error + (far * self.config.regularizer)?)?
            }
            None => error,
        };
        Ok(Loss { total, parts })
    }
}

/// The mean of $\lVert A A^T - 1 \rVert_F$ over matrices `[b, n, n]`.
fn distance_from_orthogonal(matrix: &Tensor) -> Result<Tensor> {
    let n = matrix.dims()[1];
    let identity = Tensor::eye(n, DType::F32, matrix.device())?.to_dtype(matrix.dtype())?;
    let product = matrix.contiguous()?.matmul(&matrix.transpose(1, 2)?.contiguous()?)?;
    let square = product.broadcast_sub(&identity)?.sqr()?.sum((1, 2))?;
    Ok(square.sqrt()?.mean_all()?)
}
