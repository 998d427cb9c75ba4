//! How all workers learn what is revoked: each finds the newest list whenever it looks, so that no full mailbox and no
//! worker that hangs keeps it from the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::auth::{Revocations, Revoked};

/// Changes that a worker can catch up with one by one. One that has missed more looks through the whole list.
const CHANGES: usize = 64;

/// One change of the list.
#[derive(Clone)]
struct Change {
    /// What has come to the list; `None`: it only lost something.
    new: Option<Arc<Revoked>>,
    /// Each worker says here how many allocations that has ended.
    ended: mpsc::Sender<u64>,
}

/// The list with its latest changes.
#[derive(Clone, Default)]
pub(super) struct Decree {
    list: Arc<Revocations>,
    /// How many changes there have been.
    number: u64,
    latest: VecDeque<Change>,
}

/// Tells the workers.
pub(super) struct Crier(watch::Sender<Decree>);

impl Crier {
    pub(super) fn new(list: Arc<Revocations>) -> Self {
        Self(watch::Sender::new(Decree { list, ..Decree::default() }))
    }

    /// How one worker hears of it.
    pub(super) fn ear(&self) -> Ear {
        Ear { decree: self.0.subscribe(), heard: 0 }
    }

    /// Puts `list`, which is the last one with `new` or with something left out, in place at once. What is returned waits
    /// until all workers have acted on it, `patience` at most, and says how many allocations that has ended.
    pub(super) fn tell(
        &self,
        list: Arc<Revocations>,
        new: Option<Revoked>,
        patience: Duration,
    ) -> impl Future<Output = Option<u64>> + Send + use<> {
        let workers = self.0.receiver_count();
        let (ended, mut answers) = mpsc::channel(workers.max(1));
        let change = Change { new: new.map(Arc::new), ended };
        self.0.send_modify(|decree| {
            decree.list = list;
            decree.number += 1;
            if decree.latest.len() >= CHANGES {
                decree.latest.pop_front();
            }
            decree.latest.push_back(change);
        });
        async move {
            let all = async {
                let mut sum = 0;
                for _ in 0..workers {
                    sum += answers.recv().await?;
                }
                Some(sum)
            };
            tokio::time::timeout(patience, all).await.ok().flatten()
        }
    }
}

/// What a worker has to look for among its allocations.
pub(super) enum Search {
    /// What this one entry concerns.
    One(Arc<Revoked>),
    /// What anything in the list concerns.
    All,
    /// Nothing.
    Nothing,
}

/// A worker's own place in the order of changes. It outlives a failure of the worker.
pub(super) struct Ear {
    decree: watch::Receiver<Decree>,
    heard: u64,
}

impl Ear {
    /// A worker begins, without allocations: `act` gets the list.
    pub(super) fn begin(&mut self, mut act: impl FnMut(&Arc<Revocations>) -> u64) {
        let list = Arc::clone(&self.decree.borrow().list);
        act(&list);
        self.hear(|list, _| act(list));
    }

    /// Waits for a change. Without a crier there is none.
    pub(super) async fn news(&mut self) {
        if self.decree.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Takes note of all changes: `act` gets the newest list and what to look for, and says how many allocations have ended.
    pub(super) fn hear(&mut self, mut act: impl FnMut(&Arc<Revocations>, Search) -> u64) {
        // Nobody who cries waits for what is done about it.
        let Decree { list, number, latest } = self.decree.borrow_and_update().clone();
        let first = number.saturating_sub(latest.len() as u64);
        if self.heard < first {
            act(&list, Search::All);
        }
        let known = usize::try_from(self.heard.saturating_sub(first)).unwrap_or(usize::MAX);
        for Change { new, ended } in latest.into_iter().skip(known) {
            let search = new.map_or(Search::Nothing, Search::One);
            // Whoever asked may have given up.
            let _ = ended.try_send(act(&list, search));
        }
        self.heard = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Revocation;

    const SOON: Duration = Duration::from_secs(20);

    fn entry(number: u32) -> Revoked {
        Revoked { what: Revocation::User(number.to_string()), issuer: None, at: 0 }
    }

    fn list(most: u32) -> Arc<Revocations> {
        Arc::new(Revocations::new((0..most).map(entry)))
    }

    #[tokio::test]
    async fn each_worker_is_told_of_the_new_entry_and_the_sum_comes_back() {
        let crier = Crier::new(list(1));
        let mut ears = [crier.ear(), crier.ear()];
        let waiting = crier.tell(list(2), Some(entry(1)), SOON);
        for ear in &mut ears {
            ear.news().await;
            ear.hear(|_, search| match search {
                Search::One(new) if *new == entry(1) => 3,
                _ => panic!("only what is new is looked for"),
            });
            ear.hear(|_, _| panic!("once"));
        }
        assert_eq!(waiting.await, Some(6));
        let waiting = crier.tell(list(1), None, SOON);
        for ear in &mut ears {
            ear.hear(
                |_, search| {
                    if matches!(search, Search::Nothing) { 0 } else { panic!("a removal ends nothing") }
                },
            );
        }
        assert_eq!(waiting.await, Some(0));
    }

    #[tokio::test]
    async fn one_that_hangs_keeps_nothing_from_the_others_and_catches_up() {
        let crier = Crier::new(list(0));
        let (mut dead, mut alive) = (crier.ear(), crier.ear());
        for number in 0..1000 {
            let waiting = crier.tell(list(number + 1), Some(entry(number)), Duration::from_millis(1));
            let mut told = 0;
            alive.hear(|_, search| {
                assert!(matches!(search, Search::One(new) if *new == entry(number)));
                told += 1;
                0
            });
            assert_eq!(told, 1);
            if number == 0 {
                assert_eq!(waiting.await, None, "not all have acted");
            }
        }
        assert_eq!(crier.0.borrow().latest.len(), CHANGES);
        let mut searches = Vec::new();
        dead.hear(|_, search| {
            searches.push(search);
            0
        });
        assert!(matches!(searches[0], Search::All), "it looks for everything that it has missed");
        drop(dead);
        let waiting = crier.tell(list(1), None, SOON);
        alive.hear(|_, _| 0);
        assert_eq!(waiting.await, Some(0), "a worker that has stopped is not waited for");
    }
}
