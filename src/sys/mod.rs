//! System calls that need `unsafe`: batches of datagrams, epoll, and socket options that no crate sets safely.
//! The only module of the package that may contain it.
#![allow(unsafe_code, reason = "this module is the one audited place for it")]

mod affinity;
pub(crate) mod clock;
mod control;
mod devices;
mod epoll;
mod errors;
mod fixed;
mod host;
mod interfaces;
mod load;
mod names;
mod netns;
mod options;
mod receive;
mod send;
mod timer;

pub(crate) use affinity::{pin_thread, usable_cpus};
pub(crate) use devices::cuts_bursts;
pub(crate) use epoll::{Epoll, Ready};
pub(crate) use errors::{NetworkError, next_error};
pub(crate) use host::host_name;
pub(crate) use interfaces::{InterfaceAddress, interface_addresses};
pub(crate) use load::{Way, drops, force_buffers, send_burst};
pub(crate) use netns::within;
pub(crate) use options::{
    allow_fragmentation, allow_relay_fragmentation, can_segment, force_receive_buffer, force_send_buffer,
    hear_errors, keep_whole, merge, raise_descriptor_limit, tell_local_address, tell_tos, tos_of_connection,
};
pub(crate) use receive::{Batch, Told};
pub(crate) use send::{MAX_SEGMENTS, Message, PIECES, SendSpace, Sending, send_one};
pub(crate) use timer::Timer;

/// Datagrams in a batch, and messages in a call.
pub(crate) const BATCH: usize = 64;
/// The longest datagram there is.
pub(crate) const MAX_DATAGRAM: usize = 65_535;

const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize, "kernel structures are small");
    #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
    {
        size_of::<T>() as u32
    }
}
