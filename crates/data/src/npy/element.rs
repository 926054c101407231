//! The number types of arrays, and their bytes.

use sealed::Kind;

/// The type of the numbers of an array file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpyType {
    pub(super) kind: Kind,
    pub(super) size: usize,
    pub(super) big_endian: bool,
}

impl std::fmt::Display for NpyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let order = match (self.size, self.big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        let kind = match self.kind {
            Kind::Bool => 'b',
            Kind::Signed => 'i',
            Kind::Unsigned => 'u',
            Kind::Float => 'f',
        };
        write!(f, "{order}{kind}{}", self.size)
    }
}

pub(super) mod sealed {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        Bool,
        Signed,
        Unsigned,
        Float,
    }

    pub trait Sealed: Copy + Send + Sync + 'static {
        const KIND: Kind;
        const SIZE: usize;
        fn from_stored(bytes: &[u8]) -> Self;
        fn store(self, out: &mut Vec<u8>);
    }
}

/// A number type that array files hold: `f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 bool`.
pub trait NpyElement: sealed::Sealed {}

macro_rules! element {
    ($($t:ty, $kind:ident;)*) => {$(
        impl sealed::Sealed for $t {
            const KIND: Kind = Kind::$kind;
            const SIZE: usize = size_of::<$t>();
            fn from_stored(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$t>()];
                array.copy_from_slice(bytes);
                <$t>::from_le_bytes(array)
            }
            fn store(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl NpyElement for $t {}
    )*};
}
element! {
    f32, Float; f64, Float;
    i8, Signed; i16, Signed; i32, Signed; i64, Signed;
    u8, Unsigned; u16, Unsigned; u32, Unsigned; u64, Unsigned;
}

impl sealed::Sealed for bool {
    const KIND: Kind = Kind::Bool;
    const SIZE: usize = 1;
    fn from_stored(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
    fn store(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }
}
impl NpyElement for bool {}

/// Any number from its little-endian bytes.
pub(super) fn to_f64(b: &[u8], dtype: NpyType) -> f64 {
    use sealed::Sealed;
    match (dtype.kind, dtype.size) {
        (Kind::Float, 2) => f64::from(half_to_f32(u16::from_stored(b))),
        (Kind::Float, 4) => f64::from(f32::from_stored(b)),
        (Kind::Float, _) => f64::from_stored(b),
        (Kind::Signed, 1) => f64::from(i8::from_stored(b)),
        (Kind::Signed, 2) => f64::from(i16::from_stored(b)),
        (Kind::Signed, 4) => f64::from(i32::from_stored(b)),
        (Kind::Signed, _) => i64::from_stored(b) as f64,
        (Kind::Unsigned, 2) => f64::from(u16::from_stored(b)),
        (Kind::Unsigned, 4) => f64::from(u32::from_stored(b)),
        (Kind::Unsigned, 8) => u64::from_stored(b) as f64,
        (Kind::Unsigned | Kind::Bool, _) => f64::from(b[0]),
    }
}

/// IEEE 754 binary16 to binary32, exactly.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}
