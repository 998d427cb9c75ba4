//! Certificates that are of no use, or of less than hoped, and where it says so.

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
        certificates(&settings, None, NOW).map(|found| found.unwrap().warnings)
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
