//! Minkowski functionals of batches of maps, exact and differentiable.

use candle_core::{Result as CandleResult, Tensor};
use halocast_kernels::sigmoid;

use super::{Batch, constants, faults, rounded_up, tensor_error};
use crate::minkowski::{Frame, Polynomial, sorting};
use crate::{Error, MinkowskiConvention, Result};

const OPERATION: &str = "Minkowski functionals of tensors";

/// The Minkowski functionals M0, M1, M2 of each map, `[.., y, x]` to three tensors `[.., thresholds]`: those of
/// [`minkowski_functionals`](crate::minkowski_functionals). Not differentiable. O(N thresholds).
///
/// # Errors
/// [`Error::Mismatch`] for a tensor without two axes of pixels; [`Error::TooFew`] for no thresholds; [`Error::Value`] for one that
/// is not finite and for a type other than `f32` and `f64`; [`Error::Tensor`] where Candle fails.
pub fn minkowski(x: &Tensor, thresholds: &[f64], convention: MinkowskiConvention) -> Result<[Tensor; 3]> {
    functionals(x, thresholds, convention, |x, nu| x.ge(rounded_up(nu, x.dtype()))?.to_dtype(x.dtype()))
}

/// Differentiable [`minkowski`]: a pixel of value f belongs to the set of threshold nu with the probability
///
/// $$ p = \frac{1}{1 + e^{-(f - \nu) / h}} $$
///
/// of the width h, each by itself, and the functionals are the expectations over such sets: the exact ones for h to 0.
///
/// # Errors
/// As [`minkowski`]; [`Error::Value`] for a width that is not finite and positive.
pub fn soft_minkowski(
    x: &Tensor,
    thresholds: &[f64],
    width: f64,
    convention: MinkowskiConvention,
) -> Result<[Tensor; 3]> {
    if !(width.is_finite() && width > 0.0) {
        let (what, expected) = ("the width".into(), "finite and positive".into());
        return Err(Error::Value { operation: OPERATION, what, expected, got: width.to_string() });
    }
    functionals(x, thresholds, convention, |x, nu| Ok(sigmoid(&x.affine(1.0 / width, -nu / width)?)?))
}

fn functionals(
    x: &Tensor,
    thresholds: &[f64],
    convention: MinkowskiConvention,
    membership: impl Fn(&Tensor, f64) -> CandleResult<Tensor>,
) -> Result<[Tensor; 3]> {
    sorting(thresholds)?;
    let batch = Batch::new(OPERATION, x, &[0, 0])?;
    let of = || {
        let x = &batch.flat;
        let polynomial = Polynomial::new(convention);
        // [set, functional]; sets of no weight are left out.
        let used: Vec<usize> = (1..16).filter(|&s| polynomial.coefficients[s] != [0.0; 3]).collect();
        let weights: Vec<f64> = used.iter().flat_map(|&s| polynomial.coefficients[s]).collect();
        let weights = constants(weights, &[used.len(), 3], x.dtype(), x.device())?;
        let faults = faults(x)?;
        let mut columns = Vec::with_capacity(thresholds.len());
        for &nu in thresholds {
            let set = framed(&membership(x, nu)?, polynomial.frame)?;
            let sums = monomials(&set, &used)?;
            columns.push(sums.matmul(&weights)?.broadcast_add(&faults)?);
        }
        // [batch, threshold, functional].
        let all = Tensor::stack(&columns, 1)?;
        let one = |f: usize| batch.unflatten(&all.narrow(2, f, 1)?.squeeze(2)?);
        Ok([one(0)?, one(1)?, one(2)?])
    };
    of().map_err(tensor_error(OPERATION))
}

/// `[batch, y, x]` with what surrounds it.
fn framed(set: &Tensor, frame: Frame) -> CandleResult<Tensor> {
    let mut set = set.clone();
    for axis in [1, 2] {
        set = match frame {
            Frame::None => set,
            Frame::Outside => set.pad_with_zeros(axis, 1, 1)?,
            Frame::Wrapped => {
                let n = set.dim(axis)?;
                Tensor::cat(&[&set.narrow(axis, n - 1, 1)?, &set], axis)?
            }
        };
    }
    Ok(set)
}

