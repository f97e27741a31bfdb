//! What a call can fail with: [`RpcError`], everything that is not the method's own error, and [`CallError`], either.
//!
//! `RpcError` is one plain enum, so `From<RpcError>` exists for every `CallError<E>` and `?` works wherever calls are
//! made. The traits at the end are for generated code.

use std::fmt;

use helve_handles::wire::Wire;
use helve_protocol::{Code, Fault};

use crate::codec;

/// Longest message of an error on the wire, in bytes.
const MAX_MESSAGE: usize = 256;

/// Cuts a text to at most `max` bytes, between two characters.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max)
            .rev()
            .find(|&i| text.is_char_boundary(i))
            .unwrap_or(0);
        text.truncate(end);
    }
}

/// Everything that can go wrong with a call besides the method's own error.
///
/// Each variant says whether the method ran ([`RpcError::ran`]) and whether the same call may be made again
/// ([`RpcError::is_retryable`]).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The object is not there for this peer: never was, or was released.
    #[error(
        "the object is gone: its handle was released, or its host does not know it; ask for a new handle"
    )]
    Gone,
    /// The handle does not lead to its object any more, and never will again.
    #[error("the handle is broken: {0}")]
    Broken(Box<RpcError>),
    /// The host took the object back.
    #[error("the object was revoked by its host")]
    Revoked,
    /// The call was cancelled; the method may have run.
    #[error("the call was cancelled; the method may have run")]
    Cancelled,
    /// The deadline passed; the method may have run.
    #[error("the deadline passed; the method may have run")]
    Deadline,
    /// The host does not let this peer make this call.
    #[error("denied: {0}")]
    Denied(String),
    /// A limit is reached. The method did not run; it may when there is less, or later.
    #[error("a limit is reached, the method did not run: {0}")]
    Exhausted(String),
    /// The payload does not fit the types: the two sides were built from different interfaces.
    #[error("could not decode, are both sides built from the same interface? {0}")]
    Decode(String),
    /// No such method here: the host is older, or has another interface.
    #[error("no such method at the host, is it older than this caller? {0}")]
    Unimplemented(String),
    /// The host is overloaded or going away. The method did not run; try again.
    #[error("the host takes no calls now, try again: {0}")]
    Unavailable(String),
    /// The handler panicked, or the host failed in a way that has no code. The method may have run.
    #[error("the host failed inside: {0}")]
    Internal(String),
    /// The call came back into an object whose method waits for this very call.
    #[error(
        "a call came back into an object whose method is waiting for it; take `&self` in the outer method, or call after it returned"
    )]
    Reentrant,
    /// A change met another one. Settled by the library.
    #[error("the value changed meanwhile")]
    Conflict,
    /// A replica has lost its base. Settled by the library.
    #[error("the replica needs a snapshot")]
    NeedSnapshot,
    /// The shared values of the two sides have different types.
    #[error("the two sides describe this value differently, build both from the same types: {0}")]
    Incompatible(String),
    /// A shared value was put in two places.
    #[error("a shared value may be in one place only")]
    Aliased,
    /// The server refused the session: no token, or a wrong one.
    #[error("not signed in: {0}")]
    Unauthenticated(String),
    /// The server refused the session: another version of the protocol.
    #[error("the peer speaks another version of the protocol: {0}")]
    Version(String),
    /// The server refused the session for now; try again.
    #[error("the server is busy, try again: {0}")]
    Busy(String),
    /// The call never left this process, so the method did not run; make it again.
    #[error("the call was not sent; it is safe to make it again")]
    NotSent,
    /// The session was lost while the call was open; nobody knows whether the method ran.
    #[error("the session was lost during the call; the method may have run")]
    MaybeRan,
    /// The session is lost, with all of its handles; connect again.
    #[error("the session is lost; connect again and ask for new handles")]
    SessionLost,
    /// A lent handle was used after the call that lent it.
    #[error("a lent handle was used after its call had ended; take it by value to keep it")]
    Expired,
    /// A value could not be encoded; nothing was sent.
    #[error("could not encode, nothing was sent: {0}")]
    Encode(String),
    /// What a handle breaks with whose call failed with the method's own error; the type of that error is lost.
    #[error("the call that should have given this handle failed: {0}")]
    App(String),
}

