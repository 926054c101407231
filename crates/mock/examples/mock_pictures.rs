//! The pictures of `docs/mock-galaxies.md`: six domains of a galaxy face-on and edge-on, its halo, dust, spectra, lines.
//!
//! `cargo run --release -p halocast-mock --example mock_pictures -- FOLDER`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::error::Error;
use std::fs::File;
use std::path::Path;

use halocast_core::{Snapshot, Species};
use halocast_mock::{DustConfig, Galaxy, GalaxyConfig, LineConfig, SpectralLibrary, SpectrumConfig};

type Outcome<T> = Result<T, Box<dyn Error>>;

const GAP: usize = 4;

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("usage: mock_pictures FOLDER")?;
    let folder = Path::new(&folder);
    galaxy(folder)?;
    dust(folder)?;
    lines(folder)?;
    spectra(folder)
}

/// Six domains over eight scale lengths, and three over R200; face-on above, edge-on below.
fn galaxy(folder: &Path) -> Outcome<()> {
    let config =
        GalaxyConfig { dark_matter: 36_000, gas: 40_000, stars: 24_000, seed: 2, ..GalaxyConfig::default() };
    let snapshot = Galaxy::sample(&config)?.snapshot()?;
    let all = ["dark matter", "stars", "gas", "neutral hydrogen", "temperature", "magnetic field"];
    for (name, half, domains) in [
        ("mock-galaxy-disc.png", 8.0 * config.disc_scale(), &all[..]),
        ("mock-galaxy-halo.png", config.r200(), &["dark matter", "gas", "temperature"]),
    ] {
        let side = 124;
        let mut picture = Picture::new(domains.len(), 2, side);
        for (column, &domain) in domains.iter().enumerate() {
            for (row, axes) in [[0, 1], [0, 2]].into_iter().enumerate() {
                let splats = splats(&snapshot, &config, domain, axes, half, side)?;
                let averaged = matches!(domain, "temperature" | "magnetic field");
                picture.put(column, row, &image(&splats, averaged, side), 5.0, tint(domain));
            }
        }
        picture.save(&folder.join(name))?;
    }
    Ok(())
}

/// The control without filaments, and two maps with them.
fn dust(folder: &Path) -> Outcome<()> {
    let side = 160;
    let mut picture = Picture::new(3, 1, side);
    for (column, (filaments, seed)) in [(0.0, 1), (0.8, 1), (0.8, 2)].into_iter().enumerate() {
        let map = DustConfig { size: side, filaments, seed, ..DustConfig::default() }.map()?;
        let values: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        picture.put(column, 0, &values, 5.0, [0.85, 0.55, 0.3]);
    }
    picture.save(&folder.join("mock-dust.png"))
}

/// One channel of H-alpha, of [OIII], and of what is observed.
fn lines(folder: &Path) -> Outcome<()> {
    let side = 128;
    let config = LineConfig { pixels: side, channels: 16, bandwidth: 0.05, seed: 1, ..LineConfig::default() };
    let level = config.mean_intensity(0);
    let cubes = LineConfig { noise: 0.3 * level, ..config }.cubes()?;
    let mut picture = Picture::new(3, 1, side);
    for (column, cube) in [&cubes.halpha, &cubes.oiii, &cubes.observed].into_iter().enumerate() {
        let plane = cube.values.index_axis(ndarray::Axis(2), 8);
        let values: Vec<f64> = plane.t().iter().map(|&v| f64::from(v).max(0.02 * level)).collect();
        picture.put(column, 0, &values, 3.0, tint(["magnetic field", "neutral hydrogen", "gas"][column]));
    }
    picture.save(&folder.join("mock-lines.png"))
}

/// A spiral, an old galaxy and a nucleus.
fn spectra(folder: &Path) -> Outcome<()> {
    let library = SpectralLibrary::new();
    let spiral = SpectrumConfig { redshift: 0.08, timescale: 6.0, ..SpectrumConfig::default() };
    let old = SpectrumConfig { timescale: 0.5, attenuation: 0.05, dispersion: 220.0, ..spiral };
    let nucleus = SpectrumConfig { active: 0.8, metallicity: 1.6, timescale: 3.0, ..spiral };
    let (width, height) = (640, 120);
    let mut picture = Picture::blank(width, 3 * height + 2 * GAP);
    for (row, config) in [spiral, old, nucleus].iter().enumerate() {
        let spectrum = library.spectrum(config)?;
        let mut sorted = spectrum.flux.clone();
        sorted.sort_by(f32::total_cmp);
        let top = 1.15 * sorted[sorted.len() - sorted.len() / 200];
        let level = |f: f32| {
            let up = (f / top).clamp(0.0, 1.0) * (height - 1) as f32;
            row * (height + GAP) + height - 1 - up as usize
        };
        for (values, colour) in [(&spectrum.flux, [190, 195, 205]), (&spectrum.model, [170, 60, 40])] {
            for (i, pair) in values.windows(2).enumerate() {
                let x = i * width / values.len();
                let (a, b) = (level(pair[0]), level(pair[1]));
                (a.min(b)..=a.max(b)).for_each(|y| picture.set(x, y, colour));
            }
        }
    }
    picture.save(&folder.join("mock-spectra.png"))
}

/// A particle as it is seen: place and size in pixels.
struct Splat {
    at: [f64; 2],
    size: f64,
    weight: f64,
    value: f64,
}

