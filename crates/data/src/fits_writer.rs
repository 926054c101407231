//! Maps as FITS images with world coordinates.
//!
//! # Source
//! FITS standard 4.0: cards of 80 characters, units of 2880 bytes, big-endian numbers; Greisen & Calabretta 2002 for the
//! linear axes (`CRPIX`, `CRVAL`, `CDELT`, `CTYPE`, `CUNIT`).

use std::io::{self, Write};
use std::path::Path;

use halocast_core::{Map, write_whole};

use crate::{Error, FitsCard, Result};

const BLOCK: usize = 2880;
/// Longest text that one card holds between its quotes.
const TEXT: usize = 68;

/// The linear world coordinates of a map, each pair in the order `[y, x]` of its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct FitsAxes {
    /// What the axes are called: `CTYPE2` and `CTYPE1`.
    pub names: [String; 2],
    /// The unit of the coordinates, `CUNIT`, as FITS writes units: `Mpc`, `kpc`, `deg`.
    pub unit: String,
    /// The coordinates of the outer corner of pixel [0, 0], in `unit`.
    pub origin: [f64; 2],
    /// The side lengths of the map, in `unit`.
    pub extent: [f64; 2],
}

/// Writes a map as the primary image of a FITS file, in f32, whole or not at all.
///
/// `BUNIT` is the label of the map's unit, `OBJECT` its field. The centre of pixel [i, j] lies at
/// origin + (i + 1/2, j + 1/2) extent / shape. `cards` follow the image's own.
///
/// ```
/// use halocast_core::Map;
/// use halocast_data::{FitsAxes, read_fits, write_fits_map};
/// use ndarray::array;
/// # fn main() -> halocast_data::Result<()> {
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("map.fits");
/// let map = Map::square("Mgas", array![[1.0, 2.0], [3.0, 4.0]], 10.0);
/// let axes = FitsAxes {
///     names: ["Y".into(), "X".into()], unit: "Mpc".into(), origin: [5.0, 0.0], extent: [10.0, 10.0],
/// };
/// write_fits_map(&path, &map, &axes, &[])?;
/// let back = read_fits(&path)?;
/// assert_eq!(back.values.as_slice(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
/// assert_eq!(back.header.number("CRVAL2"), Some(5.0));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a keyword or text that a card cannot hold, or an empty map; [`Error::Core`] when the file cannot be
/// written.
pub fn write_fits_map(path: impl AsRef<Path>, map: &Map, axes: &FitsAxes, cards: &[FitsCard]) -> Result<()> {
    let path = path.as_ref();
    let [ny, nx] = map.shape();
    if ny == 0 || nx == 0 {
        return Err(Error::invalid(path, "the map", "at least one pixel", format!("[{ny}, {nx}]")));
    }
    let mut header = Header { path, text: String::new() };
    header.put("SIMPLE", "T")?;
    header.put("BITPIX", "-32")?;
    header.put("NAXIS", "2")?;
    header.put("NAXIS1", &nx.to_string())?;
    header.put("NAXIS2", &ny.to_string())?;
    header.text("BUNIT", &map.unit.label)?;
    header.text("OBJECT", &map.field)?;
    for (number, axis, n) in [(1, 1, nx), (2, 0, ny)] {
        // The outer edge of the first pixel is half a pixel before its centre, which is 1.
        header.number(&format!("CRPIX{number}"), 0.5)?;
        header.number(&format!("CRVAL{number}"), axes.origin[axis])?;
        header.number(&format!("CDELT{number}"), axes.extent[axis] / n as f64)?;
        header.text(&format!("CTYPE{number}"), &axes.names[axis])?;
        header.text(&format!("CUNIT{number}"), &axes.unit)?;
    }
    for card in cards {
        match card.is_text {
            true => header.text(&card.key, &card.value)?,
            false => header.put(&card.key, &card.value)?,
        }
    }
    let mut header = header.text;
    header.push_str(&format!("{:80}", "END"));
    let padding = header.len().next_multiple_of(BLOCK) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    Ok(write_whole(path, |out| {
        out.write_all(header.as_bytes())?;
        map.values.iter().try_for_each(|v| out.write_all(&v.to_be_bytes()))?;
        pad(out, 4 * nx * ny)
    })?)
}

fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    out.write_all(&vec![0; written.next_multiple_of(BLOCK) - written])
}

/// A header that grows card by card.
struct Header<'a> {
    path: &'a Path,
    text: String,
}

