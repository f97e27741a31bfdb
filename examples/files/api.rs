//! What both sides share: four interfaces, and the values that travel between them.
use helve::prelude::*;

/// The most that one `read`, or one item of a stream, holds, in bytes.
pub const CHUNK: u32 = 48 * 1024;

/// A directory. Holding its handle keeps no file open.
#[interface]
pub trait Dir {
    /// The directory of that name in this one: one name, not a path. For a path, chain calls with `.pipelined()`.
    async fn dir(&self, name: &str) -> Result<DirHandle, FileError>;
    /// The file of that name in this directory.
    async fn file(&self, name: &str) -> Result<FileHandle, FileError>;
    /// Begins to list it. Nothing is read before the first page is asked for.
    async fn list(&self) -> ListingHandle;
    /// Shows every line below here that contains `pattern` to `sink`, in the order of the names, until it has enough.
    /// Returns how many it has shown. The sink is lent: the server can call it until this returns, and not after.
    async fn search(&self, pattern: &str, sink: &SinkHandle) -> Result<u64, FileError>;
    /// What comes, changes and goes among the files of this directory, from the first look on, which follows the first read.
    fn watch(&self) -> Streaming<Change>;
}

/// A regular file.
#[interface]
pub trait File {
    /// At most `len` bytes from `offset` on, and at most [`CHUNK`]. Fewer than that: the file ends here.
    async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, FileError>;
    /// All of it from `offset` on, however long it is, as fast as the stream is read.
    async fn stream(&self, offset: u64) -> Result<Streaming<Vec<u8>>, FileError>;
}

/// A place in a directory that is being listed. `&mut self`: its calls take turns, so no page comes twice.
#[interface]
pub trait Listing {
    /// The next entries by name, none at the end.
    async fn next(&mut self) -> Result<Vec<Entry>, FileError>;
}

/// Where matches go. The client implements it, the server calls it.
#[interface]
pub trait Sink {
    /// Takes one match and says whether to go on.
    async fn found(&self, hit: Hit) -> bool;
}

#[derive(Wire)]
pub struct Entry {
    pub name: String,
    pub node: Node,
}

/// What is behind a name. Only directories come as handles, to go on from; a listing of ten thousand files need not
/// fill the tables of the connection.
#[derive(Wire)]
pub enum Node {
    Dir(DirHandle),
    File(u64),
    /// Not served, and why: a symbolic link, a socket, a name that is not text.
    Skipped(String),
}

/// Names are of the watched directory; lengths in bytes.
#[derive(Wire, Clone, PartialEq, Debug)]
pub enum Change {
    Came { name: String, len: u64 },
    Changed { name: String, len: u64 },
    Gone(String),
}

#[derive(Wire)]
pub struct Hit {
    pub path: String,
    pub line: u32,
    pub text: String,
}

/// Paths in it begin at the served directory: where that is, is not the client's business.
#[derive(Wire, Clone, PartialEq, Debug, thiserror::Error)]
pub enum FileError {
    #[error("`{0}` is not a name: give one at a time, without `/` or `..`")]
    BadName(String),
    #[error("{0}: leads out of the served directory")]
    Outside(String),
    #[error("{0}: not a {1}")]
    Not(String, String),
    #[error("{0}: {1}")]
    Io(String, String),
    #[error("the sink failed: {0}")]
    Sink(String),
}

/// So that `?` works on the calls of the sink.
impl From<RpcError> for FileError {
    fn from(error: RpcError) -> Self {
        FileError::Sink(error.to_string())
    }
}
