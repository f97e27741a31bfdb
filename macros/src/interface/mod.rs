//! `#[interface]`. [`model`] is what is known of the trait, [`parse`] and [`passing`] read it and say what is wrong, and the rest
//! writes: [`object`] the erased object and its dispatch, [`handle`] the handle, [`describe`] the descriptor.

mod describe;
mod handle;
mod model;
mod object;
mod parse;
mod passing;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ItemTrait;

use crate::attributes::Errors;
use model::Interface;

/// The whole expansion. With errors it holds them and as much of the rest as makes sense, so that one mistake is not
/// followed by an "unknown type" at each use of the trait.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item: ItemTrait = match syn::parse2(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    let mut errors = Errors::default();
    let interface = Interface::read(arguments, item, &mut errors);
    let errors = errors.into_tokens();
    let the_trait = &interface.rewritten;
    let name = &interface.name;
    let cfgs = &interface.cfgs;
    let not_implemented = format!("`{{Self}}` does not implement the interface `{name}`");
    let on_unimplemented = quote_spanned! {name.span()=>
        #cfgs
        #[diagnostic::on_unimplemented(message = #not_implemented, label = "neither an object of this interface nor its handle")]
    };
    // No handle can be made of a trait with lifetimes: whatever stood here would be a second error.
    let makes_handle = interface.generics.lifetimes().next().is_none();
    let rest = makes_handle.then(|| {
        let (ids, object, handle) = (
            interface.ids(),
            object::expand(&interface),
            handle::expand(&interface),
        );
        quote!(#ids #object #handle)
    });
    quote! {
        #errors
        #on_unimplemented
        #the_trait
        #rest
    }
}

/// Lints that generated code may trip over, and the user can do nothing about.
pub(crate) fn quiet() -> TokenStream {
    quote! {
        #[allow(
            dead_code, deprecated, missing_docs, missing_debug_implementations, private_bounds, private_interfaces,
            unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction
        )]
    }
}
