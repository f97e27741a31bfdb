//! A peer that was not built by this library: forms that are none, ids that are unknown, changes that do not fit. Each
//! gets an error that says what is wrong, and a good call goes on beside it.

use std::sync::{Arc, Mutex};

use helve::prelude::*;
use helve::track::Tracked;
use helve_handles::schema::Schema;
use helve_tests::harness::{Harness, Tracker, limited};

use crate::any::{Any, array};
use crate::desk::{DeskHandle, Doc, MemDesk, doc, shown};

/// The desk as somebody else calls it. What he says goes as it is.
#[interface(id = "test.Desk")]
trait Forger {
    async fn tidy(&self, doc: Any) -> Any;
    async fn both(&self, left: Any, ears: Vec<u8>, numbers: Any, right: Any) -> Any;
}

/// `[1, type, value, id, rev]` of a number.
#[interface(id = "test.Number")]
trait Number {
    async fn twice(&self, number: &mut u32) -> u32;
    async fn sum(&self, left: &mut u32, right: &mut u32) -> u32;
}

#[interface(id = "test.Number")]
trait ForgedNumber {
    async fn twice(&self, number: Any) -> Any;
    async fn sum(&self, left: Any, right: Any) -> Any;
}

struct MemNumber;

impl Number for MemNumber {
    async fn twice(&self, number: &mut u32) -> u32 {
        *number = number.wrapping_mul(2);
        *number
    }
    async fn sum(&self, left: &mut u32, right: &mut u32) -> u32 {
        *left += *right;
        *left
    }
}

fn ty<T: Wire>() -> Any {
    Any::Bin(Schema::of::<T>().hash().to_vec())
}

fn int(n: u64) -> Any {
    Any::Int(n)
}

fn whole(n: u64) -> Any {
    array([int(0), ty::<u32>(), int(n)])
}

fn keep(n: u64, id: u64, rev: u64) -> Any {
    array([int(1), ty::<u32>(), int(n), int(id), int(rev)])
}

fn change(id: u64, from: u64, to: u64, node: Any) -> Any {
    array([int(2), int(id), int(from), int(to), node])
}

fn set(n: u64) -> Any {
    array([int(0), int(n)])
}

fn nothing() -> Any {
    array([int(1)])
}

fn code(error: &RpcError) -> u64 {
    error.code().raw()
}

// R24.1, R24.2, R24.3: the forms, byte for byte as another implementation would say them.
#[tokio::test]
async fn each_form_is_answered_as_it_stands_in_the_protocol() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, NumberHandle::new(MemNumber));
    let forger: ForgedNumberHandle = {
        let good: NumberHandle = harness.connect().await;
        drop(good);
        harness.connect().await
    };
    // Whole, not kept.
    let answer = limited(forger.twice(whole(21))).await;
    assert_eq!(answer, Ok(array([int(42), set(42)])));
    // Kept, at revision 7; the method makes it 8.
    assert_eq!(
        limited(forger.twice(keep(1, 99, 7))).await,
        Ok(array([int(2), set(2)]))
    );
    assert_eq!(
        limited(forger.twice(change(99, 8, 9, set(5)))).await,
        Ok(array([int(10), set(10)]))
    );
    assert_eq!(
        limited(forger.twice(change(99, 10, 10, nothing()))).await,
        Ok(array([int(20), set(20)]))
    );
    // Nothing changes: nil, and no revision.
    for _ in 0..2 {
        let answer = limited(forger.twice(change(99, 11, 12, set(0)))).await;
        assert_eq!(answer, Ok(array([int(0), Any::Nil])));
        assert_eq!(
            limited(forger.twice(keep(1, 99, 10))).await,
            Ok(array([int(2), set(2)]))
        );
    }
    // Of another type: the value comes back whole, and is not kept.
    let other = array([int(1), Any::Bin(vec![0; 16]), int(4), int(99), int(1)]);
    assert_eq!(
        limited(forger.twice(other)).await,
        Ok(array([int(8), set(8)]))
    );
    let error = limited(forger.twice(change(99, 2, 2, nothing())))
        .await
        .unwrap_err();
    assert_eq!(error, RpcError::NeedSnapshot);
    drop(forger);
    harness.finish().await;
}

