//! Futures that are dropped after some polls: cancelled at every point where they may be.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::harness::{Harness, limited};

/// Polls a future `polls` times and drops it; whether it came to its end.
pub struct Impatient<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> Impatient<F> {
    /// Drops `future` after so many polls.
    pub fn new(future: F, polls: usize) -> Self {
        Impatient {
            future: Some(Box::pin(future)),
            polls,
        }
    }
}

impl<F: Future> Future for Impatient<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if self.polls == 0 {
            self.future = None;
            return Poll::Ready(false);
        }
        self.polls -= 1;
        let Some(future) = &mut self.future else {
            return Poll::Ready(false);
        };
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Drops the future after 0, 1, 2 .. polls, until one of them ends; every time both tables are empty afterwards.
///
/// # Panics
/// When it never ends, or something is left in a table.
pub async fn dropped_at_every_poll<F: Future>(harness: &Harness, mut make: impl FnMut() -> F) {
    for polls in 0..10_000 {
        let ended = limited(Impatient::new(make(), polls)).await;
        harness.rest().await;
        if ended {
            assert!(polls > 0);
            return;
        }
    }
    panic!("it never ended");
}
