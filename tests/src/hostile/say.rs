//! What a correct peer may say: every kind of frame, to what is there and to what is not, as long as no rule forbids it.

use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::Code;
use helve_protocol::frame::{self, CallExtOut, CallKind};
use helve_protocol::limits::STREAM_CREDIT;

use super::{Asked, Hostile, Stream};

/// A method of `test.Lab` or one that every peer has, and its arguments: `n` a number, `t` a text, `c` a handle,
/// `o` a handle of the client's own, `l` a list of handles.
const METHODS: [(&str, &str, &str); 30] = [
    ("test.Lab", "echo", "n"),
    ("test.Lab", "echo_late", "n"),
    ("test.Lab", "add", "n"),
    ("test.Lab", "open", ""),
    ("test.Lab", "open_late", ""),
    ("test.Lab", "open_nothing", ""),
    ("test.Lab", "reflect", "c"),
    // An object that keeps itself is a ring that its own application must break, and no affair of the session's.
    ("test.Lab", "keep", "o"),
    ("test.Lab", "keep_lent", "o"),
    ("test.Lab", "kept", ""),
    ("test.Lab", "use_kept", "n"),
    ("test.Lab", "forget", ""),
    ("test.Lab", "borrow", "cn"),
    ("test.Lab", "bundle", ""),
    ("test.Lab", "note", "t"),
    ("test.Lab", "note_late", "t"),
    ("test.Lab", "note_badly", "t"),
    ("test.Lab", "notes", ""),
    ("test.Lab", "hang", ""),
    ("test.Lab", "panic", ""),
    ("test.Lab", "ring", "l"),
    ("test.Lab", "left", ""),
    ("test.Lab", "left_there", "c"),
    ("test.Lab", "count", "n"),
    ("test.Lab", "sum", "o"),
    ("test.Lab", "keep_stream", "o"),
    ("test.Lab", "no_such_method", "n"),
    ("helve.Peer", "ping", ""),
    ("helve.Peer", "describe", ""),
    ("helve.Object", "flush", ""),
];
/// Times left until a deadline, in ms. Any is legal (R21.5).
const DEADLINES: [u64; 8] = [0, 1, 5, 1_000, 3_600_000, 3_600_001, 1 << 53, u64::MAX];
/// Over 64 are a violation (R11.3); one frame may name several.
const STRIKES: u32 = 40;
/// Streams that we send, far below any `streams` that a test sets.
const STREAMS: usize = 16;
/// What the server may hold for us, far below any `table` that a test sets.
const HELD: u64 = 40;

impl Hostile {
    /// Says something; how many frames that were.
    pub(super) fn say(&mut self, out: &mut Vec<u8>) -> u64 {
        let one = match self.rng.below(28) {
            24..=26 => self.stream(out),
            27 => self.credit(out),
            0..=9 => self.call(out, CallKind::Call),
            10..=12 => self.call(out, CallKind::Open),
            13..=14 => self.call(out, CallKind::Tell),
            15..=17 => self.answer(out),
            18 => return self.cancel(out),
            19 | 20 => self.release(out),
            21 if self.rng.one_in(10) => {
                // S9: whoever leaves says how long it waits, and that is all that is asked of the other.
                let grace = self.rng.below(40);
                frame::write_drain(out, self.rng.number() >> grace);
                true
            }
            21 => self.of_ours(out),
            _ => self.of_nothing(out),
        };
        u64::from(one)
    }

    /// A target, and whether it is there.
    pub(super) fn target(&mut self) -> (Target, bool) {
        let objects: Vec<u64> = self.objects.keys().copied().collect();
        match self.rng.below(8) {
            0..=2 if !objects.is_empty() => (Target::host(*self.rng.pick(&objects)), true),
            3 | 4 if !self.opens.is_empty() => (Target::open(*self.rng.pick(&self.opens)), true),
            5 if self.strikes < STRIKES && self.rng.one_in(3) => {
                self.strikes += 1;
                let k = (1 << 40) + self.rng.number() % 1_000;
                (Target::host(k), false)
            }
            _ => (Target::ROOT, true),
        }
    }

