//! `/ws` and `/v1/rooms`: how a socket comes into a room, and its conversation from then on.

use super::accept::stopped;
use super::admission::Bucket;
use super::caller::{Caller, PageOrigin};
use super::dialect::{self, Said};
use super::error::{self, Refusal};
use super::rooms::{Full, Inbox, Silence, Ticket};
use super::{Limits, MAX_MESSAGE, Rooms, Shared, SharedState, ice, random_name};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Where members without a room meet, when rooms are open.
const DEFAULT_ROOM: &str = "default";

/// 22 characters of URL-safe base64 are the first to hold 128 bits.
const UNGUESSABLE: usize = 22;

/// The longest name of a room in bytes.
const LONGEST_ROOM: usize = 128;

/// The longest name of a member in characters.
const LONGEST_NAME: usize = 64;

/// How long a closed socket may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Pings that are answered before a `join`.
const PINGS_BEFORE_JOIN: u32 = 8;

/// What a socket reads at once. Frames longer than that arrive in several reads.
const READ_BUFFER: usize = 4 << 10;

/// The query of `/ws`.
#[derive(Deserialize)]
pub(super) struct Wanted {
    room: Option<String>,
}

/// `POST /v1/rooms` → `{"room":…}`: a name that nobody guesses; and `"default"`, where there is a room in which all meet
/// who name none. Nothing is kept; the room begins with its first
/// member.
pub(super) async fn fresh_room(State(shared): SharedState, caller: Caller) -> Response {
    let answer = may_signal(&shared, &caller).and_then(|()| {
        let room = random_name::<16>().ok_or_else(Refusal::no_randomness)?;
        Ok((
            [(header::CACHE_CONTROL, "no-store")],
            Json(match shared.options.rooms {
                Rooms::Open => json!({"room": room, "default": DEFAULT_ROOM}),
                Rooms::Off | Rooms::Named => json!({"room": room}),
            }),
        ))
    });
    let mut response = answer.into_response();
    ice::share(response.headers_mut(), &caller, shared.options.open);
    response
}

/// `GET /ws?room=…`: the socket.
pub(super) async fn upgrade(
    State(shared): SharedState,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(Query(Wanted { room })) = wanted else {
        return Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad_query",
            "The query names more than one room, or none well.",
        )
        .help("The form is /ws?room=NAME, with NAME percent-encoded.")
        .into_response();
    };
    match admit(&shared, &caller, room.as_deref(), socket).await {
        Ok((socket, ticket)) => socket
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .on_upgrade(move |socket| converse(socket, shared, caller, room, ticket)),
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(
    shared: &Shared,
    caller: &Caller,
    room: Option<&str>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<(WebSocketUpgrade, Ticket), Refusal> {
    may_signal(shared, caller)?;
    if let Some(room) = room {
        check_room(shared.options.rooms, room).map_err(|(code, message, help)| {
            Refusal::new(StatusCode::BAD_REQUEST, code, message).help(help)
        })?;
    }
    let socket = socket.map_err(|_| {
        Refusal::new(StatusCode::UPGRADE_REQUIRED, "not_a_websocket", "This address speaks WebSocket only.")
            .help("Use new WebSocket(…) in a page. A reverse proxy must pass Upgrade and Connection on.")
    })?;
    let ticket = shared.rooms.enter(caller.prefix).await.map_err(|full| {
        let (code, message, help) = explain(full);
        let status = if full == Full::Address {
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Refusal::new(status, code, message).help(help)
    })?;
    Ok((socket, ticket))
}

fn may_signal(shared: &Shared, caller: &Caller) -> Result<(), Refusal> {
    if shared.options.rooms == Rooms::Off {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "rooms_off",
            "This server has its rooms switched off.",
        )
        .help("The operator can allow them with http.rooms = \"named\" (or \"open\", for trials)."));
    }
    if caller.origin == PageOrigin::Foreign {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "The page's origin is neither this server's nor in its list.",
        )
        .help(
            "The operator can add it to http.origins. Behind a reverse proxy: let it pass Host unchanged.",
        ));
    }
    Ok(())
}

