//! `churn`: allocations that come and go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;

use super::super::clock::{Clock, nanoseconds, seconds};
use super::super::explain;
use super::super::interrupt;
use super::super::outcome::{Failure, Latency, VERSION, bars, histogram};
use super::super::progress::{Phase, Progress};
use super::super::server::Target;
use super::args::{ChurnArgs, CycleRate};
use super::meter::{Meter, float, ratio};
use super::outcome::{Churn, MAY_FAIL, STANDSTILL, Steps};
use super::ports::Ports;
use super::session::{Answered, Session};
use super::stall::Stall;
use super::{account, check_descriptors, check_duration, sleep_until};
use crate::client::uri::{Service, Transport};
use crate::client::{Account, Event, Failure as Refusal, Task};
use crate::wire::{AddressFamily, ChannelNumber};

/// The port that peers are said to have when only their address is given: discard.
const PEER_PORT: u16 = 9;

/// The one channel of an allocation.
const CHANNEL: ChannelNumber = match ChannelNumber::new(0x4000) {
    Some(number) => number,
    None => unreachable!(),
};

/// The steps of a cycle, in their order.
const STEPS: usize = 4;

/// Ports that the first client tries.
const TRIES: u32 = 5;

/// A share of a core above which the generator is taken to be the limit.
const BUSY: f64 = 0.9;

/// The share of a fixed rate that has to be reached.
const REACHED: f64 = 0.98;

/// What has become of a cycle that was not done.
type Given = (Task, Refusal);

/// What all clients of a run share; they run on one thread.
struct Shared<'a> {
    args: &'a ChurnArgs,
    target: &'a Target,
    account: Arc<Account>,
    family: AddressFamily,
    clock: Clock,
    meter: RefCell<Meter>,
    steps: RefCell<[Histogram<u64>; STEPS]>,
    sent_again: Cell<u64>,
    stall: RefCell<Stall>,
    ports: Ports,
    /// How many cycles were given up, and why, by what JSON calls the reason.
    failed: RefCell<BTreeMap<String, (u64, Given)>>,
    /// With a fixed rate: when the next cycle is due, in nanoseconds.
    turn: Cell<u64>,
    is_over: Cell<bool>,
}

/// Goes through cycles, and tells what came of them.
///
/// # Errors
/// There is no result, and why.
pub(in crate::bench) async fn run(args: &ChurnArgs, progress: &mut dyn Progress) -> Result<Churn, Failure> {
    let rate = match args.rate {
        CycleRate::Fixed(rate) => Some(rate),
        CycleRate::Most => None,
    };
    check_duration(args.duration, rate)?;
    check_descriptors(args.parallel, "--parallel")?;
    let target = Target::from_args(&args.server, Service::Turn)?;
    let clock = Clock::start();
    let pids = &args.server.server_pid;
    let shared = Shared {
        args,
        account: account(&target)?,
        family: family(args),
        clock,
        meter: RefCell::new(Meter::start(clock.now(), pids)?),
        steps: RefCell::new(std::array::from_fn(|_| histogram())),
        sent_again: Cell::new(0),
        ports: Ports::new(),
        stall: RefCell::new(Stall::new(args.parallel as usize)),
        failed: RefCell::default(),
        turn: Cell::new(0),
        is_over: Cell::new(false),
        target: &target,
    };
    // The first cycle alone tells all that is wrong with the server, the login or the peer.
    progress.begin(Phase::SetUp, 1);
    tokio::select! {
        found = shared.first() => found?,
        () = interrupt::asked() => return Err(explain::interrupted()),
    }
    let elapsed = load(&shared, progress).await?;
    result(&shared, elapsed)
}

fn family(args: &ChurnArgs) -> AddressFamily {
    match args.peer_address {
        Some(peer) if peer.is_ipv6() => AddressFamily::Ipv6,
        _ => AddressFamily::Ipv4,
    }
}

