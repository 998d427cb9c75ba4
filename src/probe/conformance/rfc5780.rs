//! RFC 5780: NAT behaviour discovery, where it is offered; and 420 for its attributes where it is not.

use std::net::{SocketAddr, UdpSocket};

use super::client::{Client, expect};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered, not_testable, should};
use super::raw::{BINDING, Raw, Received};
use super::rfc8489_form::listed;
use super::{Probe, Transport};
use crate::wire::attr;

const CHANGE_IP: [u8; 4] = [0, 0, 0, 4];
const CHANGE_PORT: [u8; 4] = [0, 0, 0, 2];
const CHANGE_BOTH: [u8; 4] = [0, 0, 0, 6];
const CHANGE_NOTHING: [u8; 4] = [0; 4];

pub(super) const CHECKS: &[Check] = &[
    must(
        "change-request-420",
        "5780 §6.1",
        "Who has no second address answers CHANGE-REQUEST with 420 and its type",
        |p| {
            if p.survey.has_nat_discovery {
                return not_offered("NAT discovery is offered: see the other checks");
            }
            let answer =
                Client::open(p)?.ask(&Raw::request(BINDING).attr(attr::CHANGE_REQUEST, &CHANGE_BOTH))?;
            listed(&answer, &[attr::CHANGE_REQUEST])
        },
    ),
    must(
        "other-address-second-ip",
        "5780 §7.4",
        "OTHER-ADDRESS has another address and another port",
        |p| {
            let other = other(p)?;
            need(other.ip() != p.server.ip() && other.port() != p.server.port(), format!("it is {other}"))
        },
    ),
    must("response-origin", "5780 §6.1", "RESPONSE-ORIGIN is where the answer came from", |p| {
        let (answer, from) = ask(p, p.server, Raw::request(BINDING))?;
        need(
            answer.address(attr::RESPONSE_ORIGIN) == Some(from),
            format!("{:?} from {from}", answer.address(attr::RESPONSE_ORIGIN)),
        )
    }),
    must(
        "both-mapped-addresses",
        "5780 §6.1",
        "MAPPED-ADDRESS and XOR-MAPPED-ADDRESS are both there and agree",
        |p| {
            let (answer, _) = ask(p, p.server, Raw::request(BINDING))?;
            let both = (answer.address(attr::MAPPED_ADDRESS), answer.xor_address(attr::XOR_MAPPED_ADDRESS));
            need(both.0.is_some() && both.0 == both.1, format!("{both:?}"))
        },
    ),
    must(
        "change-nothing",
        "5780 §6.1",
        "CHANGE-REQUEST without flags is answered from where it was sent",
        |p| changed(p, CHANGE_NOTHING, |server, _| server),
    ),
    must("change-port", "5780 §6.1", "Change port: answered from the other port", |p| {
        changed(p, CHANGE_PORT, |server, other| SocketAddr::new(server.ip(), other.port()))
    }),
    must("change-ip", "5780 §6.1", "Change IP: answered from the other address", |p| {
        changed(p, CHANGE_IP, |server, other| SocketAddr::new(other.ip(), server.port()))
    }),
    must("change-both", "5780 §6.1", "Both: answered from OTHER-ADDRESS", |p| {
        changed(p, CHANGE_BOTH, |_, other| other)
    }),
    must(
        "other-address-is-relative",
        "5780 §6.1",
        "OTHER-ADDRESS of the other address is the first one",
        |p| {
            let other = other(p)?;
            let (answer, _) = ask(p, other, Raw::request(BINDING))?;
            need(
                answer.address(attr::OTHER_ADDRESS) == Some(p.server),
                format!("{:?}", answer.address(attr::OTHER_ADDRESS)),
            )
        },
    ),
    should(
        "change-request-malformed",
        "5780 §7.2",
        "A CHANGE-REQUEST that has not four bytes gets no success",
        |p| {
            other(p)?;
            let answer = Client::open(p)?.ask(&Raw::request(BINDING).attr(attr::CHANGE_REQUEST, &[0, 4]))?;
            need(answer.is_error(), "success")
        },
    ),
    must(
        "response-port",
        "5780 §7.5",
        "RESPONSE-PORT sends the answer to this port, or is an unknown attribute",
        |p| {
            other(p)?;
            let Ok(socket) = UdpSocket::bind(crate::probe::any_address(p.server)) else {
                return not_testable("no socket");
            };
            let _ = socket.set_read_timeout(Some(p.limit));
            let [high, low] = socket.local_addr().map_or(0, |address| address.port()).to_be_bytes();
            let mut client = Client::open(p)?;
            let request = Raw::request(BINDING).attr(attr::RESPONSE_PORT, &[high, low, 0, 0]);
            match client.ask_or_silence_behind(&request)? {
                Some(answer) => listed(&answer, &[attr::RESPONSE_PORT]),
                None => super::pair::receive(&socket).map(|_| ()),
            }
        },
    ),
    must("response-port-and-padding", "5780 §6.1", "RESPONSE-PORT with PADDING gets 400", |p| {
        other(p)?;
        let request =
            Raw::request(BINDING).attr(attr::RESPONSE_PORT, &[1, 2, 0, 0]).attr(attr::PADDING, &[0; 64]);
        expect(&Client::open(p)?.ask(&request)?, 400)
    }),
    must("padding", "5780 §6.1", "PADDING in the request gets PADDING in the answer", |p| {
        let (answer, _) = ask(p, p.server, Raw::request(BINDING).attr(attr::PADDING, &[0; 1500]))?;
        need(answer.has(attr::PADDING), "there is none")
    }),
    must(
        "no-alternate-server",
        "5780 §6.1",
        "ALTERNATE-SERVER does not stand beside these attributes",
        |p| {
            let (answer, _) = ask(p, p.server, Raw::request(BINDING))?;
            need(!answer.has(attr::ALTERNATE_SERVER), "it does")
        },
    ),
];

