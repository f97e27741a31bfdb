//! Payloads that name their call, of one frame or, filled up, of several PARTs.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::steps::mix;

/// In all: one PART and a byte, one and a bit, two to the byte, four.
const TOTALS: [usize; 4] = [65_537, 70_000, 131_072, 200_000];

static FILLING: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..=250).collect::<Vec<u8>>().repeat(TOTALS[3] / 251 + 2));

/// How many bytes a payload has, if it is one of the large ones of which there are `share` in sixteen; else 0.
pub fn total(raw: u32, share: u32) -> usize {
    let raw = mix(u64::from(raw) ^ 0xb16);
    match raw % 16 < u64::from(share) {
        true => TOTALS[(raw / 16) as usize % TOTALS.len()],
        false => 0,
    }
}

fn fill(mut bytes: Vec<u8>, uid: usize, total: usize) -> Bytes {
    if total > 0 {
        bytes[0] += 1;
        let len = total - bytes.len() - 5;
        bytes.reserve_exact(5 + len);
        bytes.push(0xc6);
        bytes.extend((len as u32).to_be_bytes());
        bytes.extend(&FILLING[uid % 251..][..len]);
    }
    bytes.into()
}

/// `[uid, cap, .., filling?]`.
pub fn arguments(uid: usize, caps: usize, total: usize) -> Bytes {
    let mut args = vec![0x91 + caps as u8, 0xce];
    args.extend((uid as u32).to_be_bytes());
    for i in 0..caps {
        args.extend([0xd4, 1, i as u8]);
    }
    fill(args, uid, total)
}

/// `[cap, .., filling?]`.
pub fn result(uid: usize, caps: usize, total: usize) -> Bytes {
    let mut value = vec![0x90 + caps as u8];
    for i in 0..caps {
        value.extend([0xd4, 1, i as u8]);
    }
    fill(value, uid, total)
}

pub fn uid_of(args: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(args.get(2..6)?.try_into().ok()?) as usize)
}
