//! A datagram that travels through the server without being copied.
//!
//! ```text
//! |<- 48 bytes of head room ->|<------- received -------->|<- 4 ->|
//! |                  | header | payload                   | pad   |
//!                    ^ start                              ^ end
//! ```
//! `pull` strips a header by moving `start` forward, `push` puts one in front by moving it back. 48 bytes hold
//! the longest header there is: STUN 20 + XOR-PEER-ADDRESS of an IPv6 peer 24 + DATA 4.

use super::padded;

/// Bytes in front of a received datagram.
pub const HEAD_ROOM: usize = 48;

/// Bytes behind a received datagram, for padding.
pub const TAIL_ROOM: usize = 4;

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

/// A lent buffer with a window in it, and the marks that its packet came with or is to leave with.
#[derive(Debug)]
pub struct Datagram<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
    marks: Marks,
}

impl<'a> Datagram<'a> {
    /// A datagram of `len` bytes that was received behind [`HEAD_ROOM`] into `buffer`. `None` when the buffer has
    /// no room for it and [`TAIL_ROOM`].
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        let end = HEAD_ROOM.checked_add(len)?;
        (end.checked_add(TAIL_ROOM)? <= buffer.len()).then_some(Self {
            buffer,
            start: HEAD_ROOM,
            end,
            marks: Marks { tos: 0, dont_fragment: false },
        })
    }

    /// A frame that stands somewhere in a longer buffer, to be narrowed only. `None` when it is not inside.
    pub fn within(buffer: &'a mut [u8], range: core::ops::Range<usize>) -> Option<Self> {
        let core::ops::Range { start, end } = range;
        (start <= end && end <= buffer.len()).then_some(Self {
            buffer,
            start,
            end,
            marks: Marks { tos: 0, dont_fragment: false },
        })
    }

    /// What the IP header said, or is to say.
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// Sets that.
    pub const fn mark(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// The bytes in the window.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the window begins and ends in the buffer.
    pub const fn range(&self) -> core::ops::Range<usize> {
        self.start..self.end
    }

    /// Narrows the window to `len` bytes from `offset` on. Returns whether there were so many.
    pub fn narrow(&mut self, offset: usize, len: usize) -> bool {
        let Some(start) = self.start.checked_add(offset) else { return false };
        match start.checked_add(len) {
            Some(end) if end <= self.end => {
                (self.start, self.end) = (start, end);
                true
            }
            _ => false,
        }
    }

    /// Puts `header` in front. Returns whether the head room sufficed.
    pub fn push(&mut self, header: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(header.len()) else { return false };
        let Some(room) = self.buffer.get_mut(start..self.start) else { return false };
        room.copy_from_slice(header);
        self.start = start;
        true
    }

    /// Appends zeroes up to a multiple of four (RFC 8489 §14, RFC 8656 §12.5). Returns whether there was room.
    pub fn pad(&mut self) -> bool {
        let end = self.start + padded(self.len());
        if end != self.end {
            let Some(padding) = self.buffer.get_mut(self.end..end) else { return false };
            padding.fill(0);
            self.end = end;
        }
        true
    }

    /// Replaces the contents by `bytes`, which leave without any marks. Returns whether the buffer is large enough.
    pub fn replace(&mut self, bytes: &[u8]) -> bool {
        let end = HEAD_ROOM + bytes.len();
        let Some(room) = self.buffer.get_mut(HEAD_ROOM..end) else { return false };
        room.copy_from_slice(bytes);
        (self.start, self.end, self.marks) = (HEAD_ROOM, end, Marks::default());
        true
    }
}
