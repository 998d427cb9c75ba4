//! The wire between the independent client and the server, with an ear on it.
//!
//! The client of the `turn` crate tells little about why something failed, ends its reading at the first packet
//! that it does not understand, and mixes indications and channels. So all its packets pass through a [`Tap`],
//! which tells what it saw, swallows what would end the client's reading, and can hold back ChannelBind.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use stun::addr::AlternateServer;
use stun::attributes::{
    ATTR_ALTERNATE_SERVER, ATTR_MAPPED_ADDRESS, ATTR_NONCE, ATTR_REALM, ATTR_XOR_RELAYED_ADDRESS,
    ATTR_XORMAPPED_ADDRESS, AttrType,
};
use stun::error_code::ErrorCodeAttribute;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter as _,
    METHOD_CHANNEL_BIND, METHOD_DATA, METHOD_SEND, Message, Method, is_message,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use turn::proto::chandata::ChannelData;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use webrtc_util::Conn;

use super::tls::Tls;
use crate::client::uri::Transport;

/// Events that wait for the listener; what comes beyond is not told.
const QUEUE: usize = 1024;

/// The longest text of a server that is repeated, in characters.
const LONGEST_TEXT: usize = 80;

/// A response of the server.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: [u8; 12],
    pub(super) at: Instant,
    pub(super) method: Method,
    /// The error; 0 for an error response that tells none; `None` for success.
    pub(super) code: Option<u16>,
    /// The reason phrase, fit for printing.
    pub(super) reason: String,
    pub(super) has_realm: bool,
    pub(super) has_nonce: bool,
    /// Seconds.
    pub(super) lifetime: Option<u64>,
    pub(super) mapped: Option<SocketAddr>,
    pub(super) relayed: Option<SocketAddr>,
    pub(super) alternate: Option<SocketAddr>,
    /// MAPPED-ADDRESS without XOR-MAPPED-ADDRESS, as RFC 3489 had it.
    pub(super) is_ancient: bool,
}

/// What passed the tap.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A request went out, for the first time or again.
    Asked { id: [u8; 12], at: Instant },
    /// A ChannelBind was held back.
    Held { request: Vec<u8> },
    /// The server answered.
    Answer(Box<Answer>),
    /// Data went out, in ChannelData or in a Send indication.
    DataOut { by_channel: bool, packet: Vec<u8> },
    /// Data came in, in ChannelData or in a Data indication.
    DataIn { by_channel: bool },
    /// Sending failed, or an ICMP error came back.
    Trouble(io::ErrorKind, String),
    /// Something came that is neither STUN nor ChannelData.
    Foreign,
}

enum Wire {
    Udp(UdpSocket),
    Stream { local: SocketAddr, read: Mutex<Inbound>, write: Mutex<Box<dyn AsyncWrite + Send + Unpin>> },
}

impl Wire {
    fn stream(
        local: SocketAddr,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let read = Mutex::new(Inbound { half: Box::new(read), rest: Vec::new() });
        Self::Stream { local, read, write: Mutex::new(Box::new(write)) }
    }
}

struct Inbound {
    half: Box<dyn AsyncRead + Send + Unpin>,
    /// Bytes that are not a whole frame yet.
    rest: Vec<u8>,
}

/// See the module.
pub(super) struct Tap {
    wire: Wire,
    server: SocketAddr,
    seen: mpsc::Sender<Seen>,
    holds_binds: AtomicBool,
}

