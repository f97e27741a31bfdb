//! What a peer may do to us. One struct, stated in HELLO or WELCOME and fixed for the session.

/// Payload bytes (args, value, items, node, data) that one frame carries; more goes as a transfer (E2.5, R18).
pub const PAYLOAD_MAX: usize = 65_536;
/// Bytes of a frame beside its payload (E2.5).
pub const REST_MAX: usize = 4_096;
/// The same for SNAP, DELTA (their caps) and RET (its `s`).
pub const REST_MAX_WIDE: usize = 40_960;
/// Caps of one frame (I3.5).
pub const CAPS_MAX: usize = 255;
/// Caps of a SNAP or DELTA.
pub const CAPS_MAX_WIDE: usize = 4_096;
/// Pairs in one RELEASE (R1.5).
pub const RELEASE_PAIRS_MAX: usize = 64;
/// Bytes of the text in ERR, BROKEN, END, REFUSE (E2.7).
pub const MESSAGE_MAX: usize = 256;
/// The deepest call (R13.3).
pub const DEPTH_MAX: u8 = 15;
/// Frames in one message: a sender keeps no more of them unacknowledged (E1.5, S5).
pub const FRAMES_MAX: usize = 8_192;
/// Credit of a stream when it begins (R19.2).
pub const STREAM_CREDIT: i64 = 65_536;
/// Elements that one message, or one assembled transfer, may hold (E4.3).
pub const ELEMENTS_MAX: u32 = 1_048_576;
/// Nesting of a value (E4.2).
pub const NESTING_MAX: usize = 64;
/// Raw nesting of a patch node (E4.12).
pub const NODE_NESTING_MAX: usize = 128;

/// Limits that each side states in its handshake: what the other may do to it (protocol section 7).
///
/// ```
/// use helve_protocol::Limits;
/// let small = Limits::default().with_calls(256).with_bytes(1);
/// assert_eq!(small.bytes, small.frame, "a limit below its minimum counts as the minimum");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open calls at depth 0 (running and queued). Default 1,280.
    pub calls: u32,
    /// Open calls at each deeper depth. Default 64.
    pub nested: u32,
    /// Bytes charged at depth 0; each deeper depth has an eighth (R13). Default 32 MiB, never below `frame`.
    pub bytes: u64,
    /// Longest payload, assembled (R18). Default 16 MiB, at least 65,536.
    pub frame: u64,
    /// Longest WebSocket message. Default 262,144; at least 131,072.
    pub batch: u64,
    /// Table entries a peer may hold, tombstones included (R14). Default 16,384.
    pub table: u32,
    /// Streams. Default 256.
    pub streams: u32,
    /// Subscriptions to shared values. Default 1,024.
    pub subs: u32,
    /// Open transfers a direction (R18). Default 64.
    pub transfers: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            calls: 1_280,
            nested: 64,
            bytes: 32 << 20,
            frame: 16 << 20,
            batch: 262_144,
            table: 16_384,
            streams: 256,
            subs: 1_024,
            transfers: 64,
        }
    }
}

impl Limits {
    /// The least `batch`.
    pub const BATCH_MIN: u64 = 131_072;
    /// The least `frame`: what goes without a transfer is always legal.
    pub const FRAME_MIN: u64 = PAYLOAD_MAX as u64;

    /// Raises what is stated below its minimum (S1.9).
    pub fn normalized(mut self) -> Limits {
        self.batch = self.batch.max(Self::BATCH_MIN);
        self.frame = self.frame.max(Self::FRAME_MIN);
        self.bytes = self.bytes.max(self.frame);
        self
    }

    /// Open calls at depth 0, running and queued.
    pub fn with_calls(mut self, calls: u32) -> Limits {
        self.calls = calls;
        self
    }

    /// Open calls at each deeper depth.
    pub fn with_nested(mut self, nested: u32) -> Limits {
        self.nested = nested;
        self
    }

    /// Bytes charged at depth 0. Raised to `frame` where it is less.
    pub fn with_bytes(mut self, bytes: u64) -> Limits {
        self.bytes = bytes;
        self.normalized()
    }

    /// Longest payload in bytes. Raises `bytes` with it; at least 65,536.
    pub fn with_frame(mut self, frame: u64) -> Limits {
        self.frame = frame;
        self.normalized()
    }

    /// Longest WebSocket message in bytes; at least 131,072.
    pub fn with_batch(mut self, batch: u64) -> Limits {
        self.batch = batch;
        self.normalized()
    }

    /// Table entries the peer may hold.
    pub fn with_table(mut self, table: u32) -> Limits {
        self.table = table;
        self
    }

    /// Streams the peer may hold.
    pub fn with_streams(mut self, streams: u32) -> Limits {
        self.streams = streams;
        self
    }

    /// Subscriptions the peer may hold.
    pub fn with_subs(mut self, subs: u32) -> Limits {
        self.subs = subs;
        self
    }

    /// Transfers the peer may have open toward us.
    pub fn with_transfers(mut self, transfers: u32) -> Limits {
        self.transfers = transfers;
        self
    }

    /// Bytes that may be charged at a depth (R13): `bytes`, or an eighth of it below depth 0.
    pub fn bytes_at(&self, depth: u8) -> u64 {
        if depth == 0 {
            self.bytes
        } else {
            self.bytes / 8
        }
    }

    /// Calls that may be open at a depth (R13).
    pub fn calls_at(&self, depth: u8) -> u32 {
        if depth == 0 { self.calls } else { self.nested }
    }
}
