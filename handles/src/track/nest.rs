//! What holds a fixed number of other values: `Option`, `Box`, tuples, arrays.

use super::Track;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Slot, Tag};

impl<T: Track> Track for Option<T> {
    type Shadow = Option<T::Shadow>;

    const NULLABLE: bool = {
        assert!(
            !T::NULLABLE,
            "an `Option` of what may be written as `nil` loses which of the two it was: use an enum"
        );
        true
    };

    const FLAT: bool = T::FLAT;

    fn shadow(&mut self) -> Self::Shadow {
        // Named, so that every Option that is tracked is checked.
        let _ = Self::NULLABLE;
        self.as_mut().map(T::shadow)
    }

    fn flush(&mut self, shadow: &Self::Shadow, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        match (self.as_mut(), shadow) {
            (None, None) => Ok(false),
            (Some(value), Some(shadow)) => value.flush(shadow, patcher),
            (Some(_), None) | (None, Some(_)) => {
                patcher.set(self)?;
                Ok(true)
            }
        }
    }

    fn undo(&mut self, shadow: Self::Shadow) -> bool {
        match (self.as_mut(), shadow) {
            (Some(value), Some(shadow)) => value.undo(shadow),
            (None, Some(_)) => false,
            (_, None) => {
                *self = None;
                true
            }
        }
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.slot(&mut |reader, slot| match slot {
            Slot::Set => {
                *self = reader.value()?;
                Ok(())
            }
            Slot::Change => match self.as_mut() {
                Some(value) => reader.inner(|reader| value.patch(reader)),
                None => Err(PatchError::Missing),
            },
            // `None` is `[0, nil]`.
            Slot::Unset => Err(PatchError::Shape),
        })
    }

    fn adopt(&mut self, old: &mut Self) {
        if let (Some(value), Some(old)) = (self, old) {
            value.adopt(old);
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Some(a), Some(b)) => a.same(b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl<T: Track> Track for Box<T> {
    // Boxed too: else a recursive type would have a shadow without an end.
    type Shadow = Box<T::Shadow>;

    const NULLABLE: bool = T::NULLABLE;
    const FLAT: bool = T::FLAT;

    fn shadow(&mut self) -> Self::Shadow {
        Box::new((**self).shadow())
    }

    fn flush(&mut self, shadow: &Self::Shadow, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        (**self).flush(shadow, patcher)
    }

    fn undo(&mut self, shadow: Self::Shadow) -> bool {
        (**self).undo(*shadow)
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        (**self).patch(reader)
    }

    fn adopt(&mut self, old: &mut Self) {
        (**self).adopt(&mut **old);
    }

    fn same(&self, other: &Self) -> bool {
        (**self).same(&**other)
    }
}

macro_rules! tuples {
    ($(($($item:ident $at:tt),*))*) => {$(
        impl<$($item: Track),*> Track for ($($item,)*) {
            type Shadow = ($($item::Shadow,)*);

            fn shadow(&mut self) -> Self::Shadow {
                ($(self.$at.shadow(),)*)
            }

            fn flush(
                &mut self,
                shadow: &Self::Shadow,
                patcher: &mut Patcher,
            ) -> Result<bool, EncodeError> {
                patcher.node(Tag::Fields, 1, |fields| {
                    $(fields.field($at, |patcher| self.$at.flush(&shadow.$at, patcher))?;)*
                    Ok(())
                })
            }

            fn undo(&mut self, shadow: Self::Shadow) -> bool {
                // All of them, whatever the first ones say: each ends its watch.
                let undone = [$(self.$at.undo(shadow.$at)),*];
                undone.iter().all(|undone| *undone)
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        *self = reader.value()?;
                        Ok(())
                    }
                    Node::Fields(pairs) => reader.fields(pairs, |reader, field| match field {
                        $($at => self.$at.patch(reader),)*
                        _ => Err(PatchError::Field),
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn adopt(&mut self, old: &mut Self) {
                $(self.$at.adopt(&mut old.$at);)*
            }

            fn same(&self, other: &Self) -> bool {
                true $(&& self.$at.same(&other.$at))*
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

macro_rules! arrays {
    ($($len:literal)*) => {$(
        impl<T: Track> Track for [T; $len] {
            type Shadow = [T::Shadow; $len];

            fn shadow(&mut self) -> Self::Shadow {
                self.each_mut().map(T::shadow)
            }

            fn flush(
                &mut self,
                shadow: &Self::Shadow,
                patcher: &mut Patcher,
            ) -> Result<bool, EncodeError> {
                patcher.node(Tag::Fields, 1, |fields| {
                    for (at, (value, shadow)) in (0..).zip(self.iter_mut().zip(shadow)) {
                        fields.field(at, |patcher| value.flush(shadow, patcher))?;
                    }
                    Ok(())
                })
            }

            fn undo(&mut self, shadow: Self::Shadow) -> bool {
                let undo = |all, (value, shadow): (&mut T, T::Shadow)| value.undo(shadow) && all;
                self.iter_mut().zip(shadow).fold(true, undo)
            }

            fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
                reader.node(&mut |reader, node| match node {
                    Node::Set => {
                        *self = reader.value()?;
                        Ok(())
                    }
                    Node::Fields(pairs) => reader.fields(pairs, |reader, field| {
                        match self.get_mut(field as usize) {
                            Some(value) => value.patch(reader),
                            None => Err(PatchError::Field),
                        }
                    }),
                    _ => Err(PatchError::Shape),
                })
            }

            fn adopt(&mut self, old: &mut Self) {
                self.iter_mut().zip(old).for_each(|(value, old)| value.adopt(old));
            }

            fn same(&self, other: &Self) -> bool {
                self.iter().zip(other).all(|(a, b)| a.same(b))
            }
        }
    )*};
}

// serde implements its traits for these lengths alone.
arrays! { 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 }
