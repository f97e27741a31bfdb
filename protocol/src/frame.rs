//! The frames: one variant each, headed by its shape and rules. Written and read by hand; payloads stay bytes. Read by
//! [`crate::batch::parse`]; the writers stand in `write.rs`.

use helve_handles::{Descriptor, Target};

pub use crate::write::*;

/// A place in the message that was read: `start..end`, in bytes (or, for caps, in the arena of [`crate::batch::Parsed`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First index.
    pub start: u32,
    /// One past the last index.
    pub end: u32,
}

impl Span {
    /// Of what is absent.
    pub(crate) const NONE: Span = Span { start: 0, end: 0 };

    /// As a range to index with.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
    /// How many it covers.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }
    /// Whether it covers none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Which of the three frames that call a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum CallKind {
    /// Kind 1: wants a value.
    Call = 1,
    /// Kind 2: wants one handle; `-id` is usable in the very next frame.
    Open = 2,
    /// Kind 3: no reply, ever (R12).
    Tell = 3,
}

/// A value that was scanned but not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// It stands in the message.
    Inline(Span),
    /// Ext type 2: that many bytes follow in PARTs (R18).
    Transfer(u64),
}

/// The `ext` map of a call: what is absent costs nothing on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallExt {
    /// `d`: deadline left, in ms (R21).
    pub deadline: Option<u64>,
    /// `h`: depth, 0 when absent (R13).
    pub depth: u8,
    /// `c`: chain (R23).
    pub chain: Option<u64>,
    /// The whole map as bytes, empty when absent: a forwarder copies what it does not know (R9).
    pub raw: Span,
    /// `t`: the text of a W3C traceparent, empty when absent.
    pub trace: Span,
    /// Whether there are other keys than these.
    pub others: bool,
}

impl CallExt {
    /// That of a call without one.
    pub(crate) const NONE: CallExt = CallExt {
        deadline: None,
        depth: 0,
        chain: None,
        raw: Span::NONE,
        trace: Span::NONE,
        others: false,
    };

    /// Whether it says nothing but the depth.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.raw.is_empty()
            || self.deadline.is_none()
                && self.chain.is_none()
                && self.trace.is_empty()
                && !self.others
    }
}

/// CALL `[1, id, target, method, args, caps?, ext?]`, OPEN `[2, ..]`, TELL `[3, target, method, args, caps?, ext?]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallFrame {
    /// Which of the three.
    pub kind: CallKind,
    /// The caller's id; 0 for TELL.
    pub id: u64,
    /// Whose method.
    pub target: Target,
    /// FNV-1a of `interface-id/method-name`.
    pub method: u32,
    /// One array.
    pub args: Payload,
    /// Into [`crate::batch::Parsed::caps`].
    pub caps: Span,
    /// Deadline, depth, chain, trace.
    pub ext: CallExt,
}

/// One numbered frame as it was read. Byte spans point into the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// CALL, OPEN, TELL.
    Call(CallFrame),
    /// RET `[4, id, value, caps?, ext?]`. For OPEN, `value` is a bare descriptor of tag 0-2 (the session checks).
    Ret {
        /// The call's id.
        id: u64,
        /// The result.
        value: Payload,
        /// Into the cap arena.
        caps: Span,
        /// `s` of the ext: pairs `[target, rev, ..]` as raw bytes of the array, empty when absent (R10).
        seen: Span,
    },
    /// ERR `[5, id, code, message, data?]`.
    Err {
        /// The call's id.
        id: u64,
        /// As written; read with [`crate::Code::from_raw`].
        code: u64,
        /// UTF-8 (scanned), at most 256 bytes.
        message: Span,
        /// One scanned value, empty when absent.
        data: Span,
    },
    /// CANCEL `[6, id]` (R21).
    Cancel {
        /// The call's id.
        id: u64,
    },
    /// RELEASE `[7, [target, n, ...]]`: the pairs, into [`crate::batch::Parsed::releases`] (R1, R2).
    Release {
        /// At most 64 pairs.
        pairs: Span,
    },
    /// BROKEN `[8, target, code, message]` (R22).
    Broken {
        /// The sender's object.
        target: Target,
        /// As written.
        code: u64,
        /// UTF-8, at most 256 bytes.
        message: Span,
    },
    /// DATA `[9, target, items, caps?]` (R19).
    Data {
        /// The sender's stream.
        target: Target,
        /// One array of values.
        items: Payload,
        /// Into the cap arena.
        caps: Span,
    },
    /// END `[10, target, code?, message?, data?]` (R19).
    End {
        /// The sender's stream or shared value.
        target: Target,
        /// Absent: a good end.
        code: Option<u64>,
        /// UTF-8, empty when absent.
        message: Span,
        /// One scanned value, empty when absent.
        data: Span,
    },
    /// CREDIT `[11, target, n, depth?]` (R13, R19).
    Credit {
        /// The receiver's stream; the root: TELL bytes.
        target: Target,
        /// Bytes.
        n: u64,
        /// Depth of the TELLs, 0 when absent.
        depth: u8,
    },
    /// SNAP `[12, target, epoch, rev, type, value, caps?]`.
    Snap {
        /// The sender's shared value.
        target: Target,
        /// Sets the epoch of the DELTAs after it.
        epoch: u64,
        /// Revision.
        rev: u64,
        /// Hash of the descriptor, 16 bytes.
        ty: Span,
        /// The value.
        value: Payload,
        /// Into the cap arena.
        caps: Span,
    },
    /// DELTA `[13, target, from, to, node, caps?, ext?]`.
    Delta {
        /// The sender's shared value.
        target: Target,
        /// Revision it starts from.
        from: u64,
        /// Revision it leads to.
        to: u64,
        /// The patch node.
        node: Payload,
        /// Into the cap arena.
        caps: Span,
        /// `x`: the 8 bytes of a state hash, empty when absent.
        hash: Span,
    },
    /// SYNC `[14, target, mode, n, have?]`.
    Sync {
        /// The receiver's shared value.
        target: Target,
        /// 0 stop, 1 start over, 2 grant more.
        mode: u64,
        /// Window or grant, in bytes.
        n: u64,
        /// `[epoch, rev]`.
        have: Option<(u64, u64)>,
    },
    /// PART `[15, head, bin?]` (R18).
    Part {
        /// Sequence number of the head.
        head: u64,
        /// The bytes; absent: aborted.
        data: Option<Span>,
    },
    /// DRAIN `[16, grace_ms]` (S9).
    Drain {
        /// How long the drainer waits.
        grace_ms: u64,
    },
}

/// The caps of a frame being written.
pub type Caps<'a> = &'a [Descriptor];
