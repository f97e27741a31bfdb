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
pub use crate::parsed::Parsed;
use crate::read::{NIL, Reader, span};
use crate::scan::{Bad, Budget, scan_elements, scan_node, scan_value};
pub use crate::seal::{BatchWriter, Sealed, ack_only, resend, seal_alone};

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
        payload: 0,
        table: 0,
    }
    .message(limits.batch)
    .map_err(Violation::from)
}

/// One walk over one message.
struct Parse<'a> {
    reader: Reader<'a>,
    budget: Budget,
    out: &'a mut Parsed,
    /// Of the frame being read: the length of its payload, and of its cap table.
    payload: usize,
    table: usize,
}

/// How many optional elements a frame of `count` elements has, `least` of which are always there (E2.2).
#[inline]
fn optional(count: usize, least: usize, most: usize) -> Result<usize, Bad> {
    if count > most {
        return Err(Bad::Elements);
    }
    count.checked_sub(least).ok_or(Bad::Elements)
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
                    if self.out.frames.len() == FRAMES_MAX {
                        return Err(Bad::Frames);
                    }
                    self.frame(start)?;
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

    /// Reads one frame, checks what holds for all of them, and puts it into the arena.
    #[inline]
    fn frame(&mut self, start: usize) -> Result<(), Bad> {
        let count = self.reader.array()?;
        if count == 0 {
            return Err(Bad::Elements);
        }
        self.payload = 0;
        self.table = 0;
        let mut rest = REST_MAX;
        match self.reader.uint()? {
            1 => self.call(CallKind::Call, optional(count, 5, 7)?)?,
            2 => self.call(CallKind::Open, optional(count, 5, 7)?)?,
            3 => self.call(CallKind::Tell, optional(count, 4, 6)?)?,
            4 => {
                rest = REST_MAX_WIDE;
                self.ret(optional(count, 3, 5)?)?;
            }
            kind => {
                if matches!(kind, 12 | 13) {
                    rest = REST_MAX_WIDE;
                }
                let frame = self.other(kind, count)?;
                self.out.frames.push(frame);
            }
        }
        if self.budget.take_caps() > self.table {
            return Err(Bad::CapIndex);
        }
        if self.payload > PAYLOAD_MAX {
            return Err(Bad::PayloadSize);
        }
        if self.reader.pos - start - self.payload > rest {
            return Err(Bad::RestSize);
        }
        Ok(())
    }

    #[inline]
    fn call(&mut self, kind: CallKind, mut more: usize) -> Result<(), Bad> {
        let id = if kind == CallKind::Tell {
            0
        } else {
            self.reader.call_id()?
        };
        let target = self.reader.target()?;
        let method = u32::try_from(self.reader.uint()?).map_err(|_| Bad::Method)?;
        let start = self.reader.pos;
        let args = if self.reader.peek()? == 0xc7 {
            self.transfer()?
        } else {
            let bytes = self.reader.bytes;
            let end = scan_elements(bytes, start, PAYLOAD_MAX, &mut self.budget)?;
            self.reader.pos = end;
            self.payload = end - start;
            Payload::Inline(span(start, end))
        };
        let call = |caps, ext| CallFrame {
            kind,
            id,
            target,
            method,
            args,
            caps,
            ext,
        };
        if more == 0 {
            // Written down as it is, and not by way of the stack: most calls are of this kind.
            let call = call(Span::NONE, CallExt::NONE);
            self.out.frames.push(Frame::Call(call));
            return Ok(());
        }
        let caps = self.caps(&mut more, CAPS_MAX, kind != CallKind::Tell)?;
        let mut ext = CallExt::default();
        if self.present(&mut more)? {
            ext = self.call_ext()?;
        }
        self.out.frames.push(Frame::Call(call(caps, ext)));
        Ok(())
    }

    #[inline]
    fn ret(&mut self, mut more: usize) -> Result<(), Bad> {
        let id = self.reader.call_id()?;
        let value = self.value()?;
        let mut caps = Span::default();
        let mut seen = Span::default();
        if more > 0 {
            caps = self.caps(&mut more, CAPS_MAX, false)?;
            seen = self.ret_ext(&mut more)?;
        }
        self.out.frames.push(Frame::Ret {
            id,
            value,
            caps,
            seen,
        });
        Ok(())
    }

    /// All kinds that are not on the path of every call.
    fn other(&mut self, kind: u64, count: usize) -> Result<Frame, Bad> {
        Ok(match kind {
            5 => {
                let mut more = optional(count, 4, 5)?;
                let id = self.reader.call_id()?;
                let code = self.reader.uint()?;
                let message = self.text()?;
                let data = self.data(&mut more)?;
                Frame::Err {
                    id,
                    code,
                    message,
                    data,
                }
            }
            6 => {
                optional(count, 2, 2)?;
                Frame::Cancel {
                    id: self.reader.call_id()?,
                }
            }
            7 => {
                optional(count, 2, 2)?;
                self.release()?
            }
            8 => {
                optional(count, 4, 4)?;
                Frame::Broken {
                    target: self.reader.target()?,
                    code: self.reader.uint()?,
                    message: self.text()?,
                }
            }
            9 => {
                let mut more = optional(count, 3, 4)?;
                let target = self.reader.target()?;
                let items = self.items()?;
                let caps = self.caps(&mut more, CAPS_MAX, false)?;
                Frame::Data {
                    target,
                    items,
                    caps,
                }
            }
            10 => {
                let mut more = optional(count, 2, 5)?;
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
                let data = self.data(&mut more)?;
                Frame::End {
                    target,
                    code,
                    message,
                    data,
                }
            }
            11 => {
                let mut more = optional(count, 3, 4)?;
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
                let mut more = optional(count, 6, 7)?;
                let target = self.reader.target()?;
                let epoch = self.reader.id()?;
                let rev = self.reader.id()?;
                let (ty, _) = self.reader.bin()?;
                if ty.len() != 16 {
                    return Err(Bad::Type);
                }
                let value = self.value()?;
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
                let mut more = optional(count, 5, 7)?;
                let target = self.reader.target()?;
                let from = self.reader.id()?;
                let to = self.reader.id()?;
                let node = self
                    .payload(|parse, pos| scan_node(parse.reader.bytes, pos, &mut parse.budget))?;
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
            14 => self.sync(optional(count, 4, 5)?)?,
            15 => self.part(optional(count, 2, 3)?)?,
            16 => {
                optional(count, 2, 2)?;
                Frame::Drain {
                    grace_ms: self.reader.uint()?,
                }
            }
            _ => return Err(Bad::Kind),
        })
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
        scan: impl FnOnce(&mut Self, usize) -> Result<usize, Bad>,
    ) -> Result<Payload, Bad> {
        let start = self.reader.pos;
        if self.reader.peek()? == 0xc7 {
            return self.transfer();
        }
        let end = scan(self, start)?;
        self.reader.pos = end;
        self.payload = end - start;
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

    #[inline]
    fn value(&mut self) -> Result<Payload, Bad> {
        self.payload(|parse, pos| scan_value(parse.reader.bytes, pos, &mut parse.budget))
    }

    fn items(&mut self) -> Result<Payload, Bad> {
        self.payload(|parse, pos| {
            scan_elements(parse.reader.bytes, pos, PAYLOAD_MAX, &mut parse.budget)
        })
    }

    /// The `data` of ERR and END: left out where it is too long, so never a transfer.
    fn data(&mut self, more: &mut usize) -> Result<Span, Bad> {
        if !self.present(more)? {
            return Ok(Span::default());
        }
        let start = self.reader.pos;
        self.reader.pos = scan_value(self.reader.bytes, start, &mut self.budget)?;
        self.payload = self.reader.pos - start;
        Ok(span(start, self.reader.pos))
    }

    fn part(&mut self, mut more: usize) -> Result<Frame, Bad> {
        let head = self.reader.id()?;
        if head == 0 {
            return Err(Bad::Sequence);
        }
        if !self.present(&mut more)? {
            return Ok(Frame::Part { head, data: None });
        }
        let (data, _) = self.reader.bin()?;
        if data.is_empty() || data.len() > PAYLOAD_MAX {
            return Err(Bad::Part);
        }
        self.payload = data.len();
        Ok(Frame::Part {
            head,
            data: Some(data),
        })
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
        self.table = count;
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

    fn sync(&mut self, mut more: usize) -> Result<Frame, Bad> {
        let target = self.reader.target()?;
        let mode = self.reader.uint()?;
        if mode > 2 {
            return Err(Bad::SyncMode);
        }
        let n = self.reader.id()?;
        let mut have = None;
        if self.present(&mut more)? {
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
                _ => ext.others = true,
            }
            Ok(matches!(key, b'd' | b'h' | b'c' | b't'))
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
