//! Maps as PNG images.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use halocast::core::{Map, write_whole};

/// The colour scale of a picture: values from `low` to `high` over a colour gradient.
#[derive(Clone, Copy)]
pub struct Scale {
    low: f32,
    high: f32,
    gradient: colorous::Gradient,
}

impl Scale {
    /// The scale that covers the central 99.8 % of the pixels of some maps.
    pub fn covering<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Self {
        let mut pixels: Vec<f32> =
            maps.into_iter().flat_map(|m| m.values.iter().copied()).filter(|v| v.is_finite()).collect();
        pixels.sort_unstable_by(f32::total_cmp);
        let at = |fraction: f64| {
            let index = (fraction * pixels.len().saturating_sub(1) as f64).round() as usize;
            pixels.get(index).copied().unwrap_or_default()
        };
        Self { low: at(0.001), high: at(0.999), gradient: colorous::INFERNO }
    }

    /// The ends of the scale.
    pub fn ends(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    fn colour(&self, value: f32) -> [u8; 3] {
        let along = f64::from((value - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE));
        let colour = self.gradient.eval_continuous(along.clamp(0.0, 1.0));
        if value.is_nan() { [128; 3] } else { colour.as_array() }
    }
}

/// An RGB image.
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Maps in a grid of `columns`, each pixel `zoom` screen pixels wide, the y axis upwards.
    pub fn grid(maps: &[&Map], columns: usize, zoom: usize, scale: Scale) -> Self {
        const GAP: usize = 4;
        let [ny, nx] = maps.iter().fold([1, 1], |[y, x], m| {
            let [my, mx] = m.shape();
            [y.max(my), x.max(mx)]
        });
        let columns = columns.clamp(1, maps.len().max(1));
        let rows = maps.len().div_ceil(columns).max(1);
        let (cell_x, cell_y) = (nx * zoom + GAP, ny * zoom + GAP);
        let (width, height) = (columns * cell_x - GAP, rows * cell_y - GAP);
        let mut pixels = vec![255u8; width * height * 3];
        for (i, map) in maps.iter().enumerate() {
            let (left, top) = ((i % columns) * cell_x, (i / columns) * cell_y);
            let [my, mx] = map.shape();
            for y in 0..my * zoom {
                for x in 0..mx * zoom {
                    let value = map.values[[my - 1 - y / zoom, x / zoom]];
                    let at = ((top + y) * width + left + x) * 3;
                    pixels[at..at + 3].copy_from_slice(&scale.colour(value));
                }
            }
        }
        Self { width, height, pixels }
    }

    /// A horizontal bar of the colour scale.
    pub fn colour_bar(scale: Scale, width: usize, height: usize) -> Self {
        let row = (0..width).flat_map(|x| {
            let along = x as f32 / (width - 1).max(1) as f32;
            scale.colour(scale.low + along * (scale.high - scale.low))
        });
        Self { width, height, pixels: row.collect::<Vec<u8>>().repeat(height) }
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(bytes)
    }

    /// Writes a PNG file, whole or not at all.
    ///
    /// # Errors
    /// When the encoder or the disk fails.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.png()?;
        write_whole(path, |w| std::io::Write::write_all(w, &bytes)).context("cannot write a picture")
    }

    /// The image inside an HTML page.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn html(&self, alt: &str) -> Result<String> {
        let data = base64::engine::general_purpose::STANDARD.encode(self.png()?);
        Ok(format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">"))
    }
}
