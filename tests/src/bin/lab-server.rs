//! Serves a lab as a process of its own: prints its URL, serves until its input ends, then looks for leaks like any
//! test. With the argument `signal` it serves until it is told to stop, as the examples do. Started by
//! `tests/processes.rs`.
#![forbid(unsafe_code)]

use helve::Limits;
use helve_tests::harness::{Setup, Tracker};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() {
    let tracker = Tracker::new();
    let root = LabHandle::new(MemLab::new(&tracker));
    if std::env::args().nth(1).as_deref() == Some("signal") {
        return until_signal(root).await;
    }
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

async fn until_signal(root: LabHandle) {
    // harness: the server ends itself, and says how
    let server = helve::Server::builder().root(move |_| std::future::ready(Ok(root.clone())));
    let server = server.bind("ws://127.0.0.1:0").await.expect("a free port");
    println!("{}", server.url());
    let grace = std::time::Duration::from_secs(20);
    let done = server.run_until(helve::terminated(), grace).await;
    println!("{} drained, {} cut", done.drained, done.cut);
}
