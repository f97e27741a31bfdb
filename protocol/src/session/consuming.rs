//! The peer's streams, as their reader: what came and was not read yet, and the credit given back for what was (R19).

use std::collections::{HashMap, VecDeque};
use std::task::{Poll, Waker};

use bytes::Bytes;
use helve_handles::{Descriptor, IdHash, Target};

use super::caps::Received;
use super::producing::{charge, excess};
use super::tables::Standing;
use super::{Event, ImportKey, Object, Session};
use crate::blob::Blob;
use crate::fault::Fault;
use crate::frame::{self, Payload};
use crate::limits::STREAM_CREDIT;
use crate::{Code, Violation};

/// Credit goes back in pieces of at least so much, so that small items do not cost a CREDIT each.
const GIVE_BACK: i64 = STREAM_CREDIT / 2;

/// What a reader gets next.
#[derive(Debug)]
pub enum Pulled<O> {
    /// The items of one DATA, an encoded array, with the references in it by cap index.
    Items(Blob, Vec<Received<O>>),
    /// There will be nothing more: a good end, or why there was none.
    End(Option<Fault>),
}

/// The items of a DATA, as far as they are here.
#[derive(Debug)]
enum Came {
    Whole(Blob),
    /// They follow in PARTs behind the head of this number (R18.6).
    Head(u64),
}

/// One stream of the peer's, from its first DATA or END on.
#[derive(Debug)]
pub(super) struct Consuming<O> {
    /// What the peer may still send.
    credit: i64,
    /// What was read and not granted again.
    read: i64,
    queue: VecDeque<(i64, Came, Vec<Received<O>>)>,
    end: Option<Option<Fault>>,
    waker: Option<Waker>,
}

/// The peer's streams that something came of.
pub(super) type Consumers<O> = HashMap<ImportKey, Consuming<O>, IdHash>;

impl<O: Object> Session<O> {
    pub(super) fn on_data(
        &mut self,
        message: &Bytes,
        target: Target,
        payload: Payload,
        caps: &[Descriptor],
    ) -> Result<(), Violation> {
        let len = match payload {
            Payload::Inline(span) => span.len(),
            Payload::Transfer(len) => usize::try_from(len).unwrap_or(usize::MAX),
        };
        let (others, most) = (self.overdrawn, self.config.ours.bytes);
        let (charge, count, head) = (charge(len, caps.len()), caps.len(), self.received());
        // R10.6: before the references are taken, for a stream that its own item introduces would hold itself.
        let (named, released) = (self.imports.named(target).is_some(), self.was_named(target));
        let caps = match caps {
            [] => Vec::new(),
            caps => self.take_caps(caps, None)?,
        };
        if !named {
            self.discard(caps);
            if !released {
                self.strike()?;
            }
            return match payload {
                Payload::Transfer(len) => self.expect_nothing(len),
                Payload::Inline(_) => Ok(()),
            };
        }
        match self.reading(target) {
            Ok(Some((key, stream))) => {
                let wrong = if stream.end.is_some() {
                    Some(Violation::new("R19.9", "DATA behind the END of its stream"))
                } else if stream.credit <= 0 {
                    Some(Violation::new("R19.3", "DATA of a stream without credit"))
                } else if others > 0 && others + excess(stream.credit - charge) > most {
                    Some(Violation::new(
                        "R19.11",
                        "unread items of streams above the `bytes` limit",
                    ))
                } else {
                    None
                };
                if let Some(violation) = wrong {
                    self.discard(caps);
                    return Err(violation);
                }
                stream.credit -= charge;
                let overdrawn = excess(stream.credit);
                let items = match payload {
                    Payload::Inline(span) => Came::Whole(Blob::slice(message, span.range())),
                    Payload::Transfer(_) => Came::Head(head),
                };
                stream.queue.push_back((charge, items, caps));
                // Else it waits for its PARTs, and what is behind it with it (R18.6).
                if let Some((_, Came::Whole(_), _)) = stream.queue.front() {
                    let waker = stream.waker.take();
                    self.wakes.extend(waker);
                }
                self.overdrawn += overdrawn;
                match payload {
                    Payload::Transfer(len) => self.expect_items(len, key, count),
                    Payload::Inline(_) => Ok(()),
                }
            }
            Ok(None) => {
                self.discard(caps);
                match payload {
                    Payload::Transfer(len) => self.expect_nothing(len),
                    Payload::Inline(_) => Ok(()),
                }
            }
            Err(violation) => {
                self.discard(caps);
                Err(violation)
            }
        }
    }

    pub(super) fn on_end(&mut self, target: Target, fault: Option<Fault>) -> Result<(), Violation> {
        let Some((_, stream)) = self.reading(target)? else {
            return Ok(());
        };
        if stream.end.is_some() {
            return Err(Violation::new("R19.9", "a second END of one stream"));
        }
        stream.end = Some(fault);
        let waker = stream.waker.take();
        self.wakes.extend(waker);
        Ok(())
    }

