//! Whoever means no good: strangers, and a user with credentials of its own.

use std::net::SocketAddr;

use super::dice::Dice;
use super::reading::read;
use super::world::*;

/// A datagram as it looks on the wire to the server.
#[derive(Clone)]
pub struct Capture {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// What a liar can see of the rest.
pub struct View<'a> {
    /// Datagrams of honest clients.
    pub captures: &'a [Capture],
    /// Relayed transport addresses.
    pub relayed: &'a [SocketAddr],
    /// Where clients send to.
    pub listeners: &'a [SocketAddr],
    /// The number of the newest connection between a relayed address and a peer.
    pub newest: u32,
    /// Names of honest users.
    pub users: &'a [String],
    /// Whether it may still write others' addresses on its datagrams.
    pub may_spoof: bool,
}

pub struct Liar {
    pub socket: SocketAddr,
    pub server: SocketAddr,
    pub stream: bool,
    /// How many datagrams a burst has.
    pub burst: usize,
    /// A reservation token that it has got hold of.
    pub token: Vec<u8>,
    kit: Client,
    dice: Dice,
}

const TYPES: [u16; 34] = [
    0x0003, 0x0026, 0x0027, 0x002A, 0x0001, 0x0003, 0x0006, 0x0008, 0x0009, 0x000A, 0x000C, 0x000D, 0x0010,
    0x0012, 0x0013, 0x0014, 0x0015, 0x0016, 0x0017, 0x0018, 0x0019, 0x001A, 0x001B, 0x001C, 0x001D, 0x001E,
    0x0020, 0x0022, 0x8000, 0x8002, 0x8022, 0x8028, 0x8030, 0x7FFF,
];

/// Peers that nobody may reach, and some that all may.
const PEERS: [&str; 20] = [
    "10.0.0.1:80",
    "127.0.0.1:3478",
    "169.254.169.254:80",
    "192.168.0.1:80",
    "100.64.0.1:80",
    "224.0.0.1:5000",
    "255.255.255.255:9",
    "0.0.0.0:0",
    "8.34.2.1:3478",
    "8.34.2.2:22",
    "[::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[64:ff9b::7f00:1]:80",
    "[2002:7f00:1::1]:80",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]:80",
    "[fe80::1]:80",
    "[fd00::1]:80",
    "[2a01:4f8:34::1]:3478",
    "8.8.0.1:5000",
    "[2a01:4f8::1]:5000",
];

impl Liar {
    pub fn new(socket: SocketAddr, server: SocketAddr, stream: bool, burst: usize, dice: &mut Dice) -> Self {
        let mut kit = Client::new("mallory", "malice");
        kit.realm = REALM_TEXT.into();
        let mut dice = dice.fork();
        kit.scheme = dice.pick(&[Scheme::Old, Scheme::Md5, Scheme::Sha256]);
        kit.by_hash = dice.one_in(4);
        Self { socket, server, stream, burst, token: Vec::new(), kit, dice }
    }

    /// Keeps the nonce of a challenge.
    pub fn hear(&mut self, bytes: &[u8]) {
        if let Some(nonce) = read(bytes).and_then(|seen| seen.get(NONCE).map(<[u8]>::to_vec)) {
            self.kit.nonce = nonce;
        }
    }

    fn own(&self, bytes: Vec<u8>) -> Capture {
        Capture { from: self.socket, to: self.server, bytes }
    }

