//! One message, read: [`parse`] walks the whole of it before any frame takes effect (E4.1). Called by the session for
//! every WebSocket message. The writing side is [`BatchWriter`], in `seal.rs`.

use helve_handles::id::ID_LIMIT;
use helve_handles::{Descriptor, Tag, Target};

use crate::error::Violation;
use crate::frame::{CallExt, CallFrame, CallKind, Frame, Payload, Span};
use crate::limits::{
    CAPS_MAX, CAPS_MAX_WIDE, DEPTH_MAX, ELEMENTS_MAX, FRAMES_MAX, Limits, MESSAGE_MAX, PAYLOAD_MAX,
    RELEASE_PAIRS_MAX, REST_MAX, REST_MAX_WIDE,
};
use crate::read::{NIL, Reader, span};
use crate::scan::{Bad, Budget, scan_elements, scan_node, scan_value};
pub use crate::seal::{BatchWriter, Sealed, ack_only, resend};

/// Frames for which [`Parsed`] keeps memory from one message to the next.
const KEEP: usize = 4_096;

/// What one message held. Reused from message to message: the arenas keep their memory.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Number of the first frame; with no frame, of the next one (E1.3).
    pub first_seq: u64,
    /// All up to here was accepted by the peer (S3).
    pub ack: u64,
    /// Whether the batch asks for an ack (S4).
    pub asks_ack: bool,
    /// The frames, numbered from `first_seq`.
    pub frames: Vec<Frame>,
    /// For each frame, its bytes in the message.
    pub spans: Vec<Span>,
    /// Arena of [`CallFrame::ends`].
    pub ends: Vec<u32>,
    /// Arena of cap tables.
    pub caps: Vec<Descriptor>,
    /// Arena of the pairs of RELEASE.
    pub releases: Vec<(Target, u64)>,
}

impl Parsed {
    /// An empty one, without memory.
    pub fn new() -> Parsed {
        Parsed::default()
    }

    /// Forgets the message and keeps the memory, up to what ordinary batches need.
    pub fn clear(&mut self) {
        self.first_seq = 0;
        self.ack = 0;
        self.asks_ack = false;
        self.frames.clear();
        self.spans.clear();
        self.ends.clear();
        self.caps.clear();
        self.releases.clear();
        if self.frames.capacity() > KEEP {
            self.frames.shrink_to(KEEP);
            self.spans.shrink_to(KEEP);
        }
        if self
            .ends
            .capacity()
            .max(self.caps.capacity())
            .max(self.releases.capacity())
            > 4 * KEEP
        {
            self.ends.shrink_to(4 * KEEP);
            self.caps.shrink_to(KEEP);
            self.releases.shrink_to(KEEP);
        }
    }

    /// Gives memory back, for a connection that has gone idle.
    pub fn release_memory(&mut self) {
        *self = Parsed::default();
    }

    /// A cap table.
    pub fn caps_of(&self, caps: Span) -> &[Descriptor] {
        self.caps.get(caps.range()).unwrap_or_default()
    }

    /// Where each argument of a call ends.
    pub fn ends_of(&self, call: &CallFrame) -> &[u32] {
        self.ends.get(call.ends.range()).unwrap_or_default()
    }

    /// The pairs of a RELEASE.
    pub fn releases_of(&self, pairs: Span) -> &[(Target, u64)] {
        self.releases.get(pairs.range()).unwrap_or_default()
    }
}

/// What the reader of messages holds a peer to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimits {
    /// Longest message, in bytes (E1.4).
    pub batch: u64,
    /// Elements of all values in a message (E4.3).
    pub elements: u32,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits::from(&Limits::default())
    }
}

impl From<&Limits> for ReadLimits {
    fn from(limits: &Limits) -> ReadLimits {
        ReadLimits {
            batch: limits.batch,
            elements: ELEMENTS_MAX,
        }
    }
}

