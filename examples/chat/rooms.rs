//! The servers' side: a lobby, its rooms, and the seats in them. A seat's own `Drop` is what announces that somebody left.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::*;

/// Rooms of one lobby.
const ROOMS: usize = 1_000;

#[derive(Default)]
pub struct Rooms(BTreeMap<String, RoomHandle>);

fn checked(name: &str) -> Result<String, ChatError> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    let len = name.chars().count();
    if (1..=32).contains(&len) && !name.contains(bad) {
        return Ok(name.to_owned());
    }
    let shown = name.chars().filter(|c| !c.is_control()).take(32);
    Err(ChatError::BadName(shown.collect()))
}

impl Rooms {
    fn place(&mut self, name: &str) -> Result<Entry<'_, String, RoomHandle>, ChatError> {
        let name = checked(name)?;
        if self.0.len() >= ROOMS && !self.0.contains_key(&name) {
            return Err(ChatError::Full);
        }
        Ok(self.0.entry(name))
    }
}

impl Lobby for Rooms {
    async fn room(&mut self, name: &str) -> Result<RoomHandle, ChatError> {
        let new = || RoomHandle::new(Hall::default());
        Ok(self.place(name)?.or_insert_with(new).clone())
    }

    async fn link(&mut self, name: &str, room: RoomHandle) -> Result<(), ChatError> {
        match self.place(name)? {
            Entry::Occupied(mut entry) => _ = entry.insert(room),
            Entry::Vacant(entry) => _ = entry.insert(room),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Hall {
    here: Arc<Mutex<Here>>,
}

/// Who is in a room. Calls to members are one-way, so that nobody waits for the slowest of them under this lock, and
/// everybody hears the lines in the same order.
#[derive(Default)]
struct Here(BTreeMap<String, MemberHandle>);

impl Here {
    fn tell(&self, line: &Line) {
        for member in self.0.values() {
            // Who cannot be reached will be noticed by the loss of its seat.
            drop(member.heard(line.clone()));
        }
    }
}

impl Hall {
    fn here<R>(here: &Mutex<Here>, f: impl FnOnce(&mut Here) -> R) -> R {
        f(&mut here.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Room for Hall {
    async fn join(&mut self, nick: &str, member: MemberHandle) -> Result<SeatHandle, ChatError> {
        let nick = checked(nick)?;
        Hall::here(&self.here, |here| {
            if here.0.contains_key(&nick) {
                return Err(ChatError::Taken(nick.clone()));
            }
            here.0.insert(nick.clone(), member);
            here.tell(&Line::Came(nick.clone()));
            Ok(())
        })?;
        let here = self.here.clone();
        Ok(SeatHandle::new(Chair { nick, here }))
    }

    async fn who(&self) -> Vec<String> {
        Hall::here(&self.here, |here| here.0.keys().cloned().collect())
    }
}

struct Chair {
    nick: String,
    here: Arc<Mutex<Here>>,
}

impl Seat for Chair {
    async fn say(&self, text: &str) {
        let line = Line::Said {
            nick: self.nick.clone(),
            text: text.chars().filter(|c| !c.is_control()).collect(),
        };
        Hall::here(&self.here, |here| here.tell(&line));
    }
}

/// Runs when nobody holds the seat any more, also when the process of its holder was killed.
impl Drop for Chair {
    fn drop(&mut self) {
        let gone = Hall::here(&self.here, |here| {
            let gone = here.0.remove(&self.nick);
            here.tell(&Line::Left(self.nick.clone()));
            gone
        });
        drop(gone);
    }
}
