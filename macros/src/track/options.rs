//! `#[track(..)]`. `#[derive(Wire)]` reads it too, since the description says what is a leaf and what has a view; what
//! is wrong with it `#[derive(Track)]` alone reports.

use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, LitStr, Token, WherePredicate};

/// How a leaf is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// `leaf`: by `==`.
    Equal,
    /// `leaf = bytes`: by what is written.
    Encoded,
}

/// Of a type.
#[derive(Default)]
pub(crate) struct TypeOptions {
    pub(crate) leaf: Option<Leaf>,
    /// In place of those that are inferred.
    pub(crate) bound: Option<Vec<WherePredicate>>,
    pub(crate) errors: Vec<syn::Error>,
}

/// Of a field.
#[derive(Default)]
pub(crate) struct FieldOptions {
    pub(crate) leaf: Option<Leaf>,
    pub(crate) view: Option<LitStr>,
    pub(crate) errors: Vec<syn::Error>,
}

impl TypeOptions {
    pub(crate) fn read(attributes: &[Attribute]) -> TypeOptions {
        let mut options = TypeOptions::default();
        let errors = each(attributes, |meta| {
            if meta.path.is_ident("leaf") {
                options.leaf = Some(leaf(meta)?);
            } else if meta.path.is_ident("bound") {
                let text: LitStr = meta.value()?.parse()?;
                let bounds =
                    text.parse_with(Punctuated::<WherePredicate, Token![,]>::parse_terminated)?;
                options.bound = Some(bounds.into_iter().collect());
            } else {
                return Err(meta.error(
                    "unknown option: on a type it is `bound = \"..\"`, on a newtype also `leaf` or `leaf = bytes`",
                ));
            }
            Ok(())
        });
        options.errors = errors;
        options
    }
}

impl FieldOptions {
    pub(crate) fn read(attributes: &[Attribute]) -> FieldOptions {
        let mut options = FieldOptions::default();
        let errors = each(attributes, |meta| {
            if meta.path.is_ident("leaf") {
                options.leaf = Some(leaf(meta)?);
            } else if meta.path.is_ident("view") {
                options.view = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error(
                    "unknown option: on a field it is `leaf`, `leaf = bytes` or `view = \"..\"`",
                ));
            }
            Ok(())
        });
        options.errors = errors;
        options
    }
}

/// `leaf` or `leaf = bytes`.
fn leaf(meta: &ParseNestedMeta<'_>) -> syn::Result<Leaf> {
    if !meta.input.peek(Token![=]) {
        return Ok(Leaf::Equal);
    }
    let how: syn::Ident = meta.value()?.parse()?;
    match how == "bytes" {
        true => Ok(Leaf::Encoded),
        false => Err(syn::Error::new(
            how.span(),
            "a leaf is compared by `==`, or with `leaf = bytes` by what is written",
        )),
    }
}

fn each(
    attributes: &[Attribute],
    mut read: impl FnMut(&ParseNestedMeta<'_>) -> syn::Result<()>,
) -> Vec<syn::Error> {
    let attributes = attributes.iter().filter(|a| a.path().is_ident("track"));
    let read = attributes.map(|attribute| attribute.parse_nested_meta(|meta| read(&meta)));
    read.filter_map(Result::err).collect()
}
