//! Values that several look at: the owner's side with its revisions ([`Tracked`]) and the bytes that others are served
//! from ([`History`]), the other side, which follows ([`Follower`]), and those in between ([`Passing`]). No I/O, no clock; `helve` puts them behind
//! `Shared` and `Replica`.

mod follower;
mod history;
mod passing;
mod tracked;

pub use follower::{Applied, Follower};
pub use history::{History, Life, Payload, Update};
pub use passing::{Gone, Passed, Passing};
pub use tracked::{ApplyError, Edit, Tracked, UpdateError, VALUE_MAX};
