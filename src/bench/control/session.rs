//! One client of the server: the state machine, a socket and a clock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::clock::{Clock, timestamp, until};
use super::super::server::Target;
use crate::client::uri::Transport;
use crate::client::{Account, Client, Event, Frame, Incoming, Task, Timers, frame, read};
use crate::time::Timestamp;
use crate::wire::TransactionId;

/// Answers are shorter, and data do not come.
const BUFFER: usize = 4_096;

/// How long a connection may take to open.
const OPENING: Duration = Duration::from_secs(5);

/// Over UDP: sent 4 times, given up after 5.5 seconds. A load generator has to tell of a server that does not answer before
/// its user has given up.
const DATAGRAMS: Timers =
    Timers { first: Duration::from_millis(500), count: 4, last: Duration::from_millis(2_000) };
/// Over TCP and TLS: sent once, given up after as long.
const STREAM: Timers =
    Timers { first: Duration::from_millis(500), count: 1, last: Duration::from_millis(5_500) };

/// A stream of bytes, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

enum Wire {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// A client of one server.
pub(super) struct Session {
    wire: Wire,
    client: Client,
    clock: Clock,
    ids: Ids,
    /// What has been read of a stream and not been understood yet; one datagram over UDP.
    buffer: Box<[u8]>,
    filled: usize,
    /// When the request that is under way was sent first, in nanoseconds.
    asked: u64,
    /// Tasks that were asked for and have not ended.
    open: usize,
    /// Requests that were sent again.
    pub(super) sent_again: u64,
}

/// What happened, and how long after the request that led to it.
pub(super) type Answered = (Event, Duration);

impl Session {
    /// Opens the way to the server; nothing is asked yet.
    ///
    /// # Errors
    /// There is no way.
    pub(super) async fn open(
        target: &Target,
        bind: Option<IpAddr>,
        account: Option<&Arc<Account>>,
        clock: Clock,
    ) -> io::Result<Self> {
        Self::open_at(target, bind, 0, account, clock).await
    }

    /// The same from this local port; 0: any.
    ///
    /// # Errors
    /// There is no way, or the port is used.
    pub(super) async fn open_at(
        target: &Target,
        bind: Option<IpAddr>,
        port: u16,
        account: Option<&Arc<Account>>,
        clock: Clock,
    ) -> io::Result<Self> {
        let local = SocketAddr::new(bind.unwrap_or_else(|| any(target.address)), port);
        let (wire, timers) = match target.transport() {
            Transport::Udp => {
                let socket = UdpSocket::bind(local).await?;
                socket.connect(target.address).await?;
                (Wire::Udp(socket), DATAGRAMS)
            }
            Transport::Tcp | Transport::Tls => {
                let stream = timeout(OPENING, connect(local, target)).await??;
                (Wire::Stream(stream), STREAM)
            }
        };
        Ok(Self {
            wire,
            client: Client::new(account.map(Arc::clone), timers),
            clock,
            ids: Ids::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0,
            asked: 0,
            open: 0,
            sent_again: 0,
        })
    }

    /// Asks for something and waits for what becomes of it, which may be that it failed.
    ///
    /// # Errors
    /// Those of the network.
    pub(super) async fn carry_out(&mut self, task: Task) -> io::Result<Answered> {
        self.ask(task);
        loop {
            let answered = self.next(None).await?;
            // One that was asked before may be answered first.
            if let Some(answered) = answered.filter(|_| self.open == 0) {
                return Ok(answered);
            }
        }
    }

    /// Asks for something; [`Self::next`] tells what becomes of it.
    pub(super) fn ask(&mut self, task: Task) {
        if self.client.ask(task) {
            self.open += 1;
        }
    }

