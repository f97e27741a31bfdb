//! What travels, and what the other side keeps between calls.

use std::time::Duration;

use helve::track::Tracked;
use helve::{Connection, Remote, SessionLimits};
use helve_tests::harness::{Harness, Setup, Tracker, limited};

use crate::desk::{DeskHandle, EarHandle, MemDesk, Numbered, doc, shown, sized};

/// A desk whose server keeps that much.
fn serving(tracker: &Tracker, kept: usize) -> Harness {
    let root = DeskHandle::new(MemDesk::new(tracker));
    Setup::new(tracker, move |_| root.clone())
        .with(|rooted| rooted.limits(SessionLimits::default().with_kept(kept)))
        .memory(Duration::ZERO)
}

/// Bytes that a call moves: up, down.
async fn moved<T>(of: &Connection, call: impl Future<Output = T>) -> (u64, u64, T) {
    let before = of.stats();
    let result = limited(call).await;
    let after = of.stats();
    (
        after.bytes_out - before.bytes_out,
        after.bytes_in - before.bytes_in,
        result,
    )
}

/// On the wire 770 kB.
const CELLS: u32 = 18_000;

// R24.1, R24.6
#[tokio::test]
async fn the_second_call_sends_what_changed_and_gets_what_changed() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 16 << 20);
    let desk: DeskHandle = harness.connect().await;
    let connection = desk.connection().unwrap();
    let server = harness.server_ends().remove(0);
    let mut tracked = Tracked::new(sized(CELLS));

    let (up, down, result) = moved(&connection, desk.tidy(&mut tracked)).await;
    assert_eq!(result, Ok(2));
    assert!(up > 700_000, "all of it: {up}");
    // Besides what changed these are the acknowledgements of a long transfer.
    assert!(down < 2_000, "{down} bytes came back");
    assert_eq!(server.stats().kept, 1);

    let (up, down, result) = moved(&connection, desk.tidy(&mut tracked)).await;
    assert_eq!(result, Ok(3));
    assert!(up < 100, "nothing was edited, and {up} bytes went up");
    assert!(down < 100, "{down} bytes came back");

    tracked
        .change(|doc| doc.3.get_mut(&7).unwrap().1 = 2.5)
        .unwrap();
    let (up, down, result) = moved(&connection, desk.tidy(&mut tracked)).await;
    assert_eq!(result, Ok(4));
    assert!(up < 100, "one cell was edited, and {up} bytes went up");
    assert!(down < 100, "{down} bytes came back");

    // Many edits are told as one.
    for n in 0..100 {
        tracked.change(|doc| doc.1 = n).unwrap();
    }
    let (up, _, result) = moved(&connection, desk.tidy(&mut tracked)).await;
    assert_eq!(result, Ok(100));
    assert!(up < 100, "{up} bytes went up");

    // All that it is, it is at both ends.
    let mut copy = tracked.clone();
    limited(desk.tidy(&mut tracked)).await.unwrap();
    limited(desk.tidy(&mut copy)).await.unwrap();
    assert!(shown(&tracked) == shown(&copy));

    // By value it goes whole each time.
    let (up, down, _) = moved(&connection, desk.tidy(&mut copy)).await;
    assert!(up > 700_000 && down < 2_000, "{up} up, {down} down");
    assert_eq!(server.stats().kept, 1);
    drop((desk, connection, server));
    harness.finish().await;
}

// R24.7
#[tokio::test]
async fn what_the_other_side_forgot_is_sent_whole_and_the_method_runs_once() {
    let tracker = Tracker::new();
    // Two of these, and no third.
    let harness = serving(&tracker, 1_500);
    let desk: DeskHandle = harness.connect().await;
    let server = harness.server_ends().remove(0);
    let mut all: Vec<_> = (0..3).map(|_| Tracked::new(sized(10))).collect();
    for round in 1..12 {
        for tracked in &mut all {
            assert_eq!(limited(desk.tidy(&mut *tracked)).await, Ok(round + 1));
            assert_eq!(
                (tracked.1, tracked.rev()),
                (round + 1, u64::from(round) + 1)
            );
            let stats = server.stats();
            assert!(stats.kept <= 2 && stats.kept_bytes <= 1_500, "{stats:?}");
        }
    }
    assert!(server.stats().kept > 0);
    assert!(shown(&all[0]) == shown(&all[1]) && shown(&all[1]) == shown(&all[2]));
    drop((desk, server));
    harness.finish().await;
}

// R24.7: one more value than there is room for evicts nothing.
#[tokio::test]
async fn a_value_beyond_the_quota_is_worked_on_and_not_kept() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 2_500);
    let desk: DeskHandle = harness.connect().await;
    let connection = desk.connection().unwrap();
    let server = harness.server_ends().remove(0);
    let mut small = Tracked::new(doc());
    assert_eq!(limited(desk.tidy(&mut small)).await, Ok(2));
    let mut large = Tracked::new(sized(1_000));
    let mut ups = Vec::new();
    for round in 1..20 {
        let (up, _, result) = moved(&connection, desk.tidy(&mut large)).await;
        assert_eq!(result, Ok(round + 1));
        ups.push(up);
        assert_eq!(server.stats().kept, 1);
    }
    // A change is tried ever more seldom, and goes up in vain.
    let wasted = ups.iter().filter(|up| **up > ups[0] + 20).count();
    assert!((1..6).contains(&wasted), "{ups:?}");
    let (up, _, result) = moved(&connection, desk.tidy(&mut small)).await;
    assert_eq!(result, Ok(3));
    assert!(up < 100, "{up}");
    drop((desk, connection, server));
    harness.finish().await;
}

