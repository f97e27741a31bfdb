//! MessagePack written by hand, as `helve_handles::put` does, and what only frames need.

use crate::limits::PAYLOAD_MAX;

pub use helve_handles::put::*;

/// In place of a payload: `length` bytes, above 65,536, follow in PARTs (R18.1).
pub fn put_transfer(buf: &mut Vec<u8>, length: u64) {
    debug_assert!(length > PAYLOAD_MAX as u64);
    let wide = length > 0xffff_ffff;
    buf.extend_from_slice(&[0xc7, if wide { 9 } else { 5 }, 2]);
    put_uint(buf, length);
}
