use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
}

struct V(std::sync::Mutex<u64>);

impl Viewer for V {
    async fn changed(&self, total: u64) {
        let mut guard = self.0.lock().unwrap();
        tokio::task::yield_now().await;
        *guard = total;
    }
}

fn main() {}
