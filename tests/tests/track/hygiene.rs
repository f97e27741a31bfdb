//! The macro works whatever names the user has taken, and wherever the type stands.

use crate::change;

/// Everything the expansion could reach for by a short name is something else here.
mod shadowed {
    #![allow(
        dead_code,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals
    )]

    pub struct Option;
    pub struct Box;
    pub struct Result;
    pub struct PhantomData;
    pub trait Send {}
    pub trait Sync {}
    pub trait Track {}
    pub trait Wire {}
    pub trait Default {}
    pub mod std {}
    pub mod core {}
    pub mod serde {}
    pub mod alloc {}
    pub fn Ok() {}
    pub fn Err() {}
    pub fn Some() {}
    pub struct None;
    pub struct Patcher;
    pub struct Node;
    pub const shadow: u8 = 1;
    pub const patcher: u8 = 1;
    pub const reader: u8 = 1;
    pub const value: u8 = 1;

    #[derive(::helve::Wire, ::helve::Track, Clone)]
    pub struct Item {
        pub n: u8,
        #[serde(skip)]
        pub kept: u8,
        #[serde(default, skip_serializing_if = "is_zero")]
        pub may: u8,
        #[track(leaf)]
        pub leaf: u16,
    }

    fn is_zero(n: &u8) -> bool {
        *n == 0
    }

    #[derive(::helve::Wire, ::helve::Track, Clone)]
    pub enum Choice {
        A,
        B(u8),
        C { c: Item },
    }

    #[derive(::helve::Wire, ::helve::Track, Clone)]
    #[serde(untagged)]
    pub enum Untagged {
        N(u8),
    }

    #[derive(::helve::Wire, ::helve::Track, Clone)]
    pub struct Generic<T> {
        pub t: T,
    }
}

#[test]
fn the_users_names_may_shadow_the_prelude() {
    use shadowed::{Choice, Generic, Item, Untagged};
    let item = Item {
        n: 1,
        kept: 2,
        may: 3,
        leaf: 4,
    };
    let generic = Generic {
        t: Choice::C { c: item },
    };
    let patch = change(&generic, |generic| {
        if let Choice::C { c } = &mut generic.t {
            c.may = 0;
        }
    });
    assert_eq!(
        patch,
        Some(vec![0x93, 1, 0, 0x94, 6, 2, 0, 0x93, 1, 1, 0xc0])
    );
    assert!(change(&Choice::A, |choice| *choice = Choice::B(1)).is_some());
    assert!(change(&Untagged::N(1), |n| *n = Untagged::N(2)).is_some());
}

/// Fields with the names that the expansion and the trait's methods use.
#[derive(helve::Wire, helve::Track, Clone)]
struct Fields {
    self_: u8,
    shadow: u8,
    patcher: u8,
    reader: u8,
    old: u8,
    other: u8,
    flush: u8,
    r#type: u8,
    r#fn: u8,
    __field0: u8,
    __other0: u8,
    __whole: u8,
    __of: u8,
}

#[derive(helve::Wire, helve::Track, Clone)]
#[allow(non_camel_case_types)]
enum r#enum {
    r#match { r#in: u8 },
}

#[test]
fn fields_and_types_may_have_any_name() {
    let fields = Fields {
        self_: 0,
        shadow: 0,
        patcher: 0,
        reader: 0,
        old: 0,
        other: 0,
        flush: 0,
        r#type: 0,
        r#fn: 0,
        __field0: 0,
        __other0: 0,
        __whole: 0,
        __of: 0,
    };
    let patch = change(&fields, |fields| fields.r#type = 1);
    assert_eq!(patch, Some(vec![0x93, 1, 7, 0x92, 0, 1]));
    let patch = change(&r#enum::r#match { r#in: 0 }, |value| {
        let r#enum::r#match { r#in } = value;
        *r#in = 1;
    });
    assert_eq!(patch, Some(vec![0x94, 6, 0, 0, 0x92, 0, 1]));
}

pub mod library {
    use helve::prelude::*;

    /// Private types in a public one, and a private module for one of its fields.
    #[derive(Wire, Track, Clone, Default)]
    pub struct Public {
        inner: Inner,
        list: (Inner, Choice),
    }

    #[derive(Wire, Track, Clone, Default)]
    struct Inner(u8);

    #[derive(Wire, Track, Clone, Default)]
    enum Choice {
        #[default]
        No,
        Yes(Inner),
    }

    impl Public {
        pub fn count(&mut self) {
            self.inner.0 += 1;
            self.list.1 = Choice::Yes(Inner(1));
        }
    }
}

#[test]
fn a_public_type_may_hold_private_ones() {
    assert!(change(&library::Public::default(), library::Public::count).is_some());
}

macro_rules! make {
    ($name:ident, $field:ident: $ty:ty) => {
        #[derive(helve::Wire, helve::Track, Clone, Default)]
        struct $name {
            $field: $ty,
            other: Option<$ty>,
        }
    };
}

make!(Made, shadow: u8);

#[test]
fn a_type_may_stand_in_a_function_and_come_out_of_a_macro() {
    #[derive(helve::Wire, helve::Track, Clone)]
    struct Local {
        made: Made,
    }

    let local = Local {
        made: Made::default(),
    };
    let patch = change(&local, |local| local.made.shadow = 1);
    assert_eq!(patch, Some(vec![0x93, 1, 0, 0x93, 1, 0, 0x92, 0, 1]));
}
