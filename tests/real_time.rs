//! What takes minutes of real time, against the program itself. Ignored unless asked for:
//! `cargo test --test real_time -- --ignored`. The same in the simulated clock: `tests/sim/timers.rs`.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/live.rs"]
mod live;

use std::thread::sleep;
use std::time::Duration;

use live::{Server, heard, peer};
use tokio::time::Instant;

#[test]
#[ignore = "takes five minutes"]
fn a_permission_lives_for_300_seconds_of_real_time() {
    let server = Server::start(&[]);
    let mut client = server.udp();
    let relayed = client.relay();
    let (socket, address) = peer();
    let before = Instant::now();
    assert_eq!(client.permit(address), 0);
    let after = Instant::now();
    let until = |instant: Instant| sleep(instant.saturating_duration_since(Instant::now()));
    until(before + Duration::from_secs(298));
    client.say(address, b"in time");
    assert_eq!(heard(&socket), (b"in time".to_vec(), relayed));
    socket.send_to(b"there, too", relayed).unwrap();
    assert!(client.try_receive().is_some());
    until(after + Duration::from_secs(301));
    client.say(address, b"too late");
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "nothing passes without a permission");
    client.set_patience(Duration::from_secs(2));
    socket.send_to(b"too late, too", relayed).unwrap();
    assert!(client.try_receive().is_none(), "nor the other way");
    assert_eq!(client.permit(address), 0);
    client.say(address, b"again");
    socket.set_read_timeout(Some(live::SOON)).unwrap();
    assert_eq!(heard(&socket), (b"again".to_vec(), relayed));
}
