//! What the peers of a ring do: a forest of calls, each made once, by the method of the call above it. The model and the
//! code run the same programs.

use crate::rng::Rng;

/// When a method waits for a call that it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Before it goes on.
    Now,
    /// Before it ends.
    End,
    /// Never: it may end before the call does.
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Call,
    Open,
    Tell,
}

/// One call. Its number is its place in [`Program::calls`]; the calls above it come before it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub kind: Kind,
    /// The call whose method makes it; `None`: the application itself, at depth 0.
    pub above: Option<usize>,
    pub from: usize,
    pub to: usize,
    pub depth: usize,
    /// An OPEN on whose handle it is made, else the root of `to`.
    pub on: Option<usize>,
    /// An OPEN whose handle is its argument.
    pub arg: Option<usize>,
    /// Its method waits for `arg` before it ends; an OPEN is answered with it.
    pub needs_arg: bool,
    pub wait: Wait,
    /// What it is charged, in units.
    pub size: u64,
    /// Parts that follow its head (R18).
    pub parts: u8,
}

#[derive(Clone, Debug, Default)]
pub struct Program {
    pub peers: usize,
    pub calls: Vec<Call>,
}

impl Program {
    pub fn new(peers: usize) -> Program {
        Program {
            peers,
            calls: Vec::new(),
        }
    }

    fn push(&mut self, kind: Kind, above: Option<usize>, from: usize, to: usize) -> usize {
        let depth = above.map_or(0, |up| self.calls[up].depth + 1);
        self.calls.push(Call {
            kind,
            above,
            from,
            to,
            depth,
            on: None,
            arg: None,
            needs_arg: false,
            wait: Wait::End,
            size: 1,
            parts: 0,
        });
        self.calls.len() - 1
    }

    /// A call of the application at `from`.
    pub fn root(&mut self, kind: Kind, from: usize, to: usize) -> usize {
        self.push(kind, None, from, to)
    }

    /// A call that the method of `above` makes.
    pub fn below(&mut self, kind: Kind, above: usize, to: usize) -> usize {
        let from = self.calls[above].to;
        self.push(kind, Some(above), from, to)
    }

    /// A ring: calls that go round the peers from `from` on, each made by the method of the one before.
    pub fn ring(&mut self, from: usize, step: usize, last: usize) {
        let peers = self.peers;
        let mut at = self.root(Kind::Call, from, (from + step) % peers);
        for _ in 0..last {
            let to = (self.calls[at].to + step) % peers;
            at = self.below(Kind::Call, at, to);
        }
    }

    /// `rings` rings at once, of calls down to `last`; every other one starts at the other end.
    pub fn rings(peers: usize, rings: usize, last: usize) -> Program {
        let mut program = Program::new(peers);
        for n in 0..rings {
            program.ring(n % peers, 1 + n % (peers - 1), last);
        }
        program
    }

    /// Makes `call` on the handle of `open`, and its maker does not wait for it.
    fn aside(&mut self, call: usize, open: usize) {
        self.calls[call].on = Some(open);
        self.calls[call].wait = Wait::Never;
    }

    /// An OPEN whose method calls back. What is called back makes a call on the handle, waits not for it, and makes
    /// another one, which the OPEN needs.
    pub fn held_on_a_shallower_open(kind: Kind) -> Program {
        let mut program = Program::new(2);
        let open = program.root(Kind::Open, 0, 1);
        let back = program.below(Kind::Call, open, 0);
        let held = program.below(kind, back, 1);
        program.aside(held, open);
        program.below(Kind::Call, back, 1);
        program
    }

    /// The same crosswise, with calls that are but one deeper than the OPEN that they are made on.
    pub fn held_crosswise() -> Program {
        let mut program = Program::new(2);
        let opens = [
            program.root(Kind::Open, 0, 1),
            program.root(Kind::Open, 1, 0),
        ];
        for n in [0, 1] {
            // The method of the one OPEN calls on the handle of the other.
            let held = program.below(Kind::Call, opens[n], n);
            program.aside(held, opens[1 - n]);
            program.below(Kind::Call, opens[n], n);
        }
        program
    }

    /// An OPEN that waits for its permit, and will be answered with the one before it. A deeper call names it.
    pub fn brought_forward_with_an_argument() -> Program {
        let mut program = Program::new(2);
        let open = program.root(Kind::Open, 0, 1);
        let alias = program.root(Kind::Open, 0, 1);
        (program.calls[alias].arg, program.calls[alias].needs_arg) = (Some(open), true);
        let back = program.below(Kind::Call, open, 0);
        let deeper = program.below(Kind::Call, back, 1);
        program.aside(deeper, alias);
        program.below(Kind::Call, back, 1);
        program
    }

