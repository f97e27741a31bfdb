//! What [`Set`](super::Set) and [`HSet`](crate::track::HSet) have in common: most methods, and the traits. `$order` is
//! what an item is looked up by; `$build` is what it takes of a hasher to change a set, `$all` to send one.

macro_rules! api {
    (
        $name:ident<T $(, $s:ident: [$($build:tt)*], [$($all:tt)*])?>, $std:ident, $module:ident,
        items: [$($order:path),+]
    ) => {
        impl<T: Key $(+ $order)+ $(, $s: $($build)*)?> $name<T $(, $s)?> {
            /// As the standard library's.
            pub fn insert(&mut self, item: T) -> bool {
                let (table, recorder) = self.inner.parts();
                let Some(mut recorder) = recorder else {
                    return table.insert(item);
                };
                recorder.record(|log| {
                    let known = item.clone();
                    let is_new = table.insert(item);
                    if is_new {
                        log.note_put(known, None, |()| (), drop);
                    }
                    is_new
                })
            }

            /// As the standard library's.
            pub fn replace(&mut self, item: T) -> Option<T> {
                let (table, recorder) = self.inner.parts();
                let Some(mut recorder) = recorder else {
                    return table.replace(item);
                };
                recorder.record(|log| {
                    let known = item.clone();
                    let old = table.replace(item);
                    // Equal items are written alike: where there was one, there is nothing to tell.
                    if old.is_none() {
                        log.note_put(known, None, |()| (), drop);
                    }
                    old
                })
            }

            /// As the standard library's.
            pub fn remove<Q>(&mut self, item: &Q) -> bool
            where
                T: Borrow<Q>,
                Q: ?Sized $(+ $order)+,
            {
                self.take_with(|table| table.take(item), |item| drop(item), |_| ()).is_some()
            }

            /// As the standard library's. What it returns while the set is being edited is a clone.
            pub fn take<Q>(&mut self, item: &Q) -> Option<T>
            where
                T: Borrow<Q>,
                Q: ?Sized $(+ $order)+,
            {
                self.take_with(|table| table.take(item), |item| item, T::clone)
            }

            fn take_with<R>(
                &mut self,
                take: impl FnOnce(&mut $std<T $(, $s)?>) -> Option<T>,
                given: impl FnOnce(T) -> R,
                copy: impl FnOnce(&T) -> R,
            ) -> Option<R> {
                let (table, recorder) = self.inner.parts();
                match recorder {
                    None => take(table).map(given),
                    Some(mut recorder) => recorder.record(|log| {
                        let item = take(table)?;
                        let back = copy(&item);
                        log.note_dropped(item, ());
                        Some(back)
                    }),
                }
            }

            /// As the standard library's.
            pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
                let (table, recorder) = self.inner.parts();
                let Some(mut recorder) = recorder else {
                    return table.retain(keep);
                };
                recorder.record(|log| {
                    table.retain(|item| {
                        let stays = keep(item);
                        if !stays {
                            log.note_dropped(item.clone(), ());
                        }
                        stays
                    });
                });
            }

            /// How many there are; bytes, of a text. Here and not by `Deref` alone, so that it has a path.
            pub fn len(&self) -> usize {
                (**self).len()
            }

            /// Whether there are none: what `#[serde(skip_serializing_if = "..::is_empty")]` may name.
            pub fn is_empty(&self) -> bool {
                (**self).is_empty()
            }

            /// As the standard library's.
            pub fn clear(&mut self) {
                self.inner.clear();
            }
        }

        impl<T $(, $s)?> $name<T $(, $s)?> {
            /// The standard library's set, with all that is in it.
            pub fn into_inner(self) -> $std<T $(, $s)?> {
                self.inner.table
            }
        }

        /// For reading only: what changes it is a method of its own.
        impl<T $(, $s)?> Deref for $name<T $(, $s)?> {
            type Target = $std<T $(, $s)?>;

            fn deref(&self) -> &Self::Target {
                &self.inner.table
            }
        }

        impl<T $(, $s: Default)?> Default for $name<T $(, $s)?> {
            fn default() -> Self {
                $std::default().into()
            }
        }

        /// A clone is a value of its own: nobody watches it.
        impl<T: Clone $(, $s: Clone)?> Clone for $name<T $(, $s)?> {
            fn clone(&self) -> Self {
                self.inner.table.clone().into()
            }
        }

        impl<T: fmt::Debug $(, $s)?> fmt::Debug for $name<T $(, $s)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.table.fmt(f)
            }
        }

        impl<T $(, $s)?> From<$std<T $(, $s)?>> for $name<T $(, $s)?> {
            fn from(table: $std<T $(, $s)?>) -> Self {
                $name {
                    inner: Watched::new(table),
                }
            }
        }

        impl<T $(, $s)?> From<$name<T $(, $s)?>> for $std<T $(, $s)?> {
            fn from(set: $name<T $(, $s)?>) -> Self {
                set.inner.table
            }
        }

        impl<T: Key $(+ $order)+ $(, $s: $($build)*)?> FromIterator<T> for $name<T $(, $s)?> {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                $std::from_iter(items).into()
            }
        }

        impl<T: Key $(+ $order)+, const N: usize $(, $s: $($build)*)?> From<[T; N]> for $name<T $(, $s)?> {
            fn from(items: [T; N]) -> Self {
                $std::from_iter(items).into()
            }
        }

        impl<T: Key $(+ $order)+ $(, $s: $($build)*)?> Extend<T> for $name<T $(, $s)?> {
            fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
                for item in items {
                    self.insert(item);
                }
            }
        }

        impl<'a, T: Key + Copy $(+ $order)+ $(, $s: $($build)*)?> Extend<&'a T> for $name<T $(, $s)?> {
            fn extend<I: IntoIterator<Item = &'a T>>(&mut self, items: I) {
                self.extend(items.into_iter().copied());
            }
        }

        impl<T $(, $s)?> IntoIterator for $name<T $(, $s)?> {
            type Item = T;
            type IntoIter = $module::IntoIter<T>;

            fn into_iter(self) -> Self::IntoIter {
                self.inner.table.into_iter()
            }
        }

        impl<'a, T $(, $s)?> IntoIterator for &'a $name<T $(, $s)?> {
            type Item = &'a T;
            type IntoIter = $module::Iter<'a, T>;

            fn into_iter(self) -> Self::IntoIter {
                self.inner.table.iter()
            }
        }

        impl<T: Serialize $(, $s)?> Serialize for $name<T $(, $s)?> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.inner.table.serialize(serializer)
            }
        }

        impl<'de, T: Key $(+ $order)+ $(, $s: $($build)*)?> Deserialize<'de> for $name<T $(, $s)?> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $std::deserialize(deserializer).map(Self::from)
            }
        }

        impl<T: Key $(+ $order)+ $(, $s: $($all)*)?> Wire for $name<T $(, $s)?> {
            const PLAIN: bool = T::PLAIN;

            fn describe() -> TypeDesc {
                <$std<T $(, $s)?>>::describe()
            }

            fn __lend(&mut self, lease: &Lease) {
                self.inner.table.__lend(lease);
            }

            fn __lent(&self) -> bool {
                self.inner.table.__lent()
            }
        }

        impl<T: Key $(+ $order)+ $(, $s: $($all)*)?> Track for $name<T $(, $s)?> {
            type Shadow = u64;

            fn shadow(&mut self) -> u64 {
                self.inner.arm()
            }

            fn flush(&mut self, shadow: &u64, patcher: &mut Patcher) -> Result<bool, EncodeError> {
                self.inner.flush(*shadow, patcher)
            }

            fn undo(&mut self, shadow: u64) -> bool {
                self.inner.undo(shadow)
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        self.inner.replace(reader.value()?);
                        Ok(())
                    }
                    Node::Map(pairs) => (0..pairs).try_for_each(|_| {
                        let item: T = reader.value()?;
                        reader.slot(&mut |reader, slot| {
                            match slot {
                                Slot::Unset => self.inner.discard(&item),
                                Slot::Set => {
                                    let () = reader.value()?;
                                    self.insert(item.clone());
                                }
                                Slot::Change => return Err(PatchError::Shape),
                            }
                            Ok(())
                        })
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn same(&self, other: &Self) -> bool {
                self.inner.table == other.inner.table
            }
        }
    };
}

pub(crate) use api;
