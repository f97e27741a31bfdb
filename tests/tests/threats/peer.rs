//! [`Row`]: a server with an honest client, and attackers who say what they like over a WebSocket of their own.

use std::collections::VecDeque;

use helve::transport::Close;
use helve::{Limits, State};
use helve_handles::id::method_id;
use helve_handles::{Descriptor, Target};
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame, Payload};
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};
use helve_tests::raw::Raw;

/// A server under attack. Every client has a root of its own, but for those of [`Row::shared`].
pub(crate) struct Row {
    pub(crate) harness: Harness,
    pub(crate) tracker: Tracker,
    honest: LabHandle,
}

impl Row {
    /// With the usual limits.
    pub(crate) async fn new() -> Row {
        Row::limited(Limits::default()).await
    }

    /// With these.
    pub(crate) async fn limited(limits: Limits) -> Row {
        Row::with(move |setup| setup.with(|rooted| rooted.limits(limits))).await
    }

    pub(crate) async fn with(with: impl FnOnce(Setup) -> Setup) -> Row {
        let tracker = Tracker::new();
        let each = tracker.clone();
        let setup = Setup::new(&tracker, move |_| LabHandle::new(MemLab::new(&each)));
        Row::start(tracker, with(setup)).await
    }

    /// One root for all.
    pub(crate) async fn shared(root: LabHandle, tracker: Tracker) -> Row {
        let setup = Setup::new(&tracker, move |_| root.clone());
        Row::start(tracker, setup).await
    }

    async fn start(tracker: Tracker, setup: Setup) -> Row {
        let harness = setup.websocket().await;
        let honest: LabHandle = harness.connect().await;
        assert_eq!(limited(honest.echo(1)).await, Ok(1));
        Row {
            harness,
            tracker,
            honest,
        }
    }

    /// One who has a session.
    pub(crate) async fn attacker(&self) -> Attacker {
        Attacker::at(self.harness.url()).await
    }

    /// Says this after a handshake, as frames of one message, and is told that it breaks `rule`.
    pub(crate) async fn refuses(&self, rule: &str, count: u64, frames: &[u8]) {
        let mut attacker = self.attacker().await;
        attacker
            .say(count, |out| out.extend_from_slice(frames))
            .await;
        attacker.hears_violation(rule).await;
        self.calm().await;
    }

    /// The honest client is served.
    pub(crate) async fn calm(&self) {
        assert_eq!(limited(self.honest.echo(7)).await, Ok(7));
    }

    /// Nothing is left of the attack, and nobody else noticed.
    pub(crate) async fn end(self) {
        self.calm().await;
        let connection = helve::Remote::connection(&self.honest).expect("remote");
        assert_eq!(connection.state(), State::Connected);
        drop(connection);
        drop(self.honest);
        self.harness.finish().await;
    }
}

/// What a call came to: the bytes of its value, or the number of its error and the text.
pub(crate) type Answer = Result<Vec<u8>, (u64, String)>;

/// A frame that came, with the message it stands in.
pub(crate) struct Came {
    pub(crate) frame: Frame,
    pub(crate) message: Vec<u8>,
    pub(crate) caps: Vec<Descriptor>,
}

/// A client made by hand, whose numbers are right unless it wants them wrong.
pub(crate) struct Attacker {
    pub(crate) raw: Raw,
    pub(crate) next: u64,
    pub(crate) heard: u64,
    pub(crate) last: u64,
    frames: VecDeque<Came>,
}

impl Attacker {
    /// One who has a session at this server.
    pub(crate) async fn at(url: &str) -> Attacker {
        Attacker {
            raw: Raw::welcomed(url).await,
            next: 1,
            heard: 0,
            last: 0,
            frames: VecDeque::new(),
        }
    }

    /// A message of so many frames.
    pub(crate) async fn say(&mut self, count: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let mut message = Vec::new();
        frame::put_uint(&mut message, self.next);
        frame::put_uint(&mut message, self.heard);
        write(&mut message);
        self.next += count;
        self.raw.send(message).await;
    }

    /// R17.1: one Close 4001 whose reason is that rule.
    pub(crate) async fn hears_violation(self, rule: &str) {
        let (code, reason) = self.raw.closed().await;
        assert_eq!(code, Close::VIOLATION, "{reason}");
        let told = reason.split(':').next();
        assert_eq!(told, Some(rule), "{reason}");
    }

    /// Sends a call of `test.Lab` and returns its id.
    pub(crate) async fn start(
        &mut self,
        target: i64,
        name: &str,
        args: &[u8],
        caps: &[Descriptor],
        ext: &CallExtOut<'_>,
    ) -> u64 {
        self.start_as(CallKind::Call, target, name, args, caps, ext)
            .await
    }

    pub(crate) async fn start_as(
        &mut self,
        kind: CallKind,
        target: i64,
        name: &str,
        args: &[u8],
        caps: &[Descriptor],
        ext: &CallExtOut<'_>,
    ) -> u64 {
        self.last += 1;
        let (id, method) = (self.last, method_id("test.Lab", name));
        let target = Target::new(target).expect("a target");
        self.say(1, |out| {
            frame::write_call(out, kind, id, target, method, args, caps, ext);
        })
        .await;
        id
    }

    /// A call without references, answered.
    pub(crate) async fn call(&mut self, target: i64, name: &str, args: &[u8]) -> Answer {
        let none = CallExtOut::default();
        let id = self.start(target, name, args, &[], &none).await;
        self.answer(id).await
    }

    /// The answer to a call. What comes before it is kept.
    pub(crate) async fn answer(&mut self, call: u64) -> Answer {
        let mut others = VecDeque::new();
        let answer = loop {
            let came = self.frame().await;
            match came.frame {
                Frame::Ret {
                    id,
                    value: Payload::Inline(value),
                    ..
                } if id == call => break Ok(came.message[value.range()].to_vec()),
                Frame::Err {
                    id, code, message, ..
                } if id == call => {
                    let text = came.message[message.range()].to_vec();
                    break Err((code, String::from_utf8(text).expect("it was scanned")));
                }
                _ => others.push_back(came),
            }
        };
        others.append(&mut self.frames);
        self.frames = others;
        answer
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Came {
        loop {
            if let Some(came) = self.frames.pop_front() {
                return came;
            }
            let message = self.raw.message().await.expect("the link is up");
            let mut parsed = Parsed::new();
            parse(&message, &mut parsed, &ReadLimits::default()).expect("a correct message");
            self.heard += parsed.frames.len() as u64;
            for frame in &parsed.frames {
                let caps = match frame {
                    Frame::Call(call) => call.caps,
                    Frame::Ret { caps, .. } => *caps,
                    _ => frame::Span::default(),
                };
                self.frames.push_back(Came {
                    frame: *frame,
                    message: message.clone(),
                    caps: parsed.caps_of(caps).to_vec(),
                });
            }
        }
    }

    /// A new object of the server's; its `k`.
    pub(crate) async fn named(&mut self) -> u64 {
        let none = CallExtOut::default();
        let id = self.start(0, "open", &[0x90], &[], &none).await;
        loop {
            let came = self.frame().await;
            if let Frame::Ret { id: ret, .. } = came.frame
                && ret == id
            {
                return came.caps.first().expect("a handle").id();
            }
        }
    }
}
