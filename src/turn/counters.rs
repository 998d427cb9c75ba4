//! What the server counts: plain integers, one set for each worker, merged when somebody asks.

use super::ConnectionEnd;
use crate::wire::{Method, method};

/// The transport between client and server. Counters are kept for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP (RFC 8656 §2.1).
    Udp,
    /// TCP (RFC 8656 §2.1).
    Tcp,
    /// TLS over TCP (RFC 8656 §2.1).
    Tls,
    /// DTLS over UDP (RFC 7350, RFC 8656 §2.1).
    Dtls,
}

impl Transport {
    /// Every transport, in the order of the counter arrays.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Dtls];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
        }
    }

    /// Whether messages need framing and arrive reliably, so that retransmission does not happen.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

macro_rules! reasons {
    ($(#[doc = $about:literal])* $kind:ident: $($(#[doc = $doc:literal])* $variant:ident => $name:literal,)*) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[doc = $doc])* $variant,)* }

        impl $kind {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// Why a datagram or frame went no further. Every drop has one of these, every one a counter.
    DropReason:
    /// The first byte belongs to no protocol that is spoken here (RFC 7983).
    NotOurs => "not_ours",
    /// Not a well-formed STUN message (RFC 8489 §5, §6.3).
    Malformed => "malformed",
    /// FINGERPRINT is there and wrong (RFC 8489 §6.3).
    Fingerprint => "fingerprint",
    /// A method or class that this server does not answer (RFC 8489 §6.3).
    UnknownMethod => "unknown_method",
    /// An indication with an unknown comprehension-required attribute (RFC 8489 §6.3.2).
    UnknownAttribute => "unknown_attribute",
    /// The 5-tuple has no allocation (RFC 8656 §5).
    NoAllocation => "no_allocation",
    /// No live permission for the peer's address (RFC 8656 §9).
    NoPermission => "no_permission",
    /// The channel is not bound (RFC 8656 §12.6).
    NoChannel => "no_channel",
    /// ChannelData that claims more than the datagram holds, or a reserved number (RFC 8656 §12.6).
    BadChannelData => "bad_channel_data",
    /// The peer policy forbids it (RFC 8656 §11.2, §21).
    Forbidden => "forbidden",
    /// The peer's address family is not the relayed address's.
    PeerFamily => "peer_family",
    /// The answer budget of the source's prefix is spent.
    AnswerBudget => "answer_budget",
    /// Too many failed logins from the source's prefix.
    LoginRate => "login_rate",
    /// The client's stream does not take data fast enough; its queue is full.
    QueueFull => "queue_full",
    /// The datagram was longer than a receive buffer, or than one message can carry.
    TooLong => "too_long",
    /// The kernel refused to send.
    SendFailed => "send_failed",
    /// A Send indication on an allocation for TCP, whose data have connections of their own (RFC 6062).
    TcpAllocation => "tcp_allocation",
    /// A peer's connection beyond those that an allocation may have (RFC 6062).
    ConnectionLimit => "connection_limit",
    /// An ICMP error of a type that clients are not told (RFC 8656 §11.5).
    IcmpType => "icmp_type",
    /// More ICMP errors than are told; counted once for each pause in which a relayed address hears no more of them.
    IcmpRate => "icmp_rate",
    /// Above the bit rate that the credential allows.
    Rate => "rate",
    /// Beyond the byte budget of the credential.
    Budget => "budget",
    /// A DTLS record of no association, or one that would begin an association too many.
    Association => "association",
}

reasons! {
    /// Why the server closed a client's connection that had not come to an allocation, or broke its framing.
    StreamRefusal:
    /// A load balancer's connection begins with no PROXY header, or a bad one.
    ProxyHeader => "proxy_header",
    /// A PROXY header from an address that is no load balancer's.
    ProxyStranger => "proxy_stranger",
    /// As many connections without an allocation as its address, or all together, may have.
    AddressLimit => "address_limit",
    /// Bytes of no protocol that is spoken there, or a frame too long for a client without an allocation.
    NotOurs => "not_ours",
    /// The client speaks no version of TLS that is spoken here.
    TlsVersion => "tls_version",
    /// The client offers by ALPN only protocols that are not spoken here (RFC 7301 §3.2).
    Alpn => "alpn",
    /// The client has shown no certificate, or one that is not accepted.
    ClientCertificate => "client_certificate",
    /// The client has ended the handshake with an alert: it does not accept the server's certificate, mostly.
    TlsAlert => "tls_alert",
    /// A TLS handshake that failed otherwise.
    TlsHandshake => "tls_handshake",
    /// The client's prefix, or all together, shake hands too often.
    HandshakeRate => "handshake_rate",
    /// PROXY header and TLS handshake took too long.
    OpeningDeadline => "opening_deadline",
    /// No allocation in time.
    LoginDeadline => "login_deadline",
    /// A frame began and its end did not come in time.
    FrameDeadline => "frame_deadline",
}

/// Methods that are answered, as counter indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountedMethod {
    /// Binding (RFC 8489).
    Binding,
    /// Allocate (RFC 8656 §7).
    Allocate,
    /// Refresh (RFC 8656 §8).
    Refresh,
    /// CreatePermission (RFC 8656 §10).
    CreatePermission,
    /// ChannelBind (RFC 8656 §12).
    ChannelBind,
    /// Connect (RFC 6062 §5.2).
    Connect,
    /// ConnectionBind (RFC 6062 §5.4).
    ConnectionBind,
}

impl CountedMethod {
    /// Every method, in the order of the counters.
    pub const ALL: [Self; 7] = [
        Self::Binding,
        Self::Allocate,
        Self::Refresh,
        Self::CreatePermission,
        Self::ChannelBind,
        Self::Connect,
        Self::ConnectionBind,
    ];

    /// The one that a method on the wire is.
    pub(super) const fn of(method: Method) -> Option<Self> {
        match method {
            method::BINDING => Some(Self::Binding),
            method::ALLOCATE => Some(Self::Allocate),
            method::REFRESH => Some(Self::Refresh),
            method::CREATE_PERMISSION => Some(Self::CreatePermission),
            method::CHANNEL_BIND => Some(Self::ChannelBind),
            method::CONNECT => Some(Self::Connect),
            method::CONNECTION_BIND => Some(Self::ConnectionBind),
            _ => None,
        }
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Allocate => "allocate",
            Self::Refresh => "refresh",
            Self::CreatePermission => "create_permission",
            Self::ChannelBind => "channel_bind",
            Self::Connect => "connect",
            Self::ConnectionBind => "connection_bind",
        }
    }
}

/// The error codes that are counted, in the order of [`TransportCounters::errors`].
pub const ERROR_CODES: [u16; 17] =
    [300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508];

/// Datagrams (or frames) and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// Application bytes in them, without STUN or ChannelData headers.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one datagram with `bytes` of payload.
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Counts bytes of a connection, which are in no datagrams (RFC 6062).
    pub const fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) const fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Counters of one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    /// Live allocations (a gauge).
    pub allocations: u64,
    /// Allocations made since the start.
    pub allocations_created: u64,
    /// Open client streams (a gauge; always 0 for UDP).
    pub streams: u64,
    /// Datagrams or frames received from clients, relayed or not, with their whole length.
    pub received: Traffic,
    /// Answers sent to clients, with their whole length.
    pub answered: Traffic,
    /// Relayed from clients to peers.
    pub to_peers: Traffic,
    /// Relayed from peers to clients.
    pub to_clients: Traffic,
    /// Requests answered with success, by [`CountedMethod`].
    pub successes: [u64; CountedMethod::ALL.len()],
    /// Error answers, by position in [`ERROR_CODES`].
    pub errors: [u64; ERROR_CODES.len()],
    /// Drops, by [`DropReason`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl TransportCounters {
    /// Counts a drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts an error answer.
    pub fn error(&mut self, code: u16) {
        if let Some(index) = ERROR_CODES.iter().position(|known| *known == code) {
            self.errors[index] += 1;
        }
    }
}

