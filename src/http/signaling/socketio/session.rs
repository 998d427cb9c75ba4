//! What belongs to one Engine.IO session, over however many connections it is carried, and the gate in front of
//! its WebSocket: the library reads as fast as bytes come, so they come no faster than they are dealt with.

use super::owner::Owner;
use super::talk::Heard;
use crate::http::Limits;
use crate::http::paced::Paced;
use crate::http::rooms::{Inbox, Ticket};
use crate::http::signaling::pace::Pace;
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

/// Messages that were read before the gate fell. More than one read or one POST of a page can hold.
const AHEAD: usize = 1024;

/// How things stand. All of it in one, since what watches a value takes much more than the value.
#[derive(Default)]
pub(super) struct Flow {
    /// Who deals with what is said.
    listener: Listener,
    /// What was said, and is not in hand.
    heard: VecDeque<Heard>,
    /// Messages that were read and not dealt with.
    backlog: usize,
    /// What wakes the reader of its WebSocket, while it has one or is getting it.
    websocket: Option<Arc<AtomicWaker>>,
    /// Bytes that have been handed to connections.
    pub(super) written: u64,
}

impl Flow {
    fn next_listener(&mut self) {
        (self.listener, self.heard, self.backlog) = (Listener(self.listener.0 + 1), VecDeque::new(), 0);
    }
}

/// One who listens to a session: there is another each time that its client connects to the namespace.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listener(u64);

/// One session. It lives as long as the library's socket, whose request carries it.
pub(super) struct Session {
    pub(super) ticket: Ticket,
    pub(super) owner: Owner,
    pub(super) room: String,
    /// What its client takes for the id that others know it by, if that is another one.
    pub(super) alias: Option<Arc<str>>,
    /// From the moment of joining until somebody listens.
    pub(super) inbox: Mutex<Option<Inbox>>,
    pub(super) flow: watch::Sender<Flow>,
    /// How fast its client may go on, however often it leaves the namespace and comes again.
    pace: Mutex<Pace>,
    is_closed: AtomicBool,
    /// Rings when the client has left the namespace.
    pub(super) left: Notify,
}

impl Session {
    pub(super) fn new(
        ticket: Ticket,
        owner: Owner,
        room: String,
        alias: Option<Arc<str>>,
        limits: &Limits,
    ) -> Self {
        Self {
            ticket,
            owner,
            room,
            alias,
            inbox: Mutex::new(None),
            flow: watch::Sender::default(),
            pace: Mutex::new(Pace::new(limits, Instant::now())),
            is_closed: AtomicBool::new(false),
            left: Notify::new(),
        }
    }

    /// Begins to listen, instead of whoever has listened before. Returns who that is.
    pub(super) fn listen(&self) -> Listener {
        let mut listener = Listener(0);
        self.flow.send_modify(|flow| {
            flow.next_listener();
            listener = flow.listener;
        });
        self.wake();
        listener
    }

    /// How long something of so many bytes has to wait. Nothing if all has had to for too long.
    pub(super) async fn wait_for(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let mut pace = self.pace.lock().await;
        let wait = pace.take(bytes, now);
        (!pace.is_abused(now)).then_some(wait)
    }

    /// One more message has been read. False if that one does not listen, or too many wait.
    pub(super) fn hear(&self, listener: Listener, heard: Heard) -> bool {
        self.flow.send_if_modified(|flow| {
            let is_heard = flow.listener == listener && flow.heard.len() < AHEAD;
            if is_heard {
                flow.heard.push_back(heard);
                flow.backlog += 1;
            }
            is_heard
        })
    }

    /// The next one to deal with.
    pub(super) fn next(&self, listener: Listener) -> Option<Heard> {
        let mut next = None;
        self.flow.send_if_modified(|flow| {
            next = if flow.listener == listener { flow.heard.pop_front() } else { None };
            if flow.heard.is_empty() {
                // One burst is no reason to keep room for it.
                flow.heard = VecDeque::new();
            }
            false
        });
        next
    }

    /// One of those has been dealt with.
    pub(super) fn finish(&self, listener: Listener) {
        self.flow.send_modify(|flow| {
            if flow.listener == listener {
                flow.backlog = flow.backlog.saturating_sub(1);
            }
        });
        if self.is_free() {
            self.wake();
        }
    }

    /// That one listens no more; what was not dealt with is forgotten.
    pub(super) fn stop_listening(&self, listener: Listener) {
        self.flow.send_modify(|flow| {
            if flow.listener == listener {
                flow.next_listener();
            }
        });
        self.wake();
    }

    fn wake(&self) {
        let reader = self.flow.borrow().websocket.clone();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Lets one WebSocket in, unless there is one.
    pub(super) fn let_in(self: &Arc<Self>) -> Option<Pass> {
        let reader = Arc::new(AtomicWaker::new());
        let is_first = self.flow.send_if_modified(|flow| {
            let is_first = flow.websocket.is_none();
            if is_first {
                flow.websocket = Some(reader.clone());
            }
            is_first
        });
        is_first.then(|| Pass { session: self.clone(), reader })
    }

    /// Waits until there is no WebSocket.
    pub(super) async fn websocket_gone(&self) {
        let _ = self.flow.subscribe().wait_for(|flow| flow.websocket.is_none()).await;
    }

    fn is_free(&self) -> bool {
        self.flow.borrow().backlog == 0
    }

    /// Waits until everything that was read has been dealt with.
    pub(super) async fn free(&self) {
        let _ = self.flow.subscribe().wait_for(|flow| flow.backlog == 0).await;
    }

    /// So many more bytes are with a connection.
    pub(super) fn wrote(&self, bytes: u64) {
        self.flow.send_modify(|flow| flow.written += bytes);
    }

    /// Nothing more is read.
    pub(super) fn close(&self) {
        self.is_closed.store(true, SeqCst);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }
}

/// The right to be the one WebSocket of a session.
pub(super) struct Pass {
    session: Arc<Session>,
    reader: Arc<AtomicWaker>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.session.flow.send_modify(|flow| flow.websocket = None);
    }
}

/// The WebSocket of a session, which ends with it.
pub(super) struct Gate<S> {
    inner: Paced<S>,
    pass: Pass,
}

impl<S> Gate<S> {
    pub(super) fn new(inner: S, pass: Pass, limits: &Limits) -> Self {
        Self { inner: Paced::new(inner, limits.byte_burst, limits.bytes_per_second), pass }
    }
}

impl<S> Drop for Gate<S> {
    fn drop(&mut self) {
        self.pass.session.close();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Registered first: whoever changes something after the look below wakes this task.
        self.pass.reader.register(context.waker());
        if self.pass.session.is_closed() {
            return Poll::Ready(Ok(()));
        }
        if !self.pass.session.is_free() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.pass.session.wrote(count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
