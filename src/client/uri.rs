//! `stun:`, `stuns:`, `turn:` and `turns:` URIs (RFC 7064, RFC 7065).

use core::fmt;
use core::net::Ipv6Addr;

/// The port of `stun:` and `turn:` URIs that name none.
const DEFAULT_PORT: u16 = 3478;
/// The same of `stuns:` and `turns:`.
const DEFAULT_TLS_PORT: u16 = 5349;

/// What can be written.
const FORMS: &str = "write turn:HOST:PORT, stun:HOST:PORT, or turns:HOST:PORT, stuns:HOST:PORT for TLS";

/// What a server is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `stun:` and `stuns:`.
    Stun,
    /// `turn:` and `turns:`.
    Turn,
}

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Whether a certificate says who the server is.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// A URI of a server (RFC 7064 §3, RFC 7065 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// STUN or TURN.
    pub service: Service,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port, that of the scheme when none is written (RFC 7065 §3.2).
    pub port: u16,
    /// The way to the server.
    pub transport: Transport,
}

/// Why a URI cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The URI is right, but beyond these commands: DTLS.
    pub is_beyond: bool,
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> Unusable {
    Unusable { message: message.into(), help: help.into(), is_beyond: false }
}

/// `text` as it may be printed: what stands before an `@` may be a password.
pub fn printable(text: &str) -> String {
    let text: String = text.chars().flat_map(char::escape_debug).collect();
    match (text.split_once(':'), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}:***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
        (_, None) => text,
    }
}

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong("there is no scheme", FORMS));
        };
        if rest.contains('@') {
            return Err(wrong(
                "there are credentials in the URI, which these URIs cannot carry",
                "give --user with --password-file, or `username` and `credential` beside `urls`",
            ));
        }
        let (service, is_secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (Service::Stun, false),
            "stuns" => (Service::Stun, true),
            "turn" => (Service::Turn, false),
            "turns" => (Service::Turn, true),
            _ => {
                return Err(wrong("the scheme is none of stun, stuns, turn and turns", FORMS));
            }
        };
        if let Some(rest) = rest.strip_prefix("//") {
            return Err(wrong(
                "these URIs have no `//`, and browsers refuse them with it",
                format!("write {scheme}:{}", rest.trim_end_matches('/')),
            ));
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let transport = transport(service, query, is_secure)?;
        let (host, port) = host_and_port(authority)?;
        let default = if is_secure { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        Ok(Self { service, host, port: port.unwrap_or(default), transport })
    }
}

fn transport(service: Service, query: Option<&str>, is_secure: bool) -> Result<Transport, Unusable> {
    match (service, query) {
        (_, None) if is_secure => Ok(Transport::Tls),
        (_, None) => Ok(Transport::Udp),
        (Service::Stun, Some(_)) => Err(wrong(
            "stun: and stuns: URIs have no `?`, and browsers refuse them with one",
            "leave out `?` and all behind",
        )),
        (Service::Turn, Some(query)) => match query.to_ascii_lowercase().as_str() {
            "transport=udp" if is_secure => Err(Unusable {
                message: "turns: with ?transport=udp is DTLS, which this command does not speak".to_owned(),
                help: "the probe speaks no DTLS; try turnutils_uclient -S. Browsers speak none either: ?transport=tcp is \
                       TLS, and that can be probed"
                    .to_owned(),
                is_beyond: true,
            }),
            "transport=udp" => Ok(Transport::Udp),
            "transport=tcp" if is_secure => Ok(Transport::Tls),
            "transport=tcp" => Ok(Transport::Tcp),
            _ => Err(wrong("only ?transport=udp and ?transport=tcp exist", "write one of them, or neither")),
        },
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), Unusable> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, port.get(1..)),
            _ => {
                return Err(wrong(
                    "the bracket does not close",
                    "write an IPv6 address as [2001:db8::1]:3478",
                ));
            }
        },
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong(
                    "an IPv6 address stands without brackets",
                    "write an IPv6 address as [2001:db8::1]:3478",
                ));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if authority.starts_with('[') && host.parse::<Ipv6Addr>().is_err() {
        return Err(wrong("what the brackets hold is no IPv6 address", "write it as [2001:db8::1]:3478"));
    }
    if host.is_empty() {
        return Err(wrong("there is no host", "write turn:HOST:PORT or stun:HOST:PORT"));
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(wrong(
            "the host holds characters that no name has",
            "write turn:HOST:PORT, without a path",
        ));
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(wrong("the port is not a number from 1 to 65535", "write turn:HOST:3478")),
        },
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7065_uris_and_their_defaults() {
        let uri = |text: &str| {
            let uri = Uri::parse(text).unwrap();
            (uri.service, uri.host, uri.port, uri.transport)
        };
        let turn = |host: &str, port, transport| (Service::Turn, host.to_owned(), port, transport);
        assert_eq!(uri("turn:relay.example.org"), turn("relay.example.org", 3478, Transport::Udp));
        assert_eq!(uri("TURN:192.0.2.1:443?transport=tcp"), turn("192.0.2.1", 443, Transport::Tcp));
        assert_eq!(uri("turn:[2001:db8::1]"), turn("2001:db8::1", 3478, Transport::Udp));
        assert_eq!(uri("turn:[2001:db8::1]:53?transport=udp"), turn("2001:db8::1", 53, Transport::Udp));
        assert_eq!(uri("turns:h"), turn("h", 5349, Transport::Tls));
        assert_eq!(uri("turns:h:443?transport=tcp"), turn("h", 443, Transport::Tls));
        assert_eq!(uri("stuns:h"), (Service::Stun, "h".to_owned(), 5349, Transport::Tls));
        assert_eq!(uri("stun:h:19302"), (Service::Stun, "h".to_owned(), 19302, Transport::Udp));
    }

    #[test]
    fn what_browsers_refuse_is_told_with_its_cure() {
        let help = |text: &str| Uri::parse(text).unwrap_err().help;
        assert_eq!(help("turn://relay.example.org:3478"), "write turn:relay.example.org:3478");
        assert!(help("2001:db8::1").contains("turn:HOST:PORT"));
        assert!(help("turn:2001:db8::1").contains('['));
        for text in [
            "",
            "turn",
            "turn:",
            "http:h",
            "turn:h:0",
            "turn:h:99999",
            "turn:h:",
            "turn:[::1",
            "turn:[::1]x",
            "turn:h?transport=sctp",
            "stun:h?transport=udp",
            "turn:a b",
            "turn:h/path",
            "turn:[h]",
        ] {
            assert!(!Uri::parse(text).unwrap_err().is_beyond, "{text}");
        }
        assert!(Uri::parse("turns:h:5349?transport=udp").unwrap_err().is_beyond);
        assert!(help("turns:h:5349?transport=udp").contains("turnutils_uclient -S"));
        for text in ["h", "http:h"] {
            assert!(
                ["turn:", "stun:", "turns:", "stuns:"].iter().all(|form| help(text).contains(form)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_in_a_uri_is_not_repeated() {
        let error = Uri::parse("turn:alice:wonderland@h").unwrap_err();
        assert!(!format!("{error:?}{}", printable("turn:alice:wonderland@h")).contains("wonder"));
        assert_eq!(printable("turn:h"), "turn:h");
    }
}
