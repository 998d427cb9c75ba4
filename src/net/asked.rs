//! Those who want to know which allocations there are, and wait for the answer of a worker: it looks through some of
//! them at a time, and through no more before its other tasks have had their turn.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::time::Now;
use crate::turn::{Lookup, Server, Session};

/// Searches that wait; one more gets no answer.
const MOST: usize = 64;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Asked {
    waiting: VecDeque<(Lookup, oneshot::Sender<Vec<Session>>)>,
}

impl Asked {
    pub(super) fn add(&mut self, lookup: Lookup, answer: oneshot::Sender<Vec<Session>>) {
        if self.waiting.len() < MOST {
            self.waiting.push_back((lookup, answer));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Goes on with the first search.
    pub(super) fn go_on(&mut self, server: &Server, now: &Now) {
        // Those who have given up by now cost nothing.
        self.waiting.retain(|(_, answer)| !answer.is_closed());
        let Some((lookup, _)) = self.waiting.front_mut() else { return };
        if server.look_up(now, lookup)
            && let Some((lookup, answer)) = self.waiting.pop_front()
        {
            let _ = answer.send(lookup.into_found());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn so_many_wait_and_no_more() {
        let mut asked = Asked::default();
        let mut answers = Vec::new();
        for _ in 0..=MOST {
            let (sender, answer) = oneshot::channel();
            asked.add(Lookup::new(None, 1), sender);
            answers.push(answer);
        }
        assert_eq!(asked.waiting.len(), MOST);
        assert_eq!(answers.pop().unwrap().try_recv().unwrap_err(), TryRecvError::Closed);
        assert!(
            answers
                .iter_mut()
                .all(|answer| answer.try_recv().is_err_and(|error| error == TryRecvError::Empty))
        );
    }
}
