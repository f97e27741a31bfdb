//! Payloads above 65,536 bytes on their way in (R18): put together from PARTs, scanned whole, then delivered. Calls on a
//! target wait behind one whose arguments are incomplete (R18.5); nothing else waits.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use helve_handles::{IdHash, Target};

use super::caps::Received;
use super::incoming::{IncomingId, Place, cancelled};
use super::{ImportKey, Invocation, Object, Session};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::Span;
use crate::limits::ELEMENTS_MAX;
use crate::mutation::mutant;
use crate::scan::{Budget, scan_array, scan_whole, scan_whole_node};
use crate::{Code, Violation};

/// What a buffer has at first; it grows with what came, never by what was claimed (E4.4).
const FIRST: usize = 256 << 10;

/// What becomes of the bytes.
#[derive(Debug)]
enum To<O> {
    /// The arguments of this call, held for this target; how many references it brought.
    Call(IncomingId, Target, usize),
    /// The result of our call of this id, with its references.
    Ret(u64, Vec<Received<O>>),
    /// Items of the stream of this import; how many references they bring.
    Data(ImportKey, usize),
    /// A SNAP (`true`) or DELTA of this import; how many references it brings.
    Shared(ImportKey, usize, bool),
    /// Its call has its result, or nobody wants it: taken and dropped (R18.10).
    Nobody,
}

/// A transfer of the peer's that is not complete.
#[derive(Debug)]
struct Incomplete<O> {
    to: To<O>,
    len: usize,
    came: usize,
    bytes: Vec<u8>,
}

/// A call that waits, or one whose arguments it waits for.
#[derive(Debug)]
struct Held<O> {
    invocation: Invocation<O>,
    complete: bool,
}

/// All of one session.
#[derive(Debug)]
pub(super) struct Assembly<O> {
    /// By the number of the head.
    open: HashMap<u64, Incomplete<O>, IdHash>,
    /// In order of arrival, by target as written.
    held: HashMap<Target, VecDeque<Held<O>>, IdHash>,
    #[cfg(feature = "mutations")]
    pub(super) late: super::late::Late,
}

impl<O> Assembly<O> {
    pub(super) fn seeded(seed: u64) -> Assembly<O> {
        Assembly {
            open: HashMap::with_hasher(IdHash::seeded(seed)),
            held: HashMap::with_hasher(IdHash::seeded(seed.rotate_left(7))),
            #[cfg(feature = "mutations")]
            late: Default::default(),
        }
    }

    /// Transfers that are incomplete, and calls that are held.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.held.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether calls on this target wait behind one that is incomplete.
    #[inline]
    pub(super) fn holds(&self, target: Target) -> bool {
        !self.held.is_empty() && self.held.contains_key(&target)
    }
}

const PART: Violation = Violation::new("R18.9", "a part of no open transfer, or beyond its length");

impl<O: Object> Session<O> {
    /// A frame announces a payload of `len` bytes.
    fn expect_transfer(&mut self, len: u64, to: To<O>) -> Result<(), Violation> {
        if len > self.config.ours.frame {
            return Err(Violation::new("R18.8", "a payload above the `frame` limit"));
        }
        if self.assembly.open.len() >= self.config.ours.transfers.max(1) as usize {
            return Err(Violation::new("R18.7", "more transfers than were allowed"));
        }
        let incomplete = Incomplete {
            to,
            len: usize::try_from(len).unwrap_or(usize::MAX),
            came: 0,
            bytes: Vec::new(),
        };
        self.assembly.open.insert(self.received(), incomplete);
        Ok(())
    }

    /// The arguments of a call follow in PARTs.
    pub(super) fn expect_args(
        &mut self,
        len: u64,
        invocation: &Invocation<O>,
    ) -> Result<(), Violation> {
        let caps = invocation.caps.len();
        self.expect_transfer(len, To::Call(invocation.id, invocation.target, caps))
    }

    /// Holds a call in its place, and keeps its target, until its arguments are there.
    pub(super) fn hold_incomplete(&mut self, invocation: Invocation<O>) -> Result<(), Violation> {
        if !self.names_something(invocation.target) {
            return self.route(invocation);
        }
        self.hold(invocation, false);
        Ok(())
    }

    /// Puts a call behind those that wait on the same target (R18.5).
    pub(super) fn hold(&mut self, invocation: Invocation<O>, complete: bool) {
        let (id, target) = (invocation.id, invocation.target);
        self.pin_target(target);
        self.set_place(id, Place::Incomplete);
        let held = Held {
            invocation,
            complete,
        };
        self.assembly
            .held
            .entry(target)
            .or_default()
            .push_back(held);
    }

