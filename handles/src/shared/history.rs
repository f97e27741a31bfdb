//! [`History`]: what a shared value was and how it changed, as bytes. Whoever follows the value is served from here,
//! wherever it stands (objects.md, section 6).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::patch::{self, PatchError, PatchReader};
use crate::references::{self, Reference};
use crate::track::Track;

/// Bytes of a node or a snapshot, and the references in them. Cloning shares both, so that a change is encoded once for
/// all who follow.
#[derive(Clone, Debug)]
pub struct Payload {
    /// MessagePack.
    pub bytes: Bytes,
    /// By the places that the bytes name.
    pub refs: Arc<[Reference]>,
}

impl Payload {
    /// These bytes, and the references that they name.
    pub fn of(bytes: Vec<u8>, refs: Vec<Reference>) -> Payload {
        Payload::new((bytes, refs))
    }

    /// Applies a node to a value.
    ///
    /// # Errors
    /// It does not fit, or has more than `quota` operations. The value may be half changed.
    pub fn apply<T: Track>(&self, value: &mut T, quota: u64) -> Result<(), PatchError> {
        let mut reader = PatchReader::new(&self.bytes).with_quota(quota);
        references::provide(&self.refs, || {
            value.patch(&mut reader)?;
            reader.finish()
        })
    }

    pub(super) fn new((bytes, refs): (Vec<u8>, Vec<Reference>)) -> Payload {
        Payload {
            bytes: bytes.into(),
            refs: refs.into(),
        }
    }
}

/// What brings one who follows nearer to the head.
#[derive(Clone, Debug)]
pub enum Update {
    /// All of the value, as it was at `rev`.
    Snapshot {
        /// Its revision.
        rev: u64,
        /// The value.
        value: Payload,
    },
    /// A change of what it was at `from`.
    Delta {
        /// Where it starts.
        from: u64,
        /// Where it leads.
        to: u64,
        /// The node.
        node: Payload,
    },
}

/// In which life of its host a value counts its revisions, and what type it has there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Life {
    /// Another one after each start of the host.
    pub epoch: u64,
    /// Hash of the type's description.
    pub ty: [u8; 16],
}

/// One change, and the revision that it leads to from that of the one before.
#[derive(Clone, Debug)]
struct Step {
    to: u64,
    node: Payload,
}

/// A snapshot, and the changes since (and some before it).
#[derive(Debug)]
pub struct History {
    life: Life,
    head: u64,
    /// Revision that the ring starts from.
    first: u64,
    /// What leads from `first` to the head: a step for each revision at the host, perhaps for several at a forwarder.
    ring: VecDeque<Step>,
    /// Sum of their lengths.
    ring_bytes: usize,
    /// How many of them hold references.
    ring_refs: usize,
    snap_rev: u64,
    snap: Payload,
    /// What several steps at once come to, by (from, to): those who lag alike share it.
    composed: VecDeque<(u64, u64, Option<Payload>)>,
}

/// How many revisions the ring holds at most.
const REVISIONS_MAX: usize = 1024;
/// How many bytes it may hold, however small the value is.
const RING_MIN: usize = 64 << 10;
/// How many compositions are kept.
const COMPOSED_MAX: usize = 8;
/// How a node begins that sets all of a value, which follows.
const SET: [u8; 2] = [0x92, 0x00];

impl History {
    /// Begins with the value as it is at revision `rev`.
    pub fn new(rev: u64, value: Payload) -> History {
        History {
            life: Life::default(),
            head: rev,
            first: rev,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_refs: 0,
            snap_rev: rev,
            snap: value,
            composed: VecDeque::new(),
        }
    }

    /// The same, of this life.
    pub fn living(mut self, life: Life) -> History {
        self.live(life);
        self
    }

    /// Says which life its revisions are of.
    pub fn live(&mut self, life: Life) {
        self.life = life;
    }

    /// The life that its revisions are of.
    pub fn life(&self) -> Life {
        self.life
    }

    /// The newest revision.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The oldest revision from which a change leads to the head.
    pub fn tail(&self) -> u64 {
        self.first
    }

    /// Bytes held, besides the value itself.
    pub fn size(&self) -> usize {
        self.ring_bytes + self.snap.bytes.len()
    }

