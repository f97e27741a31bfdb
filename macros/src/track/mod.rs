//! `#[derive(Track)]`. It sees a type as `#[derive(Wire)]` does: [`options`] reads its own attributes, [`check`] says what
//! cannot be tracked, [`part`] chooses how each field is handled, [`group`] puts together those of a variant, [`generate`]
//! writes the impl. [`key`] is `#[derive(Key)]`.

mod check;
mod generate;
mod group;
pub(crate) mod key;
pub(crate) mod options;
mod part;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::attributes::Errors;
use crate::wire::model::Model;

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let model = Model::read(&input, &mut errors);
    if let Some(model) = &model {
        check::model(&input, model, &mut errors);
    }
    let errors = errors.into_tokens();
    let items = match model {
        Some(model) if errors.is_empty() => generate::expand(&model),
        // Enough that the type counts as `Track` where it is used.
        _ => generate::stub(&input),
    };
    quote! {
        #errors
        #[doc(hidden)]
        #[allow(
            dead_code, deprecated, non_local_definitions, nonstandard_style, private_bounds, private_interfaces, unreachable_code, unreachable_patterns,
            unreachable_pub, unused_qualifications, unused_variables, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction
        )]
        const _: () = { #items };
    }
}
