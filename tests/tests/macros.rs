//! Every form that `#[interface]` and `#[derive(Wire)]` take, run on a local object and through a connection.

#![allow(unreachable_pub, reason = "written as a library would write it")]

mod macros {
    mod descriptors;
    mod forms;
    mod hygiene;
    mod lending;
    mod values;
}

use std::future::Future;
use std::time::Duration;

use helve::Remote;

/// A handle to the same object by way of a connection over memory; the host runs until the test ends.
async fn remote<H: Remote>(root: &H) -> H {
    let (near, far) = helve::transport::memory::pair();
    let root = root.clone();
    let host = helve::Server::builder()
        .root(move |_| std::future::ready(Ok(root.clone())))
        .host();
    tokio::spawn(async move { host.serve_link(far).await });
    helve::connect_over::<H>(near)
        .await
        .expect("a link over memory connects")
}

/// Runs `test` with a handle to `root` here and with one to it over a connection.
async fn both<H: Remote, F: Future<Output = ()>>(root: H, test: impl Fn(H) -> F) {
    limited(test(root.clone())).await;
    let far = limited(remote(&root)).await;
    limited(test(far)).await;
}

async fn limited<F: Future>(test: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), test)
        .await
        .expect("the test did not end")
}
