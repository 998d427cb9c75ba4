//! Allocate (RFC 8656 §7.2), its checks in the RFC's order.

use core::net::SocketAddr;
use core::time::Duration;

use super::allocation::{Allocation, NewAllocation, Relay, place};
use super::meter::Meter;
use super::policy::is_tunnelled;
use super::request::{Answer, Refused, Request, Success};
use super::server::budget_of;
use super::stream_meter::StreamMeter;
use super::tcp::Connections;
use super::{
    AddressError, AllocationId, BindError, Event, FamilyDefault, FiveTuple, Hold, Owner, Parity,
    RefusalCause, RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken, Server,
};
use crate::auth::Login;
use crate::time::Now;
use crate::wire::{AddressFamily, Message, attr};

/// The protocol number of TCP in REQUESTED-TRANSPORT (RFC 6062 §4.1).
const TCP: u8 = 6;
/// The protocol number of UDP.
const UDP: u8 = 17;
/// The one value of ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11).
const IPV6: u8 = 2;
/// The R bit of EVEN-PORT (RFC 8656 §18.6).
const RESERVE: u8 = 0x80;

/// How long the port behind an even one is held (RFC 8656 §7.2: at least 30 seconds).
const RESERVATION: Duration = Duration::from_secs(30);

/// Which relayed transport address, or which two, a client asks for.
enum Wanted {
    Reserved(ReservationToken),
    One(AddressFamily, Parity),
    /// One that TCP connections can be made to and from (RFC 6062).
    Listening(AddressFamily),
    EvenAndNext(AddressFamily),
    Both(Parity),
}

/// What it gets.
#[derive(Default)]
struct Given {
    relays: [Option<(RelayToken, RelayedTransportAddress)>; 2],
    reservation: Option<ReservationToken>,
    half_refused: Option<AddressError>,
}

impl Server {
    /// Step 1, the login, has been taken.
    pub(super) fn allocate(&mut self, request: &Request<'_>, sockets: &mut impl RelaySockets) -> Answer {
        let Request { now, from, message, login } = request;
        // 2. The 5-tuple must be free, unless this is a retransmission of the request that made the allocation.
        if let Some(allocation) = self.allocations.live(now.mono, &from.tuple) {
            if allocation.transaction != message.transaction() || !allocation.login.is_same_user(login) {
                return Err(Refused::because(437));
            }
            return Ok(allocated(now, allocation, from.tuple.client.0));
        }
        // 3. What can be relayed: UDP, and TCP if the operator has said so.
        let wanted = match message.get(attr::REQUESTED_TRANSPORT) {
            // 4. DONT-FRAGMENT asks whether it is understood, no more.
            // 5 to 9.
            Some(&[UDP, _, _, _]) => self.wanted(message, from.tuple.client.0)?,
            Some(&[TCP, _, _, _]) if self.settings.tcp => self.wanted_for_tcp(message, &from.tuple)?,
            Some(&[_, _, _, _]) => return Err(Refused::because(442)),
            _ => return Err(Refused::because(400)),
        };
        let lifetime =
            lifetime(message, self.settings.limits.max_lifetime)?.unwrap_or(Self::DEFAULT_LIFETIME);
        let is_tcp = matches!(wanted, Wanted::Listening(_));
        let wants_ticket = self.wants_ticket(message)?;
        // A TCP allocation belongs to its control connection (RFC 6062 §3).
        if is_tcp && wants_ticket {
            return Err(Refused::because(405));
        }
        let lifetime = login.bound(now.mono, lifetime);
        // 11. Another server.
        if let Some(redirect) = self.redirect(message, &from.tuple) {
            return Err(Refused { redirect: Some(redirect), ..Refused::because(300) });
        }
        // A tunnel's end would multiply what is sent to it (RFC 8656 §21.4, a MUST NOT).
        if self.draining || is_tunnelled(from.tuple.client.0.ip()) {
            let refused = Refused::because(403);
            return Err(if self.draining { refused.told(RefusalCause::Draining) } else { refused });
        }
        let mut meter = Self::meter(now, login, sockets)?;
        let rest = meter.as_ref().map_or(0, |meter| meter.rest());
        // The bytes of TCP do not come by here: who carries them has to pay.
        let stream_meter =
            if is_tcp { meter.take().map(|meter| StreamMeter::new(meter, login)) } else { None };
        // 10. The quota, and the relayed transport addresses.
        let id = self.allocations.next_id();
        let most = login.policy().and_then(|policy| policy.allocations).unwrap_or(u32::MAX);
        let owner = Owner { name: login.owner(), most };
        let given = self.open_relays(now, id, wanted, owner, stream_meter, sockets).inspect_err(|_| {
            if let Some(budget) = budget_of(now, login, false) {
                sockets.restore(budget, rest);
            }
        })?;
        let expires = now.mono + lifetime;
        let relay = |(token, address)| Relay { token, address, expires };
        let new = NewAllocation {
            route: *from,
            transaction: message.transaction(),
            login: login.clone(),
            relays: given.relays.map(|given| given.map(relay)),
            reservation: given.reservation,
            half_refused: given.half_refused,
            connections: is_tcp.then(Box::<Connections>::default),
            mobility: wants_ticket.then(|| self.first_ticket(id)),
            meter,
        };
        let success = allocated(now, self.allocations.insert(now.mono, new), from.tuple.client.0);
        // Should the request have come through another worker, so will the rest.
        sockets.adopt(from);
        let counters = self.counters.of(from.tuple.transport);
        counters.allocations += 1;
        counters.allocations_created += 1;
        let mut relayed = given.relays.into_iter().flatten().map(|(_, address)| address);
        if let Some(first) = relayed.next() {
            let additional = relayed.next();
            let user = login.user_shared();
            self.events.push(Event::AllocationCreated {
                user,
                tuple: from.tuple,
                relayed: first,
                additional,
            });
        }
        Ok(success)
    }

