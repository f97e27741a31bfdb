//! A new order by few moves: what a sort of an almost sorted list comes to.

use std::iter::zip;

/// Above so many moves a Permute takes over: each costs whoever applies it time for what lies between.
const MOVES_MAX: usize = 16;
/// The bytes of a Move at most, in a sequence that fits into memory.
const MOVE_BYTES: usize = 12;

/// The moves that bring `0..order.len()` into `order`, one after the other, if they are few and shorter than a Permute:
/// from where the item is by then, to where it shall be afterwards.
pub(crate) fn moves(order: &[usize]) -> Option<Vec<(usize, usize)>> {
    let most = MOVES_MAX.min(order.len() / MOVE_BYTES);
    // One of each two that fall has to move.
    let falls = order.windows(2).filter(|pair| !pair.is_sorted()).count();
    if falls > 2 * most {
        return None;
    }
    let stays = longest_rise(order);
    if stays.iter().filter(|stays| !**stays).count() > most {
        return None;
    }
    // Those that stay, and those that moved, are in order; each that moves goes right behind the one before it.
    let mut now: Vec<usize> = (0..order.len()).collect();
    let mut moves = Vec::new();
    let mut before = None;
    for (item, stays) in zip(order, stays) {
        if !stays {
            let from = now.iter().position(|here| here == item)?;
            now.remove(from);
            let to = match before {
                Some(before) => now.iter().position(|here| here == before)? + 1,
                None => 0,
            };
            now.insert(to, *item);
            moves.push((from, to));
        }
        before = Some(item);
    }
    Some(moves)
}

/// Which places of `order` make up a longest rise.
fn longest_rise(order: &[usize]) -> Vec<bool> {
    // For each length of a rise the place at which the one that ends lowest ends; for each place the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(order.len());
    for (at, item) in order.iter().enumerate() {
        let len = ends.partition_point(|end| order.get(*end) < Some(item));
        before.push(len.checked_sub(1).and_then(|len| ends.get(len)).copied());
        match ends.get_mut(len) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut stays = vec![false; order.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        if let Some(stays) = stays.get_mut(at) {
            *stays = true;
        }
        next = before.get(at).copied().flatten();
    }
    stays
}
