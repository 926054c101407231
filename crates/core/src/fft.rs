//! Real Fourier transforms in two and three dimensions, on rustfft and realfft, parallel over lines.
//!
//! Convention: forward F(k) = sum over x of f(x) exp(-i k x), not normalised; inverse divides by the number of cells, so
//! that inverse(forward(f)) = f. The last axis is halved: a real array `[.., n]` has a spectrum `[.., n/2 + 1]`.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
pub use rustfft::FftNum;
pub use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// The signed integer wavenumber of index `i` on an axis of `n` points: `0, 1, .., n/2, .., -1` (Nyquist positive).
///
/// ```
/// use halocast_core::fft::wavenumber;
/// assert_eq!((0..6).map(|i| wavenumber(i, 6)).collect::<Vec<_>>(), [0, 1, 2, 3, -2, -1]);
/// ```
pub fn wavenumber(i: usize, n: usize) -> i64 {
    if i <= n / 2 { i as i64 } else { i as i64 - n as i64 }
}

/// Plans for a real transform of shape `[n0, n1, n2]`; a two-dimensional one has `n0 = 1`.
///
/// ```
/// use halocast_core::fft::{Complex, RealFft};
/// let fft = RealFft::<f64>::new([1, 4, 4]);
/// let mut field = vec![0.0; 16];
/// field[0] = 1.0; // a point has a flat spectrum
/// let mut spectrum = fft.spectrum();
/// fft.forward(&field, &mut spectrum);
/// assert!(spectrum.iter().all(|c| (c - Complex::new(1.0, 0.0)).norm() < 1e-12));
/// ```
pub struct RealFft<T: FftNum> {
    shape: [usize; 3],
    rows: Arc<dyn RealToComplex<T>>,
    rows_back: Arc<dyn ComplexToReal<T>>,
    middle: [Arc<dyn Fft<T>>; 2],
    outer: [Arc<dyn Fft<T>>; 2],
}

impl<T: FftNum> RealFft<T> {
    /// Plans the transforms of a shape.
    pub fn new(shape: [usize; 3]) -> Self {
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        Self {
            shape,
            rows: real.plan_fft_forward(shape[2].max(1)),
            rows_back: real.plan_fft_inverse(shape[2].max(1)),
            middle: [complex.plan_fft_forward(shape[1].max(1)), complex.plan_fft_inverse(shape[1].max(1))],
            outer: [complex.plan_fft_forward(shape[0].max(1)), complex.plan_fft_inverse(shape[0].max(1))],
        }
    }

    /// The shape of the real array.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The shape of the spectrum.
    pub fn spectrum_shape(&self) -> [usize; 3] {
        [self.shape[0], self.shape[1], self.shape[2] / 2 + 1]
    }

    /// A zero spectrum of the right length.
    pub fn spectrum(&self) -> Vec<Complex<T>> {
        let (zero, length) = (Complex::new(T::zero(), T::zero()), self.spectrum_shape().iter().product());
        // Touching much memory for the first time takes long enough to share it.
        if length < LARGE { vec![zero; length] } else { rayon::iter::repeat_n(zero, length).collect() }
    }

    /// The forward transform.
    ///
    /// # Panics
    /// When a slice has not the length its shape asks for.
    pub fn forward(&self, real: &[T], spectrum: &mut [Complex<T>]) {
        let nz = self.shape[2];
        assert_eq!(real.len(), self.shape.iter().product::<usize>(), "real array of a Fourier transform");
        self.forward_rows(|row, line| line.copy_from_slice(&real[row * nz..][..nz]), spectrum);
    }

    /// The forward transform of a field whose rows along the last axis are written by `fill(row, values)`, rows counted in
    /// the order of memory: for a field of another type, without a copy of it.
    ///
    /// # Panics
    /// When `spectrum` has not the length its shape asks for.
    pub fn forward_rows(&self, fill: impl Fn(usize, &mut [T]) + Sync, spectrum: &mut [Complex<T>]) {
        let half = self.shape[2] / 2 + 1;
        assert_eq!(
            spectrum.len(),
            self.spectrum_shape().iter().product::<usize>(),
            "spectrum of a Fourier transform"
        );
        spectrum.par_chunks_mut(half * ROWS).enumerate().for_each_init(
            || (self.rows.make_input_vec(), self.rows.make_scratch_vec()),
            |(line, scratch), (part, out)| {
                for (row, out) in out.chunks_exact_mut(half).enumerate() {
                    fill(part * ROWS + row, line);
                    // The lengths are the plan's own: this cannot fail.
                    let _ = self.rows.process_with_scratch(line, out, scratch);
                }
            },
        );
        self.transform_middle(spectrum, 0);
        self.transform_outer(spectrum, 0);
    }

