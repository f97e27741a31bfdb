//! Two sessions under random schedules: values change, are followed, left, restarted, ended, revoked and released, in any
//! order, while messages are late. Nobody finds a violation, every replica that is followed at the end shows its value,
//! results come behind what they changed, and no table keeps anything. `HELVE_SCHEDULES` says how many, `HELVE_SEED` which one.

use std::collections::BTreeMap;

use super::rng::Rng;
use super::*;

/// A value at the host.
struct Value {
    object: TestObject,
    epoch: u64,
    rev: u64,
}

/// Where the peer is, as far as it was told.
struct Cursor {
    value: usize,
    at: Option<u64>,
}

/// A value at its follower.
struct Replica {
    value: usize,
    follow: Option<FollowKey>,
    /// Epoch and revision, while it may be trusted.
    at: Option<(u64, u64)>,
    /// The step at which it was followed without a gap since.
    since: u64,
}

/// A call that B answered: what it changed.
struct Answered {
    call: CallKey,
    asked: u64,
    /// The value that it gave.
    given: usize,
    revs: Vec<(usize, u64, u64)>,
}

struct Storm {
    pair: Pair,
    rng: Rng,
    step: u64,
    values: Vec<Value>,
    cursors: BTreeMap<SubscriberKey, Cursor>,
    replicas: BTreeMap<ImportKey, Replica>,
    asked: Vec<(CallKey, u64)>,
    answered: Vec<Answered>,
    grants: Vec<(FollowKey, u64)>,
    window: u32,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn replicas_converge_and_nobody_is_blamed_whatever_crosses() {
    // R10.5, R11.11, R18.15, R19.7, R20.1, R20.2, R20.3, R20.7, R20.8, R20.9
    let seeds = match number("HELVE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HELVE_SCHEDULES").unwrap_or(300),
    };
    for seed in seeds {
        println!("HELVE_SEED={seed}");
        Storm::new(seed).run();
    }
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut rng = Rng(seed);
        let limits = Limits::default()
            .with_transfers(1 + rng.below(3) as u32)
            .with_subs(4);
        let mut pair = Pair::with(&Setup {
            limits,
            replay: Some(rng.pick(&[150_000, 300_000, 1 << 20])),
            ..Setup::default()
        });
        let values = (0..5)
            .map(|_| Value {
                object: pair.object(),
                epoch: 1,
                rev: 1,
            })
            .collect();
        Storm {
            window: rng.pick(&[100, 1_000, 100_000]),
            pair,
            rng,
            step: 0,
            values,
            cursors: BTreeMap::new(),
            replicas: BTreeMap::new(),
            asked: Vec::new(),
            answered: Vec::new(),
            grants: Vec::new(),
        }
    }

    fn run(mut self) {
        for step in 0..200 {
            self.step = step;
            self.deed();
            self.hear();
        }
        // All that is owed comes: calls are answered, credit is given back, links are drained.
        for round in 0.. {
            while !self.asked.is_empty() && !self.pair.nothing_runs(B) {
                self.answer();
            }
            self.give_back();
            self.pair.settle();
            self.hear();
            let quiet = self.grants.is_empty() && self.asked.is_empty() && self.answered.is_empty();
            if quiet && round > 3 {
                break;
            }
            assert!(
                round < 60,
                "no rest: {:?} {:?} {}, {:?} {:?}",
                self.grants,
                self.asked,
                self.answered.len(),
                self.pair.session(A).sizes(),
                self.pair.session(B).sizes(),
            );
        }
        for replica in self.replicas.values() {
            let value = &self.values[replica.value];
            if replica.follow.is_some() {
                assert_eq!(replica.at, Some((value.epoch, value.rev)));
            }
        }
        drop(self.values);
        self.pair.finish();
    }

    fn deed(&mut self) {
        match self.rng.below(24) {
            0..=3 => self.commit(),
            4..=6 => self.follow(),
            7 => self.unfollow(),
            8 => self.drop_handle(),
            9 => self.end_one(),
            10 if self.rng.below(8) == 0 => self.revoke(),
            10 => {
                let value = self.any_value();
                self.values[value].epoch += 1;
                self.values[value].rev = 1;
                for cursor in self.cursors.values_mut().filter(|c| c.value == value) {
                    cursor.at = None;
                }
                self.offer(value);
            }
            11 | 12 if self.asked.len() < 8 => {
                let root = self.pair.root(A);
                let call = self.pair.call(A, root, &[]);
                self.asked.push((call, self.step));
            }
            13 | 14 if !self.pair.nothing_runs(B) => self.answer(),
            15 => self.give_back(),
            16 => self.pair.wait(25),
            17..=20 => {
                let side = self.any_side();
                let most = 1 + self.rng.below(3) as usize;
                self.pair.transmit_few(side, most);
            }
            _ => {
                let side = self.any_side();
                let most = 1 + self.rng.below(4) as usize;
                self.pair.deliver(side, most);
                self.nobody_blames();
            }
        }
    }

    #[track_caller]
    fn nobody_blames(&mut self) {
        for side in [A, B] {
            if let Some(violation) = self.pair.end(side).violation {
                self.pair.forgive();
                panic!("{side:?} found a violation: {violation}");
            }
        }
    }

    fn any_side(&mut self) -> Side {
        if self.rng.below(2) == 0 { A } else { B }
    }

    fn any_value(&mut self) -> usize {
        self.rng.below(self.values.len() as u64) as usize
    }

    fn any_import(&mut self) -> Option<ImportKey> {
        let imports: Vec<_> = self.replicas.keys().copied().collect();
        let at = self.rng.below(imports.len() as u64) as usize;
        imports.get(at).copied()
    }

    // ---- the host

    fn commit(&mut self) {
        let value = self.any_value();
        self.values[value].rev += 1;
        self.offer(value);
    }

    /// Publishes to all who follow a value, as far as it is their turn.
    fn offer(&mut self, value: usize) {
        let of = |cursor: &Cursor| cursor.value == value;
        let keys = self.cursors.iter().filter(|(_, cursor)| of(cursor));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            self.feed(key);
        }
    }

    fn feed(&mut self, key: SubscriberKey) {
        while let Some(cursor) = self.cursors.get(&key) {
            let value = &self.values[cursor.value];
            let change = match cursor.at {
                Some(at) if at == value.rev => return,
                Some(at) => delta(at, value.rev),
                None => snap_of(value.epoch, value.rev),
            };
            let rev = value.rev;
            if !self.pair.session(B).publishable(key) {
                return self.pair.session(B).want(key);
            }
            let len = match self.rng.below(12) {
                0 => 70_000 + self.rng.below(200_000) as usize,
                1..=3 => 5 + self.rng.below(3_000) as usize,
                _ => 5 + self.rng.below(50) as usize,
            };
            let given = self.rng.below(4) == 0;
            let caps: Vec<_> = given
                .then(|| Cap::Given(self.pair.object()))
                .into_iter()
                .collect();
            let payload = bytes(len);
            let sent = self
                .pair
                .session(B)
                .publish(key, change, &payload[..], &caps);
            match sent {
                Poll::Ready(sent) => {
                    assert_eq!(sent, Ok(()));
                    if let Some(cursor) = self.cursors.get_mut(&key) {
                        cursor.at = Some(rev);
                    }
                }
                Poll::Pending => return,
            }
        }
    }

    fn end_one(&mut self) {
        if let Some((key, _)) = self.cursors.pop_first() {
            let fault = Fault::new(Code::Exhausted, "enough");
            self.pair.session(B).end_subscription(key, fault);
        }
    }

    fn revoke(&mut self) {
        let value = self.any_value();
        let new = self.pair.object();
        let old = std::mem::replace(&mut self.values[value].object, new);
        self.pair.revoke(B, &old);
        // What followed it is told, and has its last state.
        self.values[value].epoch += 100;
        self.values[value].rev = 1;
        self.cursors.retain(|_, cursor| cursor.value != value);
    }

    /// The oldest call changes some values, and gives one of them.
    fn answer(&mut self) {
        let running = self.pair.started(B);
        let (call, asked) = self.asked.remove(0);
        let given = self.any_value();
        for _ in 0..self.rng.below(3) {
            self.commit();
        }
        let cursors = self.cursors.iter();
        let changed: Vec<_> = cursors.map(|(key, cursor)| (*key, cursor.value)).collect();
        let revs = changed.iter().map(|(_, value)| {
            let of = &self.values[*value];
            (*value, of.epoch, of.rev)
        });
        let revs: Vec<_> = revs.collect();
        let changed: Vec<_> = changed
            .into_iter()
            .map(|(key, value)| (key, self.values[value].rev))
            .collect();
        let caps = [Cap::Given(self.values[given].object.clone())];
        let reply = Reply::Value(ARGS[1], &caps);
        self.pair
            .session(B)
            .respond_changed(running.id(), reply, &changed);
        self.pair.session(B).discard(running.inv.caps);
        self.answered.push(Answered {
            call,
            asked,
            given,
            revs,
        });
    }

    // ---- the follower

    fn follow(&mut self) {
        let Some(import) = self.any_import() else {
            return;
        };
        let replica = &self.replicas[&import];
        let have = replica.at.filter(|_| self.rng.below(3) > 0);
        let window = self.window;
        let followed = self.pair.session(A).follow(import, window, have);
        let step = self.step;
        let Some(replica) = self.replicas.get_mut(&import) else {
            return;
        };
        if let Ok(key) = followed {
            if replica.follow.is_none() {
                replica.since = step;
            }
            replica.follow = Some(key);
            if have.is_none() {
                replica.at = None;
            }
        }
    }

    fn unfollow(&mut self) {
        let Some(import) = self.any_import() else {
            return;
        };
        if let Some(replica) = self.replicas.get_mut(&import)
            && let Some(key) = replica.follow.take()
        {
            self.pair.session(A).unfollow(key);
        }
    }

    fn drop_handle(&mut self) {
        if let Some(import) = self.any_import() {
            let replica = self.replicas.remove(&import);
            // Where a result that is held brings it again, it would go on.
            let others = !self.asked.is_empty() || !self.answered.is_empty();
            if let Some(key) = replica
                .and_then(|replica| replica.follow)
                .filter(|_| others)
            {
                self.pair.session(A).unfollow(key);
            }
            // Each result that gave it holds one reference.
            while self.pair.end(A).held.contains(&import) {
                self.pair.drop_handle(A, import);
            }
        }
    }

    fn give_back(&mut self) {
        for (key, bytes) in std::mem::take(&mut self.grants) {
            self.pair.session(A).grant(key, bytes);
        }
    }

    /// What both sides were told.
    fn hear(&mut self) {
        self.nobody_blames();
        for said in said(&mut self.pair, B) {
            match said {
                Shared::Subscribed(object, key, have) => {
                    let of = |value: &Value| value.object == object;
                    // One that was revoked meanwhile is over already.
                    let Some(value) = self.values.iter().position(of) else {
                        continue;
                    };
                    let epoch = self.values[value].epoch;
                    let at = have.filter(|(e, _)| *e == epoch).map(|(_, rev)| rev);
                    self.cursors.insert(key, Cursor { value, at });
                    self.feed(key);
                }
                Shared::Room(key) => self.feed(key),
                Shared::Unsubscribed(key) => _ = self.cursors.remove(&key),
                other => panic!("{other:?}"),
            }
        }
        for said in said(&mut self.pair, A) {
            match said {
                Shared::Update(key, update) => self.update(key, *update),
                Shared::Ended(key, _) => {
                    let followed = |replica: &&mut Replica| replica.follow == Some(key);
                    if let Some(replica) = self.replicas.values_mut().find(followed) {
                        replica.follow = None;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        self.take_results();
    }

    fn update(&mut self, key: FollowKey, update: Update<TestObject>) {
        let session = self.pair.session(A);
        session.discard(update.caps);
        let Some(replica) = self.replicas.get_mut(&key.import()) else {
            return;
        };
        if replica.follow != Some(key) {
            return;
        }
        self.grants.push((key, update.cost));
        let gap = match (update.change, replica.at) {
            (Change::Snap { epoch, rev, .. }, at) => {
                if at.is_some_and(|(old, _)| old != epoch) {
                    // Another life of it: nothing waits for that (R10.5).
                    replica.since = self.step;
                }
                replica.at = Some((epoch, rev));
                false
            }
            (Change::Delta { from, to, .. }, Some((epoch, rev))) if from == rev => {
                replica.at = Some((epoch, to));
                false
            }
            (Change::Delta { to, .. }, Some((_, rev))) => to > rev,
            (Change::Delta { .. }, None) => panic!("R20.3: nothing to apply it to"),
        };
        let followed = if gap {
            session.follow(key.import(), self.window, None).ok()
        } else {
            Some(key)
        };
        if gap {
            (replica.follow, replica.at) = (followed, None);
        } else if let Some((epoch, rev)) = replica.at {
            session.at(key, epoch, rev);
        }
    }

    /// Results that are handed out: the replicas that were followed all the while show what they changed.
    fn take_results(&mut self) {
        for answered in std::mem::take(&mut self.answered) {
            let caps = match self.pair.poll(A, answered.call) {
                Poll::Ready(Ok((_, caps))) => caps,
                Poll::Ready(Err(fault)) => panic!("{fault:?}"),
                Poll::Pending => {
                    self.answered.push(answered);
                    continue;
                }
            };
            self.pair.hold(A, &caps);
            for (value, epoch, rev) in &answered.revs {
                let all = |replica: &&Replica| {
                    replica.value == *value
                        && replica.follow.is_some()
                        && replica.since < answered.asked
                };
                for replica in self.replicas.values().filter(all) {
                    if let Some((at, reached)) = replica.at.filter(|(e, _)| e == epoch) {
                        assert!(reached >= *rev, "R10.5: {at} {reached}, not {rev}");
                    }
                }
            }
            if let Received::Import { key, .. } = &caps[0] {
                let value = answered.given;
                self.replicas.entry(*key).or_insert(Replica {
                    value,
                    follow: None,
                    at: None,
                    since: 0,
                });
            }
        }
    }
}
