//! Counts that are exact where times are not: user instructions by callgrind, system calls by strace. Each runs a child
//! twice, with few and with many calls; the difference is free of what starting up costs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cases::Case;

/// A tool that counts something over the life of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    Callgrind,
    Strace,
}

impl Tool {
    pub(crate) const ALL: [Tool; 2] = [Tool::Callgrind, Tool::Strace];

    /// The name of its metric.
    pub(crate) fn metric(self) -> &'static str {
        match self {
            Tool::Callgrind => "instructions",
            Tool::Strace => "syscalls",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Tool::Callgrind => "valgrind",
            Tool::Strace => "strace",
        }
    }

    /// Why it cannot be used here, as a sentence with the remedy.
    pub(crate) fn missing(self) -> Option<String> {
        let found = Command::new(self.package())
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let metric = self.metric();
        let package = self.package();
        (!found.is_ok_and(|status| status.success())).then(|| {
            format!("{metric} are left out: no {package} here (Debian: apt-get install {package})")
        })
    }

    /// What `program` counts for one call, or why there is no figure.
    pub(crate) fn per_call(self, program: &Path, case: &Case, peer: &str) -> Result<f64, String> {
        let (few, many) = case.counted.ok_or("not counted")?;
        let [low, high] =
            [few, many].map(|calls| self.count(program, &child_args(case, peer, calls)));
        Ok((high? as f64 - low? as f64) / (many - few) as f64)
    }

    fn count(self, program: &Path, args: &[String]) -> Result<u64, String> {
        let mut command = match self {
            Tool::Callgrind => tool(
                "valgrind",
                &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
                program,
                args,
            ),
            Tool::Strace => tool("strace", &["-f", "-c"], program, args),
        };
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stderr);
        let found = match self {
            Tool::Callgrind => text.lines().find_map(collected),
            Tool::Strace => text.lines().find_map(total),
        };
        let last = text.lines().next_back().unwrap_or_default();
        let failed = || {
            format!(
                "{} gave no count ({}): {last}",
                self.package(),
                output.status
            )
        };
        found.filter(|_| output.status.success()).ok_or_else(failed)
    }
}

fn tool(name: &str, options: &[&str], program: &Path, args: &[String]) -> Command {
    let mut command = Command::new(name);
    command
        .args(options)
        .arg::<&OsStr>(program.as_ref())
        .args(args);
    command
}

fn child_args(case: &Case, peer: &str, calls: u64) -> Vec<String> {
    [
        "child",
        case.workload,
        case.name,
        peer,
        "1",
        "calls",
        &calls.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// `==123== Collected : 4567`
fn collected(line: &str) -> Option<u64> {
    line.split_once("Collected :")?.1.trim().parse().ok()
}

/// `100.00    0.001   2   4567   12 total`: the fourth column.
fn total(line: &str) -> Option<u64> {
    line.trim_end()
        .strip_suffix(" total")?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_are_read() {
        assert_eq!(collected("==12== Collected : 88123"), Some(88123));
        assert_eq!(collected("==12== Events    : Ir"), None);
        assert_eq!(
            total("100.00    0.012345           5      2345        12 total"),
            Some(2345)
        );
        assert_eq!(
            total(" 50.00    0.012345           5      2345        12 read"),
            None
        );
    }
}
