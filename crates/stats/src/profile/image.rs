//! Radial profiles of images: many images through one plan of rings.

use halocast_core::Map;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::overlap::circle_rectangle;
use crate::{Bins, Error, Result, ensemble};

/// Which pixels belong to a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// A pixel belongs to the ring that holds its centre, `edge_i <= r < edge_(i+1)`: photutils' `center`.
    #[default]
    Centre,
    /// A pixel belongs to each ring by the exact area they share: photutils' `exact`.
    Exact,
}

/// The radial profile of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RadialProfile {
    /// Rings, in pixels.
    pub bins: Bins,
    /// The number of pixels of each ring, or their area in pixels.
    pub area: Vec<f64>,
    /// The weighted sum of the pixels of each ring.
    pub sum: Vec<f64>,
    /// Their standard deviation, with n in the denominator; NaN in an empty ring.
    pub dispersion: Vec<f64>,
}

impl RadialProfile {
    /// The mean of each ring; NaN where no pixel is.
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().zip(&self.area).map(|(s, a)| s / a).collect()
    }

    /// Sums up to the outer edge of each ring: the curve of growth.
    pub fn cumulative(&self) -> Vec<f64> {
        running(&self.sum)
    }

    /// The share of the whole sum in each ring per pixel of radius: it integrates to one. NaN for a sum of zero.
    pub fn pdf(&self) -> Vec<f64> {
        density(&self.bins, &self.sum)
    }
}

pub(super) fn running(values: &[f64]) -> Vec<f64> {
    let add = |sum: &mut f64, v: &f64| {
        *sum += v;
        Some(*sum)
    };
    values.iter().scan(0.0, add).collect()
}

pub(super) fn density(bins: &Bins, values: &[f64]) -> Vec<f64> {
    let total: f64 = values.iter().sum();
    values.iter().zip(bins.edges().windows(2)).map(|(v, e)| v / total / (e[1] - e[0])).collect()
}

/// Which pixels of an image belong to which ring about a centre: made once, used for any number of images of that shape.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{Bins, Membership, Rings};
/// use ndarray::Array2;
///
/// let map = Map::square("flat", Array2::from_elem((32, 32), 2.0), 1.0);
/// let rings = Rings::new([32, 32], Rings::middle([32, 32]), &Bins::linear(0.0, 16.0, 8)?, Membership::Exact)?;
/// let profile = rings.profile(&map)?;
/// assert!(profile.mean().iter().all(|m| (m - 2.0).abs() < 1e-12));
/// // The rings are whole circles.
/// assert!((profile.area[3] - std::f64::consts::PI * (64.0 - 36.0)).abs() < 1e-9);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// `photutils.profiles.RadialProfile` (Bradley et al. 2024) for both kinds of membership.
#[derive(Clone, Debug)]
pub struct Rings {
    shape: [usize; 2],
    bins: Bins,
    /// Runs of whole pixels along a row: ring, first pixel, how many.
    runs: Vec<(u32, u32, u32)>,
    /// Pixels that several rings share: ring, pixel, area.
    shared: Vec<(u32, u32, f64)>,
    area: Vec<f64>,
}

impl Rings {
    /// Rings of the radii `bins`, in pixels, about `centre`, `[y, x]` with pixel centres at whole numbers. O(pixels) plus,
    /// for [`Membership::Exact`], a closed form for each pixel and circle that cross.
    ///
    /// # Errors
    /// [`Error::Value`] for an image without pixels, a centre that is not finite, or a negative radius.
    pub fn new(shape: [usize; 2], centre: [f64; 2], bins: &Bins, membership: Membership) -> Result<Self> {
        let operation = "radial profile";
        let refuse = |what: &str, expected: &str, got: String| {
            Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
        };
        if shape.contains(&0) || shape[0] * shape[1] > u32::MAX as usize {
            return refuse("the shape of the image", "not empty, below 2^32 pixels", format!("{shape:?}"));
        }
        if centre.iter().any(|c| !c.is_finite()) {
            return refuse("the centre", "finite", format!("{centre:?}"));
        }
        if bins.edges()[0] < 0.0 {
            return refuse("the first radius", "not negative", bins.edges()[0].to_string());
        }
        let mut rings = Self {
            shape,
            bins: bins.clone(),
            runs: Vec::new(),
            shared: Vec::new(),
            area: vec![0.0; bins.count()],
        };
        for y in 0..shape[0] {
            // The first edge beyond the pixel before: most have the same or the next.
            let (edges, mut edge) = (bins.edges(), 0);
            for x in 0..shape[1] {
                let pixel = (y * shape[1] + x) as u32;
                let offset = [y as f64 - centre[0], x as f64 - centre[1]];
                match membership {
                    Membership::Centre => {
                        let r = offset[1].hypot(offset[0]);
                        while edge < edges.len() && edges[edge] <= r {
                            edge += 1;
                        }
                        while edge > 0 && edges[edge - 1] > r {
                            edge -= 1;
                        }
                        if (1..=bins.count()).contains(&edge) {
                            rings.whole((edge - 1) as u32, pixel, x > 0);
                        }
                    }
                    Membership::Exact => rings.cut(pixel, offset, x > 0),
                }
            }
        }
        Ok(rings)
    }

