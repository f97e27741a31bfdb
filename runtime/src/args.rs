//! Arguments: one array, read in declaration order, so that missing trailing ones take their default and surplus ones
//! are ignored (protocol section 2).

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use helve_handles::shared::Payload;
use helve_handles::wire::{Typed, Wire};
use helve_protocol::blob::Blob;
use helve_protocol::rope::Rope;
use helve_protocol::scan::{Budget, scan_value};
use serde::{Deserialize, Serialize};

use crate::caps::{self, InCaps, LentValue, OutCaps};
use crate::connection::Conn;
use crate::error::RpcError;

/// The arguments of a call that came. Their bytes were scanned.
pub struct Args {
    bytes: Blob,
    at: Cell<usize>,
    left: Cell<u32>,
    caps: RefCell<Option<Box<InCaps>>>,
}

impl Args {
    #[inline(always)]
    pub(crate) fn new(bytes: Blob, caps: Option<Box<InCaps>>) -> Self {
        let (left, at) = match *bytes {
            [head @ 0x90..=0x9f, ..] => (u32::from(head & 15), 1),
            [0xdc, a, b, ..] => (u32::from(u16::from_be_bytes([a, b])), 3),
            [0xdd, a, b, c, d, ..] => (u32::from_be_bytes([a, b, c, d]), 5),
            _ => (0, 0),
        };
        Args {
            bytes,
            at: at.into(),
            left: left.into(),
            caps: caps.into(),
        }
    }

    /// A node among the bytes of an argument, with its references.
    pub(crate) fn node(&self, bytes: &[u8]) -> Payload {
        let mut caps = self.caps.take();
        let node = caps::node(Bytes::copy_from_slice(bytes), &mut caps);
        self.caps.replace(caps);
        node
    }

    /// The bytes of the next argument.
    pub(crate) fn next_bytes(&self) -> Result<&[u8], RpcError> {
        let left = self
            .left
            .get()
            .checked_sub(1)
            .ok_or_else(|| RpcError::Decode("an argument is missing".into()))?;
        let start = self.at.get();
        let mut budget = Budget::new(u32::MAX);
        let end = scan_value(&self.bytes, start, &mut budget)
            .map_err(|_| RpcError::Decode("the arguments are cut short".into()))?;
        self.left.set(left);
        self.at.set(end);
        Ok(self.bytes.get(start..end).unwrap_or_default())
    }

    fn next<'a, T: Deserialize<'a>>(&'a self) -> Result<T, RpcError> {
        self.read(self.next_bytes()?)
    }