    /// What it sends next.
    pub fn turn(&mut self, view: &View<'_>) -> Vec<Capture> {
        let captured =
            (!view.captures.is_empty()).then(|| view.captures[self.dice.below(view.captures.len())].clone());
        let spoofed = view.may_spoof && !self.stream;
        match (self.dice.below(14), captured) {
            (0, _) => {
                let len = self.dice.pick(&[0, 1, 4, 19, 20, 28, 100, 1500]);
                let mut bytes = self.dice.bytes(len);
                if let (Some(first), true) = (bytes.first_mut(), self.dice.one_in(2)) {
                    *first = self.dice.pick(&[0, 1, 2, 3, 0x40, 0x4F, 0x50, 0x16, 0x80]);
                }
                vec![self.own(bytes)]
            }
            // A replay, from where it came or from here.
            (1, Some(capture)) => vec![if spoofed { capture } else { self.own(capture.bytes) }],
            (2, Some(mut capture)) => {
                corrupt(&mut self.dice, &mut capture.bytes);
                vec![if spoofed { capture } else { self.own(capture.bytes) }]
            }
            (3, Some(mut capture)) => {
                self.append_behind_integrity(&mut capture.bytes, view);
                vec![if spoofed { capture } else { self.own(capture.bytes) }]
            }
            // Its own credentials on somebody else's 5-tuple.
            (4, Some(capture)) if spoofed => {
                let bytes = self.craft(view);
                let nonce = read(&capture.bytes).and_then(|seen| seen.get(NONCE).map(<[u8]>::to_vec));
                if let Some(nonce) = nonce {
                    self.kit.nonce = nonce;
                }
                vec![Capture { bytes, ..capture }]
            }
            (5, Some(capture)) => {
                let number = 0x4000 + self.dice.below(0x1010) as u16;
                let frame = channel_data(number, b"Dc unasked");
                vec![if spoofed { Capture { bytes: frame, ..capture } } else { self.own(frame) }]
            }
            (6, _) => {
                let bytes = self.plain(ALLOCATE, &[udp()]).0;
                (0..self.burst).map(|_| self.own(bytes.clone())).collect()
            }
            (7, _) => {
                // Guesses at a password: each costs the server an HMAC.
                let name = view.users.get(self.dice.below(view.users.len().max(1))).cloned();
                let mut guesser = self.kit.clone();
                (guesser.user, guesser.password) = (name.unwrap_or_default(), "guess".into());
                let message = self.plain(ALLOCATE, &[udp()]);
                let bytes = guesser.sign(guesser.identify(message)).0;
                (0..self.burst / 2).map(|_| self.own(bytes.clone())).collect()
            }
            (8, captured) => vec![self.discover(view, captured.filter(|_| spoofed))],
            (9 | 10, _) if self.kit.nonce.is_empty() || self.dice.one_in(8) => {
                let bytes = self.plain(ALLOCATE, &[udp()]).0;
                vec![self.own(bytes)]
            }
            _ => {
                let bytes = self.craft(view);
                vec![self.own(bytes)]
            }
        }
    }

    fn plain(&mut self, kind: u16, attributes: &[A]) -> Msg {
        let mut tid = [0; 12];
        tid.copy_from_slice(&self.dice.bytes(12));
        Msg::new(kind, tid).all(attributes)
    }

    /// A Binding request with the wishes of RFC 5780, to any listener; perhaps in somebody else's name.
    fn discover(&mut self, view: &View<'_>, captured: Option<Capture>) -> Capture {
        let mut all = Vec::new();
        if self.dice.one_in(2) {
            all.push(A::Raw(CHANGE_REQUEST, vec![0, 0, 0, self.dice.pick(&[0, 2, 4, 6, 0xFF])]));
        }
        if self.dice.one_in(4) {
            let port = self.dice.pick(&[0, 53, 666, 5000u16]).to_be_bytes();
            let length = self.dice.pick(&[2, 4]);
            all.push(A::Raw(RESPONSE_PORT, [port[0], port[1], 0, 0][..length].to_vec()));
        }
        if self.dice.one_in(4) {
            all.push(A::Raw(PADDING, vec![0; self.dice.pick(&[0, 1, 500, 1499, 2000])]));
        }
        for _ in 0..self.dice.pick(&[0, 0, 0, 1]) {
            mangle(&mut self.dice, &mut all);
        }
        let bytes = self.plain(BINDING, &all).0;
        let fits: Vec<SocketAddr> =
            view.listeners.iter().filter(|to| to.is_ipv4() == self.socket.is_ipv4()).copied().collect();
        let to = self.dice.pick(&fits);
        match captured.filter(|capture| capture.from.is_ipv4() == to.is_ipv4()) {
            Some(capture) => Capture { from: capture.from, to, bytes },
            None => Capture { from: self.socket, to, bytes },
        }
    }

    fn some_peer(&mut self, view: &View<'_>) -> SocketAddr {
        match self.dice.below(3) {
            0 if !view.relayed.is_empty() => self.dice.pick(view.relayed),
            1 => peer(self.dice.below(12) as u16),
            _ => addr(self.dice.pick(&PEERS)),
        }
    }