    /// The middle of an image: ((ny - 1) / 2, (nx - 1) / 2).
    pub fn middle(shape: [usize; 2]) -> [f64; 2] {
        shape.map(|n| (n.max(1) - 1) as f64 / 2.0)
    }

    /// The shape of the images.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The area of each ring that lies on the image, in pixels.
    pub fn area(&self) -> &[f64] {
        &self.area
    }

    /// Every ring, pixel and the area they share.
    #[cfg(feature = "candle")]
    pub(crate) fn entries(&self) -> Vec<(u32, u32, f64)> {
        let whole = self
            .runs
            .iter()
            .flat_map(|&(ring, first, count)| (first..first + count).map(move |pixel| (ring, pixel, 1.0)));
        whole.chain(self.shared.iter().copied()).collect()
    }

    fn whole(&mut self, ring: u32, pixel: u32, inside_row: bool) {
        self.area[ring as usize] += 1.0;
        match self.runs.last_mut() {
            Some((last, first, count)) if inside_row && *last == ring && *first + *count == pixel => {
                *count += 1
            }
            _ => self.runs.push((ring, pixel, 1)),
        }
    }

    fn cut(&mut self, pixel: u32, offset: [f64; 2], inside_row: bool) {
        let edges = self.bins.edges();
        let near = offset.map(|o| (o.abs() - 0.5).max(0.0));
        let far = offset.map(|o| o.abs() + 0.5);
        let (near, far) = (near[0].hypot(near[1]), far[0].hypot(far[1]));
        // Circles from `first` on reach the pixel, those from `last` on hold it whole.
        let first = edges.partition_point(|&e| e <= near);
        let last = edges.partition_point(|&e| e < far);
        if first == last {
            if (1..=self.bins.count()).contains(&first) {
                self.whole((first - 1) as u32, pixel, inside_row);
            }
            return;
        }
        let side = |o: f64| [o - 0.5, o + 0.5];
        let inside = |i: usize| {
            let r = self.bins.edges()[i];
            if i < first {
                0.0
            } else if i >= last {
                1.0
            } else {
                circle_rectangle(side(offset[1]), side(offset[0]), r)
            }
        };
        let shares: Vec<(usize, f64)> = (first.max(1) - 1..last.min(self.bins.count()))
            .map(|ring| (ring, inside(ring + 1) - inside(ring)))
            .filter(|(_, share)| *share > 0.0)
            .collect();
        for (ring, share) in shares {
            self.area[ring] += share;
            self.shared.push((ring as u32, pixel, share));
        }
    }

    /// The profile of one image. O(pixels).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another shape; [`Error::Map`] for a pixel that is not finite.
    pub fn profile(&self, map: &Map) -> Result<RadialProfile> {
        Ok(self.profiles(std::slice::from_ref(map))?.remove(0))
    }

    /// The profiles of an ensemble, in parallel over images.
    ///
    /// # Errors
    /// As [`Rings::profile`]; [`Error::TooFew`] for no images.
    pub fn profiles(&self, maps: &[Map]) -> Result<Vec<RadialProfile>> {
        let operation = "radial profile";
        ensemble::check(operation, "map", maps, 1)?;
        if maps[0].shape() != self.shape {
            let (expected, got) = (format!("{:?} pixels", self.shape), format!("{:?}", maps[0].shape()));
            return Err(Error::Mismatch { operation, what: "map 0".into(), expected, got });
        }
        Ok(maps.par_iter().map(|map| self.of(map)).collect())
    }

