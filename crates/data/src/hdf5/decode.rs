//! Numbers from stored bytes: every integer of 1 to 8 bytes and every float of 2, 4 and 8, in either byte order.

use halocast_core::FieldValues;
use ndarray::{ArrayD, IxDyn};

use super::values::{Attribute, Hdf5Type};
use crate::npy::half_to_f32;

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

enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
}

fn numbers(bytes: &[u8], dtype: &Hdf5Type, big_endian: bool) -> Option<Numbers> {
    let each = |size: &usize| (1..=8).contains(size).then(|| bytes.chunks_exact(*size));
    Some(match dtype {
        Hdf5Type::Float(2) => {
            let half = |b| half_to_f32(bits(b, big_endian) as u16);
            Numbers::F32(each(&2)?.map(half).collect())
        }
        Hdf5Type::Float(4) => {
            let single = |b| f32::from_bits(bits(b, big_endian) as u32);
            Numbers::F32(each(&4)?.map(single).collect())
        }
        Hdf5Type::Float(8) => {
            let double = |b| f64::from_bits(bits(b, big_endian));
            Numbers::F64(each(&8)?.map(double).collect())
        }
        Hdf5Type::Signed(size) => {
            Numbers::I64(each(size)?.map(|b| i64::from_le_bytes(widen(b, big_endian, true))).collect())
        }
        Hdf5Type::Unsigned(size) => Numbers::U64(each(size)?.map(|b| bits(b, big_endian)).collect()),
        _ => return None,
    })
}

/// An array of numbers; `None` when the type is not a number or the bytes do not fill the shape.
pub(super) fn array(
    bytes: &[u8],
    dtype: &Hdf5Type,
    big_endian: bool,
    shape: &[usize],
) -> Option<FieldValues> {
    fn shaped<T>(shape: &[usize], values: Vec<T>) -> Option<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(shape), values).ok()
    }
    Some(match numbers(bytes, dtype, big_endian)? {
        Numbers::F32(v) => FieldValues::F32(shaped(shape, v)?),
        Numbers::F64(v) => FieldValues::F64(shaped(shape, v)?),
        Numbers::I64(v) => FieldValues::I64(shaped(shape, v)?),
        Numbers::U64(v) => FieldValues::U64(shaped(shape, v)?),
    })
}

/// An attribute of numbers; its width is kept.
pub(super) fn attribute(bytes: &[u8], dtype: &Hdf5Type, big_endian: bool) -> Attribute {
    let narrow = matches!(dtype, Hdf5Type::Signed(1..=4) | Hdf5Type::Unsigned(1..=4));
    match numbers(bytes, dtype, big_endian) {
        Some(Numbers::F32(v)) => Attribute::F32(v),
        Some(Numbers::F64(v)) => Attribute::F64(v),
        Some(Numbers::I64(v)) if narrow => Attribute::I32(v.into_iter().map(|x| x as i32).collect()),
        Some(Numbers::I64(v)) => Attribute::I64(v),
        Some(Numbers::U64(v)) if narrow => Attribute::U32(v.into_iter().map(|x| x as u32).collect()),
        Some(Numbers::U64(v)) => Attribute::U64(v),
        None => Attribute::Other(dtype.to_string()),
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
        assert!(array(&[0; 12], &Hdf5Type::Float(4), false, &[2]).is_none());
        assert!(array(&[0; 12], &Hdf5Type::Signed(0), false, &[2]).is_none());
    }
}
