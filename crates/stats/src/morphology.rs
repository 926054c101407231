//! The morphology of images: curve of growth, concentration, asymmetry, clumpiness, Gini, M20, centroid.

use halocast_core::Map;
use ndarray::Array2;

use crate::profile::circle_rectangle;
use crate::{Error, Result, ensemble};

/// An image whose morphology is measured about a centre; all lengths in pixels, pixel centres at whole numbers `[y, x]`.
/// The background must have been subtracted; the total is all flux within `radius`.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::Morphology;
/// use ndarray::Array2;
///
/// // A Gaussian of sigma = 6 pixels: r_80 / r_20 = sqrt(ln 5 / ln 1.25), with no asymmetry.
/// let bell = |(y, x): (usize, usize)| {
///     let r2 = (y as f32 - 40.0).powi(2) + (x as f32 - 40.0).powi(2);
///     (-0.5 * r2 / 36.0).exp()
/// };
/// let map = Map::square("bell", Array2::from_shape_fn((81, 81), bell), 1.0);
/// let found = Morphology::new(&map, [40.0, 40.0], 40.0)?;
/// let expected = 5.0 * (5f64.ln() / 1.25f64.ln()).sqrt().log10();
/// assert!((found.concentration()? - expected).abs() < 0.02);
/// assert!(found.asymmetry() < 1e-6);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Conselice 2003 (C, A, S); Lotz, Primack & Madau 2004 (Gini, M20, Petrosian radius).
///
/// # Differences
/// The asymmetry's centre is a whole or half pixel, so that the turned image is made of pixels, not interpolated; no
/// background asymmetry is subtracted. Clumpiness uses Lotz's boxcar, without Conselice's factor 10.
#[derive(Clone, Debug)]
pub struct Morphology<'a> {
    map: &'a Map,
    centre: [f64; 2],
    radius: f64,
    total: f64,
}

impl<'a> Morphology<'a> {
    /// The image, the centre `[y, x]` and the radius within which flux counts.
    ///
    /// # Errors
    /// [`Error::Map`] for a pixel that is not finite; [`Error::Value`] for an empty image, a centre outside it, a radius
    /// that is not positive, or no flux in all.
    pub fn new(map: &'a Map, centre: [f64; 2], radius: f64) -> Result<Self> {
        let operation = "morphology";
        ensemble::check(operation, "map", std::slice::from_ref(map), 1)?;
        let refuse = |what: &str, expected: &str, got: String| {
            Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
        };
        let shape = map.shape();
        if (0..2).any(|a| !(-0.5..=shape[a] as f64 - 0.5).contains(&centre[a])) {
            return refuse(
                "the centre",
                &format!("inside an image of {shape:?} pixels"),
                format!("{centre:?}"),
            );
        }
        if !(radius.is_finite() && radius > 0.0) {
            return refuse("the radius", "finite and positive", radius.to_string());
        }
        let mut found = Self { map, centre, radius, total: 0.0 };
        found.total = found.aperture(radius);
        if found.total > 0.0 {
            return Ok(found);
        }
        refuse("the flux within the radius", "positive", found.total.to_string())
    }

    /// The flux within a circle about the centre, by exact overlap. O(pixels).
    pub fn aperture(&self, r: f64) -> f64 {
        let mut sum = 0.0;
        for ((y, x), &v) in self.map.values.indexed_iter() {
            let [dy, dx] = [y as f64 - self.centre[0], x as f64 - self.centre[1]];
            let nearest = (dy.abs() - 0.5).max(0.0).hypot((dx.abs() - 0.5).max(0.0));
            if nearest < r {
                let whole = (dy.abs() + 0.5).hypot(dx.abs() + 0.5) <= r;
                let side = |d: f64| [d - 0.5, d + 0.5];
                sum += f64::from(v) * if whole { 1.0 } else { circle_rectangle(side(dx), side(dy), r) };
            }
        }
        sum
    }

