//! Somebody who wants to know which allocations there are, and waits for the answer of a worker: it looks through some of
//! them at a time, and through no more before its other tasks have had their turn.

use tokio::sync::oneshot;

use crate::time::Now;
use crate::turn::{Lookup, Server, Session};

/// See the head of this file.
pub(super) struct Asked {
    lookup: Lookup,
    answer: oneshot::Sender<Vec<Session>>,
}

impl Asked {
    pub(super) const fn new(lookup: Lookup, answer: oneshot::Sender<Vec<Session>>) -> Self {
        Self { lookup, answer }
    }

    /// Goes on. `None`: it has been answered, or nobody waits any more.
    pub(super) fn go_on(mut self, server: &Server, now: &Now) -> Option<Self> {
        if self.answer.is_closed() {
            return None;
        }
        if !server.look_up(now, &mut self.lookup) {
            return Some(self);
        }
        // Whoever asked may have given up.
        let _ = self.answer.send(self.lookup.into_found());
        None
    }
}
