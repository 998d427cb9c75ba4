//! RFC 8489 §5, §6.3, §7: the form of messages, and what meets silence.

use super::Probe;
use super::Transport;
use super::client::{Client, expect, stranger, udp_allocation};
use super::outcome::{Check, Finding, Outcome, must, need, not_testable, should};
use super::raw::{ALLOCATE, BINDING, CHANNEL_BIND, CONNECTION_ATTEMPT, Class, DATA, Raw, Received, SEND};
use crate::wire::{AttributeType, attr};

/// Comprehension-required, and of no RFC.
const UNKNOWN_REQUIRED: AttributeType = AttributeType(0x7F31);
const UNKNOWN_REQUIRED_TOO: AttributeType = AttributeType(0x7F32);
const UNKNOWN_REQUIRED_THIRD: AttributeType = AttributeType(0x3F33);
/// Comprehension-optional, and of no RFC.
const UNKNOWN_OPTIONAL: AttributeType = AttributeType(0xFF31);

pub(super) const CHECKS: &[Check] = &[
    must("binding-success", "8489 §12", "A Binding request gets a success", |p| {
        let answer = binding(p)?;
        need(answer.is(BINDING, Class::Success), format!("a message of type {:#06x}", answer.kind()))
    }),
    must("binding-tcp", "8489 §12", "Binding is served over TCP as over UDP", |p| {
        expect(&Client::stream(p)?.ask(&Raw::request(BINDING))?, 0)
    }),
    must(
        "binding-mapped-address",
        "8489 §6.3.1.1",
        "XOR-MAPPED-ADDRESS holds the source of the request",
        |p| {
            let mut client = Client::open(p)?;
            let answer = client.ask(&Raw::request(BINDING))?;
            let mapped = answer.xor_address(attr::XOR_MAPPED_ADDRESS);
            let mapped = mapped.ok_or_else(|| Finding::Fail("no readable XOR-MAPPED-ADDRESS".to_owned()))?;
            let local = client.link.local().ok();
            match (local, p.survey.is_direct) {
                (Some(local), true) => need(mapped == local, format!("{mapped} for {local}")),
                _ => need(
                    Some(mapped.ip()) == p.survey.mapped.map(|mapped| mapped.ip()),
                    format!("{mapped}, then another address"),
                ),
            }
        },
    ),
    must(
        "binding-transaction-id",
        "8489 §5",
        "An answer repeats the transaction id, whatever its bits",
        |p| {
            [[0; 12], [0xFF; 12], *b"\x21\x12\xA4\x42abcdefgh"]
                .into_iter()
                .try_for_each(|id| expect(&Client::open(p)?.ask(&Raw::request(BINDING).id(id))?, 0))
        },
    ),
    must(
        "binding-repeated",
        "8489 §6.3.1",
        "A request that comes again leaves the same state and gets the same success",
        |p| {
            let (mut client, request) = (Client::open(p)?, Raw::request(BINDING));
            let (first, second) = (client.ask(&request)?, client.ask(&request)?);
            need(
                first.xor_address(attr::XOR_MAPPED_ADDRESS) == second.xor_address(attr::XOR_MAPPED_ADDRESS),
                "another address the second time",
            )
        },
    ),
    must(
        "answer-from-where-it-was-sent",
        "8489 §6.3.1.2",
        "The answer comes from the address that the request was sent to",
        |p| {
            let socket = std::net::UdpSocket::bind(crate::probe::any_address(p.server))
                .and_then(|socket| socket.set_read_timeout(Some(p.limit)).map(|()| socket));
            let (Transport::Udp, Ok(socket)) = (p.transport, socket) else {
                return not_testable("is about datagrams");
            };
            let _ = socket.send_to(Raw::request(BINDING).bytes(), p.server);
            let (_, from) = super::pair::receive(&socket)?;
            need(from == p.server, format!("it came from {from}"))
        },
    ),
    should("software", "8489 §6.3.1.1", "Answers have SOFTWARE", |p| {
        need(binding(p)?.has(attr::SOFTWARE), "there is none")
    }),
    must(
        "software-form",
        "8489 §14.14",
        "SOFTWARE is UTF-8 of fewer than 128 characters",
        |p| match binding(p)?.get(attr::SOFTWARE).map(std::str::from_utf8) {
            None => Ok(()),
            Some(Ok(text)) => need(text.chars().count() < 128, "it is longer"),
            Some(Err(_)) => need(false, "it is no UTF-8"),
        },
    ),
    should("padding-of-answers", "8489 §14", "Padding in answers is zero", |p| {
        let challenge = Client::open(p)?.ask(&stranger(ALLOCATE))?;
        need(binding(p)?.is_padded_with_zeroes && challenge.is_padded_with_zeroes, "it is not")
    }),
    must("first-bits", "8489 §5", "A message whose first two bits are not zero is not answered", |p| {
        [0x8001, 0xC001].into_iter().try_for_each(|kind| silent(p, Raw::request(BINDING).typed(kind)))
    }),
    must(
        "wrong-cookie",
        "8489 §6.3",
        "A message with another cookie is not answered as RFC 8489 has it",
        |p| {
            let request = Raw::request(BINDING).cookie([0x21, 0x12, 0xA4, 0x43]);
            let mut client = Client::open(p)?;
            client.send(request.bytes())?;
            client.fence()?;
            let is_modern =
                client.inbox.iter().any(|frame| frame.get(4..8) == Some(&[0x21, 0x12, 0xA4, 0x42]));
            need(!is_modern, "answered with the right cookie")
        },
    ),
    must(
        "turn-without-cookie",
        "8656 §5",
        "No TURN method is served without the cookie, as RFC 3489 had it",
        |p| silent(p, udp_allocation().cookie([1, 2, 3, 4])),
    ),
    should(
        "rfc3489-binding",
        "8489 §12",
        "A Binding without the cookie (RFC 3489) is answered with MAPPED-ADDRESS",
        |p| {
            let request = Raw::request(BINDING).cookie([1, 2, 3, 4]);
            let mut client = Client::open(p)?;
            client.send(request.bytes())?;
            client.fence()?;
            let is_old =
                |frame: &Vec<u8>| frame.get(..2) == Some(&[1, 1]) && frame.get(4..8) == Some(&[1, 2, 3, 4]);
            need(client.inbox.iter().any(is_old), "no answer")
        },
    ),
    must(
        "length-not-multiple-of-four",
        "8489 §5",
        "A length that is no multiple of four is not answered",
        |p| datagram_silent(p, &[Raw::request(BINDING).bytes(), &[0, 0]].concat(), Some(2)),
    ),
    must("length-beyond-datagram", "8489 §6.3", "A length greater than the datagram is not answered", |p| {
        datagram_silent(p, Raw::request(BINDING).bytes(), Some(4))
    }),
    should(
        "length-below-datagram",
        "8489 §6.3",
        "A length smaller than the datagram is not sensible, and not answered",
        |p| datagram_silent(p, &[Raw::request(BINDING).bytes(), &[0x80, 0x22, 0, 0]].concat(), None),
    ),
    must(
        "short-datagrams",
        "8489 §5",
        "Datagrams of 0, 1, 4 and 19 bytes are not answered and harm nothing",
        |p| {
            [0, 1, 4, 19].into_iter().try_for_each(|length| {
                datagram_silent(p, Raw::request(BINDING).bytes().get(..length).unwrap_or_default(), None)
            })
        },
    ),
    must(
        "attribute-beyond-end",
        "8489 §14",
        "An attribute that reaches behind the end is not answered with success",
        |p| {
            let request = Raw::request(BINDING).attr_lying(attr::SOFTWARE, 9, b"1234");
            match Client::open(p)?.ask_or_silence_behind(&request)? {
                Some(answer) => need(answer.is_error(), "success"),
                None => Ok(()),
            }
        },
    ),
    must(
        "attribute-of-65535",
        "8489 §14",
        "An attribute that says 65535 bytes is not answered with success",
        |p| {
            let request = Raw::request(BINDING).attr_lying(attr::SOFTWARE, 0xFFFF, &[]);
            match Client::open(p)?.ask_or_silence_behind(&request)? {
                Some(answer) => need(answer.is_error(), "success"),
                None => Ok(()),
            }
        },
    ),
    must("unknown-method", "8489 §6.3", "A request of an unknown method is silently discarded", |p| {
        silent(p, Raw::request(0x0FF))
    }),
    must("unknown-method-high", "8489 §6.3", "So is one whose method has high bits set", |p| {
        silent(p, Raw::request(0xF81))
    }),
    must("reserved-method-zero", "8489 §6.3", "So is one of method 0", |p| silent(p, Raw::request(0x000))),
    must("shared-secret-method", "8489 §6.3", "So is the Shared Secret request of RFC 3489", |p| {
        silent(p, Raw::request(0x002))
    }),
    must("response-to-server", "8489 §6.3", "Responses to no request are silently discarded", |p| {
        [Class::Success, Class::Error].into_iter().try_for_each(|class| silent(p, Raw::new(BINDING, class)))
    }),
    must("allocate-response-to-server", "8489 §6.3", "So are Allocate responses", |p| {
        [Class::Success, Class::Error].into_iter().try_for_each(|class| silent(p, Raw::new(ALLOCATE, class)))
    }),
    must(
        "allocate-indication",
        "8489 §6.3",
        "An indication of a request method is silently discarded",
        |p| [ALLOCATE, CHANNEL_BIND].into_iter().try_for_each(|method| silent(p, Raw::indication(method))),
    ),
    must("send-request", "8489 §6.3", "A request of an indication method is silently discarded", |p| {
        [SEND, DATA].into_iter().try_for_each(|method| silent(p, Raw::request(method)))
    }),
    must("connection-attempt-request", "8489 §6.3", "So is a ConnectionAttempt request", |p| {
        silent(p, Raw::request(CONNECTION_ATTEMPT))
    }),
    must("data-from-client", "8489 §6.3", "A Data indication of a client is silently discarded", |p| {
        silent(p, Raw::indication(DATA))
    }),
    must("binding-indication", "8489 §6.3.2", "A Binding indication is not answered", |p| {
        silent(p, Raw::indication(BINDING))
    }),
    must(
        "indication-unknown-required",
        "8489 §6.3.2",
        "An indication with an unknown required attribute is not answered",
        |p| silent(p, Raw::indication(BINDING).attr(UNKNOWN_REQUIRED, b"1234")),
    ),
    must(
        "unknown-required-420",
        "8489 §6.3.1",
        "An unknown comprehension-required attribute gets 420",
        |p| expect(&Client::open(p)?.ask(&Raw::request(BINDING).attr(UNKNOWN_REQUIRED, b"1234"))?, 420),
    ),
    must("unknown-required-list", "8489 §6.3.1.1", "420 lists the unknown attributes", |p| {
        unknown(p, &[UNKNOWN_REQUIRED])
    }),
    must("unknown-required-list-of-two", "8489 §14.13", "420 lists two of them", |p| {
        unknown(p, &[UNKNOWN_REQUIRED, UNKNOWN_REQUIRED_TOO])
    }),
    must(
        "unknown-required-list-of-three",
        "8489 §14.13",
        "420 lists three of them, padded by the common rule",
        |p| unknown(p, &[UNKNOWN_REQUIRED, UNKNOWN_REQUIRED_TOO, UNKNOWN_REQUIRED_THIRD]),
    ),
    must("unknown-beside-optional", "8489 §6.3.1", "420 does not list unknown optional attributes", |p| {
        let request = Raw::request(BINDING).attr(UNKNOWN_OPTIONAL, b"").attr(UNKNOWN_REQUIRED, b"");
        listed(&Client::open(p)?.ask(&request)?, &[UNKNOWN_REQUIRED])
    }),
    must("unknown-optional", "8489 §6.3", "Unknown comprehension-optional attributes are ignored", |p| {
        let request = Raw::request(BINDING).attr(UNKNOWN_OPTIONAL, b"12345").attr(AttributeType(0xC0DE), b"");
        expect(&Client::open(p)?.ask(&request)?, 0)
    }),
    must("many-optional", "8489 §6.3", "So are a hundred of them", |p| {
        let request = (0..100).fold(Raw::request(BINDING), |raw, _| raw.attr(UNKNOWN_OPTIONAL, b"1"));
        expect(&Client::open(p)?.ask(&request)?, 0)
    }),
    should(
        "known-unexpected",
        "8489 §6.3",
        "Known attributes that do not belong into a request are ignored",
        |p| {
            let request = Raw::request(BINDING)
                .attr(attr::ERROR_CODE, &[0, 0, 4, 0])
                .attr(attr::UNKNOWN_ATTRIBUTES, &[0, 1])
                .xor_address(attr::XOR_MAPPED_ADDRESS, p.server)
                .attr(attr::REALM, b"elsewhere");
            expect(&Client::open(p)?.ask(&request)?, 0)
        },
    ),
    must(
        "fingerprint-right",
        "8489 §7",
        "A request with FINGERPRINT is answered, and one in the answer is right",
        |p| expect(&Client::open(p)?.ask(&Raw::request(BINDING).fingerprint())?, 0),
    ),
    must("fingerprint-wrong", "8489 §6.3", "A wrong FINGERPRINT meets silence", |p| {
        silent(p, Raw::request(BINDING).fingerprint().flipped(27))
    }),
    must(
        "fingerprint-wrong-before-401",
        "8489 §6.3",
        "It meets silence where a challenge would come otherwise",
        |p| silent(p, udp_allocation().fingerprint().flipped(35)),
    ),
    must("fingerprint-not-required", "8489 §12", "FINGERPRINT is not required", |p| expect(&binding(p)?, 0)),
    should(
        "fingerprint-not-last",
        "8489 §14.7",
        "FINGERPRINT that is not last is no right FINGERPRINT",
        |p| silent(p, Raw::request(BINDING).fingerprint().attr(attr::SOFTWARE, b"behind")),
    ),
    should("fingerprint-short", "8489 §14.7", "FINGERPRINT of two bytes is no right FINGERPRINT", |p| {
        silent(p, Raw::request(BINDING).attr(attr::FINGERPRINT, &[1, 2]))
    }),
    should("binding-no-login", "8489 §12", "Binding needs no login", |p| expect(&binding(p)?, 0)),
    should("binding-no-redirect", "8489 §12", "Binding is not redirected", |p| {
        need(binding(p)?.code() != 300, "300 Try Alternate")
    }),
    must(
        "error-code-form",
        "8489 §14.8",
        "ERROR-CODE has zeroes in its reserved bits, a class of 3 to 6 and a number below 100",
        |p| {
            let answer = Client::open(p)?.ask(&Raw::request(BINDING).attr(UNKNOWN_REQUIRED, b""))?;
            match answer.get(attr::ERROR_CODE) {
                Some([0, 0, 3..=6, 0..=99, ..]) => Ok(()),
                other => need(false, format!("it is {other:02x?}")),
            }
        },
    ),
    must(
        "error-reason-form",
        "8489 §14.8",
        "The reason phrase is UTF-8 of fewer than 128 characters, without stray NULs",
        |p| {
            let answer = Client::open(p)?.ask(&stranger(ALLOCATE))?;
            let reason = answer.get(attr::ERROR_CODE).and_then(|value| value.get(4..)).unwrap_or_default();
            match std::str::from_utf8(reason) {
                Ok(text) => {
                    need(text.chars().count() < 128 && !text.contains('\0'), format!("it is {text:?}"))
                }
                Err(_) => need(false, "it is no UTF-8"),
            }
        },
    ),
    should("error-reason", "8489 §6.3.1.1", "An error has a fitting reason phrase", |p| {
        let answer = Client::open(p)?.ask(&Raw::request(BINDING).attr(UNKNOWN_REQUIRED, b""))?;
        need(answer.get(attr::ERROR_CODE).is_some_and(|value| value.len() > 4), "it is empty")
    }),
];

