//! One request on its way: what it asks, its bytes, and when it is sent again (RFC 8489 §6.2.1).

use core::time::Duration;

use super::account::{Account, Login};
use super::state::Task;
use crate::time::Timestamp;
use crate::wire::{AddressFamily, Class, MessageWriter, Method, TransactionId, attr, method};

/// The longest request: a realm and a nonce of 763 bytes each fit with room to spare.
const LONGEST: usize = 2_048;

/// SOFTWARE of a request without a login (RFC 8489 §14.14). It makes the request about as long as the challenge that it
/// gets, and so sees to it that a server which answers strangers with no more than they send can answer at once.
const SOFTWARE: &[u8] = b"Relais, a client that pays for the challenge it will be sent";

/// REQUESTED-TRANSPORT UDP (RFC 8656 §18.8).
const UDP: u8 = 17;

/// When requests are sent again, and when they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How long after the first sending the second one comes; each further wait is twice the one before.
    pub first: Duration,
    /// How many times a request is sent.
    pub count: u32,
    /// How long an answer to the last one is awaited.
    pub last: Duration,
}

impl Timers {
    /// Over UDP (RFC 8489 §6.2.1): sent 7 times, given up after 39.5 seconds.
    pub const DATAGRAMS: Self =
        Self { first: Duration::from_millis(500), count: 7, last: Duration::from_millis(8_000) };
    /// Over TCP and TLS (RFC 8489 §6.2.2): sent once, given up after 39.5 seconds.
    pub const STREAM: Self =
        Self { first: Duration::from_millis(500), count: 1, last: Duration::from_millis(39_500) };
}

/// A request that has been sent.
pub(super) struct Request {
    pub(super) task: Task,
    pub(super) id: TransactionId,
    pub(super) bytes: Vec<u8>,
    /// When it is sent the next time, or given up.
    pub(super) due: Timestamp,
    sent: u32,
    wait: Duration,
    /// How many challenges the task has met.
    pub(super) challenges: u8,
    /// Whether it carries a login.
    pub(super) is_signed: bool,
    /// Whether an answer came that somebody else has signed, or nobody.
    pub(super) has_forgery: bool,
}

impl Request {
    /// Writes a request. `None` when it is too long: the server's realm and nonce are.
    pub(super) fn new(
        task: Task,
        challenges: u8,
        id: TransactionId,
        login: Option<(&Account, &Login)>,
        now: Timestamp,
    ) -> Option<Self> {
        let mut buffer = [0; LONGEST];
        let mut writer = MessageWriter::to(&mut buffer, method_of(task), Class::Request, id);
        match task {
            Task::Bind => {}
            Task::Allocate { family } => {
                writer.attribute(attr::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
                if family == AddressFamily::Ipv6 {
                    writer.attribute(attr::REQUESTED_ADDRESS_FAMILY, &[family.number(), 0, 0, 0]);
                }
            }
            Task::Refresh { lifetime } => {
                writer.u32(attr::LIFETIME, lifetime);
            }
            Task::Permit { peer } => {
                writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
            }
            Task::BindChannel { channel, peer } => {
                let [n0, n1] = channel.get().to_be_bytes();
                writer
                    .attribute(attr::CHANNEL_NUMBER, &[n0, n1, 0, 0])
                    .xor_address(attr::XOR_PEER_ADDRESS, peer);
            }
        }
        match login {
            Some((account, login)) => login.sign(account, &mut writer),
            None if task == Task::Bind => {}
            None => {
                writer.attribute(attr::SOFTWARE, SOFTWARE);
            }
        }
        writer.fingerprint();
        let len = writer.finish()?;
        Some(Self {
            task,
            id,
            bytes: buffer[..len].to_vec(),
            due: now,
            sent: 0,
            wait: Duration::ZERO,
            challenges,
            is_signed: login.is_some(),
            has_forgery: false,
        })
    }

    /// Counts a sending and sets when the next one is due. `false`: it has been sent often enough and is given up.
    pub(super) fn send(&mut self, now: Timestamp, timers: &Timers) -> bool {
        if self.sent >= timers.count {
            return false;
        }
        self.sent += 1;
        self.wait = match self.sent {
            last if last == timers.count => timers.last,
            1 => timers.first,
            _ => self.wait * 2,
        };
        self.due = now + self.wait;
        true
    }
}

/// The method of the request that carries a task out.
pub(super) const fn method_of(task: Task) -> Method {
    match task {
        Task::Bind => method::BINDING,
        Task::Allocate { .. } => method::ALLOCATE,
        Task::Refresh { .. } => method::REFRESH,
        Task::Permit { .. } => method::CREATE_PERMISSION,
        Task::BindChannel { .. } => method::CHANNEL_BIND,
    }
}
