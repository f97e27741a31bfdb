//! Whole messages: what is read is written back to a message that is no longer, is read alike, and is written alike.

use helve_handles::Target;
use helve_protocol::Code;
use helve_protocol::batch::{BatchWriter, Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallExtOut, Frame, Payload, Span};

use super::values::{head, int, uint};

/// E1, E2, E3, E4.1: bounds hold, and parse(write(parse(x))) is stable.
pub(super) fn body(data: &[u8]) {
    let Some(read) = read(data) else { return };
    let written = write(data, &read);
    assert!(
        written.len() <= data.len(),
        "the shortest form of {} bytes has {}",
        data.len(),
        written.len()
    );
    let again = self::read(&written).expect("what is written is read");
    assert_eq!(
        (read.first_seq, read.ack, read.asks_ack, read.frames.len()),
        (
            again.first_seq,
            again.ack,
            again.asks_ack,
            again.frames.len()
        )
    );
    let twice = write(&written, &again);
    assert_eq!(written, twice, "writing what was written changes it");
}

/// The message, where it is one.
fn read(data: &[u8]) -> Option<Parsed> {
    let parsed = super::frugal(data.len(), 1 << 10, 512, || {
        let mut parsed = Parsed::new();
        parse(data, &mut parsed, &ReadLimits::default())
            .map(|()| parsed)
            .map_err(|violation| {
                assert!(violation.rule.starts_with(['E', 'I', 'R']), "{violation}");
            })
            .ok()
    })?;
    assert_eq!(parsed.spans.len(), parsed.frames.len());
    // Frames follow one another, with nothing but `nil` between them.
    let mut last = uint(data, uint(data, 0)?.1)?.1;
    for span in &parsed.spans {
        let span = span.range();
        assert!(data[last..span.start].iter().all(|byte| *byte == 0xc0));
        assert!(head(&data[span.clone()]).is_some());
        last = span.end;
    }
    assert!(data[last..].iter().all(|byte| *byte == 0xc0));
    Some(parsed)
}

fn write(data: &[u8], parsed: &Parsed) -> Vec<u8> {
    if parsed.frames.is_empty() {
        let alone = helve_protocol::batch::ack_only(parsed.first_seq, parsed.ack, parsed.asks_ack);
        return alone.to_vec();
    }
    let mut writer = BatchWriter::new();
    for frame in &parsed.frames {
        writer.frame(|out| Writing { data, parsed, out }.frame(frame));
    }
    let sealed = writer.seal(parsed.first_seq, parsed.ack, parsed.asks_ack);
    assert_eq!(sealed.count as usize, parsed.frames.len());
    sealed.message.to_vec()
}

struct Writing<'a> {
    data: &'a [u8],
    parsed: &'a Parsed,
    out: &'a mut Vec<u8>,
}

impl Writing<'_> {
    fn bytes(&self, span: Span) -> &[u8] {
        &self.data[span.range()]
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("it was scanned")
    }

    fn payload(&self, payload: Payload) -> Vec<u8> {
        match payload {
            Payload::Inline(span) => self.bytes(span).to_vec(),
            Payload::Transfer(length) => {
                let mut coming = Vec::new();
                frame::put_transfer(&mut coming, length);
                coming
            }
        }
    }

    /// The pairs of `s` in a RET: an array of targets and revisions.
    fn seen(&self, span: Span) -> Vec<(Target, u64)> {
        let bytes = self.bytes(span);
        let mut at = head(bytes).map_or(0, |head| head.header);
        let mut pairs = Vec::new();
        while at < bytes.len() {
            let (target, next) = int(bytes, at).expect("a target");
            let (rev, next) = uint(bytes, next).expect("a revision");
            pairs.push((Target::new(target).expect("within bounds"), rev));
            at = next;
        }
        pairs
    }

    fn frame(self, frame: &Frame) {
        let caps = |caps| self.parsed.caps_of(caps);
        let mut out = Vec::new();
        match *frame {
            Frame::Call(ref call) => {
                let ext = CallExtOut {
                    deadline: call.ext.deadline,
                    depth: call.ext.depth,
                    chain: call.ext.chain,
                    trace: self.text(call.ext.trace),
                    ..CallExtOut::default()
                };
                let args = self.payload(call.args);
                let table = caps(call.caps);
                frame::write_call(
                    &mut out,
                    call.kind,
                    call.id,
                    call.target,
                    call.method,
                    &args,
                    table,
                    &ext,
                );
            }
            Frame::Ret {
                id,
                value,
                caps: table,
                seen,
            } => {
                let seen = self.seen(seen);
                frame::write_ret(&mut out, id, &self.payload(value), caps(table), &seen);
            }
            Frame::Err {
                id,
                code,
                message,
                data,
            } => {
                let code = Code::from_raw(code);
                frame::write_err(&mut out, id, code, self.text(message), self.bytes(data));
            }
            Frame::Cancel { id } => frame::write_cancel(&mut out, id),
            Frame::Release { pairs } => {
                frame::write_release(&mut out, self.parsed.releases_of(pairs));
            }
            Frame::Broken {
                target,
                code,
                message,
            } => {
                let code = Code::from_raw(code);
                frame::write_broken(&mut out, target, code, self.text(message));
            }
            Frame::Data {
                target,
                items,
                caps: table,
            } => frame::write_data(&mut out, target, &self.payload(items), caps(table)),
            Frame::End {
                target,
                code,
                message,
                data,
            } => {
                let code = code.map(Code::from_raw);
                frame::write_end(&mut out, target, code, self.text(message), self.bytes(data));
            }
            Frame::Credit { target, n, depth } => frame::write_credit(&mut out, target, n, depth),
            Frame::Snap {
                target,
                epoch,
                rev,
                ty,
                value,
                caps: table,
            } => {
                let ty = self.bytes(ty).try_into().expect("16 bytes");
                let value = self.payload(value);
                frame::write_snap(&mut out, target, epoch, rev, ty, &value, caps(table));
            }
            Frame::Delta {
                target,
                from,
                to,
                node,
                caps: table,
                hash,
            } => {
                let hash = self.bytes(hash).try_into().ok();
                let node = self.payload(node);
                frame::write_delta(&mut out, target, from, to, &node, caps(table), hash);
            }
            Frame::Sync {
                target,
                mode,
                n,
                have,
            } => {
                let mode = u8::try_from(mode).expect("0, 1 or 2");
                frame::write_sync(&mut out, target, mode, n, have);
            }
            Frame::Part { head, data } => {
                frame::write_part(&mut out, head, data.map(|data| self.bytes(data)));
            }
            Frame::Drain { grace_ms } => frame::write_drain(&mut out, grace_ms),
        }
        self.out.extend(out);
    }
}
