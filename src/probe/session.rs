//! One client of the server, and what was seen of its traffic.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use stun::message::Method;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use super::credentials::Credentials;
use super::tap::{Answer, Seen, Tap};
use super::tls::Tls;
use crate::client::uri::Transport;

/// How long an answer is still awaited after an ICMP error or the end of a connection.
const AFTER_TROUBLE: Duration = Duration::from_millis(700);

/// The first interval between retransmissions, in milliseconds: over UDP RFC 8489's, over TCP as good as none.
const RETRANSMIT: (u16, u16) = (200, 30_000);

/// What is remembered of one step.
const MOST_EVENTS: usize = 4096;

/// A client of one server.
pub(super) struct Session {
    pub(super) tap: Arc<Tap>,
    pub(super) client: Client,
    pub(super) transport: Transport,
    seen: mpsc::Receiver<Seen>,
    log: Vec<Seen>,
}

impl Session {
    /// Opens the way to `server`; nothing is sent yet.
    ///
    /// # Errors
    /// There is no way.
    pub(super) async fn open(
        server: SocketAddr,
        transport: Transport,
        tls: Option<&Tls>,
        credentials: Option<&Credentials>,
    ) -> io::Result<Self> {
        let (tap, seen) = Tap::open(server, transport, tls).await?;
        let tap = Arc::new(tap);
        let config = ClientConfig {
            stun_serv_addr: server.to_string(),
            turn_serv_addr: server.to_string(),
            username: credentials.map_or_else(String::new, |known| known.username.clone()),
            password: credentials.map_or_else(String::new, |known| known.password.expose().to_owned()),
            realm: String::new(),
            software: String::new(),
            rto_in_ms: if transport == Transport::Udp { RETRANSMIT.0 } else { RETRANSMIT.1 },
            conn: Arc::<Tap>::clone(&tap),
            vnet: None,
        };
        let client = Client::new(config).await.map_err(io::Error::other)?;
        client.listen().await.map_err(io::Error::other)?;
        Ok(Self { tap, client, transport, seen, log: Vec::new() })
    }

    /// Forgets what was seen.
    pub(super) fn begin(&mut self) {
        self.catch_up();
        self.log.clear();
    }

    /// Awaits `future`, but for each answer not longer than `limit`, and less after trouble on the wire.
    pub(super) async fn within<F: Future>(&mut self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut deadline = Instant::now() + limit;
        loop {
            tokio::select! {
                biased;
                output = &mut future => {
                    self.catch_up();
                    return Some(output);
                }
                Some(seen) = self.seen.recv() => {
                    match seen {
                        Seen::Trouble(..) => deadline = deadline.min(Instant::now() + AFTER_TROUBLE),
                        Seen::Answer(_) => deadline = deadline.max(Instant::now() + limit),
                        _ => (),
                    }
                    self.remember(seen);
                }
                () = sleep_until(deadline) => return None,
            }
        }
    }

    /// Awaits that `wanted` holds for something that was seen, now or until `limit` has passed.
    pub(super) async fn until_seen(&mut self, limit: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        self.catch_up();
        if self.log.iter().any(&wanted) {
            return true;
        }
        let mut deadline = Instant::now() + limit;
        loop {
            tokio::select! {
                Some(seen) = self.seen.recv() => {
                    let is_wanted = wanted(&seen);
                    if matches!(seen, Seen::Trouble(..)) {
                        deadline = deadline.min(Instant::now() + AFTER_TROUBLE);
                    }
                    self.remember(seen);
                    if is_wanted {
                        return true;
                    }
                }
                () = sleep_until(deadline) => return false,
            }
        }
    }

    /// All that was seen since [`begin`](Self::begin).
    pub(super) fn log(&mut self) -> &[Seen] {
        self.catch_up();
        &self.log
    }

    /// The answers to requests of `method`, the first one first.
    pub(super) fn answers(&self, method: Method) -> Vec<&Answer> {
        self.log
            .iter()
            .filter_map(|seen| match seen {
                Seen::Answer(answer) if answer.method == method => Some(&**answer),
                _ => None,
            })
            .collect()
    }

    /// From the first sending of a request to its answer.
    pub(super) fn rtt(&self, answer: &Answer) -> Option<Duration> {
        self.log.iter().find_map(|seen| match seen {
            Seen::Asked { id, at, .. } if *id == answer.id => Some(answer.at.duration_since(*at)),
            _ => None,
        })
    }

    /// The last trouble on the wire.
    pub(super) fn trouble(&self) -> Option<(io::ErrorKind, &str)> {
        self.log.iter().rev().find_map(|seen| match seen {
            Seen::Trouble(kind, text) => Some((*kind, text.as_str())),
            _ => None,
        })
    }

    /// Whether something came that is not of this protocol.
    pub(super) fn has_foreign(&self) -> bool {
        self.log.iter().any(|seen| matches!(seen, Seen::Foreign))
    }

    /// Gives the allocation back, if the server still listens.
    pub(super) async fn close(mut self, relay: Option<&Relayed>) {
        let client = self.client.clone();
        self.within(Duration::from_millis(500), async {
            if let Some(relay) = relay {
                // Nothing is owed to a server that does not listen: the allocation ends by itself.
                let _ = relay.close().await;
            }
            let _ = client.close().await;
        })
        .await;
    }

    fn catch_up(&mut self) {
        while let Ok(seen) = self.seen.try_recv() {
            self.remember(seen);
        }
    }

    fn remember(&mut self, seen: Seen) {
        if self.log.len() < MOST_EVENTS {
            self.log.push(seen);
        }
    }
}

/// An allocation: what is sent here leaves from the relayed transport address.
pub(super) type Relayed = Arc<dyn Conn + Send + Sync>;
