//! The rising map against a plain map.

use std::collections::BTreeMap;

use helve_handles::RisingMap;

#[test]
fn it_behaves_as_a_map_whatever_the_gaps_and_lifetimes() {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for round in 0..200 {
        let (mut map, mut model) = (RisingMap::new(), BTreeMap::new());
        let mut id = 0;
        let (gap, keep) = (
            1 + random(if round % 3 == 0 { 3 } else { 1 << 20 }),
            1 + random(200) as usize,
        );
        for step in 0..500u64 {
            if random(4) == 0 {
                id = map.next_id();
                map.push(step);
            } else {
                id += 1 + random(gap);
                assert_eq!(map.insert(id, step), Ok(()));
            }
            model.insert(id, step);
            while model.len() > keep || random(3) == 0 && !model.is_empty() {
                let victim = *model
                    .keys()
                    .nth(random(model.len() as u64) as usize)
                    .unwrap();
                let removed = match random(2) {
                    0 => map.take_if(victim, |step| Some(*step)),
                    _ => map.remove(victim),
                };
                assert_eq!(removed, model.remove(&victim));
                assert_eq!(map.take_if(victim, |step| Some(*step)), None);
                assert_eq!(map.remove(victim), None);
            }
            assert_eq!(map.len(), model.len());
            let probe = random(id + 5);
            assert_eq!(map.get(probe), model.get(&probe));
            assert_eq!(map.get_mut(id).copied(), model.get(&id).copied());
            assert_eq!(map.oldest(), model.values().next());
        }
        assert_eq!(map.ids(), model.keys().copied().collect::<Vec<_>>());
        assert_eq!(map.take_all(), model.into_iter().collect::<Vec<_>>());
        assert!(map.is_empty());
    }
}

#[test]
fn ids_that_do_not_rise_are_refused() {
    let mut map = RisingMap::new();
    assert_eq!(map.insert(5, 'a'), Ok(()));
    assert_eq!(map.insert(5, 'b'), Err('b'));
    assert_eq!(map.insert(4, 'c'), Err('c'));
    map.remove(5);
    assert_eq!(map.insert(5, 'd'), Err('d'));
    assert_eq!(map.insert(6, 'e'), Ok(()));
}

#[test]
fn one_old_entry_does_not_keep_the_ring_long() {
    let mut map = RisingMap::new();
    map.insert(1, ()).unwrap();
    for id in 2..100_000 {
        map.insert(id, ()).unwrap();
        map.remove(id);
    }
    assert_eq!(map.len(), 1);
    assert_eq!(map.get(1), Some(&()));
}
