//! Writing STUN messages into a lent buffer.

use core::net::SocketAddr;

use super::attr as kind;
use super::integrity::{IntegrityKey, fingerprint};
use super::{AddressFamily, AttributeType, Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, padded};
use super::{address, header};

/// The longest answer: a realm and a nonce of 763 bytes each and all else fit with room to spare.
pub const MAX_REPLY: usize = 2048;

/// A buffer for one answer, reused for all of them.
#[derive(Debug)]
pub struct ReplyBuffer {
    bytes: [u8; MAX_REPLY],
    len: usize,
}

impl Default for ReplyBuffer {
    fn default() -> Self {
        Self { bytes: [0; MAX_REPLY], len: 0 }
    }
}

impl ReplyBuffer {
    /// The answer that was written last.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Answers a request of RFC 3489, which has no cookie but a transaction id of 16 bytes, with an error. `false`: it is
    /// no such request.
    pub fn refuse_classic(&mut self, request: &[u8], code: u16) -> bool {
        let Some((&[t0, t1, l0, l1, id @ ..], body)) = request.split_first_chunk::<HEADER_LEN>() else {
            return false;
        };
        let (method, class) = header::split_type(u16::from_be_bytes([t0, t1]));
        let whole = usize::from(u16::from_be_bytes([l0, l1])) == body.len();
        if t0 & 0xC0 != 0 || class != Class::Request || !whole {
            return false;
        }
        let mut writer = self.begin(method, Class::ErrorResponse, TransactionId([0; 12]));
        writer.error_code(code);
        let written = writer.finish().is_some();
        self.bytes[4..HEADER_LEN].copy_from_slice(&id);
        written
    }

    /// Begins an answer.
    pub fn begin(&mut self, method: Method, class: Class, transaction: TransactionId) -> MessageWriter<'_> {
        self.len = 0;
        MessageWriter::new(&mut self.bytes, Some(&mut self.len), method, class, transaction)
    }
}

/// Appends attributes to a message. What does not fit is left out whole and remembered: [`Self::finish`] tells.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    buffer: &'a mut [u8],
    written: Option<&'a mut usize>,
    len: usize,
    overflow: bool,
    transaction: TransactionId,
}

impl<'a> MessageWriter<'a> {
    /// Begins a message at the start of `buffer`.
    pub fn to(buffer: &'a mut [u8], method: Method, class: Class, transaction: TransactionId) -> Self {
        Self::new(buffer, None, method, class, transaction)
    }

    fn new(
        buffer: &'a mut [u8],
        written: Option<&'a mut usize>,
        method: Method,
        class: Class,
        transaction: TransactionId,
    ) -> Self {
        let mut writer = Self { buffer, written, len: 0, overflow: false, transaction };
        writer.append(&header::join_type(method, class).to_be_bytes());
        writer.append(&[0, 0]);
        writer.append(&MAGIC_COOKIE.to_be_bytes());
        writer.append(&transaction.0);
        writer
    }

    fn append(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.overflow = true,
        }
    }

    /// Sets the header's length field as if the message ended at `end`.
    fn set_length(&mut self, end: usize) -> u16 {
        let length = u16::try_from(end.saturating_sub(HEADER_LEN)).unwrap_or_else(|_| {
            self.overflow = true;
            u16::MAX
        });
        if let Some(field) = self.buffer.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        length
    }

    /// Appends an attribute; its padding is zero.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let whole = 4 + padded(value.len());
        let room = self.buffer.get_mut(self.len..).and_then(|rest| rest.get_mut(..whole));
        let (Some(room), Ok(field)) = (room, u16::try_from(value.len())) else {
            self.overflow = true;
            return self;
        };
        // The padding stands in the last word, which the value then covers.
        if let Some(last) = room.last_chunk_mut::<4>() {
            *last = [0; 4];
        }
        let (kind, field) = (kind.0.to_be_bytes(), field.to_be_bytes());
        if let Some((head, body)) = room.split_first_chunk_mut::<4>() {
            *head = [kind[0], kind[1], field[0], field[1]];
            if let Some(body) = body.get_mut(..value.len()) {
                body.copy_from_slice(value);
            }
        }
        self.len += whole;
        self
    }

    /// Appends an attribute whose value comes in pieces.
    pub fn attribute_parts(&mut self, kind: AttributeType, parts: &[&[u8]]) -> &mut Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(field) = u16::try_from(len) else {
            self.overflow = true;
            return self;
        };
        if self.len + 4 + padded(len) > self.buffer.len() {
            self.overflow = true;
            return self;
        }
        self.append(&kind.0.to_be_bytes());
        self.append(&field.to_be_bytes());
        for part in parts {
            self.append(part);
        }
        let padding = padded(len) - len;
        self.append([0; 4].get(..padding).unwrap_or_default());
        self
    }

    /// Appends an attribute of one 32-bit number.
    pub fn u32(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an XOR-…-ADDRESS attribute.
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let mut value = [0; 20];
        let len = address::encode_address(address::xor(address, self.transaction), &mut value);
        self.attribute(kind, value.get(..len).unwrap_or_default())
    }

    /// Appends ERROR-CODE with an empty reason phrase, the smallest form (RFC 8489 §14.8).
    pub fn error_code(&mut self, code: u16) -> &mut Self {
        let class = u8::try_from(code / 100).unwrap_or(5);
        let number = u8::try_from(code % 100).unwrap_or(0);
        self.attribute(kind::ERROR_CODE, &[0, 0, class & 7, number])
    }

    /// Appends ADDRESS-ERROR-CODE with an empty reason phrase (RFC 8656 §18.12).
    pub fn address_error_code(&mut self, family: AddressFamily, code: u16) -> &mut Self {
        let class = u8::try_from(code / 100).unwrap_or(5);
        let number = u8::try_from(code % 100).unwrap_or(0);
        self.attribute(kind::ADDRESS_ERROR_CODE, &[family.number(), 0, class & 7, number])
    }

    /// Appends an address attribute that is not XORed (RFC 8489 §14.1).
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let mut value = [0; 20];
        let len = address::encode_address(address, &mut value);
        self.attribute(kind, value.get(..len).unwrap_or_default())
    }

    /// Appends MESSAGE-INTEGRITY over all that is written so far (RFC 8489 §14.5).
    pub fn message_integrity(&mut self, key: &IntegrityKey) -> &mut Self {
        let length = self.set_length(self.len + 24);
        let value = key.sha1(self.buffer.get(..self.len).unwrap_or_default(), length);
        self.attribute(kind::MESSAGE_INTEGRITY, &value)
    }

    /// Appends MESSAGE-INTEGRITY-SHA256 over all that is written so far (RFC 8489 §14.6).
    pub fn message_integrity_sha256(&mut self, key: &IntegrityKey) -> &mut Self {
        let length = self.set_length(self.len + 36);
        let value = key.sha256(self.buffer.get(..self.len).unwrap_or_default(), length);
        self.attribute(kind::MESSAGE_INTEGRITY_SHA256, &value)
    }

    /// Appends FINGERPRINT over all that is written so far; nothing may follow (RFC 8489 §14.7).
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(self.len + 8);
        let value = fingerprint(self.buffer.get(..self.len).unwrap_or_default());
        self.u32(kind::FINGERPRINT, value)
    }

    /// Sets the length and gives the message's length in bytes; `None` when something did not fit.
    pub fn finish(mut self) -> Option<usize> {
        self.set_length(self.len);
        if self.overflow {
            return None;
        }
        if let Some(written) = self.written {
            *written = self.len;
        }
        Some(self.len)
    }
}
