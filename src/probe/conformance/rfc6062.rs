//! RFC 6062: relays of TCP, where they are offered. Two allocations connect to each other.

use std::net::SocketAddr;

use super::Probe;
use super::client::{Client, TCP, expect, permission, udp_allocation};
use super::link::Arrival;
use super::outcome::{Check, Finding, Outcome, must, need, not_offered};
use super::raw::{ALLOCATE, CONNECT, CONNECTION_ATTEMPT, CONNECTION_BIND, Class, Raw, Received};
use crate::wire::attr;

pub(super) const CHECKS: &[Check] = &[
    must(
        "tcp-over-udp",
        "6062 §5.1",
        "An allocation of TCP over UDP gets 400, or 442 where none is served",
        |p| {
            super::need_login(p)?;
            if p.transport != super::Transport::Udp {
                return super::outcome::not_testable("is about datagrams");
            }
            let answer = Client::open(p)?.login()?.call(tcp_allocation())?;
            expect(&answer, if p.survey.has_tcp_relay { 400 } else { 442 })
        },
    ),
    must("tcp-even-port", "6062 §5.1", "With EVEN-PORT it gets 400", |p| {
        tcp_with(p, tcp_allocation().attr(attr::EVEN_PORT, &[0]))
    }),
    must("tcp-dont-fragment", "6062 §5.1", "With DONT-FRAGMENT it gets 400", |p| {
        tcp_with(p, tcp_allocation().attr(attr::DONT_FRAGMENT, &[]))
    }),
    must("tcp-reservation-token", "6062 §5.1", "With RESERVATION-TOKEN it gets 400", |p| {
        tcp_with(p, tcp_allocation().attr(attr::RESERVATION_TOKEN, &[7; 8]))
    }),
    must("connect-without-allocation", "6062 §5.2", "Connect without an allocation gets 437", |p| {
        offered(p)?.wants(connect_to(p.server), 437)
    }),
    must("connect-without-peer", "6062 §5.2", "Connect without XOR-PEER-ADDRESS gets 400", |p| {
        allocated(p)?.0.wants(Raw::request(CONNECT), 400)
    }),
    must("connect-malformed-peer", "6062 §5.2", "With a malformed one too", |p| {
        allocated(p)?.0.wants(Raw::request(CONNECT).attr(attr::XOR_PEER_ADDRESS, &[0, 1, 2]), 400)
    }),
    must("connect-on-udp-allocation", "6062 §5.2", "Connect on an allocation of UDP gets no success", |p| {
        let mut client = offered(p)?;
        client.wants(udp_allocation(), 0)?;
        need(client.call(connect_to(p.server))?.is_error(), "success")
    }),
    must("connect-success", "6062 §5.2", "Connect gets a success with CONNECTION-ID of four bytes", |p| {
        Ends::open(p).map(|_| ())
    }),
    must(
        "connection-attempt",
        "6062 §5.3",
        "The other side gets a ConnectionAttempt with peer and CONNECTION-ID",
        |p| {
            let ends = Ends::open(p)?;
            need(
                ends.attempt_from == ends.relayed,
                format!("it names {}, not {}", ends.attempt_from, ends.relayed),
            )
        },
    ),
    must("connect-twice", "6062 §5.2", "A second Connect to the same peer gets 446", |p| {
        let mut ends = Ends::open(p)?;
        let peer = ends.peer;
        ends.client.wants(connect_to(peer), 446)
    }),
    must(
        "connection-without-permission",
        "6062 §5.3",
        "A connection of a peer without a permission is told to nobody",
        |p| {
            let (mut client, _) = allocated(p)?;
            let (mut other, peer) = allocated(p)?;
            let request = client.signed(connect_to(peer));
            client.send(request.bytes())?;
            other.fence()?;
            let is_told = other.inbox.iter().filter_map(|frame| Received::parse(frame).ok());
            need(
                is_told.into_iter().all(|message| !message.is(CONNECTION_ATTEMPT, Class::Indication)),
                "ConnectionAttempt came",
            )
        },
    ),
    must("bind-without-id", "6062 §5.4", "ConnectionBind without CONNECTION-ID gets 400", |p| {
        offered(p)?.wants(Raw::request(CONNECTION_BIND), 400)
    }),
    must("bind-unknown-id", "6062 §5.4", "With an unknown one too", |p| {
        offered(p)?.wants(Raw::request(CONNECTION_BIND).u32(attr::CONNECTION_ID, 0xDEAD_BEEF), 400)
    }),
    must("bind-malformed-id", "6062 §5.4", "With one that has not four bytes too", |p| {
        offered(p)?.wants(Raw::request(CONNECTION_BIND).attr(attr::CONNECTION_ID, &[1, 2]), 400)
    }),
    must("bind-over-udp", "6062 §5.4", "ConnectionBind over UDP gets 400", |p| {
        offered(p)?;
        if p.transport != super::Transport::Udp {
            return super::outcome::not_testable("is about datagrams");
        }
        Client::open(p)?.login()?.wants(Raw::request(CONNECTION_BIND).u32(attr::CONNECTION_ID, 1), 400)
    }),
    must(
        "bind-without-login",
        "6062 §4.3",
        "ConnectionBind without a login gets 401, and the stream stays open",
        |p| {
            offered(p)?;
            let mut data = Client::stream(p)?;
            expect(&data.ask(&super::client::stranger(CONNECTION_BIND).u32(attr::CONNECTION_ID, 1))?, 401)?;
            data.login().map(|_| ())
        },
    ),
    must(
        "bind-with-other-nonce",
        "6062 §4.3",
        "The control connection's NONCE gets a success or 438, and the stream stays open",
        |p| {
            let ends = Ends::open(p)?;
            let mut data = Client::stream(p)?;
            (data.realm, data.nonce, data.algorithms) =
                (ends.client.realm.clone(), ends.client.nonce.clone(), None);
            data.wants(Raw::request(CONNECTION_BIND).u32(attr::CONNECTION_ID, ends.id), 0)
        },
    ),
    must("data-both-ways", "6062 §5.4", "Bytes pass both ways as they are", |p| {
        let ends = Ends::open(p)?;
        let (mut near, mut far) = ends.data_connections(b"")?;
        near.send(b"to the peer")?;
        arrives(&mut far, b"to the peer")?;
        far.send(&[0, 1, 2, 3, 0x40, 0, 0xFF])?;
        arrives(&mut near, &[0, 1, 2, 3, 0x40, 0, 0xFF])
    }),
    must("data-behind-bind", "6062 §5.4", "Bytes right behind ConnectionBind belong to the peer", |p| {
        let ends = Ends::open(p)?;
        let (_near, mut far) = ends.data_connections(b"early bytes")?;
        arrives(&mut far, b"early bytes")
    }),
    must("data-large", "6062 §5.4", "A megabyte arrives whole", |p| {
        let ends = Ends::open(p)?;
        let (mut near, mut far) = ends.data_connections(b"")?;
        let limit = p.limit;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
                near.send(&bytes).map(|()| near)
            });
            let mut count = 0;
            while count < 1 << 20 {
                match far.link.receive_bytes(limit) {
                    Arrival::Frame(bytes) => count += bytes.len(),
                    _ => return need(false, format!("{count} bytes arrived")),
                }
            }
            sender.join().map_or_else(|_| need(false, "nothing was sent"), |sent| sent.map(|_| ()))
        })
    }),
    must("data-close", "6062 §5.5", "When one data connection is closed, so is the other", |p| {
        let ends = Ends::open(p)?;
        let (near, mut far) = ends.data_connections(b"")?;
        drop(near);
        need(far.link.receive_bytes(p.limit) == Arrival::End, "it stays open")
    }),
    must(
        "data-ends-with-allocation",
        "6062 §5.5",
        "When the allocation ends, its data connections are closed",
        |p| {
            let mut ends = Ends::open(p)?;
            let (mut near, _far) = ends.data_connections(b"")?;
            ends.client.wants(Raw::request(super::raw::REFRESH).u32(attr::LIFETIME, 0), 0)?;
            need(near.link.receive_bytes(p.limit) == Arrival::End, "they stay open")
        },
    ),
    must("bind-twice", "6062 §5.4", "A connection that is bound cannot be bound again: 400", |p| {
        let ends = Ends::open(p)?;
        let _connections = ends.data_connections(b"")?;
        Client::stream(p)?
            .login()?
            .wants(Raw::request(CONNECTION_BIND).u32(attr::CONNECTION_ID, ends.id), 400)
    }),
];

