//! The permit discipline as a machine of small states: peers, ordered links, lines by depth, running slots, transfers.
//! No bytes, no ids, no counts of references: only who waits for whom.

use std::collections::VecDeque;

use crate::program::{Kind, Program, Wait};

pub const DEPTHS: usize = 16;

/// Rules to leave out, to see what they are for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Without {
    /// R13.4: all depths share one grant.
    pub grants_by_depth: bool,
    /// R13.11: deeper calls need a running slot too.
    pub deeper_at_once: bool,
    /// R13.14: an OPEN in a shallower line stays there.
    pub bringing_forward: bool,
    /// R13.15: a deeper call on an OPEN that was sent goes at once, and is held under its own permit.
    pub waiting_aside: bool,
    /// R13.16: what was held goes to the end of the queue for slots, and the oldest waits like any other.
    pub oldest_first: bool,
    /// R13.12: parts need the permit of a call.
    pub free_parts: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Grants {
    pub calls: u64,
    pub nested: u64,
    pub bytes: u64,
    pub nested_bytes: u64,
    pub running: usize,
    /// Frames that may be under way before a sender waits.
    pub room: usize,
    pub transfers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum At {
    /// Not made.
    Nowhere,
    /// Waits for its permit.
    Line,
    /// Waits for the answer of the OPEN that it is made on (R13.15).
    Aside,
    /// Numbered, on the link.
    Link,
    /// Accepted: waits for an OPEN, or for its own or an earlier payload.
    Held,
    /// Waits for a running slot.
    Queued,
    Runs,
    /// An OPEN whose method answered with an OPEN that has no answer.
    Settling,
    /// Answered; the answer is on its way.
    Answered,
    /// The caller knows.
    Over,
}

#[derive(Clone, Hash, Debug)]
struct State {
    at: At,
    /// Where it is charged; that of its maker and one, unless it was brought forward.
    depth: u8,
    on: Option<u8>,
    arg: Option<u8>,
    /// The next call that its method makes.
    next: u8,
    /// Parts that were sent, and parts that came.
    sent: u8,
    came: u8,
    /// Its number among what the host accepted on this link.
    accepted: u16,
    /// It was named as an argument, so it goes wherever it leads.
    named: bool,
    /// It holds a running slot.
    slot: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Frame {
    Head(u8),
    Part(u8),
    Answer(u8),
}

#[derive(Clone, Hash, Default, Debug)]
struct Lane {
    calls: u64,
    bytes: u64,
    line: VecDeque<u8>,
}

#[derive(Clone, Hash, Default, Debug)]
struct Link {
    frames: VecDeque<Frame>,
    /// Calls and parts under way.
    under_way: usize,
    lanes: Vec<Lane>,
    aside: Vec<u8>,
    transfers: Vec<u8>,
    // Of the host at its end.
    accepted: u16,
    queue: Vec<u8>,
    running: usize,
}

/// One state of everything.
#[derive(Clone, Hash, Debug)]
pub struct Machine {
    calls: Vec<State>,
    links: Vec<Link>,
    /// How many calls of its own each application made.
    roots: Vec<u8>,
}

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// An application makes its next call.
    Start { peer: usize },
    /// The method of a call makes its next call, or ends.
    Run { call: usize },
    /// The next frame of a link arrives.
    Arrive { link: usize },
}

pub struct World<'a> {
    pub program: &'a Program,
    pub grants: Grants,
    pub without: Without,
}

