//! Applying a node to a sequence, through the methods that log.

use super::Sequence;
use super::items::{Items, of_bytes};
use crate::patch::{Node, Op, PatchError, PatchReader};
use crate::track::Track;

impl<T: Track, S: Items<T>> Sequence<T, S> {
    pub(crate) fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.node(&mut |reader, node| match node {
            Node::Set => {
                self.replace(reader.value()?);
                Ok(())
            }
            Node::Seq(ops) => reader.ops(ops, |reader, op, len| self.patch_op(reader, op, len)),
            _ => Err(PatchError::Shape),
        })
    }

    /// One operation; `len` MessagePack values follow its tag.
    fn patch_op(
        &mut self,
        reader: &mut PatchReader<'_>,
        op: Op,
        len: usize,
    ) -> Result<(), PatchError> {
        let is_bin = self.items.bin().is_some();
        if is_bin != (op == Op::Bytes) {
            return Err(PatchError::Shape);
        }
        match op {
            Op::At => {
                let index = reader.index()?;
                self.tell_touch(index);
                let item = self.items.at(index).ok_or(PatchError::Range)?;
                reader.inner(|reader| item.patch(reader))
            }
            Op::Splice => {
                let (at, gone) = (reader.index()?, reader.index()?);
                let end = self.end(at, gone)?;
                let new = (2..len)
                    .map(|_| reader.inner(|reader| reader.value()))
                    .collect::<Result<Vec<T>, _>>()?;
                self.splice(at..end, new);
                Ok(())
            }
            Op::Append => {
                self.tell_append();
                for _ in 0..len {
                    let item: T = reader.inner(|reader| reader.value())?;
                    self.items.extend([item]);
                }
                Ok(())
            }
            Op::Move | Op::Swap => {
                let (from, to) = (reader.index()?, reader.index()?);
                if from.max(to) >= self.items.count() {
                    return Err(PatchError::Range);
                }
                match op {
                    Op::Move => self.shift(from, to),
                    _ => self.swap(from, to),
                }
                Ok(())
            }
            Op::Permute => {
                let (start, order) = reader.permutation(self.items.count())?;
                self.permute(start, &order);
                Ok(())
            }
            Op::Truncate => {
                let to = reader.index()?;
                if to > self.items.count() {
                    return Err(PatchError::Range);
                }
                self.truncate(to);
                Ok(())
            }
            Op::Bytes => {
                let (at, gone) = (reader.index()?, reader.index()?);
                let end = self.end(at, gone)?;
                let bytes = reader.bin()?;
                let new = of_bytes(bytes).ok_or(PatchError::Shape)?;
                self.splice(at..end, new);
                Ok(())
            }
        }
    }

    fn end(&self, at: usize, gone: usize) -> Result<usize, PatchError> {
        let end = at.checked_add(gone).ok_or(PatchError::Range)?;
        match end <= self.items.count() {
            true => Ok(end),
            false => Err(PatchError::Range),
        }
    }

    /// Replaces the items of a range that is there. Returns what was.
    pub(crate) fn splice(&mut self, range: std::ops::Range<usize>, new: Vec<T>) -> Vec<T> {
        self.tell_splice(range.clone(), &new);
        let start = range.start;
        let gone = self.items.take(range);
        self.items.put(start, new);
        gone
    }
}
