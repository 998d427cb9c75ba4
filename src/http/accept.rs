//! Connections: how many, from where, and for how long.

use super::Limits;
use super::admission::Prefix;
use super::caller::Remote;
use super::paced::Paced;
use super::tls::{self, Arrival, SharedTls};
use axum::Router;
use axum::http::Request;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

/// How long after the stop a connection has for the request in hand.
pub(super) const LAST_REQUEST: Duration = Duration::from_millis(500);

/// The same after the end of its lifetime. The longest request is a poll for signaling, which a ping ends.
const LAST_POLL: Duration = Duration::from_secs(30);

/// One request's head. The largest honest one is a browser's with cookies of its own for localhost.
const MAX_HEAD: usize = 16 << 10;

/// How long the listeners rest when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the log says so.
const REMINDER: Duration = Duration::from_secs(10);

/// Refused clients that are given time to read why.
const MAX_REFUSED: usize = 64;

/// What refused clients read.
const TOO_MANY: &str = r#"{"error":{"code":"too_many_connections","message":"There are too many connections.","help":"Try again in a moment."}}"#;
const FOREIGN: &str = r#"{"error":{"code":"not_from_here","message":"This is a trial for the local network.","help":"A server for everybody has a configuration instead of --lan."}}"#;

/// A connection, and how it is secured.
enum Accepted {
    Plain(TcpStream, SocketAddr),
    Tls(Arrival, Arc<ServerConfig>),
}

/// Accepts from all listeners, and what others have accepted, until `shutdown`; returns when the last connection is closed.
pub(super) async fn run(
    router: Router,
    listeners: Vec<TcpListener>,
    mut shared: Option<SharedTls>,
    networks: Vec<IpNet>,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
) {
    // Shared: a copy in each conversation would be most of it.
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    let mut per_address = BTreeMap::<Prefix, usize>::new();
    let mut refused = JoinSet::new();
    let mut first = 0;
    // Given up for a moment when there are no descriptors left, so that a client learns that nobody will answer.
    let mut reserve = std::fs::File::open("/dev/null").ok();
    let mut said: Option<Instant> = None;
    let stop = stopped(shutdown.clone());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Ok(prefix) = ended {
                    forget(&mut per_address, prefix);
                }
                continue;
            }
            arrival = SharedTls::next(&mut shared) => match &shared {
                Some(shared) => Accepted::Tls(arrival, Arc::clone(&shared.config.borrow())),
                None => continue,
            },
            accepted = any(&listeners, &mut first) => match accepted {
                Ok((stream, remote)) => Accepted::Plain(stream, remote),
                Err(error) if is_transient(&error) => continue,
                Err(error) => {
                    if said.is_none_or(|said| said.elapsed() >= REMINDER) {
                        said = Some(Instant::now());
                        tracing::warn!(
                            target: "relais::http",
                            %error,
                            "HTTP cannot accept connections: mostly it lacks file descriptors, then raise LimitNOFILE or ulimit -n"
                        );
                    }
                    drop(reserve.take());
                    drop(tokio::time::timeout(Duration::from_millis(1), any(&listeners, &mut first)).await);
                    reserve = std::fs::File::open("/dev/null").ok();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let remote = match &accepted {
            Accepted::Plain(_, remote) => *remote,
            Accepted::Tls(arrival, _) => arrival.client,
        };
        if !networks.is_empty()
            && !networks.iter().any(|network| network.contains(&remote.ip().to_canonical()))
        {
            if let Accepted::Plain(stream, _) = accepted {
                refuse(&mut refused, stream, "403 Forbidden", FOREIGN);
            }
            continue;
        }
        let prefix = Prefix::of(remote.ip());
        let same = per_address.get(&prefix).copied().unwrap_or(0);
        let full = connections.len() >= limits.connections;
        if full || !prefix.is_loopback() && same >= limits.connections_per_address {
            // Over TLS a word would cost a handshake, which is what there are too many of.
            if let Accepted::Plain(stream, _) = accepted {
                let status = if full { "503 Service Unavailable" } else { "429 Too Many Requests" };
                refuse(&mut refused, stream, status, TOO_MANY);
            }
            continue;
        }
        per_address.insert(prefix, same + 1);
        let secure = matches!(accepted, Accepted::Tls(..));
        let port = match &accepted {
            Accepted::Plain(stream, _) => stream.local_addr().map_or(0, |local| local.port()),
            Accepted::Tls(arrival, _) => arrival.socket.local_addr().map_or(0, |local| local.port()),
        };
        let service = Connection {
            inner: TowerToHyperService::new(router.clone()),
            remote: Remote { address: remote, port, secure },
        };
        let (limits, shutdown) = (limits.clone(), shutdown.clone());
        connections.spawn(async move {
            // A panic in one conversation is reported by the hook; the address must still be forgotten.
            let conversation = AssertUnwindSafe(begin(accepted, service, limits, shutdown));
            let _ = conversation.catch_unwind().await;
            prefix
        });
    }
    drop(listeners);
    drop(router);
    while connections.join_next().await.is_some() {}
}

