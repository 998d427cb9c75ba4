//! The one place that knows the DTLS library, `rtc-dtls`: DTLS 1.2 without I/O and without a clock.
//!
//! What the library leaves to be desired is made good here and by what `association.rs` lets through:
//!
//! - It keeps state from the first hello on. Here an association begins when the cookie has come back; the library is
//!   then shown the first hello once more and given the cookie as its own, so that its count of messages fits.
//! - It draws the explicit nonce of AES-GCM at random. Here it is counted (RFC 5288 §3 leaves the choice, as long as
//!   none comes twice).
//! - It does not look at what the client's Finished says. With the extended master secret (RFC 7627), which is
//!   required here, other messages make other keys, and a Finished that can be decrypted says the same.
//! - It copies the roots for certificates of clients, and makes a verifier of them, for each association. Here there is
//!   one verifier, which the library calls.
//! - A panic inside it ends one association, not the worker.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use rtc_crypto::{
    CryptoError, PublicKey, PublicKeyEncoding, RTCCrypto, RTCCryptoProvider, RTCRandom,
    SignatureScheme as LibraryScheme, SigningKey as LibraryKey,
};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{
    ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig, VerifyPeerCertificateFn,
};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as LibraryError;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{RootCertStore, SignatureAlgorithm, SignatureScheme};

use super::association::{Broken, Received};
use super::cookie::COOKIE_LEN;
use super::hello::ClientHello;
use super::record::{self, kind, records};
use crate::net::tls::client_verifier;

/// Payload of a handshake record; the smallest MTU of IPv6 holds it with all headers.
const HANDSHAKE_MTU: usize = 1200;
/// A HelloVerifyRequest, as a handshake message.
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Bytes of an explicit nonce.
const NONCE_LEN: usize = 8;
/// AEAD only, with forward secrecy.
const ECDSA_SUITES: [CipherSuiteId; 2] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
];
/// The same for RSA keys.
const RSA_SUITES: [CipherSuiteId; 2] = [
    CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
];
/// The library knows a peer by its address; an engine has one peer.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What the server proves to be: certificates with their keys.
pub struct Identity {
    /// Never empty.
    choices: Vec<Choice>,
    crypto: Arc<dyn RTCCryptoProvider>,
}

struct Choice {
    key: Arc<CertifiedKey>,
    suites: [CipherSuiteId; 2],
    template: ConfigBuilder,
}

impl Identity {
    /// With `keys`, not empty, chosen from by the name that the client asks for, the first for all others. With
    /// `client_roots`, clients must show a certificate that leads there.
    ///
    /// # Errors
    /// When there are none, the library cannot sign with one of them, or no certificate can be demanded from
    /// `client_roots`.
    pub fn new(keys: &[Arc<CertifiedKey>], client_roots: Option<&RootCertStore>) -> Result<Self, String> {
        let crypto = rtc_crypto::default_provider().map_err(|error| error.to_string())?;
        let verify = client_roots.map(verify_with).transpose()?;
        let choices = keys.iter().map(|key| Choice::new(key, verify.clone())).collect();
        let identity = Self { choices, crypto };
        for choice in &identity.choices {
            identity
                .config(choice, [0; COOKIE_LEN])
                .map_err(|Broken| "DTLS cannot use the key of one of the certificates in [tls]".to_owned())?;
        }
        if identity.choices.is_empty() {
            return Err("DTLS needs a certificate: set tls.certificate and tls.key".to_owned());
        }
        Ok(identity)
    }

    /// The certificate for a client: of the name it asks for, with a key it can check.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Choice> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |choice: &&Choice| choice.suites.iter().any(|suite| hello.offers(*suite as u16));
        let named = |choice: &&Choice| {
            let certificate = choice.key.end_entity_cert().and_then(ParsedCertificate::try_from);
            let name = asked.as_ref();
            name.is_some_and(|name| certificate.is_ok_and(|own| verify_server_name(&own, name).is_ok()))
        };
        let named = self.choices.iter().filter(named).find(fits);
        // Without any that fits, the library says so to the client.
        named.or_else(|| self.choices.iter().find(fits)).or_else(|| self.choices.first())
    }

    fn config(&self, choice: &Choice, cookie: [u8; COOKIE_LEN]) -> Result<HandshakeConfig, Broken> {
        let mut start = [0; NONCE_LEN];
        self.crypto.random().fill(&mut start).map_err(|_| Broken)?;
        let provider = Provider {
            crypto: Arc::clone(&self.crypto),
            cookie,
            given: AtomicBool::new(false),
            nonce: AtomicU64::new(u64::from_be_bytes(start)),
        };
        choice
            .template
            .clone()
            .with_crypto_provider(Arc::new(provider))
            .build(false, None)
            .map_err(|_| Broken)
    }
}

