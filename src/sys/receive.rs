//! Receiving in batches.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::control::{CONTROL, Control, set_control_len};
use super::fixed::Fixed;
use super::names::decode_name;
use super::system::batches::{Header, receive_many};
use super::system::control::read_controls;
use super::{BATCH, MAX_DATAGRAM, single, size_of_u32};

/// A slot holds one datagram of any length, or as many equal ones as the kernel merges.
const SLOT: usize = (MAX_DATAGRAM + 1).next_multiple_of(64);

/// A batch of received datagrams in slots that are shared by all sockets of a worker. The kernel touches only the
/// pages that it fills, so the slots cost what arrives.
pub(crate) struct Batch {
    slots: Fixed<u8>,
    names: Fixed<libc::sockaddr_storage>,
    controls: Fixed<Control>,
    /// Point into the slots.
    vectors: Fixed<libc::iovec>,
    /// Point to names, controls and vectors.
    headers: Fixed<Header>,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let mut batch = Self {
            slots: Fixed::new(0, SLOT * BATCH),
            names: Fixed::new(name, BATCH),
            controls: Fixed::new(Control([0; CONTROL]), BATCH),
            vectors: Fixed::new(vector, BATCH),
            headers: Fixed::new(header, BATCH),
        };
        for i in 0..BATCH {
            let slot = batch.slots.pointer(i * SLOT);
            *batch.vectors.get_mut(i) = libc::iovec { iov_base: slot.cast(), iov_len: MAX_DATAGRAM };
            let header = &mut batch.headers.get_mut(i).msg_hdr;
            header.msg_name = batch.names.pointer(i).cast();
            header.msg_iov = batch.vectors.pointer(i);
            header.msg_iovlen = 1;
            header.msg_control = batch.controls.pointer(i).cast();
        }
        batch
    }

    /// Receives without waiting into the slots from `first` on, `most` at most. Returns how many were filled.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, first: usize, most: usize) -> io::Result<usize> {
        let count = most.min(BATCH.saturating_sub(first));
        if count == 0 {
            return Ok(0);
        }
        for i in first..first + count {
            let header = &mut self.headers.get_mut(i).msg_hdr;
            header.msg_namelen = size_of_u32::<libc::sockaddr_storage>();
            set_control_len(header, CONTROL);
            header.msg_flags = 0;
        }
        let headers = self.headers.pointer(first);
        // SAFETY: each header points to a name, a vector, a control buffer and a slot of this batch, which outlive the
        // call and are `count` in number from `first` on.
        unsafe {
            // For one datagram that is cheaper than a batch of one, which would ask for a second one.
            if count == 1 {
                single::receive(socket, headers, 1)
            } else {
                receive_many(socket, headers, count)
            }
        }
    }

    /// All slots, one behind the other.
    pub(crate) fn memory(&self) -> &[u8] {
        // SAFETY: the whole array, to which nothing writes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.slots.pointer(0), SLOT * BATCH) }
    }

    /// Where in [`Self::memory`] the bytes of a slot are.
    pub(crate) fn place(&self, i: usize) -> std::ops::Range<usize> {
        let start = i * SLOT;
        start..start + self.headers.get(i).msg_len as usize
    }

    /// Where the datagrams in a slot came from.
    pub(crate) fn source(&self, i: usize) -> Option<SocketAddr> {
        decode_name(self.names.get(i))
    }

    /// What the socket tells of the datagrams in a slot.
    pub(crate) fn told(&self, i: usize) -> Told {
        read_controls(&self.headers.get(i).msg_hdr)
    }
}

/// What a socket tells of received datagrams besides their source.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// The local address they were sent to; for sockets on a wildcard address.
    pub(crate) local: Option<IpAddr>,
    /// Their type of service or traffic class.
    pub(crate) tos: u8,
    /// The kernel has merged several: so long is each of them, but the last, which may be shorter.
    pub(crate) segment: Option<usize>,
}
