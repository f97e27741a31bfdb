//! The peer's shared values, as who follows them: which, and what SYNC says of them (R20). What comes of it is taken in
//! `updates`.

use std::collections::{HashMap, VecDeque};

use helve_handles::{IdHash, Target};

use super::updates::{Passes, Queued};
use super::{Event, ImportKey, Object, Session};
use crate::Code;
use crate::fault::Fault;
use crate::frame;

/// The largest window: what is granted twice while a SYNC 1 crosses what was sent before it stays below 2^31 (R19.4).
const WINDOW_MAX: u32 = 1 << 30;
/// The number of a SYNC that has none yet.
const UNNUMBERED: u64 = u64::MAX;

/// Names one subscription of ours, from one [`follow`](Session::follow) to the next of the same reference, or its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FollowKey {
    pub(super) import: ImportKey,
    pub(super) serial: u64,
}

impl FollowKey {
    /// The reference that is followed.
    pub fn import(self) -> ImportKey {
        self.import
    }
}

/// What is to be said, when there is room.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// SYNC 1, from what is there.
    start: Option<Option<(u64, u64)>>,
    /// SYNC 0.
    stop: bool,
    /// SYNC 2.
    grant: i64,
}

/// One followed reference.
#[derive(Debug)]
pub(super) struct Following<O> {
    pub serial: u64,
    pub window: i64,
    /// What the peer may still send.
    pub credit: i64,
    /// The number of that SYNC, while what comes may have been sent before the peer read it. `None`: nothing may.
    pub crossing: Option<u64>,
    /// SYNC 0 is said or due: what still comes is dropped.
    pub left: bool,
    /// A SYNC went.
    pub said: bool,
    pub passes: Passes,
    /// The epoch of the last SNAP that came, whole or not.
    pub epoch: Option<u64>,
    /// Where the replica is: epoch and revision.
    pub reached: Option<(u64, u64)>,
    /// What was passed on and not given back.
    pub held: i64,
    /// What was given back and not granted.
    pub read: i64,
    pub queue: VecDeque<Queued<O>>,
    /// END came, behind what is queued.
    pub end: Option<Option<Fault>>,
    pub due: Due,
    /// Stands in [`Follows::due`].
    pub listed: bool,
}

/// What we follow, by reference.
#[derive(Debug)]
pub(super) struct Follows<O> {
    pub by_import: HashMap<ImportKey, Following<O>, IdHash>,
    serial: u64,
    /// Those that have something to say.
    due: Vec<ImportKey>,
    /// Those of them whose OPEN is not numbered.
    unnamed: Vec<ImportKey>,
    /// Those whose last SYNC may cross what comes.
    pub crossing: Vec<ImportKey>,
    /// Names that were given back while they were followed. They may be given out anew before their host knows.
    /// Each until the peer read the SYNC 0 of this number.
    pub gone: HashMap<Target, u64, IdHash>,
}

impl<O> Default for Follows<O> {
    fn default() -> Follows<O> {
        Follows {
            by_import: HashMap::default(),
            serial: 0,
            due: Vec::new(),
            unnamed: Vec::new(),
            crossing: Vec::new(),
            gone: HashMap::default(),
        }
    }
}

impl<O> Follows<O> {
    pub(super) fn seeded(seed: u64) -> Follows<O> {
        Follows {
            gone: HashMap::with_hasher(IdHash::seeded(seed)),
            ..Follows::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_import.len() + self.gone.len()
    }

    /// Whether what comes of this name may be of a subscription that ended when the name was given back (R20.8).
    pub(super) fn was_left(&self, name: Target) -> bool {
        !self.gone.is_empty() && self.gone.contains_key(&name)
    }

    #[inline]
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty() || !self.gone.is_empty() && self.is_gone_due()
    }

    #[cold]
    fn is_gone_due(&self) -> bool {
        self.gone.values().any(|sync| *sync == UNNUMBERED)
    }

