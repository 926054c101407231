//! Maps as PNG images.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use halocast::core::{Map, write_whole};

/// The colours from the lowest to the highest value.
#[derive(Clone, Copy)]
pub enum Colours {
    /// One of the perceptually even maps.
    Gradient(colorous::Gradient),
    /// Evenly spaced colours, with straight lines between them.
    Stops(&'static [[u8; 3]]),
}

impl Colours {
    /// Black through blue and gold to white: starlight.
    pub const STARS: Self = Self::Stops(&[
        [4, 4, 12],
        [28, 30, 70],
        [92, 74, 108],
        [196, 128, 84],
        [250, 204, 128],
        [255, 250, 236],
    ]);
    /// Black through violet to pale blue: what gives no light.
    pub const DARK: Self = Self::Stops(&[
        [2, 2, 8],
        [36, 18, 74],
        [74, 48, 148],
        [104, 110, 206],
        [160, 190, 236],
        [240, 248, 255],
    ]);
    /// Black through sea green to pale yellow: neutral hydrogen.
    pub const HYDROGEN: Self = Self::Stops(&[
        [2, 6, 14],
        [6, 46, 70],
        [10, 100, 108],
        [60, 158, 118],
        [164, 212, 122],
        [250, 250, 200],
    ]);
    /// Black through red and orange to white: heat.
    pub const HEAT: Self = Self::Stops(&[
        [8, 4, 10],
        [88, 10, 24],
        [180, 34, 20],
        [236, 112, 24],
        [252, 202, 90],
        [255, 255, 240],
    ]);

    /// Blue through pale grey to red: what approaches and what recedes.
    pub const DIVERGING: Self =
        Self::Stops(&[[24, 46, 120], [90, 150, 206], [238, 238, 236], [222, 128, 96], [134, 14, 34]]);

    /// The colours of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "stars" => Self::STARS,
            "dark" => Self::DARK,
            "hydrogen" => Self::HYDROGEN,
            "heat" => Self::HEAT,
            "inferno" => Self::Gradient(colorous::INFERNO),
            "magma" => Self::Gradient(colorous::MAGMA),
            "plasma" => Self::Gradient(colorous::PLASMA),
            "viridis" => Self::Gradient(colorous::VIRIDIS),
            "cividis" => Self::Gradient(colorous::CIVIDIS),
            "cubehelix" => Self::Gradient(colorous::CUBEHELIX),
            "diverging" => Self::DIVERGING,
            _ => return None,
        })
    }

    fn at(self, along: f64) -> [u8; 3] {
        let along = along.clamp(0.0, 1.0);
        match self {
            Self::Gradient(gradient) => gradient.eval_continuous(along).as_array(),
            Self::Stops(stops) => {
                let place = along * (stops.len() - 1) as f64;
                let low = (place as usize).min(stops.len() - 2);
                let far = place - low as f64;
                let (a, b) = (stops[low], stops[low + 1]);
                std::array::from_fn(|i| (f64::from(a[i]) * (1.0 - far) + f64::from(b[i]) * far).round() as u8)
            }
        }
    }
}

/// The colour scale of a picture: values from `low` to `high` over colours, evenly or by their logarithm.
#[derive(Clone, Copy)]
pub struct Scale {
    low: f32,
    high: f32,
    logarithmic: bool,
    colours: Colours,
}

/// Factors of ten below the brightest pixels that a logarithmic scale shows at most.
const DECADES: f32 = 6.0;

impl Scale {
    /// The scale that covers the central 99.8 % of the pixels of some maps.
    pub fn covering<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Self {
        let [low, high] = central(maps, |v| v.is_finite());
        Self { low, high, logarithmic: false, colours: Colours::Gradient(colorous::INFERNO) }
    }

    /// The same by the logarithm of the pixels above zero, over six decades at most.
    pub fn logarithmic<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Self {
        let [low, high] = central(maps, |v| v.is_finite() && *v > 0.0);
        let high = if high > 0.0 { high } else { 1.0 };
        let low = low.max(high * 10f32.powf(-DECADES)).min(0.999 * high);
        Self { low, high, logarithmic: true, colours: Colours::Gradient(colorous::INFERNO) }
    }

    /// The same with zero in the middle.
    pub fn about_zero(self) -> Self {
        let high = self.low.abs().max(self.high.abs());
        Self { low: -high, high, ..self }
    }

    /// The same over other colours.
    pub fn with_colours(self, colours: Colours) -> Self {
        Self { colours, ..self }
    }

