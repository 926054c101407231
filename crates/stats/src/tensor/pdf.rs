//! The distribution of pixels of batches of maps, exact and differentiable.

use candle_core::Tensor;
use halocast_kernels::sigmoid;

use super::{Batch, faults, rounded_up, tensor_error};
use crate::{Bins, Error, Result};

const OPERATION: &str = "pixel distribution of tensors";

/// The probability density of the pixels of each map, `[.., y, x]` to `[.., bins]`: that of
/// [`PixelPdf::density`](crate::PixelPdf::density), counted on the device. Not differentiable. O(N bins).
///
/// # Errors
/// [`Error::Mismatch`] for a tensor without two axes of pixels; [`Error::Value`] for a type other than `f32` and `f64`;
/// [`Error::Tensor`] where Candle fails.
pub fn pdf(x: &Tensor, bins: &Bins) -> Result<Tensor> {
    let last = bins.count();
    densities(x, bins, |pixels, i| {
        let edge = bins.edges()[i];
        if i < last {
            pixels.ge(rounded_up(edge, pixels.dtype()))?.to_dtype(pixels.dtype())
        } else {
            // The last bin is closed: what lies above it is what is not at most the edge.
            let above = -rounded_up(-edge, pixels.dtype());
            pixels.gt(above)?.to_dtype(pixels.dtype())
        }
    })
}

/// A differentiable [`pdf`]: each pixel is spread by a logistic kernel of scale `width`,
///
/// $$ p_b = \frac{1}{N \Delta_b} \sum_i \left[ s\!\left(\frac{x_i - e_b}{h}\right) -
///    s\!\left(\frac{x_i - e_{b+1}}{h}\right) \right], \qquad s(t) = \frac{1}{1 + e^{-t}} $$
///
/// with edges e_b and the width h: the histogram for h to 0, and the same total in the limit of wide bins. A width of
/// half a bin has gradients everywhere.
///
/// # Errors
/// As [`pdf`]; [`Error::Value`] for a width that is not finite and positive.
pub fn soft_pdf(x: &Tensor, bins: &Bins, width: f64) -> Result<Tensor> {
    if !(width.is_finite() && width > 0.0) {
        let (what, expected) = ("the width".into(), "finite and positive".into());
        return Err(Error::Value { operation: OPERATION, what, expected, got: width.to_string() });
    }
    densities(x, bins, |pixels, i| {
        let edge = bins.edges()[i];
        Ok(sigmoid(&pixels.affine(1.0 / width, -edge / width)?)?)
    })
}

/// Differences of the mean of `beyond`, the share of each pixel beyond edge i, over the widths of the bins.
fn densities(
    x: &Tensor,
    bins: &Bins,
    beyond: impl Fn(&Tensor, usize) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let batch = Batch::new(OPERATION, x, &[0, 0])?;
    let of = || {
        let pixels = batch.flat.flatten_from(1)?;
        let mut parts = Vec::with_capacity(bins.count());
        let mut lower = beyond(&pixels, 0)?.mean_keepdim(1)?;
        for (i, edges) in bins.edges().windows(2).enumerate() {
            let upper = beyond(&pixels, i + 1)?.mean_keepdim(1)?;
            parts.push(((&lower - &upper)? / (edges[1] - edges[0]))?);
            lower = upper;
        }
        let density = Tensor::cat(&parts, 1)?.broadcast_add(&faults(&pixels)?)?;
        batch.unflatten(&density)
    };
    of().map_err(tensor_error(OPERATION))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use halocast_core::Map;
    use ndarray::Array2;

    use super::super::tests::{check_gradient, noise};
    use super::*;
    use crate::pixel_pdf;

    #[test]
    fn densities_are_those_of_the_maps() {
        // Values on the edges too, which float32 does not hold.
        let x = ((noise(&[3, 12, 10], 1) * 20.0).unwrap().round().unwrap() / 20.0).unwrap();
        let x = x.to_dtype(DType::F32).unwrap();
        let maps: Vec<Map> = (0..3)
            .map(|i| {
                let values = x.get(i).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                Map::square("noise", Array2::from_shape_vec((12, 10), values).unwrap(), 1.0)
            })
            .collect();
        let bins = Bins::linear(-1.5, 1.45, 59).unwrap();
        let expected = pixel_pdf(&maps, &bins).unwrap().density();
        for dtype in [DType::F32, DType::F64] {
            let found = pdf(&x.to_dtype(dtype).unwrap(), &bins).unwrap().to_dtype(DType::F64).unwrap();
            for (a, b) in found.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{dtype:?}: {a} {b}");
            }
        }
        let x = x.to_dtype(DType::F64).unwrap();
        // Halfway between the values there is nothing to be soft about.
        let bins = Bins::linear(-1.475, 1.475, 59).unwrap();
        let expected = pixel_pdf(&maps, &bins).unwrap().density();
        let found = soft_pdf(&x, &bins, 1e-4).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn the_soft_one_keeps_its_total_and_has_gradients() {
        let (x, bins) = (noise(&[2, 5, 4], 2), Bins::linear(-20.0, 20.0, 80).unwrap());
        let total = (soft_pdf(&x, &bins, 0.3).unwrap().sum(1).unwrap() * 0.5).unwrap();
        assert!(total.to_vec1::<f64>().unwrap().iter().all(|t| (t - 1.0).abs() < 1e-9));
        let (bins, target) = (Bins::linear(-2.0, 2.0, 8).unwrap(), noise(&[2, 8], 3));
        check_gradient(&x, 1e-6, |x| {
            let found = soft_pdf(x, &bins, 0.25).unwrap();
            (found - &target).unwrap().sqr().unwrap().sum_all().unwrap()
        });
    }

    #[test]
    fn a_pixel_that_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY] {
            let x = Tensor::from_vec(vec![0.5, 0.5, 0.5, bad, 0.5, 0.5, 0.5, 0.5], (2, 2, 2), &Device::Cpu);
            let found = pdf(&x.unwrap(), &Bins::linear(0.0, 1.0, 1).unwrap()).unwrap();
            let found = found.to_vec2::<f32>().unwrap();
            assert!(found[0][0].is_nan() && found[1][0] == 1.0);
        }
        let flat = Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap();
        assert!(pdf(&flat, &Bins::linear(0.0, 1.0, 1).unwrap()).is_err());
        assert!(soft_pdf(&noise(&[2, 2], 1), &Bins::linear(0.0, 1.0, 1).unwrap(), 0.0).is_err());
    }
}
