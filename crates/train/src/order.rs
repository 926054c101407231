//! Which examples a step sees.

use halocast_core::{Dataset, Rng};

use crate::Result;

/// The order of examples: every epoch a permutation that depends on the seed and the epoch alone, so that the batch of
/// any step is known without those before it.
pub(crate) struct Order {
    rng: Rng,
    epoch: Option<u64>,
    permutation: Vec<usize>,
}

impl Order {
    pub(crate) fn new(rng: Rng, examples: usize) -> Self {
        Self { rng, epoch: None, permutation: (0..examples).collect() }
    }

    /// The indices of the batch of number `number`, counted from 0.
    pub(crate) fn batch(&mut self, number: u64, size: usize) -> Vec<usize> {
        let examples = self.permutation.len() as u64;
        let first = number * size as u64;
        (first..first + size as u64)
            .map(|i| {
                self.load(i / examples);
                self.permutation[(i % examples) as usize]
            })
            .collect()
    }

    fn load(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.permutation.sort_unstable();
            self.rng.split(epoch).shuffle(&mut self.permutation);
            self.epoch = Some(epoch);
        }
    }
}

/// FNV-1a over the bits of up to 256 examples spread over the data set, as its own augmentation gives them: another data
/// set of the same size is another run.
pub(crate) fn fingerprint(dataset: &dyn Dataset) -> Result<u64> {
    let shown = dataset.len().min(256);
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for i in 0..shown {
        let batch = dataset.batch(&[i * dataset.len() / shown], &mut Rng::new(0))?;
        for value in batch.fields.iter().chain(batch.parameters.iter().flatten()) {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
        }
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_holds_every_example_once_wherever_it_is_entered() {
        let mut order = Order::new(Rng::new(1), 10);
        let all: Vec<usize> = (0..10).flat_map(|s| order.batch(s, 3)).collect();
        for epoch in all.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(Order::new(Rng::new(1), 10).batch(7, 3), all[21..24]);
        assert_ne!(all[..10], all[10..20]);
    }
}
