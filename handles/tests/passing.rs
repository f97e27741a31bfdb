//! A value that passes through a forwarder: whoever follows behind it gets what the host's own followers get.

use helve_handles::shared::{Applied, Follower, Life, Passed, Passing, Payload, Tracked, Update};
use helve_handles::track::{Counter, Map, Text};

type Doc = (u32, Map<u32, u32>, Text, Counter);

const LIFE: Life = Life {
    epoch: 7,
    ty: [3; 16],
};

/// A small generator, so that a seed says all.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A host, and the forwarder behind it.
struct Line {
    host: Tracked<Doc>,
    passing: Passing,
    /// Where the forwarder's subscription stands.
    cursor: Option<u64>,
    life: Life,
}

impl Line {
    fn new(text: usize) -> Line {
        let text = Text::from("x".repeat(text));
        Line {
            host: Tracked::new((0, Map::new(), text, Counter::new(0))),
            passing: Passing::default(),
            cursor: None,
            life: LIFE,
        }
    }

    /// Carries one thing from the host to the forwarder. Whether there was one.
    fn carry(&mut self, told: Option<u64>) -> bool {
        let history = self.host.history().expect("encodes");
        let next = history.lock().expect("whole").next(self.cursor);
        let Some(update) = next else { return false };
        let passed = match update {
            Update::Snapshot { rev, value } => {
                self.cursor = Some(rev);
                self.passing.snapshot(self.life, rev, value).0
            }
            Update::Delta { from, to, node } => {
                self.cursor = Some(to);
                self.passing.delta(from, to, node, told).0
            }
        };
        assert_ne!(passed, Passed::Gap, "the host leaves nothing out");
        if self.passing.is_outgrown() {
            self.cursor = None;
        }
        true
    }
}

/// Somebody behind the forwarder.
#[derive(Default)]
struct Behind {
    follower: Follower<Doc>,
    /// What it was told.
    cursor: Option<(u64, u64)>,
    shown: u64,
    snapshots: u32,
}

impl Behind {
    /// Takes one thing. Whether there was one.
    fn take(&mut self, passing: &Passing) -> bool {
        let Some(history) = passing.served() else {
            return false;
        };
        let mut history = history.lock().expect("whole");
        let life = history.life();
        let cursor = self.cursor.filter(|(epoch, _)| *epoch == life.epoch);
        let Some(update) = history.next(cursor.map(|(_, rev)| rev)) else {
            return false;
        };
        let new_life = self.follower.epoch() != life.epoch;
        let applied = match &update {
            Update::Snapshot { rev, value } => {
                self.cursor = Some((life.epoch, *rev));
                self.snapshots += 1;
                self.follower
                    .snapshot(life.epoch, *rev, &value.bytes, &value.refs)
            }
            Update::Delta { from, to, node } => {
                self.cursor = Some((life.epoch, *to));
                self.follower.delta(*from, *to, &node.bytes, &node.refs)
            }
        };
        assert!(matches!(applied, Applied::Now(_)), "{applied:?}");
        // R20.13
        assert!(self.follower.rev() >= self.shown || new_life);
        self.shown = self.follower.rev();
        true
    }
}

fn change(host: &mut Tracked<Doc>, rng: &mut Rng, n: u32) {
    host.change(|doc| match rng.below(6) {
        0 => doc.0 = n,
        1 => _ = doc.1.insert(n % 50, n),
        2 => _ = doc.1.remove(&(n % 50)),
        3 => doc.2.insert_str(0, "more "),
        4 if doc.2.len() > 20 => doc.2.replace_range(0..9, ""),
        _ => _ = doc.3.add(1),
    })
    .expect("commits");
}

#[test]
fn who_follows_behind_a_forwarder_gets_what_the_host_has_and_its_revisions_rise() {
    // R9.4, R9.10: whatever comes together, however far anybody lags.
    for seed in 1..20_u64 {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut line = Line::new([0, 3000, 40_000][seed as usize % 3]);
        let mut behind: Vec<Behind> = (0..4).map(|_| Behind::default()).collect();
        for n in 0..600 {
            change(&mut line.host, &mut rng, n);
            if rng.below(3) == 0 {
                let told = behind.iter().filter_map(|one| one.cursor).min();
                line.carry(told.map(|(_, rev)| rev));
            }
            for (lag, one) in behind.iter_mut().enumerate() {
                if rng.below(1 + lag as u64 * 60) == 0 {
                    one.take(&line.passing);
                }
            }
            match rng.below(300) {
                // Its subscription begins anew, without what it has.
                0 => line.cursor = None,
                1 => behind[1] = Behind::default(),
                _ => {}
            }
        }
        while line.carry(None) {}
        for one in &mut behind {
            while one.take(&line.passing) {}
            assert_eq!(one.follower.value(), Some(&*line.host), "seed {seed}");
            assert_eq!(one.follower.rev(), line.host.rev());
        }
    }
}

