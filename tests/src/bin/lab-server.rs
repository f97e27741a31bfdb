//! Serves a lab as a process of its own: prints its URL, serves until its input ends, then looks for leaks like any
//! test. Started by `tests/processes.rs`.
#![forbid(unsafe_code)]

use helve::Limits;
use helve_tests::harness::{Setup, Tracker};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() {
    let tracker = Tracker::new();
    let root = LabHandle::new(MemLab::new(&tracker));
    let harness = Setup::new(&tracker, move |_| root.clone())
        .with(|rooted| rooted.limits(Limits::default().with_calls(40)))
        .websocket()
        .await;
    println!("{}", harness.url());
    let mut nothing = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut nothing)
        .await
        .expect("readable");
    harness.finish().await;
    println!("clean");
}
