//! Reads the parameters and the result of a method: how each is passed, and what cannot be.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{FnArg, Pat, PatType, ReturnType, Signature, Type};

use super::model::{Output, Parameter, Pass};
use super::parse::Report;
use crate::attributes::{Inside, is_stream, is_word, last_word, plain, type_arguments, unsendable};

pub(super) fn parameters(signature: &Signature, at: &mut Report<'_>) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut sent = 0;
    let mut first_default = None;
    for input in &signature.inputs {
        let FnArg::Typed(typed) = input else { continue };
        let Some(name) = parameter_name(typed, at) else {
            continue;
        };
        let default = default(typed, at);
        let Some(pass) = pass(&typed.ty, default, at) else {
            continue;
        };
        match &pass {
            Pass::Cx
                if parameters
                    .iter()
                    .any(|earlier| matches!(earlier.pass, Pass::Cx)) =>
            {
                at(typed, "one `cx` is enough".to_owned());
            }
            Pass::Cx => {}
            Pass::Value { default: true } => first_default = Some(name.clone()),
            _ => {
                if let Some(first) = &first_default {
                    let message = format!(
                        "`{first}` has a `#[default]`, so all after it need one: an older caller sends fewer arguments"
                    );
                    at(typed, message);
                }
            }
        }
        let index = sent;
        sent += usize::from(!matches!(pass, Pass::Cx));
        parameters.push(Parameter {
            name,
            ty: (*typed.ty).clone(),
            pass,
            index,
        });
    }
    if sent > 200 {
        at(
            &signature.ident,
            "a method takes at most 200 arguments: put them into a struct".to_owned(),
        );
    }
    parameters
}

fn parameter_name(typed: &PatType, at: &mut Report<'_>) -> Option<Ident> {
    match &*typed.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(pattern.ident.clone())
        }
        pattern => {
            at(
                pattern,
                "an argument has a name: it is part of the interface".to_owned(),
            );
            None
        }
    }
}

fn default(typed: &PatType, at: &mut Report<'_>) -> bool {
    let mut default = false;
    for attribute in &typed.attrs {
        if attribute.path().is_ident("default") {
            if attribute.meta.require_path_only().is_err() {
                at(
                    attribute,
                    "`#[default]` takes no options: a missing argument is `Default::default()`"
                        .to_owned(),
                );
            }
            default = true;
        } else if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            at(
                attribute,
                "an argument cannot depend on `cfg`: both ends need the same".to_owned(),
            );
        }
    }
    default
}

/// How a parameter is passed, by its form.
fn pass(ty: &Type, default: bool, at: &mut Report<'_>) -> Option<Pass> {
    let Type::Reference(reference) = plain(ty) else {
        if last_word(ty).is_some_and(|word| word.ident == "Cx" && word.arguments.is_none()) {
            at(ty, "the context is borrowed: write `cx: &Cx`".to_owned());
            return None;
        }
        return check_inside(ty, at).then_some(Pass::Value { default });
    };
    let inner = plain(&reference.elem);
    if is_stream(inner) {
        let message = format!(
            "a stream is read to its end by whoever has it, so it cannot be lent: write `{}`",
            printed(inner)
        );
        at(ty, message);
        return None;
    }
    if let Some(lifetime) = &reference.lifetime {
        at(
            lifetime,
            "a method has no lifetimes: what it borrows ends with the call".to_owned(),
        );
        return None;
    }
    if reference.mutability.is_some() {
        return pass_mut(ty, inner, default, at);
    }
    let pass = match inner {
        Type::Slice(slice) if is_word(&slice.elem, "u8") => Pass::Bytes,
        Type::Slice(slice) => Pass::Slice((*slice.elem).clone()),
        inner if is_word(inner, "str") => Pass::Str,
        inner
            if last_word(inner)
                .is_some_and(|word| word.ident == "Cx" && word.arguments.is_none()) =>
        {
            Pass::Cx
        }
        Type::TraitObject(_) => {
            at(
                ty,
                "an object is passed by its handle: write `&..Handle`".to_owned(),
            );
            return None;
        }
        inner => Pass::Lent(inner.clone()),
    };
    if default {
        at(ty, "`#[default]` goes on an owned argument".to_owned());
    }
    let inside = match &pass {
        Pass::Slice(ty) | Pass::Lent(ty) => check_inside(ty, at),
        _ => true,
    };
    (inside && !default).then_some(pass)
}

