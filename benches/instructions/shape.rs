//! The packets and requests that are counted, and a client that knows how to ask for their relaying.

use std::net::SocketAddr;

use relais::wire::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr, method};

pub(crate) const USER: &str = "alice";
pub(crate) const REALM: &str = "relais";
pub(crate) const PASSWORD: &str = "wonderland";
/// MD5("alice:relais:wonderland").
pub(crate) const KEY: [u8; 16] =
    [0x23, 0x17, 0x83, 0xb3, 0xeb, 0xf3, 0x11, 0xc2, 0x30, 0xb4, 0x96, 0x15, 0xb5, 0x0b, 0xe2, 0xcb];
const CHANNEL: [u8; 2] = [0x40, 0x01];

/// Direction and form of a relayed packet, or a request.
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
    /// A Binding request, as ICE agents send it.
    Binding,
    /// A client comes and goes: Allocate with a nonce that it has, CreatePermission, ChannelBind, Refresh to nothing.
    Cycle,
}

impl Shape {
    const ALL: [Self; 8] = [
        Self::ChannelToPeer,
        Self::Send,
        Self::SendWithFingerprint,
        Self::ChannelToClient,
        Self::Data,
        Self::Checksum,
        Self::Binding,
        Self::Cycle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChannelToPeer => "channel-to-peer",
            Self::Send => "send",
            Self::SendWithFingerprint => "send-with-fingerprint",
            Self::ChannelToClient => "channel-to-client",
            Self::Data => "data",
            Self::Checksum => "checksum",
            Self::Binding => "binding",
            Self::Cycle => "cycle",
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
            Self::Binding | Self::Cycle => unreachable!("requests are made by a Client"),
        }
    }
}

/// Makes requests as a client does that has been told a nonce, or not yet.
pub(crate) struct Client {
    key: IntegrityKey,
    nonce: Vec<u8>,
    serial: u8,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { key: IntegrityKey::new(&KEY), nonce: Vec::new(), serial: 0 }
    }

    fn request(&mut self, method: Method, fill: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 512];
        self.serial += 1;
        let id = TransactionId([self.serial; 12]);
        let mut writer = MessageWriter::to(&mut buffer, method, Class::Request, id);
        fill(&mut writer);
        if !self.nonce.is_empty() {
            writer
                .attribute(attr::USERNAME, USER.as_bytes())
                .attribute(attr::REALM, REALM.as_bytes())
                .attribute(attr::NONCE, &self.nonce)
                .message_integrity(&self.key);
        }
        let len = writer.finish().unwrap();
        buffer[..len].to_vec()
    }

    pub(crate) fn binding(&mut self) -> Vec<u8> {
        self.request(method::BINDING, |writer| {
            writer.fingerprint();
        })
    }

    pub(crate) fn allocate(&mut self) -> Vec<u8> {
        self.request(method::ALLOCATE, |writer| {
            writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        })
    }

    /// Takes the nonce out of a challenge.
    pub(crate) fn learn(&mut self, challenge: &[u8]) {
        self.learn_nonce(Message::parse(challenge).unwrap().get(attr::NONCE).unwrap());
    }

    /// Uses this nonce from now on.
    pub(crate) fn learn_nonce(&mut self, nonce: &[u8]) {
        self.nonce = nonce.to_vec();
    }

    pub(crate) fn permission(&mut self, peer: SocketAddr) -> Vec<u8> {
        self.request(method::CREATE_PERMISSION, |writer| {
            writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
        })
    }

    pub(crate) fn channel(&mut self, peer: SocketAddr) -> Vec<u8> {
        self.request(method::CHANNEL_BIND, |writer| {
            writer
                .attribute(attr::CHANNEL_NUMBER, &[CHANNEL[0], CHANNEL[1], 0, 0])
                .xor_address(attr::XOR_PEER_ADDRESS, peer);
        })
    }

    pub(crate) fn delete(&mut self) -> Vec<u8> {
        self.request(method::REFRESH, |writer| {
            writer.attribute(attr::LIFETIME, &[0; 4]);
        })
    }
}

/// Makes an allocation, a channel to the first peer and a permission for the other; `exchange` sends a request and
/// returns the response. Returns the relayed address.
pub(crate) fn set_up(
    mut exchange: impl FnMut(&[u8]) -> Vec<u8>,
    bound: SocketAddr,
    permitted: SocketAddr,
) -> SocketAddr {
    let mut client = Client::new();
    let challenge = exchange(&client.allocate());
    client.learn(&challenge);
    let allocated = exchange(&client.allocate());
    let allocated = Message::parse(&allocated).unwrap();
    let relayed = allocated.xor_address(allocated.get(attr::XOR_RELAYED_ADDRESS).unwrap()).unwrap();
    for request in [client.permission(permitted), client.channel(bound)] {
        assert!(is_success(&exchange(&request)));
    }
    relayed
}

/// Whether this is a success response, at a glance.
pub(crate) fn is_success(answer: &[u8]) -> bool {
    matches!(answer, [first, second, ..] if first & 0x01 != 0 && second & 0x10 == 0)
}
