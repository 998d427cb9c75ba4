//! What only shows when several keys are looked at together, or the machine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::effect;
use super::listeners;
use super::load::loopback_only;
use super::paths;
use super::place::Place;
use super::problem::Problem;
use super::settings::{Acme, RelayAddress, Rooms, Settings, UserCredential};

/// The longest realm with which a challenge stays at twice the size of the request that asks for it.
const SHORT_REALM: usize = 8;

/// The shortest shared secret that is not worth trying to guess.
const LONG_SECRET: usize = 16;

impl Settings {
    /// Where `key` was set.
    pub(super) fn place(&self, key: &str) -> Place {
        self.source.places.get(key).cloned().unwrap_or(Place::Default)
    }
}

/// Neither users nor secrets, nor keys of tokens, which fewer have.
pub(super) fn nobody(settings: &Settings) -> Problem {
    let place = settings.source.file.clone().map_or(Place::Default, Place::File);
    Problem::error(
        &place,
        "there are neither users nor secrets, so nobody could relay",
        "make a secret with `openssl rand -hex 32` and write in [auth]: secrets = [{ name = \"main\", secret_file = \
         \"/etc/relais/secret\" }]",
    )
}

/// Adds what is wrong across keys.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    listeners::check(settings, problems);
    paths::check(settings, problems);
    tls(settings, problems);
    relay(settings, problems);
    nat_discovery(settings, problems);
    auth(settings, problems);
    http(settings, problems);
    effect::check(settings, problems);
}

fn tls(settings: &Settings, problems: &mut Vec<Problem>) {
    const CURE: &str =
        "write in [tls]: certificate = \"/etc/relais/tls.crt\" and key = \"/etc/relais/tls.key\"";
    let tls = &settings.tls;
    for (written, other, there, missing) in [
        ("tls.certificate", "key", &tls.certificate, &tls.key),
        ("tls.key", "certificate", &tls.key, &tls.certificate),
    ] {
        if there.is_some() && missing.is_none() {
            let message = format!("`{written}` is of no use without `{other}`");
            problems.push(Problem::error(&settings.place(written), message, CURE));
        }
    }
    for (key, addresses) in [("listen.tls", &settings.listen.tls), ("listen.dtls", &settings.listen.dtls)] {
        // An order that is wrong has been told of.
        let ordered =
            settings.source.places.contains_key("tls.acme") && problems.iter().any(Problem::is_error);
        let has_none = !ordered
            && !tls.is_trusted()
            && !tls.self_signed
            && tls.certificate.is_none()
            && tls.key.is_none();
        if !addresses.is_empty() && has_none {
            let message = format!("`{key}` needs a certificate");
            problems.push(Problem::error(&settings.place(key), message, CURE));
        }
    }
    if let Some(acme) = &tls.acme {
        self::acme(acme, settings, problems);
    }
    let host = &settings.http.host;
    if !settings.listen.tls.is_empty()
        && tls.is_trusted()
        && (host.is_empty() || host.parse::<IpAddr>().is_ok())
    {
        problems.push(Problem::warning(
            &settings.place(if host.is_empty() { "listen.tls" } else { "http.host" }),
            "without a host name there are no turns: URLs in iceServers: certificates are for names, and Firefox refuses \
             addresses",
            "write the name that the certificate is for into `http.host`",
        ));
    }
}

/// Finds that what has to outlive a restart has no place. Only who starts the server knows what systemd gives it, so this is
/// for `serve` and `check`, not for commands that merely read the configuration.
pub fn check_state(settings: &Settings) -> Option<Problem> {
    (settings.tls.acme.is_some() && settings.state.is_none()).then(|| {
        Problem::error(
            &settings.place("tls.acme"),
            "`acme` needs a state directory, or authorities refuse after a few starts; without one the server does not start",
            "write `[state] directory = \"/var/lib/relais\"`; or, where systemd gives one with `StateDirectory=`, check with \
             STATE_DIRECTORY=/var/lib/relais",
        )
    })
}

