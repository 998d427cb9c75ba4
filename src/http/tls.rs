//! HTTPS on listeners that are somebody else's: connections arrive with what has been read of them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// How long the handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// A connection that begins with TLS.
pub struct Arrival {
    /// The socket, not blocking.
    pub socket: std::net::TcpStream,
    /// What has been read from it.
    pub ahead: Vec<u8>,
    /// The other end.
    pub client: SocketAddr,
}

/// Where HTTPS comes from.
pub struct SharedTls {
    /// Connections; those that find no room in the channel are closed.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// The TLS of those that come next.
    pub config: watch::Receiver<Arc<ServerConfig>>,
}

impl SharedTls {
    /// The next connection. Waits for ever when there will be none.
    pub(super) async fn next(shared: &mut Option<Self>) -> Arrival {
        if let Some(found) = shared
            && let Some(arrival) = found.arrivals.recv().await
        {
            return arrival;
        }
        *shared = None;
        std::future::pending().await
    }
}

/// Shakes hands. `None`: the client spoke no TLS, or not in time; it has been told why.
pub(super) async fn accept(arrival: Arrival, config: Arc<ServerConfig>) -> Option<TlsStream<Ahead>> {
    let socket = TcpStream::from_std(arrival.socket).ok()?;
    let stream = Ahead { socket, ahead: arrival.ahead, at: 0 };
    let handshake = TlsAcceptor::from(config).accept(stream);
    tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await.ok()?.ok()
}

/// A socket of which something has been read already.
pub(super) struct Ahead {
    socket: TcpStream,
    ahead: Vec<u8>,
    at: usize,
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.ahead.len() {
            self.ahead = Vec::new();
            self.at = 0;
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let len = buffer.remaining().min(self.ahead.len() - self.at);
        buffer.put_slice(&self.ahead[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