impl Tap {
    /// Connects to `server`: with UDP too, so that ICMP errors come back.
    ///
    /// # Errors
    /// There is no way to the server, or, with TCP, it refused.
    pub(super) async fn open(
        server: SocketAddr,
        transport: Transport,
        tls: Option<&Tls>,
    ) -> io::Result<(Self, mpsc::Receiver<Seen>)> {
        let wire = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(super::any_address(server)).await?;
                socket.connect(server).await?;
                Wire::Udp(socket)
            }
            Transport::Tcp | Transport::Tls => match tls {
                None => {
                    let stream = TcpStream::connect(server).await?;
                    stream.set_nodelay(true)?;
                    let local = stream.local_addr()?;
                    let (read, write) = stream.into_split();
                    Wire::stream(local, read, write)
                }
                Some(tls) => {
                    let stream = tls.connect(server).await?;
                    let local = stream.get_ref().0.local_addr()?;
                    let (read, write) = tokio::io::split(stream);
                    Wire::stream(local, read, write)
                }
            },
        };
        let (seen, receiver) = mpsc::channel(QUEUE);
        Ok((Self { wire, server, seen, holds_binds: AtomicBool::new(false) }, receiver))
    }

    /// Whether ChannelBind requests are held back from now on.
    pub(super) fn hold_binds(&self, hold: bool) {
        self.holds_binds.store(hold, Ordering::Relaxed);
    }

    /// Sends a packet that was seen before once more.
    pub(super) async fn resend(&self, packet: &[u8]) {
        self.tell_outgoing(packet);
        self.put(packet).await;
    }

    fn tell(&self, seen: Seen) {
        // A full queue means a flood; the first events of it tell enough.
        let _ = self.seen.try_send(seen);
    }

    fn tell_outgoing(&self, packet: &[u8]) {
        let packet_seen = match decoded(packet) {
            Some(message) if message.typ.class == CLASS_REQUEST => {
                Seen::Asked { id: message.transaction_id.0, at: Instant::now() }
            }
            Some(message) if message.typ.method == METHOD_SEND => {
                Seen::DataOut { by_channel: false, packet: packet.to_vec() }
            }
            Some(_) => return,
            None => Seen::DataOut { by_channel: true, packet: packet.to_vec() },
        };
        self.tell(packet_seen);
    }

    /// Trouble is told, not returned: the client would give up at once, and a lost packet is sent again anyway.
    async fn put(&self, packet: &[u8]) {
        let result = match &self.wire {
            Wire::Udp(socket) => socket.send(packet).await.map(|_| ()),
            Wire::Stream { write, .. } => {
                let mut write = write.lock().await;
                match write.write_all(packet).await {
                    Ok(()) => write.flush().await,
                    failed => failed,
                }
            }
        };
        if let Err(error) = result {
            self.tell(Seen::Trouble(error.kind(), error.to_string()));
        }
    }

    async fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let inbound = match &self.wire {
            Wire::Udp(socket) => return socket.recv(buffer).await,
            Wire::Stream { read, .. } => read,
        };
        let mut inbound = inbound.lock().await;
        let Inbound { half, rest } = &mut *inbound;
        loop {
            if let Some(length) = frame_length(rest)? {
                let room = buffer
                    .get_mut(..length)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"))?;
                if let Some(frame) = rest.get(..length) {
                    room.copy_from_slice(frame);
                    rest.drain(..length);
                    return Ok(length);
                }
            }
            if half.read_buf(rest).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    /// Tells about a packet from the server, and whether the client may see it.
    fn admit(&self, packet: &[u8]) -> bool {
        let Some(message) = decoded(packet) else {
            let is_channel_data = ChannelData::is_channel_data(packet);
            self.tell(if is_channel_data { Seen::DataIn { by_channel: true } } else { Seen::Foreign });
            return is_channel_data;
        };
        match message.typ.class {
            CLASS_SUCCESS_RESPONSE | CLASS_ERROR_RESPONSE => {
                self.tell(Seen::Answer(Box::new(Answer::of(&message))));
                true
            }
            CLASS_INDICATION if message.typ.method == METHOD_DATA => {
                let is_whole = PeerAddress::default().get_from(&message).is_ok()
                    && Data::default().get_from(&message).is_ok();
                self.tell(if is_whole { Seen::DataIn { by_channel: false } } else { Seen::Foreign });
                is_whole
            }
            _ => false,
        }
    }
}

fn decoded(packet: &[u8]) -> Option<Message> {
    if !is_message(packet) {
        return None;
    }
    let mut message = Message::new();
    message.raw = packet.to_vec();
    message.decode().is_ok().then_some(message)
}

/// The length of the frame that `bytes` begin with (RFC 8656 §12.5: ChannelData is padded on streams).
fn frame_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[first, _, high, low]) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match first >> 6 {
        0 => Ok(Some(20 + length)),
        1 => Ok(Some(4 + length.next_multiple_of(4))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the server speaks neither STUN nor TURN")),
    }
}

