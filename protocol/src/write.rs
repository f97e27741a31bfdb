//! Frames, written: one function each, appending to a buffer, in canonical form (E2.3, E2.4). Callers keep the limits of
//! a frame; payloads come encoded. Reached through [`crate::frame`].

use helve_handles::{Descriptor, Target};

use crate::error::{Code, FloorCharBoundary};
use crate::frame::{CallKind, Caps};
use crate::limits::{MESSAGE_MAX, RELEASE_PAIRS_MAX};
pub use crate::put::{
    put_array, put_bin, put_bin_head, put_bool, put_cap, put_hash, put_int, put_map, put_nil,
    put_str, put_transfer, put_uint,
};

/// The `ext` of a call to be written. The default writes none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallExtOut<'a> {
    /// `d`: deadline left, in ms (R21).
    pub deadline: Option<u64>,
    /// `h`: depth, left out at 0 (R13).
    pub depth: u8,
    /// `c`: chain (R23).
    pub chain: Option<u64>,
    /// `t`: a W3C traceparent, left out when empty.
    pub trace: &'a str,
    /// Other keys, each with its value behind it, as a forwarder copies them (E3.4).
    pub others: &'a [u8],
    /// How many keys stand in `others`.
    pub others_count: u8,
}

impl CallExtOut<'_> {
    #[inline]
    fn count(&self) -> usize {
        usize::from(self.deadline.is_some())
            + usize::from(self.depth > 0)
            + usize::from(self.chain.is_some())
            + usize::from(!self.trace.is_empty())
            + usize::from(self.others_count)
    }

    fn write(&self, buf: &mut Vec<u8>, count: usize) {
        put_map(buf, count);
        if let Some(deadline) = self.deadline {
            put_letter(buf, b'd');
            put_uint(buf, deadline);
        }
        if self.depth > 0 {
            put_letter(buf, b'h');
            put_uint(buf, u64::from(self.depth));
        }
        if let Some(chain) = self.chain {
            put_letter(buf, b'c');
            put_uint(buf, chain);
        }
        if !self.trace.is_empty() {
            put_letter(buf, b't');
            put_str(buf, self.trace);
        }
        buf.extend_from_slice(self.others);
    }
}

#[inline]
fn put_letter(buf: &mut Vec<u8>, letter: u8) {
    buf.extend_from_slice(&[0xa1, letter]);
}

/// The header of a frame whose kind is `kind`: `least` elements that are always there (the kind among them), then
/// those of `optional` up to the last that is present.
#[inline]
fn put_kind<const N: usize>(buf: &mut Vec<u8>, kind: u8, least: usize, optional: [bool; N]) {
    let present = optional
        .iter()
        .rposition(|&there| there)
        .map_or(0, |last| last + 1);
    buf.extend_from_slice(&[0x90 | (least + present) as u8, kind]);
}

/// CALL, OPEN or TELL whole. `args` is one encoded array (or [`put_transfer`]); `id` is left out for TELL.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "one per element of the frame, in its order"
)]
pub fn write_call(
    buf: &mut Vec<u8>,
    kind: CallKind,
    id: u64,
    target: Target,
    method: u32,
    args: &[u8],
    caps: Caps<'_>,
    ext: &CallExtOut<'_>,
) {
    write_call_head(buf, kind, id, target, method, caps, ext);
    buf.extend_from_slice(args);
    write_call_tail(buf, caps, ext);
}

/// A call up to its arguments, which are appended next; then comes [`write_call_tail`] with the same caps and ext.
#[inline(always)]
pub fn write_call_head(
    buf: &mut Vec<u8>,
    kind: CallKind,
    id: u64,
    target: Target,
    method: u32,
    caps: Caps<'_>,
    ext: &CallExtOut<'_>,
) {
    let least = if kind == CallKind::Tell { 4 } else { 5 };
    put_kind(buf, kind as u8, least, [!caps.is_empty(), ext.count() > 0]);
    if kind != CallKind::Tell {
        put_uint(buf, id);
    }
    put_int(buf, target.raw());
    put_hash(buf, method);
}

