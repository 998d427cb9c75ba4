//! A trial in the local network (`--lan`): who is in it, and what whoever has started it is told.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use qrcodegen::{QrCode, QrCodeEcc};

use super::self_signed::fingerprint;
use crate::config::{OwnCertificate, Settings};
use crate::net::{self, RelayAddress};
use crate::turn::Transport;

/// Addresses that are never those of strangers: private ones, those of a link, of this machine, and of overlays.
const NEAR: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// Whom pages, rooms and credentials are for. The machine may have an address that the whole internet reaches, and rooms are
/// open to whoever gets here.
pub(super) fn networks() -> Vec<IpNet> {
    around(&net::local_addresses().unwrap_or_default())
}

fn around(own: &[IpAddr]) -> Vec<IpNet> {
    let near = NEAR.iter().filter_map(|text| text.parse().ok());
    // With IPv6 the neighbours have global addresses, too: those of the same /64.
    let beside = own.iter().filter_map(|ip| match ip {
        IpAddr::V6(ip) => Ipv6Net::new(*ip, 64).ok().map(|net| IpNet::V6(net.trunc())),
        // Who calls from there is this machine.
        IpAddr::V4(_) => Some(IpNet::from(*ip)),
    });
    let mut networks: Vec<IpNet> = near.collect();
    for network in beside {
        if !networks.iter().any(|known| known.contains(&network)) {
            networks.push(network);
        }
    }
    networks
}

/// What to do now, and what others can do with this server.
pub(super) fn welcome(
    settings: &Settings,
    bound: &[(Transport, SocketAddr)],
    relay: &[RelayAddress],
    own: Option<&OwnCertificate>,
) -> String {
    let relays: Vec<IpAddr> = relay.iter().map(|address| address.local).collect();
    let addresses = [relays, net::local_addresses().unwrap_or_default()].concat();
    let url = |scheme: &str, listeners: &[SocketAddr]| {
        let place = reached(listeners, &addresses)?;
        let host = settings.http.host.as_str();
        let place = if host.is_empty() { place.to_string() } else { authority(host, place.port()) };
        Some(format!("{scheme}://{place}/"))
    };
    let mut text = "Relais serves a trial to this network, until you stop it with Ctrl-C.\n".to_owned();
    let tls = bound.iter().filter(|(transport, _)| *transport == Transport::Tls);
    let tls: Vec<SocketAddr> = tls.map(|(_, address)| *address).collect();
    let secure = url("https", &tls).filter(|_| settings.shares_tls());
    if let Some(url) = &secure {
        let _ = write!(text, "\nOpen on phones and computers:  {url}\n");
        if stdout().is_terminal()
            && let Some(code) = code(url)
        {
            let _ = write!(text, "\n{code}");
        }
    }
    if let Some(own) = own {
        let _ = write!(
            text,
            "\nThe browser will warn once: nobody vouches for the certificate, since the server has made it itself.\n\
             Go on (\"Advanced\", then \"Proceed\" or \"Accept\") if its SHA-256 fingerprint is this:\n  {}\n",
            fingerprint(own)
        );
        if settings.state.is_none() {
            text.push_str(
                "It is new at each start, and so is the warning; `RELAIS__STATE__DIRECTORY=DIR` keeps it in DIR.\n",
            );
        }
    }
    let plain = url("http", &settings.http.listen);
    if let Some(url) = &plain {
        let _ = write!(text, "\nWithout camera and microphone:  {url}\n");
    }
    if addresses.iter().all(IpAddr::is_loopback) {
        text.push_str(
            "\nThis machine has no address but loopback: connect it to the network, and start again.\n",
        );
    }
    if secure.is_none() && plain.is_none() {
        text.push_str(
            "\nWithout an HTTP server there are no pages, rooms or credentials, so nobody can use it: give `--http-listen`\n\
             an address, or leave it out.",
        );
        return text;
    }
    text.push_str(
        "\nEverybody in this network may join rooms, and relay through this machine: to each other, and to public\n\
         addresses. Other private addresses stay closed. Clients from elsewhere are not served.",
    );
    text
}

/// A host, a name or an address without brackets, with a port, as URLs have them.
pub(super) fn authority(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Where others reach a listener of these: at its own address, or, if it takes all, at one of the machine's, `own`. Port 443 and
/// IPv4 go first, being easier to type, and loopback last.
fn reached(listeners: &[SocketAddr], own: &[IpAddr]) -> Option<SocketAddr> {
    let is_usable =
        |ip: &&IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) && !ip.is_unspecified();
    let places = listeners.iter().flat_map(|listener| {
        let taken = |ip: &&IpAddr| listener.ip().is_unspecified() && ip.is_ipv4() == listener.is_ipv4();
        let at = own.iter().filter(is_usable).filter(taken).copied();
        at.chain(Some(listener.ip()).filter(|ip| !ip.is_unspecified()))
            .map(|ip| SocketAddr::new(ip, listener.port()))
    });
    places.min_by_key(|place| (place.ip().is_loopback(), place.port() != 443, place.is_ipv6()))
}

