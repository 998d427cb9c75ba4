//! One WebSocket's conversation, whatever it speaks.

use super::own::{self, Said};
use super::pace::Pace;
use super::plain::{self, PONG, Plain};
use super::{Explained, NO_ROOM, check_room, explain, meant};
use crate::http::accept::stopped;
use crate::http::caller::Caller;
use crate::http::rooms::{Act, Full, Inbox, Joining, Kind, Notice, Peer, Silence, Ticket, To};
use crate::http::{Limits, Shared, error, ice};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// The longest name of a member in characters.
const LONGEST_NAME: usize = 64;

/// How long a socket may take to say that it means another room than the one in its URL, which is full. Who has
/// nothing to say before it is called learns that soon.
const SECOND_THOUGHT: Duration = Duration::from_secs(1);

/// How long a closed socket may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a conversation ends.
enum End {
    /// The other side has closed, or the connection broke.
    Gone,
    /// Closed by us, with a code and a reason of at most 123 bytes (RFC 6455 §5.5).
    Closed(u16, &'static str),
    /// The same after an `error` frame, in our own dialect.
    Refused(Explained),
}

const TOO_SLOW: End = End::Closed(close_code::POLICY, "You read too slowly.");
const STOPPING: End = End::Closed(close_code::AWAY, "The server is stopping.");
const NOT_UNDERSTOOD: Explained = (
    "not_understood",
    "This is no frame of the dialect.",
    "First {\"join\":{\"room\":…,\"name\":…}}, then {\"to\":id,\"data\":…} or {\"data\":…}.",
);
const ALREADY_JOINED: Explained =
    ("already_joined", "This socket is in a room already.", "Open another socket for another room.");

/// What a socket speaks. The shape of its first frame decides.
#[derive(Clone, Copy)]
enum Dialect {
    /// It has said nothing, and hears what others say in their words.
    Unknown,
    Own,
    Plain(Plain),
}

struct Conversation {
    socket: WebSocket,
    shared: Arc<Shared>,
    caller: Caller,
    url_room: Option<String>,
    ticket: Ticket,
    dialect: Dialect,
    /// `Err`: in no room as yet, and why.
    inbox: Result<Inbox, &'static str>,
}

/// Talks with one socket until either side ends it.
pub(super) async fn converse(
    socket: WebSocket,
    shared: Arc<Shared>,
    caller: Caller,
    url_room: Option<String>,
    ticket: Ticket,
) {
    // Whoever is called may have nothing to say before that, so the room begins with the socket.
    let inbox = match meant(shared.options.rooms, url_room.clone()) {
        Some(room) => {
            let peer = Peer { id: ticket.id.clone(), name: "".into() };
            let joined = ticket.join(Joining { room, peer, alias: None, kind: Kind::Plain }).await;
            joined.map(|(_, inbox)| inbox).map_err(|full| explain(full).1)
        }
        None => Err(NO_ROOM.1),
    };
    let dialect = Dialect::Unknown;
    let mut conversation = Conversation { socket, shared, caller, url_room, ticket, dialect, inbox };
    let end = conversation.listen().await;
    let Conversation { socket, ticket, inbox, shared, .. } = conversation;
    // Others hear of it now, not after the goodbye.
    drop((ticket, inbox));
    Box::pin(say_goodbye(socket, end, shared.options.limits.write_deadline)).await;
}

async fn say_goodbye(mut socket: WebSocket, end: End, deadline: Duration) {
    let (code, reason) = match end {
        End::Gone => {
            let _ = timeout(GOODBYE, socket.close()).await;
            return;
        }
        End::Closed(code, reason) => (code, reason),
        End::Refused(explained) => {
            let _ = timeout(deadline, socket.send(Message::Text(error_frame(explained)))).await;
            (close_code::POLICY, explained.1)
        }
    };
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let _ = timeout(GOODBYE, socket.send(Message::Close(Some(frame)))).await;
    // Closing with unread input would reset the connection, and the reason might be lost with it.
    let _ = timeout(GOODBYE, async {
        while let Some(Ok(_)) = socket.next().await {}
        tokio::time::sleep(GOODBYE / 4).await;
    })
    .await;
}

fn error_frame((code, message, help): Explained) -> Utf8Bytes {
    error::frame(code, message, help).to_string().into()
}

impl Conversation {
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.shared.options.limits.write_deadline, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(TOO_SLOW),
        }
    }

    async fn text(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), End> {
        self.send(Message::Text(text.into())).await
    }

    async fn listen(&mut self) -> End {
        match self.carry().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Carries frames both ways until something ends it.
    async fn carry(&mut self) -> Result<std::convert::Infallible, End> {
        // Not all of the limits, of which each conversation would have its own.
        let Limits { ping, idle, join_deadline, .. } = self.shared.options.limits;
        let stop = stopped(self.shared.shutdown.clone());
        tokio::pin!(stop);
        let opened = Instant::now();
        let mut ping = tokio::time::interval_at(opened + ping, ping);
        let mut heard = opened;
        let mut pace = Pace::new(&self.shared.options.limits, heard);
        // A message that came too early, and when its time is. Until then nothing more is read, so that TCP holds
        // the sender back.
        let mut held: Option<(Instant, Option<Utf8Bytes>)> = None;
        loop {
            let deadline = match &self.inbox {
                Ok(_) => heard + idle,
                Err(_) if self.url_room.is_some() => opened + join_deadline.min(SECOND_THOUGHT),
                Err(_) => opened + join_deadline,
            };
            let text = tokio::select! {
                () = &mut stop => return Err(STOPPING),
                notice = next(&mut self.inbox) => {
                    let (notice, _burden) = notice.map_err(|silence| match silence {
                        Silence::TooSlow => TOO_SLOW,
                        Silence::Closed => STOPPING,
                    })?;
                    self.tell(&notice).await?;
                    continue;
                }
                _ = ping.tick() => {
                    self.send(Message::Ping(Default::default())).await?;
                    continue;
                }
                () = sleep_until(deadline), if held.is_none() => return Err(match &self.inbox {
                    Ok(_) => End::Closed(close_code::AWAY, "Nothing was heard from you for too long."),
                    Err(why) => End::Closed(close_code::POLICY, why),
                }),
                text = due(&mut held), if held.is_some() => text,
                message = self.socket.next(), if held.is_none() => {
                    heard = Instant::now();
                    let text = text_of(message)?;
                    // Pings count as well: answering them is work.
                    let wait = pace.take(text.as_ref().map_or(0, |text| text.len()), heard);
                    if pace.is_abused(heard) {
                        let reason = "You keep sending faster than you may.";
                        return Err(End::Closed(close_code::POLICY, reason));
                    }
                    if !wait.is_zero() {
                        held = Some((heard + wait, text));
                        continue;
                    }
                    text
                }
            };
            heard = Instant::now();
            if let Some(text) = text {
                self.hear(&text).await?;
            }
        }
    }

    /// Puts a notice into the words of the socket.
    async fn tell(&mut self, notice: &Notice) -> Result<(), End> {
        if matches!(notice, Notice::TooManyTopics) {
            return Err(End::Closed(close_code::POLICY, "A socket may have 32 topics of at most 128 bytes."));
        }
        let text = match self.dialect {
            Dialect::Own => own::render(notice).map(Into::into),
            Dialect::Unknown | Dialect::Plain(_) => plain::render(notice),
        };
        match text {
            Some(text) => self.text(text).await,
            None => Ok(()),
        }
    }

    async fn hear(&mut self, text: &Utf8Bytes) -> Result<(), End> {
        match self.dialect {
            Dialect::Unknown => self.hear_first(text).await,
            Dialect::Own => self.hear_own(text).await,
            Dialect::Plain(plain) => self.hear_plain(plain, text).await,
        }
    }

    async fn hear_first(&mut self, text: &Utf8Bytes) -> Result<(), End> {
        if let Some(Said::Join { room, name }) = own::parse(text) {
            self.dialect = Dialect::Own;
            return Box::pin(self.join(room, name)).await;
        }
        let Some(plain) = Plain::of(text) else { return Ok(()) };
        if let Err(why) = self.inbox {
            return Err(End::Closed(close_code::POLICY, why));
        }
        self.dialect = Dialect::Plain(plain);
        self.hear_plain(plain, text).await
    }

    async fn hear_plain(&mut self, plain: Plain, text: &Utf8Bytes) -> Result<(), End> {
        match plain.read(text) {
            plain::Said::Act(act) => {
                self.ticket.act(act).await;
                Ok(())
            }
            plain::Said::Ping => self.text(Utf8Bytes::from_static(PONG)).await,
            plain::Said::Nothing => Ok(()),
        }
    }

    async fn hear_own(&mut self, text: &Utf8Bytes) -> Result<(), End> {
        match own::parse(text) {
            Some(Said::Data { to, data }) => {
                self.ticket.act(Act::Say(to.map_or(To::All, To::Id), data)).await;
                Ok(())
            }
            Some(Said::Join { .. }) => self.text(error_frame(ALREADY_JOINED)).await,
            None => self.text(error_frame(NOT_UNDERSTOOD)).await,
        }
    }

    /// Answers a `join`, out of the room where the socket is.
    async fn join(&mut self, room: Option<String>, name: Option<String>) -> Result<(), End> {
        let options = &self.shared.options;
        let room = meant(options.rooms, room.or_else(|| self.url_room.clone()));
        let room = room.ok_or(End::Refused(NO_ROOM))?;
        check_room(options.rooms, &room).map_err(End::Refused)?;
        let name = name.unwrap_or_default();
        if name.chars().count() > LONGEST_NAME {
            return Err(End::Refused(("bad_name", "The name is too long.", "It may have 64 characters.")));
        }
        // Each join is worth iceServers.
        if self.shared.count(&self.caller, &self.shared.admission).await.is_err() {
            return Err(End::Refused((
                "too_many_requests",
                "Your address joins too often.",
                "Try again in a few seconds; one join a second is always served.",
            )));
        }
        let peer = Peer { id: self.ticket.id.clone(), name: name.into() };
        let joining = Joining { room: room.clone(), peer, alias: None, kind: Kind::Own };
        let full = |full: Full| End::Refused(explain(full));
        let (peers, inbox) = self.ticket.join(joining).await.map_err(full)?;
        self.inbox = Ok(inbox);
        let ice_servers = ice::for_member(&self.shared, &self.caller, &self.ticket.id).await;
        self.text(own::welcome(&self.ticket.id, &room, &peers, &ice_servers)).await
    }
}

