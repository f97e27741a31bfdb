//! How a call failed, as the session knows it: code, text, data.

use crate::Code;
use crate::blob::Blob;

/// The content of an ERR, or a local outcome that was never sent (codes from 64 on).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Why.
    pub code: Code,
    /// At most 256 bytes on the wire.
    pub message: Box<str>,
    /// One encoded value: the method's own error for APP, `[code, message]` of the cause for BROKEN. May be empty.
    pub data: Blob,
}

impl Fault {
    /// A fault without data.
    pub fn new(code: Code, message: &str) -> Fault {
        Fault {
            code,
            message: message.into(),
            data: Blob::EMPTY,
        }
    }

    /// The method's own error (code APP), encoded.
    pub fn app(message: &str, data: Vec<u8>) -> Fault {
        Fault {
            code: Code::App,
            message: message.into(),
            data: data.into(),
        }
    }

    /// What a call on a broken reference gets: BROKEN with the cause in `data`. A cause that is BROKEN itself stands as
    /// it is, so causes do not nest; UNAVAILABLE and EXHAUSTED stay what they are, so that what was pipelined on a
    /// refused OPEN may be retried (protocol section 7).
    pub fn broken_by(cause: &Fault) -> Fault {
        match cause.code {
            Code::Broken | Code::Unavailable | Code::Exhausted | Code::SessionLost => cause.clone(),
            code => {
                let mut data = Vec::with_capacity(16 + cause.message.len());
                data.push(0x92);
                crate::frame::put_uint(&mut data, code as u64);
                crate::frame::put_str(&mut data, &cause.message);
                Fault {
                    code: Code::Broken,
                    message: cause.message.clone(),
                    data: data.into(),
                }
            }
        }
    }
}
