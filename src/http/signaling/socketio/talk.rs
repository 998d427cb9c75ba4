//! The dialect: which events there are, what they carry and in which order.

use super::session::{Listener, Session};
use crate::http::MAX_MESSAGE;
use crate::http::rooms::{Act, Burden, Call, Inbox, Notice, Silence, To};
use crate::http::signaling::plain;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::extract::{Data, Event, SocketRef};
use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Events whose first argument is the peer that is meant, and whose second one is handed on to it.
const CALLS: [(&str, Call); 4] = [
    ("peerOffer", Call::Offer),
    ("peerAnswer", Call::Answer),
    ("peerIce", Call::Ice),
    ("signal", Call::Signal),
];

/// Packets and bytes with the library on their way out. What is beyond waits in the member's queue, where it counts.
const PACKETS_OUT: usize = 32;
const BYTES_OUT: u64 = 128 << 10;

/// The arguments of an event, as they came.
struct Arguments(Vec<Box<RawValue>>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Arguments;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the arguments of an event")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Arguments, A::Error> {
                let mut arguments = Vec::new();
                while arguments.len() < 2 {
                    match list.next_element()? {
                        Some(argument) => arguments.push(argument),
                        None => return Ok(Arguments(arguments)),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Arguments(arguments))
            }
        }
        // To the library, a tuple is the list of arguments; anything else would be the first of them.
        deserializer.deserialize_tuple(2, Each)
    }
}

impl Arguments {
    fn bytes(&self) -> usize {
        self.0.iter().map(|argument| argument.get().len()).sum()
    }

    /// With `to` wherever `from` stands.
    fn renamed(self, from: &str, to: &str) -> Self {
        let rename = |argument: Box<RawValue>| renamed(argument.get(), from, to).unwrap_or(argument);
        Self(self.0.into_iter().map(rename).collect())
    }

    fn call(&self, call: Call) -> Option<Act> {
        let peer = serde_json::from_str(self.0.first()?.get()).ok()?;
        let what = self.0.get(1).map_or("null", |what| what.get());
        Some(Act::Say(To::Call(peer, call), what.into()))
    }

    fn message(&self) -> Option<Act> {
        let value = self.0.first().map_or("null", |value| value.get());
        Some(Act::Say(To::All, plain::channel(&value.into())?))
    }
}

/// JSON with `to` wherever `from` stands, two ids without anything that JSON would write otherwise. `None`: nowhere.
fn renamed(json: &str, from: &str, to: &str) -> Option<Box<RawValue>> {
    json.contains(from).then(|| RawValue::from_string(json.replace(from, to)).ok()).flatten()
}

/// Something that was said, and how long it is.
pub(super) struct Heard {
    act: Option<Act>,
    bytes: usize,
}

impl Heard {
    /// What a client says that calls itself by its `alias`.
    fn of(event: &str, arguments: Arguments, alias: Option<&str>, socket: &SocketRef) -> Self {
        let bytes = arguments.bytes();
        let arguments = match alias {
            Some(alias) => arguments.renamed(alias, socket.id.as_str()),
            None => arguments,
        };
        let act = match CALLS.iter().find(|(known, _)| *known == event) {
            Some((_, call)) => arguments.call(*call),
            None if event == "message" => arguments.message(),
            // What has no meaning costs its sender as much.
            None => None,
        };
        Self { act, bytes }
    }
}

/// Begins to listen to a socket that has connected to the namespace.
pub(super) fn begin(socket: SocketRef, idle: Duration) {
    let Some(session) = socket.req_parts().extensions.get::<Arc<Session>>().cloned() else { return };
    let Some(inbox) = session.inbox.try_lock().ok().and_then(|mut inbox| inbox.take()) else {
        return dismiss(&socket, &session);
    };
    let (hearing, listener) = (session.clone(), session.listen());
    // All of it is done while the library calls, so that the order is kept; what it would run later is nothing.
    socket.on_fallback(move |socket: SocketRef, Event(event), Data(arguments): Data<Arguments>| {
        let heard = Heard::of(&event, arguments, hearing.alias.as_deref(), &socket);
        if heard.bytes > MAX_MESSAGE || !hearing.hear(listener, heard) {
            dismiss(&socket, &hearing);
        }
        ready(())
    });
    let leaving = session.clone();
    socket.on_disconnect(move || {
        leaving.left.notify_one();
        ready(())
    });
    tokio::spawn(converse(socket, session, inbox, listener, idle));
}

/// Ends a session from our side.
fn dismiss(socket: &SocketRef, session: &Session) {
    let _ = socket.clone().disconnect();
    session.close();
}

