//! A server with sockets that are not there, a clock that stands still, and a STUN writer and reader of its own:
//! nothing here uses `relais::wire` to build a request or to read an answer, so that a mistake cannot hide by
//! being made twice.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{self, Authenticator, Credential, Expired, OauthKey, SharedSecret, User};
use relais::time::{Now, Timestamp};
use relais::turn::{
    AllocationId, Alternates, BindError, Budget, ClientAddress, ClientRoute, ConnectionEnd, ConnectionId,
    Discovery, DropReason, Event, FamilyDefault, FiveTuple, Hold, IcmpError, Leave, Limits, Lookup, Offer,
    Owner, Parity, PeerAddress, PeerConnection, PeerPolicy, RelaySockets, RelayToken,
    RelayedTransportAddress, ReservationToken, Server, Session, Settings, StreamMeter, Traffic, Transport,
    Turn, Verdict, Waiting,
};
use relais::wire::{AddressFamily, Datagram, Marks, ReplyBuffer};

pub const BINDING: u16 = 0x0001;
pub const ALLOCATE: u16 = 0x0003;
pub const REFRESH: u16 = 0x0004;
pub const SEND: u16 = 0x0016;
pub const CREATE_PERMISSION: u16 = 0x0008;
pub const CHANNEL_BIND: u16 = 0x0009;
pub const CONNECT: u16 = 0x000A;
pub const CONNECTION_BIND: u16 = 0x000B;

pub const USERNAME: u16 = 0x0006;
pub const MI: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN: u16 = 0x000A;
pub const CHANNEL_NUMBER: u16 = 0x000C;
pub const LIFETIME: u16 = 0x000D;
pub const PEER: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const REALM: u16 = 0x0014;
pub const NONCE: u16 = 0x0015;
pub const RELAYED: u16 = 0x0016;
pub const FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const TRANSPORT: u16 = 0x0019;
pub const DONT_FRAGMENT: u16 = 0x001A;
pub const ACCESS_TOKEN: u16 = 0x001B;
pub const MI256: u16 = 0x001C;
pub const ALGORITHM: u16 = 0x001D;
pub const USERHASH: u16 = 0x001E;
pub const MAPPED: u16 = 0x0020;
pub const RESERVATION: u16 = 0x0022;
pub const CONNECTION_ID: u16 = 0x002A;
pub const ADDITIONAL_FAMILY: u16 = 0x8000;
pub const DRAFT_ADDITIONAL_FAMILY: u16 = 0x8032;
pub const ADDRESS_ERROR: u16 = 0x8001;
pub const ALGORITHMS: u16 = 0x8002;
pub const PLAIN_MAPPED: u16 = 0x0001;
pub const CHANGE_REQUEST: u16 = 0x0003;
pub const PADDING: u16 = 0x0026;
pub const RESPONSE_PORT: u16 = 0x0027;
pub const RESPONSE_ORIGIN: u16 = 0x802B;
pub const OTHER_ADDRESS: u16 = 0x802C;
pub const ICMP: u16 = 0x8004;
pub const TICKET: u16 = 0x8030;
pub const ALTERNATE_DOMAIN: u16 = 0x8003;
pub const ALTERNATE_SERVER: u16 = 0x8023;
pub const SOFTWARE: u16 = 0x8022;
pub const THIRD_PARTY: u16 = 0x802E;
pub const FINGERPRINT: u16 = 0x8028;

/// SHA-256, then MD5, without parameters.
pub const OFFER: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

pub const REALM_TEXT: &str = "relay.io";
/// What this server is called in access tokens.
pub const SERVER_NAME: &str = "turn.relay.io";
pub const START_UNIX: u64 = 1_800_000_000;

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Peers that anybody may reach.
pub fn peer(n: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([8, 8, (n >> 8) as u8, n as u8]), 5000)
}

pub fn peer6(n: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([0x2a01, 0x4f8, 0, 0, 0, 0, 0, n]), 5000)
}

// ---- hashes by hand -------------------------------------------------------------------------------------------

pub fn md5(bytes: &[u8]) -> Vec<u8> {
    use md5::Digest as _;
    md5::Md5::digest(bytes).to_vec()
}

pub fn sha1(bytes: &[u8]) -> Vec<u8> {
    use sha1::Digest as _;
    sha1::Sha1::digest(bytes).to_vec()
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}

/// RFC 2104.
pub fn hmac(hash: fn(&[u8]) -> Vec<u8>, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { hash(key) } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |with: u8, tail: &[u8]| {
        let mut text: Vec<u8> = block.iter().map(|byte| byte ^ with).collect();
        text.extend_from_slice(tail);
        hash(&text)
    };
    pad(0x5c, &pad(0x36, message))
}

/// What eight steps of ITU V.42 make of a byte: the simulation needs many.
const CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u32;
    while byte < 256 {
        let (mut crc, mut step) = (byte, 0);
        while step < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            step += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// ITU V.42.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc: u32, byte| (crc >> 8) ^ CRC_OF_BYTE[((crc ^ u32::from(*byte)) & 0xFF) as usize])
}

pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { ALPHABET[sextet as usize] as char } else { '=' });
        }
    }
    text
}

/// The password of a time-limited user name.
pub fn rest_password(secret: &str, username: &str) -> String {
    base64(&hmac(sha1, secret.as_bytes(), username.as_bytes()))
}

// ---- writing --------------------------------------------------------------------------------------------------

/// An attribute to be written.
#[derive(Clone, Debug)]
pub enum A {
    Raw(u16, Vec<u8>),
    Xor(u16, SocketAddr),
}

pub fn udp() -> A {
    A::Raw(TRANSPORT, vec![17, 0, 0, 0])
}

pub fn tcp() -> A {
    A::Raw(TRANSPORT, vec![6, 0, 0, 0])
}

