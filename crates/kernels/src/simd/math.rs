//! Elementary functions and sums in forms that vectorise, with a fixed order of rounding.

use super::fma;

/// Lanes of the partial sums: fixed, so that a sum does not depend on the level or the machine.
pub(crate) const SUM_LANES: usize = 64;

/// exp(x) to about 1 ulp for |x| < 87, clamped beyond (Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    // ln 2 in two parts, the first exact in n * LN2_HIGH.
    let r = fma::<FMA>(-n, 0.693_359_4, x);
    let r = fma::<FMA>(-n, -2.121_944_4e-4, r);
    let p = fma::<FMA>(1.987_569_1e-4, r, 1.398_2e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_5e-1);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    p * f32::from_bits(t.to_bits().wrapping_add(127) << 23)
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// ln(x) to about 1 ulp for normal positive x (Cephes' `logf`).
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    const HALF_ROOT: u32 = 0x3F35_04F3;
    let bits = x.to_bits().wrapping_sub(HALF_ROOT);
    let e = ((bits as i32) >> 23) as f32;
    let r = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(HALF_ROOT)) - 1.0;
    let mut p = 7.037_683_6e-2;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = fma::<FMA>(p, r, c);
    }
    let q = r * r;
    let p = fma::<FMA>(e, -2.121_944_4e-4, p * r * q);
    let p = fma::<FMA>(q, -0.5, p);
    fma::<FMA>(e, 0.693_359_4, r + p)
}

/// ln(1 + exp(x)), without overflow and accurate in both tails.
#[inline(always)]
pub(crate) fn log1p_exp<const FMA: bool>(x: f32) -> f32 {
    let y = exp::<FMA>(-x.abs());
    let one = 1.0 + y;
    // What rounding took from the sum is put back to first order.
    x.max(0.0) + (ln::<FMA>(one) + (y - (one - 1.0)) / one)
}

/// The sum of the lanes by halving: the same order on every machine.
#[inline(always)]
pub(crate) fn fold<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for i in 1..200_000 {
            let x = (i as f32) * 7.3e-4 + 1e-6;
            let (a, b) = (f64::from(ln::<false>(x)), f64::from(x).ln());
            assert!((a - b).abs() <= 1e-7 * b.abs().max(0.5), "ln {x}: {a} {b}");
        }
        for i in -3000..3000 {
            let x = i as f32 * 0.01;
            let (a, b) = (f64::from(log1p_exp::<false>(x)), f64::from(x).exp().ln_1p());
            assert!((a - b).abs() <= 3e-7 * b, "ln(1 + e^{x}): {a} {b}");
        }
    }
}
