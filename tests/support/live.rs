//! The program itself on loopback, and a small TURN client of its own with blocking sockets.
//!
//! Each server gets an address of its own out of 127.0.0.0/8, so that tests run side by side on the usual ports.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use md5::{Digest as _, Md5};
use relais::wire::{
    AttributeType, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr, method, padded,
};
use sha2::Sha256;
use tokio::time::Instant;

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long anything may take that is to happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(5);

static SERVERS: AtomicU32 = AtomicU32::new(2);

/// An address of 127.0.0.0/8 that no other server of this run has.
fn own_address() -> Ipv4Addr {
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from_bits(0x7F00_0000 | (std::process::id() & 0xFFFF) << 8 | number)
}

/// `count` ports in a row for relayed addresses that nobody uses now or is likely to.
pub(crate) fn relay_ports(count: u16) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = 12_000 + (std::process::id().wrapping_mul(64).wrapping_add(step)) % 18_000;
        let first = u16::try_from(first).unwrap();
        let ports = first..first + count;
        if ports.clone().all(|port| UdpSocket::bind((LOOPBACK, port)).is_ok()) {
            return format!("{first}-{}", first + count - 1);
        }
    }
}

/// A running server, ended with the value.
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    pub(crate) ip: Ipv4Addr,
}

impl Server {
    /// Starts one with these keys instead of the usual ones, `("section.key", "TOML")`, and waits until it is ready.
    pub(crate) fn start(keys: &[(&str, &str)]) -> Self {
        let server = Self::spawn(keys, None);
        server.wait_for_log("ready");
        server
    }

    /// The same with this in its environment.
    pub(crate) fn start_in(environment: &[(&str, &str)], keys: &[(&str, &str)]) -> Self {
        let server = Self::launch(environment, keys, None);
        server.wait_for_log("ready");
        server
    }

    /// The same without waiting.
    pub(crate) fn spawn_in(environment: &[(&str, &str)], keys: &[(&str, &str)]) -> Self {
        Self::launch(environment, keys, None)
    }

    /// Starts one, perhaps with a limit of descriptors, and does not wait.
    pub(crate) fn spawn(keys: &[(&str, &str)], descriptors: Option<u32>) -> Self {
        Self::launch(&[], keys, descriptors)
    }

    /// Starts one whose standard error is this, and does not wait.
    pub(crate) fn spawn_over(stderr: Stdio, keys: &[(&str, &str)]) -> Self {
        Self::launch_over(Some(stderr), &[], keys, None)
    }

    fn launch(environment: &[(&str, &str)], keys: &[(&str, &str)], descriptors: Option<u32>) -> Self {
        Self::launch_over(None, environment, keys, descriptors)
    }

    fn launch_over(
        stderr: Option<Stdio>,
        environment: &[(&str, &str)],
        keys: &[(&str, &str)],
        descriptors: Option<u32>,
    ) -> Self {
        let ip = own_address();
        let directory = std::env::temp_dir().join(format!("relais-live-{}-{ip}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let usual = [
            ("listen.udp", format!("[\"{ip}:3478\"]")),
            ("listen.tcp", format!("[\"{ip}:3478\"]")),
            ("listen.workers", "1".to_owned()),
            ("relay.addresses", "[\"127.0.0.1\"]".to_owned()),
            ("auth.users", "[{ name = \"alice\", password = \"wonderland\" }]".to_owned()),
            ("peers.allow", "[\"127.0.0.1\"]".to_owned()),
            ("http.listen", "[]".to_owned()),
            ("admin.listen", format!("[\"{ip}:9478\"]")),
        ];
        let mut text = String::new();
        for (key, value) in &usual {
            if !keys.iter().any(|(other, _)| other == key) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        for (key, value) in keys {
            text.push_str(&format!("{key} = {}\n", value.replace("OWN", &ip.to_string())));
        }
        let mut server = Self { child: Self::nothing(), directory, ip };
        let file = server.file("relais.toml", &text);
        let log = std::fs::File::create(server.directory.join("log")).unwrap();
        let program = env!("CARGO_BIN_EXE_relais");
        let mut command = match descriptors {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), program]);
                shell
            }
        };
        command.args(["serve", "--config", &file]).env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null());
        server.child =
            command.stdout(Stdio::null()).stderr(stderr.unwrap_or_else(|| log.into())).spawn().unwrap();
        server
    }

    fn nothing() -> Child {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        child
    }

    /// A file next to the configuration, which may name it by `name` alone.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }

    pub(crate) fn wait_for_log(&self, word: &str) {
        assert!(eventually(|| self.log().contains(word)), "no {word:?} in the log:\n{}", self.log());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.into(), 3478)
    }

    pub(crate) fn udp(&self) -> Client {
        Client::udp(self.address())
    }

    pub(crate) fn tcp(&self) -> Client {
        Client::tcp(self.address())
    }

    /// The value of a series of /metrics, labels and all.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, text) = http(SocketAddr::new(self.ip.into(), 9478), "/metrics", &[]);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory of its own in bytes: without the text of the program, which comes and goes as it is used.
    pub(crate) fn resident(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // Linux counts in hundredths of a second on every architecture that this runs on.
        Duration::from_millis(10 * ticks)
    }

    /// The CPUs that each thread may use, in the form of /proc, by the names of the threads.
    pub(crate) fn cpus(&self) -> Vec<(String, String)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |status: &str, key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
        };
        let read = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            (of(&status, "Name:"), of(&status, "Cpus_allowed_list:"))
        };
        let mut all: Vec<_> = tasks.map(|task| read(task.unwrap())).collect();
        all.sort();
        all
    }

    /// The names of all threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.map(|task| name(task.unwrap()).trim().to_owned()).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn assert_running(&mut self) {
        assert!(!self.has_ended(), "the server has ended:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether `condition` comes true soon.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    condition()
}

