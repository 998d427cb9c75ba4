//! The one task that knows who is where.

use super::inbox::{self, Bounds, Inbox, Slot};
use super::{Act, Door, Event, Full, Joining, Kind, Notice, Peer, Role, Ticket, To};
use crate::http::admission::Prefix;
use crate::http::{Limits, random_name};
use axum::extract::ws::Utf8Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::sync::mpsc;

/// Events waiting for the keeper. Beyond that the sockets wait, which slows their senders down.
const EVENTS: usize = 256;

/// Topics of one member, and the bytes of one.
const TOPICS: usize = 32;
const LONGEST_TOPIC: usize = 128;

/// A socket's number, never given again.
pub(super) type Key = u64;

struct Member {
    peer: Peer,
    alias: Option<Arc<str>>,
    kind: Kind,
    role: Option<Role>,
    topics: BTreeSet<String>,
    room: String,
    slot: Slot,
}

struct Keeper {
    limits: Limits,
    bounds: Bounds,
    next: Key,
    /// Every socket, and where it comes from.
    sockets: BTreeMap<Key, Prefix>,
    per_address: BTreeMap<Prefix, usize>,
    members: BTreeMap<Key, Member>,
    /// The places of each room; the lowest free one is given to the next member. None is empty altogether.
    rooms: BTreeMap<String, Vec<Option<Key>>>,
    queued: Arc<AtomicUsize>,
}

