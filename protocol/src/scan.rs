//! The scan: one pass over MessagePack bytes that a peer sent, before anything believes them. Iterative, no recursion,
//! no allocation. Used by the batch parser for whole messages, and by the session for assembled transfers.

use crate::error::Violation;
use crate::limits::{ELEMENTS_MAX, NESTING_MAX, NODE_NESTING_MAX};

/// Why bytes are refused. One byte, so that results stay in registers; [`Violation`] has the words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(
    missing_docs,
    reason = "each stands beside its rule and words in `parts`"
)]
#[non_exhaustive]
pub enum Bad {
    Short,
    Header,
    Item,
    Sequence,
    TooLong,
    Frames,
    Kind,
    Elements,
    NotMinimal,
    PayloadSize,
    RestSize,
    Type,
    MessageText,
    ExtKey,
    ExtKeyTwice,
    ExtValue,
    Depth,
    Budget,
    Utf8,
    Reserved,
    Ext,
    CapIndex,
    Transfer,
    Trailing,
    Id,
    CallId,
    ReleaseRoot,
    Descriptor,
    Caps,
    Lent,
    Method,
    ReleasePairs,
    ReleaseZero,
    ReleaseOpen,
    CallDepth,
    Part,
    SyncMode,
    HandshakeShape,
    HandshakeSize,
    HandshakeKey,
    HandshakeKeyTwice,
    HandshakeValue,
}

impl Bad {
    /// The rule of docs/protocol.md and what was wrong.
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Bad::Header => ("E1.1", "a message that ends in its header"),
            Bad::Item => ("E1.2", "an item is neither a frame nor nil"),
            Bad::Sequence => ("E1.3", "sequence numbers leave their bounds"),
            Bad::TooLong => ("E1.4", "message above the batch limit"),
            Bad::Frames => ("E1.5", "more than 8,192 frames in a message"),
            Bad::Kind => ("E2.1", "unknown kind of frame"),
            Bad::Elements => ("E2.2", "too many or too few elements"),
            Bad::NotMinimal => ("E2.4", "an int in envelope or head is not minimal"),
            Bad::PayloadSize => ("E2.5", "payload above 65,536 bytes"),
            Bad::RestSize => ("E2.5", "frame too long beside its payload"),
            Bad::Type => ("E2.6", "an element of the wrong type"),
            Bad::MessageText => ("E2.7", "text above 256 bytes"),
            Bad::ExtKey => ("E3.1", "a key of ext is not one letter"),
            Bad::ExtKeyTwice => ("E3.1", "a key of ext twice"),
            Bad::ExtValue => ("E3.3", "a value of ext out of its bounds"),
            Bad::Depth => ("E4.2", "nested too deep"),
            Bad::Budget => ("E4.3", "too many elements in a message"),
            Bad::Short => ("E4.4", "a length beyond the bytes left"),
            Bad::Utf8 => ("E4.5", "a str that is not UTF-8"),
            Bad::Reserved => ("E4.6", "the reserved byte 0xc1"),
            Bad::Ext => ("E4.7", "an ext that no value may hold"),
            Bad::CapIndex => ("E4.8", "a cap index outside the cap table"),
            Bad::Transfer => (
                "E4.9",
                "a transfer that is not a whole payload or not above 65,536",
            ),
            Bad::Trailing => ("E4.10", "trailing bytes"),
            Bad::Id => ("I1.1", "an id of 2^53 or more"),
            Bad::CallId => ("I1.3", "a call id of 0"),
            Bad::ReleaseRoot => ("I2.1", "release of the root"),
            Bad::Descriptor => ("I3.2", "a descriptor that can name nothing"),
            Bad::Caps => ("I3.5", "too many caps"),
            Bad::Lent => ("R3.1", "a lent cap outside CALL and OPEN"),
            Bad::Method => ("E5.1", "a method above 2^32 - 1"),
            Bad::ReleasePairs => ("R1.5", "RELEASE without 1 to 64 pairs"),
            Bad::ReleaseZero => ("R1.5", "release of zero"),
            Bad::ReleaseOpen => ("R2.2", "an OPEN is released once, by 1"),
            Bad::CallDepth => ("R13.3", "call depth above 15"),
            Bad::Part => ("R18.3", "a PART without 1 to 65,536 bytes"),
            Bad::SyncMode => ("R20.5", "unknown mode of SYNC"),
            Bad::HandshakeShape => ("S1.2", "handshake is not [kind, map]"),
            Bad::HandshakeSize => ("S1.3", "handshake part too long"),
            Bad::HandshakeKey => ("S1.4", "handshake lacks a key"),
            Bad::HandshakeKeyTwice => ("S1.4", "a key of the handshake twice"),
            Bad::HandshakeValue => ("S1.4", "a value of the handshake is malformed"),
        }
    }
}

impl From<Bad> for Violation {
    #[cold]
    fn from(bad: Bad) -> Violation {
        let (rule, what) = bad.parts();
        Violation::new(rule, what)
    }
}

/// What one message may still spend, and what its frame has referred to.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u32,
    caps: u32,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(ELEMENTS_MAX)
    }
}

