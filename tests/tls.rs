//! TLS listeners of the program itself: handshakes, names, protocols, streams below and above, and certificates that
//! change while it runs.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;
#[path = "support/secure.rs"]
mod secure;

use live::{channel_data, eventually, heard, peer};
use relais::wire::attr;
use secure::Secure;

const CHANNEL: u16 = 0x4001;

#[test]
fn a_client_over_tls_is_served_like_any_other() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let own = client.stream().local_addr().unwrap();
    assert_eq!(client.binding().address(attr::XOR_MAPPED_ADDRESS), own);
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    for len in [1, 5, 1000, 20_000, 60_000] {
        client.send(&channel_data(CHANNEL, &vec![7; len]));
        assert_eq!(heard(&peer), (vec![7; len], relayed));
        peer.send_to(&vec![8; len], relayed).unwrap();
        assert_eq!(client.receive(), channel_data(CHANNEL, &vec![8; len]));
    }
    assert!(secure.server.log().contains("tls:"));
    assert_eq!(secure.server.metric("relais_allocations{transport=\"tls\"}"), 1.0);
    assert_eq!(secure.server.metric("relais_streams{transport=\"tls\"}"), 1.0);
    drop(client);
    assert!(eventually(|| secure.server.metric("relais_allocations{transport=\"tls\"}") == 0.0));
}