    /// A reference of any tag, to something or to nothing.
    fn cap(&mut self, own: bool, lends: bool) -> Descriptor {
        let objects: Vec<u64> = self.objects.keys().copied().collect();
        let mine = |rng: &mut crate::seeded::Rng, mine: &mut u64| {
            if *mine == 0 || rng.one_in(2) {
                *mine += 1;
            }
            1 + rng.number() % *mine
        };
        match self.rng.below(if own { 4 } else { 10 }) {
            0 | 1 if self.table < HELD => {
                self.table += 1;
                Descriptor::new(Tag::Mine, mine(&mut self.rng, &mut self.mine))
            }
            2 | 3 if lends => Descriptor::new(Tag::Lent, mine(&mut self.rng, &mut self.mine)),
            4 | 5 if !objects.is_empty() => Descriptor::new(Tag::Yours, *self.rng.pick(&objects)),
            6 | 7 if !self.opens.is_empty() => {
                Descriptor::new(Tag::YourOpen, *self.rng.pick(&self.opens))
            }
            8 if self.strikes < STRIKES => {
                self.strikes += 1;
                let tag = *self.rng.pick(&[Tag::Yours, Tag::YourOpen]);
                Descriptor::new(tag, 1 << 40)
            }
            _ if own => Descriptor::new(Tag::Mine, 0),
            _ => Descriptor::new(*self.rng.pick(&[Tag::Mine, Tag::Yours]), 0),
        }
    }

    /// Encoded arguments and their references. Sometimes they do not fit the method, which is no violation.
    fn args(&mut self, shape: &str, lends: bool) -> (Vec<u8>, Vec<Descriptor>) {
        let mut caps = Vec::new();
        let mut args = Vec::new();
        let mut count = shape.len();
        for kind in shape.chars() {
            let own = kind == 'o';
            match kind {
                'n' => frame::put_uint(&mut args, self.rng.number() >> (self.rng.number() % 64)),
                't' => {
                    let most = if self.rng.one_in(30) { 5_000 } else { 40 };
                    frame::put_str(&mut args, &"x".repeat(self.rng.below(most)));
                }
                'l' => {
                    let n = self.rng.below(4);
                    frame::put_array(&mut args, n);
                    for _ in 0..n {
                        self.put_cap(&mut args, &mut caps, false, lends);
                    }
                }
                _ => self.put_cap(&mut args, &mut caps, own, lends),
            }
        }
        if self.rng.one_in(12) {
            // One too many, of no use to anybody; or one too few.
            if self.rng.one_in(2) || count == 0 {
                args.push(0xc3);
                count += 1;
            } else {
                return (vec![0x90], Vec::new());
            }
        }
        let mut whole = Vec::new();
        frame::put_array(&mut whole, count);
        whole.extend(args);
        (whole, caps)
    }

    fn put_cap(&mut self, args: &mut Vec<u8>, caps: &mut Vec<Descriptor>, own: bool, lends: bool) {
        // E6.11: by its place in the table. The same one may be named twice.
        if !caps.is_empty() && self.rng.one_in(6) {
            let again = self.rng.below(caps.len());
            frame::put_cap(args, again as u16);
            return;
        }
        caps.push(self.cap(own, lends));
        frame::put_cap(args, caps.len() as u16 - 1);
    }

    fn call(&mut self, out: &mut Vec<u8>, kind: CallKind) -> bool {
        let (interface, name, shape) = match self.rng.below(4) {
            0 => *self.rng.pick(&METHODS[..7]),
            _ => *self.rng.pick(&METHODS),
        };
        let depth = match self.rng.below(3) {
            0 => self.rng.below(16),
            _ => 0,
        };
        if kind == CallKind::Open && self.opens.len() as u64 > HELD {
            return false;
        }
        let lends = kind != CallKind::Tell;
        let (args, caps) = self.args(shape, lends);
        let charge = args.len() as u64 + 64;
        if !self.admits(depth, kind != CallKind::Tell, charge) {
            // Its references were not sent: no matter, they are only fewer than we think.
            return false;
        }
        let (target, _) = self.target();
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ext = CallExtOut {
            deadline: (self.rng.one_in(4)).then(|| *self.rng.pick(&DEADLINES)),
            depth: depth as u8,
            chain: self.rng.one_in(6).then(|| self.rng.number() >> 11),
            trace: if self.rng.one_in(6) { trace } else { "" },
            ..CallExtOut::default()
        };
        let step = match self.rng.below(20) {
            0 => 1 + self.rng.number() % (1 << 20),
            _ => 1,
        };
        let id = if kind == CallKind::Tell {
            0
        } else {
            self.last_id += step;
            self.last_id
        };
        let method = method_id(interface, name);
        frame::write_call(out, kind, id, target, method, &args, &caps, &ext);
        self.show(&caps);
        let charged = &mut self.charged[depth];
        charged.bytes += charge;
        if kind == CallKind::Tell {
            self.tells[depth] += charge;
            return true;
        }
        charged.calls += 1;
        // An OPEN of one would have its items under a name that we do not follow.
        let streams = name == "count" && kind == CallKind::Call;
        if kind == CallKind::Open {
            self.opens.push(id);
        }
        self.calls.insert(
            id,
            Asked {
                kind,
                depth,
                charge,
                streams,
            },
        );
        true
    }