    /// A value among the bytes of an argument.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&self, bytes: &'a [u8]) -> Result<T, RpcError> {
        let mut caps = self.caps.take();
        let value = caps::decode(bytes, &mut caps);
        self.caps.replace(caps);
        value
    }

    /// The next argument, or `None` where the caller sends fewer.
    pub(crate) fn optional<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>, RpcError> {
        (self.left.get() > 0).then(|| self.next()).transpose()
    }

    /// The next argument.
    #[inline]
    pub fn take<M: Typed>(&self) -> Result<M::T, RpcError> {
        self.take_value()
    }

    /// How many are left.
    pub(crate) fn left(&self) -> u32 {
        self.left.get()
    }

    /// The next argument, or the next item of a stream.
    #[inline]
    pub(crate) fn take_value<T: Wire>(&self) -> Result<T, RpcError> {
        let rest = self.bytes.get(self.at.get()..).unwrap_or_default();
        if let (left @ 1.., Some((value, len))) = (self.left.get(), T::__take(rest)) {
            self.left.set(left - 1);
            self.at.set(self.at.get() + len);
            return Ok(value);
        }
        self.take_long()
    }

    /// The same where there is no short cut.
    #[inline(never)]
    fn take_long<T: Wire>(&self) -> Result<T, RpcError> {
        if let (left @ 1.., Some(source)) = (self.left.get(), self.bytes.shared())
            && let Some((value, len)) = T::__share(source, self.at.get())
        {
            self.left.set(left - 1);
            self.at.set(self.at.get() + len);
            return Ok(value);
        }
        self.next()
    }

    /// The next argument, or `default()` where the caller is older and sends fewer.
    pub fn take_or<M: Typed>(&self, default: impl FnOnce() -> M::T) -> Result<M::T, RpcError> {
        if self.left.get() == 0 {
            Ok(default())
        } else {
            self.take::<M>()
        }
    }

    /// The next argument as the bytes that came, and the references of all arguments.
    pub(crate) fn raw(&self) -> Result<(&[u8], Option<Box<InCaps>>), RpcError> {
        let bytes = self.next_bytes()?;
        Ok((bytes, self.caps.take()))
    }

    /// The next argument as text, borrowed from the bytes that came.
    pub fn str(&self) -> Result<&str, RpcError> {
        self.next()
    }

    /// The next argument as bytes, borrowed from the bytes that came; an array of ints cannot be.
    pub fn bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>, RpcError> {
        let bytes = self.next_bytes()?;
        if let Ok(borrowed) = rmp_serde::from_slice::<&serde_bytes::Bytes>(bytes) {
            return Ok(std::borrow::Cow::Borrowed(borrowed));
        }
        crate::codec::decode::<Vec<u8>>(bytes).map(std::borrow::Cow::Owned)
    }

    /// The next argument as a list of values.
    pub fn slice<M: Typed>(&self) -> Result<Vec<M::T>, RpcError> {
        self.next()
    }
}

/// Arguments being written. The first error is kept, and ends the call before anything is queued.
pub struct Put<'a> {
    pub(crate) conn: &'a Arc<Conn>,
    pub(crate) bytes: &'a mut Vec<u8>,
    pub(crate) caps: Option<Box<OutCaps>>,
    pub(crate) failed: Option<RpcError>,
    /// What stands before `bytes`, where long bytes among the arguments are sent as they are.
    pub(crate) rope: Option<Box<Rope>>,
}

impl Put<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        if self.failed.is_none() {
            self.failed = caps::encode(self.conn, value, self.bytes, &mut self.caps).err();
        }
        self
    }

    /// An argument by value; handles inside are given for good.
    pub fn value<M: Typed>(&mut self, value: &M::T) -> &mut Self {
        if value.__put(self.bytes) {
            self
        } else if let Some(bulk) = value.__bulk() {
            helve_protocol::frame::put_bin_head(self.bytes, bulk.len());
            let rope = self.rope.get_or_insert_default();
            rope.push(Bytes::copy_from_slice(self.bytes));
            rope.push(bulk.clone());
            self.bytes.clear();
            self
        } else {
            self.put(value)
        }
    }

    /// The same, which long bytes are not sent apart from.
    pub fn unbroken<M: Typed>(&mut self, value: &M::T) -> &mut Self {
        self.put_wire(value);
        self
    }

    pub(crate) fn put_wire<T: Wire>(&mut self, value: &T) {
        if !value.__put(self.bytes) {
            self.put(value);
        }
    }

    /// The call ends here. The first error counts.
    pub(crate) fn fail(&mut self, error: RpcError) {
        self.failed.get_or_insert(error);
    }

    /// `&T`: handles inside are lent for the call.
    pub fn lent<M: Typed>(&mut self, value: &M::T) -> &mut Self {
        self.put(&LentValue(value))
    }

    /// `&str`.
    pub fn str(&mut self, value: &str) -> &mut Self {
        helve_protocol::frame::put_str(self.bytes, value);
        self
    }

    /// `&[u8]`.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        helve_protocol::frame::put_bin(self.bytes, value);
        self
    }

    /// `&[T]`: handles inside are lent for the call.
    pub fn slice<M: Typed>(&mut self, value: &[M::T]) -> &mut Self {
        self.put(&LentValue(value))
    }
}
