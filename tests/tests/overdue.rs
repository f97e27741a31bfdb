//! Row 52 of the table of threats: methods that take too long, and methods that cannot be ended at all.

#[allow(dead_code, reason = "each test program uses its part of it")]
mod collector;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use collector::Collector;
use helve::prelude::*;
use helve::{SessionLimits, Stats};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use tracing::Level;

#[interface(id = "test.Slow")]
trait Slow {
    /// Waits for ever, as a good citizen.
    async fn wait(&self);
    /// Begins to wait, and then keeps its thread until it is let go.
    async fn block(&self);
}

struct Door(Arc<Mutex<Receiver<()>>>);

impl Slow for Door {
    async fn wait(&self) {
        std::future::pending().await
    }
    async fn block(&self) {
        tokio::task::yield_now().await;
        let door = self.0.lock().expect("no panic");
        door.recv_timeout(Duration::from_secs(30))
            .expect("it is let go");
    }
}

/// What was said in this program about a method.
fn said(of: &str) -> Vec<String> {
    static COLLECTOR: LazyLock<Collector> = LazyLock::new(|| {
        let collector = Collector::up_to(Level::WARN);
        collector.install_everywhere();
        collector
    });
    let events = COLLECTOR.events().into_iter();
    let said = events.map(|(said, _)| said);
    said.filter(|said| said.contains(of)).collect()
}

async fn slow(limits: SessionLimits) -> (Harness, SlowHandle, Sender<()>) {
    said("");
    let (open, door) = channel();
    let root = SlowHandle::new(Door(Arc::new(Mutex::new(door))));
    let setup = Setup::new(&Tracker::new(), move |_| root.clone());
    let harness = setup
        .with(|rooted| rooted.limits(limits))
        .memory(Duration::ZERO);
    let slow = harness.connect().await;
    // The client may be welcome before the server's end can be asked.
    until("a session", || !harness.server_ends().is_empty()).await;
    (harness, slow, open)
}

fn stats(harness: &Harness) -> Stats {
    let ends = harness.server_ends();
    ends.first().expect("a session").stats()
}

#[tokio::test(start_paused = true)]
async fn row_52_a_method_that_the_server_ends_is_logged_and_one_whose_caller_gave_up_is_not() {
    let limits = SessionLimits::default().with_handler_deadline(Duration::from_secs(30));
    let (harness, slow, _open) = slow(limits).await;
    let early = slow.wait().deadline(Duration::from_secs(29));
    assert_eq!(limited(early).await, Err(RpcError::Deadline));
    harness.rest().await;
    assert_eq!(said("test.Slow/wait"), [""; 0]);
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(31), slow.wait()).await,
        Ok(Err(RpcError::Deadline))
    );
    let said = said("test.Slow/wait");
    let [said] = &said[..] else {
        panic!("said once: {said:?}");
    };
    for part in ["handler_deadline", "30s", "helve/"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let now = stats(&harness);
    assert_eq!((now.stuck, now.incoming), (0, 0));
    drop(slow);
    harness.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_52_a_method_that_does_not_come_back_is_reported_until_it_does() {
    let limits = SessionLimits::default().with_handler_deadline(Duration::from_millis(50));
    let (harness, slow, open) = slow(limits).await;
    let call = tokio::spawn(slow.block().into_future());
    until("one stuck", || stats(&harness).stuck == 1).await;
    let is_said = || {
        let said = said("test.Slow/block");
        said.iter().any(|said| said.contains("has not come back"))
    };
    until("said so", is_said).await;
    assert_eq!(stats(&harness).incoming, 1, "its slot is taken");
    open.send(()).expect("it waits");
    // Late, and it ran to its end.
    assert_eq!(limited(call).await.expect("no panic"), Ok(()));
    until("none stuck", || stats(&harness).stuck == 0).await;
    drop((slow, open));
    harness.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_52_a_cancelled_method_that_does_not_come_back_holds_its_slot_and_is_counted() {
    let (harness, slow, open) = slow(SessionLimits::default()).await;
    let call = tokio::spawn(slow.block().into_future());
    until("it runs", || stats(&harness).incoming == 1).await;
    assert_eq!(stats(&harness).stuck, 0);
    call.abort();
    until("it is stuck", || stats(&harness).stuck == 1).await;
    assert_eq!(stats(&harness).incoming, 1);
    open.send(()).expect("it waits");
    until("it ended", || stats(&harness).incoming == 0).await;
    assert_eq!(stats(&harness).stuck, 0);
    drop((slow, open));
    harness.finish().await;
}
