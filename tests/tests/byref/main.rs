//! `&mut` arguments (R24): what the caller's value, the other side's copy and the wire are like after each way in which a
//! call can end.

#![allow(
    clippy::too_many_arguments,
    reason = "one method takes all that there is"
)]
#![allow(unreachable_pub, reason = "written as a library would write it")]

mod any;
mod desk;
mod forged;
mod kept;
mod outcomes;
mod passing;
mod shared;
