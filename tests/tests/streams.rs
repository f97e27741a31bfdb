//! Streams, by their methods: as argument, result and field, both ways, over memory and WebSockets. Each test ends with
//! empty tables, and with every stream that was made dropped (R19).

use std::future::Future;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use helve::prelude::*;
use helve::{Limits, Ran};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::impatient::{Impatient, dropped_at_every_poll};
use helve_tests::tap::{Feed, MemTap, TapError, TapHandle, numbers};
use tokio::time::Instant;

fn tap(tracker: &Tracker) -> TapHandle {
    TapHandle::new(MemTap::new(tracker))
}

async fn one() -> (Harness, TapHandle, Tracker) {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, tap(&tracker));
    let root = harness.connect().await;
    (harness, root, tracker)
}

/// The same test over memory, over a WebSocket, and without any wire.
async fn everywhere<F: Future<Output = ()>>(test: impl Fn(TapHandle, Tracker) -> F) {
    for far in [false, true] {
        let tracker = Tracker::new();
        let harness = served(far, &tracker).await;
        let root = harness.connect().await;
        limited(test(root, tracker.clone())).await;
        harness.finish().await;
    }
    let tracker = Tracker::new();
    limited(test(tap(&tracker), tracker.clone())).await;
    until("every stream dropped", || tracker.live() == 0).await;
}

/// A server in memory, or one over WebSockets.
async fn served(far: bool, tracker: &Tracker) -> Harness {
    match far {
        false => Harness::memory(tracker, tap(tracker)),
        true => Harness::websocket(tracker, tap(tracker)).await,
    }
}

async fn collect<T: Wire>(mut values: Streaming<T>) -> Result<Vec<T>, (Vec<T>, RpcError)> {
    let mut all = Vec::new();
    loop {
        match values.next().await {
            None => return Ok(all),
            Some(Ok(value)) => all.push(value),
            Some(Err(error)) => {
                assert_eq!(
                    values.next().await.map(drop),
                    None,
                    "nothing behind an error"
                );
                return Err((all, error));
            }
        }
    }
}

fn upto(n: u64) -> Vec<u64> {
    (0..n).collect()
}

