//! Deterministic simulation of the whole core: several workers, clients behind NATs, peers and liars on a bad network, with a
//! clock that is moved by hand, and an oracle that watches the server's border. Everything is drawn from one seed.
//!
//! ```text
//! cargo test --test sim                                      as many seeds as CI runs
//! RELAIS_SIM_SEEDS=10000 cargo test --test sim seeds         more of them
//! RELAIS_SIM_SEED=17 cargo test --test sim seeds             this one
//! RELAIS_SIM_SEED=17 RELAIS_SIM_TRACE=1 cargo test --test sim seeds -- --nocapture    and what happens in it
//! ```

#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test code; its numbers are small"
)]

#[path = "../support/dice.rs"]
mod dice;
#[path = "../conformance/world.rs"]
mod world;

mod caller;
mod cluster;
mod config;
mod honest;
mod judge;
mod liar;
mod nat;
mod oracle;
mod paths;
mod peer;
mod reading;
mod seeds;
mod sim;
mod solo;
mod timers;
mod trace;

/// A time or a duration in the simulation, in microseconds.
type Micros = u64;

const SECOND: Micros = 1_000_000;
