//! From what a server answered, or did not, to what its operator or user can do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::credentials::Credentials;
use super::session::Session;
use crate::client::uri::Transport;

/// The name of an error of STUN or TURN.
pub(crate) fn name(code: u16) -> &'static str {
    match code {
        300 => "Try Alternate",
        400 => "Bad Request",
        401 => "Unauthenticated",
        403 => "Forbidden",
        420 => "Unknown Attribute",
        437 => "Allocation Mismatch",
        438 => "Stale Nonce",
        440 => "Address Family not Supported",
        441 => "Wrong Credentials",
        442 => "Unsupported Transport Protocol",
        443 => "Peer Address Family Mismatch",
        446 => "Connection Already Exists",
        447 => "Connection Timeout or Failure",
        486 => "Allocation Quota Reached",
        500 => "Server Error",
        508 => "Insufficient Capacity",
        _ => "",
    }
}

/// Why a login was refused with 401.
pub(super) fn unauthenticated(credentials: &Credentials, now_unix: u64) -> String {
    let signed = "the secret that signed it is not, or no longer, the server's (on a Relais server: auth.secrets), or \
                  the credential was revoked (`relais credentials revocations`), or the server expects another separator \
                  between time and user (`relais sessions --refusals` says which)";
    match credentials.expiry() {
        Some(expiry) if expiry <= now_unix => format!(
            "the time-limited credential expired {} ago: get a new one; if it is new, the clock of this machine or of \
             the one that made it is wrong",
            span(now_unix - expiry)
        ),
        Some(expiry) => format!(
            "by this machine's clock the time-limited credential is good for another {}, so {signed}; or the server's \
             clock is ahead: compare `date -u` on both",
            span(expiry - now_unix)
        ),
        None if credentials.is_signed_here => signed.to_owned(),
        None => "the password is wrong, or the server does not know this user (on a Relais server: auth.users; mind \
                 that names and passwords are told apart by case). A password from `credentials new` goes with the whole \
                 `username` beside it, expiry and all"
            .to_owned(),
    }
}

/// What to do about an error other than 401 to a request of this user.
pub(super) fn refused(code: u16, alternate: Option<SocketAddr>) -> String {
    match code {
        300 => match alternate {
            Some(alternate) => format!("the server sends its clients on to {alternate}: probe that one"),
            None => "the server sends its clients on, but does not say where".to_owned(),
        },
        400 => "the server could not make sense of the request; some servers answer 400 where 401 is meant, so look at \
                the user name and the password first, then at the server's log"
            .to_owned(),
        401 => "the server asks again for credentials: its nonces may end at once".to_owned(),
        403 => "the server's policy forbids this to this client or user; its log says which rule".to_owned(),
        420 => "the server does not know an attribute that every TURN client sends: it is very old, or no TURN server".to_owned(),
        437 => "the server believes in another allocation on this port of ours, or lost ours (a restart, or a load \
                balancer that changes the server underway)"
            .to_owned(),
        438 => "the server calls a nonce stale that it has just made: several servers behind one address without a \
                shared nonce key, or a load balancer that does not keep a client on one server"
            .to_owned(),
        440 => "the server relays no IPv4 (on a Relais server: relay.addresses)".to_owned(),
        441 => "the allocation on this port of ours belongs to another user, or the user changed underway".to_owned(),
        442 => "the server does not relay UDP".to_owned(),
        443 => "the peer's address is of another family than the relayed address".to_owned(),
        486 => "this user has as many allocations as allowed (on a Relais server: limits.allocations_per_user); those \
                of clients that left without a word end by themselves within 10 minutes"
            .to_owned(),
        500 => "the server failed inside; its log may say why, and trying again may help".to_owned(),
        508 => "the server has no relay port left (on a Relais server: relay.ports is too narrow, or all are taken), or \
                it cannot open one"
            .to_owned(),
        _ => "the server's log may say why".to_owned(),
    }
}

