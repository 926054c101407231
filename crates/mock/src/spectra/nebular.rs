//! Emission lines of ionised gas, and the dust before it.

/// The lines that are made, by name and vacuum wavelength in Angstrom.
pub(crate) const LINES: [(&str, f64); 13] = [
    ("[OII]3727", 3727.09),
    ("[OII]3730", 3729.88),
    ("Hdelta", 4102.89),
    ("Hgamma", 4341.68),
    ("Hbeta", 4862.68),
    ("[OIII]4960", 4960.30),
    ("[OIII]5008", 5008.24),
    ("[OI]6302", 6302.05),
    ("[NII]6550", 6549.85),
    ("Halpha", 6564.61),
    ("[NII]6585", 6585.27),
    ("[SII]6718", 6718.29),
    ("[SII]6733", 6732.67),
];

/// Luminosities of [`LINES`] before dust, over that of H-alpha.
///
/// Hydrogen: case B at 10^4 K, H-alpha : H-beta : H-gamma : H-delta = 2.86 : 1 : 0.468 : 0.259 (Osterbrock & Ferland 2006).
/// \[NII\]/H-alpha of star formation from the oxygen abundance (Pettini & Pagel 2004, 12 + log O/H = 8.90 + 0.57 N2), and
/// \[OIII\]/H-beta from it along the sequence of star-forming galaxies at z = 0 (Kewley et al. 2013, equation 3),
/// 0.61 / (N2 + 0.08) + 1.1. `active` is the share of an active nucleus in H-alpha, with log \[NII\]/H-alpha = 0.05 and log
/// \[OIII\]/H-beta = 0.9: galaxies lie on the mixing sequence between.
pub(crate) fn line_ratios(metallicity: f64, active: f64) -> [f64; 13] {
    let oxygen = 8.69 + metallicity.max(1e-3).log10();
    let n2 = ((oxygen - 8.90) / 0.57).clamp(-2.2, -0.35);
    let forming = (10f64.powf(n2), 10f64.powf(0.61 / (n2 + 0.08) + 1.1));
    let nucleus = (10f64.powf(0.05), 10f64.powf(0.9));
    let mix = |a: f64, b: f64| (1.0 - active) * a + active * b;
    let beta = 1.0 / 2.86;
    let nitrogen = mix(forming.0, nucleus.0);
    let oiii = mix(forming.1, nucleus.1) * beta;
    // [OII] / H-alpha near 0.7 (Kewley, Geller & Jansen 2004), less in rich gas.
    let oii = mix(0.7 * metallicity.max(0.1).powf(-0.25), 1.1);
    let sulphur = mix(0.36 * metallicity.clamp(0.2, 1.5).powf(0.2), 0.9);
    [
        0.42 * oii,
        0.58 * oii,
        0.259 * beta,
        0.468 * beta,
        beta,
        oiii / 2.98,
        oiii,
        mix(0.03, 0.2),
        nitrogen / 3.05,
        1.0,
        nitrogen,
        0.57 * sulphur,
        0.43 * sulphur,
    ]
}

/// The attenuation curve k(lambda) = A(lambda) / E(B-V) of starbursts, with R_V = 4.05, at a wavelength in Angstrom.
///
/// # Source
/// Calzetti et al. 2000, ApJ 533, 682, equations 4a and 4b; constant beyond 0.12 to 2.2 micron.
pub fn calzetti(wavelength: f64) -> f64 {
    let x = 1e4 / wavelength.clamp(1200.0, 22_000.0);
    if x > 1.0 / 0.63 {
        2.659 * (-2.156 + 1.509 * x - 0.198 * x * x + 0.011 * x * x * x) + 4.05
    } else {
        2.659 * (-1.857 + 1.040 * x) + 4.05
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn calzetti_has_its_values() {
        // R_V at V; 4.598 at H-beta and 3.325 at H-alpha, as Dominguez et al. 2013 give them (air wavelengths).
        assert_relative_eq!(calzetti(5500.0), 4.05, max_relative = 5e-3);
        assert_relative_eq!(calzetti(4861.3), 4.598, max_relative = 2e-3);
        assert_relative_eq!(calzetti(6562.8), 3.325, max_relative = 2e-3);
        assert!((calzetti(6299.0) - calzetti(6301.0)).abs() < 0.03);
    }

    #[test]
    fn star_forming_galaxies_lie_below_and_nuclei_above_the_line_of_kauffmann() {
        // Kauffmann et al. 2003: log [OIII]/Hb = 0.61 / (log [NII]/Ha - 0.05) + 1.3.
        let at = |z: f64, active: f64| {
            let r = line_ratios(z, active);
            ((r[10] / r[9]).log10(), (r[6] / r[4]).log10())
        };
        for z in [0.1, 0.3, 0.7, 1.0, 1.8] {
            let (x, y) = at(z, 0.0);
            assert!(y < 0.61 / (x - 0.05) + 1.3, "{z}: {x} {y}");
        }
        for active in [0.6, 1.0] {
            let (x, y) = at(1.5, active);
            assert!(x > 0.04 || y > 0.61 / (x - 0.05) + 1.3, "{active}: {x} {y}");
        }
    }
}
