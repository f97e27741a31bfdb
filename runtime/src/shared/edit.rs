//! The guard of an edit that may wait.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use helve_handles::shared::Tracked;
use helve_handles::track::Track;

use super::encode_error;
use super::host::Hosted;
use crate::context::Cx;
use crate::error::RpcError;
use crate::gate::WriteGuard;

/// An edit of a [`Shared`](super::Shared) that is under way: the value itself. [`commit`](Self::commit) it, or drop it
/// to take it back. Nobody else sees or changes the value meanwhile.
#[must_use = "an edit that is dropped without `commit` is taken back"]
pub struct SharedEdit<T: Track> {
    hosted: Arc<Hosted<T>>,
    value: WriteGuard<Tracked<T>>,
}

impl<T: Track> SharedEdit<T> {
    pub(crate) async fn begin(hosted: Arc<Hosted<T>>) -> Result<Self, RpcError> {
        let mut value = hosted.object().write(&Cx::current()).await?;
        value.begin().map_err(encode_error)?;
        Ok(SharedEdit { hosted, value })
    }

    /// Keeps what was done, and tells those who follow. Returns the value's revision.
    ///
    /// # Errors
    /// What was made cannot be sent, or is too large: it was taken back.
    pub fn commit(mut self) -> Result<u64, RpcError> {
        let committed = self.value.commit().map_err(encode_error)?;
        let rev = self.value.rev();
        if committed.is_some() {
            self.hosted.note_state(&self.value);
        }
        let hosted = self.hosted.clone();
        // Others may go on with the value while those who follow are told.
        drop(self);
        if committed.is_some() {
            hosted.committed(rev);
        }
        Ok(rev)
    }

    pub(super) fn tracked(&mut self) -> &mut Tracked<T> {
        &mut self.value
    }
}

impl<T: Track> Drop for SharedEdit<T> {
    fn drop(&mut self) {
        if !self.value.rollback() {
            tracing::error!(
                value = std::any::type_name::<T>(),
                "an edit could not be taken back whole: the type does not read what it writes"
            );
        }
    }
}

impl<T: Track> Deref for SharedEdit<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Track> DerefMut for SharedEdit<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.value_mut()
    }
}

impl<T: Track + fmt::Debug> fmt::Debug for SharedEdit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedEdit").field(&**self).finish()
    }
}
