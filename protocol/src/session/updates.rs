//! What comes of the shared values that we follow: SNAP, DELTA, END (R20). Payloads are bytes here. They are handed on in
//! order, a long one once it is whole (R18.6); what was not given back bounds what may come.

use bytes::Bytes;
use helve_handles::{Descriptor, Target};

use super::caps::Received;
use super::following::FollowKey;
use super::producing::charge;
use super::publishing::Change;
use super::tables::Standing;
use super::{Event, ImportKey, Object, Session};
use crate::Violation;
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{Frame, Payload};
use crate::parsed::Parsed;

/// A SNAP or DELTA that came.
#[derive(Debug)]
pub struct Update<O> {
    /// Which of them.
    pub change: Change,
    /// The value or the patch node, encoded; scanned, not decoded.
    pub payload: Blob,
    /// The references in it, by cap index.
    pub caps: Vec<Received<O>>,
    /// What it took of the window: to be [given back](Session::grant) once it is applied or dropped.
    pub cost: u64,
}

/// An update that waits for its PARTs, or behind one that does.
#[derive(Debug)]
pub(super) struct Queued<O> {
    pub update: Update<O>,
    /// The number of its head, until it is whole.
    pub head: Option<u64>,
    /// It may be of the subscription before the last SYNC, which its host gives up (R18.15).
    crossing: bool,
}

/// Which DELTAs are passed on (R20.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passes {
    /// None: a SNAP comes first.
    Snaps,
    /// Those from this revision on.
    From(u64),
    All,
}

impl<O: Object> Session<O> {
    /// The reference that a frame of the peer's names, if we follow it or have just left it.
    pub(super) fn followed(&self, target: Target) -> Option<ImportKey> {
        if self.follows.by_import.is_empty() {
            return None;
        }
        let key = self.imports.named(target)?;
        self.follows.by_import.contains_key(&key).then_some(key)
    }

    /// SYNC, SNAP or DELTA.
    pub(super) fn shared_frame(
        &mut self,
        message: &Bytes,
        parsed: &Parsed,
        frame: &Frame,
    ) -> Result<(), Violation> {
        match frame {
            Frame::Sync {
                target,
                mode,
                n,
                have,
            } => self.on_sync(*target, *mode, *n, *have),
            Frame::Snap {
                target,
                epoch,
                rev,
                ty,
                value,
                caps,
            } => {
                let ty = message.get(ty.range()).and_then(|ty| ty.try_into().ok());
                let change = Change::Snap {
                    epoch: *epoch,
                    rev: *rev,
                    ty: ty.unwrap_or_default(),
                };
                self.on_update(message, *target, change, *value, parsed.caps_of(*caps))
            }
            Frame::Delta {
                target,
                from,
                to,
                node,
                caps,
                hash,
            } => {
                let hash = message.get(hash.range());
                let change = Change::Delta {
                    from: *from,
                    to: *to,
                    hash: hash.and_then(|hash| hash.try_into().ok()),
                };
                self.on_update(message, *target, change, *node, parsed.caps_of(*caps))
            }
            _ => Ok(()),
        }
    }

    /// SNAP or DELTA.
    fn on_update(
        &mut self,
        message: &Bytes,
        target: Target,
        change: Change,
        payload: Payload,
        caps: &[Descriptor],
    ) -> Result<(), Violation> {
        let (len, long) = match payload {
            Payload::Inline(span) => (span.len(), None),
            Payload::Transfer(len) => (usize::try_from(len).unwrap_or(usize::MAX), Some(len)),
        };
        let (charge, count, head) = (charge(len, caps.len()), caps.len(), self.received());
        // R10.6: before the references are taken.
        let (key, named) = (self.followed(target), self.imports.named(target));
        let crosses = match named {
            None => self.was_named(target),
            Some(import) => {
                let import = self.imports.entries.get(import);
                import.is_some_and(|import| import.standing == Standing::Broken)
            }
        };
        let pending = named.and_then(|import| self.imports.entries.get(import));
        let pending = pending.is_some_and(|import| import.standing == Standing::Pending);
        let caps = self.take_caps(caps, None)?;
        let dropped = match key {
            // R10.6: it comes behind the RET that introduces it.
            Some(_) if pending => true,
            None => !crosses && !self.follows.was_left(target),
            _ => false,
        };
        let Some(key) = key.filter(|_| !pending && !self.is_stale(key)) else {
            // R11.11
            self.discard(caps);
            if dropped {
                self.strike()?;
            }
            return long.map_or(Ok(()), |len| self.expect_nothing(len));
        };
        let Some(following) = self.follows.by_import.get_mut(&key) else {
            return Ok(());
        };
        let wrong = if following.end.is_some() {
            Some(Violation::new(
                "R20.7",
                "SNAP or DELTA behind the END of its subscription",
            ))
        } else if following.crossing.is_none() && following.credit <= 0 {
            Some(Violation::new("R19.7", "SNAP or DELTA without credit"))
        } else {
            None
        };
        if let Some(violation) = wrong {
            self.discard(caps);
            return Err(violation);
        }
        // What may have been sent before our last SYNC took nothing of the credit that this gave. One message of that may
        // come (R20.11).
        if following.crossing.is_none() {
            following.credit -= charge;
        }
        let payload = match payload {
            Payload::Inline(span) => Blob::slice(message, span.range()),
            Payload::Transfer(_) => Blob::EMPTY,
        };
        let snap = match change {
            Change::Snap { epoch, .. } => {
                following.epoch = Some(epoch);
                true
            }
            Change::Delta { .. } => false,
        };
        following.queue.push_back(Queued {
            update: Update {
                change,
                payload,
                caps,
                cost: charge.unsigned_abs(),
            },
            head: long.map(|_| head),
            crossing: following.crossing.is_some(),
        });
        match long {
            Some(len) => self.expect_update(len, key, count, snap),
            None => {
                self.deliver_updates(key);
                Ok(())
            }
        }
    }

