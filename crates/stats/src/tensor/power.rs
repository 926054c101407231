//! Power spectra of batches of maps and cubes.

use candle_core::{DType, Device, Tensor};
use halocast_kernels::{FourierNorm, rfft};

use super::sums::Sums;
use super::{Batch, tensor_error};
use crate::power::{Modes, normalisation};
use crate::{Binning, Error, PowerConvention, Result};

const OPERATION: &str = "power spectra of tensors";

/// What P(k) of maps or cubes of one shape needs: made once, used for every batch.
///
/// $$ P_b = \frac{V}{N^2} \frac{1}{N_b} \sum_{k \in b} |F_k|^2, \qquad F = \mathrm{rfft}(f) $$
///
/// over the independent modes of a bin, in the convention of [`power_spectra`](crate::power_spectra) and
/// [`power_spectrum_3d`](crate::power_spectrum_3d). Where the zero mode has no bin the mean of each field is subtracted
/// first, so that a large one costs no digits. O(N log N); on the CPU in `f64`, and for sides that the kernels of a
/// device lack, O(N n).
pub struct PowerPlan {
    grid: Vec<usize>,
    subtract: bool,
    sums: Sums,
    k: Vec<f64>,
    modes: Vec<u64>,
    below_nyquist: Vec<usize>,
    judged: Tensor,
}

