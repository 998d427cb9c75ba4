//! `stun`: Binding requests at a rate, from one thread: what is due is sent, what has arrived is verified.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::clock::{Clock, nanoseconds};
use super::super::crew::datagrams_in;
use super::super::explain;
use super::super::interrupt;
use super::super::link;
use super::super::outcome::{Failure, Latency, Rung, Sample, VERSION, bars, histogram};
use super::super::pace::{Due, Pace};
use super::super::progress::{Phase, Progress};
use super::super::search::{Tried, search};
use super::super::server::Target;
use super::super::share::Share;
use super::answers::{Answers, REQUEST, Seen};
use super::args::StunArgs;
use super::meter::{Meter, ratio};
use super::outcome::Stun;
use super::session::{Session, any};
use super::{block_on, check_descriptors, check_duration};
use crate::bench::args::Rate;
use crate::client::uri::{Service, Transport};
use crate::client::{Event, Task};
use crate::sys::{self, Batch, Ready, SocketSet, Way};

/// What is later than this is not sent any more: made up for in one go, it would be another load.
const PATIENCE: Duration = Duration::from_millis(20);

/// Requests that are sent without a look at what has arrived.
const IN_A_ROW: usize = 64;

/// Requests that leave one socket together, when so many are due.
const TOGETHER: usize = 8;

/// When no answer has come for so long after the end, the rest is lost.
const SILENCE: Duration = Duration::from_millis(200);

/// A socket, and what has been asked from it.
struct Lane {
    socket: UdpSocket,
    answers: Answers,
}

struct Asker<'a> {
    target: &'a Target,
    pids: &'a [u32],
    clock: Clock,
    lanes: Vec<Lane>,
    turn: usize,
    poll: SocketSet,
    inbox: Batch,
    ready: Vec<Ready>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    received: u64,
    duplicate: u64,
    wrong: u64,
    foreign: u64,
    /// Not sent because it would have been far too late.
    skipped: u64,
    /// The own socket took no more.
    unsent: u64,
}

/// What one rate has brought.
struct Trial {
    offered: f64,
    sent: u64,
    counts: Counts,
    seconds: f64,
    latency: Histogram<u64>,
    lateness: Latency,
    samples: Vec<Sample>,
    server_cpu: Option<f64>,
    own_share: f64,
    limits: Vec<String>,
}

/// Asks, and tells what was answered.
///
/// # Errors
/// There is no result, and why.
pub(in crate::bench) fn run(args: &StunArgs, progress: &mut dyn Progress) -> Result<Stun, Failure> {
    let rate = match args.rate {
        Rate::Fixed(rate) => Some(rate),
        Rate::Search => None,
    };
    check_duration(args.duration, rate)?;
    check_descriptors(args.clients, "--clients")?;
    let server = args.server.server();
    let target = Target::from_args(&server, Service::Stun)?;
    if target.transport() != Transport::Udp {
        return Err(Failure::usage(
            format!("{} is not reached over UDP", target.shown),
            "this measures requests over UDP, since servers close connections that only ask for addresses: write stun: \
             without ?transport=tcp",
        ));
    }
    interrupt::listen();
    progress.begin(Phase::SetUp, 1);
    block_on(ask_once(&target, server.bind))?;
    let mut asker = Asker::open(&target, server.bind, &server.server_pid, args.clients)?;
    let (trial, rungs) = match args.rate {
        Rate::Fixed(rate) => (asker.trial(rate, args.warmup, args.duration, progress)?, Vec::new()),
        Rate::Search => search(args.max_loss, |rate, tried| {
            progress.attempt(rate, tried);
            asker.trial(rate, args.warmup, args.duration, progress)
        })?,
    };
    Ok(found(args, &target, &asker, trial, rungs))
}

/// One request, sent again as RFC 8489 §6.2.1 says: tells of a server that is down before any load is made.
async fn ask_once(target: &Target, bind: Option<IpAddr>) -> Result<(), Failure> {
    let trouble = |error: io::Error| explain::lost_way(target.address, &error);
    let mut session = Session::open(target, bind, None, Clock::start()).await.map_err(trouble)?;
    let asked = tokio::select! {
        asked = session.carry_out(Task::Bind) => asked.map_err(trouble)?,
        () = interrupt::asked() => return Err(explain::interrupted()),
    };
    match asked {
        (Event::Failed(task, refusal), _) => Err(explain::failed(target.address, task, refusal, 0, 1)),
        _ => Ok(()),
    }
}

