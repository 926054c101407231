//! Binary tables in FITS files.
//!
//! # Source
//! FITS standard 4.0, section 7.3: columns of `TFORMn` (`rL rX rB rI rJ rK rA rE rD rC rM rP rQ`) side by side in rows of
//! `NAXIS1` bytes, big-endian; physical value = `TZEROn` + `TSCALn` x stored value; `TNULLn` for integers without a value.

use std::fs::File;
use std::path::Path;

use halocast_core::FieldValues;
use ndarray::{ArrayD, IxDyn};

use crate::fits::{FitsHeader, read_fits_headers};
use crate::npy::read_at;
use crate::{Error, Result};

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct FitsColumn {
    /// `TTYPEn`, as it stands.
    pub name: String,
    /// `TUNITn`, when it is given.
    pub unit: Option<String>,
    /// The values, row by row.
    pub values: FitsValues,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FitsValues {
    /// Numbers, `[row]`, or `[row, element]` for more than one in a row. Integers that `TSCAL` and `TZERO` leave alone stay
    /// integers, unless some have no value; those without a value are NaN.
    Numbers(FieldValues),
    /// Texts without the blanks behind them.
    Text(Vec<String>),
    /// Of a kind that is not read (bits, complex numbers, arrays of variable length), by its `TFORM`.
    Other(String),
}

/// A binary table.
#[derive(Clone, Debug, PartialEq)]
pub struct FitsTable {
    /// The header of its unit.
    pub header: FitsHeader,
    /// The number of rows.
    pub rows: usize,
    /// The columns in their order.
    pub columns: Vec<FitsColumn>,
}

impl FitsTable {
    /// A column by its name, in any case of letters.
    ///
    /// # Errors
    /// [`Error::Absent`] listing the columns there are.
    pub fn column(&self, name: &str) -> Result<&FitsColumn> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)).ok_or_else(|| Error::Absent {
            path: self.header.path.clone(),
            field: format!("column {name:?}"),
            available: self.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// [`Error::Absent`]; [`Error::Invalid`] when it holds something else.
    pub fn numbers(&self, name: &str) -> Result<&FieldValues> {
        match &self.column(name)?.values {
            FitsValues::Numbers(values) => Ok(values),
            other => {
                let got = if let FitsValues::Other(form) = other { form.as_str() } else { "text" };
                Err(Error::invalid(&self.header.path, format!("column {name:?}"), "numbers", got))
            }
        }
    }
}

/// A `TFORM`: how many, of which kind.
#[derive(Clone, Copy)]
struct Form {
    repeat: usize,
    kind: u8,
    bytes: usize,
}

impl Form {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let repeat = if digits == 0 { 1 } else { text[..digits].parse().ok()? };
        let kind = *text.as_bytes().get(digits)?;
        let size = match kind {
            b'L' | b'B' | b'A' => 1,
            b'I' => 2,
            b'J' | b'E' => 4,
            b'K' | b'D' | b'C' | b'P' => 8,
            b'M' | b'Q' => 16,
            b'X' => return Some(Self { repeat, kind, bytes: usize::div_ceil(repeat, 8) }),
            _ => return None,
        };
        Some(Self { repeat, kind, bytes: repeat.checked_mul(size)? })
    }
}

/// Reads the binary table of a name (`EXTNAME`), or the first one.
///
/// # Errors
/// As [`read_fits_headers`]; [`Error::Absent`] when there is no such table; [`Error::Invalid`] for columns that do not
/// fill the rows.
pub fn read_fits_table(path: impl AsRef<Path>, name: Option<&str>) -> Result<FitsTable> {
    let path = path.as_ref();
    let headers = read_fits_headers(path)?;
    let title = |h: &FitsHeader| h.value("EXTNAME").map(|n| n.trim().to_owned());
    let is_table = |h: &&FitsHeader| h.value("XTENSION").is_some_and(|x| x.trim() == "BINTABLE");
    let wanted = |h: &&FitsHeader| name.is_none_or(|n| title(h).is_some_and(|t| t.eq_ignore_ascii_case(n)));
    match headers.iter().filter(is_table).find(wanted) {
        Some(header) => read_table(header.clone()),
        None => {
            let tables = headers
                .iter()
                .filter(is_table)
                .map(|h| title(h).unwrap_or_else(|| "a table without a name".into()));
            let field = name.map_or("binary table".into(), |n| format!("binary table {n:?}"));
            let available = tables.collect::<Vec<_>>().join(", ");
            Err(Error::Absent { path: path.to_path_buf(), field, available })
        }
    }
}

