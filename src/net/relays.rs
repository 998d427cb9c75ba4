//! The relay sockets of one worker.

mod errors;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

pub(super) use errors::Heard;
use slab::Slab;
use socket2::{Domain, Protocol, Type};

use super::mail::Post;
use super::ports::{Port, Shared};
use super::tcp_relay::{self, TcpRelays};
use super::till::Till;
use crate::sys::{self, Message, SocketSet};
use crate::time::Timestamp;
use crate::turn::{
    AllocationId, BindError, Budget, ClientRoute, ConnectionId, Hold, Owner, Parity, PeerAddress,
    RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken, StreamMeter, Traffic, Waiting,
};
use crate::wire::{AddressFamily, Marks};

/// How often a datagram is sent anew when the call told an earlier one's error instead of sending it.
pub(super) const TRIES: usize = 3;

/// Slots that one relay socket fills at once: each may hold 64 merged datagrams.
const MOST_AT_ONCE: u8 = 32;

/// So many datagrams in one call are a burst, as video is sent: a socket that had little is asked for one, one again and two. The
/// kernel merges those of one flow, which audio would pay for and have nothing of: until then each relay socket is a plain one.
const BURST: usize = 2;

/// How many ports are tried when other programs hold some of the range.
const ATTEMPTS: usize = 16;

/// Tokens of relay sockets in the set of sockets begin here; listeners are below.
pub(super) const FIRST_RELAY_TOKEN: u64 = 1 << 32;

struct Relay {
    socket: UdpSocket,
    port: Port,
    id: AllocationId,
    /// Whose quota it counts against; the name is shared by all of an owner's.
    owner: Arc<str>,
    /// The allocation has ended. The socket stays until what is queued for it has been sent, so that its number
    /// and port cannot become another allocation's meanwhile.
    ended: bool,
    /// ICMP errors in this pause.
    heard: u8,
    /// It hears no more of them until the next one.
    deaf: bool,
    /// Where a datagram was to go that this machine found too long: of IPv4 the error queue tells no port.
    too_long: Option<Box<SocketAddr>>,
    /// Whether the kernel cuts its messages.
    cuts: bool,
    /// Whether it merges what arrives.
    merges: bool,
    /// Slots to ask it to fill at once.
    most: u8,
    /// The round in which it was read last.
    read_in: u32,
}

/// See the head of this file.
pub(super) struct Relays {
    sockets: Slab<Relay>,
    ended: Vec<usize>,
    shared: Arc<Shared>,
    epoll: Rc<SocketSet>,
    /// ICMP errors since this time, of all sockets.
    heard: u32,
    heard_since: Timestamp,
    /// Sockets that had any.
    noisy: Vec<usize>,
    /// The quota of an owner.
    pub(super) allocations_per_user: u32,
    /// The sockets of TCP allocations.
    pub(super) tcp: TcpRelays,
    post: Post,
}

impl Relays {
    pub(super) fn new(
        shared: Arc<Shared>,
        epoll: Rc<SocketSet>,
        allocations_per_user: u32,
        post: Post,
    ) -> Self {
        let tcp = TcpRelays::new(Arc::clone(&shared));
        Self {
            sockets: Slab::new(),
            ended: Vec::new(),
            shared,
            epoll,
            heard: 0,
            heard_since: Timestamp::START,
            noisy: Vec::new(),
            allocations_per_user,
            tcp,
            post,
        }
    }

    /// The socket behind a token of the core, and whether the kernel cuts its messages.
    pub(super) fn door(&self, relay: RelayToken) -> Option<(BorrowedFd<'_>, bool)> {
        self.sockets.get(relay.0 as usize).map(|relay| (relay.socket.as_fd(), relay.cuts))
    }