impl<'a> Asker<'a> {
    fn open(
        target: &'a Target,
        bind: Option<IpAddr>,
        pids: &'a [u32],
        clients: u32,
    ) -> Result<Self, Failure> {
        let poll = SocketSet::new().map_err(|error| link::cannot_open(&error))?;
        let mut salt = [0; 4];
        // Without randomness, answers to a run before this one could be taken for answers to this one.
        let _ = getrandom::fill(&mut salt);
        let mut lanes = Vec::new();
        for token in 0..clients {
            let local = SocketAddr::new(bind.unwrap_or_else(|| any(target.address)), 0);
            let socket = link::datagrams(local).map_err(|error| link::cannot_bind(local.ip(), &error))?;
            let trouble = |error: io::Error| explain::lost_way(target.address, &error);
            socket.connect(target.address).map_err(trouble)?;
            poll.add(socket.as_fd(), token.into()).map_err(trouble)?;
            let own = socket.local_addr().map_err(trouble)?;
            lanes.push(Lane { socket, answers: Answers::new(own, salt, clients) });
        }
        Ok(Self {
            target,
            pids,
            clock: Clock::start(),
            lanes,
            turn: 0,
            poll,
            inbox: Batch::new(),
            ready: Vec::new(),
            counts: Counts::default(),
        })
    }

    /// Offers `rate` requests per second, first for the warm-up and then for the measured time.
    fn trial(
        &mut self,
        rate: f64,
        warmup: Duration,
        duration: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Trial, Failure> {
        let mut meter = Meter::start_open(self.clock.now(), self.pids)?;
        self.run(rate, warmup, Phase::WarmUp, progress, &mut meter, &mut histogram())?;
        self.lanes.iter_mut().for_each(|lane| lane.answers.begin());
        self.counts = Counts::default();
        let dropped = self.drops();
        meter = Meter::start_open(self.clock.now(), self.pids)?;
        let mut lateness = histogram();
        self.run(rate, duration, Phase::Measure, progress, &mut meter, &mut lateness)?;
        let now = self.clock.now();
        let (seconds, own_share) = (meter.elapsed(now), meter.own_share(now));
        self.drain(&mut meter)?;
        let server_cpu = meter.cpu_each(self.pids)?;
        let mut trial = Trial {
            offered: rate,
            sent: meter.all.begun,
            counts: self.counts,
            seconds,
            latency: meter.latency,
            lateness: Latency::of(&lateness),
            samples: meter.samples,
            server_cpu,
            own_share,
            limits: Vec::new(),
        };
        trial.limits = limits(&trial, self.drops() - dropped);
        Ok(trial)
    }

    fn run(
        &mut self,
        rate: f64,
        time: Duration,
        phase: Phase,
        progress: &mut dyn Progress,
        meter: &mut Meter,
        lateness: &mut Histogram<u64>,
    ) -> Result<(), Failure> {
        progress.begin(phase, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let begin = self.clock.now();
        let end = begin + nanoseconds(time);
        let mut pace = Pace::new(begin, rate, nanoseconds(PATIENCE));
        let mut share = Share::new(self.clock);
        loop {
            let before = self.clock.now();
            if before >= end {
                return Ok(());
            }
            let (mut due, mut wait) = (0, 0);
            while due < IN_A_ROW {
                let (next, skipped) = pace.next(before);
                self.counts.skipped += skipped;
                match next {
                    Due::Now(late) => {
                        lateness.saturating_record(late);
                        due += 1;
                    }
                    Due::In(time) => {
                        wait = time;
                        break;
                    }
                }
            }
            self.send(due, meter)?;
            let sleep = if due > 0 { 0 } else { share.sleep(wait).min(50_000_000).min(end - before) };
            let has_arrived = self.receive(Duration::from_nanos(sleep), meter)?;
            let now = self.clock.now();
            if due == 0 && !has_arrived && sleep == 0 {
                meter.idle += now - before;
            }
            if sleep == 0 {
                share.give_way(self.clock);
            }
            if now >= meter.next() {
                if interrupt::is_asked() {
                    return Err(explain::interrupted());
                }
                let sample = meter.sample(now, self.pids)?;
                progress.advance((now - begin) / 1_000_000);
                progress.live(&sample);
            }
        }
    }

    /// Sends so many requests, a few from each socket in turn.
    fn send(&mut self, due: usize, meter: &mut Meter) -> Result<(), Failure> {
        let mut left = due;
        while left > 0 {
            let count = left.min(TOGETHER);
            left -= count;
            let lanes = self.lanes.len();
            let Some(lane) = self.lanes.get_mut(self.turn % lanes) else { return Ok(()) };
            self.turn = (self.turn + 1) % lanes;
            let now = self.clock.now();
            let requests = lane.answers.ask(count, now);
            let taken = match sys::send_burst(lane.socket.as_fd(), requests, REQUEST, None, Way::Single) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(explain::lost_way(self.target.address, &error)),
            };
            lane.answers.keep(taken);
            self.counts.unsent += (count - taken) as u64;
            (0..taken).for_each(|_| meter.begin());
        }
        Ok(())
    }

    /// Takes all that has arrived, after at most this wait. Returns whether there was anything.
    fn receive(&mut self, wait: Duration, meter: &mut Meter) -> Result<bool, Failure> {
        let trouble = |error: io::Error| explain::lost_way(self.target.address, &error);
        self.ready.clear();
        self.poll.wait(wait);
        self.poll.ready(&mut self.ready).map_err(trouble)?;
        for socket in &self.ready {
            let lane = usize::try_from(socket.token).ok().and_then(|i| self.lanes.get_mut(i));
            let Some(lane) = lane else { continue };
            let filled = match self.inbox.receive(lane.socket.as_fd(), 0, sys::BATCH) {
                Ok(filled) => filled,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(trouble(error)),
            };
            let now = self.clock.now();
            for slot in 0..filled {
                for answer in datagrams_in(&self.inbox, slot) {
                    match lane.answers.take(answer, now) {
                        Seen::Answer(took) => {
                            self.counts.received += 1;
                            meter.done(took);
                        }
                        Seen::Before => {}
                        Seen::Duplicate => self.counts.duplicate += 1,
                        Seen::Wrong => self.counts.wrong += 1,
                        Seen::Foreign => self.counts.foreign += 1,
                    }
                }
            }
        }
        Ok(!self.ready.is_empty())
    }

    /// Receives what is still on its way.
    fn drain(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let mut last = self.clock.now();
        while self.counts.received < meter.all.begun && self.clock.now() < last + nanoseconds(SILENCE) {
            if self.receive(Duration::from_millis(20), meter)? {
                last = self.clock.now();
            }
        }
        Ok(())
    }

    /// Datagrams that own sockets had no room for.
    fn drops(&self) -> u64 {
        self.lanes.iter().map(|lane| u64::from(sys::drops(lane.socket.as_fd()))).sum()
    }
}

impl Tried for Trial {
    fn loss(&self) -> f64 {
        ratio(self.sent.saturating_sub(self.counts.received), self.sent)
    }