    /// A method that uses a handle which was opened above it, and waits.
    pub fn needs_a_shallower_open() -> Program {
        let mut program = Program::new(2);
        let first = program.root(Kind::Call, 0, 1);
        let open = program.root(Kind::Open, 0, 1);
        let back = program.below(Kind::Call, first, 0);
        let uses = program.below(Kind::Call, back, 1);
        program.calls[uses].on = Some(open);
        program
    }

    /// An OPEN on an OPEN, and a method that waits for it in a running slot. `deeper`: the first holds no slot.
    pub fn waits_for_an_argument(deeper: bool) -> Program {
        let mut program = Program::new(2);
        let first = if deeper {
            let call = program.root(Kind::Call, 1, 0);
            program.below(Kind::Open, call, 1)
        } else {
            program.root(Kind::Open, 0, 1)
        };
        let second = program.root(Kind::Open, 0, 1);
        program.calls[second].on = Some(first);
        let needs = program.root(Kind::Call, 0, 1);
        (program.calls[needs].arg, program.calls[needs].needs_arg) = (Some(second), true);
        program
    }

    /// A call whose arguments follow in parts.
    pub fn transfer() -> Program {
        let mut program = Program::new(2);
        let first = program.root(Kind::Call, 0, 1);
        program.calls[first].parts = 2;
        program.below(Kind::Call, first, 0);
        program
    }

    pub fn children(&self, of: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        (0..self.calls.len()).filter(move |id| self.calls[*id].above == of)
    }

    /// A program of up to `most` calls in which methods wait for what is theirs alone: calls of their own, on handles
    /// and with arguments that the same method opened. They make other calls too, and do not wait for them.
    pub fn random(rng: &mut Rng, most: usize) -> Program {
        let mut program = Program::new(rng.pick(&[2, 2, 2, 3]));
        let peers = program.peers;
        let deep = rng.pick(&[1, 3, 15]);
        let roots = 1 + rng.below(4) as usize;
        let opens = rng.pick(&[1, 3, 6]);
        let names = rng.pick(&[1, 2]);
        while program.calls.len() < most {
            let made = program.calls.len();
            let kind = match rng.below(8) {
                n if n < opens => Kind::Open,
                7 => Kind::Tell,
                _ => Kind::Call,
            };
            let id = if made < roots {
                let from = rng.below(peers as u64) as usize;
                program.root(
                    kind,
                    from,
                    (from + 1 + rng.below(peers as u64 - 1) as usize) % peers,
                )
            } else {
                // Mostly below the last one, so that rings get deep.
                let up = match rng.below(3) {
                    0 => rng.below(made as u64) as usize,
                    _ => made - 1 - rng.below(roots.min(made) as u64) as usize,
                };
                if program.calls[up].depth >= deep {
                    if rng.below(20) == 0 {
                        break;
                    }
                    continue;
                }
                let to = (program.calls[up].to + 1 + rng.below(peers as u64 - 1) as usize) % peers;
                program.below(kind, up, to)
            };
            program.decorate(rng, id, names);
        }
        program
    }

    fn decorate(&mut self, rng: &mut Rng, id: usize, names: u64) {
        let call = self.calls[id];
        let opens: Vec<usize> = (0..id)
            .filter(|o| {
                let open = self.calls[*o];
                open.kind == Kind::Open && (open.from, open.to) == (call.from, call.to)
            })
            .collect();
        let mut wait = rng.pick(&[Wait::Now, Wait::End, Wait::End, Wait::Never]);
        let (mut on, mut arg, mut needs_arg) = (None, None, false);
        if !opens.is_empty() && rng.below(3) > 0 {
            let open = rng.pick(&opens);
            if self.is_foreign(open, call.above) {
                wait = Wait::Never;
            }
            on = Some(open);
        }
        if !opens.is_empty() && rng.below(3) < names {
            let open = rng.pick(&opens);
            if !self.is_foreign(open, call.above) {
                arg = Some(open);
                needs_arg = rng.below(2) == 0;
            }
        }
        let size = rng.pick(&[1, 1, 2, 3]);
        let parts = rng.pick(&[0, 0, 0, 0, 1, 3]);
        let call = &mut self.calls[id];
        (call.wait, call.on, call.arg, call.needs_arg) = (wait, on, arg, needs_arg);
        (call.size, call.parts) = (size, parts);
        if call.kind == Kind::Tell {
            call.wait = Wait::Never;
        }
    }

    /// Whether that OPEN, or one that it waits for, was made by another method.
    fn is_foreign(&self, open: usize, above: Option<usize>) -> bool {
        let call = self.calls[open];
        let foreign = |o| self.is_foreign(o, above);
        call.above != above || call.on.is_some_and(foreign) || call.arg.is_some_and(foreign)
    }
}