    /// Notes which of our objects a frame that went showed to the server.
    fn show(&mut self, caps: &[Descriptor]) {
        let mine = caps.iter().filter(|cap| cap.tag() == Tag::Mine);
        self.shown
            .extend(mine.map(|cap| cap.id()).filter(|k| *k > 0));
    }

    /// DATA or END of one of our objects, of the right kind or not: what the server does not read as a stream it keeps
    /// within its credit, and drops with the object.
    fn stream(&mut self, out: &mut Vec<u8>) -> bool {
        let shown: Vec<u64> = self.shown.iter().copied().collect();
        if shown.is_empty() {
            return false;
        }
        let k = *self.rng.pick(&shown);
        if !self.sending.contains_key(&k) && self.sending.len() >= STREAMS {
            return false;
        }
        let birth = Stream {
            credit: STREAM_CREDIT,
            ended: false,
        };
        let mut stream = *self.sending.get(&k).unwrap_or(&birth);
        let name = Target::host(k);
        if stream.ended {
            return false;
        }
        if self.rng.one_in(8) {
            let code = self.rng.one_in(2).then_some(Code::Unavailable);
            frame::write_end(out, name, code, "", &[]);
            stream.ended = true;
        } else if stream.credit > 0 {
            let count = match self.rng.below(8) {
                0 => 20_000,
                most => most,
            };
            let mut items = Vec::new();
            frame::put_array(&mut items, count);
            // Numbers, or what is none.
            let item = if self.rng.one_in(6) { 0xc3 } else { 0x07 };
            items.resize(items.len() + count, item);
            frame::write_data(out, name, &items, &[]);
            stream.credit -= items.len() as i64 + 64;
        } else {
            return false;
        }
        self.sending.insert(k, stream);
        true
    }

    /// Credit for a stream of the server's, though nothing was read of it.
    fn credit(&mut self, out: &mut Vec<u8>) -> bool {
        if self.reading.is_empty() {
            return false;
        }
        let k = *self.rng.pick(&self.reading);
        // R19.10: of one that we gave back it names nothing.
        if !self.objects.contains_key(&k) {
            if self.strikes >= STRIKES {
                return false;
            }
            self.strikes += 1;
        }
        let n = 1 + self.rng.number() % 4_096;
        frame::write_credit(out, Target::host(k), n, 0);
        true
    }

    /// R13.4: whether the grant of a depth has room for one more.
    pub(super) fn admits(&self, depth: usize, counts: bool, charge: u64) -> bool {
        let depth_u8 = depth as u8;
        let (calls, bytes) = (
            self.limits.calls_at(depth_u8),
            self.limits.bytes_at(depth_u8),
        );
        let charged = self.charged[depth];
        (!counts || charged.calls < u64::from(calls)) && charged.bytes + charge <= bytes
    }

    /// An answer to the server: a value, a reference, an error, nonsense that is well-formed.
    fn answer(&mut self, out: &mut Vec<u8>) -> bool {
        if self.owed.is_empty() {
            return false;
        }
        let at = self.rng.below(self.owed.len());
        let owed = self.owed.swap_remove(at);
        if self.rng.one_in(3) {
            let code = [
                Code::App,
                Code::Gone,
                Code::Broken,
                Code::Denied,
                Code::Internal,
            ];
            let data: &[u8] = if self.rng.one_in(2) { &[0x91, 1] } else { &[] };
            let code = *self.rng.pick(&code);
            frame::write_err(out, owed.id, code, "no", data);
        } else if owed.kind == CallKind::Open {
            let cap = self.cap(false, false);
            frame::write_ret_open(out, owed.id, cap);
            self.show(&[cap]);
        } else {
            let shape = *self.rng.pick(&["n", "t", "c", ""]);
            let (value, caps) = self.args(shape, false);
            frame::write_ret(out, owed.id, &value, &caps, &[]);
            self.show(&caps);
        }
        true
    }

