//! Reads the golden vectors, and says what a parsed message means in their words.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::PathBuf;

use helve_handles::{Tag, Target};
use helve_protocol::Code;
use helve_protocol::batch::Parsed;
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame, Payload, Span};
use serde_json::{Map, Value, json};

pub(crate) fn load(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors")
        .join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let json: Value = serde_json::from_str(&text).expect("a vector file is JSON");
    assert_eq!(json["format"], 1);
    json["vectors"].as_array().expect("vectors").clone()
}

pub(crate) fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {vector}"))
}

/// Hex, or a list of hex and `{"repeat": hex, "times": n}`.
pub(crate) fn bytes(hex: &Value) -> Vec<u8> {
    match hex {
        Value::String(hex) => (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
            .collect(),
        Value::Array(parts) => parts.iter().flat_map(bytes).collect(),
        part => bytes(&part["repeat"]).repeat(part["times"].as_u64().expect("times") as usize),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes out the repeats that a meaning is stated with, so that it compares with what was read.
pub(crate) fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            if let (1, Some(bin)) = (map.len(), map.get("bin")) {
                return json!({ "bin": hex(&bytes(bin)) });
            }
            if let Some(depth) = map.get("nested").and_then(Value::as_u64) {
                return (0..depth).fold(Value::Null, |inner, i| {
                    if i == 0 { json!([]) } else { json!([inner]) }
                });
            }
            Value::Object(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect())
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .flat_map(
                    |item| match item.get("repeat").and_then(|r| r.as_object().map(|_| r)) {
                        Some(repeat) => {
                            vec![plain(repeat); item["times"].as_u64().expect("times") as usize]
                        }
                        None => vec![plain(item)],
                    },
                )
                .collect(),
        ),
        other => other.clone(),
    }
}

/// A MessagePack reader of its own, for values that the scan has passed.
pub(crate) fn value(bytes: &[u8], pos: &mut usize) -> Value {
    fn take<'a>(bytes: &'a [u8], pos: &mut usize, n: usize) -> &'a [u8] {
        *pos += n;
        &bytes[*pos - n..*pos]
    }
    fn be(bytes: &[u8], pos: &mut usize, n: usize) -> u64 {
        take(bytes, pos, n)
            .iter()
            .fold(0, |acc, &b| acc << 8 | u64::from(b))
    }
    fn uint(n: u64) -> Value {
        if n < 1 << 53 {
            json!(n)
        } else {
            json!({ "int": n.to_string() })
        }
    }
    fn int(n: i64) -> Value {
        if n >= 0 {
            uint(n as u64)
        } else if n > -(1 << 53) {
            json!(n)
        } else {
            json!({ "int": n.to_string() })
        }
    }
    fn array(bytes: &[u8], pos: &mut usize, n: u64) -> Value {
        (0..n).map(|_| value(bytes, pos)).collect()
    }
    fn map(bytes: &[u8], pos: &mut usize, n: u64) -> Value {
        let pairs: Vec<Value> = (0..n).map(|_| array(bytes, pos, 2)).collect();
        json!({ "map": pairs })
    }
    fn string(bytes: &[u8], pos: &mut usize, n: u64) -> Value {
        let text = take(bytes, pos, n as usize).to_vec();
        json!(String::from_utf8(text).expect("scanned"))
    }
    fn bin(bytes: &[u8], pos: &mut usize, n: u64) -> Value {
        json!({ "bin": hex(take(bytes, pos, n as usize)) })
    }
    let marker = be(bytes, pos, 1) as u8;
    let mut be = |n| be(bytes, pos, n);
    match marker {
        0x00..=0x7f => json!(marker),
        0xe0..=0xff => json!(marker as i8),
        0xc0 => Value::Null,
        0xc2 => json!(false),
        0xc3 => json!(true),
        0xcc => uint(be(1)),
        0xcd => uint(be(2)),
        0xce => uint(be(4)),
        0xcf => uint(be(8)),
        0xd0 => int(be(1) as i8 as i64),
        0xd1 => int(be(2) as i16 as i64),
        0xd2 => int(be(4) as i32 as i64),
        0xd3 => int(be(8) as i64),
        0xca => json!({ "f32": f32::from_bits(be(4) as u32) }),
        0xcb => json!({ "f64": f64::from_bits(be(8)) }),
        0xd4 => json!({ "cap": be(2) & 0xff }),
        0xd5 => json!({ "cap": be(3) & 0xffff }),
        0xa0..=0xbf => string(bytes, pos, u64::from(marker & 31)),
        0x90..=0x9f => array(bytes, pos, u64::from(marker & 15)),
        0x80..=0x8f => map(bytes, pos, u64::from(marker & 15)),
        0xd9..=0xdb => {
            let n = be(1 << (marker - 0xd9));
            string(bytes, pos, n)
        }
        0xc4..=0xc6 => {
            let n = be(1 << (marker - 0xc4));
            bin(bytes, pos, n)
        }
        0xdc | 0xdd => {
            let n = be(2 << (marker - 0xdc));
            array(bytes, pos, n)
        }
        0xde | 0xdf => {
            let n = be(2 << (marker - 0xde));
            map(bytes, pos, n)
        }
        _ => panic!("the scan let {marker:02x} pass"),
    }
}

