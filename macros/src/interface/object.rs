//! The erased object: a trait with the signatures of one interface, implemented for every object of it. A local call
//! runs its boxed future; a call that arrived is decoded and run by `__helve_dispatch`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::parse_quote;
use syn::spanned::Spanned;

use super::model::{Interface, Method, Parameter, Pass};
use super::quiet;

pub(super) fn expand(interface: &Interface) -> TokenStream {
    let Interface {
        vis,
        name,
        generics,
        cfgs,
        ..
    } = interface;
    let (object, quiet) = (interface.object(), quiet());
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let mut with_object = generics.clone();
    with_object
        .params
        .push(parse_quote!(__HelveT: #name #type_generics));
    let with_object = with_object.split_for_impl().0;
    let signatures = interface.methods.iter().map(|method| {
        let (cfgs, signature) = (&method.cfgs, signature(interface, method, false));
        quote!(#cfgs #signature;)
    });
    let local = interface
        .methods
        .iter()
        .map(|method| local(interface, method));
    let arms = interface
        .methods
        .iter()
        .map(|method| arm(interface, method));
    let handle = interface.handle();
    quote! {
        #cfgs
        #[doc(hidden)]
        #quiet
        #vis trait #object #impl_generics: ::helve::__rt::Send + ::helve::__rt::Sync + 'static #where_clause {
            #(#signatures)*
            fn __helve_dispatch(self: ::helve::__rt::Arc<Self>, call: ::helve::__rt::Incoming<'_>);
        }
        #cfgs
        #quiet
        #[automatically_derived]
        impl #with_object #object #type_generics for ::helve::__rt::Object<__HelveT> #where_clause {
            #(#local)*
            fn __helve_dispatch(self: ::helve::__rt::Arc<Self>, __helve_call: ::helve::__rt::Incoming<'_>) {
                match __helve_call.method() {
                    #(#arms)*
                    _ => __helve_call.unimplemented(),
                }
            }
        }
        #cfgs
        #quiet
        #[automatically_derived]
        impl #impl_generics ::helve::__rt::Dispatch for dyn #object #type_generics #where_clause {
            fn dispatch(self: ::helve::__rt::Arc<Self>, call: ::helve::__rt::Incoming<'_>) {
                self.__helve_dispatch(call)
            }
            fn interface() -> &'static ::helve::__rt::InterfaceDesc {
                <#handle #type_generics as ::helve::__rt::Remote>::INTERFACE
            }
        }
    }
}

