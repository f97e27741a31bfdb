//! Large payloads through forwarders: their bytes go on as they came, and what is given up stops everywhere.

use std::time::Duration;

use bytes::Bytes;
use helve::prelude::*;
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};

const LONG: usize = 3 << 20;

/// Takes and gives bytes.
#[interface(id = "test.Press")]
trait Press {
    async fn reverse(&self, data: Bytes) -> Bytes;
    #[oneway]
    async fn keep(&mut self, data: Bytes);
    async fn kept(&self) -> u64;
}

#[derive(Default)]
struct Plain(u64);

impl Press for Plain {
    async fn reverse(&self, data: Bytes) -> Bytes {
        data.iter().rev().copied().collect::<Vec<u8>>().into()
    }
    async fn keep(&mut self, data: Bytes) {
        self.0 += data.len() as u64;
    }
    async fn kept(&self) -> u64 {
        self.0
    }
}

/// A host, two forwarders, and a client of the second.
async fn row(delay: Duration) -> (Vec<Harness>, PressHandle) {
    let none = Tracker::new();
    let host = PressHandle::new(Plain::default());
    let mut servers = vec![Setup::new(&none, move |_| host.clone()).memory(delay)];
    for _ in 0..2 {
        let root: PressHandle = servers[servers.len() - 1].connect().await;
        servers.push(Setup::new(&none, move |_| root.clone()).memory(delay));
    }
    let root = servers[2].connect().await;
    (servers, root)
}

async fn end(servers: Vec<Harness>) {
    for server in &servers {
        server.rest().await;
    }
    for server in servers.into_iter().rev() {
        server.finish().await;
    }
}

#[tokio::test]
async fn payloads_of_megabytes_pass_both_ways_in_their_order() {
    // R9.2, R18.1: put together at each forwarder, and sent on as they are.
    let (servers, root) = row(Duration::ZERO).await;
    let data: Vec<u8> = (0..LONG).map(|n| (n * 7 + n / 256) as u8).collect();
    let back = limited(root.reverse(data.clone().into())).await;
    let mut back = back.expect("an answer").to_vec();
    back.reverse();
    assert_eq!(back, data);
    // R18.5, R10.2: what follows a large one-way call waits behind it, at each of them.
    drop(root.keep(data.clone().into()));
    drop(root.keep(vec![1; 10].into()));
    assert_eq!(limited(root.kept()).await, Ok(LONG as u64 + 10));
    limited(root.flush()).await.expect("taken");
    drop(root);
    end(servers).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_call_that_is_given_up_on_its_way_leaves_nothing() {
    // R21.4, R18.11: wherever its parts are.
    let (servers, root) = row(Duration::from_millis(10)).await;
    for ms in (0..1_600).step_by(45) {
        let call = root.reverse(vec![7; LONG].into());
        drop(tokio::time::timeout(Duration::from_millis(ms), call).await);
        assert_eq!(limited(root.kept()).await, Ok(0));
    }
    until("nothing under way", || {
        let ends = servers.iter().flat_map(Harness::server_ends);
        ends.map(|end| end.stats().incoming).sum::<usize>() == 0
    })
    .await;
    drop(root);
    end(servers).await;
}
