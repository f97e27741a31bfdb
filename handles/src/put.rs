//! MessagePack written by hand: the ints, headers and strings of envelope and heads, always in their shortest form.
//! Used by the frame writers and handshakes, by descriptions, and for scalars in user values.

/// `nil`.
#[inline]
pub fn put_nil(buf: &mut Vec<u8>) {
    buf.push(0xc0);
}

/// `true` or `false`.
#[inline]
pub fn put_bool(buf: &mut Vec<u8>, value: bool) {
    buf.push(if value { 0xc3 } else { 0xc2 });
}

/// An unsigned int in its shortest form.
#[inline]
pub fn put_uint(buf: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        buf.push(value as u8)
    } else {
        put_uint_wide(buf, value)
    }
}

fn put_uint_wide(buf: &mut Vec<u8>, value: u64) {
    // Whole arrays, of a length that the compiler knows: one look at the room for each. Ids and hashes come here.
    match value.to_be_bytes() {
        [.., a] if value <= 0xff => buf.extend_from_slice(&[0xcc, a]),
        [.., a, b] if value <= 0xffff => buf.extend_from_slice(&[0xcd, a, b]),
        [.., a, b, c, d] if value <= 0xffff_ffff => buf.extend_from_slice(&[0xce, a, b, c, d]),
        bytes => put_wide(buf, 0xcf, bytes),
    }
}

#[inline]
fn put_wide<const N: usize>(buf: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    // One look at the room for both.
    buf.reserve(1 + N);
    buf.push(marker);
    buf.extend_from_slice(&bytes);
}

/// An unsigned int of 32 bits that seldom is small, a hash for example: the same bytes as [`put_uint`].
#[inline]
pub fn put_hash(buf: &mut Vec<u8>, value: u32) {
    if value > 0xffff {
        put_wide(buf, 0xce, value.to_be_bytes());
    } else {
        put_uint(buf, u64::from(value));
    }
}

/// An int in its shortest form.
#[inline]
pub fn put_int(buf: &mut Vec<u8>, value: i64) {
    match value {
        0.. => put_uint(buf, value as u64),
        -0x20..=-1 => buf.push(value as u8),
        -0x80..=-0x21 => buf.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => put_wide(buf, 0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put_wide(buf, 0xd2, (value as i32).to_be_bytes()),
        _ => put_wide(buf, 0xd3, value.to_be_bytes()),
    }
}

/// The header of an array of `len` values.
#[inline]
pub fn put_array(buf: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => buf.push(0x90 | len as u8),
        16..=0xffff => put_wide(buf, 0xdc, (len as u16).to_be_bytes()),
        _ => put_wide(buf, 0xdd, (len as u32).to_be_bytes()),
    }
}

/// The header of a map of `len` entries.
#[inline]
pub fn put_map(buf: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => buf.push(0x80 | len as u8),
        16..=0xffff => put_wide(buf, 0xde, (len as u16).to_be_bytes()),
        _ => put_wide(buf, 0xdf, (len as u32).to_be_bytes()),
    }
}

/// A str.
pub fn put_str(buf: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..=31 => buf.push(0xa0 | len as u8),
        len @ 32..=0xff => buf.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => put_wide(buf, 0xda, (len as u16).to_be_bytes()),
        len => put_wide(buf, 0xdb, (len as u32).to_be_bytes()),
    }
    buf.extend_from_slice(text.as_bytes());
}

/// A bin.
pub fn put_bin(buf: &mut Vec<u8>, bytes: &[u8]) {
    put_bin_head(buf, bytes.len());
    buf.extend_from_slice(bytes);
}

/// What stands before the `len` bytes of a bin, which are appended next.
pub fn put_bin_head(buf: &mut Vec<u8>, len: usize) {
    match len {
        len @ 0..=0xff => buf.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => put_wide(buf, 0xc5, (len as u16).to_be_bytes()),
        len => put_wide(buf, 0xc6, (len as u32).to_be_bytes()),
    }
}

/// A reference to entry `index` of the frame's cap table: what a handle is inside a value.
pub fn put_cap(buf: &mut Vec<u8>, index: u16) {
    match index.to_be_bytes() {
        [0, low] => buf.extend_from_slice(&[0xd4, 1, low]),
        [high, low] => buf.extend_from_slice(&[0xd5, 1, high, low]),
    }
}
