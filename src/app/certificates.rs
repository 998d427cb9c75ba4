//! The certificates of the running server: taken up when their files change, kept when the new ones are of no use.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::ordered::{Ordered, Received};
use super::self_signed::SelfSigned;
use super::{Error, start};
use crate::config::{self, OwnCertificate, Problem, Settings};
use crate::net::{self, Clock, DtlsIdentity, Handle, TURN_PROTOCOLS, WEB_PROTOCOL};
use crate::time::Timestamp;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(10);
/// How often they are read even if they have not changed: for the warning that a certificate ends.
const REMIND: Duration = Duration::from_secs(86_400);

/// What certificates are made into.
struct Loaded {
    found: config::Certificates,
    turn: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
    /// There with any DTLS listener.
    dtls: Option<Arc<DtlsIdentity>>,
}

fn load(
    settings: &Settings,
    own: Option<&OwnCertificate>,
    last: Option<&config::Certificates>,
    now_unix: u64,
) -> Result<Option<Loaded>, Vec<Problem>> {
    let Some(found) = config::certificates(settings, own, last, now_unix)? else { return Ok(None) };
    let config = |protocols: &[&[u8]]| {
        net::tls_config(&found.keys, found.client_roots.clone(), protocols).map_err(|error| {
            let message = format!("TLS cannot be set up: {error}");
            vec![Problem::error(&config::Place::Default, message, "look at the files named in [tls]")]
        })
    };
    let (turn, web) = (config(&TURN_PROTOCOLS)?, config(&[WEB_PROTOCOL])?);
    let dtls = match settings.listen.dtls.first() {
        None => None,
        Some(_) => Some(Arc::new(identity(&found)?)),
    };
    Ok(Some(Loaded { found, turn, web, dtls }))
}

fn identity(found: &config::Certificates) -> Result<DtlsIdentity, Vec<Problem>> {
    DtlsIdentity::new(&found.keys, found.client_roots.as_deref()).map_err(|message| {
        let cure = "keys for DTLS are ECDSA (P-256, P-384) or RSA; make another certificate, or set listen.dtls to []";
        vec![Problem::error(&config::Place::Default, message, cure)]
    })
}

/// What tells one state of a file from another: device, inode, length, and the times of its content and of the rest.
/// `None`: there is no such file.
type Stamp = Option<[i64; 7]>;

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
    let (content, rest) = ([found.mtime(), found.mtime_nsec()], [found.ctime(), found.ctime_nsec()]);
    Some([
        number(found.dev()),
        number(found.ino()),
        number(found.size()),
        content[0],
        content[1],
        rest[0],
        rest[1],
    ])
}

fn stamps(settings: &Settings) -> Vec<(PathBuf, Stamp)> {
    let pairs = settings.tls.pairs().into_iter().flat_map(|pair| [pair.certificate, pair.key]);
    let files = pairs.chain(settings.tls.client_ca.clone());
    files.map(|file| (file.clone(), stamp(&file))).collect()
}

/// The certificate that is in no file of the operator's.
enum Own {
    None,
    SelfSigned(SelfSigned),
    Ordered(Ordered),
}

impl Own {
    fn of(settings: &Settings, received: &Received, now_unix: u64) -> Result<Self, Error> {
        if settings.listen.tls.is_empty() && settings.listen.dtls.is_empty() {
            return Ok(Self::None);
        }
        if let Some(ordered) = Ordered::load(settings, received.clone(), now_unix)? {
            return Ok(Self::Ordered(ordered));
        }
        if settings.tls.makes_own() {
            return Ok(Self::SelfSigned(SelfSigned::load(settings, now_unix)?));
        }
        Ok(Self::None)
    }

