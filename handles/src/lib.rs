//! What a reference is: identifiers, counts, the tables that hold them, and the descriptions of what may travel.
//!
//! This crate knows no socket, no async runtime and no clock. `helve-protocol` builds the session on it, `helve`
//! the runtime that people use.
#![forbid(unsafe_code)]

pub mod codec;
pub mod descriptor;
pub mod id;
pub mod lease;
pub mod objects;
pub mod patch;
pub mod put;
pub mod references;
pub mod rising;
pub mod schema;
pub mod shared;
pub mod short;
pub mod track;
pub mod wire;

pub use id::{Descriptor, Tag, Target};
pub use lease::Lease;
pub use objects::{ObjectKey, Objects};
pub use references::Reference;
pub use rising::{IdHash, RisingMap};
pub use track::Track;
pub use wire::Wire;
