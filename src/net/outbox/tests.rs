//! What is joined and cut arrives as if every datagram had gone alone, over real sockets of the loopback, whose kernel merges
//! for a socket with UDP_GRO exactly what UDP_SEGMENT was to cut.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use socket2::SockRef;

use super::*;
use crate::net::addresses::RelayAddress;
use crate::net::mail;
use crate::net::offers::Offers;
use crate::net::ports::Shared;
use crate::net::udp::Run;
use crate::sys::{self, Batch, SocketSet};

/// A datagram as a receiver sees it: its bytes and its type of service.
type Seen = (Vec<u8>, u8);

/// A datagram to send.
#[derive(Clone, Debug)]
struct Letter {
    /// The number of the receiver.
    to: usize,
    marks: Marks,
    head: Vec<u8>,
    body: Vec<u8>,
    padded: bool,
    is_answer: bool,
}

impl Letter {
    fn to(to: usize, len: usize) -> Self {
        let (marks, head) = (Marks::default(), Vec::new());
        Self { to, marks, head, body: vec![7; len], padded: false, is_answer: false }
    }

    /// What arrives of it.
    fn seen(&self) -> Seen {
        if self.is_answer {
            return (self.body.clone(), 0);
        }
        let mut bytes = [&self.head[..], &self.body].concat();
        if self.padded {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        (bytes, self.marks.tos)
    }
}

/// A place where datagrams arrive.
struct Receiver {
    socket: UdpSocket,
    /// How many datagrams each filled slot held, in their order.
    slots: Vec<usize>,
    seen: Vec<Seen>,
}

impl Receiver {
    fn new(ip: IpAddr, merge: bool) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        sys::tell_tos(socket.as_fd(), ip.is_ipv6()).unwrap();
        sys::merge(socket.as_fd(), merge).unwrap();
        let _ = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        Self { socket, slots: Vec::new(), seen: Vec::new() }
    }

    /// Takes what is there.
    fn receive(&mut self, batch: &mut Batch) {
        while let Ok(count) = batch.receive(self.socket.as_fd(), 0, BATCH) {
            for slot in 0..count {
                let (run, told) = Run::open(batch, slot);
                let before = self.seen.len();
                self.seen.extend(run.map(|place| (batch.memory()[place].to_vec(), told.tos)));
                self.slots.push(self.seen.len() - before);
            }
        }
    }
}

/// An outbox, sockets that it sends from, and receivers: two of IPv4 and one of IPv6.
struct Post {
    outbox: Outbox,
    listeners: Vec<UdpListener>,
    relays: Relays,
    offload: Offload,
    receivers: Vec<Receiver>,
    received: Vec<u8>,
}

const LOOPBACK: [&str; 3] = ["127.0.0.1", "127.0.0.1", "::1"];

