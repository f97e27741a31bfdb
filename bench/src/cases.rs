//! What is measured: the workloads by their numbers, each with its cases. Used by the driver and by its children.

use std::time::Duration;

use crate::deltas::{Change, Edit, Fanout, Rows};

/// What the client does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    /// `add(2, 3)`, this many in flight at any time.
    Calls { in_flight: usize },
    /// Chains of eight calls, each on the result of the one before.
    Chains,
    /// One-way calls; the work ends when the server has handled the last.
    Oneway,
    /// Arguments of [`BULK`] bytes, one after the other, and beside them small calls one at a time, whose times are noted.
    Bulk,
    /// Nothing: connections are opened, make one call and stay.
    Idle,
    /// Something in memory on the change of a value. No connection.
    Delta(Change),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) work: Work,
    /// Delay of the link, each way.
    pub(crate) delay: Option<Duration>,
    /// Whether rates are measured with a thread for each end. CPU and counts always come from one thread with both.
    pub(crate) threads: bool,
    /// Two numbers of calls for the counting tools: the difference is free of start-up. None: counts say nothing here.
    pub(crate) counted: Option<(u64, u64)>,
}

/// Bytes of one large argument.
pub(crate) const BULK: usize = 64 << 20;

const DELAY: Duration = Duration::from_millis(5);

const fn case(workload: &'static str, name: &'static str, about: &'static str, work: Work) -> Case {
    Case {
        workload,
        name,
        about,
        work,
        delay: None,
        threads: false,
        counted: None,
    }
}

/// All of them, in the order of the report.
pub(crate) const CASES: &[Case] = &[
    Case {
        counted: Some((500, 3_500)),
        ..case(
            "W1",
            "1",
            "one call at a time, both ends on one core",
            Work::Calls { in_flight: 1 },
        )
    },
    Case {
        threads: true,
        counted: Some((6_400, 32_000)),
        ..case(
            "W2",
            "64",
            "64 calls in flight on one connection",
            Work::Calls { in_flight: 64 },
        )
    },
    Case {
        threads: true,
        counted: Some((20_480, 102_400)),
        ..case(
            "W2",
            "1024",
            "1,024 calls in flight on one connection",
            Work::Calls { in_flight: 1024 },
        )
    },
    case("W4", "0ms", "a chain of 8 dependent calls", Work::Chains),
    Case {
        delay: Some(DELAY),
        ..case(
            "W4",
            "5ms",
            "the same over a link of 5 ms each way",
            Work::Chains,
        )
    },
    Case {
        threads: true,
        ..case(
            "W5",
            "64MiB",
            "small calls while arguments of 64 MiB are under way",
            Work::Bulk,
        )
    },
    case(
        "W7",
        "idle",
        "memory of an idle pair of connections",
        Work::Idle,
    ),
    Case {
        threads: true,
        counted: Some((20_000, 120_000)),
        ..case(
            "W9",
            "oneway",
            "one-way calls, until the last is handled",
            Work::Oneway,
        )
    },
    case(
        "D1",
        "score",
        "one number of one cell of 770 kB",
        Work::Delta(Change::Edit(Edit::Score)),
    ),
    case(
        "D1",
        "push",
        "an event behind 10,000",
        Work::Delta(Change::Edit(Edit::Push)),
    ),
    case(
        "D1",
        "insert",
        "seven letters into a text of 10 kB",
        Work::Delta(Change::Edit(Edit::Insert)),
    ),
    case(
        "D1",
        "insert-string",
        "the same, where it is a String",
        Work::Delta(Change::Edit(Edit::InsertString)),
    ),
    case(
        "D1",
        "remove",
        "the middle one of 10,000 events",
        Work::Delta(Change::Edit(Edit::Remove)),
    ),
    case(
        "D1",
        "swap",
        "two of 10,000 events",
        Work::Delta(Change::Edit(Edit::Swap)),
    ),
    case(
        "D2",
        "map",
        "a replica 1,000 edits behind, of 60 entries of a map",
        Work::Delta(Change::Far(Rows::Map)),
    ),
    case(
        "D2",
        "list",
        "the same, of 60 items of a list",
        Work::Delta(Change::Far(Rows::List)),
    ),
    case(
        "D3",
        "cursors",
        "one commit, 10,000 places in the history of 770 kB",
        Work::Delta(Change::Fanout(Fanout::Cursors(10_000))),
    ),
    case(
        "D3",
        "here",
        "one commit, 10,000 replicas in the process of the host",
        Work::Delta(Change::Fanout(Fanout::Here(10_000))),
    ),
    case(
        "D3",
        "links",
        "one commit, 100 replicas behind a connection in memory each",
        Work::Delta(Change::Fanout(Fanout::Links(100))),
    ),
];

/// The case with these names, if there is one.
pub(crate) fn find(workload: &str, name: &str) -> Option<&'static Case> {
    CASES
        .iter()
        .find(|case| case.workload == workload && case.name == name)
}
