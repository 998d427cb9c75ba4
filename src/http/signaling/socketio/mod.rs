//! `/socket.io/`: the signaling dialect of Socket.IO clients, versions 2 to 4 (Engine.IO 3 and 4). The library
//! `socketioxide` speaks the protocol; who may, how much and how fast is decided here, around it.

mod owner;
mod secret;
mod session;
mod talk;

use super::{Explained, NO_ROOM, check_room, explain, handshake, may_signal, meant, refuse_full};
use crate::http::accept::stopped;
use crate::http::caller::Caller;
use crate::http::error::Refusal;
use crate::http::rooms::{Joining, Kind, Peer};
use crate::http::{MAX_MESSAGE, Shared, ice};
use axum::Router;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{FromRequestParts as _, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use base64::Engine as _;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use owner::Owner;
use serde::Deserialize;
use session::{Gate, Session};
use sha1::{Digest as _, Sha1};
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler as _;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The client's own library, as its authors publish it: version 4.8.4, MIT licence (`client-LICENSE`).
const CLIENT: &str = include_str!("client-4.8.4.min.js");

/// One POST or the answer to one GET: several messages may be in it.
const MAX_PAYLOAD: usize = 2 * MAX_MESSAGE;

/// Packets that the library may keep for a session: those of [`talk`], and what the protocol itself has to say.
const PACKETS: usize = 64;

/// How long the library has to say goodbye to everybody.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long an upgrade to WebSocket may take, from its 101 on. Then its session ends.
const UPGRADE: Duration = Duration::from_secs(5);

/// What a refused client may still read before its session is closed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What the library would ask about other paths, of which it gets none.
#[derive(Clone)]
struct Nowhere;

impl hyper::service::Service<Request> for Nowhere {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn call(&self, _: Request) -> Self::Future {
        ready(Ok(StatusCode::NOT_FOUND.into_response()))
    }
}

struct Side {
    shared: Arc<Shared>,
    service: SocketIoService<Nowhere>,
    sessions: Mutex<Sessions>,
}

/// A session that began by polling, and what the library calls it.
#[derive(Clone)]
struct Polling {
    session: Weak<Session>,
    id: String,
}

/// Those, by the secret that their later requests have in the query.
#[derive(Default)]
struct Sessions {
    by_secret: BTreeMap<String, Polling>,
    /// At how many those are forgotten who are gone.
    full: usize,
}

impl Sessions {
    fn add(&mut self, secret: String, id: String, session: &Arc<Session>) {
        if self.by_secret.len() >= self.full {
            self.by_secret.retain(|_, polling| polling.session.strong_count() > 0);
            self.full = 2 * self.by_secret.len() + 64;
        }
        self.by_secret.insert(secret, Polling { session: Arc::downgrade(session), id });
    }
}

/// What we read of a request's query; the library reads the rest.
#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "EIO")]
    version: Option<String>,
    room: Option<String>,
    sid: Option<String>,
    transport: Option<String>,
}

impl Wanted {
    /// Whether the request is to be a WebSocket. None where the library, which decodes nothing and takes what is before
    /// a second `=`, would read another session or transport than we do.
    fn is_websocket(&self, query: &str) -> Option<bool> {
        let id = query.split('&').find_map(|pair| pair.strip_prefix("sid="));
        match self.transport.as_deref() {
            _ if id != self.sid.as_deref() => None,
            Some("websocket") => Some(true),
            Some("polling") => Some(false),
            _ => None,
        }
    }
}

/// The routes of Socket.IO. Sessions end when `shared` says that the server stops.
pub(in crate::http) fn routes(shared: Arc<Shared>) -> Router {
    let limits = shared.options.limits;
    let (service, io) = SocketIo::builder()
        .req_path("/socket.io")
        .ping_interval(limits.ping)
        .ping_timeout(limits.idle.saturating_sub(limits.ping))
        .connect_timeout(limits.join_deadline)
        .upgrade_timeout(UPGRADE)
        .max_payload(MAX_PAYLOAD as u64)
        .max_buffer_size(PACKETS)
        .ws_read_buffer_size(super::READ_BUFFER)
        .ws_max_message_size(MAX_MESSAGE)
        .ws_max_frame_size(MAX_MESSAGE)
        // Whatever a description or a candidate holds is JSON; the other dialects could not hear more.
        .with_parser(ParserConfig::common().max_incoming_binaries(0))
        .build_with_inner_svc(Nowhere);
    let begin = move |socket: SocketRef| {
        talk::begin(socket, limits.idle);
        ready(())
    };
    io.ns("/", begin.with(join));
    let shutdown = shared.shutdown.clone();
    tokio::spawn(async move {
        stopped(shutdown).await;
        let _ = tokio::time::timeout(GOODBYE, io.close()).await;
    });
    let side = Side { shared, service, sessions: Mutex::default() };
    Router::new()
        .route("/socket.io", any(handle))
        .route("/socket.io/", any(handle))
        .route("/socket.io/socket.io.js", get(client))
        .with_state(Arc::new(side))
}

