//! What a forwarder says on the wire, between two clients that are not of this project's making; and hostile ones.

use helve::{Remote, State};
use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{CallExtOut, CallFrame, CallKind, Frame, Payload, Span};

use helve_protocol::{Code, frame as write};
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use helve_tests::raw::Raw;

/// A raw client that numbers what it says.
struct Peer {
    raw: Raw,
    sent: u64,
    received: u64,
    /// Frames that came, each with its bytes.
    frames: std::collections::VecDeque<(Frame, Vec<u8>, Vec<Descriptor>)>,
}

impl Peer {
    async fn new(harness: &Harness) -> Peer {
        Peer {
            raw: Raw::welcomed(harness.url()).await,
            sent: 0,
            received: 0,
            frames: Default::default(),
        }
    }

    async fn say(&mut self, frames: &[Vec<u8>]) {
        let mut message = Vec::new();
        write::put_uint(&mut message, self.sent + 1);
        write::put_uint(&mut message, self.received);
        message.extend(frames.concat());
        self.sent += frames.len() as u64;
        self.raw.send(message).await;
    }

    /// The next frame; its message, for its spans; its caps.
    async fn next(&mut self) -> (Frame, Vec<u8>, Vec<Descriptor>) {
        while self.frames.is_empty() {
            let message = self.raw.message().await.expect("it goes on");
            let mut parsed = Parsed::new();
            parse(&message, &mut parsed, &ReadLimits::default()).expect("well-formed");
            for frame in &parsed.frames {
                let caps = match frame {
                    Frame::Call(call) => call.caps,
                    Frame::Ret { caps, .. } => *caps,
                    _ => Span::default(),
                };
                let caps = parsed.caps[caps.range()].to_vec();
                self.frames.push_back((*frame, message.clone(), caps));
                self.received += 1;
            }
        }
        self.frames.pop_front().expect("there is one")
    }

    async fn next_call(&mut self) -> (CallFrame, Vec<u8>, Vec<Descriptor>) {
        match self.next().await {
            (Frame::Call(call), message, caps) => (call, message, caps),
            other => panic!("{other:?}"),
        }
    }
}

fn call(id: u64, target: Target, method: &str, args: &[u8], caps: &[Descriptor]) -> Vec<u8> {
    let mut frame = Vec::new();
    let (method, ext) = (method_id("test.Lab", method), CallExtOut::default());
    write::write_call(
        &mut frame,
        CallKind::Call,
        id,
        target,
        method,
        args,
        caps,
        &ext,
    );
    frame
}

fn inline(payload: &Payload) -> Span {
    match payload {
        Payload::Inline(span) => *span,
        Payload::Transfer(_) => panic!("a transfer"),
    }
}

/// A server that forwards, a client `x` whose object 1 a client `y` holds, and the name it has there.
async fn two() -> (Harness, Peer, Peer, Target) {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = Harness::websocket(&tracker, lab).await;
    let (mut x, mut y) = (Peer::new(&harness).await, Peer::new(&harness).await);
    let given = [0x91, 0xd4, 1, 0];
    let own = Descriptor::new(Tag::Mine, 1);
    x.say(&[call(1, Target::ROOT, "keep", &given, &[own])])
        .await;
    assert!(matches!(x.next().await.0, Frame::Ret { id: 1, .. }));
    y.say(&[call(1, Target::ROOT, "kept", &[0x90], &[])]).await;
    let (_, _, caps) = y.next().await;
    assert_eq!(
        caps[0].tag(),
        Tag::Mine,
        "R9.1: it is the forwarder's there"
    );
    let name = Target::host(caps[0].id());
    (harness, x, y, name)
}

/// Closes both and looks that nothing is left.
async fn end(harness: Harness, x: Peer, y: Peer) {
    drop((x, y));
    harness.end().await;
}

