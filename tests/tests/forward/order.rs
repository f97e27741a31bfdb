//! Order through a forwarder, the cost of a chain of pipelined calls, and what waits there.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use helve::prelude::*;
use helve_tests::harness::{Setup, Tracker, limited, until};
use helve_tests::lab::LabHandle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::{NEAR, Row, Way};

const HOP: Duration = Duration::from_millis(10);

/// One-way calls, calls and OPENs on one handle, each sent before the answer of any other.
async fn mixed(target: &LabHandle) {
    let before = limited(target.notes()).await.expect("an answer").len();
    let (mut seen, mut opened) = (Vec::new(), Vec::new());
    for n in 0..60 {
        match n % 3 {
            0 => drop(target.note(&n.to_string())),
            1 => {
                let call = target.notes();
                // Sent now: a call goes when it is polled first.
                seen.push((n / 3 + 1, tokio::spawn(call)));
                tokio::task::yield_now().await;
            }
            _ => opened.push(target.open_late().pipelined()),
        }
    }
    for (notes, call) in seen {
        let seen = limited(call).await.expect("no panic").expect("an answer");
        assert_eq!(
            seen.len(),
            before + notes,
            "each call sees the notes before it, and no later one"
        );
    }
    let echoes = join_all(opened.iter().map(|handle| handle.echo(3)));
    assert!(limited(echoes).await.iter().all(|echo| *echo == Ok(3)));
}

#[tokio::test(start_paused = true)]
async fn one_way_calls_calls_and_opens_keep_their_order_through_forwarders() {
    // R9.1, R10.2: a relayed call starts in the order in which it came, whatever kind it is.
    for forwarders in [1, 3] {
        let row = Row::new(Way::Memory(HOP), forwarders).await;
        let root = row.connect().await;
        mixed(&root).await;
        // On a handle that is not settled yet, and on while it settles.
        let opened = root.open_late().pipelined();
        mixed(&opened).await;
        mixed(&opened).await;
        drop((root, opened));
        row.finish().await;
    }
}

#[tokio::test]
async fn order_holds_over_websockets_too() {
    let row = Row::new(Way::WebSocket, 2).await;
    let root = row.connect().await;
    mixed(&root).await;
    mixed(&root.open_late().pipelined()).await;
    drop(root);
    row.finish().await;
}

#[tokio::test]
async fn calls_that_wait_for_a_permit_at_the_forwarder_wait_in_order() {
    // R9.3, R13.10: the forwarder takes a permit of the session that it calls into.
    let few =
        |setup: Setup| setup.with(|rooted| rooted.limits(helve::Limits::default().with_nested(2)));
    let row = Row::with(NEAR, 1, few).await;
    let root = row.connect().await;
    let sums = join_all((1..=50).map(|n| root.add(n)));
    let sums = limited(sums).await;
    let due: Vec<_> = (1..=50).map(|n| Ok(n * (n + 1) / 2)).collect();
    assert_eq!(sums, due);
    drop(root);
    row.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_pipelined_calls_costs_one_round_trip_from_end_to_end() {
    // R9.6, R2.6: what is pipelined here is pipelined there, at once.
    for forwarders in [0, 1, 2] {
        let row = Row::new(Way::Memory(HOP), forwarders).await;
        let root = row.connect().await;
        let start = Instant::now();
        let mut handle = root.clone();
        for _ in 0..8 {
            handle = handle.open_late().pipelined();
        }
        assert_eq!(limited(handle.echo(5)).await, Ok(5));
        let hops = 2 * (forwarders as u32 + 1);
        assert_eq!(start.elapsed(), HOP * hops, "{forwarders} forwarders");
        // A callback that is an argument on the way costs no more.
        let start = Instant::now();
        let chained = root.open_late().pipelined();
        let back = root.reflect(chained).pipelined();
        assert_eq!(limited(back.echo(6)).await, Ok(6));
        assert_eq!(start.elapsed(), HOP * hops, "{forwarders} forwarders");
        drop((root, handle, back));
        row.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_pipelined_on_a_call_that_fails_at_the_host_fails_with_its_cause() {
    // R2.6, R2.7 through a forwarder.
    let row = Row::new(Way::Memory(HOP), 1).await;
    let root = row.connect().await;
    let nothing = root.open_nothing().pipelined();
    let (early, chained) = (nothing.echo(1), nothing.open().pipelined());
    let error = limited(early).await.expect_err("it leads nowhere");
    assert!(matches!(error.cause(), RpcError::App(_)), "{error:?}");
    let error = limited(chained.echo(1)).await.expect_err("nor this");
    assert!(matches!(error, RpcError::Broken(_)), "{error:?}");
    let late = limited(nothing.echo(1)).await.expect_err("nor later");
    assert!(matches!(late.cause(), RpcError::App(_)), "{late:?}");
    drop((root, nothing, chained));
    row.finish().await;
}

/// Takes texts one at a time, when it is let.
#[interface(id = "test.Sink")]
trait Sink {
    #[oneway]
    async fn take(&mut self, text: &str);
}

struct Gated(Arc<Semaphore>);

impl Sink for Gated {
    async fn take(&mut self, _text: &str) {
        let permit = self.0.acquire().await.expect("open");
        permit.forget();
    }
}

#[tokio::test]
async fn a_slow_host_pushes_back_through_the_forwarder() {
    // R9.3, R13.8: bytes of a relayed TELL are given back only when it has its permit in the session behind.
    let tracker = Tracker::new();
    let gate = Arc::new(Semaphore::new(0));
    let sink = SinkHandle::new(Gated(gate.clone()));
    // A depth of 1 has an eighth of it: two of these texts.
    let little = helve::Limits::default()
        .with_frame(65_536)
        .with_bytes(65_536);
    let host = Setup::new(&tracker, move |_| sink.clone()).with(|rooted| rooted.limits(little));
    let host = host.memory(Duration::ZERO);
    let behind: SinkHandle = host.connect().await;
    let forwarder = Setup::new(&tracker, move |_| behind.clone()).memory(Duration::ZERO);
    let root: SinkHandle = forwarder.connect().await;
    let text = "x".repeat(4_000);
    for _ in 0..20 {
        let mut told = root.take(&text);
        limited(told.accepted())
            .await
            .expect("the forwarder has it");
    }
    let waiting = || {
        let ends = forwarder.server_ends();
        ends.iter().map(|end| end.stats().incoming).sum::<usize>()
    };

    until("two at the host", || waiting() == 18).await;
    gate.add_permits(5);
    until("five more there", || waiting() == 13).await;
    gate.add_permits(15);
    limited(root.flush()).await.expect("all were taken");
    assert_eq!(waiting(), 0);
    drop(root);
    host.rest().await;
    forwarder.finish().await;
    host.finish().await;
}
