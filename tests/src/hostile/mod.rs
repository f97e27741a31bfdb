//! [`Hostile`]: a client that speaks the grammar. It keeps a plausible view of its session (ids, targets, counts, permits,
//! numbers), says frames of every kind, mostly legal ones, and may in the end be wrong in one respect. Everything
//! follows from one seed and from what the server says.
//!
//! It does no I/O: `tests/hostile.rs` carries its messages to a server and hands it what comes back.

mod say;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};

use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::Limits;
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallKind, Frame, Payload};
use helve_protocol::limits::STREAM_CREDIT;

use crate::seeded::Rng;

pub use wrong::WRONGS;

/// One message, and what a server must make of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The message.
    pub bytes: Vec<u8>,
    /// The rule that the Close must name; `None` where nothing is wrong.
    pub wrong: Option<&'static str>,
}

/// A call of ours that is not answered.
#[derive(Debug)]
struct Asked {
    kind: CallKind,
    depth: usize,
    charge: u64,
    /// What it returns is a stream.
    streams: bool,
}

/// One of our own objects as a stream: what we may still send of it, and whether we ended it.
#[derive(Clone, Copy, Debug)]
struct Stream {
    credit: i64,
    ended: bool,
}

/// A call of the server's that is not answered.
#[derive(Debug)]
struct Owed {
    id: u64,
    kind: CallKind,
}

/// What is charged at one depth, as far as we were told.
#[derive(Clone, Copy, Default, Debug)]
struct Charged {
    calls: u64,
    bytes: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Hostile {
    rng: Rng,
    /// What the server lets us do.
    limits: Limits,
    /// Number of our next frame; how many of theirs came.
    next: u64,
    heard: u64,
    /// Messages that went, to be said again.
    old: Vec<Vec<u8>>,
    last_id: u64,
    calls: BTreeMap<u64, Asked>,
    charged: [Charged; 16],
    tells: [u64; 16],
    /// The server's objects: how often they were named to us.
    objects: BTreeMap<u64, u64>,
    /// Our OPENs that are not released.
    opens: Vec<u64>,
    /// Our own objects: how many there are, ever.
    mine: u64,
    owed: Vec<Owed>,
    /// Those of our objects that the server was shown, and of these the ones that send.
    shown: BTreeSet<u64>,
    sending: BTreeMap<u64, Stream>,
    /// The server's streams that we hold.
    reading: Vec<u64>,
    /// Frames that named nothing.
    strikes: u32,
    /// How many OPENs and caps we let the server hold.
    table: u64,
}

impl Hostile {
    /// One that has said HELLO and was welcomed with these limits.
    pub fn new(seed: u64, limits: Limits) -> Hostile {
        Hostile {
            rng: Rng::new(seed),
            limits,
            next: 1,
            heard: 0,
            old: Vec::new(),
            last_id: 0,
            calls: BTreeMap::new(),
            charged: [Charged::default(); 16],
            tells: [0; 16],
            objects: BTreeMap::new(),
            opens: Vec::new(),
            mine: 0,
            owed: Vec::new(),
            shown: BTreeSet::new(),
            sending: BTreeMap::new(),
            reading: Vec::new(),
            strikes: 0,
            table: 0,
        }
    }

