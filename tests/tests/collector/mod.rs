//! [`Collector`]: a subscriber of `tracing` that keeps what it is told by one thread.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber};

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
    pub(super) fn install(&self) -> subscriber::DefaultGuard {
        subscriber::set_default(self.clone())
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

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.up_to
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.up_to.into())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = HashMap::new();
        span.record(&mut Fields(&mut fields));
        let mut log = self.log();
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
        values.record(&mut Fields(&mut self.log().span(span).fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let mut log = self.log();
        let method = log.method();
        log.events.push((format!("{fields:?}"), method));
    }

    fn enter(&self, span: &Id) {
        self.log().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.log().entered.pop();
        assert_eq!(left, Some(span.into_u64()), "spans are left in order");
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.log().span(span).holders += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut log = self.log();
        let seen = log.span(&span);
        seen.holders -= 1;
        seen.closed = seen.holders == 0;
        seen.closed
    }
}