// R24.7, E6.11: made again, with the handles that stand before and behind what is sent whole.
#[tokio::test]
async fn a_call_that_is_made_again_brings_its_handles_again() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 0);
    let desk: DeskHandle = harness.connect().await;
    let connection = desk.connection().unwrap();
    let mut tracked = Tracked::new(doc());
    for round in 1..4 {
        let ear = EarHandle::new(Numbered(round));
        let call = desk
            .asks(&mut tracked, &ear)
            .traceparent(helve::TraceParent::random());
        assert_eq!(
            limited(call.deadline(Duration::from_secs(60))).await,
            Ok(round)
        );
        assert_eq!(tracked.rev(), 1 + round);
    }
    // One call of the first round, two of each further one.
    assert_eq!(connection.stats().calls_made, 5);
    drop((desk, connection));
    harness.finish().await;
}

// R18.1, R24.2: what goes in parts, up and down.
#[tokio::test]
async fn long_values_and_long_changes_travel_in_parts() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 16 << 20);
    let desk: DeskHandle = harness.connect().await;
    let long = "long ".repeat(50_000);
    let (mut from, mut to) = (doc(), Tracked::new(sized(5_000)));
    from.0 = long.clone();
    limited(desk.moves(&mut from, &mut to)).await.unwrap();
    assert!(from.0.is_empty() && to.0 == long);
    limited(desk.moves(&mut to, &mut from)).await.unwrap();
    assert!(to.0.is_empty() && from.0 == long);
    assert_eq!(to.rev(), 3);
    drop(desk);
    harness.finish().await;
}

// R24.5: each session has its own id and its own copy, however the calls alternate.
#[tokio::test]
async fn one_value_in_two_sessions_is_told_to_each_what_that_one_lacks() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 16 << 20);
    let one: DeskHandle = harness.connect().await;
    let two: DeskHandle = harness.connect().await;
    let connections = [one.connection().unwrap(), two.connection().unwrap()];
    let desks = [one, two];
    let mut tracked = Tracked::new(sized(200));
    for desk in &desks {
        limited(desk.tidy(&mut tracked)).await.unwrap();
    }
    for round in 4..40 {
        let at = usize::from(round % 3 == 0);
        if round % 4 == 0 {
            tracked.change(|doc| doc.0.push('e')).unwrap();
        }
        let (up, _, result) = moved(&connections[at], desks[at].tidy(&mut tracked)).await;
        assert_eq!(result, Ok(round));
        assert!(up < 200, "{up} bytes went up in round {round}");
    }
    let mut apart = tracked.clone();
    limited(desks[0].tidy(&mut tracked)).await.unwrap();
    limited(desks[1].tidy(&mut apart)).await.unwrap();
    assert!(shown(&tracked) == shown(&apart));
    drop((desks, connections));
    harness.finish().await;
}

// R24.5: nobody else's copy is meant, also where calls of several pass through one forwarder.
#[tokio::test]
async fn values_of_several_who_share_a_forwarder_do_not_meet() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 16 << 20);
    let behind: DeskHandle = harness.connect().await;
    let forwarder = Harness::memory(&Tracker::new(), behind);
    let one: DeskHandle = forwarder.connect().await;
    let two: DeskHandle = forwarder.connect().await;
    let (mut a, mut b) = (Tracked::new(sized(20)), Tracked::new(sized(30)));
    for round in 2..6 {
        assert_eq!(limited(one.tidy(&mut a)).await, Ok(round));
        assert_eq!(limited(two.tidy(&mut b)).await, Ok(round));
        assert_eq!((a.3.len(), b.3.len()), (20, 30));
    }
    assert_eq!(harness.server_ends()[0].stats().kept, 2);
    drop((one, two));
    forwarder.finish().await;
    harness.finish().await;
}

// A leaked guard leaves nobody who could tell what it did: the value goes whole, and counts.
#[tokio::test]
#[allow(clippy::mem_forget, reason = "that is what it is about")]
async fn an_edit_whose_guard_was_leaked_is_not_lost_on_the_other_side() {
    let tracker = Tracker::new();
    let harness = serving(&tracker, 16 << 20);
    let desk: DeskHandle = harness.connect().await;
    let mut tracked = Tracked::new(doc());
    limited(desk.tidy(&mut tracked)).await.unwrap();
    let mut edit = tracked.edit().unwrap();
    edit.1 = 40;
    edit.3.remove(&1);
    std::mem::forget(edit);
    assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(41));
    assert_eq!(limited(desk.look(&mut tracked)).await, Ok(2));
    drop(desk);
    harness.finish().await;
}
