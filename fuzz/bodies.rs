//! What the fuzz targets do with their bytes. `tests/fuzz_replay.rs` runs the same over the committed corpus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{
    self, AccessToken, Authenticator, Credential, Expired, MAX_TOKEN, OauthKey, TokenAlgorithm, User,
};
use relais::time::{Now, Timestamp};
use relais::turn::{
    AllocationId, BindError, ClientAddress, ClientRoute, ConnectionId, FiveTuple, Hold, Limits, Owner,
    Parity, PeerAddress, PeerPolicy, RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken,
    Server, Settings, StreamMeter, Transport, Verdict,
};
use relais::wire::{
    AddressFamily, Attributes, ChannelData, Class, Datagram, IntegrityKey, MAX_REPLY, Marks, Message,
    MessageWriter, Method, ReplyBuffer, TransactionId, attr,
};

/// Parses, walks, verifies; what parses must survive being written again.
pub fn message(data: &[u8]) {
    let _ = ChannelData::parse(data);
    let Ok(message) = Message::parse(data) else { return };
    let key = IntegrityKey::new(b"key");
    message.fingerprint_holds();
    message.verify(&key);
    let mut buffer = vec![0; data.len() + 64];
    let mut writer = MessageWriter::to(&mut buffer, message.method(), message.class(), message.transaction());
    for attribute in message.attributes() {
        message.xor_address(attribute.value);
        let start = message.offset_of(attribute.value);
        assert_eq!(&data[start..start + attribute.value.len()], attribute.value);
        writer.attribute(attribute.kind, attribute.value);
    }
    writer.message_integrity_sha256(&key).fingerprint();
    let len = writer.finish().expect("what was read fits");
    let again = Message::parse(&buffer[..len]).expect("what was written parses");
    assert!(again.verify(&key) && again.fingerprint_holds() && again.has_fingerprint());
    assert!(again.attributes().eq(message.attributes()));
    let _: Attributes<'_> = again.attributes();
}

const SERVER_NAME: &str = "turn.relay.io";

fn oauth_key(algorithm: TokenAlgorithm) -> OauthKey {
    OauthKey { kid: "north".into(), algorithm, key: vec![9; algorithm.key_len()].into(), expires: None }
}

/// Opens the bytes as tokens of each algorithm, and reads them as what a token holds; what can be read must survive
/// being sealed and opened again.
pub fn token(data: &[u8]) -> bool {
    let block = AccessToken::decode(data);
    for (_, algorithm) in TokenAlgorithm::NAMES {
        let key = oauth_key(algorithm);
        let opened = AccessToken::open(data, &key, SERVER_NAME);
        for token in block.iter().chain(&opened) {
            token.remaining(1_800_000_000);
            let sealed = token.seal(&key, SERVER_NAME, &[3; 12]).expect("the key is as long as it has to be");
            assert!(sealed.len() <= MAX_TOKEN);
            assert_eq!(AccessToken::open(&sealed, &key, SERVER_NAME).as_ref(), Some(token));
            assert_eq!(AccessToken::open(&sealed, &key, "another"), None);
        }
        if opened.is_some() {
            return true;
        }
    }
    block.is_some()
}

#[derive(Default)]
struct Sockets {
    open: Vec<(u32, AllocationId, SocketAddr)>,
    opened: u32,
    closed: u32,
    connections: u32,
}

