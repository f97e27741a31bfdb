//! Payloads above 65,536 bytes on their way out (R18): the head is an ordinary frame, its bytes follow in PARTs, of the
//! open transfers in turn, behind the frames that are ready, and never more than a window of them unacknowledged. Used
//! by those who write the heads (`calls`, `replies`, `producing`, `publishing`), and by `flow`, which asks for PARTs.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;
use helve_handles::Target;

use super::flow::WAITING_OVERHEAD;
use super::{Object, Session};
use crate::frame;
use crate::limits::PAYLOAD_MAX;
use crate::rope::Rope;

/// PARTs that may be unacknowledged, in bytes: a small frame goes out after at most four more of them.
const WINDOW: usize = 4 * PAYLOAD_MAX;

/// The number of a PART that will not be numbered any more.
const NEVER: u64 = u64::MAX;

/// Whose payload it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// The arguments of our CALL or OPEN of this id.
    Call(u64),
    /// The arguments of a TELL.
    Tell,
    /// Our result of the peer's call of this id.
    Ret(u64),
    /// Items of our stream of this name.
    Data(Target),
    /// A SNAP or DELTA to the subscription of this name.
    Shared(Target),
}

/// One transfer, from its head to its last PART.
#[derive(Debug)]
struct Open {
    /// Sequence number of the head.
    head: u64,
    of: Of,
    data: Rope,
    /// How many bytes were cut from it.
    cut: usize,
    /// Who waits until it is accepted.
    waiters: Vec<Waker>,
}

/// All of one session.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    open: VecDeque<Open>,
    /// Numbers and lengths of PARTs that are not acknowledged.
    parts: VecDeque<(u64, usize)>,
    unacked: usize,
    /// Of TELLs whose last PART is numbered and not acknowledged: head and last PART. At the end of a session also of
    /// those that were still open, with [`NEVER`].
    told: Vec<(u64, u64)>,
    /// Bytes of open results, which no permit bounds.
    results: u64,
    /// Large buffers that are of no use any more. To free one may take milliseconds.
    spent: Vec<Bytes>,
}

/// How far the payload of a TELL is.
pub(super) enum Told {
    /// It has no PARTs, or they are acknowledged.
    Whole,
    /// Accepted with the frame of this number.
    With(u64),
    /// Not all of it is numbered.
    Open,
    /// Not all of it was, when the session ended.
    Cut,
}

impl Transfers {
    /// Transfers that are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes of results whose transfer is open.
    pub(super) fn result_bytes(&self) -> u64 {
        self.results
    }

    /// Opens one; its head was numbered `head`.
    pub(super) fn begin(&mut self, head: u64, of: Of, data: Rope) {
        if let Of::Ret(_) = of {
            self.results += data.len() as u64;
        }
        self.open.push_back(Open {
            head,
            of,
            data,
            cut: 0,
            waiters: Vec::new(),
        });
    }

    /// Whether the next PART may go, as far as the window allows.
    #[inline]
    pub(super) fn ready(&self) -> bool {
        !self.open.is_empty() && self.unacked < WINDOW
    }

    /// PARTs up to `ack` were accepted.
    pub(super) fn acked(&mut self, ack: u64) {
        while let Some((_, len)) = self.parts.front().filter(|(seq, _)| *seq <= ack) {
            self.unacked -= len;
            self.parts.pop_front();
        }
        self.told.retain(|(_, last)| *last > ack);
    }

    /// Whether the TELL of this head is accepted with its head, with a later frame, or not yet numbered whole.
    pub(super) fn told(&mut self, head: u64, waker: &Waker) -> Told {
        if let Some((_, last)) = self.told.iter().find(|(h, _)| *h == head) {
            return match *last {
                NEVER => Told::Cut,
                last => Told::With(last),
            };
        }
        let Some(open) = self.open.iter_mut().find(|open| open.head == head) else {
            return Told::Whole;
        };
        if !open.waiters.iter().any(|w| w.will_wake(waker)) {
            open.waiters.push(waker.clone());
        }
        Told::Open
    }

    /// Whether the arguments of a call were not all numbered.
    pub(super) fn is_open(&self, head: u64) -> bool {
        self.open.iter().any(|open| open.head == head)
    }

    /// Whether this payload was begun and not numbered whole.
    pub(super) fn is_under_way(&self, of: Of) -> bool {
        self.open.iter().any(|open| open.of == of)
    }

