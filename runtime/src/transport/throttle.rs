//! [`Throttle`]: what a server puts up with from strangers and from slow links, and the door that counts them. Set through
//! `Server::builder().throttle(..)`; the door is used by the loop that accepts, and by nothing else.
//!
//! None of this is said on the wire, unlike `Limits`: it bounds what a peer may cost before it has a session, and how long it may
//! keep one waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::is_loopback;
use super::meter::{Bucket, Rate};

/// What a server puts up with, beside [`Limits`](crate::Limits). Each has a default that an honest client never reaches.
///
/// A *prefix* is who is counted as one: an IPv4 address, or the first 64 bits of an IPv6 address. Loopback is not counted by
/// prefix, unless [`loopback`](Throttle::loopback) says so. Where a number is 0, 1 is meant.
///
/// ```
/// use std::time::Duration;
/// use helve::Throttle;
///
/// // Behind a proxy, every client has the proxy's address.
/// let throttle = Throttle::default().with_pending_per_prefix(1024).with_connects(2_000, 4_000);
/// assert_eq!(throttle.handshake, Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Throttle {
    /// Time for a whole handshake: TLS, HTTP, HELLO and the hooks. Default 10 s; a client waits no longer. Threats rows 1, 2.
    pub handshake: Duration,
    /// Handshakes that are under way at once; further connections are closed, with HTTP status 503 where there is no TLS.
    /// Default 1,024. Threats row 3.
    pub pending: u32,
    /// The same for one prefix. Default 32. Threats row 3.
    pub pending_per_prefix: u32,
    /// Connections a second that one prefix may open on and on; further ones are closed as above, before any TLS. Default
    /// 20. Threats row 18.
    pub connect_rate: u32,
    /// Connections that one prefix may open at once before its rate counts. Default 40. Threats row 18.
    pub connect_burst: u32,
    /// Counts connections from loopback by prefix too. Default no: a proxy, or every test, has that address. Threats rows 3, 18.
    pub loopback: bool,
    /// Time in which a WebSocket message that has begun must be whole, plus a second for each KiB of it that came; else the
    /// link ends with Close 1008. Default 10 s. Threats row 8.
    pub assembly: Duration,
    /// Pings and pongs in ten seconds that a peer may send on and on; more end the link with Close 1008. Default 10. Threats
    /// row 10.
    pub control_rate: u32,
    /// Pings and pongs that a peer may send at once before the rate counts. Default 20. Threats row 10.
    pub control_burst: u32,
    /// How long a peer may read nothing while there is something for it; then the link is lost. Default 10 s. Threats row 14.
    pub stall: Duration,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            handshake: Duration::from_secs(10),
            pending: 1024,
            pending_per_prefix: 32,
            connect_rate: 20,
            connect_burst: 40,
            loopback: false,
            assembly: Duration::from_secs(10),
            control_rate: 10,
            control_burst: 20,
            stall: Duration::from_secs(10),
        }
    }
}

impl Throttle {
    /// Time for a whole handshake.
    pub fn with_handshake(mut self, handshake: Duration) -> Throttle {
        self.handshake = handshake;
        self
    }

    /// Handshakes that are under way at once.
    pub fn with_pending(mut self, pending: u32) -> Throttle {
        self.pending = pending;
        self
    }

    /// Handshakes of one prefix that are under way at once.
    pub fn with_pending_per_prefix(mut self, pending: u32) -> Throttle {
        self.pending_per_prefix = pending;
        self
    }

    /// Connections of one prefix: a second, and at once.
    pub fn with_connects(mut self, rate: u32, burst: u32) -> Throttle {
        (self.connect_rate, self.connect_burst) = (rate, burst);
        self
    }

    /// Whether loopback is counted by prefix too.
    pub fn with_loopback(mut self, counted: bool) -> Throttle {
        self.loopback = counted;
        self
    }

    /// Time in which a message that has begun must be whole.
    pub fn with_assembly(mut self, assembly: Duration) -> Throttle {
        self.assembly = assembly;
        self
    }

    /// Pings and pongs of a peer: in ten seconds, and at once.
    pub fn with_control(mut self, rate: u32, burst: u32) -> Throttle {
        (self.control_rate, self.control_burst) = (rate, burst);
        self
    }

