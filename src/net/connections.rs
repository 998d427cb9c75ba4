//! The peer data connections of all workers, by CONNECTION-ID (RFC 6062). The kernel takes a client's data connection to
//! any worker, so a connection that waits for its ConnectionBind is handed over here. Nothing here is asked for bytes
//! that are relayed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[expect(clippy::disallowed_types, reason = "connections go from one worker to another")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::till::Till;
use crate::turn::{ConnectionEnd, ConnectionId, Traffic, Waiting};

/// How many numbers are drawn until one is free: with the most connections that descriptors allow, one in a thousand
/// is taken.
const DRAWS: usize = 16;

/// What a connection has relayed so far, for the worker of its allocation.
#[derive(Default)]
pub(super) struct Tally {
    to_peer: AtomicU64,
    to_client: AtomicU64,
}

impl Tally {
    pub(super) fn add_to_peer(&self, bytes: usize) {
        self.to_peer.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_to_client(&self, bytes: usize) {
        self.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// To the peer, and to the client. A stream has no datagrams to count.
    pub(super) fn read(&self) -> (Traffic, Traffic) {
        let read = |bytes: &AtomicU64| Traffic { packets: 0, bytes: bytes.load(Ordering::Relaxed) };
        (read(&self.to_peer), read(&self.to_client))
    }
}

/// What stays with the worker of the allocation.
pub(super) struct Leash {
    pub(super) tally: Arc<Tally>,
    /// Whoever relays stops when this is dropped.
    _stop: oneshot::Sender<Infallible>,
}

/// What whoever relays gets.
pub(super) struct Claim {
    /// The connection with the peer.
    pub(super) stream: TcpStream,
    pub(super) tally: Arc<Tally>,
    /// Where it pays, if its allocation is metered.
    pub(super) till: Option<Arc<Till>>,
    /// Ends when the allocation does.
    pub(super) stop: oneshot::Receiver<Infallible>,
    /// Tells the worker of the allocation.
    pub(super) done: oneshot::Sender<ConnectionEnd>,
}

/// How both ends of the handing over are tied together, before there is a connection to hand over.
pub(super) struct Ties {
    pub(super) tally: Arc<Tally>,
    pub(super) till: Option<Arc<Till>>,
    pub(super) stop: oneshot::Receiver<Infallible>,
}

/// Ties for one connection of an allocation with this meter.
pub(super) fn tie(till: Option<Arc<Till>>) -> (Leash, Ties) {
    let (sender, stop) = oneshot::channel();
    let tally = Arc::new(Tally::default());
    (Leash { tally: Arc::clone(&tally), _stop: sender }, Ties { tally, till, stop })
}

enum Slot {
    /// Being made, or bound: the number is in use.
    Taken,
    Waiting(Box<(Waiting, Claim)>),
}

/// See the head of this file.
pub(super) struct Connections {
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    slots: Mutex<HashMap<ConnectionId, Slot>>,
}

impl Connections {
    pub(super) fn new() -> Self {
        #[expect(clippy::disallowed_types, reason = "see the head of this file")]
        Self { slots: Mutex::new(HashMap::new()) }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<ConnectionId, Slot>> {
        // A worker that panicked holding the lock has left whole entries.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no connection has. It is random, so that nobody can guess it for a connection of another device
    /// of the same user.
    pub(super) fn reserve(&self) -> Option<ConnectionId> {
        let mut slots = self.slots();
        for _ in 0..DRAWS {
            let id = ConnectionId(getrandom::u32().ok()?);
            if let std::collections::hash_map::Entry::Vacant(entry) = slots.entry(id) {
                entry.insert(Slot::Taken);
                return Some(id);
            }
        }
        None
    }

    /// Lets a connection be claimed. One that has been given up meanwhile is closed.
    pub(super) fn offer(&self, id: ConnectionId, waiting: Waiting, claim: Claim) {
        if let Some(slot) = self.slots().get_mut(&id) {
            *slot = Slot::Waiting(Box::new((waiting, claim)));
        }
    }

    /// Who may claim a connection.
    pub(super) fn waiting(&self, id: ConnectionId) -> Option<Waiting> {
        match self.slots().get(&id)? {
            Slot::Waiting(entry) => Some(entry.0.clone()),
            Slot::Taken => None,
        }
    }

    /// Hands a connection over, once.
    pub(super) fn claim(&self, id: ConnectionId) -> Option<Claim> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&id)?;
        match std::mem::replace(slot, Slot::Taken) {
            Slot::Waiting(entry) => Some(entry.1),
            Slot::Taken => None,
        }
    }

    /// Closes a connection that waits. `false`: it does not wait any more.
    pub(super) fn withdraw(&self, id: ConnectionId) -> bool {
        let mut slots = self.slots();
        let waits = matches!(slots.get(&id), Some(Slot::Waiting(..)));
        let removed = if waits { slots.remove(&id) } else { None };
        drop(slots);
        removed.is_some()
    }

    /// Makes a number free again; what waits under it is closed.
    pub(super) fn release(&self, id: ConnectionId) {
        let removed = self.slots().remove(&id);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};

    use super::*;
    use crate::auth::{self, Authenticator, Credential, Revocations, Stage, User};
    use crate::time::{Now, Timestamp};
    use crate::wire::{Class, IntegrityKey, Message, MessageWriter, TransactionId, attr, method};

    fn claim(ties: Ties) -> (Claim, oneshot::Receiver<ConnectionEnd>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (done, ended) = oneshot::channel();
        (Claim { stream, tally: ties.tally, till: ties.till, stop: ties.stop, done }, ended)
    }

    fn begin(buffer: &mut [u8]) -> MessageWriter<'_> {
        MessageWriter::to(buffer, method::ALLOCATE, Class::Request, TransactionId([0; 12]))
    }

    /// alice has logged in.
    fn waiting() -> Waiting {
        let credential = Credential::Password("wonder".to_owned().into());
        let users = vec![User { name: "alice".into(), credential }];
        let settings = auth::Settings {
            realm: "relais".into(),
            nonce_lifetime: std::time::Duration::from_secs(60),
            users,
            secrets: Vec::new(),
            separator: ':',
            expired: auth::Expired::Grace,
            oauth: Vec::new(),
            server_name: String::new(),
        };
        let authenticator = Authenticator::new(settings, &[1; 32]).unwrap();
        let now = Now { mono: Timestamp::START, unix: 0 };
        let client = "9.9.9.9:9".parse().unwrap();
        let mut buffer = [0; 512];
        let mut writer = begin(&mut buffer);
        authenticator.challenge(&mut writer, &now, client, 3478);
        let len = writer.finish().unwrap();
        let nonce = Message::parse(&buffer[..len]).unwrap().get(attr::NONCE).unwrap().to_vec();
        let mut writer = begin(&mut buffer);
        let key = Md5::digest(b"alice:relais:wonder");
        writer
            .attribute(attr::USERNAME, b"alice")
            .attribute(attr::REALM, b"relais")
            .attribute(attr::NONCE, &nonce)
            .message_integrity(&IntegrityKey::new(&key));
        let len = writer.finish().unwrap();
        let request = Message::parse(&buffer[..len]).unwrap();
        let login =
            authenticator.check(&now, &request, true, None, Stage::Begin, &Revocations::default()).unwrap();
        Waiting { login, until: Timestamp::START }
    }

    #[test]
    fn a_connection_is_handed_over_once() {
        let table = Connections::new();
        let id = table.reserve().unwrap();
        assert!(table.waiting(id).is_none() && table.claim(id).is_none(), "it is still being made");
        let (leash, ties) = tie(None);
        let (offered, mut ended) = claim(ties);
        table.offer(id, waiting(), offered);
        assert_eq!(table.waiting(id).unwrap().login.user(), "alice");
        let mut claimed = table.claim(id).unwrap();
        assert!(table.claim(id).is_none() && table.waiting(id).is_none() && !table.withdraw(id));
        claimed.tally.add_to_peer(3);
        assert_eq!(leash.tally.read().0.bytes, 3);
        drop(leash);
        assert!(claimed.stop.try_recv().is_err(), "the allocation's end is noticed");
        claimed.done.send(ConnectionEnd::Closed).unwrap();
        assert_eq!(ended.try_recv(), Ok(ConnectionEnd::Closed));
        table.release(id);
        assert!(table.slots().is_empty());
    }

    #[test]
    fn what_is_withdrawn_or_released_is_closed() {
        let table = Connections::new();
        for withdraw in [true, false] {
            let id = table.reserve().unwrap();
            let (offered, mut ended) = claim(tie(None).1);
            table.offer(id, waiting(), offered);
            if withdraw {
                assert!(table.withdraw(id));
            } else {
                table.release(id);
            }
            assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
            let (late, mut ended) = claim(tie(None).1);
            table.offer(id, waiting(), late);
            assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed), "too late to be offered");
            assert!(table.slots().is_empty());
        }
    }
}
