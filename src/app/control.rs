//! What the running server is asked and told besides media: who is there, what was refused, what is revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, watch};

use super::revocations::{Added, Entry, Store, write};
use super::view;
use crate::auth::rest::MAX_USERNAME;
use crate::auth::{self, Revocations};
use crate::config::Settings;
use crate::config::ice::rfc3339;
use crate::http::{
    Control, ControlError, Refused, Revocation, RevocationEntry, Revoked, Session, SessionFilter, View,
    ViewRequest,
};
use crate::net::{Clock, Foreign, Handle, Rate, Seen};
use crate::observe::{Refusal, Ring, bare, prefix};

/// News that wait to be kept; more are lost.
const NEWS: usize = 4096;
/// How often they are taken when nobody asks for them.
const LOOK: Duration = Duration::from_millis(500);
/// How often what has expired is forgotten.
const TIDY: Duration = Duration::from_secs(30);
/// How long revocations are gathered before the file is written.
const GATHER: Duration = Duration::from_millis(50);
/// When a file that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Allocations and refusals in one view.
const SHOWN: usize = 100;
/// Views at once; each asks all workers.
const VIEWS: usize = 4;

/// What is kept while the server runs.
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    workers: Handle,
    settings: watch::Receiver<Arc<Settings>>,
    clock: Clock,
    notes: Mutex<Notes>,
    store: Mutex<Store>,
    /// What is in the store, for those who grant.
    revoked: watch::Sender<Arc<Revocations>>,
    /// The store is to be written, and nobody else writes it now.
    dirty: Notify,
    pen: Mutex<()>,
    /// The last attempt failed.
    unkept: AtomicBool,
    lines: Mutex<Rate>,
    views: Semaphore,
}

/// What is known of refusals and ends. Nobody waits for news: a worker that had to wake a reader for each would pay a
/// system call and another thread's turn for each allocation that ends.
struct Notes {
    ring: Ring,
    news: mpsc::Receiver<Seen>,
}

impl Notes {
    /// With all that has happened so far, and without what is old.
    fn up_to(&mut self, now: u64) -> &mut Ring {
        self.take_news();
        self.ring.forget(now);
        &mut self.ring
    }

