//! System calls that need `unsafe`: batches of datagrams, epoll, and socket options that no crate sets safely.
//! The only module of the package that may contain it.
#![allow(unsafe_code, reason = "this module is the one audited place for it")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wire::{HEAD_ROOM, Marks, TAIL_ROOM};

/// Datagrams in a batch.
pub(super) const BATCH: usize = 64;
/// The same for epoll, which counts in signed numbers.
const EVENTS: i32 = 64;
/// The longest datagram there is.
const MAX_DATAGRAM: usize = 65_535;
/// A slot: head room, datagram, tail room, up to a multiple of 64.
///
/// ```text
/// slot 0: |<- 48 ->|<------------- 65535 ------------->|<- 4.. ->| slot 1: ...
/// ```
const SLOT: usize = (HEAD_ROOM + MAX_DATAGRAM + TAIL_ROOM).next_multiple_of(64);
/// Room for the control messages of a datagram: a pktinfo of 40 bytes and two numbers of 24 each.
const CONTROL: usize = 96;
/// The same for an error: the marks of the packet, the error and who told it.
const ERROR_CONTROL: usize = 256;

/// The families as the address structures hold them.
#[expect(clippy::cast_possible_truncation, reason = "the numbers are 2 and 10")]
const AF_INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "see above")]
const AF_INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

/// Space for control messages, aligned as they have to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// An array at one place in memory, reached by raw pointers alone, so that those which the kernel's structures hold
/// stay valid whatever is borrowed here in between.
struct Fixed<T> {
    start: NonNull<T>,
    len: usize,
}

impl<T: Copy> Fixed<T> {
    fn new(value: T, len: usize) -> Self {
        let items = Box::into_raw(vec![value; len].into_boxed_slice());
        // A box is never null; a dangling pointer stands for one that holds nothing.
        Self { start: NonNull::new(items.cast()).unwrap_or(NonNull::dangling()), len }
    }

    /// Where element `i` and what follows it stand.
    fn pointer(&self, i: usize) -> *mut T {
        assert!(i < self.len, "inside the array");
        // SAFETY: inside the allocation, as asserted.
        unsafe { self.start.as_ptr().add(i) }
    }

    fn get(&self, i: usize) -> &T {
        // SAFETY: a live element; nothing writes to it while `self` is borrowed.
        unsafe { &*self.pointer(i) }
    }

    fn get_mut(&mut self, i: usize) -> &mut T {
        // SAFETY: a live element, reached by nobody else while `self` is borrowed mutably.
        unsafe { &mut *self.pointer(i) }
    }
}

impl<T> Drop for Fixed<T> {
    fn drop(&mut self) {
        // SAFETY: the very allocation that `new` has taken apart.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len)) });
    }
}

/// A batch of received datagrams in slots that are shared by all sockets of a worker. The kernel touches only the
/// pages that it fills, so the slots cost what arrives.
pub(super) struct Batch {
    slots: Fixed<u8>,
    names: Fixed<libc::sockaddr_storage>,
    controls: Fixed<Control>,
    /// Point into the slots.
    vectors: Fixed<libc::iovec>,
    /// Point to names, controls and vectors.
    headers: Fixed<libc::mmsghdr>,
    /// The headers from here on are as the kernel wants them; it has written into those before.
    clean_from: usize,
}

