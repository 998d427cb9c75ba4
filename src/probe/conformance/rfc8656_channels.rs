//! RFC 8656 §12: channels.

use std::net::SocketAddr;

use super::client::{Client, binding, expect};
use super::outcome::{Check, Outcome, must, need, not_testable, should};
use super::pair::Pair;
use super::raw::{self, CHANNEL_BIND, Raw};
use super::rfc8656_permissions::other_family;
use super::{Probe, Transport};
use crate::wire::attr;

const FIRST: u16 = 0x4000;
const LAST: u16 = 0x4FFF;

pub(super) const CHECKS: &[Check] = &[
    must("channel-first", "8656 §12.2", "Channel 0x4000 can be bound", |p| bind(p, FIRST)),
    must("channel-last", "8656 §12.2", "Channel 0x4FFF can be bound", |p| bind(p, LAST)),
    must("channel-below", "8656 §12.2", "0x3FFF gets 400", |p| not_a_channel(p, 0x3FFF)),
    must("channel-above", "8656 §12.2", "0x5000 gets 400", |p| not_a_channel(p, 0x5000)),
    must("channel-of-rfc5766", "8656 §12.2", "0x7FFF, which RFC 5766 had, gets 400", |p| {
        not_a_channel(p, 0x7FFF)
    }),
    must("channel-extremes", "8656 §12.2", "0x0000 and 0xFFFF get 400", |p| {
        not_a_channel(p, 0)?;
        not_a_channel(p, 0xFFFF)
    }),
    must("channel-number-missing", "8656 §12.2", "Without CHANNEL-NUMBER: 400", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.wants(Raw::request(CHANNEL_BIND).xor_address(attr::XOR_PEER_ADDRESS, relayed), 400)
    }),
    must(
        "channel-number-malformed",
        "8656 §18.1",
        "A CHANNEL-NUMBER that has not four bytes gets 400",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let wrong: [&[u8]; 5] = [&[], &[0x40], &[0x40, 0], &[0x40, 0, 0], &[0x40, 0, 0, 0, 0]];
            wrong.into_iter().try_for_each(|value| {
                let raw = Raw::request(CHANNEL_BIND).attr(attr::CHANNEL_NUMBER, value);
                client.wants(raw.xor_address(attr::XOR_PEER_ADDRESS, relayed), 400)
            })
        },
    ),
    must(
        "channel-number-reserved-bytes",
        "8656 §18.1",
        "The two bytes behind the number are ignored",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let raw = Raw::request(CHANNEL_BIND).attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0xFF, 0xFF]);
            client.wants(raw.xor_address(attr::XOR_PEER_ADDRESS, relayed), 0)
        },
    ),
    must("channel-peer-missing", "8656 §12.2", "Without XOR-PEER-ADDRESS: 400", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        client.wants(Raw::request(CHANNEL_BIND).attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0]), 400)
    }),
    must("channel-peer-malformed", "8656 §12.2", "With a malformed one too", |p| {
        let (mut client, _) = Client::open(p)?.allocate()?;
        let wrong: [&[u8]; 4] =
            [&[], &[0, 1, 0x21], &[0, 1, 0x21, 0x12, 1, 2, 3], &[0, 2, 0x21, 0x12, 1, 2, 3, 4]];
        wrong.into_iter().try_for_each(|value| {
            let raw = Raw::request(CHANNEL_BIND).attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
            client.wants(raw.attr(attr::XOR_PEER_ADDRESS, value), 400)
        })
    }),
    must("channel-again", "8656 §12.2", "The same number and peer may be bound again", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.bind(FIRST, pair.peer)?;
        pair.client.bind(FIRST, pair.peer)
    }),
    must("channel-number-taken", "8656 §12.2", "A number that is bound to another peer gets 400", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.bind(FIRST, pair.peer)?;
        pair.client.wants(binding(FIRST, pair.relayed), 400)
    }),
    must("channel-peer-taken", "8656 §12.2", "A peer that is bound to another number gets 400", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.bind(FIRST, pair.peer)?;
        pair.client.wants(binding(FIRST + 1, pair.peer), 400)
    }),
    must("channel-ports-are-peers", "8656 §12.2", "Another port of the same address is another peer", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        let (_third, third) = Client::open(p)?.allocate()?;
        pair.client.bind(FIRST, pair.peer)?;
        pair.client.bind(FIRST + 1, third)
    }),
    must("channel-other-family", "8656 §12.2", "A peer of another family gets 443", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.wants(binding(FIRST, other_family(relayed)), 443)
    }),
    should("channel-400-before-443", "8656 §12.2", "A wrong number comes before another family: 400", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.wants(binding(0x3FFF, other_family(relayed)), 400)
    }),
    must("channel-repeated", "8656 §12.2", "A ChannelBind that comes again gets a success again", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        let request = pair.client.signed(binding(FIRST, pair.peer));
        expect(&pair.client.ask(&request)?, 0)?;
        expect(&pair.client.ask(&request)?, 0)
    }),
    must(
        "channel-without-login",
        "8489 §9.2.4",
        "A ChannelBind without a login gets 401 on a live allocation",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let raw = super::client::stranger(CHANNEL_BIND).attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
            expect(&client.ask(&raw.xor_address(attr::XOR_PEER_ADDRESS, relayed))?, 401)
        },
    ),
    must("channel-installs-permission", "8656 §12.2", "A bind installs a permission for its peer", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.bind(FIRST, pair.peer)?;
        pair.carries(b"by Send")
    }),
    must("channel-refused-installs-nothing", "8656 §12.2", "A refused bind installs no permission", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.wants(binding(0x3FFF, pair.peer), 400)?;
        pair.client.say(pair.peer, b"unpermitted")?;
        pair.nothing_went_before()
    }),
    must("channel-data-to-peer", "8656 §12.6", "ChannelData reach the peer from the relayed address", |p| {
        let mut pair = bound(p)?;
        to_peer(&mut pair, b"hello")
    }),
    must(
        "channel-data-all-lengths",
        "8656 §12.6",
        "Data of 1 to 9, 100 and 1200 bytes arrive as they are",
        |p| {
            let mut pair = bound(p)?;
            (1..10).chain([100, 1200]).try_for_each(|length| to_peer(&mut pair, &vec![0xC3; length]))
        },
    ),
    must("channel-data-no-bytes", "8656 §12.6", "No bytes of data are relayed too", |p| {
        to_peer(&mut bound(p)?, b"")
    }),
    must(
        "channel-data-from-peer",
        "8656 §12.5",
        "Once bound, what the peer sends comes as ChannelData",
        |p| {
            let mut pair = bound(p)?;
            pair.peer_says(b"hello")?;
            let heard = pair.client.hear()?;
            need(
                heard.from == Err(FIRST) && heard.data == b"hello",
                format!("{:?} by {:?}", heard.data, heard.from),
            )
        },
    ),
    must(
        "channel-data-from-peer-lengths",
        "8656 §12.4",
        "Their length field counts the data alone, for 0 to 9, 100 and 1200 bytes",
        |p| {
            let mut pair = bound(p)?;
            (0..10).chain([100, 1200]).try_for_each(|length| {
                pair.peer_says(&vec![0x3C; length])?;
                let heard = pair.client.hear()?.data.len();
                need(heard == length, format!("{length} bytes were sent, {heard} came"))
            })
        },
    ),
    must("channel-beside-send", "8656 §12.5", "Send may be used beside a channel", |p| {
        let mut pair = bound(p)?;
        pair.carries(b"by Send")?;
        to_peer(&mut pair, b"by channel")
    }),
    must(
        "channel-two-peers",
        "8656 §12.5",
        "A peer without a channel still comes as Data indications",
        |p| {
            let mut pair = bound(p)?;
            let (mut third, address) = Client::open(p)?.allocate()?;
            third.permit(pair.relayed)?;
            pair.client.permit(address)?;
            third.say(pair.relayed, b"third")?;
            let heard = pair.client.hear()?;
            need(heard.from == Ok(address), format!("{:?}", heard.from))
        },
    ),
    must("channel-data-unbound", "8656 §12.6", "ChannelData of an unbound channel are discarded", |p| {
        lost(p, &frame(LAST, b"lost"))
    }),
    must("channel-data-reserved", "8656 §12.6", "ChannelData of 0x5000 to 0x7FFF are discarded", |p| {
        datagrams(p)?;
        lost(p, &frame(0x5000, b"lost"))?;
        lost(p, &frame(0x7FFF, b"lost"))
    }),
    must("channel-data-short", "8656 §12.6", "A datagram shorter than its length field is discarded", |p| {
        datagrams(p)?;
        let mut short = raw::channel_data(FIRST, b"12345678");
        short.truncate(9);
        lost(p, &short)
    }),
    must("channel-data-header-cut", "8656 §12.6", "A header of two or three bytes is discarded", |p| {
        datagrams(p)?;
        lost(p, &[0x40, 0])?;
        lost(p, &[0x40, 0, 0])
    }),
    must("channel-data-padded", "8656 §12.5", "Padding in a datagram is allowed, and not relayed", |p| {
        let mut pair = bound(p)?;
        let padded = [raw::channel_data(FIRST, b"12345"), vec![0; 3]].concat();
        pair.client.send(&padded)?;
        let heard = pair.peer_hears()?;
        need(heard == b"12345", format!("{} bytes arrived", heard.len()))
    }),
    must("channel-data-unpadded", "8656 §12.5", "In a datagram it is not required", |p| {
        datagrams(p)?;
        let mut pair = bound(p)?;
        pair.client.send(&raw::channel_data(FIRST, b"12345"))?;
        let heard = pair.peer_hears()?;
        need(heard == b"12345", format!("{} bytes arrived", heard.len()))
    }),
    must(
        "channel-data-without-allocation",
        "8656 §5",
        "ChannelData without an allocation meet silence",
        |p| {
            super::need_login(p)?;
            Client::open(p)?.silence(&frame(FIRST, b"lost"))
        },
    ),
    must("channel-of-its-allocation", "8656 §12", "A channel belongs to its allocation alone", |p| {
        let mut pair = Pair::open(p)?;
        let (mut third, _) = Client::open(p)?.allocate()?;
        third.bind(FIRST, pair.peer)?;
        pair.client.send(&frame(FIRST, b"lost"))?;
        pair.nothing_went_before()
    }),
    must("channel-same-number-twice", "8656 §12", "Two allocations may bind the same number", |p| {
        let mut pair = bound(p)?;
        pair.other.bind(FIRST, pair.relayed)?;
        to_peer_by_channel(&mut pair)
    }),
    must("channel-data-unanswered", "8656 §12.6", "Nothing is answered to ChannelData", |p| {
        let mut pair = bound(p)?;
        pair.client.silence(&frame(FIRST, b"data"))?;
        pair.client.silence(&frame(LAST, b"lost"))
    }),
];

