//! Reverse chains that start from a map or are held to a part of one: denoising and inpainting.

use candle_core::Tensor;
use halocast_core::Rng;

use super::{Levels, ancestral_step};
use crate::batches::{in_batches, normals};
use crate::{Cond, Denoiser, Error, Result, SampleOptions};

/// How a noisy map enters the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// As x = x0 + sigma n, at the level nearest to its noise.
    #[default]
    Consistent,
    /// As x_t = sqrt(alpha_bar) x without being scaled by sqrt(alpha_bar), at the level whose sqrt(1 - alpha_bar) is
    /// nearest to its noise (Mudur & Finkbeiner 2022).
    Unscaled,
}

/// Levels from `highest` down to the lowest, at most `steps` of them, in equal steps of their index or, in a continuum, of
/// their logarithm.
fn descending(levels: &Levels, highest: f64, steps: usize) -> Result<Vec<f64>> {
    if steps == 0 || !(highest > 0.0 && highest.is_finite()) {
        return Err(Error::Config {
            model: "posterior",
            field: "steps and noise level".into(),
            expected: "positive".into(),
            got: format!("{steps} and {highest}"),
        });
    }
    let along = |i: usize| if steps == 1 { 1.0 } else { 1.0 - i as f64 / (steps - 1) as f64 };
    let start = levels.nearest(highest);
    let mut sigmas: Vec<f64> = match levels {
        Levels::Discrete(all) => {
            let top = levels.index(start);
            (0..steps).map(|i| all[(along(i) * top).round() as usize]).collect()
        }
        Levels::Continuous { min, .. } => {
            (0..steps).map(|i| (min.ln() + along(i) * (start / min).ln()).exp()).collect()
        }
    };
    sigmas.dedup();
    Ok(sigmas)
}

/// Removes noise of standard deviation `noise` from maps `noisy` `[n, ...]`: the reverse chain from the level of that
/// noise down, with at most `steps` levels, drawing the fraction `eta` of the ancestral noise anew. One call draws one
/// sample of the posterior of each map.
///
/// # Source
/// Mudur & Finkbeiner 2022, section 4 (dust).
///
/// # Errors
/// When the condition or a number does not fit, or a tensor operation fails.
pub fn denoise_from(
    denoiser: &dyn Denoiser,
    noisy: &Tensor,
    noise: f64,
    entry: Entry,
    steps: usize,
    eta: f64,
    cond: Option<&Cond>,
    rng: &mut Rng,
) -> Result<Tensor> {
    let n = noisy.dims().first().copied().unwrap_or(0);
    let sigma = match entry {
        Entry::Consistent => noise,
        // sqrt(1 - alpha_bar) = sigma / sqrt(1 + sigma^2).
        Entry::Unscaled if noise < 1.0 => noise / (1.0 - noise * noise).sqrt(),
        Entry::Unscaled => denoiser.levels().max(),
    };
    let sigmas = descending(denoiser.levels(), sigma, steps)?;
    let scale = if entry == Entry::Unscaled { sigmas[0].hypot(1.0) } else { 1.0 };
    let event = denoiser.event_shape();
    let options = SampleOptions { batch: n.max(1), ..Default::default() };
    in_batches(n, cond, sigmas.len(), &options, rng, |mut draw| {
        let mut x = (noisy * scale)?;
        for (i, &sigma) in sigmas.iter().enumerate() {
            let denoised = denoiser.denoise(&x, sigma, draw.cond.as_ref())?.detach();
            let fresh = || normals(&mut draw.streams, &event, noisy.dtype(), denoiser.device());
            x = match sigmas.get(i + 1) {
                Some(&next) => ancestral_step(&x, &denoised, sigma, next, eta, fresh)?,
                None => denoised,
            };
            (draw.tick)(i);
        }
        Ok(x)
    })
}

