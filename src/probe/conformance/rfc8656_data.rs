//! RFC 8656 §11: Send and Data indications.

use std::net::SocketAddr;
use std::time::Duration;

use super::Probe;
use super::client::{Client, udp_allocation};
use super::link::Arrival;
use super::outcome::{Check, Finding, Outcome, fail, must, need, not_testable};
use super::pair::{Pair, receive, socket};
use super::raw::{Class, DATA, Raw, Received, SEND};
use super::rfc8656_permissions::other_family;
use crate::wire::{AttributeType, attr};

/// How long an ICMP error may take to come back before the closed port is tried again.
const ICMP_PATIENCE: Duration = Duration::from_millis(500);
/// How often a closed port is tried: for longer than three seconds, since Linux sends one ICMP error a second to each
/// host once the first few are spent.
const ICMP_ROUNDS: usize = 8;
const ICMP_LIMITED: &str = "nothing came, but this machine, whose closed port it is, may limit ICMP \
                            (net.ipv4.icmp_ratelimit)";

pub(super) const CHECKS: &[Check] = &[
    must(
        "send-reaches-peer",
        "8656 §11.2",
        "Data of a Send indication reach the peer, from the relayed address",
        |p| Pair::open(p)?.carries(b"hello"),
    ),
    must(
        "send-all-lengths",
        "8656 §11.2",
        "Data of 1 to 9, 100 and 1200 bytes arrive as they are, without padding",
        |p| {
            let mut pair = Pair::open(p)?;
            (1..10).chain([100, 1200]).try_for_each(|length| pair.carries(&vec![0xA5; length]))
        },
    ),
    must("send-no-bytes", "8656 §11.2", "No bytes of data are relayed too", |p| Pair::open(p)?.carries(b"")),
    must("send-any-order", "8656 §11.2", "DATA may stand before XOR-PEER-ADDRESS", |p| {
        let mut pair = Pair::open(p)?;
        let raw =
            Raw::indication(SEND).attr(attr::DATA, b"first").xor_address(attr::XOR_PEER_ADDRESS, pair.peer);
        pair.client.send(raw.bytes())?;
        let heard = pair.peer_hears()?;
        need(heard == b"first", "other data arrived")
    }),
    must("send-without-permission", "8656 §11.2", "Without a permission the data are discarded", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.say(pair.peer, b"unpermitted")?;
        pair.nothing_went_before()
    }),
    must("send-makes-no-permission", "8656 §11.2", "A Send makes no permission", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.say(pair.peer, b"unpermitted")?;
        pair.client.fence()?;
        pair.peer_says(b"unpermitted too")?;
        pair.nothing_came_before()
    }),
    must("send-without-data", "8656 §11.2", "A Send without DATA is discarded", |p| {
        discarded(p, |pair| Raw::indication(SEND).xor_address(attr::XOR_PEER_ADDRESS, pair.peer))
    }),
    must("send-without-peer", "8656 §11.2", "A Send without XOR-PEER-ADDRESS is discarded", |p| {
        discarded(p, |_| Raw::indication(SEND).attr(attr::DATA, b"to nobody"))
    }),
    must(
        "send-malformed-peer",
        "8656 §11.2",
        "A Send with a malformed XOR-PEER-ADDRESS is discarded",
        |p| {
            let wrong: [&[u8]; 5] =
                [&[], &[0, 1], &[0, 1, 0, 9, 1, 2, 3], &[0, 9, 0, 9, 1, 2, 3, 4], &[0, 2, 0, 9, 1, 2, 3, 4]];
            wrong.into_iter().try_for_each(|value| {
                discarded(p, |_| {
                    Raw::indication(SEND).attr(attr::XOR_PEER_ADDRESS, value).attr(attr::DATA, b"lost")
                })
            })
        },
    ),
    must("send-other-family", "8656 §11.2", "A Send to a peer of another family is discarded", |p| {
        discarded(p, |pair| {
            Raw::indication(SEND)
                .xor_address(attr::XOR_PEER_ADDRESS, other_family(pair.relayed))
                .attr(attr::DATA, b"lost")
        })
    }),
    must(
        "send-unknown-required",
        "8489 §6.3.2",
        "A Send with an unknown required attribute is discarded",
        |p| discarded(p, |pair| to_peer(pair).attr(AttributeType(0x7F31), b"")),
    ),
    must("send-unknown-optional", "8489 §6.3", "One with an unknown optional attribute is relayed", |p| {
        let mut pair = Pair::open(p)?;
        pair.client.send(to_peer(&pair).attr(AttributeType(0xFF31), b"x").bytes())?;
        pair.peer_hears().map(|_| ())
    }),
    must("send-fingerprint", "8489 §7", "One with FINGERPRINT is relayed", |p| {
        let mut pair = Pair::open(p)?;
        pair.client.send(to_peer(&pair).fingerprint().bytes())?;
        pair.peer_hears().map(|_| ())
    }),
    must("send-fingerprint-wrong", "8489 §6.3", "One with a wrong FINGERPRINT is discarded", |p| {
        discarded(p, |pair| {
            let raw = to_peer(pair).fingerprint();
            let last = raw.bytes().len() - 1;
            raw.flipped(last)
        })
    }),
    must(
        "send-dont-fragment",
        "8656 §11.2",
        "DONT-FRAGMENT is obeyed or an unknown attribute, as in Allocate",
        |p| {
            let answer = Client::open(p)?.login()?.call(udp_allocation().attr(attr::DONT_FRAGMENT, &[]))?;
            let mut pair = Pair::open(p)?;
            let raw = to_peer(&pair).attr(attr::DONT_FRAGMENT, &[]);
            pair.client.send(raw.bytes())?;
            if answer.code() == 420 { pair.nothing_went_before() } else { pair.peer_hears().map(|_| ()) }
        },
    ),
    must("send-unanswered", "8656 §11.2", "Nothing is answered to a Send, good or bad", |p| {
        let mut pair = Pair::open(p)?;
        let good = to_peer(&pair);
        pair.client.silence(good.bytes())?;
        pair.client.silence(Raw::indication(SEND).bytes())?;
        pair.client
            .silence(Raw::indication(SEND).attr(attr::XOR_PEER_ADDRESS, &[1]).attr(attr::DATA, b"x").bytes())
    }),
    must("send-without-allocation", "8656 §5", "A Send without an allocation meets silence", |p| {
        let raw = Raw::indication(SEND).xor_address(attr::XOR_PEER_ADDRESS, p.server).attr(attr::DATA, b"x");
        Client::open(p)?.silence(raw.bytes())
    }),
    must(
        "data-indication",
        "8656 §11.3",
        "What a peer sends comes in a Data indication with XOR-PEER-ADDRESS and DATA",
        |p| {
            let mut pair = Pair::open(p)?;
            pair.peer_says(b"hello")?;
            let heard = pair.client.hear()?;
            let message = Received::parse(&heard.frame).map_err(Finding::Fail)?;
            need(message.is(DATA, Class::Indication), "it is another message")?;
            need(
                heard.from == Ok(pair.peer) && heard.data == b"hello",
                format!("{:?} from {:?}", heard.data, heard.from),
            )
        },
    ),
    must(
        "data-all-lengths",
        "8656 §11.3",
        "Data of 0 to 9, 100 and 1200 bytes come as they were sent",
        |p| {
            let mut pair = Pair::open(p)?;
            (0..10).chain([100, 1200]).try_for_each(|length| {
                pair.peer_says(&vec![0x5A; length])?;
                let heard = pair.client.hear()?.data.len();
                need(heard == length, format!("{length} bytes were sent, {heard} came"))
            })
        },
    ),
    must("data-padding", "8489 §14", "Padding in Data indications is zero", |p| {
        let mut pair = Pair::open(p)?;
        pair.peer_says(b"12345")?;
        let message = Received::parse(&pair.client.hear()?.frame).map_err(Finding::Fail)?;
        need(message.is_padded_with_zeroes, "it is not")
    }),
    must("data-transaction-ids", "8489 §5", "Data indications have transaction ids of their own", |p| {
        let mut pair = Pair::open(p)?;
        pair.peer_says(b"1")?;
        let one = pair.client.hear()?.frame;
        pair.peer_says(b"2")?;
        let two = pair.client.hear()?.frame;
        need(super::raw::transaction(&one) != super::raw::transaction(&two), "they are the same")
    }),
    must("data-without-permission", "8656 §9", "What a peer without a permission sends is discarded", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.peer_says(b"unpermitted")?;
        pair.nothing_came_before()
    }),
    must(
        "send-to-socket",
        "8656 §11.2",
        "A peer that is a plain socket sees the relayed address as the source",
        |p| {
            let (socket, peer) = socket(p)?;
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            client.permit(peer)?;
            client.say(peer, b"hello")?;
            let (data, from) = receive(&socket)?;
            need(data == b"hello" && from == relayed, format!("{data:?} from {from}, not from {relayed}"))
        },
    ),
    must("data-from-socket", "8656 §11.3", "What it sends back comes from its own address", |p| {
        let (socket, peer) = socket(p)?;
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.permit(peer)?;
        socket.send_to(b"hello", relayed).map_err(|error| Finding::NotTestable(error.to_string()))?;
        let heard = client.hear()?;
        need(heard.from == Ok(peer), format!("{:?}", heard.from))
    }),
    must(
        "icmp-unreachable",
        "8656 §11.5",
        "A port that is closed comes back as a Data indication with ICMP, type 3, code 3",
        |p| {
            let (mut client, closed) = to_closed_port(p)?;
            icmp(&mut client, closed, |client| client.say(closed, b"nobody is there"))
        },
    )
    .alone(),
    must("icmp-despite-channel", "8656 §12.5", "With a channel too it is a Data indication", |p| {
        let (mut client, closed) = to_closed_port(p)?;
        client.bind(0x4000, closed)?;
        icmp(&mut client, closed, |client| client.say_by_channel(0x4000, b"nobody is there"))
    })
    .alone(),
];