/// Whether the method of a failed call ran.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ran {
    /// It certainly did not.
    No,
    /// It may have.
    Maybe,
    /// It did.
    Yes,
}

impl RpcError {
    /// The code, as in the table of the protocol.
    pub fn code(&self) -> Code {
        match self {
            RpcError::Gone => Code::Gone,
            RpcError::Broken(_) | RpcError::Revoked => Code::Broken,
            RpcError::Cancelled => Code::Cancelled,
            RpcError::Deadline => Code::Deadline,
            RpcError::Denied(_) => Code::Denied,
            RpcError::Exhausted(_) => Code::Exhausted,
            RpcError::Decode(_) => Code::Decode,
            RpcError::Unimplemented(_) => Code::Unimplemented,
            RpcError::Unavailable(_) => Code::Unavailable,
            // A host that cannot encode a result has failed inside, as its caller sees it.
            RpcError::Internal(_) | RpcError::Encode(_) => Code::Internal,
            RpcError::Reentrant => Code::Reentrant,
            RpcError::Conflict => Code::Conflict,
            RpcError::NeedSnapshot => Code::NeedSnapshot,
            RpcError::Incompatible(_) => Code::Incompatible,
            RpcError::Aliased => Code::Aliased,
            RpcError::Unauthenticated(_) => Code::Unauthenticated,
            RpcError::Version(_) => Code::Version,
            RpcError::Busy(_) => Code::Busy,
            RpcError::NotSent => Code::NotSent,
            RpcError::MaybeRan => Code::MaybeRan,
            RpcError::SessionLost => Code::SessionLost,
            RpcError::Expired => Code::Expired,
            RpcError::App(_) => Code::App,
        }
    }

    /// Whether the method ran.
    pub fn ran(&self) -> Ran {
        match self {
            RpcError::App(_) => Ran::Yes,
            RpcError::Cancelled
            | RpcError::Deadline
            | RpcError::Internal(_)
            | RpcError::MaybeRan
            | RpcError::SessionLost => Ran::Maybe,
            _ => Ran::No,
        }
    }

