//! What authenticates: carried by the handshake, printed by nobody (S11.2). Reached through [`crate::hello`].

use std::fmt;

/// What proves who the client is. Its text is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// A str, for example a token.
    Text(String),
    /// A bin.
    Bytes(Vec<u8>),
}

impl Auth {
    /// The bytes, of either form.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Auth::Text(text) => text.as_bytes(),
            Auth::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(hidden)")
    }
}

/// 256 random bits by which a client takes up its session again. Never printed, compared in constant time.
#[derive(Clone, Eq)]
pub struct Token(pub [u8; 32]);

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .fold(0, |acc, (a, b)| acc | (a ^ b))
            == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}