/// What an authority needs to find this server the owner of its names.
fn acme(acme: &Acme, settings: &Settings, problems: &mut Vec<Problem>) {
    let place = settings.place("tls.acme");
    if !cfg!(feature = "acme") {
        problems.push(Problem::error(
            &place,
            "this program was built without ACME",
            "build it with the cargo feature `acme`, or get a certificate by other means and name its files in [tls]",
        ));
    }
    let tls = &settings.listen.tls;
    if !tls.is_empty() && !tls.iter().any(|address| address.port() == 443) {
        problems.push(Problem::warning(
            &place,
            "authorities ask at port 443 (TLS-ALPN-01), and no address of `listen.tls` has it",
            "add \"0.0.0.0:443\" and \"[::]:443\" to `listen.tls`, or see to it that port 443 of the domains is led here",
        ));
    }
    let host = &settings.http.host;
    if settings.tls.pairs().is_empty()
        && !host.is_empty()
        && host.parse::<IpAddr>().is_err()
        && !acme.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host))
    {
        problems.push(Problem::warning(
            &settings.place("http.host"),
            format!("`acme` gets no certificate for {host}, so clients reject the turns: URLs"),
            "add it to `domains`, or write one of them into `http.host`",
        ));
    }
}

fn relay(settings: &Settings, problems: &mut Vec<Problem>) {
    let relay = &settings.relay;
    // What comes to a public address is for one socket, and two local ones would have the same ports in front.
    let unmapped = relay.addresses.iter().filter_map(|address| match address {
        RelayAddress::Ip(local) if !relay.external.contains_key(local) => Some(local),
        _ => None,
    });
    let mut taken: BTreeSet<IpAddr> = unmapped.copied().collect();
    for public in relay.external.values().filter(|public| !taken.insert(**public)) {
        problems.push(Problem::error(
            &settings.place("relay.external"),
            format!("{public} would be the public address of two local ones"),
            "a 1:1 NAT has one public address for each local one: map one of them, and remove the others from `addresses`",
        ));
    }
    if relay.addresses.contains(&RelayAddress::Auto) {
        return;
    }
    for local in relay.external.keys().filter(|local| !relay.addresses.contains(&RelayAddress::Ip(**local))) {
        problems.push(Problem::error(
            &settings.place("relay.external"),
            format!("`external` names {local}, which is not among `relay.addresses`"),
            "the local address comes first: external = { \"local\" = \"public\" }; add it to `addresses` or remove it",
        ));
    }
}

/// RFC 5780 §6: two addresses of a family, and two ports.
fn nat_discovery(settings: &Settings, problems: &mut Vec<Problem>) {
    let discovery = &settings.nat_discovery;
    if discovery.addresses.is_empty() {
        return;
    }
    for ipv4 in [true, false] {
        let count = discovery.addresses.iter().filter(|address| address.is_ipv4() == ipv4).count();
        if count != 0 && count != 2 {
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            problems.push(Problem::error(
                &settings.place("nat_discovery.addresses"),
                format!("NAT behavior discovery needs two {family} addresses, and here is not two but {count}"),
                "write two addresses of this machine, or remove the key: with one address there is no such service",
            ));
        }
    }
    if discovery.ports.len() != 2 {
        problems.push(Problem::error(
            &settings.place("nat_discovery.ports"),
            format!(
                "NAT behavior discovery needs two ports, and here is not two but {}",
                discovery.ports.len()
            ),
            "write for example `ports = [3478, 3479]`",
        ));
    }
}

/// What is wrong with the addresses of a configuration on a machine that has the addresses `local`.
///
/// Apart from [`load`](super::load()), since a configuration can be checked on another machine than its own.
pub fn check_local(settings: &Settings, local: &[IpAddr]) -> Vec<Problem> {
    let list = local.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let there_is = if list.is_empty() { "it has none".to_owned() } else { format!("it has {list}") };
    let mut problems = Vec::new();
    for address in &settings.relay.addresses {
        if let RelayAddress::Ip(address) = address
            && !local.contains(address)
        {
            problems.push(Problem::error(
                &settings.place("relay.addresses"),
                format!("{address} of relay.addresses is not an address of this machine"),
                format!("{there_is}; a public address in front of it goes into `external`"),
            ));
        }
    }
    for address in settings.relay.external.keys().filter(|address| !local.contains(address)) {
        problems.push(Problem::error(
            &settings.place("relay.external"),
            format!("relay.external names {address}, which is not an address of this machine"),
            format!("{there_is}; the local address comes first: external = {{ \"local\" = \"public\" }}"),
        ));
    }
    // All of 127.0.0.0/8 is here, listed or not.
    let foreign = |address: &&IpAddr| !local.contains(address) && !address.is_loopback();
    for address in settings.nat_discovery.addresses.iter().filter(foreign) {
        problems.push(Problem::error(
            &settings.place("nat_discovery.addresses"),
            format!("{address} of nat_discovery.addresses is not an address of this machine"),
            format!("{there_is}; a public address in front of one of them goes into `relay.external`"),
        ));
    }
    problems
}