    /// The radius that holds `fraction` of the flux; 0.5 for the half-light (half-mass) radius. The smallest one where the
    /// curve of growth crosses the fraction, if it falls in between.
    ///
    /// # Errors
    /// [`Error::Value`] for a fraction outside (0, 1].
    pub fn flux_radius(&self, fraction: f64) -> Result<f64> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let (what, expected) = ("the fraction".into(), "above 0, at most 1".into());
            let operation = "flux radius";
            return Err(Error::Value { operation, what, expected, got: fraction.to_string() });
        }
        let target = fraction * self.total;
        // A step of half a pixel finds the first crossing; bisection its place.
        let step = 0.5f64.min(self.radius);
        let steps = (self.radius / step).ceil() as usize;
        let high =
            (1..=steps).map(|i| (i as f64 * step).min(self.radius)).find(|&r| self.aperture(r) >= target);
        Ok(match high {
            Some(high) => bisect((high - step).max(0.0), high, |r| self.aperture(r) >= target),
            None => self.radius,
        })
    }

    /// The radius at which the surface brightness is `eta` (usually 0.2) of the mean within; `None` where it is more up to the
    /// whole radius.
    pub fn petrosian_radius(&self, eta: f64) -> Option<f64> {
        // The brightness at r from a ring one pixel wide.
        let below = |r: f64| {
            let (inner, outer) = (r - 0.5, r + 0.5);
            let ring = (self.aperture(outer) - self.aperture(inner)) / (outer * outer - inner * inner);
            ring <= eta * self.aperture(r) / (r * r)
        };
        let steps = (2.0 * (self.radius - 1.0)).max(0.0) as usize;
        let high = (1..=steps).map(|i| 0.5 + 0.5 * i as f64).find(|&r| below(r))?;
        Some(bisect((high - 0.5).max(0.5), high, below))
    }

    /// C = 5 log10(r_80 / r_20).
    ///
    /// # Errors
    /// As [`Morphology::flux_radius`].
    pub fn concentration(&self) -> Result<f64> {
        Ok(5.0 * (self.flux_radius(0.8)? / self.flux_radius(0.2)?).log10())
    }

    /// A = sum |I - I_180| / sum |I| within the radius, I_180 the image turned by 180 degrees about that whole or half pixel
    /// near the centre where A is smallest: from the nearest one, downhill. 0 for a symmetric image; up to 2.
    pub fn asymmetry(&self) -> f64 {
        let mut doubled = self.centre.map(|c| (2.0 * c).round() as i64);
        let mut least = self.asymmetry_about(doubled);
        loop {
            let near = (-1..=1).flat_map(|y| (-1..=1).map(move |x| [y, x]));
            let best = near
                .map(|[y, x]| [doubled[0] + y, doubled[1] + x])
                .map(|at| (self.asymmetry_about(at), at))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            match best {
                Some((value, at)) if value < least => (least, doubled) = (value, at),
                _ => return least,
            }
        }
    }

    fn asymmetry_about(&self, doubled: [i64; 2]) -> f64 {
        let shape = self.map.shape();
        let (mut difference, mut sum) = (0.0, 0.0);
        for ((y, x), &v) in self.map.values.indexed_iter() {
            let turned = [doubled[0] - y as i64, doubled[1] - x as i64];
            let offset = [y as f64 - 0.5 * doubled[0] as f64, x as f64 - 0.5 * doubled[1] as f64];
            let outside = (0..2).any(|a| turned[a] < 0 || turned[a] >= shape[a] as i64);
            if offset[0].hypot(offset[1]) <= self.radius && !outside {
                let other = self.map.values[[turned[0] as usize, turned[1] as usize]];
                difference += (f64::from(v) - f64::from(other)).abs();
                sum += f64::from(v).abs();
            }
        }
        difference / sum
    }

    /// S = sum max(I - I_s, 0) / sum I within the radius and without the innermost `inner` pixels, I_s the mean over a box of
    /// (2 half_width + 1)^2 pixels. Lotz: box and inner radius a quarter of the Petrosian radius.
    pub fn clumpiness(&self, half_width: usize, inner: f64) -> f64 {
        let smooth = box_mean(&self.map.values, half_width);
        let (mut clumps, mut sum) = (0.0, 0.0);
        for ((y, x), &v) in self.map.values.indexed_iter() {
            let r = (y as f64 - self.centre[0]).hypot(x as f64 - self.centre[1]);
            if (inner..=self.radius).contains(&r) {
                clumps += (f64::from(v) - smooth[[y, x]]).max(0.0);
                sum += f64::from(v);
            }
        }
        clumps / sum
    }

    fn inside(&self) -> Vec<([f64; 2], f64)> {
        let all = self.map.values.indexed_iter();
        all.map(|((y, x), &v)| ([y as f64 - self.centre[0], x as f64 - self.centre[1]], f64::from(v)))
            .filter(|(d, _)| d[0].hypot(d[1]) <= self.radius)
            .collect()
    }

    /// The Gini coefficient of the pixels within the radius: sum (2 i - n - 1) |I_i| / (mean |I| n (n - 1)), pixels in increasing order of
    /// |I|. 0 where all are equal, 1 where one has it all; NaN for fewer than two pixels.
    pub fn gini(&self) -> f64 {
        let mut values: Vec<f64> = self.inside().iter().map(|(_, v)| v.abs()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len() as f64;
        let ranked = values.iter().enumerate().map(|(i, v)| (2.0 * (i as f64 + 1.0) - n - 1.0) * v);
        ranked.sum::<f64>() / (values.iter().sum::<f64>() * (n - 1.0))
    }

    /// M20 = log10(sum of I r^2 over the brightest pixels that make 20 % of the flux / sum of I r^2), about the centroid of the
    /// pixels within the radius, where the sum is least.
    pub fn m20(&self) -> f64 {
        let mut pixels = self.inside();
        let flux: f64 = pixels.iter().map(|(_, v)| v).sum();
        let mean: [f64; 2] =
            std::array::from_fn(|a| pixels.iter().map(|(d, v)| d[a] * v).sum::<f64>() / flux);
        let moment = |(d, v): &([f64; 2], f64)| v * ((d[0] - mean[0]).powi(2) + (d[1] - mean[1]).powi(2));
        let total: f64 = pixels.iter().map(moment).sum();
        pixels.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut bright, mut sum) = (0.0, 0.0);
        for pixel in &pixels {
            if sum + pixel.1 > 0.2 * flux {
                break;
            }
            sum += pixel.1;
            bright += moment(pixel);
        }
        (bright / total).log10()
    }

    /// The flux-weighted mean position of the pixels within the radius, `[y, x]`.
    pub fn centroid(&self) -> [f64; 2] {
        let pixels = self.inside();
        let flux: f64 = pixels.iter().map(|(_, v)| v).sum();
        std::array::from_fn(|a| self.centre[a] + pixels.iter().map(|(d, v)| d[a] * v).sum::<f64>() / flux)
    }

    /// How far the centroid lies from the centre, in pixels.
    pub fn centre_offset(&self) -> f64 {
        let at = self.centroid();
        (at[0] - self.centre[0]).hypot(at[1] - self.centre[1])
    }
}

