//! Values that are sent whole where they differ: numbers, bools, chars and the like.

use std::marker::PhantomData;
use std::time::Duration;

use super::Track;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher};

/// `Track` for types that are compared and sent whole. `$shadow` is what is compared.
macro_rules! leaves {
    ($($leaf:ty: $shadow:ty, |$value:ident| $of:expr, |$back:ident| $restore:expr;)*) => {$(
        impl Track for $leaf {
            type Shadow = $shadow;

            fn shadow(&mut self) -> Self::Shadow {
                let $value = &*self;
                $of
            }

            fn flush(
                &mut self,
                shadow: &Self::Shadow,
                patcher: &mut Patcher,
            ) -> Result<bool, EncodeError> {
                if self.shadow() == *shadow {
                    return Ok(false);
                }
                patcher.set(self)?;
                Ok(true)
            }

            fn undo(&mut self, $back: Self::Shadow) -> bool {
                *self = $restore;
                true
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                replace(self, reader)
            }

            fn same(&self, other: &Self) -> bool {
                let of = |$value: &Self| $of;
                of(self) == of(other)
            }
        }
    )*};
    ($($leaf:ty),*) => {
        leaves! { $($leaf: $leaf, |value| value.clone(), |back| back;)* }
    };
}

leaves!(
    bool,
    u8,
    u16,
    u32,
    u64,
    usize,
    i8,
    i16,
    i32,
    i64,
    isize,
    char,
    uuid::Uuid,
    Duration,
    bytes::Bytes,
    Box<str>
);

leaves! {
    f32: u32, |value| value.to_bits(), |bits| f32::from_bits(bits);
    f64: u64, |value| value.to_bits(), |bits| f64::from_bits(bits);
}

/// Takes a Set, and nothing else.
///
/// # Errors
/// It is another node, or the value in it does not fit.
pub fn replace<T: Track>(value: &mut T, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
    reader.node(&mut |reader, node| match node {
        Node::Set => {
            *value = reader.value()?;
            Ok(())
        }
        _ => Err(PatchError::Shape),
    })
}

/// Nothing to change, but a Set of it may come.
macro_rules! nothing {
    ($([$($generics:tt)*] $ty:ty)*) => {$(
        impl<$($generics)*> Track for $ty {
            type Shadow = ();
            const NULLABLE: bool = true;
            fn shadow(&mut self) {}
            fn flush(&mut self, (): &(), _: &mut Patcher) -> Result<bool, EncodeError> {
                Ok(false)
            }
            fn undo(&mut self, (): ()) -> bool {
                true
            }
            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                replace(self, reader)
            }
            fn same(&self, _: &Self) -> bool {
                true
            }
        }
    )*};
}

nothing! {
    [] ()
    [T: Send + Sync + 'static] PhantomData<T>
}
