//! `impl Wire`: the description, and the walks over handles inside.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::mirror::without_self;
use super::model::{Body, Field, Fields, Model, Style, Variant};
use crate::attributes::{is_std, without_defaults};

pub(super) fn expand(model: &Model) -> TokenStream {
    let ty = model.ty();
    let (impl_generics, _, where_clause) = model.generics.split_for_impl();
    let describe = describe(model);
    let walks = model.serde.proxy.is_none() && !model.opaque;
    let markers = walks.then(|| markers(model));
    let lend = walk(
        model,
        walks,
        |marker, field| quote!(::helve::__rt::lend::<#marker>(#field, lease);),
        quote!(()),
    );
    let lent = walk(
        model,
        walks,
        |marker, field| quote!(if ::helve::__rt::lent::<#marker>(#field) { return true; }),
        quote!(false),
    );
    let plain = is_plain(model).then(|| {
        // A type of the user's may have the name of one of std: it answers for itself.
        let types = model
            .fields()
            .filter(|field| !field.serde.skip)
            .map(|field| &field.ty);
        quote!(
            const PLAIN: bool = true #(&& <#types as ::helve::__rt::Wire>::PLAIN)*;
        )
    });
    quote! {
        #markers
        #[automatically_derived]
        impl #impl_generics ::helve::__rt::Wire for #ty #where_clause {
            fn describe() -> ::helve::__rt::TypeDesc {
                #describe
            }
            #plain
            #[allow(unused_variables)]
            fn __lend(&mut self, lease: &::helve::__rt::Lease) {
                #lend
            }
            fn __lent(&self) -> bool {
                #lent
            }
        }
    }
}

/// Whether no handle can be inside, by the words of its fields. The types of other words are not asked: a recursive type
/// would go round in circles.
fn is_plain(model: &Model) -> bool {
    model.serde.proxy.is_none()
        && !model.has_serde
        && model
            .fields()
            .filter(|field| !field.serde.skip)
            .all(|field| !field.is_opaque() && is_std(&field.ty))
}

/// One marker for each field, so that a missing `Wire` is one error of ours at the field.
fn markers(model: &Model) -> TokenStream {
    let (impl_generics, _, where_clause) = model.generics.split_for_impl();
    let mut generics = model.generics.clone();
    without_defaults(&mut generics);
    let parameters = generics.params.iter();
    let held = model
        .generics
        .type_params()
        .map(|parameter| &parameter.ident);
    let typed = model.fields().filter(|field| field.is_walked()).map(|field| {
        let (marker, ty) = (model.marker(field), &field.ty);
        let ty = without_self(ty, &model.ty());
        quote!(impl #impl_generics ::helve::__rt::Typed for #marker #where_clause { type T = #ty; })
    });
    quote! {
        struct __HelveField<const __AT: usize, #(#parameters),*>(::helve::__rt::PhantomData<fn() -> (#(#held,)*)>) #where_clause;
        #(#typed)*
    }
}

fn describe(model: &Model) -> TokenStream {
    if model.opaque {
        return quote!(::helve::__rt::TypeDesc::Opaque);
    }
    if let Some(proxy) = &model.serde.proxy {
        return quote_spanned!(proxy.span()=> ::helve::__rt::TypeDesc::Same(::helve::__rt::TypeRef::of::<#proxy>()));
    }
    let name = &model.wire_name;
    match &model.body {
        Body::Struct(fields) => {
            let sent = fields.fields.iter().filter(|field| !field.serde.skip);
            match (fields.style, model.inner()) {
                (Style::Unit, _) => quote!(::helve::__rt::TypeDesc::Unit),
                // The field's own form, which may be that of a leaf.
                (_, Some(inner)) => {
                    let inner = type_ref(model, inner);
                    quote!(::helve::__rt::TypeDesc::Same(#inner))
                }
                (Style::Unnamed, None) => {
                    let items = sent.map(|item| type_ref(model, item));
                    quote!(::helve::__rt::TypeDesc::Tuple(
                        ::helve::__rt::vec![#(#items),*]
                    ))
                }
                (Style::Named, None) => {
                    let fields = sent.map(|field| field_desc(model, field));
                    quote! {
                        ::helve::__rt::TypeDesc::Struct { name: #name, fields: ::helve::__rt::vec![#(#fields),*] }
                    }
                }
            }
        }
        Body::Enum(variants) => {
            let repr = match (&model.serde.tag, &model.serde.content) {
                _ if model.serde.untagged => quote!(Untagged),
                (Some(tag), Some(content)) => quote!(Adjacent(#tag, #content)),
                (Some(tag), None) => quote!(Internal(#tag)),
                _ => quote!(External),
            };
            let variants = variants
                .iter()
                .filter(|variant| !variant.skip)
                .map(|each| variant(model, each));
            quote! {
                ::helve::__rt::TypeDesc::Enum {
                    name: #name,
                    repr: ::helve::__rt::EnumRepr::#repr,
                    variants: ::helve::__rt::vec![#(#variants),*],
                }
            }
        }
    }
}

fn variant(model: &Model, variant: &Variant) -> TokenStream {
    let name = &variant.wire_name;
    let Fields { style, fields } = &variant.fields;
    let shape = match (style, fields.len()) {
        // What its own code writes is one value.
        _ if variant.with => quote!(Newtype),
        (Style::Unit, _) => quote!(Unit),
        // serde writes a newtype whose field is skipped as a unit.
        (Style::Unnamed, 1) if fields.iter().all(|field| field.serde.skip) => quote!(Unit),
        (Style::Unnamed, 1) => quote!(Newtype),
        (Style::Unnamed, _) => quote!(Tuple),
        (Style::Named, _) => quote!(Struct),
    };
    let fields = match variant.with {
        true => vec![quote!(::helve::__rt::FieldDesc {
            name: "",
            ty: ::helve::__rt::TypeRef::OPAQUE,
            flags: 0,
            view: ::helve::__rt::None
        })],
        false => fields
            .iter()
            .filter(|field| !field.serde.skip)
            .map(|field| field_desc(model, field))
            .collect(),
    };
    quote! {
        ::helve::__rt::VariantDesc {
            name: #name,
            shape: ::helve::__rt::Shape::#shape,
            fields: ::helve::__rt::vec![#(#fields),*],
        }
    }
}

fn field_desc(model: &Model, field: &Field) -> TokenStream {
    let (name, ty) = (&field.wire_name, type_ref(model, field));
    // The flags of `FieldDesc`.
    let flags = u8::from(field.serde.default)
        | u8::from(field.serde.skippable) << 1
        | u8::from(field.js_number) << 2
        | u8::from(field.serde.flatten) << 3;
    let view = match &field.track.view {
        Some(view) => quote!(::helve::__rt::Some(#view)),
        None => quote!(::helve::__rt::None),
    };
    quote!(::helve::__rt::FieldDesc { name: #name, ty: #ty, flags: #flags, view: #view })
}

fn type_ref(model: &Model, field: &Field) -> TokenStream {
    if field.is_opaque() {
        return quote!(::helve::__rt::TypeRef::OPAQUE);
    }
    let marker = model.marker(field);
    quote!(::helve::__rt::TypeRef::marked::<#marker>())
}

/// Runs `step` for each field that is `Wire`, then yields `end`.
fn walk(
    model: &Model,
    walks: bool,
    step: impl Fn(TokenStream, TokenStream) -> TokenStream,
    end: TokenStream,
) -> TokenStream {
    if !walks {
        return end;
    }
    let arm = |path: TokenStream, fields: &Fields| {
        let walked = fields.fields.iter().filter(|field| field.is_walked());
        let (mut bindings, mut steps) = (Vec::new(), Vec::new());
        for field in walked {
            let (member, binding, marker) = (&field.member, field.binding(), model.marker(field));
            bindings.push(quote!(#member: #binding));
            steps.push(step(marker, quote!(#binding)));
        }
        quote!(#path { #(#bindings,)* .. } => { #(#steps)* })
    };
    let arms: Vec<_> = match &model.body {
        Body::Struct(fields) => vec![arm(quote!(Self), fields)],
        Body::Enum(variants) if variants.is_empty() => return quote!(match *self {}),
        Body::Enum(variants) => {
            let arms = variants.iter().map(|variant| {
                let name = &variant.name;
                arm(quote!(Self::#name), &variant.fields)
            });
            arms.collect()
        }
    };
    quote! {
        match self { #(#arms)* }
        #end
    }
}
