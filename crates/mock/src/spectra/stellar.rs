//! The light of simple stellar populations, from their stars.

use rayon::prelude::*;

use super::grid::LogGrid;

/// h c / k in Angstrom K.
const PLANCK: f64 = 1.438_776_9e8;
/// Ages of the templates: from 3 Myr to 14 Gyr.
pub(crate) const AGES: usize = 28;
const YOUNGEST: f64 = 3e-3;
const OLDEST: f64 = 14.0;
/// Metallicities of the templates in solar units.
pub(crate) const METALLICITIES: [f64; 4] = [0.1, 0.3, 1.0, 2.5];
/// Main-sequence masses of one template.
const MASSES: usize = 48;
/// Vacuum wavelengths of the Balmer series from H-alpha on, in Angstrom, and the strength of its lines in hot stars over
/// that of H-beta.
const BALMER: [(f64, f64); 8] = [
    (6564.61, 0.75),
    (4862.68, 1.0),
    (4341.68, 1.05),
    (4102.89, 1.1),
    (3971.19, 1.0),
    (3890.15, 0.85),
    (3836.47, 0.7),
    (3798.98, 0.55),
];
/// Metal features of cool stars: vacuum wavelength, width and equivalent width in Angstrom in a solar K giant: Ca K and H,
/// the G band, Mg b, Fe 5270 and 5335, Na D, and the TiO bands of the coolest.
const METALS: [(f64, f64, f64); 11] = [
    (3934.8, 9.0, 9.0),
    (3969.6, 9.0, 8.0),
    (4228.0, 5.0, 1.5),
    (4305.6, 14.0, 6.0),
    (4531.0, 14.0, 3.0),
    (5176.6, 16.0, 5.0),
    (5271.0, 10.0, 2.8),
    (5337.0, 9.0, 2.3),
    (5895.6, 7.0, 3.2),
    (6230.0, 45.0, 6.0),
    (7130.0, 70.0, 12.0),
];

/// Spectra of populations of one age and metallicity, in solar luminosities per Angstrom and solar mass formed.
#[derive(Clone, Debug)]
pub(crate) struct Populations {
    pub(crate) grid: LogGrid,
    /// By age, then metallicity.
    spectra: Vec<Vec<f32>>,
}

/// Age in Gyr of template `i`.
pub(crate) fn age(i: usize) -> f64 {
    YOUNGEST * (OLDEST / YOUNGEST).powf(i as f64 / (AGES - 1) as f64)
}

impl Populations {
    pub(crate) fn new() -> Self {
        let grid = LogGrid { start: 3.30, step: 1e-4, len: 7300 };
        let count = AGES * METALLICITIES.len();
        let spectra = (0..count)
            .into_par_iter()
            .map(|i| {
                let (age, z) = (age(i / METALLICITIES.len()), METALLICITIES[i % METALLICITIES.len()]);
                population(&grid, age, z)
            })
            .collect();
        Self { grid, spectra }
    }

    /// The sum over ages with `weights` (solar masses formed), at `metallicity` in solar units, on the templates' grid.
    pub(crate) fn mix(&self, weights: &[f64; AGES], metallicity: f64) -> Vec<f64> {
        let n = METALLICITIES.len();
        let x = metallicity.clamp(METALLICITIES[0], METALLICITIES[n - 1]).ln();
        let upper = (1..n - 1).find(|&j| x <= METALLICITIES[j].ln()).unwrap_or(n - 1);
        let (low, high) = (METALLICITIES[upper - 1].ln(), METALLICITIES[upper].ln());
        let t = (x - low) / (high - low);
        let mut sum = vec![0.0; self.grid.len];
        for (i, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            for (j, share) in [(upper - 1, 1.0 - t), (upper, t)] {
                let w = weight * share;
                sum.iter_mut().zip(&self.spectra[i * n + j]).for_each(|(s, &v)| *s += w * f64::from(v));
            }
        }
        sum
    }
}

