//! What the operating system says of this process, and where it runs. Linux only.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU that all threads of this process used so far, user and system, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Resident memory of this process that is its own (not of files), in bytes.
pub(crate) fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no RssAnon in /proc/self/status"))
}

/// Keeps the calling thread on the `which`-th of the cores that the process may use, the last if there are fewer.
pub(crate) fn pin(which: usize) -> io::Result<()> {
    // Looked up once: a thread inherits what its parent was pinned to, and may be moved away from there.
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    let allowed = sched_getaffinity(None)?;
    let allowed = || (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let cores = CORES.get_or_init(|| allowed().collect());
    if let Some(core) = cores.get(which).or(cores.last()) {
        let mut one = CpuSet::new();
        one.set(*core);
        sched_setaffinity(None, &one)?;
    }
    Ok(())
}

/// Allows as many open files as this process may ask for.
pub(crate) fn many_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?)
}
