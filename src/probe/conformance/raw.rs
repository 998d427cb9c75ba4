//! STUN messages byte by byte: a writer that can also write what is wrong, and a strict reader. Neither shares code with
//! the server's own codec, so that an error there cannot hide itself.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::Sha256;

use crate::wire::{AttributeType, attr};

/// The magic cookie of RFC 8489 §5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// What FINGERPRINT is XORed with (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554E;

pub(super) const BINDING: u16 = 0x001;
pub(super) const ALLOCATE: u16 = 0x003;
pub(super) const REFRESH: u16 = 0x004;
pub(super) const SEND: u16 = 0x006;
pub(super) const DATA: u16 = 0x007;
pub(super) const CREATE_PERMISSION: u16 = 0x008;
pub(super) const CHANNEL_BIND: u16 = 0x009;
pub(super) const CONNECT: u16 = 0x00A;
pub(super) const CONNECTION_BIND: u16 = 0x00B;
pub(super) const CONNECTION_ATTEMPT: u16 = 0x00C;

/// The class bits of a message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A message type out of method and class (RFC 8489 §5, Figure 3).
const fn kind(method: u16, class: Class) -> u16 {
    let bits = match class {
        Class::Request => 0x000,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    (method & 0xF80) << 2 | (method & 0x070) << 1 | method & 0x00F | bits
}

/// Random bytes; of the system, as a probe has no seed to be replayed.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // A system without randomness gives a transaction id of zeroes, which is poor but valid.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// A message that is being written.
#[derive(Clone, Debug)]
pub(super) struct Raw(Vec<u8>);

impl Raw {
    /// An empty message with a random transaction id.
    pub(super) fn new(method: u16, class: Class) -> Self {
        let mut bytes = kind(method, class).to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(random::<12>());
        Self(bytes)
    }

    pub(super) fn request(method: u16) -> Self {
        Self::new(method, Class::Request)
    }

    pub(super) fn indication(method: u16) -> Self {
        Self::new(method, Class::Indication)
    }

    /// Another message type, of whatever sense.
    pub(super) fn typed(mut self, kind: u16) -> Self {
        self.put(0, &kind.to_be_bytes());
        self
    }

    pub(super) fn cookie(mut self, cookie: [u8; 4]) -> Self {
        self.put(4, &cookie);
        self
    }

    pub(super) fn id(mut self, id: [u8; 12]) -> Self {
        self.put(8, &id);
        self
    }

    /// An attribute with padding of zeroes.
    pub(super) fn attr(self, kind: AttributeType, value: &[u8]) -> Self {
        self.attr_padded(kind, value, 0)
    }

    /// An attribute with padding of any byte.
    pub(super) fn attr_padded(self, kind: AttributeType, value: &[u8], padding: u8) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let mut value = value.to_vec();
        value.resize(value.len().next_multiple_of(4), padding);
        self.attr_lying(kind, length, &value)
    }

    /// An attribute that says it has `length` bytes, and has what it has.
    pub(super) fn attr_lying(mut self, kind: AttributeType, length: u16, value: &[u8]) -> Self {
        self.0.extend(kind.0.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        let body = self.0.len() - 20;
        self.length(body)
    }

    /// An address that is XORed with cookie and transaction id.
    pub(super) fn xor_address(self, kind: AttributeType, address: SocketAddr) -> Self {
        let value = xor(address, &self.0);
        self.attr(kind, &value)
    }

    pub(super) fn u32(self, kind: AttributeType, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// MESSAGE-INTEGRITY over all that stands before.
    pub(super) fn sha1(self, key: &[u8]) -> Self {
        let mac = hmac_sha1(key, &self.clone().length(self.0.len() + 4).0);
        self.attr(attr::MESSAGE_INTEGRITY, &mac)
    }

    /// The first `length` bytes of MESSAGE-INTEGRITY-SHA256 over all that stands before.
    pub(super) fn sha256(self, key: &[u8], length: usize) -> Self {
        let covered = self.0.len() - 20 + 4 + length.next_multiple_of(4);
        let mac = hmac_sha256(key, &self.clone().length(covered).0);
        let value = mac.get(..length).unwrap_or(&mac);
        self.attr(attr::MESSAGE_INTEGRITY_SHA256, value)
    }

    pub(super) fn fingerprint(self) -> Self {
        let crc = fingerprint(&self.clone().length(self.0.len() - 12).0);
        self.u32(attr::FINGERPRINT, crc)
    }

    /// Another message length.
    pub(super) fn length(mut self, length: usize) -> Self {
        self.put(2, &u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        self
    }

    /// Turns over one bit of the byte at `at`.
    pub(super) fn flipped(mut self, at: usize) -> Self {
        if let Some(byte) = self.0.get_mut(at) {
            *byte ^= 1;
        }
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn transaction(&self) -> [u8; 12] {
        transaction(&self.0)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

/// The transaction id of a message; zeroes where there is none.
pub(super) fn transaction(bytes: &[u8]) -> [u8; 12] {
    bytes.get(8..20).and_then(|id| id.try_into().ok()).unwrap_or_default()
}

fn xor(address: SocketAddr, header: &[u8]) -> Vec<u8> {
    let mask = header.get(4..20).unwrap_or_default();
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend((address.port() ^ 0x2112).to_be_bytes());
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    value.extend(octets.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

pub(super) fn hmac_sha1(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(bytes);
            mac.finalize().into_bytes().to_vec()
        })
        .unwrap_or_default()
}

fn hmac_sha256(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(bytes);
            mac.finalize().into_bytes().to_vec()
        })
        .unwrap_or_default()
}

fn fingerprint(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) ^ FINGERPRINT_MASK
}

/// A ChannelData message, without padding.
pub(super) fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A message that was received and obeys the form of RFC 8489 §5.
#[derive(Clone, Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    /// Type, where the value begins, where it ends.
    attributes: Vec<(AttributeType, usize, usize)>,
    /// Whether all padding is zero.
    pub(super) is_padded_with_zeroes: bool,
}

impl Received {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with its form, in words.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let header: &[u8; 20] = bytes.first_chunk().ok_or("a message of less than 20 bytes")?;
        if header[0] >= 0x40 {
            return Err("a message whose first two bits are not zero".to_owned());
        }
        if header[4..8] != COOKIE {
            return Err("a message without the magic cookie".to_owned());
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) || length + 20 != bytes.len() {
            return Err(format!("a message length of {length} in a message of {} bytes", bytes.len()));
        }
        let (mut attributes, mut at, mut is_padded_with_zeroes) = (Vec::new(), 20, true);
        while let Some(&[k0, k1, l0, l1]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let end = at + 4 + usize::from(u16::from_be_bytes([l0, l1]));
            let next = end.next_multiple_of(4);
            let padding = bytes.get(end..next).ok_or("an attribute that reaches behind the end")?;
            is_padded_with_zeroes &= padding.iter().all(|byte| *byte == 0);
            attributes.push((AttributeType(u16::from_be_bytes([k0, k1])), at + 4, end));
            at = next;
        }
        let received = Self { bytes: bytes.to_vec(), attributes, is_padded_with_zeroes };
        received.check_fingerprint()?;
        Ok(received)
    }

    fn check_fingerprint(&self) -> Result<(), String> {
        let Some(at) = self.attributes.iter().position(|(kind, ..)| *kind == attr::FINGERPRINT) else {
            return Ok(());
        };
        if at + 1 != self.attributes.len() {
            return Err("FINGERPRINT that is not last".to_owned());
        }
        let (_, from, to) = self.attributes[at];
        let wanted = fingerprint(self.bytes.get(..from - 4).unwrap_or_default()).to_be_bytes();
        if self.bytes.get(from..to) == Some(&wanted) { Ok(()) } else { Err("a wrong FINGERPRINT".to_owned()) }
    }

    pub(super) fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    pub(super) fn is(&self, method: u16, class: Class) -> bool {
        self.kind() == kind(method, class)
    }

    pub(super) fn is_success(&self) -> bool {
        self.kind() & 0x110 == 0x100
    }

    pub(super) fn is_error(&self) -> bool {
        self.kind() & 0x110 == 0x110
    }

    /// The code of an error response; 0 for success, and 1 for an error without a code that can be read.
    pub(super) fn code(&self) -> u16 {
        if !self.is_error() {
            return 0;
        }
        match self.get(attr::ERROR_CODE) {
            Some([_, _, class, number, ..]) => u16::from(class & 7) * 100 + u16::from(*number),
            _ => 1,
        }
    }

    /// The value of the first attribute of a type.
    pub(super) fn get(&self, kind: AttributeType) -> Option<&[u8]> {
        self.all(kind).next()
    }

    pub(super) fn has(&self, kind: AttributeType) -> bool {
        self.get(kind).is_some()
    }

    pub(super) fn all(&self, kind: AttributeType) -> impl Iterator<Item = &[u8]> {
        let of_kind = self.attributes.iter().filter(move |(other, ..)| *other == kind);
        of_kind.filter_map(|(_, from, to)| self.bytes.get(*from..*to))
    }

    pub(super) fn u32(&self, kind: AttributeType) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// An address that is XORed.
    pub(super) fn xor_address(&self, kind: AttributeType) -> Option<SocketAddr> {
        self.read_xor(self.get(kind)?)
    }

    pub(super) fn read_xor(&self, value: &[u8]) -> Option<SocketAddr> {
        let masked: Vec<u8> =
            value.get(4..)?.iter().zip(self.bytes.get(4..20)?).map(|(byte, mask)| byte ^ mask).collect();
        let plain = [value.get(..2)?, &[value[2] ^ 0x21, value[3] ^ 0x12], &masked].concat();
        plain_address(&plain)
    }

    /// An address that is not.
    pub(super) fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        plain_address(self.get(kind)?)
    }

    /// Whether MESSAGE-INTEGRITY is there and right.
    pub(super) fn sha1_holds(&self, key: &[u8]) -> bool {
        self.integrity_holds(attr::MESSAGE_INTEGRITY, |bytes| hmac_sha1(key, bytes))
    }

    /// Whether MESSAGE-INTEGRITY-SHA256 is there, whole and right.
    pub(super) fn sha256_holds(&self, key: &[u8]) -> bool {
        self.integrity_holds(attr::MESSAGE_INTEGRITY_SHA256, |bytes| hmac_sha256(key, bytes))
    }

    fn integrity_holds(&self, kind: AttributeType, mac: impl Fn(&[u8]) -> Vec<u8>) -> bool {
        let found = self.attributes.iter().find(|(other, ..)| *other == kind);
        let Some((_, from, to)) = found else { return false };
        let covered = self.bytes.get(..from - 4).unwrap_or_default().to_vec();
        mac(&Raw(covered).length(to - 20).0) == self.bytes.get(*from..*to).unwrap_or_default()
    }

    /// The types of what stands behind the last integrity attribute.
    pub(super) fn behind_integrity(&self) -> Vec<AttributeType> {
        let is_integrity = |kind| kind == attr::MESSAGE_INTEGRITY || kind == attr::MESSAGE_INTEGRITY_SHA256;
        let behind = self.attributes.iter().rev().take_while(|(kind, ..)| !is_integrity(*kind));
        behind.map(|(kind, ..)| *kind).collect()
    }

    pub(super) fn is_signed(&self) -> bool {
        self.has(attr::MESSAGE_INTEGRITY) || self.has(attr::MESSAGE_INTEGRITY_SHA256)
    }
}

