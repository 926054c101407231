//! Numbers from stored bytes: every integer of 1 to 8 bytes and every float of 2, 4 and 8, in either byte order, exactly
//! or not at all.

use halocast_core::FieldValues;
use ndarray::{ArrayD, IxDyn};

use super::values::{Attribute, Hdf5Type};
use crate::npy::half_to_f32;

/// Memory for numbers, in the type that a reader wants.
///
/// Numbers that were stored in another type are converted when that is exact, or when it rounds f64 to f32; an f64 beyond
/// the range of f32, an integer that the type does not hold and a fraction for an integer are errors.
#[derive(Debug)]
#[non_exhaustive]
pub enum NumbersMut<'a> {
    /// 32-bit floating point.
    F32(&'a mut [f32]),
    /// 64-bit floating point.
    F64(&'a mut [f64]),
    /// Signed integers.
    I64(&'a mut [i64]),
    /// Unsigned integers.
    U64(&'a mut [u64]),
}

impl NumbersMut<'_> {
    /// How many there is room for.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::U64(v) => v.len(),
        }
    }

    /// Whether there is room for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same memory for a shorter time.
    pub fn reborrow(&mut self) -> NumbersMut<'_> {
        match self {
            Self::F32(v) => NumbersMut::F32(v),
            Self::F64(v) => NumbersMut::F64(v),
            Self::I64(v) => NumbersMut::I64(v),
            Self::U64(v) => NumbersMut::U64(v),
        }
    }

    /// Its memory as bytes, where numbers of `dtype` can be read into them as they are.
    pub(super) fn as_stored(&mut self, dtype: &Hdf5Type, big_endian: bool) -> Option<&mut [u8]> {
        if big_endian != cfg!(target_endian = "big") {
            return None;
        }
        Some(match (self, dtype) {
            (Self::F32(v), Hdf5Type::Float(4)) => bytemuck::cast_slice_mut(v),
            (Self::F64(v), Hdf5Type::Float(8)) => bytemuck::cast_slice_mut(v),
            (Self::I64(v), Hdf5Type::Signed(8)) => bytemuck::cast_slice_mut(v),
            (Self::U64(v), Hdf5Type::Unsigned(8)) => bytemuck::cast_slice_mut(v),
            _ => return None,
        })
    }
}

