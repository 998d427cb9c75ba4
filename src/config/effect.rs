//! Settings that are right and do nothing, since another one that they need is missing.

use super::place::Place;
use super::problem::Problem;
use super::settings::{RedirectWhen, Settings};

/// Adds a warning for each.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    let Settings { listen, redirect, auth, nat_discovery, relay, http, .. } = settings;
    let unheard = listen.tls.is_empty() && listen.dtls.is_empty();
    const LISTENER: &str = "write in [listen]: tls = [\"0.0.0.0:5349\", \"[::]:5349\"]";
    let mut idle = |idle: bool, key: &str, message: &str, cure: &str| {
        if idle {
            problems.push(Problem::warning(&settings.place(key), message, cure));
        }
    };
    idle(
        !settings.tls.pairs().is_empty() && unheard,
        if settings.tls.certificate.is_some() { "tls.certificate" } else { "tls.certificates" },
        "the certificates of [tls] have no effect without a listener",
        LISTENER,
    );
    idle(
        settings.tls.makes_own() && unheard,
        "tls.self_signed",
        "`tls.self_signed` has no effect without a listener",
        LISTENER,
    );
    idle(
        settings.tls.self_signed && settings.tls.is_trusted(),
        "tls.self_signed",
        "`tls.self_signed` has no effect beside other certificates",
        "remove it",
    );
    idle(
        settings.tls.acme.is_some() && listen.tls.is_empty(),
        "tls.acme",
        "`tls.acme` has no effect without a TLS listener, at which the authority asks",
        "write in [listen]: tls = [\"0.0.0.0:443\", \"[::]:443\"]",
    );
    const SERVERS: &str = "name the other servers in `redirect.servers`, or remove it";
    idle(
        redirect.servers.is_empty() && redirect.when != RedirectWhen::default(),
        "redirect.when",
        "`redirect.when` has no effect without `redirect.servers`",
        SERVERS,
    );
    idle(
        redirect.servers.is_empty() && !redirect.domain.is_empty(),
        "redirect.domain",
        "`redirect.domain` has no effect without `redirect.servers`",
        SERVERS,
    );
    idle(
        relay.tcp && listen.tcp.is_empty() && listen.tls.is_empty(),
        "relay.tcp",
        "`relay.tcp` has no effect: only clients that come by TCP or TLS get TCP relayed",
        "write addresses into `listen.tcp` or `listen.tls`",
    );
    idle(
        auth.oauth.is_empty() && !auth.oauth_server_name.is_empty(),
        "auth.oauth_server_name",
        "`oauth_server_name` has no effect without keys in `oauth`",
        "write oauth = [{ kid = \"2026-11\", key_file = \"/etc/relais/oauth\" }], or remove it",
    );
    for (key, is_empty) in [("http.keys", http.keys.is_empty()), ("http.tokens", http.tokens.is_empty())] {
        idle(
            !is_empty && http.listen.is_empty(),
            key,
            &format!("`{key}` has no effect: the HTTP server is switched off"),
            "write addresses into `http.listen`, such as [\"127.0.0.1:8080\"]",
        );
    }
    let taken = nat_discovery.ports.iter().filter(|port| relay.ports.contains(port));
    for port in taken.filter(|_| !nat_discovery.addresses.is_empty()) {
        problems.push(Problem::warning(
            &settings.place("nat_discovery.ports"),
            format!("port {port} of NAT behavior discovery lies within `relay.ports`"),
            "take ports outside of that range, such as `ports = [3478, 3479]`",
        ));
    }
}

/// Warns of keys of access tokens that have expired by `now_unix`, in seconds.
pub fn check_expiry(settings: &Settings, now_unix: u64) -> Vec<Problem> {
    let place: Place = settings.place("auth.oauth");
    let expired = settings.auth.oauth.iter().filter(|key| key.expires.is_some_and(|end| end <= now_unix));
    expired
        .map(|key| {
            let message = format!("the key `{}` of `oauth` has expired: it opens no token", key.kid);
            Problem::warning(&place, message, "remove it, or correct `expires`: seconds since 1970")
        })
        .collect()
}
