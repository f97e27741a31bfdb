use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

struct V;

impl Viewer for V {
    async fn changed(&self, total: u64) {
        let n = std::rc::Rc::new(total);
        tokio::task::yield_now().await;
        drop(n);
    }
}

fn main() {}