    /// The stream that a DATA or END names, a new one with the first of them. `None`: it is read no more, which is no
    /// fault of the peer's (R11.10).
    fn reading(
        &mut self,
        target: Target,
    ) -> Result<Option<(ImportKey, &mut Consuming<O>)>, Violation> {
        let key = self
            .imports
            .named(target)
            .filter(|key| *key != self.imports.root);
        let import = key.and_then(|key| Some((key, self.imports.entries.get_mut(key)?)));
        let Some((key, import)) = import else {
            if !self.was_named(target) {
                self.strike()?;
            }
            return Ok(None);
        };
        match import.standing {
            Standing::Settled => {}
            Standing::Broken | Standing::Expired => return Ok(None),
            // R10.6: it comes behind the RET that introduces it.
            Standing::Pending => {
                self.strike()?;
                return Ok(None);
            }
        }
        if !self.consumers.contains_key(&key) {
            let limit = self.config.ours.streams as usize;
            if self.consumers.len() >= limit {
                return Err(Violation::new("R14.4", "more streams than were allowed"));
            }
            let stream = Consuming {
                credit: STREAM_CREDIT,
                read: 0,
                queue: VecDeque::new(),
                end: None,
                waker: None,
            };
            let watchers = import.take_watchers();
            self.wakes.extend(watchers);
            if import.watched {
                self.events.push_back(Event::Flows(key));
            }
            self.consumers.insert(key, stream);
        }
        Ok(self.consumers.get_mut(&key).map(|stream| (key, stream)))
    }

    /// Whether the peer named that object to us before, so that a frame of it may cross its RELEASE.
    pub(super) fn was_named(&self, target: Target) -> bool {
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => c < self.calls.next_id(),
            (None, k) => (1..=self.imports.seen).contains(&k.unwrap_or_default()),
        }
    }

    /// What a stream of the peer's holds next. What is taken out counts as read: its credit goes back to the peer. After
    /// an end the same end comes again; the reference is still to be [`release`](Self::release)d.
    pub fn poll_items(&mut self, key: ImportKey, waker: &Waker) -> Poll<Pulled<O>> {
        let Some(stream) = self.consumers.get_mut(&key) else {
            let Some(import) = self.imports.entries.get_mut(key) else {
                return Poll::Ready(Pulled::End(Some(self.lost())));
            };
            if let Some(fault) = import.fault() {
                return Poll::Ready(Pulled::End(Some(fault)));
            }
            super::opens::watch(&mut import.rare().watchers, waker);
            return Poll::Pending;
        };
        let whole = match stream.queue.front() {
            Some((_, Came::Whole(_), _)) => stream.queue.pop_front(),
            _ => None,
        };
        let Some((charge, Came::Whole(items), caps)) = whole else {
            if let Some(end) = stream.end.as_ref().filter(|_| stream.queue.is_empty()) {
                return Poll::Ready(Pulled::End(end.clone()));
            }
            match &mut stream.waker {
                Some(kept) => kept.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return Poll::Pending;
        };
        stream.read += charge;
        if stream.read >= GIVE_BACK && stream.end.is_none() {
            let n = std::mem::take(&mut stream.read);
            let before = excess(stream.credit);
            stream.credit += n;
            self.overdrawn -= before - excess(stream.credit);
            let import = self.imports.entries.get(key);
            if let Some(target) = import.and_then(|import| import.name.target()) {
                self.post(|buf| frame::write_credit(buf, target, n.unsigned_abs(), 0));
            }
        }
        Poll::Ready(Pulled::Items(items, caps))
    }

    /// An import broke: a stream ends with it, behind what came before.
    pub(super) fn break_consumer(&mut self, key: ImportKey, fault: &Fault) {
        if let Some(stream) = self.consumers.get_mut(&key) {
            stream.end.get_or_insert_with(|| Some(fault.clone()));
            self.wakes.extend(stream.waker.take());
            // What is under way is given up (R18.13), and what is behind it is not read without it.
            let whole = |(_, items, _): &(_, Came, _)| matches!(items, Came::Whole(_));
            let whole = stream.queue.iter().take_while(|item| whole(item)).count();
            for (_, items, caps) in stream.queue.split_off(whole) {
                self.discard(caps);
                if let Came::Head(head) = items {
                    self.forget_items(head);
                }
            }
        }
    }

    /// An import is released: nobody reads what is left of its stream.
    pub(super) fn forget_consumer(&mut self, key: ImportKey) {
        if let Some(stream) = self.consumers.remove(&key) {
            self.wakes.extend(stream.waker);
            self.overdrawn -= excess(stream.credit);
            for (_, items, caps) in stream.queue {
                self.discard(caps);
                if let Came::Head(head) = items {
                    self.forget_items(head);
                }
            }
        }
    }

    /// The session is over: what came may still be read, and then the error.
    pub(super) fn end_consumers(&mut self, lost: &Fault) {
        let mut cut = Vec::new();
        for stream in self.consumers.values_mut() {
            // What is not whole by now never will be, and what is behind it is not read without it.
            let whole = |(_, items, _): &(_, Came, _)| matches!(items, Came::Whole(_));
            let whole = stream.queue.iter().take_while(|item| whole(item)).count();
            cut.extend(stream.queue.drain(whole..).map(|(_, _, caps)| caps));
            stream.end.get_or_insert_with(|| Some(lost.clone()));
            self.wakes.extend(stream.waker.take());
        }
        for caps in cut {
            self.scrap_caps(caps);
        }
    }

    /// The items of a DATA are all here.
    pub(super) fn deliver_items(&mut self, key: ImportKey, head: u64, items: Blob) {
        let Some(stream) = self.consumers.get_mut(&key) else {
            return;
        };
        let mut waiting = stream.queue.iter_mut();
        if let Some((_, came, _)) =
            waiting.find(|(_, came, _)| matches!(came, Came::Head(h) if *h == head))
        {
            *came = Came::Whole(items);
            self.wakes.extend(stream.waker.take());
        }
    }
}

/// The fault of an END.
pub(super) fn end_fault(code: Option<u64>, message: &str, data: Blob) -> Option<Fault> {
    code.map(|code| Fault {
        code: Code::from_raw(code),
        message: message.into(),
        data,
    })
}
