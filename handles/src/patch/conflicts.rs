//! Whether a draft still means what its author meant, after others have changed the value (objects.md, section 10):
//! what the host asks before it applies a draft to a later revision than the one it was made of.

use std::collections::BTreeMap;

use super::tree::{Branch, Tree};

/// Whether `draft`, made of an earlier revision, conflicts with `since`: the composition of all patches from there to now.
///
/// Without `lww` it does where a place that it changes is, holds, or lies in a place that the others changed, unless both
/// only add; then draft and others may go in any order. With `lww` what sets, adds or removes goes over what the others
/// did; operations on a sequence or text do not, since their positions mean another value. What the others removed
/// cannot be changed in either.
///
/// With `lww` a draft that does not conflict may still fit no more: what it goes through was set to something else. Whoever
/// applies it to a later revision takes that for a conflict as well. A draft that is malformed does not conflict:
/// applying it tells what is wrong with it.
pub fn conflicts(lww: bool, draft: &[u8], since: &[u8]) -> bool {
    let Ok(draft) = Tree::read(draft, 0) else {
        return false;
    };
    let Ok(since) = Tree::read(since, 0) else {
        return true;
    };
    let (draft, since) = (Touched::by(draft), Touched::by(since));
    match lww {
        true => draft.is_lost(&since, false),
        false => draft.meets(&since),
    }
}

/// The places that a patch changes.
#[derive(Default)]
struct Touched<'a> {
    /// What happens to the value here as one.
    here: Here,
    /// What happens inside. Of what kind the places are is a part of the key.
    inside: BTreeMap<Place<'a>, Touched<'a>>,
}

/// What happens to one value.
#[derive(Clone, Copy, Default)]
struct Here {
    set: bool,
    removed: bool,
    added: bool,
    /// A Seq or Text: positions, which mean nothing in another value.
    edited: bool,
}

/// A place inside of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Field(u64),
    Key(&'a [u8]),
    /// A field of a variant.
    Variant(u64, u64),
}

impl Place<'_> {
    /// Whether both can be in one value.
    fn goes_with(&self, other: &Place<'_>) -> bool {
        match (self, other) {
            (Place::Field(_), Place::Field(_)) | (Place::Key(_), Place::Key(_)) => true,
            (Place::Variant(a, _), Place::Variant(b, _)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Touched<'a> {
    fn by(tree: Tree<'a>) -> Touched<'a> {
        let mut touched = Touched::default();
        touched.add(tree);
        touched
    }

    fn add(&mut self, tree: Tree<'a>) {
        match tree {
            Tree::Set(_) => self.here.set = true,
            Tree::Unset => self.here.removed = true,
            Tree::Add(_) => self.here.added = true,
            Tree::Seq(edits) => self.here.edited |= !edits.is_empty(),
            Tree::Text(edits) => self.here.edited |= edits.iter().any(|(n, _)| *n > 0),
            Tree::Fields(fields) => self.all(fields, Place::Field),
            Tree::Map(entries) => self.all(entries, Place::Key),
            Tree::Enum(variant, fields) => self.all(fields, |field| Place::Variant(variant, field)),
            Tree::Then(nodes) => {
                for node in nodes {
                    // What follows a Set is about the value that it set.
                    if !self.here.set {
                        self.add(node);
                    }
                }
            }
        }
    }

    fn all<K>(&mut self, nodes: Branch<'a, K>, place: impl Fn(K) -> Place<'a>) {
        for (key, node) in nodes.list {
            let touched = Touched::by(node);
            if !touched.is_nowhere() {
                self.inside.entry(place(key)).or_default().merge(touched);
            }
        }
    }

    fn merge(&mut self, other: Touched<'a>) {
        self.here.set |= other.here.set;
        self.here.removed |= other.here.removed;
        self.here.added |= other.here.added;
        self.here.edited |= other.here.edited;
        for (place, touched) in other.inside {
            self.inside.entry(place).or_default().merge(touched);
        }
    }

    fn is_here(&self) -> bool {
        let Here {
            set,
            removed,
            added,
            edited,
        } = self.here;
        set || removed || added || edited
    }

    fn is_nowhere(&self) -> bool {
        !self.is_here() && self.inside.is_empty()
    }

    /// Whether it only adds.
    fn adds(&self) -> bool {
        let Here {
            set,
            removed,
            edited,
            ..
        } = self.here;
        !(set || removed || edited) && self.inside.is_empty()
    }

    /// The pairs of what both touch inside. `None`: what one of them touches cannot be in the other's value.
    fn shared<'t>(
        &'t self,
        other: &'t Touched<'a>,
    ) -> Option<impl Iterator<Item = (&'t Touched<'a>, &'t Touched<'a>)>> {
        if let (Some((a, _)), Some((b, _))) = (
            self.inside.first_key_value(),
            other.inside.first_key_value(),
        ) && !a.goes_with(b)
        {
            return None;
        }
        let shared = self.inside.iter().filter_map(|(place, here)| {
            let there = other.inside.get(place)?;
            Some((here, there))
        });
        Some(shared)
    }

    /// Whether a place of one is equal to, above or below a place of the other.
    fn meets(&self, since: &Touched<'a>) -> bool {
        if self.is_nowhere() || since.is_nowhere() {
            return false;
        }
        if self.is_here() || since.is_here() {
            return !(self.adds() && since.adds());
        }
        let shared = self.shared(since);
        shared.is_none_or(|mut shared| shared.any(|(draft, since)| draft.meets(since)))
    }

    /// Whether the draft cannot go over what the others did. `above`: they changed a value around this.
    fn is_lost(&self, since: &Touched<'a>, above: bool) -> bool {
        let changed = above || since.is_here();
        if self.here.edited && (changed || !since.inside.is_empty()) {
            return true;
        }
        // Through what is not there any more.
        if since.here.removed && !since.here.set && (!self.inside.is_empty() || self.here.added) {
            return true;
        }
        if changed {
            let nothing = Touched::default();
            let mut inside = self.inside.iter();
            return inside.any(|(place, draft)| {
                let since = since.inside.get(place).unwrap_or(&nothing);
                draft.is_lost(since, true)
            });
        }
        let shared = self.shared(since);
        shared.is_none_or(|mut shared| shared.any(|(draft, since)| draft.is_lost(since, false)))
    }
}