pub fn connection(id: ConnectionId) -> A {
    A::Raw(CONNECTION_ID, id.0.to_be_bytes().to_vec())
}

pub fn lifetime(seconds: u32) -> A {
    A::Raw(LIFETIME, seconds.to_be_bytes().to_vec())
}

pub fn family(number: u8) -> A {
    A::Raw(FAMILY, vec![number, 0, 0, 0])
}

pub fn to(peer: SocketAddr) -> A {
    A::Xor(PEER, peer)
}

pub fn dont_fragment() -> A {
    A::Raw(DONT_FRAGMENT, vec![])
}

pub fn channel(number: u16) -> A {
    let [high, low] = number.to_be_bytes();
    A::Raw(CHANNEL_NUMBER, vec![high, low, 0, 0])
}

pub fn data(bytes: &[u8]) -> A {
    A::Raw(DATA, bytes.to_vec())
}

/// A message under construction.
#[derive(Clone, Debug)]
pub struct Msg(pub Vec<u8>);

impl Msg {
    pub fn new(kind: u16, tid: [u8; 12]) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0x21, 0x12, 0xA4, 0x42]);
        bytes.extend_from_slice(&tid);
        Self(bytes)
    }

    pub fn tid(&self) -> [u8; 12] {
        self.0[8..20].try_into().unwrap()
    }

    /// Makes the length field say that the message ends `more` bytes behind its present end.
    pub fn say_length(&mut self, more: usize) {
        let len = (self.0.len() + more - 20) as u16;
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
    }

    pub fn padded_with(mut self, kind: u16, value: &[u8], padding: u8) -> Self {
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(padding);
        }
        self.say_length(0);
        self
    }

    pub fn raw(self, kind: u16, value: &[u8]) -> Self {
        self.padded_with(kind, value, 0)
    }

    pub fn put(self, attribute: &A) -> Self {
        match attribute {
            A::Raw(kind, value) => self.raw(*kind, value),
            A::Xor(kind, address) => {
                let value = xor_value(*address, self.tid());
                self.raw(*kind, &value)
            }
        }
    }

    pub fn all(self, attributes: &[A]) -> Self {
        attributes.iter().fold(self, Self::put)
    }

    pub fn mi(mut self, key: &[u8]) -> Self {
        self.say_length(24);
        let value = hmac(sha1, key, &self.0);
        self.raw(MI, &value)
    }

    pub fn mi256(mut self, key: &[u8]) -> Self {
        self.say_length(36);
        let value = hmac(sha256, key, &self.0);
        self.raw(MI256, &value)
    }

    pub fn fingerprint(mut self) -> Self {
        self.say_length(8);
        let value = (crc32(&self.0) ^ 0x5354_554E).to_be_bytes();
        self.raw(FINGERPRINT, &value)
    }
}

pub fn xor_value(address: SocketAddr, tid: [u8; 12]) -> Vec<u8> {
    let mask: Vec<u8> = [0x21, 0x12, 0xA4, 0x42].into_iter().chain(tid).collect();
    let (number, octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, number];
    value.extend_from_slice(&(address.port() ^ 0x2112).to_be_bytes());
    value.extend(octets.iter().zip(&mask).map(|(octet, mask)| octet ^ mask));
    value
}

pub fn channel_data(number: u16, bytes: &[u8]) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    frame.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

// ---- reading --------------------------------------------------------------------------------------------------

/// A message from the server, whose form has been checked.
#[derive(Clone, Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub kind: u16,
    /// Type, value and offset of the attribute.
    pub attributes: Vec<(u16, Vec<u8>, usize)>,
}

