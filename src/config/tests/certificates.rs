//! Certificates that are of no use, or of less than hoped, and where it says so.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;

/// 2027-01-15, in seconds.
const NOW: u64 = 1_800_000_000;

const V1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBFDCBuwIUUfFxGLBQdDRJcS2hwUwElZZ9meEwCgYIKoZIzj0EAwIwDDEKMAgG\n\
A1UEAwwBYTAgFw0yNjExMjExODUyMTRaGA8yMTA5MDExMDE4NTIxNFowDDEKMAgG\n\
A1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOt+O6WFOcnjmS1CSFgW\n\
O8kSwFf0uz7g3LtiZWuPI03CuiC5UEILmY3qDaGVX7jlESaDqKUseYBHPG/vquQl\n\
NfowCgYIKoZIzj0EAwIDSAAwRQIhAJMP3/htB7ZQutJdviPxQG6UxOlVwwPM/68Q\n\
HMKfULUKAiAbdCnTULVPG8WEcU+JtWZI/nrdQQ1A5HtJUE2EiZVoLQ==\n\
-----END CERTIFICATE-----\n";

struct Tls(Scratch);

impl Tls {
    /// A directory with a certificate for relay.example and its key.
    fn new(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let scratch = Scratch::new(name);
        scratch.file("a.crt", &parameters.self_signed(&key).unwrap().pem(), 0o600);
        scratch.file("a.key", &key.serialize_pem(), 0o600);
        Self(scratch)
    }

    /// What is found with `listen` in [listen] and `rest` behind.
    fn found(&self, listen: &str, rest: &str) -> Result<Vec<Problem>, Vec<Problem>> {
        let text = format!(
            "[listen]\n{listen}\n[auth]\nsecrets = [{{ name = \"main\", secret = \"north-wind-and-sun\" }}]\n\
             [tls]\ncertificate = \"a.crt\"\nkey = \"a.key\"\n{rest}"
        );
        let path = self.0.file("relais.toml", &text, 0o600);
        let (settings, _) = with(Some(&path), &[], &Overrides::default()).unwrap();
        certificates(&settings, None, None, NOW).map(|found| found.unwrap().warnings)
    }

    /// Another certificate for relay.example that ends in a year, as NAME.crt and NAME.key.
    fn issue(&self, name: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.0.file(&format!("{name}.crt"), &parameters.self_signed(&key).unwrap().pem(), 0o600);
        self.0.file(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    }

    /// The settings with these pairs and authorities for clients.
    fn settings(&self, names: &[&str], client_ca: Option<&str>) -> Settings {
        let mut settings = Settings::defaults();
        let at = |file: String| self.0.0.join(file);
        let files = |name: &&str| CertificateFiles {
            certificate: at(format!("{name}.crt")),
            key: at(format!("{name}.key")),
        };
        settings.tls.certificates = names.iter().map(files).collect();
        settings.tls.client_ca = client_ca.map(|file| at(file.to_owned()));
        settings
    }

    fn file(&self, name: &str) -> Place {
        Place::File(self.0.0.join(name))
    }
}

const BOTH: &str = "tls = [\"127.0.0.1:5349\"]\ndtls = [\"127.0.0.1:5349\"]";
const TLS: &str = "tls = [\"127.0.0.1:5349\"]";
const HOST: &str = "[http]\nhost = \"relay.example\"";

#[test]
fn the_certificate_of_an_authority_is_told_of() {
    let tls = Tls::new("authority", &PKCS_ECDSA_P256_SHA256);
    let key = KeyPair::from_pem(&std::fs::read_to_string(tls.0.0.join("a.key")).unwrap()).unwrap();
    for (is_ca, is_told) in [
        (rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained), true),
        (rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)), true),
        (rcgen::IsCa::ExplicitNoCa, false),
        (rcgen::IsCa::NoCa, false),
    ] {
        let mut parameters = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2040, 1, 1);
        parameters.is_ca = is_ca;
        tls.0.file("a.crt", &parameters.self_signed(&key).unwrap().pem(), 0o600);
        let found = tls.found(TLS, HOST).unwrap();
        assert_eq!(found.len(), usize::from(is_told), "{found:?}");
        for problem in found {
            assert_eq!(problem.place, tls.file("a.crt"));
            has(&problem.cure, "basicConstraints=critical,CA:FALSE");
        }
    }
}

#[test]
fn keys_that_dtls_cannot_use_are_refused_with_dtls_alone() {
    for (name, algorithm) in [("p256", &PKCS_ECDSA_P256_SHA256), ("p384", &PKCS_ECDSA_P384_SHA384)] {
        assert_eq!(Tls::new(name, algorithm).found(BOTH, HOST), Ok(Vec::new()), "{name}");
    }
    let other = Tls::new("ed25519", &PKCS_ED25519);
    assert_eq!(other.found(TLS, HOST), Ok(Vec::new()));
    let problems = other.found(BOTH, HOST).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, other.file("a.key"));
    has(&problems[0].cure, "ECDSA (P-256, P-384) or RSA");
}

