//! Two versions of one type: which of the sender's fields and variants are which of ours, by wire name (objects.md,
//! section 8).
//!
//! A field that we do not have is passed over. One that only we have needs a default. What else differs makes the two
//! incompatible, and is told before any value goes over: a type, a key, how an enum is tagged, what is flattened. A
//! variant that we do not have is told by the first value that uses it, unless our enum has `#[serde(other)]`; the
//! description does not say whether it has, nor does it say `alias` and `deny_unknown_fields`, which serde then follows
//! in values alone.

use std::collections::BTreeMap;
use std::fmt;

use crate::descriptor::{Descriptor, Field, Leaf, Ref, Type, Variant};
use crate::schema::{FieldDesc, Shape};

/// What a reader consults at each field and variant. Built once for two descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The root is the first.
    pub(crate) pairs: Vec<Pair>,
    unknown: Vec<String>,
}

/// One of the sender's types beside the one of ours that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pair {
    /// The same all the way down.
    Same,
    /// What a list, map, option or array holds, as a place in the table.
    Inner(u32),
    /// A struct or tuple, by the sender's ordinals: our ordinal and the pair of the field's type.
    Fields(Vec<Option<(u32, u32)>>),
    /// An enum, by the sender's ordinals: our ordinal and the pair of the payload, which is a [`Pair::Fields`].
    Variants(Vec<Option<(u32, u32)>>),
}

impl Translation {
    /// Compares the sender's type with ours.
    ///
    /// # Errors
    /// Values or patches of theirs could not be read here, or would be read as something else; where, and why.
    pub fn between(theirs: &Descriptor, ours: &Descriptor) -> Result<Translation, Incompatible> {
        let mut builder = Builder {
            theirs,
            ours,
            pairs: Vec::new(),
            beside: Vec::new(),
            known: BTreeMap::new(),
            keys: Vec::new(),
            unknown: Vec::new(),
            work: 0,
        };
        builder.pair(None, Step::Inside(""), theirs.root(), ours.root())?;
        // By a list and not by recursion: what a peer describes may nest as deep as it is long.
        let mut next = 0;
        while let Some(&At { types, .. }) = builder.beside.get(next) {
            let pair = match types {
                Some((theirs, ours)) => builder.compare(next as u32, theirs, ours)?,
                None => None,
            };
            if let (Some(pair), Some(place)) = (pair, builder.pairs.get_mut(next)) {
                *place = pair;
            }
            next += 1;
        }
        builder.finish()
    }

    /// Whether everything has its place here as it has there.
    pub fn is_same(&self) -> bool {
        *self.pair(0) == Pair::Same
    }

    /// Variants of theirs that we do not have, some of them. A value that fails to decode may hold one.
    pub fn unknown_variants(&self) -> &[String] {
        &self.unknown
    }

    pub(crate) fn pair(&self, at: u32) -> &Pair {
        self.pairs.get(at as usize).unwrap_or(&Pair::Same)
    }
}

/// Two versions of a type that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// Where: `Doc.cells[].score`.
    pub path: String,
    /// What differs.
    pub why: String,
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl std::error::Error for Incompatible {}

/// Stands for [`Pair::Same`] where no place is needed.
const SAME: u32 = u32::MAX;
/// How many pairs of types, and how many of their fields and variants, are looked at.
const PAIRS_MAX: usize = 16_384;
const WORK_MAX: usize = 1 << 20;
/// How many unknown variants are told, and how many steps of a path.
const TOLD: usize = 16;

/// From a type to a part of it.
#[derive(Clone, Copy)]
enum Step<'d> {
    Field(&'d str),
    Item(usize),
    Variant(&'d str),
    Inside(&'static str),
}

/// A pair under work.
#[derive(Clone, Copy)]
struct At<'d> {
    parent: Option<u32>,
    step: Step<'d>,
    /// `None`: the payload of a variant, which is filled in together with its enum.
    types: Option<(u32, u32)>,
}

struct Builder<'d> {
    theirs: &'d Descriptor,
    ours: &'d Descriptor,
    pairs: Vec<Pair>,
    /// What each of `pairs` is of.
    beside: Vec<At<'d>>,
    known: BTreeMap<(u32, u32), u32>,
    /// The pairs of keys.
    keys: Vec<u32>,
    unknown: Vec<String>,
    work: usize,
}

type Places = Vec<Option<(u32, u32)>>;

