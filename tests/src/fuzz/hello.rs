//! HELLO, WELCOME and REFUSE: what is read is written back to the same meaning, within its bounds.

use helve_protocol::hello::{AGENT_MAX, AUTH_MAX, HANDSHAKE_MAX, Hello, Reply, VERSION};
use helve_protocol::limits::MESSAGE_MAX;

/// S1.2 to S1.5, S1.9.
pub(super) fn body(data: &[u8]) {
    let hello = super::frugal(data.len(), 1 << 10, 16, || Hello::decode(data));
    if let Ok(hello) = &hello {
        assert!(data.len() <= HANDSHAKE_MAX);
        assert!(hello.agent.len() <= AGENT_MAX);
        let auth = hello.auth.as_ref().map_or(0, |auth| auth.as_bytes().len());
        assert!(auth <= AUTH_MAX);
        assert_eq!(hello.limits, hello.limits.normalized());
        // Of another version nothing is read, so nothing else is there to write.
        if hello.version == VERSION {
            assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(hello));
        }
    }
    let reply = super::frugal(data.len(), 1 << 10, 16, || Reply::decode(data));
    let written = match &reply {
        Ok(Reply::Welcome(welcome)) => welcome.encode(),
        Ok(Reply::Refuse(refuse)) => {
            assert!(refuse.message.len() <= MESSAGE_MAX);
            refuse.encode()
        }
        Err(violation) => {
            assert!(violation.reason().len() <= helve_protocol::Violation::REASON_MAX);
            return;
        }
    };
    assert!(hello.is_err(), "nothing is both a question and an answer");
    assert_eq!(Reply::decode(&written), reply);
}
