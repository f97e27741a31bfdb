//! The handle: a newtype of `Ref` with the methods of the trait, less `cx`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::model::{Interface, Method, Parameter, Pass};
use super::{describe, quiet};

pub(super) fn expand(interface: &Interface) -> TokenStream {
    let Interface {
        vis,
        name,
        generics,
        cfgs,
        ..
    } = interface;
    let (handle, object, quiet) = (interface.handle(), interface.object(), quiet());
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let declared = &interface.generics_with_defaults.params;
    let docs = format!(
        "A handle to an object with the interface [`{name}`], here or at a peer. Cloning it makes another handle to the \
         same object; two handles are equal when they lead to the same one."
    );
    let new_docs =
        format!("A handle to a new object. `{handle}::of` shares one between interfaces.");
    let fresh = if interface.is_exclusive() {
        quote!(new)
    } else {
        quote!(free)
    };
    let methods = interface
        .methods
        .iter()
        .map(|method| stub(interface, method));
    let from = (!interface.is_generic()).then(|| {
        quote! {
            #cfgs
            #[automatically_derived]
            impl<__HelveT: #name> ::helve::__rt::From<__HelveT> for #handle {
                fn from(object: __HelveT) -> Self {
                    #handle::new(object)
                }
            }
        }
    });
    let delegation = delegation(interface);
    quote! {
        #cfgs
        #[doc = #docs]
        #quiet
        #vis struct #handle<#declared>(::helve::__rt::Ref<dyn #object #type_generics>) #where_clause;
        #cfgs
        #quiet
        impl #impl_generics #handle #type_generics #where_clause {
            #[doc = #new_docs]
            #vis fn new<__HelveT: #name #type_generics>(object: __HelveT) -> Self {
                Self::of(&::helve::__rt::Object::#fresh(object))
            }
            /// A handle to an object that may have other handles, also of other interfaces.
            #vis fn of<__HelveT: #name #type_generics>(object: &::helve::__rt::Arc<::helve::__rt::Object<__HelveT>>) -> Self {
                let object: ::helve::__rt::Arc<::helve::__rt::Object<__HelveT>> = ::helve::__rt::Clone::clone(object);
                Self(::helve::__rt::Ref::here(object))
            }
            #(#methods)*
        }
        #from
        #delegation
    }
}