    fn attributes(&mut self, view: &View<'_>, kind: u16) -> Vec<A> {
        let mut all = Vec::new();
        match kind {
            ALLOCATE => {
                all.push(A::Raw(TRANSPORT, vec![self.dice.pick(&[17, 17, 17, 17, 6, 0]), 0, 0, 0]));
                if self.dice.one_in(3) {
                    all.push(family(self.dice.pick(&[1, 2, 2, 3])));
                } else if self.dice.one_in(3) {
                    let kind = self.dice.pick(&[ADDITIONAL_FAMILY, DRAFT_ADDITIONAL_FAMILY]);
                    all.push(A::Raw(kind, vec![self.dice.pick(&[2, 2, 2, 1]), 0, 0, 0]));
                }
                if self.dice.one_in(6) {
                    all.push(A::Raw(RESERVATION, self.token.clone()));
                }
                if self.dice.one_in(4) {
                    all.push(A::Raw(EVEN_PORT, vec![self.dice.pick(&[0, 0x80, 0xFF])]));
                }
                if self.dice.one_in(3) {
                    all.push(lifetime(self.dice.pick(&[0, 1, 777, 3600, u32::MAX])));
                }
            }
            REFRESH => {
                all.push(lifetime(self.dice.pick(&[0, 1, 600, 3600, u32::MAX])));
                if self.dice.one_in(2) {
                    all.push(family(self.dice.pick(&[1, 2, 2, 3])));
                }
                if self.dice.one_in(4) {
                    let captured = view
                        .captures
                        .iter()
                        .find_map(|capture| read(&capture.bytes)?.get(TICKET).map(<[u8]>::to_vec));
                    all.push(A::Raw(TICKET, captured.unwrap_or_else(|| self.dice.bytes(32))));
                }
            }
            CREATE_PERMISSION => {
                for _ in 0..=self.dice.below(5) {
                    all.push(to(self.some_peer(view)));
                }
            }
            CHANNEL_BIND => {
                all.push(channel(0x3FFE + self.dice.below(8) as u16));
                all.push(to(self.some_peer(view)));
            }
            CONNECT => all.push(to(self.some_peer(view))),
            CONNECTION_BIND => {
                let id = view.newest.saturating_sub(self.dice.below(3) as u32);
                all.push(A::Raw(CONNECTION_ID, id.to_be_bytes().to_vec()));
            }
            SEND => {
                all.push(to(self.some_peer(view)));
                let len = self.dice.pick(&[0, 1, 2, 3, 100, 1200]);
                all.push(A::Raw(DATA, self.dice.bytes(len)));
            }
            _ => {}
        }
        all
    }

    /// A request with up to three things wrong with it, in any combination.
    fn craft(&mut self, view: &View<'_>) -> Vec<u8> {
        let methods = [
            ALLOCATE,
            REFRESH,
            CREATE_PERMISSION,
            CHANNEL_BIND,
            SEND,
            BINDING,
            CONNECT,
            CONNECTION_BIND,
            0x0005,
            0x0002,
        ];
        let kind =
            if self.dice.one_in(12) { self.dice.next() as u16 & 0x3FFF } else { self.dice.pick(&methods) };
        // Others' connections wait for half a minute.
        let kind = if view.newest > 0 && self.stream && self.dice.one_in(4) { CONNECTION_BIND } else { kind };
        let mut all = self.attributes(view, kind);
        for _ in 0..self.dice.pick(&[0, 0, 0, 1, 2]) {
            mangle(&mut self.dice, &mut all);
        }
        let message = self.plain(kind, &all);
        if kind == SEND || kind == BINDING {
            return if self.dice.one_in(4) { message.fingerprint().0 } else { message.0 };
        }
        let mut kit = self.kit.clone();
        let mut missing = None;
        let mut sign = true;
        for _ in 0..self.dice.pick(&[0, 0, 0, 1, 1, 2, 3]) {
            match self.dice.below(8) {
                0 => sign = false,
                1 => {
                    missing = Some(self.dice.pick(&[USERNAME, USERHASH, REALM, NONCE, ALGORITHM, ALGORITHMS]))
                }
                2 => kit.password = "guess".into(),
                3 => kit.user = view.users.first().cloned().unwrap_or_default(),
                4 => kit.nonce = forged(&mut self.dice, view, &kit.nonce),
                5 => kit.realm = "elsewhere".into(),
                6 => kit.user = "nobody".into(),
                _ => kit.scheme = self.dice.pick(&[Scheme::Old, Scheme::Md5, Scheme::Sha256]),
            }
        }
        let mut message = kit.identify(message);
        if let Some(missing) = missing {
            message = without(&message, missing);
        }
        if sign {
            message = kit.sign(message);
        }
        let mut bytes = message.0;
        match self.dice.below(8) {
            0 => corrupt(&mut self.dice, &mut bytes),
            1 => self.append_behind_integrity(&mut bytes, view),
            2 => bytes = Msg(bytes).fingerprint().0,
            _ => {}
        }
        bytes
    }

