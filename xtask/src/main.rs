//! Chores of the workspace: `cargo xtask <command>`. Standard library only, so that it builds in a second.
//! `test` is what continuous integration ends with; `rules` and `layout` are the house rules that a compiler does not know.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod layout;
mod rules;
mod source;
mod test;

const HELP: &str = "\
Chores of the Helve workspace.

usage: cargo xtask <command> [options]

commands:
  test [-- ARGS]      the checks below, then every test of the workspace with doc tests; ends with `N passed, N failed`
                      (ARGS go to `cargo test` in place of --workspace, e.g. `-- --package helve-handles`)
  rules [--strict]    rules of docs/protocol.md that no test cites; errors in how rules are written.
                      With --strict an uncited rule, or a citation of an unknown one, is an error too
  layout              house rules: who may import whom, no unwrap where a peer's bytes go, no sleeps or ignored tests,
                      every session in a test opened through the harness, files of one idea
  fuzz [options]      feeds what reads a peer's bytes with mutated input until something fails; --seconds N for each of the
                      targets (30), --target NAME for one of them, --seed N to begin elsewhere
  bench [options]     side by side with a hand-made limit, in a release build; `cargo xtask bench --help` lists its options
  ci                  what continuous integration runs (.ci/run)

options:
  -h, --help          this text

exit status: 0 when all is well, 1 when a check or a test failed, 2 when the command line is wrong
";

/// What a command found wrong, one line each, ready to print.
type Problems = Vec<String>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    match args.as_slice() {
        ["bench", rest @ ..] => bench(&root, rest),
        ["fuzz", rest @ ..] => fuzz(&root, rest),
        [] | ["help"] => {
            print!("{HELP}");
            if args.is_empty() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            }
        }
        args if args
            .iter()
            .take_while(|arg| **arg != "--")
            .any(|arg| matches!(*arg, "-h" | "--help")) =>
        {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["test"] => test::run(&root, &[]),
        ["test", "--", rest @ ..] => test::run(&root, rest),
        ["rules"] => conclude("rules", &rules::run(&root, false)),
        ["rules", "--strict"] => conclude("rules", &rules::run(&root, true)),
        ["layout"] => conclude("layout", &layout::run(&root)),
        ["ci"] => status(Command::new(root.join(".ci/run")).current_dir(&root)),
        other => {
            eprintln!(
                "xtask: do not know `{}`; see `cargo xtask --help`",
                other.join(" ")
            );
            ExitCode::from(2)
        }
    }
}

/// The root of the workspace: cargo says where xtask lives when it runs it.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = here.as_deref().and_then(Path::parent).map(Path::to_owned);
    root.unwrap_or_else(|| PathBuf::from("."))
}

/// Prints what is wrong and turns it into an exit status.
fn conclude(check: &str, problems: &Problems) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    match problems.len() {
        0 => println!("{check}: ok"),
        errors => println!("{check}: errors: {errors}"),
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Builds and runs the program in bench/, which is a workspace of its own, and hands its options on.
fn bench(root: &Path, options: &[&str]) -> ExitCode {
    let manifest = root.join("bench/Cargo.toml");
    let mut cargo = Command::new(cargo());
    cargo
        .args(["run", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--")
        .args(options);
    status(&mut cargo)
}

/// Builds and runs the fuzzer of helve-tests, with every check that a release build leaves out.
fn fuzz(root: &Path, options: &[&str]) -> ExitCode {
    let mut cargo = Command::new(cargo());
    cargo
        .args(["run", "--quiet", "--profile=fuzz", "--package=helve-tests"])
        .args(["--bin=fuzz", "--"])
        .args(options)
        .current_dir(root);
    status(&mut cargo)
}

/// The cargo that runs us, so that a chosen toolchain stays chosen.
fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn status(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!(
                "xtask: cannot run {}: {error}",
                command.get_program().to_string_lossy()
            );
            ExitCode::FAILURE
        }
    }
}
