//! The certificates of `[tls]`: read from their files, and held against their keys and the clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};

use super::ice::rfc3339;
use super::place::Place;
use super::problem::Problem;
use super::secret_file::private;
use super::settings::{CertificateFiles, Settings};
use super::units::Why;
use super::validity::{Validity, is_authority, is_version_1, validity};

/// Certificates that end sooner are worth a warning, in seconds: clients with wrong clocks come first.
const SOON: u64 = 14 * 86_400;

/// What servers sign with over DTLS 1.2 here; any other key is for TLS alone.
const DTLS_SCHEMES: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// What the TLS listeners need, read and checked.
pub struct Certificates {
    /// Certificates with their keys, in the order of the configuration; never empty.
    pub keys: Vec<Arc<CertifiedKey>>,
    /// Where the certificates of clients must lead, if they need any.
    pub client_roots: Option<Arc<RootCertStore>>,
    /// When the first of the servers' own certificates ends, in seconds of Unix time.
    pub expiry: u64,
    /// What is worth knowing although it works today.
    pub warnings: Vec<Problem>,
    /// What is of no use, so that its predecessor stays in its place.
    pub errors: Vec<Problem>,
    pairs: Vec<Pair>,
}

/// A certificate of the operator's.
#[derive(Clone)]
struct Pair {
    files: CertificateFiles,
    key: Arc<CertifiedKey>,
    validity: Validity,
}

/// A certificate that the server has made or got by itself.
#[derive(Clone)]
pub struct OwnCertificate {
    /// With its key.
    pub key: Arc<CertifiedKey>,
    /// When it begins to hold, in seconds of Unix time.
    pub begin: u64,
    /// When it ends, in seconds of Unix time.
    pub end: u64,
}

impl OwnCertificate {
    /// Reads it, its key and those that lead to its root from one text in PEM. `None`: they are not all there.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
        let secret = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let Validity { begin, end } = validity(chain.first()?)?;
        let key = CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).ok()?;
        Some(Self { key: Arc::new(key), begin, end })
    }

    /// Whether clients that ask for `name`, a host name or an address, take it for the right one.
    pub fn is_for(&self, name: &str) -> bool {
        let certificate = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        let name = ServerName::try_from(name);
        certificate
            .is_ok_and(|certificate| name.is_ok_and(|name| verify_server_name(&certificate, &name).is_ok()))
    }
}

