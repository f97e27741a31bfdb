//! Patches: what changed in a value, as a MessagePack tree (objects.md, section 3).
//!
//! ```text
//! node := nil                                  Unset / map remove (idempotent); only right after a field or key
//!       | [0, value]                           Set
//!       | [1, (field, node)*]                  Fields    field = ordinal in the host's descriptor; [1] = no change
//!       | [2, (key, node)*]                    Map       all but nil, Set and [7, Set, ..] need the key
//!       | [3, n]                               Add       i64, wrapping
//!       | [4, op*]                             Seq       in order
//!       | [5, (pos16, del16, str)*]            Text      UTF-16 units, each relative to the result of the one before
//!       | [6, variant, (field, node)*]         Enum      the variant must be the current one
//!       | [7, node, node*]                     Then      made by composition
//! op   := [0, i, node] At | [1, pos, del, item*] Splice | [2, item*] Append | [3, from, to] Move (to: after removal)
//!       | [4, i, j] Swap | [5, start, n, bin] Permute | [7, len] Truncate | [8, pos, del, bin] Splice of bytes
//! ```
//!
//! `write` makes them, `read` applies them to a value, `raw` walks their bytes without knowing any type. Without the type
//! too: `compose` makes one of several, `focus` follows a part of a value, `view` leaves out what a session may not see,
//! `canary` tells whether two values are one, `conflicts` whether a draft may be made later.

mod canary;
mod compose;
mod conflicts;
mod error;
mod focus;
pub mod raw;
mod read;
mod translate;
mod tree;
mod view;
mod walk;
mod write;

pub use canary::canary;
pub use compose::compose;
pub use conflicts::conflicts;
pub use error::{EncodeError, PatchError};
pub use focus::{FocusError, Path, WithReferences};
pub use read::{Node, PatchReader, Slot};
pub use translate::{Incompatible, Pair, Translation};
pub use view::View;
pub use walk::Unsupported;
pub use write::{Entries, Patcher, renumber};

/// How deep a value may nest, counted from the root of the object.
pub const VALUE_NESTING_MAX: u32 = 64;
/// How many nodes may stand inside one another. Operations count.
pub const NODE_NESTING_MAX: u32 = 64;

/// The tags of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tag {
    /// `[0, value]`.
    Set = 0,
    /// `[1, (field, node)*]`.
    Fields = 1,
    /// `[2, (key, node)*]`.
    Map = 2,
    /// `[3, n]`.
    Add = 3,
    /// `[4, op*]`.
    Seq = 4,
    /// `[5, (pos16, del16, str)*]`.
    Text = 5,
    /// `[6, variant, (field, node)*]`.
    Enum = 6,
    /// `[7, node, node*]`.
    Then = 7,
}

/// The tags of the operations of a Seq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    /// `[0, i, node]`.
    At = 0,
    /// `[1, pos, del, item*]`.
    Splice = 1,
    /// `[2, item*]`.
    Append = 2,
    /// `[3, from, to]`; `to` is the place after the removal.
    Move = 3,
    /// `[4, i, j]`.
    Swap = 4,
    /// `[5, start, n, bin]`: `new[start + k] = old[start + p[k]]`; `p` has `n` entries of 1 (n <= 256), 2 (n <= 65,536)
    /// or 4 bytes, little endian.
    Permute = 5,
    /// `[7, len]`.
    Truncate = 7,
    /// `[8, pos, del, bin]`.
    Bytes = 8,
}