impl Batch {
    /// An empty batch.
    pub(super) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let mut batch = Self {
            slots: Fixed::new(0, SLOT * BATCH),
            names: Fixed::new(name, BATCH),
            controls: Fixed::new(Control([0; CONTROL]), BATCH),
            vectors: Fixed::new(vector, BATCH),
            headers: Fixed::new(header, BATCH),
            clean_from: BATCH,
        };
        for i in 0..BATCH {
            let datagram = batch.slots.pointer(i * SLOT + HEAD_ROOM);
            *batch.vectors.get_mut(i) = libc::iovec { iov_base: datagram.cast(), iov_len: MAX_DATAGRAM };
            let header = &mut batch.headers.get_mut(i).msg_hdr;
            header.msg_name = batch.names.pointer(i).cast();
            header.msg_iov = batch.vectors.pointer(i);
            header.msg_iovlen = 1;
            header.msg_control = batch.controls.pointer(i).cast();
        }
        batch
    }

    /// Receives without waiting into the slots from `first` on. Returns how many were filled.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, first: usize) -> io::Result<usize> {
        let count = BATCH.saturating_sub(first);
        if count == 0 {
            return Ok(0);
        }
        for i in first..self.clean_from {
            let header = &mut self.headers.get_mut(i).msg_hdr;
            header.msg_namelen = size_of_u32::<libc::sockaddr_storage>();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        self.clean_from = first;
        // SAFETY: each header points to a name, a vector, a control buffer and a slot of this batch, which outlive
        // the call and are `count` in number from `first` on.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.pointer(first),
                u32::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.clean_from = first + received;
        Ok(received)
    }

    /// The slot, head room and all.
    pub(super) fn slot(&mut self, i: usize) -> &mut [u8] {
        assert!(i < BATCH, "one of the slots");
        // SAFETY: a whole slot inside the array, reached by nobody else while `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.slots.pointer(i * SLOT), SLOT) }
    }

    /// Length of the datagram in a slot.
    pub(super) fn len(&self, i: usize) -> usize {
        self.headers.get(i).msg_len as usize
    }

    /// Where the datagram in a slot came from.
    pub(super) fn source(&self, i: usize) -> Option<SocketAddr> {
        decode_name(self.names.get(i))
    }

    /// What the socket tells of the datagram in a slot.
    pub(super) fn told(&self, i: usize) -> Told {
        let mut told = Told { local: None, tos: 0 };
        for_each_control(&self.headers.get(i).msg_hdr, |control| match control {
            ControlMessage::Local(ip) => told.local = Some(ip),
            ControlMessage::Tos(tos) => told.tos = tos,
            ControlMessage::Error(_) => {}
        });
        told
    }
}

/// What a socket tells of a received datagram besides its source.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// The local address it was sent to; for sockets on a wildcard address.
    pub(super) local: Option<IpAddr>,
    /// Its type of service or traffic class.
    pub(super) tos: u8,
}

/// A control message that is understood here.
enum ControlMessage {
    Local(IpAddr),
    Tos(u8),
    Error(libc::sock_extended_err),
}

/// Reads the control messages behind a header that the kernel has filled.
#[inline]
fn for_each_control(header: &libc::msghdr, mut each: impl FnMut(ControlMessage)) {
    // SAFETY: the kernel has filled header and control buffer; the CMSG macros stay inside msg_controllen.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cmsg.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*cmsg).cmsg_level, (*cmsg).cmsg_type) };
        // SAFETY: likewise; the data behind it is of the type that level and kind say.
        let data = unsafe { libc::CMSG_DATA(cmsg) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: of a datagram IP_TOS carries one byte, of a connection an int of that value; no machine with
                // the most significant byte first is served.
                each(ControlMessage::Tos(unsafe { data.read() }));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: IPV6_TCLASS carries an int, perhaps unaligned.
                let class = unsafe { data.cast::<i32>().read_unaligned() };
                each(ControlMessage::Tos(class.to_le_bytes()[0]));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: IP_PKTINFO carries an in_pktinfo, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                each(ControlMessage::Local(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into()));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: IPV6_PKTINFO carries an in6_pktinfo, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                each(ControlMessage::Local(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()));
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                // SAFETY: both carry a sock_extended_err, perhaps unaligned.
                each(ControlMessage::Error(unsafe {
                    data.cast::<libc::sock_extended_err>().read_unaligned()
                }));
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        cmsg = unsafe { libc::CMSG_NXTHDR(header, cmsg) };
    }
}

/// A datagram to be sent: which bytes of which slot, to whom, and from which address if the socket has several.
#[derive(Clone, Copy)]
pub(super) struct Outgoing {
    /// The slot of the batch that holds it.
    pub(super) slot: usize,
    /// Where in the slot it begins.
    pub(super) start: usize,
    /// How long it is.
    pub(super) len: usize,
    /// Where it goes.
    pub(super) to: SocketAddr,
    /// The source address, for sockets on a wildcard address.
    pub(super) from: Option<IpAddr>,
    /// What its IP header says. Of IPv4, whether it may be cut is a matter of the socket: see [`keep_whole`].
    pub(super) marks: Marks,
}

