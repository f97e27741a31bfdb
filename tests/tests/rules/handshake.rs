//! Section 7, S1 and S10: the first message each way, and the last.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helve::prelude::*;
use helve::transport::{Close, memory};
use helve::{ConnectError, Limits, Principal, Server, State, Token};
use helve_handles::id::method_id;
use helve_protocol::hello::{Auth, Hello, Reply, Resume, Token as SessionToken, Welcome};
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};
use helve_tests::lab::{LabHandle, MemLab};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::peer::Peer;

fn setup(tracker: &Tracker) -> Setup {
    let root = LabHandle::new(MemLab::new(tracker));
    Setup::new(tracker, move |_| root.clone())
}

fn welcomed(reply: Reply) -> Welcome {
    match reply {
        Reply::Welcome(welcome) => welcome,
        Reply::Refuse(refuse) => panic!("refused: {refuse:?}"),
    }
}

/// A HELLO with this token, which asks for a session that somebody else may have.
fn resuming(auth: &str, session: [u8; 16]) -> Hello {
    Hello {
        auth: Some(Auth::Text(auth.to_owned())),
        resume: Some(Resume {
            session,
            token: SessionToken([9; 32]),
            epoch: 2,
            received: 7,
            oldest: 5,
        }),
        ..Hello::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_says_hello_then_nothing_before_welcome_and_a_batch_right_after_it() {
    // S1.1, S1.6
    let (near, far) = memory::pair();
    let mut server = Peer::new(far);
    // harness: the server is made by hand, and holds nothing
    let connecting = tokio::spawn(helve::connect_over::<LabHandle>(near).into_future());
    let first = limited(server.hear()).await.expect("the link is up");
    Hello::decode(&first).expect("the first message is a HELLO");
    timeout(Duration::from_secs(5), server.hear())
        .await
        .expect_err("nothing before WELCOME");
    let before = Instant::now();
    server.welcome("test.Lab").await;
    let batch = limited(server.hear()).await.expect("the link is up");
    assert_eq!(
        &batch[..],
        [1, 0],
        "an empty batch: next is 1, nothing accepted"
    );
    assert_eq!(before.elapsed(), Duration::ZERO);
    drop(limited(connecting).await.expect("runs").expect("welcomed"));
    assert_eq!(limited(server.closed()).await.0, Close::NORMAL);
}

#[tokio::test(start_paused = true)]
async fn the_root_is_made_before_welcome_and_where_that_fails_the_client_is_refused() {
    // S1.1, S1.13
    let tracker = Tracker::new();
    let (go, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (go.clone(), asked.clone());
    let root = LabHandle::new(MemLab::new(&tracker));
    let harness = setup(&tracker)
        .with(|_| {
            // harness: a root that takes its time, and is handed to it
            Server::builder().root(move |_| {
                let (wait, root) = (wait.clone(), root.clone());
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    wait.notified().await;
                    if first {
                        Ok(root)
                    } else {
                        Err(RpcError::Busy("no more".into()))
                    }
                }
            })
        })
        .memory(Duration::ZERO);

    let mut peer = Peer::silent(&harness);
    peer.say(Hello::default().encode()).await;
    timeout(Duration::from_secs(5), peer.hear())
        .await
        .expect_err("no WELCOME without a root");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    go.notify_one();
    let reply = limited(peer.hear()).await.expect("an answer");
    let welcome = welcomed(Reply::decode(&reply).expect("WELCOME"));
    assert_eq!(welcome.root.as_deref(), Some("test.Lab"));
    peer.close(Close::NORMAL).await;

    go.notify_one();
    let (mut peer, reply) = Peer::greeting(&harness, &Hello::default()).await;
    let Reply::Refuse(refuse) = reply else {
        panic!("welcomed")
    };
    // S1.8: BUSY, and when to ask again.
    assert_eq!((refuse.code, refuse.retry_after.is_some()), (22, true));
    assert!(refuse.message.contains("no more"), "{}", refuse.message);
    assert_eq!(limited(peer.closed()).await.0, Close::REFUSED);
    drop(peer);
    harness.finish().await;
}

#[tokio::test]
async fn every_hello_is_authenticated_and_a_bad_one_leaves_the_session_that_it_names_alone() {
    // S1.12, S1.16
    let tracker = Tracker::new();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    let hook = move |token: Token| {
        let token = token.as_str().map(str::to_owned).unwrap_or_default();
        log.lock().expect("whole").push(token.clone());
        ready(if token == "good" {
            Ok(Principal::new("ann"))
        } else {
            Err(RpcError::Unauthenticated("sign in".into()))
        })
    };
    let harness = setup(&tracker)
        .with(|rooted| rooted.authenticate(hook))
        .memory(Duration::ZERO);
    let hello = Hello {
        auth: Some(Auth::Text("good".into())),
        ..Hello::default()
    };
    let (mut first, reply) = Peer::greeting(&harness, &hello).await;
    let session = welcomed(reply).session;

    for bad in [resuming("bad", session), Hello::default()] {
        let (mut peer, reply) = Peer::greeting(&harness, &bad).await;
        let Reply::Refuse(refuse) = reply else {
            panic!("welcomed")
        };
        assert_eq!(
            (refuse.code, refuse.message.contains("sign in")),
            (20, true)
        );
        assert_eq!(limited(peer.closed()).await.0, Close::REFUSED);
    }
    let (again, reply) = Peer::greeting(&harness, &resuming("good", session)).await;
    assert!(!welcomed(reply).resumed);
    assert_eq!(*asked.lock().expect("whole"), ["good", "bad", "", "good"]);

    let echo = method_id("test.Lab", "echo");
    assert_eq!(first.call(echo, &[0x91, 3]).await, Ok(vec![3]));
    first.close(Close::NORMAL).await;
    again.close(Close::NORMAL).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_resume_is_answered_with_a_fresh_session_that_ends_with_its_link() {
    // S1.7, S1.17
    let tracker = Tracker::new();
    let harness = setup(&tracker).memory(Duration::ZERO);
    let before = tracker.live();
    let (first, reply) = Peer::greeting(&harness, &Hello::default()).await;
    let old = welcomed(reply);
    let (mut peer, reply) = Peer::greeting(&harness, &resuming("", old.session)).await;
    let new = welcomed(reply);
    assert_ne!(new.session, old.session);
    assert!(new.token != old.token);
    let state = (new.resumed, new.epoch, new.received, new.oldest, new.window);
    assert_eq!(state, (false, 1, 0, 1, 0));

    // It holds an object and has a method at work; both go with the link.
    for method in ["open", "hang"] {
        let kind = if method == "open" {
            helve_protocol::frame::CallKind::Open
        } else {
            helve_protocol::frame::CallKind::Call
        };
        let method = method_id("test.Lab", method);
        peer.start(kind, 0, method, &[0x90], &[], &Default::default())
            .await;
    }
    until("both at work", || tracker.live() == before + 2).await;
    drop(peer);
    until("the session ended", || tracker.live() == before).await;
    until("only the other is left", || {
        harness.server_ends().len() <= 1
    })
    .await;
    first.close(Close::NORMAL).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_second_hello_changes_no_limits() {
    // S1.10
    let tracker = Tracker::new();
    let few = Hello {
        limits: Limits::default().with_table(1),
        ..Hello::default()
    };
    let harness = setup(&tracker).memory(Duration::ZERO);
    let (mut peer, reply) = Peer::greeting(&harness, &few).await;
    welcomed(reply);
    let open = method_id("test.Lab", "open");
    peer.call(open, &[0x90]).await.expect("room for one");
    let full = peer.call(open, &[0x90]).await.expect_err("no room for two");
    assert_eq!(full.0, 11, "{full:?}");
    peer.say(Hello::default().encode()).await;
    assert_eq!(limited(peer.closed()).await.0, Close::VIOLATION);
    drop(peer);
    harness.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_over_within_10_s_is_a_violation() {
    // S1.11
    let tracker = Tracker::new();
    let harness = setup(&tracker).memory(Duration::ZERO);
    let (start, mut silent) = (Instant::now(), Peer::silent(&harness));
    let (code, reason) = limited(silent.closed()).await;
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    assert_eq!(code, Close::VIOLATION);
    assert!(reason.starts_with("S1.11: "), "{reason}");
    drop(silent);

    let mut late = Peer::silent(&harness);
    tokio::time::advance(Duration::from_millis(9_990)).await;
    late.say(Hello::default().encode()).await;
    welcomed(Reply::decode(&limited(late.hear()).await.expect("in time")).expect("WELCOME"));
    late.close(Close::NORMAL).await;
    harness.finish().await;

    // The other way round: a server that never answers.
    let (near, far) = memory::pair();
    let (start, mut server) = (Instant::now(), Peer::new(far));
    // harness: no session begins
    let connect = helve::connect_over::<LabHandle>(near);
    let error = limited(connect.into_future()).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout), "{error:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let hello = limited(server.hear()).await.expect("it was said");
    Hello::decode(&hello).expect("a HELLO");
    limited(server.hear()).await.expect_err("the link is gone");
}

#[tokio::test]
async fn every_end_of_a_link_ends_the_session_where_there_is_no_resume() {
    // S10.1
    for code in [1000, 1001, 4000, 4001, 4002, 4003, 4004, 4999] {
        assert_eq!(
            Close::ends_session(code),
            matches!(code, 1000 | 4001 | 4004),
            "{code}"
        );
        let tracker = Tracker::new();
        let harness = setup(&tracker).memory(Duration::ZERO);
        let before = tracker.live();
        let mut peer = Peer::welcomed(&harness).await;
        let hang = method_id("test.Lab", "hang");
        let none = Default::default();
        peer.start(
            helve_protocol::frame::CallKind::Call,
            0,
            hang,
            &[0x90],
            &[],
            &none,
        )
        .await;
        until("at work", || tracker.live() == before + 1).await;
        let end = harness.server_ends().pop().expect("a session");
        peer.close(code).await;
        let State::Lost { code: seen, .. } = limited(end.closed()).await else {
            panic!("it goes on")
        };
        drop(end);
        assert_eq!(seen, code);
        until("stopped", || tracker.live() == before).await;
        harness.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_closes_with_1000_when_its_frames_are_acked_or_after_5_s() {
    // S10.2
    for acks in [true, false] {
        let (mut server, client) = Peer::serving().await;
        limited(client.note("a").queued()).await.expect("sent");
        server.frame().await;
        drop(client);
        let left = Instant::now();
        if acks {
            timeout(Duration::from_secs(2), server.closed())
                .await
                .expect_err("its frames are not acked");
            server.ack().await;
        }
        assert_eq!(limited(server.closed()).await, (1000, String::new()));
        let expected = if acks { 2 } else { 5 };
        assert_eq!(
            left.elapsed(),
            Duration::from_secs(expected),
            "acks: {acks}"
        );
    }
}

#[tokio::test]
async fn a_server_that_ends_a_session_on_purpose_says_1000() {
    // S10.2
    let tracker = Tracker::new();
    let harness: Harness = setup(&tracker).memory(Duration::ZERO);
    let mut peer = Peer::welcomed(&harness).await;
    let echo = method_id("test.Lab", "echo");
    assert_eq!(peer.call(echo, &[0x91, 3]).await, Ok(vec![3]));
    peer.ack().await;
    let end = harness.server_ends().pop().expect("a session");
    let (closed, ()) = limited(async {
        tokio::join!(
            async {
                let close = peer.closed().await;
                drop(peer);
                close
            },
            end.close()
        )
    })
    .await;
    assert_eq!(closed, (Close::NORMAL, String::new()));
    drop(end);
    harness.finish().await;
}
