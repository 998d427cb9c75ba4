//! Many clients of one server: how they get their allocations, keep them, and give them back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, nanoseconds, timestamp, until};
use super::explain;
use super::interrupt;
use super::link::{Link, cannot_open, unreachable_server};
use super::outcome::Failure;
use super::progress::{Phase, Progress};
use super::server::Target;
use crate::client::{Account, Client, Event, Failure as Why, Incoming, Task, Timers, read};
use crate::sys::{Batch, Ready, SocketSet};
use crate::wire::TransactionId;

/// How many clients ask at the same time.
const AT_ONCE: usize = 32;

/// How many clients are kept at a time.
const KEPT_AT_ONCE: usize = 256;

/// How many clients end their allocations at a time: as many requests as the usual receive buffer holds.
const LEAVING_AT_ONCE: usize = 256;

/// How long the end of a run that has failed may take, and how much of that the answers to Allocate are awaited. A request
/// that is lost is sent once more in either part.
const LEAVING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// The same for a run that has come to its end: there may be thousands of allocations.
const GIVING_BACK: (Duration, Duration) = (Duration::from_secs(10), Duration::ZERO);

/// A server of which nothing at all has come for so long does not answer: nobody wants to wait for all repetitions then.
const MUTE: Duration = Duration::from_secs(6);

/// Over UDP a request is sent six times and given up after some 24 seconds.
const DATAGRAMS: Timers =
    Timers { first: Duration::from_millis(500), count: 6, last: Duration::from_secs(8) };

/// A client, its way to the server, and what it has got.
pub(super) struct Caller {
    pub(super) link: Link,
    pub(super) client: Client,
    pub(super) relayed: Option<SocketAddr>,
    /// How many of its tasks have not ended.
    open: usize,
}

/// All of them.
pub(super) struct Crew {
    server: SocketAddr,
    pub(super) clock: Clock,
    pub(super) callers: Vec<Caller>,
    pub(super) poll: SocketSet,
    pub(super) inbox: Batch,
    ready: Vec<Ready>,
    /// Whether the server has ever said anything.
    is_heard: bool,
    /// The first of the clients whose turn it is to be kept.
    turn: usize,
}

impl Crew {
    /// Of a server, without clients as yet.
    pub(super) fn of_server(server: SocketAddr) -> Result<Self, Failure> {
        Ok(Self::of(Vec::new(), SocketSet::new().map_err(|error| cannot_open(&error))?, server))
    }

    /// Has `count` clients come, and each carry out `task` as soon as it is there. A server bears only so many connections of
    /// one address that have no allocation, so no client waits for the others before it asks for its own.
    pub(super) fn enter(
        &mut self,
        target: &Target,
        bind: Option<std::net::IpAddr>,
        count: usize,
        progress: &mut dyn Progress,
        task: Task,
    ) -> Result<(), Failure> {
        let account = target.credentials.as_ref().map(|known| {
            Account::new(&known.username, known.password.expose()).map(Arc::new).ok_or_else(|| {
                Failure::usage(
                    "user name or password hold what cannot be in one: control characters, or nothing",
                    "check both",
                )
            })
        });
        let account = account.transpose()?;
        let open = |crew: &mut Self| {
            let link = Link::open(target, bind)?;
            crew.poll.add(link.fd(), crew.callers.len() as u64).map_err(|error| cannot_open(&error))?;
            let timers = if link.is_stream() { Timers::STREAM } else { DATAGRAMS };
            let client = Client::new(account.clone(), timers);
            crew.callers.push(Caller { link, client, relayed: None, open: 0 });
            Ok(())
        };
        self.carry_out(count, open, Phase::SetUp, progress, |_, _| vec![task])
    }

    /// Clients that have nothing to ask of anybody: what they send goes straight to a peer.
    pub(super) fn direct(links: Vec<Link>, server: SocketAddr) -> Result<Self, Failure> {
        let poll = SocketSet::new().map_err(|error| cannot_open(&error))?;
        let mut callers = Vec::with_capacity(links.len());
        for (token, link) in (0..).zip(links) {
            poll.add(link.fd(), token).map_err(|error| cannot_open(&error))?;
            callers.push(Caller { link, client: Client::new(None, DATAGRAMS), relayed: None, open: 0 });
        }
        Ok(Self::of(callers, poll, server))
    }

    fn of(callers: Vec<Caller>, poll: SocketSet, server: SocketAddr) -> Self {
        Self {
            server,
            clock: Clock::start(),
            callers,
            poll,
            inbox: Batch::new(),
            ready: Vec::new(),
            is_heard: false,
            turn: 0,
        }
    }

