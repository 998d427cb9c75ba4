//! Rooms and who is in them. One task, the keeper, owns them all; sockets talk to it through a bounded channel,
//! so what one member says is handed on in the order in which it was said. Rooms know members, whom a word is
//! for, and nothing of the words themselves: each socket puts them into those of its own dialect.

mod inbox;
mod keeper;
#[cfg(test)]
mod tests;

use super::admission::Prefix;
use axum::extract::ws::Utf8Bytes;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

pub(super) use inbox::{Burden, Inbox, Silence};
use keeper::Key;
pub(super) use keeper::open;

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Made by the server; letters, digits, `-` and `_` only.
    pub(super) id: Arc<str>,
    /// What the member calls itself: anything.
    pub(super) name: Arc<str>,
}

/// Which news of others a member can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None: the dialects of plain WebSockets have no words for them.
    Plain,
    /// Who of its own kind comes and goes, and that an addressee is not there.
    Own,
    /// All of its own kind, whenever that changes.
    SocketIo,
}

/// One of the two ends where a room has just these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Calls.
    Sender,
    /// Is called.
    Receiver,
}

/// What is handed on under a name of its own, between two members of [`Kind::SocketIo`].
#[cfg_attr(not(feature = "socketio"), expect(dead_code, reason = "nobody calls"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
    /// A candidate.
    Ice,
    /// Anything.
    Signal,
}

/// Whom a word is for. Nobody hears what is for somebody who is not there.
#[derive(Debug)]
pub(super) enum To {
    /// All others.
    All,
    /// One member.
    Id(String),
    /// One member by its id or alias, with the name of the call.
    #[cfg_attr(not(feature = "socketio"), expect(dead_code, reason = "nobody calls"))]
    Call(String, Call),
    /// The member in this place of the room; the second one is meant if the first is the speaker's own.
    Place(usize, Option<usize>),
    /// Whoever has the role that the speaker has not.
    OtherRole,
    /// Whoever has subscribed to it, the speaker too.
    Topic(String),
}

/// What a member does.
#[derive(Debug)]
pub(super) enum Act {
    /// Says something: JSON text.
    Say(To, Utf8Bytes),
    /// Takes a role, away from whoever has it.
    Take(Role),
    /// Wants to hear of these topics.
    Subscribe(Vec<String>),
    /// Does not any more.
    Unsubscribe(Vec<String>),
}

/// What a member is told. Each socket puts it into the words of its own dialect.
#[derive(Debug)]
pub(super) enum Notice {
    /// Somebody came.
    Joined(Peer),
    /// Somebody is gone.
    Left(Peer),
    /// These are there now.
    Roster(Vec<Arc<str>>),
    /// Somebody said something: JSON text, not looked into.
    Said {
        /// Who.
        from: Arc<str>,
        /// Whom it was addressed to by id, if it was.
        to: Option<Arc<str>>,
        /// Under which name, if not as a word like any other.
        call: Option<Call>,
        /// What.
        data: Utf8Bytes,
    },
    /// Something was published under a topic with so many subscribers.
    Published {
        /// JSON text.
        data: Utf8Bytes,
        /// How many hear it.
        subscribers: usize,
    },
    /// The one that was spoken to is not in the room.
    NoSuchPeer,
    /// More topics than a member may have.
    TooManyTopics,
}

impl Notice {
    /// About what it weighs while it waits.
    fn size(&self) -> usize {
        let text = match self {
            Self::Joined(peer) | Self::Left(peer) => peer.name.len(),
            Self::Roster(ids) => 64 * ids.len(),
            Self::Said { data, .. } | Self::Published { data, .. } => data.len(),
            Self::NoSuchPeer | Self::TooManyTopics => 0,
        };
        text + 64
    }
}

/// Why there was no way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many sockets.
    Sockets,
    /// Too many from this address.
    Address,
    /// Too many rooms.
    Rooms,
    /// Too many in the room.
    Room,
    /// The server stops, or has no random bytes.
    Closed,
}

/// How a socket comes into a room.
pub(super) struct Joining {
    /// Which room.
    pub(super) room: String,
    /// What others see.
    pub(super) peer: Peer,
    /// What it takes for its own id, if that is another one. A secret, which no other member is told; but who knows it
    /// may call it by that.
    pub(super) alias: Option<Arc<str>>,
    /// What it can be told.
    pub(super) kind: Kind,
}

enum Event {
    Enter {
        prefix: Prefix,
        door: Door,
        answer: oneshot::Sender<Result<Ticket, Full>>,
    },
    Join {
        key: Key,
        joining: Joining,
        answer: oneshot::Sender<Result<(Vec<Peer>, Inbox), Full>>,
    },
    Act {
        key: Key,
        act: Act,
    },
    #[cfg(feature = "socketio")]
    Part {
        key: Key,
    },
    Leave {
        key: Key,
    },
}

/// The way to the keeper.
#[derive(Clone)]
pub(super) struct Door(mpsc::Sender<Event>);

/// A place among the sockets; dropping it leaves.
pub(super) struct Ticket {
    door: Door,
    key: Key,
    /// An id that nobody else has.
    pub(super) id: Arc<str>,
}

impl Door {
    /// Takes a place for a socket, in no room as yet.
    pub(super) async fn enter(&self, prefix: Prefix) -> Result<Ticket, Full> {
        let (answer, answered) = oneshot::channel();
        let event = Event::Enter { prefix, door: self.clone(), answer };
        self.0.send(event).await.map_err(|_| Full::Closed)?;
        answered.await.map_err(|_| Full::Closed)?
    }
}

impl Ticket {
    /// Joins a room, out of the one before: who of the own kind is there already, and where to hear from now on.
    pub(super) async fn join(&self, joining: Joining) -> Result<(Vec<Peer>, Inbox), Full> {
        let (answer, answered) = oneshot::channel();
        let event = Event::Join { key: self.key, joining, answer };
        self.door.0.send(event).await.map_err(|_| Full::Closed)?;
        answered.await.map_err(|_| Full::Closed)?
    }

    /// Does something in the room. Waits while the keeper is busy.
    pub(super) async fn act(&self, act: Act) {
        // Without a keeper the server is stopping, and this socket hears of that elsewhere.
        let _ = self.door.0.send(Event::Act { key: self.key, act }).await;
    }
}

#[cfg(feature = "socketio")]
impl Ticket {
    /// Leaves the room, and keeps the place among the sockets.
    pub(super) async fn part(&self) {
        let _ = self.door.0.send(Event::Part { key: self.key }).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (door, key) = (self.door.clone(), self.key);
        // Through the same channel, so that nothing said before is overtaken. Outside of a runtime everything
        // is ending anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { door.0.send(Event::Leave { key }).await });
        }
    }
}
