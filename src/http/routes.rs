//! The addresses of all dialects: how each is asked and logged in to, and the form of its answer.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::access::Presented;
use super::caller::{self, Caller};
use super::control::{ControlError, Revocation, Revoked};
use super::dialects::{Dialect, cloudflare, link, matrix, metered, native, twilio, uberti, xirsys};
use super::error::Refusal;
use super::fields::{Fields, bad};
use super::grant::IceGrant;
use super::ice::{self, Holder, Wish};
use super::{Shared, SharedState, cors, page, wrong_method};
use crate::auth::{Network, Policy};

/// The routes of the dialects that are enabled, the front page among them: one dialect lives there.
pub(super) fn routes(dialects: &[Dialect]) -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for dialect in dialects {
        router = match dialect {
            Dialect::Native => router
                .route("/v1/ice-servers", get(native_ice).post(native_ice).options(native_options))
                .route("/v1/revoke", with_preflight(post(native_revoke), "POST")),
            Dialect::Cloudflare => {
                let base = "/v1/turn/keys/{key}/credentials";
                router
                    .route(
                        &format!("{base}/generate-ice-servers"),
                        with_preflight(post(cloudflare_ice), "POST"),
                    )
                    .route(&format!("{base}/generate"), with_preflight(post(cloudflare_one), "POST"))
                    .route(
                        &format!("{base}/{{username}}/revoke"),
                        with_preflight(post(cloudflare_revoke), "POST"),
                    )
            }
            Dialect::Twilio => router
                .route("/2010-04-01/Accounts/{sid}/Tokens.json", with_preflight(post(twilio_token), "POST")),
            Dialect::Metered => router
                .route("/api/v1/turn/credentials", with_preflight(get(metered_list), "GET"))
                .route("/api/v1/turn/credential", with_preflight(post(metered_create), "POST")),
            Dialect::Xirsys => router.route("/_turn/{*channel}", with_preflight(put(xirsys_ice), "PUT")),
            Dialect::Uberti => {
                router.route("/turn", with_preflight(get(uberti_ice).post(uberti_ice), "GET, POST"))
            }
            Dialect::Matrix => ["/_matrix/client/v3/voip/turnServer", "/_matrix/client/r0/voip/turnServer"]
                .iter()
                .fold(router, |router, path| router.route(path, with_preflight(get(matrix_ice), "GET"))),
        };
    }
    let uberti = dialects.contains(&Dialect::Uberti);
    let front = get(move |state: SharedState, request: Request| front(uberti, state, request));
    router.route("/", if uberti { front.post(uberti_posted) } else { front })
}

/// The route, with an answer for the pages that ask whether they may.
pub(super) fn with_preflight(
    route: MethodRouter<Arc<Shared>>,
    methods: &'static str,
) -> MethodRouter<Arc<Shared>> {
    route.options(move |State(shared): SharedState, caller: Caller| async move {
        cors::preflight_with_keys(&shared, &caller, methods)
    })
}

/// A request, read.
struct Ask {
    shared: Arc<Shared>,
    dialect: Dialect,
    caller: Caller,
    headers: HeaderMap,
    fields: Fields,
}

type Answer = Result<Response, Refusal>;

