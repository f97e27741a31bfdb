//! Looks for states from which nothing moves though calls are open: every interleaving of a small program, or one of a
//! large one.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::machine::{Machine, Move, World};
use crate::rng::Rng;

/// A schedule that ends with open calls.
#[derive(Debug)]
#[allow(dead_code, reason = "read where it is printed")]
pub struct Lock {
    pub moves: Vec<Move>,
    pub open: Vec<String>,
}

fn hash(machine: &Machine) -> u64 {
    let mut hasher = DefaultHasher::new();
    machine.hash(&mut hasher);
    hasher.finish()
}

/// Every interleaving. How many states there are, or a lock. States are told apart by a hash.
///
/// # Panics
/// More than `most` states.
pub fn all(world: &World<'_>, most: usize) -> Result<usize, Lock> {
    let start = world.start();
    let mut seen = BTreeSet::from([hash(&start)]);
    let mut todo: Vec<(Machine, Vec<Move>)> = vec![(start, Vec::new())];
    while let Some((machine, path)) = todo.pop() {
        let moves = world.moves(&machine);
        if moves.is_empty() {
            let open = world.open(&machine);
            if !open.is_empty() {
                return Err(Lock { moves: path, open });
            }
        }
        for step in moves {
            let mut next = machine.clone();
            world.step(&mut next, step);
            if seen.insert(hash(&next)) {
                let path = [&path[..], &[step]].concat();
                todo.push((next, path));
            }
        }
        assert!(seen.len() <= most, "over {most} states: a smaller program");
    }
    Ok(seen.len())
}

/// One interleaving, drawn from a seed.
pub fn one(world: &World<'_>, rng: &mut Rng) -> Result<(), Lock> {
    let mut machine = world.start();
    let mut path = Vec::new();
    loop {
        let moves = world.moves(&machine);
        let Some(step) = (!moves.is_empty()).then(|| rng.pick(&moves)) else {
            let open = world.open(&machine);
            return match open.is_empty() {
                true => Ok(()),
                false => Err(Lock { moves: path, open }),
            };
        };
        path.push(step);
        world.step(&mut machine, step);
    }
}
