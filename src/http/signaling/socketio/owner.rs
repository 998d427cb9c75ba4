//! Whom a session belongs to.

use crate::http::admission::Prefix;
use crate::http::caller::{Caller, copied};
use axum::http::{HeaderMap, HeaderValue, header};
use std::sync::OnceLock;

/// Who opened a session, as far as requests show it. Its secret is all that a later request brings, so in case somebody
/// else gets hold of it, it is good for them only.
pub(super) struct Owner {
    prefix: Prefix,
    agent: Option<HeaderValue>,
    /// Whether it was a request with an Origin. A page of the same origin sends none with GET, and one with POST.
    is_page: bool,
    /// The Origin that was named first.
    page: OnceLock<HeaderValue>,
}

impl Owner {
    pub(super) fn new(caller: &Caller, headers: &HeaderMap) -> Self {
        let page = caller.origin_value.clone();
        Self {
            prefix: caller.prefix,
            agent: headers.get(header::USER_AGENT).map(copied),
            is_page: page.is_some(),
            page: page.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// Whether a later request comes from the same.
    pub(super) fn is(&self, caller: &Caller, headers: &HeaderMap, is_websocket: bool) -> bool {
        let agent = headers.get(header::USER_AGENT);
        // Clients outside of browsers often have another library for WebSockets, which does not name itself.
        let is_same = agent == self.agent.as_ref() || is_websocket && agent.is_none();
        self.prefix == caller.prefix
            && is_same
            && match &caller.origin_value {
                Some(page) => self.page.get_or_init(|| page.clone()) == page,
                None => !self.is_page,
            }
    }
}
