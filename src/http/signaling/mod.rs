//! `/ws` and `/v1/rooms`: who may come into a room. What is said there is in the modules below, one for each
//! dialect or family of them.

mod handshake;
mod own;
mod pace;
mod plain;
mod socket;
#[cfg(feature = "socketio")]
pub(super) mod socketio;

use super::caller::{Caller, PageOrigin};
use super::error::Refusal;
use super::rooms::{Full, Ticket};
use super::{MAX_MESSAGE, Rooms, Shared, SharedState, ice, random_name};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use handshake::Handshake;
use serde::Deserialize;
use serde_json::json;

/// Where members without a room meet, when rooms are open.
const DEFAULT_ROOM: &str = "default";

/// 22 characters of URL-safe base64 are the first to hold 128 bits.
const UNGUESSABLE: usize = 22;

/// The longest name of a room in bytes.
const LONGEST_ROOM: usize = 128;

/// What a socket reads at once. Frames longer than that arrive in several reads; a description has two or three thousand bytes.
const READ_BUFFER: usize = 1 << 10;

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
    handshake: Result<Handshake, Refusal>,
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
    match admit(&shared, &caller, room.as_deref(), handshake).await {
        Ok((Handshake { socket, protocol }, ticket)) => {
            let socket = socket.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
            let mut response = socket
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(0)
                .on_upgrade(move |socket| socket::converse(socket, shared, caller, room, ticket));
            handshake::tell_protocol(&mut response, protocol);
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(
    shared: &Shared,
    caller: &Caller,
    room: Option<&str>,
    handshake: Result<Handshake, Refusal>,
) -> Result<(Handshake, Ticket), Refusal> {
    may_signal(shared, caller)?;
    if let Some(room) = room {
        check_room(shared.options.rooms, room).map_err(|(code, message, help)| {
            Refusal::new(StatusCode::BAD_REQUEST, code, message).help(help)
        })?;
    }
    let handshake = handshake?;
    let ticket = shared.rooms.enter(caller.prefix).await.map_err(refuse_full)?;
    Ok((handshake, ticket))
}

fn refuse_full(full: Full) -> Refusal {
    let (code, message, help) = explain(full);
    let status =
        if full == Full::Address { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
    Refusal::new(status, code, message).help(help)
}

pub(super) fn rooms_off() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "rooms_off", "This server has its rooms switched off.")
        .help("The operator can allow them with http.rooms = \"named\" (or \"open\", for trials).")
}

fn may_signal(shared: &Shared, caller: &Caller) -> Result<(), Refusal> {
    if shared.options.rooms == Rooms::Off {
        return Err(rooms_off());
    }
    if caller.origin == PageOrigin::Foreign {
        shared.refusals.tell_page(caller.prefix.address(), caller.origin_text(), shared.ice.now_unix());
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

const NO_ROOM: Explained = (
    "no_room",
    "No room was named.",
    "Name it in the URL (/ws?room=…) or in the join; POST /v1/rooms makes one.",
);

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

/// The room that is meant when this one is asked for, if any.
fn meant(rooms: Rooms, asked: Option<String>) -> Option<String> {
    asked.or_else(|| (rooms == Rooms::Open).then(|| DEFAULT_ROOM.to_owned()))
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