/// What follows the arguments of a call.
#[inline(always)]
pub fn write_call_tail(buf: &mut Vec<u8>, caps: Caps<'_>, ext: &CallExtOut<'_>) {
    let count = ext.count();
    put_caps(buf, caps, count > 0);
    if count > 0 {
        ext.write(buf, count);
    }
}

/// The cap table, or what stands for none.
#[inline]
fn put_caps(buf: &mut Vec<u8>, caps: Caps<'_>, more: bool) {
    if !caps.is_empty() {
        put_array(buf, caps.len());
        for cap in caps {
            put_uint(buf, cap.raw());
        }
    } else if more {
        put_nil(buf);
    }
}

/// RET with an encoded value. `seen` are the pairs of `s` (R10), left out when empty.
#[inline]
pub fn write_ret(buf: &mut Vec<u8>, id: u64, value: &[u8], caps: Caps<'_>, seen: &[(Target, u64)]) {
    put_kind(buf, 4, 3, [!caps.is_empty(), !seen.is_empty()]);
    put_uint(buf, id);
    buf.extend_from_slice(value);
    put_caps(buf, caps, !seen.is_empty());
    if !seen.is_empty() {
        put_map(buf, 1);
        put_letter(buf, b's');
        put_array(buf, 2 * seen.len());
        for &(target, rev) in seen {
            put_int(buf, target.raw());
            put_uint(buf, rev);
        }
    }
}

/// RET of an OPEN: which object it led to (R5).
pub fn write_ret_open(buf: &mut Vec<u8>, id: u64, outcome: Descriptor) {
    put_kind(buf, 4, 3, []);
    put_uint(buf, id);
    put_uint(buf, outcome.raw());
}

/// The same, with the pairs of `s` (R10).
pub fn write_ret_open_changed(
    buf: &mut Vec<u8>,
    id: u64,
    outcome: Descriptor,
    seen: &[(Target, u64)],
) {
    let mut value = Vec::new();
    put_uint(&mut value, outcome.raw());
    write_ret(buf, id, &value, &[], seen);
}

/// ERR. `data` is one encoded value, left out when empty; `message` is cut to 256 bytes.
pub fn write_err(buf: &mut Vec<u8>, id: u64, code: Code, message: &str, data: &[u8]) {
    put_kind(buf, 5, 4, [!data.is_empty()]);
    put_uint(buf, id);
    put_uint(buf, code.raw());
    put_message(buf, message);
    buf.extend_from_slice(data);
}

/// A text of at most 256 bytes, cut between characters.
pub fn put_message(buf: &mut Vec<u8>, message: &str) {
    let end = message.floor_char_boundary_at(MESSAGE_MAX);
    put_str(buf, message.get(..end).unwrap_or_default());
}

/// CANCEL.
pub fn write_cancel(buf: &mut Vec<u8>, id: u64) {
    put_kind(buf, 6, 2, []);
    put_uint(buf, id);
}

/// RELEASE of 1 to 64 pairs.
pub fn write_release(buf: &mut Vec<u8>, pairs: &[(Target, u64)]) {
    debug_assert!((1..=RELEASE_PAIRS_MAX).contains(&pairs.len()));
    put_kind(buf, 7, 2, []);
    put_array(buf, 2 * pairs.len());
    for &(target, n) in pairs {
        put_int(buf, target.raw());
        put_uint(buf, n);
    }
}

/// BROKEN.
pub fn write_broken(buf: &mut Vec<u8>, target: Target, code: Code, message: &str) {
    put_kind(buf, 8, 4, []);
    put_int(buf, target.raw());
    put_uint(buf, code.raw());
    put_message(buf, message);
}

