//! RFC 8489 §6.2.2 and RFC 8656 §12.5: what is special on TCP and TLS. On a `udp` URI TCP on the same port is looked at.

use std::time::Duration;

use super::Probe;
use super::client::{Client, expect, udp_allocation};
use super::link::{Arrival, Link};
use super::outcome::{Check, Finding, Outcome, fail, must, need, should};
use super::pair::Pair;
use super::raw::{self, ALLOCATE, BINDING, Raw, Received};
use crate::wire::attr;

const CHANNEL: u16 = 0x4000;
/// Long enough for two writes to leave as two segments.
const PAUSE: Duration = Duration::from_millis(30);

pub(super) const CHECKS: &[Check] = &[
    must("stream-allocate", "8656 §5", "An allocation can be made over a stream", |p| {
        Client::stream(p)?.login()?.wants(udp_allocation(), 0)
    }),
    must("stream-send", "8656 §11.2", "Data of a Send over a stream reach the peer", |p| {
        stream_pair(p)?.carries(b"hello")
    }),
    must("stream-data", "8656 §11.3", "A peer's data come over the stream", |p| {
        let mut pair = stream_pair(p)?;
        pair.peer_says(b"hello")?;
        let heard = pair.client.hear()?;
        need(
            heard.data == b"hello" && heard.from == Ok(pair.peer),
            format!("{:?} from {:?}", heard.data, heard.from),
        )
    }),
    must("stream-pieces", "8489 §6.2.2", "A request in many pieces is answered", |p| {
        let mut client = Client::stream(p)?;
        let request = Raw::request(BINDING).attr(attr::SOFTWARE, b"in pieces");
        for piece in request.bytes().chunks(7) {
            client.send(piece)?;
            std::thread::sleep(PAUSE);
        }
        answered(&mut client, &request)
    }),
    must("stream-two-in-one", "8489 §6.2.2", "Two requests in one segment are both answered", |p| {
        let mut client = Client::stream(p)?;
        let (one, two) = (Raw::request(BINDING), Raw::request(BINDING));
        client.send(&[one.bytes(), two.bytes()].concat())?;
        let mut open = vec![one.transaction(), two.transaction()];
        while !open.is_empty() {
            match client.link.receive(p.limit) {
                Arrival::Frame(frame) => open.retain(|id| *id != raw::transaction(&frame)),
                _ => return fail(format!("{} of two are not answered", open.len())),
            }
        }
        Ok(())
    }),
    must(
        "stream-request-behind-data",
        "8656 §12.5",
        "A request right behind padded ChannelData is answered",
        |p| {
            let mut pair = bound(p)?;
            let request = Raw::request(BINDING);
            let data = [raw::channel_data(CHANNEL, b"12345"), vec![0; 3]].concat();
            pair.client.send(&[&data, request.bytes()].concat())?;
            let heard = pair.peer_hears()?;
            need(heard == b"12345", format!("{} bytes arrived", heard.len()))?;
            answered(&mut pair.client, &request)
        },
    ),
    must(
        "stream-channel-lengths",
        "8656 §12.5",
        "ChannelData of any length are read by their padding",
        |p| {
            let mut pair = bound(p)?;
            (0..10).chain([100, 1200]).try_for_each(|length| {
                let data = vec![0xC3; length];
                pair.client.say_by_channel(CHANNEL, &data)?;
                let heard = pair.peer_hears()?;
                need(heard == data, format!("{length} bytes were sent, {} arrived", heard.len()))
            })
        },
    ),
    must("stream-padding-of-any-value", "8656 §12.5", "Padding of ChannelData may have any value", |p| {
        let mut pair = bound(p)?;
        pair.client.send(&[raw::channel_data(CHANNEL, b"1"), vec![0xFF; 3]].concat())?;
        let heard = pair.peer_hears()?;
        need(heard == b"1", format!("{} bytes arrived", heard.len()))?;
        need(pair.client.fence()?, "nothing is answered behind it")
    }),
    must(
        "stream-channel-padded-to-client",
        "8656 §12.5",
        "ChannelData to the client are padded to four bytes",
        |p| {
            let mut pair = bound(p)?;
            (0..10).try_for_each(|length| {
                pair.peer_says(&vec![0x3C; length])?;
                let heard = pair.client.hear()?;
                need(
                    heard.from == Err(CHANNEL) && heard.data.len() == length,
                    format!("{length} bytes were sent, {} came", heard.data.len()),
                )
            })?;
            // The frames would run out of step if one had no padding.
            need(pair.client.fence()?, "the frames run out of step")
        },
    ),
    must(
        "stream-unbound-channel",
        "8656 §12.6",
        "ChannelData of an unbound channel are discarded, and the stream goes on",
        |p| {
            let mut pair = bound(p)?;
            pair.client.say_by_channel(CHANNEL + 1, b"lost")?;
            pair.nothing_went_before()
        },
    ),
    must(
        "stream-send-is-silent",
        "8656 §11.2",
        "A malformed Send is discarded, and the stream goes on",
        |p| {
            let mut pair = stream_pair(p)?;
            pair.client.send(Raw::indication(raw::SEND).bytes())?;
            pair.nothing_went_before()
        },
    ),
    should("stream-stays-open", "8489 §6.2.2", "The server lets the client close the stream", |p| {
        let mut client = Client::stream(p)?;
        expect(&client.ask(&Raw::request(BINDING))?, 0)?;
        let end = client.link.receive(Duration::from_millis(300));
        need(end != Arrival::End, "it closes after an answer")?;
        expect(&client.ask(&Raw::request(BINDING))?, 0)
    }),
    should("stream-open-after-401", "8489 §6.2.2", "It stays open after 401", |p| {
        let mut client = Client::stream(p)?.login()?;
        expect(&client.ask(&Raw::request(BINDING))?, 0)
    }),
    should("stream-open-after-438", "8489 §6.2.2", "It stays open after 438", |p| {
        let mut client = Client::stream(p)?.login()?;
        let nonce = std::mem::replace(&mut client.nonce, b"ffffffffffffffff".to_vec());
        expect(&client.ask(&client.signed(udp_allocation()))?, 438)?;
        client.nonce = nonce;
        expect(&client.ask(&client.signed(udp_allocation()))?, 0)
    }),
    should("stream-open-after-wrong-password", "8489 §6.2.2", "It stays open after a wrong password", |p| {
        let mut client = Client::stream(p)?.login()?;
        let raw = client.seal_with(client.name(udp_allocation()), b"wrong");
        expect(&client.ask(&raw)?, 401)?;
        expect(&client.ask(&client.signed(udp_allocation()))?, 0)
    }),
    should(
        "stream-half-closed",
        "8489 §6.2.2",
        "A request is answered although the client has closed its half",
        |p| {
            let mut client = Client::stream(p)?;
            let request = Raw::request(BINDING);
            client.send(request.bytes())?;
            if let Link::Stream { socket, .. } = &client.link {
                let _ = socket.shutdown(std::net::Shutdown::Write);
            }
            answered(&mut client, &request)
        },
    ),
    must(
        "stream-garbage",
        "8489 §6.3",
        "What is neither STUN nor ChannelData is not answered with STUN",
        |p| {
            [
                &b"GET / HTTP/1.0\r\n\r\n"[..],
                &[0x80; 64],
                &[0xFF; 64],
                b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            ]
            .into_iter()
            .try_for_each(|bytes| {
                let mut client = Client::stream(p)?;
                client.send(bytes)?;
                match client.link.receive(Duration::from_millis(300)) {
                    Arrival::Frame(frame) => need(Received::parse(&frame).is_err(), "a STUN message came"),
                    _ => Ok(()),
                }
            })
        },
    ),
    must("stream-wrong-cookie", "8489 §6.3", "A message with another cookie is not answered", |p| {
        Client::stream(p)?.silence(Raw::request(ALLOCATE).cookie([1, 2, 3, 4]).bytes())
    }),
    must("stream-unknown-method", "8489 §6.3", "An unknown method is silently discarded", |p| {
        Client::stream(p)?.silence(Raw::request(0x0FF).bytes())
    }),
    must("stream-fingerprint-wrong", "8489 §6.3", "A wrong FINGERPRINT meets silence", |p| {
        Client::stream(p)?.silence(Raw::request(BINDING).fingerprint().flipped(27).bytes())
    }),
    must("stream-occupied", "8656 §7.2, 2", "A second Allocate on the stream gets 437", |p| {
        let (mut client, _) = Client::stream(p)?.allocate()?;
        client.wants(udp_allocation(), 437)
    }),
];

fn stream_pair(p: &Probe) -> Result<Pair<'_>, Finding> {
    Pair::of(Client::stream(p)?)
}

fn bound(p: &Probe) -> Result<Pair<'_>, Finding> {
    let mut pair = Pair::without_permission(Client::stream(p)?)?;
    pair.client.bind(CHANNEL, pair.peer)?;
    Ok(pair)
}

/// Waits for the answer of a request that was sent already.
fn answered(client: &mut Client<'_>, request: &Raw) -> Outcome {
    let limit = client.probe.limit;
    match client.link.receive(limit) {
        Arrival::Frame(frame) if raw::transaction(&frame) == request.transaction() => Ok(()),
        Arrival::Frame(_) => fail("another message came"),
        Arrival::Nothing => fail("no answer"),
        Arrival::End => fail("the stream was closed without an answer"),
    }
}
