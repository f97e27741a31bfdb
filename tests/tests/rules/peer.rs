//! [`Peer`]: one end of a link in memory, worked by hand, as a client of the harness or as a server of our client.

use std::collections::VecDeque;
use std::future::{IntoFuture, poll_fn};

use bytes::Bytes;
use helve::transport::memory::{self, MemoryLink};
use helve::transport::{Close, Link, LinkEnd};
use helve_handles::Target;
use helve_protocol::batch::{Parsed, ReadLimits, ack_only, parse};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame, Payload, Span};
use helve_protocol::hello::{Hello, Reply, Token, Welcome};
use helve_tests::harness::{Harness, limited};
use helve_tests::lab::LabHandle;

/// A frame that came, with the message that its spans point into.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub frame: Frame,
    pub message: Bytes,
}

impl Came {
    fn bytes(&self, span: Span) -> Vec<u8> {
        self.message[span.range()].to_vec()
    }
}

/// What a call came to: the bytes of its value, or the number of its error and the text.
pub(super) type Answer = Result<Vec<u8>, (u64, String)>;

/// See the [module](self).
pub(super) struct Peer {
    link: MemoryLink,
    /// Number of our next frame, and how many of theirs came.
    next: u64,
    received: u64,
    last_call: u64,
    frames: VecDeque<Came>,
}

impl Peer {
    pub(super) fn new(link: MemoryLink) -> Peer {
        Peer {
            link,
            next: 1,
            received: 0,
            last_call: 0,
            frames: VecDeque::new(),
        }
    }

    /// A client of the harness that has said nothing.
    pub(super) fn silent(harness: &Harness) -> Peer {
        let (near, far) = memory::pair();
        harness.serve_link(far);
        Peer::new(near)
    }

    /// A client that said this, and what it was answered.
    pub(super) async fn greeting(harness: &Harness, hello: &Hello) -> (Peer, Reply) {
        let mut peer = Peer::silent(harness);
        peer.say(hello.encode()).await;
        let answer = peer.hear().await.expect("an answer");
        (peer, Reply::decode(&answer).expect("WELCOME or REFUSE"))
    }

    /// A client with a session.
    pub(super) async fn welcomed(harness: &Harness) -> Peer {
        match Peer::greeting(harness, &Hello::default()).await {
            (peer, Reply::Welcome(_)) => peer,
            (_, other) => panic!("no WELCOME: {other:?}"),
        }
    }

    /// A server made by hand, whose root is a lab, and its client.
    pub(super) async fn serving() -> (Peer, LabHandle) {
        let (near, far) = memory::pair();
        let mut server = Peer::new(far);
        // harness: a server made by hand holds nothing
        let connecting = tokio::spawn(helve::connect_over(near).into_future());
        limited(server.hear()).await.expect("HELLO");
        server.welcome("test.Lab").await;
        let client = limited(connecting).await.expect("runs").expect("welcomed");
        (server, client)
    }

    /// What a server would welcome a client with.
    pub(super) async fn welcome(&mut self, root: &str) {
        let welcome = Welcome {
            root: Some(root.to_owned()),
            ..Welcome::fresh([7; 16], Token([8; 32]))
        };
        self.say(welcome.encode()).await;
    }

    /// One message.
    pub(super) async fn say(&mut self, message: impl Into<Bytes>) {
        limited(poll_fn(|cx| self.link.poll_ready(cx)))
            .await
            .expect("there is room");
        self.link.start_send(message.into()).expect("taken");
    }

    /// The next message, or the end of the link. Waits for ever.
    pub(super) async fn hear(&mut self) -> Result<Bytes, LinkEnd> {
        poll_fn(|cx| self.link.poll_recv(cx)).await
    }

    /// Code and reason of the Close, whatever comes before it.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.hear().await {
                Ok(_) => {}
                Err(LinkEnd::Closed { code, reason }) => return (code, reason),
                Err(other) => panic!("no Close: {other:?}"),
            }
        }
    }

    /// Says goodbye with this code and waits for the answer.
    pub(super) async fn close(mut self, code: u16) {
        self.link.start_close(Close::new(code, ""));
        limited(poll_fn(|cx| self.link.poll_close(cx))).await;
    }

    /// A message of these frames.
    pub(super) async fn send(&mut self, write: impl FnOnce(&mut Vec<u8>), frames: u64) {
        let mut message = Vec::new();
        frame::put_uint(&mut message, self.next);
        frame::put_uint(&mut message, self.received);
        write(&mut message);
        self.next += frames;
        self.say(message).await;
    }

    /// Acknowledges what came.
    pub(super) async fn ack(&mut self) {
        let ack = ack_only(self.next, self.received, false);
        self.say(ack).await;
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> Came {
        limited(async {
            loop {
                if let Some(came) = self.frames.pop_front() {
                    return came;
                }
                let message = self.hear().await.expect("the link is up");
                let mut parsed = Parsed::new();
                parse(&message, &mut parsed, &ReadLimits::default()).expect("it is correct");
                self.received += parsed.frames.len() as u64;
                self.frames.extend(parsed.frames.iter().map(|&frame| Came {
                    frame,
                    message: message.clone(),
                }));
            }
        })
        .await
    }

    /// Sends a call and returns its id. `caps` are the descriptors that it brings.
    pub(super) async fn start(
        &mut self,
        kind: CallKind,
        target: i64,
        method: u32,
        args: &[u8],
        caps: &[u64],
        ext: &CallExtOut<'_>,
    ) -> u64 {
        self.last_call += u64::from(kind != CallKind::Tell);
        let id = self.last_call;
        let target = Target::new(target).expect("a target");
        let caps: Vec<_> = caps
            .iter()
            .map(|&raw| helve_handles::Descriptor::from_raw(raw).expect("a descriptor"))
            .collect();
        let write =
            |out: &mut Vec<u8>| frame::write_call(out, kind, id, target, method, args, &caps, ext);
        self.send(write, 1).await;
        id
    }

    /// The answer to a call of ours. Frames before it are kept.
    pub(super) async fn answer(&mut self, call: u64) -> Answer {
        let mut others = VecDeque::new();
        let answer = loop {
            let came = self.frame().await;
            match came.frame {
                Frame::Ret {
                    id,
                    value: Payload::Inline(value),
                    ..
                } if id == call => break Ok(came.bytes(value)),
                Frame::Err {
                    id, code, message, ..
                } if id == call => {
                    let text = String::from_utf8(came.bytes(message)).expect("scanned");
                    break Err((code, text));
                }
                _ => others.push_back(came),
            }
        };
        others.append(&mut self.frames);
        self.frames = others;
        answer
    }

    /// Whether an answer came already.
    pub(super) fn has_answer(&self, call: u64) -> bool {
        self.frames.iter().any(|came| {
            matches!(came.frame, Frame::Ret { id, .. } | Frame::Err { id, .. } if id == call)
        })
    }

    /// A plain call on the root, answered.
    pub(super) async fn call(&mut self, method: u32, args: &[u8]) -> Answer {
        let none = CallExtOut::default();
        let id = self
            .start(CallKind::Call, 0, method, args, &[], &none)
            .await;
        self.answer(id).await
    }

    /// Answers a call of theirs with an encoded value.
    pub(super) async fn ret(&mut self, id: u64, value: &[u8]) {
        self.send(|out| frame::write_ret(out, id, value, &[], &[]), 1)
            .await;
    }
}