impl Answer {
    /// Reads a message, strictly: RFC 8489 §5 and §14, padding of zeroes, FINGERPRINT last and right.
    pub fn read(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 20, "a whole header");
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        assert_eq!(kind & 0xC000, 0, "the first two bits");
        assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - 20, "the length");
        assert_eq!(bytes[4..8], [0x21, 0x12, 0xA4, 0x42], "the cookie");
        let mut attributes = Vec::new();
        let mut at = 20;
        while at < bytes.len() {
            let kind = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            let end = at + 4 + len;
            let next = end.next_multiple_of(4);
            assert!(bytes[end..next].iter().all(|byte| *byte == 0), "padding is zero");
            attributes.push((kind, bytes[at + 4..end].to_vec(), at));
            at = next;
        }
        assert_eq!(at, bytes.len());
        let answer = Self { bytes: bytes.to_vec(), kind, attributes };
        if let Some(place) = answer.place(FINGERPRINT) {
            assert_eq!(place + 8, bytes.len(), "FINGERPRINT is last");
            let value = (crc32(&bytes[..place]) ^ 0x5354_554E).to_be_bytes();
            assert_eq!(bytes[place + 4..], value, "FINGERPRINT is right");
        }
        if let Some(value) = answer.get(ERROR_CODE) {
            assert!(value[0] == 0 && value[1] == 0 && (3..=6).contains(&value[2]) && value[3] < 100);
        }
        answer
    }

    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|found| found.0 == kind).map(|found| &found.1[..])
    }

    pub fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    fn place(&self, kind: u16) -> Option<usize> {
        self.attributes.iter().find(|found| found.0 == kind).map(|found| found.2)
    }

    pub fn kinds(&self) -> Vec<u16> {
        self.attributes.iter().map(|found| found.0).collect()
    }

    /// 0 for a success response.
    pub fn code(&self) -> u16 {
        match self.kind & 0x0110 {
            0x0100 => {
                assert!(!self.has(ERROR_CODE));
                0
            }
            0x0110 => {
                let value = self.get(ERROR_CODE).expect("an error response has ERROR-CODE");
                u16::from(value[2]) * 100 + u16::from(value[3])
            }
            _ => panic!("not a response: {:04x}", self.kind),
        }
    }

    pub fn address(&self, kind: u16) -> SocketAddr {
        *self.addresses(kind).first().expect("the address attribute is there")
    }

    /// All XORed addresses of this type.
    pub fn addresses(&self, kind: u16) -> Vec<SocketAddr> {
        let mask = [&[0x21, 0x12, 0xA4, 0x42], &self.bytes[8..20]].concat();
        self.read_addresses(kind, &mask)
    }

    /// All addresses of this type that are not XORed.
    pub fn plain_addresses(&self, kind: u16) -> Vec<SocketAddr> {
        self.read_addresses(kind, &[0; 16])
    }

    fn read_addresses(&self, kind: u16, mask: &[u8]) -> Vec<SocketAddr> {
        let read = |value: &[u8]| {
            let octets: Vec<u8> = value[4..].iter().zip(mask).map(|(octet, mask)| octet ^ mask).collect();
            let ip = match (value[1], value.len()) {
                (1, 8) => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap()),
                (2, 20) => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
                other => panic!("family and length do not fit: {other:?}"),
            };
            assert_eq!(value[0], 0, "RFC 8489 §14.1: the first byte is zero");
            SocketAddr::new(ip, u16::from_be_bytes([value[2] ^ mask[0], value[3] ^ mask[1]]))
        };
        self.attributes.iter().filter(|found| found.0 == kind).map(|found| read(&found.1)).collect()
    }

    pub fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.get(LIFETIME).unwrap().try_into().unwrap())
    }

    pub fn connection(&self) -> ConnectionId {
        ConnectionId(u32::from_be_bytes(self.get(CONNECTION_ID).unwrap().try_into().unwrap()))
    }

    pub fn unknown(&self) -> Vec<u16> {
        let value = self.get(UNKNOWN).expect("UNKNOWN-ATTRIBUTES is there");
        value.chunks(2).map(|kind| u16::from_be_bytes([kind[0], kind[1]])).collect()
    }

    /// Asserts that exactly the named one of the two integrity attributes is there, right, and stands last but for
    /// FINGERPRINT.
    pub fn assert_signed(&self, kind: u16, key: &[u8]) {
        let other = if kind == MI { MI256 } else { MI };
        assert!(!self.has(other), "never both integrity attributes, and never the other one");
        let place = self.place(kind).unwrap_or_else(|| panic!("integrity is there: {self:?}"));
        let size = if kind == MI { 20 } else { 32 };
        let mut covered = self.bytes[..place].to_vec();
        covered[2..4].copy_from_slice(&((place + 4 + size - 20) as u16).to_be_bytes());
        let hash = if kind == MI { sha1 } else { sha256 };
        assert_eq!(self.get(kind).unwrap(), hmac(hash, key, &covered), "integrity is right");
        let tail = self.bytes.len() - (place + 4 + size);
        assert_eq!(tail, if self.has(FINGERPRINT) { 8 } else { 0 });
    }

    pub fn assert_unsigned(&self) {
        assert!(!self.has(MI) && !self.has(MI256), "no integrity can be there");
    }

    pub fn is_challenge(&self) -> bool {
        self.has(REALM) && self.has(NONCE) && self.has(ALGORITHMS)
    }
}

// ---- the world ------------------------------------------------------------------------------------------------

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    Dropped(DropReason),
    Consumed,
    Answer(Vec<u8>),
    /// The answer, and what the stream belongs to from now on.
    Bound(Vec<u8>, ConnectionId),
    ToPeer {
        relayed: SocketAddr,
        peer: SocketAddr,
        data: Vec<u8>,
    },
    ToClient {
        route: ClientRoute,
        bytes: Vec<u8>,
    },
    AnswerFrom {
        server: SocketAddr,
        client: SocketAddr,
        bytes: Vec<u8>,
    },
    Forward(u8),
}

impl Out {
    pub fn answer(self) -> Answer {
        match self {
            Self::Answer(bytes) | Self::Bound(bytes, _) => Answer::read(&bytes),
            other => panic!("an answer was expected: {other:?}"),
        }
    }

    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Consumed)
    }
}

/// Relay sockets that are not there.
#[derive(Default)]
pub struct Sockets {
    pub open: BTreeMap<u32, (AllocationId, SocketAddr, String)>,
    pub opened: u32,
    pub closed: u32,
    pub quota: Option<usize>,
    pub exhausted: bool,
    /// Families without a free port.
    pub no_ports: BTreeSet<u8>,
    /// Held ports: owner's token, address, until when.
    pub reserved: BTreeMap<[u8; 8], (SocketAddr, Timestamp)>,
    /// Routes that were adopted and not released.
    pub adopted: Vec<ClientRoute>,
    pub released: Vec<ClientRoute>,
    /// Live relayed transport addresses of other workers.
    pub elsewhere: BTreeSet<SocketAddr>,
    /// Addresses that the machine has got since the policy was made.
    pub ours: BTreeSet<IpAddr>,
    /// The tokens of those that are for TCP.
    pub listening: BTreeSet<u32>,
    /// Connections with peers, and from where they were asked for.
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// How many of them there have been.
    pub made: u32,
    /// Connections that the core has closed.
    pub cut: Vec<ConnectionId>,
    /// What is left of the byte budgets, and how often somebody asked.
    pub budgets: RefCell<BTreeMap<String, u64>>,
    pub drawn: Cell<u32>,
    /// Those of listening sockets.
    pub meters: BTreeMap<u32, StreamMeter>,
}

/// A connection with a peer that is not there.
#[derive(Clone, Debug)]
pub struct Connection {
    pub name: PeerConnection,
    /// The relayed transport address that it is to begin at; `None` if the peer made it.
    pub from: Option<SocketAddr>,
    pub waiting: Option<Waiting>,
    pub bound: bool,
    pub traffic: (Traffic, Traffic),
}

