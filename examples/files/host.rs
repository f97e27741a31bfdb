//! The server's side: handles to real directories and files below one root.
//!
//! Every operation resolves its path anew and looks where it ended, so neither a name nor a symbolic link leads out.
//! A local user who swaps links in that very moment may still win; a server for hostile ones opens with `openat2`.
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use helve::prelude::*;
use tokio::sync::mpsc;

use crate::api::*;

/// A page ends at either: one frame carries at most 255 handles and 64 KiB.
const PAGE_ENTRIES: usize = 200;
const PAGE_BYTES: usize = 40 << 10;
/// Larger files are not searched.
const SEARCHED: u64 = 16 << 20;

/// A place below the root.
#[derive(Clone)]
struct Place {
    root: Arc<Path>,
    path: PathBuf,
}

/// Serves the directory at `path`.
pub fn serve_dir(path: &Path) -> std::io::Result<DirHandle> {
    let path = fs::canonicalize(path)?;
    fs::read_dir(&path)?; // not a directory, or not readable: say so now
    let root = path.as_path().into();
    Ok(DirHandle::new(Place { root, path }))
}

impl Place {
    /// The path as the client knows it.
    fn shown(&self) -> String {
        let below = self.path.strip_prefix(&self.root).unwrap_or(&self.path);
        let names = below.components().map(|c| c.as_os_str().to_string_lossy());
        match names.collect::<Vec<_>>().join("/") {
            root if root.is_empty() => ".".into(),
            path => path,
        }
    }

    fn failed(&self, error: &std::io::Error) -> FileError {
        let path = self.shown();
        match error.kind() {
            ErrorKind::NotFound => FileError::NotFound(path),
            ErrorKind::PermissionDenied => FileError::Denied(path),
            ErrorKind::NotADirectory => FileError::NotADirectory(path),
            _ => FileError::Io {
                path,
                reason: error.to_string(),
            },
        }
    }

    fn child(&self, name: &str) -> Result<Place, FileError> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(one)), None) if one == name => {
                let (root, path) = (self.root.clone(), self.path.join(name));
                Ok(Place { root, path })
            }
            _ => Err(FileError::BadName(name.chars().take(80).collect())),
        }
    }

    /// What is there now, with every link followed, and never outside.
    fn look(&self) -> Result<(PathBuf, fs::Metadata), FileError> {
        let real = fs::canonicalize(&self.path).map_err(|e| self.failed(&e))?;
        if !real.starts_with(&self.root) {
            return Err(FileError::Outside(self.shown()));
        }
        let meta = fs::metadata(&real).map_err(|e| self.failed(&e))?;
        Ok((real, meta))
    }

    /// The names in it, sorted.
    fn names(&self) -> Result<Vec<OsString>, FileError> {
        let (real, _) = self.look()?;
        let names = fs::read_dir(real).and_then(|dir| dir.map(|e| Ok(e?.file_name())).collect());
        let mut names: Vec<OsString> = names.map_err(|e| self.failed(&e))?;
        names.sort_unstable();
        Ok(names)
    }

    /// What is behind a name. A link is not followed: a walk of a tree with a link to its own top would not end.
    fn entry(&self, name: &OsStr) -> Entry {
        let meta = fs::symlink_metadata(self.path.join(name));
        let node = match (name.to_str().map(|name| self.child(name)), meta) {
            (Some(Ok(place)), Ok(meta)) if meta.is_dir() => Node::Dir(DirHandle::new(place)),
            (Some(Ok(_)), Ok(meta)) if meta.is_file() => Node::File { size: meta.len() },
            (Some(Ok(_)), Ok(meta)) if meta.is_symlink() => Node::Skipped("a symbolic link".into()),
            (Some(Ok(_)), Ok(_)) => Node::Skipped("neither a file nor a directory".into()),
            (Some(Ok(_)), Err(error)) => Node::Skipped(error.to_string()),
            _ => Node::Skipped("its name is not UTF-8".into()),
        };
        let name = name.to_string_lossy().into_owned();
        Entry { name, node }
    }

    /// Sends what matches below here. `false` as soon as nobody listens any more.
    fn grep(&self, pattern: &str, hits: &mpsc::Sender<Hit>) -> bool {
        // What cannot be read has no matches; the listing says why.
        for name in self.names().unwrap_or_default() {
            let Some(Ok(place)) = name.to_str().map(|name| self.child(name)) else {
                continue;
            };
            let on = match fs::symlink_metadata(&place.path) {
                Ok(meta) if meta.is_dir() => place.grep(pattern, hits),
                Ok(meta) if meta.is_file() && meta.len() <= SEARCHED => {
                    let text = fs::read_to_string(&place.path).unwrap_or_default();
                    let mut lines = (1..).zip(text.lines());
                    lines.all(|(line, text)| {
                        let hit = || Hit {
                            path: place.shown(),
                            line,
                            text: text.trim().chars().take(200).collect(),
                        };
                        !text.contains(pattern) || hits.blocking_send(hit()).is_ok()
                    })
                }
                _ => true,
            };
            if !on || hits.is_closed() {
                return false;
            }
        }
        true
    }
}

/// File I/O blocks, so it has threads of its own. A panic there is passed on; its caller gets `RpcError::Internal`.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(f).await;
    done.unwrap_or_else(|error| panic!("{error}"))
}

impl Dir for Place {
    async fn dir(&self, name: &str) -> Result<DirHandle, FileError> {
        let place = self.child(name)?;
        blocking(move || match place.look()? {
            (_, meta) if !meta.is_dir() => Err(FileError::NotADirectory(place.shown())),
            _ => Ok(DirHandle::new(place)),
        })
        .await
    }

    async fn file(&self, name: &str) -> Result<FileHandle, FileError> {
        let place = self.child(name)?;
        blocking(move || match place.look()? {
            (_, meta) if !meta.is_file() => Err(FileError::NotAFile(place.shown())),
            _ => Ok(FileHandle::new(place)),
        })
        .await
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
        // If the client cancels, this future is dropped and `found` with it: the thread sees that and ends.
        tokio::task::spawn_blocking(move || place.grep(&pattern, &hits));
        let mut shown = 0;
        while let Some(hit) = found.recv().await {
            shown += 1;
            if !sink.found(hit).await? {
                break;
            }
        }
        Ok(shown)
    }
}

impl File for Place {
    async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, FileError> {
        let place = self.clone();
        blocking(move || {
            let (real, meta) = place.look()?;
            // Looked at before it is opened: opening a pipe would wait for its other end.
            if !meta.is_file() {
                return Err(FileError::NotAFile(place.shown()));
            }
            let mut chunk = Vec::new();
            let read = fs::File::open(real).and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.take(len.min(CHUNK).into()).read_to_end(&mut chunk)
            });
            read.map(|_| chunk).map_err(|e| place.failed(&e))
        })
        .await
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
            let names = names.map_or_else(|| place.names().map(Arc::from), Ok)?;
            let mut bytes = 0;
            let page = names.iter().skip(at).take(PAGE_ENTRIES);
            let page = page.take_while(|name| {
                bytes += name.len();
                bytes <= PAGE_BYTES
            });
            let page: Vec<Entry> = page.map(|name| place.entry(name)).collect();
            Ok::<_, FileError>((names, page))
        })
        .await?;
        // Moved on only now: a caller who gave up before has lost nothing.
        self.names = Some(names);
        self.at += page.len();
        Ok(page)
    }
}