/// Reads a whole message into `parsed`, which is cleared first. After an error nothing in `parsed` may be used: the
/// session is over (R17). Allocates in step with the bytes that are there, never by what they claim.
pub fn parse(message: &[u8], parsed: &mut Parsed, limits: &ReadLimits) -> Result<(), Violation> {
    parsed.clear();
    Parse {
        reader: Reader::new(message),
        budget: Budget::new(limits.elements),
        out: parsed,
    }
    .message(limits.batch)
    .map_err(Violation::from)
}

/// One walk over one message.
struct Parse<'a> {
    reader: Reader<'a>,
    budget: Budget,
    out: &'a mut Parsed,
}

impl Parse<'_> {
    fn message(&mut self, longest: u64) -> Result<(), Bad> {
        let len = self.reader.bytes.len();
        if len as u64 > longest.min(u64::from(u32::MAX)) {
            return Err(Bad::TooLong);
        }
        let header = |bad| if bad == Bad::Short { Bad::Header } else { bad };
        self.out.first_seq = self.reader.id().map_err(header)?;
        self.out.ack = self.reader.id().map_err(header)?;
        while !self.reader.at_end() {
            let start = self.reader.pos;
            match self.reader.peek()? {
                NIL => {
                    self.reader.pos += 1;
                    self.out.asks_ack = true;
                }
                0x90..=0x9f | 0xdc | 0xdd => {
                    let frame = self.frame(start)?;
                    if self.out.frames.len() == FRAMES_MAX {
                        return Err(Bad::Frames);
                    }
                    self.out.frames.push(frame);
                    self.out.spans.push(span(start, self.reader.pos));
                }
                0xc1 => return Err(Bad::Reserved),
                _ => return Err(Bad::Item),
            }
        }
        let last = self.out.first_seq + self.out.frames.len() as u64;
        if self.out.first_seq == 0 || last > ID_LIMIT {
            Err(Bad::Sequence)
        } else {
            Ok(())
        }
    }

    fn frame(&mut self, start: usize) -> Result<Frame, Bad> {
        let count = self.reader.array()?;
        if count == 0 {
            return Err(Bad::Elements);
        }
        let kind = self.reader.uint()?;
        let (least, most) = match kind {
            1 | 2 => (5, 7),
            3 => (4, 6),
            4 => (3, 5),
            5 => (4, 5),
            6 | 7 | 16 => (2, 2),
            8 => (4, 4),
            9 => (3, 4),
            10 => (2, 5),
            11 => (3, 4),
            12 => (6, 7),
            13 => (5, 7),
            14 => (4, 5),
            15 => (2, 3),
            _ => return Err(Bad::Kind),
        };
        if count < least || count > most {
            return Err(Bad::Elements);
        }
        // What may still be absent, behind the elements that every frame of the kind has.
        let mut more = count - least;
        let mut payload = 0;
        let mut rest = REST_MAX;
        let frame = match kind {
            1 => self.call(CallKind::Call, more, &mut payload)?,
            2 => self.call(CallKind::Open, more, &mut payload)?,
            3 => self.call(CallKind::Tell, more, &mut payload)?,
            4 => {
                rest = REST_MAX_WIDE;
                let id = self.reader.call_id()?;
                let value = self.value(&mut payload)?;
                let caps = self.caps(&mut more, CAPS_MAX, false)?;
                let seen = self.ret_ext(&mut more)?;
                Frame::Ret {
                    id,
                    value,
                    caps,
                    seen,
                }
            }
            5 => {
                let id = self.reader.call_id()?;
                let code = self.reader.uint()?;
                let message = self.text()?;
                let data = self.data(&mut more, &mut payload)?;
                Frame::Err {
                    id,
                    code,
                    message,
                    data,
                }
            }
            6 => Frame::Cancel {
                id: self.reader.call_id()?,
            },
            7 => self.release()?,
            8 => Frame::Broken {
                target: self.reader.target()?,
                code: self.reader.uint()?,
                message: self.text()?,
            },
            9 => {
                let target = self.reader.target()?;
                let items = self.items(&mut payload)?;
                let caps = self.caps(&mut more, CAPS_MAX, false)?;
                Frame::Data {
                    target,
                    items,
                    caps,
                }
            }
            10 => {
                let target = self.reader.target()?;
                let code = if self.present(&mut more)? {
                    Some(self.reader.uint()?)
                } else {
                    None
                };
                let message = if self.present(&mut more)? {
                    self.text()?
                } else {
                    Span::default()
                };
                let data = self.data(&mut more, &mut payload)?;
                Frame::End {
                    target,
                    code,
                    message,
                    data,
                }
            }
            11 => {
                let target = self.reader.target()?;
                let n = self.reader.id()?;
                let depth = if self.present(&mut more)? {
                    self.depth()?
                } else {
                    0
                };
                Frame::Credit { target, n, depth }
            }
            12 => {
                rest = REST_MAX_WIDE;
                let target = self.reader.target()?;
                let epoch = self.reader.id()?;
                let rev = self.reader.id()?;
                let (ty, _) = self.reader.bin()?;
                if ty.len() != 16 {
                    return Err(Bad::Type);
                }
                let value = self.value(&mut payload)?;
                let caps = self.caps(&mut more, CAPS_MAX_WIDE, false)?;
                Frame::Snap {
                    target,
                    epoch,
                    rev,
                    ty,
                    value,
                    caps,
                }
            }
            13 => {
                rest = REST_MAX_WIDE;
                let target = self.reader.target()?;
                let from = self.reader.id()?;
                let to = self.reader.id()?;
                let node = self.payload(&mut payload, |parse, pos| {
                    scan_node(parse.reader.bytes, pos, &mut parse.budget)
                })?;
                let caps = self.caps(&mut more, CAPS_MAX_WIDE, false)?;
                let hash = self.delta_ext(&mut more)?;
                Frame::Delta {
                    target,
                    from,
                    to,
                    node,
                    caps,
                    hash,
                }
            }
            14 => self.sync(&mut more)?,
            15 => {
                let head = self.reader.id()?;
                if head == 0 {
                    return Err(Bad::Sequence);
                }
                let data = if self.present(&mut more)? {
                    let (data, _) = self.reader.bin()?;
                    if data.is_empty() || data.len() > PAYLOAD_MAX {
                        return Err(Bad::Part);
                    }
                    payload = data.len();
                    Some(data)
                } else {
                    None
                };
                Frame::Part { head, data }
            }
            _ => Frame::Drain {
                grace_ms: self.reader.uint()?,
            },
        };
        if self.budget.take_caps() > self.last_caps(&frame) {
            return Err(Bad::CapIndex);
        }
        if payload > PAYLOAD_MAX {
            return Err(Bad::PayloadSize);
        }
        if self.reader.pos - start - payload > rest {
            return Err(Bad::RestSize);
        }
        Ok(frame)
    }

    /// How many caps the frame brought.
    fn last_caps(&self, frame: &Frame) -> usize {
        match frame {
            Frame::Call(call) => call.caps.len(),
            Frame::Ret { caps, .. } | Frame::Data { caps, .. } => caps.len(),
            Frame::Snap { caps, .. } | Frame::Delta { caps, .. } => caps.len(),
            _ => 0,
        }
    }

    #[inline]
    fn call(&mut self, kind: CallKind, mut more: usize, size: &mut usize) -> Result<Frame, Bad> {
        let id = if kind == CallKind::Tell {
            0
        } else {
            self.reader.call_id()?
        };
        let target = self.reader.target()?;
        let method = u32::try_from(self.reader.uint()?).map_err(|_| Bad::Method)?;
        let ends = self.out.ends.len();
        let args = self.payload(size, |parse, pos| {
            scan_elements(parse.reader.bytes, pos, &mut parse.budget, |end| {
                parse.out.ends.push(end as u32)
            })
        })?;
        let ends = span(ends, self.out.ends.len());
        let mut caps = Span::default();
        let mut ext = CallExt::default();
        if more > 0 {
            caps = self.caps(&mut more, CAPS_MAX, kind != CallKind::Tell)?;
            if self.present(&mut more)? {
                ext = self.call_ext()?;
            }
        }
        Ok(Frame::Call(CallFrame {
            kind,
            id,
            target,
            method,
            args,
            ends,
            caps,
            ext,
        }))
    }

    /// Whether the next optional element is there. A `nil` is passed and counts as absent (E2.3).
    #[inline]
    fn present(&mut self, more: &mut usize) -> Result<bool, Bad> {
        if *more == 0 {
            return Ok(false);
        }
        *more -= 1;
        Ok(!self.reader.nil()?)
    }

    /// A payload: a transfer to come, or what `scan` passes.
    #[inline]
    fn payload(
        &mut self,
        size: &mut usize,
        scan: impl FnOnce(&mut Self, usize) -> Result<usize, Bad>,
    ) -> Result<Payload, Bad> {
        let start = self.reader.pos;
        if self.reader.peek()? == 0xc7 {
            return self.transfer();
        }
        let end = scan(self, start)?;
        self.reader.pos = end;
        *size = end - start;
        Ok(Payload::Inline(span(start, end)))
    }

    /// Ext type 2 of 5 or 9 bytes: a minimal int above 65,536 (E4.9).
    #[cold]
    fn transfer(&mut self) -> Result<Payload, Bad> {
        let bytes = self.reader.bytes;
        let start = self.reader.pos;
        let len = usize::from(*bytes.get(start + 1).ok_or(Bad::Short)?);
        if *bytes.get(start + 2).ok_or(Bad::Short)? != 2 {
            return Err(Bad::Ext);
        }
        let data = bytes.get(start + 3..start + 3 + len).ok_or(Bad::Short)?;
        let mut inner = Reader::new(data);
        let length = inner.uint().map_err(|bad| {
            if bad == Bad::NotMinimal {
                bad
            } else {
                Bad::Transfer
            }
        })?;
        if !inner.at_end() || length <= PAYLOAD_MAX as u64 || length >= ID_LIMIT {
            return Err(Bad::Transfer);
        }
        self.reader.pos = start + 3 + len;
        Ok(Payload::Transfer(length))
    }

    fn value(&mut self, size: &mut usize) -> Result<Payload, Bad> {
        self.payload(size, |parse, pos| {
            scan_value(parse.reader.bytes, pos, &mut parse.budget)
        })
    }

    fn items(&mut self, size: &mut usize) -> Result<Payload, Bad> {
        self.payload(size, |parse, pos| {
            scan_elements(parse.reader.bytes, pos, &mut parse.budget, |_| ())
        })
    }

    /// The `data` of ERR and END: left out where it is too long, so never a transfer.
    fn data(&mut self, more: &mut usize, size: &mut usize) -> Result<Span, Bad> {
        if !self.present(more)? {
            return Ok(Span::default());
        }
        let start = self.reader.pos;
        self.reader.pos = scan_value(self.reader.bytes, start, &mut self.budget)?;
        *size = self.reader.pos - start;
        Ok(span(start, self.reader.pos))
    }

    fn text(&mut self) -> Result<Span, Bad> {
        let (text, _) = self.reader.str()?;
        if text.len() > MESSAGE_MAX {
            Err(Bad::MessageText)
        } else {
            Ok(text)
        }
    }

    fn depth(&mut self) -> Result<u8, Bad> {
        match u8::try_from(self.reader.uint()?) {
            Ok(depth) if depth <= DEPTH_MAX => Ok(depth),
            _ => Err(Bad::CallDepth),
        }
    }

    fn caps(&mut self, more: &mut usize, most: usize, lent: bool) -> Result<Span, Bad> {
        if !self.present(more)? {
            return Ok(Span::default());
        }
        let count = self.reader.array()?;
        if count > most {
            return Err(Bad::Caps);
        }
        let start = self.out.caps.len();
        for _ in 0..count {
            let cap = Descriptor::from_raw(self.reader.uint()?).ok_or(Bad::Id)?;
            match cap.tag() {
                Tag::Lent if !lent => return Err(Bad::Lent),
                Tag::Lent | Tag::YourOpen if cap.id() == 0 => return Err(Bad::Descriptor),
                _ => self.out.caps.push(cap),
            }
        }
        Ok(span(start, self.out.caps.len()))
    }

    fn release(&mut self) -> Result<Frame, Bad> {
        let count = self.reader.array()?;
        if count == 0 || count % 2 != 0 || count / 2 > RELEASE_PAIRS_MAX {
            return Err(Bad::ReleasePairs);
        }
        let start = self.out.releases.len();
        for _ in 0..count / 2 {
            let target = self.reader.target()?;
            let n = self.reader.id()?;
            if target == Target::ROOT {
                return Err(Bad::ReleaseRoot);
            } else if n == 0 {
                return Err(Bad::ReleaseZero);
            } else if n > 1 && target.as_open().is_some() {
                return Err(Bad::ReleaseOpen);
            }
            self.out.releases.push((target, n));
        }
        Ok(Frame::Release {
            pairs: span(start, self.out.releases.len()),
        })
    }

    fn sync(&mut self, more: &mut usize) -> Result<Frame, Bad> {
        let target = self.reader.target()?;
        let mode = self.reader.uint()?;
        if mode > 2 {
            return Err(Bad::SyncMode);
        }
        let n = self.reader.id()?;
        let mut have = None;
        if self.present(more)? {
            if self.reader.array()? != 2 {
                return Err(Bad::Elements);
            }
            have = Some((self.reader.id()?, self.reader.id()?));
        }
        Ok(Frame::Sync {
            target,
            mode,
            n,
            have,
        })
    }

    /// Walks an `ext` map. `known` reads the value of a key and says whether it did; what it does not know is passed.
    fn ext(
        &mut self,
        mut known: impl FnMut(&mut Self, u8) -> Result<bool, Bad>,
    ) -> Result<Span, Bad> {
        let start = self.reader.pos;
        let mut seen = 0u64;
        for _ in 0..self.reader.map()? {
            let (_, key) = self.reader.str()?;
            let &[letter @ (b'A'..=b'Z' | b'a'..=b'z')] = key.as_bytes() else {
                return Err(Bad::ExtKey);
            };
            let bit = 1u64 << (letter - b'A');
            if seen & bit != 0 {
                return Err(Bad::ExtKeyTwice);
            }
            seen |= bit;
            if !known(self, letter)? {
                self.reader.pos = scan_value(self.reader.bytes, self.reader.pos, &mut self.budget)?;
            }
        }
        Ok(span(start, self.reader.pos))
    }

    fn call_ext(&mut self) -> Result<CallExt, Bad> {
        let mut ext = CallExt::default();
        ext.raw = self.ext(|parse, key| {
            match key {
                b'd' => ext.deadline = Some(parse.reader.uint()?),
                b'h' => ext.depth = parse.depth()?,
                b'c' => ext.chain = Some(parse.reader.id()?),
                b't' => ext.trace = parse.reader.str()?.0,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(ext)
    }

    /// `s`: pairs of target and revision (R10).
    fn ret_ext(&mut self, more: &mut usize) -> Result<Span, Bad> {
        let mut pairs = Span::default();
        if self.present(more)? {
            self.ext(|parse, key| {
                if key != b's' {
                    return Ok(false);
                }
                let start = parse.reader.pos;
                let count = parse.reader.array()?;
                if count % 2 != 0 {
                    return Err(Bad::ExtValue);
                }
                for _ in 0..count / 2 {
                    parse.reader.target()?;
                    parse.reader.id()?;
                }
                pairs = span(start, parse.reader.pos);
                Ok(true)
            })?;
        }
        Ok(pairs)
    }

    /// `x`: a state hash of 8 bytes.
    fn delta_ext(&mut self, more: &mut usize) -> Result<Span, Bad> {
        let mut hash = Span::default();
        if self.present(more)? {
            self.ext(|parse, key| {
                if key != b'x' {
                    return Ok(false);
                }
                hash = parse.reader.bin()?.0;
                if hash.len() != 8 {
                    Err(Bad::ExtValue)
                } else {
                    Ok(true)
                }
            })?;
        }
        Ok(hash)
    }
}
