//! The load thread: sends what is due, receives what has arrived, sleeps in between.

mod record;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use record::Record;

use super::clock::{nanoseconds, seconds, timestamp};
use super::cpu::{own_run_time, run_time, spent};
use super::crew::{Crew, datagrams_in};
use super::explain;
use super::interrupt;
use super::lane::{Counts, End, Lanes};
use super::link::Link;
use super::outcome::{Failure, Latency, Rung, Sample};
use super::pace::{Due, Pace};
use super::payload::Stamp;
use super::progress::{Phase, Progress};
use super::search::Tried;
use super::share::Share;
use crate::client::{Incoming, read};
use crate::sys::{self, Ready, Way};
use crate::wire::ChannelNumber;

/// How many packets that are late are made up for at once, at most: more would be a flood that nobody has asked for, and that
/// overflows the queues of devices. The rest is left out, and counted.
const CATCH_UP: f64 = 128.0;

/// What is less late than this is sent in any case, and what is later than that in none, in seconds.
const PATIENCE: (f64, f64) = (0.001, 0.1);

/// How often some of the clients are asked what they have to say.
const KEEPING: u64 = 20_000_000;

/// How often samples are taken.
const SAMPLING: u64 = 250_000_000;

/// When nothing has arrived for so long after the end, the rest is lost.
const SILENCE: u64 = 200_000_000;

/// The longest wait for what is still on its way.
const DRAIN: u64 = 2_000_000_000;

/// Slots for a socket in which one lane ends: the kernel merges what arrives in a burst, and need not look whether there is
/// more, which epoll tells anyway.
const ONE_LANE: usize = 1;

/// Packets that are sent without a look at what has arrived.
const IN_A_ROW: u32 = 64;

/// All that takes part in the load.
pub(super) struct Engine {
    pub(super) crew: Crew,
    pub(super) peers: Vec<UdpSocket>,
    pub(super) lanes: Lanes,
    pub(super) burst: u32,
    /// How bursts are handed over.
    pub(super) way: Way,
    /// The channel of each client's only peer, and that peer; `None`: payloads come as they are.
    pub(super) expected: Option<Vec<(ChannelNumber, SocketAddr)>>,
    pub(super) pids: Vec<u32>,
    turn: usize,
    buffer: Vec<u8>,
    ready: Vec<Ready>,
}

/// What one rate has brought.
pub(super) struct Trial {
    pub(super) offered: f64,
    pub(super) sent: u64,
    pub(super) blocked: u64,
    pub(super) counts: Counts,
    pub(super) seconds: f64,
    pub(super) latency: Histogram<u64>,
    pub(super) lateness: Latency,
    pub(super) samples: Vec<Sample>,
    /// Run time of the server's threads in nanoseconds.
    pub(super) server: Option<u64>,
    pub(super) generator_cpu: f64,
    pub(super) limits: Vec<String>,
}

impl Trial {
    /// All that should have arrived.
    pub(super) const fn total(&self) -> u64 {
        self.sent + self.blocked
    }

    pub(super) fn server_us_per_packet(&self) -> Option<f64> {
        let received = self.counts.received;
        self.server.filter(|_| received > 0).map(|run| ratio(run, received) / 1_000.0)
    }
}

impl Tried for Trial {
    fn loss(&self) -> f64 {
        ratio(self.total() - self.counts.received.min(self.total()), self.total())
    }

    fn limits(&mut self) -> &mut Vec<String> {
        &mut self.limits
    }

    fn rung(&self, is_good: bool) -> Rung {
        Rung {
            offered_per_second: self.offered,
            received_per_second: super::throughput::rate_of(self.counts.received, self.seconds),
            loss: self.loss(),
            p99_us: Latency::of(&self.latency).p99,
            server_cpu_us: self.server_us_per_packet(),
            is_good,
            generator_limited: !self.limits.is_empty(),
        }
    }
}

/// What is counted beside the lanes.
#[derive(Default)]
struct Extra {
    /// The server's connection took no more.
    blocked: u64,
    /// The own socket took no more.
    unsent: u64,
    /// Not sent because it would have been far too late.
    skipped: u64,
}

