//! Reads a trait, says all that is wrong with it, and writes `async fn` out.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, ItemTrait, LitStr, Pat, PatType, Receiver, ReceiverKind, ReturnType,
    Signature, TraitItem, TraitItemFn, Type, parse_quote,
};

use super::model::{Interface, Method, Output, Parameter, Pass};
use crate::attributes::{Errors, Inside, without_defaults, carried, docs, is_word, last_word, plain, type_arguments};

/// What the macro reads itself and takes off a method.
const OWN: [&str; 3] = ["oneway", "detached", "name"];
/// What the handle's method has in common with the trait's.
const SHOWN: [&str; 6] = ["doc", "deprecated", "allow", "warn", "deny", "forbid"];

impl Interface {
    /// Reads a trait. Methods that are wrong are left out of `methods`, not out of the trait.
    pub(super) fn read(arguments: TokenStream, mut item: ItemTrait, errors: &mut Errors) -> Interface {
        let id = id(arguments, &item.ident, errors);
        check_trait(&item, errors);
        let mut methods = Vec::new();
        for (index, item) in item.items.iter_mut().enumerate() {
            match item {
                TraitItem::Fn(method) => {
                    methods.extend(Method::read(index, method, errors));
                    rewrite(method);
                }
                TraitItem::Const(item) => errors.at(item, "an interface has only methods: an object cannot send a constant"),
                TraitItem::Type(item) => {
                    errors.at(item, "an interface has only methods: put the type among the parameters of the trait")
                }
                item => errors.at(item, "an interface has only methods"),
            }
        }
        check_names(&methods, errors);
        item.supertraits.push(parse_quote!(::helve::__rt::Send));
        item.supertraits.push(parse_quote!(::helve::__rt::Sync));
        item.supertraits.push(parse_quote!('static));
        item.colon_token.get_or_insert_default();
        let generics_with_defaults = item.generics.clone();
        let mut generics = item.generics.clone();
        without_defaults(&mut generics);
        Interface {
            vis: item.vis.clone(),
            name: item.ident.clone(),
            generics,
            generics_with_defaults,
            id,
            docs: docs(&item.attrs),
            cfgs: carried(&item.attrs, &["cfg"]),
            methods,
            rewritten: item,
        }
    }
}

/// The id of the interface: as the attribute has it, else `crate.Trait`.
fn id(arguments: TokenStream, name: &Ident, errors: &mut Errors) -> String {
    let mut given = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("id") {
            return Err(meta.error("unknown option: `#[interface]` takes `id = \"..\"`"));
        }
        given = Some(meta.value()?.parse::<LitStr>()?);
        Ok(())
    });
    if let Err(error) = parser.parse2(arguments) {
        errors.push(error);
    }
    if let Some(id) = given {
        check_wire_name(&id, errors);
        return id.value();
    }
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let in_crate = variable("CARGO_CRATE_NAME").or_else(|| variable("CARGO_PKG_NAME")).unwrap_or_else(|| "crate".to_owned());
    format!("{}.{}", in_crate.replace('-', "_"), name.unraw())
}

fn check_wire_name(name: &LitStr, errors: &mut Errors) {
    let value = name.value();
    if value.is_empty() || value.len() > 128 || value.chars().any(|c| c == '/' || c.is_whitespace() || c.is_control()) {
        errors.at(name, "a name on the wire has 1 to 128 bytes, none of them a space or `/`");
    }
}

fn check_trait(item: &ItemTrait, errors: &mut Errors) {
    if let Some(token) = &item.unsafety {
        errors.at(token, "an interface cannot be unsafe: a peer cannot promise anything");
    }
    if item.ident == "Handle" {
        errors.at(&item.ident, "an interface may not be called `Handle`: call it after what it is");
    }
    for parameter in &item.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            errors.at(lifetime, "an interface has no lifetime parameters: its objects are `'static`");
        }
    }
}

