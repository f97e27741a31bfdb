//! A directory of one machine, held by another as a tree of handles.
//!
//! `files [DIR]` serves DIR (default `.`) on a port of its own and is its client; `files --serve URL [DIR]` and
//! `files --connect URL` do the two halves. `--find TEXT` says what to search for.
//! The interfaces are in `api.rs`, the server's objects in `host.rs`; what a client does with handles is here.
#![allow(unreachable_pub)] // `pub` as it would be in a library of your own

mod api;
mod host;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use api::*;
use helve::prelude::*;
use helve::{Connection, Remote, Stats};
use tokio::task::JoinSet;

const USAGE: &str = "usage: files [--serve URL | --connect URL] [--find TEXT] [DIR]";
/// Calls in flight at most: enough to fill a wire, few enough to be polite.
const AT_ONCE: usize = 32;
/// The read phase stops after so many bytes, the search after so many matches.
const READ: u64 = 16 << 20;
const ENOUGH: u64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (mut dir, mut serve, mut connect, mut find) = (None, None, None, None);
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let option = match arg.to_str() {
            Some("--serve") => &mut serve,
            Some("--connect") => &mut connect,
            Some("--find") => &mut find,
            Some("--help" | "-h") => return Ok(println!("{USAGE}")),
            Some(other) if other.starts_with('-') => return Err(USAGE.into()),
            _ if dir.is_some() => return Err(USAGE.into()),
            _ => {
                dir = Some(arg);
                continue;
            }
        };
        let value = args.next().and_then(|value| value.into_string().ok());
        *option = Some(value.filter(|value| !value.is_empty()).ok_or(USAGE)?);
    }
    let find = find.as_deref().unwrap_or("TODO");
    if let Some(url) = connect {
        if dir.is_some() || serve.is_some() {
            return Err(format!("what is served is said where it is served\n{USAGE}").into());
        }
        return tour(helve::connect(url).await?, find).await;
    }
    let dir = dir.unwrap_or_else(|| ".".into());
    let dir = Path::new(&dir);
    let root = host::serve_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // One root for all clients: it has no state that is theirs.
    let server = helve::Server::builder().root(move |_peer| std::future::ready(Ok(root.clone())));
    let server = server.bind(serve.as_deref().unwrap_or("ws://127.0.0.1:0"));
    let server = server.await?;
    let url = server.url().to_owned();
    println!("serving {} on {url}", dir.display());
    if serve.is_some() {
        tokio::select! {
            () = server.run() => {}
            _ = tokio::signal::ctrl_c() => println!("stopped"),
        }
        return Ok(());
    }
    tokio::spawn(server.run());
    tour(helve::connect(url).await?, find).await
}

/// Everything a client does here, one phase after the other.
async fn tour(root: DirHandle, find: &str) -> Result<(), Box<dyn Error>> {
    let connection = root.connection().ok_or("the root is not remote")?;
    let mut meter = Meter::new(connection);

    let tree = walk(&root).await?;
    meter.lap("walk");
    let bytes: u64 = tree.files.values().sum();
    println!(
        "{} directories, {} files, {bytes} bytes",
        tree.dirs,
        tree.files.len()
    );
    for (path, why) in tree.skipped.iter().take(5) {
        println!("  skipped {}: {}", printable(path), printable(why));
    }
    if tree.skipped.len() > 5 {
        println!("  skipped {} more", tree.skipped.len() - 5);
    }

    // The deepest file shows best what pipelining saves.
    let depth = |path: &str| path.matches('/').count();
    if let Some(path) = tree.files.keys().rev().max_by_key(|path| depth(path)) {
        // Nothing is waited for until the `read`: the calls that open travel before it, in the same message.
        let head = open(&root, path).read(0, 64).await?;
        meter.lap("open by path, pipelined");

        let (mut dir, mut name) = (root.clone(), path.as_str());
        while let Some((first, rest)) = name.split_once('/') {
            (dir, name) = (dir.dir(first).await?, rest);
        }
        let same = dir.file(name).await?.read(0, 64).await?;
        meter.lap("the same, one by one");
        let equal = if head == same { "the same" } else { "another" };
        println!("{}: opened twice, {equal} content", printable(path));
    }

    let (files, read, unread) = read(&root, &tree.files).await?;
    meter.lap("read");
    println!("read {files} files, {read} bytes");
    for (path, error) in unread.iter().take(5) {
        println!(
            "  skipped {}: {}",
            printable(path),
            printable(&error.to_string())
        );
    }

    // Any object that implements `Sink` becomes a handle. It stays here: the server calls it while `search` runs.
    let sink = SinkHandle::new(Printer(AtomicU64::new(0)));
    println!("searching for `{find}`");
    let found = root.search(find, &sink).await?;
    meter.lap("search");
    let more = if found < ENOUGH {
        ""
    } else {
        ", and that is enough"
    };
    println!("{found} matches{more}");
    meter.print();
    Ok(())
}

/// A handle to the file at `path`, before anybody knows whether there is one. A name that is missing fails the calls
/// that are made on it.
fn open(root: &DirHandle, path: &str) -> FileHandle {
    let (mut dir, mut name) = (root.clone(), path);
    while let Some((first, rest)) = name.split_once('/') {
        (dir, name) = (dir.dir(first).pipelined(), rest);
    }
    dir.file(name).pipelined()
}

