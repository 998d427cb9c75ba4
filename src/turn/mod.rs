//! The TURN server as a state machine.

mod counters;

pub use counters::{
    CountedMethod, Counters, DropReason, ERROR_CODES, Traffic, Transport, TransportCounters,
};
