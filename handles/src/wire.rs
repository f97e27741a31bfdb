//! [`Wire`]: what may be an argument, a result, or a part of one. Implemented here for the types of the encoding table
//! (protocol section 2), by `#[derive(Wire)]` for everybody else's, by `#[interface]` for handles.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lease::Lease;
use crate::schema::{TypeDesc, TypeRef};

/// A value that may cross the wire: serde's two traits, and a description.
///
/// Write `#[derive(Wire)]`; it brings serde's implementations along. `Result` is left out on purpose: a method's
/// `Result` becomes RET or ERR, and one that hides behind an alias of another name is an error here and not a `??` there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent over the wire",
    label = "not `Wire`",
    note = "to send it by value, add `#[derive(Wire)]` to it",
    note = "to send a reference, mark its trait `#[interface]` and pass the trait's `..Handle`"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {
    /// What it looks like on the wire. One level: the types inside are named by [`TypeRef`], so that a type may
    /// contain itself.
    fn describe() -> TypeDesc;

    /// Makes every handle inside a lent one that dies with `lease`: how a local call lends what a remote one would.
    #[doc(hidden)]
    fn __lend(&mut self, lease: &Lease) {
        let _ = lease;
    }

    /// Whether a handle inside is lent, and so may not be given away.
    #[doc(hidden)]
    fn __lent(&self) -> bool {
        false
    }
}

/// One implementing type marks each argument and result of an interface in generated code: the bound is checked once,
/// where the user wrote the type, and the rest of the expansion names the marker.
#[doc(hidden)]
pub trait Typed {
    /// The type that the user wrote.
    type T: Wire;
}

/// [`Wire::__lend`] by marker.
#[doc(hidden)]
pub fn lend<M: Typed>(value: &mut M::T, lease: &Lease) {
    value.__lend(lease);
}

/// [`Wire::__lend`] of each element, by the marker of the element.
#[doc(hidden)]
pub fn lend_all<M: Typed>(values: &mut [M::T], lease: &Lease) {
    for value in values {
        value.__lend(lease);
    }
}

/// [`Wire::__lent`] by marker.
#[doc(hidden)]
pub fn lent<M: Typed>(value: &M::T) -> bool {
    value.__lent()
}

macro_rules! leaves {
    ($($leaf:ty => $desc:ident),* $(,)?) => {$(
        impl Wire for $leaf {
            fn describe() -> TypeDesc {
                TypeDesc::$desc
            }
        }
    )*};
}

leaves! {
    bool => Bool, u8 => U8, u16 => U16, u32 => U32, u64 => U64, usize => U64, i8 => I8, i16 => I16, i32 => I32,
    i64 => I64, isize => I64, f32 => F32, f64 => F64, String => Str, Box<str> => Str, char => Char, () => Unit,
    bytes::Bytes => Bytes, uuid::Uuid => Uuid, Duration => Duration,
}

impl<T: Send + 'static> Wire for PhantomData<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Unit
    }
}

impl<T: Wire> Wire for Option<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Option(TypeRef::of::<T>())
    }
    fn __lend(&mut self, lease: &Lease) {
        if let Some(value) = self {
            value.__lend(lease);
        }
    }
    fn __lent(&self) -> bool {
        self.as_ref().is_some_and(T::__lent)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Same(TypeRef::of::<T>())
    }
    fn __lend(&mut self, lease: &Lease) {
        (**self).__lend(lease);
    }
    fn __lent(&self) -> bool {
        (**self).__lent()
    }
}

/// A sequence: bytes where its elements are `u8`, as the codec writes them.
fn bytes_or_seq<T: Wire>() -> TypeDesc {
    let item = TypeRef::of::<T>();
    if item.id() == std::any::TypeId::of::<u8>() {
        TypeDesc::Bytes
    } else {
        TypeDesc::Seq(item)
    }
}

macro_rules! sequences {
    ($([$($generics:tt)*] $sequence:ty => $describe:expr),* $(,)?) => {$(
        impl<$($generics)*> Wire for $sequence {
            fn describe() -> TypeDesc {
                $describe
            }
            fn __lend(&mut self, lease: &Lease) {
                self.iter_mut().for_each(|value| value.__lend(lease));
            }
            fn __lent(&self) -> bool {
                self.iter().any(Wire::__lent)
            }
        }
    )*};
}

sequences! {
    [T: Wire] Vec<T> => bytes_or_seq::<T>(),
    [T: Wire] Box<[T]> => bytes_or_seq::<T>(),
    [T: Wire] VecDeque<T> => TypeDesc::Seq(TypeRef::of::<T>()),
}

macro_rules! arrays {
    ($($len:literal)*) => {
        sequences! { $([T: Wire] [T; $len] => TypeDesc::Array(TypeRef::of::<T>(), $len),)* }
    };
}

// serde implements its traits for these lengths alone.
arrays! { 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 }

macro_rules! tuples {
    ($(($($item:ident $at:tt),*))*) => {$(
        impl<$($item: Wire),*> Wire for ($($item,)*) {
            fn describe() -> TypeDesc {
                TypeDesc::Tuple(vec![$(TypeRef::of::<$item>()),*])
            }
            fn __lend(&mut self, lease: &Lease) {
                $(self.$at.__lend(lease);)*
            }
            fn __lent(&self) -> bool {
                false $(|| self.$at.__lent())*
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}

impl<K: Wire + Eq + Hash, V: Wire, S: BuildHasher + Default + Send + 'static> Wire
    for HashMap<K, V, S>
{
    fn describe() -> TypeDesc {
        TypeDesc::Map {
            key: TypeRef::of::<K>(),
            value: TypeRef::of::<V>(),
            sorted: false,
        }
    }
    fn __lend(&mut self, lease: &Lease) {
        self.values_mut().for_each(|value| value.__lend(lease));
    }
    fn __lent(&self) -> bool {
        self.values().any(V::__lent)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn describe() -> TypeDesc {
        TypeDesc::Map {
            key: TypeRef::of::<K>(),
            value: TypeRef::of::<V>(),
            sorted: true,
        }
    }
    fn __lend(&mut self, lease: &Lease) {
        self.values_mut().for_each(|value| value.__lend(lease));
    }
    fn __lent(&self) -> bool {
        self.values().any(V::__lent)
    }
}

// Handles are neither `Hash` nor `Ord`, so that no set holds one.
impl<T: Wire + Eq + Hash, S: BuildHasher + Default + Send + 'static> Wire for HashSet<T, S> {
    fn describe() -> TypeDesc {
        TypeDesc::Set(TypeRef::of::<T>())
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn describe() -> TypeDesc {
        TypeDesc::Set(TypeRef::of::<T>())
    }
}
