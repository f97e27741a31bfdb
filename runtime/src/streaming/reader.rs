//! A stream of a peer's, read here.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use helve_handles::wire::Wire;
use helve_protocol::session::{ImportKey, Pulled};

use crate::args::Args;
use crate::caps::InCaps;
use crate::connection::{Conn, RemoteRef};
use crate::error::RpcError;

/// The reading end. Dropping it releases the stream, and what came of it and was not read.
pub(super) struct Reader {
    remote: Arc<RemoteRef>,
    /// What is left of the DATA that is being read.
    items: Option<Args>,
}

impl Reader {
    /// Takes over one reference of the session's.
    pub(super) fn new(conn: Arc<Conn>, key: ImportKey) -> Reader {
        Reader::of(RemoteRef::new(conn, key, || &super::producer::STREAM))
    }

    /// Reads what this reference names.
    pub(super) fn of(remote: Arc<RemoteRef>) -> Reader {
        Reader {
            remote,
            items: None,
        }
    }

    pub(super) fn poll<T: Wire>(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<T, RpcError>>> {
        loop {
            if let Some(items) = &self.items {
                if items.left() > 0 {
                    return Poll::Ready(Some(items.take_value()));
                }
                self.items = None;
            }
            let RemoteRef { conn, key, .. } = &*self.remote;
            match ready!(conn.with(|session| session.poll_items(*key, task.waker()))) {
                Pulled::Items(items, caps) => {
                    self.items = Some(Args::new(items, InCaps::new(conn, caps, None)));
                }
                Pulled::End(fault) => {
                    return Poll::Ready(fault.map(|fault| Err(RpcError::from_fault(&fault))));
                }
            }
        }
    }
}