type Explained = (&'static str, &'static str, &'static str);

fn check_room(rooms: Rooms, name: &str) -> Result<(), Explained> {
    if name.is_empty() || name.len() > LONGEST_ROOM || name.chars().any(char::is_control) {
        return Err((
            "bad_room",
            "A room's name has 1 to 128 bytes and no control characters.",
            "POST /v1/rooms makes a good one.",
        ));
    }
    let url_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if rooms == Rooms::Named && (name.len() < UNGUESSABLE || !name.bytes().all(url_safe)) {
        return Err((
            "room_guessable",
            "A room's name must be too long to guess: at least 22 random letters, digits, - or _.",
            "POST /v1/rooms makes one; with http.rooms = \"open\" any name will do.",
        ));
    }
    Ok(())
}

const fn explain(full: Full) -> Explained {
    match full {
        Full::Sockets => ("too_many_sockets", "The server has no socket left.", "Try again later."),
        Full::Address => {
            ("too_many_sockets", "Your address has no socket left.", "Close some, or try again later.")
        }
        Full::Rooms => ("too_many_rooms", "The server has no room left.", "Try again later."),
        Full::Room => ("room_full", "The room is full.", "Use another room; POST /v1/rooms makes one."),
        Full::Closed => ("stopping", "The server is stopping.", "Try again in a few seconds."),
    }
}

/// Why a conversation ends.
enum End {
    /// The other side has closed, or the connection broke.
    Gone,
    /// Closed by us, with a code and a reason of at most 123 bytes (RFC 6455 §5.5).
    Closed(u16, &'static str),
    /// The same after an `error` frame.
    Refused(Explained),
}

async fn converse(
    socket: WebSocket,
    shared: Arc<Shared>,
    caller: Caller,
    url_room: Option<String>,
    ticket: Ticket,
) {
    let (sink, mut stream) = socket.split();
    let mut writer = Writer { sink, deadline: shared.options.limits.write_deadline };
    let end = match join(&mut writer, &mut stream, &shared, &caller, url_room, &ticket).await {
        Ok(inbox) => listen(&mut writer, &mut stream, &shared, &ticket, inbox).await,
        Err(end) => end,
    };
    // Others hear of it now, not after the goodbye.
    drop(ticket);
    let (code, reason) = match end {
        End::Gone => {
            let _ = timeout(GOODBYE, writer.sink.close()).await;
            return;
        }
        End::Closed(code, reason) => (code, reason),
        End::Refused((code, message, help)) => {
            let _ = writer.text(error::frame(code, message, help).to_string()).await;
            (close_code::POLICY, message)
        }
    };
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let _ = timeout(GOODBYE, writer.sink.send(Message::Close(Some(frame)))).await;
    // Closing with unread input would reset the connection, and the reason might be lost with it.
    let _ = timeout(GOODBYE, async {
        while let Some(Ok(_)) = stream.next().await {}
        tokio::time::sleep(GOODBYE / 4).await;
    })
    .await;
}

struct Writer {
    sink: SplitSink<WebSocket, Message>,
    deadline: Duration,
}

impl Writer {
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.deadline, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(TOO_SLOW),
        }
    }

    async fn text(&mut self, text: String) -> Result<(), End> {
        self.send(Message::Text(text.into())).await
    }
}

const TOO_SLOW: End = End::Closed(close_code::POLICY, "You read too slowly.");
const STOPPING: End = End::Closed(close_code::AWAY, "The server is stopping.");
const NOT_UNDERSTOOD: Explained = (
    "not_understood",
    "This is no frame of the dialect.",
    "First {\"join\":{\"room\":…,\"name\":…}}, then {\"to\":id,\"data\":…} or {\"data\":…}.",
);

/// Waits for the `join` and answers it.
async fn join(
    writer: &mut Writer,
    stream: &mut SplitStream<WebSocket>,
    shared: &Shared,
    caller: &Caller,
    url_room: Option<String>,
    ticket: &Ticket,
) -> Result<Inbox, End> {
    let deadline = Instant::now() + shared.options.limits.join_deadline;
    let mut pings = 0;
    let text = loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = sleep_until(deadline) => {
                return Err(End::Closed(close_code::POLICY, "No join came in time."));
            }
            () = stopped(shared.shutdown.clone()) => return Err(STOPPING),
        };
        if let Some(text) = text_of(message)? {
            break text;
        }
        pings += 1;
        if pings > PINGS_BEFORE_JOIN {
            return Err(End::Closed(close_code::POLICY, "Join first."));
        }
    };
    let Some(Said::Join { room, name }) = dialect::parse(&text) else {
        return Err(End::Refused(NOT_UNDERSTOOD));
    };
    let is_open = shared.options.rooms == Rooms::Open;
    let room =
        room.or(url_room).or_else(|| is_open.then(|| DEFAULT_ROOM.to_owned())).ok_or(End::Refused((
            "no_room",
            "No room was named.",
            "Name it in the URL (/ws?room=…) or in the join; POST /v1/rooms makes one.",
        )))?;
    check_room(shared.options.rooms, &room).map_err(End::Refused)?;
    let name = name.unwrap_or_default();
    if name.chars().count() > LONGEST_NAME {
        return Err(End::Refused(("bad_name", "The name is too long.", "It may have 64 characters.")));
    }
    if !caller.is_local && !shared.admission.admit(caller.prefix).await {
        return Err(End::Refused((
            "too_many_requests",
            "Your address joins too often.",
            "Try again in a few seconds; one join a second is always served.",
        )));
    }
    let (peers, inbox) =
        ticket.join(room.clone(), name.into()).await.map_err(|full| End::Refused(explain(full)))?;
    let ice_servers = ice::for_member(&shared, &caller, &ticket.id);
    writer.text(dialect::welcome(&ticket.id, &room, &peers, &ice_servers)).await?;
    Ok(inbox)
}

