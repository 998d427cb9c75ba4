//! Rooms and who is in them. One task, the keeper, owns them all; sockets talk to it through a bounded channel,
//! so what one member says is handed on in the order in which it was said.

use super::admission::Prefix;
use super::{Limits, random_name};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{mpsc, oneshot};

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Made by the server; letters, digits, `-` and `_` only.
    pub(super) id: Arc<str>,
    /// What the member calls itself: anything.
    pub(super) name: Arc<str>,
}

/// What a member is told. Each socket puts it into the words of its own dialect.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    /// Somebody came.
    Joined(Peer),
    /// Somebody is gone.
    Left(Peer),
    /// Somebody said something: JSON text, not looked into.
    Said {
        /// Who.
        from: Arc<str>,
        /// Whom it was addressed to, if not to all others.
        to: Option<Arc<str>>,
        /// What.
        data: Arc<str>,
    },
    /// The one that was spoken to is not in the room.
    NoSuchPeer,
}

impl Notice {
    /// About what it weighs while it waits.
    fn size(&self) -> usize {
        let text = match self {
            Self::Joined(peer) | Self::Left(peer) => peer.name.len(),
            Self::Said { data, .. } => data.len(),
            Self::NoSuchPeer => 0,
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

enum Event {
    Enter {
        prefix: Prefix,
        door: Door,
        answer: oneshot::Sender<Result<Ticket, Full>>,
    },
    Join {
        id: Arc<str>,
        room: String,
        name: Arc<str>,
        answer: oneshot::Sender<Result<(Vec<Peer>, Inbox), Full>>,
    },
    Say {
        from: Arc<str>,
        to: Option<String>,
        data: Arc<str>,
    },
    Leave {
        id: Arc<str>,
    },
}

/// Events waiting for the keeper. Beyond that the sockets wait, which slows their senders down.
const EVENTS: usize = 256;

/// The way to the keeper.
#[derive(Clone)]
pub(super) struct Door(mpsc::Sender<Event>);

/// A place among the sockets; dropping it leaves.
pub(super) struct Ticket {
    door: Door,
    /// The id that others will see.
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
    /// Joins a room: who was there before, and where to hear from now on.
    pub(super) async fn join(&self, room: String, name: Arc<str>) -> Result<(Vec<Peer>, Inbox), Full> {
        let (answer, answered) = oneshot::channel();
        let event = Event::Join { id: self.id.clone(), room, name, answer };
        self.door.0.send(event).await.map_err(|_| Full::Closed)?;
        answered.await.map_err(|_| Full::Closed)?
    }

    /// Says something to one member, or to all others. Waits while the keeper is busy.
    pub(super) async fn say(&self, to: Option<String>, data: Arc<str>) {
        // Without a keeper the server is stopping, and this socket hears of that elsewhere.
        let _ = self.door.0.send(Event::Say { from: self.id.clone(), to, data }).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (door, id) = (self.door.clone(), self.id.clone());
        // Through the same channel, so that nothing said before is overtaken. Outside of a runtime everything
        // is ending anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { door.0.send(Event::Leave { id }).await });
        }
    }
}

/// What waits for one reader, as part of what waits for all.
struct Weight {
    mine: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    fn add(&self, bytes: usize) -> (usize, usize) {
        (self.mine.fetch_add(bytes, Relaxed) + bytes, self.all.fetch_add(bytes, Relaxed) + bytes)
    }

    fn remove(&self, bytes: usize) {
        self.mine.fetch_sub(bytes, Relaxed);
        self.all.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.mine.get_mut(), Relaxed);
    }
}

/// Where a member hears.
pub(super) struct Inbox {
    notices: mpsc::Receiver<Notice>,
    weight: Arc<Weight>,
    overflow: oneshot::Receiver<()>,
}

/// Why a member hears nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It listened too slowly, and is out of its room.
    TooSlow,
    /// There are no rooms any more.
    Closed,
}

impl Inbox {
    /// The next notice. Safe to cancel. After an error there is no more to ask for.
    pub(super) async fn next(&mut self) -> Result<Notice, Silence> {
        let notice = tokio::select! {
            biased;
            overflown = &mut self.overflow => {
                return Err(if overflown.is_ok() { Silence::TooSlow } else { Silence::Closed });
            }
            notice = self.notices.recv() => notice.ok_or(Silence::Closed)?,
        };
        self.weight.remove(notice.size());
        Ok(notice)
    }
}

