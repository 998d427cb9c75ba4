//! Who is calling: from where, under which name for us, and from which page.

use super::admission::Prefix;
use super::error::Refusal;
use super::{Options, Shared};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The other end of the connection; every request carries it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    /// The port here that it has connected to.
    pub(super) port: u16,
    /// Whether TLS ends here. Otherwise it may end at a proxy.
    pub(super) secure: bool,
}

/// How a page relates to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageOrigin {
    /// No browser's page, or one of ours: no Origin was sent.
    None,
    /// The Origin is the host that was asked.
    Same,
    /// The Origin is in the list of the configuration.
    Listed,
    /// Any other page, or an Origin that says nothing (`null`).
    Foreign,
}

/// One request's caller.
#[derive(Debug)]
pub(super) struct Caller {
    /// Who to count by.
    pub(super) prefix: Prefix,
    /// A process on this machine that says nothing of speaking for others: no proxy that names itself or its client, no page
    /// under a name that merely resolves to loopback. A proxy that says neither, as nginx does unless told to, cannot be
    /// told from a program, so this is no identity: it opens nothing that a key or token guards, and is counted.
    pub(super) is_local: bool,
    /// The page that asks.
    pub(super) origin: PageOrigin,
    /// The Origin as sent, to be echoed.
    pub(super) origin_value: Option<HeaderValue>,
    /// The request's host, ready for a URL and without port.
    host: String,
}

impl Caller {
    /// The host to put into `turn:` URLs.
    pub(super) fn turn_host(&self, options: &Options) -> String {
        if options.host.is_empty() { self.host.clone() } else { url_host(&options.host) }
    }

    /// Whether `link` is a web address on the host that was asked, at whatever port.
    pub(super) fn is_own_link(&self, link: &str) -> bool {
        link.split_once("://").is_some_and(|(scheme, rest)| {
            let authority =
                rest.split(['/', '?', '#']).next().and_then(|text| text.parse::<Authority>().ok());
            matches!(scheme, "http" | "https")
                && link.bytes().all(|b| b.is_ascii_graphic())
                && authority.is_some_and(|authority| {
                    !authority.as_str().contains('@') && authority.host().eq_ignore_ascii_case(&self.host)
                })
        })
    }

    /// The Origin as text.
    pub(super) fn origin_text(&self) -> Option<&str> {
        self.origin_value.as_ref()?.to_str().ok()
    }

    fn of(parts: &Parts, options: &Options) -> Result<Self, Refusal> {
        let Some(Remote { address, port, secure }) = parts.extensions.get::<Remote>().copied() else {
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "no_address",
                "The caller is unknown.",
            )
            .help("Please report this as a fault of the server."));
        };
        let remote = address.ip().to_canonical();
        let authority = authority(&parts.headers)?;
        let host = authority.host().to_ascii_lowercase();
        let origin_value = parts.headers.get(header::ORIGIN).map(copied);
        let origin = origin(origin_value.as_ref(), &authority, secure, &options.origins);
        let forwarded = is_forwarded(&parts.headers);
        // A TLS listener is for everybody: what comes to it from loopback may be forwarded, and need not say so.
        let from_loopback = remote.is_loopback() && !secure;
        let is_local = from_loopback
            && !forwarded
            // What speaks HTTP/1.0 today is an older reverse proxy with its defaults, which names neither itself
            // nor its client.
            && parts.version >= Version::HTTP_11
            && is_loopback_host(&host)
            && origin != PageOrigin::Foreign
            && !is_cross_site(&parts.headers);
        let counted = if from_loopback { forwarded_for(&parts.headers).unwrap_or(remote) } else { remote };
        if from_loopback && is_rebound(&parts.headers, &authority, port) && !names_us(&host, options) {
            return Err(host_not_known(
                "Ask for localhost or 127.0.0.1. Behind a reverse proxy: let it send X-Forwarded-For and the \
                 Host that its client sent, or write that name into http.host. A proxy at a port of the same number \
                 needs the latter.",
            ));
        }
        Ok(Self { prefix: Prefix::of(counted), is_local, origin, origin_value, host })
    }
}

/// A value for longer than its request: as it came, it is a part of the whole buffer that was read, and keeps that.
pub(super) fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        Self::of(parts, &shared.options)
    }
}

fn authority(headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let authority: Option<Authority> = host.and_then(|host| host.parse().ok());
    let is_good = |authority: &Authority| {
        let has_port = authority.as_str().len() != authority.host().len();
        !authority.as_str().contains('@')
            && is_host(authority.host())
            && (!has_port || authority.port_u16().is_some())
    };
    authority.filter(is_good).ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad_host",
            "The header Host is missing, doubled or no host name.",
        )
        .help("Send the name or address that the URL has.")
    })
}

/// What a request gets whose Host is missing, doubled or no host (RFC 9112 §3.2, a MUST). HTTP/1.0 knew none. For places that
/// ask no [`Caller`], which says the same.
pub(super) fn bad_host(request: &Request) -> Option<Refusal> {
    let may_lack_it = request.version() < Version::HTTP_11 && !request.headers().contains_key(header::HOST);
    authority(request.headers()).err().filter(|_| !may_lack_it)
}

