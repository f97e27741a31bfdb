//! `cargo xtask test`: the house rules, then every test of the workspace, then one line that says how many passed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::{Problems, cargo, layout, rules};

/// What `cargo xtask test` runs: the workspace, and the model test with its seeded bugs, each of which must be caught.
const RUNS: &[&[&str]] = &[
    &["--workspace"],
    &[
        "--package=helve-protocol",
        "--features=mutations",
        "--test=model",
    ],
];

/// How many tests passed and failed.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs everything, even after a failure, and prints `N passed, N failed` last. A check that fails counts as one failure.
pub(crate) fn run(root: &Path, extra: &[&str]) -> ExitCode {
    let mut failed_checks = 0;
    for (name, problems) in [
        ("rules", rules::run(root, true)),
        ("layout", layout::run(root)),
    ] {
        failed_checks += report(name, &problems);
    }
    let runs: &[&[&str]] = if extra.is_empty() { RUNS } else { &[extra] };
    let mut count = Count::default();
    for which in runs {
        let mut cargo = Command::new(cargo());
        cargo
            .args(["test", "--no-fail-fast"])
            .args(*which)
            .current_dir(root);
        let one = count_tests(&mut cargo);
        count.passed += one.passed;
        count.failed += one.failed;
    }
    println!(
        "{} passed, {} failed",
        count.passed,
        count.failed + failed_checks
    );
    if count.failed + failed_checks == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the problems of a check; 1 if there are any.
fn report(name: &str, problems: &Problems) -> u64 {
    for problem in problems {
        println!("error: {name}: {problem}");
    }
    u64::from(!problems.is_empty())
}

/// Runs `cargo test`, passes its output on line by line and adds up its result lines.
fn count_tests(cargo: &mut Command) -> Count {
    let mut count = Count::default();
    let mut child = match cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("error: cannot run cargo test: {error}");
            return Count {
                passed: 0,
                failed: 1,
            };
        }
    };
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        // A test may print bytes that are no text; they are passed on as well as they can be.
        while stdout
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            if let Some(one) = result_line(&text) {
                count.passed += one.passed;
                count.failed += one.failed;
            }
            line.clear();
        }
    }
    let ended_well = child.wait().is_ok_and(|status| status.success());
    if !ended_well && count.failed == 0 {
        println!(
            "error: cargo test failed, but no test says so: something did not build, or a test program was killed"
        );
        count.failed = 1;
    }
    count
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`, also with colours in it.
fn result_line(line: &str) -> Option<Count> {
    let (_, numbers) = line.split_once("test result: ")?;
    let number_before = |word: &str| {
        let (before, _) = numbers.split_once(word)?;
        before
            .rsplit(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    Some(Count {
        passed: number_before(" passed;")?,
        failed: number_before(" failed;")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read_with_and_without_colours() {
        let plain = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}[0m. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(
            result_line(plain),
            Some(Count {
                passed: 12,
                failed: 0
            })
        );
        assert_eq!(
            result_line(coloured),
            Some(Count {
                passed: 3,
                failed: 2
            })
        );
        assert_eq!(result_line("test sentence_is_read ... ok\n"), None);
        assert_eq!(result_line("test result: none of these\n"), None);
    }
}
