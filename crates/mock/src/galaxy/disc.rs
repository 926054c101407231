//! Exponential discs: rotation curve, places and epicyclic velocities.

use std::f64::consts::{PI, TAU};

use halocast_core::Rng;

use super::profile::{GRAVITY, Grid, Potential};
use super::{Point, polar};

/// Scale lengths beyond which a disc ends.
const EDGE: f64 = 8.0;
/// Ratio of vertical to radial velocity dispersion of disc stars (solar neighbourhood; Hernquist 1993).
const FLATTENING: f64 = 0.6;

/// A disc of surface density Sigma(R) = M / (2 pi R_d^2) exp(-R/R_d) and vertical profile sech^2(z/z_0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Disc {
    /// Mass in 10^10 Msun.
    pub(crate) mass: f64,
    /// Scale length R_d in kpc.
    pub(crate) scale: f64,
    /// Scale height z_0 in kpc at the centre.
    pub(crate) height: f64,
    /// Whether the height grows as 1 + (R / 4 R_d)^2, as that of gas under pressure does.
    pub(crate) flares: bool,
}

/// The spiral pattern: density times 1 + A cos 2(phi - ln(R/R_d) / tan(pitch)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arms {
    pub(crate) amplitude: f64,
    pub(crate) phase: f64,
}

impl Arms {
    /// Pitch angle of 18 degrees, the mean of late spirals (Yu & Ho 2018).
    const TAN_PITCH: f64 = 0.325;

    /// The factor on the density at `radius` in scale lengths and azimuth `phi`.
    pub(crate) fn factor(&self, radius: f64, phi: f64) -> f64 {
        let crest = self.phase + radius.max(1e-3).ln() / Self::TAN_PITCH;
        // No arms where the bulge rules.
        let rise = 1.0 - (-radius * radius).exp();
        1.0 + self.amplitude * rise * (2.0 * (phi - crest)).cos()
    }

    fn azimuth(&self, radius: f64, rng: &mut Rng) -> f64 {
        loop {
            let phi = TAU * rng.uniform();
            if rng.uniform() * (1.0 + self.amplitude) <= self.factor(radius, phi) {
                return phi;
            }
        }
    }
}

impl Disc {
    /// Sigma(R) in 10^10 Msun / kpc^2.
    pub(crate) fn surface_density(&self, radius: f64) -> f64 {
        self.mass / (TAU * self.scale * self.scale) * (-radius / self.scale).exp()
    }

    /// z_0(R).
    pub(crate) fn height_at(&self, radius: f64) -> f64 {
        if self.flares { self.height * (1.0 + (radius / (4.0 * self.scale)).powi(2)) } else { self.height }
    }

    /// rho(R, z), without arms, in 10^10 Msun / kpc^3.
    pub(crate) fn density(&self, radius: f64, z: f64) -> f64 {
        let height = self.height_at(radius);
        let x = (z / height).abs();
        // sech^2 without overflow.
        let sech = 2.0 * (-x).exp() / (1.0 + (-2.0 * x).exp());
        self.surface_density(radius) / (2.0 * height) * sech * sech
    }

    /// Mass within a cylinder, and nearly within a sphere, of `radius` kpc.
    pub(crate) fn mass_within(&self, radius: f64) -> f64 {
        let y = radius / self.scale;
        // 1 - (1 + y) e^-y cancels at small y.
        let share = if y < 1e-3 { 0.5 * y * y } else { 1.0 - (1.0 + y) * (-y).exp() };
        self.mass * share
    }

    /// The square of the circular velocity of the disc alone, razor-thin (Freeman 1970, ApJ 160, 811), in (km/s)^2:
    /// 4 pi G Sigma_0 R_d y^2 (I0 K0 - I1 K1), y = R / 2 R_d.
    pub(crate) fn circular_velocity_squared(&self, radius: f64) -> f64 {
        let y = (0.5 * radius / self.scale).max(1e-6);
        let [i0, i1, k0, k1] = bessel(y);
        let surface = self.mass / (TAU * self.scale * self.scale);
        (4.0 * PI * GRAVITY * surface * self.scale * y * y * (i0 * k0 - i1 * k1)).max(0.0)
    }

    /// Radius and azimuth of a random place in the plane.
    pub(crate) fn place(&self, arms: Arms, rng: &mut Rng) -> (f64, f64) {
        // Newton's steps on 1 - (1 + y) e^-y = u, which is convex enough from y = 1.7 (its median) for eight of them.
        let u = rng.uniform() * (1.0 - (1.0 + EDGE) * (-EDGE).exp());
        let mut y: f64 = 1.7;
        for _ in 0..20 {
            let step = (1.0 - (1.0 + y) * (-y).exp() - u) / (y * (-y).exp()).max(1e-12);
            y = (y - step).clamp(0.2 * y, EDGE);
        }
        (y * self.scale, arms.azimuth(y, rng))
    }

