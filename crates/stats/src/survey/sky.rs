//! Directions on the sky, and redshift-space distortion about an observer.

use halocast_core::PeriodicBox;

use super::{length, refuse, same_length};
use crate::Result;

/// The unit vector of a right ascension and declination in degrees: x towards (0, 0), z towards the pole.
///
/// ```
/// let [x, y, z] = halocast_stats::sky_direction(90.0, 30.0);
/// assert!(x.abs() < 1e-15 && (y - 0.75f64.sqrt()).abs() < 1e-15 && (z - 0.5).abs() < 1e-15);
/// ```
pub fn sky_direction(right_ascension: f64, declination: f64) -> [f64; 3] {
    let ((sa, ca), (sd, cd)) = (right_ascension.to_radians().sin_cos(), declination.to_radians().sin_cos());
    [ca * cd, sa * cd, sd]
}

/// Moves points along their own lines of sight by their peculiar velocities,
///
/// $$ s = x + \frac{v \cdot \hat r}{a H}\, \hat r, \qquad r = x - x_\mathrm{observer}, $$
///
/// for a survey of a wide angle; [`to_redshift_space`](crate::to_redshift_space) is its limit of a distant observer.
/// `length_per_velocity` is 1 / (a H), as there. In a periodic box lines of sight go to the nearest image, and points are
/// wrapped.
///
/// # Source
/// Kaiser 1987; Hamilton 1998.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) when there are not as many velocities as points;
/// [`Error::Value`](crate::Error::Value) for a point at the observer, which has no line of sight, or a number that is not
/// finite.
pub fn to_redshift_sky(
    points: &[[f64; 3]],
    velocities: &[[f64; 3]],
    observer: [f64; 3],
    length_per_velocity: f64,
    periodic: Option<PeriodicBox>,
) -> Result<Vec<[f64; 3]>> {
    let operation = "redshift space about an observer";
    same_length(operation, "velocities", points.len(), velocities.len())?;
    let moved = |(i, (p, v)): (usize, (&[f64; 3], &[f64; 3]))| {
        let d: [f64; 3] = std::array::from_fn(|a| {
            periodic.map_or(p[a] - observer[a], |b| b.separation(p[a] - observer[a]))
        });
        let r = length(d);
        if r == 0.0 {
            return refuse(operation, format!("point {i}"), "away from the observer", format!("{p:?}"));
        }
        let along = (0..3).map(|a| v[a] * d[a]).sum::<f64>() / r * length_per_velocity;
        let s: [f64; 3] = std::array::from_fn(|a| p[a] + along * d[a] / r);
        match s.iter().all(|x| x.is_finite()) {
            true => Ok(periodic.map_or(s, |b| s.map(|x| b.wrap(x)))),
            false => refuse(operation, format!("point {i} in redshift space"), "finite", format!("{s:?}")),
        }
    };
    points.iter().zip(velocities).enumerate().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::to_redshift_space;

    #[test]
    fn points_move_along_their_own_lines_of_sight() {
        let moved = |p, v| to_redshift_sky(&[p], &[v], [1.0; 3], 0.01, None).unwrap()[0];
        assert_eq!(moved([1.0, 1.0, 3.0], [500.0, 7.0, 100.0]), [1.0, 1.0, 4.0]);
        assert_eq!(moved([1.0, 0.0, 1.0], [0.0, 100.0, 0.0]), [1.0, 1.0, 1.0]);
        let wrapped = to_redshift_sky(
            &[[9.5, 5.0, 5.0]],
            &[[-100.0, 0.0, 0.0]],
            [0.5, 5.0, 5.0],
            0.01,
            Some(PeriodicBox::new(10.0).unwrap()),
        );
        assert!((wrapped.unwrap()[0][0] - 8.5).abs() < 1e-12);
    }

    #[test]
    fn a_distant_observer_sees_parallel_lines() {
        let (p, v) = ([[3.0, 4.0, 5.0]], [[70.0, -20.0, 300.0]]);
        let far = to_redshift_sky(&p, &v, [3.0, 4.0, -1e8], 0.01, None).unwrap();
        let parallel = to_redshift_space(&p, &v, 2, 0.01, None).unwrap();
        assert!((0..3).all(|a| (far[0][a] - parallel[0][a]).abs() < 1e-6));
    }

    #[test]
    fn bad_points_are_named() {
        let told =
            |p, v: &[[f64; 3]]| to_redshift_sky(&[p], v, [0.0; 3], 0.01, None).unwrap_err().to_string();
        assert!(told([0.0; 3], &[[0.0; 3]]).contains("observer"));
        assert!(told([1.0; 3], &[[f64::NAN; 3]]).contains("point 0"));
        assert!(told([1.0; 3], &[]).contains("velocities"));
    }
}
