//! Clients that come by TCP or TLS: one local task each, on the worker that accepted them (RFC 8656 §2.1, §12.5).
//!
//! A stream is bounded in every direction: the length of a frame, the time it may take, the time without an
//! allocation, the number of streams of an address, and the bytes that wait for a client that does not read.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::connections::Claim;
use super::frame::{self, Frame, MAX_BEFORE_LOGIN, MAX_FRAME};
use super::io::Io;
use super::mail;
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
/// Data that wait for a client; more are dropped, the newest first.
const MAX_QUEUE: usize = 64 * 1024;
/// Answers may exceed that by as much: a client that does not even read those is gone.
const MAX_QUEUE_WITH_ANSWERS: usize = MAX_QUEUE + 16 * 1024;
/// A queue that has grown keeps no more than this when it is empty.
const KEPT_QUEUE: usize = 4096;
/// Frames of one stream before others on the worker get their turn.
const FRAMES: usize = 64;
/// Reads of one stream before others on the worker get their turn: what comes over TLS need not hold data.
const READS: usize = 64;
/// What is read at once from a client that has no allocation.
const READ_BEFORE_LOGIN: usize = 4096;
/// What one read takes at most, and all reads together before others get their turn: thousands of the smallest
/// frames. Frames that are longer are put together in the stream's own buffer.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// What waits to be written to each stream of a worker.
#[derive(Default)]
pub(super) struct Streams {
    outputs: Slab<Output>,
}

struct Output {
    tuple: FiveTuple,
    queue: Vec<u8>,
    /// Bytes that the stream's task has taken out and not written yet.
    taken: usize,
    wake: Rc<Notify>,
}

impl Streams {
    /// Whether the stream of this route is still open, and no other one has its place.
    pub(super) fn is_open(&self, route: &ClientRoute) -> bool {
        let output = self.outputs.get(mail::index(route.link) as usize);
        output.is_some_and(|output| output.tuple == route.tuple)
    }

