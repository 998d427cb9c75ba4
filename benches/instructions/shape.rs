//! The packets that are compared, and a client that knows how to ask for their relaying.

use std::net::SocketAddr;

use relais::wire::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr, method};

pub(crate) const USER: &str = "alice";
pub(crate) const REALM: &str = "relais";
pub(crate) const PASSWORD: &str = "wonderland";
/// MD5("alice:relais:wonderland").
pub(crate) const KEY: [u8; 16] =
    [0x23, 0x17, 0x83, 0xb3, 0xeb, 0xf3, 0x11, 0xc2, 0x30, 0xb4, 0x96, 0x15, 0xb5, 0x0b, 0xe2, 0xcb];
const CHANNEL: [u8; 2] = [0x40, 0x01];

/// Direction and form of a relayed packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    ChannelToPeer,
    /// As libraries send it.
    Send,
    /// As Firefox sends it.
    SendWithFingerprint,
    ChannelToClient,
    Data,
    /// No packet: what the CRC-32 of the one with FINGERPRINT costs by itself.
    Checksum,
}

impl Shape {
    const ALL: [Self; 6] = [
        Self::ChannelToPeer,
        Self::Send,
        Self::SendWithFingerprint,
        Self::ChannelToClient,
        Self::Data,
        Self::Checksum,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChannelToPeer => "channel-to-peer",
            Self::Send => "send",
            Self::SendWithFingerprint => "send-with-fingerprint",
            Self::ChannelToClient => "channel-to-client",
            Self::Data => "data",
            Self::Checksum => "checksum",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|shape| shape.name() == name).expect("a shape")
    }

    pub(crate) fn is_to_peer(self) -> bool {
        matches!(self, Self::ChannelToPeer | Self::Send | Self::SendWithFingerprint)
    }

    pub(crate) fn is_channel(self) -> bool {
        matches!(self, Self::ChannelToPeer | Self::ChannelToClient)
    }

    /// What the sender of the packet puts on the wire.
    pub(crate) fn bytes(self, peer: SocketAddr, payload: usize) -> Vec<u8> {
        let payload = vec![7; payload];
        match self {
            Self::ChannelToPeer => {
                let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
                [&CHANNEL[..], &len, &payload].concat()
            }
            Self::Send | Self::SendWithFingerprint => {
                let mut buffer = vec![0; payload.len() + 100];
                let id = TransactionId([9; 12]);
                let mut writer = MessageWriter::to(&mut buffer, method::SEND, Class::Indication, id);
                writer.xor_address(attr::XOR_PEER_ADDRESS, peer).attribute(attr::DATA, &payload);
                if self == Self::SendWithFingerprint {
                    writer.fingerprint();
                }
                let len = writer.finish().unwrap();
                buffer.truncate(len);
                buffer
            }
            Self::ChannelToClient | Self::Data => payload,
            Self::Checksum => {
                let mut message = Self::SendWithFingerprint.bytes(peer, payload.len());
                message.truncate(message.len() - 8);
                message
            }
        }
    }
}

/// Makes an allocation, a channel to the first peer and a permission for the other; `exchange` sends a request and
/// returns the response. Returns the relayed address.
pub(crate) fn set_up(
    mut exchange: impl FnMut(&[u8]) -> Vec<u8>,
    bound: SocketAddr,
    permitted: SocketAddr,
) -> SocketAddr {
    let key = IntegrityKey::new(&KEY);
    let mut nonce = Vec::new();
    let mut serial = 0;
    let mut request = |nonce: &[u8], method: Method, fill: &dyn Fn(&mut MessageWriter<'_>)| {
        let mut buffer = [0; 512];
        serial += 1;
        let id = TransactionId([serial; 12]);
        let mut writer = MessageWriter::to(&mut buffer, method, Class::Request, id);
        fill(&mut writer);
        if !nonce.is_empty() {
            writer
                .attribute(attr::USERNAME, USER.as_bytes())
                .attribute(attr::REALM, REALM.as_bytes())
                .attribute(attr::NONCE, nonce)
                .message_integrity(&key);
        }
        let len = writer.finish().unwrap();
        exchange(&buffer[..len])
    };
    let udp = |writer: &mut MessageWriter<'_>| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    };
    let challenge = request(&nonce, method::ALLOCATE, &udp);
    nonce.extend_from_slice(Message::parse(&challenge).unwrap().get(attr::NONCE).unwrap());
    let allocated = request(&nonce, method::ALLOCATE, &udp);
    let allocated = Message::parse(&allocated).unwrap();
    let relayed = allocated.xor_address(allocated.get(attr::XOR_RELAYED_ADDRESS).unwrap()).unwrap();
    for answer in [
        request(&nonce, method::CREATE_PERMISSION, &|writer| {
            writer.xor_address(attr::XOR_PEER_ADDRESS, permitted);
        }),
        request(&nonce, method::CHANNEL_BIND, &|writer| {
            writer
                .attribute(attr::CHANNEL_NUMBER, &[CHANNEL[0], CHANNEL[1], 0, 0])
                .xor_address(attr::XOR_PEER_ADDRESS, bound);
        }),
    ] {
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::SuccessResponse);
    }
    relayed
}