/// One population: a main sequence with the initial mass function of Kroupa (2001) up to its turn-off, and giants.
///
/// Luminosities of dwarfs are 0.23 M^2.3, M^4 and 1.4 M^3.5 solar below 0.43, 2 and above; radii M^0.8 and M^0.57 below and
/// above a solar mass; lives 10 M/L Gyr, at least 3 Myr (Salaris & Cassisi 2005). Giants, at 4500 K (red supergiants at
/// 3900 K), give 0.15 times the light of the dwarfs at first and 1.4 times after 10 Gyr (Renzini & Buzzoni 1986).
fn population(grid: &LogGrid, age: f64, metallicity: f64) -> Vec<f32> {
    let imf = |m: f64| if m < 0.5 { m.powf(-1.3) } else { 0.5 * m.powf(-2.3) };
    let (low, high) = (0.1f64, 100.0f64);
    let step = |from: f64, to: f64, n: usize| (to / from).ln() / n as f64;
    let total: f64 = (0..400)
        .map(|i| {
            let d = step(low, high, 400);
            let m = low * ((i as f64 + 0.5) * d).exp();
            imf(m) * m * m * d
        })
        .sum();
    let d = step(low, turn_off(age), MASSES);
    let mut stars: Vec<(f64, f64)> = (0..MASSES)
        .map(|i| {
            let m = low * ((i as f64 + 0.5) * d).exp();
            (temperature(m), imf(m) * m * d * luminosity(m) / total)
        })
        .collect();
    let dwarfs: f64 = stars.iter().map(|s| s.1).sum();
    let old = ((age.log10() + 1.5) / 2.5).clamp(0.0, 1.0);
    let share = 0.15 + 1.25 * old * old * (3.0 - 2.0 * old);
    let coolness = metallicity.powf(-0.04);
    let giant = if age < 0.03 { 3900.0 } else { 4500.0 };
    stars.push((giant * coolness, 0.75 * share * dwarfs));
    stars.push((3700.0 * coolness, 0.25 * share * dwarfs));
    (0..grid.len)
        .map(|i| {
            let wavelength = grid.wavelength(i);
            let light: f64 = stars
                .iter()
                .map(|&(t, l)| l * planck(wavelength, t) * features(wavelength, t, metallicity))
                .sum();
            light as f32
        })
        .collect()
}

fn luminosity(mass: f64) -> f64 {
    match mass {
        m if m < 0.43 => 0.23 * m.powf(2.3),
        m if m < 2.0 => m.powi(4),
        m => 1.4 * m.powf(3.5),
    }
}

fn temperature(mass: f64) -> f64 {
    let radius = if mass < 1.0 { mass.powf(0.8) } else { mass.powf(0.57) };
    (5772.0 * (luminosity(mass) / (radius * radius)).powf(0.25)).min(45_000.0)
}

/// The heaviest dwarf after `age` Gyr.
fn turn_off(age: f64) -> f64 {
    let life = |m: f64| (10.0 * m / luminosity(m)).max(YOUNGEST);
    let (mut low, mut high) = (0.2f64, 100.0f64);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if life(middle) > age { low = middle } else { high = middle }
    }
    low
}

/// The share of a black body's light per Angstrom: pi B_lambda / (sigma T^4).
fn planck(wavelength: f64, temperature: f64) -> f64 {
    let x = PLANCK / (wavelength * temperature);
    let norm = 15.0 / std::f64::consts::PI.powi(4);
    norm * x.powi(4) / (wavelength * x.exp_m1())
}

/// What lines, bands and edges leave of the light of a star.
fn features(wavelength: f64, temperature: f64, metallicity: f64) -> f64 {
    // Hydrogen is strongest in A stars.
    let hydrogen = (-((temperature / 9500.0).ln() / 0.33).powi(2)).exp();
    let mut depth = 0.0;
    if hydrogen > 1e-3 {
        for (line, strength) in BALMER {
            let x = (wavelength - line) / 11.0;
            // A core with wings, of equivalent width near 14 Angstrom at most.
            depth += hydrogen * strength * 0.42 / (1.0 + x * x).powf(1.2);
        }
        // The series runs together into its edge.
        depth += 0.75 * hydrogen / (1.0 + ((wavelength - 3720.0) / 25.0).exp());
    }
    // Metals take the blue of cool stars: the break at 4000 Angstrom.
    let cool = metallicity.powf(0.4) / (1.0 + ((temperature - 6100.0) / 450.0).exp());
    if cool > 1e-3 {
        for (line, width, equivalent) in METALS {
            // Bands of molecules only in the coolest.
            let share = if width > 30.0 { 1.0 / (1.0 + ((temperature - 3800.0) / 150.0).exp()) } else { 1.0 };
            let x = (wavelength - line) / width;
            if x.abs() < 6.0 {
                depth += cool * share * equivalent / (2.5066 * width) * (-0.5 * x * x).exp();
            }
        }
        depth += 0.42 * cool / (1.0 + ((wavelength - 3985.0) / 12.0).exp());
    }
    (-depth).exp()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn black_bodies_are_normalised() {
        for t in [4000.0, 9000.0, 30_000.0] {
            let sum: f64 = (0..20_000)
                .map(|i| {
                    let l = 50.0 * (1.0 + 1e-3f64).powi(i);
                    planck(l, t) * l * 1e-3
                })
                .sum();
            assert_relative_eq!(sum, 1.0, max_relative = 2e-3);
        }
    }

    #[test]
    fn stars_have_the_numbers_of_stars() {
        assert_relative_eq!(temperature(1.0), 5772.0, max_relative = 1e-6);
        assert_relative_eq!(turn_off(10.0), 1.0, max_relative = 1e-3);
        assert!((8000.0..11_000.0).contains(&temperature(2.0)));
        assert!(turn_off(0.01) > 10.0);
    }
}
