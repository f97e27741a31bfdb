//! What a client reads as it comes: a file of any length, and what happens in a directory.
use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::time::{Duration, SystemTime};

use helve::prelude::*;
use tokio::io::AsyncReadExt;

use crate::api::*;
use crate::host::{Place, blocking};

/// A watched directory is looked at so often.
const EVERY: Duration = Duration::from_millis(200);

/// The file from `offset` on. It is read as fast as its reader reads: what is ahead of the reader is a few chunks.
pub async fn pour(place: Place, offset: u64) -> Result<Streaming<Vec<u8>>, FileError> {
    let at = place.clone();
    let opened = blocking(move || {
        let mut file = fs::File::open(at.regular()?).map_err(|e| at.failed(e))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| at.failed(e))?;
        Ok::<_, FileError>(file)
    });
    let mut file = tokio::fs::File::from_std(opened.await?);
    let (sender, chunks) = Streaming::channel(2);
    tokio::spawn(async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK as usize);
            let mut next = (&mut file).take(CHUNK.into());
            let sent = match next.read_to_end(&mut chunk).await {
                Ok(0) => return,
                Ok(_) => sender.send(chunk).await,
                Err(error) => {
                    let error = RpcError::Internal(place.failed(error).to_string());
                    sender.fail(error).await.ok();
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(chunks)
}

type Seen = BTreeMap<String, (u64, Option<SystemTime>)>;

/// The regular files of a directory, with their lengths and times.
fn look(place: &Place) -> Result<Seen, FileError> {
    let mut seen = Seen::new();
    for entry in fs::read_dir(place.directory()?).map_err(|e| place.failed(e))? {
        // What vanishes between the two calls is seen as gone the next time.
        let Ok((name, meta)) = entry.and_then(|e| Ok((e.file_name(), e.metadata()?))) else {
            continue;
        };
        if let Some(name) = name.to_str().filter(|_| meta.is_file()) {
            seen.insert(name.to_owned(), (meta.len(), meta.modified().ok()));
        }
    }
    Ok(seen)
}

/// What comes, changes and goes in a directory from now on, until nobody reads it.
pub fn watch(place: Place) -> Streaming<Change> {
    let (sender, changes) = Streaming::channel(64);
    tokio::spawn(async move {
        let mut before: Option<Seen> = None;
        loop {
            let at = place.clone();
            let now = match blocking(move || look(&at)).await {
                Ok(now) => now,
                Err(error) => {
                    sender.fail(RpcError::Gone).await.ok();
                    return drop(error);
                }
            };
            for change in before
                .iter()
                .flat_map(|before| changes_between(before, &now))
            {
                if sender.send(change).await.is_err() {
                    return;
                }
            }
            before = Some(now);
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
    changes
}

fn changes_between(before: &Seen, now: &Seen) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, seen) in now {
        let (name, len) = (name.clone(), seen.0);
        match before.get(&name) {
            None => changes.push(Change::Came { name, len }),
            Some(old) if old != seen => changes.push(Change::Changed { name, len }),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    changes.extend(gone.cloned().map(Change::Gone));
    changes
}
