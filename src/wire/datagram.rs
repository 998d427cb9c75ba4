//! A datagram that travels through the server without being copied.
//!
//! ```text
//! | head, 64 bytes |      | received, one of several perhaps | pad |
//! |       | header |      | stripped | body       |          | 000 |
//!         ^ written                   ^ stays where it was received
//! ```
//! What was received stays in its place and is only narrowed. A header that is put in front is written somewhere else, so
//! that it spoils no other datagram which stands before it in the same buffer; both are gathered when they are sent.

use super::padded;

/// The longest header that can be put in front of a datagram: a Data indication that tells an ICMP error, STUN 20 +
/// XOR-PEER-ADDRESS of an IPv6 peer 24 + ICMP 12, takes 56 bytes.
pub const HEAD_ROOM: usize = 64;

/// Padding is made of these.
const ZEROES: [u8; 3] = [0; 3];

/// What the header of an IP packet says besides where it goes. All zero is what a packet has of which nobody has asked
/// anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The byte that IPv4 calls type of service and IPv6 traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Whether the packet may not be cut into fragments. Of a received one nobody knows it.
    pub dont_fragment: bool,
}

impl Marks {
    /// The bits of ECN in [`Self::tos`] (RFC 3168 §5).
    const ECN: u8 = 0b11;

    /// The same without ECN: Not-ECT.
    #[must_use]
    pub const fn without_ecn(self) -> Self {
        Self { tos: self.tos & !Self::ECN, ..self }
    }
}

/// What was received of a datagram, what is put in front of it, and the marks that its packet came with or is to leave
/// with.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The header ends where this array does.
    head: [u8; HEAD_ROOM],
    head_start: usize,
    body: &'a [u8],
    /// How much of what was received has been taken off its beginning.
    offset: usize,
    padding: usize,
    marks: Marks,
}

impl<'a> Datagram<'a> {
    /// A datagram as it was received.
    pub const fn new(bytes: &'a [u8], marks: Marks) -> Self {
        Self { head: [0; HEAD_ROOM], head_start: HEAD_ROOM, body: bytes, offset: 0, padding: 0, marks }
    }

    /// What the IP header said, or is to say.
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// Sets that.
    pub const fn mark(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// What is left of the bytes that were received.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// How far behind the beginning of what was received that begins.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// What has been put in front.
    pub fn head(&self) -> &[u8] {
        self.head.get(self.head_start..).unwrap_or_default()
    }

    /// What has been appended: zeroes, three at most.
    pub fn padding(&self) -> &'static [u8] {
        ZEROES.get(..self.padding).unwrap_or_default()
    }

    /// The whole, to be gathered.
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.head(), self.body, self.padding()]
    }

    /// The whole in one piece: a copy, for those off the hot path.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }

    /// How long the whole is.
    pub const fn len(&self) -> usize {
        HEAD_ROOM - self.head_start + self.body.len() + self.padding
    }

    /// Whether there is nothing of it.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Narrows the body to `len` bytes from `offset` on. Returns whether there were so many.
    pub fn narrow(&mut self, offset: usize, len: usize) -> bool {
        let Some(body) = self.body.get(offset..).and_then(|rest| rest.get(..len)) else { return false };
        self.body = body;
        self.offset += offset;
        true
    }

    /// Puts `header` in front. Returns whether there was room for it.
    pub fn push(&mut self, header: &[u8]) -> bool {
        let Some(start) = self.head_start.checked_sub(header.len()) else { return false };
        let Some(room) = self.head.get_mut(start..self.head_start) else { return false };
        room.copy_from_slice(header);
        self.head_start = start;
        true
    }

    /// Appends zeroes up to a multiple of four (RFC 8489 §14, RFC 8656 §12.5).
    pub fn pad(&mut self) {
        let len = self.len();
        self.padding += padded(len) - len;
    }
}
