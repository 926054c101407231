//! Spherical densities, their masses and their potentials, as tables in the logarithm of the radius.

use std::f64::consts::PI;

/// Newton's constant in kpc (km/s)^2 / (10^10 Msun).
pub(crate) const GRAVITY: f64 = halocast_core::GRAVITATIONAL_CONSTANT * 1e13;

/// Radii spaced evenly in their logarithm, in kpc.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    ln_inner: f64,
    step: f64,
    len: usize,
}

impl Grid {
    /// `len` radii from `inner` to `outer`, both included.
    pub(crate) fn new(inner: f64, outer: f64, len: usize) -> Self {
        Self { ln_inner: inner.ln(), step: (outer / inner).ln() / (len - 1) as f64, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn radius(&self, i: usize) -> f64 {
        (self.ln_inner + self.step * i as f64).exp()
    }

    pub(crate) fn radii(&self) -> impl Iterator<Item = f64> {
        let grid = *self;
        (0..self.len).map(move |i| grid.radius(i))
    }

    pub(crate) fn outer(&self) -> f64 {
        self.radius(self.len - 1)
    }

    /// The cell that holds `r`, and where in it, 0 to 1; radii beyond the ends count as the ends.
    pub(crate) fn cell(&self, r: f64) -> (usize, f64) {
        let x = ((r.ln() - self.ln_inner) / self.step).clamp(0.0, (self.len - 1) as f64);
        let i = (x as usize).min(self.len - 2);
        (i, x - i as f64)
    }

    /// `values` at `r`, linear in ln r.
    pub(crate) fn at(&self, values: &[f64], r: f64) -> f64 {
        let (i, t) = self.cell(r);
        values[i] + t * (values[i + 1] - values[i])
    }
}

/// A spherical mass distribution: density and enclosed mass of one component of a galaxy.
///
/// Radii are in physical kpc, masses in 10^10 Msun, without factors of h.
#[derive(Clone, Debug, PartialEq)]
pub struct RadialProfile {
    grid: Grid,
    density: Vec<f64>,
    mass: Vec<f64>,
}

impl RadialProfile {
    /// The table of a density; what lies inside the first radius follows a cusp of slope -1.
    pub(crate) fn new(grid: Grid, density: impl Fn(f64) -> f64) -> Self {
        let density: Vec<f64> = grid.radii().map(density).collect();
        let shell = |i: usize| 4.0 * PI * grid.radius(i).powi(3) * density[i];
        let mut mass = vec![0.5 * shell(0)];
        for i in 1..grid.len() {
            // The trapezium with its end correction left out: the step is 3 % and the integrand smooth.
            mass.push(mass[i - 1] + 0.5 * grid.step * (shell(i - 1) + shell(i)));
        }
        Self { grid, density, mass }
    }

    /// The same shape with another mass.
    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        self.density.iter_mut().chain(&mut self.mass).for_each(|v| *v *= factor);
        self
    }

    /// Density in 10^10 Msun / kpc^3 at `r` kpc; zero outside the table.
    pub fn density(&self, r: f64) -> f64 {
        if r > self.grid.outer() {
            return 0.0;
        }
        let (i, t) = self.grid.cell(r);
        let (low, high) = (self.density[i], self.density[i + 1]);
        if low > 0.0 && high > 0.0 { low * (high / low).powf(t) } else { low + t * (high - low) }
    }

    /// Mass within `r` kpc, in 10^10 Msun.
    pub fn mass(&self, r: f64) -> f64 {
        let inner = self.grid.radius(0);
        if r < inner {
            return self.mass[0] * (r / inner).powi(2);
        }
        let (i, t) = self.grid.cell(r);
        let (low, high) = (self.mass[i], self.mass[i + 1]);
        if low > 0.0 { low * (high / low).powf(t) } else { low + t * (high - low) }
    }

    /// The whole mass in 10^10 Msun.
    pub fn total(&self) -> f64 {
        self.mass[self.grid.len() - 1]
    }

    /// The radius in kpc that holds a fraction `u` of the mass: the inverse of [`RadialProfile::mass`].
    pub fn radius_holding(&self, u: f64) -> f64 {
        let target = u.clamp(0.0, 1.0) * self.total();
        if target <= self.mass[0] {
            return self.grid.radius(0) * (target / self.mass[0].max(f64::MIN_POSITIVE)).sqrt().max(1e-3);
        }
        let above = self.mass.partition_point(|&m| m < target).clamp(1, self.grid.len() - 1);
        let (low, high) = (self.mass[above - 1], self.mass[above]);
        let t = if high > low { (target / low).ln() / (high / low).ln() } else { 0.0 };
        self.grid.radius(above - 1) * (self.grid.step * t.clamp(0.0, 1.0)).exp()
    }

    /// The logarithmic slope d ln rho / d ln r at `r`.
    pub(crate) fn slope(&self, r: f64) -> f64 {
        let (i, _) = self.grid.cell(r);
        let (low, high) = (self.density[i], self.density[i + 1]);
        if low > 0.0 && high > 0.0 { (high / low).ln() / self.grid.step } else { 0.0 }
    }

    pub(crate) fn densities(&self) -> &[f64] {
        &self.density
    }
}

/// The potential of spherical masses, in (km/s)^2, zero at infinity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Potential {
    pub(crate) grid: Grid,
    /// Enclosed mass of everything in 10^10 Msun.
    pub(crate) mass: Vec<f64>,
    /// Phi at the radii of the grid.
    pub(crate) phi: Vec<f64>,
}

