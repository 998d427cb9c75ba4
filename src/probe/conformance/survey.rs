//! What a server offers, looked at once before the checks.

use std::net::SocketAddr;

use super::client::{Client, TCP, UDP, expect};
use super::outcome::Finding;
use super::raw::{ALLOCATE, BINDING, Raw};
use super::{Probe, Transport};
use crate::probe::credentials::Why;
use crate::wire::attr;

/// What was found; nothing of it is a finding by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// The port listens on TCP too, or the URI is a stream's.
    pub(super) has_tcp: bool,
    /// How the server sees this machine.
    pub(super) mapped: Option<SocketAddr>,
    /// The same address is this machine's own: no NAT is between.
    pub(super) is_direct: bool,
    /// What an Allocate without REQUESTED-ADDRESS-FAMILY gives.
    pub(super) relayed: Option<SocketAddr>,
    /// REQUESTED-ADDRESS-FAMILY of IPv6 succeeds.
    pub(super) has_ipv6: bool,
    pub(super) has_ipv4: bool,
    /// A permission for this machine's own address is given, and data to it arrive.
    pub(super) reaches_us: bool,
    /// The challenge offers third-party authorization (RFC 7635).
    pub(super) has_third_party: bool,
    /// TCP can be relayed (RFC 6062).
    pub(super) has_tcp_relay: bool,
    /// An Allocate with an empty MOBILITY-TICKET gets a ticket (RFC 8016).
    pub(super) has_mobility: bool,
    /// A Binding success has OTHER-ADDRESS (RFC 5780).
    pub(super) has_nat_discovery: bool,
}

impl Survey {
    /// # Errors
    /// The server cannot be reached, or does not take the credentials.
    pub(super) fn of(probe: &Probe) -> Result<Self, Why> {
        let mut survey = Self::default();
        let no_way = |finding: Finding| {
            let seen = match finding {
                Finding::Fail(seen) | Finding::NotTestable(seen) | Finding::NotOffered(seen) => seen,
            };
            let help = "`relais probe` with the same arguments and without --conformance says more";
            (format!("nothing can be checked: {seen}"), help.to_owned())
        };
        survey.has_tcp = probe.transport != Transport::Udp || probe.link(Transport::Tcp).is_ok();
        let mut client = Client::open(probe).map_err(no_way)?;
        let binding = client.ask(&Raw::request(BINDING));
        if let Ok(answer) = &binding {
            survey.mapped = answer.xor_address(attr::XOR_MAPPED_ADDRESS);
            survey.has_nat_discovery = answer.has(attr::OTHER_ADDRESS);
        }
        survey.is_direct = survey.mapped.is_some() && client.link.local().ok() == survey.mapped;
        if probe.username.is_empty() {
            binding.map_err(no_way)?;
            return Ok(survey);
        }
        survey.look_at_turn(probe).map_err(no_way)?;
        Ok(survey)
    }

    fn look_at_turn(&mut self, probe: &Probe) -> Result<(), Finding> {
        let mut first = Client::open(probe)?;
        let challenge =
            first.ask(&super::client::stranger(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP))?;
        self.has_third_party = challenge.has(attr::THIRD_PARTY_AUTHORIZATION);
        let (mut first, relayed) = Client::open(probe)?.allocate()?;
        self.relayed = Some(relayed);
        self.has_ipv4 = relayed.is_ipv4() || gives(probe, attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
        self.has_ipv6 = relayed.is_ipv6() || gives(probe, attr::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        self.reaches_us = self.reaches(probe, &mut first).unwrap_or(false);
        let mut mobile = Client::open(probe)?.login()?;
        let raw =
            Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::MOBILITY_TICKET, &[]);
        self.has_mobility = mobile.call(raw)?.has(attr::MOBILITY_TICKET);
        if self.has_tcp {
            let transport = if probe.transport == Transport::Udp { Transport::Tcp } else { probe.transport };
            let mut stream = Client::over(probe, transport)?.login()?;
            let answer = stream.call(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &TCP))?;
            self.has_tcp_relay = answer.code() == 0;
        }
        Ok(())
    }

    /// Whether data reach a socket of this machine.
    fn reaches(&self, probe: &Probe, client: &mut Client<'_>) -> Result<bool, Finding> {
        let Some(mapped) = self.mapped.filter(|_| self.is_direct) else { return Ok(false) };
        let Ok(socket) = std::net::UdpSocket::bind((mapped.ip(), 0)) else { return Ok(false) };
        let Ok(peer) = socket.local_addr() else { return Ok(false) };
        if client.permit(peer).is_err() {
            return Ok(false);
        }
        client.say(peer, b"hello")?;
        let _ = socket.set_read_timeout(Some(probe.limit.min(std::time::Duration::from_secs(2))));
        Ok(socket.recv(&mut [0; 16]).is_ok())
    }
}

/// Whether an Allocate with this attribute succeeds.
fn gives(probe: &Probe, kind: crate::wire::AttributeType, value: &[u8]) -> bool {
    let ask = || {
        let mut client = Client::open(probe)?.login()?;
        let answer =
            client.call(Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &UDP).attr(kind, value))?;
        expect(&answer, 0)
    };
    ask().is_ok()
}
