//! Calls from code without async: [`Call::wait`], [`connect`], [`wait`] for every other future of this crate.
//!
//! A connection needs a runtime that runs while the caller is blocked. [`connect`] and [`Connect::wait`] have one of
//! their own: a thread in the background, shared by all connections so made, that ends with the last of them.
//! Connections made in async code run on the runtime they were made in, and their handles can be waited on from any
//! thread outside of it, as long as that runtime is being driven by some other thread.
//!
//! ```no_run
//! # use helve::prelude::*;
//! use helve::blocking;
//! use std::time::Duration;
//!
//! # #[interface] pub trait Counter { async fn add(&mut self, n: u64) -> u64; #[oneway] async fn note(&self, text: &str); }
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let counter: CounterHandle = blocking::connect("ws://127.0.0.1:7000")?;
//!     let sum = counter.add(2).deadline(Duration::from_secs(1)).wait()?;
//!     blocking::wait(counter.note("done").accepted())?;
//!     println!("{sum}");
//!     if let Some(connection) = counter.connection() {
//!         blocking::wait(connection.close());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A program that ends without `close` ends its background thread with it, and the server then sees the connection
//! break instead of a goodbye. Callbacks of the server run on that thread: they are async code, and must not wait.

use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use helve_protocol::Code;
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::time::Instant;

use helve_handles::wire::Wire;

use crate::byref::CallMut;
use crate::call::Call;
use crate::client::{Connect, ConnectError};
use crate::error::{CallFailure, RpcError};
use crate::handle::Remote;

/// Connects to a server and returns a handle to its root object; [`helve::connect`](crate::connect) for code without
/// async. `helve::connect(url).token("t").wait()` says more.
///
/// # Errors
/// As connecting in async code, and [`ConnectError::Runtime`].
///
/// # Panics
/// Inside async code.
#[track_caller]
pub fn connect<H: Remote>(url: impl Into<String>) -> Result<H, ConnectError> {
    refuse_async_code();
    connect_on_background(crate::connect(url))
}

/// Blocks this thread until a future is done: a receipt's, `connection.close()`, `handle.closed()`.
///
/// # Panics
/// Inside async code.
#[track_caller]
pub fn wait<F: Future>(future: F) -> F::Output {
    refuse_async_code();
    block_on(future)
}

impl<H: Remote> Connect<H> {
    /// Connects from code without async. The connection runs on a thread in the background, see
    /// [`helve::blocking`](crate::blocking).
    ///
    /// # Errors
    /// As in async code, and [`ConnectError::Runtime`].
    ///
    /// # Panics
    /// Inside async code.
    #[track_caller]
    pub fn wait(self) -> Result<H, ConnectError> {
        refuse_async_code();
        connect_on_background(self)
    }
}

impl<T: Send + 'static, E: CallFailure> Call<T, E> {
    /// Makes the call from code without async: blocks this thread until it is done. The runtime of the connection must
    /// run on another thread, see [`helve::blocking`](crate::blocking).
    ///
    /// # Errors
    /// As the call in async code.
    ///
    /// # Panics
    /// Inside async code, where it would block every other task: write `.await` there.
    #[track_caller]
    pub fn wait(mut self) -> Result<T, E> {
        refuse_async_code();
        let result = run(&mut self, Call::step, Call::gives_up_at);
        result.unwrap_or_else(|Late| {
            self.cancel(Code::Deadline);
            Err(RpcError::Deadline.into())
        })
    }
}

impl<A, T: Wire, E: CallFailure> CallMut<A, T, E> {
    /// Makes the call from code without async, as [`Call::wait`] does.
    ///
    /// # Errors
    /// As the call in async code.
    ///
    /// # Panics
    /// Inside async code, where it would block every other task: write `.await` there.
    #[track_caller]
    pub fn wait(mut self) -> Result<T, E> {
        refuse_async_code();
        let result = run(&mut self, CallMut::step, CallMut::gives_up_at);
        result.unwrap_or_else(|Late| {
            self.cancel(Code::Deadline);
            Err(RpcError::Deadline.into())
        })
    }
}

