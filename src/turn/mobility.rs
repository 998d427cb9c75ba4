//! Mobility (RFC 8016): an allocation follows its client to another 5-tuple.
//!
//! A ticket is sealed with a key that all workers share and names the allocation and its worker, so a request that
//! reaches another worker is handed on. After a move the allocation has two 5-tuples until the client sends data on
//! the new one.

use core::time::Duration;

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::allocation::Allocation;
use super::policy::is_tunnelled;
use super::request::{Answer, Refused, Request, Success};
use super::{AllocationId, ClientRoute, Event, FiveTuple, RelaySockets, Server};
use crate::time::{Now, Timestamp};
use crate::wire::{Message, TransactionId, attr};

/// How long the ticket before is known, for retransmission (RFC 8016 §3.2.2: at least 30 seconds).
const RETRANSMISSION: Duration = Duration::from_secs(30);
/// How long an allocation waits for a client whose stream has closed and who has a ticket.
const ORPHANED: Duration = Duration::from_secs(60);

/// One block of AES.
const SEALED: usize = 16;
/// Forgeries can only be tried on the server itself, with a login, and must name a living allocation besides.
const TAG: usize = 8;
/// The tickets of an allocation are counted in so many bits.
const SERIAL_BITS: u32 = 24;

/// A sealed ticket: base64 of one block of ciphertext and the first bytes of an HMAC-SHA256 over it. 32 characters and no
/// zero byte: coturn's client keeps tickets as C strings of so many.
pub(super) type Ticket = [u8; (SEALED + TAG) / 3 * 4];

/// What a ticket says. No two tickets say the same, so a block alone hides it: no mode, no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents {
    worker: u8,
    /// Which life of the worker made it: one that begins anew numbers its allocations anew.
    life: u32,
    id: AllocationId,
    /// Counts the tickets of an allocation.
    serial: u32,
}

/// Seals and opens tickets.
pub(super) struct Tickets {
    cipher: Aes256,
    mac: Hmac<Sha256>,
    worker: u8,
    life: u32,
}

impl Tickets {
    /// `life` is another number each time that a worker begins anew.
    pub(super) fn new(key: [u8; 32], worker: u8, life: u64) -> Self {
        let derive =
            |what: &[u8]| -> [u8; 32] { Sha256::new_with_prefix(what).chain_update(key).finalize().into() };
        let Ok(mac) = Hmac::new_from_slice(&derive(b"ticket integrity")) else {
            unreachable!("HMAC takes keys of any length")
        };
        let digest: [u8; 32] = Sha256::digest(life.to_be_bytes()).into();
        let life = digest.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        Self { cipher: Aes256::new(&derive(b"ticket secrecy").into()), mac, worker, life }
    }

    /// Tickets of a server that stands alone.
    pub(super) fn alone(seed: [u64; 4]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"mobility tickets");
        for word in seed {
            hash.update(word.to_be_bytes());
        }
        Self::new(hash.finalize().into(), 0, 0)
    }

    fn seal(&self, id: AllocationId, serial: u32) -> Ticket {
        let mut block = [0; SEALED];
        block[0] = self.worker;
        for (at, word) in [self.life, id.index, id.generation].into_iter().enumerate() {
            block[1 + 4 * at..][..4].copy_from_slice(&word.to_be_bytes());
        }
        block[13..].copy_from_slice(&serial.to_be_bytes()[1..]);
        let mut block = block.into();
        self.cipher.encrypt_block(&mut block);
        let mut raw = [0; SEALED + TAG];
        raw[..SEALED].copy_from_slice(&block);
        raw[SEALED..].copy_from_slice(&self.tag(&block));
        let mut ticket = [0; size_of::<Ticket>()];
        let encoded = STANDARD_NO_PAD.encode_slice(raw, &mut ticket);
        debug_assert_eq!(encoded, Ok(ticket.len()));
        ticket
    }

    fn tag(&self, sealed: &[u8]) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        mac.update(sealed);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG]);
        tag
    }

    /// What a genuine ticket says.
    fn open(&self, ticket: &[u8]) -> Option<Contents> {
        let mut raw = [0; SEALED + TAG];
        if ticket.len() != size_of::<Ticket>() || STANDARD_NO_PAD.decode_slice(ticket, &mut raw).is_err() {
            return None;
        }
        let (sealed, tag) = raw.split_first_chunk::<SEALED>()?;
        let genuine: bool = self.tag(sealed).ct_eq(tag).into();
        if !genuine {
            return None;
        }
        let mut block = (*sealed).into();
        self.cipher.decrypt_block(&mut block);
        let block: [u8; SEALED] = block.into();
        let [worker, l0, l1, l2, l3, i0, i1, i2, i3, g0, g1, g2, g3, s0, s1, s2] = block;
        let word = u32::from_be_bytes;
        Some(Contents {
            worker,
            life: word([l0, l1, l2, l3]),
            id: AllocationId { index: word([i0, i1, i2, i3]), generation: word([g0, g1, g2, g3]) },
            serial: word([0, s0, s1, s2]),
        })
    }
}

