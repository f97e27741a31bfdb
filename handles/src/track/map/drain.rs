//! What `drain` of the hashed containers returns.

use std::iter::FusedIterator;
use std::vec;

/// The standard library's iterator; or clones, of what an edit has to keep.
#[derive(Debug)]
pub(crate) enum Drain<G: Iterator> {
    Given(G),
    Cloned(vec::IntoIter<G::Item>),
}

impl<G: Iterator> Iterator for Drain<G> {
    type Item = G::Item;

    fn next(&mut self) -> Option<G::Item> {
        match self {
            Drain::Given(given) => given.next(),
            Drain::Cloned(cloned) => cloned.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Drain::Given(given) => given.size_hint(),
            Drain::Cloned(cloned) => cloned.size_hint(),
        }
    }
}

impl<G: ExactSizeIterator> ExactSizeIterator for Drain<G> {}

impl<G: FusedIterator> FusedIterator for Drain<G> {}