/// Pieces of `len` numbers, the last perhaps shorter.
pub(crate) fn pieces(numbers: NumbersMut<'_>, len: usize) -> Vec<NumbersMut<'_>> {
    let len = len.max(1);
    match numbers {
        NumbersMut::F32(v) => v.chunks_mut(len).map(NumbersMut::F32).collect(),
        NumbersMut::F64(v) => v.chunks_mut(len).map(NumbersMut::F64).collect(),
        NumbersMut::I64(v) => v.chunks_mut(len).map(NumbersMut::I64).collect(),
        NumbersMut::U64(v) => v.chunks_mut(len).map(NumbersMut::U64).collect(),
    }
}

/// The first `len` numbers, and the others.
pub(crate) fn split(numbers: NumbersMut<'_>, len: usize) -> (NumbersMut<'_>, NumbersMut<'_>) {
    macro_rules! cut {
        ($v:ident, $variant:ident) => {{
            let at = len.min($v.len());
            let (a, b) = $v.split_at_mut(at);
            (NumbersMut::$variant(a), NumbersMut::$variant(b))
        }};
    }
    match numbers {
        NumbersMut::F32(v) => cut!(v, F32),
        NumbersMut::F64(v) => cut!(v, F64),
        NumbersMut::I64(v) => cut!(v, I64),
        NumbersMut::U64(v) => cut!(v, U64),
    }
}

/// A type that numbers are converted to.
trait Target: Copy {
    fn of_f64(x: f64) -> Option<Self>;
    fn of_i64(x: i64) -> Option<Self>;
    fn of_u64(x: u64) -> Option<Self>;
}

impl Target for f32 {
    fn of_f64(x: f64) -> Option<Self> {
        let single = x as f32;
        (single.is_finite() || !x.is_finite()).then_some(single)
    }
    fn of_i64(x: i64) -> Option<Self> {
        let single = x as f32;
        (single as i128 == i128::from(x)).then_some(single)
    }
    fn of_u64(x: u64) -> Option<Self> {
        let single = x as f32;
        (single as i128 == i128::from(x)).then_some(single)
    }
}

impl Target for f64 {
    fn of_f64(x: f64) -> Option<Self> {
        Some(x)
    }
    fn of_i64(x: i64) -> Option<Self> {
        let double = x as f64;
        (double as i128 == i128::from(x)).then_some(double)
    }
    fn of_u64(x: u64) -> Option<Self> {
        let double = x as f64;
        (double as i128 == i128::from(x)).then_some(double)
    }
}

impl Target for i64 {
    fn of_f64(_: f64) -> Option<Self> {
        None
    }
    fn of_i64(x: i64) -> Option<Self> {
        Some(x)
    }
    fn of_u64(x: u64) -> Option<Self> {
        x.try_into().ok()
    }
}

impl Target for u64 {
    fn of_f64(_: f64) -> Option<Self> {
        None
    }
    fn of_i64(x: i64) -> Option<Self> {
        x.try_into().ok()
    }
    fn of_u64(x: u64) -> Option<Self> {
        Some(x)
    }
}

/// The bytes of one number, little-endian and sign-extended to eight.
fn widen(bytes: &[u8], big_endian: bool, signed: bool) -> [u8; 8] {
    let mut wide = [0u8; 8];
    for (i, slot) in wide.iter_mut().enumerate().take(bytes.len()) {
        *slot = if big_endian { bytes[bytes.len() - 1 - i] } else { bytes[i] };
    }
    if signed && bytes.len() < 8 && wide[bytes.len().saturating_sub(1)] & 0x80 != 0 {
        wide[bytes.len()..].fill(0xff);
    }
    wide
}

fn bits(bytes: &[u8], big_endian: bool) -> u64 {
    u64::from_le_bytes(widen(bytes, big_endian, false))
}

/// Converts stored numbers; the message says which number does not fit.
pub(super) fn decode_into(
    bytes: &[u8],
    dtype: &Hdf5Type,
    big_endian: bool,
    out: NumbersMut<'_>,
) -> Result<(), String> {
    match out {
        NumbersMut::F32(out) => decode(bytes, dtype, big_endian, out),
        NumbersMut::F64(out) => decode(bytes, dtype, big_endian, out),
        NumbersMut::I64(out) => decode(bytes, dtype, big_endian, out),
        NumbersMut::U64(out) => decode(bytes, dtype, big_endian, out),
    }
}

fn decode<T: Target>(bytes: &[u8], dtype: &Hdf5Type, big_endian: bool, out: &mut [T]) -> Result<(), String> {
    let size = match dtype {
        Hdf5Type::Float(size @ (2 | 4 | 8)) => *size,
        Hdf5Type::Signed(size @ 1..=8) | Hdf5Type::Unsigned(size @ 1..=8) => *size,
        other => return Err(format!("numbers of type {other}")),
    };
    if Some(bytes.len()) != out.len().checked_mul(size) {
        return Err(format!("{} bytes for {} numbers of {dtype}", bytes.len(), out.len()));
    }
    let each = |convert: &dyn Fn(&[u8]) -> Result<T, String>, out: &mut [T]| {
        for (number, bytes) in out.iter_mut().zip(bytes.chunks_exact(size)) {
            *number = convert(bytes)?;
        }
        Ok(())
    };
    let to = std::any::type_name::<T>();
    macro_rules! run {
        ($read:expr, $convert:expr) => {{
            for (number, bytes) in out.iter_mut().zip(bytes.chunks_exact(size)) {
                let stored = $read(bytes);
                *number = $convert(stored).ok_or_else(|| format!("{stored}, which {to} does not hold"))?;
            }
            return Ok(());
        }};
    }
    match (dtype, big_endian) {
        // The common ones, without a detour through eight bytes.
        (Hdf5Type::Float(4), false) => {
            run!(|b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]), |x| T::of_f64(f64::from(x)))
        }
        (Hdf5Type::Float(8), false) => {
            run!(|b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]), T::of_f64)
        }
        (Hdf5Type::Signed(4), false) => {
            run!(|b: &[u8]| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])), T::of_i64)
        }
        _ => {}
    }
    let refused = |stored: String| format!("{stored}, which {to} does not hold");
    match dtype {
        Hdf5Type::Float(width) => each(
            &|b| {
                let stored = match width {
                    2 => f64::from(half_to_f32(bits(b, big_endian) as u16)),
                    4 => f64::from(f32::from_bits(bits(b, big_endian) as u32)),
                    _ => f64::from_bits(bits(b, big_endian)),
                };
                T::of_f64(stored).ok_or_else(|| refused(stored.to_string()))
            },
            out,
        ),
        Hdf5Type::Signed(_) => each(
            &|b| {
                let stored = i64::from_le_bytes(widen(b, big_endian, true));
                T::of_i64(stored).ok_or_else(|| refused(stored.to_string()))
            },
            out,
        ),
        _ => each(
            &|b| {
                let stored = bits(b, big_endian);
                T::of_u64(stored).ok_or_else(|| refused(stored.to_string()))
            },
            out,
        ),
    }
}

