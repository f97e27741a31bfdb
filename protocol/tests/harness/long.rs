//! Long payloads for the tests of transfers.

use bytes::Bytes;
use helve_handles::Target;
use helve_protocol::frame::{CallExtOut, CallKind, put_transfer, write_call};
use helve_protocol::session::{CallKey, Cap, ImportKey, Outgoing, ReceiptKey};

use super::{A, METHOD, Pair, Read, Side, TestObject};

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
    call_by(pair, A, to, args, caps)
}

/// A call with long arguments.
pub fn call_by(
    pair: &mut Pair,
    side: Side,
    to: ImportKey,
    args: &Bytes,
    caps: &[Cap<TestObject>],
) -> CallKey {
    let out = Outgoing {
        args: args.into(),
        ..Pair::out(to, caps, 0)
    };
    let key = pair.session(side).call(&out, None).expect("taken");
    pair.end(side).calls.push((key, key));
    key
}

/// A one-way call of A's with long arguments.
pub fn tell_with(pair: &mut Pair, to: ImportKey, args: &Bytes) -> ReceiptKey {
    let out = Outgoing {
        args: args.into(),
        ..Pair::out(to, &[], 0)
    };
    pair.session(A).tell(&out).expect("taken")
}

/// What each frame is that A sent since `mark`: its kind.
pub fn kinds(pair: &mut Pair, mark: usize) -> Vec<u8> {
    kinds_of(pair, A, mark)
}

/// What each frame is that a side sent since `mark`: its kind.
pub fn kinds_of(pair: &mut Pair, side: Side, mark: usize) -> Vec<u8> {
    pair.frames(side, mark).iter().map(Read::kind).collect()
}

/// The head of a call whose arguments, `len` bytes, follow in PARTs.
pub fn head_frame(kind: CallKind, id: u64, target: Target, len: u64) -> Vec<u8> {
    let (mut frame, mut announced) = (Vec::new(), Vec::new());
    put_transfer(&mut announced, len);
    let ext = CallExtOut::default();
    write_call(&mut frame, kind, id, target, METHOD, &announced, &[], &ext);
    frame
}
