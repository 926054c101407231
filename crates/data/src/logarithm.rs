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
}