#[tokio::test]
async fn a_stream_is_a_result_in_every_form() {
    everywhere(|root, _| async move {
        assert_eq!(collect(root.count(100)).await, Ok(upto(100)));
        let values = root.numbers(20_000).await.expect("opened");
        assert_eq!(collect(values).await, Ok(upto(20_000)));
        let values = root.maybe(true).await.expect("flows");
        assert_eq!(collect(values).await, Ok(upto(3)));
        let dry = root.maybe(false).await.map(drop);
        assert_eq!(dry, Err(CallError::App(TapError::Dry)));
        let feed = root.feed().await.expect("a feed");
        assert_eq!(feed.name, "feed");
        let mut words = Vec::new();
        for more in feed.more {
            words.push(collect(more).await.expect("words").concat());
        }
        assert_eq!(words, ["ab", "c"]);
        assert_eq!(collect(feed.values).await, Ok(upto(10)));
        assert_eq!(collect(feed.maybe.expect("some")).await, Ok(upto(2)));
        // As a `futures::Stream`.
        let sum: u64 = root
            .count(5)
            .map(|n| n.expect("a number"))
            .collect::<Vec<_>>()
            .await
            .iter()
            .sum();
        assert_eq!(sum, 10);
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_an_argument_in_every_form() {
    everywhere(|root, tracker| async move {
        assert_eq!(root.sum(numbers(&tracker, 10_000)).await, Ok(49_995_000));
        let feed = Feed {
            name: String::new(),
            values: numbers(&tracker, 3),
            more: vec![Streaming::from(vec!["word".to_owned()])],
            maybe: Some(numbers(&tracker, 4)),
        };
        assert_eq!(root.eat(feed).await, Ok(3 + 4 + 6));
        root.pour(numbers(&tracker, 11))
            .handled()
            .await
            .expect("poured");
        assert_eq!(root.poured().await, Ok(55));
        // The handler returns first, and the stream goes on: whatever deadline the call had.
        let (sender, values) = Streaming::channel(1);
        let over = Instant::now() + Duration::from_millis(50);
        root.keep(values)
            .deadline(Duration::from_millis(50))
            .await
            .expect("kept");
        until("past that deadline", || Instant::now() > over).await;
        for n in 0..5 {
            sender.send(n).await.expect("read");
        }
        drop(sender);
        let mut poured = 0;
        while poured != 65 {
            poured = root.poured().await.expect("told");
            tokio::task::yield_now().await;
        }
        root.ignore(numbers(&tracker, u64::MAX))
            .await
            .expect("ignored");
    })
    .await;
}

#[tokio::test]
async fn an_error_is_the_last_item() {
    // R19.6
    everywhere(|root, tracker| async move {
        let failing = root.fails_after(3).await.expect("opened");
        let denied = RpcError::Denied("enough".to_owned());
        assert_eq!(collect(failing).await, Err((upto(3), denied)));
        // A panic in the stream is the stream's alone.
        let panicking = root.panics_after(2).await.expect("opened");
        let (values, error) = collect(panicking).await.expect_err("it panics");
        assert_eq!(values, upto(2));
        assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
        assert_eq!(error.ran(), Ran::Maybe);
        let tracked = tracker.track();
        let mine = stream::iter([Ok(7), Err(RpcError::Unavailable("later".to_owned()))]);
        let mine = Streaming::try_new(mine.inspect(move |_| _ = &tracked));
        let told = "Unavailable(\"later\")".to_owned();
        assert_eq!(
            root.sum(mine).await,
            Err(CallError::App(TapError::Burst(told)))
        );
        assert_eq!(root.echo(1).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_failure_to_open_is_the_first_item() {
    everywhere(|root, _| async move {
        let (values, error) = collect(root.unopened()).await.expect_err("it panics");
        assert!(values.is_empty());
        assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
        // Nothing is called before it is read.
        drop(root.unopened());
    })
    .await;
    let broken: TapHandle = helve::Remote::broken(RpcError::Denied("no".to_owned()));
    let (_, error) = limited(collect(broken.count(3))).await.expect_err("broken");
    assert!(matches!(error, RpcError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn handles_and_streams_travel_inside_items() {
    // R15.1
    everywhere(|root, tracker| async move {
        let mut taps = root.taps(300).await.expect("opened");
        let mut kept = Vec::new();
        while let Some(tap) = taps.try_next().await.expect("a handle") {
            assert_eq!(tap.echo(kept.len() as u64).await, Ok(kept.len() as u64));
            kept.push(tap);
        }
        assert_eq!(kept.len(), 300);
        drop(kept);
        let mine = tracker.clone();
        let mine = Streaming::new(stream::iter(0..20).map(move |_| tap(&mine)));
        assert_eq!(root.try_each(mine).await, Ok(20));
        let mut nested = root.nested(10).await.expect("opened");
        let mut n = 0;
        while let Some(inner) = nested.try_next().await.expect("a stream") {
            n += 1;
            assert_eq!(collect(inner).await, Ok(upto(n)));
        }
        assert_eq!(n, 10);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_came_from_a_peer_may_be_sent_on() {
    everywhere(|root, tracker| async move {
        let back = root.back(numbers(&tracker, 1_000)).await.expect("back");
        assert_eq!(collect(back).await, Ok(upto(1_000)));
        // The peer's own, opened here and not read: it goes there and back again.
        assert_eq!(root.sum(root.count(100)).await, Ok(4_950));
        let numbers = root.numbers(100).await.expect("opened");
        let back = root.back(numbers).await.expect("back");
        assert_eq!(root.sum(back).await, Ok(4_950));
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_from_one_connection_to_another() {
    let (harness, first, _) = one().await;
    let (other, second, _) = one().await;
    limited(async {
        let values = first.numbers(1_000).await.expect("opened");
        assert_eq!(second.sum(values).await, Ok(499_500));
        let back = second.back(first.count(10)).await.expect("back");
        assert_eq!(first.sum(back).await, Ok(45));
    })
    .await;
    drop((first, second));
    harness.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn items_of_any_size_arrive_and_those_above_the_frame_limit_fail_clearly() {
    // R18.1, R18.8
    everywhere(|root, _| async move {
        for len in [0, 1, 5_000, 20_000, 65_000, 70_000, 300_000] {
            let pieces = root.bytes(len, 30).await.expect("opened");
            let pieces = collect(pieces).await.expect("pieces");
            let right = |(n, piece): (usize, &Vec<u8>)| *piece == vec![n as u8; len];
            assert!(pieces.len() == 30 && pieces.iter().enumerate().all(right));
        }
    })
    .await;
    let (harness, root, _) = one().await;
    let pieces = root.bytes(17 << 20, 3).await.expect("opened");
    let (pieces, error) = limited(collect(pieces)).await.expect_err("too large");
    assert!(pieces.is_empty());
    assert!(
        matches!(&error, RpcError::Exhausted(text) if text.contains("16777216")),
        "{error:?}"
    );
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn streams_in_items_wait_for_those_that_are_read() {
    // R14.4: more of them than may be open at once, read one after the other.
    everywhere(|root, _| async move {
        let mut nested = root.nested(600).await.expect("opened");
        let mut seen = 0;
        while let Some(inner) = nested.try_next().await.expect("a stream") {
            drop(collect(inner).await.expect("numbers"));
            seen += 1;
        }
        assert_eq!(seen, 600);
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_stalls_its_own_stream_alone() {
    // R19.3
    for far in [false, true] {
        let tracker = Tracker::new();
        let harness = served(far, &tracker).await;
        let root: TapHandle = harness.connect().await;
        limited(async {
            let mut slow = root.endless();
            assert_eq!(slow.try_next().await, Ok(Some(0)));
            let mine = Tracker::new();
            let tracked = mine.track();
            let (sent, count) = tokio::sync::watch::channel(0_u64);
            let endless = stream::iter(0_u64..).inspect(move |n| {
                let _ = &tracked;
                sent.send_replace(*n);
            });
            // Read by nobody: the other side waits for the end of something else.
            let (gate, wait) = Streaming::channel(1);
            let held = root.eat(Feed {
                name: String::new(),
                values: wait,
                more: Vec::new(),
                maybe: Some(Streaming::new(endless)),
            });
            let held = tokio::spawn(held);
            for n in 0..20 {
                assert_eq!(root.echo(n).await, Ok(n));
                let fast = root.bytes(10_000, 20).await.expect("opened");
                assert_eq!(collect(fast).await.expect("pieces").len(), 20);
                assert_eq!(root.sum(numbers(&tracker, 1_000)).await, Ok(499_500));
            }
            // What it produced ahead is bounded by its credit: a number takes 5 bytes at most.
            let ahead = *count.borrow();
            assert!((1_000..100_000).contains(&ahead), "{ahead}");
            assert_eq!(mine.live(), 1);
            held.abort();
            assert!(held.await.is_err());
            until("the stream stopped", || mine.live() == 0).await;
            drop(gate);
            for n in 1..50_000 {
                assert_eq!(slow.try_next().await, Ok(Some(n)));
            }
        })
        .await;
        drop(root);
        harness.finish().await;
    }
}

#[tokio::test]
async fn dropping_the_reader_drops_what_produces() {
    // R19.5
    everywhere(|root, tracker| async move {
        let before = tracker.live();
        let mut silent = root.silent();
        assert!(futures::poll!(Box::pin(silent.next())).is_pending());
        drop(silent);
        until("dropped", || tracker.live() == before).await;
        let mut endless = root.endless();
        for n in 0..1_000 {
            assert_eq!(endless.try_next().await, Ok(Some(n)));
        }
        drop(endless);
        until("dropped", || tracker.live() == before).await;
        let (sender, values) = Streaming::<u64>::channel(4);
        root.ignore(values).await.expect("ignored");
        sender.closed().await;
        assert_eq!(sender.send(1).await, Err(StreamClosed));
        // A call that is never polled, and one that is dropped half way.
        drop(root.sum(numbers(&tracker, 5)));
        let mut call = Box::pin(root.sum(numbers(&tracker, u64::MAX)));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        until("dropped", || tracker.live() == before).await;
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_session_is_the_last_item_and_stops_what_produces() {
    // R17.3
    for far in [false, true] {
        let tracker = Tracker::new();
        let harness = served(far, &tracker).await;
        let root: TapHandle = harness.connect().await;
        limited(async {
            let mut values = root.endless();
            assert_eq!(values.try_next().await, Ok(Some(0)));
            let mine = Tracker::new();
            root.keep(numbers(&mine, u64::MAX)).await.expect("kept");
            helve::Remote::connection(&root)
                .expect("remote")
                .close()
                .await;
            // What has come may be read; then the error, once.
            let (came, error) = collect(values).await.expect_err("lost");
            assert!(came.len() < 200_000);
            assert_eq!(error, RpcError::SessionLost);
            until("stopped", || mine.live() == 0).await;
            let (_, error) = collect(root.count(3)).await.expect_err("lost");
            assert!(
                matches!(error, RpcError::SessionLost | RpcError::Gone),
                "{error:?}"
            );
        })
        .await;
        drop(root);
        harness.finish().await;
    }
}

#[tokio::test]
async fn a_stream_is_sent_once_and_never_lent() {
    // R19.1
    let (harness, root, tracker) = one().await;
    limited(async {
        // Within one call twice: what is encoded second finds nothing.
        let feed = numbers(&tracker, 3);
        let twice = futures::future::join(root.sum(feed), root.echo(1)).await;
        assert_eq!(twice, (Ok(3), Ok(1)));
        assert_eq!(format!("{:?}", numbers(&tracker, 1)), "Streaming (local)");
        // A stream that comes home cannot be read there any more.
        let mut home = Streaming::<u64>::failed(RpcError::Gone);
        assert_eq!(home.next().await, Some(Err(RpcError::Gone)));
        assert_eq!(home.next().await, None);
    })
    .await;
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn more_streams_than_the_peer_allows_are_refused_and_nothing_is_lost() {
    // R14.4
    let tracker = Tracker::new();
    let object = tap(&tracker);
    let harness = Setup::new(&tracker, move |_| object.clone())
        .with(|server| server.limits(Limits::default().with_streams(4)))
        .memory(Duration::ZERO);
    let root: TapHandle = harness
        .connect_with(|connect| connect.limits(Limits::default().with_streams(4)))
        .await
        .expect("connected");
    limited(async {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(root.numbers(u64::MAX).await.expect("opened"));
        }
        let fifth = root.numbers(1).await.map(drop);
        assert!(matches!(fifth, Err(RpcError::Internal(_))), "{fifth:?}");
        let mine: Vec<_> = (0..4)
            .map(|_| root.keep(numbers(&tracker, u64::MAX)))
            .collect();
        for call in mine {
            call.await.expect("kept");
        }
        let fifth = root.keep(numbers(&tracker, 1)).await;
        assert!(matches!(fifth, Err(RpcError::Exhausted(_))), "{fifth:?}");
        drop(open.pop());
        until("released", || harness.server_ends()[0].stats().streams < 8).await;
        assert_eq!(collect(root.count(3)).await, Ok(upto(3)));
    })
    .await;
    drop(root);
    harness.end().await;
}

#[tokio::test]
async fn calls_of_a_stream_are_deeper_than_the_call_that_waits_for_it() {
    // R13.17: with one call allowed at each depth, a stream that calls back would wait for the call that reads it.
    let tracker = Tracker::new();
    let object = tap(&tracker);
    let narrow = || Limits::default().with_calls(1).with_nested(1);
    let harness = Setup::new(&tracker, move |_| object.clone())
        .with(move |server| server.limits(narrow()))
        .memory(Duration::ZERO);
    let root: TapHandle = harness
        .connect_with(|connect| connect.limits(narrow()))
        .await
        .expect("connected");
    limited(async {
        let asks = root.clone();
        let values = stream::iter(0..10).then(move |n| {
            let asks = asks.clone();
            async move { asks.echo(n).await }
        });
        assert_eq!(root.sum(Streaming::try_new(values)).await, Ok(45));
        let mine = tap(&tracker);
        let values = root.asked(mine, 10).await.expect("opened");
        assert_eq!(root.sum(values).await, Ok(45));
    })
    .await;
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn streams_may_be_dropped_at_every_poll() {
    let (harness, root, tracker) = one().await;
    let read = |values: Streaming<u64>| async move { _ = collect(values).await };
    dropped_at_every_poll(&harness, || read(root.count(3))).await;
    dropped_at_every_poll(&harness, || {
        root.numbers(3)
            .then(async |v| read(v.expect("opened")).await)
    })
    .await;
    dropped_at_every_poll(&harness, || root.numbers(3)).await;
    dropped_at_every_poll(&harness, || root.maybe(true)).await;
    dropped_at_every_poll(&harness, || root.maybe(false)).await;
    dropped_at_every_poll(&harness, || root.feed()).await;
    dropped_at_every_poll(&harness, || root.sum(numbers(&tracker, 30))).await;
    dropped_at_every_poll(&harness, || root.sum(root.count(30))).await;
    dropped_at_every_poll(&harness, || root.back(numbers(&tracker, 30))).await;
    dropped_at_every_poll(&harness, || {
        let (root, back) = (root.clone(), root.back(numbers(&tracker, 30)));
        async move { root.sum(back.await.expect("back")).await }
    })
    .await;
    dropped_at_every_poll(&harness, || {
        root.try_each(Streaming::from(vec![tap(&tracker)]))
    })
    .await;
    dropped_at_every_poll(&harness, || async {
        let mut taps = root.taps(3).await.expect("opened");
        while let Some(tap) = taps.try_next().await.expect("a handle") {
            tap.echo(1).await.expect("there");
        }
    })
    .await;
    dropped_at_every_poll(&harness, || async {
        let mut nested = root.nested(3).await.expect("opened");
        while let Some(inner) = nested.try_next().await.expect("a stream") {
            read(inner).await;
        }
    })
    .await;
    dropped_at_every_poll(&harness, || async {
        let (sender, values) = Streaming::channel(1);
        let send = async {
            for n in 0..5 {
                _ = sender.send(n).await;
            }
            sender.fail(RpcError::Gone).await
        };
        futures::future::join(send, root.sum(values)).await
    })
    .await;
    drop(root);
    harness.finish().await;
}

/// Small, fast, the same everywhere.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[tokio::test]
async fn a_thousand_streams_dropped_at_random_moments_leave_nothing() {
    for seed in 1..=2 {
        let tracker = Tracker::new();
        let harness = served(seed > 1, &tracker).await;
        let root: TapHandle = harness.connect().await;
        let mut rng = XorShift(seed);
        for _ in 0..10 {
            let streams: Vec<_> = (0..100)
                .map(|_| {
                    let (root, tracker) = (root.clone(), tracker.clone());
                    let (what, n) = (rng.below(6), rng.below(3_000));
                    let stream = async move {
                        match what {
                            0 => drop(collect(root.count(n)).await),
                            1 => drop(root.sum(numbers(&tracker, n)).await),
                            2 => drop(root.keep(numbers(&tracker, n)).await),
                            3 => drop(root.back(numbers(&tracker, n)).await),
                            4 => match root.taps(n % 50).await {
                                Ok(taps) => drop(collect(taps).await),
                                Err(error) => panic!("{error}"),
                            },
                            _ => drop(collect(root.endless()).await),
                        }
                    };
                    let polls = match what {
                        5 => 3 + rng.below(60),
                        _ if rng.below(2) == 0 => u64::MAX,
                        _ => rng.below(60),
                    };
                    tokio::spawn(Impatient::new(stream, polls as usize))
                })
                .collect();
            for stream in streams {
                limited(stream).await.expect("no panic");
            }
        }
        harness.rest().await;
        until("only the root is left", || tracker.live() == 1).await;
        drop(root);
        harness.finish().await;
    }
}
