//! What a schedule is made of: a setup, and steps that carry raw numbers, to be read against what there is at the time.
//! So a step means something wherever it stands, and a schedule can be shortened by leaving steps out.

use crate::harness::{A, B, Side};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What one schedule does much of (swarm testing: Groce et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swarm {
    /// Open calls at depth 0, and at each deeper depth.
    pub calls: u32,
    /// Methods of depth 0 that run at once.
    pub running: u32,
    /// A replay buffer that holds a frame or two, so that replies pile up behind it.
    pub tight: bool,
    /// OPENs are answered with handles that are not settled, too.
    pub alias: bool,
    /// Of sixteen payloads, so many go in PARTs.
    pub large: u32,
    /// Payloads that may be under way in PARTs at once, in each direction.
    pub transfers: u32,
    /// The link ends after the last step, whatever is on its way.
    pub lost: bool,
}

/// One step. The numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// A call at depth 0.
    Call {
        by: Side,
        on: u32,
        kind: u32,
        give: u32,
    },
    /// A running method calls back.
    Nested {
        by: Side,
        run: u32,
        on: u32,
        kind: u32,
        give: u32,
    },
    /// A caller loses interest.
    Cancel { by: Side, which: u32 },
    /// A method ends.
    Finish { by: Side, run: u32, how: u32 },
    /// A handle is dropped.
    Drop { by: Side, which: u32 },
    /// An object is revoked.
    Revoke { by: Side, which: u32 },
    /// What a side has to say goes on the link.
    Send { by: Side },
    /// The first messages of it do.
    SendFew { by: Side, n: u32 },
    /// Messages arrive.
    Deliver { to: Side, n: u32 },
    /// Time passes.
    Wait { ms: u32 },
}

/// A whole schedule of that seed.
pub fn schedule(seed: u64, len: usize) -> (Swarm, Vec<Step>) {
    let mut rng = Rng(mix(seed ^ 0x5eed));
    let swarm = Swarm {
        calls: rng.pick(&[1, 2, 3, 99, 99]),
        running: rng.pick(&[1, 2, 256, 256]),
        tight: rng.below(4) == 0,
        alias: rng.below(3) == 0,
        large: rng.pick(&[0, 0, 0, 1, 4]),
        transfers: rng.pick(&[1, 2, 64]),
        lost: rng.below(6) == 0,
    };
    // Weights of the steps, in their order.
    let nested = rng.pick(&[1, 4, 9]);
    let cancel = rng.pick(&[0, 1, 2, 5]);
    let revoke = rng.pick(&[0, 0, 1, 2]);
    let drop = rng.pick(&[3, 8]);
    let weights = [27, nested, cancel, 14, drop, revoke, 11, 20, 2];
    let total: u64 = weights.iter().sum();
    let steps = (0..len).map(|_| {
        let mut at = rng.below(total);
        let kind = weights
            .iter()
            .position(|w| {
                let hit = at < *w;
                at = at.wrapping_sub(*w);
                hit
            })
            .unwrap_or_default();
        let by = rng.pick(&[A, B]);
        let mut raw = || rng.next() as u32;
        match kind {
            0 => Step::Call {
                by,
                on: raw(),
                kind: raw(),
                give: raw(),
            },
            1 => Step::Nested {
                by,
                run: raw(),
                on: raw(),
                kind: raw(),
                give: raw(),
            },
            2 => Step::Cancel { by, which: raw() },
            3 => Step::Finish {
                by,
                run: raw(),
                how: raw(),
            },
            4 => Step::Drop { by, which: raw() },
            5 => Step::Revoke { by, which: raw() },
            // A link that carries PARTs is slow: other frames come between them.
            6 if swarm.large > 0 && raw().is_multiple_of(2) => Step::SendFew {
                by,
                n: 1 + raw() % 3,
            },
            6 => Step::Send { by },
            7 => Step::Deliver {
                to: by,
                n: 1 + raw() % 3,
            },
            _ => Step::Wait { ms: raw() % 30 },
        }
    });
    (swarm, steps.collect())
}

/// Leaves out steps as long as it still fails.
pub fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2);
    loop {
        let (before, mut at) = (steps.len(), 0);
        while at < steps.len() {
            let end = (at + chunk).min(steps.len());
            let shorter: Vec<Step> = [&steps[..at], &steps[end..]].concat();
            if fails(&shorter) {
                steps = shorter;
            } else {
                at = end;
            }
        }
        if chunk == 1 && steps.len() == before {
            return steps;
        }
        chunk = chunk.div_ceil(2);
    }
}

/// The schedule as a test to paste.
pub fn as_test(seed: u64, swarm: &Swarm, steps: &[Step]) -> String {
    let mut text = format!(
        "#[test]\nfn seed_{seed}() {{\n    use Step::*;\n    let swarm = {swarm:?};\n    replay(&swarm, &[\n"
    );
    for step in steps {
        text += &format!("        {step:?},\n");
    }
    text + "    ]);\n}\n"
}
