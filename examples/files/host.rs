//! The server's side: handles to real directories and files below one root.
//!
//! Every operation resolves its path anew and looks where it ended, so neither a name nor a symbolic link leads out.
//! A local user who swaps links in that very moment may still win: against those, open with `openat2`.
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::api::*;
use crate::flow;
use helve::prelude::*;

/// A page ends at either: one frame carries at most 255 handles and 64 KiB.
const PAGE: usize = 200;
const PAGE_BYTES: usize = 32 << 10;
/// Larger files are not searched.
const SEARCHED: u64 = 16 << 20;

/// A place below the root.
#[derive(Clone)]
pub struct Place {
    root: Arc<Path>,
    path: PathBuf,
}

/// Serves the directory at `path`.
pub fn serve_dir(path: &Path) -> std::io::Result<DirHandle> {
    let path = fs::canonicalize(path)?;
    fs::read_dir(&path)?; // a file, or not readable: say so now
    let root = path.as_path().into();
    Ok(DirHandle::new(Place { root, path }))
}

impl Place {
    /// The path as the client knows it.
    fn shown(&self) -> String {
        let below = self.path.strip_prefix(&self.root).unwrap_or(Path::new("?"));
        let shown = below.to_string_lossy().replace('\\', "/");
        if shown.is_empty() { ".".into() } else { shown }
    }

    pub fn failed(&self, error: std::io::Error) -> FileError {
        FileError::Io(self.shown(), error.to_string())
    }

    fn child(&self, name: &str) -> Result<Place, FileError> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(only)), None) if only == name => {
                let (root, path) = (self.root.clone(), self.path.join(name));
                Ok(Place { root, path })
            }
            _ => Err(FileError::BadName(name.chars().take(80).collect())),
        }
    }

    /// Where it really is, if that is inside and of the kind that is asked for.
    fn resolve(&self, what: &str, is: fn(&fs::Metadata) -> bool) -> Result<PathBuf, FileError> {
        let real = fs::canonicalize(&self.path).map_err(|e| self.failed(e))?;
        if !real.starts_with(&self.root) {
            return Err(FileError::Outside(self.shown()));
        }
        match fs::metadata(&real) {
            Ok(meta) if is(&meta) => Ok(real),
            Ok(_) => Err(FileError::Not(self.shown(), what.into())),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub fn directory(&self) -> Result<PathBuf, FileError> {
        self.resolve("directory", fs::Metadata::is_dir)
    }

    /// Asked before it is opened: opening a pipe would wait for its other end.
    pub fn regular(&self) -> Result<PathBuf, FileError> {
        self.resolve("regular file", fs::Metadata::is_file)
    }

    /// Its entries by name: the order is the same everywhere, and a cursor can go on from a number.
    fn names(&self) -> Result<Arc<[OsString]>, FileError> {
        let read = fs::read_dir(self.directory()?);
        let names = read.and_then(|dir| dir.map(|entry| Ok(entry?.file_name())).collect());
        let mut names: Vec<OsString> = names.map_err(|e| self.failed(e))?;
        names.sort_unstable();
        Ok(names.into())
    }

    /// What is behind a name. A link is not followed: a walk of a tree with a link to its own top would not end.
    fn node(&self, name: &OsString) -> Node {
        let Some(Ok(place)) = name.to_str().map(|name| self.child(name)) else {
            return Node::Skipped("its name is not UTF-8".into());
        };
        match fs::symlink_metadata(&place.path) {
            Ok(meta) if meta.is_dir() => Node::Dir(DirHandle::new(place)),
            Ok(meta) if meta.is_file() => Node::File(meta.len()),
            Ok(meta) if meta.is_symlink() => Node::Skipped("a symbolic link".into()),
            Ok(_) => Node::Skipped("neither a file nor a directory".into()),
            Err(error) => Node::Skipped(error.to_string()),
        }
    }

    /// Sends what matches below here, until nobody listens any more; that is the error.
    fn grep(&self, pattern: &str, hits: &mpsc::Sender<Hit>) -> Result<(), ()> {
        // What cannot be read has no matches; the listing says why.
        for name in self.names().iter().flat_map(|names| names.iter()) {
            let Some(Ok(place)) = name.to_str().map(|name| self.child(name)) else {
                continue;
            };
            match fs::symlink_metadata(&place.path) {
                Ok(meta) if meta.is_dir() => place.grep(pattern, hits)?,
                Ok(meta) if meta.is_file() && meta.len() <= SEARCHED => {
                    let text = fs::read_to_string(&place.path).unwrap_or_default();
                    for (line, text) in (1..).zip(text.lines()) {
                        if text.contains(pattern) {
                            let text = text.trim().chars().take(200).collect();
                            let path = place.shown();
                            hits.blocking_send(Hit { path, line, text }).map_err(drop)?;
                        }
                    }
                }
                _ => {}
            }
            if hits.is_closed() {
                return Err(());
            }
        }
        Ok(())
    }
}

/// File I/O blocks, so it has threads of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Passed on: the caller gets `RpcError::Internal`.
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The program ends.
        Err(_) => std::future::pending().await,
    }
}

