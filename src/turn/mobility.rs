//! Mobility (RFC 8016): an allocation follows its client to another 5-tuple.
//!
//! A ticket is sealed with a key that all workers share and names the allocation and its worker, so a request that
//! reaches another worker is handed on. After a move the allocation has two 5-tuples until the client sends data on
//! the new one.

use core::time::Duration;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use sha2::{Digest as _, Sha256};

use super::allocation::Allocation;
use super::request::{Answer, Refused, Request, Success};
use super::{AllocationId, ClientRoute, FiveTuple, RelaySockets, Server};
use crate::time::{Now, Timestamp};
use crate::wire::{Message, TransactionId, attr};

/// How long the ticket before is known, for retransmission (RFC 8016 §3.2.2: at least 30 seconds).
const RETRANSMISSION: Duration = Duration::from_secs(30);
/// How long an allocation waits for a client whose stream has closed and who has a ticket.
const ORPHANED: Duration = Duration::from_secs(60);

const NONCE: usize = 12;
const SEALED: usize = 21;
const TAG: usize = 16;

/// A sealed ticket: nonce, sealed contents, tag.
pub(super) type Ticket = [u8; NONCE + SEALED + TAG];

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents {
    worker: u8,
    /// Which life of the worker made it: one that begins anew numbers its allocations anew.
    life: u64,
    id: AllocationId,
    /// Counts the tickets of an allocation.
    serial: u32,
}

/// Seals and opens tickets.
pub(super) struct Tickets {
    cipher: Aes256Gcm,
    worker: u8,
    life: u64,
}

impl Tickets {
    /// `life` is another number each time that a worker begins anew.
    pub(super) fn new(key: [u8; 32], worker: u8, life: u64) -> Self {
        Self { cipher: Aes256Gcm::new(&key.into()), worker, life }
    }

    /// Tickets of a server that stands alone.
    pub(super) fn alone(seed: [u64; 4]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"mobility tickets");
        for word in seed {
            hash.update(word.to_be_bytes());
        }
        Self::new(hash.finalize().into(), 0, 0)
    }

    /// `nonce` is random, so that no two tickets are alike and nothing can be read from one.
    fn seal(&self, id: AllocationId, serial: u32, nonce: TransactionId) -> Ticket {
        let mut ticket = [0; NONCE + SEALED + TAG];
        let (head, tail) = ticket.split_at_mut(NONCE);
        let (sealed, tag) = tail.split_at_mut(SEALED);
        head.copy_from_slice(&nonce.0);
        sealed[0] = self.worker;
        sealed[1..9].copy_from_slice(&self.life.to_be_bytes());
        for (at, word) in [id.index, id.generation, serial].into_iter().enumerate() {
            sealed[9 + 4 * at..][..4].copy_from_slice(&word.to_be_bytes());
        }
        match self.cipher.encrypt_inout_detached(&nonce.0.into(), &[], sealed.into()) {
            Ok(value) => tag.copy_from_slice(&value),
            Err(_) => unreachable!("the contents are shorter than AES-GCM allows"),
        }
        ticket
    }

    /// What a genuine ticket says.
    fn open(&self, ticket: &[u8]) -> Option<Contents> {
        let mut ticket = <Ticket>::try_from(ticket).ok()?;
        let (nonce, tail) = ticket.split_first_chunk_mut::<NONCE>()?;
        let (sealed, tag) = tail.split_first_chunk_mut::<SEALED>()?;
        let tag = <[u8; TAG]>::try_from(&*tag).ok()?;
        let opened =
            self.cipher.decrypt_inout_detached(&(*nonce).into(), &[], (&mut sealed[..]).into(), &tag.into());
        opened.ok()?;
        let life = u64::from_be_bytes(*sealed.get(1..)?.first_chunk::<8>()?);
        let word =
            |at: usize| sealed.get(9 + 4 * at..)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word));
        let id = AllocationId { index: word(0)?, generation: word(1)? };
        Some(Contents { worker: sealed[0], life, id, serial: word(2)? })
    }
}

/// What the server keeps for an allocation whose client may move.
pub(super) struct Mobile {
    serial: u32,
    ticket: Ticket,
    /// The move that the ticket comes from, to know its retransmission.
    last: Option<Move>,
    /// Where the client has announced itself and not sent data from yet.
    pub(super) pending: Option<ClientRoute>,
    /// The client's stream has closed, and it has not come back yet.
    pub(super) orphaned: bool,
}

struct Move {
    transaction: TransactionId,
    to: FiveTuple,
    known_until: Timestamp,
}

impl Allocation {
    /// Whether the client has announced itself on this 5-tuple and sends data on it for the first time.
    pub(super) fn moves_to(&self, tuple: &FiveTuple) -> bool {
        self.mobility
            .as_ref()
            .is_some_and(|mobile| mobile.pending.is_some_and(|pending| pending.tuple == *tuple))
    }

    /// The ticket to be told to a retransmitted Allocate.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.mobility.as_ref().map(|mobile| mobile.ticket)
    }
}

impl Server {
    /// Whether an Allocate asks for a ticket (RFC 8016 §3.1.2).
    pub(super) fn wants_ticket(&self, message: &Message<'_>) -> Result<bool, Refused> {
        match message.get(attr::MOBILITY_TICKET) {
            None => Ok(false),
            Some([]) if !self.settings.mobility => Err(Refused::because(405)),
            Some([]) => Ok(true),
            Some(_) => Err(Refused::because(400)),
        }
    }

