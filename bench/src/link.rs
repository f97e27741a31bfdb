//! A link with a delay: a relay on threads of its own between client and server, exact to the sleep of the system
//! (tokio's timers would round 5 ms up to 6). It adds threads and copies, so no CPU is measured through it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Listens on a port of its own and relays each connection to `server`, every byte `delay` later. Ends with the process.
pub(crate) fn delayed(server: SocketAddr, delay: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(server) else {
                break;
            };
            let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone())
            else {
                break;
            };
            relay(from_client, server, delay);
            relay(from_server, client, delay);
        }
    });
    Ok(address)
}

/// One direction: a thread that reads and stamps, and one that waits until each piece is due.
fn relay(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if send
                .send((Instant::now() + delay, buffer[..len].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    thread::spawn(move || {
        let _ = to.set_nodelay(true);
        for (due, bytes) in receive {
            #[expect(clippy::disallowed_methods, reason = "this thread is the delay")]
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
