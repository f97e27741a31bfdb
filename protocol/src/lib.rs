//! The Helve protocol, version 1: frames, the scan, and the session state machine.
//!
//! Sans-IO: bytes and time go in, actions come out. `docs/protocol.md` is the normative text; the ids in these docs
//! (`R1`, `S3`, ...) are its rules.
#![forbid(unsafe_code)]

pub mod batch;
pub mod blob;
pub mod error;
pub mod fault;
pub mod frame;
pub mod hello;
pub mod limits;
#[doc(hidden)]
pub mod mutation;
mod parsed;
pub mod put;
mod read;
pub mod rope;
pub mod scan;
mod seal;
mod secret;
pub mod session;
mod write;

pub use error::{Code, Violation};
pub use fault::Fault;
pub use limits::Limits;
pub use session::Session;
