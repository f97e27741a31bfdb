use helve::prelude::*;
use helve::track::Tracked;

#[interface]
pub trait Cart {
    async fn slice(&self, lines: &mut [u32]);
    async fn text(&self, text: &mut str);
    async fn context(&self, cx: &mut Cx);
    async fn default(&self, #[default] draft: &mut u32);
    async fn tracked(&self, draft: &mut Tracked<u32>);
    async fn lifetime(&self, draft: &'static mut u32);
    async fn inside(&self, draft: &mut Vec<&'static str>);
    #[oneway]
    async fn tell(&self, draft: &mut u32);
    fn stream(&self, draft: &mut u32) -> Streaming<u32>;
    async fn many(
        &self,
        a: &mut u8,
        b: &mut u8,
        c: &mut u8,
        d: &mut u8,
        e: &mut u8,
        f: &mut u8,
        g: &mut u8,
        h: &mut u8,
        i: &mut u8,
    );
}

fn main() {}