/// The number of the ticket after this one.
const fn after(serial: u32) -> u32 {
    (serial + 1) % (1 << SERIAL_BITS)
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
    pub(super) fn first_ticket(&self, id: AllocationId) -> Box<Mobile> {
        let ticket = self.tickets.seal(id, 0);
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
        if again && after(contents.serial) == mobile.serial {
            let same_user = login.may_use(&allocation.login, false);
            let ticket = same_user.then_some(mobile.ticket).ok_or(const { Refused::because(441) })?;
            // The word about it may have been lost like the answer.
            sockets.adopt(from);
            let success = self.refresh_by_id(request, id, sockets)?;
            return Ok(Success { ticket: Some(ticket), ..success });
        }
        let is_here = allocation.route.tuple == from.tuple && !mobile.orphaned
            || mobile.pending.is_some_and(|pending| pending.tuple == from.tuple);
        if is_here || contents.serial != mobile.serial {
            return Err(Refused::because(400));
        }
        if !login.may_use(&allocation.login, false) {
            return Err(Refused::because(441));
        }
        let left = allocation.route.tuple;
        // RFC 8656 §21.4, for those who come by another door too; to delete is no harm.
        if is_tunnelled(from.tuple.client.0.ip()) && message.get(attr::LIFETIME) != Some(&[0; 4]) {
            return Err(Refused::because(403));
        }
        // One 5-tuple, one allocation (RFC 8656 §5).
        if self.allocations.find(&from.tuple).is_some_and(|other| other != id) {
            return Err(Refused::because(437));
        }
        let success = self.refresh_by_id(request, id, sockets)?;
        let sealed = self.tickets.seal(id, after(contents.serial));
        let Some(mobile) = self.allocations.get(id).and_then(|allocation| allocation.mobility.as_mut())
        else {
            // It was deleted: there is nothing to move.
            return Ok(success);
        };
        mobile.serial = after(mobile.serial);
        mobile.ticket = sealed;
        mobile.last = Some(Move {
            transaction: message.transaction(),
            to: from.tuple,
            known_until: now.mono + RETRANSMISSION,
        });
        let orphaned = mobile.orphaned;
        self.events.push(Event::AllocationMoved { user: login.user_shared(), from: left, to: from.tuple });
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
            Some(pending) if pending == *route => {
                self.allocations.withdraw(id);
                sockets.release(route);
            }
            Some(_) => self.complete_move(id, sockets),
            None if self.settings.mobility && !self.draining => {
                self.allocations.orphan(id, now.mono + ORPHANED);
                sockets.release(route);
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
        let sealed = tickets.seal(id, 5);
        assert_eq!(tickets.open(&sealed), Some(Contents { worker: 3, life: tickets.life, id, serial: 5 }));
        for at in 0..sealed.len() {
            let mut forged = sealed;
            forged[at] ^= 1;
            assert_eq!(tickets.open(&forged), None, "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(tickets.open(&sealed[..len]), None, "{len} bytes");
        }
        assert_eq!(Tickets::new([8; 32], 3, 9).open(&sealed), None, "another key");
        let next = tickets.seal(id, 6);
        let alike = sealed.iter().zip(next).filter(|(a, b)| **a == *b).count();
        assert!(alike < 6, "nothing can be read from one, nor from two");
        assert_eq!((after(5), after((1 << SERIAL_BITS) - 1)), (6, 0));
    }

    #[test]
    fn tickets_are_strings_for_clients_in_c() {
        let tickets = Tickets::new([7; 32], 0, 1);
        for serial in 0..1000 {
            let ticket = tickets.seal(AllocationId { index: serial, generation: 1 }, serial);
            assert!(ticket.len() <= 32 && ticket.iter().all(u8::is_ascii_graphic), "{ticket:?}");
        }
    }
}
