//! Rows 1 to 18: TCP, TLS, HTTP and WebSocket, before and beneath any session. Rows 3 and 18 are also tested with the addresses
//! of strangers, beside the code that counts them.

mod echoes;
mod frames;
mod links;
mod opening;
mod wire;
