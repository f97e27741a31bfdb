//! (skeleton: being written)
use proc_macro::TokenStream;
/// (to come)
#[proc_macro_attribute]
pub fn interface(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
/// (to come)
#[proc_macro_derive(Wire, attributes(wire, serde))]
pub fn wire(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
