//! What the session under fuzz does with shared values: publishes to who subscribed, follows what it was given, says how
//! far its replicas are.

use std::task::Poll;

use helve_protocol::session::{Cap, Change, Event, FollowKey, SubscriberKey};
use helve_protocol::{Code, Fault};

use super::session::{Thing, WITH_CAPS, World};

const EPOCH: u64 = 5;

/// Who subscribed, and what is followed.
#[derive(Default)]
pub(super) struct Shared {
    subscribers: Vec<SubscriberKey>,
    follows: Vec<FollowKey>,
    rev: u64,
}

impl Shared {
    /// What a result says of revisions.
    pub(super) fn changed(&self) -> Vec<(SubscriberKey, u64)> {
        self.subscribers
            .iter()
            .map(|key| (*key, self.rev))
            .collect()
    }
}

/// Scripts to begin with.
pub(super) fn scripts() -> Vec<Vec<u8>> {
    let mut scripts = Vec::new();
    for limits in [0, 1] {
        // Ours, given, subscribed to, published, granted, restarted, left, released.
        for deed in [4, 5] {
            let mut script = vec![limits, 0x95, 1, 1, 0, 7, 0x90, 0xc0, deed];
            script.extend([0x94, 14, 1, 1, 100, 0xc0, 32, 33, 34, 35, 36, 34]);
            script.extend([
                0x94, 14, 1, 2, 100, 0xc0, 33, 2, 0x95, 1, 2, 0, 7, 0x90, 0xc0,
            ]);
            script.extend([2, 0x95, 14, 1, 1, 100, 0x92, 5, 1, 0xc0, 33, 37]);
            script.extend([
                0x94, 14, 1, 1, 50, 0x94, 14, 1, 0, 0, 0x92, 7, 0x92, 1, 1, 0xc0,
            ]);
            scripts.push(script);
        }
        // On an OPEN that is not answered.
        for deed in [3, 4, 6] {
            let mut script = vec![limits, 0x95, 2, 1, 0, 7, 0x90, 0x94, 14, 0xff, 1, 100];
            script.extend([0xc0, deed, 32, 33, 0x92, 7, 0x92, 0xff, 1, 0xc0]);
            scripts.push(script);
        }
        // Theirs, followed, told of in parts and whole, waited for by a result, ended.
        for end in [&[0x92, 10, 1][..], &[0x94, 8, 1, 2, 0xa1, b'x']] {
            let mut script = vec![limits, 0x96, 1, 1, 0, 7, 0x91, 0xd4, 1, 0, 0x91, 4];
            script.extend([0xc0, 11, 38, 16, 0xc0, 0x96, 12, 1, 5, 1, 0xc4, 16]);
            script.extend([9; 16]);
            script.extend([7, 0x95, 13, 1, 1, 2, 7, 0xc0, 39]);
            script.extend([0x96, 13, 1, 2, 3, 0x91, 0xd4, 1, 0, 0x91, 8, 0xc0]);
            script.extend([0x95, 4, 1, 0xc0, 0xc0, 0x81, 0xa1, b's', 0x92, 1, 9, 0xc0]);
            script.extend([25, 39, 40, 38, 0xc0, 0x95, 13, 1, 3, 4, 7]);
            script.extend(end);
            script.extend([0xc0, 25, 40, 21]);
            scripts.push(script);
        }
    }
    scripts
}

impl World {
    pub(super) fn shared_event(&mut self, event: Event<Thing>) {
        match event {
            Event::Subscribed(_, key, _) => self.shared.subscribers.push(key),
            Event::Unsubscribed(key) => self.shared.subscribers.retain(|other| *other != key),
            Event::Update(key, update) => {
                self.session.grant(key, update.cost);
                self.keep(update.caps);
            }
            Event::FollowEnded(key, _) => self.shared.follows.retain(|other| *other != key),
            _ => {}
        }
    }

    pub(super) fn shared_deed(&mut self, deed: i64) {
        let subscriber = self.shared.subscribers.last().copied();
        let follow = self.shared.follows.last().copied();
        match (deed, subscriber, follow) {
            (32..=35, Some(key), _) => self.publish(deed, key),
            (36, Some(key), _) => self.session.want(key),
            (37, Some(key), _) => {
                self.shared.subscribers.pop();
                let fault = Fault::new(Code::Exhausted, "slow");
                self.session.end_subscription(key, fault);
            }
            (38, ..) => {
                if let Some(import) = self.held.last() {
                    let have = (!self.shared.rev.is_multiple_of(2)).then_some((EPOCH, 1));
                    let followed = self.session.follow(*import, 200, have);
                    self.shared.follows.extend(followed);
                }
            }
            (39, _, Some(key)) => {
                self.shared.rev += 1;
                self.session.at(key, EPOCH, self.shared.rev);
            }
            (40, _, Some(key)) => {
                self.shared.follows.pop();
                self.session.unfollow(key);
            }
            _ => {}
        }
    }

    fn publish(&mut self, deed: i64, key: SubscriberKey) {
        let caps: Vec<Cap<Thing>> = match deed {
            34 => vec![Cap::Given(self.thing())],
            _ => Vec::new(),
        };
        let rev = self.shared.rev;
        let change = match deed {
            32 => Change::Snap {
                epoch: EPOCH,
                rev,
                ty: [1; 16],
            },
            _ => Change::Delta {
                from: rev,
                to: rev + 1,
                hash: None,
            },
        };
        let publishable = self.session.publishable(key);
        match self
            .session
            .publish(key, change, WITH_CAPS[caps.len()], &caps)
        {
            Poll::Ready(Ok(())) => {
                assert!(publishable, "R20.2: only in its turn");
                self.shared.rev += 1;
            }
            Poll::Ready(Err(fault)) => self.session.end_subscription(key, fault),
            Poll::Pending => assert!(!publishable, "what is short needs no slot"),
        }
    }
}
