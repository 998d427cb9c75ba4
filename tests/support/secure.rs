//! A server with TLS, and the authority that its clients trust.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::ClientConfig;

use crate::certificates::{Authority, Files};
use crate::live::{Client, Server, TlsLink};

/// The name that the server's certificate is for.
pub(crate) const NAME: &str = "relay.example";

/// A server with TLS on port 5349 and a certificate for [`NAME`].
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    pub(crate) files: Files,
}

impl Secure {
    /// With these keys beside or instead of the usual ones; `FILES` in them is the directory of the certificates, in
    /// which are `own.crt`, `own.key`, and `ca.crt` of the authority.
    pub(crate) fn start(keys: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("secure-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (authority, files) = (Authority::new("Test"), Files::new(&name));
        let [certificate, key] = files.pair("own", &authority.issue(&[NAME]));
        files.write("ca.crt", &authority.pem());
        let mut all = vec![
            ("listen.tls", r#"["OWN:5349"]"#.to_owned()),
            ("tls.certificate", certificate),
            ("tls.key", key),
            ("http.host", format!("{NAME:?}")),
        ];
        all.retain(|(key, _)| !keys.iter().any(|(other, _)| other == key));
        let directory = files.path().display().to_string();
        all.extend(keys.iter().map(|(key, value)| (*key, value.replace("FILES", &directory))));
        let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Self { server: Server::start(&all), authority, files }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (self.server.ip, 5349).into()
    }

    /// A client's side of TLS that offers no protocol.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.authority.client(&[], None)
    }

    pub(crate) fn client(&self) -> Client {
        Client::tls(self.address(), NAME, self.config())
    }

    /// A handshake that offers these protocols.
    pub(crate) fn shake(&self, protocols: &[&[u8]]) -> std::io::Result<TlsLink> {
        TlsLink::new(self.address(), NAME, self.authority.client(protocols, None))
    }
}
