//! STUN attributes (RFC 8489 §14): type, length, value, padding to four bytes.

use super::padded;

/// The type of an attribute. Types below 0x8000 are comprehension-required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// Whether a receiver that does not know it must refuse the message (RFC 8489 §14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// The attribute types of RFC 8489 §18.3 and RFC 8656 §18, and of the extensions that a server meets.
pub mod attr {
    use super::AttributeType;

    macro_rules! types {
        ($($(#[doc = $doc:literal])* $name:ident = $value:literal;)*) => {
            $($(#[doc = $doc])* pub const $name: AttributeType = AttributeType($value);)*
        };
    }

    types! {
        /// RFC 8489 §14.1.
        MAPPED_ADDRESS = 0x0001;
        /// RFC 5780 §7.2.
        CHANGE_REQUEST = 0x0003;
        /// RFC 8489 §14.3.
        USERNAME = 0x0006;
        /// RFC 8489 §14.5.
        MESSAGE_INTEGRITY = 0x0008;
        /// RFC 8489 §14.8.
        ERROR_CODE = 0x0009;
        /// RFC 8489 §14.13.
        UNKNOWN_ATTRIBUTES = 0x000A;
        /// RFC 8656 §18.1.
        CHANNEL_NUMBER = 0x000C;
        /// RFC 8656 §18.2.
        LIFETIME = 0x000D;
        /// RFC 8656 §18.3.
        XOR_PEER_ADDRESS = 0x0012;
        /// RFC 8656 §18.4.
        DATA = 0x0013;
        /// RFC 8489 §14.9.
        REALM = 0x0014;
        /// RFC 8489 §14.10.
        NONCE = 0x0015;
        /// RFC 8656 §18.5.
        XOR_RELAYED_ADDRESS = 0x0016;
        /// RFC 8656 §18.6.
        REQUESTED_ADDRESS_FAMILY = 0x0017;
        /// RFC 8656 §18.7.
        EVEN_PORT = 0x0018;
        /// RFC 8656 §18.8.
        REQUESTED_TRANSPORT = 0x0019;
        /// RFC 8656 §18.9.
        DONT_FRAGMENT = 0x001A;
        /// RFC 7635 §6.2.
        ACCESS_TOKEN = 0x001B;
        /// RFC 8489 §14.6.
        MESSAGE_INTEGRITY_SHA256 = 0x001C;
        /// RFC 8489 §14.12.
        PASSWORD_ALGORITHM = 0x001D;
        /// RFC 8489 §14.4.
        USERHASH = 0x001E;
        /// RFC 8489 §14.2.
        XOR_MAPPED_ADDRESS = 0x0020;
        /// RFC 8656 §18.10.
        RESERVATION_TOKEN = 0x0022;
        /// RFC 5780 §7.6.
        PADDING = 0x0026;
        /// RFC 5780 §7.5.
        RESPONSE_PORT = 0x0027;
        /// RFC 6062 §6.2.1.
        CONNECTION_ID = 0x002A;
        /// RFC 8656 §18.11.
        ADDITIONAL_ADDRESS_FAMILY = 0x8000;
        /// RFC 8656 §18.12.
        ADDRESS_ERROR_CODE = 0x8001;
        /// RFC 8489 §14.11.
        PASSWORD_ALGORITHMS = 0x8002;
        /// RFC 8489 §14.16.
        ALTERNATE_DOMAIN = 0x8003;
        /// RFC 8656 §18.13.
        ICMP = 0x8004;
        /// ADDITIONAL-ADDRESS-FAMILY as the drafts of RFC 8656 numbered it; coturn's clients still send it.
        DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032;
        /// RFC 8489 §14.14.
        SOFTWARE = 0x8022;
        /// RFC 8489 §14.15.
        ALTERNATE_SERVER = 0x8023;
        /// RFC 8489 §14.7.
        FINGERPRINT = 0x8028;
        /// RFC 5780 §7.3.
        RESPONSE_ORIGIN = 0x802B;
        /// RFC 5780 §7.4.
        OTHER_ADDRESS = 0x802C;
        /// RFC 7635 §6.1.
        THIRD_PARTY_AUTHORIZATION = 0x802E;
        /// RFC 8016 §4.1.
        MOBILITY_TICKET = 0x8030;
    }
}

/// An algorithm that turns a password into a key (RFC 8489 §18.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// The 16-byte key of RFC 5389, for clients that know nothing else.
    Md5,
    /// The 32-byte key.
    Sha256,
}

impl PasswordAlgorithm {
    /// The IANA number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }

    /// Reads the value of a PASSWORD-ALGORITHM attribute. Neither algorithm has parameters.
    pub fn decode(value: &[u8]) -> Option<Self> {
        match value {
            [0, 1, 0, 0] => Some(Self::Md5),
            [0, 2, 0, 0] => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// One attribute: its type and its value without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type.
    pub kind: AttributeType,
    /// The value, as long as the length field says.
    pub value: &'a [u8],
}

/// The attributes of a message in their order. Ends early when an attribute reaches behind the end;
/// [`Message::parse`](super::Message::parse) has made sure that none does.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The bytes that have not been walked yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (&[k0, k1, l0, l1], body) = self.rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let value = body.get(..len)?;
        self.rest = body.get(padded(len)..)?;
        Some(Attribute { kind: AttributeType(u16::from_be_bytes([k0, k1])), value })
    }
}
