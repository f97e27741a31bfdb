//! Rings of callbacks under tiny grants (R13): whatever the schedule, every call ends, without a deadline. First a model
//! of who waits for whom, searched in every interleaving of small programs and at random in large ones; then the session
//! itself, which runs the same programs. `HELVE_SCHEDULES` says how many random ones.
//!
//! What is promised, and tested: methods wait for calls of their own, on handles and with arguments that the same method
//! opened. They may make any other call, if they do not wait for it.

#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "../harness/mod.rs"]
mod harness;
mod machine;
mod program;
mod rng;
mod search;
mod session;

use machine::{Grants, Without, World};
use program::{Kind, Program};
use rng::Rng;
use session::Tiny;

fn schedules() -> u64 {
    let number = std::env::var("HELVE_SCHEDULES");
    number.ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

/// The least that is legal: one call at each depth, and of bytes what may always go.
const LEAST: Grants = Grants {
    calls: 1,
    nested: 1,
    bytes: 1,
    nested_bytes: 1,
    running: 1,
    room: 1,
    transfers: 1,
};

const ALL: Without = Without {
    grants_by_depth: false,
    deeper_at_once: false,
    bringing_forward: false,
    waiting_aside: false,
    oldest_first: false,
    free_parts: false,
};

#[track_caller]
fn never_locks(program: &Program, grants: Grants) {
    let world = World {
        program,
        grants,
        without: ALL,
    };
    if let Err(lock) = search::all(&world, 200_000) {
        panic!("{lock:#?}\nof {program:#?}\nwith {grants:?}");
    }
}

#[track_caller]
fn locks(program: &Program, grants: Grants, without: Without) {
    let world = World {
        program,
        grants,
        without,
    };
    assert!(search::all(&world, 200_000).is_err(), "{without:?}");
}

fn some_grants(rng: &mut Rng) -> Grants {
    Grants {
        calls: 1 + rng.below(3),
        nested: 1 + rng.below(2),
        bytes: 1 + rng.below(4),
        nested_bytes: 1 + rng.below(3),
        running: 1 + rng.below(2) as usize,
        room: 1 + rng.below(3) as usize,
        transfers: 1 + rng.below(2) as usize,
    }
}

fn some_tiny(rng: &mut Rng) -> Tiny {
    Tiny {
        calls: 1 + rng.below(3) as u32,
        nested: 1 + rng.below(2) as u32,
        bytes: rng.pick(&[1, 2, 8, 16, 24]),
        running: 1 + rng.below(2) as u32,
        tight: rng.below(3) == 0,
    }
}

const LEAST_TINY: Tiny = Tiny {
    calls: 1,
    nested: 1,
    bytes: 1,
    running: 1,
    tight: false,
};

/// All may be accepted at once, and one may run.
const ONE_SLOT: Tiny = Tiny {
    calls: 9,
    bytes: 99,
    ..LEAST_TINY
};

// ---- the model

#[test]
fn in_the_model_rings_end_in_every_interleaving() {
    // R13.4, R13.11
    for (peers, rings, last) in [(2, 1, 15), (2, 2, 5), (2, 3, 1), (3, 2, 3), (3, 3, 1)] {
        never_locks(&Program::rings(peers, rings, last), LEAST);
    }
}

#[test]
fn in_the_model_every_rule_is_needed() {
    // R13.4: with one grant for all depths a callback waits for the call that made it.
    let rings = Program::rings(2, 2, 2);
    locks(
        &rings,
        LEAST,
        Without {
            grants_by_depth: true,
            ..ALL
        },
    );
    // R13.11: so it does where deeper calls need a running slot.
    locks(
        &rings,
        LEAST,
        Without {
            deeper_at_once: true,
            ..ALL
        },
    );
    // R13.14: a deeper call would wait for the permit of a shallower one.
    let needs = Program::needs_a_shallower_open();
    locks(
        &needs,
        LEAST,
        Without {
            bringing_forward: true,
            ..ALL
        },
    );
    never_locks(&needs, LEAST);
    // R13.15: what is held on a shallower OPEN would keep a permit that the OPEN needs.
    let held = [
        Program::held_on_a_shallower_open(Kind::Call),
        Program::held_on_a_shallower_open(Kind::Open),
        Program::held_crosswise(),
        Program::brought_forward_with_an_argument(),
    ];
    for program in &held {
        locks(
            program,
            LEAST,
            Without {
                waiting_aside: true,
                ..ALL
            },
        );
        never_locks(program, LEAST);
    }
    // The bytes of a one-way call are a permit too.
    let told = Program::held_on_a_shallower_open(Kind::Tell);
    locks(
        &told,
        LEAST,
        Without {
            waiting_aside: true,
            ..ALL
        },
    );
    never_locks(&told, LEAST);
    // R13.16: younger calls would have all the slots, and wait for an older one.
    for deeper in [false, true] {
        let waits = Program::waits_for_an_argument(deeper);
        let grants = Grants {
            calls: 3,
            bytes: 3,
            ..LEAST
        };
        locks(
            &waits,
            grants,
            Without {
                oldest_first: true,
                ..ALL
            },
        );
        never_locks(&waits, grants);
    }
    // R13.12: a payload would wait for the permit of its own head.
    let transfer = Program::transfer();
    locks(
        &transfer,
        LEAST,
        Without {
            free_parts: true,
            ..ALL
        },
    );
    never_locks(&transfer, LEAST);
}

#[test]
fn in_the_model_small_programs_end_in_every_interleaving() {
    // R13.4, R13.15, R13.16
    for seed in 0..schedules() / 20 {
        let mut rng = Rng(seed);
        let most = 3 + rng.below(3) as usize;
        let program = Program::random(&mut rng, most);
        never_locks(&program, some_grants(&mut rng));
    }
}

#[test]
fn in_the_model_large_programs_end() {
    // R13.4, R13.15, R13.16
    for seed in 0..schedules() {
        let mut rng = Rng(seed);
        let most = 10 + rng.below(40) as usize;
        let program = Program::random(&mut rng, most);
        let world = World {
            program: &program,
            grants: some_grants(&mut rng),
            without: ALL,
        };
        if let Err(lock) = search::one(&world, &mut rng) {
            panic!(
                "seed {seed}: {lock:#?}\nof {program:#?}\nwith {:?}",
                world.grants
            );
        }
    }
}

// ---- the session

/// Runs a program on so many schedules. The first failure.
fn attempt(program: &Program, tiny: &Tiny, seeds: u64) -> Result<(), String> {
    (0..seeds).try_for_each(|seed| {
        let end = session::run(program, tiny, &mut Rng(seed));
        end.map_err(|why| format!("seed {seed}: {why}\nof {program:#?}\nwith {tiny:?}"))
    })
}

fn told_apart() -> [Program; 7] {
    [
        Program::held_on_a_shallower_open(Kind::Call),
        Program::held_on_a_shallower_open(Kind::Open),
        Program::held_on_a_shallower_open(Kind::Tell),
        Program::held_crosswise(),
        Program::brought_forward_with_an_argument(),
        Program::waits_for_an_argument(false),
        Program::waits_for_an_argument(true),
    ]
}

#[test]
fn rings_to_depth_fifteen_end_under_the_least_grants() {
    // R13.4, R13.5, R13.11
    for tight in [false, true] {
        for (peers, rings) in [(2, 1), (2, 2), (2, 6), (3, 2), (3, 6)] {
            let tiny = Tiny {
                tight,
                ..LEAST_TINY
            };
            let program = Program::rings(peers, rings, 15);
            attempt(&program, &tiny, schedules() / 100).unwrap();
        }
    }
}

#[test]
fn what_locked_the_model_without_a_rule_ends_in_the_session() {
    // R13.14, R13.15, R13.16
    for program in told_apart() {
        for tiny in [LEAST_TINY, ONE_SLOT] {
            attempt(&program, &tiny, 100).unwrap();
        }
    }
    attempt(&Program::needs_a_shallower_open(), &LEAST_TINY, 100).unwrap();
}

#[test]
fn random_programs_end_under_tiny_grants() {
    // R13.4, R13.14, R13.15, R13.16, R10.2
    for seed in 0..schedules() {
        let mut rng = Rng(seed);
        let most = 3 + rng.below(if seed % 2 == 0 { 5 } else { 40 }) as usize;
        let program = Program::random(&mut rng, most);
        let tiny = some_tiny(&mut rng);
        if let Err(why) = session::run(&program, &tiny, &mut rng) {
            panic!("seed {seed}: {why}\nof {program:#?}\nwith {tiny:?}");
        }
    }
}

#[cfg(feature = "mutations")]
#[test]
fn a_session_without_one_of_the_rules_locks() {
    let ring = Program::rings(2, 2, 3);
    let held = Program::held_on_a_shallower_open;
    let cases = [
        ("flat", ring),
        ("held_deep", held(Kind::Call)),
        ("held_deep", held(Kind::Tell)),
        ("held_deep", Program::held_crosswise()),
        ("held_deep", Program::brought_forward_with_an_argument()),
        ("slot_late", Program::waits_for_an_argument(false)),
        ("slot_late", Program::waits_for_an_argument(true)),
    ];
    for (name, program) in cases {
        helve_protocol::mutation::set(name);
        let tiny = if name == "slot_late" {
            ONE_SLOT
        } else {
            LEAST_TINY
        };
        let end = attempt(&program, &tiny, 200);
        helve_protocol::mutation::set("");
        assert!(end.is_err(), "{name} was not noticed, with {program:#?}");
    }
}
