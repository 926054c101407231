//! Images in FITS files.
//!
//! # Source
//! FITS standard 4.0 (Pence et al. 2010 and later revisions): header units of 2880 bytes, big-endian numbers, the first
//! axis varying fastest, physical value = BZERO + BSCALE x stored value, BLANK for integers without a value.

use std::fs::File;
use std::path::{Path, PathBuf};

use halocast_core::{Map, Unit};
use ndarray::{ArrayD, IxDyn};
use serde::{Deserialize, Serialize};

use crate::npy::read_at;
use crate::{Error, Result};

const BLOCK: u64 = 2880;
const CARD: usize = 80;
/// Header blocks of one unit that are believed: 360,000 cards.
const HEADER_LIMIT: u64 = 10_000;

/// One card of a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitsCard {
    /// The keyword.
    pub key: String,
    /// The value as it stands, a text without its quotes; for commentary the text.
    pub value: String,
    /// Whether the value is a text.
    pub is_text: bool,
}

/// An image with its header. The axes are in the order of the array: `[.., NAXIS2, NAXIS1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FitsImage {
    /// Physical values; without a value is NaN.
    pub values: ArrayD<f64>,
    /// The header.
    pub header: FitsHeader,
}

/// The header of one unit of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitsHeader {
    /// The file.
    pub path: PathBuf,
    /// The number of the unit; the primary one is 0.
    pub unit: usize,
    /// The cards in their order.
    pub cards: Vec<FitsCard>,
    /// The shape of the array: `[.., NAXIS2, NAXIS1]`.
    pub shape: Vec<usize>,
    /// Bits per stored value; negative for floating point.
    pub bitpix: i64,
    /// Where the data begin.
    offset: u64,
    /// Where the next unit begins.
    next: u64,
}

impl FitsHeader {
    /// The value of a keyword as it stands.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.cards.iter().find(|card| card.key == key).map(|card| card.value.as_str())
    }

    /// The value of a keyword as a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        // FORTRAN writes exponents with D.
        self.value(key)?.replace(['D', 'd'], "E").parse().ok().filter(|v: &f64| v.is_finite())
    }

    /// Where the data begin in the file.
    pub(crate) fn data_offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the data, with what fills the last block.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.next - self.offset
    }

    fn integer(&self, key: &str) -> Option<i64> {
        self.value(key)?.parse().ok()
    }

    fn is_image(&self) -> bool {
        let kind = self.value("XTENSION");
        !self.shape.is_empty() && !self.shape.contains(&0) && kind.is_none_or(|k| k.trim() == "IMAGE")
    }
}

/// The headers of all units of a file.
///
/// # Errors
/// [`Error::Read`]; [`Error::Invalid`] for another format or an absurd header; [`Error::Truncated`].
pub fn read_fits_headers(path: impl AsRef<Path>) -> Result<Vec<FitsHeader>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::read(path))?;
    let metadata = file.metadata().map_err(Error::read(path))?;
    if metadata.is_dir() {
        return Err(Error::read(path)(std::io::ErrorKind::IsADirectory.into()));
    }
    let length = metadata.len();
    let mut headers: Vec<FitsHeader> = Vec::new();
    let mut at = 0;
    // Some writers pad a file; what does not begin like a unit is padding.
    while headers.is_empty() || (at + BLOCK <= length && starts_extension(path, &file, at)?) {
        let header = read_header(path, &file, length, at, headers.len())?;
        at = header.next;
        headers.push(header);
    }
    Ok(headers)
}

/// Reads the first image of a file, in the primary unit or an extension.
///
/// # Errors
/// As [`read_fits_headers`]; [`Error::Absent`] when the file has no image.
pub fn read_fits(path: impl AsRef<Path>) -> Result<FitsImage> {
    let path = path.as_ref();
    let headers = read_fits_headers(path)?;
    let available = || {
        let kinds = headers.iter().map(|h| h.value("XTENSION").unwrap_or("primary without data").to_owned());
        kinds.collect::<Vec<_>>().join(", ")
    };
    match headers.iter().find(|h| h.is_image()) {
        Some(header) => read_image(header.clone()),
        None => {
            Err(Error::Absent { path: path.to_path_buf(), field: "image".into(), available: available() })
        }
    }
}

