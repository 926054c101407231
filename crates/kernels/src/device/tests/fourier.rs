//! Fourier transforms.

use super::*;
use crate::FourierNorm;
use crate::device::{Fourier, Spectrum};

fn transform(shape: [usize; 3], batch: usize, spectrum: Spectrum, scale: f64, output: &[usize]) -> Fourier {
    Fourier { name: "fourier", shape, batch, spectrum, scale: scale as f32, output: output.into() }
}

#[test]
fn real_and_back() {
    for (batch, shape) in [(3, vec![16]), (1, vec![2048]), (2, vec![8, 4]), (2, vec![2, 8, 4]), (1, vec![1, 2]), (5, vec![1])] {
        let (axes, points) = (shape.len(), shape.iter().product::<usize>());
        let mut sides = [1; 3];
        sides[3 - axes..].copy_from_slice(&shape);
        let last = shape[axes - 1];
        let dims: Vec<usize> = [batch].iter().chain(&shape).copied().collect();
        let mut half = dims.clone();
        half[axes] = last / 2 + 1;
        half.push(2);
        let norm = FourierNorm::Ortho;
        let scale = (points as f64).sqrt().recip();
        compare(
            &format!("rfft {shape:?}"),
            2e-6,
            &[random(1, &dims)],
            |x| transform(sides, batch, Spectrum::Real, scale, &half).apply(&x[0]),
            |x| crate::rfft(&x[0], axes, norm),
        );
        compare(
            &format!("irfft {shape:?}"),
            2e-6,
            &[random(2, &half)],
            |x| transform(sides, batch, Spectrum::RealInverse, scale, &dims).apply(&x[0]),
            |x| crate::irfft(&x[0], last, axes, norm),
        );
        let complex: Vec<usize> = dims.iter().copied().chain([2]).collect();
        for inverse in [false, true] {
            compare(
                &format!("fft {shape:?} {inverse}"),
                2e-6,
                &[random(3, &complex)],
                |x| transform(sides, batch, Spectrum::Complex { inverse }, scale, &complex).apply(&x[0]),
                |x| if inverse { crate::ifft(&x[0], axes, norm) } else { crate::fft(&x[0], axes, norm) },
            );
        }
    }
}
