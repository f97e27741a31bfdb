//! `#[derive(Wire)]`. [`serde`] reads serde's attributes as far as the description needs them, [`check`] says what
//! cannot travel, [`mirror`] has serde's own derive write the two impls, [`describe`] writes `Wire`.

mod case;
mod check;
mod describe;
pub(crate) mod mirror;
pub(crate) mod model;
pub(crate) mod serde;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::attributes::Errors;
use model::Model;

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let model = Model::read(&input, &mut errors);
    let errors = errors.into_tokens();
    let items = match model {
        Some(model) if errors.is_empty() => {
            let serde = (!model.has_serde).then(|| mirror::expand(&input, &model));
            let wire = describe::expand(&model);
            quote!(#serde #wire)
        }
        // Enough that the type counts as `Wire` where it is used.
        _ => mirror::stub(&input),
    };
    quote! {
        #errors
        #[doc(hidden)]
        #[allow(
            dead_code, deprecated, non_local_definitions, nonstandard_style, private_bounds, private_interfaces, unreachable_pub, unused_qualifications,
            clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction
        )]
        const _: () = { #items };
    }
}
