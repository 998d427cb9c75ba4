//! The TLS of the listeners: who we are to whom, and what is spoken over it (RFC 7443).

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

/// The application protocols of this server (RFC 7443 §3): TURN, and STUN for NAT discovery.
pub const TURN_PROTOCOLS: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];
/// The application protocol of the web side, if it shares the listeners.
pub const WEB_PROTOCOL: &[u8] = b"http/1.1";

/// The application protocol in which authorities ask whose a name is (RFC 8737).
pub const AUTHORITY_PROTOCOL: &[u8] = b"acme-tls/1";

/// Takes over connections of clients that want HTTP: the socket, what has been read from it, and the client.
pub type WebDoor = Arc<dyn Fn(TcpStream, Vec<u8>, SocketAddr) + Send + Sync>;

/// What a listener does with TLS: 1.2 and 1.3, only with forward secrecy and authenticated encryption, since rustls
/// knows no other. `keys`, not empty, are chosen from by the name that the client asks for, the first for all others.
/// With `client_roots`, clients must show a certificate that leads there. `protocols` are accepted by ALPN; a client
/// that offers others only is refused, one that offers none is not.
///
/// # Errors
/// When no certificate can be demanded from `client_roots`, or the system gives no random numbers.
pub fn tls_config(
    keys: &[Arc<CertifiedKey>],
    client_roots: Option<Arc<RootCertStore>>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match client_roots {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(roots) => client_verifier(roots, &provider)?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName(keys.to_vec())));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // What a client needs to come back is with the client, sealed, and not in a table here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// Decides about the certificates of clients.
pub(super) fn client_verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Certificates in the order of the configuration.
struct ByName(Vec<Arc<CertifiedKey>>);

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let named = |key: &&Arc<CertifiedKey>| asked.as_ref().is_some_and(|name| is_for(key, name));
        let named = self.0.iter().filter(named).find(fits);
        named.or_else(|| self.0.iter().find(fits)).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
