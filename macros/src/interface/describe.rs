//! The descriptor of an interface, a constant of its handle.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;

use super::model::{Interface, Method, Parameter, Pass};

pub(super) fn interface(interface: &Interface) -> TokenStream {
    let (id, docs) = (interface.wire_id(), &interface.docs);
    let methods = interface.methods.iter().map(|each| method(interface, each));
    quote! {
        &::helve::__rt::InterfaceDesc {
            id: #id,
            docs: #docs,
            methods: &[#(#methods),*],
        }
    }
}

fn method(interface: &Interface, method: &Method) -> TokenStream {
    let Method {
        wire_name,
        docs,
        cfgs,
        exclusive,
        oneway,
        detached,
        ..
    } = method;
    let (id, marker) = (interface.method_id(method), interface.result_marker(method));
    let arguments = method
        .sent()
        .map(|parameter| argument(interface, method, parameter));
    quote! {
        #cfgs
        ::helve::__rt::MethodDesc {
            name: #wire_name,
            id: #id,
            docs: #docs,
            args: &[#(#arguments),*],
            ret: ::helve::__rt::TypeRef::marked::<#marker>(),
            error: ::helve::__rt::app_error::<#marker>,
            oneway: #oneway,
            exclusive: #exclusive,
            detached: #detached,
        }
    }
}

fn argument(interface: &Interface, method: &Method, parameter: &Parameter) -> TokenStream {
    let name = parameter.name.unraw().to_string();
    let marker = interface.marker(method, parameter.index);
    let (ty, kind) = match parameter.pass {
        Pass::Value { .. } => (quote!(marked::<#marker>), quote!(Value)),
        Pass::Str => (quote!(of::<::helve::__rt::String>), quote!(Lent)),
        Pass::Bytes => (quote!(of::<::helve::__rt::Vec<u8>>), quote!(Lent)),
        Pass::Slice(_) => (quote!(marked_all::<#marker>), quote!(Lent)),
        Pass::Lent(_) | Pass::Cx => (quote!(marked::<#marker>), quote!(Lent)),
        Pass::Mut(_) => (
            quote!(of::<<#marker as ::helve::__rt::ByRef>::T>),
            quote!(Ref),
        ),
    };
    let default = matches!(parameter.pass, Pass::Value { default: true });
    quote! {
        ::helve::__rt::ArgDesc {
            name: #name,
            kind: ::helve::__rt::Kind::#kind,
            ty: ::helve::__rt::TypeRef::#ty(),
            default: #default,
        }
    }
}