    /// Queues a frame. `false`: it is dropped, because the queue is full or the stream has closed and another one has
    /// its place.
    pub(super) fn push_to(&mut self, route: &ClientRoute, parts: &[&[u8]], answer: bool) -> bool {
        let max = if answer { MAX_QUEUE_WITH_ANSWERS } else { MAX_QUEUE };
        let output = self.outputs.get_mut(mail::index(route.link) as usize);
        let Some(output) = output.filter(|output| output.tuple == route.tuple) else { return false };
        // The largest datagram with its header is a little more than the queue is to hold.
        let waiting = output.queue.len() + output.taken;
        let fits = waiting == 0 || waiting + parts.iter().map(|part| part.len()).sum::<usize>() <= max;
        if fits {
            for part in parts {
                output.queue.extend_from_slice(part);
            }
            output.wake.notify_one();
        }
        fits
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
        let output = Output { tuple, queue: Vec::new(), taken: 0, wake: Rc::clone(&wake) };
        let key = inside.streams.outputs.insert(output);
        let Some(link) = inside.post.link(key) else {
            inside.streams.outputs.remove(key);
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
            frame_began: None,
            more: false,
            without_allocation: Some((since, admission)),
            pending: Vec::new(),
            written: 0,
            claim: None,
        })
    }

    async fn run(mut self) {
        while self.turn().await == Next::Go {}
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
        streams.outputs.try_remove(mail::index(route.link) as usize);
        worker.forward_closing(route);
        worker.report_events();
    }

    /// Is a data connection from now on (RFC 6062 §5.4): what stands behind the ConnectionBind belongs to the peer, and
    /// what waits for the client, the success response last, comes before the peer's bytes.
    async fn relay(mut self, claim: Claim) {
        let mut to_client = self.pending.split_off(self.written);
        if let Some(output) =
            self.worker.borrow_mut().streams.outputs.get_mut(mail::index(self.route.link) as usize)
        {
            to_client.append(&mut output.queue);
        }
        // It has proved who it is, and counts for its allocation now.
        self.without_allocation = None;
        let transport = self.route.tuple.transport;
        tcp_relay::relay(self.worker, transport, self.io, claim, self.partial, to_client).await;
    }

    /// Waits for something to do, and does it.
    async fn turn(&mut self) -> Next {
        let wait = self.until_deadline();
        if !self.more {
            tokio::select! {
                ready = self.io.ready(!self.pending.is_empty()) => if ready.is_err() { return Next::Close },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let (next, drained) = self.read();
        if next == Next::Bound {
            return next;
        }
        if next == Next::Close || self.write().is_err() || self.is_overdue() {
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
        let mut buffer = std::mem::take(&mut worker.stream_buffer);
        // Strangers are read in small pieces, so that what is kept of them is small too.
        let room = if self.without_allocation.is_some() { READ_BEFORE_LOGIN } else { buffer.len() };
        let mut budget = FRAMES;
        let (mut next, mut drained, mut taken, mut reads) = (Next::Go, false, 0, 0);
        if self.more {
            next = self.handle_partial(&mut worker, &mut budget);
        }
        while next == Next::Go && !self.more && !drained && taken < READ_BUFFER && reads < READS {
            reads += 1;
            match self.io.try_read(&mut buffer[..room]) {
                Ok(0) => next = Next::HalfClosed,
                Ok(len) if self.partial.is_empty() => {
                    taken += len;
                    let used;
                    (next, used) = self.handle(&mut worker, &buffer[..len], &mut budget);
                    self.partial.extend_from_slice(&buffer[used..len]);
                }
                Ok(len) => {
                    taken += len;
                    self.partial.extend_from_slice(&buffer[..len]);
                    next = self.handle_partial(&mut worker, &mut budget);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => next = Next::Close,
            }
        }
        worker.stream_buffer = buffer;
        worker.relays.reap();
        worker.report_events();
        drop(worker);
        tcp_relay::start(&self.worker);
        (next, drained)
    }

    /// Handles what was left over, together with what has been appended to it.
    fn handle_partial(&mut self, worker: &mut Worker, budget: &mut usize) -> Next {
        let mut whole = std::mem::take(&mut self.partial);
        let (next, used) = self.handle(worker, &whole, budget);
        whole.drain(..used);
        if whole.is_empty() {
            whole.shrink_to(KEPT_QUEUE);
        }
        self.partial = whole;
        next
    }

    /// Handles the frames at the beginning of `bytes`, as many as `budget` allows. Says how many bytes they were.
    fn handle(&mut self, worker: &mut Worker, bytes: &[u8], budget: &mut usize) -> (Next, usize) {
        let now = worker.now();
        let mut start = 0;
        self.more = false;
        while start < bytes.len() {
            let logged_in = worker.has_allocation(&now, &self.route.tuple);
            let max = if logged_in { MAX_FRAME } else { MAX_BEFORE_LOGIN };
            match frame::next(&bytes[start..], max) {
                Frame::Broken => {
                    let is_header = proxy::is_header(&bytes[start..]);
                    let reason =
                        if is_header { StreamRefusal::ProxyStranger } else { StreamRefusal::NotOurs };
                    worker.refuse_stream(self.route.tuple.client.0, reason);
                    return (Next::Close, start);
                }
                Frame::Length(len) if len <= bytes.len() - start => {
                    if *budget == 0 {
                        self.more = true;
                        break;
                    }
                    *budget -= 1;
                    match self.handle_frame(worker, &now, bytes, start..start + len) {
                        Next::Go => {}
                        Next::Bound => return (Next::Bound, start + len),
                        Next::HalfClosed | Next::Close => return (Next::Close, start),
                    }
                    start += len;
                    self.frame_began = None;
                }
                Frame::Incomplete | Frame::Length(_) => {
                    self.frame_began.get_or_insert(now.mono);
                    break;
                }
            }
        }
        (self.count_against_address(worker, &now), start)
    }

    /// Handles one frame, and ends the stream of a client that does not read its answers.
    fn handle_frame(
        &mut self,
        worker: &mut Worker,
        now: &Now,
        bytes: &[u8],
        range: std::ops::Range<usize>,
    ) -> Next {
        let frame = bytes.get(range).unwrap_or_default();
        if let Some(owner) = worker.addressee(&self.route.tuple, frame) {
            worker.forward(owner, self.route, frame);
            return Next::Go;
        }
        let mut datagram = Datagram::new(frame, self.marks);
        let Worker { server, relays, streams, shared, reply, .. } = worker;
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
                let to = shared.to_local(peer.0);
                let sent = relays.send(relay, datagram.body(), to, datagram.marks());
                if sent.is_err() {
                    server.count(self.route.tuple.transport).drop(DropReason::SendFailed);
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
                self.pending.clear();
                self.written = 0;
                self.pending.shrink_to(KEPT_QUEUE);
                let mut worker = self.worker.borrow_mut();
                let Some(output) = worker.streams.outputs.get_mut(mail::index(self.route.link) as usize)
                else {
                    return Ok(());
                };
                std::mem::swap(&mut self.pending, &mut output.queue);
                output.taken = self.pending.len();
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

    fn is_overdue(&mut self) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut worker = worker.borrow_mut();
        let now = worker.now();
        if self.count_against_address(&mut worker, &now) == Next::Close {
            return true;
        }
        let over = |since: Option<Timestamp>, limit| since.is_some_and(|since| now.mono.since(since) > limit);
        let without = self.without_allocation.as_ref().map(|(since, _)| *since);
        let reason = if over(without, LOGIN_DEADLINE) {
            StreamRefusal::LoginDeadline
        } else if over(self.frame_began, FRAME_DEADLINE) {
            StreamRefusal::FrameDeadline
        } else {
            return false;
        };
        worker.refuse_stream(self.route.tuple.client.0, reason);
        true
    }
}