/// Status and body of a GET.
pub(crate) fn http(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Other(Box<dyn Wire>),
    Tls(Box<TlsLink>),
}

/// TLS, and the socket below it.
pub(crate) struct TlsLink {
    pub(crate) stream: RwLock<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>,
    pub(crate) socket: TcpStream,
}

impl TlsLink {
    /// Shakes hands with the server, by whatever name. The error is that of the handshake.
    pub(crate) fn new(server: SocketAddr, name: &str, config: Arc<rustls::ClientConfig>) -> io::Result<Self> {
        Self::over(TcpStream::connect(server).unwrap(), name, config)
    }

    /// The same on a connection that is there.
    pub(crate) fn over(
        mut socket: TcpStream,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = rustls::ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let below = socket.try_clone().unwrap();
        Ok(Self { stream: RwLock::new(rustls::StreamOwned::new(tls, socket)), socket: below })
    }
}

/// Another way to carry messages.
pub(crate) trait Wire: Send + Sync {
    fn send(&self, message: &[u8]);
    fn receive(&self) -> Option<Vec<u8>>;
    fn set_patience(&self, patience: Duration);
}

/// A TURN client that logs in as alice unless told otherwise.
pub(crate) struct Client {
    pub(crate) link: Link,
    name: String,
    password: String,
    sha256: bool,
    /// Session key and token, sent with Allocate and Refresh (RFC 7635).
    token: Option<(Vec<u8>, Vec<u8>)>,
    realm: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    algorithms: Option<Vec<u8>>,
    next: u32,
}

impl Client {
    pub(crate) fn udp(server: SocketAddr) -> Self {
        let any: IpAddr = if server.is_ipv4() { LOOPBACK } else { "::1".parse().unwrap() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self::with(Link::Udp(socket))
    }

    pub(crate) fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self::with(Link::Tcp(stream))
    }

    pub(crate) fn tls(server: SocketAddr, name: &str, config: Arc<rustls::ClientConfig>) -> Self {
        Self::with(Link::Tls(Box::new(TlsLink::new(server, name, config).unwrap())))
    }

    pub(crate) fn with(link: Link) -> Self {
        let (name, password) = ("alice".to_owned(), "wonderland".to_owned());
        let (realm, nonce) = (Vec::new(), Vec::new());
        Self { link, name, password, sha256: false, token: None, realm, nonce, algorithms: None, next: 0 }
    }

    pub(crate) fn login(mut self, name: &str, password: &str) -> Self {
        (self.name, self.password) = (name.to_owned(), password.to_owned());
        self
    }

    /// Has a token instead of a password.
    pub(crate) fn bearer(mut self, kid: &str, mac_key: &[u8], token: &[u8]) -> Self {
        self.token = Some((mac_key.to_vec(), token.to_vec()));
        self.login(kid, "")
    }

