//! A certificate that nobody vouches for: made here, for every name and address that this machine goes by.
//!
//! Browsers ask their users once whether to go on with it and remember the answer, so it is kept as long as it fits.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Error, state};
use crate::config::{OwnCertificate, Settings, ice::rfc3339};
use crate::net;

/// Its file in the state directory: key and certificate.
const FILE: &str = "self-signed.pem";
const DAY: u64 = 86_400;
/// For how long it is made. Apple's browsers take no longer than 398 days.
const LIFETIME: u64 = 365 * DAY;
/// It is made anew when less than this is left of it.
const RENEWAL: u64 = 30 * DAY;

/// What this machine goes by.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn of(settings: &Settings) -> Self {
        let addresses = net::local_addresses().unwrap_or_default();
        Self::from(net::host_name().as_deref(), addresses, settings)
    }

    fn from(host: Option<&str>, mut addresses: Vec<IpAddr>, settings: &Settings) -> Self {
        let mut hosts = vec!["localhost".to_owned()];
        if let Some(host) = host {
            let short = host.split('.').next().unwrap_or_default();
            hosts.extend([host.to_owned(), short.to_owned(), format!("{short}.local")]);
        }
        addresses.extend(settings.relay.external.values());
        match settings.http.host.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => hosts.push(settings.http.host.clone()),
        }
        hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        hosts.retain(|host| is_host(host));
        // Nobody can write an address that holds on one link only into a URL.
        addresses.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        hosts.sort_unstable();
        hosts.dedup();
        addresses.sort_unstable();
        addresses.dedup();
        Self { hosts, addresses }
    }

    /// Whether `certificate` may be kept. Global IPv6 addresses are no reason against it: they change daily where privacy
    /// extensions are on, and each change would be a question to everybody who has answered it before.
    fn are_in(&self, certificate: &OwnCertificate) -> bool {
        let lasting = |ip: &&IpAddr| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
        };
        let addresses = self.addresses.iter().filter(lasting).map(ToString::to_string);
        self.hosts.iter().cloned().chain(addresses).all(|name| certificate.is_for(&name))
    }
}

/// Whether certificates can be for it.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// The certificate, and where it is kept.
pub(super) struct SelfSigned {
    /// `None`: in memory only.
    file: Option<PathBuf>,
    current: OwnCertificate,
}

impl SelfSigned {
    /// Takes the one that is kept in the state directory, or makes one.
    pub(super) fn load(settings: &Settings, now_unix: u64) -> Result<Self, Error> {
        let names = Names::of(settings);
        let file = settings.state.as_ref().map(|directory| directory.join(FILE));
        let kept = file.as_ref().and_then(|file| std::fs::read(file).ok()).map(Zeroizing::new);
        let kept = kept.and_then(|text| OwnCertificate::read(&text));
        if let Some(current) = kept.filter(|kept| is_good(kept, &names, now_unix)) {
            tracing::info!(
                target: "relais::tls",
                until = rfc3339(current.end), fingerprint = fingerprint(&current),
                "nobody vouches for the certificate: browsers ask once whether to go on with it"
            );
            return Ok(Self { file, current });
        }
        let current = issue(&names, settings.state.as_deref(), now_unix)?;
        Ok(Self { file, current })
    }

    /// One for the time until a better one is there, kept nowhere.
    pub(super) fn temporary(settings: &Settings, now_unix: u64) -> Result<Self, Error> {
        let text = make(&Names::of(settings), now_unix)?;
        Ok(Self { file: None, current: read(&text)? })
    }

    /// The certificate.
    pub(super) const fn current(&self) -> &OwnCertificate {
        &self.current
    }

    /// Whether another one is due.
    pub(super) fn is_due(&self, settings: &Settings, now_unix: u64) -> bool {
        !is_good(&self.current, &Names::of(settings), now_unix)
    }

    /// Makes another one if it is due.
    pub(super) fn renew(&mut self, settings: &Settings, now_unix: u64) -> Result<(), Error> {
        let names = Names::of(settings);
        if !is_good(&self.current, &names, now_unix) {
            let directory = self.file.as_deref().and_then(Path::parent);
            self.current = issue(&names, directory, now_unix)?;
        }
        Ok(())
    }
}

/// When this was written, in Unix time: the start of 2026. A clock that shows less is wrong.
const WRITTEN: u64 = 1_767_225_600;

fn is_good(certificate: &OwnCertificate, names: &Names, now_unix: u64) -> bool {
    // It has been made by a clock that was ahead if it is still to begin, unless it is this clock that has not been set.
    (certificate.begin <= now_unix || now_unix < WRITTEN)
        && certificate.end.saturating_sub(now_unix) >= RENEWAL
        && names.are_in(certificate)
}

