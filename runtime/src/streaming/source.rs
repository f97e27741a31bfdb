//! A stream of this process: user code, polled in a context of its own. Its panics end it and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use futures::stream::BoxStream;

use crate::call::panicked;
use crate::context::Cx;
use crate::error::RpcError;

/// Values of this process.
pub(super) struct Source<T> {
    values: Option<BoxStream<'static, Result<T, RpcError>>>,
    /// In which it is polled: that of whoever made it, without the deadline, which is not its own.
    cx: Option<Cx>,
    started: bool,
}

impl<T> Source<T> {
    pub(super) fn new(values: BoxStream<'static, Result<T, RpcError>>) -> Self {
        Source {
            values: Some(values),
            cx: Some(Cx::current().without_deadline()),
            started: false,
        }
    }

    /// It goes out with a call that is made here: the calls that it makes are deeper than that one, which may wait for
    /// it (R13.17).
    pub(super) fn carried(mut self) -> Self {
        let by = Cx::of_call();
        self.cx = self.cx.take().map(|cx| cx.below(by));
        self.started = true;
        self
    }

    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<T, RpcError>>> {
        if !self.started {
            // Read where it was made, or handed over without a wire: deeper than its reader.
            self.started = true;
            if let Some(reader) = Cx::try_current() {
                let by = reader.as_call();
                self.cx = self.cx.take().map(|cx| cx.below(by));
            }
        }
        let Some(values) = &mut self.values else {
            return Poll::Ready(None);
        };
        let next = || Cx::enter(&mut self.cx, || values.as_mut().poll_next(task));
        let next = catch_unwind(AssertUnwindSafe(next))
            .unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked(&*panic)))));
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.end();
        }
        next
    }

    fn end(&mut self) {
        let values = self.values.take();
        if catch_unwind(AssertUnwindSafe(|| drop(values))).is_err() {
            tracing::error!("the `Drop` of a stream panicked");
        }
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        self.end();
    }
}
