//! Holds what can be held of a server, says so, and waits to be killed. Started by `tests/processes.rs`.
#![forbid(unsafe_code)]

use helve_tests::harness::{Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    // harness: this process is killed, and its server looks for leaks
    let root: LabHandle = limited(async { helve::connect(url).await })
        .await
        .expect("the server is there");
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(limited(root.open()).await.expect("opened"));
        held.push(root.open().pipelined());
        held.push(root.open_nothing().pipelined());
    }
    let mine = LabHandle::new(MemLab::new(&Tracker::new()));
    limited(root.keep(mine)).await.expect("given");
    for call in (0..10).map(|_| held[0].hang()) {
        tokio::spawn(call);
    }
    limited(held[1].echo(1)).await.expect("answered");
    println!("holding");
    std::future::pending::<()>().await;
}
