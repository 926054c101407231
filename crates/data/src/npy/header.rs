//! The header of an array file: a Python dictionary of type, order and shape.

use std::io::{self, Write};

use super::element::sealed::Kind;
use super::{NpyElement, NpyType};

/// Entry, expected, got.
pub(super) type HeaderFault = (&'static str, &'static str, String);

/// The three entries of the header's Python dictionary, in any order.
pub(super) fn parse_header(header: &str) -> std::result::Result<(NpyType, bool, Vec<usize>), HeaderFault> {
    let entry = |key: &'static str| {
        [format!("'{key}'"), format!("\"{key}\"")]
            .iter()
            .find_map(|quoted| header.find(quoted.as_str()).map(|at| &header[at + quoted.len()..]))
            .and_then(|rest| rest.trim_start().strip_prefix(':'))
            .map(str::trim_start)
            .ok_or_else(|| (key, "an entry of the dictionary", "nothing".to_owned()))
    };
    let descr = entry("descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(descr) = quote.and_then(|q| descr[1..].split_once(q)).map(|(d, _)| d) else {
        let got = descr.chars().take(40).collect();
        return Err(("descr", "one number type (records are not supported)", got));
    };
    let dtype = parse_dtype(descr)?;
    let order = entry("fortran_order")?;
    let fortran = match order {
        o if o.starts_with("True") => true,
        o if o.starts_with("False") => false,
        o => return Err(("fortran_order", "True or False", o.chars().take(12).collect())),
    };
    let shape = entry("shape")?;
    let bad_shape = || ("shape", "a tuple of numbers", shape.chars().take(40).collect::<String>());
    let (axes, _) = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(bad_shape)?;
    let axes: Vec<&str> = axes.split(',').map(|a| a.trim().trim_end_matches('L')).collect();
    let used = if axes.last() == Some(&"") { &axes[..axes.len() - 1] } else { &axes[..] };
    if used.len() > 32 {
        return Err(("shape", "at most 32 axes", used.len().to_string()));
    }
    let shape =
        used.iter().map(|a| a.parse().map_err(|_| bad_shape())).collect::<std::result::Result<_, _>>()?;
    Ok((dtype, fortran, shape))
}

fn parse_dtype(descr: &str) -> std::result::Result<NpyType, HeaderFault> {
    let fault = || ("descr", "bool, integers or floats of 1 to 8 bytes", descr.to_owned());
    if !descr.is_ascii() || descr.len() < 3 {
        return Err(if descr.contains('O') {
            ("descr", "numbers (arrays of objects are refused)", descr.to_owned())
        } else {
            fault()
        });
    }
    let (order, rest) = descr.split_at(1);
    let (kind, size) = rest.split_at(1);
    let size: usize = size.parse().map_err(|_| fault())?;
    let kind = match (kind, size) {
        ("b", 1) => Kind::Bool,
        ("i", 1 | 2 | 4 | 8) => Kind::Signed,
        ("u", 1 | 2 | 4 | 8) => Kind::Unsigned,
        ("f", 2 | 4 | 8) => Kind::Float,
        _ => return Err(fault()),
    };
    match order {
        "<" | "|" | "=" => Ok(NpyType { kind, size, big_endian: false }),
        ">" => Ok(NpyType { kind, size, big_endian: true }),
        _ => Err(fault()),
    }
}

pub(crate) fn write_header<T: NpyElement>(out: &mut impl Write, shape: &[usize]) -> io::Result<()> {
    let dtype = NpyType { kind: T::KIND, size: T::SIZE, big_endian: false };
    let axes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    // One axis needs its comma, more do not mind one less.
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({axes}), }}");
    // Numbers start at a multiple of 64 bytes.
    let padding = 63 - (10 + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())
}
