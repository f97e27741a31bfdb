//! What a subscriber of `tracing` sees of calls, and the trace context that they carry. docs/observing.md promises it.

#[allow(dead_code, reason = "each test program uses its part of it")]
mod collector;

use std::time::Duration;

use collector::{Collector, Seen};
use helve::TraceParent;
use helve::prelude::*;
use helve_tests::harness::{Harness, Setup, Tracker, limited, until};

const CAME: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Wire, Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused")]
struct Refused;

#[interface(id = "test.Traced")]
trait Traced {
    /// The trace of this call.
    async fn trace(&self, cx: &Cx) -> Option<String>;
    /// The trace of a call made from here, after the task has been away.
    async fn trace_there(&self, other: &TracedHandle) -> Result<Option<String>, Refused>;
    /// The same, from a task spawned here with the context handed on, or not.
    async fn trace_spawned(&self, handed: bool, cx: &Cx) -> Option<String>;
    /// Says something into the log, away, and something again.
    async fn speak(&self);
    async fn refuse(&self) -> Result<u32, Refused>;
    async fn panic(&self);
    async fn hang(&self);
    async fn other(&self) -> TracedHandle;
    #[oneway]
    async fn note(&self);
}

struct Here;

fn text(trace: Option<TraceParent>) -> Option<String> {
    trace.map(|trace| trace.to_string())
}

impl Traced for Here {
    async fn trace(&self, cx: &Cx) -> Option<String> {
        assert_eq!(cx.traceparent(), Cx::current().traceparent());
        text(cx.traceparent())
    }
    async fn trace_there(&self, other: &TracedHandle) -> Result<Option<String>, Refused> {
        tokio::task::yield_now().await;
        other.trace().await.map_err(|_| Refused)
    }
    async fn trace_spawned(&self, handed: bool, cx: &Cx) -> Option<String> {
        let inside = async { text(Cx::current().traceparent()) };
        let task = if handed {
            tokio::spawn(cx.clone().scope(inside))
        } else {
            tokio::spawn(inside)
        };
        task.await.expect("it ran")
    }
    async fn speak(&self) {
        tracing::info!("at first");
        tokio::task::yield_now().await;
        tracing::info!("later");
    }
    async fn refuse(&self) -> Result<u32, Refused> {
        Err(Refused)
    }
    async fn panic(&self) {
        panic!("on purpose");
    }
    async fn hang(&self) {
        std::future::pending().await
    }
    async fn other(&self) -> TracedHandle {
        TracedHandle::new(Here)
    }
    async fn note(&self) {}
}

async fn serving() -> (Harness, TracedHandle) {
    collector::set_up();
    let harness = Harness::memory(&Tracker::new(), TracedHandle::new(Here));
    let root = harness.connect().await;
    (harness, root)
}

fn parent() -> TraceParent {
    CAME.parse().expect("it is one")
}

#[tokio::test]
async fn a_trace_reaches_the_handler_and_the_calls_it_makes() {
    let (harness, root) = serving().await;
    let mine = TracedHandle::new(Here);
    limited(async {
        assert_eq!(root.trace().await, Ok(None));
        // Nobody opened a span, so the parent is still the caller's.
        let here = Some(CAME.to_owned());
        assert_eq!(root.trace().traceparent(parent()).await, Ok(here.clone()));
        let there = root.trace_there(&mine).traceparent(parent()).await;
        assert_eq!(there, Ok(here.clone()));
        assert_eq!(root.trace_there(&mine).await, Ok(None));
        // Local calls do as remote ones.
        assert_eq!(mine.trace().traceparent(parent()).await, Ok(here.clone()));
        let there = mine.trace_there(&root).traceparent(parent()).await;
        assert_eq!(there, Ok(here));
    })
    .await;
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn a_context_with_a_trace_is_that_of_all_calls_in_its_scope() {
    let (harness, root) = serving().await;
    let cx = Cx::background().with_traceparent(parent());
    assert_eq!(cx.traceparent(), Some(parent()));
    limited(async {
        let (here, apart) = cx
            .scope(async {
                tokio::task::yield_now().await;
                let own = TraceParent::new(1, 2, false).expect("not zero");
                (root.trace().await, root.trace().traceparent(own).await)
            })
            .await;
        assert_eq!(here, Ok(Some(CAME.to_owned())));
        let own = "00-00000000000000000000000000000001-0000000000000002-00";
        assert_eq!(apart, Ok(Some(own.to_owned())));
        assert!(Cx::try_current().is_none());
        let handed = root.trace_spawned(true).traceparent(parent()).await;
        assert_eq!(handed, Ok(Some(CAME.to_owned())));
        let afresh = root.trace_spawned(false).traceparent(parent()).await;
        assert_eq!(afresh, Ok(None));
    })
    .await;
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn a_call_has_a_span_at_each_end_with_peer_method_and_outcome() {
    let collector = Collector::default();
    let _here = collector.install();
    let setup = Setup::new(&Tracker::new(), |_| TracedHandle::new(Here));
    let named = |token: helve::Token| async move {
        token.as_str()?;
        Ok(helve::Principal::new("anna"))
    };
    let harness = setup
        .with(|rooted| rooted.authenticate(named))
        .memory(Duration::ZERO);
    let root: TracedHandle = harness
        .connect_with(|connect| connect.token("a-secret-token"))
        .await
        .expect("welcomed");
    limited(async {
        root.trace().await.expect("it answers");
        root.refuse().await.expect_err("refused");
        root.panic().await.expect_err("panics");
        root.hang()
            .deadline(Duration::from_millis(5))
            .await
            .expect_err("late");
        let mut hanging = root.hang();
        assert!(futures::poll!(&mut hanging).is_pending());
        drop(hanging);
        let other = root.other().pipelined();
        other.trace().await.expect("it answers");
        root.note().handled().await.expect("it ran");
    })
    .await;
    drop(root);
    harness.finish().await;
    let pairs = |target: &str| -> Vec<(String, String)> {
        let spans = collector.of(target);
        let pair = |span: &Seen| (span.field("method"), span.field("outcome"));
        spans.iter().map(pair).collect()
    };
    let expected = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|&(a, b)| (a.into(), b.into())).collect()
    };
    assert_eq!(
        pairs("helve::call"),
        expected(&[
            ("test.Traced/trace", "ok"),
            ("test.Traced/refuse", "app_error"),
            ("test.Traced/panic", "INTERNAL"),
            ("test.Traced/hang", "DEADLINE"),
            ("test.Traced/hang", "CANCELLED"),
            ("test.Traced/other", "sent"),
            ("test.Traced/trace", "ok"),
            ("test.Traced/note", "sent"),
            ("helve.Object/flush", "ok"),
        ])
    );
    let served = pairs("helve::serve");
    for (method, outcome) in [
        ("test.Traced/trace", "ok"),
        ("test.Traced/refuse", "app_error"),
        ("test.Traced/panic", "INTERNAL"),
        ("test.Traced/hang", "CANCELLED"),
        ("test.Traced/other", "ok"),
        ("test.Traced/note", "ok"),
    ] {
        let seen = (method.to_owned(), outcome.to_owned());
        assert!(served.contains(&seen), "{seen:?} is not in {served:?}");
    }
    for span in collector.of("helve::serve") {
        assert_eq!(span.field("peer"), "anna");
        assert!(span.closed, "{span:?} is still open");
    }
    assert!(collector.of("helve::call").iter().all(|span| span.closed));
    let all = collector.text();
    assert!(!all.contains("a-secret-token"), "{all}");
}

