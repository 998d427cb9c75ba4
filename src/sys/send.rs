//! Sending in batches.

use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::BATCH;
use super::control::{CONTROL, Control, Controls, set_control_len};
use super::fixed::Fixed;
use super::names::encode_name;
use super::system::batches::{Header, send_many};
use super::system::control::put_controls;
use crate::wire::Marks;

/// Pieces of memory that the messages of one call are gathered from, all together.
pub(crate) const PIECES: usize = 1024;
/// Datagrams that the kernel cuts one message into at most.
pub(crate) const MAX_SEGMENTS: usize = 64;

/// How a message leaves: to whom, and what its packets say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// Where it goes.
    pub(crate) to: SocketAddr,
    /// The source address, for sockets on a wildcard address.
    pub(crate) from: Option<IpAddr>,
    /// What its IP header says. Of IPv4, whether it may be cut is a matter of the socket: see
    /// [`keep_whole`](super::keep_whole).
    pub(crate) marks: Marks,
    /// The kernel cuts the message into datagrams of this length, the last of which may be shorter (UDP_SEGMENT).
    pub(crate) segment: Option<u16>,
}

/// Space for the headers of messages that are sent in one call.
pub(crate) struct SendSpace {
    names: Fixed<libc::sockaddr_storage>,
    controls: Fixed<Control>,
    vectors: Fixed<libc::iovec>,
    headers: Fixed<Header>,
}

impl SendSpace {
    pub(crate) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            names: Fixed::new(name, BATCH),
            controls: Fixed::new(Control([0; CONTROL]), BATCH),
            vectors: Fixed::new(vector, PIECES),
            headers: Fixed::new(header, BATCH),
        }
    }

    /// Begins a call. The bytes that it sends live as long as it does.
    pub(crate) fn begin<'b>(&mut self) -> Sending<'_, 'b> {
        Sending { space: self, messages: 0, pieces: 0, bytes: PhantomData }
    }
}

/// Messages that are sent in one call, at most [`BATCH`] of at most [`PIECES`] pieces.
pub(crate) struct Sending<'s, 'b> {
    space: &'s mut SendSpace,
    messages: usize,
    pieces: usize,
    /// What the vectors point to.
    bytes: PhantomData<&'b [u8]>,
}

impl<'b> Sending<'_, 'b> {
    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is room for a message of so many pieces.
    pub(crate) fn has_room(&self, pieces: usize) -> bool {
        self.messages < BATCH && self.pieces + pieces <= PIECES
    }

    /// Begins a message, for which there is room.
    pub(crate) fn message(&mut self, message: &Message) {
        let i = self.messages;
        let space = &mut *self.space;
        let header = &mut space.headers.get_mut(i).msg_hdr;
        header.msg_namelen = encode_name(message.to, space.names.get_mut(i));
        header.msg_name = space.names.pointer(i).cast();
        // One past the last is never read: a message without pieces says that it has none.
        header.msg_iov = space.vectors.pointer(self.pieces.min(PIECES - 1));
        header.msg_iovlen = 0;
        header.msg_flags = 0;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        if message.from.is_some() || message.segment.is_some() || message.marks != Marks::default() {
            header.msg_control = space.controls.pointer(i).cast();
            let Control(controls) = space.controls.get_mut(i);
            let mut controls = Controls::new(controls);
            put_controls(&mut controls, message);
            set_control_len(header, controls.len());
        }
        self.messages = i + 1;
    }

    /// Appends bytes to the last message.
    pub(crate) fn piece(&mut self, bytes: &'b [u8]) {
        if bytes.is_empty() {
            return;
        }
        let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        *self.space.vectors.get_mut(self.pieces) = vector;
        self.pieces += 1;
        self.space.headers.get_mut(self.messages - 1).msg_hdr.msg_iovlen += 1;
    }

    /// Sends the messages from `first` on by one socket. Returns how many the kernel took; an error is about the first
    /// one.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let count = self.messages.saturating_sub(first);
        if count == 0 {
            return Ok(0);
        }
        if count == 1 && self.is_simple(first) {
            return self.send_simple(socket, first).map(|()| 1);
        }
        // SAFETY: the `count` headers from `first` on point to names, vectors and control buffers of this space and, by
        // the vectors, to bytes that outlive `self`.
        unsafe { send_many(socket, self.space.headers.pointer(first), count) }
    }

    /// Whether a message has one piece and says nothing special.
    fn is_simple(&self, i: usize) -> bool {
        let header = &self.space.headers.get(i).msg_hdr;
        header.msg_iovlen == 1 && header.msg_control.is_null()
    }

    /// Sends such a message by the call that costs the kernel least.
    fn send_simple(&self, socket: BorrowedFd<'_>, i: usize) -> io::Result<()> {
        let header = &self.space.headers.get(i).msg_hdr;
        // SAFETY: the header has one vector, at which it points.
        let vector = unsafe { &*header.msg_iov };
        // SAFETY: bytes and name live as long as `self`, and the kernel only reads them.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                vector.iov_base,
                vector.iov_len,
                libc::MSG_DONTWAIT,
                header.msg_name.cast(),
                header.msg_namelen,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Sends one datagram outside of any batch.
pub(crate) fn send_one(socket: BorrowedFd<'_>, bytes: &[u8], message: &Message) -> io::Result<()> {
    // SAFETY: both are plain C structures for which zeroes are a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    header.msg_namelen = encode_name(message.to, &mut name);
    header.msg_name = (&raw mut name).cast();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    let mut controls = Controls::new(&mut control.0);
    put_controls(&mut controls, message);
    let used = controls.len();
    if used > 0 {
        header.msg_control = (&raw mut control).cast();
        set_control_len(&mut header, used);
    }
    // SAFETY: the header points to name, vector, control buffer and bytes, which outlive the call; the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