impl Ask {
    /// Reads a request; an answer if it cannot be read.
    async fn read(shared: Arc<Shared>, dialect: Dialect, request: Request) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, &shared).await;
        let caller = caller.map_err(|refusal| {
            shared.stats.grants_refused().count(refusal.code());
            dialect.refuse(refusal)
        })?;
        let (query, deadline) = (parts.uri.query(), shared.options.limits.body_deadline);
        let fields = Fields::read(query, &parts.headers, body, deadline).await;
        let ask = Self { shared, dialect, caller, headers: parts.headers, fields: Fields::default() };
        match fields {
            Ok(fields) => Ok(Self { fields, ..ask }),
            Err(refusal) => Err(ask.finish(Err(refusal))),
        }
    }

    /// The answer with all its headers.
    fn finish(&self, answer: Answer) -> Response {
        let mut response = answer.unwrap_or_else(|refusal| {
            let (client, now) = (self.caller.prefix.address(), self.shared.ice.now_unix());
            self.shared.stats.grants_refused().count(refusal.code());
            self.shared.refusals.tell(client, self.dialect, refusal.cause(), now);
            self.dialect.refuse(refusal)
        });
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        cors::share_with_keys(headers, &self.shared, &self.caller);
        response
    }

    async fn admit(&self, presented: Option<Presented>) -> Result<Holder, Refusal> {
        ice::admit(&self.shared, &self.caller, self.dialect, presented).await
    }

    async fn grant(&self, presented: Option<Presented>, wish: Wish) -> Result<IceGrant, Refusal> {
        let holder = self.admit(presented).await?;
        ice::grant(&self.shared, &self.caller, holder, wish).await
    }

    /// What `Authorization` brings: a bearer's secret, or a name with a secret. What is not understood is a secret that
    /// nobody has.
    fn authorization(&self, names: &[&str]) -> Option<Presented> {
        let mut all = self.headers.get_all(header::AUTHORIZATION).iter();
        let (first, more) = (all.next()?, all.next());
        let text = first.to_str().ok().filter(|_| more.is_none()).unwrap_or_default();
        let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Presented::bearer(names, value.trim()));
        }
        let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(value.trim()).ok()).flatten();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
        let (name, secret) = pair.split_once(':').unwrap_or_default();
        names.push(name.to_owned());
        Some(Presented::key(names, secret))
    }

    /// The same where names are said by Basic alone, or not at all.
    fn any_credentials(&self) -> Result<Option<Presented>, Refusal> {
        if let Some(found) = self.authorization(&[]) {
            return Ok(Some(found));
        }
        if let Some(key) = self.headers.get("x-api-key") {
            return Ok(Some(Presented::key(vec![], key.to_str().unwrap_or_default())));
        }
        self.key_field(&["apiKey", "key"])
    }

    /// A key among the fields.
    fn key_field(&self, names: &[&str]) -> Result<Option<Presented>, Refusal> {
        for name in names {
            if let Some(key) = self.fields.text(name)? {
                return Ok(Some(Presented::key(vec![], key)));
            }
        }
        Ok(None)
    }

    fn wish(&self, ttl: &str, user: &str) -> Result<Wish, Refusal> {
        Ok(Wish { ttl: self.fields.number(ttl)?, user: self.fields.text(user)?, policy: Policy::default() })
    }
}

fn json_answer(status: StatusCode, body: Value) -> Answer {
    Ok((status, Json(body)).into_response())
}

/// Reads the request, lets the dialect answer, and puts the headers on.
macro_rules! answer {
    ($shared:expr, $dialect:ident, $request:expr, |$ask:ident| $answer:expr) => {
        match Ask::read($shared, Dialect::$dialect, $request).await {
            Ok($ask) => {
                let answer: Answer = $answer.await;
                $ask.finish(answer)
            }
            Err(response) => response,
        }
    };
}

async fn native_ice(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Native, request, |ask| async {
        let grant = native_grant(&ask).await?;
        let mut response = Json(native::render(&grant)).into_response();
        link::add(response.headers_mut(), &grant);
        Ok(response)
    })
}

async fn native_grant(ask: &Ask) -> Result<IceGrant, Refusal> {
    ask.fields.only(&["ttl", "user", "tag", "rate", "bytes", "allocations", "peers", "apiKey", "key"])?;
    let fields = &ask.fields;
    let peers: Option<Vec<Network>> = fields.list("peers")?.iter().map(|peer| peer.parse().ok()).collect();
    let fits = |tag: &String| tag.len() <= 64 && !tag.contains(char::is_control);
    let policy = Policy {
        tag: match fields.text("tag")? {
            Some(tag) if !fits(&tag) => return Err(bad("tag", "takes 64 bytes without control characters")),
            tag => tag,
        },
        rate: fields.number("rate")?,
        bytes: fields.number("bytes")?,
        allocations: match fields.number("allocations")?.map(u32::try_from) {
            Some(Err(_)) => return Err(bad("allocations", "takes a number below 2^32")),
            allocations => allocations.and_then(Result::ok),
        },
        peers: peers.filter(|peers| peers.len() <= 8).ok_or_else(|| {
            bad("peers", "takes up to 8 addresses and networks, these without bits behind their prefix")
        })?,
        ..Policy::default()
    };
    let wish = Wish { policy, ..ask.wish("ttl", "user")? };
    ask.grant(ask.any_credentials()?, wish).await
}

