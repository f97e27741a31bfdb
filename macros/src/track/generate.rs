//! `impl Track`, the shadow, and the markers of fields.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Generics, WherePredicate, parse_quote};

use super::group::{Group, Kind, groups, names};
use super::options::Leaf;
use super::part::{self, is_whole};
use crate::attributes::without_defaults;
use crate::wire::mirror::without_self;
use crate::wire::model::{Body, Field, Model, Style, names_any};

/// The index of the marker of the type itself, beside those of its fields.
const WHOLE: usize = usize::MAX;

pub(super) fn expand(model: &Model) -> TokenStream {
    let generics = generics(model);
    let ty = model.ty();
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (items, body) = match is_whole(model) {
        true => (whole_marker(model, &generics), as_a_whole(model)),
        false => {
            let parts = Parts::of(model);
            let items = parts.items(&generics);
            (items, parts.methods())
        }
    };
    let marker = marker_type(model, &generics);
    quote! {
        #marker
        #items
        #[automatically_derived]
        impl #impl_generics ::helve::__rt::track::Track for #ty #where_clause {
            #body
        }
    }
}

/// The bounds of `Wire`, and `Track` in its place for what fields hold.
fn generics(model: &Model) -> Generics {
    let mut generics = model.generics.clone();
    if generics.params.is_empty() {
        return generics;
    }
    let parameters: Vec<Ident> = generics.type_params().map(|p| p.ident.clone()).collect();
    let mut added: Vec<WherePredicate> = match &model.track.bound {
        Some(bound) => bound.clone(),
        None => {
            let (directly, associated) = &model.held;
            let parameters = parameters.iter().map(|p| match directly.contains(p) {
                true => parse_quote!(#p: ::helve::__rt::track::Track),
                false => parse_quote!(#p: ::helve::__rt::Clone + ::helve::__rt::Send + ::helve::__rt::Sync + 'static),
            });
            let associated = associated
                .iter()
                .map(|ty| parse_quote!(#ty: ::helve::__rt::track::Track));
            parameters.chain(associated).collect()
        }
    };
    let opaque = model.fields().filter(|field| {
        field.is_opaque() && !field.serde.skip && names_any(&field.ty, &parameters)
    });
    for field in opaque {
        let ty = without_self(&field.ty, &model.ty());
        added.push(parse_quote!(#ty: ::helve::__rt::Clone + ::helve::__rt::Send + ::helve::__rt::Sync + 'static));
        if field.track.leaf == Some(Leaf::Equal) {
            added.push(parse_quote!(#ty: ::helve::__rt::PartialEq));
        }
    }
    generics.make_where_clause().predicates.extend(added);
    generics
}

/// The types that stand in `PhantomData`.
fn held(model: &Model) -> TokenStream {
    let held = model.generics.type_params().map(|p| &p.ident);
    quote!(::helve::__rt::PhantomData<fn() -> (#(#held,)*)>)
}

fn marker_type(model: &Model, generics: &Generics) -> TokenStream {
    let (_, _, where_clause) = generics.split_for_impl();
    let held = held(model);
    let mut plain = generics.clone();
    without_defaults(&mut plain);
    let parameters = plain.params.iter();
    quote!(struct __HelveField<const __AT: usize, #(#parameters),*>(#held) #where_clause;)
}

/// The marker of the type itself, for what is compared as a whole.
fn whole_marker(model: &Model, generics: &Generics) -> TokenStream {
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (marker, ty) = (model.numbered_marker(WHOLE), model.ty());
    quote!(impl #impl_generics ::helve::__rt::Typed for #marker #where_clause { type T = #ty; })
}

fn whole_part(model: &Model) -> TokenStream {
    let marker = model.numbered_marker(WHOLE);
    let part = part::leaf(
        model.track.leaf,
        quote!(::helve::__rt::track::Sent<#marker>),
        model.name.span(),
    );
    quote!(<#part as ::helve::__rt::track::Part>)
}

/// The methods of a type that is a leaf.
fn as_a_whole(model: &Model) -> TokenStream {
    let part = whole_part(model);
    let nullable = match &model.body {
        // Untagged, a unit is written as nil.
        Body::Enum(variants) if model.serde.proxy.is_none() && !model.opaque => {
            variants.iter().any(|v| v.fields.style == Style::Unit)
        }
        _ => false,
    };
    let methods = Methods {
        shadow_type: quote!(Self),
        nullable: quote!(#nullable),
        is_flat: false,
        shadow: quote!(#part::shadow(self)),
        flush: quote!(#part::flush(self, __shadow, __patcher)),
        undo: quote!(#part::undo(self, __shadow)),
        patch: quote!(#part::patch(self, __reader)),
        adopt: quote!(),
        same: quote!(#part::same(self, __other)),
    };
    methods.into_tokens()
}

/// The bodies of the methods, and the rest of the impl.
struct Methods {
    shadow_type: TokenStream,
    nullable: TokenStream,
    is_flat: bool,
    shadow: TokenStream,
    flush: TokenStream,
    undo: TokenStream,
    patch: TokenStream,
    adopt: TokenStream,
    same: TokenStream,
}

impl Methods {
    fn into_tokens(self) -> TokenStream {
        let Methods {
            shadow_type,
            nullable,
            is_flat,
            shadow,
            flush,
            undo,
            patch,
            adopt,
            same,
        } = self;
        quote! {
            type Shadow = #shadow_type;
            const NULLABLE: bool = #nullable;
            const FLAT: bool = #is_flat;
            fn shadow(&mut self) -> Self::Shadow {
                #shadow
            }
            fn flush(
                &mut self, __shadow: &Self::Shadow, __patcher: &mut ::helve::__rt::track::Patcher,
            ) -> ::helve::__rt::Result<bool, ::helve::__rt::track::EncodeError> {
                #flush
            }
            fn undo(&mut self, __shadow: Self::Shadow) -> bool {
                #undo
            }
            fn patch(
                &mut self, __reader: &mut ::helve::__rt::track::PatchReader<'_>,
            ) -> ::helve::__rt::Result<(), ::helve::__rt::track::PatchError> {
                #patch
            }
            fn adopt(&mut self, __old: &mut Self) {
                #adopt
            }
            fn same(&self, __other: &Self) -> bool {
                #same
            }
        }
    }
}

/// A type that was refused is `Track` all the same: the refusal is then the only error.
pub(super) fn stub(input: &DeriveInput) -> TokenStream {
    if input.generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let nothing = || quote!(loop {});
    let methods = Methods {
        shadow_type: quote!(()),
        nullable: quote!(false),
        is_flat: true,
        shadow: nothing(),
        flush: nothing(),
        undo: nothing(),
        patch: nothing(),
        adopt: nothing(),
        same: nothing(),
    };
    let methods = methods.into_tokens();
    quote! {
        impl #impl_generics ::helve::__rt::track::Track for #name #type_generics #where_clause {
            #methods
        }
    }
}

struct Parts<'a> {
    model: &'a Model,
    groups: Vec<Group<'a>>,
}

impl<'a> Parts<'a> {
    fn of(model: &'a Model) -> Parts<'a> {
        let groups = groups(model);
        Parts { model, groups }
    }

    fn part(&self, field: &Field) -> TokenStream {
        let part = part::part(self.model, field);
        quote!(<#part as ::helve::__rt::track::Part>)
    }

    /// The markers, the shadow, and what can be checked before the type is used.
    fn items(&self, generics: &Generics) -> TokenStream {
        let tracked = || self.groups.iter().flat_map(Group::tracked);
        let markers = tracked().map(|(_, field)| part::marker(self.model, generics, field));
        let has_whole = self.groups.iter().any(|g| matches!(g.kind, Kind::Whole));
        let whole = has_whole.then(|| whole_marker(self.model, generics));
        let checks = generics.params.is_empty().then(|| {
            let own = tracked().filter(|(_, field)| !field.is_opaque());
            let checks = own.map(|(_, field)| {
                let (flat, tracked) = (self.flat(field), self.own_type(field));
                quote_spanned! {field.ty.span()=>
                    const _: bool = <#tracked as ::helve::__rt::track::Track>::NULLABLE;
                    #flat
                }
            });
            quote!(#(#checks)*)
        });
        let shadow = self.shadow_type(generics);
        quote!(#(#markers)* #whole #shadow #checks)
    }

    /// The type of a field that is tracked itself.
    fn own_type(&self, field: &Field) -> TokenStream {
        let marker = self.model.marker(field);
        quote!(<#marker as ::helve::__rt::track::Held>::T)
    }

    /// That a flattened field is a struct. An item.
    fn flat(&self, field: &Field) -> Option<TokenStream> {
        let tracked = self.own_type(field);
        field.serde.flatten.then(|| quote! {
            const _: () = ::helve::__rt::track::assert_flat(<#tracked as ::helve::__rt::track::Track>::FLAT);
        })
    }

    fn shadow_type(&self, generics: &Generics) -> TokenStream {
        let (_, _, where_clause) = generics.split_for_impl();
        let mut plain = generics.clone();
        without_defaults(&mut plain);
        let (parameters, held) = (plain.params.iter(), held(self.model));
        let ty = self.model.ty();
        let bodies = self.groups.iter().map(|group| {
            if let Kind::Whole = group.kind {
                return quote!({ __whole: ::helve::__rt::Box<#ty>, __of: #held });
            }
            let fields = group.tracked().map(|(_, field)| {
                let (name, part) = (field.binding(), part::part(self.model, field));
                let shadow =
                    quote_spanned!(field.ty.span()=> <#part as ::helve::__rt::track::Part>::Shadow);
                quote!(#name: #shadow)
            });
            quote!({ #(#fields,)* __of: #held })
        });
        match &self.model.body {
            Body::Struct(_) => {
                quote!(pub struct __HelveShadow<#(#parameters),*> #where_clause #(#bodies)*)
            }
            Body::Enum(_) => {
                let names = (0..self.groups.len()).map(|at| format_ident!("__Variant{at}"));
                quote!(pub enum __HelveShadow<#(#parameters),*> #where_clause { #(#names #bodies),* })
            }
        }
    }

    fn methods(&self) -> TokenStream {
        let type_generics = self.model.generics.split_for_impl().1;
        let (nullable, is_flat) = match (&self.model.body, self.model.inner()) {
            (_, Some(inner)) => {
                let part = self.part(inner);
                (quote!(#part::NULLABLE), false)
            }
            (Body::Struct(fields), None) => {
                let is_unit = fields.style == Style::Unit;
                (quote!(#is_unit), fields.style == Style::Named)
            }
            (Body::Enum(_), None) => (quote!(false), false),
        };
        let methods = Methods {
            shadow_type: quote!(__HelveShadow #type_generics),
            nullable,
            is_flat,
            shadow: self.shadow(),
            flush: self.flush(),
            undo: self.undo(),
            patch: self.patch(),
            adopt: self.adopt(),
            same: self.same(),
        };
        methods.into_tokens()
    }

    /// `match on { .. }` with an arm of each group, and `rest`.
    fn each(
        &self,
        on: TokenStream,
        arm: impl Fn(&Group<'_>) -> TokenStream,
        rest: TokenStream,
    ) -> TokenStream {
        if self.groups.is_empty() {
            return quote!(match *self {});
        }
        let arms = self.groups.iter().map(arm);
        quote!(match #on { #(#arms)* #rest })
    }

    /// The arm for two that are different variants.
    fn otherwise(&self, then: TokenStream) -> TokenStream {
        match self.model.body {
            Body::Enum(_) => quote!(_ => #then),
            Body::Struct(_) => TokenStream::new(),
        }
    }

    fn shadow(&self) -> TokenStream {
        let flat = self.groups.iter().flat_map(Group::tracked);
        let flat = flat.filter(|(_, field)| field.serde.flatten).map(|(_, field)| {
            let tracked = self.own_type(field);
            quote!(const { ::helve::__rt::track::assert_flat(<#tracked as ::helve::__rt::track::Track>::FLAT) })
        });
        let take = self.each(
            quote!(&mut *self),
            |group| {
                let (shadow, fields) = (&group.shadow, group.tracked().map(|(_, field)| field));
                let pattern = group.pattern(fields, false);
                let of = quote!(__of: ::helve::__rt::PhantomData);
                if let Kind::Whole = group.kind {
                    let part = whole_part(self.model);
                    return quote!(#pattern => #shadow { __whole: ::helve::__rt::Box::new(#part::shadow(self)), #of },);
                }
                let fields = group.tracked().map(|(_, field)| {
                    let (name, part) = (field.binding(), self.part(field));
                    quote!(#name: #part::shadow(#name))
                });
                quote!(#pattern => #shadow { #(#fields,)* #of },)
            },
            TokenStream::new(),
        );
        quote!(#(#flat)* #take)
    }

    fn flush(&self) -> TokenStream {
        let same = self.each(
            quote!((&mut *self, __shadow)),
            |group| {
                let pattern = group.pattern(group.tracked().map(|(_, field)| field), false);
                let shadow = group.shadow_pattern();
                let entries = group.tracked().map(|(ordinal, field)| {
                    let ((name, was), part) = (names(field), self.part(field));
                    let entry = match field.serde.flatten {
                        true => quote!(flattened),
                        false => quote!(field),
                    };
                    quote!(__entries.#entry(#ordinal, |__patcher| #part::flush(#name, #was, __patcher))?;)
                });
                let entries = quote!(|__entries| { #(#entries)* ::helve::__rt::Ok(()) });
                let is_empty = group.tracked().next().is_none();
                let flush = match group.kind {
                    Kind::Whole => {
                        let part = whole_part(self.model);
                        quote!(#part::flush(self, __whole, __patcher))
                    }
                    _ if is_empty => quote!(::helve::__rt::Ok(false)),
                    Kind::Fields => quote!(__patcher.node(::helve::__rt::track::Tag::Fields, 1, #entries)),
                    Kind::Variant { ordinal, levels } => {
                        quote!(__patcher.variant(#ordinal, #levels, #entries))
                    }
                    Kind::Inner | Kind::Skipped => {
                        let inner = group.tracked().map(|(_, field)| {
                            let ((name, was), part) = (names(field), self.part(field));
                            quote!(#part::flush(#name, #was, __patcher))
                        });
                        quote!(#(#inner)*)
                    }
                };
                quote!((#pattern, #shadow) => return #flush,)
            },
            self.otherwise(quote!({})),
        );
        match &self.model.body {
            Body::Enum(variants) if !variants.is_empty() => {
                quote!(#same __patcher.set(self)?; ::helve::__rt::Ok(true))
            }
            _ => same,
        }
    }

    fn undo(&self) -> TokenStream {
        let arms = |group: &Group<'_>| {
            let pattern = group.pattern(group.tracked().map(|(_, field)| field), false);
            let shadow = group.shadow_pattern();
            let undo = group.tracked().map(|(_, field)| {
                let ((name, was), part) = (names(field), self.part(field));
                quote!(__all = #part::undo(#name, #was) && __all;)
            });
            let path = &group.path;
            match group.kind {
                Kind::Whole => {
                    let part = whole_part(self.model);
                    // Whichever variant it is now.
                    quote!((_, #shadow) => return #part::undo(self, *__whole),)
                }
                // Nothing of it was lost.
                Kind::Variant { .. } if group.fields.fields.is_empty() => {
                    quote!((_, #shadow) => { *self = #path {}; return true; })
                }
                _ => quote!((#pattern, #shadow) => {
                    // All of them, whatever the first ones say: each ends its watch.
                    let mut __all = true;
                    #(#undo)*
                    return __all;
                }),
            }
        };
        self.each(
            quote!((&mut *self, __shadow)),
            arms,
            self.otherwise(quote!(return false,)),
        )
    }

    fn patch(&self) -> TokenStream {
        if self.groups.is_empty() {
            return quote!(match *self {});
        }
        if let [
            Group {
                kind: Kind::Inner, ..
            },
        ] = &self.groups[..]
        {
            return self.each(
                quote!(&mut *self),
                |group| {
                    let pattern = group.pattern(group.tracked().map(|(_, field)| field), false);
                    let patch = group.tracked().map(|(_, field)| {
                        let (name, part) = (field.binding(), self.part(field));
                        quote!(#part::patch(#name, __reader))
                    });
                    quote!(#pattern => #(#patch)*,)
                },
                TokenStream::new(),
            );
        }
        let fields = |group: &Group<'_>| {
            let arms = group.tracked().map(|(ordinal, field)| {
                let (name, part) = (field.binding(), self.part(field));
                quote!(#ordinal => #part::patch(#name, __reader),)
            });
            quote! {
                __reader.fields(__pairs, |__reader, __field| match __field {
                    #(#arms)*
                    _ => ::helve::__rt::Err(::helve::__rt::track::PatchError::Field),
                })
            }
        };
        let node = match &self.model.body {
            Body::Struct(_) => {
                let inside = self.each(
                    quote!(&mut *self),
                    |group| {
                        let pattern = group.pattern(group.tracked().map(|(_, field)| field), false);
                        let fields = fields(group);
                        quote!(#pattern => #fields,)
                    },
                    TokenStream::new(),
                );
                quote!(::helve::__rt::track::Node::Fields(__pairs) => #inside,)
            }
            Body::Enum(variants) => {
                let other = variants.iter().find(|variant| variant.serde.other).map(|variant| {
                    let name = &variant.name;
                    quote!((Self::#name { .. }, ::helve::__rt::None) => __reader.skip_fields(__pairs),)
                });
                let inside = self.each(
                    quote!((&mut *self, __variant)),
                    |group| {
                        let Kind::Variant { ordinal, .. } = group.kind else {
                            return TokenStream::new();
                        };
                        let pattern = group.pattern(group.tracked().map(|(_, field)| field), false);
                        let fields = fields(group);
                        quote!((#pattern, ::helve::__rt::Some(#ordinal)) => #fields,)
                    },
                    quote!(#other _ => ::helve::__rt::Err(::helve::__rt::track::PatchError::Variant),),
                );
                quote! {
                    ::helve::__rt::track::Node::Enum(__pairs) => __reader.variant(|__reader, __variant| #inside),
                }
            }
        };
        quote! {
            __reader.node(&mut |__reader, __node| match __node {
                ::helve::__rt::track::Node::Set => {
                    *self = __reader.value()?;
                    ::helve::__rt::Ok(())
                }
                #node
                _ => ::helve::__rt::Err(::helve::__rt::track::PatchError::Shape),
            })
        }
    }

    fn adopt(&self) -> TokenStream {
        self.each(
            quote!((&mut *self, &mut *__old)),
            |group| {
                let fields = || group.tracked().map(|(_, field)| field).chain(group.kept());
                let (ours, theirs) = (
                    group.pattern(fields(), false),
                    group.pattern(fields(), true),
                );
                let adopt = group.tracked().map(|(_, field)| {
                    let ((name, old), part) = (names(field), self.part(field));
                    quote!(#part::adopt(#name, #old);)
                });
                let kept = group.kept().map(|field| {
                    let (name, old) = names(field);
                    quote!(::helve::__rt::track::swap(#name, #old);)
                });
                quote!((#ours, #theirs) => { #(#adopt)* #(#kept)* })
            },
            self.otherwise(quote!({})),
        )
    }

    fn same(&self) -> TokenStream {
        self.each(
            quote!((self, __other)),
            |group| {
                let fields = || group.tracked().map(|(_, field)| field);
                let (ours, theirs) = (
                    group.pattern(fields(), false),
                    group.pattern(fields(), true),
                );
                let same = group.tracked().map(|(_, field)| {
                    let ((name, other), part) = (names(field), self.part(field));
                    quote!(#part::same(#name, #other))
                });
                let same = match group.kind {
                    Kind::Whole => {
                        let part = whole_part(self.model);
                        quote!(#part::same(self, __other))
                    }
                    _ => quote!(true #(&& #same)*),
                };
                quote!((#ours, #theirs) => #same,)
            },
            self.otherwise(quote!(false,)),
        )
    }
}
