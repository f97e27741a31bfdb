//! [`Text`]: a string that is edited in place, for long or hot ones. Each edit is logged as it is made, so nothing is
//! compared and nothing copied.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, RangeBounds};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use str_indices::utf16;

use super::string::Near;
use super::{Identity, Track};
use crate::patch::{EncodeError, Node, PatchError, PatchReader, Patcher, Tag};
use crate::schema::TypeDesc;
use crate::wire::Wire;

/// A string whose edits travel as they were made. Read it as a `&str`; change it with the methods of `String`, which take
/// byte offsets as `String`'s do. The wire and TypeScript count UTF-16 units; while a text is ASCII both are the same,
/// else an edit costs a scan from the last one or from the beginning (some 20 us a MB). Above 1 MB use a list of lines.
///
/// ```
/// use helve_handles::track::Text;
///
/// let mut text = Text::from("held on another machine");
/// text.insert_str(4, ", briefly,");
/// text.replace_range(..4, "Kept");
/// assert_eq!(&*text, "Kept, briefly, on another machine");
/// ```
#[derive(Default)]
pub struct Text {
    text: String,
    id: Identity,
    log: Option<Box<Log>>,
}

/// What was done since it was armed.
#[derive(Default)]
struct Log {
    edits: Vec<Edit>,
    /// Bytes inserted and removed, and some for each edit.
    cost: usize,
    /// All of the text is ASCII.
    ascii: bool,
    /// A byte, and how many UTF-16 units are before it.
    anchor: (usize, usize),
}

/// One splice: enough to tell it, and to take it back.
struct Edit {
    pos16: usize,
    del16: usize,
    /// Where, in bytes, when it was made.
    pos: usize,
    inserted: String,
    removed: String,
}

/// What an edit costs on the wire besides its text, about.
const EDIT_COST: usize = 8;

impl Log {
    fn new(text: &str) -> Log {
        Log {
            ascii: text.is_ascii(),
            ..Log::default()
        }
    }

    /// How many UTF-16 units are before a byte.
    fn units(&self, text: &str, byte: usize) -> usize {
        if self.ascii {
            return byte;
        }
        let (from, units) = match self.anchor {
            anchor if anchor.0 <= byte => anchor,
            _ => (0, 0),
        };
        units + utf16::count(text.get(from..byte).unwrap_or_default())
    }

    /// Notes that `text[start..end]` is about to become `inserted`.
    fn note(&mut self, text: &str, start: usize, end: usize, inserted: &str) {
        let removed = text.get(start..end).unwrap_or_default();
        let pos16 = self.units(text, start);
        let del16 = match self.ascii {
            true => removed.len(),
            false => utf16::count(removed),
        };
        self.ascii &= inserted.is_ascii();
        self.anchor = (start, pos16);
        self.cost += inserted.len() + removed.len();
        // Typing on where the last edit ended.
        if let (true, Some(last)) = (removed.is_empty(), self.edits.last_mut())
            && last.pos + last.inserted.len() == start
        {
            last.inserted.push_str(inserted);
            return;
        }
        self.cost += EDIT_COST;
        self.edits.push(Edit {
            pos16,
            del16,
            pos: start,
            inserted: inserted.to_owned(),
            removed: removed.to_owned(),
        });
    }
}

impl Text {
    /// How many there are; bytes, of a text. Here and not by `Deref` alone, so that it has a path.
    pub fn len(&self) -> usize {
        (**self).len()
    }

    /// Whether there are none: what `#[serde(skip_serializing_if = "..::is_empty")]` may name.
    pub fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    /// An empty one.
    pub const fn new() -> Text {
        Text {
            text: String::new(),
            id: Identity::NONE,
            log: None,
        }
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The string, which is no longer tracked.
    pub fn into_string(self) -> String {
        self.text
    }

    /// `text[start..end]` is about to become `inserted`, both at borders of characters.
    fn note(&mut self, start: usize, end: usize, inserted: &str) {
        if !self.id.is_armed() || (start == end && inserted.is_empty()) {
            return;
        }
        let log = self
            .log
            .get_or_insert_with(|| Box::new(Log::new(&self.text)));
        log.note(&self.text, start, end, inserted);
        // A log that is longer than the text is worth nothing.
        if log.cost > self.text.len() + inserted.len() + 64 {
            self.log = None;
            self.id.void();
        }
    }

    /// As [`String::replace_range`].
    ///
    /// # Panics
    /// The range is not inside the text, or not at borders of characters.
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, with: &str) {
        let (start, end) = self.bounds(range);
        self.note(start, end, with);
        self.text.replace_range(start..end, with);
    }

