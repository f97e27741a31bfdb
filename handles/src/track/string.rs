//! `String`: one splice of what lies between the ends that stayed, or all of it where that is not smaller.

use std::iter::zip;

use str_indices::utf16;

use super::Track;
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Tag};

impl Track for String {
    type Shadow = String;

    fn shadow(&mut self) -> String {
        self.clone()
    }

    fn flush(&mut self, shadow: &String, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        let Some((start, old_end, new_end)) = difference(shadow, self) else {
            return Ok(false);
        };
        let inserted = self.get(start..new_end).unwrap_or_default();
        // Two numbers and a header against one header.
        if inserted.len() + 8 >= self.len() {
            patcher.set(self)?;
            return Ok(true);
        }
        let pos = utf16::count(shadow.get(..start).unwrap_or_default());
        let del = utf16::count(shadow.get(start..old_end).unwrap_or_default());
        patcher.node(Tag::Text, 0, |edits| {
            edits.text(pos, del, inserted);
            Ok(())
        })
    }

    fn undo(&mut self, shadow: String) -> bool {
        *self = shadow;
        true
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.node(&mut |reader, node| match node {
            Node::Set => {
                *self = reader.value()?;
                Ok(())
            }
            Node::Text(edits) => {
                let mut near = Near::default();
                (0..edits).try_for_each(|_| {
                    let (pos, del) = (reader.index()?, reader.index()?);
                    let range = near.bytes_of(self, pos, del)?;
                    self.replace_range(range, reader.text()?);
                    Ok(())
                })
            }
            _ => Err(PatchError::Shape),
        })
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// Where the last of several edits was: the next one is mostly near, and behind it.
#[derive(Default)]
pub(crate) struct Near {
    byte: usize,
    unit: usize,
}

impl Near {
    /// The bytes of `text` that `del` UTF-16 units from unit `pos` on are, which are edited next.
    ///
    /// # Errors
    /// They are not all there, or begin or end inside a surrogate pair.
    pub(crate) fn bytes_of(
        &mut self,
        text: &str,
        pos: usize,
        del: usize,
    ) -> Result<std::ops::Range<usize>, PatchError> {
        if pos < self.unit {
            *self = Near::default();
        }
        let rest = text.get(self.byte..).ok_or(PatchError::Range)?;
        let start = self.byte + byte_of(rest, pos - self.unit)?;
        let rest = text.get(start..).ok_or(PatchError::Range)?;
        let len = byte_of(rest, del)?;
        // What is before it stays as it is.
        *self = Near {
            byte: start,
            unit: pos,
        };
        Ok(start..start + len)
    }
}

/// Which byte of `text` its UTF-16 unit `pos` begins at.
fn byte_of(text: &str, pos: usize) -> Result<usize, PatchError> {
    // Behind ASCII alone both count alike; to see that takes a tenth of the time of counting.
    if text.as_bytes().get(..pos).is_some_and(<[u8]>::is_ascii) {
        return Ok(pos);
    }
    // A text never has more units than bytes.
    if pos > text.len() {
        return Err(PatchError::Range);
    }
    let byte = utf16::to_byte_idx(text, pos);
    let before = text.get(..byte).ok_or(PatchError::Range)?;
    match utf16::count(before) == pos {
        true => Ok(byte),
        false => Err(PatchError::Range),
    }
}

/// What lies between the ends that two texts share: where it starts in both, where it ends in the old and in the new
/// one. Bytes, at borders of characters of both. `None`: they are equal.
pub(crate) fn difference(old: &str, new: &str) -> Option<(usize, usize, usize)> {
    let (x, y) = (old.as_bytes(), new.as_bytes());
    let mut start = shared_start(x, y)?;
    while !old.is_char_boundary(start) || !new.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = shared_end(x.get(start..)?, y.get(start..)?);
    while !old.is_char_boundary(old.len() - end) || !new.is_char_boundary(new.len() - end) {
        end -= 1;
    }
    Some((start, old.len() - end, new.len() - end))
}

/// What is compared at once: some ten times faster than byte by byte.
const BLOCK: usize = 128;

/// How many bytes two texts begin with alike; `None`: all of them.
pub(crate) fn shared_start(x: &[u8], y: &[u8]) -> Option<usize> {
    let (mut x_blocks, mut y_blocks) = (x.chunks(BLOCK), y.chunks(BLOCK));
    let mut start = 0;
    loop {
        match (x_blocks.next(), y_blocks.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if a == b => start += a.len(),
            (a, b) => {
                let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
                return Some(start + zip(a, b).take_while(|(a, b)| a == b).count());
            }
        }
    }
}

/// How many bytes two texts end with alike.
pub(crate) fn shared_end(x: &[u8], y: &[u8]) -> usize {
    let blocks = zip(x.rchunks_exact(BLOCK), y.rchunks_exact(BLOCK));
    let whole = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    let rest = |text: &[u8]| text.len() - whole;
    let (x, y) = (
        x.get(..rest(x)).unwrap_or_default(),
        y.get(..rest(y)).unwrap_or_default(),
    );
    let ends = zip(x.iter().rev(), y.iter().rev());
    whole + ends.take_while(|(a, b)| a == b).count()
}
