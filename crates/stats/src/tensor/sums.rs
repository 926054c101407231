//! Weighted sums of the entries of a row that fall into each of many bins, as operations on whole tensors.

use candle_core::{DType, Device, Result, Tensor};

use super::constants;

/// Entries of one bin that are summed together before bins are.
const RUN: usize = 64;

/// $y_b = \sum_{i \in b} w_i x_i$ for the bins b of a row x.
///
/// Entries stand sorted by bin in runs of a fixed length, the last run of a bin filled with entries of no weight. Runs
/// are summed along an axis, and a small matrix adds the runs of each bin: nothing is added at random places, so that
/// the result is the same every time on every device.
pub(super) struct Sums {
    picks: Tensor,
    weights: Tensor,
    runs: usize,
    add: Tensor,
}

impl Sums {
    /// Sums of `bins` bins over entries `(bin, place, weight)`.
    pub(super) fn new(
        mut entries: Vec<(u32, u32, f64)>,
        bins: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        entries.sort_by_key(|e| (e.0, e.1));
        let (mut picks, mut weights, mut owner) = (Vec::<u32>::new(), Vec::new(), Vec::new());
        for own in entries.chunk_by(|a, b| a.0 == b.0) {
            for run in own.chunks(RUN) {
                owner.push(own[0].0 as usize);
                picks.extend(run.iter().map(|e| e.1));
                weights.extend(run.iter().map(|e| e.2));
                picks.resize(owner.len() * RUN, run[0].1);
                weights.resize(owner.len() * RUN, 0.0);
            }
        }
        let runs = owner.len();
        let mut add = vec![0.0; runs * bins];
        owner.iter().enumerate().for_each(|(run, bin)| add[run * bins + bin] = 1.0);
        Ok(Self {
            picks: Tensor::from_vec(picks, runs * RUN, device)?,
            weights: constants(weights, &[runs * RUN], dtype, device)?,
            runs,
            add: constants(add, &[runs, bins], dtype, device)?,
        })
    }

    /// `[batch, entries]` to `[batch, bins]`.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let picked = x.index_select(&self.picks, 1)?.broadcast_mul(&self.weights)?;
        picked.reshape((x.dim(0)?, self.runs, RUN))?.sum(2)?.matmul(&self.add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_a_loop() {
        let x: Vec<f64> = (0..300).map(|i| f64::from(i * i % 17) - 5.0).collect();
        let entries: Vec<(u32, u32, f64)> =
            (0..300u32).flat_map(|i| [(i % 3, i, 0.5), (4, 299 - i, f64::from(i))]).collect();
        let mut expected = [0.0; 6];
        entries.iter().for_each(|&(bin, place, w)| expected[bin as usize] += w * x[place as usize]);
        let sums = Sums::new(entries, 6, DType::F64, &Device::Cpu).unwrap();
        let found = sums.apply(&Tensor::from_vec(x, (1, 300), &Device::Cpu).unwrap()).unwrap();
        for (a, b) in found.to_vec2::<f64>().unwrap()[0].iter().zip(expected) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}
