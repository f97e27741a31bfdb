//! Forwarding between sessions (R9): a handle of one session passed into another works there as it does here.

mod forward {
    mod calls;
    mod ends;
    mod identity;
    mod large;
    mod order;
    mod raw;
    mod shared;
    mod streams;
}

use std::time::Duration;

use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

/// How the parties are joined.
#[derive(Clone, Copy)]
enum Way {
    /// In this process; each message takes so long.
    Memory(Duration),
    WebSocket,
}

const NEAR: Way = Way::Memory(Duration::ZERO);

impl Way {
    async fn serve(self, setup: Setup) -> Harness {
        match self {
            Way::Memory(delay) => setup.memory(delay),
            Way::WebSocket => setup.websocket().await,
        }
    }
}

/// A row of servers: the first hosts a [`MemLab`], each further one serves the root of the one before as its own.
struct Row {
    /// The host first.
    servers: Vec<Harness>,
    tracker: Tracker,
}

impl Row {
    /// `forwarders` servers between the host and who connects to the last one.
    async fn new(way: Way, forwarders: usize) -> Row {
        Row::with(way, forwarders, |setup| setup).await
    }

    /// The same, with the host set up in another way.
    async fn with(way: Way, forwarders: usize, host: impl FnOnce(Setup) -> Setup) -> Row {
        let tracker = Tracker::new();
        let lab = LabHandle::new(MemLab::new(&tracker));
        let setup = host(Setup::new(&tracker, move |_| lab.clone()));
        let mut servers = vec![way.serve(setup).await];
        for _ in 0..forwarders {
            let root: LabHandle = servers[servers.len() - 1].connect().await;
            let setup = Setup::new(&Tracker::new(), move |_| root.clone());
            servers.push(way.serve(setup).await);
        }
        Row { servers, tracker }
    }

    /// A client of the last one.
    async fn connect(&self) -> LabHandle {
        self.servers[self.servers.len() - 1].connect().await
    }

    fn lab(&self) -> LabHandle {
        LabHandle::new(MemLab::new(&self.tracker))
    }

    /// Asserts that every table of every party becomes empty, from the last server to the host. Drop all handles before.
    async fn finish(self) {
        for server in &self.servers {
            server.rest().await;
        }
        for server in self.servers.into_iter().rev() {
            limited(server.finish()).await;
        }
    }
}