/// Refuses such requests.
pub(super) async fn check_host(request: Request, next: Next) -> Response {
    match bad_host(&request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

/// Refuses a browser that came to loopback by another name, which would read what is for this machine alone.
pub(super) async fn refuse_rebound_pages(request: Request, next: Next) -> Response {
    let rebound = request.extensions().get::<Remote>().is_some_and(|remote| {
        remote.address.ip().to_canonical().is_loopback()
            && authority(request.headers())
                .is_ok_and(|authority| is_rebound(request.headers(), &authority, remote.port))
    });
    if rebound {
        let help = "Ask for localhost or 127.0.0.1. Behind a reverse proxy: let it send X-Forwarded-For.";
        return host_not_known(help).into_response();
    }
    next.run(request).await
}

/// Whether a browser came straight to this port of loopback under a name that is not loopback's: then a page elsewhere may
/// have bent its own name to lead here. A page can say anything of proxies, but not choose its Host: with this very port,
/// the browser came here itself.
fn is_rebound(headers: &HeaderMap, authority: &Authority, port: u16) -> bool {
    let is_direct = !is_forwarded(headers) || authority.port_u16().unwrap_or(80) == port;
    is_direct && !is_loopback_host(&authority.host().to_ascii_lowercase()) && is_browser(headers)
}

fn host_not_known(help: &'static str) -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "host_not_known",
        "This name is not one that the server goes by, though it leads to this machine's loopback.",
    )
    .help(help)
}

/// Whether `host` is a DNS name, an IPv4 address or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= 253 && name.split('.').all(label)
}

/// An IPv6 address gets the brackets that a URL needs.
fn url_host(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare);
    // RFC 6761 §6.3: every name under localhost is loopback, and browsers do not ask DNS for it.
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether the operator has written this name down.
fn names_us(host: &str, options: &Options) -> bool {
    url_host(&options.host).eq_ignore_ascii_case(host)
        || options.origins.iter().any(|origin| {
            let authority = origin.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok());
            authority.is_some_and(|authority| authority.host().eq_ignore_ascii_case(host))
        })
}

/// Only browsers can be led here by a name that changes its address, and they always say one of these.
fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || headers.contains_key("sec-fetch-site")
        || headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

/// A page elsewhere made the browser ask, without that page's Origin (as an image or a script, say).
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| {
        site != b"same-origin" && site != b"none" && !headers.contains_key(header::ORIGIN)
    })
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        name.starts_with("x-forwarded")
            || name.starts_with("cf-")
            || matches!(name, "forwarded" | "via" | "x-real-ip" | "x-client-ip" | "true-client-ip")
            || matches!(name, "x-original-forwarded-for" | "x-envoy-external-address" | "x-cluster-client-ip")
    })
}

/// Whom the proxy on this machine says it speaks for. In X-Forwarded-For the last address is the one that it has
/// added itself; any before it are hearsay.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back().or_else(|| headers.get("x-real-ip"))?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

fn origin(value: Option<&HeaderValue>, asked: &Authority, secure: bool, listed: &[String]) -> PageOrigin {
    let Some(value) = value else { return PageOrigin::None };
    let Ok(text) = value.to_str() else { return PageOrigin::Foreign };
    if is_same(text, asked, secure) {
        PageOrigin::Same
    } else if listed.iter().any(|listed| listed == text) {
        PageOrigin::Listed
    } else {
        PageOrigin::Foreign
    }
}