/// Reads the files that `[tls]` names, and adds `own`. `None`: there is no certificate. `last`: those in use, each of which
/// stays if its successor is of no use. `now_unix` is in seconds.
///
/// # Errors
/// Everything that is wrong with them: unreadable, no PEM, a key of another certificate or open to others, expired. With
/// `last` only if nothing at all is left to show.
pub fn certificates(
    settings: &Settings,
    own: Option<&OwnCertificate>,
    last: Option<&Certificates>,
    now_unix: u64,
) -> Result<Option<Certificates>, Vec<Problem>> {
    let (mut pairs, mut errors, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let named = settings.tls.pairs();
    for (place, files) in named.iter().enumerate() {
        match usable_pair(files, !settings.listen.dtls.is_empty(), now_unix) {
            Ok(pair) => {
                warnings.extend(warning(&files.certificate, pair.validity, now_unix));
                let own = pair.key.cert.first();
                warnings.extend(
                    own.is_some_and(|own| is_authority(own)).then(|| of_authority(&files.certificate)),
                );
                pairs.push(pair);
            }
            Err(found) => {
                errors.extend(found);
                pairs.extend(last.and_then(|last| last.predecessor(place, &named)).cloned());
            }
        }
    }
    let mut client_roots = None;
    if let Some(file) = &settings.tls.client_ca {
        match authorities(file) {
            Ok(roots) => client_roots = Some(Arc::new(roots)),
            Err((message, cure)) => {
                errors.push(Problem::error(&Place::File(file.clone()), message, cure));
                client_roots = last.and_then(|last| last.client_roots.clone());
            }
        }
    }
    if let Some(file) = settings.tls.acme.as_ref().and_then(|acme| acme.ca_file.as_ref())
        && let Err((message, cure)) = authorities(file)
    {
        errors.push(Problem::error(&Place::File(file.clone()), message, cure));
    }
    let keys: Vec<_> =
        pairs.iter().map(|pair| &pair.key).chain(own.map(|own| &own.key)).map(Arc::clone).collect();
    if !errors.is_empty() && (last.is_none() || keys.is_empty()) {
        return Err(errors);
    }
    let ends = pairs.iter().map(|pair| pair.validity.end).chain(own.map(|own| own.end));
    let Some(expiry) = ends.min() else { return Ok(None) };
    warnings.extend(foreign_host(settings, &keys));
    Ok(Some(Certificates { keys, client_roots, expiry, warnings, errors, pairs }))
}

impl Certificates {
    /// What stays where the pair at `place` of those that are `named` now is of no use: the one from the same files, or, if
    /// their names are new, the one whose place they take.
    fn predecessor(&self, place: usize, named: &[CertificateFiles]) -> Option<&Pair> {
        let same = self.pairs.iter().find(|pair| named.get(place) == Some(&pair.files));
        same.or_else(|| self.pairs.get(place).filter(|pair| !named.contains(&pair.files)))
    }
}

fn usable_pair(files: &CertificateFiles, has_dtls: bool, now_unix: u64) -> Result<Pair, Vec<Problem>> {
    let (key, validity) = pair(files)
        .map_err(|(file, (message, cure))| vec![Problem::error(&Place::File(file), message, cure)])?;
    let is_not_for_dtls = has_dtls && key.key.choose_scheme(&DTLS_SCHEMES).is_none();
    let problems: Vec<Problem> = is_not_for_dtls
        .then(|| not_for_dtls(&files.key))
        .into_iter()
        .chain(expired(&files.certificate, validity, now_unix))
        .collect();
    if problems.is_empty() {
        Ok(Pair { files: files.clone(), key: Arc::new(key), validity })
    } else {
        Err(problems)
    }
}

fn not_for_dtls(key: &Path) -> Problem {
    Problem::error(
        &Place::File(key.to_owned()),
        format!("{} is of a kind that DTLS cannot use here", key.display()),
        "keys for DTLS are ECDSA (P-256, P-384) or RSA: `openssl ecparam -name prime256v1 -genkey -noout` makes one; get a \
         certificate for it, or set listen.dtls to []",
    )
}

fn of_authority(certificate: &Path) -> Problem {
    Problem::warning(
        &Place::File(certificate.to_owned()),
        format!(
            "{} is the certificate of an authority (CA:TRUE), which clients refuse as that of a server",
            certificate.display()
        ),
        "`openssl req -x509` makes one for a server with -addext basicConstraints=critical,CA:FALSE",
    )
}

/// `http.host` stands in turns: URLs, so a certificate must be for it.
fn foreign_host(settings: &Settings, keys: &[Arc<CertifiedKey>]) -> Option<Problem> {
    let host = &settings.http.host;
    let Ok(name @ ServerName::DnsName(_)) = ServerName::try_from(host.as_str()) else { return None };
    let fits = |key: &Arc<CertifiedKey>| {
        let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
        certificate.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    };
    if settings
        .tls
        .acme
        .as_ref()
        .is_some_and(|acme| acme.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host)))
    {
        return None;
    }
    let is_foreign = !settings.listen.tls.is_empty() && !keys.is_empty() && !keys.iter().any(fits);
    is_foreign.then(|| {
        Problem::warning(
            &settings.place("http.host"),
            format!("no certificate of [tls] is for {host}, so clients reject the turns: URLs"),
            "write a name of the certificate (`openssl x509 -noout -ext subjectAltName -in FILE`), or get one for this name",
        )
    })
}