    /// Rate and budget of the credential; the allocation begins with a part of the latter.
    fn meter(now: &Now, login: &Login, sockets: &impl RelaySockets) -> Result<Option<Box<Meter>>, Refused> {
        let Some(budget) = budget_of(now, login, true) else { return Ok(Meter::of(login.policy(), 0)) };
        let share = sockets.draw(budget, Meter::portion(budget.total, 0));
        let share = share.ok_or(const { Refused::because(508).told(RefusalCause::Budgets) })?;
        // What would not carry a packet is nothing; and it does not come back: no 486, which clients may try again (RFC 8656
        // §7.4).
        if share < Meter::LEAST.min(budget.total) {
            sockets.restore(budget, share);
            return Err(Refused::because(403).told(RefusalCause::Budget));
        }
        Ok(Meter::of(login.policy(), share))
    }

    /// Steps 5 to 9: what is asked for, if it makes sense and can be had at all.
    fn wanted(&self, message: &Message<'_>, client: SocketAddr) -> Result<Wanted, Refused> {
        let even_port = match message.get(attr::EVEN_PORT) {
            None => None,
            Some(&[flags]) => Some(flags & RESERVE != 0),
            Some(_) => return Err(Refused::because(400)),
        };
        let requested = message.get(attr::REQUESTED_ADDRESS_FAMILY).is_some();
        let additional = additional_family(message);
        // 5.
        if let Some(token) = message.get(attr::RESERVATION_TOKEN) {
            let token = <[u8; 8]>::try_from(token).map_err(|_| const { Refused::because(400) })?;
            if even_port.is_some() || requested || additional.is_some() {
                return Err(Refused::because(400));
            }
            return Ok(Wanted::Reserved(ReservationToken(token)));
        }
        // 6.
        if requested && additional.is_some() {
            return Err(Refused::because(400));
        }
        // 7.
        let family = self.family(message, client)?;
        // 8, 9.
        match (even_port, additional) {
            (Some(true), Some(_)) => Err(Refused::because(400)),
            (_, Some(value)) if !matches!(value, [IPV6, _, _, _]) => Err(Refused::because(400)),
            (Some(true), None) => Ok(Wanted::EvenAndNext(family)),
            (Some(false), None) => Ok(Wanted::One(family, Parity::Even)),
            (None, None) => Ok(Wanted::One(family, Parity::Any)),
            (Some(_), Some(_)) => Ok(Wanted::Both(Parity::Even)),
            (None, Some(_)) => Ok(Wanted::Both(Parity::Any)),
        }
    }

    /// The same for TCP (RFC 6062 §5.1). Of two families nothing is said there: ADDITIONAL-ADDRESS-FAMILY, which may be
    /// ignored, is.
    fn wanted_for_tcp(&self, message: &Message<'_>, tuple: &FiveTuple) -> Result<Wanted, Refused> {
        let for_udp = [attr::DONT_FRAGMENT, attr::EVEN_PORT, attr::RESERVATION_TOKEN];
        if !tuple.transport.is_stream() || for_udp.iter().any(|kind| message.get(*kind).is_some()) {
            return Err(Refused::because(400));
        }
        Ok(Wanted::Listening(self.family(message, tuple.client.0)?))
    }