impl PowerPlan {
    /// For fields of `grid`, `[ny, nx]` or `[nx, ny, nz]`, and these sides in the same order.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of axes, an empty one, or an absurd side; [`Error::Tensor`] where Candle fails.
    pub fn new(
        grid: &[usize],
        extent: &[f64],
        convention: PowerConvention,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let operation = OPERATION;
        let refuse = |what: &str, expected: &str, got: String| {
            Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
        };
        if !(2..=3).contains(&grid.len()) || grid.contains(&0) || extent.len() != grid.len() {
            let got = format!("{grid:?} on {extent:?}");
            return refuse("the grid", "two or three axes, not empty, a side for each", got);
        }
        if grid.iter().product::<usize>() > u32::MAX as usize {
            return refuse("the grid", "below 2^32 cells", format!("{grid:?}"));
        }
        if let Some(side) = extent.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return refuse("a side", "finite and positive", side.to_string());
        }
        let (mut shape, mut sides) = ([1; 3], [1.0; 3]);
        shape[3 - grid.len()..].copy_from_slice(grid);
        sides[3 - grid.len()..].copy_from_slice(extent);
        let modes = Modes::new(shape, sides, convention.binning, convention.window);
        let norm = normalisation(shape, sides, convention.binning);
        let (half, last) = (shape[2] / 2 + 1, modes.last_window().to_vec());
        let mut entries = Vec::new();
        for x in 0..shape[0] {
            for y in 0..shape[1] {
                let (first, row) = ((x * shape[1] + y) * half, modes.row_window(x, y));
                modes.visit_row(x, y, |bin, weight, z| {
                    let weight = norm * weight * row * last[z] / modes.count[bin] as f64;
                    entries.push((bin as u32, (first + z) as u32, weight));
                });
            }
        }
        let limit = modes.nyquist * (1.0 + 1e-9);
        let below_nyquist: Vec<usize> =
            (0..modes.k.len()).filter(|&i| modes.k[i] > 0.0 && modes.edges[i][1] <= limit).collect();
        let judged: Vec<u32> = below_nyquist.iter().map(|&i| i as u32).collect();
        Ok(Self {
            sums: Sums::new(entries, modes.k.len(), dtype, device).map_err(tensor_error(operation))?,
            judged: Tensor::from_vec(judged, below_nyquist.len(), device).map_err(tensor_error(operation))?,
            grid: grid.to_vec(),
            subtract: convention.binning == Binning::Pylians,
            k: modes.k,
            modes: modes.count,
            below_nyquist,
        })
    }

    /// The wavenumber of each bin, in 1 / length unit.
    pub fn k(&self) -> &[f64] {
        &self.k
    }

    /// The number of independent modes of each bin.
    pub fn modes(&self) -> &[u64] {
        &self.modes
    }

    /// The bins that lie below the Nyquist wavenumber; see [`PowerSpectra::below_nyquist`](crate::PowerSpectra).
    pub fn below_nyquist(&self) -> &[usize] {
        &self.below_nyquist
    }

    /// The power of each field: `[.., grid]` to `[.., bins]`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another grid; [`Error::Value`] for a type other than `f32` and `f64`; [`Error::Tensor`]
    /// where Candle fails, as for a plan of another type or device.
    pub fn power(&self, x: &Tensor) -> Result<Tensor> {
        let batch = Batch::new(OPERATION, x, &self.grid)?;
        let of = || {
            let mut flat = batch.flat.flatten_from(1)?;
            if self.subtract {
                flat = flat.broadcast_sub(&flat.mean_keepdim(1)?)?;
            }
            let field = flat.reshape(batch.flat.shape())?;
            let squares = rfft(&field, self.grid.len(), FourierNorm::Backward)?.sqr()?;
            let norm = squares.sum(squares.rank() - 1)?.flatten_from(1)?;
            batch.unflatten(&self.sums.apply(&norm)?)
        };
        of().map_err(tensor_error(OPERATION))
    }

    /// A loss: the mean over bins below Nyquist of the square of ln(P_samples / P_truth), P the mean over each batch.
    ///
    /// # Errors
    /// As [`PowerPlan::power`]; [`Error::TooFew`] when no bin lies below Nyquist.
    pub fn log_distance(&self, samples: &Tensor, truth: &Tensor) -> Result<Tensor> {
        let operation = OPERATION;
        if self.below_nyquist.is_empty() {
            let what = "the bins below Nyquist".into();
            return Err(Error::TooFew { operation, what, expected: 1, got: 0 });
        }
        let (samples, truth) = (self.power(samples)?, self.power(truth)?);
        let of = || {
            let mean = |p: &Tensor| {
                let bins = p.dim(p.rank() - 1)?;
                p.reshape(((), bins))?.mean(0)?.index_select(&self.judged, 0)?.log()
            };
            (mean(&samples)? - mean(&truth)?)?.sqr()?.mean_all()
        };
        of().map_err(tensor_error(operation))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use halocast_core::{Cube, Map, Unit};
    use ndarray::{Array2, Array3};

    use super::super::tests::{check_gradient, noise};
    use super::*;
    use crate::{Window, power_spectra, power_spectrum_3d};

    #[test]
    fn batches_have_the_spectra_of_their_maps() {
        for (convention, shape, extent) in [
            (PowerConvention::pylians(), [16, 16], [25.0, 25.0]),
            (PowerConvention::mudur(), [16, 16], [25.0, 25.0]),
            (PowerConvention::pylians().with_window(Window::Cic), [9, 14], [2.0, 5.0]),
        ] {
            // A mean a thousand times the scatter, as densities have; rings have the power of the mean beside them.
            let mean = if convention.binning == Binning::Mudur { 0.1 } else { 1000.0 };
            let x = (noise(&[2, 3, shape[0], shape[1]], 1) + mean).unwrap().to_dtype(DType::F32).unwrap();
            let maps: Vec<Map> = x
                .reshape((6, shape[0] * shape[1]))
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
                .into_iter()
                .map(|v| {
                    let values = Array2::from_shape_vec((shape[0], shape[1]), v).unwrap();
                    Map { extent, ..Map::square("noise", values, 1.0) }
                })
                .collect();
            let expected = power_spectra(&maps, convention).unwrap();
            for dtype in [DType::F32, DType::F64] {
                let plan = PowerPlan::new(&shape, &extent, convention, dtype, &Device::Cpu).unwrap();
                assert_eq!((plan.k(), plan.modes()), (&expected.k[..], &expected.modes[..]));
                assert_eq!(plan.below_nyquist(), expected.below_nyquist());
                let found = plan.power(&x.to_dtype(dtype).unwrap()).unwrap();
                assert_eq!(found.dims(), [2, 3, expected.k.len()]);
                let found: Vec<f64> =
                    found.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                for (a, b) in found.iter().zip(&expected.power) {
                    assert!((a / b - 1.0).abs() < 1e-4, "{convention:?} {dtype:?}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn cubes_have_theirs() {
        let shape = [6, 8, 5];
        let x = noise(&[1, 6, 8, 5], 2);
        let values: Vec<f32> = x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let cube = Cube {
            values: Array3::from_shape_vec((6, 8, 5), values).unwrap(),
            extent: [3.0, 4.0, 5.0],
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "noise".into(),
            periodic: true,
        };
        let convention = PowerConvention::pylians();
        let expected = power_spectrum_3d(&cube, convention).unwrap();
        let plan = PowerPlan::new(&shape, &cube.extent, convention, DType::F64, &Device::Cpu).unwrap();
        let found = plan.power(&x).unwrap().to_vec2::<f64>().unwrap().remove(0);
        for (a, b) in found.iter().zip(&expected.power) {
            assert!((a / b - 1.0).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn its_gradient_is_that_of_differences_and_leads_to_the_truth() {
        let plan = |dtype| {
            PowerPlan::new(&[6, 7], &[1.0, 1.0], PowerConvention::pylians(), dtype, &Device::Cpu).unwrap()
        };
        let truth = (noise(&[4, 6, 7], 3) * 2.0).unwrap();
        let double = plan(DType::F64);
        check_gradient(&noise(&[2, 6, 7], 4), 1e-6, |x| double.log_distance(x, &truth).unwrap());

        // Descent in float32, by Candle's graph and by the tape.
        let single = plan(DType::F32);
        let truth = truth.to_dtype(DType::F32).unwrap();
        let var = Var::from_tensor(&noise(&[2, 6, 7], 4).to_dtype(DType::F32).unwrap()).unwrap();
        let value = |x: &Tensor| single.log_distance(x, &truth).unwrap().to_scalar::<f32>().unwrap();
        let first = value(&var);
        for _ in 0..300 {
            let graph = single.log_distance(&var, &truth).unwrap().backward().unwrap();
            let (loss, tape) = halocast_kernels::record(|| single.log_distance(&var, &truth)).unwrap();
            let tape = tape.backward(&loss).unwrap();
            let (a, b) = (graph.get(&var).unwrap(), tape.get(&var).unwrap());
            let off = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 1e-4);
            var.set(&(var.as_tensor() - b).unwrap()).unwrap();
        }
        assert!(value(&var) < 0.05 * first, "{first} to {}", value(&var));
    }

    #[test]
    fn absurd_plans_are_refused() {
        let plan = |grid: &[usize], extent: &[f64]| {
            let convention = PowerConvention::pylians();
            PowerPlan::new(grid, extent, convention, DType::F32, &Device::Cpu).err().map(|e| e.to_string())
        };
        assert!(plan(&[4], &[1.0]).unwrap().contains("two or three"));
        assert!(plan(&[4, 0], &[1.0, 1.0]).is_some() && plan(&[4, 4], &[1.0]).is_some());
        assert!(plan(&[4, 4], &[1.0, f64::NAN]).unwrap().contains("side"));
        assert!(plan(&[4, 4], &[1.0, 1.0]).is_none());
    }
}
