//! What is current, when, and what flows into nested calls.

use super::*;
use futures::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn handler(depth: u8, chain: u64) -> Cx {
    Cx::incoming(None, None, depth, Some(chain))
}

#[test]
fn a_context_is_current_inside_enter_and_nowhere_else() {
    assert!(Cx::try_current().is_none());
    let mut slot = Some(handler(3, 9));
    Cx::enter(&mut slot, || {
        assert_eq!((Cx::current().depth(), Cx::current().chain()), (3, 9));
        Cx::enter(&mut Some(handler(4, 10)), || {
            assert_eq!(Cx::current().depth(), 4)
        });
        assert_eq!(Cx::current().depth(), 3);
    });
    assert!(slot.is_some() && Cx::try_current().is_none());
}

#[test]
fn a_context_comes_back_after_a_panic() {
    let mut slot = Some(handler(3, 9));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        Cx::enter(&mut slot, || panic!("in the handler"))
    }));
    assert!(panicked.is_err() && slot.is_some() && Cx::try_current().is_none());
}

#[test]
fn a_call_made_in_a_handler_is_one_deeper_and_of_the_same_chain_r13_r23() {
    assert_eq!(
        Cx::of_call(),
        CallCx {
            deadline: None,
            depth: 0,
            chain: None,
            traced: false
        }
    );
    Cx::enter(&mut Some(handler(3, 9)), || {
        assert_eq!(
            Cx::of_call(),
            CallCx {
                deadline: None,
                depth: 4,
                chain: Some(9),
                traced: false
            }
        );
        let nested = Cx::current().nested();
        assert_eq!((nested.depth(), nested.chain()), (4, 9));
    });
    let local = Cx::background().nested();
    assert_eq!(local.depth(), 0);
    assert_ne!(local.chain(), 0);
}

#[test]
fn chains_that_are_drawn_differ_and_stay_below_two_to_the_53() {
    let mut drawn: Vec<u64> = (0..10_000)
        .map(|_| Cx::incoming(None, None, 0, None).chain())
        .collect();
    assert!(drawn.iter().all(|c| *c > 0 && *c < 1 << 53));
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_only_shrinks_and_is_at_most_an_hour_r21() {
    let cx = Cx::background().with_deadline(Duration::MAX);
    assert_eq!(cx.remaining(), Some(MAX_DEADLINE));
    let cx = cx
        .with_deadline(Duration::from_secs(5))
        .with_deadline(Duration::from_secs(9));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(cx.remaining(), Some(Duration::from_secs(3)));
    assert_eq!(cx.nested().remaining(), Some(Duration::from_secs(3)));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(cx.remaining(), Some(Duration::ZERO));
}

#[tokio::test]
async fn a_spawned_task_starts_afresh() {
    let future = async {
        assert_eq!(Cx::current().depth(), 3);
        let spawned = tokio::spawn(async { Cx::try_current().is_none() })
            .await
            .unwrap();
        (spawned, Cx::current().depth())
    };
    let scoped = Scoped::new(handler(3, 9), future.boxed());
    let done = tokio::time::timeout(Duration::from_secs(5), scoped)
        .await
        .unwrap();
    assert_eq!(done, (true, 3));
    assert!(Cx::try_current().is_none());
}

#[test]
fn debug_shows_no_chain_and_no_token() {
    let peer = Peer::new("agent".into(), None, Some("s3cret".into()), None);
    let text = format!("{:?}", Cx::incoming(Some(peer), None, 0, Some(424_242)));
    assert!(
        !text.contains("s3cret") && !text.contains("424242"),
        "{text}"
    );
}
