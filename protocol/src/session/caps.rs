//! References in frames: descriptors to local things and back (protocol section 3, R1, R3, R8).

use helve_handles::{Descriptor, Tag, Target};

use super::calls::never_opened;
use super::incoming::to_send;
use super::tables::{Hosted, Import, Outcome, Settled, Standing};
use super::{ImportKey, Object, Session};
use crate::fault::Fault;
use crate::limits::CAPS_MAX;
use crate::mutation::mutant;
use crate::{Code, Violation};

/// A reference to be sent.
#[derive(Clone, Debug)]
pub enum Cap<O> {
    /// Our object, for good.
    Given(O),
    /// Our object, until the call is answered (R3).
    Lent(O),
    /// One of the peer's. The caller keeps its own reference to it.
    Import(ImportKey),
    /// What the peer's own OPEN leads to here ([`Received::Opened`]); it must be settled, except as the result of an
    /// OPEN.
    Opened(u64),
    /// A broken reference, passed on: it arrives as broken, with this cause.
    Broken(Fault),
}

/// A reference that came. Each holds one reference of the session's, to be given back with
/// [`Session::release`] or [`Session::release_opened`], or with [`Session::discard`].
#[derive(Debug)]
pub enum Received<O> {
    /// Our own object came home (R8).
    Object(O),
    /// One of the peer's.
    Import {
        /// Its entry.
        key: ImportKey,
        /// Dead when the call ends (R3).
        lent: bool,
    },
    /// What the peer's OPEN leads to, which has not been answered yet (R7).
    Opened(u64),
    /// Nothing that can be called: an unknown name, or above a quota.
    Broken(Fault),
}

/// The descriptors of a frame being written, and what is owed for them.
#[derive(Default)]
pub(super) struct Encoded {
    pub descriptors: Vec<Descriptor>,
    /// Names pinned until the call is answered.
    pub lent: Vec<u64>,
    /// Names of what is revoked or broken: BROKEN follows the frame (R22.3).
    pub broken: Vec<(u64, Code, Box<str>)>,
}

impl<O: Object> Session<O> {
    /// Checks what may stop these caps from being written. Nothing is counted yet, so nothing needs undoing.
    #[inline]
    pub(super) fn check_caps(&self, caps: &[Cap<O>]) -> Result<(), Fault> {
        self.check_caps_to(caps, CAPS_MAX)
    }

    /// The same, where a frame may have up to `most` (I3.5).
    fn check_caps_to(&self, caps: &[Cap<O>], most: usize) -> Result<(), Fault> {
        if caps.len() > most {
            return Err(Fault::new(
                Code::Exhausted,
                &format!("over {most} handles in one message: send them in parts"),
            ));
        }
        let (mut new, mut streams) = (0, 0);
        for cap in caps {
            match cap {
                Cap::Lent(o) if o.is_stream() => {
                    return Err(Fault::new(
                        Code::Denied,
                        "a stream cannot be lent: pass it by value",
                    ));
                }
                Cap::Given(o) | Cap::Lent(o) => {
                    new += usize::from(self.exports.name_of(&Hosted::Object(o.clone())).is_none());
                    streams += usize::from(self.is_new_stream(o));
                }
                Cap::Broken(_) => new += 1,
                Cap::Import(key) => match self.imports.entries.get(*key) {
                    None => {
                        return Err(Fault::new(
                            Code::Gone,
                            "a handle of another session, or one that was released",
                        ));
                    }
                    Some(import) if import.standing == Standing::Expired => {
                        return Err(import
                            .fault()
                            .unwrap_or_else(|| Fault::new(Code::Expired, "")));
                    }
                    Some(_) => {}
                },
                Cap::Opened(c) => match self.opened.get(*c).map(|opened| &opened.outcome) {
                    Some(Outcome::Bound(_) | Outcome::Leading(_)) => {}
                    Some(Outcome::Failed(fault)) => return Err(Fault::broken_by(fault)),
                    _ => {
                        return Err(Fault::new(
                            Code::Unavailable,
                            "a handle in the arguments has no object yet: await it first",
                        ));
                    }
                },
            }
        }
        if new > 0 && self.exports.by_name.len() + new > self.config.theirs.table as usize {
            return Err(Fault::new(
                Code::Exhausted,
                "the peer's handle table is full: drop handles, or raise its `table` limit",
            ));
        }
        self.check_streams(streams)
    }

