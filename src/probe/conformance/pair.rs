//! Two allocations, each the other's peer: every safe server lets its own relayed addresses reach each other, so data can
//! be checked wherever the server is. And a plain socket of this machine as a peer, where the server reaches it.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::Probe;
use super::client::{Client, FromPeer};
use super::outcome::{Finding, Outcome, need, not_testable};

/// How long a datagram may take from one relayed address of a server to another.
const SETTLED: Duration = Duration::from_millis(200);

/// The client under test, and the peer that it talks to.
pub(super) struct Pair<'a> {
    pub(super) client: Client<'a>,
    /// The client's relayed address.
    pub(super) relayed: SocketAddr,
    pub(super) other: Client<'a>,
    /// The peer, as the client sees it.
    pub(super) peer: SocketAddr,
}

impl<'a> Pair<'a> {
    /// With a permission at the peer alone.
    pub(super) fn without_permission(client: Client<'a>) -> Result<Self, Finding> {
        let probe = client.probe;
        let (client, relayed) = client.allocate()?;
        let (mut other, peer) = Client::open(probe)?.allocate()?;
        other.permit(relayed)?;
        Ok(Self { client, relayed, other, peer })
    }

    /// With permissions on both sides.
    pub(super) fn open(probe: &'a Probe) -> Result<Self, Finding> {
        Self::of(Client::open(probe)?)
    }

    pub(super) fn of(client: Client<'a>) -> Result<Self, Finding> {
        let mut pair = Self::without_permission(client)?;
        pair.client.permit(pair.peer)?;
        Ok(pair)
    }

    /// What the peer receives next; it must come from the client's relayed address.
    pub(super) fn peer_hears(&mut self) -> Result<Vec<u8>, Finding> {
        let FromPeer { data, from, .. } = self.other.hear()?;
        if from == Ok(self.relayed) {
            return Ok(data);
        }
        Err(Finding::Fail(format!("the peer sees the data come from {from:?} instead of {}", self.relayed)))
    }

    /// The peer sends to the client's relayed address.
    pub(super) fn peer_says(&mut self, data: &[u8]) -> Outcome {
        self.other.say(self.relayed, data)
    }

    /// Sends data that must arrive: if they are the first that the peer hears, all that was sent before was discarded.
    pub(super) fn nothing_went_before(&mut self) -> Outcome {
        self.client.permit(self.peer)?;
        self.client.say(self.peer, b"behind")?;
        let heard = self.peer_hears()?;
        need(heard == b"behind", format!("{} bytes were relayed", heard.len()))
    }

    /// The same in the other direction. What the peer has sent first passes two sockets of the server, and no answer
    /// tells when; so it is given some time.
    pub(super) fn nothing_came_before(&mut self) -> Outcome {
        self.other.fence()?;
        std::thread::sleep(SETTLED);
        self.client.permit(self.peer)?;
        self.peer_says(b"behind")?;
        let heard = self.client.hear()?;
        need(heard.data == b"behind", format!("{} bytes were relayed", heard.data.len()))
    }

    /// Sends data and wants the peer to hear the same.
    pub(super) fn carries(&mut self, data: &[u8]) -> Outcome {
        self.client.say(self.peer, data)?;
        let heard = self.peer_hears()?;
        need(heard == data, format!("{} bytes were sent, {} arrived", data.len(), heard.len()))
    }
}

/// A UDP socket of this machine that the server may reach.
pub(super) fn socket(probe: &Probe) -> Result<(UdpSocket, SocketAddr), Finding> {
    let Some(mapped) = probe.survey.mapped.filter(|_| probe.survey.reaches_us) else {
        return not_testable("needs a peer that the server may reach: run it from a public address");
    };
    let bind = || {
        let socket = UdpSocket::bind((mapped.ip(), 0))?;
        socket.set_read_timeout(Some(probe.limit))?;
        Ok((socket.local_addr()?, socket))
    };
    bind().map(|(address, socket)| (socket, address)).map_err(|error: std::io::Error| {
        Finding::NotTestable(format!("no socket can be opened here: {error}"))
    })
}

/// What a socket receives next, and from where.
pub(super) fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr), Finding> {
    let mut buffer = vec![0; 65_535];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            buffer.truncate(length);
            Ok((buffer, from))
        }
        Err(_) => Err(Finding::Fail("the data did not arrive".to_owned())),
    }
}