    /// The revision of the snapshot.
    pub fn snapshot_rev(&self) -> u64 {
        self.snap_rev
    }

    /// How long the snapshot is, in bytes.
    pub fn snapshot_len(&self) -> usize {
        self.snap.bytes.len()
    }

    /// How long the value may be now at most, in bytes: no change adds more than its own length.
    pub fn value_len_max(&self) -> usize {
        let since = self.since(self.snap_rev).map(|node| node.bytes.len());
        self.snap.bytes.len() + since.sum::<usize>()
    }

    /// How many steps lead to a revision. `None`: none ends there.
    fn steps_to(&self, rev: u64) -> Option<usize> {
        if rev == self.first {
            return Some(0);
        }
        let at = self.ring.binary_search_by_key(&rev, |step| step.to);
        at.ok().map(|at| at + 1)
    }

    /// The nodes above a revision that the ring holds.
    fn since(&self, rev: u64) -> impl Iterator<Item = &Payload> {
        let skip = self.ring.partition_point(|step| step.to <= rev);
        self.ring.iter().skip(skip).map(|step| &step.node)
    }

    /// The snapshot, and the nodes that lead from it to the head: what a value is rebuilt from.
    pub fn replay(&self) -> (Payload, Vec<Payload>) {
        (
            self.snap.clone(),
            self.since(self.snap_rev).cloned().collect(),
        )
    }

    /// Whether the next change wants a new snapshot beside it.
    pub fn wants_snapshot(&self, node_len: usize) -> bool {
        let bytes: usize = self.since(self.snap_rev).map(|node| node.bytes.len()).sum();
        let steps = self.since(self.snap_rev).count();
        bytes + node_len > self.room() || steps + 1 >= REVISIONS_MAX
    }

    /// Whether what changed since the snapshot takes more than half of the room there is.
    pub(super) fn is_half_full(&self) -> bool {
        let since = || self.since(self.snap_rev).map(|node| node.bytes.len());
        since().sum::<usize>() > self.room() / 2 || since().count() > REVISIONS_MAX / 2
    }

    /// Whether it keeps references alive, which the value may not hold any more.
    pub fn holds_references(&self) -> bool {
        self.ring_refs > 0 || !self.snap.refs.is_empty()
    }

    /// Lets references go that only changes hold which nobody needs any more: everybody has been told up to `told`.
    /// What is let go is returned, to be dropped where that may run code.
    pub fn forget_references(&mut self, told: u64) -> Vec<Payload> {
        let until = told.min(self.snap_rev);
        let old = self.ring.partition_point(|step| step.to <= until);
        if self.ring_refs == 0 {
            return Vec::new();
        }
        let composed = self
            .composed
            .drain(..)
            .filter_map(|(.., composed)| composed);
        let mut gone: Vec<Payload> = composed.collect();
        for Step { to, node } in self.ring.drain(..old) {
            self.ring_bytes -= node.bytes.len();
            self.ring_refs -= usize::from(!node.refs.is_empty());
            self.first = to;
            gone.push(node);
        }
        gone
    }

    fn room(&self) -> usize {
        self.snap.bytes.len().max(RING_MIN)
    }

    /// The value changed by `node`. Returns the new revision.
    pub fn push(&mut self, node: Payload) -> u64 {
        self.push_to(self.head + 1, node)
    }

    /// The same, where `node` leads to revision `to`, which is above the head.
    pub fn push_to(&mut self, to: u64, node: Payload) -> u64 {
        self.head = to;
        self.ring_bytes += node.bytes.len();
        self.ring_refs += usize::from(!node.refs.is_empty());
        self.ring.push_back(Step { to, node });
        self.composed.clear();
        self.trim();
        self.head
    }

    /// All of the value as it is at the head.
    pub fn snapshot(&mut self, value: Payload) {
        self.snap_rev = self.head;
        self.snap = value;
        self.trim();
    }

    /// Drops what is too old, but for what leads from the snapshot to the head.
    fn trim(&mut self) -> Vec<Payload> {
        let mut gone = Vec::new();
        while self.first < self.snap_rev
            && (self.ring_bytes > self.room() || self.ring.len() > REVISIONS_MAX)
            && let Some(oldest) = self.ring.pop_front()
        {
            self.ring_bytes -= oldest.node.bytes.len();
            self.ring_refs -= usize::from(!oldest.node.refs.is_empty());
            self.first = oldest.to;
            gone.push(oldest.node);
        }
        gone
    }