    /// The first ticket of an allocation that is about to be made.
    pub(super) fn first_ticket(&mut self, id: AllocationId) -> Box<Mobile> {
        let ticket = self.tickets.seal(id, 0, self.transaction_ids.next());
        Box::new(Mobile { serial: 0, ticket, last: None, pending: None, orphaned: false })
    }

    /// The worker that made a ticket, if it is another one.
    pub(super) fn ticket_elsewhere(&self, ticket: &[u8]) -> Option<u8> {
        let contents = self.tickets.open(ticket)?;
        (self.settings.mobility && contents.worker != self.tickets.worker).then_some(contents.worker)
    }

    /// Refresh with a ticket (RFC 8016 §3.2.2): the allocation is the ticket's, not the 5-tuple's.
    pub(super) fn refresh_moved(
        &mut self,
        request: &Request<'_>,
        ticket: &[u8],
        sockets: &mut impl RelaySockets,
    ) -> Answer {
        let Request { now, from, message, login } = request;
        if !self.settings.mobility {
            return Err(Refused::because(405));
        }
        let contents = self.tickets.open(ticket).ok_or(const { Refused::because(400) })?;
        let id = contents.id;
        let life = self.tickets.life;
        let allocation = self
            .allocations
            .get(id)
            .filter(|allocation| contents.life == life && allocation.expires > now.mono);
        let Some(allocation) = allocation else { return Err(Refused::because(437)) };
        let Some(mobile) = &allocation.mobility else { return Err(Refused::because(437)) };
        // The ticket before the last one works for the request that it was used in, and for nothing else.
        let again = mobile.last.as_ref().is_some_and(|last| {
            last.transaction == message.transaction() && last.to == from.tuple && last.known_until > now.mono
        });
        if again && contents.serial.wrapping_add(1) == mobile.serial {
            let same_user = login.may_use(&allocation.login, true);
            let ticket = same_user.then_some(mobile.ticket).ok_or(const { Refused::because(441) })?;
            let success = self.refresh_by_id(request, id, sockets)?;
            return Ok(Success { ticket: Some(ticket), ..success });
        }
        let is_here = allocation.route.tuple == from.tuple && !mobile.orphaned
            || mobile.pending.is_some_and(|pending| pending.tuple == from.tuple);
        if is_here || contents.serial != mobile.serial {
            return Err(Refused::because(400));
        }
        if !login.may_use(&allocation.login, true) {
            return Err(Refused::because(441));
        }
        // One 5-tuple, one allocation (RFC 8656 §5).
        if self.allocations.find(&from.tuple).is_some_and(|other| other != id) {
            return Err(Refused::because(437));
        }
        let success = self.refresh_by_id(request, id, sockets)?;
        let nonce = self.transaction_ids.next();
        let sealed = self.tickets.seal(id, contents.serial.wrapping_add(1), nonce);
        let Some(mobile) = self.allocations.get(id).and_then(|allocation| allocation.mobility.as_mut())
        else {
            // It was deleted: there is nothing to move.
            return Ok(success);
        };
        mobile.serial = mobile.serial.wrapping_add(1);
        mobile.ticket = sealed;
        mobile.last = Some(Move {
            transaction: message.transaction(),
            to: from.tuple,
            known_until: now.mono + RETRANSMISSION,
        });
        let orphaned = mobile.orphaned;
        if let Some(before) = self.allocations.announce(id, *from) {
            sockets.release(&before);
        }
        sockets.adopt(from);
        if orphaned {
            // There is no old way to go on with.
            self.complete_move(id, sockets);
        }
        Ok(Success { ticket: Some(sealed), ..success })
    }

    /// The client has sent data from where it announced itself, or its old way has gone: the old 5-tuple is forgotten.
    pub(super) fn complete_move(&mut self, id: AllocationId, sockets: &mut impl RelaySockets) {
        let Some((old, new)) = self.allocations.complete_move(id) else { return };
        self.counters.of(old.tuple.transport).allocations -= 1;
        self.counters.of(new.tuple.transport).allocations += 1;
        sockets.release(&old);
    }

    /// The stream of a client that can move has closed. Returns whether the allocation goes on.
    pub(super) fn survives_closing(
        &mut self,
        now: &Now,
        id: AllocationId,
        route: &ClientRoute,
        sockets: &mut impl RelaySockets,
    ) -> bool {
        let Some(allocation) = self.allocations.get(id) else { return false };
        let Some(mobile) = &allocation.mobility else { return false };
        match mobile.pending {
            Some(pending) if pending == *route => self.allocations.withdraw(id),
            Some(_) => self.complete_move(id, sockets),
            None if self.settings.mobility && !self.draining => {
                self.allocations.orphan(id, now.mono + ORPHANED);
            }
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8016_5_tickets_are_sealed_against_reading_and_change() {
        let tickets = Tickets::new([7; 32], 3, 9);
        let id = AllocationId { index: 1, generation: 2 };
        let sealed = tickets.seal(id, 5, TransactionId([1; 12]));
        assert_eq!(tickets.open(&sealed), Some(Contents { worker: 3, life: 9, id, serial: 5 }));
        for at in 0..sealed.len() {
            let mut forged = sealed;
            forged[at] ^= 1;
            assert_eq!(tickets.open(&forged), None, "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(tickets.open(&sealed[..len]), None, "{len} bytes");
        }
        assert_eq!(Tickets::new([8; 32], 3, 9).open(&sealed), None, "another key");
        let other = tickets.seal(id, 5, TransactionId([2; 12]));
        assert_ne!(sealed[NONCE..], other[NONCE..], "the same contents look different each time");
    }
}
