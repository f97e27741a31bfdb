//! The README says what is true: its program is the example, and it is as short as it claims.

const README: &str = include_str!("../../README.md");
const COUNTER: &str = include_str!("../../examples/counter.rs");

#[test]
fn the_program_in_the_readme_is_the_counter_example() {
    let (_, rest) = README
        .split_once("```rust\n")
        .expect("a first block of Rust");
    let (program, _) = rest.split_once("```").expect("an end of that block");
    assert_eq!(program, COUNTER, "copy examples/counter.rs into the README");
}

#[test]
fn server_and_client_are_at_most_thirty_lines_in_all() {
    assert!(
        COUNTER.lines().count() <= 30,
        "{} lines",
        COUNTER.lines().count()
    );
}
