//! [`Shared`]: a value that lives here and is followed from elsewhere. Its host changes it in plain Rust; every
//! [`Replica`] gets what changed.
//!
//! `host` is the side where the value lives, `hub` who follows it, `edit` the guard of an edit, `replica` the side that
//! follows, `draft` a change made there, `follows` what a connection knows of both, `rates` what it may get wrong, `refs`
//! the handles inside such values, `forward` a value on its way from one session to others.

mod calls;
mod draft;
mod edit;
mod follows;
mod forward;
mod host;
mod hub;
mod lens;
mod part;
mod rates;
pub(crate) mod refs;
mod replica;

use std::fmt;
use std::time::Duration;

use helve_handles::lease::Lease;
use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
use helve_handles::schema::{InterfaceDesc, TypeDesc, TypeRef};
use helve_handles::track::Track;
use helve_handles::wire::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::Call;
use crate::context::Cx;
use crate::error::{CallError, RpcError};
use crate::handle::{Lives, Ref, Remote};

pub use draft::{Draft, Mode};
pub use edit::SharedEdit;
pub use part::Part;
pub use replica::{Replica, ReplicaState, Revisions};

pub(crate) use calls::{Described, describe};
pub(crate) use follows::Follows;
pub(crate) use forward::{Forwarded, changed_through};
pub(crate) use host::{Hosted, note_changes, take_changes};
pub(crate) use hub::Publisher;

/// What a shared value is called where an interface is asked for. Its methods are built in.
pub(crate) static SHARED: InterfaceDesc = InterfaceDesc {
    id: "helve.Shared",
    docs: "",
    methods: &[],
};

/// A value that lives at its host and is followed from anywhere: a handle like any other. Clone it, send it as an
/// argument, a result, or a part of one.
///
/// At the host: [`read`](Self::read), [`update`](Self::update), [`change`](Self::change), [`edit`](Self::edit). Anywhere:
/// [`replica`](Self::replica).
///
/// # Example
/// ```
/// use helve::prelude::*;
/// use helve::Shared;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), RpcError> {
/// let score = Shared::new((0_u32, String::from("nobody")));
/// let mut replica = score.replica().await?;
///
/// score.change(|score| score.0 += 1).await?;
/// replica.at_least(2).await?;
/// assert_eq!(replica.read(|score| score.0)?, 1);
/// # Ok(())
/// # }
/// ```
pub struct Shared<T: Track>(Ref<Hosted<T>>);

impl<T: Track> Shared<T> {
    /// A value that lives here, of at most 16 MiB on the wire. Nobody but its host may change it.
    pub fn new(value: T) -> Shared<T> {
        Shared::builder(value).build()
    }

    /// The same, to be set up.
    pub fn builder(value: T) -> SharedBuilder<T> {
        SharedBuilder {
            value,
            limit: helve_handles::shared::VALUE_MAX,
            min_interval: Duration::ZERO,
            proposals: None,
        }
    }

    /// Looks at the value, where it lives. Waits while it is being edited.
    ///
    /// # Errors
    /// It lives elsewhere: [`replica`](Self::replica). [`RpcError::Reentrant`]: this call is editing it.
    pub async fn read<R>(&self, look: impl FnOnce(&T) -> R) -> Result<R, RpcError> {
        let hosted = self.0.to_local()?.object;
        let value = hosted.object().read(&Cx::current()).await?;
        Ok(look(&value))
    }