struct Member {
    peer: Peer,
    room: String,
    notices: mpsc::Sender<Notice>,
    weight: Arc<Weight>,
    overflow: Option<oneshot::Sender<()>>,
}

struct Keeper {
    limits: Limits,
    /// Every socket, and where it comes from.
    sockets: BTreeMap<Arc<str>, Prefix>,
    per_address: BTreeMap<Prefix, usize>,
    members: BTreeMap<Arc<str>, Member>,
    rooms: BTreeMap<String, Vec<Arc<str>>>,
    queued: Arc<AtomicUsize>,
}

/// The door, and the keeper's work, which ends when the last copy of the door is dropped.
pub(super) fn open(limits: Limits) -> (Door, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut events) = mpsc::channel(EVENTS);
    let mut keeper = Keeper {
        limits,
        sockets: BTreeMap::new(),
        per_address: BTreeMap::new(),
        members: BTreeMap::new(),
        rooms: BTreeMap::new(),
        queued: Arc::default(),
    };
    let work = async move {
        while let Some(event) = events.recv().await {
            keeper.handle(event);
        }
    };
    (Door(sender), work)
}

impl Keeper {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Enter { prefix, door, answer } => {
                // Who went away before the answer leaves a ticket that is dropped, and so no place is lost.
                let _ = answer.send(self.enter(prefix).map(|id| Ticket { door, id }));
            }
            Event::Join { id, room, name, answer } => {
                let _ = answer.send(self.join(id, room, name));
            }
            Event::Say { from, to, data } => self.say(from, to, data),
            Event::Leave { id } => self.leave(&id),
        }
    }

    fn enter(&mut self, prefix: Prefix) -> Result<Arc<str>, Full> {
        if self.sockets.len() >= self.limits.sockets {
            return Err(Full::Sockets);
        }
        let same = self.per_address.entry(prefix).or_insert(0);
        if !prefix.is_loopback() && *same >= self.limits.sockets_per_address {
            return Err(Full::Address);
        }
        let id: Arc<str> = random_name::<9>().ok_or(Full::Closed)?.into();
        *same += 1;
        self.sockets.insert(id.clone(), prefix);
        Ok(id)
    }

    fn join(&mut self, id: Arc<str>, room: String, name: Arc<str>) -> Result<(Vec<Peer>, Inbox), Full> {
        let here = self.rooms.get(&room).map_or(0, Vec::len);
        if here == 0 && self.rooms.len() >= self.limits.rooms {
            return Err(Full::Rooms);
        }
        if here >= self.limits.members {
            return Err(Full::Room);
        }
        let others = self.rooms.entry(room.clone()).or_default();
        let peers: Vec<_> =
            others.iter().filter_map(|id| self.members.get(id).map(|m| m.peer.clone())).collect();
        others.push(id.clone());
        let (sender, notices) = mpsc::channel(self.limits.queue_messages);
        let (overflow, overflown) = oneshot::channel();
        let weight = Arc::new(Weight { mine: AtomicUsize::new(0), all: self.queued.clone() });
        let peer = Peer { id: id.clone(), name };
        let member = Member {
            peer: peer.clone(),
            room: room.clone(),
            notices: sender,
            weight: weight.clone(),
            overflow: Some(overflow),
        };
        self.members.insert(id.clone(), member);
        self.tell_others(&room, &id, &Notice::Joined(peer));
        Ok((peers, Inbox { notices, weight, overflow: overflown }))
    }

    fn say(&mut self, from: Arc<str>, to: Option<String>, data: Arc<str>) {
        let Some(room) = self.members.get(&from).map(|member| member.room.clone()) else { return };
        let Some(to) = to else {
            self.tell_others(&room, &from.clone(), &Notice::Said { from, to: None, data });
            return;
        };
        let addressee = self.members.get(to.as_str()).filter(|member| member.room == room && *to != *from);
        if let Some(id) = addressee.map(|member| member.peer.id.clone()) {
            self.tell(&id, Notice::Said { from, to: Some(id.clone()), data });
        } else {
            self.tell(&from, Notice::NoSuchPeer);
        }
    }

    fn leave(&mut self, id: &Arc<str>) {
        if let Some(prefix) = self.sockets.remove(id)
            && let Some(count) = self.per_address.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&prefix);
            }
        }
        self.quit(id);
    }

    /// Takes a member out of its room.
    fn quit(&mut self, id: &Arc<str>) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(others) = self.rooms.get_mut(&member.room) {
            others.retain(|other| other != id);
            if others.is_empty() {
                self.rooms.remove(&member.room);
            }
        }
        self.tell_others(&member.room, id, &Notice::Left(member.peer));
    }

    fn tell_others(&mut self, room: &str, except: &Arc<str>, notice: &Notice) {
        let others = self.rooms.get(room).cloned().unwrap_or_default();
        for other in others.iter().filter(|other| *other != except) {
            self.tell(other, notice.clone());
        }
    }

    /// Queues a notice. Whoever reads too slowly to have room for it leaves here and now: dropping a message
    /// would leave a hole that nobody notices.
    fn tell(&mut self, id: &Arc<str>, notice: Notice) {
        let Some(member) = self.members.get_mut(id) else { return };
        let size = notice.size();
        let (mine, all) = member.weight.add(size);
        // When all queues together are full, those pay who hold more than their share, not whoever is told
        // something next.
        let share = self.limits.queued_bytes / self.limits.sockets.max(1);
        let fits =
            mine <= self.limits.queue_bytes && (all <= self.limits.queued_bytes || mine - size <= share);
        if !fits || member.notices.try_send(notice).is_err() {
            if let Some(overflow) = member.overflow.take() {
                let _ = overflow.send(());
            }
            self.quit(&id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn who_goes_away_while_entering_keeps_no_place() {
        let (door, keeper) = open(Limits { sockets: 1, ..Limits::default() });
        tokio::spawn(keeper);
        let here = Prefix::of("203.0.113.1".parse().unwrap());
        let mut entering = Box::pin(door.enter(here));
        assert!(entering.as_mut().now_or_never().is_none());
        // The keeper answers now, but nobody takes the answer.
        tokio::task::yield_now().await;
        assert_eq!(door.enter(here).await.err(), Some(Full::Sockets));
        drop(entering);
        tokio::task::yield_now().await;
        assert!(door.enter(here).await.is_ok());
    }

    #[tokio::test]
    async fn one_address_has_its_share_of_sockets() {
        let (door, keeper) = open(Limits { sockets_per_address: 2, ..Limits::default() });
        tokio::spawn(keeper);
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        let one = door.enter(of("2001:db8::1")).await;
        let two = door.enter(of("2001:db8::2")).await;
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(door.enter(of("2001:db8::3")).await.err(), Some(Full::Address));
        assert!(door.enter(of("2001:db8:1::1")).await.is_ok());
        let mut proxied = Vec::new();
        for _ in 0..5 {
            proxied.push(door.enter(of("127.0.0.1")).await);
        }
        assert!(proxied.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn what_was_never_read_weighs_nothing_once_its_reader_is_gone() {
        let (door, keeper) = open(Limits { queued_bytes: 10_000, sockets: 100, ..Limits::default() });
        tokio::spawn(keeper);
        let here = Prefix::of("203.0.113.1".parse().unwrap());
        let speaker = door.enter(here).await.ok().unwrap();
        let (_, mut heard) = speaker.join("r".into(), "".into()).await.ok().unwrap();
        for _ in 0..20 {
            // Each reader hoards up to the common limit and then leaves without having read anything.
            let reader = door.enter(here).await.ok().unwrap();
            let (_, inbox) = reader.join("r".into(), "".into()).await.ok().unwrap();
            assert!(matches!(heard.next().await, Ok(Notice::Joined(_))));
            for _ in 0..4 {
                speaker.say(None, "x".repeat(2000).into()).await;
            }
            drop((reader, inbox));
            let left = heard.next().await;
            assert!(matches!(left, Ok(Notice::Left(_))), "{left:?}");
        }
        let reader = door.enter(here).await.ok().unwrap();
        let (_, mut inbox) = reader.join("r".into(), "".into()).await.ok().unwrap();
        for _ in 0..4 {
            speaker.say(None, "x".repeat(2000).into()).await;
        }
        tokio::task::yield_now().await;
        for _ in 0..4 {
            let said = inbox.next().await;
            assert!(matches!(said, Ok(Notice::Said { .. })), "{said:?}");
        }
    }
}
