//! System calls that need `unsafe`: batches of datagrams, sets of sockets, and socket options that no crate sets safely.
//! The only module of the package that may contain it.
//!
//! What Linux alone has is in `linux`; `unix` does the same, or does without, on other systems. The list below says what
//! both have to offer, so that nobody above this module asks which system it is.
#![allow(unsafe_code, reason = "this module is the one audited place for it")]

mod control;
mod fixed;
mod host;
mod interfaces;
#[cfg(target_os = "linux")]
mod linux;
mod load;
mod names;
mod options;
mod receive;
mod run_time;
mod send;
mod single;
mod sleep;
#[cfg(not(target_os = "linux"))]
mod unix;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use unix as system;

pub(crate) use host::host_name;
pub(crate) use interfaces::{InterfaceAddress, interface_addresses};
pub(crate) use load::{Way, send_burst};
pub(crate) use options::{raise_descriptor_limit, tell_tos};
pub(crate) use receive::{Batch, Told};
pub(crate) use run_time::own_run_time;
pub(crate) use send::{MAX_SEGMENTS, Message, PIECES, SendSpace, Sending, send_one};

// Each system's own.
pub(crate) use system::affinity::{pin_thread, usable_cpus};
pub(crate) use system::batches::has_batches;
pub(crate) use system::clock;
pub(crate) use system::devices::cuts_bursts;
pub(crate) use system::errors::{hear_errors, next_error};
pub(crate) use system::hints;
pub(crate) use system::netns::within;
pub(crate) use system::options::{
    allow_fragmentation, allow_relay_fragmentation, can_segment, drops, force_buffers, force_receive_buffer,
    force_send_buffer, keep_whole, merge, new_socket, tell_local_address, tos_of_connection,
};
pub(crate) use system::set::SocketSet;
pub(crate) use system::text;
pub(crate) use system::timer::{Timer, has_timers};

/// Datagrams in a batch, and messages in a call.
pub(crate) const BATCH: usize = 64;
/// The longest datagram there is.
pub(crate) const MAX_DATAGRAM: usize = 65_535;

/// A socket of a [`SocketSet`] for which something is there.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// The token it was added with.
    pub(crate) token: u64,
    /// Datagrams.
    pub(crate) readable: bool,
    /// Errors.
    pub(crate) failed: bool,
}

/// An error that the network, or this machine in its place, tells about a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkError {
    /// Where the datagram was to go.
    pub(crate) to: std::net::SocketAddr,
    /// The ICMP type.
    pub(crate) kind: u8,
    /// The ICMP code.
    pub(crate) code: u8,
    /// The MTU, where type and code are about that.
    pub(crate) info: u32,
    /// Whether this machine found it out by itself: the datagram is too long for the first link already.
    pub(crate) is_local: bool,
}

const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize, "kernel structures are small");
    #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
    {
        size_of::<T>() as u32
    }
}