impl Budget {
    /// That many elements: values, keys and containers each count as one.
    pub fn new(elements: u32) -> Budget {
        Budget {
            left: elements,
            caps: 0,
        }
    }

    /// The cap table must hold at least so many: one above the highest index seen since the last call.
    pub fn take_caps(&mut self) -> usize {
        std::mem::take(&mut self.caps) as usize
    }

    /// Elements that may still come.
    pub fn left(&self) -> u32 {
        self.left
    }

    #[inline]
    fn spend(&mut self, n: u32) -> Result<(), Bad> {
        match self.left.checked_sub(n) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Bad::Budget),
        }
    }
}

/// Checks one value that starts at `pos`, nested at most 64 deep, and returns where it ends.
#[inline]
pub fn scan_value(bytes: &[u8], pos: usize, budget: &mut Budget) -> Result<usize, Bad> {
    budget.spend(1)?;
    scan_paid(bytes, pos, budget)
}

/// Checks one patch node, whose raw nesting may reach 128 (E4.12).
pub fn scan_node(bytes: &[u8], pos: usize, budget: &mut Budget) -> Result<usize, Bad> {
    budget.spend(1)?;
    scan_slow(bytes, pos, budget, NODE_NESTING_MAX)
}

/// Checks bytes that must be exactly one value, for example an assembled transfer (E4.10, E4.11). `caps` is the length
/// of the cap table of the frame that it belongs to.
pub fn scan_whole(bytes: &[u8], caps: usize, budget: &mut Budget) -> Result<(), Bad> {
    let end = scan_value(bytes, 0, budget)?;
    if end != bytes.len() {
        return Err(Bad::Trailing);
    }
    if budget.take_caps() > caps {
        Err(Bad::CapIndex)
    } else {
        Ok(())
    }
}

/// The same for a patch node (E4.12).
pub fn scan_whole_node(bytes: &[u8], caps: usize, budget: &mut Budget) -> Result<(), Bad> {
    let end = scan_node(bytes, 0, budget)?;
    if end != bytes.len() {
        return Err(Bad::Trailing);
    }
    if budget.take_caps() > caps {
        Err(Bad::CapIndex)
    } else {
        Ok(())
    }
}

/// Checks bytes that must be exactly one array of values, each nested at most 64 deep: the arguments of a call or the
/// items of a DATA.
pub fn scan_array(bytes: &[u8], caps: usize, budget: &mut Budget) -> Result<(), Bad> {
    let end = scan_elements(bytes, 0, usize::MAX, budget)?;
    if end != bytes.len() {
        return Err(Bad::Trailing);
    }
    if budget.take_caps() > caps {
        Err(Bad::CapIndex)
    } else {
        Ok(())
    }
}

/// Checks an array of at most `most` values at `pos`, each a value of its own.
#[inline]
pub(crate) fn scan_elements(
    bytes: &[u8],
    pos: usize,
    most: usize,
    budget: &mut Budget,
) -> Result<usize, Bad> {
    let (mut count, mut pos) = match bytes.get(pos) {
        None => return Err(Bad::Short),
        Some(&m @ 0x90..=0x9f) => (usize::from(m & 15), pos + 1),
        Some(0xdc) => (be::<2>(bytes, pos + 1)?, pos + 3),
        Some(0xdd) => (be::<4>(bytes, pos + 1)?, pos + 5),
        Some(_) => return Err(Bad::Type),
    };
    if count > bytes.len().saturating_sub(pos) {
        return Err(Bad::Short);
    }
    // Both would come out in the end, but not before every element was looked at.
    if count > most {
        return Err(Bad::PayloadSize);
    }
    budget.spend(u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1))?;
    while count > 0 {
        pos = scan_paid(bytes, pos, budget)?;
        count -= 1;
    }
    Ok(pos)
}