/// Carries messages both ways until the socket or the room ends.
async fn converse(
    socket: SocketRef,
    session: Arc<Session>,
    mut inbox: Inbox,
    listener: Listener,
    idle: Duration,
) {
    let mut flow = session.flow.subscribe();
    let mut out = Outgoing::default();
    let mut held: Option<(Instant, Option<Act>)> = None;
    let is_at_fault = loop {
        if !hear_out(&session, listener, &mut held).await {
            break true;
        }
        let stuck = (!out.waiting.is_empty()).then(|| out.since + idle);
        let due = held.as_ref().map(|(due, _)| *due);
        let next = stuck.into_iter().chain(due).min();
        tokio::select! {
            () = session.left.notified() => {
                // Its last words came before.
                break !hear_out(&session, listener, &mut held).await;
            }
            notice = inbox.next(), if out.has_room() => match notice {
                Ok((notice, burden)) => match tell(&socket, session.alias.as_deref(), &notice) {
                    Ok(bytes) => {
                        out.add(bytes, burden, flow.borrow().written);
                    }
                    Err(_) => break true,
                },
                Err(Silence::TooSlow) => break true,
                Err(Silence::Closed) => break false,
            },
            changed = flow.changed() => {
                let Ok(()) = changed else { break false };
                out.release(flow.borrow_and_update().written);
            }
            () = sleep_until(next.unwrap_or(out.since)), if next.is_some() => {
                let now = Instant::now();
                if stuck.is_some_and(|stuck| stuck <= now) {
                    break true;
                }
                if due.is_some_and(|due| due <= now) {
                    deal(&session, listener, &mut held).await;
                }
            }
        }
    };
    Box::pin(session.ticket.part()).await;
    if is_at_fault {
        dismiss(&socket, &session);
    }
    // The client may connect to the namespace once more, in the same session.
    session.stop_listening(listener);
}

/// Does what was held, if that is anything. Boxed, so that nobody has room for it all the time.
async fn deal(session: &Session, listener: Listener, held: &mut Option<(Instant, Option<Act>)>) {
    if let Some((_, Some(act))) = held.take() {
        Box::pin(session.ticket.act(act)).await;
    }
    session.finish(listener);
}

/// Deals with what has been said until something has to wait, which is held then. False if its sender has never paused.
async fn hear_out(session: &Session, listener: Listener, held: &mut Option<(Instant, Option<Act>)>) -> bool {
    while held.is_none()
        && let Some(Heard { act, bytes }) = session.next(listener)
    {
        let now = Instant::now();
        let Some(wait) = session.wait_for(bytes, now).await else { return false };
        *held = Some((now + wait, act));
        if wait.is_zero() {
            deal(session, listener, held).await;
        }
    }
    true
}

/// What the library has been given and its connection has not taken yet.
struct Outgoing {
    /// How many bytes there have been when each had gone, and what it weighs until then.
    waiting: VecDeque<(u64, Burden)>,
    /// The sum of all.
    end: u64,
    /// How far it is.
    gone: u64,
    /// Since when nothing has moved.
    since: Instant,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), end: 0, gone: 0, since: Instant::now() }
    }
}

impl Outgoing {
    fn has_room(&self) -> bool {
        self.waiting.len() < PACKETS_OUT && self.end.saturating_sub(self.gone) < BYTES_OUT
    }

    fn add(&mut self, bytes: usize, burden: Burden, written: u64) {
        self.release(written);
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        // Frames, pings and names of events are written too: without this they would seem to be the packets.
        self.end = self.end.max(written) + bytes as u64;
        self.waiting.push_back((self.end, burden));
    }

    fn release(&mut self, written: u64) {
        if written != self.gone {
            (self.gone, self.since) = (written, Instant::now());
        }
        while self.waiting.front().is_some_and(|(end, _)| *end <= written) {
            self.waiting.pop_front();
        }
    }
}

/// Puts a notice into events, for a client that calls itself by its `alias`. Returns the least that it takes on the wire.
fn tell(socket: &SocketRef, alias: Option<&str>, notice: &Notice) -> Result<usize, SendError> {
    let own = socket.id.as_str();
    match notice {
        Notice::Roster(ids) => {
            let known = |id| if id == own { alias.unwrap_or(own) } else { id };
            let ids: Vec<&str> = ids.iter().map(|id| known(id)).collect();
            socket.emit("clients", &Clients(&ids))?;
            Ok(ids.iter().map(|id| 2 * id.len()).sum())
        }
        Notice::Said { data, from, call, .. } => {
            let Ok(value) = serde_json::from_str::<&RawValue>(data) else { return Ok(0) };
            let other = alias.and_then(|alias| renamed(data, own, alias));
            let value = other.as_deref().unwrap_or(value);
            match CALLS.iter().find(|(_, known)| Some(*known) == *call) {
                Some((event, _)) => socket.emit(event, &(alias.unwrap_or(own), value, &**from))?,
                None => socket.emit("message", value)?,
            }
            Ok(data.len())
        }
        // No words for these.
        Notice::Joined(_)
        | Notice::Left(_)
        | Notice::Published { .. }
        | Notice::NoSuchPeer
        | Notice::TooManyTopics => Ok(0),
    }
}

/// `{ID: {"id": ID}, …}`
struct Clients<'a>(&'a [&'a str]);

impl Serialize for Clients<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Client<'a> {
            id: &'a str,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for id in self.0 {
            map.serialize_entry(id, &Client { id })?;
        }
        map.end()
    }
}
