//! `#[derive(Key)]`: for newtypes and tuple structs of keys, and for enums without payload.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Generics, parse_quote};

use crate::attributes::{Errors, without_defaults};
use crate::wire::mirror::without_self;
use crate::wire::model::{Body, Field, Model, Style};

/// What to do where the macro cannot tell that equal keys are written alike.
const BY_HAND: &str = "nobody can tell whether equal ones are written as the same bytes: if they are, write `impl Key for ..`";

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let model = Model::read(&input, &mut errors);
    if let Some(model) = &model {
        check(model, &mut errors);
    }
    let errors = errors.into_tokens();
    let items = match model {
        Some(model) if errors.is_empty() => generate(&model),
        // Enough that the type counts as `Key` where it is used.
        _ => {
            let name = &input.ident;
            let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
            quote!(impl #impl_generics ::helve::__rt::track::Key for #name #type_generics #where_clause {})
        }
    };
    quote! {
        #errors
        #[doc(hidden)]
        #[allow(dead_code, private_bounds, private_interfaces, clippy::all, clippy::pedantic)]
        const _: () = { #items };
    }
}

fn check(model: &Model, errors: &mut Errors) {
    if model.serde.proxy.is_some() || model.opaque {
        errors.at(&model.name, BY_HAND);
        return;
    }
    match &model.body {
        Body::Struct(fields) if fields.style != Style::Unnamed && model.inner().is_none() => {
            errors.at(
                &model.name,
                "a key is a newtype or tuple struct of keys, or an enum without payload: leave the names of the fields away",
            );
        }
        Body::Struct(fields) => {
            for field in &fields.fields {
                if field.serde.skip {
                    errors.at(
                        &field.ty,
                        "a field that is not written cannot stand in a key: two that differ in it would be the same key to others",
                    );
                } else if field.is_opaque() {
                    errors.at(&field.ty, BY_HAND);
                }
            }
        }
        Body::Enum(variants) => {
            if model.serde.untagged || model.serde.tag.is_some() {
                errors.at(
                    &model.name,
                    "an enum that is a key is written as the name of its variant: leave `tag` and `untagged` away",
                );
            }
            for variant in variants {
                if variant.fields.style != Style::Unit {
                    errors.at(&variant.name, "an enum with a payload is no key");
                } else if variant.skip
                    || variant.with
                    || variant.serde.untagged
                    || variant.serde.other
                {
                    errors.at(
                        &variant.name,
                        "every variant of a key is written as a name of its own: leave serde's attributes away, but for `rename`",
                    );
                }
            }
        }
    }
}

/// The impl, and one marker for each field, so that one that is no key is an error at the field.
fn generate(model: &Model) -> TokenStream {
    let mut generics: Generics = model.generics.clone();
    let parameters: Vec<_> = generics.type_params().map(|p| p.ident.clone()).collect();
    let bounds = parameters
        .iter()
        .map(|p| -> syn::WherePredicate { parse_quote!(#p: ::helve::__rt::track::Key) });
    if !parameters.is_empty() {
        generics.make_where_clause().predicates.extend(bounds);
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let mut plain = generics.clone();
    without_defaults(&mut plain);
    let declared = plain.params.iter();
    let ty = model.ty();
    let keyed = model.fields().map(|field: &Field| {
        let (marker, inner) = (model.marker(field), without_self(&field.ty, &ty));
        quote!(impl #impl_generics ::helve::__rt::track::Keyed for #marker #where_clause { type T = #inner; })
    });
    quote! {
        struct __HelveField<const __AT: usize, #(#declared),*>(::helve::__rt::PhantomData<fn() -> (#(#parameters,)*)>) #where_clause;
        #(#keyed)*
        #[automatically_derived]
        impl #impl_generics ::helve::__rt::track::Key for #ty #where_clause {}
    }
}