/// How a `&mut` parameter is passed.
fn pass_mut(ty: &Type, inner: &Type, default: bool, at: &mut Report<'_>) -> Option<Pass> {
    let message = match inner {
        Type::Slice(slice) => Some(format!(
            "a slice has no place for what the method adds: write `&mut Vec<{0}>`, or `&mut List<{0}>`",
            printed(&slice.elem)
        )),
        inner if is_word(inner, "str") => {
            Some("a `str` cannot grow: write `&mut String`, or `&mut Text`".to_owned())
        }
        inner
            if last_word(inner)
                .is_some_and(|word| word.ident == "Cx" && word.arguments.is_none()) =>
        {
            Some("the context is only looked at: write `cx: &Cx`".to_owned())
        }
        Type::TraitObject(_) => {
            Some("an object is passed by its handle: write `&..Handle`".to_owned())
        }
        _ if default => Some("`#[default]` goes on an owned argument".to_owned()),
        inner if last_word(inner).is_some_and(|word| word.ident == "Tracked") => Some(
            "the method gets the value itself, `&mut T`; that its caller has it in a `Tracked<T>` is the caller's matter"
                .to_owned(),
        ),
        _ => None,
    };
    if let Some(message) = message {
        at(ty, message);
        return None;
    }
    check_inside(inner, at).then(|| Pass::Mut(inner.clone()))
}

/// What no value has inside.
fn check_inside(ty: &Type, at: &mut Report<'_>) -> bool {
    let inside = Inside::of(ty);
    if let Some(impl_trait) = inside.impl_trait {
        at(impl_trait, "a method cannot be generic over types: put the parameter on the trait, or take a handle".to_owned());
    } else if let Some(reference) = inside.reference {
        at(reference, "a reference inside an argument cannot be sent: own what is inside, or borrow the whole".to_owned());
    } else if let Some(lifetime) = inside.lifetime {
        at(
            lifetime,
            "a value that is sent has no lifetime: own what is inside".to_owned(),
        );
    } else if let Some(path) = inside.self_type {
        at(
            path,
            "`Self` is the object, which stays where it is: name the handle instead".to_owned(),
        );
    } else {
        let wrong = unsendable(ty);
        for (ty, message) in &wrong {
            at(ty, message.clone());
        }
        return wrong.is_empty();
    }
    false
}

pub(super) fn output(output: &ReturnType, at: &mut Report<'_>) -> Output {
    let ReturnType::Type(_, ty) = output else {
        return Output::Unit;
    };
    let inside = Inside::of(ty);
    if let Some(reference) = inside.reference {
        let owned = match plain(&reference.elem) {
            inner if is_word(inner, "str") => "String".to_owned(),
            Type::Slice(slice) => format!("Vec<{}>", printed(&slice.elem)),
            inner => printed(inner),
        };
        at(
            reference,
            format!("a result is owned: return `{owned}`, or a handle to something that lives"),
        );
        return Output::Unit;
    }
    if let Some(impl_trait) = inside.impl_trait {
        at(
            impl_trait,
            "a result has a type with a name; of an object return the handle".to_owned(),
        );
        return Output::Unit;
    }
    if !check_inside(ty, at) {
        return Output::Unit;
    }
    if matches!(plain(ty), Type::Tuple(tuple) if tuple.elems.is_empty()) {
        return Output::Unit;
    }
    match last_word(ty) {
        Some(word) if word.ident == "Result" => match type_arguments(word)[..] {
            [_, error]
                if last_word(error)
                    .is_some_and(|word| word.ident == "RpcError" || word.ident == "CallError") =>
            {
                let message = "any call may fail with this, and says so by itself: return an error of your own, or no `Result`";
                at(error, message.to_owned());
                Output::Unit
            }
            [value, error] => Output::Result(Box::new([value.clone(), error.clone()])),
            _ => Output::Alias((**ty).clone()),
        },
        _ => Output::Value((**ty).clone()),
    }
}

/// A type as the user would write it.
fn printed(ty: &Type) -> String {
    let mut text = String::new();
    for token in ty.to_token_stream() {
        text.push_str(&token.to_string());
    }
    text
}

pub(super) fn check_oneway(
    signature: &Signature,
    parameters: &[Parameter],
    output: &Output,
    at: &mut Report<'_>,
) {
    const NO_END: &str =
        "a one-way call has no answer and no end: nothing to return, nothing to lend until";
    if let (ReturnType::Type(_, ty), false) = (&signature.output, matches!(output, Output::Unit)) {
        at(ty, NO_END.to_owned());
    }
    for parameter in parameters {
        if matches!(
            parameter.pass,
            Pass::Slice(_) | Pass::Lent(_) | Pass::Mut(_)
        ) {
            at(&parameter.ty, NO_END.to_owned());
        }
    }
}

/// What goes with `&mut` parameters, and what does not.
pub(super) fn check_by_ref(signature: &Signature, parameters: &[Parameter], at: &mut Report<'_>) {
    let by_ref = |parameter: &&Parameter| matches!(parameter.pass, Pass::Mut(_));
    let by_ref: Vec<_> = parameters.iter().filter(by_ref).collect();
    let Some(first) = by_ref.first() else { return };
    if by_ref.len() > 8 {
        at(
            &signature.ident,
            "a method takes at most 8 `&mut` arguments: put them into a struct".to_owned(),
        );
    }
    if signature.asyncness.is_none() {
        at(
            &first.ty,
            "a stream that opens when it is first read has no call that could change this: make the method `async`"
                .to_owned(),
        );
    }
}
