//! The connection task wakes up when something falls due, whatever else its thread was busy with.

use std::time::Duration;

use helve::prelude::*;
use helve_tests::harness::{Setup, Tracker, limited};
use tokio::task::coop;

#[interface(id = "test.Greedy")]
trait Greedy {
    async fn late(&self);
    /// Uses up what tokio lets a task do before it makes others wait: that of the connection task, where methods begin.
    #[oneway]
    async fn hog(&self);
}

struct Hog;

impl Greedy for Hog {
    async fn late(&self) {
        pass(5).await;
    }
    async fn hog(&self) {
        while coop::has_budget_remaining() {
            coop::consume_budget().await;
        }
    }
}

/// Tokio's time, which stands still otherwise.
async fn pass(ms: u64) {
    // sleep: time is paused
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn an_ack_is_sent_in_time_after_a_method_that_used_up_the_budget_of_its_task() {
    let harness =
        Setup::new(&Tracker::new(), |_| GreedyHandle::new(Hog)).memory(Duration::from_millis(10));
    let root: GreedyHandle = harness.connect().await;
    let unacked = || root.connection().expect("remote").stats().unacked;
    pass(1_000).await;
    assert_eq!(unacked(), 0);
    // S4.1: 10 ms later the server's timer stands for an ack in 25 ms, which the answer brings after 5.
    limited(root.late()).await.expect("it ran");
    // This comes just when the timer runs out for nothing.
    drop(root.hog());
    pass(1).await;
    assert_eq!(unacked(), 1);
    // 10 ms there, 25 ms, and 10 ms back.
    pass(48).await;
    assert_eq!(unacked(), 0);
    drop(root);
    harness.finish().await;
}