impl Choice {
    fn new(key: &Arc<CertifiedKey>, verify: Option<VerifyPeerCertificateFn>) -> Self {
        let spki = key.key.public_key().map(|spki| spki.as_ref().to_vec()).unwrap_or_default();
        let suites = if key.key.algorithm() == SignatureAlgorithm::RSA { RSA_SUITES } else { ECDSA_SUITES };
        let signer = Arc::new(Key { key: Arc::clone(&key.key), spki });
        // Any: `verify` says which.
        let client_auth = match verify {
            None => ClientAuthType::NoClientCert,
            Some(_) => ClientAuthType::RequireAnyClientCert,
        };
        let template = ConfigBuilder::default()
            .with_client_auth(client_auth)
            .with_verify_peer_certificate(verify)
            .with_certificates(vec![Certificate::from_signing_key(key.cert.clone(), signer)])
            .with_cipher_suites(suites.to_vec())
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            // This is about the certificates of servers; here there are none to be checked.
            .with_insecure_skip_verify(true)
            .with_mtu(HANDSHAKE_MTU);
        Self { key: Arc::clone(key), suites, template }
    }
}

/// Decides about the certificates of clients.
fn verify_with(roots: &RootCertStore) -> Result<VerifyPeerCertificateFn, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = client_verifier(Arc::new(roots.clone()), &provider).map_err(|error| error.to_string())?;
    Ok(Arc::new(move |shown, _| {
        let chain: Vec<CertificateDer<'_>> = shown.iter().map(|der| der.as_slice().into()).collect();
        let (own, issuers) = chain.split_first().ok_or(LibraryError::ErrClientCertificateRequired)?;
        match verifier.verify_client_cert(own, issuers, UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(error) => Err(LibraryError::Other(error.to_string())),
        }
    }))
}

/// One DTLS association, seen from the server.
pub(super) struct Engine {
    endpoint: Endpoint,
    /// Added to the numbers of records of epoch 0 that leave, so that the first one has the number of the hello's
    /// record (RFC 6347 §4.2.1).
    offset: u64,
}

impl Engine {
    /// Begins with a hello whose cookie is good. Says too whether the association goes on; if not, there may be an
    /// alert to be sent.
    pub(super) fn accept(
        identity: &Identity,
        now: Instant,
        hello: &ClientHello<'_>,
    ) -> Result<(Self, bool), Broken> {
        let cookie = hello.cookie().try_into().map_err(|_| Broken)?;
        guard(|| {
            let config = Arc::new(identity.config(identity.choose(hello).ok_or(Broken)?, cookie)?);
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Some(config));
            let mut read = |record: &[u8]| endpoint.read(now, PEER, None, BytesMut::from(record)).is_ok();
            let goes_on = read(&hello.without_cookie()) && read(hello.record());
            // Its HelloVerifyRequest would have been number 0, and the first record that is meant is number 1.
            Ok((Self { endpoint, offset: hello.sequence.wrapping_sub(1) }, goes_on))
        })
    }

    /// Takes in whole records.
    pub(super) fn receive(&mut self, now: Instant, records: BytesMut) -> Received {
        let mut received = Received::default();
        match guard(|| self.endpoint.read(now, PEER, None, records).map_err(|_| Broken)) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => received.established = true,
                        EndpointEvent::ApplicationData(data) => received.data.push(data),
                        EndpointEvent::PeerClosed => received.ended = true,
                        _ => {}
                    }
                }
            }
            Err(Broken) => received.ended = true,
        }
        received
    }

    /// Protects one message for the client; the record comes out of [`Self::poll_transmit`].
    pub(super) fn send(&mut self, now: Instant, message: &[u8]) -> Result<(), Broken> {
        guard(|| self.endpoint.write(now, PEER, message).map_err(|_| Broken))
    }

    /// The next datagram for the client.
    pub(super) fn poll_transmit(&mut self) -> Option<BytesMut> {
        loop {
            let mut datagram = self.endpoint.poll_transmit()?.message;
            // The first hello has been answered before there was any state.
            let answered = records(&datagram).next().is_some_and(|record| {
                record.kind == kind::HANDSHAKE
                    && record.epoch == 0
                    && record.fragment.first() == Some(&HELLO_VERIFY_REQUEST)
            });
            if !answered {
                record::renumber(&mut datagram, self.offset);
                return Some(datagram);
            }
        }
    }

    /// Repeats what the client may have missed. To be called now and then while the handshake lasts.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Broken> {
        guard(|| self.endpoint.handle_timeout(PEER, now).map_err(|_| Broken))
    }

    /// Says goodbye to the client (close_notify).
    pub(super) fn close(&mut self, now: Instant) {
        // There is nothing more to lose.
        let _ = guard(|| {
            drop(self.endpoint.stop(now, PEER));
            Ok(())
        });
    }
}