/// The sums over windows of the products of the pixels of each set, `[batch, y, x]` to `[batch, sets]`.
fn monomials(set: &Tensor, used: &[usize]) -> CandleResult<Tensor> {
    let (batch, ny, nx) = set.dims3()?;
    if ny < 2 || nx < 2 {
        return Tensor::zeros((batch, used.len()), set.dtype(), set.device());
    }
    let pixel = |bit: usize| set.narrow(1, bit / 2, ny - 1)?.narrow(2, bit % 2, nx - 1)?.contiguous();
    let pixels = [pixel(0)?, pixel(1)?, pixel(2)?, pixel(3)?];
    // The product of a set is that of the set without its last pixel, times that pixel.
    let mut products: Vec<Option<Tensor>> = vec![None; 16];
    for code in 1..16usize {
        let last = code.ilog2() as usize;
        products[code] = Some(match &products[code & !(1 << last)] {
            None => pixels[last].clone(),
            Some(rest) => (rest * &pixels[last])?,
        });
    }
    let sums: Vec<Tensor> = used
        .iter()
        .filter_map(|&code| products[code].as_ref())
        .map(|p| p.flatten_from(1)?.sum_keepdim(1))
        .collect::<CandleResult<_>>()?;
    Tensor::cat(&sums, 1)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use halocast_core::Map;
    use ndarray::Array2;

    use super::super::tests::{check_gradient, noise};
    use super::*;
    use crate::minkowski_functionals;

    const CONVENTIONS: [MinkowskiConvention; 5] = [
        MinkowskiConvention::Quantimpy,
        MinkowskiConvention::Pixels { diagonal: true, periodic: true },
        MinkowskiConvention::Pixels { diagonal: false, periodic: true },
        MinkowskiConvention::Pixels { diagonal: true, periodic: false },
        MinkowskiConvention::Pixels { diagonal: false, periodic: false },
    ];

    fn numbers(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn functionals_are_those_of_the_maps() {
        // Many pixels lie on a threshold that float32 does not hold.
        let x = ((noise(&[2, 13, 9], 1) * 10.0).unwrap().round().unwrap() / 10.0).unwrap();
        let x = x.to_dtype(DType::F32).unwrap();
        let maps: Vec<Map> = (0..2)
            .map(|i| {
                let values = x.get(i).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                Map::square("noise", Array2::from_shape_vec((13, 9), values).unwrap(), 1.0)
            })
            .collect();
        let thresholds = [0.3, -0.1, 9.0, 0.7, -9.0];
        for convention in CONVENTIONS {
            let expected = minkowski_functionals(&maps, &thresholds, convention).unwrap();
            for dtype in [DType::F32, DType::F64] {
                let found = minkowski(&x.to_dtype(dtype).unwrap(), &thresholds, convention).unwrap();
                // Between the values the soft set of a small width is the set.
                let between = thresholds.map(|t| t - 0.05);
                let soft = soft_minkowski(&x.to_dtype(dtype).unwrap(), &between, 1e-3, convention).unwrap();
                let between = minkowski_functionals(&maps, &between, convention).unwrap();
                for f in 0..3 {
                    assert_eq!(found[f].dims(), [2, 5]);
                    for (a, b) in numbers(&found[f]).iter().zip(&expected.values[f]) {
                        assert!((a - b).abs() < 1e-4, "{convention:?} {dtype:?} M{f}: {a} {b}");
                    }
                    for (a, b) in numbers(&soft[f]).iter().zip(&between.values[f]) {
                        assert!((a - b).abs() < 1e-4, "soft {convention:?} {dtype:?} M{f}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_soft_ones_have_their_gradients() {
        let x = noise(&[2, 5, 4], 3);
        for convention in CONVENTIONS {
            check_gradient(&x, 1e-6, |x| {
                let found = soft_minkowski(x, &[-0.4, 0.6], 0.3, convention).unwrap();
                let sums = found.map(|m| m.sqr().unwrap().sum_all().unwrap());
                ((&sums[0] + &sums[1]).unwrap() + &sums[2]).unwrap()
            });
        }
    }

    #[test]
    fn one_pixel_and_bad_pixels_are_told_apart() {
        let one = Tensor::ones((1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        let open = MinkowskiConvention::Pixels { diagonal: true, periodic: false };
        let of = |convention| minkowski(&one, &[0.5], convention).unwrap().map(|m| numbers(&m)[0]);
        assert_eq!(of(MinkowskiConvention::Quantimpy), [0.0; 3]);
        assert_eq!(of(open)[0], 1.0);
        let nan = (one * f64::NAN).unwrap();
        assert!(minkowski(&nan, &[0.5], open).unwrap().iter().all(|m| numbers(m)[0].is_nan()));
        assert!(minkowski(&nan, &[], open).is_err());
        assert!(soft_minkowski(&nan, &[0.5], -1.0, open).is_err());
    }
}
