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
        self.0
            .map(|errors| errors.into_compile_error())
            .unwrap_or_default()
    }
}

/// The text of `#[doc = ".."]`, as it stood in the comment: one leading space of each line is the comment's.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("doc")) {
        let Meta::NameValue(meta) = &attribute.meta else {
            continue;
        };
        if let Expr::Lit(literal) = &meta.value
            && let Lit::Str(text) = &literal.lit
        {
            let text = text.value();
            let stripped =
                |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
            // Unlike `lines`, an empty text is one empty line.
            lines.extend(text.split('\n').map(stripped));
        }
    }
    lines.join("\n").trim().to_owned()
}

/// The attributes of one of these names, as they were written.
pub(crate) fn carried(attributes: &[Attribute], names: &[&str]) -> TokenStream {
    let carried = attributes
        .iter()
        .filter(|a| names.iter().any(|name| a.path().is_ident(name)));
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

/// Whether it is `Streaming<T>`, by its last word.
pub(crate) fn is_stream(ty: &Type) -> bool {
    last_word(ty).is_some_and(|word| word.ident == "Streaming" && type_arguments(word).len() == 1)
}

/// The type arguments of a path segment.
pub(crate) fn type_arguments(segment: &syn::PathSegment) -> Vec<&Type> {
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Vec::new();
    };
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

/// Whether all words in a type are those of std and of the encoding table.
pub(crate) fn is_std(ty: &Type) -> bool {
    const LEAVES: [&str; 19] = [
        "bool", "char", "str", "String", "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32",
        "i64", "isize", "f32", "f64", "Bytes", "Duration", "Uuid",
    ];
    const CONTAINERS: [&str; 8] = [
        "Option", "Vec", "VecDeque", "Box", "HashMap", "BTreeMap", "HashSet", "BTreeSet",
    ];
    match plain(ty) {
        Type::Tuple(tuple) => tuple.elems.iter().all(is_std),
        Type::Array(array) => is_std(&array.elem),
        Type::Slice(slice) => is_std(&slice.elem),
        ty => last_word(ty).is_some_and(|word| {
            let name = word.ident.to_string();
            let is_leaf = word.arguments.is_none() && LEAVES.contains(&&*name);
            is_leaf
                || (CONTAINERS.contains(&&*name) && type_arguments(word).into_iter().all(is_std))
        }),
    }
}

/// What stands inside a type that cannot be there.
#[derive(Default)]
pub(crate) struct Inside<'a> {
    pub(crate) reference: Option<&'a syn::TypeReference>,
    pub(crate) lifetime: Option<&'a syn::Lifetime>,
    pub(crate) impl_trait: Option<&'a syn::TypeImplTrait>,
    pub(crate) self_type: Option<&'a syn::Path>,
    /// A type whose name ends in `Handle`, as those that `#[interface]` makes, or a stream.
    pub(crate) handle: Option<&'a syn::Ident>,
    /// A sequence of `u8` that travels as bytes, and is read as a sequence.
    pub(crate) bytes: Option<&'a syn::Ident>,
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
        if path
            .segments
            .first()
            .is_some_and(|first| first.ident == "Self")
        {
            self.self_type.get_or_insert(path);
        }
        if let Some(last) = path
            .segments
            .last()
            .filter(|last| last.ident == "Streaming" || last.ident.to_string().ends_with("Handle"))
        {
            self.handle.get_or_insert(&last.ident);
        }
        if let Some(last) = path.segments.last()
            && (last.ident == "Vec" || last.ident == "List")
            && matches!(type_arguments(last)[..], [item] if is_word(item, "u8"))
        {
            self.bytes.get_or_insert(&last.ident);
        }
        syn::visit::visit_path(self, path);
    }
}

/// What has no form on the wire, as far as it can be told by its words; each with the message about it.
pub(crate) fn unsendable(ty: &Type) -> Vec<(&Type, String)> {
    struct Words<'a>(Vec<(&'a Type, String)>);

    impl<'a> Visit<'a> for Words<'a> {
        fn visit_type(&mut self, ty: &'a Type) {
            for int in ["u128", "i128"] {
                if is_word(ty, int) {
                    let message =
                        format!("`{int}` has no form on the wire: send two `u64`, or bytes");
                    self.0.push((ty, message));
                }
            }
            if let Some(word) = last_word(ty) {
                let message = match (&*word.ident.to_string(), &type_arguments(word)[..]) {
                    ("Option", [inner])
                        if last_word(inner).is_some_and(|word| word.ident == "Option") =>
                    {
                        "`Option<Option<_>>` cannot be sent: `None` and `Some(None)` are both `nil`; use an enum"
                    }
                    ("Option", [inner]) if matches!(plain(inner), Type::Tuple(tuple) if tuple.elems.is_empty()) => {
                        "`Option<()>` cannot be sent: `None` and `Some(())` are both `nil`; use a `bool`"
                    }
                    _ => "",
                };
                if !message.is_empty() {
                    self.0.push((ty, message.to_owned()));
                }
            }
            syn::visit::visit_type(self, ty);
        }
    }

    let mut words = Words(Vec::new());
    words.visit_type(ty);
    words.0
}
