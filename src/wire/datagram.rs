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

/// A lent buffer with a window in it.
#[derive(Debug)]
pub struct Datagram<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Datagram<'a> {
    /// A datagram of `len` bytes that was received behind [`HEAD_ROOM`] into `buffer`. `None` when the buffer has
    /// no room for it and [`TAIL_ROOM`].
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        let end = HEAD_ROOM.checked_add(len)?;
        (end.checked_add(TAIL_ROOM)? <= buffer.len()).then_some(Self { buffer, start: HEAD_ROOM, end })
    }

    /// A frame that stands somewhere in a longer buffer, to be narrowed only. `None` when it is not inside.
    pub fn within(buffer: &'a mut [u8], range: core::ops::Range<usize>) -> Option<Self> {
        let core::ops::Range { start, end } = range;
        (start <= end && end <= buffer.len()).then_some(Self { buffer, start, end })
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

    /// Replaces the contents by `bytes`. Returns whether the buffer is large enough.
    pub fn replace(&mut self, bytes: &[u8]) -> bool {
        let end = HEAD_ROOM + bytes.len();
        let Some(room) = self.buffer.get_mut(HEAD_ROOM..end) else { return false };
        room.copy_from_slice(bytes);
        (self.start, self.end) = (HEAD_ROOM, end);
        true
    }
}
