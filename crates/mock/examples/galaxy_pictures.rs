//! Six domains of a mock galaxy, face-on and edge-on, and three of its halo, as PNG pictures.
//!
//! `cargo run --release -p halocast-mock --example galaxy_pictures -- FOLDER`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::error::Error;
use std::fs::File;
use std::path::Path;

use halocast_core::{Snapshot, Species};
use halocast_mock::{Galaxy, GalaxyConfig};

const SIDE: usize = 124;
const GAP: usize = 4;

/// A particle as it is seen: place and size in pixels.
struct Splat {
    at: [f64; 2],
    size: f64,
    weight: f64,
    value: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: galaxy_pictures FOLDER")?;
    let config =
        GalaxyConfig { dark_matter: 36_000, gas: 40_000, stars: 24_000, seed: 2, ..GalaxyConfig::default() };
    let snapshot = Galaxy::sample(&config)?.snapshot()?;
    // Rows: face-on, edge-on.
    let disc = panel(
        &snapshot,
        &config,
        8.0 * config.disc_scale(),
        &["dark matter", "stars", "gas", "neutral hydrogen", "temperature", "magnetic field"],
    )?;
    disc.save(Path::new(&folder).join("mock-galaxy-disc.png"))?;
    let halo = panel(&snapshot, &config, config.r200(), &["dark matter", "gas", "temperature"])?;
    halo.save(Path::new(&folder).join("mock-galaxy-halo.png"))?;
    Ok(())
}

fn panel(
    snapshot: &Snapshot,
    config: &GalaxyConfig,
    half: f64,
    domains: &[&str],
) -> Result<Picture, Box<dyn Error>> {
    let mut picture = Picture::new(domains.len(), 2);
    for (column, &domain) in domains.iter().enumerate() {
        for (row, axes) in [[0, 1], [0, 2]].into_iter().enumerate() {
            let splats = splats(snapshot, config, domain, axes, half)?;
            let averaged = matches!(domain, "temperature" | "magnetic field");
            picture.put(column, row, &image(&splats, averaged), domain);
        }
    }
    Ok(picture)
}

fn splats(
    snapshot: &Snapshot,
    config: &GalaxyConfig,
    domain: &str,
    axes: [usize; 2],
    half: f64,
) -> Result<Vec<Splat>, Box<dyn Error>> {
    let species = match domain {
        "dark matter" => Species::DarkMatter,
        "stars" => Species::Stars,
        _ => Species::Gas,
    };
    let set = snapshot.set(species)?;
    let (a, h) = (snapshot.header.time, config.cosmology.h);
    let kpc = a / h;
    let x = set.vectors("Coordinates")?;
    let masses = snapshot.masses(species)?;
    let size: Vec<f64> = match species {
        Species::Gas => {
            let density = set.scalars("Density")?;
            masses.iter().zip(density).map(|(m, rho)| (m / rho).cbrt() * kpc).collect()
        }
        // Stars are far denser than the dark matter around them.
        Species::Stars => set.scalars("SubfindHsml")?.iter().map(|r| 0.12 * r * kpc).collect(),
        _ => set.scalars("SubfindHsml")?.iter().map(|r| 0.4 * r * kpc).collect(),
    };
    let value: Vec<f64> = match domain {
        "neutral hydrogen" => set.scalars("NeutralHydrogenAbundance")?,
        "temperature" => set.scalars("InternalEnergy")?,
        "magnetic field" => set
            .vectors("MagneticField")?
            .iter()
            .map(|b| b.iter().map(|b| b * b).sum::<f64>().sqrt())
            .collect(),
        _ => vec![1.0; set.len()],
    };
    let pixel = 2.0 * half / SIDE as f64;
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
fn image(splats: &[Splat], averaged: bool) -> Vec<f64> {
    let mut sums = vec![[0.0f64; 2]; SIDE * SIDE];
    for s in splats {
        let reach = 3.0 * s.size;
        let range = |c: f64| {
            let low = (c - reach).floor().max(0.0);
            let high = (c + reach).ceil().min(SIDE as f64);
            (low as usize)..(high.max(low) as usize)
        };
        let norm = 1.0 / (std::f64::consts::TAU * s.size * s.size);
        for y in range(s.at[1]) {
            for x in range(s.at[0]) {
                let d2 = (x as f64 + 0.5 - s.at[0]).powi(2) + (y as f64 + 0.5 - s.at[1]).powi(2);
                let w = s.weight * norm * (-0.5 * d2 / (s.size * s.size)).exp();
                let sum = &mut sums[y * SIDE + x];
                sum[0] += w * s.value;
                sum[1] += w;
            }
        }
    }
    sums.into_iter().map(|[v, w]| if averaged { v / w.max(1e-300) } else { v }).collect()
}

struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn new(columns: usize, rows: usize) -> Self {
        let width = columns * (SIDE + GAP) - GAP;
        let height = rows * (SIDE + GAP) - GAP;
        Self { width, pixels: vec![255; 3 * width * height] }
    }

    /// Logarithmic, between the 5th hundredth and the maximum, over at most five decades.
    fn put(&mut self, column: usize, row: usize, image: &[f64], domain: &str) {
        let mut sorted: Vec<f64> = image.iter().copied().filter(|v| *v > 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted[sorted.len() / 20], sorted[sorted.len() - 1 - sorted.len() / 2000]);
        let decades = match domain {
            "neutral hydrogen" | "stars" => 4.5,
            _ => 5.0,
        };
        let low = first.max(last * 10f64.powf(-decades)).log10();
        let high = last.log10();
        // Black to a hue to white.
        let tint: [f64; 3] = match domain {
            "dark matter" => [0.55, 0.35, 0.9],
            "stars" => [0.95, 0.7, 0.35],
            "gas" => [0.25, 0.6, 0.9],
            "neutral hydrogen" => [0.2, 0.75, 0.55],
            "temperature" => [0.95, 0.35, 0.2],
            _ => [0.8, 0.3, 0.7],
        };
        for y in 0..SIDE {
            for x in 0..SIDE {
                let value = image[(SIDE - 1 - y) * SIDE + x].max(1e-300).log10();
                let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
                let at = 3 * ((row * (SIDE + GAP) + y) * self.width + column * (SIDE + GAP) + x);
                for (c, hue) in tint.iter().enumerate() {
                    let level = if t < 0.6 { hue * t / 0.6 } else { hue + (1.0 - hue) * (t - 0.6) / 0.4 };
                    self.pixels[at + c] = (255.0 * level).round() as u8;
                }
            }
        }
    }

    fn save(&self, path: impl AsRef<Path>) -> Result<(), Box<dyn Error>> {
        let height = self.pixels.len() / 3 / self.width;
        let mut encoder = png::Encoder::new(File::create(&path)?, self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        println!("{}", path.as_ref().display());
        Ok(())
    }
}