/// DATA: `items` is one encoded array.
pub fn write_data(buf: &mut Vec<u8>, target: Target, items: &[u8], caps: Caps<'_>) {
    put_kind(buf, 9, 3, [!caps.is_empty()]);
    put_int(buf, target.raw());
    buf.extend_from_slice(items);
    put_caps(buf, caps, false);
}

/// END: a good one without `code`, which then has neither message nor data.
pub fn write_end(
    buf: &mut Vec<u8>,
    target: Target,
    code: Option<Code>,
    message: &str,
    data: &[u8],
) {
    let (message, data) = if code.is_some() {
        (message, data)
    } else {
        ("", &[][..])
    };
    put_kind(
        buf,
        10,
        2,
        [code.is_some(), !message.is_empty(), !data.is_empty()],
    );
    put_int(buf, target.raw());
    if let Some(code) = code {
        put_uint(buf, code.raw());
    }
    if !message.is_empty() {
        put_message(buf, message);
    } else if !data.is_empty() {
        put_nil(buf);
    }
    buf.extend_from_slice(data);
}

/// CREDIT of `n` bytes; `depth` counts for the root only.
pub fn write_credit(buf: &mut Vec<u8>, target: Target, n: u64, depth: u8) {
    put_kind(buf, 11, 3, [depth > 0]);
    put_int(buf, target.raw());
    put_uint(buf, n);
    if depth > 0 {
        put_uint(buf, u64::from(depth));
    }
}

/// SNAP with an encoded value.
pub fn write_snap(
    buf: &mut Vec<u8>,
    target: Target,
    epoch: u64,
    rev: u64,
    ty: &[u8; 16],
    value: &[u8],
    caps: Caps<'_>,
) {
    put_kind(buf, 12, 6, [!caps.is_empty()]);
    put_int(buf, target.raw());
    put_uint(buf, epoch);
    put_uint(buf, rev);
    put_bin(buf, ty);
    buf.extend_from_slice(value);
    put_caps(buf, caps, false);
}

/// DELTA with an encoded node; `hash` is `x`.
pub fn write_delta(
    buf: &mut Vec<u8>,
    target: Target,
    from: u64,
    to: u64,
    node: &[u8],
    caps: Caps<'_>,
    hash: Option<[u8; 8]>,
) {
    put_kind(buf, 13, 5, [!caps.is_empty(), hash.is_some()]);
    put_int(buf, target.raw());
    put_uint(buf, from);
    put_uint(buf, to);
    buf.extend_from_slice(node);
    put_caps(buf, caps, hash.is_some());
    if let Some(hash) = hash {
        put_map(buf, 1);
        put_letter(buf, b'x');
        put_bin(buf, &hash);
    }
}

/// SYNC.
pub fn write_sync(buf: &mut Vec<u8>, target: Target, mode: u8, n: u64, have: Option<(u64, u64)>) {
    put_kind(buf, 14, 4, [have.is_some()]);
    put_int(buf, target.raw());
    put_uint(buf, u64::from(mode));
    put_uint(buf, n);
    if let Some((epoch, rev)) = have {
        put_array(buf, 2);
        put_uint(buf, epoch);
        put_uint(buf, rev);
    }
}

/// A PART up to its `len` bytes, 1 to 65,536, which are appended next.
pub fn write_part_head(buf: &mut Vec<u8>, head: u64, len: usize) {
    put_kind(buf, 15, 2, [true]);
    put_uint(buf, head);
    put_bin_head(buf, len);
}

/// PART of 1 to 65,536 bytes; without any: aborted.
pub fn write_part(buf: &mut Vec<u8>, head: u64, data: Option<&[u8]>) {
    put_kind(buf, 15, 2, [data.is_some()]);
    put_uint(buf, head);
    if let Some(data) = data {
        put_bin(buf, data);
    }
}

/// DRAIN.
pub fn write_drain(buf: &mut Vec<u8>, grace_ms: u64) {
    put_kind(buf, 16, 2, []);
    put_uint(buf, grace_ms);
}
