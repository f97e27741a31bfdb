//! The gate: order, exclusion, chains, giving up, panics, memory.

use super::*;
use futures::FutureExt;
use futures::task::noop_waker;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A context of chain `c`; 0 is outside any handler.
fn cx(c: u64) -> Cx {
    if c == 0 {
        Cx::background()
    } else {
        Cx::incoming(None, None, 0, Some(c))
    }
}

fn poll<F: Future + Unpin>(f: &mut F) -> Poll<F::Output> {
    f.poll_unpin(&mut Context::from_waker(&noop_waker()))
}

fn get<F: Future<Output = Result<G, RpcError>> + Unpin, G>(f: &mut F) -> G {
    match poll(f) {
        Poll::Ready(Ok(guard)) => guard,
        Poll::Ready(Err(e)) => panic!("{e}"),
        Poll::Pending => panic!("must wait"),
    }
}

fn waits<F: Future + Unpin>(f: &mut F) -> bool {
    poll(f).is_pending()
}

/// The gate is as it was made: nobody inside, nobody waiting, nothing kept.
fn assert_idle<T>(object: &Object<T>) {
    if let Kind::Gated(gate) = &object.kind {
        let state = lock(gate);
        assert!(state.value.is_some() && state.crowd.is_none());
        assert_eq!((state.readers(), state.chain), (0, 0));
    }
}

// R10.3
#[test]
fn readers_overlap_and_a_writer_is_alone() {
    let object = Object::new(1);
    let (a, b) = (
        get(&mut object.clone().read(&cx(1))),
        get(&mut object.clone().read(&cx(2))),
    );
    assert_eq!((*a, *b), (1, 1));
    let mut writer = object.clone().write(&cx(3));
    assert!(waits(&mut writer));
    drop(a);
    assert!(waits(&mut writer));
    drop(b);
    let mut guard = get(&mut writer);
    *guard += 1;
    assert!(waits(&mut object.clone().read(&cx(4))) && waits(&mut object.clone().write(&cx(5))));
    drop(guard);
    assert_eq!(*get(&mut object.clone().read(&cx(6))), 2);
    assert_idle(&object);
}

#[test]
fn a_newcomer_stays_behind_a_waiting_writer() {
    let object = Object::new(());
    let reader = get(&mut object.clone().read(&cx(1)));
    let (mut writer, mut late) = (object.clone().write(&cx(2)), object.clone().read(&cx(3)));
    assert!(waits(&mut writer) && waits(&mut late));
    assert!(object.try_read(&cx(4)).is_none());
    drop(reader);
    assert!(waits(&mut late));
    drop(get(&mut writer));
    drop(get(&mut late));
    assert_idle(&object);
}

#[test]
fn readers_between_two_writers_enter_together() {
    let object = Object::new(());
    let first = get(&mut object.clone().write(&cx(0)));
    let mut readers: Vec<_> = (0..5).map(|_| object.clone().read(&cx(0))).collect();
    assert!(readers.iter_mut().all(waits));
    let mut last = object.clone().write(&cx(0));
    assert!(waits(&mut last));
    drop(first);
    let guards: Vec<_> = readers.iter_mut().map(get).collect();
    assert!(waits(&mut last));
    drop(guards);
    drop(get(&mut last));
    assert_idle(&object);
}

// R23.2, R23.3
#[test]
fn a_chain_that_writes_gets_reentrant_r23() {
    let object = Object::new(());
    let guard = get(&mut object.clone().write(&cx(7)));
    assert!(matches!(
        poll(&mut object.clone().read(&cx(7))),
        Poll::Ready(Err(RpcError::Reentrant))
    ));
    assert!(matches!(
        poll(&mut object.clone().write(&cx(7))),
        Poll::Ready(Err(RpcError::Reentrant))
    ));
    assert!(
        waits(&mut object.clone().write(&cx(8))),
        "another chain waits its turn"
    );
    assert!(
        waits(&mut object.clone().write(&cx(0))),
        "a call of no chain waits its turn"
    );
    drop(guard);
    assert_idle(&object);
}

#[test]
fn a_chain_that_was_granted_and_has_not_come_yet_counts_as_inside_r23() {
    let object = Object::new(());
    let guard = get(&mut object.clone().write(&cx(1)));
    let mut granted = object.clone().write(&cx(7));
    assert!(waits(&mut granted));
    drop(guard);
    assert!(matches!(
        poll(&mut object.clone().read(&cx(7))),
        Poll::Ready(Err(RpcError::Reentrant))
    ));
    assert!(object.try_read(&cx(0)).is_none() && object.try_write(&cx(0)).is_none());
    drop(get(&mut granted));
    assert_idle(&object);
}

