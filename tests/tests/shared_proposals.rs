//! Proposals from a peer that writes what it likes: each is answered, the value stays what it was, and whoever goes on is
//! sent away (P1, objects.md section 7).

use std::future::poll_fn;
use std::time::Duration;

use helve::prelude::*;
use helve::track::{Counter, List, Map, Text};
use helve::transport::memory::{self, MemoryLink};
use helve::transport::{Close, Link, LinkEnd};
use helve::{Mode, Shared};
use helve_handles::Target;
use helve_handles::id::method_id;
use helve_protocol::Code;
use helve_protocol::batch::{Parsed, ReadLimits, parse};
use helve_protocol::frame::{self, CallExtOut, CallKind, Frame};
use helve_protocol::hello::{Hello, Reply};
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::seeded::Rng;

/// What is proposed to.
#[derive(Wire, Track, Clone, PartialEq, Debug)]
pub struct Doc {
    /// Edited in place.
    pub title: Text,
    /// Added to.
    pub count: Counter,
    /// By number.
    pub cells: Map<u32, Vec<u32>>,
    /// In order.
    pub log: List<String>,
    /// Perhaps a tree.
    pub tree: Tree,
}

/// As deep as one likes.
#[derive(Wire, Track, Clone, PartialEq, Debug)]
pub enum Tree {
    /// An end.
    Leaf(u32),
    /// Two more.
    Fork(Box<Tree>, Box<Tree>),
}

fn doc() -> Doc {
    Doc {
        title: Text::from("a title 𝄞 with a clef"),
        count: Counter::new(5),
        cells: [(1, vec![1, 2]), (7, vec![3])].into_iter().collect(),
        log: ["one", "two", "three"]
            .map(String::from)
            .into_iter()
            .collect(),
        tree: Tree::Fork(Box::new(Tree::Leaf(1)), Box::new(Tree::Leaf(2))),
    }
}

/// A session that says what it likes to a root that is a shared value.
struct Peer {
    link: MemoryLink,
    next: u64,
    heard: u64,
    id: u64,
}

impl Peer {
    async fn new(harness: &Harness) -> Peer {
        let (mut link, far) = memory::pair();
        harness.serve_link(far);
        link.start_send(Hello::default().encode().into())
            .expect("there is room");
        let answer = limited(poll_fn(|cx| link.poll_recv(cx))).await;
        let answer = Reply::decode(&answer.expect("an answer"));
        assert!(matches!(answer, Ok(Reply::Welcome(_))), "{answer:?}");
        Peer {
            link,
            next: 1,
            heard: 0,
            id: 0,
        }
    }

