//! The handshake: what is stated arrives, what is secret is not printed, what is cut is cut.

use helve_protocol::Limits;
use helve_protocol::hello::{Auth, HANDSHAKE_MAX, Hello, Refuse, Reply, Resume, Token, Welcome};

fn hello() -> Hello {
    Hello {
        agent: "files/1.0".to_owned(),
        auth: Some(Auth::Text("hunter2".to_owned())),
        features: vec!["a".to_owned(), "b".to_owned()],
        limits: Limits::default().with_calls(256).with_batch(1 << 20),
        resume: Some(Resume {
            session: [7; 16],
            token: Token([0x5a; 32]),
            epoch: 3,
            received: 8,
            oldest: 2,
        }),
        ..Hello::default()
    }
}

// S1.2 S1.4
#[test]
fn all_three_messages_read_back_as_they_were_stated() {
    assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    assert_eq!(
        Hello::decode(&Hello::default().encode()),
        Ok(Hello::default())
    );
    let mut welcome = Welcome::fresh([1; 16], Token([2; 32]));
    welcome.root = Some("demo.Shop".to_owned());
    welcome.limits = Limits::default().with_frame(1 << 30);
    welcome.features = vec!["a".to_owned()];
    assert_eq!(
        Reply::decode(&welcome.encode()),
        Ok(Reply::Welcome(welcome))
    );
    for retry_after in [None, Some(5_000)] {
        let refuse = Refuse {
            code: 22,
            message: "busy".to_owned(),
            retry_after,
        };
        assert_eq!(Reply::decode(&refuse.encode()), Ok(Reply::Refuse(refuse)));
    }
}

// S1.7
#[test]
fn a_fresh_welcome_states_the_numbers_of_a_fresh_session() {
    let welcome = Welcome::fresh([1; 16], Token([2; 32]));
    assert_eq!(
        (
            welcome.resumed,
            welcome.epoch,
            welcome.received,
            welcome.oldest
        ),
        (false, 1, 0, 1)
    );
}

// S11.2
#[test]
fn neither_auth_nor_tokens_are_printed() {
    let mut hello = hello();
    let welcome = Welcome::fresh([1; 16], Token([0x5a; 32]));
    let text = format!(
        "{hello:?} {hello:#?} {welcome:?} {:?}",
        Reply::Welcome(welcome.clone())
    );
    hello.auth = Some(Auth::Bytes(b"hunter2".to_vec()));
    let text = format!("{text} {hello:?}");
    assert!(
        !text.contains("hunter2") && !text.contains("104, 117") && !text.contains("90, 90"),
        "{text}"
    );
    assert!(text.contains("hidden"));
}

// S1.3
#[test]
fn long_texts_are_cut_between_two_characters_by_the_writer() {
    let long = Hello {
        agent: "é".repeat(50),
        ..Hello::default()
    };
    assert_eq!(
        Hello::decode(&long.encode()).expect("legal").agent,
        "é".repeat(32)
    );
    let refuse = Refuse {
        code: 22,
        message: "x".repeat(400),
        retry_after: None,
    };
    let Ok(Reply::Refuse(refuse)) = Reply::decode(&refuse.encode()) else {
        panic!("legal")
    };
    assert_eq!(refuse.message.len(), 256);
    assert!(Hello::decode(&vec![0xc0; HANDSHAKE_MAX + 1]).is_err_and(|v| v.rule == "S1.3"));
}

// S1.5
#[test]
fn of_another_version_only_the_version_is_read() {
    let other = Hello {
        version: 2,
        ..hello()
    };
    assert_eq!(
        Hello::decode(&other.encode()),
        Ok(Hello {
            version: 2,
            ..Hello::default()
        })
    );
}

// S1.9
#[test]
fn limits_below_their_minimum_count_as_the_minimum() {
    let limits = Limits::default().with_batch(0);
    assert_eq!(limits.batch, 131_072);
    assert_eq!(Limits::default().with_frame(0).frame, 65_536);
    assert_eq!(Limits::default().with_bytes(0).bytes, 16 << 20);
    assert_eq!(Limits::default().with_frame(1 << 30).bytes, 1 << 30);
    let mut raw = Limits::default();
    (raw.batch, raw.frame, raw.bytes) = (1, 1, 1);
    let stated = Hello {
        limits: raw,
        ..Hello::default()
    };
    assert_eq!(
        Hello::decode(&stated.encode()).expect("legal").limits,
        raw.normalized()
    );
}

// R13.4
#[test]
fn each_depth_has_its_grant() {
    let limits = Limits::default();
    assert_eq!((limits.calls_at(0), limits.bytes_at(0)), (1_280, 32 << 20));
    assert_eq!((limits.calls_at(1), limits.bytes_at(1)), (64, 4 << 20));
    assert_eq!((limits.calls_at(15), limits.bytes_at(15)), (64, 4 << 20));
}

// S1.9
#[test]
fn every_limit_has_its_default_and_its_setter() {
    let limits = Limits::default()
        .with_calls(1)
        .with_nested(2)
        .with_frame(1 << 24)
        .with_bytes(1 << 25)
        .with_batch(1 << 18)
        .with_table(3)
        .with_streams(4)
        .with_subs(5)
        .with_transfers(6);
    assert_eq!((limits.calls, limits.nested, limits.table), (1, 2, 3));
    assert_eq!((limits.streams, limits.subs, limits.transfers), (4, 5, 6));
    let stated = Hello {
        limits,
        ..Hello::default()
    };
    assert_eq!(
        Hello::decode(&stated.encode()).expect("legal").limits,
        limits
    );
    let usual = Limits::default();
    assert_eq!(
        (usual.calls, usual.nested, usual.bytes, usual.frame),
        (1_280, 64, 32 << 20, 16 << 20)
    );
    assert_eq!(
        (
            usual.batch,
            usual.table,
            usual.streams,
            usual.subs,
            usual.transfers
        ),
        (262_144, 16_384, 256, 1_024, 64)
    );
}
