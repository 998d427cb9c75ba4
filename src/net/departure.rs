//! Datagrams of one socket on their way to the kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::offload::Offload;
use super::outbox::Item;
use super::relays::TRIES;
use crate::sys::{self, BATCH, MAX_SEGMENTS, Message, SendSpace, Sending};
use crate::time::Timestamp;

/// Bytes of one message that the kernel cuts: less than an IP packet holds.
const MAX_MESSAGE: usize = 65_000;
/// Datagrams that are longer are not joined: no Ethernet carries them whole, so the kernel would refuse to cut a message
/// into them.
const MAX_JOINED_V4: usize = 1472;
const MAX_JOINED_V6: usize = 1452;
/// Failures of one round that are looked into; more are only counted.
const FAILURES: usize = 8;
/// Pieces of a datagram: head, body, padding.
const PARTS: usize = 3;

/// An error of sending, and where the datagram was to go.
pub(super) type Failure = (io::Error, SocketAddr);

/// What waits, and the bytes that it consists of.
#[derive(Clone, Copy)]
pub(super) struct Letters<'a> {
    pub(super) items: &'a [Item],
    /// Heads and answers.
    pub(super) written: &'a [u8],
    /// Bodies.
    pub(super) received: &'a [u8],
}

impl<'a> Letters<'a> {
    fn item(&self, at: u32) -> Option<&'a Item> {
        self.items.get(at as usize)
    }

    fn head(&self, item: &Item) -> &'a [u8] {
        part(self.written, item.head)
    }

    fn body(&self, item: &Item) -> &'a [u8] {
        part(if item.is_answer { self.written } else { self.received }, item.body)
    }
}

fn part(bytes: &[u8], (start, len): (u32, u32)) -> &[u8] {
    let start = start as usize;
    bytes.get(start..start + len as usize).unwrap_or_default()
}

impl Item {
    const fn len(&self) -> usize {
        self.head.1 as usize + self.body.1 as usize + self.padding as usize
    }

    /// Whether its socket has to be told to keep it whole. Of IPv6 the datagram itself says so.
    const fn is_kept_whole(&self) -> bool {
        self.marks.dont_fragment && self.way.to.is_ipv4()
    }
}

/// See the head of this file.
pub(super) struct Departure<'a> {
    letters: Letters<'a>,
    socket: BorrowedFd<'a>,
    /// Whether the kernel cuts messages of this socket.
    cuts: bool,
    now: Timestamp,
    offload: &'a mut Offload,
    /// Datagrams that could not be sent.
    pub(super) lost: usize,
    /// Why the first of them could not.
    pub(super) failed: Vec<Failure>,
    /// The device behind the socket cannot cut.
    pub(super) refused: bool,
}

impl<'a> Departure<'a> {
    pub(super) const fn new(
        letters: Letters<'a>,
        socket: BorrowedFd<'a>,
        cuts: bool,
        now: Timestamp,
        offload: &'a mut Offload,
    ) -> Self {
        Self { letters, socket, cuts, now, offload, lost: 0, failed: Vec::new(), refused: false }
    }

    /// Sends the items in this order.
    pub(super) fn send(&mut self, space: &mut SendSpace, mut order: &[u32]) {
        while let Some(first) = order.first().and_then(|at| self.letters.item(*at)) {
            let whole = first.is_kept_whole();
            let is_alike =
                |at: &&u32| self.letters.item(**at).is_some_and(|item| item.is_kept_whole() == whole);
            let (alike, others) = order.split_at(order.iter().take_while(is_alike).count());
            order = others;
            // Nothing is sent cut that must not be.
            if whole && sys::keep_whole(self.socket, true).is_err() {
                self.lost += alike.len();
                continue;
            }
            self.send_alike(space, alike);
            if whole {
                // The kernel has just taken this option.
                let _ = sys::keep_whole(self.socket, false);
            }
        }
    }

    /// Sends items that all may be fragmented, or all may not.
    fn send_alike(&mut self, space: &mut SendSpace, mut rest: &[u32]) {
        // So many are not joined: joined, they were refused.
        let mut alone = 0;
        while !rest.is_empty() {
            let mut sending = space.begin();
            let mut counts = [0_u8; BATCH];
            self.write(&mut sending, &mut counts, rest, alone);
            let done = self.call(&mut sending, &counts, rest);
            (rest, alone) = (rest.get(done.items..).unwrap_or_default(), done.alone);
        }
    }