    /// Attributes that nobody has signed.
    fn append_behind_integrity(&mut self, bytes: &mut Vec<u8>, view: &View<'_>) {
        if read(bytes).is_none_or(|seen| seen.fingerprint.is_some()) {
            return;
        }
        let extra = [lifetime(0), to(self.some_peer(view)), A::Raw(0x7FFF, vec![1]), channel(0x4001)];
        let message = Msg(std::mem::take(bytes)).put(&extra[self.dice.below(4)]);
        *bytes = if self.dice.one_in(2) { message.fingerprint().0 } else { message.0 };
    }
}

/// A nonce that is not one's own.
fn forged(dice: &mut Dice, view: &View<'_>, own: &[u8]) -> Vec<u8> {
    let captured =
        view.captures.iter().rev().find_map(|capture| read(&capture.bytes)?.get(NONCE).map(<[u8]>::to_vec));
    match (dice.below(5), captured) {
        (0, Some(nonce)) => nonce,
        (1, _) => [b"obMatJos2gAAA".as_slice(), b"AAAAAAAAAAAAAAA"].concat(),
        (2, _) => Vec::new(),
        (3, _) if !own.is_empty() => {
            let mut nonce = own.to_vec();
            let at = dice.below(nonce.len());
            nonce[at] ^= 1;
            nonce
        }
        _ => {
            let len = dice.pick(&[1, 13, 28, 200]);
            dice.bytes(len)
        }
    }
}

/// The message without its attributes of one type.
fn without(message: &Msg, kind: u16) -> Msg {
    let Some(seen) = read(&message.0) else { return message.clone() };
    let start = Msg::new(u16::from_be_bytes([message.0[0], message.0[1]]), message.tid());
    let kept = seen.attributes.iter().filter(|attribute| attribute.0 != kind);
    kept.fold(start, |message, (kind, value)| message.raw(*kind, value))
}

/// Changes attributes: their order, number, types, values.
fn mangle(dice: &mut Dice, all: &mut Vec<A>) {
    let at = dice.below(all.len().max(1));
    match dice.below(5) {
        0 if !all.is_empty() => _ = all.remove(at),
        1 if !all.is_empty() => all.push(all[at].clone()),
        2 if !all.is_empty() => {
            if let A::Raw(kind, value) = &mut all[at] {
                match dice.below(3) {
                    0 => *kind = dice.pick(&TYPES),
                    1 => value.truncate(dice.below(value.len() + 1)),
                    _ => value.extend(dice.bytes(3)),
                }
            }
        }
        _ => {
            let len = dice.pick(&[0, 1, 3, 4, 8, 20, 32, 200]);
            all.insert(at, A::Raw(dice.pick(&TYPES), dice.bytes(len)));
        }
    }
}

/// Changes bytes, as a liar does and a bad line.
pub fn corrupt(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(5) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 => {
                let len = dice.below(40);
                bytes.extend(dice.bytes(len));
            }
            4 if bytes.len() >= 28 => {
                // An attribute that lies about its length.
                let field = 22 + 4 * dice.below((bytes.len() - 24) / 4);
                bytes[field..field + 2].copy_from_slice(&(dice.below(300) as u16).to_be_bytes());
            }
            _ => {}
        }
    }
}