    fn limits(&mut self) -> &mut Vec<String> {
        &mut self.limits
    }

    fn rung(&self, is_good: bool) -> Rung {
        Rung {
            offered_per_second: self.offered,
            received_per_second: super::meter::float(self.counts.received) / self.seconds,
            loss: self.loss(),
            p99_us: Latency::of(&self.latency).p99,
            server_cpu_us: self.server_cpu,
            is_good,
            generator_limited: !self.limits.is_empty(),
        }
    }
}

/// Why the figures would say more about the generator than about the server.
fn limits(trial: &Trial, dropped: u64) -> Vec<String> {
    let mut limits = Vec::new();
    let planned = trial.sent + trial.counts.skipped + trial.counts.unsent;
    let mut say = |count: u64, most: f64, text: &str| {
        if ratio(count, planned) > most {
            limits.push(format!("{:.1} % of the {text}", 100.0 * ratio(count, planned)));
        }
    };
    say(trial.counts.skipped, 0.005, "requests could not be sent in time");
    say(trial.counts.unsent, 0.001, "requests found no room in the generator's send buffers");
    say(dropped, 0.001, "answers found no room in the generator's receive buffers");
    if trial.own_share > 0.97 {
        limits.push(format!("its thread was busy for {:.0} % of the time", 100.0 * trial.own_share));
    }
    limits
}

fn found(args: &StunArgs, target: &Target, asker: &Asker<'_>, trial: Trial, rungs: Vec<Rung>) -> Stun {
    let received = trial.counts.received;
    Stun {
        version: VERSION,
        kind: "stun",
        server: target.shown.clone(),
        transport: target.transport().to_string(),
        clients: args.clients,
        sent: trial.sent,
        sent_per_second: super::meter::float(trial.sent) / trial.seconds,
        received,
        lost: trial.sent.saturating_sub(received),
        max_loss: args.max_loss,
        duplicate: trial.counts.duplicate,
        wrong: trial.counts.wrong,
        foreign: trial.counts.foreign,
        is_translated: asker.lanes.iter().any(|lane| lane.answers.is_translated()),
        seconds: trial.seconds,
        requests_per_second: super::meter::float(received) / trial.seconds,
        offered_per_second: trial.offered,
        latency_us: Latency::of(&trial.latency),
        lateness_us: trial.lateness,
        server_cpu_us_per_request: trial.server_cpu,
        generator_limited: !trial.limits.is_empty(),
        generator_limits: trial.limits,
        generator_cpu: trial.own_share,
        latency_bars: bars(&trial.latency),
        samples: trial.samples,
        rungs,
    }
}
