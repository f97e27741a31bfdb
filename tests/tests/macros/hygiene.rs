//! The macros work whatever names the user has taken, and wherever the trait stands.

use crate::both;

/// Everything the expansion could reach for by a short name is something else here.
mod shadowed {
    #![allow(dead_code, non_camel_case_types, non_snake_case)]

    pub struct Option;
    pub struct Vec;
    pub struct String;
    pub struct Box;
    pub struct Result;
    pub struct Arc;
    pub struct Future;
    pub trait Send {}
    pub trait Sync {}
    pub trait Clone {}
    pub trait Default {}
    pub trait From {}
    pub mod std {}
    pub mod core {}
    pub mod serde {}
    pub mod alloc {}
    pub fn Ok() {}
    pub fn Err() {}
    pub fn Some() {}
    pub struct None;

    #[derive(::helve::Wire)]
    pub struct Item {
        pub n: u8,
    }

    #[derive(::helve::Wire)]
    pub enum Choice {
        A,
        B(u8),
        C { c: Item },
    }

    #[derive(::helve::Wire)]
    pub struct Generic<T> {
        pub t: T,
    }

    #[::helve::interface]
    pub trait Shadow {
        async fn item(
            &mut self,
            item: Item,
            text: &str,
            blob: &[u8],
            all: &[u8],
            #[default] n: u8,
        ) -> Item;
        async fn choice(&self, choice: Choice) -> Generic<u8>;
        #[oneway]
        async fn tell(&self, cx: &::helve::Cx);
    }

    pub struct Here;

    impl Shadow for Here {
        async fn item(&mut self, item: Item, text: &str, blob: &[u8], all: &[u8], n: u8) -> Item {
            Item {
                n: item.n + text.len() as u8 + blob.len() as u8 + all.len() as u8 + n,
            }
        }
        async fn choice(&self, choice: Choice) -> Generic<u8> {
            let t = match choice {
                Choice::A => 0,
                Choice::B(n) => n,
                Choice::C { c } => c.n,
            };
            Generic { t }
        }
        async fn tell(&self, _: &::helve::Cx) {}
    }
}

#[tokio::test]
async fn the_users_names_may_shadow_the_prelude() {
    use shadowed::{Choice, Here, Item, ShadowHandle};

    both(ShadowHandle::new(Here), |shadow| async move {
        assert_eq!(
            shadow
                .item(Item { n: 1 }, "ab", &[1], &[1, 2], 4)
                .await
                .expect("runs")
                .n,
            10
        );
        assert_eq!(shadow.choice(Choice::B(4)).await.expect("runs").t, 4);
        assert_eq!(
            shadow
                .choice(Choice::C { c: Item { n: 5 } })
                .await
                .expect("runs")
                .t,
            5
        );
        assert_eq!(shadow.choice(Choice::A).await.expect("runs").t, 0);
        shadow.tell().accepted().await.expect("was sent");
    })
    .await;
}

mod nested {
    pub(crate) mod deeper {
        use helve::prelude::*;

        /// Less visible than the interface's own signature would want; that is the user's warning, not an error.
        #[derive(Wire)]
        struct Private(u8);

        #[interface]
        #[allow(private_interfaces, private_bounds)]
        pub(crate) trait Inner {
            async fn private(&self, value: Private) -> Private;
            async fn public(&self) -> u8;
        }

        #[interface]
        pub(super) trait ForParent {
            async fn parent(&self) -> u8;
        }

        pub(crate) struct It;

        #[allow(private_interfaces)]
        impl Inner for It {
            async fn private(&self, value: Private) -> Private {
                Private(value.0 + 1)
            }
            async fn public(&self) -> u8 {
                let me = InnerHandle::new(It);
                me.private(Private(1)).await.expect("runs").0
            }
        }
        impl ForParent for It {
            async fn parent(&self) -> u8 {
                1
            }
        }
    }

    pub(crate) async fn parent() -> u8 {
        deeper::ForParentHandle::new(deeper::It)
            .parent()
            .await
            .expect("runs")
    }
}

#[tokio::test]
async fn interfaces_of_every_visibility_work() {
    both(
        nested::deeper::InnerHandle::new(nested::deeper::It),
        |inner| async move {
            assert_eq!(inner.public().await.expect("runs"), 2);
        },
    )
    .await;
    assert_eq!(nested::parent().await, 1);
}

#[tokio::test]
async fn an_interface_and_its_types_may_stand_in_a_function() {
    use helve::prelude::*;

    #[derive(Wire)]
    struct Local {
        n: u8,
    }

    #[interface]
    trait InFunction {
        async fn bump(&self, local: Local) -> Local;
    }

    struct It;
    impl InFunction for It {
        async fn bump(&self, local: Local) -> Local {
            Local { n: local.n + 1 }
        }
    }

    both(InFunctionHandle::new(It), |it| async move {
        assert_eq!(it.bump(Local { n: 1 }).await.expect("runs").n, 2);
    })
    .await;
}

macro_rules! make_interface {
    ($name:ident, $method:ident, $ty:ty) => {
        #[helve::interface]
        trait $name {
            async fn $method(&self, value: $ty, text: &str) -> $ty;
        }
    };
}

make_interface!(Made, by_macro, u32);

#[tokio::test]
async fn an_interface_may_come_out_of_a_macro() {
    struct It;
    impl Made for It {
        async fn by_macro(&self, value: u32, text: &str) -> u32 {
            value + text.len() as u32
        }
    }
    both(MadeHandle::new(It), |made| async move {
        assert_eq!(made.by_macro(1, "ab").await.expect("runs"), 3);
    })
    .await;
}

#[helve::interface]
trait Odd {
    /// Argument names that generated code might use itself.
    #[allow(clippy::too_many_arguments)]
    async fn odd(
        &self,
        object: u8,
        call: u8,
        args: u8,
        lease: u8,
        me: u8,
        rt: u8,
        line: u8,
        o: u8,
        a: u8,
    ) -> u8;
}

#[tokio::test]
async fn arguments_may_have_any_name() {
    struct It;
    impl Odd for It {
        async fn odd(
            &self,
            object: u8,
            call: u8,
            args: u8,
            lease: u8,
            me: u8,
            rt: u8,
            line: u8,
            o: u8,
            a: u8,
        ) -> u8 {
            object + call + args + lease + me + rt + line + o + a
        }
    }
    both(OddHandle::new(It), |odd| async move {
        assert_eq!(odd.odd(1, 2, 3, 4, 5, 6, 7, 8, 9).await.expect("runs"), 45);
    })
    .await;
}