    /// The same between other values.
    pub fn between(self, low: f32, high: f32) -> Self {
        Self { low, high, ..self }
    }

    /// The ends of the scale.
    pub fn ends(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    /// The value at a part of the scale from 0 to 1.
    pub fn at(&self, along: f64) -> f32 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        match self.logarithmic {
            true => (low * (high / low).powf(along)) as f32,
            false => (low + along * (high - low)) as f32,
        }
    }

    fn along(&self, value: f32) -> f64 {
        let span = |v: f32| f64::from(v);
        match self.logarithmic {
            true if value <= self.low => 0.0,
            true => (span(value) / span(self.low)).ln() / (span(self.high) / span(self.low)).ln(),
            false => span(value - self.low) / span((self.high - self.low).max(f32::MIN_POSITIVE)),
        }
    }

    /// Where along the scale round values lie, and how they are written.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let label = |v: f64| (self.along(v as f32), crate::project::short(v));
        if self.logarithmic {
            let decades = (high / low).log10();
            let digits: &[f64] = if decades > 1.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
            let all = powers.flat_map(|p| digits.iter().map(move |d| d * 10f64.powi(p)));
            return all.filter(|v| (low..=high).contains(v)).map(label).collect();
        }
        let span = high - low;
        if !(span > 0.0 && span.is_finite()) {
            return Vec::new();
        }
        let raw = span / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|d| d * power).into_iter().find(|s| *s >= raw).unwrap_or(raw);
        let count = (span / step).ceil() as i64 + 1;
        let first = (low / step).ceil();
        (0..count)
            .map(|i| (first + i as f64) * step)
            .filter(|v| (low..=high).contains(v))
            .map(label)
            .collect()
    }

    /// The colour of a value; grey for what is no number.
    pub fn colour(&self, value: f32) -> [u8; 3] {
        if value.is_nan() { [128; 3] } else { self.colours.at(self.along(value)) }
    }
}

/// The ends of the central 99.8 % of the pixels that count.
fn central<'a>(maps: impl IntoIterator<Item = &'a Map>, counts: impl Fn(&f32) -> bool) -> [f32; 2] {
    let mut pixels: Vec<f32> =
        maps.into_iter().flat_map(|m| m.values.iter().copied()).filter(|v| counts(v)).collect();
    pixels.sort_unstable_by(f32::total_cmp);
    [0.001, 0.999].map(|fraction| {
        let index = (fraction * pixels.len().saturating_sub(1) as f64).round() as usize;
        pixels.get(index).copied().unwrap_or_default()
    })
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

    /// A white picture.
    pub fn blank(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![255; width * height * 3] }
    }

    /// Sets a pixel; outside the picture nothing happens.
    pub fn put(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Darkens a pixel to a third.
    pub fn shade(&mut self, x: usize, y: usize) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].iter_mut().for_each(|v| *v /= 3);
        }
    }

    /// A horizontal bar of the colour scale.
    pub fn colour_bar(scale: Scale, width: usize, height: usize) -> Self {
        let row = (0..width).flat_map(|x| scale.colour(scale.at(x as f64 / (width - 1).max(1) as f64)));
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

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scales_cover_and_tell_round_values() {
        let map = Map::square("m", array![[1e3, 1e7], [0.0, 1e5]], 1.0);
        let scale = Scale::logarithmic([&map]);
        assert_eq!(scale.ends(), (1e3, 1e7));
        assert!((scale.along(1e5) - 0.5).abs() < 1e-6 && scale.along(0.0) == 0.0);
        let labels: Vec<String> = scale.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1000", "10000", "1e5", "1e6", "1e7"]);
        let linear = Scale::covering([&map]).between(-1.0, 1.0);
        let labels: Vec<String> = linear.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["-1", "-0.5", "0", "0.5", "1"]);
        assert!(Scale::covering([&map]).between(2.0, 2.0).ticks().is_empty());
        let empty = Map::square("m", array![[0.0]], 1.0);
        assert!(Scale::logarithmic([&empty]).colour(0.0) == Scale::logarithmic([&empty]).colour(-1.0));
    }

    #[test]
    fn colours_run_from_dark_to_light() {
        for name in ["stars", "dark", "hydrogen", "heat", "inferno", "magma"] {
            let colours = Colours::by_name(name).unwrap();
            let light = |along| colours.at(along).iter().map(|&v| u32::from(v)).sum::<u32>();
            assert!((0..10).all(|i| light(f64::from(i + 1) / 10.0) > light(f64::from(i) / 10.0)), "{name}");
        }
        assert!(Colours::by_name("beige").is_none());
    }
}