// R24.1, R24.6, R24.7, R24.9
#[tokio::test]
async fn what_is_no_form_or_does_not_fit_is_refused_and_nothing_runs() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, NumberHandle::new(MemNumber));
    let forger: ForgedNumberHandle = harness.connect().await;
    let good: NumberHandle = harness.connect().await;
    let server = harness.server_ends().remove(0);
    let mut kept = Tracked::new(3);
    limited(good.twice(&mut kept)).await.unwrap();

    let no_forms = [
        Any::Nil,
        int(1),
        "text".into(),
        array([]),
        array([int(0)]),
        array([int(0), ty::<u32>()]),
        array([int(0), ty::<u32>(), int(1), int(1)]),
        array([int(0), Any::Bin(vec![0; 15]), int(1)]),
        array([int(1), ty::<u32>(), int(1)]),
        array([int(1), ty::<u32>(), int(1), "id".into(), int(1)]),
        keep(1, 1 << 53, 1),
        keep(1, 1, 1 << 53),
        change(1, 5, 4, nothing()),
        change(1, 5, u64::MAX, nothing()),
        array([int(2), int(1), int(1), int(1)]),
        array([int(3), int(1), int(1), int(1), nothing()]),
        array([int(0), ty::<u32>(), "text".into()]),
        array([int(0), ty::<u32>(), int(1 << 40)]),
    ];
    for form in no_forms {
        let error = limited(forger.twice(form.clone())).await.unwrap_err();
        assert!(matches!(error, RpcError::Decode(_)), "{form:?}: {error:?}");
        assert_eq!(error.ran(), helve::Ran::No);
    }
    // Unknown ids, and revisions that the copy does not have.
    assert_eq!(
        limited(forger.twice(change(5, 1, 1, nothing()))).await,
        Err(RpcError::NeedSnapshot)
    );
    limited(forger.twice(keep(1, 5, 1))).await.unwrap();
    for from in [1, 3] {
        let error = limited(forger.twice(change(5, from, from, nothing())))
            .await
            .unwrap_err();
        assert_eq!(code(&error), 14);
        limited(forger.twice(keep(1, 5, 1))).await.unwrap();
    }
    // Changes that do not fit: the copy is gone with them.
    let garbage = [
        Any::Nil,
        int(1),
        array([]),
        array([int(1), int(0), set(1)]),
        array([int(4), array([int(2), int(1)])]),
        array([int(9)]),
        array([int(0), "text".into()]),
        array([int(7), set(1), array([int(5), int(1), int(1)])]),
    ];
    for node in garbage {
        limited(forger.twice(keep(1, 5, 1))).await.unwrap();
        let error = limited(forger.twice(change(5, 2, 3, node.clone())))
            .await
            .unwrap_err();
        assert!(matches!(error, RpcError::Decode(_)), "{node:?}: {error:?}");
        let error = limited(forger.twice(change(5, 2, 2, nothing())))
            .await
            .unwrap_err();
        assert_eq!(error, RpcError::NeedSnapshot, "after {node:?}");
    }
    // A tracked value of another type under a known id is not found.
    limited(forger.twice(keep(1, 5, 1))).await.unwrap();
    assert_eq!(server.stats().kept, 1);
    assert_eq!(limited(good.twice(&mut kept)).await, Ok(12));
    drop((forger, good, server));
    harness.finish().await;
}

// R24.8
#[tokio::test]
async fn one_id_for_two_arguments_of_a_call_is_refused_before_it_runs() {
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, NumberHandle::new(MemNumber));
    let forger: ForgedNumberHandle = harness.connect().await;
    let twice = [
        (keep(1, 5, 1), keep(2, 5, 1)),
        (keep(1, 5, 1), change(5, 1, 1, nothing())),
        (change(5, 1, 1, nothing()), change(5, 1, 1, nothing())),
        (change(5, 1, 1, nothing()), keep(2, 5, 1)),
    ];
    for (left, right) in twice {
        limited(forger.twice(keep(1, 5, 0))).await.unwrap();
        let error = limited(forger.sum(left, right)).await.unwrap_err();
        assert_eq!(error, RpcError::Aliased);
        assert_eq!(error.ran(), helve::Ran::No);
    }
    let sum = limited(forger.sum(keep(1, 5, 1), keep(2, 6, 1))).await;
    assert_eq!(sum, Ok(array([int(3), set(3), Any::Nil])));
    drop(forger);
    harness.finish().await;
}

/// Answers with whatever it is told to.
struct Liar(Arc<Mutex<Any>>);