impl Answer {
    fn of(message: &Message) -> Self {
        let code = (message.typ.class == CLASS_ERROR_RESPONSE).then(|| {
            let mut code = ErrorCodeAttribute::default();
            match code.get_from(message) {
                Ok(()) => code,
                Err(_) => ErrorCodeAttribute::default(),
            }
        });
        let xor = |kind: AttrType| {
            let mut address = XorMappedAddress::default();
            address.get_from_as(message, kind).ok().map(|()| SocketAddr::new(address.ip, address.port))
        };
        let plain = |kind: AttrType| {
            let mut address = AlternateServer::default();
            address.get_from_as(message, kind).ok().map(|()| SocketAddr::new(address.ip, address.port))
        };
        let has_text = |kind: AttrType| TextAttribute::get_from_as(message, kind).is_ok();
        let mut lifetime = Lifetime::default();
        let lifetime = lifetime.get_from(message).ok().map(|()| lifetime.0.as_secs());
        let mapped = xor(ATTR_XORMAPPED_ADDRESS);
        Self {
            id: message.transaction_id.0,
            at: Instant::now(),
            method: message.typ.method,
            code: code.as_ref().map(|code| code.code.0),
            reason: code.map_or_else(String::new, |code| printable(&code.reason)),
            has_realm: has_text(ATTR_REALM),
            has_nonce: has_text(ATTR_NONCE),
            lifetime,
            mapped,
            relayed: xor(ATTR_XOR_RELAYED_ADDRESS),
            alternate: plain(ATTR_ALTERNATE_SERVER),
            is_ancient: mapped.is_none() && plain(ATTR_MAPPED_ADDRESS).is_some(),
        }
    }

    /// `401 Unauthorized`.
    pub(super) fn error(&self) -> String {
        match (self.code, self.reason.as_str()) {
            (None, _) => "success".to_owned(),
            (Some(0), _) => "an error without a code".to_owned(),
            (Some(code), "") => format!("{code} {}", super::explain::name(code)).trim_end().to_owned(),
            (Some(code), reason) => format!("{code} {reason}"),
        }
    }
}

/// Text of a server, without what could play with a terminal.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect()
}

#[async_trait::async_trait]
impl Conn for Tap {
    async fn connect(&self, _: SocketAddr) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        self.recv_from(buffer).await.map(|(length, _)| length)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        loop {
            match self.take(buffer).await {
                Ok(length) => {
                    if buffer.get(..length).is_some_and(|packet| self.admit(packet)) {
                        return Ok((length, self.server));
                    }
                }
                Err(error) => {
                    self.tell(Seen::Trouble(error.kind(), error.to_string()));
                    match self.wire {
                        // An ICMP error is reported once, and says nothing about the next packet.
                        Wire::Udp(_) => tokio::task::yield_now().await,
                        Wire::Stream { .. } => return Err(error.into()),
                    }
                }
            }
        }
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, webrtc_util::Error> {
        let is_bind = decoded(packet).is_some_and(|message| message.typ.method == METHOD_CHANNEL_BIND);
        if is_bind && self.holds_binds.load(Ordering::Relaxed) {
            self.tell(Seen::Held { request: packet.to_vec() });
        } else {
            self.resend(packet).await;
        }
        Ok(packet.len())
    }

    async fn send_to(&self, packet: &[u8], _: SocketAddr) -> Result<usize, webrtc_util::Error> {
        self.send(packet).await
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        match &self.wire {
            Wire::Udp(socket) => Ok(socket.local_addr()?),
            Wire::Stream { local, .. } => Ok(*local),
        }
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.server)
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8656_12_5_frames_of_a_stream() {
        assert_eq!(frame_length(&[0, 1, 0]).unwrap(), None);
        assert_eq!(frame_length(&[0, 1, 0, 8, 0x21]).unwrap(), Some(28));
        assert_eq!(frame_length(&[0x40, 0, 0, 5]).unwrap(), Some(12));
        assert!(frame_length(b"HTTP/1.1").is_ok(), "0x48 begins ChannelData");
        assert!(frame_length(&[0x80, 0, 0, 0]).is_err());
    }

    #[test]
    fn text_of_a_server_cannot_play_with_the_terminal() {
        assert_eq!(printable(b"Go \x1b[2Jaway\n"), "Go [2Jaway");
        assert_eq!(printable(&[b'a'; 500]).len(), LONGEST_TEXT);
    }
}
