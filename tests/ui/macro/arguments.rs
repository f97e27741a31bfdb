use helve::prelude::*;

#[interface]
pub trait Odd {
    async fn default_first(&self, #[default] a: u8, b: u8);
    async fn default_borrowed(&self, #[default] a: &str);
    async fn default_value(&self, #[default = 3] a: u8);
    async fn no_name(&self, _: u8);
    async fn pattern(&self, (a, b): (u8, u8)) {
        let _ = (a, b);
    }
    async fn inner_reference(&self, all: Vec<&str>);
    async fn inner_lifetime(&self, text: std::borrow::Cow<'_, str>);
    async fn object(&self, other: &dyn Send);
    async fn me(&self, other: Box<Self>);
    async fn context_by_value(&self, cx: Cx);
    async fn two_contexts(&self, a: &Cx, b: &Cx);
    async fn big(&self, n: u128, all: &[Vec<i128>]);
    async fn twice(&self, n: Option<Option<u8>>, unit: Option<()>);
    async fn stream(&self, lines: &Streaming<u8>, more: &mut Streaming<u8>);
    async fn conditional(&self, #[cfg(test)] a: u8);
}


fn main() {}