#[test]
fn what_a_forwarder_keeps_stays_within_its_bounds() {
    // R9.4: somebody behind it was told the first revision, and takes nothing any more.
    for text in [10, 100_000] {
        let mut line = Line::new(text);
        let mut stalled = Behind::default();
        while line.carry(None) {}
        while stalled.take(&line.passing) {}
        let mut largest = 0;
        for n in 0..5_000 {
            line.host
                .change(|doc| {
                    // Nothing of this can be taken together.
                    doc.2
                        .insert_str((n as usize * 7) % 5, "a longer piece of text");
                    let len = doc.2.len();
                    doc.2.replace_range(len - 22..len, "");
                    doc.0 = n;
                })
                .expect("commits");
            while line.carry(stalled.cursor.map(|(_, rev)| rev)) {}
            largest = largest.max(line.passing.size());
        }
        assert!(largest <= 3 * (text + (64 << 10)), "{largest} bytes");
        while stalled.take(&line.passing) {}
        assert_eq!(stalled.follower.value(), Some(&*line.host));
        assert_eq!(stalled.snapshots, 2, "all of it, where changes are longer");
    }
}

#[test]
fn a_value_that_begins_another_life_is_told_anew() {
    // R20.4
    let mut line = Line::new(100);
    let mut behind = Behind::default();
    for n in 0..10 {
        line.host.change(|doc| doc.0 = n).expect("commits");
    }
    while line.carry(None) {}
    while behind.take(&line.passing) {}
    let mut other = Line::new(50);
    other.passing = line.passing;
    other.life.epoch = 8;
    while other.carry(None) {}
    while behind.take(&other.passing) {}
    assert_eq!((behind.follower.epoch(), behind.follower.rev()), (8, 1));
    assert_eq!(behind.follower.value(), Some(&*other.host));
}

#[test]
fn a_change_that_does_not_lead_on_is_refused() {
    let mut passing = Passing::default();
    let node = || Payload::of(vec![0x91, 0x01], Vec::new());
    assert_eq!(passing.delta(1, 2, node(), None).0, Passed::Gap);
    let value = Payload::of(vec![0x05], Vec::new());
    assert_eq!(passing.snapshot(LIFE, 5, value).0, Passed::On);
    assert_eq!(passing.delta(4, 5, node(), None).0, Passed::Kept);
    assert_eq!(passing.delta(6, 7, node(), None).0, Passed::Gap);
    assert_eq!(passing.delta(4, 7, node(), None).0, Passed::Gap);
    assert_eq!(passing.delta(5, 7, node(), None).0, Passed::On);
    assert_eq!(passing.have(), Some((7, 7)));
    // Older than what was told: it waits.
    let value = Payload::of(vec![0x05], Vec::new());
    assert_eq!(passing.snapshot(LIFE, 6, value).0, Passed::Kept);
    assert_eq!(passing.head(), Some((LIFE, 7)));
    assert_eq!(passing.have(), Some((7, 6)));
    assert_eq!(passing.delta(5, 8, node(), None).0, Passed::Gap);
    // A change that sets all of it is all of it.
    let value = Payload::of(vec![0x05; 100], Vec::new());
    assert_eq!(passing.snapshot(LIFE, 9, value).0, Passed::On);
    let set = Payload::of(vec![0x92, 0x00, 0x06], Vec::new());
    assert_eq!(passing.delta(9, 12, set, None).0, Passed::On);
    let next = passing
        .served()
        .and_then(|served| served.lock().expect("whole").next(None));
    let Some(Update::Snapshot { rev: 12, value }) = next else {
        panic!("{next:?}");
    };
    assert_eq!(&*value.bytes, [0x06]);
}
