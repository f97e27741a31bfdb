//! Doors for generated code alone: the same as [`Near::call`], [`Far::send`] and [`Incoming::serve`], with result and
//! error named by their marker. The marker proved their bounds where the user wrote the types; said again here, each
//! missing `Wire` would be reported once for every place it is used at.

use std::future::Future;
use std::sync::Arc;

use helve_handles::patch::{EncodeError, Patcher};
use helve_handles::schema::TypeRef;
use helve_handles::track::Track;
use helve_handles::wire::{Typed, Wire};

use crate::args::{Args, Put};
use crate::call::{Call, Local};
use crate::context::Cx;
use crate::dispatch::Incoming;
use crate::error::{AppError, CallError, CallFailure, RpcError};
use crate::handle::{Dispatch, Far, Near};
use crate::streaming::Streaming;

/// What a call fails with: [`RpcError`], or [`CallError`] of a method's own error.
pub trait Failure: CallFailure {
    /// The method's own error.
    fn app() -> Option<TypeRef>;
}

impl Failure for RpcError {
    fn app() -> Option<TypeRef> {
        None
    }
}

impl<E: AppError> Failure for CallError<E> {
    fn app() -> Option<TypeRef> {
        Some(TypeRef::of::<E>())
    }
}

/// The marker of a result: besides its type it knows what the call fails with.
pub trait Fails: Typed {
    /// What the call fails with.
    type E: Failure;
}

/// The method's own error, for its description.
pub fn app_error<M: Fails>() -> Option<TypeRef> {
    M::E::app()
}

/// Of a lent `&[T]`, what a local call works on.
pub fn to_vec<T: Clone>(values: &[T]) -> Vec<T> {
    values.to_vec()
}

/// Calls a local object.
pub fn call<M: Fails, D: ?Sized + Dispatch>(
    near: Near<D>,
    f: impl FnOnce(Arc<D>) -> Local<M::T, M::E> + Send + 'static,
) -> Call<M::T, M::E> {
    near.call(f)
}

/// Calls a remote object with `n` arguments.
pub fn send<M: Fails>(
    far: Far,
    method: u32,
    n: u32,
    args: impl FnOnce(&mut Put<'_>),
) -> Call<M::T, M::E> {
    far.send::<M, M::E>(method, n, args)
}

/// What a method that is not `async` returns: a stream that makes the call when it is first read.
pub fn open<T: Wire>(call: Call<Streaming<T>>) -> Streaming<T> {
    Streaming::opening(call)
}

/// What changed in a place for a handle: all of it, where another object is there.
pub fn track_handle<H: Track + PartialEq>(
    handle: &H,
    before: &H,
    patcher: &mut Patcher,
) -> Result<bool, EncodeError> {
    if handle == before {
        return Ok(false);
    }
    patcher.set(handle)?;
    Ok(true)
}

/// Serves a call.
pub fn serve<M: Fails, F>(call: Incoming<'_>, make: impl FnOnce(&Cx, Args) -> F)
where
    F: Future<Output = Result<M::T, M::E>> + Send + 'static,
{
    call.serve::<M, M::E, F>(make);
}

/// Serves a call that runs on when its session is lost.
pub fn serve_detached<M: Fails, F>(call: Incoming<'_>, make: impl FnOnce(&Cx, Args) -> F)
where
    F: Future<Output = Result<M::T, M::E>> + Send + 'static,
{
    call.serve_detached::<M, M::E, F>(make);
}
