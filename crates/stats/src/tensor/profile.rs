//! Radial profiles of batches of maps.

use candle_core::{DType, Device, Tensor};

use super::sums::Sums;
use super::{Batch, constants, tensor_error};
use crate::{Error, Result, Rings};

const OPERATION: &str = "radial profiles of tensors";

/// [`Rings`] on a device: the mean of each ring of a batch of images. Differentiable. O(N).
pub struct RingPlan {
    shape: [usize; 2],
    sums: Sums,
    empty: Tensor,
}

impl RingPlan {
    /// The rings, for tensors of this type and device.
    ///
    /// # Errors
    /// [`Error::TooFew`] where no ring holds a pixel; [`Error::Tensor`] where Candle fails.
    pub fn new(rings: &Rings, dtype: DType, device: &Device) -> Result<Self> {
        let operation = OPERATION;
        let area = rings.area();
        let entries: Vec<(u32, u32, f64)> = rings
            .entries()
            .into_iter()
            .map(|(ring, pixel, share)| (ring, pixel, share / area[ring as usize]))
            .collect();
        if entries.is_empty() {
            let what = "the pixels of all rings".into();
            return Err(Error::TooFew { operation, what, expected: 1, got: 0 });
        }
        let empty: Vec<f64> = area.iter().map(|a| if *a > 0.0 { 0.0 } else { f64::NAN }).collect();
        let make = || {
            let bins = area.len();
            Ok((Sums::new(entries, bins, dtype, device)?, constants(empty, &[bins], dtype, device)?))
        };
        let (sums, empty) = make().map_err(tensor_error(operation))?;
        Ok(Self { shape: rings.shape(), sums, empty })
    }

    /// The mean of each ring, `[.., y, x]` to `[.., rings]`: that of
    /// [`RadialProfile::mean`](crate::RadialProfile::mean), NaN in a ring without pixels.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape; [`Error::Value`] for a type other than `f32` and `f64`; [`Error::Tensor`]
    /// where Candle fails, as for a plan of another type or device.
    pub fn mean(&self, x: &Tensor) -> Result<Tensor> {
        let batch = Batch::new(OPERATION, x, &self.shape)?;
        let of = || {
            let mean = self.sums.apply(&batch.flat.flatten_from(1)?)?;
            batch.unflatten(&mean.broadcast_add(&self.empty)?)
        };
        of().map_err(tensor_error(OPERATION))
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Map;
    use ndarray::Array2;

    use super::super::tests::{check_gradient, noise};
    use super::*;
    use crate::{Bins, Membership};

    #[test]
    fn rings_have_the_means_of_their_images() {
        let x = noise(&[2, 2, 14, 19], 1).to_dtype(DType::F32).unwrap();
        let maps: Vec<Map> = x
            .reshape((4, 14 * 19))
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
            .into_iter()
            .map(|v| Map::square("noise", Array2::from_shape_vec((14, 19), v).unwrap(), 1.0))
            .collect();
        let bins = Bins::new(vec![0.0, 0.1, 2.0, 3.3, 7.0, 12.0]).unwrap();
        for membership in [Membership::Centre, Membership::Exact] {
            let rings = Rings::new([14, 19], [6.2, 9.0], &bins, membership).unwrap();
            let expected = rings.profiles(&maps).unwrap();
            for dtype in [DType::F32, DType::F64] {
                let plan = RingPlan::new(&rings, dtype, &Device::Cpu).unwrap();
                let found = plan.mean(&x.to_dtype(dtype).unwrap()).unwrap();
                assert_eq!(found.dims(), [2, 2, 5]);
                let found: Vec<f64> =
                    found.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let expected = expected.iter().flat_map(|p| p.mean());
                for (a, b) in found.iter().zip(expected) {
                    assert!((a - b).abs() < 1e-5 || (a.is_nan() && b.is_nan()), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn its_gradient_is_that_of_differences() {
        let bins = Bins::linear(0.0, 4.0, 3).unwrap();
        let rings = Rings::new([5, 6], [2.0, 2.5], &bins, Membership::Exact).unwrap();
        let plan = RingPlan::new(&rings, DType::F64, &Device::Cpu).unwrap();
        check_gradient(&noise(&[2, 5, 6], 2), 1e-5, |x| {
            plan.mean(x).unwrap().sqr().unwrap().sum_all().unwrap()
        });
        let far = Rings::new([5, 6], [50.0, 50.0], &bins, Membership::Centre).unwrap();
        assert!(RingPlan::new(&far, DType::F64, &Device::Cpu).is_err());
    }
}
