//! What a sequence is indexed by.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};
use std::slice::SliceIndex;

/// What a [`List`](crate::track::List) is indexed by: a `usize`, or any range of such.
pub trait Places<T>: SliceIndex<[T]> + sealed::Sealed {
    /// The indices, if they are below `len`.
    #[doc(hidden)]
    fn within(&self, len: usize) -> Option<Range<usize>>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! places {
    ($($places:ty),*) => {$(
        impl sealed::Sealed for $places {}
        impl<T> Places<T> for $places {
            fn within(&self, len: usize) -> Option<Range<usize>> {
                let range = ends(self, len)?;
                (range.start <= range.end && range.end <= len).then_some(range)
            }
        }
    )*};
}

places!(
    Range<usize>,
    RangeFrom<usize>,
    RangeFull,
    RangeInclusive<usize>,
    RangeTo<usize>,
    RangeToInclusive<usize>,
    (Bound<usize>, Bound<usize>)
);

impl sealed::Sealed for usize {}

impl<T> Places<T> for usize {
    #[inline]
    fn within(&self, len: usize) -> Option<Range<usize>> {
        (*self < len).then(|| *self..*self + 1)
    }
}

/// Where a range starts and ends; `None`: above what can be counted.
fn ends(range: &impl RangeBounds<usize>, len: usize) -> Option<Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.checked_add(1)?,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    Some(start..end)
}

/// The indices that a range stands for.
///
/// # Panics
/// As a slice does, where they are not all there.
#[track_caller]
pub(crate) fn indices(range: impl RangeBounds<usize>, len: usize) -> Range<usize> {
    let range = ends(&range, len).unwrap_or(usize::MAX..usize::MAX);
    assert!(
        range.start <= range.end,
        "range starts at {} but ends at {}",
        range.start,
        range.end
    );
    assert!(
        range.end <= len,
        "range ends at {}, above the length of {len}",
        range.end
    );
    range
}