/// The client's library, for pages that load it from where they connect to, whatever page that is.
async fn client(State(side): State<Arc<Side>>) -> Response {
    if side.shared.options.rooms == crate::http::Rooms::Off {
        return super::rooms_off().into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
    ];
    (headers, CLIENT).into_response()
}

/// Every request of the protocol.
async fn handle(State(side): State<Arc<Side>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match Caller::from_request_parts(&mut parts, &side.shared).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = if parts.method == Method::OPTIONS {
        preflight(&parts.headers)
    } else {
        let request = Request::from_parts(parts, body);
        side.admit(&caller, request).await.unwrap_or_else(Refusal::into_response)
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ice::share(headers, &caller, false);
    response
}

/// What a browser asks before a page of another origin may ask. The Origin itself is looked at by [`ice::share`].
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// What there is to say of a session besides itself.
enum Known {
    /// It has begun by polling, and the library knows it by this id.
    Id(String),
    /// It is new; its client is told this, if it polls.
    Secret(Option<String>),
}

fn no_session() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no_session", "There is no session.")
        .help("Please report this as a fault of the server.")
}

/// What the library needs of a request that it keeps as long as the session lives. The request itself is a part of the whole buffer
/// that its connection read, and would keep that.
fn lasting<B>(method: Method, uri: &Uri, session: Arc<Session>, body: B) -> Option<axum::http::Request<B>> {
    axum::http::Request::builder().method(method).uri(uri.to_string()).extension(session).body(body).ok()
}