pub const RELAY4: &str = "8.34.2.1";
pub const RELAY6: &str = "2a01:4f8:34::1";

impl RelaySockets for Sockets {
    fn is_ours(&self, ip: IpAddr) -> bool {
        self.ours.contains(&ip)
    }

    fn bind(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        parity: Parity,
        owner: Owner<'_>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        let held = self.open.values().filter(|socket| socket.2 == owner.name).count();
        if self.quota.is_some_and(|quota| held >= quota) || held >= owner.most as usize {
            return Err(BindError::Quota);
        }
        if self.exhausted || self.no_ports.contains(&family.number()) {
            return Err(BindError::Exhausted);
        }
        let ip = if family == AddressFamily::Ipv4 { RELAY4 } else { RELAY6 };
        let token = self.opened;
        let even = if parity == Parity::Even { 0 } else { 1 };
        let port = 49152 + (token % 8192) as u16 * 2 + even;
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        self.opened += 1;
        self.open.insert(token, (id, address, owner.name.to_owned()));
        Ok((RelayToken(token), RelayedTransportAddress(address)))
    }

    fn bind_pair(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        hold: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        let (relay, relayed) = self.bind(id, family, Parity::Even, owner)?;
        let next = SocketAddr::new(relayed.0.ip(), relayed.0.port() + 1);
        let token = sha256(next.to_string().as_bytes())[..8].try_into().unwrap();
        self.reserved.insert(token, (next, hold.until));
        Ok((relay, relayed, ReservationToken(token)))
    }

    fn redeem(
        &mut self,
        id: AllocationId,
        token: ReservationToken,
        owner: Owner<'_>,
        now: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        let held = self.open.values().filter(|socket| socket.2 == owner.name).count();
        if self.quota.is_some_and(|quota| held >= quota) || held >= owner.most as usize {
            return Err(BindError::Quota);
        }
        let (address, until) = self.reserved.remove(&token.0).ok_or(BindError::Exhausted)?;
        if until <= now {
            return Err(BindError::Exhausted);
        }
        let token = self.opened;
        self.opened += 1;
        self.open.insert(token, (id, address, owner.name.to_owned()));
        Ok((RelayToken(token), RelayedTransportAddress(address)))
    }

    fn close(&mut self, relay: RelayToken, owner: &str) {
        let socket = self.open.remove(&relay.0).expect("a socket is closed once");
        assert_eq!(socket.2, owner, "quota goes back to whom it was taken from");
        self.closed += 1;
    }

    fn draw(&self, budget: Budget<'_>, bytes: u64) -> Option<u64> {
        self.drawn.set(self.drawn.get() + 1);
        let mut budgets = self.budgets.borrow_mut();
        let left = budgets.entry(budget.username.to_owned()).or_insert(budget.total);
        let drawn = bytes.min(*left);
        *left -= drawn;
        Some(drawn)
    }

    fn restore(&self, budget: Budget<'_>, bytes: u64) {
        *self.budgets.borrow_mut().get_mut(budget.username).unwrap() += bytes;
    }

    fn adopt(&mut self, route: &ClientRoute) {
        self.adopted.push(*route);
    }

    fn release(&mut self, route: &ClientRoute) {
        self.released.push(*route);
    }

    fn is_live(&self, address: SocketAddr) -> bool {
        let is_here = |(token, socket): (&u32, &(_, SocketAddr, _))| {
            socket.1 == address && !self.listening.contains(token)
        };
        self.elsewhere.contains(&address) || self.open.iter().any(is_here)
    }

    fn listen(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        meter: Option<StreamMeter>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        let bound = self.bind(id, family, Parity::Any, owner)?;
        self.listening.insert(bound.0.0);
        self.meters.extend(meter.map(|meter| (bound.0.0, meter)));
        Ok(bound)
    }

    fn settle(&mut self, relay: RelayToken) -> u64 {
        self.meters.remove(&relay.0).map_or(0, |mut meter| meter.close())
    }

    fn is_listening(&self, address: SocketAddr) -> bool {
        self.listening.iter().any(|token| self.open.get(token).is_some_and(|socket| socket.1 == address))
    }

    fn connect(
        &mut self,
        allocation: AllocationId,
        relay: RelayToken,
        peer: PeerAddress,
    ) -> Result<ConnectionId, BindError> {
        if self.exhausted {
            return Err(BindError::Exhausted);
        }
        assert!(self.listening.contains(&relay.0), "connections begin at a relayed address for TCP");
        let from = Some(self.open[&relay.0].1);
        Ok(self.add_connection(allocation, from, peer))
    }

    fn waiting(&self, connection: ConnectionId) -> Option<Waiting> {
        self.connections.get(&connection)?.waiting.clone()
    }

    fn claim(&mut self, connection: ConnectionId) -> bool {
        let Some(found) = self.connections.get_mut(&connection) else { return false };
        found.bound = found.waiting.take().is_some();
        found.bound
    }

    fn abandon(&mut self, connection: ConnectionId) -> bool {
        let waits = self.waiting(connection).is_some();
        if waits {
            self.disconnect(connection);
        }
        waits
    }

    fn disconnect(&mut self, connection: ConnectionId) -> (Traffic, Traffic) {
        let closed = self.connections.remove(&connection).expect("a connection is closed once");
        self.cut.push(connection);
        closed.traffic
    }
}

impl Sockets {
    fn add_connection(
        &mut self,
        allocation: AllocationId,
        from: Option<SocketAddr>,
        peer: PeerAddress,
    ) -> ConnectionId {
        self.made += 1;
        let id = ConnectionId(0x1234_0000 + self.made);
        let name = PeerConnection { allocation, peer, id };
        let traffic = Default::default();
        self.connections.insert(id, Connection { name, from, waiting: None, bound: false, traffic });
        id
    }
}

