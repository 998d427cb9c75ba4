//! The log of the program itself: what it costs those who are served when nobody takes it, and what signals say in it.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/live.rs"]
mod live;

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use live::{Server, data_of, eventually, heard, http, peer};
use relais::wire::method;

/// A call goes on, and the server says that it is well, whatever becomes of what it logs meanwhile.
fn serves_over(stderr: Stdio) {
    let mut server = Server::spawn_over(stderr, &[]);
    assert!(eventually(|| TcpStream::connect(server.address()).is_ok()), "it listens");
    let mut client = server.udp();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.permit(peer_address), 0);
    for _ in 0..20 {
        let mut stranger = server.udp().login("alice", "not her password");
        assert_eq!(stranger.call(method::ALLOCATE, |_| {}).code(), 401);
        client.say(peer_address, b"there");
        assert_eq!(heard(&peer), (b"there".to_vec(), relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(data_of(&client.receive()), (peer_address, b"back".to_vec()));
    }
    assert_eq!(client.refresh(600).code(), 0);
    let admin = SocketAddr::new(server.address().ip(), 9478);
    assert_eq!(http(admin, "/readyz", &[]).0, 200);
    assert_eq!(client.refresh(0).code(), 0);
    server.signal("TERM");
    assert!(eventually(|| server.has_ended()), "it stops");
}

#[test]
fn a_log_that_cannot_be_written_costs_nobody_anything() {
    serves_over(File::options().write(true).open("/dev/full").unwrap().into());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    serves_over(writer.into());
}

#[test]
fn a_log_that_nobody_reads_costs_nobody_anything() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    // As much as it holds; where that is less, the thread waits for ever, and it is full as well.
    let full = std::thread::spawn(move || filling.write_all(&[b'.'; 65_536]));
    for _ in 0..100 {
        if full.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    serves_over(writer.into());
}

#[test]
fn signals_of_other_servers_end_nothing() {
    let mut server = Server::start(&[]);
    server.signal("USR2");
    server.wait_for_log("configuration reloaded");
    server.signal("USR1");
    server.wait_for_log("SIGTERM drains and stops");
    server.assert_running();
    let mut client = server.udp();
    client.relay();
    assert_eq!(client.refresh(0).code(), 0);
    server.signal("TERM");
    server.wait_for_log("stopped");
}
