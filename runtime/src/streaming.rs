//! [`Streaming`]: values that come one after another, from this process or from a peer (R19).
//!
//! `producer` runs a stream toward a peer, `reader` reads one of a peer's, `source` holds one of this process's, `sender`
//! makes one out of what a task sends.

mod producer;
mod reader;
mod sender;
mod source;

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;
use helve_handles::patch::EncodeError;
use helve_handles::schema::{TypeDesc, TypeRef};
use helve_handles::wire::Wire;
use helve_protocol::session::{Cap, Object as _, Received};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::Call;
use crate::caps::{self, Taken};
use crate::error::RpcError;
use crate::shared::refs::Found;

pub use sender::{StreamClosed, StreamSender};

use producer::Outlet;
use reader::Reader;
use source::Source;

/// Values that come one after another: an argument, a result, or a part of one.
///
/// It is a [`Stream`](futures::Stream) of `Result<T, RpcError>`; [`try_next`](Self::try_next) needs no import. After an
/// error nothing comes any more. Whoever reads slowly slows down whoever produces, and nobody else: of what a peer
/// sends, 64 KiB and one item wait here. Dropping it cancels: what produces the values is dropped, too.
///
/// A stream is sent by value, once. It lives on when the call that carried it is over, whatever deadline that call had;
/// a handler may keep it. A stream that came from a peer may be sent on.
///
/// # Example
/// ```
/// use helve::prelude::*;
///
/// #[interface]
/// pub trait Meter {
///     /// Opens when it is first read; a failure to open is its first item.
///     fn readings(&self, upto: u32) -> Streaming<u32>;
///     async fn sum(&self, values: Streaming<u32>) -> u64;
/// }
///
/// struct Fake;
///
/// impl Meter for Fake {
///     fn readings(&self, upto: u32) -> Streaming<u32> {
///         (0..upto).collect()
///     }
///     async fn sum(&self, mut values: Streaming<u32>) -> u64 {
///         let mut sum = 0;
///         while let Ok(Some(value)) = values.try_next().await {
///             sum += u64::from(value);
///         }
///         sum
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), RpcError> {
/// let meter = MeterHandle::new(Fake);
/// let readings = meter.readings(5);
/// assert_eq!(meter.sum(readings).await?, 10);
///
/// // Values that are made as they are wanted: `send` waits while the reader is behind.
/// let (sender, values) = Streaming::channel(8);
/// let sent = async move {
///     for n in 0..100 {
///         sender.send(n).await?;
///     }
///     Ok::<_, StreamClosed>(())
/// };
/// let (sent, sum) = tokio::join!(sent, meter.sum(values));
/// assert_eq!((sent, sum?), (Ok(()), 4950));
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing unless it is read or sent"]
pub struct Streaming<T> {
    /// `None` once it was sent. The lock is for `Serialize`, which has it shared.
    origin: Mutex<Option<Origin<T>>>,
}

/// Where the values come from.
enum Origin<T> {
    /// This process.
    Here(Source<T>),
    /// A call that has not returned the stream yet.
    Call(Box<Call<Streaming<T>>>),
    /// A peer.
    Peer(Reader),
    /// Nowhere: this error is all there is.
    Failed(RpcError),
    /// It is over.
    Done,
}

const SENT: &str = "a stream is sent once: this one is on its way already";
const LENT: &str = "a stream cannot be lent (`&`): pass it by value";
const HOME: &str = "the stream came back to the side that produces it, which cannot read it any more: send it directly";

impl<T: Wire> Streaming<T> {
    /// The values of a stream.
    pub fn new(values: impl Stream<Item = T> + Send + 'static) -> Self {
        use futures::StreamExt;
        Self::try_new(values.map(Ok))
    }

    /// The values of a stream up to its first error, which is what the reader gets last.
    pub fn try_new(values: impl Stream<Item = Result<T, RpcError>> + Send + 'static) -> Self {
        Origin::Here(Source::new(Box::pin(values))).into()
    }

    /// A stream and what its values are sent with. Up to `ahead` values, at least one, wait between the two; what waits
    /// at the reader's end of a connection comes on top.
    pub fn channel(ahead: usize) -> (StreamSender<T>, Self) {
        sender::channel(ahead)
    }

    /// A stream that yields this error and nothing else.
    pub fn failed(error: RpcError) -> Self {
        Origin::Failed(error).into()
    }

    /// What a method returns that is not `async`: the call is made when the stream is first read.
    pub(crate) fn opening(call: Call<Streaming<T>>) -> Self {
        Origin::Call(Box::new(call)).into()
    }

    /// The next value; `None` when the stream is over. May be dropped at any time without losing a value.
    ///
    /// # Errors
    /// As an item, the last one: what the producer failed with, or the connection; [`RpcError::Decode`] for a value that
    /// does not fit `T`.
    pub async fn next(&mut self) -> Option<Result<T, RpcError>> {
        std::future::poll_fn(|task| self.poll(task)).await
    }

    /// The next value; `Ok(None)` when the stream has come to a good end. May be dropped at any time without losing a
    /// value.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<T>, RpcError> {
        self.next().await.transpose()
    }

    fn origin_mut(&mut self) -> &mut Origin<T> {
        let origin = self
            .origin
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        origin.get_or_insert_with(|| Origin::Failed(RpcError::Encode(SENT.into())))
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<T, RpcError>>> {
        // A source that is always ready must not keep its reader's task from yielding.
        let budget = ready!(tokio::task::coop::poll_proceed(task));
        let origin = self.origin_mut();
        loop {
            let next = match origin {
                Origin::Here(source) => ready!(source.poll(task)),
                Origin::Peer(reader) => ready!(reader.poll(task)),
                Origin::Call(call) => match ready!(Future::poll(Pin::new(&mut **call), task)) {
                    Ok(mut opened) => {
                        *origin = std::mem::replace(opened.origin_mut(), Origin::Done);
                        continue;
                    }
                    Err(error) => Some(Err(error)),
                },
                Origin::Failed(_) => match std::mem::replace(origin, Origin::Done) {
                    Origin::Failed(error) => Some(Err(error)),
                    _ => None,
                },
                Origin::Done => None,
            };
            if !matches!(next, Some(Ok(_))) {
                // What produced it, or the peer's record of it, need not wait for us to be dropped.
                *origin = Origin::Done;
            }
            budget.made_progress();
            return Poll::Ready(next);
        }
    }

    /// As something of this process's, to be run toward a peer.
    fn into_source(origin: Origin<T>) -> Source<T> {
        match origin {
            Origin::Here(source) => source,
            origin => Source::new(Box::pin(Streaming::from(origin))),
        }
    }

    fn from_taken(taken: Taken) -> Result<Self, RpcError> {
        let Taken { conn, what, .. } = taken;
        Ok(match what {
            Received::Import { key, lent: false } => Origin::Peer(Reader::new(conn, key)).into(),
            Received::Import { key, lent: true } => {
                conn.with(|session| session.release(key));
                return Err(RpcError::Decode("a stream that is only lent".into()));
            }
            Received::Opened(c) => {
                // What an OPEN of the peer's leads to here: a stream that runs toward the peer.
                conn.with(|session| session.release_opened(c));
                Streaming::failed(RpcError::Unavailable(HOME.into()))
            }
            Received::Broken(fault) => Streaming::failed(RpcError::from_fault(&fault)),
            Received::Object(object) if object.is_stream() => {
                Streaming::failed(RpcError::Unavailable(HOME.into()))
            }
            Received::Object(object) => {
                if let Some(relay) = object.relay() {
                    // It went out through another session.
                    return Ok(Origin::Peer(Reader::of(relay.remote.clone())).into());
                }
                return Err(RpcError::Decode(format!(
                    "a handle of `{}` where a stream is expected",
                    object.0.local.interface_id()
                )));
            }
        })
    }
}

impl<T> From<Origin<T>> for Streaming<T> {
    fn from(origin: Origin<T>) -> Self {
        Streaming {
            origin: Mutex::new(Some(origin)),
        }
    }
}

impl<T: Wire> Stream for Streaming<T> {
    type Item = Result<T, RpcError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<T, RpcError>>> {
        self.poll(task)
    }
}

impl<T: Wire> futures::stream::FusedStream for Streaming<T> {
    fn is_terminated(&self) -> bool {
        let origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*origin, Some(Origin::Done))
    }
}

