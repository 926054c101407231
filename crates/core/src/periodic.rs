//! The periodic box: wrapping and minimum images.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A cubic periodic box of side `side`, in the unit of the positions it is used with.
///
/// ```
/// use halocast_core::PeriodicBox;
/// let b = PeriodicBox::new(10.0)?;
/// assert_eq!(b.wrap(-1.0), 9.0);
/// assert_eq!(b.separation(9.5 - 0.5), -1.0);
/// # Ok::<(), halocast_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeriodicBox {
    side: f64,
}

impl PeriodicBox {
    /// A box of side `side`.
    ///
    /// # Errors
    /// [`Error::Value`] when `side` is not finite and positive.
    pub fn new(side: f64) -> Result<Self> {
        if side.is_finite() && side > 0.0 {
            return Ok(Self { side });
        }
        Err(Error::Value {
            operation: "periodic box",
            what: "side".into(),
            expected: "finite and positive".into(),
            got: side.to_string(),
        })
    }

    /// The side.
    pub fn side(&self) -> f64 {
        self.side
    }

    /// The volume.
    pub fn volume(&self) -> f64 {
        self.side.powi(3)
    }

    /// A coordinate brought into `[0, side)`.
    pub fn wrap(&self, x: f64) -> f64 {
        let y = x - self.side * (x / self.side).floor();
        // A tiny negative x rounds up to the side itself.
        if y >= self.side { 0.0 } else { y }
    }

    /// A coordinate difference brought into `[-side/2, side/2]`.
    pub fn separation(&self, dx: f64) -> f64 {
        dx - self.side * (dx / self.side).round()
    }

    /// The minimum-image distance of two points.
    pub fn distance(&self, a: [f64; 3], b: [f64; 3]) -> f64 {
        (0..3).map(|i| self.separation(a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_never_returns_the_side() {
        let b = PeriodicBox::new(75_000.0).unwrap();
        for x in [-1e-300, -1e-12, 75_000.0, 150_000.0, -75_000.0] {
            let w = b.wrap(x);
            assert!((0.0..75_000.0).contains(&w), "{x} -> {w}");
        }
    }

    #[test]
    fn distance_ignores_whole_boxes() {
        let b = PeriodicBox::new(1.0).unwrap();
        let (p, q) = ([0.1, 0.2, 0.95], [0.9, 0.25, 0.05]);
        let shifted = [q[0] + 3.0, q[1] - 7.0, q[2] + 1.0];
        assert!((b.distance(p, q) - b.distance(p, shifted)).abs() < 1e-12);
        assert!((b.distance(p, q) - (0.04f64 + 0.0025 + 0.01).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn absurd_sides_are_refused() {
        for side in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(PeriodicBox::new(side).is_err());
        }
    }
}
