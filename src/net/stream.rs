//! Clients that come by TCP or TLS: one local task each, on the worker that accepted them (RFC 8656 §2.1, §12.5).
//!
//! A stream is bounded in every direction: the length of a frame, the time it may take, the time without an
//! allocation, the number of streams of an address, and the bytes that wait for a client that does not read.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::connections::Claim;
use super::frame::{self, Frame, MAX_BEFORE_LOGIN, MAX_FRAME};
use super::io::Io;
use super::mail;
use super::outbox::Outbox;
use super::ports::Admission;
use super::proxy;
use super::tcp_relay;
use super::worker::Worker;
use crate::time::{Now, Timestamp};
use crate::turn::{ClientRoute, DropReason, FiveTuple, StreamRefusal, Verdict};
use crate::wire::{Datagram, Marks};

/// How long a stream may be without an allocation.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long a frame may take from its first byte to its last.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// How long the last answers may take to leave after the client has closed its side.
const LINGER: Duration = Duration::from_secs(5);
/// The buffer for a frame that has not come whole keeps no more than this when it is empty.
const KEPT_PARTIAL: usize = 4096;
/// Frames of one stream before others on the worker get their turn.
const FRAMES: usize = 64;
/// Reads of one stream before others on the worker get their turn: what comes over TLS need not hold data.
const READS: usize = 64;
/// What is read at once from a client that has no allocation.
const READ_BEFORE_LOGIN: usize = 4096;
/// What one read takes at most, and all reads together before others get their turn: thousands of the smallest
/// frames.
const READ: usize = 64 * 1024;
/// The same of TLS records. With what TLS held before, their data are no more than [`READ`].
const READ_SEALED: usize = 32 * 1024;

/// Lent to whichever stream is read.
pub(super) struct ReadSpace {
    /// The beginning of a frame that came with an earlier read, and behind it what is read.
    pub(super) bytes: Vec<u8>,
    /// TLS records before they are opened.
    sealed: Vec<u8>,
    /// What leaves for peers, from where it stands in the bytes that were read.
    outbox: Outbox,
}

impl ReadSpace {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; MAX_FRAME + READ], sealed: vec![0; READ_SEALED], outbox: Outbox::new() }
    }
}

/// A client whose transport is known.
pub(super) struct Arrival {
    pub(super) worker: Rc<RefCell<Worker>>,
    pub(super) io: Io,
    pub(super) tuple: FiveTuple,
    /// When it was accepted.
    pub(super) since: Timestamp,
    pub(super) admission: Admission,
    /// What the packets of its connection came with.
    pub(super) marks: Marks,
}

/// Serves a client to its end.
pub(super) async fn serve(arrival: Arrival) {
    if let Some(connection) = Connection::begin(arrival) {
        connection.run().await;
    }
}

/// Whether a stream goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    /// The client sends no more; what waits for it is still written.
    HalfClosed,
    /// From here on it carries the data of a peer.
    Bound,
    Close,
}

struct Connection {
    worker: Rc<RefCell<Worker>>,
    /// What the client's packets came with when it connected.
    marks: Marks,
    io: Io,
    route: ClientRoute,
    wake: Rc<Notify>,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    /// How long that has to become before it is worth looking at again.
    needed: usize,
    frame_began: Option<Timestamp>,
    /// Whether `partial` begins with whole frames that had no turn yet.
    more: bool,
    /// Since when the stream has had no allocation; it counts against its address meanwhile.
    without_allocation: Option<(Timestamp, Admission)>,
    /// Taken from the queue, written up to `written`.
    pending: Vec<u8>,
    written: usize,
    /// The peer data connection that the last frame has claimed.
    claim: Option<Box<Claim>>,
}

impl Connection {
    /// `None`: there are no numbers left for streams.
    fn begin(arrival: Arrival) -> Option<Self> {
        let Arrival { worker, io, tuple, since, admission, marks } = arrival;
        let wake = Rc::new(Notify::new());
        let mut inside = worker.borrow_mut();
        let index = inside.streams.open(tuple, Rc::clone(&wake));
        let Some(link) = inside.post.link(index) else {
            inside.streams.close(index);
            return None;
        };
        let route = ClientRoute { tuple, link };
        let now = inside.now();
        let Worker { server, relays, .. } = &mut *inside;
        server.handle_opened(&now, &tuple, relays);
        relays.reap();
        server.count(tuple.transport).streams += 1;
        inside.forward_opening(&tuple);
        drop(inside);
        Some(Self {
            worker,
            marks,
            io,
            route,
            wake,
            partial: Vec::new(),
            needed: 0,
            frame_began: None,
            more: false,
            without_allocation: Some((since, admission)),
            pending: Vec::new(),
            written: 0,
            claim: None,
        })
    }