impl<T: Wire> From<Vec<T>> for Streaming<T> {
    fn from(values: Vec<T>) -> Self {
        Streaming::new(futures::stream::iter(values))
    }
}

/// Collected first: of values that are made as they are wanted, use [`Streaming::new`].
impl<T: Wire> FromIterator<T> for Streaming<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<T: Wire> Serialize for Streaming<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keep = || {
            let why = "a stream is read once, so a shared value cannot hold one";
            Err(EncodeError::Value(why.into()))
        };
        caps::put(serializer, keep, |conn, lend, _| {
            if lend {
                return Err(RpcError::Encode(LENT.into()));
            }
            let origin = self
                .origin
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let origin = origin.ok_or_else(|| RpcError::Encode(SENT.into()))?;
            let outlet = Outlet::new(Self::into_source(origin).carried());
            Ok(Cap::Given(conn.node.export(outlet)))
        })
    }
}

impl<'de, T: Wire> Deserialize<'de> for Streaming<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let taken = match caps::take::<(), _>(deserializer)? {
            Found::Taken(taken) => taken,
            Found::Handle(()) => return Err(D::Error::custom("not a stream")),
        };
        Streaming::from_taken(taken).map_err(|error| {
            caps::refuse(&error);
            D::Error::custom(error)
        })
    }
}

impl<T: Wire> Wire for Streaming<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Stream(TypeRef::of::<T>())
    }
}

impl<T> std::fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = match &*origin {
            Some(Origin::Here(_)) => "local",
            Some(Origin::Call(_)) => "not open",
            Some(Origin::Peer(_)) => "remote",
            Some(Origin::Failed(_)) => "failed",
            Some(Origin::Done) => "over",
            None => "sent",
        };
        write!(f, "Streaming ({origin})")
    }
}