    /// Of calls that run, that are over, or that never were (R11.8): one, or a storm.
    fn cancel(&mut self, out: &mut Vec<u8>) -> u64 {
        let ids: Vec<u64> = self.calls.keys().copied().collect();
        let times = if self.rng.one_in(8) { 100 } else { 1 };
        for _ in 0..times {
            let id = match self.rng.below(4) {
                0 => 1 + self.rng.number() % (1 << 30),
                1 => self.last_id.max(1),
                _ if ids.is_empty() => 1,
                _ => *self.rng.pick(&ids),
            };
            frame::write_cancel(out, id);
        }
        times
    }

    /// A call whose arguments follow in parts (R18), all of them or until it is cancelled and aborted. `head` is the
    /// number of its frame. How many frames that were.
    pub(super) fn transfer(&mut self, out: &mut Vec<u8>, head: u64) -> u64 {
        let len = 65_537 + self.rng.below(20_000);
        let charge = len as u64 + 64;
        if self.limits.frame < len as u64 || !self.admits(0, true, charge) {
            return 0;
        }
        self.last_id += 1;
        let id = self.last_id;
        let mut coming = Vec::new();
        frame::put_transfer(&mut coming, len as u64);
        let (kind, method) = (CallKind::Call, method_id("test.Lab", "echo"));
        let (target, _) = self.target();
        let none = CallExtOut::default();
        frame::write_call(out, kind, id, target, method, &coming, &[], &none);
        self.charged[0].calls += 1;
        self.charged[0].bytes += charge;
        self.calls.insert(
            id,
            Asked {
                kind,
                depth: 0,
                charge,
                streams: false,
            },
        );
        let mut args = vec![0x91, 0xc6];
        args.extend((len as u32 - 6).to_be_bytes());
        args.resize(len, 0);
        frame::write_part(out, head, Some(&args[..65_536]));
        if self.rng.one_in(4) {
            frame::write_cancel(out, id);
            frame::write_part(out, head, None);
            return 4;
        }
        frame::write_part(out, head, Some(&args[65_536..]));
        3
    }

    /// Gives back what we were named, and what we opened.
    fn release(&mut self, out: &mut Vec<u8>) -> bool {
        let mut pairs = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let objects: Vec<u64> = self.objects.keys().copied().collect();
            if self.rng.one_in(2) && !objects.is_empty() {
                let k = *self.rng.pick(&objects);
                let count = self.objects[&k];
                let n = 1 + self.rng.number() % count;
                pairs.push((Target::host(k), n));
                if n == count {
                    self.objects.remove(&k);
                } else {
                    self.objects.insert(k, count - n);
                }
            } else if !self.opens.is_empty() {
                let at = self.rng.below(self.opens.len());
                pairs.push((Target::open(self.opens.swap_remove(at)), 1));
            }
        }
        if pairs.is_empty() {
            return false;
        }
        frame::write_release(out, &pairs);
        true
    }

    /// One of our objects, or none, is broken.
    fn of_ours(&mut self, out: &mut Vec<u8>) -> bool {
        let k = 1 + self.rng.number() % (self.mine + 2);
        frame::write_broken(out, Target::host(k), Code::Denied, "gone");
        true
    }

    /// Streams and shared values of which the server knows nothing.
    fn of_nothing(&mut self, out: &mut Vec<u8>) -> bool {
        if self.strikes >= STRIKES {
            return false;
        }
        self.strikes += 1;
        let nothing = Target::host(1 << 41);
        match self.rng.below(6) {
            0 => frame::write_data(out, nothing, &[0x91, 1], &[]),
            1 => frame::write_end(out, nothing, None, "", &[]),
            2 => frame::write_credit(out, nothing, 1 + self.rng.number() % 65_536, 0),
            3 => frame::write_snap(out, nothing, 1, 1, &[7; 16], &[1], &[]),
            4 => frame::write_delta(out, nothing, 1, 2, &[1], &[], None),
            _ => frame::write_sync(out, nothing, 1, 65_536, None),
        }
        true
    }
}
