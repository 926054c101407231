//! The linear power spectrum of matter: the transfer function of Eisenstein & Hu (1998), normalised to sigma_8.

use std::f64::consts::{E, PI};

use halocast_core::Cosmology;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Temperature of the microwave background today in K (Fixsen 2009).
const CMB_TEMPERATURE: f64 = 2.7255;

/// Which fit of Eisenstein & Hu (1998) is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// With the baryon acoustic oscillations (their section 3).
    #[default]
    Wiggles,
    /// The shape without oscillations (their section 4.2).
    NoWiggles,
}

/// The linear matter power spectrum today.
///
/// $$P(k) = A\\, k^{n_s}\\, T(k)^2, \qquad
/// \sigma_8^2 = \int_0^\infty \frac{\mathrm{d}k}{k} \frac{k^3 P(k)}{2\pi^2}
/// \left[\frac{3 (\sin x - x \cos x)}{x^3}\right]^2, \quad x = 8\\,\mathrm{Mpc}/h \cdot k,$$
///
/// with k in h/Mpc and P in (Mpc/h)^3; A is set by the cosmology's sigma_8. At scale factor a it is multiplied by
/// D(a)^2, [`Cosmology::growth`] squared.
///
/// ```
/// use halocast_core::Cosmology;
/// use halocast_mock::{LinearPower, Transfer};
/// let power = LinearPower::new(&Cosmology::camels(), Transfer::Wiggles)?;
/// // The spectrum peaks near the horizon at equality and falls on both sides.
/// assert!(power.at(0.017) > power.at(0.001) && power.at(0.017) > power.at(0.1));
/// assert!((power.sigma(8.0) - 0.8).abs() < 1e-6);
/// # Ok::<(), halocast_mock::Error>(())
/// ```
///
/// # Source
/// Eisenstein & Hu 1998, ApJ 496, 605, equations 2 to 24 (wiggles), 26 and 28 to 31 (no wiggles).
///
/// # Differences
/// The fit is good to a few per cent against a Boltzmann code; there are no neutrinos.
#[derive(Clone, Debug)]
pub struct LinearPower {
    transfer: TransferFunction,
    n_s: f64,
    amplitude: f64,
}

impl LinearPower {
    /// The spectrum of a cosmology.
    ///
    /// # Errors
    /// [`Error::Cosmology`] when a parameter is outside its domain.
    pub fn new(cosmology: &Cosmology, transfer: Transfer) -> Result<Self> {
        cosmology
            .validate()
            .map_err(|source| Error::Cosmology { operation: "linear power spectrum", source })?;
        let transfer = TransferFunction::new(cosmology, transfer);
        let mut power = Self { transfer, n_s: cosmology.n_s, amplitude: 1.0 };
        power.amplitude = (cosmology.sigma_8 / power.sigma(8.0)).powi(2);
        Ok(power)
    }

    /// P(k) today in (Mpc/h)^3 at k in h/Mpc; 0 at k = 0.
    pub fn at(&self, k: f64) -> f64 {
        if k <= 0.0 {
            return 0.0;
        }
        self.amplitude * k.powf(self.n_s) * self.transfer.at(k).powi(2)
    }

    /// The transfer function T(k) at k in h/Mpc, 1 at k = 0.
    pub fn transfer(&self, k: f64) -> f64 {
        self.transfer.at(k)
    }

    /// The comoving sound horizon at the drag epoch in Mpc/h (equation 6; equation 26 for the no-wiggle form).
    pub fn sound_horizon(&self) -> f64 {
        self.transfer.sound_horizon * self.transfer.h
    }

