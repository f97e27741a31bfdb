//! [`Receipt`]: what is known of a one-way call. Made by generated code, beside [`Call`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use helve_protocol::blob::Body;
use helve_protocol::session::{Cap, ReceiptKey, Session};

use super::{Call, State, Unsent, outgoing};
use crate::caps::OutCaps;
use crate::connection::RemoteRef;
use crate::context::Cx;
use crate::error::RpcError;
use crate::observe::Calling;

/// What is known of a one-way call. It is on its way already; dropping this changes nothing.
#[derive(Debug)]
pub struct Receipt(Track);

enum Track {
    Failed(RpcError),
    Done,
    Local(Call<()>),
    /// It is numbered.
    Sent {
        remote: Arc<RemoteRef>,
        seq: u64,
        /// So much waits for the link that who sends on should let the connection task run first.
        crowded: bool,
    },
    /// It waited for a permit when last looked at.
    Waiting {
        remote: Arc<RemoteRef>,
        key: ReceiptKey,
    },
}

impl Receipt {
    pub(crate) fn failed(error: RpcError) -> Receipt {
        Receipt(Track::Failed(error))
    }

    #[inline]
    pub(crate) fn remote(
        remote: Arc<RemoteRef>,
        method: u32,
        args: Body<'_>,
        caps: Option<&OutCaps>,
    ) -> Receipt {
        let cx = Cx::of_call();
        let own = caps.and_then(|caps| caps.trace.as_ref());
        let calling = Calling::new(&remote, method, &cx, own);
        // Nobody waits for it, so nobody's deadline ends it.
        let out = outgoing(args, caps, &remote, method, &cx, None, calling.as_deref());
        if out.caps.iter().any(|cap| matches!(cap, Cap::Lent(_))) {
            return Receipt::failed(RpcError::Encode(
                "a one-way call has no end, so nothing can be lent to it".into(),
            ));
        }
        let plain =
            |session: &mut Session<_>| Some((session.tell_plain(&out)?, session.is_crowded()));
        let Some((seq, crowded)) = remote.conn.with(plain) else {
            let told =
                (remote.conn).with(|session| Ok((session.tell(&out)?, session.is_crowded())));
            if let Some(calling) = calling {
                calling.sent(told.as_ref().err());
            }
            return match told {
                Ok((ReceiptKey::Sent(seq), crowded)) => Receipt::sent(remote, seq, crowded),
                Ok((key, _)) => Receipt(Track::Waiting { remote, key }),
                Err(fault) => Receipt::failed(RpcError::from_fault(&fault)),
            };
        };
        if let Some(calling) = calling {
            calling.sent(None);
        }
        Receipt::sent(remote, seq, crowded)
    }

    #[inline(always)]
    fn sent(remote: Arc<RemoteRef>, seq: u64, crowded: bool) -> Receipt {
        Receipt(Track::Sent {
            remote,
            seq,
            crowded,
        })
    }

    /// Starts a call of a local object at once. If it waits, it goes on by itself.
    pub(crate) fn local(mut call: Call<()>) -> Receipt {
        let task = &mut Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut call).poll(task);
        let polled = if Cx::of_call().deadline.is_some() {
            Cx::enter(&mut Some(Cx::current().without_deadline()), poll)
        } else {
            poll()
        };
        Receipt(match polled {
            Poll::Ready(Ok(())) => Track::Done,
            Poll::Ready(Err(error)) => Track::Failed(error),
            Poll::Pending => Track::Local(call),
        })
    }

    /// Waits until the call is in the queue of the connection: the polite way to send many. Where enough for a message is
    /// there by then, it also lets other tasks run once, the connection's among them.
    ///
    /// # Errors
    /// It was not sent: a broken handle, too many one-way calls waiting here (`Exhausted`), or a session that is over.
    pub async fn queued(&mut self) -> Result<(), RpcError> {
        match &mut self.0 {
            // It is. Where a message waits for the link by now, others run first: a task that never has to wait
            // would else fill all the memory that there is for calls on their way before the first of them leaves.
            Track::Sent { crowded, .. } => {
                if std::mem::take(crowded) {
                    pass().await;
                }
                Ok(())
            }
            _ => self.reached(false).await,
        }
    }

    /// Waits until the peer has acknowledged the call: it is in its session, and will run unless the session ends before.
    /// Whoever closes the connection [`flush`](crate::Remote::flush)es first.
    ///
    /// # Errors
    /// As [`queued`](Self::queued); `MaybeRan` where the session ended before the acknowledgement.
    pub async fn accepted(&mut self) -> Result<(), RpcError> {
        self.reached(true).await
    }

    /// Waits until the method has ended, and all earlier one-way calls on the same handle.
    ///
    /// # Errors
    /// The first error of these calls since the last flush, which it clears; else as [`accepted`](Self::accepted).
    pub async fn handled(&mut self) -> Result<(), RpcError> {
        self.queued().await?;
        match &mut self.0 {
            Track::Sent { remote, .. } | Track::Waiting { remote, .. } => {
                let flush = helve_handles::id::method_id("helve.Object", "flush");
                let unsent = Unsent::new(&mut vec![0x90], None);
                Call::<(), RpcError>::remote(remote.clone(), None, flush, unsent).await
            }
            Track::Local(call) => {
                let result = call.await;
                self.0 = result.clone().map_or_else(Track::Failed, |()| Track::Done);
                result
            }
            Track::Failed(error) => Err(error.clone()),
            Track::Done => Ok(()),
        }
    }

    async fn reached(&mut self, accepted: bool) -> Result<(), RpcError> {
        match &mut self.0 {
            Track::Failed(error) => Err(error.clone()),
            Track::Done | Track::Local(_) => Ok(()),
            Track::Sent { remote, seq, .. } => {
                reach(remote, &mut ReceiptKey::Sent(*seq), accepted).await
            }
            Track::Waiting { remote, key } => reach(remote, key, accepted).await,
        }
    }
}

/// Waits until a call is numbered, or accepted.
async fn reach(remote: &RemoteRef, key: &mut ReceiptKey, accepted: bool) -> Result<(), RpcError> {
    let reached = std::future::poll_fn(|task| {
        remote
            .conn
            .with(|session| session.poll_receipt(key, accepted, task.waker()))
    });
    reached.await.map_err(|fault| RpcError::from_fault(&fault))
}

/// Lets other tasks run, once.
fn pass() -> impl Future<Output = ()> {
    let mut passed = false;
    std::future::poll_fn(move |task| {
        if std::mem::replace(&mut passed, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
}

impl Drop for Receipt {
    #[inline]
    fn drop(&mut self) {
        match &mut self.0 {
            Track::Waiting {
                remote,
                key: key @ ReceiptKey::Waiting(_),
            } => {
                let key = *key;
                remote.conn.with(|session| session.forget_receipt(key));
            }
            // The method goes on: a dropped `Call` would stop it.
            Track::Local(call) => call.state = State::Done,
            _ => {}
        }
    }
}

impl std::fmt::Debug for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Track::Failed(error) => write!(f, "failed: {error}"),
            Track::Done => f.write_str("done"),
            Track::Local(_) => f.write_str("running"),
            Track::Waiting {
                key: ReceiptKey::Waiting(_),
                ..
            } => f.write_str("waiting"),
            Track::Waiting {
                key: ReceiptKey::Sent(seq),
                ..
            }
            | Track::Sent { seq, .. } => write!(f, "queued as {seq}"),
        }
    }
}
