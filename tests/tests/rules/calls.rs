//! Built-in methods (section 2.5), methods that are not there, and the chain that calls carry (R23).

use std::collections::BTreeSet;

use helve::prelude::*;
use helve_handles::id::method_id;
use helve_handles::schema::Schema;
use helve_protocol::frame::{CallExtOut, CallKind, Frame, put_bin};
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

use super::peer::{Answer, Peer};

const GONE: u64 = 2;
const DECODE: u64 = 8;
const UNIMPLEMENTED: u64 = 9;
const REENTRANT: u64 = 12;

fn lab(method: &str) -> u32 {
    method_id("test.Lab", method)
}

/// The error that a call came to.
fn code(answer: &Answer) -> Option<u64> {
    answer.as_ref().err().map(|(code, _)| *code)
}

async fn serving(tracker: &Tracker) -> (Harness, Peer) {
    let harness = Harness::memory(tracker, LabHandle::new(MemLab::new(tracker)));
    let peer = Peer::welcomed(&harness).await;
    (harness, peer)
}

#[tokio::test]
async fn a_method_of_another_interface_or_of_none_is_unimplemented() {
    let (harness, mut peer) = serving(&Tracker::new()).await;
    // E5.2
    for method in [
        method_id("test.Other", "echo"),
        method_id("demo.Calc", "add"),
        0,
        u32::MAX,
    ] {
        let answer = peer.call(method, &[0x91, 1]).await;
        assert_eq!(
            code(&answer),
            Some(UNIMPLEMENTED),
            "{method:#x}: {answer:?}"
        );
    }
    assert_eq!(peer.call(lab("echo"), &[0x91, 1]).await, Ok(vec![1]));
    peer.close(1000).await;
    harness.finish().await;
}

