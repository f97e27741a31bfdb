//! Random values of the model's types, and random patches of them. For tests alone.

use helve_handles::Reference;
use helve_handles::put::{put_array, put_bin, put_int, put_nil, put_str, put_uint};

use super::{Field, Shape, Ty, Val, absent, encode, left_out};

/// The seed of `HELVE_SEED`, else always the same.
pub fn seed() -> u64 {
    let given = std::env::var("HELVE_SEED").ok();
    given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x9e37_79b9)
}

/// xorshift64*, seeded.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn word(rng: &mut Rng) -> String {
    let chars = ['a', 'b', 'é', '😀', '.'];
    (0..rng.below(6)).map(|_| chars[rng.below(5)]).collect()
}

pub fn random(ty: &Ty, rng: &mut Rng) -> Val {
    let all = |tys: &[Ty], rng: &mut Rng| tys.iter().map(|ty| random(ty, rng)).collect();
    let named = |fields: &[Field], rng: &mut Rng| {
        fields.iter().map(|field| random(&field.ty, rng)).collect()
    };
    match ty {
        Ty::Int | Ty::Counter => Val::Int(rng.below(400) as i64 - 200),
        Ty::Str => Val::Str(word(rng)),
        Ty::Bytes => Val::Bytes(word(rng).into_bytes()),
        Ty::Handle => Val::Handle(rng.below(1000) as u64),
        Ty::Struct(fields) => Val::All(named(fields, rng)),
        Ty::Tuple(items) => Val::All(all(items, rng)),
        Ty::Map(ty) => {
            let entry = |rng: &mut Rng| (key(rng), random(ty, rng));
            Val::Map((0..rng.below(4)).map(|_| entry(rng)).collect())
        }
        Ty::List(ty) => Val::List((0..rng.below(5)).map(|_| random(ty, rng)).collect()),
        Ty::Opt(ty) => Val::Opt((!rng.one_in(3)).then(|| Box::new(random(ty, rng)))),
        Ty::Enum(variants) => {
            let at = rng.below(variants.len());
            Val::Enum(
                at,
                match &variants[at].1 {
                    Shape::Unit => Vec::new(),
                    Shape::Newtype(ty) => vec![random(ty, rng)],
                    Shape::Tuple(items) => all(items, rng),
                    Shape::Struct(fields) => named(fields, rng),
                },
            )
        }
    }
}

fn key(rng: &mut Rng) -> u64 {
    [0, 1, 7, 200, 70_000][rng.below(5)]
}

/// Changes `value`; returns a patch that did it, and its references.
pub fn change(ty: &Ty, value: &mut Val, rng: &mut Rng) -> (Vec<u8>, Vec<Reference>) {
    let (mut patch, mut refs) = (Vec::new(), Vec::new());
    change_node(ty, value, rng, &mut patch, &mut refs);
    (patch, refs)
}

fn set(ty: &Ty, value: &mut Val, rng: &mut Rng, out: &mut Vec<u8>, refs: &mut Vec<Reference>) {
    *value = random(ty, rng);
    out.extend([0x92, 0]);
    encode(ty, value, out, refs);
}

/// `[tag, ..]` around `len` parts.
fn wrap(out: &mut Vec<u8>, tag: u8, len: usize, parts: &[u8]) {
    put_array(out, 1 + len);
    out.push(tag);
    out.extend(parts);
}

fn change_node(
    ty: &Ty,
    value: &mut Val,
    rng: &mut Rng,
    out: &mut Vec<u8>,
    refs: &mut Vec<Reference>,
) {
    if rng.one_in(12) {
        return set(ty, value, rng, out, refs);
    }
    if rng.one_in(15) {
        let (mut parts, len) = (Vec::new(), 1 + rng.below(3));
        for _ in 0..len {
            change_node(ty, value, rng, &mut parts, refs);
        }
        return wrap(out, 7, len, &parts);
    }
    let mut parts = Vec::new();
    match (ty, &mut *value) {
        (Ty::Opt(ty), Val::Opt(Some(value))) => change_node(ty, value, rng, out, refs),
        (Ty::Struct(fields), Val::All(values)) => {
            let n = change_fields(fields, values, rng, &mut parts, refs);
            wrap(out, 1, 2 * n, &parts);
        }
        (Ty::Tuple(items), Val::All(values)) => {
            let n = change_items(items, values, rng, &mut parts, refs);
            wrap(out, 1, 2 * n, &parts);
        }
        (Ty::Enum(variants), Val::Enum(at, values)) => {
            put_uint(&mut parts, *at as u64);
            let n = match &variants[*at].1 {
                Shape::Unit => 0,
                Shape::Newtype(ty) => {
                    change_items(std::slice::from_ref(ty), values, rng, &mut parts, refs)
                }
                Shape::Tuple(items) => change_items(items, values, rng, &mut parts, refs),
                Shape::Struct(fields) => change_fields(fields, values, rng, &mut parts, refs),
            };
            wrap(out, 6, 1 + 2 * n, &parts);
        }
        (Ty::Counter, Val::Int(n)) => {
            let by = rng.below(9) as i64 - 4;
            *n = n.wrapping_add(by);
            put_int(&mut parts, by);
            wrap(out, 3, 1, &parts);
        }
        (Ty::Str, Val::Str(text)) => {
            let edits = rng.below(3);
            for _ in 0..edits {
                let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                let from = borders.get(rng.below(borders.len() + 1)).copied();
                let from = from.unwrap_or(text.len());
                let to = borders.get(rng.below(borders.len() + 1)).copied();
                let to = to.unwrap_or(text.len()).max(from);
                let new = word(rng);
                put_uint(&mut parts, text[..from].encode_utf16().count() as u64);
                put_uint(&mut parts, text[from..to].encode_utf16().count() as u64);
                put_str(&mut parts, &new);
                text.replace_range(from..to, &new);
            }
            wrap(out, 5, 3 * edits, &parts);
        }
        (Ty::Map(ty), Val::Map(entries)) => {
            let n = rng.below(4);
            for _ in 0..n {
                let key = key(rng);
                put_uint(&mut parts, key);
                match entries.get_mut(&key) {
                    Some(value) if !rng.one_in(3) => {
                        change_node(ty, value, rng, &mut parts, refs);
                    }
                    _ if rng.one_in(3) => {
                        entries.remove(&key);
                        put_nil(&mut parts);
                    }
                    _ => {
                        let value = entries.entry(key).or_insert(Val::Int(0));
                        set(ty, value, rng, &mut parts, refs);
                    }
                }
            }
            wrap(out, 2, 2 * n, &parts);
        }
        (Ty::List(ty), Val::List(items)) => {
            let n = rng.below(5);
            for _ in 0..n {
                change_list(ty, items, rng, &mut parts, refs);
            }
            wrap(out, 4, n, &parts);
        }
        (Ty::Bytes, Val::Bytes(bytes)) => {
            let pos = rng.below(bytes.len() + 1);
            let del = rng.below(bytes.len() - pos + 1);
            let new = word(rng).into_bytes();
            put_array(&mut parts, 4);
            parts.push(8);
            put_uint(&mut parts, pos as u64);
            put_uint(&mut parts, del as u64);
            put_bin(&mut parts, &new);
            bytes.splice(pos..pos + del, new);
            wrap(out, 4, 1, &parts);
        }
        _ => set(ty, value, rng, out, refs),
    }
}