/// What the measured time was like.
struct Elapsed {
    seconds: f64,
    own_share: f64,
    server_cpu: Option<f64>,
    /// The longest time without any answer, while clients waited for one.
    standstill: f64,
    /// Cycles that were under way at the end, and whose answer was overdue.
    overdue: u64,
}

/// Runs all clients. Whatever happens in between, each ends its cycle and leaves nothing behind.
async fn load(shared: &Shared<'_>, progress: &mut dyn Progress) -> Result<Elapsed, Failure> {
    let mut clients = FuturesUnordered::new();
    clients.extend((0..shared.args.parallel as usize).map(|number| client(shared, number)));
    let found = tokio::select! {
        found = measure(shared, &mut clients, progress) => found,
        () = interrupt::asked() => Err(explain::interrupted()),
    };
    // What comes from now on is not measured.
    let nothing = Meter::start(shared.clock.now(), &[])?;
    let meter = std::mem::replace(&mut *shared.meter.borrow_mut(), nothing);
    let steps = shared.steps.borrow().clone();
    let failed = shared.failed.borrow().clone();
    shared.is_over.set(true);
    progress.begin(Phase::TearDown, clients.len() as u64);
    while clients.next().await.is_some() {}
    drop(clients);
    *shared.meter.borrow_mut() = meter;
    *shared.steps.borrow_mut() = steps;
    *shared.failed.borrow_mut() = failed;
    found
}

/// Lets all clients go through warm-up and measured time.
async fn measure<F: Future<Output = Result<(), Failure>>>(
    shared: &Shared<'_>,
    clients: &mut FuturesUnordered<F>,
    progress: &mut dyn Progress,
) -> Result<Elapsed, Failure> {
    let (clock, args) = (&shared.clock, shared.args);
    let pids = &args.server.server_pid;
    shared.turn.set(clock.now());
    for (phase, time) in [(Phase::WarmUp, args.warmup), (Phase::Measure, args.duration)] {
        progress.begin(phase, millis(time));
        let start = clock.now();
        *shared.meter.borrow_mut() = Meter::start(start, pids)?;
        shared.steps.borrow_mut().iter_mut().for_each(Histogram::reset);
        shared.sent_again.set(0);
        shared.failed.borrow_mut().clear();
        shared.stall.borrow_mut().begin(start);
        let end = start + nanoseconds(time);
        while clock.now() < end {
            let next = shared.meter.borrow().next().min(end);
            tokio::select! {
                ended = clients.next() => if let Some(ended) = ended { ended? },
                () = sleep_until(clock, next) => {
                    let now = clock.now();
                    let sample = shared.meter.borrow_mut().sample(now, pids)?;
                    progress.advance((now - start) / 1_000_000);
                    progress.live(&sample);
                }
            }
        }
    }
    let (meter, stall, now) = (shared.meter.borrow(), shared.stall.borrow(), clock.now());
    Ok(Elapsed {
        standstill: seconds(stall.longest(now)),
        overdue: stall.overdue(now) as u64,
        seconds: meter.elapsed(now),
        own_share: meter.own_share(now),
        server_cpu: meter.cpu_each(pids)?,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared<'_> {
    /// Carries out what a client waits for, and notes for how long it waits.
    async fn wait<T>(
        &self,
        number: usize,
        work: impl Future<Output = T>,
        is_answer: impl FnOnce(&T) -> bool,
    ) -> T {
        self.stall.borrow_mut().ask(number, self.clock.now());
        let found = work.await;
        self.stall.borrow_mut().end(number, self.clock.now(), is_answer(&found));
        found
    }

    /// A new client, from addresses on which the server holds nothing.
    async fn open(&self, number: usize) -> std::io::Result<Session> {
        for _ in 0..self.ports.count() {
            let (bind, port) = (self.args.server.bind, self.ports.next());
            let open = Session::open_at(self.target, bind, port, Some(&self.account), self.clock);
            let opened = match self.target.transport() {
                Transport::Udp => open.await,
                Transport::Tcp | Transport::Tls => self.wait(number, open, Result::is_ok).await,
            };
            match opened {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                opened => return opened,
            }
        }
        Err(std::io::ErrorKind::AddrInUse.into())
    }

    /// One task of a client.
    async fn carry_out(&self, number: usize, session: &mut Session, task: Task) -> std::io::Result<Answered> {
        let is_answer = |found: &std::io::Result<Answered>| {
            found.as_ref().is_ok_and(|(event, _)| !matches!(event, Event::Failed(_, Refusal::Silence)))
        };
        self.wait(number, session.carry_out(task), is_answer).await
    }

    /// The first cycle.
    async fn first(&self) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match cycle(self, 0).await.map_err(|error| explain::lost_way(self.target.address, &error))? {
                Ok(()) => return Ok(()),
                Err((_, Refusal::Refused { code: 437, .. })) if tries < TRIES => {}
                Err(given) => return Err(self.explain(given)),
            }
        }
    }

    fn explain(&self, (task, refusal): Given) -> Failure {
        explain::failed_cycle(self.target.address, task, refusal, self.args.parallel as usize)
    }

    /// A cycle is given up.
    fn give_up(&self, given: Given, count: u64) {
        let mut failed = self.failed.borrow_mut();
        failed.entry(explain::reason(given.1)).or_insert((0, given)).0 += count;
        let mut meter = self.meter.borrow_mut();
        (0..count).for_each(|_| meter.lose());
    }

    /// Waits until it is time for another cycle; `false`: there is none any more.
    async fn turn(&self) -> bool {
        if let (CycleRate::Fixed(rate), false) = (self.args.rate, self.is_over.get()) {
            let due = self.turn.get();
            self.turn.set(due + nanoseconds(Duration::from_secs_f64(1.0 / rate)));
            sleep_until(&self.clock, due).await;
        }
        !self.is_over.get()
    }
}