/// What a test may choose before the server begins.
pub struct Choice {
    pub realm: String,
    pub secrets: Vec<&'static str>,
    pub separator: char,
    pub expired: Expired,
    pub oauth: Vec<OauthKey>,
    pub nonce_lifetime: Duration,
    pub policy: PeerPolicy,
    pub limits: Limits,
    pub ipv4: bool,
    pub ipv6: bool,
    pub family_default: FamilyDefault,
    pub alternates: Alternates,
    pub tcp: bool,
    pub mobility: bool,
    pub discovery: Vec<Discovery>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            realm: REALM_TEXT.into(),
            secrets: Vec::new(),
            separator: ':',
            expired: Expired::default(),
            oauth: Vec::new(),
            nonce_lifetime: Duration::from_secs(600),
            policy: PeerPolicy {
                relayed: vec![RELAY4.parse().unwrap(), RELAY6.parse().unwrap()],
                own: vec!["8.34.2.2".parse().unwrap()],
                ..PeerPolicy::default()
            },
            limits: Limits::default(),
            ipv4: true,
            ipv6: true,
            family_default: FamilyDefault::Ipv4,
            alternates: Alternates::default(),
            tcp: false,
            mobility: true,
            discovery: Vec::new(),
        }
    }
}

impl Choice {
    pub fn settings(self) -> Settings {
        let user = |name: &str, credential| User { name: name.into(), credential };
        let password = |text: &str| Credential::Password(text.to_owned().into());
        let key = |text: String| md5(text.as_bytes()).try_into().unwrap();
        let key256 = |text: String| sha256(text.as_bytes()).try_into().unwrap();
        let users = vec![
            user("alice", password("wonder")),
            user("bob", password("builder")),
            user("マトリックス", password("TheMatrIX")),
            user("old", Credential::Md5(key(format!("old:{}:man", self.realm)))),
            user("new", Credential::Sha256(key256(format!("new:{}:born", self.realm)))),
        ];
        let secrets = self
            .secrets
            .iter()
            .map(|secret| SharedSecret { name: (*secret).into(), secret: secret.as_bytes().to_vec().into() });
        let settings = auth::Settings {
            realm: self.realm,
            nonce_lifetime: self.nonce_lifetime,
            users,
            secrets: secrets.collect(),
            separator: self.separator,
            expired: self.expired,
            oauth: self.oauth,
            server_name: SERVER_NAME.into(),
        };
        Settings {
            limits: self.limits,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            family_default: self.family_default,
            alternates: self.alternates,
            tcp: self.tcp,
            mobility: self.mobility,
            discovery: self.discovery.into(),
            ..Settings::new(Arc::new(Authenticator::new(settings, &[42; 32]).unwrap()), Arc::new(self.policy))
        }
    }
}

/// A server and all around it.
pub struct World {
    pub server: Server,
    pub sockets: Sockets,
    pub now: Now,
    reply: Box<ReplyBuffer>,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(choose: impl FnOnce(&mut Choice)) -> Self {
        let mut choice = Choice::default();
        choose(&mut choice);
        Self {
            server: Server::new(choice.settings(), [1, 2, 3, 4]),
            sockets: Sockets::default(),
            now: Now { mono: Timestamp::after_start(Duration::from_secs(1000)), unix: START_UNIX },
            reply: Box::default(),
        }
    }

