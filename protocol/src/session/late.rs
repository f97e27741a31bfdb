//! Seeded bugs (`crate::mutation`): `late_parts` and `late_parts_ids`, a receiver for which a call in PARTs takes effect at
//! its last one instead of at its head (R18.2). Calls on the same target, and those that name what it opens, wait with
//! it, so that order holds; the second also forgives ids that go back (I1.2). Part of no build without the feature.

use bytes::Bytes;
use helve_handles::{Descriptor, RisingMap, Tag, Target};

use super::{Object, Session};
use crate::Violation;
use crate::frame::{CallFrame, CallKind, Payload, Span};
use crate::mutation::mutant;
use crate::parsed::Parsed;

/// What has not taken effect, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Late {
    calls: Vec<LateCall>,
    /// One of them takes effect now.
    now: bool,
}

#[derive(Debug)]
struct LateCall {
    /// Number of its head.
    head: u64,
    frame: CallFrame,
    caps: Vec<Descriptor>,
    /// What the frame points into.
    message: Bytes,
    /// Bytes that are still to come, and those that came.
    left: u64,
    bytes: Vec<u8>,
}

impl LateCall {
    /// Whether that call must wait for this one: it has the same target, or names what this opens.
    fn blocks(&self, frame: &CallFrame, caps: &[Descriptor]) -> bool {
        let opens = self.frame.kind == CallKind::Open;
        let opened = opens.then(|| Target::open(self.frame.id));
        let names = |cap: &Descriptor| cap.tag() == Tag::YourOpen && cap.id() == self.frame.id;
        frame.target == self.frame.target
            || Some(frame.target) == opened
            || opens && caps.iter().any(names)
    }
}

impl<O: Object> Session<O> {
    /// Puts a call aside, if it is large or must wait for one that is.
    pub(super) fn is_late(&mut self, message: &Bytes, parsed: &Parsed, call: &CallFrame) -> bool {
        let head = self.received();
        let late = &mut self.assembly.late;
        if late.now || !(mutant!("late_parts") || mutant!("late_parts_ids")) {
            return false;
        }
        let caps = parsed.caps_of(call.caps).to_vec();
        let left = match call.args {
            Payload::Inline(_) if !late.calls.iter().any(|c| c.blocks(call, &caps)) => {
                return false;
            }
            Payload::Inline(_) => 0,
            Payload::Transfer(len) => len,
        };
        late.calls.push(LateCall {
            head,
            frame: *call,
            caps,
            message: message.clone(),
            left,
            bytes: Vec::new(),
        });
        true
    }

    /// A PART of a call that was put aside. `None`: of another transfer.
    pub(super) fn late_part(
        &mut self,
        message: &Bytes,
        head: u64,
        data: Option<Span>,
    ) -> Option<Result<(), Violation>> {
        let calls = &mut self.assembly.late.calls;
        let at = calls.iter().position(|call| call.head == head)?;
        let call = calls.get_mut(at)?;
        match data {
            Some(data) => {
                call.left = call.left.saturating_sub(data.len() as u64);
                call.bytes.extend_from_slice(message.get(data.range())?);
                Some(self.late_calls())
            }
            None => {
                let call = calls.remove(at);
                let id = call.frame.id;
                let result = self.take_effect(call);
                self.on_cancel(id);
                Some(result.and_then(|()| self.late_calls()))
            }
        }
    }

    /// Lets take effect what is whole and waits for nothing.
    fn late_calls(&mut self) -> Result<(), Violation> {
        loop {
            let calls = &mut self.assembly.late.calls;
            let waits = |(at, call): (usize, &LateCall)| {
                let before = calls.get(..at).unwrap_or_default();
                call.left > 0 || before.iter().any(|b| b.blocks(&call.frame, &call.caps))
            };
            let Some(at) = calls.iter().enumerate().position(|entry| !waits(entry)) else {
                return Ok(());
            };
            let call = calls.remove(at);
            self.take_effect(call)?;
        }
    }

    fn take_effect(&mut self, call: LateCall) -> Result<(), Violation> {
        let LateCall {
            mut frame,
            caps,
            message,
            bytes,
            ..
        } = call;
        let parsed = Parsed {
            caps,
            ..Parsed::default()
        };
        frame.caps = Span {
            start: 0,
            end: parsed.caps.len() as u32,
        };
        let mut whole = message.to_vec();
        if let Payload::Transfer(_) = frame.args {
            let start = whole.len() as u32;
            whole.extend_from_slice(&bytes);
            let end = whole.len() as u32;
            frame.args = Payload::Inline(Span { start, end });
        }
        self.assembly.late.now = true;
        let result = self.on_call(&whole.into(), &parsed, &frame);
        self.assembly.late.now = false;
        result
    }
}

/// As [`RisingMap::insert`], in a map that takes ids below those before.
pub(super) fn insert<T>(map: &mut RisingMap<T>, id: u64, entry: T) {
    let Err(entry) = map.insert(id, entry) else {
        return;
    };
    let mut all = map.take_all();
    all.push((id, entry));
    all.sort_by_key(|(id, _)| *id);
    *map = RisingMap::new();
    for (id, entry) in all {
        _ = map.insert(id, entry);
    }
}
