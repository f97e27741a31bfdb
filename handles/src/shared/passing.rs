//! [`Passing`]: somebody else's value as a forwarder keeps it, in bytes whose type it does not know (R9.4). What comes
//! from the host makes a [`History`], from which everybody behind the forwarder is served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::history::{History, Life, Payload};

/// A value that passes through.
#[derive(Debug, Default)]
pub struct Passing {
    served: Option<Arc<Mutex<History>>>,
    /// Begun by a snapshot that is older than what is served, until it is as new.
    fresh: Option<History>,
    outgrown: bool,
}

/// What became of something that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    /// Those who follow can be told.
    On,
    /// It leads to nothing that they do not know yet.
    Kept,
    /// It does not lead on from what is here: all of the value is needed.
    Gap,
}

/// What is not needed any more, to be dropped where that may run code: references may be the last ones of their objects.
#[derive(Debug, Default)]
#[must_use = "dropped where locks are held, it may run somebody's code there"]
pub struct Gone {
    _nodes: Vec<Payload>,
    _served: Option<Arc<Mutex<History>>>,
    _fresh: Option<History>,
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes room for a node of `len` bytes: of all steps since the snapshot two are made, which meet at the revision `told`,
/// so that nobody who lags behind must have all of the value again.
fn make_room(history: &mut History, len: usize, told: Option<u64>) -> Vec<Payload> {
    if !history.wants_snapshot(len) {
        return Vec::new();
    }
    let (snap, head) = (history.snapshot_rev(), history.head());
    let told = told.filter(|told| (snap..=head).contains(told));
    let middle = told.unwrap_or(head);
    let mut gone = history.squash(snap, middle);
    gone.append(&mut history.squash(middle, head));
    gone.append(&mut history.take_set());
    gone
}

impl Passing {
    /// What those who follow are served from. `None`: nothing came yet.
    pub fn served(&self) -> Option<Arc<Mutex<History>>> {
        self.served.clone()
    }

    /// The life and the revision that those who follow can be told.
    pub fn head(&self) -> Option<(Life, u64)> {
        let served = lock(self.served.as_ref()?);
        Some((served.life(), served.head()))
    }

    /// The epoch and the revision from which the host may go on.
    pub fn have(&self) -> Option<(u64, u64)> {
        match &self.fresh {
            Some(fresh) => Some((fresh.life().epoch, fresh.head())),
            None => self.head().map(|(life, rev)| (life.epoch, rev)),
        }
    }

    /// All of the value came. Where it is older than what others were told in the same epoch it waits for the changes
    /// that lead there (R9.10).
    pub fn snapshot(&mut self, life: Life, rev: u64, value: Payload) -> (Passed, Gone) {
        let is_older = |(old, head): (Life, u64)| old.epoch == life.epoch && rev < head;
        self.outgrown = false;
        let history = History::new(rev, value).living(life);
        let mut gone = Gone {
            _fresh: self.fresh.take(),
            ..Gone::default()
        };
        if self.head().is_some_and(is_older) {
            self.fresh = Some(history);
            return (Passed::Kept, gone);
        }
        gone._served = self.served.replace(Arc::new(Mutex::new(history)));
        (Passed::On, gone)
    }

    /// A change came. `told`: the oldest revision at which somebody stands who follows.
    pub fn delta(
        &mut self,
        from: u64,
        to: u64,
        node: Payload,
        told: Option<u64>,
    ) -> (Passed, Gone) {
        let Some(served) = self.served.clone() else {
            return (Passed::Gap, Gone::default());
        };
        let mut gone = Gone::default();
        let Some(mut fresh) = self.fresh.take() else {
            let mut history = lock(&served);
            if to <= history.head() {
                return (Passed::Kept, gone);
            }
            if from != history.head() {
                return (Passed::Gap, gone);
            }
            let len = node.bytes.len();
            gone._nodes = make_room(&mut history, len, told);
            let was_full = !gone._nodes.is_empty() || history.wants_snapshot(len);
            history.push_to(to, node);
            gone._nodes.append(&mut history.take_set());
            // To be made shorter for every few changes would cost more than all of the value.
            self.outgrown = was_full && history.is_half_full();
            return (Passed::On, gone);
        };
        if from != fresh.head() || to <= from {
            gone._fresh = Some(fresh);
            return (Passed::Gap, gone);
        }
        gone._nodes = make_room(&mut fresh, node.bytes.len(), None);
        fresh.push_to(to, node);
        gone._nodes.append(&mut fresh.take_set());
        if to < lock(&served).head() {
            self.fresh = Some(fresh);
            return (Passed::Kept, gone);
        }
        gone._served = self.served.replace(Arc::new(Mutex::new(fresh)));
        (Passed::On, gone)
    }

    /// Whether the changes since the snapshot are longer than they may become: all of the value should be asked for.
    pub fn is_outgrown(&self) -> bool {
        self.outgrown
    }

    /// How long the snapshot is, where it or a change since may name references that the value does not hold any more:
    /// nothing here can tell, and all of the value would.
    pub fn may_hold_too_much(&self) -> Option<usize> {
        let served = lock(self.served.as_ref()?);
        let may = served.head() > served.snapshot_rev() && served.holds_references();
        may.then(|| served.snapshot_len())
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let served = self.served.as_ref().map_or(0, |served| lock(served).size());
        served + self.fresh.as_ref().map_or(0, History::size)
    }
}
