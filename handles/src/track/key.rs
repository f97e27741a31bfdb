//! [`Key`]: what may be a key of a tracked map, or an item of a tracked set.

use crate::wire::Wire;

/// What may be a key: ints, `bool`, `char`, `String`, `Box<str>`, `Uuid`, tuples of keys, and newtypes and enums without
/// payload made of them.
///
/// Two keys that are equal must be written as the same bytes, and two that are not as different ones: patches are
/// composed and compared by those bytes. So there are no floats here, no handles, and nothing whose `Eq` ignores what
/// its encoding tells, upper and lower case for example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a tracked map or an item of a tracked set",
    label = "not `Key`",
    note = "keys are ints, `bool`, `char`, `String`, `Box<str>`, `Uuid`, and tuples of those",
    note = "for a newtype of one, or an enum without payload, add `#[derive(Key)]`, or `impl Key for {Self} {{}}` if equal \
            ones are always written as the same bytes",
    note = "to keep anything else in a map, give it an id and use that as the key"
)]
pub trait Key: Wire + Clone + Eq + Sync {}

macro_rules! keys {
    ($($key:ty)*) => {$(
        impl Key for $key {}
    )*};
}

keys! { bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize char String Box<str> uuid::Uuid }

macro_rules! tuples {
    ($(($($item:ident)*))*) => {$(
        impl<$($item: Key),*> Key for ($($item,)*) {}
    )*};
}

tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) (A B C D E F G H I)
    (A B C D E F G H I J) (A B C D E F G H I J L) (A B C D E F G H I J L M)
}
