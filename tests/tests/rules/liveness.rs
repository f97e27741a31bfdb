//! R16, under paused time and over a WebSocket whose client end is bytes.

use std::time::Duration;

use helve::transport::handshake::{AcceptOptions, accept_over};
use helve_protocol::hello::Hello;
use helve_tests::harness::{Harness, Tracker, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, timeout};

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: helve.1\r\n\r\n";
/// A WebSocket ping, as a server sends it, and the pong of a client with an empty mask.
const PING: [u8; 2] = [0x89, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// A stream that was upgraded and welcomed; nothing is unread.
async fn welcomed(harness: &Harness) -> DuplexStream {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    client.write_all(UPGRADE.as_bytes()).await.expect("room");
    let options = AcceptOptions {
        max_message: 262_144,
        origins: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(10),
    };
    let link = accept_over(server, None, None, &options)
        .await
        .expect("an upgrade");
    harness.serve_link(link);
    let hello = Hello::default().encode();
    let length = u8::try_from(hello.len()).expect("short");
    assert!(length < 126);
    client
        .write_all(&[0x82, 0x80 | length, 0, 0, 0, 0])
        .await
        .expect("room");
    client.write_all(&hello).await.expect("room");
    let mut space = [0; 4096];
    let mut heard = Vec::new();
    // The head of the upgrade, and one message of two bytes of length.
    loop {
        let n = client.read(&mut space).await.expect("the link is up");
        heard.extend_from_slice(&space[..n]);
        let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some([0x82, 126, hi, lo, rest @ ..]) = end.and_then(|end| heard.get(end + 4..))
            && rest.len() >= usize::from(u16::from_be_bytes([*hi, *lo]))
        {
            assert_eq!(rest.len(), usize::from(u16::from_be_bytes([*hi, *lo])));
            return client;
        }
    }
}

/// The next bytes and when they came; none at the end.
async fn heard(client: &mut DuplexStream, start: Instant) -> (Vec<u8>, Duration) {
    let mut space = [0; 64];
    let n = timeout(Duration::from_secs(100), client.read(&mut space))
        .await
        .expect("something happens")
        .expect("a stream in memory");
    (space[..n].to_vec(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_server_pings_after_20_s_of_silence_and_gives_up_20_s_later() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, LabHandle::new(MemLab::new(&tracker)));
    let mut client = welcomed(&harness).await;
    let start = Instant::now();
    let after = |(_, elapsed): &(Vec<u8>, Duration)| elapsed.as_millis() as u64 / 100;
    // R16.1
    let ping = heard(&mut client, start).await;
    assert_eq!((&ping.0[..], after(&ping)), (&PING[..], 200));
    // Any byte counts: the next silence begins with the pong.
    tokio::time::advance(Duration::from_secs(15)).await;
    client.write_all(&PONG).await.expect("room");
    let ping = heard(&mut client, start).await;
    assert_eq!((&ping.0[..], after(&ping)), (&PING[..], 550));
    // R16.2
    let end = heard(&mut client, start).await;
    assert_eq!((&end.0[..], after(&end)), (&[][..], 750));
    until("the session over", || harness.server_ends().is_empty()).await;
    harness.finish().await;
}