impl<'d> Builder<'d> {
    fn path(&self, mut parent: Option<u32>, last: Step<'d>) -> String {
        let mut steps = vec![last];
        while let Some(at) = parent.and_then(|at| self.beside.get(at as usize)) {
            steps.push(at.step);
            parent = at.parent;
            if steps.len() > TOLD {
                break;
            }
        }
        let mut path = match (parent, self.ours.get(self.ours.root())) {
            (Some(_), _) => "..".to_owned(),
            (None, Some(Type::Struct { name, .. } | Type::Enum { name, .. })) => name.clone(),
            (None, _) => "value".to_owned(),
        };
        for step in steps.into_iter().rev() {
            match step {
                Step::Field(name) => path.extend([".", name]),
                Step::Item(at) => path.extend([".", &at.to_string()]),
                Step::Variant(name) => path.extend(["::", name]),
                Step::Inside(how) => path.push_str(how),
            }
        }
        path
    }

    fn fail<T>(
        &self,
        parent: Option<u32>,
        step: Step<'d>,
        why: impl Into<String>,
    ) -> Result<T, Incompatible> {
        let (path, why) = (self.path(parent, step), why.into());
        Err(Incompatible { path, why })
    }

    fn work(&mut self, at: u32, n: usize) -> Result<(), Incompatible> {
        self.work += n;
        match self.work > WORK_MAX || self.pairs.len() > PAIRS_MAX {
            true => self.fail(Some(at), Step::Inside(""), "the description is too large"),
            false => Ok(()),
        }
    }

    fn place(&mut self, at: At<'d>) -> u32 {
        let place = self.pairs.len() as u32;
        self.pairs.push(Pair::Same);
        self.beside.push(at);
        place
    }

    /// The place of two types beside each other, which are compared later on.
    fn pair(
        &mut self,
        parent: Option<u32>,
        step: Step<'d>,
        theirs: Ref,
        ours: Ref,
    ) -> Result<u32, Incompatible> {
        let types = match (theirs, ours) {
            (Ref::Type(theirs), Ref::Type(ours)) => (theirs, ours),
            (Ref::Leaf(Leaf::Str | Leaf::Text), Ref::Leaf(Leaf::Str | Leaf::Text)) => {
                return Ok(SAME);
            }
            (Ref::Leaf(theirs), Ref::Leaf(ours)) if theirs == ours => return Ok(SAME),
            _ => {
                let (theirs, ours) = (self.theirs.name(theirs), self.ours.name(ours));
                return self.fail(parent, step, format!("{theirs} there, {ours} here"));
            }
        };
        if let Some(place) = self.known.get(&types) {
            return Ok(*place);
        }
        let types_at = Some(types);
        let place = self.place(At {
            parent,
            step,
            types: types_at,
        });
        self.known.insert(types, place);
        Ok(place)
    }

    /// What the pair at `at` is. `None`: as it stands.
    fn compare(&mut self, at: u32, theirs: u32, ours: u32) -> Result<Option<Pair>, Incompatible> {
        self.work(at, 1)?;
        let (theirs, ours) = (Ref::Type(theirs), Ref::Type(ours));
        let pair = match (self.theirs.get(theirs), self.ours.get(ours)) {
            (Some(Type::Struct { fields: a, .. }), Some(Type::Struct { fields: b, .. })) => {
                Pair::Fields(self.named(at, a, b)?)
            }
            (Some(Type::Tuple(a)), Some(Type::Tuple(b))) if a.len() == b.len() => {
                let refs = a.iter().copied().zip(b.iter().copied());
                Pair::Fields(self.items(at, refs)?)
            }
            (Some(Type::Array(a, n)), Some(Type::Array(b, m))) if n == m => {
                Pair::Inner(self.pair(Some(at), Step::Inside("[]"), *a, *b)?)
            }
            (Some(Type::Seq(a)), Some(Type::Seq(b))) => {
                Pair::Inner(self.pair(Some(at), Step::Inside("[]"), *a, *b)?)
            }
            (Some(Type::Option(a)), Some(Type::Option(b))) => {
                Pair::Inner(self.pair(Some(at), Step::Inside(""), *a, *b)?)
            }
            (Some(Type::Set(a)), Some(Type::Set(b))) => {
                let key = self.pair(Some(at), Step::Inside("[key]"), *a, *b)?;
                self.keys.push(key);
                return Ok(None);
            }
            (
                Some(Type::Map { key, value, .. }),
                Some(Type::Map {
                    key: our_key,
                    value: our_value,
                    ..
                }),
            ) => {
                let key = self.pair(Some(at), Step::Inside("[key]"), *key, *our_key)?;
                self.keys.push(key);
                Pair::Inner(self.pair(Some(at), Step::Inside("[]"), *value, *our_value)?)
            }
            (Some(Type::Enum { repr, .. }), Some(Type::Enum { repr: our_repr, .. }))
                if repr != our_repr =>
            {
                return self.fail(
                    Some(at),
                    Step::Inside(""),
                    "tagged otherwise there than here",
                );
            }
            // Values alone tell what they are, and so does serde.
            (
                Some(Type::Enum {
                    repr: crate::descriptor::Repr::Untagged,
                    ..
                }),
                Some(Type::Enum { .. }),
            ) => return Ok(None),
            (Some(Type::Enum { variants: a, .. }), Some(Type::Enum { variants: b, .. })) => {
                Pair::Variants(self.variants(at, a, b)?)
            }
            (Some(Type::Handle(a)), Some(Type::Handle(b))) if a == b => return Ok(None),
            // What is behind it has a description of its own.
            (Some(Type::Shared(_)), Some(Type::Shared(_)))
            | (Some(Type::Stream(_)), Some(Type::Stream(_))) => return Ok(None),
            _ => {
                let (theirs, ours) = (self.theirs.name(theirs), self.ours.name(ours));
                let why = format!("{theirs} there, {ours} here");
                return self.fail(Some(at), Step::Inside(""), why);
            }
        };
        Ok(Some(pair))
    }

