//! The golden vectors of `tests/vectors`, read by every implementation: each good message means what its file says and
//! is written back byte for byte, each bad one breaks the rule that stands beside it.

mod support;

use helve_handles::{Descriptor, Tag};
use helve_protocol::Limits;
use helve_protocol::batch::{BatchWriter, Parsed, ReadLimits, ack_only, parse};
use helve_protocol::hello::{Auth, Hello, Refuse, Reply, Welcome};
use serde_json::{Value, json};
use support::{Meaning, bytes, hex, load, plain, text};

/// FNV-1a of 32 bits.
fn method_hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, b| {
        (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)
    })
}

// E1.1 E1.2 E1.3 E1.5 E2.1 E2.3 E2.6 E2.8 E3.1 E3.2 E3.3 E4.1 E4.2 E4.12 E5.1 E6.11 I1.1 I2.3 I3.1 I3.3 I3.5
#[test]
fn good_batches_mean_what_their_vectors_say_and_canonical_ones_are_written_alike() {
    let vectors = load("batches.json");
    assert!(vectors.len() >= 52);
    let mut parsed = Parsed::new();
    for vector in vectors {
        let name = text(&vector, "name");
        let message = bytes(&vector["hex"]);
        parse(&message, &mut parsed, &ReadLimits::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let stated = plain(&vector["batch"]);
        assert_eq!(json!(parsed.first_seq), stated["first_seq"], "{name}");
        assert_eq!(json!(parsed.ack), stated["ack"], "{name}");
        assert_eq!(json!(parsed.asks_ack), stated["asks_ack"], "{name}");
        let meaning = Meaning {
            message: &message,
            parsed: &parsed,
        };
        let mut frames: Vec<Value> = parsed.frames.iter().map(|f| meaning.frame(f)).collect();
        for (frame, stated) in frames
            .iter_mut()
            .zip(stated["frames"].as_array().expect("frames"))
        {
            if let Some(name) = stated.get("method_name") {
                assert_eq!(
                    json!(method_hash(name.as_str().expect("a name"))),
                    stated["method"]
                );
                frame["method_name"] = name.clone();
            }
            // A PART states its bytes as hex or as parts.
            if stated["kind"] == "PART" && frame.get("data").is_some() {
                assert_eq!(frame["data"], json!(hex(&bytes(&stated["data"]))), "{name}");
                frame["data"] = stated["data"].clone();
            }
        }
        assert_eq!(json!(frames), stated["frames"], "{name}");
        spans_touch(&parsed, &message, name);
        if vector["canonical"] == true {
            let mut writer = BatchWriter::new();
            for frame in &parsed.frames {
                writer.frame(|buf| meaning.rewrite(frame, buf));
            }
            let sealed = writer.seal(parsed.first_seq, parsed.ack, parsed.asks_ack);
            assert_eq!(hex(&sealed.message), hex(&message), "{name}");
            assert_eq!(sealed.count as usize, parsed.frames.len());
            if parsed.frames.is_empty() {
                let alone = ack_only(parsed.first_seq, parsed.ack, parsed.asks_ack);
                assert_eq!(hex(&alone), hex(&message), "{name}");
            }
        }
    }
}

/// Spans of frames cover the message without a hole, but for header and `nil`.
fn spans_touch(parsed: &Parsed, message: &[u8], name: &str) {
    assert_eq!(parsed.spans.len(), parsed.frames.len());
    let mut last = parsed
        .spans
        .first()
        .map_or(message.len(), |s| s.start as usize);
    for span in &parsed.spans {
        assert!(
            message[last..span.start as usize]
                .iter()
                .all(|&b| b == 0xc0),
            "{name}"
        );
        last = span.end as usize;
    }
    assert!(message[last..].iter().all(|&b| b == 0xc0), "{name}");
}

// E1.1 E1.2 E1.3 E1.4 E1.5 E2.1 E2.2 E2.4 E2.5 E2.6 E2.7 E3.1 E3.3 E4.2 E4.4 E4.5 E4.6 E4.7 E4.8 E4.9 E4.12 E5.1
// I1.1 I1.3 I2.1 I3.2 I3.5 R1.5 R2.2 R3.1 R13.3 R18.3 R20.5
#[test]
fn bad_batches_break_the_rule_that_stands_beside_them() {
    let vectors = load("batches-bad.json");
    assert!(vectors.len() >= 60);
    let mut parsed = Parsed::new();
    for vector in vectors {
        let name = text(&vector, "name");
        let message = bytes(&vector["hex"]);
        match parse(&message, &mut parsed, &ReadLimits::default()) {
            Ok(()) => panic!("{name}: taken"),
            Err(violation) => {
                assert_eq!(violation.rule, text(&vector, "rule"), "{name}: {violation}")
            }
        }
    }
}

fn limits_json(l: &Limits) -> Value {
    json!({
        "calls": l.calls, "nested": l.nested, "bytes": l.bytes, "frame": l.frame, "batch": l.batch,
        "table": l.table, "streams": l.streams, "subs": l.subs, "transfers": l.transfers,
    })
}

fn hello_json(h: &Hello) -> Value {
    let auth = h.auth.as_ref().map(|auth| match auth {
        Auth::Text(text) => json!({ "text": text }),
        Auth::Bytes(bytes) => json!({ "bin": hex(bytes) }),
    });
    let resume = h.resume.as_ref().map(|r| {
        json!({
            "session": hex(&r.session), "token": hex(&r.token.0),
            "epoch": r.epoch, "received": r.received, "oldest": r.oldest,
        })
    });
    json!({
        "version": h.version, "agent": h.agent, "auth": auth, "features": h.features,
        "limits": limits_json(&h.limits), "resume": resume,
    })
}

fn welcome_json(w: &Welcome) -> Value {
    json!({
        "version": w.version, "features": w.features, "limits": limits_json(&w.limits),
        "session": hex(&w.session), "token": hex(&w.token.0), "resumed": w.resumed, "root": w.root,
        "epoch": w.epoch, "received": w.received, "oldest": w.oldest, "incarnation": w.incarnation,
        "window": w.window, "ping": w.ping,
    })
}

fn refuse_json(r: &Refuse) -> Value {
    json!({ "code": r.code, "message": r.message, "retry_after": r.retry_after })
}

// S1.2 S1.3 S1.4 S1.5 S1.7 S1.8 S1.9
#[test]
fn good_handshakes_mean_what_their_vectors_say_and_canonical_ones_are_written_alike() {
    for vector in load("handshakes.json") {
        let name = text(&vector, "name");
        let message = bytes(&vector["hex"]);
        let (meaning, written) = if let Some(stated) = vector.get("hello") {
            let hello = Hello::decode(&message).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut stated = stated.clone();
            if stated["auth"].get("text").is_some_and(|t| !t.is_string()) {
                let long = bytes(&stated["auth"]["text"]);
                stated["auth"]["text"] = json!(String::from_utf8(long).expect("text"));
            }
            ((hello_json(&hello), stated), hello.encode())
        } else {
            match Reply::decode(&message).unwrap_or_else(|e| panic!("{name}: {e}")) {
                Reply::Welcome(w) => ((welcome_json(&w), vector["welcome"].clone()), w.encode()),
                Reply::Refuse(r) => ((refuse_json(&r), vector["refuse"].clone()), r.encode()),
            }
        };
        assert_eq!(meaning.0, meaning.1, "{name}");
        if vector["canonical"] == true {
            assert_eq!(hex(&written), hex(&message), "{name}");
        }
    }
}

// S1.2 S1.3 S1.4 E2.4 E4.2 E4.4 E4.8 E4.10 I1.1
#[test]
fn bad_handshakes_break_the_rule_that_stands_beside_them() {
    for vector in load("handshakes-bad.json") {
        let name = text(&vector, "name");
        let message = bytes(&vector["hex"]);
        let result = match text(&vector, "read_as") {
            "hello" => Hello::decode(&message).map(|_| ()),
            _ => Reply::decode(&message).map(|_| ()),
        };
        match result {
            Ok(()) => panic!("{name}: taken"),
            Err(violation) => {
                assert_eq!(violation.rule, text(&vector, "rule"), "{name}: {violation}")
            }
        }
    }
}

#[test]
fn the_words_of_a_descriptor_are_those_of_the_vectors() {
    // I3.1
    let raw = [
        (Tag::Mine, 4),
        (Tag::Yours, 5),
        (Tag::YourOpen, 6),
        (Tag::Lent, 7),
    ];
    for (tag, raw) in raw {
        assert_eq!(Descriptor::new(tag, 1).raw(), raw);
    }
}
