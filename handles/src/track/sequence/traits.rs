//! The traits that [`List`](crate::track::List) and [`Deque`](crate::track::Deque) have as their models in std do.

/// `$name<T>`, which holds a `Sequence<T, $std<T>>`, reads as `$target`, and is compared with each `$other` too.
macro_rules! traits {
    (
        $name:ident over $std:ident, reads as $target:ty, equals [$($other:ty),*],
        $iter:path, $iter_mut:path, $into_iter:path
    ) => {
        impl<T: Track> Default for $name<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        /// Not armed.
        impl<T: Track> Clone for $name<T> {
            fn clone(&self) -> Self {
                self.seq.items.clone().into()
            }
        }

        impl<T: Track> Deref for $name<T> {
            type Target = $target;

            fn deref(&self) -> &Self::Target {
                &self.seq.items
            }
        }

        impl<T: Track> From<$std<T>> for $name<T> {
            fn from(items: $std<T>) -> Self {
                $name {
                    seq: Sequence::new(items),
                }
            }
        }

        impl<T: Track, const N: usize> From<[T; N]> for $name<T> {
            fn from(items: [T; N]) -> Self {
                $std::from(items).into()
            }
        }

        impl<T: Track> From<$name<T>> for $std<T> {
            fn from(items: $name<T>) -> Self {
                items.seq.items
            }
        }

        impl<T: Track> FromIterator<T> for $name<T> {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                $std::from_iter(items).into()
            }
        }

        impl<T: Track> Extend<T> for $name<T> {
            fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
                self.seq.tell_append();
                self.seq.items.extend(items);
            }
        }

        impl<'a, T: Track + Copy> Extend<&'a T> for $name<T> {
            fn extend<I: IntoIterator<Item = &'a T>>(&mut self, items: I) {
                self.extend(items.into_iter().copied());
            }
        }

        impl<T: Track> IntoIterator for $name<T> {
            type Item = T;
            type IntoIter = $into_iter;

            fn into_iter(self) -> Self::IntoIter {
                self.seq.items.into_iter()
            }
        }

        impl<'a, T: Track> IntoIterator for &'a $name<T> {
            type Item = &'a T;
            type IntoIter = $iter;

            fn into_iter(self) -> Self::IntoIter {
                self.seq.items.iter()
            }
        }

        impl<'a, T: Track> IntoIterator for &'a mut $name<T> {
            type Item = &'a mut T;
            type IntoIter = IterMut<'a, T, $iter_mut>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter_mut()
            }
        }

        impl<T: Track + PartialEq> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                self.seq.items == other.seq.items
            }
        }

        impl<T: Track + Eq> Eq for $name<T> {}

        $(
            impl<T: Track + PartialEq> PartialEq<$other> for $name<T> {
                fn eq(&self, other: &$other) -> bool {
                    self.seq.items == *other
                }
            }
        )*

        impl<T: Track + PartialOrd> PartialOrd for $name<T> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                self.seq.items.partial_cmp(&other.seq.items)
            }
        }

        impl<T: Track + Ord> Ord for $name<T> {
            fn cmp(&self, other: &Self) -> Ordering {
                self.seq.items.cmp(&other.seq.items)
            }
        }

        impl<T: Track + Hash> Hash for $name<T> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.seq.items.hash(state);
            }
        }

        impl<T: Track + fmt::Debug> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.seq.items.fmt(f)
            }
        }

        impl<T: Track> Serialize for $name<T> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.seq.items.serialize(serializer)
            }
        }

        impl<'de, T: Track> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $std::<T>::deserialize(deserializer).map(Self::from)
            }
        }

        impl<T: Track> Wire for $name<T> {
            const PLAIN: bool = T::PLAIN;

            fn describe() -> TypeDesc {
                <$std<T> as Wire>::describe()
            }

            fn __lend(&mut self, lease: &Lease) {
                self.seq.items.__lend(lease);
            }

            fn __lent(&self) -> bool {
                self.seq.items.__lent()
            }
        }

        impl<T: Track> Track for $name<T> {
            type Shadow = u64;

            fn shadow(&mut self) -> u64 {
                self.seq.shadow()
            }

            fn flush(
                &mut self,
                shadow: &u64,
                patcher: &mut Patcher,
            ) -> Result<bool, EncodeError> {
                self.seq.flush(*shadow, patcher)
            }

            fn undo(&mut self, shadow: u64) -> bool {
                self.seq.undo(shadow)
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                self.seq.patch(reader)
            }

            fn same(&self, other: &Self) -> bool {
                Items::same(&self.seq.items, &other.seq.items)
            }
        }
    };
}

pub(crate) use traits;
