//! The iterators of sequences.

use std::collections::BTreeMap;
use std::iter::{Enumerate, FusedIterator};

use crate::track::Track;

/// Where shadows go, and below which index one is needed.
pub(crate) type Touched<'a, T> = (&'a mut BTreeMap<usize, <T as Track>::Shadow>, usize);

/// Gives out elements to be changed. Only those that it gives out are looked at afterwards.
pub struct IterMut<'a, T: Track, I> {
    items: Enumerate<I>,
    /// The index of the first.
    start: usize,
    touched: Option<Touched<'a, T>>,
}

impl<'a, T: Track, I: Iterator<Item = &'a mut T>> IterMut<'a, T, I> {
    pub(crate) fn new(items: I, start: usize, touched: Option<Touched<'a, T>>) -> Self {
        IterMut {
            items: items.enumerate(),
            start,
            touched,
        }
    }

    fn touch(&mut self, (index, item): (usize, &'a mut T)) -> &'a mut T {
        if let Some((touched, keep)) = &mut self.touched {
            let index = self.start + index;
            if index < *keep {
                touched.entry(index).or_insert_with(|| item.shadow());
            }
        }
        item
    }
}

impl<'a, T: Track, I: Iterator<Item = &'a mut T>> Iterator for IterMut<'a, T, I> {
    type Item = &'a mut T;

    fn next(&mut self) -> Option<&'a mut T> {
        let next = self.items.next()?;
        Some(self.touch(next))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<&'a mut T> {
        let next = self.items.nth(n)?;
        Some(self.touch(next))
    }
}

impl<'a, T: Track, I> DoubleEndedIterator for IterMut<'a, T, I>
where
    I: DoubleEndedIterator<Item = &'a mut T> + ExactSizeIterator,
{
    fn next_back(&mut self) -> Option<&'a mut T> {
        let next = self.items.next_back()?;
        Some(self.touch(next))
    }
}

impl<'a, T: Track, I: ExactSizeIterator<Item = &'a mut T>> ExactSizeIterator for IterMut<'a, T, I> {}

impl<'a, T: Track, I: FusedIterator<Item = &'a mut T>> FusedIterator for IterMut<'a, T, I> {}

impl<T: Track, I> std::fmt::Debug for IterMut<'_, T, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IterMut").finish_non_exhaustive()
    }
}

/// The items that were removed. While the sequence is armed they are out of it at once, so that one which is leaked
/// leaves the log true; else as std.
#[derive(Debug)]
pub struct Drain<T, I>(Source<T, I>);

#[derive(Debug)]
enum Source<T, I> {
    Std(I),
    Taken(std::vec::IntoIter<T>),
}

impl<T, I> Drain<T, I> {
    pub(crate) fn lazy(items: I) -> Self {
        Drain(Source::Std(items))
    }

    pub(crate) fn taken(items: Vec<T>) -> Self {
        Drain(Source::Taken(items.into_iter()))
    }
}

impl<T, I: Iterator<Item = T>> Iterator for Drain<T, I> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Std(items) => items.next(),
            Source::Taken(items) => items.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Std(items) => items.size_hint(),
            Source::Taken(items) => items.size_hint(),
        }
    }
}

impl<T, I: DoubleEndedIterator<Item = T>> DoubleEndedIterator for Drain<T, I> {
    fn next_back(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Std(items) => items.next_back(),
            Source::Taken(items) => items.next_back(),
        }
    }
}

impl<T, I: ExactSizeIterator<Item = T>> ExactSizeIterator for Drain<T, I> {}
impl<T, I: FusedIterator<Item = T>> FusedIterator for Drain<T, I> {}
