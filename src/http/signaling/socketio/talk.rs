//! The dialect: which events there are, what they carry and in which order.

use super::session::Session;
use crate::http::rooms::{Act, Burden, Call, Inbox, Notice, Silence, To};
use crate::http::signaling::pace::Pace;
use crate::http::signaling::plain;
use crate::http::{Limits, MAX_MESSAGE};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::extract::{Data, SocketRef};
use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Events whose first argument is the peer that is meant, and whose second one is handed on to it.
const CALLS: [(&str, Call); 4] = [
    ("peerOffer", Call::Offer),
    ("peerAnswer", Call::Answer),
    ("peerIce", Call::Ice),
    ("signal", Call::Signal),
];

/// Messages that were read before the gate fell. More than one read or one POST of a page can hold.
const AHEAD: usize = 1024;

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
struct Heard {
    act: Option<Act>,
    bytes: usize,
}

/// Begins to listen to a socket that has connected to the namespace.
pub(super) fn begin(socket: SocketRef, limits: Limits) {
    let Some(session) = socket.req_parts().extensions.get::<Arc<Session>>().cloned() else { return };
    // Boxed, since a channel has room for many from the start.
    let (said, heard) = mpsc::channel(AHEAD);
    for (event, call) in CALLS {
        listen(&socket, Some(event), &session, &said, move |arguments| arguments.call(call));
    }
    listen(&socket, Some("message"), &session, &said, Arguments::message);
    // What has no meaning costs its sender as much.
    listen(&socket, None, &session, &said, |_| None);
    let leaving = session.clone();
    socket.on_disconnect(move || {
        leaving.left.notify_one();
        ready(())
    });
    let Some(inbox) = session.inbox.try_lock().ok().and_then(|mut inbox| inbox.take()) else { return };
    tokio::spawn(converse(socket, session, inbox, heard, limits));
}

fn listen(
    socket: &SocketRef,
    event: Option<&'static str>,
    session: &Arc<Session>,
    said: &mpsc::Sender<Box<Heard>>,
    act: impl Fn(&Arguments) -> Option<Act> + Clone + Send + Sync + 'static,
) {
    let (session, said) = (session.clone(), said.clone());
    // All of it is done while the library calls, so that the order is kept; what it would run later is nothing.
    let handler = move |socket: SocketRef, Data(arguments): Data<Arguments>| {
        let bytes = arguments.bytes();
        session.begin();
        let arguments = match &session.alias {
            Some(alias) => arguments.renamed(alias, socket.id.as_str()),
            None => arguments,
        };
        let heard = Box::new(Heard { act: act(&arguments), bytes });
        if bytes > MAX_MESSAGE || said.try_send(heard).is_err() {
            session.finish();
            dismiss(socket, &session);
        }
        ready(())
    };
    match event {
        Some(event) => socket.on(event, handler),
        None => socket.on_fallback(handler),
    }
}

/// Ends a session from our side.
fn dismiss(socket: SocketRef, session: &Session) {
    let _ = socket.disconnect();
    session.close();
}

/// Carries messages both ways until the socket or the room ends.
async fn converse(
    socket: SocketRef,
    session: Arc<Session>,
    mut inbox: Inbox,
    mut heard: mpsc::Receiver<Box<Heard>>,
    limits: Limits,
) {
    let mut pace = Pace::new(&limits, Instant::now());
    let mut flow = session.flow.subscribe();
    let mut out = Outgoing::default();
    let mut held: Option<(Instant, Option<Act>)> = None;
    let is_at_fault = loop {
        let act = tokio::select! {
            () = session.left.notified() => break false,
            notice = inbox.next(), if out.has_room() => match notice {
                Ok((notice, burden)) => match tell(&socket, session.alias.as_deref(), &notice) {
                    Ok(bytes) => {
                        out.add(bytes, burden, flow.borrow().written);
                        continue;
                    }
                    Err(_) => break true,
                },
                Err(Silence::TooSlow) => break true,
                Err(Silence::Closed) => break false,
            },
            changed = flow.changed(), if !out.waiting.is_empty() => {
                let Ok(()) = changed else { break false };
                out.release(flow.borrow_and_update().written);
                continue;
            }
            () = sleep_until(out.since + limits.idle), if !out.waiting.is_empty() => break true,
            act = due(&mut held), if held.is_some() => act,
            said = heard.recv(), if held.is_none() => {
                let Some(said) = said else { break false };
                let Heard { act, bytes } = *said;
                let now = Instant::now();
                let wait = pace.take(bytes, now);
                if pace.is_abused(now) {
                    break true;
                }
                if !wait.is_zero() {
                    held = Some((now + wait, act));
                    continue;
                }
                act
            }
        };
        if let Some(act) = act {
            session.ticket.act(act).await;
        }
        session.finish();
    };
    session.ticket.part().await;
    if is_at_fault {
        dismiss(socket, &session);
    }
    // The client may connect to the namespace once more, in the same session.
    heard.close();
    if held.is_some() {
        session.finish();
    }
    while heard.try_recv().is_ok() {
        session.finish();
    }
}

/// The held act when its time has come. Safe to cancel.
async fn due(held: &mut Option<(Instant, Option<Act>)>) -> Option<Act> {
    sleep_until(held.as_ref()?.0).await;
    held.take().and_then(|(_, act)| act)
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
