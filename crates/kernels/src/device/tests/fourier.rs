//! Fourier transforms.

use super::*;
use crate::FourierNorm;

#[test]
fn real_and_back() {
    for (batch, shape) in
        [(3, vec![16]), (1, vec![2048]), (2, vec![8, 4]), (2, vec![2, 8, 4]), (1, vec![1, 2]), (5, vec![1])]
    {
        let (axes, norm) = (shape.len(), FourierNorm::Ortho);
        let last = shape[axes - 1];
        let dims: Vec<usize> = [batch].iter().chain(&shape).copied().collect();
        let mut half = dims.clone();
        half[axes] = last / 2 + 1;
        half.push(2);
        let complex: Vec<usize> = dims.iter().copied().chain([2]).collect();
        let name = |what| format!("{what} {shape:?}");
        compare(&name("rfft"), 2e-6, &[random(1, &dims)], |x| crate::rfft(&x[0], axes, norm));
        compare(&name("irfft"), 2e-6, &[random(2, &half)], |x| crate::irfft(&x[0], last, axes, norm));
        compare(&name("fft"), 2e-6, &[random(3, &complex)], |x| crate::fft(&x[0], axes, norm));
        compare(&name("ifft"), 2e-6, &[random(3, &complex)], |x| crate::ifft(&x[0], axes, norm));
    }
}