fn auth(settings: &Settings, problems: &mut Vec<Problem>) {
    let auth = &settings.auth;
    if auth.realm.len() > SHORT_REALM {
        problems.push(Problem::warning(
            &settings.place("auth.realm"),
            format!(
                "a realm of {} bytes makes challenges longer than twice the request, which reflection attacks like",
                auth.realm.len()
            ),
            format!("a realm of at most {SHORT_REALM} bytes does not; clients take any"),
        ));
    }
    if !auth.oauth.is_empty() && auth.server_name().len() > SHORT_REALM {
        problems.push(Problem::warning(
            &settings.place("auth.oauth_server_name"),
            format!(
                "a server name of {} bytes stands in each challenge, whose size reflection attacks like",
                auth.server_name().len()
            ),
            format!("if the authorization server agrees, use a name of at most {SHORT_REALM} bytes"),
        ));
    }
    for secret in &auth.secrets {
        let length = secret.secret.expose().len();
        if length < LONG_SECRET {
            problems.push(Problem::warning(
                &settings.place("auth.secrets"),
                format!(
                    "the secret `{}` has only {length} characters: one captured login lets it be guessed",
                    secret.name
                ),
                "make a longer one: `openssl rand -hex 32`",
            ));
        }
    }
    for user in &auth.users {
        if let UserCredential::Key(key) = &user.credential {
            let (message, cure) = if key.len() == 16 {
                ("an MD5 key only: clients that choose SHA-256 cannot log in", "store the password")
            } else {
                ("a SHA-256 key only: browsers, which use MD5, cannot log in", "store the password")
            };
            problems.push(Problem::warning(
                &settings.place("auth.users"),
                format!("user `{}` has {message}", user.name),
                format!("{cure}, which works with both, by `password` or `password_file`"),
            ));
        }
        let expiry = user.name.split(auth.separator).next().unwrap_or_default();
        if !expiry.is_empty() && expiry.chars().all(|c| c.is_ascii_digit()) {
            problems.push(Problem::warning(
                &settings.place("auth.users"),
                format!("user `{}` looks like a time-limited user name", user.name),
                format!("begin the name with a letter, not with a number and `{}`", auth.separator),
            ));
        }
    }
    if settings.limits.max_lifetime.as_secs() > 3600 {
        problems.push(Problem::warning(
            &settings.place("limits.max_lifetime"),
            "allocations of clients that went away stay longer than the hour that RFC 8656 §7.2 recommends",
            "write `max_lifetime = \"1h\"`; clients refresh in time",
        ));
    }
}

fn http(settings: &Settings, problems: &mut Vec<Problem>) {
    let http = &settings.http;
    if !loopback_only(&http.listen) || settings.shares_tls() && !loopback_only(&settings.listen.tls) {
        // In a trial that is what has been asked for.
        if http.rooms == Rooms::Open && !settings.source.lan {
            problems.push(Problem::warning(
                &settings.place("http.rooms"),
                "signaling rooms are open to everybody who reaches the HTTP server",
                "write `rooms = \"named\"` for rooms that cannot be guessed",
            ));
        }
        if http.open {
            problems.push(Problem::warning(
                &settings.place("http.open"),
                "everybody who reaches the HTTP server gets credentials and can relay at your cost",
                "write `open = false` and list your pages in `origins`",
            ));
        }
    }
    // Allocations at once, each with a rate, bound the volume whatever the budget.
    let unbounded = http.keys.iter().find(|key| {
        key.bytes.is_some() && !key.origins.is_empty() && (key.rate.is_none() || key.quota.is_none())
    });
    if let Some(key) = unbounded {
        problems.push(Problem::warning(
            &settings.place("http.keys"),
            format!(
                "`bytes` of the key `{}` bounds one credential, and whoever visits its pages gets another each second",
                key.name
            ),
            "write `rate` and `quota` beside it, which new credentials do not renew; or give users tokens, which buy their bytes once",
        ));
    }
    let hands_out = [
        ("http.open", http.open),
        ("http.origins", !http.origins.is_empty()),
        ("http.keys", !http.keys.is_empty()),
        ("http.tokens", !http.tokens.is_empty()),
    ];
    let first = hands_out.iter().find(|(_, hands_out)| *hands_out);
    if let Some((key, _)) = first
        && !http.listen.is_empty()
        && settings.auth.secrets.is_empty()
        && !settings.source.zero
    {
        problems.push(Problem::warning(
            &settings.place(key),
            "there is no secret to make credentials with: iceServers will have no TURN",
            "add one to `auth.secrets`; users with passwords are never handed out",
        ));
    }
}
