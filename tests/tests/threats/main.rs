//! The attacks that Helve claims to withstand, each against a real server and named after its row in the table of threats.
//! Of each one: what the attacker gets to see, what it costs in memory, and an honest session beside it that goes on.

mod attack;
mod calls;
mod decoding;
mod handles;
mod limits;
mod peer;
mod streams;
mod transport;
