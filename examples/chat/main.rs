//! Rooms in which people talk: callbacks that a server keeps, one-way calls with receipts, somebody who is killed and
//! noticed, and two servers joined by a handle that one of them passes on.
//!
//! `api.rs` has the interfaces, `rooms.rs` the servers' objects; what clients do is here.
#![allow(unreachable_pub)] // `pub` as it would be in a library of your own

mod api;
mod rooms;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use api::*;
use helve::prelude::*;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::mpsc;

const USAGE: &str = "usage: chat                                   two servers and four people, all by itself
       chat --serve URL [ROOM OTHER_URL]     serve; ROOM is the one of the server at OTHER_URL
       chat --connect URL NICK [ROOM]        talk: a line of input is a line said, the end of input is leaving";

type Done = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show().await,
        ["--serve", url] => serve(url, None).await,
        ["--serve", url, room, other] => serve(url, Some((room, other))).await,
        ["--connect", url, nick] => talk(url, nick, "lobby").await,
        ["--connect", url, nick, room] => talk(url, nick, room).await,
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

/// A server with a lobby of its own, and perhaps one room of another's.
async fn bind(url: &str, joined: Option<(&str, &str)>) -> Result<helve::Server, Box<dyn Error>> {
    let lobby = LobbyHandle::new(rooms::Rooms::default());
    if let Some((room, other)) = joined {
        let theirs: LobbyHandle = helve::connect(other).await?;
        // The handle came over one connection and goes out over others: calls on it are passed on, both ways.
        lobby.link(room, theirs.room(room).await?).await?;
    }
    let server = helve::Server::builder().root(move |_peer| std::future::ready(Ok(lobby.clone())));
    Ok(server.bind(url).await?)
}

async fn serve(url: &str, joined: Option<(&str, &str)>) -> Done {
    let server = bind(url, joined).await?;
    println!("serving on {}", server.url());
    let done = server
        .run_until(helve::terminated(), Duration::from_secs(5))
        .await;
    println!(
        "stopped: {} served to the end, {} cut",
        done.drained, done.cut
    );
    Ok(())
}

/// Hears a room and hands the lines on.
struct Ear(mpsc::UnboundedSender<Line>);

impl Member for Ear {
    async fn heard(&self, line: Line) {
        // Who does not listen any more has dropped its seat, too.
        let _ = self.0.send(line);
    }
}

/// Somebody in a room.
struct Person {
    seat: SeatHandle,
    heard: mpsc::UnboundedReceiver<Line>,
}

impl Person {
    async fn enter(url: &str, nick: &str, room: &str) -> Result<Person, Box<dyn Error>> {
        let lobby: LobbyHandle = helve::connect(url).await?;
        let (send, heard) = mpsc::unbounded_channel();
        // `join` is on its way before the room is known to be there.
        let room = lobby.room(room).pipelined();
        let seat = room.join(nick, Ear(send).into()).await?;
        Ok(Person { seat, heard })
    }
}

async fn talk(url: &str, nick: &str, room: &str) -> Done {
    let mut me = Person::enter(url, nick, room).await?;
    let mut input = BufReader::new(stdin()).lines();
    let mut gone = Box::pin(me.seat.closed());
    loop {
        tokio::select! {
            line = me.heard.recv() => match line {
                Some(line) => println!("{line}"),
                None => return Ok(()),
            },
            line = input.next_line() => match line? {
                // The room has it before anybody in it has heard it.
                Some(text) => me.seat.say(&text).accepted().await?,
                None => return Ok(()),
            },
            why = &mut gone => return Err(why.into()),
        }
    }
}

/// Two servers, three people here and one in a process of its own, which is killed.
async fn show() -> Done {
    let north = bind("ws://127.0.0.1:0", None).await?;
    let north_url = north.url().to_owned();
    let north = tokio::spawn(north.run());
    let south = bind("ws://127.0.0.1:0", Some(("tea", &north_url))).await?;
    let south_url = south.url().to_owned();
    let south = tokio::spawn(south.run());
    println!("two servers; the room `tea` of the second is the one of the first\n");

    let mut ann = Person::enter(&north_url, "ann", "tea").await?;
    let ben = Person::enter(&south_url, "ben", "tea").await?;
    let mut receipt = ann.seat.say("is anybody at the other server?");
    receipt.accepted().await?;
    let mut cat = std::process::Command::new(std::env::current_exe()?)
        .args(["--connect", &south_url, "cat", "tea"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    ben.seat
        .say("I am, by way of the second")
        .accepted()
        .await?;

    let mut seen = Vec::new();
    let came = Line::Came("cat".into());
    while !seen.contains(&came) {
        seen.push(next(&mut ann).await?);
    }
    // No goodbye: the operating system closes its connection, and its seat at the first server falls free.
    cat.kill()?;
    cat.wait()?;
    let left = Line::Left("cat".into());
    while !seen.contains(&left) {
        seen.push(next(&mut ann).await?);
    }
    drop(ben);
    let left = Line::Left("ben".into());
    while !seen.contains(&left) {
        seen.push(next(&mut ann).await?);
    }
    println!("what ann heard, at the first server:");
    for line in seen {
        println!("  {line}");
    }
    north.abort();
    south.abort();
    Ok(())
}

async fn next(person: &mut Person) -> Result<Line, Box<dyn Error>> {
    let line = tokio::time::timeout(Duration::from_secs(10), person.heard.recv());
    line.await
        .map_err(|_| "nothing was heard for 10 s")?
        .ok_or_else(|| "the room is gone".into())
}
