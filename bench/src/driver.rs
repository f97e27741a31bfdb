//! Runs every case for every peer, in turn and each time in a fresh process, and reports medians and ratios.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cases::{BULK, Case, Work};
use crate::options::Options;
use crate::peers::PeerName;
use crate::report::{Report, Row, Spread};
use crate::tools::Tool;

/// Memory hardly varies; so often is enough.
const MEMORY_RUNS: usize = 3;

/// One run of these is the median of many.
const DELTA_RUNS: usize = 7;

/// The peer that `--before` measures in the older program, and its name in the report.
const SUBJECT: PeerName = PeerName::Helve;
const BEFORE: &str = "before";

/// One who is measured: a peer of some build of this program.
struct Contestant {
    name: &'static str,
    program: PathBuf,
    peer: PeerName,
}

impl Contestant {
    fn does(&self, case: &Case) -> bool {
        self.peer.does(case.work)
    }
}

/// For each metric of one contestant, one value a run; the n-th values of two contestants are a pair.
type Figures = BTreeMap<&'static str, Vec<f64>>;

/// Measures everything that `options` asks for.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let contestants = contestants(options)?;
    let tools: Vec<Tool> = Tool::ALL
        .into_iter()
        .filter(|tool| options.counts && usable(*tool))
        .collect();
    let mut report = Report::new(options.json);
    for case in &options.cases {
        report.heading(case);
        let contestants: Vec<&Contestant> =
            contestants.iter().filter(|one| one.does(case)).collect();
        let all = interleaved(&contestants, case, options)?;
        for (one, figures) in contestants.iter().zip(&all) {
            for (metric, values) in figures {
                report.row(&Row::new(case, one.name, metric, Spread::of(values).median));
            }
            for tool in tools.iter().filter(|_| case.counted.is_some()) {
                match tool.per_call(&one.program, case, one.peer.as_str()) {
                    Ok(value) => report.row(&Row::new(case, one.name, tool.metric(), value)),
                    Err(why) => eprintln!(
                        "helve-bench: {} {} {}: {why}",
                        case.workload, case.name, one.name
                    ),
                }
            }
        }
        for (one, other) in ratios(&contestants) {
            // What the others are to each other is not asked.
            if matches!(case.work, Work::Delta(_)) && contestants[one].peer != SUBJECT {
                continue;
            }
            for (metric, values) in &all[one] {
                let Some(others) = all[other].get(metric) else {
                    continue;
                };
                let pairs: Vec<f64> = values
                    .iter()
                    .zip(others)
                    .map(|(value, other)| value / other)
                    .collect();
                report.row(&Row::ratio(
                    case,
                    contestants[one].name,
                    metric,
                    contestants[other].name,
                    Spread::of(&pairs),
                ));
            }
        }
    }
    Ok(())
}

fn contestants(options: &Options) -> Result<Vec<Contestant>, Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let mut all: Vec<Contestant> = options
        .peers
        .iter()
        .map(|peer| Contestant {
            name: peer.as_str(),
            program: this.clone(),
            peer: *peer,
        })
        .collect();
    if let Some(program) = &options.before {
        // Ahead of what it is compared with.
        let place = all
            .iter()
            .position(|one| one.peer == SUBJECT)
            .unwrap_or(all.len());
        all.insert(
            place,
            Contestant {
                name: BEFORE,
                program: program.canonicalize()?,
                peer: SUBJECT,
            },
        );
    }
    Ok(all)
}

/// Which contestants are compared: each with all that are named before it.
fn ratios(contestants: &[&Contestant]) -> impl Iterator<Item = (usize, usize)> {
    (0..contestants.len()).flat_map(|one| (0..one).map(move |other| (one, other)))
}

/// Every contestant once a round; who begins changes from round to round.
fn interleaved(
    contestants: &[&Contestant],
    case: &Case,
    options: &Options,
) -> Result<Vec<Figures>, Box<dyn Error>> {
    let mut all: Vec<Figures> = contestants.iter().map(|_| Figures::new()).collect();
    let rounds = match case.work {
        Work::Idle => options.pairs.min(MEMORY_RUNS),
        Work::Delta(_) => options.pairs.min(DELTA_RUNS),
        _ => options.pairs,
    };
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let who = (round + turn) % contestants.len();
            for threads in [false, true] {
                if threads && !case.threads {
                    continue;
                }
                let seen = measure(contestants[who], case, threads, options.seconds)?;
                for (metric, value) in metrics(case, threads, &seen) {
                    all[who].entry(metric).or_default().push(value);
                }
            }
        }
    }
    Ok(all)
}

/// Runs one child and reads its words.
fn measure(
    who: &Contestant,
    case: &Case,
    threads: bool,
    seconds: f64,
) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let mut child = Command::new(&who.program);
    child.args([
        "child",
        case.workload,
        case.name,
        who.peer.as_str(),
        if threads { "2" } else { "1" },
        "seconds",
    ]);
    let output = child
        .arg(seconds.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "{} {} of {} failed ({})",
            case.workload, case.name, who.name, output.status
        )
        .into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    Ok(words
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect())
}

/// What children say of deltas: the metric, the word, and what it is divided by.
const DELTA_METRICS: &[(&str, &str, f64)] = &[
    ("bytes", "bytes", 1.0),
    ("singles_bytes", "singles_bytes", 1.0),
    ("whole_bytes", "whole_bytes", 1.0),
    ("cold_us", "cold_ns", 1e3),
    ("warm_us", "warm_ns", 1e3),
    ("compose_us", "compose_ns", 1e3),
    ("apply_us", "apply_ns", 1e3),
    ("singles_apply_us", "singles_ns", 1e3),
    ("whole_apply_us", "whole_ns", 1e3),
    ("commit_us", "commit_ns", 1e3),
    ("each_us", "each_ns", 1e3),
    ("encodes", "encodes", 1.0),
];

/// The figures that one child's words stand for. Rates come from two threads where a case has them, the rest from one.
fn metrics(case: &Case, threads: bool, seen: &BTreeMap<String, f64>) -> Vec<(&'static str, f64)> {
    let get = |key: &str| seen.get(key).copied().unwrap_or(f64::NAN);
    let calls = get("calls");
    let rate = calls / get("wall_ns") * 1e9;
    match case.work {
        Work::Idle => vec![("kib_per_pair", get("bytes") / 1024.0 / get("pairs"))],
        Work::Bulk if threads => vec![
            ("upload_mb_per_s", rate * BULK as f64 / 1e6),
            ("p50_ms", get("p50_ns") / 1e6),
            ("p99_ms", get("p99_ns") / 1e6),
        ],
        Work::Bulk => vec![("cpu_ms_per_upload", get("cpu_ns") / calls / 1e6)],
        Work::Chains => vec![("chains_per_s", rate), ("ms", 1e3 / rate)],
        Work::Delta(_) => {
            let known = DELTA_METRICS
                .iter()
                .filter(|(_, key, _)| seen.contains_key(*key));
            known
                .map(|(name, key, by)| (*name, get(key) / by))
                .collect()
        }
        _ if threads => vec![("calls_per_s", rate)],
        Work::Calls { .. } | Work::Oneway => {
            let mut metrics = vec![
                ("cpu_us", get("cpu_ns") / calls / 1e3),
                ("bytes_up", get("up") / calls),
                ("bytes_down", get("down") / calls),
            ];
            if !case.threads {
                metrics.push(("calls_per_s", rate));
            }
            metrics
        }
    }
}

fn usable(tool: Tool) -> bool {
    let missing = tool.missing();
    if let Some(why) = &missing {
        eprintln!("helve-bench: {why}");
    }
    missing.is_none()
}
