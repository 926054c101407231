//! The angular mask of a survey: polygons of caps.

use halocast_core::Rng;
use serde::{Deserialize, Serialize};

use super::{dot, length, refuse, sky_direction};
use crate::Result;

const OPERATION: &str = "sky mask";

/// Part of the sphere on one side of a circle: directions n with 1 - n . axis < extent, or, for a negative extent, those with
/// 1 - n . axis > -extent. The extent is 1 - cos of the opening angle.
///
/// # Source
/// The `(x, y, z, cm)` of MANGLE (Hamilton & Tegmark 2004; Swanson et al. 2008).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cap {
    axis: [f64; 3],
    extent: f64,
}

impl Cap {
    /// A cap about an axis, of any length.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for an axis of no length, or an extent outside -2 to 2.
    pub fn new(axis: [f64; 3], extent: f64) -> Result<Self> {
        let norm = length(axis);
        if !(norm.is_finite() && norm > 0.0) {
            return refuse(OPERATION, "the axis of a cap".into(), "finite, not zero", format!("{axis:?}"));
        }
        if !(-2.0..=2.0).contains(&extent) {
            return refuse(OPERATION, "the extent of a cap".into(), "between -2 and 2", extent.to_string());
        }
        Ok(Self { axis: axis.map(|x| x / norm), extent })
    }

    /// A circle of `radius` degrees about a direction.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a radius outside 0 to 180 or a direction that is not finite.
    pub fn circle(right_ascension: f64, declination: f64, radius: f64) -> Result<Self> {
        if !(0.0..=180.0).contains(&radius) {
            return refuse(
                OPERATION,
                "the radius of a circle".into(),
                "0 to 180 degrees",
                radius.to_string(),
            );
        }
        Self::new(sky_direction(right_ascension, declination), 1.0 - radius.to_radians().cos())
    }

    fn contains(&self, direction: [f64; 3]) -> bool {
        let distance = 1.0 - dot(self.axis, direction);
        if self.extent < 0.0 { distance > -self.extent } else { distance < self.extent }
    }
}

/// What lies in all of its caps, and the completeness there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkyPolygon {
    /// The caps whose common part is the polygon.
    pub caps: Vec<Cap>,
    /// The fraction of objects that the survey sees, 0 to 1; zero for a hole.
    pub completeness: f64,
}

impl SkyPolygon {
    /// Between two right ascensions, eastwards and at most 180 degrees apart, and two declinations, in degrees.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for angles out of these ranges.
    pub fn rectangle(right_ascension: [f64; 2], declination: [f64; 2], completeness: f64) -> Result<Self> {
        let width = right_ascension[1] - right_ascension[0];
        if !(width > 0.0 && width <= 180.0) {
            let got = format!("{right_ascension:?}");
            return refuse(OPERATION, "the right ascensions".into(), "rising by at most 180 degrees", got);
        }
        let [low, high] = declination;
        if !(low < high && low >= -90.0 && high <= 90.0) {
            let got = format!("{declination:?}");
            return refuse(OPERATION, "the declinations".into(), "rising from -90 to 90 degrees", got);
        }
        let pole = [0.0, 0.0, 1.0];
        let mut caps = vec![
            Cap::new(sky_direction(right_ascension[0] + 90.0, 0.0), 1.0)?,
            Cap::new(sky_direction(right_ascension[1] - 90.0, 0.0), 1.0)?,
            Cap::new(pole, 1.0 - low.to_radians().sin())?,
        ];
        // A cap about the pole of no extent has no outside that could be told by its sign.
        if high < 90.0 {
            caps.push(Cap::new(pole, high.to_radians().sin() - 1.0)?);
        }
        Ok(Self { caps, completeness })
    }

    fn contains(&self, direction: [f64; 3]) -> bool {
        self.caps.iter().all(|cap| cap.contains(direction))
    }
}

/// The angular mask of a survey: of the polygons that hold a direction, the last one counts, so that holes come after
/// what they are cut from.
///
/// ```
/// use halocast_core::Rng;
/// use halocast_stats::{Cap, SkyMask, SkyPolygon, sky_direction};
///
/// // A strip of 20 by 10 degrees with a bright star in it.
/// let strip = SkyPolygon::rectangle([100.0, 120.0], [0.0, 10.0], 0.9)?;
/// let star = SkyPolygon { caps: vec![Cap::circle(110.0, 5.0, 1.0)?], completeness: 0.0 };
/// let mask = SkyMask::new(vec![strip, star])?;
/// assert_eq!(mask.completeness(sky_direction(101.0, 5.0)), 0.9);
/// assert_eq!(mask.completeness(sky_direction(110.0, 5.5)), 0.0);
/// let seen = mask.select(&[sky_direction(300.0, 0.0)], &mut Rng::new(1))?;
/// assert!(seen.is_empty());
/// # Ok::<(), halocast_stats::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkyMask {
    polygons: Vec<SkyPolygon>,
}

impl SkyMask {
    /// A mask of polygons; outside all of them nothing is seen.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a completeness outside 0 to 1.
    pub fn new(polygons: Vec<SkyPolygon>) -> Result<Self> {
        match polygons.iter().position(|p| !(0.0..=1.0).contains(&p.completeness)) {
            None => Ok(Self { polygons }),
            Some(i) => {
                let got = polygons[i].completeness.to_string();
                refuse(OPERATION, format!("the completeness of polygon {i}"), "between 0 and 1", got)
            }
        }
    }

