//! `&mut T` arguments (R24). The caller keeps what it passes; the method gets a real `&mut T`, and only what changed comes
//! back. `form` reads and writes the argument, [`InOut`] is it at the side of the method, `kept` what a session keeps of
//! its peer's values, [`CallMut`] the call.

mod call;
mod form;
mod inout;
mod kept;
mod refarg;

use bytes::Bytes;
use helve_handles::patch::EncodeError;
use helve_handles::shared::Payload;
use helve_handles::track::Track;

use crate::error::RpcError;

pub use call::{CallMut, Returned, call_mut, send_mut, serve_mut};
pub use inout::{InOut, Keeper, Opened, Opens, Staged, open_refs};
pub(crate) use kept::Kept;
pub use refarg::{RefArg, borrow, put_ref};

/// The marker of a `&mut T` argument: the bound is checked once, where the user wrote the type.
pub trait ByRef: 'static {
    /// The type behind the `&mut`.
    type T: Track;
}

/// What becomes of one `&mut` argument when its method returns.
#[derive(Debug)]
pub enum Back {
    /// Nothing.
    Unchanged,
    /// What changed.
    Node(Payload),
    /// The value itself, a `Box` of its type: from an object of this process.
    Value(Box<dyn std::any::Any + Send>),
}

/// A node that changes nothing: `[1]`.
const NOTHING: [u8; 2] = [0x91, helve_handles::patch::Tag::Fields as u8];

/// How deep a value or node may nest that stands inside of an array of its argument or result (E4.2).
const NESTING_MAX: u32 = 63;

const TOO_DEEP: &str = "it nests deeper than 63 levels";

/// A method cannot work on a shared value that another process has (R24.11).
fn elsewhere() -> RpcError {
    RpcError::Incompatible(
        "a shared value is passed as `&mut` to methods where it lives: this one lives elsewhere"
            .into(),
    )
}

fn is_too_deep(bytes: &[u8]) -> bool {
    helve_handles::patch::raw::nesting(bytes).is_none_or(|nests| nests > NESTING_MAX)
}

/// `part` of `of`, sharing its memory.
fn shared(of: Option<&Bytes>, part: &[u8]) -> Bytes {
    match of {
        Some(of) if part.len() > 1024 => of.slice_ref(part),
        _ => Bytes::copy_from_slice(part),
    }
}

/// Why a value or a change of it cannot be sent.
fn unsendable(error: EncodeError) -> RpcError {
    match error {
        EncodeError::TooLarge { .. } | EncodeError::TooManyReferences => {
            RpcError::Exhausted(error.to_string())
        }
        error => RpcError::Encode(error.to_string()),
    }
}