    /// Whether the same call may be made again as it is: it did not run, and the reason may pass.
    ///
    /// [`NotSent`](RpcError::NotSent) after a lost session needs a new handle first.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            RpcError::Exhausted(_)
                | RpcError::Unavailable(_)
                | RpcError::Busy(_)
                | RpcError::NotSent
        )
    }

    /// What lies behind a broken handle: the error itself where it is about no handle. `App` behind it says that the
    /// call that should have given the handle failed with its method's own error.
    pub fn cause(&self) -> &RpcError {
        match self {
            RpcError::Broken(cause) => cause,
            error => error,
        }
    }

    /// What a handle breaks with after this error: the error itself where it is about a handle already.
    pub fn broken(self) -> RpcError {
        match self {
            RpcError::Broken(_) => self,
            cause => RpcError::Broken(Box::new(cause)),
        }
    }

    /// Code and message for ERR, BROKEN or END. Local codes never travel: their nearest public one stands in.
    ///
    /// Of [`Broken`](RpcError::Broken) this is code 3; its cause goes into `data`, see [`RpcError::wire_cause`].
    pub(crate) fn to_wire(&self) -> (Code, String) {
        let code = match self.code() {
            Code::NotSent => Code::Unavailable,
            Code::MaybeRan | Code::SessionLost | Code::Expired => Code::Internal,
            code => code,
        };
        let mut message = match self {
            RpcError::Denied(text)
            | RpcError::Exhausted(text)
            | RpcError::Decode(text)
            | RpcError::Unimplemented(text)
            | RpcError::Unavailable(text)
            | RpcError::Internal(text)
            | RpcError::Unauthenticated(text)
            | RpcError::Version(text)
            | RpcError::Incompatible(text)
            | RpcError::Busy(text)
            | RpcError::App(text) => text.clone(),
            RpcError::Encode(text) => format!("could not encode the result: {text}"),
            RpcError::Gone => "gone".to_owned(),
            RpcError::Revoked => "revoked".to_owned(),
            RpcError::Broken(cause) => cause.to_wire().1,
            RpcError::SessionLost | RpcError::MaybeRan | RpcError::NotSent => {
                "upstream session lost".to_owned()
            }
            RpcError::Expired => "a lent handle was used after its call".to_owned(),
            RpcError::Cancelled => "cancelled".to_owned(),
            RpcError::Deadline => "deadline".to_owned(),
            RpcError::Reentrant => "reentrant".to_owned(),
            RpcError::Conflict => "conflict".to_owned(),
            RpcError::NeedSnapshot => "snapshot needed".to_owned(),
            RpcError::Aliased => "aliased".to_owned(),
        };
        cut(&mut message, MAX_MESSAGE);
        (code, message)
    }

    /// `[code, message]` of the cause of a broken handle (R2), one level deep.
    pub(crate) fn wire_cause(&self) -> Option<(Code, String)> {
        match self {
            RpcError::Broken(cause) => Some(cause.to_wire()),
            _ => None,
        }
    }

    /// The error behind a code and message that a peer sent. `cause` is what stood in the `data` of code BROKEN.
    ///
    /// Local codes on the wire read as INTERNAL, as unknown ones do.
    pub(crate) fn from_wire(code: Code, message: &str, cause: Option<(Code, &str)>) -> RpcError {
        let mut text = message.to_owned();
        cut(&mut text, MAX_MESSAGE);
        match code {
            Code::App => RpcError::App(text),
            Code::Gone => RpcError::Gone,
            Code::Broken => match cause {
                Some((Code::Broken, inner)) => RpcError::broken_with(inner),
                Some((code, inner)) => {
                    RpcError::Broken(Box::new(RpcError::from_wire(code, inner, None)))
                }
                None => RpcError::broken_with(&text),
            },
            Code::Cancelled => RpcError::Cancelled,
            Code::Deadline => RpcError::Deadline,
            Code::Denied => RpcError::Denied(text),
            Code::Exhausted => RpcError::Exhausted(text),
            Code::Decode => RpcError::Decode(text),
            Code::Unimplemented => RpcError::Unimplemented(text),
            Code::Unavailable => RpcError::Unavailable(text),
            Code::Reentrant => RpcError::Reentrant,
            Code::Conflict => RpcError::Conflict,
            Code::NeedSnapshot => RpcError::NeedSnapshot,
            Code::Incompatible => RpcError::Incompatible(text),
            Code::Aliased => RpcError::Aliased,
            Code::Unauthenticated => RpcError::Unauthenticated(text),
            Code::Version => RpcError::Version(text),
            Code::Busy => RpcError::Busy(text),
            _ => RpcError::Internal(text),
        }
    }

    /// The error behind a fault of the session: one that came from the peer, or a local outcome.
    pub(crate) fn from_fault(fault: &Fault) -> RpcError {
        match fault.code {
            Code::NotSent => RpcError::NotSent,
            Code::MaybeRan => RpcError::MaybeRan,
            Code::SessionLost => RpcError::SessionLost,
            Code::Expired => RpcError::Expired,
            code => {
                let cause = codec::decode::<(u64, &str)>(&fault.data)
                    .ok()
                    .filter(|_| code == Code::Broken);
                RpcError::from_wire(
                    code,
                    &fault.message,
                    cause.map(|(code, text)| (Code::from_raw(code), text)),
                )
            }
        }
    }

    /// As a fault of the session, to answer a call with.
    pub(crate) fn to_fault(&self) -> Fault {
        let (code, message) = self.to_wire();
        let fault = Fault::new(code, &message);
        match self.wire_cause() {
            Some((cause, text)) => Fault::broken_by(&Fault::new(cause, &text)),
            None => fault,
        }
    }

    /// A broken handle whose host gave words and no cause.
    fn broken_with(message: &str) -> RpcError {
        match message {
            "revoked" => RpcError::Broken(Box::new(RpcError::Revoked)),
            "gone" => RpcError::Broken(Box::new(RpcError::Gone)),
            other => RpcError::Broken(Box::new(RpcError::Internal(other.to_owned()))),
        }
    }
}

/// What a method that returns `Result<T, E>` fails with at its caller: its own error, or everything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError<E> {
    /// The method ran and returned this.
    App(E),
    /// The call failed.
    RpcError(RpcError),
}