fn tcp_allocation() -> Raw {
    Raw::request(ALLOCATE).attr(attr::REQUESTED_TRANSPORT, &TCP)
}

fn connect_to(peer: SocketAddr) -> Raw {
    Raw::request(CONNECT).xor_address(attr::XOR_PEER_ADDRESS, peer)
}

/// A stream that is ready to log in, where TCP is relayed.
fn offered(p: &Probe) -> Result<Client<'_>, Finding> {
    super::need_login(p)?;
    if !p.survey.has_tcp_relay {
        return not_offered("an Allocate for TCP has no success");
    }
    Client::stream(p)?.login()
}

fn tcp_with(p: &Probe, raw: Raw) -> Outcome {
    offered(p)?.wants(raw, 400)
}

fn allocated(p: &Probe) -> Result<(Client<'_>, SocketAddr), Finding> {
    let mut client = offered(p)?;
    let answer = client.call(tcp_allocation())?;
    expect(&answer, 0)?;
    let relayed = super::rfc8656_allocate::relayed(&answer)?;
    Ok((client, relayed))
}

/// Two allocations of TCP, of which the first has connected to the second.
struct Ends<'a> {
    client: Client<'a>,
    relayed: SocketAddr,
    /// CONNECTION-ID of the client.
    id: u32,
    other: Client<'a>,
    peer: SocketAddr,
    other_id: u32,
    attempt_from: SocketAddr,
}

