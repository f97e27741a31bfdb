#![deny(unused_must_use)]

use std::time::Duration;

use helve::prelude::*;

#[interface]
pub trait Viewer {
    async fn changed(&self, total: u64);
    #[oneway]
    async fn note(&self, text: &str);
}

async fn calls(viewer: ViewerHandle) {
    viewer.changed(3);
    viewer.changed(3).deadline(Duration::from_millis(5));
    // On its way already.
    viewer.note("hello");
}

fn main() {}
