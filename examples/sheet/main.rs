//! A table that several people edit at once. It is loaded from a CSV file, lives at its server, and is followed by
//! everybody; at the end each tells what came over the wire, and what whole tables would have cost.
//!
//! `api.rs` has the table and the interface, `book.rs` the server's object and the file; what clients do is here.
#![allow(unreachable_pub)] // `pub` as it would be in a library of your own

mod api;
mod book;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use api::*;
use helve::prelude::*;
use helve::{Replica, Shared};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

const USAGE: &str = "usage: sheet [FILE.csv]                    a server and three people, all by itself
       sheet --serve URL FILE.csv          serve; the file is written when the server is told to end
       sheet --connect URL                 edit: `set ROW COLUMN TEXT`, `insert ROW`, `sort COLUMN`, `show ROW`

Without a file: the chemical elements.";

type Done = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(&elements()).await,
        ["--serve", url, file] => serve(url, Path::new(file)).await,
        ["--connect", url] => edit(url).await,
        [file] if !file.starts_with('-') => show(Path::new(file)).await,
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

fn elements() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sheet/elements.csv")
}

async fn bind(url: &str, sheet: Shared<Sheet>) -> Result<helve::Server, Box<dyn Error>> {
    let book = BookHandle::new(book::OneBook(sheet));
    let server = helve::Server::builder().root(move |_peer| std::future::ready(Ok(book.clone())));
    Ok(server.bind(url).await?)
}

async fn serve(url: &str, file: &Path) -> Done {
    let sheet = Shared::new(book::load(file)?);
    let server = bind(url, sheet.clone()).await?;
    println!("serving {} on {}", file.display(), server.url());
    server
        .run_until(helve::terminated(), Duration::from_secs(5))
        .await;
    let saved = sheet.read(|sheet| book::save(sheet, file).map_err(|error| error.to_string()));
    saved.await??;
    println!("saved {}", file.display());
    Ok(())
}

/// What somebody got over the wire, and what it would have been in whole sheets.
#[derive(Debug)]
struct Cost {
    revisions: u64,
    delta_bytes: u64,
    sheet_bytes: u64,
}

/// Writes a note beside every row from `first` on, each third one, and follows what the others do meanwhile.
async fn annotate(url: &str, name: &str, first: u32) -> Result<Cost, Box<dyn Error>> {
    let book: BookHandle = helve::connect(url).await?;
    let connection = book.connection().ok_or("it is far away")?;
    let start = connection.stats().bytes_in;
    let sheet = book.sheet().await?;
    let replica = sheet.replica().await?;
    // That was all of it, once.
    let whole = connection.stats().bytes_in - start;
    let (rev, before) = (replica.rev(), connection.stats().bytes_in);
    let (rows, column) =
        replica.read(|sheet| (sheet.rows.len() as u32, sheet.columns.len() as u32 - 1))?;
    for row in (first..rows).step_by(3) {
        let note = format!("seen by {name}");
        book.write(row, column, note.clone()).await?;
        // What a call changed is here before it returns.
        assert!(replica.read(|sheet| sheet.rows[row as usize][column as usize] == note)?);
    }
    Ok(Cost {
        revisions: replica.rev() - rev,
        delta_bytes: connection.stats().bytes_in - before,
        sheet_bytes: whole,
    })
}

/// All of it in one process: the server, three people who write, one who only looks.
async fn show(file: &Path) -> Done {
    let sheet = Shared::new(book::load(file)?);
    let server = bind("ws://127.0.0.1:0", sheet.clone()).await?;
    let url = server.url().to_owned();
    tokio::spawn(server.run());

    let visitor: BookHandle = helve::connect(&url).await?;
    let looking = visitor.sheet().await?.replica().await?;
    println!(
        "{}: {} rows of {} columns",
        file.display(),
        looking.read(|sheet| sheet.rows.len())?,
        looking.read(|sheet| sheet.columns.len())?,
    );
    let (ann, bob, cem) = tokio::try_join!(
        annotate(&url, "Ann", 0),
        annotate(&url, "Bob", 1),
        annotate(&url, "Cem", 2),
    )?;
    visitor.insert_row(0).await?;
    visitor.sort(2).await?;

    for (name, cost) in [("Ann", ann), ("Bob", bob), ("Cem", cem)] {
        let Cost {
            revisions,
            delta_bytes,
            sheet_bytes,
        } = cost;
        println!(
            "{name} followed {revisions} changes in {delta_bytes} bytes, answers to calls included; \
             as whole sheets: {} bytes",
            revisions * sheet_bytes
        );
    }
    let last = sheet.read(Sheet::clone).await?;
    looking.at_least(sheet.rev().await?).await?;
    let same = looking.read(|seen| *seen == last)?;
    println!(
        "everybody sees the same sheet: {same}; {} cells were written",
        last.writes
    );
    Ok(())
}

/// Edits by hand, and prints what the others do.
async fn edit(url: &str) -> Done {
    let book: BookHandle = helve::connect(url).await?;
    let replica = book.sheet().await?.replica().await?;
    let mut others = replica.clone();
    tokio::spawn(async move {
        while let Ok(rev) = others.changed().await {
            println!("revision {rev}");
        }
        println!("the sheet is gone");
    });
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Err(error) = command(&book, &replica, &line).await {
            println!("{error}");
        }
    }
    Ok(())
}

async fn command(book: &BookHandle, replica: &Replica<Sheet>, line: &str) -> Done {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    match words[..] {
        ["set", row, column, text] => {
            book.write(row.parse()?, column.parse()?, text.to_owned())
                .await?;
        }
        ["insert", row] => book.insert_row(row.parse()?).await?,
        ["sort", column] => book.sort(column.parse()?).await?,
        ["show", row] => {
            let row: usize = row.parse()?;
            let shown = replica.read(|sheet| sheet.rows.get(row).map(|row| row.join(" | ")))?;
            println!(
                "{}",
                shown.unwrap_or_else(|| "there is no such row".to_owned())
            );
        }
        _ => println!("{USAGE}"),
    }
    Ok(())
}