    /// Returns whether more may come.
    fn take_news(&mut self) -> bool {
        loop {
            match self.news.try_recv() {
                Ok(Seen { now, event }) => self.ring.note(now.unix, event),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }
}

/// Where workers put their news, and whence they are taken.
pub(super) fn news() -> (mpsc::Sender<Seen>, mpsc::Receiver<Seen>) {
    mpsc::channel(NEWS)
}

impl Desk {
    /// A desk with the news of these workers. What it does by itself it does on the current runtime, as long as it is there.
    pub(super) fn new(
        workers: Handle,
        settings: watch::Receiver<Arc<Settings>>,
        clock: Clock,
        store: Store,
        revoked: watch::Sender<Arc<Revocations>>,
        news: mpsc::Receiver<Seen>,
    ) -> Self {
        let notes = Mutex::new(Notes { ring: Ring::new(settings.borrow().auth.separator), news });
        let views = Semaphore::new(VIEWS);
        let inner = Arc::new(Inner {
            workers,
            settings,
            clock,
            notes,
            store: Mutex::new(store),
            revoked,
            dirty: Notify::new(),
            pen: Mutex::default(),
            unkept: AtomicBool::new(false),
            lines: Mutex::default(),
            views,
        });
        tokio::spawn(keep(Arc::clone(&inner)));
        tokio::spawn(write_down(Arc::clone(&inner)));
        Self(inner)
    }

    /// For the end, when the desk itself has been given away.
    pub(super) fn paper(&self) -> Paper {
        Paper(Arc::clone(&self.0))
    }
}

/// What is to outlive the server.
pub(super) struct Paper(Arc<Inner>);

impl Paper {
    /// Writes down what waits for it.
    pub(super) async fn write(&self) {
        self.0.save().await;
    }
}

/// Writes the file of revocations, once for all that have come since.
async fn write_down(desk: Arc<Inner>) {
    loop {
        desk.dirty.notified().await;
        tokio::time::sleep(GATHER).await;
        while !desk.save().await {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Keeps the news, and forgets what is old.
async fn keep(desk: Arc<Inner>) {
    let mut look = tokio::time::interval(LOOK);
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            _ = look.tick() => if !desk.notes.lock().await.take_news() {
                // The workers have stopped.
                return;
            },
            _ = tidy.tick() => {
                let now = desk.clock.now();
                desk.notes.lock().await.up_to(now.unix);
                desk.lines.lock().await.tell(&now, "credentials revoked", false);
                let mut store = desk.store.lock().await;
                if store.forget(now) {
                    // Nobody waits for that.
                    drop(desk.publish(&store, None));
                    desk.dirty.notify_one();
                }
            }
        }
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.clock.now().unix
    }

    /// Writes the file, if there is a place for it. Revoking goes on meanwhile.
    async fn save(&self) -> bool {
        let _pen = self.pen.lock().await;
        let Some(file) = self.store.lock().await.file() else { return true };
        let written = write(file).await;
        let failed_before = self.unkept.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = &written
            && !failed_before
        {
            tracing::error!(target: "relais", %error, "the revocations cannot be written to the state directory");
        }
        written.is_ok()
    }

    /// Tells all who ask of the list what it is now; waits for nobody, but what is returned does, for the workers.
    fn publish(
        &self,
        store: &Store,
        new: Option<auth::Revoked>,
    ) -> impl Future<Output = Option<u64>> + Send + use<> {
        let list = Arc::new(store.list());
        self.revoked.send_replace(Arc::clone(&list));
        self.workers.revoke(list, new)
    }

    /// Whether what is in force is kept, or will be within the second.
    fn kept(&self) -> Result<(), ControlError> {
        self.dirty.notify_one();
        if self.unkept.load(Ordering::Relaxed) { Err(ControlError::NotKept) } else { Ok(()) }
    }

    async fn revoke(&self, what: Revocation, issuer: Option<String>) -> Result<Revoked, ControlError> {
        check(&what)?;
        let now = self.clock.now();
        let (separator, listed) = {
            let auth = &self.settings.borrow().auth;
            let is_listed = |name: &str| auth.users.iter().any(|user| user.name == name);
            let listed = match &what {
                Revocation::Username(name) => is_listed(name),
                Revocation::User(_) | Revocation::Tag(_) | Revocation::Key(_) => false,
            };
            (auth.separator, listed)
        };
        let mut store = self.store.lock().await;
        let Entry { revoked, until, .. } = match store.add(what, issuer, now, separator, listed) {
            Added::Entry(entry) => entry,
            Added::Pointless(until) => {
                return Ok(Revoked { allocations_ended: 0, until: until.map(rfc3339) });
            }
            Added::Full => return Err(ControlError::Full),
        };
        // Under the lock, so that lists come in their order; a worker that does not answer finds it when it can.
        let ended = self.publish(&store, Some(revoked.clone()));
        drop(store);
        let ended = ended.await;
        let kept = self.kept();
        if self.lines.lock().await.admits(&self.clock.now()) {
            tracing::info!(
                target: "relais::revocation",
                kind = revoked.what.kind(),
                value = %Foreign(revoked.what.value()),
                issuer = revoked.issuer.as_deref().map(|issuer| Foreign(issuer).to_string()),
                allocations = ended,
                "credentials revoked"
            );
        }
        let allocations_ended = ended.ok_or(ControlError::Silent)?;
        kept?;
        Ok(Revoked { allocations_ended, until: until.map(rfc3339) })
    }

    async fn lift(&self, what: Revocation, issuer: Option<String>) -> Result<bool, ControlError> {
        check(&what)?;
        let mut store = self.store.lock().await;
        if !store.remove(&what, issuer.as_deref()) {
            return Ok(false);
        }
        let told = self.publish(&store, None);
        drop(store);
        let told = told.await;
        let kept = self.kept();
        tracing::info!(
            target: "relais::revocation",
            kind = what.kind(),
            value = %Foreign(what.value()),
            "revocation lifted"
        );
        kept?;
        told.map(|_| true).ok_or(ControlError::Silent)
    }

    async fn revocations(&self) -> Vec<RevocationEntry> {
        let store = self.store.lock().await;
        let shown = store.entries().iter().map(|Entry { revoked, until, .. }| RevocationEntry {
            kind: revoked.what.kind(),
            value: revoked.what.value().to_owned(),
            issuer: revoked.issuer.clone(),
            at: rfc3339(revoked.at),
            until: until.map(rfc3339),
        });
        shown.collect()
    }

    async fn sessions(&self, filter: SessionFilter) -> Result<Vec<Session>, ControlError> {
        let sessions = self.workers.sessions(filter.user.as_deref(), filter.limit).await;
        let now = self.clock.now();
        let sessions = sessions.ok_or(ControlError::Silent)?;
        Ok(sessions.iter().map(|session| view::session(session, &now)).collect())
    }

    async fn refusals(&self, user: Option<String>) -> Vec<Refused> {
        let now = self.now();
        let mut notes = self.notes.lock().await;
        let ring = notes.up_to(now);
        ring.refusals(user.as_deref()).map(|refusal| Self::shown(refusal, now, true)).collect()
    }

    fn shown(refusal: &Refusal, now: u64, named: bool) -> Refused {
        Refused {
            at: rfc3339(refusal.at),
            username: refusal.username.as_deref().filter(|_| named).map(str::to_owned),
            client: refusal.tuple.client.0.to_string(),
            transport: refusal.tuple.transport.name(),
            method: refusal.method.name(),
            code: refusal.code,
            cause: refusal.why.word(),
            message: refusal.message(now),
            cure: refusal.why.cure(),
            peer: refusal.peer.map(bare),
            count: refusal.count,
        }
    }

    async fn view(&self, asked: ViewRequest) -> Result<View, ControlError> {
        let ViewRequest { username, credential, from } = asked;
        let settings = Arc::clone(&self.settings.borrow());
        let verified = view::verifies(&settings.auth, &username, &credential);
        let now = self.clock.now();
        let mut shown = View {
            verified,
            now: rfc3339(now.unix),
            allocations: Vec::new(),
            requests: Default::default(),
            refusals: Vec::new(),
        };
        let live = if verified {
            // A crowd waits here, not in the workers' mail.
            let _turn = self.views.acquire().await.map_err(|_| ControlError::Silent)?;
            self.workers.sessions(Some(&username), SHOWN).await.ok_or(ControlError::Silent)?
        } else {
            Vec::new()
        };
        let mut notes = self.notes.lock().await;
        let ring = notes.up_to(now.unix);
        let from = prefix(from);
        let may_see = |refusal: &&Refusal| verified || prefix(refusal.tuple.client.0.ip()) == from;
        let refusals = ring.refusals_of(&username).filter(may_see).take(SHOWN);
        shown.refusals.extend(refusals.map(|refusal| Self::shown(refusal, now.unix, false)));
        if verified {
            // Of what quotas count together, only this credential's own.
            let live = live.iter().filter(|session| *session.username == *username);
            view::fill(&mut shown, live, ring.ended(&username).take(SHOWN), &now);
        }
        drop(notes);
        Ok(shown)
    }
}

fn check(what: &Revocation) -> Result<(), ControlError> {
    let len = what.value().len();
    if len == 0 || len > MAX_USERNAME { Err(ControlError::BadValue) } else { Ok(()) }
}

impl Control for Desk {
    fn revoke(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<Revoked, ControlError>> {
        let desk = Arc::clone(&self.0);
        async move { desk.revoke(what, issuer).await }.boxed()
    }

    fn lift(
        &self,
        what: Revocation,
        issuer: Option<String>,
    ) -> BoxFuture<'static, Result<bool, ControlError>> {
        let desk = Arc::clone(&self.0);
        async move { desk.lift(what, issuer).await }.boxed()
    }

    fn revocations(&self) -> BoxFuture<'static, Vec<RevocationEntry>> {
        let desk = Arc::clone(&self.0);
        async move { desk.revocations().await }.boxed()
    }

    fn sessions(&self, filter: SessionFilter) -> BoxFuture<'static, Result<Vec<Session>, ControlError>> {
        let desk = Arc::clone(&self.0);
        async move { desk.sessions(filter).await }.boxed()
    }

    fn refusals(&self, user: Option<String>) -> BoxFuture<'static, Vec<Refused>> {
        let desk = Arc::clone(&self.0);
        async move { desk.refusals(user).await }.boxed()
    }

    fn view(&self, asked: ViewRequest) -> BoxFuture<'static, Result<View, ControlError>> {
        let desk = Arc::clone(&self.0);
        async move { desk.view(asked).await }.boxed()
    }
}