fn change_items(
    items: &[Ty],
    values: &mut [Val],
    rng: &mut Rng,
    parts: &mut Vec<u8>,
    refs: &mut Vec<Reference>,
) -> usize {
    let n = rng.below(3);
    for _ in 0..n {
        let at = rng.below(items.len());
        put_uint(parts, at as u64);
        change_node(&items[at], &mut values[at], rng, parts, refs);
    }
    n
}

fn change_fields(
    fields: &[Field],
    values: &mut [Val],
    rng: &mut Rng,
    parts: &mut Vec<u8>,
    refs: &mut Vec<Reference>,
) -> usize {
    let n = rng.below(4);
    for _ in 0..n {
        let at = rng.below(fields.len());
        let (field, value) = (&fields[at], &mut values[at]);
        put_uint(parts, at as u64);
        match (left_out(field, value), rng.one_in(3)) {
            (_, true) if field.skip => {
                *value = absent(field).expect("it may be left out");
                put_nil(parts);
            }
            // A host sets what was not there, and unsets what is left out from now on.
            (true, _) => {
                *value = Val::Str("new".into());
                parts.extend(b"\x92\x00\xa3new");
            }
            (false, _) if field.skip => {
                change_node(&field.ty, value, rng, &mut Vec::new(), &mut Vec::new());
                if left_out(field, value) {
                    put_nil(parts);
                } else {
                    parts.extend([0x92, 0]);
                    encode(&field.ty, value, parts, refs);
                }
            }
            _ => change_node(&field.ty, value, rng, parts, refs),
        }
    }
    n
}

fn change_list(
    ty: &Ty,
    items: &mut Vec<Val>,
    rng: &mut Rng,
    parts: &mut Vec<u8>,
    refs: &mut Vec<Reference>,
) {
    let len = items.len();
    let op = |parts: &mut Vec<u8>, tag: u8, numbers: &[usize], more: usize| {
        put_array(parts, 1 + numbers.len() + more);
        parts.push(tag);
        numbers.iter().for_each(|n| put_uint(parts, *n as u64));
    };
    match rng.below(9) {
        0..=2 if len > 0 => {
            let at = rng.below(len);
            op(parts, 0, &[at], 1);
            change_node(ty, &mut items[at], rng, parts, refs);
        }
        3 if len > 0 => {
            let (from, to) = (rng.below(len), rng.below(len));
            op(parts, 3, &[from, to], 0);
            let item = items.remove(from);
            items.insert(to, item);
        }
        4 if len > 0 => {
            let (i, j) = (rng.below(len), rng.below(len));
            op(parts, 4, &[i, j], 0);
            items.swap(i, j);
        }
        5 if len > 0 => {
            let start = rng.below(len);
            let order: Vec<u8> = (0..(len - start) as u8).rev().collect();
            op(parts, 5, &[start, order.len()], 1);
            put_bin(parts, &order);
            items[start..].reverse();
        }
        6 => {
            let keep = rng.below(len + 1);
            op(parts, 7, &[keep], 0);
            items.truncate(keep);
        }
        7 => {
            let pos = rng.below(len + 1);
            let del = rng.below(len - pos + 1);
            let new: Vec<Val> = (0..rng.below(3)).map(|_| random(ty, rng)).collect();
            op(parts, 1, &[pos, del], new.len());
            new.iter().for_each(|item| encode(ty, item, parts, refs));
            items.splice(pos..pos + del, new);
        }
        _ => {
            let new: Vec<Val> = (0..rng.below(3)).map(|_| random(ty, rng)).collect();
            op(parts, 2, &[], new.len());
            new.iter().for_each(|item| encode(ty, item, parts, refs));
            items.extend(new);
        }
    }
}
