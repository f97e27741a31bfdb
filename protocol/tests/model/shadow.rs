//! The shadow graph: what every reference points at, as plain pointers, without counts, names or messages.

use helve_protocol::Code;
use helve_protocol::frame::CallKind;

use crate::harness::Side;
use helve_protocol::session::ImportKey;

/// What a reference points at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shadow {
    /// The object of that number.
    Object(usize),
    /// Whatever that call, an OPEN, leads to.
    Promise(usize),
    /// Nothing: the OPEN failed.
    Nothing,
}

/// What a method answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Given {
    Value(Vec<Shadow>),
    Fault(Code),
}

/// Everything known of one call.
#[derive(Clone, Debug)]
pub struct CallShadow {
    pub by: Side,
    pub kind: CallKind,
    pub on: Shadow,
    /// The import it was made on, and its depth: calls of one group start in order.
    pub group: (Side, ImportKey, u8),
    pub args: Vec<Shadow>,
    /// Bytes of its arguments, if they are more than one frame holds, else 0; and of its result.
    pub large: usize,
    pub large_result: usize,
    /// Among target and arguments is a handle that was lent.
    pub lent: bool,
    /// It may overtake its group (R13.14).
    pub free: bool,
    pub cancelled: bool,
    pub executed: bool,
    /// The caller was told that it did not run.
    pub not_run: bool,
    pub given: Option<Given>,
    /// Of an OPEN: what it leads to.
    pub promise: Option<Shadow>,
}

/// Every call that was made, by number.
#[derive(Default)]
pub struct Graph {
    pub calls: Vec<CallShadow>,
    /// Host of each object, by number.
    pub hosts: Vec<Side>,
    pub revoked: Vec<bool>,
}

impl Graph {
    /// What a reference leads to in the end: an object, nothing, or nothing yet (also: itself).
    pub fn resolve(&self, shadow: Shadow) -> Option<Shadow> {
        let mut at = shadow;
        for _ in 0..=self.calls.len() {
            match at {
                Shadow::Promise(uid) => at = self.calls[uid].promise?,
                end => return Some(end),
            }
        }
        None
    }

    pub fn object(&self, shadow: Shadow) -> Option<usize> {
        match self.resolve(shadow)? {
            Shadow::Object(id) => Some(id),
            _ => None,
        }
    }

    /// Whether a call on this may be told that it is broken.
    pub fn may_be_broken(&self, shadow: Shadow) -> bool {
        match self.resolve(shadow) {
            Some(Shadow::Object(id)) => self.revoked[id],
            _ => true,
        }
    }

    /// Whether somebody cancelled an OPEN that this goes through.
    pub fn was_cancelled(&self, shadow: Shadow) -> bool {
        let mut at = shadow;
        for _ in 0..=self.calls.len() {
            let Shadow::Promise(uid) = at else {
                return false;
            };
            let call = &self.calls[uid];
            if call.cancelled
                || call
                    .args
                    .iter()
                    .chain([&call.on])
                    .any(|s| *s != at && self.was_cancelled_at(*s))
            {
                return true;
            }
            match call.promise {
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }

    /// As [`was_cancelled`](Self::was_cancelled), not following what OPENs lead to.
    fn was_cancelled_at(&self, shadow: Shadow) -> bool {
        let Shadow::Promise(uid) = shadow else {
            return false;
        };
        let call = &self.calls[uid];
        call.cancelled
            || call
                .args
                .iter()
                .chain([&call.on])
                .any(|s| self.was_cancelled_at(*s))
    }

    pub fn is_promise(shadow: Shadow) -> bool {
        matches!(shadow, Shadow::Promise(_))
    }
}
