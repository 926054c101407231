//! Where the antennas of an interferometer stand.

use serde::{Deserialize, Serialize};

use super::refuse;
use crate::Result;

const OPERATION: &str = "layout of an array";

/// Antennas in local coordinates of a place on Earth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayLayout {
    /// The latitude in degrees.
    pub latitude: f64,
    /// Metres to the east, to the north and upwards.
    pub antennas: Vec<[f64; 3]>,
}

impl ArrayLayout {
    /// From a table of one antenna a line: metres east, north and, if there is a third number, up, with commas or spaces between them;
    /// what follows a `#` is a comment. The form of the `layout.txt` of OSKAR's telescope models.
    ///
    /// ```
    /// use halocast_maps::telescope::ArrayLayout;
    /// let array = ArrayLayout::from_table("# three dishes\n0 0\n100, 0\n0 57.7 1.5", -30.7)?;
    /// assert_eq!(array.antennas[2], [0.0, 57.7, 1.5]);
    /// # Ok::<(), halocast_maps::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a line that holds anything else, naming it; fewer than two antennas; a latitude beyond the poles.
    pub fn from_table(text: &str, latitude: f64) -> Result<Self> {
        let mut antennas = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut numbers = Vec::new();
            for word in line.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty()) {
                match word.parse::<f64>() {
                    Ok(x) if x.is_finite() => numbers.push(x),
                    _ => {
                        let what = format!("line {}", number + 1);
                        return Err(refuse(OPERATION, what, "numbers", format!("{word:?}")));
                    }
                }
            }
            match numbers[..] {
                [] => {}
                [east, north] => antennas.push([east, north, 0.0]),
                [east, north, up] => antennas.push([east, north, up]),
                _ => {
                    let what = format!("line {}", number + 1);
                    return Err(refuse(OPERATION, what, "two or three numbers", numbers.len()));
                }
            }
        }
        Self { latitude, antennas }.checked()
    }

    /// SKA-Mid as it is planned to be in its Array Assembly 4: the 64 dishes of MeerKAT, first, and 133 of the SKA, to a metre.
    ///
    /// # Source
    /// SKAO's `ska-ost-array-config` 2.3.1, after SKA-TEL-INSA-0000537; the longest baseline is 160 km.
    ///
    /// # Errors
    /// Never: the table is part of the library, and tested.
    pub fn ska_mid() -> Result<Self> {
        Self::from_table(include_str!("tables/ska_mid_aa4.txt"), -30.712925)
    }

    /// SKA-Low as it is planned to be in its Array Assembly 4: 512 stations of 38 m, 224 of them in the core, to a metre.
    ///
    /// # Source
    /// SKAO's `ska-low-tmdata`, after SKA-TEL-SKO-0000422; the longest baseline is 73 km.
    ///
    /// # Errors
    /// Never: the table is part of the library, and tested.
    pub fn ska_low() -> Result<Self> {
        Self::from_table(include_str!("tables/ska_low_aa4.txt"), -26.824_722_08)
    }

    /// Three arms of antennas in logarithmic spirals about a core, in the manner of SKA-Mid and SKA-Low: `core` antennas evenly over a disc
    /// of radius `inner` metres in a sunflower pattern, and `arm` antennas on each arm out to `outer` metres. Their own
    /// positions are [`ArrayLayout::ska_mid`] and [`ArrayLayout::ska_low`].
    ///
    /// # Errors
    /// As [`ArrayLayout::from_table`]; radii that are not positive and ascending.
    pub fn spiral(core: usize, inner: f64, arm: usize, outer: f64, latitude: f64) -> Result<Self> {
        if !(inner > 0.0 && inner < outer && outer.is_finite()) {
            let got = format!("{inner} and {outer}");
            return Err(refuse(OPERATION, "the radii", "positive, the inner one first", got));
        }
        let golden = std::f64::consts::PI * (3.0 - 5f64.sqrt());
        let mut antennas: Vec<[f64; 3]> = (0..core)
            .map(|i| {
                let (r, t) = (inner * ((i as f64 + 0.5) / core as f64).sqrt(), golden * i as f64);
                [r * t.cos(), r * t.sin(), 0.0]
            })
            .collect();
        for turn in 0..3 {
            for i in 1..=arm {
                let along = i as f64 / arm as f64;
                let r = inner * (outer / inner).powf(along);
                let t = std::f64::consts::TAU * f64::from(turn) / 3.0 + 2.0 * along;
                antennas.push([r * t.cos(), r * t.sin(), 0.0]);
            }
        }
        Self { latitude, antennas }.checked()
    }

    fn checked(self) -> Result<Self> {
        if !(-90.0..=90.0).contains(&self.latitude) {
            return Err(refuse(OPERATION, "the latitude", "from -90 to 90", self.latitude));
        }
        if self.antennas.len() < 2 {
            return Err(refuse(OPERATION, "the number of antennas", "at least 2", self.antennas.len()));
        }
        Ok(self)
    }

    /// The differences of every pair of antennas, in metres along the equatorial axes: X to the meridian on the equator, Y to the east, Z
    /// to the pole.
    ///
    /// # Source
    /// Thompson, Moran & Swenson 2017, "Interferometry and Synthesis in Radio Astronomy", section 4.1.
    pub(super) fn baselines(&self) -> Vec<[f64; 3]> {
        let (sin, cos) = self.latitude.to_radians().sin_cos();
        let place: Vec<[f64; 3]> =
            self.antennas.iter().map(|[e, n, u]| [-sin * n + cos * u, *e, cos * n + sin * u]).collect();
        let mut pairs = Vec::with_capacity(place.len() * (place.len() - 1) / 2);
        for (i, a) in place.iter().enumerate() {
            pairs.extend(place[i + 1..].iter().map(|b| [b[0] - a[0], b[1] - a[1], b[2] - a[2]]));
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_or_refused_by_line() {
        let array = ArrayLayout::from_table("0,0\n\n 1e3\t-2 # far\n", 10.0).unwrap();
        assert_eq!(array.antennas, [[0.0; 3], [1000.0, -2.0, 0.0]]);
        let refused = |text| ArrayLayout::from_table(text, 0.0).unwrap_err().to_string();
        assert!(refused("0 0\n1 x").contains("line 2"));
        assert!(refused("0 0\n1 2 3 4").contains("line 2"));
        assert!(refused("0 0\n1 nan").contains("line 2"));
        assert!(refused("0 0").contains("at least 2"));
        assert!(ArrayLayout::from_table("0 0\n1 1", 91.0).is_err());
    }

    #[test]
    fn the_tables_of_the_ska_have_its_numbers() {
        // Antennas, metres of the longest baseline, least distance of two, antennas within 1.5 km.
        for (array, count, longest, apart, core) in [
            (ArrayLayout::ska_mid().unwrap(), 197, 159_600.0, 28.0, 110..160),
            (ArrayLayout::ska_low().unwrap(), 512, 73_440.0, 22.0, 224..300),
        ] {
            assert_eq!(array.antennas.len(), count);
            let flat = |a: &[f64; 3], b: &[f64; 3]| (a[0] - b[0]).hypot(a[1] - b[1]);
            let (mut far, mut near) = (0.0f64, f64::INFINITY);
            for (i, a) in array.antennas.iter().enumerate() {
                for b in &array.antennas[..i] {
                    far = far.max(flat(a, b));
                    near = near.min(flat(a, b));
                }
                // The Earth falls away from the plane; what is left are hills.
                let r = flat(a, &[0.0; 3]);
                let height = a[2] + r * r / 12.74e6;
                assert!(height.abs() < 300.0, "antenna {i} of {count}: {height} m");
            }
            assert!((far / longest - 1.0).abs() < 2e-3 && near > apart, "{far} {near}");
            let within = array.antennas.iter().filter(|a| flat(a, &[0.0; 3]) < 1500.0).count();
            assert!(core.contains(&within), "{within}");
        }
    }

    #[test]
    fn baselines_keep_their_lengths() {
        let array = ArrayLayout::spiral(20, 500.0, 5, 30_000.0, -30.7).unwrap();
        assert_eq!(array.antennas.len(), 35);
        let pairs = array.baselines();
        assert_eq!(pairs.len(), 35 * 34 / 2);
        let length = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (a, b) = (array.antennas[0], array.antennas[34]);
        let expected = length(std::array::from_fn(|i| a[i] - b[i]));
        assert!((length(pairs[33]) / expected - 1.0).abs() < 1e-12);
        assert!(ArrayLayout::spiral(20, 500.0, 5, 100.0, 0.0).is_err());
    }
}
