//! Mutated golden vectors: no change to a message may panic, and what is still legal must survive our own writers.

mod support;

use helve_protocol::Code;
use helve_protocol::batch::{BatchWriter, Parsed, ReadLimits, parse};
use helve_protocol::hello::{Hello, Reply};
use serde_json::json;
use support::{Meaning, bytes, hex, load};

/// Small, fast, the same everywhere.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// What a message may be changed into: flipped, cut, doubled, spliced with another, given dangerous bytes.
fn mutate(rng: &mut XorShift, message: &mut Vec<u8>, other: &[u8]) {
    const SHARP: [u8; 24] = [
        0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xc9, 0xca, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd3, 0xd4, 0xd5,
        0xd8, 0xdb, 0xdd, 0xdf, 0x90, 0x9f, 0x8f, 0xff, 0x00,
    ];
    for _ in 0..=rng.below(3) {
        let at = rng.below(message.len() + 1);
        match rng.below(7) {
            0 if at < message.len() => message[at] ^= 1 << rng.below(8),
            1 if at < message.len() => message[at] = SHARP[rng.below(SHARP.len())],
            2 => message.truncate(at),
            3 => message.insert(at, SHARP[rng.below(SHARP.len())]),
            4 if at < message.len() => {
                message.remove(at);
            }
            5 => {
                let from = rng.below(other.len() + 1);
                message.truncate(at);
                message.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece: Vec<u8> = message[at..].iter().take(rng.below(12)).copied().collect();
                message.splice(at..at, piece);
            }
        }
    }
}

// E4.1 E4.4 R17.1
#[test]
fn two_hundred_thousand_mutated_messages_never_panic_and_what_passes_reads_back_alike() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for file in [
        "batches.json",
        "batches-bad.json",
        "handshakes.json",
        "handshakes-bad.json",
    ] {
        seeds.extend(
            load(file)
                .iter()
                .map(|v| bytes(&v["hex"]))
                .filter(|b| b.len() < 2_000),
        );
    }
    assert!(seeds.len() > 200);
    let mut rng = XorShift(0x9e37_79b9_7f4a_7c15);
    let (mut parsed, mut again) = (Parsed::new(), Parsed::new());
    let mut taken = 0u32;
    for round in 0..200_000u32 {
        let mut message = seeds[rng.below(seeds.len())].clone();
        let other = seeds[rng.below(seeds.len())].clone();
        mutate(&mut rng, &mut message, &other);
        if parse(&message, &mut parsed, &ReadLimits::default()).is_ok() {
            taken += 1;
            // Every span may be used, every value decodes, and what we write of it is taken and means the same.
            let meaning = Meaning {
                message: &message,
                parsed: &parsed,
            };
            let mut writer = BatchWriter::new();
            for frame in &parsed.frames {
                writer.frame(|buf| meaning.rewrite(frame, buf));
            }
            let sealed = writer.seal(parsed.first_seq, parsed.ack, parsed.asks_ack);
            let read = parse(&sealed.message, &mut again, &ReadLimits::default());
            assert_eq!(read, Ok(()), "round {round}: {}", hex(&message));
            assert_eq!(again.frames.len(), parsed.frames.len());
            let second = Meaning {
                message: &sealed.message,
                parsed: &again,
            };
            for (a, b) in parsed.frames.iter().zip(&again.frames) {
                let (mut a, mut b) = (meaning.frame(a), second.frame(b));
                for frame in [&mut a, &mut b] {
                    // Our writer knows only the codes of the table, and puts neither text nor data behind a good end.
                    if frame.get("code").is_some() {
                        let code = Code::from_raw(frame["code"].as_u64().expect("uint"));
                        frame["code"] = json!(code.raw());
                    } else if frame["kind"] == "END" {
                        *frame = json!({ "target": frame["target"] });
                    }
                }
                assert_eq!(a, b, "round {round}: {}", hex(&message));
            }
        }
        let _ = Hello::decode(&message);
        let _ = Reply::decode(&message);
    }
    assert!(
        taken > 5_000,
        "the mutator leaves some messages whole: {taken}"
    );
}