impl Outgoing {
    /// Whether its socket has to be told to keep it whole: see [`keep_whole`]. Of IPv6 the datagram itself says so.
    pub(super) const fn is_kept_whole(&self) -> bool {
        self.marks.dont_fragment && self.to.is_ipv4()
    }
}

/// Space for the headers of a batch of datagrams that are sent in one call.
pub(super) struct SendSpace {
    names: Fixed<libc::sockaddr_storage>,
    controls: Fixed<Control>,
    vectors: Fixed<libc::iovec>,
    headers: Fixed<libc::mmsghdr>,
}

impl SendSpace {
    pub(super) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            names: Fixed::new(name, BATCH),
            controls: Fixed::new(Control([0; CONTROL]), BATCH),
            vectors: Fixed::new(vector, BATCH),
            headers: Fixed::new(header, BATCH),
        }
    }

    /// Sends datagrams, at most [`BATCH`], by one socket in one call. Returns how many the kernel took; an error is
    /// about the first one.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        batch: &Batch,
        datagrams: impl Iterator<Item = Outgoing>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (i, datagram) in datagrams.take(BATCH).enumerate() {
            let Outgoing { slot, start, len, .. } = datagram;
            assert!(slot < BATCH && start + len <= SLOT, "inside its slot");
            let bytes = batch.slots.pointer(slot * SLOT + start);
            *self.vectors.get_mut(i) = libc::iovec { iov_base: bytes.cast(), iov_len: len };
            let header = &mut self.headers.get_mut(i).msg_hdr;
            header.msg_namelen = encode_name(datagram.to, self.names.get_mut(i));
            header.msg_name = self.names.pointer(i).cast();
            header.msg_iov = self.vectors.pointer(i);
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            if datagram.from.is_some() || datagram.marks != Marks::default() {
                header.msg_control = self.controls.pointer(i).cast();
                let Control(controls) = self.controls.get_mut(i);
                header.msg_controllen =
                    put_controls(controls, datagram.from, datagram.marks, datagram.to) as _;
            }
            count = i + 1;
        }
        // SAFETY: the first `count` headers point to names, vectors and control buffers of this space and to slots
        // of the batch; all outlive the call.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.pointer(0),
                u32::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Writes the control messages that choose the source address and the marks, where they are not what the socket does
/// anyway. Returns how long they are all together.
fn put_controls(buffer: &mut [u8; CONTROL], from: Option<IpAddr>, marks: Marks, to: SocketAddr) -> usize {
    let mut used = 0;
    let mut put = |level, kind, value: &[u8]| {
        // SAFETY: computes a number.
        let (len, space) = unsafe {
            let len = u32::try_from(value.len()).unwrap_or(0);
            (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize)
        };
        let header = libc::cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind };
        let room = &mut buffer[used..used + space];
        room.fill(0);
        // SAFETY: the room holds a header, as CMSG_SPACE counts it in; nothing is said about its alignment.
        unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        room[len - value.len()..len].copy_from_slice(value);
        used += space;
    };
    match from {
        Some(IpAddr::V4(ip)) => {
            // struct in_pktinfo: interface, source address, an address that only receivers are told.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => {
            // struct in6_pktinfo: source address, interface.
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    let int = |value: u8| i32::from(value).to_ne_bytes();
    if marks.tos != 0 {
        match to {
            SocketAddr::V4(_) => put(libc::IPPROTO_IP, libc::IP_TOS, &int(marks.tos)),
            SocketAddr::V6(_) => put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &int(marks.tos)),
        }
    }
    if marks.dont_fragment && to.is_ipv6() {
        put(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &int(1));
    }
    used
}

