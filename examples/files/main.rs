//! A directory of one machine, held by another as a tree of handles.
//!
//! `api.rs` has the interfaces, `host.rs` the server's objects, `flow.rs` its streams; what a client does with handles is here.
#![allow(unreachable_pub)] // `pub` as it would be in a library of your own

mod api;
mod flow;
mod host;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use api::*;
use helve::prelude::*;
use helve::{Connection, Stats};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const USAGE: &str = "usage: files [DIR [TEXT]]         serve DIR (default `.`) here, walk it, and search it for TEXT
       files --serve URL [DIR]      serve only
       files --connect URL [TEXT]   walk and search what is served at URL
       files --get URL PATH         stream a file of it to standard output
       files --watch URL [PATH]     tell what happens in a directory of it";
/// Calls in flight at most.
const AT_ONCE: usize = 32;
/// The reading stops after so many bytes, the search after so many matches.
const READ: u64 = 16 << 20;
const ENOUGH: u64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let args = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned());
    let args: Vec<String> = args.collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", url] => serve(url, ".").await,
        ["--serve", url, dir] => serve(url, dir).await,
        ["--connect", url] => visit(url, "the").await,
        ["--connect", url, text] => visit(url, text).await,
        ["--get", url, path] => get(url, path).await,
        ["--watch", url] => watch(url, "").await,
        ["--watch", url, path] => watch(url, path).await,
        [] => both(".", "the").await,
        [dir] if !dir.starts_with('-') => both(dir, "the").await,
        [dir, text] if !dir.starts_with('-') => both(dir, text).await,
        _ => Err(USAGE.into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn bind(url: &str, dir: &str) -> Result<helve::Server, Box<dyn Error>> {
    let root = host::serve_dir(Path::new(dir)).map_err(|error| format!("{dir}: {error}"))?;
    // One root for all clients: it has no state that is theirs.
    let server = helve::Server::builder().root(move |_peer| std::future::ready(Ok(root.clone())));
    let server = server.bind(url).await?;
    println!("serving {dir} on {}", server.url());
    Ok(server)
}

async fn serve(url: &str, dir: &str) -> Result<(), Box<dyn Error>> {
    let server = bind(url, dir).await?;
    // SIGTERM or Ctrl-C: what clients have called runs to its end, for at most five seconds.
    let grace = std::time::Duration::from_secs(5);
    let done = server.run_until(helve::terminated(), grace).await;
    println!(
        "stopped: {} served to the end, {} cut",
        done.drained, done.cut
    );
    Ok(())
}

async fn both(dir: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let server = bind("ws://127.0.0.1:0", dir).await?;
    let url = server.url().to_owned();
    tokio::spawn(server.run());
    visit(&url, text).await
}

/// A file of any length, as fast as standard output takes it.
async fn get(url: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let root: DirHandle = helve::connect(url).await?;
    let mut chunks = open(&root, path).stream(0).await?;
    let mut out = tokio::io::stdout();
    while let Some(chunk) = chunks.try_next().await? {
        out.write_all(&chunk).await?;
    }
    Ok(out.flush().await?)
}

async fn watch(url: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let root: DirHandle = helve::connect(url).await?;
    let mut dir = root;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        dir = dir.dir(name).pipelined();
    }
    let mut changes = dir.watch();
    while let Some(change) = changes.try_next().await? {
        match change {
            Change::Came { name, len } => println!("+ {} ({len} bytes)", printable(&name)),
            Change::Changed { name, len } => println!("~ {} ({len} bytes)", printable(&name)),
            Change::Gone(name) => println!("- {}", printable(&name)),
        }
    }
    Ok(())
}