/// ChannelData that are framed for either transport.
fn frame(number: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = raw::channel_data(number, data);
    frame.resize(frame.len().next_multiple_of(4), 0);
    frame
}

fn bind(p: &Probe, number: u16) -> Outcome {
    let mut pair = Pair::without_permission(Client::open(p)?)?;
    pair.client.bind(number, pair.peer)
}

fn not_a_channel(p: &Probe, number: u16) -> Outcome {
    let (mut client, relayed): (Client<'_>, SocketAddr) = Client::open(p)?.allocate()?;
    client.wants(binding(number, relayed), 400)
}

/// A pair whose client has bound the peer to the first channel.
fn bound(p: &Probe) -> Result<Pair<'_>, super::Finding> {
    let mut pair = Pair::without_permission(Client::open(p)?)?;
    pair.client.bind(FIRST, pair.peer)?;
    Ok(pair)
}

fn to_peer(pair: &mut Pair<'_>, data: &[u8]) -> Outcome {
    pair.client.say_by_channel(FIRST, data)?;
    let heard = pair.peer_hears()?;
    need(heard == data, format!("{} bytes were sent, {} arrived", data.len(), heard.len()))
}

fn to_peer_by_channel(pair: &mut Pair<'_>) -> Outcome {
    pair.client.say_by_channel(FIRST, b"both ways")?;
    let heard = pair.other.hear()?;
    need(
        heard.from == Err(FIRST) && heard.data == b"both ways",
        format!("{:?} by {:?}", heard.data, heard.from),
    )
}

fn datagrams(p: &Probe) -> Outcome {
    if p.transport == Transport::Udp { Ok(()) } else { not_testable("is about datagrams") }
}

/// What is sent to a bound pair must not arrive.
fn lost(p: &Probe, bytes: &[u8]) -> Outcome {
    let mut pair = bound(p)?;
    pair.client.send(bytes)?;
    pair.nothing_went_before()
}