impl RelaySockets for Sockets {
    fn bind(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        parity: Parity,
        owner: Owner<'_>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        if self.open.len() >= 8 {
            return Err(if owner.name.len().is_multiple_of(2) {
                BindError::Quota
            } else {
                BindError::Exhausted
            });
        }
        self.opened += 1 + u32::from(parity == Parity::Even && self.opened % 2 == 1);
        let token = self.opened - 1;
        let port = 49152 + (token % 16384) as u16;
        let address = match family {
            AddressFamily::Ipv4 => SocketAddr::from(([8, 34, 2, 1], port)),
            AddressFamily::Ipv6 => SocketAddr::from(([0x2a01, 0x4f8, 0, 0, 0, 0, 0, 1], port)),
        };
        self.open.push((token, id, address));
        Ok((RelayToken(token), RelayedTransportAddress(address)))
    }

    fn bind_pair(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        _: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        let (relay, relayed) = self.bind(id, family, Parity::Even, owner)?;
        Ok((relay, relayed, ReservationToken([7; 8])))
    }

    fn redeem(
        &mut self,
        id: AllocationId,
        token: ReservationToken,
        owner: Owner<'_>,
        _: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        if token != ReservationToken([7; 8]) {
            return Err(BindError::Exhausted);
        }
        self.bind(id, AddressFamily::Ipv4, Parity::Any, owner)
    }

    fn listen(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        owner: Owner<'_>,
        _: Option<StreamMeter>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.bind(id, family, Parity::Any, owner)
    }

    fn connect(&mut self, _: AllocationId, _: RelayToken, _: PeerAddress) -> Result<ConnectionId, BindError> {
        self.connections += 1;
        Ok(ConnectionId(self.connections))
    }

    fn close(&mut self, relay: RelayToken, _: &str) {
        let before = self.open.len();
        self.open.retain(|socket| socket.0 != relay.0);
        assert_eq!(self.open.len() + 1, before, "a socket is closed once");
        self.closed += 1;
    }

    fn is_live(&self, address: SocketAddr) -> bool {
        self.open.iter().any(|socket| socket.2 == address)
    }
}

fn settings() -> Settings {
    let users = ["alice", "bob"]
        .map(|name| User { name: name.into(), credential: Credential::Md5([name.len() as u8; 16]) });
    let login = auth::Settings {
        realm: "relay.io".into(),
        nonce_lifetime: Duration::from_secs(600),
        users: users.into(),
        secrets: Vec::new(),
        separator: ':',
        expired: Expired::Cut,
        oauth: vec![oauth_key(TokenAlgorithm::A256Gcm)],
        server_name: SERVER_NAME.into(),
    };
    let authenticator = Authenticator::new(login, &[7; 32]).expect("the names are allowed");
    let policy = PeerPolicy { relayed: vec![[8, 34, 2, 1].into()], ..PeerPolicy::default() };
    let limits = Limits { permissions: 6, channels: 4, connections: 2, ..Limits::default() };
    Settings { limits, tcp: true, ..Settings::new(Arc::new(authenticator), Arc::new(policy)) }
}

/// What a run of [`server`] has come to: tells whether a corpus still reaches what it was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub answers: u32,
    pub allocations: u32,
    pub to_peers: u32,
    pub to_clients: u32,
}