    /// A random height at `radius`: sech^2 by its inverse, artanh(2u - 1).
    pub(crate) fn elevation(&self, radius: f64, rng: &mut Rng) -> f64 {
        let u = rng.uniform().clamp(1e-9, 1.0 - 1e-9);
        self.height_at(radius) * (2.0 * u - 1.0).atanh()
    }
}

/// The rotation curve of a whole galaxy: circular velocity and epicyclic frequency.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RotationCurve {
    grid: Grid,
    squared: Vec<f64>,
    /// kappa^2 / 4 Omega^2 = (1 + d ln v / d ln R) / 2.
    epicyclic: Vec<f64>,
}

impl RotationCurve {
    /// `spherical` is the potential of all that is not a disc.
    pub(crate) fn new(spherical: &Potential, discs: &[Disc]) -> Self {
        let grid = spherical.grid;
        let squared: Vec<f64> = grid
            .radii()
            .enumerate()
            .map(|(i, r)| {
                GRAVITY * spherical.mass[i] / r
                    + discs.iter().map(|d| d.circular_velocity_squared(r)).sum::<f64>()
            })
            .collect();
        let n = grid.len();
        let epicyclic = (0..n)
            .map(|i| {
                let (low, high) = (i.saturating_sub(1), (i + 1).min(n - 1));
                let span = (grid.radius(high) / grid.radius(low)).ln();
                let slope = 0.5 * (squared[high] / squared[low]).ln() / span;
                (0.5 * (1.0 + slope)).clamp(0.05, 1.0)
            })
            .collect();
        Self { grid, squared, epicyclic }
    }

    /// v_c^2 in (km/s)^2 at `radius` kpc.
    pub(crate) fn squared(&self, radius: f64) -> f64 {
        self.grid.at(&self.squared, radius)
    }

    /// A star of `disc` at (R, phi, z), where all discs together have the surface density `surface`.
    ///
    /// sigma_z^2 = pi G Sigma z_0; sigma_R = sigma_z / 0.6; sigma_phi^2 = sigma_R^2 kappa^2 / 4 Omega^2; and the mean
    /// rotation lags by the asymmetric drift
    ///
    /// $$\bar v_\phi^2 = v_c^2 + \sigma_R^2 \left(1 - \frac{\kappa^2}{4\Omega^2} - \frac{2R}{R_d}\right).$$
    ///
    /// # Source
    /// Hernquist 1993, ApJS 86, 389, section 2.2.3; Springel, Di Matteo & Hernquist 2005, MNRAS 361, 776, section 2.
    pub(crate) fn star(&self, disc: &Disc, surface: f64, place: [f64; 3], rng: &mut Rng) -> Point {
        let [radius, phi, z] = place;
        let squared = self.squared(radius);
        let epicyclic = self.grid.at(&self.epicyclic, radius);
        let vertical = PI * GRAVITY * surface * disc.height_at(radius);
        // Where the disc is hotter than its rotation it is no disc: the bulge rules there.
        let radial = (vertical / (FLATTENING * FLATTENING)).min(0.5 * squared);
        let drift = squared + radial * (1.0 - epicyclic - 2.0 * radius / disc.scale);
        let v = [
            radial.sqrt() * rng.normal(),
            drift.max(0.0).sqrt() + (radial * epicyclic).sqrt() * rng.normal(),
            vertical.min(FLATTENING * FLATTENING * radial).sqrt() * rng.normal(),
        ];
        Point { x: [radius * phi.cos(), radius * phi.sin(), z], v: polar(v, phi) }
    }

    /// A gas cell of `disc`: rotation lagged by the pressure of `dispersion` km/s (sound and turbulence together),
    /// v_phi^2 = v_c^2 - sigma^2 R / R_d, and random motions of that size.
    pub(crate) fn gas(&self, disc: &Disc, dispersion: f64, place: [f64; 3], rng: &mut Rng) -> Point {
        let [radius, phi, z] = place;
        let lagged = self.squared(radius) - dispersion * dispersion * radius / disc.scale;
        let mut v = [0.0; 3].map(|_: f64| dispersion * rng.normal());
        v[1] += lagged.max(0.0).sqrt();
        Point { x: [radius * phi.cos(), radius * phi.sin(), z], v: polar(v, phi) }
    }
}

