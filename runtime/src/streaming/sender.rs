//! [`StreamSender`]: a stream out of what a task sends.

use helve_handles::wire::Wire;
use tokio::sync::mpsc;

use super::Streaming;
use crate::error::RpcError;

/// Sends the values of a stream. Dropping it ends the stream well; [`fail`](Self::fail) ends it with an error.
pub struct StreamSender<T>(mpsc::Sender<Result<T, RpcError>>);

/// Nobody reads the stream any more: it was dropped, or the connection to its reader is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("nobody reads the stream any more")]
pub struct StreamClosed;

impl From<StreamClosed> for RpcError {
    fn from(_: StreamClosed) -> RpcError {
        RpcError::Cancelled
    }
}

pub(super) fn channel<T: Wire>(ahead: usize) -> (StreamSender<T>, Streaming<T>) {
    let (sender, mut receiver) = mpsc::channel(ahead.max(1));
    let values = futures::stream::poll_fn(move |task| receiver.poll_recv(task));
    (StreamSender(sender), Streaming::try_new(values))
}

impl<T: Wire> StreamSender<T> {
    /// Sends a value, and waits while the reader is too far behind. Dropped while it waits, it has not sent the value.
    ///
    /// # Errors
    /// Nobody reads any more; the value is dropped.
    pub async fn send(&self, value: T) -> Result<(), StreamClosed> {
        self.0.send(Ok(value)).await.map_err(|_| StreamClosed)
    }

    /// Ends the stream with an error, which its reader gets behind all that was sent.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub async fn fail(self, error: RpcError) -> Result<(), StreamClosed> {
        self.0.send(Err(error)).await.map_err(|_| StreamClosed)
    }

    /// Waits until nobody reads any more: to stop work whose results are not wanted.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T> std::fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSender")
            .field("closed", &self.0.is_closed())
            .finish()
    }
}
