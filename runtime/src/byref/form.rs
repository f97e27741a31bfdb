//! The forms of a `&mut` argument on the wire (R24.1): `[0, type, value]`, `[1, type, value, id, rev]`,
//! `[2, id, from, to, node]`, or a handle to a shared value.

use helve_handles::id::ID_LIMIT;
use helve_handles::patch::raw::Raw;
use helve_handles::put::{put_array, put_bin, put_uint};
use helve_handles::schema::Schema;
use helve_handles::shared::Payload;
use helve_handles::track::Track;

use super::{TOO_DEEP, is_too_deep};
use crate::args::Put;
use crate::caps;
use crate::error::RpcError;

/// A `&mut` argument that came.
pub(super) enum Form<'a> {
    /// All of the value.
    Whole {
        /// The hash of the caller's description of it.
        ty: &'a [u8],
        value: &'a [u8],
        /// Keep it under this id, as that revision.
        keep: Option<(u64, u64)>,
    },
    /// A handle to a shared value.
    Handle(&'a [u8]),
    /// What changed in the value that was kept.
    Change {
        id: u64,
        from: u64,
        to: u64,
        node: &'a [u8],
    },
}

impl<'a> Form<'a> {
    /// Reads one, out of bytes that were scanned.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Form<'a>, RpcError> {
        parse(bytes).ok_or_else(|| {
            RpcError::Decode("a `&mut` argument has none of its forms on the wire".into())
        })
    }
}

fn parse(bytes: &[u8]) -> Option<Form<'_>> {
    // Ext type 1, the only one in a value.
    if let [0xd4 | 0xd5, ..] = bytes {
        return Some(Form::Handle(bytes));
    }
    let mut raw = Raw::new(bytes);
    let len = raw.array().ok()?;
    let form = match (raw.uint().ok()?, len) {
        (0, 3) => Form::Whole {
            ty: hash(&mut raw)?,
            value: value(&mut raw)?,
            keep: None,
        },
        (1, 5) => Form::Whole {
            ty: hash(&mut raw)?,
            value: value(&mut raw)?,
            keep: Some((number(&mut raw)?, number(&mut raw)?)),
        },
        (2, 5) => {
            let (id, from, to) = (number(&mut raw)?, number(&mut raw)?, number(&mut raw)?);
            let node = value(&mut raw)?;
            (from <= to).then_some(())?;
            Form::Change { id, from, to, node }
        }
        _ => return None,
    };
    raw.is_at_end().then_some(form)
}

/// A number of a head: below 2^53 (I1.1), and with room for one more.
fn number(raw: &mut Raw<'_>) -> Option<u64> {
    raw.uint().ok().filter(|n| *n < ID_LIMIT - 1)
}

fn hash<'a>(raw: &mut Raw<'a>) -> Option<&'a [u8]> {
    raw.bin().ok().filter(|hash| hash.len() == 16)
}

fn value<'a>(raw: &mut Raw<'a>) -> Option<&'a [u8]> {
    let start = raw.pos();
    raw.skip(u32::MAX).ok()?;
    Some(raw.since(start))
}

/// How many references the call has so far.
pub(super) fn caps_of(put: &Put<'_>) -> usize {
    put.caps.as_ref().map_or(0, |caps| caps.caps.len())
}

impl Put<'_> {
    /// `[0, type, value]`, or with `keep`, an id and a revision, `[1, type, value, id, rev]`. Says whether it is to be kept:
    /// nothing that holds handles is (R24.10).
    pub(super) fn whole<T: Track>(&mut self, whole: &T, keep: Option<(u64, u64)>) -> bool {
        let head = self.bytes.len();
        put_array(self.bytes, 3);
        put_uint(self.bytes, 0);
        put_bin(self.bytes, &Schema::of::<T>().hash());
        let (start, caps) = (self.bytes.len(), caps_of(self));
        self.put_wire(whole);
        let keep = keep.filter(|_| caps_of(self) == caps);
        if self.failed.is_none() && is_too_deep(self.bytes.get(start..).unwrap_or_default()) {
            self.fail(RpcError::Encode(TOO_DEEP.into()));
        }
        if let Some((id, rev)) = keep {
            if let Some([array, form]) = self.bytes.get_mut(head..head + 2) {
                (*array, *form) = (0x95, 1);
            }
            put_uint(self.bytes, id);
            put_uint(self.bytes, rev);
        }
        keep.is_some()
    }

    /// `[2, id, from, to, node]`.
    pub(super) fn change(&mut self, id: u64, from: u64, to: u64, node: &Payload) {
        put_array(self.bytes, 5);
        put_uint(self.bytes, 2);
        for number in [id, from, to] {
            put_uint(self.bytes, number);
        }
        if let Err(error) = caps::put_node(self.conn, node, self.bytes, &mut self.caps) {
            self.fail(error);
        }
    }
}
