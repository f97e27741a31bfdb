//! The same object is the same handle on the other side of a forwarder, and at home it is itself.

use helve::Remote;
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

use crate::{NEAR, Row, Way};

/// One object, by every way that leads to it.
async fn one_object(row: Row) {
    let root = row.connect().await;
    let opened = limited(root.open()).await.expect("opened");
    // R9.7, R6.2: however often it is sent, it has one name.
    let again = limited(root.reflect(opened.clone())).await.expect("back");
    assert!(again == opened);
    let other = limited(root.open()).await.expect("opened");
    assert!(other != opened);
    let piped = root.reflect(opened.clone()).pipelined();
    assert_eq!(limited(piped.add(1)).await, Ok(1));
    assert!(piped == opened, "once it is settled");
    assert_eq!(limited(opened.add(1)).await, Ok(2));
    // An OPEN whose result was sent nowhere before is the same as what is sent of it later.
    let fresh = root.open().pipelined();
    assert_eq!(limited(fresh.add(5)).await, Ok(5));
    let later = limited(root.reflect(fresh.clone())).await.expect("back");
    assert!(later == fresh);
    assert!(later != opened);

    // R8.1: an own object comes home as itself, also through two sessions.
    let mine = row.lab();
    let home = limited(root.reflect(mine.clone())).await.expect("back");
    assert!(home == mine && home.is_local());
    // R6.3: as the result of an OPEN its calls keep their way, and it is equal all the same.
    let own_piped = root.reflect(mine.clone()).pipelined();
    assert_eq!(limited(own_piped.add(4)).await, Ok(4));
    assert!(own_piped == mine);
    // Kept at the host, and asked for again.
    limited(root.keep(mine.clone())).await.expect("kept");
    let kept = limited(root.kept()).await.expect("an answer").expect("one");
    assert!(kept == mine && kept.is_local());
    assert_eq!(limited(root.use_kept(3)).await, Ok(3));
    limited(root.forget()).await.expect("forgotten");
    // R8.1: the host's own object comes home to it through the forwarders: it calls itself there.
    limited(root.keep(opened.clone())).await.expect("kept");
    assert_eq!(limited(root.use_kept(4)).await, Ok(4));
    let same = limited(root.kept()).await.expect("an answer").expect("one");
    assert!(same == opened);
    limited(root.forget()).await.expect("forgotten");
    drop((root, opened, again, other, piped, fresh, later));
    drop((mine, home, own_piped, kept, same));
    row.finish().await;
}

#[tokio::test]
async fn one_object_is_one_handle_through_a_forwarder() {
    limited(one_object(Row::new(NEAR, 1).await)).await;
    limited(one_object(Row::new(Way::WebSocket, 1).await)).await;
}

#[tokio::test]
async fn one_object_is_one_handle_through_three_forwarders() {
    limited(one_object(Row::new(NEAR, 3).await)).await;
}

#[tokio::test]
async fn what_went_out_through_a_forwarder_is_the_same_handle_when_it_is_back_there() {
    // R8.1, R6.2: no relay of a relay; the handle of the first session is what the forwarder gets back.
    let tracker = Tracker::new();
    let lab = LabHandle::new(MemLab::new(&tracker));
    let harness = Harness::memory(&tracker, lab);
    let (a, b): (LabHandle, LabHandle) = (harness.connect().await, harness.connect().await);
    let mine = LabHandle::new(MemLab::new(&tracker));
    limited(a.keep(mine.clone())).await.expect("kept");
    let there = limited(b.kept()).await.expect("an answer").expect("one");
    // The server's method takes it and gives it back: typed, there.
    let typed = limited(b.reflect(there.clone())).await.expect("back");
    assert!(typed == there);
    // Through the relay to its own host, which gets itself.
    let back = limited(there.reflect(there.clone())).await.expect("back");
    assert!(back == there);
    assert_eq!(limited(back.echo(1)).await, Ok(1));
    // The server passes it on to a, to whom it belongs: it is a's own there.
    let home = limited(a.kept()).await.expect("an answer").expect("one");
    assert!(home == mine && home.is_local());
    // And what b sends of its own through both reaches a and comes back as b's own.
    let own = LabHandle::new(MemLab::new(&tracker));
    let own_home = limited(there.reflect(own.clone())).await.expect("back");
    assert!(own_home == own && own_home.is_local());
    limited(a.forget()).await.expect("forgotten");
    drop((a, b, mine, there, typed, back, home, own, own_home));
    harness.finish().await;
}
