//! Runs of one-way calls: TELLs on one object that were accepted one right after the other are kept, queued and handed out
//! together (R12, R13.11). `Session::accept` takes them, the driver gets them as [`Event::Tells`].

use std::sync::Arc;

use bytes::Bytes;
use helve_handles::Target;

use super::incoming::{InCall, IncomingId, Place, revoked};
use super::tables::Hosted;
use super::{Event, Invocation, Object, Session};
use crate::Violation;
use crate::blob::Blob;
use crate::frame::{CallFrame, CallKind, Frame, Payload, Span};
use crate::mutation::mutant;

/// Fewer are taken one by one.
const LEAST: usize = 2;
/// Arguments above this length are not kept in a run.
const SHORT: usize = 256;
/// A run keeps the message instead of a copy from so many bytes on, if it makes up a good part of it.
const SLICE: usize = 4096;

/// TELLs on one object at one depth, numbered without a gap, in order: without references, and with short arguments.
/// Each is an [`Invocation`] of its own.
#[derive(Clone, Debug)]
pub struct Tells {
    target: Target,
    depth: u8,
    /// Our number of the first that is left.
    number: u64,
    /// The number of its frame.
    accepted: u64,
    /// Which of `run` are left.
    next: u32,
    end: u32,
    run: Arc<Run>,
}

/// What the parts of a run share.
#[derive(Debug)]
struct Run {
    /// What the calls point into: the message, or a copy of what they need of it.
    bytes: Bytes,
    /// Method, and where in `bytes` its arguments are.
    calls: Vec<(u32, Span)>,
}

impl Tells {
    /// How many are left.
    pub fn len(&self) -> usize {
        (self.end - self.next) as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Whether they were made on the root by its own name, 0, as [`Invocation::is_on_root`] says.
    pub fn are_on_root(&self) -> bool {
        self.target == Target::ROOT
    }

    /// The number of the first one's frame.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Our numbers of those that are left.
    pub(super) fn numbers(&self) -> std::ops::Range<u64> {
        self.number..self.number + u64::from(self.end - self.next)
    }

    /// Takes the first `n` off.
    fn split_off_front(&mut self, n: usize) -> Tells {
        let mut front = self.clone();
        front.end = self.next
            + u32::try_from(n)
                .unwrap_or(u32::MAX)
                .min(self.end - self.next);
        self.pass(front.end - self.next);
        front
    }

    fn pass(&mut self, n: u32) {
        self.next += n;
        self.number += u64::from(n);
        self.accepted += u64::from(n);
    }

    /// The next one, ready for its object.
    #[inline(always)]
    pub fn next_call<O>(&mut self) -> Option<Invocation<O>> {
        if self.is_empty() {
            return None;
        }
        let (method, args) = *self.run.calls.get(self.next as usize)?;
        let id = IncomingId::tell(self.number);
        self.pass(1);
        Some(Invocation {
            id,
            kind: CallKind::Tell,
            target: self.target,
            method,
            args: Blob::slice(&self.run.bytes, args.range()),
            caps: Vec::new(),
            depth: self.depth,
            rare: None,
        })
    }
}

/// What waits for a running slot.
#[derive(Debug)]
pub(super) enum Queued<O> {
    One(O, Invocation<O>),
    Tells(O, Tells),
}

impl<O> Queued<O> {
    /// Whether it is this call alone.
    pub(super) fn is(&self, id: IncomingId) -> bool {
        matches!(self, Queued::One(_, invocation) if invocation.id == id)
    }
}

/// Whether a frame is a TELL that may stand in a run, and its arguments.
#[inline]
fn short_tell(frame: &Frame) -> Option<(&CallFrame, Span)> {
    match frame {
        Frame::Call(call) if call.kind == CallKind::Tell => match call.args {
            Payload::Inline(args)
                if args.len() <= SHORT && call.caps.is_empty() && call.ext.is_plain() =>
            {
                Some((call, args))
            }
            _ => None,
        },
        _ => None,
    }
}

impl<O: Object> Session<O> {
    /// Takes the TELLs that `frames` begins with, if they are a run on an object that stands in our table and nothing is
    /// in their way. Returns how many it took; the others go one by one.
    ///
    /// Between frames of one message that are TELLs nothing changes but what they are charged, so the rest is looked at
    /// once.
    pub(super) fn on_tells(
        &mut self,
        message: &Bytes,
        frames: &[Frame],
        spans: &[Span],
    ) -> Result<usize, Violation> {
        let Some((first, _)) = frames.first().and_then(short_tell) else {
            return Ok(0);
        };
        let (target, depth) = (first.target, first.ext.depth);
        let same = |frame: &Frame| {
            short_tell(frame)
                .is_some_and(|(call, _)| call.target == target && call.ext.depth == depth)
        };
        if mutant!("late_parts_ids") || frames.len() < LEAST || !frames.iter().take(LEAST).all(same)
        {
            return Ok(0);
        }
        // R18.5: behind a call on the same target whose arguments are not all there. S9: refused, as we are leaving.
        // R21.7: waits for a while. A deadline of our own: it stands with each.
        if self.assembly.holds(target)
            || self.too_late(depth).is_some()
            || self.is_slowed()
            || self.config.handler_ms.is_some()
            || mutant!("late_parts")
        {
            return Ok(0);
        }
        let o = match target.as_host().and_then(|k| self.hosted(k)) {
            Some(Hosted::Object(o)) if !o.is_revoked() && !o.is_forwarded() => o,
            _ => return Ok(0),
        };
        let (number, accepted) = (self.tells.next_id(), self.received() + 1);
        let mut calls = Vec::with_capacity(LEAST);
        for frame in frames {
            let Some((call, args)) = short_tell(frame) else {
                break;
            };
            if call.target != target || call.ext.depth != depth {
                break;
            }
            self.flow.take_one();
            let charge = self.charge_peer(false, depth, args.len())?;
            self.tells.push(InCall {
                kind: CallKind::Tell,
                depth,
                place: Place::Queued,
                cancelled: false,
                charge,
                target,
                accepted: self.flow.received(),
                lent: None,
            });
            calls.push((call.method, args));
        }
        let count = calls.len();
        self.flushes.of(target).count += count as u32;
        let place = spans
            .first()
            .zip(spans.get(count - 1))
            .map_or(0..0, |(first, last)| first.start..last.end);
        let run = Run::new(message, place, calls);
        let tells = Tells {
            target,
            depth,
            number,
            accepted,
            next: 0,
            end: count as u32,
            run: Arc::new(run),
        };
        if depth > 0 {
            self.start_tells(o, tells);
            return Ok(count);
        }
        // Nothing was accepted later (R13.16).
        self.queued.push_back(Queued::Tells(o, tells));
        self.start_queued();
        Ok(count)
    }