/// The next notice, if the socket is in a room. Safe to cancel.
async fn next(
    inbox: &mut Result<Inbox, &'static str>,
) -> Result<(Arc<Notice>, crate::http::rooms::Burden), Silence> {
    match inbox {
        Ok(inbox) => inbox.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// The held message when its time has come. Safe to cancel.
async fn due(held: &mut Option<(Instant, Option<Utf8Bytes>)>) -> Option<Utf8Bytes> {
    sleep_until(held.as_ref()?.0).await;
    held.take().and_then(|(_, text)| text)
}

/// The text in what a stream yields; `None` for what the WebSocket layer has dealt with.
fn text_of(message: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, End> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => {
            Err(End::Closed(close_code::UNSUPPORTED, "Frames are text, not binary."))
        }
        Some(Err(error)) => Err(fault(&error)),
        Some(Ok(Message::Close(_))) | None => Err(End::Gone),
    }
}

/// What the other side has done wrong, if it has. axum hides the type of the WebSocket layer's errors, which is of
/// another version than any that could be named here; the beginning of its text is all that tells them apart.
fn fault(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.starts_with("Space limit exceeded") {
        End::Closed(close_code::SIZE, "A message may have 65536 bytes.")
    } else if text.starts_with("UTF-8 encoding error") {
        End::Closed(close_code::INVALID, "Text must be UTF-8.")
    } else if text.starts_with("WebSocket protocol error") && !text.contains("reset") {
        End::Closed(close_code::PROTOCOL, "This is no frame of a WebSocket's client (RFC 6455).")
    } else {
        End::Gone
    }
}