/// Feeds steps: one byte that says what and who, one byte of length, so many bytes.
///
/// The low three bits: 0 and 1 a datagram from a client, 2 attributes of a request that gets signed (its first byte
/// is the method), 3 a peer's datagram, 4 time that passes, 5 timers, 6 the end of a stream, 7 drain. Bits 3 and 4
/// choose the client, bit 5 the user.
pub fn server(data: &[u8]) -> Seen {
    let mut server = Server::new(settings(), [1, 2, 3, 4]);
    let mut sockets = Sockets::default();
    let mut reply = Box::<ReplyBuffer>::default();
    let mut now = Now { mono: Timestamp::START, unix: 1_800_000_000 };
    let mut nonces: [Vec<u8>; 4] = Default::default();
    let mut seen = Seen::default();
    let mut rest = data;
    let mut serial = 0u32;
    while let [what, len, tail @ ..] = rest {
        let (payload, next) = tail.split_at((*len as usize).min(tail.len()));
        rest = next;
        let who = usize::from(what >> 3 & 3);
        let transport = if who == 3 { Transport::Tcp } else { Transport::Udp };
        let client = if who == 2 {
            SocketAddr::from(([0x2a00, 0x1450, 0, 0, 0, 0, 0, 2], 9))
        } else {
            SocketAddr::from(([9, 9, 9, who as u8], 9))
        };
        let server_address = SocketAddr::from(([8, 34, 2, 1], 3478));
        let tuple = FiveTuple { client: ClientAddress(client), server: server_address, transport };
        let route = ClientRoute { tuple, link: who as u32 };
        let mut bytes = payload.to_vec();
        match what & 7 {
            0..=2 => {
                if what & 7 == 2 {
                    serial += 1;
                    bytes = signed(payload, &nonces[who], what & 0x20 != 0, serial);
                }
                let len = bytes.len();
                let mut datagram = Datagram::new(&bytes, Marks::default());
                let verdict = server.handle_client(&now, route, &mut datagram, &mut reply, &mut sockets);
                match verdict {
                    Verdict::Reply => {
                        assert!(reply.bytes().len() <= MAX_REPLY);
                        seen.answers += 1;
                        let answer = Message::parse(reply.bytes()).expect("answers are well-formed");
                        assert!(matches!(answer.class(), Class::SuccessResponse | Class::ErrorResponse));
                        if let Some(nonce) = answer.get(attr::NONCE) {
                            nonces[who] = nonce.to_vec();
                        }
                    }
                    Verdict::ToPeer { relay, .. } => {
                        assert!(sockets.open.iter().any(|socket| socket.0 == relay.0));
                        assert!(datagram.len() <= len);
                        seen.to_peers += 1;
                    }
                    Verdict::ToClient { .. } => panic!("a client's message goes to no client"),
                    Verdict::Forward { .. } => panic!("there is no other worker"),
                    Verdict::ReplyFrom { .. } => panic!("there is no other address"),
                    Verdict::Bind { .. } => panic!("no peer has answered"),
                    Verdict::Drop(_) | Verdict::Consumed => {}
                }
            }
            3 => {
                let Some(&(_, id, address)) = sockets.open.get(who % sockets.open.len().max(1)) else {
                    continue;
                };
                let peer = match address {
                    SocketAddr::V4(_) => SocketAddr::from(([8, 8, 8, *len], 5000)),
                    SocketAddr::V6(_) => {
                        SocketAddr::from(([0x2a01, 0, 0, 0, 0, 0, 0, u16::from(*len)], 5000))
                    }
                };
                let mut datagram = Datagram::new(&bytes, Marks::default());
                match server.handle_peer(&now, id, PeerAddress(peer), &mut datagram, &sockets) {
                    Verdict::ToClient { .. } => seen.to_clients += 1,
                    Verdict::Drop(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            4 => {
                let seconds = Duration::from_secs(u64::from(*len) * 10);
                now.mono = now.mono + seconds;
                now.unix += seconds.as_secs();
            }
            5 => server.handle_timeout(&now, &mut sockets),
            6 => server.handle_closed(&now, &route, &mut sockets),
            _ => server.drain(),
        }
        #[cfg(debug_assertions)]
        assert!(server.is_consistent());
        assert_eq!(server.allocation_count(), sockets.open.len());
        assert_eq!(sockets.opened, sockets.closed + sockets.open.len() as u32);
    }
    server.end_all(&now, &mut sockets);
    assert!(sockets.open.is_empty());
    while server.poll_event().is_some() {}
    seen.allocations = sockets.opened;
    seen
}

/// A request with the attributes of `payload`, which passes the login when the nonce is right.
fn signed(payload: &[u8], nonce: &[u8], second: bool, serial: u32) -> Vec<u8> {
    let (method, attributes) = payload.split_first().unwrap_or((&3, &[]));
    let mut id = [0; 12];
    // One in four repeats the transaction before it.
    id[..4].copy_from_slice(&(serial / 4 * 3 + serial % 4 % 3).to_be_bytes());
    let mut buffer = [0; 1024];
    let name = if second { "bob" } else { "alice" };
    let mut writer =
        MessageWriter::to(&mut buffer, Method(u16::from(*method)), Class::Request, TransactionId(id));
    // Type, length and value without padding, one after another.
    let mut rest = attributes;
    while let [k0, k1, len, tail @ ..] = rest {
        let (value, next) = tail.split_at(usize::from(*len).min(tail.len()));
        writer.attribute(relais::wire::AttributeType(u16::from_be_bytes([*k0, *k1])), value);
        rest = next;
    }
    writer.attribute(attr::USERNAME, name.as_bytes());
    writer.attribute(attr::REALM, b"relay.io").attribute(attr::NONCE, nonce);
    writer.message_integrity(&IntegrityKey::new(&[name.len() as u8; 16]));
    let len = writer.finish().unwrap_or(0);
    buffer[..len].to_vec()
}