    /// Makes messages of the first items, as many as one call takes. Writes down how many items each consists of.
    fn write(&self, sending: &mut Sending<'_, 'a>, counts: &mut [u8; BATCH], mut rest: &[u32], alone: usize) {
        let mut written = 0;
        while let Some(item) = rest.first().and_then(|at| self.letters.item(*at)) {
            let count = if written < alone { 1 } else { self.joined(rest) };
            if !sending.has_room(count * PARTS) {
                return;
            }
            // At most MAX_SEGMENTS.
            counts[sending.len()] = u8::try_from(count).unwrap_or(u8::MAX);
            let segment = if count > 1 { u16::try_from(item.len()).ok() } else { None };
            let (run, others) = rest.split_at(count);
            sending.message(&Message { to: item.way.to, from: item.way.from, marks: item.marks, segment });
            for item in run.iter().filter_map(|at| self.letters.item(*at)) {
                sending.piece(self.letters.head(item));
                sending.piece(self.letters.body(item));
                sending.piece(part(&[0; 3], (0, u32::from(item.padding))));
            }
            written += count;
            rest = others;
        }
    }

    /// How many items, from the first on, can leave as one message.
    fn joined(&self, rest: &[u32]) -> usize {
        let Some(first) = rest.first().and_then(|at| self.letters.item(*at)) else { return 0 };
        let len = first.len();
        let longest = if first.way.to.is_ipv4() { MAX_JOINED_V4 } else { MAX_JOINED_V6 };
        // Port 0 gets the error that refusals have (EINVAL), and any client may have it tried.
        let can_cut = self.cuts && first.way.to.port() != 0;
        if !can_cut || len == 0 || len > longest || self.offload.is_refused(first.way.to.ip(), len, self.now)
        {
            return 1;
        }
        let (mut count, mut bytes) = (1, len);
        for item in rest[1..].iter().take(MAX_SEGMENTS - 1).filter_map(|at| self.letters.item(*at)) {
            let next = item.len();
            let fits = next > 0 && next <= len && bytes + next <= MAX_MESSAGE;
            if !fits || item.way != first.way || item.marks != first.marks {
                break;
            }
            count += 1;
            bytes += next;
            if next < len {
                break;
            }
        }
        count
    }

    /// Gives the messages to the kernel. Says how many items are done with, sent or lost.
    fn call(&mut self, sending: &mut Sending<'_, 'a>, counts: &[u8; BATCH], rest: &[u32]) -> Done {
        let (mut first, mut items, mut tries) = (0, 0, 0);
        while first < sending.len() {
            match sending.send(self.socket, first) {
                // A kernel that takes none of them without an error would be asked for ever.
                Ok(0) => return self.give_up(items, rest),
                Ok(sent) => {
                    items +=
                        counts.iter().skip(first).take(sent).map(|count| usize::from(*count)).sum::<usize>();
                    first += sent;
                    tries = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.give_up(items, rest),
                // An ICMP error about an earlier datagram fails the next call, whatever that is about, and is gone then.
                Err(error) if tries + 1 < TRIES && may_be_stale(&error) => tries += 1,
                Err(error) if counts[first] > 1 && self.is_refusal(&error, rest, items) => {
                    return Done { items, alone: counts[first].into() };
                }
                // The error is about this message: an unreachable peer, say, to which all of it goes.
                Err(error) => {
                    if let Some(item) = rest.get(items).and_then(|at| self.letters.item(*at))
                        && self.failed.len() < FAILURES
                    {
                        self.failed.push((error, item.way.to));
                    }
                    self.lost += usize::from(counts[first]);
                    items += usize::from(counts[first]);
                    first += 1;
                    tries = 0;
                }
            }
        }
        Done { items, alone: 0 }
    }

    /// Nothing more can be sent now.
    const fn give_up(&mut self, items: usize, rest: &[u32]) -> Done {
        self.lost += rest.len() - items;
        Done { items: rest.len(), alone: 0 }
    }

    /// Whether the kernel will not cut this message, and remembers it: EIO, its device cannot; EINVAL, the way to this
    /// destination carries no datagrams of this length whole.
    fn is_refusal(&mut self, error: &io::Error, rest: &[u32], items: usize) -> bool {
        match error.raw_os_error() {
            Some(libc::EIO) => {
                self.refused = true;
                self.cuts = false;
                self.offload.count_refusal();
                true
            }
            Some(libc::EINVAL | libc::EMSGSIZE) => {
                if let Some(item) = rest.get(items).and_then(|at| self.letters.item(*at)) {
                    self.offload.refuse(item.way.to.ip(), item.len(), self.now);
                }
                true
            }
            _ => false,
        }
    }
}

/// Whether an error may be about an earlier datagram. A full queue, a rule of the firewall and a device that cannot cut are
/// about this one.
fn may_be_stale(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::ENOBUFS | libc::ENOMEM | libc::EPERM | libc::EIO | libc::EINVAL)
    )
}

/// What a call has done.
struct Done {
    /// Items that are done with.
    items: usize,
    /// How many of the next ones are to be sent alone.
    alone: usize,
}

const _: () = assert!(MAX_SEGMENTS <= u8::MAX as usize);
const _: () = assert!(MAX_SEGMENTS * PARTS <= sys::PIECES, "a message of the most items fits into one call");