    /// The same without that.
    pub(super) fn socket(&self, relay: RelayToken) -> Option<BorrowedFd<'_>> {
        self.sockets.get(relay.0 as usize).map(|relay| relay.socket.as_fd())
    }

    /// The relayed transport address of a socket, as peers see it.
    pub(super) fn relayed(&self, relay: RelayToken) -> Option<SocketAddr> {
        let port = self.sockets.get(relay.0 as usize)?.port;
        let address = self.shared.addresses().get(port.address)?;
        Some(SocketAddr::new(address.public, port.port))
    }

    /// Whose a port is, by the number of its socket, which may have another one's by now.
    pub(super) fn id_of(&self, index: u32, port: Port) -> Option<AllocationId> {
        let relay = self.sockets.get(index as usize)?;
        (relay.port == port && !relay.ended).then_some(relay.id)
    }

    /// Closes the sockets of ended allocations. To be called when nothing is queued for any socket.
    pub(super) fn reap(&mut self) {
        for index in self.ended.drain(..) {
            if let Some(relay) = self.sockets.try_remove(index) {
                drop(relay.socket);
                self.shared.give_back(relay.port);
            }
        }
    }

    /// Sends one datagram that came by DTLS or from another worker.
    pub(super) fn send(
        &mut self,
        relay: RelayToken,
        bytes: &[u8],
        to: SocketAddr,
        marks: Marks,
    ) -> std::io::Result<()> {
        let Some(socket) = self.socket(relay) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        if !is_datagram(bytes.len(), to) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let whole = marks.dont_fragment && to.is_ipv4();
        if whole {
            sys::keep_whole(socket, true)?;
        }
        let message = Message { to, from: None, marks, segment: None };
        let mut sent = sys::send_one(socket, bytes, &message);
        for _ in 1..TRIES {
            // A full socket stays full; any other error may be an earlier datagram's.
            if sent.as_ref().err().is_none_or(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                break;
            }
            sent = sys::send_one(socket, bytes, &message);
        }
        if whole {
            sys::keep_whole(socket, false)?;
        }
        if let Err(error) = &sent {
            self.note_failure(relay, error, to);
        }
        sent
    }

    /// The socket behind a token of the set of sockets, whose it is, and how much to ask of it.
    pub(super) fn by_token(&self, token: u64) -> Option<(BorrowedFd<'_>, AllocationId, usize)> {
        let index = usize::try_from(token - FIRST_RELAY_TOKEN).ok()?;
        let relay = self.sockets.get(index).filter(|relay| !relay.ended)?;
        Some((relay.socket.as_fd(), relay.id, relay.most.into()))
    }

    /// Asks a socket for more the next time if it had more left after all that was asked for, and for less if it has given
    /// little: what is asked for in vain costs as much as a system call. The first burst has the kernel merge from then on.
    pub(super) fn adapt(&mut self, token: u64, (given, asked): (usize, usize), round: u32) {
        let index = usize::try_from(token - FIRST_RELAY_TOKEN).unwrap_or(usize::MAX);
        let Some(relay) = self.sockets.get_mut(index) else { return };
        if given < asked {
            relay.most = (relay.most / 2).max(1);
        } else if relay.read_in.wrapping_add(1) == round {
            relay.most = (relay.most * 2).min(MOST_AT_ONCE);
        }
        relay.read_in = round;
        if given >= BURST && !relay.merges && self.shared.offers.merges {
            relay.merges = true;
            // Without it datagrams come one by one.
            let _ = sys::merge(relay.socket.as_fd(), true);
        }
    }

    fn open(
        &mut self,
        id: AllocationId,
        port: Port,
        owner: &Arc<str>,
    ) -> std::io::Result<(RelayToken, RelayedTransportAddress)> {
        let socket = self.open_socket(port)?;
        self.enter(id, port, socket, owner)
    }

    fn open_socket(&self, port: Port) -> std::io::Result<UdpSocket> {
        let address = self.shared.addresses()[port.address];
        open_socket(SocketAddr::new(address.local, port.port))
    }

    /// Makes an open socket the relay of an allocation.
    fn enter(
        &mut self,
        id: AllocationId,
        port: Port,
        socket: UdpSocket,
        owner: &Arc<str>,
    ) -> std::io::Result<(RelayToken, RelayedTransportAddress)> {
        let address = self.shared.addresses()[port.address];
        let entry = self.sockets.vacant_entry();
        let entry_index = entry.key();
        let Ok(index) = u32::try_from(entry_index) else {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        };
        self.epoll.add(socket.as_fd(), FIRST_RELAY_TOKEN + u64::from(index))?;
        entry.insert(Relay {
            socket,
            port,
            id,
            owner: Arc::clone(owner),
            ended: false,
            heard: 0,
            deaf: false,
            too_long: None,
            cuts: self.shared.offers.cuts,
            merges: false,
            most: 1,
            read_in: 0,
        });
        if let Some(link) = self.post.link(entry_index) {
            self.shared.set_live(port, link);
        }
        let relayed = SocketAddr::new(address.public, port.port);
        Ok((RelayToken(index), RelayedTransportAddress(relayed)))
    }
}