/// One client: cycle after cycle.
async fn client(shared: &Shared<'_>, number: usize) -> Result<(), Failure> {
    while shared.turn().await {
        shared.meter.borrow_mut().begin();
        let start = shared.clock.now();
        match cycle(shared, number).await {
            Ok(Ok(())) => shared.meter.borrow_mut().done(shared.clock.now() - start),
            Ok(Err(given)) => shared.give_up(given, 1),
            Err(error) => return Err(explain::lost_way(shared.target.address, &error)),
        }
    }
    Ok(())
}

/// Allocate, CreatePermission, ChannelBind, delete, from a socket of its own: servers may refuse another Allocate on the
/// addresses of an allocation that has just ended.
async fn cycle(shared: &Shared<'_>, number: usize) -> std::io::Result<Result<(), Given>> {
    let mut session = shared.open(number).await?;
    let ended = steps(shared, number, &mut session).await;
    shared.sent_again.set(shared.sent_again.get() + session.sent_again);
    ended
}

async fn steps(
    shared: &Shared<'_>,
    number: usize,
    session: &mut Session,
) -> std::io::Result<Result<(), Given>> {
    let mut peer = shared.args.peer_address.map(|ip| SocketAddr::new(ip, PEER_PORT));
    for step in 0..STEPS {
        // The relayed address is known from the first step on.
        let peer_now = peer.unwrap_or(shared.target.address);
        let task = match step {
            0 => Task::Allocate { family: shared.family },
            1 => Task::Permit { peer: peer_now },
            2 => Task::BindChannel { channel: CHANNEL, peer: peer_now },
            _ => Task::Refresh { lifetime: 0 },
        };
        let (event, took) = shared.carry_out(number, session, task).await?;
        match event {
            Event::Failed(task, refusal) => {
                if step > 0 && refusal != Refusal::Silence {
                    // What cannot be given back ends by itself.
                    let _ = shared.carry_out(number, session, Task::Refresh { lifetime: 0 }).await;
                }
                return Ok(Err((task, refusal)));
            }
            Event::Allocated { relayed, .. } => peer = peer.or(Some(relayed)),
            _ => {}
        }
        if let Some(latency) = shared.steps.borrow_mut().get_mut(step) {
            latency.saturating_record(nanoseconds(took));
        }
    }
    Ok(Ok(()))
}