fn pair(files: &CertificateFiles) -> Result<(CertifiedKey, Validity), (PathBuf, Why)> {
    let at = |file: &Path| {
        let file = file.to_owned();
        move |why| (file, why)
    };
    let (certificate, key) = (&files.certificate, &files.key);
    let chain = chain(certificate, CHAIN).map_err(at(certificate))?;
    let secret = private_key(key).map_err(at(key))?;
    let no_certificate = || {
        let message = format!("the first certificate in {} cannot be understood", certificate.display());
        (message, "get it anew from whoever issued it".to_owned())
    };
    let validity = chain.first().and_then(|own| validity(own));
    let validity = validity.ok_or_else(no_certificate).map_err(at(certificate))?;
    if chain.first().is_some_and(|own| is_version_1(own)) {
        let message = format!("{} begins with a certificate of version 1", certificate.display());
        let cure = "make one with subjectAltName, such as `openssl req -x509 -key KEY -subj /CN=turn.example.org -addext \
                    subjectAltName=DNS:turn.example.org -addext basicConstraints=critical,CA:FALSE -out CERTIFICATE`";
        return Err((certificate.clone(), (message, cure.to_owned())));
    }
    let loaded = CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider());
    let loaded = loaded.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => (
            format!("{} is not the key of the first certificate in {}", key.display(), certificate.display()),
            "give the key that the certificate was issued for; in a chain the server's own certificate comes first"
                .to_owned(),
        ),
        error => (
            format!("{} with {} cannot be used: {error}", key.display(), certificate.display()),
            "keys are ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits and more), certificates X.509 v3"
                .to_owned(),
        ),
    });
    Ok((loaded.map_err(at(key))?, validity))
}

fn read(file: &Path) -> Result<Vec<u8>, Why> {
    let shown = file.display();
    let mut text = std::fs::read(file).map_err(|error| {
        (
            format!("{shown} cannot be read: {error}"),
            format!("the file must exist and be readable for the user that runs relais: `ls -lL {shown}`"),
        )
    })?;
    // Editors on Windows put it in front, where it would hide the first of the certificates.
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What a file of `tls.certificate` holds.
const CHAIN: &str = "write the server's certificate first, then those that lead to the root, each from \
                     -----BEGIN CERTIFICATE----- to its END";
/// What a file of `tls.client_ca` or `ca_file` holds.
const AUTHORITIES: &str =
    "write the certificates of the authorities, each from -----BEGIN CERTIFICATE----- to its END";

fn chain(file: &Path, cure: &str) -> Result<Vec<CertificateDer<'static>>, Why> {
    let found = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(chain) if chain.is_empty() => {
            Err((format!("{} holds no certificate in PEM", file.display()), cure.to_owned()))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err((format!("{} is damaged: {error}", file.display()), cure.to_owned())),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Why> {
    let text = zeroize::Zeroizing::new(read(file)?);
    private(file, "a private key")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        (
            format!("{} holds no private key in PEM", file.display()),
            "it begins with -----BEGIN PRIVATE KEY-----; one with a passphrase (ENCRYPTED) must be written without: \
             `openssl pkey -in OLD -out NEW`"
                .to_owned(),
        )
    })
}

/// Reads whom to trust from a file in PEM.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn authorities(file: &Path) -> Result<RootCertStore, (String, String)> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file, AUTHORITIES)? {
        roots.add(certificate).map_err(|error| {
            (
                format!("{} holds a certificate that cannot sign others: {error}", file.display()),
                AUTHORITIES.to_owned(),
            )
        })?;
    }
    Ok(roots)
}

fn expired(file: &Path, validity: Validity, now_unix: u64) -> Option<Problem> {
    (validity.end <= now_unix).then(|| {
        Problem::error(
            &Place::File(file.to_owned()),
            format!("the certificate ended at {}", rfc3339(validity.end)),
            "renew it; if it is new, the clock of this machine is wrong",
        )
    })
}

fn warning(file: &Path, validity: Validity, now_unix: u64) -> Option<Problem> {
    let place = Place::File(file.to_owned());
    if validity.begin > now_unix {
        let message =
            format!("the certificate begins at {}: clients refuse it until then", rfc3339(validity.begin));
        return Some(Problem::warning(&place, message, "wait, or set the clock of this machine"));
    }
    (validity.end.saturating_sub(now_unix) < SOON).then(|| {
        Problem::warning(
            &place,
            format!("the certificate ends at {}", rfc3339(validity.end)),
            "renew it: relais takes up a changed file within ten seconds, or at once with SIGHUP",
        )
    })
}