/// The binary table of a header.
pub(crate) fn read_table(header: FitsHeader) -> Result<FitsTable> {
    let path = header.path.clone();
    let invalid = |field: String, expected: &str, got: String| Error::invalid(&path, field, expected, got);
    let [rows, row_bytes] = header.shape[..] else {
        return Err(invalid("shape of the table".into(), "two axes", format!("{:?}", header.shape)));
    };
    let count: usize =
        header.value("TFIELDS").and_then(|v| v.parse().ok()).filter(|n| *n <= 999).ok_or_else(|| {
            invalid("TFIELDS".into(), "0 to 999", header.value("TFIELDS").unwrap_or("nothing").into())
        })?;
    let mut forms = Vec::with_capacity(count);
    let mut at = 0usize;
    for i in 1..=count {
        let text = header.value(&format!("TFORM{i}")).unwrap_or("nothing");
        let form = Form::parse(text)
            .ok_or_else(|| invalid(format!("TFORM{i}"), "a form of the standard", text.into()))?;
        forms.push((at, form));
        at = at.checked_add(form.bytes).filter(|end| *end <= row_bytes).ok_or_else(|| {
            invalid(format!("TFORM{i}"), "columns within NAXIS1 bytes", format!("more than {row_bytes}"))
        })?;
    }
    let file = File::open(&path).map_err(Error::read(&path))?;
    let bytes =
        rows.checked_mul(row_bytes).filter(|n| (*n as u64) <= header.data_bytes()).ok_or_else(|| {
            invalid("rows of the table".into(), "fewer than the file has bytes", rows.to_string())
        })?;
    let mut data = vec![0; bytes];
    read_at(&file, &mut data, header.data_offset()).map_err(Error::read(&path))?;
    let mut columns = Vec::with_capacity(count);
    for (i, (at, form)) in forms.into_iter().enumerate() {
        let key = |name: &str| format!("{name}{}", i + 1);
        let name = header.value(&key("TTYPE")).map_or_else(|| key("column "), |n| n.trim().to_owned());
        let unit = header.value(&key("TUNIT")).map(|u| u.trim().to_owned()).filter(|u| !u.is_empty());
        let cells = data.chunks_exact(row_bytes.max(1)).take(rows).map(|row| &row[at..at + form.bytes]);
        let scaling = Scaling {
            scale: header.number(&key("TSCAL")).unwrap_or(1.0),
            zero: header.number(&key("TZERO")).unwrap_or(0.0),
            null: header.value(&key("TNULL")).and_then(|v| v.parse().ok()),
        };
        let values = match form.kind {
            b'A' => FitsValues::Text(cells.map(text).collect()),
            b'L' | b'B' | b'I' | b'J' | b'K' | b'E' | b'D' => {
                let shape = if form.repeat == 1 { vec![rows] } else { vec![rows, form.repeat] };
                let values = numbers(cells, form, &scaling, &shape);
                FitsValues::Numbers(values.ok_or_else(|| {
                    invalid(name.clone(), "a shape that its bytes fill", format!("{shape:?}"))
                })?)
            }
            _ => FitsValues::Other(header.value(&key("TFORM")).unwrap_or_default().trim().to_owned()),
        };
        columns.push(FitsColumn { name, unit, values });
    }
    Ok(FitsTable { header, rows, columns })
}

struct Scaling {
    scale: f64,
    zero: f64,
    null: Option<i64>,
}

fn text(cell: &[u8]) -> String {
    // A zero ends a text before its width does.
    let end = cell.iter().position(|b| *b == 0).unwrap_or(cell.len());
    String::from_utf8_lossy(&cell[..end]).trim_end().to_owned()
}