/// The traits of `helve` are not in scope here, so the checks go by what is written.
fn check_names(methods: &[Method], errors: &mut Errors) {
    for (at, method) in methods.iter().enumerate() {
        let same = |earlier: &&Method| earlier.wire_name == method.wire_name && earlier.cfgs.is_empty() && method.cfgs.is_empty();
        if let Some(earlier) = methods[..at].iter().find(same) {
            let message = format!(
                "`{}` and `{}` have the same name on the wire: give one another, #[name = \"..\"]",
                earlier.name, method.name
            );
            errors.at(&method.name, message);
        }
    }
}

impl Method {
    fn read(index: usize, item: &TraitItemFn, errors: &mut Errors) -> Option<Method> {
        // Each problem is reported; the method counts when there was none.
        let mut wrong = false;
        let mut at = |tokens: &dyn ToTokens, message: String| {
            wrong = true;
            errors.at(tokens.to_token_stream(), message);
        };
        let signature = &item.sig;
        let name = &signature.ident;
        let mut oneway = false;
        let mut detached = false;
        let mut wire_name = name.unraw().to_string();
        for attribute in &item.attrs {
            let path = attribute.path();
            if path.is_ident("oneway") || path.is_ident("detached") {
                if attribute.meta.require_path_only().is_err() {
                    at(attribute, "this attribute takes no options".to_owned());
                }
                oneway |= path.is_ident("oneway");
                detached |= path.is_ident("detached");
            } else if path.is_ident("name") {
                match named(attribute) {
                    Ok(name) => wire_name = name,
                    Err(error) => at(attribute, error),
                }
            } else if path.is_ident("default") {
                at(attribute, "`#[default]` goes on an argument".to_owned());
            }
        }
        if name == "new" || name == "of" {
            at(name, format!("`{name}` is the handle's own: give the method another name, and `#[name = \"{name}\"]` to keep it on the wire"));
        }
        let exclusive = check_signature(signature, &mut at);
        let parameters = parameters(signature, &mut at);
        let output = output(&signature.output, &mut at);
        if oneway {
            check_oneway(signature, &parameters, &output, &mut at);
        }
        if wrong {
            return None;
        }
        Some(Method {
            name: name.clone(),
            wire_name,
            index,
            docs: docs(&item.attrs),
            shown: carried(&item.attrs, &SHOWN),
            cfgs: carried(&item.attrs, &["cfg"]),
            exclusive,
            oneway,
            detached,
            parameters,
            output,
        })
    }
}

type Report<'a> = dyn FnMut(&dyn ToTokens, String) + 'a;

/// `#[name = "put"]`.
fn named(attribute: &Attribute) -> Result<String, String> {
    let usage = || "write `#[name = \"..\"]`, the name on the wire".to_owned();
    let meta = attribute.meta.require_name_value().map_err(|_| usage())?;
    let name: LitStr = syn::parse2(meta.value.to_token_stream()).map_err(|_| usage())?;
    let mut errors = Errors::default();
    check_wire_name(&name, &mut errors);
    match errors.into_tokens().is_empty() {
        true => Ok(name.value()),
        false => Err("a name on the wire has 1 to 128 bytes, none of them a space or `/`".to_owned()),
    }
}

/// All but parameters and result. Says whether it is `&mut self`.
fn check_signature(signature: &Signature, at: &mut Report<'_>) -> bool {
    let name = &signature.ident;
    if signature.asyncness.is_none() {
        let streams = matches!(&signature.output, ReturnType::Type(_, ty) if last_word(ty).is_some_and(|word| word.ident == "Streaming"));
        if streams {
            at(&signature.output, "a method that returns `Streaming<T>`: streams arrive in a later version of helve".to_owned());
        } else {
            at(name, format!("write `async fn {name}`; only a method that returns `Streaming<T>` may do without"));
        }
    }
    if let Some(token) = &signature.constness {
        at(token, "a method that waits for a peer cannot be `const`".to_owned());
    }
    match &signature.safety {
        syn::Safety::Default => {}
        safety => at(safety, "a method of an interface is neither `unsafe` nor `safe`".to_owned()),
    }
    if let Some(token) = &signature.abi {
        at(token, "a method of an interface has no ABI".to_owned());
    }
    if let Some(token) = &signature.variadic {
        at(token, "a method of an interface has a fixed number of arguments".to_owned());
    }
    check_generics(&signature.generics, at);
    match signature.receiver() {
        Some(Receiver { kind: ReceiverKind::Reference(_, None, mutable), .. }) => mutable.is_some(),
        Some(receiver) => {
            at(receiver, "a method takes `&self` or `&mut self`".to_owned());
            false
        }
        None => {
            at(name, format!("a method is called on an object: write `async fn {name}(&self, ..)`"));
            false
        }
    }
}