    fn items(
        &mut self,
        at: u32,
        refs: impl Iterator<Item = (Ref, Ref)>,
    ) -> Result<Places, Incompatible> {
        let mut places = Vec::new();
        for (place, (theirs, ours)) in refs.enumerate() {
            self.work(at, 1)?;
            let pair = self.pair(Some(at), Step::Item(place), theirs, ours)?;
            places.push(Some((place as u32, pair)));
        }
        Ok(places)
    }

    /// The fields of two structs, by name.
    fn named(
        &mut self,
        at: u32,
        theirs: &'d [Field],
        ours: &'d [Field],
    ) -> Result<Places, Incompatible> {
        self.work(at, theirs.len() + ours.len())?;
        let mut left: BTreeMap<&str, (u32, &Field)> = BTreeMap::new();
        for (place, field) in (0..).zip(ours) {
            left.insert(&field.name, (place, field));
        }
        let mut places = Vec::new();
        for field in theirs {
            let step = Step::Field(&field.name);
            let Some((place, our)) = left.remove(&*field.name) else {
                places.push(None);
                continue;
            };
            let fail = |why| self.fail(Some(at), step, why);
            match (field.is_flat(), our.is_flat()) {
                (true, false) => return fail("flattened there, not here"),
                (false, true) => return fail("flattened here, not there"),
                _ => {}
            }
            // Unset goes to fields that can be skipped alone, and a view leaves a field out.
            if field.flags & FieldDesc::SKIPPABLE != 0 && our.flags & FieldDesc::SKIPPABLE == 0 {
                return fail(
                    "may be left out there, not here: add `skip_serializing_if` and a default",
                );
            }
            if field.view.is_some() && !self.may_miss(our) {
                return fail("may be hidden there, and has no default here");
            }
            places.push(Some((place, self.pair(Some(at), step, field.ty, our.ty)?)));
        }
        for (name, (_, field)) in left {
            if !self.may_miss(field) {
                let why = "not there, and without a default here";
                return self.fail(Some(at), Step::Field(name), why);
            }
        }
        if theirs.iter().chain(ours).any(Field::is_flat) {
            self.flattened(at, theirs, ours)?;
        }
        Ok(places)
    }

    /// Whether a value of ours decodes without this field.
    fn may_miss(&self, field: &Field) -> bool {
        if field.is_flat() {
            let names = Names::of(self.ours, std::slice::from_ref(field));
            let is_option = matches!(self.ours.get(field.ty), Some(Type::Option(_)));
            return is_option || names.is_some_and(|names| names.required == 0);
        }
        field.flags & FieldDesc::DEFAULT != 0
            || matches!(self.ours.get(field.ty), Some(Type::Option(_)))
    }

    /// Values know no flattening: a name of both must lie in the same place, or patches would miss what values hit.
    fn flattened(
        &mut self,
        at: u32,
        theirs: &'d [Field],
        ours: &'d [Field],
    ) -> Result<(), Incompatible> {
        let names = (Names::of(self.theirs, theirs), Names::of(self.ours, ours));
        let (Some(theirs), Some(ours)) = names else {
            let why = "what is flattened is too large, or flattens itself";
            return self.fail(Some(at), Step::Inside(""), why);
        };
        self.work(at, theirs.chains.len() + ours.chains.len())?;
        for (name, chain) in theirs.chains {
            if ours.chains.get(name).is_some_and(|ours| *ours != chain) {
                let why = "flattened otherwise there than here";
                return self.fail(Some(at), Step::Field(name), why);
            }
        }
        Ok(())
    }

