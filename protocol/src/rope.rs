//! [`Rope`]: long bytes in pieces of shared memory, so that a long value goes out without being copied into one buffer
//! first. Made by who encodes, cut by `session/transfer.rs`.

use bytes::Bytes;

/// Bytes in several pieces. Cloning it copies none of them.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Rope {
    /// One without bytes.
    pub fn new() -> Rope {
        Rope::default()
    }

    /// Puts bytes behind those that are there.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.pieces.push(bytes);
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, in order.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// Appends `start..end`, or as much of it as there is, to `to`.
    pub fn copy_to(&self, start: usize, end: usize, to: &mut Vec<u8>) {
        let mut at = 0;
        for piece in &self.pieces {
            let from = start.saturating_sub(at).min(piece.len());
            let until = end.saturating_sub(at).min(piece.len());
            if let Some(bytes) = piece.get(from..until) {
                to.extend_from_slice(bytes);
            }
            at += piece.len();
        }
    }

    /// All of it, in one piece.
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [one] => one.clone(),
            _ => {
                let mut whole = Vec::with_capacity(self.len);
                self.copy_to(0, self.len, &mut whole);
                whole.into()
            }
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Rope {
        let mut rope = Rope::new();
        rope.push(bytes);
        rope
    }
}
