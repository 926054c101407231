//! Mesh assignment on a plane that is small against the particles: layers of their own, laid by threads and then added.

use std::ops::Range;

use rayon::prelude::*;

use crate::Masses;
use crate::assign::{Centring, Scheme, Weights, wrapped};

/// The most layers: threads beyond that number have nothing to do.
const MOST: usize = 16;
/// Cells that one thread adds up at a time.
const CELLS: usize = 1 << 13;

/// How many layers `particles` on `cells` are laid on, of no more cells together than twice the particles; one where it is better to
/// sort the particles. It does not depend on the number of threads, and so neither does the order of the sums.
pub(crate) fn number(particles: usize, cells: usize) -> usize {
    (particles / cells).next_power_of_two().min(MOST)
}

/// A periodic plane and how particles are laid on it.
#[derive(Clone, Copy)]
pub(crate) struct Plane {
    pub(crate) shape: [usize; 2],
    /// Cells in a unit of position.
    pub(crate) scale: [f64; 2],
    pub(crate) scheme: Scheme,
    pub(crate) centring: Centring,
}

impl Plane {
    /// The mass of each cell, from equal shares of the particles in their order, on a layer each; `None` when a position is not
    /// finite. Each layer is summed in float64, then the layers in their order.
    pub(crate) fn assign<T: Copy + Into<f64> + Sync>(
        &self,
        positions: &[[T; 2]],
        masses: Masses<'_>,
        layers: usize,
    ) -> Option<Vec<f32>> {
        let share = positions.len().div_ceil(layers).max(1);
        let layer = |n: usize| {
            let mut sums = vec![0f64; self.shape[0] * self.shape[1]];
            let particles = (n * share).min(positions.len())..((n + 1) * share).min(positions.len());
            let finite = match self.scheme {
                Scheme::Ngp => self.lay::<T, 1>(positions, masses, particles, &mut sums),
                Scheme::Cic => self.lay::<T, 2>(positions, masses, particles, &mut sums),
                Scheme::Tsc => self.lay::<T, 3>(positions, masses, particles, &mut sums),
                Scheme::Pcs => self.lay::<T, 4>(positions, masses, particles, &mut sums),
            };
            finite.then_some(sums)
        };
        let layers: Vec<Vec<f64>> = (0..layers).into_par_iter().map(layer).collect::<Option<_>>()?;
        let mut out = vec![0f32; self.shape[0] * self.shape[1]];
        out.par_chunks_mut(CELLS).enumerate().for_each(|(part, out)| {
            let mut sums = [0f64; CELLS];
            for layer in &layers {
                sums.iter_mut().zip(&layer[part * CELLS..][..out.len()]).for_each(|(sum, v)| *sum += v);
            }
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = *sum as f32);
        });
        Some(out)
    }

    fn lay<T: Copy + Into<f64>, const N: usize>(
        &self,
        positions: &[[T; 2]],
        masses: Masses<'_>,
        particles: Range<usize>,
        sums: &mut [f64],
    ) -> bool {
        let at = &positions[particles.clone()];
        match masses {
            Masses::Equal(mass) => {
                let at = at.iter().map(|p| (*p, mass));
                pulp::Arch::new().dispatch(Laid::<_, N> { plane: *self, at, sums })
            }
            Masses::Each(masses) => {
                let at = at.iter().copied().zip(masses[particles].iter().copied());
                pulp::Arch::new().dispatch(Laid::<_, N> { plane: *self, at, sums })
            }
        }
    }
}

/// Particles laid on `N` points along each axis.
struct Laid<'a, I, const N: usize> {
    plane: Plane,
    at: I,
    sums: &'a mut [f64],
}