/// What was read, in the words of the vector files.
pub(crate) struct Meaning<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) parsed: &'a Parsed,
}

impl Meaning<'_> {
    fn value(&self, span: Span) -> Value {
        let mut pos = span.start as usize;
        let value = value(self.message, &mut pos);
        assert_eq!(
            pos, span.end as usize,
            "the scan and the reader end at one place"
        );
        value
    }

    fn payload(&self, payload: Payload) -> Value {
        match payload {
            Payload::Inline(span) => self.value(span),
            Payload::Transfer(length) => json!({ "transfer": length }),
        }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.message[span.range()]
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("scanned")
    }

    fn caps(&self, map: &mut Map<String, Value>, caps: Span) {
        if !caps.is_empty() {
            let name = |tag| match tag {
                Tag::Mine => "mine",
                Tag::Yours => "yours",
                Tag::YourOpen => "your_open",
                Tag::Lent => "lent",
            };
            let caps = self.parsed.caps_of(caps).iter();
            let caps = caps
                .map(|c| json!({ "tag": name(c.tag()), "id": c.id() }))
                .collect();
            map.insert("caps".into(), Value::Array(caps));
        }
    }

    pub(crate) fn frame(&self, frame: &Frame) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        let target = |t: Target| json!(t.raw());
        match *frame {
            Frame::Call(ref call) => {
                put(
                    "kind",
                    json!(["CALL", "OPEN", "TELL"][call.kind as usize - 1]),
                );
                if call.kind != CallKind::Tell {
                    put("id", json!(call.id));
                }
                put("target", target(call.target));
                put("method", json!(call.method));
                put("args", self.payload(call.args));
                let mut ext = Map::new();
                if let Some(deadline) = call.ext.deadline {
                    ext.insert("d".into(), json!(deadline));
                }
                if call.ext.depth > 0 {
                    ext.insert("h".into(), json!(call.ext.depth));
                }
                if let Some(chain) = call.ext.chain {
                    ext.insert("c".into(), json!(chain));
                }
                if !call.ext.trace.is_empty() {
                    ext.insert("t".into(), json!(self.text(call.ext.trace)));
                }
                if !ext.is_empty() {
                    put("ext", Value::Object(ext));
                }
                self.caps(&mut map, call.caps);
            }
            Frame::Ret {
                id,
                value,
                caps,
                seen,
            } => {
                put("kind", json!("RET"));
                put("id", json!(id));
                put("value", self.payload(value));
                if !seen.is_empty() {
                    let flat = self.value(seen);
                    let pairs: Vec<Value> = flat
                        .as_array()
                        .expect("pairs")
                        .chunks(2)
                        .map(|pair| json!(pair))
                        .collect();
                    put("seen", json!(pairs));
                }
                self.caps(&mut map, caps);
            }
            Frame::Err {
                id,
                code,
                message,
                data,
            } => {
                put("kind", json!("ERR"));
                put("id", json!(id));
                put("code", json!(code));
                put("message", json!(self.text(message)));
                if !data.is_empty() {
                    put("data", self.value(data));
                }
            }
            Frame::Cancel { id } => {
                put("kind", json!("CANCEL"));
                put("id", json!(id));
            }
            Frame::Release { pairs } => {
                let pairs = self.parsed.releases_of(pairs).iter();
                put("kind", json!("RELEASE"));
                put("pairs", pairs.map(|(t, n)| json!([t.raw(), n])).collect());
            }
            Frame::Broken {
                target: t,
                code,
                message,
            } => {
                put("kind", json!("BROKEN"));
                put("target", target(t));
                put("code", json!(code));
                put("message", json!(self.text(message)));
            }
            Frame::Data {
                target: t,
                items,
                caps,
            } => {
                put("kind", json!("DATA"));
                put("target", target(t));
                put("items", self.payload(items));
                self.caps(&mut map, caps);
            }
            Frame::End {
                target: t,
                code,
                message,
                data,
            } => {
                put("kind", json!("END"));
                put("target", target(t));
                if let Some(code) = code {
                    put("code", json!(code));
                }
                if !message.is_empty() {
                    put("message", json!(self.text(message)));
                }
                if !data.is_empty() {
                    put("data", self.value(data));
                }
            }
            Frame::Credit {
                target: t,
                n,
                depth,
            } => {
                put("kind", json!("CREDIT"));
                put("target", target(t));
                put("n", json!(n));
                if depth > 0 {
                    put("depth", json!(depth));
                }
            }
            Frame::Snap {
                target: t,
                epoch,
                rev,
                ty,
                value,
                caps,
            } => {
                put("kind", json!("SNAP"));
                put("target", target(t));
                put("epoch", json!(epoch));
                put("rev", json!(rev));
                put("type", json!(hex(self.bytes(ty))));
                put("value", self.payload(value));
                self.caps(&mut map, caps);
            }
            Frame::Delta {
                target: t,
                from,
                to,
                node,
                caps,
                hash,
            } => {
                put("kind", json!("DELTA"));
                put("target", target(t));
                put("from", json!(from));
                put("to", json!(to));
                put("node", self.payload(node));
                if !hash.is_empty() {
                    put("hash", json!(hex(self.bytes(hash))));
                }
                self.caps(&mut map, caps);
            }
            Frame::Sync {
                target: t,
                mode,
                n,
                have,
            } => {
                put("kind", json!("SYNC"));
                put("target", target(t));
                put("mode", json!(mode));
                put("n", json!(n));
                if let Some((epoch, rev)) = have {
                    put("have", json!([epoch, rev]));
                }
            }
            Frame::Part { head, data } => {
                put("kind", json!("PART"));
                put("head", json!(head));
                if let Some(data) = data {
                    put("data", json!(hex(self.bytes(data))));
                }
            }
            Frame::Drain { grace_ms } => {
                put("kind", json!("DRAIN"));
                put("grace_ms", json!(grace_ms));
            }
        }
        Value::Object(map)
    }

    /// The same frame from our writers, its payload taken as bytes.
    pub(crate) fn rewrite(&self, frame: &Frame, buf: &mut Vec<u8>) {
        let payload = |payload| match payload {
            Payload::Inline(span) => self.bytes(span).to_vec(),
            Payload::Transfer(length) => {
                let mut coming = Vec::new();
                frame::put_transfer(&mut coming, length);
                coming
            }
        };
        let caps = |caps| self.parsed.caps_of(caps);
        match *frame {
            Frame::Call(ref call) => {
                let ext = CallExtOut {
                    deadline: call.ext.deadline,
                    depth: call.ext.depth,
                    chain: call.ext.chain,
                    trace: self.text(call.ext.trace),
                    ..CallExtOut::default()
                };
                let args = &payload(call.args);
                let c = call;
                frame::write_call(
                    buf,
                    c.kind,
                    c.id,
                    c.target,
                    c.method,
                    args,
                    caps(c.caps),
                    &ext,
                );
            }
            Frame::Ret {
                id,
                value,
                caps: c,
                seen,
            } => {
                let pairs: Vec<(Target, u64)> = if seen.is_empty() {
                    Vec::new()
                } else {
                    let flat = self.value(seen);
                    let pairs = flat.as_array().expect("pairs").chunks(2);
                    let target =
                        |v: &Value| Target::new(v.as_i64().expect("int")).expect("in bounds");
                    pairs
                        .map(|p| (target(&p[0]), p[1].as_u64().expect("uint")))
                        .collect()
                };
                frame::write_ret(buf, id, &payload(value), caps(c), &pairs);
            }
            Frame::Err {
                id,
                code,
                message,
                data,
            } => {
                frame::write_err(
                    buf,
                    id,
                    Code::from_raw(code),
                    self.text(message),
                    self.bytes(data),
                );
            }
            Frame::Cancel { id } => frame::write_cancel(buf, id),
            Frame::Release { pairs } => frame::write_release(buf, self.parsed.releases_of(pairs)),
            Frame::Broken {
                target,
                code,
                message,
            } => {
                frame::write_broken(buf, target, Code::from_raw(code), self.text(message));
            }
            Frame::Data {
                target,
                items,
                caps: c,
            } => {
                frame::write_data(buf, target, &payload(items), caps(c));
            }
            Frame::End {
                target,
                code,
                message,
                data,
            } => {
                let code = code.map(Code::from_raw);
                frame::write_end(buf, target, code, self.text(message), self.bytes(data));
            }
            Frame::Credit { target, n, depth } => frame::write_credit(buf, target, n, depth),
            Frame::Snap {
                target,
                epoch,
                rev,
                ty,
                value,
                caps: c,
            } => {
                let ty = self.bytes(ty).try_into().expect("16 bytes");
                frame::write_snap(buf, target, epoch, rev, ty, &payload(value), caps(c));
            }
            Frame::Delta {
                target,
                from,
                to,
                node,
                caps: c,
                hash,
            } => {
                let hash = self.bytes(hash).try_into().ok();
                frame::write_delta(buf, target, from, to, &payload(node), caps(c), hash);
            }
            Frame::Sync {
                target,
                mode,
                n,
                have,
            } => {
                frame::write_sync(buf, target, mode as u8, n, have);
            }
            Frame::Part { head, data } => {
                frame::write_part(buf, head, data.map(|data| self.bytes(data)));
            }
            Frame::Drain { grace_ms } => frame::write_drain(buf, grace_ms),
        }
    }
}
