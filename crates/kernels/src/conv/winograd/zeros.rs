//! Filters that are zero at some of the points, and the products that need not be made therefore.
//!
//! A filter of three taps whose first is zero vanishes at the point 0, one whose last is zero at infinity. The phases
//! of a strided convolution have such filters (see [`strided`](super::strided)).

use std::ops::Range;

use super::transform::SIDE;

/// Whether the filters of the even and the odd phase have a first and a last tap, along one axis.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) first: [bool; 2],
    pub(super) last: [bool; 2],
}

impl Ends {
    fn lives(&self, point: usize, parity: usize) -> bool {
        (point > 0 || self.first[parity]) && (point + 1 < SIDE || self.last[parity])
    }
}

/// Four phases of `channels` channels each, one after another.
#[derive(Clone, Copy)]
pub(super) struct Phases {
    pub(super) channels: usize,
    pub(super) y: Ends,
    pub(super) x: Ends,
}

impl Phases {
    /// Of the filters with their taps reversed.
    pub(super) fn reversed(self) -> Self {
        let swap = |ends: Ends| Ends { first: ends.last, last: ends.first };
        Self { y: swap(self.y), x: swap(self.x), ..self }
    }

    fn lives(&self, point: usize, phase: usize) -> bool {
        self.y.lives(point / SIDE, phase / 2) && self.x.lives(point % SIDE, phase % 2)
    }

    /// The runs `(start, length)` of channels whose filters do not vanish at a point: at most two of four phases are apart.
    fn live(&self, point: usize) -> [(usize, usize); 2] {
        let mut runs = [(0, 0); 2];
        let mut run = 0;
        for phase in (0..4).filter(|&phase| self.lives(point, phase)) {
            let start = phase * self.channels;
            if runs[run].1 > 0 && runs[run].0 + runs[run].1 < start {
                run = 1;
            }
            if runs[run].1 == 0 {
                runs[run].0 = start;
            }
            runs[run].1 += self.channels;
        }
        runs
    }

    /// Whether the filters of all these channels vanish at a point.
    pub(super) fn vanish(&self, point: usize, channels: Range<usize>) -> bool {
        let phases = channels.start / self.channels..channels.end.div_ceil(self.channels).min(4);
        !phases.into_iter().any(|phase| self.lives(point, phase))
    }
}

/// Which channels the phases are.
#[derive(Clone, Copy)]
pub(super) enum Zeros {
    None,
    Inputs(Phases),
    Outputs(Phases),
}

impl Zeros {
    /// The runs of inputs that a product at a point for these outputs sums over.
    #[inline]
    pub(super) fn runs(&self, point: usize, inputs: usize, outputs: Range<usize>) -> [(usize, usize); 2] {
        match self {
            Self::Inputs(phases) => phases.live(point),
            Self::Outputs(phases) if phases.vanish(point, outputs) => [(0, 0); 2],
            _ => [(0, inputs), (0, 0)],
        }
    }

    /// Whether the gradient of the filters of these inputs needs no product at a point.
    #[inline]
    pub(super) fn skip(&self, point: usize, inputs: Range<usize>) -> bool {
        matches!(self, Self::Inputs(phases) if phases.vanish(point, inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_phases_that_live() {
        // A 4x4 kernel: even phases have no first tap, odd ones no last.
        let ends = Ends { first: [false, true], last: [true, false] };
        let zeros = Zeros::Inputs(Phases { channels: 5, y: ends, x: ends });
        let runs = |i: usize, j: usize| zeros.runs(i * SIDE + j, 20, 0..8);
        assert_eq!(runs(2, 3), [(0, 20), (0, 0)]);
        assert_eq!(runs(0, 1), [(10, 10), (0, 0)]);
        assert_eq!(runs(5, 1), [(0, 10), (0, 0)]);
        assert_eq!(runs(1, 0), [(5, 5), (15, 5)]);
        assert_eq!(runs(0, 5), [(10, 5), (0, 0)]);
        assert!(zeros.skip(0, 0..10) && !zeros.skip(0, 8..16) && zeros.skip(0, 0..8));
        assert!(!zeros.skip(0, 16..24), "padded channels count as the last phase's");
    }
}
