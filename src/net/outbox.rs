//! What waits to be sent in one round: queued by socket, joined into runs, sent with few system calls.
//!
//! Datagrams of one socket leave in the order in which they were queued. Neighbours that go to the same place with the same
//! marks and are equally long (the last may be shorter) leave as one message, which the kernel cuts (UDP_SEGMENT); all
//! messages of a socket leave in one call. Nothing is copied: a datagram's body stays where it was received.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::departure::{Departure, Letters};
use super::offload::Offload;
use super::relays::Relays;
use super::udp::UdpListener;
use crate::sys::{BATCH, SendSpace};
use crate::time::Timestamp;
use crate::turn::RelayToken;
use crate::wire::{Datagram, HEAD_ROOM, MAX_REPLY, Marks};

/// Datagrams that wait at most; more are sent before others are queued.
const WAITING: usize = 4096;
/// The same for bytes that were written here: headers and answers.
const WRITTEN: usize = 256 * 1024;
/// The longest thing that is written here.
const LONGEST: usize = if MAX_REPLY > HEAD_ROOM { MAX_REPLY } else { HEAD_ROOM };
/// No queue, no item.
const NONE: u32 = u32::MAX;

/// The socket that a datagram leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// A listener, by its number.
    Listener(u32),
    /// A relay socket.
    Relay(RelayToken),
}

/// How a datagram leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// By which socket.
    pub(super) exit: Exit,
    /// Where to.
    pub(super) to: SocketAddr,
    /// The source address, for sockets on a wildcard address.
    pub(super) from: Option<IpAddr>,
}

/// A datagram that waits.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) way: Way,
    pub(super) marks: Marks,
    /// Where its head begins in what was written here, and how long it is.
    pub(super) head: (u32, u32),
    /// The same for its body in what was received, or, if it is an answer, in what was written here.
    pub(super) body: (u32, u32),
    pub(super) is_answer: bool,
    pub(super) padding: u8,
    next: u32,
}

#[derive(Clone, Copy)]
struct Queue {
    exit: Exit,
    first: u32,
    last: u32,
}

/// See the head of this file.
pub(super) struct Outbox {
    items: Vec<Item>,
    queues: Vec<Queue>,
    /// Which queue a listener or a relay socket has in this round.
    of_listener: Vec<u32>,
    of_relay: Vec<u32>,
    written: Vec<u8>,
    /// The items of one socket in their order.
    order: Vec<u32>,
    space: SendSpace,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::with_capacity(WAITING),
            queues: Vec::with_capacity(BATCH),
            of_listener: Vec::new(),
            of_relay: Vec::new(),
            written: Vec::with_capacity(WRITTEN),
            order: Vec::with_capacity(WAITING),
            space: SendSpace::new(),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether what waits has to be sent before anything else is queued.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() == WAITING || self.written.len() + LONGEST > WRITTEN
    }

    /// Queues a datagram whose body stands at `place` of what was received.
    pub(super) fn push(&mut self, way: Way, datagram: &Datagram<'_>, place: Range<usize>) {
        let head = self.write(datagram.head());
        let padding = datagram.padding().len();
        self.enqueue(Item {
            way,
            marks: datagram.marks(),
            head,
            body: short(&place),
            is_answer: false,
            padding: u8::try_from(padding).unwrap_or(0),
            next: NONE,
        });
    }

    /// Queues an answer.
    pub(super) fn push_answer(&mut self, way: Way, bytes: &[u8]) {
        let body = self.write(bytes);
        self.enqueue(Item {
            way,
            marks: Marks::default(),
            head: (0, 0),
            body,
            is_answer: true,
            padding: 0,
            next: NONE,
        });
    }

    fn write(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = self.written.len();
        self.written.extend_from_slice(bytes);
        short(&(start..self.written.len()))
    }

    fn enqueue(&mut self, item: Item) {
        let at = u32::try_from(self.items.len()).unwrap_or(NONE);
        self.items.push(item);
        let exit = item.way.exit;
        let (table, index) = match exit {
            Exit::Listener(link) => (&mut self.of_listener, link as usize),
            Exit::Relay(relay) => (&mut self.of_relay, relay.0 as usize),
        };
        if index >= table.len() {
            // Once for each socket number that has not been there before.
            table.resize(index + 1, NONE);
        }
        match self.queues.get_mut(table[index] as usize) {
            Some(queue) => {
                self.items[queue.last as usize].next = at;
                queue.last = at;
            }
            None => {
                table[index] = u32::try_from(self.queues.len()).unwrap_or(NONE);
                self.queues.push(Queue { exit, first: at, last: at });
            }
        }
    }

    /// Sends all that waits; `received` is where the bodies stand. What a socket does not take is dropped, as a router
    /// does; returns how much that was.
    pub(super) fn flush(
        &mut self,
        now: Timestamp,
        received: &[u8],
        listeners: &[UdpListener],
        relays: &mut Relays,
        offload: &mut Offload,
    ) -> usize {
        let mut lost = 0;
        for i in 0..self.queues.len() {
            let queue = self.queues[i];
            self.forget(queue.exit);
            self.put_in_order(queue.first);
            let door = match queue.exit {
                Exit::Listener(link) => listeners.get(link as usize).map(UdpListener::door),
                Exit::Relay(relay) => relays.door(relay),
            };
            let Some((socket, cuts)) = door else {
                lost += self.order.len();
                continue;
            };
            let letters = Letters { items: &self.items, written: &self.written, received };
            let mut departure = Departure::new(letters, socket, cuts, now, offload);
            departure.send(&mut self.space, &self.order);
            lost += departure.lost;
            let Departure { failed, refused, .. } = departure;
            match queue.exit {
                Exit::Relay(relay) => relays.note(relay, &failed, refused),
                Exit::Listener(link) if refused => {
                    if let Some(listener) = listeners.get(link as usize) {
                        listener.cuts.set(false);
                        offload.listener_refused(now);
                    }
                }
                Exit::Listener(_) => {}
            }
        }
        self.queues.clear();
        self.items.clear();
        self.written.clear();
        lost
    }

    fn put_in_order(&mut self, first: u32) {
        self.order.clear();
        let mut at = first;
        while let Some(item) = self.items.get(at as usize) {
            self.order.push(at);
            at = item.next;
        }
    }

    fn forget(&mut self, exit: Exit) {
        let entry = match exit {
            Exit::Listener(link) => self.of_listener.get_mut(link as usize),
            Exit::Relay(relay) => self.of_relay.get_mut(relay.0 as usize),
        };
        if let Some(entry) = entry {
            *entry = NONE;
        }
    }
}

/// A range in the form in which items keep it. Buffers are far shorter than 4 GiB.
fn short(range: &Range<usize>) -> (u32, u32) {
    (u32::try_from(range.start).unwrap_or(0), u32::try_from(range.len()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
