//! What a load generator needs: bursts of datagrams to one place, and whatever arrives at many sockets.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use super::names::{decode_name, encode_name};
use super::size_of_u32;

/// Datagrams that are sent by one call: the kernel's limit for one super-packet (UDP_MAX_SEGMENTS).
const SEGMENTS: usize = 64;
/// The most bytes in one super-packet.
const LONGEST: usize = 65_507;
/// Super-packets that are received by one call.
const SLOTS: usize = 8;
/// Length of a slot.
const SLOT: usize = 1 << 16;
/// Sockets that are told of by one call, as the kernel counts them.
const EVENTS: i32 = 256;

/// Room for the control messages of a super-packet: its segment size and a count of drops.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

/// How a burst is handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As one super-packet, which the kernel or the network card cuts (UDP GSO).
    Whole,
    /// Datagram by datagram.
    Single,
}

/// Sends `bytes` as datagrams of `segment` bytes each, the last of which may be shorter, to `to` or to where the socket is
/// connected. Returns how many the kernel took; an error is about the first one.
pub(crate) fn send_burst(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    segment: usize,
    to: Option<SocketAddr>,
    way: Way,
) -> io::Result<usize> {
    let segment = segment.max(1);
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let (name_pointer, name_len): (*mut libc::c_void, u32) = match to {
        Some(to) => {
            let len = encode_name(to, &mut name);
            ((&raw mut name).cast(), len)
        }
        None => (std::ptr::null_mut(), 0),
    };
    if way == Way::Whole && bytes.len() > segment {
        let most = (LONGEST / segment).clamp(1, SEGMENTS) * segment;
        let part = &bytes[..bytes.len().min(most)];
        let mut vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        let mut control = Control([0; 64]);
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = name_pointer;
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        // SAFETY: computes numbers.
        let (len, space) = unsafe { (libc::CMSG_LEN(2), libc::CMSG_SPACE(2)) };
        header.msg_controllen = space as _;
        let head =
            libc::cmsghdr { cmsg_len: len as _, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
        let size = u16::try_from(segment).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the control buffer is aligned for a header and longer than CMSG_SPACE(2), and CMSG_DATA is inside it.
        unsafe {
            let first = (&raw mut control).cast::<libc::cmsghdr>();
            first.write(head);
            libc::CMSG_DATA(first).cast::<u16>().write_unaligned(size);
        }
        // SAFETY: the header points to name, vector, control buffer and bytes, which outlive the call; the kernel only
        // reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        return match usize::try_from(sent) {
            Ok(sent) => Ok(sent.div_ceil(segment)),
            Err(_) => Err(io::Error::last_os_error()),
        };
    }
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; SEGMENTS];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEGMENTS];
    let mut count: u32 = 0;
    for ((part, vector), header) in bytes.chunks(segment).zip(&mut vectors).zip(&mut headers) {
        let vector =
            vector.write(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut filled: libc::mmsghdr = unsafe { mem::zeroed() };
        filled.msg_hdr.msg_name = name_pointer;
        filled.msg_hdr.msg_namelen = name_len;
        filled.msg_hdr.msg_iov = vector;
        filled.msg_hdr.msg_iovlen = 1;
        header.write(filled);
        count += 1;
    }
    // SAFETY: the first `count` headers are filled and point to vectors, name and bytes, which outlive the call; the kernel
    // only reads them, but for the lengths in the headers.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT as _)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Slots for what is received, shared by all sockets.
pub(crate) struct Inbox {
    slots: Vec<u8>,
    names: [libc::sockaddr_storage; SLOTS],
    controls: [Control; SLOTS],
    /// Of what the last call has received: length and segment size.
    filled: [(usize, usize); SLOTS],
}

impl Inbox {
    pub(crate) fn new() -> Self {
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            slots: vec![0; SLOT * SLOTS],
            names: [name; SLOTS],
            controls: [Control([0; 64]); SLOTS],
            filled: [(0, 0); SLOTS],
        }
    }

    /// Receives without waiting. Returns how many slots were filled.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; SLOTS];
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut headers: [libc::mmsghdr; SLOTS] = unsafe { mem::zeroed() };
        let slots = self.slots.chunks_exact_mut(SLOT).zip(&mut self.names).zip(&mut self.controls);
        for (((slot, name), control), (vector, header)) in slots.zip(vectors.iter_mut().zip(&mut headers)) {
            header.msg_hdr.msg_iov =
                vector.write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT });
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of_u32::<libc::sockaddr_storage>();
            header.msg_hdr.msg_control = std::ptr::from_mut(control).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: each header points to a vector, name and control buffer of its own and to a slot, which outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                SLOTS as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (header, filled) in headers.iter().zip(&mut self.filled).take(received) {
            let len = header.msg_len as usize;
            *filled = (len, segment_size(&header.msg_hdr).unwrap_or(len));
        }
        Ok(received)
    }

    /// What is in a slot: the bytes of its datagrams, and how long each of them is but perhaps the last.
    pub(crate) fn slot(&self, i: usize) -> (&[u8], usize) {
        let (len, segment) = self.filled[i];
        (&self.slots[i * SLOT..][..len], segment.max(1))
    }

    /// Where it came from.
    pub(crate) fn source(&self, i: usize) -> Option<SocketAddr> {
        decode_name(&self.names[i])
    }
}

