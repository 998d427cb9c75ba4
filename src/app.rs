//! The life of the server: start in order, serve, reload, drain, stop.

#[cfg(feature = "acme")]
mod acme;
mod certificates;
mod control;
mod ice;
mod lan;
mod ordered;
mod own;
mod revocations;
mod self_signed;
mod socket;
mod start;
mod state;
mod view;
mod wiring;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Problem, Settings};
use crate::http;
use crate::net::{Clock, Handle, RelayAddress, Workers};
use crate::observe::StatsSource;
use certificates::Certificates;
use own::OwnAddresses;
use revocations::Store;
use socket::Socket;
use wiring::Keys;

/// How often a draining server looks whether the last allocation has ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// How long HTTP may go on after the last allocation has ended.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// Why the server did not start or go on. The text says what to do.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<(Settings, Vec<Problem>), Vec<Problem>>>;

/// Serves until a signal ends it: SIGTERM and SIGINT drain, a second one exits now, SIGHUP reloads.
///
/// # Errors
/// When anything cannot be started; nothing is left half started then.
pub fn serve(settings: Settings, warnings: &[Problem], reload: &Reload) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::new)?;
    let settings = start::complete(settings)?;
    if settings.tls.acme.is_some() && settings.state.is_none() {
        return Err(Error(
            "`tls.acme` needs a state directory: authorities refuse to issue the same certificate at each start\n  = help: write \
             one into `state.directory`; with `StateDirectory=` in its unit systemd gives one"
                .to_owned(),
        ));
    }
    if let Some(directory) = &settings.state {
        state::open(directory, !settings.source.places.contains_key("state.directory"))?;
    }
    start::begin_log(&settings, warnings)?;
    runtime.block_on(run(settings, reload))
}

async fn run(settings: Settings, reload: &Reload) -> Result<(), Error> {
    // Before anything is open: whoever sends a signal from now on is heard.
    let mut signals = Signals::new()?;
    let clock = Clock::start();
    let keys = Keys::random()?;
    let (ready, is_ready) = watch::channel(false);
    let (shutdown, is_shutdown) = watch::channel(false);
    let relay = wiring::relay_addresses(&settings)?;
    let web = start::web_listeners(&settings)?;
    let mut socket = settings.admin.socket.as_deref().map(Socket::open).transpose()?;
    let (issued, received) = watch::channel(None);
    #[cfg(feature = "acme")]
    let client = acme::Client::new(&settings, issued)?;
    #[cfg(not(feature = "acme"))]
    drop(issued);
    let mut certificates = Certificates::load(&settings, received, clock)?;
    let mut own = OwnAddresses::read();
    let mut options = wiring::options(&settings, &relay, &keys)?;
    options.tls_config = certificates.as_ref().map(Certificates::turn);
    #[cfg(feature = "acme")]
    {
        options.challenge = client.as_ref().map(acme::Client::challenge).transpose()?;
    }
    options.dtls_identity = certificates.as_ref().and_then(Certificates::dtls);
    let shared = certificates.as_ref().filter(|_| settings.shares_tls()).map(|certificates| {
        let (door, shared) = start::web_door(certificates.web());
        options.web = Some(door);
        shared
    });
    let store = Store::load(settings.state.as_deref(), clock.now())?;
    let (revoked, revoked_now) = watch::channel(Arc::new(store.list()));
    options.revoked = Arc::clone(&revoked_now.borrow());
    let (witness, news) = control::news();
    options.witness = Some(witness);
    let workers = Workers::start(options, clock).map_err(Error::new)?;
    #[cfg(feature = "acme")]
    if let Some(client) = client.filter(|_| !settings.listen.tls.is_empty()) {
        tokio::spawn(client.run());
    }
    let (current, settings_now) = watch::channel(Arc::new(settings));
    let trusted = certificates.as_ref().map(Certificates::trusted);
    let ice = Arc::new(ice::Grants::new(
        settings_now.clone(),
        revoked_now,
        workers.bound(),
        &relay,
        trusted.clone(),
    ));
    ice.follow(&settings_now.borrow())?;
    let expiry = certificates.as_ref().map(Certificates::expiry);
    let stats: Arc<dyn StatsSource> =
        Arc::new(start::Stats { workers: workers.handle(), expiry, grants_refused: Default::default() });
    let https = trusted
        .filter(|_| shared.is_some())
        .zip(start::https_port(workers.bound()))
        .map(|(trusted, port)| http::Https { port, trusted });
    let shown = certificates.as_ref().map(Certificates::shown);
    let desk = control::Desk::new(workers.handle(), settings_now.clone(), clock, store, revoked, news);
    let paper = desk.paper();
    let desk: Arc<dyn http::Control> = Arc::new(desk);
    let mut tasks =
        web.spawn(&settings_now.borrow(), https, shown, &ice, &desk, &stats, &is_ready, shared, &is_shutdown);

    if let Some(listener) = socket.as_mut().and_then(|socket| socket.listener.take()) {
        tasks.push(tokio::spawn(http::serve_desk(desk, listener, is_shutdown)));
    }
    start::announce(&settings_now.borrow(), &ice, &workers, &relay, certificates.as_ref());
    let _ = ready.send(true);
    // Outside systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    crate::net::settle();
    let handle = workers.handle();
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Reload => apply(reload, &current, &handle, &keys, &relay, &ice, certificates.as_mut()).await,
            },
            () = watch(certificates.as_mut(), &settings_now) => {
                let settings = Arc::clone(&settings_now.borrow());
                if let Some(certificates) = certificates.as_mut() {
                    // Out here no other event can break it off half-way.
                    certificates.reload(&settings, &handle).await;
                }
            }
            () = own.follow(&settings_now, &handle, &keys, &relay) => {}
        }
    }
    let settings = Arc::clone(&settings_now.borrow());
    {
        let mut drained = pin!(drain(&settings, &handle, &mut signals, &ready));
        loop {
            tokio::select! {
                () = &mut drained => break,
                // Allocations that live on have the same policy.
                () = own.follow(&settings_now, &handle, &keys, &relay) => {}
            }
        }
    }
    let _ = shutdown.send(true);
    workers.stop().await;
    ended(tasks).await;
    paper.write().await;
    tracing::info!(target: "relais", "stopped");
    Ok(())
}

