//! What both macros share: collecting errors, reading documentation and simple attributes, looking through types.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::visit::Visit;
use syn::{Attribute, Expr, GenericParam, Generics, Lit, Meta, Type};

/// The errors of one expansion. All are reported together.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds one at `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(|errors| errors.into_compile_error()).unwrap_or_default()
    }
}

/// The text of `#[doc = ".."]`, as it stood in the comment: one leading space of each line is the comment's.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("doc")) {
        if let Meta::NameValue(meta) = &attribute.meta {
            if let Expr::Lit(literal) = &meta.value {
                if let Lit::Str(text) = &literal.lit {
                    lines.extend(text.value().lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()));
                    if text.value().is_empty() {
                        lines.push(String::new());
                    }
                }
            }
        }
    }
    lines.join("\n").trim().to_owned()
}

/// The attributes of one of these names, as they were written.
pub(crate) fn carried(attributes: &[Attribute], names: &[&str]) -> TokenStream {
    let carried = attributes.iter().filter(|a| names.iter().any(|name| a.path().is_ident(name)));
    quote!(#(#carried)*)
}

/// The type without parentheses and the invisible groups of `macro_rules`.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        ty => ty,
    }
}

/// Whether it is this one word.
pub(crate) fn is_word(ty: &Type, word: &str) -> bool {
    matches!(plain(ty), Type::Path(path) if path.path.is_ident(word))
}

/// The last word of a path type, with its generic arguments: `Option` of `std::option::Option<T>`.
pub(crate) fn last_word(ty: &Type) -> Option<&syn::PathSegment> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The type arguments of a path segment.
pub(crate) fn type_arguments(segment: &syn::PathSegment) -> Vec<&Type> {
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return Vec::new() };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// Parameters as they stand on an item that takes no defaults.
pub(crate) fn without_defaults(generics: &mut Generics) {
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(parameter) => parameter.default = None,
            GenericParam::Const(parameter) => parameter.default = None,
            GenericParam::Lifetime(_) => {}
        }
    }
}

/// What stands inside a type that cannot be there.
#[derive(Default)]
pub(crate) struct Inside<'a> {
    pub(crate) reference: Option<&'a syn::TypeReference>,
    pub(crate) lifetime: Option<&'a syn::Lifetime>,
    pub(crate) impl_trait: Option<&'a syn::TypeImplTrait>,
    pub(crate) self_type: Option<&'a syn::Path>,
    /// A type whose name ends in `Handle`, as those that `#[interface]` makes.
    pub(crate) handle: Option<&'a syn::Ident>,
}

impl<'a> Inside<'a> {
    pub(crate) fn of(ty: &'a Type) -> Self {
        let mut inside = Inside::default();
        inside.visit_type(ty);
        inside
    }
}

impl<'a> Visit<'a> for Inside<'a> {
    fn visit_type_reference(&mut self, reference: &'a syn::TypeReference) {
        self.reference.get_or_insert(reference);
        syn::visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'a syn::Lifetime) {
        if lifetime.ident != "static" {
            self.lifetime.get_or_insert(lifetime);
        }
    }

    fn visit_type_impl_trait(&mut self, impl_trait: &'a syn::TypeImplTrait) {
        self.impl_trait.get_or_insert(impl_trait);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.first().is_some_and(|first| first.ident == "Self") {
            self.self_type.get_or_insert(path);
        }
        if let Some(last) = path.segments.last().filter(|last| last.ident.to_string().ends_with("Handle")) {
            self.handle.get_or_insert(&last.ident);
        }
        syn::visit::visit_path(self, path);
    }
}
