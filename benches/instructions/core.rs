//! The core alone: a server without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{self, Authenticator, Credential, User};
use relais::time::{Now, Timestamp};
use relais::turn::{
    AllocationId, BindError, ClientAddress, ClientRoute, FiveTuple, Hold, Owner, Parity, PeerAddress,
    PeerPolicy, RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken, Server, Settings,
    Transport, Verdict,
};
use relais::wire::{AddressFamily, Datagram, Marks, ReplyBuffer, fingerprint};

use crate::shape::{Client, KEY, REALM, Shape, USER, is_success, set_up};

/// Remembers whose the one relay socket is.
struct Sockets(Option<AllocationId>);

impl RelaySockets for Sockets {
    fn bind(
        &mut self,
        id: AllocationId,
        _: AddressFamily,
        _: Parity,
        _: Owner<'_>,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.0 = Some(id);
        Ok((RelayToken(0), RelayedTransportAddress("8.34.2.1:50000".parse().unwrap())))
    }

    fn bind_pair(
        &mut self,
        _: AllocationId,
        _: AddressFamily,
        _: Owner<'_>,
        _: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        Err(BindError::Exhausted)
    }

    fn redeem(
        &mut self,
        _: AllocationId,
        _: ReservationToken,
        _: Owner<'_>,
        _: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        Err(BindError::Exhausted)
    }

    fn close(&mut self, _: RelayToken, _: &str) {}

    fn is_live(&self, _: SocketAddr) -> bool {
        false
    }
}

/// A server with a client, and what the client or its peer sends again and again.
pub(crate) struct Core {
    server: Server,
    sockets: Sockets,
    reply: Box<ReplyBuffer>,
    now: Now,
    route: ClientRoute,
    shape: Shape,
    peer: SocketAddr,
    /// The packets or requests of one step.
    sent: Vec<Vec<u8>>,
}

impl Core {
    pub(crate) fn new(shape: Shape, payload: usize) -> Self {
        let users = vec![User { name: USER.to_owned(), credential: Credential::Md5(KEY) }];
        let settings = auth::Settings {
            realm: REALM.to_owned(),
            nonce_lifetime: Duration::from_secs(600),
            users,
            secrets: Vec::new(),
            separator: ':',
            expired: auth::Expired::default(),
            oauth: Vec::new(),
            server_name: String::new(),
        };
        let authenticator = Authenticator::new(settings, &[1; 32]).unwrap();
        let settings = Settings::new(Arc::new(authenticator), Arc::new(PeerPolicy::default()));
        let tuple = FiveTuple {
            client: ClientAddress("9.9.9.9:40000".parse().unwrap()),
            server: "8.34.2.1:3478".parse().unwrap(),
            transport: Transport::Udp,
        };
        let (bound, permitted) = ("8.8.0.1:5000".parse().unwrap(), "8.8.0.2:5000".parse().unwrap());
        let mut core = Self {
            server: Server::new(settings, [1, 2, 3, 4]),
            sockets: Sockets(None),
            reply: Box::default(),
            now: Now { mono: Timestamp::after_start(Duration::from_secs(1)), unix: 1_800_000_000 },
            route: ClientRoute { tuple, link: 0 },
            shape,
            peer: if shape.is_channel() { bound } else { permitted },
            sent: Vec::new(),
        };
        let mut client = Client::new();
        let sent = match shape {
            Shape::Binding => vec![client.binding()],
            Shape::Cycle => {
                let challenge = core.exchange(&client.allocate());
                client.learn(&challenge);
                vec![client.allocate(), client.permission(permitted), client.channel(bound), client.delete()]
            }
            _ => {
                set_up(|request| core.exchange(request), bound, permitted);
                vec![shape.bytes(core.peer, payload)]
            }
        };
        core.sent = sent;
        core
    }

    /// Sends a request and returns the response.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut datagram = Datagram::new(request, Marks::default());
        let Self { server, sockets, reply, now, route, .. } = self;
        assert_eq!(server.handle_client(now, *route, &mut datagram, reply, sockets), Verdict::Reply);
        reply.bytes().to_vec()
    }

    /// Handles one packet, or the requests of one client.
    pub(crate) fn step(&mut self) {
        let Self { server, sockets, reply, now, route, shape, peer, sent } = self;
        for bytes in sent {
            if *shape == Shape::Checksum {
                std::hint::black_box(fingerprint(std::hint::black_box(bytes)));
                continue;
            }
            let mut datagram = Datagram::new(std::hint::black_box(bytes), Marks::default());
            let verdict = match (*shape, sockets.0) {
                (Shape::ChannelToClient | Shape::Data, Some(id)) => {
                    server.handle_peer(now, id, PeerAddress(*peer), &mut datagram, sockets)
                }
                _ => server.handle_client(now, *route, &mut datagram, reply, sockets),
            };
            match verdict {
                Verdict::ToPeer { .. } | Verdict::ToClient { .. } => {
                    std::hint::black_box(datagram.parts());
                }
                Verdict::Reply => {
                    assert!(is_success(reply.bytes()));
                    // Whoever owns a server reads them.
                    while server.poll_event().is_some() {}
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
