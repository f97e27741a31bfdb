use std::time::Duration;

use super::*;

async fn limited<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("this hung for 20 s")
}

/// Two servers joined by the room `tea`, in which `f` happens; at its end neither holds anything for anybody.
async fn joined<F: Future<Output = ()>>(f: impl FnOnce(String, String) -> F) {
    let north = bind("ws://127.0.0.1:0", None).await.unwrap();
    let north_url = north.url().to_owned();
    let north_host = north.host();
    let north = tokio::spawn(north.run());
    let south = bind("ws://127.0.0.1:0", Some(("tea", &north_url)))
        .await
        .unwrap();
    let south_url = south.url().to_owned();
    let south_host = south.host();
    let south = tokio::spawn(south.run());
    limited(f(north_url, south_url)).await;
    limited(async {
        // The second server itself is the first one's only client, and holds its lobby and its room.
        while south_host.objects() > 0 || north_host.objects() > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    south.abort();
    north.abort();
}

/// The next line that is not of somebody coming.
async fn said(person: &mut Person) -> Line {
    loop {
        match next(person).await.unwrap() {
            Line::Came(_) => {}
            line => return line,
        }
    }
}

// harness: it is a part of helve-tests, which examples do not depend on; the servers' objects are counted in `joined`
#[tokio::test]
async fn people_at_two_servers_hear_each_other_in_the_same_order() {
    joined(async |north, south| {
        let mut ann = Person::enter(&north, "ann", "tea").await.unwrap();
        let mut ben = Person::enter(&south, "ben", "tea").await.unwrap();
        for i in 0..50 {
            drop(ann.seat.say(&format!("a{i}")));
            drop(ben.seat.say(&format!("b{i}")));
        }
        for i in 0..100 {
            let (a, b) = (said(&mut ann).await, said(&mut ben).await);
            assert_eq!(a, b, "line {i}");
        }
    })
    .await;
}

#[tokio::test]
async fn leaving_is_noticed_across_servers() {
    joined(async |north, south| {
        let mut ann = Person::enter(&north, "ann", "tea").await.unwrap();
        let ben = Person::enter(&south, "ben", "tea").await.unwrap();
        drop(ben);
        assert_eq!(said(&mut ann).await, Line::Left("ben".into()));
        // The name is free again.
        Person::enter(&south, "ben", "tea").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_name_is_checked_and_taken_once() {
    joined(async |north, south| {
        let _ann = Person::enter(&north, "ann", "tea").await.unwrap();
        let error = Person::enter(&south, "ann", "tea").await.err().unwrap();
        assert!(error.to_string().contains("is here already"), "{error}");
        for bad in ["", "a b", "\u{7}", &"x".repeat(33)] {
            let error = Person::enter(&north, bad, "tea").await.err().unwrap();
            assert!(error.to_string().contains("is no name"), "{error}");
        }
    })
    .await;
}
