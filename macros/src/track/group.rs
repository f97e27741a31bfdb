//! The fields that stand in one pattern, how they are handled together, and the patterns.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::part::is_whole_variant;
use crate::wire::model::{Body, Field, Fields, Model, Style, Variant};

/// The fields that stand in one pattern: those of a struct, or of a variant.
pub(super) struct Group<'a> {
    /// `Self` or `Self::Variant`.
    pub(super) path: TokenStream,
    /// Of its shadow.
    pub(super) shadow: TokenStream,
    pub(super) kind: Kind,
    pub(super) fields: &'a Fields,
}

pub(super) enum Kind {
    /// A newtype: what it holds stands for it.
    Inner,
    /// A Fields node.
    Fields,
    /// An Enum node: the ordinal, and how deep its fields stand in the value.
    Variant { ordinal: u32, levels: u32 },
    /// A variant that is compared and sent as a whole.
    Whole,
    /// A variant that is not sent.
    Skipped,
}

/// `a` and `b` for the field of this index.
pub(super) fn names(field: &Field) -> (Ident, Ident) {
    (field.binding(), format_ident!("__other{}", field.index))
}

impl<'a> Group<'a> {
    /// The fields that are tracked, with their ordinals.
    pub(super) fn tracked(&self) -> impl Iterator<Item = (u32, &'a Field)> {
        let is_tracked = matches!(self.kind, Kind::Inner | Kind::Fields | Kind::Variant { .. });
        let sent = self.fields.fields.iter().filter(|field| !field.serde.skip);
        (0..).zip(sent.filter(move |_| is_tracked))
    }

    /// The fields that stay with the process.
    pub(super) fn kept(&self) -> impl Iterator<Item = &'a Field> {
        self.fields.fields.iter().filter(|field| field.serde.skip)
    }

    /// A pattern that binds these fields.
    pub(super) fn pattern<'f>(
        &self,
        fields: impl Iterator<Item = &'f Field>,
        second: bool,
    ) -> TokenStream {
        let path = &self.path;
        let bound = fields.map(|field| {
            let (first, other) = names(field);
            let (member, name) = (&field.member, if second { other } else { first });
            quote!(#member: #name)
        });
        quote!(#path { #(#bound,)* .. })
    }

    /// A pattern of the shadow.
    pub(super) fn shadow_pattern(&self) -> TokenStream {
        let shadow = &self.shadow;
        if let Kind::Whole = self.kind {
            return quote!(#shadow { __whole, .. });
        }
        let bound = self.tracked().map(|(_, field)| {
            let (name, was) = names(field);
            quote!(#name: #was)
        });
        quote!(#shadow { #(#bound,)* .. })
    }
}

/// Those of a struct, or of each variant.
pub(super) fn groups<'a>(model: &'a Model) -> Vec<Group<'a>> {
    match &model.body {
        Body::Struct(fields) => vec![Group {
            path: quote!(Self),
            shadow: quote!(__HelveShadow),
            kind: match model.inner() {
                Some(_) => Kind::Inner,
                None => Kind::Fields,
            },
            fields,
        }],
        Body::Enum(variants) => {
            let mut ordinals = 0..;
            let group = |(at, variant): (usize, &'a Variant)| {
                let (name, shadow) = (&variant.name, format_ident!("__Variant{at}"));
                Group {
                    path: quote!(Self::#name),
                    shadow: quote!(__HelveShadow::#shadow),
                    kind: kind(model, variant, &mut ordinals),
                    fields: &variant.fields,
                }
            };
            variants.iter().enumerate().map(group).collect()
        }
    }
}

/// How a variant is handled. `ordinals` counts those that are sent.
fn kind(model: &Model, variant: &Variant, ordinals: &mut std::ops::RangeFrom<u32>) -> Kind {
    if variant.skip {
        return Kind::Skipped;
    }
    let ordinal = ordinals.next().unwrap_or_default();
    if is_whole_variant(variant) {
        return Kind::Whole;
    }
    let is_newtype = variant.fields.style == Style::Unnamed && variant.fields.fields.len() == 1;
    let is_internal = model.serde.tag.is_some() && model.serde.content.is_none();
    // `{tag: .., fields}`, against `{"B": {fields}}` and `{tag: "B", content: {fields}}`.
    let levels = 2 - u32::from(is_newtype) - u32::from(is_internal);
    Kind::Variant { ordinal, levels }
}
