//! What the tests of lists keep in them.

use helve_handles::track::List;

use super::Rng;

/// A struct of the size that lists are full of, with a container in it.
pub type Row = (u32, f64, String, List<u16>);

/// One of them.
pub fn row(n: u32) -> Row {
    (n, f64::from(n), format!("row {n}"), List::new())
}

/// One edit of a row, the same for the same numbers.
pub fn poke(row: &mut Row, what: u64) {
    let n = what / 8;
    match what % 8 {
        0 => row.0 = n as u32 % 5,
        1 => row.1 = if row.1 == 0.0 { -row.1 } else { n as f64 },
        2 => row.2.push((b'a' + n as u8 % 26) as char),
        3 | 4 => row.3.push(n as u16 % 9),
        5 => _ = row.3.pop(),
        6 => row.3.reverse(),
        // A look, and no change.
        _ => _ = row.3.first_mut(),
    }
}

/// Some row.
pub fn some_row(rng: &mut Rng) -> Row {
    let inner = (0..rng.below(3)).map(|n| n as u16).collect();
    (
        rng.below(5) as u32,
        0.0,
        "t".repeat(rng.below(20) as usize),
        inner,
    )
}
