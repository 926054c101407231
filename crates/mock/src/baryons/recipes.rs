//! What a halo of a given mass holds: relations of the literature, moved by the strengths of feedback.

use halocast_core::{Cosmology, GRAVITATIONAL_CONSTANT};

use super::config::Feedback;

/// Mean relations of haloes at one time. Masses are in Msun/h and are M_200c for haloes, lengths comoving Mpc/h.
///
/// ```
/// use halocast_core::Cosmology;
/// use halocast_mock::{Feedback, Recipes};
/// let recipes = |feedback| Recipes::new(Cosmology::camels(), 1.0, feedback);
/// let fiducial = recipes(Feedback::default());
/// // A halo like ours holds a few times 10^10 Msun/h of stars, and groups keep a fifth to a half of their gas.
/// assert!((fiducial.stellar_mass(1e12) / 2e10 - 1.0).abs() < 0.6);
/// assert!((0.1..0.6).contains(&fiducial.bound_fraction(2e13)));
/// // Stronger black holes throw out more.
/// assert!(recipes(Feedback { a_agn1: 3.0, ..Default::default() }).bound_fraction(2e13) < fiducial.bound_fraction(2e13));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipes {
    cosmology: Cosmology,
    a: f64,
    feedback: Feedback,
}

/// Energy of winds per stellar mass in (km/s)^2: 0.0118 supernovae of 3.6e51 erg a solar mass.
const WIND_ENERGY: f64 = 2.1e6;
/// Halo mass in Msun/h above which black holes of 10^8 Msun are common and drive kinetic feedback.
const KINETIC_MASS: f64 = 1.4e12;

impl Recipes {
    /// The relations of a cosmology at scale factor `a`.
    pub fn new(cosmology: Cosmology, a: f64, feedback: Feedback) -> Self {
        Self { cosmology, a, feedback }
    }

    /// The physical radius R_200c in Mpc/h.
    pub fn radius(&self, mass: f64) -> f64 {
        let density = 200.0 * self.cosmology.critical_density(self.a);
        (3.0 * mass / (4.0 * std::f64::consts::PI * density)).cbrt()
    }

    /// The circular velocity at R_200c in km/s.
    pub fn circular_velocity(&self, mass: f64) -> f64 {
        (GRAVITATIONAL_CONSTANT * mass / self.radius(mass)).sqrt()
    }

    /// Mean mass of stars in the central galaxy; galaxies scatter by 0.2 dex.
    ///
    /// The relation of Moster, Naab & White 2013, MNRAS 428, 3121, equation 2 and table 1, for fiducial feedback. Winds that
    /// carry more away leave (1 + eta_1 p_1) / (1 + eta p) of it, with the loading eta and the escaping share p of
    /// [`Recipes::wind_loading`] and their fiducial values; black holes [2 / (1 + A_AGN1)]^(w/2), with their share w of
    /// feedback at this mass.
    pub fn stellar_mass(&self, mass: f64) -> f64 {
        let h = self.cosmology.h;
        let past = 1.0 - self.a;
        let m1 = 10f64.powf(11.590 + 1.195 * past);
        let (n, beta, gamma) = (0.0351 - 0.0247 * past, 1.376 - 0.826 * past, 0.608 + 0.329 * past);
        let x = mass / h / m1;
        let fiducial = mass * 2.0 * n / (x.powf(-beta) + x.powf(gamma));
        let reference = Self { feedback: Feedback::default(), ..*self };
        let winds = (1.0 + reference.wind_loading(mass)) / (1.0 + self.wind_loading(mass));
        let holes = (2.0 / (1.0 + self.feedback.a_agn1)).powf(0.5 * self.kinetic_share(mass));
        fiducial * winds * holes
    }