    /// Chooses the password algorithm SHA-256.
    pub(crate) fn sha256(mut self) -> Self {
        self.sha256 = true;
        self
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        match &self.link {
            Link::Tcp(stream) => stream,
            Link::Tls(tls) => &tls.socket,
            Link::Udp(_) | Link::Other(_) => panic!("not a stream"),
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        match &self.link {
            Link::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Link::Tcp(stream) => (&*stream).write_all(bytes).unwrap(),
            Link::Tls(tls) => tls.stream.write().unwrap().write_all(bytes).unwrap(),
            Link::Other(wire) => wire.send(bytes),
        }
    }

    /// The next datagram, or frame with its padding.
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.try_receive().expect("something to come before the end")
    }

    /// `None`: the stream has ended, or nothing came in time.
    pub(crate) fn try_receive(&self) -> Option<Vec<u8>> {
        match &self.link {
            Link::Udp(socket) => {
                let mut bytes = vec![0; 65_536];
                let len = uninterrupted(|| socket.recv(&mut bytes)).ok()?;
                bytes.truncate(len);
                Some(bytes)
            }
            Link::Tcp(stream) => frame(&mut &*stream),
            Link::Tls(tls) => frame(&mut *tls.stream.write().unwrap()),
            Link::Other(wire) => wire.receive(),
        }
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        match &self.link {
            Link::Udp(socket) => socket.set_read_timeout(Some(patience)).unwrap(),
            Link::Tcp(_) | Link::Tls(_) => self.stream().set_read_timeout(Some(patience)).unwrap(),
            Link::Other(wire) => wire.set_patience(patience),
        }
    }

    /// Whether the server ends the stream within `patience`, without another byte.
    pub(crate) fn is_closed_within(&self, patience: Duration) -> bool {
        self.set_patience(patience);
        let mut byte = [0];
        let read = match &self.link {
            Link::Tls(tls) => tls.stream.write().unwrap().read(&mut byte),
            _ => self.stream().read(&mut byte),
        };
        let closed = match read {
            Ok(0) => true,
            Ok(_) => panic!("a byte instead of an end"),
            Err(error) => {
                use io::ErrorKind::{ConnectionReset, UnexpectedEof};
                [ConnectionReset, UnexpectedEof].contains(&error.kind())
            }
        };
        self.set_patience(SOON);
        closed
    }

