//! One map as a figure: pixels, scale bar, colour bar with ticks and unit.

use anyhow::{Result, ensure};
use halocast::core::Map;

use super::font::{LETTER, dot};
use crate::picture::{Picture, Scale};

/// Screen pixels of a dot of a letter.
const DOT: usize = 2;
const INK: [u8; 3] = [20; 3];
const MARGIN: usize = 10;

/// What stands around a map.
pub(super) struct Labels {
    /// Above it.
    pub(super) title: String,
    /// The unit of the values.
    pub(super) unit: String,
    /// The unit of lengths, for the scale bar.
    pub(super) length_unit: String,
    /// Length of the map's x side in that unit.
    pub(super) width: f64,
}

/// The figure of a map at least 512 screen pixels wide.
///
/// # Errors
/// For a map without pixels or extent.
pub(super) fn figure(map: &Map, scale: Scale, labels: &Labels) -> Result<Picture> {
    let [ny, nx] = map.shape();
    ensure!(ny > 0 && nx > 0 && labels.width > 0.0, "a map without pixels or extent cannot be drawn");
    let zoom = 512usize.div_ceil(nx).max(1);
    let (width, height) = (nx * zoom, ny * zoom);
    let line = (LETTER[1] + 3) * DOT;
    let bar = 16;
    let (left, top) = (MARGIN, MARGIN + line);
    let total = [top + height + MARGIN + bar + 8 + 2 * line + MARGIN, width + 2 * MARGIN];
    let mut picture = Picture::blank(total[1], total[0]);
    text(&mut picture, left, MARGIN, &labels.title, INK);
    for y in 0..height {
        for x in 0..width {
            let value = map.values[[ny - 1 - y / zoom, x / zoom]];
            picture.put(left + x, top + y, scale.colour(value));
        }
    }
    scale_bar(&mut picture, [left, top], [width, height], labels);
    let bar_top = top + height + MARGIN;
    for x in 0..width {
        let colour = scale.colour(scale.at(x as f64 / (width - 1).max(1) as f64));
        (0..bar).for_each(|y| picture.put(left + x, bar_top + y, colour));
    }
    let mut free = 0;
    for (along, label) in scale.ticks() {
        let x = left + (along * (width - 1) as f64).round() as usize;
        (0..6).for_each(|y| picture.put(x, bar_top + bar + y, INK));
        let long = length(&label);
        let start = x.saturating_sub(long / 2).clamp(left, (left + width).saturating_sub(long).max(left));
        // Labels that would touch are left out; their ticks stay.
        if start >= free {
            text(&mut picture, start, bar_top + bar + 8, &label, INK);
            free = start + long + 4 * DOT;
        }
    }
    let centred = left + (width.saturating_sub(length(&labels.unit))) / 2;
    text(&mut picture, centred, bar_top + bar + 8 + line, &labels.unit, INK);
    Ok(picture)
}

/// A bar of a round length, at most a third of the map, on a dark ground that any colour map leaves legible.
fn scale_bar(picture: &mut Picture, corner: [usize; 2], size: [usize; 2], labels: &Labels) {
    let long = round_below(labels.width / 3.0);
    let pixels = (long / labels.width * size[0] as f64).round() as usize;
    let label = format!("{} {}", short(long), labels.length_unit);
    let wide = pixels.max(length(&label)) + 12;
    let high = (LETTER[1] + 2) * DOT + 16;
    if wide + 16 > size[0] || high + 16 > size[1] {
        return;
    }
    let (left, top) = (corner[0] + 8, corner[1] + size[1] - high - 8);
    for y in 0..high {
        for x in 0..wide {
            picture.shade(left + x, top + y);
        }
    }
    text(picture, left + (wide - length(&label)) / 2, top + 5, &label, [255; 3]);
    let start = left + (wide - pixels) / 2;
    for x in 0..pixels {
        (0..3).for_each(|y| picture.put(start + x, top + high - 8 + y, [255; 3]));
    }
}

/// The largest of 1, 2 and 5 times a power of ten that is not above `x`.
fn round_below(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|d| d * power).find(|r| *r <= x * (1.0 + 1e-12)).unwrap_or(power)
}

/// A number in few letters: 0.5, 20, 3e7.
pub fn short(x: f64) -> String {
    let size = x.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        return format!("{x:.1e}").replace(".0e", "e");
    }
    let digits = if size == 0.0 { 0 } else { (2 - size.log10().floor() as i32).clamp(0, 5) as usize };
    let text = format!("{x:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn length(label: &str) -> usize {
    (label.chars().count() * (LETTER[0] + 1) * DOT).saturating_sub(DOT)
}

fn text(picture: &mut Picture, left: usize, top: usize, label: &str, ink: [u8; 3]) {
    for (i, letter) in label.chars().enumerate() {
        for y in 0..8 * DOT {
            for x in 0..LETTER[0] * DOT {
                if dot(letter, x / DOT, y / DOT) {
                    picture.put(left + i * (LETTER[0] + 1) * DOT + x, top + y, ink);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.5, 20.0, 3e7, 1.24e-9, -4.0, 0.001, 1234.0].map(short);
        assert_eq!(all, ["0", "0.5", "20", "3e7", "1.2e-9", "-4", "0.001", "1234"]);
    }

    #[test]
    fn bars_are_round() {
        let all = [0.7, 1.0, 1.9, 3.3, 8.0, 33.0].map(round_below);
        assert_eq!(all, [0.5, 1.0, 1.0, 2.0, 5.0, 20.0]);
    }

    #[test]
    fn a_figure_of_any_map_can_be_drawn() {
        for (ny, nx) in [(1, 1), (3, 700), (64, 64)] {
            let map = Map::square("m", Array2::from_shape_fn((ny, nx), |(y, x)| (y + x) as f32), 1.0);
            let labels =
                Labels { title: "t".into(), unit: "u".into(), length_unit: "Mpc/h".into(), width: 1.0 };
            assert!(figure(&map, Scale::covering([&map]), &labels).unwrap().png().unwrap().len() > 100);
            assert!(figure(&map, Scale::logarithmic([&map]), &labels).is_ok());
        }
    }
}
