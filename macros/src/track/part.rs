//! How each field is handled: as something that is tracked itself, as a leaf, and whether it may be left out. The types
//! named here are those of `helve_handles::track::part`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::options::Leaf;
use crate::attributes::last_word;
use crate::wire::mirror::without_self;
use crate::wire::model::{Body, Field, Model, Variant};

/// Whether the type is compared and sent as a whole: what its fields say is not what is written.
pub(super) fn is_whole(model: &Model) -> bool {
    model.serde.proxy.is_some() || model.opaque || model.serde.untagged
}

/// Whether a variant is compared and sent as a whole.
pub(super) fn is_whole_variant(variant: &Variant) -> bool {
    variant.with || variant.serde.untagged
}

pub(super) fn is_option(field: &Field) -> bool {
    last_word(&field.ty).is_some_and(|word| word.ident == "Option")
}

/// Whether serde makes something of it where it is missing.
pub(super) fn has_default(field: &Field) -> bool {
    // serde asks a type for what it is when missing only where it also reads it.
    field.serde.default || (is_option(field) && field.serde.deserialize_with.is_none())
}

/// What handles a leaf. Where it cannot be compared, the error is at `span`.
pub(super) fn leaf(how: Option<Leaf>, code: TokenStream, span: Span) -> TokenStream {
    match how.unwrap_or(Leaf::Encoded) {
        Leaf::Equal => quote_spanned!(span=> ::helve::__rt::track::Equal<#code>),
        Leaf::Encoded => quote_spanned!(span=> ::helve::__rt::track::Encoded<#code>),
    }
}

/// What handles a field.
pub(super) fn part(model: &Model, field: &Field) -> TokenStream {
    let (marker, span) = (model.marker(field), field.ty.span());
    let part = match field.is_opaque() {
        true => leaf(
            field.track.leaf,
            quote!(::helve::__rt::track::Through<#marker>),
            span,
        ),
        false => quote!(::helve::__rt::track::Own<#marker>),
    };
    match field.serde.skip_if {
        Some(_) => quote!(::helve::__rt::track::Slotted<#part, #marker>),
        None => part,
    }
}

/// What the parts ask of the marker of a field.
pub(super) fn marker(model: &Model, generics: &syn::Generics, field: &Field) -> TokenStream {
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (marker, span) = (model.marker(field), field.ty.span());
    let ty = without_self(&field.ty, &model.ty());
    let main = if field.is_opaque() {
        let own = |name| quote_spanned!(span=> ::helve::__rt::serde::#name);
        let out = match &field.serde.serialize_with {
            Some(path) => quote!(#path),
            None => own(quote!(Serialize::serialize)),
        };
        let back = match &field.serde.deserialize_with {
            Some(path) => quote!(#path),
            None => own(quote!(Deserialize::deserialize)),
        };
        quote! {
            impl #impl_generics ::helve::__rt::track::Foreign for #marker #where_clause {
                type T = #ty;
                fn serialize<__S: ::helve::__rt::serde::Serializer>(
                    __value: &Self::T, __serializer: __S,
                ) -> ::helve::__rt::Result<__S::Ok, __S::Error> {
                    #out(__value, __serializer)
                }
                fn deserialize<'__helve_de, __D: ::helve::__rt::serde::Deserializer<'__helve_de>>(
                    __deserializer: __D,
                ) -> ::helve::__rt::Result<Self::T, __D::Error> {
                    #back(__deserializer)
                }
            }
        }
    } else {
        quote!(impl #impl_generics ::helve::__rt::track::Held for #marker #where_clause { type T = #ty; })
    };
    let slot = field.serde.skip_if.as_ref().map(|skip_if| {
        let absent = absent(model, field);
        quote! {
            impl #impl_generics ::helve::__rt::track::Skippable for #marker #where_clause {
                type T = #ty;
                fn is_skipped(__value: &Self::T) -> bool {
                    #skip_if(__value)
                }
                fn absent() -> Self::T {
                    #absent
                }
            }
        }
    });
    quote!(#main #slot)
}

/// What serde makes of a field that is missing.
fn absent(model: &Model, field: &Field) -> TokenStream {
    let in_struct = matches!(model.body, Body::Struct(_));
    let (ty, member) = (model.ty(), &field.member);
    if let Some(path) = &field.serde.default_path {
        quote!(#path())
    } else if field.serde.plain_default {
        quote!(::helve::__rt::Default::default())
    } else if let (true, Some(path)) = (in_struct, &model.serde.default_path) {
        quote!({ let __all: #ty = #path(); __all.#member })
    } else if in_struct && model.serde.default {
        quote!({ let __all: #ty = ::helve::__rt::Default::default(); __all.#member })
    } else {
        quote!(::helve::__rt::None)
    }
}