/// Sends one datagram, by the same rules as [`SendSpace::send`].
pub(super) fn send_one(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    from: Option<IpAddr>,
    to: SocketAddr,
    marks: Marks,
) -> io::Result<()> {
    // SAFETY: both are plain C structures for which zeroes are a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    header.msg_namelen = encode_name(to, &mut name);
    header.msg_name = (&raw mut name).cast();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    let used = put_controls(&mut control.0, from, marks, to);
    if used > 0 {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = used as _;
    }
    // SAFETY: the header points to name, vector, control buffer and bytes, which outlive the call; the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An error that the network, or this machine in its place, tells about a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetworkError {
    /// Where the datagram was to go.
    pub(super) to: SocketAddr,
    /// The ICMP type.
    pub(super) kind: u8,
    /// The ICMP code.
    pub(super) code: u8,
    /// The MTU, where type and code are about that.
    pub(super) info: u32,
    /// Whether this machine found it out by itself: the datagram is too long for the first link already.
    pub(super) is_local: bool,
}

/// Takes the next error out of a socket's queue. `Ok(None)`: one that no ICMP message stands for.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the queue is empty.
pub(super) fn next_error(socket: BorrowedFd<'_>) -> io::Result<Option<NetworkError>> {
    #[repr(C, align(8))]
    struct Space([u8; ERROR_CONTROL]);
    // SAFETY: both are plain C structures for which zeroes are a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut space = Space([0; ERROR_CONTROL]);
    header.msg_namelen = size_of_u32::<libc::sockaddr_storage>();
    header.msg_name = (&raw mut name).cast();
    header.msg_control = (&raw mut space).cast();
    header.msg_controllen = ERROR_CONTROL as _;
    // SAFETY: the header points to a name and a control buffer of the lengths it says, which outlive the call.
    let received = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut error = None;
    for_each_control(&header, |control| {
        if let ControlMessage::Error(told) = control {
            error = Some(told);
        }
    });
    let (Some(error), Some(to)) = (error, decode_name(&name)) else { return Ok(None) };
    let (kind, code) = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => (error.ee_type, error.ee_code),
        // What the first router would have said: fragmentation needed, packet too big.
        libc::SO_EE_ORIGIN_LOCAL if i32::try_from(error.ee_errno) == Ok(libc::EMSGSIZE) => match to {
            SocketAddr::V4(_) => (3, 4),
            SocketAddr::V6(_) => (2, 0),
        },
        _ => return Ok(None),
    };
    let is_local = error.ee_origin == libc::SO_EE_ORIGIN_LOCAL;
    Ok(Some(NetworkError { to, kind, code, info: error.ee_info, is_local }))
}

const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize, "kernel structures are small");
    #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
    {
        size_of::<T>() as u32
    }
}

fn decode_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address; the family says which it is.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn encode_name(address: SocketAddr, name: &mut libc::sockaddr_storage) -> u32 {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address.
            let name = unsafe { &mut *std::ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            name.sin_family = AF_INET;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of_u32::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let name = unsafe { &mut *std::ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = AF_INET6;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = 0;
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            size_of_u32::<libc::sockaddr_in6>()
        }
    }
}

/// Sets an integer socket option.
fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size_of_u32::<i32>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a socket tell to which local address each datagram was sent.
pub(super) fn tell_local_address(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Makes a socket send with DF=0 (RFC 8656 §15); Linux sets DF by default.
pub(super) fn allow_fragmentation(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    }
}

/// Makes a socket tell type of service or traffic class of each datagram (RFC 8656 §14).
pub(super) fn tell_tos(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
    }
}

/// Makes a relay socket send packets that may be cut into fragments, without trusting what anybody says about the MTU of
/// a path. Unlike under [`allow_fragmentation`], IPv4 still tells that a packet sent under [`keep_whole`] was too long.
/// IPv6 has no routers that cut, so there the word of the network about the MTU counts.
pub(super) fn allow_relay_fragmentation(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 { allow_fragmentation(socket, true) } else { keep_whole(socket, false) }
}

/// Whether the packets that an IPv4 relay socket sends from now on leave with DF=1. They do so whatever is known about
/// the path: the network is to answer each of them anew, and what it answered to others is not believed.
pub(super) fn keep_whole(socket: BorrowedFd<'_>, whole: bool) -> io::Result<()> {
    let way = if whole { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_OMIT };
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, way)
}

