//! What `#[derive(Wire)]` knows of a type.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::visit::Visit;
use syn::{Attribute, Data, DeriveInput, Generics, Ident, Member, Type, parse_quote};

use super::check;
use super::mirror::without_self;
use super::serde::{Container, Part};
use crate::attributes::{Errors, is_word, last_word};
use crate::track::options::{FieldOptions, TypeOptions};

pub(crate) struct Model {
    pub(crate) name: Ident,
    /// With the bounds that the impls need.
    pub(crate) generics: Generics,
    pub(crate) serde: Container,
    pub(crate) wire_name: String,
    /// `#[wire(serde)]`: serde's impls exist already.
    pub(crate) has_serde: bool,
    /// `#[wire(serde, opaque)]`.
    pub(crate) opaque: bool,
    /// `#[track(..)]`.
    pub(crate) track: TypeOptions,
    pub(crate) body: Body,
    /// The parameters that fields hold, and the types that belong to one (`T::Key`).
    pub(crate) held: (Vec<Ident>, Vec<Type>),
}

pub(crate) enum Body {
    Struct(Fields),
    Enum(Vec<Variant>),
}

pub(crate) struct Variant {
    pub(crate) name: Ident,
    pub(crate) wire_name: String,
    pub(crate) skip: bool,
    /// Written or read by code of its own.
    pub(crate) with: bool,
    pub(crate) serde: Part,
    pub(crate) fields: Fields,
}

pub(crate) struct Fields {
    pub(crate) style: Style,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Unit,
    Unnamed,
    Named,
}

pub(crate) struct Field {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) wire_name: String,
    pub(crate) serde: Part,
    pub(crate) js_number: bool,
    /// `#[track(..)]`.
    pub(crate) track: FieldOptions,
    /// Its place among all fields of the type: the number of its marker.
    pub(crate) index: usize,
}

impl Field {
    /// Whether it has to be `Wire`.
    pub(crate) fn is_walked(&self) -> bool {
        !self.serde.skip && !self.is_opaque()
    }

    /// Whether its form is only known to code of its own.
    pub(crate) fn is_opaque(&self) -> bool {
        self.serde.with || self.track.leaf.is_some()
    }

    /// A name for it in patterns.
    pub(crate) fn binding(&self) -> Ident {
        format_ident!("__field{}", self.index)
    }
}

impl Model {
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Model> {
        let serde = Container::read(&input.attrs, errors);
        let (has_serde, opaque) = of_type(&input.attrs, errors);
        let track = TypeOptions::read(&input.attrs);
        for lifetime in input.generics.lifetimes() {
            errors.at(
                lifetime,
                "a value that is sent has no lifetime: own what is inside",
            );
        }
        let mut index = 0;
        let body = match &input.data {
            Data::Struct(data) => Body::Struct(Fields::read(
                &data.fields,
                serde.rename_all,
                serde.default,
                &mut index,
                errors,
            )),
            Data::Enum(data) => {
                let variants = data.variants.iter().map(|variant| {
                    let part = Part::read(&variant.attrs, errors);
                    let rule = part.rename_all.or(serde.rename_all_fields);
                    let name = variant.ident.unraw().to_string();
                    let wire_name = part.rename.clone().unwrap_or_else(|| {
                        serde
                            .rename_all
                            .map_or(name.clone(), |case| case.variant(&name))
                    });
                    let mut fields = Fields::read(&variant.fields, rule, false, &mut index, errors);
                    // Then nothing is asked of them.
                    fields.fields.iter_mut().for_each(|field| {
                        field.serde.skip |= part.skip;
                        field.serde.with |= part.with;
                    });
                    let in_buffer = serde.untagged
                        || part.untagged
                        || (serde.tag.is_some() && serde.content.is_none());
                    if in_buffer {
                        check::buffered(&fields, errors);
                    }
                    Variant {
                        name: variant.ident.clone(),
                        wire_name,
                        skip: part.skip,
                        with: part.with,
                        serde: part,
                        fields,
                    }
                });
                Body::Enum(variants.collect())
            }
            Data::Union(data) => {
                errors.at(
                    data.union_token,
                    "a union cannot be sent: nothing says which field it holds",
                );
                return None;
            }
        };
        let mut model = Model {
            name: input.ident.clone(),
            generics: input.generics.clone(),
            wire_name: serde
                .rename
                .clone()
                .unwrap_or_else(|| input.ident.unraw().to_string()),
            serde,
            has_serde,
            opaque,
            track,
            body,
            held: Default::default(),
        };
        model.name_leaf();
        // Then the fields need not be `Wire`.
        if model.serde.proxy.is_none() && !opaque {
            model
                .fields()
                .filter(|field| field.is_walked())
                .for_each(|field| check::field(field, errors));
        }
        model.add_bounds();
        Some(model)
    }