/// Whether an Origin names the host and port that were asked. Unless TLS ends here, `secure`, the scheme is not known:
/// TLS may end at a proxy.
fn is_same(origin: &str, asked: &Authority, secure: bool) -> bool {
    let (page, default) = if let Some(rest) = origin.strip_prefix("https://") {
        (rest, 443)
    } else if let Some(rest) = origin.strip_prefix("http://").filter(|_| !secure) {
        (rest, 80)
    } else {
        return false;
    };
    page.parse::<Authority>().is_ok_and(|page| {
        !page.as_str().contains('@')
            && page.host().eq_ignore_ascii_case(asked.host())
            && page.port_u16().unwrap_or(default) == asked.port_u16().unwrap_or(default)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(from: &str, headers: &[(&str, &str)], options: &Options) -> Result<Caller, Refusal> {
        by(from, headers, options, false)
    }

    fn by(from: &str, headers: &[(&str, &str)], options: &Options, secure: bool) -> Result<Caller, Refusal> {
        let mut request = axum::http::Request::builder().uri("/v1/ice-servers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let address = SocketAddr::new(from.parse().unwrap(), 5000);
        parts.extensions.insert(Remote { address, port: 8080, secure });
        Caller::of(&parts, options)
    }

    #[test]
    fn only_a_process_on_this_machine_that_speaks_for_itself_is_local() {
        let options = Options::default();
        let local =
            |from, headers: &[(&str, &str)]| caller(from, headers, &options).is_ok_and(|c| c.is_local);
        for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:80", "app.localhost"] {
            assert!(local("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(local("::1", &[("host", "localhost")]));
        assert!(local("::ffff:127.0.0.1", &[("host", "localhost")]));
        assert!(local("127.0.0.1", &[("host", "localhost:80"), ("origin", "http://localhost")]));
        assert!(!local("192.0.2.1", &[("host", "localhost")]));
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.1"] {
            assert!(!local("127.0.0.1", &[("host", host)]), "{host}");
        }
        for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto", "cf-ray"] {
            assert!(!local("127.0.0.1", &[("host", "localhost"), (header, "127.0.0.1")]), "{header}");
        }
        for origin in ["null", "http://evil.example", "http://localhost:1", "https://localhost:80"] {
            assert!(!local("127.0.0.1", &[("host", "localhost:8080"), ("origin", origin)]), "{origin}");
        }
        assert!(!local("127.0.0.1", &[("host", "localhost"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn a_name_that_leads_to_loopback_is_refused_to_browsers_unless_written_down() {
        let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        assert!(caller("127.0.0.1", &rebound, &Options::default()).is_err());
        for header in ["x-forwarded-for", "via", "forwarded", "x-forwarded-host"] {
            let lie = [rebound[0], rebound[1], (header, "203.0.113.5")];
            assert!(caller("127.0.0.1", &lie, &Options::default()).is_err(), "{header}");
        }
        let proxied =
            [("host", "relay.example"), ("user-agent", "Mozilla/5.0"), ("x-forwarded-for", "203.0.113.5")];
        assert!(caller("127.0.0.1", &proxied, &Options::default()).is_ok());
        let named = Options { host: "evil.example".into(), ..Options::default() };
        assert!(!caller("127.0.0.1", &rebound, &named).unwrap().is_local);
    }

    #[test]
    fn the_proxy_on_this_machine_says_who_called_it() {
        let headers = [("host", "relay.example"), ("x-forwarded-for", "203.0.113.9, 198.51.100.7")];
        let found = caller("127.0.0.1", &headers, &Options::default()).unwrap();
        assert_eq!(found.prefix, Prefix::of("198.51.100.7".parse().unwrap()));
        let found = caller("192.0.2.1", &headers, &Options::default()).unwrap();
        assert_eq!(
            found.prefix,
            Prefix::of("192.0.2.1".parse().unwrap()),
            "anybody else may say what they like"
        );
    }

    #[test]
    fn hosts() {
        for good in ["a", "relay.example", "relay.example.", "192.0.2.1", "[2001:db8::1]", "my_host"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a..b", "-a", "a b", "a?b", "a/b", "[::1", "[x]", "a\"b", "ü"] {
            assert!(!is_host(bad), "{bad}");
        }
        for bad in ["a@b", "a:b:c", "", "x y", "host:99999"] {
            let refused = caller("192.0.2.1", &[("host", bad)], &Options::default());
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
        assert!(caller("192.0.2.1", &[("host", "a"), ("host", "b")], &Options::default()).is_err());
        assert!(caller("192.0.2.1", &[], &Options::default()).is_err());
    }

    #[test]
    fn origins_are_the_same_with_and_without_their_default_port() {
        let same = |origin, host: &str| is_same(origin, &host.parse().unwrap(), false);
        assert!(same("https://relay.example", "relay.example"));
        assert!(same("https://relay.example", "relay.example:443"));
        assert!(same("http://relay.example:8080", "Relay.example:8080"));
        assert!(!same("http://relay.example", "relay.example:8080"));
        assert!(!same("https://relay.example.evil", "relay.example"));
        assert!(!same("https://relay.example@evil", "relay.example"));
        assert!(!same("ftp://relay.example", "relay.example"));
        assert!(!same("null", "null"));
    }

    #[test]
    fn where_tls_ends_here_pages_are_secure_and_nobody_is_local() {
        let options = Options::default();
        let asked: Authority = "relay.example:5349".parse().unwrap();
        assert!(is_same("https://relay.example:5349", &asked, true));
        assert!(!is_same("http://relay.example:5349", &asked, true));
        let headers = [("host", "localhost:5349"), ("x-forwarded-for", "198.51.100.7")];
        let found = by("127.0.0.1", &headers[..1], &options, true).unwrap();
        assert!(!found.is_local);
        let found = by("127.0.0.1", &headers, &options, true).unwrap();
        assert!(found.prefix.is_loopback(), "anybody may say what they like");
    }

    #[test]
    fn the_configured_host_wins_and_gets_its_brackets() {
        let headers = [("host", "relay.example:8080")];
        let found = caller("192.0.2.1", &headers, &Options::default()).unwrap();
        assert_eq!(found.turn_host(&Options::default()), "relay.example");
        let fixed = Options { host: "2001:db8::1".into(), ..Options::default() };
        assert_eq!(found.turn_host(&fixed), "[2001:db8::1]");
    }
}
