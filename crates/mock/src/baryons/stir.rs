//! What galaxies too small to be found as haloes do to the gas between haloes.

use halocast_core::Rng;

use crate::gravity::Mesh;
use crate::initial::wrap;

/// The length in comoving Mpc/h over which what moves the gas is alike.
const LENGTH: f64 = 0.5;

/// Moves the gas of `positions` for which `free` says so by a random field, periodic in the box.
///
/// Each component of the displacement is a Gaussian random field of standard deviation `rms` comoving Mpc/h, smoothed by
/// exp(-k^2 L^2), L = 0.5 Mpc/h. It owes nothing to the matter, as the directions and times of outflows do not.
pub(super) fn stir(
    positions: &mut [[f32; 3]],
    free: impl Fn(usize) -> bool,
    box_side: f64,
    rms: f64,
    rng: &Rng,
) {
    // Two cells a length: the field has no structure below.
    let cells = (2.0 * box_side / LENGTH).ceil().clamp(8.0, 256.0) as usize;
    let mut mesh = Mesh::new(cells, box_side, false);
    let shifts: Vec<Vec<f32>> = ["x", "y", "z"]
        .iter()
        .map(|axis| {
            mesh.noise(&mut rng.split_named(axis));
            mesh.smooth(LENGTH);
            let power = mesh.field().iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            let scale = rms / (power / mesh.field().len() as f64).sqrt().max(f64::MIN_POSITIVE);
            mesh.gather(positions).into_iter().map(|v| (scale * f64::from(v)) as f32).collect()
        })
        .collect();
    for (i, x) in positions.iter_mut().enumerate().filter(|(i, _)| free(*i)) {
        *x = [0, 1, 2].map(|k| wrap(f64::from(x[k]) + f64::from(shifts[k][i]), box_side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_have_their_size_and_reach_and_spare_what_is_bound() {
        let side = 25.0;
        let before: Vec<[f32; 3]> =
            (0..32768).map(|i| [i / 1024, i / 32 % 32, i % 32].map(|j| j as f32 * (25.0 / 32.0))).collect();
        let mut after = before.clone();
        stir(&mut after, |i| i % 2 == 0, side, 0.4, &Rng::new(1));
        let shift = |i: usize, k: usize| {
            let d = f64::from(after[i][k] - before[i][k]);
            d - side * (d / side).round()
        };
        let (mut square, mut beside, mut far) = (0.0, 0.0, 0.0);
        for i in 0..before.len() {
            for k in 0..3 {
                if i % 2 == 1 {
                    assert_eq!(shift(i, k), 0.0);
                } else {
                    square += shift(i, k).powi(2);
                    beside += shift(i, k) * shift((i + 1024) % 32768, k);
                    far += shift(i, k) * shift((i + 6 * 1024) % 32768, k);
                }
            }
        }
        let n = 1.5 * before.len() as f64;
        // CIC takes a little off; the correlation of the smoothed field is exp(-r^2 / 8 L^2) on an exact mesh: 0.74 at one
        // spacing of 0.78 Mpc/h, 2e-5 at six.
        assert!(((square / n).sqrt() / 0.4 - 0.95).abs() < 0.07, "{}", (square / n).sqrt());
        assert!((beside / square - 0.74).abs() < 0.08, "{}", beside / square);
        assert!((far / square).abs() < 0.05, "{}", far / square);
    }
}
