//! The whole program, between real sockets on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::shape::{PASSWORD, REALM, Shape, USER, set_up};

/// Packets on the way at once. The server stands still while they are sent, so that it gets all of them together and
/// each run does the same.
const WINDOW: usize = 32;

/// Counts the instructions of a server that relays as many packets of one shape, its start and end included.
pub(crate) fn count(file: &Path, folder: &Path, shape: Shape, payload: usize, packets: usize) -> u64 {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.join("relais.toml");
    let text = format!(
        "listen.udp = [\"127.0.0.1:{port}\"]\nlisten.tcp = []\nlisten.workers = 1\nrelay.addresses = [\"127.0.0.1\"]\n\
         auth.realm = \"{REALM}\"\nauth.users = [{{ name = \"{USER}\", password = \"{PASSWORD}\" }}]\n\
         peers.allow = [\"127.0.0.1\"]\nhttp.listen = []\nadmin.listen = []\nlog.level = \"error\"\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = config.display().to_string();
    crate::count(file, &[env!("CARGO_BIN_EXE_relais"), "serve", "--config", &config], |server| {
        let signal = |name: &str| {
            let id = server.id().to_string();
            assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
        };
        load(SocketAddr::from(([127, 0, 0, 1], port)), shape, payload, packets, &signal);
        // The first one drains, the second one stops.
        for _ in 0..2 {
            signal("-TERM");
            std::thread::sleep(Duration::from_millis(300));
        }
    })
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// Relays packets, [`WINDOW`] at a time, and waits until each has arrived.
fn load(server: SocketAddr, shape: Shape, payload: usize, packets: usize, signal: &dyn Fn(&str)) {
    let (client, bound, permitted) = (socket(), socket(), socket());
    client.connect(server).unwrap();
    let mut buffer = [0; 4096];
    let exchange = |request: &[u8]| {
        // The program starts slowly under valgrind; until then its port is closed.
        for _ in 0..120 {
            let sent = client.send(request);
            // What has been sent again is answered again, perhaps when the next request is on its way.
            while sent.is_ok()
                && let Ok(len) = client.recv(&mut buffer)
            {
                if buffer[8..20] == request[8..20] {
                    return buffer[..len].to_vec();
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no answer");
    };
    let relayed = set_up(exchange, bound.local_addr().unwrap(), permitted.local_addr().unwrap());
    let peer = if shape.is_channel() { bound } else { permitted };
    let bytes = shape.bytes(peer.local_addr().unwrap(), payload);
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..packets.div_ceil(WINDOW) {
        signal("-STOP");
        for _ in 0..WINDOW {
            if shape.is_to_peer() { client.send(&bytes) } else { peer.send_to(&bytes, relayed) }.unwrap();
        }
        signal("-CONT");
        for _ in 0..WINDOW {
            if shape.is_to_peer() { peer.recv(&mut buffer) } else { client.recv(&mut buffer) }.unwrap();
        }
    }
}
