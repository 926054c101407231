//! Velocities of an isotropic sphere in equilibrium, by Eddington's inversion.

use std::f64::consts::PI;

use super::profile::{Grid, Potential, RadialProfile};

/// Quantiles of the speed that are kept at every radius.
const QUANTILES: usize = 64;
/// Speeds at which the distribution is evaluated.
const NODES: usize = 128;

/// The speeds of a tracer of density rho(r) in equilibrium in a potential Phi(r), isotropic.
///
/// With the relative potential psi = -Phi and the relative energy E = psi - v^2/2,
///
/// $$f(E) = \frac{1}{\sqrt{8}\\,\pi^2} \frac{\mathrm{d}}{\mathrm{d}E}
/// \int_0^E \frac{\mathrm{d}\rho}{\mathrm{d}\psi} \frac{\mathrm{d}\psi}{\sqrt{E-\psi}}, \qquad
/// p(v\\,|\\,r) \propto v^2 f(\psi(r) - v^2/2).$$
///
/// drho/dpsi is taken linear in psi between the radii of the table, for which the integral is a closed form.
///
/// # Source
/// Eddington 1916, MNRAS 76, 572; Binney & Tremaine 2008, equation 4.46b; for haloes Kazantzidis, Magorrian & Moore 2004,
/// ApJ 601, 37, who show that the local Maxwellian of Hernquist (1993) does not keep a cusp.
///
/// # Differences
/// Where f would be negative, as a density with a core in a cuspy potential can have it, it is zero.
#[derive(Clone, Debug)]
pub(crate) struct Eddington {
    grid: Grid,
    /// Speeds by radius and quantile, in units of the escape speed.
    speeds: Vec<[f64; QUANTILES]>,
    escape: Vec<f64>,
}

impl Eddington {
    /// Cost: n^2 for a table of n radii.
    pub(crate) fn new(tracer: &RadialProfile, potential: &Potential) -> Self {
        let grid = potential.grid;
        let psi: Vec<f64> = potential.phi.iter().map(|p| -p).collect();
        let f = distribution(tracer.densities(), &psi);
        let speeds = psi.iter().map(|&depth| quantiles(&psi, &f, depth)).collect();
        let escape = psi.iter().map(|p| (2.0 * p).sqrt()).collect();
        Self { grid, speeds, escape }
    }

    /// The speed in km/s at `r` kpc that a fraction `u` of the tracers does not reach.
    pub(crate) fn speed(&self, r: f64, u: f64) -> f64 {
        let (i, t) = self.grid.cell(r);
        let x = u.clamp(0.0, 1.0) * (QUANTILES - 1) as f64;
        let j = (x as usize).min(QUANTILES - 2);
        let s = x - j as f64;
        let at = |i: usize| self.escape[i] * (self.speeds[i][j] * (1.0 - s) + self.speeds[i][j + 1] * s);
        at(i) * (1.0 - t) + at(i + 1) * t
    }
}

/// f at the energies psi(r_i), by the radii of the table (psi falls).
fn distribution(density: &[f64], psi: &[f64]) -> Vec<f64> {
    let n = psi.len();
    // g = drho/dpsi at the middle of every cell, and the place of that middle.
    let middle: Vec<(f64, f64)> = (0..n - 1)
        .map(|i| (0.5 * (psi[i] + psi[i + 1]), (density[i] - density[i + 1]) / (psi[i] - psi[i + 1])))
        .collect();
    (0..n)
        .map(|k| {
            let energy = psi[k];
            let below = |p: f64| (energy - p).max(0.0).sqrt();
            // From the outside in; the outermost slope has no mass behind it.
            let sum: f64 = (1..n - 1)
                .filter(|&i| middle[i].0 < energy)
                .map(|i| {
                    let ((high, g_high), (low, g_low)) = (middle[i - 1], middle[i]);
                    (g_high - g_low) / (high - low) * 2.0 * (below(low) - below(high))
                })
                .sum();
            (sum / (8f64.sqrt() * PI * PI)).max(0.0)
        })
        .collect()
}

/// Quantiles of v / v_esc at the depth `depth`.
fn quantiles(psi: &[f64], f: &[f64], depth: f64) -> [f64; QUANTILES] {
    let at = |energy: f64| {
        // psi falls along the table.
        let i = psi.partition_point(|&p| p > energy).clamp(1, psi.len() - 1);
        let t = ((energy - psi[i]) / (psi[i - 1] - psi[i])).clamp(0.0, 1.0);
        if energy <= psi[psi.len() - 1] { 0.0 } else { f[i] + t * (f[i - 1] - f[i]) }
    };
    let mut cumulative = [0.0; NODES + 1];
    for i in 0..NODES {
        let x = (i as f64 + 0.5) / NODES as f64;
        cumulative[i + 1] = cumulative[i] + x * x * at(depth * (1.0 - x * x));
    }
    let total = cumulative[NODES];
    std::array::from_fn(|q| {
        if total <= 0.0 {
            return 0.0;
        }
        let target = total * q as f64 / (QUANTILES - 1) as f64;
        let i = cumulative.partition_point(|&c| c < target).clamp(1, NODES);
        let width = cumulative[i] - cumulative[i - 1];
        let t = if width > 0.0 { (target - cumulative[i - 1]) / width } else { 0.0 };
        (i as f64 - 1.0 + t) / NODES as f64
    })
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::super::profile::{GRAVITY, hernquist};
    use super::*;

    fn sphere() -> (Grid, RadialProfile, Potential) {
        let grid = Grid::new(1e-3, 1e4, 512);
        let profile = RadialProfile::new(grid, |r| hernquist(r, 1.0));
        let potential = Potential::new(grid, grid.radii().map(|r| profile.mass(r)).collect());
        (grid, profile, potential)
    }

    #[test]
    fn the_distribution_function_of_a_hernquist_sphere_is_the_closed_form() {
        // Hernquist 1990, equation 17, with M = a = 1 and v_g^2 = G.
        let (_, profile, potential) = sphere();
        let psi: Vec<f64> = potential.phi.iter().map(|p| -p).collect();
        let f = distribution(profile.densities(), &psi);
        for i in [180, 230, 260, 300, 340] {
            let q = (psi[i] / GRAVITY).sqrt();
            let bracket = 3.0 * q.asin()
                + q * (1.0 - q * q).sqrt() * (1.0 - 2.0 * q * q) * (8.0 * q.powi(4) - 8.0 * q * q - 3.0);
            let exact =
                bracket / (8.0 * 2f64.sqrt() * PI.powi(3) * GRAVITY.powf(1.5) * (1.0 - q * q).powf(2.5));
            assert_relative_eq!(f[i], exact, max_relative = 0.03);
        }
    }

    #[test]
    fn speeds_have_the_dispersion_of_the_jeans_equation() {
        // Hernquist 1990, equation 10: sigma_r^2 of the isotropic sphere.
        let (_, profile, potential) = sphere();
        let eddington = Eddington::new(&profile, &potential);
        for r in [0.1f64, 0.5, 1.0, 3.0, 10.0] {
            let mean_square =
                (0..2000).map(|i| eddington.speed(r, (i as f64 + 0.5) / 2000.0).powi(2)).sum::<f64>()
                    / 2000.0;
            let exact = GRAVITY / 12.0
                * (12.0 * r * (r + 1.0).powi(3) * ((r + 1.0) / r).ln()
                    - r / (r + 1.0) * (25.0 + 52.0 * r + 42.0 * r * r + 12.0 * r.powi(3)));
            assert_relative_eq!(mean_square / 3.0, exact, max_relative = 0.02);
        }
    }
}