    /// Whether a SYNC may cross what comes.
    #[inline]
    pub(super) fn is_crossing(&self) -> bool {
        !self.crossing.is_empty() || !self.gone.is_empty()
    }

    /// Whether a SYNC waits for an OPEN to be numbered.
    #[inline]
    pub(super) fn is_unnamed(&self) -> bool {
        !self.unnamed.is_empty()
    }

    fn get_mut(&mut self, key: FollowKey) -> Option<&mut Following<O>> {
        let following = self.by_import.get_mut(&key.import)?;
        (following.serial == key.serial && !following.left).then_some(following)
    }

    /// Where the replica of a followed value is, and the epoch that it is on its way to.
    pub(super) fn standing(&self, import: ImportKey) -> Option<Replica> {
        let following = self.by_import.get(&import).filter(|f| !f.left)?;
        Some(Replica {
            reached: following.reached,
            epoch: following.epoch,
        })
    }
}

/// What is known of a replica of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    pub reached: Option<(u64, u64)>,
    pub epoch: Option<u64>,
}

impl<O: Object> Session<O> {
    /// Subscribes to a shared value of the peer's (R20), or begins its one subscription anew: for a replica that has
    /// nothing, or must not trust what it has, or with `have` for one that stands at that epoch and revision. `window`
    /// bytes of updates may be under way or not [given back](Self::grant), and one payload more. What comes is
    /// [`Event::Update`], and at last [`Event::FollowEnded`]; the reference is not retained.
    ///
    /// # Errors
    /// Why it cannot be followed: broken or released, lent (DENIED), more subscriptions than the peer takes (EXHAUSTED),
    /// the session is over.
    pub fn follow(
        &mut self,
        import: ImportKey,
        window: u32,
        have: Option<(u64, u64)>,
    ) -> Result<FollowKey, Fault> {
        let lost = self.lost();
        let entry = self.imports.entries.get(import);
        let entry = entry.filter(|_| self.ended.is_none()).ok_or(lost)?;
        if let Some(fault) = entry.fault() {
            return Err(fault);
        }
        if entry.lent {
            return Err(Fault::new(
                Code::Denied,
                "a lent shared value cannot be followed: take it by value",
            ));
        }
        let name = entry.name.target();
        let most = self.config.theirs.subs as usize;
        let follows = &mut self.follows;
        // Those that were left go before this one is read.
        let stand = |(key, f): &(&ImportKey, &Following<O>)| **key != import && !f.left;
        if follows.by_import.len() >= most && follows.by_import.iter().filter(stand).count() >= most
        {
            return Err(Fault::new(
                Code::Exhausted,
                "more shared values than the peer lets us follow: drop replicas, or raise its `subs` limit",
            ));
        }
        follows.serial += 1;
        let serial = follows.serial;
        let window = i64::from(window.clamp(1, WINDOW_MAX));
        let passes = have.map_or(Passes::Snaps, |(_, rev)| Passes::From(rev));
        let before = follows.by_import.remove(&import);
        let mut following = Following {
            serial,
            window,
            credit: window,
            crossing: None,
            left: false,
            said: false,
            passes,
            epoch: have.map(|(epoch, _)| epoch),
            reached: have,
            held: 0,
            read: 0,
            queue: VecDeque::new(),
            end: None,
            due: Due {
                start: Some(have),
                ..Due::default()
            },
            listed: false,
        };
        if let Some(old) = before {
            following.reached = have.or(old.reached);
            (following.listed, following.said) = (old.listed, old.said);
            if old.said {
                following.crossing = Some(UNNUMBERED);
                if old.crossing.is_none() {
                    self.follows.crossing.push(import);
                }
            }
            self.drop_queue(old.queue);
        } else if name.is_some_and(|name| self.follows.gone.remove(&name).is_some()) {
            following.crossing = Some(UNNUMBERED);
            self.follows.crossing.push(import);
        }
        self.follows.by_import.insert(import, following);
        self.owe_sync(import);
        Ok(FollowKey { import, serial })
    }