/// Resolves when the switch is thrown or its owner is gone.
pub(super) async fn stopped(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn begin(
    accepted: Accepted,
    service: Connection,
    limits: Arc<Limits>,
    shutdown: watch::Receiver<bool>,
) {
    match accepted {
        Accepted::Plain(stream, _) => {
            let _ = stream.set_nodelay(true);
            converse(stream, service, limits, shutdown).await;
        }
        Accepted::Tls(arrival, config) => {
            if let Some(stream) = tls::accept(arrival, config).await {
                converse(stream, service, limits, shutdown).await;
            }
        }
    }
}

/// Speaks HTTP/1.1 until the other side, a deadline or the stop ends it. A WebSocket leaves this behind.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Connection,
    limits: Arc<Limits>,
    shutdown: watch::Receiver<bool>,
) {
    // Signaling has narrower limits of its own, by messages; this is for all that is none.
    let (burst, per_second) = (2 * limits.byte_burst, 2 * limits.bytes_per_second);
    let paced = Paced::new(stream, burst, per_second);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_deadline)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(paced), service)
        .with_upgrades();
    tokio::pin!(connection);
    let stop = stopped(shutdown);
    tokio::pin!(stop);
    tokio::select! {
        // How a conversation failed is the client's business: it hung up, or spoke no HTTP.
        _ = &mut connection => return,
        () = tokio::time::sleep(limits.connection_lifetime) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = &mut connection => return,
                () = tokio::time::sleep(LAST_POLL) => return,
                () = &mut stop => {}
            }
        }
        () = &mut stop => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_REQUEST, connection).await;
}

fn forget(per_address: &mut BTreeMap<Prefix, usize>, prefix: Prefix) {
    if let Some(count) = per_address.get_mut(&prefix) {
        *count -= 1;
        if *count == 0 {
            per_address.remove(&prefix);
        }
    }
}

/// The next connection of any listener, beginning each time with another one.
async fn any(listeners: &[TcpListener], first: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        for step in 0..listeners.len() {
            let index = (*first + step) % listeners.len();
            if let Some(Poll::Ready(accepted)) = listeners.get(index).map(|l| l.poll_accept(context)) {
                *first = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Errors of the one connection that was not to be; everything else (no descriptors, no memory) needs a pause.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A word to a client that has to go, if the kernel takes it at once. Then its request is read to its end, or
/// the word would be lost in a reset; only a few clients at a time get that much.
fn refuse(refused: &mut JoinSet<()>, stream: TcpStream, status: &str, body: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         retry-after: 5\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.try_write(answer.as_bytes());
    while refused.try_join_next().is_some() {}
    if refused.len() < MAX_REFUSED {
        refused.spawn(async move {
            let mut stream = stream;
            let drain = async {
                stream.shutdown().await?;
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = tokio::time::timeout(Duration::from_millis(500), drain).await;
        });
    }
}

/// The router, told who is at the other end.
struct Connection {
    inner: TowerToHyperService<Router>,
    remote: Remote,
}

impl Service<Request<Incoming>> for Connection {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.remote);
        let answer = self.inner.call(request);
        // Requests that come together wait for their turn, one at a time: others have work on this thread.
        async move {
            tokio::task::yield_now().await;
            answer.await
        }
        .boxed()
    }
}