    /// Brings it up to date with the settings, the authority and the clock.
    fn renew(&mut self, settings: &Settings, received: &Received, now_unix: u64) -> Result<(), Error> {
        match self {
            Self::SelfSigned(made) if settings.tls.makes_own() => made.renew(settings, now_unix)?,
            Self::Ordered(ordered) => ordered.renew(now_unix),
            Self::None | Self::SelfSigned(_) => *self = Self::of(settings, received, now_unix)?,
        }
        Ok(())
    }

    /// Whether it should be renewed, apart from news of the authority.
    fn is_due(&self, settings: &Settings, now_unix: u64) -> bool {
        match self {
            Self::None | Self::Ordered(_) => false,
            Self::SelfSigned(made) => made.is_due(settings, now_unix),
        }
    }

    /// Waits for the authority.
    async fn news(&mut self) {
        match self {
            Self::None | Self::SelfSigned(_) => std::future::pending().await,
            Self::Ordered(ordered) => ordered.news().await,
        }
    }

    fn current(&self) -> Option<&OwnCertificate> {
        match self {
            Self::None => None,
            Self::SelfSigned(made) => Some(made.current()),
            Self::Ordered(ordered) => ordered.current(),
        }
    }

    /// Whether clients can trust it, or one of the operator's own.
    fn is_trusted(&self, settings: &Settings) -> bool {
        let ordered = matches!(self, Self::Ordered(ordered) if ordered.is_trusted());
        ordered || !settings.tls.pairs().is_empty()
    }

    /// Whether it stands in for one that is to come.
    const fn is_stand_in(&self) -> bool {
        matches!(self, Self::Ordered(ordered) if !ordered.is_trusted())
    }
}

/// The certificates in use.
pub(super) struct Certificates {
    clock: Clock,
    own: Own,
    received: Received,
    /// Whether somebody vouches for one of them.
    trusted: watch::Sender<bool>,
    shown: watch::Sender<Vec<Arc<CertifiedKey>>>,
    /// Those that stay where new ones are of no use.
    last: config::Certificates,
    /// As the files were when they were read last.
    seen: Vec<(PathBuf, Stamp)>,
    read: Timestamp,
    turn: Arc<ServerConfig>,
    web: watch::Sender<Arc<ServerConfig>>,
    dtls: Option<Arc<DtlsIdentity>>,
    expiry: Arc<AtomicU64>,
}

