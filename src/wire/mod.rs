//! Bytes to values and back: STUN messages (RFC 8489 §5, §14), TURN attributes (RFC 8656 §18) and ChannelData
//! (RFC 8656 §12.4).
//!
//! Reading borrows and allocates nothing: [`Message::parse`] checks a whole message once, and what it hands out
//! ends where the integrity begins, so that nobody can read what nobody has signed. Writing goes into a lent
//! buffer. Nothing here can panic on input; indexing is denied.

#![deny(clippy::indexing_slicing)]

mod address;
mod attribute;
mod channel_data;
mod datagram;
mod error;
mod header;
mod indication;
mod integrity;
mod message;
mod writer;

pub use address::{AddressFamily, decode_address, decode_xor_address};
pub use attribute::{Attribute, AttributeType, Attributes, PasswordAlgorithm, attr};
pub use channel_data::{ChannelData, ChannelNumber};
pub use datagram::{Datagram, HEAD_ROOM, Marks};
pub use error::Error;
pub use header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, method};
pub use indication::{SendIndication, push_data_head};
pub use integrity::{IntegrityKey, fingerprint};
pub use message::{Integrity, Message};
pub use writer::{MAX_REPLY, MessageWriter, ReplyBuffer};

/// What the first byte of a datagram or frame says it is (RFC 7983 §7, RFC 8656 §12 table 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A STUN message: 0..=3.
    Stun,
    /// DTLS or TLS: 20..=63.
    Tls,
    /// ChannelData: 64..=79.
    ChannelData,
    /// Anything else: dropped.
    Unknown,
}

impl Protocol {
    /// Classifies by the first byte.
    pub const fn of(first: u8) -> Self {
        match first {
            0..=3 => Self::Stun,
            20..=63 => Self::Tls,
            64..=79 => Self::ChannelData,
            _ => Self::Unknown,
        }
    }
}

/// `len` rounded up to the 32-bit boundary that attributes and stream frames end on (RFC 8489 §14).
pub const fn padded(len: usize) -> usize {
    (len + 3) & !3
}