    async fn run(mut self) {
        {
            let mut alarm = std::pin::pin!(tokio::time::sleep(self.until_deadline()));
            while self.turn(alarm.as_mut()).await == Next::Go {}
        }
        let (worker, route) = (Rc::clone(&self.worker), self.route);
        match self.claim.take() {
            Some(claim) => self.relay(*claim).await,
            None => {
                let _ = tokio::time::timeout(LINGER, self.linger()).await;
            }
        }
        let mut worker = worker.borrow_mut();
        let now = worker.now();
        let Worker { server, relays, streams, .. } = &mut *worker;
        server.handle_closed(&now, &route, relays);
        relays.reap();
        server.count(route.tuple.transport).streams -= 1;
        streams.close(mail::index(route.link) as usize);
        worker.forward_closing(route);
        worker.report_events();
    }

    /// Is a data connection from now on (RFC 6062 §5.4): what stands behind the ConnectionBind belongs to the peer, and
    /// what waits for the client, the success response last, comes before the peer's bytes.
    async fn relay(mut self, claim: Claim) {
        let mut to_client = self.pending.split_off(self.written);
        let mut queue = Vec::new();
        self.worker.borrow_mut().streams.take(mail::index(self.route.link) as usize, &mut queue);
        to_client.append(&mut queue);
        // It has proved who it is, and counts for its allocation now.
        self.without_allocation = None;
        let transport = self.route.tuple.transport;
        tcp_relay::relay(self.worker, transport, self.io, claim, self.partial, to_client).await;
    }

    /// Waits for something to do, and does it. `alarm` rings no later than the first deadline; it is set anew only when
    /// it has, so that frames that come and go leave the timers alone.
    async fn turn(&mut self, mut alarm: Pin<&mut Sleep>) -> Next {
        if !self.more {
            tokio::select! {
                biased;
                () = alarm.as_mut() => {
                    if self.is_overdue() {
                        return Next::Close;
                    }
                    alarm.reset(Instant::now() + self.until_deadline());
                }
                ready = self.io.ready(!self.pending.is_empty()) => if ready.is_err() { return Next::Close },
                () = self.wake.notified() => {}
            }
        }
        let (next, drained) = self.read();
        if next == Next::Bound {
            return next;
        }
        if next == Next::Close || self.write().is_err() {
            return Next::Close;
        }
        if !drained {
            // Being ready costs no budget of the runtime: a client that sends without pause would never let go.
            tokio::task::yield_now().await;
        }
        next
    }