    /// Working space for [`RealFft::forward_plane`].
    pub fn plane_scratch(&self) -> PlaneScratch<T> {
        let (block, columns) = columns_scratch(self.shape[1], self.middle[0].get_inplace_scratch_len());
        PlaneScratch { line: self.rows.make_input_vec(), rows: self.rows.make_scratch_vec(), block, columns }
    }

    /// The transform of one plane over the last two axes on the calling thread: `fill(y, row)` writes the values of each
    /// row, and `columns(first, block)` is given the spectrum some columns at a time, column `first + c` in
    /// `block[c * ny..][..ny]`. `spectrum` has a plane's length and holds no result. For many small fields, one a thread.
    ///
    /// # Panics
    /// When `spectrum` has not the length of a plane.
    pub fn forward_plane(
        &self,
        scratch: &mut PlaneScratch<T>,
        spectrum: &mut [Complex<T>],
        mut fill: impl FnMut(usize, &mut [T]),
        mut columns: impl FnMut(usize, &[Complex<T>]),
    ) {
        let [_, ny, half] = self.spectrum_shape();
        assert_eq!(spectrum.len(), ny * half, "spectrum of a plane");
        let PlaneScratch { line, rows, block, columns: working } = scratch;
        for (y, out) in spectrum.chunks_exact_mut(half).enumerate() {
            fill(y, line);
            // The lengths are the plan's own: this cannot fail.
            let _ = self.rows.process_with_scratch(line, out, rows);
        }
        for first in (0..half).step_by(COLUMNS) {
            let width = COLUMNS.min(half - first);
            for (y, row) in spectrum.chunks_exact(half).enumerate() {
                for (c, &value) in row[first..first + width].iter().enumerate() {
                    block[c * ny + y] = value;
                }
            }
            self.middle[0].process_with_scratch(&mut block[..width * ny], working);
            columns(first, &block[..width * ny]);
        }
    }

    /// The inverse transform, normalised; `spectrum` is used as working space.
    ///
    /// # Panics
    /// When a slice has not the length its shape asks for.
    pub fn inverse(&self, spectrum: &mut [Complex<T>], real: &mut [T]) {
        let [_, _, nz] = self.shape;
        let half = nz / 2 + 1;
        let cells: usize = self.shape.iter().product();
        assert_eq!(real.len(), cells, "real array of a Fourier transform");
        assert_eq!(
            spectrum.len(),
            self.spectrum_shape().iter().product::<usize>(),
            "spectrum of a Fourier transform"
        );
        self.transform_outer(spectrum, 1);
        self.transform_middle(spectrum, 1);
        let norm = T::from_f64(1.0 / cells as f64).unwrap_or_else(T::one);
        let even = nz % 2 == 0;
        real.par_chunks_mut(nz * ROWS).zip(spectrum.par_chunks_mut(half * ROWS)).for_each_init(
            || self.rows_back.make_scratch_vec(),
            |scratch, (out, input)| {
                for (out, input) in out.chunks_exact_mut(nz).zip(input.chunks_exact_mut(half)) {
                    // A real line has real ends; rounding elsewhere must not make realfft refuse it.
                    input[0].im = T::zero();
                    if even {
                        input[half - 1].im = T::zero();
                    }
                    let _ = self.rows_back.process_with_scratch(input, out, scratch);
                    out.iter_mut().for_each(|v| *v = *v * norm);
                }
            },
        );
    }

    /// Transforms along the middle axis, 16 columns at a time so that whole cache lines move.
    fn transform_middle(&self, spectrum: &mut [Complex<T>], direction: usize) {
        let [_, ny, half] = self.spectrum_shape();
        if ny < 2 {
            return;
        }
        let plan = &self.middle[direction];
        spectrum.par_chunks_mut(ny * half).for_each_init(
            || columns_scratch(ny, plan.get_inplace_scratch_len()),
            |(block, scratch), plane| {
                for first in (0..half).step_by(COLUMNS) {
                    let width = COLUMNS.min(half - first);
                    for y in 0..ny {
                        for c in 0..width {
                            block[c * ny + y] = plane[y * half + first + c];
                        }
                    }
                    plan.process_with_scratch(&mut block[..width * ny], scratch);
                    for y in 0..ny {
                        for c in 0..width {
                            plane[y * half + first + c] = block[c * ny + y];
                        }
                    }
                }
            },
        );
    }

