//! Values that several look at: the owner's side with its revisions ([`Tracked`]) and the bytes that others are served
//! from ([`History`]), and the other side, which follows ([`Follower`]). No I/O, no clock; `helve` puts them behind
//! `Shared` and `Replica`.

mod follower;
mod history;
mod tracked;

pub use follower::{Applied, Follower};
pub use history::{History, Payload, Update};
pub use tracked::{ApplyError, Edit, Tracked, UpdateError, VALUE_MAX};