/// Panics of the library that nobody has been told about.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// Whether there is one to be told about.
pub(super) fn has_panicked() -> bool {
    PANICS.load(Ordering::Relaxed) > 0
}

/// How many there have been since the last call.
pub(super) fn take_panics() -> u32 {
    PANICS.swap(0, Ordering::Relaxed)
}

/// Runs the library. Whatever panics in it is over for its association.
fn guard<T>(run: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        // Who can bring this about can do so often; the log is written elsewhere, at its own pace.
        PANICS.fetch_add(1, Ordering::Relaxed);
        Err(Broken)
    })
}

/// The library's cryptography with our own cookie and our own nonces.
struct Provider {
    crypto: Arc<dyn RTCCryptoProvider>,
    cookie: [u8; COOKIE_LEN],
    /// Whether the cookie has been drawn.
    given: AtomicBool,
    nonce: AtomicU64,
}

impl RTCCryptoProvider for Provider {
    fn name(&self) -> &'static str {
        "relais"
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.crypto.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        self
    }
}

impl RTCRandom for Provider {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        match output.len() {
            COOKIE_LEN if !self.given.swap(true, Ordering::Relaxed) => output.copy_from_slice(&self.cookie),
            NONCE_LEN => {
                output.copy_from_slice(&self.nonce.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            }
            _ => self.crypto.random().fill(output)?,
        }
        Ok(())
    }
}

/// A key of `rustls` as the library wants it.
struct Key {
    key: Arc<dyn SigningKey>,
    spki: Vec<u8>,
}

impl Key {
    const fn scheme(scheme: LibraryScheme) -> Option<SignatureScheme> {
        Some(match scheme {
            LibraryScheme::Ed25519 => SignatureScheme::ED25519,
            LibraryScheme::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            LibraryScheme::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            LibraryScheme::RsaPkcs1Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
            LibraryScheme::RsaPkcs1Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
            LibraryScheme::RsaPkcs1Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
            _ => return None,
        })
    }
}

impl LibraryKey for Key {
    fn supports(&self, scheme: LibraryScheme) -> bool {
        Self::scheme(scheme).is_some_and(|scheme| self.key.choose_scheme(&[scheme]).is_some())
    }

    fn public_key(&self) -> PublicKey<'_> {
        PublicKey { encoding: PublicKeyEncoding::SubjectPublicKeyInfoDer, bytes: &self.spki }
    }

    fn sign(&self, scheme: LibraryScheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signer = Self::scheme(scheme).and_then(|scheme| self.key.choose_scheme(&[scheme]));
        let signer = signer.ok_or(CryptoError::InvalidPrivateKey)?;
        signer.sign(message).map_err(|_| CryptoError::InvalidPrivateKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_over_for_its_association_and_is_counted_until_it_is_told() {
        for told in [3, 2] {
            assert!(!has_panicked());
            for _ in 0..told {
                assert_eq!(guard::<()>(|| panic!("as the library might")), Err(Broken));
            }
            assert!(has_panicked());
            assert_eq!(take_panics(), told);
        }
        assert_eq!(guard(|| Ok(1)), Ok(1));
    }

    #[test]
    fn all_associations_share_one_verifier() {
        let made = rcgen::generate_simple_self_signed(vec!["relay.example".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = aws_lc_rs::default_provider();
        let key = Arc::new(CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let verify = verify_with(&roots).unwrap();
        let crypto = rtc_crypto::default_provider().unwrap();
        let identity = Identity { choices: vec![Choice::new(&key, Some(Arc::clone(&verify)))], crypto };
        let configs: Vec<HandshakeConfig> =
            (0..5).map(|_| identity.config(&identity.choices[0], [0; COOKIE_LEN]).unwrap()).collect();
        assert_eq!(
            Arc::strong_count(&verify),
            1 + 1 + configs.len(),
            "ours, the template's, and one for each"
        );
        let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
        assert!(verify(&[made.cert.der().to_vec()], &[]).is_ok());
        assert!(verify(&[other.cert.der().to_vec()], &[]).is_err(), "nobody's");
        assert!(verify(&[], &[]).is_err());
    }
}
