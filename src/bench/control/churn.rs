//! `churn`: allocations that come and go.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;

use super::super::clock::{Clock, nanoseconds};
use super::super::explain;
use super::super::interrupt;
use super::super::outcome::{Failure, Latency, VERSION, bars, histogram};
use super::super::progress::{Phase, Progress};
use super::super::server::Target;
use super::args::{ChurnArgs, CycleRate};
use super::meter::{Meter, float};
use super::outcome::{Churn, Steps};
use super::session::Session;
use super::{account, check_duration, sleep_until};
use crate::client::uri::Service;
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
    /// With a fixed rate: when the next cycle is due, in nanoseconds.
    turn: Cell<u64>,
    is_over: Cell<bool>,
}

/// Goes through cycles, and tells what came of them.
///
/// # Errors
/// There is no result, and why.
pub(in crate::bench) async fn run(args: &ChurnArgs, progress: &mut dyn Progress) -> Result<Churn, Failure> {
    check_duration(args.duration)?;
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
        turn: Cell::new(0),
        is_over: Cell::new(false),
        target: &target,
    };
    // The first cycle alone tells all that is wrong with the server, the login or the peer.
    progress.begin(Phase::SetUp, 1);
    let first = shared.first().await?;
    let elapsed = load(&shared, first, progress).await?;
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
}

/// Runs all clients. Whatever happens in between, each ends its cycle and leaves nothing behind.
async fn load(shared: &Shared<'_>, first: Session, progress: &mut dyn Progress) -> Result<Elapsed, Failure> {
    let mut clients = FuturesUnordered::new();
    clients.push(client(shared, Some(first)));
    clients.extend((1..shared.args.parallel).map(|_| client(shared, None)));
    let found = tokio::select! {
        found = measure(shared, &mut clients, progress) => found,
        () = interrupt::asked() => Err(explain::interrupted()),
    };
    // What comes from now on is not measured.
    let nothing = Meter::start(shared.clock.now(), &[])?;
    let meter = std::mem::replace(&mut *shared.meter.borrow_mut(), nothing);
    let steps = shared.steps.borrow().clone();
    shared.is_over.set(true);
    progress.begin(Phase::TearDown, clients.len() as u64);
    while clients.next().await.is_some() {}
    drop(clients);
    *shared.meter.borrow_mut() = meter;
    *shared.steps.borrow_mut() = steps;
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
    let (meter, now) = (shared.meter.borrow(), clock.now());
    Ok(Elapsed {
        seconds: meter.elapsed(now),
        own_share: meter.own_share(now),
        server_cpu: meter.cpu_each(pids)?,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared<'_> {
    async fn open(&self) -> Result<Session, Failure> {
        Session::open(self.target, self.args.server.bind, Some(&self.account), self.clock)
            .await
            .map_err(|error| explain::lost_way(self.target.address, &error))
    }

    /// A client that has gone through one cycle.
    async fn first(&self) -> Result<Session, Failure> {
        let mut tries = 0;
        loop {
            let mut session = self.open().await?;
            let trouble = |error: std::io::Error| explain::lost_way(self.target.address, &error);
            tries += 1;
            match cycle(self, &mut session).await.map_err(trouble)? {
                Ok(()) => return Ok(session),
                Err((_, Refusal::Refused { code: 437, .. })) if tries < TRIES => {}
                Err((task, refusal)) => {
                    return Err(explain::failed(
                        self.target.address,
                        task,
                        refusal,
                        0,
                        self.args.parallel as usize,
                    ));
                }
            }
        }
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
async fn client(shared: &Shared<'_>, session: Option<Session>) -> Result<(), Failure> {
    let mut session = match session {
        Some(session) => session,
        None => shared.open().await?,
    };
    while shared.turn().await {
        shared.meter.borrow_mut().begin();
        let sent_again = session.sent_again;
        let start = shared.clock.now();
        match cycle(shared, &mut session).await {
            Ok(Ok(())) => shared.meter.borrow_mut().done(shared.clock.now() - start),
            // Of an allocation that may or may not be there, nothing more is wanted; from a port on which the server still
            // holds one of a former run, a client moves on to another port (RFC 8656 §7.4).
            Ok(Err((_, Refusal::Silence) | (Task::Allocate { .. }, Refusal::Refused { code: 437, .. }))) => {
                shared.meter.borrow_mut().lose();
                session = shared.open().await?;
                continue;
            }
            Ok(Err((task, refusal))) => {
                return Err(explain::failed(
                    shared.target.address,
                    task,
                    refusal,
                    0,
                    shared.args.parallel as usize,
                ));
            }
            Err(error) => return Err(explain::lost_way(shared.target.address, &error)),
        }
        shared.sent_again.set(shared.sent_again.get() + session.sent_again - sent_again);
    }
    Ok(())
}

/// Allocate, CreatePermission, ChannelBind, delete.
async fn cycle(shared: &Shared<'_>, session: &mut Session) -> std::io::Result<Result<(), (Task, Refusal)>> {
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
        let (event, took) = session.carry_out(task).await?;
        match event {
            Event::Failed(task, refusal) => {
                if step > 0 && refusal != Refusal::Silence {
                    // What cannot be given back ends by itself.
                    let _ = session.carry_out(Task::Refresh { lifetime: 0 }).await;
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
    let (args, meter) = (shared.args, shared.meter.borrow());
    if meter.all.done == 0 && meter.all.lost > 0 {
        let task = Task::Allocate { family: shared.family };
        return Err(explain::failed(shared.target.address, task, Refusal::Silence, 0, 0));
    }
    let rate = float(meter.all.done) / elapsed.seconds;
    let offered = match args.rate {
        CycleRate::Fixed(rate) => Some(rate),
        CycleRate::Most => None,
    };
    let limits = limits(offered, rate, elapsed.own_share, args.parallel);
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