    /// Ends a subscription. What still comes is dropped, and its references are given back; no event follows. What the
    /// driver has not polled yet comes all the same. Does nothing where it has ended.
    pub fn unfollow(&mut self, key: FollowKey) {
        if self.follows.get_mut(key).is_some() {
            self.leave(key.import);
        }
    }

    /// From here on nothing of it is passed on. SYNC 0 goes where a SYNC 1 did.
    pub(super) fn leave(&mut self, import: ImportKey) {
        let Some(following) = self.follows.by_import.get_mut(&import) else {
            return;
        };
        let queue = std::mem::take(&mut following.queue);
        following.end = None;
        if following.said {
            following.left = true;
            following.due = Due {
                stop: true,
                ..Due::default()
            };
            if following.crossing.replace(UNNUMBERED).is_none() {
                self.follows.crossing.push(import);
            }
            self.owe_sync(import);
        } else {
            self.follows.by_import.remove(&import);
        }
        self.drop_queue(queue);
        self.follow_is_over(import);
    }

    /// Gives back what an [`Update`](super::Update) took of the window; its `cost`, or less at a time. The peer hears of it by the half
    /// of a window.
    pub fn grant(&mut self, key: FollowKey, bytes: u64) {
        if let Some(following) = self.follows.get_mut(key) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(following.held);
            following.held -= bytes;
            following.read += bytes;
            self.grant_read(key.import);
        }
    }

    pub(super) fn grant_read(&mut self, import: ImportKey) {
        let Some(following) = self.follows.by_import.get_mut(&import) else {
            return;
        };
        if following.read.saturating_mul(2) < following.window || following.end.is_some() {
            return;
        }
        let n = std::mem::take(&mut following.read);
        following.credit = following.credit.saturating_add(n);
        following.due.grant = following.due.grant.saturating_add(n);
        self.owe_sync(import);
    }

    /// Whether this subscription stands.
    pub fn is_following(&self, key: FollowKey) -> bool {
        let following = self.follows.by_import.get(&key.import);
        following.is_some_and(|f| f.serial == key.serial && !f.left)
    }

    /// The replica is at this revision now. Results that wait for it are handed out (R10.5).
    pub fn at(&mut self, key: FollowKey, epoch: u64, rev: u64) {
        let Some(following) = self.follows.get_mut(key) else {
            return;
        };
        let before = following.reached.replace((epoch, rev));
        if !self.holds.is_empty() {
            let new_life = before.is_none_or(|(old, _)| old != epoch);
            self.replica_is_at(key.import, epoch, rev, new_life);
        }
    }

    // ---- what goes

    /// A SYNC of this reference goes now, or when there is room.
    fn owe_sync(&mut self, import: ImportKey) {
        if let Some(following) = self.follows.by_import.get_mut(&import)
            && !std::mem::replace(&mut following.listed, true)
        {
            self.follows.due.push(import);
        }
        self.post_syncs();
    }

    /// Numbers the SYNCs that are due, as far as there is room.
    pub(super) fn post_syncs(&mut self) {
        if !self.follows.is_due() || !self.has_room() {
            return;
        }
        let mut due = std::mem::take(&mut self.follows.due).into_iter();
        while self.has_room()
            && let Some(import) = due.next()
        {
            self.post_sync(import);
        }
        self.follows.due.extend(due);
        if self.follows.is_gone_due() {
            self.post_gone();
        }
    }

    #[cold]
    fn post_gone(&mut self) {
        let due = self.follows.gone.iter();
        let due = due.filter(|(_, sync)| **sync == UNNUMBERED);
        let mut names: Vec<Target> = due.map(|(name, _)| *name).collect();
        names.sort_unstable();
        for name in names {
            if !self.has_room() {
                return;
            }
            let sync = self.number(|buf| frame::write_sync(buf, name, 0, 0, None));
            self.follows.gone.insert(name, sync);
        }
    }

    fn post_sync(&mut self, import: ImportKey) {
        let name = self.imports.entries.get(import).map(|import| import.name);
        let Some(following) = self.follows.by_import.get_mut(&import) else {
            return;
        };
        let Some(target) = name.and_then(|name| name.target()) else {
            // It follows the OPEN.
            return self.follows.unnamed.push(import);
        };
        following.listed = false;
        let due = std::mem::take(&mut following.due);
        let window = following.window.unsigned_abs();
        let mut seq = None;
        if let Some(have) = due.start {
            // A grant that came to be meanwhile is part of it.
            following.said = true;
            let n = window.saturating_add(due.grant.unsigned_abs());
            seq = Some(self.number(|buf| frame::write_sync(buf, target, 1, n, have)));
        } else if due.stop {
            seq = Some(self.number(|buf| frame::write_sync(buf, target, 0, 0, None)));
        } else if due.grant > 0 {
            let n = due.grant.unsigned_abs();
            self.number(|buf| frame::write_sync(buf, target, 2, n, None));
        }
        if let Some(following) = self.follows.by_import.get_mut(&import)
            && following.crossing.is_some()
            && seq.is_some()
        {
            following.crossing = seq;
        }
    }

    /// An OPEN was numbered: what was to be said of it follows.
    #[cold]
    pub(super) fn name_follow(&mut self, import: ImportKey) {
        let before = self.follows.unnamed.len();
        self.follows.unnamed.retain(|key| *key != import);
        if self.follows.unnamed.len() < before {
            self.follows.due.push(import);
            self.post_syncs();
        }
    }

    // ---- how it ends

    /// The reference broke: the subscription ends with it, behind what came whole.
    pub(super) fn break_follow(&mut self, import: ImportKey, fault: &Fault) {
        if self.follows.by_import.is_empty() {
            return;
        }
        if let Some(following) = self.follows.by_import.remove(&import) {
            self.drop_queue(following.queue);
            self.follow_is_over(import);
            if !following.left {
                let serial = following.serial;
                let key = FollowKey { import, serial };
                self.events
                    .push_back(Event::FollowEnded(key, Some(fault.clone())));
            }
        }
    }

    /// The last local reference went. SYNC 0 goes ahead of the RELEASE, so that the ack of it says from when on a name
    /// that was given out anew stands for nothing of before.
    pub(super) fn forget_follow(&mut self, import: ImportKey, name: Option<Target>) {
        if !self.follows.by_import.is_empty()
            && let Some(following) = self.follows.by_import.remove(&import)
        {
            if let Some(name) = name.filter(|_| following.said && self.ended.is_none()) {
                self.follows.gone.insert(name, UNNUMBERED);
                self.post_syncs();
            }
            self.drop_queue(following.queue);
        }
        self.follow_is_over(import);
    }

    fn drop_queue(&mut self, queue: VecDeque<Queued<O>>) {
        for queued in queue {
            self.discard(queued.update.caps);
            if let Some(head) = queued.head {
                self.forget_items(head);
            }
        }
    }

    /// The session is over.
    pub(super) fn end_follows(&mut self, lost: &Fault) {
        let follows = std::mem::take(&mut self.follows);
        self.follows.serial = follows.serial;
        let mut follows: Vec<_> = follows.by_import.into_iter().collect();
        follows.sort_unstable_by_key(|(_, following)| following.serial);
        for (import, following) in follows {
            for queued in following.queue {
                self.scrap_caps(queued.update.caps);
            }
            if !following.left {
                let serial = following.serial;
                let key = FollowKey { import, serial };
                self.events
                    .push_back(Event::FollowEnded(key, Some(lost.clone())));
            }
        }
        self.end_holds();
    }
}
