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

    /// Takes up what the authority has issued since. One that has ended is no better than what there is.
    pub(super) fn renew(&mut self, now_unix: u64) {
        let received = self.received.borrow_and_update().clone();
        let found = match received {
            Some(pem) => OwnCertificate::read(&pem),
            None => {
                std::fs::read(&self.file).ok().map(Zeroizing::new).and_then(|pem| OwnCertificate::read(&pem))
            }
        };
        if let Some(found) = found.filter(|found| found.end > now_unix) {
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

    /// 2027-01-15, in seconds.
    const NOW: u64 = 1_800_000_000;

    /// Key and certificate that end with a year.
    fn issued(year: i32) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
        format!("{}{}", key.serialize_pem(), parameters.self_signed(&key).unwrap().pem())
    }

    #[test]
    fn one_that_has_ended_does_not_come_back() {
        let directory = std::env::temp_dir().join(format!("relais-ordered-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let acme = Acme {
            domains: vec!["turn.example.org".to_owned()],
            contact: None,
            directory: "https://one/".to_owned(),
            ca_file: None,
        };
        let file = directory.join(certificate_file(&acme));
        let mut settings = Settings::defaults();
        (settings.tls.acme, settings.state) = (Some(acme), Some(directory.clone()));
        std::fs::write(&file, issued(2025)).unwrap();
        let (sender, received) = watch::channel(None);
        let mut ordered = Ordered::load(&settings, received, NOW).unwrap().unwrap();
        let stand_in = ordered.current().unwrap().end;
        ordered.renew(NOW);
        assert!(!ordered.is_trusted());
        assert_eq!(ordered.current().unwrap().end, stand_in);
        std::fs::write(&file, issued(2039)).unwrap();
        ordered.renew(NOW);
        assert!(ordered.is_trusted());
        let end = ordered.current().unwrap().end;
        sender.send_replace(Some(Arc::new(Zeroizing::new(issued(2025).into_bytes()))));
        ordered.renew(NOW);
        assert_eq!(ordered.current().unwrap().end, end, "what is good stays");
        std::fs::remove_dir_all(&directory).unwrap();
    }

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