/// Steps a call until it is done, or until the moment that it gives up at.
fn run<C, R>(
    call: &mut C,
    step: impl Fn(&mut C, &mut Context<'_>) -> Option<R>,
    gives_up_at: impl Fn(&C) -> Option<Instant>,
) -> Result<R, Late> {
    let background = Background::running();
    let _entered = background.as_ref().and_then(Background::enter);
    let parked = Parked::new();
    loop {
        if let Some(result) = parked.poll(|task| step(call, task)) {
            return Ok(result);
        }
        // Without a timer: there may be no runtime here to drive one.
        parked.until(gives_up_at(call))?;
    }
}

/// Tells whoever blocks where it must not what to write instead.
#[track_caller]
fn refuse_async_code() {
    if is_async_code() {
        panic!(
            "`.wait()` was called inside async code, where it would block the thread that all other tasks need: write `.await` \
             instead, or move the blocking code into `tokio::task::spawn_blocking`"
        );
    }
}

/// Async code of tokio runs on a budget, blocking code on tokio's threads has none; other executors say so themselves.
fn is_async_code() -> bool {
    if futures::executor::enter().is_err() {
        return true;
    }
    let Ok(runtime) = Handle::try_current() else {
        return false;
    };
    let mut nobody = Context::from_waker(Waker::noop());
    let budgeted = (0..=u8::MAX).any(|_| match tokio::task::coop::poll_proceed(&mut nobody) {
        Poll::Ready(progress) => {
            progress.made_progress();
            false
        }
        Poll::Pending => true,
    });
    if !budgeted {
        // `tokio::task::unconstrained` takes the budget away. Then this panics, with tokio's words.
        runtime.block_on(std::future::ready(()));
    }
    budgeted
}

fn block_on<F: Future>(future: F) -> F::Output {
    let background = Background::running();
    let _entered = background.as_ref().and_then(Background::enter);
    let mut future = pin!(future);
    let parked = Parked::new();
    loop {
        let polled = parked.poll(|task| match future.as_mut().poll(task) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        });
        if let Some(output) = polled {
            return output;
        }
        // Without a deadline it cannot be late.
        let _ = parked.until(None);
    }
}

/// A thread that sleeps until it is woken.
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Too late.
struct Late;

impl Parked {
    fn new() -> Arc<Parked> {
        Arc::new(Parked {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        })
    }

    fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        poll(&mut Context::from_waker(&Waker::from(self.clone())))
    }

    /// Sleeps until it is woken.
    fn until(&self, deadline: Option<Instant>) -> Result<(), Late> {
        while !self.woken.swap(false, Ordering::Acquire) {
            match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return Err(Late),
                Some(left) => thread::park_timeout(left),
            }
        }
        Ok(())
    }
}

/// The thread behind all connections of blocking code. It ends when the last of these is dropped.
struct Background {
    runtime: Handle,
    /// Its end is what the thread waits for.
    _stop: oneshot::Sender<()>,
}

static BACKGROUND: Mutex<Weak<Background>> = Mutex::new(Weak::new());

impl Background {
    fn running() -> Option<Arc<Background>> {
        let known = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade()
    }

    fn get() -> io::Result<Arc<Background>> {
        let mut known = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = known.upgrade() {
            return Ok(running);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let background = Arc::new(Background {
            runtime: runtime.handle().clone(),
            _stop: stop,
        });
        thread::Builder::new()
            .name("helve-blocking".into())
            .spawn(move || {
                // Nothing is ever sent: it ends when the sender is dropped.
                let _ = runtime.block_on(stopped);
                // What still runs is dropped; a blocking task of the user's may take as long as it likes.
                runtime.shutdown_background();
            })?;
        *known = Arc::downgrade(&background);
        Ok(background)
    }

    /// So that local calls and timers find a runtime, where this thread has none.
    fn enter(self: &Arc<Self>) -> Option<EnterGuard<'_>> {
        Handle::try_current().is_err().then(|| self.runtime.enter())
    }
}

fn connect_on_background<H: Remote>(connect: Connect<H>) -> Result<H, ConnectError> {
    let background = Background::get().map_err(ConnectError::Runtime)?;
    let connecting = background.runtime.spawn(connect.into_future());
    let root = match block_on(connecting) {
        Ok(connected) => connected?,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => return Err(ConnectError::Runtime(io::ErrorKind::Interrupted.into())),
        },
    };
    // The thread stays until the link is gone.
    if let Some(connection) = root.connection() {
        let gone = connection.gone();
        let keep = background.clone();
        background.runtime.spawn(async move {
            gone.await;
            drop(keep);
        });
    }
    Ok(root)
}
