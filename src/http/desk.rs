//! The admin API: on a Unix socket alone, so that no browser and nobody else on the machine reaches it.

use super::control::{Control, Revocation, RevocationEntry, Revoked, SessionFilter};
use super::error::Refusal;
use super::{finish, ice};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at once; more wait.
const CONNECTIONS: usize = 32;
/// Sessions in one answer when nobody says how many, and at most.
const SESSIONS: usize = 1000;
const MOST_SESSIONS: usize = 100_000;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may live, and how long the last request has after the stop.
const LIFETIME: Duration = Duration::from_secs(30);
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// The longest body, in bytes.
const MAX_BODY: usize = 4 << 10;

type Desk = State<Arc<dyn Control>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    user: Option<String>,
    limit: Option<usize>,
}

/// What to revoke, or to lift.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    username: Option<String>,
    user: Option<String>,
    tag: Option<String>,
    key: Option<String>,
    issuer: Option<String>,
}

impl Named {
    /// Exactly one of the four.
    fn what(self) -> Result<(Revocation, Option<String>), Refusal> {
        let all = [
            self.username.map(Revocation::Username),
            self.user.map(Revocation::User),
            self.tag.map(Revocation::Tag),
            self.key.map(Revocation::Key),
        ];
        let mut named = all.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(what), None) => Ok((what, self.issuer)),
            _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_body", "One thing is revoked at a time.")
                .help(format!("Send {EXAMPLE}."))),
        }
    }
}

/// What a user is called: as it is written, which is what services with the secret put into user names, and as the server itself
/// does.
fn names(user: String) -> impl Iterator<Item = String> {
    let own = ice::user_name(&user).ok().filter(|own| *own != user);
    std::iter::once(user).chain(own)
}

/// Whom to ask for: everybody, or a user by each name.
fn filters(user: Option<String>) -> Vec<Option<String>> {
    user.map_or_else(|| vec![None], |user| names(user).map(Some).collect())
}

/// All that is meant by what is to be revoked, or lifted.
fn meant(what: Revocation) -> Vec<Revocation> {
    match what {
        Revocation::User(user) => names(user).map(Revocation::User).collect(),
        other => vec![other],
    }
}

const EXAMPLE: &str =
    r#"{"username":"…"}, {"user":"…"}, {"tag":"…"} or {"key":"…"}, if need be with "issuer""#;

/// Serves the admin API until `shutdown` says true or its sender is gone.
pub async fn serve_desk(control: Arc<dyn Control>, listener: UnixListener, shutdown: watch::Receiver<bool>) {
    let revocations = get(list).post(revoke).delete(lift);
    let router = Router::new()
        .route("/v1/sessions", get(sessions))
        .route("/v1/refusals", get(refusals))
        .route("/v1/revocations", revocations.layer(DefaultBodyLimit::max(MAX_BODY)))
        .with_state(control);
    let router = finish(router, "The admin API is at /v1/sessions, /v1/refusals and /v1/revocations.");
    let mut connections = JoinSet::new();
    let stop = super::accept::stopped(shutdown);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD);
            let conversation = server.serve_connection(TokioIo::new(stream), service);
            // Whoever breaks off knows why.
            let _ = tokio::time::timeout(LIFETIME, conversation).await;
        });
    }
    let _ =
        tokio::time::timeout(LAST_REQUEST, async { while connections.join_next().await.is_some() {} }).await;
}

/// What stands in a body. Its form is not told apart from its absence: both are mended by looking at the example.
fn read<'b, T: Deserialize<'b>>(
    body: &'b Result<Bytes, BytesRejection>,
    example: &'static str,
) -> Result<T, Refusal> {
    let bytes = body.as_ref().map_err(|rejection| {
        let too_long = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let (code, message) = if too_long {
            ("body_too_long", "The body of the request is too long.")
        } else {
            ("bad_body", "The body of the request did not come whole.")
        };
        Refusal::new(rejection.status(), code, message).help(format!("Send {example}."))
    })?;
    serde_json::from_slice(bytes).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_body", "The body of the request is not what is asked for.")
            .help(format!("Send {example}."))
    })
}

fn filter(query: Result<Query<Filter>, QueryRejection>) -> Result<Filter, Refusal> {
    query.map(|Query(filter)| filter).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_query", "The query is not understood.")
            .help("It may have user=NAME and limit=NUMBER.")
    })
}

async fn sessions(
    State(control): Desk,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Filter { user, limit } = filter(query)?;
    let limit = limit.unwrap_or(SESSIONS).min(MOST_SESSIONS);
    let mut sessions = Vec::new();
    for user in filters(user) {
        sessions.extend(control.sessions(SessionFilter { user, limit }).await?);
    }
    sessions.truncate(limit);
    Ok(Json(json!({ "sessions": sessions })))
}

async fn refusals(
    State(control): Desk,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Filter { user, limit } = filter(query)?;
    let mut refusals = Vec::new();
    for user in filters(user) {
        refusals.extend(control.refusals(user).await);
    }
    refusals.sort_by(|one, other| other.at.cmp(&one.at));
    refusals.truncate(limit.unwrap_or(usize::MAX));
    Ok(Json(json!({ "refusals": refusals })))
}

async fn list(State(control): Desk) -> Json<Value> {
    Json(json!({ "revocations": control.revocations().await }))
}

async fn revoke(State(control): Desk, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Refusal> {
    let (what, issuer) = read::<Named>(&body, EXAMPLE)?.what()?;
    let mut done = Revoked { allocations_ended: 0, until: None };
    for what in meant(what) {
        let Revoked { allocations_ended, until } = control.revoke(what, issuer.clone()).await?;
        // They are of one kind, so they last equally long.
        done = Revoked { allocations_ended: done.allocations_ended + allocations_ended, until };
    }
    Ok(Json(json!(done)))
}

async fn lift(State(control): Desk, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Refusal> {
    let (what, issuer) = read::<Named>(&body, EXAMPLE)?.what()?;
    let (all, limited) = (meant(what), issuer.is_some());
    let mut lifted = false;
    for what in &all {
        lifted |= control.lift(what.clone(), issuer.clone()).await?;
    }
    if lifted {
        return Ok(Json(json!({ "lifted": true })));
    }
    let revocations = control.revocations().await;
    let is_near = |entry: &RevocationEntry| {
        all.iter().any(|what| what.kind() == entry.kind && what.value() == entry.value)
    };
    let near = revocations.into_iter().find(is_near);
    let help = match near.map(|entry| entry.issuer) {
        Some(Some(issuer)) => format!("There is one limited to key {issuer}: add `--issuer {issuer}`."),
        Some(None) if limited => {
            "There is one that is not limited to a key: leave `--issuer` out.".to_owned()
        }
        _ => "`relais credentials revocations` lists them; kind, value and issuer have to be the same."
            .to_owned(),
    };
    Err(Refusal::new(StatusCode::NOT_FOUND, "not_revoked", "There is no such revocation.").help(help))
}
