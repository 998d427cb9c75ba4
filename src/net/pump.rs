//! Carries bytes between the two data connections of a peer (RFC 6062 §5.4, §5.5): as they are, in both directions,
//! and no faster than they are taken.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use super::io::{self as client_io, Io};
use crate::turn::{ConnectionEnd, Leave, Turn};

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

    /// Asks for leave to read. Without a meter there always is.
    fn ask(&mut self, turn: &mut Turn) -> Leave;

    /// Hears what became of leave that was given.
    fn settle(&mut self, turn: &mut Turn, leave: usize, read: usize);

    /// Hears of all that is read.
    fn count(&mut self, way: Way, bytes: usize);
}

/// One of two directions.
#[derive(Default)]
struct Direction {
    /// Was read before there was anybody to pay for it, and comes first.
    ahead: Vec<u8>,
    /// Read and not written yet: at most one buffer full. Nothing more is read before all of it has been written.
    waiting: Vec<u8>,
    written: usize,
    stage: Stage,
    turn: Turn,
    /// Bytes that it has leave to read at this step.
    leave: usize,
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

    /// Whether it waits for something that can be read: not if it may not.
    fn reads(&self, to: &Io) -> bool {
        self.wants_to_read(to) && self.leave > 0
    }

    /// Reads what it has leave for.
    fn read(&mut self, from: &mut Io, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return from.try_read(buffer, self.leave);
        }
        let most = self.leave.min(buffer.len());
        Ok(client_io::take(&mut self.ahead, &mut buffer[..most]))
    }

    /// Whether the source has said something that the other side does not have: an end now is not to look like the
    /// source's own.
    fn is_cut_short(&self, from: &Io, to: &Io) -> bool {
        let is_held = !self.waiting.is_empty() || !self.ahead.is_empty() || to.has_unsent();
        is_held || self.stage == Stage::Reading && from.has_unread()
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
                if self.leave == 0 {
                    return Ok(Step::Blocked);
                }
                let Some(len) = unless_blocked(self.read(from, buffer))? else { return Ok(Step::Blocked) };
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

/// What a step has come to for whoever pumps.
enum Done {
    Blocked,
    Moved,
    /// It may not read before so much time has passed.
    Early(Duration),
    /// Neither side gets any more.
    Over(ConnectionEnd),
}

impl Direction {
    /// A step, with the leave that it takes.
    fn metered_step(&mut self, way: Way, from: &mut Io, to: &mut Io, lender: &mut impl Lender) -> Done {
        let (mut wait, asks) = (None, self.wants_to_read(to));
        self.leave = 0;
        if asks {
            match lender.ask(&mut self.turn) {
                Leave::Read(leave) => self.leave = leave,
                Leave::Wait(until) => wait = Some(until),
                Leave::Spent => return Done::Over(ConnectionEnd::BudgetSpent),
            }
        }
        let step = lender.lend(|buffer| self.step(from, to, buffer));
        let read = if let Ok(Step::Moved(bytes)) = step { bytes } else { 0 };
        if self.leave > 0 {
            lender.settle(&mut self.turn, self.leave, read);
        }
        match step {
            Ok(Step::Blocked) => wait.map_or(Done::Blocked, Done::Early),
            Ok(Step::Moved(bytes)) => {
                lender.count(way, bytes);
                Done::Moved
            }
            // TLS has read something that holds no data.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Done::Moved,
            Err(_) => Done::Over(ConnectionEnd::Reset),
        }
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
        let to_peer = Direction { ahead: to_peer, ..Direction::default() };
        let to_client = Direction { waiting: to_client, ..Direction::default() };
        Self { client, peer, to_peer, to_client, silence: HALF_CLOSED_SILENCE }
    }

    /// Runs until both sides have closed, one is lost, or `stop` says so. Both connections are closed then, and a lost one
    /// is passed on as a reset, lest half of something look like all of it. So is the end of a budget, and whatever ends
    /// with bytes on their way.
    pub(super) async fn run<T>(
        mut self,
        mut stop: oneshot::Receiver<T>,
        lender: &mut impl Lender,
    ) -> ConnectionEnd {
        loop {
            let Self { client, peer, to_peer, to_client, silence } = &mut self;
            let there = to_peer.metered_step(Way::ToPeer, client, peer, lender);
            let back = to_client.metered_step(Way::ToClient, peer, client, lender);
            let (mut blocked, mut pause) = (true, None::<Duration>);
            for done in [there, back] {
                match done {
                    Done::Blocked => {}
                    Done::Moved => blocked = false,
                    Done::Early(wait) => pause = Some(pause.map_or(wait, |pause| pause.min(wait))),
                    Done::Over(end) => {
                        client.reset_on_close();
                        peer.reset_on_close();
                        return end;
                    }
                }
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
                _ = client.ready_for(to_peer.reads(peer), to_client.wants_to_write()) => {}
                _ = peer.ready_for(to_client.reads(client), to_peer.wants_to_write()) => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = tokio::time::sleep(*silence), if closed != [false, false] && pause.is_none() => {
                    return ConnectionEnd::Silent;
                }
            }
        }
    }
}

impl Drop for Pump {
    /// However it ends, the worker's own end included.
    fn drop(&mut self) {
        if self.to_peer.is_cut_short(&self.client, &self.peer) {
            self.peer.reset_on_close();
        }
        if self.to_client.is_cut_short(&self.peer, &self.client) {
            self.client.reset_on_close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[derive(Default)]
    struct Buffer {
        bytes: Vec<u8>,
        counted: [usize; 2],
        /// What may be read altogether, and in one piece; at every other time it has to wait.
        budget: Option<(usize, usize)>,
        waits: usize,
    }

    impl Lender for Buffer {
        fn lend<T>(&mut self, work: impl FnOnce(&mut [u8]) -> T) -> T {
            work(&mut self.bytes)
        }

        fn ask(&mut self, _: &mut Turn) -> Leave {
            let Some((left, piece)) = self.budget else { return Leave::Read(PIECE) };
            self.waits += 1;
            match left.min(piece) {
                0 => Leave::Spent,
                _ if self.waits.is_multiple_of(3) => Leave::Wait(Duration::from_millis(1)),
                most => Leave::Read(most),
            }
        }

        fn settle(&mut self, _: &mut Turn, leave: usize, read: usize) {
            assert!(read <= leave);
            if let Some((left, _)) = &mut self.budget {
                *left -= read;
            }
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
        let (end, buffer) = metered(stop, None, act);
        (end, buffer.counted)
    }

    fn metered<F: Future<Output = (TcpStream, TcpStream)>>(
        stop: oneshot::Receiver<Infallible>,
        budget: Option<(usize, usize)>,
        act: impl FnOnce(TcpStream, TcpStream) -> F,
    ) -> (ConnectionEnd, Buffer) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ((client, inner_client), (peer, inner_peer)) = (pair().await, pair().await);
            let mut pump = Pump::new(inner_client, inner_peer, b"first ".to_vec(), b"answer ".to_vec());
            pump.silence = Duration::from_millis(50);
            let mut buffer = Buffer { bytes: vec![0; 1024], budget, ..Buffer::default() };
            let (end, sides) = tokio::join!(pump.run(stop, &mut buffer), act(client, peer));
            drop(sides);
            (end, buffer)
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
        assert_eq!((end, counted), (ConnectionEnd::Closed, [6 + 8, 5000]));
    }

    #[test]
    fn who_has_to_wait_reads_later_and_loses_nothing() {
        let (_leash, stop) = oneshot::channel();
        let (end, buffer) = metered(stop, Some((usize::MAX, 100)), |mut client, mut peer| async {
            client.write_all(&[b'x'; 3000]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut text = String::new();
            peer.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "first ".to_owned() + &"x".repeat(3000));
            drop(peer);
            (client, pair().await.0)
        });
        assert_eq!((end, buffer.counted), (ConnectionEnd::Closed, [3006, 0]));
        assert!(buffer.waits > 60, "{}", buffer.waits);
    }

    #[test]
    fn the_end_of_a_budget_is_a_reset_behind_what_was_paid() {
        let (_leash, stop) = oneshot::channel();
        let (end, buffer) = metered(stop, Some((1000, 100)), |mut client, mut peer| async {
            client.write_all(&[b'x'; 3000]).await.unwrap();
            let mut heard = Vec::new();
            assert!(peer.read_to_end(&mut heard).await.is_err(), "half of it is not to look like all");
            assert_eq!(heard.len(), 1000);
            (client, peer)
        });
        assert_eq!((end, buffer.counted), (ConnectionEnd::BudgetSpent, [1000, 0]));
    }

    #[test]
    fn an_end_with_bytes_on_their_way_is_a_reset_for_whoever_lacks_them() {
        let (leash, stop) = oneshot::channel();
        let (end, _) = pumping(stop, |mut client, mut peer| async {
            peer.write_all(b"whole").await.unwrap();
            let mut whole = *b"answer whole";
            client.read_exact(&mut whole).await.unwrap();
            // More than both sockets hold, and a peer that does not read.
            let piece = [b'x'; 65_536];
            while tokio::time::timeout(Duration::from_millis(300), client.write_all(&piece)).await.is_ok() {}
            drop(leash);
            let mut heard = Vec::new();
            assert!(peer.read_to_end(&mut heard).await.is_err(), "half of it is not to look like all");
            (client, peer)
        });
        assert_eq!(end, ConnectionEnd::AllocationEnded);
    }

    #[test]
    fn an_end_with_nothing_on_its_way_is_no_reset() {
        let (leash, stop) = oneshot::channel();
        let (end, _) = pumping(stop, |mut client, mut peer| async {
            client.write_all(b"all of it").await.unwrap();
            let mut heard = *b"first all of it";
            peer.read_exact(&mut heard).await.unwrap();
            client.read_exact(&mut heard[..7]).await.unwrap();
            drop(leash);
            assert_eq!(peer.read(&mut heard).await.unwrap(), 0);
            assert_eq!(client.read(&mut heard).await.unwrap(), 0);
            (client, peer)
        });
        assert_eq!(end, ConnectionEnd::AllocationEnded);
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
