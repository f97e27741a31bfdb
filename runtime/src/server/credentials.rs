//! [`Token`] and [`Principal`]: what a client showed, and who it is by that.

use std::sync::Arc;

use helve_protocol::hello::Auth;

use crate::error::RpcError;

/// What a client showed to be let in. Never printed.
#[derive(Clone)]
pub struct Token(pub(super) Option<Auth>);

impl Token {
    /// As text.
    ///
    /// # Errors
    /// [`RpcError::Unauthenticated`] where the client showed none, or bytes.
    pub fn as_str(&self) -> Result<&str, RpcError> {
        match &self.0 {
            Some(Auth::Text(text)) => Ok(text),
            _ => Err(RpcError::Unauthenticated("a token is needed".into())),
        }
    }

    /// As bytes; those of a text are its UTF-8. `None` where the client showed none.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_ref().map(Auth::as_bytes)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Token(..)"
        } else {
            "Token(none)"
        })
    }
}

/// Who a client is: what the authentication hook makes of its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal(pub(super) Arc<str>, pub(super) Arc<[String]>);

impl Principal {
    /// A principal of that name.
    pub fn new(name: impl AsRef<str>) -> Principal {
        Principal(name.as_ref().into(), Arc::default())
    }

    /// The same, who sees the fields of shared values that are marked `#[track(view = "..")]` with one of these names.
    /// Nobody else does.
    #[must_use]
    pub fn with_views<V: Into<String>>(mut self, views: impl IntoIterator<Item = V>) -> Principal {
        self.1 = views.into_iter().map(Into::into).collect();
        self
    }

    /// The views that it sees.
    pub(crate) fn views(&self) -> &[String] {
        &self.1
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}