/// All that one worker counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By [`Transport`], in the order of [`Transport::ALL`].
    pub by_transport: [TransportCounters; Transport::ALL.len()],
    /// Live permissions (a gauge).
    pub permissions: u64,
    /// Live channel bindings (a gauge).
    pub channels: u64,
    /// Connections with peers, those that are being made included (RFC 6062; a gauge).
    pub connections: u64,
    /// Connections with peers begun since the start.
    pub connections_made: u64,
    /// Ended connections with peers, by [`ConnectionEnd`]; those that were never made are errors 447.
    pub connection_ends: [u64; ConnectionEnd::ALL.len()],
    /// Connections of clients that the server closed, by [`StreamRefusal`].
    pub streams_refused: [u64; StreamRefusal::ALL.len()],
}

impl Counters {
    /// The counters of one transport.
    pub fn of(&mut self, transport: Transport) -> &mut TransportCounters {
        &mut self.by_transport[transport as usize]
    }

    /// Adds another worker's counters to these.
    pub fn merge(&mut self, other: &Self) {
        self.permissions += other.permissions;
        self.channels += other.channels;
        self.connections += other.connections;
        self.connections_made += other.connections_made;
        add_each(&mut self.connection_ends, &other.connection_ends);
        add_each(&mut self.streams_refused, &other.streams_refused);
        for (mine, theirs) in self.by_transport.iter_mut().zip(&other.by_transport) {
            mine.allocations += theirs.allocations;
            mine.allocations_created += theirs.allocations_created;
            mine.streams += theirs.streams;
            mine.received.merge(&theirs.received);
            mine.answered.merge(&theirs.answered);
            mine.to_peers.merge(&theirs.to_peers);
            mine.to_clients.merge(&theirs.to_clients);
            add_each(&mut mine.successes, &theirs.successes);
            add_each(&mut mine.errors, &theirs.errors);
            add_each(&mut mine.drops, &theirs.drops);
        }
    }
}

fn add_each(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}
