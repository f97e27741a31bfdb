//! Changes inputs, mostly between values and not merely between bytes: everything that a peer says is MessagePack.

use super::values::{Body, head, places};
use crate::seeded::Rng;

/// No input grows longer.
const LONGEST: usize = 4 << 10;
/// Numbers at which something changes.
const EDGES: [u64; 24] = [
    0,
    1,
    2,
    15,
    16,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    8_192,
    8_193,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 53,
    u64::MAX,
];

/// An input made from one of `corpus`, with a few changes.
pub(super) fn input(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.pick(corpus).clone();
    if rng.one_in(2) {
        for _ in 0..rng.below(24) {
            rearrange(rng, &mut bytes, corpus);
        }
    }
    if rng.one_in(2) {
        for _ in 0..rng.below(6) {
            change(rng, &mut bytes, corpus);
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Keeps every value whole: other frames in another order, and small ints a little different.
fn rearrange(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let mine = places(bytes, 1 << 8);
    let row: Vec<_> = mine.iter().filter(|place| place.depth == 0).collect();
    if row.is_empty() {
        return;
    }
    let place = row[rng.below(row.len())].range.clone();
    match rng.below(6) {
        0 | 1 => {
            let other = rng.pick(corpus);
            let parts = super::values::top(other);
            let part = parts.get(rng.below(parts.len())).cloned();
            let part = part.map_or(&other[..], |part| &other[part]);
            bytes.splice(place.end..place.end, part.iter().copied());
        }
        2 => {
            bytes.drain(place);
        }
        3 => {
            let copy = bytes[place].to_vec();
            let at = row[rng.below(row.len())].range.end;
            bytes.splice(at..at, copy);
        }
        4 => bytes.insert(place.end, rng.below(32) as u8),
        _ => {
            let small = |byte: u8| matches!(byte, 0..=0x7e | 0xf0..=0xff);
            let ints = mine.iter().filter(|place| {
                place.depth > 0 && place.range.len() == 1 && small(bytes[place.range.start])
            });
            let ints: Vec<usize> = ints.map(|place| place.range.start).collect();
            if !ints.is_empty() {
                let at = ints[rng.below(ints.len())];
                let by = [1, 0xff, 2, 4][rng.below(4)];
                bytes[at] = bytes[at].wrapping_add(by);
            }
        }
    }
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let places = places(bytes, 1 << 10);
    let any = |rng: &mut Rng| places.get(rng.below(places.len())).cloned();
    match rng.below(14) {
        // Bytes.
        0 => {
            if let Some(at) = (!bytes.is_empty()).then(|| rng.below(bytes.len())) {
                bytes[at] ^= 1 << rng.below(8);
            }
        }
        1 => {
            let at = rng.below(bytes.len() + 1);
            bytes.insert(at, rng.number() as u8);
        }
        2 => bytes.truncate(rng.below(bytes.len() + 1)),
        // One value more, less, or in the place of another.
        3 | 4 => {
            let other = rng.pick(corpus);
            let parts = super::values::places(other, 1 << 8);
            let part = parts.get(rng.below(parts.len()));
            let part = part.map_or(&other[..], |part| &other[part.range.clone()]);
            if let Some(place) = any(rng) {
                let end = if rng.one_in(3) {
                    place.range.start
                } else {
                    place.range.end
                };
                bytes.splice(place.range.start..end, part.iter().copied());
            }
        }
        5 => {
            if let Some(place) = any(rng) {
                bytes.drain(place.range);
            }
        }
        6 => {
            if let Some(place) = any(rng) {
                let most = if rng.one_in(8) { 80 } else { 3 };
                let times = 1 + rng.below(most);
                let copy = bytes[place.range.clone()].repeat(times);
                if bytes.len() + copy.len() <= LONGEST {
                    bytes.splice(place.range.start..place.range.start, copy);
                }
            }
        }
        // Two values change places: frames, messages, elements.
        7 => {
            if let (Some(a), Some(b)) = (any(rng), any(rng)) {
                let (a, b) = if a.range.start < b.range.start {
                    (a, b)
                } else {
                    (b, a)
                };
                if a.range.end <= b.range.start {
                    let (first, second) = (
                        bytes[a.range.clone()].to_vec(),
                        bytes[b.range.clone()].to_vec(),
                    );
                    bytes.splice(b.range, first);
                    bytes.splice(a.range, second);
                }
            }
        }
        // A length that is not so.
        8 | 9 => {
            if let Some(place) = any(rng) {
                let field = head(&bytes[place.range.clone()]);
                let at = place.range.start;
                match field {
                    Some(head) if head.header > 1 => {
                        let last = at + head.header - 1;
                        bytes[last] = edge(rng) as u8;
                        if rng.one_in(3) {
                            bytes[at + 1] = 0xff;
                        }
                    }
                    Some(head) if matches!(head.body, Body::Values(_) | Body::Text(_)) => {
                        bytes[at] = bytes[at].wrapping_add([1, 0xff, 2][rng.below(3)]);
                    }
                    _ => {}
                }
            }
        }
        // A number at an edge, in its shortest form or a longer one.
        10..=12 => {
            if let Some(place) = any(rng) {
                let number = number(rng);
                bytes.splice(place.range, number);
            }
        }
        // Deeper.
        _ => {
            if let Some(place) = any(rng) {
                let around = [0x91, 0x81, 0xdc][rng.below(3)];
                let most = if rng.one_in(6) { 140 } else { 3 };
                let times = 1 + rng.below(most);
                let open: &[u8] = match around {
                    0x81 => &[0x81, 0xc0],
                    0xdc => &[0xdc, 0, 1],
                    _ => &[0x91],
                };
                bytes.splice(place.range.start..place.range.start, open.repeat(times));
            }
        }
    }
}

fn edge(rng: &mut Rng) -> u64 {
    let edge = *rng.pick(&EDGES);
    match rng.below(3) {
        0 => edge.wrapping_sub(1),
        1 => edge.wrapping_add(rng.below(3) as u64),
        _ => edge,
    }
}

fn number(rng: &mut Rng) -> Vec<u8> {
    let n = edge(rng);
    let mut out = Vec::new();
    match rng.below(6) {
        0 => {
            out.push(0xcf);
            out.extend(n.to_be_bytes());
        }
        1 => {
            out.push(0xd3);
            out.extend((n as i64).wrapping_neg().to_be_bytes());
        }
        2 => helve_protocol::frame::put_int(&mut out, -((n % (1 << 53)) as i64)),
        _ => helve_protocol::frame::put_uint(&mut out, n),
    }
    out
}