/// Names of lengths in `CUNIT` (FITS standard 4.0, table 3) and how many centimetres they are.
const LENGTHS: [(&str, f64); 7] = [
    ("Mpc", 3.085_677_581_491_367e24),
    ("kpc", 3.085_677_581_491_367e21),
    ("pc", 3.085_677_581_491_367e18),
    ("AU", 1.495_978_707e13),
    ("km", 1e5),
    ("m", 100.0),
    ("cm", 1.0),
];

/// Reads the image of one unit of a file; the primary unit is 0.
///
/// # Errors
/// As [`read_fits_headers`]; [`Error::Absent`] when there is no such unit or it has no image.
pub fn read_fits_unit(path: impl AsRef<Path>, unit: usize) -> Result<FitsImage> {
    let path = path.as_ref();
    let headers = read_fits_headers(path)?;
    match headers.get(unit).filter(|h| h.is_image()) {
        Some(header) => read_image(header.clone()),
        None => {
            let images = headers.iter().filter(|h| h.is_image()).map(|h| h.unit.to_string());
            let available = format!("images in units {}", images.collect::<Vec<_>>().join(", "));
            Err(Error::Absent { path: path.to_path_buf(), field: format!("image in unit {unit}"), available })
        }
    }
}

/// Reads the first image of a file as a map. Pixels without a value are NaN: see [`Map::require_finite`].
///
/// The side lengths come from `CDELT` or `CD`, else from `ANGLE` (the side in degrees, as LensTools writes it), else the
/// length unit is the pixel. With `CUNIT` one of `Mpc`, `kpc`, `pc`, `AU`, `km`, `m`, `cm` on both axes they are lengths of the
/// first axis's unit; otherwise they are angles, in degrees. The map is not periodic.
///
/// # Errors
/// As [`read_fits`]; [`Error::Invalid`] when the image has not two axes.
pub fn read_fits_map(path: impl AsRef<Path>) -> Result<Map> {
    let path = path.as_ref();
    let FitsImage { values, header } = read_fits(path)?;
    // Axes of one element are of no consequence.
    let mut shape: Vec<usize> = values.shape().to_vec();
    while shape.len() > 2 && shape[0] == 1 {
        shape.remove(0);
    }
    let [ny, nx] = shape[..] else {
        return Err(Error::invalid(path, "shape of the image", "[y, x]", format!("{:?}", values.shape())));
    };
    let values = values
        .mapv(|v| v as f32)
        .into_shape_with_order((ny, nx))
        .map_err(|e| Error::invalid(path, "shape of the image", "[y, x]", e.to_string()))?;
    let scale = |axis: usize| {
        let cdelt = header.number(&format!("CDELT{axis}")).filter(|c| *c != 0.0);
        let column = [1, 2].map(|i| header.number(&format!("CD{i}_{axis}")).unwrap_or(0.0));
        let cd = column[0].hypot(column[1]);
        if cd > 0.0 { Some(cd) } else { cdelt.map(f64::abs) }
    };
    let label = |axis: usize| header.value(&format!("CUNIT{axis}")).map(str::trim);
    let length = |axis: usize| label(axis).and_then(|label| LENGTHS.iter().find(|(name, _)| *name == label));
    let degrees = |axis: usize| match label(axis) {
        Some("arcmin") => 1.0 / 60.0,
        Some("arcsec") => 1.0 / 3600.0,
        Some("rad") => 1f64.to_degrees(),
        _ => 1.0,
    };
    let sides = scale(1).zip(scale(2)).map(|(x, y)| [y * ny as f64, x * nx as f64]);
    let (extent, length_unit) = match (sides, header.number("ANGLE").filter(|a| *a > 0.0)) {
        (Some([y, x]), _) => match (length(1), length(2)) {
            (Some((name, cm)), Some((_, cm_y))) => ([y * cm_y / cm, x], Unit::new(*name, *cm, 0.0, 0.0)),
            (None, None) => ([y * degrees(2), x * degrees(1)], Unit::degree()),
            _ => {
                let got = format!("{:?} and {:?}", label(1), label(2));
                return Err(Error::invalid(path, "CUNIT1 and CUNIT2", "two lengths or two angles", got));
            }
        },
        (None, Some(side)) => ([side * ny as f64 / nx as f64, side], Unit::degree()),
        (None, None) => ([ny as f64, nx as f64], Unit::new("pixel", 1.0, 0.0, 0.0)),
    };
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let named =
        ["EXTNAME", "ITYPE", "OBJECT"].iter().find_map(|k| header.value(k)).map(|v| v.trim().to_owned());
    let field = named.filter(|n| !n.is_empty()).unwrap_or_else(stem);
    let unit = match header.value("BUNIT").map(str::trim).filter(|u| !u.is_empty()) {
        Some(label) => Unit::new(label, 1.0, 0.0, 0.0),
        None => Unit::dimensionless(),
    };
    Ok(Map { values, extent, length_unit, unit, field, periodic: false })
}

