//! Results that wait here for replicas (R10.5): a call that changed shared values is answered to its caller once the
//! replicas that this side follows show the change. The permit came back with RET, and nothing waits at the host.

use bytes::Bytes;
use helve_handles::{Descriptor, Target};

use super::calls::Asker;
use super::{ImportKey, Object, Session};
use crate::Violation;
use crate::frame::{Payload, Span};
use crate::read::Reader;

/// Whose result it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    /// Our call of this id.
    Call(u64),
    /// What our OPEN led to. It is settled, but does not say so yet.
    Open(ImportKey),
}

/// A replica that is not there yet.
#[derive(Clone, Copy, Debug)]
struct Wait {
    replica: ImportKey,
    /// The life of the value that it shows or is on its way to. `None`: no SNAP had come before the result, and one that
    /// comes behind it shows what it changed, or another life.
    epoch: Option<u64>,
    rev: u64,
}

/// A result, and what it still waits for: at least one.
#[derive(Debug)]
struct Hold {
    whose: Whose,
    waits: Vec<Wait>,
}

/// All of one session.
#[derive(Debug, Default)]
pub(super) struct Holds(Vec<Hold>);

impl Holds {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the answer of the OPEN that led to this is held.
    #[inline]
    pub(super) fn holds_open(&self, key: ImportKey) -> bool {
        self.0.iter().any(|hold| hold.whose == Whose::Open(key))
    }
}

impl<O: Object> Session<O> {
    /// RET that names revisions.
    #[inline(never)]
    pub(super) fn on_ret_changed(
        &mut self,
        id: u64,
        message: &Bytes,
        value: &Payload,
        seen: Span,
        caps: &[Descriptor],
    ) -> Result<(), Violation> {
        let pairs = message.get(seen.range()).unwrap_or_default();
        if let Some(call) = self.calls.get(id)
            && let Asker::Passed(ticket) | Asker::PassedOpen(ticket, _) = call.asker
        {
            // Who passes a result on to others does so at once (R9.9).
            let changed = pairs_of(pairs)
                .filter_map(|(target, rev)| Some((self.followed(target)?, rev)))
                .collect();
            self.passed_changed(ticket, changed);
        }
        let waits = self.waits(pairs);
        if !waits.is_empty()
            && let Some(call) = self.calls.get_mut(id)
            && call.answer.is_none()
            && !call.arriving
        {
            let whose = match call.asker {
                Asker::Task(_) => Some(Whose::Call(id)),
                Asker::Open(key) => Some(Whose::Open(key)),
                _ => None,
            };
            call.held = whose == Some(Whose::Call(id));
            let hold = |whose| Hold { whose, waits };
            self.holds.0.extend(whose.map(hold));
        }
        self.on_any_ret(id, message, value, caps)
    }

    /// Those of the pairs, scanned, that name a replica of ours which is not there.
    fn waits(&self, pairs: &[u8]) -> Vec<Wait> {
        let mut waits: Vec<Wait> = Vec::new();
        for (target, rev) in pairs_of(pairs) {
            let Some(wait) = self.wait_for(target, rev) else {
                continue;
            };
            match waits.iter_mut().find(|w| w.replica == wait.replica) {
                Some(same) => same.rev = same.rev.max(wait.rev),
                None => waits.push(wait),
            }
        }
        waits
    }

    fn wait_for(&self, target: Target, rev: u64) -> Option<Wait> {
        let replica = self.followed(target)?;
        let standing = self.follows.standing(replica)?;
        let epoch = standing.epoch.or(standing.reached.map(|(epoch, _)| epoch));
        match standing.reached {
            Some((at, reached)) if Some(at) == epoch && reached >= rev => None,
            _ => Some(Wait {
                replica,
                epoch,
                rev,
            }),
        }
    }

    /// A replica got on; `new_life` where its epoch is another than before.
    pub(super) fn replica_is_at(
        &mut self,
        replica: ImportKey,
        epoch: u64,
        rev: u64,
        new_life: bool,
    ) {
        self.settle_waits(|wait| {
            if wait.replica != replica {
                return false;
            }
            match wait.epoch {
                None => true,
                Some(other) if other != epoch => new_life,
                Some(_) => rev >= wait.rev,
            }
        });
    }

    /// A subscription is over, or its reference went: nobody waits for it any more.
    pub(super) fn follow_is_over(&mut self, replica: ImportKey) {
        if !self.holds.is_empty() {
            self.settle_waits(|wait| wait.replica == replica);
            self.unhold(Whose::Open(replica));
        }
    }

    fn settle_waits(&mut self, is_there: impl Fn(&Wait) -> bool) {
        let mut free = Vec::new();
        self.holds.0.retain_mut(|hold| {
            hold.waits.retain(|wait| !is_there(wait));
            if hold.waits.is_empty() {
                free.push(hold.whose);
            }
            !hold.waits.is_empty()
        });
        for whose in free {
            self.hand_out(whose);
        }
    }

    fn hand_out(&mut self, whose: Whose) {
        match whose {
            Whose::Call(id) => {
                let Some(call) = self.calls.get_mut(id) else {
                    return;
                };
                call.held = false;
                // Else it is still on its way, in PARTs.
                if call.answer.is_some()
                    && let Asker::Task(waker) = &mut call.asker
                {
                    self.wakes.extend(waker.take());
                }
            }
            Whose::Open(key) => {
                if let Some(import) = self.imports.entries.get_mut(key) {
                    let watchers = import.take_watchers();
                    self.wakes.extend(watchers);
                }
            }
        }
    }

    /// Its result is wanted no more, or is an error now, which waits for nothing.
    #[cold]
    pub(super) fn unhold_call(&mut self, id: u64) {
        self.unhold(Whose::Call(id));
    }

    fn unhold(&mut self, whose: Whose) {
        self.holds.0.retain(|hold| hold.whose != whose);
    }

    /// The session is over: what came is handed out.
    pub(super) fn end_holds(&mut self) {
        for hold in std::mem::take(&mut self.holds.0) {
            self.hand_out(hold.whose);
        }
    }
}

/// The value of `s`, scanned: targets and revisions.
fn pairs_of(pairs: &[u8]) -> impl Iterator<Item = (Target, u64)> {
    let mut reader = Reader::new(pairs);
    let count = reader.array().unwrap_or_default() / 2;
    (0..count).map_while(move |_| Some((reader.target().ok()?, reader.id().ok()?)))
}