#[tokio::test]
async fn payloads_pass_untouched_and_what_is_not_known_is_copied() {
    let (harness, mut x, mut y, name) = two().await;
    // An int in a form that no encoder of ours writes, a handle in the middle, an argument too many.
    let args = [
        0x93, 0xcf, 0, 0, 0, 0, 0, 0, 0, 7, 0xd4, 1, 0, 0xa3, b'a', b'b', b'c',
    ];
    let others = [0xa1, b'z', 0x92, 1, 0xa1, b'q', 0xa1, b'o', 0xcd, 1, 2];
    let ext = CallExtOut {
        deadline: Some(5_000),
        depth: 2,
        chain: Some(77),
        trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        others: &others,
        others_count: 2,
    };
    let own = [Descriptor::new(Tag::Mine, 5)];
    let mut frame = Vec::new();
    write::write_call(
        &mut frame,
        CallKind::Call,
        2,
        name,
        0xabcd,
        &args,
        &own,
        &ext,
    );
    y.say(&[frame]).await;
    let (call, message, caps) = x.next_call().await;
    // R9.2: ids and caps are others, the bytes of the payload the same; the method is the host's to know.
    assert_eq!(
        (call.kind, call.target, call.method),
        (CallKind::Call, Target::host(1), 0xabcd)
    );
    assert_eq!(message[inline(&call.args).range()], args);
    assert_eq!(caps, [Descriptor::new(Tag::Mine, caps[0].id())]);
    // R9.3: no more time than it had, and one deeper; R23.1, and the trace as it was.
    let left = call.ext.deadline.expect("a deadline");
    assert!((1..=5_000).contains(&left), "{left}");
    assert_eq!((call.ext.depth, call.ext.chain), (3, Some(77)));
    assert_eq!(message[call.ext.trace.range()], *ext.trace.as_bytes());
    // E3.4: the keys that the forwarder does not know.
    let raw = &message[call.ext.raw.range()];
    assert!(raw.ends_with(&others), "{raw:02x?}");

    // The result back, with a handle in it, and the handle in the argument home.
    let mut ret = Vec::new();
    let value = [0x92, 0xd4, 1, 1, 0xd1, 0, 9];
    let caps = [
        Descriptor::new(Tag::Mine, 6),
        Descriptor::new(Tag::Yours, caps[0].id()),
    ];
    write::write_ret(&mut ret, call.id, &value, &caps, &[]);
    x.say(&[ret]).await;
    let (frame, message, caps) = y.next().await;
    let Frame::Ret {
        id: 2, value: got, ..
    } = frame
    else {
        panic!("{frame:?}");
    };
    assert_eq!(message[inline(&got).range()], value);
    assert_eq!(caps[0].tag(), Tag::Mine);
    assert_eq!(caps[1], Descriptor::new(Tag::Yours, 5), "R8.1");

    // An error with its data.
    let mut frames = [Vec::new(), Vec::new()];
    let (none, ext) = ([0x90], CallExtOut::default());
    write::write_call(&mut frames[0], CallKind::Open, 3, name, 1, &none, &[], &ext);
    write::write_call(
        &mut frames[1],
        CallKind::Call,
        4,
        Target::open(3),
        2,
        &none,
        &[],
        &ext,
    );
    y.say(&frames).await;
    let (open, ..) = x.next_call().await;
    let (piped, ..) = x.next_call().await;
    assert_eq!(open.kind, CallKind::Open);
    assert_eq!(piped.target, Target::open(open.id), "pipelined on, at once");
    let mut errors = [Vec::new(), Vec::new()];
    write::write_err(&mut errors[0], open.id, Code::App, "no", &[0xd1, 0, 3]);
    write::write_err(
        &mut errors[1],
        piped.id,
        Code::Broken,
        "no",
        &[0x92, 1, 0xa0],
    );
    x.say(&errors).await;
    for id in [3, 4] {
        let (frame, message, _) = y.next().await;
        let Frame::Err { id: got, data, .. } = frame else {
            panic!("{frame:?}");
        };
        assert_eq!(got, id);
        let due: &[u8] = if id == 3 {
            &[0xd1, 0, 3]
        } else {
            &[0x92, 1, 0xa0]
        };
        assert_eq!(message[data.range()], *due);
    }
    end(harness, x, y).await;
}

