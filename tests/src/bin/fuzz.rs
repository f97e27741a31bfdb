//! `cargo xtask fuzz`: every body of `helve_tests::fuzz`, for as long as you like, on stable Rust.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use helve_tests::fuzz::{TARGETS, Until, run};

const HELP: &str = "\
Feeds what reads a peer's bytes with mutated input, until something fails or the time is up.

usage: cargo xtask fuzz [--seconds N] [--target NAME] [--seed N]

  --seconds N     for each target; 30 when left out
  --target NAME   only this one: scan, frame, hello or session
  --seed N        the same inputs as before; when left out, others each time

exit status: 0 when nothing failed, 1 with the input when something did, 2 when the command line is wrong
";

struct Options {
    seconds: u64,
    target: Option<String>,
    seed: u64,
}

fn options() -> Option<Options> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut options = Options {
        seconds: 30,
        target: None,
        seed: now.map_or(1, |since| since.as_secs()),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next()?;
        match arg.as_str() {
            "--seconds" => options.seconds = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--target" => {
                helve_tests::fuzz::target(&value)?;
                options.target = Some(value);
            }
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let chosen = |name: &str| options.target.as_deref().is_none_or(|only| only == name);
    for target in TARGETS.iter().filter(|target| chosen(target.name)) {
        println!(
            "{}: seed {}, {} s",
            target.name, options.seed, options.seconds
        );
        let until = Instant::now() + Duration::from_secs(options.seconds);
        match run(target, options.seed, Until::Time(until)) {
            Ok(inputs) => println!("{}: {inputs} inputs, nothing failed", target.name),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