#[test]
fn a_host_without_a_certificate_is_worth_a_warning() {
    let tls = Tls::new("host", &PKCS_ECDSA_P256_SHA256);
    let warnings = tls.found(TLS, "[http]\nhost = \"turn.example.org\"").unwrap();
    assert_eq!(warnings.len(), 1);
    has(&warnings[0].message, "no certificate of [tls] is for turn.example.org");
    for quiet in ["", HOST, "[http]\nhost = \"192.0.2.1\""] {
        assert_eq!(tls.found(TLS, quiet), Ok(Vec::new()), "{quiet}");
    }
    assert_eq!(
        tls.found("dtls = [\"127.0.0.1:5349\"]", "[http]\nhost = \"turn.example.org\""),
        Ok(Vec::new())
    );
}

#[test]
fn an_old_certificate_and_a_file_without_authorities_are_told_as_such() {
    let tls = Tls::new("old", &PKCS_ECDSA_P256_SHA256);
    tls.0.file("ca.crt", "nothing", 0o600);
    let problems = tls.found(TLS, "client_ca = \"ca.crt\"").unwrap_err();
    assert_eq!(problems[0].place, tls.file("ca.crt"));
    has(&problems[0].cure, "certificates of the authorities");
    tls.0.file("a.crt", V1, 0o600);
    let problems = tls.found(TLS, HOST).unwrap_err();
    assert_eq!(problems[0].place, tls.file("a.crt"));
    has(&problems[0].message, "certificate of version 1");
    has(&problems[0].cure, "subjectAltName");
}

#[test]
fn each_pair_is_judged_alone_and_its_predecessor_stays() {
    let tls = Tls::new("alone", &PKCS_ECDSA_P256_SHA256);
    tls.issue("b", 2040);
    let settings = tls.settings(&["a", "b"], None);
    let first = certificates(&settings, None, None, NOW).unwrap().unwrap();
    let is = |found: &Certificates, place: usize, other: &Certificates, its: usize| {
        found.keys[place].cert[0] == other.keys[its].cert[0]
    };
    // One is renewed while the other has expired.
    tls.issue("a", 2041);
    tls.issue("b", 2021);
    let errors = certificates(&settings, None, None, NOW).map(|_| ()).unwrap_err();
    assert_eq!(errors.len(), 1, "without a predecessor all must be good");
    let second = certificates(&settings, None, Some(&first), NOW).unwrap().unwrap();
    assert_eq!((second.keys.len(), second.errors.len()), (2, 1));
    assert_eq!(second.errors[0].place, tls.file("b.crt"));
    assert!(!is(&second, 0, &first, 0) && is(&second, 1, &first, 1));
    assert_eq!(second.expiry, 2_208_988_800, "2040-01-01");
    // Under a wrong name the one stays whose place it takes; one that is new has none.
    let wrong = tls.settings(&["wrong", "b", "new"], None);
    let third = certificates(&wrong, None, Some(&second), NOW).unwrap().unwrap();
    assert_eq!((third.keys.len(), third.errors.len()), (2, 3));
    assert!(is(&third, 0, &second, 0) && is(&third, 1, &second, 1));
    // Others change places with nobody.
    let swapped = tls.settings(&["b", "a"], None);
    let fourth = certificates(&swapped, None, Some(&third), NOW).unwrap().unwrap();
    assert!(is(&fourth, 0, &first, 1) && is(&fourth, 1, &second, 0));
    // What comes from an authority waits for nobody, and alone nothing is left.
    let own = OwnCertificate { key: Arc::clone(&first.keys[0]), begin: NOW, end: NOW + 1 };
    let added = certificates(&tls.settings(&["b"], None), Some(&own), Some(&first), NOW).unwrap().unwrap();
    assert_eq!((added.keys.len(), added.errors.len(), added.expiry), (2, 1, NOW + 1));
    let alone = certificates(&tls.settings(&[], None), Some(&own), None, NOW).unwrap().unwrap();
    assert!(certificates(&tls.settings(&["b"], None), None, Some(&alone), NOW).is_err());
}

#[test]
fn authorities_of_clients_that_are_of_no_use_leave_the_old_ones_in_force() {
    let tls = Tls::new("roots", &PKCS_ECDSA_P256_SHA256);
    let settings = tls.settings(&["a"], Some("a.crt"));
    let first = certificates(&settings, None, None, NOW).unwrap().unwrap();
    let wrong = tls.settings(&["a"], Some("missing"));
    let second = certificates(&wrong, None, Some(&first), NOW).unwrap().unwrap();
    assert_eq!(second.errors.len(), 1);
    assert!(second.client_roots.is_some());
    let third = certificates(&tls.settings(&["a"], None), None, Some(&second), NOW).unwrap().unwrap();
    assert!(third.client_roots.is_none() && third.errors.is_empty());
}