impl<T: Copy + Into<f64>, I: Iterator<Item = ([T; 2], f64)>, const N: usize> pulp::WithSimd
    for Laid<'_, I, N>
{
    /// Whether every position is finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        // What is known when this is compiled leaves one case of the weights.
        let scheme = const {
            match N {
                1 => Scheme::Ngp,
                2 => Scheme::Cic,
                3 => Scheme::Tsc,
                _ => Scheme::Pcs,
            }
        };
        let Plane { shape: [nx, ny], scale, centring, .. } = self.plane;
        let (offset, sums) = (centring.offset(), self.sums);
        let mut finite = true;
        for (place, mass) in self.at {
            let place: [f64; 2] = [place[0].into(), place[1].into()];
            finite &= place[0].is_finite() & place[1].is_finite();
            let wx = Weights::new(scheme, place[0] * scale[0] - offset);
            let wy = Weights::new(scheme, place[1] * scale[1] - offset);
            let (x, y) = (wx.nth(0).0, wy.nth(0).0);
            let inside = |first: i64, n: usize| first >= 0 && first <= n as i64 - N as i64;
            if inside(x, nx) && inside(y, ny) {
                for a in 0..N {
                    let weight = mass * wx.nth(a).1;
                    let row = &mut sums[(x as usize + a) * ny + y as usize..][..N];
                    for b in 0..N {
                        row[b] += weight * wy.nth(b).1;
                    }
                }
            } else {
                for a in 0..N {
                    let row = wrapped(x.saturating_add(a as i64), nx) * ny;
                    let weight = mass * wx.nth(a).1;
                    for b in 0..N {
                        sums[row + wrapped(y.saturating_add(b as i64), ny)] += weight * wy.nth(b).1;
                    }
                }
            }
        }
        finite
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;
    use crate::assign_2d;

    #[test]
    fn layers_are_the_sum_of_all_particles_at_any_number_of_threads() {
        let mut rng = Rng::new(4);
        let positions: Vec<[f64; 2]> = (0..3000).map(|_| [0; 2].map(|_| 9.0 * rng.uniform() - 3.0)).collect();
        let masses: Vec<f64> = (0..positions.len()).map(|_| rng.uniform()).collect();
        for (scheme, shape) in [
            (Scheme::Ngp, [7, 12]),
            (Scheme::Cic, [16, 16]),
            (Scheme::Tsc, [2, 90]),
            (Scheme::Pcs, [1, 3]),
            (Scheme::Pcs, [30, 50]),
        ] {
            for masses in [Masses::Each(&masses), Masses::Equal(0.3)] {
                let run = || assign_2d(&positions, masses, shape, 3.0, scheme, Centring::Cell).unwrap();
                assert!(number(positions.len(), shape[0] * shape[1]) > 1);
                let grid = run();
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    assert_eq!(grid, pool.install(run));
                }
                let mut expected = ndarray::Array2::<f64>::zeros(shape);
                for (i, p) in positions.iter().enumerate() {
                    let along = |a: usize| Weights::new(scheme, p[a] * shape[a] as f64 / 3.0 - 0.5);
                    for (x, weight_x) in along(0).iter() {
                        for (y, weight_y) in along(1).iter() {
                            expected[[wrapped(x, shape[0]), wrapped(y, shape[1])]] +=
                                masses.of(i) * weight_x * weight_y;
                        }
                    }
                }
                for (found, expected) in grid.iter().zip(&expected) {
                    assert!(
                        (f64::from(*found) / expected - 1.0).abs() < 1e-6,
                        "{scheme:?} {found} {expected}"
                    );
                }
            }
        }
        let bad: Vec<[f64; 2]> =
            positions.iter().map(|p| [p[0], if p[1] > 5.99 { f64::NAN } else { p[1] }]).collect();
        let at = bad.iter().position(|p| p[1].is_nan()).unwrap();
        let error =
            assign_2d(&bad, Masses::Equal(1.0), [9, 9], 3.0, Scheme::Tsc, Centring::Node).unwrap_err();
        assert!(error.to_string().contains(&format!("particle {at} ")), "{error}");
    }
}
