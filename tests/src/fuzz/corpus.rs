//! What inputs are made from: the golden vectors of `tests/vectors`, and scripts of our own for whole sessions.

use serde_json::Value;

const BATCHES: [&str; 2] = [
    include_str!("../../vectors/batches.json"),
    include_str!("../../vectors/batches-bad.json"),
];
const HANDSHAKES: [&str; 2] = [
    include_str!("../../vectors/handshakes.json"),
    include_str!("../../vectors/handshakes-bad.json"),
];
/// Longer vectors show a bound by their length, and mutations of them only cost time.
const LONGEST: usize = 2 << 10;

/// Good and bad messages.
pub(super) fn batches() -> Vec<Vec<u8>> {
    BATCHES.into_iter().flat_map(messages).collect()
}

/// Good and bad handshakes.
pub(super) fn handshakes() -> Vec<Vec<u8>> {
    HANDSHAKES.into_iter().flat_map(messages).collect()
}

/// Scripts for [`super::session`]: what a message holds is a script as it stands.
pub(super) fn scripts() -> Vec<Vec<u8>> {
    let mut ours = super::session::scripts();
    ours.extend(super::shared::scripts());
    // Few vectors go on as a conversation, and ours all do: they are to be drawn more often.
    let mut scripts = [&ours[..]; 4].concat();
    scripts.extend(batches());
    scripts
}

fn messages(file: &str) -> Vec<Vec<u8>> {
    let file: Value = serde_json::from_str(file).expect("a vector file is JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    let messages = vectors.iter().map(|vector| bytes(&vector["hex"]));
    messages.filter(|bytes| bytes.len() <= LONGEST).collect()
}

/// Hex, or a list of hex and `{"repeat": hex, "times": n}`.
fn bytes(hex: &Value) -> Vec<u8> {
    match hex {
        Value::String(hex) => super::run::unhex(hex).expect("hex"),
        Value::Array(parts) => parts.iter().flat_map(bytes).collect(),
        part => {
            let times = part["times"].as_u64().expect("times");
            bytes(&part["repeat"]).repeat(usize::try_from(times).expect("a number of times"))
        }
    }
}