    /// Whether what comes now was surely sent before the peer read our last SYNC, or is of what we left.
    fn is_stale(&self, import: Option<ImportKey>) -> bool {
        let following = import.and_then(|import| self.follows.by_import.get(&import));
        following.is_some_and(|f| f.left || f.crossing.is_some_and(|seq| !self.is_acked(seq)))
    }

    /// END of what we follow.
    pub(super) fn on_follow_end(
        &mut self,
        key: ImportKey,
        fault: Option<Fault>,
    ) -> Result<(), Violation> {
        if self.is_stale(Some(key)) {
            return Ok(());
        }
        let Some(following) = self.follows.by_import.get_mut(&key) else {
            return Ok(());
        };
        if following.end.replace(fault).is_some() {
            return Err(Violation::new("R20.7", "a second END of one subscription"));
        }
        self.deliver_updates(key);
        Ok(())
    }

    /// Hands on what is whole, in order, and at last the END.
    fn deliver_updates(&mut self, import: ImportKey) {
        while let Some(following) = self.follows.by_import.get_mut(&import) {
            let front = following.queue.front();
            if front.is_some_and(|queued| queued.head.is_some()) {
                return;
            }
            let Some(Queued { update, .. }) = following.queue.pop_front() else {
                break;
            };
            let passes = match (update.change, following.passes) {
                (Change::Snap { .. }, _) => {
                    following.passes = Passes::All;
                    true
                }
                (Change::Delta { .. }, Passes::All) => true,
                (Change::Delta { from, .. }, Passes::From(rev)) if from == rev => {
                    following.passes = Passes::All;
                    true
                }
                _ => false,
            };
            let serial = following.serial;
            if passes {
                following.held += update.cost.cast_signed();
                let key = FollowKey { import, serial };
                self.events.push_back(Event::Update(key, Box::new(update)));
            } else {
                // R20.3
                following.read += update.cost.cast_signed();
                self.discard(update.caps);
                self.grant_read(import);
            }
        }
        let Some(following) = self.follows.by_import.get_mut(&import) else {
            return;
        };
        let Some(end) = following.end.take() else {
            return;
        };
        let key = FollowKey {
            import,
            serial: following.serial,
        };
        if following.crossing.is_some() {
            // It may be the end of the subscription before the last SYNC 1, and that one stands at the host.
            self.leave(import);
        } else {
            self.follows.by_import.remove(&import);
            self.follow_is_over(import);
        }
        self.events.push_back(Event::FollowEnded(key, end));
    }

    /// A payload is whole.
    pub(super) fn deliver_update(&mut self, import: ImportKey, head: u64, payload: Blob) {
        let following = self.follows.by_import.get_mut(&import);
        let queued = following.and_then(|f| f.queue.iter_mut().find(|q| q.head == Some(head)));
        if let Some(queued) = queued {
            (queued.update.payload, queued.head) = (payload, None);
            self.deliver_updates(import);
        }
    }

    /// The host gave a payload up on its way.
    pub(super) fn aborted_update(&mut self, import: ImportKey, head: u64) -> Result<(), Violation> {
        let Some(following) = self.follows.by_import.get_mut(&import) else {
            return Ok(());
        };
        let at = following.queue.iter().position(|q| q.head == Some(head));
        let Some(queued) = at.and_then(|at| following.queue.remove(at)) else {
            return Ok(());
        };
        let allowed = queued.crossing || following.end.is_some();
        self.discard(queued.update.caps);
        if !allowed {
            return Err(Violation::new(
                "R18.15",
                "a payload of a subscription that stands was given up",
            ));
        }
        self.deliver_updates(import);
        Ok(())
    }

    /// A message was taken. Where it acknowledged a SYNC, what comes from here on was sent after the peer read that:
    /// messages are sealed in order, and each says how far its sender had read.
    #[cold]
    pub(super) fn settle_syncs(&mut self) {
        let acked = self.flow.acked();
        self.follows.gone.retain(|_, sync| *sync > acked);
        for import in std::mem::take(&mut self.follows.crossing) {
            let Some(following) = self.follows.by_import.get_mut(&import) else {
                continue;
            };
            match following.crossing {
                Some(seq) if seq > acked => self.follows.crossing.push(import),
                _ if following.left => _ = self.follows.by_import.remove(&import),
                _ => following.crossing = None,
            }
        }
    }
}
