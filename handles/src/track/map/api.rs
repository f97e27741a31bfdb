//! What [`Map`](super::Map) and [`HMap`](crate::track::HMap) have in common, which is most of it: the methods that look a
//! key up or go through all of them, and the traits. `$order` is what a key is looked up by; `$build` is what it takes of a
//! hasher to change a map, `$all` to send one.

macro_rules! api {
    (
        $name:ident<K, V $(, $s:ident: [$($build:tt)*], [$($all:tt)*])?>, $std:ident, $module:ident,
        keys: [$($order:path),+]
    ) => {
        /// What is looked up and changed.
        impl<K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> $name<K, V $(, $s)?> {
            /// As the standard library's.
            pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
            where
                K: Borrow<Q>,
                Q: ?Sized $(+ $order)+,
            {
                let (table, recorder) = self.inner.parts();
                if let Some(mut recorder) = recorder {
                    let (known, _) = table.get_key_value(key)?;
                    if !recorder.knows(known) {
                        let known = known.clone();
                        recorder.touch_new(known, table.get_mut(key)?);
                    }
                }
                table.get_mut(key)
            }

            /// As the standard library's. What it returns is a clone, where there was a value before the edit.
            pub fn insert(&mut self, key: K, value: V) -> Option<V> {
                self.inner.insert(key, value)
            }

            /// As the standard library's. What it returns is a clone, if it was there before the edit.
            pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
            where
                K: Borrow<Q>,
                Q: ?Sized $(+ $order)+,
            {
                self.remove_with(|table| table.remove_entry(key), |_| ()).map(|(_, value)| value)
            }

            /// As the standard library's. What it returns is a clone, if it was there before the edit.
            pub fn remove_entry<Q>(&mut self, key: &Q) -> Option<(K, V)>
            where
                K: Borrow<Q>,
                Q: ?Sized $(+ $order)+,
            {
                self.remove_with(|table| table.remove_entry(key), K::clone)
            }

            fn remove_with<R>(
                &mut self,
                remove: impl FnOnce(&mut $std<K, V $(, $s)?>) -> Option<(K, V)>,
                name: impl FnOnce(&K) -> R,
            ) -> Option<(R, V)> {
                let (table, recorder) = self.inner.parts();
                match recorder {
                    None => remove(table).map(|(key, value)| (name(&key), value)),
                    Some(mut recorder) => recorder.record(|log| {
                        let (key, old) = remove(table)?;
                        Some((name(&key), log.note_taken(key, old)))
                    }),
                }
            }

            /// As the standard library's.
            pub fn entry(&mut self, key: K) -> Entry<'_, K, V $(, $s)?> {
                let (table, recorder) = self.inner.parts();
                Entry::new(table.entry(key), recorder)
            }

            /// As the standard library's. While the map is being edited it notes each value that it hands out.
            pub fn iter_mut(&mut self) -> IterMut<'_, K, V $(, $s)?> {
                let (table, recorder) = self.inner.parts();
                IterMut {
                    iter: table.iter_mut(),
                    recorder,
                }
            }

            /// As the standard library's. While the map is being edited it notes every value.
            pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
                let (table, recorder) = self.inner.parts();
                let Some(mut recorder) = recorder else {
                    return table.retain(keep);
                };
                recorder.record(|log| {
                    let mut gone = Vec::new();
                    for (key, value) in &mut *table {
                        log.note_touched(key, value);
                        if !keep(key, value) {
                            gone.push(key.clone());
                        }
                    }
                    for key in &gone {
                        if let Some((key, old)) = table.remove_entry(key) {
                            log.note_dropped(key, old);
                        }
                    }
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

        impl<K, V: Track $(, $s)?> $name<K, V $(, $s)?> {
            /// The standard library's map, with all that is in it.
            pub fn into_inner(self) -> $std<K, V $(, $s)?> {
                self.inner.table
            }

            /// As the standard library's.
            pub fn into_keys(self) -> $module::IntoKeys<K, V> {
                self.inner.table.into_keys()
            }

            /// As the standard library's.
            pub fn into_values(self) -> $module::IntoValues<K, V> {
                self.inner.table.into_values()
            }
        }

        /// For reading only: what changes it is a method of its own.
        impl<K, V: Track $(, $s)?> Deref for $name<K, V $(, $s)?> {
            type Target = $std<K, V $(, $s)?>;

            fn deref(&self) -> &Self::Target {
                &self.inner.table
            }
        }

        impl<K, V: Track $(, $s: Default)?> Default for $name<K, V $(, $s)?> {
            fn default() -> Self {
                $std::default().into()
            }
        }

        /// A clone is a value of its own: nobody watches it.
        impl<K: Clone, V: Track $(, $s: Clone)?> Clone for $name<K, V $(, $s)?> {
            fn clone(&self) -> Self {
                self.inner.table.clone().into()
            }
        }

        impl<K: fmt::Debug, V: Track + fmt::Debug $(, $s)?> fmt::Debug for $name<K, V $(, $s)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.table.fmt(f)
            }
        }

        impl<K, V: Track $(, $s)?> From<$std<K, V $(, $s)?>> for $name<K, V $(, $s)?> {
            fn from(table: $std<K, V $(, $s)?>) -> Self {
                $name {
                    inner: Watched::new(table),
                }
            }
        }

        impl<K, V: Track $(, $s)?> From<$name<K, V $(, $s)?>> for $std<K, V $(, $s)?> {
            fn from(map: $name<K, V $(, $s)?>) -> Self {
                map.inner.table
            }
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> FromIterator<(K, V)>
            for $name<K, V $(, $s)?>
        {
            fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
                $std::from_iter(entries).into()
            }
        }

        impl<K: Key $(+ $order)+, V: Track, const N: usize $(, $s: $($build)*)?> From<[(K, V); N]>
            for $name<K, V $(, $s)?>
        {
            fn from(entries: [(K, V); N]) -> Self {
                $std::from_iter(entries).into()
            }
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> Extend<(K, V)>
            for $name<K, V $(, $s)?>
        {
            fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
                for (key, value) in entries {
                    self.inner.put(key, value);
                }
            }
        }

        impl<'a, K: Key + Copy $(+ $order)+, V: Track + Copy $(, $s: $($build)*)?> Extend<(&'a K, &'a V)>
            for $name<K, V $(, $s)?>
        {
            fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, entries: I) {
                self.extend(entries.into_iter().map(|(key, value)| (*key, *value)));
            }
        }

        impl<K, V: Track $(, $s)?> IntoIterator for $name<K, V $(, $s)?> {
            type Item = (K, V);
            type IntoIter = $module::IntoIter<K, V>;

            fn into_iter(self) -> Self::IntoIter {
                self.inner.table.into_iter()
            }
        }

        impl<'a, K, V: Track $(, $s)?> IntoIterator for &'a $name<K, V $(, $s)?> {
            type Item = (&'a K, &'a V);
            type IntoIter = $module::Iter<'a, K, V>;

            fn into_iter(self) -> Self::IntoIter {
                self.inner.table.iter()
            }
        }

        impl<'a, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> IntoIterator
            for &'a mut $name<K, V $(, $s)?>
        {
            type Item = (&'a K, &'a mut V);
            type IntoIter = IterMut<'a, K, V $(, $s)?>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter_mut()
            }
        }

        /// As the standard library's; it notes each value that it hands out.
        pub struct IterMut<'a, K, V: Track $(, $s)?> {
            iter: $module::IterMut<'a, K, V>,
            recorder: Option<Recorder<'a, $std<K, State<V> $(, $s)?>>>,
        }

        impl<'a, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> Iterator
            for IterMut<'a, K, V $(, $s)?>
        {
            type Item = (&'a K, &'a mut V);

            fn next(&mut self) -> Option<Self::Item> {
                let (key, value) = self.iter.next()?;
                if let Some(recorder) = &mut self.recorder {
                    recorder.touch(key, value);
                }
                Some((key, value))
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.iter.size_hint()
            }
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> ExactSizeIterator
            for IterMut<'_, K, V $(, $s)?>
        {
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> FusedIterator
            for IterMut<'_, K, V $(, $s)?>
        {
        }

        impl<K: fmt::Debug, V: Track + fmt::Debug $(, $s)?> fmt::Debug for IterMut<'_, K, V $(, $s)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.iter.fmt(f)
            }
        }

        impl<K: Serialize, V: Track $(, $s)?> Serialize for $name<K, V $(, $s)?> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.inner.table.serialize(serializer)
            }
        }

        impl<'de, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> Deserialize<'de>
            for $name<K, V $(, $s)?>
        {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $std::deserialize(deserializer).map(Self::from)
            }
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($all)*)?> Wire for $name<K, V $(, $s)?> {
            const PLAIN: bool = K::PLAIN && V::PLAIN;

            fn describe() -> TypeDesc {
                <$std<K, V $(, $s)?>>::describe()
            }

            fn __lend(&mut self, lease: &Lease) {
                self.inner.table.__lend(lease);
            }

            fn __lent(&self) -> bool {
                self.inner.table.__lent()
            }
        }

        impl<K: Key $(+ $order)+, V: Track $(, $s: $($all)*)?> Track for $name<K, V $(, $s)?> {
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
                        let key: K = reader.value()?;
                        reader.slot(&mut |reader, slot| {
                            match slot {
                                Slot::Unset => self.inner.discard(&key),
                                Slot::Set => {
                                    let value = reader.inner(|reader| reader.value())?;
                                    self.inner.put(key.clone(), value);
                                }
                                Slot::Change => {
                                    let value = self.get_mut(&key).ok_or(PatchError::Missing)?;
                                    reader.inner(|reader| value.patch(reader))?;
                                }
                            }
                            Ok(())
                        })
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn adopt(&mut self, old: &mut Self) {
                for (key, value) in &mut self.inner.table {
                    if let Some(old) = old.inner.table.get_mut(key) {
                        value.adopt(old);
                    }
                }
            }

            fn same(&self, other: &Self) -> bool {
                self.len() == other.len()
                    && self
                        .iter()
                        .all(|(key, value)| other.get(key).is_some_and(|other| value.same(other)))
            }
        }
    };
}

pub(crate) use api;
