//! TLS to the server: whom the probe trusts, and who the server has to be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::credentials::Why;
use crate::client::uri::{Service, Uri};

/// The one server that is spoken with over TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// For the server of `uri`; `None`: it is not reached over TLS. The roots are the system's, or those in `ca`; when
    /// `insecure`, any certificate will do.
    ///
    /// # Errors
    /// There are no roots, or the host cannot be in a certificate.
    pub(crate) fn new(uri: &Uri, ca: Option<&Path>, insecure: bool) -> Result<Option<Self>, Why> {
        if !uri.transport.is_tls() {
            return Ok(None);
        }
        let roots = match ca {
            Some(file) => from_file(file)?,
            None if insecure => RootCertStore::empty(),
            None => system()?,
        };
        let name = match uri.host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(uri.host.clone()).map_err(|_| {
                (format!("{} can be in no certificate", uri.host), "write the server's host name".to_owned())
            })?,
        };
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        if insecure {
            let schemes = config.crypto_provider().signature_verification_algorithms;
            config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate(schemes)));
        }
        // RFC 7443 §3.
        config.alpn_protocols = vec![match uri.service {
            Service::Stun => b"stun.nat-discovery".to_vec(),
            Service::Turn => b"stun.turn".to_vec(),
        }];
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), name }))
    }

    /// What is trusted, and who the server has to be.
    pub(crate) fn parts(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(self.connector.config()), self.name.clone())
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Those of the network; `InvalidData` when TLS itself failed.
    pub(crate) async fn connect(&self, server: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// Believes whoever holds the key of the certificate that it shows.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
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
