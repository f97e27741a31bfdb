//! Long payloads for the tests of transfers.

use bytes::Bytes;
use helve_protocol::session::{CallKey, Cap, ImportKey, Outgoing};

use super::{A, Pair, Read, TestObject};

pub const MIB: usize = 1 << 20;

/// One array of one bin, `len` bytes in all.
pub fn args(len: usize) -> Bytes {
    let mut bytes = vec![0x91, 0xc6];
    bytes.extend(((len - 6) as u32).to_be_bytes());
    let period: Vec<u8> = (0..251).collect();
    bytes.extend(period.repeat(len.div_ceil(251)));
    bytes.truncate(len);
    bytes.into()
}

/// One bin, `len` bytes in all.
pub fn value(len: usize) -> Bytes {
    args(len + 1).slice(1..)
}

/// A call of A's with long arguments.
pub fn call_with(
    pair: &mut Pair,
    to: ImportKey,
    args: &Bytes,
    caps: &[Cap<TestObject>],
) -> CallKey {
    let out = Outgoing {
        args: args.into(),
        ..Pair::out(to, caps, 0)
    };
    let key = pair.session(A).call(&out, None).expect("taken");
    pair.end(A).calls.push((key, key));
    key
}

/// What each frame is that A sent since `mark`: its kind.
pub fn kinds(pair: &mut Pair, mark: usize) -> Vec<u8> {
    pair.frames(A, mark).iter().map(Read::kind).collect()
}