fn result(shared: &Shared<'_>, elapsed: Elapsed) -> Result<Churn, Failure> {
    if elapsed.overdue > 0 {
        shared.give_up((Task::Allocate { family: shared.family }, Refusal::Silence), elapsed.overdue);
    }
    let (args, meter, failed) = (shared.args, shared.meter.borrow(), shared.failed.borrow());
    if meter.all.done == 0
        && let Some((_, given)) = failed.values().max_by_key(|(count, _)| *count)
    {
        return Err(shared.explain(*given));
    }
    let rate = float(meter.all.done) / elapsed.seconds;
    let offered = match args.rate {
        CycleRate::Fixed(rate) => Some(rate),
        CycleRate::Most => None,
    };
    let ended = meter.all.done + meter.all.lost;
    let failed_share = ratio(meter.all.lost, ended);
    // A server that refuses or stands still is no fault of the generator.
    let offered_in_vain = offered.filter(|_| failed_share <= MAY_FAIL && elapsed.standstill < STANDSTILL);
    let limits = limits(offered_in_vain, float(ended) / elapsed.seconds, elapsed.own_share, args.parallel);
    let [allocate, permission, channel, delete] = &*shared.steps.borrow();
    Ok(Churn {
        version: VERSION,
        kind: "churn",
        server: shared.target.shown.clone(),
        transport: shared.target.transport().to_string(),
        parallel: args.parallel,
        peer: args.peer_address.map(|ip| ip.to_string()),
        cycles: meter.all.done,
        failed: meter.all.lost,
        failed_share,
        failed_by_code: failed.iter().map(|(reason, (count, _))| (reason.clone(), *count)).collect(),
        failed_in_words: failed.values().map(|(_, given)| shared.explain(*given)).map(in_words).collect(),
        unfinished: elapsed.overdue,
        standstill_seconds: elapsed.standstill,
        retransmissions: shared.sent_again.get(),
        seconds: elapsed.seconds,
        cycles_per_second: rate,
        offered_per_second: offered,
        latency_us: Latency::of(&meter.latency),
        steps_us: Steps {
            allocate: Latency::of(allocate),
            permission: Latency::of(permission),
            channel: Latency::of(channel),
            delete: Latency::of(delete),
        },
        server_cpu_us_per_cycle: elapsed.server_cpu,
        generator_limited: !limits.is_empty(),
        generator_limits: limits,
        generator_cpu: elapsed.own_share,
        latency_bars: bars(&meter.latency),
        samples: meter.samples.clone(),
    })
}

fn in_words(failure: Failure) -> String {
    format!("{}: {}", failure.message, failure.help)
}

/// Whether it was this side that made no more cycles, in words.
fn limits(offered: Option<f64>, rate: f64, own_share: f64, parallel: u32) -> Vec<String> {
    if own_share > BUSY {
        return vec![format!("its thread used {:.0} % of a core", 100.0 * own_share)];
    }
    match offered {
        Some(offered) if rate < REACHED * offered => vec![format!(
            "{parallel} clients made {rate:.0} of the {offered:.0} cycles per second that were asked for, since each waits for \
             its answers: raise --parallel, or lower --rate"
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::limits;

    #[test]
    fn a_rate_that_was_not_made_is_said() {
        assert!(limits(Some(1_000.0), 700.0, 0.2, 4)[0].contains("raise --parallel"));
        assert!(limits(None, 700.0, 0.95, 4)[0].contains("95 %"));
        assert!(limits(None, 700.0, 0.5, 4).is_empty() && limits(Some(700.0), 699.0, 0.5, 4).is_empty());
    }
}