/// A Binding request that is answered, with whatever.
fn binding(p: &Probe) -> Result<Received, Finding> {
    Client::open(p)?.ask(&Raw::request(BINDING))
}

fn silent(p: &Probe, raw: Raw) -> Outcome {
    Client::open(p)?.silence(raw.bytes())
}

/// `bytes` with another message length, over UDP: on a stream they would only be the first part of something.
fn datagram_silent(p: &Probe, bytes: &[u8], length: Option<u8>) -> Outcome {
    if p.transport != Transport::Udp {
        return not_testable("is about datagrams");
    }
    let mut bytes = bytes.to_vec();
    if let (Some(length), Some(place)) = (length, bytes.get_mut(3)) {
        *place = length;
    }
    Client::open(p)?.silence(&bytes)
}

fn unknown(p: &Probe, kinds: &[AttributeType]) -> Outcome {
    let request = kinds.iter().fold(Raw::request(BINDING), |raw, kind| raw.attr(*kind, b"12345"));
    listed(&Client::open(p)?.ask(&request)?, kinds)
}

/// Whether UNKNOWN-ATTRIBUTES lists exactly these.
pub(super) fn listed(answer: &Received, kinds: &[AttributeType]) -> Outcome {
    expect(answer, 420)?;
    let list = answer.get(attr::UNKNOWN_ATTRIBUTES);
    let Some(list) = list else { return need(false, "UNKNOWN-ATTRIBUTES is missing") };
    let wanted: Vec<u8> = kinds.iter().flat_map(|kind| kind.0.to_be_bytes()).collect();
    need(list == wanted, format!("it lists {list:02x?} instead of {wanted:02x?}"))
}