#[test]
fn a_reading_chain_that_reads_again_passes_the_queue_and_one_that_writes_is_reentrant_r23() {
    let object = Object::new(());
    // Readers enough that the chain is found in the word as well as in the crowd.
    for inside in [vec![7], vec![1, 7], vec![1, 2, 7, 3]] {
        let guards: Vec<_> = inside
            .iter()
            .map(|c| get(&mut object.clone().read(&cx(*c))))
            .collect();
        let mut writer = object.clone().write(&cx(9));
        assert!(waits(&mut writer));
        let again = get(&mut object.clone().read(&cx(7)));
        assert!(matches!(
            poll(&mut object.clone().write(&cx(7))),
            Poll::Ready(Err(RpcError::Reentrant))
        ));
        assert!(
            waits(&mut object.clone().read(&cx(8))),
            "another chain stays behind the writer"
        );
        drop(guards);
        assert!(waits(&mut writer));
        drop(again);
        drop(get(&mut writer));
        assert_idle(&object);
    }
}

#[test]
fn a_waiter_that_is_dropped_lets_the_next_ones_in() {
    let object = Object::new(());
    let reader = get(&mut object.clone().read(&cx(1)));
    let (mut writer, mut next) = (object.clone().write(&cx(2)), object.clone().read(&cx(3)));
    assert!(waits(&mut writer) && waits(&mut next));
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let waker = futures::task::waker(Arc::new(Counting(count)));
    assert!(
        next.poll_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(writer);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    drop((get(&mut next), reader));
    assert_idle(&object);
}

struct Counting(Arc<AtomicUsize>);
impl futures::task::ArcWake for Counting {
    fn wake_by_ref(me: &Arc<Self>) {
        me.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_grant_that_is_dropped_goes_to_the_next() {
    for write in [false, true] {
        let object = Object::new(());
        let guard = get(&mut object.clone().write(&cx(1)));
        let (mut w, mut r) = (object.clone().write(&cx(2)), object.clone().read(&cx(2)));
        let mut next = object.clone().write(&cx(3));
        assert!(if write { waits(&mut w) } else { waits(&mut r) });
        assert!(waits(&mut next));
        drop(guard);
        assert!(waits(&mut next));
        drop((w, r));
        drop(get(&mut next));
        assert_idle(&object);
    }
}

#[test]
fn the_newest_waker_of_a_waiter_is_woken_and_an_old_one_is_dropped_unlocked() {
    /// A waker that looks at the object when it goes.
    struct Looks(Arc<Object<()>>);
    impl futures::task::ArcWake for Looks {
        fn wake_by_ref(me: &Arc<Self>) {
            let _ = format!("{:?}", me.0);
        }
    }
    impl Drop for Looks {
        fn drop(&mut self) {
            let _ = format!("{:?}", self.0);
        }
    }
    let object = Object::new(());
    let guard = get(&mut object.clone().write(&cx(1)));
    let mut waiter = object.clone().read(&cx(2));
    for _ in 0..3 {
        let waker = futures::task::waker(Arc::new(Looks(object.clone())));
        assert!(
            waiter
                .poll_unpin(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    drop(guard);
    drop(get(&mut waiter));
    let guard = get(&mut object.clone().write(&cx(1)));
    let waker = futures::task::waker(Arc::new(Looks(object.clone())));
    let mut waiter = object.clone().read(&cx(2));
    assert!(
        waiter
            .poll_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    drop((waiter, guard));
    assert_idle(&object);
}

#[test]
fn a_panic_under_a_guard_leaves_the_object_usable() {
    let object = Object::new(vec![1]);
    for write in [true, false] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            if write {
                get(&mut object.clone().write(&cx(1))).push(2);
                let mut guard = get(&mut object.clone().write(&cx(1)));
                guard.push(3);
                panic!("in the method");
            }
            let _guard = get(&mut object.clone().read(&cx(1)));
            panic!("in the method");
        }));
        assert!(result.is_err());
        assert_eq!(*get(&mut object.clone().read(&cx(1))), vec![1, 2, 3]);
        assert_idle(&object);
    }
}

#[test]
fn the_value_is_dropped_once_and_with_the_last_of_object_and_guards() {
    struct Bell(Arc<AtomicUsize>);
    impl Drop for Bell {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let rung = Arc::new(AtomicUsize::new(0));
    for object in [
        Object::new(Bell(rung.clone())),
        Object::free(Bell(rung.clone())),
    ] {
        let before = rung.load(Ordering::SeqCst);
        let guard = get(&mut object.clone().read(&cx(0)));
        drop(object);
        assert_eq!(rung.load(Ordering::SeqCst), before);
        drop(guard);
        assert_eq!(rung.load(Ordering::SeqCst), before + 1);
    }
    let object = Object::new(Bell(rung.clone()));
    let guard = get(&mut object.write(&cx(0)));
    assert_eq!(rung.load(Ordering::SeqCst), 2);
    drop(guard);
    assert_eq!(rung.load(Ordering::SeqCst), 3);
}

#[test]
fn a_free_object_has_no_gate_and_refuses_a_writer() {
    let object = Object::free(5);
    let (a, b) = (
        get(&mut object.clone().read(&cx(1))),
        object.try_read(&cx(1)).unwrap(),
    );
    assert_eq!(*a + *b, 10);
    assert!(object.try_write(&cx(1)).is_none());
    assert!(matches!(
        poll(&mut object.clone().write(&cx(1))),
        Poll::Ready(Err(RpcError::Internal(_)))
    ));
}

#[test]
fn an_idle_object_is_as_small_as_its_docs_say() {
    assert_eq!(size_of::<Object<()>>(), 40);
    assert_eq!(size_of::<Object<[u64; 4]>>(), 40);
    assert_eq!(
        size_of::<Object<[u64; 100]>>(),
        808,
        "of a large value a free object adds 8"
    );
    assert!(size_of::<Read<()>>() <= 40, "{}", size_of::<Read<()>>());
    assert!(size_of::<ReadGuard<()>>() <= 24);
    assert!(size_of::<WriteGuard<()>>() <= 16);
}

#[test]
fn a_thousand_waiters_are_woken_without_recursion_and_in_order() {
    let object = Object::new(Vec::new());
    let guard = get(&mut object.clone().write(&cx(0)));
    let mut waiting: Vec<_> = (0..1000).map(|_| object.clone().write(&cx(0))).collect();
    assert!(waiting.iter_mut().all(waits));
    drop(guard);
    // Every second one gives up, some of them after they were granted.
    for (i, mut waiter) in waiting.into_iter().enumerate() {
        if i % 2 == 0 {
            drop(waiter);
        } else {
            get(&mut waiter).push(i);
        }
    }
    let order = get(&mut object.clone().read(&cx(0)));
    assert!(order.len() == 500 && order.is_sorted());
    drop(order);
    assert_idle(&object);
}

/// A plain model of the gate, against every sequence of steps up to a length: four calls (two chains and none, reads
/// and writes), each of which may be polled, and dropped whether it waits, was granted, or is inside.
#[test]
fn every_short_sequence_of_polls_and_drops_agrees_with_a_plain_model() {
    const CALLS: [(u64, bool); 5] = [(1, false), (1, true), (2, true), (0, false), (2, false)];
    const STEPS: u32 = 6;
    let choices = CALLS.len() * 2;
    let mut seen = 0u64;
    for code in 0..(choices as u64).pow(STEPS) {
        let mut rest = code;
        let steps: Vec<usize> = (0..STEPS)
            .map(|_| {
                let step = rest % choices as u64;
                rest /= choices as u64;
                step as usize
            })
            .collect();
        // A first step that drops a call never polled changes nothing.
        if steps[0] >= CALLS.len() {
            continue;
        }
        seen += 1;
        run_against_model(&CALLS, &steps);
    }
    assert_eq!(seen, 500_000);
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    New,
    Waiting,
    Inside,
    Over,
}

enum Call {
    Reading(Read<()>),
    Writing(Write<()>),
    ReadIn(#[allow(dead_code, reason = "held")] ReadGuard<()>),
    WriteIn(#[allow(dead_code, reason = "held")] WriteGuard<()>),
    Over,
}

/// Steps below `calls.len()` poll that call, the others drop one. In the model a call that may enter is inside at
/// once, whether it was polled or not.
fn run_against_model(calls: &[(u64, bool)], steps: &[usize]) {
    let object = Object::new(());
    let mut real: Vec<Call> = calls
        .iter()
        .map(|&(chain, write)| {
            if write {
                Call::Writing(object.clone().write(&cx(chain)))
            } else {
                Call::Reading(object.clone().read(&cx(chain)))
            }
        })
        .collect();
    let mut model = vec![Phase::New; calls.len()];
    let mut queue: Vec<usize> = Vec::new();
    for &step in steps {
        let i = step % calls.len();
        if step >= calls.len() {
            real[i] = Call::Over;
            model[i] = Phase::Over;
            queue.retain(|q| *q != i);
        } else {
            let (chain, write) = calls[i];
            let mut reentrant = false;
            if model[i] == Phase::New {
                let inside = |f: &dyn Fn((u64, bool)) -> bool| {
                    (0..calls.len()).any(|k| model[k] == Phase::Inside && f(calls[k]))
                };
                let blocked =
                    inside(&|(_, w)| w) || (write && inside(&|_| true)) || !queue.is_empty();
                let own_writes = chain != 0 && inside(&|(c, w)| w && c == chain);
                let own_reads = chain != 0 && inside(&|(c, w)| !w && c == chain);
                if !blocked {
                    model[i] = Phase::Inside;
                } else if own_writes || (own_reads && write) {
                    reentrant = true;
                    model[i] = Phase::Over;
                } else if own_reads {
                    model[i] = Phase::Inside;
                } else {
                    model[i] = Phase::Waiting;
                    queue.push(i);
                }
            }
            let polled = match &mut real[i] {
                Call::Reading(f) => Some(poll(f).map_ok(Call::ReadIn)),
                Call::Writing(f) => Some(poll(f).map_ok(Call::WriteIn)),
                _ => None,
            };
            match polled {
                None => {}
                Some(Poll::Pending) => {
                    assert_eq!(model[i], Phase::Waiting, "call {i} of {steps:?}")
                }
                Some(Poll::Ready(Ok(guard))) => {
                    assert_eq!(model[i], Phase::Inside, "call {i} of {steps:?}");
                    real[i] = guard;
                }
                Some(Poll::Ready(Err(e))) => {
                    assert!(
                        reentrant && e == RpcError::Reentrant,
                        "call {i} of {steps:?}"
                    );
                    real[i] = Call::Over;
                }
            }
        }
        // Whoever may enter now is inside.
        while let Some(&front) = queue.first() {
            let inside = |write: bool| {
                (0..calls.len()).any(|k| model[k] == Phase::Inside && (write || calls[k].1))
            };
            if inside(calls[front].1) {
                break;
            }
            model[front] = Phase::Inside;
            queue.remove(0);
        }
    }
    drop(real);
    assert_idle(&object);
}

/// Tasks on several threads: exclusion and order under real contention, with calls given up at random.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_exclude_each_other_and_nobody_is_forgotten() {
    const TASKS: u64 = 64;
    const ROUNDS: u64 = 300;
    struct Shared {
        readers: AtomicUsize,
        writes: u64,
    }
    let object = Object::new(Shared {
        readers: AtomicUsize::new(0),
        writes: 0,
    });
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (1..=TASKS)
        .map(|t| {
            let (object, done) = (object.clone(), done.clone());
            tokio::spawn(async move {
                let mut seed = t;
                for _ in 0..ROUNDS {
                    seed = seed
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let dice = seed >> 33;
                    let cx = cx(t);
                    if dice % 8 == 0 {
                        // Given up after one poll, granted or not.
                        let mut f = object.clone().write(&cx);
                        let _ = futures::poll!(&mut f);
                    } else if dice % 3 == 0 {
                        let mut guard = object.clone().write(&cx).await.unwrap();
                        assert_eq!(*guard.readers.get_mut(), 0);
                        guard.writes += 1;
                        done.fetch_add(1, Ordering::SeqCst);
                        if dice % 2 == 0 {
                            tokio::task::yield_now().await;
                        }
                    } else {
                        let guard = object.clone().read(&cx).await.unwrap();
                        guard.readers.fetch_add(1, Ordering::SeqCst);
                        if dice % 2 == 0 {
                            tokio::task::yield_now().await;
                            let again = object.clone().read(&cx).await.unwrap();
                            drop(again);
                        }
                        guard.readers.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    let all = futures::future::join_all(tasks);
    for task in tokio::time::timeout(std::time::Duration::from_secs(60), all)
        .await
        .expect("somebody was forgotten")
    {
        task.unwrap();
    }
    let writes = object.clone().read(&cx(0)).await.unwrap().writes;
    assert_eq!(writes, done.load(Ordering::SeqCst) as u64);
    assert_idle(&object);
}

#[test]
fn guards_and_entries_are_send() {
    fn send<T: Send>() {}
    send::<(
        Object<u8>,
        ReadGuard<u8>,
        WriteGuard<u8>,
        Read<u8>,
        Write<u8>,
    )>();
}
