//! Two versions of one type: which of the sender's fields and variants are which of ours, by wire name (objects.md,
//! section 8).

/// What a reader consults at each field and variant. Built once for two descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The root is the first.
    pub(crate) pairs: Vec<Pair>,
}

/// One of the sender's types beside the one of ours that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pair {
    /// The same all the way down.
    Same,
    /// What a list, map, option or array holds, as a place in the table.
    Inner(u32),
    /// A struct or tuple, by the sender's ordinals: our ordinal and the pair of the field's type.
    Fields(Vec<Option<(u32, u32)>>),
    /// An enum, by the sender's ordinals: our ordinal and the pair of the payload, which is a [`Pair::Fields`].
    Variants(Vec<Option<(u32, u32)>>),
}

impl Translation {
    pub(crate) fn pair(&self, at: u32) -> &Pair {
        self.pairs.get(at as usize).unwrap_or(&Pair::Same)
    }
}
