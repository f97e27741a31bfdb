//! Hold an object on another machine and call it.
//!
//! An [`interface`] is a plain trait; the macro makes a handle of it, which is called as the object would be, wherever
//! the object lives. [`serve`] serves a root object over a WebSocket, [`connect`] yields a handle to it; handles are
//! arguments and results like any other value.
//!
//! ```
//! use helve::prelude::*;
//!
//! #[interface]
//! pub trait Counter {
//!     /// Adds `n` and returns the sum.
//!     async fn add(&mut self, n: u64) -> u64;
//! }
//!
//! struct Count(u64);
//!
//! impl Counter for Count {
//!     async fn add(&mut self, n: u64) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = helve::Server::builder().root(|_| async { Ok(CounterHandle::new(Count(40))) }).bind("ws://127.0.0.1:0").await?;
//!     let url = server.url().to_owned();
//!     tokio::spawn(server.run());
//!
//!     let counter: CounterHandle = helve::connect(url).await?;
//!     assert_eq!(counter.add(2).await?, 42);
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

// Generated code names the crate `::helve`, also in this crate's own examples and tests.
#[allow(unused_extern_crates)]
extern crate self as helve;

mod args;
#[cfg(feature = "axum")]
pub mod axum;
pub mod blocking;
mod builtin;
mod byref;
mod call;
mod caps;
mod client;
mod codec;
mod connection;
pub mod context;
mod dispatch;
mod driver;
pub mod error;
pub mod gate;
mod generated;
mod handle;
mod limits;
mod node;
mod observe;
pub mod peer;
mod relay;
mod running;
mod server;
mod shared;
mod shutdown;
mod spent;
mod stats;
mod streaming;
#[cfg(feature = "tls")]
pub mod tls;
mod trace;
pub mod transport;

