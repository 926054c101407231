//! Positions as redshifts show them.

use halocast_core::PeriodicBox;

use crate::{Error, Result};

/// Moves points along an axis by their peculiar velocities: s = x + v_los / (a H) along `line_of_sight` (0, 1, 2 for x, y,
/// z), the distant observer's approximation; positions of a periodic box are wrapped.
///
/// `length_per_velocity` is 1 / (a H) in the unit of the positions per unit of the velocities: for comoving Mpc/h and
/// peculiar velocities in km/s it is 1 / (100 a E(a)), 0.01 at a = 1.
///
/// ```
/// use halocast_core::PeriodicBox;
/// use halocast_stats::to_redshift_space;
///
/// let s = to_redshift_space(&[[1.0, 2.0, 9.0]], &[[5.0, 0.0, 300.0]], 2, 0.01, Some(PeriodicBox::new(10.0)?))?;
/// assert_eq!(s, [[1.0, 2.0, 2.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Kaiser 1987.
///
/// # Errors
/// [`Error::Mismatch`] when there are not as many velocities as points; [`Error::Value`] for an axis beyond 2 or a number
/// that is not finite.
pub fn to_redshift_space(
    points: &[[f64; 3]],
    velocities: &[[f64; 3]],
    line_of_sight: usize,
    length_per_velocity: f64,
    periodic: Option<PeriodicBox>,
) -> Result<Vec<[f64; 3]>> {
    let operation = "redshift space";
    if points.len() != velocities.len() {
        let (what, expected) = ("the number of velocities".into(), points.len().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: velocities.len().to_string() });
    }
    if line_of_sight > 2 {
        let (what, expected) = ("the line of sight".into(), "0, 1 or 2".into());
        return Err(Error::Value { operation, what, expected, got: line_of_sight.to_string() });
    }
    let moved = |(i, (p, v)): (usize, (&[f64; 3], &[f64; 3]))| {
        let mut s = *p;
        s[line_of_sight] += v[line_of_sight] * length_per_velocity;
        match s.iter().all(|x| x.is_finite()) {
            true => Ok(periodic.map_or(s, |b| s.map(|x| b.wrap(x)))),
            false => {
                let (what, expected) = (format!("point {i} in redshift space"), "finite".into());
                Err(Error::Value { operation, what, expected, got: format!("{s:?}") })
            }
        }
    };
    points.iter().zip(velocities).enumerate().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_velocities_are_named() {
        let moved = |v: &[[f64; 3]], axis| to_redshift_space(&[[0.0; 3]], v, axis, 0.01, None);
        assert!(moved(&[], 0).unwrap_err().to_string().contains("velocities"));
        assert!(moved(&[[f64::NAN; 3]], 0).unwrap_err().to_string().contains("point 0"));
        assert!(moved(&[[0.0; 3]], 3).is_err());
        assert_eq!(moved(&[[0.0, 100.0, 0.0]], 1).unwrap(), [[0.0, 1.0, 0.0]]);
    }
}
