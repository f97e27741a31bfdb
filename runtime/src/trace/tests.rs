//! What is a traceparent and what is none, after https://www.w3.org/TR/trace-context/.

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_traceparent_prints_as_it_was_read() {
    for good in [
        GOOD,
        "00-00000000000000000000000000000001-0000000000000001-00",
        "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-03",
    ] {
        let read: TraceParent = good.parse().expect(good);
        assert_eq!(read.to_string(), good);
        assert_eq!(
            Trace::came(good).map(|trace| trace.text().to_owned()),
            Some(good.to_owned())
        );
    }
}

#[test]
fn flags_without_a_meaning_are_not_handed_on() {
    let read: TraceParent = GOOD
        .replace("-01", "-fd")
        .parse()
        .expect("its flags are hex");
    assert!(read.is_sampled() && read.to_string().ends_with("-01"));
}

#[test]
fn a_later_version_is_read_as_far_as_this_one_goes() {
    for later in [
        GOOD.replacen("00", "01", 1),
        GOOD.replacen("00", "cc", 1) + "-more-of-it",
    ] {
        let read: TraceParent = later.parse().expect("readable");
        assert_eq!(read.to_string(), GOOD);
    }
}

#[test]
fn whatever_is_malformed_is_refused_and_reads_as_none() {
    let bad = [
        String::new(),
        "00".into(),
        "é".repeat(28),
        GOOD.to_uppercase(),
        GOOD.replacen("00", "ff", 1),
        GOOD.replacen("00", "0x", 1),
        format!("{GOOD}-more"),
        format!("{GOOD} "),
        format!("01{}x", &GOOD[2..]),
        GOOD[..54].to_owned(),
        GOOD.replace('-', "_"),
        GOOD.replace("-01", "-+1"),
        GOOD.replace("4736-00f0", "473600-f0"),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01".into(),
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".into(),
        "-".repeat(55),
        "0".repeat(1 << 20),
    ];
    for bad in bad {
        assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        // E3.5: as if it were not there.
        assert!(Trace::came(&bad).is_none(), "{bad}");
    }
    assert!(TraceParent::new(0, 1, true).is_none() && TraceParent::new(1, 0, true).is_none());
}

#[test]
fn a_child_is_of_the_same_trace_and_another_parent() {
    let (a, b) = (TraceParent::random(), TraceParent::random());
    assert!(a.is_sampled() && a != b && a.to_string().parse() == Ok(a));
    let child = a.child();
    assert_eq!(
        (child.trace_id(), child.is_sampled()),
        (a.trace_id(), a.is_sampled())
    );
    assert_ne!(child.parent_id(), a.parent_id());
}