pub use byref::{CallMut, RefArg};
pub use call::{Call, Receipt};
pub use client::{Connect, ConnectError, Connection, connect, connect_over};
pub use context::Cx;
pub use error::{CallError, Ran, RpcError};
pub use gate::Object;
pub use handle::{Remote, Revoker, WeakHandle};
pub use helve_handles::track::Track;
pub use helve_handles::wire::Wire;
/// # Example
/// ```
/// use helve::prelude::*;
///
/// #[derive(Wire, Track, Clone)]
/// pub struct Cell {
///     pub text: String,
///     pub color: u8,
///     #[serde(skip)]
///     pub hovered: bool,
/// }
///
/// #[derive(Wire, Track, Clone)]
/// pub struct Tree<T> {
///     pub value: T,
///     pub next: Option<Box<Tree<T>>>,
/// }
/// ```
pub use helve_macros::Track;
/// # Example
/// ```
/// use helve::prelude::*;
///
/// #[derive(Wire, Clone)]
/// pub struct Line {
///     pub sku: String,
///     #[serde(default)]
///     pub qty: u32,
/// }
///
/// /// Recursive, generic, and with a handle inside.
/// #[derive(Wire)]
/// pub enum Node<T> {
///     Leaf(T),
///     Branch { kids: Vec<Node<T>>, watcher: Option<WatcherHandle> },
/// }
///
/// #[interface]
/// pub trait Watcher {
///     async fn changed(&self);
/// }
/// ```
pub use helve_macros::Wire;
/// # Example
/// ```
/// use helve::prelude::*;
///
/// #[derive(Wire, Debug, thiserror::Error)]
/// #[error("out of stock")]
/// pub struct OutOfStock;
///
/// #[interface(id = "demo.Cart")]
/// pub trait Cart {
///     /// Adds some of an article and returns how many there are. Older callers do not send `qty`.
///     async fn add(&mut self, sku: &str, #[default] qty: u32) -> Result<u32, OutOfStock>;
///     /// Lent: the caller's handle is usable until the call ends.
///     async fn show(&self, viewer: &ViewerHandle) -> u32;
///     /// Given: it may be kept.
///     async fn watch(&mut self, viewer: ViewerHandle);
///     /// By reference: the caller's list is shorter when the call returns.
///     async fn tidy(&self, wishes: &mut Vec<String>) -> u32;
///     #[oneway]
///     async fn note(&self, text: &str);
///     #[detached]
///     async fn close(&mut self, cx: &Cx) {
///         println!("closed for {:?}", cx.peer());
///     }
///     #[name = "count"]
///     async fn how_many(&self) -> u32;
/// }
///
/// #[interface]
/// pub trait Viewer {
///     async fn changed(&self, count: u32);
/// }
///
/// #[derive(Default)]
/// struct MemCart(u32, Vec<ViewerHandle>);
///
/// impl Cart for MemCart {
///     async fn add(&mut self, sku: &str, qty: u32) -> Result<u32, OutOfStock> {
///         if sku == "tea" { self.0 += qty; Ok(self.0) } else { Err(OutOfStock) }
///     }
///     async fn show(&self, viewer: &ViewerHandle) -> u32 {
///         let _ = viewer.changed(self.0).await;
///         self.0
///     }
///     async fn watch(&mut self, viewer: ViewerHandle) {
///         self.1.push(viewer);
///     }
///     async fn tidy(&self, wishes: &mut Vec<String>) -> u32 {
///         wishes.retain(|wish| wish == "tea");
///         wishes.len() as u32
///     }
///     async fn note(&self, text: &str) {
///         println!("{text}");
///     }
///     async fn how_many(&self) -> u32 {
///         self.0
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError<OutOfStock>> {
/// let cart = CartHandle::new(MemCart::default());
/// assert_eq!(cart.add("tea", 2).await?, 2);
/// cart.note("gift wrap");
/// assert_eq!(cart.how_many().await?, 2);
/// let mut wishes = vec!["tea".to_owned(), "gold".to_owned()];
/// assert_eq!(cart.tidy(&mut wishes).await?, 1);
/// assert_eq!(wishes, ["tea"]);
/// cart.close().await?;
/// # Ok(())
/// # }
/// ```
pub use helve_macros::interface;
pub use helve_protocol::Limits;
pub use limits::SessionLimits;
pub use peer::Peer;
pub use server::{AcceptError, Builder, Host, Principal, Rooted, ServeError, Server, Token, serve};
pub use shared::{
    Draft, Mode, Part, Replica, ReplicaState, Revisions, Shared, SharedBuilder, SharedEdit,
};
pub use shutdown::{Shutdown, terminated};
pub use stats::{State, Stats};
pub use streaming::{StreamClosed, StreamSender, Streaming};
pub use trace::{TraceParent, TraceParentError};
pub use transport::throttle::Throttle;

/// The chapters of `docs/` whose programs must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/observing.md")]
mod observing {}
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../../docs/security.md")]
mod security {}

/// Values whose changes are told: containers with the names of the standard library's, and [`Tracked`](track::Tracked).
pub mod track {
    pub use helve_handles::shared::{Edit, Tracked, UpdateError};
    pub use helve_handles::track::*;
    /// # Example
    /// ```
    /// use helve::prelude::*;
    /// use helve::track::{Key, Map};
    ///
    /// #[derive(Wire, Key, Clone, PartialEq, Eq, PartialOrd, Ord)]
    /// pub struct Sku(String);
    ///
    /// #[derive(Wire, Key, Clone, PartialEq, Eq, PartialOrd, Ord)]
    /// pub enum Shelf {
    ///     Left,
    ///     Right,
    /// }
    ///
    /// #[derive(Wire, Track, Clone)]
    /// pub struct Stock {
    ///     counts: Map<(Shelf, Sku), u32>,
    /// }
    /// ```
    pub use helve_macros::Key;
}

/// What most programs need: `use helve::prelude::*;`.
pub mod prelude {
    pub use crate::handle::Remote as _;
    pub use crate::{Call, CallError, Cx, Object, Peer, Receipt, RpcError, Track, Wire, interface};
    pub use crate::{StreamClosed, StreamSender, Streaming};
}

/// What generated code may name. Not public API.
#[doc(hidden)]
pub mod __rt {
    /// What `#[derive(Track)]` names.
    pub mod track {
        pub use std::mem::swap;

        pub use helve_handles::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Tag};
        pub use helve_handles::track::part::*;
        pub use helve_handles::track::{Key, Track};
    }

    pub use std::borrow::ToOwned;
    pub use std::boxed::Box;
    pub use std::clone::Clone;
    pub use std::cmp::{Eq, PartialEq};
    pub use std::convert::{From, Into};
    pub use std::default::Default;
    pub use std::fmt;
    pub use std::future::Future;
    pub use std::hash::{Hash, Hasher};
    pub use std::marker::{PhantomData, Send, Sized, Sync};
    pub use std::option::Option::{self, None, Some};
    pub use std::result::Result::{self, Err, Ok};
    pub use std::string::String;
    pub use std::sync::Arc;
    pub use std::vec;
    pub use std::vec::Vec;

    pub use helve_handles::lease::Lease;
    pub use helve_handles::patch::{EncodeError, PatchError, PatchReader, Patcher};
    pub use helve_handles::schema::*;
    pub use helve_handles::track::{Track, replace};
    pub use helve_handles::wire::*;
    pub use serde;

    pub use crate::args::{Args, Put};
    pub use crate::byref::{
        Back, ByRef, CallMut, InOut, Keeper, Opened, Opens, RefArg, Returned, Staged, borrow,
        call_mut, open_refs, put_ref, send_mut, serve_mut,
    };
    pub use crate::call::{Call, Local, Receipt};
    pub use crate::context::Cx;
    pub use crate::dispatch::Incoming;
    pub use crate::error::{AppError, CallError, CallFailure, Outcome, RpcError};
    pub use crate::gate::{Object, ReadGuard, WriteGuard};
    pub use crate::generated::*;
    pub use crate::handle::{Dispatch, Far, Near, Ref, Remote, Route};
}
