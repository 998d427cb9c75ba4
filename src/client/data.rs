//! How data travel between client and server: in ChannelData (RFC 8656 §12.4) or in indications (§11).

use core::net::SocketAddr;

use crate::wire::{
    ChannelData, ChannelNumber, Class, HEADER_LEN, Message, MessageWriter, Protocol, TransactionId, attr,
    method, padded,
};

/// What arrived from the server.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// ChannelData.
    Channel(ChannelNumber, &'a [u8]),
    /// A Data indication: from which peer, and what.
    Data(SocketAddr, &'a [u8]),
    /// Any other message, for [`Client::handle`](super::Client::handle).
    Message(Message<'a>),
    /// Nothing that a client understands.
    Foreign,
}

/// Reads one datagram, or one frame of a stream.
pub fn read(bytes: &[u8]) -> Incoming<'_> {
    match bytes.first().map(|first| Protocol::of(*first)) {
        Some(Protocol::ChannelData) => match ChannelData::parse(bytes) {
            Ok(found) => Incoming::Channel(found.channel, found.data),
            Err(_) => Incoming::Foreign,
        },
        Some(Protocol::Stun) => match Message::parse(bytes) {
            Ok(message) if message.class() == Class::Indication && message.method() == method::DATA => {
                let peer = message.get(attr::XOR_PEER_ADDRESS).and_then(|value| message.xor_address(value));
                match (peer, message.get(attr::DATA)) {
                    (Some(peer), Some(data)) => Incoming::Data(peer, data),
                    _ => Incoming::Foreign,
                }
            }
            Ok(message) => Incoming::Message(message),
            Err(_) => Incoming::Foreign,
        },
        _ => Incoming::Foreign,
    }
}

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A frame of so many bytes, its padding included, which may not all be there yet.
    Len(usize),
    /// Too little to tell.
    More,
    /// No frame: the stream cannot be understood any more.
    Foreign,
}

/// Finds the end of the first frame in a stream (RFC 8656 §12.5, RFC 8489 §6.2.2).
pub fn frame(bytes: &[u8]) -> Frame {
    let Some(&[first, _, l0, l1]) = bytes.first_chunk::<4>() else { return Frame::More };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    match Protocol::of(first) {
        Protocol::ChannelData => Frame::Len(ChannelData::HEADER_LEN + padded(len)),
        Protocol::Stun => Frame::Len(HEADER_LEN + len),
        _ => Frame::Foreign,
    }
}

/// The longest head of an indication: header, address of an IPv6 peer, header of DATA.
const LONGEST: usize = HEADER_LEN + 24 + 4;

/// What stands in front of data of one length to one peer: made once, sent with every packet.
#[derive(Clone, Copy, Debug)]
pub struct DataHead {
    bytes: [u8; LONGEST],
    len: usize,
    padding: usize,
}

impl DataHead {
    /// Of ChannelData with `len` bytes. On a `stream` it is padded. `None` when they are too many.
    pub fn of_channel(channel: ChannelNumber, len: usize, stream: bool) -> Option<Self> {
        let header = ChannelData::header(channel, len)?;
        let mut head = Self { bytes: [0; LONGEST], len: header.len(), padding: 0 };
        head.bytes[..header.len()].copy_from_slice(&header);
        if stream {
            head.padding = padded(len) - len;
        }
        Some(head)
    }

    /// Of a Send indication with `len` bytes for `peer`. All that are sent with it have the same transaction id, which
    /// answers to nothing. `None` when they are too many.
    pub fn of_indication(peer: SocketAddr, len: usize, transaction: TransactionId) -> Option<Self> {
        let mut head = Self { bytes: [0; LONGEST], len: 0, padding: padded(len) - len };
        let mut writer = MessageWriter::to(&mut head.bytes, method::SEND, Class::Indication, transaction);
        writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
        let written = writer.finish()?;
        let message = u16::try_from(written + 4 - HEADER_LEN + padded(len)).ok()?;
        head.bytes[2..4].copy_from_slice(&message.to_be_bytes());
        head.bytes[written..written + 2].copy_from_slice(&attr::DATA.0.to_be_bytes());
        head.bytes[written + 2..written + 4].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
        head.len = written + 4;
        Some(head)
    }

    /// The bytes in front of the data.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many zeroes stand behind them.
    pub const fn padding(&self) -> usize {
        self.padding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &DataHead, data: &[u8]) -> Vec<u8> {
        [head.bytes(), data, &[0; 4][..head.padding()]].concat()
    }

    #[test]
    fn rfc8656_11_2_send_indications_say_peer_and_data() {
        for peer in ["192.0.2.1:4000", "[2001:db8::1]:4000"] {
            let peer: SocketAddr = peer.parse().unwrap();
            for len in [0, 1, 2, 3, 4, 1_200] {
                let data = vec![7; len];
                let head = DataHead::of_indication(peer, len, TransactionId([9; 12])).unwrap();
                let bytes = whole(&head, &data);
                let message = Message::parse(&bytes).unwrap();
                assert_eq!((message.method(), message.class()), (method::SEND, Class::Indication));
                let said = message.xor_address(message.get(attr::XOR_PEER_ADDRESS).unwrap());
                assert_eq!((said, message.get(attr::DATA)), (Some(peer), Some(&data[..])));
                assert_eq!(frame(&bytes), Frame::Len(bytes.len()));
            }
        }
        assert!(
            DataHead::of_indication("192.0.2.1:1".parse().unwrap(), 65_530, TransactionId([0; 12])).is_none()
        );
    }

    #[test]
    fn rfc8656_12_5_channel_data_are_padded_on_streams_alone() {
        let channel = ChannelNumber::new(0x4001).unwrap();
        let head = DataHead::of_channel(channel, 5, true).unwrap();
        let bytes = whole(&head, b"hello");
        assert_eq!(bytes, [0x40, 1, 0, 5, b'h', b'e', b'l', b'l', b'o', 0, 0, 0]);
        assert_eq!(frame(&bytes), Frame::Len(12));
        assert!(matches!(read(&bytes), Incoming::Channel(found, b"hello") if found == channel));
        assert_eq!(DataHead::of_channel(channel, 5, false).unwrap().padding(), 0);
        assert!(DataHead::of_channel(channel, 70_000, false).is_none());
    }

    #[test]
    fn what_no_client_understands_is_foreign() {
        for bytes in [&b""[..], b"\x80hello", b"\x16\x03\x01", &[0x40, 0, 0, 9, 1], &[0; 20]] {
            assert!(matches!(read(bytes), Incoming::Foreign));
        }
        assert_eq!((frame(&[0x40, 0, 0]), frame(b"\x80HTTP")), (Frame::More, Frame::Foreign));
    }
}