/// The segment size that the kernel tells with a super-packet.
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled header and control buffer; the CMSG macros stay inside msg_controllen.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cmsg.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*cmsg).cmsg_level, (*cmsg).cmsg_type) };
        if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
            // SAFETY: UDP_GRO carries an int, perhaps unaligned.
            let size = unsafe { libc::CMSG_DATA(cmsg).cast::<i32>().read_unaligned() };
            return usize::try_from(size).ok();
        }
        // SAFETY: as for the first one.
        cmsg = unsafe { libc::CMSG_NXTHDR(header, cmsg) };
    }
    None
}

fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size_of_u32::<i32>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a socket receive datagrams of one flow together (UDP GRO).
pub(crate) fn receive_together(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Asks for buffers beyond the limits of the system, which only the privileged get.
pub(crate) fn force_buffers(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// How many datagrams the kernel has dropped because the receive buffer of this socket was full.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> u32 {
    /// `SO_MEMINFO`, and where in its array the drops are (`SK_MEMINFO_DROPS`).
    const SO_MEMINFO: i32 = 55;
    const DROPS: usize = 8;
    let mut values = [0_u32; 16];
    let mut len = size_of_u32::<[u32; 16]>();
    // SAFETY: the array is as long as said, and both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 { values[DROPS] } else { 0 }
}

/// A set of sockets of which those are told for which something has arrived.
pub(crate) struct Poll {
    fd: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that has just been made and has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches a socket; `token` comes back from [`Self::wait`]. Closing the socket ends it.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as _, u64: token };
        // SAFETY: the event lives through the call.
        let result = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something has arrived, at most for so long, and appends the tokens of the sockets.
    pub(crate) fn wait(&self, timeout: Duration, tokens: &mut Vec<u64>) -> io::Result<()> {
        if !timeout.is_zero() {
            let time = libc::timespec {
                tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            let mut set = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: set and time live through the call, and one set is given; the signal mask may be null.
            let ready = unsafe { libc::ppoll(&raw mut set, 1, &raw const time, std::ptr::null()) };
            if ready <= 0 {
                // Nothing arrived, or a signal did.
                return Ok(());
            }
        }
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EVENTS as usize];
        // SAFETY: the kernel fills at most EVENTS events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr().cast(), EVENTS, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has filled the first `count` events.
        tokens.extend(events.iter().take(count).map(|event| unsafe { event.assume_init() }.u64));
        Ok(())
    }
}
