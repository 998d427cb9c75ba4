//! `hold`: allocations that are there and do nothing.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use tokio::sync::{Notify, Semaphore};

use super::super::clock::{Clock, nanoseconds, seconds};
use super::super::cpu;
use super::super::explain;
use super::super::interrupt;
use super::super::outcome::{Failure, Latency, Sample, VERSION, histogram};
use super::super::progress::{Phase, Progress};
use super::super::server::Target;
use super::args::HoldArgs;
use super::meter::{INTERVAL, float};
use super::outcome::{Hold, Moment};
use super::session::Session;
use super::{account, check_descriptors, check_duration, memory, sleep_until};
use crate::client::uri::Service;
use crate::client::{Account, Event, Failure as Refusal, Task};
use crate::wire::AddressFamily;

/// Clients that ask at the same time while allocations are made and given back.
const AT_ONCE: usize = 32;

/// The most moments that are kept.
const MOST_MOMENTS: usize = 30_000;

/// The lifetime that servers give unless asked for another (RFC 8656 §7.2), in seconds.
const DEFAULT_LIFETIME: u32 = 600;

/// Ports that a client tries.
const TRIES: u32 = 5;

/// How long to go on asking when the clients give their allocations back; what is left ends by itself.
const LEAVING: Duration = Duration::from_secs(10);

/// When no answer has come for so long while all allocations are looked at, the server is taken to be gone. One request is
/// given up after 5.5 seconds.
const GONE: Duration = Duration::from_secs(7);

/// What all clients share; they run on one thread.
struct Shared<'a> {
    args: &'a HoldArgs,
    target: &'a Target,
    account: Arc<Account>,
    clock: Clock,
    /// Permits to ask.
    permits: Semaphore,
    made: Cell<u32>,
    lost: Cell<u32>,
    refreshes: Cell<u64>,
    /// Clients that are done.
    ended: Cell<u32>,
    /// Of the lost ones, those whose last Refresh got no answer.
    unanswered: Cell<u32>,
    /// Allocations that were there at the end.
    kept: Cell<u32>,
    /// When an answer came last at the end.
    heard: Cell<u64>,
    /// At the end all allocations are looked at once more, before they are given back.
    is_checked: Cell<bool>,
    allocate: RefCell<Histogram<u64>>,
    refresh: RefCell<Histogram<u64>>,
    /// All are to be given back.
    is_over: Cell<bool>,
    over: Notify,
    moments: RefCell<Vec<Moment>>,
}

/// Makes the allocations, holds them, and gives them back.
///
/// # Errors
/// There is no result, and why.
pub(in crate::bench) async fn run(args: &HoldArgs, progress: &mut dyn Progress) -> Result<Hold, Failure> {
    check_duration(args.duration, None)?;
    check_descriptors(args.allocations, "--allocations")?;
    let target = Target::from_args(&args.server, Service::Turn)?;
    let shared = Shared {
        args,
        account: account(&target)?,
        clock: Clock::start(),
        permits: Semaphore::new(AT_ONCE),
        made: Cell::new(0),
        lost: Cell::new(0),
        refreshes: Cell::new(0),
        ended: Cell::new(0),
        unanswered: Cell::new(0),
        kept: Cell::new(0),
        heard: Cell::new(0),
        is_checked: Cell::new(false),
        allocate: RefCell::new(histogram()),
        refresh: RefCell::new(histogram()),
        is_over: Cell::new(false),
        over: Notify::new(),
        moments: RefCell::default(),
        target: &target,
    };
    hold(&shared, progress).await
}

/// Whatever happens in between, what was made is given back.
async fn hold(shared: &Shared<'_>, progress: &mut dyn Progress) -> Result<Hold, Failure> {
    let mut clients = FuturesUnordered::new();
    clients.extend((0..shared.args.allocations).map(|_| client(shared)));
    let found = tokio::select! {
        found = measure(shared, &mut clients, progress) => found,
        () = interrupt::asked() => Err(explain::interrupted()),
    };
    let now = shared.clock.now();
    shared.heard.set(now);
    shared.is_checked.set(found.is_ok());
    shared.is_over.set(true);
    shared.over.notify_waiters();
    if shared.made.get() > 0 {
        progress.begin(Phase::TearDown, shared.made.get().into());
    }
    // All are waited for while there are answers, if it is to be known whether they are there.
    let late = || match shared.is_checked.get() {
        true => shared.heard.get() + nanoseconds(GONE),
        false => now + nanoseconds(LEAVING),
    };
    while !clients.is_empty() && shared.clock.now() < late() {
        tokio::select! {
            _ = clients.next() => {}
            () = sleep_until(&shared.clock, late()) => {}
        }
        progress.advance(shared.ended.get().into());
    }
    found.map(|found| checked(shared, found))
}