fn starts_extension(path: &Path, file: &File, at: u64) -> Result<bool> {
    let mut start = [0u8; 8];
    read_at(file, &mut start, at).map_err(Error::read(path))?;
    Ok(&start == b"XTENSION")
}

fn read_header(path: &Path, file: &File, length: u64, start: u64, unit: usize) -> Result<FitsHeader> {
    let mut cards = Vec::new();
    let mut at = start;
    let mut block = vec![0u8; BLOCK as usize];
    'blocks: loop {
        if at + BLOCK > length {
            if at == 0 {
                return Err(Error::invalid(path, "start of the file", "a FITS file (SIMPLE)", "other bytes"));
            }
            let field = format!("header {unit}, which has no END,");
            return Err(Error::Truncated {
                path: path.to_path_buf(),
                field,
                expected: at + BLOCK,
                got: length,
            });
        }
        if (at - start) / BLOCK >= HEADER_LIMIT {
            let got = "no END".to_owned();
            return Err(Error::invalid(path, format!("header {unit}"), "at most 360,000 cards", got));
        }
        read_at(file, &mut block, at).map_err(Error::read(path))?;
        if at == 0 && !block.starts_with(b"SIMPLE  =") {
            return Err(Error::invalid(path, "start of the file", "a FITS file (SIMPLE)", "other bytes"));
        }
        at += BLOCK;
        for card in block.chunks_exact(CARD) {
            let card = parse_card(&String::from_utf8_lossy(card));
            if card.key == "END" {
                break 'blocks;
            }
            cards.push(card);
        }
    }
    let mut header = FitsHeader {
        path: path.to_path_buf(),
        unit,
        cards,
        shape: Vec::new(),
        bitpix: 0,
        offset: at,
        next: at,
    };
    let required = |key: &str, domain: &str, allowed: &dyn Fn(i64) -> bool| {
        header.integer(key).filter(|v| allowed(*v)).ok_or_else(|| {
            let got = header.value(key).unwrap_or("nothing");
            Error::invalid(path, format!("header {unit}, {key}"), domain, got)
        })
    };
    let bitpix =
        required("BITPIX", "8, 16, 32, 64, -32 or -64", &|b| [8, 16, 32, 64, -32, -64].contains(&b))?;
    let naxis = required("NAXIS", "0 to 32", &|n| (0..=32).contains(&n))?;
    let mut shape = Vec::new();
    for axis in (1..=naxis).rev() {
        shape.push(required(&format!("NAXIS{axis}"), "0 to 2^48", &|n| (0..=1 << 48).contains(&n))? as usize);
    }
    // Tables keep further bytes behind their rows; random groups are not images.
    let extra = header.integer("PCOUNT").filter(|_| unit > 0).unwrap_or(0).max(0) as u64;
    let groups = header.integer("GCOUNT").filter(|_| unit > 0).unwrap_or(1).max(0) as u64;
    let elements =
        if shape.is_empty() { Some(0) } else { shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)) };
    let end = elements
        .and_then(|n| n.checked_add(extra))
        .and_then(|n| n.checked_mul(groups))
        .and_then(|n| n.checked_mul(bitpix.unsigned_abs() / 8))
        .and_then(|n| n.checked_add(at));
    match end {
        Some(end) if end <= length => header.next = end.div_ceil(BLOCK) * BLOCK,
        end => {
            return Err(Error::Truncated {
                path: path.to_path_buf(),
                field: format!("the data of unit {unit}, {shape:?} of {bitpix} bits,"),
                expected: end.unwrap_or(u64::MAX),
                got: length,
            });
        }
    }
    header.shape = shape;
    header.bitpix = bitpix;
    Ok(header)
}

fn parse_card(card: &str) -> FitsCard {
    let key: String = card.chars().take(8).collect::<String>().trim().to_owned();
    let rest: String = card.chars().skip(8).collect();
    let Some(value) = rest.strip_prefix("= ").or_else(|| rest.strip_prefix('=')) else {
        return FitsCard { key, value: rest.trim().to_owned(), is_text: true };
    };
    let value = value.trim_start();
    if let Some(text) = value.strip_prefix('\'') {
        // A quote inside a text is doubled.
        let mut out = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' && letters.next_if_eq(&'\'').is_none() {
                break;
            }
            out.push(letter);
        }
        return FitsCard { key, value: out.trim_end().to_owned(), is_text: true };
    }
    let value = value.split('/').next().unwrap_or_default().trim().to_owned();
    FitsCard { key, value, is_text: false }
}

