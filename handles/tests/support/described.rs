//! The model's types as descriptors, and its values as views show them. For tests alone.

use helve_handles::put::{put_array, put_int, put_str};

use super::{Field, Shape, Ty, Val};

/// The encoding of a descriptor.
pub fn describe(ty: &Ty) -> Vec<u8> {
    let mut types = Vec::new();
    let root = reference(ty, &mut types);
    let mut out = Vec::new();
    put_array(&mut out, 1 + types.len());
    put_int(&mut out, root);
    out.extend(types.concat());
    out
}

fn reference(ty: &Ty, types: &mut Vec<Vec<u8>>) -> i64 {
    match ty {
        Ty::Int => return -9,
        Ty::Str => return -12,
        Ty::Bytes => return -14,
        Ty::Counter => return -16,
        _ => {}
    }
    let at = types.len();
    types.push(Vec::new());
    let mut out = Vec::new();
    match ty {
        Ty::Struct(fields) => {
            put_array(&mut out, 3);
            put_int(&mut out, 0);
            put_str(&mut out, "S");
            put_fields(fields, &mut out, types);
        }
        Ty::Tuple(items) => {
            put_array(&mut out, 1 + items.len());
            put_int(&mut out, 1);
            for item in items {
                put_int(&mut out, reference(item, types));
            }
        }
        Ty::Map(value) => {
            put_array(&mut out, 4);
            put_int(&mut out, 5);
            put_int(&mut out, -5);
            put_int(&mut out, reference(value, types));
            out.push(0xc3);
        }
        Ty::List(item) | Ty::Opt(item) => {
            put_array(&mut out, 2);
            put_int(&mut out, if matches!(ty, Ty::List(_)) { 3 } else { 6 });
            put_int(&mut out, reference(item, types));
        }
        Ty::Enum(variants) => {
            put_array(&mut out, 4);
            put_int(&mut out, 7);
            put_str(&mut out, "E");
            put_array(&mut out, 0);
            put_array(&mut out, variants.len());
            for (name, shape) in variants {
                put_array(&mut out, 3);
                put_str(&mut out, name);
                let unnamed = |ty: &Ty| super::field("", ty.clone());
                let (number, fields) = match shape {
                    Shape::Unit => (0, Vec::new()),
                    Shape::Newtype(ty) => (1, vec![unnamed(ty)]),
                    Shape::Tuple(items) => (2, items.iter().map(unnamed).collect()),
                    Shape::Struct(fields) => (3, fields.clone()),
                };
                put_int(&mut out, number);
                put_fields(&fields, &mut out, types);
            }
        }
        _ => {
            put_array(&mut out, 2);
            put_int(&mut out, 8);
            put_str(&mut out, "test.Peer");
        }
    }
    types[at] = out;
    at as i64
}

fn put_fields(fields: &[Field], out: &mut Vec<u8>, types: &mut Vec<Vec<u8>>) {
    put_array(out, fields.len());
    for field in fields {
        put_array(out, 3 + usize::from(field.view.is_some()));
        put_str(out, field.name);
        put_int(out, reference(&field.ty, types));
        put_int(out, if field.skip { 3 } else { 0 });
        field.view.iter().for_each(|view| put_str(out, view));
    }
}

/// The value that is left where the fields of views other than `held` are absent.
pub fn hide(ty: &Ty, value: &Val, held: &[&str]) -> Val {
    let fields = |fields: &[Field], values: &[Val]| {
        let each = |(field, value): (&Field, &Val)| match field.view {
            Some(view) if !held.contains(&view) => super::absent(field).expect("it may be absent"),
            _ => hide(&field.ty, value, held),
        };
        fields.iter().zip(values).map(each).collect()
    };
    let items = |items: &[Ty], values: &[Val]| {
        let all = items.iter().zip(values);
        all.map(|(ty, value)| hide(ty, value, held)).collect()
    };
    match (ty, value) {
        (Ty::Struct(of), Val::All(values)) => Val::All(fields(of, values)),
        (Ty::Tuple(of), Val::All(values)) => Val::All(items(of, values)),
        (Ty::Map(ty), Val::Map(entries)) => {
            let entry = |(key, value): (&u64, &Val)| (*key, hide(ty, value, held));
            Val::Map(entries.iter().map(entry).collect())
        }
        (Ty::List(ty), Val::List(all)) => {
            Val::List(all.iter().map(|item| hide(ty, item, held)).collect())
        }
        (Ty::Opt(ty), Val::Opt(Some(value))) => Val::Opt(Some(Box::new(hide(ty, value, held)))),
        (Ty::Enum(variants), Val::Enum(at, values)) => {
            let values = match &variants[*at].1 {
                Shape::Unit => Vec::new(),
                Shape::Newtype(ty) => items(std::slice::from_ref(ty), values),
                Shape::Tuple(of) => items(of, values),
                Shape::Struct(of) => fields(of, values),
            };
            Val::Enum(*at, values)
        }
        _ => value.clone(),
    }
}