/// What a browser asks first, and, with credentials, what a WHIP client asks for `Link` headers.
async fn native_options(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Native, request, |ask| async {
        let mut response = cors::preflight_with_keys(&ask.shared, &ask.caller, "GET, POST");
        if ask.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return Ok(response);
        }
        match native_grant(&ask).await {
            Ok(grant) => link::add(response.headers_mut(), &grant),
            Err(refusal) if ask.any_credentials()?.is_some() => return Err(refusal),
            Err(_) => {}
        }
        Ok(response)
    })
}

async fn native_revoke(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Native, request, |ask| async {
        ask.fields.only(&["username", "user", "tag", "apiKey", "key"])?;
        let [username, user, tag] = [
            ask.fields.text("username")?.map(Revocation::Username),
            ask.fields.text("user")?.map(|user| ice::user_name(&user).map(Revocation::User)).transpose()?,
            ask.fields.text("tag")?.map(Revocation::Tag),
        ];
        let ((Some(what), None, None) | (None, Some(what), None) | (None, None, Some(what))) =
            (username, user, tag)
        else {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "revoke_what",
                "It is not clear what to revoke.",
            )
            .help(r#"Send one of {"username":"…"}, {"user":"…"} and {"tag":"…"}."#));
        };
        let presented = ask.any_credentials()?;
        let revoked = revoke(&ask, presented, what).await?;
        json_answer(StatusCode::OK, json!(revoked))
    })
}

/// Revokes what the key that asks has bought; whether there was anything is not told.
async fn revoke(ask: &Ask, presented: Option<Presented>, what: Revocation) -> Result<Revoked, Refusal> {
    // Without a key nobody is let in here, whoever may have iceServers.
    let presented = Some(presented.unwrap_or_else(|| Presented::key(vec![], "")));
    let key = match ask.admit(presented).await? {
        Holder::Right(right) if !right.is_public() => right.key,
        _ => None,
    };
    let Some(key) = key else {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "not_yours_to_revoke", "A token or a public key revokes nothing.")
            .help("Use a key of http.keys that only your servers have, or `relais credentials revoke` on the server."));
    };
    ask.shared.control.revoke(what, Some(key)).await.map_err(|error| match error {
        ControlError::Full => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "revocations_full", "No more can be revoked now.")
            .help("A key has room for 2,000, each until its credential ends: revoke a user or a tag instead of each credential."),
        ControlError::BadValue => bad("username, user or tag", "is empty or longer than any user name"),
        ControlError::NotKept => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", "It is revoked, but a restart would forget that.")
            .help("The server cannot write into its state directory; the log says why."),
        ControlError::Silent => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "worker_silent", "A worker did not answer in time.")
            .help("Revoke it again."),
    })
}

/// What stands in a path, if it is text.
type Named<T> = Result<Path<T>, PathRejection>;

fn named<T>(path: Named<T>) -> Result<T, Refusal> {
    path.map(|Path(named)| named).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_form", "A name or value is not percent-encoded well.")
            .help("It stands in the path, and is UTF-8 as soon as it is decoded.")
    })
}

async fn cloudflare_grant(ask: &Ask, key: Named<String>) -> Result<IceGrant, Refusal> {
    let key = named(key)?;
    ask.grant(ask.authorization(&[&key]), ask.wish("ttl", "customIdentifier")?).await
}

async fn cloudflare_ice(State(shared): SharedState, key: Named<String>, request: Request) -> Response {
    answer!(shared, Cloudflare, request, |ask| async {
        json_answer(StatusCode::CREATED, cloudflare::render(&cloudflare_grant(&ask, key).await?))
    })
}

