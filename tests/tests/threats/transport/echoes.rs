//! Invariant 29: a stranger is answered with no more than four times what it said and 256 bytes, whatever it says.

use helve_protocol::hello::Hello;
use helve_tests::fuzz;
use helve_tests::seeded::Rng;

use super::wire::{UPGRADE, Wire, head};
use crate::attack::{Scene, Stage, attack};

const MIB: u64 = 1 << 20;

/// Says all of it on a connection of its own, and counts what comes back until the server has had enough.
async fn bounded(scene: &Scene, said: &[&[u8]]) {
    let mut wire = Wire::silent(scene).await;
    let mut bytes_in = 0;
    for part in said {
        wire.say(part).await;
        bytes_in += part.len();
    }
    let bytes_out = wire.rest().await.len();
    let most = 4 * bytes_in + 256;
    assert!(
        bytes_out <= most,
        "{bytes_out} bytes for {bytes_in}: {:?}",
        said.iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect::<Vec<_>>()
    );
}

#[test]
fn invariant_29_a_stranger_is_told_at_most_four_times_what_it_said_and_256_bytes() {
    attack(Stage::plain(), MIB, async |scene| {
        let upgrade = format!("{UPGRADE}\r\n");
        let hello = fuzz::target("hello").expect("a target");
        let requests = [
            "\r\n",
            "x\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\n\r\n",
            "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for request in requests {
            bounded(scene, &[request.as_bytes()]).await;
        }
        // Without one of its headers.
        for (at, line) in upgrade.lines().enumerate().skip(1) {
            let rest: String = upgrade
                .split_inclusive("\r\n")
                .enumerate()
                .filter_map(|(k, line)| (k != at).then_some(line))
                .collect();
            println!("without {line}");
            bounded(scene, &[rest.as_bytes()]).await;
        }
        for payload in fuzz::inputs(&hello, 29, 100) {
            let first = head(0x82, payload.len() as u64);
            bounded(scene, &[upgrade.as_bytes(), &first, &payload]).await;
        }
        let mut rng = Rng::new(29);
        for _ in 0..100 {
            let mut bytes = vec![0; rng.below(300)];
            bytes.fill_with(|| rng.number() as u8);
            bounded(scene, &[&bytes]).await;
            bounded(scene, &[upgrade.as_bytes(), &bytes]).await;
        }
        let whole = Hello::default().encode();
        let first = head(0x82, whole.len() as u64);
        for cut in 0..whole.len() {
            bounded(scene, &[upgrade.as_bytes(), &first, &whole[..cut]]).await;
        }
    });
}