    /// How long a peer may read nothing.
    pub fn with_stall(mut self, stall: Duration) -> Throttle {
        self.stall = stall;
        self
    }

    pub(crate) fn control(&self) -> Rate {
        Rate::new(
            self.control_rate,
            Duration::from_secs(10),
            self.control_burst,
        )
    }

    fn connects(&self) -> Rate {
        Rate::new(
            self.connect_rate,
            Duration::from_secs(1),
            self.connect_burst,
        )
    }
}

/// Whom a connection is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Prefix {
    V4([u8; 4]),
    V6([u16; 4]),
    /// Everyone who comes while the table is full.
    Rest,
}

impl Prefix {
    fn of(addr: IpAddr) -> Prefix {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Prefix::V4(addr.octets()),
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                Prefix::V6([a, b, c, d])
            }
        }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turned {
    /// As many handshakes as there may be are under way.
    Full,
    /// As many of its prefix are.
    PrefixFull,
    /// Its prefix connects too often.
    TooOften,
}

impl std::fmt::Display for Turned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Turned::Full => "too many handshakes are under way",
            Turned::PrefixFull => "too many handshakes of this address are under way",
            Turned::TooOften => "this address connects too often",
        })
    }
}

/// Counts the handshakes under way, and how often each prefix connects.
pub(crate) struct Door {
    throttle: Throttle,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    pending: u32,
    prefixes: HashMap<Prefix, Count>,
    /// When the table was last looked through for prefixes to forget.
    swept: Option<Instant>,
}

#[derive(Default)]
struct Count {
    pending: u32,
    connects: Bucket,
}

/// Prefixes that are remembered. Those that would be counted from nothing anyway are forgotten first; the rest share one count.
const PREFIXES: usize = 16_384;
/// How often a full table is looked through at most.
const SWEEP: Duration = Duration::from_secs(1);

impl Door {
    pub(crate) fn new(throttle: Throttle) -> Arc<Door> {
        Arc::new(Door {
            throttle,
            counts: Mutex::default(),
        })
    }

    /// Nothing panics under this lock, so poison says nothing.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection begin its handshake, which is under way until what is returned is dropped.
    pub(crate) fn admit(self: &Arc<Self>, from: IpAddr, now: Instant) -> Result<Pending, Turned> {
        let throttle = &self.throttle;
        let mut counts = self.lock();
        if counts.pending >= throttle.pending.max(1) {
            return Err(Turned::Full);
        }
        let counted = throttle.loopback || !is_loopback(from);
        let prefix = counted.then(|| counts.place(Prefix::of(from), now));
        if let Some(prefix) = prefix {
            let count = counts.prefixes.entry(prefix).or_default();
            if !count.connects.take(now, throttle.connects()) {
                return Err(Turned::TooOften);
            }
            if count.pending >= throttle.pending_per_prefix.max(1) {
                return Err(Turned::PrefixFull);
            }
            count.pending += 1;
        }
        counts.pending += 1;
        drop(counts);
        Ok(Pending {
            door: self.clone(),
            prefix,
        })
    }
}

impl Counts {
    /// Makes room for a prefix, or has it counted with the others for which there is none.
    fn place(&mut self, prefix: Prefix, now: Instant) -> Prefix {
        if self.prefixes.len() < PREFIXES || self.prefixes.contains_key(&prefix) {
            return prefix;
        }
        // Not for each of them: looking through the whole table would be the next attack.
        if self.swept.is_none_or(|at| now >= at + SWEEP) {
            self.swept = Some(now);
            self.prefixes
                .retain(|_, count| count.pending > 0 || !count.connects.is_full(now));
        }
        match self.prefixes.len() {
            kept if kept < PREFIXES => prefix,
            _ => Prefix::Rest,
        }
    }
}

/// A handshake that is under way.
pub(crate) struct Pending {
    door: Arc<Door>,
    prefix: Option<Prefix>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut counts = self.door.lock();
        counts.pending -= 1;
        if let Some(prefix) = self.prefix
            && let Some(count) = counts.prefixes.get_mut(&prefix)
        {
            count.pending -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