    /// The revision of the value, where it lives. Waits while it is being edited.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn rev(&self) -> Result<u64, RpcError> {
        let hosted = self.0.to_local()?.object;
        let value = hosted.object().read(&Cx::current()).await?;
        Ok(value.rev())
    }

    /// Changes the value, where it lives; commits where `change` returns `Ok`. If it fails or panics nothing has
    /// happened, and nobody hears of it. Others wait meanwhile, so it cannot wait itself; see [`edit`](Self::edit).
    ///
    /// # Errors
    /// Its own as [`CallError::App`]. The value lives elsewhere; what was made cannot be sent, or is too large
    /// ([`RpcError::Exhausted`]); [`RpcError::Reentrant`]: this call is editing it.
    pub async fn update<R, E>(
        &self,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, CallError<E>> {
        let mut edit = self.edit().await?;
        let result = change(&mut edit).map_err(CallError::App)?;
        edit.commit()?;
        Ok(result)
    }

    /// As [`update`](Self::update), with a change that cannot fail.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, RpcError> {
        let mut edit = self.edit().await?;
        let result = change(&mut edit);
        edit.commit()?;
        Ok(result)
    }

    /// Begins an edit, where the value lives: a guard that is the value. Dropped without
    /// [`commit`](SharedEdit::commit) it takes back what was done. Edits wait for one another in line; who follows is
    /// served meanwhile with what was before.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn edit(&self) -> Result<SharedEdit<T>, RpcError> {
        let hosted = self.0.to_local()?.object;
        SharedEdit::begin(hosted).await
    }

    /// A copy that follows the value from now on, wherever that lives. All replicas of one value in a process share one
    /// copy for each connection.
    ///
    /// # Errors
    /// [`RpcError::Incompatible`]: the host's type is another. The handle is broken, or lent; a limit is reached.
    pub async fn replica(&self) -> Result<Replica<T>, RpcError> {
        match self.0.lives().await? {
            Lives::Here(local) => Replica::here(local.object).await,
            Lives::There(remote) => Replica::there(remote).await,
        }
    }

    /// A part of a value that lives elsewhere, as a value of its own: what is followed there comes alone. `None` where the
    /// part is not there. Its revisions are those of the whole; what is drafted there is proposed to the whole.
    ///
    /// # Errors
    /// In the call: the path leads nowhere ([`RpcError::Decode`]), or to what this session may not see
    /// ([`RpcError::Denied`]). The value lives here: [`read`](Self::read) it.
    ///
    /// # Example
    /// ```
    /// use helve::prelude::*;
    /// use helve::track::Map;
    /// use helve::{Part, Shared};
    ///
    /// # #[derive(Wire, Track, Clone)] struct Cell { score: f64 }
    /// # #[derive(Wire, Track, Clone)] struct Doc { cells: Map<u32, Cell> }
    /// # async fn f(doc: Shared<Doc>) -> Result<(), RpcError> {
    /// let cell: Shared<Option<Cell>> = doc.focus(&Part::field("cells").key(&7_u32)).await?;
    /// let replica = cell.replica().await?;
    /// println!("{:?}", replica.read(|cell| cell.as_ref().map(|cell| cell.score))?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn focus<U: Track>(&self, part: &Part) -> Call<Shared<Option<U>>> {
        calls::focus(&self.0, part)
    }

    /// How many follow the value, where it lives: 0 elsewhere.
    pub fn followers(&self) -> usize {
        self.0
            .to_local()
            .map_or(0, |local| local.object.followers())
    }
}

/// Sets up a [`Shared`].
#[must_use = "`build` makes the value"]
pub struct SharedBuilder<T> {
    value: T,
    limit: usize,
    min_interval: Duration,
    proposals: Option<host::Validate<T>>,
}

impl<T: Track> SharedBuilder<T> {
    /// How large the value may become on the wire, in bytes; 16 MiB unless said. A commit above it fails.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Tells those who follow at most so often; what happens in between reaches them together. Without one each commit
    /// is told at once. What a call changes its caller hears at once all the same.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// Lets those who follow change the value, with [`Draft::propose`]. `validate` looks at the value as it would be and
    /// says why not; it must not wait.
    pub fn proposals(
        mut self,
        validate: impl Fn(&T, &Cx) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.proposals = Some(Box::new(validate));
        self
    }

    /// The value.
    pub fn build(self) -> Shared<T> {
        let hosted = Hosted::new(self.value, self.limit, self.min_interval, self.proposals);
        Shared(Ref::here(hosted))
    }
}

impl<T> fmt::Debug for SharedBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuilder")
            .field("limit", &self.limit)
            .field("min_interval", &self.min_interval)
            .finish_non_exhaustive()
    }
}

/// Why a change was not made, as the caller of a method is told.
pub(crate) fn encode_error(error: EncodeError) -> RpcError {
    match error {
        EncodeError::Lent => RpcError::Expired,
        EncodeError::TooLarge { .. } | EncodeError::TooManyReferences => {
            RpcError::Exhausted(error.to_string())
        }
        error => RpcError::Encode(error.to_string()),
    }
}

impl<T: Track> Remote for Shared<T> {
    type Object = Hosted<T>;

    const INTERFACE: &'static InterfaceDesc = &SHARED;

    fn from_ref(reference: Ref<Hosted<T>>) -> Self {
        Shared(reference)
    }

    fn as_ref(&self) -> &Ref<Hosted<T>> {
        &self.0
    }
}

impl<T: Track> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T: Track> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.same(&other.0)
    }
}

impl<T: Track> Eq for Shared<T> {}

impl<T: Track + Default> Default for Shared<T> {
    fn default() -> Self {
        Shared::new(T::default())
    }
}

impl<T: Track> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Shared::new(value)
    }
}

impl<T: Track> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Track> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Track> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ref::deserialize(deserializer).map(Shared)
    }
}

impl<T: Track> Wire for Shared<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Shared(TypeRef::of::<T>())
    }

    fn __lend(&mut self, lease: &Lease) {
        self.0.lend(lease);
    }

    fn __lent(&self) -> bool {
        self.0.lent()
    }
}

/// A shared value inside another: a handle, compared by what it names.
impl<T: Track> Track for Shared<T> {
    type Shadow = Self;

    fn shadow(&mut self) -> Self {
        self.clone()
    }

    fn flush(&mut self, shadow: &Self, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        crate::generated::track_handle(self, shadow, patcher)
    }

    fn undo(&mut self, shadow: Self) -> bool {
        *self = shadow;
        true
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        helve_handles::track::replace(self, reader)
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
