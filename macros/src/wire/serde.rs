//! serde's attributes, as far as a description follows them. serde itself reports the ones that make no sense.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitStr, Token, Type, WherePredicate};

use super::case::Case;
use crate::attributes::Errors;

/// Of a type.
#[derive(Default)]
pub(super) struct Container {
    pub(super) rename: Option<String>,
    pub(super) rename_all: Option<Case>,
    pub(super) rename_all_fields: Option<Case>,
    pub(super) tag: Option<String>,
    pub(super) content: Option<String>,
    pub(super) untagged: bool,
    pub(super) transparent: bool,
    pub(super) default: bool,
    /// What it is converted into before it is written, or from when it is read.
    pub(super) proxy: Option<Type>,
    pub(super) bounds: Vec<WherePredicate>,
}

/// Of a field or a variant.
#[derive(Default)]
pub(super) struct Part {
    pub(super) rename: Option<String>,
    pub(super) rename_all: Option<Case>,
    /// Neither written nor read.
    pub(super) skip: bool,
    pub(super) skippable: bool,
    pub(super) default: bool,
    /// `default` without a path: serde asks for `Default`.
    pub(super) plain_default: bool,
    pub(super) flatten: bool,
    /// Written or read by code of its own.
    pub(super) with: bool,
    pub(super) untagged: bool,
    pub(super) bounds: Vec<WherePredicate>,
}

impl Container {
    pub(super) fn read(attributes: &[Attribute], errors: &mut Errors) -> Container {
        let mut container = Container::default();
        each(attributes, errors, |meta, errors| {
            match &*meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default()
            {
                "rename" => container.rename = name(meta)?,
                "rename_all" => container.rename_all = name(meta)?.as_deref().and_then(Case::parse),
                "rename_all_fields" => {
                    container.rename_all_fields = name(meta)?.as_deref().and_then(Case::parse)
                }
                "tag" => container.tag = text(meta)?,
                "content" => container.content = text(meta)?,
                "untagged" => container.untagged = true,
                "transparent" => container.transparent = true,
                "default" => {
                    container.default = true;
                    text(meta)?;
                }
                "into" => container.proxy = Some(meta.value()?.parse::<LitStr>()?.parse()?),
                "from" | "try_from" => {
                    let ty = meta.value()?.parse::<LitStr>()?.parse()?;
                    container.proxy.get_or_insert(ty);
                }
                "bound" => container.bounds.append(&mut bounds(meta)?),
                name @ ("remote" | "crate") => {
                    errors.at(&meta.path, format!("`#[derive(Wire)]` states serde's `{name}` itself; for a type with impls of its own write `#[wire(serde)]`"));
                    text(meta)?;
                }
                _ => ignore(meta)?,
            }
            Ok(())
        });
        container
    }
}

impl Part {
    pub(super) fn read(attributes: &[Attribute], errors: &mut Errors) -> Part {
        let mut part = Part::default();
        each(attributes, errors, |meta, _| {
            match &*meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default()
            {
                "rename" => part.rename = name(meta)?,
                "rename_all" => part.rename_all = name(meta)?.as_deref().and_then(Case::parse),
                "skip" => {
                    part.skip = true;
                    part.plain_default = true;
                }
                "skip_serializing" => {
                    part.skippable = true;
                    part.default = true;
                }
                "skip_deserializing" => {
                    part.default = true;
                    part.plain_default = true;
                }
                "skip_serializing_if" => {
                    part.skippable = true;
                    text(meta)?;
                }
                "default" => {
                    part.default = true;
                    part.plain_default = text(meta)?.is_none();
                }
                "flatten" => part.flatten = true,
                "with" | "serialize_with" | "deserialize_with" => {
                    part.with = true;
                    text(meta)?;
                }
                "untagged" => part.untagged = true,
                "bound" => part.bounds.append(&mut bounds(meta)?),
                _ => ignore(meta)?,
            }
            Ok(())
        });
        part
    }
}

fn each(
    attributes: &[Attribute],
    errors: &mut Errors,
    mut read: impl FnMut(&ParseNestedMeta<'_>, &mut Errors) -> syn::Result<()>,
) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
    {
        if let Err(error) = attribute.parse_nested_meta(|meta| read(&meta, errors)) {
            errors.push(error);
        }
    }
}

/// The value of `name = "value"`; nothing where there is none.
fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    if !meta.input.peek(Token![=]) {
        return Ok(None);
    }
    Ok(Some(meta.value()?.parse::<LitStr>()?.value()))
}

/// `rename = ".."` or `rename(serialize = "..", deserialize = "..")`: what is written.
fn name(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return text(meta);
    }
    let mut written = None;
    meta.parse_nested_meta(|side| {
        let value = text(&side)?;
        if side.path.is_ident("serialize") {
            written = value;
        }
        Ok(())
    })?;
    Ok(written)
}

/// `bound = ".."` or `bound(serialize = "..", deserialize = "..")`: all of them.
fn bounds(meta: &ParseNestedMeta<'_>) -> syn::Result<Vec<WherePredicate>> {
    let parse = |literal: LitStr| {
        let parser = syn::punctuated::Punctuated::<WherePredicate, Token![,]>::parse_terminated;
        literal
            .parse_with(parser)
            .map(|bounds| bounds.into_iter().collect::<Vec<_>>())
    };
    if meta.input.peek(Token![=]) {
        return parse(meta.value()?.parse()?);
    }
    let mut bounds = Vec::new();
    meta.parse_nested_meta(|side| {
        bounds.append(&mut parse(side.value()?.parse()?)?);
        Ok(())
    })?;
    // Bounds on `Deserialize<'de>` hold by `DeserializeOwned`, and name a lifetime that is unknown here.
    bounds.retain(|bound| !quote::quote!(#bound).to_string().contains("'de"));
    Ok(bounds)
}

fn ignore(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}