/// Copies an array into memory of a perhaps different type; the message says which number does not fit.
pub(super) fn assign(values: &FieldValues, out: NumbersMut<'_>) -> Result<(), String> {
    fn copy<S: Copy + std::fmt::Display, T>(
        values: &ArrayD<S>,
        out: &mut [T],
        convert: impl Fn(S) -> Option<T>,
    ) -> Result<(), String> {
        if values.len() != out.len() {
            return Err(format!("{} numbers for {}", values.len(), out.len()));
        }
        for (number, &stored) in out.iter_mut().zip(values) {
            let to = std::any::type_name::<T>();
            *number = convert(stored).ok_or_else(|| format!("{stored}, which {to} does not hold"))?;
        }
        Ok(())
    }
    fn to<T: Target>(values: &FieldValues, out: &mut [T]) -> Result<(), String> {
        match values {
            FieldValues::F32(v) => copy(v, out, |x| T::of_f64(f64::from(x))),
            FieldValues::F64(v) => copy(v, out, T::of_f64),
            FieldValues::I64(v) => copy(v, out, T::of_i64),
            FieldValues::U64(v) => copy(v, out, T::of_u64),
            _ => Err("a type of number that is not known".into()),
        }
    }
    match out {
        NumbersMut::F32(out) => to(values, out),
        NumbersMut::F64(out) => to(values, out),
        NumbersMut::I64(out) => to(values, out),
        NumbersMut::U64(out) => to(values, out),
    }
}

/// An array of zeros of the nearest of the four types; `None` when the type is not a number.
pub(crate) fn zeros(dtype: &Hdf5Type, shape: &[usize]) -> Option<FieldValues> {
    let shape = IxDyn(shape);
    Some(match dtype {
        Hdf5Type::Float(2 | 4) => FieldValues::F32(ArrayD::zeros(shape)),
        Hdf5Type::Float(_) => FieldValues::F64(ArrayD::zeros(shape)),
        Hdf5Type::Signed(_) => FieldValues::I64(ArrayD::zeros(shape)),
        Hdf5Type::Unsigned(_) => FieldValues::U64(ArrayD::zeros(shape)),
        _ => return None,
    })
}

/// The memory of an array in its own type; `None` when it does not lie in one piece, which a new one does.
pub(crate) fn numbers_mut(values: &mut FieldValues) -> Option<NumbersMut<'_>> {
    Some(match values {
        FieldValues::F32(v) => NumbersMut::F32(v.as_slice_mut()?),
        FieldValues::F64(v) => NumbersMut::F64(v.as_slice_mut()?),
        FieldValues::I64(v) => NumbersMut::I64(v.as_slice_mut()?),
        FieldValues::U64(v) => NumbersMut::U64(v.as_slice_mut()?),
        _ => return None,
    })
}

