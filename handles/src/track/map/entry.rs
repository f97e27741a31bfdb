//! The entry API of [`Map`](super::Map) and [`HMap`](crate::track::HMap): the standard library's, which notes what happens.

macro_rules! entries {
    ($module:ident, $log:ident<K, V $(, $s:ident: [$($build:tt)*])?>, keys: [$($order:path),+]) => {
        /// As the standard library's.
        pub enum Entry<'a, K, V: Track $(, $s)?> {
            /// Nothing is there.
            Vacant(VacantEntry<'a, K, V $(, $s)?>),
            /// Something is there.
            Occupied(OccupiedEntry<'a, K, V $(, $s)?>),
        }

        /// As the standard library's.
        pub struct OccupiedEntry<'a, K, V: Track $(, $s)?> {
            entry: $module::OccupiedEntry<'a, K, V>,
            recorder: Option<Recorder<'a, $log<K, State<V> $(, $s)?>>>,
        }

        /// As the standard library's.
        pub struct VacantEntry<'a, K, V: Track $(, $s)?> {
            entry: $module::VacantEntry<'a, K, V>,
            recorder: Option<Recorder<'a, $log<K, State<V> $(, $s)?>>>,
        }

        impl<'a, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> Entry<'a, K, V $(, $s)?> {
            pub(crate) fn new(
                entry: $module::Entry<'a, K, V>,
                recorder: Option<Recorder<'a, $log<K, State<V> $(, $s)?>>>,
            ) -> Self {
                match entry {
                    $module::Entry::Vacant(entry) => Entry::Vacant(VacantEntry { entry, recorder }),
                    $module::Entry::Occupied(entry) => {
                        Entry::Occupied(OccupiedEntry::new(entry, recorder))
                    }
                }
            }

            /// As the standard library's.
            pub fn key(&self) -> &K {
                match self {
                    Entry::Vacant(entry) => entry.key(),
                    Entry::Occupied(entry) => entry.key(),
                }
            }

            /// As the standard library's.
            pub fn or_insert(self, default: V) -> &'a mut V {
                self.or_insert_with(|| default)
            }

            /// As the standard library's.
            pub fn or_insert_with(self, default: impl FnOnce() -> V) -> &'a mut V {
                self.or_insert_with_key(|_| default())
            }

            /// As the standard library's.
            pub fn or_insert_with_key(self, default: impl FnOnce(&K) -> V) -> &'a mut V {
                match self {
                    Entry::Vacant(entry) => {
                        let value = default(entry.key());
                        entry.insert(value)
                    }
                    Entry::Occupied(entry) => entry.into_mut(),
                }
            }

            /// As the standard library's.
            pub fn or_default(self) -> &'a mut V
            where
                V: Default,
            {
                self.or_insert_with(V::default)
            }

            /// As the standard library's.
            #[must_use]
            pub fn and_modify(mut self, modify: impl FnOnce(&mut V)) -> Self {
                if let Entry::Occupied(entry) = &mut self {
                    modify(entry.get_mut());
                }
                self
            }
        }

        impl<'a, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> VacantEntry<'a, K, V $(, $s)?> {
            /// As the standard library's.
            pub fn key(&self) -> &K {
                self.entry.key()
            }

            /// As the standard library's.
            pub fn into_key(self) -> K {
                self.entry.into_key()
            }

            /// As the standard library's.
            pub fn insert(self, value: V) -> &'a mut V {
                let VacantEntry { entry, recorder } = self;
                match recorder {
                    None => entry.insert(value),
                    Some(mut recorder) => recorder.record(|log| {
                        let known = entry.key().clone();
                        let value = entry.insert(value);
                        log.note_put(known, None, |_| (), drop);
                        value
                    }),
                }
            }
        }

        impl<'a, K: Key $(+ $order)+, V: Track $(, $s: $($build)*)?> OccupiedEntry<'a, K, V $(, $s)?> {
            pub(crate) fn new(
                entry: $module::OccupiedEntry<'a, K, V>,
                recorder: Option<Recorder<'a, $log<K, State<V> $(, $s)?>>>,
            ) -> Self {
                OccupiedEntry { entry, recorder }
            }

            /// As the standard library's.
            pub fn key(&self) -> &K {
                self.entry.key()
            }

            /// As the standard library's.
            pub fn get(&self) -> &V {
                self.entry.get()
            }

            fn touch(&mut self) {
                if let Some(recorder) = &mut self.recorder
                    && !recorder.knows(self.entry.key())
                {
                    let known = self.entry.key().clone();
                    recorder.touch_new(known, self.entry.get_mut());
                }
            }

            /// As the standard library's.
            pub fn get_mut(&mut self) -> &mut V {
                self.touch();
                self.entry.get_mut()
            }

            /// As the standard library's.
            pub fn into_mut(mut self) -> &'a mut V {
                self.touch();
                self.entry.into_mut()
            }

            /// As the standard library's. What it returns is a clone, if it was there before the edit.
            pub fn insert(&mut self, value: V) -> V {
                match &mut self.recorder {
                    None => self.entry.insert(value),
                    Some(recorder) => recorder.record(|log| {
                        let known = self.entry.key().clone();
                        let old = self.entry.insert(value);
                        log.note_replaced(known, old)
                    }),
                }
            }

            /// As the standard library's. What it returns is a clone, if it was there before the edit.
            pub fn remove(self) -> V {
                let OccupiedEntry { entry, recorder } = self;
                match recorder {
                    None => entry.remove(),
                    Some(mut recorder) => recorder.record(|log| {
                        let (key, old) = entry.remove_entry();
                        log.note_taken(key, old)
                    }),
                }
            }

            /// As the standard library's. What it returns are clones, if it was there before the edit.
            pub fn remove_entry(self) -> (K, V) {
                let OccupiedEntry { entry, recorder } = self;
                match recorder {
                    None => entry.remove_entry(),
                    Some(mut recorder) => recorder.record(|log| {
                        let (key, old) = entry.remove_entry();
                        (key.clone(), log.note_taken(key, old))
                    }),
                }
            }
        }

        impl<K: Key + fmt::Debug $(+ $order)+, V: Track + fmt::Debug $(, $s: $($build)*)?> fmt::Debug
            for Entry<'_, K, V $(, $s)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Entry::Vacant(entry) => entry.fmt(f),
                    Entry::Occupied(entry) => entry.fmt(f),
                }
            }
        }

        impl<K: Key + fmt::Debug $(+ $order)+, V: Track $(, $s: $($build)*)?> fmt::Debug
            for VacantEntry<'_, K, V $(, $s)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple("VacantEntry").field(self.key()).finish()
            }
        }

        impl<K: Key + fmt::Debug $(+ $order)+, V: Track + fmt::Debug $(, $s: $($build)*)?> fmt::Debug
            for OccupiedEntry<'_, K, V $(, $s)?>
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("OccupiedEntry")
                    .field("key", self.key())
                    .field("value", self.get())
                    .finish()
            }
        }
    };
}

pub(crate) use entries;