impl World<'_> {
    pub fn start(&self) -> Machine {
        let state = State {
            at: At::Nowhere,
            depth: 0,
            on: None,
            arg: None,
            next: 0,
            sent: 0,
            came: 0,
            accepted: 0,
            named: false,
            slot: false,
        };
        let link = Link {
            lanes: vec![Lane::default(); DEPTHS],
            ..Link::default()
        };
        Machine {
            calls: vec![state; self.program.calls.len()],
            links: vec![link; self.program.peers * self.program.peers],
            roots: vec![0; self.program.peers],
        }
    }

    fn link(&self, call: usize) -> usize {
        self.program.calls[call].from * self.program.peers + self.program.calls[call].to
    }

    fn back(&self, link: usize) -> usize {
        (link % self.program.peers) * self.program.peers + link / self.program.peers
    }

    fn roots_of(&self, peer: usize) -> Vec<usize> {
        let of_peer = |id: &usize| self.program.calls[*id].from == peer;
        self.program.children(None).filter(of_peer).collect()
    }

    /// All that may happen next. Empty: it is over, or stuck.
    pub fn moves(&self, m: &Machine) -> Vec<Move> {
        let mut moves = Vec::new();
        for peer in 0..self.program.peers {
            if self.roots_of(peer).len() > usize::from(m.roots[peer]) {
                moves.push(Move::Start { peer });
            }
        }
        for call in 0..m.calls.len() {
            if m.calls[call].at == At::Runs && self.can_run(m, call) {
                moves.push(Move::Run { call });
            }
        }
        for (link, state) in m.links.iter().enumerate() {
            if !state.frames.is_empty() {
                moves.push(Move::Arrive { link });
            }
        }
        moves
    }

    /// The calls that did not end.
    pub fn open(&self, m: &Machine) -> Vec<String> {
        let open = |id: &usize| m.calls[*id].at != At::Over && !self.never_made(m, *id);
        let say = |id: usize| format!("{id}: {:?} at depth {}", m.calls[id].at, m.calls[id].depth);
        (0..m.calls.len()).filter(open).map(say).collect()
    }

    /// Whether a call above it failed, for it would have been deeper than 15 (R13.2).
    fn never_made(&self, m: &Machine, call: usize) -> bool {
        let above = self.program.calls[call].above;
        let failed = |up: usize| usize::from(m.calls[up].depth) >= DEPTHS;
        above.is_some_and(|up| failed(up) || self.never_made(m, up))
    }

    fn can_run(&self, m: &Machine, call: usize) -> bool {
        let over = |id: usize| m.calls[id].at == At::Over;
        let children: Vec<usize> = self.program.children(Some(call)).collect();
        let next = usize::from(m.calls[call].next);
        let last = next.checked_sub(1).map(|last| children[last]);
        if last.is_some_and(|id| self.program.calls[id].wait == Wait::Now && !over(id)) {
            return false;
        }
        if next < children.len() {
            return true;
        }
        let waits = |id: &&usize| self.program.calls[**id].wait != Wait::Never;
        if !children.iter().filter(waits).all(|id| over(*id)) {
            return false;
        }
        let of = &self.program.calls[call];
        of.kind == Kind::Open || !of.needs_arg || self.arg_is_there(m, call)
    }

    fn arg_is_there(&self, m: &Machine, call: usize) -> bool {
        m.calls[call]
            .arg
            .is_none_or(|arg| m.calls[usize::from(arg)].at >= At::Answered)
    }

    pub fn step(&self, m: &mut Machine, step: Move) {
        match step {
            Move::Start { peer } => {
                let call = self.roots_of(peer)[usize::from(m.roots[peer])];
                m.roots[peer] += 1;
                self.make(m, call, 0);
            }
            Move::Run { call } => {
                let next = usize::from(m.calls[call].next);
                if let Some(child) = self.program.children(Some(call)).nth(next) {
                    m.calls[call].next += 1;
                    let depth = m.calls[call].depth + 1;
                    self.make(m, child, depth);
                } else {
                    self.method_ends(m, call);
                }
            }
            Move::Arrive { link } => self.arrive(m, link),
        }
        for link in 0..m.links.len() {
            self.pump(m, link);
        }
    }

    fn make(&self, m: &mut Machine, call: usize, depth: u8) {
        m.calls[call].depth = depth;
        if usize::from(depth) >= DEPTHS {
            // R13.2: it fails here.
            m.calls[call].at = At::Over;
            return;
        }
        let made = |id: &usize| m.calls[*id].at != At::Nowhere && m.calls[*id].depth < 16;
        let of = self.program.calls[call];
        let (on, arg) = (of.on.filter(made), of.arg.filter(made));
        m.calls[call].on = on.map(|id| id as u8);
        m.calls[call].arg = arg.map(|id| id as u8);
        m.calls[call].at = At::Line;
        let link = self.link(call);
        m.links[link].lanes[usize::from(depth)]
            .line
            .push_back(call as u8);
    }

    fn unsent(&self, m: &Machine, open: Option<u8>) -> Option<usize> {
        let open = usize::from(open?);
        matches!(m.calls[open].at, At::Line | At::Aside).then_some(open)
    }

    /// R13.15: whether a call of that depth on that OPEN would be held under its own permit for a shallower one.
    fn must_wait(&self, m: &Machine, on: Option<u8>, depth: u8) -> bool {
        let Some(on) = on.map(usize::from) else {
            return false;
        };
        match m.calls[on].at {
            At::Over => false,
            At::Line | At::Aside => {
                let open = &m.calls[on];
                !open.named
                    && (self.must_wait(m, open.on, depth) || self.must_wait(m, open.arg, depth))
            }
            _ => m.calls[on].depth < depth,
        }
    }

    fn pump(&self, m: &mut Machine, link: usize) {
        // What waits aside goes back in line, in order and in front, when it may.
        for call in std::mem::take(&mut m.links[link].aside).into_iter().rev() {
            let (on, depth) = (
                m.calls[usize::from(call)].on,
                m.calls[usize::from(call)].depth,
            );
            if self.must_wait(m, on, depth) {
                m.links[link].aside.insert(0, call);
            } else {
                m.calls[usize::from(call)].at = At::Line;
                m.links[link].lanes[usize::from(depth)]
                    .line
                    .push_front(call);
            }
        }
        let mut moved = true;
        while moved {
            moved = false;
            for depth in 0..DEPTHS {
                while m.links[link].under_way < self.grants.room && self.send(m, link, depth) {
                    moved = true;
                }
            }
        }
        self.send_parts(m, link);
    }

    fn grant(&self, depth: usize) -> (u64, u64) {
        if depth == 0 {
            (self.grants.calls, self.grants.bytes)
        } else {
            (self.grants.nested, self.grants.nested_bytes)
        }
    }

    /// Deals with the first of a line. Whether anything moved.
    fn send(&self, m: &mut Machine, link: usize, depth: usize) -> bool {
        let Some(front) = m.links[link].lanes[depth].line.front().copied() else {
            return false;
        };
        let call = usize::from(front);
        let state = m.calls[call].clone();
        if !self.without.waiting_aside && !state.named && self.must_wait(m, state.on, depth as u8) {
            m.links[link].lanes[depth].line.pop_front();
            m.links[link].aside.push(front);
            m.calls[call].at = At::Aside;
            return true;
        }
        for (open, named) in [(state.on, state.named), (state.arg, true)] {
            if let Some(open) = self.unsent(m, open) {
                return self.bring_forward(m, link, depth, open, named);
            }
        }
        let of = self.program.calls[call];
        let lane = if self.without.grants_by_depth {
            0
        } else {
            depth
        };
        let (calls, bytes) = self.grant(lane);
        let counts = of.kind != Kind::Tell;
        let charged = &mut m.links[link].lanes[lane];
        let idle = charged.calls == 0 && charged.bytes == 0;
        if !idle && (counts && charged.calls >= calls || charged.bytes + of.size > bytes) {
            return false;
        }
        if of.parts > 0 && m.links[link].transfers.len() >= self.grants.transfers {
            return false;
        }
        let charged = &mut m.links[link].lanes[lane];
        charged.calls += u64::from(counts);
        charged.bytes += of.size;
        let l = &mut m.links[link];
        l.lanes[depth].line.pop_front();
        if of.parts > 0 {
            l.transfers.push(front);
        }
        l.frames.push_back(Frame::Head(front));
        l.under_way += 1;
        m.calls[call].at = At::Link;
        true
    }

    fn bring_forward(
        &self,
        m: &mut Machine,
        link: usize,
        depth: usize,
        open: usize,
        named: bool,
    ) -> bool {
        let from = usize::from(m.calls[open].depth);
        if from > depth || self.without.bringing_forward && from < depth {
            return false;
        }
        let l = &mut m.links[link];
        l.aside.retain(|id| usize::from(*id) != open);
        l.lanes[from].line.retain(|id| usize::from(*id) != open);
        l.lanes[depth].line.push_front(open as u8);
        let state = &mut m.calls[open];
        (state.at, state.depth) = (At::Line, depth as u8);
        state.named |= named;
        true
    }

    fn send_parts(&self, m: &mut Machine, link: usize) {
        while m.links[link].under_way < self.grants.room {
            let of = |id: &u8| &self.program.calls[usize::from(*id)];
            let l = &m.links[link];
            let free = |id: &u8| {
                let lane = &l.lanes[usize::from(m.calls[usize::from(*id)].depth)];
                !self.without.free_parts || lane.calls < self.grant(0).0
            };
            let open = l.transfers.iter().position(free);
            let Some(at) = open else { return };
            // Round robin.
            let call = m.links[link].transfers.remove(at);
            m.calls[usize::from(call)].sent += 1;
            if m.calls[usize::from(call)].sent < of(&call).parts {
                m.links[link].transfers.push(call);
            }
            m.links[link].frames.push_back(Frame::Part(call));
            m.links[link].under_way += 1;
        }
    }

    fn arrive(&self, m: &mut Machine, link: usize) {
        let Some(frame) = m.links[link].frames.pop_front() else {
            return;
        };
        match frame {
            Frame::Head(call) => {
                let l = &mut m.links[link];
                l.under_way -= 1;
                l.accepted += 1;
                m.calls[usize::from(call)].accepted = l.accepted;
                m.calls[usize::from(call)].at = At::Held;
            }
            Frame::Part(call) => {
                m.links[link].under_way -= 1;
                m.calls[usize::from(call)].came += 1;
            }
            Frame::Answer(call) => {
                let call = usize::from(call);
                m.calls[call].at = At::Over;
                let (link, of) = (self.link(call), &self.program.calls[call]);
                let lane = match self.without.grants_by_depth {
                    true => 0,
                    false => usize::from(m.calls[call].depth),
                };
                let charged = &mut m.links[link].lanes[lane];
                charged.calls -= u64::from(of.kind != Kind::Tell);
                charged.bytes -= of.size;
                return;
            }
        }
        self.serve(m, link);
    }

    fn incomplete(&self, m: &Machine, call: usize) -> bool {
        m.calls[call].came < self.program.calls[call].parts
    }

    /// The host: what was held goes on, in order, and slots are given.
    fn serve(&self, m: &mut Machine, link: usize) {
        let mut held: Vec<usize> = (0..m.calls.len())
            .filter(|id| m.calls[*id].at == At::Held && self.link(*id) == link)
            .collect();
        held.sort_by_key(|id| m.calls[*id].accepted);
        let mut behind: Vec<Option<u8>> = Vec::new();
        for call in held {
            let on = m.calls[call].on;
            let waits = on.is_some_and(|on| m.calls[usize::from(on)].at < At::Answered);
            // Later calls on a target wait behind a payload that is not complete.
            if behind.contains(&on) {
                continue;
            }
            if self.incomplete(m, call) {
                behind.push(on);
                continue;
            }
            if waits {
                continue;
            }
            if m.calls[call].depth == 0 || self.without.deeper_at_once {
                m.calls[call].at = At::Queued;
                m.links[link].queue.push(call as u8);
                if !self.without.oldest_first {
                    let calls = &m.calls;
                    let age = |id: &u8| calls[usize::from(*id)].accepted;
                    m.links[link].queue.sort_by_key(age);
                }
            } else {
                m.calls[call].at = At::Runs;
            }
        }
        while let Some(front) = m.links[link].queue.first().copied() {
            let call = usize::from(front);
            let oldest = || {
                let unanswered = |id: &usize| {
                    self.link(*id) == link && (At::Held..At::Answered).contains(&m.calls[*id].at)
                };
                let ages = (0..m.calls.len()).filter(unanswered);
                ages.map(|id| m.calls[id].accepted).min() == Some(m.calls[call].accepted)
            };
            if m.links[link].running >= self.grants.running
                && (self.without.oldest_first || !oldest())
            {
                break;
            }
            m.links[link].queue.remove(0);
            m.links[link].running += 1;
            m.calls[call].slot = true;
            m.calls[call].at = At::Runs;
        }
    }

    fn method_ends(&self, m: &mut Machine, call: usize) {
        let link = self.link(call);
        if std::mem::take(&mut m.calls[call].slot) {
            m.links[link].running -= 1;
        }
        if self.program.calls[call].needs_arg && !self.arg_is_there(m, call) {
            m.calls[call].at = At::Settling;
        } else {
            self.answer(m, call);
        }
        self.serve(m, link);
    }

    fn answer(&self, m: &mut Machine, call: usize) {
        let link = self.link(call);
        let back = self.back(link);
        m.calls[call].at = At::Answered;
        m.links[back].frames.push_back(Frame::Answer(call as u8));
        self.serve(m, link);
        for other in 0..m.calls.len() {
            if m.calls[other].at == At::Settling && self.arg_is_there(m, other) {
                self.answer(m, other);
            }
        }
    }
}
