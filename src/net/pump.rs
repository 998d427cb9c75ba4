//! Carries bytes between the two data connections of a peer (RFC 6062 §5.4, §5.5): as they are, in both directions,
//! and no faster than they are taken.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::turn::ConnectionEnd;

/// How long nothing may come the other way once one side has been closed. A side that has gone altogether looks the
/// same as one that only says no more.
const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(60);

/// The way that bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToPeer,
    ToClient,
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
enum Step {
    /// Something has moved; there may be more.
    Moved,
    /// Both directions are closed.
    Over,
}

impl Direction {
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut moved = false;
        while self.written < self.waiting.len() {
            match Pin::new(&mut *to).poll_write(cx, &self.waiting[self.written..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.written += count;
                    moved = true;
                }
                Poll::Pending if moved => return Poll::Ready(Ok(0)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // An idle connection keeps no memory.
        self.waiting = Vec::new();
        self.written = 0;
        match self.stage {
            Stage::Closed => Poll::Pending,
            Stage::Closing => {
                std::task::ready!(Pin::new(to).poll_shutdown(cx))?;
                self.stage = Stage::Closed;
                Poll::Ready(Ok(0))
            }
            Stage::Reading => {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(from).poll_read(cx, &mut read)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // What an encrypting stream has gathered leaves before it waits.
                        let flushed = Pin::new(to).poll_flush(cx)?;
                        return if moved && flushed.is_ready() { Poll::Ready(Ok(0)) } else { Poll::Pending };
                    }
                }
                let bytes = read.filled();
                if bytes.is_empty() {
                    self.stage = Stage::Closing;
                    return Poll::Ready(Ok(0));
                }
                let written = match Pin::new(to).poll_write(cx, bytes)? {
                    Poll::Ready(count) => count,
                    Poll::Pending => 0,
                };
                self.waiting.extend_from_slice(&bytes[written..]);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }
}

/// Both directions.
pub(super) struct Pump<C, P> {
    client: C,
    peer: P,
    to_peer: Direction,
    to_client: Direction,
}

impl<C: AsyncRead + AsyncWrite + Unpin, P: AsyncRead + AsyncWrite + Unpin> Pump<C, P> {
    /// `to_peer` has been read from the client already, `to_client` is to be written to it first.
    pub(super) fn new(client: C, peer: P, to_peer: Vec<u8>, to_client: Vec<u8>) -> Self {
        let first = |waiting| Direction { waiting, ..Direction::default() };
        Self { client, peer, to_peer: first(to_peer), to_client: first(to_client) }
    }

    /// Runs until both sides have closed, one is lost, or `stop` says so. `lend` lends a buffer for the length of a call,
    /// `count` is told of all that is read.
    pub(super) async fn run<T>(
        &mut self,
        mut stop: oneshot::Receiver<T>,
        mut lend: impl FnMut(&mut dyn FnMut(&mut [u8])),
        mut count: impl FnMut(Way, usize),
    ) -> ConnectionEnd {
        loop {
            let half_closed =
                self.to_peer.stage == Stage::Closed || self.to_client.stage == Stage::Closed;
            tokio::select! {
                biased;
                _ = &mut stop => return ConnectionEnd::AllocationEnded,
                step = poll_fn(|cx| {
                    let mut step = Poll::Pending;
                    lend(&mut |buffer| step = self.step(cx, buffer, &mut count));
                    step
                }) => match step {
                    Ok(Step::Moved) => {}
                    Ok(Step::Over) => return ConnectionEnd::Closed,
                    Err(_) => return ConnectionEnd::Reset,
                },
                () = tokio::time::sleep(HALF_CLOSED_SILENCE), if half_closed => return ConnectionEnd::Silent,
            }
            // Others on this thread get their turn: a sender that never pauses would never let go.
            tokio::task::yield_now().await;
        }
    }

    /// One read and one write each way.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        count: &mut impl FnMut(Way, usize),
    ) -> Poll<io::Result<Step>> {
        let Self { client, peer, to_peer, to_client } = self;
        let there = to_peer.step(cx, client, peer, buffer)?;
        if let Poll::Ready(bytes) = there {
            count(Way::ToPeer, bytes);
        }
        let back = to_client.step(cx, peer, client, buffer)?;
        if let Poll::Ready(bytes) = back {
            count(Way::ToClient, bytes);
        }
        if to_peer.stage == Stage::Closed && to_client.stage == Stage::Closed {
            return Poll::Ready(Ok(Step::Over));
        }
        if there.is_ready() || back.is_ready() { Poll::Ready(Ok(Step::Moved)) } else { Poll::Pending }
    }

    /// The two sides, for whoever closes them.
    pub(super) fn into_sides(self) -> (C, P) {
        (self.client, self.peer)
    }
}
