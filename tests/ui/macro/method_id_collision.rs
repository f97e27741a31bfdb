use helve::prelude::*;

#[interface(id = "demo.Clash")]
pub trait Clash {
    async fn move_word_by_tea(&self);
    async fn add_pot_to_box(&self);
}

#[interface(id = "demo.Clash")]
pub trait Resolved {
    async fn move_word_by_tea(&self);
    #[name = "add_the_pot_to_the_box"]
    async fn add_pot_to_box(&self);
}

fn main() {}