impl Certificates {
    /// Reads them. `None`: there are none. `received`: what comes from an authority.
    pub(super) fn load(settings: &Settings, received: Received, clock: Clock) -> Result<Option<Self>, Error> {
        let (seen, now) = (stamps(settings), clock.now());
        let own = Own::of(settings, &received, now.unix)?;
        let loaded = load(settings, own.current(), None, now.unix).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let text = problems.join("\n");
            // Whoever shows it begins with the same word.
            Error(text.strip_prefix("error: ").unwrap_or(&text).to_owned())
        })?;
        Ok(loaded.map(|loaded| {
            start::log_problems(&loaded.found.warnings);
            let expiry = Arc::new(AtomicU64::new(if own.is_stand_in() { 0 } else { loaded.found.expiry }));
            Self {
                clock,
                trusted: watch::Sender::new(own.is_trusted(settings)),
                own,
                shown: watch::Sender::new(loaded.found.keys.clone()),
                last: loaded.found,
                received,
                seen,
                read: now.mono,
                turn: loaded.turn,
                web: watch::Sender::new(loaded.web),
                dtls: loaded.dtls,
                expiry,
            }
        }))
    }

    /// What the listeners do.
    pub(super) fn turn(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.turn)
    }

    /// What DTLS listeners show, if there are any.
    pub(super) fn dtls(&self) -> Option<Arc<DtlsIdentity>> {
        self.dtls.clone()
    }

    /// What the web side does, now and later.
    pub(super) fn web(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.web.subscribe()
    }

    /// Whether clients can be led here without being asked: somebody vouches for a certificate, now and later.
    pub(super) fn trusted(&self) -> watch::Receiver<bool> {
        self.trusted.subscribe()
    }

    /// What clients may be shown, now and later.
    pub(super) fn shown(&self) -> watch::Receiver<Vec<Arc<CertifiedKey>>> {
        self.shown.subscribe()
    }

    /// The certificate that the server has made itself, if it shows that one.
    pub(super) const fn self_signed(&self) -> Option<&OwnCertificate> {
        match &self.own {
            Own::SelfSigned(made) => Some(made.current()),
            Own::None | Own::Ordered(_) => None,
        }
    }

    /// When the first certificate ends, in seconds of Unix time, now and later; 0 until there is one.
    pub(super) fn expiry(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.expiry)
    }

    /// Waits until there is something for [`reload`](Self::reload) to take up: changed files, news of the authority, or a day
    /// that has passed. Can be given up and called again.
    pub(super) async fn watch(&mut self, settings: &watch::Receiver<Arc<Settings>>) {
        loop {
            let news = tokio::time::timeout(POLL, self.own.news()).await.is_ok();
            let settings = Arc::clone(&settings.borrow());
            let old = self.clock.now().mono.since(self.read) >= REMIND;
            let due = self.own.is_due(&settings, self.clock.now().unix);
            if news || old || due || stamps(&settings) != self.seen {
                return;
            }
        }
    }

    /// Takes up the files as they are now. Where one is of no use what there is stays, and the log says why.
    pub(super) async fn reload(&mut self, settings: &Settings, handle: &Handle) {
        (self.seen, self.read) = (stamps(settings), self.clock.now().mono);
        let now_unix = self.clock.now().unix;
        if let Err(error) = self.own.renew(settings, &self.received, now_unix) {
            tracing::error!(target: "relais::tls", %error, "certificate not renewed; the old one stays");
        }
        match load(settings, self.own.current(), Some(&self.last), now_unix) {
            Ok(Some(loaded)) => {
                let found = loaded.found;
                start::log_problems(&found.warnings);
                start::log_problems(&found.errors);
                self.trusted.send_replace(self.own.is_trusted(settings));
                self.shown.send_replace(found.keys.clone());
                let expiry = if self.own.is_stand_in() { 0 } else { found.expiry };
                self.expiry.store(expiry, Ordering::Relaxed);
                self.turn = loaded.turn;
                self.web.send_replace(loaded.web);
                handle.set_tls(self.turn()).await;
                if let Some(identity) = loaded.dtls {
                    self.dtls = Some(Arc::clone(&identity));
                    handle.set_dtls(identity).await;
                }
                if found.errors.is_empty() {
                    let until = config::ice::rfc3339(found.expiry);
                    tracing::info!(target: "relais::tls", until, "certificates loaded; running connections keep theirs");
                } else {
                    tracing::error!(
                        target: "relais::tls",
                        "certificates not loaded; the old ones stay in their place, the others are taken up"
                    );
                }
                self.last = found;
            }
            // The listeners are there until a restart.
            Ok(None) => {}
            Err(problems) => {
                start::log_problems(&problems);
                tracing::error!(target: "relais::tls", "certificates not loaded; the old ones stay");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_rewritten_is_seen() {
        let directory = std::env::temp_dir().join(format!("relais-stamps-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (file, other) = (directory.join("a"), directory.join("b"));
        let mut seen = vec![stamp(&file)];
        std::fs::write(&file, "1").unwrap();
        seen.push(stamp(&file));
        assert_eq!(seen[1], stamp(&file));
        std::fs::write(&other, "2").unwrap();
        std::fs::rename(&other, &file).unwrap();
        seen.push(stamp(&file));
        std::fs::write(&file, "33").unwrap();
        seen.push(stamp(&file));
        std::os::unix::fs::symlink(&file, &other).unwrap();
        assert_eq!(seen[3], stamp(&other), "a link is what it leads to");
        for (index, stamp) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(stamp), "{index}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