    /// All fields, of all variants.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let groups: Vec<&Fields> = match &self.body {
            Body::Struct(fields) => vec![fields],
            Body::Enum(variants) => variants.iter().map(|variant| &variant.fields).collect(),
        };
        groups.into_iter().flat_map(|group| &group.fields)
    }

    /// The one field that stands for the whole on the wire: of a newtype, or of a transparent struct.
    pub(crate) fn inner(&self) -> Option<&Field> {
        let Body::Struct(fields) = &self.body else {
            return None;
        };
        let mut sent = fields.fields.iter().filter(|field| !field.serde.skip);
        let is_newtype = fields.style == Style::Unnamed && fields.fields.len() == 1;
        match (sent.next(), sent.next()) {
            (Some(inner), None) if self.serde.transparent || is_newtype => Some(inner),
            _ => None,
        }
    }

    /// `#[track(leaf)]` on a newtype is meant for what it holds.
    fn name_leaf(&mut self) {
        let Some(inner) = self.inner().map(|inner| inner.index) else {
            return;
        };
        if let Body::Struct(fields) = &mut self.body {
            let inner = fields
                .fields
                .iter_mut()
                .filter(|field| field.index == inner);
            inner.for_each(|field| field.track.leaf = field.track.leaf.or(self.track.leaf));
        }
    }

    /// The bounds that serde's derive would infer, in terms of `Wire`, and those that it was given.
    fn add_bounds(&mut self) {
        if self.generics.params.is_empty() {
            return;
        }
        let parameters: Vec<Ident> = self
            .generics
            .type_params()
            .map(|parameter| parameter.ident.clone())
            .collect();
        let mut used = Used {
            parameters: &parameters,
            directly: Vec::new(),
            associated: Vec::new(),
        };
        if self.opaque || self.serde.proxy.is_some() {
            used.directly.clone_from(&parameters);
        }
        self.fields()
            .filter(|field| field.is_walked())
            .for_each(|field| used.visit_type(&field.ty));
        self.held = (used.directly, used.associated);
        let (directly, associated) = &self.held;
        let mut added: Vec<syn::WherePredicate> = parameters
            .iter()
            .map(|p| match directly.contains(p) {
                true => parse_quote!(#p: ::helve::__rt::Wire),
                false => parse_quote!(#p: ::helve::__rt::Send + 'static),
            })
            .collect();
        added.extend(
            associated
                .iter()
                .map(|ty| parse_quote!(#ty: ::helve::__rt::Wire)),
        );
        for field in self.fields() {
            added.extend(field.serde.bounds.iter().cloned());
            if field.track.leaf.is_some() && !field.serde.with && names_any(&field.ty, &parameters)
            {
                let ty = without_self(&field.ty, &self.ty());
                added.push(parse_quote!(#ty: ::helve::__rt::serde::Serialize + ::helve::__rt::serde::de::DeserializeOwned));
            }
            if field.serde.plain_default && names_any(&field.ty, &parameters) {
                let ty = without_self(&field.ty, &self.ty());
                added.push(parse_quote!(#ty: ::helve::__rt::Default));
            }
        }
        added.extend(self.serde.bounds.iter().cloned());
        if self.serde.default {
            let ty = self.ty();
            added.push(parse_quote!(#ty: ::helve::__rt::Default));
        }
        self.generics.make_where_clause().predicates.extend(added);
    }

    /// The type, with its parameters.
    pub(crate) fn ty(&self) -> TokenStream {
        let (name, type_generics) = (&self.name, self.generics.split_for_impl().1);
        quote!(#name #type_generics)
    }

    /// The marker of a field.
    pub(crate) fn marker(&self, field: &Field) -> TokenStream {
        self.numbered_marker(field.index)
    }

    /// The marker with this number.
    pub(crate) fn numbered_marker(&self, index: usize) -> TokenStream {
        let arguments = self
            .generics
            .params
            .iter()
            .map(|parameter| match parameter {
                syn::GenericParam::Type(parameter) => parameter.ident.to_token_stream(),
                syn::GenericParam::Const(parameter) => parameter.ident.to_token_stream(),
                syn::GenericParam::Lifetime(parameter) => parameter.lifetime.to_token_stream(),
            });
        quote!(__HelveField<#index, #(#arguments),*>)
    }
}

impl Fields {
    fn read(
        fields: &syn::Fields,
        rule: Option<super::case::Case>,
        default: bool,
        index: &mut usize,
        errors: &mut Errors,
    ) -> Fields {
        let style = match fields {
            syn::Fields::Unit => Style::Unit,
            syn::Fields::Unnamed(_) => Style::Unnamed,
            syn::Fields::Named(_) => Style::Named,
        };
        let fields = fields.members().zip(fields).map(|(member, field)| {
            let mut serde = Part::read(&field.attrs, errors);
            serde.default |= default;
            let wire_name = match &member {
                Member::Named(name) => {
                    let name = name.unraw().to_string();
                    serde
                        .rename
                        .clone()
                        .unwrap_or_else(|| rule.map_or(name.clone(), |case| case.field(&name)))
                }
                Member::Unnamed(_) => String::new(),
            };
            let js_number = of_field(field, errors);
            *index += 1;
            Field {
                member,
                ty: field.ty.clone(),
                wire_name,
                serde,
                js_number,
                track: FieldOptions::read(&field.attrs),
                index: *index - 1,
            }
        });
        Fields {
            style,
            fields: fields.collect(),
        }
    }
}

/// `#[wire(serde)]` and `#[wire(serde, opaque)]`.
fn of_type(attributes: &[Attribute], errors: &mut Errors) -> (bool, bool) {
    let (mut serde, mut opaque) = (false, false);
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("wire"))
    {
        let read = attribute.parse_nested_meta(|meta| {
            serde |= meta.path.is_ident("serde");
            opaque |= meta.path.is_ident("opaque");
            match meta.path.is_ident("serde") || meta.path.is_ident("opaque") {
                true => Ok(()),
                false => {
                    Err(meta.error("unknown option: on a type it is `serde`, or `serde, opaque`"))
                }
            }
        });
        if let Err(error) = read {
            errors.push(error);
        }
        if opaque && !serde {
            errors.at(
                attribute,
                "`opaque` goes with `serde`: `#[wire(serde, opaque)]`",
            );
        }
    }
    (serde, opaque)
}

/// `#[wire(js_number)]`.
fn of_field(field: &syn::Field, errors: &mut Errors) -> bool {
    let mut js_number = false;
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("wire"))
    {
        let read = attribute.parse_nested_meta(|meta| match meta.path.is_ident("js_number") {
            true => {
                js_number = true;
                Ok(())
            }
            false => Err(meta.error("unknown option: on a field it is `js_number`")),
        });
        if let Err(error) = read {
            errors.push(error);
        }
        if js_number
            && !["u64", "i64", "usize", "isize"]
                .iter()
                .any(|int| is_word(&field.ty, int))
        {
            let found = last_word(&field.ty)
                .map_or_else(|| "this".to_owned(), |word| format!("`{}`", word.ident));
            errors.at(
                &field.ty,
                format!("`js_number` goes on a `u64` or `i64`: {found} is no bigint in JavaScript"),
            );
        }
    }
    js_number
}

/// Whether a type names one of these parameters.
pub(crate) fn names_any(ty: &Type, parameters: &[Ident]) -> bool {
    struct Names<'a>(&'a [Ident], bool);

    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.1 |= self.0.contains(ident);
        }
    }

    let mut names = Names(parameters, false);
    names.visit_type(ty);
    names.1
}

/// How the fields use the parameters, told as serde's derive tells it.
struct Used<'a> {
    parameters: &'a [Ident],
    /// `T`, in whatever but `PhantomData`.
    directly: Vec<Ident>,
    /// `T::Key`, `<T as Keyed>::Key`.
    associated: Vec<Type>,
}

impl<'ast> Visit<'ast> for Used<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        if let Type::Path(path) = ty {
            let first = path.path.segments.first().map(|segment| &segment.ident);
            let is_parameter = first.is_some_and(|first| self.parameters.contains(first));
            let projected = path.qself.is_some() && names_any(ty, self.parameters);
            if projected || (is_parameter && path.path.segments.len() > 1) {
                self.associated.push(ty.clone());
                return;
            }
            if let (true, Some(first)) = (is_parameter, first) {
                self.directly.push(first.clone());
            }
            if last_word(ty).is_some_and(|word| word.ident == "PhantomData") {
                return;
            }
        }
        syn::visit::visit_type(self, ty);
    }
}