#[tokio::test]
async fn ping_is_a_method_of_target_0_alone() {
    // E5.4
    let ping = method_id("helve.Peer", "ping");
    let (harness, mut peer) = serving(&Tracker::new()).await;
    assert_eq!(peer.call(ping, &[0x90]).await, Ok(vec![0xc0]));
    // It wants no handle, and as a one-way call it answers nothing and stores no error.
    let none = CallExtOut::default();
    let open = peer
        .start(CallKind::Open, 0, ping, &[0x90], &[], &none)
        .await;
    assert_eq!(code(&peer.answer(open).await), Some(DECODE));
    peer.start(CallKind::Tell, 0, ping, &[0x90], &[], &none)
        .await;
    let flush = method_id("helve.Object", "flush");
    assert_eq!(peer.call(flush, &[0x90]).await, Ok(vec![0xc0]));

    let open = peer
        .start(CallKind::Open, 0, lab("open"), &[0x90], &[], &none)
        .await;
    let below = -(open as i64);
    let on_it = peer
        .start(CallKind::Call, below, ping, &[0x90], &[], &none)
        .await;
    assert_eq!(code(&peer.answer(on_it).await), Some(UNIMPLEMENTED));
    peer.close(1000).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_peer_without_a_root_has_no_target_0() {
    // E5.4, R11.1
    let (mut server, client) = Peer::serving().await;
    for method in ["ping", "describe"] {
        let answer = server.call(method_id("helve.Peer", method), &[0x90]).await;
        assert_eq!(code(&answer), Some(GONE), "{method}: {answer:?}");
    }
    server.ack().await;
    drop(client);
    assert_eq!(limited(server.closed()).await, (1000, String::new()));
}

#[tokio::test]
async fn describe_yields_the_canonical_encoding_of_the_roots_interface() {
    // E5.5
    let describe = method_id("helve.Peer", "describe");
    let (harness, mut peer) = serving(&Tracker::new()).await;
    let schema = Schema::of_interface(LabHandle::INTERFACE);
    let mut expected = Vec::new();
    put_bin(&mut expected, schema.bytes());
    let asking = |hash: &[u8]| {
        let mut args = vec![0x91];
        put_bin(&mut args, hash);
        args
    };
    for args in [
        &[0x90][..],
        &[0x91, 0xc0],
        &[0xdc, 0, 0],
        &asking(&schema.hash()),
    ] {
        assert_eq!(
            peer.call(describe, args).await.as_ref(),
            Ok(&expected),
            "{args:02x?}"
        );
    }
    let mut other = schema.hash();
    other[15] ^= 1;
    let answer = peer.call(describe, &asking(&other)).await;
    assert_eq!(answer, Err((GONE, "no such description".to_owned())));
    for args in [
        &asking(&other[1..])[..],
        &asking(&[]),
        &[0x91, 0xa1, b'x'],
        &[0x91, 5],
    ] {
        let answer = peer.call(describe, args).await;
        assert_eq!(code(&answer), Some(DECODE), "{args:02x?}: {answer:?}");
    }
    // Only the root is described so.
    let none = CallExtOut::default();
    let open = peer
        .start(CallKind::Open, 0, lab("open"), &[0x90], &[], &none)
        .await;
    let on_it = peer
        .start(
            CallKind::Call,
            -(open as i64),
            describe,
            &[0x90],
            &[],
            &none,
        )
        .await;
    assert_eq!(code(&peer.answer(on_it).await), Some(UNIMPLEMENTED));
    peer.close(1000).await;
    harness.finish().await;
}

/// Calls an object twice.
#[interface(id = "test.Twice")]
trait Twice {
    async fn twice(&self, lab: LabHandle) -> u64;
}

struct Caller;

impl Twice for Caller {
    async fn twice(&self, lab: LabHandle) -> u64 {
        let first = lab.echo(1).await.unwrap_or_default();
        first + lab.echo(2).await.unwrap_or_default()
    }
}

/// Calls `twice` with an object of ours, answers the two calls that come, and returns depth and chain of each.
async fn two_calls(peer: &mut Peer, k: u64, ext: &CallExtOut<'_>) -> [(u8, Option<u64>); 2] {
    let twice = method_id("test.Twice", "twice");
    // Its one argument is cap 0, our object `k`.
    let args = [0x91, 0xd4, 1, 0];
    let outer = peer
        .start(CallKind::Call, 0, twice, &args, &[k << 2], ext)
        .await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Frame::Call(call) = peer.frame().await.frame {
            assert_eq!(call.method, lab("echo"));
            seen.push((call.ext.depth, call.ext.chain));
            peer.ret(call.id, &[1]).await;
        }
    }
    assert_eq!(peer.answer(outer).await, Ok(vec![2]));
    [seen[0], seen[1]]
}

#[tokio::test]
async fn calls_made_inside_a_handler_carry_its_chain_and_others_carry_none() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, TwiceHandle::new(Caller));
    let mut peer = Peer::welcomed(&harness).await;
    // R23.1: drawn at the first call inside, kept for the second, another one for another handler.
    let mut drawn = BTreeSet::new();
    for k in 1..=20 {
        let [(depth, chain), again] = two_calls(&mut peer, k, &CallExtOut::default()).await;
        assert_eq!((depth, chain), again);
        assert_eq!(depth, 1, "R13.1");
        let chain = chain.expect("a chain");
        assert!(chain > 0 && chain < 1 << 53);
        assert!(drawn.insert(chain), "{chain} twice");
    }
    // At random: not counted up, and spread over the range.
    assert!(drawn.last() > Some(&(1 << 50)), "{drawn:?}");
    let steps: BTreeSet<u64> = drawn
        .iter()
        .zip(drawn.iter().skip(1))
        .map(|(a, b)| b - a)
        .collect();
    assert_eq!(steps.len(), 19, "{drawn:?}");
    // Inherited by all below.
    let ext = CallExtOut {
        depth: 3,
        chain: Some(77),
        ..CallExtOut::default()
    };
    assert_eq!(two_calls(&mut peer, 21, &ext).await, [(4, Some(77)); 2]);
    peer.close(1000).await;
    harness.finish().await;

    // A call that no handler makes carries no chain.
    let (mut server, client) = Peer::serving().await;
    let calling = tokio::spawn(async move { client.echo(5).await });
    let Frame::Call(call) = server.frame().await.frame else {
        panic!("no call")
    };
    assert_eq!((call.ext.depth, call.ext.chain), (0, None));
    server.ret(call.id, &[5]).await;
    assert_eq!(limited(calling).await.expect("runs"), Ok(5));
    assert_eq!(limited(server.closed()).await.0, 1000);
}

