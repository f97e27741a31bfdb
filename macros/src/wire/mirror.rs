//! serde's two traits, by serde's own derive on a hidden mirror of the type (`#[serde(remote = "..")]`): its attributes
//! keep their meaning, and users need no dependency on serde.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::visit_mut::VisitMut;
use syn::{Attribute, Data, DeriveInput, parse_quote};

use super::model::Model;
use crate::attributes::without_defaults;

const CRATE: &str = "::helve::__rt::serde";

pub(super) fn expand(input: &DeriveInput, model: &Model) -> TokenStream {
    let ty = model.ty();
    let mirror = mirror(input, model, &ty);
    let (impl_generics, type_generics, where_clause) = model.generics.split_for_impl();
    let mut with_lifetime = model.generics.clone();
    with_lifetime.params.insert(0, parse_quote!('__helve_de));
    let with_lifetime = with_lifetime.split_for_impl().0;
    let turbofish = type_generics.as_turbofish();
    quote! {
        #mirror
        #[automatically_derived]
        impl #impl_generics ::helve::__rt::serde::Serialize for #ty #where_clause {
            fn serialize<__S: ::helve::__rt::serde::Serializer>(
                &self, serializer: __S,
            ) -> ::helve::__rt::Result<__S::Ok, __S::Error> {
                __HelveMirror #turbofish::serialize(self, serializer)
            }
        }
        #[automatically_derived]
        impl #with_lifetime ::helve::__rt::serde::Deserialize<'__helve_de> for #ty #where_clause {
            fn deserialize<__D: ::helve::__rt::serde::Deserializer<'__helve_de>>(
                deserializer: __D,
            ) -> ::helve::__rt::Result<Self, __D::Error> {
                __HelveMirror #turbofish::deserialize(deserializer)
            }
        }
    }
}

/// The type again, with serde's attributes and no others.
fn mirror(input: &DeriveInput, model: &Model, ty: &TokenStream) -> DeriveInput {
    let mut mirror = input.clone();
    let serde_only = |attributes: &mut Vec<Attribute>| {
        attributes.retain(|attribute| attribute.path().is_ident("serde"))
    };
    serde_only(&mut mirror.attrs);
    mirror.attrs.iter_mut().for_each(name_default);
    match &mut mirror.data {
        Data::Struct(data) => data
            .fields
            .iter_mut()
            .for_each(|field| serde_only(&mut field.attrs)),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                serde_only(&mut variant.attrs);
                variant.discriminant = None;
                variant
                    .fields
                    .iter_mut()
                    .for_each(|field| serde_only(&mut field.attrs));
            }
        }
        Data::Union(_) => {}
    }
    // The bounds stand in the `where` that the mirror shares: serde's own inference would meet itself in recursive types.
    mirror.generics = model.generics.clone();
    without_defaults(&mut mirror.generics);
    if !mirror.generics.params.is_empty() && model.serde.bounds.is_empty() {
        mirror.attrs.push(parse_quote!(#[serde(bound = "")]));
    }
    NameSelf(ty).visit_data_mut(&mut mirror.data);
    let remote = input.ident.to_string();
    // serde names the type in the errors of a reader: by its own name.
    let is_rename = |attribute: &Attribute| {
        let text = attribute.to_token_stream().to_string().replace(' ', "");
        text.contains("rename=") || text.contains("rename(")
    };
    let renamed = mirror.attrs.iter().any(is_rename);
    if !renamed {
        let name = syn::ext::IdentExt::unraw(&input.ident).to_string();
        mirror.attrs.push(parse_quote!(#[serde(rename = #name)]));
    }
    mirror.attrs.insert(
        0,
        parse_quote!(#[derive(::helve::__rt::serde::Serialize, ::helve::__rt::serde::Deserialize)]),
    );
    mirror
        .attrs
        .push(parse_quote!(#[serde(remote = #remote, crate = #CRATE)]));
    mirror.ident = quote::format_ident!("__HelveMirror");
    mirror.vis = syn::Visibility::Inherited;
    mirror
}

/// `#[serde(default)]` of a type asks for the `Default` of the mirror; with a path it does not.
fn name_default(attribute: &mut Attribute) {
    let syn::Meta::List(list) = &mut attribute.meta else {
        return;
    };
    let parser = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
    // What does not parse is serde's to report.
    let Ok(mut metas) = list.parse_args_with(parser) else {
        return;
    };
    for meta in &mut metas {
        if matches!(meta, syn::Meta::Path(path) if path.is_ident("default")) {
            *meta = parse_quote!(default = "::helve::__rt::Default::default");
        }
    }
    list.tokens = quote!(#metas);
}

/// The type with `Self` written out, for places where `Self` is something else.
pub(crate) fn without_self(ty: &syn::Type, name: &TokenStream) -> syn::Type {
    let mut ty = ty.clone();
    NameSelf(name).visit_type_mut(&mut ty);
    ty
}

/// `Self` in the mirror is the mirror.
struct NameSelf<'a>(&'a TokenStream);

impl VisitMut for NameSelf<'_> {
    fn visit_type_mut(&mut self, ty: &mut syn::Type) {
        if crate::attributes::is_word(ty, "Self") {
            let name = self.0;
            *ty = parse_quote!(#name);
        }
        syn::visit_mut::visit_type_mut(self, ty);
    }
}

/// Impls without a body, for a type that was refused: the refusal is then the only error.
pub(super) fn stub(input: &DeriveInput) -> TokenStream {
    if input.generics.lifetimes().next().is_some() {
        // A type with a lifetime can be no `Wire`, whatever stands here.
        return TokenStream::new();
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let mut with_lifetime = input.generics.clone();
    with_lifetime.params.insert(0, parse_quote!('__helve_de));
    let with_lifetime = with_lifetime.split_for_impl().0;
    quote! {
        impl #impl_generics ::helve::__rt::serde::Serialize for #name #type_generics #where_clause {
            fn serialize<__S: ::helve::__rt::serde::Serializer>(
                &self, _: __S,
            ) -> ::helve::__rt::Result<__S::Ok, __S::Error> {
                loop {}
            }
        }
        impl #with_lifetime ::helve::__rt::serde::Deserialize<'__helve_de> for #name #type_generics #where_clause {
            fn deserialize<__D: ::helve::__rt::serde::Deserializer<'__helve_de>>(
                _: __D,
            ) -> ::helve::__rt::Result<Self, __D::Error> {
                loop {}
            }
        }
        impl #impl_generics ::helve::__rt::Wire for #name #type_generics #where_clause {
            fn describe() -> ::helve::__rt::TypeDesc {
                ::helve::__rt::TypeDesc::Unit
            }
        }
    }
}