    /// Writes down the caps of one frame; the counts are taken. [`check_caps`](Self::check_caps) came first.
    pub(super) fn encode_caps(&mut self, caps: &[Cap<O>]) -> Encoded {
        let mut encoded = Encoded::default();
        encoded.descriptors.reserve(caps.len());
        for cap in caps {
            match cap {
                Cap::Given(o) => self.mention(o.clone(), &mut encoded),
                Cap::Lent(o) => {
                    let k = self.exports.intern(Hosted::Object(o.clone()));
                    if let Some(export) = self.exports.by_name.get_mut(k) {
                        export.pins += 1;
                        encoded.lent.push(k);
                        encoded.descriptors.push(Descriptor::new(Tag::Lent, k));
                    } else {
                        encoded.descriptors.push(Descriptor::new(Tag::Mine, 0));
                    }
                }
                Cap::Import(key) => encoded.descriptors.extend(self.describe_import(*key)),
                Cap::Broken(fault) => self.mention_broken(fault.clone(), &mut encoded),
                Cap::Opened(c) => match self.opened.get(*c).map(|opened| &opened.outcome) {
                    Some(Outcome::Bound(k)) => match self
                        .exports
                        .by_name
                        .get(*k)
                        .map(|export| export.what.clone())
                    {
                        Some(Hosted::Object(o)) => self.mention(o, &mut encoded),
                        Some(Hosted::Broken(fault)) => self.mention_broken(*fault, &mut encoded),
                        Some(Hosted::Forward(import)) => {
                            encoded.descriptors.extend(self.describe_import(import))
                        }
                        None => encoded.descriptors.push(Descriptor::new(Tag::Mine, 0)),
                    },
                    Some(Outcome::Leading(o)) => {
                        let o = o.clone();
                        self.mention(o, &mut encoded);
                    }
                    // check_caps refused it; a name that no table has keeps the cap indices right.
                    _ => encoded
                        .descriptors
                        .push(Descriptor::new(Tag::Yours, helve_handles::id::ID_LIMIT - 1)),
                },
            }
        }
        encoded
    }

    /// Writes down the caps of a frame that waits for nothing, neither a permit nor an OPEN: as in a result, a reference
    /// that has no name yet arrives broken.
    pub(super) fn introduce(&mut self, caps: &[Cap<O>], most: usize) -> Result<Encoded, Fault> {
        if caps.is_empty() {
            return Ok(Encoded::default());
        }
        if caps.iter().any(|cap| matches!(cap, Cap::Lent(_))) {
            // R3.1
            return Err(Fault::new(
                Code::Denied,
                "a lent handle is for the length of a call: pass it by value",
            ));
        }
        let replace = |cap: &Cap<O>| self.nameless(cap).map_or_else(|| cap.clone(), Cap::Broken);
        let caps: Vec<Cap<O>> = caps.iter().map(replace).collect();
        let checked = self.check_caps_to(&caps, most);
        let encoded = checked.map(|()| self.encode_caps(&caps));
        // Clones of objects are not dropped under the lock.
        for cap in caps {
            if let Cap::Given(o) | Cap::Lent(o) = cap {
                self.garbage.push(o);
            }
        }
        encoded
    }

    fn mention(&mut self, o: O, encoded: &mut Encoded) {
        let cause = o.is_revoked().then(|| to_send(o.cause()));
        let stream = o.is_stream().then(|| o.clone());
        let k = self.exports.intern(Hosted::Object(o));
        if let Some(stream) = stream {
            self.begin_stream(stream, Target::host(k));
        }
        if let Some(export) = self.exports.by_name.get_mut(k) {
            export.counted = export.counted.saturating_add(1);
            if let Some(cause) = cause
                && !mutant!("revoke_quiet")
            {
                encoded.broken.push((k, cause.code, cause.message));
            }
        }
        encoded.descriptors.push(Descriptor::new(Tag::Mine, k));
    }

