//! What servers and clients share: four interfaces, and the line that travels between them.
use helve::prelude::*;

/// Where rooms are found.
#[interface]
pub trait Lobby {
    /// The room of that name; it is opened when somebody first asks for it.
    async fn room(&mut self, name: &str) -> Result<RoomHandle, ChatError>;
    /// From now on the room of that name is this one, wherever it lives: how two servers are joined.
    async fn link(&mut self, name: &str, room: RoomHandle) -> Result<(), ChatError>;
}

#[interface]
pub trait Room {
    /// Enters. The room keeps `member` and calls it with every line. Whoever lets go of the seat has left: by dropping it, or
    /// by losing the connection it came over.
    async fn join(&mut self, nick: &str, member: MemberHandle) -> Result<SeatHandle, ChatError>;
    /// Who is here, by name.
    async fn who(&self) -> Vec<String>;
}

/// A place in a room.
#[interface]
pub trait Seat {
    /// Says something to all who are here. One-way: `.accepted()` on the receipt says that the room has it.
    #[oneway]
    async fn say(&self, text: &str);
}

/// Who listens. Clients implement it, rooms call it.
#[interface]
pub trait Member {
    #[oneway]
    async fn heard(&self, line: Line);
}

#[derive(Wire, Clone, Debug, PartialEq)]
pub enum Line {
    Said { nick: String, text: String },
    Came(String),
    Left(String),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::Said { nick, text } => write!(f, "{nick}: {text}"),
            Line::Came(nick) => write!(f, "* {nick} came"),
            Line::Left(nick) => write!(f, "* {nick} left"),
        }
    }
}

#[derive(Wire, Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChatError {
    #[error("`{0}` is no name: 1 to 32 characters, none of them a space or a control character")]
    BadName(String),
    #[error("`{0}` is here already: take another name")]
    Taken(String),
    #[error("this server has too many rooms")]
    Full,
}