/// A big-endian number of `N` bytes (1, 2 or 4) at `pos`.
#[inline]
fn be<const N: usize>(bytes: &[u8], pos: usize) -> Result<usize, Bad> {
    let chunk = bytes
        .get(pos..)
        .and_then(|rest| rest.first_chunk::<N>())
        .ok_or(Bad::Short)?;
    Ok(chunk.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
}

/// A value whose own element is paid for. Small ints, `nil` and bools are most of all arguments.
#[inline]
fn scan_paid(bytes: &[u8], pos: usize, budget: &mut Budget) -> Result<usize, Bad> {
    match bytes.get(pos) {
        None => Err(Bad::Short),
        Some(0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff) => Ok(pos + 1),
        Some(_) => scan_slow(bytes, pos, budget, NESTING_MAX),
    }
}

fn scan_slow(
    bytes: &[u8],
    pos: usize,
    budget: &mut Budget,
    max_depth: usize,
) -> Result<usize, Bad> {
    match step(bytes, pos, budget)? {
        (pos, 0) => Ok(pos),
        (pos, kids) => scan_nested(bytes, pos, kids, budget, max_depth),
    }
}

/// Passes a scalar, or the header of a container. Returns where it ends, and how many values a container owes; they are
/// paid for.
#[inline]
fn step(bytes: &[u8], pos: usize, budget: &mut Budget) -> Result<(usize, u32), Bad> {
    enum Body {
        Plain,
        Text,
        Kids,
    }
    let marker = *bytes.get(pos).ok_or(Bad::Short)?;
    // How long the header is, and how many bytes or values it claims.
    let (body, header, claim) = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => return Ok((pos + 1, 0)),
        0xa0..=0xbf => (Body::Text, 1, usize::from(marker & 31)),
        0x90..=0x9f => (Body::Kids, 1, usize::from(marker & 15)),
        0x80..=0x8f => (Body::Kids, 1, 2 * usize::from(marker & 15)),
        0xcc | 0xd0 => (Body::Plain, 1, 1),
        0xcd | 0xd1 => (Body::Plain, 1, 2),
        0xca | 0xce | 0xd2 => (Body::Plain, 1, 4),
        0xcb | 0xcf | 0xd3 => (Body::Plain, 1, 8),
        0xc4 => (Body::Plain, 2, be::<1>(bytes, pos + 1)?),
        0xc5 => (Body::Plain, 3, be::<2>(bytes, pos + 1)?),
        0xc6 => (Body::Plain, 5, be::<4>(bytes, pos + 1)?),
        0xd9 => (Body::Text, 2, be::<1>(bytes, pos + 1)?),
        0xda => (Body::Text, 3, be::<2>(bytes, pos + 1)?),
        0xdb => (Body::Text, 5, be::<4>(bytes, pos + 1)?),
        0xdc => (Body::Kids, 3, be::<2>(bytes, pos + 1)?),
        0xdd => (Body::Kids, 5, be::<4>(bytes, pos + 1)?),
        0xde => (Body::Kids, 3, be::<2>(bytes, pos + 1)?.saturating_mul(2)),
        0xdf => (Body::Kids, 5, be::<4>(bytes, pos + 1)?.saturating_mul(2)),
        0xd4..=0xd8 | 0xc7..=0xc9 => (Body::Plain, 0, cap_ref(bytes, pos, marker, budget)?),
        0xc1 => return Err(Bad::Reserved),
    };
    // Every claim is held against the bytes left before anything is done with it. A value is at least a byte.
    let start = pos + header;
    let left = bytes.len().saturating_sub(start);
    if claim > left {
        return Err(Bad::Short);
    }
    match body {
        Body::Plain => Ok((start + claim, 0)),
        Body::Text => {
            let end = start + claim;
            let text = bytes.get(start..end).ok_or(Bad::Short)?;
            if std::str::from_utf8(text).is_err() {
                return Err(Bad::Utf8);
            }
            Ok((end, 0))
        }
        Body::Kids => {
            let kids = u32::try_from(claim).map_err(|_| Bad::Budget)?;
            budget.spend(kids)?;
            Ok((start, kids))
        }
    }
}

/// The walk through a container that owes `kids` values: a stack of what each open container still owes.
fn scan_nested(
    bytes: &[u8],
    mut pos: usize,
    kids: u32,
    budget: &mut Budget,
    max_depth: usize,
) -> Result<usize, Bad> {
    let mut owed = [0u32; NODE_NESTING_MAX];
    // Of the innermost container; those around it are on the stack, and `depth` counts all.
    let mut top = kids;
    let mut depth = 1usize;
    loop {
        while top == 0 {
            depth -= 1;
            match depth.checked_sub(1).and_then(|at| owed.get(at)) {
                Some(&around) => top = around,
                None => return Ok(pos),
            }
        }
        top -= 1;
        let container = matches!(bytes.get(pos), Some(0x80..=0x9f | 0xdc..=0xdf));
        let (next, kids) = step(bytes, pos, budget)?;
        pos = next;
        if container {
            if depth >= max_depth {
                return Err(Bad::Depth);
            }
            if kids > 0 {
                *owed.get_mut(depth - 1).ok_or(Bad::Depth)? = top;
                depth += 1;
                top = kids;
            }
        }
    }
}

/// A reference into the cap table: `d4 01 i`, or `d5 01 hi lo`. Any other ext is refused here. Returns its length.
fn cap_ref(bytes: &[u8], pos: usize, marker: u8, budget: &mut Budget) -> Result<usize, Bad> {
    // The type stands behind the marker, and behind the length where there is one.
    let kind_at = match marker {
        0xc7 => pos + 2,
        0xc8 => pos + 3,
        0xc9 => pos + 5,
        _ => pos + 1,
    };
    let kind = *bytes.get(kind_at).ok_or(Bad::Short)?;
    let (index, len) = match (marker, kind) {
        (0xd4, 1) => (be::<1>(bytes, pos + 2)?, 3),
        (0xd5, 1) => (be::<2>(bytes, pos + 2)?, 4),
        (_, 2) => return Err(Bad::Transfer),
        _ => return Err(Bad::Ext),
    };
    budget.caps = budget.caps.max(index as u32 + 1);
    Ok(len)
}
