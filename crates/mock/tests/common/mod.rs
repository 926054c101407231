//! A small power-spectrum measurement, for the tests of this crate alone.

use std::f64::consts::{PI, TAU};

use halocast_core::fft::{Complex, RealFft, wavenumber};

/// The modes delta_k of particles in a periodic box, by CIC and with its window taken out.
pub(crate) struct Modes {
    pub(crate) mesh: usize,
    pub(crate) values: Vec<Complex<f64>>,
}

impl Modes {
    pub(crate) fn new(positions: &[[f32; 3]], side: f64, mesh: usize) -> Self {
        let mut field = vec![0.0f64; mesh.pow(3)];
        let weight = 1.0 / positions.len() as f64;
        for x in positions {
            let x = x.map(|x| f64::from(x) * mesh as f64 / side);
            for corner in 0..8usize {
                let (mut w, mut index) = (weight, 0);
                for axis in 0..3 {
                    let (lower, d) = (x[axis].floor(), x[axis] - x[axis].floor());
                    let up = corner >> axis & 1;
                    w *= if up == 1 { d } else { 1.0 - d };
                    index = index * mesh + (lower as usize + up) % mesh;
                }
                field[index] += w;
            }
        }
        let fft = RealFft::<f64>::new([mesh, mesh, mesh]);
        let mut values = fft.spectrum();
        fft.forward(&field, &mut values);
        let window: Vec<f64> = (0..mesh)
            .map(|i| {
                let x = PI * wavenumber(i, mesh) as f64 / mesh as f64;
                if i == 0 { 1.0 } else { (x.sin() / x).powi(2) }
            })
            .collect();
        let half = mesh / 2 + 1;
        for (i, c) in values.iter_mut().enumerate() {
            *c /= window[i / half / mesh] * window[i / half % mesh] * window[i % half];
        }
        Self { mesh, values }
    }

    /// Calls `f(|n|, weight, index)` for every mode; a mode that stands for its conjugate too has weight 2.
    pub(crate) fn for_each(&self, mut f: impl FnMut(f64, f64, usize)) {
        let (m, half) = (self.mesh, self.mesh / 2 + 1);
        for index in 1..self.values.len() {
            let (i, j, l) = (index / half / m, index / half % m, index % half);
            let squared = wavenumber(i, m).pow(2) + wavenumber(j, m).pow(2) + (l * l) as i64;
            f((squared as f64).sqrt(), if l == 0 || 2 * l == m { 1.0 } else { 2.0 }, index);
        }
    }

    /// Mean P in bins of one fundamental mode centred on n = 1, 2, .., `bins`, and the mean of `linear` over the same
    /// modes; (Mpc/h)^3.
    pub(crate) fn power(&self, side: f64, bins: usize, linear: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut sums = vec![(0.0, 0.0, 0.0); bins + 1];
        self.for_each(|n, weight, index| {
            let bin = n.round() as usize;
            if bin <= bins {
                sums[bin].0 += weight;
                sums[bin].1 += weight * self.values[index].norm_sqr() * side.powi(3);
                sums[bin].2 += weight * linear(TAU / side * n);
            }
        });
        sums[1..].iter().map(|s| (s.1 / s.0, s.2 / s.0)).collect()
    }
}