/// Fills in maps: `n` events that agree with `known` `[1, ...]` where `mask` `[1, ...]` is one, and are drawn where it is
/// zero, over at most `steps` levels.
///
/// At each level the known part is `known` with noise of that level, the rest the ancestral step's. Each step is taken
/// `resamplings` times, going back up a level between, which lets the parts agree; once is plain replacement, whose
/// drawn part knows too little of the known one.
///
/// # Source
/// Lugmayr et al. 2022, "RePaint", algorithm 1, with jumps of one level.
///
/// # Errors
/// When the condition or a number does not fit, or a tensor operation fails.
pub fn inpaint(
    denoiser: &dyn Denoiser,
    n: usize,
    known: &Tensor,
    mask: &Tensor,
    steps: usize,
    resamplings: usize,
    cond: Option<&Cond>,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
) -> Result<Tensor> {
    let sigmas = descending(denoiser.levels(), denoiser.levels().max(), steps)?;
    let repeats = resamplings.max(1);
    let event = denoiser.event_shape();
    let hole = mask.affine(-1.0, 1.0)?;
    let seen = known.broadcast_mul(mask)?;
    in_batches(n, cond, sigmas.len() * repeats, options, rng, |mut draw| {
        let mut fresh = || normals(&mut draw.streams, &event, known.dtype(), denoiser.device());
        let mut x = (fresh()? * sigmas[0].hypot(1.0))?;
        for (i, &sigma) in sigmas.iter().enumerate() {
            let next = sigmas.get(i + 1).copied().unwrap_or(0.0);
            for repeat in 0..repeats {
                let denoised = denoiser.denoise(&x, sigma, draw.cond.as_ref())?.detach();
                let drawn = if next > 0.0 {
                    ancestral_step(&x, &denoised, sigma, next, 1.0, &mut fresh)?
                } else {
                    denoised
                };
                let mut held = seen.broadcast_add(&drawn.zeros_like()?)?;
                if next > 0.0 {
                    held = (held + (fresh()? * next)?.broadcast_mul(mask)?)?;
                }
                x = (held + drawn.broadcast_mul(&hole)?)?;
                if repeat + 1 < repeats {
                    x = (x + (fresh()? * (sigma * sigma - next * next).max(0.0).sqrt())?)?;
                }
                (draw.tick)(i * repeats + repeat);
            }
        }
        Ok(x)
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Pairs of pixels, standard normal with correlation rho, as the two channels of a map.
    struct Pairs(Levels);
    const RHO: f64 = 0.8;

    impl Denoiser for Pairs {
        fn event_shape(&self) -> Vec<usize> {
            vec![2, 16, 16]
        }
        fn device(&self) -> &Device {
            &Device::Cpu
        }
        fn levels(&self) -> &Levels {
            &self.0
        }
        fn denoise(&self, x: &Tensor, sigma: f64, _: Option<&Cond>) -> Result<Tensor> {
            // Sum and difference have variances 1 + rho and 1 - rho.
            let gain = |v: f64| v / (v + sigma * sigma);
            let (plus, minus) = (gain(1.0 + RHO), gain(1.0 - RHO));
            let swapped = Tensor::cat(&[x.narrow(1, 1, 1)?, x.narrow(1, 0, 1)?], 1)?;
            Ok(((x * (0.5 * (plus + minus)))? + (swapped * (0.5 * (plus - minus)))?)?)
        }
    }

    fn moments(x: &Tensor) -> (f64, f64) {
        let values: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn a_hole_is_filled_by_what_is_known_and_better_with_resampling() {
        let pairs = Pairs(Levels::Continuous { min: 1e-2, max: 20.0 });
        let known = Tensor::full(1.5f32, (1, 2, 16, 16), &Device::Cpu).unwrap();
        let one = Tensor::ones((1, 1, 16, 16), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mask = Tensor::cat(&[&one, &one.zeros_like().unwrap()], 1).unwrap();
        let fill = |resamplings| {
            let options = SampleOptions::default();
            let x = inpaint(&pairs, 32, &known, &mask, 60, resamplings, None, &options, &mut Rng::new(1))
                .unwrap();
            let (kept, spread) = moments(&x.narrow(1, 0, 1).unwrap());
            assert!((kept - 1.5).abs() < 1e-6 && spread < 1e-12);
            moments(&x.narrow(1, 1, 1).unwrap())
        };
        // The posterior: mean 0.8 * 1.5 = 1.2, variance 1 - 0.64 = 0.36.
        let (once, often) = (fill(1), fill(10));
        assert!((often.0 - 1.2).abs() < 0.05 && (often.1 - 0.36).abs() < 0.06, "{often:?}");
        assert!((often.0 - 1.2).abs() < (once.0 - 1.2).abs() + 0.02, "{once:?}, {often:?}");
    }

    #[test]
    fn a_noisy_map_gives_samples_of_its_posterior() {
        let pairs = Pairs(Levels::Continuous { min: 1e-3, max: 20.0 });
        let noisy = Tensor::full(1.0f32, (32, 2, 16, 16), &Device::Cpu).unwrap();
        let x =
            denoise_from(&pairs, &noisy, 0.7, Entry::Consistent, 300, 1.0, None, &mut Rng::new(1)).unwrap();
        // Along the sum, of variance 1 + rho per normalised component: gain v / (v + sigma^2).
        let v = 1.0 + RHO;
        let mean = v / (v + 0.49);
        let variance = |v: f64| v * 0.49 / (v + 0.49);
        let expected = 0.5 * (variance(v) + variance(1.0 - RHO));
        let got = moments(&x);
        assert!((got.0 - mean).abs() < 0.02, "{got:?}, expected {mean}");
        assert!((got.1 / expected - 1.0).abs() < 0.05, "{got:?}, expected {expected}");
    }
}