    fn names_something(&self, target: Target) -> bool {
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => self.opened.get(c).is_some(),
            (None, Some(0)) => self.exports.root.is_some(),
            (None, k) => k.is_some_and(|k| self.exports.by_name.get(k).is_some()),
        }
    }

    /// A held call keeps its target: the caller may release it meanwhile.
    fn pin_target(&mut self, target: Target) {
        if mutant!("hold_nopin") {
            return;
        }
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => {
                if let Some(opened) = self.opened.get_mut(c) {
                    opened.refs += 1;
                }
            }
            (None, Some(k)) => {
                if let Some(export) = self.exports.by_name.get_mut(k) {
                    export.pins += 1;
                }
            }
            (None, None) => {}
        }
    }

    fn unpin_target(&mut self, target: Target) {
        if mutant!("hold_nopin") {
            return;
        }
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => self.release_opened(c),
            (None, Some(k)) => {
                if let Some(export) = self.exports.by_name.get_mut(k) {
                    export.pins = export.pins.saturating_sub(1);
                }
                self.settle_export(k);
            }
            (None, None) => {}
        }
    }

    /// Starts what stands complete at the front of a target's queue.
    fn advance_held(&mut self, target: Target) -> Result<(), Violation> {
        while let Some(queue) = self.assembly.held.get_mut(&target) {
            match queue.front() {
                Some(held) if held.complete => {}
                Some(_) => return Ok(()),
                None => {
                    self.assembly.held.remove(&target);
                    return Ok(());
                }
            }
            if let Some(held) = queue.pop_front() {
                // Later calls on this target find the queue empty only once this one has started.
                let result = self.route(held.invocation);
                self.unpin_target(target);
                result?;
            }
        }
        Ok(())
    }

    /// Takes a held call out that was cancelled. The bytes that still come are dropped.
    pub(super) fn take_held(&mut self, id: IncomingId) {
        let Some(target) = self.in_call(id).map(|call| call.target) else {
            return;
        };
        let Some(queue) = self.assembly.held.get_mut(&target) else {
            return;
        };
        let at = queue.iter().position(|held| held.invocation.id == id);
        let Some(held) = at.and_then(|at| queue.remove(at)) else {
            return;
        };
        self.refuse(held.invocation, cancelled());
        self.unpin_target(target);
        // A target that the caller got right once stays no violation.
        _ = self.advance_held(target);
    }

    /// This call has its answer: what still comes of its arguments is taken and dropped (R18.10).
    #[inline]
    pub(super) fn forget_args(&mut self, id: IncomingId) {
        if !self.assembly.open.is_empty() {
            self.orphan(id);
        }
    }

    fn orphan(&mut self, id: IncomingId) {
        let of = |to: &To<O>| matches!(to, To::Call(call, ..) if *call == id);
        if let Some(open) = self.assembly.open.values_mut().find(|open| of(&open.to)) {
            open.to = To::Nobody;
            open.bytes = Vec::new();
        }
    }

    /// A result that follows in PARTs. Its call has been looked up, and its references taken.
    pub(super) fn expect_value(
        &mut self,
        id: u64,
        len: u64,
        caps: Vec<Received<O>>,
    ) -> Result<(), Violation> {
        self.expect_transfer(len, To::Ret(id, caps))
    }

    /// Nobody wants the result of this call any more: what still comes of it is taken and dropped.
    pub(super) fn forget_value(&mut self, id: u64) {
        let of = |to: &To<O>| matches!(to, To::Ret(call, _) if *call == id);
        if let Some(open) = self.assembly.open.values_mut().find(|open| of(&open.to)) {
            open.bytes = Vec::new();
            if let To::Ret(_, caps) = std::mem::replace(&mut open.to, To::Nobody) {
                self.discard(caps);
            }
        }
    }

    /// PART (R18).
    pub(super) fn on_part(
        &mut self,
        message: &Bytes,
        head: u64,
        data: Option<Span>,
    ) -> Result<(), Violation> {
        #[cfg(feature = "mutations")]
        if let Some(result) = self.late_part(message, head, data) {
            return result;
        }
        let open = self.assembly.open.get_mut(&head).ok_or(PART)?;
        let Some(data) = data else {
            return match self.assembly.open.remove(&head) {
                Some(open) => self.aborted(head, open.to),
                None => Ok(()),
            };
        };
        open.came = open
            .came
            .checked_add(data.len())
            .filter(|came| *came <= open.len)
            .ok_or(PART)?;
        if !matches!(open.to, To::Nobody) {
            let part = message.get(data.range()).unwrap_or_default();
            if open.bytes.len() + part.len() > open.bytes.capacity() {
                // What is reserved stays in step with what came: doubled, and all of it once a quarter is there.
                let want = match (2 * open.bytes.len()).max(FIRST) {
                    want if want + FIRST >= open.len / 2 => open.len,
                    want => want,
                };
                open.bytes
                    .reserve_exact(want.max(open.bytes.len() + part.len()) - open.bytes.len());
            }
            open.bytes.extend_from_slice(part);
        }
        if open.came == open.len
            && let Some(open) = self.assembly.open.remove(&head)
        {
            return self.complete(head, open);
        }
        Ok(())
    }

    /// The last PART is there.
    fn complete(&mut self, head: u64, open: Incomplete<O>) -> Result<(), Violation> {
        let mut budget = Budget::new(ELEMENTS_MAX);
        match open.to {
            To::Call(id, target, caps) => {
                scan_array(&open.bytes, caps, &mut budget)?;
                let Some(queue) = self.assembly.held.get_mut(&target) else {
                    return Ok(());
                };
                if let Some(held) = queue.iter_mut().find(|held| held.invocation.id == id) {
                    held.invocation.args = Blob::from(open.bytes);
                    held.complete = true;
                }
                self.advance_held(target)
            }
            To::Ret(id, caps) => {
                if let Err(violation) = scan_whole(&open.bytes, caps.len(), &mut budget) {
                    // Not dropped here: that may run the user's code.
                    self.scrap_caps(caps);
                    return Err(violation.into());
                }
                self.deliver_ret(id, Blob::from(open.bytes), caps);
                Ok(())
            }
            To::Data(key, caps) => {
                scan_array(&open.bytes, caps, &mut budget)?;
                self.deliver_items(key, head, Blob::from(open.bytes));
                Ok(())
            }
            To::Shared(key, caps, snap) => {
                match snap {
                    true => scan_whole(&open.bytes, caps, &mut budget)?,
                    false => scan_whole_node(&open.bytes, caps, &mut budget)?,
                }
                self.deliver_update(key, head, Blob::from(open.bytes));
                Ok(())
            }
            To::Nobody => Ok(()),
        }
    }

    /// The items of a DATA follow in PARTs.
    pub(super) fn expect_items(
        &mut self,
        len: u64,
        key: ImportKey,
        caps: usize,
    ) -> Result<(), Violation> {
        self.expect_transfer(len, To::Data(key, caps))
    }

    /// A value, or where it is no `snap` a patch node, follows in PARTs.
    pub(super) fn expect_update(
        &mut self,
        len: u64,
        key: ImportKey,
        caps: usize,
        snap: bool,
    ) -> Result<(), Violation> {
        self.expect_transfer(len, To::Shared(key, caps, snap))
    }

    /// A payload that nobody wants follows in PARTs (R11.10).
    pub(super) fn expect_nothing(&mut self, len: u64) -> Result<(), Violation> {
        self.expect_transfer(len, To::Nobody)
    }

    /// Nobody reads the items of the DATA, or wants the SNAP or DELTA, of this number any more.
    pub(super) fn forget_items(&mut self, head: u64) {
        if let Some(open) = self.assembly.open.get_mut(&head) {
            open.to = To::Nobody;
            open.bytes = Vec::new();
        }
    }

    /// The sender gave it up (R18.11).
    fn aborted(&mut self, head: u64, to: To<O>) -> Result<(), Violation> {
        match to {
            To::Call(id, ..) => self.take_held(id),
            To::Ret(id, caps) => {
                self.discard(caps);
                let fault = Fault::new(Code::Cancelled, "the result was given up on its way");
                self.fail_arriving(id, fault);
            }
            To::Data(..) => {
                return Err(Violation::new(
                    "R18.13",
                    "items of a stream that is still read were given up",
                ));
            }
            To::Shared(key, ..) => return self.aborted_update(key, head),
            To::Nobody => {}
        }
        Ok(())
    }

    /// Forgets everything at the end of a session; what was given with it becomes garbage.
    pub(super) fn end_assembly(&mut self) {
        let seed = self.config.seed.rotate_left(53);
        let assembly = std::mem::replace(&mut self.assembly, Assembly::seeded(seed));
        for open in assembly.open.into_values() {
            if let To::Ret(_, caps) = open.to {
                self.scrap_caps(caps);
            }
        }
        for held in assembly.held.into_values().flatten() {
            self.scrap_caps(held.invocation.caps);
        }
    }
}
