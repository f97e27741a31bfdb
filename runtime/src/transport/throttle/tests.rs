//! The door, on its own: threats rows 3 and 18 with addresses that no test could connect from.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An address of its own for each `n`.
fn v4(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

fn v6(prefix: u32, host: u32) -> IpAddr {
    ip(&format!(
        "2001:db8:{:x}:{:x}::{host:x}",
        prefix >> 16,
        prefix & 0xffff
    ))
}

#[test]
fn row_03_1024_handshakes_in_all_and_32_of_a_prefix() {
    let (door, now) = (Door::new(Throttle::default()), Instant::now());
    let mut pending: Vec<Pending> = (0..32).map(|_| door.admit(v4(0), now).unwrap()).collect();
    assert_eq!(door.admit(v4(0), now).err(), Some(Turned::PrefixFull));
    // The newest is dropped, whoever is under way goes on, and another prefix does not notice.
    pending.extend((1..).take(992).map(|n| door.admit(v4(n), now).unwrap()));
    assert_eq!(door.admit(v4(2000), now).err(), Some(Turned::Full));
    assert_eq!(door.admit(ip("::1"), now).err(), Some(Turned::Full));
    pending.pop();
    let one = door.admit(v4(2000), now).unwrap();
    assert_eq!(door.admit(v4(2001), now).err(), Some(Turned::Full));
    drop((one, pending));
    let counts = door.lock();
    assert_eq!(counts.pending, 0);
    assert!(counts.prefixes.values().all(|count| count.pending == 0));
}

#[test]
fn row_03_an_ipv6_client_is_counted_by_its_first_64_bits_and_a_mapped_ipv4_one_as_itself() {
    let (door, now) = (Door::new(Throttle::default()), Instant::now());
    let pending: Vec<Pending> = (0..32)
        .map(|n| door.admit(v6(7, n), now).unwrap())
        .collect();
    assert_eq!(door.admit(v6(7, 99), now).err(), Some(Turned::PrefixFull));
    let other = door.admit(v6(8, 99), now).unwrap();
    let mapped: Vec<Pending> = (0..32)
        .map(|n| {
            let from = if n % 2 == 0 {
                "192.0.2.1"
            } else {
                "::ffff:192.0.2.1"
            };
            door.admit(ip(from), now).unwrap()
        })
        .collect();
    let end = door.admit(ip("192.0.2.1"), now).err();
    assert_eq!(end, Some(Turned::PrefixFull));
    drop((pending, other, mapped));
}

#[test]
fn row_18_a_prefix_connects_40_times_at_once_and_then_20_times_a_second() {
    let (door, start) = (Door::new(Throttle::default()), Instant::now());
    let tries = |from: IpAddr, at: Instant| {
        let admitted = (0..100).filter(|_| door.admit(from, at).is_ok()).count();
        assert_eq!(door.admit(from, at).err(), Some(Turned::TooOften));
        admitted
    };
    assert_eq!(tries(v4(1), start), 40);
    assert_eq!(tries(v4(2), start), 40);
    assert_eq!(tries(v6(1, 1), start), 40);
    assert_eq!(tries(v4(1), start + Duration::from_secs(1)), 20);
    assert_eq!(tries(v4(1), start + Duration::from_secs(60)), 40);
}

#[test]
fn loopback_is_counted_by_prefix_only_where_that_is_said() {
    let now = Instant::now();
    for from in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        let door = Door::new(Throttle::default());
        assert!(
            (0..500).all(|_| door.admit(ip(from), now).is_ok()),
            "{from}"
        );
        let door = Door::new(Throttle::default().with_loopback(true));
        assert_eq!(
            (0..500)
                .filter(|_| door.admit(ip(from), now).is_ok())
                .count(),
            40
        );
    }
}

#[test]
fn row_18_the_memory_of_who_connected_is_bounded_and_forgets_who_rests() {
    let (door, start) = (Door::new(Throttle::default()), Instant::now());
    let admitted = (0..100_000)
        .filter(|n| door.admit(v6(*n, 1), start).is_ok())
        .count();
    // Those beyond the table share one count.
    assert_eq!(admitted, PREFIXES + 40);
    assert_eq!(door.lock().prefixes.len(), PREFIXES + 1);
    assert!(
        door.admit(v6(5, 1), start).is_ok(),
        "who is in the table is"
    );
    let later = start + Duration::from_secs(10);
    assert!(door.admit(v6(200_000, 1), later).is_ok());
    assert_eq!(door.lock().prefixes.len(), 1);
}

#[test]
fn a_throttle_of_nothing_lets_one_in_at_a_time() {
    let none = Throttle::default()
        .with_pending(0)
        .with_pending_per_prefix(0)
        .with_connects(0, 0)
        .with_loopback(true);
    let (door, now) = (Door::new(none), Instant::now());
    let first = door.admit(ip("::1"), now).unwrap();
    assert_eq!(door.admit(ip("::1"), now).err(), Some(Turned::Full));
    drop(first);
    assert_eq!(door.admit(ip("::1"), now).err(), Some(Turned::TooOften));
    assert!(door.admit(ip("::1"), now + Duration::from_secs(1)).is_ok());
}
