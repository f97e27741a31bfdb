//! The three tables of a session: what we export, what we import, and what the peer opened here.
//!
//! Invariants (checked by the model test after every schedule):
//! - an export lives while one of `counted`, `bound`, `pins` is above zero, and is forgotten at zero;
//! - an import lives while a local reference is left; then its RELEASE is queued and it is forgotten;
//! - an opened entry lives until its RELEASE came, nothing here refers to it, and its OPEN was answered.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use helve_handles::{IdHash, ObjectKey, RisingMap, Target};
use slotmap::SlotMap;

use super::Invocation;
use crate::fault::Fault;

slotmap::new_key_type! {
    /// Names one import of a session. Never reused within it.
    pub struct ImportKey;
}

/// A local object that may be exported. Cloning it must be cheap.
pub trait Object: Clone {
    /// Its identity within the node.
    fn key(&self) -> ObjectKey;
    /// Whether it answers no more: `revoke()` was said (R22), or what it stands for is lost.
    fn is_revoked(&self) -> bool;
    /// Whether it is a stream (R19): when the peer gets a name for it, [`Event::Stream`](super::Event::Stream) says so.
    fn is_stream(&self) -> bool {
        false
    }
    /// Why, once it is so: what BROKEN says.
    fn cause(&self) -> Fault {
        Fault::new(crate::Code::Broken, "revoked")
    }
    /// Whether it stands for an object of another session, and its calls are passed on (R9).
    fn is_forwarded(&self) -> bool {
        false
    }
}

/// What stands behind a name that we gave out.
#[derive(Clone, Debug)]
pub(super) enum Hosted<O> {
    /// A local object.
    Object(O),
    /// One of the peer's own: it got it back as the result of an OPEN, and its calls are reflected (R6).
    Forward(ImportKey),
    /// Nothing that can be called: a broken reference that was passed on.
    Broken(Box<Fault>),
}

/// One host-named object.
#[derive(Debug)]
pub(super) struct Export<O> {
    pub what: Hosted<O>,
    /// Mentions that were counted and not yet released (R1).
    pub counted: u32,
    /// OPENs of the peer that led here and are not released (R2).
    pub bound: u32,
    /// Calls of ours that lend it and are not answered (R3).
    pub pins: u32,
}

impl<O> Export<O> {
    pub(super) fn is_free(&self) -> bool {
        self.counted == 0 && self.bound == 0 && self.pins == 0
    }
}

/// Host-named objects: ours. `k` rises and is never reused.
#[derive(Debug)]
pub(super) struct Exports<O> {
    pub by_name: RisingMap<Export<O>>,
    pub objects: HashMap<ObjectKey, u64, IdHash>,
    pub forwards: HashMap<ImportKey, u64, IdHash>,
    pub root: Option<O>,
}

impl<O: Object> Exports<O> {
    pub(super) fn new(root: Option<O>) -> Self {
        Exports {
            by_name: RisingMap::new(),
            objects: HashMap::default(),
            forwards: HashMap::default(),
            root,
        }
    }

    /// The `k` of an object, if the peer has a name for it. The root is 0.
    pub(super) fn name_of(&self, what: &Hosted<O>) -> Option<u64> {
        match what {
            Hosted::Object(o) if self.root.as_ref().is_some_and(|root| root.key() == o.key()) => {
                Some(0)
            }
            Hosted::Object(o) => self.objects.get(&o.key()).copied(),
            Hosted::Forward(import) => self.forwards.get(import).copied(),
            Hosted::Broken(_) => None,
        }
    }

    /// The `k` of an object, a new one if need be. The caller must raise a count at once, or call `settle`.
    pub(super) fn intern(&mut self, what: Hosted<O>) -> u64 {
        if let Some(k) = self.name_of(&what) {
            return k;
        }
        let k = self.by_name.next_id();
        match &what {
            Hosted::Object(o) => _ = self.objects.insert(o.key(), k),
            Hosted::Forward(import) => _ = self.forwards.insert(*import, k),
            Hosted::Broken(_) => {}
        }
        let inserted = self.by_name.insert(
            k,
            Export {
                what,
                counted: 0,
                bound: 0,
                pins: 0,
            },
        );
        debug_assert!(inserted.is_ok(), "next_id is above every id");
        k
    }

    /// Forgets `k` if nothing counts on it any more, and returns what stood behind it.
    pub(super) fn settle(&mut self, k: u64) -> Option<Hosted<O>> {
        if !self.by_name.get(k)?.is_free() {
            return None;
        }
        let export = self.by_name.remove(k)?;
        match &export.what {
            Hosted::Object(o) => _ = self.objects.remove(&o.key()),
            Hosted::Forward(import) => _ = self.forwards.remove(import),
            Hosted::Broken(_) => {}
        }
        Some(export.what)
    }
}

/// How an import is called on the wire. Eight bytes: there may be a million of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name(i64);

impl Name {
    /// Our OPEN still waits to be numbered.
    pub(super) const UNSENT: Name = Name(i64::MIN);

    pub(super) fn target(self) -> Option<Target> {
        Target::new(self.0)
    }
}

impl From<Target> for Name {
    fn from(target: Target) -> Name {
        Name(target.raw())
    }
}

