//! Trace context: the W3C `traceparent` that a call carries (`t` of its `ext`, protocol section 2.3), so that what one
//! request caused can be found in the logs of every process it went through.
//!
//! Used by `context`, which hands it on, and by `observe`, which writes it into spans. A call without one has no trace:
//! nothing is drawn for it and nothing sent.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::Arc;

/// A W3C trace context, version 00: `00-<trace id>-<parent id>-<flags>`.
///
/// It parses and prints as the [header](https://www.w3.org/TR/trace-context/#traceparent-header) does.
///
/// ```
/// use helve::TraceParent;
///
/// let came: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert_eq!(came.trace_id(), 0x4bf92f3577b34da6a3ce929d0e0e4736);
/// assert_eq!(came.parent_id(), 0x00f067aa0ba902b7);
/// assert!(came.is_sampled());
/// assert!("00-0-0-01".parse::<TraceParent>().is_err());
/// # Ok::<(), helve::TraceParentError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: NonZeroU128,
    parent: NonZeroU64,
    flags: u8,
}

/// Length of a traceparent of version 00, in bytes.
const LENGTH: usize = 55;
/// The flags that have a meaning: sampled, and a trace id that is random. Others are not handed on.
const FLAGS: u8 = 0b11;

impl TraceParent {
    /// A context made elsewhere: by a tracer that has its own ids. `None` where an id is zero, which the standard
    /// forbids.
    pub fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Option<TraceParent> {
        Some(TraceParent {
            trace: NonZeroU128::new(trace_id)?,
            parent: NonZeroU64::new(parent_id)?,
            flags: u8::from(sampled),
        })
    }

    /// Begins a trace: both ids are drawn at random, and it asks to be recorded.
    pub fn random() -> TraceParent {
        // A UUID has fixed bits; two, shifted against each other, have none.
        let draw = || uuid::Uuid::new_v4().as_u128();
        let trace = draw() ^ draw().rotate_left(64);
        TraceParent {
            trace: NonZeroU128::new(trace).unwrap_or(NonZeroU128::MIN),
            parent: span_id(),
            flags: FLAGS,
        }
    }

    /// The whole trace: the same in every process.
    pub fn trace_id(&self) -> u128 {
        self.trace.get()
    }

    /// The span that a call made now has as its parent.
    pub fn parent_id(&self) -> u64 {
        self.parent.get()
    }

    /// Whether the caller may have recorded this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The same trace, seen from a span below: a new parent id.
    #[must_use]
    pub fn child(self) -> TraceParent {
        TraceParent {
            parent: span_id(),
            ..self
        }
    }
}

fn span_id() -> NonZeroU64 {
    let id = uuid::Uuid::new_v4().as_u64_pair();
    NonZeroU64::new(id.0 ^ id.1.rotate_left(32)).unwrap_or(NonZeroU64::MIN)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.parent, self.flags
        )
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

/// Not a `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a traceparent is `00-<32 hex>-<16 hex>-<2 hex>` in lower case, and neither of its ids is zero"
)]
pub struct TraceParentError(());

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// A later version is read as far as version 00 goes, as the standard asks, and becomes one of version 00.
    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        parse(text.as_bytes()).ok_or(TraceParentError(()))
    }
}

fn parse(text: &[u8]) -> Option<TraceParent> {
    let (version, rest) = text.split_at_checked(2)?;
    let version = hex(version)?;
    // 255 is forbidden; version 0 ends with its flags, a later one may go on behind another `-`.
    let (head, more) = rest.split_at_checked(LENGTH - 2)?;
    let ends = more.is_empty() || (version > 0 && more.first() == Some(&b'-'));
    if version == 0xff || !ends {
        return None;
    }
    let mut parts = head.split(|b| *b == b'-');
    let (b"", trace, parent, flags, None) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    ) else {
        return None;
    };
    if (trace.len(), parent.len(), flags.len()) != (32, 16, 2) {
        return None;
    }
    Some(TraceParent {
        trace: NonZeroU128::new(hex(trace)?)?,
        parent: NonZeroU64::new(u64::try_from(hex(parent)?).ok()?)?,
        flags: u8::try_from(hex(flags)?).ok()? & FLAGS,
    })
}

/// Lower case only: the standard refuses `A` to `F`.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |sum: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(value))
    })
}

/// The trace of a context, written once for all calls made in it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Trace {
    pub(crate) parent: TraceParent,
    text: Box<str>,
}

impl Trace {
    pub(crate) fn new(parent: TraceParent) -> Arc<Trace> {
        let text = parent.to_string().into();
        Arc::new(Trace { parent, text })
    }

    /// What came with a call. A malformed one is as good as none (E3.5).
    #[inline]
    pub(crate) fn came(text: &str) -> Option<Arc<Trace>> {
        if text.is_empty() {
            return None;
        }
        text.parse().ok().map(Trace::new)
    }

    /// As it goes with a call.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests;
