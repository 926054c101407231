//! A history of fakes.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_core::Rng;

use crate::Result;

/// Fakes of earlier steps, so that a discriminator does not forget what generators have tried before.
///
/// The fakes are parameters that no gradient moves: they are part of a model's state, and a run that resumes goes on with
/// them. A fake is kept with probability one half in a slot drawn at random ([`Pool::keep`]); with probability one half a
/// slot drawn at random, if one was kept there, is shown in place of a fake ([`Pool::show`]). All draws are those of the
/// example's generator, so that they do not depend on how a batch is divided, and to keep the same fake again changes
/// nothing.
///
/// # Source
/// Shrivastava et al. 2017, arXiv:1612.07828, section 2.3.
///
/// # Differences
/// In the code of CycleGAN what is shown is what is replaced, in one stroke; here the generator's phase keeps and the
/// discriminator's shows, so that each loss is a function of the state that it finds. The ages of what is shown have the
/// same distribution. When ranks share a batch, each keeps the fakes of its own examples, and a file holds those of one.
pub(super) struct Pool {
    fakes: Tensor,
    /// 1 for a slot that holds one.
    kept: Tensor,
}

impl Pool {
    /// A pool of `size` fakes of the shape `event`; none for a size of zero.
    pub(super) fn new(size: usize, event: &[usize], vb: VarBuilder) -> Result<Option<Self>> {
        if size == 0 {
            return Ok(None);
        }
        let shape: Vec<usize> = std::iter::once(size).chain(event.iter().copied()).collect();
        let fakes = vb.get_with_hints(shape, "fakes", Init::Const(0.0))?;
        Ok(Some(Self { fakes, kept: vb.get_with_hints(size, "kept", Init::Const(0.0))? }))
    }

    fn draw(&self, rng: &mut Rng) -> (bool, usize) {
        (rng.uniform() < 0.5, rng.below(self.kept.elem_count()))
    }

    /// Keeps about half of the fakes `[batch, ...]`, by the generator of each.
    pub(super) fn keep(&self, fakes: &Tensor, generators: &mut [Rng]) -> Result<()> {
        let fakes = fakes.detach().contiguous()?;
        let one = Tensor::ones(1, self.kept.dtype(), self.kept.device())?;
        for (i, generator) in generators.iter_mut().enumerate() {
            let (keeps, slot) = self.draw(generator);
            if keeps && self.fakes.is_variable() {
                self.fakes.slice_set(&fakes.narrow(0, i, 1)?, 0, slot)?;
                self.kept.slice_set(&one, 0, slot)?;
            }
        }
        Ok(())
    }

    /// The fakes `[batch, ...]`, about half of them replaced by some that were kept.
    pub(super) fn show(&self, fakes: &Tensor, generators: &mut [Rng]) -> Result<Tensor> {
        let kept = self.kept.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
        let all = self.fakes.detach();
        let shown = generators.iter_mut().enumerate().map(|(i, generator)| {
            let (old, slot) = self.draw(generator);
            if old && kept[slot] > 0.0 { all.narrow(0, slot, 1) } else { fakes.narrow(0, i, 1) }
        });
        // A copy: what is kept later must not change it.
        Ok(Tensor::cat(&shown.collect::<candle_core::Result<Vec<_>>>()?, 0)?.copy()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use halocast_core::Shard;

    use super::*;
    use crate::Parameters;

    fn batch(step: usize) -> Tensor {
        Tensor::full(step as f32, (4, 1, 1, 1), &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn about_half_of_what_is_shown_is_old_and_of_the_age_of_the_pool() {
        let parameters = Parameters::new(1, &Device::Cpu);
        let pool = Pool::new(50, &[1, 1, 1], parameters.builder()).unwrap().unwrap();
        let (mut ages, mut shown) = (Vec::new(), 0);
        let mut rng = Rng::new(2);
        for step in 1..=2000 {
            pool.keep(&batch(step), &mut Shard::whole(4).generators(&mut rng)).unwrap();
            let seen = values(&pool.show(&batch(step), &mut Shard::whole(4).generators(&mut rng)).unwrap());
            if step > 500 {
                shown += seen.len();
                ages.extend(seen.iter().filter(|v| **v < step as f32).map(|v| step as f32 - v));
            }
        }
        // Half are drawn from the pool, and of these 1 in 25 is of this step: 0.48 of 6000, with error 0.0065.
        let fraction = ages.len() as f64 / shown as f64;
        assert!((fraction - 0.48).abs() < 0.03, "{fraction}");
        // Two of 50 slots are replaced a step: a mean age of 25 steps.
        let mean = ages.iter().sum::<f32>() / ages.len() as f32;
        assert!((mean - 25.0).abs() < 4.0, "{mean}");
    }

    #[test]
    fn it_is_part_of_the_state_and_does_not_depend_on_how_a_batch_is_divided() {
        let run = |ranks: usize| {
            let parameters = Parameters::new(1, &Device::Cpu);
            let pool = Pool::new(8, &[1, 1, 1], parameters.builder()).unwrap().unwrap();
            for step in 1..20 {
                for rank in 0..ranks {
                    let shard = Shard::of_rank(rank, ranks, 4);
                    let fakes = batch(step).narrow(0, shard.first, shard.len).unwrap();
                    pool.keep(&fakes, &mut shard.generators(&mut Rng::new(step as u64))).unwrap();
                }
            }
            parameters.named().iter().flat_map(|(_, var)| values(var)).collect::<Vec<f32>>()
        };
        assert_eq!(run(1), run(4));
        assert!(run(1).iter().any(|v| *v > 1.0));
    }
}
