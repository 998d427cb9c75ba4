//! TLS to the server: whom the probe trusts, and who the server has to be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::credentials::Why;
use super::uri::{Service, Uri};

/// The one server that is spoken with over TLS.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// For the server of `uri`; `None`: it is not reached over TLS. The roots are the system's, or those in `ca`.
    ///
    /// # Errors
    /// There are no roots, or the host cannot be in a certificate.
    pub(super) fn new(uri: &Uri, ca: Option<&Path>) -> Result<Option<Self>, Why> {
        if !uri.transport.is_tls() {
            return Ok(None);
        }
        let roots = match ca {
            Some(file) => from_file(file)?,
            None => system()?,
        };
        let name = match uri.host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(uri.host.clone()).map_err(|_| {
                (format!("{} can be in no certificate", uri.host), "write the server's host name".to_owned())
            })?,
        };
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // RFC 7443 §3.
        config.alpn_protocols = vec![match uri.service {
            Service::Stun => b"stun.nat-discovery".to_vec(),
            Service::Turn => b"stun.turn".to_vec(),
        }];
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), name }))
    }

    /// What is trusted, and who the server has to be.
    pub(super) fn parts(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(self.connector.config()), self.name.clone())
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Those of the network; `InvalidData` when TLS itself failed.
    pub(super) async fn connect(&self, server: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn from_file(file: &Path) -> Result<RootCertStore, Why> {
    let shown = file.display();
    let cure = || "write a file with certificates in PEM".to_owned();
    let mut roots = RootCertStore::empty();
    let text = std::fs::read(file).map_err(|error| (format!("{shown} cannot be read: {error}"), cure()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| (format!("{shown} is damaged: {error}"), cure()))?;
        roots
            .add(certificate)
            .map_err(|error| (format!("{shown} holds a certificate that is none: {error}"), cure()))?;
    }
    if roots.is_empty() { Err((format!("{shown} holds no certificate"), cure())) } else { Ok(roots) }
}

fn system() -> Result<RootCertStore, Why> {
    let mut roots = RootCertStore::empty();
    // Some system stores hold certificates that are of no use any more.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err((
            "this system has no root certificates".to_owned(),
            "install them (ca-certificates), or give --ca FILE".to_owned(),
        ));
    }
    Ok(roots)
}
