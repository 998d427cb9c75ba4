//! Times of the parts that requests and packets are made of: codec, login, nonce, the steps of the core.
//!
//! `cargo bench --bench costs` takes half a minute. Times differ between machines and runs; what CI holds against a
//! baseline are instructions, by the bench of that name.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(missing_docs, reason = "a program, not a library")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use relais::auth::NonceKey;
use relais::time::{Now, Timestamp};
use relais::wire::{
    Class, IntegrityKey, Message, MessageWriter, SendIndication, TransactionId, attr, fingerprint, method,
};

#[path = "instructions/core.rs"]
mod core_alone;
#[allow(dead_code, reason = "shared with the bench that counts instructions")]
#[path = "instructions/shape.rs"]
mod shape;

use core_alone::Core;
use shape::{Client, KEY, Shape};

/// Payloads in bytes: a packet of audio, a packet of video.
const PAYLOADS: [usize; 2] = [160, 1200];

fn codec(criterion: &mut Criterion) {
    let peer: SocketAddr = "8.8.0.1:5000".parse().unwrap();
    let mut client = Client::new();
    let binding = client.binding();
    client.learn_nonce(&[b'n'; 28]);
    let allocate = client.allocate();
    let send = Shape::Send.bytes(peer, PAYLOADS[1]);
    let mut group = criterion.benchmark_group("codec");
    for (name, bytes) in [("binding", &binding), ("allocate", &allocate)] {
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| Message::parse(black_box(bytes)).unwrap().transaction());
        });
    }
    group.bench_function("read Send", |bencher| {
        bencher.iter(|| SendIndication::read_plain(black_box(&send)).unwrap().peer);
    });
    group.bench_function("write Binding answer", |bencher| {
        let mut buffer = [0; 128];
        bencher.iter(|| {
            let id = TransactionId([9; 12]);
            let mut writer = MessageWriter::to(&mut buffer, method::BINDING, Class::SuccessResponse, id);
            writer.xor_address(attr::XOR_MAPPED_ADDRESS, black_box(peer));
            writer.finish().unwrap()
        });
    });
    for payload in PAYLOADS {
        let bytes = vec![7; payload];
        group.bench_function(format!("FINGERPRINT of {payload}"), |bencher| {
            bencher.iter(|| fingerprint(black_box(&bytes)));
        });
    }
    group.finish();
}

fn login(criterion: &mut Criterion) {
    let mut client = Client::new();
    client.learn_nonce(&[b'n'; 28]);
    let allocate = client.allocate();
    let key = IntegrityKey::new(&KEY);
    let mut group = criterion.benchmark_group("login");
    group.bench_function("begin a key", |bencher| bencher.iter(|| IntegrityKey::new(black_box(&KEY))));
    group.bench_function("verify MESSAGE-INTEGRITY", |bencher| {
        let message = Message::parse(&allocate).unwrap();
        bencher.iter(|| assert!(black_box(&message).verify(&key)));
    });
    let nonces = NonceKey::new(&[7; 32], Duration::from_secs(600), false);
    let now = Now { mono: Timestamp::after_start(Duration::from_secs(1)), unix: 0 };
    let address: SocketAddr = "9.9.9.9:40000".parse().unwrap();
    let nonce = nonces.mint(&now, address, 3478);
    group.bench_function("mint a nonce", |bencher| {
        bencher.iter(|| nonces.mint(&now, black_box(address), 3478));
    });
    group.bench_function("check a nonce", |bencher| {
        bencher.iter(|| assert!(nonces.is_valid(black_box(&nonce), &now, address, 3478)));
    });
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    let shapes = [Shape::ChannelToPeer, Shape::Send, Shape::ChannelToClient, Shape::Data];
    for (shape, payload) in shapes.into_iter().flat_map(|shape| PAYLOADS.map(|payload| (shape, payload))) {
        let mut core = Core::new(shape, payload);
        group.bench_function(format!("{} {payload}", shape.name()), |bencher| bencher.iter(|| core.step()));
    }
    for shape in [Shape::Binding, Shape::Cycle] {
        let mut core = Core::new(shape, 0);
        group.bench_function(shape.name(), |bencher| {
            bencher.iter_batched(|| (), |()| core.step(), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    codec(&mut criterion);
    login(&mut criterion);
    steps(&mut criterion);
    criterion.final_summary();
}
