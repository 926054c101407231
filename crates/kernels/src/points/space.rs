//! Open space or a periodic box, and the distance of two points in it.

use candle_core::WithDType;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What lies beyond the box: nothing special, or the box again.
///
/// In a periodic box the difference of two coordinates is that of their nearest images. Points outside are wrapped
/// into $[0, L)$ first, so any image of a point may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// Euclidean space.
    #[default]
    Open,
    /// A box with these sides, in the unit of the points. In one and two dimensions the last ones are not used.
    Periodic([f64; 3]),
}

impl Boundary {
    /// A periodic cube.
    ///
    /// ```
    /// use halocast_kernels::Boundary;
    /// assert_eq!(Boundary::cube(25.0), Boundary::Periodic([25.0; 3]));
    /// ```
    pub fn cube(side: f64) -> Self {
        Self::Periodic([side; 3])
    }

    /// The lengths of the sides for points of `axes` axes, if periodic.
    pub(super) fn sides(&self, op: &'static str, axes: usize) -> Result<Option<Vec<f64>>> {
        let Self::Periodic(sides) = self else { return Ok(None) };
        if axes > 3 {
            return Err(Error::argument(op, "boundary", "open for points of more than 3 axes", "periodic"));
        }
        let sides = &sides[..axes];
        // The smallest normal number of single precision, and room for squares.
        if sides.iter().any(|side| !(1e-18..1e18).contains(side)) {
            return Err(Error::argument(
                op,
                "boundary",
                "sides between 1e-18 and 1e18",
                format!("{sides:?}"),
            ));
        }
        Ok(Some(sides.to_vec()))
    }
}

/// Where a coordinate lies in $[0, L)$.
#[inline(always)]
pub(super) fn wrap<T: WithDType>(x: T, side: T) -> T {
    let zero = T::zero();
    if x >= zero && x < side {
        return x;
    }
    let mut inside = x - side * T::from_f64((x / side).to_f64().floor());
    if inside < zero {
        inside += side;
    }
    // A small negative number plus the side rounds to the side.
    if inside >= zero && inside < side { inside } else { zero }
}

/// A three-dimensional space of single precision. An axis that the points lack has an infinite side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) periodic: bool,
    pub(super) sides: [f32; 3],
}

impl Space {
    pub(super) fn new(op: &'static str, boundary: &Boundary, axes: usize) -> Result<Self> {
        let mut space = Self { periodic: false, sides: [f32::INFINITY; 3] };
        if let Some(sides) = boundary.sides(op, axes)? {
            space.periodic = true;
            for (to, from) in space.sides.iter_mut().zip(sides) {
                *to = from as f32;
            }
        }
        Ok(space)
    }

    /// The same for a kernel of a device.
    pub(super) fn on_device(&self) -> crate::device::Sides {
        crate::device::Sides { periodic: self.periodic, sides: self.sides }
    }

    /// The difference `a - b`, of the nearest images in a periodic box.
    #[inline(always)]
    pub(super) fn difference(&self, a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|axis| {
            let d = a[axis] - b[axis];
            let side = self.sides[axis];
            if !self.periodic || d.abs() <= side - d.abs() { d } else { d - side.copysign(d) }
        })
    }

    /// The squared distance of two points.
    #[inline(always)]
    pub(super) fn squared(&self, a: [f32; 3], b: [f32; 3]) -> f32 {
        sum_of_squares(std::array::from_fn(|axis| {
            let d = (a[axis] - b[axis]).abs();
            if self.periodic { d.min(self.sides[axis] - d) } else { d }
        }))
    }

    /// A lower bound of the squared distance from `q` to any point of a box, in the same rounding.
    #[inline(always)]
    pub(super) fn squared_to_box<const PERIODIC: bool>(
        &self,
        q: [f32; 3],
        low: [f32; 3],
        high: [f32; 3],
    ) -> f32 {
        sum_of_squares(std::array::from_fn(|axis| {
            let (below, above) = (low[axis] - q[axis], q[axis] - high[axis]);
            let gap = if below > above { below } else { above };
            if gap <= 0.0 {
                0.0
            } else if PERIODIC {
                // The other way round the box leads to its far side.
                let far = self.sides[axis] + if below > above { above } else { below };
                gap.min(far)
            } else {
                gap
            }
        }))
    }
}

#[inline(always)]
fn sum_of_squares(d: [f32; 3]) -> f32 {
    (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_into_the_box() {
        for side in [1.0f32, 0.1, 25.0] {
            for x in [0.0, -1e-12, side, -side, 3.7 * side, -8.2 * side, side * 0.999_999_94] {
                let inside = wrap(x, side);
                assert!((0.0..side).contains(&inside), "{x} in {side}: {inside}");
            }
        }
    }

    #[test]
    fn a_box_is_never_farther_than_its_points() -> Result<()> {
        let mut state = 1u32;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for boundary in [Boundary::Open, Boundary::Periodic([1.0, 1.3, 1.1])] {
            let space = Space::new("test", &boundary, 3)?;
            for _ in 0..20_000 {
                let [a, b, q]: [[f32; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| uniform()));
                let low = std::array::from_fn(|i| a[i].min(b[i]));
                let high = std::array::from_fn(|i| a[i].max(b[i]));
                let bound = if space.periodic {
                    space.squared_to_box::<true>(q, low, high)
                } else {
                    space.squared_to_box::<false>(q, low, high)
                };
                for t in [0.0, 1.0, uniform()] {
                    let p = std::array::from_fn(|i| (low[i] + t * (high[i] - low[i])).clamp(low[i], high[i]));
                    assert!(bound <= space.squared(p, q), "{boundary:?} {q:?} {low:?} {high:?} {p:?}");
                }
            }
        }
        Ok(())
    }
}