impl Dir for Place {
    async fn dir(&self, name: &str) -> Result<DirHandle, FileError> {
        let place = self.child(name)?;
        blocking(move || place.directory().map(|_| DirHandle::new(place))).await
    }

    async fn file(&self, name: &str) -> Result<FileHandle, FileError> {
        let place = self.child(name)?;
        blocking(move || place.regular().map(|_| FileHandle::new(place))).await
    }

    async fn list(&self) -> ListingHandle {
        ListingHandle::new(Cursor {
            place: self.clone(),
            names: None,
            at: 0,
        })
    }

    async fn search(&self, pattern: &str, sink: &SinkHandle) -> Result<u64, FileError> {
        let (hits, mut found) = mpsc::channel(64);
        let (place, pattern) = (self.clone(), pattern.to_owned());
        // If the caller gives up, this future is dropped and `found` with it: the thread sees that, and ends.
        spawn_blocking(move || place.grep(&pattern, &hits));
        let mut shown = 0;
        while let Some(hit) = found.recv().await {
            shown += 1;
            if !sink.found(hit).await? {
                break;
            }
        }
        Ok(shown)
    }

    fn watch(&self) -> Streaming<Change> {
        flow::watch(self.clone())
    }
}

impl File for Place {
    async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, FileError> {
        let place = self.clone();
        blocking(move || {
            let mut chunk = Vec::new();
            let read = fs::File::open(place.regular()?).and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.take(len.min(CHUNK).into()).read_to_end(&mut chunk)
            });
            read.map(|_| chunk).map_err(|e| place.failed(e))
        })
        .await
    }

    async fn stream(&self, offset: u64) -> Result<Streaming<Vec<u8>>, FileError> {
        flow::pour(self.clone(), offset).await
    }
}

/// A listing under way. It is freed with the names it holds when its last handle is dropped, wherever that is.
struct Cursor {
    place: Place,
    names: Option<Arc<[OsString]>>,
    at: usize,
}

impl Listing for Cursor {
    async fn next(&mut self) -> Result<Vec<Entry>, FileError> {
        let (place, names, at) = (self.place.clone(), self.names.clone(), self.at);
        let (names, page) = blocking(move || {
            let names = names.map_or_else(|| place.names(), Ok)?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            for name in names.iter().skip(at).take(PAGE) {
                let (node, name) = (place.node(name), name.to_string_lossy().into_owned());
                bytes += name.len();
                page.push(Entry { name, node });
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            Ok::<_, FileError>((names, page))
        })
        .await?;
        // Moved on only now: who gave up on a page gets it with the next call.
        self.names = Some(names);
        self.at += page.len();
        Ok(page)
    }
}