/// The door, and the keeper's work, which ends when the last copy of the door is dropped.
pub(in crate::http) fn open(limits: Limits) -> (Door, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut events) = mpsc::channel(EVENTS);
    let mut keeper = Keeper {
        limits,
        bounds: Bounds {
            messages: limits.queue_messages,
            bytes: limits.queue_bytes,
            all: limits.queued_bytes,
            share: limits.queued_bytes / limits.sockets.max(1),
        },
        next: 0,
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
                let _ = answer.send(self.enter(prefix).map(|(key, id)| Ticket { door, key, id }));
            }
            Event::Join { key, joining, answer } => {
                let _ = answer.send(self.join(key, joining));
            }
            Event::Act { key, act } => match act {
                Act::Say(to, data) => self.say(key, to, data),
                Act::Take(role) => self.take(key, role),
                Act::Subscribe(topics) => self.subscribe(key, topics),
                Act::Unsubscribe(topics) => {
                    if let Some(member) = self.members.get_mut(&key) {
                        topics.iter().for_each(|topic| {
                            member.topics.remove(topic);
                        });
                    }
                }
            },
            #[cfg(feature = "socketio")]
            Event::Part { key } => {
                self.quit(key);
            }
            Event::Leave { key } => self.leave(key),
        }
    }

    fn enter(&mut self, prefix: Prefix) -> Result<(Key, Arc<str>), Full> {
        if self.sockets.len() >= self.limits.sockets {
            return Err(Full::Sockets);
        }
        let same = self.per_address.get(&prefix).copied().unwrap_or(0);
        if !prefix.is_loopback() && same >= self.limits.sockets_per_address {
            return Err(Full::Address);
        }
        let id = random_name::<9>().ok_or(Full::Closed)?.into();
        self.per_address.insert(prefix, same + 1);
        self.next += 1;
        self.sockets.insert(self.next, prefix);
        Ok((self.next, id))
    }

    fn join(&mut self, key: Key, joining: Joining) -> Result<(Vec<Peer>, Inbox), Full> {
        let Joining { room, peer, alias, kind } = joining;
        self.quit(key);
        let here = self.present(&room).count();
        if here == 0 && self.rooms.len() >= self.limits.rooms {
            return Err(Full::Rooms);
        }
        if here >= self.limits.members {
            return Err(Full::Room);
        }
        let peers = self.present(&room).filter(|(_, other)| other.kind == kind);
        let peers = peers.map(|(_, other)| other.peer.clone()).collect();
        let places = self.rooms.entry(room.clone()).or_default();
        match places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(key),
            None => places.push(Some(key)),
        }
        let (slot, inbox) = inbox::pair(self.bounds, self.queued.clone());
        let topics = BTreeSet::new();
        let member = Member { peer: peer.clone(), alias, kind, role: None, topics, room: room.clone(), slot };
        self.members.insert(key, member);
        self.announce(&room, key, kind, Notice::Joined(peer));
        Ok((peers, inbox))
    }

    /// The members of a room in the order of their places.
    fn present(&self, room: &str) -> impl Iterator<Item = (Key, &Member)> {
        let places = self.rooms.get(room).into_iter().flatten();
        places.filter_map(|place| place.and_then(|key| Some((key, self.members.get(&key)?))))
    }

    /// Tells those of one kind that one of them has come or gone.
    fn announce(&mut self, room: &str, who: Key, kind: Kind, news: Notice) {
        match kind {
            Kind::Plain => {}
            Kind::Own => self.tell(room, news, |key, member| key != who && member.kind == Kind::Own),
            Kind::SocketIo => {
                let ids = self.present(room).filter(|(_, member)| member.kind == Kind::SocketIo);
                let roster = ids.map(|(_, member)| member.peer.id.clone()).collect();
                self.tell(room, Notice::Roster(roster), |_, member| member.kind == Kind::SocketIo);
            }
        }
    }

    fn say(&mut self, key: Key, to: To, data: Utf8Bytes) {
        let Some(speaker) = self.members.get(&key) else { return };
        let (room, from) = (speaker.room.clone(), speaker.peer.id.clone());
        let said = |to, call| Notice::Said { from: from.clone(), to, call, data: data.clone() };
        match to {
            To::All => self.tell(&room, said(None, None), |other, _| other != key),
            To::Id(id) => match self.addressee(&room, key, &id) {
                Some((other, id)) => self.tell_one(other, said(Some(id), None)),
                None if speaker.kind == Kind::Own => self.tell_one(key, Notice::NoSuchPeer),
                None => {}
            },
            To::Call(id, call) => {
                if let Some(other) = self.called(&room, key, &id) {
                    self.tell_one(other, said(None, Some(call)));
                }
            }
            To::Place(to, or) => {
                let places = self.rooms.get(&room).map_or(&[][..], Vec::as_slice);
                let at = |place: usize| places.get(place).copied().flatten();
                let to = if at(to) == Some(key) { or.and_then(at) } else { at(to) };
                if let Some(other) = to.filter(|other| *other != key) {
                    self.tell_one(other, said(None, None));
                }
            }
            To::OtherRole => {
                let Some(role) = speaker.role else { return };
                self.tell(&room, said(None, None), |_, other| other.role.is_some_and(|has| has != role));
            }
            To::Topic(topic) => {
                let hears = |member: &Member| member.topics.contains(&topic);
                let subscribers = self.present(&room).filter(|(_, member)| hears(member)).count();
                self.tell(&room, Notice::Published { data, subscribers }, |_, member| hears(member));
            }
        }
    }

    /// Another member of the room, by its id.
    fn addressee(&self, room: &str, key: Key, id: &str) -> Option<(Key, Arc<str>)> {
        let mut others = self.present(room).filter(|(other, _)| *other != key);
        others
            .find(|(_, member)| *member.peer.id == *id)
            .map(|(other, member)| (other, member.peer.id.clone()))
    }

    /// Another member that can be called, by its id or by what it takes for that.
    fn called(&self, room: &str, key: Key, id: &str) -> Option<Key> {
        let is_meant = |member: &Member| *member.peer.id == *id || member.alias.as_deref() == Some(id);
        let mut others = self.present(room).filter(|(other, _)| *other != key);
        let called = others.find(|(_, member)| member.kind == Kind::SocketIo && is_meant(member));
        called.map(|(other, _)| other)
    }

    fn take(&mut self, key: Key, role: Role) {
        let Some(room) = self.members.get(&key).map(|member| member.room.clone()) else { return };
        for other in self.rooms.get(&room).into_iter().flatten().flatten() {
            if let Some(member) = self.members.get_mut(other).filter(|member| member.role == Some(role)) {
                member.role = None;
            }
        }
        if let Some(member) = self.members.get_mut(&key) {
            member.role = Some(role);
        }
    }

    fn subscribe(&mut self, key: Key, topics: Vec<String>) {
        let Some(member) = self.members.get_mut(&key) else { return };
        for topic in topics {
            if topic.len() > LONGEST_TOPIC || member.topics.len() >= TOPICS && !member.topics.contains(&topic)
            {
                self.tell_one(key, Notice::TooManyTopics);
                return;
            }
            member.topics.insert(topic);
        }
    }

    fn leave(&mut self, key: Key) {
        if let Some(prefix) = self.sockets.remove(&key)
            && let Some(count) = self.per_address.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&prefix);
            }
        }
        self.quit(key);
    }

    /// Takes a member out of its room, and gives back what leads to its reader.
    fn quit(&mut self, key: Key) -> Option<Slot> {
        let Member { peer, kind, room, slot, .. } = self.members.remove(&key)?;
        if let Some(places) = self.rooms.get_mut(&room) {
            places.iter_mut().filter(|place| **place == Some(key)).for_each(|place| *place = None);
            if places.iter().all(Option::is_none) {
                self.rooms.remove(&room);
            }
        }
        self.announce(&room, key, kind, Notice::Left(peer));
        Some(slot)
    }

    /// Tells those members of a room who are meant.
    fn tell(&mut self, room: &str, notice: Notice, is_meant: impl Fn(Key, &Member) -> bool) {
        let meant = self.present(room).filter(|(key, member)| is_meant(*key, member));
        let meant: Vec<_> = meant.map(|(key, _)| key).collect();
        let notice = Arc::new(notice);
        for key in meant {
            self.put(key, notice.clone());
        }
    }

    fn tell_one(&mut self, key: Key, notice: Notice) {
        self.put(key, Arc::new(notice));
    }

    /// Queues a notice. Whoever reads too slowly to have room for it leaves here and now: dropping a message
    /// would leave a hole that nobody notices.
    fn put(&mut self, key: Key, notice: Arc<Notice>) {
        let Some(member) = self.members.get(&key) else { return };
        if !member.slot.put(notice, self.bounds)
            && let Some(slot) = self.quit(key)
        {
            slot.overflow();
        }
    }
}