impl Post {
    fn new(cut: bool, merge: bool) -> Self {
        let offers = Offers::ask();
        let ips = LOOPBACK.map(|ip| ip.parse::<IpAddr>().unwrap());
        let listeners = ips.map(|ip| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = UdpListener::new(socket, address, true, false);
            listener.cuts.set(cut);
            listener
        });
        let relay = RelayAddress { local: ips[0], public: ips[0] };
        let shared = Shared::new(vec![relay], &(50_000..=50_003), 3, 1, [1; 4], offers);
        let offload = Offload::new(Arc::clone(&shared.offers));
        let (post, _) = mail::connect(1).remove(0);
        Self {
            outbox: Outbox::new(),
            listeners: listeners.into(),
            relays: Relays::new(Arc::new(shared), Rc::new(SocketSet::new().unwrap()), 1, post),
            offload,
            receivers: ips.map(|ip| Receiver::new(ip, merge)).into(),
            received: Vec::new(),
        }
    }

    fn queue(&mut self, letter: &Letter) {
        let to = self.receivers[letter.to].socket.local_addr().unwrap();
        // Both receivers of IPv4 are reached from one socket.
        let exit = Exit::Listener(if letter.to == 2 { 2 } else { 0 });
        let way = Way { exit, to, from: None };
        if letter.is_answer {
            return self.outbox.push_answer(way, &letter.body);
        }
        let start = self.received.len();
        self.received.extend_from_slice(&letter.body);
        let mut datagram = Datagram::new(&letter.body, letter.marks);
        assert!(datagram.push(&letter.head));
        if letter.padded {
            datagram.pad();
        }
        self.outbox.push(way, &datagram, start..self.received.len());
    }

    fn flush(&mut self) {
        let Self { outbox, listeners, relays, offload, received, .. } = self;
        assert_eq!(outbox.flush(Timestamp::START, received, listeners, relays, offload), 0, "lost");
        received.clear();
    }

    /// Sends the letters, in parts that every receive buffer holds, and returns what has arrived at each receiver.
    fn deliver(&mut self, letters: &[Letter]) -> Vec<Vec<Seen>> {
        let mut batch = Batch::new();
        let mut sent = 0;
        while sent < letters.len() {
            let mut room = 150_000;
            while let Some(letter) = letters.get(sent).filter(|letter| letter.body.len() + 1000 <= room) {
                self.queue(letter);
                room -= letter.body.len() + 1000;
                sent += 1;
            }
            self.flush();
            let arrived =
                |post: &Self| post.receivers.iter().map(|receiver| receiver.seen.len()).sum::<usize>();
            for _ in 0..2000 {
                self.receivers.iter_mut().for_each(|receiver| receiver.receive(&mut batch));
                if arrived(self) >= sent {
                    break;
                }
                // Another CPU may still be at it.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        self.receivers.iter_mut().map(|receiver| std::mem::take(&mut receiver.seen)).collect()
    }
}

fn marks() -> impl Strategy<Value = Marks> {
    let tos = prop_oneof![4 => Just(0), 1 => Just(0xB8), 1 => Just(1), 1 => Just(2), 1 => Just(0x8B)];
    (tos, prop::bool::weighted(0.1)).prop_map(|(tos, dont_fragment)| Marks { tos, dont_fragment })
}

fn length() -> impl Strategy<Value = usize> {
    const SOME: &[usize] =
        &[0, 1, 2, 3, 4, 159, 160, 1000, 1200, 1408, 1448, 1452, 1453, 1468, 1469, 1472, 1473, 1500, 9000];
    prop_oneof![20 => proptest::sample::select(SOME), 10 => 0usize..1500, 1 => Just(65_400)]
}

/// Datagrams of one flow: equally long ones, the last of which may be another.
fn run() -> impl Strategy<Value = Vec<Letter>> {
    let head = prop_oneof![2 => Just(0usize), 3 => Just(4), 1 => Just(36), 1 => Just(64)];
    let count = prop_oneof![6 => 1usize..12, 1 => 60usize..70, 1 => 120usize..140];
    let shape = (0usize..3, marks(), head, any::<bool>(), prop::bool::weighted(0.1));
    (shape, length(), count, prop::option::of(length()), any::<u8>()).prop_map(
        |((to, marks, head, padded, is_answer), len, count, last, seed)| {
            // Three long ones are as good as many.
            let count = count.min(1 + 200_000 / (len + 1));
            let letter = |(number, len): (usize, usize)| {
                let byte = |i: usize| u8::try_from((i * 7 + number * 13 + usize::from(seed)) % 251).unwrap();
                let len = if is_answer { len.min(MAX_REPLY) } else { len };
                let (head, body) = ((0..head).map(byte).collect(), (0..len).map(byte).collect());
                Letter { to, marks, head, body, padded, is_answer }
            };
            std::iter::repeat_n(len, count).chain(last).enumerate().map(letter).collect()
        },
    )
}

/// Runs one behind the other, or datagrams of two runs in turn.
fn letters() -> impl Strategy<Value = Vec<Letter>> {
    let runs = prop::collection::vec((run(), any::<bool>()), 1..7);
    runs.prop_map(|runs| {
        let mut all: Vec<Letter> = Vec::new();
        for (run, woven) in runs {
            let mut at = all.len().saturating_sub(run.len());
            for letter in run {
                if woven && at < all.len() {
                    all.insert(at, letter);
                    at += 2;
                } else {
                    all.push(letter);
                }
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joined_cut_and_merged_datagrams_arrive_like_single_ones(letters in letters()) {
        let mut wanted = vec![Vec::new(); LOOPBACK.len()];
        for letter in &letters {
            wanted[letter.to].push(letter.seen());
        }
        for (cut, merge) in [(false, false), (true, false), (false, true), (true, true)] {
            let arrived = Post::new(cut, merge).deliver(&letters);
            for (to, (arrived, wanted)) in arrived.iter().zip(&wanted).enumerate() {
                let differs = arrived.iter().zip(wanted).position(|(arrived, wanted)| arrived != wanted);
                prop_assert_eq!(differs, None, "receiver {}, cut {}, merge {}", to, cut, merge);
                prop_assert_eq!(arrived.len(), wanted.len(), "receiver {}, cut {}, merge {}", to, cut, merge);
            }
        }
    }
}

/// How many datagrams arrive in each slot of the first receiver.
fn slots(letters: &[Letter]) -> Vec<usize> {
    let mut post = Post::new(true, true);
    let arrived = post.deliver(letters);
    assert_eq!(arrived[0].len(), letters.iter().filter(|letter| letter.to == 0).count());
    assert_eq!(post.offload.refusals(), 0);
    std::mem::take(&mut post.receivers[0].slots)
}

#[test]
fn runs_are_joined_up_to_the_limits_and_no_further() {
    let equal = |count, len| vec![Letter::to(0, len); count];
    assert_eq!(slots(&equal(130, 100)), [64, 64, 2]);
    assert_eq!(slots(&equal(50, 1472)), [44, 6], "64 KiB");
    assert_eq!(slots(&equal(2, 1473)), [1, 1], "longer than what Ethernet carries");
    assert_eq!(slots(&equal(3, 0)), [1, 1, 1]);
    let lengths = |lengths: &[usize]| lengths.iter().map(|len| Letter::to(0, *len)).collect::<Vec<_>>();
    assert_eq!(slots(&lengths(&[9, 9, 9, 5, 9, 9])), [4, 2], "a shorter one ends a run");
    assert_eq!(slots(&lengths(&[9, 10, 10])), [1, 2], "a longer one begins another");
    assert_eq!(slots(&lengths(&[9, 9, 0, 9])), [2, 1, 1]);
    let mut marked = equal(4, 100);
    marked[1].marks.tos = 0xB8;
    assert_eq!(slots(&marked), [1, 1, 2]);
    let mut whole = equal(5, 100);
    (whole[2].marks.dont_fragment, whole[3].marks.dont_fragment) = (true, true);
    assert_eq!(slots(&whole), [2, 2, 1]);
    let mut others = equal(4, 100);
    others[2].to = 1;
    assert_eq!(slots(&others), [2, 1]);
}

#[test]
fn it_says_when_it_is_full() {
    let mut post = Post::new(true, true);
    for wanted in [
        (Letter::to(0, 1), WAITING),
        (Letter { is_answer: true, ..Letter::to(0, MAX_REPLY) }, WRITTEN / MAX_REPLY),
    ] {
        let (letter, most) = wanted;
        let mut count = 0;
        while !post.outbox.is_full() {
            post.queue(&letter);
            count += 1;
        }
        assert_eq!(count, most);
        assert!(post.outbox.items.len() <= WAITING && post.outbox.written.len() <= WRITTEN);
        post.flush();
        assert!(post.outbox.is_empty() && !post.outbox.is_full());
    }
    assert_eq!((post.outbox.items.capacity(), post.outbox.written.capacity()), (WAITING, WRITTEN));
}

#[test]
fn a_client_that_sends_to_port_0_keeps_nobody_from_joined_datagrams() {
    let mut post = Post::new(true, true);
    let to = (post.receivers[0].socket.local_addr().unwrap().ip(), 0).into();
    for _ in 0..2 {
        post.outbox.push_answer(Way { exit: Exit::Listener(0), to, from: None }, b"nowhere");
    }
    let Post { outbox, listeners, relays, offload, .. } = &mut post;
    assert_eq!(outbox.flush(Timestamp::START, &[], listeners, relays, offload), 2, "lost");
    assert!(!post.offload.is_refused(to.ip(), 7, Timestamp::START));
    assert_eq!(post.offload.refusals(), 0);
}
