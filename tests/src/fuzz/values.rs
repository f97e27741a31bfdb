//! Where MessagePack values stand in bytes that may be anything: written apart from the scan, so that each may be held
//! against the other, and so that mutations cut between values and not only between bytes.

use std::ops::Range;

/// The marker of a value: how long its header is, and what follows.
pub(super) struct Head {
    pub header: usize,
    pub body: Body,
}

/// What follows a header.
pub(super) enum Body {
    Bytes(usize),
    Text(usize),
    Ext(u8, usize),
    Values(usize),
    Reserved,
}

/// Reads a marker and its length field. `None`: the bytes end before.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let number = |at: usize, n: usize| -> Option<usize> {
        let field = bytes.get(at..at + n)?;
        Some(field.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)))
    };
    let marker = *bytes.first()?;
    let low = |bits: u8| usize::from(marker & bits);
    let (header, body) = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, Body::Bytes(0)),
        0x80..=0x8f => (1, Body::Values(2 * low(15))),
        0x90..=0x9f => (1, Body::Values(low(15))),
        0xa0..=0xbf => (1, Body::Text(low(31))),
        0xc1 => (1, Body::Reserved),
        0xc4..=0xc6 => {
            let n = 1 << (marker - 0xc4);
            (1 + n, Body::Bytes(number(1, n)?))
        }
        0xc7..=0xc9 => {
            let n = 1 << (marker - 0xc7);
            (2 + n, Body::Ext(*bytes.get(1 + n)?, number(1, n)?))
        }
        0xca => (1, Body::Bytes(4)),
        0xcb => (1, Body::Bytes(8)),
        0xcc..=0xcf => (1, Body::Bytes(1 << (marker - 0xcc))),
        0xd0..=0xd3 => (1, Body::Bytes(1 << (marker - 0xd0))),
        0xd4..=0xd8 => (2, Body::Ext(*bytes.get(1)?, 1 << (marker - 0xd4))),
        0xd9..=0xdb => {
            let n = 1 << (marker - 0xd9);
            (1 + n, Body::Text(number(1, n)?))
        }
        0xdc | 0xdd => {
            let n = 2 << (marker - 0xdc);
            (1 + n, Body::Values(number(1, n)?))
        }
        0xde | 0xdf => {
            let n = 2 << (marker - 0xde);
            (1 + n, Body::Values(2 * number(1, n)?))
        }
    };
    Some(Head { header, body })
}

/// A value, or as much of it as there is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub range: Range<usize>,
    /// How many containers are around it.
    pub depth: usize,
}

/// The first `most` values, each before those inside it. What does not fit the bytes is cut at their end.
pub(super) fn places(bytes: &[u8], most: usize) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    // Index of an open container, and how many values it still owes.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut pos = 0;
    while pos < bytes.len() && places.len() < most {
        let Some(head) = head(&bytes[pos..]) else {
            break;
        };
        if let Some((_, owed)) = open.last_mut() {
            *owed -= 1;
        }
        let start = pos;
        pos += head.header;
        let depth = open.len();
        let mut kids = 0;
        match head.body {
            Body::Bytes(n) | Body::Text(n) | Body::Ext(_, n) => pos = pos.saturating_add(n),
            Body::Values(n) => kids = n,
            Body::Reserved => {}
        }
        pos = pos.min(bytes.len());
        places.push(Place {
            range: start..pos,
            depth,
        });
        if kids > 0 {
            open.push((places.len() - 1, kids));
        }
        while let Some((at, 0)) = open.last() {
            places[*at].range.end = pos;
            open.pop();
        }
    }
    for (at, _) in open {
        places[at].range.end = pos;
    }
    places
}

/// The values that stand side by side, not inside one another.
pub(super) fn top(bytes: &[u8]) -> Vec<Range<usize>> {
    let places = places(bytes, usize::MAX).into_iter();
    places
        .filter(|place| place.depth == 0)
        .map(|place| place.range)
        .collect()
}

/// An unsigned int and where it ends.
pub(super) fn uint(bytes: &[u8], pos: usize) -> Option<(u64, usize)> {
    let marker = *bytes.get(pos)?;
    let n = match marker {
        0x00..=0x7f => return Some((u64::from(marker), pos + 1)),
        0xcc..=0xcf => 1 << (marker - 0xcc),
        _ => return None,
    };
    let field = bytes.get(pos + 1..pos + 1 + n)?;
    let value = field.iter().fold(0, |sum, b| sum << 8 | u64::from(*b));
    Some((value, pos + 1 + n))
}

/// An int and where it ends.
pub(super) fn int(bytes: &[u8], pos: usize) -> Option<(i64, usize)> {
    if let Some((value, end)) = uint(bytes, pos) {
        return Some((i64::try_from(value).ok()?, end));
    }
    let marker = *bytes.get(pos)?;
    let n = match marker {
        0xe0..=0xff => return Some((i64::from(marker as i8), pos + 1)),
        0xd0..=0xd3 => 1 << (marker - 0xd0),
        _ => return None,
    };
    let field = bytes.get(pos + 1..pos + 1 + n)?;
    let first = i64::from(*field.first()? as i8);
    let value = field[1..]
        .iter()
        .fold(first, |sum, b| sum << 8 | i64::from(*b));
    Some((value, pos + 1 + n))
}
