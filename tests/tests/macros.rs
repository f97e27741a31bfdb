//! Every form that `#[interface]` and `#[derive(Wire)]` take, run on a local object and through a connection.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod macros {
    mod descriptors;
    mod forms;
    mod hygiene;
    mod lending;
    mod values;
}

use std::future::Future;
use std::time::Duration;

use helve::Remote;
use helve_tests::harness::{Harness, Tracker};

/// A handle to the same object by way of a connection over memory; the harness looks at the tables in the end.
async fn remote<H: Remote>(root: &H) -> (H, Harness) {
    let harness = Harness::memory(&Tracker::new(), root.clone());
    (harness.connect().await, harness)
}

/// Runs `test` with a handle to `root` here and with one to it over a connection.
async fn both<H: Remote, F: Future<Output = ()>>(root: H, test: impl Fn(H) -> F) {
    limited(test(root.clone())).await;
    let (far, harness) = limited(remote(&root)).await;
    limited(test(far)).await;
    limited(harness.end()).await;
}

async fn limited<F: Future>(test: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), test)
        .await
        .expect("the test did not end")
}
