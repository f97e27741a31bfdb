//! What can go wrong with a patch, on the way out and on the way in.

use std::fmt;

/// A change could not be written. The edit is rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A value's own `Serialize` failed.
    Value(String),
    /// The value would nest deeper than 64 from the root of its object.
    TooDeep,
    /// The value would hold more than 4,096 handles.
    TooManyReferences,
    /// A handle was lent for one call, and cannot be kept in a shared value.
    Lent,
    /// The object would be larger than its host allows, in bytes.
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Value(why) => write!(f, "the change cannot be encoded: {why}"),
            EncodeError::TooDeep => f.write_str("the value would nest deeper than 64"),
            EncodeError::TooManyReferences => {
                f.write_str("the value would hold more than 4,096 handles")
            }
            EncodeError::Lent => f.write_str(
                "a lent handle ends with its call and cannot be kept: take it by value to keep it",
            ),
            EncodeError::TooLarge { limit } => {
                write!(f, "the value would be larger than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// A patch does not fit the value. The value may be half changed: roll it back, or ask for all of it again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchError {
    /// It ends before it should, or claims more than there is.
    Short,
    /// Not the MessagePack that belongs here.
    Form,
    /// A node or operation that this type of value does not have, or an unknown one.
    Shape,
    /// An index, length or position outside of the value, or inside a surrogate pair; a permutation that is none.
    Range,
    /// The key is not in the map, or the field is unset, and the node needs it.
    Missing,
    /// Not the variant that the value is.
    Variant,
    /// No such field.
    Field,
    /// Nested too deep.
    TooDeep,
    /// More operations than are allowed.
    TooMany,
    /// Bytes behind its end.
    Trailing,
    /// A value in it is not one of the type: what its `Deserialize` says.
    Value(String),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatchError::Short => "the patch is cut short",
            PatchError::Form => "the patch is malformed",
            PatchError::Shape => "the patch has a node that does not fit the type",
            PatchError::Range => "the patch names a place outside of the value",
            PatchError::Missing => "the patch changes what is not there",
            PatchError::Variant => "the patch changes another variant than the current one",
            PatchError::Field => "the patch names an unknown field",
            PatchError::TooDeep => "the patch nests too deep",
            PatchError::TooMany => "the patch has too many operations",
            PatchError::Trailing => "bytes follow the patch",
            PatchError::Value(why) => {
                return write!(f, "the patch holds a value that does not fit: {why}");
            }
        })
    }
}

impl std::error::Error for PatchError {}
