//! The bodies of `helve_tests::fuzz` under mutated inputs: a short run of each, and the inputs that once failed.
//! `HELVE_FUZZ_INPUTS` says how many inputs, `HELVE_SEED` from which seed; `cargo xtask fuzz` runs for longer.

use helve_tests::fuzz::{TARGETS, Until, replay, run, target};

/// Target and input, as a failure prints them.
const REGRESSIONS: &[(&str, &str)] = &[
    ("session", "94090291d401009108"),
    ("session", "960201000891d40100910493090191c01f06"),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[track_caller]
fn short_run(name: &str) {
    let target = target(name).expect("a target");
    let seed = number("HELVE_SEED").unwrap_or(1);
    let inputs = number("HELVE_FUZZ_INPUTS").unwrap_or(10_000);
    println!("{name}: seed {seed}, {inputs} inputs");
    if let Err(failure) = run(&target, seed, Until::Inputs(inputs)) {
        panic!("{failure}");
    }
}

// E4.1 E4.2 E4.3 E4.4 E4.8 E4.10 E4.13
#[test]
fn the_scan_takes_what_is_a_value_and_nothing_else() {
    short_run("scan");
}

// E1.1 E1.2 E2.2 E2.3 E2.8 E4.1
#[test]
fn what_was_read_of_a_message_is_written_back_to_the_same_meaning() {
    short_run("frame");
}

// S1.2 S1.3 S1.4 S1.9
#[test]
fn what_was_read_of_a_handshake_is_written_back_to_the_same_meaning() {
    short_run("hello");
}

// R11.5 R13.4 R14.1 R17.1 R17.2 R17.5 S3.1 S5.1
#[test]
fn a_session_keeps_its_books_whatever_a_peer_says() {
    short_run("session");
}

#[test]
fn inputs_that_once_failed_hold() {
    for (name, hex) in REGRESSIONS {
        replay(name, hex);
    }
}

#[test]
fn a_body_that_fails_is_told_by_the_shortest_input() {
    let mut wrong = TARGETS[0];
    wrong.body = |bytes| assert!(!bytes.contains(&0xc1), "c1 is reserved");
    let failure = run(&wrong, 1, Until::Inputs(10_000)).expect_err("it is found");
    let text = failure.to_string();
    assert!(text.contains("(\"scan\", \"c1\")"), "{text}");
    assert!(
        text.contains("c1 is reserved") && text.contains("seed 1"),
        "{text}"
    );
}