impl Relays {
    /// Does something that counts against the quota of `owner`, unless it fails.
    fn charged<T>(
        &mut self,
        owner: Owner<'_>,
        open: impl FnOnce(&mut Self, &Arc<str>) -> Result<T, BindError>,
    ) -> Result<T, BindError> {
        let owner = self
            .shared
            .charge(owner.name, self.allocations_per_user.min(owner.most))
            .ok_or(BindError::Quota)?;
        let opened = open(self, &owner);
        if opened.is_err() {
            self.shared.discharge(&owner);
        }
        opened
    }

    /// Takes ports, alone or in pairs, until one opens.
    fn first_that_opens<T>(
        &mut self,
        take: impl Fn(&Shared) -> Option<(Port, Option<Port>)>,
        open: impl Fn(&mut Self, Port, Option<Port>) -> std::io::Result<T>,
    ) -> Result<T, BindError> {
        // Ports that other programs hold are set aside until a free one is found, so that none is tried twice.
        let mut held = Vec::new();
        let mut tries = 0;
        let mut bound = Err(BindError::Exhausted);
        while let Some((port, next)) = take(&self.shared) {
            match open(self, port, next) {
                Ok(opened) => {
                    bound = Ok(opened);
                    break;
                }
                Err(error) => {
                    // Held by another program, or its address has left this machine: another port may do.
                    // Without descriptors or memory none will.
                    held.extend([Some(port), next].into_iter().flatten());
                    tries += 1;
                    let hopeless = matches!(
                        error.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
                    );
                    if hopeless || tries == ATTEMPTS {
                        break;
                    }
                }
            }
        }
        for port in held {
            self.shared.give_back(port);
        }
        bound
    }
}