/// What was found, with what has become of the allocations at the end. Those that nobody has answered for are lost.
fn checked(shared: &Shared<'_>, found: Hold) -> Hold {
    let (made, kept) = (shared.made.get(), shared.kept.get());
    let refused = shared.lost.get() - shared.unanswered.get();
    let lost = made - kept;
    Hold { lost, unanswered: lost - refused, ..found }
}

async fn measure<F: Future<Output = Result<(), Failure>>>(
    shared: &Shared<'_>,
    clients: &mut FuturesUnordered<F>,
    progress: &mut dyn Progress,
) -> Result<Hold, Failure> {
    let (args, clock) = (shared.args, &shared.clock);
    let pids = &args.server.server_pid;
    let before = memory::resident(pids)?;
    let start = clock.now();
    progress.begin(Phase::SetUp, args.allocations.into());
    while shared.made.get() < args.allocations {
        watch(shared, clients, start, u64::MAX, progress).await?;
        progress.advance(shared.made.get().into());
    }
    let held_from = clock.now();
    let cpu_before = cpu::run_time(pids)?;
    let end = held_from + nanoseconds(args.duration);
    progress.begin(Phase::Measure, u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX));
    while clock.now() < end {
        watch(shared, clients, start, end, progress).await?;
        progress.advance((clock.now() - held_from) / 1_000_000);
    }
    let held = seconds(clock.now() - held_from);
    let after = memory::resident(pids)?;
    let used = cpu::run_time(pids)?.zip(cpu_before).map(|(now, then)| now.saturating_sub(then));
    let kept = args.allocations - shared.lost.get();
    Ok(Hold {
        version: VERSION,
        kind: "hold",
        server: shared.target.shown.clone(),
        transport: shared.target.transport().to_string(),
        allocations: args.allocations,
        lost: shared.lost.get(),
        unanswered: shared.unanswered.get(),
        refreshes: shared.refreshes.get(),
        seconds: held,
        setup_seconds: seconds(held_from - start),
        allocate_us: Latency::of(&shared.allocate.borrow()),
        refresh_us: Latency::of(&shared.refresh.borrow()),
        server_rss_before: before,
        server_rss_after: after,
        server_rss_per_allocation: before
            .zip(after)
            .filter(|(before, after)| kept > 0 && after > before)
            .map(|(before, after)| (float(after) - float(before)) / f64::from(kept)),
        server_cpu: used.map(|used| seconds(used) / held.max(1e-9)),
        moments: shared.moments.borrow().clone(),
    })
}

/// Lets the clients go on for an interval, or until all are made, or to the end, and notes how things are then.
async fn watch<F: Future<Output = Result<(), Failure>>>(
    shared: &Shared<'_>,
    clients: &mut FuturesUnordered<F>,
    start: u64,
    end: u64,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let clock = &shared.clock;
    let next = (clock.now() + nanoseconds(INTERVAL)).min(end);
    let are_all_made = || shared.made.get() == shared.args.allocations;
    let were_all_made = are_all_made();
    while clock.now() < next && were_all_made == are_all_made() {
        tokio::select! {
            ended = clients.next() => match ended {
                Some(ended) => ended?,
                // All are lost; the time goes on.
                None => sleep_until(clock, next).await,
            },
            () = sleep_until(clock, next) => {}
        }
    }
    let held = shared.made.get() - shared.lost.get();
    let at = seconds(clock.now() - start);
    let moment = Moment { at, held, server_rss: memory::resident(&shared.args.server.server_pid)? };
    let mut moments = shared.moments.borrow_mut();
    if moments.len() < MOST_MOMENTS {
        moments.push(moment);
    }
    progress.live(&Sample { at, received_per_second: f64::from(held), ..Sample::default() });
    Ok(())
}