fn stub(interface: &Interface, method: &Method) -> TokenStream {
    let Method {
        name, shown, cfgs, ..
    } = method;
    let vis = &interface.vis;
    let (id, erased, result) = (
        interface.method_id(method),
        method.erased(),
        interface.result_marker(method),
    );
    let count = method.sent().count() as u32;
    let parameters = method.sent().map(|parameter| {
        let Parameter { name, ty, .. } = parameter;
        match parameter.pass {
            Pass::Mut(_) => {
                let generic = parameter.generic();
                quote!(#name: #generic)
            }
            _ => quote!(#name: #ty),
        }
    });
    let names = method.sent().map(|parameter| &parameter.name);
    let owned = method.sent().filter_map(|parameter| {
        let name = &parameter.name;
        match &parameter.pass {
            Pass::Str | Pass::Bytes => Some(quote!(let #name = ::helve::__rt::ToOwned::to_owned(#name);)),
            Pass::Slice(ty) => {
                Some(quote_spanned!(ty.span()=> let #name = ::helve::__rt::to_vec::<#ty>(#name);))
            }
            Pass::Lent(ty) => Some(quote_spanned!(ty.span()=> let #name = <#ty as ::helve::__rt::Clone>::clone(#name);)),
            Pass::Mut(_) => {
                let marker = interface.marker(method, parameter.index);
                Some(quote!(let #name = ::helve::__rt::borrow::<#marker, _>(&#name);))
            }
            Pass::Value { .. } | Pass::Cx => None,
        }
    });
    let given: Vec<_> = method
        .sent()
        .filter(|parameter| matches!(parameter.pass, Pass::Value { .. }))
        .map(|parameter| {
            let (name, marker) = (&parameter.name, interface.marker(method, parameter.index));
            quote!(::helve::__rt::lent::<#marker>(&#name))
        })
        .collect();
    // What a handle over the wire would refuse when it encodes its arguments.
    let given = (!given.is_empty()).then(|| quote!(.given(false #(|| #given)*)));
    let by_ref = method.is_by_ref();
    let put = method.sent().map(|parameter| {
        let (name, marker) = (&parameter.name, interface.marker(method, parameter.index));
        // The parts of an argument that is sent again have to lie in one piece.
        let value = if by_ref { quote!(unbroken) } else { quote!(value) };
        match parameter.pass {
            Pass::Str => quote!(__helve_args.str(#name);),
            Pass::Bytes => quote!(__helve_args.bytes(#name);),
            Pass::Slice(_) => quote!(__helve_args.slice::<#marker>(#name);),
            Pass::Lent(_) => quote!(__helve_args.lent::<#marker>(#name);),
            Pass::Value { .. } | Pass::Cx => quote!(__helve_args.#value::<#marker>(&#name);),
            Pass::Mut(_) => quote!(__helve_sent.push(::helve::__rt::put_ref::<#marker, _>(&mut #name, __helve_args));),
        }
    });
    let put = if count == 0 {
        quote!(|_| {})
    } else if by_ref {
        quote! {
            |__helve_args| {
                let mut __helve_sent = ::helve::__rt::Vec::new();
                #(#put)*
                __helve_sent
            }
        }
    } else {
        quote!(|__helve_args| { #(#put)* })
    };
    if by_ref {
        return stub_by_ref(interface, method, quote!(#(#owned)*), quote!(#given), put);
    }
    let run = quote!(move |__helve_object| __helve_object.#erased(#(#names),*));
    let (returns, here, there) = if method.oneway {
        (
            quote!(::helve::__rt::Receipt),
            quote!(__helve_near #given.tell(#run)),
            quote!(__helve_far.send_oneway(#id, #count, #put)),
        )
    } else {
        let (value, failure) = (method.output.value(), method.output.failure());
        let here = quote!(::helve::__rt::call::<#result, _>(__helve_near #given, #run));
        let there = quote!(::helve::__rt::send::<#result>(__helve_far, #id, #count, #put));
        match method.opens {
            true => (
                value,
                quote!(::helve::__rt::open(#here)),
                quote!(::helve::__rt::open(#there)),
            ),
            false => (quote!(::helve::__rt::Call<#value, #failure>), here, there),
        }
    };
    quote! {
        #cfgs
        #shown
        #vis fn #name(&self, #(#parameters),*) -> #returns {
            match self.0.route() {
                ::helve::__rt::Route::Here(__helve_near) => {
                    #(#owned)*
                    #here
                }
                ::helve::__rt::Route::There(__helve_far) => #there,
            }
        }
    }
}

/// As [`stub`], of a method with `&mut` parameters. Its call borrows those, and is generic over how they are passed.
fn stub_by_ref(
    interface: &Interface,
    method: &Method,
    owned: TokenStream,
    given: TokenStream,
    put: TokenStream,
) -> TokenStream {
    let Method {
        name, shown, cfgs, ..
    } = method;
    let vis = &interface.vis;
    let (id, erased, result) = (
        interface.method_id(method),
        method.erased(),
        interface.result_marker(method),
    );
    let count = method.sent().count() as u32;
    let names: Vec<_> = method.sent().map(|parameter| &parameter.name).collect();
    let parameters = method.sent().map(|parameter| {
        let Parameter { name, ty, .. } = parameter;
        match parameter.pass {
            Pass::Mut(_) => {
                let generic = parameter.generic();
                quote!(mut #name: #generic)
            }
            _ => quote!(#name: #ty),
        }
    });
    let generics: Vec<_> = method.by_ref().map(|(_, _, generic)| generic).collect();
    let bounds = method
        .by_ref()
        .map(|(_, ty, generic)| quote_spanned!(ty.span()=> #generic: ::helve::__rt::RefArg<#ty>));
    let refs: Vec<_> = method.by_ref().map(|(each, ..)| &each.name).collect();
    let markers = method
        .by_ref()
        .map(|(each, ..)| interface.marker(method, each.index));
    let (value, failure) = (method.output.value(), method.output.failure());
    quote! {
        #cfgs
        #shown
        #vis fn #name<#(#bounds),*>(&self, #(#parameters),*) -> ::helve::__rt::CallMut<(#(#generics,)*), #value, #failure> {
            let __helve_sending = match self.0.route() {
                ::helve::__rt::Route::Here(__helve_near) => {
                    #owned
                    ::helve::__rt::call_mut::<#result, _>(
                        __helve_near #given,
                        move |__helve_object| __helve_object.#erased(#(#names),*),
                    )
                }
                ::helve::__rt::Route::There(__helve_far) => ::helve::__rt::send_mut::<#result>(__helve_far, #id, #count, #put),
            };
            ::helve::__rt::CallMut::new::<(#(#markers,)*)>(__helve_sending, (#(#refs,)*))
        }
    }
}

/// What every handle is besides its methods; each delegates to `Ref`.
fn delegation(interface: &Interface) -> TokenStream {
    let Interface { generics, cfgs, .. } = interface;
    let (handle, object, quiet) = (interface.handle(), interface.object(), quiet());
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let mut with_lifetime = generics.clone();
    with_lifetime
        .params
        .insert(0, syn::parse_quote!('__helve_de));
    let with_lifetime = with_lifetime.split_for_impl().0;
    let descriptor = describe::interface(interface);
    let head = quote! { #cfgs #quiet #[automatically_derived] };
    quote! {
        #head
        impl #impl_generics ::helve::__rt::Clone for #handle #type_generics #where_clause {
            fn clone(&self) -> Self {
                Self(::helve::__rt::Clone::clone(&self.0))
            }
        }
        #head
        impl #impl_generics ::helve::__rt::PartialEq for #handle #type_generics #where_clause {
            fn eq(&self, other: &Self) -> bool {
                self.0.same(&other.0)
            }
        }
        #head
        impl #impl_generics ::helve::__rt::Eq for #handle #type_generics #where_clause {}
        #head
        impl #impl_generics ::helve::__rt::Hash for #handle #type_generics #where_clause {
            fn hash<__H: ::helve::__rt::Hasher>(&self, state: &mut __H) {
                self.0.hash_identity(state)
            }
        }
        #head
        impl #impl_generics ::helve::__rt::fmt::Debug for #handle #type_generics #where_clause {
            fn fmt(&self, f: &mut ::helve::__rt::fmt::Formatter<'_>) -> ::helve::__rt::fmt::Result {
                ::helve::__rt::fmt::Debug::fmt(&self.0, f)
            }
        }
        #head
        impl #impl_generics ::helve::__rt::serde::Serialize for #handle #type_generics #where_clause {
            fn serialize<__S: ::helve::__rt::serde::Serializer>(
                &self, serializer: __S,
            ) -> ::helve::__rt::Result<__S::Ok, __S::Error> {
                ::helve::__rt::Ref::serialize(&self.0, serializer)
            }
        }
        #head
        impl #with_lifetime ::helve::__rt::serde::Deserialize<'__helve_de> for #handle #type_generics #where_clause {
            fn deserialize<__D: ::helve::__rt::serde::Deserializer<'__helve_de>>(
                deserializer: __D,
            ) -> ::helve::__rt::Result<Self, __D::Error> {
                ::helve::__rt::Result::map(::helve::__rt::Ref::deserialize(deserializer), Self)
            }
        }
        #head
        impl #impl_generics ::helve::__rt::Wire for #handle #type_generics #where_clause {
            fn describe() -> ::helve::__rt::TypeDesc {
                ::helve::__rt::TypeDesc::Handle(<Self as ::helve::__rt::Remote>::INTERFACE)
            }
            fn __lend(&mut self, lease: &::helve::__rt::Lease) {
                self.0.lend(lease)
            }
            fn __lent(&self) -> bool {
                self.0.lent()
            }
        }
        #head
        impl #impl_generics ::helve::__rt::Track for #handle #type_generics #where_clause {
            type Shadow = Self;
            fn shadow(&mut self) -> Self {
                ::helve::__rt::Clone::clone(self)
            }
            fn flush(
                &mut self, shadow: &Self, patcher: &mut ::helve::__rt::Patcher,
            ) -> ::helve::__rt::Result<bool, ::helve::__rt::EncodeError> {
                ::helve::__rt::track_handle(self, shadow, patcher)
            }
            fn undo(&mut self, shadow: Self) -> bool {
                *self = shadow;
                true
            }
            fn patch(
                &mut self, reader: &mut ::helve::__rt::PatchReader<'_>,
            ) -> ::helve::__rt::Result<(), ::helve::__rt::PatchError> {
                ::helve::__rt::replace(self, reader)
            }
            fn same(&self, other: &Self) -> bool {
                self == other
            }
        }
        #head
        impl #impl_generics ::helve::__rt::Remote for #handle #type_generics #where_clause {
            type Object = dyn #object #type_generics;
            const INTERFACE: &'static ::helve::__rt::InterfaceDesc = #descriptor;
            fn from_ref(reference: ::helve::__rt::Ref<Self::Object>) -> Self {
                Self(reference)
            }
            fn as_ref(&self) -> &::helve::__rt::Ref<Self::Object> {
                &self.0
            }
        }
    }
}
