//! A certificate that an authority issues by itself (RFC 8555), as the rest of the server sees it: a file in the state
//! directory that changes now and then.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::Error;
use super::self_signed::SelfSigned;
use crate::config::{Acme, OwnCertificate, Settings, ice::rfc3339};

/// Key and certificates, in PEM.
pub(super) type Pem = Arc<Zeroizing<Vec<u8>>>;

/// What has come from the authority since the start.
pub(super) type Received = watch::Receiver<Option<Pem>>;

/// The certificate, or what stands in for it.
pub(super) struct Ordered {
    file: PathBuf,
    received: Received,
    kept: Option<OwnCertificate>,
    /// Until there is one. `None`, too, when the operator has others.
    stand_in: Option<SelfSigned>,
}

impl Ordered {
    /// Reads the one that is kept. `None`: none is to be ordered, or there is no place to keep it.
    pub(super) fn load(
        settings: &Settings,
        received: Received,
        now_unix: u64,
    ) -> Result<Option<Self>, Error> {
        let Some((acme, directory)) = settings.tls.acme.as_ref().zip(settings.state.as_ref()) else {
            return Ok(None);
        };
        let file = directory.join(certificate_file(acme));
        let kept = std::fs::read(&file).ok().map(Zeroizing::new).and_then(|pem| OwnCertificate::read(&pem));
        let kept = kept.filter(|kept| kept.end > now_unix);
        let stand_in = if kept.is_none() && settings.tls.pairs().is_empty() {
            tracing::info!(
                target: "relais::tls",
                "there is no certificate from the authority yet; one that nobody vouches for stands in for it"
            );
            Some(SelfSigned::temporary(settings, now_unix)?)
        } else {
            None
        };
        if let Some(kept) = &kept {
            tracing::info!(target: "relais::tls", until = rfc3339(kept.end), "there is a certificate from the authority");
        }
        Ok(Some(Self { file, received, kept, stand_in }))
    }

    /// Takes up what the authority has issued since.
    pub(super) fn renew(&mut self) {
        let received = self.received.borrow_and_update().clone();
        let found = match received {
            Some(pem) => OwnCertificate::read(&pem),
            None => {
                std::fs::read(&self.file).ok().map(Zeroizing::new).and_then(|pem| OwnCertificate::read(&pem))
            }
        };
        if let Some(found) = found {
            (self.kept, self.stand_in) = (Some(found), None);
        }
    }

    /// Waits until something has come from the authority.
    pub(super) async fn news(&mut self) {
        if self.received.changed().await.is_err() {
            // Nobody asks the authority any more.
            std::future::pending::<()>().await;
        }
    }

    /// What listeners show beside the operator's own certificates.
    pub(super) fn current(&self) -> Option<&OwnCertificate> {
        self.kept.as_ref().or_else(|| self.stand_in.as_ref().map(SelfSigned::current))
    }

    /// Whether it is from the authority.
    pub(super) const fn is_trusted(&self) -> bool {
        self.kept.is_some()
    }
}

/// The name of the file with the certificate: other names, or another authority, are another certificate.
pub(super) fn certificate_file(acme: &Acme) -> String {
    let mut parts = vec![acme.directory.as_str()];
    parts.extend(acme.domains.iter().map(String::as_str));
    format!("acme-{}.pem", short_hash(&parts))
}

/// The name of the file with the key of the account.
#[cfg(feature = "acme")]
pub(super) fn account_file(acme: &Acme) -> String {
    let contact = acme.contact.as_deref().unwrap_or_default();
    format!("acme-account-{}.key", short_hash(&[&acme.directory, contact]))
}

fn short_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_a_file_of_its_own() {
        let acme = |domains: &[&str], directory: &str| Acme {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            contact: None,
            directory: directory.to_owned(),
            ca_file: None,
        };
        let names = [
            certificate_file(&acme(&["a.example"], "https://one/")),
            certificate_file(&acme(&["a.example"], "https://two/")),
            certificate_file(&acme(&["a.example", "b.example"], "https://one/")),
            certificate_file(&acme(&["a.exampleb.example"], "https://one/")),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
            assert_eq!(name.len(), 25);
        }
        assert_eq!(names[0], certificate_file(&acme(&["a.example"], "https://one/")));
    }
}
