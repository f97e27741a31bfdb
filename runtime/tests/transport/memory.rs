//! The in-memory pair.

use super::*;
use futures::FutureExt;
use helve::transport::memory::{pair, pair_delayed};
use helve::transport::{Link, MeterReading};

#[tokio::test]
async fn messages_arrive_in_order_both_ways_and_are_counted() {
    bounded(async {
        let (mut a, mut b) = pair();
        for i in 0..10u8 {
            send(&mut a, vec![i; 3]).await.unwrap();
            send(&mut b, vec![i]).await.unwrap();
        }
        for i in 0..10u8 {
            assert_eq!(recv(&mut b).await.unwrap(), vec![i; 3]);
            assert_eq!(recv(&mut a).await.unwrap(), vec![i]);
        }
        assert_eq!(
            a.meter(),
            MeterReading {
                bytes_in: 10,
                bytes_out: 30
            }
        );
        assert!(a.take_heard() && !a.take_heard());
        assert_eq!(a.peer_addr(), None);
    })
    .await;
}

#[tokio::test]
async fn a_close_comes_after_the_messages_and_both_ends_finish() {
    bounded(async {
        let (mut a, mut b) = pair();
        send(&mut a, "last words").await.unwrap();
        let closing = async {
            close(&mut a, Close::new(Close::VIOLATION, "R11.4: over-release")).await;
            assert!(send(&mut a, "more").await.is_err());
        };
        let reading = async {
            assert_eq!(recv(&mut b).await.unwrap(), "last words");
            let end = closed(4001, "R11.4: over-release");
            assert_eq!(recv(&mut b).await, Err(end.clone()));
            assert_eq!(recv(&mut b).await, Err(end), "the end is told again");
            close(&mut b, Close::normal()).await;
        };
        tokio::join!(closing, reading);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_end_looks_like_a_peer_that_died() {
    bounded(async {
        let (mut a, b) = pair();
        drop(b);
        assert!(matches!(recv(&mut a).await, Err(LinkEnd::Lost { .. })));
        assert!(send(&mut a, "x").await.is_err());
        close(&mut a, Close::normal()).await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_and_a_writer_that_wait_are_woken_when_the_other_end_goes() {
    bounded(async {
        let (mut a, b) = pair();
        while poll_fn(|cx| a.poll_ready(cx)).now_or_never().is_some() {
            a.start_send(vec![0; 1 << 16].into()).unwrap();
        }
        let waits = tokio::spawn(async move { send(&mut a, "x").await });
        tokio::task::yield_now().await;
        drop(b);
        assert!(waits.await.unwrap().is_err());

        let (mut a, mut b) = pair();
        let waits = tokio::spawn(async move {
            a.start_close(Close::normal());
            poll_fn(|cx| a.poll_close(cx)).await;
        });
        assert_eq!(recv(&mut b).await, Err(closed(1000, "")));
        drop(b);
        waits.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_sender_waits_when_the_pipe_is_full_and_goes_on_when_it_is_read() {
    bounded(async {
        let (mut a, mut b) = pair();
        let mut sent = 0;
        while poll_fn(|cx| a.poll_ready(cx)).now_or_never().is_some() {
            a.start_send(vec![0; 1000].into()).unwrap();
            sent += 1;
        }
        assert_eq!(sent, 1024);
        let more = tokio::spawn(async move {
            send(&mut a, "x").await.unwrap();
            a
        });
        for _ in 0..sent {
            assert_eq!(recv(&mut b).await.unwrap().len(), 1000);
        }
        assert_eq!(recv(&mut b).await.unwrap(), "x");
        drop(more.await.unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_pair_takes_exactly_its_delay_each_way() {
    let delay = Duration::from_millis(5);
    let (mut a, mut b) = pair_delayed(delay);
    let start = Instant::now();
    for i in 0..100u8 {
        send(&mut a, vec![i]).await.unwrap();
    }
    for i in 0..100u8 {
        assert_eq!(recv(&mut b).await.unwrap(), vec![i]);
    }
    assert_eq!(
        start.elapsed(),
        delay,
        "messages overlap, they do not queue"
    );
    send(&mut b, "answer").await.unwrap();
    recv(&mut a).await.unwrap();
    assert_eq!(start.elapsed(), 2 * delay);
    drop(b);
    assert!(matches!(recv(&mut a).await, Err(LinkEnd::Lost { .. })));
    assert_eq!(start.elapsed(), 3 * delay);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_by_the_link_of_a_polled_peer_and_by_no_other() {
    let (mut a, mut b) = pair_delayed(Duration::from_millis(5));
    a.ping().unwrap();
    let silent = tokio::time::timeout(Duration::from_secs(1), recv(&mut a)).await;
    assert!(silent.is_err() && !a.take_heard());
    let busy = tokio::spawn(async move { recv(&mut b).await });
    let answered = tokio::time::timeout(Duration::from_secs(1), recv(&mut a)).await;
    assert!(answered.is_err() && a.take_heard());
    busy.abort();
}

#[test]
fn a_reason_is_cut_at_123_bytes_between_characters_and_codes_know_what_they_end() {
    let close = Close::new(Close::GAP, format!("x{}", "é".repeat(100)));
    assert_eq!((close.code(), close.reason().len()), (4000, 123));
    let close = Close::new(Close::GAP, "é".repeat(100));
    assert_eq!(close.reason().len(), 122);
    let ends: Vec<u16> = [
        1000, 1001, 1002, 1005, 1006, 1008, 4000, 4001, 4002, 4003, 4004,
    ]
    .into_iter()
    .filter(|code| Close::ends_session(*code))
    .collect();
    assert_eq!(ends, [1000, 4001, 4004], "S10");
}