impl RelaySockets for Relays {
    fn bind(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        parity: Parity,
        owner: Owner<'_>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.charged(owner, |relays, owner| {
            relays.first_that_opens(
                |shared| shared.take_port(family, parity).map(|port| (port, None)),
                |relays, port, _| relays.open(id, port, owner),
            )
        })
    }

    fn bind_pair(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        hold: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        let max = self.allocations_per_user.min(owner.most);
        let opened = self.charged(owner, |relays, owner| {
            relays.first_that_opens(
                |shared| shared.take_pair(family).map(|(even, odd)| (even, Some(odd))),
                |relays, even, odd| {
                    let odd = odd.ok_or(std::io::ErrorKind::InvalidInput)?;
                    let next = relays.open_socket(odd)?;
                    Ok((relays.open(id, even, owner)?, odd, next))
                },
            )
        });
        let ((relay, relayed), odd, socket) = opened?;
        match self.shared.reserve(odd, socket, owner.name, hold, max) {
            Some(token) => Ok((relay, relayed, token)),
            None => {
                self.close(relay, owner.name);
                self.shared.give_back(odd);
                Err(BindError::Exhausted)
            }
        }
    }

    fn redeem(
        &mut self,
        id: AllocationId,
        token: ReservationToken,
        owner: Owner<'_>,
        now: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.charged(owner, |relays, owner| {
            let (port, socket) = relays.shared.redeem(token, now).ok_or(BindError::Exhausted)?;
            relays.enter(id, port, socket, owner).map_err(|_| {
                relays.shared.give_back(port);
                BindError::Exhausted
            })
        })
    }

    fn close(&mut self, relay: RelayToken, _owner: &str) {
        if tcp_relay::listens(relay) {
            return self.tcp.close(relay);
        }
        let index = relay.0 as usize;
        if let Some(relay) = self.sockets.get_mut(index)
            && !relay.ended
        {
            relay.ended = true;
            self.shared.set_dead(relay.port);
            self.shared.discharge(&relay.owner);
            self.ended.push(index);
        }
    }

    fn draw(&self, budget: Budget<'_>, bytes: u64) -> Option<u64> {
        self.shared.budgets.draw(&budget, bytes)
    }

    fn restore(&self, budget: Budget<'_>, bytes: u64) {
        self.shared.budgets.restore(&budget, bytes);
    }

    fn is_live(&self, address: SocketAddr) -> bool {
        self.shared.is_live(address)
    }

    fn adopt(&mut self, route: &ClientRoute) {
        self.post.adopt(route);
    }

    fn release(&mut self, route: &ClientRoute) {
        self.post.release(route);
    }

    fn listen(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        meter: Option<StreamMeter>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        let till = meter.map(|meter| Arc::new(Till::new(meter)));
        self.charged(owner, |relays, owner| {
            relays.first_that_opens(
                |shared| shared.take_port(family, Parity::Any).map(|port| (port, None)),
                |relays, port, _| relays.tcp.open(id, port, owner, till.clone()),
            )
        })
    }

    fn settle(&mut self, relay: RelayToken) -> u64 {
        if tcp_relay::listens(relay) { self.tcp.settle(relay) } else { 0 }
    }

    fn is_listening(&self, address: SocketAddr) -> bool {
        self.shared.is_listening(address)
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        // Whoever cannot be told apart from this machine is refused.
        super::own_addresses().map_or(true, |own| own.contains(&ip))
    }

    fn connect(
        &mut self,
        allocation: AllocationId,
        relay: RelayToken,
        peer: PeerAddress,
    ) -> Result<ConnectionId, BindError> {
        self.tcp.connect(allocation, relay, peer)
    }

    fn waiting(&self, connection: ConnectionId) -> Option<Waiting> {
        self.shared.connections.waiting(connection)
    }

    fn claim(&mut self, connection: ConnectionId) -> bool {
        self.tcp.claim(connection)
    }

    fn abandon(&mut self, connection: ConnectionId) -> bool {
        self.tcp.abandon(connection)
    }

    fn disconnect(&mut self, connection: ConnectionId) -> (Traffic, Traffic) {
        self.tcp.disconnect(connection)
    }
}

impl Drop for Relays {
    /// A worker that ends, for whatever reason, leaves neither ports nor quotas taken.
    fn drop(&mut self) {
        for relay in self.sockets.drain() {
            drop(relay.socket);
            self.shared.give_back(relay.port);
            if !relay.ended {
                self.shared.discharge(&relay.owner);
            }
        }
    }
}

/// Whether so many bytes can be a datagram. Streams carry frames that none can be. That is no matter of any path's MTU, so
/// the network is not asked.
pub(super) const fn is_datagram(len: usize, to: SocketAddr) -> bool {
    len <= if to.is_ipv4() { 65_507 } else { 65_527 }
}

/// A relay socket: it takes no part in any reuse-port group, so a port belongs to one allocation alone.
fn open_socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = sys::new_socket(Domain::for_address(address), Type::DGRAM, Protocol::UDP)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What the system does not offer has been told at the start, and it relays without.
    let _ = sys::allow_relay_fragmentation(socket.as_fd(), address.is_ipv6());
    let _ = sys::tell_tos(socket.as_fd(), address.is_ipv6());
    let _ = sys::hear_errors(socket.as_fd(), address.is_ipv6(), true);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One for each allocation, thousands of which may wait for a call.
    #[test]
    fn a_relay_socket_takes_one_cache_line() {
        assert!(size_of::<Relay>() <= 64, "{} bytes", size_of::<Relay>());
    }
}
