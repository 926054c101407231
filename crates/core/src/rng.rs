//! A counter-based random generator: seedable, splittable, resumable, the same at any thread count.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::stream::{self, philox};

/// The whole state of an [`Rng`]: a key and a position in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    /// The key of the stream.
    pub key: u64,
    /// The number of 32-bit words drawn.
    pub position: u64,
}

/// Philox4x32-10 (Salmon et al. 2011): word i of a stream is a pure function of its key and i.
///
/// The filled uniforms and normals (by Box & Muller 1958, from pairs of words) are the same on every platform and at any
/// thread count: they are made of exactly rounded operations alone. A single [`Rng::normal`] takes the platform's logarithm
/// and cosine.
///
/// ```
/// use halocast_core::Rng;
/// let mut a = Rng::new(1);
/// let mut child = a.split(5); // independent of `a` and of its other children
/// assert_ne!(a.next_u64(), child.next_u64());
///
/// let saved = a.state();
/// let next = a.next_u64();
/// assert_eq!(Rng::from_state(saved).next_u64(), next);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: RngState,
}

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: RngState { key: mix(seed), position: 0 } }
    }

    /// Continues from a saved state.
    pub fn from_state(state: RngState) -> Self {
        Self { state }
    }

    /// The state to save.
    pub fn state(&self) -> RngState {
        self.state
    }

    /// An independent generator for `stream`: depends on this generator's key and `stream` alone, not on what was drawn.
    pub fn split(&self, stream: u64) -> Rng {
        Rng { state: RngState { key: mix(self.state.key ^ mix(stream.wrapping_add(1))), position: 0 } }
    }

    /// An independent generator for a name.
    pub fn split_named(&self, name: &str) -> Rng {
        // FNV-1a, 64 bit.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        self.split(hash)
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let word = self.block(self.state.position / 4)[(self.state.position % 4) as usize];
        self.state.position += 1;
        word
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform integer in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // Multiply-shift (Lemire 2019) on 64 bits: the bias is below n / 2^64.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A standard normal number.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (self.next_u64(), self.next_u32());
        let u = ((u >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
        let v = f64::from(v) * (1.0 / 4_294_967_296.0);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Fills with standard normal numbers, in parallel; four from each block of four words ([`stream::normals`]).
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        self.fill_with(out, stream::normals);
    }

    /// Fills with uniform numbers in [0, 1), in parallel, with 24 random bits each ([`stream::uniforms`]).
    pub fn fill_uniform(&mut self, out: &mut [f32]) {
        self.fill_with(out, stream::uniforms);
    }

    /// Fills in parallel by `fill(key, block, part)`, which is to fill the part from the blocks of the stream of `key`
    /// that start at `block`, four numbers a block. Starts at the next whole block.
    pub fn fill_with(&mut self, out: &mut [f32], fill: impl Fn(u64, u64, &mut [f32]) + Sync) {
        const PART: usize = 8192;
        let first = self.state.position.div_ceil(4);
        let key = self.state.key;
        out.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
            fill(key, first + (i * PART / 4) as u64, part);
        });
        self.state.position = 4 * (first + out.len().div_ceil(4) as u64);
    }

    /// A vector of `n` standard normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n];
        self.fill_normal(&mut out);
        out
    }

    /// Shuffles a slice (Fisher & Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Block `index` of the stream: ten rounds of Philox4x32.
    fn block(&self, index: u64) -> [u32; 4] {
        philox(
            [index as u32, (index >> 32) as u32, 0, 0],
            [self.state.key as u32, (self.state.key >> 32) as u32],
        )
    }
}

/// The finaliser of SplitMix64 (Steele et al. 2014): a bijection that scatters close seeds.
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let x = Rng::new(3).normals(400_000);
        let n = x.len() as f64;
        let moment = |p: i32| x.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / n;
        // Standard errors: 1/sqrt(n), sqrt(2/n), sqrt(15/n), sqrt(96/n); five of each.
        assert!(moment(1).abs() < 5.0 / n.sqrt());
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!(moment(3).abs() < 5.0 * (15.0 / n).sqrt());
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    }

    #[test]
    fn a_fill_is_the_same_at_any_thread_count_and_when_resumed() {
        let fill = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Rng::new(11).normals(50_001))
        };
        assert_eq!(fill(1), fill(3));
        let mut rng = Rng::new(11);
        rng.next_u32();
        let saved = rng.state();
        let a = rng.normals(10);
        assert_eq!(Rng::from_state(saved).normals(10), a);
    }

    #[test]
    fn splits_do_not_depend_on_what_was_drawn() {
        let mut rng = Rng::new(5);
        let before = rng.split(1).next_u64();
        rng.normals(100);
        assert_eq!(rng.split(1).next_u64(), before);
        assert_ne!(rng.split(2).next_u64(), before);
        assert_ne!(rng.split_named("a").next_u64(), rng.split_named("b").next_u64());
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = Rng::new(9);
        let mut counts = [0usize; 7];
        for _ in 0..70_000 {
            counts[rng.below(7)] += 1;
        }
        // Chi-squared with 6 degrees of freedom: 22.5 is the 99.9 % point.
        let chi2: f64 = counts.iter().map(|&c| (c as f64 - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 22.5, "{chi2}");
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
