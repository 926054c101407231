//! Distances of two one-dimensional samples: Wasserstein and Kolmogorov-Smirnov.

use crate::{Error, Result};

/// The Wasserstein distance of order p between two samples of numbers, any sizes:
/// W_p^p = integral over u in [0, 1] of |F_a^-1(u) - F_b^-1(u)|^p. W_1 is the area between the two distributions.
///
/// ```
/// use halocast_stats::wasserstein;
/// let w = wasserstein(&[0.0, 1.0], &[3.0, 3.0, 4.0, 4.0], 1.0)?;
/// assert!((w - 3.0).abs() < 1e-12);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFew`] for an empty sample; [`Error::Value`] for a number that is not finite, or p below one.
pub fn wasserstein(a: &[f64], b: &[f64], p: f64) -> Result<f64> {
    if !(p.is_finite() && p >= 1.0) {
        let (what, expected, got) = ("order p".into(), "finite, at least 1".into(), p.to_string());
        return Err(Error::Value { operation: "Wasserstein distance", what, expected, got });
    }
    let (a, b) = (sorted("Wasserstein distance", "a", a)?, sorted("Wasserstein distance", "b", b)?);
    // Mass in units of 1 / (n m), so that all steps of both distributions are integers.
    let (n, m) = (a.len() as u128, b.len() as u128);
    let (mut i, mut j, mut done, mut sum) = (0, 0, 0u128, 0.0);
    while i < a.len() && j < b.len() {
        let (end_a, end_b) = ((i as u128 + 1) * m, (j as u128 + 1) * n);
        let end = end_a.min(end_b);
        sum += (end - done) as f64 * (a[i] - b[j]).abs().powf(p);
        done = end;
        i += usize::from(end == end_a);
        j += usize::from(end == end_b);
    }
    Ok((sum / (n as f64 * m as f64)).powf(1.0 / p))
}

/// The two-sample Kolmogorov-Smirnov statistic: the largest difference of the two cumulative distributions.
///
/// # Errors
/// As [`wasserstein`].
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> Result<f64> {
    let (a, b) = (sorted("Kolmogorov-Smirnov", "a", a)?, sorted("Kolmogorov-Smirnov", "b", b)?);
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        // Step over all that equals the smaller of the two, in both.
        let x = a[i].min(b[j]);
        while i < a.len() && a[i] <= x {
            i += 1;
        }
        while j < b.len() && b[j] <= x {
            j += 1;
        }
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    Ok(largest)
}

fn sorted(operation: &'static str, what: &str, values: &[f64]) -> Result<Vec<f64>> {
    if values.is_empty() {
        let what = format!("sample {what}");
        return Err(Error::TooFew { operation, what, expected: 1, got: 0 });
    }
    if let Some((i, v)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        let (what, expected) = (format!("number {i} of sample {what}"), "finite".into());
        return Err(Error::Value { operation, what, expected, got: v.to_string() });
    }
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_its_own_distance() {
        let a: Vec<f64> = (0..50).map(|i| f64::from(i * i % 37)).collect();
        let b: Vec<f64> = a.iter().map(|v| v + 0.25).collect();
        for p in [1.0, 2.0, 3.0] {
            assert!((wasserstein(&a, &b, p).unwrap() - 0.25).abs() < 1e-12);
        }
        assert_eq!(wasserstein(&a, &a, 1.0).unwrap(), 0.0);
        assert_eq!(kolmogorov_smirnov(&a, &a).unwrap(), 0.0);
    }

    #[test]
    fn sizes_may_differ() {
        // Every number of `a` twice: the same distribution.
        let (a, twice) = ([3.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(wasserstein(&a, &twice, 2.0).unwrap(), 0.0);
        assert_eq!(kolmogorov_smirnov(&a, &twice).unwrap(), 0.0);
        assert_eq!(kolmogorov_smirnov(&[0.0, 1.0], &[0.5]).unwrap(), 0.5);
        assert_eq!(kolmogorov_smirnov(&[0.0], &[1.0, 2.0]).unwrap(), 1.0);
    }

    #[test]
    fn bad_samples_are_named() {
        assert!(wasserstein(&[], &[1.0], 1.0).is_err());
        let message = kolmogorov_smirnov(&[0.0], &[1.0, f64::NAN]).unwrap_err().to_string();
        assert!(message.contains("number 1 of sample b"), "{message}");
    }
}