impl<'a> Ends<'a> {
    fn open(p: &'a Probe) -> Result<Self, Finding> {
        let (mut client, relayed) = allocated(p)?;
        let (mut other, peer) = allocated(p)?;
        client.wants(permission(&[peer]), 0)?;
        other.wants(permission(&[relayed]), 0)?;
        let answer = client.call(connect_to(peer))?;
        expect(&answer, 0)?;
        let id = id(&answer)?;
        let Arrival::Frame(frame) = other.link.receive(p.limit) else {
            return Err(Finding::Fail("no ConnectionAttempt came".to_owned()));
        };
        let attempt = Received::parse(&frame).map_err(Finding::Fail)?;
        need(
            attempt.is(CONNECTION_ATTEMPT, Class::Indication),
            "another message than ConnectionAttempt came",
        )?;
        let attempt_from = attempt.xor_address(attr::XOR_PEER_ADDRESS);
        let attempt_from =
            attempt_from.ok_or_else(|| Finding::Fail("ConnectionAttempt names no peer".to_owned()))?;
        let other_id = self::id(&attempt)?;
        Ok(Self { client, relayed, id, other, peer, other_id, attempt_from })
    }

    /// Binds both data connections; `early` is sent right behind the request of the first.
    fn data_connections(&self, early: &[u8]) -> Result<(Client<'a>, Client<'a>), Finding> {
        let far = bound(&self.other, self.other_id, b"")?;
        let near = bound(&self.client, self.id, early)?;
        Ok((near, far))
    }
}

fn id(answer: &Received) -> Result<u32, Finding> {
    let id = answer.u32(attr::CONNECTION_ID);
    id.ok_or_else(|| Finding::Fail("no CONNECTION-ID of four bytes".to_owned()))
}

/// Binds a new stream as clients do: first with the NONCE of the control connection, and where that is stale, with
/// one of its own. `early` is sent in one write with the request that counts.
fn bound<'a>(control: &Client<'a>, id: u32, early: &[u8]) -> Result<Client<'a>, Finding> {
    let raw = || Raw::request(CONNECTION_BIND).u32(attr::CONNECTION_ID, id);
    let mut data = Client::stream(control.probe)?;
    data.realm.clone_from(&control.realm);
    data.nonce.clone_from(&control.nonce);
    let answer = answer_with(&mut data, raw(), early)?;
    if answer.code() != 438 {
        return expect(&answer, 0).map(|()| data);
    }
    // The early bytes have spoilt this stream.
    data = Client::stream(control.probe)?;
    let challenge = data.ask(&raw().attr(attr::SOFTWARE, &[b'-'; 80]))?;
    expect(&challenge, 401)?;
    data.take(&challenge)?;
    let answer = answer_with(&mut data, raw(), early)?;
    expect(&answer, 0).map(|()| data)
}

fn answer_with(data: &mut Client<'_>, raw: Raw, early: &[u8]) -> Result<Received, Finding> {
    let request = data.signed(raw);
    data.send(&[request.bytes(), early].concat())?;
    match data.link.receive(data.probe.limit) {
        Arrival::Frame(frame) => Received::parse(&frame).map_err(Finding::Fail),
        _ => Err(Finding::Fail("no answer to ConnectionBind".to_owned())),
    }
}

fn arrives(data: &mut Client<'_>, wanted: &[u8]) -> Outcome {
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        match data.link.receive_bytes(data.probe.limit) {
            Arrival::Frame(bytes) => seen.extend(bytes),
            _ => break,
        }
    }
    need(seen == wanted, format!("{} bytes were sent, {} arrived", wanted.len(), seen.len()))
}