impl Potential {
    /// Phi(r) = -G M(r)/r - G int_r^inf dM / r', from the enclosed mass at the radii of the grid.
    pub(crate) fn new(grid: Grid, mass: Vec<f64>) -> Self {
        let n = grid.len();
        let mut phi = vec![0.0; n];
        let mut outside = 0.0;
        for i in (0..n).rev() {
            if i + 1 < n {
                let r = 0.5 * (grid.radius(i) + grid.radius(i + 1));
                outside += (mass[i + 1] - mass[i]) / r;
            }
            phi[i] = -GRAVITY * (mass[i] / grid.radius(i) + outside);
        }
        Self { grid, mass, phi }
    }

    pub(crate) fn at(&self, r: f64) -> f64 {
        if r > self.grid.outer() {
            return -GRAVITY * self.mass[self.grid.len() - 1] / r;
        }
        self.grid.at(&self.phi, r)
    }

    /// Mass within `r` kpc.
    pub(crate) fn enclosed(&self, r: f64) -> f64 {
        let (i, t) = self.grid.cell(r);
        self.mass[i] * (self.mass[i + 1] / self.mass[i]).powf(t)
    }
}

/// Density of Navarro, Frenk & White (1996) of unit mass within `r200`, cut off exponentially beyond it over `decay`
/// with a continuous slope (Springel & White 1999).
pub(crate) fn truncated_nfw(r: f64, r200: f64, concentration: f64, decay: f64) -> f64 {
    let c = concentration;
    let scale = r200 / c;
    let norm = 1.0 / (4.0 * PI * scale.powi(3) * ((1.0 + c).ln() - c / (1.0 + c)));
    if r <= r200 {
        let x = r / scale;
        return norm / (x * (1.0 + x).powi(2));
    }
    let slope = -(1.0 + 3.0 * c) / (1.0 + c) + r200 / decay;
    norm / (c * (1.0 + c).powi(2)) * (r / r200).powf(slope) * (-(r - r200) / decay).exp()
}

/// Density of Hernquist (1990) of unit mass with scale `a`.
pub(crate) fn hernquist(r: f64, a: f64) -> f64 {
    a / (2.0 * PI * r * (r + a).powi(3))
}

/// The shape (1 + (r/r_c)^2)^(-3 beta/2) of Cavaliere & Fusco-Femiano (1976), cut off exponentially beyond `r200`.
pub(crate) fn beta_model(r: f64, core: f64, beta: f64, r200: f64, decay: f64) -> f64 {
    let shape = (1.0 + (r / core).powi(2)).powf(-1.5 * beta);
    if r > r200 { shape * (-(r - r200) / decay).exp() } else { shape }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn mass_and_potential_of_a_hernquist_sphere_are_closed_forms() {
        // M(r) = r^2 / (r + a)^2, Phi = -G / (r + a).
        let grid = Grid::new(1e-3, 1e4, 512);
        let profile = RadialProfile::new(grid, |r| hernquist(r, 2.0));
        let potential = Potential::new(grid, grid.radii().map(|r| profile.mass(r)).collect());
        for r in [0.01f64, 0.3, 2.0, 50.0, 900.0] {
            assert_relative_eq!(profile.mass(r), (r / (r + 2.0)).powi(2), max_relative = 2e-3);
            assert_relative_eq!(potential.at(r), -GRAVITY / (r + 2.0), max_relative = 2e-3);
            assert_relative_eq!(
                profile.radius_holding(profile.mass(r) / profile.total()),
                r,
                max_relative = 1e-3
            );
        }
        assert_relative_eq!(profile.slope(1e-2), -1.0, epsilon = 0.03);
    }

    #[test]
    fn the_cut_off_keeps_mass_density_and_slope() {
        let (r200, c, decay) = (200.0, 9.0, 30.0);
        let profile = RadialProfile::new(Grid::new(1e-2, 1e3, 512), |r| truncated_nfw(r, r200, c, decay));
        assert_relative_eq!(profile.mass(r200), 1.0, max_relative = 1e-3);
        let slope = |r: f64| {
            (truncated_nfw(r * 1.001, r200, c, decay) / truncated_nfw(r, r200, c, decay)).ln() / 1.001f64.ln()
        };
        assert_relative_eq!(slope(199.7), slope(200.01), max_relative = 5e-3);
        // A quarter of the mass lies beyond, where infalling matter would.
        assert!((1.2..1.3).contains(&profile.total()), "{}", profile.total());
    }
}
