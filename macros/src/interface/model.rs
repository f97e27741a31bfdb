//! What `#[interface]` knows of a trait, and the names that the generated items share.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Generics, Ident, ItemTrait, Type, Visibility};

use super::quiet;

/// A trait that was read.
pub(super) struct Interface {
    pub(super) vis: Visibility,
    pub(super) name: Ident,
    /// Without defaults.
    pub(super) generics: Generics,
    /// As written.
    pub(super) generics_with_defaults: Generics,
    pub(super) id: String,
    pub(super) docs: String,
    /// `#[cfg]` of the trait, for every item beside it.
    pub(super) cfgs: TokenStream,
    /// The methods that were right.
    pub(super) methods: Vec<Method>,
    /// The trait with `async fn` written out.
    pub(super) rewritten: ItemTrait,
}

pub(super) struct Method {
    pub(super) name: Ident,
    pub(super) wire_name: String,
    /// Its place in the trait: part of the names of its markers.
    pub(super) index: usize,
    pub(super) docs: String,
    /// Documentation, `#[deprecated]` and lint levels, for the handle's method.
    pub(super) shown: TokenStream,
    pub(super) cfgs: TokenStream,
    pub(super) exclusive: bool,
    pub(super) oneway: bool,
    pub(super) detached: bool,
    /// Not `async`: returns a stream, which makes the call when it is first read.
    pub(super) opens: bool,
    pub(super) parameters: Vec<Parameter>,
    pub(super) output: Output,
}

pub(super) struct Parameter {
    pub(super) name: Ident,
    /// As written.
    pub(super) ty: Type,
    pub(super) pass: Pass,
    /// Its place among those that are sent.
    pub(super) index: usize,
}

pub(super) enum Pass {
    Value {
        default: bool,
    },
    Str,
    Bytes,
    /// `&[T]`.
    Slice(Type),
    /// `&T`.
    Lent(Type),
    /// `&mut T`.
    Mut(Type),
    /// `&Cx`, not sent.
    Cx,
}

pub(super) enum Output {
    Unit,
    Value(Type),
    /// `Result<T, E>`, both in sight.
    Result(Box<[Type; 2]>),
    /// A type whose last word is `Result`, with other arguments: seen through by `Outcome`.
    Alias(Type),
}

/// The marker index of a result; arguments have 0 and up.
const RESULT: u8 = 255;

impl Interface {
    pub(super) fn handle(&self) -> Ident {
        format_ident!("{}Handle", self.name)
    }

    /// The erased object: a trait with one method for each of the interface's.
    pub(super) fn object(&self) -> Ident {
        format_ident!("__{}Object", self.name)
    }

    fn markers(&self) -> Ident {
        format_ident!("__{}Marker", self.name)
    }

    fn ids_type(&self) -> Ident {
        format_ident!("__{}Ids", self.name)
    }

    pub(super) fn is_generic(&self) -> bool {
        !self.generics.params.is_empty()
    }

    /// Whether any method runs alone, so that objects need a gate.
    pub(super) fn is_exclusive(&self) -> bool {
        self.methods.iter().any(|method| method.exclusive)
    }