    /// A number below `n`, for whoever carries the messages.
    pub fn dice(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    /// A message in which nothing is wrong.
    pub fn legal(&mut self) -> Said {
        if !self.old.is_empty() && self.rng.one_in(12) {
            return self.stale();
        }
        let frames = match self.rng.below(10) {
            0 => 0,
            1 => 1 + self.rng.below(120),
            _ => 1 + self.rng.below(6),
        };
        let mut body = Vec::new();
        let mut count = 0;
        for _ in 0..frames {
            if body.len() < 120_000 {
                count += self.say(&mut body);
            }
        }
        if self.rng.one_in(10) {
            count += self.transfer(&mut body, self.next + count);
        }
        let ask = frames == 0 || self.rng.one_in(3);
        let said = self.message(&body, ask);
        self.next += count;
        self.old.push(said.bytes.clone());
        said
    }

    /// S2.2: what was said before, whole or with something new behind it, has no effect.
    fn stale(&mut self) -> Said {
        let at = self.rng.below(self.old.len());
        let bytes = self.old[at].clone();
        Said { bytes, wrong: None }
    }

    /// Header, frames, and perhaps `nil`.
    fn message(&mut self, body: &[u8], ask: bool) -> Said {
        let mut bytes = Vec::new();
        frame::put_uint(&mut bytes, self.next);
        // S3.5: an ack below an earlier one is ignored.
        let ack = match self.rng.below(8) {
            0 => self.rng.number() % (self.heard + 1),
            _ => self.heard,
        };
        frame::put_uint(&mut bytes, ack);
        bytes.extend_from_slice(body);
        if ask {
            bytes.push(0xc0);
        }
        Said { bytes, wrong: None }
    }

    /// What the server said.
    ///
    /// # Panics
    /// When it is no correct message, or answers what was not asked.
    pub fn hear(&mut self, message: &[u8]) {
        let mut parsed = Parsed::new();
        parse(message, &mut parsed, &ReadLimits::default()).expect("a correct message");
        assert_eq!(parsed.first_seq, self.heard + 1, "S2.1");
        assert!(
            parsed.ack < self.next,
            "S3.4: {} of {}",
            parsed.ack,
            self.next
        );
        self.heard += parsed.frames.len() as u64;
        for frame in &parsed.frames {
            self.hear_frame(message, &parsed, frame);
        }
    }

    fn hear_frame(&mut self, message: &[u8], parsed: &Parsed, frame: &Frame) {
        match *frame {
            Frame::Ret {
                id, value, caps, ..
            } => {
                let Asked { kind, streams, .. } = self.answered(id);
                let Payload::Inline(value) = value else {
                    return;
                };
                if kind == CallKind::Open {
                    let raw = message[value.range()].to_vec();
                    assert!(raw.len() <= 9 && caps.is_empty(), "R5.2: {raw:02x?}");
                }
                self.named(parsed.caps_of(caps));
                if let ([stream], true) = (parsed.caps_of(caps), streams) {
                    self.reading.push(stream.id());
                }
            }
            Frame::Err { id, .. } => _ = self.answered(id),
            Frame::Call(call) => {
                self.named(parsed.caps_of(call.caps));
                if call.kind == CallKind::Tell {
                    return;
                }
                self.owed.push(Owed {
                    id: call.id,
                    kind: call.kind,
                });
            }
            Frame::Credit { target, n, depth } if target == Target::ROOT => {
                let depth = usize::from(depth);
                assert!(self.tells[depth] >= n, "R13.9: more credit than was owed");
                self.tells[depth] -= n;
                self.charged[depth].bytes -= n;
            }
            Frame::Credit { target, n, .. } => {
                // R19.2: for what was read, so never more than was sent.
                let stream = target.as_host().and_then(|k| self.sending.get_mut(&k));
                let stream = stream.expect("R19.1: credit for what sends nothing");
                stream.credit += i64::try_from(n).expect("I1.1");
                assert!(stream.credit <= STREAM_CREDIT, "R19.2: more than at birth");
            }
            Frame::Data { caps, .. } => self.named(parsed.caps_of(caps)),
            _ => {}
        }
    }

    /// R11.5: each call has one answer.
    fn answered(&mut self, id: u64) -> Asked {
        let asked = self.calls.remove(&id);
        let asked =
            asked.unwrap_or_else(|| panic!("R11.5: an answer to {id}, which has none to come"));
        let charged = &mut self.charged[asked.depth];
        charged.calls -= 1;
        charged.bytes -= asked.charge;
        asked
    }

    fn named(&mut self, caps: &[Descriptor]) {
        for cap in caps {
            if cap.tag() == Tag::Mine && cap.id() > 0 {
                *self.objects.entry(cap.id()).or_default() += 1;
            }
        }
    }
}
