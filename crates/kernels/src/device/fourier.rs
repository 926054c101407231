//! Fourier transforms on a device, of sizes that are powers of two.

use candle_core::{Result, Shape, Tensor};

use super::graph::{DeviceOp, apply};
use super::queue::{Arg, Block, launch};
use super::source;

/// Points of a line that fit into shared memory.
const LONGEST: usize = 2048;

/// From what to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spectrum {
    /// Real numbers to half their spectrum.
    Real,
    /// Half a spectrum to real numbers.
    RealInverse,
    /// Complex numbers to complex ones.
    Complex { inverse: bool },
}

/// A transform over the last axes of `batch` tensors of shape `[n0, n1, n2]`.
#[derive(Clone)]
pub(crate) struct Fourier {
    pub(crate) name: &'static str,
    pub(crate) shape: [usize; 3],
    pub(crate) batch: usize,
    pub(crate) spectrum: Spectrum,
    pub(crate) scale: f32,
    pub(crate) output: Shape,
}

impl Fourier {
    /// Whether the kernels have these sizes.
    pub(crate) fn fits(&self) -> bool {
        self.shape.iter().all(|n| n.is_power_of_two() && *n <= LONGEST)
    }

    /// The transform of `x`.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        apply(self, &[x])
    }

    /// The transform of one axis; complex numbers unless it is the last one. Columns that stand for their conjugates too
    /// are multiplied by `shared_factor`.
    fn line(&self, x: &Tensor, axis: usize, pass: Pass) -> Result<Block> {
        let [n0, n1, n2] = self.shape;
        let (n, half) = (self.shape[axis], n2 / 2 + 1);
        let width = if pass.of_half { half } else { n2 };
        let (lines, inner) = match axis {
            0 => (self.batch * n1 * width, n1 * width),
            1 => (self.batch * n0 * width, width),
            _ => (self.batch * n0 * n1, 1),
        };
        let written = match pass.writes {
            0 => 2 * lines * n,
            1 => 2 * lines * half,
            _ => lines * n,
        };
        let held = (LONGEST / n).min(lines);
        let mut y = Block::floats(x.device(), written)?;
        let args = &mut [
            Arg::In(x),
            y.out(),
            Arg::Int(n),
            Arg::Int(lines),
            Arg::Int(inner),
            Arg::Int(held),
            Arg::Int(pass.reads),
            Arg::Int(pass.writes),
            Arg::Int(pass.inverse.into()),
            Arg::Real(pass.shared_factor),
            Arg::Real(pass.scale),
        ];
        launch(x.device(), source::FOURIER_LINES, lines.div_ceil(held), args)?;
        Ok(y)
    }

    /// All axes, and of a half spectrum the factor of the columns that count twice.
    fn run(&self, x: &Tensor, spectrum: Spectrum, shared_factor: f32) -> Result<Block> {
        let (inverse, scale) =
            (!matches!(spectrum, Spectrum::Real | Spectrum::Complex { inverse: false }), self.scale);
        let of_half = !matches!(spectrum, Spectrum::Complex { .. });
        let across = Pass { reads: 0, writes: 0, inverse, of_half, shared_factor: 1.0, scale: 1.0 };
        let (reads, writes) = match spectrum {
            Spectrum::Real => (1, 1),
            Spectrum::RealInverse => (2, 2),
            Spectrum::Complex { .. } => (0, 0),
        };
        let along = Pass { reads, writes, inverse, of_half, shared_factor, scale };
        let others = (0..2).filter(|&axis| self.shape[axis] > 1);
        if spectrum == Spectrum::RealInverse {
            let mut y = x.clone();
            for axis in others {
                let block = self.line(&y, axis, across)?;
                let len = block.len();
                y = block.tensor(len);
            }
            return self.line(&y, 2, along);
        }
        let mut y = self.line(x, 2, along)?;
        for axis in others {
            let len = y.len();
            y = self.line(&y.tensor(len), axis, across)?;
        }
        Ok(y)
    }
}

/// What one pass over the lines of an axis does; numbers as the kernel has them.
#[derive(Clone, Copy)]
struct Pass {
    reads: usize,
    writes: usize,
    inverse: bool,
    /// Whether rows are half spectra.
    of_half: bool,
    shared_factor: f32,
    scale: f32,
}

impl DeviceOp for Fourier {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        Ok((self.run(&inputs[0], self.spectrum, 1.0)?, self.output.clone()))
    }

    fn backward(&self, _: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        // As on the CPU: the adjoint of half a spectrum counts each stored number once.
        let dx = match self.spectrum {
            Spectrum::Real => self.run(dy, Spectrum::RealInverse, 0.5)?,
            Spectrum::RealInverse => self.run(dy, Spectrum::Real, 2.0)?,
            Spectrum::Complex { inverse } => self.run(dy, Spectrum::Complex { inverse: !inverse }, 1.0)?,
        };
        let len = dx.len();
        Ok(vec![Some(dx.tensor(len))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}