    /// The id of the interface on the wire.
    pub(super) fn wire_id(&self) -> TokenStream {
        let ids = self.ids_type();
        quote!(#ids::INTERFACE)
    }

    /// The id of a method on the wire, good in patterns.
    pub(super) fn method_id(&self, method: &Method) -> TokenStream {
        let (ids, constant) = (self.ids_type(), method.id_name());
        quote!(#ids::#constant)
    }

    /// The marker of an argument.
    pub(super) fn marker(&self, method: &Method, index: usize) -> TokenStream {
        let index = u8::try_from(index).unwrap_or(RESULT - 1);
        self.marker_at(method, index)
    }

    /// The marker of the result.
    pub(super) fn result_marker(&self, method: &Method) -> TokenStream {
        self.marker_at(method, RESULT)
    }

    fn marker_at(&self, method: &Method, index: u8) -> TokenStream {
        let (markers, at) = (self.markers(), method.index);
        let arguments = self
            .generics
            .params
            .iter()
            .map(|parameter| match parameter {
                syn::GenericParam::Type(parameter) => &parameter.ident,
                syn::GenericParam::Const(parameter) => &parameter.ident,
                syn::GenericParam::Lifetime(parameter) => &parameter.lifetime.ident,
            });
        quote!(#markers<#at, #index, #(#arguments),*>)
    }

    /// The ids, and one marker for each argument and result, so that a missing `Wire` is one error at the user's type:
    /// everything else names the marker.
    pub(super) fn ids(&self) -> TokenStream {
        let Interface { name, cfgs, id, .. } = self;
        let (ids, markers, quiet) = (self.ids_type(), self.markers(), quiet());
        let constants = self.methods.iter().map(|method| {
            let (cfgs, constant, wire_name) = (&method.cfgs, method.id_name(), &method.wire_name);
            quote!(#cfgs const #constant: u32 = ::helve::__rt::method_id(Self::INTERFACE, #wire_name);)
        });
        let each = self.methods.iter().map(|method| {
            let (cfgs, id) = (&method.cfgs, self.method_id(method));
            quote!(#cfgs #id)
        });
        let check = quote_spanned!(name.span()=> ::helve::__rt::assert_unique(&[#(#each),*]));
        let parameters = self.generics.params.iter();
        let held = self
            .generics
            .type_params()
            .map(|parameter| &parameter.ident);
        let where_clause = &self.generics.where_clause;
        let typed = self.methods.iter().map(|method| self.typed(method));
        quote! {
            #cfgs
            #[doc(hidden)]
            struct #ids;
            #cfgs
            #quiet
            impl #ids {
                const INTERFACE: &'static str = #id;
                #(#constants)*
            }
            #cfgs
            const _: () = #check;
            #cfgs
            #[doc(hidden)]
            #quiet
            struct #markers<const __METHOD: usize, const __AT: u8, #(#parameters),*>(
                ::helve::__rt::PhantomData<fn() -> (#(#held,)*)>
            ) #where_clause;
            #(#typed)*
        }
    }

    fn typed(&self, method: &Method) -> TokenStream {
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let cfgs = quote!(#[automatically_derived]);
        let cfgs = [cfgs, self.cfgs.clone(), method.cfgs.clone()];
        let cfgs = quote!(#(#cfgs)*);
        let arguments = method.parameters.iter().filter_map(|parameter| {
            let (of, ty) = match &parameter.pass {
                Pass::Value { .. } => (quote!(Typed), &parameter.ty),
                Pass::Slice(ty) | Pass::Lent(ty) => (quote!(Typed), ty),
                Pass::Mut(ty) => (quote!(ByRef), ty),
                Pass::Str | Pass::Bytes | Pass::Cx => return None,
            };
            let marker = self.marker(method, parameter.index);
            Some(quote!(#cfgs impl #impl_generics ::helve::__rt::#of for #marker #where_clause { type T = #ty; }))
        });
        let marker = self.result_marker(method);
        let (ty, error) = (method.output.value(), method.output.failure());
        quote! {
            #(#arguments)*
            #cfgs
            impl #impl_generics ::helve::__rt::Typed for #marker #where_clause { type T = #ty; }
            #cfgs
            impl #impl_generics ::helve::__rt::Fails for #marker #where_clause { type E = #error; }
        }
    }
}

impl Method {
    fn id_name(&self) -> Ident {
        format_ident!("METHOD_{}", self.index)
    }

    /// Its name in the erased trait.
    pub(super) fn erased(&self) -> Ident {
        format_ident!("__helve_run_{}", self.name)
    }

    /// The `&mut` parameters, each with its generic type of the handle's method.
    pub(super) fn by_ref(&self) -> impl Iterator<Item = (&Parameter, &Type, Ident)> {
        self.parameters
            .iter()
            .filter_map(|parameter| match &parameter.pass {
                Pass::Mut(ty) => Some((parameter, ty, parameter.generic())),
                _ => None,
            })
    }

    /// Whether it changes what its caller passes.
    pub(super) fn is_by_ref(&self) -> bool {
        self.by_ref().next().is_some()
    }

    /// The parameters that are sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters
            .iter()
            .filter(|parameter| !matches!(parameter.pass, Pass::Cx))
    }
}

impl Parameter {
    /// What the handle's method takes for a `&mut` parameter.
    pub(super) fn generic(&self) -> Ident {
        format_ident!("__HelveA{}", self.index)
    }
}

impl Output {
    /// What the caller gets when all went well.
    pub(super) fn value(&self) -> TokenStream {
        match self {
            Output::Unit => quote!(()),
            Output::Value(ty) => quote!(#ty),
            Output::Result(types) => types[0].to_token_stream(),
            Output::Alias(ty) => quote_spanned!(ty.span()=> <#ty as ::helve::__rt::Outcome>::Ok),
        }
    }

    /// What the call fails with.
    pub(super) fn failure(&self) -> TokenStream {
        match self {
            Output::Unit | Output::Value(_) => quote!(::helve::__rt::RpcError),
            Output::Result(types) => {
                let error = &types[1];
                quote_spanned!(error.span()=> ::helve::__rt::CallError<#error>)
            }
            Output::Alias(ty) => quote_spanned!(ty.span()=> <#ty as ::helve::__rt::Outcome>::Err),
        }
    }

    /// Turns what the method returned into a `Result<value, failure>`.
    pub(super) fn settle(&self, returned: TokenStream) -> TokenStream {
        match self {
            Output::Unit | Output::Value(_) => quote!(::helve::__rt::Ok(#returned)),
            Output::Result(..) => {
                quote!(::helve::__rt::Result::map_err(#returned, ::helve::__rt::CallError::App))
            }
            Output::Alias(_) => quote!(::helve::__rt::Outcome::flatten(#returned)),
        }
    }
}