    /// The next event; `None` when it has not come by `end`, in nanoseconds. Until then all is kept alive.
    ///
    /// # Errors
    /// Those of the network.
    pub(super) async fn next(&mut self, end: Option<u64>) -> io::Result<Option<Answered>> {
        loop {
            self.transmit().await?;
            let now = self.clock.now();
            if let Some(event) = self.client.poll_event() {
                // What the client renews by itself was never asked for here.
                self.open = self.open.saturating_sub(1);
                return Ok(Some((event, Duration::from_nanos(now.saturating_sub(self.asked)))));
            }
            if end.is_some_and(|end| end <= now) {
                return Ok(None);
            }
            let wait = [
                self.client.next_timeout().map(|due| until(now, due)),
                end.map(|end| Duration::from_nanos(end - now)),
            ];
            match wait.into_iter().flatten().min() {
                Some(wait) => match timeout(wait, self.receive()).await {
                    Ok(received) => received?,
                    Err(_) => continue,
                },
                None => self.receive().await?,
            }
        }
    }

    /// Sends what is due.
    async fn transmit(&mut self) -> io::Result<()> {
        loop {
            let now = self.clock.now();
            let mut is_new = false;
            let id = || {
                is_new = true;
                self.ids.next()
            };
            let Some(bytes) = self.client.poll_transmit(timestamp(now), id) else { return Ok(()) };
            match &mut self.wire {
                Wire::Udp(socket) => socket.send(bytes).await.map(drop)?,
                Wire::Stream(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await?;
                }
            }
            if is_new {
                self.asked = now;
            } else {
                self.sent_again += 1;
            }
        }
    }

    /// Waits for something to arrive and takes it.
    async fn receive(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                let len = socket.recv(&mut self.buffer).await?;
                let now = timestamp(self.clock.now());
                take(&mut self.client, self.buffer.get(..len).unwrap_or_default(), now);
            }
            Wire::Stream(stream) => {
                let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
                let len = stream.read(free).await?;
                if len == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.filled += len;
                let now = timestamp(self.clock.now());
                while let Some(len) = self.frame()? {
                    take(&mut self.client, self.buffer.get(..len).unwrap_or_default(), now);
                    self.buffer.copy_within(len..self.filled, 0);
                    self.filled -= len;
                }
            }
        }
        Ok(())
    }

    /// The length of the frame that the buffer begins with, if it is all there.
    fn frame(&self) -> io::Result<Option<usize>> {
        match frame(self.buffer.get(..self.filled).unwrap_or_default()) {
            Frame::Len(len) if len <= self.filled => Ok(Some(len)),
            Frame::Len(len) if len <= self.buffer.len() => Ok(None),
            Frame::More => Ok(None),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "the server speaks neither STUN nor TURN")),
        }
    }
}

fn take(client: &mut Client, bytes: &[u8], now: Timestamp) {
    if let Incoming::Message(message) = read(bytes) {
        // What answers nothing is none of its business.
        client.handle(&message, now);
    }
}

async fn connect(local: SocketAddr, target: &Target) -> io::Result<Box<dyn Stream>> {
    let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(local)?;
    // The port is free as soon as the connection ends: many that come and go would use all of them up.
    socket.set_zero_linger()?;
    let stream = socket.connect(target.address).await?;
    stream.set_nodelay(true)?;
    match &target.tls {
        None => Ok(Box::new(stream)),
        Some((config, name)) => {
            let name: ServerName<'static> = name.clone();
            Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
        }
    }
}

/// Any local address of the family of `remote`.
pub(super) const fn any(remote: SocketAddr) -> IpAddr {
    match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Transaction ids from the system's randomness, fetched many at a time.
#[derive(Default)]
struct Ids {
    stock: Vec<[u8; 12]>,
}

impl Ids {
    fn next(&mut self) -> TransactionId {
        if self.stock.is_empty() {
            self.stock.resize(32, [0; 12]);
            // Without randomness the ids are 0, which no server minds: this is no client whose peers are others.
            let _ = getrandom::fill(self.stock.as_flattened_mut());
        }
        TransactionId(self.stock.pop().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn transaction_ids_do_not_come_twice() {
        let mut ids = Ids::default();
        let mut all: Vec<_> = (0..100).map(|_| ids.next().0).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }
}
