//! What no correct peer says: each wrong in one respect, beside the rule that the server must name.

use helve_handles::id::method_id;
use helve_handles::{Descriptor, Tag, Target};
use helve_protocol::Code;
use helve_protocol::frame::{self, CallExtOut, CallKind};

use super::{Hostile, Said};

/// Every way to be wrong, and the rule that it breaks. `E` alone: any rule of the encoding.
pub const WRONGS: [(&str, &str); 40] = [
    ("an id again", "I1.2"),
    ("an id that leaps", "I1.2"),
    ("an id of 2^53", "I1.1"),
    ("id 0", "I1.3"),
    ("depth 16", "R13.3"),
    ("a result for nothing", "R11.6"),
    ("an error for nothing", "R11.6"),
    ("two results", "R11.6"),
    ("too much released", "R1.4"),
    ("nothing released", "R1.5"),
    ("the root released", "I2.1"),
    ("an open released by 2", "R2.2"),
    ("65 pairs released", "R1.5"),
    ("credit for no one-way call", "R13.9"),
    ("over the grant", "R13.13"),
    ("65 that name nothing", "R11.3"),
    ("an ack from the future", "S3.4"),
    ("a gap", "S2.3"),
    ("a part of nothing", "R18.9"),
    ("lent in a one-way call", "R3.1"),
    ("lent root", "I3.2"),
    ("256 references", "I3.5"),
    ("a reference beside the table", "E4.8"),
    ("an unknown kind", "E2.1"),
    ("one element too many", "E2.2"),
    ("one element too few", "E2.2"),
    ("an int too long", "E2.4"),
    ("a text for a number", "E2.6"),
    ("65 deep", "E4.2"),
    ("a claim of 4 GiB", "E4.4"),
    ("text that is none", "E4.5"),
    ("c1", "E4.6"),
    ("a timestamp", "E4.7"),
    ("8,193 frames", "E1.5"),
    ("a payload of 65,537 bytes", "E2.5"),
    ("something that is no frame", "E1.2"),
    ("a stream without credit", "R19.3"),
    ("a stream that ends twice", "R19.9"),
    ("mode 3", "R20.5"),
    ("cut short", "E"),
];