    fn close(&mut self, open: Open) {
        if let Of::Ret(_) = open.of {
            self.results -= open.data.len() as u64;
        }
        self.spent.extend(open.data.into_pieces());
    }

    /// Takes one out before its end. Its head.
    pub(super) fn take(&mut self, of: Of) -> Option<u64> {
        let at = self.open.iter().position(|open| open.of == of)?;
        let open = self.open.remove(at)?;
        let head = open.head;
        self.close(open);
        Some(head)
    }

    /// Drops all of it; those who wait are woken.
    pub(super) fn end(&mut self, wakes: &mut Vec<Waker>) {
        for open in self.open.drain(..) {
            wakes.extend(open.waiters);
            self.spent.extend(open.data.into_pieces());
            if open.of == Of::Tell {
                self.told.push((open.head, NEVER));
            }
        }
        self.parts.clear();
        (self.unacked, self.results) = (0, 0);
    }
}

/// What stands in a head in place of a payload of `len` bytes (E4.9).
pub(super) fn announce(len: usize) -> Vec<u8> {
    let mut buf = Vec::with_capacity(12);
    frame::put_transfer(&mut buf, len as u64);
    buf
}

impl<O: Object> Session<O> {
    /// Whether one more transfer may be opened toward the peer (R18.7).
    pub(super) fn has_transfer_slot(&self) -> bool {
        self.flow.transfers.len() < self.config.theirs.transfers.max(1) as usize
    }

    /// Whether a PART may be numbered now (R18.4). Frames that wait for a transfer slot do not hold it up: it is what
    /// they wait for.
    #[inline]
    pub(super) fn has_part(&self) -> bool {
        self.flow.transfers.ready() && self.flow.room(self.config.replay)
    }

    /// The next PART, as a message of its own: its bytes are copied once, into what is sent and kept.
    pub(super) fn next_part(&mut self) -> Option<Bytes> {
        let flow = &mut self.flow;
        let mut open = flow.transfers.open.pop_front()?;
        let end = open.data.len().min(open.cut + PAYLOAD_MAX);
        let len = end - open.cut;
        let (seq, message) = flow.put_alone(len + WAITING_OVERHEAD, |buf| {
            frame::write_part_head(buf, open.head, len);
            open.data.copy_to(open.cut, end, buf);
        });
        let transfers = &mut flow.transfers;
        transfers.parts.push_back((seq, len));
        transfers.unacked += len;
        open.cut = end;
        if end < open.data.len() {
            transfers.open.push_back(open);
            return Some(message);
        }
        let (of, head) = (open.of, open.head);
        self.wakes.append(&mut open.waiters);
        transfers.close(open);
        match of {
            Of::Tell => transfers.told.push((head, seq)),
            // It is written whole with this one (S8.2).
            Of::Call(id) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.seq = seq;
                }
            }
            Of::Shared(name) => self.published(name),
            Of::Ret(_) | Of::Data(_) => {}
        }
        // Its slot is free.
        self.pump();
        Some(message)
    }

    /// Ends a transfer that nobody wants any more: a PART without bytes (R18.10, R18.11). Its slot is free, so this goes
    /// ahead of the heads that wait for one (R18.14): behind them, the peer would count one too many.
    pub(super) fn abort_transfer(&mut self, of: Of) {
        if let Some(head) = self.flow.transfers.take(of) {
            self.post_ahead(|buf| frame::write_part(buf, head, None));
        }
    }

    /// CANCEL of a call of ours, and an abort behind it if its arguments are still on their way (R18.11).
    pub(super) fn post_cancel(&mut self, id: u64) {
        let Some(head) = self.flow.transfers.take(Of::Call(id)) else {
            return self.post(|buf| frame::write_cancel(buf, id));
        };
        self.post_ahead(|buf| frame::write_cancel(buf, id));
        self.post_ahead(|buf| frame::write_part(buf, head, None));
    }

    /// Large buffers that are done with. Drop them where nobody waits: it may take milliseconds.
    pub fn take_spent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.flow.transfers.spent)
    }

    /// Whether [`take_spent`](Self::take_spent) has something.
    #[inline]
    pub fn has_spent(&self) -> bool {
        !self.flow.transfers.spent.is_empty()
    }
}
