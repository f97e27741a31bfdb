//! One message, written. Frames are appended to a buffer whose first bytes are kept free, so that the header is put in
//! front when the batch is sealed and no frame moves. Used by the session, under its lock.

use bytes::Bytes;

use crate::put::{put_nil, put_uint};

/// `first_seq` and `ack`, each at most a byte of marker and eight of number.
const HEAD_ROOM: usize = 18;
/// The least and the most that a new buffer reserves.
const BUFFER_MIN: usize = 256;
const BUFFER_MAX: usize = 64 << 10;

/// Collects frames for one batch after the other. Has no memory until the first frame.
#[derive(Debug, Default)]
pub struct BatchWriter {
    /// Head room and frames, or nothing.
    buf: Vec<u8>,
    frames: u32,
    /// What the next buffer reserves: a little more than recent batches took.
    reserve: usize,
}

/// A finished batch.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The whole message.
    pub message: Bytes,
    /// Its frames alone, for the replay buffer: without header and without the `nil` that asks for an ack. Shares
    /// memory with `message`.
    pub frames: Bytes,
    /// How many frames.
    pub count: u32,
}

impl BatchWriter {
    /// An empty one, without memory.
    pub fn new() -> BatchWriter {
        BatchWriter::default()
    }

    /// Bytes of frames so far.
    pub fn len(&self) -> usize {
        self.buf.len().saturating_sub(HEAD_ROOM)
    }

    /// Whether no frame was written.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Frames so far.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Appends exactly one frame, with the writers of [`crate::frame`].
    #[inline]
    pub fn frame<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.open();
        self.frames += 1;
        write(&mut self.buf)
    }

    /// Appends frames that were written elsewhere, `frames` in number.
    pub fn push_raw(&mut self, bytes: &[u8], frames: u32) {
        self.open();
        self.frames += frames;
        self.buf.extend_from_slice(bytes);
    }

    #[inline]
    fn open(&mut self) {
        if self.buf.is_empty() {
            self.buf.reserve(self.reserve.clamp(BUFFER_MIN, BUFFER_MAX));
            self.buf.resize(HEAD_ROOM, 0);
        }
    }

    /// Finishes the batch: `first_seq` is the number of its first frame, `ack` what was accepted, `ask` whether the
    /// peer shall ack at once (S4). Without any frame it is an ack alone. The writer is empty afterwards.
    pub fn seal(&mut self, first_seq: u64, ack: u64, ask: bool) -> Sealed {
        self.open();
        let end = self.buf.len();
        if ask {
            put_nil(&mut self.buf);
        }
        let start = put_head(&mut self.buf, first_seq, ack);
        // Recent batches decide what to reserve, and one large batch is forgotten after a few small ones.
        let used = self.buf.len();
        self.reserve = used
            .next_power_of_two()
            .max(self.reserve / 2)
            .min(BUFFER_MAX);
        let whole = if self.buf.capacity() / 4 > used {
            // Few bytes in much memory: the replay buffer would pin all of it. Copy them and go on with this buffer.
            let small = Bytes::copy_from_slice(&self.buf);
            self.buf.clear();
            small
        } else {
            Bytes::from(std::mem::take(&mut self.buf))
        };
        let count = std::mem::take(&mut self.frames);
        Sealed {
            message: whole.slice(start..),
            frames: whole.slice(HEAD_ROOM..end),
            count,
        }
    }
}

/// A batch of the one frame that `write` appends, about `room` bytes long: one allocation, and nothing is moved.
pub fn seal_alone(
    first_seq: u64,
    ack: u64,
    ask: bool,
    room: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Sealed {
    let mut buf = Vec::with_capacity(HEAD_ROOM + room + 1);
    put_uint(&mut buf, first_seq);
    put_uint(&mut buf, ack);
    let start = buf.len();
    write(&mut buf);
    let end = buf.len();
    if ask {
        put_nil(&mut buf);
    }
    let message = Bytes::from(buf);
    Sealed {
        frames: message.slice(start..end),
        message,
        count: 1,
    }
}

/// Puts the header right in front of the frames. Returns where it begins.
fn put_head(buf: &mut [u8], first_seq: u64, ack: u64) -> usize {
    let ack_at = put_uint_before(buf, HEAD_ROOM, ack);
    put_uint_before(buf, ack_at, first_seq)
}

/// Writes an unsigned int in its shortest form so that it ends at `end`. Returns where it begins.
fn put_uint_before(buf: &mut [u8], end: usize, value: u64) -> usize {
    let (marker, width) = match value {
        0..=0x7f => (None, 1),
        0x80..=0xff => (Some(0xcc), 1),
        0x100..=0xffff => (Some(0xcd), 2),
        0x1_0000..=0xffff_ffff => (Some(0xce), 4),
        _ => (Some(0xcf), 8),
    };
    let mut start = end.saturating_sub(width);
    if let (Some(to), Some(from)) = (
        buf.get_mut(start..end),
        value.to_be_bytes().get(8 - width..),
    ) {
        to.copy_from_slice(from);
    }
    if let Some(marker) = marker {
        start = start.saturating_sub(1);
        if let Some(byte) = buf.get_mut(start) {
            *byte = marker;
        }
    }
    start
}

/// A batch of frames from the replay buffer, byte-identical, in order. The caller minds the peer's `batch` limit.
pub fn resend(first_seq: u64, ack: u64, frames: &[Bytes]) -> Bytes {
    let mut buf = Vec::with_capacity(HEAD_ROOM + frames.iter().map(Bytes::len).sum::<usize>());
    put_uint(&mut buf, first_seq);
    put_uint(&mut buf, ack);
    for frame in frames {
        buf.extend_from_slice(frame);
    }
    Bytes::from(buf)
}

/// A batch without frames: `next_seq` is the number that the next frame will have.
pub fn ack_only(next_seq: u64, ack: u64, ask: bool) -> Bytes {
    let mut buf = Vec::with_capacity(HEAD_ROOM + 1);
    put_uint(&mut buf, next_seq);
    put_uint(&mut buf, ack);
    if ask {
        put_nil(&mut buf);
    }
    Bytes::from(buf)
}