/// Everything a client does here, one phase after the other.
async fn visit(url: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let root: DirHandle = helve::connect(url).await?;
    let mut meter = Meter::new(root.connection().ok_or("the root is not remote")?);

    let Tree {
        dirs,
        files,
        mut skipped,
    } = walk(&root).await?;
    meter.lap("walk");
    let bytes: u64 = files.values().sum();
    println!("{dirs} directories, {} files, {bytes} bytes", files.len());

    // The deepest file shows best what pipelining saves.
    if let Some(path) = files.keys().max_by_key(|path| path.matches('/').count()) {
        // Nothing waits before the `read`: the calls that open are on their way when it follows.
        let head = open(&root, path).read(0, 64).await;
        meter.lap("open by path, pipelined");
        let same = head == one_by_one(&root, path).await;
        meter.lap("the same, one by one");
        let same = if same { "the same" } else { "it changed" };
        println!("opened {} both ways: {same}", printable(path));
    }

    let (count, bytes) = read(&root, &files, &mut skipped).await?;
    meter.lap("read");
    println!(
        "read {count} files, {bytes} bytes; skipped {}",
        skipped.len()
    );
    for what in skipped.iter().take(5) {
        println!("  {}", printable(what));
    }

    // One call and then one way, however long the file is.
    if let Some((path, len)) = files.iter().max_by_key(|(_, len)| **len) {
        let mut chunks = open(&root, path).stream(0).await?;
        let mut bytes = 0;
        while let Some(chunk) = chunks.try_next().await? {
            bytes += chunk.len() as u64;
        }
        meter.lap("stream the largest");
        println!("streamed {}: {bytes} of {len} bytes", printable(path));
    }

    println!("searching for `{text}`");
    // Any `impl Sink` becomes a handle. The object stays here: the server calls it while `search` runs.
    let found = root.search(text, &Printer::default().into()).await?;
    meter.lap("search");
    println!(
        "{found} matches{}",
        if found < ENOUGH {
            ""
        } else {
            ", and that is enough"
        }
    );
    println!("\n{}", meter.table);
    Ok(())
}

/// A handle to the file at `path`, before anybody knows whether there is one: if not, the calls made on it fail.
fn open(root: &DirHandle, path: &str) -> FileHandle {
    let (mut dir, mut name) = (root.clone(), path);
    while let Some((first, rest)) = name.split_once('/') {
        (dir, name) = (dir.dir(first).pipelined(), rest);
    }
    dir.file(name).pipelined()
}

async fn one_by_one(root: &DirHandle, path: &str) -> Result<Vec<u8>, CallError<FileError>> {
    let (mut dir, mut name) = (root.clone(), path);
    while let Some((first, rest)) = name.split_once('/') {
        (dir, name) = (dir.dir(first).await?, rest);
    }
    dir.file(name).await?.read(0, 64).await
}

/// Files with their sizes by path; and what was skipped, with the reason.
#[derive(Default)]
struct Tree {
    dirs: u64,
    files: BTreeMap<String, u64>,
    skipped: BTreeSet<String>,
}

/// Lists all directories, many at once.
async fn walk(root: &DirHandle) -> Result<Tree, Box<dyn Error>> {
    let mut tree = Tree::default();
    let mut todo = vec![(String::new(), root.list().pipelined())];
    let mut pages = JoinSet::new();
    loop {
        while pages.len() < AT_ONCE
            && let Some((path, listing)) = todo.pop()
        {
            pages.spawn(async move { (listing.next().await, path, listing) });
        }
        let Some(done) = pages.join_next().await else {
            return Ok(tree);
        };
        let (page, path, listing) = done?;
        match page {
            Ok(page) if page.is_empty() => tree.dirs += 1,
            Ok(page) => {
                // What is below goes first: the handles held grow with the depth of the tree, not with its breadth.
                todo.push((path.clone(), listing));
                for Entry { name, node } in page {
                    let path = if path.is_empty() {
                        name
                    } else {
                        format!("{path}/{name}")
                    };
                    match node {
                        Node::Dir(dir) => todo.push((path, dir.list().pipelined())),
                        Node::File(size) => drop(tree.files.insert(path, size)),
                        Node::Skipped(why) => drop(tree.skipped.insert(format!("{path}: {why}"))),
                    }
                }
            }
            // The method's own error is about this directory, any other about the connection.
            Err(CallError::App(error)) => drop(tree.skipped.insert(error.to_string())),
            Err(CallError::RpcError(error)) => return Err(error.into()),
        }
    }
}

