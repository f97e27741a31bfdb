//! Two processes over loopback, and one of them is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use helve::prelude::*;
use helve::{Connection, Remote, State};
use helve_tests::harness::{limited, until};
use helve_tests::lab::LabHandle;

/// Another process. Killed when it is dropped.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &str, args: &[&str]) -> Process {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("piped");
        Process {
            input: child.stdin.take(),
            output: BufReader::new(output),
            child,
        }
    }

    fn server() -> (Process, String) {
        let mut server = Process::start(env!("CARGO_BIN_EXE_lab-server"), &[]);
        let url = server.line();
        (server, url)
    }

    /// The next line that it prints; it ends with the process at the latest.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable");
        line.trim().to_owned()
    }

    /// kill -9.
    fn kill(&mut self) {
        self.child.kill().expect("killed");
        let status = self.child.wait().expect("gone");
        assert!(!status.success());
    }

    /// Ends its input, and expects it to find nothing leaked.
    fn end(mut self) {
        let mut input = self.input.take().expect("not ended");
        input.flush().expect("open");
        drop(input);
        assert_eq!(self.line(), "clean");
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn connect(url: &str) -> LabHandle {
    // harness: the other end is in another process, which looks for leaks there
    let connect = helve::connect(url);
    limited(connect.into_future()).await.expect("connected")
}

/// Closes, when this side holds nothing any more.
async fn leave(connection: Connection) {
    until("at rest", || {
        let stats = connection.stats();
        stats.exports + stats.imports + stats.opened + stats.calls + stats.incoming == 0
    })
    .await;
    limited(connection.close()).await;
}

/// Waits until so many objects were made at the server, and so many of them are left.
async fn counts(root: &LabHandle, expected: (u64, u64)) {
    let counted = async { while root.census().await != Ok(expected) {} };
    if tokio::time::timeout(Duration::from_secs(30), counted)
        .await
        .is_err()
    {
        panic!("{:?} and not {expected:?}", root.census().await);
    }
}

#[tokio::test]
async fn killing_a_client_releases_all_that_it_held_and_nothing_else() {
    let (server, url) = Process::server();
    let root = connect(&url).await;
    let healthy = limited(root.open()).await.expect("opened");
    counts(&root, (2, 2)).await;

    for round in 1..=3 {
        let mut client = Process::start(env!("CARGO_BIN_EXE_lab-client"), &[&url]);
        assert_eq!(client.line(), "holding");
        // 100 objects and 10 methods at work.
        counts(&root, (2 + round * 110, 2 + 110)).await;
        assert_eq!(
            limited(root.use_kept(7)).await,
            Ok(7),
            "its object is called"
        );

        client.kill();
        counts(&root, (2 + round * 110, 2)).await;
        let error = limited(root.use_kept(7)).await.expect_err("it is gone");
        assert!(error.to_string().contains("SessionLost"), "{error}");
        limited(root.forget()).await.expect("runs");
        assert_eq!(limited(healthy.add(1)).await, Ok(round));
    }

    let connection = root.connection().expect("remote");
    drop((healthy, root));
    leave(connection).await;
    server.end();
}

#[tokio::test]
async fn killing_the_server_gives_each_call_one_outcome_and_breaks_each_handle_once() {
    let (mut server, url) = Process::server();
    let root = connect(&url).await;
    let connection = root.connection().expect("remote");
    let handles = limited(join_all((0..30).map(|_| root.open()))).await;
    let handles: Vec<LabHandle> = handles
        .into_iter()
        .map(|handle| handle.expect("opened"))
        .collect();
    assert_eq!(limited(root.note("accepted").accepted()).await, Ok(()));
    // 40 calls may be open; the rest waits here and is never sent.
    let mut open: Vec<_> = (0..60)
        .map(|n| tokio::spawn(handles[n % 30].hang()))
        .collect();
    until("sixty calls open", || connection.stats().calls >= 60).await;
    let pipelined = root.open_late().pipelined();
    // Behind those calls, in order.
    let mut told = handles[0].note("never");
    let unpolled = root.echo(1);
    let ends: Vec<_> = handles
        .iter()
        .chain([&root, &pipelined])
        .map(|handle| tokio::spawn(handle.closed()))
        .collect();
    tokio::task::yield_now().await;
    assert!(open.iter_mut().all(|call| call.now_or_never().is_none()));
    assert!(ends.iter().all(|end| !end.is_finished()));

    server.kill();
    let outcomes: Vec<RpcError> = limited(join_all(open))
        .await
        .into_iter()
        .map(|outcome| outcome.expect("no panic").expect_err("it never ends"))
        .collect();
    let count = |error: &RpcError| outcomes.iter().filter(|outcome| *outcome == error).count();
    assert_eq!(count(&RpcError::MaybeRan), 40, "{outcomes:?}");
    assert_eq!(count(&RpcError::NotSent), 20, "{outcomes:?}");
    for end in limited(join_all(ends)).await {
        assert_eq!(end.expect("no panic"), RpcError::SessionLost);
    }
    assert_eq!(limited(unpolled).await, Err(RpcError::SessionLost));
    assert_eq!(limited(pipelined.echo(1)).await, Err(RpcError::SessionLost));
    assert_eq!(limited(told.accepted()).await, Err(RpcError::NotSent));
    for handle in handles.iter().chain([&root]) {
        assert_eq!(limited(handle.echo(1)).await, Err(RpcError::SessionLost));
        assert_eq!(limited(handle.closed()).await, RpcError::SessionLost);
        let receipt = limited(handle.note("x").queued()).await;
        assert_eq!(receipt, Err(RpcError::SessionLost));
    }

    let State::Lost { code, reason } = limited(connection.closed()).await else {
        panic!("not lost")
    };
    println!("{code} {reason}");
    assert_eq!(code, 1006);
    assert!(!reason.is_empty());
    drop((handles, root, pipelined, told));
    let stats = connection.stats();
    assert_eq!(
        (stats.exports, stats.imports, stats.calls, stats.incoming),
        (0, 0, 0, 0)
    );
}

#[tokio::test]
async fn a_server_that_is_killed_during_the_handshake_is_reported_at_once() {
    let (mut server, url) = Process::server();
    server.kill();
    // harness: no session begins
    let connect = helve::connect::<LabHandle>(url).timeout(Duration::from_secs(5));
    let error = limited(connect.into_future()).await.expect_err("gone");
    assert!(error.to_string().contains("cannot connect"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_gets_sigterm_lets_run_what_was_called_and_ends() {
    // S9.1, S9.2
    let mut server = Process::start(env!("CARGO_BIN_EXE_lab-server"), &["signal"]);
    let url = server.line();
    let lab = connect(&url).await;
    let connection = lab.connection().expect("remote");
    let held = tokio::spawn(lab.hang());
    until("it hangs", || connection.stats().calls == 1).await;
    assert_eq!(limited(lab.echo(1)).await, Ok(1), "so it has arrived");
    let kill = Command::new("kill")
        .args(["-TERM", &server.child.id().to_string()])
        .status();
    assert!(kill.expect("`kill` runs").success());
    until("told", || {
        matches!(connection.state(), State::Draining { .. })
    })
    .await;
    let late = limited(lab.echo(2)).await.expect_err("too late");
    assert!(late.is_retryable(), "{late:?}");
    // The last call is given up: nothing is left, and the process ends.
    held.abort();
    // This thread goes on meanwhile: the server waits for its acks.
    let ended = tokio::task::spawn_blocking(move || {
        assert_eq!(server.line(), "1 drained, 0 cut");
        assert!(server.child.wait().expect("ended").success());
    });
    limited(ended).await.expect("it ends well");
    let lost = limited(connection.closed()).await;
    assert!(matches!(lost, State::Lost { code: 4004, .. }), "{lost:?}");
}
