//! `helve-bench`: Helve beside a hand-made limit, in one run. Start it with `cargo xtask bench`.
//!
//! The program starts itself again for every measurement, one process each, and takes the peers in turn, so that a slow
//! minute of the machine hits all of them. Only ratios inside one run mean anything, and nothing here asserts a time.

use std::process::ExitCode;

mod cases;
mod child;
mod deltas;
mod driver;
mod link;
mod machine;
mod meter;
mod options;
mod peers;
mod report;
mod tools;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match options::parse(&args) {
        Ok(options::Command::Help) => {
            print!("{}", options::HELP);
            Ok(())
        }
        Ok(options::Command::Measure(task)) => child::run(&task),
        Ok(options::Command::Compare(options)) => driver::run(&options),
        Err(wrong) => {
            eprintln!("helve-bench: {wrong}; see --help");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("helve-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