fn plain_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], octets) = value.split_first_chunk::<4>()?;
    let ip: IpAddr = match family {
        1 => <[u8; 4]>::try_from(octets).ok()?.into(),
        2 => <[u8; 16]>::try_from(octets).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let address: SocketAddr = "[2001:db8::1]:4096".parse().unwrap();
        let raw = Raw::request(ALLOCATE)
            .xor_address(attr::XOR_PEER_ADDRESS, address)
            .attr(attr::USERNAME, b"alice")
            .sha1(b"key")
            .sha256(b"key", 32)
            .fingerprint();
        let read = Received::parse(raw.bytes()).unwrap();
        assert!(read.is(ALLOCATE, Class::Request) && read.sha1_holds(b"key") && read.sha256_holds(b"key"));
        assert!(!read.sha1_holds(b"another") && !read.sha256_holds(b"another"));
        assert_eq!(read.xor_address(attr::XOR_PEER_ADDRESS), Some(address));
        assert_eq!(read.get(attr::USERNAME), Some(&b"alice"[..]));
        let ours = crate::wire::Message::parse(raw.bytes()).unwrap();
        assert!(ours.fingerprint_holds() && ours.verify(&crate::wire::IntegrityKey::new(b"key")));
    }

    #[test]
    fn what_breaks_the_form_is_told() {
        let good = Raw::request(BINDING).attr(attr::SOFTWARE, b"x").fingerprint();
        for (broken, word) in [
            (good.clone().flipped(4), "cookie"),
            (good.clone().flipped(3), "length"),
            (good.clone().flipped(24), "FINGERPRINT"),
            (good.typed(0x8001), "bits"),
            (Raw::request(BINDING).attr_lying(attr::SOFTWARE, 9, b"1234"), "behind"),
        ] {
            assert!(Received::parse(broken.bytes()).unwrap_err().contains(word), "{word}");
        }
        assert!(Received::parse(&[]).is_err());
        let padded = Raw::request(BINDING).attr_padded(attr::SOFTWARE, b"x", 7);
        assert!(!Received::parse(padded.bytes()).unwrap().is_padded_with_zeroes);
    }
}