    /// Where they send to.
    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// Has every client carry out the tasks that `tasks` gives for it, a few clients at a time.
    pub(super) fn each(
        &mut self,
        phase: Phase,
        progress: &mut dyn Progress,
        tasks: impl Fn(usize, &[Caller]) -> Vec<Task>,
    ) -> Result<(), Failure> {
        self.carry_out(self.callers.len(), |_| Ok(()), phase, progress, tasks)
    }

    /// The same for `count` clients; `open` lets the next one come, if it is not there yet.
    fn carry_out(
        &mut self,
        count: usize,
        mut open: impl FnMut(&mut Self) -> Result<(), Failure>,
        phase: Phase,
        progress: &mut dyn Progress,
        tasks: impl Fn(usize, &[Caller]) -> Vec<Task>,
    ) -> Result<(), Failure> {
        let server = self.server;
        progress.begin(phase, count as u64);
        let begin = self.clock.now();
        let (mut begun, mut done) = (0, 0);
        let mut busy: Vec<usize> = Vec::with_capacity(AT_ONCE);
        let mut told = self.clock.now();
        while done < count {
            while begun < count && busy.len() < AT_ONCE {
                open(self)?;
                let wanted = tasks(begun, &self.callers);
                let caller = &mut self.callers[begun];
                caller.open = wanted.len();
                for task in wanted {
                    caller.client.ask(task);
                }
                busy.push(begun);
                begun += 1;
            }
            if interrupt::is_asked() {
                return Err(explain::interrupted());
            }
            let now = self.clock.now();
            if !self.is_heard
                && now - begin > nanoseconds(MUTE)
                && let Some(task) = tasks(0, &self.callers).first()
            {
                return Err(explain::failed(self.server, *task, Why::Silence, 0, count));
            }
            let mut wait = Duration::from_millis(100);
            for i in &busy {
                transmit(&mut self.callers[*i], now).map_err(|error| unreachable_server(server, &error))?;
                if let Some(next) = self.callers[*i].client.next_timeout() {
                    wait = wait.min(until(now, next));
                }
            }
            self.receive(wait, |_, error| Err(explain::lost_way(server, &error)))?;
            let mut failure = None;
            for i in &busy {
                let caller = &mut self.callers[*i];
                while let Some(event) = caller.client.poll_event() {
                    caller.open = caller.open.saturating_sub(1);
                    match event {
                        Event::Allocated { relayed, .. } => caller.relayed = Some(relayed),
                        Event::Failed(task, why) => failure = failure.or(Some((task, why))),
                        _ => {}
                    }
                }
            }
            if let Some((task, why)) = failure {
                return Err(explain::failed(self.server, task, why, done, count));
            }
            busy.retain(|i| self.callers[*i].open > 0);
            done = begun - busy.len();
            let now = self.clock.now();
            if now - told > 100_000_000 || done == count {
                progress.advance(done as u64);
                told = now;
            }
        }
        Ok(())
    }