/// What is known of an import's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// An OPEN without an answer.
    Pending,
    /// Usable, its identity known. A host-named one is so from the start.
    Settled,
    /// Told so, or its OPEN failed (R22, R2); the cause is in [`ImportRare::fault`].
    Broken,
    /// A lent one whose call ended (R3).
    Expired,
}

/// Which object a settled reference names (R6). Two references are equal iff these are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Settled {
    /// The peer's object `k`.
    Remote(u64),
    /// One of our own, reflected.
    Own(ObjectKey),
}

/// One reference to something of the peer's.
#[derive(Debug)]
pub(super) struct Import {
    pub name: Name,
    /// Counted mentions received, given back by RELEASE.
    pub receipts: u32,
    /// Local references: one for each handle the application was given, one for each waiting call or export.
    pub locals: u32,
    pub lent: bool,
    /// Its end is an event: it is forwarded into another session (R9).
    pub watched: bool,
    pub standing: Standing,
    pub rare: Option<Box<ImportRare>>,
}

/// What few imports have.
#[derive(Debug, Default)]
pub(super) struct ImportRare {
    /// Of an opened one, once it is settled.
    pub identity: Option<Settled>,
    /// Why it is broken.
    pub fault: Option<Fault>,
    /// Tasks that wait for the end of the reference, or for the answer of its OPEN.
    pub watchers: Vec<Waker>,
    /// OPENs of the peer whose result is this unsettled reference (R5).
    pub awaited_by: Vec<u64>,
}

/// References to the peer's objects.
#[derive(Debug)]
pub(super) struct Imports {
    pub entries: SlotMap<ImportKey, Import>,
    pub by_host: HashMap<u64, ImportKey, IdHash>,
    pub by_open: RisingMap<ImportKey>,
    /// The highest name that the peer gave out (I2.2): a frame that names a lower one may cross its RELEASE.
    pub seen: u64,
    pub root: ImportKey,
}

impl Imports {
    pub(super) fn new(seed: u64) -> Self {
        let mut entries = SlotMap::with_key();
        let root = entries.insert(Import::new(Target::ROOT.into(), Standing::Settled));
        Imports {
            entries,
            by_host: HashMap::with_hasher(IdHash::seeded(seed)),
            by_open: RisingMap::new(),
            seen: 0,
            root,
        }
    }

    /// Entries besides the root.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - 1
    }

    /// The import that a BROKEN, DATA, END .. of the peer names.
    pub(super) fn named(&self, target: Target) -> Option<ImportKey> {
        match (target.as_open(), target.as_host()) {
            (Some(c), _) => self.by_open.get(c).copied(),
            (None, Some(0)) => Some(self.root),
            (None, k) => self.by_host.get(&k?).copied(),
        }
    }
}

impl Import {
    pub(super) fn new(name: Name, standing: Standing) -> Import {
        Import {
            name,
            receipts: 0,
            locals: 1,
            lent: false,
            watched: false,
            standing,
            rare: None,
        }
    }

    pub(super) fn rare(&mut self) -> &mut ImportRare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn take_watchers(&mut self) -> Vec<Waker> {
        self.rare
            .as_mut()
            .map(|rare| std::mem::take(&mut rare.watchers))
            .unwrap_or_default()
    }

    /// Which object it names, once that is known.
    pub(super) fn identity(&self) -> Option<Settled> {
        match self.name.target()?.as_host() {
            Some(k) => Some(Settled::Remote(k)),
            None => self.rare.as_ref()?.identity,
        }
    }

    /// Why it cannot be called, if so.
    #[inline]
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.standing {
            Standing::Pending | Standing::Settled => None,
            Standing::Expired => Some(Fault::new(
                crate::Code::Expired,
                "a lent handle was used after its call ended",
            )),
            Standing::Broken => self.rare.as_ref()?.fault.clone(),
        }
    }
}

/// What an OPEN of the peer led to, so far.
#[derive(Debug)]
pub(super) enum Outcome<O> {
    /// Its handler has not answered; the calls pipelined on it wait here, in order.
    Pending(VecDeque<Invocation<O>>),
    /// Not answered, but calls go to this object already: it passes them on, pipelined as they are (R9).
    Leading(O),
    /// Our export `k` (0: the root).
    Bound(u64),
    /// A tombstone (R2).
    Failed(Box<Fault>),
}

/// One OPEN of the peer, from its arrival to its RELEASE.
#[derive(Debug)]
pub(super) struct Opened<O> {
    pub outcome: Outcome<O>,
    /// One for the RELEASE that is owed, one for each local handle to it.
    pub refs: u32,
    pub released: bool,
    /// The export whose name is the identity of the outcome, where calls go to another one (R6); 0: there is none.
    pub alias: u64,
    /// Tasks that wait for the outcome.
    pub watchers: Vec<Waker>,
    /// OPENs of the peer whose result is this one.
    pub awaited_by: Vec<u64>,
}

impl<O> Opened<O> {
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Bound(_) | Outcome::Failed(_))
    }

    pub(super) fn new() -> Self {
        Opened {
            outcome: Outcome::Pending(VecDeque::new()),
            refs: 1,
            released: false,
            alias: 0,
            watchers: Vec::new(),
            awaited_by: Vec::new(),
        }
    }
}
