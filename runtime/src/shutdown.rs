//! Going away well (S9): clients are told, what runs ends, and a hard end bounds it all. Called by who owns a server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::connection::Conn;
use crate::server::{Host, Server};
use crate::stats::State;
use crate::transport::Close;

/// How long a peer has to hear the last Close after the hard end.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a shutdown went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Shutdown {
    /// Sessions that ended by themselves: all that their clients had called was answered.
    pub drained: usize,
    /// Sessions that were cut at the hard end, with calls still running.
    pub cut: usize,
}

impl Host {
    /// Takes no further client, tells those who are there (DRAIN, S9), lets run what they have called, and closes each
    /// connection when it is done, all of them after `grace`.
    ///
    /// Calls that a client makes after it heard get `Unavailable`: they did not run, and may be made again elsewhere.
    /// Streams are not waited for.
    ///
    /// ```no_run
    /// # use helve::prelude::*;
    /// # use std::time::Duration;
    /// # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
    /// # async fn f(server: helve::Server) {
    /// let host = server.host();
    /// tokio::spawn(server.run());
    /// // ...
    /// let done = host.shutdown(Duration::from_secs(10)).await;
    /// println!("{} clients were served to the end, {} were cut", done.drained, done.cut);
    /// # }
    /// ```
    pub async fn shutdown(&self, grace: Duration) -> Shutdown {
        let until = Instant::now() + grace;
        self.stop();
        let sessions = self.sessions();
        for session in &sessions {
            session.drain(grace);
        }
        let ended = sessions.iter().map(|session| over(session, until));
        let drained = join_all(ended).await;
        for session in &sessions {
            cut(session);
        }
        let farewell = Instant::now() + FAREWELL;
        join_all(sessions.iter().map(|session| unlinked(session, farewell))).await;
        let cut = drained.iter().filter(|drained| !**drained).count();
        Shutdown {
            drained: drained.len() - cut,
            cut,
        }
    }
}

impl Server {
    /// As [`run`](Server::run), until `signal` comes; then as [`Host::shutdown`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn f(server: helve::Server) {
    /// // Ends within 10 s of SIGTERM or Ctrl-C.
    /// server.run_until(helve::terminated(), Duration::from_secs(10)).await;
    /// # }
    /// ```
    pub async fn run_until(self, signal: impl Future<Output = ()>, grace: Duration) -> Shutdown {
        let host = self.host();
        let run = self.run();
        let signal = async {
            signal.await;
            host.shutdown(grace).await
        };
        tokio::select! {
            biased;
            done = signal => done,
            () = run => Shutdown::default(),
        }
    }
}

/// Waits for the end of a session. Whether it came in time.
async fn over(session: &Arc<Conn>, until: Instant) -> bool {
    let mut state = session.state.subscribe();
    let lost = state.wait_for(|state| matches!(state, State::Lost { .. }));
    timeout_at(until, lost).await.is_ok()
}

/// The hard end: what still runs is stopped, whether or not the peer reads.
fn cut(session: &Arc<Conn>) {
    if matches!(*session.state.borrow(), State::Lost { .. }) {
        return;
    }
    let reason = "the server was shut down";
    session.end(Close::DRAINED, reason);
    session.close(Close::new(Close::DRAINED, reason));
}

async fn unlinked(session: &Arc<Conn>, until: Instant) {
    let mut gone = session.unlinked.subscribe();
    // Whoever has not heard by then will find the link closed.
    let _ = timeout_at(until, gone.wait_for(|gone| *gone)).await;
}

/// Ready when the process is asked to end: SIGTERM or SIGINT (Ctrl-C).
///
/// Where signals cannot be listened to it says so in the log, and never is ready.
pub async fn terminated() {
    if let Err(error) = signalled().await {
        tracing::error!(%error, "cannot listen for signals");
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn signalled() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
