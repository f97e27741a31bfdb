//! Bad input gets an error that says what is wrong and what to do, and nothing else is lost: in each test a healthy
//! client stands beside, and goes on.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod bad_input {
    mod calls;
    mod connecting;
    mod panics;
    mod violations;
}

use helve::prelude::*;
use helve::{Remote, State};
use helve_tests::harness::{Harness, Setup, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

/// A server with a client to whom nothing must happen.
struct Beside {
    harness: Harness,
    healthy: LabHandle,
    tracker: Tracker,
}

impl Beside {
    async fn new() -> Beside {
        Beside::with(|setup| setup).await
    }

    async fn with(f: impl FnOnce(Setup) -> Setup) -> Beside {
        let tracker = Tracker::new();
        let root = LabHandle::new(MemLab::new(&tracker));
        let harness = f(Setup::new(&tracker, move |_| root.clone()))
            .websocket()
            .await;
        let healthy = harness
            .connect_with::<LabHandle>(|connect| connect.token("valid"))
            .await
            .expect("a good client is taken");
        assert_eq!(limited(healthy.echo(1)).await, Ok(1));
        Beside {
            harness,
            healthy,
            tracker,
        }
    }

    fn url(&self) -> &str {
        self.harness.url()
    }

    async fn end(self) {
        assert_eq!(limited(self.healthy.echo(2)).await, Ok(2));
        assert_eq!(
            self.healthy.connection().expect("remote").state(),
            State::Connected
        );
        drop(self.healthy);
        self.harness.finish().await;
    }
}

/// Asserts that a text says each of these, and shows it to whoever reads the output.
#[track_caller]
fn says(text: impl ToString, words: &[&str]) {
    let text = text.to_string();
    println!("{text}");
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
    assert!(
        text.len() < 400,
        "too long to be read: {} bytes",
        text.len()
    );
}

/// Another interface.
#[interface(id = "test.Other")]
pub trait Other {
    /// Does nothing.
    async fn other(&self);
}
