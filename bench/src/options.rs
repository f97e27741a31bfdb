//! The command line.

use std::path::PathBuf;

use crate::cases::{self, CASES, Case};
use crate::peers::PeerName;

pub(crate) const HELP: &str = "\
Measures Helve beside a hand-made limit, in one run, in turn, a fresh process for each measurement.

usage: cargo xtask bench [options]

  --workloads W1,W2   only these (default: all)
  --peers a,b         these, of the list below, each compared with those before it (`limit,limit` shows the noise)
  --before PROGRAM    also measure an older build of helve-bench, as the peer `before`
  --pairs N           how often each case is measured for each peer, in turn (default 21)
  --seconds S         how long one measurement takes (default 0.3)
  --no-counts         leave out instructions and system calls
  --json              one JSON object a line instead of a table
  -h, --help          this text

workloads:
  W1  one call at a time, both ends on one core       W7  memory of an idle pair of connections
  W2  64 and 1,024 calls in flight on one connection  W9  one-way calls
  W4  a chain of 8 dependent calls, at 0 and 5 ms each way
  W5  small calls, one at a time, beside arguments of 64 MiB
  D1  five edits of a value of 770 kB                 D2  a replica that is 1,000 edits behind
  D3  one commit, 100 and 10,000 who follow

peers:
  limit  a hand-made echo over tokio-tungstenite: 8 KiB read buffer, one message of 14 bytes a call, batched flushes; as
         many independent callers as calls in flight
  helve  typed methods on handles, as many independent callers
  loop   the echo driven by one bare loop that is its only caller: no RPC, but a floor; only when asked for
  plain, whole, serde-diff, remoc, yrs
         for the edits of D1: the edit alone, all of the value by rmp-serde, and three who tell changes

metrics:
  calls_per_s    a thread for each end, where a second core can help; else both ends on one
  cpu_us         CPU of the process a call, user and system, both ends on one pinned thread
  instructions   user instructions a call, both ends, by valgrind's callgrind   (Debian: apt-get install valgrind)
  syscalls       system calls a call, both ends, by strace                      (Debian: apt-get install strace)
  p50_ms, p99_ms how long a small call beside a large argument takes; upload_mb_per_s is the rate of the latter
  bytes_up/down  bytes a call below the WebSocket, seen at the client's socket
  kib_per_pair   resident memory of an idle pair of connections, both ends
  bytes          what one edit (D1), or all that was missed (D2), is told in
  cold_us        the first edit of a value, with the commit; warm_us: later ones; apply_us: at the replica
  singles_*      the edits that were missed one by one; whole_*: all of the value instead; compose_us: to make one of them
  each_us        of one commit, for each who follows, until all of them have it (cursors: until it is handed out);
                 encodes: how often what changed was written
  *_ratio        median over the pairs of this peer to an earlier one, with quartiles and range

Only ratios within one run mean anything; on shared cores differences in time under about 12 % mean nothing, instruction
counts are exact to about 1 %.
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Compare(Options),
    Measure(Task),
}

/// What the driver compares.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) cases: Vec<&'static Case>,
    pub(crate) peers: Vec<PeerName>,
    pub(crate) before: Option<PathBuf>,
    pub(crate) pairs: usize,
    pub(crate) seconds: f64,
    pub(crate) counts: bool,
    pub(crate) json: bool,
}

/// What a child measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) case: &'static Case,
    pub(crate) peer: PeerName,
    pub(crate) threads: bool,
    pub(crate) size: Size,
}

/// How much work a child does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// As many calls as fill this time, found by a warm-up.
    Seconds(f64),
    /// Exactly so many calls, with no warm-up.
    Calls(u64),
}

/// Reads the arguments; the error is a sentence for the user.
pub(crate) fn parse(args: &[String]) -> Result<Command, String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["child", workload, case, peer, threads, unit, size] = args.as_slice() {
        return child(workload, case, peer, threads, unit, size).map(Command::Measure);
    }
    let mut options = Options {
        cases: CASES.iter().collect(),
        peers: PeerName::by_default(),
        before: None,
        pairs: 21,
        seconds: 0.3,
        counts: true,
        json: false,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg {
            "-h" | "--help" => return Ok(Command::Help),
            "--json" => options.json = true,
            "--no-counts" => options.counts = false,
            "--workloads" => options.cases = workloads(value()?)?,
            "--peers" => options.peers = value()?.split(',').map(peer).collect::<Result<_, _>>()?,
            "--before" => options.before = Some(PathBuf::from(value()?)),
            "--pairs" => options.pairs = positive(arg, value()?)?,
            "--seconds" => options.seconds = positive(arg, value()?)?,
            other => return Err(format!("do not know `{other}`")),
        }
    }
    Ok(Command::Compare(options))
}

fn child(
    workload: &str,
    case: &str,
    who: &str,
    threads: &str,
    unit: &str,
    size: &str,
) -> Result<Task, String> {
    let case = cases::find(workload, case).ok_or("no such case")?;
    let size = match unit {
        "calls" => Size::Calls(positive(unit, size)?),
        _ => Size::Seconds(positive(unit, size)?),
    };
    Ok(Task {
        case,
        peer: peer(who)?,
        threads: threads == "2",
        size,
    })
}

fn workloads(names: &str) -> Result<Vec<&'static Case>, String> {
    for name in names.split(',') {
        if !CASES.iter().any(|case| case.workload == name) {
            return Err(format!("no workload `{name}`"));
        }
    }
    Ok(CASES
        .iter()
        .filter(|case| names.split(',').any(|name| name == case.workload))
        .collect())
}

fn peer(name: &str) -> Result<PeerName, String> {
    PeerName::ALL
        .iter()
        .copied()
        .find(|peer| peer.as_str() == name)
        .ok_or(format!("no peer `{name}`"))
}

fn positive<T: std::str::FromStr + PartialOrd + Default>(
    what: &str,
    text: &str,
) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number > T::default())
        .ok_or(format!("{what} takes a number above 0, not `{text}`"))
}
