//! [`Replica`]: a copy that follows a shared value. What comes is applied by the connection's task, or, while somebody
//! looks at the copy, by the last one who does: nobody waits for a reader.
//!
//! `copy` is that copy and its subscription, `applying` how what comes gets into it.

mod applying;
mod copy;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;
use helve_handles::shared::Payload;
use helve_handles::track::Track;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::calls;
use super::draft::{Draft, Mode};
use super::host::Hosted;
use super::hub::Publisher;
use crate::connection::RemoteRef;
use crate::error::RpcError;

use copy::{Core, Origin, Remote};
pub(crate) use copy::{Following, Sink};
pub(super) use copy::{Misfits, WINDOW};

/// A copy of a [`Shared`](super::Shared) value that follows it. Clone it freely: clones look at the same copy.
///
/// When the last one is dropped nothing comes any more.
///
/// # Example
/// ```
/// use helve::prelude::*;
/// use helve::{Mode, Replica, Shared};
///
/// # async fn f(board: Shared<Vec<u32>>) -> Result<(), RpcError> {
/// let mut replica: Replica<Vec<u32>> = board.replica().await?;
/// println!("{} numbers", replica.read(|numbers| numbers.len())?);
///
/// // Whenever something changes:
/// while let Ok(rev) = replica.changed().await {
///     println!("revision {rev}: {:?}", replica.read(|numbers| numbers.first().copied())?);
/// }
///
/// // A change from here, where the host allows it.
/// let mut draft = replica.draft()?;
/// draft.push(7);
/// draft.propose(Mode::Strict).await?;
/// # Ok(())
/// # }
/// ```
pub struct Replica<T: Track> {
    core: Arc<Core<T>>,
    status: watch::Receiver<Status>,
    /// What `changed` told last.
    seen: (u64, u64),
}

/// Whether a replica follows.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ReplicaState {
    /// All of the value is on its way: the first time, or because what came did not fit.
    Waiting,
    /// It follows.
    Live,
    /// Nothing comes any more, for this reason; the value stays readable as it was last.
    Ended(RpcError),
}

#[derive(Clone, Debug)]
struct Status {
    state: ReplicaState,
    epoch: u64,
    rev: u64,
}

impl<T: Track> Replica<T> {
    fn of(core: Arc<Core<T>>) -> Replica<T> {
        Replica {
            status: core.status.subscribe(),
            core,
            seen: (0, 0),
        }
    }

    /// Of a value of this process.
    pub(super) async fn here(hosted: Arc<Hosted<T>>) -> Result<Replica<T>, RpcError> {
        hosted.history().await?;
        let core = Core::new(Origin::Here(hosted.clone(), OnceLock::new()));
        let sink: Weak<dyn Sink> = Arc::downgrade(&core) as Weak<dyn Sink>;
        let place = hosted.hub().add_here(sink, None);
        if let Origin::Here(_, kept) = &core.origin {
            _ = kept.set(place);
        }
        hosted.hub().tell(&*hosted, place);
        Replica::of(core).begun().await
    }

    /// Of a peer's.
    pub(super) async fn there(reference: Arc<RemoteRef>) -> Result<Replica<T>, RpcError> {
        let conn = reference.conn.clone();
        let import = reference.key;
        let core = conn.followed(import, || {
            let remote = Remote {
                reference,
                runtime: Handle::current(),
                state: Mutex::default(),
            };
            let core: Arc<Core<T>> = Core::new(Origin::There(remote));
            core
        });
        let core = core.any().downcast::<Core<T>>().map_err(|_| {
            let why = "the same value is followed here as another type";
            RpcError::Incompatible(why.to_owned())
        })?;
        core.follow(None)?;
        Replica::of(core).begun().await
    }

    /// Waits until the value is there.
    async fn begun(mut self) -> Result<Replica<T>, RpcError> {
        let begun = |status: &Status| status.state != ReplicaState::Waiting;
        let status = match self.status.wait_for(begun).await {
            Ok(status) => status.clone(),
            Err(_) => return Err(RpcError::SessionLost),
        };
        self.seen = (status.epoch, status.rev);
        match ended(&status) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Looks at the value. What comes meanwhile is applied afterwards: do not look for long.
    ///
    /// # Errors
    /// [`RpcError::NeedSnapshot`]: what came last did not fit, and all of the value is on its way.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, RpcError> {
        // Dropped last, also when `look` panics.
        let _drain = Drain(&self.core);
        let follower = self
            .core
            .follower
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        follower.value().map(look).ok_or(RpcError::NeedSnapshot)
    }

    /// The revision of the value here.
    pub fn rev(&self) -> u64 {
        self.status.borrow().rev
    }

