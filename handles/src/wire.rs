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
use crate::short::Short;

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

    /// Whether no value of this type holds a handle, so that nobody need look for one.
    #[doc(hidden)]
    const PLAIN: bool = false;

    /// Appends the value without serde, where there is a short cut; says whether there is.
    #[doc(hidden)]
    #[inline]
    fn __put(&self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        false
    }

    /// The value at the beginning of `bytes` and its length, where there is a short cut and it fits.
    #[doc(hidden)]
    #[inline]
    fn __take(bytes: &[u8]) -> Option<(Self, usize)> {
        let _ = bytes;
        None
    }

    /// Its bytes, where it is nothing but bytes, shared ones, and so long that copying them is worth avoiding.
    #[doc(hidden)]
    #[inline]
    fn __bulk(&self) -> Option<&bytes::Bytes> {
        None
    }

    /// The value at `at` in `source` and its length, where it can share that memory instead of copying it.
    #[doc(hidden)]
    #[inline]
    fn __share(source: &bytes::Bytes, at: usize) -> Option<(Self, usize)> {
        let _ = (source, at);
        None
    }

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
    ($($leaf:ty => $desc:ident $(, $short:ident)?;)*) => {$(
        impl Wire for $leaf {
            const PLAIN: bool = true;
            fn describe() -> TypeDesc {
                TypeDesc::$desc
            }
            $(leaves!(@$short);)?
        }
    )*};
    (@short) => {
        #[inline]
        fn __put(&self, out: &mut Vec<u8>) -> bool {
            self.put(out);
            true
        }
        #[inline]
        fn __take(bytes: &[u8]) -> Option<(Self, usize)> {
            Short::take(bytes)
        }
    };
}

leaves! {
    bool => Bool, short; u8 => U8, short; u16 => U16, short; u32 => U32, short; u64 => U64, short;
    usize => U64, short; i8 => I8, short; i16 => I16, short; i32 => I32, short; i64 => I64, short;
    isize => I64, short; f32 => F32, short; f64 => F64, short; String => Str, short; () => Unit, short;
    Box<str> => Str; char => Char; uuid::Uuid => Uuid; Duration => Duration;
}

/// Above this bytes go out as they are, in pieces of their own memory.
const BULK: usize = 64 << 10;

impl Wire for bytes::Bytes {
    const PLAIN: bool = true;
    fn describe() -> TypeDesc {
        TypeDesc::Bytes
    }
    fn __bulk(&self) -> Option<&bytes::Bytes> {
        (self.len() > BULK).then_some(self)
    }
    /// Long ones, and only where they make up a good part of what they would keep alive.
    fn __share(source: &bytes::Bytes, at: usize) -> Option<(Self, usize)> {
        let rest = source.get(at..)?;
        let (head, len): (usize, usize) = match *rest {
            [0xc5, a, b, ..] => (3, usize::from(u16::from_be_bytes([a, b]))),
            [0xc6, a, b, c, d, ..] => (5, u32::from_be_bytes([a, b, c, d]) as usize),
            _ => return None,
        };
        let bytes = rest.get(head..head.checked_add(len)?)?;
        let worth = len >= 1024 && len >= source.len() / 4;
        worth.then(|| (source.slice_ref(bytes), head + len))
    }
}

impl<T: Send + 'static> Wire for PhantomData<T> {
    const PLAIN: bool = true;
    fn describe() -> TypeDesc {
        TypeDesc::Unit
    }
}

impl<T: Wire> Wire for Option<T> {
    const PLAIN: bool = T::PLAIN;
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
            const PLAIN: bool = T::PLAIN;
            fn describe() -> TypeDesc {
                $describe
            }
            fn __lend(&mut self, lease: &Lease) {
                if !T::PLAIN {
                    self.iter_mut().for_each(|value| value.__lend(lease));
                }
            }
            fn __lent(&self) -> bool {
                !T::PLAIN && self.iter().any(Wire::__lent)
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
            const PLAIN: bool = true $(&& $item::PLAIN)*;
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

macro_rules! maps {
    ($([$($generics:tt)*] $map:ty, sorted: $sorted:literal;)*) => {$(
        impl<$($generics)*> Wire for $map {
            const PLAIN: bool = K::PLAIN && V::PLAIN;
            fn describe() -> TypeDesc {
                TypeDesc::Map {
                    key: TypeRef::of::<K>(),
                    value: TypeRef::of::<V>(),
                    sorted: $sorted,
                }
            }
            fn __lend(&mut self, lease: &Lease) {
                if !K::PLAIN {
                    let lend = |(mut key, value): (K, V)| {
                        key.__lend(lease);
                        (key, value)
                    };
                    *self = std::mem::take(self).into_iter().map(lend).collect();
                }
                if !V::PLAIN {
                    self.values_mut().for_each(|value| value.__lend(lease));
                }
            }
            fn __lent(&self) -> bool {
                !Self::PLAIN && self.iter().any(|(key, value)| key.__lent() || value.__lent())
            }
        }
    )*};
}

maps! {
    [K: Wire + Eq + Hash, V: Wire, S: BuildHasher + Default + Send + 'static] HashMap<K, V, S>, sorted: false;
    [K: Wire + Ord, V: Wire] BTreeMap<K, V>, sorted: true;
}

macro_rules! sets {
    ($([$($generics:tt)*] $set:ty;)*) => {$(
        impl<$($generics)*> Wire for $set {
            const PLAIN: bool = T::PLAIN;
            fn describe() -> TypeDesc {
                TypeDesc::Set(TypeRef::of::<T>())
            }
            fn __lend(&mut self, lease: &Lease) {
                if !T::PLAIN {
                    let lend = |mut item: T| {
                        item.__lend(lease);
                        item
                    };
                    *self = std::mem::take(self).into_iter().map(lend).collect();
                }
            }
            fn __lent(&self) -> bool {
                !T::PLAIN && self.iter().any(T::__lent)
            }
        }
    )*};
}

sets! {
    [T: Wire + Eq + Hash, S: BuildHasher + Default + Send + 'static] HashSet<T, S>;
    [T: Wire + Ord] BTreeSet<T>;
}