impl Forger for Liar {
    async fn tidy(&self, _: Any) -> Any {
        self.0.lock().unwrap().clone()
    }
    async fn both(&self, _: Any, _: Vec<u8>, _: Any, _: Any) -> Any {
        Any::Nil
    }
}

/// As a liar of numbers.
struct NumberLiar(Arc<Mutex<Any>>);

impl ForgedNumber for NumberLiar {
    async fn twice(&self, _: Any) -> Any {
        self.0.lock().unwrap().clone()
    }
    async fn sum(&self, _: Any, _: Any) -> Any {
        self.0.lock().unwrap().clone()
    }
}

// R24.2: what comes back is believed no more than what goes up.
#[tokio::test]
async fn a_result_that_does_not_fit_leaves_the_arguments_as_they_were() {
    let tracker = Tracker::new();
    let answer = Arc::new(Mutex::new(Any::Nil));
    let harness = Harness::memory(&tracker, ForgerHandle::new(Liar(answer.clone())));
    let desk: DeskHandle = harness.connect().await;
    let mut plain = doc();
    let mut tracked = Tracked::new(doc());
    let fields = |node: Any| array([int(1), int(1), set(9), int(2), node]);
    let lies = [
        Any::Nil,
        int(2),
        array([]),
        array([int(2)]),
        array(["text".into(), Any::Nil]),
        array([int(2), int(1)]),
        array([int(2), array([int(4)])]),
        // Its first half fits.
        array([int(2), fields(array([int(5), int(9), int(9), "x".into()]))]),
        array([int(2), fields(array([int(3), int(1)]))]),
        array([int(2), array([int(1), int(77), set(1)])]),
    ];
    for lie in lies {
        *answer.lock().unwrap() = lie.clone();
        let error = limited(desk.tidy(&mut plain)).await.unwrap_err();
        let matching = matches!(error, RpcError::Decode(_) | RpcError::Internal(_));
        assert!(matching, "{lie:?}: {error:?}");
        limited(desk.tidy(&mut tracked)).await.unwrap_err();
        assert_eq!(
            (shown(&plain), shown(&tracked)),
            (shown(&doc()), shown(&doc()))
        );
        assert_eq!(tracked.rev(), 1);
    }
    // More than was asked for is ignored; an endless NEED_SNAPSHOT is an error after the second.
    *answer.lock().unwrap() = array([int(2), Any::Nil, set(1)]);
    assert_eq!(limited(desk.tidy(&mut tracked)).await, Ok(2));
    drop(desk);
    harness.finish().await;
}

// Of two arguments none changes where one of them cannot.
#[tokio::test]
async fn a_change_lands_in_all_arguments_or_in_none() {
    let tracker = Tracker::new();
    let answer = Arc::new(Mutex::new(array([int(1), set(5), array([int(5)])])));
    let harness = Harness::memory(
        &tracker,
        ForgedNumberHandle::new(NumberLiar(answer.clone())),
    );
    let number: NumberHandle = harness.connect().await;
    let (mut left, mut right) = (1, Tracked::new(2));
    limited(number.sum(&mut left, &mut right))
        .await
        .unwrap_err();
    let (mut l, mut r) = (Tracked::new(1), 2);
    limited(number.sum(&mut l, &mut r)).await.unwrap_err();
    assert_eq!((left, *right, *l, r), (1, 2, 1, 2));
    assert_eq!((right.rev(), l.rev()), (1, 1));
    *answer.lock().unwrap() = array([int(1), set(5), set(6)]);
    limited(number.sum(&mut l, &mut r)).await.unwrap();
    assert_eq!((*l, r), (5, 6));
    drop(number);
    harness.finish().await;
}

#[tokio::test]
async fn a_peer_that_never_keeps_anything_is_asked_twice_and_not_for_ever() {
    // Of the liar's revisions none is right: the second answer is no answer to a change.
    let tracker = Tracker::new();
    let harness = Harness::memory(&tracker, DeskHandle::new(MemDesk::new(&tracker)));
    let forger: ForgerHandle = harness.connect().await;
    let error = limited(forger.tidy(change(1, 1, 1, nothing())))
        .await
        .unwrap_err();
    assert_eq!(error, RpcError::NeedSnapshot);
    let ty = ty::<Doc>();
    let error = limited(forger.both(
        array([int(1), ty, int(1), int(1), int(1)]),
        vec![],
        Any::Nil,
        Any::Nil,
    ));
    assert!(matches!(error.await, Err(RpcError::Decode(_))));
    drop(forger);
    harness.finish().await;
}