    /// The completeness towards a unit vector.
    pub fn completeness(&self, direction: [f64; 3]) -> f64 {
        self.polygons.iter().rev().find(|p| p.contains(direction)).map_or(0.0, |p| p.completeness)
    }

    /// The places of the points that the survey sees, in rising order: each with the probability of its completeness.
    /// Points are seen from the origin, at any distance; every one takes one random number.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a point at the origin or that is not finite.
    pub fn select(&self, points: &[[f64; 3]], rng: &mut Rng) -> Result<Vec<usize>> {
        let mut seen = Vec::new();
        for (i, p) in points.iter().enumerate() {
            let r = length(*p);
            if !(r.is_finite() && r > 0.0) {
                return refuse(
                    OPERATION,
                    format!("point {i}"),
                    "finite, away from the origin",
                    format!("{p:?}"),
                );
            }
            if rng.uniform() < self.completeness(p.map(|x| x / r)) {
                seen.push(i);
            }
        }
        Ok(seen)
    }

    /// The solid angle times completeness in steradians, from `samples` random directions: within 4 pi / sqrt(samples).
    pub fn effective_area(&self, samples: usize, rng: &mut Rng) -> f64 {
        let sum: f64 = (0..samples).map(|_| self.completeness(random_direction(rng))).sum();
        4.0 * std::f64::consts::PI * sum / samples.max(1) as f64
    }
}

fn random_direction(rng: &mut Rng) -> [f64; 3] {
    let z = 2.0 * rng.uniform() - 1.0;
    let (s, c) = (std::f64::consts::TAU * rng.uniform()).sin_cos();
    let across = (1.0 - z * z).max(0.0).sqrt();
    [across * c, across * s, z]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn mask(polygons: Vec<SkyPolygon>) -> SkyMask {
        SkyMask::new(polygons).unwrap()
    }

    #[test]
    fn areas_are_those_of_caps_and_rectangles() {
        let samples = 400_000;
        let area = |m: &SkyMask| m.effective_area(samples, &mut Rng::new(1));
        let error = 4.0 * 4.0 * PI / 2.0 / (samples as f64).sqrt();
        let circle =
            |radius| SkyPolygon { caps: vec![Cap::circle(30.0, -40.0, radius).unwrap()], completeness: 1.0 };
        let cap = |radius: f64| 2.0 * PI * (1.0 - radius.to_radians().cos());
        assert!((area(&mask(vec![circle(50.0)])) - cap(50.0)).abs() < error);
        // A hole in it, seen in half.
        let holed = mask(vec![circle(50.0), SkyPolygon { completeness: 0.5, ..circle(20.0) }]);
        assert!((area(&holed) - cap(50.0) + 0.5 * cap(20.0)).abs() < error);
        let inside_out = Cap::new(sky_direction(30.0, -40.0), -(1.0 - 50f64.to_radians().cos())).unwrap();
        let rest = mask(vec![SkyPolygon { caps: vec![inside_out], completeness: 1.0 }]);
        assert!((area(&rest) - 4.0 * PI + cap(50.0)).abs() < error);
        let strip = mask(vec![SkyPolygon::rectangle([350.0, 410.0], [-30.0, 60.0], 1.0).unwrap()]);
        let expected = 60f64.to_radians() * (60f64.to_radians().sin() + 0.5);
        assert!((area(&strip) - expected).abs() < error);
        assert_eq!(strip.completeness(sky_direction(20.0, 59.0)), 1.0);
        let polar = mask(vec![SkyPolygon::rectangle([0.0, 90.0], [60.0, 90.0], 1.0).unwrap()]);
        assert_eq!(polar.completeness(sky_direction(45.0, 89.0)), 1.0);
        assert_eq!(strip.completeness(sky_direction(200.0, 0.0)), 0.0);
    }

    #[test]
    fn points_are_seen_as_often_as_the_mask_is_complete() {
        let half = mask(vec![SkyPolygon { caps: vec![], completeness: 0.25 }]);
        let points = vec![[1.0, 2.0, -7.0]; 20_000];
        let seen = half.select(&points, &mut Rng::new(2)).unwrap();
        assert!((seen.len() as f64 - 5000.0).abs() < 5.0 * (20_000.0f64 * 0.25 * 0.75).sqrt());
        assert!(half.select(&[[0.0; 3]], &mut Rng::new(2)).unwrap_err().to_string().contains("point 0"));
    }

    #[test]
    fn absurd_masks_are_refused() {
        assert!(Cap::new([0.0; 3], 0.5).is_err() && Cap::new([1.0, 0.0, 0.0], 3.0).is_err());
        assert!(Cap::circle(0.0, 0.0, f64::NAN).is_err());
        assert!(SkyPolygon::rectangle([0.0, 200.0], [0.0, 1.0], 1.0).is_err());
        assert!(SkyPolygon::rectangle([0.0, 20.0], [10.0, 1.0], 1.0).is_err());
        assert!(SkyMask::new(vec![SkyPolygon { caps: vec![], completeness: 1.5 }]).is_err());
    }
}