fn check_generics(generics: &Generics, at: &mut Report<'_>) {
    for parameter in &generics.params {
        match parameter {
            GenericParam::Type(parameter) => at(
                parameter,
                "a method cannot be generic over types: put the parameter on the trait, or take a handle".to_owned(),
            ),
            GenericParam::Const(parameter) => {
                at(parameter, "a method cannot be generic: put the parameter on the trait".to_owned());
            }
            GenericParam::Lifetime(parameter) => {
                at(parameter, "a method has no lifetime parameters: what it borrows ends with the call".to_owned());
            }
        }
    }
    if let Some(clause) = &generics.where_clause {
        at(clause, "a method has no `where`: put it on the trait".to_owned());
    }
}

fn parameters(signature: &Signature, at: &mut Report<'_>) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut sent = 0;
    let mut first_default = None;
    for input in &signature.inputs {
        let FnArg::Typed(typed) = input else { continue };
        let Some(name) = parameter_name(typed, at) else { continue };
        let default = default(typed, at);
        let Some(pass) = pass(&typed.ty, default, at) else { continue };
        match &pass {
            Pass::Cx if parameters.iter().any(|earlier| matches!(earlier.pass, Pass::Cx)) => {
                at(typed, "one `cx` is enough".to_owned());
            }
            Pass::Cx => {}
            Pass::Value { default: true } => first_default = Some(name.clone()),
            _ => {
                if let Some(first) = &first_default {
                    let message = format!("`{first}` has a `#[default]`, so all after it need one: an older caller sends fewer arguments");
                    at(typed, message);
                }
            }
        }
        let index = sent;
        sent += usize::from(!matches!(pass, Pass::Cx));
        parameters.push(Parameter { name, ty: (*typed.ty).clone(), pass, index });
    }
    if sent > 200 {
        at(&signature.ident, "a method takes at most 200 arguments: put them into a struct".to_owned());
    }
    parameters
}

fn parameter_name(typed: &PatType, at: &mut Report<'_>) -> Option<Ident> {
    match &*typed.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => Some(pattern.ident.clone()),
        pattern => {
            at(pattern, "an argument has a name: it is part of the interface".to_owned());
            None
        }
    }
}