impl Engine {
    pub(super) fn new(crew: Crew, peers: Vec<UdpSocket>, lanes: Lanes, burst: u32, way: Way) -> Self {
        Self {
            crew,
            peers,
            lanes,
            burst,
            way,
            expected: None,
            pids: Vec::new(),
            turn: 0,
            buffer: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Offers `rate` packets per second, first for the warm-up and then for the measured time.
    pub(super) fn trial(
        &mut self,
        rate: f64,
        warmup: Duration,
        duration: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Trial, Failure> {
        let clock = self.crew.clock;
        self.run(rate, warmup, Phase::WarmUp, progress, None)?;
        self.lanes.begin();
        let drops = self.drops();
        let (server, own, begin) = (run_time(&self.pids)?, own_run_time(), clock.now());
        let mut record = Record::new(begin, server);
        let extra = self.run(rate, duration, Phase::Measure, progress, Some(&mut record))?;
        let end = clock.now();
        let own = own_run_time() - own;
        let sent = self.lanes.sent();
        self.drain(sent)?;
        record.latency.add(&self.lanes.interval).unwrap_or_default();
        let server = spent(server, run_time(&self.pids)?);
        self.lanes.end();
        let seconds = seconds(end - begin);
        let generator_cpu = ratio(own.saturating_sub(record.idle), end - begin).min(1.0);
        let mut trial = Trial {
            offered: rate,
            sent,
            blocked: extra.blocked,
            counts: self.lanes.counts,
            seconds,
            latency: record.latency,
            lateness: Latency::of(&record.lateness),
            samples: record.samples,
            server,
            generator_cpu,
            limits: Vec::new(),
        };
        trial.limits = limits(&trial, &extra, self.drops() - drops);
        Ok(trial)
    }

    /// Sends at a rate for a time, and receives meanwhile.
    fn run(
        &mut self,
        rate: f64,
        time: Duration,
        phase: Phase,
        progress: &mut dyn Progress,
        mut record: Option<&mut Record>,
    ) -> Result<Extra, Failure> {
        let clock = self.crew.clock;
        let begin = clock.now();
        let end = begin + nanoseconds(time);
        let patience = Duration::from_secs_f64((CATCH_UP / rate).clamp(PATIENCE.0, PATIENCE.1));
        let mut pace = Pace::new(begin, rate / f64::from(self.burst), nanoseconds(patience));
        let mut extra = Extra::default();
        let (mut sampled, mut kept) = (begin, begin);
        let mut share = Share::new(clock);
        progress.begin(phase, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        loop {
            let before = clock.now();
            if before >= end {
                break;
            }
            let mut row = 0;
            let mut now = before;
            let wait = loop {
                let (due, skipped) = pace.next(now);
                extra.skipped += skipped * u64::from(self.burst);
                match due {
                    Due::In(wait) => break wait,
                    Due::Now(late) => {
                        if let Some(record) = &mut record {
                            record.lateness.saturating_record(late);
                        }
                        self.send_burst(now, &mut extra)?;
                        now = clock.now();
                    }
                }
                row += self.burst;
                if row >= IN_A_ROW {
                    break 0;
                }
            };
            let sleep = share.sleep(wait).min(50_000_000).min(end.saturating_sub(now));
            let arrived = self.receive(Duration::from_nanos(sleep))?;
            let after = clock.now();
            if sleep == 0 {
                share.give_way(clock);
            }
            if row == 0
                && !arrived
                && sleep == 0
                && let Some(record) = &mut record
            {
                record.idle += after - before;
            }
            if after - kept >= KEEPING {
                kept = after;
                self.crew.keep()?;
            }
            if after - sampled >= SAMPLING {
                sampled = after;
                if interrupt::is_asked() {
                    return Err(explain::interrupted());
                }
                progress.advance((after - begin) / 1_000_000);
                if let Some(record) = &mut record {
                    let server = run_time(&self.pids)?;
                    let sample = record.sample(&mut self.lanes, after, server, extra.blocked);
                    progress.live(&sample);
                }
            }
        }
        Ok(extra)
    }

    /// Receives what is still on its way.
    fn drain(&mut self, sent: u64) -> Result<(), Failure> {
        let clock = self.crew.clock;
        let begin = clock.now();
        let mut last = begin;
        loop {
            let now = clock.now();
            if self.lanes.counts.received >= sent || now - last > SILENCE || now - begin > DRAIN {
                return Ok(());
            }
            self.crew.keep()?;
            if self.receive(Duration::from_millis(20))? {
                last = clock.now();
            }
        }
    }

    /// Sends the burst of the lane whose turn it is.
    #[inline]
    fn send_burst(&mut self, now: u64, extra: &mut Extra) -> Result<(), Failure> {
        let number = self.turn;
        self.turn = (self.turn + 1) % self.lanes.lanes.len();
        let payload = self.lanes.payloads.len();
        let lane = &self.lanes.lanes[number];
        let (head, padding) = lane.head.as_ref().map_or((&[][..], 0), |head| (head.bytes(), head.padding()));
        let segment = head.len() + payload + padding;
        let (from, address, first) = (lane.from, lane.address, lane.next);
        self.buffer.resize(segment * self.burst as usize, 0);
        for (sequence, packet) in (first..).zip(self.buffer.chunks_exact_mut(segment)) {
            let (front, rest) = packet.split_at_mut(head.len());
            front.copy_from_slice(head);
            let (body, pad) = rest.split_at_mut(payload);
            // The number of a lane is below 20,000.
            let stamp = Stamp { lane: u32::try_from(number).unwrap_or(u32::MAX), sequence, time: now };
            self.lanes.payloads.write(body, stamp);
            pad.fill(0);
        }
        let mut taken = 0;
        while taken < self.burst {
            let rest = &self.buffer[taken as usize * segment..];
            let result = match from {
                End::Client(client) => self.crew.callers[client].link.send_packets(rest, segment, self.way),
                End::Peer(peer) => {
                    sys::send_burst(self.peers[peer].as_fd(), rest, segment, address, self.way)
                }
            };
            match result {
                Ok(0) => break,
                Ok(more) => taken += u32::try_from(more).unwrap_or(self.burst),
                Err(error) if self.way == Way::Whole && cannot_cut(&error) => self.way = Way::Single,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error about an earlier packet; this one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && from_peer(from) => break,
                Err(error) => return Err(self.cannot_send(&error, segment, from)),
            }
        }
        let missing = u64::from(self.burst - taken);
        if missing > 0 {
            match from {
                End::Client(client) if self.crew.callers[client].link.is_stream() => extra.blocked += missing,
                _ => extra.unsent += missing,
            }
        }
        self.lanes.lanes[number].next = first.wrapping_add(taken);
        Ok(())
    }

    /// Takes all that has arrived, after at most this wait. Returns whether there was anything.
    #[inline]
    fn receive(&mut self, wait: Duration) -> Result<bool, Failure> {
        self.crew.poll.wait(wait);
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.crew.poll.ready(&mut ready).map_err(|error| super::link::cannot_open(&error))?;
        let clients = self.crew.callers.len();
        for socket in &ready {
            let number = usize::try_from(socket.token).unwrap_or(usize::MAX);
            if number < clients {
                self.receive_at_client(number).map_err(|error| self.lost_way(&error))?;
            } else {
                self.receive_at_peer(number - clients);
            }
        }
        let any = !ready.is_empty();
        self.ready = ready;
        Ok(any)
    }

    #[inline]
    fn receive_at_client(&mut self, number: usize) -> io::Result<()> {
        let Self { crew, lanes, expected, .. } = self;
        let expected = expected.as_ref().and_then(|all| all.get(number)).copied();
        let caller = &mut crew.callers[number];
        let (inbox, clock) = (&mut crew.inbox, crew.clock);
        let (link, client) = (&mut caller.link, &mut caller.client);
        let end = End::Client(number);
        let mut take = |bytes: &[u8], now: u64| {
            let Some((channel, peer)) = expected else {
                return lanes.arrived(bytes, end, true, None, now);
            };
            match read(bytes) {
                Incoming::Channel(by, data) => lanes.arrived(data, end, by == channel, None, now),
                Incoming::Data(from, data) => lanes.arrived(data, end, from == peer, None, now),
                Incoming::Message(message) => {
                    client.handle(&message, timestamp(now));
                }
                Incoming::Foreign => lanes.corrupt(),
            }
        };
        match link {
            Link::Datagrams(socket) => {
                let filled = match inbox.receive(socket.as_fd(), 0, ONE_LANE) {
                    Ok(filled) => filled,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                let now = clock.now();
                for i in 0..filled {
                    datagrams_in(inbox, i).for_each(|bytes| take(bytes, now));
                }
            }
            Link::Stream(stream) => {
                stream.receive()?;
                let now = clock.now();
                while let Some(frame) = stream.next_frame()? {
                    take(frame, now);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn receive_at_peer(&mut self, number: usize) {
        let Self { crew, lanes, peers, .. } = self;
        let Some(socket) = peers.get(number) else { return };
        // Errors are ICMP about what was sent before; the packets count as lost.
        let slots = if peers.len() == 1 { sys::BATCH } else { ONE_LANE };
        let filled = crew.inbox.receive(socket.as_fd(), 0, slots).unwrap_or(0);
        let now = crew.clock.now();
        for i in 0..filled {
            let source = crew.inbox.source(i);
            for bytes in datagrams_in(&crew.inbox, i) {
                lanes.arrived(bytes, End::Peer(number), true, source, now);
            }
        }
    }

    fn cannot_send(&self, error: &io::Error, segment: usize, from: End) -> Failure {
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            return Failure::usage(
                format!("packets of {segment} bytes are too long for the path"),
                "give a smaller --payload",
            );
        }
        if from_peer(from) {
            return explain::lost_peer(None, error);
        }
        self.lost_way(error)
    }

    fn lost_way(&self, error: &io::Error) -> Failure {
        let other = self.crew.server();
        if self.expected.is_none() && error.kind() == io::ErrorKind::ConnectionRefused {
            return Failure::new(
                format!(
                    "packets do not get to the peer sockets: nothing listens at {other} as seen from the clients"
                ),
                "check --bind, --peer-address and --peer-netns, and the route between them",
            );
        }
        explain::lost_way(other, error)
    }

    /// Datagrams that own sockets had no room for.
    fn drops(&self) -> u64 {
        let callers = self.crew.callers.iter().filter(|caller| !caller.link.is_stream());
        let clients: u64 = callers.map(|caller| u64::from(sys::drops(caller.link.fd()))).sum();
        clients + self.peers.iter().map(|peer| u64::from(sys::drops(peer.as_fd()))).sum::<u64>()
    }
}

const fn from_peer(end: End) -> bool {
    matches!(end, End::Peer(_))
}

/// Whether the kernel or the device does not cut super-packets.
fn cannot_cut(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Why the figures would say more about the generator than about the server.
fn limits(trial: &Trial, extra: &Extra, drops: u64) -> Vec<String> {
    let mut limits = Vec::new();
    let planned = trial.total() + extra.skipped + extra.unsent;
    let mut say = |count: u64, most: f64, text: &str| {
        if ratio(count, planned) > most {
            limits.push(format!("{:.1}% of the packets {text}", 100.0 * ratio(count, planned)));
        }
    };
    say(extra.skipped, 0.005, "could not be sent in time");
    say(extra.unsent, 0.001, "found no room in the generator's send buffers");
    say(drops, 0.001, "arrived but found no room in the generator's receive buffers");
    if trial.generator_cpu > 0.97 {
        limits.push(format!("the load thread was busy for {:.0}% of the time", 100.0 * trial.generator_cpu));
    }
    if trial.lateness.p50 > 2_000.0 {
        limits
            .push(format!("half of the packets left more than {:.1} ms late", trial.lateness.p50 / 1_000.0));
    }
    limits
}

/// `part` of `whole`; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
