//! Messages made by hand, for a peer that does as it likes, and frames read back.

use bytes::Bytes;
use helve_handles::{Descriptor, Target};
use helve_protocol::batch::BatchWriter;
use helve_protocol::frame::{CallExtOut, CallKind, Frame};

use super::METHOD;

/// A frame that was sent.
#[derive(Debug)]
pub struct Read {
    pub frame: Frame,
    pub caps: Vec<Descriptor>,
    pub releases: Vec<(Target, u64)>,
}

impl Read {
    /// The number of its kind.
    pub fn kind(&self) -> u8 {
        match self.frame {
            Frame::Call(call) => call.kind as u8,
            Frame::Ret { .. } => 4,
            Frame::Err { .. } => 5,
            Frame::Cancel { .. } => 6,
            Frame::Release { .. } => 7,
            Frame::Broken { .. } => 8,
            Frame::Data { .. } => 9,
            Frame::End { .. } => 10,
            Frame::Credit { .. } => 11,
            Frame::Snap { .. } => 12,
            Frame::Delta { .. } => 13,
            Frame::Sync { .. } => 14,
            Frame::Part { .. } => 15,
            Frame::Drain { .. } => 16,
        }
    }
}

/// Arrays that hold the first caps.
pub const ARGS: [&[u8]; 4] = [
    &[0x90],
    &[0x91, 0xd4, 1, 0],
    &[0x92, 0xd4, 1, 0, 0xd4, 1, 1],
    &[0x93, 0xd4, 1, 0, 0xd4, 1, 1, 0xd4, 1, 2],
];

/// Writes one frame.
pub type Writer<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A hand-made message from a hostile or old peer: frames from `first_seq` on.
pub fn message(first_seq: u64, ack: u64, frames: &[Writer<'_>]) -> Bytes {
    let mut writer = BatchWriter::new();
    for frame in frames {
        writer.frame(|buf| frame(buf));
    }
    writer.seal(first_seq, ack, false).message
}

/// A CALL or OPEN frame on `target`.
pub fn call_frame(
    kind: CallKind,
    id: u64,
    target: Target,
    depth: u8,
    caps: &[Descriptor],
) -> Vec<u8> {
    let mut buf = Vec::new();
    let ext = CallExtOut {
        depth,
        ..CallExtOut::default()
    };
    helve_protocol::frame::write_call(
        &mut buf,
        kind,
        id,
        target,
        METHOD,
        ARGS[caps.len().min(3)],
        caps,
        &ext,
    );
    buf
}
