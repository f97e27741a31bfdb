//! The meter and the bucket, on their own.

use super::*;
use tokio::io::AsyncReadExt;

const RATE: Rate = Rate {
    period: Duration::from_secs(1),
    burst: 20,
};

#[test]
fn a_burst_of_twenty_control_frames_passes_and_one_more_each_second() {
    let start = Instant::now();
    let mut budget = Bucket::default();
    assert_eq!((0..30).filter(|_| budget.take(start, RATE)).count(), 20);
    let later = start + Duration::from_secs(3);
    assert_eq!((0..30).filter(|_| budget.take(later, RATE)).count(), 3);
    let rested = later + Duration::from_secs(3600);
    assert!(budget.is_full(rested));
    assert_eq!((0..30).filter(|_| budget.take(rested, RATE)).count(), 20);
    assert!(!budget.is_full(rested));
}

#[test]
fn a_rate_of_nothing_is_one_and_overflows_nothing() {
    let start = Instant::now();
    let none = Rate::new(0, Duration::from_secs(10), 0);
    assert_eq!(none, Rate::new(1, Duration::from_secs(10), 1));
    let much = Rate::new(u32::MAX, Duration::from_secs(1), u32::MAX);
    let mut bucket = Bucket::default();
    assert!((0..1000).all(|_| bucket.take(start, much)));
}

#[test]
fn one_control_frame_a_second_never_exceeds_the_budget() {
    let start = Instant::now();
    let mut budget = Bucket::default();
    assert!((0..10_000).all(|s| budget.take(start + Duration::from_secs(s), RATE)));
}

#[tokio::test]
async fn a_read_fails_once_the_bound_since_the_last_whole_message_is_passed() {
    let data = vec![7u8; 4096];
    let mut metered = Metered::new(&data[..], 1000);
    let mut buf = [0u8; 400];
    for _ in 0..3 {
        assert_eq!(metered.read(&mut buf).await.unwrap(), 400);
    }
    let end = metered.read(&mut buf).await.unwrap_err();
    assert!(end.get_ref().is_some_and(|e| e.is::<Overrun>()), "{end:?}");
    metered.whole();
    assert_eq!(metered.read(&mut buf).await.unwrap(), 400);
    assert_eq!(
        metered.reading(),
        MeterReading {
            bytes_in: 1600,
            bytes_out: 0
        }
    );
}

#[tokio::test]
async fn a_control_frame_gives_back_its_own_bytes_alone() {
    let data = vec![7u8; 4096];
    let mut metered = Metered::new(&data[..], 100);
    let mut buf = [0u8; 50];
    for _ in 0..40 {
        metered.read_exact(&mut buf[..6]).await.unwrap();
        metered.control(0);
    }
    for _ in 0..3 {
        metered.read_exact(&mut buf).await.unwrap();
        metered.control(0);
    }
    assert!(metered.read(&mut buf).await.is_err());
}
