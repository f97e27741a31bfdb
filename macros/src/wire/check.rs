//! What cannot travel, as far as a macro sees it: it knows the words of a type, not what they mean.

use super::model::{Field, Fields};
use crate::attributes::{Errors, Inside, unsendable};

/// One field that has to be `Wire`.
pub(super) fn field(field: &Field, errors: &mut Errors) {
    let inside = Inside::of(&field.ty);
    if let Some(reference) = inside.reference {
        errors.at(
            reference,
            "a value that is sent owns what is inside: a reference cannot be sent",
        );
    } else if let Some(lifetime) = inside.lifetime {
        errors.at(
            lifetime,
            "a value that is sent has no lifetime: own what is inside",
        );
    }
    if let (true, Some(handle)) = (field.serde.flatten, inside.handle) {
        errors.at(handle, NO_BUFFER);
    }
    for (ty, message) in unsendable(&field.ty) {
        errors.at(ty, message);
    }
}

const NO_BUFFER: &str = "a handle cannot stand in a flattened field, nor in an enum that is untagged or internally tagged: \
    serde buffers those, and a handle does not survive that";

const NO_BYTES: &str = "serde reads the fields of an untagged or internally tagged enum by way of a buffer, out of which it does not take bytes as \
    a sequence: write `Bytes`";

/// The fields of a variant that serde reads by way of a buffer.
pub(super) fn buffered(fields: &Fields, errors: &mut Errors) {
    for field in fields.fields.iter().filter(|field| field.is_walked()) {
        let inside = Inside::of(&field.ty);
        if let Some(handle) = inside.handle {
            errors.at(handle, NO_BUFFER);
        }
        if let Some(bytes) = inside.bytes {
            errors.at(bytes, NO_BYTES);
        }
    }
}
