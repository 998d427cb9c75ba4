//! Reading STUN messages.

use super::attr as kind;
use super::integrity::{IntegrityKey, equal, fingerprint};
use super::{
    Attribute, AttributeType, Attributes, Class, Error, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId,
};
use super::{decode_xor_address, header};

/// Where one integrity attribute stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Offset of the attribute's first byte.
    offset: usize,
    /// Length of its value.
    len: usize,
}

/// Which integrity attribute protects a message. With both, the stronger one counts (RFC 8489 §9.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// A well-formed STUN message, borrowed. Its attributes end where its integrity begins: what stands behind
/// MESSAGE-INTEGRITY is ignored but for MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 §14.5, §14.6).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    method: Method,
    class: Class,
    transaction: TransactionId,
    attributes: &'a [u8],
    sha1: Option<Place>,
    sha256: Option<Place>,
    fingerprint: Option<Place>,
}

impl<'a> Message<'a> {
    /// Checks that `bytes` are one whole STUN message and nothing else (RFC 8489 §5, §6.3, §14).
    ///
    /// # Errors
    /// The first thing that is wrong. Each means silence.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Error::Truncated)?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, id @ ..] = *head;
        if t0 & 0xC0 != 0 {
            return Err(Error::NotStun);
        }
        if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(Error::NoCookie);
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len % 4 != 0 {
            return Err(Error::Unaligned);
        }
        match len.cmp(&body.len()) {
            core::cmp::Ordering::Less => return Err(Error::TrailingBytes),
            core::cmp::Ordering::Greater => return Err(Error::Truncated),
            core::cmp::Ordering::Equal => {}
        }
        let (method, class) = header::split_type(u16::from_be_bytes([t0, t1]));
        let mut message = Self {
            bytes,
            method,
            class,
            transaction: TransactionId(id),
            attributes: body,
            sha1: None,
            sha256: None,
            fingerprint: None,
        };
        message.find_the_end()?;
        Ok(message)
    }

    /// Walks all attributes once: each must fit, FINGERPRINT must be the last, and `attributes` is cut at the
    /// first integrity attribute or FINGERPRINT.
    fn find_the_end(&mut self) -> Result<(), Error> {
        let body = self.attributes;
        let mut walk = Attributes::new(body);
        let mut end = None;
        loop {
            let at = body.len() - walk.rest().len();
            let Some(Attribute { kind, value }) = walk.next() else { break };
            if self.fingerprint.is_some() {
                return Err(Error::FingerprintPlace);
            }
            let place = Some(Place { offset: HEADER_LEN + at, len: value.len() });
            match kind {
                // Only the first of its kind counts (RFC 8489 §14).
                kind::MESSAGE_INTEGRITY if self.sha1.is_none() && self.sha256.is_none() => self.sha1 = place,
                kind::MESSAGE_INTEGRITY_SHA256 if self.sha256.is_none() => self.sha256 = place,
                kind::FINGERPRINT if value.len() != 4 => return Err(Error::FingerprintPlace),
                kind::FINGERPRINT => self.fingerprint = place,
                _ => continue,
            }
            end = end.or(Some(at));
        }
        if !walk.rest().is_empty() {
            return Err(Error::AttributeOverrun);
        }
        if let Some(end) = end {
            self.attributes = body.get(..end).unwrap_or_default();
        }
        Ok(())
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The transaction id.
    pub const fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// The whole message.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in front of the integrity, in their order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes)
    }

    /// The value of the first attribute of this type in front of the integrity (RFC 8489 §14: only the first of
    /// several counts unless the attribute's definition says otherwise).
    pub fn get(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// Where in [`Self::bytes`] the value of an attribute of this message begins.
    pub fn offset_of(&self, value: &'a [u8]) -> usize {
        (value.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize)
    }

    /// The address in an XOR-…-ADDRESS `value` of this message.
    pub fn xor_address(&self, value: &[u8]) -> Option<core::net::SocketAddr> {
        decode_xor_address(value, self.transaction)
    }

    /// Which integrity attribute protects the message, if any.
    pub const fn integrity(&self) -> Option<Integrity> {
        match (self.sha256, self.sha1) {
            (Some(_), _) => Some(Integrity::Sha256),
            (None, Some(_)) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether [`Self::integrity`] is right under `key`. A value of any length but the full one is wrong: TURN
    /// does not allow truncation (RFC 8489 §14.6).
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        if let Some(place) = self.sha256 {
            place.len == 32
                && self
                    .covered(place)
                    .is_some_and(|(message, length, value)| equal(&key.sha256(message, length), value))
        } else if let Some(place) = self.sha1 {
            place.len == 20
                && self
                    .covered(place)
                    .is_some_and(|(message, length, value)| equal(&key.sha1(message, length), value))
        } else {
            false
        }
    }

    /// What an integrity attribute covers, the length field to use, and its value.
    fn covered(&self, place: Place) -> Option<(&'a [u8], u16, &'a [u8])> {
        let covered = self.bytes.get(..place.offset)?;
        let end = place.offset + 4 + place.len;
        let length = u16::try_from(end - HEADER_LEN).ok()?;
        Some((covered, length, self.bytes.get(place.offset + 4..end)?))
    }

    /// Whether FINGERPRINT is there.
    pub const fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Whether FINGERPRINT is right; `true` when there is none.
    pub fn fingerprint_holds(&self) -> bool {
        let Some(place) = self.fingerprint else { return true };
        match (self.bytes.get(..place.offset), self.bytes.get(place.offset + 4..)) {
            (Some(covered), Some(value)) => fingerprint(covered).to_be_bytes() == value,
            _ => false,
        }
    }
}