/// What to do when the peer `peer` was refused with 403. `is_own`: it is a socket of this process.
pub(super) fn forbidden_peer(peer: SocketAddr, is_own: bool) -> String {
    let ip = peer.ip();
    let which = match (is_internal(ip), is_own) {
        (true, _) => "relays rightly refuse private and special addresses: ",
        (false, true) => "the server's rules close the public address of this machine: ",
        (false, false) => "the server's rules close this peer: ",
    };
    format!(
        "{which}if it must be reachable, add \"{ip}\" to peers.allow of a Relais server, and look whether peers.deny \
         has it"
    )
}

/// What to do when a datagram went out and nothing came back.
pub(super) fn no_data(relayed: SocketAddr, server: SocketAddr, arrived: Option<bool>) -> String {
    if is_internal(relayed.ip()) && !is_internal(server.ip()) {
        return private_relay(relayed);
    }
    match arrived {
        Some(true) => format!(
            "the peer got it, but its answer did not reach {relayed}: a firewall in front of the server blocks UDP to \
             the relay ports (on a Relais server: relay.ports, 49152-65535 unless set)"
        ),
        Some(false) => "the peer got nothing: a firewall blocks what the server sends from its relay ports, or the NAT \
                        of this machine lets in nothing from there; --peer with an echo server outside tells which"
            .to_owned(),
        None => "either the peer does not echo (try it with another client), or a firewall blocks UDP from or to the \
                 relay ports (on a Relais server: relay.ports, 49152-65535 unless set)"
            .to_owned(),
    }
}

/// A relayed address that nobody outside reaches.
pub(super) fn private_relay(relayed: SocketAddr) -> String {
    format!(
        "peers cannot reach {}: the server stands behind 1:1 NAT and does not know its public address; on a Relais \
         server set relay.external = {{ \"{0}\" = \"PUBLIC ADDRESS\" }}",
        relayed.ip()
    )
}

/// Nothing came: what was tried, and the likely cause. `what` is what was asked.
pub(super) fn silence(
    session: &Session,
    server: SocketAddr,
    what: &str,
    limit: Duration,
) -> (String, String) {
    if let Some((kind, text)) = session.trouble() {
        return trouble(kind, text, server, session.transport);
    }
    if session.has_foreign() {
        return (
            format!("{server} answers, but not with STUN"),
            "another service listens on this port: look at the port".to_owned(),
        );
    }
    (
        format!("no answer to {what} from {server} ({}) within {}", session.transport, span(limit.as_secs())),
        match session.transport {
            Transport::Udp => format!(
                "the server is not running, listens elsewhere, or a firewall (the host's, or the cloud's security \
                 group) drops UDP port {} on the way there or back",
                server.port()
            ),
            Transport::Tcp | Transport::Tls => {
                "something accepts connections there, but it does not answer STUN".to_owned()
            }
        },
    )
}

/// What the TLS library says of a server that shows the certificate of an authority as its own.
pub(crate) const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// What to do about that.
pub(crate) const CA_CURE: &str = "the server's certificate is that of an authority, which `openssl req -x509` makes, and Firefox \
                                  refuses it too: make it with -addext basicConstraints=critical,CA:FALSE";

/// The network's own errors.
pub(super) fn trouble(
    kind: io::ErrorKind,
    text: &str,
    server: SocketAddr,
    transport: Transport,
) -> (String, String) {
    let protocol = if transport == Transport::Udp { "udp" } else { "tcp" };
    match kind {
        io::ErrorKind::InvalidData if transport.is_tls() && text.contains("CertificateRequired") => (
            format!("TLS with {server} fails: {text}"),
            "the server serves only clients with a certificate of their own, which this command does not show, nor do \
             browsers: probe a listener without (on a Relais server: tls.client_ca asks for them)"
                .to_owned(),
        ),
        io::ErrorKind::InvalidData if transport.is_tls() && text.contains(CA_AS_SERVER) => {
            (format!("TLS with {server} fails: {text}"), CA_CURE.to_owned())
        }
        io::ErrorKind::InvalidData if transport.is_tls() => (
            format!("TLS with {server} fails: {text}"),
            "the certificate must be valid today, be for the name in the URI, and lead to a root that is known here: \
             --ca FILE names others; the server must send the certificates in between as well"
                .to_owned(),
        ),
        io::ErrorKind::ConnectionRefused => (
            format!("{server} is unreachable: nothing listens on {protocol} port {}", server.port()),
            "the machine is there, but the server is not running, listens on another port or address, or a firewall \
             rejects: `ss -lnp` on the server shows who listens"
                .to_owned(),
        ),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => (
            format!("{server} is unreachable: {text}"),
            "there is no route: wrong address, machine down, or this network lacks that address family".to_owned(),
        ),
        io::ErrorKind::TimedOut => (
            format!("{server} is unreachable: no connection within the time"),
            format!("a firewall drops {protocol} port {}, or the machine is down", server.port()),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("{server} is unreachable: {text}"),
            "a firewall of this machine forbids it".to_owned(),
        ),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => (
            format!("{server} closed the connection"),
            format!(
                "the port may {}, or the server refuses this address more connections, or expects a PROXY header from it",
                if transport.is_tls() {
                    "not speak TLS (then it is reached by turn:HOST:PORT?transport=tcp), or belong to another service"
                } else {
                    "belong to another service or want TLS (then it is reached by turns:HOST:PORT)"
                }
            ),
        ),
        _ => (
            format!("{server} is unreachable: {text}"),
            "look at the address and at this machine's network".to_owned(),
        ),
    }
}