fn numbers<'a>(
    cells: impl Iterator<Item = &'a [u8]>,
    form: Form,
    scaling: &Scaling,
    shape: &[usize],
) -> Option<FieldValues> {
    fn array<T>(shape: &[usize], values: Vec<T>) -> Option<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(shape), values).ok()
    }
    fn wide<const N: usize>(b: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(b);
        out
    }
    let size = form.bytes / form.repeat.max(1);
    let plain = scaling.scale == 1.0 && scaling.zero == 0.0;
    let stored = cells.flat_map(|cell| cell.chunks_exact(size.max(1)));
    match form.kind {
        b'E' | b'D' if !plain => {
            let value = |b: &[u8]| {
                if size == 4 { f64::from(f32::from_be_bytes(wide(b))) } else { f64::from_be_bytes(wide(b)) }
            };
            let values = stored.map(|b| scaling.zero + scaling.scale * value(b)).collect();
            Some(FieldValues::F64(array(shape, values)?))
        }
        b'E' => Some(FieldValues::F32(array(shape, stored.map(|b| f32::from_be_bytes(wide(b))).collect())?)),
        b'D' => Some(FieldValues::F64(array(shape, stored.map(|b| f64::from_be_bytes(wide(b))).collect())?)),
        kind => {
            let integer = |b: &[u8]| match kind {
                b'L' => i64::from(b[0] == b'T'),
                b'B' => i64::from(b[0]),
                b'I' => i64::from(i16::from_be_bytes(wide(b))),
                b'J' => i64::from(i32::from_be_bytes(wide(b))),
                _ => i64::from_be_bytes(wide(b)),
            };
            let values: Vec<i64> = stored.map(integer).collect();
            if plain && !values.iter().any(|v| scaling.null == Some(*v)) {
                return Some(FieldValues::I64(array(shape, values)?));
            }
            // The standard's way to unsigned integers.
            let offset = match kind {
                b'I' => 2f64.powi(15),
                b'J' => 2f64.powi(31),
                b'K' => 2f64.powi(63),
                _ => f64::NAN,
            };
            if scaling.scale == 1.0 && scaling.zero == offset && scaling.null.is_none() {
                let shift = 1u64 << (8 * size - 1);
                let mask = u64::MAX >> (64 - 8 * size);
                let unsigned = values.iter().map(|v| (*v as u64).wrapping_add(shift) & mask).collect();
                return Some(FieldValues::U64(array(shape, unsigned)?));
            }
            let physical = |v: &i64| match scaling.null == Some(*v) {
                true => f64::NAN,
                false => scaling.zero + scaling.scale * *v as f64,
            };
            Some(FieldValues::F64(array(shape, values.iter().map(physical).collect())?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, cards: &[&str], data: &[u8]) -> std::path::PathBuf {
        let mut bytes = Vec::new();
        let mut unit = |cards: &[&str], data: &[u8]| {
            for card in cards.iter().chain(&["END"]) {
                bytes.extend(format!("{card:<80}").into_bytes());
            }
            bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
            bytes.extend(data);
            bytes.resize(bytes.len().div_ceil(2880) * 2880, 0);
        };
        unit(&["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"], &[]);
        unit(cards, data);
        let path = dir.join("a.fits");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    const CARDS: [&str; 18] = [
        "XTENSION= 'BINTABLE'",
        "BITPIX  = 8",
        "NAXIS   = 2",
        "NAXIS1  = 19",
        "NAXIS2  = 2",
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "TFIELDS = 5",
        "EXTNAME = 'COADD   '",
        "TTYPE1  = 'flux'",
        "TFORM1  = '2E'",
        "TTYPE2  = 'name'",
        "TFORM2  = '4A'",
        "TFORM3  = 'I'",
        "TZERO3  = 32768",
        "TFORM4  = 'J'",
        "TNULL4  = -9",
        "TFORM5  = 'L'",
    ];

    fn data() -> Vec<u8> {
        let mut data = Vec::new();
        for (flux, name, short, long, flag) in
            [([1.5f32, -2.0], b"ab  ", -32768i16, -9i32, b'T'), ([0.0, 7.0], b"c\0xx", 32767, 5, b'F')]
        {
            flux.iter().for_each(|f| data.extend(f.to_be_bytes()));
            data.extend(name);
            data.extend(short.to_be_bytes());
            data.extend(long.to_be_bytes());
            data.push(flag);
        }
        data
    }

    #[test]
    fn columns_of_every_kind_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let table = read_fits_table(write(dir.path(), &CARDS, &data()), Some("coadd")).unwrap();
        assert_eq!(
            table.numbers("FLUX").unwrap().to_f64(),
            ndarray::arr2(&[[1.5, -2.0], [0.0, 7.0]]).into_dyn()
        );
        assert_eq!(table.column("name").unwrap().values, FitsValues::Text(vec!["ab".into(), "c".into()]));
        assert_eq!(
            table.numbers("column 3").unwrap(),
            &FieldValues::U64(ndarray::arr1(&[0, 65535]).into_dyn())
        );
        let long = table.numbers("column 4").unwrap().to_f64();
        assert!(long[0].is_nan() && long[1] == 5.0);
        assert_eq!(table.numbers("column 5").unwrap().to_f64().as_slice().unwrap(), [1.0, 0.0]);
        assert!(table.numbers("name").unwrap_err().to_string().contains("text"));
        assert!(table.column("ivar").unwrap_err().to_string().contains("flux, name"));
        let missing = read_fits_table(dir.path().join("a.fits"), Some("SPALL")).unwrap_err().to_string();
        assert!(missing.contains("SPALL") && missing.contains("COADD"), "{missing}");
    }

    #[test]
    fn hostile_tables_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        for (from, to, part) in [
            ("TFORM1  = '2E'", "TFORM1  = '9999999999999E'", "TFORM1"),
            ("TFORM1  = '2E'", "TFORM1  = '2Z'", "2Z"),
            ("TFORM1  = '2E'", "", "TFORM1"),
            ("TFIELDS = 5", "TFIELDS = 5000000000", "TFIELDS"),
            ("NAXIS1  = 19", "NAXIS1  = 3", "NAXIS1"),
            ("NAXIS2  = 2", "NAXIS2  = 999999999999", "truncated"),
        ] {
            let cards: Vec<&str> =
                CARDS.iter().map(|c| if *c == from { to } else { *c }).filter(|c| !c.is_empty()).collect();
            let message = read_fits_table(write(dir.path(), &cards, &data()), None).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("a.fits"), "{message}");
        }
    }
}