    /// Waits for what arrives, at most for so long, and shows it to the clients. Data are thrown away. `lost` is told of each
    /// client whose way to the server has ended.
    fn receive(
        &mut self,
        wait: Duration,
        mut lost: impl FnMut(&mut Caller, io::Error) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.poll.wait(wait);
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poll.ready(&mut ready).map_err(|error| cannot_open(&error))?;
        let now = self.clock.now();
        for socket in &ready {
            let Some(caller) = usize::try_from(socket.token).ok().and_then(|i| self.callers.get_mut(i))
            else {
                continue;
            };
            let Caller { link, client, .. } = caller;
            let is_heard = &mut self.is_heard;
            let take = |bytes: &[u8]| {
                if let Incoming::Message(message) = read(bytes) {
                    *is_heard |= client.handle(&message, timestamp(now));
                }
            };
            if let Err(error) = take_all(link, &mut self.inbox, take) {
                lost(caller, error)?;
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Sends what is due of the clients whose turn it is: renewals, and requests once more. Called often, it reaches each of
    /// them within a second, and never keeps the load waiting for long.
    pub(super) fn keep(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        let first = if self.turn < self.callers.len() { self.turn } else { 0 };
        self.turn = first + KEPT_AT_ONCE;
        for caller in self.callers.iter_mut().skip(first).take(KEPT_AT_ONCE) {
            if caller.client.next_timeout().is_some_and(|due| due <= timestamp(now)) {
                transmit(caller, now).map_err(|error| unreachable_server(self.server, &error))?;
            }
            while let Some(event) = caller.client.poll_event() {
                if let Event::Failed(task, why) = event {
                    return Err(explain::not_kept(self.server, task, why));
                }
            }
            flush(caller).map_err(|error| explain::lost_way(self.server, &error))?;
        }
        Ok(())
    }

    /// Gives all allocations back. A server that does not answer any more is not waited for.
    pub(super) fn give_back(&mut self, progress: &mut dyn Progress) {
        progress.begin(Phase::TearDown, self.callers.len() as u64);
        self.leave(GIVING_BACK, |done| progress.advance(done as u64));
        self.callers.clear();
    }

    /// Ends the allocations of all clients, whatever these are about: `(all, allocate)` is how long that may take, and how
    /// much of it the answers to Allocate requests are awaited.
    fn leave(&mut self, (all, allocate): (Duration, Duration), mut told: impl FnMut(usize)) {
        let begin = self.clock.now();
        let (mut is_last, mut begun) = (allocate.is_zero(), 0);
        let mut busy: Vec<usize> = Vec::with_capacity(LEAVING_AT_ONCE);
        let mut last = (0, begin);
        for caller in &mut self.callers {
            caller.client.leave(is_last);
        }
        loop {
            let now = self.clock.now();
            if now - begin > nanoseconds(all) || now - last.1 > nanoseconds(LEAVING.0) {
                break;
            }
            if !is_last && now - begin > nanoseconds(allocate) {
                is_last = true;
                self.callers.iter_mut().for_each(|caller| caller.client.leave(true));
            }
            busy.retain(|i| self.callers[*i].client.next_timeout().is_some());
            while begun < self.callers.len() && busy.len() < LEAVING_AT_ONCE {
                if self.callers[begun].client.next_timeout().is_some() {
                    busy.push(begun);
                }
                begun += 1;
            }
            let done = begun - busy.len();
            if done > last.0 {
                last = (done, now);
                told(done);
            }
            if busy.is_empty() {
                break;
            }
            for i in &busy {
                let caller = &mut self.callers[*i];
                if let Err(error) = transmit(caller, now).and_then(|()| flush(caller)) {
                    give_up(caller, &error);
                }
            }
            let received = self.receive(Duration::from_millis(20), |caller, error| {
                give_up(caller, &error);
                Ok(())
            });
            if received.is_err() {
                break;
            }
        }
    }
}

impl Drop for Crew {
    /// A run that has failed leaves no allocation that would count against its user's quota.
    fn drop(&mut self) {
        // No server makes an allocation before it has asked who wants it.
        if self.is_heard {
            self.leave(LEAVING, |_| {});
        }
    }
}

/// Hands all messages that have arrived by one way to `take`.
fn take_all(link: &mut Link, inbox: &mut Batch, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    match link {
        Link::Datagrams(socket) => {
            use std::os::fd::AsFd as _;
            let filled = match inbox.receive(socket.as_fd(), 0, crate::sys::BATCH) {
                Ok(filled) => filled,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            for i in 0..filled {
                datagrams_in(inbox, i).for_each(&mut take);
            }
        }
        Link::Stream(stream) => {
            stream.receive()?;
            while let Some(frame) = stream.next_frame()? {
                take(frame);
            }
        }
    }
    Ok(())
}

/// The datagrams in a slot, one by one.
#[inline]
pub(super) fn datagrams_in(inbox: &Batch, slot: usize) -> impl Iterator<Item = &[u8]> {
    let bytes = &inbox.memory()[inbox.place(slot)];
    bytes.chunks(inbox.told(slot).segment.unwrap_or(bytes.len()).max(1))
}

/// Sends all that is due of one client.
fn transmit(caller: &mut Caller, now: u64) -> io::Result<()> {
    let Caller { link, client, .. } = caller;
    while let Some(message) = client.poll_transmit(timestamp(now), fresh_id) {
        match link.send(message) {
            Ok(()) => {}
            // A full buffer loses it, and it is sent again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives the kernel what waits for a connection.
fn flush(caller: &mut Caller) -> io::Result<()> {
    match &mut caller.link {
        Link::Stream(stream) => stream.flush(),
        Link::Datagrams(_) => Ok(()),
    }
}

/// Asks nothing any more of a server to which no way leads. Other trouble of a UDP socket may pass, and requests are repeated.
fn give_up(caller: &mut Caller, error: &io::Error) {
    if caller.link.is_stream() || error.kind() == io::ErrorKind::ConnectionRefused {
        caller.client = Client::new(None, DATAGRAMS);
    }
}

/// An id that nobody can guess.
fn fresh_id() -> TransactionId {
    let mut id = [0; 12];
    // Without randomness ids still differ from request to request of other clients by their sockets.
    let _ = getrandom::fill(&mut id);
    TransactionId(id)
}
