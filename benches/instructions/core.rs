//! The core alone: a server without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{self, Authenticator, Credential, User};
use relais::time::{Now, Timestamp};
use relais::turn::{
    AllocationId, BindError, ClientAddress, ClientRoute, FiveTuple, Hold, Parity, PeerAddress, PeerPolicy,
    RelaySockets, RelayToken, RelayedTransportAddress, ReservationToken, Server, Settings, Transport,
    Verdict,
};
use relais::wire::{AddressFamily, Datagram, Marks, ReplyBuffer, fingerprint};

use crate::shape::{KEY, REALM, Shape, USER, set_up};

/// Remembers whose the one relay socket is.
struct Sockets(Option<AllocationId>);

impl RelaySockets for Sockets {
    fn bind(
        &mut self,
        id: AllocationId,
        _: AddressFamily,
        _: Parity,
        _: &str,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        self.0 = Some(id);
        Ok((RelayToken(0), RelayedTransportAddress("8.34.2.1:50000".parse().unwrap())))
    }

    fn bind_pair(
        &mut self,
        _: AllocationId,
        _: AddressFamily,
        _: &str,
        _: Hold,
    ) -> Result<(RelayToken, RelayedTransportAddress, ReservationToken), BindError> {
        Err(BindError::Exhausted)
    }

    fn redeem(
        &mut self,
        _: AllocationId,
        _: ReservationToken,
        _: &str,
        _: Timestamp,
    ) -> Result<(RelayToken, RelayedTransportAddress), BindError> {
        Err(BindError::Exhausted)
    }

    fn close(&mut self, _: RelayToken, _: &str) {}

    fn is_live(&self, _: SocketAddr) -> bool {
        false
    }
}

/// Relays as many packets of one shape.
pub(crate) fn relay(shape: Shape, payload: usize, packets: usize) {
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
    let mut server = Server::new(settings, [1, 2, 3, 4]);
    let mut sockets = Sockets(None);
    let mut reply = Box::<ReplyBuffer>::default();
    let now = Now { mono: Timestamp::after_start(Duration::from_secs(1)), unix: 1_800_000_000 };
    let tuple = FiveTuple {
        client: ClientAddress("9.9.9.9:40000".parse().unwrap()),
        server: "8.34.2.1:3478".parse().unwrap(),
        transport: Transport::Udp,
    };
    let route = ClientRoute { tuple, link: 0 };
    let (bound, permitted) = ("8.8.0.1:5000".parse().unwrap(), "8.8.0.2:5000".parse().unwrap());
    let mut exchange = |request: &[u8]| {
        let mut datagram = Datagram::new(request, Marks::default());
        let verdict = server.handle_client(&now, route, &mut datagram, &mut reply, &mut sockets);
        assert_eq!(verdict, Verdict::Reply);
        reply.bytes().to_vec()
    };
    set_up(&mut exchange, bound, permitted);
    let peer = if shape.is_channel() { bound } else { permitted };
    let bytes = shape.bytes(peer, payload);
    if shape == Shape::Checksum {
        for _ in 0..packets {
            std::hint::black_box(fingerprint(std::hint::black_box(&bytes)));
        }
        return;
    }
    let id = sockets.0.unwrap();
    for _ in 0..packets {
        let mut datagram = Datagram::new(std::hint::black_box(&bytes), Marks::default());
        let verdict = if shape.is_to_peer() {
            server.handle_client(&now, route, &mut datagram, &mut reply, &mut sockets)
        } else {
            server.handle_peer(&now, id, PeerAddress(peer), &mut datagram, &sockets)
        };
        assert!(matches!(verdict, Verdict::ToPeer { .. } | Verdict::ToClient { .. }), "{verdict:?}");
        std::hint::black_box(datagram.parts());
    }
}
