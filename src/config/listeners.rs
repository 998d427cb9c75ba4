//! Listeners that nobody could reach, or that cannot all be open.

use std::net::SocketAddr;

use super::load::loopback_only;
use super::problem::Problem;
use super::settings::{Listen, Settings};

/// Adds what is wrong with addresses to listen on.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    let Listen { udp, tcp, tls, dtls, .. } = &settings.listen;
    if [udp, tcp, tls, dtls].iter().all(|addresses| addresses.is_empty()) {
        problems.push(Problem::error(
            &settings.place("listen.udp"),
            "`listen.udp`, `tcp`, `tls` and `dtls` are all empty: no client could reach the server",
            "write at least `udp = [\"0.0.0.0:3478\"]`",
        ));
    }
    for (key, addresses) in [("listen.udp", udp), ("listen.tcp", tcp), ("listen.tls", tls)] {
        for address in addresses {
            let port = address.port();
            if (1..1024).contains(&port) && port != 80 && port != 443 {
                problems.push(Problem::warning(
                    &settings.place(key),
                    format!("browsers refuse TURN servers on port {port}"),
                    "below 1024 they take only 80 and 443; the usual port is 3478",
                ));
            }
        }
    }
    within_one_list(settings, problems);
    let groups = [
        ("listen.tcp", tcp),
        ("listen.tls", tls),
        ("http.listen", &settings.http.listen),
        ("admin.listen", &settings.admin.listen),
    ];
    for (at, (later, addresses)) in groups.iter().enumerate() {
        for (earlier, others) in groups.iter().take(at) {
            // TCP and TLS are told apart on one socket, but only if it is the same one.
            let shared = |address: SocketAddr, other: SocketAddr| {
                *later == "listen.tls" && *earlier == "listen.tcp" && address == other
            };
            for address in addresses.iter().filter(|address| {
                others.iter().any(|other| collide(**address, *other) && !shared(**address, *other))
            }) {
                let cure = match (*earlier, *later) {
                    ("listen.tcp", "listen.tls") => {
                        "give one of them another port, or write the address exactly as in `listen.tcp`, then one port \
                         serves both"
                    }
                    _ => "give one of them another port",
                };
                problems.push(Problem::error(
                    &settings.place(later),
                    format!("`{later}` wants {address}, which `{earlier}` takes already"),
                    cure,
                ));
            }
        }
    }
    for address in dtls {
        if udp.iter().any(|other| collide(*address, *other) && address != other) {
            problems.push(Problem::error(
                &settings.place("listen.dtls"),
                format!("`listen.dtls` wants {address}, which `listen.udp` takes in part"),
                "write the same address in both, which then serves both, or give one of them another port",
            ));
        }
    }
    if !loopback_only(&settings.admin.listen) {
        problems.push(Problem::warning(
            &settings.place("admin.listen"),
            "health and metrics can be reached from other machines",
            "keep `admin.listen` on loopback, or let a firewall pass your monitoring alone",
        ));
    }
}

/// One address of a list may be part of another: the same one twice is refused where the list is read.
fn within_one_list(settings: &Settings, problems: &mut Vec<Problem>) {
    let listen = &settings.listen;
    for (key, addresses) in [
        ("listen.udp", &listen.udp),
        ("listen.tcp", &listen.tcp),
        ("listen.tls", &listen.tls),
        ("listen.dtls", &listen.dtls),
        ("http.listen", &settings.http.listen),
        ("admin.listen", &settings.admin.listen),
    ] {
        for (at, address) in addresses.iter().enumerate() {
            if let Some(other) = addresses.iter().take(at).find(|other| collide(*address, **other)) {
                problems.push(Problem::error(
                    &settings.place(key),
                    format!("`{key}` wants {address} beside {other}, and one of them holds the other"),
                    "remove one of them: 0.0.0.0 and [::] stand for all addresses of their family",
                ));
            }
        }
    }
}

/// Whether two listeners of a kind cannot both be open.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    // The same link-local address is another one on another interface.
    let is_same = match (a, b) {
        (SocketAddr::V6(a), SocketAddr::V6(b)) => a.ip() == b.ip() && a.scope_id() == b.scope_id(),
        _ => a.ip() == b.ip(),
    };
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (wildcard || is_same)
}
