//! A logarithm for millions of pixels.

/// The decimal logarithm of a positive normal number, to about 1 ulp and with the same bits on every platform; an infinite
/// number and NaN stay as they are. Without branches: loops of it become vector instructions.
///
/// x = m 2^e with m in [sqrt(1/2), sqrt(2)), and ln m = 2 atanh(s), s = (m - 1)/(m + 1), by its series: s^2 < 0.0295.
#[inline(always)]
pub(crate) fn log10(x: f64) -> f64 {
    const HALF_ROOT: u64 = 0x3FE6_A09E_667F_3BCD;
    const ONE: u64 = 1023 << 52;
    // 2^52 in the exponent: the low bits then count ones.
    const COUNT: u64 = 0x4330_0000_0000_0000;
    let bits = x.to_bits();
    let exponent = bits.wrapping_sub(HALF_ROOT).wrapping_add(ONE) >> 52;
    let e = f64::from_bits(exponent | COUNT) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits(bits.wrapping_sub(exponent << 52).wrapping_add(ONE));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 1.0 / 23.0;
    p = p * z + 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
    p = p * z + 1.0 / 15.0;
    p = p * z + 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    let ln_m = 2.0 * (s + s * z * p);
    let value = e * std::f64::consts::LOG10_2 + ln_m * std::f64::consts::LOG10_E;
    // Below the normal numbers, zero and negative ones: what the definition says.
    let value = if x > 0.0 { value } else { f64::NAN };
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x == f64::INFINITY { x } else { value }
}

/// The decimal logarithm of a positive normal number of single precision, to 8e-8 of its value: about as far as single
/// precision tells numbers apart. The same bits on every platform; an infinite number and NaN stay as they are. Without
/// branches, and of 32-bit numbers where it can be: loops of it are three times as fast as those of [`log10`].
///
/// x = m 2^e with m in [sqrt(1/2), sqrt(2)), f = m - 1, and ln m = f - f^2/2 + f^3 q(f) with the polynomial q of degree 8 that
/// minimises the largest error relative to f, 7e-10.
#[inline(always)]
pub(crate) fn log10_single(x: f32) -> f64 {
    const HALF_ROOT: i32 = 0x3F35_04F3;
    let bits = x.to_bits() as i32;
    let e = bits.wrapping_sub(HALF_ROOT) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(e << 23) as u32) - 1.0;
    let mut q = 0.069_153_68f32;
    q = q * f - 0.117_898_08;
    q = q * f + 0.118_729_76;
    q = q * f - 0.123_843_49;
    q = q * f + 0.142_186_58;
    q = q * f - 0.166_692_5;
    q = q * f + 0.200_022_27;
    q = q * f - 0.249_999_87;
    q = q * f + 0.333_333_1;
    let ln_m = f + (f * f) * (q * f - 0.5);
    let value = f64::from(e) * std::f64::consts::LOG10_2 + f64::from(ln_m) * std::f64::consts::LOG10_E;
    if x <= f32::MAX { value } else { f64::from(x) }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn the_logarithm_is_exact_to_its_last_digits() {
        let mut rng = Rng::new(5);
        for _ in 0..20_000 {
            let x = 10f64.powf(-300.0 + 600.0 * rng.uniform()) * (1.0 + rng.uniform());
            let (got, expected) = (log10(x), x.log10());
            assert!((got - expected).abs() <= 4e-16 * (1.0 + expected.abs()), "{x}: {got} {expected}");
        }
        for power in -30..30 {
            assert!((log10(10f64.powi(power)) - f64::from(power)).abs() < 1e-14);
        }
        assert!(log10(f64::NAN).is_nan() && log10(-1.0).is_nan());
        assert_eq!((log10(1.0), log10(f64::INFINITY), log10(0.0)), (0.0, f64::INFINITY, f64::NEG_INFINITY));
    }

    #[test]
    fn the_single_logarithm_is_as_exact_as_its_argument() {
        let every = (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(20_011);
        for x in every.map(f32::from_bits) {
            let (got, expected) = (log10_single(x), f64::from(x).log10());
            assert!((got - expected).abs() <= 8e-8 * expected.abs(), "{x}: {got} {expected}");
        }
        // Near one, where the logarithm vanishes.
        for i in -2000..2000 {
            let x = f32::from_bits((1f32.to_bits() as i32 + i) as u32);
            let (got, expected) = (log10_single(x), f64::from(x).log10());
            assert!((got - expected).abs() <= 8e-8 * expected.abs(), "{x}: {got} {expected}");
        }
        assert_eq!((log10_single(1.0), log10_single(f32::INFINITY)), (0.0, f64::INFINITY));
        assert!(log10_single(f32::NAN).is_nan());
    }
}
