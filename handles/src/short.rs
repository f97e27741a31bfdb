//! Short cuts past serde for the values that most calls carry: scalars and strings. They write the same bytes, and read
//! only the forms that writers of this protocol use; whatever else comes goes through serde.

use crate::put::{put_int, put_str, put_uint};

/// A value with a short cut.
pub(crate) trait Short: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// The value at the beginning of `bytes`, and how long it is.
    fn take(bytes: &[u8]) -> Option<(Self, usize)>;
}

/// An int of either sign, and its length.
#[inline]
fn int(bytes: &[u8]) -> Option<(i128, usize)> {
    match *bytes {
        [n @ 0..=0x7f, ..] => Some((i128::from(n), 1)),
        [n @ 0xe0..=0xff, ..] => Some((i128::from(n as i8), 1)),
        _ => wide_int(bytes),
    }
}

fn wide_int(bytes: &[u8]) -> Option<(i128, usize)> {
    fn be<const N: usize>(rest: &[u8]) -> Option<[u8; N]> {
        rest.first_chunk::<N>().copied()
    }
    let (marker, rest) = bytes.split_first()?;
    Some(match marker {
        0xcc => (i128::from(u8::from_be_bytes(be(rest)?)), 2),
        0xcd => (i128::from(u16::from_be_bytes(be(rest)?)), 3),
        0xce => (i128::from(u32::from_be_bytes(be(rest)?)), 5),
        0xcf => (i128::from(u64::from_be_bytes(be(rest)?)), 9),
        0xd0 => (i128::from(i8::from_be_bytes(be(rest)?)), 2),
        0xd1 => (i128::from(i16::from_be_bytes(be(rest)?)), 3),
        0xd2 => (i128::from(i32::from_be_bytes(be(rest)?)), 5),
        0xd3 => (i128::from(i64::from_be_bytes(be(rest)?)), 9),
        _ => return None,
    })
}

macro_rules! ints {
    ($put:ident as $wide:ty: $($t:ty)*) => {$(
        impl Short for $t {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                $put(out, *self as $wide);
            }
            #[inline]
            fn take(bytes: &[u8]) -> Option<(Self, usize)> {
                let (value, len) = int(bytes)?;
                Some((<$t>::try_from(value).ok()?, len))
            }
        }
    )*};
}

ints!(put_uint as u64: u8 u16 u32 u64 usize);
ints!(put_int as i64: i8 i16 i32 i64 isize);

impl Short for bool {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(if *self { 0xc3 } else { 0xc2 });
    }
    #[inline]
    fn take(bytes: &[u8]) -> Option<(Self, usize)> {
        match bytes.first()? {
            0xc2 => Some((false, 1)),
            0xc3 => Some((true, 1)),
            _ => None,
        }
    }
}

impl Short for () {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        out.push(0xc0);
    }
    #[inline]
    fn take(bytes: &[u8]) -> Option<(Self, usize)> {
        (*bytes.first()? == 0xc0).then_some(((), 1))
    }
}

macro_rules! floats {
    ($($t:ty = $marker:literal, $len:literal;)*) => {$(
        impl Short for $t {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.push($marker);
                out.extend_from_slice(&self.to_be_bytes());
            }
            #[inline]
            fn take(bytes: &[u8]) -> Option<(Self, usize)> {
                let (marker, rest) = bytes.split_first()?;
                (*marker == $marker).then_some(())?;
                Some((<$t>::from_be_bytes(*rest.first_chunk::<$len>()?), 1 + $len))
            }
        }
    )*};
}

floats! { f32 = 0xca, 4; f64 = 0xcb, 8; }

impl Short for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_str(out, self);
    }
    fn take(bytes: &[u8]) -> Option<(Self, usize)> {
        str_at(bytes).map(|(text, len)| (text.to_owned(), len))
    }
}

/// The str at the beginning of `bytes`, and how long it is with its header.
pub fn str_at(bytes: &[u8]) -> Option<(&str, usize)> {
    let (at, len): (usize, usize) = match *bytes {
        [marker @ 0xa0..=0xbf, ..] => (1, usize::from(marker & 31)),
        [0xd9, len, ..] => (2, usize::from(len)),
        [0xda, a, b, ..] => (3, usize::from(u16::from_be_bytes([a, b]))),
        [0xdb, a, b, c, d, ..] => (5, u32::from_be_bytes([a, b, c, d]) as usize),
        _ => return None,
    };
    let text = bytes.get(at..at.checked_add(len)?)?;
    Some((std::str::from_utf8(text).ok()?, at + len))
}