fn splats(
    snapshot: &Snapshot,
    config: &GalaxyConfig,
    domain: &str,
    axes: [usize; 2],
    half: f64,
    side: usize,
) -> Outcome<Vec<Splat>> {
    let species = match domain {
        "dark matter" => Species::DarkMatter,
        "stars" => Species::Stars,
        _ => Species::Gas,
    };
    let set = snapshot.set(species)?;
    let kpc = snapshot.header.time / config.cosmology.h;
    let x = set.vectors("Coordinates")?;
    let masses = snapshot.masses(species)?;
    let size: Vec<f64> = match species {
        Species::Gas => {
            masses.iter().zip(set.scalars("Density")?).map(|(m, rho)| (m / rho).cbrt() * kpc).collect()
        }
        // Stars are far denser than the dark matter around them.
        Species::Stars => set.scalars("SubfindHsml")?.iter().map(|r| 0.12 * r * kpc).collect(),
        _ => set.scalars("SubfindHsml")?.iter().map(|r| 0.4 * r * kpc).collect(),
    };
    let value: Vec<f64> = match domain {
        "neutral hydrogen" => set.scalars("NeutralHydrogenAbundance")?,
        "temperature" => set.scalars("InternalEnergy")?,
        "magnetic field" => {
            let field = set.vectors("MagneticField")?;
            field.iter().map(|b| b.iter().map(|b| b * b).sum::<f64>().sqrt()).collect()
        }
        _ => vec![1.0; set.len()],
    };
    let pixel = 2.0 * half / side as f64;
    let place = |i: usize, axis: usize| ((x[i][axis] - config.position[axis]) * kpc + half) / pixel;
    Ok((0..set.len())
        .map(|i| Splat {
            at: axes.map(|axis| place(i, axis)),
            size: (0.5 * size[i] / pixel).max(0.5),
            weight: masses[i],
            value: value[i],
        })
        .collect())
}

/// The sum of Gaussian splats: of weight times value, or the mean value by weight.
fn image(splats: &[Splat], averaged: bool, side: usize) -> Vec<f64> {
    let mut sums = vec![[0.0f64; 2]; side * side];
    for s in splats {
        let reach = 3.0 * s.size;
        let range = |c: f64| {
            let low = (c - reach).floor().max(0.0);
            let high = (c + reach).ceil().min(side as f64);
            (low as usize)..(high.max(low) as usize)
        };
        let norm = 1.0 / (std::f64::consts::TAU * s.size * s.size);
        for y in range(s.at[1]) {
            for x in range(s.at[0]) {
                let d2 = (x as f64 + 0.5 - s.at[0]).powi(2) + (y as f64 + 0.5 - s.at[1]).powi(2);
                let w = s.weight * norm * (-0.5 * d2 / (s.size * s.size)).exp();
                let sum = &mut sums[y * side + x];
                sum[0] += w * s.value;
                sum[1] += w;
            }
        }
    }
    sums.into_iter().map(|[v, w]| if averaged { v / w.max(1e-300) } else { v }).collect()
}

/// The hue of a domain.
fn tint(domain: &str) -> [f64; 3] {
    match domain {
        "dark matter" => [0.55, 0.35, 0.9],
        "stars" => [0.95, 0.7, 0.35],
        "gas" => [0.25, 0.6, 0.9],
        "neutral hydrogen" => [0.2, 0.75, 0.55],
        "temperature" => [0.95, 0.35, 0.2],
        _ => [0.8, 0.3, 0.7],
    }
}

struct Picture {
    width: usize,
    side: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// `columns` by `rows` square panels of `side` pixels.
    fn new(columns: usize, rows: usize, side: usize) -> Self {
        let (width, height) = (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP);
        Self { side, ..Self::blank(width, height) }
    }

    fn blank(width: usize, height: usize) -> Self {
        Self { width, side: 0, pixels: vec![255; 3 * width * height] }
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        let at = 3 * (y * self.width + x);
        self.pixels[at..at + 3].copy_from_slice(&colour);
    }

    /// A panel, logarithmic from the 5th hundredth to the maximum over at most `decades`; black to the hue to white.
    fn put(&mut self, column: usize, row: usize, image: &[f64], decades: f64, tint: [f64; 3]) {
        let side = self.side;
        let mut sorted: Vec<f64> = image.iter().copied().filter(|v| *v > 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted[sorted.len() / 20], sorted[sorted.len() - 1 - sorted.len() / 2000]);
        let low = first.max(last * 10f64.powf(-decades)).log10();
        let high = last.log10();
        for y in 0..side {
            for x in 0..side {
                let value = image[(side - 1 - y) * side + x].max(1e-300).log10();
                let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
                let shade =
                    |hue: f64| if t < 0.6 { hue * t / 0.6 } else { hue + (1.0 - hue) * (t - 0.6) / 0.4 };
                let colour = tint.map(|hue| (255.0 * shade(hue)).round() as u8);
                self.set(column * (side + GAP) + x, row * (side + GAP) + y, colour);
            }
        }
    }

    fn save(&self, path: &Path) -> Outcome<()> {
        let height = self.pixels.len() / 3 / self.width;
        let mut encoder = png::Encoder::new(File::create(path)?, self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        println!("{}", path.display());
        Ok(())
    }
}