    fn variants(
        &mut self,
        at: u32,
        theirs: &'d [Variant],
        ours: &'d [Variant],
    ) -> Result<Places, Incompatible> {
        self.work(at, theirs.len() + ours.len())?;
        let mut by_name: BTreeMap<&str, (u32, &'d Variant)> = BTreeMap::new();
        for (place, variant) in (0..).zip(ours) {
            by_name.insert(&variant.name, (place, variant));
        }
        let mut places = Vec::new();
        for variant in theirs {
            let step = Step::Variant(&variant.name);
            let Some((place, our)) = by_name.get(&*variant.name) else {
                if self.unknown.len() < TOLD {
                    self.unknown.push(self.path(Some(at), step));
                }
                places.push(None);
                continue;
            };
            if variant.shape != our.shape || self.is_longer(variant, our) {
                let name = |variant: &Variant| match variant.shape {
                    Shape::Unit => "a unit".to_owned(),
                    Shape::Newtype => "one value".to_owned(),
                    Shape::Tuple => format!("{} values", variant.fields.len()),
                    Shape::Struct => "a struct".to_owned(),
                };
                let why = format!("{} there, {} here", name(variant), name(our));
                return self.fail(Some(at), step, why);
            }
            let payload = self.place(At {
                parent: Some(at),
                step,
                types: None,
            });
            let fields = match variant.shape {
                Shape::Struct => self.named(payload, &variant.fields, &our.fields)?,
                _ => {
                    let fields = variant.fields.iter().zip(&our.fields);
                    self.items(payload, fields.map(|(a, b)| (a.ty, b.ty)))?
                }
            };
            if let Some(pair) = self.pairs.get_mut(payload as usize) {
                *pair = Pair::Fields(fields);
            }
            places.push(Some((*place, payload)));
        }
        Ok(places)
    }

    fn is_longer(&self, theirs: &Variant, ours: &Variant) -> bool {
        theirs.shape == Shape::Tuple && theirs.fields.len() != ours.fields.len()
    }

    /// Finds what is the same all the way down, which the reader then passes through.
    fn finish(mut self) -> Result<Translation, Incompatible> {
        let mut holders = vec![Vec::new(); self.pairs.len()];
        let mut differs = vec![false; self.pairs.len()];
        let mut found = Vec::new();
        for (at, pair) in self.pairs.iter().enumerate() {
            let mut hold = |inside: u32| {
                if let Some(holders) = holders.get_mut(inside as usize) {
                    holders.push(at);
                }
            };
            let moved = match pair {
                Pair::Same => false,
                Pair::Inner(inside) => {
                    hold(*inside);
                    false
                }
                Pair::Fields(places) | Pair::Variants(places) => {
                    places
                        .iter()
                        .flatten()
                        .for_each(|(_, inside)| hold(*inside));
                    let mut places = (0..).zip(places);
                    places.any(|(theirs, ours)| ours.is_none_or(|(ours, _)| ours != theirs))
                }
            };
            if moved {
                found.push(at);
            }
        }
        while let Some(at) = found.pop() {
            if let Some(differs) = differs.get_mut(at)
                && !std::mem::replace(differs, true)
            {
                found.extend(holders.get(at).into_iter().flatten());
            }
        }
        for key in &self.keys {
            if differs.get(*key as usize) == Some(&true) {
                let why = "the type of a key differs";
                return self.fail(Some(*key), Step::Inside(""), why);
            }
        }
        for (pair, differs) in self.pairs.iter_mut().zip(&differs) {
            if !differs {
                *pair = Pair::Same;
            }
        }
        Ok(Translation {
            pairs: self.pairs,
            unknown: self.unknown,
        })
    }
}

/// The names in the map of a struct, with all that is flattened into it: through which fields each comes.
#[derive(Default)]
struct Names<'d> {
    chains: BTreeMap<&'d str, Vec<&'d str>>,
    /// How many of them have no default.
    required: usize,
    looked: usize,
}

impl<'d> Names<'d> {
    /// `None`: too many, or in circles.
    fn of(descriptor: &'d Descriptor, fields: &'d [Field]) -> Option<Names<'d>> {
        let mut names = Names::default();
        names.add(descriptor, fields, &mut Vec::new(), false)?;
        Some(names)
    }

    fn add(
        &mut self,
        descriptor: &'d Descriptor,
        fields: &'d [Field],
        chain: &mut Vec<&'d str>,
        optional: bool,
    ) -> Option<()> {
        self.looked += 1 + fields.len();
        // Nobody flattens deeper.
        if self.looked > PAIRS_MAX || chain.len() > TOLD {
            return None;
        }
        for field in fields {
            let is_option = matches!(descriptor.get(field.ty), Some(Type::Option(_)));
            if field.is_flat() {
                if let Some(Type::Struct { fields, .. }) =
                    descriptor.get(descriptor.inside(field.ty))
                {
                    chain.push(&field.name);
                    self.add(descriptor, fields, chain, optional || is_option)?;
                    chain.pop();
                }
                continue;
            }
            let has_default = field.flags & FieldDesc::DEFAULT != 0;
            self.required += usize::from(!(optional || is_option || has_default));
            self.chains.insert(&field.name, chain.clone());
        }
        Some(())
    }
}