    /// The linear rms overdensity today in spheres of `radius` Mpc/h.
    pub fn sigma(&self, radius: f64) -> f64 {
        // Simpson's rule in ln k; beyond kR = 400 the squared window falls as k^-4.
        const INTERVALS: usize = 4000;
        let (lower, upper) = ((1e-5f64 / radius).ln(), (400.0 / radius).ln());
        let step = (upper - lower) / INTERVALS as f64;
        let sum: f64 = (0..=INTERVALS)
            .map(|i| {
                let k = (lower + step * i as f64).exp();
                let weight = match i {
                    0 | INTERVALS => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * k.powi(3) * self.at(k) * top_hat(k * radius).powi(2)
            })
            .sum();
        (sum * step / 3.0 / (2.0 * PI * PI)).sqrt()
    }
}

/// Fourier transform of a spherical top hat, 3 (sin x - x cos x) / x^3.
fn top_hat(x: f64) -> f64 {
    if x < 1e-2 { 1.0 - x * x / 10.0 } else { 3.0 * (x.sin() - x * x.cos()) / x.powi(3) }
}

/// The constants of the fit; names follow the paper. Wavenumbers inside are in 1/Mpc.
#[derive(Clone, Debug)]
struct TransferFunction {
    form: Transfer,
    h: f64,
    omega_m_h2: f64,
    baryon_fraction: f64,
    theta: f64,
    k_eq: f64,
    sound_horizon: f64,
    k_silk: f64,
    alpha_c: f64,
    beta_c: f64,
    alpha_b: f64,
    beta_b: f64,
    beta_node: f64,
}

impl TransferFunction {
    fn new(cosmology: &Cosmology, form: Transfer) -> Self {
        let h = cosmology.h;
        let (om, ob) = (cosmology.omega_m * h * h, cosmology.omega_b * h * h);
        let fb = cosmology.omega_b / cosmology.omega_m;
        let fc = 1.0 - fb;
        let theta = CMB_TEMPERATURE / 2.7;

        // Equations 2 to 5: equality and the drag epoch.
        let z_eq = 2.5e4 * om * theta.powi(-4);
        let k_eq = 7.46e-2 * om * theta.powi(-2);
        let b1 = 0.313 * om.powf(-0.419) * (1.0 + 0.607 * om.powf(0.674));
        let b2 = 0.238 * om.powf(0.223);
        let z_d = 1291.0 * om.powf(0.251) / (1.0 + 0.659 * om.powf(0.828)) * (1.0 + b1 * ob.powf(b2));
        // The sound horizon has a finite limit without baryons, in which its formula is 0/0.
        let ratio = |z: f64| 31.5 * ob.max(1e-9) * theta.powi(-4) * 1e3 / z;
        let (r_d, r_eq) = (ratio(z_d), ratio(z_eq));
        let logarithm = (((1.0 + r_d).sqrt() + (r_d + r_eq).sqrt()) / (1.0 + r_eq.sqrt())).ln();
        let sound_horizon = match form {
            Transfer::Wiggles => 2.0 / (3.0 * k_eq) * (6.0 / r_eq).sqrt() * logarithm,
            Transfer::NoWiggles => 44.5 * (9.83 / om).ln() / (1.0 + 10.0 * ob.powf(0.75)).sqrt(),
        };
        let k_silk = 1.6 * ob.powf(0.52) * om.powf(0.73) * (1.0 + (10.4 * om).powf(-0.95));

        // Equations 11 and 12: suppression of cold matter.
        let a1 = (46.9 * om).powf(0.670) * (1.0 + (32.1 * om).powf(-0.532));
        let a2 = (12.0 * om).powf(0.424) * (1.0 + (45.0 * om).powf(-0.582));
        let alpha_c = a1.powf(-fb) * a2.powf(-fb.powi(3));
        let c1 = 0.944 / (1.0 + (458.0 * om).powf(-0.708));
        let c2 = (0.395 * om).powf(-0.0266);
        let beta_c = 1.0 / (1.0 + c1 * (fc.powf(c2) - 1.0));

        // Equations 14, 15, 23 and 24: the baryons.
        let y = (1.0 + z_eq) / (1.0 + z_d);
        let root = (1.0 + y).sqrt();
        let g = y * (-6.0 * root + (2.0 + 3.0 * y) * ((root + 1.0) / (root - 1.0)).ln());
        let alpha_b = 2.07 * k_eq * sound_horizon * (1.0 + r_d).powf(-0.75) * g;
        let beta_b = 0.5 + fb + (3.0 - 2.0 * fb) * ((17.2 * om).powi(2) + 1.0).sqrt();
        let beta_node = 8.41 * om.powf(0.435);

        Self {
            form,
            h,
            omega_m_h2: om,
            baryon_fraction: fb,
            theta,
            k_eq,
            sound_horizon,
            k_silk,
            alpha_c,
            beta_c,
            alpha_b,
            beta_b,
            beta_node,
        }
    }

