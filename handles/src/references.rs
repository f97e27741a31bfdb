//! The references that a shared value holds. Its bytes carry only their places in a list, numbered in order of
//! appearance, so that they are the same for every session; the list is kept beside them and becomes each frame's own
//! cap table (R15). serde hands no context to `Serialize`, so a handle finds the list in a thread-local.
//!
//! Written by [`crate::patch::Patcher`]; filled by the handles of `helve`.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::patch::EncodeError;

/// One reference inside a shared value: whatever the runtime's handles are made of. Cloning it shares it.
#[derive(Clone)]
pub struct Reference(Arc<dyn Any + Send + Sync>);

impl Reference {
    /// Keeps `what`.
    pub fn new(what: impl Any + Send + Sync) -> Reference {
        Reference(Arc::new(what))
    }

    /// What is kept, if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reference")
    }
}

/// How many references a shared value may hold (objects.md, section 3).
pub const REFERENCES_MAX: usize = 4096;

#[derive(Default)]
struct Collected {
    refs: Vec<Reference>,
    failed: Option<EncodeError>,
}

thread_local! {
    /// What values that are being read here may refer to.
    static PROVIDED: RefCell<Option<Vec<Reference>>> = const { RefCell::new(None) };
    static COLLECTED: RefCell<Option<Collected>> = const { RefCell::new(None) };
}

/// Runs `encode`, behind which [`put`] appends to `refs`. An error that [`put`] was given goes before that of `encode`.
pub(crate) fn collect<R>(
    refs: &mut Vec<Reference>,
    encode: impl FnOnce() -> Result<R, EncodeError>,
) -> Result<R, EncodeError> {
    /// Gives the outer list back, on a panic too.
    struct Restore(Option<Collected>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            let inner = COLLECTED.with(|here| std::mem::replace(&mut *here.borrow_mut(), outer));
            // Dropped outside of the borrow: a reference may run code as it goes.
            drop(inner);
        }
    }
    let mine = Collected {
        refs: std::mem::take(refs),
        failed: None,
    };
    let restore = Restore(COLLECTED.with(|here| here.borrow_mut().replace(mine)));
    let result = encode();
    let mine = COLLECTED.with(|here| here.borrow_mut().take());
    drop(restore);
    let mine = mine.unwrap_or_default();
    *refs = mine.refs;
    match (mine.failed, result) {
        (Some(failed), _) => Err(failed),
        (None, result) => result,
    }
}

/// Whether a shared value is being encoded on this thread.
pub fn is_collecting() -> bool {
    COLLECTED.with(|here| here.borrow().is_some())
}

/// Appends a reference to the list of the shared value that is being encoded; its place there is what goes into the
/// bytes.
///
/// # Errors
/// `make` says why it cannot be kept, or there are too many. `None` where no shared value is being encoded.
pub fn put(
    make: impl FnOnce() -> Result<Reference, EncodeError>,
) -> Option<Result<u16, EncodeError>> {
    if !is_collecting() {
        return None;
    }
    // Made outside of the borrow: it may run code of its own.
    let made = make();
    COLLECTED.with(|here| {
        let mut here = here.borrow_mut();
        let collected = here.as_mut()?;
        let index = match u16::try_from(collected.refs.len()) {
            Ok(index) if usize::from(index) < REFERENCES_MAX => made.map(|made| (index, made)),
            _ => Err(EncodeError::TooManyReferences),
        };
        Some(match index {
            Ok((index, made)) => {
                collected.refs.push(made);
                Ok(index)
            }
            Err(error) => {
                collected.failed.get_or_insert_with(|| error.clone());
                Err(error)
            }
        })
    })
}

/// Runs `decode`, in which handles find themselves among `refs`.
pub(crate) fn provide<R>(refs: &[Reference], decode: impl FnOnce() -> R) -> R {
    if refs.is_empty() {
        return decode();
    }
    /// Gives the outer list back, on a panic too.
    struct Restore(Option<Vec<Reference>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            let inner = PROVIDED.with(|here| std::mem::replace(&mut *here.borrow_mut(), outer));
            drop(inner);
        }
    }
    let restore = Restore(PROVIDED.with(|here| here.borrow_mut().replace(refs.to_vec())));
    let result = decode();
    drop(restore);
    result
}

/// The reference at a place of the shared value that is being read. `None` where none is being read, or it has no such
/// place.
pub fn get(index: usize) -> Option<Reference> {
    PROVIDED.with(|here| here.borrow().as_ref()?.get(index).cloned())
}