    /// How the peer's own object is named to it.
    pub(super) fn describe_import(&self, key: ImportKey) -> Option<Descriptor> {
        let target = self.imports.entries.get(key)?.name.target()?;
        Some(match target.as_open() {
            Some(c) => Descriptor::new(Tag::YourOpen, c),
            None => Descriptor::new(Tag::Yours, target.as_host()?),
        })
    }

    /// A reference that leads nowhere gets a name all the same, so that whoever gets it learns why.
    fn mention_broken(&mut self, fault: Fault, encoded: &mut Encoded) {
        let fault = to_send(fault);
        let (code, message) = (fault.code, fault.message.clone());
        let k = self.exports.intern(Hosted::Broken(Box::new(fault)));
        if let Some(export) = self.exports.by_name.get_mut(k) {
            export.counted = export.counted.saturating_add(1);
        }
        encoded.broken.push((k, code, message));
        encoded.descriptors.push(Descriptor::new(Tag::Mine, k));
    }

    /// Says BROKEN for what a frame mentioned although it answers no more.
    pub(super) fn post_mentioned(&mut self, broken: &[(u64, Code, Box<str>)]) {
        for (k, code, message) in broken {
            self.post_broken(Target::host(*k), *code, message);
        }
    }

    /// Takes the caps of a frame, before any user type is decoded. `lent` collects the entries to expire with the call.
    pub(super) fn take_caps(
        &mut self,
        caps: &[Descriptor],
        mut lent: Option<&mut Vec<ImportKey>>,
    ) -> Result<Vec<Received<O>>, Violation> {
        let mut taken = Vec::with_capacity(caps.len());
        for cap in caps {
            if matches!(cap.tag(), Tag::Mine | Tag::Lent) {
                self.imports.seen = self.imports.seen.max(cap.id());
            }
            taken.push(match (cap.tag(), cap.id()) {
                (Tag::Mine | Tag::Lent, 0) => Received::Import {
                    key: self.imports.root,
                    lent: false,
                },
                (Tag::Mine, k) => self.take_mine(k),
                (Tag::Lent, _) if self.imports.len() >= self.config.ours.table as usize => {
                    Received::Broken(table_full())
                }
                (Tag::Lent, k) => {
                    let mut import = Import::new(Target::host(k).into(), Standing::Settled);
                    import.lent = true;
                    let key = self.imports.entries.insert(import);
                    if let Some(lent) = &mut lent {
                        lent.push(key);
                    }
                    Received::Import { key, lent: true }
                }
                (Tag::Yours, k) => self.take_yours(k)?,
                (Tag::YourOpen, c) => match self
                    .opened
                    .get_mut(c)
                    .map(|opened| (&opened.outcome, &mut opened.refs))
                {
                    Some((Outcome::Pending(_), refs)) => {
                        *refs += 1;
                        Received::Opened(c)
                    }
                    Some((Outcome::Leading(o), _)) => Received::Object(o.clone()),
                    Some((Outcome::Bound(k), _)) => {
                        let k = *k;
                        self.take_yours(k)?
                    }
                    Some((Outcome::Failed(fault), _)) => Received::Broken(Fault::broken_by(fault)),
                    None => self.take_unknown()?,
                },
            });
        }
        Ok(taken)
    }

    fn take_mine(&mut self, k: u64) -> Received<O> {
        if let Some(key) = self.imports.by_host.get(&k).copied()
            && let Some(import) = self.imports.entries.get_mut(key)
        {
            if !mutant!("nocount") {
                import.receipts += 1;
            }
            import.locals += 1;
            if import.receipts == u32::MAX {
                import.receipts = 1;
                self.owe_release(Target::host(k), u64::from(u32::MAX - 1));
            }
            return Received::Import { key, lent: false };
        }
        if self.imports.len() >= self.config.ours.table as usize {
            self.owe_release(Target::host(k), 1);
            return Received::Broken(table_full());
        }
        let mut import = Import::new(Target::host(k).into(), Standing::Settled);
        import.receipts = 1;
        let key = self.imports.entries.insert(import);
        self.imports.by_host.insert(k, key);
        Received::Import { key, lent: false }
    }