/// Carries frames both ways until something ends it.
async fn listen(
    writer: &mut Writer,
    stream: &mut SplitStream<WebSocket>,
    shared: &Shared,
    ticket: &Ticket,
    mut inbox: Inbox,
) -> End {
    let limits = &shared.options.limits;
    let stop = stopped(shared.shutdown.clone());
    tokio::pin!(stop);
    let mut ping = tokio::time::interval_at(Instant::now() + limits.ping, limits.ping);
    let mut heard = Instant::now();
    let mut pace = Pace::new(limits, heard);
    // A message that came too early, and when its time is. Until then nothing more is read, so that TCP holds
    // the sender back.
    let mut held: Option<(Instant, Option<Utf8Bytes>)> = None;
    loop {
        let text = tokio::select! {
            () = &mut stop => return STOPPING,
            notice = inbox.next() => {
                let notice = match notice {
                    Ok(notice) => notice,
                    Err(Silence::TooSlow) => return TOO_SLOW,
                    Err(Silence::Closed) => return STOPPING,
                };
                if let Err(end) = writer.text(dialect::render(&notice)).await {
                    return end;
                }
                continue;
            }
            _ = ping.tick() => {
                if let Err(end) = writer.send(Message::Ping(Default::default())).await {
                    return end;
                }
                continue;
            }
            () = sleep_until(heard + limits.idle), if held.is_none() => {
                return End::Closed(close_code::AWAY, "Nothing was heard from you for too long.");
            }
            text = due(&mut held), if held.is_some() => text,
            message = stream.next(), if held.is_none() => {
                heard = Instant::now();
                let text = match text_of(message) {
                    Ok(text) => text,
                    Err(end) => return end,
                };
                // Pings count as well: answering them is work.
                let wait = pace.take(text.as_ref().map_or(0, |text| text.len()), heard);
                if pace.is_abused(heard) {
                    return End::Closed(close_code::POLICY, "You keep sending faster than you may.");
                }
                if !wait.is_zero() {
                    held = Some((heard + wait, text));
                    continue;
                }
                text
            }
        };
        heard = Instant::now();
        let Some(text) = text else { continue };
        match dialect::parse(&text) {
            Some(Said::Data { to, data }) => ticket.say(to, data).await,
            Some(Said::Join { .. }) => {
                let frame = error::frame(
                    "already_joined",
                    "This socket is in a room already.",
                    "Open another socket for another room.",
                );
                if let Err(end) = writer.text(frame.to_string()).await {
                    return end;
                }
            }
            None => {
                let (code, message, help) = NOT_UNDERSTOOD;
                if let Err(end) = writer.text(error::frame(code, message, help).to_string()).await {
                    return end;
                }
            }
        }
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
        Some(Err(error)) if is_too_long(&error) => {
            Err(End::Closed(close_code::SIZE, "A message may have 65536 bytes."))
        }
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
    }
}

/// axum hides the type of the WebSocket layer's errors, which is of another version than any that could be
/// named here; its text is all that tells this one from the others.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

/// How fast one sender may go on.
struct Pace {
    messages: Bucket,
    bytes: Bucket,
    throttled: Duration,
    since: Option<Instant>,
}

impl Pace {
    fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            messages: Bucket::new(limits.message_burst, limits.messages_per_second, now),
            bytes: Bucket::new(limits.byte_burst, limits.bytes_per_second, now),
            throttled: limits.throttled,
            since: None,
        }
    }

    /// How long a message of `bytes` has to wait.
    fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let wait = self.messages.take(1, now).max(self.bytes.take(bytes, now));
        if wait.is_zero() {
            self.since = None;
        } else {
            self.since.get_or_insert(now);
        }
        wait
    }

    /// Whether every message for a long time had to wait: no page that makes calls gets there.
    fn is_abused(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= self.throttled)
    }
}