#[tokio::test]
async fn a_handler_runs_inside_its_span_at_every_poll() {
    let collector = Collector::default();
    let _here = collector.install();
    let (harness, root) = serving().await;
    let mine = TracedHandle::new(Here);
    limited(root.speak()).await.expect("it ran");
    limited(root.trace_there(&mine)).await.expect("it ran");
    let said = collector.events();
    for what in ["at first", "later"] {
        let inside = said.iter().find(|(text, _)| text.contains(what));
        let (_, span) = inside.expect("it was said");
        assert_eq!(span.as_deref(), Some("test.Traced/speak"), "{what}");
    }
    // The call that the handler makes is below the span of the handler.
    let calls = collector.of("helve::call");
    let inner = calls.iter().filter(|call| call.parent.is_some());
    let parents: Vec<_> = inner
        .map(|call| (call.field("method"), call.parent.clone()))
        .collect();
    let above = Some("test.Traced/trace_there".to_owned());
    assert_eq!(parents, [("test.Traced/trace".to_owned(), above)]);
    until("nothing entered", || collector.current().is_none()).await;
    drop((root, mine));
    harness.finish().await;
}

#[tokio::test]
async fn a_span_is_the_parent_of_what_its_trace_carries_on() {
    let collector = Collector::default();
    let _here = collector.install();
    let (harness, root) = serving().await;
    let seen = limited(root.trace().traceparent(parent())).await;
    let seen: TraceParent = seen
        .expect("it ran")
        .expect("a trace")
        .parse()
        .expect("one");
    assert_eq!(seen.trace_id(), parent().trace_id());
    let (call, serve) = (collector.of("helve::call"), collector.of("helve::serve"));
    let trace = format!("{:032x}", parent().trace_id());
    assert_eq!(
        (call[0].field("trace_id"), serve[0].field("trace_id")),
        (trace.clone(), trace)
    );
    assert_eq!(
        serve[0].field("span_id"),
        format!("{:016x}", seen.parent_id())
    );
    let ids = [call[0].field("span_id"), serve[0].field("span_id")];
    assert!(ids[0] != ids[1] && !ids.contains(&format!("{:016x}", parent().parent_id())));
    // A call without a trace gets none from being looked at.
    assert_eq!(limited(root.trace()).await, Ok(None));
    assert_eq!(collector.of("helve::serve")[1].field("trace_id"), "");
    drop(root);
    harness.finish().await;
}

#[tokio::test]
async fn who_looks_at_less_than_debug_sees_no_spans() {
    let collector = Collector::up_to(tracing::Level::INFO);
    let _here = collector.install();
    let (harness, root) = serving().await;
    limited(root.speak()).await.expect("it ran");
    assert!(collector.of("helve::call").is_empty() && collector.of("helve::serve").is_empty());
    assert!(
        collector
            .events()
            .iter()
            .any(|(text, _)| text.contains("later"))
    );
    drop(root);
    harness.finish().await;
}