    /// T at k in h/Mpc.
    fn at(&self, k: f64) -> f64 {
        if k <= 0.0 {
            return 1.0;
        }
        match self.form {
            Transfer::Wiggles => self.wiggles(k * self.h),
            Transfer::NoWiggles => self.no_wiggles(k * self.h),
        }
    }

    /// Equations 16 to 22, at k in 1/Mpc.
    fn wiggles(&self, k: f64) -> f64 {
        let ks = k * self.sound_horizon;
        let f = 1.0 / (1.0 + (ks / 5.4).powi(4));
        let cold = f * self.pressureless(k, 1.0, self.beta_c)
            + (1.0 - f) * self.pressureless(k, self.alpha_c, self.beta_c);
        let shifted = ks / (1.0 + (self.beta_node / ks).powi(3)).cbrt();
        let silk = (-(k / self.k_silk).powf(1.4)).exp();
        let baryons = (self.pressureless(k, 1.0, 1.0) / (1.0 + (ks / 5.2).powi(2))
            + self.alpha_b / (1.0 + (self.beta_b / ks).powi(3)) * silk)
            * sinc(shifted);
        self.baryon_fraction * baryons + (1.0 - self.baryon_fraction) * cold
    }

    /// Equations 19 and 20: T~_0(k, alpha_c, beta_c), at k in 1/Mpc.
    fn pressureless(&self, k: f64, alpha: f64, beta: f64) -> f64 {
        let q = k / (13.41 * self.k_eq);
        let l = (E + 1.8 * beta * q).ln();
        let c = 14.2 / alpha + 386.0 / (1.0 + 69.9 * q.powf(1.08));
        l / (l + c * q * q)
    }

    /// Equations 28 to 31, at k in 1/Mpc.
    fn no_wiggles(&self, k: f64) -> f64 {
        let (om, fb) = (self.omega_m_h2, self.baryon_fraction);
        let alpha = 1.0 - 0.328 * (431.0 * om).ln() * fb + 0.38 * (22.3 * om).ln() * fb * fb;
        let shape = om * (alpha + (1.0 - alpha) / (1.0 + (0.43 * k * self.sound_horizon).powi(4)));
        let q = k * self.theta.powi(2) / shape;
        let l = (2.0 * E + 1.8 * q).ln();
        let c = 14.2 + 731.0 / (1.0 + 62.5 * q);
        l / (l + c * q * q)
    }
}

/// sin x / x.
fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-4 { 1.0 - x * x / 6.0 } else { x.sin() / x }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    fn power(cosmology: Cosmology, form: Transfer) -> LinearPower {
        LinearPower::new(&cosmology, form).unwrap()
    }

    #[test]
    fn sigma_8_returns_by_another_quadrature() {
        // Midpoints in k itself, fine and long, against Simpson in ln k.
        for (cosmology, form) in
            [(Cosmology::camels(), Transfer::Wiggles), (Cosmology::illustris_tng(), Transfer::NoWiggles)]
        {
            let p = power(cosmology, form);
            let dk = 2e-5;
            let sum: f64 = (0..2_000_000)
                .map(|i| {
                    let k = (i as f64 + 0.5) * dk;
                    let x: f64 = 8.0 * k;
                    let window = 3.0 * (x.sin() / x - x.cos()) / (x * x);
                    k * k * p.at(k) * window * window * dk
                })
                .sum();
            assert_relative_eq!((sum / (2.0 * PI * PI)).sqrt(), cosmology.sigma_8, max_relative = 1e-4);
        }
    }