    /// What somebody gets who stands at `cursor`, or nowhere yet: one change to the head where that is known and
    /// smaller than the value; else the snapshot, behind which a change may follow. `None`: at the head already.
    pub fn next(&mut self, cursor: Option<u64>) -> Option<Update> {
        let known = cursor.and_then(|rev| Some((rev, self.steps_to(rev)?)));
        let Some((from, at)) = known else {
            return Some(self.all());
        };
        if from == self.head {
            return None;
        }
        let worth = self.snap.bytes.len().max(64);
        match self.delta(from) {
            Some(node) if node.bytes.len() <= worth => Some(Update::Delta {
                from,
                to: self.head,
                node,
            }),
            _ if from < self.snap_rev => Some(self.all()),
            // A snapshot would lead back: step by step.
            _ => self.ring.get(at).map(|step| Update::Delta {
                from,
                to: step.to,
                node: step.node.clone(),
            }),
        }
    }

    /// All that changed since a revision, as one change. `None`: that is not known any more, or not yet.
    pub fn between(&mut self, from: u64) -> Option<Payload> {
        let before = self.steps_to(from)? < self.ring.len();
        if before { self.delta(from) } else { None }
    }

    /// Makes one step of those that lead from revision `from` to `to`, as far as that is possible: whoever stands in
    /// between gets the snapshot then. What it replaced is returned, to be dropped where that may run code.
    pub(super) fn squash(&mut self, from: u64, to: u64) -> Vec<Payload> {
        let (Some(start), Some(end)) = (self.steps_to(from), self.steps_to(to)) else {
            return Vec::new();
        };
        if start + 1 >= end {
            return Vec::new();
        }
        let nodes: Vec<_> = self
            .ring
            .range(start..end)
            .map(|step| (&*step.node.bytes, &*step.node.refs))
            .collect();
        let Some(node) = patch::compose(&nodes).map(Payload::new) else {
            return Vec::new();
        };
        let behind = self.ring.split_off(end);
        let mut gone: Vec<Payload> = self.ring.drain(start..).map(|step| step.node).collect();
        self.ring.push_back(Step { to, node });
        self.ring.extend(behind);
        let nodes = || self.ring.iter().map(|step| &step.node);
        self.ring_bytes = nodes().map(|node| node.bytes.len()).sum();
        self.ring_refs = nodes().filter(|node| !node.refs.is_empty()).count();
        gone.extend(self.composed.drain(..).filter_map(|(.., node)| node));
        gone
    }

    /// Takes the last change that sets all of the value as the snapshot. What is let go is returned.
    pub(super) fn take_set(&mut self) -> Vec<Payload> {
        let is_set = |step: &Step| step.to > self.snap_rev && step.node.bytes.starts_with(&SET);
        let Some(at) = self.ring.iter().rposition(is_set) else {
            return Vec::new();
        };
        let Some(Step { to, node }) = self.ring.get(at) else {
            return Vec::new();
        };
        let snap = Payload {
            bytes: node.bytes.slice(SET.len()..),
            refs: node.refs.clone(),
        };
        self.snap_rev = *to;
        let old = std::mem::replace(&mut self.snap, snap);
        let mut gone = self.trim();
        gone.push(old);
        gone
    }

    fn all(&self) -> Update {
        Update::Snapshot {
            rev: self.snap_rev,
            value: self.snap.clone(),
        }
    }

    /// One node from a revision of the ring to the head.
    fn delta(&mut self, from: u64) -> Option<Payload> {
        if self.steps_to(from)? + 1 == self.ring.len() {
            return self.ring.back().map(|step| step.node.clone());
        }
        if let Some((_, _, known)) = self
            .composed
            .iter()
            .find(|(start, end, _)| (*start, *end) == (from, self.head))
        {
            return known.clone();
        }
        let nodes: Vec<_> = self
            .since(from)
            .map(|node| (&*node.bytes, &*node.refs))
            .collect();
        let composed = patch::compose(&nodes).map(Payload::new);
        if self.composed.len() >= COMPOSED_MAX {
            self.composed.pop_front();
        }
        self.composed.push_back((from, self.head, composed.clone()));
        composed
    }
}