/// One client: makes an allocation, keeps it, gives it back.
async fn client(shared: &Shared<'_>) -> Result<(), Failure> {
    let trouble = |error: std::io::Error| explain::lost_way(shared.target.address, &error);
    let mut session = {
        let _permit = shared.permits.acquire().await;
        if shared.is_over.get() {
            return Ok(());
        }
        let (session, took) = allocate(shared).await?;
        shared.allocate.borrow_mut().saturating_record(nanoseconds(took));
        shared.made.set(shared.made.get() + 1);
        session
    };
    let mut held = keep(shared, &mut session).await.map_err(trouble)?;
    if held.is_ok() {
        let _permit = shared.permits.acquire().await;
        if shared.is_checked.get() {
            held = check(shared, &mut session).await;
        }
        if held.is_ok() {
            // What cannot be given back ends by itself.
            let _ = session.carry_out(Task::Refresh { lifetime: 0 }).await;
        }
    }
    if let Err(refusal) = held {
        shared.lost.set(shared.lost.get() + 1);
        if refusal == Refusal::Silence {
            shared.unanswered.set(shared.unanswered.get() + 1);
        }
    }
    shared.ended.set(shared.ended.get() + 1);
    Ok(())
}

/// Whether an allocation is there at the end, and why not.
async fn check(shared: &Shared<'_>, session: &mut Session) -> Result<(), Refusal> {
    let answered = session.carry_out(Task::Refresh { lifetime: DEFAULT_LIFETIME }).await;
    let held = match answered {
        Ok((Event::Failed(_, refusal), _)) => Err(refusal),
        Ok(_) => {
            shared.kept.set(shared.kept.get() + 1);
            Ok(())
        }
        // Nothing listens any more, or the connection is closed.
        Err(_) => Err(Refusal::Silence),
    };
    if held != Err(Refusal::Silence) {
        shared.heard.set(shared.clock.now());
    }
    held
}

/// An allocation, and how long it took. From a port on which the server still holds one of a former run, a client moves on
/// to another port (RFC 8656 §7.4).
async fn allocate(shared: &Shared<'_>) -> Result<(Session, Duration), Failure> {
    let mut tries = 0;
    loop {
        let trouble = |error: std::io::Error| explain::lost_way(shared.target.address, &error);
        let mut session =
            Session::open(shared.target, shared.args.server.bind, Some(&shared.account), shared.clock)
                .await
                .map_err(trouble)?;
        let asked = Task::Allocate { family: AddressFamily::Ipv4 };
        let (event, took) = session.carry_out(asked).await.map_err(trouble)?;
        tries += 1;
        match event {
            Event::Failed(_, Refusal::Refused { code: 437, .. }) if tries < TRIES => {}
            Event::Failed(task, refusal) => {
                return Err(explain::failed(
                    shared.target.address,
                    task,
                    refusal,
                    shared.made.get() as usize,
                    shared.args.allocations as usize,
                ));
            }
            _ => return Ok((session, took)),
        }
    }
}

/// Keeps an allocation to the end, or until it cannot be refreshed.
async fn keep(shared: &Shared<'_>, session: &mut Session) -> std::io::Result<Result<(), Refusal>> {
    let clock = &shared.clock;
    let mut lifetime = DEFAULT_LIFETIME;
    let mut next = next_refresh(shared, clock.now());
    while !shared.is_over.get() {
        let now = clock.now();
        if next.is_some_and(|next| next <= now) {
            session.ask(Task::Refresh { lifetime });
            next = next_refresh(shared, now);
        }
        let event = tokio::select! {
            event = session.next(next) => event?,
            () = shared.over.notified() => return Ok(Ok(())),
        };
        match event {
            Some((Event::Refreshed { lifetime: granted }, took)) => {
                shared.refreshes.set(shared.refreshes.get() + 1);
                shared.refresh.borrow_mut().saturating_record(nanoseconds(took));
                lifetime = granted;
            }
            Some((Event::Failed(Task::Refresh { .. }, refusal), _)) => return Ok(Err(refusal)),
            _ => {}
        }
    }
    Ok(Ok(()))
}

/// When the next refresh is due that the client does not think of by itself.
fn next_refresh(shared: &Shared<'_>, now: u64) -> Option<u64> {
    shared.args.refresh.map(|interval| now + nanoseconds(interval))
}
