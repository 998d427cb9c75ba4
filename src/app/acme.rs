//! Gets a certificate from an authority and renews it (RFC 8555), by showing at port 443 who the names belong to
//! (TLS-ALPN-01, RFC 8737).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::{
    AccountCache, AcmeConfig, AcmeState, CertCache, EventError, EventOk, ResolvesServerCertAcme,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::ordered::{Pem, account_file, certificate_file};
use super::{Error, state};
use crate::config::{self, Acme, Settings};
use crate::net::AUTHORITY_PROTOCOL;

/// After so long without a word the exchange with the authority begins anew: a connection may hang, a clock may jump. In
/// between a certificate that is kept is looked at, and one that is due is ordered.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// The exchange with one authority.
pub(super) struct Client {
    acme: Acme,
    directory: PathBuf,
    tls: Arc<ClientConfig>,
    received: watch::Sender<Option<Pem>>,
    resolver: watch::Sender<Arc<ResolvesServerCertAcme>>,
    state: AcmeState<io::Error, io::Error>,
}

impl Client {
    /// Prepares it. `None`: nothing is to be ordered.
    pub(super) fn new(
        settings: &Settings,
        received: watch::Sender<Option<Pem>>,
    ) -> Result<Option<Self>, Error> {
        let Some((acme, directory)) = settings.tls.acme.clone().zip(settings.state.clone()) else {
            return Ok(None);
        };
        let tls = client_config(&acme)?;
        let state = begin(&acme, &directory, &tls, &received);
        let resolver = watch::Sender::new(state.resolver());
        Ok(Some(Self { acme, directory, tls, received, resolver, state }))
    }

    /// What listeners do with an authority that asks.
    pub(super) fn challenge(&self) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(Error::new)?;
        let resolver = Arc::new(Proof(self.resolver.subscribe()));
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![AUTHORITY_PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }

    /// Goes on for ever: orders, waits until the certificate is two thirds through its life, and orders again.
    pub(super) async fn run(mut self) {
        let (authority, domains) = (&self.acme.directory, self.acme.domains.join(" "));
        loop {
            match tokio::time::timeout(PATIENCE, self.state.next()).await {
                Ok(Some(event)) => report(&event, authority, &domains),
                Ok(None) | Err(_) => {
                    self.state = begin(&self.acme, &self.directory, &self.tls, &self.received);
                    self.resolver.send_replace(self.state.resolver());
                }
            }
        }
    }
}

fn begin(
    acme: &Acme,
    directory: &std::path::Path,
    tls: &Arc<ClientConfig>,
    received: &watch::Sender<Option<Pem>>,
) -> AcmeState<io::Error, io::Error> {
    let keeper = Keeper {
        directory: directory.to_owned(),
        certificate: certificate_file(acme),
        account: account_file(acme),
        received: received.clone(),
    };
    AcmeConfig::new_with_client_config(&acme.domains, Arc::clone(tls))
        .directory(&acme.directory)
        .contact(&acme.contact)
        .cache(keeper)
        .state()
}

/// Whom to trust as the authority.
fn client_config(acme: &Acme) -> Result<Arc<ClientConfig>, Error> {
    let roots = match &acme.ca_file {
        Some(file) => config::authorities(file)
            .map_err(|(message, cure)| Error(format!("{message}\n  = help: {cure}")))?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                tracing::error!(
                    target: "relais::tls",
                    "this system trusts no authority, so the one of tls.acme cannot be asked: install ca-certificates, or name \
                     its root in ca_file"
                );
            }
            roots
        }
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::new)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn report(event: &Result<EventOk, EventError<io::Error, io::Error>>, authority: &str, domains: &str) {
    match event {
        Ok(EventOk::AccountCacheStore) => {
            tracing::info!(target: "relais::tls", authority, "a key for an account with the authority is kept in state.directory");
        }
        Ok(EventOk::DeployedNewCert) => {
            tracing::info!(target: "relais::tls", authority, domains, "the authority has issued a certificate");
        }
        Ok(EventOk::CertCacheStore | EventOk::DeployedCachedCert) => {
            tracing::debug!(target: "relais::tls", ?event, "certificate of the authority");
        }
        Err(EventError::Order(error)) => tracing::warn!(
            target: "relais::tls",
            authority, domains, %error,
            "no certificate from the authority; the old one stays, and the authority is asked again by and by. It must reach port \
             443 of each domain, and get through to a listener of listen.tls"
        ),
        Err(error) => tracing::error!(
            target: "relais::tls",
            authority, %error,
            "what belongs to tls.acme cannot be kept in state.directory, or read from there"
        ),
    }
}

/// The certificate that proves whose a name is, of the exchange that goes on now.
struct Proof(watch::Receiver<Arc<ResolvesServerCertAcme>>);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proof for an authority")
    }
}

impl ResolvesServerCert for Proof {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = Arc::clone(&self.0.borrow());
        current.resolve(hello)
    }
}

/// Keeps account and certificate, and hands on what is new.
struct Keeper {
    directory: PathBuf,
    certificate: String,
    account: String,
    received: watch::Sender<Option<Pem>>,
}

impl Keeper {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.directory.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait::async_trait]
impl CertCache for Keeper {
    type EC = io::Error;

    async fn load_cert(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        // What has not fitted on the disk is not ordered again.
        let received = self.received.borrow().clone();
        received.map_or_else(|| self.read(&self.certificate), |pem| Ok(Some(pem.to_vec())))
    }

    async fn store_cert(&self, _: &[String], _: &str, pem: &[u8]) -> io::Result<()> {
        let kept = state::write(&self.directory, &self.certificate, pem);
        // Also when it cannot be kept: it is good until the next start.
        self.received.send_replace(Some(Arc::new(Zeroizing::new(pem.to_vec()))));
        kept
    }
}

#[async_trait::async_trait]
impl AccountCache for Keeper {
    type EA = io::Error;

    async fn load_account(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        self.read(&self.account)
    }

    async fn store_account(&self, _: &[String], _: &str, key: &[u8]) -> io::Result<()> {
        state::write(&self.directory, &self.account, key)
    }
}