/// `fn __helve_add(self: Arc<Self>, line: Line) -> Local<u32, CallError<CartError>>`. `lends`: what is lent is `mut`.
fn signature(interface: &Interface, method: &Method, lends: bool) -> TokenStream {
    let erased = method.erased();
    let (mut value, failure) = (method.output.value(), method.output.failure());
    if method.is_by_ref() {
        value = quote!(::helve::__rt::Returned<#value>);
    }
    let parameters = method.sent().map(|parameter| {
        let Parameter { name, ty, .. } = parameter;
        let marker = interface.marker(method, parameter.index);
        let lent = lends
            && matches!(
                parameter.pass,
                Pass::Lent(_) | Pass::Slice(_) | Pass::Mut(_)
            );
        let mutable = lent.then(|| quote!(mut));
        let owned = match &parameter.pass {
            Pass::Str => quote!(::helve::__rt::String),
            Pass::Bytes => quote!(::helve::__rt::Vec<u8>),
            Pass::Slice(item) => quote!(::helve::__rt::Vec<#item>),
            Pass::Lent(ty) => quote!(#ty),
            Pass::Mut(_) => quote!(::helve::__rt::InOut<#marker>),
            Pass::Value { .. } | Pass::Cx => quote!(#ty),
        };
        quote!(#mutable #name: #owned)
    });
    quote!(fn #erased(self: ::helve::__rt::Arc<Self>, #(#parameters),*) -> ::helve::__rt::Local<#value, #failure>)
}

/// Enters the object and calls the method; its result as `Result<value, failure>`.
fn run(interface: &Interface, method: &Method) -> TokenStream {
    let name = &method.name;
    let the_trait = &interface.name;
    let type_generics = interface.generics.split_for_impl().1;
    let (enter, binding, object) = match method.exclusive {
        true => (
            quote!(write),
            quote!(mut __helve_object),
            quote!(&mut __helve_object),
        ),
        false => (
            quote!(read),
            quote!(__helve_object),
            quote!(&__helve_object),
        ),
    };
    let arguments = method.parameters.iter().map(|parameter| {
        let name = &parameter.name;
        match parameter.pass {
            Pass::Value { .. } => quote!(#name),
            Pass::Str | Pass::Bytes | Pass::Slice(_) | Pass::Lent(_) => quote!(&#name),
            Pass::Mut(_) => quote!(&mut #name),
            Pass::Cx => quote!(&__helve_cx),
        }
    });
    let wait = (!method.opens).then(|| quote!(.await));
    let call = quote_spanned! {name.span()=>
        <__HelveT as #the_trait #type_generics>::#name(#object, #(#arguments),*) #wait
    };
    let result = method.output.settle(call);
    let enter = quote!(let #binding = self.#enter(&__helve_cx).await?;);
    if !method.is_by_ref() {
        return quote!(#enter #result);
    }
    let failure = method.output.failure();
    let names: Vec<_> = method.by_ref().map(|(each, ..)| &each.name).collect();
    quote! {
        #enter
        ::helve::__rt::open_refs(&mut [#(&mut #names as &mut dyn ::helve::__rt::Opens),*]).await?;
        #(let mut #names = #names.opened()?;)*
        let __helve_result: ::helve::__rt::Result<_, #failure> = #result;
        let __helve_result = __helve_result?;
        #(let #names = #names.stage()?;)*
        ::helve::__rt::Ok(::helve::__rt::Returned::new(
            __helve_result,
            ::helve::__rt::vec![#(#names.finish()?),*],
        ))
    }
}

fn local(interface: &Interface, method: &Method) -> TokenStream {
    let cfgs = &method.cfgs;
    let signature = signature(interface, method, true);
    let lends = method.sent().filter_map(|parameter| {
        let (name, marker) = (&parameter.name, interface.marker(method, parameter.index));
        let lend = match parameter.pass {
            Pass::Slice(_) => format_ident!("lend_all"),
            Pass::Lent(_) => format_ident!("lend"),
            _ => return None,
        };
        Some(quote!(::helve::__rt::#lend::<#marker>(&mut #name, &__helve_lease);))
    });
    let lends: Vec<_> = lends.collect();
    let lends = (!lends.is_empty()).then(|| {
        quote! {
            let __helve_lease = ::helve::__rt::Lease::new();
            let __helve_end = __helve_lease.scope();
            #(#lends)*
        }
    });
    let run = run(interface, method);
    quote! {
        #cfgs
        #signature {
            ::helve::__rt::Box::pin(async move {
                let __helve_cx = ::helve::__rt::Cx::current();
                #lends
                #run
            })
        }
    }
}

fn arm(interface: &Interface, method: &Method) -> TokenStream {
    let (cfgs, id, marker) = (
        &method.cfgs,
        interface.method_id(method),
        interface.result_marker(method),
    );
    let serve = if method.detached {
        format_ident!("serve_detached")
    } else {
        format_ident!("serve")
    };
    let arguments = method.sent().map(|parameter| {
        let (name, marker) = (&parameter.name, interface.marker(method, parameter.index));
        let take = match parameter.pass {
            Pass::Str => quote!(str()),
            Pass::Bytes => quote!(bytes()),
            Pass::Slice(_) => quote!(slice::<#marker>()),
            Pass::Mut(_) => {
                return quote!(let mut #name = __helve_keeper.take::<#marker>(&__helve_args)?;);
            }
            Pass::Value { default: true } => {
                let ty = &parameter.ty;
                let default =
                    quote_spanned!(ty.span()=> || <#ty as ::helve::__rt::Default>::default());
                quote!(take_or::<#marker>(#default))
            }
            _ => quote!(take::<#marker>()),
        };
        quote!(let #name = __helve_args.#take?;)
    });
    let run = run(interface, method);
    // Only a method that asks for the context can look at the peer in it.
    let asks = |parameter: &Parameter| matches!(parameter.pass, Pass::Cx);
    let own = if method.parameters.iter().any(asks) {
        quote!(::helve::__rt::Clone::clone(__helve_cx))
    } else {
        quote!(__helve_cx.unseen())
    };
    if method.is_by_ref() {
        let detached = method.detached;
        return quote! {
            #cfgs
            #id => ::helve::__rt::serve_mut::<#marker, _>(
                __helve_call,
                #detached,
                move |__helve_cx, __helve_args, __helve_keeper| {
                    let __helve_cx = #own;
                    async move {
                        #(#arguments)*
                        #run
                    }
                },
            ),
        };
    }
    quote! {
        #cfgs
        #id => ::helve::__rt::#serve::<#marker, _>(__helve_call, move |__helve_cx, __helve_args| {
            let __helve_cx = #own;
            async move {
                #(#arguments)*
                #run
            }
        }),
    }
}