    fn take_yours(&mut self, k: u64) -> Result<Received<O>, Violation> {
        if k == 0 {
            return Ok(match &self.exports.root {
                Some(root) => Received::Object(root.clone()),
                None => Received::Broken(Fault::new(Code::Gone, "this peer serves no root object")),
            });
        }
        match self
            .exports
            .by_name
            .get(k)
            .map(|export| export.what.clone())
        {
            Some(what) => Ok(self.deliver(what)),
            None => self.take_unknown(),
        }
    }

    /// What the application gets for something that we host: our own objects as themselves, also where the way to them
    /// leads through the peer (R8).
    pub(super) fn deliver(&mut self, what: Hosted<O>) -> Received<O> {
        let key = match what {
            Hosted::Object(o) => return Received::Object(o),
            Hosted::Broken(fault) => return Received::Broken(*fault),
            Hosted::Forward(key) => key,
        };
        if let Some(o) = self.own_object(key) {
            return Received::Object(o);
        }
        self.retain(key);
        Received::Import { key, lent: false }
    }

    /// Our own object, if that is what this import leads to.
    pub(super) fn own_object(&self, key: ImportKey) -> Option<O> {
        let Settled::Own(own) = self.imports.entries.get(key)?.identity()? else {
            return None;
        };
        if let Some(root) = self.exports.root.as_ref().filter(|root| root.key() == own) {
            return Some(root.clone());
        }
        let k = *self.exports.objects.get(&own)?;
        match &self.exports.by_name.get(k)?.what {
            Hosted::Object(o) => Some(o.clone()),
            Hosted::Forward(_) | Hosted::Broken(_) => None,
        }
    }

    fn take_unknown(&mut self) -> Result<Received<O>, Violation> {
        self.strike()?;
        Ok(Received::Broken(Fault::new(
            Code::Gone,
            "the handle names no object of this session",
        )))
    }

    /// One more local reference to an import.
    pub fn retain(&mut self, key: ImportKey) {
        if key == self.imports.root {
            return;
        }
        if let Some(import) = self.imports.entries.get_mut(key) {
            import.locals += 1;
        }
    }

    /// One local reference less; the last one sends RELEASE (R1, R2).
    pub fn release(&mut self, key: ImportKey) {
        if key == self.imports.root {
            return;
        }
        let Some(import) = self.imports.entries.get_mut(key) else {
            // The session is over, and what came of a stream before may have been read until now.
            return self.forget_consumer(key);
        };
        import.locals = import.locals.saturating_sub(1);
        if import.locals > 0 {
            return;
        }
        let Some(mut import) = self.imports.entries.remove(key) else {
            return;
        };
        let watchers = import.take_watchers();
        self.wakes.extend(watchers);
        self.forget_consumer(key);
        self.forget_follow(key, import.name.target());
        if import.lent {
            return;
        }
        let Some(target) = import.name.target() else {
            // Nobody wants what this OPEN would lead to, and it was not numbered (R21.2).
            return self.cancel_unsent(key, never_opened());
        };
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => {
                self.imports.by_open.remove(c);
                self.owe_release(target, 1);
            }
            (None, Some(k)) => {
                self.imports.by_host.remove(&k);
                let n = if mutant!("rel_all") {
                    helve_handles::id::ID_LIMIT - 1
                } else {
                    u64::from(import.receipts)
                };
                self.owe_release(target, n);
            }
            (None, None) => {}
        }
    }

    /// Gives back references that nobody wants.
    pub fn discard(&mut self, caps: Vec<Received<O>>) {
        for cap in caps {
            match cap {
                Received::Object(o) => self.garbage.push(o),
                Received::Import { key, .. } => self.release(key),
                Received::Opened(c) => self.release_opened(c),
                Received::Broken(_) => {}
            }
        }
    }
}

pub(super) fn table_full() -> Fault {
    Fault::new(
        Code::Exhausted,
        "the handle table is full: drop handles, or raise the `table` limit",
    )
}