    /// Lets time pass; no timer runs.
    pub fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.unix += time.as_secs();
    }

    pub fn pass_secs(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Runs all timers that are due.
    pub fn timers(&mut self) {
        while self.server.next_timeout().is_some_and(|at| at <= self.now.mono) {
            self.server.handle_timeout(&self.now, &mut self.sockets);
        }
    }

    /// A client's stream closes.
    pub fn closes(&mut self, route: ClientRoute) {
        self.server.handle_closed(&self.now, &route, &mut self.sockets);
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    /// Checks that no table leaks and the books are in order.
    pub fn audit(&mut self) {
        assert!(self.server.is_consistent());
        assert_eq!(self.sockets.opened, self.sockets.closed + self.sockets.open.len() as u32);
        assert!(self.server.allocation_count() <= self.sockets.open.len());
        let counters = *self.server.counters();
        assert_eq!(counters.connections, self.sockets.connections.len() as u64);
        let allocations: u64 = counters.by_transport.iter().map(|one| one.allocations).sum();
        assert_eq!(allocations, self.server.allocation_count() as u64);
    }

    /// The only connection to a peer.
    pub fn connection_to(&self, peer: SocketAddr) -> PeerConnection {
        let mut found = self.sockets.connections.values().filter(|found| found.name.peer.0 == peer);
        let (one, other) = (found.next().expect("a connection"), found.next());
        assert!(other.is_none(), "one connection to a peer");
        one.name
    }

    /// The peer answers a connection that was asked for. Returns what the client gets.
    pub fn connected(&mut self, peer: SocketAddr) -> (ClientRoute, Answer) {
        let name = self.connection_to(peer);
        let offer =
            self.server.handle_connected(&self.now, &name, &mut self.reply).expect("a live allocation");
        (offer.client, self.offer(name, offer))
    }

    /// The peer refuses, or does not answer.
    pub fn connect_failed(&mut self, peer: SocketAddr) -> Option<Answer> {
        let name = self.connection_to(peer);
        self.sockets.connections.remove(&name.id);
        self.server.handle_connect_failed(&name, &mut self.reply)?;
        Some(Answer::read(self.reply.bytes()))
    }

    /// A peer connects to a relayed transport address. Returns what the client gets.
    pub fn incoming(&mut self, relayed: SocketAddr, peer: SocketAddr) -> Result<Answer, DropReason> {
        let id = self.sockets.open.values().find(|socket| socket.1 == relayed).expect("a live address").0;
        let id = self.sockets.add_connection(id, None, PeerAddress(peer));
        let name = self.sockets.connections[&id].name;
        match self.server.handle_incoming(&self.now, &name, &mut self.reply, &mut self.sockets) {
            Ok(offer) => Ok(self.offer(name, offer)),
            Err(reason) => {
                self.sockets.connections.remove(&id);
                Err(reason)
            }
        }
    }

    fn offer(&mut self, name: PeerConnection, offer: Offer) -> Answer {
        self.sockets.connections.get_mut(&name.id).unwrap().waiting = Some(offer.waiting);
        Answer::read(self.reply.bytes())
    }

    /// Both sides have closed a connection.
    pub fn connection_closed(&mut self, peer: SocketAddr) {
        self.connection_ended(peer, ConnectionEnd::Closed);
    }

    /// A connection has ended.
    pub fn connection_ended(&mut self, peer: SocketAddr, end: ConnectionEnd) {
        let name = self.connection_to(peer);
        let relayed = self.sockets.connections.remove(&name.id).unwrap().traffic;
        self.server.handle_disconnected(&self.now, &name, end, relayed, &mut self.sockets);
    }

    /// Live allocations, all calls that it takes made.
    pub fn sessions(&self, user: Option<&str>, limit: usize) -> Vec<Session> {
        let mut lookup = Lookup::new(user.map(Into::into), limit);
        while !self.server.look_up(&self.now, &mut lookup) {}
        lookup.into_found()
    }

    /// Reads up to `most` bytes from a connection of the one allocation that is metered.
    pub fn read(&mut self, turn: &mut Turn, most: usize) -> Leave {
        let mut meters = std::mem::take(&mut self.sockets.meters);
        let meter = meters.values_mut().next().unwrap();
        let leave = meter.ask(&self.now, turn, most, |budget, bytes| self.sockets.draw(budget, bytes));
        if let Leave::Read(len) = leave {
            meter.settle(&self.now, turn, len, len);
        }
        self.sockets.meters = meters;
        leave
    }

    /// Feeds what a client sent.
    pub fn feed(&mut self, route: ClientRoute, bytes: &[u8]) -> Out {
        self.feed_marked(route, bytes, 0).0
    }

    /// The same with a type of service, and what the answer or the relayed datagram leaves with.
    pub fn feed_marked(&mut self, route: ClientRoute, bytes: &[u8], tos: u8) -> (Out, Marks) {
        let mut datagram = Datagram::new(bytes, Marks { tos, dont_fragment: false });
        let verdict =
            self.server.handle_client(&self.now, route, &mut datagram, &mut self.reply, &mut self.sockets);
        let (rest, marks) = match verdict {
            Verdict::Reply => (self.reply.bytes().to_vec(), Marks::default()),
            _ => (datagram.to_vec(), datagram.marks()),
        };
        let out = match verdict {
            Verdict::Drop(reason) => Out::Dropped(reason),
            Verdict::Consumed => Out::Consumed,
            Verdict::Reply => Out::Answer(rest),
            Verdict::Bind { connection } => Out::Bound(self.reply.bytes().to_vec(), connection),
            Verdict::ToPeer { relay, peer } => {
                Out::ToPeer { relayed: self.sockets.open[&relay.0].1, peer: peer.0, data: rest }
            }
            Verdict::ReplyFrom { server, client } => {
                Out::AnswerFrom { server, client, bytes: self.reply.bytes().to_vec() }
            }
            Verdict::Forward { worker } => {
                assert_eq!(rest, bytes, "it is handed on as it came");
                Out::Forward(worker)
            }
            Verdict::ToClient { .. } => panic!("a client's message goes to no client"),
        };
        (out, marks)
    }

    /// Feeds what arrived at a relayed transport address.
    pub fn arrives(&mut self, relayed: SocketAddr, peer: SocketAddr, bytes: &[u8]) -> Out {
        let id = self.allocation_at(relayed);
        self.arrives_at(id, peer, bytes)
    }

    pub fn arrives_at(&mut self, id: AllocationId, peer: SocketAddr, bytes: &[u8]) -> Out {
        self.arrives_marked(id, peer, bytes, 0).0
    }

    /// The same with a type of service, and what the message to the client leaves with.
    pub fn arrives_marked(
        &mut self,
        id: AllocationId,
        peer: SocketAddr,
        bytes: &[u8],
        tos: u8,
    ) -> (Out, Marks) {
        let mut datagram = Datagram::new(bytes, Marks { tos, dont_fragment: false });
        let verdict = self.server.handle_peer(&self.now, id, PeerAddress(peer), &mut datagram, &self.sockets);
        (to_client(verdict, &datagram), datagram.marks())
    }

    /// Lets the network say something about a datagram that was sent from a relayed transport address.
    pub fn icmp(&mut self, relayed: SocketAddr, peer: SocketAddr, kind: u8, code: u8, info: u32) -> Out {
        let id = self.allocation_at(relayed);
        self.icmp_at(id, peer, kind, code, info)
    }

    pub fn icmp_at(&mut self, id: AllocationId, peer: SocketAddr, kind: u8, code: u8, info: u32) -> Out {
        let mut datagram = Datagram::new(&[], Marks::default());
        let error = IcmpError { peer: PeerAddress(peer), kind, code, info };
        let verdict = self.server.handle_icmp(&self.now, id, &error, &mut datagram);
        assert_eq!(datagram.marks(), Marks::default());
        to_client(verdict, &datagram)
    }

    /// Whose relayed transport address this is.
    pub fn allocation_at(&self, relayed: SocketAddr) -> AllocationId {
        self.sockets.open.values().find(|socket| socket.1 == relayed).expect("a live address").0
    }
}

fn to_client(verdict: Verdict, datagram: &Datagram<'_>) -> Out {
    match verdict {
        Verdict::Drop(reason) => Out::Dropped(reason),
        Verdict::ToClient { client } => Out::ToClient { route: client, bytes: datagram.to_vec() },
        other => panic!("what comes from the network goes to a client or nowhere: {other:?}"),
    }
}

// ---- clients --------------------------------------------------------------------------------------------------

/// How a client proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 5389: MD5 key, MESSAGE-INTEGRITY, no PASSWORD-ALGORITHM.
    Old,
    /// PASSWORD-ALGORITHM MD5, MESSAGE-INTEGRITY-SHA256.
    Md5,
    /// PASSWORD-ALGORITHM SHA-256, MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

#[derive(Clone)]
pub struct Client {
    pub route: ClientRoute,
    pub user: String,
    pub password: String,
    pub scheme: Scheme,
    pub by_hash: bool,
    pub fingerprint: bool,
    pub realm: String,
    pub nonce: Vec<u8>,
    /// A session key, used as it is instead of one made from the password (RFC 7635 §5).
    pub mac_key: Option<Vec<u8>>,
    /// ACCESS-TOKEN for Allocate and Refresh (RFC 7635 §9).
    pub token: Option<Vec<u8>>,
    serial: u32,
}

impl Client {
    pub fn new(user: &str, password: &str) -> Self {
        let tuple = FiveTuple {
            client: ClientAddress(addr("9.9.9.9:40000")),
            server: addr("8.34.2.1:3478"),
            transport: Transport::Udp,
        };
        Self {
            route: ClientRoute { tuple, link: 7 },
            user: user.into(),
            password: password.into(),
            scheme: Scheme::Old,
            by_hash: false,
            fingerprint: false,
            realm: String::new(),
            nonce: Vec::new(),
            mac_key: None,
            token: None,
            serial: 0,
        }
    }

    pub fn alice() -> Self {
        Self::new("alice", "wonder")
    }

    pub fn bob() -> Self {
        Self::new("bob", "builder")
    }

    /// A holder of a time-limited credential.
    pub fn rest(name: &str, secret: &str) -> Self {
        Self::new(name, &rest_password(secret, name))
    }

    pub fn at(mut self, address: &str) -> Self {
        self.route.tuple.client.0 = addr(address);
        self
    }

    pub fn over(mut self, transport: Transport) -> Self {
        self.route.tuple.transport = transport;
        self
    }

    pub fn with(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    pub fn tid(&mut self) -> [u8; 12] {
        self.serial += 1;
        let mut tid = [0x5A; 12];
        tid[..4].copy_from_slice(&self.serial.to_be_bytes());
        tid[4..6].copy_from_slice(&self.route.tuple.client.0.port().to_be_bytes());
        tid
    }

    pub fn key(&self) -> Vec<u8> {
        if let Some(mac_key) = &self.mac_key {
            return mac_key.clone();
        }
        let text = format!("{}:{}:{}", self.user, self.realm, self.password);
        if self.scheme == Scheme::Sha256 { sha256(text.as_bytes()) } else { md5(text.as_bytes()) }
    }

    /// Which integrity attribute answers to this client carry.
    pub fn answer_kind(&self) -> u16 {
        if self.scheme == Scheme::Old { MI } else { MI256 }
    }

    /// A message without credentials.
    pub fn plain(&mut self, kind: u16, attributes: &[A]) -> Msg {
        Msg::new(kind, self.tid()).all(attributes)
    }

    /// Appends who is asking.
    pub fn identify(&self, message: Msg) -> Msg {
        let message = if self.by_hash {
            let text = format!("{}:{}", self.user, self.realm);
            message.raw(USERHASH, &sha256(text.as_bytes()))
        } else {
            message.raw(USERNAME, self.user.as_bytes())
        };
        let kind = u16::from_be_bytes([message.0[0], message.0[1]]);
        let message = match &self.token {
            Some(token) if [ALLOCATE, REFRESH].contains(&kind) => message.raw(ACCESS_TOKEN, token),
            _ => message,
        };
        let message = message.raw(REALM, self.realm.as_bytes()).raw(NONCE, &self.nonce);
        match self.scheme {
            Scheme::Old => message,
            Scheme::Md5 => message.raw(ALGORITHMS, &OFFER).raw(ALGORITHM, &[0, 1, 0, 0]),
            Scheme::Sha256 => message.raw(ALGORITHMS, &OFFER).raw(ALGORITHM, &[0, 2, 0, 0]),
        }
    }

    /// Appends integrity, and FINGERPRINT if the client uses it.
    pub fn sign(&self, message: Msg) -> Msg {
        let signed = match self.scheme {
            Scheme::Old => message.mi(&self.key()),
            _ => message.mi256(&self.key()),
        };
        if self.fingerprint { signed.fingerprint() } else { signed }
    }

    /// A whole authenticated request.
    pub fn signed(&mut self, kind: u16, attributes: &[A]) -> Msg {
        let message = self.plain(kind, attributes);
        self.sign(self.identify(message))
    }

    /// Sends and reads the answer, which has the method and transaction id of the request.
    pub fn send(&self, world: &mut World, message: &Msg) -> Answer {
        let answer = world.feed(self.route, &message.0).answer();
        let kind = u16::from_be_bytes([message.0[0], message.0[1]]);
        assert_eq!(answer.kind & !0x0110, kind, "the method of the answer is that of the request");
        assert_eq!(answer.kind & 0x0100, 0x0100, "the answer is a response");
        assert_eq!(answer.bytes[8..20], message.0[8..20], "the transaction id comes back");
        let fingerprint =
            message.0.len() >= 28 && message.0[message.0.len() - 8..][..4] == [0x80, 0x28, 0, 4];
        assert_eq!(answer.has(FINGERPRINT), fingerprint, "FINGERPRINT for those who use it");
        answer
    }

    /// Learns realm and nonce.
    pub fn challenge(&mut self, world: &mut World) -> Answer {
        let request = self.plain(ALLOCATE, &[udp()]);
        let answer = self.send(world, &request);
        assert_eq!(answer.code(), 401);
        answer.assert_unsigned();
        self.take(&answer);
        answer
    }

    /// Takes over realm and nonce from a challenge.
    pub fn take(&mut self, answer: &Answer) {
        assert!(answer.is_challenge());
        self.realm = String::from_utf8(answer.get(REALM).unwrap().to_vec()).unwrap();
        self.nonce = answer.get(NONCE).unwrap().to_vec();
        assert_eq!(answer.get(ALGORITHMS), Some(&OFFER[..]));
    }

    /// Sends an authenticated request that passes the login; the answer is signed as it has to be.
    pub fn ask(&mut self, world: &mut World, kind: u16, attributes: &[A]) -> Answer {
        if self.nonce.is_empty() {
            self.challenge(world);
        }
        let request = self.signed(kind, attributes);
        let answer = self.send(world, &request);
        answer.assert_signed(self.answer_kind(), &self.key());
        for absent in [REALM, NONCE, USERNAME, USERHASH] {
            assert!(!answer.has(absent), "RFC 8489 §9.2.4: SHOULD NOT be included");
        }
        answer
    }

    /// Like `ask`, but the request fails the login.
    pub fn ask_in_vain(&mut self, world: &mut World, kind: u16, attributes: &[A]) -> Answer {
        if self.nonce.is_empty() {
            self.challenge(world);
        }
        let request = self.signed(kind, attributes);
        let answer = self.send(world, &request);
        answer.assert_unsigned();
        assert_eq!(answer.is_challenge(), answer.code() != 400, "{}", answer.code());
        assert!(!answer.has(USERNAME) && !answer.has(USERHASH));
        answer
    }

    pub fn allocate(&mut self, world: &mut World) -> SocketAddr {
        let answer = self.ask(world, ALLOCATE, &[udp()]);
        assert_eq!(answer.code(), 0);
        answer.address(RELAYED)
    }

    pub fn allocate_tcp(&mut self, world: &mut World) -> SocketAddr {
        let answer = self.ask(world, ALLOCATE, &[tcp()]);
        assert_eq!(answer.code(), 0);
        answer.address(RELAYED)
    }

    /// Begins a connection; the answer comes later.
    pub fn connect(&mut self, world: &mut World, peer: SocketAddr) -> Msg {
        let request = self.signed(CONNECT, &[to(peer)]);
        assert_eq!(world.feed(self.route, &request.0), Out::Consumed);
        request
    }

    /// A ConnectionBind from a connection of its own.
    pub fn bind_connection(&self, world: &mut World, from: &str, id: ConnectionId) -> Answer {
        let mut data = self.clone().at(from);
        data.nonce.clear();
        data.ask(world, CONNECTION_BIND, &[connection(id)])
    }

    pub fn allocate6(&mut self, world: &mut World) -> SocketAddr {
        let answer = self.ask(world, ALLOCATE, &[udp(), family(2)]);
        assert_eq!(answer.code(), 0);
        answer.address(RELAYED)
    }

    pub fn permit(&mut self, world: &mut World, peers: &[SocketAddr]) -> u16 {
        let attributes: Vec<A> = peers.iter().map(|peer| to(*peer)).collect();
        self.ask(world, CREATE_PERMISSION, &attributes).code()
    }

    pub fn bind(&mut self, world: &mut World, number: u16, peer: SocketAddr) -> u16 {
        self.ask(world, CHANNEL_BIND, &[channel(number), to(peer)]).code()
    }

    pub fn refresh(&mut self, world: &mut World, attributes: &[A]) -> Answer {
        self.ask(world, REFRESH, attributes)
    }

    /// A Send indication.
    pub fn indicate(&mut self, world: &mut World, peer: SocketAddr, bytes: &[u8]) -> Out {
        let message = self.plain(SEND, &[to(peer), data(bytes)]);
        world.feed(self.route, &message.0)
    }

    /// ChannelData.
    pub fn frame(&self, world: &mut World, number: u16, bytes: &[u8]) -> Out {
        world.feed(self.route, &channel_data(number, bytes))
    }

    /// Whether data reach the peer, and nothing else happens.
    pub fn reaches(&mut self, world: &mut World, peer: SocketAddr) -> bool {
        match self.indicate(world, peer, b"ping") {
            Out::ToPeer { peer: there, data, .. } => {
                assert_eq!((there, &data[..]), (peer, &b"ping"[..]));
                true
            }
            Out::Dropped(_) => false,
            other => panic!("{other:?}"),
        }
    }
}

/// An allocation of alice with a permission for `peer(1)`.
pub fn talking() -> (World, Client, SocketAddr) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    (world, alice, relayed)
}

/// Asserts that a datagram became a Data indication, and returns peer and data.
pub fn data_indication(out: Out) -> (SocketAddr, Vec<u8>) {
    let Out::ToClient { bytes, .. } = out else { panic!("a Data indication was expected: {out:?}") };
    let answer = Answer::read(&bytes);
    assert_eq!(answer.kind, 0x0017, "a Data indication");
    assert_eq!(answer.kinds(), [PEER, DATA]);
    (answer.address(PEER), answer.get(DATA).unwrap().to_vec())
}

/// Asserts that an ICMP error became a Data indication without data, and returns peer and value of ICMP.
pub fn icmp_indication(out: Out) -> (SocketAddr, Vec<u8>) {
    let Out::ToClient { bytes, .. } = out else { panic!("a Data indication was expected: {out:?}") };
    let answer = Answer::read(&bytes);
    assert_eq!(answer.kind, 0x0017, "a Data indication");
    assert_eq!(answer.kinds(), [PEER, ICMP]);
    (answer.address(PEER), answer.get(ICMP).unwrap().to_vec())
}