    /// Reads what has come and handles the whole frames in it, a bounded number at a time. Says too whether nothing is
    /// left to do.
    fn read(&mut self) -> (Next, bool) {
        let worker = Rc::clone(&self.worker);
        let mut worker = worker.borrow_mut();
        if worker.streams.is_hung_up(mail::index(self.route.link) as usize) {
            return (Next::Close, true);
        }
        let space = Rc::clone(&worker.read_space);
        let space = &mut *space.borrow_mut();
        // Strangers are read in small pieces, so that what is kept of them is small too.
        let most = if self.without_allocation.is_some() { READ_BEFORE_LOGIN } else { READ };
        let mut budget = FRAMES;
        let (mut next, mut drained, mut taken, mut reads) = (Next::Go, false, 0, 0);
        if self.more {
            next = self.handle_rest(&mut worker, &mut space.outbox, &mut budget);
        }
        while next == Next::Go && !self.more && !drained && taken < READ && reads < READS {
            reads += 1;
            let ReadSpace { bytes, sealed, .. } = space;
            match self.io.try_read_many(&mut bytes[self.partial.len()..], sealed, most) {
                Ok(0) => next = Next::HalfClosed,
                Ok(len) => {
                    taken += len;
                    next = self.take_in(&mut worker, space, len, &mut budget);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => next = Next::Close,
            }
        }
        worker.relays.reap();
        worker.report_events();
        drop(worker);
        tcp_relay::start(&self.worker);
        (next, drained)
    }

    /// Handles `len` bytes that have been read, together with the beginning of the frame that they continue.
    fn take_in(
        &mut self,
        worker: &mut Worker,
        space: &mut ReadSpace,
        len: usize,
        budget: &mut usize,
    ) -> Next {
        let ReadSpace { bytes, outbox, .. } = space;
        let begun = self.partial.len();
        let bytes = &mut bytes[..begun + len];
        if bytes.len() < self.needed {
            // A long frame grows where it is kept, and is copied once.
            self.partial.extend_from_slice(&bytes[begun..]);
            return Next::Go;
        }
        bytes[..begun].copy_from_slice(&self.partial);
        self.partial.clear();
        self.partial.shrink_to(KEPT_PARTIAL);
        let (next, used) = self.handle(worker, bytes, outbox, budget);
        self.partial.extend_from_slice(&bytes[used..]);
        next
    }

    /// Handles frames that came whole and had no turn yet.
    fn handle_rest(&mut self, worker: &mut Worker, outbox: &mut Outbox, budget: &mut usize) -> Next {
        let mut rest = std::mem::take(&mut self.partial);
        let (next, used) = self.handle(worker, &rest, outbox, budget);
        rest.drain(..used);
        self.partial = rest;
        next
    }

    /// Handles the frames at the beginning of `bytes`, as many as `budget` allows, and sends what they are to bring to
    /// peers. Says how many bytes they were.
    fn handle(
        &mut self,
        worker: &mut Worker,
        bytes: &[u8],
        outbox: &mut Outbox,
        budget: &mut usize,
    ) -> (Next, usize) {
        let now = worker.now();
        let (next, used) = self.handle_frames(worker, &now, bytes, outbox, budget);
        self.to_peers(worker, &now, bytes, outbox);
        match next {
            Next::Go => (self.check(worker, &now), used),
            _ => (next, used),
        }
    }

    fn handle_frames(
        &mut self,
        worker: &mut Worker,
        now: &Now,
        bytes: &[u8],
        outbox: &mut Outbox,
        budget: &mut usize,
    ) -> (Next, usize) {
        let mut start = 0;
        (self.more, self.needed) = (false, 0);
        while start < bytes.len() {
            match frame::next(&bytes[start..]) {
                Frame::Length(len) if len <= MAX_BEFORE_LOGIN || self.is_logged_in(worker, now) => {
                    let there = bytes.len() - start;
                    if len > there {
                        // Of all that has been seen as far as the cookie nothing more can be wrong.
                        self.needed = if there < frame::TELLING { 0 } else { len };
                        self.frame_began.get_or_insert(now.mono);
                        break;
                    }
                    if *budget == 0 {
                        self.more = true;
                        break;
                    }
                    *budget -= 1;
                    match self.handle_frame(worker, now, bytes, start..start + len, outbox) {
                        Next::Go => {}
                        Next::Bound => return (Next::Bound, start + len),
                        Next::HalfClosed | Next::Close => return (Next::Close, start),
                    }
                    start += len;
                    self.frame_began = None;
                }
                Frame::Broken | Frame::Length(_) => {
                    let is_header = proxy::is_header(&bytes[start..]);
                    let reason =
                        if is_header { StreamRefusal::ProxyStranger } else { StreamRefusal::NotOurs };
                    worker.refuse_stream(self.route.tuple.client.0, reason);
                    return (Next::Close, start);
                }
                Frame::Incomplete => {
                    self.frame_began.get_or_insert(now.mono);
                    break;
                }
            }
        }
        (Next::Go, start)
    }

    fn is_logged_in(&self, worker: &mut Worker, now: &Now) -> bool {
        worker.has_allocation(now, &self.route.tuple)
    }

    /// Sends what the frames of one read bring to peers. It stands in `bytes` until the next one.
    fn to_peers(&self, worker: &mut Worker, now: &Now, bytes: &[u8], outbox: &mut Outbox) {
        worker.send(now, bytes, outbox, self.route.tuple.transport);
    }

    /// Handles one frame, and ends the stream of a client that does not read its answers.
    fn handle_frame(
        &mut self,
        worker: &mut Worker,
        now: &Now,
        bytes: &[u8],
        range: Range<usize>,
        outbox: &mut Outbox,
    ) -> Next {
        let frame = bytes.get(range.clone()).unwrap_or_default();
        if let Some(owner) = worker.addressee(&self.route.tuple, frame) {
            worker.forward(owner, self.route, frame);
            return Next::Go;
        }
        let mut datagram = Datagram::new(frame, self.marks);
        let Worker { server, relays, streams, reply, .. } = &mut *worker;
        match server.handle_client(now, self.route, &mut datagram, reply, relays) {
            Verdict::Reply => {
                let fits = streams.push_to(&self.route, &[reply.bytes()], true);
                return if fits { Next::Go } else { Next::Close };
            }
            Verdict::Bind { .. } => {
                let claim = relays.tcp.take_claimed();
                if !streams.push_to(&self.route, &[reply.bytes()], true) {
                    return Next::Close;
                }
                self.claim = claim;
                return Next::Bound;
            }
            Verdict::ToPeer { relay, peer } => {
                let start = range.start + datagram.offset();
                let place = start..start + datagram.len();
                if !worker.pass_to_peer(now, (relay, peer), &datagram, place, outbox) {
                    worker.server.count(self.route.tuple.transport).drop(DropReason::SendFailed);
                }
            }
            Verdict::Forward { worker: owner } => worker.forward(owner, self.route, datagram.body()),
            _ => {}
        }
        Next::Go
    }

    /// A stream counts against its address as long as it has no allocation.
    fn count_against_address(&mut self, worker: &mut Worker, now: &Now) -> Next {
        let client = self.route.tuple.client.0;
        if worker.has_allocation(now, &self.route.tuple) {
            self.without_allocation = None;
        } else if self.without_allocation.is_none() {
            let Some(admission) = worker.shared.admit_stream(client.ip(), worker.streams_per_address) else {
                worker.refuse_stream(client, StreamRefusal::AddressLimit);
                return Next::Close;
            };
            self.without_allocation = Some((now.mono, admission));
        }
        Next::Go
    }

    /// Writes what waits, in one call.
    fn write(&mut self) -> io::Result<()> {
        loop {
            if self.written == self.pending.len() {
                match self.io.flush() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
                let mut worker = self.worker.borrow_mut();
                worker.streams.take(mail::index(self.route.link) as usize, &mut self.pending);
                self.written = 0;
                if self.pending.is_empty() {
                    return Ok(());
                }
            }
            match self.io.try_write(&self.pending[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the last answers to a client that has closed its side.
    async fn linger(&mut self) {
        while self.write().is_ok() && (!self.pending.is_empty() || self.io.has_unsent()) {
            if self.io.writable().await.is_err() {
                return;
            }
        }
        self.io.finish_writing();
    }

    /// How long the stream may sleep.
    fn until_deadline(&self) -> Duration {
        let now = self.worker.borrow().now().mono;
        let until = |since: Timestamp, limit: Duration| limit.saturating_sub(now.since(since));
        let since = self.without_allocation.as_ref().map(|(since, _)| *since);
        let login = since.map_or(LOGIN_DEADLINE, |since| until(since, LOGIN_DEADLINE));
        let frame = self.frame_began.map_or(FRAME_DEADLINE, |since| until(since, FRAME_DEADLINE));
        login.min(frame) + Duration::from_millis(1)
    }

    /// Whether it has to end now.
    fn is_overdue(&mut self) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut worker = worker.borrow_mut();
        let now = worker.now();
        self.check(&mut worker, &now) == Next::Close
    }

    fn check(&mut self, worker: &mut Worker, now: &Now) -> Next {
        if self.count_against_address(worker, now) == Next::Close {
            return Next::Close;
        }
        let over = |since: Option<Timestamp>, limit| since.is_some_and(|since| now.mono.since(since) > limit);
        let without = self.without_allocation.as_ref().map(|(since, _)| *since);
        let reason = if over(without, LOGIN_DEADLINE) {
            StreamRefusal::LoginDeadline
        } else if over(self.frame_began, FRAME_DEADLINE) {
            StreamRefusal::FrameDeadline
        } else {
            return Next::Go;
        };
        worker.refuse_stream(self.route.tuple.client.0, reason);
        Next::Close
    }
}