fn read_image(header: FitsHeader) -> Result<FitsImage> {
    let path = &header.path;
    let file = File::open(path).map_err(Error::read(path))?;
    let size = (header.bitpix.unsigned_abs() / 8) as usize;
    let count: usize = header.shape.iter().product();
    let scale = header.number("BSCALE").unwrap_or(1.0);
    let zero = header.number("BZERO").unwrap_or(0.0);
    let blank = header.integer("BLANK").filter(|_| header.bitpix > 0);
    let integer = |stored: i64| {
        if blank == Some(stored) { f64::NAN } else { zero + scale * stored as f64 }
    };
    let decode = |b: &[u8]| match (header.bitpix, b) {
        (8, [a]) => integer(i64::from(*a)),
        (16, &[a, b]) => integer(i64::from(i16::from_be_bytes([a, b]))),
        (32, &[a, b, c, d]) => integer(i64::from(i32::from_be_bytes([a, b, c, d]))),
        (64, &[a, b, c, d, e, f, g, h]) => integer(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        (-32, &[a, b, c, d]) => zero + scale * f64::from(f32::from_be_bytes([a, b, c, d])),
        (_, &[a, b, c, d, e, f, g, h]) => zero + scale * f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    };
    let mut values = Vec::with_capacity(count);
    let mut buffer = vec![0u8; (count * size).min(1 << 20)];
    let mut at = header.offset;
    while values.len() < count {
        let bytes = ((count - values.len()) * size).min(buffer.len());
        read_at(&file, &mut buffer[..bytes], at).map_err(Error::read(path))?;
        values.extend(buffer[..bytes].chunks_exact(size).map(decode));
        at += bytes as u64;
    }
    let values = ArrayD::from_shape_vec(IxDyn(&header.shape), values).map_err(|e| {
        Error::invalid(path, "shape of the image", "one that fits into memory", e.to_string())
    })?;
    Ok(FitsImage { values, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(cards: &[&str], data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for card in cards.iter().chain(&["END"]) {
            bytes.extend(format!("{card:<80}").into_bytes());
        }
        bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
        bytes.extend(data);
        bytes.resize(bytes.len().div_ceil(2880) * 2880, 0);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<FitsImage> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.fits");
        std::fs::write(&path, bytes).unwrap();
        read_fits(&path)
    }

    fn cards(bitpix: i64) -> Vec<String> {
        [
            "SIMPLE  =                    T",
            &format!("BITPIX  = {bitpix:>20} / type"),
            "NAXIS   = 2",
            "NAXIS1  = 3",
            "NAXIS2  = 1",
        ]
        .iter()
        .map(|c| c.to_string())
        .collect()
    }

    #[test]
    fn every_number_type_is_read() {
        let stored = [1i64, -2, 100];
        for bitpix in [16, 32, 64, -32, -64] {
            let data: Vec<u8> = stored
                .iter()
                .flat_map(|&v| match bitpix {
                    16 => (v as i16).to_be_bytes().to_vec(),
                    32 => (v as i32).to_be_bytes().to_vec(),
                    64 => v.to_be_bytes().to_vec(),
                    -32 => (v as f32).to_be_bytes().to_vec(),
                    _ => (v as f64).to_be_bytes().to_vec(),
                })
                .collect();
            let cards = cards(bitpix);
            let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
            let image = parse(&unit(&cards, &data)).unwrap();
            assert_eq!(image.values.shape(), [1, 3]);
            assert_eq!(image.values.as_slice().unwrap(), [1.0, -2.0, 100.0], "BITPIX {bitpix}");
        }
        let scaled = cards(8);
        let mut scaled: Vec<&str> = scaled.iter().map(String::as_str).collect();
        scaled.extend(["BSCALE  = 5.0D-1", "BZERO   = -10.", "BLANK   = 255", "NOTE    = 'it''s / fine'"]);
        let image = parse(&unit(&scaled, &[0, 20, 255])).unwrap();
        assert_eq!(image.values.as_slice().unwrap()[..2], [-10.0, 0.0]);
        assert!(image.values[[0, 2]].is_nan());
        assert_eq!(image.header.value("NOTE"), Some("it's / fine"));
    }

    #[test]
    fn sides_are_lengths_or_angles_by_their_unit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.fits");
        let read = |units: [&str; 2]| {
            let [one, two] = units.map(|u| format!("= '{u:<8}'"));
            let cards = [
                "SIMPLE  = T".to_owned(),
                "BITPIX  = 8".into(),
                "NAXIS   = 2".into(),
                "NAXIS1  = 4".into(),
                "NAXIS2  = 2".into(),
                "CDELT1  = -0.5".into(),
                "CDELT2  = 3.0".into(),
                format!("CUNIT1  {one}"),
                format!("CUNIT2  {two}"),
            ];
            let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
            std::fs::write(&path, unit(&cards, &[1; 8])).unwrap();
            read_fits_map(&path)
        };
        let map = read(["Mpc", "Mpc"]).unwrap();
        assert_eq!((map.extent, map.length_unit.label.as_str()), ([6.0, 2.0], "Mpc"));
        assert!((map.length_unit.to_cgs / 3.085_677_581e24 - 1.0).abs() < 1e-9);
        let mixed = read(["kpc", "Mpc"]).unwrap();
        assert_eq!(mixed.length_unit.label, "kpc");
        assert!((mixed.extent[0] / 6000.0 - 1.0).abs() < 1e-12 && mixed.extent[1] == 2.0);
        let angle = read(["arcmin", "deg"]).unwrap();
        assert_eq!((angle.extent, angle.length_unit), ([6.0, 2.0 / 60.0], Unit::degree()));
        assert!(read(["Mpc", "deg"]).unwrap_err().to_string().contains("CUNIT"));
    }

    #[test]
    fn an_image_in_an_extension_is_found_behind_a_table() {
        let mut bytes = unit(&["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"], &[]);
        let table = [
            "XTENSION= 'BINTABLE'",
            "BITPIX  = 8",
            "NAXIS   = 2",
            "NAXIS1  = 5",
            "NAXIS2  = 7",
            "PCOUNT  = 3000",
            "GCOUNT  = 1",
        ];
        bytes.extend(unit(&table, &[1; 3035]));
        let image = [
            "XTENSION= 'IMAGE   '",
            "BITPIX  = 8",
            "NAXIS   = 2",
            "NAXIS1  = 2",
            "NAXIS2  = 2",
            "PCOUNT  = 0",
            "GCOUNT  = 1",
        ];
        bytes.extend(unit(&image, &[1, 2, 3, 4]));
        let image = parse(&bytes).unwrap();
        assert_eq!((image.header.unit, image.values[[1, 0]]), (2, 3.0));
    }

    #[test]
    fn hostile_files_are_errors() {
        let good = cards(16);
        let with = |change: &[(&str, &str)]| {
            let mut all: Vec<String> = good.clone();
            for (key, card) in change {
                all.retain(|c| !c.starts_with(key));
                if !card.is_empty() {
                    all.push(card.to_string());
                }
            }
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            parse(&unit(&all, &[0; 6])).unwrap_err().to_string()
        };
        assert!(with(&[("NAXIS1", "NAXIS1  = 99999999999999")]).contains("truncated"));
        assert!(
            with(&[("NAXIS1", "NAXIS1  = 281474976710656"), ("NAXIS2", "NAXIS2  = 281474976710656")])
                .contains("truncated")
        );
        assert!(with(&[("NAXIS1", "NAXIS1  = -3")]).contains("NAXIS1"));
        assert!(with(&[("NAXIS2", "")]).contains("NAXIS2"));
        assert!(with(&[("NAXIS ", "NAXIS   = 4000000000")]).contains("NAXIS"));
        assert!(with(&[("BITPIX", "BITPIX  = 12")]).contains("BITPIX"));
        assert!(with(&[("NAXIS2", "NAXIS2  = 0")]).contains("no image"));
        assert!(parse(b"not a FITS file").unwrap_err().to_string().contains("SIMPLE"));
        let long: Vec<&str> = good.iter().map(String::as_str).collect();
        let bytes = unit(&long, &[0; 6]);
        assert!(parse(&bytes[..2882]).unwrap_err().to_string().contains("truncated"));
        let mut endless = bytes.clone();
        for card in endless.chunks_exact_mut(80) {
            if card.starts_with(b"END") {
                card[..3].copy_from_slice(b"XXX");
            }
        }
        assert!(parse(&endless).unwrap_err().to_string().contains("END"));
    }
}
