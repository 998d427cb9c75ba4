//! The keys of TLS and of load balancers, each on the running server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use relais::wire::attr;

use crate::certificates::{Authority, Files};
use crate::live::{Client, Link, SOON, Server, TlsLink, http};
use crate::secure::{NAME, Secure};

#[test]
pub(crate) fn listen_tls_is_where_tls_is_spoken() {
    let secure = Secure::start(&[("listen.tls", r#"["OWN:5349", "OWN:5350"]"#)]);
    for port in [5349, 5350] {
        let mut client = Client::tls((secure.server.ip, port).into(), NAME, secure.config());
        assert_eq!(client.binding().code(), 0);
    }
    let none = Server::start(&[]);
    assert!(TcpStream::connect((none.ip, 5349)).is_err());
}

#[test]
pub(crate) fn listen_proxy_from_is_who_may_speak_for_others() {
    const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 3478\r\n";
    let server = Server::start(&[("listen.proxy_from", r#"["127.0.0.0/24"]"#)]);
    let mut client = server.tcp();
    client.send(HEADER);
    let seen: SocketAddr = client.binding().address(attr::XOR_MAPPED_ADDRESS);
    assert_eq!(seen.to_string(), "198.51.100.7:40000");
    let mut mapped = server.tcp();
    mapped.send(b"PROXY TCP6 ::ffff:198.51.100.8 ::ffff:192.0.2.1 40000 3478\r\n");
    let seen: SocketAddr = mapped.binding().address(attr::XOR_MAPPED_ADDRESS);
    assert_eq!(seen.to_string(), "198.51.100.8:40000", "IPv4, however it is written");
    let mut silent = server.tcp();
    let request = silent.write(relais::wire::method::BINDING, |_| {});
    silent.send(&request);
    assert!(silent.is_closed_within(SOON), "without a header");
    let none = Server::start(&[]);
    let stranger = none.tcp();
    stranger.send(HEADER);
    assert!(stranger.is_closed_within(SOON), "a header from anybody");
}

#[test]
pub(crate) fn tls_certificate_and_key_are_what_clients_see() {
    let secure = Secure::start(&[]);
    let link = secure.shake(&[]).unwrap();
    let stream = link.stream.read().unwrap();
    let seen = stream.conn.peer_certificates().unwrap()[0].clone();
    let file = std::fs::read_to_string(secure.files.path().join("own.crt")).unwrap();
    let file = crate::certificates::Pair { certificate: file, key: String::new() };
    assert_eq!(seen, file.der());
    let (authority, files) = (Authority::new("Other"), Files::new("options-key"));
    let [certificate, _] = files.pair("a", &authority.issue(&[NAME]));
    let [_, key] = files.pair("b", &authority.issue(&[NAME]));
    let keys = [("listen.tls", r#"["OWN:5349"]"#), ("tls.certificate", &certificate), ("tls.key", &key)];
    let mut server = Server::spawn(&keys, None);
    server.wait_for_log("b.key is not the key of the first certificate in");
    assert!(crate::live::eventually(|| server.has_ended()));
}

#[test]
pub(crate) fn tls_certificates_are_chosen_by_name() {
    let files = Files::new("options-names");
    let authority = Authority::new("Other");
    let [certificate, key] = files.pair("other", &authority.issue(&["other.example", "*.wild.example"]));
    let more = format!("[{{ certificate = {certificate}, key = {key} }}]");
    let secure = Secure::start(&[("tls.certificates", &more)]);
    let shake = |name: &str, authority: &Authority| {
        TlsLink::new(secure.address(), name, authority.client(&[], None)).is_ok()
    };
    assert!(shake(NAME, &secure.authority));
    assert!(shake("other.example", &authority) && shake("a.wild.example", &authority));
    assert!(!shake("unknown.example", &secure.authority), "the first is for another name");
}

#[test]
pub(crate) fn tls_client_ca_is_who_lets_clients_in() {
    let secure = Secure::start(&[("tls.client_ca", r#""FILES/ca.crt""#)]);
    let own = secure.authority.issue(&["client.example"]);
    let config = secure.authority.client(&[], Some(&own));
    assert_eq!(Client::tls(secure.address(), NAME, config).binding().code(), 0);
    let foreign = Authority::new("Foreign").issue(&["client.example"]);
    for config in [secure.config(), secure.authority.client(&[], Some(&foreign))] {
        // In TLS 1.3 the client has finished before it hears that it is refused.
        if let Ok(link) = TlsLink::new(secure.address(), NAME, config) {
            let mut client = Client::with(Link::Tls(Box::new(link)));
            let request = client.write(relais::wire::method::BINDING, |_| {});
            let Link::Tls(link) = &client.link else { panic!("not TLS") };
            let mut stream = link.stream.write().unwrap();
            let _ = stream.write_all(&request);
            assert!(stream.read(&mut [0; 16]).is_err());
        }
    }
}

#[test]
pub(crate) fn http_share_tls_serves_https_on_tls_listeners() {
    let keys = [("http.listen", r#"["OWN:8080"]"#), ("http.open", "true")];
    let secure = Secure::start(&keys);
    let link = secure.shake(&[b"http/1.1"]).unwrap();
    let mut stream = link.stream.write().unwrap();
    let request = format!("GET /v1/ice-servers HTTP/1.1\r\nHost: {NAME}:5349\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("iceServers"), "{text}");
    let secure = Secure::start(&[keys[0], keys[1], ("http.share_tls", "false")]);
    assert!(secure.shake(&[b"http/1.1"]).is_err());
    let secure = Secure::start(&[("http.listen", "[]")]);
    assert!(secure.shake(&[b"http/1.1"]).is_err(), "there is no HTTP");
}

#[test]
pub(crate) fn tls_self_signed_is_for_this_machine_and_kept() {
    let files = Files::new("options-self-signed");
    let state = files.path().join("state");
    let shown = format!("{:?}", state.display().to_string());
    let keys = [
        ("listen.tls", r#"["OWN:5349"]"#),
        ("tls.self_signed", "true"),
        ("state.directory", &shown),
        ("http.listen", r#"["OWN:8080"]"#),
        ("http.open", "true"),
        ("auth.secrets", r#"[{ name = "main", secret = "north-wind-and-sun" }]"#),
    ];
    let kept = || std::fs::read_to_string(state.join("self-signed.pem")).unwrap();
    let trusting = |protocols: &[&[u8]]| {
        let mut roots = rustls::RootCertStore::empty();
        let pair = crate::certificates::Pair { certificate: kept(), key: String::new() };
        roots.add(pair.der()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        std::sync::Arc::new(config)
    };
    let server = Server::start(&keys);
    let first = kept();
    let mode = std::fs::metadata(state.join("self-signed.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let tls = (server.ip, 5349).into();
    for name in ["localhost", "127.0.0.1"] {
        assert_eq!(Client::tls(tls, name, trusting(&[])).binding().code(), 0, "{name}");
    }
    assert!(TlsLink::new(tls, "192.0.2.1", trusting(&[])).is_err(), "that is another machine");
    let web = (server.ip, 8080).into();
    let (status, about) = http(web, "/v1/about", &[]);
    let url = format!("https://{}:5349/", server.ip);
    assert_eq!((status, about), (200, format!(r#"{{"https":"{url}","trusted":false}}"#)));
    assert!(TlsLink::new(tls, "localhost", trusting(&[b"http/1.1"])).is_ok());
    // No browser would take the certificate for a relay.
    let (_, servers) = http(web, "/v1/ice-servers", &[("Host", "relay.example")]);
    assert!(servers.contains("turn:relay.example:3478") && !servers.contains("turns:"), "{servers}");
    drop(server);
    let again = Server::start(&keys);
    assert!(again.log().contains("nobody vouches for the certificate"));
    assert_eq!(kept(), first);
    drop(again);
    // Without the key, a certificate is needed.
    let mut server = Server::spawn(&keys[..1], None);
    server.wait_for_log("`listen.tls` needs a certificate");
    assert!(crate::live::eventually(|| server.has_ended()));
}

#[test]
pub(crate) fn tls_acme_needs_a_state_directory_and_its_feature() {
    let keys = [("listen.tls", r#"["OWN:5349"]"#), ("tls.acme", r#"{ domains = ["turn.example.org"] }"#)];
    let mut server = Server::spawn(&keys, None);
    server.wait_for_log(if cfg!(feature = "acme") {
        "`tls.acme` needs a state directory: authorities"
    } else {
        "this program was built without ACME"
    });
    assert!(crate::live::eventually(|| server.has_ended()));
}
