//! Permits by depth (R13): each depth of calls has its own grant, so that no ring of callbacks can lock.

use std::collections::VecDeque;

/// Depths go from 0 to 15 (R13).
pub const DEPTHS: usize = 16;

/// What a CALL, OPEN or TELL is charged besides its payload.
const OVERHEAD: u64 = 64;

/// The charge of a payload of `len` bytes.
pub(super) fn charge(len: usize) -> u32 {
    u32::try_from(len as u64 + OVERHEAD).unwrap_or(u32::MAX)
}

/// The grant of one depth: how many calls and bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub calls: u32,
    pub bytes: u64,
}

impl Grant {
    pub(super) fn of(limits: &crate::Limits, depth: usize) -> Grant {
        if depth == 0 {
            Grant {
                calls: limits.calls,
                bytes: limits.bytes,
            }
        } else {
            Grant {
                calls: limits.nested,
                bytes: limits.bytes / 8,
            }
        }
    }
}

/// What is charged at one depth, in one direction.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Charged {
    pub calls: u32,
    pub bytes: u64,
}

impl Charged {
    /// Whether one more fits. With nothing else charged, one of any legal size may go.
    pub(super) fn admits(&self, grant: Grant, counts: bool, charge: u32) -> bool {
        let idle = self.bytes == 0 && self.calls == 0;
        idle || (!counts || self.calls < grant.calls)
            && self.bytes + u64::from(charge) <= grant.bytes
    }

    pub(super) fn add(&mut self, counts: bool, charge: u32) {
        self.calls += u32::from(counts);
        self.bytes += u64::from(charge);
    }

    /// Gives back. `false` where more comes back than was charged.
    pub(super) fn sub(&mut self, counts: bool, charge: u64) -> bool {
        match (
            self.calls.checked_sub(u32::from(counts)),
            self.bytes.checked_sub(charge),
        ) {
            (Some(calls), Some(bytes)) => {
                (self.calls, self.bytes) = (calls, bytes);
                true
            }
            _ => false,
        }
    }
}

/// One depth of our own calls: what is charged, and who waits, in order.
#[derive(Debug)]
pub(super) struct Line<W> {
    pub grant: Grant,
    pub charged: Charged,
    /// The part of `charged.bytes` that TELLs hold; a CREDIT above it is a violation.
    pub tells: u64,
    pub waiting: VecDeque<W>,
}

impl<W> Line<W> {
    pub(super) fn new(grant: Grant) -> Self {
        Line {
            grant,
            charged: Charged::default(),
            tells: 0,
            waiting: VecDeque::new(),
        }
    }
}
