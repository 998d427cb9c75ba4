//! Why bytes are not a message.

use core::fmt;

/// What is wrong with bytes that should have been a STUN message or ChannelData. The sender is to blame in each
/// case; RFC 8489 §6.3 asks for silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than its header, or than its header says.
    Truncated,
    /// Bytes behind the end that the header gives.
    TrailingBytes,
    /// The two most significant bits are not zero.
    NotStun,
    /// The magic cookie is missing (RFC 3489 clients are not served).
    NoCookie,
    /// The length is not a multiple of four.
    Unaligned,
    /// An attribute reaches behind the end of the message.
    AttributeOverrun,
    /// An attribute stands behind FINGERPRINT, or FINGERPRINT is not four bytes long.
    FingerprintPlace,
    /// The channel number is outside 0x4000..=0x4FFF.
    ReservedChannel,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "shorter than it says",
            Self::TrailingBytes => "bytes behind its end",
            Self::NotStun => "the first two bits are not zero",
            Self::NoCookie => "no magic cookie",
            Self::Unaligned => "length is not a multiple of four",
            Self::AttributeOverrun => "an attribute reaches behind the end",
            Self::FingerprintPlace => "FINGERPRINT is not the last attribute",
            Self::ReservedChannel => "a reserved channel number",
        })
    }
}

impl core::error::Error for Error {}
