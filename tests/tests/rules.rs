//! Sentences of `docs/protocol.md` that are best seen on the wire: peers made by hand, which say and hear bytes, against
//! the runtime. Each test cites the rules it shows.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod rules {
    mod calls;
    mod handshake;
    mod liveness;
    mod peer;
    mod values;
}