    /// Transforms along the outer axis, 16 columns at a time; a thread owns the rows of one index of the middle axis.
    fn transform_outer(&self, spectrum: &mut [Complex<T>], direction: usize) {
        let [nx, ny, half] = self.spectrum_shape();
        if nx < 2 {
            return;
        }
        let plan = &self.outer[direction];
        let mut sheets: Vec<Vec<&mut [Complex<T>]>> = (0..ny).map(|_| Vec::with_capacity(nx)).collect();
        for (row, line) in spectrum.chunks_exact_mut(half).enumerate() {
            sheets[row % ny].push(line);
        }
        sheets.par_iter_mut().for_each_init(
            || columns_scratch(nx, plan.get_inplace_scratch_len()),
            |(block, scratch), sheet| {
                for first in (0..half).step_by(COLUMNS) {
                    let width = COLUMNS.min(half - first);
                    for (x, line) in sheet.iter().enumerate() {
                        for (c, &value) in line[first..first + width].iter().enumerate() {
                            block[c * nx + x] = value;
                        }
                    }
                    plan.process_with_scratch(&mut block[..width * nx], scratch);
                    for (x, line) in sheet.iter_mut().enumerate() {
                        for (c, value) in line[first..first + width].iter_mut().enumerate() {
                            *value = block[c * nx + x];
                        }
                    }
                }
            },
        );
    }
}

/// What [`RealFft::forward_plane`] works in.
pub struct PlaneScratch<T> {
    line: Vec<T>,
    rows: Vec<Complex<T>>,
    block: Vec<Complex<T>>,
    columns: Vec<Complex<T>>,
}

/// Columns moved together: 16 complex f32 are two cache lines.
const COLUMNS: usize = 16;
/// Lines handed to a thread at once.
const ROWS: usize = 32;
/// Numbers of a spectrum that one thread makes alone.
const LARGE: usize = 1 << 20;

fn columns_scratch<T: FftNum>(n: usize, scratch: usize) -> (Vec<Complex<T>>, Vec<Complex<T>>) {
    let zero = Complex::new(T::zero(), T::zero());
    (vec![zero; COLUMNS * n], vec![zero; scratch])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// The definition, term by term.
    fn slow(real: &[f64], shape: [usize; 3], k: [usize; 3]) -> Complex<f64> {
        let mut sum = Complex::new(0.0, 0.0);
        for x in 0..shape[0] {
            for y in 0..shape[1] {
                for z in 0..shape[2] {
                    let at = [x, y, z];
                    let turns: f64 = (0..3).map(|i| (k[i] * at[i]) as f64 / shape[i] as f64).sum();
                    let value = real[(x * shape[1] + y) * shape[2] + z];
                    sum += Complex::from_polar(value, -std::f64::consts::TAU * turns);
                }
            }
        }
        sum
    }

    #[test]
    fn forward_is_its_definition_and_inverse_undoes_it() {
        for shape in [[1, 6, 8], [4, 3, 5], [1, 7, 7], [5, 18, 40], [1, 1, 9]] {
            let fft = RealFft::<f64>::new(shape);
            let mut rng = Rng::new(2);
            let real: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
            let mut spectrum = fft.spectrum();
            fft.forward(&real, &mut spectrum);
            let [n0, n1, half] = fft.spectrum_shape();
            for (i, j, l) in [(0, 0, 0), (n0 - 1, n1 / 2, half - 1), (n0 / 2, n1 - 1, half / 2)] {
                let expected = slow(&real, shape, [i, j, l]);
                let got = spectrum[(i * n1 + j) * half + l];
                assert!((got - expected).norm() < 1e-10, "{shape:?} {i} {j} {l}: {got} {expected}");
            }
            if n0 == 1 {
                let (mut scratch, mut working) = (fft.plane_scratch(), fft.spectrum());
                let fill = |y: usize, row: &mut [f64]| row.copy_from_slice(&real[y * shape[2]..][..shape[2]]);
                let mut seen = 0;
                fft.forward_plane(&mut scratch, &mut working, fill, |first, block| {
                    for (i, value) in block.iter().enumerate() {
                        let at = i % n1 * half + first + i / n1;
                        assert!((value - spectrum[at]).norm() < 1e-12);
                        seen += 1;
                    }
                });
                assert_eq!(seen, spectrum.len());
            }
            let mut back = vec![0.0; real.len()];
            fft.inverse(&mut spectrum, &mut back);
            assert!(real.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-12), "{shape:?}");
        }
    }
}
