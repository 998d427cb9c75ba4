//! Whom the probe talks to through the relay.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stun::agent::TransactionId;
use stun::message::{BINDING_REQUEST, Getter as _, Message, is_message};
use stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::session::{Relayed, Session};

/// The longest datagram that is echoed.
const LONGEST: usize = 2048;

/// What every datagram of this run begins with. Nothing else is echoed: the peer must be nobody's reflector.
pub(super) type Token = [u8; 16];

/// An echo on the other side of the relay.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) kind: Kind,
    /// Datagrams that reached it; unknown for one outside.
    reached: Option<Arc<AtomicUsize>>,
    task: Option<JoinHandle<()>>,
}

/// Where the peer is.
pub(super) enum Kind {
    /// A second socket of this process.
    Socket(Arc<UdpSocket>),
    /// A second allocation on the same server.
    Allocation(Box<Session>, Relayed),
    /// An echo server of somebody.
    Outside,
}

impl Peer {
    pub(super) fn outside(address: SocketAddr) -> Self {
        Self { address, kind: Kind::Outside, reached: None, task: None }
    }

    /// A second socket of this process, at the address under which the server sees it.
    ///
    /// # Errors
    /// The server answers no Binding over UDP within `limit`.
    pub(super) async fn socket(server: SocketAddr, token: Token, limit: Duration) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(super::any_address(server)).await?);
        let address = timeout(limit, reflexive(&socket, server)).await.map_err(io::Error::other)??;
        let reached = Arc::new(AtomicUsize::new(0));
        let (echo, count) = (Arc::<UdpSocket>::clone(&socket), Arc::<AtomicUsize>::clone(&reached));
        let task = tokio::spawn(async move {
            let mut buffer = [0; LONGEST];
            loop {
                match echo.recv_from(&mut buffer).await {
                    Ok((length, from)) => {
                        let Some(datagram) = buffer.get(..length).filter(|text| text.starts_with(&token))
                        else {
                            continue;
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                        // A lost echo is what the probe is there to find.
                        let _ = echo.send_to(datagram, from).await;
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Ok(Self { address, kind: Kind::Socket(socket), reached: Some(reached), task: Some(task) })
    }

    /// A second allocation.
    pub(super) fn allocation(address: SocketAddr, session: Session, relay: Relayed, token: Token) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let (echo, count) = (Relayed::clone(&relay), Arc::<AtomicUsize>::clone(&reached));
        let task = tokio::spawn(async move {
            let mut buffer = [0; LONGEST];
            while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
                let Some(datagram) = buffer.get(..length).filter(|text| text.starts_with(&token)) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                let _ = echo.send_to(datagram, from).await;
            }
        });
        let kind = Kind::Allocation(Box::new(session), relay);
        Self { address, kind, reached: Some(reached), task: Some(task) }
    }

    /// Lets datagrams from `relayed` in: through the NAT before a socket, or by a permission.
    ///
    /// # Errors
    /// The server refused the permission.
    pub(super) async fn open_to(&mut self, relayed: SocketAddr, limit: Duration) -> Result<(), Refusal> {
        match &mut self.kind {
            Kind::Outside => Ok(()),
            Kind::Socket(socket) => {
                // The relay drops it; it is for the NAT.
                let _ = socket.send_to(b"relais probe", relayed).await;
                Ok(())
            }
            Kind::Allocation(session, relay) => {
                session.begin();
                let relay = Relayed::clone(relay);
                match session.within(limit, relay.send_to(b"relais probe", relayed)).await {
                    Some(Ok(_)) => Ok(()),
                    _ => Err(Refusal {
                        code: session
                            .answers(stun::message::METHOD_CREATE_PERMISSION)
                            .last()
                            .and_then(|answer| answer.code),
                    }),
                }
            }
        }
    }

    /// Whether a datagram has reached it; `None` when that cannot be known.
    pub(super) fn was_reached(&self) -> Option<bool> {
        self.reached.as_ref().map(|reached| reached.load(Ordering::Relaxed) > 0)
    }

    /// Ends it.
    pub(super) async fn close(self) {
        if let Some(task) = self.task {
            task.abort();
        }
        if let Kind::Allocation(session, relay) = self.kind {
            session.close(Some(&relay)).await;
        }
    }
}

/// A permission that was not given.
pub(super) struct Refusal {
    /// The error; `None` without an answer.
    pub(super) code: Option<u16>,
}

/// Asks `server` by Binding where `socket` is seen; asks again until it answers.
async fn reflexive(socket: &UdpSocket, server: SocketAddr) -> io::Result<SocketAddr> {
    let mut request = Message::new();
    request.build(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)]).map_err(io::Error::other)?;
    let mut buffer = [0; LONGEST];
    loop {
        socket.send_to(&request.raw, server).await?;
        let Ok(received) = timeout(Duration::from_millis(400), socket.recv_from(&mut buffer)).await else {
            continue;
        };
        let Some(packet) = received.ok().and_then(|(length, _)| buffer.get(..length)) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut answer = Message::new();
        answer.raw = packet.to_vec();
        if is_message(packet) && answer.decode().is_ok() && answer.transaction_id == request.transaction_id {
            let mut seen = XorMappedAddress::default();
            seen.get_from(&answer).map_err(io::Error::other)?;
            return Ok(SocketAddr::new(seen.ip, seen.port));
        }
    }
}
