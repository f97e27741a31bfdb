//! The table of codes, conversions both ways, and what users write with these types.

use super::*;
use std::error::Error;

fn every() -> Vec<RpcError> {
    let s = || "why".to_owned();
    vec![
        RpcError::Gone,
        RpcError::Broken(Box::new(RpcError::Gone)),
        RpcError::Revoked,
        RpcError::Cancelled,
        RpcError::Deadline,
        RpcError::Denied(s()),
        RpcError::Exhausted(s()),
        RpcError::Decode(s()),
        RpcError::Unimplemented(s()),
        RpcError::Unavailable(s()),
        RpcError::Internal(s()),
        RpcError::Reentrant,
        RpcError::Conflict,
        RpcError::NeedSnapshot,
        RpcError::Incompatible("Doc.score: f64 there, str here".into()),
        RpcError::Aliased,
        RpcError::Unauthenticated(s()),
        RpcError::Version(s()),
        RpcError::Busy(s()),
        RpcError::NotSent,
        RpcError::MaybeRan,
        RpcError::SessionLost,
        RpcError::Expired,
        RpcError::Encode(s()),
        RpcError::App(s()),
    ]
}

#[test]
fn retry_and_ran_follow_the_table() {
    let retry: Vec<_> = every()
        .into_iter()
        .filter(RpcError::is_retryable)
        .map(|e| e.code())
        .collect();
    assert_eq!(
        retry,
        [
            Code::Exhausted,
            Code::Unavailable,
            Code::Busy,
            Code::NotSent
        ]
    );
    let maybe: Vec<_> = every()
        .into_iter()
        .filter(|e| e.ran() == Ran::Maybe)
        .map(|e| e.code())
        .collect();
    assert_eq!(
        maybe,
        [
            Code::Cancelled,
            Code::Deadline,
            Code::Internal,
            Code::MaybeRan,
            Code::SessionLost
        ]
    );
    let ran: Vec<_> = every()
        .into_iter()
        .filter(|e| e.ran() == Ran::Yes)
        .map(|e| e.code())
        .collect();
    assert_eq!(ran, [Code::App]);
    assert!(
        every()
            .iter()
            .all(|e| !e.is_retryable() || e.ran() == Ran::No),
        "only what did not run may be retried"
    );
}

#[test]
fn errors_cross_the_wire_and_local_codes_do_not() {
    for error in every() {
        let (code, message) = error.to_wire();
        assert!((code as u16) < 64, "{error:?}");
        let cause = error.wire_cause();
        let back = RpcError::from_wire(
            code,
            &message,
            cause.as_ref().map(|(c, m)| (*c, m.as_str())),
        );
        let expected = match error {
            RpcError::Revoked => RpcError::Broken(Box::new(RpcError::Revoked)),
            RpcError::NotSent => RpcError::Unavailable("upstream session lost".into()),
            RpcError::MaybeRan | RpcError::SessionLost => {
                RpcError::Internal("upstream session lost".into())
            }
            RpcError::Expired => RpcError::Internal("a lent handle was used after its call".into()),
            RpcError::Encode(_) => RpcError::Internal("could not encode the result: why".into()),
            same => same,
        };
        assert_eq!(back, expected);
    }
    for local in [
        Code::NotSent,
        Code::MaybeRan,
        Code::SessionLost,
        Code::Expired,
    ] {
        assert_eq!(
            RpcError::from_wire(local, "x", None),
            RpcError::Internal("x".into())
        );
    }
}

#[test]
fn a_broken_handle_tells_its_cause_and_is_not_wrapped_twice() {
    let broken = RpcError::from_wire(Code::Broken, "broken", Some((Code::Gone, "gone")));
    assert_eq!(broken, RpcError::Broken(Box::new(RpcError::Gone)));
    assert_eq!(broken.clone().broken(), broken);
    assert_eq!(RpcError::Gone.broken(), broken);
    let nested = RpcError::from_wire(Code::Broken, "", Some((Code::Broken, "revoked")));
    assert_eq!(nested, RpcError::Broken(Box::new(RpcError::Revoked)));
}

#[test]
fn messages_are_cut_at_256_bytes_between_characters() {
    let long = "é".repeat(300);
    let (_, message) = RpcError::Denied(format!("x{long}")).to_wire();
    assert_eq!(message.len(), 255);
    let RpcError::Denied(text) = RpcError::from_wire(Code::Denied, &long, None) else {
        panic!()
    };
    assert_eq!(text.len(), 256);
    let mut short = "éé".to_owned();
    cut(&mut short, 0);
    assert_eq!(short, "");
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("out of stock: {sku}")]
struct OutOfStock {
    sku: String,
    #[source]
    source: Option<std::fmt::Error>,
}

#[test]
fn question_mark_works_in_functions_of_either_error() {
    fn fault() -> Result<(), RpcError> {
        Err(RpcError::Gone)
    }
    fn app() -> Result<(), CallError<OutOfStock>> {
        fault()?;
        Ok(())
    }
    fn dropped() -> Result<(), RpcError> {
        Err(CallError::App(OutOfStock {
            sku: "tea".into(),
            source: None,
        }))?;
        Ok(())
    }
    assert_eq!(app(), Err(CallError::RpcError(RpcError::Gone)));
    assert_eq!(dropped(), Err(RpcError::App("out of stock: tea".into())));
    let boxed: Box<dyn Error + Send + Sync> = app().unwrap_err().into();
    assert!(boxed.downcast_ref::<CallError<OutOfStock>>().is_some());
}

#[test]
fn a_call_error_shows_the_error_inside() {
    let error = CallError::App(OutOfStock {
        sku: "tea".into(),
        source: Some(std::fmt::Error),
    });
    assert_eq!(error.to_string(), "out of stock: tea");
    assert!(error.source().is_some());
    assert!(!error.is_retryable());
    assert!(CallError::<OutOfStock>::RpcError(RpcError::NotSent).is_retryable());
    assert!(error.app().is_ok());
}

#[test]
fn an_application_error_crosses_as_message_and_data() {
    type Failure = CallError<crate::error::tests::Text>;
    let split = Failure::App(Text("full".into())).split().unwrap();
    assert_eq!(split.message, "full");
    assert_eq!(
        Failure::join(&split.data),
        Failure::App(Text("full".into()))
    );
    assert!(matches!(
        Failure::join(b"\xc3"),
        CallError::RpcError(RpcError::Decode(_))
    ));
    assert_eq!(Failure::from(RpcError::Gone).split(), Err(RpcError::Gone));
    assert!(matches!(
        <RpcError as CallFailure>::join(b""),
        RpcError::Decode(_)
    ));
}

/// The smallest error that is `Wire`.
#[derive(Debug, Clone, PartialEq, helve::Wire, thiserror::Error)]
#[error("{0}")]
struct Text(String);