fn default(typed: &PatType, at: &mut Report<'_>) -> bool {
    let mut default = false;
    for attribute in &typed.attrs {
        if attribute.path().is_ident("default") {
            if attribute.meta.require_path_only().is_err() {
                at(attribute, "`#[default]` takes no options: a missing argument is `Default::default()`".to_owned());
            }
            default = true;
        } else if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            at(attribute, "an argument cannot depend on `cfg`: both ends need the same".to_owned());
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
    if reference.mutability.is_some() {
        at(ty, "`&mut` arguments arrive with shared values, which this version does not have yet: take it by value and return it".to_owned());
        return None;
    }
    if let Some(lifetime) = &reference.lifetime {
        at(lifetime, "a method has no lifetimes: what it borrows ends with the call".to_owned());
        return None;
    }
    let pass = match inner {
        Type::Slice(slice) if is_word(&slice.elem, "u8") => Pass::Bytes,
        Type::Slice(slice) => Pass::Slice((*slice.elem).clone()),
        inner if is_word(inner, "str") => Pass::Str,
        inner if last_word(inner).is_some_and(|word| word.ident == "Cx" && word.arguments.is_none()) => Pass::Cx,
        Type::TraitObject(_) => {
            at(ty, "an object is passed by its handle: write `&..Handle`".to_owned());
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

/// What no value has inside.
fn check_inside(ty: &Type, at: &mut Report<'_>) -> bool {
    let inside = Inside::of(ty);
    if let Some(impl_trait) = inside.impl_trait {
        at(impl_trait, "a method cannot be generic over types: put the parameter on the trait, or take a handle".to_owned());
    } else if let Some(reference) = inside.reference {
        at(reference, "a reference inside an argument cannot be sent: own what is inside, or borrow the whole".to_owned());
    } else if let Some(lifetime) = inside.lifetime {
        at(lifetime, "a value that is sent has no lifetime: own what is inside".to_owned());
    } else if let Some(path) = inside.self_type {
        at(path, "`Self` is the object, which stays where it is: name the handle instead".to_owned());
    } else {
        return true;
    }
    false
}

fn output(output: &ReturnType, at: &mut Report<'_>) -> Output {
    let ReturnType::Type(_, ty) = output else { return Output::Unit };
    let inside = Inside::of(ty);
    if let Some(reference) = inside.reference {
        let owned = match plain(&reference.elem) {
            inner if is_word(inner, "str") => "String".to_owned(),
            Type::Slice(slice) => format!("Vec<{}>", printed(&slice.elem)),
            inner => printed(inner),
        };
        at(reference, format!("a result is owned: return `{owned}`, or a handle to something that lives"));
        return Output::Unit;
    }
    if let Some(impl_trait) = inside.impl_trait {
        at(impl_trait, "a result has a type with a name; of an object return the handle".to_owned());
        return Output::Unit;
    }
    if !check_inside(ty, at) {
        return Output::Unit;
    }
    if let Type::Tuple(tuple) = plain(ty) {
        if tuple.elems.is_empty() {
            return Output::Unit;
        }
    }
    match last_word(ty) {
        Some(word) if word.ident == "Result" => match type_arguments(word)[..] {
            [value, error] => Output::Result(value.clone(), error.clone()),
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

fn check_oneway(signature: &Signature, parameters: &[Parameter], output: &Output, at: &mut Report<'_>) {
    const NO_END: &str = "a one-way call has no answer and no end: nothing to return, nothing to lend until";
    if let (ReturnType::Type(_, ty), false) = (&signature.output, matches!(output, Output::Unit)) {
        at(ty, NO_END.to_owned());
    }
    for parameter in parameters {
        if matches!(parameter.pass, Pass::Slice(_) | Pass::Lent(_)) {
            at(&parameter.ty, NO_END.to_owned());
        }
    }
}

/// `async fn f(..) -> R` becomes `fn f(..) -> impl Future<Output = R> + Send`; attributes of ours go.
fn rewrite(method: &mut TraitItemFn) {
    method.attrs.retain(|attribute| !OWN.iter().any(|own| attribute.path().is_ident(own)));
    for input in &mut method.sig.inputs {
        if let FnArg::Typed(typed) = input {
            typed.attrs.retain(|attribute| !attribute.path().is_ident("default"));
        }
    }
    let is_async = method.sig.asyncness.take().is_some();
    if !is_async {
        return;
    }
    let output = match &method.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let span = method.sig.ident.span();
    let future: Type = syn::parse_quote_spanned! {span=>
        impl ::helve::__rt::Future<Output = #output> + ::helve::__rt::Send
    };
    method.sig.output = ReturnType::Type(Default::default(), Box::new(future));
    if let Some(body) = &mut method.default {
        let statements = std::mem::take(&mut body.stmts);
        let span = body.span();
        body.stmts = vec![syn::Stmt::Expr(syn::parse_quote_spanned!(span=> async move { #(#statements)* }), None)];
        method.attrs.push(parse_quote!(#[allow(clippy::manual_async_fn)]));
    }
}