    /// The range in bytes, which is one that `String` would take.
    fn bounds(&self, range: impl RangeBounds<usize>) -> (usize, usize) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let start = match range.start_bound() {
            Included(at) => *at,
            Excluded(at) => at.saturating_add(1),
            Unbounded => 0,
        };
        let end = match range.end_bound() {
            Included(at) => at.saturating_add(1),
            Excluded(at) => *at,
            Unbounded => self.text.len(),
        };
        assert!(
            self.text.get(start..end).is_some(),
            "bytes {start}..{end} are not whole characters of a text of {} bytes",
            self.text.len()
        );
        (start, end)
    }

    /// As [`String::push_str`].
    pub fn push_str(&mut self, text: &str) {
        self.note(self.text.len(), self.text.len(), text);
        self.text.push_str(text);
    }

    /// As [`String::push`].
    pub fn push(&mut self, c: char) {
        self.push_str(c.encode_utf8(&mut [0; 4]));
    }

    /// As [`String::insert_str`].
    ///
    /// # Panics
    /// `at` is not a border of characters of the text.
    pub fn insert_str(&mut self, at: usize, text: &str) {
        self.replace_range(at..at, text);
    }

    /// As [`String::insert`].
    ///
    /// # Panics
    /// `at` is not a border of characters of the text.
    pub fn insert(&mut self, at: usize, c: char) {
        self.insert_str(at, c.encode_utf8(&mut [0; 4]));
    }

    /// As [`String::pop`].
    pub fn pop(&mut self) -> Option<char> {
        let last = self.text.chars().next_back()?;
        self.truncate(self.text.len() - last.len_utf8());
        Some(last)
    }

    /// As [`String::remove`].
    ///
    /// # Panics
    /// No character begins at `at`.
    pub fn remove(&mut self, at: usize) -> char {
        let rest = self.text.get(at..).unwrap_or_default();
        let removed = rest.chars().next();
        assert!(removed.is_some(), "no character begins at byte {at}");
        let removed = removed.unwrap_or_default();
        self.replace_range(at..at + removed.len_utf8(), "");
        removed
    }

    /// As [`String::truncate`].
    ///
    /// # Panics
    /// `len` is not a border of characters.
    pub fn truncate(&mut self, len: usize) {
        if len < self.text.len() {
            self.replace_range(len.., "");
        }
    }

    /// As [`String::clear`].
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// As [`String::split_off`].
    ///
    /// # Panics
    /// `at` is not a border of characters of the text.
    #[must_use = "use `truncate` where the rest is not wanted"]
    pub fn split_off(&mut self, at: usize) -> String {
        let (start, end) = self.bounds(at..);
        let rest = self.text.get(start..end).unwrap_or_default().to_owned();
        self.truncate(at);
        rest
    }

    /// As [`String::retain`].
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        // What goes, in runs, before anything is done: `keep` is code of the caller's.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (at, c) in self.text.char_indices() {
            if keep(c) {
                continue;
            }
            let end = at + c.len_utf8();
            match runs.last_mut() {
                Some(run) if run.1 == at => run.1 = end,
                _ => runs.push((at, end)),
            }
        }
        for (start, end) in runs.into_iter().rev() {
            self.replace_range(start..end, "");
        }
    }

    /// Becomes `text`; what both begin and end with stays.
    pub fn set(&mut self, text: &str) {
        if let Some((start, old_end, new_end)) = super::string::difference(&self.text, text) {
            let middle = text.get(start..new_end).unwrap_or_default();
            self.replace_range(start..old_end, middle);
        }
    }

    /// As [`String::reserve`].
    pub fn reserve(&mut self, additional: usize) {
        self.text.reserve(additional);
    }
}

impl Track for Text {
    type Shadow = u64;

    fn shadow(&mut self) -> u64 {
        self.log = None;
        self.id.arm()
    }

    fn flush(&mut self, shadow: &u64, patcher: &mut Patcher) -> Result<bool, EncodeError> {
        let is_same = self.id.is(*shadow);
        self.id.disarm();
        let log = self.log.take();
        let cost = |log: &Log| -> usize {
            log.edits
                .iter()
                .map(|edit| edit.inserted.len() + EDIT_COST)
                .sum()
        };
        match log {
            None if is_same => Ok(false),
            Some(log) if is_same && cost(&log) < self.text.len() + EDIT_COST => {
                patcher.node(Tag::Text, 0, |edits| {
                    for edit in &log.edits {
                        edits.text(edit.pos16, edit.del16, &edit.inserted);
                    }
                    Ok(())
                })
            }
            _ => {
                patcher.set(self)?;
                Ok(true)
            }
        }
    }

    fn undo(&mut self, shadow: u64) -> bool {
        let is_same = self.id.is(shadow);
        self.id.disarm();
        let log = self.log.take();
        if !is_same {
            return false;
        }
        for edit in log.iter().flat_map(|log| &log.edits).rev() {
            let end = edit.pos + edit.inserted.len();
            if self.text.get(edit.pos..end) != Some(&edit.inserted) {
                return false;
            }
            self.text.replace_range(edit.pos..end, &edit.removed);
        }
        true
    }

    fn patch(&mut self, reader: &mut PatchReader<'_>) -> Result<(), PatchError> {
        reader.node(&mut |reader, node| match node {
            Node::Set => {
                self.text = reader.value()?;
                self.log = None;
                self.id.void();
                Ok(())
            }
            Node::Text(edits) => {
                let mut near = Near::default();
                (0..edits).try_for_each(|_| {
                    let (pos, del) = (reader.index()?, reader.index()?);
                    let range = near.bytes_of(&self.text, pos, del)?;
                    self.replace_range(range, reader.text()?);
                    Ok(())
                })
            }
            _ => Err(PatchError::Shape),
        })
    }

    fn same(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Wire for Text {
    const PLAIN: bool = true;

    fn describe() -> TypeDesc {
        TypeDesc::Text
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Text::from)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Clone for Text {
    fn clone(&self) -> Self {
        Text::from(self.text.clone())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text {
            text,
            ..Text::new()
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::from(text.to_owned())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        Text::from(text.into_owned())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.text
    }
}

impl FromIterator<char> for Text {
    fn from_iter<I: IntoIterator<Item = char>>(chars: I) -> Self {
        Text::from(String::from_iter(chars))
    }
}

impl Extend<char> for Text {
    fn extend<I: IntoIterator<Item = char>>(&mut self, chars: I) {
        self.push_str(&String::from_iter(chars));
    }
}

impl<'a> Extend<&'a str> for Text {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push_str(text));
    }
}

impl std::ops::AddAssign<&str> for Text {
    fn add_assign(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}
