//! One measurement, in a process of its own: starts a server and a client of one peer, works, and prints what it saw as
//! `key=value` words. Only the driver starts it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::cases::Work;
use crate::deltas;
use crate::link;
use crate::machine;
use crate::meter::Bytes;
use crate::options::{Size, Task};
use crate::peers::{Client, Measured, Peer, PeerName, bare, helve, limit};

/// How many pairs are open at the first and at the second look at memory.
const PAIRS: (u64, u64) = (50, 450);

/// Runs the task and prints its outcome.
pub(crate) fn run(task: &Task) -> Result<(), Box<dyn Error>> {
    if let Work::Delta(change) = task.case.work {
        machine::pin(0)?;
        return runtime()?.block_on(deltas::run(task, change));
    }
    match task.peer {
        PeerName::Limit => measure::<limit::Limit>(task),
        PeerName::Loop => measure::<bare::Loop>(task),
        PeerName::Helve => measure::<helve::Helve>(task),
        _ => Err("this peer makes no calls".into()),
    }
}

fn measure<P: Peer>(task: &Task) -> Result<(), Box<dyn Error>> {
    machine::pin(0)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut address = if task.threads {
            server_thread::<P>()?
        } else {
            P::serve().await?
        };
        if let Some(delay) = task.case.delay {
            address = link::delayed(address, delay)?;
        }
        if task.case.work == Work::Idle {
            idle::<P>(address).await
        } else {
            work::<P>(task, address).await
        }
    })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Starts the server on a second thread, with a runtime and a core of its own.
fn server_thread<P: Peer>() -> Result<SocketAddr, Box<dyn Error>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let served = machine::pin(1).and_then(|()| runtime()).map(|runtime| {
            runtime.block_on(async {
                let _ = send.send(P::serve().await.map_err(|error| error.to_string()));
                std::future::pending::<()>().await;
            });
        });
        if let Err(error) = served {
            eprintln!("helve-bench: the server's thread: {error}");
        }
    });
    Ok(receive.recv()??)
}

/// Works and prints what a call costs.
async fn work<P: Peer>(task: &Task, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut client = P::connect(address).await?;
    let calls = match task.size {
        Size::Calls(calls) => calls,
        Size::Seconds(seconds) => calls_in(&mut client, task.case.work, seconds).await?,
    };
    client.times();
    let (bytes, cpu, start) = (client.bytes(), machine::cpu_ns(), Instant::now());
    client.work(task.case.work, calls).await?;
    let (wall, cpu) = (start.elapsed(), machine::cpu_ns() - cpu);
    let Bytes { up, down } = client.bytes();
    let (up, down) = (up - bytes.up, down - bytes.down);
    print!(
        "calls={calls} wall_ns={} cpu_ns={cpu} up={up} down={down}",
        wall.as_nanos()
    );
    let mut times = client.times();
    times.sort_unstable();
    let at = |percent| times.get((times.len().saturating_sub(1)) * percent / 100);
    if let (Some(p50), Some(p99)) = (at(50), at(99)) {
        print!(" p50_ns={p50} p99_ns={p99}");
    }
    println!();
    Ok(())
}

/// Warms up, doubling the work until the last step took a tenth of the time, and says how many calls fill all of it.
async fn calls_in<C: Client>(client: &mut C, work: Work, seconds: f64) -> Measured<u64> {
    let least = match work {
        Work::Calls { in_flight } => in_flight as u64 * 4,
        _ => 1,
    };
    let mut calls = least;
    loop {
        let start = Instant::now();
        client.work(work, calls).await?;
        let took = start.elapsed().as_secs_f64();
        if took > seconds / 10.0 {
            return Ok(((calls as f64 * seconds / took) as u64).max(least));
        }
        calls *= 2;
    }
}

/// Opens pairs of connections and prints what each adds to the memory of the process.
async fn idle<P: Peer>(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    machine::many_files()?;
    let mut clients = Vec::new();
    let mut memory = [0; 2];
    for (seen, pairs) in memory.iter_mut().zip([PAIRS.0, PAIRS.1]) {
        while (clients.len() as u64) < pairs {
            let mut client = P::connect(address).await?;
            client.work(Work::Calls { in_flight: 1 }, 1).await?;
            clients.push(client);
        }
        // Long enough for delayed acks and for buffers that are given back when idle.
        tokio::time::sleep(Duration::from_millis(300)).await;
        *seen = machine::resident()?;
    }
    println!(
        "pairs={} bytes={}",
        PAIRS.1 - PAIRS.0,
        memory[1].saturating_sub(memory[0])
    );
    Ok(())
}