/// Reads files up to [`READ`] bytes, many at once. Returns how many files and bytes.
async fn read(
    root: &DirHandle,
    files: &BTreeMap<String, u64>,
    skipped: &mut BTreeSet<String>,
) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut count, mut bytes, mut planned) = (0, 0, 0);
    let mut todo = files.iter();
    let mut reads = JoinSet::new();
    loop {
        while reads.len() < AT_ONCE
            && planned < READ
            && let Some((path, size)) = todo.next()
        {
            planned += size;
            let file = open(root, path);
            reads.spawn(async move { read_all(&file).await });
        }
        let Some(done) = reads.join_next().await else {
            return Ok((count, bytes));
        };
        match done? {
            Ok(len) => (count, bytes) = (count + 1, bytes + len),
            Err(CallError::App(error)) => drop(skipped.insert(error.to_string())),
            // One of the calls that open failed, and broke the handle that it should have given.
            Err(CallError::RpcError(error)) if matches!(error.cause(), RpcError::App(_)) => {
                skipped.insert(error.cause().to_string());
            }
            Err(CallError::RpcError(error)) => return Err(error.into()),
        }
    }
}

/// Chunk by chunk, at most [`READ`] bytes.
async fn read_all(file: &FileHandle) -> Result<u64, CallError<FileError>> {
    let mut offset = 0;
    loop {
        let chunk = file.read(offset, CHUNK).await?;
        offset += chunk.len() as u64;
        if chunk.len() < CHUNK as usize || offset >= READ {
            return Ok(offset);
        }
    }
}

/// Prints the first matches, counts the rest, and has the search stopped when it has seen enough.
#[derive(Default)]
struct Printer(AtomicU64);

impl Sink for Printer {
    async fn found(&self, Hit { path, line, text }: Hit) -> bool {
        let seen = self.0.fetch_add(1, Relaxed) + 1;
        if seen <= 5 {
            let text: String = text.chars().take(80).collect();
            println!("  {}:{line}: {}", printable(&path), printable(&text));
        }
        seen < ENOUGH
    }
}

/// Names and lines come from elsewhere: no control characters to the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// What each phase cost: differences of what the connection counts.
struct Meter {
    connection: Connection,
    stats: Stats,
    since: Instant,
    table: String,
}

impl Meter {
    fn new(connection: Connection) -> Meter {
        let heads = [
            "round trips",
            "frames out/in",
            "messages out/in",
            "bytes out/in",
            "ms",
        ];
        let table = Self::row("", heads.map(String::from));
        Meter {
            stats: connection.stats(),
            since: Instant::now(),
            connection,
            table,
        }
    }

    fn row(phase: &str, [trips, frames, messages, bytes, ms]: [String; 5]) -> String {
        format!("{phase:<23} {trips:>11} {frames:>14} {messages:>15} {bytes:>16} {ms:>8}\n")
    }

    fn lap(&mut self, phase: &str) {
        let (a, b) = (self.stats, self.connection.stats());
        let cells = [
            format!("{}", b.round_trips - a.round_trips),
            format!(
                "{}/{}",
                b.frames_out - a.frames_out,
                b.frames_in - a.frames_in
            ),
            format!(
                "{}/{}",
                b.messages_out - a.messages_out,
                b.messages_in - a.messages_in
            ),
            format!("{}/{}", b.bytes_out - a.bytes_out, b.bytes_in - a.bytes_in),
            format!("{:.1}", self.since.elapsed().as_secs_f64() * 1e3),
        ];
        self.table += &Self::row(phase, cells);
        (self.stats, self.since) = (b, Instant::now());
    }
}
