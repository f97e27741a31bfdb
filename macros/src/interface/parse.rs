//! Reads a trait, says all that is wrong with it, and writes `async fn` out.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, ItemTrait, LitStr, Receiver, ReceiverKind,
    ReturnType, Signature, TraitItem, TraitItemFn, Type, parse_quote,
};

use super::model::{Interface, Method};
use super::passing::{check_by_ref, check_oneway, output, parameters};
use crate::attributes::{Errors, carried, docs, is_stream, without_defaults};

/// What the macro reads itself and takes off a method.
const OWN: [&str; 3] = ["oneway", "detached", "name"];
/// What the handle's method has in common with the trait's.
const SHOWN: [&str; 6] = ["doc", "deprecated", "allow", "warn", "deny", "forbid"];

impl Interface {
    /// Reads a trait. Methods that are wrong are left out of `methods`, not out of the trait.
    pub(super) fn read(
        arguments: TokenStream,
        mut item: ItemTrait,
        errors: &mut Errors,
    ) -> Interface {
        let id = id(arguments, &item.ident, errors);
        check_trait(&item, errors);
        let mut methods = Vec::new();
        for (index, item) in item.items.iter_mut().enumerate() {
            match item {
                TraitItem::Fn(method) => {
                    methods.extend(Method::read(index, method, errors));
                    rewrite(method);
                }
                TraitItem::Const(item) => errors.at(
                    item,
                    "an interface has only methods: an object cannot send a constant",
                ),
                TraitItem::Type(item) => errors.at(
                    item,
                    "an interface has only methods: put the type among the parameters of the trait",
                ),
                item => errors.at(item, "an interface has only methods"),
            }
        }
        let methods = with_own_ids(methods, &id, errors);
        item.supertraits.push(parse_quote!(::helve::__rt::Send));
        item.supertraits.push(parse_quote!(::helve::__rt::Sync));
        item.supertraits.push(parse_quote!('static));
        item.colon_token.get_or_insert_default();
        let mut generics_with_defaults = item.generics.clone();
        for parameter in generics_with_defaults.type_params_mut() {
            // Without any bound it surely lacks `Wire`: that is said once, where it is used, and this not at all.
            if parameter.bounds.is_empty() {
                parameter.colon_token.get_or_insert_default();
                parameter.bounds.push(parse_quote!('static));
            }
        }
        let mut generics = generics_with_defaults.clone();
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
    let in_crate = variable("CARGO_CRATE_NAME")
        .or_else(|| variable("CARGO_PKG_NAME"))
        .unwrap_or_else(|| "crate".to_owned());
    format!("{}.{}", in_crate.replace('-', "_"), name.unraw())
}

fn check_wire_name(name: &LitStr, errors: &mut Errors) {
    let value = name.value();
    if value.is_empty()
        || value.len() > 128
        || value
            .chars()
            .any(|c| c == '/' || c.is_whitespace() || c.is_control())
    {
        errors.at(
            name,
            "a name on the wire has 1 to 128 bytes, none of them a space or `/`",
        );
    }
}

fn check_trait(item: &ItemTrait, errors: &mut Errors) {
    if let Some(token) = &item.unsafety {
        errors.at(
            token,
            "an interface cannot be unsafe: a peer cannot promise anything",
        );
    }
    if item.ident == "Handle" {
        errors.at(
            &item.ident,
            "an interface may not be called `Handle`: call it after what it is",
        );
    }
    for parameter in &item.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            errors.at(
                lifetime,
                "an interface has no lifetime parameters: its objects are `'static`",
            );
        }
    }
}

/// The methods less those that have the id of an earlier one. Methods under `cfg` may be alternatives: those are left to
/// the assertion that is compiled along.
fn with_own_ids(methods: Vec<Method>, interface: &str, errors: &mut Errors) -> Vec<Method> {
    let mut own: Vec<Method> = Vec::new();
    for method in methods {
        let id = |method: &Method| wire_id(interface, &method.wire_name);
        let same = |earlier: &&Method| {
            id(earlier) == id(&method) && earlier.cfgs.is_empty() && method.cfgs.is_empty()
        };
        let Some(earlier) = own.iter().find(same) else {
            own.push(method);
            continue;
        };
        let what = if earlier.wire_name == method.wire_name {
            "name on the wire"
        } else {
            "32-bit id"
        };
        let message = format!(
            "two methods of this interface have the same {what}, `{}` and this one: give one another wire name, `#[name = \"..\"]`",
            earlier.name
        );
        errors.at(&method.name, message);
    }
    own
}

/// As `method_id` of helve-handles: FNV-1a.
fn wire_id(interface: &str, method: &str) -> u32 {
    let bytes = interface.bytes().chain([b'/']).chain(method.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
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
        // `new` and `of` make handles. A call of `into(&self)` would find `Into::into(self)`, which every type has.
        if ["new", "of", "into", "try_into"]
            .iter()
            .any(|taken| name == taken)
        {
            at(
                name,
                format!(
                    "`{name}` is the handle's own: give the method another name, and `#[name = \"{name}\"]` to keep it on the wire"
                ),
            );
        }
        let exclusive = check_signature(signature, &mut at);
        let parameters = parameters(signature, &mut at);
        let output = output(&signature.output, &mut at);
        if oneway {
            check_oneway(signature, &parameters, &output, &mut at);
        }
        check_by_ref(signature, &parameters, &mut at);
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
            opens: signature.asyncness.is_none(),
            parameters,
            output,
        })
    }
}

/// Where problems go.
pub(super) type Report<'a> = dyn FnMut(&dyn ToTokens, String) + 'a;

/// `#[name = "put"]`.
fn named(attribute: &Attribute) -> Result<String, String> {
    let usage = || "write `#[name = \"..\"]`, the name on the wire".to_owned();
    let meta = attribute.meta.require_name_value().map_err(|_| usage())?;
    let name: LitStr = syn::parse2(meta.value.to_token_stream()).map_err(|_| usage())?;
    let mut errors = Errors::default();
    check_wire_name(&name, &mut errors);
    match errors.into_tokens().is_empty() {
        true => Ok(name.value()),
        false => {
            Err("a name on the wire has 1 to 128 bytes, none of them a space or `/`".to_owned())
        }
    }
}

/// All but parameters and result. Says whether it is `&mut self`.
fn check_signature(signature: &Signature, at: &mut Report<'_>) -> bool {
    let name = &signature.ident;
    if signature.asyncness.is_none() && !returns_stream(signature) {
        at(
            name,
            format!(
                "write `async fn {name}`; only a method that returns `Streaming<T>` may do without"
            ),
        );
    }
    if let Some(token) = &signature.constness {
        at(
            token,
            "a method that waits for a peer cannot be `const`".to_owned(),
        );
    }
    match &signature.safety {
        syn::Safety::Default => {}
        safety => at(
            safety,
            "a method of an interface is neither `unsafe` nor `safe`".to_owned(),
        ),
    }
    if let Some(token) = &signature.abi {
        at(token, "a method of an interface has no ABI".to_owned());
    }
    if let Some(token) = &signature.variadic {
        at(
            token,
            "a method of an interface has a fixed number of arguments".to_owned(),
        );
    }
    check_generics(&signature.generics, at);
    match signature.receiver() {
        Some(Receiver {
            kind: ReceiverKind::Reference(_, None, mutable),
            ..
        }) => mutable.is_some(),
        Some(receiver) => {
            at(receiver, "a method takes `&self` or `&mut self`".to_owned());
            false
        }
        None => {
            at(
                name,
                format!("a method is called on an object: write `async fn {name}(&self, ..)`"),
            );
            false
        }
    }
}

/// Whether the result is a stream, which may be had without waiting.
fn returns_stream(signature: &Signature) -> bool {
    matches!(&signature.output, ReturnType::Type(_, ty) if is_stream(ty))
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
        at(
            clause,
            "a method has no `where`: put it on the trait".to_owned(),
        );
    }
}

/// `async fn f(..) -> R` becomes `fn f(..) -> impl Future<Output = R> + Send`; attributes of ours go.
fn rewrite(method: &mut TraitItemFn) {
    method.attrs.retain(|attribute| {
        !OWN.iter()
            .chain(&["default"])
            .any(|own| attribute.path().is_ident(own))
    });
    for input in &mut method.sig.inputs {
        if let FnArg::Typed(typed) = input {
            typed
                .attrs
                .retain(|attribute| !attribute.path().is_ident("default"));
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
        body.stmts = vec![syn::Stmt::Expr(
            syn::parse_quote_spanned!(span=> async move { #(#statements)* }),
            None,
        )];
        method
            .attrs
            .push(parse_quote!(#[allow(clippy::manual_async_fn)]));
    }
}