/// A QR code in half blocks, dark on light whatever the terminal's colours are. `None`: the text is too long.
fn code(text: &str) -> Option<String> {
    const QUIET: i32 = 2;
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let mut drawn = String::new();
    for y in (-QUIET..code.size() + QUIET).step_by(2) {
        drawn.push_str("  \x1b[30;107m");
        for x in -QUIET..code.size() + QUIET {
            drawn.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str("\x1b[0m\n");
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_in_and_strangers_out() {
        let own = ["8.34.2.1", "192.168.1.10", "2001:db8:1:2::10", "fd00::1"].map(|ip| ip.parse().unwrap());
        let networks = around(&own);
        let near = |ip: &str| networks.iter().any(|network| network.contains(&ip.parse::<IpAddr>().unwrap()));
        for ip in [
            "8.34.2.1",
            "192.168.1.77",
            "10.1.2.3",
            "127.0.0.1",
            "::1",
            "fe80::5",
            "fd12::1",
            "2001:db8:1:2:3::4",
        ] {
            assert!(near(ip), "{ip}");
        }
        for ip in ["8.34.2.2", "1.2.3.4", "2001:db8:1:3::4", "2600::1", "172.32.0.1"] {
            assert!(!near(ip), "{ip}");
        }
    }

    #[test]
    fn what_the_trial_offers_is_said_and_no_more() {
        let mut settings = Settings::defaults();
        let told = |settings: &Settings| welcome(settings, &[], &[], None);
        assert!(told(&settings).contains("may join rooms"));
        settings.http.listen.clear();
        let bare = told(&settings);
        assert!(!bare.contains("may join rooms") && bare.contains("--http-listen"), "{bare}");
    }

    #[test]
    fn pages_are_where_something_listens() {
        let own: Vec<IpAddr> =
            ["192.168.1.10", "fe80::1", "fd00::1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).into();
        let at = |listeners: &[&str]| {
            let listeners: Vec<SocketAddr> = listeners.iter().map(|text| text.parse().unwrap()).collect();
            reached(&listeners, &own).map(|place| place.to_string())
        };
        assert_eq!(at(&["[::]:8443", "0.0.0.0:8443"]).as_deref(), Some("192.168.1.10:8443"));
        assert_eq!(at(&["127.0.0.1:8443", "10.0.0.2:8444"]).as_deref(), Some("10.0.0.2:8444"));
        assert_eq!(at(&["0.0.0.0:8443", "10.0.0.2:443"]).as_deref(), Some("10.0.0.2:443"));
        assert_eq!(at(&["[::]:8443"]).as_deref(), Some("[fd00::1]:8443"));
        assert_eq!(at(&["127.0.0.1:8443"]).as_deref(), Some("127.0.0.1:8443"));
        assert_eq!(at(&[]), None);
    }

    #[test]
    fn urls_have_brackets_around_addresses_of_ipv6() {
        let mut settings = Settings::defaults();
        settings.listen.tls = vec!["[::]:8443".parse().unwrap()];
        settings.http.listen = vec!["[::]:8080".parse().unwrap()];
        for (host, shown) in
            [("fd00::1", "[fd00::1]"), ("192.168.1.10", "192.168.1.10"), ("relay.example", "relay.example")]
        {
            host.clone_into(&mut settings.http.host);
            let bound = [(Transport::Tls, settings.listen.tls[0])];
            let relay = [RelayAddress { local: [192, 168, 1, 10].into(), public: [192, 168, 1, 10].into() }];
            let text = welcome(&settings, &bound, &relay, None);
            for url in [format!("https://{shown}:8443/\n"), format!("http://{shown}:8080/\n")] {
                assert!(text.contains(&url), "{url}: {text}");
            }
        }
    }

    #[test]
    fn the_code_is_square_and_quiet_at_its_edges() {
        let drawn = code("https://192.168.1.10:8443/").unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        let width = |line: &str| line.chars().filter(|c| "█▀▄ ".contains(*c)).count() - 2;
        assert!(lines.iter().all(|line| width(line) == width(lines[0])));
        assert_eq!(width(lines[0]).div_ceil(2), lines.len());
        assert!(!lines[0].contains(['█', '▀', '▄']));
        assert!(code(&"x".repeat(5000)).is_none());
    }
}
