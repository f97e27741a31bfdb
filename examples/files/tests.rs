use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use super::*;

/// Serves a small tree, runs `client` on it and takes it away again.
async fn served<F: Future<Output = ()>>(name: &str, client: impl FnOnce(DirHandle) -> F) {
    let home = std::env::temp_dir().join(format!("helve-files-{}-{name}", std::process::id()));
    fs::create_dir_all(home.join("served/a/b")).unwrap();
    fs::write(home.join("secret"), "needle").unwrap();
    fs::write(home.join("served/a/b/deep.txt"), "hay\n a needle\n").unwrap();
    fs::write(home.join("served/long"), vec![7; CHUNK as usize * 2 + 5]).unwrap();
    for i in 0..450 {
        fs::write(home.join(format!("served/a/{i:03}")), "needle").unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::{ffi::OsStrExt, fs::symlink};
        symlink("../secret", home.join("served/out")).unwrap();
        symlink(".", home.join("served/loop")).unwrap();
        // Some file systems refuse such a name; then there is nothing to skip.
        let _ = fs::write(
            home.join("served")
                .join(std::ffi::OsStr::from_bytes(b"\xff")),
            "",
        );
    }
    let server = bind("ws://127.0.0.1:0", home.join("served").to_str().unwrap())
        .await
        .unwrap();
    let (url, host) = (server.url().to_owned(), server.host());
    let server = tokio::spawn(server.run());
    // harness: it is a part of helve-tests, which examples do not depend on; the server's objects are counted below
    let root = helve::connect(url).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), client(root))
        .await
        .unwrap();
    let released = async {
        while host.objects() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), released)
        .await
        .expect("the server holds nothing for a client that is gone");
    server.abort();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_walk_finds_every_file_once_and_says_what_it_skips() {
    served("walk", async |root| {
        let tree = walk(&root).await.unwrap();
        assert_eq!((tree.dirs, tree.files.len()), (3, 452));
        assert_eq!(tree.files["a/b/deep.txt"], 14);
        #[cfg(unix)]
        assert!(tree.skipped.contains("out: a symbolic link"));

        let mut skipped = BTreeSet::new();
        let read = read(&root, &tree.files, &mut skipped).await.unwrap();
        assert_eq!(read, (452, tree.files.values().sum()));
        assert!(skipped.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_nested_path_is_opened_and_read_in_one_round_trip() {
    served("open", async |root| {
        let connection = root.connection().unwrap();
        let before = connection.stats().round_trips;
        assert_eq!(
            open(&root, "a/b/deep.txt").read(7, 6).await.unwrap(),
            b"needle"
        );
        assert_eq!(connection.stats().round_trips, before + 1);
        let missing = open(&root, "a/x/deep.txt")
            .read(0, 1)
            .await
            .unwrap_err()
            .to_string();
        assert!(missing.contains("a/x: "), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn no_name_leads_out_of_the_served_directory() {
    served("out", async |root| {
        for name in [
            "",
            ".",
            "..",
            "/",
            "/etc",
            "a/b",
            "a/..",
            "a/",
            "./a",
            "../secret",
            "a\0",
        ] {
            assert!(root.dir(name).await.is_err(), "{name:?}");
            assert!(root.file(name).await.is_err(), "{name:?}");
        }
        #[cfg(unix)]
        assert_eq!(
            root.file("out").await.unwrap_err(),
            CallError::App(FileError::Outside("out".into()))
        );
        let wrong = root.file("a").await.unwrap_err();
        assert_eq!(
            wrong,
            CallError::App(FileError::Not("a".into(), "regular file".into()))
        );
    })
    .await;
}

#[derive(Default)]
struct Stops(Mutex<Vec<String>>);
impl Sink for Stops {
    async fn found(&self, hit: Hit) -> bool {
        let mut seen = self.0.lock().unwrap();
        seen.push(format!("{}:{}: {}", hit.path, hit.line, hit.text));
        seen.len() < 452
    }
}

#[tokio::test]
async fn a_search_shows_each_match_in_order_until_the_sink_has_enough() {
    served("search", async |root| {
        let sink = SinkHandle::new(Stops::default());
        // The one in `secret` is not served.
        assert_eq!(root.search("needle", &sink).await.unwrap(), 451);
        assert_eq!(
            root.search("needle", &sink).await.unwrap(),
            1,
            "452 were enough"
        );
        assert_eq!(root.search("nowhere", &sink).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_file_is_streamed_from_any_offset_and_a_dropped_stream_stops() {
    served("stream", async |root| {
        let file = open(&root, "long");
        let whole = vec![7; CHUNK as usize * 2 + 5];
        for offset in [0, 1, CHUNK as usize, whole.len(), whole.len() + 1] {
            let mut chunks = file.stream(offset as u64).await.unwrap();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.try_next().await.unwrap() {
                bytes.extend(chunk);
            }
            assert!(
                bytes[..] == whole[offset.min(whole.len())..],
                "from {offset}"
            );
        }
        let mut chunks = file.stream(0).await.unwrap();
        assert!(chunks.try_next().await.unwrap().is_some());
        drop(chunks);
        let missing = open(&root, "none").stream(0).await.err().unwrap();
        assert!(missing.to_string().contains("none"), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn a_watched_directory_tells_what_comes_changes_and_goes() {
    let home = std::env::temp_dir().join(format!("helve-files-{}-watch", std::process::id()));
    served("watch", async |root| {
        let dir = root.dir("a").pipelined().dir("b").pipelined();
        let place = home.join("served/a/b");
        let mut changes = dir.watch();
        // The first look follows the first read: until a change is seen, one more is made.
        let mut n = 0;
        let first = loop {
            fs::write(place.join(format!("new{n}")), "1").unwrap();
            n += 1;
            let soon = Duration::from_millis(400);
            match tokio::time::timeout(soon, changes.try_next()).await {
                Ok(change) => break change.unwrap().unwrap(),
                Err(_) => assert!(n < 40, "nothing is noticed"),
            }
        };
        assert!(matches!(&first, Change::Came { name, len: 1 } if name.starts_with("new")));
        fs::write(place.join("deep.txt"), "longer than it was").unwrap();
        let name = "deep.txt".to_owned();
        let changed = Change::Changed { name, len: 18 };
        while changes.try_next().await.unwrap().unwrap() != changed {}
        fs::remove_file(place.join("deep.txt")).unwrap();
        let gone = Change::Gone("deep.txt".into());
        while changes.try_next().await.unwrap().unwrap() != gone {}
    })
    .await;
}
