//! [`Collector`]: keeps what `tracing` is told by one thread, or by all.
//!
//! Whether anybody wants a span is cached by `tracing`, for the whole process: subscribers that come and go with the
//! tests of one program would change it for each other. So a single one is there from the first test on, for good, and
//! hands everything to the collector of the thread that says it. A test runs on one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{self, Interest};
use tracing::{Event, Level, Metadata, Subscriber};

/// Whom threads tell that have none of their own.
static EVERYWHERE: OnceLock<Collector> = OnceLock::new();

thread_local! {
    /// Whom this thread tells.
    static HERE: RefCell<Option<Collector>> = const { RefCell::new(None) };
}

/// A span that was opened.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) target: String,
    fields: HashMap<String, String>,
    /// The `method` of the span above it.
    pub(super) parent: Option<String>,
    pub(super) closed: bool,
    holders: usize,
}

impl Seen {
    /// As text; empty where it was not recorded.
    pub(super) fn field(&self, name: &str) -> String {
        self.fields.get(name).cloned().unwrap_or_default()
    }
}

#[derive(Default)]
struct Log {
    spans: Vec<Seen>,
    /// What was said, and the `method` of the span it was said in.
    events: Vec<(String, Option<String>)>,
    entered: Vec<u64>,
}

impl Log {
    fn span(&mut self, id: &Id) -> &mut Seen {
        &mut self.spans[id.into_u64() as usize - 1]
    }

    fn method(&self) -> Option<String> {
        let id = self.entered.last()?;
        Some(self.spans[*id as usize - 1].field("method"))
    }
}

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Collector {
    log: Arc<Mutex<Log>>,
    up_to: Level,
}

impl Default for Collector {
    fn default() -> Self {
        Collector::up_to(Level::DEBUG)
    }
}

impl Collector {
    pub(super) fn up_to(level: Level) -> Collector {
        Collector {
            log: Arc::default(),
            up_to: level,
        }
    }

    /// Listens to this thread until the guard is dropped.
    pub(super) fn install(&self) -> Installed {
        set_up();
        HERE.set(Some(self.clone()));
        Installed(PhantomData)
    }

    /// Listens to all threads that have no collector of their own, for good. Once in a program.
    pub(super) fn install_everywhere(&self) {
        assert!(EVERYWHERE.set(self.clone()).is_ok(), "there is one");
        set_up();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans of a target, in the order of opening.
    pub(super) fn of(&self, target: &str) -> Vec<Seen> {
        let log = self.log();
        let spans = log.spans.iter().filter(|span| span.target == target);
        spans.cloned().collect()
    }

    /// What was said, and the `method` of the span it was said in.
    pub(super) fn events(&self) -> Vec<(String, Option<String>)> {
        self.log().events.clone()
    }

    /// The `method` of the span that is entered.
    pub(super) fn current(&self) -> Option<String> {
        self.log().method()
    }

    /// Everything.
    pub(super) fn text(&self) -> String {
        let log = self.log();
        format!("{:?} {:?}", log.spans, log.events)
    }
}

/// Installs the subscriber of the process, once. A test without a collector calls it too: else it would find the process
/// with one or without, as the order of the tests will have it.
pub(super) fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        subscriber::set_global_default(Router).expect("no other test of this program sets one");
    });
}

/// While it lives, this thread tells a collector. It stays on its thread.
pub(super) struct Installed(PhantomData<*const ()>);

impl Drop for Installed {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Whom this thread tells. A span that outlives its collector has nobody to tell.
fn here() -> Option<Collector> {
    let own = HERE.try_with(|here| here.borrow().clone()).ok().flatten();
    own.or_else(|| EVERYWHERE.get().cloned())
}

struct Fields<'a>(&'a mut HashMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").expect("a string takes all");
        self.0.insert(field.name().to_owned(), text);
    }
}

/// The subscriber of the whole process: it wants what the collector of the thread wants that asks.
struct Router;

impl Subscriber for Router {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked again each time, as the answer depends on the thread.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        here().is_some_and(|collector| *metadata.level() <= collector.up_to)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let collector = here().expect("asked before whether it wants this");
        let mut fields = HashMap::new();
        span.record(&mut Fields(&mut fields));
        let mut log = collector.log();
        let parent = log.method();
        log.spans.push(Seen {
            target: span.metadata().target().to_owned(),
            fields,
            parent,
            closed: false,
            holders: 1,
        });
        Id::from_u64(log.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(collector) = here() {
            values.record(&mut Fields(&mut collector.log().span(span).fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(collector) = here() else {
            return;
        };
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let mut log = collector.log();
        let method = log.method();
        log.events.push((format!("{fields:?}"), method));
    }

    fn enter(&self, span: &Id) {
        if let Some(collector) = here() {
            collector.log().entered.push(span.into_u64());
        }
    }

    fn exit(&self, span: &Id) {
        if let Some(collector) = here() {
            let left = collector.log().entered.pop();
            assert_eq!(left, Some(span.into_u64()), "spans are left in order");
        }
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(collector) = here() {
            collector.log().span(span).holders += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let Some(collector) = here() else {
            return false;
        };
        let mut log = collector.log();
        let seen = log.span(&span);
        seen.holders -= 1;
        seen.closed = seen.holders == 0;
        seen.closed
    }
}