/// Calls `twice` with this `t`, and returns that of the call that comes back.
async fn carried(peer: &mut Peer, k: u64, trace: &str) -> String {
    let twice = method_id("test.Twice", "twice");
    let ext = CallExtOut {
        trace,
        ..CallExtOut::default()
    };
    let args = [0x91, 0xd4, 1, 0];
    let outer = peer
        .start(CallKind::Call, 0, twice, &args, &[k << 2], &ext)
        .await;
    let mut seen = String::new();
    for n in 0..2 {
        loop {
            let came = peer.frame().await;
            if let Frame::Call(call) = came.frame {
                let text = &came.message[call.ext.trace.range()];
                let text = String::from_utf8(text.to_vec()).expect("scanned");
                assert!(n == 0 || text == seen, "both calls carry the same");
                seen = text;
                peer.ret(call.id, &[1]).await;
                break;
            }
        }
    }
    assert_eq!(peer.answer(outer).await, Ok(vec![2]));
    seen
}

#[tokio::test]
async fn a_trace_goes_on_with_the_calls_of_a_handler_and_a_malformed_one_is_as_good_as_none() {
    let harness = Harness::memory(&Tracker::new(), TwiceHandle::new(Caller));
    let mut peer = Peer::welcomed(&harness).await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    // E3.6
    assert_eq!(carried(&mut peer, 1, good).await, good);
    // E3.5
    let long = good.repeat(18);
    for (bad, k) in ["x", "", &good[1..], &good.to_uppercase(), &long, "\0", "é"]
        .into_iter()
        .zip(2..)
    {
        assert_eq!(carried(&mut peer, k, bad).await, "", "{bad:?}");
    }
    peer.close(1000).await;
    harness.finish().await;
}

/// An object that one caller has at a time.
#[interface(id = "test.Turn")]
trait Turn {
    async fn hold(&mut self, lab: LabHandle) -> u64;
    async fn touch(&mut self) -> u64;
}

struct Held(u64);

impl Turn for Held {
    async fn hold(&mut self, lab: LabHandle) -> u64 {
        let more = lab.echo(1).await.unwrap_or_default();
        self.0 += more;
        self.0
    }
    async fn touch(&mut self) -> u64 {
        self.0
    }
}

#[tokio::test]
async fn a_chain_that_comes_back_to_what_it_holds_is_reentrant_and_another_waits_its_turn() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, TurnHandle::new(Held(0)));
    let mut peer = Peer::welcomed(&harness).await;
    let (hold, touch) = (
        method_id("test.Turn", "hold"),
        method_id("test.Turn", "touch"),
    );
    let none = CallExtOut::default();
    let outer = peer
        .start(
            CallKind::Call,
            0,
            hold,
            &[0x91, 0xd4, 1, 0],
            &[1 << 2],
            &none,
        )
        .await;
    let inner = loop {
        if let Frame::Call(call) = peer.frame().await.frame {
            break call;
        }
    };
    let other = peer
        .start(CallKind::Call, 0, touch, &[0x90], &[], &none)
        .await;
    // R23.2
    let ext = CallExtOut {
        depth: 2,
        chain: inner.ext.chain,
        ..none
    };
    let back = peer
        .start(CallKind::Call, 0, touch, &[0x90], &[], &ext)
        .await;
    assert_eq!(code(&peer.answer(back).await), Some(REENTRANT));
    // R10.3, R23.3: it sees what the first one left.
    assert!(!peer.has_answer(other));
    peer.ret(inner.id, &[5]).await;
    assert_eq!(peer.answer(outer).await, Ok(vec![5]));
    assert_eq!(peer.answer(other).await, Ok(vec![5]));
    peer.close(1000).await;
    harness.finish().await;
}
