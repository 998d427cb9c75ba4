//! A server that has nobody in it and revokes nothing.
#![allow(dead_code, reason = "not every test that includes this uses all of it")]

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use relais::http::{
    Control, ControlError, Refused, Revocation, RevocationEntry, Revoked, Session, SessionFilter, View,
    ViewRequest,
};

/// See above.
pub(crate) struct Nobody;

impl Control for Nobody {
    fn revoke(
        &self,
        _what: Revocation,
        _issuer: Option<String>,
    ) -> BoxFuture<'static, Result<Revoked, ControlError>> {
        async { Err(ControlError::Silent) }.boxed()
    }

    fn lift(
        &self,
        _what: Revocation,
        _issuer: Option<String>,
    ) -> BoxFuture<'static, Result<bool, ControlError>> {
        async { Err(ControlError::Silent) }.boxed()
    }

    fn revocations(&self) -> BoxFuture<'static, Vec<RevocationEntry>> {
        async { Vec::new() }.boxed()
    }

    fn sessions(&self, _filter: SessionFilter) -> BoxFuture<'static, Result<Vec<Session>, ControlError>> {
        async { Err(ControlError::Silent) }.boxed()
    }

    fn refusals(&self, _user: Option<String>) -> BoxFuture<'static, Vec<Refused>> {
        async { Vec::new() }.boxed()
    }

    fn view(&self, _asked: ViewRequest) -> BoxFuture<'static, Result<View, ControlError>> {
        async { Err(ControlError::Silent) }.boxed()
    }
}