    /// Whether it follows.
    pub fn state(&self) -> ReplicaState {
        self.status.borrow().state.clone()
    }

    /// Waits until the value is at another revision than this clone has seen, and returns that.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub async fn changed(&mut self) -> Result<u64, RpcError> {
        let seen = self.seen;
        let status = self
            .until(|status| (status.epoch, status.rev) != seen)
            .await?;
        self.seen = (status.epoch, status.rev);
        Ok(status.rev)
    }

    /// Waits until the value is at this revision or a later one, and returns which.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub async fn at_least(&self, rev: u64) -> Result<u64, RpcError> {
        let status = self.clone().until(|status| status.rev >= rev).await?;
        Ok(status.rev)
    }

    async fn until(&mut self, reached: impl Fn(&Status) -> bool) -> Result<Status, RpcError> {
        let enough = |status: &Status| reached(status) || ended(status).is_some();
        let status = match self.status.wait_for(enough).await {
            Ok(status) => status.clone(),
            Err(_) => return Err(RpcError::SessionLost),
        };
        match ended(&status) {
            Some(error) if !reached(&status) => Err(error),
            _ => Ok(status),
        }
    }

    /// The revisions from now on, as a stream; what passes faster than it is read is left out. Its last item says why
    /// nothing comes any more.
    pub fn revisions(&self) -> Revisions {
        let following = self.clone();
        let next = |mut following: Option<Replica<T>>| async move {
            let rev = following.as_mut()?.changed().await;
            if rev.is_err() {
                following = None;
            }
            Some((rev, following))
        };
        Revisions(Box::pin(futures::stream::unfold(Some(following), next)))
    }

    /// A copy of the value to be changed and proposed to the host.
    ///
    /// # Errors
    /// As [`read`](Self::read). [`RpcError::Incompatible`]: the host has another version of the type.
    pub fn draft(&self) -> Result<Draft<T>, RpcError> {
        let _drain = Drain(&self.core);
        let follower = self
            .core
            .follower
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if follower.is_translated() {
            let why =
                "the host has another version of the type, which a draft of this one would not fit";
            return Err(RpcError::Incompatible(why.to_owned()));
        }
        let draft = follower.value().cloned().zip(follower.have());
        drop(follower);
        let (value, base) = draft.ok_or(RpcError::NeedSnapshot)?;
        Ok(Draft::new(self.clone(), value, base))
    }

    /// Drafts, changes and proposes until it comes through: again and again where the value has changed meanwhile.
    ///
    /// # Errors
    /// Those of [`Draft::propose`] but [`RpcError::Conflict`].
    pub async fn transact(&self, mut change: impl FnMut(&mut T)) -> Result<u64, RpcError> {
        loop {
            let mut draft = self.draft()?;
            let base = draft.base();
            change(&mut draft);
            match draft.propose(Mode::Disjoint).await {
                Err(RpcError::Conflict) => _ = self.at_least(base + 1).await?,
                done => return done,
            }
        }
    }

    pub(super) async fn propose(
        &self,
        base: u64,
        mode: Mode,
        node: Payload,
    ) -> Result<u64, RpcError> {
        let rev = match &self.core.origin {
            Origin::Here(hosted, _) => {
                let cx = crate::context::Cx::current();
                hosted.clone().propose(base, mode, node, &cx).await?
            }
            Origin::There(remote) => {
                calls::propose(remote.reference.clone(), base, mode, &node).await?
            }
        };
        // Its own change is here before the caller goes on (R10).
        self.at_least(rev).await
    }
}

/// Applies, when it is dropped, what came while somebody looked.
struct Drain<'a, T: Track>(&'a Core<T>);

impl<T: Track> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.0.drain();
    }
}

fn ended(status: &Status) -> Option<RpcError> {
    match &status.state {
        ReplicaState::Ended(error) => Some(error.clone()),
        _ => None,
    }
}

impl<T: Track> Clone for Replica<T> {
    fn clone(&self) -> Self {
        Replica {
            core: self.core.clone(),
            status: self.status.clone(),
            seen: self.seen,
        }
    }
}

impl<T: Track> fmt::Debug for Replica<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.borrow();
        f.debug_struct("Replica")
            .field("rev", &status.rev)
            .field("state", &status.state)
            .finish_non_exhaustive()
    }
}

/// The revisions of a replica; see [`Replica::revisions`].
#[must_use = "a stream does nothing unless it is read"]
pub struct Revisions(BoxStream<'static, Result<u64, RpcError>>);

impl Stream for Revisions {
    type Item = Result<u64, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(task)
    }
}

impl fmt::Debug for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revisions")
    }
}
