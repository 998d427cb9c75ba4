//! ICMP errors about relayed datagrams, told to the client (RFC 8656 §11.5).

use core::net::IpAddr;

use super::{AllocationId, DropReason, PeerAddress, Server, Transport, Verdict};
use crate::time::Now;
use crate::wire::{AddressFamily, Class, Datagram, MessageWriter, attr, method};

/// What the network says about a datagram that was sent from a relayed transport address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the datagram was to go. The ICMP packet itself may come from anywhere.
    pub peer: PeerAddress,
    /// The type: that of ICMPv4 or of ICMPv6, as the peer's family says.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The MTU of the link that the datagram did not fit, where type and code say that; else ignored.
    pub info: u32,
}

impl IcmpError {
    /// Whether it is one of the types that clients are told.
    const fn is_news(&self) -> bool {
        match self.peer.0.ip() {
            // Destination unreachable, time exceeded.
            IpAddr::V4(_) => matches!(self.kind, 3 | 11),
            // Destination unreachable, packet too big, time exceeded.
            IpAddr::V6(_) => matches!(self.kind, 1..=3),
        }
    }

    /// The value of the ICMP attribute (RFC 8656 §18.13).
    const fn value(&self) -> [u8; 8] {
        let is_about_mtu = match self.peer.0.ip() {
            IpAddr::V4(_) => self.kind == 3 && self.code == 4,
            IpAddr::V6(_) => self.kind == 2,
        };
        let [a, b, c, d] = if is_about_mtu { self.info.to_be_bytes() } else { [0; 4] };
        [0, 0, self.kind, self.code, a, b, c, d]
    }
}

impl Server {
    /// Makes a Data indication with ICMP out of an error about a datagram that left from a relayed transport address of
    /// allocation `id`, and puts it into `datagram`, which is empty. Anybody can forge such an error: it is told only about an address that
    /// has a permission, and nothing else comes of it.
    pub fn handle_icmp(
        &mut self,
        now: &Now,
        id: AllocationId,
        error: &IcmpError,
        datagram: &mut Datagram<'_>,
    ) -> Verdict {
        let Some(allocation) = self.allocations.get(id).filter(|allocation| allocation.expires > now.mono)
        else {
            return self.drop(Transport::Udp, DropReason::NoAllocation);
        };
        let client = allocation.route;
        let transport = client.tuple.transport;
        let peer = error.peer.0;
        if !error.is_news() {
            return self.drop(transport, DropReason::IcmpType);
        }
        if allocation.relay(now.mono, AddressFamily::of(&peer.ip())).is_none() {
            return self.drop(transport, DropReason::PeerFamily);
        }
        if allocation.permission(now.mono, peer.ip()).is_none() {
            return self.drop(transport, DropReason::NoPermission);
        }
        let mut message = [0; 64];
        let id = self.transaction_ids.next();
        let mut writer = MessageWriter::to(&mut message, method::DATA, Class::Indication, id);
        writer.xor_address(attr::XOR_PEER_ADDRESS, peer).attribute(attr::ICMP, &error.value());
        let written = writer.finish().and_then(|len| message.get(..len));
        if !written.is_some_and(|message| datagram.push(message)) {
            return self.drop(transport, DropReason::TooLong);
        }
        Verdict::ToClient { client }
    }
}
