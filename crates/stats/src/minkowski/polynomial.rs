//! The functionals of a window of 2 x 2 pixels as polynomials in their membership: for sets that live in tensors, and
//! for soft ones, whose pixels belong to them in part.

use super::{MinkowskiConvention, windows};

/// What surrounds a map before its windows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Nothing: windows lie inside the map.
    None,
    /// A row and a column of the complement on every side.
    Outside,
    /// The last row above the first and the last column left of the first.
    Wrapped,
}

/// M0, M1 and M2 as sums over windows of products of the membership of their pixels.
///
/// Bits of a set of pixels: top left 1, top right 2, bottom left 4, bottom right 8. A table of the values for the sixteen
/// windows of whole pixels has one polynomial of degree one in each pixel that passes through it; for independent pixels
/// of probability p it is the expectation.
pub(crate) struct Polynomial {
    pub(crate) frame: Frame,
    /// Coefficients of the product of each set of pixels, in the functionals' units.
    pub(crate) coefficients: [[f64; 3]; 16],
}

impl Polynomial {
    pub(crate) fn new(convention: MinkowskiConvention) -> Self {
        let (frame, table): (Frame, [[f64; 3]; 16]) = match convention {
            MinkowskiConvention::Quantimpy => {
                let units = windows::units();
                let tables = [windows::AREA, windows::LENGTH, windows::EULER];
                let of = |code: usize| std::array::from_fn(|f| tables[f][code] as f64 * units[f]);
                (Frame::None, std::array::from_fn(of))
            }
            MinkowskiConvention::Pixels { diagonal, periodic } => {
                let frame = if periodic { Frame::Wrapped } else { Frame::Outside };
                (frame, std::array::from_fn(|code| pixels(code, diagonal)))
            }
        };
        // Moebius inversion: the coefficient of a set is the alternating sum over its subsets.
        let coefficients = std::array::from_fn(|set: usize| {
            let mut sum = [0.0; 3];
            for subset in (0..=set).filter(|subset| subset & !set == 0) {
                let sign = if (set ^ subset).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                (0..3).for_each(|f| sum[f] += sign * table[subset][f]);
            }
            sum
        });
        Self { frame, coefficients }
    }
}

/// The bottom right pixel, the edges to its left and above and the vertex at its top left corner.
fn pixels(code: usize, diagonal: bool) -> [f64; 3] {
    let [corner, above, left, own] = [1, 2, 4, 8].map(|bit: usize| code & bit != 0);
    let number = |b: bool| f64::from(u8::from(b));
    let boundary = number(own != left) + number(own != above);
    let euler = if diagonal {
        number(own) - number(own | left) - number(own | above) + number(own | left | above | corner)
    } else {
        number(own) - number(own & left) - number(own & above) + number(own & left & above & corner)
    };
    [number(own), boundary / std::f64::consts::TAU, euler / std::f64::consts::PI]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_pass_through_their_tables() {
        let found = Polynomial::new(MinkowskiConvention::Quantimpy);
        let units = windows::units();
        for code in 0..16usize {
            let value = |f: usize| -> f64 {
                (0..16).filter(|set| set & !code == 0).map(|set| found.coefficients[set][f]).sum()
            };
            assert!((value(1) - windows::LENGTH[code] as f64 * units[1]).abs() < 1e-14);
            assert!((value(2) - windows::EULER[code] as f64 * units[2]).abs() < 1e-14);
        }
    }
}
