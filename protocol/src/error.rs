//! Error codes of the wire, and the violations that end a session. Used by every part of the protocol and by what
//! turns a peer's answer into an error that a person reads.

/// A code as it stands in ERR, BROKEN, END and REFUSE (the table in protocol section 6). Unknown codes read as
/// [`Code::Internal`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
#[allow(
    missing_docs,
    reason = "the table in docs/protocol.md says what each means"
)]
#[non_exhaustive]
pub enum Code {
    App = 1,
    Gone = 2,
    Broken = 3,
    Cancelled = 4,
    Deadline = 5,
    Denied = 6,
    Exhausted = 7,
    Decode = 8,
    Unimplemented = 9,
    Unavailable = 10,
    Internal = 11,
    Reentrant = 12,
    Conflict = 13,
    NeedSnapshot = 14,
    Incompatible = 15,
    Aliased = 16,
    Unauthenticated = 20,
    Version = 21,
    Busy = 22,
    NotSent = 64,
    MaybeRan = 65,
    SessionLost = 66,
    Expired = 67,
}

/// Whether the method ran, as far as an error tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ran {
    /// It ran to its end.
    Yes,
    /// It certainly did not start.
    No,
    /// It may have run, wholly or in part.
    Maybe,
}

impl Code {
    /// The code that a peer wrote. What this version does not know, and the local codes from 64 on that nobody may
    /// send, read as [`Code::Internal`] (C1.1, C1.2).
    pub fn from_raw(raw: u64) -> Code {
        match raw {
            1 => Code::App,
            2 => Code::Gone,
            3 => Code::Broken,
            4 => Code::Cancelled,
            5 => Code::Deadline,
            6 => Code::Denied,
            7 => Code::Exhausted,
            8 => Code::Decode,
            9 => Code::Unimplemented,
            10 => Code::Unavailable,
            12 => Code::Reentrant,
            13 => Code::Conflict,
            14 => Code::NeedSnapshot,
            15 => Code::Incompatible,
            16 => Code::Aliased,
            20 => Code::Unauthenticated,
            21 => Code::Version,
            22 => Code::Busy,
            _ => Code::Internal,
        }
    }

    /// The number on the wire.
    pub fn raw(self) -> u64 {
        self as u64
    }

    /// The name in the table: `APP`, `GONE`, ... for what travels, `NotSent`, ... for what is local.
    pub fn name(self) -> &'static str {
        match self {
            Code::App => "APP",
            Code::Gone => "GONE",
            Code::Broken => "BROKEN",
            Code::Cancelled => "CANCELLED",
            Code::Deadline => "DEADLINE",
            Code::Denied => "DENIED",
            Code::Exhausted => "EXHAUSTED",
            Code::Decode => "DECODE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
            Code::Reentrant => "REENTRANT",
            Code::Conflict => "CONFLICT",
            Code::NeedSnapshot => "NEED_SNAPSHOT",
            Code::Incompatible => "INCOMPATIBLE",
            Code::Aliased => "ALIASED",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Version => "VERSION",
            Code::Busy => "BUSY",
            Code::NotSent => "NotSent",
            Code::MaybeRan => "MaybeRan",
            Code::SessionLost => "SessionLost",
            Code::Expired => "Expired",
        }
    }

    /// Whether the same call may simply be made again, later (C1.3). `false` for what the library repeats by itself.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Code::Exhausted | Code::Unavailable | Code::Busy | Code::NotSent
        )
    }

    /// Whether the method ran.
    pub fn ran(self) -> Ran {
        match self {
            Code::App => Ran::Yes,
            Code::Cancelled
            | Code::Deadline
            | Code::Internal
            | Code::MaybeRan
            | Code::SessionLost => Ran::Maybe,
            _ => Ran::No,
        }
    }

    /// Whether it exists on this side only and is never sent.
    pub fn is_local(self) -> bool {
        self as u16 >= 64
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a peer did that ends the session (R17): one Close 4001 with this text as its reason, at most 123 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// The rule that was broken, for example `R11.4`.
    pub rule: &'static str,
    /// What was wrong, in a few words.
    pub what: &'static str,
}

impl Violation {
    /// The longest reason that a WebSocket close frame carries, in bytes.
    pub const REASON_MAX: usize = 123;

    /// Names the rule that was broken and what was wrong.
    pub const fn new(rule: &'static str, what: &'static str) -> Violation {
        Violation { rule, what }
    }

    /// The reason of the Close, cut to what a close frame carries.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary_at(Self::REASON_MAX));
        text
    }
}

/// `str::floor_char_boundary`, which is younger than our oldest compiler.
pub(crate) trait FloorCharBoundary {
    /// The last boundary at or before `at`.
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        if at >= self.len() {
            return self.len();
        }
        (0..=at)
            .rev()
            .find(|&i| self.is_char_boundary(i))
            .unwrap_or(0)
    }
}
