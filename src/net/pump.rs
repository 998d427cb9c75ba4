//! Carries bytes between the two data connections of a peer (RFC 6062 §5.4, §5.5): as they are, in both directions,
//! and no faster than they are taken.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use super::io::Io;
use crate::turn::ConnectionEnd;

/// How long nothing may come the other way once one side has been closed. A side that has gone altogether looks the
/// same as one that only says no more.
const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(60);

/// Bytes that are read at once, and wait at most in one direction. A TLS record must fit: 2^14 bytes, 2,048 more that
/// encryption may add, and a header of 5 (RFC 5246 §6.2.3, RFC 8446 §5.2).
pub(super) const PIECE: usize = (1 << 14) + 2048 + 5;

/// The way that bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToPeer,
    ToClient,
}

/// Whatever lends a buffer for the length of a call.
pub(super) trait Lender {
    /// Calls `work` with the buffer.
    fn lend<T>(&mut self, work: impl FnOnce(&mut [u8]) -> T) -> T;

    /// Hears of all that is read.
    fn count(&mut self, way: Way, bytes: usize);
}

/// One of two directions.
#[derive(Default)]
struct Direction {
    /// Read and not written yet: at most one buffer full. Nothing more is read before all of it has been written.
    waiting: Vec<u8>,
    written: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Reading,
    /// The source has said its last; the other side is to learn it behind the last byte.
    Closing,
    Closed,
}

/// What one step has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing can be done before a side is ready.
    Blocked,
    /// Something was done, and this much read; there may be more.
    Moved(usize),
}

impl Direction {
    fn wants_to_read(&self, to: &Io) -> bool {
        self.stage == Stage::Reading && self.waiting.is_empty() && !to.has_unsent()
    }

    fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty() || self.stage == Stage::Closing
    }

    /// One read at most, and what writes that allows.
    fn step(&mut self, from: &mut Io, to: &mut Io, buffer: &mut [u8]) -> io::Result<Step> {
        if !self.waiting.is_empty() {
            return self.write_on(to);
        }
        match self.stage {
            Stage::Closed => Ok(Step::Blocked),
            Stage::Closing => {
                to.finish_writing();
                if to.has_unsent() {
                    return Ok(Step::Blocked);
                }
                self.stage = Stage::Closed;
                Ok(Step::Moved(0))
            }
            Stage::Reading => {
                // What TLS has taken and not sent waits just as well, and nobody else sends it.
                if to.has_unsent() {
                    return Ok(if unless_blocked(to.flush())?.is_some() {
                        Step::Moved(0)
                    } else {
                        Step::Blocked
                    });
                }
                let Some(len) = unless_blocked(from.try_read(buffer))? else { return Ok(Step::Blocked) };
                if len == 0 {
                    self.stage = Stage::Closing;
                    return Ok(Step::Moved(0));
                }
                let written = unless_blocked(to.try_write(&buffer[..len]))?.unwrap_or(0);
                self.waiting.extend_from_slice(&buffer[written..len]);
                Ok(Step::Moved(len))
            }
        }
    }

    fn write_on(&mut self, to: &mut Io) -> io::Result<Step> {
        let Some(len) = unless_blocked(to.try_write(&self.waiting[self.written..]))? else {
            return Ok(Step::Blocked);
        };
        self.written += len;
        if self.written == self.waiting.len() {
            // A connection that is not held up keeps no memory.
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(Step::Moved(0))
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Both directions.
pub(super) struct Pump {
    client: Io,
    peer: Io,
    to_peer: Direction,
    to_client: Direction,
    /// [`HALF_CLOSED_SILENCE`].
    silence: Duration,
}

impl Pump {
    /// `to_peer` has been read from the client already, `to_client` is to be written to it first.
    pub(super) fn new(client: Io, peer: Io, to_peer: Vec<u8>, to_client: Vec<u8>) -> Self {
        let first = |waiting| Direction { waiting, ..Direction::default() };
        let (to_peer, to_client) = (first(to_peer), first(to_client));
        Self { client, peer, to_peer, to_client, silence: HALF_CLOSED_SILENCE }
    }

    /// Runs until both sides have closed, one is lost, or `stop` says so. Both connections are closed then, and a lost one
    /// is passed on as a reset, lest half of something look like all of it.
    pub(super) async fn run<T>(
        mut self,
        mut stop: oneshot::Receiver<T>,
        lender: &mut impl Lender,
    ) -> ConnectionEnd {
        loop {
            let Self { client, peer, to_peer, to_client, silence } = &mut self;
            let there = lender.lend(|buffer| to_peer.step(client, peer, buffer));
            let back = lender.lend(|buffer| to_client.step(peer, client, buffer));
            let mut blocked = true;
            for (way, step) in [(Way::ToPeer, there), (Way::ToClient, back)] {
                match step {
                    Ok(Step::Blocked) => continue,
                    Ok(Step::Moved(bytes)) => lender.count(way, bytes),
                    // TLS has read something that holds no data.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        client.reset_on_close();
                        peer.reset_on_close();
                        return ConnectionEnd::Reset;
                    }
                }
                blocked = false;
            }
            if !blocked {
                if !matches!(stop.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                    return ConnectionEnd::AllocationEnded;
                }
                // Others on this thread get their turn: a sender that never pauses would never let go.
                tokio::task::yield_now().await;
                continue;
            }
            let closed = [to_peer.stage, to_client.stage].map(|stage| stage == Stage::Closed);
            if closed == [true, true] {
                return ConnectionEnd::Closed;
            }
            tokio::select! {
                _ = &mut stop => return ConnectionEnd::AllocationEnded,
                // What is wrong with a side shows at the next step.
                _ = client.ready_for(to_peer.wants_to_read(peer), to_client.wants_to_write()) => {}
                _ = peer.ready_for(to_client.wants_to_read(client), to_peer.wants_to_write()) => {}
                () = tokio::time::sleep(*silence), if closed != [false, false] => {
                    return ConnectionEnd::Silent;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    struct Buffer {
        bytes: [u8; 1024],
        counted: [usize; 2],
    }

    impl Lender for Buffer {
        fn lend<T>(&mut self, work: impl FnOnce(&mut [u8]) -> T) -> T {
            work(&mut self.bytes)
        }

        fn count(&mut self, way: Way, bytes: usize) {
            self.counted[usize::from(way == Way::ToClient)] += bytes;
        }
    }

    async fn pair() -> (TcpStream, Io) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (inside, _) = listener.accept().await.unwrap();
        (outside, Io::plain(inside, Vec::new()))
    }

    /// Runs a pump beside what `act` does with both outer ends. Returns how it ended and what it counted.
    fn pumping<F: Future<Output = (TcpStream, TcpStream)>>(
        stop: oneshot::Receiver<Infallible>,
        act: impl FnOnce(TcpStream, TcpStream) -> F,
    ) -> (ConnectionEnd, [usize; 2]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ((client, inner_client), (peer, inner_peer)) = (pair().await, pair().await);
            let mut pump = Pump::new(inner_client, inner_peer, b"first ".to_vec(), b"answer ".to_vec());
            pump.silence = Duration::from_millis(50);
            let mut buffer = Buffer { bytes: [0; 1024], counted: [0; 2] };
            let (end, sides) = tokio::join!(pump.run(stop, &mut buffer), act(client, peer));
            drop(sides);
            (end, buffer.counted)
        })
    }

    #[test]
    fn what_waited_comes_first_and_both_ends_end_it() {
        let (_leash, stop) = oneshot::channel();
        let (end, counted) = pumping(stop, |mut client, mut peer| async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut text = String::new();
            peer.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "first question");
            peer.write_all(&[b'x'; 5000]).await.unwrap();
            peer.shutdown().await.unwrap();
            text.clear();
            client.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "answer ".to_owned() + &"x".repeat(5000));
            (client, peer)
        });
        assert_eq!((end, counted), (ConnectionEnd::Closed, [8, 5000]));
    }

    #[test]
    fn silence_after_one_side_has_closed_ends_it() {
        let (_leash, stop) = oneshot::channel();
        let (end, _) = pumping(stop, |mut client, peer| async {
            client.shutdown().await.unwrap();
            (client, peer)
        });
        assert_eq!(end, ConnectionEnd::Silent);
    }

    #[test]
    fn the_end_of_the_leash_ends_it() {
        let (leash, stop) = oneshot::channel();
        let (end, _) = pumping(stop, |client, peer| async move {
            drop(leash);
            (client, peer)
        });
        assert_eq!(end, ConnectionEnd::AllocationEnded);
    }
}