/// Where `above` begins to hold between `low` and `high`, to a billionth of a pixel.
fn bisect(mut low: f64, mut high: f64, above: impl Fn(f64) -> bool) -> f64 {
    while high - low > 1e-9 {
        let middle = 0.5 * (low + high);
        if above(middle) { high = middle } else { low = middle }
    }
    high
}

/// The mean over boxes, cut at the edges of the image, by running sums: O(pixels).
fn box_mean(values: &Array2<f32>, half: usize) -> Array2<f64> {
    let (ny, nx) = values.dim();
    let mut sums = Array2::<f64>::zeros((ny + 1, nx + 1));
    for y in 0..ny {
        for x in 0..nx {
            sums[[y + 1, x + 1]] =
                f64::from(values[[y, x]]) + sums[[y, x + 1]] + sums[[y + 1, x]] - sums[[y, x]];
        }
    }
    Array2::from_shape_fn((ny, nx), |(y, x)| {
        let (y0, y1) = (y.saturating_sub(half), (y + half + 1).min(ny));
        let (x0, x1) = (x.saturating_sub(half), (x + half + 1).min(nx));
        let sum = sums[[y1, x1]] - sums[[y0, x1]] - sums[[y1, x0]] + sums[[y0, x0]];
        sum / ((y1 - y0) * (x1 - x0)) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(shape: (usize, usize), f: impl Fn(f64, f64) -> f64) -> Map {
        let values = Array2::from_shape_fn(shape, |(y, x)| f(y as f64, x as f64) as f32);
        Map::square("test", values, 1.0)
    }

    #[test]
    fn a_disc_has_the_radii_of_a_disc() {
        let disc = map((101, 101), |_, _| 1.0);
        let found = Morphology::new(&disc, [50.0, 50.0], 40.0).unwrap();
        assert!((found.aperture(40.0) / (std::f64::consts::PI * 1600.0) - 1.0).abs() < 1e-9);
        assert!((found.flux_radius(0.5).unwrap() - 40.0 * 0.5f64.sqrt()).abs() < 1e-6);
        assert!((found.concentration().unwrap() - 5.0 * 2f64.log10()).abs() < 1e-6);
        assert_eq!((found.asymmetry(), found.clumpiness(3, 0.0)), (0.0, 0.0));
        assert!(found.gini().abs() < 1e-12 && found.centre_offset() < 1e-9);
        assert_eq!(found.petrosian_radius(0.2), None);
    }

    #[test]
    fn an_exponential_disc_has_its_petrosian_radius() {
        // exp(-r / h): eta(x) = x^2 exp(-x) / (2 (1 - (1 + x) exp(-x))), 0.2 at x = 3.63.
        let h = 8.0;
        let disc = map((161, 161), |y, x| (-(y - 80.0).hypot(x - 80.0) / h).exp());
        let found = Morphology::new(&disc, [80.0, 80.0], 80.0).unwrap();
        let eta = |x: f64| x * x * (-x).exp() / (2.0 * (1.0 - (1.0 + x) * (-x).exp()));
        let expected = bisect(1.0, 10.0, |x| eta(x) < 0.2) * h;
        let r = found.petrosian_radius(0.2).unwrap();
        assert!((r / expected - 1.0).abs() < 0.01, "{r} {expected}");
    }

    #[test]
    fn a_companion_is_the_asymmetry() {
        // A twin of flux f, far from its mirror image: A = 2 f / (1 + f); the centroid moves by f / (1 + f) of its distance.
        let bell = |y: f64, x: f64| (-0.125 * (y * y + x * x)).exp();
        let pair = map((61, 61), |y, x| bell(y - 30.0, x - 30.0) + 0.25 * bell(y - 30.0, x - 42.0));
        let found = Morphology::new(&pair, [30.4, 29.7], 28.0).unwrap();
        assert!((found.asymmetry() - 0.4).abs() < 0.01, "{}", found.asymmetry());
        let found = Morphology::new(&pair, [30.0, 30.0], 28.0).unwrap();
        assert!((found.centre_offset() - 0.2 * 12.0).abs() < 0.01);
    }

    #[test]
    fn concentrated_light_has_a_large_gini_and_a_small_m20() {
        let dot = map((31, 31), |y, x| if (y, x) == (15.0, 15.0) { 100.0 } else { 1e-3 });
        let found = Morphology::new(&dot, [15.0, 15.0], 15.0).unwrap();
        assert!(found.gini() > 0.95 && found.clumpiness(2, 0.0) > 0.9);
        let bell = map((61, 61), |y, x| (-((y - 30.0).powi(2) + (x - 30.0).powi(2)) / 72.0).exp());
        let found = Morphology::new(&bell, [30.0, 30.0], 30.0).unwrap();
        // The brightest fifth of a Gaussian lies inside t = r^2 / (2 sigma^2) = -ln 0.8, with 1 - (1 + t) exp(-t) of its moment.
        let t = -(0.8f64.ln());
        let expected = (1.0 - (1.0 + t) * (-t).exp()).log10();
        assert!((found.m20() - expected).abs() < 0.06, "{} {expected}", found.m20());
    }

    #[test]
    fn images_without_light_are_refused() {
        let dark = map((9, 9), |_, _| 0.0);
        assert!(Morphology::new(&dark, [4.0; 2], 4.0).unwrap_err().to_string().contains("flux"));
        let one = map((1, 1), |_, _| 3.0);
        let found = Morphology::new(&one, [0.0; 2], 1.0).unwrap();
        assert!(found.gini().is_nan() && found.asymmetry() == 0.0);
        assert!(Morphology::new(&one, [2.0, 0.0], 1.0).is_err());
        assert!(Morphology::new(&one, [0.0; 2], f64::NAN).is_err());
        assert!(found.flux_radius(2.0).is_err());
    }
}