/// The modified Bessel functions I0, I1, K0, K1 of x > 0, relative to 2e-7 (Abramowitz & Stegun 1964, 9.8.1 to 9.8.8).
/// I and K come scaled by exp(-x) and exp(x): only their products are used.
fn bessel(x: f64) -> [f64; 4] {
    let horner = |c: &[f64], t: f64| c.iter().rev().fold(0.0, |sum, &c| sum * t + c);
    let t = (x / 3.75).powi(2);
    let (i0, i1) = if x <= 3.75 {
        let i0 = horner(&[1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813], t);
        let i1 =
            x * horner(&[0.5, 0.87890594, 0.51498869, 0.15084934, 0.02658733, 0.00301532, 0.00032411], t);
        (i0 * (-x).exp(), i1 * (-x).exp())
    } else {
        let s = 3.75 / x;
        let i0 = [
            0.39894228,
            0.01328592,
            0.00225319,
            -0.00157565,
            0.00916281,
            -0.02057706,
            0.02635537,
            -0.01647633,
            0.00392377,
        ];
        let i1 = [
            0.39894228,
            -0.03988024,
            -0.00362018,
            0.00163801,
            -0.01031555,
            0.02282967,
            -0.02895312,
            0.01787654,
            -0.00420059,
        ];
        (horner(&i0, s) / x.sqrt(), horner(&i1, s) / x.sqrt())
    };
    let (k0, k1) = if x <= 2.0 {
        let s = (0.5 * x).powi(2);
        let ln = (0.5 * x).ln();
        let k0 = -ln * i0 * x.exp()
            + horner(
                &[-0.57721566, 0.42278420, 0.23069756, 0.03488590, 0.00262698, 0.00010750, 0.00000740],
                s,
            );
        let k1 = ln * i1 * x.exp()
            + horner(&[1.0, 0.15443144, -0.67278579, -0.18156897, -0.01919402, -0.00110404, -0.00004686], s)
                / x;
        (k0 * x.exp(), k1 * x.exp())
    } else {
        let s = 2.0 / x;
        let k0 = [1.25331414, -0.07832358, 0.02189568, -0.01062446, 0.00587872, -0.00251540, 0.00053208];
        let k1 = [1.25331414, 0.23498619, -0.03655620, 0.01504268, -0.00780353, 0.00325614, -0.00068245];
        (horner(&k0, s) / x.sqrt(), horner(&k1, s) / x.sqrt())
    };
    [i0, i1, k0, k1]
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const DISC: Disc = Disc { mass: 4.0, scale: 3.0, height: 0.5, flares: false };

    #[test]
    fn bessel_functions_satisfy_their_wronskian() {
        // I0 K1 + I1 K0 = 1/x; and two values of tables.
        for x in [0.01, 0.5, 1.0, 1.9, 2.1, 3.7, 3.8, 8.0] {
            let [i0, i1, k0, k1] = bessel(x);
            assert_relative_eq!(i0 * k1 + i1 * k0, 1.0 / x, max_relative = 1e-6);
        }
        let [i0, _, k0, _] = bessel(1.0);
        assert_relative_eq!(i0 * 1f64.exp(), 1.2660658778, max_relative = 1e-6);
        assert_relative_eq!(k0 * (-1f64).exp(), 0.4210244382, max_relative = 1e-6);
    }

    #[test]
    fn the_curve_of_a_disc_peaks_at_two_point_two_scale_lengths() {
        // Freeman 1970: the peak is at 2.15 R_d, with v^2 = 0.3874 G M / R_d.
        let at = |y: f64| DISC.circular_velocity_squared(y * DISC.scale);
        let peak = (100..300).map(|i| 0.01 * i as f64).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap();
        assert_relative_eq!(peak, 2.15, epsilon = 0.03);
        assert_relative_eq!(at(peak), 0.3874 * GRAVITY * DISC.mass / DISC.scale, max_relative = 3e-3);
        // Far out it is a point mass.
        assert_relative_eq!(at(30.0), GRAVITY * DISC.mass / 90.0, max_relative = 0.01);
    }

    #[test]
    fn places_follow_the_surface_density_and_the_arms() {
        let mut rng = Rng::new(5);
        let arms = Arms { amplitude: 0.5, phase: 0.3 };
        let places: Vec<(f64, f64)> = (0..40_000).map(|_| DISC.place(arms, &mut rng)).collect();
        for radius in [1.5, 3.0, 6.0, 12.0] {
            let inside = places.iter().filter(|p| p.0 < radius).count() as f64 / 4e4;
            assert_relative_eq!(inside, DISC.mass_within(radius) / DISC.mass, epsilon = 0.012);
        }
        // <cos 2(phi - crest)> = A / 2 beyond the bulge.
        let outer: Vec<f64> = places
            .iter()
            .filter(|p| p.0 > 6.0)
            .map(|&(r, phi)| (2.0 * (phi - arms.phase - (r / 3.0).ln() / Arms::TAN_PITCH)).cos())
            .collect();
        let mean = outer.iter().sum::<f64>() / outer.len() as f64;
        assert_relative_eq!(mean, 0.25, epsilon = 0.02);
    }

    #[test]
    fn heights_have_the_density_of_sech_squared() {
        let mut rng = Rng::new(6);
        let inside = (0..20_000).filter(|_| DISC.elevation(0.0, &mut rng).abs() < 0.5).count() as f64 / 2e4;
        assert_relative_eq!(inside, 1f64.tanh(), epsilon = 0.01);
        let column: f64 = (-4000..4000).map(|i| DISC.density(3.0, 1e-3 * (f64::from(i) + 0.5)) * 1e-3).sum();
        assert_relative_eq!(column, DISC.surface_density(3.0), max_relative = 1e-3);
    }
}