#[test]
fn a_byte_order_mark_hides_nothing() {
    let tls = Tls::new("mark", &PKCS_ECDSA_P256_SHA256);
    tls.issue("b", 2040);
    let text = |file: &str| std::fs::read_to_string(tls.0.0.join(file)).unwrap();
    tls.0.file("a.crt", &format!("\u{FEFF}{}{}", text("a.crt"), text("b.crt")), 0o600);
    tls.0.file("a.key", &format!("\u{FEFF}{}", text("a.key")), 0o600);
    let found = certificates(&tls.settings(&["a"], None), None, None, NOW).unwrap().unwrap();
    assert_eq!(found.keys[0].cert.len(), 2);
}

#[test]
fn keys_of_tokens_that_have_expired_are_named() {
    let settings = good(&format!(
        "[auth]\noauth = [{{ kid = \"new\", key = \"{key}\", algorithm = \"A128GCM\", expires = {} }}, \
         {{ kid = \"old\", key = \"{key}\", algorithm = \"A128GCM\", expires = {NOW} }}]",
        NOW + 1,
        key = "MDEyMzQ1Njc4OWFiY2RlZg==",
    ));
    let warnings = check_expiry(&settings, NOW);
    assert_eq!(warnings.len(), 1);
    has(&warnings[0].message, "the key `old` of `oauth` has expired");
}

/// What `tls.acme = {…}` is refused with; everything else about it is in order.
#[cfg(feature = "acme")]
fn acme(table: &str) -> String {
    bad(&format!(
        "[listen]\ntls = [\"0.0.0.0:443\"]\n[state]\ndirectory = \"s\"\n[tls]\nacme = {{ {table} }}"
    ))
}

#[cfg(feature = "acme")]
#[test]
fn acme_takes_full_names_a_mailto_and_a_url() {
    has(&acme("contact = \"mailto:a@b.example\""), "`acme` needs `domains`");
    has(&acme("domains = []"), "`acme` needs `domains`");
    has(&acme("domains = [\"*.example.org\"]"), "cannot be proven by TLS-ALPN-01");
    has(&acme("domains = [\"192.0.2.1\"]"), "is not a host name");
    has(&acme("domains = [\"turn\"]"), "is no name of the public DNS");
    has(&acme("domains = [\"a.example\"], contact = \"a@b.example\""), "write \"mailto:");
    has(
        &acme("domains = [\"a.example\"], directory = \"http://a.example/\""),
        "is not the URL of a directory",
    );
    has(&acme("domains = [\"a.example\"], email = \"a\""), "unknown key `email`");
    let settings = good(
        "[listen]\ntls = [\"0.0.0.0:443\"]\n[tls]\nacme = { domains = [\"Turn.Example.org\"], ca_file = \"root.pem\" }",
    );
    let acme = settings.tls.acme.unwrap();
    assert_eq!(acme.domains, ["turn.example.org"]);
    assert!(acme.directory.starts_with("https://acme-v02") && acme.contact.is_none());
    assert!(acme.ca_file.unwrap().ends_with("root.pem"));
}

#[cfg(feature = "acme")]
#[test]
fn acme_warns_of_what_keeps_the_authority_from_its_proof() {
    let with = |port: u16, state: &str, host: &str| {
        let text = format!(
            "[listen]\ntls = [\"0.0.0.0:{port}\"]\n[state]\ndirectory = {state:?}\n[http]\nhost = {host:?}\n[tls]\nacme = {{ \
             domains = [\"turn.example.org\"] }}"
        );
        let (_, warnings) = file(&text).unwrap();
        warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(with(443, "s", "turn.example.org"), "");
    has(&with(5349, "s", "turn.example.org"), "authorities ask at port 443");
    let lacking =
        good("[listen]\ntls = [\"0.0.0.0:443\"]\n[tls]\nacme = { domains = [\"turn.example.org\"] }");
    let problem = check_state(&lacking).unwrap();
    assert!(problem.is_error() && problem.message.contains("needs a state directory"));
    has(&with(443, "s", "www.example.org"), "`acme` gets no certificate for www.example.org");
}

#[test]
fn a_self_signed_certificate_stands_for_one_and_beside_none() {
    assert!(good("[listen]\ntls = [\"0.0.0.0:5349\"]\n[tls]\nself_signed = true").tls.makes_own());
    has(&warning("[tls]\nself_signed = true"), "`tls.self_signed` has no effect without a listener");
}
