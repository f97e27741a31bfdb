use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

struct V(std::cell::Cell<u64>);

impl Viewer for V {
    async fn changed(&self, total: u64) {
        self.0.set(total)
    }
}

fn main() {}