impl Side {
    async fn admit(&self, caller: &Caller, mut request: Request) -> Result<Response, Refusal> {
        may_signal(&self.shared, caller)?;
        let bad_query = || {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_query", "The query is not well formed.").help(
                "The form is /socket.io/?room=NAME&EIO=…&transport=…, as the client's library makes it.",
            )
        };
        let Query(wanted) = Query::<Wanted>::try_from_uri(request.uri()).map_err(|_| bad_query())?;
        let query = request.uri().query().unwrap_or_default();
        let is_websocket = wanted.is_websocket(query).ok_or_else(bad_query)?;
        let (session, known) = match &wanted.sid {
            Some(secret) => {
                let (session, id) = self.find(secret, caller, request.headers(), is_websocket).await?;
                *request.uri_mut() = secret::reveal(request.uri(), secret, &id).ok_or_else(bad_query)?;
                (session, Known::Id(id))
            }
            None => {
                let owner = Owner::new(caller, request.headers());
                let secret = if is_websocket { None } else { Some(secret::new().ok_or_else(no_session)?) };
                // What an old client is called in its namespace, it does not hear: it takes the session's id for that.
                let alias = secret.as_deref().filter(|_| wanted.version.as_deref() == Some("3"));
                let alias = alias.map(Into::into);
                let session = Arc::new(self.open(caller, owner, wanted.room, alias).await?);
                (session, Known::Secret(secret))
            }
        };
        if is_websocket {
            return self.upgrade(session, known, request);
        }
        // A page sends its next messages when the answer to these has come, so that this holds it back.
        if request.method() == Method::POST {
            session.free().await;
        }
        if let Known::Secret(_) = known {
            let (parts, body) = request.into_parts();
            request = lasting(parts.method, &parts.uri, session.clone(), body).ok_or_else(bad_query)?;
        }
        let (parts, body) = self.pass(request).await.into_parts();
        session.wrote(body.size_hint().lower());
        let Known::Secret(Some(secret)) = known else { return Ok(Response::from_parts(parts, body)) };
        let body = to_bytes(body, MAX_PAYLOAD).await.map_err(|_| no_session())?;
        let open = std::str::from_utf8(&body).ok();
        let Some((open, id)) = open.and_then(|open| Some((open, secret::id_in(open)?))) else {
            return Ok(Response::from_parts(parts, Body::from(body)));
        };
        let answer = secret::hide(open, id, &secret);
        self.sessions.lock().await.add(secret, id.to_owned(), &session);
        let mut response = Response::from_parts(parts, Body::from(answer));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(response)
    }

    async fn pass(&self, request: Request) -> Response {
        match self.service.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// A place for a new session, in a room that it names.
    async fn open(
        &self,
        caller: &Caller,
        owner: Owner,
        room: Option<String>,
        alias: Option<Arc<str>>,
    ) -> Result<Session, Refusal> {
        let rooms = self.shared.options.rooms;
        let refuse = |(code, message, help): Explained| {
            Refusal::new(StatusCode::BAD_REQUEST, code, message).help(help)
        };
        let room = meant(rooms, room).ok_or_else(|| refuse(NO_ROOM))?;
        check_room(rooms, &room).map_err(refuse)?;
        let ticket = self.shared.rooms.enter(caller.prefix).await.map_err(refuse_full)?;
        Ok(Session::new(ticket, owner, room, alias, &self.shared.options.limits))
    }

    async fn find(
        &self,
        secret: &str,
        caller: &Caller,
        headers: &HeaderMap,
        is_websocket: bool,
    ) -> Result<(Arc<Session>, String), Refusal> {
        let found = self.sessions.lock().await.by_secret.get(secret).cloned();
        let found = found.and_then(|polling| Some((polling.session.upgrade()?, polling.id)));
        let is_theirs = |(session, _): &(Arc<Session>, String)| {
            !session.is_closed() && session.owner.is(caller, headers, is_websocket)
        };
        found.filter(is_theirs).ok_or_else(|| {
            Refusal::new(StatusCode::BAD_REQUEST, "unknown_session", "There is no such session.").help(
                "It has ended, or belongs to another address, page or program. Connect anew; clients do so by themselves.",
            )
        })
    }

    /// Takes the connection over, behind a gate.
    fn upgrade(
        &self,
        session: Arc<Session>,
        known: Known,
        mut request: Request,
    ) -> Result<Response, Refusal> {
        let key = handshake::check(request.method(), request.version(), request.headers())?;
        // After the 101 nobody counts connections, only sessions.
        let pass = session.let_in().ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "already_upgraded",
                "The session has a WebSocket, or is getting one.",
            )
            .help("Use that one, or connect anew.")
        })?;
        let mut digest = Sha1::new();
        digest.update(key);
        // RFC 6455 §1.3.
        digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = base64::engine::general_purpose::STANDARD.encode(digest.finalize());
        let protocol = handshake::protocol(request.headers());
        let upgraded = hyper::upgrade::on(&mut request);
        let request = lasting(Method::GET, request.uri(), session.clone(), ()).ok_or_else(no_session)?;
        let (service, shared) = (self.service.clone(), self.shared.clone());
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            // The library moves it about, and has room for it wherever it was.
            let gate = Box::new(Gate::new(TokioIo::new(upgraded), pass, &shared.options.limits));
            // A request that the library does not understand ends with its connection.
            let _ = service.call((gate, request)).await;
            if let Known::Id(id) = known {
                session.websocket_gone().await;
                end(&service, &id).await;
            }
        });
        let answer = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
        ];
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, answer).into_response();
        handshake::tell_protocol(&mut response, protocol);
        Ok(response)
    }
}

/// Ends the library's session: when an upgrade has failed, it would wait for the next one for ever.
async fn end(service: &SocketIoService<Nowhere>, id: &str) {
    let uri = format!("/socket.io/?EIO=4&transport=polling&sid={id}");
    // Engine.IO's packet for that.
    if let Ok(request) = axum::http::Request::post(uri).body(Body::from("1")) {
        let _ = service.call(request).await;
    }
}

/// Comes into the room before the client is told that it is connected.
async fn join(socket: SocketRef) -> Result<(), &'static str> {
    let session = socket.req_parts().extensions.get::<Arc<Session>>().cloned();
    let session = session.ok_or("There is no session.")?;
    // Each time tells the whole room: it costs as much as what is said.
    if session.wait_for(0, Instant::now()).await.is_none_or(|wait| !wait.is_zero()) {
        dismiss_later(session);
        return Err("Too many messages and connects. Connect again in some seconds.");
    }
    let peer = Peer { id: socket.id.as_str().into(), name: "".into() };
    let alias = session.alias.clone();
    let joining = Joining { room: session.room.clone(), peer, alias, kind: Kind::SocketIo };
    match session.ticket.join(joining).await {
        Ok((_, inbox)) => {
            *session.inbox.lock().await = Some(inbox);
            Ok(())
        }
        Err(full) => {
            dismiss_later(session);
            Err(explain(full).1)
        }
    }
}

/// Ends a session when its client has had time to hear why.
fn dismiss_later(session: Arc<Session>) {
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORD).await;
        session.close();
    });
}