fn other(p: &Probe) -> Result<SocketAddr, Finding> {
    if !p.survey.has_nat_discovery {
        return not_offered("a Binding success has no OTHER-ADDRESS");
    }
    if p.transport != Transport::Udp {
        return not_testable("is about datagrams");
    }
    let answer = Client::open(p)?.ask(&Raw::request(BINDING))?;
    let other = answer.address(attr::OTHER_ADDRESS);
    other.ok_or_else(|| Finding::Fail("OTHER-ADDRESS cannot be read".to_owned()))
}

/// Asks from a socket that takes answers from anywhere.
fn ask(p: &Probe, server: SocketAddr, request: Raw) -> Result<(Received, SocketAddr), Finding> {
    other(p)?;
    let socket = UdpSocket::bind(crate::probe::any_address(server)).and_then(|socket| {
        socket.set_read_timeout(Some(p.limit))?;
        socket.send_to(request.bytes(), server).map(|_| socket)
    });
    let socket = socket.map_err(|error| Finding::NotTestable(error.to_string()))?;
    let (bytes, from) = super::pair::receive(&socket)
        .map_err(|_| Finding::Fail("no answer; a NAT or firewall here may have kept it".to_owned()))?;
    Ok((Received::parse(&bytes).map_err(Finding::Fail)?, from))
}

fn changed(p: &Probe, flags: [u8; 4], wanted: impl Fn(SocketAddr, SocketAddr) -> SocketAddr) -> Outcome {
    let other = other(p)?;
    if flags != CHANGE_NOTHING && !p.survey.is_direct {
        return not_testable("a NAT is between, which may keep the answer");
    }
    let (answer, from) = ask(p, p.server, Raw::request(BINDING).attr(attr::CHANGE_REQUEST, &flags))?;
    expect(&answer, 0)?;
    need(from == wanted(p.server, other), format!("it came from {from}"))?;
    need(answer.address(attr::OTHER_ADDRESS) == Some(other), "OTHER-ADDRESS has changed")?;
    need(answer.address(attr::RESPONSE_ORIGIN) == Some(from), "RESPONSE-ORIGIN is another address")
}