#[derive(Default)]
struct Tree {
    dirs: u64,
    files: BTreeMap<String, u64>,
    skipped: BTreeMap<String, String>,
}

/// Lists all directories, many at once.
async fn walk(root: &DirHandle) -> Result<Tree, RpcError> {
    let mut tree = Tree::default();
    let mut todo = vec![(String::new(), root.list().pipelined())];
    let mut pages = JoinSet::new();
    loop {
        // Last in, first out: what waits, and so the handles held, grows with the depth and not with the breadth.
        while pages.len() < AT_ONCE
            && let Some((path, listing)) = todo.pop()
        {
            pages.spawn(async move { (listing.next().await, path, listing) });
        }
        let Some(done) = pages.join_next().await else {
            return Ok(tree);
        };
        let (page, path, listing) = done.map_err(|e| RpcError::Internal(e.to_string()))?;
        let page = match page {
            Ok(page) => page,
            // An error of the method is about this directory, any other about the connection.
            Err(CallError::App(error)) => {
                tree.skipped.insert(path, error.to_string());
                continue;
            }
            Err(CallError::RpcError(error)) => return Err(error),
        };
        if page.is_empty() {
            tree.dirs += 1;
            continue;
        }
        todo.push((path.clone(), listing));
        for Entry { name, node } in page {
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            match node {
                Node::Dir(dir) => todo.push((path, dir.list().pipelined())),
                Node::File { size } => drop(tree.files.insert(path, size)),
                Node::Skipped(why) => drop(tree.skipped.insert(path, why)),
            }
        }
    }
}

/// Reads files until [`READ`] bytes are planned: how many files and bytes came, and what could not be read.
async fn read(
    root: &DirHandle,
    files: &BTreeMap<String, u64>,
) -> Result<(u64, u64, BTreeMap<String, CallError<FileError>>), Box<dyn Error>> {
    let mut planned = 0;
    let mut todo = files.iter().take_while(|(_, size)| {
        planned += **size;
        planned <= READ
    });
    let (mut count, mut bytes, mut unread) = (0, 0, BTreeMap::new());
    let mut reads = JoinSet::new();
    loop {
        while reads.len() < AT_ONCE
            && let Some((path, _)) = todo.next()
        {
            let (path, file) = (path.clone(), open(root, path));
            reads.spawn(async move { (read_all(&file).await, path) });
        }
        match reads.join_next().await {
            None => return Ok((count, bytes, unread)),
            Some(done) => match done? {
                (Ok(len), _) => (count, bytes) = (count + 1, bytes + len),
                (Err(error), path) => drop(unread.insert(path, error)),
            },
        }
    }
}

/// Chunk after chunk: a payload has an upper bound, and who reads should have one too.
async fn read_all(file: &FileHandle) -> Result<u64, CallError<FileError>> {
    let mut offset = 0;
    loop {
        let chunk = file.read(offset, CHUNK).await?;
        offset += chunk.len() as u64;
        if chunk.len() < CHUNK as usize {
            return Ok(offset);
        }
    }
}

/// Prints the first matches, counts the rest, and stops the search when it has seen enough.
struct Printer(AtomicU64);

impl Sink for Printer {
    async fn found(&self, hit: Hit) -> bool {
        let seen = self.0.fetch_add(1, Relaxed) + 1;
        if seen <= 5 {
            let text: String = hit.text.chars().take(80).collect();
            println!(
                "  {}:{}: {}",
                printable(&hit.path),
                hit.line,
                printable(&text)
            );
        }
        seen < ENOUGH
    }
}

/// Names and lines come from elsewhere: no control characters for the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// What each phase cost: differences of what the connection counts.
struct Meter {
    connection: Connection,
    last: (Stats, Instant),
    laps: Vec<(&'static str, Stats, Stats, Duration)>,
}

impl Meter {
    fn new(connection: Connection) -> Meter {
        let last = (connection.stats(), Instant::now());
        Meter {
            connection,
            last,
            laps: Vec::new(),
        }
    }

    fn lap(&mut self, phase: &'static str) {
        let (now, time) = (self.connection.stats(), Instant::now());
        let (then, since) = std::mem::replace(&mut self.last, (now, time));
        self.laps.push((phase, then, now, time - since));
    }

    fn print(&self) {
        let row = |name: &str, cells: [String; 5]| {
            let [trips, frames, messages, bytes, ms] = cells;
            println!("{name:<24}{trips:>12}{frames:>15}{messages:>15}{bytes:>21}{ms:>10}");
        };
        println!();
        let heads = [
            "round trips",
            "frames out/in",
            "messages",
            "bytes out/in",
            "ms",
        ];
        row("", heads.map(String::from));
        for (name, a, b, time) in &self.laps {
            let both = |f: fn(&Stats) -> (u64, u64)| {
                let ((out, back), (out0, back0)) = (f(b), f(a));
                format!("{}/{}", out - out0, back - back0)
            };
            let cells = [
                (b.round_trips - a.round_trips).to_string(),
                both(|s| (s.frames_out, s.frames_in)),
                both(|s| (s.messages_out, s.messages_in)),
                both(|s| (s.bytes_out, s.bytes_in)),
                format!("{:.1}", time.as_secs_f64() * 1e3),
            ];
            row(name, cells);
        }
    }
}