fn to_peer(pair: &Pair<'_>) -> Raw {
    Raw::indication(SEND).xor_address(attr::XOR_PEER_ADDRESS, pair.peer).attr(attr::DATA, b"data")
}

/// What is sent must not arrive at the peer, which has a permission.
fn discarded(p: &Probe, write: impl Fn(&Pair<'_>) -> Raw) -> Outcome {
    let mut pair = Pair::open(p)?;
    let raw = write(&pair);
    pair.client.send(raw.bytes())?;
    pair.nothing_went_before()
}

/// An allocation with a permission for a port of this machine that nobody listens on.
fn to_closed_port(p: &Probe) -> Result<(Client<'_>, SocketAddr), Finding> {
    let (socket, closed) = socket(p)?;
    drop(socket);
    let (mut client, relayed) = Client::open(p)?.allocate()?;
    if !relayed.is_ipv4() {
        return not_testable("the relayed address is IPv6");
    }
    client.permit(closed)?;
    Ok((client, closed))
}

/// A Data indication that tells of a closed port, each time `say` sends something there until one comes.
fn icmp<'a>(
    client: &mut Client<'a>,
    closed: SocketAddr,
    mut say: impl FnMut(&mut Client<'a>) -> Outcome,
) -> Outcome {
    for _ in 0..ICMP_ROUNDS {
        say(client)?;
        match client.link.receive(ICMP_PATIENCE) {
            Arrival::Frame(frame) => return tells_of(closed, &frame),
            Arrival::Nothing => {}
            Arrival::End => return fail("the server closed the stream"),
        }
    }
    not_testable(ICMP_LIMITED)
}

fn tells_of(closed: SocketAddr, frame: &[u8]) -> Outcome {
    let message = Received::parse(frame).map_err(Finding::Fail)?;
    need(message.is(DATA, Class::Indication), "another message came")?;
    need(
        message.get(attr::ICMP) == Some(&[0, 0, 3, 3, 0, 0, 0, 0]),
        format!("ICMP is {:02x?}", message.get(attr::ICMP)),
    )?;
    let peer = message.xor_address(attr::XOR_PEER_ADDRESS);
    need(
        peer.is_some_and(|peer| peer.ip() == closed.ip() && [0, closed.port()].contains(&peer.port())),
        format!("XOR-PEER-ADDRESS is {peer:?}"),
    )
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::Secret;
    use crate::probe::conformance::{Transport, survey::Survey};

    /// What the check comes to when a server that has heard of a closed port so many times says this.
    fn verdict(of_the: usize, answer: fn(SocketAddr) -> Option<Raw>) -> Outcome {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = "192.0.2.9:9".parse().unwrap();
        let probe = Probe {
            server: server.local_addr().unwrap(),
            transport: Transport::Udp,
            username: String::new(),
            password: Secret::new(String::new()),
            other_user: None,
            limit: Duration::from_secs(1),
            tls: None,
            survey: Survey::default(),
        };
        let mut client = Client::open(&probe).unwrap();
        let mut heard = 0;
        icmp(&mut client, closed, |client| {
            client.say(closed, b"nobody is there")?;
            let (_, from) = server.recv_from(&mut [0; 1500]).unwrap();
            heard += 1;
            if let Some(raw) = answer(closed).filter(|_| heard == of_the) {
                server.send_to(raw.bytes(), from).unwrap();
            }
            Ok(())
        })
    }

    fn told(closed: SocketAddr, code: u8) -> Option<Raw> {
        let raw = Raw::indication(DATA).xor_address(attr::XOR_PEER_ADDRESS, closed);
        Some(raw.attr(attr::ICMP, &[0, 0, 3, code, 0, 0, 0, 0]))
    }

    #[test]
    fn silence_of_icmp_may_be_this_machines_own_and_a_wrong_form_is_not() {
        assert_eq!(verdict(2, |closed| told(closed, 3)), Ok(()), "the first was lost");
        let wrong = verdict(2, |closed| told(closed, 1));
        assert!(matches!(&wrong, Err(Finding::Fail(seen)) if seen.contains("03, 01")), "{wrong:?}");
        let other = verdict(1, |closed| Some(to_closed(closed)));
        assert_eq!(other, fail("another message came"));
        let nothing = verdict(0, |_| None);
        assert!(
            matches!(&nothing, Err(Finding::NotTestable(why)) if why.contains("net.ipv4.icmp_ratelimit")),
            "{nothing:?}"
        );
        assert!(ICMP_PATIENCE * u32::try_from(ICMP_ROUNDS).unwrap() > Duration::from_secs(3));
    }

    fn to_closed(closed: SocketAddr) -> Raw {
        Raw::indication(SEND).xor_address(attr::XOR_PEER_ADDRESS, closed)
    }

    #[test]
    fn what_other_checks_would_hide_runs_alone() {
        let alone: Vec<&str> = CHECKS.iter().filter(|check| check.alone).map(|check| check.id).collect();
        assert_eq!(alone, ["icmp-unreachable", "icmp-despite-channel"]);
    }
}