    /// Mass of gas that winds carry out of the halo per mass of stars formed, eta p.
    ///
    /// The loading is 2 e / v^2, with an energy e of A_SN1 times 2.1e6 (km/s)^2 and the wind's speed v of A_SN2 times the
    /// larger of 350 km/s and 7.4 dispersions of the dark matter, V_200 / sqrt 2 (Pillepich et al. 2018, MNRAS 473, 4077,
    /// equations 1 to 3). A share p = v^2 / (v^2 + 9 V_200^2) escapes: ours.
    pub fn wind_loading(&self, mass: f64) -> f64 {
        let circular = self.circular_velocity(mass);
        let speed = self.feedback.a_sn2 * (7.4 * circular / 2f64.sqrt()).max(350.0);
        let loading = 2.0 * WIND_ENERGY * self.feedback.a_sn1 / (speed * speed);
        loading * speed * speed / (speed * speed + 9.0 * circular * circular)
    }

    /// The share of a halo's feedback that is of black holes: none below 10^12 Msun/h, all above 10^13.
    fn kinetic_share(&self, mass: f64) -> f64 {
        1.0 / (1.0 + (KINETIC_MASS / mass).powi(2))
    }

    /// The share of a halo's gas that black holes leave in it: 1 - w + w / (1 + (M_c / M)^beta).
    ///
    /// The second term is that of Schneider & Teyssier 2015, JCAP 12, 049, equation 2.19, with their beta = 0.6 and
    /// M_c = 1.2e14 Msun/h, which stands for the energy of the black holes and is multiplied by A_AGN1.
    pub fn bound_fraction(&self, mass: f64) -> f64 {
        let critical = 1.2e14 * self.feedback.a_agn1;
        let bound = 1.0 / (1.0 + (critical / mass).powf(0.6));
        let share = self.kinetic_share(mass);
        1.0 - share + share * bound
    }

    /// The comoving radius to which black holes throw gas, whose density falls there as exp(-r^2 / 2 R^2): 0.75 eta_b of
    /// sqrt(200) / 2 R_200, with eta_b = 0.5 (Schneider & Teyssier 2015, equations 2.22 and 2.23), times the square root of
    /// A_AGN2, as for a given energy the reach grows with the speed.
    pub fn ejection_radius(&self, mass: f64) -> f64 {
        0.75 * 0.5 * 0.5 * 200f64.sqrt() * self.radius(mass) / self.a * self.feedback.a_agn2.sqrt()
    }

    /// The comoving radius to which winds carry gas: 1.5 R_200 and 0.65 Mpc/h, what a wind of the least speed of
    /// [`Recipes::wind_loading`], 350 km/s, covers in 2.7 Gyr; times A_SN2. Ours.
    pub fn wind_radius(&self, mass: f64) -> f64 {
        (1.5 * self.radius(mass) / self.a + 0.65) * self.feedback.a_sn2
    }

    /// The standard deviation, in comoving Mpc/h and each direction, of what moves gas between haloes besides gravity: the
    /// winds of galaxies below the limit of the haloes here, 0.4 (A_SN1 A_SN2)^(1/2).
    ///
    /// In simulations feedback carries a good part of all gas over the order of 1 Mpc (Borrow, Angles-Alcazar & Dave 2020,
    /// MNRAS 491, 6102); size and exponents are ours.
    pub fn stirring(&self) -> f64 {
        0.4 * (self.feedback.a_sn1 * self.feedback.a_sn2).sqrt()
    }

    /// Mean mass of neutral hydrogen, M_0 (M / M_min)^alpha exp(-(M_min / M)^0.35); haloes scatter by 0.25 dex.
    ///
    /// Villaescusa-Navarro et al. 2018, ApJ 866, 135, equation 13 and table 1 (friends-of-friends haloes of IllustrisTNG at
    /// z = 0 and 1, between which we interpolate in a, and keep z = 1 beyond).
    pub fn hydrogen_mass(&self, mass: f64) -> f64 {
        let t = ((1.0 - self.a) * 2.0).clamp(0.0, 1.0);
        let mix = |now: f64, then: f64| now + t * (then - now);
        let (m0, least) = (mix(4.3e10, 1.5e10), mix(2.0e12, 6.0e11));
        let alpha = mix(0.24, 0.53);
        m0 * (mass / least).powf(alpha) * (-(least / mass).powf(0.35)).exp()
    }

