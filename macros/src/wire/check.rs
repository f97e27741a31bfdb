//! What cannot travel, as far as a macro sees it: it knows the words of a type, not what they mean.

use syn::Type;
use syn::visit::Visit;

use super::model::{Field, Fields};
use crate::attributes::{Errors, Inside, is_word, last_word, plain, type_arguments};

/// One field that has to be `Wire`.
pub(super) fn field(field: &Field, errors: &mut Errors) {
    let inside = Inside::of(&field.ty);
    if let Some(reference) = inside.reference {
        errors.at(reference, "a value that is sent owns what is inside: a reference cannot be sent");
    } else if let Some(lifetime) = inside.lifetime {
        errors.at(lifetime, "a value that is sent has no lifetime: own what is inside");
    }
    if let (true, Some(handle)) = (field.serde.flatten, inside.handle) {
        errors.at(handle, NO_BUFFER);
    }
    Words(errors).visit_type(&field.ty);
}

const NO_BUFFER: &str = "a handle cannot stand in a flattened field, nor in an enum that is untagged or internally tagged: \
    serde buffers those, and a handle does not survive that";

/// The fields of a variant that serde reads by way of a buffer.
pub(super) fn buffered(fields: &Fields, errors: &mut Errors) {
    for field in fields.fields.iter().filter(|field| field.is_walked()) {
        if let Some(handle) = Inside::of(&field.ty).handle {
            errors.at(handle, NO_BUFFER);
        }
    }
}

struct Words<'a>(&'a mut Errors);

impl<'ast> Visit<'ast> for Words<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        for int in ["u128", "i128"] {
            if is_word(ty, int) {
                self.0.at(ty, format!("`{int}` has no form on the wire: send two `u64`, or bytes"));
            }
        }
        if let Some(word) = last_word(ty).filter(|word| word.ident == "Option") {
            match type_arguments(word)[..] {
                [inner] if last_word(inner).is_some_and(|word| word.ident == "Option") => {
                    self.0.at(ty, "`Option<Option<_>>` cannot be sent: `None` and `Some(None)` are both `nil`; use an enum");
                }
                [inner] if matches!(plain(inner), Type::Tuple(tuple) if tuple.elems.is_empty()) => {
                    self.0.at(ty, "`Option<()>` cannot be sent: `None` and `Some(())` are both `nil`; use a `bool`");
                }
                _ => {}
            }
        }
        syn::visit::visit_type(self, ty);
    }
}