async fn cloudflare_one(State(shared): SharedState, key: Named<String>, request: Request) -> Response {
    answer!(shared, Cloudflare, request, |ask| async {
        json_answer(StatusCode::CREATED, cloudflare::render_one(&cloudflare_grant(&ask, key).await?))
    })
}

async fn cloudflare_revoke(
    State(shared): SharedState,
    path: Named<(String, String)>,
    request: Request,
) -> Response {
    answer!(shared, Cloudflare, request, |ask| async {
        let (key, username) = named(path)?;
        revoke(&ask, ask.authorization(&[&key]), Revocation::Username(username)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

async fn twilio_token(State(shared): SharedState, sid: Named<String>, request: Request) -> Response {
    answer!(shared, Twilio, request, |ask| async {
        let sid = named(sid)?;
        let grant = ask.grant(ask.authorization(&[&sid]), ask.wish("Ttl", "")?).await?;
        json_answer(StatusCode::CREATED, twilio::render(&grant, &sid))
    })
}

async fn metered_list(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Metered, request, |ask| async {
        let key = ask.fields.text("apiKey")?;
        let grant = match key.as_deref().and_then(metered::credential_of) {
            Some((username, credential)) => {
                ice::recall(&ask.shared, &ask.caller, ask.dialect, &username, &credential).await?
            }
            None => ask.grant(ask.key_field(&["apiKey", "secretKey"])?, Wish::default()).await?,
        };
        json_answer(StatusCode::OK, metered::render(&grant))
    })
}

async fn metered_create(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Metered, request, |ask| async {
        let wish = ask.wish("expiryInSeconds", "label")?;
        let label = wish.user.clone();
        let grant = ask.grant(ask.key_field(&["secretKey", "apiKey"])?, wish).await?;
        json_answer(StatusCode::OK, metered::render_created(&grant, label.as_deref()))
    })
}

async fn xirsys_ice(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Xirsys, request, |ask| async {
        // What Xirsys' clients send besides means nothing here.
        let one = match ask.fields.text("format")?.as_deref() {
            None => false,
            Some("urls") => true,
            Some(_) => return Err(bad("format", "knows no other value than urls")),
        };
        let grant = ask.grant(ask.authorization(&[]), ask.wish("expire", "")?).await?;
        json_answer(StatusCode::OK, if one { xirsys::render_one(&grant) } else { xirsys::render(&grant) })
    })
}

async fn uberti_ice(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Uberti, request, |ask| async {
        if ask.fields.text("service")?.is_some_and(|service| service != "turn") {
            return Err(bad("service", "knows no other value than turn"));
        }
        let presented = match ask.authorization(&[]) {
            Some(presented) => Some(presented),
            None => ask.key_field(&["key", "api"])?,
        };
        let grant = ask.grant(presented, ask.wish("ttl", "username")?).await?;
        json_answer(StatusCode::OK, uberti::render(&grant))
    })
}

async fn matrix_ice(State(shared): SharedState, request: Request) -> Response {
    answer!(shared, Matrix, request, |ask| async {
        let grant = ask.grant(ask.authorization(&[]), Wish::default()).await?;
        json_answer(StatusCode::OK, matrix::render(&grant))
    })
}

/// The trial page, or, with `?service=turn`, what draft-uberti has at this place.
async fn front(uberti: bool, state: SharedState, request: Request) -> Response {
    if uberti && asks_for_turn(&request) {
        return uberti_ice(state, request).await;
    }
    match caller::bad_host(&request) {
        Some(refusal) => refusal.into_response(),
        None => page::index(),
    }
}

/// At the place of the trial page only draft-uberti takes a POST.
async fn uberti_posted(state: SharedState, request: Request) -> Response {
    if asks_for_turn(&request) {
        return uberti_ice(state, request).await;
    }
    ([(header::ALLOW, "GET,HEAD")], wrong_method()).into_response()
}

fn asks_for_turn(request: &Request) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "service=turn"))
}