/// Makes a socket keep the ICMP errors about what it has sent, for [`next_error`], or forget them and keep no more.
pub(super) fn hear_errors(socket: BorrowedFd<'_>, ipv6: bool, hear: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, i32::from(hear))
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, i32::from(hear))
    }
}

/// The type of service or traffic class of the packet with which the other side opened a TCP connection. A connection has
/// one DSCP (RFC 8656 §15). 0 when the system does not tell.
pub(super) fn tos_of_connection(socket: BorrowedFd<'_>, ipv6: bool) -> u8 {
    /// `IP_PKTOPTIONS`, and `IPV6_2292PKTOPTIONS`: of a stream they are what control messages are of a datagram.
    const OF_IPV4: i32 = 9;
    const OF_IPV6: i32 = 6;
    if tell_tos(socket, ipv6).is_err() {
        return 0;
    }
    let (level, option) = if ipv6 { (libc::IPPROTO_IPV6, OF_IPV6) } else { (libc::IPPROTO_IP, OF_IPV4) };
    let mut control = Control([0; CONTROL]);
    let mut len = u32::try_from(CONTROL).unwrap_or(0);
    // SAFETY: the buffer is as long as said, and both live through the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut control).cast(), &raw mut len)
    };
    if result != 0 {
        return 0;
    }
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = len as _;
    let mut found = 0;
    for_each_control(&header, |message| {
        if let ControlMessage::Tos(tos) = message {
            found = tos;
        }
    });
    found
}

/// Asks for a receive buffer beyond the limit of the system, which only the privileged get.
pub(super) fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// A set of sockets whose readiness is asked for together.
pub(super) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that has just been made and has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Nests the set in the runtime's own, so that a task can wait for it.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let handle = self.fd.try_clone()?;
        // SAFETY: an OwnedFd stays the same open descriptor for as long as the AsyncFd holds it.
        unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.map_err(io::Error::from)
    }

    /// Watches a socket for datagrams; `token` comes back from [`Self::ready`]. Closing the socket ends it.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as _, u64: token };
        // SAFETY: the event lives through the call.
        let result = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Appends the sockets that are ready now, without waiting.
    pub(super) fn ready(&self, sockets: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EVENTS as usize];
        // SAFETY: the kernel fills at most EVENTS events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr().cast(), EVENTS, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for event in events.iter().take(count) {
            // SAFETY: the kernel has filled the first `count` events.
            let event = unsafe { event.assume_init() };
            sockets.push(Ready {
                token: event.u64,
                readable: event.events & !(libc::EPOLLERR as u32) != 0,
                failed: event.events & libc::EPOLLERR as u32 != 0,
            });
        }
        Ok(())
    }
}

/// A socket of an [`Epoll`] for which something is there.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// The token it was added with.
    pub(super) token: u64,
    /// Datagrams.
    pub(super) readable: bool,
    /// Errors.
    pub(super) failed: bool,
}

/// An address of a network interface of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    pub(super) ip: IpAddr,
    /// Whether the interface is up.
    pub(super) up: bool,
}

/// All addresses of this machine.
pub(super) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs fills the pointer, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: not null, so an element of the list that getifaddrs made.
        let interface = unsafe { &*entry };
        if !interface.ifa_addr.is_null() {
            // SAFETY: an address of the family that its first field says; nothing longer is read than that family has.
            let ip = unsafe {
                match i32::from((*interface.ifa_addr).sa_family) {
                    libc::AF_INET => {
                        let name = interface.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        Some(IpAddr::from(name.sin_addr.s_addr.to_ne_bytes()))
                    }
                    libc::AF_INET6 => {
                        let name = interface.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        Some(IpAddr::from(name.sin6_addr.s6_addr))
                    }
                    _ => None,
                }
            };
            let up = interface.ifa_flags & libc::IFF_UP as u32 != 0;
            addresses.extend(ip.map(|ip| InterfaceAddress { ip, up }));
        }
        entry = interface.ifa_next;
    }
    // SAFETY: the list of getifaddrs, not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// Raises the soft limit of open descriptors to the hard one: each allocation holds a socket. Returns the limit.
pub(super) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: likewise.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        limit.rlim_max
    } else {
        limit.rlim_cur
    }
}
