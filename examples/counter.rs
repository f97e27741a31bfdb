//! A counter that lives in one process and is called from another.
//!
//! `counter serve [URL]` in one terminal, `counter call [URL]` in the next; without arguments both ends run here.
use helve::prelude::*;

#[interface]
pub trait Counter {
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
    let mut args = std::env::args().skip(1);
    let (role, url) = (args.next(), args.next().unwrap_or("ws://127.0.0.1:7000".into()));
    let count = CounterHandle::new(Count(40));
    let root = move |_| std::future::ready(Ok(count.clone()));
    match role.as_deref() {
        Some("serve") => helve::serve(&url, root).await?,
        Some(_) => call(&url).await?,
        None => {
            let server = helve::Server::builder().root(root).bind("ws://127.0.0.1:0").await?;
            let url = server.url().to_owned();
            tokio::spawn(server.run());
            call(&url).await?;
        }
    }
    Ok(())
}

async fn call(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let counter: CounterHandle = helve::connect(url).await?;
    println!("{}", counter.add(2).await?);
    Ok(())
}
