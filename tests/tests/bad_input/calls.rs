//! Calls that cannot be: each fails alone.

use helve::Limits;
use helve::prelude::*;
use helve_tests::harness::{Harness, Tracker, limited};
use helve_tests::lab::{LabHandle, MemLab};

use crate::{Beside, Other, OtherHandle, says};

/// What somebody built from another state of the source calls the lab.
mod newer {
    use super::*;

    #[interface(id = "test.Lab")]
    pub trait NewLab {
        /// Takes a text where the lab takes a number.
        async fn echo(&self, text: String) -> String;
        /// Yields a text where the lab yields a number.
        async fn add(&self, n: u64) -> String;
        /// Takes more than the lab does.
        async fn echo_late(&self, n: u64, surplus: String) -> u64;
        /// Takes less.
        async fn note(&self);
        /// Is not there.
        async fn brand_new(&self, n: u64) -> u64;
        /// Yields a handle of another interface.
        async fn open(&self) -> OtherHandle;
        /// Gives one.
        async fn reflect(&self, other: OtherHandle) -> OtherHandle;
    }
}

struct Another;

impl Other for Another {
    async fn other(&self) {}
}

#[tokio::test]
async fn what_does_not_fit_the_types_fails_that_call_alone() {
    let beside = Beside::new().await;
    let odd: newer::NewLabHandle = beside.harness.connect().await;

    let error = limited(odd.echo("seven".into())).await.expect_err("a text");
    assert!(matches!(error, RpcError::Decode(_)), "{error:?}");
    says(
        &error,
        &["built from the same interface", "a string", "reading u64"],
    );
    assert_eq!((error.ran(), error.is_retryable()), (helve::Ran::No, false));

    let error = limited(odd.add(1)).await.expect_err("a number");
    assert!(matches!(error, RpcError::Decode(_)), "{error:?}");
    says(
        &error,
        &["built from the same interface", "integer", "reading String"],
    );

    assert_eq!(limited(odd.echo_late(5, "ignored".into())).await, Ok(5));

    let error = limited(odd.note()).await.expect_err("too few");
    says(&error, &["an argument is missing"]);

    let error = limited(odd.brand_new(1)).await.expect_err("not there");
    assert!(matches!(error, RpcError::Unimplemented(_)), "{error:?}");
    says(&error, &["no such method", "older"]);

    // A handle is typed by its user: it decodes, and the first call tells.
    let other = limited(odd.open()).await.expect("some handle");
    let error = limited(other.other()).await.expect_err("not an Other");
    says(&error, &["no such method"]);
    drop(other);

    let mine = OtherHandle::new(Another);
    let home = limited(odd.reflect(mine.clone())).await.expect("came back");
    assert!(home == mine);
    drop((home, mine, odd));
    beside.end().await;
}

#[tokio::test]
async fn a_revoked_handle_says_that_it_was_revoked() {
    let beside = Beside::new().await;
    let tracker = Tracker::new();
    let object = LabHandle::new(MemLab::new(&tracker));
    let (revocable, revoker) = object.revocable().expect("local");
    let host = LabHandle::new(MemLab::new(&tracker));
    host.keep(revocable).await.expect("kept");
    let harness = Harness::websocket(&tracker, host).await;
    let client: LabHandle = harness.connect().await;
    let far = limited(client.kept()).await.expect("runs").expect("kept");
    assert_eq!(limited(far.echo(1)).await, Ok(1));

    revoker.revoke();
    let end = limited(far.closed()).await;
    assert_eq!(end, RpcError::Broken(Box::new(RpcError::Revoked)));
    let error = limited(far.echo(1)).await.expect_err("revoked");
    says(&error, &["the handle is broken", "revoked by its host"]);
    assert_eq!(limited(client.echo(1)).await, Ok(1));
    assert_eq!(object.echo(1).await, Ok(1), "its owner still may");

    drop((far, object));
    limited(client.forget()).await.expect("runs");
    drop(client);
    harness.finish().await;
    beside.end().await;
}

#[tokio::test]
async fn a_method_that_panics_fails_that_call_and_leaves_its_object_usable() {
    let beside = Beside::new().await;
    let client: LabHandle = beside.harness.connect().await;
    for _ in 0..3 {
        let error = limited(client.panic()).await.expect_err("it panicked");
        assert!(matches!(error, RpcError::Internal(_)), "{error:?}");
        says(&error, &["the host failed inside", "the method panicked"]);
        assert!(
            !error.to_string().contains("on purpose"),
            "its text is the host's"
        );
    }
    assert_eq!(limited(client.add(1)).await, Ok(1));
    drop(client);
    beside.end().await;
}

#[tokio::test]
async fn what_is_too_much_for_one_call_is_said_before_it_is_sent() {
    let beside = Beside::new().await;
    let odd: newer::NewLabHandle = beside.harness.connect().await;
    let error = limited(odd.echo("x".repeat(17 << 20)))
        .await
        .expect_err("long");
    assert!(matches!(error, RpcError::Exhausted(_)), "{error:?}");
    says(&error, &["17825798 bytes", "16777216", "in pieces"]);
    drop(odd);

    let many: Vec<_> = (0..300)
        .map(|n| (n as u8, LabHandle::new(MemLab::new(&beside.tracker))))
        .collect();
    let one = LabHandle::new(MemLab::new(&beside.tracker));
    let bundle = helve_tests::lab::Bundle {
        one,
        maybe: None,
        many: Vec::new(),
        named: Default::default(),
        deep: Some(many),
    };
    let error = limited(beside.healthy.unbundle(bundle))
        .await
        .expect_err("many");
    says(&error, &["nothing was sent: over 255 handles"]);
    beside.end().await;
}

#[tokio::test]
async fn a_full_handle_table_says_so_and_can_be_emptied() {
    let small = Limits::default().with_table(2);
    let beside = Beside::new().await;
    let client: LabHandle = beside
        .harness
        .connect_with(|connect| connect.limits(small))
        .await
        .expect("taken");
    let (a, b) = (limited(client.open()).await, limited(client.open()).await);
    let error = limited(client.open()).await.expect_err("a third");
    // The method ran, and made an object for nothing: that may not be tried again blindly.
    assert!(!error.is_retryable(), "{error:?}");
    says(&error, &["handle table is full", "drop handles"]);
    drop(a);
    assert_eq!(limited(b.expect("room for two").echo(1)).await, Ok(1));
    let again = limited(async {
        loop {
            match client.open().await {
                Ok(handle) => return handle,
                Err(error) => says(&error, &["handle table is full"]),
            }
        }
    });
    drop(again.await);
    drop(client);
    beside.end().await;
}