impl Hostile {
    /// A message that is wrong in one way, after some that is right. `way` is an index into [`WRONGS`].
    pub fn wrong(&mut self, way: usize) -> Said {
        let (name, rule) = WRONGS[way % WRONGS.len()];
        let mut body = Vec::new();
        for _ in 0..self.rng.below(4) {
            self.say(&mut body);
        }
        let out = &mut body;
        let none = CallExtOut::default();
        let next_id = self.last_id + 1;
        let call = |out: &mut Vec<u8>, id: u64| {
            frame::write_call(
                out,
                CallKind::Call,
                id,
                Target::ROOT,
                7,
                &[0x90],
                &[],
                &none,
            );
        };
        let with_args = |out: &mut Vec<u8>, args: &[u8], caps: &[Descriptor]| {
            let kind = CallKind::Call;
            frame::write_call(out, kind, next_id, Target::ROOT, 7, args, caps, &none);
        };
        match name {
            "an id again" => {
                // The first may be over its grant, unless there was one before.
                if self.last_id == 0 {
                    call(out, next_id);
                }
                call(out, self.last_id.max(1));
            }
            "an id that leaps" => call(out, self.last_id + (1 << 20) + 1),
            "an id of 2^53" => call(out, 1 << 53),
            "id 0" => out.extend([0x92, 6, 0]),
            "depth 16" => out.extend([0x97, 1, 1, 0, 1, 0x90, 0xc0, 0x81, 0xa1, b'h', 16]),
            "a result for nothing" => frame::write_ret(out, 1 << 40, &[0xc0], &[], &[]),
            "an error for nothing" => frame::write_err(out, 1 << 40, Code::Gone, "", &[]),
            "two results" => {
                let id = self.owed.first().map_or(1, |owed| owed.id);
                let code = Code::Denied;
                frame::write_err(out, id, code, "", &[]);
                frame::write_err(out, id, code, "", &[]);
            }
            "too much released" => {
                let k = self.objects.keys().next().copied().unwrap_or(1 << 40);
                frame::write_release(out, &[(Target::host(k), 1 << 40)]);
            }
            "nothing released" => out.extend([0x92, 7, 0x90]),
            "the root released" => frame::write_release(out, &[(Target::ROOT, 1)]),
            "an open released by 2" => frame::write_release(out, &[(Target::open(1), 2)]),
            "65 pairs released" => {
                out.extend([0x92, 7, 0xdc, 0, 130]);
                out.extend([1, 1].repeat(65));
            }
            "credit for no one-way call" => frame::write_credit(out, Target::ROOT, 1, 0),
            "over the grant" => {
                // Side by side in one message: none of them can have ended before the last is taken.
                let kind = CallKind::Call;
                let ext = CallExtOut { depth: 15, ..none };
                for id in 0..=u64::from(self.limits.nested) {
                    let id = next_id + id;
                    frame::write_call(out, kind, id, Target::ROOT, 7, &[0x90], &[], &ext);
                }
            }
            "65 that name nothing" => {
                for _ in 0..65 {
                    frame::write_sync(out, Target::host(1 << 41), 1, 1, None);
                }
            }
            "an ack from the future" => {
                let mut bytes = Vec::new();
                frame::put_uint(&mut bytes, self.next);
                frame::put_uint(&mut bytes, self.heard + (1 << 30));
                bytes.extend_from_slice(&body);
                return Said {
                    bytes,
                    wrong: Some(rule),
                };
            }
            "a gap" => {
                self.next += 1 + self.rng.number() % 1_000;
                frame::write_cancel(out, 1);
            }
            "a part of nothing" => frame::write_part(out, 1 << 40, Some(&[1])),
            "lent in a one-way call" => {
                let lent = [Descriptor::new(Tag::Lent, 1)];
                let (kind, args) = (CallKind::Tell, [0x91, 0xd4, 1, 0]);
                frame::write_call(out, kind, 0, Target::ROOT, 7, &args, &lent, &none);
            }
            "lent root" => with_args(out, &[0x90], &[Descriptor::new(Tag::Lent, 0)]),
            "256 references" => {
                let many = vec![Descriptor::new(Tag::Yours, 0); 256];
                with_args(out, &[0x90], &many);
            }
            "a reference beside the table" => with_args(out, &[0x91, 0xd4, 1, 0], &[]),
            "an unknown kind" => out.extend([0x92, 99, 1]),
            "one element too many" => out.extend([0x93, 6, 1, 1]),
            "one element too few" => out.extend([0x91, 6]),
            "an int too long" => out.extend([0x92, 6, 0xcc, 1]),
            "a text for a number" => out.extend([0x92, 6, 0xa1, b'1']),
            "65 deep" => {
                let mut args = vec![0x91];
                args.extend([0x91; 64]);
                args.push(0x90);
                with_args(out, &args, &[]);
            }
            "a claim of 4 GiB" => with_args(out, &[0x91, 0xdd, 0xff, 0xff, 0xff, 0xff], &[]),
            "text that is none" => with_args(out, &[0x91, 0xa2, 0xc3, 0x28], &[]),
            "c1" => with_args(out, &[0x91, 0xc1], &[]),
            "a timestamp" => with_args(out, &[0x91, 0xd6, 0xff, 0, 0, 0, 0], &[]),
            "8,193 frames" => out.extend([0x92, 6, 1].repeat(8_193)),
            "a payload of 65,537 bytes" => {
                let mut args = vec![0x91, 0xc6, 0, 1, 0, 0];
                args.resize(65_542, 0);
                with_args(out, &args, &[]);
            }
            "something that is no frame" => out.push(0x07),
            "a stream without credit" | "a stream that ends twice" => {
                // One that the server was never shown, in the message that shows it.
                let k = self.mine + 1;
                let (kind, args) = (CallKind::Call, [0x91, 0xd4, 1, 0]);
                let (cap, keep) = (
                    Descriptor::new(Tag::Mine, k),
                    method_id("test.Lab", "keep_stream"),
                );
                // The deepest that has room: what was said before may have used a grant up, and that is wrong by itself.
                let charge = args.len() as u64 + 64;
                let room = (0..16)
                    .rev()
                    .find(|&depth| self.admits(depth, true, charge));
                let ext = CallExtOut {
                    depth: room.unwrap_or(15) as u8,
                    ..none
                };
                frame::write_call(out, kind, next_id, Target::ROOT, keep, &args, &[cap], &ext);
                for _ in 0..3 {
                    if name == "a stream that ends twice" {
                        frame::write_end(out, Target::host(k), None, "", &[]);
                    } else {
                        let mut items = vec![0xdc, 0xea, 0x60];
                        items.resize(60_003, 0);
                        frame::write_data(out, Target::host(k), &items, &[]);
                    }
                }
            }
            "mode 3" => frame::write_sync(out, Target::ROOT, 3, 1, None),
            _ => {
                call(out, next_id);
                out.pop();
            }
        }
        let mut said = self.message(&body, false);
        said.wrong = Some(rule);
        said
    }
}