/// Whether peers on the Internet cannot reach `ip`.
pub(super) fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_internal(ip.into()),
            None => {
                ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        },
    }
}

/// `3 minutes`.
pub(super) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn credentials(username: &str) -> Credentials {
        Credentials {
            username: username.to_owned(),
            password: Secret::new("wonderland".to_owned()),
            is_signed_here: false,
        }
    }

    #[test]
    fn a_refused_login_is_explained_by_its_clock_first() {
        let told = |username: &str| unauthenticated(&credentials(username), 1_790_000_600);
        assert!(told("1790000000:alice").contains("expired 10 minutes ago"));
        assert!(told("1790001200:alice").contains("good for another 10 minutes"));
        assert!(told("alice").contains("password is wrong"));
    }

    #[test]
    fn spans_are_of_one_unit() {
        assert_eq!(
            [1, 119, 120, 7_199, 7_200, 172_800].map(span),
            ["1 second", "119 seconds", "2 minutes", "119 minutes", "2 hours", "2 days"]
        );
    }

    #[test]
    fn ends_of_a_connection_name_what_a_server_may_have_wanted() {
        let server = "8.8.4.4:5349".parse().unwrap();
        let help = |kind, text: &str| trouble(kind, text, server, Transport::Tls).1;
        let wants = help(io::ErrorKind::InvalidData, "received fatal alert: CertificateRequired");
        assert!(wants.contains("clients with a certificate of their own") && !wants.contains("--ca"));
        assert!(help(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer").contains("--ca"));
        let ca = "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
        assert!(help(io::ErrorKind::InvalidData, ca).contains("CA:FALSE"));
        let ended = help(io::ErrorKind::UnexpectedEof, "");
        assert!(ended.contains("PROXY header") && ended.contains("may not speak TLS"), "{ended}");
        let plain = trouble(io::ErrorKind::UnexpectedEof, "", server, Transport::Tcp).1;
        assert!(plain.contains("want TLS (then it is reached by turns:"), "{plain}");
    }

    #[test]
    fn lost_data_is_explained_by_how_far_it_came() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (private, public, server) =
            (address("10.0.0.5:50000"), address("8.8.4.4:50000"), address("8.8.4.4:3478"));
        assert!(no_data(private, server, Some(true)).contains("relay.external = { \"10.0.0.5\" ="));
        assert!(no_data(private, address("10.0.0.5:3478"), Some(true)).contains("relay.ports"));
        assert!(no_data(public, server, Some(false)).contains("NAT"));
        assert!(no_data(public, server, None).contains("does not echo"));
        assert!(forbidden_peer(address("10.0.0.1:9"), false).contains("\"10.0.0.1\" to peers.allow"));
        assert!(is_internal("100.64.0.1".parse().unwrap()) && !is_internal("100.128.0.1".parse().unwrap()));
        assert!(
            is_internal("::ffff:192.168.1.1".parse().unwrap()) && is_internal("fe80::1".parse().unwrap())
        );
    }
}
