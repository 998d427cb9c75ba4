//! Stands for the DTLS library in a build without the feature `dtls`: there are no associations.

#![expect(clippy::needless_pass_by_ref_mut, reason = "these are called as the library's are")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::association::{Broken, Received};
use super::hello::ClientHello;

/// What the server proves to be; in this build nothing.
pub struct Identity(Infallible);

impl Identity {
    /// None.
    ///
    /// # Errors
    /// Always.
    pub fn new(_keys: &[Arc<CertifiedKey>], _client_roots: Option<&RootCertStore>) -> Result<Self, String> {
        Err("this build has no DTLS: build it with the feature `dtls`, or set listen.dtls to []".to_owned())
    }
}

/// Never.
pub(super) const fn has_panicked() -> bool {
    false
}

/// None.
pub(super) const fn take_panics() -> u32 {
    0
}

pub(super) struct Engine(Infallible);

impl Engine {
    pub(super) fn accept(
        identity: &Identity,
        _now: Instant,
        _hello: &ClientHello<'_>,
    ) -> Result<(Self, bool), Broken> {
        match identity.0 {}
    }

    pub(super) fn receive(&mut self, _now: Instant, _records: BytesMut) -> Received {
        match self.0 {}
    }

    pub(super) fn send(&mut self, _now: Instant, _message: &[u8]) -> Result<(), Broken> {
        match self.0 {}
    }

    pub(super) fn poll_transmit(&mut self) -> Option<BytesMut> {
        match self.0 {}
    }

    pub(super) fn handle_timeout(&mut self, _now: Instant) -> Result<(), Broken> {
        match self.0 {}
    }

    pub(super) fn close(&mut self, _now: Instant) {
        match self.0 {}
    }
}
