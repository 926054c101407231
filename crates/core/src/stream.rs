//! The random numbers of whole blocks of a stream, many at a time.
//!
//! Block i of the stream of a key is Philox4x32-10 of the counter i: four words, four numbers. The functions here are
//! plain loops over sixteen blocks, of additions, multiplications, square roots and bit operations alone: a compiler
//! turns them into vector instructions, and the numbers do not depend on which. They are inlined, so that a caller
//! compiled for more instructions than this crate gets these.

/// Blocks that are handled together.
const LANES: usize = 16;

/// Fills `out` with standard normal numbers of the blocks from `first` on, four of each block: Box & Muller (1958) of the
/// words 0 and 1 (cosine, sine), then of 2 and 3.
#[inline(always)]
pub fn normals(key: u64, first: u64, out: &mut [f32]) {
    fill(key, first, out, |words| {
        let mut numbers = [[0.0; LANES]; 4];
        for i in 0..LANES {
            (numbers[0][i], numbers[1][i]) = box_muller(words[0][i], words[1][i]);
        }
        for i in 0..LANES {
            (numbers[2][i], numbers[3][i]) = box_muller(words[2][i], words[3][i]);
        }
        numbers
    });
}

/// Fills `out` with uniform numbers in [0, 1) of the blocks from `first` on, four of each block, with 24 random bits each.
#[inline(always)]
pub fn uniforms(key: u64, first: u64, out: &mut [f32]) {
    fill(key, first, out, |words| {
        let mut numbers = [[0.0; LANES]; 4];
        for j in 0..4 {
            for i in 0..LANES {
                // Below 2^24: the signed conversion is exact, and quick everywhere.
                numbers[j][i] = (words[j][i] >> 8) as i32 as f32 * (1.0 / 16_777_216.0);
            }
        }
        numbers
    });
}

#[inline(always)]
fn fill(key: u64, first: u64, out: &mut [f32], convert: impl Fn(&[[u32; LANES]; 4]) -> [[f32; LANES]; 4]) {
    let mut first = first;
    for out in out.chunks_mut(4 * LANES) {
        let numbers = convert(&words(key, first));
        let mut quads = [[0.0; 4]; LANES];
        for i in 0..LANES {
            for j in 0..4 {
                quads[i][j] = numbers[j][i];
            }
        }
        out.copy_from_slice(&quads.as_flattened()[..out.len()]);
        first = first.wrapping_add(LANES as u64);
    }
}

/// The words of the blocks from `first` on: word j of block i at `[j][i]`.
#[inline(always)]
fn words(key: u64, first: u64) -> [[u32; LANES]; 4] {
    let mut words = [[0; LANES]; 4];
    for i in 0..LANES {
        let index = first.wrapping_add(i as u64);
        let block = philox([index as u32, (index >> 32) as u32, 0, 0], [key as u32, (key >> 32) as u32]);
        for j in 0..4 {
            words[j][i] = block[j];
        }
    }
    words
}

/// Philox4x32-10 (Salmon et al. 2011).
#[inline(always)]
pub(crate) fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let p0 = u64::from(counter[0]) * 0xD251_1F53;
        let p1 = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
    }
    counter
}

/// Two normals from two words.
#[inline(always)]
fn box_muller(w0: u32, w1: u32) -> (f32, f32) {
    // Rounding to f32 can give exactly one; its logarithm is a clean zero.
    let u = ((w0 as f32 + 0.5) * (1.0 / 4_294_967_296.0)).min(1.0);
    let radius = (-2.0 * ln(u)).sqrt();
    let (sine, cosine) = sine_cosine(w1);
    (radius * cosine, radius * sine)
}

/// The logarithm of a normal positive number to about 1 ulp (Cephes' `logf`).
#[inline(always)]
fn ln(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    const HALF_ROOT: u32 = 0x3F35_04F3;
    let bits = x.to_bits().wrapping_sub(HALF_ROOT);
    let e = ((bits as i32) >> 23) as f32;
    let r = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(HALF_ROOT)) - 1.0;
    let mut p = 7.037_683_6e-2;
    p = p * r - 1.151_461e-1;
    p = p * r + 1.167_699_9e-1;
    p = p * r - 1.242_014_1e-1;
    p = p * r + 1.424_932_3e-1;
    p = p * r - 1.666_805_8e-1;
    p = p * r + 2.000_071_5e-1;
    p = p * r - 2.499_999_4e-1;
    p = p * r + 3.333_333e-1;
    let q = r * r;
    // ln 2 in two parts, the first exact in e * 0.693359375.
    e * 0.693_359_4 + (r + (q * (p * r - 0.5) - e * 2.121_944_4e-4))
}

/// Sine and cosine of the angle of `turns / 2^32` turns, to about 1 ulp of one (Cephes' `sinf` and `cosf`).
#[inline(always)]
fn sine_cosine(turns: u32) -> (f32, f32) {
    // The nearest quarter turn, and what remains: at most an eighth of a turn to either side.
    let quarter = turns.wrapping_add(1 << 29) >> 30;
    let rest = turns.wrapping_sub(quarter << 30) as i32;
    let x = rest as f32 * (std::f32::consts::TAU / 4_294_967_296.0);
    let z = x * x;
    let sine = x + x * z * (z * (8.332_161e-3 - z * 1.951_529_6e-4) - 1.666_665_5e-1);
    let cosine = 1.0 - 0.5 * z + z * z * (z * (z * 2.443_315_7e-5 - 1.388_731_6e-3) + 4.166_664_6e-2);
    let odd = quarter & 1 == 1;
    let (a, b) = if odd { (cosine, sine) } else { (sine, cosine) };
    let negative = |x: f32, sign: u32| f32::from_bits(x.to_bits() ^ (sign << 31));
    (negative(a, quarter >> 1), negative(b, (quarter + 1) >> 1 & 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_vectors() {
        // Known answers of Random123 for philox4x32-10.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn normals_are_those_of_box_and_muller() {
        let mut out = vec![0.0; 40_003];
        // The counter passes 2^32.
        let first = (1 << 32) - 5000;
        normals(7, first, &mut out);
        for (i, quad) in out.chunks(4).enumerate() {
            let index = first + i as u64;
            let w = philox([index as u32, (index >> 32) as u32, 0, 0], [7, 0]).map(f64::from);
            for (j, &x) in quad.iter().enumerate() {
                let (w0, w1) = (w[j / 2 * 2], w[j / 2 * 2 + 1]);
                let radius = (-2.0 * ((w0 + 0.5) / 4_294_967_296.0).ln()).sqrt();
                let (sine, cosine) = (std::f64::consts::TAU * w1 / 4_294_967_296.0).sin_cos();
                let expected = radius * if j % 2 == 0 { cosine } else { sine };
                // Rounding the uniform to f32 matters for a radius near zero.
                let tolerance = 1e-6 + 1e-7 / radius;
                assert!((f64::from(x) - expected).abs() < tolerance, "{i} {j}: {x} {expected}");
            }
        }
    }

    #[test]
    fn the_extreme_words_give_finite_numbers() {
        for w0 in [0, 1, u32::MAX - 200, u32::MAX] {
            for w1 in [0, 1 << 29, (1 << 29) - 1, 1 << 30, 1 << 31, 3 << 30, u32::MAX] {
                let (a, b) = box_muller(w0, w1);
                assert!(a.is_finite() && b.is_finite(), "{w0} {w1}: {a} {b}");
            }
        }
        assert_eq!(box_muller(u32::MAX, 0).0, 0.0);
    }
}
