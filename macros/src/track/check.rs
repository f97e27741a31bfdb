//! What cannot be tracked, as far as a macro sees it.

use syn::{Data, DeriveInput, Path};

use super::part::{has_default, is_whole, is_whole_variant};
use crate::attributes::{Errors, Inside};
use crate::wire::model::{Body, Field, Fields, Model, Style};

pub(super) fn model(input: &DeriveInput, model: &Model, errors: &mut Errors) {
    for error in &model.track.errors {
        errors.push(error.clone());
    }
    one_way(&model.serde.one_way, errors);
    let is_leaf = is_whole(model);
    if model.track.leaf.is_some() && !is_leaf && model.inner().is_none() {
        let attribute = input.attrs.iter().find(|a| a.path().is_ident("track"));
        errors.at(
            attribute,
            "`leaf` goes on a newtype or on a field: put it on the fields that hold this type",
        );
    }
    match &model.body {
        Body::Struct(fields) => {
            let only = match &fields.fields[..] {
                [field] if fields.style == Style::Unnamed => Some(field),
                _ => None,
            };
            if let Some(field) = only {
                newtype(field, errors);
            }
            group(fields, is_leaf, errors);
        }
        Body::Enum(variants) => {
            for variant in variants.iter().filter(|variant| !variant.skip) {
                one_way(&variant.serde.one_way, errors);
                let is_leaf = is_leaf || is_whole_variant(variant);
                group(&variant.fields, is_leaf, errors);
            }
        }
    }
    if let Data::Enum(data) = &input.data {
        let attributes = data.variants.iter().flat_map(|variant| &variant.attrs);
        for attribute in attributes.filter(|a| a.path().is_ident("track")) {
            errors.at(
                attribute,
                "`track` goes on the enum or on a field of a variant",
            );
        }
    }
}

/// What serde does in one direction alone.
fn one_way(paths: &[Path], errors: &mut Errors) {
    for path in paths {
        let message = if path.is_ident("skip_serializing") {
            "a field that is never written cannot be tracked: write `#[serde(skip)]`, and it stays with the process"
        } else if path.is_ident("skip_deserializing") {
            "a field that is never read back cannot be tracked: write `#[serde(skip)]`, and it stays with the process"
        } else {
            "what is tracked has the same names when it is written and when it is read: give it one name, and the other as an `alias`"
        };
        errors.at(path, message);
    }
}

/// The field of a newtype.
fn newtype(field: &Field, errors: &mut Errors) {
    if field.serde.skip {
        errors.at(
            &field.ty,
            "serde writes the only field of a tuple struct even if it is skipped: give the field a name",
        );
    }
}

/// The fields of a struct or variant. `is_leaf`: they are compared and sent as a whole.
fn group(fields: &Fields, is_leaf: bool, errors: &mut Errors) {
    for field in fields.fields.iter().filter(|field| !field.serde.skip) {
        for error in &field.track.errors {
            errors.push(error.clone());
        }
        one_way(&field.serde.one_way, errors);
        skippable(fields.style, field, errors);
        if let (Some(_), Some(handle)) = (field.track.leaf, Inside::of(&field.ty).handle) {
            errors.at(
                handle,
                "a handle is tracked as it is, and cannot stand in a leaf that serde alone knows: leave `leaf` away",
            );
        }
        if field.serde.flatten && field.is_opaque() {
            errors.at(
                &field.ty,
                "a leaf that is flattened cannot be tracked: nobody knows its names; give it a field of its own",
            );
        }
        if let Some(view) = &field.track.view {
            if is_leaf {
                errors.at(
                    view,
                    "a view cannot hide a part of a leaf: put it on the field that holds this type",
                );
            } else if fields.style != Style::Named || field.serde.flatten {
                errors.at(
                    view,
                    "a view hides a field with a name of its own: name it, and do not flatten it",
                );
            } else if !has_default(field) {
                errors.at(
                    view,
                    "who may not see this field has to make it up: add `#[serde(default)]`, or make it an `Option`",
                );
            }
        }
    }
}

fn skippable(style: Style, field: &Field, errors: &mut Errors) {
    let Some(path) = &field.serde.skip_if else {
        return;
    };
    if style != Style::Named {
        errors.at(
            path,
            "`skip_serializing_if` in a tuple moves what follows to another place: name the fields",
        );
    } else if field.serde.flatten && !super::part::is_option(field) {
        errors.at(
            path,
            "a flattened field that may be left out has to be an `Option`: serde takes no default for it",
        );
    } else if !has_default(field) {
        errors.at(
            path,
            "what is left out has to be made up by who reads it: add `#[serde(default)]`",
        );
    }
}