    fn open_relays(
        &self,
        now: &Now,
        id: AllocationId,
        wanted: Wanted,
        owner: Owner<'_>,
        meter: Option<StreamMeter>,
        sockets: &mut impl RelaySockets,
    ) -> Result<Given, Refused> {
        let mut given = Given::default();
        let keep = |given: &mut Given, (token, address): (RelayToken, RelayedTransportAddress)| {
            given.relays[place(AddressFamily::of(&address.0.ip()))] = Some((token, address));
        };
        match wanted {
            Wanted::Reserved(token) => keep(&mut given, sockets.redeem(id, token, owner, now.mono)?),
            Wanted::One(family, parity) => keep(&mut given, sockets.bind(id, family, parity, owner)?),
            Wanted::Listening(family) => keep(&mut given, sockets.listen(id, family, owner, meter)?),
            Wanted::EvenAndNext(family) => {
                let hold = Hold { from: now.mono, until: now.mono + RESERVATION };
                let (token, address, reservation) = sockets.bind_pair(id, family, owner, hold)?;
                keep(&mut given, (token, address));
                given.reservation = Some(reservation);
            }
            Wanted::Both(parity) => {
                let mut refused = None;
                for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
                    let bound = if self.supports(family) {
                        sockets.bind(id, family, parity, owner).map_err(Refused::from)
                    } else {
                        Err(Refused::because(440))
                    };
                    match bound {
                        Ok(bound) => keep(&mut given, bound),
                        Err(why) => match refused {
                            None => refused = Some((family, why.code)),
                            Some((_, 486)) => return Err(BindError::Quota.into()),
                            Some(_) => return Err(Refused::because(508)),
                        },
                    }
                }
                // Only these two codes may stand in ADDRESS-ERROR-CODE (RFC 8656 §18.12).
                given.half_refused = refused
                    .map(|(family, code)| AddressError { family, code: if code == 440 { 440 } else { 508 } });
            }
        }
        Ok(given)
    }

    fn family(&self, message: &Message<'_>, client: SocketAddr) -> Result<AddressFamily, Refused> {
        let settings = &self.settings;
        let family = match requested_family(message)? {
            Some(family) => family,
            None => match (settings.family_default, AddressFamily::of(&client.ip())) {
                (FamilyDefault::Follow, AddressFamily::Ipv6) if settings.ipv6 => AddressFamily::Ipv6,
                (FamilyDefault::Follow, _) if !settings.ipv4 => AddressFamily::Ipv6,
                _ => AddressFamily::Ipv4,
            },
        };
        if self.supports(family) { Ok(family) } else { Err(Refused::because(440)) }
    }

    const fn supports(&self, family: AddressFamily) -> bool {
        match family {
            AddressFamily::Ipv4 => self.settings.ipv4,
            AddressFamily::Ipv6 => self.settings.ipv6,
        }
    }
}

impl From<BindError> for Refused {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Quota => Self::because(486).told(RefusalCause::Allocations),
            BindError::Exhausted => Self::because(508).told(RefusalCause::Sockets),
        }
    }
}

/// ADDITIONAL-ADDRESS-FAMILY, with the number of the RFC or of its drafts.
fn additional_family<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message
        .get(attr::ADDITIONAL_ADDRESS_FAMILY)
        .or_else(|| message.get(attr::DRAFT_ADDITIONAL_ADDRESS_FAMILY))
}

/// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6): 400 for a wrong length, 440 for an unknown family.
pub(super) fn requested_family(message: &Message<'_>) -> Result<Option<AddressFamily>, Refused> {
    match message.get(attr::REQUESTED_ADDRESS_FAMILY) {
        None => Ok(None),
        Some(&[number, _, _, _]) => {
            AddressFamily::from_number(number).map(Some).ok_or(const { Refused::because(440) })
        }
        Some(_) => Err(Refused::because(400)),
    }
}

/// The lifetime that a LIFETIME attribute gets (RFC 8656 §7.2, §8.2): never less than the default, never more than
/// the maximum. `None` without the attribute.
pub(super) fn lifetime(message: &Message<'_>, max: Duration) -> Result<Option<Duration>, Refused> {
    let Some(value) = message.get(attr::LIFETIME) else { return Ok(None) };
    let value = <[u8; 4]>::try_from(value).map_err(|_| const { Refused::because(400) })?;
    let asked = Duration::from_secs(u32::from_be_bytes(value).into());
    Ok(Some(asked.min(max).max(Server::DEFAULT_LIFETIME)))
}

/// A time-to-expiry as LIFETIME says it: whole seconds.
pub(super) fn in_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn allocated(now: &Now, allocation: &Allocation, client: SocketAddr) -> Success {
    let relay = |family| allocation.relay(now.mono, family).map(|relay| relay.address.0);
    Success {
        relayed: [relay(AddressFamily::Ipv4), relay(AddressFamily::Ipv6)],
        lifetime: Some(in_seconds(allocation.expires.since(now.mono))),
        mapped: Some(client),
        reservation: allocation.reservation,
        half_refused: allocation.half_refused,
        ticket: allocation.ticket(),
    }
}