/// Makes one, keeps it if there is a place for it, and says so.
fn issue(names: &Names, directory: Option<&Path>, now_unix: u64) -> Result<OwnCertificate, Error> {
    let text = make(names, now_unix)?;
    let made = read(&text)?;
    let (until, fingerprint) = (rfc3339(made.end), fingerprint(&made));
    match directory.map(|directory| state::write(directory, FILE, text.as_bytes())) {
        None => tracing::info!(
            target: "relais::tls", until, fingerprint,
            "certificate made that nobody vouches for; it is new at each start without state.directory"
        ),
        Some(Ok(())) => tracing::info!(
            target: "relais::tls", until, fingerprint,
            "certificate made that nobody vouches for; it is kept in state.directory"
        ),
        Some(Err(error)) => tracing::error!(
            target: "relais::tls", until, fingerprint, %error,
            "certificate made, but it cannot be kept in state.directory"
        ),
    }
    Ok(made)
}

fn read(text: &str) -> Result<OwnCertificate, Error> {
    OwnCertificate::read(text.as_bytes())
        .ok_or_else(|| Error("a certificate has been made that cannot be read".to_owned()))
}

/// Key and certificate, in PEM.
fn make(names: &Names, now_unix: u64) -> Result<Zeroizing<String>, Error> {
    let failed = |error: rcgen::Error| Error(format!("no certificate can be made: {error}"));
    let mut parameters = CertificateParams::default();
    for host in &names.hosts {
        parameters.subject_alt_names.push(SanType::DnsName(host.as_str().try_into().map_err(failed)?));
    }
    parameters.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "Relais trial");
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // The clocks of phones need not be right to the minute.
    let at = |unix: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix);
    parameters.not_before = at(now_unix.saturating_sub(DAY));
    parameters.not_after = at(now_unix + LIFETIME);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let secret = Zeroizing::new(key.serialize_pem());
    Ok(Zeroizing::new(format!("{}{}", *secret, certificate.pem())))
}

/// SHA-256 of the certificate, as browsers show it.
pub(super) fn fingerprint(certificate: &OwnCertificate) -> String {
    let own = certificate.key.cert.first().map(AsRef::as_ref).unwrap_or_default();
    let mut text = String::new();
    for (at, byte) in Sha256::digest(own).iter().enumerate() {
        let _ = write!(text, "{}{byte:02X}", if at == 0 { "" } else { ":" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn names(host: Option<&str>, addresses: &[&str]) -> Names {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Names::from(host, addresses, &Settings::defaults())
    }

    fn certificate(names: &Names, now_unix: u64) -> OwnCertificate {
        OwnCertificate::read(make(names, now_unix).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn names_are_those_of_the_machine_and_of_the_operator() {
        let mut settings = Settings::defaults();
        "box.example.org".clone_into(&mut settings.http.host);
        settings.relay.external.insert("10.0.0.5".parse().unwrap(), "8.34.2.1".parse().unwrap());
        let addresses = ["fe80::1", "10.0.0.5"].map(|text| text.parse().unwrap());
        let found = Names::from(Some("Attic.example"), addresses.to_vec(), &settings);
        assert_eq!(found.hosts, ["attic", "attic.example", "attic.local", "box.example.org", "localhost"]);
        let shown: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["8.34.2.1", "10.0.0.5"]);
        assert_eq!(names(Some("not a name"), &[]).hosts, ["localhost"]);
        "192.0.2.7".clone_into(&mut settings.http.host);
        assert!(Names::from(None, Vec::new(), &settings).addresses.contains(&"192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn it_is_for_all_of_them_and_lasts_a_year() {
        let names = names(Some("attic"), &["127.0.0.1", "::1", "192.168.1.10", "fd00::1", "2001:db8::1"]);
        let made = certificate(&names, NOW);
        for name in ["attic", "attic.local", "localhost", "127.0.0.1", "::1", "192.168.1.10", "2001:db8::1"] {
            assert!(made.is_for(name), "{name}");
        }
        assert!(!made.is_for("192.168.1.11") && !made.is_for("elsewhere"));
        assert_eq!(made.end, NOW + LIFETIME);
        let fingerprint = fingerprint(&made);
        assert_eq!((fingerprint.len(), fingerprint.matches(':').count()), (95, 31));
        assert_ne!(fingerprint, super::fingerprint(&certificate(&names, NOW)), "each has a key of its own");
    }

    #[test]
    fn it_is_kept_until_it_no_longer_fits() {
        let old = names(Some("attic"), &["192.168.1.10", "2001:db8::1"]);
        let made = certificate(&old, NOW);
        assert!(is_good(&made, &old, NOW));
        assert!(is_good(&made, &old, NOW - DAY));
        assert!(!is_good(&made, &old, NOW - DAY - 1), "it is still to begin");
        assert!(is_good(&made, &old, 1000), "a clock that begins with 1970 says nothing");
        assert!(is_good(&made, &old, NOW + LIFETIME - RENEWAL));
        assert!(!is_good(&made, &old, NOW + LIFETIME - RENEWAL + 1), "it ends soon");
        let fits = |host: &str, addresses: &[&str]| is_good(&made, &names(Some(host), addresses), NOW);
        assert!(fits("attic", &["192.168.1.10", "2001:db8::2"]), "IPv6 addresses come and go");
        assert!(fits("attic", &[]), "what is gone does no harm");
        assert!(!fits("attic", &["192.168.1.10", "192.168.7.1"]));
        assert!(!fits("attic", &["fd00::1"]));
        assert!(!fits("cellar", &["192.168.1.10"]));
    }
}
