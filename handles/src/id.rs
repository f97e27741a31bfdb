//! Names on the wire: targets, descriptors, and their bounds. Used by the frame codec and the session's tables.

/// No id, sequence number, revision or epoch reaches this, so that a browser holds each of them as a number
/// (protocol section 2).
pub const ID_LIMIT: u64 = 1 << 53;

/// The number of a method on the wire: FNV-1a of the UTF-8 of `interface/method` (protocol section 2).
pub const fn method_id(interface: &str, method: &str) -> u32 {
    fnv1a(
        fnv1a(fnv1a(0x811c_9dc5, interface.as_bytes()), b"/"),
        method.as_bytes(),
    )
}

const fn fnv1a(mut hash: u32, mut bytes: &[u8]) -> u32 {
    while let [byte, rest @ ..] = bytes {
        hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
        bytes = rest;
    }
    hash
}

/// Whom a frame names: `0` the root, `+k` an object that its host named, `-c` the outcome of the caller's OPEN `c`
/// (protocol section 3).
///
/// In CALL, OPEN, TELL, RELEASE, CREDIT and SYNC the object is the receiver's; in BROKEN, DATA, END, SNAP and DELTA it
/// is the sender's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(i64);

impl Target {
    /// The root object, pinned for the life of the session.
    pub const ROOT: Target = Target(0);

    /// A target as it stands on the wire. `None` where it leaves the bounds of ids.
    pub fn new(raw: i64) -> Option<Target> {
        (raw.unsigned_abs() < ID_LIMIT).then_some(Target(raw))
    }

    /// The host-named object `k`. Ids are below 2^53 by construction of the counters that make them.
    pub fn host(k: u64) -> Target {
        debug_assert!(k < ID_LIMIT);
        Target(k as i64)
    }

    /// What OPEN `c` led to.
    pub fn open(c: u64) -> Target {
        debug_assert!(c > 0 && c < ID_LIMIT);
        Target(-(c as i64))
    }

    /// The number as written on the wire.
    pub fn raw(self) -> i64 {
        self.0
    }

    /// `Some(k)` for a host-named object (the root is `k` 0).
    pub fn as_host(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// `Some(c)` for the outcome of an OPEN.
    pub fn as_open(self) -> Option<u64> {
        (self.0 < 0).then(|| self.0.unsigned_abs())
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("root"),
            k if k > 0 => write!(f, "k{k}"),
            c => write!(f, "c{}", c.unsigned_abs()),
        }
    }
}

/// What the low two bits of a [`Descriptor`] say, from the sender's view.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tag {
    /// The sender's object `k`, counted (R1).
    Mine,
    /// The receiver's object `k`.
    Yours,
    /// What the sender's OPEN `c` at the receiver led to.
    YourOpen,
    /// The sender's object `k`, lent for the call, not counted (R3).
    Lent,
}

/// One entry of a frame's cap table: `id << 2 | tag` (protocol section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor(u64);

impl Descriptor {
    /// Joins a tag and an id.
    pub fn new(tag: Tag, id: u64) -> Descriptor {
        debug_assert!(id < ID_LIMIT);
        Descriptor(id << 2 | tag as u64)
    }

    /// A descriptor as it stands on the wire. `None` where its id leaves the bounds of ids.
    pub fn from_raw(raw: u64) -> Option<Descriptor> {
        (raw >> 2 < ID_LIMIT).then_some(Descriptor(raw))
    }

    /// The number as written on the wire.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The id, without its tag.
    pub fn id(self) -> u64 {
        self.0 >> 2
    }

    /// The tag.
    pub fn tag(self) -> Tag {
        match self.0 & 3 {
            0 => Tag::Mine,
            1 => Tag::Yours,
            2 => Tag::YourOpen,
            _ => Tag::Lent,
        }
    }
}

impl std::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.tag(), self.id())
    }
}