    /// Hands TELLs out that have their running slots, or need none.
    fn start_tells(&mut self, o: O, mut tells: Tells) {
        if o.is_revoked() {
            while let Some(invocation) = tells.next_call() {
                self.refuse(invocation, revoked());
            }
            self.garbage.push(o);
            return;
        }
        for number in tells.numbers() {
            if let Some(call) = self.tells.get_mut(number) {
                call.place = Place::Running;
            }
        }
        if tells.depth == 0 {
            let count = tells.end - tells.next;
            self.running += count;
            self.youngest = self.youngest.max(tells.accepted + u64::from(count) - 1);
        }
        self.events.push_back(Event::Tells(o, tells));
    }

    /// Starts as many of the TELLs at the front of the queue as there are running slots, at least one.
    pub(super) fn start_queued_tells(&mut self) {
        let slots = self.config.running.saturating_sub(self.running).max(1);
        let Some(Queued::Tells(o, tells)) = self.queued.front_mut() else {
            return;
        };
        let front = tells.split_off_front(slots as usize);
        let o = if !tells.is_empty() {
            o.clone()
        } else if let Some(Queued::Tells(o, _)) = self.queued.pop_front() {
            o
        } else {
            return;
        };
        self.start_tells(o, front);
    }
}

impl Run {
    /// `frames` is where the calls stand in the message. What waits for a slot shall not hold much more memory than it is
    /// charged for, so they have to be a good part of what they keep.
    fn new(message: &Bytes, frames: std::ops::Range<u32>, mut calls: Vec<(u32, Span)>) -> Run {
        let len = (frames.end - frames.start) as usize;
        if len >= SLICE && len >= message.len() / 4 {
            let bytes = message.clone();
            return Run { bytes, calls };
        }
        let mut bytes = Vec::with_capacity(calls.iter().map(|(_, args)| args.len()).sum());
        for (_, args) in &mut calls {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(message.get(args.range()).unwrap_or_default());
            let end = bytes.len() as u32;
            *args = Span { start, end };
        }
        let bytes = bytes.into();
        Run { bytes, calls }
    }
}
