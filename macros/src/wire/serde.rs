//! serde's attributes, as far as a description follows them. serde itself reports the ones that make no sense.

use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, ExprPath, LitStr, Path, Token, Type, WherePredicate};

use super::case::Case;
use crate::attributes::Errors;

/// Of a type.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename_all_fields: Option<Case>,
    pub(crate) tag: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) untagged: bool,
    pub(crate) transparent: bool,
    pub(crate) default: bool,
    /// Of `default = "path"`.
    pub(crate) default_path: Option<ExprPath>,
    /// What it is converted into before it is written, or from when it is read.
    pub(crate) proxy: Option<Type>,
    pub(crate) bounds: Vec<WherePredicate>,
    /// Attributes that name it otherwise when it is read than when it is written.
    pub(crate) one_way: Vec<Path>,
}

/// Of a field or a variant.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<Case>,
    /// Neither written nor read.
    pub(crate) skip: bool,
    pub(crate) skippable: bool,
    pub(crate) default: bool,
    /// `default` without a path: serde asks for `Default`.
    pub(crate) plain_default: bool,
    pub(crate) flatten: bool,
    /// Written or read by code of its own.
    pub(crate) with: bool,
    /// The path of each direction.
    pub(crate) serialize_with: Option<ExprPath>,
    pub(crate) deserialize_with: Option<ExprPath>,
    /// Of `skip_serializing_if`.
    pub(crate) skip_if: Option<ExprPath>,
    /// Of `default = "path"`.
    pub(crate) default_path: Option<ExprPath>,
    pub(crate) untagged: bool,
    /// What an unknown variant is read as.
    pub(crate) other: bool,
    pub(crate) bounds: Vec<WherePredicate>,
    /// Attributes that hold in one direction alone, or otherwise in each.
    pub(crate) one_way: Vec<Path>,
}

impl Container {
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Container {
        let mut container = Container::default();
        each(attributes, errors, |meta, errors| {
            match &*meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default()
            {
                "rename" => container.rename = name(meta, &mut container.one_way)?,
                "rename_all" => {
                    container.rename_all = case(meta, &mut container.one_way)?;
                }
                "rename_all_fields" => {
                    container.rename_all_fields = case(meta, &mut container.one_way)?;
                }
                "tag" => container.tag = text(meta)?,
                "content" => container.content = text(meta)?,
                "untagged" => container.untagged = true,
                "transparent" => container.transparent = true,
                "default" => {
                    container.default = true;
                    container.default_path = path(meta)?;
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
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Part {
        let mut part = Part::default();
        each(attributes, errors, |meta, _| {
            match &*meta
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default()
            {
                "rename" => part.rename = name(meta, &mut part.one_way)?,
                "rename_all" => part.rename_all = case(meta, &mut part.one_way)?,
                "skip" => {
                    part.skip = true;
                    part.plain_default = true;
                }
                "skip_serializing" => {
                    part.one_way.push(meta.path.clone());
                    part.skippable = true;
                    part.default = true;
                }
                "skip_deserializing" => {
                    part.one_way.push(meta.path.clone());
                    part.default = true;
                    part.plain_default = true;
                }
                "skip_serializing_if" => {
                    part.skippable = true;
                    part.skip_if = path(meta)?;
                }
                "default" => {
                    part.default = true;
                    part.default_path = path(meta)?;
                    part.plain_default = part.default_path.is_none();
                }
                "flatten" => part.flatten = true,
                "with" => {
                    part.with = true;
                    let module = path(meta)?;
                    part.serialize_with = module.as_ref().map(|module| within(module, "serialize"));
                    part.deserialize_with = module.map(|module| within(&module, "deserialize"));
                }
                "serialize_with" => {
                    part.with = true;
                    part.serialize_with = path(meta)?;
                }
                "deserialize_with" => {
                    part.with = true;
                    part.deserialize_with = path(meta)?;
                }
                "untagged" => part.untagged = true,
                "other" => part.other = true,
                "bound" => part.bounds.append(&mut bounds(meta)?),
                _ => ignore(meta)?,
            }
            Ok(())
        });
        let skips = ["skip_serializing", "skip_deserializing"];
        if skips
            .iter()
            .all(|skip| part.one_way.iter().any(|path| path.is_ident(skip)))
        {
            // The two together are `skip`.
            part.skip = true;
            part.one_way
                .retain(|path| !skips.iter().any(|skip| path.is_ident(skip)));
        }
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

/// The path in `name = "path"`; nothing where there is none.
fn path(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<ExprPath>> {
    if !meta.input.peek(Token![=]) {
        return Ok(None);
    }
    meta.value()?.parse::<LitStr>()?.parse().map(Some)
}

/// `module::name`.
fn within(module: &ExprPath, name: &str) -> ExprPath {
    let mut path = module.clone();
    let name = syn::Ident::new(name, module.span());
    path.path.segments.push(name.into());
    path
}

/// `rename = ".."` or `rename(serialize = "..", deserialize = "..")`: what is written. Where another name is read, the
/// attribute goes into `one_way`.
fn name(meta: &ParseNestedMeta<'_>, one_way: &mut Vec<Path>) -> syn::Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return text(meta);
    }
    let (mut written, mut read) = (None, None);
    meta.parse_nested_meta(|side| {
        let value = text(&side)?;
        match side.path.is_ident("serialize") {
            true => written = value,
            false => read = value,
        }
        Ok(())
    })?;
    if written != read {
        one_way.push(meta.path.clone());
    }
    Ok(written)
}

/// As [`name`], of a rule for names.
fn case(meta: &ParseNestedMeta<'_>, one_way: &mut Vec<Path>) -> syn::Result<Option<Case>> {
    Ok(name(meta, one_way)?.as_deref().and_then(Case::parse))
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
