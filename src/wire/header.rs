//! The STUN header (RFC 8489 §5): 20 bytes.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |0 0|     message type (14)     |        message length         |
//! |                    magic cookie 0x2112A442                    |
//! |                    transaction id (96 bits)                   |
//! ```

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;

/// The value of the magic cookie field.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The 96-bit transaction id that pairs a response with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// A 12-bit STUN method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

/// The methods that have a meaning here.
pub mod method {
    use super::Method;

    /// RFC 8489 §3.
    pub const BINDING: Method = Method(0x001);
    /// RFC 8656 §7.
    pub const ALLOCATE: Method = Method(0x003);
    /// RFC 8656 §8.
    pub const REFRESH: Method = Method(0x004);
    /// RFC 8656 §11.2: indication only.
    pub const SEND: Method = Method(0x006);
    /// RFC 8656 §11.3: indication only, server to client.
    pub const DATA: Method = Method(0x007);
    /// RFC 8656 §10.
    pub const CREATE_PERMISSION: Method = Method(0x008);
    /// RFC 8656 §12.
    pub const CHANNEL_BIND: Method = Method(0x009);
    /// RFC 6062 §6.1.
    pub const CONNECT: Method = Method(0x00A);
    /// RFC 6062 §6.1.
    pub const CONNECTION_BIND: Method = Method(0x00B);
    /// RFC 6062 §6.1: indication only, server to client.
    pub const CONNECTION_ATTEMPT: Method = Method(0x00C);
}

/// The two class bits of a message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none and is never authenticated by the long-term mechanism.
    Indication,
    /// The request was carried out.
    SuccessResponse,
    /// The request was refused.
    ErrorResponse,
}

/// Method and class from the 14-bit message type: bits M11..M7 C1 M6..M4 C0 M3..M0.
pub(super) const fn split_type(value: u16) -> (Method, Class) {
    let method = (value & 0x000F) | ((value & 0x00E0) >> 1) | ((value & 0x3E00) >> 2);
    let class = match ((value & 0x0100) != 0, (value & 0x0010) != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::SuccessResponse,
        (true, true) => Class::ErrorResponse,
    };
    (Method(method), class)
}

/// The 14-bit message type of a method and class.
pub(super) const fn join_type(method: Method, class: Class) -> u16 {
    let m = method.0 & 0x0FFF;
    let bits = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::SuccessResponse => 0x0100,
        Class::ErrorResponse => 0x0110,
    };
    (m & 0x000F) | ((m & 0x0070) << 1) | ((m & 0x0F80) << 2) | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_survive_the_round_trip() {
        for m in 0..0x1000 {
            for class in [Class::Request, Class::Indication, Class::SuccessResponse, Class::ErrorResponse] {
                let value = join_type(Method(m), class);
                assert!(value < 0x4000);
                assert_eq!(split_type(value), (Method(m), class));
            }
        }
        assert_eq!(join_type(method::BINDING, Class::SuccessResponse), 0x0101);
        assert_eq!(join_type(method::ALLOCATE, Class::ErrorResponse), 0x0113);
        assert_eq!(join_type(method::SEND, Class::Indication), 0x0016);
    }
}
