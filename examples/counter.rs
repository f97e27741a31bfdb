//! A counter that lives in one process and is called from others.
use helve::prelude::*;

#[interface]
trait Counter {
    /// Adds `n` and returns the sum.
    async fn add(&mut self, n: u64) -> u64;
}

struct Count(u64);
impl Counter for Count {
    async fn add(&mut self, n: u64) -> u64 {
        self.0 += n;
        self.0
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = "ws://127.0.0.1:7000";
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let count = CounterHandle::new(Count(0)); // one for all clients
        helve::serve(url, move |_peer| std::future::ready(Ok(count.clone()))).await?;
    }
    let counter: CounterHandle = helve::connect(url).await?;
    println!("{}", counter.add(2).await?);
    Ok(())
}
