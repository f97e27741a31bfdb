//! A payload that outlives the message it came in: small ones by value, so that twenty bytes never pin a read buffer.

use std::num::NonZeroUsize;

use bytes::Bytes;

use crate::rope::Rope;

/// Up to this many bytes are held in place.
const INLINE: usize = 32;
/// Above this a payload keeps a slice of the message instead of a copy, if it makes up a good part of it.
const SLICE: usize = 1024;

/// Immutable bytes, in place up to 32 of them.
#[derive(Clone)]
pub struct Blob(Repr);

/// Five words, and every field made of whole ones: each call is moved a few times, and a processor waits where it reads
/// back in other pieces than it has just written.
#[derive(Clone)]
enum Repr {
    Inline(Inline),
    Heap(Bytes),
}

#[derive(Clone)]
#[repr(C, align(8))]
struct Inline {
    bytes: [u8; INLINE],
    len: Len,
}

/// A length plus one: 0 stands for the other variant.
#[derive(Clone, Copy)]
struct Len(NonZeroUsize);

const _: () = assert!(size_of::<Blob>() == 40);

impl Len {
    #[inline]
    const fn new(len: usize) -> Len {
        Len(NonZeroUsize::MIN.saturating_add(len))
    }

    #[inline]
    const fn get(self) -> usize {
        self.0.get() - 1
    }
}

impl Blob {
    /// No bytes.
    pub const EMPTY: Blob = Blob::inline([0; INLINE], 0);

    #[inline(always)]
    const fn inline(bytes: [u8; INLINE], len: usize) -> Blob {
        let len = Len::new(len);
        Blob(Repr::Inline(Inline { bytes, len }))
    }

    /// A copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Blob {
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Blob::inline(inline, bytes.len())
            }
            None => Blob(Repr::Heap(Bytes::copy_from_slice(bytes))),
        }
    }

    /// `message[range]`; shares the message's memory where that wastes little. Empty where the range does not fit.
    #[inline(always)]
    pub fn slice(message: &Bytes, range: std::ops::Range<usize>) -> Blob {
        // A fixed number of bytes is a few loads; what lies behind the payload is copied along and never shown.
        if range.len() <= INLINE
            && let Some(rest) = message.get(range.start..)
            && let Some(bytes) = rest.first_chunk()
        {
            return Blob::inline(*bytes, range.len());
        }
        Blob::slice_any(message, range)
    }

    /// The memory behind it, unless it is held in place.
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Repr::Inline(_) => None,
            Repr::Heap(bytes) => Some(bytes),
        }
    }

    /// The same bytes, copied where they are short.
    pub fn to_bytes(&self) -> Bytes {
        Body::from(self).to_bytes()
    }

    #[inline(never)]
    fn slice_any(message: &Bytes, range: std::ops::Range<usize>) -> Blob {
        let Some(part) = message.get(range) else {
            return Blob::EMPTY;
        };
        if part.len() >= SLICE && part.len() >= message.len() / 4 {
            Blob(Repr::Heap(message.slice_ref(part)))
        } else {
            Blob::copy(part)
        }
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Blob {
        if bytes.len() <= INLINE {
            Blob::copy(&bytes)
        } else {
            Blob(Repr::Heap(bytes))
        }
    }
}

impl From<Body<'_>> for Blob {
    fn from(body: Body<'_>) -> Blob {
        match body.0 {
            Of::Slice(bytes) => Blob::copy(bytes),
            Of::Shared(bytes) => Blob::from(bytes.clone()),
            Of::Rope(rope) => Blob::from(rope.to_bytes()),
        }
    }
}

/// Bytes to be sent: borrowed, and where they are long preferably shared, so that nobody need copy them.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a>(Of<'a>);

#[derive(Clone, Copy, Debug)]
enum Of<'a> {
    Slice(&'a [u8]),
    Shared(&'a Bytes),
    Rope(&'a Rope),
}

impl<'a> Body<'a> {
    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Of::Slice(bytes) => bytes.len(),
            Of::Shared(bytes) => bytes.len(),
            Of::Rope(rope) => rope.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, where they are in one piece.
    #[inline]
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        match self.0 {
            Of::Slice(bytes) => Some(bytes),
            Of::Shared(bytes) => Some(bytes),
            Of::Rope(_) => None,
        }
    }

    /// The same bytes in one piece, to keep: copied only where they were not shared.
    pub fn to_bytes(&self) -> Bytes {
        match self.0 {
            Of::Slice(bytes) => Bytes::copy_from_slice(bytes),
            Of::Shared(bytes) => bytes.clone(),
            Of::Rope(rope) => rope.to_bytes(),
        }
    }

    /// The same bytes, to keep: copied only where they were not shared.
    pub fn to_rope(&self) -> Rope {
        match self.0 {
            Of::Rope(rope) => rope.clone(),
            _ => self.to_bytes().into(),
        }
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Body<'a> {
        Body(Of::Slice(bytes))
    }
}

impl<'a> From<&'a Bytes> for Body<'a> {
    fn from(bytes: &'a Bytes) -> Body<'a> {
        Body(Of::Shared(bytes))
    }
}

impl<'a> From<&'a Rope> for Body<'a> {
    fn from(rope: &'a Rope) -> Body<'a> {
        Body(Of::Rope(rope))
    }
}

impl<'a> From<&'a Blob> for Body<'a> {
    fn from(blob: &'a Blob) -> Body<'a> {
        match &blob.0 {
            Repr::Heap(bytes) => bytes.into(),
            Repr::Inline(_) => Body::from(&**blob),
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        if bytes.len() <= INLINE {
            Blob::copy(&bytes)
        } else {
            Blob(Repr::Heap(bytes.into()))
        }
    }
}

impl std::ops::Deref for Blob {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(inline) => inline.bytes.get(..inline.len.get()).unwrap_or_default(),
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Blob) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