/// An attribute of numbers; its width is kept.
pub(super) fn attribute(bytes: &[u8], dtype: &Hdf5Type, big_endian: bool) -> Attribute {
    let size = match dtype {
        Hdf5Type::Float(size) | Hdf5Type::Signed(size) | Hdf5Type::Unsigned(size) => *size,
        _ => return Attribute::Other(dtype.to_string()),
    };
    let narrow = matches!(dtype, Hdf5Type::Signed(1..=4) | Hdf5Type::Unsigned(1..=4));
    let count = bytes.len() / size.max(1);
    let decoded = zeros(dtype, &[count]).and_then(|mut values| {
        let out = numbers_mut(&mut values)?;
        decode_into(&bytes[..count * size], dtype, big_endian, out).ok()?;
        Some(values)
    });
    match decoded {
        Some(FieldValues::F32(v)) => Attribute::F32(v.into_iter().collect()),
        Some(FieldValues::F64(v)) => Attribute::F64(v.into_iter().collect()),
        Some(FieldValues::I64(v)) if narrow => Attribute::I32(v.into_iter().map(|x| x as i32).collect()),
        Some(FieldValues::I64(v)) => Attribute::I64(v.into_iter().collect()),
        Some(FieldValues::U64(v)) if narrow => Attribute::U32(v.into_iter().map(|x| x as u32).collect()),
        Some(FieldValues::U64(v)) => Attribute::U64(v.into_iter().collect()),
        _ => Attribute::Other(dtype.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_widths_and_orders_are_read() {
        // -2 in 48 bits, both orders.
        let little = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
        let mut big = little;
        big.reverse();
        let signed = Hdf5Type::Signed(6);
        assert_eq!(attribute(&little, &signed, false), Attribute::I64(vec![-2]));
        assert_eq!(attribute(&big, &signed, true), Attribute::I64(vec![-2]));
        assert_eq!(attribute(&little, &Hdf5Type::Unsigned(6), false), Attribute::U64(vec![(1 << 48) - 2]));
        assert_eq!(attribute(&[0x80], &Hdf5Type::Signed(1), false), Attribute::I32(vec![-128]));
        assert_eq!(attribute(&1.5f32.to_be_bytes(), &Hdf5Type::Float(4), true), Attribute::F32(vec![1.5]));
        assert_eq!(attribute(&[0, 0x3e], &Hdf5Type::Float(2), false), Attribute::F32(vec![1.5]));
        assert!(matches!(attribute(&[0; 12], &Hdf5Type::Signed(0), false), Attribute::Other(_)));
    }

    #[test]
    fn conversion_is_exact_or_refused() {
        fn to<T: Target>(stored: FieldValues, mut out: Vec<T>) -> Result<Vec<T>, String> {
            match stored {
                FieldValues::F64(v) => decode(
                    &v.iter().flat_map(|x| x.to_be_bytes()).collect::<Vec<_>>(),
                    &Hdf5Type::Float(8),
                    true,
                    &mut out,
                )?,
                FieldValues::I64(v) => decode(
                    &v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
                    &Hdf5Type::Signed(8),
                    false,
                    &mut out,
                )?,
                _ => unreachable!(),
            }
            Ok(out)
        }
        let floats = |v: f64| FieldValues::F64(ndarray::arr1(&[v]).into_dyn());
        let whole = |v: i64| FieldValues::I64(ndarray::arr1(&[v]).into_dyn());
        assert_eq!(to(floats(0.1), vec![0f32]).unwrap(), [0.1f32]);
        assert!(to(floats(f64::INFINITY), vec![0f32]).unwrap()[0].is_infinite());
        assert!(to(floats(1e300), vec![0f32]).unwrap_err().contains("f32"));
        assert!(to(floats(2.0), vec![0i64]).is_err());
        assert_eq!(to(whole(1 << 53), vec![0f64]).unwrap(), [9007199254740992.0]);
        assert!(to(whole((1 << 53) + 1), vec![0f64]).unwrap_err().contains("9007199254740993"));
        assert!(to(whole((1 << 24) + 1), vec![0f32]).is_err());
        assert!(to(whole(i64::MAX), vec![0f64]).is_err());
        assert!(to(whole(-1), vec![0u64]).unwrap_err().contains("-1"));
        assert_eq!(to(whole(-1), vec![0i64]).unwrap(), [-1]);
        assert!(decode(&[0; 12], &Hdf5Type::Float(4), false, &mut [0f32; 2]).is_err());
    }
}