    #[test]
    fn limits_of_the_transfer_function() {
        for form in [Transfer::Wiggles, Transfer::NoWiggles] {
            let c = Cosmology::camels();
            let p = power(c, form);
            assert_relative_eq!(p.transfer(1e-7), 1.0, max_relative = 1e-4);
            assert_eq!(p.at(0.0), 0.0);
            let slope = |k: f64| (p.at(k * 1.01) / p.at(k / 1.01)).ln() / (2.0 * 1.01f64.ln());
            assert_relative_eq!(slope(1e-5), c.n_s, max_relative = 1e-3);
            // P k^(4 - n_s) / ln^2 k tends to a constant; the logarithm's argument is 1.8 beta q, k up to a factor.
            let q = |k: f64| match form {
                Transfer::Wiggles => 1.8 * p.transfer.beta_c * k * c.h / (13.41 * p.transfer.k_eq),
                Transfer::NoWiggles => 1.8 * k * c.h / p.transfer.omega_m_h2,
            };
            let levelled = |k: f64| p.at(k) * k.powf(4.0 - c.n_s) / q(k).ln().powi(2);
            assert_relative_eq!(levelled(1e6), levelled(1e4), max_relative = 0.1);
            assert_relative_eq!(levelled(1e9), levelled(1e7), max_relative = 0.02);
        }
    }

    #[test]
    fn sound_horizon_is_near_its_simple_fit() {
        // Equation 26 is a fit to equation 6 for omega_b h^2 > 0.0125 and 0.025 < omega_m h^2 < 0.5.
        for cosmology in [Cosmology::camels(), Cosmology::illustris_tng()] {
            let full = power(cosmology, Transfer::Wiggles).sound_horizon();
            let fit = power(cosmology, Transfer::NoWiggles).sound_horizon();
            assert_relative_eq!(full, fit, max_relative = 0.02);
            assert!((95.0..110.0).contains(&full), "{full}");
        }
    }

    #[test]
    fn without_baryons_both_forms_are_that_of_cold_matter() {
        let c = Cosmology { omega_b: 0.0, ..Cosmology::camels() };
        let (full, smooth) = (power(c, Transfer::Wiggles), power(c, Transfer::NoWiggles));
        for k in [1e-3, 1e-2, 0.1, 1.0, 10.0] {
            let exact = full.transfer.pressureless(k * c.h, 1.0, 1.0);
            assert_relative_eq!(full.transfer(k), exact, max_relative = 1e-12);
            // Two fits of one function, by the same authors.
            assert_relative_eq!(smooth.transfer(k), exact, max_relative = 0.04);
        }
    }

    #[test]
    fn oscillations_have_the_scale_of_the_sound_horizon() {
        // P / P_nowiggle crosses its mean at half the period 2 pi / s; the first peaks are 0.06 to 0.15 h/Mpc.
        let c = Cosmology::camels();
        let (p, s) = (power(c, Transfer::Wiggles), power(c, Transfer::NoWiggles));
        let ratio = |i: usize| {
            let k = 0.05 + 0.0005 * i as f64;
            p.at(k) / s.at(k)
        };
        let peaks: Vec<f64> = (1..400)
            .filter(|&i| ratio(i) > ratio(i - 1) && ratio(i) > ratio(i + 1))
            .map(|i| 0.05 + 0.0005 * i as f64)
            .collect();
        assert!(peaks.len() >= 3, "{peaks:?}");
        assert_relative_eq!(peaks[1] - peaks[0], 2.0 * PI / p.sound_horizon(), max_relative = 0.1);
    }
}