    /// A request as bytes, signed once there is a nonce.
    pub(crate) fn write(&mut self, method: Method, fill: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 2048];
        self.next += 1;
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.next.to_be_bytes());
        let mut writer = MessageWriter::to(&mut buffer, method, Class::Request, TransactionId(id));
        fill(&mut writer);
        if !self.nonce.is_empty() {
            writer
                .attribute(attr::USERNAME, self.name.as_bytes())
                .attribute(attr::REALM, &self.realm)
                .attribute(attr::NONCE, &self.nonce);
            let parts = [self.name.as_bytes(), b":", &self.realm, b":", self.password.as_bytes()].concat();
            if self.sha256 {
                let offered = self.algorithms.as_deref().expect("PASSWORD-ALGORITHMS in the challenge");
                writer
                    .attribute(attr::PASSWORD_ALGORITHMS, offered)
                    .attribute(attr::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
                    .message_integrity_sha256(&IntegrityKey::new(&Sha256::digest(&parts)));
            } else if let Some((mac_key, token)) = &self.token {
                if [method::ALLOCATE, method::REFRESH].contains(&method) {
                    writer.attribute(attr::ACCESS_TOKEN, token);
                }
                writer.message_integrity(&IntegrityKey::new(mac_key));
            } else {
                writer.message_integrity(&IntegrityKey::new(&Md5::digest(&parts)));
            }
        }
        let len = writer.finish().unwrap();
        buffer[..len].to_vec()
    }

    /// Sends a request once and waits for its response, passing over relayed data.
    pub(crate) fn once(&mut self, method: Method, fill: impl Fn(&mut MessageWriter<'_>)) -> Reply {
        let request = self.write(method, fill);
        self.send(&request);
        self.response_to(&request)
    }

    pub(crate) fn response_to(&self, request: &[u8]) -> Reply {
        loop {
            let bytes = self.receive();
            if bytes.get(8..20) == request.get(8..20) {
                return Reply(bytes);
            }
        }
    }

    /// Sends a request, takes up a challenge, and sends it again.
    pub(crate) fn call(&mut self, method: Method, fill: impl Fn(&mut MessageWriter<'_>)) -> Reply {
        let reply = self.once(method, &fill);
        let challenged = self.nonce.is_empty() && reply.code() == 401 || reply.code() == 438;
        if !challenged {
            return reply;
        }
        self.take_challenge(&reply);
        self.once(method, fill)
    }

    pub(crate) fn take_challenge(&mut self, reply: &Reply) {
        self.realm = reply.get(attr::REALM).unwrap();
        self.nonce = reply.get(attr::NONCE).unwrap();
        self.algorithms = reply.get(attr::PASSWORD_ALGORITHMS);
    }

    pub(crate) fn binding(&mut self) -> Reply {
        let (nonce, request) = (std::mem::take(&mut self.nonce), self.write(method::BINDING, |_| {}));
        self.nonce = nonce;
        self.send(&request);
        self.response_to(&request)
    }

    pub(crate) fn allocate(&mut self) -> Reply {
        self.call(method::ALLOCATE, |writer| {
            writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        })
    }

    /// Allocates and returns the relayed address.
    pub(crate) fn relay(&mut self) -> SocketAddr {
        let reply = self.allocate();
        assert_eq!(reply.code(), 0);
        reply.address(attr::XOR_RELAYED_ADDRESS)
    }

    pub(crate) fn refresh(&mut self, lifetime: u32) -> Reply {
        self.call(method::REFRESH, |writer| {
            writer.u32(attr::LIFETIME, lifetime);
        })
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> u16 {
        let reply = self.call(method::CREATE_PERMISSION, |writer| {
            writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
        });
        reply.code()
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) -> u16 {
        let [high, low] = channel.to_be_bytes();
        let reply = self.call(method::CHANNEL_BIND, |writer| {
            writer
                .attribute(attr::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_address(attr::XOR_PEER_ADDRESS, peer);
        });
        reply.code()
    }

    /// Sends data by a Send indication.
    pub(crate) fn say(&self, peer: SocketAddr, data: &[u8]) {
        let mut buffer = vec![0; data.len() + 100];
        let mut writer =
            MessageWriter::to(&mut buffer, method::SEND, Class::Indication, TransactionId([9; 12]));
        writer.xor_address(attr::XOR_PEER_ADDRESS, peer).attribute(attr::DATA, data);
        let len = writer.finish().unwrap();
        self.send(&buffer[..len]);
    }
}

/// The next frame of a stream.
fn frame(stream: &mut impl io::Read) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).ok()?;
    let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let whole = if bytes[0] < 4 { 20 + len } else { padded(4 + len) };
    bytes.resize(whole, 0);
    stream.read_exact(&mut bytes[4..]).ok()?;
    Some(bytes)
}

/// A ChannelData message, padded as streams need it.
pub(crate) fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = channel.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

/// A response.
pub(crate) struct Reply(pub(crate) Vec<u8>);

impl Reply {
    /// The error code; 0 for success.
    pub(crate) fn code(&self) -> u16 {
        match (Message::parse(&self.0).unwrap().class(), self.get(attr::ERROR_CODE).as_deref()) {
            (Class::SuccessResponse, None) => 0,
            (Class::ErrorResponse, Some([_, _, class, number, ..])) => {
                u16::from(*class) * 100 + u16::from(*number)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn get(&self, kind: AttributeType) -> Option<Vec<u8>> {
        Message::parse(&self.0).unwrap().get(kind).map(<[u8]>::to_vec)
    }

    pub(crate) fn address(&self, kind: AttributeType) -> SocketAddr {
        let message = Message::parse(&self.0).unwrap();
        message.xor_address(message.get(kind).unwrap()).unwrap()
    }

    pub(crate) fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.get(attr::LIFETIME).unwrap().try_into().unwrap())
    }
}

/// The sender and the data of a Data indication.
pub(crate) fn data_of(indication: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::parse(indication).unwrap();
    assert_eq!((message.method(), message.class()), (method::DATA, Class::Indication));
    let peer = message.xor_address(message.get(attr::XOR_PEER_ADDRESS).unwrap()).unwrap();
    (peer, message.get(attr::DATA).unwrap().to_vec())
}

/// A peer on loopback.
pub(crate) fn peer() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// What a peer receives next, and from whom.
pub(crate) fn heard(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let (len, from) = uninterrupted(|| peer.recv_from(&mut bytes)).unwrap();
    bytes.truncate(len);
    (bytes, from)
}

/// Waits on, whatever signal comes meanwhile: the kernel does not do that for waits that have a limit.
pub(crate) fn uninterrupted<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