    /// Mass of the central black hole; they scatter by 0.3 dex: 0.0049 of the bulge's mass over 10^11 Msun to the power 1.17
    /// (Kormendy & Ho 2013, ARA&A 51, 511, equation 10), over A_AGN1, as the mass that shuts off growth is inversely
    /// proportional to the efficiency (Booth & Schaye 2010, MNRAS 405, L1). The bulge is taken for half the stars.
    pub fn black_hole_mass(&self, stars: f64) -> f64 {
        let h = self.cosmology.h;
        let bulge = 0.5 * stars / h;
        4.9e8 * (bulge / 1e11).powf(1.17) * h / self.feedback.a_agn1
    }

    /// Metallicity of the stars of a galaxy of `stars` Msun/h: log10 Z / 0.0127 = 0.40 (log10 M - 10) - 0.5 in Msun, at most
    /// twice solar (Ma et al. 2016, MNRAS 456, 2140, equation 6 at z = 0, shifted to the solar value of IllustrisTNG).
    pub fn stellar_metallicity(&self, stars: f64) -> f64 {
        let log = 0.40 * ((stars / self.cosmology.h).log10() - 10.0) - 0.5;
        0.0127 * 10f64.powf(log.clamp(-2.5, 0.3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes(feedback: Feedback) -> Recipes {
        Recipes::new(Cosmology::camels(), 1.0, feedback)
    }

    #[test]
    fn published_numbers_are_met() {
        let r = recipes(Feedback::default());
        let h = Cosmology::camels().h;
        // Moster et al. 2013: the efficiency peaks at 3.8 % of the halo near 10^11.8 Msun.
        let efficiency = |log: f64| r.stellar_mass(10f64.powf(log) * h) / (10f64.powf(log) * h);
        assert!((efficiency(11.8) - 0.038).abs() < 0.001 && efficiency(11.8) > efficiency(11.2));
        assert!(efficiency(13.5) < 0.01);
        // Villaescusa-Navarro et al. 2018 at M_min: 4.3e10 / e.
        assert!((r.hydrogen_mass(2e12) / (4.3e10 / std::f64::consts::E) - 1.0).abs() < 1e-9);
        // Kormendy & Ho 2013 at a bulge of 10^11 Msun.
        assert!((r.black_hole_mass(2e11 * h) / (4.9e8 * h) - 1.0).abs() < 1e-9);
        // 10^12 Msun/h within about 0.163 Mpc/h.
        assert!((r.radius(1e12) - 0.1626).abs() < 1e-3);
    }

    #[test]
    fn every_strength_moves_its_recipe() {
        let base = recipes(Feedback::default());
        let with = |f: fn(&mut Feedback)| {
            let mut feedback = Feedback::default();
            f(&mut feedback);
            recipes(feedback)
        };
        assert!(with(|f| f.a_sn1 = 4.0).stellar_mass(3e11) < 0.6 * base.stellar_mass(3e11));
        assert!(with(|f| f.a_sn2 = 2.0).wind_radius(1e12) > base.wind_radius(1e12));
        assert!(with(|f| f.a_agn1 = 4.0).bound_fraction(1e13) < 0.7 * base.bound_fraction(1e13));
        assert!(with(|f| f.a_agn2 = 2.0).ejection_radius(1e13) > 1.3 * base.ejection_radius(1e13));
        // Winds matter in small haloes, black holes in large ones.
        assert!((base.bound_fraction(1e11) - 1.0).abs() < 0.02 && base.bound_fraction(1e15) > 0.7);
    }
}