/// Waits for all of them, but together no longer than [`LAST_WORDS`].
async fn ended(tasks: Vec<JoinHandle<()>>) {
    let _ = tokio::time::timeout(LAST_WORDS, futures_util::future::join_all(tasks)).await;
}

/// Waits for other certificates. Without any there is nothing to wait for.
async fn watch(certificates: Option<&mut Certificates>, settings: &watch::Receiver<Arc<Settings>>) {
    match certificates {
        Some(certificates) => certificates.watch(settings).await,
        None => std::future::pending().await,
    }
}

/// Takes over a changed configuration, or keeps the old one and says why.
async fn apply(
    reload: &Reload,
    current: &watch::Sender<Arc<Settings>>,
    handle: &Handle,
    keys: &Keys,
    relay: &[RelayAddress],
    ice: &ice::Grants,
    certificates: Option<&mut Certificates>,
) {
    if let Ok(since_boot) = sd_notify::NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading, since_boot]);
    }
    match reload() {
        Ok((mut settings, warnings)) => {
            start::log_problems(&warnings);
            let old = Arc::clone(&current.borrow());
            settings.keep_trial_secret(&old);
            for key in settings.keep_until_restart(&old) {
                tracing::warn!(target: "relais", key, "changed, but takes effect only after a restart");
            }
            let turn = wiring::turn_settings(&settings, relay, keys);
            match turn.and_then(|turn| ice.follow(&settings).map(|()| turn)) {
                Ok(turn) => {
                    let limits = &settings.limits;
                    handle.configure(turn, limits.allocations_per_user, limits.streams_per_address).await;
                    current.send_replace(Arc::new(settings));
                    tracing::info!(target: "relais", "configuration reloaded");
                }
                Err(error) => {
                    tracing::error!(target: "relais", %error, "configuration not reloaded; the old one stays");
                }
            }
        }
        Err(problems) => {
            start::log_problems(&problems);
            tracing::error!(target: "relais", "configuration not reloaded; the old one stays");
        }
    }
    if let Some(certificates) = certificates {
        let settings = Arc::clone(&current.borrow());
        certificates.reload(&settings, handle).await;
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Waits for the last allocation to end, for the deadline, or for a second signal.
async fn drain(settings: &Settings, handle: &Handle, signals: &mut Signals, ready: &watch::Sender<bool>) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = ready.send(false);
    handle.drain().await;
    // A worker that is too busy to answer has something to drain.
    let left = handle.allocations().await;
    if left == Some(0) {
        return;
    }
    tracing::info!(
        target: "relais",
        allocations = left,
        seconds = settings.limits.drain.as_secs(),
        "draining: no new allocations; a second signal stops at once"
    );
    let ended = async {
        while handle.allocations().await != Some(0) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = tokio::time::sleep(settings.limits.drain) => {
            tracing::warn!(target: "relais", "the drain deadline has come; the rest is cut off");
        }
        () = signals.stop() => tracing::warn!(target: "relais", "second signal: stopping now"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let open = |kind| signal(kind).map_err(Error::new);
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
            hangup: open(SignalKind::hangup())?,
            user1: open(SignalKind::user_defined1())?,
            user2: open(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::Stop,
                _ = self.interrupt.recv() => return Asked::Stop,
                _ = self.hangup.recv() => return Asked::Reload,
                // What coturn's operators send when a certificate is new.
                _ = self.user2.recv() => return Asked::Reload,
                _ = self.user1.recv() => tracing::warn!(
                    target: "relais",
                    "SIGUSR1 has no meaning here: SIGTERM drains and stops, SIGHUP reads the configuration again"
                ),
            }
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

/// What a signal asks for.
#[derive(PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_once_for_all_tasks_together() {
        let never = || tokio::spawn(std::future::pending());
        // Each but the first would come after this one, if they were waited for in turn.
        let deadline = tokio::time::sleep(LAST_WORDS + LAST_WORDS / 2);
        tokio::select! {
            biased;
            () = ended((0..4).map(|_| never()).collect()) => {}
            () = deadline => panic!("they are waited for one after the other"),
        }
    }
}