    fn of(&self, map: &Map) -> RadialProfile {
        let owned;
        let values = match map.values.as_slice() {
            Some(values) => values,
            None => {
                owned = map.values.iter().copied().collect::<Vec<f32>>();
                &owned
            }
        };
        let count = self.bins.count();
        // Deviations from one pixel of the ring, so that a constant ring has no dispersion at all.
        let mut origin = vec![f64::NAN; count];
        for (ring, first, ..) in self.runs.iter().rev() {
            origin[*ring as usize] = f64::from(values[*first as usize]);
        }
        for (ring, pixel, _) in &self.shared {
            if origin[*ring as usize].is_nan() {
                origin[*ring as usize] = f64::from(values[*pixel as usize]);
            }
        }
        let mut sums = vec![[0.0; 2]; count];
        for &(ring, first, length) in &self.runs {
            let ring = ring as usize;
            let [mut sum, mut square] = [0.0; 2];
            for &v in &values[first as usize..(first + length) as usize] {
                let d = f64::from(v) - origin[ring];
                sum += d;
                square += d * d;
            }
            sums[ring][0] += sum;
            sums[ring][1] += square;
        }
        for &(ring, pixel, share) in &self.shared {
            let d = f64::from(values[pixel as usize]) - origin[ring as usize];
            sums[ring as usize][0] += share * d;
            sums[ring as usize][1] += share * d * d;
        }
        let moments = || sums.iter().zip(&self.area).zip(&origin);
        let sum = moments().map(|(([s, _], a), o)| if *a > 0.0 { s + a * o } else { 0.0 }).collect();
        let spread = |([s, q], a): (&[f64; 2], &f64)| match *a > 0.0 {
            true => (q / a - (s / a).powi(2)).max(0.0).sqrt(),
            false => f64::NAN,
        };
        let dispersion = sums.iter().zip(&self.area).map(spread).collect();
        RadialProfile { bins: self.bins.clone(), area: self.area.clone(), sum, dispersion }
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    fn noise(shape: (usize, usize), seed: u64) -> Map {
        let values = Array2::from_shape_vec(shape, Rng::new(seed).normals(shape.0 * shape.1)).unwrap();
        Map::square("noise", values, 1.0)
    }

    #[test]
    fn rings_of_pixel_centres_are_counted_one_by_one() {
        let (map, centre) = (noise((17, 24), 1), [7.3, 11.0]);
        let bins = Bins::new(vec![0.0, 1.0, 2.5, 4.0, 9.0, 30.0]).unwrap();
        let found =
            Rings::new(map.shape(), centre, &bins, Membership::Centre).unwrap().profile(&map).unwrap();
        for (ring, e) in bins.edges().windows(2).enumerate() {
            let inside: Vec<f64> = map
                .values
                .indexed_iter()
                .filter(|((y, x), _)| {
                    (e[0]..e[1]).contains(&(*y as f64 - centre[0]).hypot(*x as f64 - centre[1]))
                })
                .map(|(_, &v)| f64::from(v))
                .collect();
            let mean = inside.iter().sum::<f64>() / inside.len() as f64;
            let std = (inside.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inside.len() as f64).sqrt();
            assert_eq!(found.area[ring], inside.len() as f64);
            assert!(
                (found.mean()[ring] - mean).abs() < 1e-12 && (found.dispersion[ring] - std).abs() < 1e-12
            );
        }
        assert!((found.cumulative()[4] - map.values.iter().map(|&v| f64::from(v)).sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn exact_rings_share_every_pixel_without_loss() {
        let map = noise((20, 13), 2);
        let bins = Bins::linear(0.0, 40.0, 57).unwrap();
        let found =
            Rings::new([20, 13], [3.2, 9.9], &bins, Membership::Exact).unwrap().profile(&map).unwrap();
        let total: f64 = map.values.iter().map(|&v| f64::from(v)).sum();
        assert!((found.area.iter().sum::<f64>() - 260.0).abs() < 1e-9);
        assert!((found.cumulative()[56] - total).abs() < 1e-9);
        let widths = bins.edges().windows(2).map(|e| e[1] - e[0]);
        assert!((found.pdf().iter().zip(widths).map(|(p, w)| p * w).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn constant_and_empty_rings_are_told_apart() {
        let flat = Map::square("flat", Array2::from_elem((9, 9), 0.1), 1.0);
        let bins = Bins::new(vec![0.0, 2.0, 3.0, 100.0, 200.0]).unwrap();
        for membership in [Membership::Centre, Membership::Exact] {
            let found = Rings::new([9, 9], [4.0, 4.0], &bins, membership).unwrap().profile(&flat).unwrap();
            assert!(found.dispersion[..3].iter().all(|d| *d == 0.0), "{found:?}");
            assert!(found.mean()[3].is_nan() && found.dispersion[3].is_nan() && found.sum[3] == 0.0);
        }
        let rings = Rings::new([8, 8], [4.0; 2], &bins, Membership::Centre).unwrap();
        assert!(rings.profile(&flat).unwrap_err().to_string().contains("[8, 8]"));
        assert!(Rings::new([0, 8], [0.0; 2], &bins, Membership::Centre).is_err());
        assert!(Rings::new([8, 8], [f64::NAN; 2], &bins, Membership::Centre).is_err());
    }
}