impl<E> CallError<E> {
    /// Whether the same call may be made again as it is. The method's own error never is.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CallError::RpcError(e) if e.is_retryable())
    }

    /// The method's own error, or else what went wrong with the call: `call.await.map_err(CallError::app)`.
    pub fn app(self) -> Result<E, RpcError> {
        match self {
            CallError::App(e) => Ok(e),
            CallError::RpcError(e) => Err(e),
        }
    }
}

impl<E> From<RpcError> for CallError<E> {
    fn from(error: RpcError) -> Self {
        CallError::RpcError(error)
    }
}

/// Drops the type of the method's own error: [`RpcError::App`] keeps its text.
impl<E: std::error::Error> From<CallError<E>> for RpcError {
    fn from(error: CallError<E>) -> RpcError {
        match error {
            CallError::App(e) => RpcError::App(e.to_string()),
            CallError::RpcError(e) => e,
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::App(e) => e.fmt(f),
            CallError::RpcError(e) => e.fmt(f),
        }
    }
}

/// Shows through: its text and its source are those of the error inside.
impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::App(e) => e.source(),
            CallError::RpcError(e) => e.source(),
        }
    }
}

/// An error that a method may return: it crosses the wire, and it is an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an interface method",
    label = "must be `Wire` and `std::error::Error`",
    note = "add `#[derive(Wire, Debug, thiserror::Error)]` to it"
)]
pub trait AppError: Wire + std::error::Error + Send + Sync {}
impl<T: Wire + std::error::Error + Send + Sync> AppError for T {}

/// The method's own error on its way: `message` and `data` of ERR with code APP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppFailure {
    /// Its text, at most 256 bytes; all that a pipelined call gets to see of it.
    pub message: String,
    /// It, encoded.
    pub data: Vec<u8>,
}

/// The error type of a `Call`: it can be made of an [`RpcError`], and the method's part of it can cross the wire.
pub trait CallFailure: From<RpcError> + Send + 'static {
    /// At the host: the method's own error, encoded, or else why the call failed. An error that cannot be encoded
    /// is [`RpcError::Encode`].
    fn split(self) -> Result<AppFailure, RpcError>;

    /// At the caller: from the `data` of ERR with code APP. What cannot be decoded is [`RpcError::Decode`].
    fn join(data: &[u8]) -> Self;

    /// The code, [`Code::App`] for the method's own error.
    fn code(&self) -> Code;
}

impl CallFailure for RpcError {
    fn split(self) -> Result<AppFailure, RpcError> {
        Err(self)
    }

    fn join(_: &[u8]) -> Self {
        RpcError::Decode("the host sent an error of a method that returns none".to_owned())
    }

    fn code(&self) -> Code {
        RpcError::code(self)
    }
}

impl<E: AppError> CallFailure for CallError<E> {
    fn split(self) -> Result<AppFailure, RpcError> {
        match self {
            CallError::App(e) => {
                let mut message = e.to_string();
                cut(&mut message, MAX_MESSAGE);
                Ok(AppFailure {
                    message,
                    data: codec::encode(&e)?,
                })
            }
            CallError::RpcError(e) => Err(e),
        }
    }

    fn join(data: &[u8]) -> Self {
        codec::decode(data).map_or_else(CallError::RpcError, CallError::App)
    }

    fn code(&self) -> Code {
        match self {
            CallError::App(_) => Code::App,
            CallError::RpcError(error) => error.code(),
        }
    }
}

/// What a return type whose last word is `Result` gives: `T` and `E`, seen through any alias of `Result<T, E>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `std::result::Result`",
    note = "a return type whose last word is `Result` is flattened and must be an alias of `std::result::Result<T, E>`"
)]
pub trait Outcome {
    /// What the method returns when it succeeds.
    type Ok: Wire;
    /// What the call fails with.
    type Err: CallFailure;

    /// One level, never `Result<Result<..>, ..>`.
    fn flatten(self) -> Result<Self::Ok, Self::Err>;
}

impl<T: Wire, E: AppError> Outcome for Result<T, E> {
    type Ok = T;
    type Err = CallError<E>;

    fn flatten(self) -> Result<T, CallError<E>> {
        self.map_err(CallError::App)
    }
}

#[cfg(test)]
mod tests;
