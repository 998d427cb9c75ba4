//! NAT behavior discovery (RFC 5780): answers from other addresses and ports than the request came to, so that clients
//! learn what their NAT does. Only where the operator has given two addresses and two ports, and only over UDP: the
//! answer to a stream cannot come from elsewhere.

use core::net::{IpAddr, SocketAddr};

use super::request::UnknownAttributes;
use super::{ClientRoute, CountedMethod, DropReason, Server, Transport, Verdict};
use crate::time::Now;
use crate::wire::{Class, Message, MessageWriter, ReplyBuffer, attr};

/// The longest PADDING that is answered: the MTU of an Ethernet (RFC 5780 §7.6).
const MAX_PADDING: usize = 1500;
const CHANGE_IP: u8 = 4;
const CHANGE_PORT: u8 = 2;

/// An address that answers can leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryAddress {
    /// As this machine has it.
    pub local: IpAddr,
    /// As clients see it.
    pub public: IpAddr,
}

/// Two addresses of one family, and two ports on each of which the server listens at both (RFC 5780 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// A1 and A2.
    pub addresses: [DiscoveryAddress; 2],
    /// P1 and P2.
    pub ports: [u16; 2],
}

/// One of the four: which address, which port.
#[derive(Clone, Copy)]
struct Corner<'a> {
    discovery: &'a Discovery,
    address: usize,
    port: usize,
}

impl Corner<'_> {
    fn changed(self, ip: bool, port: bool) -> Self {
        Self { address: self.address ^ usize::from(ip), port: self.port ^ usize::from(port), ..self }
    }

    fn local(self) -> SocketAddr {
        SocketAddr::new(self.discovery.addresses[self.address].local, self.discovery.ports[self.port])
    }

    fn public(self) -> SocketAddr {
        SocketAddr::new(self.discovery.addresses[self.address].public, self.discovery.ports[self.port])
    }
}

/// What a request asks for.
struct Wish<'a> {
    change_ip: bool,
    change_port: bool,
    response_port: Option<u16>,
    padding: Option<&'a [u8]>,
}

impl<'a> Wish<'a> {
    /// Whether more is asked for than plain Binding gives.
    const fn is_special(&self) -> bool {
        self.change_ip || self.change_port || self.response_port.is_some() || self.padding.is_some()
    }

    /// `None`: the request makes no sense (400).
    fn read(message: &Message<'a>) -> Option<Self> {
        let flags = match message.get(attr::CHANGE_REQUEST) {
            None => 0,
            Some(&[_, _, _, flags]) => flags,
            Some(_) => return None,
        };
        let response_port = match message.get(attr::RESPONSE_PORT) {
            None => None,
            // Nothing can be sent to port 0.
            Some(&[0, 0] | &[0, 0, _, _]) => return None,
            // The two bytes of padding of RFC 5780 §7.5 may also be taken for those behind every attribute.
            Some(&[high, low] | &[high, low, _, _]) => Some(u16::from_be_bytes([high, low])),
            Some(_) => return None,
        };
        let padding = message.get(attr::PADDING);
        if padding.is_some() && response_port.is_some() {
            return None;
        }
        let (change_ip, change_port) = (flags & CHANGE_IP != 0, flags & CHANGE_PORT != 0);
        Some(Self { change_ip, change_port, response_port, padding })
    }
}

impl Server {
    /// Answers a Binding request that came to one of the four transport addresses. `None`: it came to none of them.
    /// When too many of its kind have come it gets the plain answer, if that will do.
    pub(super) fn answer_discovery(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        reply: &mut ReplyBuffer,
    ) -> Option<Verdict> {
        let all = std::sync::Arc::clone(&self.settings.discovery);
        let here = corner(&all, from)?;
        let understood = [attr::CHANGE_REQUEST, attr::RESPONSE_PORT, attr::PADDING];
        if let Some(unknown) = UnknownAttributes::beyond(message, |kind| understood.contains(&kind)) {
            return Some(self.refuse_unknown(now, from, message, reply, &unknown, None));
        }
        let Some(wish) = Wish::read(message) else {
            return Some(self.answer_stranger(now, from, message, reply, 400, |_| ()));
        };
        let origin = here.changed(wish.change_ip, wish.change_port);
        let mut writer = reply.begin(message.method(), Class::SuccessResponse, message.transaction());
        writer
            .xor_address(attr::XOR_MAPPED_ADDRESS, from.tuple.client.0)
            .address(attr::MAPPED_ADDRESS, from.tuple.client.0)
            .address(attr::RESPONSE_ORIGIN, origin.public())
            .address(attr::OTHER_ADDRESS, here.changed(true, true).public());
        if let Some(padding) = wish.padding {
            pad(&mut writer, padding);
        }
        if message.has_fingerprint() {
            writer.fingerprint();
        }
        // Larger than its request, so it is paid for, but not with what logins need. Without that much left, plain
        // Binding is as free as ever.
        let Some(len) = writer.finish() else {
            return Some(self.drop(from.tuple.transport, DropReason::TooLong));
        };
        let ip = from.tuple.client.0.ip();
        if !self.budget.pay_from_plenty(now.mono, ip, message.bytes().len(), len) {
            return Some(match wish.is_special() {
                true => self.drop(from.tuple.transport, DropReason::AnswerBudget),
                // A CHANGE-REQUEST without a flag is understood here, and not to be refused as unknown.
                false => self.answer_plainly(from, message, reply),
            });
        }
        self.counters.of(from.tuple.transport).answered.add(len);
        self.counters.of(from.tuple.transport).successes[CountedMethod::Binding as usize] += 1;
        let mut client = from.tuple.client.0;
        if let Some(port) = wish.response_port {
            client.set_port(port);
        }
        Some(Verdict::ReplyFrom { server: origin.local(), client })
    }
}

/// As much as the request has, up to an MTU: a short request must not make a long answer.
fn pad(writer: &mut MessageWriter<'_>, asked: &[u8]) {
    let zeroes = [0; MAX_PADDING];
    let len = asked.len().next_multiple_of(4).min(MAX_PADDING);
    writer.attribute(attr::PADDING, zeroes.get(..len).unwrap_or_default());
}

fn corner(all: &[Discovery], from: ClientRoute) -> Option<Corner<'_>> {
    if from.tuple.transport != Transport::Udp {
        return None;
    }
    let server = from.tuple.server;
    all.iter().find_map(|discovery| {
        let address = discovery.addresses.iter().position(|address| address.local == server.ip())?;
        let port = discovery.ports.iter().position(|port| *port == server.port())?;
        Some(Corner { discovery, address, port })
    })
}