    /// Proposes it. The code of its error, if it is one; or how the session ended.
    async fn propose(&mut self, base: u64, mode: u8, node: &[u8]) -> Result<Option<Code>, LinkEnd> {
        self.id += 1;
        let mut message = Vec::new();
        frame::put_uint(&mut message, self.next);
        frame::put_uint(&mut message, self.heard);
        self.next += 1;
        let mut args = vec![0x93];
        frame::put_uint(&mut args, base);
        args.push(mode);
        args.extend_from_slice(node);
        let method = method_id("helve.Shared", "propose");
        let ext = CallExtOut::default();
        let (root, kind) = (Target::ROOT, CallKind::Call);
        frame::write_call(&mut message, kind, self.id, root, method, &args, &[], &ext);
        self.link.start_send(message.into()).expect("there is room");
        loop {
            let message = limited(poll_fn(|cx| self.link.poll_recv(cx))).await?;
            let mut parsed = Parsed::new();
            parse(&message, &mut parsed, &ReadLimits::default()).expect("a correct message");
            self.heard += parsed.frames.len() as u64;
            for frame in &parsed.frames {
                match frame {
                    Frame::Ret { id, .. } if *id == self.id => return Ok(None),
                    Frame::Err { id, code, .. } if *id == self.id => {
                        return Ok(Some(Code::from_raw(*code)));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn value(allow: bool) -> Shared<Doc> {
    let refuse = move |doc: &Doc, _: &Cx| match allow && doc.title.len() < 100 {
        true => Ok(()),
        false => Err("not that".to_owned()),
    };
    Shared::builder(doc()).limit(4096).proposals(refuse).build()
}

/// A value that may be a node, or nearly one.
fn garbage(rng: &mut Rng, out: &mut Vec<u8>, depth: u32) {
    match rng.below(if depth > 6 { 8 } else { 14 }) {
        0 | 1 => out.push(rng.below(9) as u8),
        2 => out.push(0xc0),
        3 => frame::put_uint(
            out,
            *rng.pick(&[127, 128, 65_535, u32::MAX.into(), u64::MAX]),
        ),
        4 => out.extend([0xa3, b'a', 0xc3, 0xa9]),
        5 => out.extend([0xc4, 3, 2, 0, 1]),
        6 => out.push(0xff),
        7 => out.extend([0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        n => {
            // Mostly a tag first: a Fields of the whole, most of the time.
            let len = rng.below(5);
            out.push(0x90 + len as u8);
            for at in 0..len {
                match (at, n) {
                    (0, 8..=10) => out.push(1),
                    (0, _) => out.push(rng.below(8) as u8),
                    _ => garbage(rng, out, depth + 1),
                }
            }
        }
    }
}

// P1.7 P1.12
#[tokio::test(start_paused = true)]
async fn whatever_is_proposed_is_answered_and_the_third_that_cannot_be_read_ends_the_session() {
    let tracker = Tracker::new();
    let value = value(true);
    let harness = Harness::memory(&tracker, value.clone());
    let mut codes = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut peer = Peer::new(&harness).await;
        let mut malformed = 0;
        for _ in 0..20 {
            let mut node = Vec::new();
            garbage(&mut rng, &mut node, 0);
            let before = value.edit().await.expect("begins");
            let (now, head) = (before.clone(), before.commit().expect("nothing"));
            let base = if rng.one_in(5) {
                rng.number() >> 11
            } else {
                head
            };
            let mode = rng.below(3) as u8;
            let answer = peer.propose(base, mode, &node).await;
            let edit = value.edit().await.expect("begins");
            let (then, rev) = (edit.clone(), edit.commit().expect("nothing"));
            match answer {
                Ok(None) => assert_eq!(rev > head, then != now, "seed {seed}: {node:02x?}"),
                Ok(Some(code)) => {
                    assert_eq!(
                        (then, rev),
                        (now, head),
                        "seed {seed}: {code:?} {node:02x?}"
                    );
                    malformed += u32::from(code == Code::Decode);
                    assert!(malformed <= 3, "seed {seed}: {node:02x?}");
                    let known = [Code::Decode, Code::Conflict, Code::Denied, Code::Exhausted];
                    assert!(known.contains(&code), "seed {seed}: {code:?} {node:02x?}");
                    *codes.entry(format!("{code:?}")).or_default() += 1;
                }
                Err(end) => {
                    assert_eq!((then, rev), (now, head));
                    let LinkEnd::Closed { code, reason } = end else {
                        panic!("seed {seed}: {end:?}");
                    };
                    assert_eq!(code, Close::VIOLATION, "{reason}");
                    assert!(reason.starts_with("P1.12"), "seed {seed}: {reason}");
                    *codes.entry("closed".to_owned()).or_default() += 1;
                    break;
                }
            }
        }
    }
    println!("{codes:?}");
    for wanted in ["Decode", "Conflict", "closed"] {
        assert!(codes.get(wanted).is_some_and(|n| *n > 10), "{codes:?}");
    }
    drop(value);
    harness.finish().await;
}

// P1.9
#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_exhausted_and_changes_nothing() {
    let tracker = Tracker::new();
    let value = Shared::builder(doc()).proposals(|_, _| Ok(())).build();
    let small = self::value(true);
    let harness = Harness::memory(&tracker, value.clone());
    let other = Harness::memory(&tracker, small.clone());
    let theirs: Shared<Doc> = harness.connect().await;
    let limited_to: Shared<Doc> = other.connect().await;
    let replica = limited(theirs.replica()).await.expect("follows");
    let bounded = limited(limited_to.replica()).await.expect("follows");
    let exhausted = |what: &str, made: Result<u64, RpcError>| {
        assert!(
            matches!(made, Err(RpcError::Exhausted(_))),
            "{what}: {made:?}"
        );
    };
    // Above 4 KiB in all.
    let mut draft = bounded.draft().expect("a draft");
    draft.log.push("x".repeat(5_000));
    exhausted(
        "above the value's limit",
        limited(draft.propose(Mode::Strict)).await,
    );
    // Above a mebibyte.
    let mut draft = replica.draft().expect("a draft");
    draft.log.push("x".repeat(1 << 20));
    exhausted(
        "above a mebibyte",
        limited(draft.propose(Mode::Strict)).await,
    );
    // Deeper than a value may be: not even said.
    let mut draft = replica.draft().expect("a draft");
    for _ in 0..100 {
        let tree = std::mem::replace(&mut draft.tree, Tree::Leaf(0));
        draft.tree = Tree::Fork(Box::new(tree), Box::new(Tree::Leaf(0)));
    }
    let made = limited(draft.propose(Mode::Strict)).await;
    assert!(matches!(made, Err(RpcError::Encode(_))), "{made:?}");
    assert_eq!(value.read(Doc::clone).await, Ok(doc()));
    assert_eq!(small.read(Doc::clone).await, Ok(doc()));
    // None of it is held against them.
    let mut draft = replica.draft().expect("a draft");
    _ = draft.count.add(1);
    assert_eq!(limited(draft.propose(Mode::Strict)).await, Ok(2));
    drop((replica, bounded, theirs, limited_to, value, small));
    harness.finish().await;
    other.finish().await;
}

// P1.13
#[tokio::test(start_paused = true)]
async fn after_twenty_refusals_there_are_ten_a_second() {
    let tracker = Tracker::new();
    let value = value(false);
    let harness = Harness::memory(&tracker, value.clone());
    let mut peer = Peer::new(&harness).await;
    // `[1, (1, [3, 1])]`: adds one to `count`.
    let add = [0x93, 1, 1, 0x92, 3, 1];
    for n in 0..20 {
        let answer = peer.propose(1, 0, &add).await;
        assert_eq!(answer.expect("answered"), Some(Code::Denied), "{n}");
    }
    for _ in 0..50 {
        let answer = peer.propose(1, 0, &add).await;
        assert_eq!(answer.expect("answered"), Some(Code::Exhausted));
    }
    // sleep: paused time, of which the rule speaks
    tokio::time::sleep(Duration::from_millis(501)).await;
    for wanted in [Code::Denied; 5].into_iter().chain([Code::Exhausted]) {
        let answer = peer.propose(1, 0, &add).await;
        assert_eq!(answer.expect("answered"), Some(wanted));
    }
    // Another session has its own.
    let mut other = Peer::new(&harness).await;
    let answer = other.propose(1, 0, &add).await;
    assert_eq!(answer.expect("answered"), Some(Code::Denied));
    assert_eq!(value.read(Doc::clone).await, Ok(doc()));
    drop((peer, other, value));
    harness.finish().await;
}