#[tokio::test]
async fn cancel_release_and_broken_are_passed_on_by_their_names() {
    let (harness, mut x, mut y, name) = two().await;
    y.say(&[call(2, name, "hang", &[0x90], &[])]).await;
    let (hanging, ..) = x.next_call().await;
    // R21.4
    let mut cancel = Vec::new();
    write::write_cancel(&mut cancel, 2);
    y.say(&[cancel]).await;
    let (frame, ..) = x.next().await;
    assert!(
        matches!(frame, Frame::Cancel { id } if id == hanging.id),
        "{frame:?}"
    );
    let mut err = Vec::new();
    write::write_err(&mut err, hanging.id, Code::Cancelled, "as told", &[]);
    x.say(&[err]).await;
    let (frame, ..) = y.next().await;
    assert!(
        matches!(frame, Frame::Err { id: 2, code: 4, .. }),
        "{frame:?}"
    );
    // R9.5: the host's BROKEN, by the name that it has there.
    let mut broken = Vec::new();
    write::write_broken(&mut broken, Target::host(1), Code::Denied, "not any more");
    x.say(&[broken]).await;
    let (frame, message, _) = y.next().await;
    let Frame::Broken {
        target,
        code,
        message: text,
    } = frame
    else {
        panic!("{frame:?}");
    };
    assert_eq!((target, code), (name, 6));
    assert_eq!(message[text.range()], *b"not any more");
    // R22.5: the RELEASE is still owed, and goes on when nobody else holds it.
    let mut release = Vec::new();
    write::write_release(&mut release, &[(name, 1)]);
    let forget = call(3, Target::ROOT, "forget", &[0x90], &[]);
    y.say(&[release, forget]).await;
    let (frame, ..) = x.next().await;
    assert!(matches!(frame, Frame::Release { .. }), "{frame:?}");
    end(harness, x, y).await;
}

#[tokio::test]
async fn a_hostile_client_of_a_forwarder_does_not_hurt_the_session_behind_it() {
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = Harness::websocket(&tracker, lab).await;
    let x: LabHandle = harness.connect().await;
    let own = LabHandle::new(MemLab::new(&tracker));
    limited(x.keep(own.clone())).await.expect("kept");
    let mut y = Peer::new(&harness).await;
    y.say(&[call(1, Target::ROOT, "kept", &[0x90], &[])]).await;
    let (_, _, caps) = y.next().await;
    let name = Target::host(caps[0].id());
    // Arguments that are of no type, caps that name nothing, the forwarder's own, lent ones of ours: each an error.
    let nothing = [Descriptor::new(Tag::Yours, 999)];
    let lent = [Descriptor::new(Tag::Lent, 8)];
    y.say(&[
        call(2, name, "add", &[0x91, 0xa1, b'x'], &[]),
        call(3, name, "keep", &[0x91, 0xd4, 1, 0], &nothing),
        call(4, name, "reflect", &[0x91, 0xd4, 1, 0], &lent),
        call(5, name, "no such", &[0x90], &[]),
    ])
    .await;
    let mut codes = Vec::new();
    while codes.len() < 4 {
        match y.next().await {
            (Frame::Err { id, code, .. }, ..) => codes.push((id, code)),
            (Frame::Ret { id, .. }, ..) => codes.push((id, 0)),
            _ => {}
        }
    }
    codes.sort_unstable();
    // R11.1: what names nothing arrives as a broken handle.
    assert_eq!(codes[0], (2, 8), "DECODE");
    assert_eq!(codes[1], (3, 0));
    assert_eq!(codes[3], (5, 9), "UNIMPLEMENTED");
    // R11.3: over 64 frames that name nothing end its session, and no other.
    for id in 6..100 {
        y.say(&[call(id, name, "keep", &[0x91, 0xd4, 1, 0], &nothing)])
            .await;
    }
    let (code, reason) = y.raw.closed().await;
    assert_eq!(code, 4001);
    assert!(reason.contains("R11.3"), "{reason}");
    assert_eq!(x.connection().expect("remote").state(), State::Connected);
    assert_eq!(limited(x.echo(1)).await, Ok(1));
    limited(own.forget()).await.expect("local");
    limited(x.forget()).await.expect("forgotten");
    drop((x, own));
    harness.finish().await;
}