impl Header<'_> {
    fn card(&mut self, key: &str, value: &str) -> Result<()> {
        let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if key.is_empty() || key.len() > 8 || !key.chars().all(good) {
            let expected = "up to 8 of A-Z, 0-9, - and _";
            return Err(Error::invalid(self.path, "a keyword", expected, format!("{key:?}")));
        }
        let card = format!("{key:8}= {value:>20}");
        if card.len() > 80 || !card.bytes().all(|b| (32..127).contains(&b)) {
            let expected = "printable ASCII that fits into one card";
            return Err(Error::invalid(self.path, format!("keyword {key}"), expected, format!("{value:?}")));
        }
        self.text.push_str(&format!("{card:80}"));
        Ok(())
    }

    fn put(&mut self, key: &str, value: &str) -> Result<()> {
        self.card(key, value)
    }

    fn number(&mut self, key: &str, value: f64) -> Result<()> {
        if !value.is_finite() {
            let field = format!("keyword {key}");
            return Err(Error::invalid(self.path, field, "a finite number", value.to_string()));
        }
        self.card(key, &format!("{value:E}"))
    }

    fn text(&mut self, key: &str, value: &str) -> Result<()> {
        let doubled = value.replace('\'', "''");
        if doubled.len() > TEXT {
            let expected = "a text of at most 68 characters";
            return Err(Error::invalid(self.path, format!("keyword {key}"), expected, format!("{value:?}")));
        }
        // A text is at least eight characters, its quote in column 11.
        let quoted = format!("'{doubled:8}'");
        self.card(key, &format!("{quoted:20}"))
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Unit;
    use ndarray::Array2;

    use super::*;
    use crate::read_fits;

    fn axes() -> FitsAxes {
        FitsAxes {
            names: ["Y".into(), "X".into()],
            unit: "Mpc".into(),
            origin: [-1.5, 24.25],
            extent: [3.0, 12.0],
        }
    }

    #[test]
    fn a_map_comes_back_with_its_coordinates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map.fits");
        let values = Array2::from_shape_fn((37, 59), |(y, x)| (y as f32 - 0.3) * 1e10 + x as f32);
        let mut map = Map::square("O'Hara", values.clone(), 1.0).with_unit(Unit::msun_h_per_mpc_h2());
        map.values[[3, 4]] = f32::NAN;
        let card =
            |key: &str, value: &str, is_text| FitsCard { key: key.into(), value: value.into(), is_text };
        let cards = [card("REDSHIFT", "0.5", false), card("CREATOR", "halocast", true)];
        write_fits_map(&path, &map, &axes(), &cards).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len() % 2880, 0);
        let back = read_fits(&path).unwrap();
        assert_eq!(back.values.shape(), [37, 59]);
        assert!(back.values[[3, 4]].is_nan());
        assert_eq!(back.values[[36, 58]] as f32, values[[36, 58]]);
        let number = |key| back.header.number(key).unwrap();
        assert_eq!([number("CRPIX1"), number("CRVAL1"), number("CRVAL2")], [0.5, 24.25, -1.5]);
        assert_eq!([number("CDELT1"), number("CDELT2")], [12.0 / 59.0, 3.0 / 37.0]);
        assert_eq!(number("REDSHIFT"), 0.5);
        let text = |key| back.header.value(key).unwrap().trim().to_owned();
        assert_eq!(
            [text("CUNIT1"), text("BUNIT"), text("CREATOR")],
            ["Mpc", "(Msun/h)/(Mpc/h)^2", "halocast"]
        );
    }

    #[test]
    fn what_no_card_can_hold_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.fits");
        let map = Map::square("m", Array2::zeros((2, 2)), 1.0);
        let run = |map: &Map, key: &str, value: &str, is_text| {
            let card = FitsCard { key: key.into(), value: value.into(), is_text };
            write_fits_map(&path, map, &axes(), &[card]).unwrap_err().to_string()
        };
        assert!(run(&map, "lower", "1", false).contains("lower"));
        assert!(run(&map, "TOOLONGKEY", "1", false).contains("TOOLONGKEY"));
        assert!(run(&map, "NOTE", &"x".repeat(69), true).contains("68"));
        assert!(run(&map, "NOTE", "\u{3c3}", true).contains("ASCII"));
        let empty = Map::square("m", Array2::zeros((0, 2)), 1.0);
        assert!(run(&empty, "NOTE", "", true).contains("pixel"));
        let nowhere = FitsAxes { origin: [f64::NAN, 0.0], ..axes() };
        assert!(write_fits_map(&path, &map, &nowhere, &[]).unwrap_err().to_string().contains("CRVAL2"));
        assert!(!path.exists());
    }
}
